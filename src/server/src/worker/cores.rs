//! How many workers, and on which cores.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// How many workers there are to be, and why so many.
pub fn granted(asked: Option<NonZeroUsize>) -> (NonZeroUsize, &'static str) {
    match asked {
        Some(workers) => (workers, "set by --workers"),
        None => match available_parallelism() {
            Ok(workers) => (
                workers,
                "granted by the cgroup's CPU quota and the affinity mask",
            ),
            Err(_) => (
                NonZeroUsize::MIN,
                "the system does not report how many cores there are",
            ),
        },
    }
}

/// One entry per worker: the core to bind it to, if any.
///
/// Without a number asked for, as many as `available_parallelism` grants, which minds the cgroup's
/// quota and the affinity mask. Says which it was, and why, in the log.
pub fn grant(asked: Option<NonZeroUsize>, pin: bool) -> Vec<Option<usize>> {
    let (workers, why) = granted(asked);
    let allowed = if pin { allowed() } else { Vec::new() };
    if pin && allowed.is_empty() {
        tracing::warn!("--pin has no effect: the system does not report which cores are allowed");
    }
    tracing::info!(
        "{workers} worker{}: {why}{}",
        if workers.get() == 1 { "" } else { "s" },
        if allowed.is_empty() { "" } else { ", pinned" }
    );
    let core = |index| allowed.get(index % allowed.len().max(1)).copied();
    (0..workers.get()).map(core).collect()
}

/// Binds the current thread to a core.
pub fn bind(core: usize) -> Result<(), String> {
    let mut only = nix::sched::CpuSet::new();
    only.set(core)
        .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &only))
        .map_err(|error| error.to_string())
}

fn allowed() -> Vec<usize> {
    use nix::sched::{CpuSet, sched_getaffinity};
    let Ok(set) = sched_getaffinity(nix::unistd::Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..CpuSet::count())
        .filter(|core| set.is_set(*core) == Ok(true))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_beyond_the_cores_share_them() {
        let asked = NonZeroUsize::new(3);
        assert_eq!(grant(asked, false), [None; 3]);
        let pinned = grant(asked, true);
        assert_eq!(pinned.len(), 3);
        let known = allowed();
        assert!(
            pinned
                .iter()
                .all(|core| core.is_some_and(|core| known.contains(&core)))
        );
        assert_eq!(
            grant(None, false).len(),
            available_parallelism().unwrap().get()
        );
    }
}
