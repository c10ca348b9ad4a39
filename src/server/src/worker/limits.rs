//! What the system grants for connections: file descriptors, the backlog, and pages of memory.
//!
//! Non-goal: a limit on memory. A connection costs some 20 KiB in use and 1 KiB when idle, so a
//! million of them needs 1 to 20 GiB, and a limit for that is the operator's to set.

use std::num::NonZeroUsize;

/// Descriptors that are not clients': standard streams, listeners, the admin port's connections
/// (32), certificates and password files while they are read, name lookups.
const PROCESS: usize = 128;

/// Of each worker: its poller, its wakers, and slack.
const WORKER: usize = 8;

/// The most that a limit of a system without one is taken for.
const ENOUGH: usize = 1 << 20;

/// How many client connections may be open: as many as asked for, else as many as there are file
/// descriptors for, beside those for `workers` that each have `redis` connections. Raises the soft
/// limit on descriptors to the hard one first. Says in the log what it found.
pub fn max_connections(asked: Option<NonZeroUsize>, workers: usize, redis: usize) -> usize {
    let Some(descriptors) = raised() else {
        return asked.map_or(ENOUGH, NonZeroUsize::get);
    };
    let granted = granted(descriptors, workers, redis);
    let max = asked.map_or(granted, NonZeroUsize::get);
    tracing::info!("{descriptors} file descriptors: up to {max} client connections");
    if max > granted {
        tracing::warn!(
            "--max-connections {max} is more than {descriptors} file descriptors allow \
             ({granted}): raise the hard limit (ulimit -Hn)"
        );
    }
    max
}

/// A connection to Redis counts twice: while it is replaced there are two of it. Of few descriptors
/// a quarter is left to clients whatever the others need.
fn granted(descriptors: usize, workers: usize, redis: usize) -> usize {
    let others = PROCESS + workers * (WORKER + 2 * redis);
    descriptors
        .saturating_sub(others)
        .max(descriptors / 4)
        .max(1)
}

/// Has the kernel not put huge pages behind what connections leave free, as Redis does.
///
/// The allocator would ask for them. But a connection's buffers are mostly not touched, and what an
/// idle one has given back is a hole that the kernel would fill again.
pub fn use_small_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::info!("transparent huge pages stay as the system has them: {error}");
    }
}

/// The limit on file descriptors, once raised as far as it may be; `None` where there is none.
pub fn raised() -> Option<usize> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!("can't raise the limit on file descriptors above {soft}: {error}");
            soft
        }
    };
    Some(usize::try_from(limit).unwrap_or(ENOUGH).min(ENOUGH))
}

/// Says in the log how many clients the kernel holds for us until they are accepted.
pub fn log_backlog(asked: usize) {
    match somaxconn() {
        Some(granted) if granted < asked => tracing::warn!(
            "listen backlog: requested {asked}, the kernel grants {granted} (net.core.somaxconn); \
             in a burst, clients beyond it wait for a second or more"
        ),
        _ => tracing::info!("listen backlog: {asked}"),
    }
}

fn somaxconn() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_is_kept_back() {
        let check = |descriptors, workers, redis, expected| {
            assert_eq!(granted(descriptors, workers, redis), expected);
        };
        check(20_000, 2, 2, 20_000 - 128 - 2 * 12);
        check(1_024, 1, 0, 1_024 - 128 - 8);
        check(64, 2, 2, 16);
        check(0, 2, 2, 1);
    }

    #[test]
    fn the_kernel_is_told_of_small_pages() {
        use_small_pages();
        assert_eq!(nix::sys::prctl::get_thp_disable(), Ok(true));
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raised();
        assert!(limit.is_some_and(|limit| limit > 0), "{limit:?}");
        assert_eq!(raised(), limit);
    }
}
