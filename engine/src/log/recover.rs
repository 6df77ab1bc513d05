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
#[derive(Clone, PartialEq, Eq, Debug)]
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
