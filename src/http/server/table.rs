//! A worker's open connections: what each is doing, since when, and how to end it.
//!
//! Deadlines come from one sweep over this table instead of a timer per request: the sweep sleeps
//! until the oldest state can expire and no longer than the shortest limit, so that nothing expires
//! unseen, and its cost does not grow with the request rate.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;

use crate::turn::Turn;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Between requests, with nothing read of the next.
    Idle,
    /// Some of a request's head has been read.
    Head,
    /// The head is complete and the body is being read.
    Body,
    /// The service is at work.
    Handler,
    /// The answer is being sent.
    Write,
    /// The answer said `close` and is out; what the client still sends is thrown away.
    Linger,
}

/// One connection, shared by its task, its service call and the sweep.
pub struct Entry {
    state: Cell<State>,
    since: Cell<Instant>,
    /// The request in hand is past its deadline.
    expired: Cell<bool>,
    /// End it as soon as nothing is in hand.
    closing: Cell<bool>,
    /// A request has begun to arrive at some time.
    used: Cell<bool>,
    task: RefCell<Option<Waker>>,
    key: OnceCell<usize>,
}

impl Entry {
    fn new(now: Instant) -> Self {
        Entry {
            state: Cell::new(State::Idle),
            since: Cell::new(now),
            expired: Cell::new(false),
            closing: Cell::new(false),
            used: Cell::new(false),
            task: RefCell::new(None),
            key: OnceCell::new(),
        }
    }

    pub fn state(&self) -> State {
        self.state.get()
    }

    /// When the present state began; for [`State::Body`] and [`State::Handler`], when the head was
    /// complete.
    pub fn since(&self) -> Instant {
        self.since.get()
    }

    /// Enters a state that starts its own clock.
    pub fn enter(&self, state: State, now: Instant) {
        self.used.set(true);
        self.state.set(state);
        self.since.set(now);
    }

    /// Goes from one state to the next on the same clock.
    pub fn advance(&self, state: State) {
        self.state.set(state);
    }

    /// A request's head is complete.
    pub fn begin(&self, now: Instant) {
        self.expired.set(false);
        self.enter(State::Handler, now);
    }

    /// Is the request in hand past its deadline?
    pub fn is_expired(&self) -> bool {
        self.expired.get()
    }

    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Ends the connection when nothing is in hand: the close handle.
    pub fn close(&self) {
        self.closing.set(true);
        self.wake();
    }

    fn expire(&self) {
        self.expired.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// The connection's task runs, and is to be woken by `waker`.
    pub(super) fn listen(&self, waker: &Waker) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }
}

/// How long a connection may stay in a state.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the end of a request's head to its answer.
    pub request: Duration,
    /// For the rest of what a client sends behind an answer that said `close`.
    pub linger: Duration,
}

impl Timeouts {
    fn of(&self, state: State) -> Option<Duration> {
        match state {
            State::Body | State::Handler => Some(self.request),
            State::Linger => Some(self.linger),
            State::Idle | State::Head | State::Write => None,
        }
    }

    fn shortest(&self) -> Duration {
        self.request.min(self.linger)
    }
}

/// Between two sweeps at least: how late a deadline may be noticed.
const GRAIN: Duration = Duration::from_millis(5);

/// All open connections of a worker.
#[derive(Default)]
pub struct Table {
    entries: RefCell<Slab<Rc<Entry>>>,
    /// Rings when the first connection comes and when the last one goes.
    changed: Notify,
}

impl Table {
    pub fn insert(&self, now: Instant) -> Rc<Entry> {
        let entry = Rc::new(Entry::new(now));
        let mut entries = self.entries.borrow_mut();
        let _ = entry.key.set(entries.insert(entry.clone()));
        if entries.len() == 1 {
            self.changed.notify_waiters();
        }
        entry
    }

    pub fn remove(&self, entry: &Entry) {
        let mut entries = self.entries.borrow_mut();
        if let Some(key) = entry.key.get() {
            entries.try_remove(*key);
        }
        if entries.is_empty() {
            self.changed.notify_waiters();
        }
    }

    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every connection on which a request has ever begun to arrive, as soon as nothing is in
    /// hand on it.
    pub fn close_used(&self) {
        let entries = self.entries.borrow();
        let used = entries.iter().filter(|(_, entry)| entry.used.get());
        used.for_each(|(_, entry)| entry.close());
    }

    /// Ends every connection as soon as nothing is in hand on it.
    pub fn close_all(&self) {
        self.entries
            .borrow()
            .iter()
            .for_each(|(_, entry)| entry.close());
    }

    /// Resolves when no connection is left.
    pub async fn emptied(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// The task that expires what is past its deadline; never returns.
    pub async fn sweep(&self, timeouts: Timeouts, turn: &Turn) {
        loop {
            let changed = self.changed.notified();
            if self.is_empty() {
                changed.await;
            }
            let now = turn.now();
            let next = self.sweep_once(now, timeouts);
            tokio::time::sleep_until(next.max(now + GRAIN).into()).await;
        }
    }

    /// Expires what is due, and says when to look again: nothing that is not due by then can become
    /// so before.
    fn sweep_once(&self, now: Instant, timeouts: Timeouts) -> Instant {
        let mut next = now + timeouts.shortest();
        for (_, entry) in &*self.entries.borrow() {
            let Some(timeout) = timeouts.of(entry.state()) else {
                continue;
            };
            let due = entry.since() + timeout;
            if due > now {
                next = next.min(due);
            } else if !entry.is_expired() {
                entry.expire();
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        request: Duration::from_millis(400),
        linger: Duration::from_secs(1),
    };

    #[test]
    fn a_sweep_expires_what_is_due_and_names_the_next_deadline() {
        let table = Table::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (idle, early, late) = (
            table.insert(start),
            table.insert(start),
            table.insert(start),
        );
        early.begin(at(100));
        late.begin(at(200));
        assert_eq!(table.sweep_once(at(250), TIMEOUTS), at(500));
        assert!(!early.is_expired());
        assert_eq!(table.sweep_once(at(500), TIMEOUTS), at(600));
        assert!(early.is_expired() && !late.is_expired() && !idle.is_expired());
        early.begin(at(510));
        assert!(!early.is_expired(), "the next request starts afresh");
        assert_eq!(table.sweep_once(at(600), TIMEOUTS), at(910));
        assert!(late.is_expired());
    }

    #[test]
    fn without_requests_the_next_look_is_the_shortest_limit_away() {
        let table = Table::default();
        let start = Instant::now();
        let entry = table.insert(start);
        assert_eq!(table.sweep_once(start, TIMEOUTS), start + TIMEOUTS.request);
        table.remove(&entry);
        assert!(table.is_empty());
        table.remove(&entry);
        assert!(table.is_empty(), "a second removal removes nobody else");
    }

    #[test]
    fn a_connection_whose_first_request_is_on_its_way_is_closed_last() {
        let table = Table::default();
        let start = Instant::now();
        let (fresh, reading, idle) = (
            table.insert(start),
            table.insert(start),
            table.insert(start),
        );
        reading.enter(State::Head, start);
        idle.begin(start);
        idle.enter(State::Idle, start);
        table.close_used();
        assert!(!fresh.is_closing() && reading.is_closing() && idle.is_closing());
        table.close_all();
        assert!(fresh.is_closing());
    }
}
