//! The history form of Jepsen's Kafka workload (`jepsen.tests.kafka`), read and written: operations `:send`, `:poll` and `:txn`
//! with micro-operations `[:send k [offset v]]` and `[:poll {k [[offset v] ...]}]`, invoked and then `:ok`, `:info` or `:fail`.
//!
//! A key of Jepsen's is a topic of one partition here. Where an operation is `:txn`, all are transactions, as in Jepsen. What was
//! polled at all stands for the final reads, by Jepsen's own rule: an acknowledged record below the highest offset that was
//! read, and that nobody ever read, is lost. Offsets may have gaps, as they may there. Order within one operation is not judged.

use super::edn::{self, Edn};
use super::history::{Call, Event, Found, Idempotent, Isolation, Outcome, Partition, Promise, Sent, Transaction, What};
use std::collections::{BTreeMap, HashMap};

/// Reads a history: maps one after the other, or in one vector.
pub fn import(text: &str) -> Result<Vec<Event>, String> {
    let mut operations = edn::read(text)?;
    if let [Edn::List(items)] = operations.as_mut_slice() {
        operations = std::mem::take(items);
    }
    let is = |operation: &Edn, f: &str| operation.get("f").and_then(Edn::keyword) == Some(f);
    let transactional = operations.iter().any(|operation| is(operation, "txn"));
    let mut import = Import { transactional, ..Import::default() };
    for (at, operation) in operations.iter().enumerate() {
        if ["send", "poll", "txn"].iter().any(|f| is(operation, f)) {
            import.operation(operation).map_err(|what| format!("operation {at}: {what}"))?;
        }
    }
    Ok(import.finish())
}

/// Calls of one operation that wait for its end.
struct Asked {
    /// With the key and the value of each.
    sends: Vec<(u64, String, String)>,
    transaction: Option<Transaction>,
}

#[derive(Default)]
struct Import {
    transactional: bool,
    events: Vec<Event>,
    /// Calls that may have been made at any time.
    early: Vec<Event>,
    at: u64,
    ops: u64,
    attempts: u64,
    values: HashMap<(String, String), u64>,
    open: HashMap<String, Asked>,
    /// What was polled of each key, and by when.
    polled: BTreeMap<String, BTreeMap<i64, u64>>,
    keys: BTreeMap<String, ()>,
}

impl Import {
    fn tell(&mut self, what: What) {
        self.events.push(Event { at: self.at, what });
    }

    fn call(&mut self, client: u32, call: Call) -> u64 {
        self.ops += 1;
        self.tell(What::Call { op: self.ops, client, call });
        self.ops
    }

    /// Values are unique to their key, not to the history.
    fn value(&mut self, key: &str, value: &Edn) -> u64 {
        let next = self.values.len() as u64 + 1;
        *self.values.entry((key.to_string(), value.to_string())).or_insert(next)
    }

    fn partition(&mut self, key: &str) -> Partition {
        self.keys.insert(key.to_string(), ());
        Partition { topic: key.to_string(), incarnation: 0, partition: 0 }
    }

    fn operation(&mut self, operation: &Edn) -> Result<(), String> {
        let kind = operation.get("type").and_then(Edn::keyword).ok_or("no :type")?;
        let process = operation.get("process").map_or_else(|| "none".to_string(), Edn::to_string);
        if let Some(time) = operation.get("time").and_then(Edn::int) {
            self.at = self.at.max(u64::try_from(time / 1000).unwrap_or(0));
        }
        let steps = operation.get("value").map_or(&[][..], Edn::list);
        let client = process.parse().unwrap_or(u32::MAX);
        if kind == "invoke" {
            let asked = self.ask(client, steps)?;
            self.open.insert(process, asked);
            return Ok(());
        }
        let asked = match self.open.remove(&process) {
            Some(asked) => asked,
            // Some histories hold the ends of operations alone: nobody knows when they began.
            None => {
                std::mem::swap(&mut self.events, &mut self.early);
                let asked = self.ask(client, steps);
                std::mem::swap(&mut self.events, &mut self.early);
                asked?
            }
        };
        match kind {
            "ok" | "info" | "fail" => self.end(client, kind, asked, steps),
            other => Err(format!(":type :{other}")),
        }
    }

    fn ask(&mut self, client: u32, steps: &[Edn]) -> Result<Asked, String> {
        let is_send = |step: &Edn| step.list().first().and_then(Edn::keyword) == Some("send");
        let transaction = (self.transactional && steps.iter().any(is_send)).then(|| {
            self.attempts += 1;
            // No two of them are known to be of one producer.
            Transaction { id: format!("operation-{}", self.attempts), attempt: 0 }
        });
        let mut sends = Vec::new();
        for step in steps.iter().filter(|step| is_send(step)) {
            let [_, key, value] = step.list() else { return Err(format!("{step}: no [:send key value]")) };
            let value = match value {
                Edn::List(pair) => pair.get(1).ok_or(format!("{step}: no [offset value]"))?,
                value => value,
            };
            let key = key.to_string();
            let (id, to) = (self.value(&key, value), self.partition(&key));
            let records = vec![Sent { value: id, timestamp: 0, key: None }];
            // Each a producer of its own: it is there once, and no order between them is promised.
            let producer_id = (self.ops + 1).cast_signed();
            let idempotent = Some(Idempotent { producer_id, epoch: 0, sequence: 0 });
            let call = Call::Produce { to, acks: -1, records, idempotent, transaction: transaction.clone() };
            let op = self.call(client, call);
            sends.push((op, key, value.to_string()));
        }
        Ok(Asked { sends, transaction })
    }

    fn end(&mut self, client: u32, kind: &str, asked: Asked, steps: &[Edn]) -> Result<(), String> {
        for step in steps {
            if let [f, Edn::Map(of)] = step.list()
                && f.keyword() == Some("poll")
                && kind != "fail"
            {
                for (key, pairs) in of {
                    self.polled(client, &key.to_string(), pairs)?;
                }
            }
        }
        let offsets = told(steps);
        for (op, key, value) in &asked.sends {
            let base_offset = offsets.get(&(key.clone(), value.clone())).copied().unwrap_or(-1);
            let outcome = match kind {
                "fail" if asked.transaction.is_none() => Outcome::Refused { error: "fail".to_string() },
                "info" if base_offset < 0 => Outcome::Unknown { why: "info".to_string() },
                "fail" => Outcome::Unknown { why: "fail".to_string() },
                _ => Outcome::Produced { base_offset, log_append_time: None },
            };
            self.tell(What::Return { op: *op, outcome });
        }
        if let Some(transaction) = asked.transaction {
            let op = self.call(client, Call::EndTransaction { transaction, commit: true });
            let outcome = match kind {
                "ok" => Outcome::Done,
                "fail" => Outcome::Refused { error: "fail".to_string() },
                _ => Outcome::Unknown { why: "info".to_string() },
            };
            self.tell(What::Return { op, outcome });
        }
        Ok(())
    }

    fn polled(&mut self, client: u32, key: &str, pairs: &Edn) -> Result<(), String> {
        let mut records = Vec::new();
        for pair in pairs.list() {
            let [offset, value] = pair.list() else { return Err(format!("{pair}: no [offset value]")) };
            let Some(offset) = offset.int() else { continue };
            let id = self.value(key, value);
            self.polled.entry(key.to_string()).or_default().insert(offset, id);
            records.push(Found { offset, value: Some(id), timestamp: 0, leader_epoch: -1 });
        }
        if let Some(first) = records.first().map(|found| found.offset) {
            let next = records.last().map_or(first, |found| found.offset + 1);
            self.read(client, key, first, records, next);
        }
        Ok(())
    }

    fn read(&mut self, client: u32, key: &str, offset: i64, records: Vec<Found>, next: i64) {
        let isolation = if self.transactional { Isolation::Committed } else { Isolation::Uncommitted };
        let from = self.partition(key);
        let op = self.call(client, Call::Fetch { from, offset, isolation });
        let (high_watermark, log_start, last_stable) = (-1, -1, -1);
        self.tell(What::Return {
            op,
            outcome: Outcome::Fetched { high_watermark, log_start, last_stable, records, next },
        });
    }

    fn finish(mut self) -> Vec<Event> {
        self.tell(What::FinalReads);
        for (key, polled) in std::mem::take(&mut self.polled) {
            let next = polled.keys().next_back().map_or(0, |last| last + 1);
            let found = |(offset, value)| Found { offset, value: Some(value), timestamp: 0, leader_epoch: -1 };
            self.read(u32::MAX, &key, 0, polled.into_iter().map(found).collect(), next);
        }
        let mut begin = Import { ops: self.ops, ..Import::default() };
        for key in self.keys.keys() {
            // Times are not told, so any may be.
            let promise = Promise { flushed: true, log_append_time: true, ..Promise::default() };
            let topic = key.clone();
            let op = begin.call(0, Call::CreateTopic { topic, incarnation: 0, partitions: 1, promise });
            begin.tell(What::Return { op, outcome: Outcome::Done });
            // Nothing was sent; a log that knows transactions has gaps.
            let to = Partition { topic: key.clone(), incarnation: 0, partition: 0 };
            let transaction = Some(Transaction { id: "gaps".to_string(), attempt: 0 });
            let call = Call::Produce { to, acks: -1, records: Vec::new(), idempotent: None, transaction };
            let op = begin.call(0, call);
            begin.tell(What::Return { op, outcome: Outcome::Refused { error: "empty".to_string() } });
        }
        begin.events.extend(self.early.into_iter().map(|event| Event { at: 0, ..event }));
        begin.events.extend(self.events);
        begin.events
    }
}

/// Offsets that an operation's end tells of what it sent.
fn told(steps: &[Edn]) -> HashMap<(String, String), i64> {
    let pairs = steps.iter().filter_map(|step| match step.list() {
        [f, key, Edn::List(pair)] if f.keyword() == Some("send") => match pair.as_slice() {
            [Edn::Int(offset), value] => Some(((key.to_string(), value.to_string()), *offset)),
            _ => None,
        },
        _ => None,
    });
    pairs.collect()
}

/// Writes the batches and the fetches of a history, an operation a line. Each operation is a process of its own, as a client may
/// have several on the way and a process of Jepsen's may not. A partition is a key: its number in the order of first mention.
pub fn export(history: &[Event]) -> String {
    let ends: HashMap<u64, &Outcome> = history
        .iter()
        .filter_map(|event| match &event.what {
            What::Return { op, outcome } => Some((*op, outcome)),
            _ => None,
        })
        .collect();
    let mut commits: HashMap<&Transaction, &str> = HashMap::new();
    for event in history {
        if let What::Call { op, call: Call::EndTransaction { transaction, commit: true }, .. } = &event.what {
            let kind = match ends.get(op) {
                Some(Outcome::Done) => "ok",
                Some(Outcome::Refused { .. }) => continue,
                _ => "info",
            };
            let known = commits.entry(transaction).or_insert(kind);
            *known = if kind == "ok" { kind } else { *known };
        }
    }
    let mut export = Export { commits, ..Export::default() };
    for event in history {
        export.event(event);
    }
    export.lines
}

#[derive(Default)]
struct Export<'a> {
    commits: HashMap<&'a Transaction, &'a str>,
    keys: HashMap<&'a Partition, usize>,
    open: HashMap<u64, &'a Call>,
    lines: String,
    index: u64,
}

impl<'a> Export<'a> {
    fn key(&mut self, partition: &'a Partition) -> usize {
        let next = self.keys.len();
        *self.keys.entry(partition).or_insert(next)
    }

    fn line(&mut self, at: u64, kind: &str, f: &str, process: u64, value: &str) {
        let (index, time) = (self.index, at * 1000);
        self.index += 1;
        self.lines += &format!(
            "{{:index {index}, :type :{kind}, :process {process}, :f :{f}, :value [{value}], :time {time}}}\n"
        );
    }

    fn event(&mut self, event: &'a Event) {
        match &event.what {
            What::Call { op, call: call @ Call::Produce { to, records, .. }, .. } => {
                let key = self.key(to);
                self.open.insert(*op, call);
                let sends: Vec<String> = records.iter().map(|sent| format!("[:send {key} {}]", sent.value)).collect();
                self.line(event.at, "invoke", "send", *op, &sends.join(" "));
            }
            What::Call { op, call: call @ Call::Fetch { .. }, .. } => {
                self.open.insert(*op, call);
                self.line(event.at, "invoke", "poll", *op, "[:poll]");
            }
            What::Return { op, outcome } => match self.open.remove(op) {
                Some(Call::Produce { to, records, transaction, .. }) => {
                    let key = self.key(to);
                    let kind = match outcome {
                        Outcome::Produced { .. } | Outcome::Done => "ok",
                        Outcome::Refused { .. } => "fail",
                        _ => "info",
                    };
                    // A transaction's records are there by how it ended.
                    let ended = transaction.as_ref().map(|of| self.commits.get(of).copied().unwrap_or("fail"));
                    let kind = if kind == "ok" { ended.unwrap_or(kind) } else { kind };
                    let base = match outcome {
                        Outcome::Produced { base_offset, .. } if *base_offset >= 0 => Some(*base_offset),
                        _ => None,
                    };
                    let send = |(place, sent): (i64, &Sent)| {
                        let offset = base.map_or("nil".to_string(), |base| (base + place).to_string());
                        format!("[:send {key} [{offset} {}]]", sent.value)
                    };
                    let sends: Vec<String> = (0..).zip(records).map(send).collect();
                    self.line(event.at, kind, "send", *op, &sends.join(" "));
                }
                Some(Call::Fetch { from, .. }) => {
                    let key = self.key(from);
                    let Outcome::Fetched { records, .. } = outcome else {
                        self.line(event.at, "fail", "poll", *op, "[:poll]");
                        return;
                    };
                    let shown = |found: &Found| {
                        let value = found.value.map_or("nil".to_string(), |value| value.to_string());
                        format!("[{} {value}]", found.offset)
                    };
                    let pairs: Vec<String> = records.iter().map(shown).collect();
                    let value = format!("[:poll {{{key} [{}]}}]", pairs.join(" "));
                    self.line(event.at, "ok", "poll", *op, &value);
                }
                _ => {}
            },
            _ => {}
        }
    }
}
