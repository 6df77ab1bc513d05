//! A broker's settings, typed: what its file says, checked all at once, with the dynamic settings laid over it.
//! Facts of the machine (CPUs, memory, open files) are not known here; where they decide, a field says so.

use std::net::IpAddr;

use super::key::{Key, Kind, Standing, Value, parse_cpus, why};
use super::keys::{REMOVED, broker_key, nearest_broker_key};
use super::listeners::{ListenerSettings, host_and_port, listeners};
use super::topic::TopicConfig;
use super::{ConfigError, Layers, Listener, Notice, ServerProperties, Values};
use crate::limits::{LISTENERS, LOG_DIRS, Limits};

/// Direct writes are whole multiples of this, bytes.
const DIRECT_BLOCK: i64 = 4096;

/// All settings of this broker that act. Each core has its own; built again when the dynamic settings change.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where each value came from, for DescribeConfigs and for topics.
    pub layers: Layers,
    pub node_id: i32,
    pub rack: Option<String>,
    /// What to open; never empty.
    pub listeners: Vec<Listener>,
    /// Where metrics and health are told. None: nowhere.
    pub admin: Option<AdminAddress>,
    /// Never empty, none twice.
    pub log_dirs: Vec<String>,
    /// Where the metadata log is: `metadata.log.dir`, or the first of `log_dirs`.
    pub metadata_log_dir: String,
    /// Bytes of metadata log after which a snapshot is due.
    pub metadata_snapshot_bytes: u64,
    /// CPUs of the shards, in order, repeats kept. None: every CPU this process may use.
    pub cores: Option<Vec<u16>>,
    /// Memory for log blocks, bytes. None: chosen at start.
    pub memory_bytes: Option<u64>,
    /// Journal of one shard in one log directory, bytes.
    pub journal_bytes: u64,
    /// Appends from this size on go straight to the segment, bytes.
    pub journal_direct_min_bytes: u32,
    /// Pieces journalled data is written in, bytes.
    pub destage_bytes: u32,
    /// From this size on, checked records of a sealed segment are sent from its file, bytes.
    pub fetch_range_min_bytes: u32,
    /// Free space under which writes are refused, bytes.
    pub disk_reserve_bytes: u64,
    pub auto_create_topics: bool,
    pub delete_topics: bool,
    /// Partitions of a topic created without a count.
    pub num_partitions: i32,
    /// Milliseconds between two looks for segments to delete.
    pub retention_check_ms: u64,
    /// Most bytes in one fetch response.
    pub fetch_max_bytes: u32,
    /// Most partitions in one DescribeTopicPartitions response.
    pub describe_partitions_max: u32,
    pub sockets: Sockets,
    pub groups: Groups,
    pub producer_ids: ProducerIds,
    pub limits: Limits,
}

/// `ringlog.admin.address`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminAddress {
    /// Empty: every address. IPv6 without brackets.
    pub host: String,
    /// 0: one the system chooses.
    pub port: u16,
    /// It was set, and is not just the default.
    pub chosen: bool,
}

/// Settings of client connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sockets {
    /// Kernel buffers, bytes. None: the system's own tuning.
    pub send_buffer_bytes: Option<u32>,
    pub receive_buffer_bytes: Option<u32>,
    /// Connections not accepted yet, per listener and shard.
    pub backlog: u32,
    /// None: never closed for being idle.
    pub max_idle_ms: Option<u64>,
}

/// Settings of classic consumer groups and of their offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Groups {
    pub min_session_ms: i32,
    pub max_session_ms: i32,
    pub initial_rebalance_delay_ms: u64,
    /// Longest metadata text of a committed offset, bytes.
    pub offset_metadata_max_bytes: u32,
    pub offsets_retention_ms: u64,
    pub offsets_retention_check_ms: u64,
    /// Partitions of `__consumer_offsets` when it is made.
    pub offsets_partitions: i32,
    pub offsets_segment_bytes: u32,
}

/// Settings of idempotent producers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerIds {
    pub expiration_ms: u64,
    pub expiration_check_ms: u64,
}

impl BrokerConfig {
    /// Reads the settings of a start. Either all of them are good, or every one that is not is told at once.
    pub fn load(properties: &ServerProperties) -> Result<(BrokerConfig, Vec<Notice>), Vec<ConfigError>> {
        let mut loading = Loading::default();
        for (name, text) in properties.values() {
            loading.take(name, text);
        }
        loading.check_roles();
        loading.check_node_id();
        loading.check_retention();
        loading.check_flush();
        loading.check_blocks();
        let layers = Layers { fixed: loading.values.clone(), ..Layers::default() };
        let opened = loading.open_listeners(&layers);
        let config = BrokerConfig::typed(layers, opened);
        loading.check_directories(&config);
        loading.tell_raised(&config);
        if loading.errors.is_empty() { Ok((config, loading.notices)) } else { Err(loading.errors) }
    }

    /// The same start with these dynamic settings over it: the defaults of all brokers, and this broker's own.
    pub fn with_dynamic(&self, cluster: &Values, broker: &Values) -> BrokerConfig {
        let layers = Layers { broker: broker.clone(), cluster: cluster.clone(), fixed: self.layers.fixed.clone() };
        BrokerConfig::typed(layers, self.listeners.clone())
    }

    /// What is in force for a topic with these settings of its own.
    pub fn topic(&self, overrides: &Values) -> TopicConfig {
        TopicConfig::resolve(overrides, &self.layers)
    }

    fn typed(layers: Layers, listeners: Vec<Listener>) -> BrokerConfig {
        let read = Reader::of(&layers);
        let log_dirs = read.list("log.dirs").or_else(|| read.list("log.dir")).unwrap_or_default();
        let first_dir = log_dirs.first().cloned().unwrap_or_default();
        BrokerConfig {
            node_id: read.node_id(),
            rack: read.text("broker.rack").filter(|rack| !rack.is_empty()),
            listeners,
            admin: read.admin(),
            log_dirs,
            metadata_log_dir: read.text("metadata.log.dir").filter(|dir| !dir.is_empty()).unwrap_or(first_dir),
            metadata_snapshot_bytes: read.u64("metadata.log.max.record.bytes.between.snapshots"),
            cores: read.list("ringlog.cores").and_then(|list| parse_cpus(&list)).filter(|cpus| !cpus.is_empty()),
            memory_bytes: u64::try_from(read.int("ringlog.memory.bytes")).ok(),
            journal_bytes: read.u64("ringlog.journal.bytes"),
            journal_direct_min_bytes: read.u32("ringlog.journal.direct.min.bytes"),
            destage_bytes: read.u32("ringlog.destage.bytes"),
            fetch_range_min_bytes: read.u32("ringlog.fetch.range.min.bytes"),
            disk_reserve_bytes: read.u64("ringlog.disk.reserve.bytes"),
            auto_create_topics: read.bool("auto.create.topics.enable"),
            delete_topics: read.bool("delete.topic.enable"),
            num_partitions: read.int("num.partitions") as i32,
            retention_check_ms: read.u64("log.retention.check.interval.ms"),
            fetch_max_bytes: read.u32("fetch.max.bytes"),
            describe_partitions_max: read.u32("max.request.partition.size.limit"),
            sockets: read.sockets(),
            groups: read.groups(),
            producer_ids: ProducerIds {
                expiration_ms: read.u64("producer.id.expiration.ms"),
                expiration_check_ms: read.u64("producer.id.expiration.check.interval.ms"),
            },
            limits: read.limits(),
            layers,
        }
    }
}

/// Reads values in force; a name that is not in the tables is our bug.
struct Reader<'a> {
    layers: &'a Layers,
}

impl<'a> Reader<'a> {
    fn of(layers: &'a Layers) -> Reader<'a> {
        Reader { layers }
    }

    fn value(&self, name: &'static str) -> Option<Value> {
        let key = broker_key(name).unwrap_or_else(|| panic!("{name} is not in the tables of broker settings"));
        let text = self.layers.first(&[name]).map(|(_, text, _)| text).or(key.default)?;
        key.parse(text).ok()
    }

    fn int(&self, name: &'static str) -> i64 {
        match self.value(name) {
            Some(Value::Int(number)) => number,
            other => panic!("{name} is a number with a default in its table, not {other:?}"),
        }
    }

    /// Negative values, where Kafka lets them through, count as 0.
    fn u64(&self, name: &'static str) -> u64 {
        u64::try_from(self.int(name)).unwrap_or(0)
    }

    fn u32(&self, name: &'static str) -> u32 {
        u32::try_from(self.u64(name)).unwrap_or(u32::MAX)
    }

    fn bool(&self, name: &'static str) -> bool {
        self.value(name) == Some(Value::Bool(true))
    }

    fn text(&self, name: &'static str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn list(&self, name: &'static str) -> Option<Vec<String>> {
        match self.value(name) {
            Some(Value::List(list)) => Some(list),
            _ => None,
        }
    }

    /// `node.id`, or its former name.
    fn node_id(&self) -> i32 {
        let given = self.layers.fixed.contains_key("node.id");
        match self.int("broker.id") {
            id if id >= 0 && !given => id as i32,
            _ => self.int("node.id") as i32,
        }
    }

    fn admin(&self) -> Option<AdminAddress> {
        let (host, port) = host_and_port(&self.text("ringlog.admin.address")?)?;
        Some(AdminAddress { host, port, chosen: self.layers.fixed.contains_key("ringlog.admin.address") })
    }

    fn sockets(&self) -> Sockets {
        let buffer = |name| u32::try_from(self.int(name)).ok().filter(|bytes| *bytes > 0);
        Sockets {
            send_buffer_bytes: buffer("socket.send.buffer.bytes"),
            receive_buffer_bytes: buffer("socket.receive.buffer.bytes"),
            backlog: self.u32("socket.listen.backlog.size"),
            max_idle_ms: u64::try_from(self.int("connections.max.idle.ms")).ok(),
        }
    }

    fn groups(&self) -> Groups {
        let max_session_ms = self.int("group.max.session.timeout.ms") as i32;
        Groups {
            min_session_ms: self.int("group.min.session.timeout.ms") as i32,
            max_session_ms,
            initial_rebalance_delay_ms: self.u64("group.initial.rebalance.delay.ms"),
            offset_metadata_max_bytes: self.u32("offset.metadata.max.bytes"),
            offsets_retention_ms: self.u64("offsets.retention.minutes").saturating_mul(60_000),
            offsets_retention_check_ms: self.u64("offsets.retention.check.interval.ms"),
            offsets_partitions: self.int("offsets.topic.num.partitions") as i32,
            offsets_segment_bytes: self.u32("offsets.topic.segment.bytes"),
        }
    }

    fn limits(&self) -> Limits {
        let request_bytes = self.u32("socket.request.max.bytes");
        let connection = self.u64("ringlog.inflight.connection.bytes").max(request_bytes.into());
        let core = self.u64("ringlog.inflight.core.bytes").max(connection);
        Limits {
            connections: self.u32("max.connections"),
            connections_per_ip: self.u32("max.connections.per.ip"),
            connections_per_ip_overrides: ip_overrides(
                &self.text("max.connections.per.ip.overrides").unwrap_or_default(),
            )
            .unwrap_or_default(),
            connection_creation_rate: self.u32("max.connection.creation.rate"),
            request_bytes,
            inflight_requests: self.u32("ringlog.inflight.connection.requests"),
            inflight_connection_bytes: connection,
            inflight_core_bytes: core,
            inflight_bytes: self.u64("ringlog.inflight.bytes").max(core),
            fetch_sessions: self.u32("max.incremental.fetch.session.cache.slots"),
            topics: self.u32("ringlog.max.topics"),
            partitions: self.u32("ringlog.max.partitions"),
            groups: self.u32("ringlog.max.groups"),
            group_members: self.u32("group.max.size").min(self.u32("ringlog.max.group.members")),
            member_bytes: self.u32("ringlog.max.member.bytes"),
            producers_per_partition: self.u32("ringlog.max.producers.per.partition"),
            producers_per_core: self.u32("ringlog.max.producers.per.core"),
            batch_decompressed_bytes: self.u64("ringlog.max.batch.decompressed.bytes"),
        }
    }
}

/// The exceptions of `max.connections.per.ip.overrides`: `address:count,...`, an IPv6 address with or without brackets.
pub(crate) fn ip_overrides(text: &str) -> Result<Vec<(IpAddr, u32)>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let read = entries.map(|entry| {
        let both = entry.rsplit_once(':').and_then(|(address, count)| {
            let address = address.trim().trim_start_matches('[').trim_end_matches(']');
            Some((address.parse().ok()?, count.trim().parse().ok()?))
        });
        both.ok_or_else(|| format!("{entry} is not an IP address and a count, such as 10.0.0.1:100"))
    });
    read.collect()
}

/// A start being checked: what was accepted so far, and what there is to say about it.
#[derive(Default)]
struct Loading {
    values: Values,
    errors: Vec<ConfigError>,
    notices: Vec<Notice>,
}

impl Loading {
    /// Takes one line: known, typed, in range, and not promising what is not here.
    fn take(&mut self, name: &str, text: &str) {
        let Some(key) = broker_key(name) else { return self.unknown(name) };
        if let Err(invalid) = key.parse(text) {
            return self.error(name, invalid.to_string());
        }
        if let Some(why) = key.refusal(text) {
            return self.error(name, format!("{} cannot be set: {why}", shown(key, text)));
        }
        match key.standing {
            Standing::NoMeaning(why) => self.notice(name, format!("has no meaning here: {why}")),
            Standing::Refused(why) => self.notice(name, format!("accepted as it promises nothing; {why}")),
            Standing::Acts | Standing::OneOnly(_) => {}
        }
        if name == "max.connections.per.ip.overrides"
            && let Err(message) = ip_overrides(text)
        {
            return self.error(name, message);
        }
        if name == "ringlog.admin.address" && !text.trim().is_empty() && host_and_port(text.trim()).is_none() {
            return self.error(name, format!("{text} is not an address; write host:port, such as 127.0.0.1:9099"));
        }
        if name == "log.cleanup.policy" && text.contains("compact") {
            self.notice(name, why::COMPACTION);
        }
        self.values.insert(name.to_string(), text.trim().to_string());
    }

    fn unknown(&mut self, name: &str) {
        if let Some((_, removed)) = REMOVED.iter().find(|(removed, _)| *removed == name) {
            return match removed {
                super::keys::Removed::Notice(why) => self.notice(name, *why),
                super::keys::Removed::Stop(why) => self.error(name, *why),
            };
        }
        if name.starts_with("rsm.config.") || name.starts_with("rlmm.config.") {
            return self.notice(name, format!("has no meaning here: {}", why::TIERED));
        }
        if let Some((_, rest)) = name.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.')) {
            // Kafka allows a mechanism between: listener.name.x.scram-sha-256.sasl.jaas.config.
            let secured = ["sasl.", "ssl.", "principal.", "connections.max.reauth"].iter().any(|p| rest.contains(p));
            let plain = "settings for one listener are not there yet; set it for all, without `listener.name.NAME.`";
            return self.error(name, if secured { why::SECURITY } else { plain });
        }
        match nearest_broker_key(name) {
            Some(near) => self.error(name, format!("unknown setting; did you mean {near}?")),
            None => self.error(name, "unknown setting; `ringlog config` lists all there are"),
        }
    }

    fn error(&mut self, key: &str, message: impl Into<String>) {
        self.errors.push(ConfigError::new(key, message));
    }

    fn notice(&mut self, key: &str, message: impl Into<String>) {
        self.notices.push(Notice::new(key, message));
    }

    fn list(&self, name: &str) -> Vec<String> {
        super::key::split_list(self.values.get(name).map_or("", String::as_str))
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.values.get(name).and_then(|text| text.parse().ok())
    }

    /// One node is the whole cluster: it has both roles, and no other voters.
    fn check_roles(&mut self) {
        let roles = self.list("process.roles");
        for role in ["broker", "controller"] {
            if !roles.is_empty() && !roles.iter().any(|r| r == role) {
                self.error("process.roles", format!("one node is the whole cluster: {role} must be among its roles"));
            }
        }
        for (key, what) in [("controller.quorum.voters", "voters"), ("controller.quorum.bootstrap.servers", "servers")]
        {
            match self.list(key).len() {
                0 => {}
                1 => self.notice(key, format!("has no meaning here: {}", why::QUORUM)),
                count => self.error(key, format!("{count} {what}: {}", why::REPLICATED)),
            }
        }
        let layers = Layers { fixed: self.values.clone(), ..Layers::default() };
        let id = Reader::of(&layers).node_id();
        if let [voter] = self.list("controller.quorum.voters").as_slice()
            && voter.split_once('@').and_then(|(voter, _)| voter.parse().ok()) != Some(id)
        {
            self.error("controller.quorum.voters", format!("{voter} is not this node, whose id is {id}"));
        }
    }

    fn check_node_id(&mut self) {
        if let (Some(node), Some(broker)) = (self.number("node.id"), self.number("broker.id"))
            && node != broker
            && broker >= 0
        {
            self.error("broker.id", format!("{broker} differs from node.id {node}; they name the same thing"));
        }
    }

    fn check_retention(&mut self) {
        for name in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
            if self.number(name).is_some_and(|n| n < -1 || n == 0) {
                self.error(name, "must be unlimited (-1) or at least 1");
            }
        }
        if self.number("log.roll.ms").is_some_and(|n| n < 1) {
            self.error("log.roll.ms", "must be at least 1");
        }
        if self.number("log.roll.jitter.ms").is_some_and(|n| n < 0) {
            self.error("log.roll.jitter.ms", "must be at least 0");
        }
    }

    /// A flush interval beside relaxed flushing promises a flush that nobody waits for.
    fn check_flush(&mut self) {
        if self.values.get("ringlog.log.flush").is_none_or(|flush| flush != "relaxed") {
            return;
        }
        self.notice(
            "ringlog.log.flush",
            "acknowledged records can be lost by a power failure or a crash of the system",
        );
        for name in ["log.flush.interval.messages", "log.flush.interval.ms"] {
            if self.values.contains_key(name) {
                self.error(name, "says when to flush, ringlog.log.flush=relaxed that nothing waits for it; keep one");
            }
        }
    }

    /// What is written past the page cache is written in whole blocks.
    fn check_blocks(&mut self) {
        for name in ["ringlog.journal.bytes", "ringlog.destage.bytes"] {
            if self.number(name).is_some_and(|bytes| bytes % DIRECT_BLOCK != 0) {
                self.error(name, format!("must be a multiple of {DIRECT_BLOCK}"));
            }
        }
    }

    fn open_listeners(&mut self, layers: &Layers) -> Vec<Listener> {
        let read = Reader::of(layers);
        let addresses = read.list("listeners").unwrap_or_default();
        if addresses.len() > LISTENERS {
            self.error("listeners", format!("{} listeners; at most {LISTENERS} are served", addresses.len()));
        }
        let advertised = read.list("advertised.listeners");
        let inter_broker = read.text("inter.broker.listener.name");
        let settings = ListenerSettings {
            listeners: &addresses,
            advertised: advertised.as_deref(),
            protocol_map: &read.text("listener.security.protocol.map").unwrap_or_default(),
            map_is_explicit: layers.fixed.contains_key("listener.security.protocol.map"),
            controller_names: &read.list("controller.listener.names").unwrap_or_default(),
            inter_broker: inter_broker.as_deref().filter(|name| !name.is_empty()),
        };
        listeners(&settings, &mut self.errors, &mut self.notices)
    }

    fn check_directories(&mut self, config: &BrokerConfig) {
        let dirs = &config.log_dirs;
        if dirs.is_empty() || dirs.iter().any(String::is_empty) {
            self.error("log.dirs", "a directory's name is empty; name the directories, or leave the setting out");
        }
        if dirs.len() > LOG_DIRS {
            self.error("log.dirs", format!("{} directories; at most {LOG_DIRS} are served", dirs.len()));
        }
        for (at, dir) in dirs.iter().enumerate() {
            if dirs[..at].contains(dir) {
                self.error("log.dirs", format!("{dir} is named twice"));
            }
        }
    }

    /// A request of the allowed size must fit every bound on what is held.
    fn tell_raised(&mut self, config: &BrokerConfig) {
        let limits = &config.limits;
        let held = [
            ("ringlog.inflight.connection.bytes", limits.inflight_connection_bytes),
            ("ringlog.inflight.core.bytes", limits.inflight_core_bytes),
            ("ringlog.inflight.bytes", limits.inflight_bytes),
        ];
        for (name, bytes) in held {
            if Reader::of(&config.layers).u64(name) < bytes {
                self.notice(name, format!("raised to {bytes}, as the bounds within it and one whole request must fit"));
            }
        }
        if limits.connections == 0 {
            self.notice("max.connections", "0: no client can connect");
        }
    }
}

fn shown<'a>(key: &Key, text: &'a str) -> &'a str {
    if key.kind == Kind::Password { "[hidden]" } else { text }
}

#[cfg(test)]
#[path = "broker_tests.rs"]
mod tests;
