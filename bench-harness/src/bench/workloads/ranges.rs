//! What the numbers of a workload may be, and what does not go together. One table, so that files, `--set` and imports are held to
//! the same.

use crate::bench::workload::{Acks, From, Keys, Size, Workload};
use std::fmt;

/// Longest record value: what brokers take at most, if told so.
const RECORD_MAX: f64 = 100e6;
/// Largest batch.
const BATCH_MAX: f64 = 1e9;

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Its path in the file.
    pub field: &'static str,
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.why)
    }
}

type Row = (&'static str, f64, f64, f64);

/// Everything that is wrong with a workload.
pub fn faults(w: &Workload) -> Vec<Fault> {
    let mut found = Vec::new();
    let mut rows = counts(w);
    rows.extend(sizes(w));
    rows.extend(options(w));
    for (field, value, from, to) in rows {
        if !(from..=to).contains(&value) {
            found.push(Fault { field, why: format!("{value} is not in {from} to {to}") });
        }
    }
    found.extend(together(w));
    found
}

/// Field, value, least, greatest.
fn counts(w: &Workload) -> Vec<Row> {
    vec![
        ("topics.count", f64::from(w.topics.count), 1.0, 10_000.0),
        ("topics.partitions", f64::from(w.topics.partitions), 1.0, 100_000.0),
        ("topics.replication", f64::from(w.topics.replication), 1.0, 100.0),
        ("producers.count", f64::from(w.producers.count), 0.0, 10_000.0),
        ("producers.in_flight", f64::from(w.producers.in_flight), 1.0, 10_000.0),
        ("producers.batch_records", f64::from(w.producers.batch_records), 1.0, 1e6),
        ("producers.linger_us", w.producers.linger_us as f64, 0.0, 60e6),
        ("producers.partitions_per_request", f64::from(w.producers.partitions_per_request), 1.0, 100_000.0),
        ("consumers.groups", f64::from(w.consumers.groups), 0.0, 10_000.0),
        ("consumers.count", f64::from(w.consumers.count), 1.0, 10_000.0),
        ("consumers.max_bytes", f64::from(w.consumers.max_bytes), 1.0, f64::from(i32::MAX)),
        ("consumers.partition_bytes", f64::from(w.consumers.partition_bytes), 1.0, f64::from(i32::MAX)),
        ("consumers.min_bytes", f64::from(w.consumers.min_bytes), 0.0, f64::from(i32::MAX)),
        ("consumers.max_wait_ms", f64::from(w.consumers.max_wait_ms), 0.0, 600_000.0),
        ("consumers.commit_ms", w.consumers.commit_ms as f64, 1.0, 3_600_000.0),
        ("connections.idle", f64::from(w.connections.idle), 0.0, 1e6),
        ("connections.churn_rate", w.connections.churn_rate, 0.0, 1e6),
        ("run.warmup_seconds", w.run.warmup_seconds, 0.0, 86_400.0),
        ("run.seconds", w.run.seconds, 0.1, 604_800.0),
        ("records.compressible", w.records.compressible, 0.0, 1.0),
    ]
}

/// A value holds at least its producer, sequence and planned time.
fn sizes(w: &Workload) -> Vec<Row> {
    let size = |bytes: u32| ("records.size", f64::from(bytes), 24.0, RECORD_MAX);
    let mut rows = match &w.records.size {
        Size::Fixed(bytes) => vec![size(*bytes)],
        Size::Uniform { from, to } => vec![size(*from), size(*to)],
        Size::Weighted(sizes) => {
            let weights = sizes.iter().map(|(_, weight)| ("records.size", *weight, f64::MIN_POSITIVE, 1e12));
            sizes.iter().map(|(bytes, _)| size(*bytes)).chain(weights).collect()
        }
    };
    match w.records.keys {
        Keys::None => {}
        Keys::Uniform { count } => rows.push(("records.keys", count as f64, 1.0, 1e9)),
        Keys::Zipf { count, exponent } => {
            rows.push(("records.keys", count as f64, 1.0, 1e9));
            rows.push(("records.keys", exponent, 0.01, 10.0));
        }
    }
    rows
}

/// Fields that may be absent.
fn options(w: &Workload) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(w.producers.rate.map(|rate| ("producers.rate", rate, 0.001, 1e9)));
    rows.extend(w.producers.transaction_records.map(|n| ("producers.transaction_records", f64::from(n), 1.0, 1e6)));
    rows.extend(w.consumers.rate.map(|rate| ("consumers.rate", rate, 0.001, 1e9)));
    rows.extend(w.consumers.churn_ms.map(|ms| ("consumers.churn_ms", ms as f64, 10.0, 3_600_000.0)));
    if let Some(ramp) = &w.ramp {
        rows.push(("ramp.from", ramp.from, 0.001, 1e9));
        rows.push(("ramp.to", ramp.to, ramp.from, 1e9));
        rows.push(("ramp.factor", ramp.factor, 1.01, 100.0));
        rows.push(("ramp.halvings", f64::from(ramp.halvings), 0.0, 20.0));
        rows.push(("ramp.step_seconds", ramp.step_seconds, 0.1, 86_400.0));
        rows.push(("ramp.percentile", ramp.percentile, 1.0, 99.999));
        rows.push(("ramp.latency_ms", ramp.latency_ms, 0.001, 3_600_000.0));
    }
    rows.extend(w.backlog.as_ref().map(|b| ("backlog.bytes", b.bytes as f64, 1.0, 1e14)));
    rows
}

/// Longest value of a size.
pub fn longest(size: &Size) -> u32 {
    match size {
        Size::Fixed(bytes) => *bytes,
        Size::Uniform { to, .. } => *to,
        Size::Weighted(sizes) => sizes.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0),
    }
}

/// What does not go together.
fn together(w: &Workload) -> Vec<Fault> {
    let mut found = Vec::new();
    let mut fault = |wrong: bool, field: &'static str, why: &str| {
        if wrong {
            found.push(Fault { field, why: why.to_string() });
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let named = (1..=80).contains(&w.name.len()) && w.name.chars().all(plain) && !w.name.starts_with('.');
    fault(!named, "name", "1 to 80 letters, digits, - and _, as it names folders");
    fault(w.question.trim().is_empty(), "question", "it is empty: say what the workload answers");
    let partitions = u64::from(w.topics.count) * u64::from(w.topics.partitions);
    fault(partitions > 200_000, "topics.partitions", "more than 200000 partitions in all topics");
    let asked = u64::from(w.producers.partitions_per_request);
    fault(asked > partitions, "producers.partitions_per_request", "more than there are partitions");
    if let Size::Uniform { from, to } = w.records.size {
        fault(from > to, "records.size", "from is above to");
    }
    fault(matches!(&w.records.size, Size::Weighted(s) if s.is_empty()), "records.size", "no sizes");
    let batch = f64::from(w.producers.batch_records) * f64::from(longest(&w.records.size));
    fault(batch > BATCH_MAX, "producers.batch_records", "a batch may be larger than 1000000000 bytes");
    let p = &w.producers;
    fault(p.idempotent && p.acks != Acks::All, "producers.acks", "idempotent producers need acks = \"all\"");
    fault(p.idempotent && p.in_flight > 5, "producers.in_flight", "at most 5 with idempotent producers");
    let transacts = p.transaction_records.is_some();
    fault(transacts && !p.idempotent, "producers.idempotent", "transactions need idempotent producers");
    let c = &w.consumers;
    fault(c.churn_ms.is_some() && !c.coordinated, "consumers.churn_ms", "needs consumers.coordinated = true");
    let idle = w.connections.idle == 0 && w.connections.churn_rate == 0.0;
    fault(p.count == 0 && c.groups == 0 && idle, "producers.count", "nobody writes, reads or connects");
    fault(w.ramp.is_some() && p.count == 0, "ramp", "needs producers");
    fault(w.ramp.is_some() && p.rate.is_some(), "producers.rate", "a ramp sets the rate");
    fault(w.backlog.is_some() && c.groups == 0, "backlog", "needs consumers");
    let tail = c.groups > 0 && c.from == From::Tail;
    fault(tail && w.backlog.is_none(), "consumers.from", "to read the tail again and again there has to be a backlog");
    found
}
