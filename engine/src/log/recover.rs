//! From what journals say to what each partition is: replay of frames, pure and repeatable.
//!
//! Feed every frame of every journal found in a log directory, writer by writer and in order of sequence. What comes out
//! per partition is its state, the bytes to put into segments before the journals may go, and the extents whose bytes
//! must be checked in their segments because no later frame proved them flushed.
//!
//! Where frames are missing that had been flushed ([`Journal::holes`]), anything may have been in them. From then on every
//! partition of that writer is in doubt, until a later frame says where its log ends: at the end that was known, then
//! nothing of it was in the hole; or beyond, then the offsets between are lost. One of which nothing more is said stays in
//! doubt: its log is closed at the end that is proven.
//!
//! State of a partition ([`Record::State`]'s payload), little-endian:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 2 | format version, 1 |
//! | 2 | 2 | flags: 1: the log is closed, as what followed its end is not known; 2: with the last field; the others zero |
//! | 4 | 4 | bytes of the active segment known durable in its file |
//! | 8 | 8 | next offset |
//! | 16 | 8 | log start offset |
//! | 24 | 8 | offset from which the log is damaged, -1 if it is whole |
//! | 32 | 8 | wall-clock ms of the active segment's first append |
//! | 40 | 8 | largest timestamp of the active segment's first batch, -1 if none |
//! | 48 | 8 | largest timestamp in the active segment, -1 if none |
//! | 56 | 8 | offset of the batch that holds it |
//! | 64 | 4 | number of leader epochs, then for each: epoch i32, start offset i64 |
//! | .. | 4 | number of sealed segments whose file may not be complete, then for each: base offset i64, length u32 |
//! | .. | 4 | length of the producer states, then those |
//! | .. | 8 | end of the offsets that were lost with frames of a journal, if the flags say so |

use super::journal::{BadRecord, Frame, FrameHeader, Journal, Record};
use crate::batch::{BatchHeader, HEADER_LEN};
use crate::probe::{Bug, planted};
use crate::types::{PartitionKey, WallMs};
use std::collections::BTreeMap;

const VERSION: u16 = 1;
const CLOSED: u16 = 1;
const LOST: u16 = 2;

/// What a lap's first frame says of a partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionState {
    /// What followed the next offset is not known: nothing may take its place.
    pub closed: bool,
    /// Offsets from `damaged_from` to here were lost with frames of a journal, or some of them; 0 if none were.
    pub lost_until: i64,
    pub destaged: u32,
    pub next_offset: i64,
    pub log_start: i64,
    /// `i64::MAX` if the log is whole.
    pub damaged_from: i64,
    pub created: WallMs,
    pub first_timestamp: i64,
    pub max_timestamp: i64,
    pub max_timestamp_offset: i64,
    pub epochs: Vec<(i32, i64)>,
    pub unfinished: Vec<(i64, u32)>,
    pub producers: Vec<u8>,
}

impl PartitionState {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(VERSION.to_le_bytes());
        let flags = if self.closed { CLOSED } else { 0 } | if self.lost_until > 0 { LOST } else { 0 };
        out.extend(flags.to_le_bytes());
        out.extend(self.destaged.to_le_bytes());
        let damaged = if self.damaged_from == i64::MAX { -1 } else { self.damaged_from };
        for field in [
            self.next_offset,
            self.log_start,
            damaged,
            self.created.0,
            self.first_timestamp,
            self.max_timestamp,
            self.max_timestamp_offset,
        ] {
            out.extend(field.to_le_bytes());
        }
        out.extend((self.epochs.len() as u32).to_le_bytes());
        for (epoch, start) in &self.epochs {
            out.extend(epoch.to_le_bytes());
            out.extend(start.to_le_bytes());
        }
        out.extend((self.unfinished.len() as u32).to_le_bytes());
        for (base, len) in &self.unfinished {
            out.extend(base.to_le_bytes());
            out.extend(len.to_le_bytes());
        }
        out.extend((self.producers.len() as u32).to_le_bytes());
        out.extend(&self.producers);
        if self.lost_until > 0 {
            out.extend(self.lost_until.to_le_bytes());
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<PartitionState, BadState> {
        match bytes.first_chunk().map(|version| u16::from_le_bytes(*version)) {
            Some(VERSION) => Self::of_this_format(&bytes[2..]).ok_or(BadState::Invalid),
            Some(version) => Err(BadState::Newer(version)),
            None => Err(BadState::Invalid),
        }
    }

    /// What follows the format's version.
    fn of_this_format(bytes: &[u8]) -> Option<PartitionState> {
        let mut at = Bytes(bytes);
        let flags = at.u16()?;
        let destaged = at.u32()?;
        let [next_offset, log_start, damaged, created, first_timestamp, max_timestamp, max_timestamp_offset] =
            [at.i64()?, at.i64()?, at.i64()?, at.i64()?, at.i64()?, at.i64()?, at.i64()?];
        let epochs = (0..at.u32()?).map(|_| Some((at.u32()? as i32, at.i64()?))).collect::<Option<Vec<_>>>()?;
        let unfinished = (0..at.u32()?).map(|_| Some((at.i64()?, at.u32()?))).collect::<Option<Vec<_>>>()?;
        let producers_len = at.u32()? as usize;
        let producers = at.take(producers_len)?.to_vec();
        let lost_until = if flags & LOST != 0 { Some(at.i64()?).filter(|until| *until > 0)? } else { 0 };
        at.0.is_empty().then_some(PartitionState {
            closed: flags & CLOSED != 0,
            lost_until,
            destaged,
            next_offset,
            log_start,
            damaged_from: if damaged < 0 { i64::MAX } else { damaged },
            created: WallMs(created),
            first_timestamp,
            max_timestamp,
            max_timestamp_offset,
            epochs,
            unfinished,
            producers,
        })
    }
}

/// Why a partition's state cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadState {
    /// Not what any release wrote.
    Invalid,
    /// Written by a newer version of Ringlog.
    Newer(u16),
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

/// Bytes of a segment that only a journal holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redo<'a> {
    pub segment: i64,
    pub position: u32,
    pub bytes: &'a [u8],
}

/// A batch appended since the last state, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    pub segment: i64,
    pub position: u32,
    pub header: BatchHeader,
    /// No later frame proved the flush: the bytes in the segment must be checked before this batch is believed.
    pub unproven: bool,
}

/// A partition as its journal left it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered<'a> {
    /// Start of the broker that spoke of it last, and the core.
    pub incarnation: u64,
    pub core: u16,
    /// What followed the end may have been in frames that are missing.
    pub doubt: bool,
    /// Offsets from here on were in frames that are missing, or some of them; `i64::MAX` if none were.
    pub lost_from: i64,
    /// Where in the log those begin: segment and position.
    pub lost_at: (i64, u32),
    /// Frames are missing that may have held bytes which the state tells of, but none of offsets before this one.
    pub patchy: Option<i64>,
    /// Segments that may have gone on in frames that are missing: they are at least as long as known.
    pub open_ended: Vec<i64>,
    /// Ranges that went straight to segments: base offset, and positions.
    pub direct: Vec<(i64, u32, u32)>,
    pub state: PartitionState,
    /// Base offset of the segment that was active at the state, and its end then.
    pub state_segment: i64,
    pub state_position: u32,
    /// End of the log after all that was appended.
    pub end_segment: i64,
    pub end_position: u32,
    pub next_offset: i64,
    pub log_start: i64,
    /// All batches since the state, and before them those of earlier frames that are not proven.
    pub appended: Vec<Appended>,
    pub redo: Vec<Redo<'a>>,
    /// Segments that were sealed since, or whose files may not be complete: base offset and length.
    pub sealed: BTreeMap<i64, u32>,
}

/// The journals cannot be believed as a whole; the log directory must not be served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// A frame with a good checksum holds what this version cannot read.
    BadRecord { core: u16, sequence: u64 },
    /// A partition's state has a newer format than this version reads.
    Newer { key: PartitionKey, version: u16 },
    /// Appends do not continue where the log ended.
    Gap { key: PartitionKey, segment: i64, position: u32, expected_segment: i64, expected_position: u32 },
}

/// Replays the journals of one log directory.
#[derive(Debug, Default)]
pub struct Replay<'a> {
    partitions: BTreeMap<PartitionKey, Recovered<'a>>,
    /// Core and start whose frames are being taken.
    core: u16,
    incarnation: u64,
    /// Frames of that core are missing before the next.
    holed: bool,
}

impl<'a> Replay<'a> {
    /// Takes a writer's journal, whole or with holes. Those of earlier starts come first.
    pub fn journal(&mut self, core: u16, incarnation: u64, journal: &Journal<'a>) -> Result<(), Unreadable> {
        (self.core, self.incarnation, self.holed) = (core, incarnation, false);
        let mut holes = journal.holes.iter().peekable();
        for (at, frame) in journal.frames.iter().enumerate() {
            if holes.next_if(|hole| hole.before == at).is_some() {
                self.hole();
            }
            self.frame(frame, frame.header.sequence <= journal.durable + u64::from(planted(Bug::UnflushedProven)))?;
        }
        if holes.next().is_some() {
            self.hole();
        }
        Ok(())
    }

    /// Anything may have been in the frames that are missing here, but of partitions that another core spoke of.
    fn hole(&mut self) {
        self.holed = true;
        for p in self.partitions.values_mut() {
            p.doubt |= p.incarnation != self.incarnation || p.core == self.core;
        }
    }

    /// Takes the next frame of a writer. `proven`: it is known to have been flushed ([`Journal::durable`]).
    fn frame(&mut self, frame: &Frame<'a>, proven: bool) -> Result<(), Unreadable> {
        let FrameHeader { core, sequence, .. } = frame.header;
        for record in frame.records() {
            let record = record.map_err(|BadRecord| Unreadable::BadRecord { core, sequence })?;
            self.record(record, proven).ok_or(Unreadable::BadRecord { core, sequence })??;
        }
        Ok(())
    }

    pub fn finish(self) -> BTreeMap<PartitionKey, Recovered<'a>> {
        self.partitions
    }

    fn record(&mut self, record: Record<'a>, proven: bool) -> Option<Result<(), Unreadable>> {
        match record {
            Record::Append { key, segment, position, bytes } => {
                let partition = self.written(key);
                if let Err(gap) = partition.goes_on(key, segment, position, bytes) {
                    return Some(Err(gap));
                }
                // An empty one only says where the log ends.
                if !bytes.is_empty() {
                    partition.redo.push(Redo { segment, position, bytes });
                }
                let mut at = 0;
                while at < bytes.len() {
                    let header = BatchHeader::parse(bytes.get(at..at + HEADER_LEN)?.try_into().ok()?);
                    at += partition.append(header, false)?;
                }
                (at == bytes.len()).then_some(Ok(()))
            }
            Record::Extent { key, segment, position, headers } => {
                let partition = self.written(key);
                if let Err(gap) = partition.goes_on(key, segment, position, headers) {
                    return Some(Err(gap));
                }
                for header in headers.chunks_exact(HEADER_LEN) {
                    partition.append(BatchHeader::parse(header.try_into().ok()?), !proven)?;
                }
                partition.direct.push((segment, position, partition.end_position));
                Some(Ok(()))
            }
            Record::Redo { key, segment, position, bytes } => {
                let holed = self.holed;
                match self.spoken_of(key) {
                    Some(partition) => partition.redo.push(Redo { segment, position, bytes }),
                    None if holed => {}
                    None => return None,
                }
                Some(Ok(()))
            }
            Record::Trim { key, log_start_offset } => {
                let holed = self.holed;
                match self.spoken_of(key) {
                    Some(partition) => partition.log_start = partition.log_start.max(log_start_offset),
                    // One that never held a record: its records were "deleted" all the same.
                    None if log_start_offset == 0 || holed => {}
                    None => return None,
                }
                Some(Ok(()))
            }
            Record::State { key, segment, position, state } => {
                match PartitionState::decode(state) {
                    Ok(state) => self.state(key, (segment, position), state),
                    Err(BadState::Newer(version)) => return Some(Err(Unreadable::Newer { key, version })),
                    Err(BadState::Invalid) => return None,
                }
                Some(Ok(()))
            }
            Record::Drop { key } => {
                self.partitions.remove(&key);
                Some(Ok(()))
            }
            Record::Released { .. } => Some(Ok(())),
        }
    }

    /// The partition, if this start spoke of it, or may have in frames that are missing.
    fn spoken_of(&mut self, key: PartitionKey) -> Option<&mut Recovered<'a>> {
        let incarnation = self.incarnation;
        self.partitions.get_mut(&key).filter(|p| p.incarnation == incarnation || p.doubt)
    }

    /// The partition that an append goes to. One with no state in this incarnation had no record before it, unless frames
    /// are missing.
    fn written(&mut self, key: PartitionKey) -> &mut Recovered<'a> {
        let (incarnation, core) = (self.incarnation, self.core);
        let fresh = || Recovered { doubt: self.holed, ..Recovered::fresh(incarnation, core) };
        let partition = self.partitions.entry(key).or_insert_with(fresh);
        if partition.incarnation != incarnation && !partition.doubt {
            *partition = Recovered::fresh(incarnation, core);
        }
        (partition.incarnation, partition.core) = (incarnation, core);
        partition
    }

    /// A new lap's view of a partition. Bytes that the lap before holds are kept, as the new one need not hold them, and so
    /// are extents not proven. Those of an earlier incarnation are not: they were in segments before this one wrote.
    fn state(&mut self, key: PartitionKey, end: (i64, u32), state: PartitionState) {
        let incarnation = self.incarnation;
        let known = self.partitions.remove(&key).filter(|known| known.incarnation == incarnation);
        let mut kept = known.unwrap_or_else(|| Recovered::fresh(incarnation, self.core));
        kept.appended.retain(|batch| batch.unproven);
        let told = kept.patchy.unwrap_or(i64::MAX).min(kept.lost_from).min(kept.next_offset);
        let recovered = Recovered {
            incarnation,
            core: self.core,
            doubt: false,
            lost_from: i64::MAX,
            lost_at: (0, 0),
            patchy: self.holed.then_some(told),
            open_ended: Vec::new(),
            direct: kept.direct,
            state_segment: end.0,
            state_position: end.1,
            end_segment: end.0,
            end_position: end.1,
            next_offset: state.next_offset,
            log_start: state.log_start,
            appended: kept.appended,
            redo: kept.redo,
            sealed: state.unfinished.iter().copied().collect(),
            state,
        };
        self.partitions.insert(key, recovered);
    }
}

impl Recovered<'_> {
    /// A partition that never held a record.
    fn fresh(incarnation: u64, core: u16) -> Self {
        Recovered {
            incarnation,
            core,
            doubt: false,
            lost_from: i64::MAX,
            lost_at: (0, 0),
            patchy: None,
            open_ended: Vec::new(),
            direct: Vec::new(),
            state: PartitionState {
                closed: false,
                lost_until: 0,
                destaged: 0,
                next_offset: 0,
                log_start: 0,
                damaged_from: i64::MAX,
                created: WallMs(0),
                first_timestamp: -1,
                max_timestamp: -1,
                max_timestamp_offset: -1,
                epochs: Vec::new(),
                unfinished: Vec::new(),
                producers: Vec::new(),
            },
            state_segment: 0,
            state_position: 0,
            end_segment: 0,
            end_position: 0,
            next_offset: 0,
            log_start: 0,
            appended: Vec::new(),
            redo: Vec::new(),
            sealed: BTreeMap::new(),
        }
    }

    /// A partition of which no journal speaks, while frames are missing: its log began at `log_start`, its finished segments
    /// are proven up to one offset, and it held others before `next_offset`.
    pub fn unknown(log_start: i64, proven: i64, next_offset: i64) -> Self {
        let mut unknown = Recovered { doubt: true, log_start, next_offset, ..Recovered::fresh(0, 0) };
        unknown.lost_from = if proven < next_offset { proven } else { i64::MAX };
        (unknown.state.log_start, unknown.state.next_offset) = (log_start, next_offset);
        (unknown.state_segment, unknown.end_segment) = (next_offset, next_offset);
        unknown
    }

    /// Frames are missing that may have been about this partition, whatever came of it: its files are left as they are.
    pub fn is_uncertain(&self) -> bool {
        self.doubt || self.patchy.is_some() || self.lost_from < i64::MAX
    }

    /// Takes note of where an append begins. After missing frames it may be anywhere beyond the known end.
    fn goes_on(&mut self, key: PartitionKey, segment: i64, position: u32, batches: &[u8]) -> Result<(), Unreadable> {
        let doubt = std::mem::take(&mut self.doubt);
        let gap = self.must_continue(key, segment, position);
        let first = batches.first_chunk::<HEADER_LEN>().map(BatchHeader::parse);
        match (gap, first) {
            (Err(_), Some(first)) if doubt && first.base_offset > self.next_offset && segment >= self.end_segment => {
                if self.lost_from == i64::MAX {
                    (self.lost_from, self.lost_at) = (self.next_offset, (self.end_segment, self.end_position));
                }
                if segment != self.end_segment && self.end_position > 0 {
                    self.sealed.insert(self.end_segment, self.end_position);
                    self.open_ended.push(self.end_segment);
                }
                (self.end_segment, self.end_position, self.next_offset) = (segment, position, first.base_offset);
                Ok(())
            }
            // Its end, and no more than that, is beyond what is known.
            (Err(_), None) if doubt && batches.is_empty() => {
                self.doubt = true;
                Ok(())
            }
            (gap, _) => gap,
        }
    }

    /// An append goes on where the log ended, or opens the segment named after the next offset.
    fn must_continue(&mut self, key: PartitionKey, segment: i64, position: u32) -> Result<(), Unreadable> {
        if (segment, position) == (self.end_segment, self.end_position) {
            return Ok(());
        }
        if segment == self.next_offset && position == 0 && segment >= self.end_segment {
            if segment != self.end_segment {
                self.sealed.insert(self.end_segment, self.end_position);
            }
            (self.end_segment, self.end_position) = (segment, 0);
            return Ok(());
        }
        Err(Unreadable::Gap {
            key,
            segment,
            position,
            expected_segment: self.end_segment,
            expected_position: self.end_position,
        })
    }

    /// Length of the batch, or `None` if it cannot be the next one.
    fn append(&mut self, header: BatchHeader, unproven: bool) -> Option<usize> {
        let len = header.total_len();
        if header.base_offset != self.next_offset || header.last_offset_delta < 0 || len < HEADER_LEN {
            return None;
        }
        self.appended.push(Appended { segment: self.end_segment, position: self.end_position, header, unproven });
        self.end_position = self.end_position.checked_add(u32::try_from(len).ok()?)?;
        self.next_offset = self.next_offset.checked_add(i64::from(header.last_offset_delta) + 1)?;
        Some(len)
    }

    /// Drops what was appended from the `from`-th batch on: its bytes never became durable.
    pub fn cut(&mut self, from: usize) {
        let Some(first) = self.appended.get(from) else { return };
        let (segment, position) = (first.segment, first.position);
        (self.end_segment, self.end_position, self.next_offset) = (segment, position, first.header.base_offset);
        self.appended.truncate(from);
        self.sealed.retain(|base, _| *base < segment);
        self.redo.retain_mut(|redo| {
            if (redo.segment, redo.position) >= (segment, position) {
                return false;
            }
            if redo.segment == segment {
                let keep = (position - redo.position) as usize;
                redo.bytes = &redo.bytes[..redo.bytes.len().min(keep)];
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::tests::Writer;
    use super::super::journal::{BLOCK, FRAME_HEADER_LEN, read_journal};
    use super::*;
    use crate::types::TopicId;

    fn key(partition: i32) -> PartitionKey {
        PartitionKey { topic: TopicId([7; 16]), partition }
    }

    /// A batch of one record as far as recovery looks: a header and as many bytes as it says.
    fn batch(base_offset: i64, len: usize) -> Vec<u8> {
        let header = BatchHeader { base_offset, batch_length: len as i32 - 12, record_count: 1, ..Default::default() };
        let mut bytes = header.encode().to_vec();
        bytes.resize(len, base_offset as u8 + 1);
        bytes
    }

    fn replay(file: &[u8]) -> Result<BTreeMap<PartitionKey, Recovered<'_>>, Unreadable> {
        let journal = read_journal(0, 1, [file, &[]]).expect("no newer format");
        let mut replay = Replay::default();
        replay.journal(0, 1, &journal)?;
        Ok(replay.finish())
    }

    fn append(partition: i32, segment: i64, position: u32, bytes: &[u8]) -> Record<'_> {
        Record::Append { key: key(partition), segment, position, bytes }
    }

    #[test]
    fn cut_at_every_byte_the_whole_frames_are_left() {
        let batches: Vec<Vec<u8>> = (0..5).map(|k| batch(k, 70 + 10 * k as usize)).collect();
        let mut writer = Writer::new(1, 0, 0, 1);
        let (mut position, mut ends) = (0, Vec::new());
        for bytes in &batches {
            writer.frame(&[append(0, 0, position, bytes)]);
            position += bytes.len() as u32;
            ends.push(writer.file.len() - BLOCK + FRAME_HEADER_LEN + 48 + bytes.len());
        }
        for cut in 0..writer.file.len() {
            let whole = ends.iter().take_while(|end| **end <= cut).count();
            let mut zeroed = writer.file.clone();
            zeroed[cut..].fill(0);
            for file in [&writer.file[..cut], &zeroed] {
                let partitions = replay(file).unwrap();
                let Some(found) = partitions.get(&key(0)) else {
                    assert_eq!(whole, 0, "cut at {cut}");
                    continue;
                };
                assert_eq!((found.next_offset, found.appended.len()), (whole as i64, whole), "cut at {cut}");
                let bytes: Vec<u8> = found.redo.iter().flat_map(|redo| redo.bytes).copied().collect();
                assert_eq!(bytes, batches[..whole].concat());
            }
        }
    }

    #[test]
    fn recycled_space_with_a_good_batch_at_the_next_offset_is_not_believed() {
        let (first, next) = (batch(0, 100), batch(1, 100));
        let mut writer = Writer::new(1, 0, 0, 1);
        writer.frame(&[append(0, 0, 0, &first)]);
        let mut bare = writer.file.clone();
        bare.extend(&next);
        bare.resize(3 * BLOCK, 0);
        assert_eq!(replay(&bare).unwrap()[&key(0)].next_offset, 1);
        // The very frame that would come next, of another start, another core, another lap, another place.
        let mut good = Writer::new(1, 0, 0, 1);
        good.frame(&[append(0, 0, 0, &first)]);
        good.frame(&[append(0, 0, 100, &next)]);
        assert_eq!(replay(&good.file).unwrap()[&key(0)].next_offset, 2);
        // A later lap cannot be behind an older one: what is left behind it is of an earlier one.
        let mut later = Writer::new(1, 0, 2, 1);
        later.frame(&[Record::Released { lap: 1 }, append(0, 0, 0, &first)]);
        for (incarnation, core, lap, shift) in [(2, 0, 0, 0), (1, 1, 0, 0), (1, 0, 0, 0), (1, 0, 0, 1)] {
            let writer = if (incarnation, core, shift) == (1, 0, 0) { &later } else { &writer };
            let mut other = Writer::new(incarnation, core, lap, 2);
            other.file.resize((1 + shift) * BLOCK, 0);
            other.frame(&[append(0, 0, 100, &next)]);
            let mut file = writer.file.clone();
            file.extend(&other.file[(1 + shift) * BLOCK..]);
            let found = &replay(&file).unwrap()[&key(0)];
            assert_eq!((found.next_offset, found.redo.len()), (1, 1), "{incarnation} {core} {lap} {shift}");
        }
    }

    #[test]
    fn extents_are_proven_by_later_frames_and_cut_with_all_that_follows() {
        let batches: Vec<Vec<u8>> = (0..3).map(|k| batch(k, 5000)).collect();
        let extent = |k: usize| Record::Extent {
            key: key(0),
            segment: 0,
            position: 5000 * k as u32,
            headers: &batches[k][..61],
        };
        let mut writer = Writer::new(1, 0, 0, 1);
        writer.frame(&[extent(0)]);
        writer.next.durable_sequence = 1;
        let ragged = &batches[1][8192 - 5000..];
        writer.frame(&[extent(1), Record::Redo { key: key(0), segment: 0, position: 8192, bytes: ragged }]);
        writer.next.durable_sequence = 1;
        let sealed = batch(2, 80);
        writer.frame(&[append(0, 2, 0, &sealed)]);
        let mut found = replay(&writer.file).unwrap().remove(&key(0)).unwrap();
        assert_eq!(found.appended.iter().map(|a| a.unproven).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!((found.sealed.get(&0), found.end_segment, found.next_offset), (Some(&10_000), 2, 3));
        found.cut(1);
        assert_eq!((found.end_segment, found.end_position, found.next_offset), (0, 5000, 1));
        assert!(found.redo.is_empty() && found.sealed.is_empty());
    }

    #[test]
    fn a_new_lap_keeps_what_is_not_proven_and_a_new_start_keeps_nothing() {
        let bytes = batch(0, 100);
        let mut state = Vec::new();
        PartitionState { next_offset: 2, ..Recovered::fresh(1, 0).state }.encode(&mut state);
        let mut writer = Writer::new(1, 0, 0, 1);
        let second = batch(1, 100);
        writer.frame(&[
            append(0, 0, 0, &bytes),
            Record::Extent { key: key(0), segment: 0, position: 100, headers: &second[..61] },
        ]);
        let after = |incarnation| {
            let mut next = Writer::new(incarnation, 0, 0, 1);
            next.frame(&[Record::State { key: key(0), segment: 0, position: 200, state: &state }]);
            let mut replay = Replay::default();
            for (incarnation, file) in [(1, &writer.file), (incarnation, &next.file)] {
                let frames = vec![Frame::parse(file, 0).unwrap()];
                replay.journal(0, incarnation, &Journal { frames, durable: 0, holes: Vec::new() }).unwrap();
            }
            let found = &replay.finish()[&key(0)];
            (found.redo.len(), found.appended.len(), found.next_offset)
        };
        assert_eq!(after(1), (1, 1, 2));
        assert_eq!(after(2), (0, 0, 2));
    }

    #[test]
    fn after_missing_frames_a_log_goes_on_is_lost_in_part_or_is_in_doubt() {
        let batches: Vec<Vec<u8>> = (0..4).map(|k| batch(k, 100)).collect();
        let mut writer = Writer::new(1, 0, 0, 1);
        let all: Vec<Record<'_>> = (0..4).map(|partition| append(partition, 0, 0, &batches[0])).collect();
        writer.frame(&all);
        // The frame that will be missing is about the first, the second, and one that was never seen.
        writer.frame(&[append(0, 0, 100, &batches[1]), append(1, 0, 100, &batches[1]), append(4, 0, 0, &batches[0])]);
        writer.frame(&[append(0, 2, 0, &batches[2]), append(2, 0, 100, &batches[1]), append(5, 0, 0, &batches[0])]);
        let late = append(6, 0, 200, &batches[2]);
        let strange = Record::Redo { key: key(7), segment: 0, position: 0, bytes: &[1] };
        writer.frame(&[append(0, 2, 100, &batches[3]), late, strange]);
        writer.frame(&[]);
        let mut file = writer.file;
        file[BLOCK + 50] ^= 1;
        let found = replay(&file).unwrap();
        let told = |partition: i32| {
            let p = &found[&key(partition)];
            (p.doubt, p.lost_from, p.next_offset, (p.end_segment, p.end_position))
        };
        assert_eq!(told(0), (false, 1, 4, (2, 200)), "it went on beyond its known end");
        assert_eq!((&found[&key(0)].open_ended[..], found[&key(0)].redo.len()), (&[0][..], 3));
        assert_eq!(told(1), (true, i64::MAX, 1, (0, 100)), "nothing more was said of it");
        assert_eq!(told(2), (false, i64::MAX, 2, (0, 200)), "it went on where it had ended");
        assert_eq!(told(3), (true, i64::MAX, 1, (0, 100)));
        assert_eq!(told(5), (false, i64::MAX, 1, (0, 100)), "it began later");
        assert_eq!(told(6), (false, 0, 3, (0, 300)));
        assert!(!found.contains_key(&key(4)) && !found.contains_key(&key(7)));
        assert!(
            replay(&file[..4 * BLOCK]).unwrap()[&key(1)].doubt,
            "the last frame proves the missing one, and nothing more"
        );
    }

    #[test]
    fn a_state_after_missing_frames_tells_where_a_log_ends() {
        let batches: Vec<Vec<u8>> = (0..3).map(|k| batch(k, 100)).collect();
        let mut state = Vec::new();
        PartitionState { next_offset: 2, destaged: 100, ..Recovered::fresh(1, 0).state }.encode(&mut state);
        let mut zero = Writer::new(1, 0, 0, 1);
        zero.frame(&[append(0, 0, 0, &batches[0])]);
        zero.frame(&[append(0, 0, 100, &batches[1])]);
        let mut one = Writer::new(1, 0, 1, 3);
        one.frame(&[Record::State { key: key(0), segment: 0, position: 200, state: &state }]);
        one.frame(&[append(0, 0, 200, &batches[2])]);
        zero.file[BLOCK + 50] ^= 1;
        let found = |zero: &[u8], one: &[u8]| {
            let mut replay = Replay::default();
            replay.journal(0, 1, &read_journal(0, 1, [zero, one]).unwrap()).unwrap();
            let p = replay.finish().remove(&key(0)).unwrap();
            (p.doubt, p.lost_from, p.patchy, p.next_offset)
        };
        assert_eq!(found(&zero.file, &one.file), (false, i64::MAX, Some(1), 3));
        // Without the state's own frame there is what was appended since.
        one.file[50] ^= 1;
        assert_eq!(found(&zero.file, &one.file), (false, 1, None, 3));
        // Whichever core speaks first of it in a later start, its hole may have been about it.
        for core in [0, 1] {
            let mut replay = Replay::default();
            replay.journal(0, 1, &read_journal(0, 1, [&zero.file, &[]]).unwrap()).unwrap();
            let mut next = Writer::new(2, core, 0, 1);
            next.frame(&[Record::Drop { key: key(9) }]);
            next.frame(&[]);
            next.file[50] ^= 1;
            replay.journal(core, 2, &read_journal(core, 2, [&next.file, &[]]).unwrap()).unwrap();
            assert!(replay.finish()[&key(0)].doubt, "core {core}");
        }
    }

    #[test]
    fn gaps_and_nonsense_under_a_good_checksum_are_refused() {
        let (zero, one, two) = (batch(0, 100), batch(1, 100), batch(2, 100));
        let refused = |records: &[Record<'_>]| {
            let mut writer = Writer::new(1, 0, 0, 1);
            writer.frame(&[append(0, 0, 0, &zero)]);
            writer.frame(records);
            replay(&writer.file).map(drop).unwrap_err()
        };
        let gap = |segment, position| Unreadable::Gap {
            key: key(0),
            segment,
            position,
            expected_segment: 0,
            expected_position: 100,
        };
        let bad = Unreadable::BadRecord { core: 0, sequence: 2 };
        assert_eq!(refused(&[append(0, 0, 101, &one)]), gap(0, 101));
        assert_eq!(refused(&[append(0, 2, 0, &two)]), gap(2, 0));
        assert_eq!(refused(&[append(0, 0, 100, &two)]), bad);
        assert_eq!(refused(&[append(0, 0, 100, &one[..99])]), bad);
        assert_eq!(refused(&[Record::Redo { key: key(5), segment: 0, position: 0, bytes: &[] }]), bad);
        assert_eq!(refused(&[Record::Trim { key: key(5), log_start_offset: 1 }]), bad);
        assert_eq!(refused(&[Record::State { key: key(5), segment: 0, position: 0, state: &[1, 0] }]), bad);
        let newer = Record::State { key: key(5), segment: 0, position: 0, state: &[2, 0] };
        assert_eq!(refused(&[newer]), Unreadable::Newer { key: key(5), version: 2 });
        let mut fine = Writer::new(1, 0, 0, 1);
        fine.frame(&[Record::Trim { key: key(5), log_start_offset: 0 }, append(0, 0, 0, &zero), append(0, 1, 0, &one)]);
        fine.frame(&[Record::Drop { key: key(0) }]);
        assert!(replay(&fine.file).unwrap().is_empty());
        let closed = PartitionState { closed: true, lost_until: 7, ..Recovered::fresh(1, 0).state };
        let mut bytes = Vec::new();
        closed.encode(&mut bytes);
        assert_eq!(PartitionState::decode(&bytes), Ok(closed));
        // Found by the fuzzer: what is lost ends at some offset.
        for until in [0, -1, i64::MIN] {
            let at = bytes.len() - 8;
            bytes[at..].copy_from_slice(&i64::to_le_bytes(until));
            assert_eq!(PartitionState::decode(&bytes), Err(BadState::Invalid));
        }
    }
}
