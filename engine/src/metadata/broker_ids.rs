//! Broker ids where each core of a node is a broker to clients (`ringlog.advertise=cores`): numbers that stay the same from start to start
//! and that no other node's cores can have. Which core is asked about, and how clients reach it, is not known here.

use crate::types::CoreId;

/// Ids of nodes that advertise their cores are below this; a core's is its node's and so many times this.
pub const NODE_IDS: i32 = 1 << 20;
/// Cores one node can advertise: broker ids stay below 2^30, as Java clients call a coordinator `2^31 - 1 - id` beside the broker
/// that it is.
pub const CORES_ADVERTISED: u16 = 1 << 10;

/// The broker a core is. Core 0 is the node itself.
pub fn broker_id(node: i32, core: CoreId) -> i32 {
    assert!(node < NODE_IDS && core.0 < CORES_ADVERTISED, "node {node} advertises core {}", core.0);
    node + i32::from(core.0) * NODE_IDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_cores_of_any_nodes_are_alike() {
        let nodes = [0, 1, 2, 999, NODE_IDS - 1];
        let cores = [0, 1, 2, 63, CORES_ADVERTISED - 1];
        let ids = nodes.iter().flat_map(|node| cores.map(|core| broker_id(*node, CoreId(core))));
        let ids: BTreeSet<i32> = ids.collect();
        assert_eq!(ids.len(), nodes.len() * cores.len());
        assert!(ids.iter().all(|id| (0..1 << 30).contains(id) && !ids.contains(&(i32::MAX - id))));
        assert_eq!(broker_id(7, CoreId(0)), 7);
    }
}
