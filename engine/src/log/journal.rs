//! The format of a core's journal: what makes appends to many partitions durable with one write and one flush.
//!
//! A journal is two files of equal size, written in turns ("laps": lap n goes to file n mod 2). A lap is a run of
//! frames, each one commit, each starting on a 4096-byte boundary. The first frame of a lap carries the state of every
//! partition of the writer, so a lap can be replayed without the ones before it, except for bytes not yet destaged.
//! A lap's file is used again only after a durable frame has said [`Record::Released`] of it.
//!
//! A frame names its own place (writer, lap, sequence, position) under its own checksum: recycled space may hold
//! another lap's frame or another partition's valid batch at exactly the next offset, and neither is believed.
//!
//! Frame header, 64 bytes, little-endian:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `RLJF` |
//! | 4 | 2 | format version, 1 |
//! | 6 | 2 | core that writes |
//! | 8 | 8 | incarnation: number of the start of the broker that wrote it |
//! | 16 | 8 | lap |
//! | 24 | 8 | sequence of the frame, from 1 in each incarnation and core, across laps |
//! | 32 | 8 | position of the frame in its file |
//! | 40 | 8 | largest sequence known flushed when this frame was built |
//! | 48 | 4 | length of header and records, without the padding to 4096 |
//! | 52 | 4 | number of records |
//! | 56 | 4 | CRC-32C of the records |
//! | 60 | 4 | CRC-32C of bytes 0..60 |
//!
//! Record header, 48 bytes, then the payload:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 1 | kind |
//! | 1 | 3 | zero |
//! | 4 | 4 | payload length |
//! | 8 | 16 | topic id |
//! | 24 | 4 | partition |
//! | 28 | 4 | position in the segment |
//! | 32 | 8 | base offset of the segment |
//! | 40 | 8 | kind's own |
//!
//! Kinds ([`Record`]); fields a kind does not use are zero:
//!
//! | kind | | payload |
//! |---|---|---|
//! | 1 | append | whole batches; none where it only says that the partition's log ends there |
//! | 2 | extent | the 61-byte headers of batches whose bytes went straight to the segment |
//! | 3 | redo | bytes of the segment |
//! | 4 | trim | none; kind's own: the log start offset |
//! | 5 | state | a partition's state ([`super::recover`]) |
//! | 6 | drop | none |
//! | 7 | released | none; topic and partition zero; kind's own: the lap |

use crate::batch;
use crate::probe::{Bug, State, planted, reached};
use crate::types::{PartitionKey, TopicId};

pub const FRAME_HEADER_LEN: usize = 64;
pub const RECORD_HEADER_LEN: usize = 48;
/// Frames start on, and writes are multiples of, this many bytes.
pub const BLOCK: usize = 4096;
const MAGIC: u32 = u32::from_le_bytes(*b"RLJF");
const VERSION: u16 = 1;

/// A frame's place and what it says of the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    pub core: u16,
    pub incarnation: u64,
    pub lap: u64,
    pub sequence: u64,
    pub position: u64,
    pub durable_sequence: u64,
    /// Header and records, unpadded.
    pub len: u32,
    pub record_count: u32,
    pub records_crc: u32,
}

impl FrameHeader {
    pub fn encode(&self) -> [u8; FRAME_HEADER_LEN] {
        let mut out = [0u8; FRAME_HEADER_LEN];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[6..8].copy_from_slice(&self.core.to_le_bytes());
        out[8..16].copy_from_slice(&self.incarnation.to_le_bytes());
        out[16..24].copy_from_slice(&self.lap.to_le_bytes());
        out[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        out[32..40].copy_from_slice(&self.position.to_le_bytes());
        out[40..48].copy_from_slice(&self.durable_sequence.to_le_bytes());
        out[48..52].copy_from_slice(&self.len.to_le_bytes());
        out[52..56].copy_from_slice(&self.record_count.to_le_bytes());
        out[56..60].copy_from_slice(&self.records_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Length on disk: padded to whole blocks.
    pub fn padded_len(&self) -> u64 {
        (self.len as u64).next_multiple_of(BLOCK as u64)
    }
}

/// Why no frame starts here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoFrame {
    /// Zeros, an old frame's middle, or a torn or damaged frame.
    Invalid,
    /// A whole frame header of a newer format: the broker must not start on it.
    Newer(u16),
}

/// A checked frame and its records.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub header: FrameHeader,
    records: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at `position` of a journal file, if a whole and undamaged one is there.
    pub fn parse(file: &'a [u8], position: u64) -> Result<Frame<'a>, NoFrame> {
        let at = usize::try_from(position).map_err(|_| NoFrame::Invalid)?;
        let bytes = file.get(at..).ok_or(NoFrame::Invalid)?;
        let head: &[u8; FRAME_HEADER_LEN] = bytes.first_chunk().ok_or(NoFrame::Invalid)?;
        let u32_at = |k: usize| u32::from_le_bytes(head[k..k + 4].try_into().expect("four bytes"));
        let u64_at = |k: usize| u64::from_le_bytes(head[k..k + 8].try_into().expect("eight bytes"));
        if u32_at(0) != MAGIC || u32_at(60) != crc32c::crc32c(&head[..60]) {
            return Err(NoFrame::Invalid);
        }
        let version = u16::from_le_bytes([head[4], head[5]]);
        if version != VERSION {
            return Err(NoFrame::Newer(version));
        }
        let header = FrameHeader {
            core: u16::from_le_bytes([head[6], head[7]]),
            incarnation: u64_at(8),
            lap: u64_at(16),
            sequence: u64_at(24),
            position: u64_at(32),
            durable_sequence: u64_at(40),
            len: u32_at(48),
            record_count: u32_at(52),
            records_crc: u32_at(56),
        };
        let records = bytes.get(FRAME_HEADER_LEN..header.len as usize).ok_or(NoFrame::Invalid)?;
        if header.position != position || crc32c::crc32c(records) != header.records_crc {
            return Err(NoFrame::Invalid);
        }
        Ok(Frame { header, records })
    }

    /// The records in order. A frame whose checksum holds but whose records do not parse ends early with `Err`.
    pub fn records(&self) -> Records<'a> {
        Records { rest: self.records, left: self.header.record_count }
    }
}

/// One thing a commit says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// Whole batches, appended at `position`; the bytes are here and not yet in the segment.
    Append { key: PartitionKey, segment: i64, position: u32, bytes: &'a [u8] },
    /// Whole batches, appended at `position`; the bytes went straight to the segment, here are their 61-byte headers.
    Extent { key: PartitionKey, segment: i64, position: u32, headers: &'a [u8] },
    /// Bytes of the segment, not necessarily whole batches, that are durable only here.
    Redo { key: PartitionKey, segment: i64, position: u32, bytes: &'a [u8] },
    /// The log start offset moved.
    Trim { key: PartitionKey, log_start_offset: i64 },
    /// All that is known of a partition; `position` is the end of its active segment. See [`super::recover::PartitionState`].
    State { key: PartitionKey, segment: i64, position: u32, state: &'a [u8] },
    /// The partition was deleted.
    Drop { key: PartitionKey },
    /// Everything in this lap is durable in segments: its file may be written over.
    Released { lap: u64 },
}

const APPEND: u8 = 1;
const EXTENT: u8 = 2;
const REDO: u8 = 3;
const TRIM: u8 = 4;
const STATE: u8 = 5;
const DROP: u8 = 6;
const RELEASED: u8 = 7;

impl Record<'_> {
    /// The header that precedes the payload; the payload itself is the caller's to write, from where it lies.
    pub fn header(&self, payload_len: usize) -> [u8; RECORD_HEADER_LEN] {
        let none = PartitionKey { topic: TopicId::ZERO, partition: 0 };
        let (kind, key, position, segment, own) = match *self {
            Record::Append { key, segment, position, .. } => (APPEND, key, position, segment, 0),
            Record::Extent { key, segment, position, .. } => (EXTENT, key, position, segment, 0),
            Record::Redo { key, segment, position, .. } => (REDO, key, position, segment, 0),
            Record::Trim { key, log_start_offset } => (TRIM, key, 0, 0, log_start_offset),
            Record::State { key, segment, position, .. } => (STATE, key, position, segment, 0),
            Record::Drop { key } => (DROP, key, 0, 0, 0),
            Record::Released { lap } => (RELEASED, none, 0, 0, lap as i64),
        };
        let mut out = [0u8; RECORD_HEADER_LEN];
        out[0] = kind;
        out[4..8].copy_from_slice(&(payload_len as u32).to_le_bytes());
        out[8..24].copy_from_slice(&key.topic.0);
        out[24..28].copy_from_slice(&key.partition.to_le_bytes());
        out[28..32].copy_from_slice(&position.to_le_bytes());
        out[32..40].copy_from_slice(&segment.to_le_bytes());
        out[40..48].copy_from_slice(&own.to_le_bytes());
        out
    }
}

/// A frame whose checksum holds says something this version cannot read: a bug or a forgery, never a torn write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRecord;

#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Records<'a> {
    fn read(&mut self) -> Option<Record<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<RECORD_HEADER_LEN>()?;
        let payload_len = u32::from_le_bytes(head[4..8].try_into().ok()?) as usize;
        let payload = rest.get(..payload_len)?;
        self.rest = &rest[payload_len..];
        let key = PartitionKey {
            topic: TopicId(head[8..24].try_into().ok()?),
            partition: i32::from_le_bytes(head[24..28].try_into().ok()?),
        };
        let position = u32::from_le_bytes(head[28..32].try_into().ok()?);
        let segment = i64::from_le_bytes(head[32..40].try_into().ok()?);
        let own = i64::from_le_bytes(head[40..48].try_into().ok()?);
        Some(match head[0] {
            APPEND => Record::Append { key, segment, position, bytes: payload },
            EXTENT if payload_len.is_multiple_of(batch::HEADER_LEN) => {
                Record::Extent { key, segment, position, headers: payload }
            }
            REDO => Record::Redo { key, segment, position, bytes: payload },
            TRIM => Record::Trim { key, log_start_offset: own },
            STATE => Record::State { key, segment, position, state: payload },
            DROP => Record::Drop { key },
            RELEASED => Record::Released { lap: own as u64 },
            _ => return None,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let record = self.read();
        if record.is_none() {
            self.left = 0;
        }
        Some(record.ok_or(BadRecord))
    }
}

/// A core's journal of one incarnation: the frames to be believed, in order.
#[derive(Debug)]
pub struct Journal<'a> {
    pub frames: Vec<Frame<'a>>,
    /// Frames up to this sequence, and the direct writes they speak of, are known to have been flushed.
    pub durable: u64,
    /// Where frames are missing that had been flushed: the journal is damaged there. None in a whole one.
    pub holes: Vec<Hole>,
}

/// Frames that had been flushed and are not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hole {
    /// They were before this one of the journal's frames, or after the last.
    pub before: usize,
    /// The first of them, as far as is known.
    pub sequence: u64,
}

/// A journal of a newer version of Ringlog: its format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Newer(pub u16);

/// Reads both files of a core's journal, each whole; empty where there is none.
///
/// What follows the last whole frame is a torn tail, unless some frame says that more had been flushed: then that is a hole,
/// and the frames after it are believed, too, as each has a checksum of its own.
pub fn read_journal<'a>(core: u16, incarnation: u64, files: [&'a [u8]; 2]) -> Result<Journal<'a>, Newer> {
    let mut laps = [read_lap(core, incarnation, 0, files[0])?, read_lap(core, incarnation, 1, files[1])?];
    let durable = laps[0].durable.max(laps[1].durable);
    laps.sort_by_key(|lap| lap.number());
    let [older, newer] = laps;
    let (frames, begins) = join(older.frames, newer.frames);
    Ok(believe(frames, begins, durable))
}

/// The frames of the last two laps that are needed, in order, and whether nothing before them is.
fn join<'a>(mut older: Vec<Frame<'a>>, mut newer: Vec<Frame<'a>>) -> (Vec<Frame<'a>>, bool) {
    let Some(first) = newer.first().map(|frame| frame.header) else { return (newer, true) };
    // A lap stands alone if it is the first, or says that nothing in the one before it is needed.
    let alone = match first.lap.checked_sub(1) {
        None => first.sequence == 1,
        Some(before) => newer.iter().any(|frame| frame.releases(before)),
    };
    if alone && first.position == 0 {
        return (newer, true);
    }
    let ends = older.last().map_or(0, |frame| frame.header.sequence);
    match older.first().map(|frame| frame.header) {
        Some(begin) if begin.lap.checked_add(1) == Some(first.lap) && ends < first.sequence => {
            older.append(&mut newer);
            (older, begin.position == 0)
        }
        _ => (newer, false),
    }
}

/// Tells a torn tail from holes. `begins`: no frame before the first of these is needed.
fn believe(frames: Vec<Frame<'_>>, begins: bool, durable: u64) -> Journal<'_> {
    let mut journal = Journal { frames: Vec::with_capacity(frames.len()), durable, holes: Vec::new() };
    let first = frames.first().map_or(1, |frame| frame.header.sequence);
    let mut next = if begins { first } else { first.saturating_sub(1).max(1) };
    for frame in frames {
        let sequence = frame.header.sequence;
        if sequence != next || (!begins && journal.frames.is_empty()) {
            if next > durable + u64::from(planted(Bug::TornFrameAHole)) {
                // Torn: what follows it was on its way at the same time, and nobody was told of it.
                reached(State::TornTailCut);
                break;
            }
            journal.holes.push(Hole { before: journal.frames.len(), sequence: next });
        }
        journal.frames.push(frame);
        next = sequence.saturating_add(1);
    }
    let last = journal.frames.last().map_or(0, |frame| frame.header.sequence);
    if durable > last {
        journal.holes.push(Hole { before: journal.frames.len(), sequence: last.saturating_add(1) });
    }
    journal
}

/// What one file of a journal holds.
struct Lap<'a> {
    /// Of the newest lap that any frame in the file is of; ascending, and possibly with holes.
    frames: Vec<Frame<'a>>,
    /// Largest sequence that any frame in the file, of whatever lap, knows flushed.
    durable: u64,
}

impl Lap<'_> {
    /// Number of the lap; before all others if there is none.
    fn number(&self) -> Option<u64> {
        self.frames.first().map(|frame| frame.header.lap)
    }
}

impl Frame<'_> {
    fn releases(&self, lap: u64) -> bool {
        self.records().any(|record| record == Ok(Record::Released { lap }))
    }
}

fn read_lap(core: u16, incarnation: u64, half: u64, file: &[u8]) -> Result<Lap<'_>, Newer> {
    let mut lap = Lap { frames: Vec::new(), durable: 0 };
    let ours = |h: &FrameHeader| h.core == core && h.incarnation == incarnation && h.lap % 2 == half;
    let mut position = 0u64;
    while position < file.len() as u64 {
        match Frame::parse(file, position) {
            Ok(frame) if ours(&frame.header) => {
                position += frame.header.padded_len();
                lap.take(frame);
            }
            // Anywhere else it could be bytes of a peer, in the middle of an old frame.
            Err(NoFrame::Newer(version)) if position == 0 => return Err(Newer(version)),
            _ => position += BLOCK as u64,
        }
    }
    Ok(lap)
}

impl<'a> Lap<'a> {
    /// Takes the next frame of the file, behind which those of an older lap may lie.
    fn take(&mut self, frame: Frame<'a>) {
        let h = &frame.header;
        self.durable = self.durable.max(h.durable_sequence);
        let last = self.frames.last().map(|last| (last.header.lap, last.header.sequence));
        if last.is_some_and(|(lap, _)| lap < h.lap) {
            self.frames.clear();
        }
        if last.is_none_or(|(lap, sequence)| lap < h.lap || (lap == h.lap && sequence < h.sequence)) {
            self.frames.push(frame);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Builds journal files the way a core does, for tests of this module and of recovery.
    pub(crate) struct Writer {
        pub(crate) file: Vec<u8>,
        pub(crate) next: FrameHeader,
    }

    impl Writer {
        pub(crate) fn new(incarnation: u64, core: u16, lap: u64, sequence: u64) -> Writer {
            let next = FrameHeader {
                core,
                incarnation,
                lap,
                sequence,
                position: 0,
                durable_sequence: sequence.saturating_sub(1),
                len: 0,
                record_count: 0,
                records_crc: 0,
            };
            Writer { file: Vec::new(), next }
        }

        pub(crate) fn frame(&mut self, records: &[Record<'_>]) {
            let mut body = Vec::new();
            for record in records {
                let payload: &[u8] = match record {
                    Record::Append { bytes, .. } | Record::Redo { bytes, .. } => bytes,
                    Record::Extent { headers, .. } => headers,
                    Record::State { state, .. } => state,
                    _ => &[],
                };
                body.extend(record.header(payload.len()));
                body.extend(payload);
            }
            self.next.position = self.file.len() as u64;
            self.next.len = (FRAME_HEADER_LEN + body.len()) as u32;
            self.next.record_count = records.len() as u32;
            self.next.records_crc = crc32c::crc32c(&body);
            self.file.extend(self.next.encode());
            self.file.extend(body);
            self.file.resize(self.file.len().next_multiple_of(BLOCK), 0);
            self.next.durable_sequence = self.next.sequence;
            self.next.sequence = self.next.sequence.wrapping_add(1);
        }
    }

    fn key(partition: i32) -> PartitionKey {
        PartitionKey { topic: TopicId([7; 16]), partition }
    }

    #[test]
    fn frames_say_what_was_written() {
        let headers = [9u8; 2 * batch::HEADER_LEN];
        let records = [
            Record::Append { key: key(1), segment: 100, position: 8, bytes: b"abc" },
            Record::Extent { key: key(2), segment: 0, position: 4096, headers: &headers },
            Record::Redo { key: key(2), segment: 0, position: 8192, bytes: b"" },
            Record::Trim { key: key(3), log_start_offset: 55 },
            Record::State { key: key(3), segment: 50, position: 12, state: b"state" },
            Record::Drop { key: key(4) },
            Record::Released { lap: 6 },
        ];
        let mut writer = Writer::new(3, 1, 7, 20);
        writer.frame(&records);
        writer.frame(&records[..1]);
        let frames = read_journal(1, 3, [&[], &writer.file]).unwrap().frames;
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].records().collect::<Result<Vec<_>, _>>().unwrap(), records);
        assert_eq!((frames[1].header.sequence, frames[1].header.durable_sequence), (21, 20));
    }

    /// `count` frames of a lap; the first says what is given.
    fn lap(number: u64, sequence: u64, count: usize, first: &[Record<'_>]) -> Vec<u8> {
        let mut writer = Writer::new(1, 0, number, sequence);
        writer.frame(first);
        for _ in 1..count {
            writer.frame(&[Record::Drop { key: key(1) }]);
        }
        writer.file
    }

    /// The frames of a journal, or the first that is missing.
    fn sequences(files: [&[u8]; 2]) -> Result<Vec<u64>, u64> {
        let journal = read_journal(0, 1, files).expect("no newer format");
        match journal.holes.first() {
            None => Ok(journal.frames.iter().map(|frame| frame.header.sequence).collect()),
            Some(hole) => Err(hole.sequence),
        }
    }

    fn missing(sequence: u64) -> Result<Vec<u64>, u64> {
        Err(sequence)
    }

    const RELEASE: [Record<'static>; 1] = [Record::Released { lap: 0 }];

    #[test]
    fn laps_follow_each_other_until_the_older_is_released() {
        let (zero, one) = (lap(0, 1, 3, &[]), lap(1, 4, 2, &[]));
        assert_eq!(sequences([&[], &[]]), Ok(vec![]));
        assert_eq!(sequences([&zero, &[0; 9000]]), Ok(vec![1, 2, 3]));
        assert_eq!(sequences([&zero, &one]), Ok(vec![1, 2, 3, 4, 5]));
        let two = lap(2, 6, 1, &[Record::Released { lap: 1 }]);
        assert_eq!(sequences([&two, &lap(1, 4, 2, &RELEASE)]), Ok(vec![6]));
        assert_eq!(sequences([&[], &lap(1, 4, 2, &RELEASE)]), Ok(vec![4, 5]));
        assert_eq!(sequences([&[], &one]), missing(3), "the lap before it is needed");
        assert_eq!(sequences([&[], &lap(3, 9, 2, &[])]), missing(8));
        assert_eq!(sequences([&lap(0, 1, 2, &[]), &lap(3, 9, 2, &[])]), missing(8));
        assert_eq!(sequences([&one, &zero]), Ok(vec![]), "each in the other's file");
        assert_eq!(read_journal(1, 1, [&zero, &one]).unwrap().frames.len(), 0, "another core's");
        assert_eq!(read_journal(0, 2, [&zero, &one]).unwrap().frames.len(), 0, "another start's");
    }

    #[test]
    fn a_lap_written_over_an_older_one_ends_where_the_older_shows() {
        let (old, one) = (lap(0, 1, 6, &[]), lap(1, 7, 2, &RELEASE));
        let new = lap(2, 9, 2, &[]);
        let mut file = old.clone();
        file[..new.len()].copy_from_slice(&new);
        assert_eq!(sequences([&file, &one]), Ok(vec![7, 8, 9, 10]));
        // Its first frame, torn: an ordinary crash, although frames of the older lap lie behind.
        file[50] ^= 1;
        file[BLOCK..].copy_from_slice(&old[BLOCK..]);
        assert_eq!(sequences([&file, &one]), Ok(vec![7, 8]));
    }

    #[test]
    fn a_torn_end_is_not_damage_and_a_hole_before_durable_frames_is() {
        let file = lap(0, 1, 4, &[]);
        let broken = |frame: usize| {
            let mut file = file.clone();
            file[frame * BLOCK + 50] ^= 1;
            sequences([&file, &[]])
        };
        assert_eq!(broken(3), Ok(vec![1, 2, 3]));
        assert_eq!(broken(2), missing(3));
        assert_eq!(broken(1), missing(2));
        assert_eq!(broken(0), missing(1));
        let mut writer = Writer::new(1, 0, 0, 1);
        for _ in 0..4 {
            writer.frame(&[]);
            writer.next.durable_sequence = writer.next.sequence.saturating_sub(2);
        }
        let mut torn = writer.file.clone();
        torn[2 * BLOCK] ^= 1;
        assert_eq!(sequences([&torn, &[]]), Ok(vec![1, 2]), "the last frame was on its way with the one before it");
        // The frame in flight with the missing one proves nothing, the one after that does.
        let mut rotten = writer.file;
        rotten[BLOCK] ^= 1;
        assert_eq!(sequences([&rotten, &[]]), missing(2));
    }

    #[test]
    fn a_torn_end_of_a_lap_takes_the_start_of_the_next_with_it() {
        let mut zero = lap(0, 1, 3, &[]);
        zero[2 * BLOCK] ^= 1;
        let mut one = Writer::new(1, 0, 1, 4);
        one.next.durable_sequence = 2;
        one.frame(&[]);
        assert_eq!(sequences([&zero, &one.file]), Ok(vec![1, 2]));
        one.frame(&[]);
        assert_eq!(sequences([&zero, &one.file]), missing(3), "sequence 4 was flushed, so 3 was");
    }

    #[test]
    fn what_follows_a_hole_is_read() {
        let read = |files: [&[u8]; 2]| {
            let journal = read_journal(0, 1, files).unwrap();
            let sequences: Vec<u64> = journal.frames.iter().map(|frame| frame.header.sequence).collect();
            (sequences, journal.holes.iter().map(|hole| (hole.before, hole.sequence)).collect::<Vec<_>>())
        };
        let broken = |file: &[u8], frames: &[usize]| {
            let mut file = file.to_vec();
            frames.iter().for_each(|frame| file[frame * BLOCK + 50] ^= 1);
            file
        };
        let zero = lap(0, 1, 6, &[]);
        assert_eq!(read([&broken(&zero, &[0, 3]), &[]]), (vec![2, 3, 5, 6], vec![(0, 1), (2, 4)]));
        assert_eq!(
            read([&broken(&zero, &[4, 5]), &[]]),
            (vec![1, 2, 3, 4], vec![]),
            "frame 5 is not known to be flushed"
        );
        let (kept, released) = (lap(1, 7, 3, &[]), lap(1, 7, 3, &RELEASE));
        assert_eq!(read([&broken(&zero, &[1]), &kept]), (vec![1, 3, 4, 5, 6, 7, 8, 9], vec![(1, 2)]));
        assert_eq!(read([&broken(&zero, &[1]), &released]), (vec![7, 8, 9], vec![]));
        // The states that begin a lap are lost: those of the one before it stand in for them.
        assert_eq!(read([&zero, &broken(&kept, &[0])]), (vec![1, 2, 3, 4, 5, 6, 8, 9], vec![(6, 7)]));
        assert_eq!(read([&[], &broken(&released, &[0])]), (vec![8, 9], vec![(0, 7)]));
        // Behind them lie frames of the lap before last.
        let mut two = broken(&lap(2, 10, 3, &[]), &[0]);
        two.extend(&zero[3 * BLOCK..]);
        assert_eq!(read([&two, &released]), (vec![7, 8, 9, 11, 12], vec![(3, 10)]));
        assert_eq!(read([&broken(&zero, &[0, 1, 2, 3, 4, 5]), &[]]), (vec![], vec![]));
    }

    #[test]
    fn a_newer_format_is_told_where_a_frame_must_be() {
        let mut file = lap(0, 1, 2, &[]);
        let newer = |file: &mut [u8], at: usize| {
            file[at + 4] = 2;
            let crc = crc32c::crc32c(&file[at..at + 60]);
            file[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
        };
        newer(&mut file, BLOCK);
        assert_eq!(sequences([&file, &[]]), Ok(vec![1]), "could be a peer's bytes");
        newer(&mut file, 0);
        assert_eq!(read_journal(0, 1, [&file, &[]]).unwrap_err(), Newer(2));
    }

    /// Found by the fuzzer.
    #[test]
    fn a_lap_whose_frames_are_not_before_those_of_the_next_is_not_its_predecessor() {
        let mut newer = Writer::new(1, 0, 1, 3);
        newer.next.durable_sequence = 9;
        newer.frame(&[]);
        let older = lap(0, 8, 1, &[]);
        let journal = read_journal(0, 1, [&older, &newer.file]).unwrap();
        assert_eq!(journal.frames.iter().map(|frame| frame.header.sequence).collect::<Vec<_>>(), [3]);
    }

    /// Found by the fuzzer.
    #[test]
    fn frames_with_the_largest_numbers_are_read() {
        let mut last = Writer::new(1, 0, u64::MAX, u64::MAX - 1);
        last.frame(&[]);
        last.next.durable_sequence = u64::MAX;
        last.next.sequence = u64::MAX;
        last.frame(&[]);
        let journal = read_journal(0, 1, [&[], &last.file]).unwrap();
        assert_eq!((journal.frames.len(), journal.holes.len()), (2, 1));
        let released = lap(u64::MAX - 1, 1, 1, &[]);
        assert_eq!(read_journal(0, 1, [&released, &last.file]).unwrap().frames.len(), 3);
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let mut writer = Writer::new(1, 0, 0, 1);
        writer.frame(&[Record::Append { key: key(1), segment: 0, position: 0, bytes: &[5; 300] }]);
        writer.frame(&[Record::Drop { key: key(1) }]);
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let mut file = writer.file.clone();
            let at = (seed as usize >> 8) % 500;
            file[at] ^= (seed as u8) | 1;
            // A header that lies about its length or count under a correct checksum is read to its end and no further.
            let crc = crc32c::crc32c(&file[..60]);
            file[60..64].copy_from_slice(&crc.to_le_bytes());
            if let Ok(journal) = read_journal(0, 1, [&file, &[]]) {
                for frame in journal.frames {
                    frame.records().for_each(drop);
                }
            }
        }
    }
}
