//! The time as the results have it.
//!
//! vegeta looks at the time of day once, when it starts, and counts on from there by a clock that
//! nobody can set and that stands still while the machine sleeps. This one does the same. With the
//! time of day, every result would be outside of the window for good once a laptop had slept, or
//! the time had been set.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A time of day that only counts on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    began_ns: u64,
    began: Instant,
}

impl Clock {
    /// Right now, it is the time of day.
    pub fn start() -> Clock {
        Clock::set_to(time_of_day_ns())
    }

    fn set_to(began_ns: u64) -> Clock {
        Clock {
            began_ns,
            began: Instant::now(),
        }
    }

    /// The time, in ns since 1970.
    pub fn now_ns(self) -> u64 {
        self.began_ns.saturating_add(ns(self.began.elapsed()))
    }

    /// How far the time of day is ahead by now, in ns. A vegeta that starts now stays so.
    pub fn behind_ns(self) -> i64 {
        let behind = i128::from(time_of_day_ns()) - i128::from(self.now_ns());
        behind.try_into().unwrap_or(0)
    }
}

fn time_of_day_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ns)
}

fn ns(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_time_of_day_is_ahead_is_known() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        let check = |began_ns: u64, expected_hours: i64| {
            let behind = Clock::set_to(began_ns).behind_ns() as f64 / HOUR_NS as f64;
            let difference = (behind - expected_hours as f64).abs();
            assert!(difference < 0.01, "{behind} hours, not {expected_hours}");
        };
        let now = time_of_day_ns();
        check(now, 0);
        check(now - HOUR_NS, 1);
        check(now + 2 * HOUR_NS, -2);
    }
}
