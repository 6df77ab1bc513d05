//! Committed offsets: commit, fetch, delete, and how they end (expiry, deleted topics).

use super::Coordinator;
use super::api::{
    CommitTopic, FetchTopic, FetchedOffset, FetchedTopic, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse, Response, Ticket, TopicErrors,
};
use super::config::GroupConfig;
use super::outbox::{Context, Effect, Then, TopicPartition};
use super::records::{MAX_STRING, OffsetValue};
use super::state::{Group, State, offset_weight};
use crate::error::ErrorCode;
use crate::probe::{Bug, planted};
use crate::types::{Now, TopicId, WallMs};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// How many offsets and groups one turn of the expiry sweep looks at.
const SWEEP_STEP: usize = 2_000;

impl Group {
    fn check_commit(&self, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        if self.state == State::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let anonymous =
            request.generation_id < 0 && request.member_id.is_empty() && request.group_instance_id.is_none();
        match self.state {
            State::Empty if request.generation_id < 0 => return Ok(()),
            State::Empty => {}
            _ if anonymous => return Err(ErrorCode::UnknownMemberId),
            _ => {}
        }
        self.validate(&request.member_id, request.group_instance_id.as_deref())?;
        let before = planted(Bug::OldGenerationCommits) && request.generation_id == self.generation - 1;
        if request.generation_id != self.generation && !before {
            return Err(ErrorCode::IllegalGeneration);
        }
        if self.state == State::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    fn commit(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &OffsetCommitRequest) {
        if let Err(error) = self.check_commit(request) {
            return cx.out.reply(ticket, Response::OffsetCommit(request.all(error)));
        }
        self.prove_alive(cx, &request.member_id);
        let mut effects = Vec::new();
        let mut response = request.all(ErrorCode::None);
        for (topic, answer) in request.topics.iter().zip(&mut response.topics) {
            self.commit_topic(cx, request.retention_ms, topic, answer, &mut effects);
        }
        let weight: usize = effects.iter().map(Effect::weight).sum();
        if cx.out.bytes.saturating_add(weight) > cx.config.max_bytes {
            let response = Response::OffsetCommit(request.all(ErrorCode::CoordinatorNotAvailable));
            return cx.out.reply(ticket, response);
        }
        if effects.is_empty() {
            return cx.out.reply(ticket, Response::OffsetCommit(response));
        }
        cx.out.append(effects, cx.config.append_max_bytes, Then::Commit { ticket, response });
    }

    fn commit_topic(
        &self,
        cx: &Context<'_>,
        retention_ms: Option<i64>,
        topic: &CommitTopic,
        answer: &mut TopicErrors,
        effects: &mut Vec<Effect>,
    ) {
        let name: Arc<str> = topic.name.as_str().into();
        let longest = cx.config.offset_metadata_max_size.min(MAX_STRING);
        let now = cx.now.wall.0;
        for (partition, (_, error)) in topic.partitions.iter().zip(&mut answer.partitions) {
            let metadata = partition.metadata.as_deref().unwrap_or_default();
            if metadata.len() > longest {
                *error = ErrorCode::OffsetMetadataTooLarge;
            } else if name.len() > MAX_STRING {
                *error = ErrorCode::InvalidTopicException;
            } else {
                let value = OffsetValue {
                    offset: partition.offset,
                    leader_epoch: partition.leader_epoch,
                    metadata: metadata.into(),
                    commit_timestamp: now,
                    expire_timestamp: retention_ms.filter(|ms| *ms >= 0).map(|ms| now.saturating_add(ms)),
                    topic_id: topic.topic_id,
                };
                let at = TopicPartition { topic: name.clone(), partition: partition.partition };
                effects.push(Effect::PutOffset { group: self.id.clone(), at, value });
            }
        }
    }

    pub(super) fn set_offset(&mut self, bytes: &mut usize, at: TopicPartition, value: OffsetValue) {
        *bytes += offset_weight(&at, &value);
        if let Some(old) = self.offsets.get(&at) {
            *bytes -= offset_weight(&at, old);
        }
        self.offsets.insert(at, value);
    }

    pub(super) fn drop_offset(&mut self, bytes: &mut usize, at: &TopicPartition) {
        if let Some(old) = self.offsets.remove(at) {
            *bytes -= offset_weight(at, &old);
        }
    }

    /// KIP-211: which offsets are past their time. With members, only topics nobody reads any more, and only while
    /// Stable; without, counted from when the last member left; in a group nobody ever joined, from the commit.
    fn expired(&self, now: WallMs, retention_ms: i64) -> Vec<TopicPartition> {
        let from = match (self.protocol_type.is_some(), self.state) {
            (false, _) | (true, State::Stable) => None,
            (true, State::Empty) => self.state_since.map(|at| at.0),
            (true, _) => return Vec::new(),
        };
        let ended = self.offsets.iter().filter(|(_, value)| match value.expire_timestamp {
            Some(at) => now.0 >= at,
            None => now.0.saturating_sub(from.unwrap_or(value.commit_timestamp)) >= retention_ms,
        });
        let mut ended: Vec<TopicPartition> = ended.map(|(at, _)| at.clone()).collect();
        let read = self.protocol_type.is_some() && self.state == State::Stable && !planted(Bug::LiveOffsetsExpire);
        if !ended.is_empty() && read {
            match self.subscribed() {
                Some(topics) => ended.retain(|at| !topics.contains(&*at.topic)),
                None => ended.clear(),
            }
        }
        ended
    }

    fn removals(&self, offsets: impl IntoIterator<Item = TopicPartition>) -> Vec<Effect> {
        offsets.into_iter().map(|at| Effect::RemoveOffset { group: self.id.clone(), at }).collect()
    }
}

impl Effect {
    fn weight(&self) -> usize {
        match self {
            Effect::PutOffset { at, value, .. } => offset_weight(at, value),
            Effect::RemoveOffset { .. } | Effect::PutGroup { .. } | Effect::RemoveGroup { .. } => 0,
        }
    }
}

impl Coordinator {
    pub(super) fn on_commit(&mut self, now: Now, config: &GroupConfig, ticket: Ticket, request: &OffsetCommitRequest) {
        let refusal = match self.groups.contains_key(&*request.group_id) {
            true => None,
            false if request.generation_id < 0 => self.add_group(config, &request.group_id).err(),
            false if request.group_id_not_found_known => Some(ErrorCode::GroupIdNotFound),
            false => Some(ErrorCode::IllegalGeneration),
        };
        if let Some(error) = refusal {
            return self.out.reply(ticket, Response::OffsetCommit(request.all(error)));
        }
        let group = self.groups.get_mut(&*request.group_id).expect("found or added above");
        group.commit(&mut Context { now, config, out: &mut self.out }, ticket, request);
    }

    pub(super) fn on_fetch(&mut self, ticket: Ticket, request: OffsetFetchRequest) {
        let group = self.groups.get(&*request.group_id).filter(|group| group.state != State::Dead);
        let topics = match request.topics {
            Some(topics) => fetch_some(group, topics),
            None => group.map(fetch_all).unwrap_or_default(),
        };
        self.out.reply(ticket, Response::OffsetFetch(OffsetFetchResponse { error: ErrorCode::None, topics }));
    }

    pub(super) fn on_offset_delete(&mut self, config: &GroupConfig, ticket: Ticket, request: OffsetDeleteRequest) {
        let group = match self.groups.get(&*request.group_id) {
            Some(group) if group.state != State::Dead => group,
            _ => return self.out.reply(ticket, OffsetDeleteResponse::refused(ErrorCode::GroupIdNotFound)),
        };
        if group.state != State::Empty && !group.uses_consumer_protocol() {
            return self.out.reply(ticket, OffsetDeleteResponse::refused(ErrorCode::NonEmptyGroup));
        }
        let known = self.offsets_of(group);
        let (occupied, read) = (group.state != State::Empty, group.subscribed());
        let (mut removed, mut topics) = (BTreeSet::new(), Vec::new());
        for (topic, partitions) in request.topics {
            let subscribed = occupied && read.as_ref().is_none_or(|topics| topics.contains(topic.as_str()));
            let error = if subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
            let name: Arc<str> = topic.as_str().into();
            for partition in partitions.iter().filter(|_| !subscribed) {
                let at = TopicPartition { topic: name.clone(), partition: *partition };
                if known.contains(&at) {
                    removed.insert(at);
                }
            }
            topics.push((topic, partitions.into_iter().map(|partition| (partition, error)).collect()));
        }
        let response = Response::OffsetDelete(OffsetDeleteResponse { error: ErrorCode::None, topics });
        if removed.is_empty() {
            return self.out.reply(ticket, response);
        }
        let effects = group.removals(removed);
        self.out.append(effects, config.append_max_bytes, Then::DeleteOffsets { ticket, response });
    }

    /// A group's committed offsets, those on their way to the log included.
    pub(super) fn offsets_of(&self, group: &Group) -> BTreeSet<TopicPartition> {
        let mut all: BTreeSet<TopicPartition> = group.offsets.keys().cloned().collect();
        if self.out.is_busy(&group.id) {
            for effect in self.out.effects_in_flight() {
                if let Effect::PutOffset { group: owner, at, .. } = effect
                    && *owner == group.id
                {
                    all.insert(at.clone());
                }
            }
        }
        all
    }

    /// These topics are gone, and their offsets with them; those committed under another id (the topic was made again)
    /// stay.
    pub fn on_topics_deleted(&mut self, config: &GroupConfig, topics: &[(String, TopicId)]) {
        let ids: BTreeMap<&str, TopicId> = topics.iter().map(|(name, id)| (name.as_str(), *id)).collect();
        let dies = |at: &TopicPartition, value: &OffsetValue| {
            ids.get(&*at.topic).is_some_and(|id| value.topic_id.is_zero() || value.topic_id == *id)
        };
        let mut gone: BTreeSet<(Arc<str>, TopicPartition)> = BTreeSet::new();
        for group in self.groups.values() {
            for (at, _) in group.offsets.iter().filter(|(at, value)| dies(at, value)) {
                gone.insert((group.id.clone(), at.clone()));
            }
        }
        for effect in self.out.effects_in_flight() {
            if let Effect::PutOffset { group, at, value } = effect
                && dies(at, value)
            {
                gone.insert((group.clone(), at.clone()));
            }
        }
        if !gone.is_empty() {
            let effects = gone.into_iter().map(|(group, at)| Effect::RemoveOffset { group, at }).collect();
            self.out.append(effects, config.append_max_bytes, Then::Nothing);
        }
    }

    /// One step of the sweep: expired offsets go, and Empty groups without offsets. True when it is through.
    pub(super) fn sweep(&mut self, now: Now, config: &GroupConfig) -> bool {
        let (mut effects, mut forgotten, mut looked) = (Vec::new(), Vec::new(), 0);
        let from = self.sweep_cursor.take().map_or(Bound::Unbounded, Bound::Excluded);
        for (id, group) in self.groups.range_mut::<Arc<str>, _>((from, Bound::Unbounded)) {
            looked += 1 + group.offsets.len();
            if group.state != State::Dead && !self.out.is_busy(id) {
                let expired = group.expired(now.wall, config.offsets_retention_ms);
                let empties = expired.len() == group.offsets.len();
                effects.extend(group.removals(expired));
                if empties && group.state == State::Empty && group.pending_members.is_empty() {
                    if group.durable.is_some() {
                        effects.push(Effect::RemoveGroup { group: id.clone() });
                    }
                    group.state = State::Dead;
                    forgotten.push(id.clone());
                }
            }
            if looked >= SWEEP_STEP {
                self.sweep_cursor = Some(id.clone());
                break;
            }
        }
        if effects.is_empty() {
            self.end_groups(forgotten.iter(), Ok(()));
        } else {
            self.out.append(effects, config.append_max_bytes, Then::Forget { groups: forgotten });
        }
        self.sweep_cursor.is_none()
    }
}

fn fetch_all(group: &Group) -> Vec<FetchedTopic> {
    let mut topics: Vec<FetchedTopic> = Vec::new();
    for (at, value) in &group.offsets {
        if topics.last().is_none_or(|last| *last.name != *at.topic) {
            let name = at.topic.to_string();
            topics.push(FetchedTopic { name, topic_id: value.topic_id, partitions: Vec::new() });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(fetched(at.partition, Some(value)));
        }
    }
    topics
}

/// A partition asked for twice is answered once: an answer may be a thousand times the size of its question.
fn fetch_some(group: Option<&Group>, topics: Vec<FetchTopic>) -> Vec<FetchedTopic> {
    let mut asked = BTreeSet::new();
    let mut answers = Vec::new();
    for topic in topics {
        let name: Arc<str> = topic.name.as_str().into();
        let mut partitions = Vec::new();
        for partition in topic.partitions {
            let at = TopicPartition { topic: name.clone(), partition };
            let value = group.and_then(|group| group.offsets.get(&at)).filter(|value| {
                let unknown = topic.topic_id.is_zero() || value.topic_id.is_zero();
                unknown || value.topic_id == topic.topic_id || planted(Bug::OffsetsOutliveTopic)
            });
            if asked.insert(at) {
                partitions.push(fetched(partition, value));
            }
        }
        answers.push(FetchedTopic { name: topic.name, topic_id: topic.topic_id, partitions });
    }
    answers
}

fn fetched(partition: i32, value: Option<&OffsetValue>) -> FetchedOffset {
    FetchedOffset {
        partition,
        offset: value.map_or(-1, |value| value.offset),
        leader_epoch: value.map_or(-1, |value| value.leader_epoch),
        metadata: value.map_or_else(String::new, |value| value.metadata.to_string()),
        error: ErrorCode::None,
    }
}
