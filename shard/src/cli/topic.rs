//! `ringlog topic`: create, list, describe, alter and delete topics, through the admin requests any client can send.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use ringlog_engine::ErrorCode;
use ringlog_engine::types::TopicId;
use ringlog_net::cold::StrBytes;
use ringlog_net::cold::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use ringlog_net::cold::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use ringlog_net::cold::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use ringlog_net::cold::messages::describe_configs_response::DescribeConfigsResourceResult;
use ringlog_net::cold::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ringlog_net::cold::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use ringlog_net::cold::messages::metadata_response::MetadataResponseTopic;
use ringlog_net::cold::messages::{BrokerId, DeleteTopicsRequest, ListOffsetsResponse};
use serde_json::json;

use super::client::{Client, Node, Trouble, topic_name};
use super::output::{Failure, Table, counted, print, print_json};
use super::{Broker, key_value};

/// ConfigResource.Type of the protocol.
const TOPIC_RESOURCE: i8 = 2;
/// ConfigSource of a setting that was given to the topic itself.
const DYNAMIC_TOPIC_CONFIG: i8 = 1;
/// AlterConfigOp of the protocol.
const OP_SET: i8 = 0;
const OP_DELETE: i8 = 1;
/// Timestamps with a meaning of their own in ListOffsets.
pub(super) const LATEST: i64 = -1;
pub(super) const EARLIEST: i64 = -2;

#[derive(Args, Debug)]
pub(super) struct TopicArgs {
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Subcommand, Debug)]
enum TopicCommand {
    Create(CreateArgs),
    List(ListArgs),
    Describe(DescribeArgs),
    Alter(AlterArgs),
    Delete(DeleteArgs),
}

/// Create a topic.
#[derive(Args, Debug)]
struct CreateArgs {
    name: String,
    /// How many partitions; the broker's num.partitions if left out.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many copies of each; the broker's default.replication.factor if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting of the topic, such as retention.ms=3600000; may be repeated.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// Succeed if the topic is there already, whatever its settings.
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    broker: Broker,
}

/// List the topics.
#[derive(Args, Debug)]
struct ListArgs {
    /// Also those the broker keeps for itself.
    #[arg(long)]
    internal: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: Broker,
}

/// Show a topic's settings, and each partition's leader, replicas and offsets.
#[derive(Args, Debug)]
struct DescribeArgs {
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Every setting, not only those given to the topic itself.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: Broker,
}

/// Change a topic's settings or add partitions.
#[derive(Args, Debug)]
#[group(required = true, multiple = true, id = "change", args = ["partitions", "config", "delete_config"])]
struct AlterArgs {
    name: String,
    /// The new number of partitions. It can only grow, and keys move to other partitions.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Sets a setting; may be repeated.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// Returns a setting to its default; may be repeated.
    #[arg(long, value_name = "KEY")]
    delete_config: Vec<String>,
    #[command(flatten)]
    broker: Broker,
}

/// Delete topics and all that is in them.
#[derive(Args, Debug)]
struct DeleteArgs {
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Succeed if a topic is not there.
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    broker: Broker,
}

pub(super) fn run(arguments: &TopicArgs) -> Result<(), Failure> {
    match &arguments.command {
        TopicCommand::Create(arguments) => create(arguments),
        TopicCommand::List(arguments) => list(arguments),
        TopicCommand::Describe(arguments) => describe(arguments),
        TopicCommand::Alter(arguments) => alter(arguments),
        TopicCommand::Delete(arguments) => delete(arguments),
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_string())
}

fn create(arguments: &CreateArgs) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let name = &arguments.name;
    let configs = arguments.config.iter();
    let configs =
        configs.map(|(key, value)| CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value))));
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(arguments.partitions.unwrap_or(-1))
        .with_replication_factor(arguments.replication_factor.unwrap_or(-1))
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(client.timeout_ms());
    let response = client.call(Node::Any, 7, &request)?;
    for result in &response.topics {
        if result.error_code == ErrorCode::TopicAlreadyExists.code() && arguments.if_not_exists {
            return print(&format!("Topic {name} is there already.\n"));
        }
        if result.error_code != 0 {
            let message = result.error_message.as_ref();
            return Err(Trouble::refused(format!("topic {name}"), result.error_code, message).into());
        }
    }
    // Brokers take notice of a new topic a moment after it is created.
    let made = client.retry(|client| client.topic_once(name, false))?;
    print(&format!("Created topic {name} with {}.\n", counted(made.partitions.len(), "partition")))
}

fn list(arguments: &ListArgs) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let mut topics = client.retry(|client| client.metadata(None, false))?.topics;
    topics.retain(|topic| arguments.internal || !topic.is_internal);
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    if arguments.json {
        let rows = topics.iter().map(|topic| {
            json!({
                "name": name_of(topic),
                "id": id_of(topic),
                "internal": topic.is_internal,
                "partitions": topic.partitions.len(),
                "replication_factor": replication_factor(topic),
            })
        });
        return print_json(&rows.collect());
    }
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "REPLICAS"]);
    for topic in &topics {
        let counts = [topic.partitions.len().to_string(), replication_factor(topic).to_string()];
        table.row([name_of(topic)].into_iter().chain(counts));
    }
    if table.is_empty() {
        eprintln!("There are no topics; `ringlog topic create NAME` makes one.");
        return Ok(());
    }
    print(&table.render())
}

fn name_of(topic: &MetadataResponseTopic) -> String {
    topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default()
}

fn id_of(topic: &MetadataResponseTopic) -> String {
    TopicId(topic.topic_id.into_bytes()).to_string()
}

fn replication_factor(topic: &MetadataResponseTopic) -> usize {
    topic.partitions.iter().map(|p| p.replica_nodes.len()).max().unwrap_or(0)
}

fn describe(arguments: &DescribeArgs) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let mut described = Vec::new();
    for name in &arguments.names {
        let topic = client.topic(name, false)?;
        let mut configs = configs(&mut client, name)?;
        configs.retain(|c| arguments.all || c.config_source == DYNAMIC_TOPIC_CONFIG);
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        let partitions: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
        let earliest = offsets_at(&mut client, name, &partitions, EARLIEST)?;
        let latest = offsets_at(&mut client, name, &partitions, LATEST)?;
        if arguments.json {
            described.push(describe_json(&topic, &configs, &earliest, &latest));
        } else {
            print(&describe_text(&topic, &configs, &earliest, &latest))?;
        }
    }
    if arguments.json { print_json(&json!(described)) } else { Ok(()) }
}

/// By partition.
type Offsets = BTreeMap<i32, i64>;

fn describe_json(
    topic: &MetadataResponseTopic,
    configs: &[DescribeConfigsResourceResult],
    earliest: &Offsets,
    latest: &Offsets,
) -> serde_json::Value {
    let ids = |nodes: &[BrokerId]| nodes.iter().map(|n| n.0).collect::<Vec<i32>>();
    let partitions = topic.partitions.iter().map(|p| {
        json!({
            "partition": p.partition_index,
            "leader": *p.leader_id,
            "leader_epoch": p.leader_epoch,
            "replicas": ids(&p.replica_nodes),
            "isr": ids(&p.isr_nodes),
            "earliest": earliest.get(&p.partition_index),
            "latest": latest.get(&p.partition_index),
        })
    });
    let configs: serde_json::Map<String, serde_json::Value> =
        configs.iter().map(|c| (c.name.to_string(), json!(c.value.as_ref().map(|v| v.to_string())))).collect();
    json!({
        "name": name_of(topic),
        "id": id_of(topic),
        "internal": topic.is_internal,
        "configs": configs,
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

fn describe_text(
    topic: &MetadataResponseTopic,
    configs: &[DescribeConfigsResourceResult],
    earliest: &Offsets,
    latest: &Offsets,
) -> String {
    let mut out =
        format!("Topic {}  id {}  {}\n", name_of(topic), id_of(topic), counted(topic.partitions.len(), "partition"));
    for config in configs {
        out += &format!("  {}={}\n", config.name, config.value.as_ref().map_or("", |v| v.as_str()));
    }
    let list = |nodes: &[BrokerId]| nodes.iter().map(|n| n.0.to_string()).collect::<Vec<_>>().join(",");
    let mut table = Table::new(&["PARTITION", "LEADER", "REPLICAS", "ISR", "EARLIEST", "LATEST"]);
    for p in &topic.partitions {
        let offset = |of: &Offsets| of.get(&p.partition_index).map_or("-".to_string(), |at| at.to_string());
        table.row([
            p.partition_index.to_string(),
            p.leader_id.to_string(),
            list(&p.replica_nodes),
            list(&p.isr_nodes),
            offset(earliest),
            offset(latest),
        ]);
    }
    out + &table.render()
}

fn configs(client: &mut Client, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Trouble> {
    let resource = DescribeConfigsResource::default().with_resource_type(TOPIC_RESOURCE).with_resource_name(text(name));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource.with_configuration_keys(None)]);
    client.retry(|client| {
        let mut results = client.call(Node::Any, 4, &request)?.results;
        let Some(result) = results.pop() else { return Ok(Vec::new()) };
        if result.error_code != 0 {
            let subject = format!("settings of topic {name}");
            return Err(Trouble::refused(subject, result.error_code, result.error_message.as_ref()));
        }
        Ok(result.configs)
    })
}

/// The offset of the first record at or after `timestamp` (milliseconds, or `EARLIEST`, `LATEST`) in each partition; -1 if
/// there is none so late.
pub(super) fn offsets_at(
    client: &mut Client,
    name: &str,
    partitions: &[i32],
    timestamp: i64,
) -> Result<Offsets, Trouble> {
    client.retry(|client| {
        let topic = client.topic_once(name, false)?;
        let mut by_leader: BTreeMap<Node, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for p in topic.partitions.iter().filter(|p| partitions.contains(&p.partition_index)) {
            let asked =
                ListOffsetsPartition::default().with_partition_index(p.partition_index).with_timestamp(timestamp);
            by_leader.entry(Node::Id(*p.leader_id)).or_default().push(asked);
        }
        let mut found = BTreeMap::new();
        for (leader, asked) in by_leader {
            let asked = ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(asked);
            let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
            collect_offsets(name, client.call(leader, 9, &request)?, &mut found)?;
        }
        Ok(found)
    })
}

fn collect_offsets(name: &str, response: ListOffsetsResponse, found: &mut Offsets) -> Result<(), Trouble> {
    for p in response.topics.iter().flat_map(|topic| &topic.partitions) {
        if p.error_code != 0 {
            let subject = format!("offsets of partition {} of topic {name}", p.partition_index);
            return Err(Trouble::refused(subject, p.error_code, None));
        }
        found.insert(p.partition_index, p.offset);
    }
    Ok(())
}

fn alter(arguments: &AlterArgs) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let name = &arguments.name;
    client.topic(name, false)?;
    if !arguments.config.is_empty() || !arguments.delete_config.is_empty() {
        alter_configs(&mut client, arguments)?;
        let changed = arguments.config.len() + arguments.delete_config.len();
        print(&format!("Changed {} of topic {name}.\n", counted(changed, "setting")))?;
    }
    if let Some(count) = arguments.partitions {
        let topic = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic.with_assignments(None)])
            .with_timeout_ms(client.timeout_ms());
        for result in client.call(Node::Any, 3, &request)?.results {
            if result.error_code != 0 {
                let message = result.error_message.as_ref();
                return Err(Trouble::refused(format!("topic {name}"), result.error_code, message).into());
            }
        }
        print(&format!("Topic {name} has {} now.\n", counted(count as usize, "partition")))?;
    }
    Ok(())
}

fn alter_configs(client: &mut Client, arguments: &AlterArgs) -> Result<(), Trouble> {
    let set = arguments.config.iter().map(|(key, value)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(OP_SET).with_value(Some(text(value)))
    });
    let delete = arguments
        .delete_config
        .iter()
        .map(|key| AlterableConfig::default().with_name(text(key)).with_config_operation(OP_DELETE).with_value(None));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC_RESOURCE)
        .with_resource_name(text(&arguments.name))
        .with_configs(set.chain(delete).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    for result in client.call(Node::Any, 1, &request)?.responses {
        if result.error_code != 0 {
            let subject = format!("topic {}", arguments.name);
            return Err(Trouble::refused(subject, result.error_code, result.error_message.as_ref()));
        }
    }
    Ok(())
}

fn delete(arguments: &DeleteArgs) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let names = arguments.names.iter().map(|name| topic_name(name)).collect();
    let request = DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(client.timeout_ms());
    let mut failures = Vec::new();
    for result in client.call(Node::Any, 5, &request)?.responses {
        let name = result.name.map(|name| name.to_string()).unwrap_or_default();
        if result.error_code == 0 {
            print(&format!("Deleted topic {name}.\n"))?;
        } else if result.error_code == ErrorCode::UnknownTopicOrPartition.code() && arguments.if_exists {
            print(&format!("There is no topic {name}.\n"))?;
        } else {
            let message = result.error_message.as_ref();
            failures.push(Trouble::refused(format!("topic {name}"), result.error_code, message).to_string());
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Failed(failures.join("\n"))) }
}
