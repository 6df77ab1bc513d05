//! The broker settings of Kafka 4.2 about topics, segments and what producers write: one row each. What acts on
//! them lives elsewhere.
//!
//! Names, types, defaults and ranges are facts of Kafka 4.2.0; where a default is ours, the row says so.

use crate::config::key::{Key, Kind::*, Scope::*, Standing::*, Valid, Valid::Any, at_least, between, keys, why};

keys! {
    "auto.create.topics.enable", Boolean, Some("true"), Any, ReadOnly, Acts,
        "Whether a topic is made when a client first asks for it.";
    "compression.gzip.level", Int, Some("-1"), Valid::GzipLevel, ClusterWide, Acts,
        "Level used where `compression.type` is gzip; -1: the codec's default.";
    "compression.lz4.level", Int, Some("9"), between(1, 17), ClusterWide, Acts,
        "Level used where `compression.type` is lz4.";
    "compression.type", String,
        Some("producer"), Valid::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), ClusterWide, Acts,
        "Codec batches are stored with; `producer` keeps what the producer chose.";
    "compression.zstd.level", Int, Some("3"), between(-131072, 22), ClusterWide, Acts,
        "Level used where `compression.type` is zstd.";
    "delete.topic.enable", Boolean, Some("true"), Any, ReadOnly, Acts, "Whether topics can be deleted.";
    "delete.records.purgatory.purge.interval.requests", Int, Some("1"), Any, ReadOnly, NoMeaning(why::PURGATORY),
        "Requests between two purges of waiting DeleteRecords.";
    "fetch.purgatory.purge.interval.requests", Int, Some("1000"), Any, ReadOnly, NoMeaning(why::PURGATORY),
        "Requests between two purges of waiting fetches.";
    "producer.purgatory.purge.interval.requests", Int, Some("1000"), Any, ReadOnly, NoMeaning(why::PURGATORY),
        "Requests between two purges of waiting produces.";
    "share.fetch.purgatory.purge.interval.requests", Int, Some("1000"), Any, ReadOnly, NoMeaning(why::PURGATORY),
        "Requests between two purges of waiting share fetches.";
    "log.cleaner.backoff.ms", Long, Some("15000"), at_least(0), ClusterWide, NoMeaning(why::COMPACTION),
        "Rest of the cleaner when there is nothing to compact, ms.";
    "log.cleaner.dedupe.buffer.size", Long, Some("134217728"), Any, ClusterWide, NoMeaning(why::COMPACTION),
        "Memory for removing duplicates, all cleaner threads together, bytes.";
    "log.cleaner.delete.retention.ms", Long, Some("86400000"), at_least(0), ClusterWide, NoMeaning(why::COMPACTION),
        "How long tombstones are kept in compacted topics, ms.";
    "log.cleaner.enable", Boolean, Some("true"), Any, ReadOnly, NoMeaning(why::COMPACTION),
        "Whether the log cleaner runs.";
    "log.cleaner.io.buffer.load.factor", Double, Some("0.9"), Any, ClusterWide, NoMeaning(why::COMPACTION),
        "How full the cleaner's buffer may be.";
    "log.cleaner.io.buffer.size", Int, Some("524288"), at_least(0), ClusterWide, NoMeaning(why::COMPACTION),
        "Memory for the cleaner's reads and writes, bytes.";
    "log.cleaner.io.max.bytes.per.second", Double,
        Some("1.7976931348623157E308"), Any, ClusterWide, NoMeaning(why::COMPACTION),
        "Bound on the cleaner's reads and writes, bytes a second.";
    "log.cleaner.max.compaction.lag.ms", Long,
        Some("9223372036854775807"), at_least(1), ClusterWide, NoMeaning(why::COMPACTION),
        "Longest time a record stays uncompacted, ms.";
    "log.cleaner.min.cleanable.ratio", Double, Some("0.5"), Valid::Ratio(1.0), ClusterWide, NoMeaning(why::COMPACTION),
        "Share of a log that must be dirty before it is compacted.";
    "log.cleaner.min.compaction.lag.ms", Long, Some("0"), at_least(0), ClusterWide, NoMeaning(why::COMPACTION),
        "Shortest time a record stays uncompacted, ms.";
    "log.cleaner.threads", Int, Some("1"), at_least(0), ClusterWide, NoMeaning(why::COMPACTION),
        "Threads that compact.";
    "log.cleanup.policy", List, Some("delete"), Valid::OneOf(&["compact", "delete"]), ClusterWide, Acts,
        "What happens to old segments: `delete`, `compact` or both. Nothing is compacted yet; compact alone deletes nothing.";
    "log.dir", List, Some("ringlog-data"), Any, ReadOnly, Acts, "Directory for the logs; `log.dirs` wins.";
    "log.dir.failure.timeout.ms", Long, Some("30000"), at_least(1), ReadOnly, NoMeaning(why::QUORUM),
        "How long a failed directory may stay unknown to the controller, ms.";
    "log.dirs", List, None, Any, ReadOnly, Acts,
        "Directories for the logs, separated by commas; a new partition goes to the one with the fewest.";
    "log.flush.interval.messages", Long, Some("9223372036854775807"), at_least(1), ClusterWide, NoMeaning(why::FLUSH),
        "Records after which a log is flushed.";
    "log.flush.interval.ms", Long, None, Any, ClusterWide, NoMeaning(why::FLUSH),
        "Milliseconds after which a log is flushed.";
    "log.flush.offset.checkpoint.interval.ms", Int, Some("60000"), at_least(0), ReadOnly, NoMeaning(why::CHECKPOINT),
        "Milliseconds between two checkpoints of recovery points.";
    "log.flush.scheduler.interval.ms", Long, Some("9223372036854775807"), Any, ReadOnly, NoMeaning(why::FLUSH),
        "Milliseconds between two looks at which logs to flush.";
    "log.flush.start.offset.checkpoint.interval.ms", Int,
        Some("60000"), at_least(0), ReadOnly, NoMeaning(why::CHECKPOINT),
        "Milliseconds between two checkpoints of log start offsets.";
    "log.index.interval.bytes", Int, Some("4096"), at_least(0), ClusterWide, Acts,
        "Bytes of log between two index entries.";
    "log.index.size.max.bytes", Int, Some("10485760"), at_least(4), ClusterWide, NoMeaning(why::INDEX),
        "Largest offset index of a segment, bytes.";
    "log.initial.task.delay.ms", Long, Some("30000"), at_least(0), ReadOnly, NoMeaning(why::AT_ONCE),
        "Wait before the first background work on logs, ms.";
    "log.local.retention.bytes", Long, Some("-2"), at_least(-2), ClusterWide, NoMeaning(why::TIERED),
        "Size kept locally where segments are also in remote storage, bytes.";
    "log.local.retention.ms", Long, Some("-2"), at_least(-2), ClusterWide, NoMeaning(why::TIERED),
        "Time kept locally where segments are also in remote storage, ms.";
    "log.message.timestamp.after.max.ms", Long, Some("3600000"), at_least(0), ClusterWide, Acts,
        "How far a record's timestamp may lie ahead of the clock, ms; further is refused.";
    "log.message.timestamp.before.max.ms", Long, Some("9223372036854775807"), at_least(0), ClusterWide, Acts,
        "How far a record's timestamp may lie behind the clock, ms; further is refused.";
    "log.message.timestamp.type", String,
        Some("CreateTime"), Valid::OneOf(&["CreateTime", "LogAppendTime"]), ClusterWide, Acts,
        "Whose time a record carries: the producer's (CreateTime) or the broker's (LogAppendTime).";
    "log.preallocate", Boolean, Some("false"), Any, ClusterWide, NoMeaning(why::SPACE),
        "Whether a segment file is allocated when it is made.";
    "log.retention.bytes", Long, Some("-1"), Any, ClusterWide, Acts,
        "Size a partition may reach before old segments are deleted, bytes; -1: no bound.";
    "log.retention.check.interval.ms", Long, Some("300000"), at_least(1), ReadOnly, Acts,
        "Milliseconds between two looks for segments to delete.";
    "log.retention.hours", Int, Some("168"), Any, ReadOnly, Acts,
        "Hours a segment is kept; `log.retention.minutes` and `.ms` win.";
    "log.retention.minutes", Int, None, Any, ReadOnly, Acts, "Minutes a segment is kept; `log.retention.ms` wins.";
    "log.retention.ms", Long, None, Any, ClusterWide, Acts, "Milliseconds a segment is kept; -1: no bound.";
    "log.roll.hours", Int, Some("168"), at_least(1), ReadOnly, Acts,
        "Hours after which a new segment is begun; `log.roll.ms` wins.";
    "log.roll.jitter.hours", Int, Some("0"), at_least(0), ReadOnly, Acts,
        "Most hours taken off the roll time at random; `log.roll.jitter.ms` wins.";
    "log.roll.jitter.ms", Long, None, Any, ClusterWide, Acts, "Most milliseconds taken off the roll time at random.";
    "log.roll.ms", Long, None, Any, ClusterWide, Acts, "Milliseconds after which a new segment is begun.";
    "log.segment.bytes", Int, Some("1073741824"), at_least(1048576), ClusterWide, Acts,
        "Size of a segment file, bytes.";
    "log.segment.delete.delay.ms", Long, Some("60000"), at_least(0), ClusterWide, Acts,
        "Wait between dropping a segment and freeing its file, ms.";
    "message.max.bytes", Int, Some("1048588"), at_least(0), ClusterWide, Acts,
        "Largest record batch accepted, bytes, as compressed.";
    "min.insync.replicas", Int, Some("1"), at_least(1), ClusterWide, OneOnly(why::REPLICATED),
        "Replicas that must have an acks=all batch before it is acknowledged.";
    "num.partitions", Int, Some("1"), at_least(1), ReadOnly, Acts,
        "Partitions of a topic whose creation names no count.";
    "producer.id.expiration.check.interval.ms", Int, Some("600000"), at_least(1), ReadOnly, Acts,
        "Milliseconds between two looks for expired producer ids.";
    "producer.id.expiration.ms", Int, Some("86400000"), at_least(1), ClusterWide, Acts,
        "Milliseconds without a batch after which a producer id is forgotten.";
    "unclean.leader.election.enable", Boolean, Some("false"), Any, ClusterWide, NoMeaning(why::ONE_COPY),
        "Whether a replica that is not in sync may become leader.";
    "unclean.leader.election.interval.ms", Long, Some("300000"), at_least(1), ReadOnly, NoMeaning(why::ONE_COPY),
        "Milliseconds between two looks for partitions that need such an election.";
}
