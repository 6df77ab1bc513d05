//! The records inside a batch: walked for validation, searched by time, read back for replay and tools.
//!
//! A record, all numbers but the attributes zigzag varints (protocol page "Record"):
//! length, attributes (1 byte, unused), timestamp delta, offset delta, key length (-1: null), key, value length
//! (-1: null), value, header count, and of each header key length, key, value length (-1: null), value.

use super::{BatchHeader, HEADER_LEN, TimestampType};
use crate::codec::{Codec, CodecError, Decoder, Plain};
use crate::rope::Rope;
use crate::types::OffsetAndTimestamp;

/// Why the records of a batch could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordsError {
    /// Lengths, counts or varints that do not fit, or the batch is cut off.
    Malformed,
    /// The codec is unknown, or its bytes are not what it writes.
    Undecodable,
    /// Decompressed, they are more than the limit.
    TooLarge,
}

impl From<CodecError> for RecordsError {
    fn from(error: CodecError) -> RecordsError {
        match error {
            CodecError::Corrupt => RecordsError::Undecodable,
            CodecError::TooLarge => RecordsError::TooLarge,
        }
    }
}

/// Bytes taken from the front: of a slice, or of a stream whose pieces end anywhere.
trait Take {
    /// What is known of bytes passed over: the bytes themselves, or nothing.
    type Span;
    fn byte(&mut self) -> Result<u8, RecordsError>;
    fn span(&mut self, len: usize) -> Result<Self::Span, RecordsError>;
    /// Everything that is left, without taking it.
    fn rest(&self) -> Self::Span;
    fn left(&self) -> usize;
}

impl<'a> Take for &'a [u8] {
    type Span = &'a [u8];

    #[inline]
    fn byte(&mut self) -> Result<u8, RecordsError> {
        let (byte, rest) = self.split_first().ok_or(RecordsError::Malformed)?;
        *self = rest;
        Ok(*byte)
    }

    #[inline]
    fn span(&mut self, len: usize) -> Result<&'a [u8], RecordsError> {
        let (span, rest) = self.split_at_checked(len).ok_or(RecordsError::Malformed)?;
        *self = rest;
        Ok(span)
    }

    fn rest(&self) -> &'a [u8] {
        self
    }

    #[inline]
    fn left(&self) -> usize {
        self.len()
    }
}

#[inline(always)]
fn varint<T: Take>(from: &mut T) -> Result<i32, RecordsError> {
    let first = from.byte()?;
    let raw = if first < 0x80 { u32::from(first) } else { long_uvarint(from, first)? };
    Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

fn long_uvarint<T: Take>(from: &mut T, first: u8) -> Result<u32, RecordsError> {
    let mut value = u32::from(first & 0x7f);
    for shift in [7, 14, 21, 28] {
        let byte = from.byte()?;
        if shift == 28 && byte > 0x0f {
            break;
        }
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(RecordsError::Malformed)
}

#[inline(always)]
fn varlong<T: Take>(from: &mut T) -> Result<i64, RecordsError> {
    let first = from.byte()?;
    let raw = if first < 0x80 { u64::from(first) } else { long_uvarlong(from, first)? };
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

fn long_uvarlong<T: Take>(from: &mut T, first: u8) -> Result<u64, RecordsError> {
    let mut value = u64::from(first & 0x7f);
    for shift in (7..70).step_by(7) {
        let byte = from.byte()?;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(RecordsError::Malformed)
}

/// A length that may be -1 for null; Kafka takes any negative one so.
#[inline(always)]
fn nullable<T: Take>(from: &mut T) -> Result<Option<T::Span>, RecordsError> {
    match usize::try_from(varint(from)?) {
        Ok(len) => from.span(len).map(Some),
        Err(_) => Ok(None),
    }
}

/// A record as it stands in its batch; `Span` as in [`Take`].
pub(super) struct Raw<Span> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<Span>,
    pub(super) value: Option<Span>,
    headers: Span,
    header_count: usize,
}

/// Reads a record without its length; nothing may be left over.
#[inline(always)]
fn raw<T: Take>(from: &mut T) -> Result<Raw<T::Span>, RecordsError> {
    from.byte()?;
    let timestamp_delta = varlong(from)?;
    let offset_delta = varint(from)?;
    let key = nullable(from)?;
    let value = nullable(from)?;
    // A header is at least two bytes, so a count beyond that is a lie.
    let header_count = usize::try_from(varint(from)?).map_err(|_| RecordsError::Malformed)?;
    if header_count > from.left() / 2 {
        return Err(RecordsError::Malformed);
    }
    let headers = from.rest();
    for _ in 0..header_count {
        let len = usize::try_from(varint(from)?).map_err(|_| RecordsError::Malformed)?;
        from.span(len)?;
        nullable(from)?;
    }
    if from.left() != 0 {
        return Err(RecordsError::Malformed);
    }
    Ok(Raw { timestamp_delta, offset_delta, key, value, headers, header_count })
}

/// What validation wants of a record.
pub(super) struct Walked {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) has_key: bool,
}

impl<Span> From<Raw<Span>> for Walked {
    fn from(raw: Raw<Span>) -> Walked {
        Walked { timestamp_delta: raw.timestamp_delta, offset_delta: raw.offset_delta, has_key: raw.key.is_some() }
    }
}

/// A varint of one or two bytes at `at`, which it moves on. None for a longer one, or at the end.
#[inline(always)]
fn small_varint(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let first = u32::from(*bytes.get(*at)?);
    let mut raw = first;
    *at += 1;
    if first >= 0x80 {
        let second = u32::from(*bytes.get(*at)?);
        if second >= 0x80 {
            return None;
        }
        raw = (first & 0x7f) | second << 7;
        *at += 1;
    }
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// The record at the front of `bytes` and how long it is, if it is a plain one: whole, small numbers, no headers.
/// Most are, and this costs half of what reading any record does. None leaves the judgement to [`raw`].
#[inline(always)]
fn small_record(bytes: &[u8]) -> Option<(Walked, usize)> {
    let mut at = 0;
    let len = small_varint(bytes, &mut at)?;
    let end = at.checked_add(usize::try_from(len).ok()?)?;
    let bytes = bytes.get(..end)?;
    at += 1;
    let timestamp_delta = i64::from(small_varint(bytes, &mut at)?);
    let offset_delta = small_varint(bytes, &mut at)?;
    let key = small_varint(bytes, &mut at)?;
    at = at.checked_add(key.max(0) as usize)?;
    let value = small_varint(bytes, &mut at)?;
    at = at.checked_add(value.max(0) as usize)?;
    (bytes.get(at..) == Some(&[0])).then_some((Walked { timestamp_delta, offset_delta, has_key: key >= 0 }, end))
}

/// Goes over the records of a stream without holding more of it than a piece.
pub(super) struct Walker<'a> {
    plain: Plain<'a>,
    /// Bytes of the current piece already passed.
    at: usize,
}

impl<'a> Walker<'a> {
    pub(super) fn new(plain: Plain<'a>) -> Walker<'a> {
        Walker { plain, at: 0 }
    }

    /// The next record. At the end of the stream: malformed, as whoever asks expects one.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Walked, RecordsError> {
        let mut rest = &self.plain.piece()[self.at..];
        if rest.is_empty() {
            self.refill()?;
            rest = self.plain.piece();
        }
        if let Some((walked, len)) = small_record(rest) {
            self.at += len;
            return Ok(walked);
        }
        if let Ok(len) = varint(&mut rest)
            && let Ok(len) = usize::try_from(len)
            && let Some((mut body, after)) = rest.split_at_checked(len)
        {
            self.at = self.plain.piece().len() - after.len();
            return raw(&mut body).map(Walked::from);
        }
        self.next_over_pieces()
    }

    /// A record that goes on in the next piece, or one that is broken.
    #[cold]
    fn next_over_pieces(&mut self) -> Result<Walked, RecordsError> {
        let mut all = Bounded { walker: self, left: usize::MAX };
        let len = usize::try_from(varint(&mut all)?).map_err(|_| RecordsError::Malformed)?;
        raw(&mut Bounded { walker: self, left: len }).map(Walked::from)
    }

    /// Nothing may follow the last record.
    pub(super) fn end(&mut self) -> Result<(), RecordsError> {
        if self.at < self.plain.piece().len() || self.plain.advance()? {
            return Err(RecordsError::Malformed);
        }
        Ok(())
    }

    /// Makes the current piece one with bytes left in it.
    fn refill(&mut self) -> Result<(), RecordsError> {
        if self.at == self.plain.piece().len() {
            self.at = 0;
            if !self.plain.advance()? {
                return Err(RecordsError::Malformed);
            }
        }
        Ok(())
    }
}

/// The next `left` bytes of a stream.
struct Bounded<'w, 'a> {
    walker: &'w mut Walker<'a>,
    left: usize,
}

impl Take for Bounded<'_, '_> {
    type Span = ();

    fn byte(&mut self) -> Result<u8, RecordsError> {
        self.left = self.left.checked_sub(1).ok_or(RecordsError::Malformed)?;
        self.walker.refill()?;
        let byte = self.walker.plain.piece()[self.walker.at];
        self.walker.at += 1;
        Ok(byte)
    }

    fn span(&mut self, mut len: usize) -> Result<(), RecordsError> {
        self.left = self.left.checked_sub(len).ok_or(RecordsError::Malformed)?;
        while len > 0 {
            self.walker.refill()?;
            let step = len.min(self.walker.plain.piece().len() - self.walker.at);
            self.walker.at += step;
            len -= step;
        }
        Ok(())
    }

    fn rest(&self) {}

    fn left(&self) -> usize {
        self.left
    }
}

/// A record read back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    pub offset: i64,
    /// Milliseconds since 1970, or -1.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// The headers of a record in order: key and value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // They were all walked when the record was read.
        let len = usize::try_from(varint(&mut self.bytes).ok()?).ok()?;
        let key = self.bytes.span(len).ok()?;
        Some((key, nullable(&mut self.bytes).ok()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The records of a stored batch, with their offsets and times. Ends after the first error.
///
/// Checksums are not looked at: [`super::checksum_matches`] does.
pub struct Records<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
    next: i32,
    failed: bool,
}

impl<'a> Records<'a> {
    /// Starts on `batch`, which begins with its header. `buffer` takes the bytes where they are compressed or in several
    /// pieces, at most `limit` of them.
    pub fn read(
        batch: Rope<'a>,
        decoder: &mut Decoder,
        buffer: &'a mut Vec<u8>,
        limit: usize,
    ) -> Result<Records<'a>, RecordsError> {
        let (header, codec, body) = open(batch)?;
        let bytes = match body.contiguous() {
            Some(bytes) if codec == Codec::None => bytes,
            _ => {
                buffer.clear();
                decoder.read_all(codec, body, limit, buffer)?;
                buffer
            }
        };
        Ok(Records { header, bytes, next: 0, failed: false })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    fn read_next(&mut self) -> Result<Option<Record<'a>>, RecordsError> {
        if self.next >= self.header.record_count {
            return if self.bytes.is_empty() { Ok(None) } else { Err(RecordsError::Malformed) };
        }
        self.next += 1;
        let len = usize::try_from(varint(&mut self.bytes)?).map_err(|_| RecordsError::Malformed)?;
        let record = raw(&mut self.bytes.span(len)?)?;
        Ok(Some(Record {
            offset: self.header.base_offset.wrapping_add(i64::from(record.offset_delta)),
            timestamp: timestamp(&self.header, record.timestamp_delta),
            key: record.key,
            value: record.value,
            headers: Headers { bytes: record.headers, left: record.header_count },
        }))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read_next();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// A record's time: its own, or the batch's where the log's clock gave it.
fn timestamp(header: &BatchHeader, delta: i64) -> i64 {
    match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}

/// A batch taken apart: header, codec, and what follows the header.
fn open(mut batch: Rope<'_>) -> Result<(BatchHeader, Codec, Rope<'_>), RecordsError> {
    let header = BatchHeader::read(&mut batch).map_err(|_| RecordsError::Malformed)?;
    let codec = header.codec().ok_or(RecordsError::Undecodable)?;
    let len = header.total_len().checked_sub(HEADER_LEN).ok_or(RecordsError::Malformed)?;
    let body = batch.read_slice(len).map_err(|_| RecordsError::Malformed)?;
    Ok((header, codec, body))
}

/// The first record from `from_offset` on whose timestamp is `target` or later (ListOffsets by time).
/// At most `limit` bytes are decompressed, in a small window.
pub fn seek_timestamp(
    batch: Rope<'_>,
    target: i64,
    from_offset: i64,
    decoder: &mut Decoder,
    limit: usize,
) -> Result<Option<OffsetAndTimestamp>, RecordsError> {
    let (header, codec, body) = open(batch)?;
    if header.max_timestamp < target || header.last_offset() < from_offset {
        return Ok(None);
    }
    let mut walker = Walker::new(decoder.open(codec, body, limit_for(codec, limit)));
    for _ in 0..header.record_count {
        let record = walker.next()?;
        let found = found(&header, &record);
        if found.timestamp >= target && found.offset >= from_offset {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first of the records with the latest timestamp in the batch (ListOffsets, max timestamp; KIP-734).
pub fn offset_of_max_timestamp(
    batch: Rope<'_>,
    decoder: &mut Decoder,
    limit: usize,
) -> Result<Option<OffsetAndTimestamp>, RecordsError> {
    let (header, codec, body) = open(batch)?;
    let mut walker = Walker::new(decoder.open(codec, body, limit_for(codec, limit)));
    let mut latest: Option<OffsetAndTimestamp> = None;
    for _ in 0..header.record_count {
        let found = found(&header, &walker.next()?);
        if latest.is_none_or(|l| found.timestamp > l.timestamp) {
            latest = Some(found);
        }
        if found.timestamp >= header.max_timestamp {
            break;
        }
    }
    Ok(latest)
}

/// What is not compressed cannot grow: only what comes out of a codec is limited.
pub(super) fn limit_for(codec: Codec, limit: usize) -> usize {
    if codec == Codec::None { usize::MAX } else { limit }
}

fn found(header: &BatchHeader, record: &Walked) -> OffsetAndTimestamp {
    OffsetAndTimestamp {
        offset: header.base_offset.wrapping_add(i64::from(record.offset_delta)),
        timestamp: timestamp(header, record.timestamp_delta),
        leader_epoch: header.leader_epoch,
    }
}

/// Copies the records in `plain` to `out` with offset deltas 0, 1, 2 and so on; everything else stays as it is.
pub(super) fn renumber(mut plain: &[u8], out: &mut Vec<u8>) -> Result<(), RecordsError> {
    let mut index = 0;
    while !plain.is_empty() {
        let len = usize::try_from(varint(&mut plain)?).map_err(|_| RecordsError::Malformed)?;
        let record = plain.span(len)?;
        let mut after_time = record;
        after_time.byte()?;
        varlong(&mut after_time)?;
        let mut after_offset = after_time;
        varint(&mut after_offset)?;
        let before = &record[..record.len() - after_time.len()];
        let delta = super::build::varint_len(index);
        super::build::put_varint(out, (before.len() + delta + after_offset.len()) as i64);
        out.extend_from_slice(before);
        super::build::put_varint(out, index);
        out.extend_from_slice(after_offset);
        index += 1;
    }
    Ok(())
}
