//! The report for a terminal: the same sentences and tables as the page, and small plots of letters. Plain text, no colours; where
//! the terminal is not UTF-8, ASCII.

use super::Report;
use super::format::{self, lines};
use super::group::{self, Group, Kind, Section, curve, place};
use super::svg::Scale;
use super::tables::{self, Cell, Mark, Table};
use crate::bench::compare::Comparison;
use crate::bench::result::{RunResult, Second};
use std::fmt::Write;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Letters of a line.
    pub width: usize,
    pub unicode: bool,
}

impl Style {
    /// Of files, which nobody has a width for.
    pub const FILE: Style = Style { width: 132, unicode: true };

    /// What the process's terminal can show.
    pub fn of_terminal() -> Style {
        let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
        let locale = locale.unwrap_or_default().to_lowercase();
        Style { width: width.clamp(40, 160), unicode: locale.contains("utf-8") || locale.contains("utf8") }
    }

    /// Only what the terminal shows as it stands: no control characters of somebody's names.
    pub fn plain(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '\n' => out.push(c),
                c if c.is_control() => out.push('?'),
                c if self.unicode || c.is_ascii() => out.push(c),
                'µ' => out.push('u'),
                '–' => out.push('-'),
                '…' => out.push('.'),
                _ => out.push('?'),
            }
        }
        out
    }
}

/// The whole report.
pub fn render(report: &Report, style: Style) -> String {
    let sections = group::sections(report);
    let mut out = format!("{}\n{}\n\n", report.title, rule(report.title.chars().count(), style));
    let void = tables::void_runs(&sections);
    if !void.is_empty() {
        wrapped(&mut out, "VOID RUNS: these failed their own checks; nothing below is drawn from them.", "", style);
        void.iter().for_each(|line| bullet(&mut out, line, style));
        out.push('\n');
    }
    report.notes.iter().for_each(|note| bullet(&mut out, note, style));
    for section in &sections {
        one_section(&mut out, section, style);
    }
    style.plain(&out)
}

/// One comparison: its verdicts, and what must be known before them.
pub fn comparison(comparison: &Comparison, style: Style) -> String {
    let mut out = String::new();
    comparison.warnings.iter().for_each(|warning| bullet(&mut out, warning, style));
    out.push_str(&table(&tables::verdicts(comparison, |_| true), style));
    style.plain(&out)
}

/// One run, in a few lines: what it found, whether it is void, and how it went from second to second.
pub fn run(run: &RunResult, style: Style) -> String {
    let report = Report { runs: vec![run.clone()], ..Report::default() };
    let mut out = String::new();
    for section in group::sections(&report) {
        headline(&mut out, &section, style);
        tables::void_runs(std::slice::from_ref(&section)).iter().for_each(|line| bullet(&mut out, line, style));
        section.groups.iter().for_each(|group| seconds(&mut out, group, style));
    }
    style.plain(&out)
}

fn one_section(out: &mut String, section: &Section<'_>, style: Style) {
    let name = &section.workload.name;
    let _ = writeln!(out, "\n{name}\n{}", rule(name.chars().count(), style));
    wrapped(out, &section.workload.question, "", style);
    out.push('\n');
    headline(out, section, style);
    out.push('\n');
    for comparison in &section.comparisons {
        out.push_str(&table(&tables::verdicts(comparison, |_| true), style));
        out.push('\n');
    }
    let figures = tables::all_figures(section);
    if section.comparisons.is_empty() && !figures.rows.is_empty() {
        out.push_str(&table(&figures, style));
        out.push('\n');
    }
    for kind in Kind::ALL {
        if section.groups.iter().any(|g| kind.of(g).max().is_some()) {
            percentile_plot(out, section, kind, style);
            out.push_str(&table(&tables::percentiles(section, kind), style));
            out.push('\n');
        }
    }
    section.groups.iter().for_each(|group| seconds(out, group, style));
    let shown = [
        tables::ramp(section),
        tables::roofline(section),
        tables::instruments(section, &super::charts::INSTRUMENTS),
        tables::checks(section, true),
        tables::clients(section),
        tables::environment(section),
    ];
    for one in shown.iter().filter(|t| !t.rows.is_empty()) {
        let _ = write!(out, "\n{}", table(one, style));
    }
    let caveats = tables::caveats(section);
    if !caveats.is_empty() {
        out.push_str("\nWhat this does not show\n");
        caveats.iter().for_each(|line| bullet(out, line, style));
    }
}

fn headline(out: &mut String, section: &Section<'_>, style: Style) {
    let found = tables::headline(section);
    wrapped(out, &found.main, "", style);
    found.more.iter().for_each(|line| wrapped(out, line, "  ", style));
}

fn rule(length: usize, style: Style) -> String {
    "=".repeat(length.min(style.width))
}

fn bullet(out: &mut String, text: &str, style: Style) {
    let mut lines = String::new();
    wrapped(&mut lines, text, "  ", style);
    let _ = write!(out, "- {}", &lines[2..]);
}

/// Text in lines of the terminal's width, each begun with some space.
fn wrapped(out: &mut String, text: &str, indent: &str, style: Style) {
    for line in lines(text, style.width - indent.len()) {
        let _ = writeln!(out, "{indent}{line}");
    }
}

/// A table with columns as wide as they need, or as the terminal allows.
pub fn table(table: &Table, style: Style) -> String {
    const GAP: usize = 2;
    const LEAST: usize = 7;
    let whole = |cell: &Cell| match cell.more.is_empty() {
        true => cell.main.clone(),
        false => format!("{} ({})", cell.main, cell.more),
    };
    let mut rows: Vec<Vec<String>> = vec![table.head.clone()];
    rows.extend(table.rows.iter().map(|(_, cells)| cells.iter().map(whole).collect()));
    let widest = |text: &String| text.split('\n').map(|line| line.chars().count()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..table.head.len())
        .map(|k| rows.iter().filter_map(|row| row.get(k)).map(widest).max().unwrap_or(0))
        .collect();
    while widths.iter().sum::<usize>() + GAP * widths.len() > style.width {
        let Some(most) = widths.iter_mut().max().filter(|most| **most > LEAST) else { break };
        *most -= 1;
    }
    let mut out = String::new();
    lines(&table.caption, style.width).iter().for_each(|line| out.push_str(&format!("{line}\n")));
    for (k, row) in rows.iter().enumerate() {
        let cells: Vec<Vec<String>> = row.iter().zip(&widths).map(|(text, width)| lines(text, *width)).collect();
        for n in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let text = cell.get(n).map_or("", String::as_str);
                let _ = write!(line, "{text:<width$}{}", " ".repeat(GAP));
            }
            let mark = if k > 0 && n == 0 && table.rows[k - 1].0 == Mark::Bad { "!" } else { " " };
            let _ = writeln!(out, "{mark}{}", line.trim_end());
        }
        if k == 0 {
            let under: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(out, " {}", under.join("  "));
        }
    }
    out
}

/// Bars of one letter each: the largest value is full.
pub fn sparkline(values: &[f64], width: usize, unicode: bool) -> String {
    let steps: &[char] = if unicode {
        &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
    } else {
        &['_', '.', ':', '-', '=', '+', '*', '#']
    };
    let most = values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    // Where there are more values than letters, each letter shows the mean of its share.
    let letters = values.len().min(width.max(1));
    let shown = (0..letters).map(|k| {
        let part = &values[k * values.len() / letters..(k + 1) * values.len() / letters];
        part.iter().sum::<f64>() / part.len() as f64
    });
    shown
        .map(|v| match most > 0.0 && v > 0.0 {
            true => steps[((v / most * steps.len() as f64).ceil() as usize).clamp(1, steps.len()) - 1],
            false => ' ',
        })
        .collect()
}

/// A name, the value of a second, and how it is told.
type Line = (&'static str, fn(&Second) -> f64, fn(f64) -> String);

/// Throughput and slowest answers of a broker's typical run, second by second.
fn seconds(out: &mut String, group: &Group<'_>, style: Style) {
    let Some(run) = group.typical() else { return };
    if run.load.seconds.is_empty() {
        return;
    }
    let warmup = run.load.seconds.iter().filter(|s| s.warmup).count();
    let _ = writeln!(out, "{}: second by second ({warmup} of warm-up first)", group.label);
    let shown: [Line; 4] = [
        ("acked/s", |s| s.acked_records as f64, format::count),
        ("read/s", |s| s.read_records as f64, format::count),
        ("p99", |s| s.publish_p99 as f64 * 1e3, format::nanos),
        ("max", |s| s.publish_max as f64 * 1e3, format::nanos),
    ];
    for (name, of, told) in shown {
        let values: Vec<f64> = run.load.seconds.iter().map(of).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        if most > 0.0 {
            let bars = sparkline(&values, style.width - 30, style.unicode);
            let _ = writeln!(out, "  {name:<8} {bars}  most {}", told(most));
        }
    }
}

const MARKS: [char; 6] = ['●', '○', '◆', '◇', '▲', '△'];
const ASCII_MARKS: [char; 6] = ['o', 'x', '+', '*', '#', '@'];

/// Percentile curves, drawn with a mark for each broker.
fn percentile_plot(out: &mut String, section: &Section<'_>, kind: Kind, style: Style) {
    const ROWS: usize = 12;
    const LEFT: usize = 9;
    let curves: Vec<_> = section.groups.iter().map(|g| curve(kind.of(g))).collect();
    let end = curves.iter().flatten().map(|p| p.0).fold(0.0, f64::max);
    if end <= 0.0 {
        return;
    }
    let marks = if style.unicode { MARKS } else { ASCII_MARKS };
    let columns = (style.width - LEFT - 2).min(90);
    let scale = Scale::log(curves.iter().flatten().map(|p| p.1));
    let mut cells = vec![vec![' '; columns]; ROWS];
    for (k, points) in curves.iter().enumerate() {
        let last = points.last().map_or(-1.0, |p| p.0);
        let places = (0..columns).map(|column| (column, end * column as f64 / (columns - 1) as f64));
        for (column, x) in places.filter(|(_, x)| *x <= last + 0.03) {
            let Some((_, y)) = points.iter().rfind(|p| p.0 <= x + 1e-9) else { continue };
            let row = ((1.0 - scale.at(*y)) * (ROWS - 1) as f64).round().clamp(0.0, (ROWS - 1) as f64);
            cells[row as usize][column] = marks[k % marks.len()];
        }
    }
    let names = section.groups.iter().enumerate().map(|(k, g)| format!("{} {}", marks[k % marks.len()], g.label));
    let _ = writeln!(out, "{} latency by percentile: {}", kind.name(), names.collect::<Vec<_>>().join("  "));
    let mut labels = vec![String::new(); ROWS];
    for tick in scale.ticks(4) {
        let row = ((1.0 - scale.at(tick)) * (ROWS - 1) as f64).round() as usize;
        labels[row.min(ROWS - 1)] = format::nanos(tick);
    }
    for (label, row) in labels.iter().zip(&cells) {
        let bar = if style.unicode { '│' } else { '|' };
        let _ = writeln!(out, "{label:>LEFT$}{bar}{}", row.iter().collect::<String>().trim_end());
    }
    let mut axis = vec![' '; columns + 8];
    for percentile in [50.0, 90.0, 99.0, 99.9, 99.99, 99.999].into_iter().filter(|p| place(*p) <= end + 0.01) {
        let at = (place(percentile) / end * (columns - 1) as f64).round() as usize;
        let text: Vec<char> = format::percentile(percentile).chars().collect();
        let begin = at.saturating_sub(text.len() / 2);
        axis.splice(begin..begin + text.len(), text);
    }
    let _ = writeln!(out, "{}{}\n", " ".repeat(LEFT + 1), axis.iter().collect::<String>().trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_to_the_width() {
        let mut wide = Table::new("c", ["One", "Two"]);
        wide.row(["some words that are long", "and some more that are longer still"]);
        for width in [24, 40, 200] {
            let text = table(&wide, Style { width, unicode: true });
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
        }
    }

    #[test]
    fn sparks_show_the_largest_as_full_and_nothing_as_nothing() {
        assert_eq!(sparkline(&[0.0, 1.0, 4.0, 8.0], 10, true), " ▁▄█");
        assert_eq!(sparkline(&[8.0, 8.0, 1.0, 1.0], 2, false), "#_");
        assert_eq!(sparkline(&[], 10, true), "");
        assert_eq!(sparkline(&[0.0, f64::NAN], 10, true), "  ");
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        let style = Style { width: 80, unicode: false };
        assert_eq!(style.plain("a\u{1b}[2J µs – é"), "a?[2J us - ?");
    }
}
