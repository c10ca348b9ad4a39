//! The slots for connections: how many may be open, and who waits for one for how long.
//!
//! Invariants: nobody waits for longer than the patience while slots are given out, and behind one
//! who did nobody waits at all until there has been a slot for as long.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::metrics;
use crate::turn::Turn;

/// See the module. Those who wait are in the backlog; who takes slots for them is one task.
pub(super) struct Slots {
    clock: Turn,
    free: Arc<Semaphore>,
    max: usize,
    /// How long a client may wait.
    patience: Duration,
    /// When there was last no slot left, unless that was long ago.
    full: Cell<Option<Instant>>,
    /// Since when somebody may wait.
    waiting: Cell<Option<Instant>>,
    /// Somebody has waited for too long, and there has been no slot for long since then.
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
    /// waited for too long, and are to be refused.
    ///
    /// That there is none is counted each time, and told once until there has been one for a while:
    /// at the limit each end of a connection makes a slot, and that is no news.
    pub(super) async fn take(&self, metrics: &metrics::Acceptor) -> Option<OwnedSemaphorePermit> {
        let now = self.clock.clock();
        self.calm_down(now);
        let since = self.waiting.get().unwrap_or(now);
        let in_time = now < since + self.patience;
        if in_time && let Ok(slot) = self.free.clone().try_acquire_owned() {
            return Some(slot);
        }
        metrics.pauses.add(1);
        self.tell();
        if in_time && !self.overloaded.get() {
            self.waiting.set(Some(since));
            let slot = self.free.clone().acquire_owned();
            // (It is never closed.)
            if let Ok(Ok(slot)) = timeout_at((since + self.patience).into(), slot).await {
                self.full.set(Some(self.clock.clock()));
                return Some(slot);
            }
        }
        self.full.set(Some(self.clock.clock()));
        self.overloaded.set(true);
        self.waiting.set(None);
        None
    }

    /// Nobody waits: the backlog is empty.
    pub(super) fn nobody_waits(&self) {
        self.waiting.set(None);
    }

    /// Waits until there is a slot.
    pub(super) async fn wait(&self) {
        let _ = self.free.acquire().await;
    }

    /// When there has been a slot for a while, clients may wait again.
    fn calm_down(&self, now: Instant) {
        if let Some(last) = self.full.get()
            && now >= last + self.patience
            && self.free.available_permits() > self.max / 10
        {
            self.full.set(None);
            self.overloaded.set(false);
            self.waiting.set(None);
            tracing::info!(
                "accepting again: fewer than {} connections are open",
                self.max
            );
        }
    }

    fn tell(&self) {
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

    /// By a clock that stands still unless a test moves it, or everybody waits.
    fn run(test: impl AsyncFnOnce(Slots, metrics::Acceptor)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            pause();
            test(Slots::new(4, PATIENCE), metrics::Acceptor::default()).await;
        });
    }

    /// A timer may be late by its own granularity, and a step of the test.
    #[track_caller]
    fn check_passed(since: Instant, time: Duration) {
        let passed = since.elapsed();
        assert!((time..=time + 10 * MS).contains(&passed), "{passed:?}");
    }

    #[test]
    fn a_slot_that_comes_in_time_is_taken() {
        run(async |slots, metrics| {
            let mut taken = Vec::new();
            for _ in 0..4 {
                taken.push(slots.take(&metrics).await.unwrap());
            }
            assert_eq!(metrics.pauses.get(), 0);
            let give = async {
                advance(PATIENCE * 9 / 10).await;
                taken.pop();
            };
            let (slot, ()) = tokio::join!(slots.take(&metrics), give);
            assert!(slot.is_some());
            assert_eq!(metrics.pauses.get(), 1);
        });
    }

    #[test]
    fn nobody_waits_behind_one_who_did_for_too_long() {
        run(async |slots, metrics| {
            let mut taken = Vec::new();
            for _ in 0..4 {
                taken.extend(slots.take(&metrics).await);
            }
            let since = Instant::now();
            assert!(slots.take(&metrics).await.is_none());
            check_passed(since, PATIENCE);

            // The next one gets a slot if there is one, and else is refused at once.
            taken.pop();
            taken.extend(slots.take(&metrics).await);
            assert_eq!(taken.len(), 4);
            assert!(slots.take(&metrics).await.is_none());
            check_passed(since, PATIENCE);

            // With slots for as long as the patience clients may wait again.
            taken.pop();
            advance(PATIENCE).await;
            taken.extend(slots.take(&metrics).await);
            assert!(slots.take(&metrics).await.is_none());
            check_passed(since, 3 * PATIENCE);
        });
    }

    /// Slots come all the time, and never enough: the backlog is never empty.
    #[test]
    fn who_waits_behind_others_waits_no_longer() {
        run(async |slots, metrics| {
            let mut taken = Vec::new();
            for _ in 0..4 {
                taken.extend(slots.take(&metrics).await);
            }
            let since = Instant::now();
            while taken.len() == 4 {
                let give = async {
                    advance(10 * MS).await;
                    taken.pop();
                };
                let (slot, ()) = tokio::join!(slots.take(&metrics), give);
                taken.extend(slot);
            }
            check_passed(since, PATIENCE);
        });
    }

    #[test]
    fn who_comes_when_nobody_waits_may_wait_for_the_whole_time() {
        run(async |slots, metrics| {
            let mut taken = Vec::new();
            for _ in 0..4 {
                taken.extend(slots.take(&metrics).await);
            }
            for _ in 0..10 {
                let give = async {
                    advance(PATIENCE * 9 / 10).await;
                    taken.pop();
                };
                let (slot, ()) = tokio::join!(slots.take(&metrics), give);
                taken.push(slot.expect("it is in time"));
                slots.nobody_waits();
            }
        });
    }
}
