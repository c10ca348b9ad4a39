//! `--wake-interval`: fewer wake-ups at steady rates, as network cards moderate their interrupts.
//!
//! Below saturation almost every request wakes its worker, and that is most of what it costs. With
//! an interval, a worker that has run out of work may sleep for so long before it waits for its
//! sockets again: what arrives meanwhile is answered together.
//!
//! Invariants:
//! - The sockets have just been looked at and had nothing when a sleep begins, and they are looked
//!   at when it ends. So a request is held once, by the interval and the timer's slack at most.
//! - There is no sleep while anything is unfinished: a command to Redis or a login, a request's
//!   head or body, an answer. Nor behind a new connection, whose first request is on its way, nor
//!   if a deadline falls within it.
//! - There is none if it would not pay: if fewer than two requests are to be expected, if the
//!   worker is busy most of the time as it is, or if sleeps bring fewer than two requests, whatever
//!   the rate says: clients that wait for their answers send no more meanwhile.
//! - Clients that wait for their answers and would saturate the worker are slowed down by its
//!   sleeps, so that it seems to have time for them. So it does without for a moment, before
//!   the first of them and every now and then: then it sees how busy it is.
//!
//! [`sleep`] is the only place where a worker's thread blocks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packing::Packing;
use crate::metrics;
use crate::turn::Turn;

/// What counts as recent: long against the longest interval, short against changes of load.
const RECENT: Duration = Duration::from_millis(10);

/// Requests that a sleep must be expected to bring. One alone costs as much by a timer as by its
/// own wake-up.
const WORTHWHILE: f64 = 2.0;

/// A worker that is at work for a larger part of its time gets several requests at each look as it
/// is: then a sleep would save nothing, and could keep it from saturation. (One that is saturated
/// by a few clients spends a third of its time in the kernel's wait, which does not count as work.)
const BUSY: f64 = 0.5;

/// Sleeps in a row that brought too little, after which there are none for [`RESPITE`].
const MAX_POOR: u32 = 8;

/// Even one client that waits for each answer loses a twentieth of its rate at most: eight sleeps
/// of the usual interval in so long.
const RESPITE: Duration = Duration::from_millis(100);

/// For so long there may be sleeps, before and after which the worker stays awake for [`TRIAL`]: a
/// twentieth of what sleeps save is lost by that.
const SPELL: Duration = Duration::from_millis(600);

/// Long enough for one that is saturated to be seen as [`BUSY`]: what it did before fades with
/// [`RECENT`].
const TRIAL: Duration = Duration::from_millis(30);

/// How much longer than asked for a sleep may take: the kernel's timer slack is 50 µs.
const SLACK: Duration = Duration::from_micros(200);

/// Requests a second from which one worker may sleep for so long.
pub(super) fn least_rate(interval: Duration) -> f64 {
    WORTHWHILE / interval.as_secs_f64()
}

/// What a worker does that has run out of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// It waits for its sockets and timers.
    Wait,
    /// It looks at its sockets first.
    Look,
    /// It sleeps first.
    Sleep,
}

/// What has happened up to a moment at which a worker has run out of work.
#[derive(Clone, Copy, Debug)]
struct Counts {
    /// Requests that have arrived, wrapping.
    arrived: u64,
    /// Requests that were answered, wrapping.
    answered: u64,
}

/// When to sleep: a pure state machine.
struct Moderation {
    interval: Duration,
    counts: Counts,
    /// When the worker last ran out of work.
    last: Option<Instant>,
    /// Requests a second, recently.
    rate: f64,
    /// The part of the time that the worker was at work, recently.
    busy: f64,
    /// The sockets have just been looked at.
    looked: bool,
    /// The last thing was a sleep.
    slept: bool,
    /// Sleeps in a row that brought too little.
    poor: u32,
    /// Until when there are no sleeps.
    respite: Option<Instant>,
    /// When the last trial ended, or ends.
    tried: Option<Instant>,
}

impl Moderation {
    fn new(interval: Duration) -> Self {
        Moderation {
            interval,
            counts: Counts {
                arrived: 0,
                answered: 0,
            },
            last: None,
            rate: 0.0,
            busy: 0.0,
            looked: false,
            slept: false,
            poor: 0,
            respite: None,
            tried: None,
        }
    }

    /// The worker has run out of work at `now`, at which it was since `began`. `may_sleep`: nothing
    /// is unfinished, and no deadline falls within the time that it is asked with.
    fn decide(
        &mut self,
        now: Instant,
        began: Option<Instant>,
        counts: Counts,
        may_sleep: impl FnOnce(Instant) -> bool,
    ) -> Decision {
        let arrived = counts.arrived.wrapping_sub(self.counts.arrived);
        let answered = counts.answered != self.counts.answered;
        self.counts = counts;
        self.observe(now, began, arrived);
        if std::mem::take(&mut self.slept) {
            self.judge(now, arrived);
        }
        let looked = std::mem::take(&mut self.looked);
        let expected = self.rate * self.interval.as_secs_f64();
        // Also before the first sleep: those that would saturate it need not wait for that.
        if expected >= WORTHWHILE && self.tried.is_none_or(|ended| now >= ended + SPELL) {
            self.tried = Some(now + TRIAL);
            self.respite = self.respite.max(self.tried);
        }
        let pays = expected >= WORTHWHILE
            && self.busy < BUSY
            && self.respite.is_none_or(|until| now >= until);
        // One that looked has served before.
        if !(looked || answered) || !pays || !may_sleep(now + self.interval + SLACK) {
            return Decision::Wait;
        }
        if looked && !answered {
            self.slept = true;
            Decision::Sleep
        } else {
            self.looked = true;
            Decision::Look
        }
    }

    /// Lets the rate and the time at work follow what happened since the last time.
    fn observe(&mut self, now: Instant, began: Option<Instant>, arrived: u64) {
        let Some(last) = self.last.replace(now) else {
            return;
        };
        let passed = now.saturating_duration_since(last);
        let work = began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        let span = passed.max(RECENT).as_secs_f64();
        let faded = 1.0 - passed.as_secs_f64() / span;
        self.rate = self.rate * faded + arrived as f64 / span;
        self.busy = self.busy * faded + work.min(passed).as_secs_f64() / span;
    }

    /// What the last sleep has brought.
    fn judge(&mut self, now: Instant, arrived: u64) {
        if (arrived as f64) >= WORTHWHILE {
            self.poor = 0;
            return;
        }
        self.poor += 1;
        if self.poor >= MAX_POOR {
            self.poor = 0;
            self.respite = Some(now + RESPITE);
        }
    }
}

/// Says whether someone has nothing unfinished.
type IsQuiet = Box<dyn Fn() -> bool>;

/// When a worker sleeps, and what it must know for that. Of one worker.
pub struct Pulse {
    turn: Rc<Turn>,
    metrics: Arc<metrics::Worker>,
    moderation: RefCell<Moderation>,
    packing: Packing,
    /// A connection has come since the worker last ran out of work.
    connected: Cell<bool>,
    /// All who may have something unfinished.
    watched: RefCell<Vec<IsQuiet>>,
    /// How many requests are being answered.
    in_progress: RefCell<Box<dyn Fn() -> usize>>,
    /// Has connections look for where they belong.
    relocate: RefCell<Box<dyn Fn()>>,
}

thread_local! {
    /// That of the worker on this thread, while it sleeps at all.
    static PULSE: RefCell<Option<Rc<Pulse>>> = const { RefCell::new(None) };
}

impl Pulse {
    pub(super) fn new(
        interval: Duration,
        packing: Packing,
        turn: Rc<Turn>,
        metrics: Arc<metrics::Worker>,
    ) -> Self {
        Pulse {
            turn,
            metrics,
            moderation: RefCell::new(Moderation::new(interval)),
            packing,
            connected: Cell::new(false),
            watched: RefCell::default(),
            in_progress: RefCell::new(Box::new(|| 0)),
            relocate: RefCell::new(Box::new(|| {})),
        }
    }

    /// There is no sleep while this says that something is unfinished.
    pub fn watch(&self, is_quiet: impl Fn() -> bool + 'static) {
        self.watched.borrow_mut().push(Box::new(is_quiet));
    }

    /// Requests that are being answered, and so have arrived.
    pub(super) fn count(&self, in_progress: impl Fn() -> usize + 'static) {
        *self.in_progress.borrow_mut() = Box::new(in_progress);
    }

    /// Has the worker's connections look for where they belong.
    pub(super) fn relocate(&self, relocate: impl Fn() + 'static) {
        *self.relocate.borrow_mut() = Box::new(relocate);
    }

    /// A client has connected.
    pub(super) fn connected(&self) {
        self.connected.set(true);
    }

    /// From now on this thread sleeps by it.
    pub(super) fn start(self: &Rc<Self>) {
        PULSE.set(Some(self.clone()));
    }

    /// This thread sleeps no more, and has its share of the connections.
    pub(super) fn stop() {
        if let Some(pulse) = PULSE.take() {
            pulse.packing.end();
        }
    }

    /// The task that has a worker looked at which never runs out of work; never returns.
    pub(super) async fn watch_packing(self: Rc<Self>) {
        loop {
            self.packing.watch().await;
            let now = self.turn.clock();
            let began = self.turn.began();
            let work = began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
            if self.packing.on_watch(now, work) {
                (self.relocate.borrow())();
            }
        }
    }

    fn on_idle(&self) {
        let answered = self.metrics.answered();
        let in_progress = (self.in_progress.borrow())();
        let counts = Counts {
            arrived: answered.wrapping_add(in_progress as u64),
            answered,
        };
        let (now, began) = (self.turn.clock(), self.turn.take_began());
        let work = began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        if self.packing.on_idle(now, work) {
            (self.relocate.borrow())();
            return;
        }
        let connected = self.connected.take();
        let may_sleep = |until| {
            let due = self.turn.next_deadline();
            let watched = self.watched.borrow();
            !connected && due.is_none_or(|due| due > until) && watched.iter().all(|quiet| quiet())
        };
        let mut moderation = self.moderation.borrow_mut();
        match moderation.decide(now, began, counts, may_sleep) {
            Decision::Wait => {}
            Decision::Look => self.turn.look_again(),
            Decision::Sleep => {
                self.metrics.wake_sleeps.add(1);
                sleep(moderation.interval);
            }
        }
    }
}

/// To be called by the runtime whenever the current worker has run out of tasks, before it waits.
pub(super) fn on_idle() {
    PULSE.with_borrow(|pulse| {
        if let Some(pulse) = pulse {
            pulse.on_idle();
        }
    });
}

/// Stops the worker's thread, for less than a request may take by orders of magnitude.
#[expect(
    clippy::disallowed_methods,
    reason = "to let no socket wake the worker is what it is for; see the module for its bounds"
)]
fn sleep(interval: Duration) {
    std::thread::sleep(interval);
}

#[cfg(test)]
mod tests;
