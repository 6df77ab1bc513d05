//! The classic consumer group coordinator: one `Coordinator` per partition of `__consumer_offsets`, on the core that owns it.
//!
//! A pure state machine. Requests, finished appends and time go in; answers and appends come out of `poll`. What is
//! durable goes through the log first: an answer that rests on a record is released by `on_appended`. It is not the log
//! (the caller appends), not the codec (`net` makes the requests), not the KIP-848 protocol, and not transactional.
//!
//! ```text
//! replay*, loaded     every record of the partition in order, once; before that requests get COORDINATOR_LOAD_IN_PROGRESS
//! on_request          join, sync, ... : answered through poll, now or later, exactly once
//! on_appended         an Append's records are durable, or failed: in the order the appends came out
//! on_time             when next_deadline has passed
//! on_topics_deleted, begin_snapshot, resign
//! ```
//! Files: `join` and `sync` are the life of a generation, `offsets` and `admin` the rest of the requests, `state` what a group is,
//! `outbox` what waits for the log and the clock, `records` the bytes, `snapshot` how the log stays short, `tell` what others may see.

mod admin;
mod api;
mod config;
mod join;
mod offsets;
mod outbox;
mod records;
mod snapshot;
mod state;
mod sync;
mod tell;

pub use api::*;
pub use config::GroupConfig;
pub use records::{
    DecodeError, GroupValue, Key, MemberValue, OffsetValue, ReplayError, decode_group, decode_key, decode_offset,
    encode_group, encode_group_key, encode_offset, encode_offset_key,
};

pub use tell::{GroupCursor, GroupLine};

use crate::error::ErrorCode;
use crate::types::{MonoMs, Now, WallMs};
use outbox::{Context, Effect, Outbox, RecordKey, Then, TopicPartition};
use records::MAX_STRING;
use snapshot::Snapshot;
use state::{Group, Member, State, group_weight};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Loading,
    Active,
    Resigned,
}

/// The groups of one partition of `__consumer_offsets`. Lives on the core that owns the partition; only it touches this.
pub struct Coordinator {
    partition: i32,
    phase: Phase,
    groups: BTreeMap<Arc<str>, Group>,
    out: Outbox,
    sweep_at: Option<MonoMs>,
    /// Where the expiry sweep goes on; None between sweeps.
    sweep_cursor: Option<Arc<str>>,
    snapshot: Option<Snapshot>,
}

impl Coordinator {
    pub fn new(partition: i32) -> Coordinator {
        Coordinator {
            partition,
            phase: Phase::Loading,
            groups: BTreeMap::new(),
            out: Outbox::default(),
            sweep_at: None,
            sweep_cursor: None,
            snapshot: None,
        }
    }

    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Memory held by members, group records and offsets, as counted against `max_bytes`.
    pub fn bytes(&self) -> usize {
        self.out.bytes
    }

    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// True while no append is under way.
    pub fn is_idle(&self) -> bool {
        self.out.idle()
    }

    /// Takes one record of the partition, in offset order, before `loaded`. An error
    /// leaves the state as it was: the caller decides whether to go on.
    pub fn replay(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        offset: i64,
        _timestamp: WallMs,
    ) -> Result<(), ReplayError> {
        assert!(self.phase == Phase::Loading, "replay of {offset}, {:?}, partition {}", self.phase, self.partition);
        let explain = |error| match error {
            DecodeError::Malformed => ReplayError::Corrupt { offset },
            DecodeError::Version(version) => ReplayError::UnknownVersion { offset, version },
        };
        let effect = match (decode_key(key).map_err(explain)?, value) {
            (Key::Offset { group, topic, partition }, value) => {
                let (group, at) = (group.into(), TopicPartition { topic: topic.into(), partition });
                match value {
                    Some(value) => Effect::PutOffset { group, at, value: decode_offset(value).map_err(explain)? },
                    None => Effect::RemoveOffset { group, at },
                }
            }
            (Key::Group { group }, Some(value)) => {
                decode_group(value).map_err(explain)?;
                Effect::PutGroup { group: group.into(), value: value.to_vec() }
            }
            (Key::Group { group }, None) => Effect::RemoveGroup { group: group.into() },
        };
        let group = effect.group().clone();
        self.apply(effect);
        self.prune(&group);
        Ok(())
    }

    /// The log is read: groups stand as their last record says, and every member's session starts now.
    pub fn loaded(&mut self, now: Now, config: &GroupConfig) {
        assert!(self.phase == Phase::Loading, "loaded, {:?}, partition {}", self.phase, self.partition);
        self.phase = Phase::Active;
        self.sweep_at = Some(now.mono.after(config.offsets_retention_check_interval_ms.max(1)));
        for group in self.groups.values_mut() {
            let Some(value) = group.durable.as_deref() else { continue };
            let value = decode_group(value).unwrap_or_else(|error| panic!("{error:?} in a record taken before"));
            let mut cx = Context { now, config, out: &mut self.out };
            group.restore(&mut cx, value);
            if group.members.len() > config.max_size {
                group.prepare_rebalance(&mut cx);
            }
        }
    }

    pub fn on_request(&mut self, now: Now, config: &GroupConfig, ticket: Ticket, request: Request) {
        if let Err(error) = self.check(&request) {
            return self.out.reply(ticket, request.refuse(error));
        }
        match request {
            Request::Join(request) => self.on_join(now, config, ticket, &request),
            Request::Sync(request) => {
                let mut cx = Context { now, config, out: &mut self.out };
                match self.groups.get_mut(&*request.group_id) {
                    Some(group) => group.sync(&mut cx, ticket, &request),
                    None => cx.out.refuse_sync(ticket, ErrorCode::UnknownMemberId),
                }
            }
            Request::Heartbeat(request) => {
                let mut cx = Context { now, config, out: &mut self.out };
                let error = match self.groups.get_mut(&*request.group_id) {
                    Some(group) => group.heartbeat(&mut cx, &request),
                    None => ErrorCode::UnknownMemberId,
                };
                cx.out.reply(ticket, Response::Heartbeat(error));
            }
            Request::Leave(request) => self.on_leave(now, config, ticket, request),
            Request::OffsetCommit(request) => {
                self.on_commit(now, config, ticket, &request);
                self.prune(&request.group_id);
            }
            Request::OffsetFetch(request) => self.on_fetch(ticket, request),
            Request::ListGroups(request) => self.on_list(ticket, &request),
            Request::DescribeGroups(request) => self.on_describe(ticket, &request),
            Request::DeleteGroups(request) => self.on_delete(now, config, ticket, request),
            Request::OffsetDelete(request) => self.on_offset_delete(config, ticket, request),
        }
    }

    /// What is refused whatever the group. The empty group id is Kafka's oddity: allowed where no one joins.
    fn check(&self, request: &Request) -> Result<(), ErrorCode> {
        match self.phase {
            Phase::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
            Phase::Resigned => return Err(ErrorCode::NotCoordinator),
            Phase::Active => {}
        }
        let (id, may_be_empty) = match request {
            Request::Join(request) => (&request.group_id, false),
            Request::Sync(request) => (&request.group_id, false),
            Request::Heartbeat(request) => (&request.group_id, false),
            Request::Leave(request) => (&request.group_id, false),
            Request::OffsetDelete(request) => (&request.group_id, false),
            Request::OffsetCommit(request) => (&request.group_id, true),
            Request::OffsetFetch(request) => (&request.group_id, true),
            Request::ListGroups(_) | Request::DescribeGroups(_) | Request::DeleteGroups(_) => return Ok(()),
        };
        if id.len() > MAX_STRING || (id.is_empty() && !may_be_empty) {
            return Err(ErrorCode::InvalidGroupId);
        }
        Ok(())
    }

    fn on_join(&mut self, now: Now, config: &GroupConfig, ticket: Ticket, request: &JoinRequest) {
        let cx = Context { now, config, out: &mut self.out };
        if let Err(error) = join::check_join(&cx, request) {
            return cx.out.refuse_join(ticket, error, &request.member_id);
        }
        if !self.groups.contains_key(&*request.group_id) {
            if !request.member_id.is_empty() {
                return cx.out.refuse_join(ticket, ErrorCode::UnknownMemberId, &request.member_id);
            }
            if let Err(error) = self.add_group(config, &request.group_id) {
                return self.out.refuse_join(ticket, error, &request.member_id);
            }
        }
        let group = self.groups.get_mut(&*request.group_id).expect("found or added above");
        group.join(&mut Context { now, config, out: &mut self.out }, ticket, request);
        self.prune(&request.group_id);
    }

    fn on_leave(&mut self, now: Now, config: &GroupConfig, ticket: Ticket, request: LeaveRequest) {
        let id = request.group_id.clone();
        let mut cx = Context { now, config, out: &mut self.out };
        let response = match self.groups.get_mut(&*id) {
            Some(group) => group.leave(&mut cx, request),
            None => {
                let members = request.members.into_iter().map(|member| (member, ErrorCode::UnknownMemberId)).collect();
                LeaveResponse { error: ErrorCode::None, members }
            }
        };
        cx.out.reply(ticket, Response::Leave(response));
        self.prune(&id);
    }

    fn add_group(&mut self, config: &GroupConfig, id: &str) -> Result<(), ErrorCode> {
        if self.groups.len() >= config.max_groups || self.out.bytes >= config.max_bytes {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.group_or_new(&id.into());
        Ok(())
    }

    fn group_or_new(&mut self, id: &Arc<str>) -> &mut Group {
        self.groups.entry(id.clone()).or_insert_with(|| {
            self.out.bytes += group_weight(id);
            Group::new(id.clone())
        })
    }

    fn remove_group(&mut self, id: &str) {
        if self.groups.remove(id).is_some() {
            self.out.bytes -= group_weight(id);
        }
    }

    /// Forgets a group of which nothing is left.
    fn prune(&mut self, id: &str) {
        if self.groups.get(id).is_some_and(Group::is_void) && !self.out.is_busy(id) {
            self.remove_group(id);
        }
    }

    /// An append that `poll` gave out is durable, or has failed and is not in the log. Called in the order of the ids.
    pub fn on_appended(&mut self, now: Now, config: &GroupConfig, id: AppendId, result: Result<(), ErrorCode>) {
        if self.phase == Phase::Resigned {
            return;
        }
        let finished = self.out.finish(id, result);
        let keys: Vec<RecordKey> = finished.effects.iter().map(Effect::key).collect();
        if result.is_ok() {
            for effect in finished.effects {
                self.apply(effect);
            }
        }
        self.settle_snapshot(id, &keys, result);
        if let Some((then, result)) = finished.then {
            self.follow(now, config, then, result);
        }
        for key in keys {
            self.prune(&key.group);
        }
        self.advance_snapshot(config);
    }

    /// One durable change takes hold.
    fn apply(&mut self, effect: Effect) {
        self.group_or_new(effect.group());
        let group = self.groups.get_mut(effect.group()).expect("made above");
        match effect {
            Effect::PutOffset { at, value, .. } => group.set_offset(&mut self.out.bytes, at, value),
            Effect::RemoveOffset { at, .. } => group.drop_offset(&mut self.out.bytes, &at),
            Effect::PutGroup { value, .. } => {
                self.out.bytes += value.len();
                self.out.bytes -= group.durable.replace(value).map_or(0, |old| old.len());
            }
            Effect::RemoveGroup { .. } => {
                self.out.bytes -= group.durable.take().map_or(0, |old| old.len());
            }
        }
    }

    /// All parts of an operation are done.
    fn follow(&mut self, now: Now, config: &GroupConfig, then: Then, result: Result<(), ErrorCode>) {
        let group_result = result.map_err(group_error);
        match then {
            Then::Nothing => {}
            Then::SnapshotChunk => self.on_snapshot_chunk(result),
            Then::Commit { ticket, mut response } => {
                if let Err(error) = result.map_err(commit_error) {
                    let outcomes = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                    outcomes.filter(|(_, own)| own.is_ok()).for_each(|(_, own)| *own = error);
                }
                self.out.reply(ticket, Response::OffsetCommit(response));
            }
            Then::Assign { group, generation, assignments } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    let mut cx = Context { now, config, out: &mut self.out };
                    group.on_assigned(&mut cx, generation, assignments, group_result);
                }
            }
            Then::Replace { ticket, response, replaced } => match group_result {
                Ok(()) => self.out.reply(ticket, response),
                Err(error) => {
                    self.out.refuse_join(ticket, error, "");
                    if let Some(group) = self.groups.get_mut(&replaced.group) {
                        group.undo_replacement(&mut Context { now, config, out: &mut self.out }, *replaced);
                    }
                }
            },
            Then::DeleteOffsets { ticket, response } => match group_result {
                Ok(()) => self.out.reply(ticket, response),
                Err(error) => self.out.reply(ticket, OffsetDeleteResponse::refused(error)),
            },
            Then::DeleteGroups { ticket, mut results, deleted } => {
                self.end_groups(deleted.iter(), group_result);
                if let Err(error) = group_result {
                    for (_, own) in results.iter_mut().filter(|(name, _)| deleted.contains(name.as_str())) {
                        *own = error;
                    }
                }
                self.out.reply(ticket, Response::DeleteGroups(results));
            }
            Then::Forget { groups } => self.end_groups(groups.iter(), group_result),
        }
    }

    /// Dead groups are gone, or live on where their tombstones were not written.
    fn end_groups<'a>(&mut self, ids: impl Iterator<Item = &'a Arc<str>>, result: Result<(), ErrorCode>) {
        for id in ids {
            if let Some(group) = self.groups.get_mut(id) {
                assert!(group.state == State::Dead, "group {id} became {} while dying", group.state.name());
                group.state = State::Empty;
                if result.is_ok() {
                    assert!(group.is_void(), "group {id} was removed with {} offsets left", group.offsets.len());
                    self.remove_group(id);
                }
            }
        }
    }

    /// Fires what is due. Costs nothing when nothing is.
    pub fn on_time(&mut self, now: Now, config: &GroupConfig) {
        while let Some(timer) = self.out.pop_due(now.mono) {
            let Some(group) = self.groups.get_mut(&timer.group) else {
                panic!("timer {timer:?} of a group that is gone");
            };
            group.on_timer(&mut Context { now, config, out: &mut self.out }, timer.kind);
            self.prune(&timer.group);
        }
        if self.sweep_at.is_some_and(|at| at <= now.mono) {
            let interval = config.offsets_retention_check_interval_ms.max(1);
            let through = self.sweep(now, config);
            self.sweep_at = Some(if through { now.mono.after(interval) } else { now.mono });
        }
    }

    /// When `on_time` has something to do.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        [self.out.first_timer(), self.sweep_at].into_iter().flatten().min()
    }

    pub fn poll(&mut self) -> Option<Output> {
        self.out.poll()
    }

    /// The partition has moved or its log is lost: whoever waits, and whoever comes, is told NOT_COORDINATOR. What
    /// becomes of appends under way no longer matters here.
    pub fn resign(&mut self) {
        self.phase = Phase::Resigned;
        let error = ErrorCode::NotCoordinator;
        for then in self.out.abandon() {
            match then {
                Then::Commit { ticket, mut response } => {
                    let outcomes = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                    outcomes.for_each(|(_, own)| *own = error);
                    self.out.reply(ticket, Response::OffsetCommit(response));
                }
                Then::Replace { ticket, .. } => self.out.refuse_join(ticket, error, ""),
                Then::DeleteOffsets { ticket, .. } => self.out.reply(ticket, OffsetDeleteResponse::refused(error)),
                Then::DeleteGroups { ticket, mut results, .. } => {
                    results.iter_mut().for_each(|(_, own)| *own = error);
                    self.out.reply(ticket, Response::DeleteGroups(results));
                }
                Then::Nothing | Then::Assign { .. } | Then::Forget { .. } | Then::SnapshotChunk => {}
            }
        }
        for member in self.groups.values_mut().flat_map(|group| group.members.values_mut()) {
            if let Some(ticket) = member.awaiting_join.take() {
                self.out.refuse_join(ticket, error, &member.id);
            }
            if let Some(ticket) = member.awaiting_sync.take() {
                self.out.refuse_sync(ticket, error);
            }
        }
        self.groups.clear();
        self.out.bytes = 0;
        self.snapshot = None;
        self.sweep_at = None;
    }
}

impl Group {
    /// From the group's last record: Stable with its members, or Empty.
    fn restore(&mut self, cx: &mut Context<'_>, value: GroupValue) {
        self.generation = value.generation;
        self.protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty());
        self.protocol = value.protocol;
        self.state_since = (value.state_timestamp >= 0).then_some(WallMs(value.state_timestamp));
        let protocol = self.protocol.clone().unwrap_or_default();
        for member in value.members {
            let id: Arc<str> = member.member_id.into();
            if self.members.contains_key(&id) {
                continue;
            }
            self.insert_member(
                cx.out,
                Member {
                    id: id.clone(),
                    instance: member.group_instance_id.map(Arc::from),
                    client_id: member.client_id,
                    client_host: member.client_host,
                    rebalance_timeout_ms: member.rebalance_timeout_ms,
                    session_timeout_ms: member.session_timeout_ms,
                    protocols: vec![Protocol { name: protocol.clone(), metadata: member.subscription }],
                    assignment: member.assignment,
                    awaiting_join: None,
                    awaiting_sync: None,
                    is_new: false,
                    timer: None,
                },
            );
            self.arm_session(cx, &id);
        }
        let leader = value.leader.as_deref().and_then(|id| self.members.get_key_value(id)).map(|(id, _)| id.clone());
        self.leader = leader.or_else(|| self.members.keys().next().cloned());
        self.state = if self.members.is_empty() { State::Empty } else { State::Stable };
    }
}

/// Kafka's translation of a failed append for those who wait on a group's record.
fn group_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        other => other,
    }
}

/// The same for those who wait on an offset.
fn commit_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::InvalidCommitOffsetSize
        }
        other => group_error(other),
    }
}
