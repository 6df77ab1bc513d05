//! The verdict of a run about itself: figures of all cores merged, and the checks, each with what was found and what is allowed.

use super::conduct::Conductor;
use super::core::{CoreEnd, Read};
use super::plan::Plan;
use super::seen::Runs;
use super::{Driver, Outcome};
use crate::bench::result::{Check, ClientCore, Latency, LoadResult, Operation};
use crate::bench::workload::Acks;
use std::collections::{BTreeMap, HashMap};

/// A client core that is busier than this distorts an open loop.
const BUSY: f64 = 0.8;
/// Planned sends may be handed over this late, at the 99th percentile, nanoseconds.
const LATE: u64 = 1_000_000;
/// Examples named in a check.
const NAMED: usize = 3;

fn merge(into: &mut Operation, from: &Operation) {
    into.requests += from.requests;
    into.records += from.records;
    into.bytes += from.bytes;
    into.latency.merge(&from.latency);
    for (code, count) in &from.errors {
        *into.errors.entry(*code).or_default() += count;
    }
}

/// What is known of a group in one place: by producer, what its members saw.
#[derive(Default)]
struct Group {
    seen: Runs,
    doubled: u64,
    reordered: u64,
    /// Numbers seen by several members, or by one again after it was given the place anew.
    again: u64,
}

/// All that went through the run, and what is wrong with it.
pub(super) fn judge(conductor: Conductor<'_>, driver: Driver, cpus: &[usize]) -> Outcome {
    let Conductor { plan, ends, mut checks, mut caveats, seconds, ramp, mut drain, log_ends, read_all, .. } = conductor;
    let mut load = LoadResult { driver: name(driver).to_string(), seconds, ramp, ..LoadResult::default() };
    for (end, cpu) in ends.iter().zip(cpus) {
        merge(&mut load.publish, &end.tally.publish);
        merge(&mut load.end_to_end, &end.tally.end_to_end);
        merge(&mut load.fetch, &end.tally.fetch);
        load.rebalances.merge(&end.tally.rebalances);
        load.churned_connections += end.tally.churned;
        load.measured_us = load.measured_us.max(end.busy.1 / 1000);
        let busy = end.busy.0 as f64 / end.busy.1.max(1) as f64;
        load.clients.push(ClientCore { cpu: *cpu, connections: end.connections, busy, lag: end.tally.lag.clone() });
    }
    if let Some(drain) = &mut drain {
        drain.bytes_per_second = load.fetch.bytes as f64 / drain.seconds;
        drain.publish = load.publish.latency.clone();
    }
    load.drain = drain;
    let open =
        plan.workload.producers.count > 0 && (plan.workload.producers.rate.is_some() || plan.workload.ramp.is_some());
    checks.push(measured(&plan, &load));
    checks.push(saturation(&load.clients, open));
    if open {
        checks.push(lag(&load.clients));
    }
    checks.push(errors(&ends));
    checks.push(answers(&ends));
    checks.push(in_the_log(&plan, &ends, &log_ends));
    if plan.workload.consumers.groups > 0 && !plan.rereads() {
        let again = records(&plan, &ends, read_all, &mut checks);
        load.read_again = again;
        if !read_all {
            caveats.push(
                "readers had not read everything at the end: what they had not reached was not looked for".to_string(),
            );
        }
    }
    caveats.extend(remarks(&plan, &ends));
    Outcome { load, checks, caveats }
}

fn name(driver: Driver) -> &'static str {
    match driver {
        Driver::Glommio => "glommio",
        Driver::Ring => "ring",
    }
}

fn check(name: &str, passed: bool, found: String) -> Check {
    Check { name: name.to_string(), passed, found }
}

fn measured(plan: &Plan, load: &LoadResult) -> Check {
    let writes = plan.workload.producers.count == 0 || load.publish.records > 0;
    let reads = plan.workload.consumers.groups == 0 || load.fetch.records > 0;
    let found = format!("{} records written, {} read in the measured part", load.publish.records, load.fetch.records);
    check("something measured", writes && reads && load.measured_us > 0, found)
}

fn saturation(clients: &[ClientCore], open: bool) -> Check {
    let busiest = clients.iter().map(|client| client.busy).fold(0.0, f64::max);
    let found = format!("the busiest client core was busy {:.0} % of the time", busiest * 100.0);
    match open {
        true => check("client saturation", busiest <= BUSY, format!("{found}; {:.0} % is allowed", BUSY * 100.0)),
        false => check("client saturation", true, format!("{found}, in a closed loop")),
    }
}

fn lag(clients: &[ClientCore]) -> Check {
    let mut all = Latency::default();
    clients.iter().for_each(|client| all.merge(&client.lag));
    let p99 = all.0.value_at_percentile(99.0);
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let largest = micros(all.max().unwrap_or(0));
    let found = format!(
        "planned sends were handed over {:.0} us late at p99, {largest:.0} us at most; {:.0} us at p99 is allowed",
        micros(p99),
        micros(LATE)
    );
    check("schedule lag", p99 <= LATE, found)
}

fn errors(ends: &[CoreEnd]) -> Check {
    let mut codes: BTreeMap<(&str, i16), u64> = BTreeMap::new();
    for (what, of) in ends.iter().flat_map(|end| [("Produce", &end.tally.publish), ("Fetch", &end.tally.fetch)]) {
        of.errors.iter().for_each(|(code, count)| *codes.entry((what, *code)).or_default() += count);
    }
    let refused: u64 = ends.iter().map(|end| end.tally.refused).sum();
    let retried: u64 = ends.iter().map(|end| end.tally.retried).sum();
    let told: Vec<String> =
        codes.iter().map(|((what, code), count)| format!("{what} {}: {count}", super::named(*code))).collect();
    let told = if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) };
    check(
        "errors",
        refused == 0,
        format!("{refused} refusals, {retried} records sent again{told}; no refusal is allowed"),
    )
}

fn answers(ends: &[CoreEnd]) -> Check {
    let unanswered: u64 = ends.iter().map(|end| end.unanswered).sum();
    check("answers", unanswered == 0, format!("{unanswered} records were not answered; none is allowed"))
}

/// The log is as long as what was acknowledged, whether anybody reads it or not.
fn in_the_log(plan: &Plan, ends: &[CoreEnd], log_ends: &[i64]) -> Check {
    let mut acknowledged = vec![0u64; log_ends.len()];
    for written in ends.iter().flat_map(|end| &end.written) {
        acknowledged[written.place as usize] += written.acknowledged.len();
    }
    let silent = plan.workload.producers.acks == Acks::None;
    let short =
        log_ends.iter().zip(&acknowledged).filter(|(end, wrote)| (**end).max(0).unsigned_abs() < **wrote).count();
    let log: i64 = log_ends.iter().sum();
    let sum: u64 = acknowledged.iter().sum();
    let found = format!("{sum} records acknowledged, {log} offsets in the log, too few in {short} partitions");
    check("records in the log", silent || short == 0, found)
}

/// Lost, doubled, reordered, strange and damaged records. Answers how many were read again as they may be.
fn records(plan: &Plan, ends: &[CoreEnd], read_all: bool, checks: &mut Vec<Check>) -> u64 {
    let mut groups: HashMap<(u32, u32, u32), Group> = HashMap::new();
    for Read { group, place, producer, tracker } in ends.iter().flat_map(|end| &end.read) {
        let sum = groups.entry((*group, *place, *producer)).or_default();
        let merged = sum.seen.merged(&tracker.seen);
        sum.again += sum.seen.len() + tracker.seen.len() - merged.len();
        sum.seen = merged;
        sum.doubled += tracker.doubled;
        sum.reordered += tracker.reordered;
    }
    let (mut lost, mut invented, mut written) = (0, 0, 0);
    let mut examples = Vec::new();
    let none = Group::default();
    let silent = plan.workload.producers.acks == Acks::None;
    for group in 0..plan.workload.consumers.groups {
        for of in ends.iter().flat_map(|end| &end.written) {
            let seen = groups.get(&(group, of.place, of.producer)).unwrap_or(&none);
            let limit = if read_all && !silent { u64::MAX } else { seen.seen.end() };
            let (count, first) = of.acknowledged.missing_in(&seen.seen, limit);
            lost += count;
            written += of.acknowledged.len();
            invented += seen.seen.end().saturating_sub(of.sent);
            if let Some(first) = first.filter(|_| examples.len() < NAMED) {
                let (topic, partition) = plan.topic(of.place);
                examples.push(format!("producer {} record {first} in {topic}-{partition}", of.producer));
            }
        }
    }
    let sum = |of: fn(&Group) -> u64| groups.values().map(of).sum::<u64>();
    let (doubled, again, reordered) = (sum(|g| g.doubled), sum(|g| g.again), sum(|g| g.reordered));
    let total = |of: fn(&CoreEnd) -> u64| ends.iter().map(of).sum::<u64>();
    invented += total(|end| end.tally.strangers);
    let damaged = total(|end| end.tally.damaged);
    let overflowed = sum(|g| g.seen.overflowed);
    let named = if examples.is_empty() { String::new() } else { format!(" ({})", examples.join(", ")) };
    checks.push(check(
        "lost records",
        lost == 0,
        format!("{lost} of {written} acknowledged records never arrived{named}"),
    ));
    // Partitions that move between members are read again from the last commit.
    let coordinated = plan.workload.consumers.coordinated;
    let (counted, moved) = if coordinated { (0, doubled + again) } else { (doubled + again, 0) };
    let told =
        if coordinated { format!("; {moved} read again as partitions moved, which is allowed") } else { String::new() };
    checks.push(check("doubled records", counted == 0, format!("{counted} records arrived twice{told}")));
    checks.push(check(
        "order",
        reordered == 0,
        format!("{reordered} records arrived behind one that was written later"),
    ));
    let damage = ends.iter().find_map(|end| end.tally.damage.as_deref()).map_or(String::new(), |d| format!(" ({d})"));
    let found = format!("{invented} records that nobody wrote there, {damaged} damaged answers{damage}");
    checks.push(check("records as written", invented == 0 && damaged == 0, found));
    if overflowed > 0 {
        checks.push(check(
            "bookkeeping",
            false,
            format!("{overflowed} records were too scattered to be kept track of"),
        ));
    }
    moved
}

fn remarks(plan: &Plan, ends: &[CoreEnd]) -> Vec<String> {
    let mut told = Vec::new();
    if plan.workload.producers.acks == Acks::None {
        told.push(
            "acks are none: publish latency is the time to hand a batch to the kernel, and lost records are only gaps"
                .to_string(),
        );
    }
    let churned: u64 = ends.iter().map(|end| end.tally.churned).sum();
    if churned > 0 {
        told.push(format!("{churned} connections were opened, used once and closed"));
    }
    let smallest = match &plan.workload.records.size {
        crate::bench::workload::Size::Fixed(len) => *len,
        crate::bench::workload::Size::Uniform { from, .. } => *from,
        crate::bench::workload::Size::Weighted(of) => of.iter().map(|(len, _)| *len).min().unwrap_or(0),
    };
    if (smallest as usize) < super::batch::STAMP {
        told.push(format!(
            "values are at least {} bytes long, so that each record can be known again",
            super::batch::STAMP
        ));
    }
    told
}
