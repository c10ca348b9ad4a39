//! The points of five minutes as lines with gaps.

use crate::board::{History, Point};
use crate::plot::Place;

/// What a chart spans, in minutes: it always ends now.
pub(super) const SPAN_MIN: u8 = 5;

const SPAN_S: f64 = 60.0 * SPAN_MIN as f64;

/// Points further apart than this have a gap between them: a point comes each second.
const GAP_S: f64 = 2.5;

/// The part of a history that is shown.
#[derive(Debug)]
pub(super) struct View<'a> {
    points: Vec<(f64, &'a Point)>,
}

impl<'a> View<'a> {
    /// The five minutes before `now_ms`. Points of the future (the clock was set back) are left
    /// out.
    pub(super) fn new(history: &'a History, now_ms: u64) -> View<'a> {
        let seconds = |point: &Point| (now_ms - point.at_ms) as f64 / -1e3;
        let points = history
            .points()
            .filter(|point| point.at_ms <= now_ms)
            .map(|point| (seconds(point), point))
            .filter(|(at, _)| *at >= -SPAN_S)
            .collect();
        View { points }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    pub(super) fn points(&self) -> impl Iterator<Item = &'a Point> {
        self.points.iter().map(|(_, point)| *point)
    }

    /// The pieces of a line, by seconds from now (0 or less): `None`, and a second that is missing,
    /// is a gap.
    pub(super) fn pieces(&self, value: impl Fn(&Point) -> Option<f64>) -> Vec<Vec<Place>> {
        let mut pieces = Vec::new();
        let mut piece: Vec<Place> = Vec::new();
        for (at, point) in &self.points {
            let value = value(point).filter(|value| value.is_finite());
            let gap = piece.last().is_some_and(|(last, _)| {
                let apart = at - last;
                !(0.0..=GAP_S).contains(&apart)
            });
            if gap || value.is_none() {
                pieces.push(std::mem::take(&mut piece));
            }
            piece.extend(value.map(|value| (*at, value)));
        }
        pieces.push(piece);
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    /// The stretches, from and to, in which `holds` is true.
    pub(super) fn stretches(&self, holds: impl Fn(&Point) -> bool) -> Vec<(f64, f64)> {
        self.pieces(|point| holds(point).then_some(0.0))
            .iter()
            .filter_map(|piece| Some((piece.first()?.0, piece.last()?.0)))
            // A second is a second wide.
            .map(|(from, to)| ((from - 0.5).max(-SPAN_S), (to + 0.5).min(0.0)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::fixture;

    const NOW_MS: u64 = 1_000_000_000;

    /// One point for each pair: its age in s, and its rate.
    #[track_caller]
    fn check(points: &[(u64, f64)], expected: &[&[(f64, f64)]]) {
        let mut history = History::default();
        for (age, rate) in points {
            history.push(Point {
                achieved_rate: *rate,
                ..fixture::point(NOW_MS - age * 1_000)
            });
        }
        let pieces = View::new(&history, NOW_MS)
            .pieces(|point| (point.achieved_rate > 0.0).then_some(point.achieved_rate));
        assert_eq!(pieces, expected);
    }

    #[test]
    fn a_line_ends_where_data_ends() {
        check(&[], &[]);
        check(&[(1, 5.0), (0, 6.0)], &[&[(-1.0, 5.0), (0.0, 6.0)]]);
        check(&[(2, 5.0), (0, 6.0)], &[&[(-2.0, 5.0), (0.0, 6.0)]]);
        check(&[(3, 5.0), (0, 6.0)], &[&[(-3.0, 5.0)], &[(0.0, 6.0)]]);
        check(
            &[(2, 5.0), (1, 0.0), (0, 6.0)],
            &[&[(-2.0, 5.0)], &[(0.0, 6.0)]],
        );
        check(&[(2, 0.0), (1, f64::INFINITY), (0, f64::NAN)], &[]);
    }

    #[test]
    fn only_the_last_five_minutes_are_seen() {
        check(&[(301, 5.0), (300, 6.0)], &[&[(-300.0, 6.0)]]);
    }

    #[test]
    fn a_clock_that_is_set_back_draws_nothing_wrong() {
        let mut history = History::default();
        for at_ms in [NOW_MS + 5_000, NOW_MS] {
            history.push(fixture::point(at_ms));
        }
        let view = View::new(&history, NOW_MS);
        assert_eq!(view.pieces(|_| Some(1.0)), [[(0.0, 1.0)]]);
    }

    #[test]
    fn stretches_are_seconds_wide() {
        let mut history = History::default();
        for age in (0..10).rev() {
            history.push(Point {
                generator_limited: (4..=6).contains(&age),
                ..fixture::point(NOW_MS - age * 1_000)
            });
        }
        let view = View::new(&history, NOW_MS);
        assert_eq!(
            view.stretches(|point| point.generator_limited),
            [(-6.5, -3.5)]
        );
    }
}
