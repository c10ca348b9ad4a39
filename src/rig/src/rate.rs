//! When the rate at which requests were sent is not the one that was asked for. Pure.
//!
//! Latencies of such a window are not those of an open loop: the generator, not the API, was the
//! limit.

/// A share of the target below which the rate fell short; what was sent, but not in its second,
/// counts as not sent.
pub const SHARE_MIN: f64 = 0.98;

/// A share of the target above which the generator made up for what it had not sent in time.
const SHARE_MAX: f64 = 1.02;

/// What is wrong with a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateFault {
    /// Too little was sent.
    Short,
    /// Too much was sent: it makes up for a time before the window.
    Excess,
    /// As much as asked for, but too much of it late: it only looks even.
    Late,
}

impl RateFault {
    /// What is wrong with `achieved` requests a second of `target`, `behind` of which were missing
    /// in the seconds in which they were due.
    pub fn of(target: f64, achieved: f64, behind: f64) -> Option<RateFault> {
        // Few requests are soon some percent too many: the rate must be above by one a second at
        // least.
        let most = (SHARE_MAX * target).max(target + 1.0);
        match () {
            () if achieved < SHARE_MIN * target => Some(RateFault::Short),
            () if achieved > most => Some(RateFault::Excess),
            () if behind > (1.0 - SHARE_MIN) * target => Some(RateFault::Late),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_that_are_not_what_was_asked_for() {
        let check = |target, achieved, behind, expected| {
            let found = RateFault::of(target, achieved, behind);
            assert_eq!(found, expected, "{achieved} of {target}, {behind} late");
        };
        check(1_000.0, 1_000.0, 0.0, None);
        check(1_000.0, 980.0, 0.0, None);
        check(1_000.0, 979.0, 0.0, Some(RateFault::Short));
        check(1_000.0, 979.0, 500.0, Some(RateFault::Short));
        check(1_000.0, 1_020.0, 0.0, None);
        check(1_000.0, 1_021.0, 0.0, Some(RateFault::Excess));
        check(5.0, 5.5, 0.0, None);
        check(1_000.0, 1_000.0, 20.0, None);
        check(1_000.0, 1_000.0, 21.0, Some(RateFault::Late));
        check(0.0, 0.0, 0.0, None);
    }
}
