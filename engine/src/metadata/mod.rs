//! Cluster metadata: topics, their partitions and settings, brokers' dynamic settings, reserved producer ids.
//!
//! One log of [`Entry`]s is the truth; an [`Image`] is what follows from applying them in order, so the same log gives
//! the same image everywhere and can be replicated. Commands look at an image and answer with the entries to append:
//! they change nothing themselves. Core 0 appends; every core applies what was made durable to its own copy.
//! Neither files nor the wire are known here.

mod broker_ids;
mod command;
mod entry;
mod image;

pub use broker_ids::{CORES_ADVERTISED, NODE_IDS, broker_id};
pub use command::{
    BrokerResource, ConfigChange, Dir, NewTopic, OFFSETS_TOPIC, Planned, TopicRef, alter_broker_configs,
    alter_topic_configs, create_cluster, create_offsets_topic, create_partitions, create_topic, delete_topic,
    is_internal, reserve_producer_ids, validate_topic_name,
};
pub use entry::{Entry, EntryError, FORMAT, PartitionRow, Setting};
pub use image::{ApplyError, Image, Partition, Topic};

/// Identity of a log directory, kept in the directory itself: it stays when the order of `log.dirs` changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DirId(pub [u8; 16]);
