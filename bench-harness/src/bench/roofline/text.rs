//! Series as tables for terminals.

use super::measure::{Measured, Want};
use super::stats::{Row, Series};
use std::fmt::Write;

/// Share of busy time from which the load is taken to be the limit.
const LOAD_BUSY: f64 = 0.95;

/// A figure with about three digits.
fn short(figure: f64) -> String {
    match figure {
        f if f >= 99.95 => format!("{f:.0}"),
        f if f >= 9.995 => format!("{f:.1}"),
        f => format!("{f:.2}"),
    }
}

fn micros(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".into(), short)
}

/// Whether the load, and not the server, held the rate down in most runs.
fn load_bound(row: &Row) -> bool {
    2 * row.runs.iter().filter(|run| run.load_busy >= LOAD_BUSY).count() > row.runs.len()
}

/// One line while it is measured.
pub fn progress(done: usize, of: usize, want: Want, measured: &Measured) -> String {
    let (run, shape) = (&measured.run, want.shape);
    let (cpu, ops) = (short(run.cpu_us_per_op), run.ops_per_s);
    let lag = match run.lag_p99_us {
        Some(lag) => format!(", sent at most {} us late (p99)", short(lag)),
        None => String::new(),
    };
    format!("{done}/{of} {shape} on {}: {ops:.0} frames/s, {cpu} us of CPU each{lag}", want.runtime)
}

/// Everything, one row a line.
pub fn table(series: &Series) -> String {
    let mut out = format!("{} {}\n", series.date, series.command);
    for (name, value) in &series.environment.facts {
        let _ = writeln!(out, "{name}: {value}");
    }
    let runs = series.rows.iter().map(|row| row.runs.len()).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "{} s a run, {runs} runs interleaved: medians; +- is half of largest less smallest",
        series.seconds
    );
    let _ = writeln!(
        out,
        "\n{:<12} {:<13} {:<8} {:>9} {:>9} {:>5} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "frames",
        "path",
        "runtime",
        "frames/s",
        "MB/s",
        "+-",
        "CPU us",
        "+-",
        "workers",
        "p50 us",
        "p99",
        "p99.9",
        "p99.99",
        "group KiB"
    );
    let mut before = None;
    for row in &series.rows {
        if before.replace(row.shape.frames).is_some_and(|frames| frames != row.shape.frames) {
            out.push('\n');
        }
        line(&mut out, row);
    }
    if series.rows.iter().any(load_bound) {
        out.push_str("\n* the load had no time to spare: more frames/s may be possible, CPU per frame stands\n");
    }
    out
}

fn line(out: &mut String, row: &Row) {
    let whole = row.shape.to_string();
    let (frames, path) = whole.split_once(' ').expect("frames, then the path");
    let rate = row.rate.map(|rate| format!("@{rate:.0}")).unwrap_or_default();
    let percent = |share: f64| format!("{:.0}%", share * 50.0);
    let group = if row.group_bytes > 0.0 { short(row.group_bytes / 1024.0) } else { "-".into() };
    let _ = writeln!(
        out,
        "{:<12} {:<13} {:<8} {:>9} {:>9} {:>5} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}{rate}",
        frames,
        path,
        row.runtime.to_string(),
        format!("{:.0}{}", row.ops_per_s, if load_bound(row) { "*" } else { "" }),
        short(row.mb_per_s),
        percent(row.spread.ops),
        short(row.cpu_us_per_op),
        percent(row.spread.cpu),
        short(row.workers_us_per_op),
        micros(row.latency.p50),
        micros(row.latency.p99),
        micros(row.latency.p999),
        micros(row.latency.p9999),
        group,
    );
}

/// How the runtimes compare, by median CPU per frame and frames a second, with the first as the measure.
pub fn ratios(series: &Series) -> String {
    let mut out = String::from("\nCPU per frame (frames/s), as multiples of the ring's\n");
    for base in series.rows.iter().filter(|row| row.runtime == super::shape::Runtime::Ring) {
        let _ = write!(out, "{:<28}", base.shape.to_string());
        for row in series.rows.iter().filter(|row| row.shape == base.shape && row.runtime != base.runtime) {
            let (cpu, ops) = (row.cpu_us_per_op / base.cpu_us_per_op, row.ops_per_s / base.ops_per_s);
            let _ = write!(out, "  {} {cpu:.2} ({ops:.2})", row.runtime);
        }
        out.push('\n');
    }
    out
}
