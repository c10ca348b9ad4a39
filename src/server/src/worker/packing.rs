//! All connections on one worker while there is little to do, where `--wake-interval` is set.
//!
//! A sleep pays by what it brings together. At some thousand requests a second each of two workers
//! sleeps for two or three of them, or can't sleep at all; one that has them all sleeps half as
//! often for twice as many. So the first worker gets all connections then, and all get their share
//! again as soon as there is more to do: connections move between two requests.
//!
//! Invariants:
//! - Never without a wake interval.
//! - Never while there are more than [`MAX_RATE`] requests a second, or [`MAX_OPEN`] connections,
//!   nor while the first worker is at work for more than [`MAX_BUSY`] of its time: connections are
//!   spread again after [`MUCH`] windows of that.
//! - Packed after [`CALM`] at the earliest, so that a load that comes and goes doesn't make
//!   connections come and go.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics;
use crate::net::listen::Workers;

/// Requests a second of all workers together, past which each has its share: two workers still cost
/// more than one there, but by little.
const MAX_RATE: f64 = 10_000.0;

/// Below this they are packed.
const LOW_RATE: f64 = 6_000.0;

/// The part of its time for which one worker may be at work, so that hardly a request waits for
/// another.
const MAX_BUSY: f64 = 0.3;

/// More connections than so many are spread, whatever they do: they could all ask at once, and
/// streams don't move.
const MAX_OPEN: usize = 256;

/// The time over which rate and work are taken.
const WINDOW: Duration = Duration::from_millis(100);

/// So many windows in a row with too much to do are no moment's stall, behind which what has waited
/// comes at once.
const MUCH: u32 = 3;

/// For so long there must have been little to do.
const CALM: Duration = Duration::from_secs(5);

/// What went on in a window.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Requests a second, of all workers.
    rate: f64,
    /// The part of its time for which the first worker was at work.
    busy: f64,
    /// Connections, of all workers.
    open: usize,
}

/// When to pack: a pure state machine.
struct Decision {
    /// Requests a second from which one worker that has them all may sleep.
    least: f64,
    packed: bool,
    /// Since when there has been little to do, where they are spread.
    calm: Option<Instant>,
    /// For how many windows there has been too much to do, where they are packed.
    much: u32,
}

impl Decision {
    /// Whether one worker is to have all connections, after a window that ends at `now`.
    fn decide(&mut self, now: Instant, load: Load) -> bool {
        let share = if self.packed { 1.0 } else { 0.5 };
        let most = if self.packed { MAX_RATE } else { LOW_RATE };
        let fits = load.rate <= most
            && load.busy <= share * MAX_BUSY
            && load.open as f64 <= share * MAX_OPEN as f64;
        if self.packed {
            self.much = if fits { 0 } else { self.much + 1 };
            self.packed = self.much < MUCH;
        } else if fits && load.rate >= self.least {
            let since = *self.calm.get_or_insert(now);
            self.packed = now.saturating_duration_since(since) >= CALM;
        }
        if self.packed || !fits {
            self.calm = None;
        }
        if !self.packed {
            self.much = 0;
        }
        self.packed
    }
}

/// A window that is not over yet.
#[derive(Clone, Copy)]
struct Window {
    began: Instant,
    /// Requests that all workers had answered by then, wrapping.
    answered: u64,
    /// For how long the first worker has been at work since.
    work: Duration,
}

/// Packing as one worker has part in it: the first one decides, and each acts on it.
pub(super) struct Packing {
    workers: Arc<Workers>,
    /// What all of them count.
    tables: Vec<Arc<metrics::Worker>>,
    index: usize,
    decision: RefCell<Decision>,
    window: Cell<Option<Window>>,
    /// What was decided when this worker last acted on it.
    packed: Cell<bool>,
}

impl Packing {
    /// That of the worker `index`. One worker that has all requests may sleep from `least` a second
    /// on.
    pub(super) fn new(
        workers: Arc<Workers>,
        tables: Vec<Arc<metrics::Worker>>,
        index: usize,
        least: f64,
    ) -> Self {
        Packing {
            workers,
            tables,
            index,
            decision: RefCell::new(Decision {
                least,
                packed: false,
                calm: None,
                much: 0,
            }),
            window: Cell::new(None),
            packed: Cell::new(false),
        }
    }

    /// The worker has run out of work at `now`, at which it was for so long. `true`: its
    /// connections may belong elsewhere from now on.
    pub(super) fn on_idle(&self, now: Instant, work: Duration) -> bool {
        if self.index == 0 && self.workers.count() > 1 {
            self.look(now, work);
        }
        let packed = self.workers.is_packed();
        self.packed.replace(packed) != packed
    }

    /// Decides, once in each window.
    fn look(&self, now: Instant, work: Duration) {
        let mut window = self.window.get().unwrap_or_else(|| self.window_from(now));
        window.work += work;
        let passed = now.saturating_duration_since(window.began);
        if passed < WINDOW {
            self.window.set(Some(window));
            return;
        }
        let next = self.window_from(now);
        let seconds = passed.as_secs_f64();
        let load = Load {
            rate: next.answered.wrapping_sub(window.answered) as f64 / seconds,
            busy: window.work.as_secs_f64() / seconds,
            open: (0..self.workers.count())
                .map(|worker| self.workers.open(worker))
                .sum(),
        };
        self.window.set(Some(next));
        let packed = self.decision.borrow_mut().decide(now, load);
        self.workers.pack(if packed { MAX_OPEN } else { 0 });
        if let Some(table) = self.tables.get(self.index) {
            table.packed.set(packed.into());
        }
    }

    fn window_from(&self, now: Instant) -> Window {
        let answered = self.tables.iter().map(|table| table.answered());
        Window {
            began: now,
            answered: answered.fold(0, u64::wrapping_add),
            work: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM_LOAD: Load = Load {
        rate: 3_000.0,
        busy: 0.1,
        open: 100,
    };

    fn decision() -> Decision {
        Decision {
            least: 1_000.0,
            packed: false,
            calm: None,
            much: 0,
        }
    }

    /// After how many windows of this load in a row they are packed, of a minute.
    fn windows(decision: &mut Decision, load: Load) -> Option<u32> {
        let start = Instant::now();
        (0..600).find(|window| decision.decide(start + *window * WINDOW, load))
    }

    #[test]
    fn it_packs_what_is_little_and_pays() {
        let calm = (CALM.as_millis() / WINDOW.as_millis()) as u32;
        assert_eq!(windows(&mut decision(), CALM_LOAD), Some(calm));
        let never = |load| assert_eq!(windows(&mut decision(), load), None, "{load:?}");
        let of = |rate, busy, open| Load { rate, busy, open };
        never(of(LOW_RATE + 1.0, 0.1, 100));
        never(of(3_000.0, 0.2, 100));
        never(of(3_000.0, 0.1, 200));
        never(of(900.0, 0.1, 100));
    }

    #[test]
    fn it_spreads_what_is_much_for_a_while_and_stays_packed_on_less() {
        let of = |rate, busy, open| Load { rate, busy, open };
        let after = |load| {
            let mut decision = decision();
            assert!(windows(&mut decision, CALM_LOAD).is_some());
            for _ in 1..MUCH {
                assert!(decision.decide(Instant::now(), load), "{load:?}");
            }
            assert!(decision.decide(Instant::now(), CALM_LOAD));
            (0..MUCH).fold(true, |_, _| decision.decide(Instant::now(), load))
        };
        assert!(!after(of(MAX_RATE + 1.0, 0.1, 100)));
        assert!(!after(of(3_000.0, 0.31, 100)));
        assert!(!after(of(3_000.0, 0.1, 257)));
        assert!(after(of(9_000.0, 0.29, 256)));
        assert!(after(of(0.0, 0.0, 0)));
    }

    #[test]
    fn a_moment_of_much_begins_the_calm_anew() {
        let mut decision = decision();
        let start = Instant::now();
        let at = |decision: &mut Decision, seconds, rate| {
            let load = Load { rate, ..CALM_LOAD };
            decision.decide(start + Duration::from_secs(seconds), load)
        };
        assert!(!at(&mut decision, 0, 3_000.0));
        assert!(!at(&mut decision, 4, 7_000.0));
        assert!(!at(&mut decision, 5, 3_000.0));
        assert!(!at(&mut decision, 9, 3_000.0));
        assert!(at(&mut decision, 10, 3_000.0));
    }
}
