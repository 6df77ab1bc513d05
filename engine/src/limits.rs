//! The one table of bounds: what is counted, where the bound comes from, and what happens at it. The bounds are kept
//! where the thing is counted; here is only what they are.
//!
//! Relations that must hold between them are checked when this is compiled, those between settings when they are read.

/// Where a bound comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Always this.
    Fixed(u64),
    /// The broker setting of this name.
    Setting(&'static str),
}

/// One row of the table.
#[derive(Debug)]
pub struct Limit {
    /// What is bounded.
    pub name: &'static str,
    pub bound: Bound,
    pub unit: &'static str,
    /// What happens to whoever comes to it.
    pub at_bound: &'static str,
}

/// Longest topic name, bytes (Kafka's `Topic.MAX_NAME_LENGTH`).
pub const TOPIC_NAME_BYTES: usize = 249;
/// Partitions one request may create (Kafka's `ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`).
pub const PARTITIONS_PER_REQUEST: usize = 10_000;
/// Bytes of a frame taken before its body is charged: size, header, longest client id (32,767) and its tags.
pub const FRAME_PREFIX_BYTES: usize = 36 * 1024;
/// Largest request of any API but Produce, bytes: it may decode to some 40 times its size.
pub const COLD_REQUEST_BYTES: usize = 8 << 20;
/// Tagged fields in one request, all structures together.
pub const TAGGED_FIELDS_PER_REQUEST: usize = 1024;
/// Bytes of one encoded metadata entry.
pub const METADATA_ENTRY_BYTES: usize = 1024 * 1024;
/// Names and values of one topic's or broker's settings together, bytes.
pub const CONFIG_BYTES: usize = 128 * 1024;
/// Bytes a partition takes in a metadata entry: its directory, its leader epoch.
pub const METADATA_PARTITION_BYTES: usize = 20;
/// Producer ids taken from the metadata log at once (Kafka's `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub const PRODUCER_ID_BLOCK: i64 = 1000;
/// Batches remembered of each idempotent producer (Kafka's `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const BATCHES_PER_PRODUCER: usize = 5;
/// Bytes that a shard unpacks of one batch before it leaves the batch to the checker; compressing anew counts several times.
pub const UNPACKED_ON_SHARD_BYTES: usize = 1 << 20;
/// Batches of one shard that are with the checker: one that is checked and one behind it.
pub const BATCHES_WITH_CHECKER: usize = 2;
/// Log directories of one node.
pub const LOG_DIRS: usize = 64;
/// Consumer groups, and offsets committed by them, that one scrape tells.
pub const GROUPS_TOLD: usize = 2_000;
pub const OFFSETS_TOLD: usize = 10_000;
/// Listeners of one node.
pub const LISTENERS: usize = 16;

const _: () = assert!(PARTITIONS_PER_REQUEST * METADATA_PARTITION_BYTES + CONFIG_BYTES + 4096 <= METADATA_ENTRY_BYTES);
const _: () = assert!(TOPIC_NAME_BYTES < u8::MAX as usize, "a topic directory is named after it");
const _: () = assert!(FRAME_PREFIX_BYTES > i16::MAX as usize + 64, "a client id of any length must fit");
const _: () = assert!(CONFIG_BYTES > 2 * i16::MAX as usize, "a value of any length Kafka can send must fit");
const _: () = assert!(PRODUCER_ID_BLOCK > 0);

macro_rules! limits {
    ($($name:literal, $bound:expr, $unit:literal, $at:literal;)*) => {
        /// Every bound of one node.
        pub const LIMITS: &[Limit] = &[$(Limit { name: $name, bound: $bound, unit: $unit, at_bound: $at }),*];
    };
}

use Bound::{Fixed, Setting};

limits! {
    "connections", Setting("max.connections"), "connections of the node", "the next one waits to be accepted";
    "connections of one address", Setting("max.connections.per.ip"), "connections", "the next one is closed at once";
    "new connections", Setting("max.connection.creation.rate"), "a second", "the next one waits to be accepted";
    "listeners", Fixed(LISTENERS as u64), "of the node", "the start is refused";
    "request", Setting("socket.request.max.bytes"), "bytes", "the connection is closed";
    "frame before its body is charged", Fixed(FRAME_PREFIX_BYTES as u64), "bytes", "the rest waits in the socket";
    "request of any API but Produce", Fixed(COLD_REQUEST_BYTES as u64), "bytes", "the connection is closed";
    "tagged fields", Fixed(TAGGED_FIELDS_PER_REQUEST as u64), "of one request", "the connection is closed";
    "requests in work", Setting("ringlog.inflight.connection.requests"), "of one connection",
        "the next waits in the socket";
    "request bytes of a connection", Setting("ringlog.inflight.connection.bytes"), "bytes",
        "the next waits in the socket";
    "request bytes of a shard", Setting("ringlog.inflight.core.bytes"), "bytes", "the next waits in its socket";
    "request bytes of the process", Setting("ringlog.inflight.bytes"), "bytes", "the next waits in its socket";
    "fetch response", Setting("fetch.max.bytes"), "bytes", "the response ends after the first batch that reaches it";
    "fetch sessions", Setting("max.incremental.fetch.session.cache.slots"), "of the node",
        "the fetch is answered in full, without a session";
    "record batch", Setting("message.max.bytes"), "bytes as compressed", "MESSAGE_TOO_LARGE";
    "unpacked record batch", Setting("ringlog.max.batch.decompressed.bytes"), "bytes", "MESSAGE_TOO_LARGE";
    "batch unpacked by its shard", Fixed(UNPACKED_ON_SHARD_BYTES as u64), "bytes unpacked", "the checker checks it";
    "batches with the checker", Fixed(BATCHES_WITH_CHECKER as u64), "of one shard",
        "the next waits in line with its connection";
    "batches unpacked by the checker", Fixed(1), "of the process", "the next waits with the checker";
    "log directories", Fixed(LOG_DIRS as u64), "of the node", "the start is refused";
    "topics", Setting("ringlog.max.topics"), "of the node", "POLICY_VIOLATION";
    "topic name", Fixed(TOPIC_NAME_BYTES as u64), "bytes", "INVALID_TOPIC_EXCEPTION";
    "partitions", Setting("ringlog.max.partitions"), "of the node", "POLICY_VIOLATION";
    "partitions created at once", Fixed(PARTITIONS_PER_REQUEST as u64), "of one topic in one request",
        "POLICY_VIOLATION";
    "partitions described at once", Setting("max.request.partition.size.limit"), "of one response",
        "a cursor tells where to go on";
    "settings of a topic or broker", Fixed(CONFIG_BYTES as u64), "bytes", "POLICY_VIOLATION";
    "metadata entry", Fixed(METADATA_ENTRY_BYTES as u64), "bytes", "POLICY_VIOLATION";
    "groups", Setting("ringlog.max.groups"), "of one shard", "COORDINATOR_NOT_AVAILABLE";
    "members of a group", Setting("ringlog.max.group.members"), "members", "GROUP_MAX_SIZE_REACHED";
    "metadata of a member", Setting("ringlog.max.member.bytes"), "bytes", "INVALID_REQUEST";
    "metadata of a committed offset", Setting("offset.metadata.max.bytes"), "bytes", "OFFSET_METADATA_TOO_LARGE";
    "groups in metrics", Fixed(GROUPS_TOLD as u64), "of one scrape", "left out, and counted as left out";
    "committed offsets in metrics", Fixed(OFFSETS_TOLD as u64), "of one scrape", "left out, and counted as left out";
    "producers of a partition", Setting("ringlog.max.producers.per.partition"), "producers",
        "the longest idle one is forgotten";
    "producers of a shard", Setting("ringlog.max.producers.per.core"), "producers", "the longest idle one is forgotten";
    "batches remembered of a producer", Fixed(BATCHES_PER_PRODUCER as u64), "batches", "the oldest is forgotten";
    "producer ids taken at once", Fixed(PRODUCER_ID_BLOCK as u64), "ids",
        "the next block is taken from the metadata log";
    "log memory", Setting("ringlog.memory.bytes"), "bytes of the process", "produce waits, and reads go to disk";
    "free disk space", Setting("ringlog.disk.reserve.bytes"), "bytes of a file system",
        "KAFKA_STORAGE_ERROR for writes there";
}

/// The bounds that settings give, as they are in force. Read on every core; part of its `BrokerConfig`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Open connections of the node.
    pub connections: u32,
    /// Open connections of one address.
    pub connections_per_ip: u32,
    /// Addresses with a bound of their own.
    pub connections_per_ip_overrides: Vec<(std::net::IpAddr, u32)>,
    /// New connections a second.
    pub connection_creation_rate: u32,
    /// Largest request, bytes.
    pub request_bytes: u32,
    /// Requests of one connection in work.
    pub inflight_requests: u32,
    /// Request bytes held of one connection, one shard, the process. Never under `request_bytes`.
    pub inflight_connection_bytes: u64,
    pub inflight_core_bytes: u64,
    pub inflight_bytes: u64,
    /// Incremental fetch sessions of the node.
    pub fetch_sessions: u32,
    /// Topics of the node.
    pub topics: u32,
    /// Partitions of the node.
    pub partitions: u32,
    /// Groups of one shard.
    pub groups: u32,
    /// Members of one group: the lesser of `group.max.size` and `ringlog.max.group.members`.
    pub group_members: u32,
    /// Metadata of one member, bytes.
    pub member_bytes: u32,
    /// Idempotent producers of one partition, one shard.
    pub producers_per_partition: u32,
    pub producers_per_core: u32,
    /// What a compressed batch may unpack to, bytes.
    pub batch_decompressed_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key::Standing;
    use crate::config::keys::broker_key;

    #[test]
    fn every_bound_that_is_a_setting_acts() {
        for limit in LIMITS {
            if let Setting(name) = limit.bound {
                let key = broker_key(name).unwrap_or_else(|| panic!("{name} is no setting"));
                assert_eq!(key.standing, Standing::Acts, "{name}");
                assert!(key.default.is_some(), "{name}");
            }
        }
    }

    #[test]
    fn every_setting_that_bounds_is_in_the_table() {
        for key in crate::config::keys::broker_keys().filter(|key| key.name.starts_with("ringlog.max.")) {
            assert!(LIMITS.iter().any(|limit| limit.bound == Setting(key.name)), "{}", key.name);
        }
    }
}
