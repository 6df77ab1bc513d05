//! Produce, versions 3 to 13: a borrowed view of requests and a writer of answers. Not the checking of batches.
//!
//! Source: ProduceRequest.json and ProduceResponse.json of Kafka 4.2; KIP-467 (8), KIP-482 (9), KIP-951 (10), KIP-516 (13).
//! [`ProduceRequest::parse`] walks the whole body once; after that, iterating neither fails nor allocates.

use ringlog_engine::ErrorCode;
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::rope::Rope;

use crate::api::ApiKey;
use crate::frame::{self, Begun};
use crate::refusal::Refusal;
use crate::wire::{self, Put, TopicName, TopicRef};

/// First version that names topics by id (KIP-516).
const BY_ID: i16 = 13;
/// First version with errors per record and a message (KIP-467).
const RECORD_ERRORS: i16 = 8;

#[derive(Clone, Copy, Debug)]
struct Shape {
    flexible: bool,
    by_id: bool,
}

impl Shape {
    fn of(version: i16) -> Shape {
        Shape { flexible: ApiKey::Produce.row().is_flexible(version), by_id: version >= BY_ID }
    }

    /// Fewest bytes of a topic: its name or id, a count, tags.
    fn least_topic(self) -> usize {
        match self {
            Shape { by_id: true, .. } => 16 + 1 + 1,
            Shape { flexible: true, .. } => 1 + 1 + 1,
            _ => 2 + 4,
        }
    }

    /// Fewest bytes of a partition: index, length, tags.
    fn least_partition(self) -> usize {
        if self.flexible { 4 + 1 + 1 } else { 4 + 4 }
    }
}

/// A produce request, borrowed from the receive buffers of the connection's core.
#[derive(Clone, Copy, Debug)]
pub struct ProduceRequest<'a> {
    pub version: i16,
    /// Not checked to be UTF-8; see [`wire::text`].
    pub transactional_id: Option<Rope<'a>>,
    /// As sent: anything but -1, 0 and 1 is INVALID_REQUIRED_ACKS, for the caller to answer.
    pub acks: i16,
    /// Milliseconds, as sent (may be negative).
    pub timeout_ms: i32,
    shape: Shape,
    topic_count: usize,
    partition_count: usize,
    topics: Rope<'a>,
}

/// A topic of a produce request.
#[derive(Clone, Copy, Debug)]
pub struct ProduceTopic<'a> {
    pub topic: TopicRef<'a>,
    shape: Shape,
    count: usize,
    partitions: Rope<'a>,
}

/// A partition of a produce request. `records` is None where null was sent.
#[derive(Clone, Copy, Debug)]
pub struct ProducePartition<'a> {
    pub index: i32,
    pub records: Option<Rope<'a>>,
}

impl<'a> ProduceRequest<'a> {
    /// Checks the whole body, every length and count, without touching the records.
    pub fn parse(version: i16, mut body: Rope<'a>) -> Result<ProduceRequest<'a>, Refusal> {
        let shape = Shape::of(version);
        let transactional_id = wire::nullable_string(&mut body, shape.flexible)?;
        let acks = body.read_i16()?;
        let timeout_ms = body.read_i32()?;
        let topic_count = wire::count(&mut body, shape.flexible, shape.least_topic())?;
        let topics = body;
        let mut partition_count = 0;
        for _ in 0..topic_count {
            partition_count += take_topic(&mut body, shape)?.count;
        }
        if shape.flexible {
            wire::skip_tags(&mut body)?;
        }
        Ok(ProduceRequest { version, transactional_id, acks, timeout_ms, shape, topic_count, partition_count, topics })
    }

    pub fn topic_count(&self) -> usize {
        self.topic_count
    }

    /// Partitions over all topics.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    pub fn topics(&self) -> impl Iterator<Item = ProduceTopic<'a>> + use<'a> {
        let (mut left, mut at, shape) = (self.topic_count, self.topics, self.shape);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            take_topic(&mut at, shape).ok()
        })
    }
}

impl<'a> ProduceTopic<'a> {
    pub fn partition_count(&self) -> usize {
        self.count
    }

    pub fn partitions(&self) -> impl Iterator<Item = ProducePartition<'a>> + use<'a> {
        let (mut left, mut at, flexible) = (self.count, self.partitions, self.shape.flexible);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            take_partition(&mut at, flexible).ok()
        })
    }
}

/// Takes a topic with all its partitions off the front.
fn take_topic<'a>(from: &mut Rope<'a>, shape: Shape) -> Result<ProduceTopic<'a>, Refusal> {
    let topic = wire::topic(from, shape.flexible, shape.by_id)?;
    let count = wire::count(from, shape.flexible, shape.least_partition())?;
    let partitions = *from;
    for _ in 0..count {
        take_partition(from, shape.flexible)?;
    }
    if shape.flexible {
        wire::skip_tags(from)?;
    }
    Ok(ProduceTopic { topic, shape, count, partitions })
}

fn take_partition<'a>(from: &mut Rope<'a>, flexible: bool) -> Result<ProducePartition<'a>, Refusal> {
    let index = from.read_i32()?;
    let records = wire::nullable_bytes(from, flexible)?;
    if flexible {
        wire::skip_tags(from)?;
    }
    Ok(ProducePartition { index, records })
}

/// What is answered about one partition. Offsets and times are -1 where unknown.
#[derive(Clone, Copy, Debug)]
pub struct ProducePartitionAnswer<'a> {
    pub index: i32,
    pub error: ErrorCode,
    pub base_offset: i64,
    /// Milliseconds since the epoch where the topic is `LogAppendTime`, else -1.
    pub log_append_time: i64,
    /// Told from version 5 on.
    pub log_start_offset: i64,
    /// Told from version 8 on: index of the record in its batch, and why.
    pub record_errors: &'a [(i32, Option<&'a str>)],
    /// Told from version 8 on.
    pub error_message: Option<&'a str>,
}

impl ProducePartitionAnswer<'_> {
    /// An answer without offsets.
    pub fn failed(index: i32, error: ErrorCode) -> Self {
        ProducePartitionAnswer {
            index,
            error,
            base_offset: -1,
            log_append_time: -1,
            log_start_offset: -1,
            record_errors: &[],
            error_message: None,
        }
    }
}

/// Where the fields of one partition lie that are known only once the append is done.
/// Positions are in the vector given to [`ProduceAnswer::begin`]; they stay right while it is only appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducePatch {
    error_at: usize,
    has_log_start: bool,
}

impl ProducePatch {
    /// Overwrites error, base offset, log append time and, where the version has it, log start offset.
    pub fn apply(self, out: &mut [u8], error: ErrorCode, base_offset: i64, log_append_time: i64, log_start: i64) {
        let at = self.error_at;
        if !planted(Bug::RefusalNotTold) {
            out[at..at + 2].copy_from_slice(&error.code().to_be_bytes());
        }
        out[at + 2..at + 10].copy_from_slice(&base_offset.to_be_bytes());
        out[at + 10..at + 18].copy_from_slice(&log_append_time.to_be_bytes());
        if self.has_log_start {
            out[at + 18..at + 26].copy_from_slice(&log_start.to_be_bytes());
        }
    }
}

/// Writes one answer, frame and header included, to the end of a reused vector:
/// [`begin`](Self::begin), then per topic [`topic`](Self::topic) and its partitions, then [`finish`](Self::finish).
#[derive(Debug)]
#[must_use]
pub struct ProduceAnswer {
    version: i16,
    flexible: bool,
    begun: Begun,
    topics_left: usize,
    partitions_left: usize,
    in_topic: bool,
}

impl ProduceAnswer {
    pub fn begin(out: &mut Vec<u8>, version: i16, correlation_id: i32, topic_count: usize) -> ProduceAnswer {
        let api = ApiKey::Produce.row();
        let begun = frame::begin(out, api, version, correlation_id);
        let flexible = api.is_flexible(version);
        out.put_count(flexible, Some(topic_count));
        ProduceAnswer { version, flexible, begun, topics_left: topic_count, partitions_left: 0, in_topic: false }
    }

    /// Begins a topic: by name up to version 12, by id from 13 on.
    pub fn topic(&mut self, out: &mut Vec<u8>, topic: TopicName<'_>, partition_count: usize) {
        assert_eq!(matches!(topic, TopicName::Id(_)), self.version >= BY_ID, "version {}", self.version);
        self.end_topic(out);
        assert!(self.topics_left > 0, "more topics than announced");
        self.topics_left -= 1;
        self.partitions_left = partition_count;
        self.in_topic = true;
        out.put_topic(self.flexible, topic);
        out.put_count(self.flexible, Some(partition_count));
    }

    pub fn partition(&mut self, out: &mut Vec<u8>, answer: &ProducePartitionAnswer<'_>) -> ProducePatch {
        assert!(self.partitions_left > 0, "more partitions than announced");
        self.partitions_left -= 1;
        out.put_i32(answer.index);
        let patch = ProducePatch { error_at: out.len(), has_log_start: self.version >= 5 };
        out.put_i16(answer.error.code());
        out.put_i64(answer.base_offset);
        out.put_i64(answer.log_append_time);
        if patch.has_log_start {
            out.put_i64(answer.log_start_offset);
        }
        if self.version >= RECORD_ERRORS {
            out.put_count(self.flexible, Some(answer.record_errors.len()));
            for (index, message) in answer.record_errors {
                out.put_i32(*index);
                out.put_string(self.flexible, *message);
                out.put_no_tags(self.flexible);
            }
            out.put_string(self.flexible, answer.error_message);
        }
        out.put_no_tags(self.flexible);
        patch
    }

    /// Ends the answer and its frame; the length of the frame, prefix included.
    pub fn finish(mut self, out: &mut Vec<u8>, throttle_ms: i32) -> usize {
        self.end_topic(out);
        assert_eq!(self.topics_left, 0, "fewer topics than announced");
        out.put_i32(throttle_ms);
        out.put_no_tags(self.flexible);
        frame::end(out, self.begun, 0)
    }

    fn end_topic(&mut self, out: &mut Vec<u8>) {
        assert_eq!(self.partitions_left, 0, "fewer partitions than announced");
        if std::mem::take(&mut self.in_topic) {
            out.put_no_tags(self.flexible);
        }
    }
}
