//! Accepting clients and spreading them over the workers.
//!
//! One task accepts for all and hands each socket to the worker with the fewest open connections,
//! so that a handful of long-lived connections loads all cores alike; or to the first one, while
//! that is to have them all ([`Workers::pack`]). (`SO_REUSEPORT` spreads by hash: of ten
//! connections it often gives one of two workers two.) The backlog is one queue, and nothing in it
//! is lost when listening ends.
//!
//! Invariants: no more connections are open than the limit allows, except those that wait when
//! listening ends. While it is reached nothing is accepted: the backlog holds the clients, but not
//! for longer than the patience given, as by then they have left or soon will. Then the kernel
//! refuses them, which costs this process next to nothing. (Only where accepting itself fails, for
//! lack of file descriptors, do they wait without a bound.) No failed accept ends accepting, and
//! the port is never anybody else's.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{
    Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener as StdListener, TcpStream as StdStream,
};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;

use crate::metrics;
use slots::Slots;
use workers::Targets;

pub use workers::{Client, Incoming, Origin, Ticket, Workers};

mod slots;
mod workers;

/// Connections that the kernel completes before we accept them; it cuts this to
/// `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// After a failed accept (out of file descriptors, mostly) the next one waits this long: at once
/// would spin.
const PAUSE: Duration = Duration::from_millis(50);

/// How long clients are refused at least: to close the listener and open it again for each
/// connection that ends would cost more than it brings.
const REFUSAL: Duration = Duration::from_millis(10);

/// Why a port could not be listened on.
#[derive(Debug)]
pub struct BindError {
    /// What was to be listened on.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { address, error } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "can't listen on {address}: the port is in use; stop what uses it or choose another"
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "can't listen on {address}: this machine has no such address; give one of its \
                 addresses, or :{} for all",
                address.port()
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "can't listen on {address}: {error}; ports below 1024 need CAP_NET_BIND_SERVICE: \
                 choose a higher one"
            ),
            _ => write!(f, "can't listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for BindError {}

/// Listens on `address`; an IPv6 wildcard takes IPv4 clients too. With `fallback`, for an address
/// nobody asked for, `[::]` becomes `0.0.0.0` on a host without IPv6.
///
/// # Errors
/// The address, and what the system said.
pub fn bind(address: SocketAddr, fallback: bool) -> Result<TcpListener, BindError> {
    match listener(address) {
        Ok(listener) => Ok(listener),
        Err(error) if fallback && lacks_ipv6(address, &error) => {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            listener(address).map_err(|error| BindError { address, error })
        }
        Err(error) => Err(BindError { address, error }),
    }
}

fn lacks_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    use nix::libc::{EADDRNOTAVAIL, EAFNOSUPPORT};
    address.ip() == Ipv6Addr::UNSPECIFIED
        && matches!(error.raw_os_error(), Some(EADDRNOTAVAIL | EAFNOSUPPORT))
}

/// A socket that is bound there, and doesn't listen yet.
fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the last run's connections to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Accepted sockets inherit it on Linux: one system call for all of them.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let mut socket = bound(address)?;
    if address.port() == 0
        && let Some(chosen) = socket.local_addr()?.as_socket()
    {
        // Linux takes a port that it has chosen itself back when listening ends, be it for a while.
        // One that was named it does not.
        socket = bound(chosen)?;
    }
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A listener that is waited for as such. (tokio's own would also register each socket that it
/// accepts, on the accepting thread.)
#[expect(
    deprecated,
    reason = "it is unsound for types that change their descriptor, which this one doesn't; what \
              replaces it is unsafe"
)]
fn watched(listener: &StdListener) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    AsyncFd::with_interest(listener.as_fd(), Interest::READABLE)
}

/// Waits until there is somebody in the backlog.
async fn somebody_waits(listener: &AsyncFd<BorrowedFd<'_>>) -> io::Result<()> {
    loop {
        let mut ready = listener.readable().await?;
        // What the runtime knows may be of those who were accepted.
        let mut look = [PollFd::new(listener.get_ref(), PollFlags::IN)];
        if poll(&mut look, Some(&Timespec::default()))? > 0 {
            return Ok(());
        }
        ready.clear_ready();
    }
}

/// The next client in the backlog. Its socket doesn't block, which takes no further call, and is
/// known to no runtime yet: its worker's will be the only one.
fn accept(listener: impl AsFd) -> io::Result<StdStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(accept_with(listener, flags).map(StdStream::from)?)
}

/// Accepts for all workers.
pub struct Acceptor {
    listener: StdListener,
    address: SocketAddr,
    /// The kernel refuses clients: the listener is closed, and keeps its port.
    refusing: Cell<bool>,
    targets: Targets,
    slots: Slots,
    metrics: Arc<metrics::Acceptor>,
}

impl Acceptor {
    /// An acceptor, and one end for each of `workers`. At most `max_connections` are open at once;
    /// beyond them clients wait for `patience` at most.
    ///
    /// # Errors
    /// The system doesn't say what the listener listens on.
    pub fn new(
        listener: TcpListener,
        workers: usize,
        max_connections: usize,
        patience: Duration,
        metrics: Arc<metrics::Acceptor>,
    ) -> io::Result<(Self, Vec<Incoming>)> {
        let slots = Slots::new(max_connections, patience);
        let (targets, ends) = Targets::new(workers, slots.free().clone());
        let acceptor = Acceptor {
            address: listener.local_addr()?,
            listener: listener.into_std()?,
            refusing: Cell::new(false),
            targets,
            slots,
            metrics,
        };
        Ok((acceptor, ends))
    }

    /// Those that it accepts for.
    pub fn workers(&self) -> &Arc<Workers> {
        self.targets.workers()
    }

    /// Accepts until dropped. A failed accept is logged, and followed by a pause.
    ///
    /// # Cancel safety
    /// Nothing accepted is lost: the next `run`, or [`finish`](Self::finish), goes on with it.
    pub async fn run(&self) -> Infallible {
        loop {
            if self.refusing.get() {
                self.slots.wait().await;
                tokio::time::sleep(REFUSAL).await;
            }
            match self.accept_until_overloaded().await {
                Ok(()) => self.refuse(),
                Err(error) => {
                    self.metrics.errors.add(1);
                    tracing::warn!("can't listen on {}: {error}; retrying", self.address);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// # Errors
    /// The listener can't be opened again, or not be watched.
    async fn accept_until_overloaded(&self) -> io::Result<()> {
        if self.refusing.get() {
            self.listen_again()?;
        }
        let listener = watched(&self.listener)?;
        let mut failing = false;
        loop {
            self.targets.hand_over_held().await;
            let somebody = || somebody_waits(&listener);
            let Some(slot) = self.slots.take(&self.metrics, somebody).await else {
                return Ok(());
            };
            let next = listener.async_io(Interest::READABLE, |listener| {
                accept(listener).inspect_err(|error| {
                    if error.kind() == io::ErrorKind::WouldBlock {
                        self.slots.nobody_waits();
                    }
                })
            });
            match next.await {
                Ok(stream) => {
                    failing = false;
                    self.targets.hand_over(stream, Some(slot)).await;
                }
                // The client left before we came to it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.metrics.errors.add(1);
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!("can't accept connections: {error}; retrying");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Has the kernel refuse all clients, those in the backlog included.
    fn refuse(&self) {
        let socket = SockRef::from(&self.listener);
        // On Linux this ends listening, and the socket stays bound. Another one that reuses
        // addresses could be bound to the same port then, if this one did too.
        if let Err(error) = socket.shutdown(Shutdown::Read) {
            tracing::warn!("clients can't be refused, and wait: {error}");
            return;
        }
        self.refusing.set(true);
        self.metrics.refusals.add(1);
        if let Err(error) = socket.set_reuse_address(false) {
            tracing::warn!("{} is open to other processes: {error}", self.address);
        }
    }

    fn listen_again(&self) -> io::Result<()> {
        let socket = SockRef::from(&self.listener);
        // The port has connections.
        socket.set_reuse_address(true)?;
        socket.listen(BACKLOG)?;
        self.refusing.set(false);
        Ok(())
    }

    /// Ends listening: what the backlog still holds is handed over first, even past the limit,
    /// because nobody else will come.
    pub async fn finish(self) {
        self.targets.hand_over_held().await;
        if self.refusing.get() {
            return;
        }
        loop {
            match accept(&self.listener) {
                Ok(stream) => self.targets.hand_over(stream, None).await,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Nobody waits any more.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.metrics.errors.add(1);
                    tracing::warn!("clients in the backlog are lost: {error}");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
