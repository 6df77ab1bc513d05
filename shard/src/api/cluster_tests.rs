//! ApiVersions, InitProducerId, ListOffsets, OffsetForLeaderEpoch, DescribeProducers, DescribeLogDirs over their versions.

use super::super::testing::{CORES, Node, ORDERS, key};
use super::super::{begin, finish};
use super::*;
use ringlog_net::cold::messages::describe_log_dirs_request::DescribableLogDirTopic;
use ringlog_net::cold::messages::describe_producers_request::TopicRequest;
use ringlog_net::cold::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ringlog_net::cold::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use ringlog_net::cold::messages::{ApiVersionsRequest, TransactionalId};

fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

#[test]
fn versions_are_told() {
    for version in 0..=4 {
        let response = Node::new().ask(version, ApiVersionsRequest::default());
        assert_eq!((response.error_code, response.api_keys.len()), (0, ringlog_net::api::advertised().count()));
    }
}

#[test]
fn producers_get_ids() {
    for version in 0..=5 {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let mut stated = request.clone();
        if version >= 3 {
            stated = stated.with_producer_id(9.into()).with_producer_epoch(2);
        }
        for request in [request.clone(), stated] {
            let response = Node::new().call(version, request, |target, question| {
                assert_eq!(target, Target::Controller);
                assert!(matches!(question, Question::Control(Command::ProducerId)));
                Answer::Control(Outcome::ProducerId(Ok(4711)))
            });
            assert_eq!((response.error_code, response.producer_id.0, response.producer_epoch), (0, 4711, 0));
        }
        let failed = |_, _| Answer::Control(Outcome::ProducerId(Err(ErrorCode::KafkaStorageError)));
        let response = Node::new().call(version, request.clone(), failed);
        assert_eq!((response.error_code, response.producer_id.0, response.producer_epoch), (56, -1, -1));
        let with_id = |id: &str| request.clone().with_transactional_id(Some(TransactionalId(text(id))));
        assert_eq!(Node::new().ask(version, with_id("t")).error_code, 53);
        assert_eq!(Node::new().ask(version, with_id("")).error_code, 42);
    }
    let half = InitProducerIdRequest::default().with_transactional_id(None).with_producer_id(9.into());
    assert_eq!(Node::new().ask(3, half.with_producer_epoch(-1)).error_code, 42);
}

fn listing(topics: &[(&str, &[(i32, i64)])]) -> ListOffsetsRequest {
    let topic = |(one, partitions): &(&str, &[(i32, i64)])| {
        let partition = |(index, timestamp): &(i32, i64)| {
            let partition = ListOffsetsPartition::default().with_partition_index(*index).with_timestamp(*timestamp);
            partition.with_current_leader_epoch(3)
        };
        ListOffsetsTopic::default().with_name(name(one)).with_partitions(partitions.iter().map(partition).collect())
    };
    ListOffsetsRequest::default().with_topics(topics.iter().map(topic).collect())
}

/// Every core finds offset 10 x partition, or what the timestamp says.
fn found(target: Target, question: Question) -> Answer {
    let Question::Offsets(asks) = question else { panic!("{question:?}") };
    let one = |ask: &OffsetAsk| {
        assert_eq!(target, Target::Core(owner(ask.key, CORES)));
        assert_eq!(ask.leader_epoch, 3);
        let offset = i64::from(ask.key.partition) * 10 - ask.timestamp;
        OffsetFound { error: ErrorCode::None, timestamp: -1, offset, leader_epoch: 3 }
    };
    Answer::Offsets(asks.iter().map(one).collect())
}

fn offsets(response: &ListOffsetsResponse) -> Vec<(i32, i16, i64)> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|row| (row.partition_index, row.error_code, row.offset)).collect()
}

#[test]
fn offsets_come_back_in_the_order_of_the_request() {
    for version in 1..=10 {
        let request =
            listing(&[("orders", &[(2, -1), (0, -2), (9, -1), (1, -1)]), ("none", &[(0, -1)]), ("table", &[(0, -2)])]);
        let response = Node::new().call(version, request, found);
        let expected = [(2, 0, 21), (0, 0, 2), (9, 3, -1), (1, 0, 11), (0, 3, -1), (0, 0, 2)];
        assert_eq!(offsets(&response), expected, "{version}");
        assert_eq!(response.topics[2].name.as_str(), "table");
        if version >= 4 {
            assert_eq!(response.topics[0].partitions[0].leader_epoch, 3);
        }
    }
}

#[test]
fn special_times_have_their_versions() {
    for (timestamp, from) in [(-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (-7, 99), (i64::MIN, 99), (5, 1)] {
        for version in 1..=10 {
            let response = Node::new().call(version, listing(&[("orders", &[(0, timestamp), (1, -1)])]), found);
            let expected = match timestamp {
                _ if version < from => (0, 35, -1),
                -4 => (0, 0, 2),
                -5 => (0, 0, -1),
                timestamp => (0, 0, -timestamp),
            };
            assert_eq!(offsets(&response), [expected, (1, 0, 11)], "{timestamp} {version}");
        }
    }
    // Version 11 reads as 10: nothing is waiting for its upload.
    let node = Node::new();
    for (version, code) in [(10, 35), (11, 0)] {
        let mut out = Vec::new();
        let step = begin(&node.context(), listing(&[("orders", &[(0, -6)])]).into(), version, 77, &mut out);
        assert!(matches!(step, Step::Done));
        let response = super::super::testing::read::<ListOffsetsRequest>(10, &out);
        assert_eq!(offsets(&response), [(0, code, -1)]);
    }
}

#[test]
fn the_first_version_answers_a_list() {
    let node = Node::new();
    let mut out = Vec::new();
    let step = begin(&node.context(), listing(&[("orders", &[(1, -1)])]).into(), 0, 77, &mut out);
    let Step::Ask { mut questions, kept } = step else { panic!("nobody is asked") };
    let (target, question) = questions.remove(0);
    finish(&node.context(), kept, vec![found(target, question)], 0, 77, &mut out);
    let body = &out[8..];
    assert_eq!(body[..12], [0, 0, 0, 1, 0, 6, b'o', b'r', b'd', b'e', b'r', b's']);
    assert_eq!(body[12..], [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 11]);
}

#[test]
fn a_partition_listed_twice_is_refused() {
    let response = Node::new().call(5, listing(&[("orders", &[(0, -1), (1, -1)]), ("orders", &[(0, -2)])]), found);
    assert_eq!(offsets(&response), [(0, 42, -1), (1, 0, 11), (0, 42, -1)]);
}

#[test]
fn epochs_end_where_their_owners_say() {
    let partition = |index| {
        OffsetForLeaderPartition::default().with_partition(index).with_leader_epoch(2).with_current_leader_epoch(-1)
    };
    let topic = OffsetForLeaderTopic::default().with_topic(name("orders"));
    let topic = topic.with_partitions(vec![partition(1), partition(5), partition(0)]);
    for version in 2..=4 {
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic.clone()]);
        let response = Node::new().call(version, request, |_, question| {
            let Question::EpochEnds(asked) = question else { panic!("{question:?}") };
            let end = |(key, current, epoch): &(PartitionKey, i32, i32)| {
                assert_eq!((*current, *epoch), (-1, 2));
                (ErrorCode::None, 1, i64::from(key.partition) + 40)
            };
            Answer::EpochEnds(asked.iter().map(end).collect())
        });
        let row = |row: &EpochEndOffset| (row.partition, row.error_code, row.leader_epoch, row.end_offset);
        let rows: Vec<_> = response.topics[0].partitions.iter().map(row).collect();
        assert_eq!(rows, [(1, 0, 1, 41), (5, 3, -1, -1), (0, 0, 1, 40)]);
    }
}

#[test]
fn producers_are_described_once() {
    let topic = TopicRequest::default().with_name(name("orders")).with_partition_indexes(vec![1, 8, 0, 1]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let response = Node::new().call(0, request, |_, question| {
        let Question::Producers(keys) = question else { panic!("{question:?}") };
        let view = ProducerView { producer_id: 5, producer_epoch: 1, last_sequence: 9, last_timestamp: 100 };
        let one = |key: &PartitionKey| match key.partition {
            1 => Ok(vec![view]),
            _ => Err(ErrorCode::KafkaStorageError),
        };
        Answer::Producers(keys.iter().map(one).collect())
    });
    let rows = &response.topics[0].partitions;
    let codes: Vec<_> = rows.iter().map(|row| (row.partition_index, row.error_code)).collect();
    assert_eq!(codes, [(1, 0), (8, 3), (0, 56), (1, 42)]);
    let producer = &rows[0].active_producers[0];
    assert_eq!((producer.producer_id.0, producer.producer_epoch, producer.last_sequence), (5, 1, 9));
    assert_eq!((producer.coordinator_epoch, producer.current_txn_start_offset), (-1, -1));
}

fn sizes(_: Target, question: Question) -> Answer {
    let Question::Sizes(keys) = question else { panic!("{question:?}") };
    Answer::Sizes(keys.unwrap().into_iter().map(|key| (key, 500 + key.partition as u64)).collect())
}

#[test]
fn directories_are_described_with_what_they_hold() {
    for version in 1..=4 {
        let mut asked = 0;
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let response = Node::new().call(version, request, |target, question| {
            assert_eq!(target, Target::Core(CoreId(asked)));
            assert!(matches!(question, Question::Sizes(None)));
            asked += 1;
            match asked {
                1 => Answer::Sizes(vec![(key(ORDERS, 0), 10), (key(ORDERS, 2), 30), (key(ORDERS, 9), 1)]),
                2 => Answer::Sizes(vec![(key(ORDERS, 1), 20)]),
                _ => Answer::Sizes(Vec::new()),
            }
        });
        assert_eq!((asked, response.error_code), (CORES, 0));
        let [good, failed] = &response.results[..] else { panic!("{response:?}") };
        assert_eq!((good.log_dir.as_str(), good.error_code, good.topics.len()), ("/a", 0, 1));
        let held: Vec<_> =
            good.topics[0].partitions.iter().map(|row| (row.partition_index, row.partition_size)).collect();
        assert_eq!((good.topics[0].name.as_str(), held), ("orders", vec![(0, 10), (1, 20)]));
        assert_eq!((failed.log_dir.as_str(), failed.error_code, failed.topics.len()), ("/b", 56, 0));
        if version >= 4 {
            assert_eq!((good.total_bytes, good.usable_bytes), (1000, 400));
            assert_eq!((failed.total_bytes, failed.usable_bytes), (-1, -1));
        }
    }
}

#[test]
fn directories_are_asked_about_some_partitions() {
    let topic = |one: &str, partitions: &[i32]| {
        DescribableLogDirTopic::default().with_topic(name(one)).with_partitions(partitions.to_vec())
    };
    let topics = vec![topic("orders", &[1, 1, 7]), topic("none", &[0]), topic("table", &[0])];
    let response = Node::new().call(4, DescribeLogDirsRequest::default().with_topics(Some(topics)), sizes);
    let held = &response.results[0].topics;
    assert_eq!(held.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["orders", "table"]);
    assert_eq!((held[0].partitions.len(), held[0].partitions[0].partition_size), (1, 501));
    let nothing = DescribeLogDirsRequest::default().with_topics(Some(vec![topic("none", &[0])]));
    assert!(Node::new().ask(2, nothing).results.iter().all(|dir| dir.topics.is_empty()));
}
