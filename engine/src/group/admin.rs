//! What administrators ask of groups: list, describe, delete.

use super::Coordinator;
use super::api::{
    DeleteGroupsRequest, DescribeGroupsRequest, DescribedGroup, DescribedMember, ListGroupsRequest, ListGroupsResponse,
    ListedGroup, Response, Ticket,
};
use super::config::GroupConfig;
use super::outbox::{Context, Effect, Then};
use super::state::{Group, State};
use crate::error::ErrorCode;
use crate::types::Now;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The type of every group here (KIP-848's word for it).
const CLASSIC: &str = "classic";

impl Group {
    fn describe(&self) -> DescribedGroup {
        let stable = self.state == State::Stable;
        let protocol = self.protocol.clone().filter(|_| stable).unwrap_or_default();
        let members = self.members.values().map(|member| DescribedMember {
            member_id: member.id.to_string(),
            group_instance_id: member.instance.as_ref().map(|id| id.to_string()),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(&protocol),
            assignment: if stable { member.assignment.clone() } else { Bytes::new() },
        });
        DescribedGroup {
            group_id: self.id.to_string(),
            error: ErrorCode::None,
            found: true,
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: members.collect(),
            protocol,
        }
    }
}

impl Coordinator {
    pub(super) fn on_list(&mut self, ticket: Ticket, request: &ListGroupsRequest) {
        let passes = |filter: &[String], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let alive = self.groups.values().filter(|group| group.state != State::Dead);
        let listed =
            alive.filter(|group| passes(&request.states, group.state.name()) && passes(&request.types, CLASSIC));
        let groups = listed.map(|group| ListedGroup {
            group_id: group.id.to_string(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            state: group.state.name(),
            group_type: CLASSIC,
        });
        let response = ListGroupsResponse { error: ErrorCode::None, groups: groups.collect() };
        self.out.reply(ticket, Response::ListGroups(response));
    }

    /// A group asked for twice is answered once: an answer may be much larger than its question.
    pub(super) fn on_describe(&mut self, ticket: Ticket, request: &DescribeGroupsRequest) {
        let mut asked = BTreeSet::new();
        let distinct = request.groups.iter().filter(|id| asked.insert(id.as_str()));
        let described = distinct.map(|id| match self.groups.get(id.as_str()) {
            Some(group) if group.state != State::Dead => group.describe(),
            _ => DescribedGroup::absent(id, ErrorCode::None),
        });
        let described = described.collect();
        self.out.reply(ticket, Response::DescribeGroups(described));
    }

    /// Only Empty groups go. They are Dead until that is written: who wants to join meanwhile is told to try again.
    pub(super) fn on_delete(&mut self, now: Now, config: &GroupConfig, ticket: Ticket, request: DeleteGroupsRequest) {
        let (mut results, mut deleted, mut effects) = (Vec::new(), BTreeSet::new(), Vec::new());
        let distinct: BTreeSet<String> = request.groups.into_iter().collect();
        for name in distinct {
            let (error, id) = match self.groups.get(&*name) {
                None => (ErrorCode::GroupIdNotFound, None),
                Some(group) if group.state == State::Dead => (ErrorCode::GroupIdNotFound, None),
                Some(group) if group.state != State::Empty => (ErrorCode::NonEmptyGroup, None),
                Some(group) => (ErrorCode::None, Some(group.id.clone())),
            };
            results.push((name, error));
            if let Some(id) = id {
                effects.extend(self.bury(now, config, &id));
                deleted.insert(id);
            }
        }
        if effects.is_empty() {
            for id in deleted {
                self.remove_group(&id);
            }
            return self.out.reply(ticket, Response::DeleteGroups(results));
        }
        self.out.append(effects, config.append_max_bytes, Then::DeleteGroups { ticket, results, deleted });
    }

    /// Makes an Empty group Dead; the tombstones that remove it, its own last.
    fn bury(&mut self, now: Now, config: &GroupConfig, id: &Arc<str>) -> Vec<Effect> {
        let offsets = self.offsets_of(&self.groups[id]);
        let mut effects: Vec<Effect> =
            offsets.into_iter().map(|at| Effect::RemoveOffset { group: id.clone(), at }).collect();
        let coming = self.out.effects_in_flight().any(|e| matches!(e, Effect::PutGroup { group, .. } if group == id));
        let group = self.groups.get_mut(id).expect("looked up above");
        if group.durable.is_some() || coming {
            effects.push(Effect::RemoveGroup { group: id.clone() });
        }
        let mut cx = Context { now, config, out: &mut self.out };
        let pending: Vec<Arc<str>> = group.pending_members.keys().cloned().collect();
        for member in pending {
            group.drop_pending(&mut cx, &member);
        }
        group.state = State::Dead;
        effects
    }
}
