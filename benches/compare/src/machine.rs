//! What the kernel tells: CPU time and context switches of a process, what each core did, memory.

use std::fs;

use anyhow::{Context, Result};

/// Of a process and its threads so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu_ns: u64,
    /// Times it went to sleep by itself.
    pub switches: u64,
}

/// To the nanosecond: `stat` counts in hundredths of a second.
pub fn usage(pid: u32) -> Result<Usage> {
    let mut sum = Usage::default();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("process {pid} has ended"))?;
    for task in tasks {
        let task = task?.path();
        // A thread may end meanwhile.
        let Ok(schedstat) = fs::read_to_string(task.join("schedstat")) else {
            continue;
        };
        let cpu = schedstat.split(' ').next().unwrap_or_default();
        sum.cpu_ns += cpu.parse::<u64>().context("no CPU time in schedstat")?;
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        sum.switches += field(&status, "voluntary_ctxt_switches:").unwrap_or_default();
    }
    Ok(sum)
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Resident memory of a process, in bytes.
pub fn memory(pid: u32) -> Result<u64> {
    // Not `status`, whose figures each thread adds to only now and then.
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(1024 * field(&rollup, "Rss:").context("no Rss in smaps_rollup")?)
}

/// Ticks of 10 ms that the hypervisor took a core away so far.
pub fn stolen(core: usize) -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{core} ");
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .with_context(|| format!("no {name}in /proc/stat"))?;
    let steal = line.split(' ').nth(7).context("no steal in /proc/stat")?;
    Ok(steal.parse()?)
}

/// CPU time of all other processes so far, in ticks of 10 ms, with that of their children that have
/// ended. Not what cores were busy with: interrupts and waking up, for our own load too, are in
/// that. Kernel threads work for our load as well, and are left out.
pub fn others(ours: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for process in fs::read_dir("/proc")? {
        let name = process?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may end meanwhile; its parent then has its time.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name in parentheses may hold blanks. Of what follows, 1 is the parent, and 11 to 14
        // are utime, stime, cutime, cstime.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let of_kernel = pid == 2 || fields.get(1) == Some(&"2");
        if !of_kernel && !ours.contains(&pid) {
            let times = fields.iter().skip(11).take(4);
            sum += times.filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Ok(sum)
}
