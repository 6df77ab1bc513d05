//! Every setting that acts is seen acting by a client of the real broker. The list below says where; a setting that says it
//! acts and is not in it fails the run.

mod client;
mod dynamic;
mod groups;
mod log;
mod net;
mod ranges;
mod start;
mod store;

use ringlog_engine::config::key::Standing;
use ringlog_engine::config::keys::{TOPIC_TABLE, broker_keys};
use std::collections::BTreeSet;

/// A test, and the settings it sees acting.
type Sight = (fn(), &'static [&'static str]);

/// Where a setting, at a topic or the broker, is seen acting.
const SEEN: &[Sight] = &[
    (log::retention_by_size, &["retention.bytes", "log.retention.bytes", "log.retention.check.interval.ms"]),
    (log::delete_delay, &["file.delete.delay.ms", "log.segment.delete.delay.ms"]),
    (log::retention_by_time, &["retention.ms", "log.retention.ms", "log.retention.minutes", "log.retention.hours"]),
    (
        log::roll_by_time,
        &[
            "segment.ms",
            "segment.jitter.ms",
            "log.roll.ms",
            "log.roll.hours",
            "log.roll.jitter.ms",
            "log.roll.jitter.hours",
        ],
    ),
    (log::segment_sizes, &["segment.bytes", "log.segment.bytes", "index.interval.bytes", "log.index.interval.bytes"]),
    (
        log::what_is_refused,
        &[
            "max.message.bytes",
            "message.max.bytes",
            "message.timestamp.before.max.ms",
            "message.timestamp.after.max.ms",
            "log.message.timestamp.before.max.ms",
            "log.message.timestamp.after.max.ms",
            "min.insync.replicas",
        ],
    ),
    (log::log_append_time, &["message.timestamp.type", "log.message.timestamp.type"]),
    (
        log::compression,
        &["compression.type", "compression.gzip.level", "compression.lz4.level", "compression.zstd.level"],
    ),
    (log::compaction_is_told, &["cleanup.policy", "log.cleanup.policy"]),
    (log::relaxed_flushing, &["ringlog.flush", "ringlog.log.flush"]),
    (log::first_use_and_deletion, &["auto.create.topics.enable", "num.partitions", "delete.topic.enable"]),
    (
        log::producers_are_forgotten,
        &[
            "producer.id.expiration.ms",
            "producer.id.expiration.check.interval.ms",
            "ringlog.max.producers.per.partition",
            "ringlog.max.producers.per.core",
        ],
    ),
    (log::unpacked_size, &["ringlog.max.batch.decompressed.bytes"]),
    (net::connections, &["max.connections"]),
    (net::connections_of_one_address, &["max.connections.per.ip", "max.connections.per.ip.overrides"]),
    (net::creation_rate, &["max.connection.creation.rate"]),
    (net::idle_connections, &["connections.max.idle.ms"]),
    (net::request_size, &["socket.request.max.bytes"]),
    (net::socket_buffers, &["socket.receive.buffer.bytes", "socket.send.buffer.bytes"]),
    (net::backlog, &["socket.listen.backlog.size"]),
    (
        net::requests_held,
        &[
            "ringlog.inflight.connection.requests",
            "ringlog.inflight.connection.bytes",
            "ringlog.inflight.core.bytes",
            "ringlog.inflight.bytes",
        ],
    ),
    (net::fetches, &["fetch.max.bytes", "max.incremental.fetch.session.cache.slots"]),
    (net::described_partitions, &["max.request.partition.size.limit"]),
    (
        net::listeners,
        &["listeners", "advertised.listeners", "listener.security.protocol.map", "node.id", "broker.id", "broker.rack"],
    ),
    (net::cores_as_brokers, &["ringlog.advertise"]),
    (
        groups::members,
        &[
            "group.min.session.timeout.ms",
            "group.max.session.timeout.ms",
            "group.initial.rebalance.delay.ms",
            "group.max.size",
            "ringlog.max.group.members",
            "ringlog.max.member.bytes",
        ],
    ),
    (groups::number_of_groups, &["ringlog.max.groups"]),
    (
        groups::offsets_topic,
        &["offsets.topic.num.partitions", "offsets.topic.segment.bytes", "offset.metadata.max.bytes"],
    ),
    (groups::offsets_retention, &["offsets.retention.minutes", "offsets.retention.check.interval.ms"]),
    (groups::many_commits, &["offsets.topic.segment.bytes"]),
    (
        start::refusals,
        &[
            "process.roles",
            "controller.quorum.voters",
            "controller.quorum.bootstrap.servers",
            "inter.broker.listener.name",
        ],
    ),
    (start::admin_address, &["ringlog.admin.address"]),
    (start::stock_file, &["controller.listener.names"]),
    (store::directories, &["log.dirs", "log.dir", "metadata.log.dir"]),
    (store::cores, &["ringlog.cores"]),
    (store::journals, &["ringlog.journal.bytes", "ringlog.journal.direct.min.bytes", "ringlog.destage.bytes"]),
    (store::memory, &["ringlog.memory.bytes"]),
    (ranges::ranges, &["ringlog.fetch.range.min.bytes"]),
    (store::topics_and_partitions, &["ringlog.max.topics", "ringlog.max.partitions"]),
    (store::metadata_log, &["metadata.log.max.record.bytes.between.snapshots"]),
    (store::disk_reserve, &["ringlog.disk.reserve.bytes"]),
];

#[test]
fn every_setting_that_acts_is_seen() {
    let seen: BTreeSet<&str> = SEEN.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let acts: BTreeSet<&str> =
        broker_keys().chain(TOPIC_TABLE).filter(|key| key.standing == Standing::Acts).map(|key| key.name).collect();
    let unseen: Vec<_> = acts.difference(&seen).collect();
    assert!(unseen.is_empty(), "say that they act, and no test sees it: {unseen:?}");
    let idle: Vec<_> = seen.difference(&acts).collect();
    assert!(idle.is_empty(), "are tried, and do not say that they act: {idle:?}");
}
