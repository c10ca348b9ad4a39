//! Name lookups and the reading of files, on a blocking pool that all workers share.
//!
//! The system's resolver blocks, so it needs threads; one small pool for the process keeps their
//! number fixed whatever the number of workers. A name is looked up at each connect and never
//! cached here: after a failover the next attempt must see the new address.
//!
//! Invariant: a name, or a set of files, takes one thread at most, however many workers want it. A
//! name server that hangs for the master's name doesn't keep `localhost` from being found.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::files::Pipes;

/// Threads of the pool: one for the name of each role.
pub const LOOKUP_THREADS: usize = 2;

/// A handle to the shared pool. Cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    pool: Handle,
    slots: Arc<Mutex<Slots>>,
    pipes: Arc<Pipes>,
}

/// One place for each name that was ever looked up, and each set of files that was ever read: the
/// few of the configuration. It also keeps lookups that hang from queueing up in the pool after
/// their callers have given up.
type Slots = HashMap<Box<str>, Arc<Semaphore>>;

impl Resolver {
    /// Looks names up on the blocking pool of the runtime behind `pool`.
    pub fn new(pool: Handle) -> Self {
        Resolver {
            pool,
            slots: Arc::default(),
            pipes: Arc::default(),
        }
    }

    /// The pool itself, for the other rare work that blocks.
    pub fn pool(&self) -> &Handle {
        &self.pool
    }

    /// All addresses of a host, in the resolver's order. An IP address is its own answer.
    ///
    /// # Errors
    /// The resolver's error, or `NotFound` for a name without addresses.
    ///
    /// # Cancel safety
    /// Dropping it abandons the answer; a lookup under way keeps its slot until the resolver
    /// returns.
    pub async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let name = host.to_owned();
        let lookup = move || (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
        let addresses = self.run(host, lookup).await??;
        if addresses.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        Ok(addresses)
    }

    /// Runs a job that reads files, on the pool; one at a time of those with the same `key`.
    ///
    /// # Errors
    /// The process is about to end.
    ///
    /// # Cancel safety
    /// As for [`lookup`](Self::lookup).
    pub(super) async fn read_files<T: Send + 'static>(
        &self,
        key: &str,
        job: impl FnOnce(&Pipes) -> T + Send + 'static,
    ) -> io::Result<T> {
        let pipes = Arc::clone(&self.pipes);
        self.run(key, move || job(&pipes)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        key: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let slot = self.slot(key).await?;
        let running = self.pool.spawn_blocking(move || {
            let _slot = slot;
            job()
        });
        running.await.map_err(io::Error::other)
    }

    /// The place of this name, once it is free.
    async fn slot(&self, host: &str) -> io::Result<OwnedSemaphorePermit> {
        let place = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let place = slots
                .entry(host.into())
                .or_insert_with(|| Arc::new(Semaphore::new(1)));
            place.clone()
        };
        place.acquire_owned().await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Far longer than `localhost` takes: only a hang runs into it.
    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_name_that_hangs_keeps_no_other_from_being_found() {
        let resolver = Resolver::new(Handle::current());
        // What a lookup that hangs holds until the system gives it up.
        let hanging = resolver.slot("master.example").await.unwrap();
        // Those of the other workers.
        let mut others: Vec<_> = (0..2 * LOOKUP_THREADS)
            .map(|_| Box::pin(resolver.lookup("master.example", 6379)))
            .collect();
        for other in &mut others {
            let waited = timeout(Duration::ZERO, other).await;
            assert!(waited.is_err(), "one at a time");
        }
        let found = timeout(DEADLINE, resolver.lookup("localhost", 6379)).await;
        let addresses = found.expect("it does not wait").unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        drop(others);
        drop(hanging);
        let again = timeout(DEADLINE, resolver.slot("master.example")).await;
        assert!(again.is_ok(), "whoever gave up holds nothing");
    }
}
