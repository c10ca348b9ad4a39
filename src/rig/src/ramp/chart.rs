//! The chart of a ramp, as SVG: rates on the x axis, three panels that share it. Pure.
//!
//! It brings its own white background, so that it reads the same in a light and in a dark viewer,
//! and colours that people who see fewer of them can tell apart (Okabe and Ito).

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{Circle, EmptyElement, PathElement, Rectangle, Text};
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, DrawingArea, IntoDrawingArea, IntoLogRange,
    LineSeries, RGBColor, Ranged, SVGBackend, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, ShapeStyle, TextStyle};

use super::knee::Knee;
use super::step::Step;
use crate::figures;

/// In pixels. It scales, but labels are made for a page of this width.
const SIZE: (u32, u32) = (960, 1_020);
const HEAD_HEIGHT: u32 = 92;
/// Where titles of panels begin.
const TITLE_LEFT: i32 = 24;
const MARGIN_RIGHT: i32 = 28;
/// Of the names of lines: a little more than most letters take.
const LETTER_WIDTH: i32 = 6;
const Y_LABELS_WIDTH: u32 = 84;
const X_LABELS_HEIGHT: u32 = 46;

const INK: RGBColor = RGBColor(34, 34, 34);
const FAINT: RGBColor = RGBColor(110, 110, 110);
const GRID: RGBColor = RGBColor(222, 222, 222);
const BLUE: RGBColor = RGBColor(0, 114, 178);
const SKY: RGBColor = RGBColor(150, 205, 240);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(150, 70, 130);
/// Behind the steps whose load was not what was asked for.
const LIMITED: RGBColor = RGBColor(240, 228, 200);

/// What the head of the chart says beside the figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// What was measured.
    pub title: String,
    /// How.
    pub subtitle: String,
}

/// One line of a panel; points in the order of their rates.
struct Line {
    name: &'static str,
    color: RGBColor,
    /// In pixels. A wide one below a narrow one shows where both are the same.
    width: u32,
    points: Vec<(f64, f64)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Draws the steps. The text is a whole SVG document.
///
/// # Errors
/// The backend's, as text: none is known for one that writes to memory.
pub fn draw(steps: &[Step], knee: &Knee, about: &About) -> Result<String, String> {
    let mut svg = String::new();
    paint(&mut svg, steps, knee, about).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn paint(svg: &mut String, steps: &[Step], knee: &Knee, about: &About) -> Outcome<()> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(HEAD_HEIGHT);
    let line = |text: &str, y: i32, style: TextStyle<'_>| {
        head.draw(&Text::new(text.to_owned(), (24, y), style))
    };
    line(&about.title, 18, text(24, INK))?;
    line(&about.subtitle, 48, text(15, FAINT))?;
    let color = match knee {
        Knee::At { .. } => VERMILION,
        Knee::NotReached { .. } => INK,
    };
    line(&knee.to_string(), 70, text(15, color))?;

    let panels = body.split_evenly((3, 1));
    let scene = Scene::new(steps, knee);
    if let [latency, shares, cpu] = panels.as_slice() {
        scene.latency(latency)?;
        scene.shares(shares)?;
        scene.cpu(cpu)?;
    }
    root.present()?;
    Ok(())
}

fn text(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

/// What all panels have in common.
struct Scene<'a> {
    steps: &'a [Step],
    x: Range<f64>,
    /// The rate to mark.
    knee: Option<f64>,
    /// From where to where each step reaches whose load was not what was asked for.
    limited: Vec<Range<f64>>,
}

impl<'a> Scene<'a> {
    fn new(steps: &'a [Step], knee: &Knee) -> Scene<'a> {
        let rates: Vec<f64> = steps.iter().map(|step| step.target_rate).collect();
        let highest = rates.last().copied().unwrap_or(1.0);
        let end = highest * 1.06;
        let limited = (0..steps.len()).filter(|&at| steps[at].generator_limited);
        let halfway = |one: f64, other: f64| f64::midpoint(one, other);
        let limited = limited.map(|at| {
            let from = at
                .checked_sub(1)
                .map(|before| halfway(rates[before], rates[at]));
            let to = rates.get(at + 1).map(|after| halfway(rates[at], *after));
            from.unwrap_or(0.0)..to.unwrap_or(end)
        });
        Scene {
            steps,
            x: 0.0..end,
            knee: knee.rate(),
            limited: limited.collect(),
        }
    }

    fn line(
        &self,
        name: &'static str,
        (color, width): (RGBColor, u32),
        value: impl Fn(&Step) -> Option<f64>,
    ) -> Line {
        let points = self.steps.iter();
        let points = points.filter_map(|step| Some((step.target_rate, value(step)?)));
        Line {
            name,
            color,
            width,
            points: points.collect(),
        }
    }

    fn latency(&self, panel: &Area<'_>) -> Outcome<()> {
        // Without an answer there is no latency, and a logarithm has no zero.
        let positive = |us: f64| (us > 0.0).then_some(us);
        let lines = [
            self.line("p99", (VERMILION, 2), |step| positive(step.p99_us)),
            self.line("p50", (BLUE, 2), |step| positive(step.p50_us)),
        ];
        let all = || {
            lines
                .iter()
                .flat_map(|line| &line.points)
                .map(|point| point.1)
        };
        let (lowest, highest) = (all().fold(1e3, f64::min), all().fold(1e3, f64::max));
        // Whole decades, so that charts of several runs compare at a glance.
        let decade = |us: f64, round: fn(f64) -> f64| 10_f64.powf(round(us.log10()));
        let range = decade(lowest, f64::floor)..decade(highest * 1.01, f64::ceil);
        let title = "Latency that half (p50) and 99 of 100 (p99) did not exceed";
        let mut chart = frame(panel, title, &lines)?
            .build_cartesian_2d(self.x.clone(), range.clone().log_scale())?;
        self.bands(&mut chart, range.clone())?;
        mesh(&mut chart, "latency (log scale)", &micros)?;
        self.mark(&mut chart, range, true)?;
        plot(&mut chart, &lines)
    }

    fn shares(&self, panel: &Area<'_>) -> Outcome<()> {
        let sent = |step: &Step| step.achieved_rate / step.target_rate * 100.0;
        let lines = [
            self.line("sent, of the target", (SKY, 6), |step| Some(sent(step))),
            self.line("good answers, of all sent", (GREEN, 2), |step| {
                Some(step.success * 100.0)
            }),
        ];
        let all = lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.1);
        let lowest = all.fold(100.0, f64::min);
        let bottoms = [99.0, 90.0, 50.0].into_iter();
        let bottom = bottoms.filter(|bottom| lowest > bottom + 0.05 * (100.0 - bottom));
        let bottom = bottom.fold(0.0, f64::max);
        let range = bottom..100.0 + 0.1 * (100.0 - bottom);
        let mut chart = frame(panel, "Success, and the load that was really sent", &lines)?
            .build_cartesian_2d(self.x.clone(), range.clone())?;
        self.bands(&mut chart, range.clone())?;
        mesh(&mut chart, "share (%)", &percent)?;
        self.mark(&mut chart, range, false)?;
        plot(&mut chart, &lines)
    }

    fn cpu(&self, panel: &Area<'_>) -> Outcome<()> {
        let lines = [
            self.line("API", (PURPLE, 2), |step| step.api_cpu_us_per_request),
            self.line("the Redis that it reads from", (GREEN, 2), |step| {
                step.replica_cpu_us_per_request
            }),
        ];
        let is_known = lines.iter().any(|line| !line.points.is_empty());
        let title = match is_known {
            true => "CPU time per request",
            false => "CPU time per request: not known (--admin-url)",
        };
        let all = lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.1);
        let range = 0.0..all.fold(1.0, f64::max) * 1.25;
        let mut chart =
            frame(panel, title, &lines)?.build_cartesian_2d(self.x.clone(), range.clone())?;
        self.bands(&mut chart, range.clone())?;
        mesh(&mut chart, "CPU µs per request", &plain)?;
        self.mark(&mut chart, range, false)?;
        plot(&mut chart, &lines)
    }

    /// The background of the steps whose load was not what was asked for; drawn first, below the
    /// rest.
    fn bands<Y>(&self, chart: &mut Chart<'_, '_, Y>, y: Range<f64>) -> Outcome<()>
    where
        Y: Ranged<ValueType = f64>,
    {
        let bands = self.limited.iter().map(|x| {
            let corners = [(x.start, y.start), (x.end, y.end)];
            Rectangle::new(corners, LIMITED.filled())
        });
        chart.draw_series(bands)?;
        Ok(())
    }

    /// The line at the knee, with its label where `labelled`.
    fn mark<Y>(&self, chart: &mut Chart<'_, '_, Y>, y: Range<f64>, labelled: bool) -> Outcome<()>
    where
        Y: Ranged<ValueType = f64>,
    {
        if labelled && !self.limited.is_empty() {
            let style = text(14, INK).pos(Pos::new(HPos::Right, VPos::Bottom));
            let words = Text::new("shaded: not the load that was asked for", (-8, -6), style);
            chart.draw_series([EmptyElement::at((self.x.end, y.start)) + words])?;
        }
        let Some(rate) = self.knee else {
            return Ok(());
        };
        let path = vec![(rate, y.start), (rate, y.end)];
        chart.draw_series([PathElement::new(path, INK.stroke_width(2))])?;
        if labelled {
            let is_left = rate > f64::midpoint(self.x.start, self.x.end);
            let (side, gap) = if is_left {
                (HPos::Right, -8)
            } else {
                (HPos::Left, 8)
            };
            let style = text(15, INK).pos(Pos::new(side, VPos::Top));
            let words = Text::new(format!("knee: {}/s", figures::rate(rate)), (gap, 6), style);
            chart.draw_series([EmptyElement::at((rate, y.end)) + words])?;
        }
        Ok(())
    }
}

type Chart<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Y>>;

/// A panel with its title, the names of its lines, and room for its labels.
fn frame<'a, 'b>(
    panel: &'a Area<'b>,
    title: &str,
    lines: &[Line],
) -> Outcome<ChartBuilder<'a, 'a, SVGBackend<'b>>> {
    panel.draw(&Text::new(title.to_owned(), (TITLE_LEFT, 6), text(16, INK)))?;
    let mut right = i32::try_from(SIZE.0).unwrap_or(i32::MAX) - MARGIN_RIGHT;
    for line in lines.iter().rev().filter(|line| !line.points.is_empty()) {
        let letters = i32::try_from(line.name.chars().count()).unwrap_or(i32::MAX);
        let left = right - letters.saturating_mul(LETTER_WIDTH);
        panel.draw(&Text::new(line.name, (left, 8), text(14, INK)))?;
        let sample = vec![(left - 30, 15), (left - 8, 15)];
        let stroke = line.color.stroke_width(line.width);
        panel.draw(&PathElement::new(sample, stroke))?;
        right = left - 46;
    }
    let mut builder = ChartBuilder::on(panel);
    builder
        .margin_top(28)
        .margin_bottom(6)
        .margin_left(14)
        .margin_right(MARGIN_RIGHT)
        .x_label_area_size(X_LABELS_HEIGHT)
        .y_label_area_size(Y_LABELS_WIDTH);
    Ok(builder)
}

fn mesh<Y>(
    chart: &mut Chart<'_, '_, Y>,
    y_name: &str,
    y_label: &dyn Fn(&f64) -> String,
) -> Outcome<()>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(plotters::style::TRANSPARENT)
        .axis_style(FAINT)
        .label_style(text(13, INK))
        .axis_desc_style(text(14, INK))
        .x_desc("target rate (requests/s)")
        .y_desc(y_name)
        .x_label_formatter(&|rate| figures::rate(*rate))
        .y_label_formatter(&y_label)
        .y_labels(6)
        .draw()?;
    Ok(())
}

/// The lines, and a dot at each measured rate.
fn plot<Y>(chart: &mut Chart<'_, '_, Y>, lines: &[Line]) -> Outcome<()>
where
    Y: Ranged<ValueType = f64>,
{
    for line in lines {
        let stroke: ShapeStyle = line.color.stroke_width(line.width);
        chart.draw_series(LineSeries::new(line.points.iter().copied(), stroke))?;
        let (dots, radius) = (line.points.iter(), line.width + 2);
        chart.draw_series(dots.map(|&point| Circle::new(point, radius, line.color.filled())))?;
    }
    Ok(())
}

/// `500 µs`, `1 ms`, `10 s`.
fn micros(us: &f64) -> String {
    match *us {
        us if us >= 0.999e6 => format!("{} s", figures::trimmed(us / 1e6, 2)),
        us if us >= 0.999e3 => format!("{} ms", figures::trimmed(us / 1e3, 2)),
        us => format!("{} µs", figures::trimmed(us, 2)),
    }
}

/// Nothing above 100: there is room for the line only.
fn percent(share: &f64) -> String {
    match *share > 100.0 + 1e-9 {
        true => String::new(),
        false => format!("{} %", figures::trimmed(*share, 2)),
    }
}

fn plain(value: &f64) -> String {
    figures::trimmed(*value, 2)
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
                "target rate (requests/s)",
                "latency (log scale)",
                "share (%)",
                "CPU µs per request",
                "p50",
                "p99",
                "API",
                "1 ms",
                "4,000",
            ],
            &["shaded", "not known", "NaN", "inf"],
        );
    }

    #[test]
    fn limits_of_the_generator_are_shaded() {
        let mut limited = step(2e3, 1e3);
        limited.achieved_rate = 1_500.0;
        limited.generator_limited = true;
        let steps = [step(1e3, 900.0), limited, step(4e3, 1e3)];
        check(&steps, &["shaded: not the load that was asked for"], &[]);
        let fill = "fill=\"#F0E4C8\"";
        assert_eq!(drawn(&steps).matches(fill).count(), 3, "one a panel");
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
        let title = "CPU time per request: not known (--admin-url)";
        check(&[bare], &[title, "0 %", "50"], &["API", "NaN", "inf"]);
        check(&[], &["no knee: nothing was measured"], &["NaN", "inf"]);
    }

    #[test]
    fn labels() {
        for (us, expected) in [
            (50.0, "50 µs"),
            (999.99, "1 ms"),
            (1_500.0, "1.5 ms"),
            (10_000.0, "10 ms"),
            (2e6, "2 s"),
        ] {
            assert_eq!(micros(&us), expected);
        }
        assert_eq!(percent(&99.5), "99.5 %");
        assert_eq!(percent(&100.0), "100 %");
        assert_eq!(percent(&101.0), "");
    }
}
