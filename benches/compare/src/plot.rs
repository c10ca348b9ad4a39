//! The ratios of all points as one picture: a dot for each median, a line for between what the true
//! median lies, 1 in the middle of things.

use std::fmt::Write as _;

use crate::modes;
use crate::record::Point;
use crate::report::{Cost, RATIO};
use crate::stats::Spread;

const NAMES: f64 = 150.0;
const WIDTH: f64 = 640.0;
const ROW: f64 = 18.0;
const HEAD: f64 = 34.0;
/// Ratios at which a line is drawn.
const GRID: &[f64] = &[
    0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0,
];

struct Panel<'a> {
    title: String,
    rows: Vec<(&'a str, Spread)>,
}

/// `None`: nothing was compared with hyper.
pub fn svg(costs: &[(Point, Vec<Cost>)]) -> Option<String> {
    let panels: Vec<Panel<'_>> = costs.iter().filter_map(panel).collect();
    if panels.is_empty() {
        return None;
    }
    let bounds = || {
        panels
            .iter()
            .flat_map(|panel| &panel.rows)
            .map(|row| row.1.bounds)
    };
    let low = bounds().map(|bounds| bounds.0).fold(0.5, f64::min) * 0.9;
    let high = bounds().map(|bounds| bounds.1).fold(2.0, f64::max) * 1.1;
    // A ratio's place, on a logarithmic scale: half and double are as far from 1.
    let x = |ratio: f64| NAMES + WIDTH * (ratio / low).ln() / (high / low).ln();
    let height: f64 = panels
        .iter()
        .map(|panel| HEAD + ROW * (panel.rows.len() + 1) as f64)
        .sum();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"16\" font-size=\"13\">CPU time per request, server and Redis, × hyper of the same round (log scale)</text>\n",
        NAMES + WIDTH + 60.0,
        height + 30.0
    );
    let mut top = 24.0;
    for panel in &panels {
        let bottom = top + HEAD + ROW * panel.rows.len() as f64;
        let _ = writeln!(
            text,
            "<text x=\"8\" y=\"{}\" font-weight=\"bold\">{}</text>",
            top + 18.0,
            panel.title
        );
        for &ratio in GRID.iter().filter(|&&ratio| ratio > low && ratio < high) {
            let color = if ratio == 1.0 { "#444" } else { "#ddd" };
            let x = x(ratio);
            let _ = writeln!(
                text,
                "<path d=\"M{x:.1} {}V{bottom:.1}\" stroke=\"{color}\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{ratio}</text>",
                top + HEAD - 8.0,
                bottom + 12.0
            );
        }
        for (place, (name, spread)) in panel.rows.iter().enumerate() {
            let y = top + HEAD + ROW * (place as f64 + 0.3);
            let color = if is_ours(name) { "#1f6feb" } else { "#777" };
            let _ = writeln!(
                text,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
                 <path d=\"M{:.1} {y:.1}H{:.1}\" stroke=\"{color}\" stroke-width=\"2\"/>\
                 <circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{color}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{color}\">{:.2}</text>",
                NAMES - 8.0,
                y + 4.0,
                x(spread.bounds.0),
                x(spread.bounds.1),
                x(spread.median),
                x(spread.bounds.1) + 7.0,
                y + 4.0,
                spread.median
            );
        }
        top = bottom + ROW;
    }
    text.push_str("</svg>\n");
    Some(text)
}

/// `None`: no ratios to the common base there.
fn panel((point, costs): &(Point, Vec<Cost>)) -> Option<Panel<'_>> {
    let mut rows: Vec<(&str, Spread)> = costs
        .iter()
        .filter(|cost| cost.base == modes::BASE && cost.mode != modes::BASE)
        .filter_map(|cost| Some((cost.mode.as_str(), *cost.spreads.get(RATIO)?)))
        .collect();
    rows.sort_by(|one, other| one.1.median.total_cmp(&other.1.median));
    (!rows.is_empty()).then(|| Panel {
        title: point.to_string(),
        rows,
    })
}

fn is_ours(name: &str) -> bool {
    let known = modes::built_in();
    // A mode that isn't built in is one of ours with other flags.
    modes::find(&known, name).map_or(true, |mode| mode.is_ours())
}
