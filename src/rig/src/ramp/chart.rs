//! The chart of a ramp, as SVG: rates on the x axis, three panels that share it. Pure.
//!
//! It brings its own white background, so that it reads the same in a light and in a dark viewer.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::knee::Knee;
use super::step::Step;
use crate::figures;
use crate::plot::palette::{LIGHT, Palette};
use crate::plot::scale::{Axis, micros_label, rate_label, time_label};
use crate::plot::{self, Canvas, Layout, Line, Outcome, Place, Plot, Stroke, text};

/// In pixels, as the next two.
const HEAD_HEIGHT: i32 = 130;

/// The title of a panel.
const TITLE_HEIGHT: i32 = 44;

/// Where texts begin.
const LEFT: i32 = 14;

const PANEL: Layout = Layout::WIDE;

/// What the head of the chart says beside the figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// What was measured.
    pub title: String,
    /// How.
    pub subtitle: String,
}

/// Draws the steps. The text is a whole SVG document.
///
/// # Errors
/// The library's, as text: none is known.
pub fn draw(steps: &[Step], knee: &Knee, about: &About) -> Result<String, String> {
    let panels = [latency(steps), shares(steps), cpu(steps)];
    let height = HEAD_HEIGHT + panels.len() as i32 * (TITLE_HEIGHT + PANEL.height as i32);
    let size = (PANEL.width, height.unsigned_abs());
    let drawn = plot::image(size, &LIGHT, |canvas| {
        let (head, body) = canvas.split_vertically(HEAD_HEIGHT);
        let colour = match knee {
            Knee::At { .. } => LIGHT.red,
            Knee::NotReached { .. } => LIGHT.text,
        };
        write(&head, &about.title, (30, 30), LIGHT.text)?;
        write(&head, &about.subtitle, (68, PANEL.text), LIGHT.grey)?;
        write(&head, &knee.to_string(), (100, PANEL.text), colour)?;
        for (area, (title, panel)) in body.split_evenly((panels.len(), 1)).iter().zip(panels) {
            let (head, area) = area.split_vertically(TITLE_HEIGHT);
            write(&head, title, (28, PANEL.text), LIGHT.text)?;
            let panel = Plot {
                x: Axis::up_to(highest_rate(steps), rate_label),
                limited: limited(steps),
                mark: knee
                    .rate()
                    .map(|rate| (rate, format!("knee: {}/s", figures::rate(rate)))),
                long_names: true,
                dots: true,
                ..panel
            };
            panel.paint(&area, PANEL, &LIGHT)?;
        }
        Ok(())
    });
    drawn.map_err(|error| error.to_string())
}

/// Writes a text at the left, so far down and so high.
fn write(area: &Canvas, words: &str, (at, height): (i32, i32), colour: RGBColor) -> Outcome {
    area.draw_text(words, &text(height, colour, HPos::Left), (LEFT, at))?;
    Ok(())
}

fn highest_rate(steps: &[Step]) -> f64 {
    steps.last().map_or(1.0, |step| step.target_rate)
}

/// From where to where each step reaches whose load was not what was asked for.
fn limited(steps: &[Step]) -> Vec<Place> {
    let halfway = |one: &Step, other: &Step| f64::midpoint(one.target_rate, other.target_rate);
    let limited = (0..steps.len()).filter(|&at| steps[at].generator_limited);
    let stretch = |at: usize| {
        let before = at.checked_sub(1).map(|before| &steps[before]);
        let from = before.map(|before| halfway(before, &steps[at]));
        let to = steps.get(at + 1).map(|after| halfway(&steps[at], after));
        let end = Axis::up_to(highest_rate(steps), rate_label).end();
        (from.unwrap_or(0.0), to.unwrap_or(end))
    };
    limited.map(stretch).collect()
}

/// The line of a value; `None` where no step has it.
fn line(
    steps: &[Step],
    name: &str,
    (colour, stroke): (fn(&Palette) -> RGBColor, Stroke),
    value: impl Fn(&Step) -> Option<f64>,
) -> Option<Line> {
    let points = steps.iter();
    let points = points.filter_map(|step| Some((step.target_rate, value(step)?)));
    let points: Vec<Place> = points.collect();
    (!points.is_empty()).then(|| Line {
        name: name.to_owned(),
        colour,
        stroke,
        pieces: vec![points],
    })
}

/// The values of all lines.
fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    let places = lines.iter().flat_map(|line| line.pieces.iter().flatten());
    places.map(|(_, value)| *value)
}

type Panel = (&'static str, Plot);

fn latency(steps: &[Step]) -> Panel {
    // Without an answer there is no latency, and a logarithm has no zero.
    let ns = |us: f64| (us > 0.0).then_some(us * 1e3);
    let lines = [
        line(steps, "p99", (|p| p.orange, Stroke::Thin), |step| {
            ns(step.p99_us)
        }),
        line(steps, "p50", (|p| p.blue, Stroke::Thin), |step| {
            ns(step.p50_us)
        }),
    ];
    let lines: Vec<Line> = lines.into_iter().flatten().collect();
    let (lowest, highest) = (
        values(&lines).fold(1e6, f64::min),
        values(&lines).fold(1e6, f64::max),
    );
    let plot = Plot {
        y: Axis::decades(lowest, highest, time_label),
        lines,
        ..Plot::default()
    };
    ("Latency by target rate", plot)
}

fn shares(steps: &[Step]) -> Panel {
    let sent = |step: &Step| step.achieved_rate / step.target_rate;
    let lines = [
        // Below the other, and wider: where both are the same, both are seen.
        line(
            steps,
            "sent, % of target",
            (|p| p.blue, Stroke::Thick),
            |step| Some(sent(step)),
        ),
        line(
            steps,
            "successful, % of sent",
            (|p| p.green, Stroke::Dashed),
            |step| Some(step.success),
        ),
    ];
    let lines: Vec<Line> = lines.into_iter().flatten().collect();
    let lowest = values(&lines).fold(1.0, f64::min);
    let bottoms = [0.99, 0.9, 0.5].into_iter();
    let bottom = bottoms.filter(|bottom| lowest > bottom + 0.05 * (1.0 - bottom));
    let plot = Plot {
        y: Axis::shares(bottom.fold(0.0, f64::max)),
        lines,
        ..Plot::default()
    };
    ("Success rate, and the load actually sent", plot)
}

fn cpu(steps: &[Step]) -> Panel {
    let lines = [
        line(steps, "API", (|p| p.purple, Stroke::Thin), |step| {
            step.api_cpu_us_per_request
        }),
        line(
            steps,
            "the Redis it reads from",
            (|p| p.green, Stroke::Thin),
            |step| step.replica_cpu_us_per_request,
        ),
    ];
    let lines: Vec<Line> = lines.into_iter().flatten().collect();
    let message = match values(&lines).next() {
        None => Some("not known: see --admin-url"),
        Some(_) => None,
    };
    let plot = Plot {
        y: Axis::from_zero(values(&lines).fold(1.0, f64::max), 1.0, micros_label),
        lines,
        message,
        ..Plot::default()
    };
    ("CPU time per request", plot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(target_rate: f64, p99_us: f64) -> Step {
        Step {
            target_rate,
            achieved_rate: target_rate,
            success: 1.0,
            p50_us: 400.0,
            p99_us,
            api_cpu_us_per_request: Some(30.0),
            replica_cpu_us_per_request: Some(12.0),
            ..Step::default()
        }
    }

    fn drawn(steps: &[Step]) -> String {
        let about = About {
            title: "A <title> & more".to_owned(),
            subtitle: "how".to_owned(),
        };
        draw(steps, &Knee::find(steps), &about).unwrap()
    }

    /// The texts of the document, in its order.
    fn texts(svg: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(svg).expect("it is XML");
        let nodes = document
            .descendants()
            .filter(|node| node.tag_name().name() == "text");
        let texts = nodes.filter_map(|node| node.text());
        texts.map(|text| text.trim().to_owned()).collect()
    }

    #[track_caller]
    fn check(steps: &[Step], present: &[&str], absent: &[&str]) {
        let svg = drawn(steps);
        let texts = texts(&svg);
        for text in present {
            assert!(texts.iter().any(|t| t == text), "{text:?} in {texts:?}");
        }
        for text in absent {
            assert!(
                !texts.iter().any(|t| t.contains(text)),
                "{text:?} in {texts:?}"
            );
        }
    }

    #[test]
    fn panels_axes_and_the_knee_are_named() {
        let steps = [step(1e3, 900.0), step(2e3, 1_000.0), step(4e3, 60_000.0)];
        check(
            &steps,
            &[
                "A <title> & more",
                "how",
                "knee at 2,000/s: at 4,000/s the p99 was 60.0 ms, above 5.0 ms",
                "knee: 2,000/s",
                "p50",
                "p99",
                "API",
                "100 µs",
                "100 ms",
                "99.8 %",
                "20 µs",
                "4k/s",
            ],
            &["not valid", "not known", "NaN", "inf"],
        );
    }

    #[test]
    fn limits_of_the_generator_are_shaded() {
        let mut limited = step(2e3, 1e3);
        limited.achieved_rate = 1_500.0;
        limited.generator_limited = true;
        let steps = [step(1e3, 900.0), limited, step(4e3, 1e3)];
        check(
            &steps,
            &["red: not valid, the generator was the limit"],
            &[],
        );
        let shade = "opacity=\"0.16\"";
        assert_eq!(drawn(&steps).matches(shade).count(), 3, "one a panel");
    }

    #[test]
    fn no_knee_no_mark() {
        check(
            &[step(1e3, 900.0), step(2e3, 950.0)],
            &["no knee up to 2,000/s"],
            &["knee:"],
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut bare = step(50.0, 0.0);
        (bare.p50_us, bare.success) = (0.0, 0.0);
        (bare.api_cpu_us_per_request, bare.replica_cpu_us_per_request) = (None, None);
        let message = "not known: see --admin-url";
        check(&[bare], &[message, "0 %", "50/s"], &["API", "NaN", "inf"]);
        check(&[], &["no knee: nothing was measured"], &["NaN", "inf"]);
    }
}
