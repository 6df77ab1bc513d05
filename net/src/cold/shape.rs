//! One shape per API where Kafka changed it: handlers see and fill in the newest, whatever the version. Not layouts of bytes.
//!
//! FindCoordinator takes many keys from version 4, LeaveGroup many members from 3, OffsetFetch many groups from 8 and
//! DeleteTopics structures from 6. Older requests become a list of one, and the one answer is put where they look for it.

use super::messages::delete_topics_request::DeleteTopicState;
use super::messages::leave_group_request::MemberIdentity;
use super::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use super::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use super::messages::{FindCoordinatorResponse, LeaveGroupResponse, OffsetFetchRequest, OffsetFetchResponse};
use super::{Answer, Request, write_as};
use crate::api::ApiKey;

/// Turns a decoded request into the shape of its newest version.
pub(super) fn newest(version: i16, request: Request) -> Request {
    match request {
        Request::FindCoordinator(mut request) if version < 4 => {
            request.coordinator_keys = vec![std::mem::take(&mut request.key)];
            Request::FindCoordinator(request)
        }
        Request::LeaveGroup(mut request) if version < 3 => {
            let member_id = std::mem::take(&mut request.member_id);
            request.members = vec![MemberIdentity::default().with_member_id(member_id).with_group_instance_id(None)];
            Request::LeaveGroup(request)
        }
        Request::DeleteTopics(mut request) if version < 6 => {
            let names = std::mem::take(&mut request.topic_names);
            request.topics = names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name))).collect();
            Request::DeleteTopics(request)
        }
        Request::OffsetFetch(request) if version < 8 => Request::OffsetFetch(one_group(request)),
        request => request,
    }
}

/// The topics asked for, or None for all (from version 2), move into a group of their own.
fn one_group(mut request: OffsetFetchRequest) -> OffsetFetchRequest {
    let topics = request.topics.replace(Vec::new()).map(|topics| {
        let moved = topics.into_iter().map(|topic| {
            OffsetFetchRequestTopics::default().with_name(topic.name).with_partition_indexes(topic.partition_indexes)
        });
        moved.collect()
    });
    let group_id = std::mem::take(&mut request.group_id);
    request.groups = vec![OffsetFetchRequestGroup::default().with_group_id(group_id).with_topics(topics)];
    request
}

/// The one element an old version has room for.
fn only<T>(mut elements: Vec<T>) -> Result<T, String> {
    match elements.len() {
        1 => Ok(elements.remove(0)),
        n => Err(format!("{n} elements where the version has room for one")),
    }
}

impl Answer for FindCoordinatorResponse {
    const KEY: ApiKey = ApiKey::FindCoordinator;

    fn write(mut self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        if version < 4 {
            let found = only(std::mem::take(&mut self.coordinators))?;
            self.error_code = found.error_code;
            self.error_message = found.error_message;
            self.node_id = found.node_id;
            self.host = found.host;
            self.port = found.port;
        }
        write_as(&self, out, version)
    }
}

impl Answer for LeaveGroupResponse {
    const KEY: ApiKey = ApiKey::LeaveGroup;

    /// Up to version 2 the one member's error is the group's, unless the group has its own.
    fn write(mut self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        if version < 3 {
            let members = std::mem::take(&mut self.members);
            if self.error_code == 0 {
                self.error_code = only(members)?.error_code;
            }
        }
        write_as(&self, out, version)
    }
}

impl Answer for OffsetFetchResponse {
    const KEY: ApiKey = ApiKey::OffsetFetch;

    /// Versions 0 and 1 have no place for a group's error: it goes to each partition that has none of its own.
    fn write(mut self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
        if version < 8 {
            let group = only(std::mem::take(&mut self.groups))?;
            self.error_code = if version < 2 { 0 } else { group.error_code };
            self.topics = flat(group, version);
        }
        write_as(&self, out, version.max(1))
    }
}

fn flat(group: OffsetFetchResponseGroup, version: i16) -> Vec<OffsetFetchResponseTopic> {
    let group_error = if version < 2 { group.error_code } else { 0 };
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let own = partition.error_code;
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                .with_error_code(if own == 0 { group_error } else { own })
        });
        OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
    });
    topics.collect()
}
