//! A consumer's connection to one node: fetches out, records in, each looked at: who wrote it, which one it is, whether it is in its
//! place. No sockets here, and no clock.

use super::batch::{stamp_of, walk};
use super::core::{Shared, Timer};
use super::plan::Plan;
use super::seen::Tracker;
use super::wire::Wire;
use crate::bench::workload::From;
use crate::peer::{Answer, Body};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;

/// How long to wait after an error that passes.
const AGAIN_AFTER: u64 = 100_000_000;

/// Errors after which a fetch may be tried again.
fn passes(code: i16) -> bool {
    matches!(code, 3 | 5 | 6 | 9 | 13 | 56 | 74 | 75 | 78)
}

/// One partition of a reader.
#[derive(Debug, Default)]
pub(super) struct ReadPart {
    pub(super) place: u32,
    pub(super) offset: i64,
    /// By producer.
    pub(super) trackers: HashMap<u32, Tracker>,
    /// It was given to this reader.
    pub(super) mine: bool,
    /// An error ended it.
    failed: bool,
}

/// A connection that reads.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) group: u32,
    pub(super) conn: usize,
    /// By place, ascending.
    pub(super) parts: Vec<ReadPart>,
    /// When the fetch in flight was asked.
    asked: Option<u64>,
    /// Partitions were given or taken since it was asked: its answer is thrown away.
    stale: bool,
    /// Where in `parts` the next fetch begins.
    turn: usize,
    /// Not to ask before.
    not_before: u64,
    rereads: bool,
}

impl Reader {
    /// A reader of those of `places` that `node` leads.
    pub(super) fn new(plan: &Plan, group: u32, places: &[u32], node: usize, conn: usize) -> Reader {
        let here = places.iter().filter(|place| plan.leaders[**place as usize] == node);
        let mine = !plan.workload.consumers.coordinated;
        Reader {
            group,
            conn,
            parts: here.map(|place| ReadPart { place: *place, mine, ..ReadPart::default() }).collect(),
            asked: None,
            stale: false,
            turn: 0,
            not_before: 0,
            rereads: plan.workload.consumers.from == From::Tail,
        }
    }

    /// Reading begins: from where everybody begins.
    pub(super) fn begin(&mut self, shared: &Shared) {
        for part in self.parts.iter_mut().filter(|part| part.mine) {
            part.offset = shared.progress.begin[part.place as usize].load(Ordering::Relaxed);
        }
    }

    /// Gives it these partitions, each from an offset, and no others.
    pub(super) fn assign(&mut self, given: &HashMap<u32, i64>) {
        for part in &mut self.parts {
            part.mine = given.contains_key(&part.place);
            if let Some(offset) = given.get(&part.place) {
                part.offset = *offset;
                part.trackers.values_mut().for_each(Tracker::rewind);
            }
        }
        self.stale = self.asked.is_some();
    }

    /// Offsets to commit.
    pub(super) fn positions(&self) -> impl Iterator<Item = (u32, i64)> {
        self.parts.iter().filter(|part| part.mine).map(|part| (part.place, part.offset))
    }

    /// Asks for more, unless it has asked, may not yet, or has nothing to read.
    pub(super) fn push(&mut self, shared: &mut Shared, wire: &mut Wire) {
        if self.asked.is_some() || !shared.orders.read {
            return;
        }
        if shared.now < self.not_before {
            shared.timer(self.not_before, Timer::Reader(self.conn));
            return;
        }
        let mut order: Vec<usize> = (self.turn..self.parts.len()).chain(0..self.turn).collect();
        order.retain(|at| self.parts[*at].mine && !self.parts[*at].failed);
        if self.rereads {
            order.truncate(1);
        }
        let Some(first) = order.first().copied() else { return };
        self.turn = (first + 1) % self.parts.len();
        let plan = shared.plan.clone();
        let consumers = &plan.workload.consumers;
        let isolation = i8::from(plan.workload.producers.transaction_records.is_some());
        let bytes = if self.rereads { consumers.max_bytes } else { consumers.partition_bytes } as i32;
        wire.request(1, 4, |body| {
            let topic_of = |at: &usize| self.parts[*at].place / plan.partitions();
            // The partition whose turn it is stands first; its topic's others must stand with it.
            order.sort_by_key(|at| {
                (topic_of(at) + plan.topics.len() as u32 - topic_of(&first)) % plan.topics.len() as u32
            });
            let topics: Vec<&[usize]> = order.chunk_by(|a, b| topic_of(a) == topic_of(b)).collect();
            let body = body.i32(-1).i32(consumers.max_wait_ms as i32).i32(consumers.min_bytes as i32);
            let mut body: Body = body.i32(consumers.max_bytes as i32).i8(isolation).i32(topics.len() as i32);
            for parts in topics {
                body = body.text(plan.topic(self.parts[parts[0]].place).0).i32(parts.len() as i32);
                for at in parts {
                    let part = &self.parts[*at];
                    body = body.i32(plan.topic(part.place).1).i64(part.offset).i32(bytes);
                }
            }
            body
        });
        self.asked = Some(shared.now);
    }

    /// An answer came.
    pub(super) fn answer(&mut self, shared: &mut Shared, wire: &mut Wire, reply: &[u8]) -> Result<(), String> {
        let asked = self.asked.take().ok_or("an answer to no fetch")?;
        if !std::mem::take(&mut self.stale) {
            let nonsense = |e: io::Error| format!("an answer to Fetch: {e}");
            let records = match self.rereads {
                true => self.look(shared, asked, reply).map_err(nonsense)?,
                false => self.read(shared, asked, reply).map_err(nonsense)?,
            };
            if let Some(rate) = shared.plan.workload.consumers.rate {
                let due = self.not_before.max(asked) + (records as f64 * 1e9 / rate) as u64;
                self.not_before = due;
            }
        }
        self.push(shared, wire);
        Ok(())
    }

    /// An answer of which only the beginning was kept: the first partition's error, and how much came.
    fn look(&mut self, shared: &mut Shared, asked: u64, reply: &[u8]) -> io::Result<u64> {
        let mut answer = Answer(reply);
        answer.i32()?;
        answer.i32()?;
        answer.text()?;
        answer.i32()?;
        answer.i32()?;
        let code = answer.i16()?;
        if code != 0 {
            shared.tally.fetch_error(code, shared.now);
            shared.tally.refused += 1;
            self.not_before = shared.now + AGAIN_AFTER;
        }
        answer.take(16)?;
        let aborted = usize::try_from(answer.i32()?).unwrap_or(0);
        answer.take(aborted.saturating_mul(16))?;
        let bytes = u64::try_from(answer.i32()?).unwrap_or(0);
        // The bytes are thrown away unread, so that records are those that so many bytes should be.
        let records = (bytes as f64 / shared.mean_record) as u64;
        if bytes > 0 {
            shared.tally.fetched(asked, shared.now, records, bytes);
        }
        Ok(records)
    }

    /// Everything that an answer brought. Answers how many records.
    fn read(&mut self, shared: &mut Shared, asked: u64, reply: &[u8]) -> io::Result<u64> {
        let (mut records, mut bytes) = (0, 0);
        let mut answer = Answer(reply);
        answer.i32()?;
        for _ in 0..answer.i32()? {
            let topic = answer.text()?;
            for _ in 0..answer.i32()? {
                let partition = answer.i32()?;
                let code = answer.i16()?;
                answer.take(16)?;
                let aborted = usize::try_from(answer.i32()?).unwrap_or(0);
                answer.take(aborted.saturating_mul(16))?;
                let log = answer.bytes()?;
                let place = shared.plan.place(topic, partition);
                let at = place.and_then(|place| self.parts.binary_search_by_key(&place, |part| part.place).ok());
                let at = at.ok_or_else(|| io::Error::other("partitions that nobody asked for"))?;
                if code != 0 {
                    shared.tally.fetch_error(code, shared.now);
                    if passes(code) {
                        self.not_before = self.not_before.max(shared.now + AGAIN_AFTER);
                    } else {
                        shared.tally.refused += 1;
                        self.parts[at].failed = true;
                    }
                    continue;
                }
                let (more, size) = take_in(&mut self.parts[at], self.group, shared, log);
                records += more;
                bytes += size;
            }
        }
        if bytes > 0 {
            shared.tally.fetched(asked, shared.now, records, bytes);
        }
        Ok(records)
    }
}

/// Takes in a piece of log of one partition: records and bytes.
fn take_in(part: &mut ReadPart, group: u32, shared: &mut Shared, log: &[u8]) -> (u64, u64) {
    if log.is_empty() || !part.mine {
        return (0, 0);
    }
    let (nonce, place, now) = (shared.plan.nonce, part.place, shared.now);
    let Shared { plain, tally, .. } = shared;
    let trackers = &mut part.trackers;
    let mut last: Option<(u32, Tracker)> = None;
    let walked = walk(log, part.offset, plain, |_, value| {
        let Some(stamp) = stamp_of(nonce, place, value) else {
            tally.strangers += 1;
            return;
        };
        tally.arrived(stamp.planned, now);
        // Records of one producer stand together: its tracker is at hand.
        if last.as_ref().is_none_or(|(producer, _)| *producer != stamp.producer) {
            let found = trackers.remove(&stamp.producer).unwrap_or_default();
            if let Some((producer, tracker)) = last.replace((stamp.producer, found)) {
                trackers.insert(producer, tracker);
            }
        }
        if let Some((_, tracker)) = &mut last {
            tracker.saw(stamp.sequence);
        }
    });
    if let Some((producer, tracker)) = last {
        trackers.insert(producer, tracker);
    }
    match walked {
        Ok(walked) => {
            part.offset = walked.next;
            shared.read_to(group, part.place, part.offset);
            (walked.records, walked.bytes)
        }
        Err(what) => {
            shared.tally.damaged += 1;
            shared.tally.damage.get_or_insert_with(|| format!("{what}, at offset {} of place {place}", part.offset));
            part.failed = true;
            (0, 0)
        }
    }
}
