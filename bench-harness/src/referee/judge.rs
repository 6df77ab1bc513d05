//! Takes a history, event by event, and keeps of it what the rules need: not the events themselves. What can be told from an
//! answer and what came before it is judged at once, the rest at the end.

use super::history::{Call, Event, Outcome, Partition, What};
use super::log::{Log, Marks};
use super::sends::{Batch, Fate, Lives, Sends};
use super::topics::Topics;
use super::verdict::{Report, Span, Verdict};
use super::{order, presence};
use std::collections::HashMap;

/// A call that was not answered yet.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) client: u32,
    pub(super) call: u64,
    pub(super) life: u32,
    pub(super) what: Asked,
}

/// What of a call its answer is judged by.
#[derive(Debug)]
pub(super) enum Asked {
    Produce(u32),
    /// A call to a partition: which, and its marks when it was made.
    Of(u32, Box<(Call, Marks)>),
    Other(Box<Call>),
}

#[derive(Debug, Default)]
pub struct Judge {
    pub(super) now: u64,
    at: u64,
    pub(super) life: u32,
    pub(super) final_reads: Option<u64>,
    open: HashMap<u64, Open>,
    pub(super) topics: Topics,
    pub(super) sends: Sends,
    pub(super) logs: Vec<Log>,
    by_partition: HashMap<Partition, u32>,
    pub(super) report: Report,
}

impl Judge {
    pub fn new() -> Judge {
        Judge::default()
    }

    /// The next event of the history.
    pub fn take(&mut self, event: &Event) {
        if event.at < self.at {
            self.report.miss(format!("an order of events: time goes back at event #{}", self.now));
        }
        self.at = event.at;
        self.report.verdict.counts.events += 1;
        match &event.what {
            What::Call { op, client, call } => self.call(*op, *client, call),
            What::Return { op, outcome } => self.answer(*op, outcome),
            What::Broker { .. } => {
                self.life += 1;
                self.report.verdict.counts.broker += 1;
            }
            What::Fault { .. } => {}
            What::Clock { .. } => {}
            What::FinalReads => self.final_reads = Some(self.now),
        }
        self.now += 1;
    }

    /// The history is over.
    pub fn finish(mut self) -> Verdict {
        order::judge(&mut self);
        presence::judge(&mut self);
        let counts = &self.report.verdict.counts;
        if counts.acknowledged == 0 && counts.read == 0 {
            self.report.miss("anything to judge: no record was acknowledged and none was read".to_string());
        }
        self.report.verdict.violations.sort_by_key(|violation| violation.events.last().copied());
        self.report.verdict
    }

    /// The index of a partition's log.
    pub(super) fn log(&mut self, partition: &Partition) -> u32 {
        if let Some(index) = self.by_partition.get(partition) {
            return *index;
        }
        let index = u32::try_from(self.logs.len()).expect("a history has fewer than four billion partitions");
        let topic = self.topics.index(&partition.topic, partition.incarnation);
        self.logs.push(Log::new(partition.clone(), topic));
        self.by_partition.insert(partition.clone(), index);
        index
    }

    /// The marks of a log as they are known now.
    fn marks(&mut self, log: u32) -> Marks {
        let log = &mut self.logs[log as usize];
        *log.marks.in_life(self.life, self.topics.all[log.topic].ever_relaxed)
    }

    fn call(&mut self, op: u64, client: u32, call: &Call) {
        self.report.verdict.counts.calls += 1;
        let what = match call {
            Call::Produce { .. } => self.produce(client, call),
            Call::Fetch { from, .. } | Call::ListOffsets { from, .. } | Call::DeleteRecords { from, .. } => {
                let log = self.log(from);
                if let Call::DeleteRecords { before, .. } = call {
                    self.logs[log as usize].deletions.push((self.now, *before));
                }
                let marks = self.marks(log);
                Asked::Of(log, Box::new((call.clone(), marks)))
            }
            other => {
                self.begin(other);
                Asked::Other(Box::new(other.clone()))
            }
        };
        let open = Open { client, call: self.now, life: self.life, what };
        if self.open.insert(op, open).is_some() {
            self.report.miss(format!("calls with numbers of their own: {op} is used again at event #{}", self.now));
        }
    }

    fn produce(&mut self, client: u32, call: &Call) -> Asked {
        let Call::Produce { to, acks, records, idempotent, transaction } = call else {
            panic!("event #{}: {call:?} is no Produce", self.now);
        };
        let log = self.log(to);
        let end = self.marks(log).end;
        self.report.verdict.counts.sent += records.len() as u64;
        self.logs[log as usize].transactional |= transaction.is_some();
        let stale = self.topics.all[self.logs[log as usize].topic].deletion.is_some();
        let batch = Batch {
            log,
            client,
            span: Span { call: self.now, ret: Span::NEVER },
            lives: Lives { first: self.life, last: u32::MAX },
            fate: Fate::Unknown,
            acks: *acks,
            idempotent: *idempotent,
            transaction: None,
            first: 0,
            count: 0,
            seen_base: None,
            floor: (end.at, end.by),
            durable: false,
            stale,
        };
        let index = self.sends.add(batch, records).unwrap_or_else(|value| {
            self.report.miss(format!("values of their own: {value} is sent again at event #{}", self.now));
            u32::try_from(self.sends.batches.len() - 1).expect("it was added")
        });
        self.logs[log as usize].batches.push(index);
        Asked::Produce(index)
    }

    /// A call begins that is to no one partition.
    fn begin(&mut self, call: &Call) {
        match call {
            Call::CreateTopic { topic, incarnation, promise, .. } => {
                let index = self.topics.index(topic, *incarnation);
                self.topics.creating(index, promise, self.now);
            }
            Call::AlterTopic { topic, incarnation, promise } => {
                let index = self.topics.index(topic, *incarnation);
                self.topics.altering(index, promise, self.now);
            }
            Call::DeleteTopic { topic, incarnation } => {
                let index = self.topics.index(topic, *incarnation);
                let topic = &mut self.topics.all[index];
                topic.deletion.get_or_insert(Span { call: self.now, ret: Span::NEVER });
            }
            _ => {}
        }
    }

    fn answer(&mut self, op: u64, outcome: &Outcome) {
        let Some(open) = self.open.remove(&op) else {
            self.report.miss(format!("a call for the answer at event #{}", self.now));
            return;
        };
        match outcome {
            Outcome::Refused { .. } => self.report.verdict.counts.refused += 1,
            Outcome::Unknown { .. } => self.report.verdict.counts.unknown += 1,
            _ => {}
        }
        let span = Span { call: open.call, ret: self.now };
        let lives = Lives { first: open.life, last: self.life };
        match open.what {
            Asked::Produce(batch) => self.produced(batch, span, lives, outcome),
            Asked::Of(log, asked) => {
                let (call, marks) = *asked;
                self.told(log, &call, &marks, span, lives, outcome);
            }
            Asked::Other(call) => self.ended(&call, span, outcome),
        }
    }

    fn ended(&mut self, call: &Call, span: Span, outcome: &Outcome) {
        let refused = matches!(outcome, Outcome::Refused { .. });
        match call {
            Call::AlterTopic { topic, incarnation, promise } => {
                let index = self.topics.index(topic, *incarnation);
                if refused || *outcome == Outcome::Done {
                    self.topics.altered(index, promise, !refused, self.now);
                }
            }
            Call::DeleteTopic { topic, incarnation } => {
                let index = self.topics.index(topic, *incarnation);
                let deletion = &mut self.topics.all[index].deletion;
                let own = deletion.is_some_and(|of| of.call == span.call);
                match outcome {
                    Outcome::Refused { .. } if own => *deletion = None,
                    Outcome::Done if own => *deletion = Some(span),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}
