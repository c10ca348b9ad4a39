//! What a process uses, as the kernel counts it.

use std::time::Duration;

use crate::guarded;

/// A child that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What it is called here: the name of a child, or of a program and its task.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

/// CPU time and memory of one process, all its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system, since its start; counted in ticks of 10 ms.
    pub cpu: Duration,
    /// Resident, in bytes.
    pub memory: u64,
}

/// What this process uses now; `None` where it has ended.
pub(super) fn of(pid: u32) -> Option<Usage> {
    let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    let stat = process.stat().ok()?;
    let ticks = stat.utime.saturating_add(stat.stime);
    let tick = Duration::from_secs(1) / u32::try_from(procfs::ticks_per_second()).ok()?;
    Some(Usage {
        cpu: tick.saturating_mul(u32::try_from(ticks).ok()?),
        memory: stat.rss.saturating_mul(procfs::page_size()),
    })
}

/// The processes that this one has started, with names that say what they do.
pub(super) fn children(pid: u32) -> Vec<Process> {
    // `/proc/PID/task/PID/children` would tell it at once, but not every kernel has it.
    let Ok(all) = procfs::process::all_processes() else {
        return Vec::new();
    };
    let child = |process: procfs::process::Process| {
        let stat = process.stat().ok()?;
        let is_child = u32::try_from(stat.ppid).is_ok_and(|parent| parent == pid);
        // One that has ended, and that nobody has waited for, has no command line.
        let arguments = is_child.then(|| process.cmdline().ok()).flatten()?;
        Some(Process {
            name: name(&arguments)?,
            pid: u32::try_from(process.pid).ok()?,
        })
    };
    let mut children: Vec<Process> = all.flatten().filter_map(child).collect();
    children.sort_by(|one, other| one.name.cmp(&other.name));
    children
}

/// `vegeta-attack` of `/usr/bin/vegeta -cpus 2 attack …`: the program, and what vegeta is to do.
fn name(arguments: &[String]) -> Option<String> {
    let arguments = match arguments {
        // For some milliseconds it is our own binary, on its way to become the program.
        [_, guarded, _, _, program @ ..] if guarded == guarded::SUBCOMMAND => program,
        _ => arguments,
    };
    let program = arguments.first()?.rsplit('/').next()?;
    let is_task = |argument: &&String| ["attack", "encode"].contains(&argument.as_str());
    Some(match arguments.iter().skip(1).find(is_task) {
        Some(task) => format!("{program}-{task}"),
        None => program.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    #[test]
    fn own_memory_is_seen() {
        let usage = of(process::id()).expect("we run");
        assert!(usage.memory > 100_000, "{usage:?}");
        assert_eq!(of(u32::MAX), None);
    }

    #[test]
    fn children_are_found() {
        let mut child = process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("every Unix has sleep");
        let found = children(process::id());
        child.kill().expect("it runs");
        child.wait().expect("it was killed");
        let found = found.iter().find(|found| found.pid == child.id());
        assert!(found.is_some());
    }

    #[test]
    fn vegeta_is_named_by_its_task() {
        let check = |arguments: &[&str], expected: Option<&str>| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            assert_eq!(name(&arguments).as_deref(), expected);
        };
        check(
            &["/bin/vegeta", "-cpus", "2", "attack", "-rate", "1"],
            Some("vegeta-attack"),
        );
        check(&["vegeta", "encode"], Some("vegeta-encode"));
        check(&["/bin/sleep", "60"], Some("sleep"));
        let early = ["/proc/self/exe", "guarded-child", "7", "--", "/bin/vegeta"];
        check(&[&early[..], &["encode"]].concat(), Some("vegeta-encode"));
        check(&early, Some("vegeta"));
        check(&[], None);
    }
}
