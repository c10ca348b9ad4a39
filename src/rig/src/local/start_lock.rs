//! A lock that one rig at a time holds while it starts: two that look for free ports at the same
//! moment would find the same ones.
//!
//! The lock is a Unix socket with an abstract name: it leaves no file, ends with its process
//! however that ends, and is known to those who share our ports, which is the network namespace.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use tokio::time::{Instant, sleep};

const NAME: &str = "redis-api-local-start";

/// Outlasts the start of another rig, which takes a second or two. Past it we start all the same:
/// whoever is so slow has its ports by now.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Held from the choice of ports until all of them are listened on.
#[derive(Debug)]
#[must_use = "dropping it lets the next rig start"]
pub(super) struct StartLock {
    _socket: Option<UnixListener>,
}

impl StartLock {
    /// Waits until no other rig is starting.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn take() -> StartLock {
        StartLock {
            _socket: take(NAME, PATIENCE).await,
        }
    }
}

async fn take(name: &str, patience: Duration) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(name).ok()?;
    let deadline = Instant::now() + patience;
    loop {
        match UnixListener::bind_addr(&name) {
            Ok(socket) => return Some(socket),
            Err(_) if Instant::now() < deadline => sleep(PAUSE).await,
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_waits_for_the_other() {
        let name = format!("redis-api-test-{}", std::process::id());
        let first = take(&name, Duration::ZERO).await;
        assert!(first.is_some());
        assert!(take(&name, Duration::from_millis(50)).await.is_none());
        drop(first);
        assert!(take(&name, Duration::ZERO).await.is_some());
    }
}
