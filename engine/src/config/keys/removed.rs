//! Settings older Kafka releases had and 4.2 does not: known by name, so that an old file is told what became of them.

/// What becomes of a setting that Kafka 4.2 no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// Accepted; the text says why it does nothing.
    Notice(&'static str),
    /// Stops the start; the text says what to do.
    Stop(&'static str),
}

use Removed::{Notice, Stop};

const ZOOKEEPER: &str = "ZooKeeper is gone since Kafka 4.0; a cluster that uses it has to be migrated first";
const FORMAT: &str = "gone since Kafka 4.0: there is one message format and one protocol version for all";
const ACLS: &str = "access control lists are not there yet; without this line every client may do everything";

pub(crate) const REMOVED: &[(&str, Removed)] = &[
    ("allow.everyone.if.no.acl.found", Stop(ACLS)),
    ("broker.id.generation.enable", Notice("gone since Kafka 4.0: `node.id` is given, never made up")),
    ("control.plane.listener.name", Notice("gone since Kafka 4.0: there is no control plane listener")),
    ("inter.broker.protocol.version", Notice(FORMAT)),
    ("log.message.downconversion.enable", Notice(FORMAT)),
    ("log.message.format.version", Notice(FORMAT)),
    (
        "log.message.timestamp.difference.max.ms",
        Stop("gone since Kafka 4.0; use log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms"),
    ),
    ("password.encoder.secret", Notice("gone since Kafka 4.0: no passwords are kept in the metadata")),
    ("port", Stop("gone since Kafka 3.0; use listeners")),
    ("host.name", Stop("gone since Kafka 3.0; use listeners")),
    ("advertised.host.name", Stop("gone since Kafka 3.0; use advertised.listeners")),
    ("advertised.port", Stop("gone since Kafka 3.0; use advertised.listeners")),
    ("reserved.broker.max.id", Notice("gone since Kafka 4.0: `node.id` is given, never made up")),
    ("super.users", Stop(ACLS)),
    ("zookeeper.connect", Stop(ZOOKEEPER)),
    ("zookeeper.connection.timeout.ms", Notice(ZOOKEEPER)),
    ("zookeeper.session.timeout.ms", Notice(ZOOKEEPER)),
    ("zookeeper.set.acl", Stop(ZOOKEEPER)),
];
