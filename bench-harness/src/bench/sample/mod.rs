//! What the broker uses while a run goes on: looked at from the thread that runs the bench, when measuring begins, each second, and
//! when it ends. Reads `/proc`, `/sys` and a metrics endpoint; touches nothing.

pub mod device;
pub mod process;
pub mod prometheus;

use super::environment::Device;
use super::result::{Second, Usage};
use device::DeviceCounts;
use process::{Counts, Who};
use prometheus::Endpoint;
use std::collections::BTreeMap;
use std::time::Instant;

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// None: the broker is not on this machine, or was not found.
    pub who: Option<Who>,
    pub device: Option<Device>,
    pub metrics: Option<Endpoint>,
}

/// What was seen over the measured part.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub usage: Option<Usage>,
    pub metrics: BTreeMap<String, f64>,
    /// Of the whole machine, share of its CPU time that the hypervisor kept for others.
    pub stolen: Option<f64>,
    /// Of the broker's CPUs, share that other programs than it had at least.
    pub others: Option<f64>,
    /// Wall time between the two looks, microseconds.
    pub elapsed_us: u64,
    pub caveats: Vec<String>,
}

/// One look at everything.
struct Look {
    at: Instant,
    process: Option<Counts>,
    device: Option<DeviceCounts>,
    cpus: Option<process::Cpus>,
    metrics: Option<prometheus::Scrape>,
}

/// Watches one broker during one run.
pub struct Sampler {
    watched: Watched,
    broker_cpus: Vec<usize>,
    begin: Option<Look>,
    end: Option<Look>,
    last: Option<Counts>,
    /// CPU time and resident memory by second of the run.
    seconds: BTreeMap<u32, (u64, u64)>,
    caveats: Vec<String>,
}

impl Sampler {
    pub fn new(watched: Watched, broker_cpus: Vec<usize>) -> Sampler {
        let last = watched.who.as_ref().and_then(|who| process::counts(who).ok());
        Sampler { watched, broker_cpus, begin: None, end: None, last, seconds: BTreeMap::new(), caveats: Vec::new() }
    }

    fn look(&mut self) -> Look {
        let metrics = self.watched.metrics.as_ref().and_then(|endpoint| match endpoint.scrape() {
            Ok(scrape) => Some(scrape),
            Err(why) => {
                self.caveats.push(format!("metrics of the broker: {why}"));
                None
            }
        });
        Look {
            at: Instant::now(),
            process: self.watched.who.as_ref().and_then(|who| process::counts(who).ok()),
            device: self.watched.device.as_ref().and_then(device::counts),
            cpus: process::cpus(&self.broker_cpus),
            metrics,
        }
    }

    /// Figures count from here.
    pub fn measure(&mut self) {
        self.begin = Some(self.look());
    }

    /// To here.
    pub fn finish(&mut self) {
        self.end = Some(self.look());
    }

    /// A second of the run has passed.
    pub fn second(&mut self, second: &Second) {
        let Some(who) = &self.watched.who else { return };
        let Ok(now) = process::counts(who) else { return };
        if let Some(last) = &self.last {
            self.seconds.insert(second.at, (now.run_us_since(last), now.rss_bytes));
        }
        self.last = Some(now);
    }

    /// Puts what was seen each second into a run's series.
    pub fn fill(&self, seconds: &mut [Second]) {
        for second in seconds {
            if let Some((cpu, rss)) = self.seconds.get(&second.at) {
                second.broker_cpu_us = Some(*cpu);
                second.broker_rss = Some(*rss);
            }
        }
    }

    /// What was used between [`Sampler::measure`] and [`Sampler::finish`].
    pub fn seen(self) -> Seen {
        let mut seen = Seen { caveats: self.caveats, ..Seen::default() };
        let (Some(begin), Some(end)) = (self.begin, self.end) else { return seen };
        seen.elapsed_us = end.at.duration_since(begin.at).as_micros() as u64;
        if let (Some(from), Some(to)) = (&begin.process, &end.process) {
            let device = begin.device.zip(end.device).map(|(from, to)| to.since(&from));
            seen.usage = Some(to.since(from, device));
        } else if self.watched.who.is_some() {
            seen.caveats.push("the broker's process was not there at the begin or the end of measuring".to_string());
        }
        if let (Some(from), Some(to)) = (&begin.cpus, &end.cpus) {
            let used = seen.usage.as_ref().map(Usage::cpu_us);
            (seen.stolen, seen.others) = to.since(from, used);
        }
        if let (Some(from), Some(to)) = (&begin.metrics, &end.metrics) {
            seen.metrics = to.since(from);
        }
        seen
    }
}
