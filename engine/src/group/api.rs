//! What goes into and comes out of a group coordinator: plain structs, one per request and response.
//!
//! Independent of wire versions, but carrying what versions change. Not the codec: `net` maps frames to and from these.
//! Byte fields of requests are copied when kept, so they may be slices of a receive buffer.

use crate::error::ErrorCode;
use crate::types::TopicId;
use bytes::Bytes;

/// The caller's address for the answer; opaque here. Every ticket given to `on_request` is answered exactly once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u64);

/// Names one append; given out in increasing order by one coordinator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AppendId(pub u64);

/// A record of `__consumer_offsets`: key and value, None being a tombstone.
pub type KeyValue = (Vec<u8>, Option<Vec<u8>>);

/// What the coordinator wants done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Append these records as one batch to the partition, after every earlier `Append`; answer with `on_appended`.
    Append {
        id: AppendId,
        records: Vec<KeyValue>,
    },
    Reply {
        ticket: Ticket,
        response: Response,
    },
    /// The snapshot asked for by `begin_snapshot` is durable (or failed and is dropped): see `Coordinator::begin_snapshot`.
    SnapshotDone {
        result: Result<(), ErrorCode>,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Join(JoinRequest),
    Sync(SyncRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveRequest),
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch(OffsetFetchRequest),
    ListGroups(ListGroupsRequest),
    DescribeGroups(DescribeGroupsRequest),
    DeleteGroups(DeleteGroupsRequest),
    OffsetDelete(OffsetDeleteRequest),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    Join(JoinResponse),
    Sync(SyncResponse),
    Heartbeat(ErrorCode),
    Leave(LeaveResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    ListGroups(ListGroupsResponse),
    DescribeGroups(Vec<DescribedGroup>),
    DeleteGroups(Vec<(String, ErrorCode)>),
    OffsetDelete(OffsetDeleteResponse),
}

/// One protocol (assignor) a member supports, with its metadata: bytes that only clients understand, kept untouched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

/// JoinGroup (key 11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinRequest {
    pub group_id: String,
    /// Empty where the client has none yet.
    pub member_id: String,
    /// v5+ (KIP-345).
    pub group_instance_id: Option<String>,
    pub client_id: String,
    /// As Kafka prints it: "/127.0.0.1".
    pub client_host: String,
    pub session_timeout_ms: i32,
    /// v1+; for v0 the session timeout.
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    pub protocols: Vec<Protocol>,
    /// v4+ without an instance id is decided here: true for v4+ (KIP-394).
    pub known_member_id_required: bool,
    /// True for v9+ (KIP-814).
    pub skip_assignment_supported: bool,
    /// Randomness for a new member id.
    pub random: [u8; 16],
}

/// On an error: generation -1, no protocol, empty leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinResponse {
    pub error: ErrorCode,
    pub generation_id: i32,
    /// v7+.
    pub protocol_type: Option<String>,
    /// None is sent as "" before v7.
    pub protocol_name: Option<String>,
    pub leader: String,
    /// v9+.
    pub skip_assignment: bool,
    pub member_id: String,
    /// Everyone, for the leader; empty for the others.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinedMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub metadata: Bytes,
}

impl JoinResponse {
    pub(super) fn refused(error: ErrorCode, member_id: &str) -> Response {
        Response::Join(JoinResponse {
            error,
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_string(),
            members: Vec::new(),
        })
    }
}

/// SyncGroup (key 14).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncRequest {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    /// v3+.
    pub group_instance_id: Option<String>,
    /// v5+; checked where given.
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    /// From the leader: member id and its assignment.
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncResponse {
    pub error: ErrorCode,
    /// v5+.
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignment: Bytes,
}

impl SyncResponse {
    pub(super) fn refused(error: ErrorCode) -> Response {
        Response::Sync(SyncResponse { error, protocol_type: None, protocol_name: None, assignment: Bytes::new() })
    }
}

/// Heartbeat (key 12).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeartbeatRequest {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    /// v3+.
    pub group_instance_id: Option<String>,
}

/// Names a member in LeaveGroup; `member_id` is empty where an administrator names the instance only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberIdentity {
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

/// LeaveGroup (key 13). Before v3 one member, whose error the caller sends as the top-level one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaveRequest {
    pub group_id: String,
    pub members: Vec<MemberIdentity>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaveResponse {
    pub error: ErrorCode,
    pub members: Vec<(MemberIdentity, ErrorCode)>,
}

/// OffsetCommit (key 8). Topics must exist and be authorised: the caller answers the others itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetCommitRequest {
    pub group_id: String,
    /// -1 from consumers that manage their own partitions, and from tools.
    pub generation_id: i32,
    pub member_id: String,
    /// v7+.
    pub group_instance_id: Option<String>,
    /// v2 to v4, where given: the offsets expire this long after the commit. Milliseconds; None or -1 is the default.
    pub retention_ms: Option<i64>,
    /// True for v9+: an unknown group with a generation is GROUP_ID_NOT_FOUND, before ILLEGAL_GENERATION.
    pub group_id_not_found_known: bool,
    pub topics: Vec<CommitTopic>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitTopic {
    pub name: String,
    /// The topic's id where the caller knows it, else ZERO: an offset is kept with it and dies with that topic.
    pub topic_id: TopicId,
    pub partitions: Vec<CommitPartition>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitPartition {
    pub partition: i32,
    pub offset: i64,
    /// v6+, else -1.
    pub leader_epoch: i32,
    pub metadata: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetCommitResponse {
    pub topics: Vec<TopicErrors>,
}

/// Per-partition outcomes of one topic, in the order of the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicErrors {
    pub name: String,
    pub topic_id: TopicId,
    pub partitions: Vec<(i32, ErrorCode)>,
}

/// OffsetFetch (key 9), one group of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetFetchRequest {
    pub group_id: String,
    /// None is every committed offset (v2+).
    pub topics: Option<Vec<FetchTopic>>,
    /// v7+. Nothing transactional is pending here, so every offset is stable.
    pub require_stable: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchTopic {
    pub name: String,
    /// ZERO where not known; an offset committed under another id is not that topic's.
    pub topic_id: TopicId,
    pub partitions: Vec<i32>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetFetchResponse {
    /// The group's error (top level from v2 to v7; before, the caller puts it on every partition).
    pub error: ErrorCode,
    pub topics: Vec<FetchedTopic>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedTopic {
    pub name: String,
    pub topic_id: TopicId,
    pub partitions: Vec<FetchedOffset>,
}

/// No committed offset is -1, leader epoch -1 and empty metadata, without an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedOffset {
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
    pub error: ErrorCode,
}

/// ListGroups (key 16). Filters are compared without case; an empty one lets everything pass.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListGroupsRequest {
    /// v4+ (KIP-518).
    pub states: Vec<String>,
    /// v5+ (KIP-848). Every group here is "classic".
    pub types: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListGroupsResponse {
    pub error: ErrorCode,
    pub groups: Vec<ListedGroup>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedGroup {
    pub group_id: String,
    pub protocol_type: String,
    pub state: &'static str,
    pub group_type: &'static str,
}

/// DescribeGroups (key 15).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribeGroupsRequest {
    pub groups: Vec<String>,
}

/// An absent group has `found` false, state "Dead" and no error: before v6 that is the answer, from v6 on the caller
/// answers GROUP_ID_NOT_FOUND instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedGroup {
    pub group_id: String,
    pub error: ErrorCode,
    pub found: bool,
    pub state: &'static str,
    pub protocol_type: String,
    /// The chosen protocol while Stable, else "".
    pub protocol: String,
    pub members: Vec<DescribedMember>,
}

/// Metadata and assignment are empty unless the group is Stable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// DeleteGroups (key 42).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteGroupsRequest {
    pub groups: Vec<String>,
}

/// OffsetDelete (key 47). Topics must exist: the caller answers the others itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetDeleteRequest {
    pub group_id: String,
    pub topics: Vec<(String, Vec<i32>)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetDeleteResponse {
    pub error: ErrorCode,
    /// Empty where `error` is set.
    pub topics: Vec<(String, Vec<(i32, ErrorCode)>)>,
}

impl OffsetDeleteResponse {
    pub(super) fn refused(error: ErrorCode) -> Response {
        Response::OffsetDelete(OffsetDeleteResponse { error, topics: Vec::new() })
    }
}

impl Request {
    /// The answer that refuses the whole request with one code.
    pub(super) fn refuse(&self, error: ErrorCode) -> Response {
        match self {
            Request::Join(request) => JoinResponse::refused(error, &request.member_id),
            Request::Sync(_) => SyncResponse::refused(error),
            Request::Heartbeat(_) => Response::Heartbeat(error),
            Request::Leave(_) => Response::Leave(LeaveResponse { error, members: Vec::new() }),
            Request::OffsetCommit(request) => Response::OffsetCommit(request.all(error)),
            Request::OffsetFetch(_) => Response::OffsetFetch(OffsetFetchResponse { error, topics: Vec::new() }),
            Request::ListGroups(_) => Response::ListGroups(ListGroupsResponse { error, groups: Vec::new() }),
            Request::DescribeGroups(request) => {
                Response::DescribeGroups(request.groups.iter().map(|id| DescribedGroup::absent(id, error)).collect())
            }
            Request::DeleteGroups(request) => {
                Response::DeleteGroups(request.groups.iter().map(|id| (id.clone(), error)).collect())
            }
            Request::OffsetDelete(_) => OffsetDeleteResponse::refused(error),
        }
    }
}

impl OffsetCommitRequest {
    pub(super) fn all(&self, error: ErrorCode) -> OffsetCommitResponse {
        let topics = self.topics.iter().map(|topic| TopicErrors {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(|p| (p.partition, error)).collect(),
        });
        OffsetCommitResponse { topics: topics.collect() }
    }
}

impl DescribedGroup {
    pub(super) fn absent(group_id: &str, error: ErrorCode) -> DescribedGroup {
        DescribedGroup {
            group_id: group_id.to_string(),
            error,
            found: false,
            state: "Dead",
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}
