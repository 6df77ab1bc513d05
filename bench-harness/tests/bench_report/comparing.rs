//! What a comparison says of runs whose figures are known.

use crate::samples::{self, KAFKA, OURS};
use ringlog_bench_harness::bench::compare::{Verdict, compare, interval};
use ringlog_bench_harness::bench::result::{Latency, RunResult};

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-4, "{found}, not {expected}");
}

#[test]
fn intervals_are_those_computed_by_hand() {
    // exp of the mean of logs, and of it more and less 4.30265 (2.77645 of five) times their deviation by the root of their number.
    let three = interval(&[0.5, 0.6, 0.55]).expect("three are enough");
    near(three.ratio, 0.548_481);
    near(three.low, 0.437_299);
    near(three.high, 0.687_929);
    let five = interval(&[1.2, 1.3, 1.1, 1.25, 1.15]).expect("five are enough");
    near(five.ratio, 1.197_912);
    near(five.low, 1.103_616);
    near(five.high, 1.300_266);
    assert_eq!(interval(&[0.5, 0.6]), None);
    // Beyond the table of quantiles: 2.0796 for 21 degrees of freedom.
    let many: Vec<f64> = (0..22).map(|k| if k % 2 == 0 { 1.0_f64.exp() } else { 1.0 }).collect();
    let found = interval(&many).expect("many are enough");
    near(found.high.ln() - 0.5, 2.0796 * (22.0_f64 * 0.25 / 21.0).sqrt() / 22.0_f64.sqrt());
}

/// Runs whose bytes to the device are known: nothing else differs.
fn with_device_bytes(values: &[u64]) -> Vec<RunResult> {
    let mut runs = samples::runs(&samples::workload("w"), OURS, values.len() as u64);
    for (run, bytes) in runs.iter_mut().zip(values) {
        run.broker_use.as_mut().expect("usage").device_written_bytes = Some(*bytes);
    }
    runs
}

#[test]
fn a_clear_difference_is_told_and_an_unclear_one_is_not() {
    let base = with_device_bytes(&[100_000, 200_000, 300_000]);
    let of = |values: &[u64]| {
        let found = compare(&with_device_bytes(values), &base);
        found.row("device_per_byte").expect("a row").clone()
    };
    // Halves, though the runs of each side differ threefold: it is neighbours that are compared.
    let half = of(&[50_000, 101_000, 149_000]);
    assert_eq!((half.verdict, half.pairs), (Verdict::Better, 3));
    near(half.interval.expect("an interval").ratio, (0.5_f64 * 0.505 * 149.0 / 300.0).powf(1.0 / 3.0));
    assert_eq!(of(&[200_000, 410_000, 590_000]).verdict, Verdict::Worse);
    assert_eq!(of(&[50_000, 300_000, 300_000]).verdict, Verdict::Unclear);
    // Of what is better when higher, less is worse.
    let slow = samples::Like { rate: 5_000.0, ..KAFKA };
    let asked = samples::workload("w");
    let found = compare(&samples::runs(&asked, slow, 3), &samples::runs(&asked, OURS, 3));
    assert_eq!(found.row("acked_rate").expect("a row").verdict, Verdict::Worse);
    assert_eq!(found.row("publish_p99").expect("a row").verdict, Verdict::Worse);
}

#[test]
fn equal_runs_bring_no_verdict() {
    let runs = samples::runs(&samples::workload("w"), OURS, 5);
    let found = compare(&runs, &runs);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    assert!(found.rows.len() > 20);
    for row in &found.rows {
        assert_eq!(row.verdict, Verdict::Same, "{}", row.name);
    }
}

#[test]
fn too_few_pairs_bring_no_verdict() {
    let asked = samples::workload("w");
    let found = compare(&samples::runs(&asked, OURS, 2), &samples::runs(&asked, KAFKA, 2));
    assert!(found.rows.iter().all(|row| row.verdict == Verdict::TooFew && row.interval.is_none()));
    assert!(found.warnings.iter().any(|w| w.contains("2 valid pairs")), "{:?}", found.warnings);
    assert_eq!(compare(&[], &[]).rows.len(), 0);
}

#[test]
fn a_void_run_is_left_out_with_its_neighbour_and_told() {
    let asked = samples::workload("w");
    let (a, mut b) = (samples::runs(&asked, OURS, 4), samples::runs(&asked, KAFKA, 4));
    let whole = compare(&a, &b);
    samples::void(&mut b[1]);
    // Figures that would change everything, were they used.
    let mut wild = Latency::default();
    (0..100_000).for_each(|_| wild.record(30_000_000_000));
    b[1].load.publish.latency = wild;
    let found = compare(&a, &b);
    assert_eq!((whole.pairs, found.pairs, found.b.void), (4, 3, 1));
    assert!(
        found.warnings.iter().any(|w| w.contains("VOID: run 2 of kafka") && w.contains("never arrived")),
        "{:?}",
        found.warnings
    );
    let row = found.row("publish_p99").expect("a row");
    assert_eq!((row.verdict, row.pairs), (Verdict::Better, 3));
    let (spread_a, spread_b) = (row.a.expect("a side"), row.b.expect("a side"));
    assert_eq!((spread_a.runs, spread_b.runs), (4, 3));
    assert!(spread_b.greatest < 1e9 && spread_b.merged.is_some_and(|m| m < 1e9), "{spread_b:?}");
}

#[test]
fn what_the_count_does_not_carry_is_absent() {
    let asked = samples::workload("w");
    let (mut a, b) = (samples::runs(&asked, OURS, 3), samples::runs(&asked, KAFKA, 3));
    for run in &mut a {
        let mut few = Latency::default();
        (1..=5_000_u64).for_each(|k| few.record(k * 1000));
        run.load.publish.latency = few;
    }
    let found = compare(&a, &b);
    let row = found.row("publish_p999").expect("told of one side");
    // 5,000 samples carry no p99.9; the 15,000 of all runs do.
    let told = row.a.expect("merged");
    assert_eq!((told.runs, row.pairs, row.verdict), (0, 0, Verdict::TooFew));
    near(told.merged.expect("merged"), 4_995_000.0 * 1.0005);
    assert!(found.row("publish_p9999").expect("told of one side").a.is_none());
}

#[test]
fn what_differs_beside_the_broker_is_told() {
    let asked = samples::workload("w");
    let (a, mut b) = (samples::runs(&asked, OURS, 4), samples::runs(&asked, KAFKA, 3));
    b[0].workload.producers.rate = None;
    let found = compare(&a, &b);
    for expected in ["4 runs of A, 3 of B", "workloads differ", "durability is not the same"] {
        assert!(found.warnings.iter().any(|w| w.contains(expected)), "{expected}: {:?}", found.warnings);
    }
}
