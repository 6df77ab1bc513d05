//! kill -9 under load, a few times: nothing that was acknowledged is lost, moved, doubled or invented. `ringlog-crash` does the same
//! for as long as it is told.

use ringlog_bench_harness::crash::{Plan, run};

fn survives(plan: Plan) {
    let cycles = plan.cycles;
    let outcome = run(plan, |_, _| {}).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(outcome.kills >= cycles && outcome.records > 0 && outcome.commits > 0, "{outcome:?}");
}

#[test]
fn kill_under_load() {
    survives(Plan { cycles: 6, seed: 11, ..Plan::default() });
}

/// Segments as small as they may be: kills hit rolls, new files and their recovery.
#[test]
fn kill_while_segments_roll() {
    let overrides = vec!["log.segment.bytes=1048576".to_string()];
    survives(Plan { cycles: 4, seed: 12, partitions: 2, overrides, ..Plan::default() });
}

/// Many partitions, little in each.
#[test]
fn kill_with_many_partitions() {
    survives(Plan { cycles: 3, seed: 13, partitions: 100, ..Plan::default() });
}
