//! The controller, on core 0: changes of the cluster's metadata, one at a time. A change is planned against the image, appended
//! to the metadata log, applied when it is durable, told to every core, and answered when every core knows.
//!
//! The metadata log is a partition like any other (topic id [`TopicId::METADATA`], folder `__cluster_metadata`), never shown
//! to clients. When it has grown it is rewritten as a snapshot and what was before is dropped.

use super::Shard;
use super::route::Routes;
use crate::api::{Alteration, Answer, Change, Command, CreatedTopic, NewTopic, Outcome, Resource, TopicName};
use crate::io::Io;
use crate::mail::{Mail, ReplyTo};
use crate::store::{AckTo, NotAppended, PartIdx, StoreConfig};
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchBuilder, BatchHeader, HEADER_LEN};
use ringlog_engine::codec::{Codec, Encoder};
use ringlog_engine::config::alter::{Change as ConfigOp, Op};
use ringlog_engine::config::topic::Flush;
use ringlog_engine::config::{BrokerConfig, TopicConfig};
use ringlog_engine::log::partition::{LogConfig, PartitionLog};
use ringlog_engine::metadata::{
    self as command, BrokerResource, ConfigChange, Dir, DirId, Entry, Image, OFFSETS_TOPIC, TopicRef,
};
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::producer::ProducerStates;
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{CoreId, PartitionKey, TopicId, WallMs};
use std::collections::VecDeque;
use std::sync::Arc;

pub const METADATA_FOLDER: &str = "__cluster_metadata";
pub const METADATA_KEY: PartitionKey = PartitionKey { topic: TopicId::METADATA, partition: 0 };

type Refusal = (ErrorCode, String);

/// A change on its way.
#[derive(Debug)]
struct Underway {
    reply: Option<ReplyTo>,
    outcome: Outcome,
    image: Arc<Image>,
    append: u64,
    /// Cores that have not applied it, once it is durable.
    cores_left: Option<usize>,
}

/// On core 0 only.
#[derive(Debug)]
pub struct Control {
    image: Arc<Image>,
    part: PartIdx,
    queue: VecDeque<(ReplyTo, Command)>,
    change: Option<Underway>,
    next_append: u64,
    /// Producer ids that may be given out.
    producer_ids: std::ops::Range<i64>,
    /// Bytes appended since the last snapshot.
    since_snapshot: u64,
    /// Where the log starts once a snapshot under way is durable.
    snapshot: Option<(u64, i64)>,
    failed: bool,
}

impl Control {
    pub fn new(image: Arc<Image>, part: PartIdx, log_bytes: u64) -> Control {
        Control {
            image,
            part,
            queue: VecDeque::new(),
            change: None,
            next_append: 0,
            producer_ids: 0..0,
            since_snapshot: log_bytes,
            snapshot: None,
            failed: false,
        }
    }
}

/// A batch of metadata entries as it goes into the log.
pub fn metadata_batch(entries: &[Entry], now: WallMs) -> (BatchHeader, Vec<u8>) {
    let mut builder = BatchBuilder::new();
    for entry in entries {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes).unwrap_or_else(|e| panic!("an entry that was planned does not encode: {e}"));
        builder.append(now.0, None, Some(&bytes), &[]);
    }
    let mut out = Vec::new();
    let header = builder.finish(0, 0, Codec::None, 0, &mut Encoder::default(), &mut out);
    (header, out)
}

impl<I: Io> Shard<I> {
    pub(super) fn on_command(&mut self, reply: ReplyTo, command: Command) {
        let Some(control) = &mut self.control else { panic!("{reply:?} asked the controller on another core") };
        control.queue.push_back((reply, command));
        self.next_change();
    }

    /// Begins the next change, if none is under way. What needs no change is answered at once.
    fn next_change(&mut self) {
        loop {
            let control = self.control.as_mut().expect("the controller's core");
            if control.change.is_some() {
                return;
            }
            let Some((reply, command)) = control.queue.pop_front() else { return };
            if control.failed {
                self.reply(reply, Answer::Refused(ErrorCode::KafkaStorageError));
                continue;
            }
            if let (Command::ProducerId, Some(id)) = (&command, control.producer_ids.next()) {
                self.reply(reply, Answer::Control(Outcome::ProducerId(Ok(id))));
                continue;
            }
            let (entries, outcome) = self.plan(command);
            if entries.is_empty() {
                self.reply(reply, Answer::Control(outcome));
                continue;
            }
            self.change_metadata(Some(reply), entries, outcome);
        }
    }

    fn change_metadata(&mut self, reply: Option<ReplyTo>, entries: Vec<Entry>, outcome: Outcome) {
        let control = self.control.as_mut().expect("the controller's core");
        let mut image = (*control.image).clone();
        for entry in &entries {
            image.apply(entry).unwrap_or_else(|e| panic!("an entry that was planned does not apply: {e:?}"));
        }
        let (header, batch) = metadata_batch(&entries, self.now.wall);
        control.next_append += 1;
        control.since_snapshot += batch.len() as u64;
        let (append, part) = (control.next_append, control.part);
        control.change = Some(Underway { reply, outcome, image: Arc::new(image), append, cores_left: None });
        let body = Rope::of(&batch[HEADER_LEN..]);
        let acks = if planted(Bug::TopicAnsweredAtWrite) { 1 } else { -1 };
        match self.store.append(self.now, part, (&header, body), acks, AckTo::Control { append }) {
            Ok(_) => {}
            Err((NotAppended::Refused(error), _)) => self.on_control_appended(append, error),
            Err((NotAppended::Later, _)) => {
                // Nothing was changed: memory is short for now, and whoever asked may ask again.
                let change = self.control.as_mut().and_then(|c| c.change.take()).expect("it was just begun");
                if let Some(reply) = change.reply {
                    self.reply(reply, Answer::Refused(ErrorCode::RequestTimedOut));
                }
            }
        }
    }

    /// The entries of a change, or of a snapshot, are durable.
    pub(super) fn on_control_appended(&mut self, append: u64, error: ErrorCode) {
        let control = self.control.as_mut().expect("the controller's core");
        if let Some((_, start)) = control.snapshot.take_if(|(id, _)| *id == append) {
            if error == ErrorCode::None {
                let part = control.part;
                self.store.drop_before(part, start);
            }
            return;
        }
        let change = control.change.as_mut().filter(|c| c.append == append).expect("the change under way");
        if error != ErrorCode::None {
            let change = control.change.take().expect("it is under way");
            control.failed = true;
            eprintln!(
                "error: the metadata log cannot be written: topics and settings cannot be changed until a restart"
            );
            if let Some(reply) = change.reply {
                self.reply(reply, Answer::Refused(error));
            }
            return;
        }
        change.cores_left = Some(self.setup.cores as usize);
        let image = change.image.clone();
        control.image = image.clone();
        for core in 1..self.setup.cores {
            self.post.send(CoreId(core), Mail::Image { image: image.clone(), from: self.setup.core });
        }
        let revision = image.revision();
        self.apply_image(image);
        self.on_image_applied(revision);
    }

    /// A core knows an image: when all do, the change is answered.
    pub(super) fn on_image_applied(&mut self, revision: u64) {
        let Some(control) = &mut self.control else { return };
        let Some(change) = &mut control.change else { return };
        let Some(left) = &mut change.cores_left else { return };
        if change.image.revision() != revision {
            return;
        }
        *left -= 1;
        if *left > 0 {
            return;
        }
        let change = control.change.take().expect("it is under way");
        let mut outcome = change.outcome;
        if let Outcome::ProducerId(Ok(first)) = &mut outcome {
            let given = i64::from(!planted(Bug::ProducerIdTwice));
            control.producer_ids = *first + given..change.image.next_producer_id();
        }
        if let Some(reply) = change.reply {
            self.reply(reply, Answer::Control(outcome));
        }
        self.snapshot_metadata();
        self.next_change();
    }

    /// Writes the whole image again, in one batch, once the log has grown; what was before is dropped when that is durable.
    fn snapshot_metadata(&mut self) {
        let limit = self.config.metadata_snapshot_bytes;
        let control = self.control.as_mut().expect("the controller's core");
        if control.since_snapshot < limit || control.snapshot.is_some() {
            return;
        }
        let entries: Vec<Entry> = control.image.snapshot().collect();
        let (header, batch) = metadata_batch(&entries, self.now.wall);
        control.since_snapshot = 0;
        control.next_append += 1;
        let (append, part) = (control.next_append, control.part);
        self.store.roll(part, self.now);
        let start = self.store.get(part).expect("the metadata partition").log.next_offset();
        let body = Rope::of(&batch[HEADER_LEN..]);
        if self.store.append(self.now, part, (&header, body), -1, AckTo::Control { append }).is_ok() {
            self.control.as_mut().expect("the controller's core").snapshot = Some((append, start));
        }
    }

    fn plan(&mut self, command: Command) -> (Vec<Entry>, Outcome) {
        let mut image = (*self.control.as_ref().expect("the controller's core").image).clone();
        let mut entries = Vec::new();
        let config = self.config.clone();
        let outcome = match command {
            Command::CreateTopics { topics, validate_only } => Outcome::Created(
                topics.iter().map(|t| self.create(&mut image, &config, t, validate_only, &mut entries)).collect(),
            ),
            Command::EnsureTopics(names) => Outcome::Created(
                names.into_iter().map(|name| self.ensure(&mut image, &config, name, &mut entries)).collect(),
            ),
            Command::DeleteTopics(topics) => {
                Outcome::Deleted(topics.iter().map(|t| delete(&mut image, &config, t, &mut entries)).collect())
            }
            Command::CreatePartitions { topics, validate_only } => {
                let plan = |(name, count, assignments): &(String, i32, Vec<Vec<i32>>)| {
                    let dirs = self.usable_dirs(&image);
                    let lists: Vec<&[i32]> = assignments.iter().map(Vec::as_slice).collect();
                    let lists = (!lists.is_empty()).then_some(&lists[..]);
                    let planned = command::create_partitions(&image, &config, &dirs, name, *count, lists)?;
                    take(&mut image, planned.entries, validate_only, &mut entries);
                    Ok(())
                };
                Outcome::Partitions(topics.iter().map(plan).collect())
            }
            Command::AlterConfigs { resources, validate_only } => Outcome::Altered(
                resources.iter().map(|r| alter(&mut image, &config, r, validate_only, &mut entries)).collect(),
            ),
            Command::ProducerId => match command::reserve_producer_ids(&image) {
                Ok((first, entry)) => {
                    entries.push(entry);
                    Outcome::ProducerId(Ok(first))
                }
                Err((error, _)) => Outcome::ProducerId(Err(error)),
            },
        };
        (entries, outcome)
    }

    fn create(
        &mut self,
        image: &mut Image,
        config: &BrokerConfig,
        new: &NewTopic,
        validate_only: bool,
        entries: &mut Vec<Entry>,
    ) -> Result<CreatedTopic, Refusal> {
        let id = TopicId::from_random(self.random());
        let dirs = self.usable_dirs(image);
        let assignments: Vec<(i32, &[i32])> = new.assignments.iter().map(|(p, r)| (*p, r.as_slice())).collect();
        let configs: Vec<(&str, Option<&str>)> =
            new.configs.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let topic = command::NewTopic {
            name: &new.name,
            partitions: new.partitions,
            replication_factor: new.replication_factor,
            assignments: &assignments,
            configs: &configs,
        };
        let planned = command::create_topic(image, config, &dirs, &topic, id)?;
        let (partitions, configs) = (planned.partitions, planned.configs);
        take(image, planned.entries, validate_only, entries);
        let id = if validate_only { TopicId::ZERO } else { id };
        Ok(CreatedTopic { name: new.name.clone(), id, partitions, replication_factor: 1, configs })
    }

    /// The topic, created with the defaults if it is not there.
    fn ensure(
        &mut self,
        image: &mut Image,
        config: &BrokerConfig,
        name: String,
        entries: &mut Vec<Entry>,
    ) -> Result<CreatedTopic, Refusal> {
        if let Some(topic) = image.topic(&name) {
            let (id, partitions, configs) = (topic.id, topic.partitions.len() as i32, topic.configs.clone());
            return Ok(CreatedTopic { name, id, partitions, replication_factor: 1, configs });
        }
        if name == OFFSETS_TOPIC {
            let id = TopicId::from_random(self.random());
            let dirs = self.usable_dirs(image);
            let planned = command::create_offsets_topic(image, config, &dirs, id)?;
            let (partitions, configs) = (planned.partitions, planned.configs);
            take(image, planned.entries, false, entries);
            return Ok(CreatedTopic { name, id, partitions, replication_factor: 1, configs });
        }
        let new =
            NewTopic { name, partitions: -1, replication_factor: -1, assignments: Vec::new(), configs: Vec::new() };
        self.create(image, config, &new, false, entries)
    }

    /// Directories that take new partitions, and how many each has.
    fn usable_dirs(&self, image: &Image) -> Vec<Dir> {
        let mut dirs: Vec<Dir> = self
            .setup
            .dirs
            .iter()
            .zip(&self.store.dirs)
            // A directory of the metadata log alone comes after these.
            .take(self.setup.config.log_dirs.len())
            .filter(|(_, store)| store.latched.is_none())
            .map(|(info, _)| Dir { id: info.id, partitions: 0 })
            .collect();
        for partition in image.topics().flat_map(|t| &t.partitions) {
            if let Some(dir) = dirs.iter_mut().find(|d| d.id == partition.dir) {
                dir.partitions += 1;
            }
        }
        dirs
    }

    /// Takes in an image: partitions of this core that are new are opened, those that are gone are dropped.
    pub(super) fn apply_image(&mut self, image: Arc<Image>) {
        let node = self.setup.config.node_id;
        let none = Default::default();
        self.config = Arc::new(
            self.setup.config.with_dynamic(image.broker_defaults(), image.broker_configs(node).unwrap_or(&none)),
        );
        let gone: Vec<PartIdx> = self
            .store
            .iter()
            .filter(|(_, p)| p.key.topic != TopicId::METADATA)
            .filter(|(_, p)| image.topic_by_id(p.key.topic).is_none())
            .map(|(part, _)| part)
            .collect();
        let deleted: Vec<(String, TopicId)> = self
            .routes
            .image
            .topics()
            .filter(|t| image.topic_by_id(t.id).is_none())
            .map(|t| (t.name.clone(), t.id))
            .collect();
        for part in gone {
            self.store.remove(part);
        }
        let mut routes = Routes::new(image, &self.config, self.setup.cores, |key| self.store.find(key));
        for topic in routes.topics() {
            let settings = store_config(&topic.config);
            for (k, p) in topic.partitions.iter().enumerate().filter(|(_, p)| p.owner == self.setup.core) {
                let key = PartitionKey { topic: topic.id, partition: k as i32 };
                match p.part {
                    Some(part) => {
                        let known = self.store.get_mut(part).expect("it was found");
                        (known.config, known.leader_epoch) = (settings, p.leader_epoch);
                    }
                    None => {
                        let producers = ProducerStates::new(self.config.limits.producers_per_partition);
                        let log = PartitionLog::empty(key, self.now.wall, producers);
                        let dir = dir_index(&self.setup.dirs, p.dir);
                        self.store.add(topic.name.clone(), dir, p.leader_epoch, settings, log, false);
                    }
                }
            }
        }
        routes.refresh(|key| self.store.find(key));
        self.routes = routes;
        self.reconcile_groups(&deleted);
    }
}

/// A directory's place in `log.dirs`; the first for one that is not there any more, so that the partition can be told of.
pub fn dir_index(dirs: &[crate::api::DirInfo], id: DirId) -> u8 {
    dirs.iter().position(|d| d.id == id).unwrap_or(0) as u8
}

/// What a topic's settings mean to the store.
pub fn store_config(config: &TopicConfig) -> StoreConfig {
    StoreConfig {
        log: LogConfig {
            segment_bytes: config.segment_bytes,
            segment_ms: config.segment_ms.min(i64::MAX as u64) as i64,
            segment_jitter_ms: config.segment_jitter_ms.min(i64::MAX as u64) as i64,
            segment_index_bytes: u32::MAX,
            index_interval_bytes: config.index_interval_bytes,
            retention_ms: config.retention_ms.map_or(-1, |ms| ms.min(i64::MAX as u64) as i64),
            retention_bytes: config.retention_bytes.map_or(-1, |bytes| bytes.min(i64::MAX as u64) as i64),
            // Nothing is compacted yet, so a compacted topic keeps everything.
            delete: config.delete && !config.compact,
        },
        relaxed: config.flush == Flush::Relaxed,
        file_delete_delay_ms: config.file_delete_delay_ms,
    }
}

fn take(image: &mut Image, planned: Vec<Entry>, validate_only: bool, entries: &mut Vec<Entry>) {
    if validate_only {
        return;
    }
    for entry in planned {
        image.apply(&entry).unwrap_or_else(|e| panic!("an entry that was planned does not apply: {e:?}"));
        entries.push(entry);
    }
}

fn delete(
    image: &mut Image,
    config: &BrokerConfig,
    topic: &TopicName,
    entries: &mut Vec<Entry>,
) -> Result<(String, TopicId), Refusal> {
    let wanted = match topic {
        TopicName::Name(name) => TopicRef::Name(name),
        TopicName::Id(id) => TopicRef::Id(*id),
    };
    let planned = command::delete_topic(image, config, wanted)?;
    let found = match wanted {
        TopicRef::Name(name) => image.topic(name),
        TopicRef::Id(id) => image.topic_by_id(id),
    };
    let found = found.map(|t| (t.name.clone(), t.id)).expect("a topic whose deletion was planned");
    take(image, planned.entries, false, entries);
    Ok(found)
}

fn alter(
    image: &mut Image,
    config: &BrokerConfig,
    alteration: &Alteration,
    validate_only: bool,
    entries: &mut Vec<Entry>,
) -> Result<(), Refusal> {
    let (ops, all): (Vec<ConfigOp<'_>>, Vec<(&str, Option<&str>)>);
    let change = match &alteration.change {
        Change::Alter(changes) => {
            ops = changes
                .iter()
                .map(|(name, op, value)| {
                    let unknown = || (ErrorCode::InvalidRequest, format!("Unknown operation type {op} for {name}"));
                    Ok(ConfigOp { name, op: Op::from_code(*op).ok_or_else(unknown)?, value: value.as_deref() })
                })
                .collect::<Result<_, Refusal>>()?;
            ConfigChange::Alter(&ops)
        }
        Change::Replace(settings) => {
            all = settings.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            ConfigChange::Replace(&all)
        }
    };
    let planned = match &alteration.resource {
        Resource::Topic(name) => command::alter_topic_configs(image, config, name, change)?.entries,
        Resource::Broker(name) => command::alter_broker_configs(image, BrokerResource::parse(name)?, change)?,
    };
    take(image, planned, validate_only, entries);
    Ok(())
}
