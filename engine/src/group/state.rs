//! A group and its members as they are in memory, and the questions one can ask of them. Transitions are elsewhere.

use super::api::{JoinedMember, Ticket};
use super::outbox::{Outbox, TimerKind, TopicPartition};
use super::records::{GroupValue, MemberValue, OffsetValue, subscribed_topics};
use crate::error::ErrorCode;
use crate::types::{MonoMs, WallMs};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) use super::api::Protocol;

/// What each costs beside its bytes; a generous guess of structs and tree nodes.
const MEMBER_OVERHEAD: usize = 512;
const OFFSET_OVERHEAD: usize = 160;
const GROUP_OVERHEAD: usize = 1_024;
const PENDING_OVERHEAD: usize = 160;

/// The protocol type whose metadata is a list of topics.
const CONSUMER: &str = "consumer";

/// Kafka's states of a classic group. Dead: its removal is being written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    Dead,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    pub(super) instance: Option<Arc<str>>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    pub(super) awaiting_join: Option<Ticket>,
    pub(super) awaiting_sync: Option<Ticket>,
    /// Has not been told its id yet: its first join is parked.
    pub(super) is_new: bool,
    pub(super) timer: Option<MonoMs>,
}

impl Member {
    fn weight(&self) -> usize {
        MEMBER_OVERHEAD
            + 2 * self.id.len()
            + self.instance.as_ref().map_or(0, |id| 2 * id.len())
            + self.client_id.len()
            + self.client_host.len()
            + self.assignment.len()
            + protocols_weight(&self.protocols)
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|p| p.name == protocol);
        found.map_or_else(Bytes::new, |p| p.metadata.clone())
    }
}

pub(super) fn protocols_weight(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|p| 64 + p.name.len() + p.metadata.len()).sum()
}

pub(super) fn group_weight(id: &str) -> usize {
    GROUP_OVERHEAD + id.len()
}

pub(super) fn pending_weight(member_id: &str) -> usize {
    PENDING_OVERHEAD + member_id.len()
}

pub(super) fn offset_weight(at: &TopicPartition, value: &OffsetValue) -> usize {
    OFFSET_OVERHEAD + at.topic.len() + value.metadata.len()
}

/// A first rebalance out of Empty waits for more members to come.
#[derive(Debug)]
pub(super) struct InitialDelay {
    /// How much longer the wait may be stretched, milliseconds.
    pub(super) remaining_ms: u64,
    pub(super) member_added: bool,
}

/// One classic group. Lives in the coordinator of its partition, on that partition's core.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Arc<str>,
    pub(super) state: State,
    /// When the state was entered: offsets of an Empty group expire from here. None in a group nobody ever joined.
    pub(super) state_since: Option<WallMs>,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<Arc<str>>,
    pub(super) members: BTreeMap<Arc<str>, Member>,
    /// Instance id to member id.
    pub(super) static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids given out with MEMBER_ID_REQUIRED and not used yet, with their timers.
    pub(super) pending_members: BTreeMap<Arc<str>, Option<MonoMs>>,
    /// Who has not synced in this generation.
    pub(super) pending_sync: BTreeSet<Arc<str>>,
    pub(super) pending_sync_timer: Option<MonoMs>,
    pub(super) rebalance_timer: Option<MonoMs>,
    pub(super) initial: Option<InitialDelay>,
    /// The generation whose assignment is being written.
    pub(super) storing: Option<i32>,
    /// How many members support each protocol.
    supported: BTreeMap<String, usize>,
    awaiting_join: usize,
    pub(super) offsets: BTreeMap<TopicPartition, OffsetValue>,
    /// The value of the group's last durable record.
    pub(super) durable: Option<Vec<u8>>,
}

impl Group {
    pub(super) fn new(id: Arc<str>) -> Group {
        Group {
            id,
            state: State::Empty,
            state_since: None,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            pending_sync_timer: None,
            rebalance_timer: None,
            initial: None,
            storing: None,
            supported: BTreeMap::new(),
            awaiting_join: 0,
            offsets: BTreeMap::new(),
            durable: None,
        }
    }

    /// Nothing here that anyone could ask for.
    pub(super) fn is_void(&self) -> bool {
        self.state == State::Empty
            && self.members.is_empty()
            && self.pending_members.is_empty()
            && self.offsets.is_empty()
            && self.durable.is_none()
    }

    pub(super) fn become_state(&mut self, state: State, now: WallMs) {
        self.state = state;
        self.state_since = Some(now);
    }

    pub(super) fn insert_member(&mut self, out: &mut Outbox, member: Member) {
        out.bytes += member.weight();
        self.count_protocols(&member.protocols, true);
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        if let Some(instance) = &member.instance {
            self.static_members.insert(instance.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member out, its session timer off, and elects another leader where it led. Its tickets are the caller's.
    pub(super) fn take_member(&mut self, out: &mut Outbox, id: &str) -> Option<Member> {
        let mut member = self.members.remove(id)?;
        out.bytes -= member.weight();
        out.disarm(&mut member.timer, &self.id, TimerKind::Session(member.id.clone()));
        self.count_protocols(&member.protocols, false);
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
        if let Some(instance) = &member.instance {
            self.static_members.remove(instance);
        }
        self.pending_sync.remove(id);
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    fn count_protocols(&mut self, protocols: &[Protocol], add: bool) {
        for protocol in protocols {
            let count = self.supported.entry(protocol.name.clone()).or_default();
            *count = if add { *count + 1 } else { *count - 1 };
            if *count == 0 {
                self.supported.remove(&protocol.name);
            }
        }
    }

    /// Changes a member's protocols and timeouts; gives the old protocols back.
    pub(super) fn set_protocols(
        &mut self,
        out: &mut Outbox,
        id: &str,
        protocols: Vec<Protocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
    ) -> Vec<Protocol> {
        self.count_protocols(&protocols, true);
        let Some(member) = self.members.get_mut(id) else { panic!("no member {id} in group {}", self.id) };
        out.bytes = out.bytes + protocols_weight(&protocols) - protocols_weight(&member.protocols);
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        member.session_timeout_ms = session_timeout_ms;
        let old = std::mem::replace(&mut member.protocols, protocols);
        self.count_protocols(&old, false);
        old
    }

    pub(super) fn set_assignment(&mut self, out: &mut Outbox, id: &str, assignment: Bytes) {
        if let Some(member) = self.members.get_mut(id) {
            out.bytes = out.bytes + assignment.len() - member.assignment.len();
            member.assignment = assignment;
        }
    }

    /// Parks a join, giving back the ticket it takes the place of.
    pub(super) fn park_join(&mut self, id: &str, ticket: Ticket) -> Option<Ticket> {
        let old = self.members.get_mut(id)?.awaiting_join.replace(ticket);
        self.awaiting_join += usize::from(old.is_none());
        old
    }

    pub(super) fn take_join(&mut self, id: &str) -> Option<Ticket> {
        let ticket = self.members.get_mut(id)?.awaiting_join.take();
        self.awaiting_join -= usize::from(ticket.is_some());
        ticket
    }

    pub(super) fn is_awaiting_join(&self, id: &str) -> bool {
        self.members.get(id).is_some_and(|member| member.awaiting_join.is_some())
    }

    pub(super) fn all_joined(&self) -> bool {
        self.awaiting_join == self.members.len() && self.pending_members.is_empty()
    }

    /// Kafka's cap: while members rejoin, by how many have; else by how many there are.
    pub(super) fn accepts(&self, member_id: &str, max_size: usize) -> bool {
        match self.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => self.is_awaiting_join(member_id) || self.awaiting_join < max_size,
            State::CompletingRebalance | State::Stable => {
                self.members.contains_key(member_id) || self.members.len() < max_size
            }
        }
    }

    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|p| self.supported.get(&p.name) == Some(&self.members.len()))
    }

    /// The vote: each member for the first of its protocols that all support; ties go to the first by name.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|p| self.supported.get(&p.name) == Some(&self.members.len()));
            if let Some(protocol) = choice {
                *votes.entry(&protocol.name).or_default() += 1;
            }
        }
        let most = votes.values().max()?;
        votes.iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_string())
    }

    /// Who may speak: a static member under its current id, a dynamic one that is here.
    pub(super) fn validate(&self, member_id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if **current != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        longest.map_or(0, |timeout| timeout.max(0) as u64)
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// The topics the members read; None where it cannot be told, and then any may be read. Worked out when asked for: it may
    /// be many times the size of the metadata, and is rarely needed.
    pub(super) fn subscribed(&self) -> Option<BTreeSet<&str>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let protocol = self.protocol.as_deref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            let chosen = member.protocols.iter().find(|p| p.name == protocol)?;
            all.extend(subscribed_topics(&chosen.metadata)?);
        }
        Some(all)
    }

    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.values().map(|member| JoinedMember {
            member_id: member.id.to_string(),
            group_instance_id: member.instance.as_ref().map(|id| id.to_string()),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }

    /// The record of the group as it is now, with the given assignments (a member without one gets none).
    pub(super) fn to_value(&self, assignment: impl Fn(&Member) -> Bytes) -> GroupValue {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.values().map(|member| MemberValue {
            member_id: member.id.to_string(),
            group_instance_id: member.instance.as_ref().map(|id| id.to_string()),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: assignment(member),
        });
        GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.as_ref().map(|id| id.to_string()),
            state_timestamp: self.state_since.map_or(-1, |at| at.0),
            members: members.collect(),
        }
    }
}
