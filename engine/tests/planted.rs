//! The planted bugs of the engine, but for those of groups: each changes what the engine says, in the way its text tells.
#![cfg(feature = "probes")]

use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{
    BatchBuilder, BatchHeader, HEADER_LEN, Rules, Scratch, TimestampType, checksum_matches, validate,
};
use ringlog_engine::codec::{Codec, Encoder, TargetCodec};
use ringlog_engine::log::index::SegmentIndex;
use ringlog_engine::log::journal::{BLOCK, FRAME_HEADER_LEN, FrameHeader, Record, read_journal};
use ringlog_engine::log::partition::{LogConfig, PartitionLog};
use ringlog_engine::log::recover::Replay;
use ringlog_engine::metadata::{Entry, Image};
use ringlog_engine::probe::{Bug, plant};
use ringlog_engine::producer::{Check, ProducerStates};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{PartitionKey, TopicId, WallMs};
use std::fmt::Debug;

/// What is seen, as it should be and with the bug.
fn shows<T: PartialEq + Debug>(bug: Bug, see: impl Fn() -> T, right: T, wrong: T) {
    assert_eq!(see(), right);
    plant(Some(bug));
    let seen = see();
    plant(None);
    assert_eq!(seen, wrong, "{bug:?}");
}

const KEY: PartitionKey = PartitionKey { topic: TopicId([7; 16]), partition: 0 };

/// An entry for each batch: of one record, 100 bytes, and these timestamps.
fn index(timestamps: &[i64]) -> SegmentIndex {
    let mut index = SegmentIndex::default();
    for (k, timestamp) in timestamps.iter().enumerate() {
        index.note(k as u32, 100 * k as u32, 100, *timestamp, k as i64, 0);
    }
    index
}

#[test]
fn indexes() {
    shows(Bug::IndexOffByOne, || index(&[1, 2, 3]).position_of(1), 100, 200);
    shows(Bug::TimeIndexOffByOne, || index(&[1, 5, 5, 6]).position_of_time(5), 100, 300);
    shows(Bug::TimeIndexFirst, || index(&[1, 9]).max_timestamp, 9, 1);
}

const CONFIG: LogConfig = LogConfig {
    segment_bytes: 200,
    segment_ms: i64::MAX,
    segment_jitter_ms: 0,
    segment_index_bytes: 4096,
    index_interval_bytes: 4096,
    retention_ms: -1,
    retention_bytes: -1,
    delete: true,
};

/// The log start after retention of a log of three segments, with two batches of 100 bytes in each; all began at 0.
fn retained(config: LogConfig, now: i64) -> i64 {
    let mut log = PartitionLog::empty(KEY, WallMs(0), ProducerStates::new(1));
    for k in 0..6 {
        let header = BatchHeader { batch_length: 88, max_timestamp: 1000 * (k + 1), ..BatchHeader::default() };
        log.append(&header, 0, WallMs(0), &config);
    }
    log.on_visible(log.next_offset(), log.end());
    log.retain(WallMs(now), &config).expect("every index is there");
    log.log_start()
}

#[test]
fn retention() {
    let by_size = LogConfig { retention_bytes: 400, ..CONFIG };
    shows(Bug::RetentionOneTooMany, || retained(by_size, 0), 2, 4);
    let by_time = LogConfig { retention_ms: 5000, ..CONFIG };
    shows(Bug::RetentionByCreation, || retained(by_time, 7500), 2, 6);
}

/// A journal of frames that each append one batch of one record; `durable` is what the last says of those before it. `torn`: that frame
/// is not whole. `direct`: the batches went to their segment, the frames tell of them.
fn journal(frames: u64, durable: u64, torn: Option<u64>, direct: bool) -> Vec<u8> {
    let mut file = Vec::new();
    for k in 0..frames {
        let header = BatchHeader { base_offset: k as i64, batch_length: 88, record_count: 1, ..BatchHeader::default() };
        let mut batch = header.encode().to_vec();
        batch.resize(100, 1);
        let (segment, position) = (0, 100 * k as u32);
        let (record, payload) = match direct {
            true => {
                (Record::Extent { key: KEY, segment, position, headers: &batch[..HEADER_LEN] }, &batch[..HEADER_LEN])
            }
            false => (Record::Append { key: KEY, segment, position, bytes: &batch }, &batch[..]),
        };
        let mut body = record.header(payload.len()).to_vec();
        body.extend(payload);
        let frame = FrameHeader {
            core: 0,
            incarnation: 1,
            lap: 0,
            sequence: k + 1,
            position: file.len() as u64,
            durable_sequence: durable.min(k),
            len: (FRAME_HEADER_LEN + body.len()) as u32,
            record_count: 1,
            records_crc: crc32c::crc32c(&body),
        };
        let start = file.len();
        file.extend(frame.encode());
        file.extend(body);
        file.resize(start + BLOCK, 0);
        if torn == Some(k + 1) {
            file[start + 80] ^= 1;
        }
    }
    file
}

#[test]
fn recovery() {
    // The older of the two frames that were on their way is torn.
    let torn = journal(4, 2, Some(3), false);
    let told = || {
        let journal = read_journal(0, 1, [&torn, &[]]).expect("no newer format");
        (journal.frames.len(), journal.holes.len())
    };
    shows(Bug::TornFrameAHole, told, (2, 0), (3, 1));
    let direct = journal(3, 2, None, true);
    let unproven = || {
        let mut replay = Replay::default();
        replay.journal(0, 1, &read_journal(0, 1, [&direct, &[]]).expect("no newer format")).expect("it is readable");
        replay.finish()[&KEY].appended.iter().map(|batch| batch.unproven).collect::<Vec<_>>()
    };
    shows(Bug::UnflushedProven, unproven, vec![false, false, true], vec![false; 3]);
}

/// A batch of producer 1.
fn sent(base_sequence: i32, records: i32) -> BatchHeader {
    BatchHeader {
        producer_id: 1,
        base_sequence,
        last_offset_delta: records - 1,
        record_count: records,
        ..BatchHeader::default()
    }
}

/// What is answered to a batch after others, sent at these times, one record after the other.
fn checked(before: &[(i32, i32)], batch: (i32, i32)) -> Result<Option<i64>, ErrorCode> {
    let mut states = ProducerStates::new(10);
    let mut offset = 0;
    for (sequence, records) in before {
        states.record(&sent(*sequence, *records), offset, WallMs(0));
        offset += i64::from(*records);
    }
    states.check(&sent(batch.0, batch.1)).map(|check| match check {
        Check::New => None,
        Check::Duplicate { base_offset, .. } => Some(base_offset),
    })
}

#[test]
fn producers() {
    let five = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)];
    let refused = Err(ErrorCode::OutOfOrderSequenceNumber);
    shows(Bug::FourBatches, || checked(&five, (0, 1)), Ok(Some(0)), refused);
    shows(Bug::FourBatches, || checked(&five, (1, 1)), Ok(Some(1)), Ok(Some(1)));
    shows(Bug::GapLetThrough, || checked(&five, (6, 1)), refused, Ok(None));
    shows(Bug::DuplicateOffset, || checked(&[(0, 1), (1, 3)], (1, 3)), Ok(Some(1)), Ok(Some(3)));
    let read_again = || {
        let mut states = ProducerStates::new(10);
        states.record(&sent(i32::MAX - 1, 4), 0, WallMs(0));
        let mut bytes = Vec::new();
        states.encode(&mut bytes);
        ProducerStates::decode(&bytes, 10).is_ok()
    };
    shows(Bug::WrapNotMasked, read_again, true, false);
    let forgotten = || {
        let mut states = ProducerStates::new(10);
        states.record(&sent(0, 1), 0, WallMs(0));
        states.record(&sent(1, 1), 1, WallMs(900));
        states.expire(WallMs(1000), 1000)
    };
    shows(Bug::ExpiresFromFirstUse, forgotten, 0, 1);
}

/// A batch of one record, validated for a topic with LogAppendTime: whose time it has and whether its checksum holds.
fn appended(compression: TargetCodec) -> (TimestampType, bool) {
    let mut builder = BatchBuilder::new();
    builder.append(500, None, Some(&[7; 100]), &[]);
    let (mut encoder, mut batch) = (Encoder::default(), Vec::new());
    builder.finish(0, -1, Codec::None, 0, &mut encoder, &mut batch);
    let rules = Rules {
        now: WallMs(1000),
        max_message_bytes: 1 << 20,
        timestamp_type: TimestampType::LogAppendTime,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        compacted: false,
        compression,
        decompressed_max_bytes: 1 << 20,
        produce_version: 9,
    };
    let mut scratch = Scratch::default();
    let validated = validate(Rope::of(&batch), &rules, &mut scratch).expect("a good batch");
    let mut stored = validated.header.encode().to_vec();
    validated.body(Rope::of(&batch), &scratch).append_to(&mut stored);
    (validated.header.timestamp_type(), checksum_matches(Rope::of(&stored)))
}

#[test]
fn batches() {
    let log = TimestampType::LogAppendTime;
    shows(Bug::ChecksumKept, || appended(TargetCodec::Producer), (log, true), (log, false));
    let anew = || appended(TargetCodec::fixed(Codec::Gzip));
    shows(Bug::AppendTimeUnmarked, anew, (log, true), (TimestampType::CreateTime, true));
}

#[test]
fn metadata() {
    let settings = || {
        let mut image = Image::default();
        let row = ringlog_engine::metadata::PartitionRow { dir: [1; 16], leader_epoch: 0 };
        let setting = ringlog_engine::metadata::Setting { name: "retention.ms".into(), value: "5".into() };
        let created = Entry::TopicCreated {
            name: "t".into(),
            id: [7; 16],
            internal: false,
            partitions: vec![row],
            configs: vec![setting],
        };
        for entry in [Entry::ClusterCreated { cluster_id: "c".into(), node_id: 1 }, created] {
            image.apply(&entry).expect("it follows");
        }
        let again = Image::from_snapshot(image.snapshot()).expect("a snapshot");
        again.topic("t").expect("it was created").configs.len()
    };
    shows(Bug::SnapshotWithoutSettings, settings, 1, 0);
}
