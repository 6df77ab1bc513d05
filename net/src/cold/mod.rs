//! The cold requests and their answers, through `kafka-protocol`. The only folder that names that crate; not for Produce and
//! Fetch, which have views of their own. Cold code may allocate.
//!
//! A request is walked by [`crate::guard`] first, always. Versions the crate lacks are in `old`, as byte layouts.
//! What a handler sees and fills in is one structure for all versions, the newest: fields that a version lacks are left out for
//! it, and where the shape itself changed, `shape` turns the old into the new and back. Beware of the crate's
//! defaults: many a nullable string of an answer (error messages above all) is `Some("")` until it is set to None.

mod api_versions;
mod client;
mod errors;
mod old;
mod shape;

pub use api_versions::{api_versions, api_versions_error, api_versions_fallback};
pub use bytes::Bytes;
pub use client::{Undecodable, decode_response, encode_request, negotiate};
pub use errors::Errors;
pub use kafka_protocol::messages;
/// A request with its answer, as tools send them: see [`encode_request`].
pub use kafka_protocol::protocol::Request as Call;
pub use kafka_protocol::protocol::StrBytes;

use kafka_protocol::protocol::{Decodable, Encodable};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::TopicId;

use crate::api::{Api, ApiKey};
use crate::frame;
use crate::guard;
use crate::refusal::Refusal;

/// The answer of a cold API, in every version that is served.
pub trait Answer: Errors + Sized {
    const KEY: ApiKey;

    /// Appends the body. What the version cannot carry is left out.
    fn write(self, out: &mut Vec<u8>, version: i16) -> Result<(), String>;
}

/// An answer that its version cannot carry: a bug of the handler that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unencodable {
    pub api: &'static str,
    pub version: i16,
    pub why: String,
}

impl std::fmt::Display for Unencodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} version {} cannot be written: {}", self.api, self.version, self.why)
    }
}

impl std::error::Error for Unencodable {}

macro_rules! requests {
    ($($name:ident: $request:ident;)*) => {
        /// A cold request, decoded.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request { $($name(messages::$request),)* }

        impl Request {
            pub fn key(&self) -> ApiKey {
                match self { $(Request::$name(_) => ApiKey::$name,)* }
            }
        }

        fn decode_as(key: ApiKey, version: i16, body: &mut Bytes) -> Option<Request> {
            match key {
                ApiKey::Produce | ApiKey::Fetch => None,
                $(ApiKey::$name => messages::$request::decode(body, version).ok().map(Request::$name),)*
            }
        }

        $(impl From<messages::$request> for Request {
            fn from(request: messages::$request) -> Request {
                Request::$name(request)
            }
        })*
    };
}

requests! {
    ListOffsets: ListOffsetsRequest;
    Metadata: MetadataRequest;
    OffsetCommit: OffsetCommitRequest;
    OffsetFetch: OffsetFetchRequest;
    FindCoordinator: FindCoordinatorRequest;
    JoinGroup: JoinGroupRequest;
    Heartbeat: HeartbeatRequest;
    LeaveGroup: LeaveGroupRequest;
    SyncGroup: SyncGroupRequest;
    DescribeGroups: DescribeGroupsRequest;
    ListGroups: ListGroupsRequest;
    ApiVersions: ApiVersionsRequest;
    CreateTopics: CreateTopicsRequest;
    DeleteTopics: DeleteTopicsRequest;
    DeleteRecords: DeleteRecordsRequest;
    InitProducerId: InitProducerIdRequest;
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest;
    DescribeConfigs: DescribeConfigsRequest;
    AlterConfigs: AlterConfigsRequest;
    DescribeLogDirs: DescribeLogDirsRequest;
    CreatePartitions: CreatePartitionsRequest;
    DeleteGroups: DeleteGroupsRequest;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest;
    OffsetDelete: OffsetDeleteRequest;
    DescribeCluster: DescribeClusterRequest;
    DescribeProducers: DescribeProducersRequest;
    ListConfigResources: ListConfigResourcesRequest;
    DescribeTopicPartitions: DescribeTopicPartitionsRequest;
}

macro_rules! answers {
    ($($name:ident: $response:ident;)*) => {
        $(impl Answer for messages::$response {
            const KEY: ApiKey = ApiKey::$name;

            fn write(self, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
                write_as(&self, out, version)
            }
        })*
    };
}

// Answers that the crate writes in every served version; the others are in `old` and `shape`.
answers! {
    Heartbeat: HeartbeatResponse;
    SyncGroup: SyncGroupResponse;
    ListGroups: ListGroupsResponse;
    ApiVersions: ApiVersionsResponse;
    DeleteRecords: DeleteRecordsResponse;
    InitProducerId: InitProducerIdResponse;
    AlterConfigs: AlterConfigsResponse;
    CreatePartitions: CreatePartitionsResponse;
    DeleteGroups: DeleteGroupsResponse;
    IncrementalAlterConfigs: IncrementalAlterConfigsResponse;
    OffsetDelete: OffsetDeleteResponse;
    DescribeProducers: DescribeProducersResponse;
    ListConfigResources: ListConfigResourcesResponse;
    DescribeTopicPartitions: DescribeTopicPartitionsResponse;
}

fn write_as(answer: &impl Encodable, out: &mut Vec<u8>, version: i16) -> Result<(), String> {
    answer.encode(out, version).map_err(|e| e.to_string())
}

/// Walks and decodes the body of a cold request. The caller took the header off.
/// Strings and bytes of the request share one copy of its body: copy what outlives the request.
pub fn decode(api: &Api, version: i16, body: Rope<'_>) -> Result<Request, Refusal> {
    let mut body = guard::admit(api, version, body)?.body;
    let undecodable = Refusal::Undecodable { key: api.key as i16, version };
    if let Some(request) = old::decode(api.key, version, &body)? {
        return Ok(shape::newest(version, request));
    }
    let version_as = old::as_another_version(api.key, version, &mut body);
    let mut body = Bytes::from(body);
    let request = decode_as(api.key, version_as, &mut body).ok_or(undecodable)?;
    if !body.is_empty() {
        return Err(undecodable);
    }
    match &request {
        Request::ApiVersions(from) if version >= 3 => api_versions::check_software(from)?,
        _ => {}
    }
    Ok(shape::newest(version, request))
}

/// Appends a whole answer: prefix, header, body. Answers the length of the frame; on an error `out` is as before.
pub fn encode<A: Answer>(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    answer: A,
) -> Result<usize, Unencodable> {
    let (api, before) = (A::KEY.row(), out.len());
    let begun = frame::begin(out, api, version, correlation_id);
    match answer.write(out, version) {
        Ok(()) => Ok(frame::end(out, begun, 0)),
        Err(why) => {
            out.truncate(before);
            Err(Unencodable { api: api.name, version, why })
        }
    }
}

/// Topic ids as the crate writes them.
pub fn uuid_of(id: TopicId) -> uuid::Uuid {
    uuid::Uuid::from_bytes(id.0)
}

/// Topic ids as the broker holds them.
pub fn topic_id_of(uuid: uuid::Uuid) -> TopicId {
    TopicId(uuid.into_bytes())
}
