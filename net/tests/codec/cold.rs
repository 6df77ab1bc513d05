//! The cold codec against `kafka-protocol` and golden bytes: requests of every API and version, answers of the versions by hand.

use crate::samples::{id, s, topic};
use ringlog_engine::ErrorCode;
use ringlog_engine::rope::Rope;
use ringlog_net::api::{APIS, ApiKey, Path};
use ringlog_net::cold::messages::{self as m, BrokerId, TopicName};
use ringlog_net::cold::{self, Answer, Call, Request};
use ringlog_net::guard;
use ringlog_net::refusal::Refusal;

#[test]
fn every_request_of_every_version_decodes_to_what_was_sent() {
    let samples = crate::samples::all();
    assert!(samples.len() > 130, "{}", samples.len());
    for sample in &samples {
        let label = format!("{:?} {}", sample.key, sample.version);
        let decoded = cold::decode(sample.key.row(), sample.version, Rope::of(&sample.body)).expect(&label);
        assert_eq!(decoded, sample.request, "{label}");
        assert_eq!(decoded.key(), sample.key);
        for cut in 0..=sample.body.len() {
            let pieces = [&sample.body[..cut], &sample.body[cut..]];
            assert_eq!(cold::decode(sample.key.row(), sample.version, Rope::new(&pieces)).as_ref(), Ok(&decoded));
        }
    }
}

#[test]
fn every_truncation_is_refused_and_an_extra_byte_ignored() {
    for sample in crate::samples::all() {
        let label = format!("{:?} {}", sample.key, sample.version);
        let api = sample.key.row();
        for cut in 0..sample.body.len() {
            let refused = cold::decode(api, sample.version, Rope::of(&sample.body[..cut]));
            assert!(refused.is_err(), "{label} cut at {cut}: {refused:?}");
        }
        let mut longer = sample.body.clone();
        longer.push(0);
        let plain = guard::admit(api, sample.version, Rope::of(&sample.body));
        assert_eq!(guard::admit(api, sample.version, Rope::of(&longer)), plain, "{label}");
    }
}

#[test]
fn the_table_agrees_with_kafka_protocol() {
    // What is beyond the crate's own ranges is written by hand: (key, versions).
    let by_hand: &[(ApiKey, &[i16])] = &[
        (ApiKey::ListOffsets, &[0, 11]),
        (ApiKey::OffsetCommit, &[1]),
        (ApiKey::OffsetFetch, &[0]),
        (ApiKey::CreateTopics, &[0, 1]),
        (ApiKey::DeleteTopics, &[0]),
        (ApiKey::OffsetForLeaderEpoch, &[0, 1]),
        (ApiKey::DescribeConfigs, &[0]),
        (ApiKey::DescribeLogDirs, &[0]),
    ];
    for api in &APIS {
        let theirs = m::ApiKey::try_from(api.key as i16).expect(api.name);
        assert_eq!(format!("{theirs:?}"), api.name);
        let range = theirs.valid_versions();
        let hand = by_hand.iter().find(|(key, _)| *key == api.key).map_or(&[][..], |(_, versions)| versions);
        for version in api.min..=api.max {
            let in_crate = (range.min..=range.max).contains(&version);
            assert_ne!(in_crate, hand.contains(&version), "{} {version}", api.name);
            if in_crate {
                assert_eq!(theirs.request_header_version(version) == 2, api.is_flexible(version), "{}", api.name);
                assert_eq!(theirs.response_header_version(version), api.response_header_version(version));
            }
        }
    }
    // The crate has the answers of these versions, but not the requests.
    assert_eq!((request_max::<m::OffsetCommitRequest>(), request_max::<m::OffsetFetchRequest>()), (9, 9));
    assert_eq!(request_max::<m::InitProducerIdRequest>(), ApiKey::InitProducerId.row().max);
}

fn request_max<R: Call>() -> i16 {
    R::VERSIONS.max
}

fn written<A: Answer>(version: i16, answer: A) -> Vec<u8> {
    let mut out = vec![0xee];
    let len = cold::encode(&mut out, version, 7, answer).unwrap();
    assert_eq!(len, out.len() - 1);
    assert_eq!(out[1..5], (len as u32 - 4).to_be_bytes());
    assert_eq!(out[5..9], [0, 0, 0, 7]);
    out[9..].to_vec()
}

#[test]
fn list_offsets_answers_by_hand() {
    use m::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
    let found = ListOffsetsPartitionResponse::default().with_partition_index(3).with_offset(9).with_leader_epoch(2);
    let lost = ListOffsetsPartitionResponse::default().with_error_code(3).with_offset(-1);
    let topics = vec![ListOffsetsTopicResponse::default().with_name(topic("t")).with_partitions(vec![found, lost])];
    let answer = m::ListOffsetsResponse::default().with_topics(topics);
    assert_eq!(
        written(0, answer.clone()),
        b"\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x03\0\0\0\0\0\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\x03\0\0\0\0"
    );
    let newest = written(11, answer.clone());
    assert_eq!(newest, written(10, answer.clone()));
    assert_eq!(newest[0], 0, "header tags");
    assert_eq!(
        newest[1..35],
        *b"\0\0\0\0\x02\x02t\x03\0\0\0\x03\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x09\0\0\0\x02"
    );
    assert!(written(1, answer).len() > 20, "a leader epoch does not keep version 1 from being written");
}

#[test]
fn create_and_delete_topics_answers_by_hand() {
    use m::create_topics_response::CreatableTopicResult;
    use m::delete_topics_response::DeletableTopicResult;
    let made = CreatableTopicResult::default()
        .with_name(topic("t"))
        .with_topic_id(id())
        .with_error_code(36)
        .with_error_message(Some(s("why")));
    let answer = m::CreateTopicsResponse::default().with_throttle_time_ms(5).with_topics(vec![made]);
    assert_eq!(written(0, answer.clone()), b"\0\0\0\x01\0\x01t\0\x24");
    assert_eq!(written(1, answer.clone()), b"\0\0\0\x01\0\x01t\0\x24\0\x03why");
    assert_eq!(written(2, answer), b"\0\0\0\x05\0\0\0\x01\0\x01t\0\x24\0\x03why");
    let gone = DeletableTopicResult::default().with_name(Some(topic("t"))).with_error_code(3);
    let answer = m::DeleteTopicsResponse::default().with_throttle_time_ms(5).with_responses(vec![gone]);
    assert_eq!(written(0, answer.clone()), b"\0\0\0\x01\0\x01t\0\x03");
    assert_eq!(written(1, answer), b"\0\0\0\x05\0\0\0\x01\0\x01t\0\x03");
}

#[test]
fn offset_answers_by_hand() {
    use m::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
    use m::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
    let partition = OffsetCommitResponsePartition::default().with_partition_index(1).with_error_code(22);
    let by_name = OffsetCommitResponseTopic::default().with_name(topic("t")).with_partitions(vec![partition.clone()]);
    let answer = m::OffsetCommitResponse::default().with_topics(vec![by_name]);
    assert_eq!(written(1, answer), b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x01\0\x16");
    let by_id = OffsetCommitResponseTopic::default().with_topic_id(id()).with_partitions(vec![partition]);
    let answer = m::OffsetCommitResponse::default().with_topics(vec![by_id]);
    let golden = [&b"\0\0\0\0\0\x02"[..], &crate::samples::ID, b"\x02\0\0\0\x01\0\x16\0\0\0"].concat();
    assert_eq!(written(10, answer), golden);

    let end = EpochEndOffset::default().with_partition(1).with_leader_epoch(4).with_end_offset(9);
    let topics = vec![OffsetForLeaderTopicResult::default().with_topic(topic("t")).with_partitions(vec![end])];
    let answer = m::OffsetForLeaderEpochResponse::default().with_throttle_time_ms(5).with_topics(topics);
    let v1 = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0\0\x09";
    assert_eq!(written(0, answer.clone()), b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\x01\0\0\0\0\0\0\0\x09");
    assert_eq!(written(1, answer.clone()), v1);
    assert_eq!(written(2, answer), [&[0, 0, 0, 5], &v1[..]].concat());
}

/// What handlers fill in is the newest shape; old versions have the one group at the top.
#[test]
fn offset_fetch_answers_of_one_group_are_written_in_old_versions() {
    use m::offset_fetch_response::*;
    let partition = OffsetFetchResponsePartitions::default()
        .with_committed_offset(9)
        .with_committed_leader_epoch(4)
        .with_metadata(Some(s("x")));
    let topics = vec![OffsetFetchResponseTopics::default().with_name(topic("t")).with_partitions(vec![partition])];
    let group = OffsetFetchResponseGroup::default().with_group_id(m::GroupId(s("g"))).with_topics(topics);
    let answer = |error| m::OffsetFetchResponse::default().with_groups(vec![group.clone().with_error_code(error)]);
    let old = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x09\0\x01x";
    for version in [0, 1] {
        assert_eq!(written(version, answer(0)), [old, &[0, 0][..]].concat());
        assert_eq!(written(version, answer(15)), [old, &[0, 15][..]].concat(), "each partition has the group's error");
    }
    assert_eq!(written(2, answer(15)), [old, &[0, 0, 0, 15][..]].concat());
    let mut out = Vec::new();
    for version in 1..=9 {
        out.clear();
        cold::encode(&mut out, version, 7, answer(15)).unwrap();
        let (_, read) = cold::decode_response::<m::OffsetFetchRequest>(version, &out[4..]).unwrap();
        let at_top = (read.topics.len(), read.error_code, read.groups.len());
        let expected = if version >= 8 { (0, 0, 1) } else { (1, if version >= 2 { 15 } else { 0 }, 0) };
        assert_eq!(at_top, expected, "version {version}");
    }
    let two = m::OffsetFetchResponse::default().with_groups(vec![group.clone(), group]);
    assert!(cold::encode(&mut out, 7, 7, two).is_err());
}

#[test]
fn find_coordinator_and_leave_group_answers_are_written_in_old_versions() {
    use m::find_coordinator_response::Coordinator;
    use m::leave_group_response::MemberResponse;
    let found = Coordinator::default().with_key(s("g")).with_node_id(BrokerId(3)).with_host(s("h")).with_port(9092);
    let found = m::FindCoordinatorResponse::default().with_coordinators(vec![found.with_error_message(None)]);
    assert_eq!(written(0, found.clone()), b"\0\0\0\0\0\x03\0\x01h\0\0\x23\x84");
    assert_eq!(written(1, found.clone()), b"\0\0\0\0\0\0\xff\xff\0\0\0\x03\0\x01h\0\0\x23\x84");
    for_every_version(found);
    let member = MemberResponse::default().with_member_id(s("m")).with_group_instance_id(None).with_error_code(25);
    let left = m::LeaveGroupResponse::default().with_members(vec![member]);
    assert_eq!(written(0, left.clone()), b"\0\x19");
    assert_eq!(written(1, left.clone().with_error_code(16)), b"\0\0\0\0\0\x10");
    assert_eq!(written(3, left.clone()), b"\0\0\0\0\0\0\0\0\0\x01\0\x01m\xff\xff\0\x19");
    for_every_version(left);
}

#[test]
fn null_means_every_topic_in_old_offset_fetches_too() {
    let decoded = cold::decode(ApiKey::OffsetFetch.row(), 5, Rope::of(b"\0\x01g\xff\xff\xff\xff")).unwrap();
    let Request::OffsetFetch(request) = decoded else { panic!("{decoded:?}") };
    assert_eq!((request.groups.len(), request.groups[0].group_id.as_str()), (1, "g"));
    assert!(request.groups[0].topics.is_none());
}

#[test]
fn topic_ids_go_both_ways() {
    assert_eq!(cold::uuid_of(cold::topic_id_of(id())), id());
    assert_eq!(cold::topic_id_of(id()).0, crate::samples::ID);
}

/// By topic id: the answer of version 10.
#[test]
fn offset_fetch_10_answers_by_id() {
    use m::offset_fetch_response::*;
    let partition = OffsetFetchResponsePartitions::default().with_committed_offset(9).with_committed_leader_epoch(2);
    let topics = vec![OffsetFetchResponseTopics::default().with_topic_id(id()).with_partitions(vec![partition])];
    let group = OffsetFetchResponseGroup::default().with_group_id(m::GroupId(s("g"))).with_topics(topics);
    let answer = m::OffsetFetchResponse::default().with_groups(vec![group]);
    let golden = [
        &b"\0\0\0\0\0\x02\x02g\x02"[..],
        &crate::samples::ID,
        b"\x02\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\x02\x01\0\0\0\0\0\0\0\0",
    ]
    .concat();
    assert_eq!(written(10, answer), golden);
}

#[test]
fn describe_answers_by_hand() {
    use m::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
    use m::describe_log_dirs_response::DescribeLogDirsResult;
    let config = |source| {
        let config = DescribeConfigsResourceResult::default().with_name(s("a")).with_value(Some(s("1")));
        config.with_read_only(true).with_config_source(source)
    };
    let result = DescribeConfigsResult::default()
        .with_resource_type(2)
        .with_resource_name(s("t"))
        .with_error_message(None)
        .with_configs(vec![config(5), config(1)]);
    let answer = m::DescribeConfigsResponse::default().with_throttle_time_ms(5).with_results(vec![result]);
    assert_eq!(
        written(0, answer),
        b"\0\0\0\x05\0\0\0\x01\0\0\xff\xff\x02\0\x01t\0\0\0\x02\0\x01a\0\x011\x01\x01\0\0\x01a\0\x011\x01\0\0"
    );
    let dir = DescribeLogDirsResult::default().with_log_dir(s("/d")).with_error_code(56);
    let answer = m::DescribeLogDirsResponse::default().with_results(vec![dir]);
    assert_eq!(written(0, answer.clone()), b"\0\0\0\0\0\0\0\x01\0\x38\0\x02/d\0\0\0\0");
    assert_eq!(written(0, answer.clone()), written(1, answer));
}

/// Handlers fill in the newest structure; fields that a version lacks do not keep it from being written.
#[test]
fn answers_with_new_fields_are_written_in_every_version() {
    use m::describe_cluster_response::DescribeClusterBroker;
    use m::describe_groups_response::DescribedGroup;
    use m::metadata_response::MetadataResponseTopic;
    let topics = vec![MetadataResponseTopic::default().with_name(Some(topic("t"))).with_topic_authorized_operations(3)];
    let metadata =
        m::MetadataResponse::default().with_cluster_authorized_operations(3).with_topics(topics).with_cluster_id(None);
    let group = DescribedGroup::default().with_error_message(Some(s("why"))).with_authorized_operations(3);
    let groups = m::DescribeGroupsResponse::default().with_groups(vec![group]);
    let brokers = vec![DescribeClusterBroker::default().with_broker_id(BrokerId(1)).with_is_fenced(true)];
    let cluster = m::DescribeClusterResponse::default().with_endpoint_type(2).with_brokers(brokers);
    let join = m::JoinGroupResponse::default().with_skip_assignment(true).with_protocol_name(Some(s("range")));
    for_every_version(metadata);
    for_every_version(groups);
    for_every_version(cluster);
    for_every_version(join);
}

fn for_every_version<A: Answer + Clone>(answer: A) {
    let api = A::KEY.row();
    for version in api.min..=api.max {
        let written = written(version, answer.clone());
        assert!(written.len() >= 2, "{} {version}", api.name);
    }
}

#[test]
fn an_answer_that_does_not_fit_leaves_the_vector_as_it_was() {
    let mut out = vec![1, 2];
    let answer = m::ListGroupsResponse::default();
    let refused = cold::encode(&mut out, 99, 7, answer).unwrap_err();
    assert_eq!((refused.api, refused.version), ("ListGroups", 99));
    assert_eq!(out, [1, 2]);
    let long = m::create_topics_response::CreatableTopicResult::default().with_name(topic(&"x".repeat(40_000)));
    let answer = m::CreateTopicsResponse::default().with_topics(vec![long]);
    assert_eq!(cold::encode(&mut out, 0, 7, answer).unwrap_err().why, "a string of 40000 bytes");
    assert_eq!(out, [1, 2]);
}

#[test]
fn api_versions_tells_the_table() {
    let mut out = Vec::new();
    for version in 0..=4 {
        out.clear();
        cold::encode(&mut out, version, 7, cold::api_versions(version)).unwrap();
        let (correlation, told) = cold::decode_response::<m::ApiVersionsRequest>(version, &out[4..]).unwrap();
        assert_eq!((correlation, told.error_code), (7, 0));
        assert_eq!(told.api_keys.len(), APIS.iter().filter(|api| api.on).count());
        let produce = told.api_keys.iter().find(|row| row.api_key == 0).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13));
        assert!(told.finalized_features.is_empty());
        assert_eq!(told.finalized_features_epoch, -1);
        let from_zero = told.supported_features.iter().filter(|feature| feature.min_version == 0).count();
        assert_eq!(from_zero > 0, version == 4, "KAFKA-17011");
        assert_eq!(cold::negotiate::<m::MetadataRequest>(&told), Some(13));
        assert_eq!(cold::negotiate::<m::ListOffsetsRequest>(&told), Some(10));
        assert_eq!(cold::negotiate::<m::EndTxnRequest>(&told), None);
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let mut out = Vec::new();
    assert_eq!(cold::api_versions_fallback(&mut out, 7), out.len());
    assert_eq!(out, b"\0\0\0\x10\0\0\0\x07\0\x23\0\0\0\x01\0\x12\0\0\0\x04");
    let error = cold::api_versions_error(ErrorCode::InvalidRequest);
    assert_eq!(written(3, error), b"\0\x2a\x01\0\0\0\0\0");
}

#[test]
fn client_software_is_checked() {
    let refused = |name: &str, version: &str| {
        let request = m::ApiVersionsRequest::default()
            .with_client_software_name(s(name))
            .with_client_software_version(s(version));
        let body = crate::samples::body_of(&request, 3);
        cold::decode(ApiKey::ApiVersions.row(), 3, Rope::of(&body)).is_err_and(|e| e == Refusal::BadClientSoftware)
    };
    assert!(!refused("librdkafka", "2.15.0-dev") && !refused("a", "1"));
    for bad in ["", "-a", "a-", "a b", "a_b", ".", "é"] {
        assert!(refused(bad, "1") && refused("a", bad), "{bad}");
    }
}

/// Tools decode what the broker wrote; a request of every sample comes back through the enum's conversions.
#[test]
fn cold_apis_are_those_of_the_enum() {
    let keys: Vec<ApiKey> = APIS.iter().filter(|api| api.path == Path::Cold).map(|api| api.key).collect();
    let mut seen: Vec<ApiKey> = crate::samples::all().iter().map(|sample| sample.request.key()).collect();
    seen.dedup();
    assert_eq!(keys, seen);
    let request = Request::from(m::HeartbeatRequest::default().with_group_id(m::GroupId(s("g"))));
    assert_eq!(request.key(), ApiKey::Heartbeat);
    assert_eq!(TopicName::default().as_str(), "");
}

/// The crate can be exchanged in one place, and no request reaches it unwalked by another road.
#[test]
fn kafka_protocol_is_named_in_the_cold_folder_alone() {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for entry in std::fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&entry).unwrap();
            assert!(!text.contains("kafka_protocol::"), "{}", entry.display());
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen} files");
}
