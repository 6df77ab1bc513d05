//! The load of `ringlog bench`: against real brokers, and against one that lies, stalls and talks nonsense.

mod fake;
mod lies;
mod real;

use ringlog_bench_harness::bench::load::{Driver, Event, Options, Outcome, Phase, Target, run};
use ringlog_bench_harness::bench::result::Check;
use ringlog_bench_harness::bench::workload::Workload;
use std::net::SocketAddr;

/// A run of a workload with one client core, and the phases it went through.
fn load(workload: &Workload, addr: SocketAddr, driver: Driver) -> Result<Outcome, String> {
    load_on(workload, addr, driver, vec![1])
}

/// As [`load`], with client cores on these CPUs.
fn load_on(workload: &Workload, addr: SocketAddr, driver: Driver, cpus: Vec<usize>) -> Result<Outcome, String> {
    let options = Options { driver, cpus, seed: 7 };
    let mut phases = Vec::new();
    let mut observe = |event: Event<'_>| {
        if let Event::Phase(phase, _) = event {
            phases.push(phase);
        }
    };
    let outcome = run(workload, &Target { bootstrap: vec![addr] }, &options, &mut observe);
    phases.dedup();
    assert_eq!(phases[0], Phase::Prepare);
    if outcome.is_ok() {
        assert!(phases.ends_with(&[Phase::Warmup, Phase::Measure, Phase::Finish]), "{phases:?}");
    }
    outcome.map_err(|failure| failure.to_string())
}

/// A check by its name.
fn check<'a>(outcome: &'a Outcome, name: &str) -> &'a Check {
    outcome.checks.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no check {name}: {:?}", outcome.checks))
}

/// Checks whose outcome a busy machine can change: what they find is no fault of broker or load.
const OF_THE_MACHINE: [&str; 2] = ["client saturation", "schedule lag"];

/// Every check of the records passed.
fn sound(outcome: &Outcome) {
    for check in outcome.checks.iter().filter(|c| !OF_THE_MACHINE.contains(&c.name.as_str())) {
        assert!(check.passed, "{}: {}\n{:?}", check.name, check.found, outcome.checks);
    }
}
