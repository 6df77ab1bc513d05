//! Makes a batch out of records: for internal topics, tools and tests. Produced batches are kept as they came.

use super::{BatchHeader, HEADER_LEN, LOG_OVERHEAD, MAGIC, NO_PRODUCER_ID, NO_TIMESTAMP, checksum};
use crate::codec::{Codec, Encoder};
use crate::rope::Rope;

/// Collects records, then writes them as one batch. Reusable: [`BatchBuilder::finish`] empties it and keeps its memory.
#[derive(Default)]
pub struct BatchBuilder {
    records: Vec<u8>,
    record: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    attributes: i16,
    /// Producer id, epoch and first sequence number.
    producer: Option<(i64, i16, i32)>,
}

impl BatchBuilder {
    pub fn new() -> BatchBuilder {
        BatchBuilder::default()
    }

    /// Adds a record. `timestamp`: milliseconds since 1970, or -1.
    ///
    /// Panics if the batch would exceed 2 GiB: whoever builds batches bounds them.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        if self.count == 0 {
            (self.base_timestamp, self.max_timestamp) = (timestamp, NO_TIMESTAMP);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let record = &mut self.record;
        record.clear();
        record.push(0);
        put_varint(record, timestamp.wrapping_sub(self.base_timestamp));
        put_varint(record, i64::from(self.count));
        put_nullable(record, key);
        put_nullable(record, value);
        put_varint(record, headers.len() as i64);
        for (key, value) in headers {
            put_nullable(record, Some(key));
            put_nullable(record, *value);
        }
        put_varint(&mut self.records, self.record.len() as i64);
        self.records.extend_from_slice(&self.record);
        self.count += 1;
        assert!(self.records.len() < i32::MAX as usize / 2, "a batch of {} bytes", self.records.len());
    }

    /// Makes it a batch of an idempotent producer, numbered from `base_sequence`.
    pub fn producer(&mut self, id: i64, epoch: i16, base_sequence: i32) -> &mut BatchBuilder {
        self.producer = Some((id, epoch, base_sequence));
        self
    }

    /// Sets bits of [`super::attribute`] beside the codec, such as control or transactional.
    pub fn attributes(&mut self, bits: i16) -> &mut BatchBuilder {
        self.attributes = bits & !super::attribute::CODEC;
        self
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, uncompressed, header included.
    pub fn size(&self) -> usize {
        HEADER_LEN + self.records.len()
    }

    /// Appends the batch to `out` and starts the next one. At least one record must have been added.
    pub fn finish(
        &mut self,
        base_offset: i64,
        leader_epoch: i32,
        codec: Codec,
        level: i32,
        encoder: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> BatchHeader {
        assert!(self.count > 0, "a batch holds at least one record");
        let at = out.len();
        out.resize(at + HEADER_LEN, 0);
        encoder.compress(codec, level, &self.records, out);
        let (producer_id, producer_epoch, base_sequence) = self.producer.unwrap_or((NO_PRODUCER_ID, -1, -1));
        let mut header = BatchHeader {
            base_offset,
            batch_length: (out.len() - at - LOG_OVERHEAD) as i32,
            leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes: self.attributes | codec.id(),
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            record_count: self.count,
        };
        header.crc = checksum(&header.encode(), Rope::of(&out[at + HEADER_LEN..]));
        out[at..at + HEADER_LEN].copy_from_slice(&header.encode());
        self.records.clear();
        (self.count, self.attributes, self.producer) = (0, 0, None);
        header
    }
}

/// Appends a zigzag varint; 32-bit values come out as Kafka's varint, all others as its varlong.
pub(super) fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes of a zigzag varint, 1 to 10.
pub(super) fn varint_len(value: i64) -> usize {
    let bits = u64::BITS - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |b| b.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}
