//! Paints a [`Plot`] as SVG.
//!
//! Text is left to whoever shows the image: its widths are not known here, so the room for labels
//! is fixed, and enough for the longest.

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

use super::line::{Place, SPAN_MIN};
use super::palette::Palette;
use super::scale::Axis;
use crate::pages::appearance::{Appearance, Size};

/// What is drawn.
#[derive(Debug)]
pub(super) struct Plot {
    pub axis: Axis,
    /// Later ones lie above earlier ones.
    pub lines: Vec<Line>,
    /// Stretches in which the generator was the limit, from and to.
    pub limited: Vec<Place>,
    /// Names stand in rows above the plot: they are too long for its side.
    pub long_names: bool,
    /// Said in the middle, where there is nothing to be seen.
    pub message: Option<&'static str>,
}

/// A line of a chart.
#[derive(Debug)]
pub(super) struct Line {
    /// Empty: there is but one.
    pub name: String,
    pub colour: fn(&Palette) -> RGBColor,
    pub stroke: Stroke,
    /// Without the gaps between them.
    pub pieces: Vec<Vec<Place>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stroke {
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

/// Where things are in the image, in its pixels.
struct Layout {
    width: u32,
    height: u32,
    text: i32,
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    /// Names beside each other, where they stand above the plot.
    names_in_a_row: usize,
}

impl Layout {
    fn of(size: Size, plot: &Plot) -> Layout {
        let wide = Layout {
            width: 1200,
            height: 420,
            text: 23,
            left: 105,
            right: 30,
            top: 34,
            bottom: 48,
            names_in_a_row: 2,
        };
        let mut layout = match size {
            Size::Wide => wide,
            Size::Narrow => Layout {
                width: 680,
                height: 460,
                text: 26,
                left: 116,
                top: 42,
                names_in_a_row: 1,
                ..wide
            },
        };
        if plot.long_names {
            let rows = plot.lines.len().div_ceil(layout.names_in_a_row);
            layout.top = 20 + rows as i32 * layout.line_height();
        } else {
            let names = plot.lines.iter().map(|line| line.name.chars().count());
            // Letters are 0.6 of their height wide, as a rule.
            let width = names.max().unwrap_or(0) as i32 * layout.text * 5 / 8;
            layout.right += width;
        }
        layout
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

    /// Text of this chart; plotters takes a size that is 1.24 times that of SVG.
    fn style(&self, colour: RGBColor, horizontal: HPos) -> TextStyle<'static> {
        ("sans-serif", f64::from(self.text) * 1.24)
            .into_font()
            .color(&colour)
            .pos(Pos::new(horizontal, VPos::Center))
    }
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;
type Outcome = Result<(), Box<dyn Error>>;

impl Plot {
    /// The plot as the text of an SVG image.
    ///
    /// # Errors
    /// The library could not draw it.
    pub(super) fn paint(&self, appearance: Appearance) -> Result<String, Box<dyn Error>> {
        let palette = Palette::of(appearance.theme);
        let layout = Layout::of(appearance.size, self);
        let mut svg = String::new();
        {
            let backend = SVGBackend::with_string(&mut svg, (layout.width, layout.height));
            let canvas = backend.into_drawing_area();
            canvas.fill(&palette.background)?;
            let mut chart = ChartBuilder::on(&canvas)
                .margin_top(layout.top)
                .margin_right(layout.right)
                .x_label_area_size(layout.bottom)
                .y_label_area_size(layout.left)
                .build_cartesian_2d(Axis::minutes(SPAN_MIN), self.axis.clone())?;
            self.paint_grid(&mut chart, &layout, palette)?;
            self.paint_limited(&mut chart, palette)?;
            for line in &self.lines {
                self.paint_line(&mut chart, line, palette)?;
            }
            self.paint_names(&canvas, &chart, &layout, palette)?;
            self.paint_message(&canvas, &layout, palette)?;
            canvas.present()?;
        }
        // Inherited by all lines: a spike of one second has no point far above its value.
        Ok(svg.replacen("<svg ", "<svg stroke-linejoin=\"round\" ", 1))
    }

    fn paint_grid(&self, chart: &mut Chart, layout: &Layout, palette: &Palette) -> Outcome {
        chart
            .configure_mesh()
            .light_line_style(palette.grid.mix(0.0))
            .bold_line_style(ShapeStyle::from(&palette.grid).stroke_width(2))
            .axis_style(ShapeStyle::from(&palette.axis).stroke_width(2))
            .label_style(layout.style(palette.text, HPos::Center))
            .set_all_tick_mark_size(6)
            .draw()?;
        Ok(())
    }

    fn paint_limited(&self, chart: &mut Chart, palette: &Palette) -> Outcome {
        let heights = self.axis.range();
        chart.draw_series(self.limited.iter().map(|(from, to)| {
            let corners = [(*from, heights.start), (*to, heights.end)];
            Rectangle::new(corners, palette.red.mix(0.16).filled())
        }))?;
        Ok(())
    }

    fn paint_line(&self, chart: &mut Chart, line: &Line, palette: &Palette) -> Outcome {
        let colour = (line.colour)(palette);
        let style = ShapeStyle::from(&colour).stroke_width(line.stroke.width());
        for piece in &line.pieces {
            match (piece.as_slice(), line.stroke) {
                // A line of one point would not be seen.
                ([place], _) => {
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
        }
        Ok(())
    }

    fn paint_names(
        &self,
        canvas: &Canvas,
        chart: &Chart,
        layout: &Layout,
        palette: &Palette,
    ) -> Outcome {
        if self.long_names {
            return self.paint_rows(canvas, layout, palette);
        }
        let mut names: Vec<(i32, &Line)> = self
            .lines
            .iter()
            .filter_map(|line| {
                let place = line.pieces.last()?.last()?;
                let (_, y) = chart.backend_coord(place);
                Some((y, line))
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
            let style = layout.style((line.colour)(palette), HPos::Left);
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
            canvas.draw_text(&line.name, &layout.style(colour, HPos::Left), (x + 52, y))?;
        }
        Ok(())
    }

    fn paint_message(&self, canvas: &Canvas, layout: &Layout, palette: &Palette) -> Outcome {
        let middle = (layout.left + layout.plot_right()) / 2;
        if let Some(message) = self.message {
            let height = (layout.top + layout.plot_bottom()) / 2;
            let style = layout.style(palette.text, HPos::Center);
            canvas.draw_text(message, &style, (middle, height))?;
        }
        if !self.limited.is_empty() {
            let style = layout.style(palette.red, HPos::Right);
            let text = "red: not valid, the generator was the limit";
            canvas.draw_text(text, &style, (layout.plot_right(), layout.top / 2))?;
        }
        Ok(())
    }
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
