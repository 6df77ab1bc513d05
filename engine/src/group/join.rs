//! Joining a group, and the rebalance from its first join to the answers of JoinGroup. What follows is `sync`.

use super::api::{JoinRequest, JoinResponse, Response, Ticket};
use super::outbox::{Context, Effect, Replaced, Then, TimerKind};
use super::records::{MAX_STRING, encode_group, subscribed_topics};
use super::state::{Group, InitialDelay, Member, Protocol, State, pending_weight, protocols_weight};
use crate::error::ErrorCode;
use crate::probe::{Bug, planted};
use bytes::Bytes;
use std::fmt::Write;
use std::sync::Arc;

/// How long a new member's parked join keeps it in the group, milliseconds: its client cannot send heartbeats yet and may
/// be gone (Kafka's `classicGroupNewMemberJoinTimeoutMs`).
const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 300_000;

/// What can be refused without knowing the group.
pub(super) fn check_join(cx: &Context<'_>, request: &JoinRequest) -> Result<(), ErrorCode> {
    let config = cx.config;
    if !(config.min_session_timeout_ms..=config.max_session_timeout_ms).contains(&request.session_timeout_ms) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    let instance = request.group_instance_id.as_deref().unwrap_or_default();
    let strings = [&*request.member_id, instance, &request.client_id, &request.client_host, &request.protocol_type];
    let names: usize = strings.iter().map(|text| text.len()).sum();
    // A new member id is the client's or the instance's and 37 characters: it has to fit a record too.
    let too_long = strings.iter().any(|text| text.len() > MAX_STRING - 37)
        || request.protocols.iter().any(|p| p.name.len() > MAX_STRING);
    let bytes = names + protocols_weight(&request.protocols);
    if too_long || request.protocols.len() > config.max_protocols || bytes > config.max_member_bytes {
        return Err(ErrorCode::InvalidRequest);
    }
    if cx.out.bytes.saturating_add(bytes) > config.max_bytes {
        return Err(ErrorCode::CoordinatorNotAvailable);
    }
    Ok(())
}

/// Kafka's form: the client's (or the static instance's) name and a UUID.
fn new_member_id(request: &JoinRequest) -> Arc<str> {
    let mut random = request.random;
    random[6] = (random[6] & 0x0f) | 0x40;
    random[8] = (random[8] & 0x3f) | 0x80;
    let mut id = request.group_instance_id.as_ref().unwrap_or(&request.client_id).clone();
    for (k, byte) in random.iter().enumerate() {
        if matches!(k, 0 | 4 | 6 | 8 | 10) {
            id.push('-');
        }
        write!(id, "{byte:02x}").expect("writing to a string");
    }
    id.into()
}

/// What is kept of a request's protocols: copies, and the first of each name.
fn keep_protocols(protocols: &[Protocol]) -> Vec<Protocol> {
    let mut kept: Vec<Protocol> = Vec::new();
    for protocol in protocols {
        if kept.iter().all(|p| p.name != protocol.name) {
            kept.push(Protocol { name: protocol.name.clone(), metadata: Bytes::copy_from_slice(&protocol.metadata) });
        }
    }
    kept
}

impl Group {
    pub(super) fn join(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinRequest) {
        let member_id = &*request.member_id;
        if self.state == State::Dead {
            return cx.out.refuse_join(ticket, ErrorCode::CoordinatorNotAvailable, member_id);
        }
        if !self.accepts(member_id, cx.config.max_size) {
            self.dismiss(cx, member_id);
            cx.out.refuse_join(ticket, ErrorCode::GroupMaxSizeReached, "");
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            cx.out.refuse_join(ticket, ErrorCode::InconsistentGroupProtocol, member_id);
        } else if member_id.is_empty() {
            self.join_as_new(cx, ticket, request);
        } else {
            self.join_as_known(cx, ticket, request);
        }
        self.maybe_complete_join(cx);
    }

    fn join_as_new(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinRequest) {
        let id = new_member_id(request);
        match request.group_instance_id.as_deref() {
            Some(instance) => match self.static_members.get(instance).cloned() {
                Some(old) => self.replace_static(cx, ticket, request, old, id),
                None => self.add_member(cx, ticket, request, id),
            },
            None if request.known_member_id_required => {
                if self.pending_members.len() >= cx.config.max_pending_members {
                    return cx.out.refuse_join(ticket, ErrorCode::GroupMaxSizeReached, "");
                }
                let mut timer = None;
                let at = cx.now.mono.after(request.session_timeout_ms as u64);
                cx.out.arm(&mut timer, at, &self.id, TimerKind::PendingMember(id.clone()));
                cx.out.refuse_join(ticket, ErrorCode::MemberIdRequired, &id);
                cx.out.bytes += pending_weight(&id);
                self.pending_members.insert(id, timer);
            }
            None => self.add_member(cx, ticket, request, id),
        }
    }

    fn join_as_known(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinRequest) {
        let id = &*request.member_id;
        if let Some((pending, _)) = self.pending_members.get_key_value(id) {
            let pending = pending.clone();
            if request.group_instance_id.is_some() {
                // Ids are only handed out this way to members without an instance.
                return cx.out.refuse_join(ticket, ErrorCode::UnknownMemberId, id);
            }
            self.drop_pending(cx, &pending);
            return self.add_member(cx, ticket, request, pending);
        }
        if let Err(error) = self.validate(id, request.group_instance_id.as_deref()) {
            return cx.out.refuse_join(ticket, error, id);
        }
        let unchanged = request.protocols == self.members[id].protocols;
        let is_leader = self.leader.as_deref() == Some(id);
        match self.state {
            // The answer to the same join was lost: give it again.
            State::CompletingRebalance if unchanged => {
                let response = self.join_response(id, is_leader, false);
                cx.out.reply(ticket, response);
            }
            State::Stable if unchanged && !is_leader => {
                let response = self.join_response(id, false, false);
                cx.out.reply(ticket, response);
            }
            State::PreparingRebalance => self.rejoin(cx, ticket, request),
            State::CompletingRebalance | State::Stable => {
                self.rejoin(cx, ticket, request);
                self.prepare_rebalance(cx);
            }
            State::Empty | State::Dead => cx.out.refuse_join(ticket, ErrorCode::UnknownMemberId, id),
        }
    }

    /// What a completed join is told.
    fn join_response(&self, member_id: &str, with_members: bool, skip_assignment: bool) -> Response {
        Response::Join(JoinResponse {
            error: ErrorCode::None,
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.as_deref().unwrap_or_default().to_string(),
            skip_assignment,
            member_id: member_id.to_string(),
            members: if with_members { self.joined_members() } else { Vec::new() },
        })
    }

    fn add_member(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinRequest, id: Arc<str>) {
        if let Some(initial) = &mut self.initial {
            initial.member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        let mut member = Member {
            id: id.clone(),
            instance: request.group_instance_id.as_deref().map(Arc::from),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: keep_protocols(&request.protocols),
            assignment: Bytes::new(),
            awaiting_join: Some(ticket),
            awaiting_sync: None,
            is_new: true,
            timer: None,
        };
        let at = cx.now.mono.after(NEW_MEMBER_JOIN_TIMEOUT_MS);
        cx.out.arm(&mut member.timer, at, &self.id, TimerKind::Session(id));
        self.insert_member(cx.out, member);
        self.prepare_rebalance(cx);
    }

    /// A member of the group joins again: its protocols and timeouts are taken, its answer waits for the rebalance.
    fn rejoin(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinRequest) {
        let id = &*request.member_id;
        let protocols = keep_protocols(&request.protocols);
        self.set_protocols(cx.out, id, protocols, request.rebalance_timeout_ms, request.session_timeout_ms);
        if let Some(displaced) = self.park_join(id, ticket) {
            cx.out.refuse_join(displaced, ErrorCode::RebalanceInProgress, id);
        }
        let member = self.members.get_mut(id).expect("parked above");
        if !member.is_new {
            // A parked join is proof of life enough.
            cx.out.disarm(&mut member.timer, &self.id, TimerKind::Session(member.id.clone()));
        }
    }

    /// KIP-345: a static member came back without its id. Its place is taken over under a new one, and whoever still uses
    /// the old id is fenced.
    fn replace_static(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        request: &JoinRequest,
        old_id: Arc<str>,
        new_id: Arc<str>,
    ) {
        let leader_before = self.leader.clone();
        let was_pending_sync = self.pending_sync.contains(&old_id);
        let Some(mut member) = self.take_member(cx.out, &old_id) else {
            panic!("static member {old_id} is not in group {}", self.id);
        };
        if let Some(parked) = member.awaiting_join.take() {
            cx.out.refuse_join(parked, ErrorCode::FencedInstanceId, &old_id);
        }
        if let Some(parked) = member.awaiting_sync.take() {
            cx.out.refuse_sync(parked, ErrorCode::FencedInstanceId);
        }
        let (rebalance_timeout_ms, session_timeout_ms) = (member.rebalance_timeout_ms, member.session_timeout_ms);
        member.id = new_id.clone();
        member.is_new = false;
        self.insert_member(cx.out, member);
        if was_pending_sync {
            self.pending_sync.insert(new_id.clone());
        }
        self.leader = if leader_before.as_ref() == Some(&old_id) { Some(new_id.clone()) } else { leader_before };
        let protocols = keep_protocols(&request.protocols);
        let old_protocols =
            self.set_protocols(cx.out, &new_id, protocols, request.rebalance_timeout_ms, request.session_timeout_ms);
        self.arm_session(cx, &new_id);
        if self.state == State::Stable && self.keeps_assignment(&new_id, &old_protocols) {
            let replaced = Replaced {
                group: self.id.clone(),
                generation: self.generation,
                instance: request.group_instance_id.as_deref().unwrap_or_default().into(),
                old_id,
                new_id,
                protocols: old_protocols,
                rebalance_timeout_ms,
                session_timeout_ms,
            };
            return self.store_replacement(cx, ticket, request, replaced);
        }
        self.park_join(&new_id, ticket);
        let member = self.members.get_mut(&new_id).expect("inserted above");
        cx.out.disarm(&mut member.timer, &self.id, TimerKind::Session(new_id));
        self.prepare_rebalance(cx);
    }

    /// Whether the group's assignment stands after a static member came back: the vote is the same, and, where the
    /// metadata can be read, so are the topics.
    fn keeps_assignment(&self, member_id: &str, old: &[Protocol]) -> bool {
        let Some(protocol) = &self.protocol else { return false };
        if self.select_protocol().as_ref() != Some(protocol) {
            return false;
        }
        let before = old.iter().find(|p| p.name == *protocol).map(|p| p.metadata.clone()).unwrap_or_default();
        let after = self.members[member_id].metadata(protocol);
        match (self.uses_consumer_protocol(), subscribed_topics(&before), subscribed_topics(&after)) {
            (true, Some(mut before), Some(mut after)) => {
                before.sort_unstable();
                after.sort_unstable();
                before == after
            }
            _ => true,
        }
    }

    fn store_replacement(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinRequest, replaced: Replaced) {
        let id = replaced.new_id.clone();
        let is_leader = self.leader.as_ref() == Some(&id);
        let skip = request.skip_assignment_supported && is_leader;
        let mut response = self.join_response(&id, skip, skip);
        if let (Response::Join(join), true, false) = (&mut response, is_leader, skip) {
            // A client that cannot skip must not think it leads: it would compute a new assignment.
            join.leader = replaced.old_id.to_string();
        }
        let value = encode_group(&self.to_value(|member| member.assignment.clone()));
        let effects = vec![Effect::PutGroup { group: self.id.clone(), value }];
        let then = Then::Replace { ticket, response, replaced: Box::new(replaced) };
        cx.out.append(effects, cx.config.append_max_bytes, then);
    }

    /// The replacement could not be written: the old id is the member again, if nothing happened since.
    pub(super) fn undo_replacement(&mut self, cx: &mut Context<'_>, replaced: Replaced) {
        let unmoved = self.state == State::Stable
            && self.generation == replaced.generation
            && self.static_members.get(&replaced.instance) == Some(&replaced.new_id);
        if !unmoved {
            return;
        }
        let leader = self.leader.clone();
        let was_pending_sync = self.pending_sync.contains(&replaced.new_id);
        let Some(mut member) = self.take_member(cx.out, &replaced.new_id) else { return };
        if let Some(parked) = member.awaiting_sync.take() {
            cx.out.refuse_sync(parked, ErrorCode::UnknownMemberId);
        }
        member.id = replaced.old_id.clone();
        self.insert_member(cx.out, member);
        if was_pending_sync {
            self.pending_sync.insert(replaced.old_id.clone());
        }
        self.leader = if leader.as_ref() == Some(&replaced.new_id) { Some(replaced.old_id.clone()) } else { leader };
        self.set_protocols(
            cx.out,
            &replaced.old_id,
            replaced.protocols,
            replaced.rebalance_timeout_ms,
            replaced.session_timeout_ms,
        );
        self.arm_session(cx, &replaced.old_id);
    }

    /// Starts a rebalance unless one is being prepared. Whoever waits for an assignment is sent back to join.
    pub(super) fn prepare_rebalance(&mut self, cx: &mut Context<'_>) {
        if matches!(self.state, State::PreparingRebalance | State::Dead) {
            return;
        }
        if self.state == State::CompletingRebalance {
            self.reset_assignments(cx, ErrorCode::RebalanceInProgress);
        }
        self.stop_pending_sync(cx);
        let from_empty = self.state == State::Empty;
        self.become_state(State::PreparingRebalance, cx.now.wall);
        let timeout = self.rebalance_timeout_ms();
        let delay = cx.config.initial_rebalance_delay_ms;
        if from_empty && delay > 0 {
            self.initial = Some(InitialDelay { remaining_ms: timeout.saturating_sub(delay), member_added: false });
            self.arm_rebalance(cx, delay);
        } else if from_empty {
            // Ids that were given out and not used hold a first join back no more than the delay does.
            self.complete_join(cx);
        } else {
            self.arm_rebalance(cx, timeout);
            self.maybe_complete_join(cx);
        }
    }

    /// At least 1 ms ahead, so that a group that cannot complete yet does not spin.
    fn arm_rebalance(&mut self, cx: &mut Context<'_>, millis: u64) {
        let at = cx.now.mono.after(millis.max(1));
        cx.out.arm(&mut self.rebalance_timer, at, &self.id, TimerKind::Rebalance);
    }

    /// Ends the preparation as soon as everyone is here; a first rebalance waits its delay out.
    pub(super) fn maybe_complete_join(&mut self, cx: &mut Context<'_>) {
        if self.state == State::PreparingRebalance && self.initial.is_none() && self.all_joined() {
            self.complete_join(cx);
        }
    }

    pub(super) fn on_rebalance_timer(&mut self, cx: &mut Context<'_>) {
        self.rebalance_timer = None;
        let step = cx.config.initial_rebalance_delay_ms;
        match &mut self.initial {
            Some(initial) if initial.member_added && initial.remaining_ms > 0 && step > 0 => {
                initial.member_added = false;
                let delay = step.min(initial.remaining_ms);
                initial.remaining_ms -= delay;
                self.arm_rebalance(cx, delay);
            }
            _ => self.complete_join(cx),
        }
    }

    fn complete_join(&mut self, cx: &mut Context<'_>) {
        self.initial = None;
        let absent: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|m| m.awaiting_join.is_none() && m.instance.is_none())
            .map(|member| member.id.clone())
            .collect();
        for id in absent {
            self.take_member(cx.out, &id);
        }
        if !self.elect_joined_leader() {
            // Only static members, none of which came back: wait until their sessions end or one does.
            let timeout = self.rebalance_timeout_ms();
            return self.arm_rebalance(cx, timeout);
        }
        cx.out.disarm(&mut self.rebalance_timer, &self.id, TimerKind::Rebalance);
        let kept = planted(Bug::GenerationKept) && self.members.values().all(|member| !member.is_new);
        self.generation = self.generation.checked_add(i32::from(!kept)).unwrap_or(1);
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.become_empty(cx);
        } else {
            self.answer_joins(cx);
        }
    }

    /// True where the leader has joined, or another that has now leads, or there is nobody.
    fn elect_joined_leader(&mut self) -> bool {
        if self.members.is_empty() || self.leader.as_deref().is_some_and(|id| self.is_awaiting_join(id)) {
            return true;
        }
        let joined = self.members.values().find(|member| member.awaiting_join.is_some()).map(|m| m.id.clone());
        if joined.is_some() {
            self.leader = joined.clone();
        }
        joined.is_some()
    }

    fn become_empty(&mut self, cx: &mut Context<'_>) {
        self.protocol = None;
        self.leader = None;
        self.become_state(State::Empty, cx.now.wall);
        let value = encode_group(&self.to_value(|_| Bytes::new()));
        let effects = vec![Effect::PutGroup { group: self.id.clone(), value }];
        cx.out.append(effects, cx.config.append_max_bytes, Then::Nothing);
    }

    fn answer_joins(&mut self, cx: &mut Context<'_>) {
        self.protocol = self.select_protocol();
        self.become_state(State::CompletingRebalance, cx.now.wall);
        self.pending_sync = self.members.keys().cloned().collect();
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.arm_session(cx, &id);
            if let Some(ticket) = self.take_join(&id) {
                let response = self.join_response(&id, self.leader.as_ref() == Some(&id), false);
                cx.out.reply(ticket, response);
            }
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
        }
        let at = cx.now.mono.after(self.rebalance_timeout_ms().max(1));
        cx.out.arm(&mut self.pending_sync_timer, at, &self.id, TimerKind::PendingSync);
    }
}
