//! The charts: five minutes up to now, as SVG.
//!
//! Invariants: the horizontal axis is always the same; the vertical one moves in steps ([`Axis`]);
//! no line crosses a time without data ([`line`]); texts from the network are escaped by the
//! library that writes the SVG, and a test looks.

mod line;

use std::collections::BTreeMap;
use std::error::Error;

use plotters::style::RGBColor;

use line::{SPAN_MIN, View};

use super::appearance::Appearance;
use crate::board::{Board, History, Point};
use crate::plot::palette::Palette;
use crate::plot::scale::{Axis, number_label, rate_label, time_label};
use crate::plot::{self, Line, Plot, Stroke};

/// What a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chart {
    /// Requests a second: to be sent, and sent.
    Rate,
    /// Percentiles of the latency.
    Latency,
    /// Answers a second by the class of their status.
    Codes,
    /// Errors a second by kind.
    Errors,
    /// The value that the API serves.
    Currency,
}

/// Kinds of errors with a line of their own; the others share one.
const ERROR_LINES: usize = 3;

/// Letters of a kind of errors that fit above a chart.
const NAME_CHARS: usize = 36;

/// The lowest rate on an axis of decades: one request in a window of ten seconds.
const LEAST_RATE: f64 = 0.1;

/// A value beyond this has no axis: sums would leave the range of an `f64`.
const GREATEST_VALUE: f64 = 1e290;

type Colour = fn(&Palette) -> RGBColor;

/// A class of status codes: its name, the look of its line, and which belong to it.
type Class = (&'static str, Colour, Stroke, fn(u16) -> bool);

impl Chart {
    /// The chart at `/charts/NAME`.
    pub(super) fn named(name: &str) -> Option<Chart> {
        Some(match name {
            "rate.svg" => Chart::Rate,
            "latency.svg" => Chart::Latency,
            "codes.svg" => Chart::Codes,
            "errors.svg" => Chart::Errors,
            "currency.svg" => Chart::Currency,
            _ => return None,
        })
    }

    /// The chart as the text of an SVG image; one that says so where there is no history yet.
    ///
    /// # Errors
    /// The library could not draw it.
    pub(super) fn paint(
        self,
        appearance: Appearance,
        board: Option<&Board>,
        history: &History,
    ) -> Result<String, Box<dyn Error>> {
        let last = history.points().next_back().map(|point| point.at_ms);
        let now_ms = board.map(|board| board.at_ms).or(last).unwrap_or(0);
        let view = View::new(history, now_ms);
        let mut plot = match self {
            Chart::Rate => rate(&view),
            Chart::Latency => latency(&view),
            Chart::Codes => codes(&view),
            Chart::Errors => errors(&view),
            Chart::Currency => currency(&view),
        };
        if view.is_empty() {
            plot.message = Some("no history yet");
        }
        let (layout, palette) = (appearance.layout(), appearance.palette());
        plot::image((layout.width, layout.height), palette, |canvas| {
            plot.paint(canvas, layout, palette)
        })
    }
}

fn rate(view: &View<'_>) -> Plot {
    let highest = view
        .points()
        .flat_map(|point| [point.target_rate, point.achieved_rate])
        .filter(|rate| rate.is_finite())
        .fold(0.0, f64::max);
    let line = |name: &str, colour, stroke, value: fn(&Point) -> f64| Line {
        name: name.to_owned(),
        colour,
        stroke,
        pieces: view.pieces(|point| (point.bots_alive > 0).then(|| value(point))),
    };
    Plot {
        y: Axis::from_zero(highest, 10.0, rate_label),
        lines: vec![
            line("sent", |p| p.blue, Stroke::Thick, |p| p.achieved_rate),
            line("target", |p| p.orange, Stroke::Dashed, |p| p.target_rate),
        ],
        limited: view.stretches(|point| point.generator_limited),
        ..bare()
    }
}

fn latency(view: &View<'_>) -> Plot {
    let line = |name: &str, colour, stroke, value: fn(&Point) -> u64| Line {
        name: name.to_owned(),
        colour,
        stroke,
        pieces: view.pieces(|point| Some(value(point) as f64).filter(|ns| *ns > 0.0)),
    };
    let answered = || view.points().filter(|point| point.p50 > 0);
    let lowest = answered().map(|point| point.p50).min().unwrap_or(u64::MAX);
    let highest = answered().map(|point| point.max).max().unwrap_or(0);
    Plot {
        y: Axis::decades(
            lowest.min(100_000) as f64,
            highest.max(10_000_000) as f64,
            time_label,
        ),
        lines: vec![
            line("max", |p| p.purple, Stroke::Thin, |p| p.max),
            line("p99", |p| p.orange, Stroke::Thick, |p| p.p99),
            line("p90", |p| p.green, Stroke::Thin, |p| p.p90),
            line("p50", |p| p.blue, Stroke::Thick, |p| p.p50),
        ],
        limited: view.stretches(|point| point.generator_limited),
        ..bare()
    }
}

fn codes(view: &View<'_>) -> Plot {
    let classes: [Class; 5] = [
        ("2xx", |p| p.blue, Stroke::Thick, |code| code / 100 == 2),
        ("3xx", |p| p.green, Stroke::Thin, |code| code / 100 == 3),
        ("4xx", |p| p.orange, Stroke::Thin, |code| code / 100 == 4),
        ("5xx", |p| p.red, Stroke::Thick, |code| code / 100 == 5),
        (
            "no response",
            |p| p.purple,
            Stroke::Dashed,
            |code| code < 100,
        ),
    ];
    let lines = classes.map(|(name, colour, stroke, is_in)| Line {
        name: name.to_owned(),
        colour,
        stroke,
        pieces: view.pieces(|point| {
            let counts = point.status_codes.iter();
            per_second(
                point,
                counts
                    .filter(|(code, _)| is_in(**code))
                    .map(|(_, n)| *n)
                    .sum(),
            )
        }),
    });
    Plot {
        y: rates_of_any_size(&lines),
        lines: lines.into(),
        ..bare()
    }
}

fn errors(view: &View<'_>) -> Plot {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in view.points().flat_map(|point| &point.errors) {
        *totals.entry(kind).or_default() += count;
    }
    let mut kinds: Vec<(&str, u64)> = totals.into_iter().collect();
    kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
    let (own, shared) = kinds.split_at(kinds.len().min(ERROR_LINES));
    let colours: [(Colour, Stroke); ERROR_LINES] = [
        (|p| p.red, Stroke::Thick),
        (|p| p.orange, Stroke::Thin),
        (|p| p.purple, Stroke::Dashed),
    ];
    let mut lines: Vec<Line> = own
        .iter()
        .zip(colours)
        .map(|((kind, _), (colour, stroke))| Line {
            name: shortened(kind),
            colour,
            stroke,
            pieces: view.pieces(|point| per_second(point, *point.errors.get(*kind)?)),
        })
        .collect();
    if !shared.is_empty() {
        lines.push(Line {
            name: match shared.len() {
                1 => "1 other kind".to_owned(),
                others => format!("{others} other kinds"),
            },
            colour: |p| p.grey,
            stroke: Stroke::Thin,
            pieces: view.pieces(|point| {
                let count = |(kind, _): &(&str, u64)| point.errors.get(*kind);
                per_second(point, shared.iter().filter_map(count).sum())
            }),
        });
    }
    Plot {
        y: rates_of_any_size(&lines),
        message: lines
            .is_empty()
            .then_some("no errors in the last five minutes"),
        lines,
        long_names: true,
        ..bare()
    }
}

fn currency(view: &View<'_>) -> Plot {
    let pieces = view.pieces(|point| point.value.filter(|value| value.abs() < GREATEST_VALUE));
    let values = || pieces.iter().flatten().map(|(_, value)| *value);
    let (lowest, highest) = match pieces.is_empty() {
        true => (0.0, 1.0),
        false => (
            values().fold(f64::INFINITY, f64::min),
            values().fold(f64::NEG_INFINITY, f64::max),
        ),
    };
    Plot {
        y: Axis::around(lowest..highest, number_label),
        message: pieces
            .is_empty()
            .then_some("no value in the last five minutes"),
        lines: vec![Line {
            name: String::new(),
            colour: |p| p.blue,
            stroke: Stroke::Thick,
            pieces,
        }],
        ..bare()
    }
}

/// A plot of the last minutes with nothing in it.
fn bare() -> Plot {
    Plot {
        x: Axis::minutes(SPAN_MIN),
        ..Plot::default()
    }
}

/// `count` of a point's window as a rate; `None` for 0, which has no place among decades.
///
/// A point does not say how long its window is, but how many were sent a second.
fn per_second(point: &Point, count: u64) -> Option<f64> {
    let all: u64 = point.status_codes.values().sum();
    (count > 0 && all > 0).then(|| count as f64 / all as f64 * point.achieved_rate)
}

/// An axis on which one error a second is seen beside 10,000 answers.
fn rates_of_any_size(lines: &[Line]) -> Axis {
    let places = lines.iter().flat_map(|line| line.pieces.iter().flatten());
    let highest = places.map(|(_, value)| *value).fold(100.0, f64::max);
    Axis::decades(LEAST_RATE, highest, rate_label)
}

/// The end of a long text: Go's errors begin alike, and say last what happened.
fn shortened(text: &str) -> String {
    let length = text.chars().count();
    match length.checked_sub(NAME_CHARS) {
        None | Some(0) => text.to_owned(),
        Some(left) => format!("…{}", text.chars().skip(left + 1).collect::<String>()),
    }
}

#[cfg(test)]
mod tests;
