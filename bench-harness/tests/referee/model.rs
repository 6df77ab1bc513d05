//! A model of a broker that keeps its promises, with clients whose calls overlap, get lost and are sent again, and crashes that take
//! all that they may. Its histories are valid, whatever the seed.

use crate::build::{member, refused, unknown};
use ringlog_bench_harness::referee::history::{
    Call, Event, Found, Idempotent, Isolation, Outcome, Partition, Promise, Sent, Spec, Transaction, What,
};
use ringlog_bench_harness::referee::{Finding, judge};
use ringlog_bench_harness::sim::random::Random;
use std::collections::HashMap;

const CLIENTS: usize = 5;
const PARTITIONS: i32 = 2;
/// What each topic is for; all are made at the beginning.
const TOPICS: [&str; 4] = ["flushed", "relaxed", "compacted", "transactions"];

#[derive(Clone)]
struct Entry {
    offset: i64,
    /// None: the marker at a transaction's end.
    sent: Option<Sent>,
    epoch: i32,
    transaction: Option<Transaction>,
    /// Where its batch begins.
    batch: i64,
}

#[derive(Clone, Default)]
struct Log {
    entries: Vec<Entry>,
    start: i64,
    end: i64,
    /// A crash leaves what is before.
    durable: i64,
    /// By producer: epoch, next sequence, and where the last batch is.
    producers: HashMap<i64, (i16, i32, i64)>,
    open: HashMap<Transaction, i64>,
    aborted: Vec<Transaction>,
}

impl Log {
    fn stable(&self, high: i64) -> i64 {
        self.open.values().copied().min().unwrap_or(high).min(high)
    }

    fn append(&mut self, records: &[Option<Sent>], epoch: i32, transaction: Option<&Transaction>) {
        let batch = self.end;
        for sent in records {
            let (offset, transaction) = (self.end, transaction.cloned());
            self.entries.push(Entry { offset, sent: sent.clone(), epoch, transaction, batch });
            self.end += 1;
        }
    }
}

struct Topic {
    incarnation: u32,
    promise: Promise,
    logs: Vec<Log>,
}

/// A client in the middle of a call.
struct Doing {
    op: u64,
    call: Call,
    /// What the broker said, once it was there.
    told: Option<Outcome>,
}

#[derive(Default)]
struct Client {
    doing: Option<Doing>,
    epoch: i16,
    sequences: HashMap<Partition, i32>,
    attempt: Option<u64>,
    attempts: u64,
    ready: bool,
}

pub(crate) struct Model {
    plain: bool,
    random: Random,
    pub(crate) events: Vec<Event>,
    at: u64,
    ops: u64,
    values: u64,
    epoch: i32,
    topics: HashMap<&'static str, Topic>,
    committed: HashMap<Partition, i64>,
    clients: Vec<Client>,
    /// Requests whose clients gave up, still on their way.
    late: Vec<Call>,
    incarnations: HashMap<&'static str, u32>,
}

/// A history of so many steps.
pub(crate) fn history(seed: u64, steps: u64) -> Vec<Event> {
    run(seed, steps, false)
}

/// One with idempotent producers, fetches and crashes alone, on one topic.
pub(crate) fn plain_history(seed: u64, steps: u64) -> Vec<Event> {
    run(seed, steps, true)
}

fn run(seed: u64, steps: u64, plain: bool) -> Vec<Event> {
    let mut model = Model {
        plain,
        random: Random::stream(seed, "model"),
        events: Vec::new(),
        at: 0,
        ops: 0,
        values: 0,
        epoch: 0,
        topics: HashMap::new(),
        committed: HashMap::new(),
        clients: (0..CLIENTS).map(|_| Client::default()).collect(),
        late: Vec::new(),
        incarnations: HashMap::new(),
    };
    for name in TOPICS {
        model.create(name);
    }
    for _ in 0..steps {
        model.step();
    }
    model.end();
    model.events
}

impl Model {
    fn tell(&mut self, what: What) {
        self.at += self.random.below(50);
        self.events.push(Event { at: self.at, what });
    }

    fn called(&mut self, client: usize, call: &Call) -> u64 {
        self.ops += 1;
        let client = u32::try_from(client).expect("few");
        self.tell(What::Call { op: self.ops, client, call: call.clone() });
        self.ops
    }

    fn create(&mut self, name: &'static str) {
        let incarnation = self.incarnations.get(name).map_or(0, |last| last + 1);
        self.incarnations.insert(name, incarnation);
        let promise = Promise { flushed: name != "relaxed", compacted: name == "compacted", ..Promise::default() };
        let call = Call::CreateTopic {
            topic: name.to_string(),
            incarnation,
            partitions: PARTITIONS,
            promise: promise.clone(),
        };
        let op = self.called(0, &call);
        let logs = (0..PARTITIONS).map(|_| Log::default()).collect();
        self.topics.insert(name, Topic { incarnation, promise, logs });
        self.tell(What::Return { op, outcome: Outcome::Done });
    }

    fn step(&mut self) {
        match self.random.below(400) {
            0..3 => self.crash(),
            3 if !self.plain => self.delete(),
            4..10 => self.compact(),
            10..16 => self.deliver_late(),
            16..20 => self.epoch += 1,
            _ => {
                let client = usize::try_from(self.random.below(CLIENTS as u64)).expect("few");
                self.act(client);
            }
        }
    }

    fn crash(&mut self) {
        self.tell(What::Broker { what: "killed".to_string() });
        for topic in self.topics.values_mut() {
            for log in &mut topic.logs {
                let kept = self.random.between(u64::try_from(log.durable).unwrap(), u64::try_from(log.end).unwrap());
                let kept = i64::try_from(kept).unwrap();
                // Batches are cut as a whole.
                let cut = log.entries.iter().find(|entry| entry.offset >= kept);
                let kept = cut.map_or(log.end, |entry| entry.batch.max(log.durable));
                log.entries.retain(|entry| entry.offset < kept);
                (log.end, log.durable) = (kept, kept);
                log.start = log.start.min(kept);
                // What producers had sent is known again from the log.
                log.producers.retain(|_, (_, _, base)| *base < kept);
            }
        }
        // All connections are gone: what was not answered never will be.
        for client in &mut self.clients {
            client.ready = false;
            if let Some(doing) = &mut client.doing {
                doing.told.get_or_insert_with(unknown);
            }
        }
        self.late.clear();
        self.tell(What::Broker { what: "started".to_string() });
    }

    fn delete(&mut self) {
        let name = *self.random.pick(&["flushed", "relaxed"]);
        let incarnation = self.incarnations[name];
        let call = Call::DeleteTopic { topic: name.to_string(), incarnation };
        let op = self.called(0, &call);
        if self.random.one_in(4) {
            self.act(1);
        }
        self.topics.remove(name);
        self.committed.retain(|partition, _| partition.topic != name);
        let outcome = if self.random.one_in(3) { unknown() } else { Outcome::Done };
        self.tell(What::Return { op, outcome });
        for _ in 0..self.random.below(5) {
            self.act(2);
        }
        self.create(name);
    }

    fn compact(&mut self) {
        for log in &mut self.topics.get_mut("compacted").expect("it stays").logs {
            let mut last: HashMap<Option<String>, i64> = HashMap::new();
            for entry in log.entries.iter().filter(|entry| entry.offset < log.durable) {
                last.insert(entry.sent.as_ref().and_then(|sent| sent.key.clone()), entry.offset);
            }
            let durable = log.durable;
            log.entries
                .retain(|e| e.offset >= durable || last[&e.sent.as_ref().and_then(|s| s.key.clone())] == e.offset);
        }
    }

    fn deliver_late(&mut self) {
        if let Some(call) = self.late.pop() {
            let _ = self.apply(&call);
        }
    }

    /// A client goes one step further in what it does.
    fn act(&mut self, client: usize) {
        let Some(mut doing) = self.clients[client].doing.take() else {
            if let Some(call) = self.next(client) {
                let op = self.called(client, &call);
                self.clients[client].doing = Some(Doing { op, call, told: None });
            }
            return;
        };
        match doing.told.take() {
            None => {
                let told = match self.random.below(12) {
                    // Lost on its way, or on the way back, or still on its way.
                    0 => unknown(),
                    1 => {
                        let _ = self.apply(&doing.call);
                        unknown()
                    }
                    2 if !matches!(doing.call, Call::EndTransaction { .. }) => {
                        self.late.push(doing.call.clone());
                        unknown()
                    }
                    // Sent again.
                    3 => {
                        let _ = self.apply(&doing.call);
                        self.apply(&doing.call)
                    }
                    4 if !matches!(doing.call, Call::InitProducer { .. }) => refused(),
                    _ => self.apply(&doing.call),
                };
                doing.told = Some(told);
                self.clients[client].doing = Some(doing);
            }
            Some(outcome) => {
                self.learn(client, &doing.call, &outcome);
                self.tell(What::Return { op: doing.op, outcome });
            }
        }
    }

    fn partition(&mut self, topic: &'static str) -> Partition {
        let partition = i32::try_from(self.random.below(2)).expect("small");
        Partition { topic: topic.to_string(), incarnation: self.incarnations[topic], partition }
    }

    /// What a client does next.
    fn next(&mut self, client: usize) -> Option<Call> {
        let topic = if self.plain { "flushed" } else { *self.random.pick(&TOPICS) };
        let partition = self.partition(topic);
        let isolation = if self.random.one_in(3) { Isolation::Committed } else { Isolation::Uncommitted };
        let group = "g".to_string();
        Some(match self.random.below(if self.plain { 8 } else { 12 }) {
            0..5 => return self.next_batch(client, topic, partition),
            5..8 => {
                let offset = self.topics.get(topic).map_or(0, |topic| {
                    let log = &topic.logs[usize::try_from(partition.partition).expect("from 0")];
                    let end = u64::try_from(log.end - log.start).unwrap_or(0);
                    log.start + i64::try_from(self.random.below(end + 1)).expect("small")
                });
                Call::Fetch { from: partition, offset, isolation }
            }
            8 => {
                let time = i64::try_from(self.random.below(self.values + 2)).expect("small");
                let spec = *self.random.pick(&[Spec::Earliest, Spec::Latest, Spec::MaxTimestamp, Spec::At(time)]);
                Call::ListOffsets { from: partition, spec, isolation }
            }
            9 if self.random.one_in(4) && topic != "compacted" => {
                let before = i64::try_from(self.random.below(12)).expect("small");
                Call::DeleteRecords { from: partition, before }
            }
            9 | 10 => {
                self.values += 1;
                let offset = i64::try_from(self.values).expect("small");
                Call::Commit { group, by: member("", -1), offsets: vec![(partition, offset)], transaction: None }
            }
            _ => Call::Committed { group, of: vec![partition] },
        })
    }

    fn next_batch(&mut self, client: usize, topic: &'static str, to: Partition) -> Option<Call> {
        let id = format!("client-{client}");
        if topic == "transactions" {
            let of = &mut self.clients[client];
            if !of.ready {
                return Some(Call::InitProducer { transactional_id: Some(id) });
            }
            if let Some(attempt) = of.attempt.filter(|_| self.random.one_in(3)) {
                let (transaction, commit) = (Transaction { id, attempt }, !self.random.one_in(3));
                return Some(Call::EndTransaction { transaction, commit });
            }
            if of.attempt.is_none() {
                of.attempts += 1;
                of.attempt = Some(of.attempts);
            }
        }
        let attempt = self.clients[client].attempt.filter(|_| topic == "transactions");
        let transaction = attempt.map(|attempt| Transaction { id, attempt });
        let once = self.plain || transaction.is_some() || self.random.one_in(2);
        let idempotent = once.then(|| {
            let of = &self.clients[client];
            let sequence = of.sequences.get(&Partition { incarnation: 0, ..to.clone() }).copied().unwrap_or(0);
            Idempotent { producer_id: i64::try_from(client).expect("few"), epoch: of.epoch, sequence }
        });
        let records = (0..self.random.between(1, 4)).map(|_| {
            self.values += 1;
            let timestamp = i64::try_from(self.values ^ self.random.below(8)).expect("small");
            Sent { value: self.values, timestamp, key: Some(format!("k{}", self.random.below(4))) }
        });
        let records = records.collect();
        let acks = if once { -1 } else { *self.random.pick(&[-1, 1, 0]) };
        Some(Call::Produce { to, acks, records, idempotent, transaction })
    }

    /// What a client makes of an answer.
    fn learn(&mut self, client: usize, call: &Call, outcome: &Outcome) {
        let gives_up = self.random.one_in(3);
        let of = &mut self.clients[client];
        match (call, outcome) {
            (Call::Produce { to, records, idempotent: Some(by), .. }, Outcome::Produced { .. }) => {
                let next = by.sequence + i32::try_from(records.len()).expect("few");
                of.sequences.insert(Partition { incarnation: 0, ..to.clone() }, next);
            }
            // It does not know, or is refused once too often: a new epoch, and its transaction is over.
            (Call::Produce { idempotent: Some(_), .. } | Call::EndTransaction { .. }, outcome)
                if matches!(outcome, Outcome::Unknown { .. }) || (gives_up && *outcome == refused()) =>
            {
                of.ready = false;
                of.epoch += 1;
                of.sequences.clear();
            }
            (Call::EndTransaction { .. }, Outcome::Done) => of.attempt = None,
            (Call::InitProducer { .. }, Outcome::Producer { .. }) => {
                of.ready = true;
                of.epoch += 1;
                of.sequences.clear();
                of.attempt = None;
            }
            _ => {}
        }
    }

    /// The broker does it.
    fn apply(&mut self, call: &Call) -> Outcome {
        match call {
            Call::Produce { to, acks, records, idempotent, transaction } => {
                self.append(to, *acks, records, *idempotent, transaction.as_ref())
            }
            Call::InitProducer { transactional_id: Some(id) } => {
                self.finish(|transaction| transaction.id == *id, false);
                Outcome::Producer { producer_id: 0, epoch: 0 }
            }
            Call::EndTransaction { transaction, commit } => {
                self.finish(|open| open == transaction, *commit);
                Outcome::Done
            }
            Call::Commit { offsets, .. } => {
                for (partition, offset) in offsets {
                    let Some(topic) = self.topics.get(partition.topic.as_str()) else { return refused() };
                    let there = Partition { incarnation: topic.incarnation, ..partition.clone() };
                    self.committed.insert(there, *offset);
                }
                Outcome::Done
            }
            Call::Committed { of, .. } => {
                let told = |asked: &Partition| {
                    let incarnation = self.incarnations[asked.topic.as_str()];
                    let there = Partition { incarnation, ..asked.clone() };
                    (asked.clone(), self.committed.get(&there).copied().unwrap_or(-1))
                };
                Outcome::Offsets { offsets: of.iter().map(told).collect() }
            }
            Call::Fetch { from, .. } | Call::ListOffsets { from, .. } | Call::DeleteRecords { from, .. } => {
                let Some(topic) = self.topics.get_mut(from.topic.as_str()) else { return refused() };
                let log = &mut topic.logs[usize::try_from(from.partition).expect("from 0")];
                look(log, &topic.promise, call)
            }
            _ => refused(),
        }
    }

    fn append(
        &mut self,
        to: &Partition,
        acks: i16,
        records: &[Sent],
        idempotent: Option<Idempotent>,
        transaction: Option<&Transaction>,
    ) -> Outcome {
        let Some(topic) = self.topics.get_mut(to.topic.as_str()) else { return refused() };
        let log = &mut topic.logs[usize::try_from(to.partition).expect("from 0")];
        let (base, count) = (log.end, i32::try_from(records.len()).expect("few"));
        if let Some(by) = idempotent {
            let known = log.producers.get(&by.producer_id).copied();
            match known {
                Some((epoch, ..)) if by.epoch < epoch => return refused(),
                Some((epoch, next, last)) if epoch == by.epoch && by.sequence + count == next => {
                    return Outcome::Produced { base_offset: last, log_append_time: None };
                }
                Some((epoch, next, _)) if epoch == by.epoch && by.sequence != next => return refused(),
                _ if by.sequence != 0 && known.is_none_or(|(epoch, ..)| epoch != by.epoch) => return refused(),
                _ => {}
            }
            log.producers.insert(by.producer_id, (by.epoch, by.sequence + count, base));
        }
        let batch: Vec<_> = records.iter().cloned().map(Some).collect();
        log.append(&batch, self.epoch, transaction);
        if let Some(transaction) = transaction {
            log.open.entry(transaction.clone()).or_insert(base);
        }
        if (acks == -1 && topic.promise.flushed) || self.random.one_in(4) {
            log.durable = log.end;
        }
        Outcome::Produced { base_offset: if acks == 0 { -1 } else { base }, log_append_time: None }
    }

    fn finish(&mut self, which: impl Fn(&Transaction) -> bool, commit: bool) {
        let epoch = self.epoch;
        for log in &mut self.topics.get_mut("transactions").expect("it stays").logs {
            let ended: Vec<_> = log.open.keys().filter(|open| which(open)).cloned().collect();
            for transaction in ended {
                log.open.remove(&transaction);
                log.append(&[None], epoch, None);
                if !commit {
                    log.aborted.push(transaction);
                }
                log.durable = log.end;
            }
        }
    }

    /// Everybody ends, and everything is read back.
    fn end(&mut self) {
        for client in 0..CLIENTS {
            while self.clients[client].doing.is_some() {
                self.act(client);
            }
        }
        self.late.clear();
        self.finish(|_| true, false);
        for log in self.topics.values_mut().flat_map(|topic| &mut topic.logs) {
            log.durable = log.end;
        }
        self.tell(What::FinalReads);
        for name in TOPICS {
            for partition in 0..PARTITIONS {
                let from = Partition { topic: name.to_string(), incarnation: self.incarnations[name], partition };
                let mut offset = self.topics[name].logs[usize::try_from(partition).expect("from 0")].start;
                loop {
                    let call = Call::Fetch { from: from.clone(), offset, isolation: Isolation::Uncommitted };
                    let Outcome::Fetched { high_watermark, next, .. } = self.now(&call) else { panic!("it is there") };
                    if offset >= high_watermark {
                        break;
                    }
                    offset = next;
                }
                for spec in [Spec::MaxTimestamp, Spec::At(i64::try_from(self.values / 2).expect("small"))] {
                    self.now(&Call::ListOffsets { from: from.clone(), spec, isolation: Isolation::Uncommitted });
                }
                let isolation = Isolation::Uncommitted;
                self.now(&Call::ListOffsets { from: from.clone(), spec: Spec::Earliest, isolation });
                self.now(&Call::Committed { group: "g".to_string(), of: vec![from] });
            }
        }
    }

    fn now(&mut self, call: &Call) -> Outcome {
        let op = self.called(0, call);
        let outcome = self.apply(call);
        self.tell(What::Return { op, outcome: outcome.clone() });
        outcome
    }
}

/// What a reader is told.
fn look(log: &mut Log, promise: &Promise, call: &Call) -> Outcome {
    let high = if promise.flushed { log.durable } else { log.end };
    let stable = log.stable(high);
    let committed = |isolation: &Isolation| *isolation == Isolation::Committed;
    match call {
        Call::Fetch { offset, isolation, .. } => {
            if *offset < log.start || *offset > high {
                return refused();
            }
            let limit = if committed(isolation) { stable } else { high };
            let ahead = log.entries.iter().filter(|entry| entry.offset >= *offset && entry.offset < limit).take(7);
            let ahead: Vec<Entry> = ahead.cloned().collect();
            let next = match ahead.last() {
                Some(last) if ahead.len() == 7 => last.offset + 1,
                _ => limit.max(*offset),
            };
            let seen = |entry: &&Entry| {
                let aborted = entry.transaction.as_ref().is_some_and(|of| log.aborted.contains(of));
                entry.sent.is_some() && !(committed(isolation) && aborted)
            };
            let found = |entry: &Entry| {
                let sent = entry.sent.as_ref().expect("a record");
                let (value, timestamp, leader_epoch) = (Some(sent.value), sent.timestamp, entry.epoch);
                Found { offset: entry.offset, value, timestamp, leader_epoch }
            };
            let records = ahead.iter().filter(seen).map(found).collect();
            let (high_watermark, log_start, last_stable) = (high, log.start, stable);
            Outcome::Fetched { high_watermark, log_start, last_stable, records, next }
        }
        Call::ListOffsets { spec, isolation, .. } => {
            let visible = || {
                let visible = log.entries.iter().filter(|entry| entry.offset < high);
                visible.filter_map(|entry| entry.sent.as_ref().map(|sent| (entry.offset, sent.timestamp)))
            };
            let (offset, timestamp) = match spec {
                Spec::Earliest => (log.start, -1),
                Spec::Latest => (if committed(isolation) { stable } else { high }, -1),
                Spec::At(time) => visible().find(|(_, t)| t >= time).unwrap_or((-1, -1)),
                Spec::MaxTimestamp => visible().rev().max_by_key(|(_, t)| *t).unwrap_or((-1, -1)),
            };
            Outcome::Offset { offset, timestamp }
        }
        Call::DeleteRecords { before, .. } => {
            if *before > high {
                return refused();
            }
            if *before > log.start {
                log.start = *before;
                log.entries.retain(|entry| entry.offset >= *before);
            }
            Outcome::LowWatermark { offset: log.start }
        }
        _ => refused(),
    }
}

#[test]
fn no_valid_history_is_blamed() {
    for seed in 0..4000 {
        let history = history(seed, 150 + seed % 400);
        let verdict = judge(&history);
        assert_eq!(verdict.finding(), Finding::Valid, "seed {seed}\n{}", verdict.explain_of(&history));
    }
}
