//! The broker's own histograms out of the metrics that a result keeps (`name_bucket{...,le="0.001"}`), summed over cores and runs.

use super::group::Group;
use std::collections::BTreeMap;

/// A histogram by the upper ends of its buckets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets {
    /// Upper end, and samples in this bucket alone; ascending, the last may be infinite.
    pub counts: Vec<(f64, f64)>,
    pub sum: f64,
    pub count: f64,
}

impl Buckets {
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    /// The upper end of the bucket that holds a percentile; infinite if it is beyond all of them.
    pub fn at_most(&self, percentile: f64) -> Option<f64> {
        let wanted = self.count * percentile / 100.0;
        let mut seen = 0.0;
        self.counts.iter().find_map(|(end, count)| {
            seen += count;
            (self.count > 0.0 && seen >= wanted).then_some(*end)
        })
    }
}

/// The value of a label in a series such as `name{core="0",le="0.5"}`.
fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let inside = series.split_once('{')?.1;
    let marked = format!("{name}=\"");
    let at = inside.find(&marked).filter(|at| *at == 0 || inside[..*at].ends_with([',', ' ']))?;
    inside[at + marked.len()..].split('"').next()
}

fn base(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

/// The histogram of that name; None if no run has it, or nothing was counted.
pub fn histogram(group: &Group<'_>, name: &str) -> Option<Buckets> {
    // By the bits of the upper ends, which sort as the numbers do: none is negative.
    let mut cumulated: BTreeMap<u64, f64> = BTreeMap::new();
    let mut all = Buckets::default();
    for (series, value) in group.valid.iter().flat_map(|run| &run.metrics) {
        match base(series).strip_prefix(name) {
            Some("_bucket") => {
                let end = label(series, "le").map(|le| le.trim_start_matches('+').to_lowercase());
                let Some(end) = end.and_then(|le| le.parse::<f64>().ok()).filter(|end| *end >= 0.0) else { continue };
                *cumulated.entry(end.to_bits()).or_default() += value;
            }
            Some("_sum") => all.sum += value,
            Some("_count") => all.count += value,
            _ => {}
        }
    }
    let mut below = 0.0;
    for (end, upto) in cumulated {
        all.counts.push((f64::from_bits(end), (upto - below).max(0.0)));
        below = upto.max(below);
    }
    (all.count > 0.0 && !all.counts.is_empty()).then_some(all)
}

/// Sums a counter by the values of one label, over everything else.
pub fn by_label(group: &Group<'_>, name: &str, key: &str) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for (series, value) in group.valid.iter().flat_map(|run| &run.metrics).filter(|(series, _)| base(series) == name) {
        if let Some(of) = label(series, key) {
            *found.entry(of.to_string()).or_default() += value;
        }
    }
    found
}
