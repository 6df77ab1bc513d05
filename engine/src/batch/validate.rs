//! What a leader checks of a produced batch before it appends it, and how it changes it where a topic asks for that.
//!
//! Follows Kafka's `ProduceRequest`, `UnifiedLog` and `LogValidator`. A pure function of batch, rules and scratch, so it
//! may run on the core or on a helper thread. An uncompressed batch is checked where it was received; a compressed
//! one is walked through a small window and only decompressed as a whole where it must be rewritten.
//!
//! Stricter than Kafka: bytes after the batch are refused, not cut off; the LogAppendTime bit is always refused; and
//! uncompressed records whose offset deltas do not count up are renumbered too.

use super::records::{RecordsError, Walker, limit_for, renumber};
use super::{
    BatchHeader, HEADER_LEN, LOG_OVERHEAD, MAGIC, NO_TIMESTAMP, TimestampType, attribute, checksum, checksum_in_place,
};
use crate::codec::{Codec, Decoder, Encoder, TargetCodec, effort};
use crate::error::ErrorCode;
use crate::probe::{Bug, planted};
use crate::rope::Rope;
use crate::types::WallMs;

/// Record errors named in one refusal at most: the rest of a batch is refused all the same.
pub const MAX_RECORD_ERRORS: usize = 1000;
/// First produce version that may carry zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;

/// What a topic asks of its batches, and when it is now.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub now: WallMs,
    /// `max.message.bytes`: of a whole batch, as received and as rewritten.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`, not negative; `i64::MAX` for no bound.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`, not negative.
    pub after_max_ms: i64,
    /// `cleanup.policy` has compact: every record needs a key.
    pub compacted: bool,
    /// `compression.type`.
    pub compression: TargetCodec,
    /// What a batch may decompress to; more is MESSAGE_TOO_LARGE. Kafka has no such limit.
    pub decompressed_max_bytes: usize,
    /// Version of the produce request.
    pub produce_version: i16,
}

/// Reusable memory for [`validate`]. Owned by one core or one helper thread.
#[derive(Default)]
pub struct Scratch {
    pub decoder: Decoder,
    pub encoder: Encoder,
    /// The decompressed records of a batch being rewritten.
    plain: Vec<u8>,
    renumbered: Vec<u8>,
    /// The body of the last batch rewritten.
    body: Vec<u8>,
}

impl Scratch {
    /// The body of the batch rewritten last, to be kept: no larger than it is.
    pub fn take_body(&mut self) -> Vec<u8> {
        let mut body = std::mem::take(&mut self.body);
        body.shrink_to_fit();
        body
    }

    /// Gives back what a large batch made it hold, once that is more than `keep` bytes.
    pub fn shrink(&mut self, keep: usize) {
        self.decoder.shrink(keep);
        if self.plain.capacity() + self.renumbered.capacity() + self.body.capacity() > keep {
            (self.plain, self.renumbered, self.body) = Default::default();
            self.encoder.shrink();
        }
    }
}

/// What was done to a batch that may be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing: header and body are as received.
    AsIs,
    /// The header is new (times, checksum), the body is as received.
    NewHeader,
    /// Header and body are new; the body lies in the scratch until its next use.
    Rewritten,
}

/// A batch that may be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validated {
    /// To be appended in place of the received one, once [`super::stamp`] has put in offset and epoch.
    pub header: BatchHeader,
    pub verdict: Verdict,
    /// Which record has the latest timestamp, counted from 0; the first of several.
    pub max_timestamp_at: i32,
}

impl Validated {
    /// What follows the header. `batch`: as given to [`validate`].
    pub fn body<'a>(&self, batch: Rope<'a>, scratch: &'a Scratch) -> Rope<'a> {
        if self.verdict == Verdict::Rewritten {
            return Rope::of(&scratch.body);
        }
        let mut body = batch;
        let skipped = body.skip(HEADER_LEN);
        assert!(skipped.is_ok(), "a validated batch has a header, this one has {} bytes", batch.len());
        body
    }

    /// `log_append_time` of the produce response: the append time, or -1 where the producer's times stand.
    pub fn log_append_time(&self) -> i64 {
        match self.header.timestamp_type() {
            TimestampType::CreateTime => NO_TIMESTAMP,
            TimestampType::LogAppendTime => self.header.max_timestamp,
        }
    }
}

/// What is wrong with one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordProblem {
    /// No key, in a compacted topic.
    NoKey,
    /// Outside the times the topic takes, both inclusive.
    Timestamp { timestamp: i64, earliest: i64, latest: i64 },
}

/// A record that made its batch be refused: an entry of `record_errors` in the response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordError {
    /// Position in the batch, from 0.
    pub index: i32,
    pub problem: RecordProblem,
}

impl std::fmt::Display for RecordProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RecordProblem::NoKey => f.write_str("Compacted topic cannot accept message without key."),
            RecordProblem::Timestamp { timestamp, earliest, latest } => write!(
                f,
                "Timestamp {timestamp} of message is out of range. The timestamp should be within [{earliest}, {latest}]"
            ),
        }
    }
}

/// Why a batch was refused: goes into the partition's response as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchRefusal {
    pub code: ErrorCode,
    pub message: &'static str,
    pub record_errors: Vec<RecordError>,
}

fn refuse<T>(code: ErrorCode, message: &'static str) -> Result<T, BatchRefusal> {
    Err(BatchRefusal { code, message, record_errors: Vec::new() })
}

impl From<RecordsError> for BatchRefusal {
    fn from(error: RecordsError) -> BatchRefusal {
        let (code, message) = match error {
            RecordsError::Malformed => (ErrorCode::InvalidRecord, "Records do not match the batch's count and size"),
            RecordsError::Undecodable => (ErrorCode::InvalidRecord, "Failed to decompress record stream"),
            RecordsError::TooLarge => (ErrorCode::MessageTooLarge, "Decompressed records are larger than the limit"),
        };
        BatchRefusal { code, message, record_errors: Vec::new() }
    }
}

/// Checks `batch`, all that a producer sent for one partition, whatever that costs.
pub fn validate(batch: Rope<'_>, rules: &Rules, scratch: &mut Scratch) -> Result<Validated, BatchRefusal> {
    match validate_within(batch, rules, scratch, usize::MAX)? {
        Some(validated) => Ok(validated),
        None => unreachable!("a batch within the limit is within an endless budget"),
    }
}

/// As [`validate`], but gives up with `None` where it would decompress more than `budget` bytes (compressing counts as
/// many times as [`effort`] says): such a batch is for a helper thread. An uncompressed batch that stays so never gives up.
pub fn validate_within(
    batch: Rope<'_>,
    rules: &Rules,
    scratch: &mut Scratch,
    budget: usize,
) -> Result<Option<Validated>, BatchRefusal> {
    let (header, codec, body) = check_header(batch, rules)?;
    let limit = limit_for(codec, rules.decompressed_max_bytes.min(budget));
    let walked = match walk(&header, rules, Walker::new(scratch.decoder.open(codec, body, limit))) {
        Ok(walked) => walked,
        Err(RecordsError::TooLarge) if budget < rules.decompressed_max_bytes => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !walked.errors.is_empty() {
        return Err(refuse_records(walked.errors));
    }
    let (target, level) = rules.compression.for_source(codec);
    let mut new = header;
    let log_append_time = rules.timestamp_type == TimestampType::LogAppendTime;
    if log_append_time {
        new.attributes |= attribute::LOG_APPEND_TIME;
        new.max_timestamp = rules.now.0;
    } else {
        new.max_timestamp = walked.max_timestamp;
    }
    let max_timestamp_at = if log_append_time { 0 } else { walked.max_timestamp_at };
    let verdict = if walked.sequential && target == codec {
        if new == header { Verdict::AsIs } else { Verdict::NewHeader }
    } else {
        Verdict::Rewritten
    };
    match verdict {
        Verdict::AsIs => {}
        Verdict::NewHeader if planted(Bug::ChecksumKept) => {}
        Verdict::NewHeader => new.crc = checksum(&new.encode(), body),
        Verdict::Rewritten => {
            if !rewrite(&mut new, (codec, body), (target, level), walked.sequential, rules, scratch, budget)? {
                return Ok(None);
            }
        }
    }
    Ok(Some(Validated { header: new, verdict, max_timestamp_at }))
}

/// Checks everything that lies in the header, in Kafka's order, and the checksum.
fn check_header<'a>(batch: Rope<'a>, rules: &Rules) -> Result<(BatchHeader, Codec, Rope<'a>), BatchRefusal> {
    use ErrorCode::{CorruptMessage, InvalidRecord, InvalidTimestamp, MessageTooLarge, UnsupportedCompressionType};
    let mut body = batch;
    let Ok(bytes) = body.read_array::<HEADER_LEN>() else {
        return if magic_of(batch).is_some_and(|magic| magic != MAGIC) {
            refuse(InvalidRecord, "Produce requests with version 3 or later must contain only batches of magic 2")
        } else {
            refuse(InvalidRecord, "Produce requests must have exactly one record batch per partition")
        };
    };
    let header = BatchHeader::parse(&bytes);
    if header.magic != MAGIC {
        return refuse(InvalidRecord, "Produce requests with version 3 or later must contain only batches of magic 2");
    }
    if header.total_len() < HEADER_LEN {
        return refuse(CorruptMessage, "Record batch is corrupt: its size is smaller than its header");
    }
    if header.total_len() != batch.len() {
        return refuse(InvalidRecord, "Produce requests must have exactly one record batch per partition");
    }
    let Some(codec) = header.codec() else {
        return refuse(UnsupportedCompressionType, "Unknown compression type");
    };
    if codec == Codec::Zstd && rules.produce_version < ZSTD_SINCE {
        return refuse(
            UnsupportedCompressionType,
            "Produce requests before version 7 may not use ZStandard compression",
        );
    }
    if header.base_offset != 0 {
        return refuse(InvalidRecord, "The baseOffset of the record batch in the append should be 0");
    }
    if batch.len() > rules.max_message_bytes as usize {
        return refuse(MessageTooLarge, "The record batch is larger than max.message.bytes of the topic");
    }
    if checksum_in_place(batch) != Ok(header.crc) {
        return refuse(CorruptMessage, "Record batch is corrupt: its checksum does not match");
    }
    if header.record_count <= 0 || header.last_offset_delta < 0 {
        return refuse(InvalidRecord, "Invalid reported count for record batch");
    }
    if header.last_offset_delta != header.record_count - 1 {
        return refuse(InvalidRecord, "Inconsistent batch offset range and count of records");
    }
    if header.is_control() {
        return refuse(InvalidRecord, "Clients are not allowed to write control records");
    }
    if header.has_producer() && header.base_sequence < 0 {
        return refuse(InvalidRecord, "Invalid sequence number in record batch with producer id");
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return refuse(InvalidTimestamp, "Producer should not set timestamp type to LogAppendTime");
    }
    Ok((header, codec, body))
}

/// The magic of what may be a batch too short for version 2.
fn magic_of(batch: Rope<'_>) -> Option<i8> {
    let mut rest = batch;
    rest.skip(16).ok()?;
    rest.read_i8().ok()
}

/// What a walk over all records found.
struct Walk {
    max_timestamp: i64,
    max_timestamp_at: i32,
    /// Offset deltas are 0, 1, 2 and so on.
    sequential: bool,
    errors: Vec<RecordError>,
}

fn walk(header: &BatchHeader, rules: &Rules, mut walker: Walker<'_>) -> Result<Walk, RecordsError> {
    let (earliest, latest) = match rules.timestamp_type {
        TimestampType::CreateTime => {
            (rules.now.0.saturating_sub(rules.before_max_ms), rules.now.0.saturating_add(rules.after_max_ms))
        }
        TimestampType::LogAppendTime => (i64::MIN, i64::MAX),
    };
    let mut walk = Walk { max_timestamp: NO_TIMESTAMP, max_timestamp_at: 0, sequential: true, errors: Vec::new() };
    for index in 0..header.record_count {
        let record = walker.next()?;
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        walk.sequential &= record.offset_delta == index;
        if timestamp > walk.max_timestamp {
            (walk.max_timestamp, walk.max_timestamp_at) = (timestamp, index);
        }
        let problem = if rules.compacted && !record.has_key {
            RecordProblem::NoKey
        } else if (timestamp < earliest || timestamp > latest) && timestamp != NO_TIMESTAMP {
            RecordProblem::Timestamp { timestamp, earliest, latest }
        } else {
            continue;
        };
        if walk.errors.len() < MAX_RECORD_ERRORS {
            walk.errors.push(RecordError { index, problem });
        }
    }
    walker.end()?;
    Ok(walk)
}

/// Kafka's choice of code where several records are wrong in different ways.
fn refuse_records(record_errors: Vec<RecordError>) -> BatchRefusal {
    let by_time = record_errors.iter().any(|e| matches!(e.problem, RecordProblem::Timestamp { .. }));
    let (code, message) = if by_time {
        (ErrorCode::InvalidTimestamp, "One or more records have been rejected due to invalid timestamp")
    } else {
        (ErrorCode::InvalidRecord, "One or more records have been rejected due to record errors")
    };
    BatchRefusal { code, message, record_errors }
}

/// Puts the batch's records into the scratch's body as `target` wants them and completes `header`.
/// False where that is more work than `budget`.
fn rewrite(
    header: &mut BatchHeader,
    (codec, body): (Codec, Rope<'_>),
    (target, level): (Codec, i32),
    sequential: bool,
    rules: &Rules,
    scratch: &mut Scratch,
    budget: usize,
) -> Result<bool, BatchRefusal> {
    let Scratch { decoder, encoder, plain, renumbered, body: out } = scratch;
    plain.clear();
    out.clear();
    let limit = limit_for(codec, rules.decompressed_max_bytes);
    decoder.read_all(codec, body, limit, plain).map_err(RecordsError::from)?;
    if target != Codec::None && plain.len() > budget / effort(target, level) {
        return Ok(false);
    }
    let records = if sequential {
        &*plain
    } else {
        renumbered.clear();
        renumber(plain, renumbered)?;
        &*renumbered
    };
    encoder.compress(target, level, records, out);
    let len = HEADER_LEN + out.len();
    if len > rules.max_message_bytes as usize {
        return refuse(ErrorCode::MessageTooLarge, "The converted record batch is larger than max.message.bytes");
    }
    header.batch_length = (len - LOG_OVERHEAD) as i32;
    let dropped = if planted(Bug::AppendTimeUnmarked) { attribute::LOG_APPEND_TIME } else { 0 };
    header.attributes = (header.attributes & !(attribute::CODEC | dropped)) | target.id();
    header.crc = checksum(&header.encode(), Rope::of(out));
    Ok(true)
}
