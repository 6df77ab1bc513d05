//! CreateTopics, DeleteTopics, CreatePartitions, DeleteRecords over their versions.

use super::super::testing::{CORES, Node, ORDERS, TABLE, key};
use super::super::{begin, finish, owner};
use super::*;
use ringlog_engine::config::Values;
use ringlog_net::cold::messages::create_partitions_request::CreatePartitionsTopic;
use ringlog_net::cold::messages::create_topics_request::CreatableTopicConfig;
use ringlog_net::cold::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn creating(names: &[&str]) -> CreateTopicsRequest {
    let config = CreatableTopicConfig::default().with_name(text("retention.ms")).with_value(Some(text("5")));
    let topic = |one: &&str| {
        CreatableTopic::default().with_name(name(one)).with_num_partitions(4).with_configs(vec![config.clone()])
    };
    CreateTopicsRequest::default().with_topics(names.iter().map(topic).collect())
}

/// A controller that makes what it can: nothing whose name begins with `x`.
fn controller(_: Target, question: Question) -> Answer {
    let Question::Control(Command::CreateTopics { topics, .. }) = question else { panic!("{question:?}") };
    let result = |topic: NewTopic| match topic.name.starts_with('x') {
        true => Err((ErrorCode::TopicAlreadyExists, format!("Topic '{}' already exists.", topic.name))),
        false => Ok(CreatedTopic {
            name: topic.name,
            id: TopicId([4; 16]),
            partitions: topic.partitions,
            replication_factor: 1,
            configs: topic.configs.into_iter().map(|(name, value)| (name, value.unwrap())).collect::<Values>(),
        }),
    };
    Answer::Control(Outcome::Created(topics.into_iter().map(result).collect()))
}

#[test]
fn topics_are_created_in_every_version() {
    for version in 2..=7 {
        let response = Node::new().call(version, creating(&["a", "xb", "twice", "c", "twice"]), controller);
        let codes = response.topics.iter().map(|topic| (topic.name.as_str(), topic.error_code)).collect::<Vec<_>>();
        assert_eq!(codes, [("a", 0), ("xb", 36), ("twice", 42), ("c", 0)], "{version}");
        let why = |at: usize| response.topics[at].error_message.as_ref().map(|why| why.as_str());
        assert_eq!((why(0), why(1)), (None, Some("Topic 'xb' already exists.")));
        assert_eq!(why(2), Some("Duplicate topic name."));
        if version >= 5 {
            let topic = &response.topics[0];
            assert_eq!((topic.num_partitions, topic.replication_factor), (4, 1));
            let configs = topic.configs.as_ref().unwrap();
            let retention = configs.iter().find(|config| config.name.as_str() == "retention.ms").unwrap();
            assert_eq!((retention.value.as_ref().map(|value| value.as_str()), retention.config_source), (Some("5"), 1));
            assert!(configs.len() > 20);
            assert_eq!((response.topics[1].num_partitions, response.topics[1].replication_factor), (-1, -1));
        }
        if version >= 7 {
            assert_eq!(response.topics[0].topic_id, uuid_of(TopicId([4; 16])));
        }
    }
}

#[test]
fn old_versions_get_codes_alone() {
    let node = Node::new();
    let mut out = Vec::new();
    let Step::Ask { mut questions, kept } = begin(&node.context(), creating(&["a"]).into(), 0, 77, &mut out) else {
        panic!("the controller is not asked");
    };
    let (target, question) = questions.remove(0);
    finish(&node.context(), kept, vec![controller(target, question)], 0, 77, &mut out);
    assert_eq!(out, [0, 0, 0, 13, 0, 0, 0, 77, 0, 0, 0, 1, 0, 1, b'a', 0, 0]);
}

#[test]
fn nobody_is_asked_about_nothing() {
    let response = Node::new().ask(7, creating(&["__cluster_metadata", "b", "b"]));
    assert_eq!(response.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), [42, 42]);
    assert!(Node::new().ask(5, creating(&[])).topics.is_empty());
}

#[test]
fn a_request_makes_so_many_topics_at_most() {
    let names: Vec<_> = (0..=PARTITIONS_PER_REQUEST).map(|at| format!("t{at}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let refused = Node::new().ask(7, creating(&names));
    assert!(refused.topics.len() == names.len() && refused.topics.iter().all(|topic| topic.error_code == 44));
    let made = Node::new().call(4, creating(&names[1..]), controller);
    assert!(made.topics.len() == PARTITIONS_PER_REQUEST && made.topics.iter().all(|topic| topic.error_code == 0));
}

#[test]
fn a_refused_question_is_every_items_refusal() {
    let refuse = |_, _| Answer::Refused(ErrorCode::KafkaStorageError);
    let response = Node::new().call(6, creating(&["a", "b"]), refuse);
    assert_eq!(response.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), [56, 56]);
    assert_eq!(response.topics[0].error_message, None);
}

#[test]
fn texts_no_string_could_carry_are_cut() {
    let refuse =
        |_, _| Answer::Control(Outcome::Created(vec![Err((ErrorCode::InvalidConfig, "\u{e9}".repeat(40_000)))]));
    let response = Node::new().call(4, creating(&["a"]), refuse);
    assert_eq!(response.topics[0].error_message.as_ref().unwrap().len(), 32_766);
}

fn state(name: Option<&str>, id: TopicId) -> DeleteTopicState {
    DeleteTopicState::default().with_name(name.map(|one| TopicName(text(one)))).with_topic_id(uuid_of(id))
}

fn deleting(topics: Vec<DeleteTopicState>) -> DeleteTopicsRequest {
    DeleteTopicsRequest::default().with_topics(topics)
}

#[test]
fn topics_are_deleted_by_name_in_every_version() {
    for version in 1..=6 {
        let node = Node::new();
        // As the codec hands them over, whatever the version.
        let request = deleting(vec![state(Some("orders"), TopicId::ZERO), state(Some("none"), TopicId::ZERO)]);
        let response = node.call(version, request, |_, question| {
            let Question::Control(Command::DeleteTopics(names)) = question else { panic!("{question:?}") };
            assert_eq!(names, ["orders", "none"].map(|name| Named::Name(name.into())));
            let unknown = (ErrorCode::UnknownTopicOrPartition, "This server does not host it.".to_string());
            Answer::Control(Outcome::Deleted(vec![Ok(("orders".into(), ORDERS)), Err(unknown)]))
        });
        let rows = response.responses.iter().map(|row| (row.name.as_ref().unwrap().as_str(), row.error_code));
        assert_eq!(rows.collect::<Vec<_>>(), [("orders", 0), ("none", 3)], "{version}");
        if version >= 6 {
            assert_eq!(response.responses[0].topic_id, uuid_of(ORDERS));
        }
        let disabled = |_, _| Answer::Refused(ErrorCode::TopicDeletionDisabled);
        let response = node.call(version, deleting(vec![state(Some("orders"), TopicId::ZERO)]), disabled);
        assert_eq!(response.responses[0].error_code, if version < 3 { 42 } else { 73 });
    }
}

#[test]
fn topics_are_deleted_by_id_and_nonsense_is_refused() {
    let gone = TopicId([1; 16]);
    let topics = vec![
        state(None, gone),
        state(Some("table"), TopicId::ZERO),
        state(None, TABLE),
        state(None, TopicId::ZERO),
        state(Some("orders"), ORDERS),
        state(None, ORDERS),
        state(None, ORDERS),
    ];
    let response = Node::new().call(6, deleting(topics), |_, question| {
        let Question::Control(Command::DeleteTopics(names)) = question else { panic!("{question:?}") };
        assert_eq!(names, [Named::Id(gone), Named::Name("table".into())]);
        let unknown = (ErrorCode::UnknownTopicId, "This server does not host this topic ID.".to_string());
        Answer::Control(Outcome::Deleted(vec![Err(unknown), Ok(("table".into(), TABLE))]))
    });
    let name = |row: &DeletableTopicResult| row.name.as_ref().map_or("-", |name| name.as_str()).to_string();
    let rows: Vec<_> = response.responses.iter().map(|row| (name(row), row.error_code)).collect();
    let expected = [("-", 100), ("table", 0), ("table", 42), ("-", 42), ("orders", 42), ("orders", 42)];
    assert_eq!(rows, expected.map(|(name, code)| (name.to_string(), code)));
}

#[test]
fn partitions_are_added() {
    let topic = |one: &str| CreatePartitionsTopic::default().with_name(name(one)).with_count(9).with_assignments(None);
    for version in 0..=3 {
        let topics = vec![topic("orders"), topic("twice"), topic("none"), topic("twice")];
        let request = CreatePartitionsRequest::default().with_topics(topics).with_validate_only(true);
        let response = Node::new().call(version, request, |_, question| {
            let Question::Control(Command::CreatePartitions { topics, validate_only: true }) = question else {
                panic!("{question:?}");
            };
            assert_eq!(topics, ["orders", "none"].map(|name| (name.to_string(), 9, Vec::new())));
            let unknown = (ErrorCode::UnknownTopicOrPartition, "gone".to_string());
            Answer::Control(Outcome::Partitions(vec![Ok(()), Err(unknown)]))
        });
        let rows = response
            .results
            .iter()
            .map(|row| (row.name.as_str(), row.error_code, row.error_message.as_ref().map(|why| why.as_str())));
        let twice = ("twice", 42, Some("Duplicate topic name."));
        assert_eq!(rows.collect::<Vec<_>>(), [("orders", 0, None), twice, ("none", 3, Some("gone"))]);
    }
}

#[test]
fn records_are_deleted_by_their_owners() {
    let topic = |one: &str, partitions: &[(i32, i64)]| {
        let partition = |(index, offset): &(i32, i64)| {
            DeleteRecordsPartition::default().with_partition_index(*index).with_offset(*offset)
        };
        DeleteRecordsTopic::default().with_name(name(one)).with_partitions(partitions.iter().map(partition).collect())
    };
    for version in 0..=2 {
        let request = DeleteRecordsRequest::default().with_topics(vec![
            topic("orders", &[(2, 30), (0, -1), (7, 1), (1, 20), (0, -2)]),
            topic("none", &[(0, 0)]),
            topic("table", &[(0, 5)]),
            topic("__consumer_offsets", &[(0, 5)]),
        ]);
        let response = Node::new().call(version, request, |target, question| {
            let Question::DeleteRecords(asked) = question else { panic!("{question:?}") };
            assert!(asked.iter().all(|(key, _)| target == Target::Core(owner(*key, CORES))));
            if asked.iter().any(|(one, _)| *one == key(ORDERS, 1)) && asked.len() == 1 {
                return Answer::Refused(ErrorCode::KafkaStorageError);
            }
            Answer::DeleteRecords(
                asked.iter().map(|(key, _)| (ErrorCode::None, i64::from(key.partition) + 100)).collect(),
            )
        });
        let row = |row: &DeleteRecordsPartitionResult| (row.partition_index, row.error_code, row.low_watermark);
        let rows: Vec<Vec<_>> =
            response.topics.iter().map(|topic| topic.partitions.iter().map(row).collect()).collect();
        assert_ne!(owner(key(ORDERS, 1), CORES), owner(key(ORDERS, 0), CORES), "asked of several cores");
        assert_eq!(rows[0], [(2, 0, 102), (0, 0, 100), (7, 3, -1), (1, 56, -1), (0, 1, -1)]);
        assert_eq!(rows[1..], [[(0, 3, -1)], [(0, 44, -1)], [(0, 17, -1)]]);
    }
}
