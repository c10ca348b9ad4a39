//! A value that wanders as a rate of exchange does: pure, so that a seed tells the whole way.
//!
//! Invariants: two decimals, never outside its bounds, never the same twice in a row. Everything is
//! counted in cents, since sums of binary fractions drift.

use std::fmt;

/// Where it starts when nobody knows better, and how far it goes from there.
const START_CENTS: i64 = 12_50;
const USUAL_CENTS: Band = Band {
    low: 10_00,
    high: 15_00,
};

/// A step is at most one part in so many of the value, 0.4 %: a line that visibly moves in a
/// minute, without jumps.
const STEP_PARTS: i64 = 250;

/// A value outside of the usual band gets a band of its own: one part in so many either way.
const BAND_PARTS: i64 = 5;

/// Values that may be a rate of exchange. The upper end keeps cents far from the ends of an i64.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.10..=1e9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Band {
    low: i64,
    high: i64,
}

/// The walk, at one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    cents: i64,
    band: Band,
}

/// A value of the walk. It shows as a JSON number with two decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cents(pub i64);

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Cents {
    /// As a plain number.
    pub fn units(self) -> f64 {
        self.0 as f64 / 100.0
    }
}

impl Walk {
    /// At the usual start.
    pub fn new() -> Walk {
        Walk {
            cents: START_CENTS,
            band: USUAL_CENTS,
        }
    }

    /// At `value`, within a band around it if it lies outside of the usual one. At the usual start
    /// if `value` can be no rate of exchange: zero, negative, too large.
    pub fn from(value: f64) -> Walk {
        if !PLAUSIBLE.contains(&value) {
            return Walk::new();
        }
        // Within an i64: the range above sees to it.
        let cents = (value * 100.0).round() as i64;
        let usual = (USUAL_CENTS.low..=USUAL_CENTS.high).contains(&cents);
        let band = match usual {
            true => USUAL_CENTS,
            false => Band {
                low: cents - cents / BAND_PARTS,
                high: cents + cents / BAND_PARTS,
            },
        };
        Walk { cents, band }
    }

    /// Goes one step, and gives the new value.
    pub fn step(&mut self, random: &mut fastrand::Rng) -> Cents {
        let longest = (self.cents / STEP_PARTS).max(1);
        let length = random.i64(1..=longest);
        let up = self.cents + length;
        let down = self.cents - length;
        // What would leave the band turns round. It is much wider than a step.
        self.cents = match random.bool() {
            true if up <= self.band.high => up,
            false if down < self.band.low => up,
            _ => down,
        };
        Cents(self.cents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `steps` steps from `start`.
    fn path(start: &Walk, seed: u64, steps: usize) -> Vec<i64> {
        let mut walk = start.clone();
        let mut random = fastrand::Rng::with_seed(seed);
        (0..steps).map(|_| walk.step(&mut random).0).collect()
    }

    #[test]
    fn it_starts_where_the_value_is() {
        let check = |value: f64, cents: i64, low: i64, high: i64| {
            let band = Band { low, high };
            assert_eq!(Walk::from(value), Walk { cents, band }, "{value}");
        };
        check(12.5, 1250, 1000, 1500);
        check(10.0, 1000, 1000, 1500);
        check(12.346, 1235, 1000, 1500);
        check(100.0, 10_000, 8_000, 12_000);
        check(1.1, 110, 88, 132);
        check(0.1, 10, 8, 12);
        for odd in [0.0, -0.0, -12.5, 0.09, 1.1e9, f64::NAN, f64::INFINITY] {
            check(odd, 1250, 1000, 1500);
        }
    }

    #[test]
    fn it_never_leaves_its_band_and_never_stands_still() {
        for start in [0.1, 0.25, 1.1, 10.0, 12.5, 15.0, 100.0, 1e9] {
            for seed in 0..20 {
                let start = Walk::from(start);
                let Band { low, high } = start.band;
                let mut last = start.cents;
                for cents in path(&start, seed, 5_000) {
                    assert!((low..=high).contains(&cents), "{start:?}: {cents}");
                    let step = (cents - last).abs();
                    let longest = (last / 250).max(1);
                    assert!(
                        (1..=longest).contains(&step),
                        "{start:?}: {last} to {cents}"
                    );
                    last = cents;
                }
            }
        }
    }

    #[test]
    fn it_goes_everywhere_and_both_ways() {
        let values = path(&Walk::new(), 7, 100_000);
        let (low, high) = (values.iter().min(), values.iter().max());
        assert!(
            low < Some(&10_50) && high > Some(&14_50),
            "{low:?} {high:?}"
        );
        let ups = values.windows(2).filter(|pair| pair[1] > pair[0]).count();
        assert!((45_000..55_000).contains(&ups), "{ups} of 100,000 go up");
    }

    #[test]
    fn a_seed_tells_the_way() {
        assert_eq!(path(&Walk::new(), 1, 50), path(&Walk::new(), 1, 50));
        assert_ne!(path(&Walk::new(), 1, 50), path(&Walk::new(), 2, 50));
    }

    #[test]
    fn values_are_json_with_two_decimals() {
        let check = |cents: i64, expected: &str| assert_eq!(Cents(cents).to_string(), expected);
        check(12_50, "12.50");
        check(12_05, "12.05");
        check(8, "0.08");
        check(100_000_000_000, "1000000000.00");
    }
}
