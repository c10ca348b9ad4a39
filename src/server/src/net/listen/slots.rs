//! The slots for connections: how many may be open, and who waits for one for how long.
//!
//! Invariants: nobody waits for longer than the patience while slots are given out. Behind one who
//! did, nobody waits until there has been a slot for [`CALM`].

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep_until;

use crate::metrics;
use crate::turn::Turn;

/// There must have been a slot for so long before clients may wait again: under overload one
/// that ends is followed at once by another.
const CALM: Duration = Duration::from_secs(1);

/// See the module. Those who wait are in the backlog; who takes slots for them is one task.
pub(super) struct Slots {
    clock: Turn,
    free: Arc<Semaphore>,
    max: usize,
    /// How long a client may wait.
    patience: Duration,
    /// When there was last no slot left, unless that was long ago.
    full: Cell<Option<Instant>>,
    /// Since when somebody may be waiting.
    waiting: Cell<Option<Instant>>,
    /// Somebody has waited for too long, not long ago.
    overloaded: Cell<bool>,
}

impl Slots {
    pub(super) fn new(max: usize, patience: Duration) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Slots {
            clock: Turn::default(),
            free: Arc::new(Semaphore::new(max)),
            max,
            patience,
            full: Cell::new(None),
            waiting: Cell::new(None),
            overloaded: Cell::new(false),
        }
    }

    /// Where slots are given back to.
    pub(super) fn free(&self) -> &Arc<Semaphore> {
        &self.free
    }

    /// A slot for one more connection. Waits while there is none. `None`: those who wait have
    /// waited for too long, and are to be refused. `somebody` says when somebody waits.
    ///
    /// That there is none is counted each time, and told once until there has been one for a while:
    /// at the limit each end of a connection makes a slot, and that is no news.
    pub(super) async fn take<W: Future<Output = io::Result<()>>>(
        &self,
        metrics: &metrics::Acceptor,
        somebody: impl FnOnce() -> W,
    ) -> Option<OwnedSemaphorePermit> {
        self.calm_down();
        let in_time = self.is_in_time();
        if in_time && let Ok(slot) = self.free.clone().try_acquire_owned() {
            return Some(slot);
        }
        metrics.pauses.add(1);
        self.tell_full();
        let mut slot = None;
        if in_time {
            slot = tokio::select! {
                biased;
                () = self.too_long(somebody) => None,
                // It is never closed.
                slot = self.free.clone().acquire_owned() => slot.ok(),
            };
        }
        self.full.set(Some(self.clock.clock()));
        if slot.is_none() {
            self.overload();
        }
        slot
    }

    /// Nobody waits: the backlog is empty.
    pub(super) fn nobody_waits(&self) {
        self.waiting.set(None);
    }

    /// Waits until there is a slot.
    pub(super) async fn wait(&self) {
        let _ = self.free.acquire().await;
        self.full.set(Some(self.clock.clock()));
    }

    /// Waits until somebody has waited for too long.
    async fn too_long<W: Future<Output = io::Result<()>>>(&self, somebody: impl FnOnce() -> W) {
        if self.waiting.get().is_none() {
            // (Without an answer somebody may.)
            let _ = somebody().await;
            self.waiting.set(Some(self.clock.clock()));
        }
        if let Some(since) = self.waiting.get().filter(|_| !self.overloaded.get()) {
            sleep_until((since + self.patience).into()).await;
        }
    }

    fn is_in_time(&self) -> bool {
        let since = self.waiting.get();
        since.is_none_or(|since| self.clock.clock() < since + self.patience)
    }

    /// When there has been a slot for a while, clients may wait again.
    fn calm_down(&self) {
        if let Some(last) = self.full.get()
            && self.clock.clock() >= last + CALM
        {
            self.full.set(None);
            self.overloaded.set(false);
            tracing::info!(
                "accepting again: fewer than {} connections are open",
                self.max
            );
        }
    }

    /// Nobody waits any more: they are refused.
    fn overload(&self) {
        self.waiting.set(None);
        if !self.overloaded.replace(true) {
            tracing::warn!(
                "clients have waited {:?} for one of {} connections to end: they are refused, and \
                 so are new ones until one does (raise --max-connections, or add pods)",
                self.patience,
                self.max
            );
        }
    }

    fn tell_full(&self) {
        if self.full.get().is_none() {
            tracing::warn!(
                "{} connections are open, as many as --max-connections allows; new clients wait \
                 for {:?} at most, then they are refused",
                self.max,
                self.patience
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance, pause};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(400);

    const MS: Duration = Duration::from_millis(1);

    /// Somebody waits.
    async fn somebody() -> io::Result<()> {
        Ok(())
    }

    /// By a clock that stands still unless a test moves it, or everybody waits. All slots are
    /// taken.
    fn run(test: impl AsyncFnOnce(Slots, metrics::Acceptor, Vec<OwnedSemaphorePermit>)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            pause();
            let (slots, metrics) = (Slots::new(40, PATIENCE), metrics::Acceptor::default());
            let mut taken = Vec::new();
            for _ in 0..40 {
                taken.extend(slots.take(&metrics, somebody).await);
            }
            assert_eq!((taken.len(), metrics.pauses.get()), (40, 0));
            test(slots, metrics, taken).await;
        });
    }

    /// Takes a slot, while one is given back after this time.
    async fn take_after(
        time: Duration,
        slots: &Slots,
        metrics: &metrics::Acceptor,
        taken: &mut Vec<OwnedSemaphorePermit>,
    ) -> bool {
        let give = async {
            advance(time).await;
            taken.pop();
        };
        let (slot, ()) = tokio::join!(slots.take(metrics, somebody), give);
        let is_taken = slot.is_some();
        taken.extend(slot);
        is_taken
    }

    /// A timer may be late by its own granularity, and a step of the test.
    #[track_caller]
    fn check_passed(since: Instant, time: Duration) {
        let passed = since.elapsed();
        assert!((time..=time + 20 * MS).contains(&passed), "{passed:?}");
    }

    #[test]
    fn a_slot_that_comes_in_time_is_taken() {
        run(async |slots, metrics, mut taken| {
            assert!(take_after(PATIENCE * 9 / 10, &slots, &metrics, &mut taken).await);
            assert_eq!(metrics.pauses.get(), 1);
        });
    }

    #[test]
    fn nobody_is_refused_who_has_not_waited() {
        run(async |slots, metrics, mut taken| {
            // Nobody comes for long, and then there is a slot in time.
            let arrival = async || {
                advance(10 * PATIENCE).await;
                Ok(())
            };
            let give = async {
                advance(10 * PATIENCE + PATIENCE / 2).await;
                taken.pop();
            };
            let (slot, ()) = tokio::join!(slots.take(&metrics, arrival), give);
            assert!(slot.is_some());
        });
    }

    #[test]
    fn nobody_waits_behind_one_who_did_for_too_long() {
        run(async |slots, metrics, mut taken| {
            let since = Instant::now();
            assert!(slots.take(&metrics, somebody).await.is_none());
            check_passed(since, PATIENCE);

            // The next one gets a slot if there is one, and else is refused at once.
            advance(2 * CALM).await;
            taken.pop();
            slots.wait().await;
            taken.extend(slots.take(&metrics, somebody).await);
            assert_eq!(taken.len(), 40);
            let since = Instant::now();
            assert!(slots.take(&metrics, somebody).await.is_none());
            check_passed(since, Duration::ZERO);

            // When there has been a slot for a while, clients may wait again.
            taken.pop();
            slots.wait().await;
            advance(CALM).await;
            taken.extend(slots.take(&metrics, somebody).await);
            let since = Instant::now();
            assert!(slots.take(&metrics, somebody).await.is_none());
            check_passed(since, PATIENCE);
        });
    }

    /// Slots come all the time, and never enough: the backlog is never empty.
    #[test]
    fn who_waits_behind_others_waits_no_longer() {
        run(async |slots, metrics, mut taken| {
            let since = Instant::now();
            while take_after(10 * MS, &slots, &metrics, &mut taken).await {}
            check_passed(since, PATIENCE);
        });
    }

    #[test]
    fn who_comes_when_nobody_waits_may_wait_for_the_whole_time() {
        run(async |slots, metrics, mut taken| {
            for _ in 0..10 {
                assert!(take_after(PATIENCE * 9 / 10, &slots, &metrics, &mut taken).await);
                slots.nobody_waits();
            }
        });
    }
}
