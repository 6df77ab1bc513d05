//! What a partition remembers of its idempotent producers: the last five batches of each, to tell a retry from a gap.
//!
//! Not transactions: no open transaction, no coordinator epoch. Lives on the core that owns the partition; after a
//! producer is known, its batches allocate nothing. Rules: KIP-98, KIP-360, and Kafka's `ProducerStateManager`.

use crate::batch::{BatchHeader, sequence_after};
use crate::error::ErrorCode;
use crate::types::WallMs;
use std::collections::BTreeMap;

/// Batches remembered of each producer: as many as a client may have in flight (`max.in.flight.requests.per.connection`).
pub const REMEMBERED_BATCHES: usize = 5;

const NONE: u32 = u32::MAX;
const FORMAT_VERSION: u16 = 1;
/// Bytes of an encoded producer before its batches, and of one batch.
const PRODUCER_LEN: usize = 19;
const BATCH_LEN: usize = 24;
const HEAD_LEN: usize = 6;

/// One remembered batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Batch {
    last_sequence: i32,
    /// Records less one.
    delta: i32,
    last_offset: i64,
    max_timestamp: i64,
}

/// One producer, and its place in the order of use.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Producer {
    id: i64,
    epoch: i16,
    /// How many of `batches` are filled; the newest is the last of them.
    held: u8,
    batches: [Batch; REMEMBERED_BATCHES],
    last_used: WallMs,
    newer: u32,
    older: u32,
}

/// What a batch is to the partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// Append it.
    New,
    /// It was appended already: answer as then, and append nothing.
    Duplicate { base_offset: i64, last_offset: i64, max_timestamp: i64 },
}

/// One row of DescribeProducers. Coordinator epoch and transaction start are -1: there are no transactions here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerView {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// -1 where nothing is remembered.
    pub last_sequence: i32,
    /// The newest batch's latest timestamp, ms since 1970; -1 where nothing is remembered.
    pub last_timestamp: i64,
}

/// Bytes that are no snapshot of producers, or one of a newer format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotASnapshot;

/// The producers of one partition. At most `limit`; one more pushes out the one unused for longest.
///
/// Empty, it owns no memory. Each producer costs about 200 bytes.
#[derive(Clone, Debug)]
pub struct ProducerStates {
    index: BTreeMap<i64, u32>,
    slots: Vec<Producer>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    limit: u32,
}

impl ProducerStates {
    /// `limit`: how many producers are remembered, at least 1.
    pub fn new(limit: u32) -> ProducerStates {
        ProducerStates {
            index: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            limit: limit.clamp(1, NONE - 1),
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Sets how many are remembered, at least 1; the ones unused for longest go first.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit.clamp(1, NONE - 1);
        while self.index.len() > self.limit as usize {
            self.remove(self.oldest);
        }
    }

    /// May `header`'s batch, validated and of a producer, be appended next?
    ///
    /// 47 INVALID_PRODUCER_EPOCH from a fenced epoch; 45 OUT_OF_ORDER_SEQUENCE_NUMBER for a gap, for a retry older than
    /// what is remembered, and for a new epoch that does not start at 0. An unknown producer may start anywhere.
    pub fn check(&self, header: &BatchHeader) -> Result<Check, ErrorCode> {
        if header.producer_epoch < 0 {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        let Some(slot) = self.index.get(&header.producer_id) else { return Ok(Check::New) };
        let producer = &self.slots[*slot as usize];
        if header.producer_epoch < producer.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if header.producer_epoch > producer.epoch {
            return if header.base_sequence == 0 { Ok(Check::New) } else { Err(ErrorCode::OutOfOrderSequenceNumber) };
        }
        let last = header.last_sequence();
        for batch in producer.remembered() {
            if batch.last_sequence == last && batch.delta == header.last_offset_delta {
                return Ok(Check::Duplicate {
                    base_offset: batch.last_offset - i64::from(batch.delta),
                    last_offset: batch.last_offset,
                    max_timestamp: batch.max_timestamp,
                });
            }
        }
        match producer.remembered().last() {
            Some(newest) if header.base_sequence != sequence_after(newest.last_sequence, 1) => {
                Err(ErrorCode::OutOfOrderSequenceNumber)
            }
            _ => Ok(Check::New),
        }
    }

    /// Remembers a batch that [`ProducerStates::check`] let pass, appended at `base_offset`.
    pub fn record(&mut self, header: &BatchHeader, base_offset: i64, now: WallMs) {
        let slot = match self.index.get(&header.producer_id) {
            Some(slot) => *slot,
            None => self.insert(header.producer_id, header.producer_epoch),
        };
        let producer = &mut self.slots[slot as usize];
        if producer.epoch != header.producer_epoch {
            (producer.epoch, producer.held) = (header.producer_epoch, 0);
        }
        producer.remember(Batch {
            last_sequence: header.last_sequence(),
            delta: header.last_offset_delta,
            last_offset: base_offset.wrapping_add(i64::from(header.last_offset_delta)),
            max_timestamp: header.max_timestamp,
        });
        producer.last_used = now;
        self.unlink(slot);
        self.link_newest(slot);
    }

    /// Replays a batch found in the log, where it was checked before; one without a producer is passed over.
    /// `now` is the time of the replay: a producer gets its whole expiration again.
    pub fn apply(&mut self, header: &BatchHeader, now: WallMs) {
        if header.has_producer() && !header.is_control() {
            self.record(header, header.base_offset, now);
        }
    }

    /// Forgets the producers unused for `expiration_ms` (`producer.id.expiration.ms`); answers how many.
    /// Costs as much as there is to forget. A clock that steps back makes it forget later, never sooner.
    pub fn expire(&mut self, now: WallMs, expiration_ms: i64) -> usize {
        let before = self.index.len();
        while let Some(oldest) = self.slots.get(self.oldest as usize)
            && now.0.saturating_sub(oldest.last_used.0) >= expiration_ms
        {
            self.remove(self.oldest);
        }
        before - self.index.len()
    }

    /// All producers, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = ProducerView> + '_ {
        self.index.iter().map(|(id, slot)| {
            let producer = &self.slots[*slot as usize];
            let newest = producer.remembered().last();
            ProducerView {
                producer_id: *id,
                producer_epoch: producer.epoch,
                last_sequence: newest.map_or(-1, |b| b.last_sequence),
                last_timestamp: newest.map_or(-1, |b| b.max_timestamp),
            }
        })
    }

    /// Appends a snapshot to `out`, little-endian, without a checksum of its own:
    ///
    /// | bytes | field |
    /// |---|---|
    /// | 2 | format version, 1 |
    /// | 4 | number of producers; each follows, the one unused for longest first |
    /// | 8 | producer id |
    /// | 2 | producer epoch |
    /// | 8 | last used, ms since 1970 |
    /// | 1 | batches, 0 to 5; each follows, oldest first |
    /// | 4 | last sequence |
    /// | 4 | last offset delta |
    /// | 8 | last offset |
    /// | 8 | max timestamp |
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&(self.index.len() as u32).to_le_bytes());
        let mut at = self.oldest;
        while let Some(producer) = self.slots.get(at as usize) {
            out.extend_from_slice(&producer.id.to_le_bytes());
            out.extend_from_slice(&producer.epoch.to_le_bytes());
            out.extend_from_slice(&producer.last_used.0.to_le_bytes());
            out.push(producer.held);
            for batch in producer.remembered() {
                out.extend_from_slice(&batch.last_sequence.to_le_bytes());
                out.extend_from_slice(&batch.delta.to_le_bytes());
                out.extend_from_slice(&batch.last_offset.to_le_bytes());
                out.extend_from_slice(&batch.max_timestamp.to_le_bytes());
            }
            at = producer.newer;
        }
    }

    /// Reads a snapshot, all of `bytes`. More producers than `limit`: the ones unused for longest are left out.
    pub fn decode(bytes: &[u8], limit: u32) -> Result<ProducerStates, NotASnapshot> {
        let mut states = ProducerStates::new(limit);
        let mut rest = bytes;
        if u16::from_le_bytes(take(&mut rest)?) != FORMAT_VERSION {
            return Err(NotASnapshot);
        }
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            let (id, epoch) = (i64::from_le_bytes(take(&mut rest)?), i16::from_le_bytes(take(&mut rest)?));
            let (last_used, [held]) = (WallMs(i64::from_le_bytes(take(&mut rest)?)), take(&mut rest)?);
            if id < 0 || epoch < 0 || usize::from(held) > REMEMBERED_BATCHES || states.index.contains_key(&id) {
                return Err(NotASnapshot);
            }
            let slot = states.insert(id, epoch);
            let producer = &mut states.slots[slot as usize];
            producer.last_used = last_used;
            for _ in 0..held {
                let batch = Batch {
                    last_sequence: i32::from_le_bytes(take(&mut rest)?),
                    delta: i32::from_le_bytes(take(&mut rest)?),
                    last_offset: i64::from_le_bytes(take(&mut rest)?),
                    max_timestamp: i64::from_le_bytes(take(&mut rest)?),
                };
                if batch.last_sequence < 0 || batch.delta < 0 || batch.last_offset < i64::from(batch.delta) {
                    return Err(NotASnapshot);
                }
                producer.remember(batch);
            }
        }
        if rest.is_empty() { Ok(states) } else { Err(NotASnapshot) }
    }

    /// Bytes that [`ProducerStates::encode`] appends at most.
    pub fn encoded_len_max(&self) -> usize {
        HEAD_LEN + self.index.len() * (PRODUCER_LEN + REMEMBERED_BATCHES * BATCH_LEN)
    }

    /// A slot for a producer not known yet, as the newest.
    fn insert(&mut self, id: i64, epoch: i16) -> u32 {
        if self.index.len() >= self.limit as usize {
            self.remove(self.oldest);
        }
        let producer = Producer {
            id,
            epoch,
            held: 0,
            batches: Default::default(),
            last_used: WallMs(0),
            newer: NONE,
            older: NONE,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = producer;
                slot
            }
            None => {
                self.slots.push(producer);
                self.slots.len() as u32 - 1
            }
        };
        self.index.insert(id, slot);
        self.link_newest(slot);
        slot
    }

    fn remove(&mut self, slot: u32) {
        self.unlink(slot);
        self.index.remove(&self.slots[slot as usize].id);
        self.free.push(slot);
        if self.index.is_empty() {
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Producer { newer, older, .. } = self.slots[slot as usize];
        match newer {
            NONE => self.newest = older,
            _ => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            _ => self.slots[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, slot: u32) {
        let producer = &mut self.slots[slot as usize];
        (producer.newer, producer.older) = (NONE, self.newest);
        match self.newest {
            NONE => self.oldest = slot,
            newest => self.slots[newest as usize].newer = slot,
        }
        self.newest = slot;
    }
}

impl Producer {
    fn remembered(&self) -> &[Batch] {
        &self.batches[..usize::from(self.held)]
    }

    fn remember(&mut self, batch: Batch) {
        if usize::from(self.held) == REMEMBERED_BATCHES {
            self.batches.rotate_left(1);
        } else {
            self.held += 1;
        }
        self.batches[usize::from(self.held) - 1] = batch;
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], NotASnapshot> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(NotASnapshot)?;
    *bytes = rest;
    Ok(*taken)
}
