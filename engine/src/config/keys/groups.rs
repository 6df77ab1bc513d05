//! The broker settings of Kafka 4.2 about groups, offsets and transactions: one row each. What acts on
//! them lives elsewhere.
//!
//! Names, types, defaults and ranges are facts of Kafka 4.2.0; where a default is ours, the row says so.

use crate::config::key::{Key, Kind::*, Scope::*, Standing::*, Valid, Valid::Any, at_least, between, keys, why};

keys! {
    "group.consumer.assignors", List, Some("uniform,range"), Any, ReadOnly, NoMeaning(why::NEW_GROUPS),
        "Assignors of the broker-side consumer protocol.";
    "group.consumer.heartbeat.interval.ms", Int, Some("5000"), at_least(1), ReadOnly, NoMeaning(why::NEW_GROUPS),
        "Heartbeat interval of its members, ms.";
    "group.consumer.max.heartbeat.interval.ms", Int, Some("15000"), at_least(1), ReadOnly, NoMeaning(why::NEW_GROUPS),
        "Longest heartbeat interval a group may set, ms.";
    "group.consumer.max.session.timeout.ms", Int, Some("60000"), at_least(1), ReadOnly, NoMeaning(why::NEW_GROUPS),
        "Longest session timeout a group may set, ms.";
    "group.consumer.max.size", Int, Some("2147483647"), at_least(1), ReadOnly, NoMeaning(why::NEW_GROUPS),
        "Most members of one group.";
    "group.consumer.migration.policy", String,
        Some("bidirectional"), Valid::AnyCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]), ReadOnly, NoMeaning(why::NEW_GROUPS),
        "How groups move between the classic and the new protocol.";
    "group.consumer.min.heartbeat.interval.ms", Int, Some("5000"), at_least(1), ReadOnly, NoMeaning(why::NEW_GROUPS),
        "Shortest heartbeat interval a group may set, ms.";
    "group.consumer.min.session.timeout.ms", Int, Some("45000"), at_least(1), ReadOnly, NoMeaning(why::NEW_GROUPS),
        "Shortest session timeout a group may set, ms.";
    "group.consumer.regex.refresh.interval.ms", Int,
        Some("600000"), at_least(10000), ReadOnly, NoMeaning(why::NEW_GROUPS),
        "Milliseconds between two evaluations of a subscription pattern.";
    "group.consumer.session.timeout.ms", Int, Some("45000"), at_least(1), ReadOnly, NoMeaning(why::NEW_GROUPS),
        "Session timeout of its members, ms.";
    "group.coordinator.append.linger.ms", Int, Some("-1"), at_least(-1), ReadOnly, NoMeaning(why::ONE_FLUSH),
        "Wait for more group records before writing, ms; -1: adaptive.";
    "group.coordinator.rebalance.protocols", List,
        Some("classic"), Valid::OneOf(&["consumer", "classic", "share", "streams"]), ReadOnly, NoMeaning(why::CLASSIC),
        "Group protocols offered.";
    "group.coordinator.threads", Int, Some("4"), at_least(1), ReadOnly, NoMeaning(why::THREADS),
        "Threads of the group coordinator.";
    "group.initial.rebalance.delay.ms", Int, Some("3000"), Any, ReadOnly, Acts,
        "Wait for more members before an empty group's first rebalance, ms.";
    "group.max.session.timeout.ms", Int, Some("1800000"), Any, ReadOnly, Acts,
        "Longest session timeout a member may ask for, ms.";
    "group.max.size", Int, Some("2147483647"), at_least(1), ReadOnly, Acts,
        "Most members of one group; a further one is refused.";
    "group.min.session.timeout.ms", Int, Some("6000"), Any, ReadOnly, Acts,
        "Shortest session timeout a member may ask for, ms.";
    "group.share.assignors", List, Some("simple"), Any, ReadOnly, NoMeaning(why::SHARE), "Assignors of share groups.";
    "group.share.delivery.count.limit", Int, Some("5"), between(2, 10), ReadOnly, NoMeaning(why::SHARE),
        "Deliveries of a record before it is given up.";
    "group.share.enable", Boolean, Some("false"), Any, ReadOnly, NoMeaning(why::SHARE),
        "Whether share groups are offered.";
    "group.share.heartbeat.interval.ms", Int, Some("5000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Heartbeat interval of share group members, ms.";
    "group.share.initialize.retry.interval.ms", Int, Some("30000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Milliseconds between two tries to initialise a share partition.";
    "group.share.max.heartbeat.interval.ms", Int, Some("15000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Longest heartbeat interval a share group may set, ms.";
    "group.share.max.record.lock.duration.ms", Int,
        Some("60000"), between(30000, 3600000), ReadOnly, NoMeaning(why::SHARE),
        "Longest record lock a share group may set, ms.";
    "group.share.max.session.timeout.ms", Int, Some("60000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Longest session timeout a share group may set, ms.";
    "group.share.max.share.sessions", Int, Some("2000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Share sessions remembered.";
    "group.share.max.size", Int, Some("200"), between(1, 1000), ReadOnly, NoMeaning(why::SHARE),
        "Most members of one share group.";
    "group.share.min.heartbeat.interval.ms", Int, Some("5000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Shortest heartbeat interval a share group may set, ms.";
    "group.share.min.record.lock.duration.ms", Int,
        Some("15000"), between(1000, 30000), ReadOnly, NoMeaning(why::SHARE),
        "Shortest record lock a share group may set, ms.";
    "group.share.min.session.timeout.ms", Int, Some("45000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Shortest session timeout a share group may set, ms.";
    "group.share.partition.max.record.locks", Int, Some("2000"), between(100, 10000), ReadOnly, NoMeaning(why::SHARE),
        "Locked records in one share partition.";
    "group.share.persister.class.name", String,
        Some("org.apache.kafka.server.share.persister.DefaultStatePersister"), Any, ReadOnly, NoMeaning(why::SHARE),
        "Class that keeps share state.";
    "group.share.record.lock.duration.ms", Int, Some("30000"), between(1000, 3600000), ReadOnly, NoMeaning(why::SHARE),
        "How long a delivered record stays locked, ms.";
    "group.share.session.timeout.ms", Int, Some("45000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Session timeout of share group members, ms.";
    "group.streams.heartbeat.interval.ms", Int, Some("5000"), at_least(1), ReadOnly, NoMeaning(why::STREAMS),
        "Heartbeat interval of streams group members, ms.";
    "group.streams.initial.rebalance.delay.ms", Int, Some("3000"), at_least(0), ReadOnly, NoMeaning(why::STREAMS),
        "Wait for more members before a streams group's first assignment, ms.";
    "group.streams.max.heartbeat.interval.ms", Int, Some("15000"), at_least(1), ReadOnly, NoMeaning(why::STREAMS),
        "Longest heartbeat interval a streams group may set, ms.";
    "group.streams.max.session.timeout.ms", Int, Some("60000"), at_least(1), ReadOnly, NoMeaning(why::STREAMS),
        "Longest session timeout a streams group may set, ms.";
    "group.streams.max.size", Int, Some("2147483647"), at_least(1), ReadOnly, NoMeaning(why::STREAMS),
        "Most members of one streams group.";
    "group.streams.max.standby.replicas", Int, Some("2"), at_least(0), ReadOnly, NoMeaning(why::STREAMS),
        "Most standby replicas a streams group may set.";
    "group.streams.min.heartbeat.interval.ms", Int, Some("5000"), at_least(1), ReadOnly, NoMeaning(why::STREAMS),
        "Shortest heartbeat interval a streams group may set, ms.";
    "group.streams.min.session.timeout.ms", Int, Some("45000"), at_least(1), ReadOnly, NoMeaning(why::STREAMS),
        "Shortest session timeout a streams group may set, ms.";
    "group.streams.num.standby.replicas", Int, Some("0"), at_least(0), ReadOnly, NoMeaning(why::STREAMS),
        "Standby replicas of each task.";
    "group.streams.session.timeout.ms", Int, Some("45000"), at_least(1), ReadOnly, NoMeaning(why::STREAMS),
        "Session timeout of streams group members, ms.";
    "offset.metadata.max.bytes", Int, Some("4096"), Any, ReadOnly, Acts,
        "Longest metadata text of a committed offset, bytes.";
    "offsets.commit.timeout.ms", Int, Some("5000"), at_least(1), ReadOnly, NoMeaning(why::COMMIT),
        "How long a commit may wait to be durable, ms.";
    "offsets.load.buffer.size", Int, Some("5242880"), at_least(1), ReadOnly, NoMeaning(why::LOAD),
        "Bytes read at once when a group is loaded.";
    "offsets.retention.check.interval.ms", Long, Some("600000"), at_least(1), ReadOnly, Acts,
        "Milliseconds between two looks for expired offsets.";
    "offsets.retention.minutes", Int, Some("10080"), at_least(1), ReadOnly, Acts,
        "Minutes an offset of an empty group is kept.";
    "offsets.topic.compression.codec", Int, Some("0"), Any, ReadOnly, NoMeaning(why::PLAIN),
        "Codec of the offsets topic, by number.";
    "offsets.topic.num.partitions", Int, Some("50"), at_least(1), ReadOnly, Acts,
        "Partitions of `__consumer_offsets`; fixed once it is made.";
    "offsets.topic.replication.factor", Short, Some("1"), at_least(1), ReadOnly, OneOnly(why::REPLICATED),
        "Copies of `__consumer_offsets`. Kafka's default is 3.";
    "offsets.topic.segment.bytes", Int, Some("104857600"), at_least(1), ReadOnly, Acts,
        "Segment size of `__consumer_offsets`, bytes.";
    "share.coordinator.append.linger.ms", Int, Some("-1"), at_least(-1), ReadOnly, NoMeaning(why::SHARE),
        "Wait for more share records before writing, ms.";
    "share.coordinator.cold.partition.snapshot.interval.ms", Int,
        Some("300000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Milliseconds between two snapshots of a share partition at rest.";
    "share.coordinator.load.buffer.size", Int, Some("5242880"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Bytes read at once when share state is loaded.";
    "share.coordinator.snapshot.update.records.per.snapshot", Int,
        Some("500"), at_least(0), ReadOnly, NoMeaning(why::SHARE),
        "Updates between two snapshots of a share partition.";
    "share.coordinator.state.topic.compression.codec", Int, Some("0"), Any, ReadOnly, NoMeaning(why::SHARE),
        "Codec of the share state topic, by number.";
    "share.coordinator.state.topic.min.isr", Short, Some("1"), at_least(1), ReadOnly, OneOnly(why::REPLICATED),
        "In-sync replicas the share state topic demands. Kafka's default is 2.";
    "share.coordinator.state.topic.num.partitions", Int, Some("50"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Partitions of the share state topic.";
    "share.coordinator.state.topic.prune.interval.ms", Int,
        Some("300000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Milliseconds between two prunings of the share state topic.";
    "share.coordinator.state.topic.replication.factor", Short,
        Some("1"), at_least(1), ReadOnly, OneOnly(why::REPLICATED),
        "Copies of the share state topic. Kafka's default is 3.";
    "share.coordinator.state.topic.segment.bytes", Int,
        Some("104857600"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "Segment size of the share state topic, bytes.";
    "share.coordinator.threads", Int, Some("1"), at_least(1), ReadOnly, NoMeaning(why::THREADS),
        "Threads of the share coordinator.";
    "share.coordinator.write.timeout.ms", Int, Some("5000"), at_least(1), ReadOnly, NoMeaning(why::SHARE),
        "How long a write of share state may take, ms.";
    "add.partitions.to.txn.retry.backoff.max.ms", Int,
        Some("100"), at_least(0), ReadOnly, NoMeaning(why::TRANSACTIONS),
        "Longest pause before a partition is again added to a transaction, ms.";
    "add.partitions.to.txn.retry.backoff.ms", Int, Some("20"), at_least(1), ReadOnly, NoMeaning(why::TRANSACTIONS),
        "First pause before a partition is again added to a transaction, ms.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms", Int,
        Some("10000"), at_least(1), ReadOnly, NoMeaning(why::TRANSACTIONS),
        "Milliseconds between two looks for transactions that timed out.";
    "transaction.max.timeout.ms", Int, Some("900000"), at_least(1), ReadOnly, NoMeaning(why::TRANSACTIONS),
        "Longest transaction timeout a producer may ask for, ms.";
    "transaction.partition.verification.enable", Boolean, Some("true"), Any, ClusterWide, NoMeaning(why::TRANSACTIONS),
        "Whether a partition is checked to belong to the transaction it is written in.";
    "transaction.remove.expired.transaction.cleanup.interval.ms", Int,
        Some("3600000"), at_least(1), ReadOnly, NoMeaning(why::TRANSACTIONS),
        "Milliseconds between two looks for expired transactional ids.";
    "transaction.state.log.load.buffer.size", Int,
        Some("5242880"), at_least(1), ReadOnly, NoMeaning(why::TRANSACTIONS),
        "Bytes read at once when transaction state is loaded.";
    "transaction.state.log.min.isr", Int, Some("1"), at_least(1), ReadOnly, OneOnly(why::REPLICATED),
        "In-sync replicas the transaction state topic demands. Kafka's default is 2.";
    "transaction.state.log.num.partitions", Int, Some("50"), at_least(1), ReadOnly, NoMeaning(why::TRANSACTIONS),
        "Partitions of the transaction state topic.";
    "transaction.state.log.replication.factor", Short, Some("1"), at_least(1), ReadOnly, OneOnly(why::REPLICATED),
        "Copies of the transaction state topic. Kafka's default is 3.";
    "transaction.state.log.segment.bytes", Int, Some("104857600"), at_least(1), ReadOnly, NoMeaning(why::TRANSACTIONS),
        "Segment size of the transaction state topic, bytes.";
    "transaction.two.phase.commit.enable", Boolean, Some("false"), Any, ReadOnly, Refused(why::TRANSACTIONS),
        "Whether transactions without a timeout, for two-phase commit, are allowed.";
    "transactional.id.expiration.ms", Int, Some("604800000"), at_least(1), ReadOnly, NoMeaning(why::TRANSACTIONS),
        "Milliseconds an unused transactional id is remembered.";
}
