//! Pictures of figures, as SVG that reads on light ground and on dark.

use anyhow::{Error, Result};
use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::element::{Circle, PathElement, Rectangle, Text};
use plotters::prelude::{IntoDrawingArea, SVGBackend};
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoTextStyle, RGBColor, TextStyle};

use super::{Spread, number};

/// Width and height, in pixels where nobody scales.
const SIZE: (u32, u32) = (760, 380);
const FONT: &str = "sans-serif";

/// A colour on light ground, and the same on dark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ink(RGBColor, &'static str);

const GROUND: Ink = Ink(RGBColor(255, 255, 255), "#0d1117");
const TEXT: Ink = Ink(RGBColor(36, 41, 47), "#d6deeb");
const GRID: Ink = Ink(RGBColor(216, 222, 228), "#2d333b");
/// Of the Rust stack, and of Poolwright.
pub(super) const RUST: Ink = Ink(RGBColor(196, 80, 20), "#f0883e");
/// Of the Node stack, and of what Poolwright is compared with.
pub(super) const NODE: Ink = Ink(RGBColor(9, 105, 218), "#58a6ff");

/// One line of a picture.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) ink: Ink,
    /// From left to right.
    pub(super) points: Vec<(f64, Spread)>,
    /// The point that is ringed.
    pub(super) knee: f64,
}

/// Lines over sizes, in percent, each with the spread of its rounds and its knee; `enough` is the height that makes one.
pub(super) fn curves(title: &str, size: &str, enough: f64, all: &[Curve]) -> Result<String> {
    let places = all.iter().flat_map(|curve| &curve.points);
    let (right, top) = places.fold((1.0, 100.0), |(right, top), (size, spread)| {
        (f64::max(right, *size), f64::max(top, spread.max))
    });
    draw(title, |picture| {
        let root = picture.into_drawing_area();
        root.fill(&GROUND.0)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, text(22))
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..right + 0.5, 0.0..top + 5.0)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.0)
            .light_line_style(GROUND.0)
            .axis_style(TEXT.0)
            .label_style(text(16))
            .axis_desc_style(text(17))
            .x_desc(size)
            .y_desc("reads/s, % of its best")
            .x_label_formatter(&|value| format!("{value:.0}"))
            .y_label_formatter(&|value| format!("{value:.0}"))
            .draw()?;
        let line = [(0.0, enough), (right + 0.5, enough)];
        chart.draw_series(DashedLineSeries::new(line, 4, 4, TEXT.0.stroke_width(1)))?;
        for (index, curve) in (0..).zip(all) {
            let ink = curve.ink.0;
            let medians = curve
                .points
                .iter()
                .map(|(size, spread)| (*size, spread.median));
            chart
                .draw_series(LineSeries::new(medians.clone(), ink.stroke_width(2)))?
                .label(curve.name.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], ink.stroke_width(2)));
            chart.draw_series(curve.points.iter().map(|(size, spread)| {
                PathElement::new([(*size, spread.min), (*size, spread.max)], ink)
            }))?;
            chart.draw_series(medians.clone().map(|at| Circle::new(at, 3, ink.filled())))?;
            let knee = medians.filter(|(size, _)| *size == curve.knee);
            chart.draw_series(
                knee.clone()
                    .map(|at| Circle::new(at, 9, ink.stroke_width(2))),
            )?;
            // Below the point, and below each other where knees meet.
            chart.draw_series(knee.map(|(size, height)| {
                let at = (size, height - 7.0 - 6.0 * f64::from(index));
                Text::new(format!("knee: {size:.0}"), at, inked(17, curve.ink))
            }))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font(text(17))
            .border_style(GRID.0)
            .background_style(GROUND.0)
            .draw()?;
        Ok(root.present()?)
    })
}

/// What is compared, and what each side reaches.
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) own: f64,
    pub(super) other: f64,
}

/// Two bars for each pair, as long as their part of the better one.
pub(super) fn bars(title: &str, (own, other): (&str, &str), pairs: &[Pair]) -> Result<String> {
    // A line for the name, two bars, and a gap.
    let rows = f64::from(u32::try_from(pairs.len())?) * 4.0;
    draw(title, |picture| {
        let root = picture.into_drawing_area();
        root.fill(&GROUND.0)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, text(22))
            .margin(14)
            .build_cartesian_2d(0.0..125.0, 0.0..rows)?;
        for (index, pair) in (0..).zip(pairs) {
            let top = rows - 4.0 * f64::from(index);
            let place = |text: String, at, ink| Text::new(text, at, inked(17, ink));
            chart.draw_series([place(pair.name.clone(), (0.0, top - 0.5), TEXT)])?;
            let best = f64::max(pair.own, pair.other);
            for (row, (name, rate, ink)) in [(own, pair.own, RUST), (other, pair.other, NODE)]
                .into_iter()
                .enumerate()
            {
                let upper = top - 1.1 - if row == 0 { 0.0 } else { 1.0 };
                let long = rate / best * 100.0;
                let bar = [(0.0, upper), (long, upper - 0.85)];
                chart.draw_series([Rectangle::new(bar, ink.0.filled())])?;
                let said = format!("{name}: {}", number(rate));
                chart.draw_series([place(said, (long + 1.0, upper - 0.42), TEXT)])?;
            }
        }
        Ok(root.present()?)
    })
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_text_style(&SIZE).color(&TEXT.0)
}

/// Text that stands right of its place, and around its height.
fn inked(size: u32, ink: Ink) -> TextStyle<'static> {
    let style = TextStyle {
        color: ink.0.to_backend_color(),
        ..text(size)
    };
    style.pos(Pos::new(HPos::Left, VPos::Center))
}

fn draw(title: &str, paint: impl FnOnce(SVGBackend<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    paint(SVGBackend::with_string(&mut svg, SIZE))?;
    let (head, body) = svg
        .split_once(">\n")
        .ok_or_else(|| Error::msg("the picture has no beginning"))?;
    Ok(format!(
        "{head} role=\"img\">\n<title>{title}</title>\n<style>{}</style>\n{body}",
        dark()
    ))
}

/// What a browser on dark ground shows in the place of each colour.
fn dark() -> String {
    let inks = [GROUND, TEXT, GRID, RUST, NODE].map(|Ink(RGBColor(r, g, b), dark)| {
        let light = format!("#{r:02X}{g:02X}{b:02X}");
        format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
    });
    format!("@media (prefers-color-scheme: dark){{{}}}", inks.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_of_a_picture_has_one_for_dark_ground() {
        let spread = |value: f64| Spread::of([value, value + 2.0]).unwrap();
        let curve = Curve {
            name: "axum".to_owned(),
            ink: RUST,
            points: vec![(2.0, spread(80.0)), (3.0, spread(98.0))],
            knee: 3.0,
        };
        let pair = Pair {
            name: "requests/s".to_owned(),
            own: 3.0,
            other: 2.0,
        };
        for picture in [
            curves("a title", "a size", 95.0, &[curve]).unwrap(),
            bars("a title", ("one", "other"), &[pair]).unwrap(),
        ] {
            assert!(picture.contains("<title>a title</title>"), "{picture}");
            let (head, body) = picture.split_once("</style>").unwrap();
            for attribute in ["fill=\"#", "stroke=\"#"] {
                for colour in body.split(attribute).skip(1) {
                    let colour = colour.get(..6).unwrap();
                    assert!(head.contains(colour), "#{colour} stays as it is");
                }
            }
        }
    }
}
