//! Fetch, versions 4 to 18: a borrowed view of requests and a writer of answers. Not sessions, not reading.
//!
//! Source: FetchRequest.json and FetchResponse.json of Kafka 4.2; KIP-227 (7), KIP-320 (9, 12), KIP-392 (11), KIP-516 (13),
//! KIP-903 (15). [`FetchRequest::parse`] walks the whole body once; after that, iterating neither fails nor allocates.
//! Records never pass through the writer: the answer is the vector's bytes with the caller's spans between them.

use ringlog_engine::ErrorCode;
use ringlog_engine::rope::Rope;

use crate::api::ApiKey;
use crate::frame::{self, Begun};
use crate::refusal::Refusal;
use crate::wire::{self, Put, TopicName, TopicRef};

const LOG_START: i16 = 5;
const SESSIONS: i16 = 7;
const LEADER_EPOCH: i16 = 9;
const RACK: i16 = 11;
const LAST_FETCHED_EPOCH: i16 = 12;
const BY_ID: i16 = 13;
/// From here on the replica id is a tagged field.
const REPLICA_STATE: i16 = 15;
const REPLICA_STATE_TAG: u32 = 1;

#[derive(Clone, Copy, Debug)]
struct Shape {
    version: i16,
    flexible: bool,
}

impl Shape {
    fn of(version: i16) -> Shape {
        Shape { version, flexible: ApiKey::Fetch.row().is_flexible(version) }
    }

    /// Fewest bytes of a topic, forgotten or not: its name or id, a count, tags.
    fn least_topic(self) -> usize {
        match self {
            Shape { version: BY_ID.., .. } => 16 + 1 + 1,
            Shape { flexible: true, .. } => 1 + 1 + 1,
            _ => 2 + 4,
        }
    }

    /// Bytes of a partition without the content of its tags.
    fn least_partition(self) -> usize {
        let mut len = 4 + 8 + 4;
        len += if self.version >= LOG_START { 8 } else { 0 };
        len += if self.version >= LEADER_EPOCH { 4 } else { 0 };
        len += if self.version >= LAST_FETCHED_EPOCH { 4 + 1 } else { 0 };
        len
    }
}

/// A fetch request, borrowed from the receive buffers of the connection's core.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    pub version: i16,
    /// -1 for a consumer.
    pub replica_id: i32,
    /// -1 before version 15 and for a consumer.
    pub replica_epoch: i64,
    /// Milliseconds, as sent (may be negative).
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// 0 read uncommitted, 1 read committed; as sent.
    pub isolation_level: i8,
    /// 0 before version 7.
    pub session_id: i32,
    /// -1, "no session", before version 7 (KIP-227).
    pub session_epoch: i32,
    /// Empty before version 11. Not checked to be UTF-8; see [`wire::text`].
    pub rack_id: Rope<'a>,
    shape: Shape,
    topic_count: usize,
    partition_count: usize,
    topics: Rope<'a>,
    forgotten_count: usize,
    forgotten: Rope<'a>,
}

/// A topic of a fetch request.
#[derive(Clone, Copy, Debug)]
pub struct FetchTopic<'a> {
    pub topic: TopicRef<'a>,
    shape: Shape,
    count: usize,
    partitions: Rope<'a>,
}

/// A partition of a fetch request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    pub index: i32,
    /// -1 for "not known" and before version 9.
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    /// -1 for "not known" and before version 12.
    pub last_fetched_epoch: i32,
    /// Of the follower; -1 for a consumer and before version 5.
    pub log_start_offset: i64,
    pub max_bytes: i32,
}

/// A topic whose partitions leave an incremental session.
#[derive(Clone, Copy, Debug)]
pub struct ForgottenTopic<'a> {
    pub topic: TopicRef<'a>,
    count: usize,
    partitions: Rope<'a>,
}

impl<'a> FetchRequest<'a> {
    /// Checks the whole body, every length and count.
    pub fn parse(version: i16, mut body: Rope<'a>) -> Result<FetchRequest<'a>, Refusal> {
        let shape = Shape::of(version);
        let replica_id = if version < REPLICA_STATE { body.read_i32()? } else { -1 };
        let max_wait_ms = body.read_i32()?;
        let min_bytes = body.read_i32()?;
        let max_bytes = body.read_i32()?;
        let isolation_level = body.read_i8()?;
        let (session_id, session_epoch) =
            if version >= SESSIONS { (body.read_i32()?, body.read_i32()?) } else { (0, -1) };
        let topic_count = wire::count(&mut body, shape.flexible, shape.least_topic())?;
        let topics = body;
        let mut partition_count = 0;
        for _ in 0..topic_count {
            partition_count += take_topic(&mut body, shape)?.count;
        }
        let forgotten_count =
            if version >= SESSIONS { wire::count(&mut body, shape.flexible, shape.least_topic())? } else { 0 };
        let forgotten = body;
        for _ in 0..forgotten_count {
            take_forgotten(&mut body, shape)?;
        }
        let rack_id = if version >= RACK { wire::string(&mut body, shape.flexible)? } else { Rope::of(&[]) };
        let mut request = FetchRequest {
            version,
            replica_id,
            replica_epoch: -1,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            rack_id,
            shape,
            topic_count,
            partition_count,
            topics,
            forgotten_count,
            forgotten,
        };
        if shape.flexible {
            wire::each_tag(&mut body, |tag, content| request.take_tag(tag, content))?;
        }
        Ok(request)
    }

    fn take_tag(&mut self, tag: u32, mut content: Rope<'a>) -> Result<(), Refusal> {
        if tag == REPLICA_STATE_TAG && self.version >= REPLICA_STATE {
            self.replica_id = content.read_i32()?;
            self.replica_epoch = content.read_i64()?;
            wire::skip_tags(&mut content)?;
            if !content.is_empty() {
                return Err(Refusal::BadTaggedField { tag });
            }
        }
        Ok(())
    }

    pub fn topic_count(&self) -> usize {
        self.topic_count
    }

    /// Partitions over all topics, forgotten ones not counted.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    pub fn topics(&self) -> impl Iterator<Item = FetchTopic<'a>> + use<'a> {
        let (mut left, mut at, shape) = (self.topic_count, self.topics, self.shape);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            take_topic(&mut at, shape).ok()
        })
    }

    pub fn forgotten_topics(&self) -> impl Iterator<Item = ForgottenTopic<'a>> + use<'a> {
        let (mut left, mut at, shape) = (self.forgotten_count, self.forgotten, self.shape);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            take_forgotten(&mut at, shape).ok()
        })
    }
}

impl<'a> FetchTopic<'a> {
    pub fn partition_count(&self) -> usize {
        self.count
    }

    pub fn partitions(&self) -> impl Iterator<Item = FetchPartition> + use<'a> {
        let (mut left, mut at, shape) = (self.count, self.partitions, self.shape);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            take_partition(&mut at, shape).ok()
        })
    }
}

impl<'a> ForgottenTopic<'a> {
    pub fn partition_count(&self) -> usize {
        self.count
    }

    pub fn partitions(&self) -> impl Iterator<Item = i32> + use<'a> {
        let (mut left, mut at) = (self.count, self.partitions);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            at.read_i32().ok()
        })
    }
}

/// Takes a topic with all its partitions off the front.
fn take_topic<'a>(from: &mut Rope<'a>, shape: Shape) -> Result<FetchTopic<'a>, Refusal> {
    let topic = wire::topic(from, shape.flexible, shape.version >= BY_ID)?;
    let count = wire::count(from, shape.flexible, shape.least_partition())?;
    let partitions = *from;
    for _ in 0..count {
        take_partition(from, shape)?;
    }
    if shape.flexible {
        wire::skip_tags(from)?;
    }
    Ok(FetchTopic { topic, shape, count, partitions })
}

fn take_partition(from: &mut Rope<'_>, shape: Shape) -> Result<FetchPartition, Refusal> {
    let index = from.read_i32()?;
    let current_leader_epoch = if shape.version >= LEADER_EPOCH { from.read_i32()? } else { -1 };
    let fetch_offset = from.read_i64()?;
    let last_fetched_epoch = if shape.version >= LAST_FETCHED_EPOCH { from.read_i32()? } else { -1 };
    let log_start_offset = if shape.version >= LOG_START { from.read_i64()? } else { -1 };
    let max_bytes = from.read_i32()?;
    if shape.flexible {
        wire::skip_tags(from)?;
    }
    Ok(FetchPartition { index, current_leader_epoch, fetch_offset, last_fetched_epoch, log_start_offset, max_bytes })
}

fn take_forgotten<'a>(from: &mut Rope<'a>, shape: Shape) -> Result<ForgottenTopic<'a>, Refusal> {
    let topic = wire::topic(from, shape.flexible, shape.version >= BY_ID)?;
    let count = wire::count(from, shape.flexible, 4)?;
    let partitions = *from;
    from.skip(count * 4)?;
    if shape.flexible {
        wire::skip_tags(from)?;
    }
    Ok(ForgottenTopic { topic, count, partitions })
}

/// What is answered about one partition, but for its records.
#[derive(Clone, Copy, Debug)]
pub struct FetchPartitionAnswer<'a> {
    pub index: i32,
    pub error: ErrorCode,
    /// -1 where unknown, as the other offsets.
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    /// Told from version 5 on.
    pub log_start_offset: i64,
    /// Producer id and first offset of each; None is null (read uncommitted).
    pub aborted: Option<&'a [(i64, i64)]>,
    /// Node id, or -1. Told from version 11 on.
    pub preferred_read_replica: i32,
    /// Epoch and its end offset, where the consumer's log has diverged. Told from version 12 on.
    pub diverging: Option<(i32, i64)>,
    /// Bytes of records that the caller sends after [`FetchAnswer::partition`]'s position.
    pub records_len: usize,
}

impl FetchPartitionAnswer<'_> {
    /// An answer without offsets and records.
    pub fn failed(index: i32, error: ErrorCode) -> Self {
        FetchPartitionAnswer {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted: None,
            preferred_read_replica: -1,
            diverging: None,
            records_len: 0,
        }
    }
}

/// The head of a fetch answer.
#[derive(Clone, Copy, Debug)]
pub struct FetchHead {
    pub version: i16,
    pub correlation_id: i32,
    pub throttle_ms: i32,
    /// Told from version 7 on.
    pub error: ErrorCode,
    /// Told from version 7 on; 0 for none.
    pub session_id: i32,
    pub topic_count: usize,
}

/// Writes one answer, frame and header included, to the end of a reused vector. The caller first computes the list of
/// topics and partitions, then writes: [`begin`](Self::begin), per topic [`topic`](Self::topic) and its partitions,
/// then [`finish`](Self::finish). What is sent is the vector with each partition's records put in at their position.
#[derive(Debug)]
#[must_use]
pub struct FetchAnswer {
    shape: Shape,
    begun: Begun,
    topics_left: usize,
    partitions_left: usize,
    in_topic: bool,
    records: usize,
}

impl FetchAnswer {
    pub fn begin(out: &mut Vec<u8>, head: &FetchHead) -> FetchAnswer {
        let shape = Shape::of(head.version);
        let begun = frame::begin(out, ApiKey::Fetch.row(), head.version, head.correlation_id);
        out.put_i32(head.throttle_ms);
        if head.version >= SESSIONS {
            out.put_i16(head.error.code());
            out.put_i32(head.session_id);
        }
        out.put_count(shape.flexible, Some(head.topic_count));
        FetchAnswer { shape, begun, topics_left: head.topic_count, partitions_left: 0, in_topic: false, records: 0 }
    }

    /// Begins a topic: by name up to version 12, by id from 13 on.
    pub fn topic(&mut self, out: &mut Vec<u8>, topic: TopicName<'_>, partition_count: usize) {
        let version = self.shape.version;
        assert_eq!(matches!(topic, TopicName::Id(_)), version >= BY_ID, "version {version}");
        self.end_topic(out);
        assert!(self.topics_left > 0, "more topics than announced");
        self.topics_left -= 1;
        self.partitions_left = partition_count;
        self.in_topic = true;
        out.put_topic(self.shape.flexible, topic);
        out.put_count(self.shape.flexible, Some(partition_count));
    }

    /// Writes a partition. Answers the position in `out` after which its `records_len` bytes of records go.
    pub fn partition(&mut self, out: &mut Vec<u8>, answer: &FetchPartitionAnswer<'_>) -> usize {
        let Shape { version, flexible } = self.shape;
        assert!(self.partitions_left > 0, "more partitions than announced");
        self.partitions_left -= 1;
        self.records += answer.records_len;
        out.put_i32(answer.index);
        out.put_i16(answer.error.code());
        out.put_i64(answer.high_watermark);
        out.put_i64(answer.last_stable_offset);
        if version >= LOG_START {
            out.put_i64(answer.log_start_offset);
        }
        out.put_count(flexible, answer.aborted.map(<[_]>::len));
        for (producer_id, first_offset) in answer.aborted.unwrap_or(&[]) {
            out.put_i64(*producer_id);
            out.put_i64(*first_offset);
            out.put_no_tags(flexible);
        }
        if version >= RACK {
            out.put_i32(answer.preferred_read_replica);
        }
        out.put_bytes_length(flexible, Some(answer.records_len));
        let records_at = out.len();
        match answer.diverging {
            Some((epoch, end_offset)) if flexible => {
                out.extend_from_slice(&[1, 0, 4 + 8 + 1]);
                out.put_i32(epoch);
                out.put_i64(end_offset);
                out.put_no_tags(flexible);
            }
            _ => out.put_no_tags(flexible),
        }
        records_at
    }

    /// Ends the answer and its frame; the length of the frame with prefix and records.
    pub fn finish(mut self, out: &mut Vec<u8>) -> usize {
        self.end_topic(out);
        assert_eq!(self.topics_left, 0, "fewer topics than announced");
        out.put_no_tags(self.shape.flexible);
        frame::end(out, self.begun, self.records)
    }

    fn end_topic(&mut self, out: &mut Vec<u8>) {
        assert_eq!(self.partitions_left, 0, "fewer partitions than announced");
        if std::mem::take(&mut self.in_topic) {
            out.put_no_tags(self.shape.flexible);
        }
    }
}
