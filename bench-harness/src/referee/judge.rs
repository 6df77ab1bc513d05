//! Takes a history, event by event, and keeps of it what the rules need: not the events themselves. What can be told from an
//! answer and what came before it is judged at once, the rest at the end.

use super::groups::Groups;
use super::history::{Call, Event, Outcome, Partition, What};
use super::log::{Log, Marks};
use super::retention::{self, Wall};
use super::rule::Rule;
use super::sends::{Batch, Fate, Lives, Sends};
use super::topics::Topics;
use super::transactions::Transactions;
use super::verdict::{Report, Span, Verdict};
use super::{order, presence, times};
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
    /// A commit, and who says that it must be refused.
    Commit(Box<Call>, Option<Span>),
}

#[derive(Debug, Default)]
pub struct Judge {
    pub(super) now: u64,
    pub(super) at: u64,
    pub(super) wall: Wall,
    pub(super) life: u32,
    pub(super) final_reads: Option<u64>,
    open: HashMap<u64, Open>,
    pub(super) topics: Topics,
    pub(super) sends: Sends,
    pub(super) logs: Vec<Log>,
    pub(super) groups: Groups,
    pub(super) transactions: Transactions,
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
            What::Clock { wall } => self.wall.set(event.at, *wall),
            What::FinalReads => self.final_reads = Some(self.now),
        }
        self.now += 1;
    }

    /// The history is over.
    pub fn finish(mut self) -> Verdict {
        self.unanswered();
        order::judge(&mut self);
        presence::judge(&mut self);
        times::judge(&mut self);
        retention::judge(&mut self);
        self.groups.judge(&mut self.topics, &self.transactions, &mut self.report);
        self.transactions.judge(&mut self.report);
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

    /// The deletions that a log may have seen: those for it, and those for earlier topics of its name that came late.
    pub(super) fn deletions(&self, log: &Log) -> Vec<(Span, i64)> {
        let mut all = log.deletions.clone();
        for incarnation in 0..log.partition.incarnation {
            let earlier = Partition { incarnation, ..log.partition.clone() };
            let Some(earlier) = self.by_partition.get(&earlier).map(|index| &self.logs[*index as usize]) else {
                continue;
            };
            let Some(end) = self.topics.all[earlier.topic].deletion else { continue };
            all.extend(earlier.deletions.iter().filter(|(span, _)| span.ret > end.call));
        }
        all
    }

    /// The marks of a log as they are known now.
    pub(super) fn marks(&mut self, log: u32) -> Marks {
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
                    self.logs[log as usize].deletions.push((Span { call: self.now, ret: Span::NEVER }, *before));
                }
                let marks = self.marks(log);
                Asked::Of(log, Box::new((call.clone(), marks)))
            }
            Call::Commit { group, by, offsets, .. } => {
                let fenced = self.groups.fenced(group, by, offsets, self.life);
                Asked::Commit(Box::new(call.clone()), fenced)
            }
            other => {
                self.begin(client, other);
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
        let transaction = transaction.as_ref().map(|name| self.transactions.index(name, client, self.now));
        let stale = self.topics.all[self.logs[log as usize].topic].deletion.is_some();
        let batch = Batch {
            log,
            span: Span { call: self.now, ret: Span::NEVER },
            lives: Lives { first: self.life, last: u32::MAX },
            fate: Fate::Unknown,
            acks: *acks,
            idempotent: *idempotent,
            transaction,
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
        if let Some(transaction) = transaction {
            self.transactions.sent(transaction, index);
        }
        Asked::Produce(index)
    }

    /// A call begins that is to no one partition.
    fn begin(&mut self, client: u32, call: &Call) {
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
            Call::EndTransaction { transaction, commit: true } => {
                let index = self.transactions.index(transaction, client, self.now);
                self.transactions.ending(index, self.now);
                order::note_open(self, index);
            }
            Call::Release { group, by } => self.groups.released(group, by, self.now),
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
            Asked::Other(call) => self.ended(&call, open.client, span, lives, outcome),
            Asked::Commit(call, fenced) => self.committed(&call, open.client, span, fenced, outcome),
        }
    }

    fn ended(&mut self, call: &Call, client: u32, span: Span, lives: Lives, outcome: &Outcome) {
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
            Call::InitProducer { transactional_id: Some(id) } if matches!(outcome, Outcome::Producer { .. }) => {
                self.transactions.initialized(id, client, span);
            }
            Call::EndTransaction { transaction, commit } => {
                let index = self.transactions.index(transaction, client, span.call);
                self.transaction_ended(index, *commit, span, outcome);
            }
            Call::Committed { group, .. } => {
                if let Outcome::Offsets { offsets } = outcome {
                    self.groups.told(group, offsets, span);
                }
            }
            Call::DeleteGroup { group } if !refused => self.groups.deleted(group, span, *outcome == Outcome::Done),
            Call::Assign { group, by } => {
                if let Outcome::Assigned { partitions } = outcome {
                    self.groups.assigned(group, by, partitions, (span, lives), &mut self.report);
                }
            }
            _ => {}
        }
    }

    fn transaction_ended(&mut self, index: u32, commit: bool, span: Span, outcome: &Outcome) {
        match (commit, outcome) {
            (true, Outcome::Done) => {
                self.transactions.ended(index, span, true, &mut self.report);
                order::judge_open(self, index, span);
            }
            (true, Outcome::Refused { .. }) => self.transactions.ended(index, span, false, &mut self.report),
            (false, Outcome::Done) => self.transactions.aborted(index),
            _ => {}
        }
    }

    fn committed(&mut self, call: &Call, client: u32, span: Span, fenced: Option<Span>, outcome: &Outcome) {
        let Call::Commit { group, by, offsets, transaction } = call else {
            panic!("event #{}: {call:?} is no Commit", self.now);
        };
        let done = *outcome == Outcome::Done;
        if let (true, Some(fenced)) = (done, fenced) {
            self.report.add(Rule::FencedCommit, &[fenced, span], || {
                format!(
                    "group {group}: a commit of {} in generation {} was taken after a newer generation was told",
                    by.member, by.generation
                )
            });
        }
        if !matches!(outcome, Outcome::Refused { .. }) {
            let transaction = transaction.as_ref().map(|name| self.transactions.index(name, client, span.call));
            self.groups.committed(group, offsets, span, done, transaction);
        }
    }

    /// What was not answered by the end may have happened.
    fn unanswered(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.report.verdict.counts.unknown += open.len() as u64;
        for open in open.into_values() {
            let span = Span { call: open.call, ret: Span::NEVER };
            let unknown = Outcome::Unknown { why: String::new() };
            match open.what {
                Asked::Commit(call, fenced) => self.committed(&call, open.client, span, fenced, &unknown),
                Asked::Other(call) => {
                    let lives = Lives { first: open.life, last: self.life };
                    self.ended(&call, open.client, span, lives, &unknown);
                }
                Asked::Produce(_) | Asked::Of(..) => {}
            }
        }
    }
}
