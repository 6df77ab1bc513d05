//! Metadata, DescribeTopicPartitions, DescribeCluster over their versions.

use super::super::testing::{Node, ORDERS};
use super::super::{Command, CreatedTopic};
use super::*;
use ringlog_engine::config::Values;
use ringlog_net::cold::messages::describe_topic_partitions_request::{Cursor as From, TopicRequest};
use ringlog_net::cold::messages::metadata_request::MetadataRequestTopic;

fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn named(names: &[&str]) -> MetadataRequest {
    let topics = names.iter().map(|one| MetadataRequestTopic::default().with_name(Some(name(one))));
    MetadataRequest::default().with_topics(Some(topics.collect()))
}

fn rows(response: &MetadataResponse) -> Vec<(String, i16, usize)> {
    let row = |topic: &MetadataResponseTopic| {
        (topic.name.as_ref().map_or("-", |name| name.as_str()).to_string(), topic.error_code, topic.partitions.len())
    };
    response.topics.iter().map(row).collect()
}

#[test]
fn all_topics_in_every_version() {
    let node = Node::new();
    for version in 0..=13 {
        let topics = if version == 0 { Some(Vec::new()) } else { None };
        let response = node.ask(version, MetadataRequest::default().with_topics(topics));
        let all = [("__consumer_offsets", 2), ("orders", 3), ("table", 1)];
        assert_eq!(rows(&response), all.map(|(name, partitions)| (name.to_string(), 0, partitions)), "{version}");
        let broker = &response.brokers[0];
        assert_eq!((broker.node_id.0, broker.host.as_str(), broker.port), (1, "broker.test", 9092));
        if version >= 1 {
            assert_eq!(broker.rack.as_ref().unwrap().as_str(), "r1");
            assert_eq!(response.controller_id.0, 1);
            assert!(response.topics[0].is_internal && !response.topics[1].is_internal);
        }
        if version >= 2 {
            assert_eq!(response.cluster_id.as_ref().unwrap().as_str(), "oWAwQSZMRPmz2dFEOq3-ZQ");
        }
        if version >= 10 {
            assert_eq!(response.topics[1].topic_id, uuid_of(ORDERS));
        }
        let partitions = &response.topics[1].partitions;
        assert_eq!((partitions[0].error_code, partitions[0].leader_id.0), (0, 1));
        assert_eq!((partitions[2].error_code, partitions[2].leader_id.0), (5, -1), "its directory failed");
        assert_eq!(partitions[1].isr_nodes, [BrokerId(1)]);
        if version >= 5 {
            assert_eq!(partitions[2].offline_replicas, [BrokerId(1)]);
        }
        if version >= 7 {
            assert_eq!(partitions[0].leader_epoch, 3);
        }
        assert_eq!(response.topics[1].topic_authorized_operations, i32::MIN);
    }
}

#[test]
fn an_empty_list_is_no_topic_from_version_1_on() {
    assert!(Node::new().ask(1, named(&[])).topics.is_empty());
}

#[test]
fn operations_are_told_when_asked_for() {
    let asked = named(&["orders"])
        .with_include_topic_authorized_operations(true)
        .with_include_cluster_authorized_operations(true);
    let response = Node::new().ask(8, asked.clone());
    assert_eq!((response.cluster_authorized_operations, response.topics[0].topic_authorized_operations), (8096, 3576));
    assert_eq!(Node::new().ask(13, asked).cluster_authorized_operations, i32::MIN, "no such field any more");
}

#[test]
fn topics_by_id() {
    let one = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(uuid_of(id));
    let request = MetadataRequest::default().with_topics(Some(vec![one(ORDERS), one(TopicId([1; 16]))]));
    let response = Node::new().ask(12, request.clone());
    assert_eq!(rows(&response), [("orders".to_string(), 0, 3), ("-".to_string(), 100, 0)]);
    assert_eq!(response.topics[1].topic_id, uuid_of(TopicId([1; 16])));
    assert_eq!(rows(&Node::new().ask(10, request))[0], (String::new(), 42, 0));
}

#[test]
fn a_topic_named_many_times_is_answered_once() {
    let response = Node::new().ask(9, named(&["orders", "orders", "table", "orders"]));
    assert_eq!(rows(&response).len(), 2);
    let again = |name: &str| {
        MetadataRequestTopic::default().with_name(Some(TopicName(text(name)))).with_topic_id(uuid_of(ORDERS))
    };
    let request = MetadataRequest::default().with_topics(Some(vec![again("a"), again("b")]));
    assert_eq!(rows(&Node::new().ask(13, request)).len(), 1);
}

#[test]
fn unknown_topics_are_created_and_answered_whole() {
    let mut node = Node::new();
    let request = named(&["new", "orders", "full", "bad/name", "__transaction_state"]);
    let mut out = Vec::new();
    let Step::Ask { questions, kept } = super::super::begin(&node.context(), request.into(), 9, 77, &mut out) else {
        panic!("the controller is not asked");
    };
    let [(Target::Controller, Question::Control(Command::EnsureTopics(names)))] = &questions[..] else {
        panic!("{questions:?}");
    };
    assert_eq!(names, &["full", "new"]);
    node.create("new", TopicId([3; 16]));
    let made = CreatedTopic {
        name: "new".into(),
        id: TopicId([3; 16]),
        partitions: 2,
        replication_factor: 1,
        configs: Values::new(),
    };
    let outcome = Outcome::Created(vec![Err((ErrorCode::PolicyViolation, "full".into())), Ok(made)]);
    super::super::finish(&node.context(), kept, vec![Answer::Control(outcome)], 9, 77, &mut out);
    let response = super::super::testing::read::<MetadataRequest>(9, &out);
    let expected =
        [("new", 0, 2), ("orders", 0, 3), ("full", 44, 0), ("bad/name", 17, 0), ("__transaction_state", 3, 0)];
    assert_eq!(rows(&response), expected.map(|(name, code, partitions)| (name.to_string(), code, partitions)));
}

#[test]
fn nothing_is_created_where_it_is_not_allowed() {
    let unknown = [("new".to_string(), 3, 0)];
    assert_eq!(rows(&Node::new().ask(4, named(&["new"]).with_allow_auto_topic_creation(false))), unknown);
    assert_eq!(rows(&Node::with(&["auto.create.topics.enable=false"]).ask(1, named(&["new"]))), unknown);
}

fn partitions_of(response: &DescribeTopicPartitionsResponse) -> Vec<(String, i16, Vec<i32>)> {
    let row = |topic: &DescribeTopicPartitionsResponseTopic| {
        let indexes = topic.partitions.iter().map(|partition| partition.partition_index).collect();
        (topic.name.as_ref().unwrap().to_string(), topic.error_code, indexes)
    };
    response.topics.iter().map(row).collect()
}

#[test]
fn topics_are_described_page_by_page() {
    let node = Node::new();
    let (mut cursor, mut all, mut pages) = (None, Vec::new(), 0);
    loop {
        let request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(2).with_cursor(cursor);
        let response = node.ask(0, request);
        pages += 1;
        for (name, code, indexes) in partitions_of(&response) {
            assert_eq!(code, 0);
            all.extend(indexes.into_iter().map(|index| (name.clone(), index)));
        }
        let Some(next) = response.next_cursor else { break };
        cursor = Some(From::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index));
    }
    let expected = [("__consumer_offsets", 2), ("orders", 3), ("table", 1)];
    let expected = expected.iter().flat_map(|(name, count)| (0..*count).map(|index| (name.to_string(), index)));
    assert_eq!((all, pages), (expected.collect::<Vec<_>>(), 3));
}

#[test]
fn named_topics_are_described_with_what_is_wrong_with_them() {
    let one = |name: &str| TopicRequest::default().with_name(TopicName(text(name)));
    let request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(2000).with_topics(vec![
        one("table"),
        one("none"),
        one("a b"),
        one("orders"),
    ]);
    let response = Node::new().ask(0, request.clone());
    assert_eq!(
        partitions_of(&response),
        [
            ("a b".to_string(), 17, vec![]),
            ("none".to_string(), 3, vec![]),
            ("orders".to_string(), 0, vec![0, 1, 2]),
            ("table".to_string(), 0, vec![0])
        ]
    );
    let offline = &response.topics[2].partitions[2];
    assert_eq!((offline.error_code, offline.leader_id.0, offline.offline_replicas.len()), (5, -1, 1));
    assert_eq!(response.topics[3].topic_authorized_operations, 3576);
    let cursor = From::default().with_topic_name(name("orders")).with_partition_index(-1);
    let refused = Node::new().ask(0, request.with_cursor(Some(cursor)));
    assert_eq!(refused.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), [42; 4]);
}

#[test]
fn the_cluster_is_described() {
    for version in 0..=2 {
        let response = Node::new().ask(version, DescribeClusterRequest::default());
        assert_eq!((response.error_code, response.controller_id.0, response.brokers.len()), (0, 1, 1));
        assert_eq!((response.error_message, response.cluster_authorized_operations), (None, i32::MIN));
        assert_eq!(response.cluster_id.as_str(), "oWAwQSZMRPmz2dFEOq3-ZQ");
        assert_eq!((response.brokers[0].host.as_str(), response.brokers[0].port), ("broker.test", 9092));
    }
    let asked = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    assert_eq!(Node::new().ask(1, asked.clone()).cluster_authorized_operations, 8096);
    assert_eq!(Node::new().ask(1, asked.clone().with_endpoint_type(2)).error_code, 114);
    assert_eq!(Node::new().ask(2, asked.with_endpoint_type(9)).error_code, 115);
}
