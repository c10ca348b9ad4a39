//! One place in a connection set: empty, connecting, or holding a connection.
//!
//! A link outlives its connections. Requests write commands into it from anywhere on the worker's
//! thread; its driver task alone moves bytes between it and the socket.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use bytes::BytesMut;

use crate::metrics;
use redis_api_wire::conn::{Conn, Error, Fate, Greeting, Refusal, Verdict};
use redis_api_wire::resp::Reply;

/// What the owner of a set is told. All calls come from the driver tasks, on the worker's thread.
pub trait Owner<W>: 'static {
    /// A connection was made and logged in. Commands may be enqueued on `link`; [`Link::admit`]
    /// opens it to requests.
    fn ready(&self, link: &Rc<Link<W>>, greeting: Greeting);

    /// A reply arrived. Must not enqueue on the same link: its connection is in use.
    fn reply(&self, link: &Link<W>, waiter: W, reply: Reply<'_>) -> Verdict;

    /// A push arrived. Must not enqueue on the same link.
    fn push(&self, link: &Link<W>, push: Reply<'_>);

    /// The connection ended before this waiter's reply.
    fn lost(&self, waiter: W, fate: Fate, error: &Error);

    /// The link has no connection any more, or an attempt to get one failed: why, in words. Called
    /// after `lost`.
    fn down(&self, link: &Link<W>, why: &str);
}

/// A link with its owner: what a driver serves.
pub(super) struct OwnedLink<W> {
    pub link: Rc<Link<W>>,
    pub owner: Rc<dyn Owner<W>>,
}

/// See the module.
pub struct Link<W> {
    index: usize,
    conn: RefCell<Option<Conn<W>>>,
    /// May requests use it? The owner decides, after login, by [`Link::admit`].
    admitted: Cell<bool>,
    /// Counts the times the driver began to give bytes to the transport: a command enqueued at this
    /// count has not been sent while the count stands.
    flushes: Cell<u64>,
    /// See [`Link::set_crowded`].
    crowded: Cell<bool>,
    /// The driver is woken already and will see what was enqueued.
    woken: Cell<bool>,
    driver: RefCell<Option<Waker>>,
    metrics: metrics::RoleMetrics,
}

impl<W> Link<W> {
    pub(super) fn new(index: usize, metrics: metrics::RoleMetrics) -> Self {
        Link {
            index,
            conn: RefCell::new(None),
            admitted: Cell::new(false),
            flushes: Cell::new(0),
            crowded: Cell::new(false),
            woken: Cell::new(false),
            driver: RefCell::new(None),
            metrics,
        }
    }

    /// Its place in the set.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Logged in, and admitted by the owner.
    pub fn is_admitted(&self) -> bool {
        self.admitted.get()
    }

    /// Opens the link to requests, or closes it to them.
    pub fn admit(&self, admitted: bool) {
        self.admitted.set(admitted);
    }

    /// Unanswered commands.
    pub fn in_flight(&self) -> usize {
        self.conn.borrow().as_ref().map_or(0, Conn::in_flight)
    }

    /// Whether no command is unanswered and no login is under way.
    pub(super) fn is_quiet(&self) -> bool {
        let conn = self.conn.borrow();
        conn.as_ref()
            .is_none_or(|conn| conn.is_ready() && conn.in_flight() == 0)
    }

    /// Changes when commands enqueued so far begin to be sent: until then a command with the same
    /// stamp is certainly *not yet sent*.
    pub fn stamp(&self) -> u64 {
        self.flushes.get()
    }

    /// Writes one command, which leaves with all others of this turn in one `write`.
    ///
    /// # Errors
    /// The waiter, when the link has no connection or its window is full.
    pub fn enqueue(
        &self,
        waiter: W,
        now: Instant,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<(), (W, Refusal)> {
        self.write(waiter, |conn, waiter| conn.enqueue(waiter, now, encode))
    }

    /// The same for a question about the server itself, for which places are reserved beyond a full
    /// window.
    ///
    /// # Errors
    /// The waiter, when the link has no connection, or earlier questions await their answers.
    pub fn enqueue_reserved(
        &self,
        waiter: W,
        now: Instant,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<(), (W, Refusal)> {
        self.write(waiter, |conn, waiter| {
            conn.enqueue_reserved(waiter, now, encode)
        })
    }

    /// Lets `enqueue` write a command, and the driver send it.
    fn write(
        &self,
        waiter: W,
        enqueue: impl FnOnce(&mut Conn<W>, W) -> Result<(), (W, Refusal)>,
    ) -> Result<(), (W, Refusal)> {
        match &mut *self.conn.borrow_mut() {
            None => return Err((waiter, Refusal::NotReady)),
            Some(conn) => enqueue(conn, waiter)?,
        }
        self.metrics.role().commands.add(1);
        if !self.woken.replace(true)
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
        Ok(())
    }

    /// Says that many requests share a command at present. Then the driver looks at the sockets
    /// once more before it sends: who has arrived meanwhile shares too. It is no timer, and never a
    /// second look.
    pub fn set_crowded(&self, crowded: bool) {
        self.crowded.set(crowded);
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.get()
    }

    pub(super) fn open(&self, conn: Conn<W>) {
        *self.conn.borrow_mut() = Some(conn);
    }

    /// Takes the ended connection out; nothing can be enqueued from now on.
    pub(super) fn take(&self) -> Option<Conn<W>> {
        self.admitted.set(false);
        self.driver.borrow_mut().take();
        // Whoever compares stamps must not take a command of the lost connection for one of the
        // next.
        self.flushes.set(self.flushes.get() + 1);
        self.conn.borrow_mut().take()
    }

    /// Runs `f` on the connection, if there is one.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Conn<W>) -> T) -> Option<T> {
        self.conn.borrow_mut().as_mut().map(f)
    }

    pub(super) fn begin_flush(&self) {
        self.flushes.set(self.flushes.get() + 1);
    }

    /// The driver runs, and is to be woken by `waker` at the next command.
    pub(super) fn listen(&self, waker: &Waker) {
        self.woken.set(false);
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *driver = Some(waker.clone());
        }
    }
}
