//! A node whose four cores are advertised as brokers: what each API tells of them, and that nothing is told twice.

use super::super::testing::{CORES, Node, ORDERS, TABLE, key};
use super::super::{Answer, Command, Outcome, Question, Resource, Target, group_partition};
use super::*;
use ringlog_engine::group;
use ringlog_engine::types::TopicId;
use ringlog_net::cold::StrBytes;
use ringlog_net::cold::messages::describe_configs_request::DescribeConfigsResource;
use ringlog_net::cold::messages::describe_log_dirs_request::DescribableLogDirTopic;
use ringlog_net::cold::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ringlog_net::cold::messages::*;
use std::collections::BTreeSet;

const IDS: [i32; 4] = [1, 1_048_577, 2_097_153, 3_145_729];
const BROKER: i8 = 4;
const OFFSETS: TopicId = TopicId([9; 16]);

fn node() -> Node {
    let mut node = Node::with(&["ringlog.advertise=cores"]);
    node.advertised.ports = vec![9092, 9093, 9094, 9095];
    node
}

fn on(core: u16) -> Node {
    let mut node = node();
    node.core = CoreId(core);
    node
}

fn owner_id(topic: TopicId, partition: i32) -> i32 {
    IDS[usize::from(owner(key(topic, partition), CORES).0)]
}

#[test]
fn each_partition_is_led_by_its_core() {
    for version in 1..=13 {
        let response = node().ask(version, MetadataRequest::default().with_topics(None));
        let brokers: Vec<_> =
            response.brokers.iter().map(|one| (one.node_id.0, one.host.to_string(), one.port)).collect();
        let told = |core: usize| (IDS[core], "broker.test".to_string(), 9092 + core as i32);
        assert_eq!(brokers, [told(0), told(1), told(2), told(3)], "{version}");
        assert_eq!(response.controller_id.0, 1);
        let orders = &response.topics[1].partitions;
        for row in &orders[..2] {
            let leader = BrokerId(owner_id(ORDERS, row.partition_index));
            assert_eq!((row.leader_id, &row.replica_nodes, &row.isr_nodes), (leader, &vec![leader], &vec![leader]));
        }
        let leaders: BTreeSet<i32> = orders[..2].iter().map(|row| row.leader_id.0).collect();
        assert_eq!(leaders.len(), 2, "neighbours are on different cores");
        let replica = BrokerId(owner_id(ORDERS, 2));
        assert_eq!((orders[2].leader_id.0, &orders[2].replica_nodes), (-1, &vec![replica]), "its directory failed");
    }
    let described =
        node().ask(0, DescribeTopicPartitionsRequest::default().with_cursor(None).with_response_partition_limit(9));
    let rows =
        described.topics.iter().find(|topic| topic.topic_id.as_bytes() == &ORDERS.0).map(|topic| &topic.partitions);
    for row in &rows.expect("it is described")[..2] {
        let leader = BrokerId(owner_id(ORDERS, row.partition_index));
        assert_eq!((row.leader_id, &row.replica_nodes, &row.isr_nodes), (leader, &vec![leader], &vec![leader]));
    }
    let cluster = node().ask(2, DescribeClusterRequest::default().with_endpoint_type(1));
    let brokers: Vec<_> = cluster.brokers.iter().map(|one| (one.broker_id.0, one.port)).collect();
    assert_eq!((brokers, cluster.controller_id.0), (IDS.into_iter().zip(9092..).collect(), 1));
}

#[test]
fn a_group_s_coordinator_is_the_core_that_keeps_it() {
    let mut found = BTreeSet::new();
    for group in ["a", "b", "c", "d"] {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![StrBytes::from_static_str(group)]);
        let response = node().ask(4, request);
        let told = &response.coordinators[0];
        let core = owner(key(OFFSETS, group_partition(group, 2)), CORES);
        assert_eq!((told.node_id.0, told.port), (IDS[usize::from(core.0)], 9092 + i32::from(core.0)));
        found.insert(core);
    }
    assert_eq!(found.len(), 2);
}

/// Admin clients ask every broker and put the answers together.
#[test]
fn groups_and_partitions_are_told_by_their_core_alone() {
    for core in 0..CORES {
        let response = on(core).call(5, ListGroupsRequest::default(), |target, question| {
            assert_eq!(target, Target::Core(CoreId(core)));
            assert!(matches!(question, Question::AllGroups(_)));
            let group_id = format!("g{core}");
            Answer::AllGroups(vec![group::ListedGroup {
                group_id,
                protocol_type: String::new(),
                state: "Empty",
                group_type: "classic",
            }])
        });
        assert_eq!(response.groups.len(), 1);
        let response = on(core).call(4, DescribeLogDirsRequest::default().with_topics(None), |target, question| {
            assert_eq!(target, Target::Core(CoreId(core)));
            assert!(matches!(question, Question::Sizes(None)));
            Answer::Sizes(vec![(key(TABLE, 0), 7)])
        });
        assert_eq!(response.results[0].topics[0].partitions[0].partition_size, 7);
    }
    let asked = DescribableLogDirTopic::default().with_topic(TopicName(StrBytes::from_static_str("orders")));
    let asked = DescribeLogDirsRequest::default().with_topics(Some(vec![asked.with_partitions(vec![0, 1, 2])]));
    let mut told = Vec::new();
    for core in 0..CORES {
        on(core).call(4, asked.clone(), |target, question| {
            let Question::Sizes(Some(keys)) = question else { panic!("{question:?}") };
            assert!(
                keys.iter()
                    .all(|key| target == Target::Core(owner(*key, CORES)) && target == Target::Core(CoreId(core)))
            );
            told.extend(keys.iter().map(|key| key.partition));
            Answer::Sizes(keys.into_iter().map(|key| (key, 1)).collect())
        });
    }
    told.sort_unstable();
    assert_eq!(told, [0, 1, 2]);
}

/// Settings are the node's, whichever of its ids they are asked or changed by.
#[test]
fn settings_are_the_node_s() {
    let about = |id: i32| {
        let name = StrBytes::from_string(id.to_string());
        DescribeConfigsResource::default()
            .with_resource_type(BROKER)
            .with_resource_name(name)
            .with_configuration_keys(None)
    };
    let asked = [IDS[0], IDS[3], 2, 4_194_305].map(about).to_vec();
    let response = node().ask(4, DescribeConfigsRequest::default().with_resources(asked));
    let codes: Vec<_> = response.results.iter().map(|row| row.error_code).collect();
    assert_eq!(codes, [0, 0, 42, 42]);
    assert_eq!(response.results[0].configs.len(), response.results[1].configs.len());
    let change = |id: i32| {
        let config = AlterableConfig::default().with_name(StrBytes::from_static_str("log.retention.ms"));
        let name = StrBytes::from_string(id.to_string());
        AlterConfigsResource::default().with_resource_type(BROKER).with_resource_name(name).with_configs(vec![config])
    };
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![change(IDS[2])]);
    let response = on(2).call(1, request, |target, question| {
        assert_eq!(target, Target::Controller);
        let Question::Control(Command::AlterConfigs { resources, .. }) = question else { panic!("{question:?}") };
        assert_eq!(resources[0].resource, Resource::Broker("1".into()));
        Answer::Control(Outcome::Altered(vec![Ok(())]))
    });
    let row = &response.responses[0];
    assert_eq!((row.error_code, row.resource_name.as_str()), (0, "2097153"));
    let twice = IncrementalAlterConfigsRequest::default().with_resources(vec![change(IDS[0]), change(IDS[1])]);
    let codes: Vec<_> = node().ask(1, twice).responses.iter().map(|row| row.error_code).collect();
    assert_eq!(codes, [42, 42], "one broker under two names");
    let listed = node().ask(1, ListConfigResourcesRequest::default().with_resource_types(vec![BROKER]));
    let names: Vec<_> = listed.config_resources.iter().map(|one| one.resource_name.to_string()).collect();
    assert_eq!(names, IDS.map(|id| id.to_string()));
}
