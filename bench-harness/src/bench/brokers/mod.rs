//! The brokers that are measured: those that run already, told by address, and those that are started for it, on CPUs and in a
//! directory of their own ([`process`]). What a broker is, it is asked for over its own protocol ([`identity`]).

pub mod find;
pub mod identity;
pub mod kafka;
pub mod process;
pub mod ringlog;

use super::Failure;
use super::environment::{Device, device_of};
use super::sample::Watched;
use super::sample::process::Who;
use super::sample::prometheus::Endpoint;
use identity::Identity;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use process::Process;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which broker, as the command line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// One that runs: `HOST:PORT`.
    At(String),
    /// `ringlog`, or `ringlog=PROGRAM`: one is started.
    Ringlog(Option<PathBuf>),
    /// `kafka`, or `kafka=VERSION`: a real one is started.
    Kafka(String),
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Spec, String> {
        let (kind, detail) = text.split_once('=').map_or((text, None), |(kind, detail)| (kind, Some(detail)));
        match (kind, detail) {
            ("ringlog", program) => Ok(Spec::Ringlog(program.map(PathBuf::from))),
            ("kafka", version) => Ok(Spec::Kafka(version.unwrap_or(kafka::VERSION).to_string())),
            _ => match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
                Some((host, Ok(_))) if !host.is_empty() => Ok(Spec::At(text.to_string())),
                _ => Err(format!("{text}: HOST:PORT, ringlog, ringlog=PROGRAM, kafka or kafka=VERSION")),
            },
        }
    }
}

impl Spec {
    /// What it is called in reports, unless told.
    pub fn label(&self) -> String {
        match self {
            Spec::At(address) => address.replace(':', "-"),
            Spec::Ringlog(None) => "ringlog".to_string(),
            Spec::Ringlog(Some(program)) => {
                let name = program.file_name().map_or_else(|| "ringlog".into(), |n| n.to_string_lossy().into_owned());
                if name.is_empty() { "ringlog".to_string() } else { name }
            }
            Spec::Kafka(_) => "kafka".to_string(),
        }
    }
}

/// How a broker is reached or started.
#[derive(Debug, Clone)]
pub struct Wish {
    pub spec: Spec,
    pub label: String,
    /// Settings for one that is started, `key=value`.
    pub overrides: Vec<String>,
    /// CPUs for one that is started.
    pub cpus: Vec<usize>,
    /// Where the data of one that is started goes, in a folder of its own.
    pub home: PathBuf,
    /// Of one that runs: its process or control group, where the user says so.
    pub who: Option<Who>,
    /// Its metrics endpoint; tried where it is expected unless told.
    pub metrics: Option<String>,
    /// Java heap of a Kafka that is started.
    pub heap: String,
}

/// A broker that can be measured. One that was started ends with this.
pub struct Broker {
    pub label: String,
    pub addr: SocketAddr,
    pub identity: Identity,
    pub who: Option<Who>,
    pub pid: Option<u32>,
    pub cpus: Vec<usize>,
    pub log_dir: Option<PathBuf>,
    pub device: Option<Device>,
    pub metrics: Option<Endpoint>,
    pub command: Vec<String>,
    pub commit: Option<String>,
    pub caveats: Vec<String>,
    process: Option<Process>,
}

impl Broker {
    /// Starts or reaches the broker that is wished for, and asks who it is.
    pub fn bring(wish: &Wish) -> Result<Broker, Failure> {
        match &wish.spec {
            Spec::At(address) => Broker::at(address, wish),
            Spec::Ringlog(program) => {
                let program = program.clone().map_or_else(ringlog::program, Ok)?;
                let started = ringlog::start(&program, wish)?;
                Broker::started(started, wish, ringlog::commit(&program))
            }
            Spec::Kafka(version) => {
                let jars = kafka::fetch(version)?;
                let started = kafka::start(&jars, wish)?;
                Broker::started(started, wish, None)
            }
        }
    }

    fn started(started: Started, wish: &Wish, commit: Option<String>) -> Result<Broker, Failure> {
        let Started { process, addr, software, data, metrics } = started;
        let mut identity = identity::ask(addr)?;
        identity.software = software;
        let mut caveats = Vec::new();
        let metrics = wish.metrics.clone().or(metrics);
        let metrics = metrics.and_then(|url| endpoint(&url, &mut caveats));
        Ok(Broker {
            label: wish.label.clone(),
            addr,
            identity,
            who: Some(Who::Pid(process.pid())),
            pid: Some(process.pid()),
            cpus: wish.cpus.clone(),
            device: device_of(Path::new("/"), &data),
            log_dir: Some(data),
            metrics,
            command: process.command().to_vec(),
            commit,
            caveats,
            process: Some(process),
        })
    }

    fn at(address: &str, wish: &Wish) -> Result<Broker, Failure> {
        let addr = resolve(address)?;
        let identity = identity::ask(addr)?;
        let mut caveats = Vec::new();
        let local = find::is_local(addr);
        let who = wish.who.clone().or_else(|| local.then(|| find::listener(addr)).flatten().map(Who::Pid));
        let pid = match &who {
            Some(Who::Pid(pid)) => Some(*pid),
            _ => None,
        };
        match (&who, local) {
            (None, false) => {
                caveats.push("the broker is on another machine: what it uses there is not known".to_string())
            }
            (None, true) => {
                caveats.push("the broker's process was not found by its port: --pid or --cgroup tells it".to_string())
            }
            _ => {}
        }
        let cpus = who.as_ref().map(|who| find::cpus(who, identity.settings.get("ringlog.cores"))).unwrap_or_default();
        let log_dir = pid.and_then(|pid| find::log_dir(pid, &identity.log_dirs));
        let metrics = match &wish.metrics {
            Some(url) => endpoint(url, &mut caveats),
            None => pid.and_then(|pid| find::metrics(pid, identity.all.get("ringlog.admin.address"))),
        };
        let mut identity = identity;
        if let Some(version) = pid.and_then(find::kafka_version).filter(|_| identity.is_kafka()) {
            identity.software = format!("Apache Kafka {version}");
        }
        Ok(Broker {
            label: wish.label.clone(),
            addr,
            who,
            pid,
            cpus,
            device: log_dir.as_deref().and_then(|dir| device_of(Path::new("/"), dir)),
            log_dir,
            metrics,
            command: pid.map(find::command).unwrap_or_default(),
            commit: None,
            caveats,
            identity,
            process: None,
        })
    }

    /// What to look at while it is measured.
    pub fn watched(&self) -> Watched {
        Watched { who: self.who.clone(), device: self.device.clone(), metrics: self.metrics.clone() }
    }

    /// Whether it may be stopped while another one is measured: it was started here.
    pub fn is_ours(&self) -> bool {
        self.process.is_some()
    }

    /// Lets it have no processor time until [`Broker::resume`]: it keeps its memory and its connections.
    pub fn pause(&self) -> Result<(), Failure> {
        self.process.as_ref().map_or(Ok(()), Process::pause)
    }

    /// Goes on, and waits until it answers.
    pub fn resume(&mut self) -> Result<(), Failure> {
        let addr = self.addr;
        match &mut self.process {
            Some(process) => process.resume().and_then(|()| process.wait_until_it_answers(addr)),
            None => Ok(()),
        }
    }

    /// Fails if it ended by itself.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        self.process.as_mut().map_or(Ok(()), Process::check_alive)
    }
}

/// A broker process that answers.
pub struct Started {
    pub process: Process,
    pub addr: SocketAddr,
    pub software: String,
    /// Its log directory.
    pub data: PathBuf,
    /// Where it says that its metrics are.
    pub metrics: Option<String>,
}

/// The endpoint at a URL if it can be read now.
fn endpoint(url: &str, caveats: &mut Vec<String>) -> Option<Endpoint> {
    match Endpoint::parse(url).and_then(|endpoint| endpoint.scrape().map(|_| endpoint)) {
        Ok(endpoint) => Some(endpoint),
        Err(why) => {
            caveats.push(format!("no metrics of the broker: {why}"));
            None
        }
    }
}

/// The first address of `HOST:PORT`, IPv4 before IPv6.
pub fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let mut found: Vec<SocketAddr> = address.to_socket_addrs().map_err(|e| Failure::because(address, e))?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| Failure(format!("{address}: no such address")))
}

/// CPUs that this thread may use.
pub fn own_cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return vec![0] };
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect()
}

/// Moves this thread, and what it starts from now on, to these CPUs.
pub fn move_to(cpus: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).map_err(|e| Failure::because(format!("CPU {cpu}"), e))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|e| {
        let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
        Failure::because(format!("CPUs {}: this process cannot run on them", cpus.join(",")), e)
    })
}

/// Reads `0,2-3`.
pub fn parse_cpus(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |t: &str| t.parse::<usize>().ok().filter(|n| *n < CpuSet::count());
        match (number(from), number(to)) {
            (Some(from), Some(to)) if from <= to => cpus.extend(from..=to),
            _ => return Err(format!("{text}: CPUs are told as 0,2-3")),
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    if cpus.is_empty() { Err("no CPU is named".to_string()) } else { Ok(cpus) }
}
