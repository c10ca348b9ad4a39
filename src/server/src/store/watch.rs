//! What tells those who wait for changes when to read again.
//!
//! Whoever waits reads as every other read does; nothing here knows a value. Where the server tells
//! of changes (tracked reads), each push rings; where it does not, each second does.
//!
//! Invariants: what happens between two waits is not missed; while nobody waits, a change costs a
//! count.

use std::cell::Cell;

use tokio::sync::Notify;

/// See the module. Of one worker.
#[derive(Default)]
pub struct Watch {
    rung: Cell<Seen>,
    bell: Notify,
    watched: Cell<bool>,
}

/// What had happened at some moment; counts wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Times at which what was kept became doubtful.
    changes: u64,
    /// Seconds.
    pub ticks: u64,
}

impl Watch {
    /// What was read may be true no more.
    pub(super) fn change(&self) {
        let seen = self.rung.get();
        let changes = seen.changes.wrapping_add(1);
        self.rung.set(Seen { changes, ..seen });
        self.bell.notify_waiters();
    }

    /// A second has passed.
    pub(super) fn tick(&self) {
        let seen = self.rung.get();
        let ticks = seen.ticks.wrapping_add(1);
        self.rung.set(Seen { ticks, ..seen });
        self.bell.notify_waiters();
    }

    /// What has happened up to now.
    pub fn seen(&self) -> Seen {
        self.rung.get()
    }

    /// Resolves when more has happened than what was seen.
    pub async fn after(&self, seen: Seen) {
        loop {
            let rung = self.bell.notified();
            if self.rung.get() != seen {
                return;
            }
            rung.await;
        }
    }

    /// Whether somebody waits for changes for as long as this holds: pushes pay then, however few
    /// reads there are.
    pub fn set_watched(&self, watched: bool) {
        self.watched.set(watched);
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched.get()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn what_happens_between_two_waits_is_not_missed() {
        let watch = Watch::default();
        let mut context = Context::from_waker(Waker::noop());
        let seen = watch.seen();
        let mut first = pin!(watch.after(seen));
        assert!(first.as_mut().poll(&mut context).is_pending());
        watch.change();
        assert!(first.as_mut().poll(&mut context).is_ready());
        let seen = watch.seen();
        watch.tick();
        assert_eq!(watch.seen().ticks, seen.ticks + 1);
        assert!(pin!(watch.after(seen)).poll(&mut context).is_ready());
        let mut last = pin!(watch.after(watch.seen()));
        assert!(last.as_mut().poll(&mut context).is_pending());
    }
}
