//! DescribeConfigs, answered from the settings and the image; AlterConfigs and IncrementalAlterConfigs, which the
//! controller does; ListConfigResources. What settings mean is the engine's `config`.

use super::{
    Alteration, Answer, Change, Command, Context, Outcome, Question, Refusal, Resource, Step, Target, answer,
    controlled, text,
};
use ringlog_engine::ErrorCode;
use ringlog_engine::config::alter::Op;
use ringlog_engine::config::describe::{Asked, Described, describe_broker, describe_broker_defaults, describe_topic};
use ringlog_engine::metadata::validate_topic_name;
use ringlog_net::cold::messages::describe_configs_request::DescribeConfigsResource;
use ringlog_net::cold::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use ringlog_net::cold::messages::list_config_resources_response::ConfigResource;
use ringlog_net::cold::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse, alter_configs_response, incremental_alter_configs_response,
};
use ringlog_net::cold::{Request, StrBytes};
use std::borrow::Cow;
use std::collections::BTreeSet;

// Kinds of resources, as numbered in the protocol.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// One resource of an alteration: its kind, its name, and the refusal if it was not asked of the controller.
type Item = (i8, StrBytes, Option<Refusal>);

/// The resources of a request in its order.
#[derive(Debug)]
pub enum Kept {
    Replace(Vec<Item>),
    Alter(Vec<Item>),
}

pub fn begin(context: &Context<'_>, request: Request, version: i16, correlation_id: i32, out: &mut Vec<u8>) -> Step {
    let (command, kept) = match request {
        Request::AlterConfigs(request) => replace(context, request),
        Request::IncrementalAlterConfigs(request) => alter(context, request),
        Request::DescribeConfigs(request) => {
            answer(context, out, version, correlation_id, describe(context, &request));
            return Step::Done;
        }
        Request::ListConfigResources(request) => {
            answer(context, out, version, correlation_id, list(context, &request, version));
            return Step::Done;
        }
        other => panic!("{:?} is not of this family", other.key()),
    };
    match command {
        Some(command) => Step::Ask {
            questions: vec![(Target::Controller, Question::Control(command))],
            kept: super::Kept::Configs(kept),
        },
        None => {
            finish(context, kept, Vec::new(), version, correlation_id, out);
            Step::Done
        }
    }
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
        Kept::Replace(items) => {
            let rows = altered(items, answers).map(|(kind, name, (code, why))| {
                alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_error_code(code.code())
                    .with_error_message(why)
                    .with_resource_type(kind)
                    .with_resource_name(name)
            });
            answer(
                context,
                out,
                version,
                correlation_id,
                AlterConfigsResponse::default().with_responses(rows.collect()),
            );
        }
        Kept::Alter(items) => {
            let rows = altered(items, answers).map(|(kind, name, (code, why))| {
                incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_error_code(code.code())
                    .with_error_message(why)
                    .with_resource_type(kind)
                    .with_resource_name(name)
            });
            let response = IncrementalAlterConfigsResponse::default().with_responses(rows.collect());
            answer(context, out, version, correlation_id, response);
        }
    }
}

fn refused(code: ErrorCode, why: impl Into<String>) -> Refusal {
    (code, why.into())
}

fn invalid(why: impl Into<String>) -> Refusal {
    refused(ErrorCode::InvalidRequest, why)
}

fn altered(
    items: Vec<Item>,
    answers: Vec<Answer>,
) -> impl Iterator<Item = (i8, StrBytes, (ErrorCode, Option<StrBytes>))> {
    let open = items.iter().filter(|(_, _, refusal)| refusal.is_none()).count();
    let mut given = match open {
        0 => Vec::new().into_iter(),
        _ => controlled(answers, open, |outcome| match outcome {
            Outcome::Altered(results) => Some(results),
            _ => None,
        }),
    };
    items.into_iter().map(move |(kind, name, refusal)| {
        let refusal = refusal.or_else(|| given.next().expect("the controller answers every open item").err());
        let (code, why) = refusal.unwrap_or((ErrorCode::None, String::new()));
        (kind, name, (code, (!why.is_empty()).then(|| text(why))))
    })
}

/// Resources named more than once: none of them is changed.
fn twice<'a>(context: &Context<'_>, resources: impl Iterator<Item = (i8, &'a str)>) -> BTreeSet<(i8, String)> {
    let mut seen = BTreeSet::new();
    let named = resources.map(|(kind, name)| (kind, named(context, kind, name).into_owned()));
    named.filter(|resource| !seen.insert(resource.clone())).collect()
}

/// A resource's name as the controller knows it: whichever of this node's ids a broker is called by, it is this node.
fn named<'a>(context: &Context<'_>, kind: i8, name: &'a str) -> Cow<'a, str> {
    match name.parse() {
        Ok(id) if kind == BROKER && context.is_here(id) => Cow::Owned(context.image.node_id().to_string()),
        _ => Cow::Borrowed(name),
    }
}

/// What of this resource can be changed, if anything.
fn resource(kind: i8, name: &str, twice: &BTreeSet<(i8, String)>) -> Result<Resource, Refusal> {
    if twice.contains(&(kind, name.to_string())) {
        return Err(invalid("Each resource must appear at most once."));
    }
    match kind {
        TOPIC => Ok(Resource::Topic(name.to_string())),
        BROKER => Ok(Resource::Broker(name.to_string())),
        CLIENT_METRICS => Err(invalid("Client metrics are not served: there is nothing to configure.")),
        GROUP => Err(invalid("Groups have no settings of their own yet.")),
        _ => Err(invalid(format!("Unknown resource type {kind}."))),
    }
}

fn replace(context: &Context<'_>, request: AlterConfigsRequest) -> (Option<Command>, Kept) {
    let twice = twice(context, request.resources.iter().map(|one| (one.resource_type, &*one.resource_name)));
    let (mut items, mut resources) = (Vec::new(), Vec::new());
    for one in request.resources {
        let found = match one.resource_type {
            BROKER_LOGGER => Err(invalid("AlterConfigs does not support the resource type BROKER_LOGGER.")),
            kind => resource(kind, &named(context, kind, &one.resource_name), &twice),
        };
        let refusal = match found {
            Err(refusal) => Some(refusal),
            Ok(resource) => {
                let settings = one.configs.into_iter();
                let settings = settings.map(|one| (one.name.to_string(), one.value.map(|value| value.to_string())));
                resources.push(Alteration { resource, change: Change::Replace(settings.collect()) });
                None
            }
        };
        items.push((one.resource_type, one.resource_name, refusal));
    }
    let validate_only = request.validate_only;
    let command = (!resources.is_empty()).then_some(Command::AlterConfigs { resources, validate_only });
    (command, Kept::Replace(items))
}

fn alter(context: &Context<'_>, request: IncrementalAlterConfigsRequest) -> (Option<Command>, Kept) {
    let twice = twice(context, request.resources.iter().map(|one| (one.resource_type, &*one.resource_name)));
    let (mut items, mut resources) = (Vec::new(), Vec::new());
    for one in request.resources {
        let unknown = one.configs.iter().find(|config| Op::from_code(config.config_operation).is_none());
        let found = match (one.resource_type, unknown) {
            (_, Some(config)) => Err(invalid(format!("Unknown operation type {}.", config.config_operation))),
            (BROKER_LOGGER, None) => {
                let names: Vec<_> = one.configs.iter().map(|config| config.name.as_str()).collect();
                let why = format!("Logger {} does not exist!", names.join(", "));
                Err(refused(ErrorCode::InvalidConfig, why))
            }
            (kind, None) => resource(kind, &named(context, kind, &one.resource_name), &twice),
        };
        let refusal = match found {
            Err(refusal) => Some(refusal),
            Ok(resource) => {
                let changes = one.configs.into_iter().map(|config| {
                    (config.name.to_string(), config.config_operation, config.value.map(|value| value.to_string()))
                });
                resources.push(Alteration { resource, change: Change::Alter(changes.collect()) });
                None
            }
        };
        items.push((one.resource_type, one.resource_name, refusal));
    }
    let validate_only = request.validate_only;
    let command = (!resources.is_empty()).then_some(Command::AlterConfigs { resources, validate_only });
    (command, Kept::Alter(items))
}

/// A resource is described once, however often it is named.
fn describe(context: &Context<'_>, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let mut seen = BTreeSet::new();
    let node = |one: &DescribeConfigsResource| match one.resource_type {
        BROKER => one.resource_name.parse::<i32>().ok(),
        _ => None,
    };
    let once = request.resources.iter().filter(|one| {
        let name = if node(one).is_some() { "" } else { one.resource_name.as_str() };
        seen.insert((one.resource_type, node(one), name))
    });
    let results = once.map(|one| {
        let row = DescribeConfigsResult::default()
            .with_error_message(None)
            .with_resource_type(one.resource_type)
            .with_resource_name(one.resource_name.clone());
        match describe_one(context, one, request.include_synonyms) {
            Ok(settings) => {
                let documented = request.include_documentation;
                row.with_configs(settings.into_iter().map(|setting| setting_row(setting, documented)).collect())
            }
            Err((code, why)) => {
                row.with_error_code(code.code()).with_error_message((!why.is_empty()).then(|| text(why)))
            }
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe_one(
    context: &Context<'_>,
    one: &DescribeConfigsResource,
    synonyms: bool,
) -> Result<Vec<Described>, Refusal> {
    let names: Option<Vec<&str>> = match &one.configuration_keys {
        Some(keys) if !keys.is_empty() => Some(keys.iter().map(|key| key.as_str()).collect()),
        _ => None,
    };
    let (asked, layers) = (Asked { names: names.as_deref(), synonyms }, &context.config.layers);
    let name = one.resource_name.as_str();
    match one.resource_type {
        TOPIC => {
            validate_topic_name(name)?;
            let unknown = || refused(ErrorCode::UnknownTopicOrPartition, "");
            let topic = context.image.topic(name).ok_or_else(unknown)?;
            Ok(describe_topic(&topic.configs, layers, asked))
        }
        BROKER if name.is_empty() => Ok(describe_broker_defaults(layers, asked)),
        BROKER => this_broker(context, name, "or empty string, but received").map(|()| describe_broker(layers, asked)),
        BROKER_LOGGER if name.is_empty() => Err(invalid("Broker id must not be empty")),
        BROKER_LOGGER => this_broker(context, name, "but received").map(|()| Vec::new()),
        CLIENT_METRICS if name.is_empty() => Err(invalid("Client metrics subscription name must not be empty")),
        GROUP if name.is_empty() => Err(invalid("Group name must not be empty")),
        CLIENT_METRICS | GROUP => Ok(Vec::new()),
        kind => Err(invalid(format!("Unsupported resource type: {kind}"))),
    }
}

fn this_broker(context: &Context<'_>, name: &str, received: &str) -> Result<(), Refusal> {
    let node = context.image.node_id();
    match name.parse::<i32>() {
        Ok(id) if context.is_here(id) => Ok(()),
        Ok(_) => Err(invalid(format!("Unexpected broker id, expected {node} {received} {name}"))),
        Err(_) => Err(invalid(format!("Broker id must be an integer, but it is: {name}"))),
    }
}

fn setting_row(setting: Described, documented: bool) -> DescribeConfigsResourceResult {
    let synonyms = setting.synonyms.into_iter().map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_static_str(synonym.name))
            .with_value(synonym.value.map(text))
            .with_source(synonym.source.code())
    });
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(setting.name))
        .with_value(setting.value.map(text))
        .with_read_only(setting.read_only)
        .with_config_source(setting.source.code())
        .with_is_sensitive(setting.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(setting.kind.code())
        .with_documentation(documented.then(|| StrBytes::from_static_str(setting.documentation)))
}

/// Version 0 lists client metrics subscriptions only; there are none. Nor has any group settings.
fn list(context: &Context<'_>, request: &ListConfigResourcesRequest, version: i16) -> ListConfigResourcesResponse {
    const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    let kinds: BTreeSet<i8> = match version {
        0 => BTreeSet::from([CLIENT_METRICS]),
        _ if request.resource_types.is_empty() => BTreeSet::from(ALL),
        _ => request.resource_types.iter().copied().collect(),
    };
    if kinds.iter().any(|kind| !ALL.contains(kind)) {
        return ListConfigResourcesResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code());
    }
    let row = |kind, name: &str| ConfigResource::default().with_resource_type(kind).with_resource_name(text(name));
    let mut resources = Vec::new();
    for kind in kinds {
        match kind {
            TOPIC => resources.extend(context.image.topics().map(|topic| row(TOPIC, &topic.name))),
            BROKER | BROKER_LOGGER => {
                resources.extend(context.brokers().map(|broker| row(kind, &broker.id.to_string())));
            }
            _ => {}
        }
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}

#[cfg(test)]
#[path = "configs_tests.rs"]
mod tests;
