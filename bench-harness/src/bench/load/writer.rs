//! A producer's connection to one node: batches in, produce requests out, answers in. Errors that pass are repeated in order where the
//! producer is idempotent. No sockets here, and no clock.

use super::batch::{Head, Item};
use super::core::{Shared, Timer};
use super::draw::{KeyDraw, Rng, partition_of};
use super::plan::{Identity, Pace, Plan};
use super::seen::Runs;
use super::transact::Transaction;
use super::wire::Wire;
use crate::bench::workload::Acks;
use crate::peer::{Answer, Body};
use std::collections::VecDeque;
use std::io;

/// Bytes laid out ahead of the kernel on one connection.
const LAID_OUT: usize = 64 << 10;
/// How long to wait before a batch is sent again, and how often.
const AGAIN_AFTER: u64 = 100_000_000;
const MOST_TRIES: u32 = 100;
/// How long the broker may take to answer, milliseconds.
const TIMEOUT_MS: i32 = 30_000;

/// The number that the wire has for it.
pub(super) fn acks(acks: Acks) -> i16 {
    match acks {
        Acks::None => 0,
        Acks::Leader => 1,
        Acks::All => -1,
    }
}

/// Errors after which the same batch may be sent again: no leader just now, too few replicas, a time-out, a failed disk.
fn passes(code: i16) -> bool {
    matches!(code, 3 | 5 | 6 | 7 | 13 | 19 | 20 | 56)
}
const OUT_OF_ORDER: i16 = 45;
const DUPLICATE: i16 = 46;

/// Records for one partition that go together.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    pub(super) part: usize,
    first: u64,
    count: u32,
    /// Of its last record.
    planned: u64,
    /// When it should have been handed to the kernel.
    due: u64,
    /// Empty: all records were planned alike, and have no keys.
    items: Vec<Item>,
    /// On the wire.
    bytes: u64,
    tries: u32,
}

/// One partition of a writer.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) place: u32,
    /// Sequence of the next record.
    sequence: u64,
    /// Records that wait for more.
    pub(super) open: Vec<Item>,
    /// When the oldest of them was planned.
    pub(super) since: u64,
    pub(super) acknowledged: Runs,
    in_flight: u32,
    /// Batches to be sent again, and those after them, in order.
    held: VecDeque<Batch>,
    resend_at: Option<u64>,
}

impl Part {
    /// A batch of `count` records that were planned alike.
    pub(super) fn alike(&mut self, part: usize, count: u32, planned: u64) -> Batch {
        let first = self.sequence;
        self.sequence += u64::from(count);
        Batch { part, first, count, planned, due: planned, ..Batch::default() }
    }

    /// A batch of the records that waited, which should be handed over at `due`.
    pub(super) fn seal(&mut self, part: usize, due: u64) -> Batch {
        let items = std::mem::take(&mut self.open);
        let planned = items.last().map_or(due, |item| item.planned);
        let (first, count) = (self.sequence, items.len() as u32);
        self.sequence += u64::from(count);
        Batch { part, first, count, planned, due, items, ..Batch::default() }
    }

    /// Records that were given a sequence.
    pub(super) fn written(&self) -> u64 {
        self.sequence
    }
}

/// A connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) producer: u32,
    pub(super) conn: usize,
    pub(super) parts: Vec<Part>,
    identity: Option<Identity>,
    /// No answers come.
    silent: bool,
    pub(super) transaction: Option<Transaction>,
    /// Requests that were not laid out.
    queue: VecDeque<Vec<Batch>>,
    /// A request that takes shape.
    pub(super) forming: Vec<Batch>,
    /// Requests that wait for their answers.
    flight: VecDeque<Vec<Batch>>,
    /// Laid out and not handed to the kernel: when that was due; the batches where no answer comes.
    handing: VecDeque<(u64, Vec<Batch>)>,
    next: usize,
    rng: Rng,
    keys: Option<KeyDraw>,
}

impl Writer {
    pub(super) fn new(plan: &Plan, producer: u32, node: usize, conn: usize) -> Writer {
        let own = |place: &u32| plan.leaders[*place as usize] == node;
        let places = plan.places_of_producer(producer).into_iter().filter(own);
        let identity = plan.identities.get(&(producer, node)).copied();
        Writer {
            producer,
            conn,
            parts: places.map(|place| Part { place, ..Part::default() }).collect(),
            identity,
            silent: plan.workload.producers.acks == Acks::None,
            transaction: None,
            queue: VecDeque::new(),
            forming: Vec::new(),
            flight: VecDeque::new(),
            handing: VecDeque::new(),
            next: 0,
            rng: Rng::new(plan.seed ^ u64::from(producer) << 20 ^ node as u64),
            keys: KeyDraw::new(&plan.workload.records.keys),
        }
    }

    /// Queues what took shape as one request.
    pub(super) fn shoot(&mut self, shared: &mut Shared) {
        let shot = std::mem::take(&mut self.forming);
        if !shot.is_empty() {
            shared.waiting += 1;
            shared.unanswered += shot.iter().map(|batch| u64::from(batch.count)).sum::<u64>();
            self.queue.push_back(shot);
        }
    }

    fn may_write(&self) -> bool {
        self.transaction.as_ref().is_none_or(Transaction::may_write)
    }

    /// Closed loop: makes requests while more may be in flight.
    fn top_up(&mut self, shared: &mut Shared) {
        let producers = &shared.plan.workload.producers;
        let (records, most) = match shared.orders.pace {
            Pace::Closed => (producers.batch_records, producers.in_flight),
            Pace::Fill(bytes) if shared.filled() < bytes => (shared.plan.fill_records(), producers.in_flight.max(2)),
            _ => return,
        };
        let (each, most) = (producers.partitions_per_request.max(1) as usize, most.max(1) as usize);
        let unanswered = |w: &Writer| if w.silent { w.handing.len() } else { w.flight.len() };
        while self.may_write() && self.queue.len() + unanswered(self) < most {
            match self.keys {
                None => self.form_alike(shared.now, records, each),
                Some(_) => self.form_keyed(shared, records * each as u32),
            }
            if self.forming.is_empty() {
                return;
            }
            self.shoot(shared);
        }
    }

    /// The next `each` partitions in turn, but those that are held.
    fn form_alike(&mut self, now: u64, records: u32, each: usize) {
        for _ in 0..self.parts.len() {
            let at = self.next;
            self.next = (at + 1) % self.parts.len();
            if self.parts[at].held.is_empty() {
                let batch = self.parts[at].alike(at, records, now);
                self.forming.push(batch);
            }
            if self.forming.len() >= each {
                return;
            }
        }
    }

    /// `records` records to where their keys belong, of the partitions that are here.
    fn form_keyed(&mut self, shared: &Shared, records: u32) {
        let (Some(keys), plan) = (&self.keys, &shared.plan) else { return };
        let mut left = records;
        for _ in 0..u64::from(records) * 1000 {
            let key = keys.draw(&mut self.rng);
            let topic = self.rng.below(plan.topics.len() as u64) as u32;
            let place = topic * plan.partitions() + partition_of(key, plan.partitions());
            let Ok(at) = self.parts.binary_search_by_key(&place, |part| part.place) else { continue };
            self.parts[at].open.push(Item { planned: shared.now, key: Some(key) });
            left -= 1;
            if left == 0 {
                break;
            }
        }
        self.form_open(shared.now);
    }

    /// Makes batches of all records that wait.
    pub(super) fn form_open(&mut self, due: u64) {
        for (at, part) in self.parts.iter_mut().enumerate() {
            if !part.open.is_empty() {
                let batch = part.seal(at, due);
                self.forming.push(batch);
            }
        }
    }

    /// Lays out as many requests as the connection should have.
    pub(super) fn push(&mut self, shared: &mut Shared, wire: &mut Wire) {
        self.top_up(shared);
        while wire.out.len() < LAID_OUT
            && self.may_write()
            && let Some(mut shot) = self.queue.pop_front()
        {
            shared.waiting -= 1;
            // What belongs behind a batch that is to be sent again waits with it.
            if shot.iter().any(|batch| !self.parts[batch.part].held.is_empty()) {
                let parts = &mut self.parts;
                let behind = shot.extract_if(.., |batch| !parts[batch.part].held.is_empty() && batch.tries == 0);
                let behind: Vec<Batch> = behind.collect();
                behind.into_iter().for_each(|batch| parts[batch.part].held.push_back(batch));
            }
            if shot.is_empty() {
                continue;
            }
            shot.sort_unstable_by_key(|batch| self.parts[batch.part].place);
            self.lay_out(shared, wire, &mut shot);
            let due = shot.iter().map(|batch| batch.due).max().unwrap_or(0);
            if self.silent {
                wire.no_answer();
                self.handing.push_back((due, shot));
            } else {
                shot.iter().for_each(|batch| self.parts[batch.part].in_flight += 1);
                self.handing.push_back((due, Vec::new()));
                self.flight.push_back(shot);
            }
        }
    }

    fn lay_out(&mut self, shared: &mut Shared, wire: &mut Wire, shot: &mut [Batch]) {
        let plan = shared.plan.clone();
        let transaction = self.transaction.as_mut().map(|t| t.wrote(shot.iter().map(|b| u64::from(b.count)).sum()));
        wire.request(0, 7, |body| {
            let body = match transaction {
                Some(id) => body.text(id),
                None => body.i16(-1),
            };
            let body = body.i16(acks(plan.workload.producers.acks)).i32(TIMEOUT_MS);
            let mut out = body.0;
            let topic_of = |batch: &Batch| self.parts[batch.part].place / plan.partitions();
            let groups: Vec<&mut [Batch]> = shot.chunk_by_mut(|a, b| topic_of(a) == topic_of(b)).collect();
            out.extend((groups.len() as u32).to_be_bytes());
            for group in groups {
                let (topic, _) = plan.topic(self.parts[group[0].part].place);
                out = Body(out).text(topic).i32(group.len() as i32).0;
                for batch in group {
                    let part = &self.parts[batch.part];
                    let (_, partition) = plan.topic(part.place);
                    out = Body(out).i32(partition).i32(0).0;
                    let start = out.len();
                    let head = head_of(self.producer, self.identity, transaction.is_some(), shared.wall, part, batch);
                    let alike = Item { planned: batch.planned, key: None };
                    let values = match batch.items.is_empty() {
                        true => shared.maker.batch(&mut out, &head, (0..batch.count).map(|_| alike)),
                        false => shared.maker.batch(&mut out, &head, batch.items.iter().copied()),
                    };
                    batch.bytes = (out.len() - start) as u64;
                    out[start - 4..start].copy_from_slice(&(batch.bytes as u32).to_be_bytes());
                    if batch.tries == 0 {
                        shared.sent(u64::from(batch.count), values);
                    }
                }
            }
            Body(out)
        });
    }

    /// What was laid out went to the kernel, which could have been at `possible`.
    pub(super) fn handed(&mut self, shared: &mut Shared, possible: u64) {
        let open = matches!(shared.orders.pace, Pace::Open { .. });
        while let Some((due, shot)) = self.handing.pop_front() {
            if open {
                shared.tally.handed(due, possible, shared.now);
            }
            for batch in shot {
                self.acknowledge(shared, &batch, -1);
            }
        }
    }

    fn acknowledge(&mut self, shared: &mut Shared, batch: &Batch, base: i64) {
        let part = &mut self.parts[batch.part];
        part.acknowledged.insert_run(batch.first, batch.first + u64::from(batch.count));
        shared.acknowledged(part.place, base, u64::from(batch.count));
        shared.tally.acknowledged(batch.planned, shared.now, u64::from(batch.count), batch.bytes);
    }

    /// An answer came.
    pub(super) fn answer(&mut self, shared: &mut Shared, wire: &mut Wire, reply: &[u8]) -> Result<(), String> {
        let shot = self.flight.pop_front().ok_or("an answer to no produce request")?;
        let nonsense = |e: io::Error| format!("an answer to Produce: {e}");
        shared.tally.answered(shared.now);
        let mut found = 0;
        let mut answer = Answer(reply);
        for _ in 0..answer.i32().map_err(nonsense)? {
            let topic = answer.text().map_err(nonsense)?;
            for _ in 0..answer.i32().map_err(nonsense)? {
                let partition = answer.i32().map_err(nonsense)?;
                let (code, base) = (answer.i16().map_err(nonsense)?, answer.i64().map_err(nonsense)?);
                answer.take(16).map_err(nonsense)?;
                let place = shared.plan.place(topic, partition);
                let batch = shot.iter().find(|batch| Some(self.parts[batch.part].place) == place);
                let batch =
                    batch.ok_or_else(|| format!("an answer about partition {partition} that was not written"))?;
                found += 1;
                self.settle(shared, batch, code, base)?;
            }
        }
        if found != shot.len() {
            return Err(format!("an answer about {found} partitions to a request about {}", shot.len()));
        }
        self.push(shared, wire);
        Ok(())
    }

    fn settle(&mut self, shared: &mut Shared, batch: &Batch, code: i16, base: i64) -> Result<(), String> {
        let part = &mut self.parts[batch.part];
        part.in_flight = part.in_flight.saturating_sub(1);
        if code != 0 {
            shared.tally.produce_error(code, shared.now);
        }
        // A refusal behind one that is sent again is the sequence's.
        let behind = code == OUT_OF_ORDER && (!part.held.is_empty() || batch.tries > 0);
        if code == 0 || code == DUPLICATE {
            self.acknowledge(shared, batch, base);
        } else if self.identity.is_some() && (passes(code) || behind) && batch.tries < MOST_TRIES {
            let mut again = batch.clone();
            again.tries += 1;
            shared.tally.retried += u64::from(batch.count);
            let at = part.held.partition_point(|held| held.first < again.first);
            part.held.insert(at, again);
        } else {
            shared.tally.refused += 1;
            shared.settled(u64::from(batch.count));
        }
        let part = &mut self.parts[batch.part];
        if part.in_flight == 0 && !part.held.is_empty() && part.resend_at.is_none() {
            part.resend_at = Some(shared.now + AGAIN_AFTER);
            shared.timer(shared.now + AGAIN_AFTER, Timer::Writer(self.conn));
        }
        Ok(())
    }

    /// Whether an answer is due.
    pub(super) fn is_waiting(&self) -> bool {
        !self.flight.is_empty()
    }

    /// Whether requests wait to be laid out.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// A time came: sends again what waited for it.
    pub(super) fn on_time(&mut self, shared: &mut Shared, wire: &mut Wire) {
        for at in (0..self.parts.len()).rev() {
            let part = &mut self.parts[at];
            if part.resend_at.is_some_and(|time| time <= shared.now) {
                part.resend_at = None;
                for mut batch in std::mem::take(&mut part.held).into_iter().rev() {
                    batch.tries = batch.tries.max(1);
                    shared.waiting += 1;
                    self.queue.push_front(vec![batch]);
                }
            }
        }
        self.push(shared, wire);
    }

    /// The end: what was not answered counts as it is. Answers how many records.
    pub(super) fn abandon(&mut self, shared: &mut Shared) -> u64 {
        let held = self.parts.iter().flat_map(|part| &part.held);
        let batches = self.queue.iter().chain(&self.flight).flatten().chain(held);
        batches
            .map(|batch| {
                shared.tally.abandoned(batch.planned, shared.now);
                u64::from(batch.count)
            })
            .sum()
    }
}

fn head_of(
    producer: u32,
    identity: Option<Identity>,
    transactional: bool,
    time: i64,
    part: &Part,
    batch: &Batch,
) -> Head {
    let sequence = (batch.first & 0x7fff_ffff) as i32;
    let identity = identity.map_or((-1, -1, -1), |who| (who.id, who.epoch, sequence));
    Head { place: part.place, producer, first: batch.first, identity, transactional, time }
}
