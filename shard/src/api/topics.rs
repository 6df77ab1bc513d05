//! CreateTopics, DeleteTopics and CreatePartitions, which the controller does; DeleteRecords, which each partition's owner
//! does. Here are the rules of the requests themselves; those of topics are the engine's.

use super::spread::{Fate, Spread, Spreading, find};
use super::{
    Answer, Command, Context, CreatedTopic, NewTopic, Outcome, Question, Refusal, Step, Target, TopicName as Named,
    answer, controlled, text,
};
use ringlog_engine::ErrorCode;
use ringlog_engine::config::describe::{Asked, describe_topic};
use ringlog_engine::limits::PARTITIONS_PER_REQUEST;
use ringlog_engine::metadata::is_internal;
use ringlog_engine::types::TopicId;
use ringlog_net::cold::messages::create_partitions_response::CreatePartitionsTopicResult;
use ringlog_net::cold::messages::create_topics_request::CreatableTopic;
use ringlog_net::cold::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use ringlog_net::cold::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use ringlog_net::cold::messages::delete_topics_request::DeleteTopicState;
use ringlog_net::cold::messages::delete_topics_response::DeletableTopicResult;
use ringlog_net::cold::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use ringlog_net::cold::{Request, StrBytes, topic_id_of, uuid_of};
use std::collections::{BTreeMap, BTreeSet};

/// Kafka's own metadata log, which nobody creates.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The items of a request in its order: those refused here, and those whose result the controller gives.
#[derive(Debug)]
pub struct Items<T>(Vec<(T, Option<Refusal>)>);

#[derive(Debug)]
pub enum Kept {
    Create(Items<TopicName>),
    Delete(Items<DeleteTopicState>),
    Partitions(Items<TopicName>),
    Records(Spread<(ErrorCode, i64)>),
}

pub fn begin(context: &Context<'_>, request: Request, version: i16, correlation_id: i32, out: &mut Vec<u8>) -> Step {
    let (questions, kept) = match request {
        Request::CreateTopics(request) => create(request),
        Request::DeleteTopics(request) => delete(context, request),
        Request::CreatePartitions(request) => create_partitions(request),
        Request::DeleteRecords(request) => delete_records(context, request),
        other => panic!("{:?} is not of this family", other.key()),
    };
    if questions.is_empty() {
        finish(context, kept, Vec::new(), version, correlation_id, out);
        return Step::Done;
    }
    Step::Ask { questions, kept: super::Kept::Topics(kept) }
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
        Kept::Create(items) => answer(context, out, version, correlation_id, created(context, items, answers, version)),
        Kept::Delete(items) => answer(context, out, version, correlation_id, deleted(context, items, answers, version)),
        Kept::Partitions(items) => answer(context, out, version, correlation_id, grown(items, answers)),
        Kept::Records(spread) => answer(context, out, version, correlation_id, records_deleted(spread, answers)),
    }
}

impl<T> Items<T> {
    fn open(&self) -> usize {
        self.0.iter().filter(|(_, refused)| refused.is_none()).count()
    }

    /// Each item with its result, once the controller answered about those that were not refused.
    fn results<R>(
        self,
        answers: Vec<Answer>,
        take: impl Fn(Outcome) -> Option<Vec<Result<R, Refusal>>>,
    ) -> impl Iterator<Item = (T, Result<R, Refusal>)> {
        let open = self.open();
        let mut given = if open == 0 { Vec::new().into_iter() } else { controlled(answers, open, take) };
        self.0.into_iter().map(move |(item, refused)| {
            let result = match refused {
                Some(refusal) => Err(refusal),
                None => given.next().expect("the controller answers every open item"),
            };
            (item, result)
        })
    }
}

/// A question for the controller, if there is anything to ask.
fn control<T>(items: &Items<T>, command: Command) -> Vec<(Target, Question)> {
    match items.open() {
        0 => Vec::new(),
        _ => vec![(Target::Controller, Question::Control(command))],
    }
}

/// Names given more than once: each is refused, and answered once.
fn duplicates<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).map(str::to_string).collect()
}

fn duplicate() -> Option<Refusal> {
    Some((ErrorCode::InvalidRequest, "Duplicate topic name.".to_string()))
}

/// Kafka's words for a refusal, None where the code says it all.
fn words(why: String) -> Option<StrBytes> {
    (!why.is_empty()).then(|| text(why))
}

fn create(request: CreateTopicsRequest) -> (Vec<(Target, Question)>, Kept) {
    let mut twice = duplicates(request.topics.iter().map(|topic| topic.name.as_str()));
    let all_twice = twice.clone();
    // The answer says much more of a topic than the request: so many at most (Kafka: as many entries in one change).
    let too_many = request.topics.len() > PARTITIONS_PER_REQUEST;
    let (mut items, mut topics) = (Vec::new(), Vec::new());
    for topic in request.topics {
        if too_many {
            let why = "Excessively large number of topics per request.";
            items.push((topic.name, Some((ErrorCode::PolicyViolation, why.to_string()))));
        } else if all_twice.contains(topic.name.as_str()) {
            if twice.remove(topic.name.as_str()) {
                items.push((topic.name, duplicate()));
            }
        } else if topic.name.as_str() == METADATA_TOPIC {
            let why = format!("Creation of internal topic {METADATA_TOPIC} is prohibited.");
            items.push((topic.name, Some((ErrorCode::InvalidRequest, why))));
        } else {
            items.push((topic.name.clone(), None));
            topics.push(new_topic(topic));
        }
    }
    let items = Items(items);
    let command = Command::CreateTopics { topics, validate_only: request.validate_only };
    (control(&items, command), Kept::Create(items))
}

fn new_topic(topic: CreatableTopic) -> NewTopic {
    let assignments = topic.assignments.into_iter();
    let configs = topic.configs.into_iter();
    NewTopic {
        name: topic.name.as_str().to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.map(|one| (one.partition_index, numbers(one.broker_ids))).collect(),
        configs: configs.map(|one| (one.name.to_string(), one.value.map(|value| value.to_string()))).collect(),
    }
}

fn numbers(brokers: Vec<ringlog_net::cold::messages::BrokerId>) -> Vec<i32> {
    brokers.into_iter().map(|broker| broker.0).collect()
}

fn created(context: &Context<'_>, items: Items<TopicName>, answers: Vec<Answer>, version: i16) -> CreateTopicsResponse {
    let results = items.results(answers, |outcome| match outcome {
        Outcome::Created(results) => Some(results),
        _ => None,
    });
    let rows = results.map(|(name, result)| match result {
        Ok(topic) => created_row(context, name, topic, version),
        Err((code, why)) => {
            CreatableTopicResult::default().with_name(name).with_error_code(code.code()).with_error_message(words(why))
        }
    });
    CreateTopicsResponse::default().with_topics(rows.collect())
}

/// From version 5 on with every setting in force for the topic.
fn created_row(context: &Context<'_>, name: TopicName, topic: CreatedTopic, version: i16) -> CreatableTopicResult {
    let asked = Asked { names: (version < 5).then_some(&[]), synonyms: false };
    let settings = describe_topic(&topic.configs, &context.config.layers, asked);
    let configs = settings.into_iter().map(|setting| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(setting.name))
            .with_value(setting.value.map(text))
            .with_read_only(setting.read_only)
            .with_config_source(setting.source.code())
            .with_is_sensitive(setting.sensitive)
    });
    CreatableTopicResult::default()
        .with_name(name)
        .with_topic_id(uuid_of(topic.id))
        .with_error_message(None)
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_configs(Some(configs.collect()))
}

/// Topics by name or by id, each once. A name and an id may turn out to be the same topic: then the id's turn is refused.
fn delete(context: &Context<'_>, request: DeleteTopicsRequest) -> (Vec<(Target, Question)>, Kept) {
    let by_name = |topic: &DeleteTopicState| topic.name.as_ref().map(|name| name.as_str().to_string());
    let mut times: BTreeMap<(Option<String>, TopicId), usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry((by_name(topic), topic_id_of(topic.topic_id))).or_default() += 1;
    }
    let named: BTreeSet<TopicId> =
        (request.topics.iter()).filter_map(|topic| Some(context.image.topic(topic.name.as_ref()?)?.id)).collect();
    let (mut items, mut topics) = (Vec::new(), Vec::new());
    for topic in request.topics {
        let key = (by_name(&topic), topic_id_of(topic.topic_id));
        let Some(times) = times.remove(&key) else { continue };
        let refused = match &key {
            (Some(_), id) if !id.is_zero() => Some("You may not specify both topic name and topic id."),
            (None, id) if id.is_zero() => Some("Neither topic name nor id were specified."),
            (Some(_), _) if times > 1 => Some("Duplicate topic name."),
            (None, _) if times > 1 => Some("Duplicate topic id."),
            (None, id) if named.contains(id) => {
                Some("The provided topic name maps to an ID that was already supplied.")
            }
            _ => None,
        };
        if refused.is_none() {
            topics.push(match key {
                (Some(name), _) => Named::Name(name),
                (None, id) => Named::Id(id),
            });
        }
        items.push((topic, refused.map(|why| (ErrorCode::InvalidRequest, why.to_string()))));
    }
    let items = Items(items);
    (control(&items, Command::DeleteTopics(topics)), Kept::Delete(items))
}

fn deleted(
    context: &Context<'_>,
    items: Items<DeleteTopicState>,
    answers: Vec<Answer>,
    version: i16,
) -> DeleteTopicsResponse {
    let results = items.results(answers, |outcome| match outcome {
        Outcome::Deleted(results) => Some(results),
        _ => None,
    });
    let rows = results.map(|(topic, result)| match result {
        Ok((name, id)) => DeletableTopicResult::default()
            .with_name(Some(TopicName(text(name))))
            .with_topic_id(uuid_of(id))
            .with_error_message(None),
        Err((code, why)) => {
            let known = context.image.topic_by_id(topic_id_of(topic.topic_id));
            let name = topic.name.or_else(|| known.map(|topic| TopicName(text(&topic.name))));
            DeletableTopicResult::default()
                .with_name(name)
                .with_topic_id(topic.topic_id)
                .with_error_code(deletion_code(code, version).code())
                .with_error_message(words(why))
        }
    });
    DeleteTopicsResponse::default().with_responses(rows.collect())
}

/// Clients up to version 2 do not know the code for "deletion is disabled".
fn deletion_code(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::TopicDeletionDisabled if version < 3 => ErrorCode::InvalidRequest,
        code => code,
    }
}

fn create_partitions(request: CreatePartitionsRequest) -> (Vec<(Target, Question)>, Kept) {
    let mut twice = duplicates(request.topics.iter().map(|topic| topic.name.as_str()));
    let all_twice = twice.clone();
    let (mut items, mut topics) = (Vec::new(), Vec::new());
    for topic in request.topics {
        if !all_twice.contains(topic.name.as_str()) {
            let assignments = topic.assignments.unwrap_or_default().into_iter();
            let assignments = assignments.map(|one| numbers(one.broker_ids)).collect();
            topics.push((topic.name.as_str().to_string(), topic.count, assignments));
            items.push((topic.name, None));
        } else if twice.remove(topic.name.as_str()) {
            items.push((topic.name, duplicate()));
        }
    }
    let items = Items(items);
    let command = Command::CreatePartitions { topics, validate_only: request.validate_only };
    (control(&items, command), Kept::Partitions(items))
}

fn grown(items: Items<TopicName>, answers: Vec<Answer>) -> CreatePartitionsResponse {
    let results = items.results(answers, |outcome| match outcome {
        Outcome::Partitions(results) => Some(results),
        _ => None,
    });
    let rows = results.map(|(name, result)| {
        let (code, why) = result.err().unwrap_or((ErrorCode::None, String::new()));
        CreatePartitionsTopicResult::default()
            .with_name(name)
            .with_error_code(code.code())
            .with_error_message(words(why))
    });
    CreatePartitionsResponse::default().with_results(rows.collect())
}

/// As Kafka: not of its own topics, and only where the policy deletes.
fn delete_records(context: &Context<'_>, request: DeleteRecordsRequest) -> (Vec<(Target, Question)>, Kept) {
    let mut spreading = Spreading::new();
    for topic in request.topics {
        let found = context.image.topic(&topic.name);
        let deletes = found.is_none_or(|topic| context.config.topic(&topic.configs).delete);
        let internal = is_internal(&topic.name);
        let partitions = topic.partitions.iter().map(|partition| {
            let fate = match find(context, &topic.name, partition.partition_index) {
                _ if internal => Fate::Known((ErrorCode::InvalidTopicException, -1)),
                None => Fate::Known((ErrorCode::UnknownTopicOrPartition, -1)),
                Some(_) if !deletes => Fate::Known((ErrorCode::PolicyViolation, -1)),
                Some(_) if partition.offset < -1 => Fate::Known((ErrorCode::OffsetOutOfRange, -1)),
                Some(key) => Fate::Ask(key, (key, partition.offset)),
            };
            (partition.partition_index, fate)
        });
        let partitions: Vec<_> = partitions.collect();
        spreading.topic(topic.name.clone());
        for (index, fate) in partitions {
            spreading.partition(context, index, fate);
        }
    }
    let (questions, spread) = spreading.questions(Question::DeleteRecords);
    (questions, Kept::Records(spread))
}

fn records_deleted(spread: Spread<(ErrorCode, i64)>, answers: Vec<Answer>) -> DeleteRecordsResponse {
    let take = |answer| match answer {
        Answer::DeleteRecords(results) => Some(results),
        _ => None,
    };
    let topics = spread.gather(answers, take, |code| (code, -1)).map(|(name, partitions)| {
        let rows = partitions.into_iter().map(|(index, (code, low_watermark))| {
            DeleteRecordsPartitionResult::default()
                .with_partition_index(index)
                .with_low_watermark(low_watermark)
                .with_error_code(code.code())
        });
        DeleteRecordsTopicResult::default().with_name(name).with_partitions(rows.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
