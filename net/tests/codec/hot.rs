//! Produce and Fetch by hand against `kafka-protocol`: views of requests it wrote, answers it reads, in every version.

use std::collections::HashSet;

use crate::samples::{body_of, hot};
use ringlog_engine::ErrorCode;
use ringlog_engine::rope::Rope;
use ringlog_engine::types::TopicId;
use ringlog_net::cold::decode_response;
use ringlog_net::cold::messages::{self as m, BrokerId, TransactionalId};
use ringlog_net::fetch::{FetchAnswer, FetchHead, FetchPartition, FetchPartitionAnswer, FetchRequest};
use ringlog_net::produce::{ProduceAnswer, ProducePartitionAnswer, ProduceRequest};
use ringlog_net::refusal::Refusal;
use ringlog_net::wire::{TopicName, TopicRef};

fn bytes_of(rope: Rope<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    rope.append_to(&mut out);
    out
}

/// A topic as its name, or its id, in bytes.
fn named(topic: TopicRef<'_>) -> Vec<u8> {
    match topic {
        TopicRef::Name(name) => bytes_of(name),
        TopicRef::Id(TopicId(id)) => id.to_vec(),
    }
}

type Parts = Vec<(Vec<u8>, Vec<(i32, Option<Vec<u8>>)>)>;

fn produce_seen(request: &ProduceRequest<'_>) -> Parts {
    let topics = request.topics().map(|topic| {
        let parts: Vec<_> = topic.partitions().map(|p| (p.index, p.records.map(bytes_of))).collect();
        assert_eq!(parts.len(), topic.partition_count());
        (named(topic.topic), parts)
    });
    topics.collect()
}

fn produce_sent(request: &m::ProduceRequest, by_id: bool) -> Parts {
    let topics = request.topic_data.iter().map(|topic| {
        let name = if by_id { topic.topic_id.as_bytes().to_vec() } else { topic.name.as_bytes().to_vec() };
        let parts = topic.partition_data.iter().map(|p| (p.index, p.records.as_ref().map(|r| r.to_vec())));
        (name, parts.collect())
    });
    topics.collect()
}

#[test]
fn produce_requests_are_seen_as_they_were_sent() {
    for version in 3..=13 {
        let mut sent = hot::produce(version);
        for transactional_id in [Some(TransactionalId(crate::samples::s("tx"))), None] {
            sent.transactional_id = transactional_id;
            let body = body_of(&sent, version);
            for cut in 0..=body.len() {
                let pieces = [&body[..cut], &body[cut..]];
                let seen = ProduceRequest::parse(version, Rope::new(&pieces)).unwrap();
                assert_eq!((seen.acks, seen.timeout_ms), (-1, 1500));
                let id = sent.transactional_id.as_ref().map(|id| id.as_bytes().to_vec());
                assert_eq!(seen.transactional_id.map(bytes_of), id);
                assert_eq!((seen.topic_count(), seen.partition_count()), (2, 3));
                assert_eq!(produce_seen(&seen), produce_sent(&sent, version >= 13), "version {version}");
                let cut_short = ProduceRequest::parse(version, Rope::of(&body[..cut]));
                assert_eq!(cut_short.is_ok(), cut == body.len(), "version {version} cut at {cut}");
            }
            let longer = [&body[..], b"x"].concat();
            let seen = ProduceRequest::parse(version, Rope::of(&longer)).unwrap();
            assert_eq!(
                produce_seen(&seen),
                produce_sent(&sent, version >= 13),
                "bytes after the last field are ignored"
            );
        }
    }
}

fn fetch_seen(request: &FetchRequest<'_>) -> Vec<(Vec<u8>, Vec<FetchPartition>)> {
    request.topics().map(|topic| (named(topic.topic), topic.partitions().collect())).collect()
}

fn fetch_sent(request: &m::FetchRequest, version: i16) -> Vec<(Vec<u8>, Vec<FetchPartition>)> {
    let since = |first: i16, value: i32| if version >= first { value } else { -1 };
    let topics = request.topics.iter().map(|topic| {
        let name = if version >= 13 { topic.topic_id.as_bytes().to_vec() } else { topic.topic.as_bytes().to_vec() };
        let parts = topic.partitions.iter().map(|p| FetchPartition {
            index: p.partition,
            current_leader_epoch: since(9, p.current_leader_epoch),
            fetch_offset: p.fetch_offset,
            last_fetched_epoch: since(12, p.last_fetched_epoch),
            log_start_offset: if version >= 5 { p.log_start_offset } else { -1 },
            max_bytes: p.partition_max_bytes,
        });
        (name, parts.collect())
    });
    topics.collect()
}

#[test]
fn fetch_requests_are_seen_as_they_were_sent() {
    for version in 4..=18 {
        let sent = hot::fetch(version);
        let body = body_of(&sent, version);
        for cut in 0..=body.len() {
            let pieces = [&body[..cut], &body[cut..]];
            let seen = FetchRequest::parse(version, Rope::new(&pieces)).unwrap();
            assert_eq!((seen.max_wait_ms, seen.min_bytes, seen.max_bytes), (500, 1, 1 << 20));
            assert_eq!(seen.isolation_level, 1);
            assert_eq!(seen.replica_id, if version >= 15 { 6 } else { -1 }, "version {version}");
            assert_eq!(seen.replica_epoch, if version >= 15 { 12 } else { -1 });
            assert_eq!((seen.session_id, seen.session_epoch), if version >= 7 { (77, 3) } else { (0, -1) });
            assert_eq!(bytes_of(seen.rack_id), if version >= 11 { b"rack".to_vec() } else { vec![] });
            assert_eq!((seen.topic_count(), seen.partition_count()), (2, 3));
            assert_eq!(fetch_seen(&seen), fetch_sent(&sent, version), "version {version}");
            let forgotten: Vec<_> =
                seen.forgotten_topics().map(|t| (named(t.topic), t.partitions().collect::<Vec<_>>())).collect();
            let name = if version >= 13 { crate::samples::ID.to_vec() } else { b"gone".to_vec() };
            assert_eq!(forgotten, if version >= 7 { vec![(name, vec![4, 5])] } else { vec![] });
            let cut_short = FetchRequest::parse(version, Rope::of(&body[..cut]));
            assert_eq!(cut_short.is_ok(), cut == body.len(), "version {version} cut at {cut}");
        }
    }
}

#[test]
fn counts_that_lie_are_refused() {
    let lies = b"\xff\xff\xff\xff\0\0\x05\xdc\x7f\xff\xff\xff\0\x01t";
    let refused = ProduceRequest::parse(3, Rope::of(lies)).unwrap_err();
    assert_eq!(refused, Refusal::CountBeyondBody { count: 0x7fff_ffff, remaining: 3 });
    let null_topics = b"\xff\xff\xff\xff\0\0\x05\xdc\xff\xff\xff\xff";
    assert_eq!(ProduceRequest::parse(3, Rope::of(null_topics)).unwrap_err(), Refusal::NullNotAllowed);
    // A replica state that is longer than it says, and one that is shorter.
    for (size, refusal) in [(14, Refusal::BadTaggedField { tag: 1 }), (12, Refusal::Truncated)] {
        let mut body = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x01\x01\x01".to_vec();
        body.push(size);
        body.resize(body.len() + usize::from(size), 0);
        assert_eq!(FetchRequest::parse(15, Rope::of(&body)).unwrap_err(), refusal);
    }
}

fn topic_names<'a>(by_id: bool) -> [TopicName<'a>; 2] {
    if by_id {
        [TopicName::Id(TopicId(crate::samples::ID)), TopicName::Id(TopicId::METADATA)]
    } else {
        [TopicName::Name("topic"), TopicName::Name("other")]
    }
}

#[test]
fn produce_answers_are_read_as_they_were_meant() {
    for version in 3..=13 {
        let mut out = vec![0xaa; 5];
        let mut answer = ProduceAnswer::begin(&mut out, version, 99, 2);
        let [first, second] = topic_names(version >= 13);
        answer.topic(&mut out, first, 2);
        let placed = answer.partition(&mut out, &ProducePartitionAnswer::failed(0, ErrorCode::None));
        let bad = ProducePartitionAnswer {
            record_errors: &[(2, Some("too old")), (3, None)],
            error_message: Some("bad batch"),
            log_start_offset: 5,
            ..ProducePartitionAnswer::failed(1, ErrorCode::InvalidRecord)
        };
        answer.partition(&mut out, &bad);
        answer.topic(&mut out, second, 1);
        answer.partition(&mut out, &ProducePartitionAnswer::failed(7, ErrorCode::NotLeaderOrFollower));
        let len = answer.finish(&mut out, 250);
        assert_eq!(len, out.len() - 5);
        placed.apply(&mut out, ErrorCode::KafkaStorageError, 1234, 777, 11);

        let (correlation, read) = decode_response::<m::ProduceRequest>(version, &out[9..]).unwrap();
        assert_eq!((correlation, read.throttle_time_ms, read.responses.len()), (99, 250, 2));
        let topic = &read.responses[0];
        if version >= 13 {
            assert_eq!(topic.topic_id.as_bytes(), &crate::samples::ID);
        } else {
            assert_eq!(topic.name.as_str(), "topic");
        }
        let p = &topic.partition_responses[0];
        assert_eq!((p.index, p.error_code, p.base_offset, p.log_append_time_ms), (0, 56, 1234, 777));
        assert_eq!(p.log_start_offset, if version >= 5 { 11 } else { -1 });
        let p = &topic.partition_responses[1];
        assert_eq!((p.index, p.error_code, p.base_offset), (1, 87, -1));
        let errors = p.record_errors.iter().map(|e| (e.batch_index, e.batch_index_error_message.as_deref()));
        let errors: Vec<_> = errors.map(|(at, why)| (at, why.map(str::to_string))).collect();
        if version >= 8 {
            assert_eq!(errors, [(2, Some("too old".to_string())), (3, None)]);
            assert_eq!(p.error_message.as_ref().map(|t| t.as_str()), Some("bad batch"));
        } else {
            assert!(errors.is_empty() && p.error_message.is_none());
        }
        let p = &read.responses[1].partition_responses[0];
        assert_eq!((p.index, p.error_code), (7, 6));
    }
}

/// What is sent: the vector with the records at their positions.
fn interleaved(out: &[u8], records: &[(usize, &[u8])]) -> Vec<u8> {
    let (mut sent, mut at) = (Vec::new(), 0);
    for (position, bytes) in records {
        sent.extend_from_slice(&out[at..*position]);
        sent.extend_from_slice(bytes);
        at = *position;
    }
    sent.extend_from_slice(&out[at..]);
    sent
}

#[test]
fn fetch_answers_are_read_as_they_were_meant() {
    let long = vec![7u8; 70_000];
    for version in 4..=18 {
        let mut out = Vec::new();
        let head = FetchHead {
            version,
            correlation_id: 99,
            throttle_ms: 250,
            error: ErrorCode::None,
            session_id: 77,
            topic_count: 2,
        };
        let mut answer = FetchAnswer::begin(&mut out, &head);
        let [first, second] = topic_names(version >= 13);
        answer.topic(&mut out, first, 2);
        let full = FetchPartitionAnswer {
            index: 0,
            error: ErrorCode::None,
            high_watermark: 100,
            last_stable_offset: 90,
            log_start_offset: 5,
            aborted: Some(&[(8, 50), (9, 60)]),
            preferred_read_replica: -1,
            diverging: None,
            records_len: long.len(),
        };
        let at_long = answer.partition(&mut out, &full);
        let small = FetchPartitionAnswer { index: 1, records_len: 3, aborted: None, ..full };
        let at_small = answer.partition(&mut out, &small);
        answer.topic(&mut out, second, 1);
        let diverged =
            FetchPartitionAnswer { diverging: Some((4, 33)), ..FetchPartitionAnswer::failed(2, ErrorCode::None) };
        answer.partition(&mut out, &diverged);
        let len = answer.finish(&mut out);
        let sent = interleaved(&out, &[(at_long, &long), (at_small, b"abc")]);
        assert_eq!(len, sent.len());
        assert_eq!(sent[..4], (len as u32 - 4).to_be_bytes());

        let (correlation, read) = decode_response::<m::FetchRequest>(version, &sent[4..]).unwrap();
        assert_eq!((correlation, read.throttle_time_ms, read.error_code), (99, 250, 0));
        assert_eq!(read.session_id, if version >= 7 { 77 } else { 0 });
        check_fetch_partitions(version, &read, &long);
    }
}

fn check_fetch_partitions(version: i16, read: &m::FetchResponse, long: &[u8]) {
    let p = &read.responses[0].partitions[0];
    assert_eq!((p.partition_index, p.high_watermark, p.last_stable_offset), (0, 100, 90));
    assert_eq!(p.log_start_offset, if version >= 5 { 5 } else { -1 });
    assert_eq!(p.preferred_read_replica, BrokerId(-1));
    let aborted: Vec<_> =
        p.aborted_transactions.as_ref().unwrap().iter().map(|a| (a.producer_id.0, a.first_offset)).collect();
    assert_eq!(aborted, [(8, 50), (9, 60)]);
    assert_eq!(p.records.as_deref(), Some(long));
    let p = &read.responses[0].partitions[1];
    assert_eq!((p.partition_index, p.records.as_deref()), (1, Some(&b"abc"[..])));
    assert!(p.aborted_transactions.is_none());
    let p = &read.responses[1].partitions[0];
    assert_eq!((p.partition_index, p.records.as_deref()), (2, Some(&b""[..])));
    let diverged = (p.diverging_epoch.epoch, p.diverging_epoch.end_offset);
    assert_eq!(diverged, if version >= 12 { (4, 33) } else { (-1, -1) });
    let names: HashSet<_> = read.responses.iter().map(|t| (t.topic.to_string(), t.topic_id)).collect();
    assert_eq!(names.len(), 2);
}

#[test]
#[should_panic(expected = "fewer partitions than announced")]
fn a_partition_left_out_is_our_bug() {
    let mut out = Vec::new();
    let mut answer = ProduceAnswer::begin(&mut out, 9, 1, 1);
    answer.topic(&mut out, TopicName::Name("t"), 1);
    answer.finish(&mut out, 0);
}
