//! The broker settings of Kafka 4.2 about the node, its place in a cluster, and its upkeep: one row each. What acts on
//! them lives elsewhere.
//!
//! Names, types, defaults and ranges are facts of Kafka 4.2.0; where a default is ours, the row says so.

use crate::config::key::{Key, Kind::*, Scope::*, Standing::*, Valid, Valid::Any, at_least, keys, why};

keys! {
    "alter.config.policy.class.name", Class, None, Any, ReadOnly, Refused(why::PLUGIN),
        "Class that may refuse changes of configuration.";
    "alter.log.dirs.replication.quota.window.num", Int, Some("11"), at_least(1), ReadOnly, NoMeaning(why::QUOTA),
        "Samples kept for the quota on moves between directories.";
    "alter.log.dirs.replication.quota.window.size.seconds", Int,
        Some("1"), at_least(1), ReadOnly, NoMeaning(why::QUOTA),
        "Length of such a sample, s.";
    "auto.leader.rebalance.enable", Boolean, Some("true"), Any, ReadOnly, NoMeaning(why::ONE_COPY),
        "Whether leaders are moved back to the preferred replicas.";
    "background.threads", Int, Some("10"), at_least(1), ClusterWide, NoMeaning(why::THREADS),
        "Threads for background work.";
    "broker.heartbeat.interval.ms", Int, Some("2000"), Any, ReadOnly, NoMeaning(why::QUORUM),
        "Milliseconds between two heartbeats to the controller.";
    "broker.id", Int, Some("-1"), Any, ReadOnly, Acts, "The node's id, Kafka's former name for `node.id`.";
    "broker.rack", String, None, Any, ReadOnly, Acts, "Rack of this node, told to clients.";
    "broker.session.timeout.ms", Int, Some("9000"), Any, ReadOnly, NoMeaning(why::QUORUM),
        "Milliseconds without a heartbeat after which a broker is fenced.";
    "client.quota.callback.class", Class, None, Any, ReadOnly, Refused(why::PLUGIN),
        "Class that computes client quotas.";
    "config.providers", List, Some(""), Any, ClusterWide, Refused(why::PROVIDERS),
        "Classes that replace `${...}` in values.";
    "controlled.shutdown.enable", Boolean, Some("true"), Any, ReadOnly, NoMeaning(why::ONE_COPY),
        "Whether leaders are moved away before a stop.";
    "controller.performance.always.log.threshold.ms", Long,
        Some("2000"), at_least(0), ReadOnly, NoMeaning(why::QUORUM),
        "Controller events slower than this are logged, ms.";
    "controller.performance.sample.period.ms", Long, Some("60000"), at_least(100), ReadOnly, NoMeaning(why::QUORUM),
        "Milliseconds between two reports of controller performance.";
    "controller.quorum.append.linger.ms", Int, Some("25"), at_least(0), ReadOnly, NoMeaning(why::QUORUM),
        "Wait for more metadata records before writing, ms.";
    "controller.quorum.auto.join.enable", Boolean, Some("false"), Any, ReadOnly, NoMeaning(why::QUORUM),
        "Whether a controller joins the voters by itself.";
    "controller.quorum.bootstrap.servers", List, Some(""), Any, ReadOnly, Acts,
        "Where the controllers are; must be this one node's.";
    "controller.quorum.election.backoff.max.ms", Int, Some("1000"), at_least(0), ReadOnly, NoMeaning(why::QUORUM),
        "Longest pause before another election, ms.";
    "controller.quorum.election.timeout.ms", Int, Some("1000"), at_least(0), ReadOnly, NoMeaning(why::QUORUM),
        "Wait without a leader before an election, ms.";
    "controller.quorum.fetch.timeout.ms", Int, Some("2000"), at_least(0), ReadOnly, NoMeaning(why::QUORUM),
        "Wait without a fetch before an election, ms.";
    "controller.quorum.request.timeout.ms", Int, Some("2000"), at_least(0), ReadOnly, NoMeaning(why::QUORUM),
        "How long a controller waits for an answer, ms.";
    "controller.quorum.retry.backoff.ms", Int, Some("20"), at_least(0), ReadOnly, NoMeaning(why::QUORUM),
        "Pause before a request is tried again, ms.";
    "controller.quorum.voters", List, Some(""), Any, ReadOnly, Acts,
        "The controllers, as id@host:port; must be this one node.";
    "controller.quota.window.num", Int, Some("11"), at_least(1), ReadOnly, NoMeaning(why::QUOTA),
        "Samples kept for the quota on topic changes.";
    "controller.quota.window.size.seconds", Int, Some("1"), at_least(1), ReadOnly, NoMeaning(why::QUOTA),
        "Length of such a sample, s.";
    "controller.socket.timeout.ms", Int, Some("30000"), Any, ReadOnly, NoMeaning(why::QUORUM),
        "Socket timeout towards the controller, ms.";
    "create.topic.policy.class.name", Class, None, Any, ReadOnly, Refused(why::PLUGIN),
        "Class that may refuse new topics.";
    "default.replication.factor", Int, Some("1"), at_least(1), ReadOnly, OneOnly(why::REPLICATED),
        "Copies of a topic whose creation names no number.";
    "initial.broker.registration.timeout.ms", Int, Some("60000"), Any, ReadOnly, NoMeaning(why::QUORUM),
        "How long the first registration may take, ms.";
    "internal.metadata.delete.delay.millis", Long, Some("60000"), Any, ReadOnly, NoMeaning(why::METADATA),
        "Wait before an old metadata segment is deleted, ms.";
    "internal.metadata.log.segment.bytes", Int, None, Any, ReadOnly, NoMeaning(why::METADATA),
        "Segment size of the metadata log in Kafka's tests, bytes.";
    "internal.metadata.max.batch.size.in.bytes", Int, Some("8388608"), Any, ReadOnly, NoMeaning(why::METADATA),
        "Largest batch of the metadata log, bytes.";
    "internal.metadata.max.fetch.size.in.bytes", Int, Some("8388608"), Any, ReadOnly, NoMeaning(why::METADATA),
        "Largest fetch of the metadata log, bytes.";
    "kafka.metrics.polling.interval.secs", Int, Some("10"), at_least(1), ReadOnly, NoMeaning(why::METRICS),
        "Seconds between two readings of Kafka's old metrics.";
    "kafka.metrics.reporters", List, Some(""), Any, ReadOnly, NoMeaning(why::METRICS),
        "Reporter classes for Kafka's old metrics.";
    "leader.imbalance.check.interval.seconds", Long, Some("300"), at_least(1), ReadOnly, NoMeaning(why::ONE_COPY),
        "Seconds between two looks at the balance of leaders.";
    "metadata.log.dir", String, None, Any, ReadOnly, Acts,
        "Directory of the metadata log; unset: the first of `log.dirs`.";
    "metadata.log.max.record.bytes.between.snapshots", Long, Some("20971520"), at_least(1), ReadOnly, Acts,
        "Bytes of metadata log after which a snapshot is written.";
    "metadata.log.max.snapshot.interval.ms", Long, Some("3600000"), at_least(0), ReadOnly, NoMeaning(why::METADATA),
        "Milliseconds after which a snapshot is written though little changed.";
    "metadata.log.segment.bytes", Int, Some("1073741824"), at_least(8388608), ReadOnly, NoMeaning(why::METADATA),
        "Segment size of the metadata log, bytes.";
    "metadata.log.segment.ms", Long, Some("604800000"), Any, ReadOnly, NoMeaning(why::METADATA),
        "Milliseconds after which the metadata log begins a new segment.";
    "metadata.max.idle.interval.ms", Int, Some("500"), at_least(0), ReadOnly, NoMeaning(why::QUORUM),
        "Milliseconds between two empty records of an idle controller.";
    "metadata.max.retention.bytes", Long, Some("104857600"), Any, ReadOnly, NoMeaning(why::METADATA),
        "Size of metadata log and snapshots kept, bytes.";
    "metadata.max.retention.ms", Long, Some("604800000"), Any, ReadOnly, NoMeaning(why::METADATA),
        "Time old metadata log and snapshots are kept, ms.";
    "metric.reporters", List,
        Some("org.apache.kafka.common.metrics.JmxReporter"), Any, ClusterWide, NoMeaning(why::METRICS),
        "Reporter classes for metrics.";
    "metrics.num.samples", Int, Some("2"), at_least(1), ReadOnly, NoMeaning(why::METRICS),
        "Samples kept for each metric.";
    "metrics.recording.level", String, Some("INFO"), Any, ReadOnly, NoMeaning(why::METRICS),
        "Detail of the metrics recorded.";
    "metrics.sample.window.ms", Long, Some("30000"), at_least(1), ReadOnly, NoMeaning(why::METRICS),
        "Length of a metric's sample, ms.";
    "node.id", Int, Some("1"), at_least(0), ReadOnly, Acts, "Id of this node, told to clients.";
    "num.io.threads", Int, Some("8"), at_least(1), ClusterWide, NoMeaning(why::THREADS),
        "Threads that work on requests.";
    "num.network.threads", Int, Some("3"), at_least(1), ClusterWide, NoMeaning(why::THREADS),
        "Threads that read and write sockets.";
    "num.recovery.threads.per.data.dir", Int, Some("2"), at_least(1), ClusterWide, NoMeaning(why::THREADS),
        "Threads that recover logs at start.";
    "num.replica.alter.log.dirs.threads", Int, None, Any, ReadOnly, NoMeaning(why::THREADS),
        "Threads that move replicas between directories.";
    "num.replica.fetchers", Int, Some("1"), at_least(1), ClusterWide, NoMeaning(why::ONE_COPY),
        "Threads that copy from each leader.";
    "process.roles", List, Some("broker,controller"), Valid::OneOf(&["broker", "controller"]), ReadOnly, Acts,
        "Roles of this process; here one node is both broker and controller.";
    "quota.window.num", Int, Some("11"), at_least(1), ReadOnly, NoMeaning(why::QUOTA),
        "Samples kept for client quotas.";
    "quota.window.size.seconds", Int, Some("1"), at_least(1), ReadOnly, NoMeaning(why::QUOTA),
        "Length of such a sample, s.";
    "replica.fetch.backoff.ms", Int, Some("1000"), at_least(0), ReadOnly, NoMeaning(why::ONE_COPY),
        "Pause of a replica fetcher after an error, ms.";
    "replica.fetch.max.bytes", Int, Some("1048576"), at_least(0), ReadOnly, NoMeaning(why::ONE_COPY),
        "Bytes fetched per partition by a follower.";
    "replica.fetch.min.bytes", Int, Some("1"), Any, ReadOnly, NoMeaning(why::ONE_COPY), "Bytes a follower waits for.";
    "replica.fetch.response.max.bytes", Int, Some("10485760"), at_least(0), ReadOnly, NoMeaning(why::ONE_COPY),
        "Bytes of one response to a follower.";
    "replica.fetch.wait.max.ms", Int, Some("500"), Any, ReadOnly, NoMeaning(why::ONE_COPY),
        "How long a follower's fetch may wait, ms.";
    "replica.high.watermark.checkpoint.interval.ms", Long, Some("5000"), Any, ReadOnly, NoMeaning(why::CHECKPOINT),
        "Milliseconds between two checkpoints of high watermarks.";
    "replica.lag.time.max.ms", Long, Some("30000"), Any, ReadOnly, NoMeaning(why::ONE_COPY),
        "How far a follower may lag and stay in sync, ms.";
    "replica.selector.class", String, None, Any, ReadOnly, NoMeaning(why::ONE_COPY),
        "Class that chooses the replica a consumer reads from.";
    "replica.socket.receive.buffer.bytes", Int, Some("65536"), Any, ReadOnly, NoMeaning(why::ONE_COPY),
        "Receive buffer of a follower's socket, bytes.";
    "replica.socket.timeout.ms", Int, Some("30000"), Any, ReadOnly, NoMeaning(why::ONE_COPY),
        "Socket timeout of a follower, ms.";
    "replication.quota.window.num", Int, Some("11"), at_least(1), ReadOnly, NoMeaning(why::QUOTA),
        "Samples kept for the replication quota.";
    "replication.quota.window.size.seconds", Int, Some("1"), at_least(1), ReadOnly, NoMeaning(why::QUOTA),
        "Length of such a sample, s.";
    "server.max.startup.time.ms", Long, Some("9223372036854775807"), at_least(0), ReadOnly, NoMeaning(why::AT_ONCE),
        "How long a start may take, ms.";
    "telemetry.max.bytes", Int, Some("1048576"), at_least(1), ReadOnly, NoMeaning(why::METRICS),
        "Largest metrics push accepted from a client, bytes.";
    "unstable.api.versions.enable", Boolean, Some("false"), Any, ReadOnly, NoMeaning(why::UNSTABLE),
        "Whether API versions under development are offered.";
    "unstable.feature.versions.enable", Boolean, Some("false"), Any, ReadOnly, NoMeaning(why::UNSTABLE),
        "Whether feature versions under development are offered.";
}
