//! What the metadata log says so far. Changed only by applying entries; whether a change may be asked for is for
//! `command`.

use std::collections::BTreeMap;
use std::fmt;

use super::DirId;
use super::entry::{Entry, PartitionRow, Setting};
use crate::config::Values;
use crate::limits::PARTITIONS_PER_REQUEST;
use crate::probe::{Bug, planted};
use crate::types::TopicId;

/// One partition of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Partition {
    pub dir: DirId,
    pub leader_epoch: i32,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    pub name: String,
    pub id: TopicId,
    /// In order of their numbers, from 0.
    pub partitions: Vec<Partition>,
    /// Its explicit settings.
    pub configs: Values,
    /// Kept by the broker for itself.
    pub internal: bool,
}

/// All metadata at one revision. Each core holds its own copy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    revision: u64,
    cluster_id: String,
    node_id: i32,
    topics: BTreeMap<String, Topic>,
    names: BTreeMap<TopicId, String>,
    /// Names with a dot or underscore, dots made underscores, to the name itself: two such would share metric names.
    folded: BTreeMap<String, String>,
    partitions: usize,
    broker_defaults: Values,
    brokers: BTreeMap<i32, Values>,
    next_producer_id: i64,
    /// Between `SnapshotBegun` and `SnapshotEnded`.
    in_snapshot: bool,
}

/// An entry that does not follow from those before it: the log is not one that was written in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApplyError {
    /// Of the image before the entry.
    pub revision: u64,
    pub reason: &'static str,
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metadata entry after revision {}: {}", self.revision, self.reason)
    }
}

impl Image {
    /// Entries applied since the cluster was created.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Empty until the cluster is created.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    /// Topics in order of their names.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Topic> {
        self.topics.values()
    }

    /// Topics whose name is this or follows it, in order: for answers that come in pages.
    pub fn topics_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Topic> {
        self.topics.range::<str, _>((std::ops::Bound::Included(name), std::ops::Bound::Unbounded)).map(|(_, t)| t)
    }

    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Topic> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// The topic whose name differs from this one only in dots and underscores, if there is one.
    pub fn colliding(&self, name: &str) -> Option<&str> {
        if !name.contains(['.', '_']) {
            return None;
        }
        self.folded.get(&fold(name)).map(String::as_str)
    }

    /// Partitions of all topics.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// The dynamic defaults of all brokers.
    pub fn broker_defaults(&self) -> &Values {
        &self.broker_defaults
    }

    /// The dynamic settings of one broker; None if it has none.
    pub fn broker_configs(&self, node_id: i32) -> Option<&Values> {
        self.brokers.get(&node_id)
    }

    /// No producer id from this one on was ever given out.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Applies the next entry. On an error the image is as it was.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        let result = match entry {
            Entry::ClusterCreated { cluster_id, node_id } => self.create_cluster(cluster_id, *node_id),
            Entry::TopicCreated { .. } => self.create_topic(entry),
            Entry::TopicDeleted { id } => self.delete_topic(TopicId(*id)),
            Entry::PartitionsAdded { id, first, partitions } => self.add_partitions(*id, *first, partitions),
            Entry::TopicConfigChanged { id, configs } => {
                self.topic_mut(*id).map(|topic| topic.configs = values(configs))
            }
            Entry::BrokerConfigChanged { broker, configs } => self.set_broker_configs(*broker, configs),
            Entry::ProducerIdsReserved { next } if *next < self.next_producer_id => {
                Err("producer ids are given out twice")
            }
            Entry::ProducerIdsReserved { next } => {
                self.next_producer_id = *next;
                Ok(())
            }
            Entry::LeaderEpochsRaised { id, epochs } => self.raise_epochs(*id, epochs),
            Entry::SnapshotBegun { revision } => return self.begin_snapshot(*revision),
            Entry::SnapshotEnded { topics, partitions } => return self.end_snapshot(*topics, *partitions),
        };
        result.map_err(|reason| self.error(reason))?;
        self.revision += u64::from(!self.in_snapshot);
        Ok(())
    }

    /// The image as entries that build it again, each of a bounded size.
    pub fn snapshot(&self) -> impl Iterator<Item = Entry> {
        let head = [
            Entry::SnapshotBegun { revision: self.revision },
            Entry::ClusterCreated { cluster_id: self.cluster_id.clone(), node_id: self.node_id },
            Entry::ProducerIdsReserved { next: self.next_producer_id },
            Entry::BrokerConfigChanged { broker: None, configs: settings(&self.broker_defaults) },
        ];
        let of_broker = |(id, configs): (&i32, &Values)| Entry::BrokerConfigChanged {
            broker: Some(*id),
            configs: settings(configs),
        };
        let end = Entry::SnapshotEnded { topics: self.topics.len() as u32, partitions: self.partitions as u32 };
        let body = self.brokers.iter().map(of_broker).chain(self.topics.values().flat_map(topic_entries));
        head.into_iter().chain(body).chain(std::iter::once(end))
    }

    /// Builds an image from a snapshot's entries.
    pub fn from_snapshot(entries: impl IntoIterator<Item = Entry>) -> Result<Image, ApplyError> {
        let mut image = Image::default();
        let mut whole = false;
        for entry in entries {
            if whole {
                return Err(image.error("the snapshot goes on after its end"));
            }
            image.apply(&entry)?;
            whole = matches!(entry, Entry::SnapshotEnded { .. });
        }
        if whole { Ok(image) } else { Err(image.error("the snapshot has no end")) }
    }

    fn error(&self, reason: &'static str) -> ApplyError {
        ApplyError { revision: self.revision, reason }
    }

    fn create_cluster(&mut self, cluster_id: &str, node_id: i32) -> Result<(), &'static str> {
        if !self.cluster_id.is_empty() {
            return Err("the cluster is created twice");
        }
        if cluster_id.is_empty() {
            return Err("the cluster has no id");
        }
        self.cluster_id = cluster_id.to_string();
        self.node_id = node_id;
        Ok(())
    }

    fn create_topic(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let Entry::TopicCreated { name, id, internal, partitions, configs } = entry else {
            return Err("not the creation of a topic");
        };
        let id = TopicId(*id);
        if id.is_zero() || partitions.is_empty() || name.is_empty() {
            return Err("a topic without a name, an id or a partition");
        }
        if self.topics.contains_key(name) || self.names.contains_key(&id) {
            return Err("a topic is created twice");
        }
        let partitions: Vec<_> = partitions.iter().map(partition).collect();
        self.partitions += partitions.len();
        if name.contains(['.', '_']) {
            self.folded.insert(fold(name), name.clone());
        }
        self.names.insert(id, name.clone());
        let topic = Topic { name: name.clone(), id, partitions, configs: values(configs), internal: *internal };
        self.topics.insert(name.clone(), topic);
        Ok(())
    }

    fn delete_topic(&mut self, id: TopicId) -> Result<(), &'static str> {
        let topic = self.names.remove(&id).and_then(|name| self.topics.remove(&name)).ok_or(UNKNOWN_TOPIC)?;
        self.partitions -= topic.partitions.len();
        self.folded.remove(&fold(&topic.name));
        Ok(())
    }

    fn topic_mut(&mut self, id: [u8; 16]) -> Result<&mut Topic, &'static str> {
        let name = self.names.get(&TopicId(id)).ok_or(UNKNOWN_TOPIC)?;
        self.topics.get_mut(name).ok_or(UNKNOWN_TOPIC)
    }

    fn add_partitions(&mut self, id: [u8; 16], first: i32, rows: &[PartitionRow]) -> Result<(), &'static str> {
        let topic = self.topic_mut(id)?;
        if usize::try_from(first) != Ok(topic.partitions.len()) {
            return Err("the new partitions do not follow those the topic has");
        }
        topic.partitions.extend(rows.iter().map(partition));
        self.partitions += rows.len();
        Ok(())
    }

    fn set_broker_configs(&mut self, broker: Option<i32>, configs: &[Setting]) -> Result<(), &'static str> {
        match broker {
            None => self.broker_defaults = values(configs),
            Some(id) if configs.is_empty() => {
                self.brokers.remove(&id);
            }
            Some(id) => {
                self.brokers.insert(id, values(configs));
            }
        }
        Ok(())
    }

    fn raise_epochs(&mut self, id: [u8; 16], epochs: &[(i32, i32)]) -> Result<(), &'static str> {
        let topic = self.topic_mut(id)?;
        let held = |number: i32| usize::try_from(number).ok().and_then(|at| topic.partitions.get(at));
        if epochs.iter().any(|(number, epoch)| held(*number).is_none_or(|held| held.leader_epoch >= *epoch)) {
            return Err("a leader epoch is not raised, or its partition is unknown");
        }
        for (number, epoch) in epochs {
            topic.partitions[*number as usize].leader_epoch = *epoch;
        }
        Ok(())
    }

    fn begin_snapshot(&mut self, revision: u64) -> Result<(), ApplyError> {
        if *self != Image::default() {
            return Err(self.error("a snapshot begins in the middle of the log"));
        }
        self.revision = revision;
        self.in_snapshot = true;
        Ok(())
    }

    fn end_snapshot(&mut self, topics: u32, partitions: u32) -> Result<(), ApplyError> {
        let met = self.topics.len() == topics as usize && self.partitions == partitions as usize;
        if !self.in_snapshot || !met {
            return Err(self.error("the snapshot is not whole"));
        }
        self.in_snapshot = false;
        Ok(())
    }
}

const UNKNOWN_TOPIC: &str = "the topic is unknown";

fn fold(name: &str) -> String {
    name.replace('.', "_")
}

fn partition(row: &PartitionRow) -> Partition {
    Partition { dir: DirId(row.dir), leader_epoch: row.leader_epoch }
}

fn values(settings: &[Setting]) -> Values {
    settings.iter().map(|setting| (setting.name.clone(), setting.value.clone())).collect()
}

pub(super) fn settings(values: &Values) -> Vec<Setting> {
    values.iter().map(|(name, value)| Setting { name: name.clone(), value: value.clone() }).collect()
}

/// A topic of a snapshot: its creation, and further partitions in pieces that fit an entry.
fn topic_entries(topic: &Topic) -> impl Iterator<Item = Entry> {
    let row = |p: &Partition| PartitionRow { dir: p.dir.0, leader_epoch: p.leader_epoch };
    let rows: Vec<_> = topic.partitions.iter().map(row).collect();
    let (head, rest) = rows.split_at(rows.len().min(PARTITIONS_PER_REQUEST));
    let created = Entry::TopicCreated {
        name: topic.name.clone(),
        id: topic.id.0,
        internal: topic.internal,
        partitions: head.to_vec(),
        configs: if planted(Bug::SnapshotWithoutSettings) { Vec::new() } else { settings(&topic.configs) },
    };
    let mut entries = vec![created];
    let mut first = head.len() as i32;
    for piece in rest.chunks(PARTITIONS_PER_REQUEST) {
        entries.push(Entry::PartitionsAdded { id: topic.id.0, first, partitions: piece.to_vec() });
        first += piece.len() as i32;
    }
    entries.into_iter()
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::samples;
    use super::*;

    fn applied(entries: &[Entry]) -> Image {
        let mut image = Image::default();
        for entry in entries {
            image.apply(entry).unwrap();
        }
        image
    }

    #[test]
    fn entries_build_the_image() {
        let image = applied(&samples()[..8]);
        assert_eq!((image.revision(), image.cluster_id(), image.node_id()), (8, "oWAwQSZMRPmz2dFEOq3-ZQ", 1));
        let topic = image.topic("orders.eu").unwrap();
        assert_eq!(topic.partitions.iter().map(|p| p.leader_epoch).collect::<Vec<_>>(), [1, 0, 4]);
        assert_eq!(topic.configs.iter().collect::<Vec<_>>(), [(&"retention.ms".to_string(), &"2000".to_string())]);
        assert_eq!(image.topic_by_id(TopicId([7; 16])), Some(topic));
        assert_eq!(image.colliding("orders_eu"), Some("orders.eu"));
        assert_eq!((image.partition_count(), image.next_producer_id()), (3, 1000));
        assert_eq!(image.broker_defaults()["log.retention.ms"], "5");
        assert_eq!(image.broker_configs(1), None);
        let gone = applied(&samples()[..9]);
        assert_eq!((gone.topics().len(), gone.partition_count(), gone.colliding("orders_eu")), (0, 0, None));
    }

    #[test]
    fn replaying_the_same_log_gives_the_same_image() {
        for end in 0..=9 {
            let mut bytes = Vec::new();
            let encoded: Vec<_> = samples()[..end]
                .iter()
                .map(|entry| {
                    bytes.clear();
                    entry.encode(&mut bytes).unwrap();
                    Entry::decode(&bytes).unwrap()
                })
                .collect();
            assert_eq!(applied(&encoded), applied(&samples()[..end]));
        }
    }

    #[test]
    fn a_snapshot_builds_the_same_image_whatever_its_size() {
        let mut image = applied(&samples()[..8]);
        let row = PartitionRow { dir: [3; 16], leader_epoch: 2 };
        for (at, first) in [(0, 0), (1, PARTITIONS_PER_REQUEST), (2, 2 * PARTITIONS_PER_REQUEST)] {
            let entry = match at {
                0 => Entry::TopicCreated {
                    name: "big".into(),
                    id: [9; 16],
                    internal: false,
                    partitions: vec![row; PARTITIONS_PER_REQUEST],
                    configs: vec![],
                },
                _ => Entry::PartitionsAdded {
                    id: [9; 16],
                    first: first as i32,
                    partitions: vec![row; PARTITIONS_PER_REQUEST],
                },
            };
            image.apply(&entry).unwrap();
        }
        image.apply(&Entry::BrokerConfigChanged { broker: Some(1), configs: settings(&values(&[])) }).unwrap();
        let entries: Vec<_> = image.snapshot().collect();
        for entry in &entries {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes).unwrap();
        }
        assert_eq!(Image::from_snapshot(entries.clone()), Ok(image));
        for missing in 0..entries.len() {
            let mut torn = entries.clone();
            let lost = torn.remove(missing);
            if !matches!(
                lost,
                Entry::ClusterCreated { .. } | Entry::BrokerConfigChanged { .. } | Entry::ProducerIdsReserved { .. }
            ) {
                assert!(Image::from_snapshot(torn).is_err(), "{missing}");
            }
        }
    }

    #[test]
    fn entries_that_do_not_follow_are_refused_and_change_nothing() {
        let before = applied(&samples()[..8]);
        let row = PartitionRow { dir: [1; 16], leader_epoch: 0 };
        for wrong in [
            samples()[0].clone(),
            samples()[1].clone(),
            Entry::TopicDeleted { id: [1; 16] },
            Entry::PartitionsAdded { id: [7; 16], first: 2, partitions: vec![row] },
            Entry::PartitionsAdded { id: [7; 16], first: -1, partitions: vec![row] },
            Entry::TopicConfigChanged { id: [1; 16], configs: vec![] },
            Entry::ProducerIdsReserved { next: 999 },
            Entry::LeaderEpochsRaised { id: [7; 16], epochs: vec![(0, 2), (1, 0)] },
            Entry::LeaderEpochsRaised { id: [7; 16], epochs: vec![(3, 9)] },
            Entry::LeaderEpochsRaised { id: [7; 16], epochs: vec![(-1, 9)] },
            Entry::SnapshotBegun { revision: 1 },
            Entry::SnapshotEnded { topics: 1, partitions: 3 },
        ] {
            let mut image = before.clone();
            assert!(image.apply(&wrong).is_err(), "{wrong:?}");
            assert_eq!(image, before, "{wrong:?}");
        }
    }
}
