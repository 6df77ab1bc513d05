//! `ringlog bench gate`: fails when figures became worse than a baseline. It judges what does not change with the machine's mood:
//! ratios between two brokers (or a broker and the bare loop) measured in the same session, and counts of instructions and
//! allocations. A single time is refused: on another day, or machine, it is another.

use super::Failure;
use super::compare::{self, Interval};
use super::figures::Better;
use super::report::tables::{Cell, Mark, Table};
use super::report::{self, format, text};
use super::result::RunResult;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Tolerance of a ratio, and of a count, that a new baseline is given.
const RATIO_TOLERANCE: f64 = 0.15;
const COUNT_TOLERANCE: f64 = 0.01;
/// Names that end so are times.
const TIMES: [&str; 8] = ["_ns", "_us", "_ms", "_s", "_seconds", "_nanos", "_micros", "_millis"];

/// Fail when figures became worse than a baseline.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The baseline, a TOML file.
    #[arg(long)]
    pub baseline: PathBuf,
    /// Makes the baseline from these results. Tolerances that are in the file stay.
    #[arg(long)]
    pub write: bool,
    /// Whose figures are judged. Default: what the baseline says, or the first broker in the results.
    #[arg(long)]
    pub broker: Option<String>,
    /// Fails also where a ratio looks worse and the spread does not carry it.
    #[arg(long)]
    pub strict: bool,
    /// Results of runs (files or folders), and counts: JSON objects or lines of `name value`.
    #[arg(required = true)]
    pub results: Vec<PathBuf>,
}

/// The baseline file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Whose figures they are.
    #[serde(default)]
    pub broker: String,
    #[serde(default)]
    pub ratios: BTreeMap<String, Entry>,
    #[serde(default)]
    pub counts: BTreeMap<String, Entry>,
}

/// One figure of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub value: f64,
    /// How much worse it may be: 0.1 is a tenth.
    pub tolerance: f64,
    #[serde(default = "lower")]
    pub better: Better,
}

fn lower() -> Better {
    Better::Lower
}

/// A figure as it was found now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    pub value: f64,
    /// Of ratios.
    pub interval: Option<Interval>,
    pub better: Better,
}

/// All that results hold, by the names of the baseline.
#[derive(Debug, Default)]
pub struct Measured {
    pub broker: String,
    pub ratios: BTreeMap<String, Found>,
    pub counts: BTreeMap<String, Found>,
}

/// What is said of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Kept,
    /// Beyond the tolerance, to the good side: the baseline can be made again.
    Better,
    /// Beyond the tolerance, and the interval holds the baseline's value.
    Unclear,
    Worse,
    /// The baseline names it and the results do not.
    Missing,
    /// The results have it and the baseline does not.
    New,
}

impl Judgement {
    fn fails(self, strict: bool) -> bool {
        matches!(self, Judgement::Worse | Judgement::Missing) || (strict && self == Judgement::Unclear)
    }

    fn words(self) -> &'static str {
        match self {
            Judgement::Kept => "kept",
            Judgement::Better => "better: the baseline can be made again",
            Judgement::Unclear => "looks worse, the spread does not carry it",
            Judgement::Worse => "WORSE",
            Judgement::Missing => "MISSING from the results",
            Judgement::New => "new: not in the baseline",
        }
    }
}

/// Holds a figure to its entry.
pub fn judge(entry: &Entry, found: Found) -> Judgement {
    // As though lower were better.
    let worse = |value: f64, base: f64| if entry.better == Better::Lower { value > base } else { value < base };
    let (bad, good) = match entry.better {
        Better::Lower => (entry.value * (1.0 + entry.tolerance), entry.value * (1.0 - entry.tolerance)),
        Better::Higher => (entry.value / (1.0 + entry.tolerance), entry.value * (1.0 + entry.tolerance)),
    };
    if !worse(found.value, bad) {
        return if worse(good, found.value) { Judgement::Better } else { Judgement::Kept };
    }
    match found.interval {
        Some(Interval { low, high, .. }) if low <= entry.value && entry.value <= high => Judgement::Unclear,
        _ => Judgement::Worse,
    }
}

/// Reads results and counts. `broker`: whose; empty: the first one's.
pub fn measure(paths: &[PathBuf], broker: &str) -> Result<Measured, Failure> {
    let mut runs = Vec::new();
    let mut measured = Measured { broker: broker.to_string(), ..Measured::default() };
    let mut roofs = Vec::new();
    for path in paths {
        match report::load(path)? {
            report::Loaded::Results(kept) => {
                runs.extend(kept.runs);
                roofs.extend(kept.roofline);
            }
            report::Loaded::Other(text) => counts(path, &text, &mut measured.counts)?,
        }
    }
    if measured.broker.is_empty() {
        measured.broker = runs.first().map(|run: &RunResult| run.broker.label.clone()).unwrap_or_default();
    }
    for comparison in report::compared(&runs, Some(&measured.broker)) {
        for row in &comparison.rows {
            if let Some(interval) = row.interval {
                let name = format!("{}/{}/{}", comparison.workload, row.id, comparison.b.label);
                let found = Found { value: interval.ratio, interval: Some(interval), better: row.better };
                measured.ratios.insert(name, found);
            }
        }
    }
    for roof in &roofs {
        let of = |run: &&RunResult| {
            run.workload.name == roof.workload && run.broker.label == measured.broker && !run.is_void()
        };
        for (figure, bound) in roof.figures.iter().filter_map(|(id, bound)| Some((super::figures::by_id(id)?, *bound)))
        {
            let ratios: Vec<f64> = runs.iter().filter(of).filter_map(|run| figure.of(run)).map(|v| v / bound).collect();
            if let Some(interval) = compare::interval(&ratios) {
                let name = format!("{}/{}/{}", roof.workload, figure.id, roof.name);
                measured
                    .ratios
                    .insert(name, Found { value: interval.ratio, interval: Some(interval), better: figure.better });
            }
        }
    }
    Ok(measured)
}

/// Counts out of a JSON object, or of lines of `name value`; `#` begins a remark.
fn counts(path: &Path, text: &str, into: &mut BTreeMap<String, Found>) -> Result<(), Failure> {
    let named: BTreeMap<String, f64> = if text.trim_start().starts_with('{') {
        serde_json::from_str(text)
            .map_err(|e| Failure::because(path.display(), format!("neither a result nor counts: {e}")))?
    } else {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let lines = lines.enumerate().filter(|(_, line)| !line.is_empty());
        let read = lines.map(|(k, line)| {
            let pair =
                line.split_once(char::is_whitespace).and_then(|(name, value)| Some((name, value.trim().parse().ok()?)));
            let (name, value) =
                pair.ok_or_else(|| Failure::because(path.display(), format!("line {}: not `name value`", k + 1)))?;
            Ok((name.to_string(), value))
        });
        read.collect::<Result<_, Failure>>()?
    };
    for (name, value) in named {
        if TIMES.iter().any(|end| name.ends_with(end)) {
            let why = format!("{name} is a time. A gate on single times fails on a slow day: give a ratio or a count");
            return Err(Failure::because(path.display(), why));
        }
        if !value.is_finite() || value < 0.0 {
            return Err(Failure::because(path.display(), format!("{name}: {value} is no count")));
        }
        into.insert(name, Found { value, interval: None, better: Better::Lower });
    }
    Ok(())
}

/// Holds everything to the baseline: a table, and whether the gate fails.
pub fn hold(baseline: &Baseline, measured: &Measured, strict: bool) -> (Table, bool) {
    let mut table = Table::new("", ["Figure", "Baseline", "Found", "Allowed", "Judgement"]);
    let mut failed = false;
    let sides = [(&baseline.ratios, &measured.ratios), (&baseline.counts, &measured.counts)];
    for (entries, found) in sides {
        let mut rows: Vec<(Judgement, Vec<Cell>)> = Vec::new();
        for (name, entry) in entries {
            let now = found.get(name);
            let judgement = now.map_or(Judgement::Missing, |found| judge(entry, *found));
            let sign = if entry.better == Better::Lower { "+" } else { "-" };
            let cells = vec![
                name.as_str().into(),
                format::number(entry.value).into(),
                now.map_or_else(|| "none".into(), told),
                format!("{sign}{} %", format::number(entry.tolerance * 100.0)).into(),
                judgement.words().into(),
            ];
            rows.push((judgement, cells));
        }
        for (name, found) in found.iter().filter(|(name, _)| !entries.contains_key(*name)) {
            let cells =
                vec![name.as_str().into(), "none".into(), told(found), "".into(), Judgement::New.words().into()];
            rows.push((Judgement::New, cells));
        }
        for (judgement, cells) in rows {
            let bad = judgement.fails(strict);
            failed |= bad;
            table.rows.push((if bad { Mark::Bad } else { Mark::None }, cells));
        }
    }
    table.rows.sort_by_key(|(mark, _)| *mark != Mark::Bad);
    (table, failed)
}

fn told(found: &Found) -> Cell {
    let more = found.interval.as_ref().map(format::interval).unwrap_or_default();
    Cell { main: format::number(found.value), more, ..Cell::default() }
}

/// A baseline of what was measured. Tolerances of the old one stay.
pub fn made(old: &Baseline, measured: &Measured) -> Baseline {
    let entries = |found: &BTreeMap<String, Found>, old: &BTreeMap<String, Entry>, tolerance: f64| {
        let entry = |name: &String, f: &Found| {
            let tolerance = old.get(name).map_or(tolerance, |old| old.tolerance);
            Entry { value: rounded(f.value), tolerance, better: f.better }
        };
        found.iter().map(|(name, found)| (name.clone(), entry(name, found))).collect()
    };
    Baseline {
        broker: measured.broker.clone(),
        ratios: entries(&measured.ratios, &old.ratios, RATIO_TOLERANCE),
        counts: entries(&measured.counts, &old.counts, COUNT_TOLERANCE),
    }
}

/// Counts as they are; ratios with four digits.
fn rounded(value: f64) -> f64 {
    if value.fract() == 0.0 || value == 0.0 {
        return value;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// `ringlog bench gate`.
pub fn command(args: &Args) -> Result<ExitCode, Failure> {
    let path = &args.baseline;
    let because = |e: &dyn std::fmt::Display| Failure::because(path.display(), e);
    let old = match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|e| because(&e))?,
        Err(e) if args.write && e.kind() == std::io::ErrorKind::NotFound => Baseline::default(),
        Err(e) => return Err(because(&e)),
    };
    let measured = measure(&args.results, args.broker.as_deref().unwrap_or(&old.broker))?;
    if args.write {
        let new = made(&old, &measured);
        if new.ratios.is_empty() && new.counts.is_empty() {
            return Err(Failure(
                "the results hold no ratio (two brokers, three valid pairs of runs) and no count".into(),
            ));
        }
        let text = toml::to_string(&new).map_err(|e| because(&e))?;
        let head = "# Made by `ringlog bench gate --write`. Ratios are broker / peer, by workload/figure/peer; a tolerance of 0.1 is a tenth.\n\n";
        std::fs::write(path, format!("{head}{text}")).map_err(|e| because(&e))?;
        println!("{}: {} ratios, {} counts", path.display(), new.ratios.len(), new.counts.len());
        return Ok(ExitCode::SUCCESS);
    }
    let (table, failed) = hold(&old, &measured, args.strict);
    print!("{}", text::table(&table, text::Style::of_terminal()));
    let worse = table.rows.iter().filter(|(mark, _)| *mark == Mark::Bad).count();
    println!(
        "{}",
        if failed { format!("FAILED: {worse} of {} figures", table.rows.len()) } else { "passed".to_string() }
    );
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: f64, better: Better) -> Entry {
        Entry { value, tolerance: 0.1, better }
    }

    fn found(value: f64, interval: Option<(f64, f64)>) -> Found {
        let interval = interval.map(|(low, high)| Interval { ratio: value, low, high });
        Found { value, interval, better: Better::Lower }
    }

    #[test]
    fn a_figure_is_worse_when_it_is_beyond_the_tolerance_and_the_spread_carries_it() {
        let base = entry(0.5, Better::Lower);
        assert_eq!(judge(&base, found(0.54, Some((0.53, 0.55)))), Judgement::Kept);
        assert_eq!(judge(&base, found(0.60, Some((0.57, 0.63)))), Judgement::Worse);
        assert_eq!(judge(&base, found(0.60, Some((0.45, 0.80)))), Judgement::Unclear);
        assert_eq!(judge(&base, found(0.40, Some((0.39, 0.41)))), Judgement::Better);
        assert_eq!(judge(&entry(1000.0, Better::Lower), found(1101.0, None)), Judgement::Worse);
        assert_eq!(judge(&entry(1000.0, Better::Lower), found(1099.0, None)), Judgement::Kept);
        assert_eq!(judge(&entry(0.0, Better::Lower), found(1.0, None)), Judgement::Worse);
        assert_eq!(judge(&entry(0.0, Better::Lower), found(0.0, None)), Judgement::Kept);
        let higher = entry(2.0, Better::Higher);
        assert_eq!(judge(&higher, found(1.7, None)), Judgement::Worse);
        assert_eq!(judge(&higher, found(1.9, None)), Judgement::Kept);
        assert_eq!(judge(&higher, found(2.3, None)), Judgement::Better);
    }

    #[test]
    fn what_the_baseline_names_must_be_there() {
        let baseline =
            Baseline { counts: BTreeMap::from([("a".into(), entry(1.0, Better::Lower))]), ..Baseline::default() };
        let (table, failed) = hold(&baseline, &Measured::default(), false);
        assert!(failed && table.rows.len() == 1);
        let counted = Measured {
            counts: BTreeMap::from([("a".into(), found(1.0, None)), ("b".into(), found(9.0, None))]),
            ..Measured::default()
        };
        assert!(!hold(&baseline, &counted, true).1);
    }

    #[test]
    fn counts_are_read_and_times_are_refused() {
        let read = |text: &str| {
            let mut into = BTreeMap::new();
            counts(Path::new("c"), text, &mut into)
                .map(|()| into.into_iter().map(|(k, f)| (k, f.value)).collect::<Vec<_>>())
        };
        assert_eq!(
            read("# of the hot path\na 3\nb\t4.5 # remark\n").expect("counts"),
            [("a".into(), 3.0), ("b".into(), 4.5)]
        );
        assert_eq!(read("{\"a\": 3}").expect("counts"), [("a".into(), 3.0)]);
        for wrong in ["a", "a x", "publish_p99_ms 3", "{\"a\": \"b\"}", "a -1", "a NaN"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
