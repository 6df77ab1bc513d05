//! Versions that `kafka-protocol` 0.18 lacks, by hand, and fields it would refuse to leave out. Not a codec of its own:
//! everything ends in, or starts from, the crate's structures.
//!
//! Layouts: the message schemas of Kafka 3.9 for what 4.0 dropped, of Kafka 4.2 for what is newer than the crate.

use ringlog_engine::rope::Rope;

use super::messages::{self, TopicName, list_offsets_request, offset_commit_request, offset_fetch_request};
use super::messages::{describe_configs_response, offset_for_leader_epoch_request};
use super::{Answer, Request, StrBytes, write_as};
use crate::api::ApiKey;
use crate::refusal::Refusal;
use crate::wire::{self, Put};

/// "No set of authorized operations", the default of those fields.
const NOT_ASKED: i32 = i32::MIN;
/// DescribeConfigs: the source that version 0 called "default".
const DEFAULT_CONFIG: i8 = 5;

/// Turns a body into that of another version with the same meaning, and says which. Most need nothing.
pub(super) fn as_another_version(key: ApiKey, version: i16, body: &mut Vec<u8>) -> i16 {
    match (key, version) {
        (ApiKey::ListOffsets, 11) => 10,
        (ApiKey::OffsetFetch | ApiKey::DeleteTopics | ApiKey::DescribeLogDirs, 0) => 1,
        (ApiKey::CreateTopics, 1) => 2,
        (ApiKey::CreateTopics, 0) => {
            body.push(0); // validate_only
            2
        }
        (ApiKey::DescribeConfigs, 0) => {
            body.push(0); // include_synonyms
            1
        }
        _ => version,
    }
}

/// Decodes the versions that are like no other. None for all the rest.
pub(super) fn decode(key: ApiKey, version: i16, body: &[u8]) -> Result<Option<Request>, Refusal> {
    let body = &mut Rope::of(body);
    Ok(Some(match (key, version) {
        (ApiKey::ListOffsets, 0) => Request::ListOffsets(list_offsets_0(body)?),
        (ApiKey::OffsetCommit, 1) => Request::OffsetCommit(offset_commit_1(body)?),
        (ApiKey::OffsetCommit, 10) => Request::OffsetCommit(offset_commit_10(body)?),
        (ApiKey::OffsetFetch, 10) => Request::OffsetFetch(offset_fetch_10(body)?),
        (ApiKey::OffsetForLeaderEpoch, 0 | 1) => Request::OffsetForLeaderEpoch(offset_for_leader_epoch_0(body)?),
        _ => return Ok(None),
    }))
}

/// How many offsets were asked for is dropped: one is always answered.
fn list_offsets_0(from: &mut Rope<'_>) -> Result<messages::ListOffsetsRequest, Refusal> {
    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let replica_id = from.read_i32()?;
    let topics = array(from, false, |from| {
        let name = text(from, false)?;
        let partitions = array(from, false, |from| {
            let partition = ListOffsetsPartition::default().with_partition_index(from.read_i32()?);
            let partition = partition.with_timestamp(from.read_i64()?);
            from.read_i32()?;
            Ok(partition)
        })?;
        Ok(ListOffsetsTopic::default().with_name(TopicName(name)).with_partitions(partitions))
    })?;
    Ok(messages::ListOffsetsRequest::default().with_replica_id(replica_id.into()).with_topics(topics))
}

/// The time of each commit is dropped: retention counts from the broker's own.
fn offset_commit_1(from: &mut Rope<'_>) -> Result<messages::OffsetCommitRequest, Refusal> {
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let request = messages::OffsetCommitRequest::default()
        .with_group_id(messages::GroupId(text(from, false)?))
        .with_generation_id_or_member_epoch(from.read_i32()?)
        .with_member_id(text(from, false)?);
    let topics = array(from, false, |from| {
        let name = text(from, false)?;
        let partitions = array(from, false, |from| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(from.read_i32()?)
                .with_committed_offset(from.read_i64()?);
            from.read_i64()?;
            Ok(partition.with_committed_metadata(nullable_text(from, false)?))
        })?;
        Ok(OffsetCommitRequestTopic::default().with_name(TopicName(name)).with_partitions(partitions))
    })?;
    Ok(request.with_topics(topics))
}

fn offset_commit_10(from: &mut Rope<'_>) -> Result<messages::OffsetCommitRequest, Refusal> {
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let request = messages::OffsetCommitRequest::default()
        .with_group_id(messages::GroupId(text(from, true)?))
        .with_generation_id_or_member_epoch(from.read_i32()?)
        .with_member_id(text(from, true)?)
        .with_group_instance_id(nullable_text(from, true)?);
    let topics = array(from, true, |from| {
        let id = uuid(from)?;
        let partitions = array(from, true, |from| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(from.read_i32()?)
                .with_committed_offset(from.read_i64()?)
                .with_committed_leader_epoch(from.read_i32()?)
                .with_committed_metadata(nullable_text(from, true)?);
            wire::skip_tags(from)?;
            Ok(partition)
        })?;
        wire::skip_tags(from)?;
        Ok(OffsetCommitRequestTopic::default().with_topic_id(id).with_partitions(partitions))
    })?;
    Ok(request.with_topics(topics))
}

fn offset_fetch_10(from: &mut Rope<'_>) -> Result<messages::OffsetFetchRequest, Refusal> {
    use offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
    let groups = array(from, true, |from| {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(messages::GroupId(text(from, true)?))
            .with_member_id(nullable_text(from, true)?)
            .with_member_epoch(from.read_i32()?);
        let topics = nullable_array(from, true, |from| {
            let id = uuid(from)?;
            let indexes = array(from, true, |from| Ok(from.read_i32()?))?;
            wire::skip_tags(from)?;
            Ok(OffsetFetchRequestTopics::default().with_topic_id(id).with_partition_indexes(indexes))
        })?;
        wire::skip_tags(from)?;
        Ok(group.with_topics(topics))
    })?;
    let require_stable = from.read_u8()? != 0;
    Ok(messages::OffsetFetchRequest::default().with_groups(groups).with_require_stable(require_stable))
}

/// Versions 0 and 1 know no current leader epoch.
fn offset_for_leader_epoch_0(from: &mut Rope<'_>) -> Result<messages::OffsetForLeaderEpochRequest, Refusal> {
    use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let topics = array(from, false, |from| {
        let name = text(from, false)?;
        let partitions = array(from, false, |from| {
            let partition = OffsetForLeaderPartition::default().with_partition(from.read_i32()?);
            Ok(partition.with_leader_epoch(from.read_i32()?).with_current_leader_epoch(-1))
        })?;
        Ok(OffsetForLeaderTopic::default().with_topic(TopicName(name)).with_partitions(partitions))
    })?;
    Ok(messages::OffsetForLeaderEpochRequest::default().with_topics(topics))
}

fn array<'a, T>(
    from: &mut Rope<'a>,
    flexible: bool,
    element: impl FnMut(&mut Rope<'a>) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    nullable_array(from, flexible, element)?.ok_or(Refusal::NullNotAllowed)
}

fn nullable_array<'a, T>(
    from: &mut Rope<'a>,
    flexible: bool,
    mut element: impl FnMut(&mut Rope<'a>) -> Result<T, Refusal>,
) -> Result<Option<Vec<T>>, Refusal> {
    let Some(count) = wire::nullable_count(from, flexible, 1)? else { return Ok(None) };
    (0..count).map(|_| element(from)).collect::<Result<Vec<T>, Refusal>>().map(Some)
}

fn text(from: &mut Rope<'_>, flexible: bool) -> Result<StrBytes, Refusal> {
    nullable_text(from, flexible)?.ok_or(Refusal::NullNotAllowed)
}

fn nullable_text(from: &mut Rope<'_>, flexible: bool) -> Result<Option<StrBytes>, Refusal> {
    let Some(text) = wire::nullable_string(from, flexible)? else { return Ok(None) };
    let mut bytes = Vec::with_capacity(text.len());
    text.append_to(&mut bytes);
    String::from_utf8(bytes).map(|text| Some(StrBytes::from_string(text))).map_err(|_| Refusal::NotUtf8)
}

fn uuid(from: &mut Rope<'_>) -> Result<uuid::Uuid, Refusal> {
    Ok(uuid::Uuid::from_bytes(from.read_array()?))
}

impl Answer for messages::MetadataResponse {
    const KEY: ApiKey = ApiKey::Metadata;

    fn write(mut self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        if !(8..=10).contains(&version) {
            self.cluster_authorized_operations = NOT_ASKED;
        }
        if version < 8 {
            self.topics.iter_mut().for_each(|topic| topic.topic_authorized_operations = NOT_ASKED);
        }
        write_as(&self, out, version)
    }
}

impl Answer for messages::JoinGroupResponse {
    const KEY: ApiKey = ApiKey::JoinGroup;

    fn write(mut self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        self.skip_assignment &= version >= 9;
        write_as(&self, out, version)
    }
}

impl Answer for messages::DescribeGroupsResponse {
    const KEY: ApiKey = ApiKey::DescribeGroups;

    fn write(mut self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        for group in &mut self.groups {
            if version < 6 {
                group.error_message = None;
            }
            if version < 3 {
                group.authorized_operations = NOT_ASKED;
            }
        }
        write_as(&self, out, version)
    }
}

impl Answer for messages::DescribeClusterResponse {
    const KEY: ApiKey = ApiKey::DescribeCluster;

    fn write(mut self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        if version < 1 {
            self.endpoint_type = 1;
        }
        if version < 2 {
            self.brokers.iter_mut().for_each(|broker| broker.is_fenced = false);
        }
        write_as(&self, out, version)
    }
}

impl Answer for messages::DescribeLogDirsResponse {
    const KEY: ApiKey = ApiKey::DescribeLogDirs;

    fn write(self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        write_as(&self, out, version.max(1))
    }
}

impl Answer for messages::OffsetCommitResponse {
    const KEY: ApiKey = ApiKey::OffsetCommit;

    fn write(self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        write_as(&self, out, version.max(2))
    }
}

impl Answer for messages::ListOffsetsResponse {
    const KEY: ApiKey = ApiKey::ListOffsets;

    /// Version 0 answers a list of offsets: the one found, or none.
    fn write(mut self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        if version < 4 {
            let partitions = self.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            partitions.for_each(|partition| partition.leader_epoch = -1);
        }
        if version > 0 {
            return write_as(&self, out, version.min(10));
        }
        out.put_count(false, Some(self.topics.len()));
        for topic in &self.topics {
            put_text(out, Some(&topic.name))?;
            out.put_count(false, Some(topic.partitions.len()));
            for partition in &topic.partitions {
                let found = partition.error_code == 0 && partition.offset >= 0;
                out.put_i32(partition.partition_index);
                out.put_i16(partition.error_code);
                out.put_count(false, Some(usize::from(found)));
                if found {
                    out.put_i64(partition.offset);
                }
            }
        }
        Ok(())
    }
}

impl Answer for messages::CreateTopicsResponse {
    const KEY: ApiKey = ApiKey::CreateTopics;

    fn write(self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        if version >= 2 {
            return write_as(&self, out, version);
        }
        out.put_count(false, Some(self.topics.len()));
        for topic in &self.topics {
            put_text(out, Some(&topic.name))?;
            out.put_i16(topic.error_code);
            if version == 1 {
                put_text(out, topic.error_message.as_deref())?;
            }
        }
        Ok(())
    }
}

impl Answer for messages::DeleteTopicsResponse {
    const KEY: ApiKey = ApiKey::DeleteTopics;

    fn write(self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        if version >= 1 {
            return write_as(&self, out, version);
        }
        out.put_count(false, Some(self.responses.len()));
        for topic in &self.responses {
            put_text(out, Some(topic.name.as_deref().map_or("", |name| name.as_str())))?;
            out.put_i16(topic.error_code);
        }
        Ok(())
    }
}

impl Answer for messages::OffsetForLeaderEpochResponse {
    const KEY: ApiKey = ApiKey::OffsetForLeaderEpoch;

    fn write(self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        if version >= 2 {
            return write_as(&self, out, version);
        }
        out.put_count(false, Some(self.topics.len()));
        for topic in &self.topics {
            put_text(out, Some(&topic.topic))?;
            out.put_count(false, Some(topic.partitions.len()));
            for partition in &topic.partitions {
                out.put_i16(partition.error_code);
                out.put_i32(partition.partition);
                if version == 1 {
                    out.put_i32(partition.leader_epoch);
                }
                out.put_i64(partition.end_offset);
            }
        }
        Ok(())
    }
}

impl Answer for messages::DescribeConfigsResponse {
    const KEY: ApiKey = ApiKey::DescribeConfigs;

    /// Version 0 tells whether a value is the default, where later ones name its source and synonyms.
    fn write(self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        if version >= 1 {
            return write_as(&self, out, version);
        }
        out.put_i32(self.throttle_time_ms);
        out.put_count(false, Some(self.results.len()));
        for result in &self.results {
            out.put_i16(result.error_code);
            put_text(out, result.error_message.as_deref())?;
            out.put_i8(result.resource_type);
            put_text(out, Some(&result.resource_name))?;
            out.put_count(false, Some(result.configs.len()));
            for config in &result.configs {
                put_config_0(out, config)?;
            }
        }
        Ok(())
    }
}

fn put_config_0(
    out: &mut Vec<u8>,
    config: &describe_configs_response::DescribeConfigsResourceResult,
) -> Result<(), String> {
    put_text(out, Some(&config.name))?;
    put_text(out, config.value.as_deref())?;
    out.put_i8(i8::from(config.read_only));
    out.put_i8(i8::from(config.config_source == DEFAULT_CONFIG));
    out.put_i8(i8::from(config.is_sensitive));
    Ok(())
}

/// A string of the old kind, if it is short enough for one.
fn put_text(out: &mut Vec<u8>, text: Option<&str>) -> Result<(), String> {
    match text {
        Some(text) if text.len() > i16::MAX as usize => Err(format!("a string of {} bytes", text.len())),
        text => {
            out.put_string(false, text);
            Ok(())
        }
    }
}
