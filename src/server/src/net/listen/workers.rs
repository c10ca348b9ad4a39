//! The workers, as seen by whoever hands them connections: the acceptor, and each other.
//!
//! Invariants: a connection counts for one worker at any moment, and keeps its slot under the limit
//! when it moves. Workers hold no end that would keep the others' queues open once listening has
//! ended.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Sockets on the way to one worker. A worker that falls behind further than this makes the
/// acceptor wait, and then the backlog holds them.
const HAND_OVER: usize = 1024;

/// A client's connection on its way to a worker, and its slot in that worker's count.
struct Accepted {
    stream: StdStream,
    ticket: Ticket,
    from: Origin,
}

/// Where a worker has a connection from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client has just opened it.
    Client,
    /// Another worker has served it so far.
    Worker {
        /// From when on its next answer is to be the last one, if it has an age.
        retires: Option<Instant>,
    },
}

/// A slot under the limit; `None` for those accepted beyond it when listening ends.
type Slot = Option<OwnedSemaphorePermit>;

/// One of them.
struct Worker {
    /// Its open connections.
    open: AtomicUsize,
    sockets: mpsc::WeakSender<Accepted>,
}

/// All of them: who has how many connections, and who is to have the next.
pub struct Workers {
    list: Vec<Worker>,
    /// Where slots go back to.
    slots: Arc<Semaphore>,
    /// The first one is to have this many connections before any other has one.
    packed: AtomicUsize,
}

impl Workers {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// The open connections of one of them.
    pub fn open(&self, worker: usize) -> usize {
        let worker = self.list.get(worker);
        worker.map_or(0, |worker| worker.open.load(Relaxed))
    }

    /// Whether the first one is to have connections before any other has one.
    pub fn is_packed(&self) -> bool {
        self.packed.load(Relaxed) > 0
    }

    /// Has the first one have so many connections before any other has one; 0: each has its share.
    /// This is about new ones: others come and go by [`Ticket::hand_over`].
    pub fn pack(&self, first: usize) {
        self.packed.store(first, Relaxed);
    }

    /// Whether the first one is to have the next connection, whatever the others have.
    fn first_has_room(&self) -> bool {
        self.open(0) < self.packed.load(Relaxed)
    }

    /// Who is to have the next connection.
    fn next(&self) -> usize {
        if self.first_has_room() {
            return 0;
        }
        let least = (0..self.count()).min_by_key(|&worker| self.open(worker));
        least.unwrap_or_default()
    }

    /// Who is to have a connection of this one; `None`: it is where it belongs.
    fn better_than(&self, worker: usize) -> Option<usize> {
        if self.first_has_room() {
            return (worker != 0).then_some(0);
        }
        let next = self.next();
        (self.open(next) + 1 < self.open(worker)).then_some(next)
    }
}

/// Counts one open connection of a worker, and of the process, for as long as it lives. Each idle
/// connection has one: it is small.
pub struct Ticket {
    workers: Arc<Workers>,
    worker: u32,
    /// It still counts for that worker.
    counts: Cell<bool>,
    has_slot: Cell<bool>,
}

impl Ticket {
    fn new(workers: &Arc<Workers>, worker: usize, has_slot: bool) -> Self {
        if let Some(worker) = workers.list.get(worker) {
            worker.open.fetch_add(1, Relaxed);
        }
        Ticket {
            workers: workers.clone(),
            worker: worker as u32,
            counts: Cell::new(true),
            has_slot: Cell::new(has_slot),
        }
    }

    /// It counts no more.
    fn end(&self) {
        let worker = self.workers.list.get(self.worker as usize);
        if let Some(worker) = worker.filter(|_| self.counts.replace(false)) {
            worker.open.fetch_sub(1, Relaxed);
        }
    }

    /// Gives the connection to the worker that is to have it; `false`: that is the one that has it,
    /// or it can't be done now. Else `stream` is only to be dropped.
    pub fn hand_over(&self, stream: impl AsFd, retires: Option<Instant>) -> bool {
        let workers = &self.workers;
        let Some(to) = workers.better_than(self.worker as usize) else {
            return false;
        };
        // There is none once listening has ended.
        let Some(sockets) = workers.list.get(to).and_then(|to| to.sockets.upgrade()) else {
            return false;
        };
        let (Ok(room), Ok(stream)) = (
            sockets.try_reserve(),
            rustix::io::fcntl_dupfd_cloexec(stream, 0),
        ) else {
            return false;
        };
        room.send(Accepted {
            stream: stream.into(),
            ticket: Ticket::new(workers, to, self.has_slot.replace(false)),
            from: Origin::Worker { retires },
        });
        self.end();
        true
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end();
        if self.has_slot.get() {
            self.workers.slots.add_permits(1);
        }
    }
}

/// A connection that a worker is given.
pub struct Client {
    /// Registered with the worker's runtime.
    pub stream: TcpStream,
    /// To be kept until the connection is closed.
    pub ticket: Ticket,
    /// Where it comes from.
    pub from: Origin,
}

/// A worker's end: the sockets handed to it.
pub struct Incoming(mpsc::Receiver<Accepted>);

impl Incoming {
    /// The next connection, registered with the current worker's runtime; `None` once listening has
    /// ended and all were taken.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<io::Result<Client>> {
        let Accepted {
            stream,
            ticket,
            from,
        } = self.0.recv().await?;
        Some(TcpStream::from_std(stream).map(|stream| Client {
            stream,
            ticket,
            from,
        }))
    }
}

/// Where accepted sockets go.
pub(super) struct Targets {
    workers: Arc<Workers>,
    queues: Vec<mpsc::Sender<Accepted>>,
    /// Accepted, and waiting for room with a worker. Here and not in the waiting future, so that
    /// dropping that doesn't drop the client.
    held: RefCell<Option<(StdStream, Slot)>>,
}

impl Targets {
    /// So many workers, with one end for each, whose connections give their slots back to `slots`.
    pub(super) fn new(count: usize, slots: Arc<Semaphore>) -> (Self, Vec<Incoming>) {
        let pair = |_| {
            let (queue, receiver) = mpsc::channel(HAND_OVER);
            (queue, Incoming(receiver))
        };
        let (queues, ends): (Vec<mpsc::Sender<Accepted>>, _) = (0..count).map(pair).unzip();
        let worker = |queue: &mpsc::Sender<Accepted>| Worker {
            open: AtomicUsize::new(0),
            sockets: queue.downgrade(),
        };
        let workers = Arc::new(Workers {
            list: queues.iter().map(worker).collect(),
            slots,
            packed: AtomicUsize::new(0),
        });
        let targets = Targets {
            workers,
            queues,
            held: RefCell::new(None),
        };
        (targets, ends)
    }

    pub(super) fn workers(&self) -> &Arc<Workers> {
        &self.workers
    }

    /// # Cancel safety
    /// The socket is kept for [`hand_over_held`](Self::hand_over_held).
    pub(super) async fn hand_over(&self, stream: StdStream, slot: Slot) {
        self.held.replace(Some((stream, slot)));
        self.hand_over_held().await;
    }

    /// Hands over what an earlier call was dropped with, if anything.
    pub(super) async fn hand_over_held(&self) {
        if self.held.borrow().is_none() {
            return;
        }
        let next = self.workers.next();
        let Some(queue) = self.queues.get(next) else {
            return;
        };
        // Waits when the queue is full, and also when this task has done enough for one poll.
        let room = queue.reserve().await;
        // There is none only when the worker is gone, which ends the process.
        if let (Some((stream, slot)), Ok(room)) = (self.held.take(), room) {
            let ticket = Ticket::new(&self.workers, next, slot.is_some());
            if let Some(slot) = slot {
                // It is given back with the ticket.
                slot.forget();
            }
            room.send(Accepted {
                stream,
                ticket,
                from: Origin::Client,
            });
        }
    }
}
