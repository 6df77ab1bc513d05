//! What the tests of this folder stand on: a small cluster, and a request's whole way through a handler.
//!
//! Node 1, rack `r1`, two directories of which the second failed, four cores. `orders` has partitions 0 and 1 in the
//! first directory and 2 in the second; `table` is compacted; `__consumer_offsets` is the broker's own.

use super::brokers::Advertised;
use super::{Answer, Context, DirInfo, Question, Step, Target, begin, finish};
use ringlog_engine::config::{BrokerConfig, ServerProperties};
use ringlog_engine::metadata::{DirId, Entry, Image, PartitionRow, Setting};
use ringlog_engine::types::{CoreId, Now, PartitionKey, TopicId};
use ringlog_net::cold::{self, Call, Request};

pub(super) const ORDERS: TopicId = TopicId([7; 16]);
pub(super) const TABLE: TopicId = TopicId([8; 16]);
pub(super) const CORES: u16 = 4;

pub(super) struct Node {
    pub(super) image: Image,
    pub(super) config: BrokerConfig,
    pub(super) dirs: Vec<DirInfo>,
    pub(super) advertised: Advertised,
    pub(super) core: CoreId,
}

impl Node {
    pub(super) fn new() -> Node {
        Node::with(&["broker.rack=r1"])
    }

    pub(super) fn with(overrides: &[&str]) -> Node {
        let mut properties = ServerProperties::without_file();
        for setting in overrides {
            properties.set_override(setting).unwrap();
        }
        let mut image = Image::default();
        image.apply(&Entry::ClusterCreated { cluster_id: "oWAwQSZMRPmz2dFEOq3-ZQ".into(), node_id: 1 }).unwrap();
        let compact = [Setting { name: "cleanup.policy".into(), value: "compact".into() }];
        image.apply(&topic("orders", ORDERS, &[1, 1, 2], &[])).unwrap();
        image.apply(&topic("table", TABLE, &[1], &compact)).unwrap();
        image.apply(&topic("__consumer_offsets", TopicId([9; 16]), &[1, 1], &compact)).unwrap();
        let dir = |path: &str, id, usable| DirInfo {
            path: path.into(),
            id: DirId([id; 16]),
            usable,
            total_bytes: 1000,
            usable_bytes: 400,
        };
        Node {
            image,
            config: BrokerConfig::load(&properties).unwrap().0,
            dirs: vec![dir("/a", 1, true), dir("/b", 2, false)],
            advertised: Advertised { host: "broker.test".into(), ports: vec![9092] },
            core: CoreId(0),
        }
    }

    pub(super) fn create(&mut self, name: &str, id: TopicId) {
        self.image.apply(&topic(name, id, &[1, 1], &[])).unwrap();
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context {
            image: &self.image,
            config: &self.config,
            now: Now::default(),
            core: self.core,
            cores: CORES,
            advertised: &self.advertised,
            peer: ([127, 0, 0, 1], 40000).into(),
            client_id: "test",
            random: [5; 16],
            dirs: &self.dirs,
            error: Default::default(),
        }
    }

    /// Sends a request of this version and reads the answer; `reply` plays the other cores.
    pub(super) fn call<R: Call + Into<Request>>(
        &self,
        version: i16,
        request: R,
        mut reply: impl FnMut(Target, Question) -> Answer,
    ) -> R::Response {
        let mut out = Vec::new();
        match begin(&self.context(), request.into(), version, 77, &mut out) {
            Step::Done => {}
            Step::Close(why) => panic!("closed: {why}"),
            Step::Ask { questions, kept } => {
                assert!(out.is_empty() && !questions.is_empty());
                let answers = questions.into_iter().map(|(target, question)| reply(target, question)).collect();
                finish(&self.context(), kept, answers, version, 77, &mut out);
            }
        }
        read::<R>(version, &out)
    }

    /// The same of a request that is answered without asking anybody.
    pub(super) fn ask<R: Call + Into<Request>>(&self, version: i16, request: R) -> R::Response {
        self.call(version, request, |_, question| panic!("asked {question:?}"))
    }
}

/// Reads one whole answer.
pub(super) fn read<R: Call>(version: i16, out: &[u8]) -> R::Response {
    assert_eq!(out.len(), 4 + u32::from_be_bytes(out[..4].try_into().unwrap()) as usize);
    let (correlation_id, response) = cold::decode_response::<R>(version, &out[4..]).unwrap();
    assert_eq!(correlation_id, 77);
    response
}

pub(super) fn key(topic: TopicId, partition: i32) -> PartitionKey {
    PartitionKey { topic, partition }
}

fn topic(name: &str, id: TopicId, dirs: &[u8], configs: &[Setting]) -> Entry {
    let row = |dir: &u8| PartitionRow { dir: [*dir; 16], leader_epoch: 3 };
    Entry::TopicCreated {
        name: name.into(),
        id: id.0,
        internal: name.starts_with("__"),
        partitions: dirs.iter().map(row).collect(),
        configs: configs.to_vec(),
    }
}
