//! The sparse index of one segment: offset and time to file position. In memory while a segment is in use, in a file
//! beside it once it is sealed. Derived data: a missing or damaged file is rebuilt from the segment.
//!
//! File `NNNNNNNNNNNNNNNNNNNN.index`, little-endian:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `RLIX` |
//! | 4 | 2 | format version, 1 |
//! | 6 | 2 | zero |
//! | 8 | 8 | base offset of the segment |
//! | 16 | 8 | next offset after the segment's last batch |
//! | 24 | 4 | length of the segment in bytes |
//! | 28 | 4 | number of entries |
//! | 32 | 8 | largest timestamp in the segment, -1 if none |
//! | 40 | 8 | offset of the first batch that holds it |
//! | 48 | 8 | wall-clock ms of the first append |
//! | 56 | 4 | CRC-32C of the entries |
//! | 60 | 4 | CRC-32C of bytes 0..60 |
//! | 64 | 16 each | entries: relative offset u32, position u32, largest timestamp before it i64 |

use crate::probe::{Bug, planted};
use crate::types::WallMs;

const MAGIC: u32 = u32::from_le_bytes(*b"RLIX");
const VERSION: u16 = 1;
const HEADER_LEN: usize = 64;
const ENTRY_LEN: usize = 16;
/// Room of an index that was empty, and what is added when that is used up; in entries. With an entry for each 4 KiB they are enough
/// for 256 KiB and for 64 MiB of a segment.
const FIRST_ROOM: usize = 64;
const ROOM: usize = 16 << 10;

/// "The batch at `position` starts at `base + relative_offset`; everything before it is no younger than `max_timestamp`."
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    pub relative_offset: u32,
    pub position: u32,
    pub max_timestamp: i64,
}

/// What a segment knows of its contents. On the core that owns the partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentIndex {
    entries: Vec<IndexEntry>,
    /// Largest timestamp so far, -1 if none.
    pub max_timestamp: i64,
    /// Base offset of the first batch with that timestamp.
    pub max_timestamp_offset: i64,
    /// Bytes appended since the last entry.
    since_entry: u32,
}

impl Default for SegmentIndex {
    fn default() -> Self {
        SegmentIndex { entries: Vec::new(), max_timestamp: -1, max_timestamp_offset: -1, since_entry: 0 }
    }
}

impl SegmentIndex {
    /// Takes note of a batch; `interval` is `index.interval.bytes`.
    pub fn note(
        &mut self,
        relative_offset: u32,
        position: u32,
        bytes: u32,
        timestamp: i64,
        offset: i64,
        interval: u32,
    ) {
        if self.entries.is_empty() || self.since_entry >= interval {
            self.make_room();
            self.entries.push(IndexEntry { relative_offset, position, max_timestamp: self.max_timestamp });
            self.since_entry = 0;
        }
        self.since_entry = self.since_entry.saturating_add(bytes);
        if timestamp > self.max_timestamp && !(planted(Bug::TimeIndexFirst) && self.max_timestamp >= 0) {
            self.max_timestamp = timestamp;
            self.max_timestamp_offset = offset;
        }
    }

    /// Grows rarely: little for a segment that stays small, then for much of a large one at once (memory that is not
    /// touched costs nothing), then by doubling.
    fn make_room(&mut self) {
        let (len, room) = (self.entries.len(), self.entries.capacity());
        if len == room {
            self.entries.reserve_exact(if len == 0 { FIRST_ROOM } else { len.max(ROOM) });
        }
    }

    /// Gives back the room that is left: nothing more comes.
    pub fn seal(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// A position at or before the batch that holds the relative offset.
    pub fn position_of(&self, relative_offset: u32) -> u32 {
        match self.entries.partition_point(|e| {
            e.relative_offset.saturating_sub(u32::from(planted(Bug::IndexOffByOne))) <= relative_offset
        }) {
            0 => 0,
            n => self.entries[n - 1].position,
        }
    }

    /// A position at or before the first batch with a timestamp >= `timestamp`; only meaningful if one exists.
    pub fn position_of_time(&self, timestamp: i64) -> u32 {
        match self.entries.partition_point(|e| e.max_timestamp - i64::from(planted(Bug::TimeIndexOffByOne)) < timestamp)
        {
            0 => 0,
            n => self.entries[n - 1].position,
        }
    }

    /// The relative offset of the batch at a position that an entry names.
    pub fn relative_offset_at(&self, position: u32) -> Option<u32> {
        let at = self.entries.binary_search_by_key(&position, |e| e.position).ok()?;
        Some(self.entries[at].relative_offset)
    }

    /// The last position at or before another that an entry names, which is where a batch begins.
    pub fn start_at_or_before(&self, position: u32) -> u32 {
        match self.entries.partition_point(|e| e.position <= position) {
            0 => 0,
            n => self.entries[n - 1].position,
        }
    }

    /// In order of offset.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets what lies at or after a position (a torn tail was cut there).
    pub fn truncate(&mut self, position: u32) {
        let keep = self.entries.partition_point(|e| e.position < position);
        self.entries.truncate(keep);
    }
}

/// A sealed segment's index as its file holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexFile {
    pub base_offset: i64,
    pub next_offset: i64,
    pub segment_len: u32,
    pub first_append: WallMs,
    pub index: SegmentIndex,
}

/// Why an index file cannot be used; the segment itself is not touched by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadIndex {
    Damaged,
    /// Written by a newer version of Ringlog.
    Newer(u16),
}

impl IndexFile {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0u8; HEADER_LEN];
        for entry in &self.index.entries {
            out.extend(entry.relative_offset.to_le_bytes());
            out.extend(entry.position.to_le_bytes());
            out.extend(entry.max_timestamp.to_le_bytes());
        }
        let entries_crc = crc32c::crc32c(&out[HEADER_LEN..]);
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[8..16].copy_from_slice(&self.base_offset.to_le_bytes());
        out[16..24].copy_from_slice(&self.next_offset.to_le_bytes());
        out[24..28].copy_from_slice(&self.segment_len.to_le_bytes());
        out[28..32].copy_from_slice(&(self.index.entries.len() as u32).to_le_bytes());
        out[32..40].copy_from_slice(&self.index.max_timestamp.to_le_bytes());
        out[40..48].copy_from_slice(&self.index.max_timestamp_offset.to_le_bytes());
        out[48..56].copy_from_slice(&self.first_append.0.to_le_bytes());
        out[56..60].copy_from_slice(&entries_crc.to_le_bytes());
        let header_crc = crc32c::crc32c(&out[..60]);
        out[60..64].copy_from_slice(&header_crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<IndexFile, BadIndex> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(BadIndex::Damaged)?;
        if le_u32(header, 0) != MAGIC || le_u32(header, 60) != crc32c::crc32c(&header[..60]) {
            return Err(BadIndex::Damaged);
        }
        let version = u16::from_le_bytes([header[4], header[5]]);
        if version != VERSION {
            return Err(BadIndex::Newer(version));
        }
        let count = le_u32(header, 28) as usize;
        // The file is written in whole blocks: what follows the entries is padding.
        let body = bytes[HEADER_LEN..].get(..count * ENTRY_LEN).ok_or(BadIndex::Damaged)?;
        if le_u32(header, 56) != crc32c::crc32c(body) {
            return Err(BadIndex::Damaged);
        }
        let entries = body
            .chunks_exact(ENTRY_LEN)
            .map(|e| IndexEntry { relative_offset: le_u32(e, 0), position: le_u32(e, 4), max_timestamp: le_i64(e, 8) })
            .collect();
        Ok(IndexFile {
            base_offset: le_i64(header, 8),
            next_offset: le_i64(header, 16),
            segment_len: le_u32(header, 24),
            first_append: WallMs(le_i64(header, 48)),
            index: SegmentIndex {
                entries,
                max_timestamp: le_i64(header, 32),
                max_timestamp_offset: le_i64(header, 40),
                since_entry: 0,
            },
        })
    }
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn le_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> IndexFile {
        let mut index = SegmentIndex::default();
        for k in 0..100u32 {
            index.note(k * 10, k * 1000, 1000, 5000 + i64::from(k ^ 3), i64::from(k * 10), 4096);
        }
        IndexFile { base_offset: 77, next_offset: 1077, segment_len: 100_000, first_append: WallMs(9), index }
    }

    #[test]
    fn finds_offsets_and_times() {
        let index = sample().index;
        assert_eq!(index.position_of(0), 0);
        assert_eq!(index.position_of(49), 0);
        assert_eq!(index.position_of(50), 5000);
        assert_eq!(index.position_of(u32::MAX), 95_000);
        assert_eq!([0, 4999, 5000, 5001, u32::MAX].map(|at| index.start_at_or_before(at)), [0, 0, 5000, 5000, 95_000]);
        assert_eq!(index.position_of_time(0), 0);
        // Everything before the entry at 5,000 is at most 5,007 old; a later time starts there or later.
        assert!(index.position_of_time(5008) >= 5000);
        assert_eq!((index.max_timestamp, index.max_timestamp_offset), (5099, 960 + 3 * 10 - 30));
    }

    #[test]
    fn survives_its_file_and_nothing_else_does() {
        let file = sample();
        let mut bytes = file.encode();
        let back = IndexFile::decode(&bytes).unwrap();
        assert_eq!(back.index.entries, file.index.entries);
        assert_eq!((back.base_offset, back.next_offset, back.segment_len), (77, 1077, 100_000));
        for at in 0..bytes.len() {
            bytes[at] ^= 0x10;
            assert!(IndexFile::decode(&bytes).is_err(), "a flip at {at} went unseen");
            bytes[at] ^= 0x10;
        }
        for cut in 0..bytes.len() {
            assert!(IndexFile::decode(&bytes[..cut]).is_err());
        }
    }
}
