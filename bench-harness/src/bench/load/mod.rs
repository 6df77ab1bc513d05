//! The load: clients that speak Kafka's protocol from a few pinned cores, and check what they get.

use super::result::{Check, LoadResult, Second};
use std::net::SocketAddr;

/// The broker to ask.
#[derive(Debug, Clone)]
pub struct Target {
    pub bootstrap: Vec<SocketAddr>,
}

/// What drives the clients' sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Driver {
    /// Executors of the glommio crate, one a core.
    Glommio,
    /// The broker's own ring, one a core.
    Ring,
}

/// How the load is run, apart from what it asks.
#[derive(Debug, Clone)]
pub struct Options {
    pub driver: Driver,
    /// One client core on each of these CPUs.
    pub cpus: Vec<usize>,
    /// Where the random choices (sizes, keys, contents) start.
    pub seed: u64,
}

/// What is told while it runs, on the thread that called [`run`].
#[derive(Debug)]
pub enum Event<'a> {
    /// A part of the run begins: topics are made, connections opened, warm-up, measuring, draining, ...
    Phase(Phase, &'a str),
    /// A second has passed.
    Second(&'a Second),
}

/// Parts of a run that whoever watches a broker beside it must tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Prepare,
    Warmup,
    /// Figures count from here,
    Measure,
    /// to here.
    Finish,
}

/// What a run brought.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub load: LoadResult,
    /// The checks that the load can make by itself: saturation, lag, lost, doubled, reordered records, errors.
    pub checks: Vec<Check>,
    pub caveats: Vec<String>,
}

/// Runs a workload.
pub fn run(
    _: &super::workload::Workload,
    _: &Target,
    _: &Options,
    _: &mut dyn FnMut(Event),
) -> Result<Outcome, super::Failure> {
    Err(super::Failure("no load yet".to_string()))
}
