//! The broker settings of Kafka 4.2 about remote (tiered) storage: one row each. What acts on
//! them lives elsewhere.
//!
//! Names, types, defaults and ranges are facts of Kafka 4.2.0; where a default is ours, the row says so.

use crate::config::key::{Key, Kind::*, Scope::*, Standing::*, Valid, Valid::Any, at_least, keys, why};

keys! {
    "remote.fetch.max.wait.ms", Int, Some("500"), at_least(1), ClusterWide, NoMeaning(why::TIERED),
        "How long a fetch from remote storage may wait, ms.";
    "remote.list.offsets.request.timeout.ms", Long, Some("30000"), at_least(1), ClusterWide, NoMeaning(why::TIERED),
        "How long a remote offset lookup may take, ms.";
    "remote.log.index.file.cache.total.size.bytes", Long,
        Some("1073741824"), at_least(1), ClusterWide, NoMeaning(why::TIERED),
        "Space for cached remote indexes, bytes.";
    "remote.log.manager.copier.thread.pool.size", Int, Some("10"), at_least(1), ClusterWide, NoMeaning(why::TIERED),
        "Threads that copy segments away.";
    "remote.log.manager.copy.max.bytes.per.second", Long,
        Some("9223372036854775807"), at_least(1), ClusterWide, NoMeaning(why::TIERED),
        "Bound on copying away, bytes a second.";
    "remote.log.manager.copy.quota.window.num", Int, Some("11"), at_least(1), ReadOnly, NoMeaning(why::TIERED),
        "Samples kept for that bound.";
    "remote.log.manager.copy.quota.window.size.seconds", Int, Some("1"), at_least(1), ReadOnly, NoMeaning(why::TIERED),
        "Length of such a sample, s.";
    "remote.log.manager.expiration.thread.pool.size", Int,
        Some("10"), at_least(1), ClusterWide, NoMeaning(why::TIERED),
        "Threads that delete expired remote segments.";
    "remote.log.manager.fetch.max.bytes.per.second", Long,
        Some("9223372036854775807"), at_least(1), ClusterWide, NoMeaning(why::TIERED),
        "Bound on remote reads, bytes a second.";
    "remote.log.manager.fetch.quota.window.num", Int, Some("11"), at_least(1), ReadOnly, NoMeaning(why::TIERED),
        "Samples kept for that bound.";
    "remote.log.manager.fetch.quota.window.size.seconds", Int,
        Some("1"), at_least(1), ReadOnly, NoMeaning(why::TIERED),
        "Length of such a sample, s.";
    "remote.log.manager.follower.thread.pool.size", Int, Some("2"), at_least(1), ClusterWide, NoMeaning(why::TIERED),
        "Threads that follow remote metadata.";
    "remote.log.manager.task.interval.ms", Long, Some("30000"), at_least(1), ReadOnly, NoMeaning(why::TIERED),
        "Milliseconds between two rounds of remote work.";
    "remote.log.manager.task.retry.backoff.max.ms", Long, Some("30000"), at_least(1), ReadOnly, NoMeaning(why::TIERED),
        "Longest pause after a failed round, ms.";
    "remote.log.manager.task.retry.backoff.ms", Long, Some("500"), at_least(1), ReadOnly, NoMeaning(why::TIERED),
        "First pause after a failed round, ms.";
    "remote.log.manager.task.retry.jitter", Double, Some("0.2"), Valid::Ratio(0.5), ReadOnly, NoMeaning(why::TIERED),
        "Random share of that pause.";
    "remote.log.manager.thread.pool.size", Int, Some("2"), at_least(1), ReadOnly, NoMeaning(why::TIERED),
        "Threads for remote work.";
    "remote.log.metadata.custom.metadata.max.bytes", Int, Some("128"), at_least(0), ReadOnly, NoMeaning(why::TIERED),
        "Largest custom metadata of a remote segment, bytes.";
    "remote.log.metadata.manager.class.name", String,
        Some("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"), Valid::NonEmpty, ReadOnly, NoMeaning(why::TIERED),
        "Class that keeps remote metadata.";
    "remote.log.metadata.manager.class.path", String, None, Any, ReadOnly, NoMeaning(why::TIERED),
        "Class path of that class.";
    "remote.log.metadata.manager.impl.prefix", String,
        Some("rlmm.config."), Valid::NonEmpty, ReadOnly, NoMeaning(why::TIERED),
        "Prefix of that class's own settings.";
    "remote.log.metadata.manager.listener.name", String, None, Valid::NonEmpty, ReadOnly, NoMeaning(why::TIERED),
        "Listener that class connects to.";
    "remote.log.reader.max.pending.tasks", Int, Some("100"), at_least(1), ReadOnly, NoMeaning(why::TIERED),
        "Remote reads that may wait.";
    "remote.log.reader.threads", Int, Some("10"), at_least(1), ClusterWide, NoMeaning(why::TIERED),
        "Threads that read from remote storage.";
    "remote.log.storage.manager.class.name", String, None, Valid::NonEmpty, ReadOnly, NoMeaning(why::TIERED),
        "Class that reaches the remote storage.";
    "remote.log.storage.manager.class.path", String, None, Any, ReadOnly, NoMeaning(why::TIERED),
        "Class path of that class.";
    "remote.log.storage.manager.impl.prefix", String,
        Some("rsm.config."), Valid::NonEmpty, ReadOnly, NoMeaning(why::TIERED),
        "Prefix of that class's own settings.";
    "remote.log.storage.system.enable", Boolean, Some("false"), Any, ReadOnly, Refused(why::TIERED),
        "Whether segments are also kept in remote storage.";
}
