//! Paints a [`Plot`] as SVG: axes, lines, and what is to be said of them. For the charts of the
//! pages, and for that of a ramp.
//!
//! Text is left to whoever shows the image: its widths are not known here, so the room for labels
//! is fixed, and enough for the longest.

pub(crate) mod palette;
pub(crate) mod scale;

use std::error::Error;

use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::Ranged;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, DashedPathElement, PathElement, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, TextStyle};

use palette::Palette;
use scale::Axis;

/// A place on a plot, by its axes.
pub(crate) type Place = (f64, f64);

/// What is drawn.
#[derive(Debug, Default)]
pub(crate) struct Plot {
    pub x: Axis,
    pub y: Axis,
    /// Later ones lie above earlier ones.
    pub lines: Vec<Line>,
    /// Stretches in which the generator was the limit, from and to.
    pub limited: Vec<Place>,
    /// Where on the x axis a line stands from bottom to top, and what it is.
    pub mark: Option<(f64, String)>,
    /// Names stand in rows above the plot: they are too long for its side.
    pub long_names: bool,
    /// Each point is seen: there are few.
    pub dots: bool,
    /// Said in the middle, where there is nothing to be seen.
    pub message: Option<&'static str>,
}

/// A line of a chart.
#[derive(Debug)]
pub(crate) struct Line {
    /// Empty: there is but one.
    pub name: String,
    pub colour: fn(&Palette) -> RGBColor,
    pub stroke: Stroke,
    /// Without the gaps between them.
    pub pieces: Vec<Vec<Place>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stroke {
    Thin,
    Thick,
    Dashed,
}

impl Stroke {
    /// The width of the line, in the image's pixels.
    fn width(self) -> u32 {
        match self {
            Stroke::Thin | Stroke::Dashed => 3,
            Stroke::Thick => 5,
        }
    }
}

/// The size of a plot with all that is around it, and of its text, in the image's pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub width: u32,
    pub height: u32,
    pub text: i32,
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    /// Names beside each other, where they stand above the plot.
    names_in_a_row: usize,
}

impl Layout {
    pub(crate) const WIDE: Layout = Layout {
        width: 1200,
        height: 420,
        text: 23,
        left: 105,
        right: 30,
        top: 34,
        bottom: 48,
        names_in_a_row: 2,
    };

    /// For a phone: about the same text on half the width.
    pub(crate) const NARROW: Layout = Layout {
        width: 680,
        height: 460,
        text: 26,
        left: 116,
        top: 42,
        names_in_a_row: 1,
        ..Layout::WIDE
    };

    /// With room for the names of these lines.
    fn with_names(mut self, plot: &Plot) -> Layout {
        if plot.long_names {
            let rows = plot.lines.len().div_ceil(self.names_in_a_row);
            self.top = 20 + rows as i32 * self.line_height();
        } else {
            let names = plot.lines.iter().map(|line| line.name.chars().count());
            // Letters are 0.6 of their height wide, as a rule.
            let width = names.max().unwrap_or(0) as i32 * self.text * 5 / 8;
            self.right += width;
        }
        self
    }

    fn line_height(&self) -> i32 {
        self.text * 5 / 4
    }

    fn plot_right(&self) -> i32 {
        self.width as i32 - self.right
    }

    fn plot_bottom(&self) -> i32 {
        self.height as i32 - self.bottom
    }
}

/// Text of this height in the image's pixels.
pub(crate) fn text(height: i32, colour: RGBColor, horizontal: HPos) -> TextStyle<'static> {
    // plotters takes a size that is 1.24 times that of SVG.
    ("sans-serif", f64::from(height) * 1.24)
        .into_font()
        .color(&colour)
        .pos(Pos::new(horizontal, VPos::Center))
}

pub(crate) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Outcome = Result<(), Box<dyn Error>>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// An image of this size as SVG, with what `paint` paints on it.
///
/// # Errors
/// The library could not draw it.
pub(crate) fn image(
    (width, height): (u32, u32),
    palette: &Palette,
    paint: impl FnOnce(&Canvas) -> Outcome,
) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let backend = SVGBackend::with_string(&mut svg, (width, height));
        let canvas = backend.into_drawing_area();
        canvas.fill(&palette.background)?;
        paint(&canvas)?;
        canvas.present()?;
    }
    // Inherited by all lines: a spike of one second has no point far above its value.
    Ok(svg.replacen("<svg ", "<svg stroke-linejoin=\"round\" ", 1))
}

impl Plot {
    /// Paints the plot on a canvas that has the layout's size.
    ///
    /// # Errors
    /// The library could not draw it.
    pub(crate) fn paint(&self, canvas: &Canvas, layout: Layout, palette: &Palette) -> Outcome {
        let layout = layout.with_names(self);
        let mut chart = ChartBuilder::on(canvas)
            .margin_top(layout.top)
            .margin_right(layout.right)
            .x_label_area_size(layout.bottom)
            .y_label_area_size(layout.left)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        paint_grid(&mut chart, &layout, palette)?;
        self.paint_limited(&mut chart, palette)?;
        self.paint_mark(canvas, &mut chart, &layout, palette)?;
        for line in &self.lines {
            self.paint_line(&mut chart, line, palette)?;
        }
        match self.long_names {
            true => self.paint_rows(canvas, &layout, palette)?,
            false => self.paint_names(canvas, &chart, &layout, palette)?,
        }
        self.paint_message(canvas, &layout, palette)
    }

    fn paint_limited(&self, chart: &mut Chart, palette: &Palette) -> Outcome {
        let heights = self.y.range();
        chart.draw_series(self.limited.iter().map(|(from, to)| {
            let corners = [(*from, heights.start), (*to, heights.end)];
            Rectangle::new(corners, palette.red.mix(0.16).filled())
        }))?;
        Ok(())
    }

    fn paint_mark(
        &self,
        canvas: &Canvas,
        chart: &mut Chart,
        layout: &Layout,
        palette: &Palette,
    ) -> Outcome {
        let Some((at, words)) = &self.mark else {
            return Ok(());
        };
        let heights = self.y.range();
        let path = vec![(*at, heights.start), (*at, heights.end)];
        let style = ShapeStyle::from(&palette.text).stroke_width(2);
        chart.draw_series([PathElement::new(path, style)])?;
        let (x, _) = on(canvas, chart, (*at, heights.end));
        let (x, side) = match x > layout.width as i32 / 2 {
            true => (x - 10, HPos::Right),
            false => (x + 10, HPos::Left),
        };
        let style = text(layout.text, palette.text, side);
        canvas.draw_text(words, &style, (x, layout.top + layout.line_height() / 2))?;
        Ok(())
    }

    fn paint_line(&self, chart: &mut Chart, line: &Line, palette: &Palette) -> Outcome {
        let colour = (line.colour)(palette);
        let style = ShapeStyle::from(&colour).stroke_width(line.stroke.width());
        for piece in &line.pieces {
            match (piece.as_slice(), line.stroke) {
                // A line of one point would not be seen.
                ([place], _) if !self.dots => {
                    chart.draw_series([Circle::new(*place, 4, colour.filled())])?;
                }
                (_, Stroke::Dashed) => {
                    let dashes = DashedPathElement::new(piece.clone(), 12, 8, style);
                    chart.draw_series([dashes])?;
                }
                _ => {
                    chart.draw_series([PathElement::new(piece.clone(), style)])?;
                }
            }
            if self.dots {
                let radius = line.stroke.width() + 2;
                let dot = |place: &Place| Circle::new(*place, radius, colour.filled());
                chart.draw_series(piece.iter().map(dot))?;
            }
        }
        Ok(())
    }

    /// Each name beside the end of its line.
    fn paint_names(
        &self,
        canvas: &Canvas,
        chart: &Chart,
        layout: &Layout,
        palette: &Palette,
    ) -> Outcome {
        let mut names: Vec<(i32, &Line)> = self
            .lines
            .iter()
            .filter_map(|line| {
                let place = line.pieces.last()?.last()?;
                Some((on(canvas, chart, *place).1, line))
            })
            .collect();
        names.sort_by_key(|(y, _)| *y);
        let mut heights: Vec<i32> = names.iter().map(|(y, _)| *y).collect();
        spread(
            &mut heights,
            layout.line_height(),
            layout.top..layout.plot_bottom(),
        );
        for (y, (_, line)) in heights.iter().zip(&names) {
            let style = text(layout.text, (line.colour)(palette), HPos::Left);
            canvas.draw_text(&line.name, &style, (layout.plot_right() + 12, *y))?;
        }
        Ok(())
    }

    /// The names above the plot, each beside a piece of its line.
    fn paint_rows(&self, canvas: &Canvas, layout: &Layout, palette: &Palette) -> Outcome {
        let column = (layout.width as i32 - 20) / layout.names_in_a_row.max(1) as i32;
        for (n, line) in self.lines.iter().enumerate() {
            let (row, place) = (n / layout.names_in_a_row, n % layout.names_in_a_row);
            let x = 14 + place as i32 * column;
            let y = 20 + row as i32 * layout.line_height();
            let colour = (line.colour)(palette);
            let style = ShapeStyle::from(&colour).stroke_width(line.stroke.width());
            let sample = vec![(x, y), (x + 40, y)];
            match line.stroke {
                Stroke::Dashed => canvas.draw(&DashedPathElement::new(sample, 12, 8, style))?,
                _ => canvas.draw(&PathElement::new(sample, style))?,
            }
            let style = text(layout.text, colour, HPos::Left);
            canvas.draw_text(&line.name, &style, (x + 52, y))?;
        }
        Ok(())
    }

    fn paint_message(&self, canvas: &Canvas, layout: &Layout, palette: &Palette) -> Outcome {
        let middle = i32::midpoint(layout.left, layout.plot_right());
        if let Some(message) = self.message {
            let height = i32::midpoint(layout.top, layout.plot_bottom());
            let style = text(layout.text, palette.text, HPos::Center);
            canvas.draw_text(message, &style, (middle, height))?;
        }
        if !self.limited.is_empty() {
            let height = match self.long_names {
                true => layout.plot_bottom() - layout.line_height(),
                false => layout.top / 2,
            };
            let style = text(layout.text, palette.red, HPos::Right);
            let place = (layout.plot_right() - 8, height);
            canvas.draw_text("red: not valid, the generator was the limit", &style, place)?;
        }
        Ok(())
    }
}

fn paint_grid(chart: &mut Chart, layout: &Layout, palette: &Palette) -> Outcome {
    chart
        .configure_mesh()
        .light_line_style(palette.grid.mix(0.0))
        .bold_line_style(ShapeStyle::from(&palette.grid).stroke_width(2))
        .axis_style(ShapeStyle::from(&palette.axis).stroke_width(2))
        .label_style(text(layout.text, palette.text, HPos::Center))
        .set_all_tick_mark_size(6)
        .draw()?;
    Ok(())
}

/// Where on the canvas a place of the chart is.
fn on(canvas: &Canvas, chart: &Chart, place: Place) -> (i32, i32) {
    let ((x, y), (left, top)) = (chart.backend_coord(&place), canvas.get_base_pixel());
    (x - left, y - top)
}

/// Moves heights (ascending) apart until all are `least` apart, within `room` as far as it goes.
fn spread(heights: &mut [i32], least: i32, room: std::ops::Range<i32>) {
    let mut lowest = room.start;
    for height in heights.iter_mut() {
        *height = (*height).max(lowest);
        lowest = *height + least;
    }
    let mut highest = room.end;
    for height in heights.iter_mut().rev() {
        *height = (*height).min(highest);
        highest = *height - least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(heights: &[i32], expected: &[i32]) {
        let mut heights = heights.to_vec();
        spread(&mut heights, 10, 0..100);
        assert_eq!(heights, expected);
    }

    #[test]
    fn names_of_close_lines_stand_apart() {
        check(&[], &[]);
        check(&[20, 50], &[20, 50]);
        check(&[20, 20, 25], &[20, 30, 40]);
        check(&[95, 99, 100], &[80, 90, 100]);
        check(&[0, 0, 100], &[0, 10, 100]);
    }
}
