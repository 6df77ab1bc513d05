//! The brokers that clients see: this node, or each of its cores (`ringlog.advertise`). Who leads a partition is told from here.
//!
//! Any core serves any request whichever it is; only what is told of "this broker" as against the others (which groups, which
//! partitions' sizes) is told by the core it is about.

use super::{Context, owner};
use ringlog_engine::metadata::broker_id;
use ringlog_engine::types::{CoreId, PartitionKey};
use ringlog_net::cold::messages::BrokerId;

/// Where clients of one listener are told to connect to.
#[derive(Clone, Debug)]
pub struct Advertised {
    pub host: String,
    /// The node's; or, if its cores are advertised, each core's.
    pub ports: Vec<u16>,
}

/// A broker as clients see it.
pub(super) struct Broker<'a> {
    pub(super) id: BrokerId,
    pub(super) host: &'a str,
    pub(super) port: i32,
}

impl<'a> Context<'a> {
    /// All brokers there are, the one on core 0 first.
    pub(super) fn brokers(&self) -> impl Iterator<Item = Broker<'a>> {
        (0..self.advertised.ports.len() as u16).map(|core| self.broker(CoreId(core)))
    }

    /// The broker to ask for a partition.
    pub(super) fn leader(&self, key: PartitionKey) -> Broker<'a> {
        self.broker(if self.advertises_cores() { owner(key, self.cores) } else { CoreId(0) })
    }

    /// The controller, and whom settings are kept for: the node itself.
    pub(super) fn node(&self) -> BrokerId {
        BrokerId(self.image.node_id())
    }

    /// Whether a broker id is this node's or, if they are advertised, one of its cores'.
    pub(super) fn is_here(&self, id: i32) -> bool {
        self.brokers().any(|broker| broker.id == id)
    }

    /// Whose groups and partitions are this broker's: every core's, or this one's.
    pub(super) fn own_cores(&self) -> impl Iterator<Item = CoreId> + use<> {
        let own = if self.advertises_cores() { self.core.0..self.core.0 + 1 } else { 0..self.cores };
        own.map(CoreId)
    }

    pub(super) fn broker(&self, core: CoreId) -> Broker<'a> {
        let Advertised { host, ports } = self.advertised;
        let id = if core.0 == 0 { self.node() } else { BrokerId(broker_id(self.image.node_id(), core)) };
        Broker { id, host, port: i32::from(ports[usize::from(core.0)]) }
    }

    fn advertises_cores(&self) -> bool {
        self.advertised.ports.len() > 1
    }
}

#[cfg(test)]
#[path = "brokers_tests.rs"]
mod tests;
