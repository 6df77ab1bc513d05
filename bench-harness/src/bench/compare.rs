//! How two brokers compare, from runs that alternated: A1, B1, A2, B2, ... Neighbours share the machine's mood, so each figure is
//! compared pair by pair, and a verdict is given only where the pairs agree.
//!
//! For each figure the ratio A/B of each pair is taken; the answer is their geometric mean with a 95 % interval of Student's t on
//! the ratios' logarithms. A bootstrap of three to ten pairs would be too narrow: it knows no value beyond those drawn. The
//! interval is for one figure: of twenty figures of two equal brokers one is expected to look different.

use super::figures::{Better, FIGURES, Figure, Unit};
use super::result::RunResult;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Fewest pairs that can carry a verdict.
pub const PAIRS_MIN: usize = 3;
/// Ratios that lie within this of 1 are the same: histograms know three digits, and a rate that was asked for is met by both.
pub const SAME_WITHIN: f64 = 0.01;

/// One broker's side of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Side {
    pub label: String,
    pub software: String,
    pub durability: String,
    pub runs: usize,
    /// Of those, void.
    pub void: usize,
}

/// Values of one figure in the runs of one side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Runs that tell the figure. 0: each holds too few samples, all together hold enough.
    pub runs: usize,
    pub least: f64,
    pub median: f64,
    pub greatest: f64,
    /// A percentile of the runs' merged histograms; None for figures that are not latencies.
    pub merged: Option<f64>,
}

/// The ratio A/B, and where it lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
}

/// What may be said of A against B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Better,
    Worse,
    /// The whole interval is within [`SAME_WITHIN`] of 1.
    Same,
    /// The interval holds 1.
    Unclear,
    /// Fewer than [`PAIRS_MIN`] pairs of runs tell the figure.
    TooFew,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Same => "the same within 1 %",
            Verdict::Unclear => "the spread does not carry a verdict",
            Verdict::TooFew => "too few pairs of runs for a verdict",
        })
    }
}

/// One figure, compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// As in the table of figures.
    pub id: String,
    pub name: String,
    pub unit: Unit,
    pub better: Better,
    pub a: Option<Spread>,
    pub b: Option<Spread>,
    /// Pairs in which both runs tell the figure.
    pub pairs: usize,
    pub interval: Option<Interval>,
    pub verdict: Verdict,
}

/// Two brokers, one workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub workload: String,
    pub question: String,
    pub a: Side,
    pub b: Side,
    /// Pairs without a void run.
    pub pairs: usize,
    /// Figures that at least one side tells, in the order of the table of figures.
    pub rows: Vec<Row>,
    /// Figures that answer the workload's question, most telling first.
    pub key: Vec<String>,
    /// What the reader must know before any of it: void runs, differing durability, workloads that are not the same.
    pub warnings: Vec<String>,
}

impl Comparison {
    pub fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// Whether the two sides acknowledge at the same time.
    pub fn same_durability(&self) -> bool {
        self.a.durability == self.b.durability
    }
}

/// Compares paired runs. Void runs are left out with the run beside them, and told.
pub fn compare(a: &[RunResult], b: &[RunResult]) -> Comparison {
    let first = a.first().or(b.first());
    let mut warnings = Vec::new();
    for (side, runs) in [("A", a), ("B", b)] {
        for (k, run) in runs.iter().enumerate().filter(|(_, run)| run.is_void()) {
            let failed: Vec<_> =
                run.checks.iter().filter(|c| !c.passed).map(|c| format!("{}: {}", c.name, c.found)).collect();
            let who = format!("run {} of {} ({side})", k + 1, run.broker.label);
            warnings.push(format!("VOID: {who} is left out with the run beside it. {}", failed.join("; ")));
        }
    }
    if a.len() != b.len() {
        warnings.push(format!(
            "{} runs of A, {} of B: those without one beside them are left out of the ratios",
            a.len(),
            b.len()
        ));
    }
    if let Some(first) = first
        && a.iter().chain(b).any(|run| run.workload != first.workload)
    {
        warnings
            .push("the runs did not ask the same: their workloads differ, and so the ratios mean little".to_string());
    }
    let pairs: Vec<_> = a.iter().zip(b).filter(|(a, b)| !a.is_void() && !b.is_void()).collect();
    if pairs.len() < PAIRS_MIN {
        warnings.push(format!("{} valid pairs of runs; a verdict needs {PAIRS_MIN}", pairs.len()));
    }
    let (side_a, side_b) = (side(a), side(b));
    if side_a.durability != side_b.durability {
        let of = |side: &Side| format!("{} acknowledges when it is {}", side.label, side.durability);
        warnings.push(format!("the durability is not the same: {}, {}", of(&side_a), of(&side_b)));
    }
    Comparison {
        workload: first.map(|run| run.workload.name.clone()).unwrap_or_default(),
        question: first.map(|run| run.workload.question.clone()).unwrap_or_default(),
        a: side_a,
        b: side_b,
        pairs: pairs.len(),
        rows: FIGURES.iter().filter_map(|figure| row(figure, a, b, &pairs)).collect(),
        key: first
            .map(|run| super::figures::key(&run.workload))
            .unwrap_or_default()
            .iter()
            .map(|f| f.id.to_string())
            .collect(),
        warnings,
    }
}

fn side(runs: &[RunResult]) -> Side {
    let Some(first) = runs.first() else { return Side::default() };
    Side {
        label: first.broker.label.clone(),
        software: first.broker.software.clone(),
        durability: first.broker.durability.clone(),
        runs: runs.len(),
        void: runs.iter().filter(|run| run.is_void()).count(),
    }
}

/// None if neither side tells the figure.
fn row(figure: &Figure, a: &[RunResult], b: &[RunResult], pairs: &[(&RunResult, &RunResult)]) -> Option<Row> {
    let (spread_a, spread_b) = (spread(figure, a), spread(figure, b));
    if spread_a.is_none() && spread_b.is_none() {
        return None;
    }
    let both = pairs.iter().filter_map(|(a, b)| figure.of(a).zip(figure.of(b)));
    // There is no ratio to nothing.
    let ratios: Vec<f64> = both.filter(|(a, b)| *a > 0.0 && *b > 0.0).map(|(a, b)| a / b).collect();
    let interval = interval(&ratios);
    Some(Row {
        id: figure.id.to_string(),
        name: figure.name.to_string(),
        unit: figure.unit,
        better: figure.better,
        a: spread_a,
        b: spread_b,
        pairs: ratios.len(),
        interval,
        verdict: interval.map_or(Verdict::TooFew, |interval| verdict(interval, figure.better)),
    })
}

fn spread(figure: &Figure, runs: &[RunResult]) -> Option<Spread> {
    let valid = || runs.iter().filter(|run| !run.is_void());
    let merged = figure.merged(valid());
    let mut values: Vec<f64> = valid().filter_map(|run| figure.of(run)).collect();
    let runs = values.len();
    if values.is_empty() {
        values.extend(merged);
    }
    values.sort_by(f64::total_cmp);
    Some(Spread { runs, least: *values.first()?, median: median(&values), greatest: *values.last()?, merged })
}

/// Of sorted values, at least one.
pub fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

/// The geometric mean of ratios with its 95 % interval; None of fewer than [`PAIRS_MIN`].
pub fn interval(ratios: &[f64]) -> Option<Interval> {
    let n = ratios.len();
    if n < PAIRS_MIN {
        return None;
    }
    let logs: Vec<f64> = ratios.iter().map(|r| r.ln()).collect();
    let mean = logs.iter().sum::<f64>() / n as f64;
    let squares: f64 = logs.iter().map(|x| (x - mean).powi(2)).sum();
    let half = student_t(n - 1) * (squares / (n - 1) as f64).sqrt() / (n as f64).sqrt();
    Some(Interval { ratio: mean.exp(), low: (mean - half).exp(), high: (mean + half).exp() })
}

fn verdict(interval: Interval, better: Better) -> Verdict {
    let lower = match better {
        Better::Lower => Verdict::Better,
        Better::Higher => Verdict::Worse,
    };
    let higher = if lower == Verdict::Better { Verdict::Worse } else { Verdict::Better };
    match interval {
        Interval { low, high, .. } if low > 1.0 - SAME_WITHIN && high < 1.0 + SAME_WITHIN => Verdict::Same,
        Interval { high, .. } if high < 1.0 => lower,
        Interval { low, .. } if low > 1.0 => higher,
        _ => Verdict::Unclear,
    }
}

/// The 97.5 % quantile of Student's t.
fn student_t(freedom: usize) -> f64 {
    const TABLE: [f64; 20] = [
        12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604,
        2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    ];
    // Beyond the table by the expansion around the normal quantile, good to five digits there.
    let expanded = || {
        let (z, f) = (1.959_964_f64, freedom as f64);
        let [z3, z5, z7] = [3, 5, 7].map(|k| z.powi(k));
        z + (z3 + z) / (4.0 * f)
            + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * f.powi(2))
            + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * f.powi(3))
    };
    TABLE.get(freedom - 1).copied().unwrap_or_else(expanded)
}
