//! What the broker said at one moment, and what changed between two.

use crate::prometheus::{self, Sample};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, Instant};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The labels that tell a series from others of its name.
type Labels = Vec<(String, String)>;

/// Everything that was told at one moment, by name.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    series: HashMap<String, Vec<(Labels, f64)>>,
}

impl Snapshot {
    pub(super) fn new(at: Instant, samples: Vec<Sample>) -> Snapshot {
        let mut series: HashMap<String, Vec<(Labels, f64)>> = HashMap::new();
        for Sample { name, labels, value } in samples {
            series.entry(name).or_default().push((labels, value));
        }
        Snapshot { at, series }
    }

    /// Asks a broker's endpoint at `base` (`http://HOST:PORT`) for its figures, and for those of one more page if the view shows it.
    pub(super) fn take(base: &str, page: Option<&str>) -> io::Result<Snapshot> {
        let at = Instant::now();
        let mut samples = prometheus::scrape(&format!("{base}/metrics"), PATIENCE)?;
        if let Some(page) = page {
            samples.extend(prometheus::scrape(&format!("{base}/{page}"), PATIENCE)?);
        }
        Ok(Snapshot::new(at, samples))
    }

    fn of(&self, name: &str) -> &[(Labels, f64)] {
        self.series.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum of a metric's series that have these labels; None if there is none.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |series: &Labels, (l, v): &(&str, &str)| series.iter().any(|(label, value)| label == l && value == v);
        let found = self.of(name).iter().filter(|(series, _)| labels.iter().all(|wanted| has(series, wanted)));
        found.map(|(_, value)| *value).reduce(|a, b| a + b)
    }

    /// The first series of a metric, one of its labels.
    pub(super) fn word(&self, name: &str, label: &str) -> Option<&str> {
        let (labels, _) = self.of(name).first()?;
        labels.iter().find(|(l, _)| l == label).map(|(_, value)| value.as_str())
    }

    /// A metric's values, summed up by some of its labels, in their order.
    pub(super) fn by(&self, name: &str, labels: &[&str]) -> BTreeMap<Vec<String>, f64> {
        let mut sums = BTreeMap::new();
        for (series, value) in self.of(name) {
            let key = labels.iter().map(|wanted| {
                series.iter().find(|(label, _)| label == wanted).map_or(String::new(), |(_, value)| value.clone())
            });
            *sums.entry(key.collect()).or_insert(0.0) += value;
        }
        sums
    }
}

/// Two moments, and what counters did between them.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) before: Option<&'a Snapshot>,
    pub(super) now: &'a Snapshot,
}

impl Change<'_> {
    fn seconds(&self) -> Option<f64> {
        let seconds = self.now.at.duration_since(self.before?.at).as_secs_f64();
        (seconds > 0.0).then_some(seconds)
    }

    /// What a counter grew by each second; None before there were two moments, or where the broker was started between them.
    pub(super) fn rate(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let grown = self.now.sum(name, labels)? - self.before?.sum(name, labels).unwrap_or(0.0);
        (grown >= 0.0).then_some(grown / self.seconds()?)
    }

    /// The rates of a counter's sums by labels.
    pub(super) fn rates(&self, name: &str, labels: &[&str]) -> BTreeMap<Vec<String>, f64> {
        let Some((before, seconds)) = self.before.zip(self.seconds()) else { return BTreeMap::new() };
        let before = before.by(name, labels);
        let grown = self.now.by(name, labels).into_iter().filter_map(|(key, now)| {
            let grown = now - before.get(&key)?;
            (grown >= 0.0).then_some((key, grown / seconds))
        });
        grown.collect()
    }

    /// A percentile (0 to 1) of what went into a histogram between the two moments: the upper bound of the bucket it is in, which
    /// may be infinite.
    pub(super) fn quantile(&self, name: &str, labels: &[(&str, &str)], quantile: f64) -> Option<f64> {
        let bucket = format!("{name}_bucket");
        let mut grown: Vec<(f64, f64)> = Vec::new();
        for bound in self.now.by(&bucket, &["le"]).into_keys().filter_map(|mut key| key.pop()) {
            let wanted: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            let count = self.now.sum(&bucket, &wanted)? - self.before?.sum(&bucket, &wanted).unwrap_or(0.0);
            grown.push((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, count));
        }
        grown.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = grown.last()?.1;
        (all > 0.0).then(|| grown.iter().find(|(_, count)| *count >= all * quantile).map(|(bound, _)| *bound))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(at: Instant, page: &str) -> Snapshot {
        Snapshot::new(at, prometheus::parse(page).expect("the page is sound"))
    }

    #[test]
    fn rates_and_quantiles_are_of_what_changed() {
        let begun = Instant::now();
        let page = |a: u32, low: u32, all: u32| {
            format!(
                "r_total{{core=\"0\"}} {a}\nr_total{{core=\"1\"}} 5\n\
                 t_bucket{{core=\"0\",le=\"0.1\"}} {low}\nt_bucket{{core=\"0\",le=\"2\"}} {all}\nt_bucket{{core=\"0\",le=\"+Inf\"}} {all}\n"
            )
        };
        let before = snapshot(begun, &page(10, 100, 100));
        let now = snapshot(begun + Duration::from_secs(2), &page(30, 190, 200));
        let change = Change { before: Some(&before), now: &now };
        assert_eq!(change.rate("r_total", &[]), Some(10.0));
        assert_eq!(change.rate("r_total", &[("core", "1")]), Some(0.0));
        assert_eq!(change.rate("none", &[]), None);
        assert_eq!(change.rates("r_total", &["core"])[&vec!["0".to_string()]], 10.0);
        assert_eq!(change.quantile("t", &[("core", "0")], 0.5), Some(0.1));
        assert_eq!(change.quantile("t", &[("core", "0")], 0.99), Some(2.0));
        let restarted = Change { before: Some(&now), now: &snapshot(begun + Duration::from_secs(4), &page(1, 0, 0)) };
        assert_eq!(restarted.rate("r_total", &[("core", "0")]), None);
        assert_eq!(restarted.quantile("t", &[], 0.5), None);
        assert_eq!(Change { before: None, now: &now }.rate("r_total", &[]), None);
    }
}
