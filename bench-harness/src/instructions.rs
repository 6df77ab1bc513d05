//! The request path without sockets, disks and threads, for counting instructions: a frame's header and body are read, its batch
//! is checked, its place decided, its bytes copied once, its answer written; a fetch is read, its offset looked up, its answer written.
//! The same calls, in the same order, as `shard/src/core/produce.rs` and `shard/src/core/fetch.rs` make; what those do between cores,
//! with memory blocks and with the ring is not here. Nothing is random and no clock is read, so a count repeats.

use crate::peer::Body;
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchBuilder, HEADER_LEN, Rules, Scratch, TimestampType, stamp, validate};
use ringlog_engine::codec::{Codec, Encoder, TargetCodec};
use ringlog_engine::log::partition::{Located, LogConfig, PartitionLog};
use ringlog_engine::producer::{Check, ProducerStates};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{PartitionKey, TopicId, WallMs};
use ringlog_net::fetch::{FetchAnswer, FetchHead, FetchPartitionAnswer, FetchRequest};
use ringlog_net::frame::{PREFIX, RequestHeader, frame_length, take_header};
use ringlog_net::produce::{ProduceAnswer, ProducePartitionAnswer, ProduceRequest};
use ringlog_net::wire::{TopicName, TopicRef};

/// The time of every record and every append.
const NOW: WallMs = WallMs(1_800_000_000_000);
const TOPIC: TopicId = TopicId([7; 16]);
/// The largest frame taken: `socket.request.max.bytes`.
const FRAME_MAX: usize = 100 << 20;
/// `max.message.bytes` as Kafka has it.
const MESSAGE_MAX: u32 = 1_048_588;
/// Bytes copied into memory are put here over and over: the copy counts, the memory does not grow.
const TAIL: usize = 1 << 20;

/// A request of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// As it is called in results and on the command line.
    pub name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Produce { records: usize, bytes: usize, idempotent: bool },
    Fetch { bytes: usize },
}

/// What is counted: versions 13 of Produce and 18 of Fetch, as Kafka 4.2's own clients send them.
pub const SHAPES: [Shape; 4] = [
    Shape { name: "produce-1x100", kind: Kind::Produce { records: 1, bytes: 100, idempotent: false } },
    Shape { name: "produce-1x100-idempotent", kind: Kind::Produce { records: 1, bytes: 100, idempotent: true } },
    Shape { name: "produce-64x1000", kind: Kind::Produce { records: 64, bytes: 1000, idempotent: false } },
    Shape { name: "fetch", kind: Kind::Fetch { bytes: 65_536 } },
];

/// A request's first bytes, up to its body.
fn head(api: i16, version: i16) -> Body {
    // The last byte: no tags.
    Body::default().i16(api).i16(version).i32(1).text("instructions").raw(&[0])
}

fn framed(request: Body) -> Vec<u8> {
    Body::default().bytes(&request.0).0
}

/// A frame with one batch; `sequence` is the producer's, if it has one.
fn produce_frame(records: usize, bytes: usize, sequence: Option<i32>) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for k in 0..records {
        let value: Vec<u8> = (0..bytes).map(|at| (at * 31 + k * 7) as u8).collect();
        builder.append(NOW.0, None, Some(&value), &[]);
    }
    if let Some(sequence) = sequence {
        builder.producer(1, 0, sequence);
    }
    let mut batch = Vec::new();
    builder.finish(0, -1, Codec::None, 0, &mut Encoder::default(), &mut batch);
    // No transactional id.
    let body = head(0, 13).raw(&[0]).i16(-1).i32(30_000).compact(1).raw(&TOPIC.0).compact(1).i32(0);
    let body = body.compact(batch.len()).raw(&batch);
    // No tags of the partition, the topic and the request.
    framed(body.raw(&[0, 0, 0]))
}

fn fetch_frame(offset: i64, bytes: usize) -> Vec<u8> {
    let bytes = i32::try_from(bytes).expect("a fetch below 2 GiB");
    let body = head(1, 18).i32(500).i32(1).i32(bytes).i8(0).i32(0).i32(-1);
    let body = body.compact(1).raw(&TOPIC.0).compact(1).i32(0).i32(-1).i64(offset).i32(-1).i64(-1).i32(bytes);
    // No tags of the partition and the topic; nothing forgotten, no rack, no tags.
    framed(body.raw(&[0, 0]).compact(0).compact(0).raw(&[0]))
}

/// One partition and what a core keeps to serve it.
struct Core {
    log: PartitionLog,
    config: LogConfig,
    scratch: Scratch,
    tail: Vec<u8>,
    out: Vec<u8>,
}

impl Core {
    fn new() -> Core {
        let key = PartitionKey { topic: TOPIC, partition: 0 };
        let config = LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: i64::MAX,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: -1,
            retention_bytes: -1,
            delete: true,
        };
        let log = PartitionLog::empty(key, NOW, ProducerStates::new(5_000));
        Core { log, config, scratch: Scratch::default(), tail: Vec::with_capacity(TAIL), out: Vec::with_capacity(1024) }
    }

    /// Serves one frame; its answer lies in `out` until the next.
    fn serve(&mut self, frame: &[u8]) {
        let (prefix, rest) = frame.split_first_chunk::<PREFIX>().expect("a frame has a prefix");
        let length = frame_length(*prefix, FRAME_MAX).expect("a frame within the limit");
        let mut body = Rope::of(&rest[..length]);
        let header = take_header(&mut body).expect("a header");
        self.out.clear();
        match header.api.key as i16 {
            0 => self.produce(&header, body),
            1 => self.fetch(&header, body),
            other => panic!("API {other} is not counted"),
        }
    }

    fn produce(&mut self, header: &RequestHeader<'_>, body: Rope<'_>) {
        let request = ProduceRequest::parse(header.version, body).expect("a produce request");
        let topics = request.topic_count();
        let mut answer = ProduceAnswer::begin(&mut self.out, header.version, header.correlation_id, topics);
        for topic in request.topics() {
            let TopicRef::Id(id) = topic.topic else { panic!("version 13 names topics by id") };
            answer.topic(&mut self.out, TopicName::Id(id), topic.partition_count());
            for partition in topic.partitions() {
                let unknown = ProducePartitionAnswer::failed(partition.index, ErrorCode::None);
                let patch = answer.partition(&mut self.out, &unknown);
                let offset = self.append(partition.records.expect("records were sent"), header.version);
                patch.apply(&mut self.out, ErrorCode::None, offset, -1, self.log.log_start());
            }
        }
        answer.finish(&mut self.out, 0);
    }

    /// Checks a batch, decides its place, copies it. Its offset.
    fn append(&mut self, batch: Rope<'_>, produce_version: i16) -> i64 {
        let rules = Rules {
            now: NOW,
            max_message_bytes: MESSAGE_MAX,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            compacted: false,
            compression: TargetCodec::Producer,
            decompressed_max_bytes: 128 << 20,
            produce_version,
        };
        let validated = validate(batch, &rules, &mut self.scratch).expect("a batch of ours is right");
        let header = &validated.header;
        if header.has_producer() {
            assert_eq!(self.log.producers.check(header), Ok(Check::New), "sequence {}", header.base_sequence);
        }
        let placement = self.log.append(header, 0, NOW, &self.config);
        let mut bytes = header.encode();
        stamp(&mut bytes, placement.base_offset, 0);
        if self.tail.len() + HEADER_LEN + batch.len() > TAIL {
            self.tail.clear();
        }
        self.tail.extend_from_slice(&bytes);
        validated.body(batch, &self.scratch).append_to(&mut self.tail);
        if header.has_producer() {
            self.log.producers.record(header, placement.base_offset, NOW);
        }
        self.log.on_visible(self.log.next_offset(), self.log.end());
        placement.base_offset
    }

    fn fetch(&mut self, header: &RequestHeader<'_>, body: Rope<'_>) {
        let request = FetchRequest::parse(header.version, body).expect("a fetch request");
        let head = FetchHead {
            version: header.version,
            correlation_id: header.correlation_id,
            throttle_ms: 0,
            error: ErrorCode::None,
            session_id: request.session_id,
            topic_count: request.topic_count(),
        };
        let mut answer = FetchAnswer::begin(&mut self.out, &head);
        for topic in request.topics() {
            let TopicRef::Id(id) = topic.topic else { panic!("version 18 names topics by id") };
            answer.topic(&mut self.out, TopicName::Id(id), topic.partition_count());
            for partition in topic.partitions() {
                let located = self.log.locate(partition.fetch_offset);
                let Ok(Located::At(place)) = located else { panic!("{located:?}: there are records") };
                // Records are sent from where they lie, so only their length is part of the answer.
                let left = (self.log.visible_end().position - place.position) as usize;
                let told = FetchPartitionAnswer {
                    high_watermark: self.log.high_watermark(),
                    last_stable_offset: self.log.high_watermark(),
                    log_start_offset: self.log.log_start(),
                    records_len: left.min(partition.max_bytes as usize),
                    ..FetchPartitionAnswer::failed(partition.index, ErrorCode::None)
                };
                answer.partition(&mut self.out, &told);
            }
        }
        answer.finish(&mut self.out);
    }
}

/// Serves `served` requests of a shape. What is made ready beforehand is as much as `ready` requests need, whatever is served: two
/// runs that differ in `served` alone differ by those requests and nothing else. Answers the bytes of all answers.
pub fn run(shape: Shape, ready: usize, served: usize) -> u64 {
    assert!(served <= ready, "{served} of {ready}");
    let mut core = Core::new();
    let frames: Vec<Vec<u8>> = match shape.kind {
        Kind::Produce { records, bytes, idempotent: false } => vec![produce_frame(records, bytes, None)],
        Kind::Produce { records, bytes, idempotent: true } => {
            let sequences = (0..ready).map(|k| i32::try_from(k * records).expect("sequences fit"));
            sequences.map(|sequence| produce_frame(records, bytes, Some(sequence))).collect()
        }
        Kind::Fetch { bytes } => {
            let batch = produce_frame(64, 1000, None);
            (0..64).for_each(|_| core.serve(&batch));
            (0..64).map(|k| fetch_frame(k * 64, bytes)).collect()
        }
    };
    let mut answered = 0;
    for frame in frames.iter().cycle().take(served) {
        core.serve(frame);
        answered += core.out.len() as u64;
    }
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_served_and_repeats() {
        for shape in SHAPES {
            let (one, ten) = (run(shape, 10, 1), run(shape, 10, 10));
            assert!(one > 40 && ten == 10 * one, "{}: {one} and {ten}", shape.name);
        }
    }

    #[test]
    fn an_answer_tells_the_offset() {
        let mut core = Core::new();
        let frame = produce_frame(3, 10, None);
        core.serve(&frame);
        core.serve(&frame);
        // Length, correlation id, tags; one topic: its id, one partition: index, error, offset.
        assert_eq!(core.out[9..10], [2]);
        assert_eq!(core.out[10..26], TOPIC.0);
        assert_eq!(core.out[26..41], [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    }
}
