//! What clients ask to be changed, checked against an image: the entries to append, or the refusal in Kafka's code and
//! words. Nothing is changed here; ids and the state of the disks are arguments.
//!
//! A request about several topics is one command a topic, each against the image that has the entries of those before.

use super::DirId;
use super::entry::{Entry, PartitionRow};
use super::image::{Image, Topic, settings};
use crate::ErrorCode;
use crate::config::alter::{BrokerScope, Change, Refusal, alter_broker, alter_topic, replace_broker, replace_topic};
use crate::config::{BrokerConfig, Values};
use crate::limits::{PARTITIONS_PER_REQUEST, PRODUCER_ID_BLOCK, TOPIC_NAME_BYTES};
use crate::types::TopicId;

/// Where committed offsets and groups are kept.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
const INTERNAL_TOPICS: [&str; 3] = [OFFSETS_TOPIC, "__transaction_state", "__share_group_state"];
/// Lowest `segment.bytes` of a topic; `offsets.topic.segment.bytes` may be lower.
const SEGMENT_BYTES_MIN: u32 = 1024 * 1024;

/// A log directory that takes new partitions, and how many it has.
#[derive(Clone, Copy, Debug)]
pub struct Dir {
    pub id: DirId,
    pub partitions: usize,
}

/// A topic to be created.
#[derive(Clone, Copy, Debug)]
pub struct NewTopic<'a> {
    pub name: &'a str,
    /// -1: the broker's default.
    pub partitions: i32,
    /// -1: the broker's default.
    pub replication_factor: i16,
    /// Partition number and its replicas; empty: placed by the broker.
    pub assignments: &'a [(i32, &'a [i32])],
    pub configs: &'a [(&'a str, Option<&'a str>)],
}

/// What a command comes to. With `validate_only`, the caller drops it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    pub entries: Vec<Entry>,
    /// Of the topic as it will be.
    pub partitions: i32,
    pub configs: Values,
}

/// How a topic is named in a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicRef<'a> {
    Name(&'a str),
    Id(TopicId),
}

/// Incremental changes, or all settings anew.
#[derive(Clone, Copy, Debug)]
pub enum ConfigChange<'a> {
    Alter(&'a [Change<'a>]),
    Replace(&'a [(&'a str, Option<&'a str>)]),
}

/// The broker a change of settings is about: all of them by default, or one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrokerResource {
    Default,
    Node(i32),
}

impl BrokerResource {
    /// Reads a resource name: empty for the defaults, else a node id.
    pub fn parse(name: &str) -> Result<BrokerResource, Refusal> {
        match name.parse() {
            Ok(id) => Ok(BrokerResource::Node(id)),
            Err(_) if name.is_empty() => Ok(BrokerResource::Default),
            Err(_) => refuse(ErrorCode::InvalidRequest, format!("Node id must be an integer, but it is: {name}")),
        }
    }
}

fn refuse<T>(code: ErrorCode, text: impl Into<String>) -> Result<T, Refusal> {
    Err((code, text.into()))
}

/// The first entry of a new cluster. The id is 16 random bytes.
pub fn create_cluster(random: [u8; 16], node_id: i32) -> Entry {
    Entry::ClusterCreated { cluster_id: TopicId::from_random(random).to_string(), node_id }
}

/// Whether the broker keeps a topic of this name for itself.
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// Kafka's rules for topic names (`Topic.validate`).
pub fn validate_topic_name(name: &str) -> Result<(), Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let reason = match name {
        "" => "the empty string is not allowed".to_string(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.len() > TOPIC_NAME_BYTES => {
            format!("the length of '{name}' is longer than the max allowed length {TOPIC_NAME_BYTES}")
        }
        _ if !name.bytes().all(allowed) => {
            format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
        }
        _ => return Ok(()),
    };
    refuse(ErrorCode::InvalidTopicException, format!("Topic name is invalid: {reason}"))
}

/// Creates a topic with this id, its partitions spread over `dirs`.
pub fn create_topic(
    image: &Image,
    config: &BrokerConfig,
    dirs: &[Dir],
    new: &NewTopic<'_>,
    id: TopicId,
) -> Result<Planned, Refusal> {
    validate_topic_name(new.name)?;
    if image.topic(new.name).is_some() {
        return refuse(ErrorCode::TopicAlreadyExists, format!("Topic '{}' already exists.", new.name));
    }
    if let Some(other) = image.colliding(new.name) {
        let text = format!("Topic '{}' collides with existing topic: {other}", new.name);
        return refuse(ErrorCode::InvalidTopicException, text);
    }
    let configs = topic_configs(config, new)?;
    let partitions = partition_count(config, image.node_id(), new)?;
    if image.topics().len() >= config.limits.topics as usize {
        let text = format!("This node already has {} topics (ringlog.max.topics).", config.limits.topics);
        return refuse(ErrorCode::PolicyViolation, text);
    }
    let rows = place(image, config, dirs, partitions)?;
    let entry = Entry::TopicCreated {
        name: new.name.to_string(),
        id: id.0,
        internal: is_internal(new.name),
        partitions: rows,
        configs: settings(&configs),
    };
    Ok(Planned { entries: vec![entry], partitions: partitions as i32, configs })
}

/// Creates `__consumer_offsets` as the settings say; no entries if it is there.
pub fn create_offsets_topic(
    image: &Image,
    config: &BrokerConfig,
    dirs: &[Dir],
    id: TopicId,
) -> Result<Planned, Refusal> {
    if let Some(topic) = image.topic(OFFSETS_TOPIC) {
        let (partitions, configs) = (topic.partitions.len() as i32, topic.configs.clone());
        return Ok(Planned { entries: Vec::new(), partitions, configs });
    }
    let partitions = config.groups.offsets_partitions;
    let new = NewTopic { name: OFFSETS_TOPIC, partitions, replication_factor: 1, assignments: &[], configs: &[] };
    create_topic(image, config, dirs, &new, id)
}

/// The settings given, over those an internal topic needs to keep what it is for.
fn topic_configs(config: &BrokerConfig, new: &NewTopic<'_>) -> Result<Values, Refusal> {
    if let Some((name, _)) = new.configs.iter().find(|(_, value)| value.is_none()) {
        return refuse(ErrorCode::InvalidConfig, format!("Null value not supported for topic configs: {name}"));
    }
    let mut configs = replace_topic(new.configs, &config.layers)?;
    if new.name == OFFSETS_TOPIC {
        let segment = config.groups.offsets_segment_bytes.max(SEGMENT_BYTES_MIN).to_string();
        for (name, value) in [
            ("cleanup.policy", "compact"),
            ("compression.type", "producer"),
            ("segment.bytes", segment.as_str()),
            ("ringlog.flush", "durable"),
        ] {
            configs.entry(name.to_string()).or_insert_with(|| value.to_string());
        }
    }
    Ok(configs)
}

fn partition_count(config: &BrokerConfig, node_id: i32, new: &NewTopic<'_>) -> Result<usize, Refusal> {
    if !new.assignments.is_empty() {
        return assigned_count(node_id, new);
    }
    match new.replication_factor {
        -1 | 1 => {}
        factor if factor < 1 => {
            let text = "Replication factor must be larger than 0, or -1 to use the default value.";
            return refuse(ErrorCode::InvalidReplicationFactor, text);
        }
        factor => {
            let text = format!(
                "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot \
                 be reached because only 1 broker(s) are registered."
            );
            return refuse(ErrorCode::InvalidReplicationFactor, text);
        }
    }
    match new.partitions {
        -1 => Ok(config.num_partitions as usize),
        count if count < 1 => {
            let text = "Number of partitions was set to an invalid non-positive value.";
            refuse(ErrorCode::InvalidPartitions, text)
        }
        count => Ok(count as usize),
    }
}

fn assigned_count(node_id: i32, new: &NewTopic<'_>) -> Result<usize, Refusal> {
    let both = |what: &str| {
        let text = format!("A manual partition assignment was specified, but {what} was not set to -1.");
        refuse(ErrorCode::InvalidRequest, text)
    };
    if new.replication_factor != -1 {
        return both("replication factor");
    }
    if new.partitions != -1 {
        return both("numPartitions");
    }
    let mut numbers: Vec<i32> = new.assignments.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
        let text = format!("Found multiple manual partition assignments for partition {}", pair[0]);
        return refuse(ErrorCode::InvalidReplicaAssignment, text);
    }
    for (_, replicas) in new.assignments {
        check_assignment(node_id, replicas)?;
    }
    if numbers.iter().zip(0..).any(|(number, expected)| *number != expected) {
        let text = "partitions should be a consecutive 0-based integer sequence";
        return refuse(ErrorCode::InvalidReplicaAssignment, text);
    }
    Ok(numbers.len())
}

/// A manual assignment can name this node, once.
fn check_assignment(node_id: i32, replicas: &[i32]) -> Result<(), Refusal> {
    let text = match replicas {
        [] => "The manual partition assignment includes an empty replica list.".to_string(),
        [one] if *one == node_id => return Ok(()),
        _ => match replicas.iter().find(|replica| **replica != node_id) {
            Some(other) => {
                format!("The manual partition assignment includes broker {other}, but no such broker is registered.")
            }
            None => format!("The manual partition assignment includes the broker {node_id} more than once."),
        },
    };
    refuse(ErrorCode::InvalidReplicaAssignment, text)
}

/// So many new partitions, each in the directory that then has the fewest; among equals, the first.
fn place(image: &Image, config: &BrokerConfig, dirs: &[Dir], count: usize) -> Result<Vec<PartitionRow>, Refusal> {
    if count > PARTITIONS_PER_REQUEST {
        return refuse(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.");
    }
    let (held, limit) = (image.partition_count(), config.limits.partitions as usize);
    if held + count > limit {
        let text =
            format!("This node has {held} partitions; {count} more would pass {limit} (ringlog.max.partitions).");
        return refuse(ErrorCode::PolicyViolation, text);
    }
    let mut loads: Vec<Dir> = dirs.to_vec();
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        let Some(least) = loads.iter_mut().min_by_key(|dir| dir.partitions) else {
            return refuse(ErrorCode::KafkaStorageError, "No log directory takes new partitions.");
        };
        least.partitions += 1;
        rows.push(PartitionRow { dir: least.id.0, leader_epoch: 0 });
    }
    Ok(rows)
}

/// Deletes a topic.
pub fn delete_topic(image: &Image, config: &BrokerConfig, topic: TopicRef<'_>) -> Result<Planned, Refusal> {
    if !config.delete_topics {
        return refuse(ErrorCode::TopicDeletionDisabled, "Topic deletion is disabled.");
    }
    let found = match topic {
        TopicRef::Name(name) => image.topic(name),
        TopicRef::Id(id) => image.topic_by_id(id),
    };
    let topic = match (found, topic) {
        (Some(topic), _) => topic,
        (None, TopicRef::Name(_)) => return unknown_partition(),
        (None, TopicRef::Id(_)) => {
            return refuse(ErrorCode::UnknownTopicId, "This server does not host this topic ID.");
        }
    };
    if topic.internal {
        let text = format!("Topic '{}' is internal: what it holds would be lost with it.", topic.name);
        return refuse(ErrorCode::InvalidRequest, text);
    }
    let entries = vec![Entry::TopicDeleted { id: topic.id.0 }];
    Ok(Planned { entries, partitions: 0, configs: Values::new() })
}

fn unknown_partition<T>() -> Result<T, Refusal> {
    refuse(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
}

/// Grows a topic to `count` partitions. `assignments`, if given, has the replicas of each new one.
pub fn create_partitions(
    image: &Image,
    config: &BrokerConfig,
    dirs: &[Dir],
    name: &str,
    count: i32,
    assignments: Option<&[&[i32]]>,
) -> Result<Planned, Refusal> {
    let Some(topic) = image.topic(name) else { return unknown_partition() };
    let held = topic.partitions.len() as i32;
    if count == held {
        return refuse(ErrorCode::InvalidPartitions, format!("Topic already has {held} partition(s)."));
    }
    if count < held {
        let text = format!("The topic {name} currently has {held} partition(s); {count} would not be an increase.");
        return refuse(ErrorCode::InvalidPartitions, text);
    }
    if topic.internal {
        let text = format!("Topic '{name}' is internal: its keys are bound to the partitions it has.");
        return refuse(ErrorCode::InvalidRequest, text);
    }
    let more = (count - held) as usize;
    if let Some(assignments) = assignments {
        if assignments.len() != more {
            let text = format!(
                "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return refuse(ErrorCode::InvalidReplicaAssignment, text);
        }
        assignments.iter().try_for_each(|replicas| check_assignment(image.node_id(), replicas))?;
    }
    let rows = place(image, config, dirs, more)?;
    let entries = vec![Entry::PartitionsAdded { id: topic.id.0, first: held, partitions: rows }];
    Ok(Planned { entries, partitions: count, configs: topic.configs.clone() })
}

/// Changes a topic's settings; no entries if they are as asked already.
pub fn alter_topic_configs(
    image: &Image,
    config: &BrokerConfig,
    name: &str,
    change: ConfigChange<'_>,
) -> Result<Planned, Refusal> {
    if name.is_empty() {
        return refuse(ErrorCode::InvalidRequest, "Default topic resources are not allowed.");
    }
    let Some(topic) = image.topic(name) else {
        return refuse(ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."));
    };
    let configs = match change {
        ConfigChange::Alter(changes) => alter_topic(&topic.configs, changes, &config.layers)?,
        ConfigChange::Replace(all) => replace_topic(all, &config.layers)?,
    };
    Ok(config_plan(topic, configs))
}

fn config_plan(topic: &Topic, configs: Values) -> Planned {
    let changed = configs != topic.configs;
    let entry = || Entry::TopicConfigChanged { id: topic.id.0, configs: settings(&configs) };
    let entries = changed.then(entry).into_iter().collect();
    Planned { entries, partitions: topic.partitions.len() as i32, configs }
}

/// Changes dynamic broker settings: the entries, none if they are as asked already.
pub fn alter_broker_configs(
    image: &Image,
    broker: BrokerResource,
    change: ConfigChange<'_>,
) -> Result<Vec<Entry>, Refusal> {
    let none = Values::new();
    let (current, scope, node) = match broker {
        BrokerResource::Default => (image.broker_defaults(), BrokerScope::Default, None),
        BrokerResource::Node(id) if id == image.node_id() => {
            (image.broker_configs(id).unwrap_or(&none), BrokerScope::This, Some(id))
        }
        BrokerResource::Node(id) => return refuse(ErrorCode::InvalidRequest, format!("No node with id {id} found.")),
    };
    let next = match change {
        ConfigChange::Alter(changes) => alter_broker(current, changes, scope)?,
        ConfigChange::Replace(all) => replace_broker(all, scope)?,
    };
    let entry = || Entry::BrokerConfigChanged { broker: node, configs: settings(&next) };
    Ok((next != *current).then(entry).into_iter().collect())
}

/// Takes the next block of producer ids: the first of them, and the entry after which all may be given out.
pub fn reserve_producer_ids(image: &Image) -> Result<(i64, Entry), Refusal> {
    let first = image.next_producer_id();
    match first.checked_add(PRODUCER_ID_BLOCK) {
        Some(next) => Ok((first, Entry::ProducerIdsReserved { next })),
        None => refuse(ErrorCode::UnknownServerError, "Producer ids are used up."),
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
