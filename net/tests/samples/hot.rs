//! Filled-in Produce and Fetch requests, with tagged fields that this broker does not know where the version has tags.

use super::{Bytes, bytes, id, s, topic};
use ringlog_net::cold::messages::{self as m, BrokerId};

const UNKNOWN_TAG: i32 = 99;

fn tag() -> Bytes {
    bytes(b"tagged")
}

pub(crate) fn produce(v: i16) -> m::ProduceRequest {
    use m::produce_request::{PartitionProduceData, TopicProduceData};
    let part = |index, records: Option<&[u8]>| {
        let part = PartitionProduceData::default().with_index(index).with_records(records.map(bytes));
        if v >= 9 { part.with_unknown_tagged_field(UNKNOWN_TAG, tag()) } else { part }
    };
    let of = |name: &str, parts| {
        let data = TopicProduceData::default().with_partition_data(parts);
        let data = if v >= 13 { data.with_topic_id(id()) } else { data.with_name(topic(name)) };
        if v >= 9 { data.with_unknown_tagged_field(UNKNOWN_TAG, tag()) } else { data }
    };
    let request = m::ProduceRequest::default().with_acks(-1).with_timeout_ms(1500).with_topic_data(vec![
        of("first", vec![part(0, Some(&[5; 200])), part(1, None)]),
        of("second", vec![part(2, Some(b""))]),
    ]);
    if v >= 9 { request.with_unknown_tagged_field(UNKNOWN_TAG, tag()) } else { request }
}

pub(crate) fn fetch(v: i16) -> m::FetchRequest {
    use m::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
    let part = |index| {
        let part = FetchPartition::default()
            .with_partition(index)
            .with_current_leader_epoch(if v >= 9 { 3 } else { -1 })
            .with_fetch_offset(i64::from(index) + 40)
            .with_last_fetched_epoch(if v >= 12 { 2 } else { -1 })
            .with_log_start_offset(if v >= 5 { 9 } else { -1 })
            .with_partition_max_bytes(4096);
        let part = if v >= 17 { part.with_replica_directory_id(id()) } else { part };
        if v >= 12 { part.with_unknown_tagged_field(UNKNOWN_TAG, tag()) } else { part }
    };
    let of = |name: &str, parts| {
        let data = FetchTopic::default().with_partitions(parts);
        if v >= 13 { data.with_topic_id(id()) } else { data.with_topic(topic(name)) }
    };
    let forgotten = ForgottenTopic::default().with_partitions(vec![4, 5]);
    let forgotten = if v >= 13 { forgotten.with_topic_id(id()) } else { forgotten.with_topic(topic("gone")) };
    let mut request = m::FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_isolation_level(1)
        .with_topics(vec![of("first", vec![part(0), part(1)]), of("second", vec![part(2)])]);
    if v >= 7 {
        request = request.with_session_id(77).with_session_epoch(3).with_forgotten_topics_data(vec![forgotten]);
    }
    if v >= 11 {
        request = request.with_rack_id(s("rack"));
    }
    if v >= 12 {
        request = request.with_cluster_id(Some(s("cluster"))).with_unknown_tagged_field(UNKNOWN_TAG, tag());
    }
    if v >= 15 {
        request =
            request.with_replica_state(ReplicaState::default().with_replica_id(BrokerId(6)).with_replica_epoch(12));
    }
    request
}
