//! Plots as SVG, drawn by plotters, with a title over each mark that the browser shows on hover.
//!
//! Colours of marks are read on white and on black alike; text and axes take the colour of the page's
//! text. A plot that cannot be drawn is a sentence in its place.

use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

/// Width of a plot in its own units; the page scales it.
const WIDTH: u32 = 640;
/// Height of its text, which plotters draws a fifth smaller.
const TEXT: i32 = 17;

type Failure = Box<dyn std::error::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A colour of the palette: Tol's "bright", which is told apart by colour-blind people too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// The first.
    Blue,
    /// And so on.
    Red,
    /// Green.
    Green,
    /// Yellow.
    Yellow,
    /// Cyan.
    Cyan,
    /// Purple.
    Purple,
    /// Orange.
    Orange,
    /// For what is known to matter less.
    Grey,
}

impl Color {
    /// Every colour.
    pub const ALL: [Self; 8] = [
        Self::Blue,
        Self::Red,
        Self::Green,
        Self::Yellow,
        Self::Cyan,
        Self::Purple,
        Self::Orange,
        Self::Grey,
    ];

    const fn rgb(self) -> RGBColor {
        match self {
            Self::Blue => RGBColor(0x44, 0x77, 0xaa),
            Self::Red => RGBColor(0xee, 0x66, 0x77),
            Self::Green => RGBColor(0x22, 0x88, 0x33),
            Self::Yellow => RGBColor(0xcc, 0xbb, 0x44),
            Self::Cyan => RGBColor(0x66, 0xcc, 0xee),
            Self::Purple => RGBColor(0xaa, 0x33, 0x77),
            Self::Orange => RGBColor(0xee, 0x88, 0x66),
            Self::Grey => RGBColor(0x99, 0x99, 0x99),
        }
    }

    /// As CSS has it.
    pub fn css(self) -> String {
        let RGBColor(r, g, b) = self.rgb();
        format!("#{r:02x}{g:02x}{b:02x}")
    }
}

/// Marks of one colour.
#[derive(Clone, Debug)]
pub struct Series {
    /// What they are, for the legend.
    pub name: String,
    /// Their colour.
    pub color: Color,
    /// One for each category, with what is shown on hover.
    pub marks: Vec<Mark>,
}

/// One bar.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// How high it is.
    pub value: f64,
    /// What is shown on hover.
    pub title: String,
}

/// What is on the vertical axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of something.
    Count(&'static str),
    /// Bytes; the plot finds the prefix.
    Bytes(&'static str),
}

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Series of a category on top of each other.
    Stacked,
    /// Side by side.
    Grouped,
    /// Side by side, in powers of ten.
    Logarithmic,
}

/// Bars over categories.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What the plot shows, for those who do not see it.
    pub label: String,
    /// Below the bars; a line break begins a second line, and an empty one leaves no label.
    pub categories: Vec<String>,
    /// What stands in each category.
    pub series: Vec<Series>,
    /// How values become heights.
    pub scale: Scale,
    /// Of the vertical axis.
    pub unit: Unit,
}

/// Where a mark is, in the plot's units, with what is shown on hover.
struct Spot {
    left: i32,
    top: i32,
    width: i32,
    height: i32,
    title: String,
}

impl Bars {
    /// The plot with its legend.
    pub fn markup(&self) -> Markup {
        const HEIGHT: u32 = 300;
        let legend: Vec<_> =
            self.series.iter().map(|series| (series.name.as_str(), series.color)).collect();
        figure(&self.label, HEIGHT, &legend, |root| self.draw(root))
    }

    fn draw(&self, root: &Area<'_>) -> Result<Vec<Spot>, Failure> {
        let count = self.categories.len().max(1);
        let axis = Axis::of(self);
        let lines = self.categories.iter().map(|name| name.lines().count()).max().unwrap_or(1);
        let mut chart = ChartBuilder::on(root)
            .margin_top(12)
            .margin_right(8)
            .x_label_area_size(8 + (TEXT + 3) * lines.max(1) as i32)
            .y_label_area_size(64)
            .build_cartesian_2d(0f64..count as f64, axis.range.clone())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(axis.labels)
            .y_label_formatter(&|height| axis.label(*height))
            .y_desc(axis.title.as_str())
            .label_style(("sans-serif", TEXT).into_font())
            .axis_desc_style(("sans-serif", TEXT).into_font())
            .bold_line_style(BLACK.mix(0.15))
            .light_line_style(TRANSPARENT)
            .axis_style(BLACK.mix(0.5))
            .draw()?;

        let floor = axis.range.start;
        let mut spots = Vec::new();
        for at in 0..count {
            let across = self.series.len().max(1) as f64;
            let mut top = 0.0;
            for (number, series) in self.series.iter().enumerate() {
                let Some(mark) = series.marks.get(at).filter(|mark| mark.value > 0.0) else {
                    continue;
                };
                let (slot, from, to) = match self.scale {
                    Scale::Stacked => {
                        let from = top;
                        top += mark.value;
                        (0.0..1.0, axis.height(from), axis.height(top))
                    }
                    Scale::Grouped | Scale::Logarithmic => {
                        let (left, right) = (number as f64 / across, (number + 1) as f64 / across);
                        (left..right, floor, axis.height(mark.value))
                    }
                };
                let spread = |part: f64| at as f64 + 0.1 + 0.8 * part;
                let corners = [(spread(slot.start), to), (spread(slot.end), from)];
                chart.draw_series([Rectangle::new(corners, series.color.rgb().filled())])?;
                let [(left, upper), (right, lower)] =
                    corners.map(|corner| chart.backend_coord(&corner));
                spots.push(Spot {
                    left,
                    top: upper,
                    width: right - left,
                    height: lower - upper,
                    title: mark.title.clone(),
                });
            }
        }
        let longest = self.categories.iter().flat_map(|name| name.lines()).map(str::len).max();
        let labels = self.categories.iter().filter(|name| !name.is_empty()).count();
        let crowded = longest.unwrap_or(0) * labels * 8 > WIDTH as usize - 80;
        let text_size = if crowded { TEXT - 3 } else { TEXT };
        let style = ("sans-serif", text_size).into_font().into_text_style(root);
        let style = style.pos(Pos::new(HPos::Center, VPos::Top));
        for (at, name) in self.categories.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(at as f64 + 0.5, floor));
            for (line, text) in name.lines().enumerate() {
                root.draw_text(text, &style, (x, y + 6 + (TEXT + 3) * line as i32))?;
            }
        }
        Ok(spots)
    }
}

/// The vertical axis: what a value becomes, and what is written beside it.
struct Axis {
    range: Range<f64>,
    divisor: f64,
    logarithmic: bool,
    bytes: bool,
    labels: usize,
    title: String,
}

impl Axis {
    fn of(bars: &Bars) -> Self {
        let value = |series: &Series, at: usize| series.marks.get(at).map_or(0.0, |m| m.value);
        let heights = (0..bars.categories.len()).map(|at| {
            let values = bars.series.iter().map(|series| value(series, at));
            match bars.scale {
                Scale::Stacked => values.sum(),
                Scale::Grouped | Scale::Logarithmic => values.fold(0.0, f64::max),
            }
        });
        let highest = heights.fold(0.0, f64::max);
        let logarithmic = bars.scale == Scale::Logarithmic;
        match bars.unit {
            Unit::Count(name) if logarithmic => Self {
                // A single one must be seen: the axis begins below it.
                range: -0.3..highest.max(1.0).log10() + 0.2,
                divisor: 1.0,
                logarithmic,
                bytes: false,
                labels: 6,
                title: name.to_owned(),
            },
            Unit::Bytes(name) if logarithmic => Self {
                range: -0.3..highest.max(1.0).log10() + 0.2,
                divisor: 1.0,
                logarithmic,
                bytes: true,
                labels: 6,
                title: name.to_owned(),
            },
            Unit::Count(name) => Self {
                range: 0.0..highest.max(1.0) * 1.08,
                divisor: 1.0,
                logarithmic,
                bytes: false,
                // There is no half of one.
                labels: (highest as usize + 1).min(6),
                title: name.to_owned(),
            },
            Unit::Bytes(name) => {
                const PREFIXES: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
                let mut prefix = 0;
                let mut divisor = 1.0;
                while highest / divisor >= 1024.0 && prefix + 1 < PREFIXES.len() {
                    divisor *= 1024.0;
                    prefix += 1;
                }
                Self {
                    range: 0.0..(highest / divisor).max(1e-9) * 1.08,
                    divisor,
                    logarithmic,
                    bytes: false,
                    labels: 6,
                    title: format!("{name}, {}", PREFIXES[prefix]),
                }
            }
        }
    }

    fn height(&self, value: f64) -> f64 {
        match self.logarithmic {
            true => value.max(0.5).log10(),
            false => value / self.divisor,
        }
    }

    fn label(&self, height: f64) -> String {
        match (self.logarithmic, self.bytes) {
            (true, true) => {
                let power = height.round();
                ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
                    .get((power / 3.0).floor().max(0.0) as usize)
                    .map(|unit| format!("{} {unit}", 10f64.powf(power.rem_euclid(3.0))))
                    .unwrap_or_default()
            }
            (true, false) => short(10f64.powf(height.round())),
            (false, _) => short(height),
        }
    }
}

/// `1200000` as `1.2M`.
fn short(number: f64) -> String {
    let (value, suffix) = match number.abs() {
        n if n >= 1e9 => (number / 1e9, "G"),
        n if n >= 1e6 => (number / 1e6, "M"),
        n if n >= 1e4 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{suffix}")
}

/// A square of cells, darker for more.
#[derive(Clone, Debug)]
pub struct HeatMap {
    /// What the plot shows, for those who do not see it.
    pub label: String,
    /// Of rows and columns alike.
    pub names: Vec<String>,
    /// What the rows are, and what the columns.
    pub axes: (String, String),
    /// Row, column, value, what is written in it, and what is shown on hover.
    pub cells: Vec<(usize, usize, f64, String, String)>,
}

impl HeatMap {
    /// The plot.
    pub fn markup(&self) -> Markup {
        let cell = self.cell();
        let height = 72 + cell * self.names.len().max(1) as u32;
        figure(&self.label, height, &[], |root| self.draw(root))
    }

    fn cell(&self) -> u32 {
        ((WIDTH - 120) / self.names.len().max(1) as u32).clamp(6, 64)
    }

    fn draw(&self, root: &Area<'_>) -> Result<Vec<Spot>, Failure> {
        let cell = self.cell() as i32;
        let wide = if cell >= 64 {
            ((WIDTH as i32 - 120) / self.names.len().max(1) as i32).min(120)
        } else {
            cell
        };
        let (left, top) = (104, 56);
        let font = |size: i32| ("sans-serif", size).into_font().into_text_style(root);
        let anchored = |h, v| font(TEXT).pos(Pos::new(h, v));
        let size = self.names.len() as i32;
        root.draw_text(&self.axes.1, &anchored(HPos::Left, VPos::Top), (left, 6))?;
        root.draw_text(&self.axes.0, &anchored(HPos::Right, VPos::Top), (left - 12, 30))?;
        // Where there are many, not each has room for its name.
        let every = (i32::from(cell < 18) * 8).max(1) as usize;
        for (at, name) in self.names.iter().enumerate().step_by(every) {
            let at = at as i32;
            let across = (left + at * wide + wide / 2, top - 8);
            root.draw_text(name, &anchored(HPos::Center, VPos::Bottom), across)?;
            let down = (left - 12, top + at * cell + cell / 2);
            root.draw_text(name, &anchored(HPos::Right, VPos::Center), down)?;
        }
        let most = self.cells.iter().map(|cell| cell.2).fold(0.0, f64::max);
        let mut spots = Vec::new();
        for (row, column, value, text, title) in &self.cells {
            let (x, y) = (left + *column as i32 * wide, top + *row as i32 * cell);
            let corners = [(x + 1, y + 1), (x + wide - 1, y + cell - 1)];
            let share = if most > 0.0 { value / most } else { 0.0 };
            let fill = Color::Blue.rgb().mix(0.15 + 0.65 * share);
            root.draw(&Rectangle::new(corners, fill.filled()))?;
            if wide >= 60 {
                let style = font(TEXT).pos(Pos::new(HPos::Center, VPos::Center));
                root.draw_text(text, &style, (x + wide / 2, y + cell / 2))?;
            }
            spots.push(Spot { left: x, top: y, width: wide, height: cell, title: title.clone() });
        }
        let frame = [(left, top), (left + size * wide, top + size * cell)];
        root.draw(&Rectangle::new(frame, BLACK.mix(0.3)))?;
        Ok(spots)
    }
}

/// A drawing, the titles over its marks, and its legend.
fn figure(
    label: &str,
    height: u32,
    legend: &[(&str, Color)],
    draw: impl FnOnce(&Area<'_>) -> Result<Vec<Spot>, Failure>,
) -> Markup {
    let mut svg = String::new();
    let drawn = {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        draw(&root).and_then(|spots| {
            root.present()?;
            Ok(spots)
        })
    };
    let marks = svg.split_once('>').and_then(|(_, rest)| rest.rsplit_once("</svg>"));
    let (spots, (marks, _)) = match (drawn, marks) {
        (Ok(spots), Some(marks)) => (spots, marks),
        (Err(error), _) => return html! { p.note { "This plot could not be drawn: " (error) } },
        (_, None) => return html! { p.note { "This plot could not be drawn." } },
    };
    html! {
        div.plot {
            svg viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label=(label) {
                (PreEscaped(marks))
                @for spot in &spots {
                    rect.mark x=(spot.left) y=(spot.top) width=(spot.width.max(1))
                        height=(spot.height.max(1)) { title { (spot.title) } }
                }
            }
        }
        @if legend.len() > 1 {
            ul.legend {
                @for (name, color) in legend {
                    li { i style={ "background:" (color.css()) } {} (name) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(values: &[f64], scale: Scale, unit: Unit) -> Bars {
        let mark = |value: &f64| Mark { value: *value, title: format!("<{value}>") };
        Bars {
            label: "a \"plot\"".into(),
            categories: values.iter().map(|value| format!("c{value}")).collect(),
            series: vec![Series {
                name: "seen".into(),
                color: Color::Blue,
                marks: values.iter().map(mark).collect(),
            }],
            scale,
            unit,
        }
    }

    #[test]
    fn each_mark_has_its_number_and_nothing_breaks_out_of_the_drawing() {
        for scale in [Scale::Stacked, Scale::Grouped, Scale::Logarithmic] {
            for unit in [Unit::Count("messages"), Unit::Bytes("bus bytes")] {
                let text = bars(&[1.0, 0.0, 7e9], scale, unit).markup().into_string();
                assert_eq!(text.matches("<title>").count(), 2, "{text}");
                assert!(text.contains("<title>&lt;7000000000&gt;</title>"), "{text}");
                assert!(text.contains("aria-label=\"a &quot;plot&quot;\""));
                assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
            }
        }
    }

    #[test]
    fn nothing_to_draw_is_drawn() {
        for scale in [Scale::Stacked, Scale::Logarithmic] {
            let text = bars(&[], scale, Unit::Bytes("bytes")).markup().into_string();
            assert!(text.contains("<svg") && !text.contains("could not be drawn"), "{text}");
        }
        let empty = HeatMap {
            label: String::new(),
            names: vec![],
            axes: Default::default(),
            cells: vec![],
        };
        assert!(empty.markup().into_string().contains("<svg"));
    }

    #[test]
    fn numbers_beside_an_axis_are_short() {
        for (number, text) in [(0.0, "0"), (9999.0, "9999"), (12_000.0, "12k"), (2.5e6, "2.5M")] {
            assert_eq!(short(number), text);
        }
    }
}
