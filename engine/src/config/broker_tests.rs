//! Starts that succeed and starts that do not, from whole files.

use super::*;
use crate::config::topic::Compression;

/// The settings of the `config/server.properties` that Kafka 4.2.0 ships.
const STOCK: &str = "
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

fn load(text: &str) -> Result<(BrokerConfig, Vec<Notice>), Vec<ConfigError>> {
    BrokerConfig::load(&ServerProperties::parse(text).unwrap())
}

fn config(text: &str) -> BrokerConfig {
    load(text).unwrap_or_else(|errors| panic!("{errors:?}")).0
}

/// The keys that stop a start with these lines.
fn stopped_by(text: &str) -> Vec<String> {
    load(text).err().unwrap_or_default().into_iter().map(|error| error.key).collect()
}

#[test]
fn the_stock_file_starts_unchanged() {
    let (config, notices) = load(STOCK).unwrap();
    assert_eq!(config.node_id, 1);
    let [listener] = config.listeners.as_slice() else { panic!("{:?}", config.listeners) };
    assert_eq!((listener.name.as_str(), listener.host.as_str(), listener.port), ("PLAINTEXT", "", 9092));
    assert_eq!((listener.advertised_host.as_deref(), listener.advertised_port), (Some("localhost"), 9092));
    assert_eq!(config.log_dirs, ["/tmp/kraft-combined-logs"]);
    assert_eq!(config.metadata_log_dir, "/tmp/kraft-combined-logs");
    assert_eq!(config.sockets.send_buffer_bytes, Some(102_400));
    assert_eq!(config.topic(&Values::new()), TopicConfig::resolve(&Values::new(), &Layers::default()));
    let told: Vec<_> = notices.iter().map(|notice| notice.key.as_str()).collect();
    let expected = [
        "num.io.threads",
        "num.network.threads",
        "num.recovery.threads.per.data.dir",
        "controller.quorum.bootstrap.servers",
        "listeners",
    ];
    assert_eq!(told, expected);
}

#[test]
fn without_a_file_this_machine_only() {
    let (config, notices) = BrokerConfig::load(&ServerProperties::without_file()).unwrap();
    assert_eq!((config.listeners[0].host.as_str(), config.listeners[0].port), ("127.0.0.1", 9092));
    assert_eq!(config.log_dirs, ["ringlog-data"]);
    assert_eq!(notices, []);
    assert!(config.auto_create_topics && config.delete_topics);
    assert_eq!((config.cores, config.memory_bytes, config.rack), (None, None, None));
    assert_eq!(
        (config.journal_bytes, config.journal_direct_min_bytes, config.destage_bytes),
        (128 << 20, 16384, 65536)
    );
    assert_eq!(config.fetch_range_min_bytes, 256 << 10);
}

#[test]
fn every_error_is_told_at_once() {
    let text =
        "num.partition=2\nnum.partitions=x\nssl.keystore.location=/k\nmin.insync.replicas=2\nlisteners=SSL://:9093";
    let errors = load(text).unwrap_err();
    let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "min.insync.replicas: 2 cannot be set: replication is not there yet: one node keeps one copy, so only 1 can \
             be kept",
            "num.partition: unknown setting; did you mean num.partitions?",
            "num.partitions: Invalid value x for configuration num.partitions: Not a number of type INT",
            "ssl.keystore.location: /k cannot be set: TLS is not there yet, so this would promise what nothing enforces",
            "listener.security.protocol.map: SSL is mapped to SSL, which is not there yet; only PLAINTEXT is",
        ]
    );
}

#[test]
fn promises_that_cannot_be_kept_stop_the_start() {
    for line in [
        "default.replication.factor=3",
        "offsets.topic.replication.factor=3",
        "transaction.state.log.min.isr=2",
        "sasl.enabled.mechanisms=PLAIN",
        "sasl.jaas.config=x",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users=User:admin",
        "security.inter.broker.protocol=SSL",
        "ssl.client.auth=required",
        "create.topic.policy.class.name=x.Y",
        "config.providers=file",
        "remote.log.storage.system.enable=true",
        "delegation.token.secret.key=x",
        "connections.max.reauth.ms=1000",
        "listener.name.plaintext.sasl.enabled.mechanisms=PLAIN",
        "listener.name.plaintext.max.connections=5",
        "process.roles=broker",
        "process.roles=controller",
        "controller.quorum.voters=1@a:9093,2@b:9093",
        "controller.quorum.voters=2@a:9093",
        "controller.quorum.bootstrap.servers=a:9093,b:9093",
        "zookeeper.connect=localhost:2181",
        "inter.broker.listener.name=INSIDE",
        "log.retention.ms=0",
        "log.roll.ms=0",
        "log.dirs=/a,/a",
        "log.dirs=/a,,/b",
        "log.dirs=",
        "max.connections.per.ip.overrides=10.0.0.1",
        "ringlog.cores=0-",
        "ringlog.log.flush=sometimes",
        "ringlog.journal.bytes=1",
        "ringlog.destage.bytes=65537",
    ] {
        assert_eq!(stopped_by(line).len(), 1, "{line}: {:?}", stopped_by(line));
    }
    assert_eq!(stopped_by("node.id=1\nbroker.id=2"), ["broker.id"]);
    assert_eq!(stopped_by("ringlog.log.flush=relaxed\nlog.flush.interval.messages=1"), ["log.flush.interval.messages"]);
}

#[test]
fn what_promises_nothing_is_told_and_accepted() {
    for line in [
        "num.replica.fetchers=4",
        "log.flush.interval.messages=1",
        "ssl.client.auth=none",
        "unclean.leader.election.enable=true",
        "group.coordinator.rebalance.protocols=classic,consumer",
        "inter.broker.protocol.version=3.9",
        "rsm.config.bucket=x",
        "log.cleanup.policy=compact,delete",
        "controller.quorum.voters=1@localhost:9093",
        "ringlog.log.flush=relaxed",
        "socket.request.max.bytes=209715200",
    ] {
        let (_, notices) = load(line).unwrap_or_else(|errors| panic!("{line}: {errors:?}"));
        assert!(!notices.is_empty(), "{line}");
    }
}

#[test]
fn settings_act() {
    let config = config(
        "broker.id=7\nbroker.rack=r1\nringlog.cores=0,2-3,0\nringlog.memory.bytes=1000\nlog.dirs=/a, /b\n\
         metadata.log.dir=/m\nlog.retention.minutes=2\nlog.roll.hours=1\nmax.connections=5\ngroup.max.size=3\n\
         max.connections.per.ip.overrides=10.0.0.1:2, [::1]:4\nsocket.send.buffer.bytes=-1\n\
         connections.max.idle.ms=-1\noffsets.retention.minutes=1\ncompression.type=gzip\ncompression.gzip.level=3",
    );
    assert_eq!((config.node_id, config.rack.as_deref()), (7, Some("r1")));
    assert_eq!((config.cores.as_deref(), config.memory_bytes), (Some(&[0, 2, 3, 0][..]), Some(1000)));
    assert_eq!((config.log_dirs.clone(), config.metadata_log_dir.as_str()), (vec!["/a".into(), "/b".into()], "/m"));
    let topic = config.topic(&Values::new());
    assert_eq!((topic.retention_ms, topic.segment_ms), (Some(120_000), 3_600_000));
    assert_eq!(topic.compression, Compression::Gzip(3));
    assert_eq!((config.limits.connections, config.limits.group_members), (5, 3));
    assert_eq!(
        config.limits.connections_per_ip_overrides,
        [("10.0.0.1".parse().unwrap(), 2), ("::1".parse().unwrap(), 4)]
    );
    assert_eq!((config.sockets.send_buffer_bytes, config.sockets.max_idle_ms), (None, None));
    assert_eq!(config.groups.offsets_retention_ms, 60_000);
}

#[test]
fn a_request_of_the_allowed_size_fits_every_bound() {
    let limits = config("socket.request.max.bytes=2000000000\nringlog.inflight.bytes=1048576").limits;
    assert_eq!(limits.inflight_connection_bytes, 2_000_000_000);
    assert_eq!(limits.inflight_core_bytes, 2_000_000_000);
    assert_eq!(limits.inflight_bytes, 2_000_000_000);
}

#[test]
fn dynamic_settings_lie_over_the_file() {
    let start = config("max.connections=5\nmessage.max.bytes=1000\nlisteners=PLAINTEXT://:1");
    let values = |key: &str, value: &str| Values::from([(key.to_string(), value.to_string())]);
    let now = start.with_dynamic(&values("max.connections", "6"), &values("message.max.bytes", "2000"));
    assert_eq!((now.limits.connections, now.topic(&Values::new()).max_message_bytes), (6, 2000));
    assert_eq!(now.listeners, start.listeners);
    let back = now.with_dynamic(&Values::new(), &Values::new());
    assert_eq!((back.limits.connections, back.topic(&Values::new()).max_message_bytes), (5, 1000));
}

#[test]
fn a_password_does_not_show_in_an_error() {
    let errors = load("ssl.keystore.password=hunter2").unwrap_err();
    assert!(!errors[0].to_string().contains("hunter2"), "{}", errors[0]);
}

/// Whatever stands behind a key: the start is refused with few errors, or everything typed can be read. A dynamic
/// setting that is not valid, stored by some other release, is passed over.
#[test]
fn any_value_of_any_key_loads_or_is_refused() {
    let start = config("");
    let numbers = ["0", "1", "-1", "-2", "99999999999999999999", "2147483648"];
    let words = ["", " ", "true", "a:b", "*", "[x]:1", ",", "\u{e9}"];
    let odd = || numbers.into_iter().chain(words);
    for key in crate::config::keys::broker_keys() {
        for value in odd() {
            let mut properties = ServerProperties::default();
            properties.set_override(&format!("{}={value}", key.name)).unwrap();
            match BrokerConfig::load(&properties) {
                Ok((config, _)) => assert!(!config.listeners.is_empty() && !config.log_dirs.is_empty(), "{}", key.name),
                Err(errors) => assert!((1..=3).contains(&errors.len()), "{}={value}: {errors:?}", key.name),
            }
            let dynamic = Values::from([(key.name.to_string(), value.to_string())]);
            let config = start.with_dynamic(&dynamic, &Values::new());
            assert!(config.limits.inflight_bytes >= config.limits.request_bytes.into(), "{}={value}", key.name);
        }
    }
}

/// Broker ids of cores are made from the node's, and leave no room for a large one.
#[test]
fn a_node_that_advertises_its_cores_has_a_small_id() {
    let load = |text: &str| BrokerConfig::load(&ServerProperties::parse(text).unwrap());
    assert!(!load("").unwrap().0.advertise_cores);
    assert!(load("ringlog.advertise=cores\nnode.id=1048575").unwrap().0.advertise_cores);
    assert!(load("node.id=1048576").is_ok());
    let errors = load("ringlog.advertise=cores\nnode.id=1048576").unwrap_err();
    assert_eq!(errors[0].key, "node.id");
    assert_eq!(load("ringlog.advertise=core").unwrap_err()[0].key, "ringlog.advertise");
}
