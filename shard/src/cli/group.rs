//! `ringlog group`: list, describe, delete consumer groups, and move their committed offsets.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use ringlog_engine::ErrorCode;
use ringlog_net::cold::StrBytes;
use ringlog_net::cold::messages::describe_groups_response::DescribedGroup;
use ringlog_net::cold::messages::list_groups_response::ListedGroup;
use ringlog_net::cold::messages::{DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest};
use serde_json::json;

use super::Broker;
use super::client::{Client, Trouble, group_id};
use super::member::{Assignment, Partition, commit, committed, read_assignment};
use super::output::{Failure, Table, counted, print, print_json};
use super::time;
use super::topic::{EARLIEST, LATEST, offsets_at};

#[derive(Args, Debug)]
pub(super) struct GroupArgs {
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Subcommand, Debug)]
enum GroupCommand {
    List(ListArgs),
    Describe(DescribeArgs),
    Delete(DeleteArgs),
    Reset(ResetArgs),
}

/// List the groups.
#[derive(Args, Debug)]
struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: Broker,
}

/// Show a group's members, committed offsets and lag.
#[derive(Args, Debug)]
struct DescribeArgs {
    group: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: Broker,
}

/// Delete groups and their committed offsets.
#[derive(Args, Debug)]
struct DeleteArgs {
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    broker: Broker,
}

/// Move the committed offsets of a group without members. Only shows what would change, unless --execute.
#[derive(Args, Debug)]
struct ResetArgs {
    group: String,
    /// A topic, or some of its partitions; may be repeated.
    #[arg(long, short, value_name = "TOPIC[:0,1,...]", value_parser = topic_partitions, required_unless_present = "all_topics")]
    topic: Vec<(String, Option<Vec<i32>>)>,
    /// Every partition the group has committed.
    #[arg(long, conflicts_with = "topic")]
    all_topics: bool,
    #[command(flatten)]
    to: Target,
    /// Commit the new offsets.
    #[arg(long)]
    execute: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Target {
    /// To the first record that is kept.
    #[arg(long)]
    to_earliest: bool,
    /// Past the last record.
    #[arg(long)]
    to_latest: bool,
    /// To this offset, or the nearest there is.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record at or after this time: 2026-05-01T12:00:00Z, milliseconds, or how long ago (2h).
    #[arg(long, value_name = "TIME")]
    to_datetime: Option<String>,
    /// By so many records forward, or back if negative.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
}

pub(super) fn run(arguments: &GroupArgs) -> Result<(), Failure> {
    match &arguments.command {
        GroupCommand::List(arguments) => list(arguments),
        GroupCommand::Describe(arguments) => describe(arguments),
        GroupCommand::Delete(arguments) => delete(arguments),
        GroupCommand::Reset(arguments) => reset(arguments),
    }
}

/// `topic` or `topic:0,1`.
fn topic_partitions(text: &str) -> Result<(String, Option<Vec<i32>>), String> {
    let Some((topic, list)) = text.split_once(':') else { return Ok((text.to_string(), None)) };
    let partitions: Option<Vec<i32>> = list.split(',').map(|p| p.trim().parse().ok().filter(|p| *p >= 0)).collect();
    let partitions = partitions.ok_or("expected TOPIC or TOPIC:0,1,...")?;
    Ok((topic.to_string(), Some(partitions)))
}

fn list(arguments: &ListArgs) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let mut groups: Vec<ListedGroup> = Vec::new();
    for node in client.nodes()? {
        let listed = client.retry(|client| {
            let listed = client.call(node, 5, &ListGroupsRequest::default())?;
            match listed.error_code {
                0 => Ok(listed.groups),
                code => Err(Trouble::refused("list of groups", code, None)),
            }
        })?;
        groups.extend(listed);
    }
    groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    if arguments.json {
        let rows = groups.iter().map(|g| {
            json!({
                "group": g.group_id.as_str(),
                "type": g.group_type.as_str(),
                "protocol_type": g.protocol_type.as_str(),
                "state": g.group_state.as_str(),
            })
        });
        return print_json(&rows.collect());
    }
    if groups.is_empty() {
        eprintln!("There are no groups.");
        return Ok(());
    }
    let or_dash = |text: &StrBytes| if text.is_empty() { "-".to_string() } else { text.to_string() };
    let mut table = Table::new(&["GROUP", "TYPE", "PROTOCOL", "STATE"]);
    for g in &groups {
        let rest = [&g.group_type, &g.protocol_type, &g.group_state].map(or_dash);
        table.row([g.group_id.to_string()].into_iter().chain(rest));
    }
    print(&table.render())
}

/// The coordinator's view of a group. A group that is only committed offsets may be unknown to it: state Dead.
fn look_up(client: &mut Client, group: &str) -> Result<DescribedGroup, Trouble> {
    client.retry(|client| {
        let coordinator = client.coordinator(group)?;
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let mut groups = client.call(coordinator, 6, &request)?.groups;
        let Some(found) = groups.pop() else {
            return Err(Trouble::refused(format!("group {group}"), ErrorCode::GroupIdNotFound.code(), None));
        };
        match ErrorCode::from_code(found.error_code) {
            Some(ErrorCode::None) => Ok(found),
            Some(ErrorCode::GroupIdNotFound) => Ok(found.with_group_state(StrBytes::from_static_str("Dead"))),
            _ => Err(Trouble::refused(format!("group {group}"), found.error_code, found.error_message.as_ref())),
        }
    })
}

/// One line of a description.
struct Line {
    partition: Partition,
    committed: Option<i64>,
    end: Option<i64>,
    /// Client id and host of the member that reads it.
    reader: Option<(String, String)>,
}

impl Line {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

fn describe(arguments: &DescribeArgs) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let group = look_up(&mut client, &arguments.group)?;
    let offsets = committed(&mut client, &arguments.group, None)?;
    if &*group.group_state == "Dead" && offsets.is_empty() {
        let code = ErrorCode::GroupIdNotFound.code();
        return Err(Trouble::refused(format!("group {}", arguments.group), code, None).into());
    }
    let lines = lines(&mut client, &group, &offsets)?;
    if arguments.json {
        return print_json(&describe_json(&arguments.group, &group, &lines));
    }
    let members = counted(group.members.len(), "member");
    let mut text = format!("Group {}  {}  {members}", arguments.group, group.group_state.as_str());
    if !group.protocol_data.is_empty() {
        text += &format!("  assignor {}", group.protocol_data.as_str());
    }
    text.push('\n');
    let dash = |n: Option<i64>| n.map_or("-".to_string(), |n| n.to_string());
    let mut table = Table::new(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "CLIENT", "HOST"]);
    for line in &lines {
        let (reader, host) = line.reader.clone().unwrap_or(("-".to_string(), "-".to_string()));
        let (topic, partition) = line.partition.clone();
        table.row([topic, partition.to_string(), dash(line.committed), dash(line.end), dash(line.lag()), reader, host]);
    }
    if !table.is_empty() {
        text += &table.render();
    }
    print(&text)
}

fn describe_json(name: &str, group: &DescribedGroup, lines: &[Line]) -> serde_json::Value {
    let partitions = lines.iter().map(|line| {
        json!({
            "topic": line.partition.0,
            "partition": line.partition.1,
            "committed": line.committed,
            "end": line.end,
            "lag": line.lag(),
            "client_id": line.reader.as_ref().map(|r| &r.0),
            "host": line.reader.as_ref().map(|r| &r.1),
        })
    });
    let members = group.members.iter().map(|m| {
        json!({
            "member_id": m.member_id.as_str(),
            "instance_id": m.group_instance_id.as_ref().map(|id| id.as_str()),
            "client_id": m.client_id.as_str(),
            "host": m.client_host.as_str(),
        })
    });
    json!({
        "group": name,
        "state": group.group_state.as_str(),
        "protocol_type": group.protocol_type.as_str(),
        "assignor": group.protocol_data.as_str(),
        "members": members.collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

/// Every partition that is committed or assigned, with where its log ends.
fn lines(
    client: &mut Client,
    group: &DescribedGroup,
    offsets: &BTreeMap<Partition, i64>,
) -> Result<Vec<Line>, Trouble> {
    let mut readers: BTreeMap<Partition, Option<(String, String)>> =
        offsets.keys().map(|partition| (partition.clone(), None)).collect();
    for member in group.members.iter().filter(|_| &*group.protocol_type == "consumer") {
        // Other clients may put anything here; what cannot be read is not shown.
        for (topic, partitions) in read_assignment(&member.member_assignment).unwrap_or_default() {
            for partition in partitions {
                let reader = (member.client_id.to_string(), member.client_host.to_string());
                readers.insert((topic.clone(), partition), Some(reader));
            }
        }
    }
    let ends = offsets_of(client, &by_topic(readers.keys()), LATEST)?;
    let line = |(partition, reader): (Partition, Option<(String, String)>)| Line {
        committed: offsets.get(&partition).copied(),
        end: ends.get(&partition).copied(),
        partition,
        reader,
    };
    Ok(readers.into_iter().map(line).collect())
}

fn by_topic<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> Assignment {
    let mut topics = Assignment::new();
    for (topic, partition) in partitions {
        topics.entry(topic.clone()).or_default().push(*partition);
    }
    topics
}

/// ListOffsets over several topics. A topic that was deleted meanwhile has none.
fn offsets_of(client: &mut Client, topics: &Assignment, timestamp: i64) -> Result<BTreeMap<Partition, i64>, Trouble> {
    let mut found = BTreeMap::new();
    for (topic, partitions) in topics {
        match client.topic(topic, false) {
            Ok(_) => {}
            Err(trouble) if trouble.code() == Some(ErrorCode::UnknownTopicOrPartition) => continue,
            Err(trouble) => return Err(trouble),
        }
        for (partition, offset) in offsets_at(client, topic, partitions, timestamp)? {
            found.insert((topic.clone(), partition), offset);
        }
    }
    Ok(found)
}

fn delete(arguments: &DeleteArgs) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let mut failures = Vec::new();
    for group in &arguments.groups {
        let outcome = client.retry(|client| {
            let coordinator = client.coordinator(group)?;
            let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
            let results = client.call(coordinator, 2, &request)?.results;
            match results.iter().find(|result| result.error_code != 0) {
                Some(result) => Err(Trouble::refused(format!("group {group}"), result.error_code, None)),
                None => Ok(()),
            }
        });
        match outcome {
            Ok(()) => print(&format!("Deleted group {group}.\n"))?,
            Err(trouble) => failures.push(trouble.to_string()),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Failed(failures.join("\n"))) }
}

fn reset(arguments: &ResetArgs) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let group = &arguments.group;
    let now = look_up(&mut client, group)?;
    if arguments.execute && !matches!(&*now.group_state, "Empty" | "Dead") {
        let state = now.group_state.as_str();
        return Err(Failure::Failed(format!(
            "group {group} is {state}, with {}; stop its consumers first, `ringlog group describe {group}` shows them",
            counted(now.members.len(), "member")
        )));
    }
    let current = committed(&mut client, group, None)?;
    let chosen = if arguments.all_topics { by_topic(current.keys()) } else { choose(&mut client, arguments)? };
    let targets = targets(&mut client, arguments, &chosen, &current)?;
    if targets.is_empty() {
        return Err(Failure::Failed(format!("group {group} has committed no offsets; name a --topic")));
    }
    if arguments.execute {
        client.retry(|client| commit(client, group, -1, &StrBytes::new(), &targets))?;
    }
    show_reset(arguments, &current, &targets)
}

fn choose(client: &mut Client, arguments: &ResetArgs) -> Result<Assignment, Failure> {
    let mut chosen = Assignment::new();
    for (topic, some) in &arguments.topic {
        let metadata = client.topic(topic, false)?;
        let all: Vec<i32> = metadata.partitions.iter().map(|p| p.partition_index).collect();
        let partitions = some.clone().unwrap_or_else(|| all.clone());
        if let Some(missing) = partitions.iter().find(|p| !all.contains(p)) {
            let has = counted(all.len(), "partition");
            return Err(Failure::Failed(format!("topic {topic} has {has}; there is no partition {missing}")));
        }
        chosen.entry(topic.clone()).or_default().extend(partitions);
    }
    Ok(chosen)
}

/// The new offset of each chosen partition, always within its log.
fn targets(
    client: &mut Client,
    arguments: &ResetArgs,
    chosen: &Assignment,
    current: &BTreeMap<Partition, i64>,
) -> Result<BTreeMap<Partition, i64>, Failure> {
    let to = &arguments.to;
    let earliest = offsets_of(client, chosen, EARLIEST)?;
    let latest = offsets_of(client, chosen, LATEST)?;
    let at_time = match &to.to_datetime {
        Some(text) => {
            let ms = time::parse(text, time::now_ms()).map_err(Failure::Usage)?;
            offsets_of(client, chosen, ms)?
        }
        None => BTreeMap::new(),
    };
    let mut targets = BTreeMap::new();
    for (partition, end) in &latest {
        let start = earliest.get(partition).copied().unwrap_or(0);
        let wanted = if to.to_earliest {
            start
        } else if let Some(offset) = to.to_offset {
            offset
        } else if let Some(shift) = to.shift_by {
            let Some(from) = current.get(partition) else { continue };
            from.saturating_add(shift)
        } else {
            // -1: no record is as late as that.
            at_time.get(partition).copied().filter(|offset| *offset >= 0).unwrap_or(*end)
        };
        targets.insert(partition.clone(), wanted.max(start).min(*end));
    }
    Ok(targets)
}

fn show_reset(
    arguments: &ResetArgs,
    current: &BTreeMap<Partition, i64>,
    targets: &BTreeMap<Partition, i64>,
) -> Result<(), Failure> {
    if arguments.json {
        let rows = targets.iter().map(|(partition, offset)| {
            let old = current.get(partition);
            json!({ "topic": partition.0, "partition": partition.1, "committed": old, "new": offset })
        });
        return print_json(&json!({ "executed": arguments.execute, "partitions": rows.collect::<Vec<_>>() }));
    }
    let mut table = Table::new(&["TOPIC", "PARTITION", "COMMITTED", "NEW"]);
    for (partition, offset) in targets {
        let old = current.get(partition).map_or("-".to_string(), |old| old.to_string());
        table.row([partition.0.clone(), partition.1.to_string(), old, offset.to_string()]);
    }
    print(&table.render())?;
    if !arguments.execute {
        eprintln!("Nothing was changed; --execute commits these offsets.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_may_name_some_of_its_partitions() {
        assert_eq!(topic_partitions("t"), Ok(("t".to_string(), None)));
        assert_eq!(topic_partitions("t:0,2"), Ok(("t".to_string(), Some(vec![0, 2]))));
        assert!(topic_partitions("t:").is_err());
        assert!(topic_partitions("t:-1").is_err());
    }

    #[test]
    fn lag_needs_both_ends_and_is_never_negative() {
        let line = |committed, end| Line { partition: ("t".to_string(), 0), committed, end, reader: None };
        assert_eq!(line(Some(3), Some(10)).lag(), Some(7));
        assert_eq!(line(Some(10), Some(3)).lag(), Some(0));
        assert_eq!(line(None, Some(3)).lag(), None);
        assert_eq!(line(Some(3), None).lag(), None);
    }
}
