//! Where the API stops keeping up: pure.
//!
//! The knee is the last rate before the first step that is bad. A step is bad when
//! - its p99 exceeds [`P99_FACTOR`] times the p99 at the lowest rates (and [`P99_FLOOR_US`]), or
//! - fewer than [`SUCCESS_MIN`] of its answers are good, or
//! - too little of its target was sent ([`RateFault::Short`]).
//!
//! The lowest rates are the lowest quarter of the steps, rounded up; their p99 is the median, so
//! that one noisy step counts for little.

use std::fmt;

use super::step::Step;
use crate::figures::{percent, rate};
use crate::rate::RateFault;

/// By queueing theory the latency of a server doubles at half its capacity and is five times as
/// high at 80 %: beyond that a little more load makes it much higher.
pub const P99_FACTOR: f64 = 5.0;

/// A p99 up to this is no knee, whatever it was before: on a busy machine one pause of the
/// scheduler makes as much.
pub const P99_FLOOR_US: f64 = 5_000.0;

/// Three nines.
pub const SUCCESS_MIN: f64 = 0.999;

/// Where it lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Knee {
    /// Nothing was bad up to this rate; `None`: nothing was measured.
    NotReached { up_to: Option<f64> },
    /// At `at`, the last good rate (`None`: the lowest was bad already); `beyond` was bad.
    At {
        at: Option<f64>,
        beyond: f64,
        why: Why,
    },
}

/// What was bad, in the order in which it is looked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// All workers of the generator waited for the API, so that it could not send more.
    WorkersCapped { achieved_rate: f64 },
    /// The generator itself sent less than it was told to.
    Generator { achieved_rate: f64 },
    /// Too few answers were good.
    Success { success: f64 },
    /// The p99 was above the limit.
    Latency {
        p99_us: f64,
        limit_us: f64,
        /// The generator stood still for a time and made up for it, in bursts that may be why.
        is_uneven: bool,
    },
}

impl Knee {
    /// The knee in `steps`, which are in the order of their rates.
    pub fn find(steps: &[Step]) -> Knee {
        let limit_us = p99_limit_us(steps);
        let mut at = None;
        for step in steps {
            if let Some(why) = Why::of(step, limit_us) {
                let beyond = step.target_rate;
                return Knee::At { at, beyond, why };
            }
            at = Some(step.target_rate);
        }
        Knee::NotReached { up_to: at }
    }

    /// The rate to mark.
    pub fn rate(&self) -> Option<f64> {
        match self {
            Knee::NotReached { .. } => None,
            Knee::At { at, .. } => *at,
        }
    }
}

impl Why {
    fn of(step: &Step, limit_us: f64) -> Option<Why> {
        let achieved_rate = step.achieved_rate;
        // What was not sent was not measured: the other figures of such a step count for nothing.
        if RateFault::of(step.target_rate, achieved_rate, 0.0) == Some(RateFault::Short) {
            return Some(match step.workers_capped {
                true => Why::WorkersCapped { achieved_rate },
                false => Why::Generator { achieved_rate },
            });
        }
        if step.success < SUCCESS_MIN {
            let success = step.success;
            return Some(Why::Success { success });
        }
        let p99_us = step.p99_us;
        (p99_us > limit_us).then_some(Why::Latency {
            p99_us,
            limit_us,
            is_uneven: step.generator_limited && !step.workers_capped,
        })
    }
}

fn p99_limit_us(steps: &[Step]) -> f64 {
    let lowest = &steps[..steps.len().div_ceil(4)];
    let mut p99s: Vec<f64> = lowest.iter().map(|step| step.p99_us).collect();
    p99s.sort_by(f64::total_cmp);
    let median = p99s.get(p99s.len() / 2).copied().unwrap_or_default();
    (P99_FACTOR * median).max(P99_FLOOR_US)
}

impl fmt::Display for Knee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Knee::NotReached { up_to: None } => f.write_str("no knee: nothing was measured"),
            Knee::NotReached {
                up_to: Some(highest),
            } => {
                write!(f, "no knee up to {}/s", rate(*highest))
            }
            Knee::At {
                at: Some(at),
                beyond,
                why,
            } => {
                let (at, beyond) = (rate(*at), rate(*beyond));
                write!(f, "knee at {at}/s: at {beyond}/s {why}")
            }
            Knee::At {
                at: None,
                beyond,
                why,
            } => write!(
                f,
                "knee below {0}/s, the lowest rate: at {0}/s {why}",
                rate(*beyond)
            ),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::WorkersCapped { achieved_rate } => write!(
                f,
                "all workers of the generator waited for the API, only {}/s were sent",
                rate(*achieved_rate)
            ),
            Why::Generator { achieved_rate } => write!(
                f,
                "the generator, not the API, was the limit: only {}/s were sent",
                rate(*achieved_rate)
            ),
            Why::Success { success } => {
                let percent = percent(*success);
                write!(f, "only {percent:.2} % of the answers were good")
            }
            Why::Latency {
                p99_us,
                limit_us,
                is_uneven,
            } => {
                let (p99_ms, limit_ms) = (p99_us / 1e3, limit_us / 1e3);
                write!(f, "the p99 was {p99_ms:.1} ms, above {limit_ms:.1} ms")?;
                match is_uneven {
                    true => f.write_str(", but the generator fell behind: hold it again"),
                    false => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(target_rate: f64, p99_us: f64) -> Step {
        Step {
            target_rate,
            achieved_rate: target_rate,
            success: 1.0,
            p99_us,
            ..Step::default()
        }
    }

    /// The text for steps of 1,000/s, 2,000/s, … with these p99s, in ms.
    fn texts(p99s_ms: &[f64]) -> String {
        let rates = (1..).map(|n| f64::from(n) * 1_000.0);
        let steps = rates.zip(p99s_ms).map(|(rate, ms)| step(rate, ms * 1e3));
        Knee::find(&steps.collect::<Vec<_>>()).to_string()
    }

    #[test]
    fn p99_is_compared_with_that_of_the_lowest_rates() {
        let check = |p99s_ms: &[f64], expected: &str| assert_eq!(texts(p99s_ms), expected);
        check(&[], "no knee: nothing was measured");
        check(&[2.0], "no knee up to 1,000/s");
        check(&[2.0, 2.0, 9.9, 10.0], "no knee up to 4,000/s");
        check(
            &[2.0, 2.0, 9.9, 10.1],
            "knee at 3,000/s: at 4,000/s the p99 was 10.1 ms, above 10.0 ms",
        );
        // The first that is bad counts, whatever follows.
        check(
            &[2.0, 11.0, 3.0, 90.0],
            "knee at 1,000/s: at 2,000/s the p99 was 11.0 ms, above 10.0 ms",
        );
        // Less than the floor is no knee.
        check(&[0.1, 4.9, 5.0], "no knee up to 3,000/s");
        // Twelve steps: the lowest three count, by their median.
        let mut twelve = [2.0; 12];
        twelve[1] = 6.0;
        check(&twelve, "no knee up to 12,000/s");
        twelve[11] = 10.5;
        check(
            &twelve,
            "knee at 11,000/s: at 12,000/s the p99 was 10.5 ms, above 10.0 ms",
        );
    }

    #[test]
    fn bad_answers_and_missing_load_are_a_knee() {
        let check = |change: &dyn Fn(&mut Step), expected: &str| {
            let mut steps = [step(1_000.0, 2e3), step(2_000.0, 2e3), step(4_000.0, 90e3)];
            change(&mut steps[1]);
            assert_eq!(Knee::find(&steps).to_string(), expected);
        };
        check(
            &|step| step.success = 0.998_99,
            "knee at 1,000/s: at 2,000/s only 99.89 % of the answers were good",
        );
        check(
            &|step| step.achieved_rate = 1_959.0,
            "knee at 1,000/s: at 2,000/s the generator, not the API, was the limit: only 1,959/s \
             were sent",
        );
        check(
            &|step| (step.achieved_rate, step.workers_capped) = (1_500.0, true),
            "knee at 1,000/s: at 2,000/s all workers of the generator waited for the API, only \
             1,500/s were sent",
        );
        check(
            &|step| (step.p99_us, step.generator_limited) = (11e3, true),
            "knee at 1,000/s: at 2,000/s the p99 was 11.0 ms, above 10.0 ms, but the generator fell \
             behind: hold it again",
        );
        check(
            &|step| {
                (step.achieved_rate, step.success, step.workers_capped) = (1_960.0, 0.999, true);
            },
            "knee at 2,000/s: at 4,000/s the p99 was 90.0 ms, above 10.0 ms",
        );
    }

    #[test]
    fn the_lowest_rate_may_be_bad_already() {
        let mut bad = step(50.0, 1e3);
        bad.success = 0.0;
        let knee = Knee::find(&[bad, step(100.0, 1e3)]);
        assert_eq!(
            knee.to_string(),
            "knee below 50/s, the lowest rate: at 50/s only 0.00 % of the answers were good"
        );
        assert_eq!(knee.rate(), None);
        assert_eq!(
            Knee::find(&[step(50.0, 1e3), step(100.0, 1e6)]).rate(),
            Some(50.0)
        );
    }
}
