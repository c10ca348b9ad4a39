//! Accepting clients and spreading them over the workers.
//!
//! One task accepts for all and hands each socket to the worker with the fewest open connections,
//! so that a handful of long-lived connections loads all cores alike. (`SO_REUSEPORT` spreads by
//! hash: of ten connections it often gives one of two workers two.) The backlog is one queue, and
//! nothing in it is lost when listening ends.
//!
//! Invariants: no more connections are open than the limit allows, except those that wait when
//! listening ends. While it is reached nothing is accepted: the backlog holds the clients, but not
//! for longer than the patience given, as by then they have left or soon will. Then the kernel
//! refuses them, which costs this process nothing. No failed accept ends accepting.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{
    Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener as StdListener, TcpStream as StdStream,
};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::net::{SocketFlags, accept_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::metrics;
use slots::Slots;

mod slots;

/// Connections that the kernel completes before we accept them; it cuts this to
/// `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// Sockets on the way to one worker. A worker that falls behind further than this makes the
/// acceptor wait, and then the backlog holds them.
const HAND_OVER: usize = 1024;

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

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
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

/// The next client in the backlog. Its socket doesn't block, which takes no further call, and is
/// known to no runtime yet: its worker's will be the only one.
fn accept(listener: impl AsFd) -> io::Result<StdStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(accept_with(listener, flags).map(StdStream::from)?)
}

/// A client's connection on its way to a worker, and its slot in that worker's count.
struct Accepted {
    stream: StdStream,
    ticket: Ticket,
}

/// A slot under the limit; `None` for those accepted beyond it when listening ends.
type Slot = Option<OwnedSemaphorePermit>;

/// The open connections of one worker.
struct Open {
    count: AtomicUsize,
    /// Where their slots go back to.
    slots: Arc<Semaphore>,
}

/// Counts one open connection of a worker, and of the process, for as long as it lives. Each idle
/// connection has one: it is small.
pub struct Ticket {
    open: Arc<Open>,
    has_slot: bool,
}

impl Ticket {
    fn new(open: &Arc<Open>, slot: Slot) -> Self {
        open.count.fetch_add(1, Relaxed);
        let has_slot = slot.is_some();
        if let Some(slot) = slot {
            // It is given back with the ticket.
            slot.forget();
        }
        Ticket {
            open: open.clone(),
            has_slot,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.open.count.fetch_sub(1, Relaxed);
        if self.has_slot {
            self.open.slots.add_permits(1);
        }
    }
}

/// A worker's end: the sockets handed to it.
pub struct Incoming(mpsc::Receiver<Accepted>);

impl Incoming {
    /// The next connection, registered with the current worker's runtime; `None` once listening has
    /// ended and all were taken. The ticket is to be kept until the connection is closed.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<io::Result<(TcpStream, Ticket)>> {
        let Accepted { stream, ticket } = self.0.recv().await?;
        Some(TcpStream::from_std(stream).map(|stream| (stream, ticket)))
    }
}

/// A worker as the acceptor sees it.
struct Target {
    open: Arc<Open>,
    sockets: mpsc::Sender<Accepted>,
}

/// Where accepted sockets go.
struct Targets {
    workers: Vec<Target>,
    /// Accepted, and waiting for room with a worker. Here and not in the waiting future, so that
    /// dropping that doesn't drop the client.
    held: RefCell<Option<(StdStream, Slot)>>,
}

impl Targets {
    /// # Cancel safety
    /// The socket is kept for [`hand_over_held`](Self::hand_over_held).
    async fn hand_over(&self, stream: StdStream, slot: Slot) {
        self.held.replace(Some((stream, slot)));
        self.hand_over_held().await;
    }

    /// Hands over what an earlier call was dropped with, if anything.
    async fn hand_over_held(&self) {
        if self.held.borrow().is_none() {
            return;
        }
        let open = |target: &&Target| target.open.count.load(Relaxed);
        let Some(target) = self.workers.iter().min_by_key(open) else {
            return;
        };
        // Waits when the queue is full, and also when this task has done enough for one poll.
        let room = target.sockets.reserve().await;
        // There is none only when the worker is gone, which ends the process.
        if let (Some((stream, slot)), Ok(room)) = (self.held.take(), room) {
            let ticket = Ticket::new(&target.open, slot);
            room.send(Accepted { stream, ticket });
        }
    }
}

/// Accepts for all workers.
pub struct Acceptor {
    listener: StdListener,
    address: SocketAddr,
    /// The kernel refuses clients: the listener is closed, and keeps its port.
    refusing: Cell<bool>,
    /// The last attempt to accept failed, and the log knows.
    failing: Cell<bool>,
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
        let pair = |_| {
            let (sockets, receiver) = mpsc::channel(HAND_OVER);
            (
                Target {
                    open: Arc::new(Open {
                        count: AtomicUsize::new(0),
                        slots: slots.free().clone(),
                    }),
                    sockets,
                },
                Incoming(receiver),
            )
        };
        let (targets, ends) = (0..workers).map(pair).unzip();
        let acceptor = Acceptor {
            address: listener.local_addr()?,
            listener: listener.into_std()?,
            refusing: Cell::new(false),
            failing: Cell::new(false),
            targets: Targets {
                workers: targets,
                held: RefCell::new(None),
            },
            slots,
            metrics,
        };
        Ok((acceptor, ends))
    }

    /// Accepts until dropped. A failed accept is logged, and followed by a pause.
    ///
    /// # Cancel safety
    /// Nothing accepted is lost: the next `run`, or [`finish`](Self::finish), goes on with it.
    pub async fn run(&self) -> Infallible {
        loop {
            match self.accept_until_overloaded().await {
                Ok(()) => {
                    self.refuse();
                    self.slots.wait().await;
                    tokio::time::sleep(REFUSAL).await;
                }
                Err(error) => self.failed("listen", &error).await,
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
        let next = |listener: &BorrowedFd<'_>| {
            let accepted = accept(listener);
            if let Err(error) = &accepted
                && error.kind() == io::ErrorKind::WouldBlock
            {
                self.slots.nobody_waits();
            }
            accepted
        };
        loop {
            self.targets.hand_over_held().await;
            let Some(slot) = self.slots.take(&self.metrics).await else {
                return Ok(());
            };
            match listener.async_io(Interest::READABLE, next).await {
                Ok(stream) => {
                    self.failing.set(false);
                    self.targets.hand_over(stream, Some(slot)).await;
                }
                // The client left before we came to it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => self.failed("accept connections", &error).await,
            }
        }
    }

    /// Counts it, says so once until something succeeds, and waits.
    async fn failed(&self, what: &str, error: &io::Error) {
        self.metrics.errors.add(1);
        if !self.failing.replace(true) {
            tracing::warn!("can't {what}: {error}; retrying");
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// Has the kernel refuse all clients, those in the backlog included.
    fn refuse(&self) {
        // On Linux this ends listening; the socket stays bound.
        match SockRef::from(&self.listener).shutdown(Shutdown::Read) {
            Ok(()) => self.refusing.set(true),
            Err(error) => tracing::warn!("clients can't be refused, and wait: {error}"),
        }
    }

    fn listen_again(&self) -> io::Result<()> {
        let socket = SockRef::from(&self.listener);
        // Linux takes a port that it has chosen itself (`:0`) back with the end of listening. Any
        // other is still ours, and can't be bound twice.
        match socket.bind(&self.address.into()) {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            _ => {}
        }
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
mod tests {
    use super::*;

    async fn acceptor(workers: usize, max: usize) -> (Acceptor, Vec<Incoming>, SocketAddr) {
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false).unwrap();
        let address = listener.local_addr().unwrap();
        let patience = Duration::from_millis(200);
        let (acceptor, ends) =
            Acceptor::new(listener, workers, max, patience, Arc::default()).unwrap();
        (acceptor, ends, address)
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let limit = Duration::from_secs(20);
        runtime
            .block_on(async { tokio::time::timeout(limit, test).await })
            .expect("it ends");
    }

    /// Lets `acceptor` run until `done` holds.
    async fn accept_until(acceptor: &Acceptor, done: impl Fn() -> bool) {
        let poll = async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            never = acceptor.run() => match never {},
            () = poll => {}
        }
    }

    #[test]
    fn what_can_not_be_listened_on_is_named_with_the_cure() {
        use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
        let check = |kind: io::ErrorKind, cure| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
            let error = kind.into();
            let text = BindError { address, error }.to_string();
            assert!(text.starts_with("can't listen on 127.0.0.1:80: "), "{text}");
            assert!(text.ends_with(cure), "{text}");
        };
        check(AddrInUse, "choose another");
        check(AddrNotAvailable, "or :80 for all");
        check(PermissionDenied, "choose a higher one");
    }

    #[test]
    fn a_few_connections_are_spread_evenly() {
        run(async {
            let (acceptor, mut ends, address) = acceptor(2, 100).await;
            let open = |worker: usize| acceptor.targets.workers[worker].open.count.load(Relaxed);
            let mut clients = Vec::new();
            for _ in 0..10 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            accept_until(&acceptor, || open(0) + open(1) == 10).await;
            assert_eq!((open(0), open(1)), (5, 5));

            // What one worker loses is what it gets next.
            for _ in 0..4 {
                drop(ends[0].next().await);
            }
            assert_eq!((open(0), open(1)), (1, 5));
            for _ in 0..3 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            accept_until(&acceptor, || open(0) + open(1) == 9).await;
            assert_eq!((open(0), open(1)), (4, 5));
        });
    }

    #[test]
    fn past_the_limit_clients_wait_in_the_backlog() {
        run(async {
            let (acceptor, mut ends, address) = acceptor(1, 2).await;
            let metrics = acceptor.metrics.clone();
            let open = || acceptor.targets.workers[0].open.count.load(Relaxed);
            let mut clients = Vec::new();
            for _ in 0..3 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            accept_until(&acceptor, || metrics.pauses.get() > 0).await;
            assert_eq!((open(), metrics.pauses.get()), (2, 1));
            let first = ends[0].next().await;
            accept_until(&acceptor, || metrics.pauses.get() > 1).await;
            assert_eq!(open(), 2, "taken over is not closed");
            drop(first);
            accept_until(&acceptor, || open() == 2).await;
            assert_eq!(metrics.errors.get(), 0);
            let (_, end) = (acceptor.finish().await, ends[0].next().await);
            assert!(end.is_some_and(|accepted| accepted.is_ok()));
        });
    }
    /// Lets `acceptor` run until a new client is refused, or, unless `refused`, until it is not.
    async fn connects_until(
        acceptor: &Acceptor,
        address: SocketAddr,
        refused: bool,
    ) -> Option<TcpStream> {
        let poll = async {
            loop {
                match TcpStream::connect(address).await {
                    Ok(client) if !refused => return Some(client),
                    // (Or reset, if that was just when the others were.)
                    Err(_) if refused => return None,
                    _ => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        tokio::select! {
            never = acceptor.run() => match never {},
            client = poll => client,
        }
    }

    #[test]
    fn who_has_waited_for_too_long_is_refused_until_there_is_a_slot() {
        run(async {
            let (acceptor, mut ends, address) = acceptor(1, 8).await;
            let open = || acceptor.targets.workers[0].open.count.load(Relaxed);
            let mut clients = Vec::new();
            for _ in 0..9 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            connects_until(&acceptor, address, true).await;
            assert_eq!(open(), 8);
            let waited = clients.pop().unwrap();
            waited.readable().await.unwrap();
            let lost = waited.try_read(&mut [0]).unwrap_err();
            assert_eq!(lost.kind(), io::ErrorKind::ConnectionReset);

            // As often as there is a slot, on the port that the system has chosen.
            for _ in 0..3 {
                drop(ends[0].next().await);
                clients.extend(connects_until(&acceptor, address, false).await);
                accept_until(&acceptor, || open() == 8).await;
                connects_until(&acceptor, address, true).await;
            }
            assert_eq!(acceptor.metrics.errors.get(), 0);
        });
    }

    #[test]
    fn listening_ends_also_while_clients_are_refused() {
        run(async {
            let (acceptor, mut ends, address) = acceptor(1, 1).await;
            let _client = TcpStream::connect(address).await.unwrap();
            connects_until(&acceptor, address, true).await;
            let metrics = acceptor.metrics.clone();
            acceptor.finish().await;
            assert!(ends[0].next().await.is_some());
            assert!(ends[0].next().await.is_none());
            assert_eq!(metrics.errors.get(), 0);
        });
    }
}
