//! What all client cores of a run share: the plan, which never changes, and the orders and progress by which the conductor and the
//! cores keep in step.

use super::batch::STAMP;
use super::draw::Sizes;
use crate::bench::workload::{From, Keys, Workload};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Clients that fill a backlog where the workload itself has no producers.
const FILLERS: u32 = 4;
/// Values of a backlog's batches together, bytes, as long as the workload's own batches are not larger.
const FILL_BATCH: f64 = 65_536.0;

/// A producer as the broker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// Everything that is known before the load begins.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) workload: Workload,
    /// Tells this run's records from any other's.
    pub(super) nonce: u64,
    pub(super) seed: u64,
    pub(super) topics: Vec<String>,
    pub(super) numbers: HashMap<String, u32>,
    /// Nodes that lead partitions or coordinate groups.
    pub(super) nodes: Vec<SocketAddr>,
    /// The node that leads each place. A place is a topic's number times the partitions of a topic, and the partition.
    pub(super) leaders: Vec<usize>,
    /// Of each idempotent producer at each node: a producer is one to the broker on each of its connections.
    pub(super) identities: HashMap<(u32, usize), Identity>,
    /// The transactional id of a producer at a node, and the node that coordinates it.
    pub(super) transactions: HashMap<(u32, usize), (String, usize)>,
    pub(super) groups: Vec<String>,
    /// The node that coordinates each group.
    pub(super) coordinators: Vec<usize>,
    pub(super) cores: usize,
}

impl Plan {
    pub(super) fn partitions(&self) -> u32 {
        self.workload.topics.partitions
    }

    pub(super) fn places(&self) -> u32 {
        self.leaders.len() as u32
    }

    pub(super) fn topic(&self, place: u32) -> (&str, i32) {
        let (topic, partition) = (place / self.partitions(), place % self.partitions());
        (&self.topics[topic as usize], partition as i32)
    }

    /// The place of a topic and partition, by the topic's name.
    pub(super) fn place(&self, topic: &[u8], partition: i32) -> Option<u32> {
        let number = self.numbers.get(std::str::from_utf8(topic).ok()?)?;
        let partition = u32::try_from(partition).ok().filter(|p| *p < self.partitions())?;
        Some(number * self.partitions() + partition)
    }

    pub(super) fn keyed(&self) -> bool {
        self.workload.records.keys != Keys::None
    }

    /// Producers, those included that only fill a backlog.
    pub(super) fn producers(&self) -> u32 {
        producers(&self.workload)
    }

    /// Places that a producer writes to: all with keys, else its share.
    pub(super) fn places_of_producer(&self, producer: u32) -> Vec<u32> {
        if self.keyed() { (0..self.places()).collect() } else { share(self.places(), self.producers(), producer) }
    }

    /// Places that one of a group's consumers reads, where nobody coordinates them.
    pub(super) fn places_of_consumer(&self, consumer: u32) -> Vec<u32> {
        share(self.places(), self.workload.consumers.count, consumer)
    }

    /// Records of a batch that fills a backlog.
    pub(super) fn fill_records(&self) -> u32 {
        let mean = Sizes::new(&self.workload.records.size, STAMP).mean();
        self.workload.producers.batch_records.max((FILL_BATCH / mean) as u32)
    }

    /// The largest answer that is taken, bytes: what was asked for, and what is around it.
    pub(super) fn largest_answer(&self) -> usize {
        let consumers = &self.workload.consumers;
        (64 << 20).max(consumers.max_bytes as usize + 2 * consumers.partition_bytes as usize + (1 << 20))
    }

    pub(super) fn rereads(&self) -> bool {
        self.workload.consumers.groups > 0 && self.workload.consumers.from == From::Tail
    }
}

/// Producers of a workload, those included that only fill a backlog.
pub(super) fn producers(workload: &Workload) -> u32 {
    match workload.producers.count {
        0 if workload.backlog.is_some() => FILLERS,
        count => count,
    }
}

/// The part of `things` that falls to one of `all`: in turn; where there are fewer things, several have the same.
fn share(things: u32, all: u32, one: u32) -> Vec<u32> {
    if all > things { vec![one % things] } else { (one..things).step_by(all as usize).collect() }
}

/// How producers write.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Pace {
    #[default]
    Hold,
    /// A backlog of this many bytes of values, as fast as possible.
    Fill(u64),
    /// As fast as answers allow.
    Closed,
    /// Records a second over all producers, from this time on.
    Open { rate: f64, from: u64 },
}

/// What the cores are told. Times are of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Orders {
    pub(super) pace: Pace,
    /// Readers read.
    pub(super) read: bool,
    /// Members of groups come and go, connections too.
    pub(super) churn: bool,
    /// The measured part.
    pub(super) window: (u64, u64),
    /// A step of a ramp: its number, and when its sends are planned.
    pub(super) step: Option<(u32, u64, u64)>,
    pub(super) quit: bool,
}

impl Default for Orders {
    fn default() -> Orders {
        let never = (u64::MAX, u64::MAX);
        Orders { pace: Pace::Hold, read: false, churn: false, window: never, step: None, quit: false }
    }
}

/// Orders, and how far things are.
#[derive(Debug)]
pub(super) struct Progress {
    orders: Mutex<Orders>,
    version: AtomicU64,
    /// Bytes of values written into the backlog.
    pub(super) filled: AtomicU64,
    /// By place: the offset after the last acknowledged record.
    pub(super) acknowledged: Vec<AtomicI64>,
    /// By place: where readers begin.
    pub(super) begin: Vec<AtomicI64>,
    /// By group and place: the offset that is read next.
    pub(super) positions: Vec<AtomicI64>,
    /// By core: records that were planned and not answered, and transactions that were begun and not ended.
    pub(super) unanswered: Vec<AtomicU64>,
    /// By core: members that are in their group.
    pub(super) members: Vec<AtomicU64>,
}

impl Progress {
    pub(super) fn new(plan: &Plan) -> Progress {
        let (places, cores) = (plan.leaders.len(), plan.cores);
        let longs = |count: usize| (0..count).map(|_| AtomicI64::new(0)).collect();
        let counts = || (0..cores).map(|_| AtomicU64::new(0)).collect();
        Progress {
            orders: Mutex::default(),
            version: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            acknowledged: longs(places),
            begin: longs(places),
            positions: longs(places * plan.workload.consumers.groups as usize),
            unanswered: counts(),
            members: counts(),
        }
    }

    /// Changes the orders.
    pub(super) fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The orders, if they are newer than `seen`.
    pub(super) fn newer(&self, seen: &mut u64) -> Option<Orders> {
        let version = self.version.load(Ordering::Acquire);
        (version != *seen).then(|| {
            *seen = version;
            *self.orders.lock().unwrap_or_else(PoisonError::into_inner)
        })
    }

    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn members(&self) -> u64 {
        self.members.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}
