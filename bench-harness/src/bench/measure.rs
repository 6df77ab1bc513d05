//! One run of one workload against one broker: the load, the broker watched beside it, and everything that is known afterwards put
//! into a [`RunResult`]. Runs on the thread that called it, which has to be on the clients' CPUs.

use super::Failure;
use super::brokers::Broker;
use super::brokers::identity::Durability;
use super::environment::{self, Place};
use super::load::{self, Event, Outcome, Phase, Target};
use super::result::{BrokerInfo, Check, FORMAT, RunResult};
use super::sample::{Sampler, Seen};
use super::workload::Workload;
use crate::date::now_ms;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Share of its CPUs that a broker uses when it is what limits a closed loop.
const BROKER_BUSY: f64 = 0.85;
/// Share of its time from which on a client core may be what limits.
const CLIENT_BUSY: f64 = 0.90;
/// Share of the machine's processor time that others have from which on the reader is told.
const STOLEN: f64 = 0.01;
/// Share of the broker's CPUs that other programs may have.
const OTHERS: f64 = 0.05;

/// What drives a load: [`load::run`], or a stand-in in tests.
pub type Load = fn(&Workload, &Target, &load::Options, &mut dyn FnMut(Event<'_>)) -> Result<Outcome, Failure>;

/// How runs are made, apart from against whom.
#[derive(Debug, Clone)]
pub struct Plan {
    pub workload: Workload,
    /// What the workload's file says that has no meaning here.
    pub told: Vec<String>,
    pub durability: Durability,
    pub options: load::Options,
    /// This program's command line.
    pub command: Vec<String>,
}

/// Makes a run. `watch` is told what happens while it does.
pub fn run(
    broker: &mut Broker,
    plan: &Plan,
    load: Load,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Result<RunResult, Failure> {
    let topic = broker.identity.topic_settings(plan.durability)?;
    let mut asked = plan.workload.clone();
    asked.topics.config.extend(topic.clone());
    if !broker.identity.is_ringlog() && !broker.identity.all.is_empty() {
        asked.topics.config.retain(|name, _| !name.starts_with("ringlog."));
    }
    let mut sampler = Sampler::new(broker.watched(), broker.cpus.clone());
    let mut started_ms = now_ms();
    let target = Target { bootstrap: vec![broker.addr] };
    let done = load(&asked, &target, &plan.options, &mut |event| {
        match &event {
            Event::Phase(Phase::Measure, _) => {
                started_ms = now_ms();
                sampler.measure();
            }
            Event::Phase(Phase::Finish, _) => sampler.finish(),
            Event::Second(second) => sampler.second(second),
            Event::Phase(..) => {}
        }
        watch(&event);
    });
    // Its last words say more than a connection that broke.
    broker.check_alive()?;
    let mut outcome = done?;
    sampler.fill(&mut outcome.load.seconds);
    let seen = sampler.seen();
    let mut checks = outcome.checks.clone();
    checks.extend(own_checks(broker, plan, &outcome, &seen));
    let mut caveats = plan.told.clone();
    caveats.extend(broker.caveats.iter().cloned());
    caveats.extend(outcome.caveats.iter().cloned());
    caveats.extend(own_caveats(&seen));
    Ok(RunResult {
        format: FORMAT,
        workload: plan.workload.clone(),
        broker: info(broker, plan, &topic),
        environment: environment::gather(&Place {
            root: PathBuf::from("/"),
            log_dir: broker.log_dir.clone(),
            broker_cpus: broker.cpus.clone(),
            client_cpus: plan.options.cpus.clone(),
            command: plan.command.clone(),
        }),
        started_ms,
        checks,
        load: outcome.load,
        broker_use: seen.usage,
        metrics: seen.metrics,
        caveats,
    })
}

/// The broker as results tell it: settings of the run's topics beside its own, no paths, and of addresses only the local one.
fn info(broker: &Broker, plan: &Plan, topic: &BTreeMap<String, String>) -> BrokerInfo {
    let mut settings = broker.identity.settings.clone();
    settings.extend(topic.iter().map(|(name, value)| (format!("topic: {name}"), value.clone())));
    let address = if broker.addr.ip().is_loopback() { broker.addr.to_string() } else { "another address".to_string() };
    BrokerInfo {
        label: broker.label.clone(),
        address,
        software: broker.identity.software.clone(),
        durability: broker.identity.durability(&plan.workload, topic),
        pid: broker.pid,
        cpus: broker.cpus.clone(),
        command: broker.command.iter().map(|word| environment::plain_word(word)).collect(),
        settings,
        commit: broker.commit.clone(),
    }
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// The checks that need both sides.
fn own_checks(broker: &Broker, plan: &Plan, outcome: &Outcome, seen: &Seen) -> Vec<Check> {
    let mut checks = Vec::new();
    let clients = &plan.options.cpus;
    if !broker.cpus.is_empty() {
        let apart = broker.cpus.iter().all(|cpu| !clients.contains(cpu));
        let hint = if apart { "" } else { "; taskset -a -p -c CPUS PID keeps a broker on its own" };
        let found = format!("broker on {}, clients on {}{hint}", list(&broker.cpus), list(clients));
        checks.push(Check { name: "broker on other CPUs than the clients".to_string(), passed: apart, found });
    }
    if let Some(others) = seen.others {
        let (had, allowed) = (others * 100.0, OTHERS * 100.0);
        let found = format!("other programs had {had:.1} % of the broker's CPUs; {allowed:.0} % is allowed");
        checks.push(Check { name: "broker undisturbed".to_string(), passed: others <= OTHERS, found });
    }
    let closed =
        plan.workload.producers.count > 0 && plan.workload.producers.rate.is_none() && plan.workload.ramp.is_none();
    if let Some(usage) = seen.usage.as_ref().filter(|_| closed && seen.elapsed_us > 0 && !broker.cpus.is_empty()) {
        let has = seen.elapsed_us as f64 * broker.cpus.len() as f64;
        let busy = usage.cpu_us() as f64 / has;
        let client = outcome.load.clients.iter().map(|c| c.busy).fold(0.0, f64::max);
        checks.push(limited_by(busy, client));
    }
    checks
}

/// Of a closed loop: that it was not the clients which were at their end.
pub fn limited_by(broker: f64, client: f64) -> Check {
    let figures = format!("broker {:.0} % of its CPUs, busiest client core {:.0} %", broker * 100.0, client * 100.0);
    let (passed, found) = match (broker >= BROKER_BUSY, client >= CLIENT_BUSY) {
        (true, _) => (true, figures),
        (false, false) => {
            (true, format!("{figures}: neither is the limit; the device, or the requests in flight, are"))
        }
        (false, true) => (false, format!("{figures}: the clients are the limit, so this says nothing of the broker")),
    };
    Check { name: "closed loop: the broker's CPUs were busy".to_string(), passed, found }
}

fn own_caveats(seen: &Seen) -> Vec<String> {
    let mut told = seen.caveats.clone();
    if let Some(stolen) = seen.stolen.filter(|s| *s > STOLEN) {
        told.push(format!("the hypervisor gave {:.1} % of this machine's processor time to others", stolen * 100.0));
    }
    if cfg!(debug_assertions) {
        told.push("the bench was built without optimisation: its figures are of no use".to_string());
    }
    told
}
