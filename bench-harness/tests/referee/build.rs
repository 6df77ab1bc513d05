//! Histories by hand, a call a line.

use ringlog_bench_harness::referee::history::{
    Call, Event, Found, Idempotent, Isolation, Member, Outcome, Partition, Promise, Sent, Spec, What,
};
use ringlog_bench_harness::referee::{Finding, Rule, Verdict, judge};

pub(crate) const FLUSHED: Promise =
    Promise { flushed: true, retention_ms: None, retention_bytes: None, compacted: false, log_append_time: false };

/// A record's time unless told: its value.
pub(crate) fn sent(value: u64) -> Sent {
    Sent { value, timestamp: i64::try_from(value).expect("small"), key: None }
}

pub(crate) fn found(offset: i64, value: u64) -> Found {
    Found { offset, value: Some(value), timestamp: i64::try_from(value).expect("small"), leader_epoch: 0 }
}

/// Of topic `t`.
pub(crate) fn part(partition: i32) -> Partition {
    Partition { topic: "t".to_string(), incarnation: 0, partition }
}

pub(crate) fn member(member: &str, generation: i32) -> Member {
    Member { member: member.to_string(), generation }
}

pub(crate) fn refused() -> Outcome {
    Outcome::Refused { error: "INVALID_RECORD".to_string() }
}

pub(crate) fn unknown() -> Outcome {
    Outcome::Unknown { why: "the connection was lost".to_string() }
}

pub(crate) fn at(base_offset: i64) -> Outcome {
    Outcome::Produced { base_offset, log_append_time: None }
}

/// A history in the making. Topic `t` is there from the beginning.
#[derive(Clone, Default)]
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
    ops: u64,
}

impl History {
    pub(crate) fn new(promise: Promise) -> History {
        let mut history = History::default();
        let create = Call::CreateTopic { topic: "t".to_string(), incarnation: 0, partitions: 2, promise };
        history.ask(create, Outcome::Done);
        history
    }

    pub(crate) fn tell(&mut self, what: What) {
        self.events.push(Event { at: self.events.len() as u64 * 1000, what });
    }

    pub(crate) fn call(&mut self, client: u32, call: Call) -> u64 {
        self.ops += 1;
        self.tell(What::Call { op: self.ops, client, call });
        self.ops
    }

    pub(crate) fn end(&mut self, op: u64, outcome: Outcome) {
        self.tell(What::Return { op, outcome });
    }

    pub(crate) fn ask(&mut self, call: Call, outcome: Outcome) {
        let op = self.call(0, call);
        self.end(op, outcome);
    }

    pub(crate) fn crash(&mut self) {
        self.tell(What::Broker { what: "killed".to_string() });
        self.tell(What::Broker { what: "started".to_string() });
    }

    /// A batch without idempotence to partition 0.
    pub(crate) fn send(&mut self, acks: i16, values: &[u64], outcome: Outcome) {
        self.ask(produce(acks, values), outcome);
    }

    /// A batch of producer 7 with so many sequences before it.
    pub(crate) fn send_once(&mut self, sequence: i32, values: &[u64], outcome: Outcome) {
        self.ask(idempotent(0, sequence, values), outcome);
    }

    /// Values from an offset of partition 0 on, and the high watermark.
    pub(crate) fn read(&mut self, offset: i64, values: &[u64], high: i64) {
        let records: Vec<_> = (offset..).zip(values).map(|(o, v)| found(o, *v)).collect();
        self.ask(fetch(0, offset), fetched(&records, offset, high));
    }

    /// What is there at the end, from offset 0 on.
    pub(crate) fn left(&mut self, values: &[u64]) {
        self.tell(What::FinalReads);
        self.read(0, values, i64::try_from(values.len()).expect("few"));
    }

    pub(crate) fn list(&mut self, spec: Spec, offset: i64, timestamp: i64) {
        let call = Call::ListOffsets { from: part(0), spec, isolation: Isolation::Uncommitted };
        self.ask(call, Outcome::Offset { offset, timestamp });
    }

    pub(crate) fn verdict(&self) -> Verdict {
        judge(&self.events)
    }

    #[track_caller]
    pub(crate) fn breaks(&self, rule: Rule) -> Verdict {
        let verdict = self.verdict();
        let rules: Vec<Rule> = verdict.violations.iter().map(|violation| violation.rule).collect();
        assert!(rules.contains(&rule), "{rule} is not among {rules:?}\n{}", verdict.explain_of(&self.events));
        assert_eq!(verdict.finding(), Finding::Invalid);
        verdict
    }

    #[track_caller]
    pub(crate) fn holds(&self) {
        let verdict = self.verdict();
        assert_eq!(verdict.finding(), Finding::Valid, "{}", verdict.explain_of(&self.events));
    }

    #[track_caller]
    pub(crate) fn lacks(&self, what: &str) {
        let verdict = self.verdict();
        assert_eq!(verdict.finding(), Finding::Inconclusive, "{}", verdict.explain_of(&self.events));
        assert!(verdict.missing.iter().any(|missing| missing.contains(what)), "{:?}", verdict.missing);
    }
}

pub(crate) fn produce(acks: i16, values: &[u64]) -> Call {
    let records = values.iter().map(|value| sent(*value)).collect();
    Call::Produce { to: part(0), acks, records, idempotent: None, transaction: None }
}

pub(crate) fn idempotent(epoch: i16, sequence: i32, values: &[u64]) -> Call {
    let records = values.iter().map(|value| sent(*value)).collect();
    let by = Idempotent { producer_id: 7, epoch, sequence };
    Call::Produce { to: part(0), acks: -1, records, idempotent: Some(by), transaction: None }
}

pub(crate) fn fetch(partition: i32, offset: i64) -> Call {
    Call::Fetch { from: part(partition), offset, isolation: Isolation::Uncommitted }
}

/// An answer that goes on behind its last record.
pub(crate) fn fetched(records: &[Found], offset: i64, high: i64) -> Outcome {
    let next = records.last().map_or(offset, |last| last.offset + 1);
    Outcome::Fetched { high_watermark: high, log_start: 0, last_stable: high, records: records.to_vec(), next }
}
