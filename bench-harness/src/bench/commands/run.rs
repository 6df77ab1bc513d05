//! `ringlog bench run`: one workload against one broker.

use super::live::Live;
use super::{Common, publish, save, settle, stand_aside, tell_void, told_command};
use crate::bench::Failure;
use crate::bench::brokers::identity::Durability;
use crate::bench::brokers::{Broker, Spec, Wish, own_cpus};
use crate::bench::load;
use crate::bench::measure;
use crate::bench::report::Report;
use crate::bench::sample::process::Who;
use crate::bench::workloads;
use std::path::PathBuf;
use std::process::ExitCode;

/// Run a workload against a broker, and report.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A workload that ships, a TOML file, or a YAML file of the OpenMessaging Benchmark.
    #[arg(long, short)]
    pub workload: String,
    /// HOST:PORT of a broker that runs; ringlog, ringlog=PROGRAM or kafka=VERSION start one.
    #[arg(long, short, default_value = "ringlog")]
    pub broker: Spec,
    /// The broker's name in reports.
    #[arg(long)]
    pub label: Option<String>,
    /// Its process: by default the one that listens at its port.
    #[arg(long, conflicts_with = "cgroup")]
    pub pid: Option<u32>,
    /// Its control group, a folder of /sys/fs/cgroup.
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Its metrics, http://HOST:PORT/metrics.
    #[arg(long, value_name = "URL")]
    pub metrics: Option<String>,
    /// A setting for a broker that is started; may be given again.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// When topics of the run are to be acknowledged.
    #[arg(long, value_enum, default_value = "as-set")]
    pub durability: Durability,
    /// How many runs, each with topics of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    #[command(flatten)]
    pub common: Common,
}

impl Args {
    fn who(&self) -> Option<Who> {
        self.pid.map(Who::Pid).or_else(|| self.cgroup.clone().map(Who::Group))
    }
}

/// Does it.
pub fn command(args: &Args) -> Result<ExitCode, Failure> {
    let common = &args.common;
    let asked = workloads::find(&args.workload, &common.chosen)?;
    let own = own_cpus();
    let mut broker = Broker::bring(&Wish {
        spec: args.broker.clone(),
        label: args.label.clone().unwrap_or_else(|| args.broker.label()),
        overrides: args.overrides.clone(),
        cpus: common.for_brokers(&own),
        home: common.data_home(),
        who: args.who(),
        metrics: args.metrics.clone(),
        heap: common.heap.clone(),
    })?;
    let clients = common.for_clients(&own, &broker.cpus);
    stand_aside(&clients)?;
    let plan = common.plan(&asked, args.durability, clients);
    let dir = common.folder(&format!("{}-{}", asked.workload.name, broker.label))?;
    let mut runs = Vec::new();
    for k in 1..=args.runs {
        settle(&broker);
        let which = if args.runs > 1 { format!(", run {k} of {}", args.runs) } else { String::new() };
        let mut live = Live::new(format!("{} on {}{which}", asked.workload.name, broker.label));
        let run = measure::run(&mut broker, &plan, load::run, &mut |event| live.event(event))?;
        drop(live);
        let name = if args.runs > 1 { format!("run-{k}.json") } else { "run.json".to_string() };
        save(&dir, &name, &run)?;
        tell_void([&run]);
        runs.push(run);
    }
    drop(broker);
    let title = format!("{} on {}", asked.workload.name, runs[0].broker.label);
    let report = Report { title, runs, notes: vec![told_command()], ..Report::default() };
    publish(&dir, &report)?;
    // Once more at the end, where it is seen.
    Ok(if tell_void(&report.runs) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
