//! HdrHistogram's percentile output, as its own tools write and plot it. Values in milliseconds. The whole histogram, to its last
//! sample: a percentile that the count does not carry is left out of reports, not of this.

use crate::bench::result::Latency;
use std::fmt::Write;

const TICKS_A_HALF: u32 = 5;
const NANOS: f64 = 1e6;

pub fn write(latency: &Latency) -> String {
    let histogram = &latency.0;
    let mut out = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for step in histogram.iter_quantiles(TICKS_A_HALF) {
        let share = step.quantile_iterated_to();
        let value = step.value_iterated_to() as f64 / NANOS;
        let upto = histogram.count_between(0, step.value_iterated_to());
        let _ = write!(out, "{value:12.3} {share:2.12} {upto:10}");
        let _ = if share < 1.0 { writeln!(out, " {:14.2}", 1.0 / (1.0 - share)) } else { writeln!(out) };
    }
    let (mean, deviation) = (histogram.mean() / NANOS, histogram.stdev() / NANOS);
    let _ = writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ =
        writeln!(out, "#[Max     = {:12.3}, Total count    = {:12}]", histogram.max() as f64 / NANOS, histogram.len());
    // Three digits: 2,048 steps in each bucket, and as many buckets as it takes to double from there to the largest value.
    let (steps, unit) = (2048_u64, histogram.low().ilog2());
    let buckets = (1..64).find(|k| (steps << unit) << (k - 1) > histogram.high()).unwrap_or(64);
    let _ = writeln!(out, "#[Buckets = {buckets:12}, SubBuckets     = {steps:12}]");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_reads_back_as_the_histogram() {
        let mut latency = Latency::default();
        (1..=10_000_u64).for_each(|k| latency.record(k * 100_000));
        let text = write(&latency);
        let mut last = (0.0, 0.0, 0);
        let mut rows = 0;
        for line in text.lines().skip(2).filter(|line| !line.starts_with("#[")) {
            let fields: Vec<f64> = line.split_whitespace().map(|f| f.parse().expect("a number")).collect();
            assert_eq!(fields.len(), if fields[1] == 1.0 { 3 } else { 4 }, "{line}");
            let (value, share, count) = (fields[0], fields[1], fields[2] as u64);
            assert!(value >= last.0 && share >= last.1 && count >= last.2, "{line}");
            let expected = latency.0.value_at_quantile(share) as f64 / NANOS;
            assert!((value / expected - 1.0).abs() < 0.002, "{line}: {expected}");
            if let Some(beyond) = fields.get(3) {
                assert!((beyond * (1.0 - share) - 1.0).abs() < 0.01, "{line}");
            }
            (last, rows) = ((value, share, count), rows + 1);
        }
        assert!(rows > 40, "{rows}");
        assert_eq!((last.1, last.2), (1.0, 10_000));
        assert!(text.contains("Total count    =        10000]"), "{text}");
        assert!(
            text.lines().next().is_some_and(|l| l.trim() == "Value     Percentile TotalCount 1/(1-Percentile)"),
            "{text}"
        );
        assert!(!write(&Latency::default()).contains("NaN"));
    }
}
