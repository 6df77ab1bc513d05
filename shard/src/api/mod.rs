//! The cold APIs: what each decoded request asks of whom, and how the answers become its response. One file per family.
//!
//! A handler runs on the connection's core. It answers at once from the metadata image and the settings ([`Step::Done`]),
//! or asks the cores that know ([`Step::Ask`]) and is called again with all answers, in the order of its questions.
//! Handlers decide and translate; they hold nothing and wait for nothing. Produce and Fetch are not here.

pub mod brokers;
pub mod cluster;
pub mod configs;
pub mod groups;
pub mod metadata;
mod spread;
#[cfg(test)]
mod testing;
pub mod topics;

use crate::mail::AppendDetail;
use brokers::Advertised;
use ringlog_engine::ErrorCode;
use ringlog_engine::config::{BrokerConfig, Values};
use ringlog_engine::group;
use ringlog_engine::metadata::Image;
use ringlog_engine::types::{CoreId, Now, PartitionKey, TopicId};
use ringlog_net::cold::{self, Request, StrBytes};
use std::cell::Cell;
use std::net::SocketAddr;

/// What a handler may look at: the state of its core at the beginning of this turn.
pub struct Context<'a> {
    pub image: &'a Image,
    /// With the dynamic settings applied.
    pub config: &'a BrokerConfig,
    pub now: Now,
    /// This core, and how many the node has.
    pub core: CoreId,
    pub cores: u16,
    /// What clients of this listener are told to connect to.
    pub advertised: &'a Advertised,
    pub peer: SocketAddr,
    pub client_id: &'a str,
    /// Fresh randomness for this call.
    pub random: [u8; 16],
    /// Log directories in the order of `log.dirs`.
    pub dirs: &'a [DirInfo],
    /// Set to the first error code that is answered.
    pub error: Cell<i16>,
}

/// A log directory as the node knows it.
#[derive(Clone, Debug)]
pub struct DirInfo {
    pub path: String,
    pub id: ringlog_engine::metadata::DirId,
    /// False once a write or flush there failed: nothing of it is served until the next start.
    pub usable: bool,
    /// Bytes of the file system, as of a while ago; -1 where unknown.
    pub total_bytes: i64,
    pub usable_bytes: i64,
}

/// The core that owns a partition. The same on every core, for one number of cores.
pub fn owner(key: PartitionKey, cores: u16) -> CoreId {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in key.topic.0 {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    CoreId(((hash >> 32).wrapping_add(key.partition as u64) % u64::from(cores)) as u16)
}

/// The partition of `__consumer_offsets` that keeps a group: Kafka's rule, Java's string hash made positive.
pub fn group_partition(group: &str, partitions: i32) -> i32 {
    let hash =
        group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit as i16 as u16)));
    (hash & i32::MAX) % partitions.max(1)
}

/// Whom to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Core(CoreId),
    /// The controller: core 0.
    Controller,
}

/// What a handler comes to.
pub enum Step {
    /// The response, encoded, prefix and header included, was appended to the vector given.
    Done,
    /// The connection is to be closed without an answer: the request makes no sense.
    Close(&'static str),
    /// Ask these, then call [`finish`] with what is kept here.
    Ask { questions: Vec<(Target, Question)>, kept: Kept },
}

/// What a handler keeps of a request while others are asked. One variant per family, in its file.
#[derive(Debug)]
pub enum Kept {
    Metadata(metadata::Kept),
    Topics(topics::Kept),
    Configs(configs::Kept),
    Cluster(cluster::Kept),
    Groups(groups::Kept),
}

/// What one core asks another (or itself).
#[derive(Debug)]
pub enum Question {
    /// ListOffsets, answered by [`Answer::Offsets`] in the same order.
    Offsets(Vec<OffsetAsk>),
    /// OffsetForLeaderEpoch: partition, the client's current epoch (-1: not checked), the epoch asked about.
    EpochEnds(Vec<(PartitionKey, i32, i32)>),
    /// DeleteRecords: partition, offset (-1: the high watermark).
    DeleteRecords(Vec<(PartitionKey, i64)>),
    Producers(Vec<PartitionKey>),
    /// Sizes of these partitions; `None`: of all on that core.
    Sizes(Option<Vec<PartitionKey>>),
    /// A group request for the coordinator of this partition of `__consumer_offsets`.
    Group {
        partition: i32,
        request: group::Request,
    },
    /// ListGroups over all coordinators of that core.
    AllGroups(group::ListGroupsRequest),
    /// For the controller.
    Control(Command),
}

/// One partition of a ListOffsets request.
#[derive(Clone, Copy, Debug)]
pub struct OffsetAsk {
    pub key: PartitionKey,
    /// -1: not checked.
    pub leader_epoch: i32,
    /// >= 0: a time in ms; -1 latest, -2 earliest, -3 the largest timestamp; other negatives as the protocol has them.
    pub timestamp: i64,
}

/// One answer of ListOffsets: offset -1 and timestamp -1 where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetFound {
    pub error: ErrorCode,
    pub timestamp: i64,
    pub offset: i64,
    pub leader_epoch: i32,
}

/// A producer of DescribeProducers.
pub use ringlog_engine::producer::ProducerView;

#[derive(Debug)]
pub enum Answer {
    Offsets(Vec<OffsetFound>),
    /// Error, epoch, end offset.
    EpochEnds(Vec<(ErrorCode, i32, i64)>),
    /// Error, low watermark.
    DeleteRecords(Vec<(ErrorCode, i64)>),
    Producers(Vec<Result<Vec<ProducerView>, ErrorCode>>),
    /// Partition, bytes.
    Sizes(Vec<(PartitionKey, u64)>),
    Group(group::Response),
    AllGroups(Vec<group::ListedGroup>),
    Control(Outcome),
    /// The question could not be answered at all (no coordinator there, say).
    Refused(ErrorCode),
}

/// What only the controller does: changes of the metadata. Each is durable, and known to all cores, when it is answered.
#[derive(Debug, Clone)]
pub enum Command {
    CreateTopics {
        topics: Vec<NewTopic>,
        validate_only: bool,
    },
    /// Created with defaults if absent, at a client's first use; `__consumer_offsets` with its own.
    EnsureTopics(Vec<String>),
    DeleteTopics(Vec<TopicName>),
    /// Topic, total count, assignments (may be empty).
    CreatePartitions {
        topics: Vec<(String, i32, Vec<Vec<i32>>)>,
        validate_only: bool,
    },
    AlterConfigs {
        resources: Vec<Alteration>,
        validate_only: bool,
    },
    /// The next block of producer ids is not asked for by clients but by cores: a new id for one client.
    ProducerId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicName {
    Name(String),
    Id(TopicId),
}

/// A topic to create, owned.
#[derive(Debug, Clone)]
pub struct NewTopic {
    pub name: String,
    pub partitions: i32,
    pub replication_factor: i16,
    pub assignments: Vec<(i32, Vec<i32>)>,
    pub configs: Vec<(String, Option<String>)>,
}

/// A change of one resource's settings.
#[derive(Debug, Clone)]
pub struct Alteration {
    pub resource: Resource,
    pub change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    Topic(String),
    /// The resource name as sent: a node id, or empty for the defaults of all brokers.
    Broker(String),
}

#[derive(Debug, Clone)]
pub enum Change {
    /// Incremental: name, operation (0 set, 1 delete, 2 append, 3 subtract), value.
    Alter(Vec<(String, i8, Option<String>)>),
    /// All settings anew (AlterConfigs).
    Replace(Vec<(String, Option<String>)>),
}

/// What the controller did, item by item in the order asked.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// CreateTopics, EnsureTopics.
    Created(Vec<Result<CreatedTopic, (ErrorCode, String)>>),
    /// DeleteTopics: name and id where known.
    Deleted(Vec<Result<(String, TopicId), (ErrorCode, String)>>),
    Partitions(Vec<Result<(), (ErrorCode, String)>>),
    Altered(Vec<Result<(), (ErrorCode, String)>>),
    ProducerId(Result<i64, ErrorCode>),
}

#[derive(Debug, Clone)]
pub struct CreatedTopic {
    pub name: String,
    pub id: TopicId,
    pub partitions: i32,
    pub replication_factor: i16,
    /// Explicit settings.
    pub configs: Values,
}

/// Decodes nothing: takes a decoded request and says what is to be done. `out` takes the encoded response if it is done.
pub fn begin(context: &Context<'_>, request: Request, version: i16, correlation_id: i32, out: &mut Vec<u8>) -> Step {
    match request {
        Request::Metadata(_) | Request::DescribeTopicPartitions(_) | Request::DescribeCluster(_) => {
            metadata::begin(context, request, version, correlation_id, out)
        }
        Request::CreateTopics(_)
        | Request::DeleteTopics(_)
        | Request::CreatePartitions(_)
        | Request::DeleteRecords(_) => topics::begin(context, request, version, correlation_id, out),
        Request::DescribeConfigs(_)
        | Request::AlterConfigs(_)
        | Request::IncrementalAlterConfigs(_)
        | Request::ListConfigResources(_) => configs::begin(context, request, version, correlation_id, out),
        Request::ApiVersions(_)
        | Request::DescribeLogDirs(_)
        | Request::DescribeProducers(_)
        | Request::InitProducerId(_)
        | Request::ListOffsets(_)
        | Request::OffsetForLeaderEpoch(_) => cluster::begin(context, request, version, correlation_id, out),
        Request::FindCoordinator(_)
        | Request::JoinGroup(_)
        | Request::SyncGroup(_)
        | Request::Heartbeat(_)
        | Request::LeaveGroup(_)
        | Request::OffsetCommit(_)
        | Request::OffsetFetch(_)
        | Request::ListGroups(_)
        | Request::DescribeGroups(_)
        | Request::DeleteGroups(_)
        | Request::OffsetDelete(_) => groups::begin(context, request, version, correlation_id, out),
    }
}

/// All answers are there, in the order of the questions: appends the encoded response to `out`.
pub fn finish(
    context: &Context<'_>,
    kept: Kept,
    answers: Vec<Answer>,
    version: i16,
    correlation_id: i32,
    out: &mut Vec<u8>,
) {
    match kept {
        Kept::Metadata(kept) => metadata::finish(context, kept, answers, version, correlation_id, out),
        Kept::Topics(kept) => topics::finish(context, kept, answers, version, correlation_id, out),
        Kept::Configs(kept) => configs::finish(context, kept, answers, version, correlation_id, out),
        Kept::Cluster(kept) => cluster::finish(context, kept, answers, version, correlation_id, out),
        Kept::Groups(kept) => groups::finish(context, kept, answers, version, correlation_id, out),
    }
}

/// Appends an answer. That it does not fit its version is a bug of the handler that made it.
pub(crate) fn answer<A: cold::Answer>(
    context: &Context<'_>,
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    answer: A,
) {
    context.error.set(answer.first_error());
    if let Err(why) = cold::encode(out, version, correlation_id, answer) {
        panic!("{why}");
    }
}

/// Text for an answer, cut to what Kafka's strings carry: 32,767 bytes.
pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    let mut text = text.into();
    let mut end = text.len().min(i16::MAX as usize);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    StrBytes::from_string(text)
}

/// An item refused by the engine or by a handler: the code, and Kafka's words for it.
pub(crate) type Refusal = (ErrorCode, String);

/// What the controller answered its one question, item by item. A refusal of the whole question is every item's.
fn controlled<T>(
    mut answers: Vec<Answer>,
    items: usize,
    take: impl Fn(Outcome) -> Option<Vec<Result<T, Refusal>>>,
) -> std::vec::IntoIter<Result<T, Refusal>> {
    assert_eq!(answers.len(), 1, "the controller was asked one question");
    let results = match answers.remove(0) {
        Answer::Refused(code) => (0..items).map(|_| Err((code, String::new()))).collect(),
        Answer::Control(outcome) => take(outcome).unwrap_or_else(|| panic!("the controller answered another question")),
        other => panic!("the controller answered {other:?}"),
    };
    assert_eq!(results.len(), items, "the controller answers every item");
    results.into_iter()
}

/// Why a batch was refused, as produce answers say it.
pub fn append_detail(message: String, records: Vec<(i32, String)>) -> Box<AppendDetail> {
    Box::new(AppendDetail { message, records })
}
