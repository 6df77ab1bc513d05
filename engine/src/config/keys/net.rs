//! The broker settings of Kafka 4.2 about connections, listeners and requests: one row each. What acts on
//! them lives elsewhere.
//!
//! Names, types, defaults and ranges are facts of Kafka 4.2.0; where a default is ours, the row says so.

use crate::config::key::{Key, Kind::*, Scope::*, Standing::*, Valid, Valid::Any, at_least, keys, why};

keys! {
    "advertised.listeners", List, None, Any, ReadOnly, Acts,
        "Addresses told to clients, one per listener; unset: those of `listeners`, an empty host becoming the machine's name.";
    "connections.max.idle.ms", Long, Some("600000"), Any, ReadOnly, Acts,
        "A connection without traffic for so many milliseconds is closed; negative: never.";
    "connection.failed.authentication.delay.ms", Int, Some("100"), at_least(0), ReadOnly, NoMeaning(why::SECURITY),
        "Delay before a connection that failed authentication is closed, ms.";
    "controller.listener.names", List, Some("CONTROLLER"), Any, ReadOnly, Acts,
        "Listeners of the controller quorum; one node needs none, so they are not opened.";
    "early.start.listeners", List, None, Any, ReadOnly, NoMeaning(why::QUORUM),
        "Listeners opened before the broker has caught up with the controllers.";
    "fetch.max.bytes", Int, Some("57671680"), at_least(1024), ReadOnly, Acts,
        "Most bytes in one fetch response; the first batch is returned whatever its size.";
    "inter.broker.listener.name", String, None, Any, ReadOnly, Acts,
        "Listener other brokers would use; must be one of `listeners`.";
    "listener.security.protocol.map", String,
        Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"),
        Any, ReadOnly, Acts,
        "Security protocol of each listener name; a listener in use must map to PLAINTEXT.";
    "listeners", List, Some("PLAINTEXT://:9092"), Any, ReadOnly, Acts,
        "Addresses to listen on, as NAME://host:port; an empty host is every address.";
    "max.connection.creation.rate", Int, Some("2147483647"), at_least(0), ClusterWide, Acts,
        "New connections a second accepted by this node; more wait.";
    "max.connections", Int, Some("2147483647"), at_least(0), ClusterWide, Acts,
        "Open connections on this node; further ones wait to be accepted. The limit on open files lowers it.";
    "max.connections.per.ip", Int, Some("2147483647"), at_least(0), ClusterWide, Acts,
        "Open connections from one address; further ones are closed at once.";
    "max.connections.per.ip.overrides", String, Some(""), Any, ClusterWide, Acts,
        "Exceptions to `max.connections.per.ip`, as `address:count,...`.";
    "max.incremental.fetch.session.cache.slots", Int, Some("1000"), at_least(0), ReadOnly, Acts,
        "Incremental fetch sessions remembered on this node; beyond it, fetches are answered in full.";
    "max.request.partition.size.limit", Int, Some("2000"), at_least(1), ReadOnly, Acts,
        "Most partitions in one DescribeTopicPartitions response.";
    "queued.max.request.bytes", Long, Some("-1"), Any, ReadOnly, NoMeaning(why::QUEUE),
        "Bytes of requests waiting for a request thread.";
    "queued.max.requests", Int, Some("500"), at_least(1), ReadOnly, NoMeaning(why::QUEUE),
        "Requests waiting for a request thread.";
    "request.timeout.ms", Int, Some("30000"), Any, ReadOnly, NoMeaning(why::REPLICATION),
        "How long a broker waits for another's answer, ms.";
    "security.inter.broker.protocol", String,
        Some("PLAINTEXT"), Valid::OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), ReadOnly, Refused(why::SECURITY),
        "Security protocol between brokers.";
    "socket.connection.setup.timeout.max.ms", Long, Some("30000"), Any, ReadOnly, NoMeaning(why::REPLICATION),
        "Longest wait for a connection to another broker, ms.";
    "socket.connection.setup.timeout.ms", Long, Some("10000"), Any, ReadOnly, NoMeaning(why::REPLICATION),
        "First wait for a connection to another broker, ms.";
    "socket.listen.backlog.size", Int, Some("50"), at_least(1), ReadOnly, Acts,
        "Connections the kernel holds that are not accepted yet, per listener; as many wait for `max.connections`.";
    "socket.receive.buffer.bytes", Int, Some("-1"), Any, ReadOnly, Acts,
        "Kernel receive buffer of a client socket, bytes; -1, our default: the system's own tuning.";
    "socket.request.max.bytes", Int, Some("104857600"), at_least(1), ReadOnly, Acts,
        "Largest request accepted, bytes; a larger one closes the connection.";
    "socket.send.buffer.bytes", Int, Some("-1"), Any, ReadOnly, Acts,
        "Kernel send buffer of a client socket, bytes; -1, our default: the system's own tuning.";
    "connections.max.reauth.ms", Long, Some("0"), Any, ReadOnly, Refused(why::SECURITY),
        "Longest life of an authenticated session, ms; 0: unlimited.";
}
