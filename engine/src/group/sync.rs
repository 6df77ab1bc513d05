//! From the answers of JoinGroup to a stable group and out of it: SyncGroup, heartbeats, leaving, and the timers.

use super::api::{
    HeartbeatRequest, LeaveRequest, LeaveResponse, MemberIdentity, Response, SyncRequest, SyncResponse, Ticket,
};
use super::outbox::{Context, Effect, Then, TimerKind};
use super::records::encode_group;
use super::state::{Group, State, pending_weight};
use crate::error::ErrorCode;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Group {
    pub(super) fn sync(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &SyncRequest) {
        if let Err(error) = self.check_sync(request) {
            return cx.out.refuse_sync(ticket, error);
        }
        let id = &*request.member_id;
        match self.state {
            State::Empty | State::Dead => cx.out.refuse_sync(ticket, ErrorCode::UnknownMemberId),
            State::PreparingRebalance => cx.out.refuse_sync(ticket, ErrorCode::RebalanceInProgress),
            State::CompletingRebalance => self.park_sync(cx, ticket, request),
            State::Stable => {
                self.synced(cx, id);
                self.arm_session(cx, id);
                let response = self.sync_response(self.members[id].assignment.clone());
                cx.out.reply(ticket, response);
            }
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), ErrorCode> {
        if self.state == State::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.validate(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |given: &Option<String>, own: &Option<String>| given.is_some() && given != own;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn sync_response(&self, assignment: Bytes) -> Response {
        Response::Sync(SyncResponse {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment,
        })
    }

    fn park_sync(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &SyncRequest) {
        let id = &*request.member_id;
        let leads = self.leader.as_deref() == Some(id) && self.storing != Some(self.generation);
        let given: usize = request.assignments.iter().map(|(id, bytes)| id.len() + bytes.len()).sum();
        if leads && given > cx.config.max_assignment_bytes {
            return cx.out.refuse_sync(ticket, ErrorCode::InvalidRequest);
        }
        if leads && cx.out.bytes.saturating_add(given) > cx.config.max_bytes {
            return cx.out.refuse_sync(ticket, ErrorCode::CoordinatorNotAvailable);
        }
        self.synced(cx, id);
        let member = self.members.get_mut(id).expect("validated above");
        let displaced = member.awaiting_sync.replace(ticket);
        cx.out.disarm(&mut member.timer, &self.id, TimerKind::Session(member.id.clone()));
        if let Some(displaced) = displaced {
            cx.out.refuse_sync(displaced, ErrorCode::RebalanceInProgress);
        }
        if leads {
            self.store_assignments(cx, request);
        }
    }

    /// The leader has spoken: everyone is answered once it is durable. Members it forgot get nothing.
    fn store_assignments(&mut self, cx: &mut Context<'_>, request: &SyncRequest) {
        let mut assignments: BTreeMap<Arc<str>, Bytes> = BTreeMap::new();
        for (member_id, bytes) in &request.assignments {
            if let Some(member) = self.members.get(&**member_id) {
                assignments.insert(member.id.clone(), Bytes::copy_from_slice(bytes));
            }
        }
        let value = encode_group(&self.to_value(|member| assignments.get(&member.id).cloned().unwrap_or_default()));
        self.storing = Some(self.generation);
        let effects = vec![Effect::PutGroup { group: self.id.clone(), value }];
        let then = Then::Assign { group: self.id.clone(), generation: self.generation, assignments };
        cx.out.append(effects, cx.config.append_max_bytes, then);
    }

    /// The leader's assignment is durable, or is not.
    pub(super) fn on_assigned(
        &mut self,
        cx: &mut Context<'_>,
        generation: i32,
        mut assignments: BTreeMap<Arc<str>, Bytes>,
        result: Result<(), ErrorCode>,
    ) {
        if self.storing == Some(generation) {
            self.storing = None;
        }
        if self.state != State::CompletingRebalance || self.generation != generation {
            return;
        }
        if let Err(error) = result {
            self.reset_assignments(cx, error);
            return self.prepare_rebalance(cx);
        }
        self.become_state(State::Stable, cx.now.wall);
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let assignment = assignments.remove(&id).unwrap_or_default();
            self.set_assignment(cx.out, &id, assignment.clone());
            if let Some(ticket) = self.members.get_mut(&id).and_then(|member| member.awaiting_sync.take()) {
                self.arm_session(cx, &id);
                let response = self.sync_response(assignment);
                cx.out.reply(ticket, response);
            }
        }
    }

    /// No assignment after all: whoever waits for one is told why.
    pub(super) fn reset_assignments(&mut self, cx: &mut Context<'_>, error: ErrorCode) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.set_assignment(cx.out, &id, Bytes::new());
            if let Some(ticket) = self.members.get_mut(&id).and_then(|member| member.awaiting_sync.take()) {
                self.arm_session(cx, &id);
                cx.out.refuse_sync(ticket, error);
            }
        }
    }

    fn synced(&mut self, cx: &mut Context<'_>, id: &str) {
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            self.stop_pending_sync(cx);
        }
    }

    pub(super) fn stop_pending_sync(&mut self, cx: &mut Context<'_>) {
        cx.out.disarm(&mut self.pending_sync_timer, &self.id, TimerKind::PendingSync);
    }

    /// Restarts a member's session.
    pub(super) fn arm_session(&mut self, cx: &mut Context<'_>, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            let at = cx.now.mono.after(member.session_timeout_ms.max(1) as u64);
            cx.out.arm(&mut member.timer, at, &self.id, TimerKind::Session(member.id.clone()));
        }
    }

    pub(super) fn heartbeat(&mut self, cx: &mut Context<'_>, request: &HeartbeatRequest) -> ErrorCode {
        if self.state == State::Dead {
            return ErrorCode::CoordinatorNotAvailable;
        }
        if let Err(error) = self.validate(&request.member_id, request.group_instance_id.as_deref()) {
            return error;
        }
        if request.generation_id != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        self.prove_alive(cx, &request.member_id);
        match self.state {
            State::PreparingRebalance => ErrorCode::RebalanceInProgress,
            _ => ErrorCode::None,
        }
    }

    /// A request came from a member: its session starts again, unless a parked request holds it open anyway.
    pub(super) fn prove_alive(&mut self, cx: &mut Context<'_>, id: &str) {
        let parked = |m: &super::state::Member| m.awaiting_join.is_some() || m.awaiting_sync.is_some();
        if self.members.get(id).is_some_and(|member| !parked(member)) {
            self.arm_session(cx, id);
        }
    }

    pub(super) fn leave(&mut self, cx: &mut Context<'_>, request: LeaveRequest) -> LeaveResponse {
        if self.state == State::Dead {
            return LeaveResponse { error: ErrorCode::CoordinatorNotAvailable, members: Vec::new() };
        }
        let before = self.members.len();
        let mut members = Vec::new();
        for identity in request.members {
            let error = self.leave_one(cx, &identity);
            members.push((identity, error));
        }
        if self.members.len() < before {
            self.after_removal(cx);
        } else {
            // An unused id was given back: it is waited for no longer.
            self.maybe_complete_join(cx);
        }
        LeaveResponse { error: ErrorCode::None, members }
    }

    fn leave_one(&mut self, cx: &mut Context<'_>, identity: &MemberIdentity) -> ErrorCode {
        let instance = identity.group_instance_id.as_deref();
        if identity.member_id.is_empty() {
            let Some(id) = instance.and_then(|instance| self.static_members.get(instance)).cloned() else {
                return ErrorCode::UnknownMemberId;
            };
            self.dismiss(cx, &id);
            return ErrorCode::None;
        }
        if instance.is_none() && self.pending_members.contains_key(&*identity.member_id) {
            self.drop_pending(cx, &identity.member_id);
            return ErrorCode::None;
        }
        match self.validate(&identity.member_id, instance) {
            Ok(()) => {
                self.dismiss(cx, &identity.member_id);
                ErrorCode::None
            }
            Err(error) => error,
        }
    }

    /// Takes a member out and tells what it has parked. The caller follows with `after_removal` or the like.
    pub(super) fn dismiss(&mut self, cx: &mut Context<'_>, id: &str) {
        let Some(member) = self.take_member(cx.out, id) else { return };
        if let Some(ticket) = member.awaiting_join {
            cx.out.refuse_join(ticket, ErrorCode::UnknownMemberId, "");
        }
        if let Some(ticket) = member.awaiting_sync {
            cx.out.refuse_sync(ticket, ErrorCode::UnknownMemberId);
        }
    }

    pub(super) fn drop_pending(&mut self, cx: &mut Context<'_>, id: &str) {
        if let Some((id, mut timer)) = self.pending_members.remove_entry(id) {
            cx.out.bytes -= pending_weight(&id);
            cx.out.disarm(&mut timer, &self.id, TimerKind::PendingMember(id));
        }
    }

    /// Members have gone: those who stay rebalance, or need wait no longer.
    fn after_removal(&mut self, cx: &mut Context<'_>) {
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(cx),
            State::PreparingRebalance => self.maybe_complete_join(cx),
            State::Empty | State::Dead => {}
        }
    }

    pub(super) fn on_timer(&mut self, cx: &mut Context<'_>, kind: TimerKind) {
        match kind {
            TimerKind::Rebalance => self.on_rebalance_timer(cx),
            TimerKind::PendingSync => {
                self.pending_sync_timer = None;
                for id in std::mem::take(&mut self.pending_sync) {
                    self.dismiss(cx, &id);
                }
                self.after_removal(cx);
            }
            TimerKind::PendingMember(id) => {
                if let Some(timer) = self.pending_members.get_mut(&id) {
                    *timer = None;
                }
                self.drop_pending(cx, &id);
                self.maybe_complete_join(cx);
            }
            TimerKind::Session(id) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.timer = None;
                    self.dismiss(cx, &id);
                    self.after_removal(cx);
                }
            }
        }
    }
}
