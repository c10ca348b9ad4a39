//! Name lookups, on a blocking pool that all workers share.
//!
//! The system's resolver blocks, so it needs threads; one small pool for the process keeps their
//! number fixed whatever the number of workers. A name is looked up at each connect and never
//! cached here: after a failover the next attempt must see the new address.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Lookups at the same time, and so threads of the pool: a second one, lest a name server that
/// hangs for one role's name delays the other's.
pub const LOOKUP_THREADS: usize = 2;

/// A handle to the shared pool. Cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    pool: Handle,
    /// Keeps lookups that hang from queueing up in the pool after their callers have given up.
    slots: Arc<Semaphore>,
}

impl Resolver {
    /// Looks names up on the blocking pool of the runtime behind `pool`.
    pub fn new(pool: Handle) -> Self {
        Resolver {
            pool,
            slots: Arc::new(Semaphore::new(LOOKUP_THREADS)),
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
        let slot = self
            .slots
            .clone()
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let name = host.to_owned();
        let lookup = self.pool.spawn_blocking(move || {
            let _slot = slot;
            (name.as_str(), port).to_socket_addrs().map(Vec::from_iter)
        });
        let addresses = lookup.await.map_err(io::Error::other)??;
        if addresses.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        Ok(addresses)
    }
}
