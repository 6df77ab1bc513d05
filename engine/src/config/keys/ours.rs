//! The settings Kafka does not have: what a core is given, how appends become durable, and the limits that are ours.

use crate::config::key::{Key, Kind::*, Scope::*, Standing::*, Valid, at_least, between, keys};

keys! {
    "ringlog.cores", List, None, Valid::Cpus, ReadOnly, Acts,
        "CPUs to run shards on, as `0,2-3`; one named twice carries two. Unset: every CPU this process may use.";
    "ringlog.admin.address", String, Some("127.0.0.1:9099"), Valid::Any, ReadOnly, Acts,
        "Where metrics and health are told over HTTP, host:port; empty: nowhere.";
    "ringlog.memory.bytes", Long, Some("-1"), at_least(-1), ReadOnly, Acts,
        "Memory for log blocks in this process, shared out to the shards, bytes; -1: chosen at start.";
    "ringlog.log.flush", String, Some("durable"), Valid::OneOf(&["durable", "relaxed"]), ClusterWide, Acts,
        "Default of the topic setting `ringlog.flush`.";
    "ringlog.journal.bytes", Long, Some("134217728"), between(16777216, 17179869184), ReadOnly, Acts,
        "Size of the journal each shard keeps in each log directory, bytes.";
    "ringlog.journal.direct.min.bytes", Int, Some("16384"), between(0, 16777216), ReadOnly, Acts,
        "An append of a partition in one turn at least this large goes straight to its segment, bytes.";
    "ringlog.destage.bytes", Int, Some("65536"), between(4096, 16777216), ReadOnly, Acts,
        "Size of the pieces journalled data is written to its segment in, bytes.";
    "ringlog.fetch.range.min.bytes", Int, Some("262144"), between(4096, 2147483647), ReadOnly, Acts,
        "Records of a sealed segment that were read and checked before are sent from its file, if it is at least so many bytes.";
    "ringlog.disk.reserve.bytes", Long, Some("268435456"), at_least(0), ReadOnly, Acts,
        "Free space of a file system under which writes are refused, bytes.";
    "ringlog.inflight.connection.requests", Int, Some("64"), between(1, 65536), ReadOnly, Acts,
        "Requests of one connection being worked on; further ones wait in its socket.";
    "ringlog.inflight.connection.bytes", Long, Some("104857600"), at_least(1048576), ReadOnly, Acts,
        "Bytes of one connection's requests held; further ones wait in its socket.";
    "ringlog.inflight.core.bytes", Long, Some("268435456"), at_least(1048576), ReadOnly, Acts,
        "Bytes of requests held by one shard; further ones wait in their sockets.";
    "ringlog.inflight.bytes", Long, Some("1073741824"), at_least(1048576), ReadOnly, Acts,
        "Bytes of requests held by this process; further ones wait in their sockets.";
    "ringlog.max.topics", Int, Some("20000"), between(1, 1000000), ReadOnly, Acts,
        "Topics on this node; a further one is refused.";
    "ringlog.max.partitions", Int, Some("20000"), between(1, 1000000), ReadOnly, Acts,
        "Partitions on this node, internal ones included; a further one is refused.";
    "ringlog.max.groups", Int, Some("10000"), between(1, 1000000), ReadOnly, Acts,
        "Consumer groups in one partition of `__consumer_offsets`; a further one is refused.";
    "ringlog.max.group.members", Int, Some("10000"), between(1, 1000000), ReadOnly, Acts,
        "Members of one group, where `group.max.size` allows more.";
    "ringlog.max.member.bytes", Int, Some("1048576"), between(1024, 104857600), ReadOnly, Acts,
        "Subscription, user data and assignment of one group member, bytes.";
    "ringlog.max.producers.per.partition", Int, Some("5000"), between(1, 1000000), ReadOnly, Acts,
        "Idempotent producers remembered for one partition; beyond it the longest idle one is forgotten.";
    "ringlog.max.producers.per.core", Int, Some("100000"), between(1, 10000000), ReadOnly, Acts,
        "Idempotent producers remembered by one shard; beyond it the longest idle one is forgotten.";
    "ringlog.max.batch.decompressed.bytes", Long, Some("134217728"), between(1048576, 2147483647), ReadOnly, Acts,
        "Size a compressed batch may unpack to, bytes; a larger one is refused.";
}
