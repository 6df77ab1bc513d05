//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete. Translation, and the topics that are not there.

use super::{Ask, Home, Kept, nullable_string, said, text};
use crate::api::{Answer, Context};
use ringlog_engine::ErrorCode;
use ringlog_engine::group::{self, Request};
use ringlog_engine::metadata::{Image, Topic};
use ringlog_engine::types::TopicId;
use ringlog_net::cold::messages::offset_commit_request::OffsetCommitRequestTopic;
use ringlog_net::cold::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use ringlog_net::cold::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use ringlog_net::cold::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ringlog_net::cold::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use ringlog_net::cold::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};
use ringlog_net::cold::{topic_id_of, uuid_of};
use std::collections::HashSet;

/// From this version on, OffsetCommit and OffsetFetch name topics by their ids (KIP-848).
const TOPIC_IDS: i16 = 10;
/// From this version on, a commit may be told that its group is not there.
const GROUP_ID_NOT_FOUND_KNOWN: i16 = 9;
/// From this version on, OffsetFetch has a place for a group's error.
const GROUP_ERROR: i16 = 2;

/// One topic of a request, as it has to appear in the answer.
#[derive(Debug)]
pub struct Laid {
    name: String,
    id: TopicId,
    /// In the order of the request; None where the coordinator is asked.
    partitions: Vec<(i32, Option<ErrorCode>)>,
}

/// Which partitions of a topic are there to be asked about, and what is said of the others.
fn lay(topic: Result<&Topic, ErrorCode>, partitions: impl Iterator<Item = i32>) -> Vec<(i32, Option<ErrorCode>)> {
    let own = |partition: i32| match topic {
        Err(error) => Some(error),
        Ok(topic) if usize::try_from(partition).is_ok_and(|n| n < topic.partitions.len()) => None,
        Ok(_) => Some(ErrorCode::UnknownTopicOrPartition),
    };
    partitions.map(|partition| (partition, own(partition))).collect()
}

/// What the coordinator said, in the order of the request, goes where it was asked.
fn settle(
    laid: Vec<Laid>,
    said: Result<Vec<(i32, ErrorCode)>, ErrorCode>,
) -> impl Iterator<Item = (String, TopicId, Vec<(i32, ErrorCode)>)> {
    let mut said = said.map(Vec::into_iter);
    laid.into_iter().map(move |topic| {
        let settled = topic.partitions.into_iter().map(|(partition, own)| match (own, &mut said) {
            (Some(own), _) => (partition, own),
            (None, Err(error)) => (partition, *error),
            (None, Ok(said)) => {
                let next = said.next();
                let (answered, error) = next.unwrap_or_else(|| panic!("no answer for partition {partition}"));
                assert_eq!(answered, partition, "the partition answered, against the one asked about");
                (partition, error)
            }
        });
        (topic.name, topic.id, settled.collect())
    })
}

fn named<'a>(image: &'a Image, name: &str) -> Result<&'a Topic, ErrorCode> {
    image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)
}

fn committed_to<'a>(image: &'a Image, topic: &OffsetCommitRequestTopic, version: i16) -> Result<&'a Topic, ErrorCode> {
    if version >= TOPIC_IDS {
        image.topic_by_id(topic_id_of(topic.topic_id)).ok_or(ErrorCode::UnknownTopicId)
    } else {
        named(image, &topic.name)
    }
}

pub(super) fn commit(context: &Context<'_>, home: &Home, request: OffsetCommitRequest, version: i16) -> (Ask, Kept) {
    let (mut laid, mut topics) = (Vec::new(), Vec::new());
    for topic in request.topics {
        let found = committed_to(context.image, &topic, version);
        let own = lay(found, topic.partitions.iter().map(|partition| partition.partition_index));
        let known = topic.partitions.into_iter().zip(&own).filter(|(_, (_, own))| own.is_none());
        let known = known.map(|(partition, _)| group::CommitPartition {
            partition: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: nullable_string(partition.committed_metadata),
        });
        let partitions: Vec<group::CommitPartition> = known.collect();
        if let (Ok(found), false) = (found, partitions.is_empty()) {
            topics.push(group::CommitTopic { name: found.name.clone(), topic_id: found.id, partitions });
        }
        laid.push(Laid { name: topic.name.to_string(), id: topic_id_of(topic.topic_id), partitions: own });
    }
    if topics.is_empty() {
        let nothing = group::Response::OffsetCommit(group::OffsetCommitResponse { topics: Vec::new() });
        return (Ask::Nobody(vec![Answer::Group(nothing)]), Kept::OffsetCommit(laid));
    }
    let asked = group::OffsetCommitRequest {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id_or_member_epoch,
        member_id: request.member_id.to_string(),
        group_instance_id: nullable_string(request.group_instance_id),
        retention_ms: Some(request.retention_time_ms).filter(|ms| *ms >= 0),
        group_id_not_found_known: version >= GROUP_ID_NOT_FOUND_KNOWN,
        topics,
    };
    (home.ask(&request.group_id, Request::OffsetCommit(asked)), Kept::OffsetCommit(laid))
}

pub(super) fn committed(laid: Vec<Laid>, answer: Answer) -> OffsetCommitResponse {
    let said = said!(answer, OffsetCommit);
    let said = said.map(|said| said.topics.into_iter().flat_map(|topic| topic.partitions).collect());
    let topics = settle(laid, said).map(|(name, id, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, error)| {
            OffsetCommitResponsePartition::default().with_partition_index(partition).with_error_code(error.code())
        });
        OffsetCommitResponseTopic::default()
            .with_name(TopicName(text(name)))
            .with_topic_id(uuid_of(id))
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

pub(super) fn delete(context: &Context<'_>, home: &Home, request: OffsetDeleteRequest) -> (Ask, Kept) {
    let (mut laid, mut topics) = (Vec::new(), Vec::new());
    for topic in request.topics {
        let found = named(context.image, &topic.name);
        let own = lay(found, topic.partitions.iter().map(|partition| partition.partition_index));
        let known: Vec<i32> = own.iter().filter(|(_, own)| own.is_none()).map(|(partition, _)| *partition).collect();
        if !known.is_empty() {
            topics.push((topic.name.to_string(), known));
        }
        laid.push(Laid { name: topic.name.to_string(), id: TopicId::ZERO, partitions: own });
    }
    if topics.is_empty() {
        let nothing = group::OffsetDeleteResponse { error: ErrorCode::None, topics: Vec::new() };
        let nothing = Answer::Group(group::Response::OffsetDelete(nothing));
        return (Ask::Nobody(vec![nothing]), Kept::OffsetDelete(laid));
    }
    let asked = group::OffsetDeleteRequest { group_id: request.group_id.to_string(), topics };
    (home.ask_named(&request.group_id, Request::OffsetDelete(asked)), Kept::OffsetDelete(laid))
}

/// A group's error stands alone: the topics are left out.
pub(super) fn deleted(laid: Vec<Laid>, answer: Answer) -> OffsetDeleteResponse {
    let said = match said!(answer, OffsetDelete) {
        Ok(said) if said.error.is_ok() => said,
        Ok(group::OffsetDeleteResponse { error, .. }) | Err(error) => {
            return OffsetDeleteResponse::default().with_error_code(error.code());
        }
    };
    let said = Ok(said.topics.into_iter().flat_map(|(_, partitions)| partitions).collect());
    let topics = settle(laid, said).map(|(name, _, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, error)| {
            OffsetDeleteResponsePartition::default().with_partition_index(partition).with_error_code(error.code())
        });
        OffsetDeleteResponseTopic::default().with_name(TopicName(text(name))).with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}

/// One group of OffsetFetch, as it has to appear in the answer.
#[derive(Debug)]
pub struct AskedGroup {
    id: String,
    /// None: all.
    topics: Option<Vec<AskedTopic>>,
}

#[derive(Debug)]
struct AskedTopic {
    name: String,
    id: TopicId,
    /// Set where the coordinator is not asked.
    error: Option<ErrorCode>,
    /// Kept where they may have to be answered here; else empty.
    partitions: Vec<i32>,
}

/// A group asked for twice is answered once: an answer may be a thousand times the size of its question.
pub(super) fn fetch(context: &Context<'_>, home: &Home, request: OffsetFetchRequest, version: i16) -> (Ask, Kept) {
    let require_stable = request.require_stable;
    let mut seen = HashSet::new();
    let distinct = request.groups.into_iter().filter(|group| seen.insert(group.group_id.clone()));
    let (mut questions, mut answers, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for group in distinct {
        let (asked, topics) = fetch_of(context.image, group, version);
        let request = group::OffsetFetchRequest { group_id: asked.id.clone(), topics, require_stable };
        match home.ask(&asked.id, Request::OffsetFetch(request)) {
            Ask::Others(more) => questions.extend(more),
            Ask::Nobody(more) => answers.extend(more),
        }
        kept.push(asked);
    }
    let ask = if questions.is_empty() { Ask::Nobody(answers) } else { Ask::Others(questions) };
    (ask, Kept::OffsetFetch(kept))
}

/// One group: what is kept of it, and what its coordinator is asked about.
fn fetch_of(
    image: &Image,
    group: OffsetFetchRequestGroup,
    version: i16,
) -> (AskedGroup, Option<Vec<group::FetchTopic>>) {
    let id = group.group_id.to_string();
    let Some(topics) = group.topics else { return (AskedGroup { id, topics: None }, None) };
    let (mut kept, mut asked) = (Vec::new(), Vec::new());
    for topic in topics {
        let (of_kept, of_asked) = fetch_of_topic(image, topic, version);
        kept.push(of_kept);
        asked.extend(of_asked);
    }
    (AskedGroup { id, topics: Some(kept) }, Some(asked))
}

/// By name, an offset may be fetched of a topic that is not there.
fn fetch_of_topic(
    image: &Image,
    topic: OffsetFetchRequestTopics,
    version: i16,
) -> (AskedTopic, Option<group::FetchTopic>) {
    let partitions = topic.partition_indexes;
    let (name, id) = if version < TOPIC_IDS {
        (topic.name.to_string(), image.topic(&topic.name).map_or(TopicId::ZERO, |found| found.id))
    } else {
        let id = topic_id_of(topic.topic_id);
        let Some(found) = image.topic_by_id(id) else {
            let error = Some(ErrorCode::UnknownTopicId);
            return (AskedTopic { name: String::new(), id, error, partitions }, None);
        };
        (found.name.clone(), id)
    };
    let own = if version < GROUP_ERROR { partitions.clone() } else { Vec::new() };
    let kept = AskedTopic { name: name.clone(), id, error: None, partitions: own };
    (kept, Some(group::FetchTopic { name, topic_id: id, partitions }))
}

pub(super) fn fetched(
    context: &Context<'_>,
    asked: Vec<AskedGroup>,
    answers: Vec<Answer>,
    version: i16,
) -> OffsetFetchResponse {
    assert_eq!(answers.len(), asked.len(), "answers, against groups asked about");
    let groups = asked.into_iter().zip(answers).map(|(asked, answer)| {
        let group = OffsetFetchResponseGroup::default().with_group_id(GroupId(text(asked.id)));
        match said!(answer, OffsetFetch) {
            Ok(said) if said.error.is_ok() => group.with_topics(match asked.topics {
                Some(topics) => in_order(topics, said.topics),
                None => all(context.image, said.topics, version),
            }),
            Ok(group::OffsetFetchResponse { error, .. }) | Err(error) => {
                let topics = asked.topics.filter(|_| version < GROUP_ERROR).unwrap_or_default();
                let topics = topics.into_iter().map(|topic| absent(topic, error));
                group.with_error_code(error.code()).with_topics(topics.collect())
            }
        }
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

/// The coordinator's topics, and between them those it was not asked about.
fn in_order(asked: Vec<AskedTopic>, said: Vec<group::FetchedTopic>) -> Vec<OffsetFetchResponseTopics> {
    let mut said = said.into_iter();
    let topics = asked.into_iter().map(|topic| match topic.error {
        Some(error) => absent(topic, error),
        None => {
            let next = said.next().unwrap_or_else(|| panic!("no answer for topic {}", topic.name));
            assert_eq!(next.name, topic.name, "the topic answered, against the one asked about");
            offsets_of(topic.name, topic.id, next.partitions)
        }
    });
    topics.collect()
}

/// Every committed offset. What has no id cannot be told where topics go by ids.
fn all(image: &Image, said: Vec<group::FetchedTopic>, version: i16) -> Vec<OffsetFetchResponseTopics> {
    let topics = said.into_iter().filter_map(|topic| {
        let known = || image.topic(&topic.name).map_or(TopicId::ZERO, |found| found.id);
        let id = if topic.topic_id.is_zero() { known() } else { topic.topic_id };
        let tellable = version < TOPIC_IDS || !id.is_zero();
        tellable.then(|| offsets_of(topic.name, id, topic.partitions))
    });
    topics.collect()
}

fn offsets_of(name: String, id: TopicId, offsets: Vec<group::FetchedOffset>) -> OffsetFetchResponseTopics {
    let partitions = offsets.into_iter().map(|offset| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(offset.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch)
            .with_metadata(Some(text(offset.metadata)))
            .with_error_code(offset.error.code())
    });
    OffsetFetchResponseTopics::default()
        .with_name(TopicName(text(name)))
        .with_topic_id(uuid_of(id))
        .with_partitions(partitions.collect())
}

/// No offset for any partition asked about.
fn absent(topic: AskedTopic, error: ErrorCode) -> OffsetFetchResponseTopics {
    let none =
        |partition| group::FetchedOffset { partition, offset: -1, leader_epoch: -1, metadata: String::new(), error };
    offsets_of(topic.name, topic.id, topic.partitions.into_iter().map(none).collect())
}
