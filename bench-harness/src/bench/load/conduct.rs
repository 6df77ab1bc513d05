//! Conducts a run, on the thread that asked for it: tells the client cores what to do and when, gathers what they count, and tells who
//! watches. It opens no connection to the load itself.

use super::clock::{self, SECOND, nanos};
use super::core::CoreEnd;
use super::plan::{Orders, Pace, Plan, Progress};
use super::prepare::Broker;
use super::tally::{SecondPart, StepPart};
use super::{Event, Phase};
use crate::bench::Failure;
use crate::bench::result::{Check, Drain, Latency, RampStep, Second};
use crate::bench::workload::{Ramp, Workload};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How long clients may take to be connected, and members to be in their groups, nanoseconds.
const ASSEMBLE: u64 = 60 * SECOND;
/// How long nothing may move before waiting for it ends.
const STILL: u64 = 10 * SECOND;
/// How far ahead the first planned send is, so that every core knows of it.
const AHEAD: u64 = 20_000_000;
/// Draining a backlog may take so many times the measured part that was asked for.
const DRAIN_TIMES: u64 = 10;

/// What a client core tells.
#[derive(Debug)]
pub(super) enum Report {
    /// All its connections are up.
    Ready,
    Second(Box<SecondPart>),
    Step(Box<StepPart>),
    /// It cannot go on.
    Failed(String),
    /// More is planned than it may keep.
    Overflow,
    Ended(Box<CoreEnd>),
}

/// The run as far as it is.
pub(super) struct Conductor<'a> {
    pub(super) plan: Arc<Plan>,
    pub(super) progress: Arc<Progress>,
    reports: Receiver<Report>,
    observe: &'a mut dyn FnMut(Event<'_>),
    /// When the run began; its seconds are counted from here.
    base: u64,
    parts: BTreeMap<u32, (usize, SecondPart)>,
    pub(super) seconds: Vec<Second>,
    ready: usize,
    overflowed: bool,
    steps: Vec<StepPart>,
    pub(super) ends: Vec<CoreEnd>,
    orders: Orders,
    pub(super) ramp: Vec<RampStep>,
    pub(super) drain: Option<Drain>,
    /// Checks that are known before the end.
    pub(super) checks: Vec<Check>,
    pub(super) caveats: Vec<String>,
    /// Next offsets of all places at the end.
    pub(super) log_ends: Vec<i64>,
    /// Whether readers had everything at the end.
    pub(super) read_all: bool,
}

impl<'a> Conductor<'a> {
    pub(super) fn new(
        plan: Arc<Plan>,
        progress: Arc<Progress>,
        reports: Receiver<Report>,
        base: u64,
        observe: &'a mut dyn FnMut(Event<'_>),
    ) -> Conductor<'a> {
        Conductor {
            plan,
            progress,
            reports,
            observe,
            base,
            parts: BTreeMap::new(),
            seconds: Vec::new(),
            ready: 0,
            overflowed: false,
            steps: Vec::new(),
            ends: Vec::new(),
            orders: Orders::default(),
            ramp: Vec::new(),
            drain: None,
            checks: Vec::new(),
            caveats: Vec::new(),
            log_ends: Vec::new(),
            read_all: false,
        }
    }

    fn phase(&mut self, phase: Phase, what: &str) {
        (self.observe)(Event::Phase(phase, what));
    }

    fn order(&mut self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders);
        let orders = self.orders;
        self.progress.order(|now| *now = orders);
    }

    fn workload(&self) -> &Workload {
        &self.plan.workload
    }

    /// Gathers reports until `done`, or that time. Answers whether it was done.
    fn gather(&mut self, until: u64, mut done: impl FnMut(&Self) -> bool) -> Result<bool, Failure> {
        loop {
            if done(self) {
                return Ok(true);
            }
            let now = clock::now();
            if now >= until || self.overflowed {
                return Ok(false);
            }
            let wait = Duration::from_nanos((until - now).min(2_000_000));
            match self.reports.recv_timeout(wait) {
                Ok(report) => self.on_report(report)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Failure("the client cores are gone".to_string())),
            }
        }
    }

    /// As [`Conductor::gather`], as long as `measure` keeps changing.
    fn gather_while_moving(
        &mut self,
        mut done: impl FnMut(&Self) -> bool,
        measure: impl Fn(&Self) -> u64,
    ) -> Result<bool, Failure> {
        let mut last = measure(self);
        loop {
            if self.gather(clock::now() + STILL, &mut done)? {
                return Ok(true);
            }
            let now = measure(self);
            if now == last || self.overflowed {
                return Ok(false);
            }
            last = now;
        }
    }

    fn on_report(&mut self, report: Report) -> Result<(), Failure> {
        match report {
            Report::Ready => self.ready += 1,
            Report::Second(part) => self.on_second(*part),
            Report::Step(part) => self.steps.push(*part),
            Report::Failed(why) => return Err(Failure(why)),
            Report::Overflow => self.overflowed = true,
            Report::Ended(end) => self.ends.push(*end),
        }
        Ok(())
    }

    fn on_second(&mut self, part: SecondPart) {
        let (count, sum) = self.parts.entry(part.at).or_default();
        *count += 1;
        sum.at = part.at;
        sum.sent_records += part.sent_records;
        sum.acked_records += part.acked_records;
        sum.acked_bytes += part.acked_bytes;
        sum.read_records += part.read_records;
        sum.read_bytes += part.read_bytes;
        sum.errors += part.errors;
        sum.publish.merge(&part.publish);
        sum.end_to_end.merge(&part.end_to_end);
        if *count == self.plan.cores
            && let Some((_, sum)) = self.parts.remove(&part.at)
        {
            let began = self.base + u64::from(sum.at) * SECOND;
            let second = second_of(&sum, began < self.orders.window.0);
            (self.observe)(Event::Second(&second));
            self.seconds.push(second);
        }
    }

    /// The whole run, from the opening of connections to the cores' end.
    pub(super) fn conduct(&mut self, broker: &mut Broker) -> Result<(), Failure> {
        self.phase(Phase::Prepare, "connecting clients");
        let cores = self.plan.cores;
        if !self.gather(clock::now() + ASSEMBLE, |c| c.ready == cores)? {
            return Err(Failure("the clients were not all connected within a minute".to_string()));
        }
        let consumers = &self.workload().consumers;
        if consumers.coordinated {
            let members = u64::from(consumers.groups * consumers.count);
            self.phase(Phase::Prepare, "joining groups");
            if !self.gather(clock::now() + ASSEMBLE, |c| c.progress.members() == members)? {
                return Err(Failure("the members of the groups were not all in within a minute".to_string()));
            }
        }
        if self.workload().backlog.is_some() {
            self.fill(broker)?;
        }
        match self.workload().ramp.clone() {
            _ if self.workload().backlog.is_some() && !self.plan.rereads() && self.workload().consumers.groups > 0 => {
                self.catch_up()?;
            }
            Some(ramp) => {
                let rate = self.climb(&ramp)?;
                self.measure(Pace::Open { rate, from: clock::now() + AHEAD })?;
            }
            None => self.measure(self.pace())?,
        }
        self.finish(broker)
    }

    fn pace(&self) -> Pace {
        match (self.workload().producers.count, self.workload().producers.rate) {
            (0, _) => Pace::Hold,
            (_, Some(rate)) => Pace::Open { rate, from: clock::now() + AHEAD },
            (_, None) => Pace::Closed,
        }
    }

    /// The beginning of the first whole second of the run that is no earlier than `time`.
    fn whole_second(&self, time: u64) -> u64 {
        self.base + (time - self.base).div_ceil(SECOND) * SECOND
    }

    /// Warm-up, and the measured part.
    fn measure(&mut self, pace: Pace) -> Result<(), Failure> {
        let run = self.workload().run.clone();
        let now = clock::now();
        let from = self.whole_second(now + AHEAD + nanos(run.warmup_seconds));
        let to = from + nanos(run.seconds);
        self.phase(Phase::Warmup, "warming up");
        self.order(|o| (o.pace, o.read, o.churn, o.window) = (pace, true, true, (from, to)));
        self.gather(from, |_| false)?;
        self.phase(Phase::Measure, "measuring");
        self.gather(to, |_| false)?;
        Ok(())
    }

    /// Writes the backlog.
    fn fill(&mut self, broker: &mut Broker) -> Result<(), Failure> {
        let backlog = self.workload().backlog.clone().expect("a workload with a backlog");
        self.phase(Phase::Warmup, "writing the backlog");
        self.order(|o| o.pace = Pace::Fill(backlog.bytes));
        let filled = |c: &Self| c.progress.filled.load(Ordering::Relaxed);
        if !self.gather_while_moving(|c| filled(c) >= backlog.bytes, filled)? {
            return Err(Failure("the broker stopped taking the backlog".to_string()));
        }
        self.order(|o| o.pace = Pace::Hold);
        self.settle()?;
        if backlog.cold {
            nix::unistd::sync();
            if let Err(e) = std::fs::write("/proc/sys/vm/drop_caches", "3") {
                self.caveats.push(format!("the page cache was not dropped, so that the backlog was not cold: {e}"));
            }
        }
        if self.plan.rereads() {
            let (first, next) = (broker.offsets(&self.plan, -2)?, broker.offsets(&self.plan, -1)?);
            let consumers = &self.workload().consumers;
            let record = super::draw::Sizes::new(&self.workload().records.size, super::batch::STAMP).mean() + 10.0;
            let records = (f64::from(consumers.max_bytes) / record).max(1.0) as i64;
            for (place, (first, next)) in first.iter().zip(next).enumerate() {
                self.progress.begin[place].store((next - records).max(*first), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Waits until what was planned is answered. False: it is not, and nothing moves.
    fn settle(&mut self) -> Result<bool, Failure> {
        // Every core has heard of it, and said how much it has.
        self.gather(clock::now() + AHEAD, |_| false)?;
        let unanswered = |c: &Self| c.progress.unanswered();
        self.gather_while_moving(|c| unanswered(c) == 0, unanswered)
    }

    /// Readers read the backlog while writers go on: the measured part lasts until they have it.
    fn catch_up(&mut self) -> Result<(), Failure> {
        let ends: Vec<i64> = self.progress.acknowledged.iter().map(|end| end.load(Ordering::Relaxed)).collect();
        let (pace, from) = (self.pace(), clock::now());
        self.phase(Phase::Measure, "draining the backlog");
        self.order(|o| (o.pace, o.read, o.churn, o.window) = (pace, true, true, (from, u64::MAX)));
        let most = nanos(self.workload().run.seconds).saturating_mul(DRAIN_TIMES).max(SECOND);
        let drained = self.gather(from + most, |c| c.have_read(&ends))?;
        let to = clock::now();
        self.order(|o| o.window = (from, to));
        let (seconds, filled) = ((to - from) as f64 / 1e9, self.progress.filled.load(Ordering::Relaxed));
        self.checks.push(Check {
            name: "backlog drained".to_string(),
            passed: drained,
            found: format!("{filled} bytes of values, {seconds:.1} s of at most {:.0}", most as f64 / 1e9),
        });
        self.drain = Some(Drain { backlog_bytes: filled, seconds, ..Drain::default() });
        Ok(())
    }

    /// Whether every group has read every place up to these offsets.
    fn have_read(&self, ends: &[i64]) -> bool {
        let positions = self.progress.positions.chunks(ends.len().max(1));
        positions.flat_map(|group| group.iter().zip(ends)).all(|(at, end)| at.load(Ordering::Relaxed) >= *end)
    }

    /// One step of a ramp. Answers whether it kept the goal.
    fn step(&mut self, ramp: &Ramp, number: u32, rate: f64) -> Result<bool, Failure> {
        let from = clock::now() + AHEAD;
        let to = from + nanos(ramp.step_seconds);
        self.order(|o| (o.pace, o.read, o.step) = (Pace::Open { rate, from }, true, Some((number, from, to))));
        self.gather(to, |_| false)?;
        self.order(|o| o.pace = Pace::Hold);
        self.gather(clock::now() + AHEAD, |_| false)?;
        let grace = clock::now() + nanos(2.0 * ramp.latency_ms / 1000.0).max(SECOND);
        let answered = self.gather(grace, |c| c.progress.unanswered() == 0)?;
        if !answered && !self.settle()? {
            return Err(Failure(format!("the broker stopped answering at {rate:.0} records a second")));
        }
        self.steps.clear();
        self.order(|o| o.step = None);
        let cores = self.plan.cores;
        self.gather(clock::now() + STILL, |c| c.steps.len() == cores)?;
        let (mut publish, mut acked) = (Latency::default(), 0);
        for part in self.steps.drain(..).filter(|part| part.number == number) {
            publish.merge(&part.publish);
            acked += part.acked;
        }
        let acked = acked as f64 / ramp.step_seconds;
        let reached = publish.at(ramp.percentile).or(publish.max()).map_or(f64::MAX, |nanos| nanos as f64 / 1e6);
        let kept = answered && reached <= ramp.latency_ms && acked >= 0.98 * rate;
        self.ramp.push(RampStep { planned: rate, acked, publish, kept });
        Ok(kept)
    }

    /// Looks for the highest rate that keeps the goal.
    fn climb(&mut self, ramp: &Ramp) -> Result<f64, Failure> {
        self.phase(Phase::Warmup, "looking for the highest rate");
        let (mut number, mut rate, mut best, mut missed) = (1, ramp.from, None, None);
        while missed.is_none() && rate <= ramp.to {
            if self.step(ramp, number, rate)? {
                best = Some(rate)
            } else {
                missed = Some(rate)
            }
            rate *= ramp.factor.max(1.01);
            number += 1;
        }
        if let (Some(mut kept), Some(mut lost)) = (best, missed) {
            for _ in 0..ramp.halvings {
                let middle = (kept + lost) / 2.0;
                if self.step(ramp, number, middle)? {
                    kept = middle
                } else {
                    lost = middle
                }
                number += 1;
            }
            best = Some(kept);
        }
        if best.is_none() {
            self.caveats.push("not even the first step of the ramp kept the goal; its rate was measured".to_string());
        }
        Ok(best.unwrap_or(ramp.from))
    }

    /// Lets everything come to rest, and ends the cores.
    fn finish(&mut self, broker: &mut Broker) -> Result<(), Failure> {
        self.phase(Phase::Finish, "waiting for answers");
        self.order(|o| (o.pace, o.churn) = (Pace::Hold, false));
        let answered = !self.overflowed && self.settle()?;
        self.checks.push(Check {
            name: "room for the schedule".to_string(),
            passed: !self.overflowed,
            found: match self.overflowed {
                true => format!("more than {} requests were planned and could not be sent", super::core::MOST_WAITING),
                false => format!("never more than {} requests waited at a client core", super::core::MOST_WAITING),
            },
        });
        self.log_ends = broker.offsets(&self.plan, -1)?;
        let written = self.progress.acknowledged.iter().map(|end| end.load(Ordering::Relaxed));
        let ends: Vec<i64> = written.zip(&self.log_ends).map(|(a, b)| a.max(*b)).collect();
        let reads = self.workload().consumers.groups > 0 && !self.plan.rereads();
        if reads && answered && self.workload().consumers.rate.is_none() {
            self.phase(Phase::Finish, "reading to the end");
            let position =
                |c: &Self| c.progress.positions.iter().map(|at: &AtomicI64| at.load(Ordering::Relaxed) as u64).sum();
            self.gather_while_moving(|c| c.have_read(&ends), position)?;
        }
        self.read_all = self.have_read(&ends);
        self.order(|o| o.quit = true);
        let cores = self.plan.cores;
        self.overflowed = false;
        if !self.gather(clock::now() + ASSEMBLE, |c| c.ends.len() == cores)? {
            return Err(Failure("the client cores did not end".to_string()));
        }
        Ok(())
    }

    /// After a failure: ends the cores, whatever they do.
    pub(super) fn give_up(&mut self) {
        self.order(|o| o.quit = true);
        let (cores, until) = (self.plan.cores, clock::now() + STILL);
        while self.ends.len() < cores && clock::now() < until {
            // What else fails on the way out is not the reason.
            let _ = self.gather(until, |c| c.ends.len() == cores);
        }
    }
}

fn second_of(sum: &SecondPart, warmup: bool) -> Second {
    let micros = |latency: &Latency, percentile: f64| latency.0.value_at_percentile(percentile) / 1000;
    let largest = |latency: &Latency| latency.max().unwrap_or(0) / 1000;
    Second {
        at: sum.at,
        warmup,
        sent_records: sum.sent_records,
        acked_records: sum.acked_records,
        acked_bytes: sum.acked_bytes,
        read_records: sum.read_records,
        read_bytes: sum.read_bytes,
        errors: sum.errors,
        publish_p50: micros(&sum.publish, 50.0),
        publish_p99: micros(&sum.publish, 99.0),
        publish_max: largest(&sum.publish),
        end_to_end_p50: micros(&sum.end_to_end, 50.0),
        end_to_end_p99: micros(&sum.end_to_end, 99.0),
        end_to_end_max: largest(&sum.end_to_end),
        broker_cpu_us: None,
        broker_rss: None,
    }
}
