//! The workers as those see them who give them connections.

use std::cell::RefCell;
use std::io;
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Sockets on the way to one worker. A worker that falls behind further than this makes the
/// acceptor wait, and then the backlog holds them.
const HAND_OVER: usize = 1024;

/// A client's connection on its way to a worker, and its slot in that worker's count.
struct Accepted {
    stream: StdStream,
    ticket: Ticket,
}

/// A slot under the limit; `None` for those accepted beyond it when listening ends.
type Slot = Option<OwnedSemaphorePermit>;

/// The open connections of one worker.
pub(super) struct Open {
    pub(super) count: AtomicUsize,
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
pub(super) struct Target {
    pub(super) open: Arc<Open>,
    sockets: mpsc::Sender<Accepted>,
}

/// Where accepted sockets go.
pub(super) struct Targets {
    pub(super) workers: Vec<Target>,
    /// Accepted, and waiting for room with a worker. Here and not in the waiting future, so that
    /// dropping that doesn't drop the client.
    held: RefCell<Option<(StdStream, Slot)>>,
}

impl Targets {
    /// So many workers, with one end for each, whose connections give their slots back to `slots`.
    pub(super) fn new(count: usize, slots: &Arc<Semaphore>) -> (Self, Vec<Incoming>) {
        let pair = |_| {
            let (sockets, receiver) = mpsc::channel(HAND_OVER);
            (
                Target {
                    open: Arc::new(Open {
                        count: AtomicUsize::new(0),
                        slots: slots.clone(),
                    }),
                    sockets,
                },
                Incoming(receiver),
            )
        };
        let (workers, ends) = (0..count).map(pair).unzip();
        let targets = Targets {
            workers,
            held: RefCell::new(None),
        };
        (targets, ends)
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
