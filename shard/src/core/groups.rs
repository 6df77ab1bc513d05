//! The group coordinators of one core: one for each partition of `__consumer_offsets` it owns. Drives the engine's state
//! machines: their appends go to the partition's log, their answers to whoever asked.

use super::Shard;
use crate::api::{Answer, owner};
use crate::io::Io;
use crate::mail::ReplyTo;
use crate::metrics::tell::{GroupsFrom, PIECE};
use crate::store::{AckTo, PartIdx};
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchBuilder, HEADER_LEN};
use ringlog_engine::codec::{Codec, Encoder};
use ringlog_engine::config::BrokerConfig;
use ringlog_engine::group::{
    AppendId, Coordinator, GroupConfig, GroupLine, KeyValue, ListGroupsRequest, ListedGroup, Output, Request, Response,
    Ticket,
};
use ringlog_engine::metadata::OFFSETS_TOPIC;
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{MonoMs, PartitionKey, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// A coordinator's log is rewritten once it is this many times as large as what lives in it, and at least so many bytes: a start
/// reads all of it, and there are fifty of them.
const REWRITE_RATIO: u64 = 4;
const REWRITE_BYTES_MIN: u64 = 512 << 10;
/// Memory of all coordinators of a core, bytes.
const GROUPS_BYTES: usize = 256 << 20;

struct Entry {
    coordinator: Coordinator,
    part: PartIdx,
    /// Where the log starts once the snapshot under way is durable.
    snapshot_from: Option<i64>,
    /// Log end when it was last rewritten: not before it has grown again.
    rewritten_at: u64,
}

/// Who asked: the address, and whether the answer is one of several to be joined.
enum Asker {
    One(ReplyTo),
    All { job: u64 },
}

struct AllGroups {
    reply: ReplyTo,
    left: usize,
    groups: Vec<ListedGroup>,
}

/// On the core that owns the partitions.
#[derive(Default)]
pub struct Coordinators {
    entries: BTreeMap<i32, Entry>,
    /// Partitions whose log could not be read: they have no coordinator until a repair.
    refused: BTreeSet<i32>,
    askers: BTreeMap<u64, Asker>,
    jobs: BTreeMap<u64, AllGroups>,
    next_ticket: u64,
    encoder: Encoder,
}

impl Coordinators {
    /// Takes in a coordinator whose log was replayed and that was told it is loaded.
    pub fn add(&mut self, coordinator: Coordinator, part: PartIdx) {
        let partition = coordinator.partition();
        let entry = Entry { coordinator, part, snapshot_from: None, rewritten_at: 0 };
        self.entries.insert(partition, entry);
    }

    /// A partition that gets no coordinator, as its log cannot be read.
    pub fn refuse(&mut self, partition: i32) {
        self.refused.insert(partition);
    }

    /// It has a coordinator, or is refused one.
    pub fn has(&self, partition: i32) -> bool {
        self.entries.contains_key(&partition) || self.refused.contains(&partition)
    }

    pub fn next_deadline(&self) -> Option<MonoMs> {
        self.entries.values().filter_map(|e| e.coordinator.next_deadline()).min()
    }

    /// A piece of what the coordinators have, and where to go on.
    pub(super) fn tell(&self, from: GroupsFrom, lines: &mut Vec<GroupLine>) -> Option<GroupsFrom> {
        for (partition, entry) in self.entries.range(from.partition..) {
            let partition = *partition;
            if lines.len() >= PIECE {
                return Some(GroupsFrom { partition, after: None });
            }
            let after = from.after.as_ref().filter(|_| partition == from.partition);
            if let Some(after) = entry.coordinator.tell(after, PIECE, lines) {
                return Some(GroupsFrom { partition, after: Some(after) });
            }
        }
        None
    }

    fn ticket(&mut self, asker: Asker) -> Ticket {
        self.next_ticket += 1;
        self.askers.insert(self.next_ticket, asker);
        Ticket(self.next_ticket)
    }
}

/// What the broker's settings mean to a coordinator.
pub fn group_config(config: &BrokerConfig) -> GroupConfig {
    GroupConfig {
        min_session_timeout_ms: config.groups.min_session_ms,
        max_session_timeout_ms: config.groups.max_session_ms,
        initial_rebalance_delay_ms: config.groups.initial_rebalance_delay_ms,
        max_size: config.limits.group_members as usize,
        offset_metadata_max_size: config.groups.offset_metadata_max_bytes as usize,
        offsets_retention_ms: config.groups.offsets_retention_ms.min(i64::MAX as u64) as i64,
        offsets_retention_check_interval_ms: config.groups.offsets_retention_check_ms,
        max_groups: config.limits.groups as usize,
        max_member_bytes: config.limits.member_bytes as usize,
        max_bytes: GROUPS_BYTES / config.groups.offsets_partitions.max(1) as usize,
        ..GroupConfig::default()
    }
}

impl<I: Io> Shard<I> {
    pub(super) fn on_group_request(&mut self, reply: ReplyTo, partition: i32, request: Request) {
        if !self.groups.entries.contains_key(&partition) {
            let refused = self.groups.refused.contains(&partition);
            let code = if refused { ErrorCode::CoordinatorNotAvailable } else { ErrorCode::NotCoordinator };
            return self.reply(reply, Answer::Refused(code));
        }
        let ticket = self.groups.ticket(Asker::One(reply));
        let config = group_config(&self.config);
        let entry = self.groups.entries.get_mut(&partition).expect("it is there");
        entry.coordinator.on_request(self.now, &config, ticket, request);
        self.drain_group(partition);
    }

    pub(super) fn on_all_groups(&mut self, reply: ReplyTo, request: ListGroupsRequest) {
        let partitions: Vec<i32> = self.groups.entries.keys().copied().collect();
        if partitions.is_empty() {
            return self.reply(reply, Answer::AllGroups(Vec::new()));
        }
        self.groups.next_ticket += 1;
        let job = self.groups.next_ticket;
        self.groups.jobs.insert(job, AllGroups { reply, left: partitions.len(), groups: Vec::new() });
        let config = group_config(&self.config);
        for partition in partitions {
            let ticket = self.groups.ticket(Asker::All { job });
            let entry = self.groups.entries.get_mut(&partition).expect("it is there");
            entry.coordinator.on_request(self.now, &config, ticket, Request::ListGroups(request.clone()));
            self.drain_group(partition);
        }
    }

    pub(super) fn on_group_appended(&mut self, partition: i32, append: u64, error: ErrorCode) {
        let config = group_config(&self.config);
        let Some(entry) = self.groups.entries.get_mut(&partition) else { return };
        let result = if error == ErrorCode::None { Ok(()) } else { Err(error) };
        entry.coordinator.on_appended(self.now, &config, AppendId(append), result);
        self.drain_group(partition);
        self.rewrite_group(partition);
    }

    pub(super) fn groups_on_time(&mut self) {
        if self.groups.next_deadline().is_none_or(|at| at > self.now.mono) {
            return;
        }
        let config = group_config(&self.config);
        let partitions: Vec<i32> = self.groups.entries.keys().copied().collect();
        for partition in partitions {
            let entry = self.groups.entries.get_mut(&partition).expect("it is there");
            if entry.coordinator.next_deadline().is_some_and(|at| at <= self.now.mono) {
                entry.coordinator.on_time(self.now, &config);
                self.drain_group(partition);
            }
        }
    }

    /// Carries out what a coordinator wants.
    fn drain_group(&mut self, partition: i32) {
        while let Some(entry) = self.groups.entries.get_mut(&partition)
            && let Some(output) = entry.coordinator.poll()
        {
            match output {
                Output::Append { id, records } => {
                    let part = entry.part;
                    if let Err(error) = self.append_group(partition, part, id, &records) {
                        let config = group_config(&self.config);
                        let entry = self.groups.entries.get_mut(&partition).expect("it is there");
                        entry.coordinator.on_appended(self.now, &config, id, Err(error));
                    }
                }
                Output::Reply { ticket, response } => self.on_group_reply(ticket, response),
                Output::SnapshotDone { result } => {
                    let (part, from) = (entry.part, entry.snapshot_from.take());
                    if let (Ok(()), Some(from)) = (result, from) {
                        self.store.drop_before(part, from);
                    }
                }
            }
        }
    }

    fn append_group(
        &mut self,
        partition: i32,
        part: PartIdx,
        id: AppendId,
        records: &[KeyValue],
    ) -> Result<(), ErrorCode> {
        let mut builder = BatchBuilder::new();
        for (key, value) in records {
            builder.append(self.now.wall.0, Some(key), value.as_deref(), &[]);
        }
        let mut batch = Vec::new();
        let header = builder.finish(0, 0, Codec::None, 0, &mut self.groups.encoder, &mut batch);
        let to = AckTo::Group { partition, append: id.0 };
        let acks = if planted(Bug::GroupAnsweredAtWrite) { 1 } else { -1 };
        let appended = self.store.append(self.now, part, (&header, Rope::of(&batch[HEADER_LEN..])), acks, to);
        appended.map(|_| ()).map_err(|_| ErrorCode::CoordinatorNotAvailable)
    }

    fn on_group_reply(&mut self, ticket: Ticket, response: Response) {
        match self.groups.askers.remove(&ticket.0).expect("every ticket is answered once") {
            Asker::One(reply) => self.reply(reply, Answer::Group(response)),
            Asker::All { job } => {
                let all = self.groups.jobs.get_mut(&job).expect("its job waits");
                if let Response::ListGroups(listed) = response {
                    all.groups.extend(listed.groups);
                }
                all.left -= 1;
                if all.left == 0 {
                    let all = self.groups.jobs.remove(&job).expect("it is there");
                    self.reply(all.reply, Answer::AllGroups(all.groups));
                }
            }
        }
    }

    /// Rewrites a coordinator's log when most of it is dead.
    fn rewrite_group(&mut self, partition: i32) {
        let Some(entry) = self.groups.entries.get_mut(&partition) else { return };
        let Some(bytes) = self.store.get(entry.part).map(|p| p.log.bytes()) else { return };
        if bytes < REWRITE_BYTES_MIN || bytes < entry.rewritten_at * 2 || entry.snapshot_from.is_some() {
            return;
        }
        let (_, live) = entry.coordinator.live_size();
        entry.rewritten_at = live as u64;
        if bytes < live as u64 * REWRITE_RATIO {
            return;
        }
        let part = entry.part;
        self.store.roll(part, self.now);
        let from = self.store.get(part).expect("it is there").log.next_offset();
        let config = group_config(&self.config);
        let entry = self.groups.entries.get_mut(&partition).expect("it is there");
        if entry.coordinator.begin_snapshot(&config) {
            entry.snapshot_from = Some(from);
        }
        self.drain_group(partition);
    }

    /// The metadata changed: coordinators of new partitions begin, offsets of deleted topics go.
    pub(super) fn reconcile_groups(&mut self, deleted: &[(String, TopicId)]) {
        let config = group_config(&self.config);
        if let Some(topic) = self.routes.by_name(OFFSETS_TOPIC).map(|t| self.routes.topic(t)) {
            for partition in 0..topic.partitions.len() as i32 {
                let key = PartitionKey { topic: topic.id, partition };
                if owner(key, self.setup.cores) != self.setup.core || self.groups.entries.contains_key(&partition) {
                    continue;
                }
                let part = self.store.find(key).expect("a partition of this core is in its store");
                let mut coordinator = Coordinator::new(partition);
                coordinator.loaded(self.now, &config);
                self.groups.add(coordinator, part);
            }
        }
        if deleted.is_empty() {
            return;
        }
        let partitions: Vec<i32> = self.groups.entries.keys().copied().collect();
        for partition in partitions {
            let entry = self.groups.entries.get_mut(&partition).expect("it is there");
            entry.coordinator.on_topics_deleted(&config, deleted);
            self.drain_group(partition);
        }
    }
}
