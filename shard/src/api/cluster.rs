//! ApiVersions; InitProducerId, which the controller answers; and what the owners of partitions know: ListOffsets,
//! OffsetForLeaderEpoch, DescribeProducers, DescribeLogDirs. Not how they find it.

use super::spread::{Fate, Spread, Spreading, find};
use super::{
    Answer, Command, Context, DirInfo, OffsetAsk, OffsetFound, Outcome, ProducerView, Question, Step, Target, answer,
    owner, text,
};
use ringlog_engine::ErrorCode;
use ringlog_engine::types::{CoreId, PartitionKey};
use ringlog_net::cold::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use ringlog_net::cold::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use ringlog_net::cold::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ringlog_net::cold::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use ringlog_net::cold::messages::{
    DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeProducersRequest, DescribeProducersResponse,
    InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, TopicName,
};
use ringlog_net::cold::{Request, api_versions};
use std::collections::{BTreeMap, BTreeSet};

type Questions = Vec<(Target, Question)>;
type EpochEnd = (ErrorCode, i32, i64);
type Producers = Result<Vec<ProducerView>, ErrorCode>;

#[derive(Debug)]
pub enum Kept {
    Offsets(Spread<OffsetFound>),
    EpochEnds(Spread<EpochEnd>),
    Producers(Spread<Producers>),
    LogDirs,
    ProducerId,
}

pub fn begin(context: &Context<'_>, request: Request, version: i16, correlation_id: i32, out: &mut Vec<u8>) -> Step {
    let (questions, kept) = match request {
        Request::ApiVersions(_) => {
            answer(context, out, version, correlation_id, api_versions(version));
            return Step::Done;
        }
        Request::InitProducerId(request) => match refuse_producer(&request) {
            Some(code) => {
                answer(context, out, version, correlation_id, no_producer(code));
                return Step::Done;
            }
            None => (vec![(Target::Controller, Question::Control(Command::ProducerId))], Kept::ProducerId),
        },
        Request::ListOffsets(request) => list_offsets(context, request, version),
        Request::OffsetForLeaderEpoch(request) => epoch_ends(context, request),
        Request::DescribeProducers(request) => producers(context, request),
        Request::DescribeLogDirs(request) => (log_dir_questions(context, request), Kept::LogDirs),
        other => panic!("{:?} is not of this family", other.key()),
    };
    if questions.is_empty() {
        finish(context, kept, Vec::new(), version, correlation_id, out);
        return Step::Done;
    }
    Step::Ask { questions, kept: super::Kept::Cluster(kept) }
}

pub fn finish(
    context: &Context<'_>,
    kept: Kept,
    answers: Vec<Answer>,
    version: i16,
    correlation_id: i32,
    out: &mut Vec<u8>,
) {
    match kept {
        Kept::Offsets(spread) => answer(context, out, version, correlation_id, offsets_listed(spread, answers)),
        Kept::EpochEnds(spread) => answer(context, out, version, correlation_id, epochs_ended(spread, answers)),
        Kept::Producers(spread) => answer(context, out, version, correlation_id, producers_described(spread, answers)),
        Kept::LogDirs => answer(context, out, version, correlation_id, log_dirs(context, answers)),
        Kept::ProducerId => answer(context, out, version, correlation_id, producer(answers)),
    }
}

/// Transactions are not served. TRANSACTIONAL_ID_AUTHORIZATION_FAILED is the code that the Java client and librdkafka
/// both take as final at once; codes that say "not yet" or "not here" are retried until a timeout.
/// An idempotent producer may state the id it had (KIP-360): it gets a new one, but half an id is nonsense.
fn refuse_producer(request: &InitProducerIdRequest) -> Option<ErrorCode> {
    match &request.transactional_id {
        Some(id) if id.is_empty() => return Some(ErrorCode::InvalidRequest),
        Some(_) => return Some(ErrorCode::TransactionalIdAuthorizationFailed),
        None => {}
    }
    let half = (request.producer_id.0 == -1) != (request.producer_epoch == -1);
    half.then_some(ErrorCode::InvalidRequest)
}

fn no_producer(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default().with_error_code(code.code()).with_producer_id((-1).into()).with_producer_epoch(-1)
}

fn producer(mut answers: Vec<Answer>) -> InitProducerIdResponse {
    assert_eq!(answers.len(), 1, "one id was asked for");
    match answers.remove(0) {
        Answer::Control(Outcome::ProducerId(Ok(id))) => {
            InitProducerIdResponse::default().with_producer_id(id.into()).with_producer_epoch(0)
        }
        Answer::Control(Outcome::ProducerId(Err(code))) | Answer::Refused(code) => no_producer(code),
        other => panic!("the controller answered {other:?}"),
    }
}

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The first version that knows a special timestamp; None for numbers that are none.
fn known_from(timestamp: i64) -> Option<i16> {
    match timestamp {
        0.. | LATEST | EARLIEST => Some(0),
        MAX_TIMESTAMP => Some(7),
        EARLIEST_LOCAL => Some(8),
        LATEST_TIERED => Some(9),
        EARLIEST_PENDING_UPLOAD => Some(11),
        _ => None,
    }
}

fn not_found(error: ErrorCode) -> OffsetFound {
    OffsetFound { error, timestamp: -1, offset: -1, leader_epoch: -1 }
}

/// Both isolation levels see the same: without transactions the last stable offset is the high watermark.
/// Nothing is tiered: the earliest local record is the earliest, and there is no tiered one and none to be uploaded.
fn list_offsets(context: &Context<'_>, request: ListOffsetsRequest, version: i16) -> (Questions, Kept) {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let one = (topic.name.as_str(), partition.partition_index);
            if !seen.insert(one) {
                twice.insert(one);
            }
        }
    }
    let mut spreading = Spreading::new();
    for topic in &request.topics {
        spreading.topic(topic.name.clone());
        for partition in &topic.partitions {
            let (index, timestamp) = (partition.partition_index, partition.timestamp);
            let ask = |key, timestamp| {
                Fate::Ask(key, OffsetAsk { key, leader_epoch: partition.current_leader_epoch, timestamp })
            };
            let fate = match (find(context, &topic.name, index), timestamp) {
                _ if twice.contains(&(topic.name.as_str(), index)) => Fate::Known(not_found(ErrorCode::InvalidRequest)),
                _ if known_from(timestamp).is_none_or(|from| version < from) => {
                    Fate::Known(not_found(ErrorCode::UnsupportedVersion))
                }
                (None, _) => Fate::Known(not_found(ErrorCode::UnknownTopicOrPartition)),
                (Some(_), LATEST_TIERED | EARLIEST_PENDING_UPLOAD) => Fate::Known(not_found(ErrorCode::None)),
                (Some(key), EARLIEST_LOCAL) => ask(key, EARLIEST),
                (Some(key), timestamp) => ask(key, timestamp),
            };
            spreading.partition(context, index, fate);
        }
    }
    let (questions, spread) = spreading.questions(Question::Offsets);
    (questions, Kept::Offsets(spread))
}

fn offsets_listed(spread: Spread<OffsetFound>, answers: Vec<Answer>) -> ListOffsetsResponse {
    let take = |answer| match answer {
        Answer::Offsets(found) => Some(found),
        _ => None,
    };
    let topics = spread.gather(answers, take, not_found).map(|(name, partitions)| {
        let rows = partitions.into_iter().map(|(index, found)| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(found.error.code())
                .with_timestamp(found.timestamp)
                .with_offset(found.offset)
                .with_leader_epoch(found.leader_epoch)
        });
        ListOffsetsTopicResponse::default().with_name(name).with_partitions(rows.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn epoch_ends(context: &Context<'_>, request: OffsetForLeaderEpochRequest) -> (Questions, Kept) {
    let mut spreading = Spreading::new();
    for topic in &request.topics {
        spreading.topic(topic.topic.clone());
        for partition in &topic.partitions {
            let fate = match find(context, &topic.topic, partition.partition) {
                Some(key) => Fate::Ask(key, (key, partition.current_leader_epoch, partition.leader_epoch)),
                None => Fate::Known((ErrorCode::UnknownTopicOrPartition, -1, -1)),
            };
            spreading.partition(context, partition.partition, fate);
        }
    }
    let (questions, spread) = spreading.questions(Question::EpochEnds);
    (questions, Kept::EpochEnds(spread))
}

fn epochs_ended(spread: Spread<EpochEnd>, answers: Vec<Answer>) -> OffsetForLeaderEpochResponse {
    let take = |answer| match answer {
        Answer::EpochEnds(ends) => Some(ends),
        _ => None,
    };
    let topics = spread.gather(answers, take, |code| (code, -1, -1)).map(|(name, partitions)| {
        let rows = partitions.into_iter().map(|(index, (code, epoch, end))| {
            EpochEndOffset::default()
                .with_partition(index)
                .with_error_code(code.code())
                .with_leader_epoch(epoch)
                .with_end_offset(end)
        });
        OffsetForLeaderTopicResult::default().with_topic(name).with_partitions(rows.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

/// A partition named again is refused: its producers are told once, so that answers grow with what is held.
fn producers(context: &Context<'_>, request: DescribeProducersRequest) -> (Questions, Kept) {
    let mut seen = BTreeSet::new();
    let mut spreading = Spreading::new();
    for topic in &request.topics {
        spreading.topic(topic.name.clone());
        for index in &topic.partition_indexes {
            let fate = match find(context, &topic.name, *index) {
                None => Fate::Known(Err(ErrorCode::UnknownTopicOrPartition)),
                Some(key) if !seen.insert(key) => Fate::Known(Err(ErrorCode::InvalidRequest)),
                Some(key) => Fate::Ask(key, key),
            };
            spreading.partition(context, *index, fate);
        }
    }
    let (questions, spread) = spreading.questions(Question::Producers);
    (questions, Kept::Producers(spread))
}

fn producers_described(spread: Spread<Producers>, answers: Vec<Answer>) -> DescribeProducersResponse {
    let take = |answer| match answer {
        Answer::Producers(producers) => Some(producers),
        _ => None,
    };
    let topics = spread.gather(answers, take, Err).map(|(name, partitions)| {
        let rows = partitions.into_iter().map(|(index, result)| {
            let row = PartitionResponse::default().with_partition_index(index).with_error_message(None);
            match result {
                Ok(active) => row.with_active_producers(active.into_iter().map(producer_row).collect()),
                Err(code) => row.with_error_code(code.code()),
            }
        });
        TopicResponse::default().with_name(name).with_partitions(rows.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn producer_row(view: ProducerView) -> ProducerState {
    ProducerState::default()
        .with_producer_id(view.producer_id.into())
        .with_producer_epoch(i32::from(view.producer_epoch))
        .with_last_sequence(view.last_sequence)
        .with_last_timestamp(view.last_timestamp)
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}

/// Every core of this broker about all its partitions, or the owners among them of those asked about that exist.
fn log_dir_questions(context: &Context<'_>, request: DescribeLogDirsRequest) -> Questions {
    let Some(topics) = request.topics else {
        return context.own_cores().map(|core| (Target::Core(core), Question::Sizes(None))).collect();
    };
    let mut cores: BTreeMap<CoreId, BTreeSet<PartitionKey>> =
        context.own_cores().map(|core| (core, BTreeSet::new())).collect();
    for topic in &topics {
        for key in topic.partitions.iter().filter_map(|index| find(context, &topic.topic, *index)) {
            cores.get_mut(&owner(key, context.cores)).map(|keys| keys.insert(key));
        }
    }
    let question = |(core, keys): (CoreId, BTreeSet<PartitionKey>)| {
        (Target::Core(core), Question::Sizes(Some(keys.into_iter().collect())))
    };
    cores.into_iter().filter(|(_, keys)| !keys.is_empty()).map(question).collect()
}

/// Partitions of one directory by topic name, each with its bytes.
type Held<'a> = BTreeMap<&'a str, BTreeMap<i32, u64>>;

/// A partition deleted or moved since is left out. A directory that failed is told with the error and nothing else.
fn log_dirs(context: &Context<'_>, answers: Vec<Answer>) -> DescribeLogDirsResponse {
    let mut response = DescribeLogDirsResponse::default();
    let mut held: BTreeMap<_, Held<'_>> = BTreeMap::new();
    for answer in answers {
        let sizes = match answer {
            Answer::Sizes(sizes) => sizes,
            Answer::Refused(code) => {
                response.error_code = code.code();
                continue;
            }
            other => panic!("a core asked for sizes answered {other:?}"),
        };
        for (key, bytes) in sizes {
            let Some(topic) = context.image.topic_by_id(key.topic) else { continue };
            let Some(partition) = usize::try_from(key.partition).ok().and_then(|at| topic.partitions.get(at)) else {
                continue;
            };
            held.entry(partition.dir).or_default().entry(topic.name.as_str()).or_default().insert(key.partition, bytes);
        }
    }
    let rows = context.dirs.iter().map(|dir| log_dir(dir, held.remove(&dir.id).unwrap_or_default()));
    response.with_results(rows.collect())
}

fn log_dir(dir: &DirInfo, held: Held<'_>) -> DescribeLogDirsResult {
    let row = DescribeLogDirsResult::default().with_log_dir(text(&dir.path));
    if !dir.usable {
        return row.with_error_code(ErrorCode::KafkaStorageError.code());
    }
    let topics = held.into_iter().map(|(name, partitions)| {
        let rows = partitions.into_iter().map(|(index, bytes)| {
            DescribeLogDirsPartition::default()
                .with_partition_index(index)
                .with_partition_size(i64::try_from(bytes).unwrap_or(i64::MAX))
        });
        DescribeLogDirsTopic::default().with_name(TopicName(text(name))).with_partitions(rows.collect())
    });
    row.with_topics(topics.collect()).with_total_bytes(dir.total_bytes).with_usable_bytes(dir.usable_bytes)
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
