//! Metadata, DescribeTopicPartitions and DescribeCluster: what clients find the cluster by. Answered from the image; only
//! a topic's first use asks the controller. What topics are is the engine's `metadata`.

use super::{Answer, Command, Context, Outcome, Question, Refusal, Step, Target, answer, controlled, text};
use ringlog_engine::ErrorCode;
use ringlog_engine::metadata::{Partition, Topic, is_internal, validate_topic_name};
use ringlog_engine::types::{PartitionKey, TopicId};
use ringlog_net::cold::messages::describe_cluster_response::DescribeClusterBroker;
use ringlog_net::cold::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use ringlog_net::cold::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ringlog_net::cold::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, MetadataRequest, MetadataResponse, TopicName,
};
use ringlog_net::cold::{Request, StrBytes, topic_id_of, uuid_of};
use std::collections::{BTreeMap, BTreeSet};

/// All a client may do with a topic where nothing is forbidden: the bits of read, write, create, delete, alter, describe,
/// describe and alter configs (KIP-430).
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The same of the cluster: create, alter, describe, cluster action, describe and alter configs, idempotent write.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// "No leader".
const NO_NODE: BrokerId = BrokerId(-1);
/// Endpoint type of DescribeCluster: brokers. The other is controllers (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// A Metadata request whose topics are being created.
#[derive(Debug)]
pub struct Kept {
    request: MetadataRequest,
    /// Asked of the controller, in this order.
    created: Vec<String>,
}

pub fn begin(context: &Context<'_>, request: Request, version: i16, correlation_id: i32, out: &mut Vec<u8>) -> Step {
    match request {
        Request::Metadata(request) => {
            let created = to_create(context, &request, version);
            if !created.is_empty() {
                let question = Question::Control(Command::EnsureTopics(created.clone()));
                let kept = super::Kept::Metadata(Kept { request, created });
                return Step::Ask { questions: vec![(Target::Controller, question)], kept };
            }
            answer(context, out, version, correlation_id, metadata(context, request, version, &BTreeMap::new()));
        }
        Request::DescribeTopicPartitions(request) => {
            answer(context, out, version, correlation_id, describe_topics(context, &request));
        }
        Request::DescribeCluster(request) => {
            answer(context, out, version, correlation_id, describe_cluster(context, &request))
        }
        other => panic!("{:?} is not of this family", other.key()),
    }
    Step::Done
}

/// The controller answered when this core's image had the topics: they are answered whole, where Kafka has clients retry.
pub fn finish(
    context: &Context<'_>,
    kept: Kept,
    answers: Vec<Answer>,
    version: i16,
    correlation_id: i32,
    out: &mut Vec<u8>,
) {
    let results = controlled(answers, kept.created.len(), |outcome| match outcome {
        Outcome::Created(results) => Some(results),
        _ => None,
    });
    let refused = |(name, result): (String, Result<_, Refusal>)| Some((name, result.err()?.0));
    let refusals = kept.created.into_iter().zip(results).filter_map(refused).collect();
    answer(context, out, version, correlation_id, metadata(context, kept.request, version, &refusals));
}

/// Topics to be made because they are asked for by name. The broker's own are made by what needs them.
fn to_create(context: &Context<'_>, request: &MetadataRequest, version: i16) -> Vec<String> {
    if !context.config.auto_create_topics || !request.allow_auto_topic_creation {
        return Vec::new();
    }
    let Some(topics) = asked(request, version) else { return Vec::new() };
    let by_name = topics.iter().filter(|topic| topic.topic_id.is_nil());
    let names: BTreeSet<&str> = by_name.filter_map(|topic| topic.name.as_ref()).map(|name| name.as_str()).collect();
    let missing =
        |name: &&str| context.image.topic(name).is_none() && !is_internal(name) && validate_topic_name(name).is_ok();
    names.into_iter().filter(missing).map(str::to_string).collect()
}

/// None: all. Version 0 has no null, and asks for all with an empty list.
fn asked(
    request: &MetadataRequest,
    version: i16,
) -> Option<&[ringlog_net::cold::messages::metadata_request::MetadataRequestTopic]> {
    request.topics.as_deref().filter(|topics| version > 0 || !topics.is_empty())
}

fn metadata(
    context: &Context<'_>,
    request: MetadataRequest,
    version: i16,
    refusals: &BTreeMap<String, ErrorCode>,
) -> MetadataResponse {
    let operations = request.include_topic_authorized_operations;
    let topics = match asked(&request, version) {
        None => context.image.topics().map(|topic| topic_row(context, topic, operations)).collect(),
        Some(topics) => {
            // Each topic once, however often it is named: an answer grows with what is held, not with what is asked.
            let mut seen = BTreeSet::new();
            let once = topics.iter().filter(|topic| {
                let name = topic.name.as_deref().filter(|_| topic.topic_id.is_nil());
                seen.insert((topic.topic_id, name.map(|name| name.as_str())))
            });
            once.map(|topic| {
                let name = topic.name.as_ref();
                if topic.topic_id.is_nil() {
                    by_name(context, name, operations, refusals)
                } else {
                    by_id(context, topic_id_of(topic.topic_id), name, version, operations)
                }
            })
            .collect()
        }
    };
    let brokers = context.brokers().map(|broker| {
        MetadataResponseBroker::default()
            .with_node_id(broker.id)
            .with_host(text(broker.host))
            .with_port(broker.port)
            .with_rack(rack(context))
    });
    let response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(context.image.cluster_id())))
        .with_controller_id(context.node())
        .with_topics(topics);
    match request.include_cluster_authorized_operations {
        true => response.with_cluster_authorized_operations(CLUSTER_OPERATIONS),
        false => response,
    }
}

fn by_name(
    context: &Context<'_>,
    name: Option<&TopicName>,
    operations: bool,
    refusals: &BTreeMap<String, ErrorCode>,
) -> MetadataResponseTopic {
    let row = MetadataResponseTopic::default();
    let Some(name) = name else { return row.with_error_code(ErrorCode::InvalidRequest.code()) };
    if let Some(topic) = context.image.topic(name) {
        return topic_row(context, topic, operations);
    }
    let code = match validate_topic_name(name) {
        Err((code, _)) => code,
        Ok(()) => refusals.get(name.as_str()).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition),
    };
    row.with_name(Some(name.clone())).with_is_internal(is_internal(name)).with_error_code(code.code())
}

/// Versions 10 and 11 have a field for the id and do not serve it.
fn by_id(
    context: &Context<'_>,
    id: TopicId,
    name: Option<&TopicName>,
    version: i16,
    operations: bool,
) -> MetadataResponseTopic {
    let row = MetadataResponseTopic::default().with_topic_id(uuid_of(id));
    if version < 12 {
        return row
            .with_name(Some(name.cloned().unwrap_or_default()))
            .with_error_code(ErrorCode::InvalidRequest.code());
    }
    match context.image.topic_by_id(id) {
        Some(topic) => topic_row(context, topic, operations),
        None => row.with_name(None).with_error_code(ErrorCode::UnknownTopicId.code()),
    }
}

fn topic_row(context: &Context<'_>, topic: &Topic, operations: bool) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().zip(0..).map(|(partition, index)| {
        let node = context.leader(PartitionKey { topic: topic.id, partition: index }).id;
        let row = MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node]);
        match online(context, partition) {
            true => row.with_leader_id(node),
            false => row
                .with_error_code(ErrorCode::LeaderNotAvailable.code())
                .with_leader_id(NO_NODE)
                .with_offline_replicas(vec![node]),
        }
    });
    let row = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(uuid_of(topic.id))
        .with_is_internal(topic.internal)
        .with_partitions(partitions.collect());
    match operations {
        true => row.with_topic_authorized_operations(TOPIC_OPERATIONS),
        false => row,
    }
}

fn rack(context: &Context<'_>) -> Option<StrBytes> {
    context.config.rack.as_deref().map(text)
}

/// Whether the partition's directory is there and takes reads and writes.
fn online(context: &Context<'_>, partition: &Partition) -> bool {
    context.dirs.iter().any(|dir| dir.id == partition.dir && dir.usable)
}

/// Topics by name, from the cursor on, up to so many partitions; then a cursor to go on with (KIP-966).
fn describe_topics(context: &Context<'_>, request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let response = DescribeTopicPartitionsResponse::default().with_next_cursor(None);
    let (first, index) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index),
        None => ("", 0),
    };
    let Ok(index) = usize::try_from(index) else {
        let refused = request.topics.iter().map(|topic| failed(&topic.name, ErrorCode::InvalidRequest));
        return response.with_topics(refused.collect());
    };
    let mut left = context.config.describe_partitions_max.min(request.response_partition_limit.max(1) as u32) as usize;
    let named: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
    let wanted: Box<dyn Iterator<Item = (&str, Option<&Topic>)>> = match named.is_empty() {
        true => Box::new(context.image.topics_from(first).map(|topic| (topic.name.as_str(), Some(topic)))),
        false => Box::new(named.range(first..).map(|name| (*name, context.image.topic(name)))),
    };
    let mut topics = Vec::new();
    for (name, topic) in wanted {
        let from = if name == first { index } else { 0 };
        if left == 0 {
            return response.with_topics(topics).with_next_cursor(Some(cursor(name, from)));
        }
        let Some(topic) = topic else {
            let invalid = validate_topic_name(name).is_err();
            let code = if invalid { ErrorCode::InvalidTopicException } else { ErrorCode::UnknownTopicOrPartition };
            topics.push(failed(&TopicName(text(name)), code));
            continue;
        };
        let from = from.min(topic.partitions.len());
        let end = topic.partitions.len().min(from + left);
        left -= end - from;
        topics.push(described(context, topic, from, end));
        if end < topic.partitions.len() {
            return response.with_topics(topics).with_next_cursor(Some(cursor(name, end)));
        }
    }
    response.with_topics(topics)
}

fn cursor(name: &str, index: usize) -> Cursor {
    Cursor::default().with_topic_name(TopicName(text(name))).with_partition_index(index as i32)
}

fn failed(name: &TopicName, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(name.clone()))
        .with_is_internal(is_internal(name))
        .with_error_code(code.code())
}

/// Partitions `from..end`. There is one replica, so none is eligible beyond the one in sync.
fn described(context: &Context<'_>, topic: &Topic, from: usize, end: usize) -> DescribeTopicPartitionsResponseTopic {
    let partitions = topic.partitions[from..end].iter().zip(from as i32..).map(|(partition, index)| {
        let node = context.leader(PartitionKey { topic: topic.id, partition: index }).id;
        let row = DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()));
        match online(context, partition) {
            true => row.with_leader_id(node),
            false => row
                .with_error_code(ErrorCode::LeaderNotAvailable.code())
                .with_leader_id(NO_NODE)
                .with_offline_replicas(vec![node]),
        }
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(uuid_of(topic.id))
        .with_is_internal(topic.internal)
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn describe_cluster(context: &Context<'_>, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    let response = DescribeClusterResponse::default().with_error_message(None).with_endpoint_type(BROKERS);
    let refusal = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                .to_string(),
        )),
        other => Some((ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}"))),
    };
    if let Some((code, why)) = refusal {
        return response.with_error_code(code.code()).with_error_message(Some(text(why)));
    }
    let brokers = context.brokers().map(|broker| {
        DescribeClusterBroker::default()
            .with_broker_id(broker.id)
            .with_host(text(broker.host))
            .with_port(broker.port)
            .with_rack(rack(context))
    });
    let response = response
        .with_cluster_id(text(context.image.cluster_id()))
        .with_controller_id(context.node())
        .with_brokers(brokers.collect());
    match request.include_cluster_authorized_operations {
        true => response.with_cluster_authorized_operations(CLUSTER_OPERATIONS),
        false => response,
    }
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
