//! One filled-in request of every cold API in every version, as bytes and as what they must decode to. Made by
//! `kafka-protocol` where it knows the version, by hand (golden bytes) where it does not. Shared by the tests of this folder.

pub(crate) mod hot;

use ringlog_engine::rope::Rope;
use ringlog_net::api::{APIS, Api, ApiKey, Path};
use ringlog_net::cold::messages::{self as m, BrokerId, GroupId, TopicName, TransactionalId};
use ringlog_net::cold::{Bytes, Call, Request, StrBytes, encode_request};
use ringlog_net::frame;

#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) body: Vec<u8>,
    pub(crate) request: Request,
}

pub(crate) fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

pub(crate) fn topic(text: &str) -> TopicName {
    TopicName(s(text))
}

fn group(text: &str) -> GroupId {
    GroupId(s(text))
}

fn bytes(content: &[u8]) -> Bytes {
    Bytes::copy_from_slice(content)
}

pub(crate) const ID: [u8; 16] = [1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16];

pub(crate) fn id() -> uuid::Uuid {
    uuid::Uuid::from_bytes(ID)
}

/// The body as a client sends it, by way of a whole frame.
pub(crate) fn body_of<R: Call>(request: &R, version: i16) -> Vec<u8> {
    let mut out = Vec::new();
    let len = encode_request(&mut out, version, 7, "client", request).expect("a request of this version");
    assert_eq!(len, out.len());
    let len = frame::frame_length(out[..4].try_into().unwrap(), out.len()).unwrap();
    assert_eq!(len, out.len() - 4);
    let mut rest = Rope::of(&out[4..]);
    let header = frame::take_header(&mut rest).unwrap();
    assert_eq!((header.api.key as i16, header.version, header.correlation_id), (R::KEY, version, 7));
    assert_eq!(header.client_id.unwrap().contiguous(), Some(&b"client"[..]));
    rest.contiguous().unwrap().to_vec()
}

/// Every cold API in every served version.
pub(crate) fn all() -> Vec<Sample> {
    let cold = APIS.iter().filter(|api| api.path == Path::Cold);
    cold.flat_map(|api: &Api| (api.min..=api.max).map(move |version| sample(api.key, version))).collect()
}

fn made<R: Call + Into<Request>>(key: ApiKey, version: i16, request: R) -> Sample {
    let body = body_of(&request, version);
    Sample { key, version, body, request: newest(version, request.into()) }
}

/// What a request of an old shape is decoded to, written down once more.
fn newest(v: i16, request: Request) -> Request {
    match request {
        Request::FindCoordinator(_) if v < 4 => m::FindCoordinatorRequest::default()
            .with_key_type(i8::from(v >= 1))
            .with_coordinator_keys(vec![s("g")])
            .into(),
        Request::LeaveGroup(_) if v < 3 => {
            let member = m::leave_group_request::MemberIdentity::default().with_member_id(s("m"));
            let member = member.with_group_instance_id(None);
            m::LeaveGroupRequest::default().with_group_id(group("g")).with_members(vec![member]).into()
        }
        Request::DeleteTopics(_) if v < 6 => {
            let named = |name| m::delete_topics_request::DeleteTopicState::default().with_name(Some(topic(name)));
            m::DeleteTopicsRequest::default().with_timeout_ms(900).with_topics(vec![named("a"), named("b")]).into()
        }
        Request::OffsetFetch(_) if v < 8 => {
            use m::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
            let topics = OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(vec![0, 1]);
            let one = OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(Some(vec![topics]));
            m::OffsetFetchRequest::default().with_groups(vec![one]).with_require_stable(v >= 7).into()
        }
        request => request,
    }
}

fn sample(key: ApiKey, v: i16) -> Sample {
    if let Some((body, request)) = by_hand(key, v) {
        return Sample { key, version: v, body, request: newest(v, request) };
    }
    match key {
        ApiKey::Produce | ApiKey::Fetch => unreachable!("hot"),
        ApiKey::ListOffsets => made(key, v, list_offsets(v)),
        ApiKey::Metadata => made(key, v, metadata(v)),
        ApiKey::OffsetCommit => made(key, v, offset_commit(v)),
        ApiKey::OffsetFetch => made(key, v, offset_fetch(v)),
        ApiKey::FindCoordinator => made(key, v, find_coordinator(v)),
        ApiKey::JoinGroup => made(key, v, join_group(v)),
        ApiKey::Heartbeat => made(key, v, heartbeat(v)),
        ApiKey::LeaveGroup => made(key, v, leave_group(v)),
        ApiKey::SyncGroup => made(key, v, sync_group(v)),
        ApiKey::DescribeGroups => made(
            key,
            v,
            m::DescribeGroupsRequest::default()
                .with_groups(vec![group("g"), group("")])
                .with_include_authorized_operations(v >= 3),
        ),
        ApiKey::ListGroups => made(key, v, list_groups(v)),
        ApiKey::ApiVersions => made(
            key,
            v,
            m::ApiVersionsRequest::default()
                .with_client_software_name(s(if v >= 3 { "apache-kafka-java" } else { "" }))
                .with_client_software_version(s(if v >= 3 { "4.2.0" } else { "" })),
        ),
        ApiKey::CreateTopics => made(key, v, create_topics()),
        ApiKey::DeleteTopics => made(key, v, delete_topics(v)),
        ApiKey::DeleteRecords => made(key, v, delete_records()),
        ApiKey::InitProducerId => made(key, v, init_producer_id(v)),
        ApiKey::OffsetForLeaderEpoch => made(key, v, offset_for_leader_epoch(v)),
        ApiKey::DescribeConfigs => made(key, v, describe_configs(v)),
        ApiKey::AlterConfigs => made(key, v, alter_configs()),
        ApiKey::DescribeLogDirs => made(key, v, describe_log_dirs()),
        ApiKey::CreatePartitions => made(key, v, create_partitions()),
        ApiKey::DeleteGroups => {
            made(key, v, m::DeleteGroupsRequest::default().with_groups_names(vec![group("a"), group("b")]))
        }
        ApiKey::IncrementalAlterConfigs => made(key, v, incremental_alter_configs()),
        ApiKey::OffsetDelete => made(key, v, offset_delete()),
        ApiKey::DescribeCluster => made(
            key,
            v,
            m::DescribeClusterRequest::default()
                .with_include_cluster_authorized_operations(true)
                .with_endpoint_type(if v >= 1 { 2 } else { 1 })
                .with_include_fenced_brokers(v >= 2),
        ),
        ApiKey::DescribeProducers => made(key, v, describe_producers()),
        ApiKey::ListConfigResources => made(
            key,
            v,
            m::ListConfigResourcesRequest::default().with_resource_types(if v >= 1 { vec![2, 4] } else { vec![] }),
        ),
        ApiKey::DescribeTopicPartitions => made(key, v, describe_topic_partitions()),
    }
}

fn list_groups(v: i16) -> m::ListGroupsRequest {
    m::ListGroupsRequest::default()
        .with_states_filter(if v >= 4 { vec![s("Stable"), s("Empty")] } else { vec![] })
        .with_types_filter(if v >= 5 { vec![s("classic")] } else { vec![] })
}

fn init_producer_id(v: i16) -> m::InitProducerIdRequest {
    m::InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(s("tx"))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(if v >= 3 { 5 } else { -1 }.into())
        .with_producer_epoch(if v >= 3 { 2 } else { -1 })
}

fn list_offsets(v: i16) -> m::ListOffsetsRequest {
    use m::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition::default()
        .with_partition_index(3)
        .with_current_leader_epoch(if v >= 4 { 9 } else { -1 })
        .with_timestamp(-2);
    let topics = vec![ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![partition])];
    m::ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(i8::from(v >= 2))
        .with_topics(topics)
        .with_timeout_ms(if v >= 10 { 500 } else { 0 })
}

fn metadata(v: i16) -> m::MetadataRequest {
    use m::metadata_request::MetadataRequestTopic;
    let mut topics = vec![MetadataRequestTopic::default().with_name(Some(topic("t")))];
    if v >= 12 {
        topics.push(MetadataRequestTopic::default().with_name(None).with_topic_id(id()));
    }
    m::MetadataRequest::default()
        .with_topics(Some(topics))
        .with_allow_auto_topic_creation(v < 4)
        .with_include_cluster_authorized_operations((8..=10).contains(&v))
        .with_include_topic_authorized_operations(v >= 8)
}

fn offset_commit(v: i16) -> m::OffsetCommitRequest {
    use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(1)
        .with_committed_offset(42)
        .with_committed_leader_epoch(if v >= 6 { 4 } else { -1 })
        .with_committed_metadata(Some(s("note")));
    let bare = OffsetCommitRequestPartition::default().with_committed_metadata(None);
    m::OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(8)
        .with_member_id(s("m"))
        .with_group_instance_id((v >= 7).then(|| s("i")))
        .with_retention_time_ms(if v <= 4 { 1000 } else { -1 })
        .with_topics(vec![
            OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![partition, bare]),
        ])
}

fn offset_fetch(v: i16) -> m::OffsetFetchRequest {
    use m::offset_fetch_request::*;
    let request = m::OffsetFetchRequest::default().with_require_stable(v >= 7);
    if v < 8 {
        let topics = vec![OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![0, 1])];
        return request.with_group_id(group("g")).with_topics(Some(topics));
    }
    let topics = vec![OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(vec![0, 1])];
    let first = OffsetFetchRequestGroup::default()
        .with_group_id(group("g"))
        .with_member_id((v >= 9).then(|| s("m")))
        .with_member_epoch(if v >= 9 { 3 } else { -1 })
        .with_topics(Some(topics));
    let every_topic = OffsetFetchRequestGroup::default().with_group_id(group("h")).with_topics(None);
    request.with_groups(vec![first, every_topic]).with_topics(Some(vec![]))
}

fn find_coordinator(v: i16) -> m::FindCoordinatorRequest {
    m::FindCoordinatorRequest::default()
        .with_key(s(if v <= 3 { "g" } else { "" }))
        .with_key_type(i8::from(v >= 1))
        .with_coordinator_keys(if v >= 4 { vec![s("g"), s("h")] } else { vec![] })
}

fn join_group(v: i16) -> m::JoinGroupRequest {
    use m::join_group_request::JoinGroupRequestProtocol;
    let protocol = |name| JoinGroupRequestProtocol::default().with_name(s(name)).with_metadata(bytes(b"\0\x01topics"));
    m::JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(if v >= 1 { 20_000 } else { -1 })
        .with_member_id(s("m"))
        .with_group_instance_id((v >= 5).then(|| s("i")))
        .with_protocol_type(s("consumer"))
        .with_protocols(vec![protocol("range"), protocol("sticky")])
        .with_reason((v >= 8).then(|| s("why")))
}

fn heartbeat(v: i16) -> m::HeartbeatRequest {
    m::HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(4)
        .with_member_id(s("m"))
        .with_group_instance_id((v >= 3).then(|| s("i")))
}

fn leave_group(v: i16) -> m::LeaveGroupRequest {
    use m::leave_group_request::MemberIdentity;
    let request = m::LeaveGroupRequest::default().with_group_id(group("g"));
    if v < 3 {
        return request.with_member_id(s("m"));
    }
    let member = MemberIdentity::default().with_member_id(s("m")).with_group_instance_id(Some(s("i")));
    request.with_members(vec![member.with_reason((v >= 5).then(|| s("bye"))), MemberIdentity::default()])
}

fn sync_group(v: i16) -> m::SyncGroupRequest {
    use m::sync_group_request::SyncGroupRequestAssignment;
    m::SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(4)
        .with_member_id(s("m"))
        .with_group_instance_id((v >= 3).then(|| s("i")))
        .with_protocol_type((v >= 5).then(|| s("consumer")))
        .with_protocol_name((v >= 5).then(|| s("range")))
        .with_assignments(vec![
            SyncGroupRequestAssignment::default().with_member_id(s("m")).with_assignment(bytes(b"parts")),
            SyncGroupRequestAssignment::default(),
        ])
}

fn create_topics() -> m::CreateTopicsRequest {
    use m::create_topics_request::*;
    let assignment =
        CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(vec![BrokerId(1), BrokerId(2)]);
    let config =
        |value: Option<&str>| CreatableTopicConfig::default().with_name(s("retention.ms")).with_value(value.map(s));
    let topic = CreatableTopic::default()
        .with_name(topic("t"))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assignment])
        .with_configs(vec![config(Some("1")), config(None)]);
    m::CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(900).with_validate_only(true)
}

fn delete_topics(v: i16) -> m::DeleteTopicsRequest {
    use m::delete_topics_request::DeleteTopicState;
    let request = m::DeleteTopicsRequest::default().with_timeout_ms(900);
    if v < 6 {
        return request.with_topic_names(vec![topic("a"), topic("b")]);
    }
    let by_name = DeleteTopicState::default().with_name(Some(topic("a")));
    request.with_topics(vec![by_name, DeleteTopicState::default().with_name(None).with_topic_id(id())])
}

fn delete_records() -> m::DeleteRecordsRequest {
    use m::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let partitions = vec![DeleteRecordsPartition::default().with_partition_index(2).with_offset(-1)];
    let topics = vec![DeleteRecordsTopic::default().with_name(topic("t")).with_partitions(partitions)];
    m::DeleteRecordsRequest::default().with_topics(topics).with_timeout_ms(900)
}

fn offset_for_leader_epoch(v: i16) -> m::OffsetForLeaderEpochRequest {
    use m::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let partition =
        OffsetForLeaderPartition::default().with_partition(1).with_current_leader_epoch(5).with_leader_epoch(4);
    let topics = vec![OffsetForLeaderTopic::default().with_topic(topic("t")).with_partitions(vec![partition])];
    let request = m::OffsetForLeaderEpochRequest::default().with_topics(topics);
    if v >= 3 { request.with_replica_id(BrokerId(-1)) } else { request }
}

fn describe_configs(v: i16) -> m::DescribeConfigsRequest {
    use m::describe_configs_request::DescribeConfigsResource;
    let resource = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(s("t"));
    let some = resource.clone().with_configuration_keys(Some(vec![s("a"), s("b")]));
    m::DescribeConfigsRequest::default()
        .with_resources(vec![some, resource.with_configuration_keys(None)])
        .with_include_synonyms(true)
        .with_include_documentation(v >= 3)
}

fn alter_configs() -> m::AlterConfigsRequest {
    use m::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = AlterableConfig::default().with_name(s("a")).with_value(Some(s("1")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(s("t"))
        .with_configs(vec![config, AlterableConfig::default().with_name(s("b")).with_value(None)]);
    m::AlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true)
}

fn incremental_alter_configs() -> m::IncrementalAlterConfigsRequest {
    use m::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = AlterableConfig::default().with_name(s("a")).with_config_operation(1).with_value(Some(s("1")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(s(""))
        .with_configs(vec![config, AlterableConfig::default().with_name(s("b")).with_value(None)]);
    m::IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true)
}

fn describe_log_dirs() -> m::DescribeLogDirsRequest {
    use m::describe_log_dirs_request::DescribableLogDirTopic;
    let topics = vec![DescribableLogDirTopic::default().with_topic(topic("t")).with_partitions(vec![0, 1])];
    m::DescribeLogDirsRequest::default().with_topics(Some(topics))
}

fn create_partitions() -> m::CreatePartitionsRequest {
    use m::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
    let to_one = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1)]);
    let topic = CreatePartitionsTopic::default().with_name(topic("t")).with_count(6);
    let placed = topic.clone().with_assignments(Some(vec![to_one, CreatePartitionsAssignment::default()]));
    m::CreatePartitionsRequest::default()
        .with_topics(vec![placed, topic.with_assignments(None)])
        .with_timeout_ms(900)
        .with_validate_only(true)
}

fn offset_delete() -> m::OffsetDeleteRequest {
    use m::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let partitions = vec![OffsetDeleteRequestPartition::default().with_partition_index(7)];
    let topics = vec![OffsetDeleteRequestTopic::default().with_name(topic("t")).with_partitions(partitions)];
    m::OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(topics)
}

fn describe_producers() -> m::DescribeProducersRequest {
    use m::describe_producers_request::TopicRequest;
    let topics = vec![TopicRequest::default().with_name(topic("t")).with_partition_indexes(vec![0, 1])];
    m::DescribeProducersRequest::default().with_topics(topics)
}

fn describe_topic_partitions() -> m::DescribeTopicPartitionsRequest {
    use m::describe_topic_partitions_request::{Cursor, TopicRequest};
    m::DescribeTopicPartitionsRequest::default()
        .with_topics(vec![TopicRequest::default().with_name(topic("t"))])
        .with_response_partition_limit(2000)
        .with_cursor(Some(Cursor::default().with_topic_name(topic("t")).with_partition_index(3)))
}

/// Golden bytes of the versions that `kafka-protocol` 0.18 lacks, written down from Kafka's schemas.
fn by_hand(key: ApiKey, v: i16) -> Option<(Vec<u8>, Request)> {
    let plain = |body: &[u8], request: Request| Some((body.to_vec(), request));
    match (key, v) {
        (ApiKey::ListOffsets, 0) => plain(
            b"\xff\xff\xff\xff\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x03\xff\xff\xff\xff\xff\xff\xff\xfe\0\0\0\x01",
            list_offsets(0).into(),
        ),
        (ApiKey::ListOffsets, 11) => plain(
            b"\xff\xff\xff\xff\x01\x02\x02t\x02\0\0\0\x03\0\0\0\x09\xff\xff\xff\xff\xff\xff\xff\xfe\0\0\0\0\x01\xf4\0",
            list_offsets(11).into(),
        ),
        (ApiKey::OffsetCommit, 1) => plain(
            b"\0\x01g\0\0\0\x08\0\x01m\0\0\0\x01\0\x01t\0\0\0\x02\
              \0\0\0\x01\0\0\0\0\0\0\0\x2a\0\0\0\0\0\0\0\x63\0\x04note\
              \0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            offset_commit(1).with_retention_time_ms(-1).into(),
        ),
        (ApiKey::OffsetCommit, 10) => {
            let mut body = b"\x02g\0\0\0\x08\x02m\x02i\x02".to_vec();
            body.extend(ID);
            body.extend(b"\x03\0\0\0\x01\0\0\0\0\0\0\0\x2a\0\0\0\x04\x05note\0");
            body.extend(b"\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0");
            let mut request = offset_commit(10);
            request.topics[0].name = TopicName::default();
            request.topics[0].topic_id = id();
            Some((body, request.into()))
        }
        (ApiKey::OffsetFetch, 0) => {
            plain(b"\0\x01g\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01", offset_fetch(0).into())
        }
        (ApiKey::OffsetFetch, 10) => {
            let mut body = b"\x03\x02g\x02m\0\0\0\x03\x02".to_vec();
            body.extend(ID);
            body.extend(b"\x03\0\0\0\0\0\0\0\x01\0\0\x02h\0\xff\xff\xff\xff\0\0\x01\0");
            let mut request = offset_fetch(10);
            let topics = request.groups[0].topics.as_mut().unwrap();
            topics[0].name = TopicName::default();
            topics[0].topic_id = id();
            Some((body, request.into()))
        }
        (ApiKey::CreateTopics, 0 | 1) => {
            let mut body = b"\0\0\0\x01\0\x01t\xff\xff\xff\xff\xff\xff\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\x02\
                \0\0\0\x02\0\x0cretention.ms\0\x011\0\x0cretention.ms\xff\xff\0\0\x03\x84"
                .to_vec();
            if v == 1 {
                body.push(1);
            }
            Some((body, create_topics().with_validate_only(v == 1).into()))
        }
        (ApiKey::DeleteTopics, 0) => plain(b"\0\0\0\x02\0\x01a\0\x01b\0\0\x03\x84", delete_topics(0).into()),
        (ApiKey::DescribeConfigs, 0) => plain(
            b"\0\0\0\x02\x02\0\x01t\0\0\0\x02\0\x01a\0\x01b\x02\0\x01t\xff\xff\xff\xff",
            describe_configs(0).with_include_synonyms(false).into(),
        ),
        (ApiKey::DescribeLogDirs, 0) => {
            plain(b"\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01", describe_log_dirs().into())
        }
        (ApiKey::OffsetForLeaderEpoch, 0 | 1) => {
            let mut request = offset_for_leader_epoch(v);
            request.topics[0].partitions[0].current_leader_epoch = -1;
            plain(b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x01\0\0\0\x04", request.into())
        }
        _ => None,
    }
}
