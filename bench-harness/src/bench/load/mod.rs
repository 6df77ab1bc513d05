//! The load: clients that speak Kafka's protocol from a few pinned cores, and check what they get.
//!
//! A [`plan`] is made with a few blocking questions ([`prepare`]); each client core ([`core`]) is a set of state machines without sockets
//! ([`writer`], [`reader`], [`member`], [`transact`]) that a driver ([`ring`], [`executor`]) moves bytes for; the [`conduct`]or tells them
//! what to do and when; the end is a [`judge`]ment.

mod batch;
mod clock;
mod codec;
mod conduct;
mod core;
mod draw;
mod executor;
mod judge;
mod member;
mod pace;
mod plan;
mod prepare;
mod reader;
mod ring;
mod seen;
mod tally;
mod transact;
mod wire;
mod writer;

use self::conduct::{Conductor, Report};
use self::core::ClientCore;
use self::plan::{Plan, Progress};
use self::prepare::Broker;
use super::Failure;
use super::result::{Check, LoadResult, Second};
use super::workload::Workload;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

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

/// Asks what the workload says of the broker, and tells what came back. Pins threads of its own to `options.cpus`; the calling thread
/// conducts, and mostly sleeps. A run that cannot be had is a [`Failure`]; one that is not to be trusted has checks that failed.
pub fn run(
    workload: &Workload,
    target: &Target,
    options: &Options,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, Failure> {
    refuse_nonsense(workload, options)?;
    raise_descriptors();
    observe(Event::Phase(Phase::Prepare, "making topics"));
    let mut broker = Broker::find(target, workload)?;
    let plan = Arc::new(broker.prepare(workload, options)?);
    let outcome = with_cores(&plan, options, &mut broker, observe);
    broker.delete_topics(&plan);
    let mut outcome = outcome?;
    outcome.caveats.append(&mut broker.caveats);
    Ok(outcome)
}

fn with_cores(
    plan: &Arc<Plan>,
    options: &Options,
    broker: &mut Broker,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, Failure> {
    let progress = Arc::new(Progress::new(plan));
    let (reports, from_cores) = channel();
    let base = clock::now();
    let start = |(number, cpu): (usize, &usize)| {
        let core = ClientCore::new(plan.clone(), progress.clone(), number, base, reports.clone());
        start_core(core, options.driver, *cpu, number, reports.clone())
    };
    let threads: Vec<JoinHandle<()>> = options.cpus.iter().enumerate().map(start).collect();
    drop(reports);
    let mut conductor = Conductor::new(plan.clone(), progress.clone(), from_cores, base, observe);
    let conducted = conductor.conduct(broker);
    if conducted.is_err() {
        conductor.give_up();
    }
    for thread in threads {
        if thread.join().is_err() {
            return Err(Failure("a client core panicked".to_string()));
        }
    }
    conducted?;
    Ok(judge::judge(conductor, options.driver, &options.cpus))
}

fn start_core(core: ClientCore, driver: Driver, cpu: usize, number: usize, reports: Sender<Report>) -> JoinHandle<()> {
    let body = move || {
        // A CPU that cannot be had is seen by its load; timers are as sharp as the kernel has them.
        core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
        let _ = nix::sys::prctl::set_timerslack(1);
        let end = match driver {
            Driver::Glommio => executor::run(core),
            Driver::Ring => ring::run(core),
        };
        let _ = reports.send(Report::Ended(Box::new(end)));
    };
    std::thread::Builder::new().name(format!("client-{number}")).spawn(body).expect("a thread for a client core")
}

fn refuse_nonsense(workload: &Workload, options: &Options) -> Result<(), Failure> {
    let refuse = |what: &str| Err(Failure(format!("workload {}: {what}", workload.name)));
    if options.cpus.is_empty() {
        return Err(Failure("no CPU was named for the clients".to_string()));
    }
    if workload.topics.partitions == 0 || workload.topics.count == 0 {
        return refuse("there must be a topic and a partition");
    }
    let consumers = &workload.consumers;
    if consumers.groups > 0 && consumers.count == 0 {
        return refuse("groups need consumers");
    }
    if consumers.from == super::workload::From::Tail && consumers.groups > 0 && workload.backlog.is_none() {
        return refuse("reading the tail again and again needs a backlog to read");
    }
    if workload.producers.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return refuse("the rate must be above 0");
    }
    if workload.ramp.is_some() && workload.producers.count == 0 {
        return refuse("a ramp needs producers");
    }
    let connections = &workload.connections;
    let busy = workload.producers.count > 0 || consumers.groups > 0;
    if !busy && connections.idle == 0 && connections.churn_rate <= 0.0 && workload.backlog.is_none() {
        return refuse("there is nothing to do");
    }
    Ok(())
}

/// As many descriptors as may be had: connections are many.
fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it is refused, connecting says what is missing.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// An error code of the protocol, as people know it.
fn named(code: i16) -> String {
    ringlog_engine::ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |known| known.to_string())
}
