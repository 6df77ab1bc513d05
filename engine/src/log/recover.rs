//! From what journals say to what each partition is: replay of frames, pure and repeatable.
//!
//! Feed every frame of every journal found in a log directory, writer by writer and in order of sequence. What comes out
//! per partition is its state, the bytes to put into segments before the journals may go, and the extents whose bytes
//! must be checked in their segments because no later frame proved them flushed.
//!
//! State of a partition ([`Record::State`]'s payload), little-endian:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 2 | format version, 1 |
//! | 2 | 2 | zero |
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

use super::journal::{BadRecord, Frame, FrameHeader, Record};
use crate::batch::{BatchHeader, HEADER_LEN};
use crate::types::{PartitionKey, WallMs};
use std::collections::BTreeMap;

const VERSION: u16 = 1;
const FIXED_LEN: usize = 64;

/// What a lap's first frame says of a partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionState {
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
        out.extend([0; 2]);
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
    }

    pub fn decode(bytes: &[u8]) -> Option<PartitionState> {
        let mut at = Bytes(bytes);
        if bytes.len() < FIXED_LEN || at.u16()? != VERSION {
            return None;
        }
        at.u16()?;
        let destaged = at.u32()?;
        let [next_offset, log_start, damaged, created, first_timestamp, max_timestamp, max_timestamp_offset] =
            [at.i64()?, at.i64()?, at.i64()?, at.i64()?, at.i64()?, at.i64()?, at.i64()?];
        let epochs = (0..at.u32()?).map(|_| Some((at.u32()? as i32, at.i64()?))).collect::<Option<Vec<_>>>()?;
        let unfinished = (0..at.u32()?).map(|_| Some((at.i64()?, at.u32()?))).collect::<Option<Vec<_>>>()?;
        let producers_len = at.u32()? as usize;
        let producers = at.take(producers_len)?.to_vec();
        at.0.is_empty().then_some(PartitionState {
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
    /// Start of the broker that spoke of it last.
    pub incarnation: u64,
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
    /// Appends do not continue where the log ended.
    Gap { key: PartitionKey, segment: i64, position: u32, expected_segment: i64, expected_position: u32 },
}

/// Replays the journals of one log directory.
#[derive(Debug, Default)]
pub struct Replay<'a> {
    partitions: BTreeMap<PartitionKey, Recovered<'a>>,
}

impl<'a> Replay<'a> {
    /// Takes the next frame of a writer. `proven`: it is known to have been flushed ([`super::journal::Journal::durable`]).
    pub fn frame(&mut self, frame: &Frame<'a>, proven: bool) -> Result<(), Unreadable> {
        let FrameHeader { core, sequence, incarnation, .. } = frame.header;
        for record in frame.records() {
            let record = record.map_err(|BadRecord| Unreadable::BadRecord { core, sequence })?;
            self.record(record, incarnation, proven).ok_or(Unreadable::BadRecord { core, sequence })??;
        }
        Ok(())
    }

    pub fn finish(self) -> BTreeMap<PartitionKey, Recovered<'a>> {
        self.partitions
    }

    fn record(&mut self, record: Record<'a>, incarnation: u64, proven: bool) -> Option<Result<(), Unreadable>> {
        match record {
            Record::Append { key, segment, position, bytes } => {
                let partition = self.written(key, incarnation);
                if let Err(gap) = partition.must_continue(key, segment, position) {
                    return Some(Err(gap));
                }
                partition.redo.push(Redo { segment, position, bytes });
                let mut at = 0;
                while at < bytes.len() {
                    let header = BatchHeader::parse(bytes.get(at..at + HEADER_LEN)?.try_into().ok()?);
                    at += partition.append(header, false)?;
                }
                (at == bytes.len()).then_some(Ok(()))
            }
            Record::Extent { key, segment, position, headers } => {
                let partition = self.written(key, incarnation);
                if let Err(gap) = partition.must_continue(key, segment, position) {
                    return Some(Err(gap));
                }
                for header in headers.chunks_exact(HEADER_LEN) {
                    partition.append(BatchHeader::parse(header.try_into().ok()?), !proven)?;
                }
                Some(Ok(()))
            }
            Record::Redo { key, segment, position, bytes } => {
                let partition = self.partitions.get_mut(&key).filter(|p| p.incarnation == incarnation)?;
                partition.redo.push(Redo { segment, position, bytes });
                Some(Ok(()))
            }
            Record::Trim { key, log_start_offset } => {
                match self.partitions.get_mut(&key).filter(|p| p.incarnation == incarnation) {
                    Some(partition) => partition.log_start = partition.log_start.max(log_start_offset),
                    // One that never held a record: its records were "deleted" all the same.
                    None if log_start_offset == 0 => {}
                    None => return None,
                }
                Some(Ok(()))
            }
            Record::State { key, segment, position, state } => {
                self.state(key, incarnation, (segment, position), PartitionState::decode(state)?);
                Some(Ok(()))
            }
            Record::Drop { key } => {
                self.partitions.remove(&key);
                Some(Ok(()))
            }
            Record::Released { .. } => Some(Ok(())),
        }
    }

    /// The partition that an append goes to. One with no state in this incarnation had no record before it.
    fn written(&mut self, key: PartitionKey, incarnation: u64) -> &mut Recovered<'a> {
        let partition = self.partitions.entry(key).or_insert_with(|| Recovered::fresh(incarnation));
        if partition.incarnation != incarnation {
            *partition = Recovered::fresh(incarnation);
        }
        partition
    }

    /// A new lap's view of a partition. Bytes that the lap before holds are kept, as the new one need not hold them, and so
    /// are extents not proven. Those of an earlier incarnation are not: they were in segments before this one wrote.
    fn state(&mut self, key: PartitionKey, incarnation: u64, end: (i64, u32), state: PartitionState) {
        let (mut redo, mut appended): (Vec<Redo<'a>>, Vec<Appended>) = (Vec::new(), Vec::new());
        if let Some(known) = self.partitions.remove(&key).filter(|known| known.incarnation == incarnation) {
            (redo, appended) = (known.redo, known.appended);
            appended.retain(|batch| batch.unproven);
        }
        let recovered = Recovered {
            incarnation,
            state_segment: end.0,
            state_position: end.1,
            end_segment: end.0,
            end_position: end.1,
            next_offset: state.next_offset,
            log_start: state.log_start,
            appended,
            redo,
            sealed: state.unfinished.iter().copied().collect(),
            state,
        };
        self.partitions.insert(key, recovered);
    }
}

impl Recovered<'_> {
    /// A partition that never held a record.
    fn fresh(incarnation: u64) -> Self {
        Recovered {
            incarnation,
            state: PartitionState {
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
        let journal = read_journal(0, 1, [file, &[]]).expect("no damage");
        let mut replay = Replay::default();
        for frame in &journal.frames {
            replay.frame(frame, frame.header.sequence <= journal.durable)?;
        }
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
        for (incarnation, core, lap, shift) in [(2, 0, 0, 0), (1, 1, 0, 0), (1, 0, 2, 0), (1, 0, 0, 1)] {
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
        PartitionState { next_offset: 2, ..Recovered::fresh(1).state }.encode(&mut state);
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
            replay.frame(&Frame::parse(&writer.file, 0).unwrap(), false).unwrap();
            replay.frame(&Frame::parse(&next.file, 0).unwrap(), false).unwrap();
            let found = &replay.finish()[&key(0)];
            (found.redo.len(), found.appended.len(), found.next_offset)
        };
        assert_eq!(after(1), (1, 1, 2));
        assert_eq!(after(2), (0, 0, 2));
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
        assert_eq!(refused(&[Record::State { key: key(5), segment: 0, position: 0, state: &[1, 2] }]), bad);
        let mut fine = Writer::new(1, 0, 0, 1);
        fine.frame(&[Record::Trim { key: key(5), log_start_offset: 0 }, append(0, 0, 0, &zero), append(0, 1, 0, &one)]);
        fine.frame(&[Record::Drop { key: key(0) }]);
        assert!(replay(&fine.file).unwrap().is_empty());
    }
}
