//! The clock of a worker, read at most once in a turn of its event loop.
//!
//! A turn is the run of tasks between two polls of the sockets. The first to ask in a turn reads
//! the real clock and wakes a task that the runtime puts behind all that are ready now; when that
//! task runs, the reading is forgotten. So a reading is never older than the turn, and requests
//! that arrive together share one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Instant;

/// See the module. One per worker thread.
#[derive(Default)]
pub struct Turn {
    reading: Cell<Option<Instant>>,
    end: RefCell<Option<Waker>>,
}

impl Turn {
    /// The time at which the clock was first asked in this turn.
    pub fn now(&self) -> Instant {
        if let Some(now) = self.reading.get() {
            return now;
        }
        let now = Instant::now();
        // Without a running `forget` task nothing would end the turn: then every call reads the
        // clock.
        if let Some(end) = &*self.end.borrow() {
            self.reading.set(Some(now));
            end.wake_by_ref();
        }
        now
    }

    /// The task that ends each turn; never returns. Spawn it once on the worker's runtime.
    pub async fn forget(&self) {
        poll_fn(|cx| {
            self.reading.set(None);
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

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_reading_is_shared_within_a_turn_and_forgotten_after_it() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let turn = Rc::new(Turn::default());
            let alone = turn.now();
            spin_past(alone);
            assert!(
                turn.now() > alone,
                "no task to end the turn: nothing is kept"
            );
            let task = turn.clone();
            tokio::task::spawn_local(async move { task.forget().await });
            tokio::task::yield_now().await;
            let first = turn.now();
            spin_past(first);
            assert_eq!(turn.now(), first);
            tokio::task::yield_now().await;
            assert!(turn.now() > first);
        });
    }

    fn spin_past(instant: Instant) {
        while instant.elapsed() < Duration::from_micros(1) {
            std::hint::spin_loop();
        }
    }
}
