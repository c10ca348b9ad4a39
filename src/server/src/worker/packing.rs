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
//!   nor while the workers together are at work for more than [`MAX_BUSY`] of the time: connections
//!   are spread again after [`BUSY_WINDOWS`] windows of that, also if the first worker is
//!   saturated, and so never runs out of work.
//! - Packed after [`CALM`] at the earliest, so that a load that comes and goes doesn't make
//!   connections come and go.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::metrics;
use crate::net::listen::Workers;

/// Requests a second of all workers together, past which each has its share: two workers still cost
/// more than one there, but by little.
const MAX_RATE: f64 = 10_000.0;

/// Below this they are packed.
const LOW_RATE: f64 = 6_000.0;

/// The part of its time for which one worker may be at work, so that hardly any request waits for
/// another.
const MAX_BUSY: f64 = 0.3;

/// More connections than so many are spread, whatever they do: they could all ask at once, and
/// streams don't move.
const MAX_OPEN: usize = 256;

/// The time over which rate and work are taken.
const WINDOW: Duration = Duration::from_millis(100);

/// This many busy windows in a row are real load, and not the burst that follows a stall.
const BUSY_WINDOWS: u32 = 3;

/// How often a first worker that has all connections is looked at when it never runs out of work.
const WATCH: Duration = Duration::from_millis(500);

/// For so long there must have been little to do.
const CALM: Duration = Duration::from_secs(5);

/// What went on in a window.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Requests a second, of all workers.
    rate: f64,
    /// The part of the time for which workers were at work, all of them together.
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
    /// For how many windows in a row there has been too much to do, where they are packed.
    busy_windows: u32,
}

impl Decision {
    /// Whether one worker is to have all connections, after a window that ends at `now`, or as long
    /// as so many.
    fn decide(&mut self, now: Instant, windows: u32, load: Load) -> bool {
        let share = if self.packed { 1.0 } else { 0.5 };
        let most = if self.packed { MAX_RATE } else { LOW_RATE };
        let fits = load.rate <= most
            && load.busy <= share * MAX_BUSY
            && load.open as f64 <= share * MAX_OPEN as f64;
        if self.packed {
            self.busy_windows = if fits { 0 } else { self.busy_windows + windows };
            self.packed = self.busy_windows < BUSY_WINDOWS;
        } else if fits && load.rate >= self.least {
            let since = *self.calm.get_or_insert(now);
            self.packed = now.saturating_duration_since(since) >= CALM;
        }
        if self.packed || !fits {
            self.calm = None;
        }
        if !self.packed {
            self.busy_windows = 0;
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
    /// For how long all workers had been at work by then, in nanoseconds, wrapping.
    work: u64,
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
    /// Rings when connections are packed.
    began: Notify,
    /// The drain has begun: each worker has its share.
    ended: Cell<bool>,
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
                busy_windows: 0,
            }),
            window: Cell::new(None),
            packed: Cell::new(false),
            began: Notify::new(),
            ended: Cell::new(false),
        }
    }

    /// The worker has run out of work at `now`, at which it was for so long. `true`: its
    /// connections may belong elsewhere from now on.
    pub(super) fn on_idle(&self, now: Instant, work: Duration) -> bool {
        if let Some(table) = self.tables.get(self.index) {
            table.work_nanos.add(work.as_nanos() as u64);
        }
        self.look(now, Duration::ZERO);
        self.is_news()
    }

    /// Resolves while this is the first worker and has all connections, [`WATCH`] later: whoever is
    /// saturated never runs out of work, and is to be looked at all the same.
    pub(super) async fn watch(&self) {
        while !self.workers.is_packed() || !self.decides() {
            self.began.notified().await;
        }
        sleep(WATCH).await;
    }

    /// The worker is still at work at `now`, for so long by now. `true`: its connections may belong
    /// elsewhere from now on.
    pub(super) fn on_watch(&self, now: Instant, work: Duration) -> bool {
        self.look(now, work);
        self.is_news()
    }

    /// From now on each has its share, whatever comes.
    pub(super) fn end(&self) {
        self.ended.set(true);
        if self.index == 0 {
            self.set(false);
        }
    }

    fn decides(&self) -> bool {
        self.index == 0 && self.workers.count() > 1 && !self.ended.get()
    }

    /// Whether something was decided that this worker has not acted on.
    fn is_news(&self) -> bool {
        let packed = self.workers.is_packed();
        self.packed.replace(packed) != packed
    }

    /// Decides, once in each window. `unfinished` is work of this worker that is not counted yet.
    fn look(&self, now: Instant, unfinished: Duration) {
        if !self.decides() {
            return;
        }
        let Some(window) = self.window.get() else {
            self.window.set(Some(self.window_from(now)));
            return;
        };
        let passed = now.saturating_duration_since(window.began);
        if passed < WINDOW {
            return;
        }
        let next = self.window_from(now);
        self.window.set(Some(next));
        let work = Duration::from_nanos(next.work.wrapping_sub(window.work));
        let load = Load {
            rate: next.answered.wrapping_sub(window.answered) as f64 / passed.as_secs_f64(),
            busy: (work + unfinished.min(passed)).div_duration_f64(passed),
            open: (0..self.workers.count())
                .map(|worker| self.workers.open(worker))
                .sum(),
        };
        let windows = passed.div_duration_f64(WINDOW) as u32;
        let packed = self.decision.borrow_mut().decide(now, windows, load);
        if packed != self.workers.is_packed() {
            self.set(packed);
        }
    }

    fn set(&self, packed: bool) {
        self.workers.pack(if packed { MAX_OPEN } else { 0 });
        if let Some(table) = self.tables.get(self.index) {
            table.packed.set(packed.into());
        }
        if packed {
            self.began.notify_one();
        }
    }

    fn window_from(&self, now: Instant) -> Window {
        let sum = |of: fn(&metrics::Worker) -> u64| {
            let each = self.tables.iter().map(|table| of(table));
            each.fold(0, u64::wrapping_add)
        };
        Window {
            began: now,
            answered: sum(metrics::Worker::answered),
            work: sum(|table| table.work_nanos.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::advance;

    use super::*;
    use crate::net::listen::{self, Acceptor};

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
            busy_windows: 0,
        }
    }

    /// After how many windows of this load in a row they are packed, of a minute.
    fn windows(decision: &mut Decision, load: Load) -> Option<u32> {
        let start = Instant::now();
        (0..600).find(|window| decision.decide(start + *window * WINDOW, 1, load))
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
            for _ in 1..BUSY_WINDOWS {
                assert!(decision.decide(Instant::now(), 1, load), "{load:?}");
            }
            assert!(decision.decide(Instant::now(), 1, CALM_LOAD));
            (0..BUSY_WINDOWS).fold(true, |_, _| decision.decide(Instant::now(), 1, load))
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
            decision.decide(start + Duration::from_secs(seconds), 1, load)
        };
        assert!(!at(&mut decision, 0, 3_000.0));
        assert!(!at(&mut decision, 4, 7_000.0));
        assert!(!at(&mut decision, 5, 3_000.0));
        assert!(!at(&mut decision, 9, 3_000.0));
        assert!(at(&mut decision, 10, 3_000.0));
    }

    /// It never says that it has run out of work, and is looked at all the same.
    #[tokio::test(start_paused = true)]
    async fn a_first_worker_that_is_saturated_gives_connections_up() {
        let listener = listen::bind((Ipv4Addr::LOCALHOST, 0).into(), false).unwrap();
        let (acceptor, _ends) =
            Acceptor::new(listener, 2, 100, Duration::from_secs(1), Arc::default()).unwrap();
        let workers = acceptor.workers();
        let tables = vec![Arc::new(metrics::Worker::default()), Arc::default()];
        let packing = |index| Packing::new(workers.clone(), tables.clone(), index, 1_000.0);
        let (first, second) = (packing(0), packing(1));
        let now = || tokio::time::Instant::now().into_std();
        let start = now();
        while !workers.is_packed() {
            for _ in 0..300 {
                tables[1].observe_request(metrics::Method::Get, 200, WINDOW);
            }
            assert!(!first.on_idle(now(), WINDOW / 20));
            assert!(!second.on_idle(now(), WINDOW / 20));
            assert!(now() < start + 2 * CALM);
            advance(WINDOW).await;
            // (It decides here, so that both are told behind the loop.)
            first.look(now(), Duration::ZERO);
        }
        assert!(first.on_idle(now(), Duration::ZERO));
        assert!(second.on_idle(now(), Duration::ZERO));

        let began = now();
        first.watch().await;
        assert_eq!(now() - began, WATCH);
        assert!(first.on_watch(now(), WATCH));
        assert!(!workers.is_packed());
        assert!(second.on_idle(now(), Duration::ZERO));
        assert_eq!(tables[0].packed.get(), 0);
    }

    #[tokio::test]
    async fn at_the_drain_each_has_its_share() {
        let listener = listen::bind((Ipv4Addr::LOCALHOST, 0).into(), false).unwrap();
        let (acceptor, _ends) =
            Acceptor::new(listener, 2, 100, Duration::from_secs(1), Arc::default()).unwrap();
        let workers = acceptor.workers();
        let tables = vec![Arc::default(), Arc::default()];
        let packing = Packing::new(workers.clone(), tables, 0, 1_000.0);
        packing.set(true);
        assert!(workers.is_packed());
        packing.end();
        let now = Instant::now();
        packing.on_idle(now, Duration::ZERO);
        packing.on_idle(now + 2 * WINDOW, Duration::ZERO);
        assert!(!workers.is_packed());
    }
}
