//! The topic settings of Kafka 4.2, and ours: one row each, and the broker settings that give their defaults.
//!
//! Names, types, defaults and ranges are facts of Kafka 4.2.0.

use crate::config::key::{Key, Kind::*, Scope::*, Standing::*, Valid, Valid::Any, at_least, between, keys, why};

keys! {
    "cleanup.policy", List, Some("delete"), Valid::OneOf(&["compact", "delete"]), ClusterWide, Acts,
        "What happens to old segments: `delete`, `compact` or both. Nothing is compacted yet; compact alone deletes nothing.";
    "compression.gzip.level", Int, Some("-1"), Valid::GzipLevel, ClusterWide, Acts,
        "Level used where `compression.type` is gzip; -1: the codec's default.";
    "compression.lz4.level", Int, Some("9"), between(1, 17), ClusterWide, Acts,
        "Level used where `compression.type` is lz4.";
    "compression.type", String,
        Some("producer"), Valid::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), ClusterWide, Acts,
        "Codec batches are stored with; `producer` keeps what the producer chose.";
    "compression.zstd.level", Int, Some("3"), between(-131072, 22), ClusterWide, Acts,
        "Level used where `compression.type` is zstd.";
    "delete.retention.ms", Long, Some("86400000"), at_least(0), ClusterWide, NoMeaning(why::COMPACTION),
        "How long tombstones are kept in a compacted topic, ms.";
    "file.delete.delay.ms", Long, Some("60000"), at_least(0), ClusterWide, Acts,
        "Wait between dropping a segment and freeing its file, ms.";
    "flush.messages", Long, Some("9223372036854775807"), at_least(1), ClusterWide, NoMeaning(why::FLUSH),
        "Records after which the log is flushed.";
    "flush.ms", Long, Some("9223372036854775807"), at_least(0), ClusterWide, NoMeaning(why::FLUSH),
        "Milliseconds after which the log is flushed.";
    "follower.replication.throttled.replicas", List, Some(""), Valid::Throttled, ClusterWide, NoMeaning(why::ONE_COPY),
        "Replicas whose copying is throttled at the follower, as `partition:broker,...` or `*`.";
    "index.interval.bytes", Int, Some("4096"), at_least(0), ClusterWide, Acts,
        "Bytes of log between two index entries.";
    "internal.segment.bytes", Int, None, Any, ClusterWide, NoMeaning(why::INTERNAL),
        "Segment size in Kafka's own tests, bytes.";
    "leader.replication.throttled.replicas", List, Some(""), Valid::Throttled, ClusterWide, NoMeaning(why::ONE_COPY),
        "Replicas whose copying is throttled at the leader, as `partition:broker,...` or `*`.";
    "local.retention.bytes", Long, Some("-2"), at_least(-2), ClusterWide, NoMeaning(why::TIERED),
        "Size kept locally where segments are also in remote storage, bytes.";
    "local.retention.ms", Long, Some("-2"), at_least(-2), ClusterWide, NoMeaning(why::TIERED),
        "Time kept locally where segments are also in remote storage, ms.";
    "max.compaction.lag.ms", Long, Some("9223372036854775807"), at_least(1), ClusterWide, NoMeaning(why::COMPACTION),
        "Longest time a record stays uncompacted, ms.";
    "max.message.bytes", Int, Some("1048588"), at_least(0), ClusterWide, Acts,
        "Largest record batch accepted, bytes, as compressed.";
    "message.timestamp.after.max.ms", Long, Some("3600000"), at_least(0), ClusterWide, Acts,
        "How far a record's timestamp may lie ahead of the clock, ms; further is refused.";
    "message.timestamp.before.max.ms", Long, Some("9223372036854775807"), at_least(0), ClusterWide, Acts,
        "How far a record's timestamp may lie behind the clock, ms; further is refused.";
    "message.timestamp.type", String,
        Some("CreateTime"), Valid::OneOf(&["CreateTime", "LogAppendTime"]), ClusterWide, Acts,
        "Whose time a record carries: the producer's (CreateTime) or the broker's (LogAppendTime).";
    "min.cleanable.dirty.ratio", Double, Some("0.5"), Valid::Ratio(1.0), ClusterWide, NoMeaning(why::COMPACTION),
        "Share of the log that must be dirty before it is compacted.";
    "min.compaction.lag.ms", Long, Some("0"), at_least(0), ClusterWide, NoMeaning(why::COMPACTION),
        "Shortest time a record stays uncompacted, ms.";
    "min.insync.replicas", Int, Some("1"), at_least(1), ClusterWide, Acts,
        "Replicas that must have an acks=all batch; more than there are copies refuses every such batch.";
    "preallocate", Boolean, Some("false"), Any, ClusterWide, NoMeaning(why::SPACE),
        "Whether a segment file is allocated when it is made.";
    "remote.log.copy.disable", Boolean, Some("false"), Any, ClusterWide, NoMeaning(why::TIERED),
        "Whether copying to remote storage is stopped.";
    "remote.log.delete.on.disable", Boolean, Some("false"), Any, ClusterWide, NoMeaning(why::TIERED),
        "Whether remote segments are deleted when remote storage is turned off.";
    "remote.storage.enable", Boolean, Some("false"), Any, ClusterWide, Refused(why::TIERED),
        "Whether segments are also kept in remote storage.";
    "retention.bytes", Long, Some("-1"), Any, ClusterWide, Acts,
        "Size a partition may reach before old segments are deleted, bytes; -1: no bound.";
    "retention.ms", Long, Some("604800000"), at_least(-1), ClusterWide, Acts,
        "Milliseconds a segment is kept; -1: no bound.";
    "segment.bytes", Int, Some("1073741824"), at_least(1048576), ClusterWide, Acts, "Size of a segment file, bytes.";
    "segment.index.bytes", Int, Some("10485760"), at_least(4), ClusterWide, NoMeaning(why::INDEX),
        "Largest offset index of a segment, bytes.";
    "segment.jitter.ms", Long, Some("0"), at_least(0), ClusterWide, Acts,
        "Most milliseconds taken off the roll time at random.";
    "segment.ms", Long, Some("604800000"), at_least(1), ClusterWide, Acts,
        "Milliseconds after which a new segment is begun.";
    "unclean.leader.election.enable", Boolean, Some("false"), Any, ClusterWide, NoMeaning(why::ONE_COPY),
        "Whether a replica that is not in sync may become leader.";
    "ringlog.flush", String, Some("durable"), Valid::OneOf(&["durable", "relaxed"]), ClusterWide, Acts,
        "`durable`: acknowledged and visible once flushed. `relaxed`: once written; a power failure may take it back.";
}

/// The broker settings a topic setting falls back to, nearest first. Those named `.hours` and `.minutes` are converted.
pub(crate) const SYNONYMS: &[(&str, &[&str])] = &[
    ("cleanup.policy", &["log.cleanup.policy"]),
    ("compression.gzip.level", &["compression.gzip.level"]),
    ("compression.lz4.level", &["compression.lz4.level"]),
    ("compression.type", &["compression.type"]),
    ("compression.zstd.level", &["compression.zstd.level"]),
    ("delete.retention.ms", &["log.cleaner.delete.retention.ms"]),
    ("file.delete.delay.ms", &["log.segment.delete.delay.ms"]),
    ("flush.messages", &["log.flush.interval.messages"]),
    ("flush.ms", &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"]),
    ("index.interval.bytes", &["log.index.interval.bytes"]),
    ("local.retention.bytes", &["log.local.retention.bytes"]),
    ("local.retention.ms", &["log.local.retention.ms"]),
    ("max.compaction.lag.ms", &["log.cleaner.max.compaction.lag.ms"]),
    ("max.message.bytes", &["message.max.bytes"]),
    ("message.timestamp.after.max.ms", &["log.message.timestamp.after.max.ms"]),
    ("message.timestamp.before.max.ms", &["log.message.timestamp.before.max.ms"]),
    ("message.timestamp.type", &["log.message.timestamp.type"]),
    ("min.cleanable.dirty.ratio", &["log.cleaner.min.cleanable.ratio"]),
    ("min.compaction.lag.ms", &["log.cleaner.min.compaction.lag.ms"]),
    ("min.insync.replicas", &["min.insync.replicas"]),
    ("preallocate", &["log.preallocate"]),
    ("retention.bytes", &["log.retention.bytes"]),
    ("retention.ms", &["log.retention.ms", "log.retention.minutes", "log.retention.hours"]),
    ("segment.bytes", &["log.segment.bytes"]),
    ("segment.index.bytes", &["log.index.size.max.bytes"]),
    ("segment.jitter.ms", &["log.roll.jitter.ms", "log.roll.jitter.hours"]),
    ("segment.ms", &["log.roll.ms", "log.roll.hours"]),
    ("unclean.leader.election.enable", &["unclean.leader.election.enable"]),
    ("ringlog.flush", &["ringlog.log.flush"]),
];
