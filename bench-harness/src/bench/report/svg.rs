//! Charts as inline SVG: axes, lines, dots, bars. Knows nothing of brokers. Colours and strokes are classes of the page's style, so
//! that a chart follows its colour scheme; sizes are those of its view box, drawn for a width and scaled a little.

use super::format::{escape, lines, shortened};
use crate::bench::compare::Interval;
use std::fmt::Write;

/// How large a chart is drawn. Each chart is drawn twice, and the page shows what fits: letters stay legible on a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Wide,
    Narrow,
}

impl Size {
    pub const BOTH: [Size; 2] = [Size::Wide, Size::Narrow];

    pub fn width(self) -> f64 {
        if self == Size::Wide { 620.0 } else { 340.0 }
    }

    pub fn height(self) -> f64 {
        if self == Size::Wide { 320.0 } else { 260.0 }
    }

    pub fn class(self) -> &'static str {
        if self == Size::Wide { "wide" } else { "narrow" }
    }
}

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    Linear { from: f64, to: f64 },
    Log { from: f64, to: f64 },
}

impl Scale {
    /// From zero to a little above the largest.
    pub fn from_zero(values: impl IntoIterator<Item = f64>) -> Scale {
        let most = values.into_iter().filter(|v| v.is_finite()).fold(0.0, f64::max);
        let to = if most > 0.0 { most * 1.08 } else { 1.0 };
        Scale::Linear { from: 0.0, to }
    }

    /// Logarithmic around all positive values, with room on both sides.
    pub fn log(values: impl IntoIterator<Item = f64>) -> Scale {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for v in values.into_iter().filter(|v| v.is_finite() && *v > 0.0) {
            (least, most) = (least.min(v), most.max(v));
        }
        if most == 0.0 {
            return Scale::Log { from: 1.0, to: 10.0 };
        }
        let (mut from, mut to) = (least / 1.15, most * 1.15);
        // An axis of less than a factor of four has too few round numbers.
        if to / from < 4.0 {
            let middle = (from * to).sqrt();
            (from, to) = (middle / 2.0, middle * 2.0);
        }
        Scale::Log { from, to }
    }

    /// Where a value is, 0 at the begin and 1 at the end of the axis.
    pub fn at(self, value: f64) -> f64 {
        match self {
            Scale::Linear { from, to } => (value - from) / (to - from),
            Scale::Log { from, to } => (value.max(from / 10.0) / from).ln() / (to / from).ln(),
        }
    }

    /// About so many round numbers on the axis.
    pub fn ticks(self, about: usize) -> Vec<f64> {
        match self {
            Scale::Linear { from, to } => linear_ticks(from, to, about),
            Scale::Log { from, to } => log_ticks(from, to, about),
        }
    }
}

fn linear_ticks(from: f64, to: f64, about: usize) -> Vec<f64> {
    let rough = (to - from) / about.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|k| k * power).into_iter().find(|s| *s >= rough * 0.999).unwrap_or(10.0 * power);
    let first = (from / step).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last).map(|k| k as f64 * step).collect()
}

fn log_ticks(from: f64, to: f64, about: usize) -> Vec<f64> {
    let decades = (to / from).log10();
    let labels = about as f64 * 1.3;
    let digits: &[f64] = match decades {
        d if d * 3.0 <= labels => &[1.0, 2.0, 5.0],
        d if d * 2.0 <= labels => &[1.0, 3.0],
        _ => &[1.0],
    };
    let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    let all = (first..=last).flat_map(|e| digits.iter().map(move |d| d * 10f64.powi(e)));
    let found: Vec<f64> = all.filter(|v| *v >= from * 0.999 && *v <= to * 1.001).collect();
    let every = found.len().div_ceil(about.max(2) + 2).max(1);
    found.into_iter().step_by(every).collect()
}

/// One axis.
#[derive(Debug)]
pub struct Axis {
    pub scale: Scale,
    pub name: String,
    /// Places with a line and a label.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// With round numbers, told by `format`.
    pub fn round(scale: Scale, name: impl Into<String>, about: usize, format: impl Fn(f64) -> String) -> Axis {
        let ticks = scale.ticks(about).into_iter().map(|v| (v, format(v))).collect();
        Axis { scale, name: name.into(), ticks }
    }
}

/// Shape of a dot: two series are told apart without their colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dot {
    Full,
    Hollow,
}

/// A chart with two axes that is being drawn.
#[derive(Debug)]
pub struct Plot {
    id: String,
    title: String,
    description: String,
    size: Size,
    x: Axis,
    y: Axis,
    left: f64,
    /// Behind lines: shaded parts.
    back: String,
    body: String,
    /// Over all, invisible: what a pointer is told.
    hits: Vec<(f64, String)>,
}

const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
const RIGHT: f64 = 18.0;
/// Width of a letter of axis labels, about.
const LETTER: f64 = 6.9;

impl Plot {
    /// `id` is unique in the page, but for the size.
    pub fn new(id: &str, title: &str, description: &str, size: Size, x: Axis, y: Axis) -> Plot {
        let widest = y.ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0);
        Plot {
            id: format!("{id}-{}", size.class()),
            title: title.to_string(),
            description: description.to_string(),
            size,
            x,
            y,
            left: 14.0 + widest as f64 * LETTER,
            back: String::new(),
            body: String::new(),
            hits: Vec::new(),
        }
    }

    fn px(&self, x: f64) -> f64 {
        self.left + self.x.scale.at(x).clamp(0.0, 1.0) * (self.size.width() - self.left - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        let bottom = self.size.height() - BOTTOM;
        bottom - self.y.scale.at(y).clamp(0.0, 1.0) * (bottom - TOP)
    }

    /// A line through points; one that is not a number makes a gap.
    pub fn line(&mut self, points: impl IntoIterator<Item = (f64, f64)>, class: &str) {
        let mut path = String::new();
        let mut pen = 'M';
        for (x, y) in points {
            if !x.is_finite() || !y.is_finite() {
                pen = 'M';
                continue;
            }
            let _ = write!(path, "{pen}{:.1} {:.1}", self.px(x), self.py(y));
            pen = 'L';
        }
        if !path.is_empty() {
            let _ = write!(self.body, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }

    pub fn dot(&mut self, (x, y): (f64, f64), class: &str, dot: Dot) {
        let (px, py) = (self.px(x), self.py(y));
        let kind = if dot == Dot::Hollow { "dot hollow" } else { "dot" };
        let _ = write!(self.body, "<circle class=\"{kind} {class}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"4\"/>");
    }

    /// A small triangle that points up to what lies apart from its line: a maximum.
    pub fn peak(&mut self, (x, y): (f64, f64), class: &str) {
        let (px, py) = (self.px(x), self.py(y));
        let _ = write!(self.body, "<path class=\"dot {class}\" d=\"M{:.1} {:.1}l5 8.5h-10Z\"/>", px, py - 5.0);
    }

    /// Shades a range of x over the whole height.
    pub fn shade(&mut self, from: f64, to: f64, class: &str) {
        let (a, b) = (self.px(from).max(self.left), self.px(to));
        let height = self.size.height() - BOTTOM - TOP;
        let _ = write!(
            self.back,
            "<rect class=\"{class}\" x=\"{a:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{height}\"/>",
            (b - a).max(0.0)
        );
    }

    /// A column from the bottom up.
    pub fn column(&mut self, from: f64, to: f64, y: f64, class: &str) {
        let (a, b, top) = (self.px(from), self.px(to), self.py(y));
        let height = self.size.height() - BOTTOM - top;
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            a + 0.5,
            (b - a - 1.0).max(0.5)
        );
    }

    /// A horizontal line across.
    pub fn rule(&mut self, y: f64, class: &str) {
        let (a, b, at) = (self.left, self.size.width() - RIGHT, self.py(y));
        let _ = write!(self.body, "<path class=\"{class}\" d=\"M{a:.1} {at:.1}H{b:.1}\"/>");
    }

    /// Words above a place.
    pub fn word(&mut self, x: f64, text: &str) {
        let (at, y) = (self.px(x), TOP - 4.0);
        let _ = write!(self.body, "<text class=\"word\" x=\"{at:.1}\" y=\"{y}\">{}</text>", escape(text));
    }

    /// What a pointer near a place is told.
    pub fn tell(&mut self, x: f64, text: String) {
        self.hits.push((x, text));
    }

    /// The chart.
    pub fn finish(self) -> String {
        let (width, height) = (self.size.width(), self.size.height());
        let (bottom, right) = (height - BOTTOM, width - RIGHT);
        let mut out = begin(&self.id, self.size, height, &self.title, &self.description);
        out.push_str(&self.back);
        for (v, label) in &self.y.ticks {
            let at = self.py(*v);
            let _ = write!(out, "<path class=\"grid\" d=\"M{:.1} {at:.1}H{right}\"/>", self.left);
            let _ = write!(
                out,
                "<text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                self.left - 7.0,
                at + 4.0,
                escape(label)
            );
        }
        self.x_ticks(&mut out);
        let _ = write!(out, "<path class=\"axis\" d=\"M{:.1} {bottom}H{right}\"/>", self.left);
        let _ = write!(out, "<text class=\"name\" x=\"4\" y=\"14\">{}</text>", escape(&self.y.name));
        let _ = write!(
            out,
            "<text class=\"name end\" x=\"{right}\" y=\"{:.1}\">{}</text>",
            height - 8.0,
            escape(&self.x.name)
        );
        out.push_str(&self.body);
        self.hit_areas(&mut out);
        out.push_str("</svg>");
        out
    }

    /// Labels that would touch the one before are left out.
    fn x_ticks(&self, out: &mut String) {
        let bottom = self.size.height() - BOTTOM;
        let mut free = f64::NEG_INFINITY;
        for (v, label) in &self.x.ticks {
            let at = self.px(*v);
            let half = label.chars().count() as f64 * LETTER / 2.0;
            let centre = at.clamp(half, self.size.width() - half);
            let _ = write!(out, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
            if centre - half > free {
                let y = bottom + 17.0;
                let text = escape(label);
                let _ = write!(out, "<text class=\"tick middle\" x=\"{centre:.1}\" y=\"{y}\">{text}</text>");
                free = centre + half + 6.0;
            }
        }
    }

    fn hit_areas(&self, out: &mut String) {
        let height = self.size.height() - BOTTOM - TOP;
        let places: Vec<f64> = self.hits.iter().map(|(x, _)| self.px(*x)).collect();
        for (k, (_, text)) in self.hits.iter().enumerate() {
            let before = if k == 0 { self.left } else { (places[k - 1] + places[k]) / 2.0 };
            let after = places.get(k + 1).map_or(self.size.width() - RIGHT, |next| (places[k] + next) / 2.0);
            let _ = write!(
                out,
                "<rect class=\"hit\" x=\"{before:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{height}\"><title>{}</title></rect>",
                (after - before).max(0.1),
                escape(text)
            );
        }
    }
}

/// The opening of a chart with what a screen reader says of it.
fn begin(id: &str, size: Size, height: f64, title: &str, description: &str) -> String {
    format!(
        "<svg class=\"chart {}\" viewBox=\"0 0 {} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
        size.class(),
        size.width(),
        escape(title),
        escape(description)
    )
}

/// One bar with what it reaches from run to run.
#[derive(Debug, Clone)]
pub struct Bar {
    pub label: String,
    pub class: String,
    pub value: f64,
    pub least: f64,
    pub greatest: f64,
    /// The value with its unit.
    pub text: String,
}

/// Bars that share a scale, from zero.
#[derive(Debug, Clone)]
pub struct Bars {
    pub name: String,
    pub bars: Vec<Bar>,
}

const BAR: f64 = 22.0;
const HEADING: f64 = 26.0;
const LINE: f64 = 16.0;

/// Horizontal bars in groups; each group has a scale of its own.
pub fn bars(id: &str, title: &str, description: &str, size: Size, groups: &[Bars]) -> String {
    let count: usize = groups.iter().map(|g| g.bars.len()).sum();
    let headings: Vec<Vec<String>> = groups.iter().map(|g| lines(&g.name, (size.width() / 7.6) as usize)).collect();
    let more: usize = headings.iter().map(|lines| lines.len() - 1).sum();
    let height = 8.0 + groups.len() as f64 * HEADING + more as f64 * LINE + count as f64 * BAR;
    let mut out = begin(&format!("{id}-{}", size.class()), size, height, title, description);
    let label = if size == Size::Wide { 130.0 } else { 92.0 };
    let longest = groups.iter().flat_map(|g| &g.bars).map(|b| b.text.chars().count()).max().unwrap_or(0);
    let room = size.width() - label - longest as f64 * 7.4 - 16.0;
    let letters = (label / 8.2) as usize;
    let mut y = 4.0;
    for (group, heading) in groups.iter().zip(&headings) {
        for (k, line) in heading.iter().enumerate() {
            let at = y + 16.0 + k as f64 * LINE;
            let _ = write!(out, "<text class=\"name\" x=\"4\" y=\"{at:.1}\">{}</text>", escape(line));
        }
        y += (heading.len() - 1) as f64 * LINE;
        y += HEADING;
        let most = group.bars.iter().map(|b| b.greatest.max(b.value)).fold(0.0, f64::max);
        let place = |v: f64| if most > 0.0 { label + v / most * room } else { label };
        for bar in &group.bars {
            let (end, middle) = (place(bar.value), y + BAR / 2.0 - 1.0);
            let name = escape(&shortened(&bar.label, letters));
            let _ = write!(
                out,
                "<text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                label - 8.0,
                middle + 4.0
            );
            let _ = write!(
                out,
                "<rect class=\"bar {}\" x=\"{label}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\"/>",
                bar.class,
                y + 1.0,
                (end - label).max(0.5),
                BAR - 6.0
            );
            let reach = place(bar.greatest).max(end);
            if bar.greatest > bar.least {
                let from = place(bar.least);
                let _ = write!(
                    out,
                    "<path class=\"whisker\" d=\"M{from:.1} {middle:.1}H{reach:.1}M{from:.1} {a:.1}v8M{reach:.1} {a:.1}v8\"/>",
                    a = middle - 4.0
                );
            }
            let text = escape(&bar.text);
            let _ =
                write!(out, "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", reach + 7.0, middle + 4.5);
            y += BAR;
        }
    }
    out.push_str("</svg>");
    out
}

/// A ratio with its interval on a logarithmic line around 1, small enough for a row of a table. `reach`: the ends are 1/reach and
/// reach; what lies beyond is cut.
pub fn whisker(interval: &Interval, reach: f64, class: &str) -> String {
    const WIDTH: f64 = 150.0;
    let scale = Scale::Log { from: 1.0 / reach, to: reach };
    let px = |v: f64| 6.0 + scale.at(v).clamp(0.0, 1.0) * (WIDTH - 12.0);
    let (low, middle, high) = (px(interval.low), px(interval.ratio), px(interval.high));
    format!(
        "<svg class=\"whiskers\" viewBox=\"0 0 {WIDTH} 20\" aria-hidden=\"true\"><path class=\"grid\" d=\"M6 10H{}\"/>\
         <path class=\"one\" d=\"M{one} 1V19\"/><path class=\"interval {class}\" d=\"M{low:.1} 10H{high:.1}M{low:.1} 6v8M{high:.1} 6v8\"/>\
         <circle class=\"dot {class}\" cx=\"{middle:.1}\" cy=\"10\" r=\"4\"/></svg>",
        WIDTH - 6.0,
        one = WIDTH / 2.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_on_the_axis() {
        assert_eq!(Scale::Linear { from: 0.0, to: 10.8 }.ticks(5), [0.0, 5.0, 10.0]);
        assert_eq!(Scale::Linear { from: 0.0, to: 43.0 }.ticks(4), [0.0, 20.0, 40.0]);
        let half = Scale::Log { from: 90.0, to: 30_000.0 }.ticks(4);
        assert!(half.iter().zip([100.0, 300.0, 1000.0, 3000.0]).all(|(a, b)| (a / b - 1.0).abs() < 1e-9), "{half:?}");
        let log = Scale::Log { from: 90.0, to: 1100.0 }.ticks(6);
        assert_eq!(log.len(), 4);
        assert!(log.iter().zip([100.0, 200.0, 500.0, 1000.0]).all(|(a, b)| (a / b - 1.0).abs() < 1e-9), "{log:?}");
        assert!(Scale::log([1e3, 1e9]).ticks(6).len() <= 8);
        assert!(Scale::log([5.0]).ticks(5).len() >= 2);
    }

    #[test]
    fn no_value_leaves_the_axis_and_none_makes_a_line() {
        assert_eq!(Scale::from_zero([]), Scale::Linear { from: 0.0, to: 1.0 });
        assert!(matches!(Scale::log([]), Scale::Log { .. }));
        let axis = || Axis::round(Scale::from_zero([1.0]), "x", 3, |v| v.to_string());
        let mut plot = Plot::new("a", "t", "d", Size::Wide, axis(), axis());
        plot.line([(0.0, f64::NAN), (1.0, f64::NAN)], "s0");
        assert!(!plot.finish().contains("class=\"s0\""));
        let mut plot = Plot::new("a", "t", "d", Size::Wide, axis(), axis());
        plot.line([(0.0, 0.5), (0.5, f64::NAN), (0.6, 0.5), (1.0, 7.0)], "s0");
        let text = plot.finish();
        assert_eq!(text.matches('M').count() - text.matches("class=\"grid\"").count() - 1, 2, "{text}");
    }
}
