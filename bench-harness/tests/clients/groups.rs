//! Consumer groups: members that come, go, stay away and come back; committed offsets; groups as admin clients see them.

use crate::common::{Client, eventually, per_client, unique};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A member of a group; it is told to stop when a test is done with it or fails.
struct Member<'a> {
    client: &'a Client,
    name: String,
    running: bool,
}

impl<'a> Member<'a> {
    fn start(client: &'a Client, about: &str, group: &str, topic: &str, more: &Value) -> Self {
        let name = unique(about);
        let mut args = json!({"name": name, "group": group, "topic": topic});
        for (key, value) in more.as_object().into_iter().flatten() {
            args[key.as_str()] = value.clone();
        }
        client.run("member_start", args);
        Self { client, name, running: true }
    }

    fn state(&self) -> Value {
        let state = self.client.run("member_state", json!({"name": self.name}));
        assert!(state["error"].is_null(), "{} {}: {}", self.client.name, self.name, state["error"]);
        state
    }

    /// Which partitions it has now.
    fn assigned(&self) -> Vec<i64> {
        self.state()["assigned"].as_array().expect("a list").iter().filter_map(Value::as_i64).collect()
    }

    /// (partition, offset) of everything it read.
    fn read(&self) -> Vec<(i64, i64)> {
        let state = self.state();
        let records = state["records"].as_array().expect("a list");
        records.iter().map(|r| (r[0].as_i64().unwrap(), r[1].as_i64().unwrap())).collect()
    }

    fn rebalances(&self) -> i64 {
        self.state()["rebalances"].as_i64().expect("a count")
    }

    fn stop(mut self, leave: bool) {
        self.running = false;
        self.client.run("member_stop", json!({"name": self.name, "leave": leave}));
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if self.running {
            let _ = self.client.attempt("member_stop", json!({"name": self.name}));
        }
    }
}

/// Waits until the members hold `sizes` partitions, in that order, none of them held twice.
fn wait_for_shares(members: &[&Member], sizes: &[usize]) {
    eventually(&format!("shares of {sizes:?}"), || {
        let held: Vec<Vec<i64>> = members.iter().map(|m| m.assigned()).collect();
        let all: BTreeSet<i64> = held.iter().flatten().copied().collect();
        let fits = held.iter().map(Vec::len).eq(sizes.iter().copied()) && all.len() == sizes.iter().sum::<usize>();
        if fits { Ok(()) } else { Err(json!(held)) }
    });
}

/// Writes `count` records to each of `partitions`.
fn fill(client: &Client, topic: &str, partitions: usize, count: usize) {
    let records: Vec<Value> =
        (0..partitions * count).map(|i| json!({"partition": i % partitions, "value": i.to_string()})).collect();
    client.produce(topic, &json!(records), &json!({"linger_ms": 20}));
}

/// Waits until the members together read every record of `partitions` up to offset `end`, each exactly once.
fn wait_for_reads(members: &[&Member], partitions: i64, end: i64) {
    let wanted: BTreeSet<(i64, i64)> = (0..partitions).flat_map(|p| (0..end).map(move |o| (p, o))).collect();
    eventually("every record is read", || {
        let read: BTreeSet<(i64, i64)> = members.iter().flat_map(|m| m.read()).collect();
        let missing: Vec<_> = wanted.difference(&read).take(5).collect();
        if missing.is_empty() { Ok(()) } else { Err(json!(format!("missing {missing:?}"))) }
    });
}

/// Waits until the group committed `end` for each of `partitions`.
fn wait_for_commits(client: &Client, group: &str, topic: &str, partitions: usize, end: i64) {
    for partition in 0..partitions {
        eventually("the commits arrive", || {
            let at = client.run("committed", json!({"group": group, "topic": topic, "partition": partition}));
            if at["offset"] == end { Ok(()) } else { Err(at) }
        });
    }
}

/// One member has all; a second takes half; the first leaves, and the second goes on where the first stopped.
fn come_and_go(client: &Client, how: &Value) {
    let (topic, group) = (client.topic("group", 4, &json!({})), unique("group"));
    let first = Member::start(client, "first", &group, &topic, how);
    wait_for_shares(&[&first], &[4]);
    fill(client, &topic, 4, 10);
    wait_for_reads(&[&first], 4, 10);
    let second = Member::start(client, "second", &group, &topic, how);
    wait_for_shares(&[&first, &second], &[2, 2]);
    fill(client, &topic, 4, 10);
    wait_for_reads(&[&first, &second], 4, 20);
    wait_for_commits(client, &group, &topic, 4, 20);
    let before = first.read().len();
    first.stop(true);
    wait_for_shares(&[&second], &[4]);
    fill(client, &topic, 4, 10);
    eventually("the second goes on alone", || {
        let read: BTreeSet<_> = second.read().into_iter().collect();
        let all = (0..4).all(|p| (20..30).all(|o| read.contains(&(p, o))));
        if all { Ok(()) } else { Err(json!(read.len())) }
    });
    let again = second.read().into_iter().collect::<BTreeSet<_>>().len();
    assert_eq!(before + again, 120, "what the first had committed was not read again");
    wait_for_commits(client, &group, &topic, 4, 30);
    second.stop(true);
}

pub(crate) fn classic(client: &Client) {
    come_and_go(client, &json!({"strategy": "range"}));
}

fn cooperative(client: &Client) {
    come_and_go(client, &json!({"strategy": "cooperative-sticky"}));
}

per_client!(classic: confluent kafka_python aiokafka kafkajs java);
per_client!(cooperative: confluent kafka_python java);

/// In a cooperative rebalance a member gives up only what moves.
#[test]
fn cooperative_keeps_what_stays() {
    let Some(client) = Client::of("java") else { return };
    let (topic, group) = (client.topic("keeps", 4, &json!({})), unique("group"));
    let how = json!({"strategy": "cooperative-sticky"});
    let first = Member::start(&client, "first", &group, &topic, &how);
    wait_for_shares(&[&first], &[4]);
    let second = Member::start(&client, "second", &group, &topic, &how);
    wait_for_shares(&[&first, &second], &[2, 2]);
    assert_eq!(first.state()["revoked"], 2);
    second.stop(true);
    first.stop(true);
}

/// A static member that is away for a moment gets its partitions back, and nobody else notices.
fn static_member(client: &Client) {
    let (topic, group) = (client.topic("static", 4, &json!({})), unique("group"));
    let known = |instance: &str| json!({"instance": instance, "session": 30000});
    let stays = Member::start(client, "stays", &group, &topic, &known("a"));
    let goes = Member::start(client, "goes", &group, &topic, &known("b"));
    wait_for_shares(&[&stays, &goes], &[2, 2]);
    let (held, rebalances) = (goes.assigned(), stays.rebalances());
    goes.stop(false);
    let back = Member::start(client, "back", &group, &topic, &known("b"));
    wait_for_shares(&[&stays, &back], &[2, 2]);
    assert_eq!(back.assigned(), held);
    fill(client, &topic, 4, 5);
    wait_for_reads(&[&stays, &back], 4, 5);
    assert_eq!(stays.rebalances(), rebalances, "the other member was disturbed");
    back.stop(true);
    stays.stop(true);
}

per_client!(static_member: confluent kafka_python java);

/// A second process under a static member's name fences the first.
#[test]
fn static_member_fenced() {
    let Some(client) = Client::of("java") else { return };
    let (topic, group) = (client.topic("fenced", 2, &json!({})), unique("group"));
    let old = Member::start(&client, "old", &group, &topic, &json!({"instance": "same"}));
    wait_for_shares(&[&old], &[2]);
    let new = Member::start(&client, "new", &group, &topic, &json!({"instance": "same"}));
    wait_for_shares(&[&new], &[2]);
    eventually("the old one is fenced", || {
        let state = client.run("member_state", json!({"name": old.name}));
        if state["error"].as_str().is_some_and(|e| e.contains("FencedInstanceId")) {
            Ok(())
        } else {
            Err(state["error"].clone())
        }
    });
    new.stop(true);
}

/// A member that vanishes without a word loses its partitions when its session ends.
#[test]
fn vanished_member() {
    let Some(client) = Client::of("java") else { return };
    let (topic, group) = (client.topic("vanished", 4, &json!({})), unique("group"));
    let first = Member::start(&client, "first", &group, &topic, &json!({"session": 6000}));
    let second = Member::start(&client, "second", &group, &topic, &json!({"session": 6000}));
    wait_for_shares(&[&first, &second], &[2, 2]);
    second.stop(false);
    assert_eq!(first.assigned().len(), 2, "not before the session ends");
    wait_for_shares(&[&first], &[4]);
    first.stop(true);
}

/// Members written in different languages share one group.
#[test]
fn mixed_group() {
    let clients: Vec<Client> = ["confluent", "kafka-python", "java"].into_iter().filter_map(Client::of).collect();
    let Some(any) = clients.first() else { return };
    let (topic, group) = (any.topic("mixed", 6, &json!({})), unique("group"));
    let members: Vec<Member> =
        clients.iter().map(|c| Member::start(c, c.name, &group, &topic, &json!({"strategy": "range"}))).collect();
    let members: Vec<&Member> = members.iter().collect();
    wait_for_shares(&members, &vec![6 / members.len(); members.len()]);
    fill(any, &topic, 6, 10);
    wait_for_reads(&members, 6, 10);
    assert_eq!(members.iter().map(|m| m.read().len()).sum::<usize>(), 60, "no record was read twice");
}

/// Partitions added to a topic reach its group.
#[test]
fn grown_topic() {
    let Some(client) = Client::of("confluent") else { return };
    let (topic, group) = (client.topic("grown", 1, &json!({})), unique("group"));
    let how = json!({"config": {"topic.metadata.refresh.interval.ms": 500}});
    let member = Member::start(&client, "member", &group, &topic, &how);
    wait_for_shares(&[&member], &[1]);
    client.run("create_partitions", json!({"topic": topic, "partitions": 3}));
    wait_for_shares(&[&member], &[3]);
    member.stop(true);
}

/// Offsets committed by hand, with their metadata; one never committed is none, not nought.
pub(crate) fn committed_offsets(client: &Client) {
    let (topic, group) = (client.topic("committed", 2, &json!({})), unique("group"));
    fill(client, &topic, 2, 10);
    let at = |partition: u8| client.run("committed", json!({"group": group, "topic": topic, "partition": partition}));
    client.run("commit", json!({"group": group, "topic": topic, "offset": 7, "metadata": "so far"}));
    let found = at(0);
    assert_eq!(found["offset"], 7, "{}", client.name);
    // kafkajs sets offsets without it.
    assert!(found["metadata"] == "so far" || client.name == "kafkajs", "{found} by {}", client.name);
    assert!(at(1)["offset"].is_null());
    client.run("commit", json!({"group": group, "topic": topic, "offset": 3}));
    assert_eq!(at(0)["offset"], 3, "a group may go back");
    assert!(client.run("list_groups", json!({})).get(&group).is_some());
}

per_client!(committed_offsets: confluent kafka_python aiokafka kafkajs java);

/// A group as it is shown: stable with its members, empty without them, gone when deleted; not to be deleted while it lives.
pub(crate) fn shown_and_deleted(client: &Client) {
    let (topic, group) = (client.topic("shown", 2, &json!({})), unique("group"));
    let member = Member::start(client, "member", &group, &topic, &json!({}));
    wait_for_shares(&[&member], &[2]);
    let shown = client.run("describe_group", json!({"group": group, "topic": topic}));
    assert_eq!(shown["state"], "stable", "{shown}");
    assert_eq!(shown["members"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(shown["members"][0]["client"], member.name.as_str(), "{shown}");
    if client.name != "kafka-python" {
        assert_eq!(shown["members"][0]["partitions"], json!([0, 1]), "{shown}");
    }
    let refused = client.attempt("delete_group", json!({"group": group})).expect_err("it is in use");
    assert!(refused.code == Some(68) || refused.kind.contains("NonEmpty") || client.name == "kafkajs", "{refused:?}");
    fill(client, &topic, 2, 1);
    wait_for_commits(client, &group, &topic, 2, 1);
    member.stop(true);
    eventually("the group is empty", || {
        let shown = client.run("describe_group", json!({"group": group, "topic": topic}));
        if shown["state"] == "empty" { Ok(()) } else { Err(shown) }
    });
    client.run("delete_group", json!({"group": group}));
    assert!(client.run("list_groups", json!({})).get(&group).is_none());
}

per_client!(shown_and_deleted: confluent kafka_python kafkajs java);

/// An admin client moves and deletes single offsets of an empty group.
#[test]
fn moved_by_admin() {
    let (Some(librdkafka), Some(java)) = (Client::of("confluent"), Client::of("java")) else { return };
    let (topic, group) = (java.topic("moved", 1, &json!({})), unique("group"));
    fill(&java, &topic, 1, 10);
    java.run("commit", json!({"group": group, "topic": topic, "offset": 9}));
    librdkafka.run("alter_group_offset", json!({"group": group, "topic": topic, "offset": 4}));
    assert_eq!(java.run("committed", json!({"group": group, "topic": topic}))["offset"], 4);
    java.run("delete_group_offset", json!({"group": group, "topic": topic}));
    assert!(java.run("committed", json!({"group": group, "topic": topic}))["offset"].is_null());
}
