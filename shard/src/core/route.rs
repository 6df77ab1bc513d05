//! Where partitions are and what their topics ask for: a copy of the metadata on every core, made for fast looks.
//! Rebuilt from the image whenever that changes; never shared.

use crate::api::owner;
use crate::store::PartIdx;
use ringlog_engine::batch::{Rules, TimestampType};
use ringlog_engine::codec::{Codec, TargetCodec};
use ringlog_engine::config::topic::{self, Compression};
use ringlog_engine::config::{BrokerConfig, TopicConfig};
use ringlog_engine::metadata::{DirId, Image};
use ringlog_engine::types::{CoreId, PartitionKey, TopicId, WallMs};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// FNV-1a: the keys are topic names and random ids, the table is rebuilt by the controller's decisions alone.
#[derive(Default)]
pub struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut hash = self.0 ^ 0xcbf2_9ce4_8422_2325;
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.0 = hash;
    }
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fnv>>;

/// One partition as seen from this core.
#[derive(Clone, Copy, Debug)]
pub struct PartitionRoute {
    pub owner: CoreId,
    /// On the owner: its place in the store.
    pub part: Option<PartIdx>,
    pub dir: DirId,
    pub leader_epoch: i32,
}

#[derive(Debug)]
pub struct TopicRoute {
    pub name: Arc<str>,
    pub id: TopicId,
    /// Clients may not write to it.
    pub internal: bool,
    pub config: TopicConfig,
    pub partitions: Vec<PartitionRoute>,
}

impl TopicRoute {
    /// What a batch for this topic is checked for.
    pub fn rules(&self, now: WallMs, produce_version: i16, decompressed_max_bytes: usize) -> Rules {
        Rules {
            now,
            max_message_bytes: self.config.max_message_bytes,
            timestamp_type: match self.config.timestamp_type {
                topic::TimestampType::CreateTime => TimestampType::CreateTime,
                topic::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
            },
            before_max_ms: self.config.timestamp_before_max_ms,
            after_max_ms: self.config.timestamp_after_max_ms,
            compacted: self.config.compact,
            compression: target_codec(self.config.compression),
            decompressed_max_bytes,
            produce_version,
        }
    }

    pub fn partition(&self, index: i32) -> Option<(PartitionKey, &PartitionRoute)> {
        let route = self.partitions.get(usize::try_from(index).ok()?)?;
        Some((PartitionKey { topic: self.id, partition: index }, route))
    }
}

fn target_codec(compression: Compression) -> TargetCodec {
    let (codec, level) = match compression {
        Compression::Producer => return TargetCodec::Producer,
        Compression::Uncompressed => (Codec::None, 0),
        Compression::Gzip(level) => (Codec::Gzip, level),
        Compression::Snappy => (Codec::Snappy, 0),
        Compression::Lz4(level) => (Codec::Lz4, level),
        Compression::Zstd(level) => (Codec::Zstd, level),
    };
    TargetCodec::Fixed { codec, level }
}

/// Index of a topic in the table of routes; good until the next image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicIdx(pub u32);

#[derive(Debug)]
pub struct Routes {
    pub image: Arc<Image>,
    topics: Vec<TopicRoute>,
    by_name: Map<Arc<str>, u32>,
    by_id: Map<TopicId, u32>,
}

impl Routes {
    /// `find`: the store's place of a partition of this core.
    pub fn new(
        image: Arc<Image>,
        config: &BrokerConfig,
        cores: u16,
        find: impl Fn(PartitionKey) -> Option<PartIdx>,
    ) -> Routes {
        let mut routes =
            Routes { image: image.clone(), topics: Vec::new(), by_name: Map::default(), by_id: Map::default() };
        for topic in image.topics() {
            let name: Arc<str> = topic.name.as_str().into();
            let partitions = topic.partitions.iter().enumerate().map(|(k, p)| {
                let key = PartitionKey { topic: topic.id, partition: k as i32 };
                PartitionRoute { owner: owner(key, cores), part: find(key), dir: p.dir, leader_epoch: p.leader_epoch }
            });
            let index = routes.topics.len() as u32;
            routes.by_name.insert(name.clone(), index);
            routes.by_id.insert(topic.id, index);
            routes.topics.push(TopicRoute {
                name,
                id: topic.id,
                internal: topic.internal,
                config: config.topic(&topic.configs),
                partitions: partitions.collect(),
            });
        }
        routes
    }

    pub fn by_name(&self, name: &str) -> Option<TopicIdx> {
        self.by_name.get(name).map(|k| TopicIdx(*k))
    }

    pub fn by_id(&self, id: TopicId) -> Option<TopicIdx> {
        self.by_id.get(&id).map(|k| TopicIdx(*k))
    }

    pub fn topic(&self, topic: TopicIdx) -> &TopicRoute {
        &self.topics[topic.0 as usize]
    }

    pub fn topics(&self) -> &[TopicRoute] {
        &self.topics
    }

    /// The store took in or dropped partitions of this core.
    pub fn refresh(&mut self, find: impl Fn(PartitionKey) -> Option<PartIdx>) {
        for topic in &mut self.topics {
            for (k, p) in topic.partitions.iter_mut().enumerate() {
                p.part = find(PartitionKey { topic: topic.id, partition: k as i32 });
            }
        }
    }
}
