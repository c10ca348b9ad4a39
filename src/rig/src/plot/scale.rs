//! Axes that stay put: a bound moves only in steps of 1, 2, 5 or of whole decades, and depends on
//! nothing but what is shown. Two charts with values of the same size have the same scale.

use std::ops::{Range, RangeInclusive};

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::figures::trimmed;

/// The exponents of ten that are dealt with: those of an `f64`, with room for sums.
const EXPONENTS: RangeInclusive<i32> = -300..=300;

/// As many as a round number on an axis may need.
const DECIMALS: usize = 6;

/// How far an axis from zero reaches beyond its last tick.
const HEADROOM: f64 = 1.05;

/// The same for an axis of decades: a twentieth of one.
const HEADROOM_DECADES: f64 = 1.12;

/// An axis: where values are on it, and which of them have a label.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Axis {
    scale: Scale,
    range: Range<f64>,
    /// Values with their labels, ascending.
    pub ticks: Vec<(f64, String)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scale {
    #[default]
    Linear,
    Decades,
}

impl Axis {
    /// The last `minutes` minutes, in seconds from now (0 or less).
    pub(crate) fn minutes(minutes: u8) -> Axis {
        let start = -60.0 * f64::from(minutes);
        let mut axis = Axis::linear(start..0.0, 60.0, |seconds| match seconds / 60.0 {
            minutes if minutes > -0.5 => "now".to_owned(),
            minutes => format!("{minutes:.0}"),
        });
        // Once is enough, and on a phone there is no room for more.
        if let Some((_, label)) = axis.ticks.first_mut() {
            label.push_str(" min");
        }
        axis
    }

    /// From 0 to the next of 1, 2, 5 × 10ⁿ above `highest`, and to `least` at least; and a little
    /// beyond, so that noise about a round rate does not double the scale.
    pub(crate) fn from_zero(highest: f64, least: f64, label: fn(f64) -> String) -> Axis {
        let (mantissa, unit) = round_up((highest / HEADROOM).max(least));
        // 4 or 5 steps, each a round number too.
        let step = match mantissa {
            1 => 0.2 * unit,
            2 => 0.5 * unit,
            _ => unit,
        };
        let top = f64::from(mantissa) * unit;
        let mut axis = Axis::linear(0.0..top, step, label);
        axis.range.end *= HEADROOM;
        axis
    }

    /// From 0 to `highest` and a little beyond, for a chart that is drawn once.
    pub(crate) fn up_to(highest: f64, label: fn(f64) -> String) -> Axis {
        let (mantissa, unit) = round_up(highest / 6.0);
        let step = f64::from(mantissa) * unit;
        let mut axis = Axis::linear(0.0..(highest / step + 1e-9).floor() * step, step, label);
        axis.range.end = highest * HEADROOM;
        axis
    }

    /// Shares (0 to 1) from `bottom` to all, and a little beyond.
    pub(crate) fn shares(bottom: f64) -> Axis {
        let label = |share: f64| format!("{} %", trimmed(share * 100.0, 2));
        let mut axis = Axis::linear(bottom..1.0, (1.0 - bottom) / 5.0, label);
        axis.range.end += 0.1 * (1.0 - bottom);
        axis
    }

    /// Around values that have nothing to do with 0.
    pub(crate) fn around(values: Range<f64>, label: fn(f64) -> String) -> Axis {
        // A value that stands still lies on a line in the middle, not on the border.
        let least = values.start.abs().max(values.end.abs()).max(1e-6) / 100.0;
        let (mantissa, unit) = round_up((values.end - values.start).max(least) / 4.0);
        let step = f64::from(mantissa) * unit;
        let bottom = (values.start / step - 0.1).floor() * step;
        let top = (values.end / step + 0.1).ceil() * step;
        Axis::linear(bottom..top, step, label)
    }

    /// Whole decades from that of `lowest` to that of `highest`, and a little beyond.
    pub(crate) fn decades(lowest: f64, highest: f64, label: fn(f64) -> String) -> Axis {
        let bottom = exponent_below(lowest);
        let highest = highest / HEADROOM_DECADES;
        let below = exponent_below(highest);
        let reached = 10f64.powi(below) >= highest * (1.0 - 1e-9);
        let top = if reached { below } else { below + 1 };
        let exponents = bottom..=top.max(bottom + 1);
        Axis {
            scale: Scale::Decades,
            range: 10f64.powi(bottom)..10f64.powi(*exponents.end()) * HEADROOM_DECADES,
            ticks: exponents
                .map(|exponent| 10f64.powi(exponent))
                .map(|value| (value, label(value)))
                .collect(),
        }
    }

    fn linear(range: Range<f64>, step: f64, label: fn(f64) -> String) -> Axis {
        let steps = ((range.end - range.start) / step).round().clamp(1.0, 20.0) as i32;
        let ticks = (0..=steps)
            .map(|n| range.start + f64::from(n) * step)
            .map(|value| (value, label(value)))
            .collect();
        Axis {
            scale: Scale::Linear,
            range,
            ticks,
        }
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> f64 {
        self.range.end
    }

    /// Where `value` is between the axis' ends, 0 to 1; what is beyond is on the end.
    fn position(&self, value: f64) -> f64 {
        let scaled = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Decades => value.max(f64::MIN_POSITIVE).log10(),
        };
        let (start, end) = (scaled(self.range.start), scaled(self.range.end));
        ((scaled(value) - start) / (end - start)).clamp(0.0, 1.0)
    }
}

/// plotters' axis of numbers chooses its own ticks, and can't have others with their labels.
impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let length = f64::from(limit.1 - limit.0);
        limit.0 + (self.position(*value) * length).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(value, _)| *value).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.iter().find(|(tick, _)| tick == value);
        tick.map(|(_, label)| label.clone()).unwrap_or_default()
    }
}

/// The least `mantissa` × `unit` that is not below `value`; `mantissa` 1, 2 or 5, `unit` a power of
/// ten.
fn round_up(value: f64) -> (u8, f64) {
    let unit = 10f64.powi(exponent_below(value));
    [1, 2, 5]
        .into_iter()
        // A hair of tolerance: 0.3 / 0.1 is no 3 in floating point.
        .find(|mantissa| f64::from(*mantissa) * unit >= value * (1.0 - 1e-9))
        .map_or((1, 10.0 * unit), |mantissa| (mantissa, unit))
}

/// The largest exponent whose power of ten is not above `value`.
fn exponent_below(value: f64) -> i32 {
    let (least, most) = (*EXPONENTS.start(), *EXPONENTS.end());
    // A cast of what is no number gives 0, of what is too large the largest.
    let guess = (value.log10().floor() as i32).clamp(least, most);
    // The logarithm of 1000 may come out as 2.9999999999999996.
    let next_fits = 10f64.powi(guess + 1) <= value * (1.0 + 1e-9);
    guess + i32::from(next_fits)
}

/// A rate: `500/s`, `1.2k/s`, `2M/s`.
pub(crate) fn rate_label(per_second: f64) -> String {
    let (value, unit) = match per_second {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    format!("{}{unit}/s", trimmed(value, DECIMALS))
}

/// A time: `100 µs`, `1 ms`, `10 s`.
pub(crate) fn time_label(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns >= 1e9 => (ns / 1e9, "s"),
        ns if ns >= 1e6 => (ns / 1e6, "ms"),
        ns if ns >= 1e3 => (ns / 1e3, "µs"),
        ns => (ns, "ns"),
    };
    format!("{} {unit}", trimmed(value, DECIMALS))
}

/// The same of a time in µs.
pub(crate) fn micros_label(us: f64) -> String {
    match us {
        0.0 => "0".to_owned(),
        us => time_label(us * 1e3),
    }
}

/// A number without a unit, short whatever its size.
pub(crate) fn number_label(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (1e-4..1e7).contains(&size) => trimmed(value, DECIMALS),
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[track_caller]
    fn check(axis: &Axis, expected: &[&str]) {
        assert_eq!(labels(axis), expected);
        let (first, last) = (axis.ticks[0].0, axis.ticks[axis.ticks.len() - 1].0);
        assert!(axis.position(first) < 1e-9, "{axis:?}");
        assert!(axis.position(last) > 0.9, "{axis:?}");
    }

    #[test]
    fn time_ends_now() {
        check(
            &Axis::minutes(5),
            &["-5 min", "-4", "-3", "-2", "-1", "now"],
        );
    }

    #[test]
    fn rates_go_up_in_steps_of_1_2_5() {
        let axis = |highest| Axis::from_zero(highest, 10.0, rate_label);
        check(&axis(0.0), &["0/s", "2/s", "4/s", "6/s", "8/s", "10/s"]);
        check(
            &axis(1_000.0),
            &["0/s", "200/s", "400/s", "600/s", "800/s", "1k/s"],
        );
        check(&axis(1_051.0), &["0/s", "500/s", "1k/s", "1.5k/s", "2k/s"]);
        check(&axis(12_000.0), &["0/s", "5k/s", "10k/s", "15k/s", "20k/s"]);
        check(
            &axis(2.2e6),
            &["0/s", "1M/s", "2M/s", "3M/s", "4M/s", "5M/s"],
        );
        check(
            &axis(5.3e3),
            &["0/s", "2k/s", "4k/s", "6k/s", "8k/s", "10k/s"],
        );
    }

    #[test]
    fn axes_of_one_chart_end_with_it() {
        let labels = ["0/s", "2k/s", "4k/s", "6k/s", "8k/s", "10k/s", "12k/s"];
        check(&Axis::up_to(12_000.0, rate_label), &labels);
        check(
            &Axis::up_to(0.3, rate_label),
            &[
                "0/s", "0.05/s", "0.1/s", "0.15/s", "0.2/s", "0.25/s", "0.3/s",
            ],
        );
        let labels = ["99 %", "99.2 %", "99.4 %", "99.6 %", "99.8 %", "100 %"];
        check(&Axis::shares(0.99), &labels);
    }

    #[test]
    fn scale_of_a_noisy_rate_stays() {
        let calm = Axis::from_zero(1_000.0, 10.0, rate_label);
        for highest in [530.0, 999.0, 1_001.0, 1_049.0] {
            assert_eq!(Axis::from_zero(highest, 10.0, rate_label), calm);
        }
    }

    #[test]
    fn latencies_have_decades() {
        let axis = |lowest, highest| Axis::decades(lowest, highest, time_label);
        check(&axis(1e5, 1e7), &["100 µs", "1 ms", "10 ms"]);
        check(&axis(2e5, 1.13e7), &["100 µs", "1 ms", "10 ms", "100 ms"]);
        check(&axis(9.9e4, 9e6), &["10 µs", "100 µs", "1 ms", "10 ms"]);
        check(
            &axis(1e3, 6e10),
            &[
                "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s",
            ],
        );
    }

    #[test]
    fn decades_are_equally_high() {
        let axis = Axis::decades(1e5, 1e7, time_label);
        let steps = [1e5, 1e6, 1e7].map(|ns| axis.position(ns));
        assert!(
            (steps[2] - 2.0 * steps[1] + steps[0]).abs() < 1e-9,
            "{steps:?}"
        );
        assert_eq!(axis.position(0.0), 0.0);
        assert_eq!(axis.position(1e12), 1.0);
    }

    #[test]
    fn values_lie_within_a_round_range() {
        check(
            &Axis::around(101.2..108.9, number_label),
            &["100", "102", "104", "106", "108", "110"],
        );
        check(
            &Axis::around(-0.35..0.2, number_label),
            &["-0.4", "-0.2", "0", "0.2", "0.4"],
        );
        let constant = Axis::around(100.0..100.0, number_label);
        assert!(constant.range().start < 100.0 && constant.range().end > 100.0);
        let zero = Axis::around(0.0..0.0, number_label);
        assert!(zero.range().start < 0.0 && zero.range().end > 0.0);
    }

    #[test]
    fn numbers_of_any_size_have_an_axis() {
        for value in [1e-300, 1e-9, 1e20, 1e300, -1e300] {
            let axis = Axis::around(value..value, number_label);
            assert!(axis.ticks.len() <= 21, "{value}: {axis:?}");
            assert!(axis.ticks.iter().all(|(_, label)| label.len() < 14));
        }
    }
}
