//! A worker's open connections: what each is doing, since when, and how to end it.
//!
//! Deadlines come from one sweep over this table instead of a timer per request: the sweep sleeps
//! until the oldest state can expire and no longer than the shortest limit, so that nothing expires
//! unseen, and its cost does not grow with the request rate.

use std::cell::{Cell, OnceCell, RefCell};
use std::hint::black_box;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use fastrand::Rng;
use slab::Slab;
use tokio::sync::Notify;

use super::feed::Streamed;
use crate::turn::Turn;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Between requests, with nothing read of the next.
    Idle,
    /// An answer without an end has begun. As quiet as an idle connection, until there is something
    /// to say.
    Stream,
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

impl State {
    /// Whether something of a request or an answer is unfinished.
    fn is_active(self) -> bool {
        !matches!(self, State::Idle | State::Stream)
    }
}

/// Where a connection belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where it is, as far as is known.
    Here,
    /// Perhaps to another worker.
    Astray,
    /// Another worker has it.
    Left,
}

/// Why a connection is ended whatever is in progress on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A head did not become complete.
    SlowHead,
    /// The client does not take its answers.
    SlowReader,
}

/// One connection, shared by its task, its service call and the sweep.
pub struct Entry {
    state: Cell<State>,
    since: Cell<Instant>,
    /// The request in progress is past its deadline.
    expired: Cell<bool>,
    /// End it as soon as nothing is in progress.
    closing: Cell<bool>,
    /// The next answer is the last one, and says so.
    last: Cell<bool>,
    /// From when on the next answer is to be the last one.
    retires: Cell<Option<Instant>>,
    /// The socket has taken nothing since, though there is something to send.
    blocked: Cell<Option<Instant>>,
    cut: Cell<Option<Cut>>,
    /// A request has begun to arrive at some time.
    used: Cell<bool>,
    /// There is a hyper, which an idle connection doesn't need.
    parsing: Cell<bool>,
    /// The connection has been idle for so long that it should go.
    rest: Cell<bool>,
    place: Cell<Place>,
    /// An answer without an end that the service has begun, and the connection not yet taken over.
    stream: Cell<Option<Box<Streamed>>>,
    task: RefCell<Option<Waker>>,
    key: OnceCell<usize>,
    /// Of the table: how many connections are not idle.
    active: Rc<Cell<usize>>,
}

impl Entry {
    fn new(now: Instant, last: bool, retires: Option<Instant>, active: Rc<Cell<usize>>) -> Self {
        Entry {
            state: Cell::new(State::Idle),
            since: Cell::new(now),
            expired: Cell::new(false),
            closing: Cell::new(false),
            last: Cell::new(last),
            retires: Cell::new(retires),
            blocked: Cell::new(None),
            cut: Cell::new(None),
            used: Cell::new(false),
            parsing: Cell::new(false),
            rest: Cell::new(false),
            place: Cell::new(Place::Here),
            stream: Cell::new(None),
            task: RefCell::new(None),
            key: OnceCell::new(),
            active,
        }
    }

    /// What the connection is doing.
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
        self.expired.set(false);
        self.advance(state);
        self.since.set(now);
    }

    /// Goes from one state to the next on the same clock.
    pub fn advance(&self, state: State) {
        match (self.state.replace(state).is_active(), state.is_active()) {
            (false, true) => self.active.set(self.active.get() + 1),
            (true, false) => self.active.set(self.active.get() - 1),
            _ => {}
        }
    }

    /// A request's head is complete.
    pub fn begin(&self, now: Instant) {
        self.enter(State::Handler, now);
    }

    /// The request in progress is answered by this, without an end.
    pub fn stream(&self, stream: Box<Streamed>, now: Instant) {
        self.stream.set(Some(stream));
        self.enter(State::Stream, now);
    }

    /// An answer without an end that has begun; said once.
    pub(super) fn take_stream(&self) -> Option<Box<Streamed>> {
        self.stream.take()
    }

    /// Is the request in progress past its deadline?
    pub fn is_expired(&self) -> bool {
        self.expired.get()
    }

    /// Whether it ends as soon as nothing is in progress.
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Must the next answer say `Connection: close`?
    pub fn is_last(&self) -> bool {
        self.last.get()
    }

    /// From now on the next answer is the last one.
    pub fn retire(&self) {
        self.last.set(true);
    }

    /// Ends the connection when nothing is in progress: the close handle.
    pub fn close(&self) {
        self.retire();
        self.closing.set(true);
        self.wake();
    }

    /// Set when the connection is to end at once.
    pub fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }

    /// Whether the socket takes no more.
    pub fn is_blocked(&self) -> bool {
        self.blocked.get().is_some()
    }

    /// The socket takes no more, and last took something now.
    pub fn block(&self, now: Instant) {
        self.blocked.set(Some(now));
    }

    /// All is sent.
    pub fn unblock(&self) {
        if self.is_blocked() {
            self.blocked.set(None);
        }
    }

    /// Whether the connection has what parses requests.
    pub(super) fn set_parsing(&self, parsing: bool) {
        self.parsing.set(parsing);
    }

    /// Whether the connection should throw away what it does not need while it is idle; said once.
    pub(super) fn take_rest(&self) -> bool {
        self.rest.replace(false)
    }

    /// Whether a request has ever begun to arrive.
    pub(super) fn is_used(&self) -> bool {
        self.used.get()
    }

    /// Whether it may belong to another worker.
    pub(super) fn is_astray(&self) -> bool {
        self.place.get() == Place::Astray
    }

    /// Whether another worker goes on with it.
    pub(super) fn has_left(&self) -> bool {
        self.place.get() == Place::Left
    }

    /// Says where it belongs.
    pub(super) fn set_place(&self, place: Place) {
        self.place.set(place);
    }

    /// From when on the next answer is to be the last one, if it has an age.
    pub(super) fn retires(&self) -> Option<Instant> {
        self.retires.get()
    }

    /// The present state has lasted for as long as it may.
    fn expire(&self) {
        match self.state() {
            State::Idle if !self.is_closing() => self.close(),
            State::Head => self.end(Cut::SlowHead),
            State::Body | State::Handler | State::Linger if !self.is_expired() => {
                self.expired.set(true);
                self.wake();
            }
            _ => {}
        }
    }

    fn end(&self, why: Cut) {
        if self.cut.replace(Some(why)).is_none() {
            self.wake();
        }
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

/// How long a connection may stay in a state; `None` is for ever.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the end of a request's head to its answer.
    pub request: Duration,
    /// For the rest of what a client sends behind an answer that said `close`.
    pub linger: Duration,
    /// From the first byte of a head to its last.
    pub header: Option<Duration>,
    /// Without a byte of a next request.
    pub idle: Option<Duration>,
    /// With something to send, of which the client takes nothing.
    pub write: Option<Duration>,
    /// The age past which the next answer is the last one. Each connection has its own, up to a
    /// tenth off, so that those opened together don't end together.
    pub age: Option<Duration>,
    /// How long streams may go on once the end is announced.
    pub drain: Duration,
}

impl Timeouts {
    /// Limits for clients that are not to be limited, but for these.
    pub fn new(request: Duration, linger: Duration) -> Self {
        Timeouts {
            request,
            linger,
            header: None,
            idle: None,
            write: None,
            age: None,
            drain: Duration::ZERO,
        }
    }

    fn of(&self, state: State) -> Option<Duration> {
        match state {
            State::Idle => self.idle,
            State::Head => self.header,
            State::Body | State::Handler => Some(self.request),
            State::Linger => Some(self.linger),
            // What counts is whether the client takes any of it: see `write`.
            State::Write | State::Stream => None,
        }
    }

    /// No limit of a state, or of an age, that begins from now on ends sooner.
    fn shortest(&self) -> Duration {
        let others = [self.header, self.idle, self.write, self.age.map(youngest)];
        let always = self.request.min(self.linger).min(REST);
        others.into_iter().flatten().fold(always, Duration::min)
    }

    /// The age of one connection, for a `random` number from 0 to 1.
    fn age_of_one(&self, random: f64) -> Option<Duration> {
        let age = self.age?;
        Some(youngest(age) + (age / 5).mul_f64(random.clamp(0.0, 1.0)))
    }
}

/// Nine tenths of the age asked for.
fn youngest(age: Duration) -> Duration {
    age.saturating_sub(age / 10)
}

/// After so long without a request a connection gives back the memory that parsing takes: some 19
/// KiB, and little work to get anew.
const REST: Duration = Duration::from_secs(5);

/// What connections have given back goes to the system after so long. The allocator keeps it for a
/// second, and then until the next time that it has to do with whole pages: a worker with nothing
/// to parse may never have.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// A block that has pages of its own, in bytes: to free one makes the allocator look at what it
/// keeps. The pages are never touched.
const OWN_PAGES: usize = 1 << 20;

/// Between two sweeps at least: how late a deadline may be noticed.
const GRAIN: Duration = Duration::from_millis(5);

/// All open connections of a worker.
pub struct Table {
    entries: RefCell<Slab<Rc<Entry>>>,
    /// How many of them are not idle.
    active: Rc<Cell<usize>>,
    timeouts: Timeouts,
    /// Spreads the ages of connections.
    random: RefCell<Rng>,
    /// Every answer is the last one of its connection, and streams end by then.
    ending: Cell<Option<Instant>>,
    /// Since when there has been memory to give back to the system.
    freed: Cell<Option<Instant>>,
    /// Rings when the first connection comes and when the last one goes.
    changed: Notify,
}

impl Table {
    pub fn new(timeouts: Timeouts, random: Rng) -> Self {
        Table {
            entries: RefCell::default(),
            active: Rc::default(),
            timeouts,
            random: RefCell::new(random),
            ending: Cell::new(None),
            freed: Cell::new(None),
            changed: Notify::new(),
        }
    }

    pub fn insert(&self, now: Instant) -> Rc<Entry> {
        let age = self.timeouts.age_of_one(self.random.borrow_mut().f64());
        self.insert_until(now, age.map(|age| now + age))
    }

    /// A connection that was open elsewhere, whose next answer is the last one from `retires` on,
    /// or from the sweep after that: up to a second later.
    pub fn resume(&self, now: Instant, retires: Option<Instant>) -> Rc<Entry> {
        let entry = self.insert_until(now, retires);
        entry.used.set(true);
        entry
    }

    fn insert_until(&self, now: Instant, retires: Option<Instant>) -> Rc<Entry> {
        let entry = Rc::new(Entry::new(
            now,
            self.ending.get().is_some(),
            retires,
            self.active.clone(),
        ));
        let mut entries = self.entries.borrow_mut();
        let _ = entry.key.set(entries.insert(entry.clone()));
        if entries.len() == 1 {
            self.changed.notify_waiters();
        }
        entry
    }

    pub fn remove(&self, entry: &Entry) {
        entry.advance(State::Idle);
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

    /// How many connections are in another state than [`State::Idle`]: something of a request or an
    /// answer is unfinished, or the connection is being ended.
    pub fn active(&self) -> usize {
        self.active.get()
    }

    /// From now on every answer is the last one of its connection, and streams end one by one.
    pub fn drain(&self, now: Instant) {
        if self.ending.get().is_some() {
            return;
        }
        self.ending.set(Some(now + self.timeouts.drain));
        for (_, entry) in &*self.entries.borrow() {
            entry.retire();
            if entry.state() == State::Stream {
                self.stream_begins(entry, now);
            }
        }
    }

    /// An answer without an end has begun: if its connection is to end soon, says when. In the
    /// second half of the time that is left: the balancers learn of the end in the first, and lead
    /// who comes again elsewhere.
    pub fn stream_begins(&self, entry: &Entry, now: Instant) {
        if !entry.is_last() {
            return;
        }
        let random = self.random.borrow_mut().f64();
        entry.retires.set(match self.ending.get() {
            Some(until) => {
                let half = until.saturating_duration_since(now) / 2;
                Some(now + half + half.mul_f64(random))
            }
            None => self.timeouts.age_of_one(random).map(|age| now + age),
        });
    }

    /// Ends every connection on which a request has ever begun to arrive, as soon as nothing is in
    /// hand on it.
    pub fn close_used(&self) {
        let entries = self.entries.borrow();
        let used = entries.iter().filter(|(_, entry)| entry.used.get());
        used.for_each(|(_, entry)| entry.close());
    }

    /// Ends every connection as soon as nothing is in progress on it.
    pub fn close_all(&self) {
        self.entries
            .borrow()
            .iter()
            .for_each(|(_, entry)| entry.close());
    }

    /// Has each connection ask where it belongs, as soon as nothing is in progress on it.
    pub fn relocate(&self) {
        for (_, entry) in &*self.entries.borrow() {
            entry.set_place(Place::Astray);
            entry.wake();
        }
    }

    /// As if every connection had been idle for long.
    #[cfg(test)]
    pub fn rest_all(&self) {
        for (_, entry) in &*self.entries.borrow() {
            entry.rest.set(true);
            entry.wake();
        }
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

    /// The task that keeps the deadlines; never returns.
    pub async fn sweep(&self, turn: &Turn) {
        loop {
            let changed = self.changed.notified();
            if self.is_empty() {
                changed.await;
            }
            let now = turn.now();
            let next = self.sweep_once(now);
            turn.sleep_until(next.max(now + GRAIN)).await;
        }
    }

    /// Acts on what is due, and says when to look again: nothing that is not due by then can become
    /// so before.
    fn sweep_once(&self, now: Instant) -> Instant {
        let timeouts = &self.timeouts;
        let mut next = now + timeouts.shortest();
        let freed = self.freed.get();
        let mut is_due = |due: Option<Instant>| match due {
            Some(due) if due > now => {
                next = next.min(due);
                false
            }
            due => due.is_some(),
        };
        for (_, entry) in &*self.entries.borrow() {
            let limit = timeouts.of(entry.state());
            if is_due(limit.map(|limit| entry.since() + limit)) {
                entry.expire();
            }
            let blocked = entry.blocked.get().zip(timeouts.write);
            if is_due(blocked.map(|(since, limit)| since + limit)) {
                entry.end(Cut::SlowReader);
            }
            let rests = entry.parsing.get() && entry.state() == State::Idle;
            if is_due(rests.then(|| entry.since() + REST)) {
                entry.rest.set(true);
                entry.wake();
                self.freed.set(self.freed.get().or(Some(now)));
            }
            if is_due(entry.retires.get()) {
                entry.retires.set(None);
                entry.retire();
                if entry.state() == State::Stream {
                    entry.close();
                }
            }
        }
        if is_due(freed.map(|since| since + GIVE_BACK)) {
            self.freed.set(None);
            drop(black_box(Vec::<u8>::with_capacity(OWN_PAGES)));
        }
        next
    }
}

#[cfg(test)]
mod tests;
