//! `ringlog bench versus-kafka`: from a clone to a report in one command. Brings up a Ringlog and a real Kafka on the same CPU, one
//! after the other of a few workloads, each at a durability that is said in its name: the same on both sides, or each broker's own
//! default, which is not the same and never called so.

use super::compare::{bring, in_turn, series};
use super::{Common, publish, stand_aside, tell_void, told_command};
use crate::bench::Failure;
use crate::bench::brokers::identity::Durability;
use crate::bench::brokers::{Spec, Wish, kafka, own_cpus};
use crate::bench::compare::compare;
use crate::bench::report::Report;
use crate::bench::workloads;
use std::process::ExitCode;

/// What is run unless told, and which of it with `--quick`.
const CONTESTS: &[(&str, Durability, bool)] = &[
    ("small-requests", Durability::NotFlushed, true),
    ("small-requests", Durability::Flushed, false),
    ("batches", Durability::Flushed, true),
    ("batches", Durability::NotFlushed, false),
    ("steady", Durability::NotFlushed, false),
    ("steady", Durability::AsSet, true),
    ("tail-fetch", Durability::AsSet, true),
];
const RUNS: u32 = 5;
const RUNS_QUICK: u32 = 3;

/// Compare a Ringlog with a real Kafka, both started here.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Workloads to run at the same durability, and as each broker is set; by default a few.
    #[arg(long, value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Version of Kafka.
    #[arg(long, default_value = kafka::VERSION)]
    pub kafka: String,
    /// Runs of each, in turn: 5, or 3 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: Option<u32>,
    /// A setting for the Ringlog; may be given again.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// A setting for the Kafka; may be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub kafka_override: Vec<String>,
    #[command(flatten)]
    pub common: Common,
}

/// A class in a workload's name.
fn suffix(durability: Durability) -> &'static str {
    match durability {
        Durability::AsSet => "defaults",
        Durability::Flushed => "flushed",
        Durability::NotFlushed => "not-flushed",
    }
}

/// Which workloads at which durability.
fn contests(args: &Args) -> Vec<(String, Durability)> {
    let quick = args.common.chosen.quick;
    if args.workloads.is_empty() {
        let chosen = CONTESTS.iter().filter(|(_, _, in_quick)| *in_quick || !quick);
        return chosen.map(|(name, durability, _)| (name.to_string(), *durability)).collect();
    }
    let classes: &[Durability] = match quick {
        true => &[Durability::NotFlushed],
        false => &[Durability::Flushed, Durability::NotFlushed, Durability::AsSet],
    };
    args.workloads.iter().flat_map(|name| classes.iter().map(move |class| (name.clone(), *class))).collect()
}

/// Does it.
pub fn command(args: &Args) -> Result<ExitCode, Failure> {
    let common = &args.common;
    let contests: Vec<_> = contests(args)
        .into_iter()
        .map(|(name, durability)| {
            let mut asked = workloads::find(&name, &common.chosen)?;
            asked.workload.name = format!("{}-{}", asked.workload.name, suffix(durability));
            Ok((asked, durability))
        })
        .collect::<Result<_, Failure>>()?;
    let own = own_cpus();
    let wish = |spec: Spec, overrides: &[String]| Wish {
        label: spec.label(),
        spec,
        overrides: overrides.to_vec(),
        cpus: common.for_brokers(&own),
        home: common.data_home(),
        who: None,
        metrics: None,
        heap: common.heap.clone(),
    };
    // The jars first: what cannot be had is told before anything else is started.
    kafka::fetch(&args.kafka)?;
    let mut pair =
        bring(wish(Spec::Ringlog(None), &args.overrides), wish(Spec::Kafka(args.kafka.clone()), &args.kafka_override))?;
    let clients = common.for_clients(&own, &pair.cpus());
    stand_aside(&clients)?;
    let dir = common.folder("versus-kafka")?;
    let runs = args.runs.unwrap_or(if common.chosen.quick { RUNS_QUICK } else { RUNS });
    let mut report = Report {
        title: format!("Ringlog against Apache Kafka {}", args.kafka),
        notes: vec![told_command()],
        ..Report::default()
    };
    for (asked, durability) in &contests {
        let plan = common.plan(asked, *durability, clients.clone());
        let (a, b) = series(&mut pair, &plan, runs, common.chosen.quick, &dir)?;
        let comparison = compare(&a, &b);
        if !comparison.same_durability() {
            report.notes.push(format!(
                "{}: an acknowledgement is not worth the same: {} is {}, {} is {}",
                asked.workload.name,
                comparison.a.label,
                comparison.a.durability,
                comparison.b.label,
                comparison.b.durability
            ));
        }
        report.runs.extend(in_turn(&a, &b));
        report.comparisons.push(comparison);
    }
    drop(pair);
    publish(&dir, &report)?;
    Ok(if tell_void(&report.runs) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
