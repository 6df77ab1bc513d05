//! Kafka's record batch, version 2 (protocol page "Record Batch"): its header, its checksum, its records.
//!
//! The stored form is the wire form. What is not here: older formats (magic 0 and 1), which are refused.

mod build;
mod records;
mod validate;

pub use build::BatchBuilder;
pub use records::{Headers, Record, Records, RecordsError, offset_of_max_timestamp, seek_timestamp};
pub use validate::{
    BatchRefusal, MAX_RECORD_ERRORS, RecordError, RecordProblem, Rules, Scratch, Validated, Verdict, validate,
    validate_within,
};

use crate::codec::Codec;
use crate::probe::{Bug, planted};
use crate::rope::{Rope, Truncated};
use crc_fast::{CrcAlgorithm, Digest};

/// Bytes of a batch's header: records, or what they were compressed to, follow.
pub const HEADER_LEN: usize = 61;
/// Bytes before and with `batch_length`: what it does not count.
pub const LOG_OVERHEAD: usize = 12;
/// The checksum covers everything from here on.
pub const CRC_START: usize = 21;
/// The only format version there is here.
pub const MAGIC: i8 = 2;
/// "No producer": batches without idempotence.
pub const NO_PRODUCER_ID: i64 = -1;
/// A record without a time.
pub const NO_TIMESTAMP: i64 = -1;

/// Bits of [`BatchHeader::attributes`]; bits 0 to 2 are the codec.
pub mod attribute {
    pub const CODEC: i16 = 0b111;
    pub const LOG_APPEND_TIME: i16 = 1 << 3;
    pub const TRANSACTIONAL: i16 = 1 << 4;
    pub const CONTROL: i16 = 1 << 5;
    /// The base timestamp is the time after which a tombstone may go (KIP-534).
    pub const DELETE_HORIZON: i16 = 1 << 6;
}

/// Whose clock a batch's timestamps are (`message.timestamp.type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// The header of a batch, big-endian on disk and wire:
///
/// | byte | bytes | field | |
/// |---|---|---|---|
/// | 0 | 8 | `base_offset` | the first record's offset; 0 from a producer |
/// | 8 | 4 | `batch_length` | bytes that follow this field |
/// | 12 | 4 | `leader_epoch` | of the leader that appended it; -1 from a producer |
/// | 16 | 1 | `magic` | 2 |
/// | 17 | 4 | `crc` | CRC-32C of bytes 21 to the end |
/// | 21 | 2 | `attributes` | see [`attribute`] |
/// | 23 | 4 | `last_offset_delta` | the last record's offset, less `base_offset` |
/// | 27 | 8 | `base_timestamp` | what the records' timestamp deltas are added to, ms since 1970 |
/// | 35 | 8 | `max_timestamp` | the latest record's, or the append time |
/// | 43 | 8 | `producer_id` | -1 without idempotence |
/// | 51 | 2 | `producer_epoch` | -1 without |
/// | 53 | 4 | `base_sequence` | the first record's sequence number; -1 without |
/// | 57 | 4 | `record_count` | |
///
/// Plain data: any 61 bytes parse, nothing is checked but by [`validate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BatchHeader {
    pub base_offset: i64,
    pub batch_length: i32,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> BatchHeader {
        fn at<const N: usize>(bytes: &[u8; HEADER_LEN], from: usize) -> [u8; N] {
            let mut field = [0; N];
            field.copy_from_slice(&bytes[from..from + N]);
            field
        }
        BatchHeader {
            base_offset: i64::from_be_bytes(at(bytes, 0)),
            batch_length: i32::from_be_bytes(at(bytes, 8)),
            leader_epoch: i32::from_be_bytes(at(bytes, 12)),
            magic: bytes[16] as i8,
            crc: u32::from_be_bytes(at(bytes, 17)),
            attributes: i16::from_be_bytes(at(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(at(bytes, 23)),
            base_timestamp: i64::from_be_bytes(at(bytes, 27)),
            max_timestamp: i64::from_be_bytes(at(bytes, 35)),
            producer_id: i64::from_be_bytes(at(bytes, 43)),
            producer_epoch: i16::from_be_bytes(at(bytes, 51)),
            base_sequence: i32::from_be_bytes(at(bytes, 53)),
            record_count: i32::from_be_bytes(at(bytes, 57)),
        }
    }

    /// Takes a header from the front of `rope`.
    pub fn read(rope: &mut Rope<'_>) -> Result<BatchHeader, Truncated> {
        rope.read_array().map(|bytes| BatchHeader::parse(&bytes))
    }

    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        out[16] = self.magic as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// Bytes of the whole batch, header included; 0 where `batch_length` is nonsense.
    pub fn total_len(&self) -> usize {
        (i64::from(self.batch_length) + LOG_OVERHEAD as i64).max(0) as usize
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record's.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// The codec, if it is one that Kafka defines.
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_id(self.attributes & attribute::CODEC)
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & attribute::TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & attribute::CONTROL != 0
    }

    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & attribute::LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// True for a batch of an idempotent or transactional producer.
    pub fn has_producer(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// The last record's sequence number: counts on from `base_sequence`, and from 2^31 - 1 to 0.
    pub fn last_sequence(&self) -> i32 {
        if planted(Bug::WrapNotMasked) {
            return self.base_sequence.wrapping_add(self.last_offset_delta);
        }
        sequence_after(self.base_sequence, self.last_offset_delta)
    }
}

/// The sequence number `steps` (not negative) after `from`; after 2^31 - 1 comes 0.
pub fn sequence_after(from: i32, steps: i32) -> i32 {
    ((i64::from(from) + i64::from(steps)) & i64::from(i32::MAX)) as i32
}

/// Rewrites what the leader assigns. It lies outside the checksum, so the batch stays valid.
pub fn stamp(header: &mut [u8; HEADER_LEN], base_offset: i64, leader_epoch: i32) {
    header[0..8].copy_from_slice(&base_offset.to_be_bytes());
    header[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// The checksum of a batch with this header and `body`: CRC-32C of header bytes 21 to 60 and all of the body.
///
/// `crc-fast` throughout: on AVX-512 it beats the SSE4.2 instruction at every size from 40 bytes up.
pub fn checksum(header: &[u8; HEADER_LEN], body: Rope<'_>) -> u32 {
    let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
    crc.update(&header[CRC_START..]);
    for piece in body.slices() {
        crc.update(piece);
    }
    crc.finalize() as u32
}

/// The checksum of a batch as it lies there, all of `batch` from byte 21 on: one run where it is in one piece.
fn checksum_in_place(mut batch: Rope<'_>) -> Result<u32, Truncated> {
    batch.skip(CRC_START)?;
    let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for piece in batch.slices() {
        crc.update(piece);
    }
    Ok(crc.finalize() as u32)
}

/// True if `batch`, a whole one, carries the checksum of its bytes. Only the first `total_len` bytes count.
pub fn checksum_matches(batch: Rope<'_>) -> bool {
    let mut rest = batch;
    let Ok(header) = BatchHeader::read(&mut rest) else { return false };
    let whole = { batch }.read_slice(header.total_len().max(HEADER_LEN));
    whole.and_then(checksum_in_place) == Ok(header.crc)
}

#[cfg(test)]
mod tests;
