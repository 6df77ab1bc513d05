//! What a partition remembers of its idempotent producers: the last five batches of each, to tell a retry from a gap.
//!
//! Not transactions: no open transaction, no coordinator epoch. Lives on the core that owns the partition; after a
//! producer is known, its batches allocate nothing. Rules: KIP-98, KIP-360, and Kafka's `ProducerStateManager`.

use crate::batch::{BatchHeader, sequence_after};
use crate::error::ErrorCode;
use crate::probe::{Bug, planted};
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
                    base_offset: batch.last_offset - i64::from(batch.delta) * i64::from(!planted(Bug::DuplicateOffset)),
                    last_offset: batch.last_offset,
                    max_timestamp: batch.max_timestamp,
                });
            }
        }
        match producer.remembered().last() {
            Some(newest)
                if header.base_sequence != sequence_after(newest.last_sequence, 1)
                    && !(planted(Bug::GapLetThrough) && header.base_sequence > newest.last_sequence) =>
            {
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
        let kept = planted(Bug::ExpiresFromFirstUse) && producer.held > 1;
        producer.last_used = if kept { producer.last_used } else { now };
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

    /// Forgets batches at or after `offset`: they never became durable. A producer left with none may go on anywhere in its
    /// epoch, as all it may still send again is what was forgotten.
    pub fn forget_from(&mut self, offset: i64) {
        for slot in self.index.values() {
            let producer = &mut self.slots[*slot as usize];
            let kept = producer.remembered().iter().take_while(|batch| batch.last_offset < offset).count();
            producer.held = kept as u8;
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

    /// When each producer was last used, by ascending id.
    pub fn last_used(&self) -> impl Iterator<Item = WallMs> + '_ {
        self.index.values().map(|slot| self.slots[*slot as usize].last_used)
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
        if usize::from(self.held) == REMEMBERED_BATCHES - usize::from(planted(Bug::FourBatches)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Result<Check, ErrorCode> = Err(ErrorCode::OutOfOrderSequenceNumber);
    const FENCED: Result<Check, ErrorCode> = Err(ErrorCode::InvalidProducerEpoch);
    const NEW: Result<Check, ErrorCode> = Ok(Check::New);

    fn batch(id: i64, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
        BatchHeader {
            producer_id: id,
            producer_epoch: epoch,
            base_sequence: sequence,
            last_offset_delta: count - 1,
            record_count: count,
            max_timestamp: 1_000_000 + i64::from(sequence),
            ..Default::default()
        }
    }

    fn duplicate(base_offset: i64, count: i64, sequence: i64) -> Result<Check, ErrorCode> {
        Ok(Check::Duplicate { base_offset, last_offset: base_offset + count - 1, max_timestamp: 1_000_000 + sequence })
    }

    /// A partition: appends what passes, counts offsets.
    struct Log {
        states: ProducerStates,
        next_offset: i64,
        clock: i64,
    }

    impl Log {
        fn new(limit: u32) -> Log {
            Log { states: ProducerStates::new(limit), next_offset: 0, clock: 0 }
        }

        fn send(&mut self, id: i64, epoch: i16, sequence: i32, count: i32) -> Result<Check, ErrorCode> {
            let header = batch(id, epoch, sequence, count);
            let check = self.states.check(&header);
            self.clock += 1;
            if check == NEW {
                self.states.record(&header, self.next_offset, WallMs(self.clock));
                self.next_offset += i64::from(count);
            }
            check
        }
    }

    #[test]
    fn retries_are_told_from_gaps() {
        let mut log = Log::new(10);
        assert_eq!(log.send(1, 0, 0, 3), NEW);
        assert_eq!(log.send(1, 0, 3, 2), NEW);
        assert_eq!(log.send(1, 0, 6, 1), GAP);
        assert_eq!(log.send(1, 0, 0, 3), duplicate(0, 3, 0));
        assert_eq!(log.send(1, 0, 3, 2), duplicate(3, 2, 3));
        assert_eq!(log.send(1, 0, 3, 1), GAP, "the same start with another length is no retry");
        assert_eq!(log.send(1, 0, 4, 1), GAP, "nor is the same end");
        assert_eq!(log.send(1, 0, 5, 1), NEW);
        assert_eq!(log.send(2, 0, 77, 1), NEW, "an unknown producer may start anywhere");
        assert_eq!(log.send(2, 0, 0, 1), GAP);
        assert_eq!(log.next_offset, 7);
    }

    #[test]
    fn five_batches_are_remembered() {
        let mut log = Log::new(10);
        for sequence in 0..6 {
            assert_eq!(log.send(1, 0, sequence, 1), NEW);
        }
        for sequence in 1..6 {
            assert_eq!(log.send(1, 0, sequence, 1), duplicate(i64::from(sequence), 1, i64::from(sequence)));
        }
        assert_eq!(log.send(1, 0, 0, 1), GAP);
        assert_eq!(log.send(1, 0, 6, 1), NEW);
    }

    #[test]
    fn epochs_fence_and_start_at_zero() {
        let mut log = Log::new(10);
        assert_eq!(log.send(1, 3, 0, 1), NEW);
        assert_eq!(log.send(1, 2, 1, 1), FENCED);
        assert_eq!(log.send(1, 4, 1, 1), GAP);
        assert_eq!(log.send(1, 4, 0, 1), NEW);
        assert_eq!(log.send(1, 4, 0, 1), duplicate(1, 1, 0), "of the new epoch, not of the old");
        assert_eq!(log.send(1, 3, 1, 1), FENCED);
        assert_eq!(log.send(1, 3, 0, 1), FENCED, "a fenced producer's retry too");
        assert_eq!(log.send(5, -1, 0, 1), FENCED);
    }

    #[test]
    fn sequences_wrap() {
        let mut log = Log::new(10);
        assert_eq!(log.send(1, 0, i32::MAX - 1, 1), NEW);
        assert_eq!(log.send(1, 0, i32::MAX, 3), NEW);
        assert_eq!(log.send(1, 0, i32::MAX, 3), duplicate(1, 3, i64::from(i32::MAX)));
        assert_eq!(log.send(1, 0, 0, 1), GAP);
        assert_eq!(log.send(1, 0, 2, 1), NEW);
        let mut log = Log::new(10);
        assert_eq!(log.send(1, 0, i32::MAX, 1), NEW);
        assert_eq!(log.send(1, 0, 0, 1), NEW);
    }

    #[test]
    fn the_one_unused_for_longest_makes_room() {
        let mut log = Log::new(3);
        for id in [1, 2, 3] {
            assert_eq!(log.send(id, 0, 0, 1), NEW);
        }
        assert_eq!(log.send(1, 0, 1, 1), NEW);
        assert_eq!(log.send(4, 0, 0, 1), NEW);
        assert_eq!(log.states.iter().map(|p| p.producer_id).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(log.send(2, 0, 9, 1), NEW, "forgotten, so it may start anywhere");
        log.states.set_limit(1);
        assert_eq!(log.states.iter().map(|p| p.producer_id).collect::<Vec<_>>(), [2]);
        assert_eq!(log.send(7, 0, 0, 1), NEW);
        assert_eq!((log.states.len(), log.send(7, 0, 0, 1)), (1, duplicate(6, 1, 0)));
    }

    #[test]
    fn idle_producers_expire_and_a_clock_stepping_back_keeps_them() {
        let mut states = ProducerStates::new(10);
        for (id, at) in [(1, 1000), (2, 2000), (3, 3000)] {
            states.record(&batch(id, 0, 0, 1), id, WallMs(at));
        }
        assert_eq!(states.expire(WallMs(500), 1000), 0);
        assert_eq!(states.expire(WallMs(1999), 1000), 0);
        assert_eq!(states.expire(WallMs(3000), 1000), 2);
        assert_eq!(states.iter().map(|p| p.producer_id).collect::<Vec<_>>(), [3]);
        assert_eq!(states.expire(WallMs(i64::MAX), 1000), 1);
        assert!(states.is_empty());
        states.record(&batch(4, 0, 0, 1), 4, WallMs(0));
        assert_eq!(states.len(), 1);
    }

    #[test]
    fn what_never_became_durable_is_no_duplicate() {
        let mut log = Log::new(10);
        for sequence in 0..4 {
            assert_eq!((log.send(1, 0, sequence, 1), log.send(2, 5, sequence, 1)), (NEW, NEW));
        }
        log.states.forget_from(3);
        assert_eq!(log.states.check(&batch(1, 0, 1, 1)), duplicate(2, 1, 1));
        assert_eq!(log.states.check(&batch(1, 0, 2, 1)), NEW);
        assert_eq!(log.states.check(&batch(1, 0, 3, 1)), GAP);
        assert_eq!(log.states.check(&batch(2, 5, 1, 1)), NEW, "its batch at offset 3 is gone, the one at 1 is not");
        log.states.forget_from(0);
        assert_eq!((log.states.len(), log.states.check(&batch(2, 5, 0, 1))), (2, NEW));
        assert_eq!(log.states.check(&batch(2, 4, 0, 1)), FENCED);
    }

    #[test]
    fn rows_are_what_describe_producers_shows() {
        let mut log = Log::new(10);
        assert_eq!((log.send(9, 2, 5, 3), log.send(4, 0, 0, 1)), (NEW, NEW));
        let row = |producer_id, producer_epoch, last_sequence, last_timestamp| ProducerView {
            producer_id,
            producer_epoch,
            last_sequence,
            last_timestamp,
        };
        assert_eq!(log.states.iter().collect::<Vec<_>>(), [row(4, 0, 0, 1_000_000), row(9, 2, 7, 1_000_005)]);
    }

    /// Whatever was sent, a snapshot and a replay of the log both answer as the original does.
    #[test]
    fn snapshots_and_replays_answer_alike() {
        let mut log = Log::new(6);
        let mut appended = Vec::new();
        let mut state = 88172645463325252u64;
        for _ in 0..3000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let (id, sequence, count) = ((state % 9) as i64, (state >> 8) as i32 % 12, 1 + (state >> 40) as i32 % 3);
            let header = BatchHeader {
                base_offset: log.next_offset,
                ..batch(id, (state >> 50) as i16 % 2, sequence.abs(), count)
            };
            if log.send(id, header.producer_epoch, header.base_sequence, count) == NEW {
                appended.push(header);
            }
        }
        assert!(appended.len() > 300, "{} appended", appended.len());
        let mut bytes = Vec::new();
        log.states.encode(&mut bytes);
        assert!(bytes.len() <= log.states.encoded_len_max());
        let restored = ProducerStates::decode(&bytes, 6).expect("a snapshot");
        let mut again = Vec::new();
        restored.encode(&mut again);
        assert_eq!(again, bytes, "order of use included");
        let mut replayed = ProducerStates::new(6);
        replayed.apply(&BatchHeader { producer_id: -1, ..Default::default() }, WallMs(0));
        appended.iter().for_each(|header| replayed.apply(header, WallMs(7)));
        for id in 0..9 {
            for (epoch, sequence, count) in
                (0..3).flat_map(|e| (0..14).flat_map(move |s| (1..4).map(move |c| (e, s, c))))
            {
                let header = batch(id, epoch, sequence, count);
                let answer = log.states.check(&header);
                assert_eq!(restored.check(&header), answer, "{header:?}");
                assert_eq!(replayed.check(&header), answer, "{header:?}");
            }
        }
        let fewer = ProducerStates::decode(&bytes, 2).expect("a snapshot");
        assert_eq!(fewer.len(), 2);
    }

    #[test]
    fn a_damaged_snapshot_is_refused_or_read_but_never_more() {
        let mut log = Log::new(6);
        for sequence in 0..6 {
            assert_eq!((log.send(1, 0, sequence, 1), log.send(2, 3, sequence, 1)), (NEW, NEW));
        }
        let mut bytes = Vec::new();
        log.states.encode(&mut bytes);
        assert_eq!(bytes.len(), HEAD_LEN + 2 * (PRODUCER_LEN + 5 * BATCH_LEN));
        assert_eq!(bytes[..14], [1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        for cut in 0..bytes.len() {
            assert!(ProducerStates::decode(&bytes[..cut], 6).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(read) = ProducerStates::decode(&damaged, 6) {
                    assert!(at >= HEAD_LEN && read.len() == 2, "byte {at} bit {bit}");
                    let _ = read.check(&batch(1, 0, 6, 1));
                }
            }
        }
    }
}
