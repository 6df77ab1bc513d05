//! Stock clients under a broker that is killed, stopped, and whose clock is stepped; `ringlog-referee trial` does the same for long.

use ringlog_bench_harness::referee::Finding;
use ringlog_bench_harness::stock::{Plan, run};

#[test]
fn stock_clients_are_told_the_truth() {
    let plan = Plan { rounds: 6, seed: 3, ..Plan::default() };
    let Some(ran) = run(&plan, |_| {}) else { return };
    let outcome = ran.unwrap_or_else(|fault| panic!("{fault}"));
    let verdict = &outcome.verdict;
    let shown = verdict.explain(|_| None);
    assert_eq!(verdict.finding(), Finding::Valid, "{}\n{shown}", outcome.history.display());
    assert!(outcome.kills > 0 && outcome.pauses > 0 && outcome.steps > 0, "{outcome:?}");
    assert!(verdict.counts.acknowledged > 1000 && verdict.counts.read > 1000, "{shown}");
}
