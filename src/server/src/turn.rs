//! The clock of a worker, read at most once in a turn of its event loop.
//!
//! A turn is the run of tasks between two polls of the sockets. The first to ask in a turn reads
//! the clock and wakes a task that the runtime puts behind all that are ready now; when that task
//! runs, the reading is forgotten. So a reading is never older than the turn, and requests that
//! arrive together share one.
//!
//! The clock is the runtime's, the same that its timers go by. It is the system's monotonic clock
//! at no further cost, and a test can pause it and move it on by hand (`tokio::time::pause`).
//!
//! It also knows when the worker has something to do at a certain time ([`Turn::next_deadline`]):
//! the runtime doesn't tell when its next timer is due.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Instant, SystemTime};

use slab::Slab;

/// See the module. One per worker thread.
#[derive(Default)]
pub struct Turn {
    reading: Cell<Option<Instant>>,
    /// The first reading since [`take_began`](Turn::take_began) was called.
    began: Cell<Option<Instant>>,
    end: RefCell<Option<Waker>>,
    deadlines: RefCell<Slab<Instant>>,
}

impl Turn {
    /// The time at which the clock was first asked in this turn.
    pub fn now(&self) -> Instant {
        if let Some(now) = self.reading.get() {
            return now;
        }
        let now = self.clock();
        // Without a running `forget` task nothing would end the turn: then every call reads the
        // clock.
        if let Some(end) = &*self.end.borrow() {
            self.reading.set(Some(now));
            end.wake_by_ref();
        }
        now
    }

    /// The clock, whatever was read in this turn: for what a long turn must not make look young.
    pub fn clock(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// The time of day.
    pub fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    /// When the first turn began that has asked for the time since this was last called.
    pub fn take_began(&self) -> Option<Instant> {
        self.began.take()
    }

    /// The same, without forgetting it.
    pub fn began(&self) -> Option<Instant> {
        self.began.get()
    }

    /// Has the runtime look at the sockets once more before it waits for them.
    pub fn look_again(&self) {
        if let Some(end) = &*self.end.borrow() {
            end.wake_by_ref();
        }
    }

    /// Says that the worker has something to do at this time, for as long as the deadline lives.
    pub fn deadline(&self, at: Instant) -> Deadline<'_> {
        let key = self.deadlines.borrow_mut().insert(at);
        Deadline { turn: self, key }
    }

    /// Waits until this time, as a [`deadline`](Self::deadline).
    pub async fn sleep_until(&self, at: Instant) {
        let _deadline = self.deadline(at);
        tokio::time::sleep_until(at.into()).await;
    }

    /// The earliest of the deadlines.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.borrow().iter().map(|(_, at)| *at).min()
    }

    /// The task that ends each turn; never returns. Spawn it once on the worker's runtime.
    pub async fn forget(&self) {
        poll_fn(|cx| {
            let reading = self.reading.take();
            self.began.set(self.began.get().or(reading));
            let mut end = self.end.borrow_mut();
            if !end
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
            {
                *end = Some(cx.waker().clone());
            }
            Poll::<()>::Pending
        })
        .await;
    }
}

/// A time at which the worker has something to do. Known until it is dropped.
pub struct Deadline<'a> {
    turn: &'a Turn,
    key: usize,
}

impl Deadline<'_> {
    /// It is at another time.
    pub fn set(&self, at: Instant) {
        if let Some(known) = self.turn.deadlines.borrow_mut().get_mut(self.key) {
            *known = at;
        }
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        self.turn.deadlines.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::runtime::{Builder, LocalOptions};
    use tokio::task::{spawn_local, yield_now};
    use tokio::time::{advance, pause};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_reading_is_shared_within_a_turn_and_forgotten_after_it() {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            pause();
            let turn = Rc::new(Turn::default());
            let start = turn.now();
            advance(MS).await;
            assert_eq!(
                turn.now(),
                start + MS,
                "no task to end the turn: nothing is kept"
            );
            let task = turn.clone();
            spawn_local(async move { task.forget().await });
            yield_now().await;

            let first = turn.now();
            // Moves the clock, and then lets other tasks run.
            let mut moved = std::pin::pin!(advance(MS));
            poll_fn(|cx| {
                let _ = moved.as_mut().poll(cx);
                assert_eq!((turn.now(), turn.clock()), (first, first + MS));
                Poll::Ready(())
            })
            .await;
            yield_now().await;
            assert_eq!(turn.now(), first + MS);
        });
    }

    #[test]
    fn the_earliest_deadline_is_known_while_it_lives() {
        let turn = Turn::default();
        assert_eq!(turn.next_deadline(), None);
        let start = Instant::now();
        let at = |ms| start + ms * MS;
        let (first, second) = (turn.deadline(at(3)), turn.deadline(at(5)));
        assert_eq!(turn.next_deadline(), Some(at(3)));
        first.set(at(9));
        assert_eq!(turn.next_deadline(), Some(at(5)));
        drop(second);
        assert_eq!(turn.next_deadline(), Some(at(9)));
        drop(first);
        assert_eq!(turn.next_deadline(), None);
    }
}
