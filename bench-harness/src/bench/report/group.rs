//! Runs in the order of a report: a section for each workload, in it a group for each broker. Void runs stand apart: nothing is
//! drawn or merged from them.

use super::{Report, Roof};
use crate::bench::compare::Comparison;
use crate::bench::figures::{Figure, merge};
use crate::bench::result::{Latency, LoadResult, RunResult};
use crate::bench::workload::Workload;

/// Percentiles of tables.
pub const PERCENTILES: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 99.999];

/// One workload.
#[derive(Debug)]
pub struct Section<'a> {
    pub workload: &'a Workload,
    pub groups: Vec<Group<'a>>,
    pub comparisons: Vec<&'a Comparison>,
    pub roofs: Vec<&'a Roof>,
}

/// The runs of one broker, with their histograms merged.
#[derive(Debug)]
pub struct Group<'a> {
    pub label: &'a str,
    /// All, in their order.
    pub all: Vec<&'a RunResult>,
    /// Those whose figures may be used.
    pub valid: Vec<&'a RunResult>,
    pub publish: Latency,
    pub end_to_end: Latency,
    pub fetch: Latency,
}

/// Sections in the order of their first runs.
pub fn sections(report: &Report) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for run in &report.runs {
        let name = &run.workload.name;
        let at = sections.iter().position(|s| s.workload.name == *name).unwrap_or_else(|| {
            sections.push(Section {
                workload: &run.workload,
                groups: Vec::new(),
                comparisons: report.comparisons.iter().filter(|c| c.workload == *name).collect(),
                roofs: report.roofline.iter().filter(|r| r.workload == *name).collect(),
            });
            sections.len() - 1
        });
        let groups = &mut sections[at].groups;
        match groups.iter_mut().find(|g| g.label == run.broker.label) {
            Some(group) => group.all.push(run),
            None => groups.push(Group::new(run)),
        }
    }
    sections.iter_mut().flat_map(|s| &mut s.groups).for_each(Group::merge);
    sections
}

impl<'a> Group<'a> {
    fn new(run: &'a RunResult) -> Group<'a> {
        let none = Latency::default;
        let label = &run.broker.label;
        Group { label, all: vec![run], valid: Vec::new(), publish: none(), end_to_end: none(), fetch: none() }
    }

    fn merge(&mut self) {
        self.valid = self.all.iter().copied().filter(|run| !run.is_void()).collect();
        let of = |latency: fn(&LoadResult) -> &Latency| merge(self.valid.iter().map(|run| latency(&run.load)));
        (self.publish, self.end_to_end, self.fetch) =
            (of(|l| &l.publish.latency), of(|l| &l.end_to_end.latency), of(|l| &l.fetch.latency));
    }

    pub fn void(&self) -> usize {
        self.all.len() - self.valid.len()
    }

    /// Least, median and greatest value of a figure in the valid runs.
    pub fn spread(&self, figure: &Figure) -> Option<[f64; 3]> {
        let mut values: Vec<f64> = self.valid.iter().filter_map(|run| figure.of(run)).collect();
        values.sort_by(f64::total_cmp);
        Some([*values.first()?, crate::bench::compare::median(&values), *values.last()?])
    }

    /// The run in the middle by its publish p99 (or fetch p99 where nobody writes): the one that is drawn second by second.
    pub fn typical(&self) -> Option<&'a RunResult> {
        let mut runs = self.valid.clone();
        let by = |run: &RunResult| run.load.publish.latency.at(99.0).or(run.load.fetch.latency.at(99.0)).unwrap_or(0);
        runs.sort_by_key(|run| by(run));
        runs.get(runs.len().saturating_sub(1) / 2).copied()
    }
}

impl Section<'_> {
    /// Whether any valid run says something.
    pub fn any(&self, of: impl Fn(&RunResult) -> bool) -> bool {
        self.groups.iter().flat_map(|g| &g.valid).any(|run| of(run))
    }
}

/// One kind of operation, with its name in words and in file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Publish,
    EndToEnd,
    Fetch,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Publish, Kind::EndToEnd, Kind::Fetch];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Publish => "publish",
            Kind::EndToEnd => "end-to-end",
            Kind::Fetch => "fetch",
        }
    }

    /// What is measured, in a sentence.
    pub fn about(self) -> &'static str {
        match self {
            Kind::Publish => "From the planned send (open loop) or the send (closed loop) to the acknowledgement.",
            Kind::EndToEnd => "From the planned send of a record to its arrival at a consumer.",
            Kind::Fetch => "From a fetch request to its answer, of those that brought records.",
        }
    }

    pub fn of<'g>(self, group: &'g Group<'_>) -> &'g Latency {
        match self {
            Kind::Publish => &group.publish,
            Kind::EndToEnd => &group.end_to_end,
            Kind::Fetch => &group.fetch,
        }
    }

    pub fn of_run(self, run: &RunResult) -> &Latency {
        match self {
            Kind::Publish => &run.load.publish.latency,
            Kind::EndToEnd => &run.load.end_to_end.latency,
            Kind::Fetch => &run.load.fetch.latency,
        }
    }
}

/// Where a percentile is on HdrHistogram's axis: the logarithm of 1/(1 - share).
pub fn place(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

/// The curve of a histogram on that axis, as (place, nanoseconds), to where its count ends.
pub fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    const STEPS_A_DECADE: f64 = 40.0;
    let end = latency.0.len() as f64 / crate::bench::result::SAMPLES_BEYOND;
    if end < 1.0 {
        return Vec::new();
    }
    let steps = (end.log10() * STEPS_A_DECADE + 1e-9).floor() as usize;
    let points = (0..=steps).map(|k| k as f64 / STEPS_A_DECADE);
    points.filter_map(|x| Some((x, latency.at(100.0 * (1.0 - 10f64.powf(-x)))? as f64))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        values.into_iter().for_each(|v| latency.record(v));
        latency
    }

    #[test]
    fn a_curve_rises_and_ends_where_the_count_ends() {
        assert!(curve(&of([])).is_empty());
        assert!(curve(&of((1..10).map(|k| k * 1000))).is_empty());
        let points = curve(&of((1..=100_000).map(|k| k * 1000)));
        assert!(points.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1));
        // 10 of 100,000 samples lie beyond 99.99 %, which is at 4.
        assert!((points.last().expect("points").0 - 4.0).abs() < 1e-9);
        let at = |x: f64| points.iter().find(|p| (p.0 - x).abs() < 1e-9).expect("a point").1;
        assert!((at(1.0) / 90_000_000.0 - 1.0).abs() < 0.002);
        assert!((at(3.0) / 99_900_000.0 - 1.0).abs() < 0.002);
    }

    #[test]
    fn merged_percentiles_are_those_of_all_samples_together() {
        let (mut all, mut parts) = (Vec::new(), Vec::new());
        let mut state = 7_u64;
        for part in 0..5_u64 {
            let mut values = Vec::new();
            for _ in 0..4000 + part * 3000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Parts of different ranges: an average of their percentiles would be far off.
                values.push(1_000 + (state >> 40) % (10_000 * 7_u64.pow(part as u32)));
            }
            parts.push(of(values.iter().copied()));
            all.extend(values);
        }
        all.sort_unstable();
        let merged = merge(&parts);
        assert_eq!(merged.0.len(), all.len() as u64);
        for percentile in [50.0, 90.0, 99.0, 99.9] {
            let exact = all[((all.len() as f64 * percentile / 100.0).ceil() as usize).clamp(1, all.len()) - 1] as f64;
            let told = merged.at(percentile).expect("enough samples") as f64;
            assert!((told / exact - 1.0).abs() < 0.002, "p{percentile}: {told} against {exact}");
        }
        assert_eq!(merged.at(99.99), None);
    }
}
