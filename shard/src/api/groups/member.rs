//! The life of a member: JoinGroup, SyncGroup, Heartbeat, LeaveGroup. Translation only.

use super::{Ask, Home, Kept, nullable_string, nullable_text, said, text};
use crate::api::{Answer, Context};
use ringlog_engine::ErrorCode;
use ringlog_engine::group::{self, Request};
use ringlog_net::cold::StrBytes;
use ringlog_net::cold::messages::join_group_response::JoinGroupResponseMember;
use ringlog_net::cold::messages::leave_group_response::MemberResponse;
use ringlog_net::cold::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use std::net::IpAddr;

/// From this version on, a new member without an instance id is given an id first (KIP-394).
const KNOWN_MEMBER_ID: i16 = 4;
/// From this version on, the protocol type is told, and the protocol's name may be null (KIP-559).
const PROTOCOL_TYPE_TOLD: i16 = 7;
/// From this version on, a leader may be told to assign nothing (KIP-814).
const SKIP_ASSIGNMENT: i16 = 9;
/// From this version on, SyncGroup has to name the protocol it is about (KIP-559).
const PROTOCOL_NAMED: i16 = 5;

/// As Java prints an address without a host name: IPv6 in eight groups, none left out.
pub(super) fn client_host(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}"),
        IpAddr::V6(ip) => {
            let groups = ip.segments().map(|group| format!("{group:x}"));
            format!("/{}", groups.join(":"))
        }
    }
}

pub(super) fn join(context: &Context<'_>, home: &Home, request: JoinGroupRequest, version: i16) -> (Ask, Kept) {
    let protocols = request.protocols.into_iter();
    let member_id = request.member_id.to_string();
    let asked = group::JoinRequest {
        group_id: request.group_id.to_string(),
        member_id: member_id.clone(),
        group_instance_id: nullable_string(request.group_instance_id),
        client_id: context.client_id.to_string(),
        client_host: client_host(context.peer.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms },
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.map(|p| group::Protocol { name: p.name.to_string(), metadata: p.metadata }).collect(),
        known_member_id_required: version >= KNOWN_MEMBER_ID,
        skip_assignment_supported: version >= SKIP_ASSIGNMENT,
        random: context.random,
    };
    (home.ask_named(&request.group_id, Request::Join(asked)), Kept::JoinGroup { member_id })
}

pub(super) fn joined(answer: Answer, member_id: String, version: i16) -> JoinGroupResponse {
    let no_name = (version < PROTOCOL_TYPE_TOLD).then(StrBytes::default);
    let said = match said!(answer, Join) {
        Ok(said) => said,
        Err(error) => {
            return JoinGroupResponse::default()
                .with_error_code(error.code())
                .with_protocol_name(no_name)
                .with_member_id(text(member_id));
        }
    };
    let members = said.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(nullable_text(member.group_instance_id))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_error_code(said.error.code())
        .with_generation_id(said.generation_id)
        .with_protocol_type(nullable_text(said.protocol_type))
        .with_protocol_name(nullable_text(said.protocol_name).or(no_name))
        .with_leader(text(said.leader))
        .with_skip_assignment(said.skip_assignment)
        .with_member_id(text(said.member_id))
        .with_members(members.collect())
}

pub(super) fn sync(home: &Home, request: SyncGroupRequest, version: i16) -> (Ask, Kept) {
    if version >= PROTOCOL_NAMED && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return (Ask::refused(ErrorCode::InconsistentGroupProtocol), Kept::SyncGroup);
    }
    let assignments = request.assignments.into_iter();
    let asked = group::SyncRequest {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id,
        member_id: request.member_id.to_string(),
        group_instance_id: nullable_string(request.group_instance_id),
        protocol_type: nullable_string(request.protocol_type),
        protocol_name: nullable_string(request.protocol_name),
        assignments: assignments.map(|given| (given.member_id.to_string(), given.assignment)).collect(),
    };
    (home.ask_named(&request.group_id, Request::Sync(asked)), Kept::SyncGroup)
}

pub(super) fn synced(answer: Answer) -> SyncGroupResponse {
    match said!(answer, Sync) {
        Ok(said) => SyncGroupResponse::default()
            .with_error_code(said.error.code())
            .with_protocol_type(nullable_text(said.protocol_type))
            .with_protocol_name(nullable_text(said.protocol_name))
            .with_assignment(said.assignment),
        Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
    }
}

pub(super) fn heartbeat(home: &Home, request: HeartbeatRequest) -> (Ask, Kept) {
    let asked = group::HeartbeatRequest {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id,
        member_id: request.member_id.to_string(),
        group_instance_id: nullable_string(request.group_instance_id),
    };
    (home.ask_named(&request.group_id, Request::Heartbeat(asked)), Kept::Heartbeat)
}

pub(super) fn heard(answer: Answer) -> HeartbeatResponse {
    let error = said!(answer, Heartbeat).unwrap_or_else(|error| error);
    HeartbeatResponse::default().with_error_code(error.code())
}

pub(super) fn leave(home: &Home, request: LeaveGroupRequest) -> (Ask, Kept) {
    let members = request.members.into_iter().map(|member| group::MemberIdentity {
        member_id: member.member_id.to_string(),
        group_instance_id: nullable_string(member.group_instance_id),
    });
    let asked = group::LeaveRequest { group_id: request.group_id.to_string(), members: members.collect() };
    (home.ask_named(&request.group_id, Request::Leave(asked)), Kept::LeaveGroup)
}

pub(super) fn left(answer: Answer) -> LeaveGroupResponse {
    let said = match said!(answer, Leave) {
        Ok(said) => said,
        Err(error) => return LeaveGroupResponse::default().with_error_code(error.code()),
    };
    let members = said.members.into_iter().map(|(member, error)| {
        MemberResponse::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(nullable_text(member.group_instance_id))
            .with_error_code(error.code())
    });
    LeaveGroupResponse::default().with_error_code(said.error.code()).with_members(members.collect())
}
