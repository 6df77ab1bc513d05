//! `ringlog bench compare`: two brokers, run in turn.
//!
//! Both run from the begin to the end, as a process that starts for each run would be measured cold: a Java broker needs many
//! seconds to compile what is hot, and each one its page cache and memory. So each gets a short run first that is thrown away,
//! and each run has topics of its own. The one that is not measured is stopped (SIGSTOP), so that it takes no processor time from the
//! other, and what the one before wrote is flushed before the next begins. A broker that was not started here cannot be stopped;
//! that is told.

use super::live::Live;
use super::{Common, publish, save, settle, stand_aside, tell_void, told_command};
use crate::bench::Failure;
use crate::bench::brokers::identity::Durability;
use crate::bench::brokers::{Broker, Spec, Wish, own_cpus};
use crate::bench::compare::{Comparison, compare};
use crate::bench::load;
use crate::bench::measure::{self, Plan};
use crate::bench::report::Report;
use crate::bench::result::RunResult;
use crate::bench::workload::{From, Workload};
use crate::bench::workloads;
use std::path::Path;
use std::process::ExitCode;

/// Compare two brokers, run in turn.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// HOST:PORT of a broker that runs; ringlog, ringlog=PROGRAM, kafka or kafka=VERSION start one.
    pub a: Spec,
    /// As A.
    pub b: Spec,
    /// A workload that ships, a TOML file, or a YAML file of the OpenMessaging Benchmark.
    #[arg(long, short)]
    pub workload: String,
    /// Runs of each, in turn: A, B, A, B, ...
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// A's name in reports.
    #[arg(long)]
    pub a_label: Option<String>,
    /// B's name in reports.
    #[arg(long)]
    pub b_label: Option<String>,
    /// A setting for A, if it is started; may be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub a_override: Vec<String>,
    /// A setting for B, if it is started; may be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub b_override: Vec<String>,
    /// When topics of the runs are to be acknowledged, on both sides.
    #[arg(long, value_enum, default_value = "as-set")]
    pub durability: Durability,
    #[command(flatten)]
    pub common: Common,
}

/// Two brokers that are measured in turn.
pub struct Pair {
    pub a: Broker,
    pub b: Broker,
}

/// Brings both. Their names differ, so that reports tell them apart.
pub fn bring(a: Wish, b: Wish) -> Result<Pair, Failure> {
    let (mut a, mut b) = (a, b);
    if a.label == b.label {
        a.label.push_str("-a");
        b.label.push_str("-b");
    }
    let mut first = Broker::bring(&a)?;
    first.pause()?;
    let mut second = Broker::bring(&b)?;
    second.pause()?;
    let stays = |other: &Broker| format!("{} was not stopped meanwhile: it was not started here", other.label);
    let (of_first, of_second) = (stays(&first), stays(&second));
    if first.addr == second.addr {
        let same = format!("{} and {} are one broker: what differs is chance", first.label, second.label);
        first.caveats.push(same);
        return Ok(Pair { a: first, b: second });
    }
    first.caveats.extend((!second.is_ours()).then_some(of_second));
    second.caveats.extend((!first.is_ours()).then_some(of_first));
    Ok(Pair { a: first, b: second })
}

impl Pair {
    /// CPUs that neither client may be on.
    pub fn cpus(&self) -> Vec<usize> {
        let mut cpus = [self.a.cpus.clone(), self.b.cpus.clone()].concat();
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    }
}

/// Runs one broker once, while the other is stopped.
fn turn(broker: &mut Broker, plan: &Plan, title: &str) -> Result<RunResult, Failure> {
    settle(broker);
    broker.resume()?;
    let mut live = Live::new(title.to_string());
    let run = measure::run(broker, plan, load::run, &mut |event| live.event(event));
    broker.pause()?;
    run
}

/// A short form of the workload that is run first and thrown away.
pub fn conditioning(workload: &Workload, quick: bool) -> Workload {
    let mut short = workload.clone();
    if let Some(ramp) = short.ramp.take() {
        short.producers.rate = Some(ramp.from);
    }
    // A tail that is read again and again is one of a backlog.
    if short.consumers.from != From::Tail {
        short.backlog = None;
    }
    short.run.warmup_seconds = 0.0;
    short.run.seconds = short.run.seconds.min(if quick { 3.0 } else { 15.0 });
    short
}

/// What a series brought: A's runs, B's runs.
pub type Series = (Vec<RunResult>, Vec<RunResult>);

/// Alternates A and B, and writes each run when it is done.
pub fn series(pair: &mut Pair, plan: &Plan, runs: u32, quick: bool, dir: &Path) -> Result<Series, Failure> {
    let name = &plan.workload.name;
    let first = Plan { workload: conditioning(&plan.workload, quick), ..plan.clone() };
    for broker in [&mut pair.a, &mut pair.b] {
        if broker.is_ours() {
            let title = format!("{name} on {}, not counted", broker.label);
            turn(broker, &first, &title)?;
        }
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for k in 1..=runs {
        for (side, broker, done) in [("a", &mut pair.a, &mut a), ("b", &mut pair.b, &mut b)] {
            let run = turn(broker, plan, &format!("{name} on {}, run {k} of {runs}", broker.label))?;
            save(dir, &format!("{name}-{side}-{k}.json"), &run)?;
            tell_void([&run]);
            done.push(run);
        }
    }
    Ok((a, b))
}

/// Runs in the order in which they were made.
pub fn in_turn(a: &[RunResult], b: &[RunResult]) -> Vec<RunResult> {
    a.iter().zip(b).flat_map(|(a, b)| [a.clone(), b.clone()]).collect()
}

fn wish(args: &Args, own: &[usize], first: bool) -> Wish {
    let common = &args.common;
    let (spec, label, overrides) = match first {
        true => (&args.a, &args.a_label, &args.a_override),
        false => (&args.b, &args.b_label, &args.b_override),
    };
    Wish {
        spec: spec.clone(),
        label: label.clone().unwrap_or_else(|| spec.label()),
        overrides: overrides.clone(),
        cpus: common.for_brokers(own),
        home: common.data_home(),
        who: None,
        metrics: None,
        heap: common.heap.clone(),
    }
}

/// Does it.
pub fn command(args: &Args) -> Result<ExitCode, Failure> {
    let common = &args.common;
    let asked = workloads::find(&args.workload, &common.chosen)?;
    let own = own_cpus();
    let mut pair = bring(wish(args, &own, true), wish(args, &own, false))?;
    let clients = common.for_clients(&own, &pair.cpus());
    stand_aside(&clients)?;
    let plan = common.plan(&asked, args.durability, clients);
    let dir = common.folder(&format!("{}-{}-{}", asked.workload.name, pair.a.label, pair.b.label))?;
    let (a, b) = series(&mut pair, &plan, args.runs, common.chosen.quick, &dir)?;
    let title = format!("{}: {} against {}", asked.workload.name, pair.a.label, pair.b.label);
    drop(pair);
    let comparison: Comparison = compare(&a, &b);
    let report = Report {
        title,
        runs: in_turn(&a, &b),
        comparisons: vec![comparison],
        notes: vec![told_command()],
        ..Report::default()
    };
    publish(&dir, &report)?;
    Ok(if tell_void(&report.runs) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
