//! What a process uses, as the kernel counts it.

use std::time::Duration;

/// CPU time and memory of one process, all its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system, since its start; counted in ticks of 10 ms.
    pub cpu: Duration,
    /// Resident, in bytes.
    pub memory: u64,
}

/// What this process uses now; `None` where it has ended, or where there is no procfs.
#[cfg(target_os = "linux")]
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

#[cfg(not(target_os = "linux"))]
pub(super) fn of(_pid: u32) -> Option<Usage> {
    None
}
