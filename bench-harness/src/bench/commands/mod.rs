//! The commands that measure: what they share. Each in a module of its own.

pub mod compare;
pub mod live;
pub mod peer;
pub mod run;
pub mod versus;
pub mod workloads;

use super::Failure;
use super::brokers::identity::Durability;
use super::brokers::{self, Broker, kafka, parse_cpus};
use super::environment::plain_words;
use super::load::{self, Driver};
use super::measure::Plan;
use super::report::{self, Report};
use super::result::RunResult;
use super::workloads::{Asked, Chosen};
use crate::date::{now_ms, today};
use std::fs;
use std::path::{Path, PathBuf};

/// CPUs as a command line tells them.
#[derive(Debug, Clone)]
pub struct Cpus(pub Vec<usize>);

impl std::str::FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Cpus, String> {
        parse_cpus(text).map(Cpus)
    }
}

/// Options of every command that measures.
#[derive(clap::Args, Debug, Clone)]
pub struct Common {
    #[command(flatten)]
    pub chosen: Chosen,
    /// CPUs that clients run on, such as `1-3`: by default those that the broker does not use.
    #[arg(long, value_name = "CPUS")]
    pub client_cpus: Option<Cpus>,
    /// CPUs for a broker that is started: by default the first.
    #[arg(long, value_name = "CPUS")]
    pub broker_cpus: Option<Cpus>,
    /// What drives the clients.
    #[arg(long, value_enum, default_value = "ring")]
    pub driver: Driver,
    /// Where results go.
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    pub out: PathBuf,
    /// Where a broker that is started keeps its data, in a folder of its own that is removed: by default beside the results.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where random choices start: by default the clock.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Java heap of a Kafka that is started.
    #[arg(long, default_value = kafka::HEAP)]
    pub heap: String,
}

/// Which CPUs are whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    pub broker: Vec<usize>,
    pub clients: Vec<usize>,
}

impl Common {
    pub fn data_home(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| self.out.join("brokers"))
    }

    /// CPUs for brokers that are started.
    pub fn for_brokers(&self, own: &[usize]) -> Vec<usize> {
        self.broker_cpus.as_ref().map_or_else(|| own.first().copied().into_iter().collect(), |cpus| cpus.0.clone())
    }

    /// CPUs for the clients, beside a broker on these.
    pub fn for_clients(&self, own: &[usize], broker: &[usize]) -> Vec<usize> {
        if let Some(cpus) = &self.client_cpus {
            return cpus.0.clone();
        }
        let rest: Vec<usize> = own.iter().copied().filter(|cpu| !broker.contains(cpu)).collect();
        if rest.is_empty() { own.last().copied().into_iter().collect() } else { rest }
    }

    /// How runs of this workload are made.
    pub fn plan(&self, asked: &Asked, durability: Durability, clients: Vec<usize>) -> Plan {
        let seed = self.seed.unwrap_or_else(|| now_ms() as u64);
        Plan {
            workload: asked.workload.clone(),
            told: asked.told.clone(),
            durability,
            options: load::Options { driver: self.driver, cpus: clients, seed },
            command: std::env::args().collect(),
        }
    }

    /// A folder for results, made: `DATE-NAME`, numbered if there is one already.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let base = format!("{}-{name}", today());
        for k in 1.. {
            let dir = self.out.join(if k == 1 { base.clone() } else { format!("{base}-{k}") });
            match fs::create_dir_all(&self.out).and_then(|()| fs::create_dir(&dir)) {
                Ok(()) => return Ok(dir),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Failure::because(dir.display(), e)),
            }
        }
        unreachable!("the loop ends by a folder or a failure")
    }
}

/// Writes one run.
pub fn save(dir: &Path, name: &str, run: &RunResult) -> Result<(), Failure> {
    let path = dir.join(name);
    let text = serde_json::to_string(run).map_err(|e| Failure::because(path.display(), e))?;
    fs::write(&path, text).map_err(|e| Failure::because(path.display(), e))
}

/// Writes the report, shows its text, and says where the page is.
pub fn publish(dir: &Path, report: &Report) -> Result<(), Failure> {
    let written = report::write(dir, report)?;
    if let Ok(text) = fs::read_to_string(dir.join("report.txt")) {
        println!("{text}");
    }
    if let Some(page) = written.first() {
        println!("{} and {} more beside it", page.display(), written.len() - 1);
    }
    Ok(())
}

/// Makes what the runs before left in the page cache durable, so that it is not written while the next one is measured.
pub fn settle(broker: &Broker) {
    if let Some(dir) = broker.log_dir.as_ref().and_then(|dir| fs::File::open(dir).ok()) {
        // Where it fails there is nothing that could be done about it.
        let _ = nix::unistd::syncfs(&dir);
    }
}

/// Says, loudly, that runs are void, and why. Returns whether there are any.
pub fn tell_void<'a>(runs: impl IntoIterator<Item = &'a RunResult>) -> bool {
    let mut any = false;
    for run in runs.into_iter().filter(|run| run.is_void()) {
        any = true;
        for check in run.checks.iter().filter(|check| !check.passed) {
            let what = format!("VOID: {} on {}: {}: {}", run.workload.name, run.broker.label, check.name, check.found);
            eprintln!("{}", live::red(&what));
        }
    }
    any
}

/// The command line without paths, for a report's title or notes.
pub fn told_command() -> String {
    plain_words(&std::env::args().collect::<Vec<_>>())
}

/// Moves this thread beside the clients: the broker's CPUs are for the broker.
pub fn stand_aside(clients: &[usize]) -> Result<(), Failure> {
    brokers::move_to(clients)
}
