//! Topics, partitions and configs through the clients' own admin calls.

use crate::common::{Client, eventually, per_client, unique};
use serde_json::json;
use std::collections::BTreeSet;

/// A topic from its making to its end.
pub(crate) fn topic_life(client: &Client) {
    let topic = client.topic("life", 2, &json!({"retention.ms": "7200000"}));
    let seen = client.run("metadata", json!({"topic": topic}));
    let brokers: BTreeSet<i64> =
        seen["brokers"].as_array().unwrap().iter().map(|b| b["id"].as_i64().unwrap()).collect();
    assert_eq!(brokers.len(), client.broker.brokers, "{seen}");
    assert_eq!(seen["controller"].as_i64(), brokers.first().copied(), "{seen}");
    let mut leaders = BTreeSet::new();
    assert!(seen["cluster"].as_str().is_some_and(|c| !c.is_empty()) || client.name == "aiokafka", "{seen}");
    for (i, partition) in seen["topics"][&topic]["partitions"].as_array().unwrap().iter().enumerate() {
        let leader = &partition["leader"];
        assert_eq!(partition, &json!({"id": i, "leader": leader, "replicas": [leader], "isrs": [leader]}));
        leaders.insert(leader.as_i64().unwrap());
    }
    assert_eq!(leaders, brokers, "{seen}");
    let again = client.attempt("create_topic", json!({"topic": topic})).expect_err("it exists");
    assert_eq!(again.code, Some(36), "{again:?}");
    client.run("create_partitions", json!({"topic": topic, "partitions": 5}));
    client.wait_for_partitions(&topic, 5);
    client.produce(&topic, &json!([{"partition": 4, "value": "into the new one"}]), &json!({}));
    assert_eq!(client.consume(&topic, &[4], 1, &json!({}))[0]["value"], "into the new one");
    client.run("delete_topic", json!({"topic": topic}));
    eventually("a deleted topic is gone", || {
        // A topic that another test deletes while all are listed is an error to some clients.
        let seen = client.attempt("metadata", json!({})).map_err(|e| json!(e.text))?;
        if seen["topics"].get(&topic).is_none() { Ok(()) } else { Err(seen["topics"][&topic].clone()) }
    });
}

per_client!(topic_life: confluent kafka_python aiokafka kafkajs java);

/// A name used again after its deletion is an empty topic.
fn made_again(client: &Client) {
    let topic = client.topic("again", 1, &json!({}));
    client.produce(&topic, &json!([{"partition": 0, "value": "old"}]), &json!({}));
    client.run("delete_topic", json!({"topic": topic}));
    eventually("the name is free", || {
        client.attempt("create_topic", json!({"topic": topic})).map_err(|e| json!(format!("{e:?}")))
    });
    client.wait_for_partitions(&topic, 1);
    let places = eventually("the new topic takes records", || {
        let args = json!({"topic": topic, "records": [{"partition": 0, "value": "new"}]});
        client.attempt("produce", args).map_err(|e| json!(format!("{e:?}")))
    });
    assert_eq!(places[0]["offset"], 0);
    assert_eq!(client.consume(&topic, &[0], 1, &json!({}))[0]["value"], "new");
}

per_client!(made_again: confluent java);

/// What cannot be made is refused with Kafka's code.
fn refused_topics(client: &Client) {
    let code = |args| client.attempt("create_topic", args).expect_err("a refusal").code;
    assert_eq!(code(json!({"topic": "not a name"})), Some(17), "a name with spaces");
    if client.name != "confluent" {
        // librdkafka refuses that by itself.
        assert_eq!(code(json!({"topic": unique("x"), "partitions": -5})), Some(37), "-5 partitions");
    }
    assert_eq!(code(json!({"topic": unique("x"), "replication": 3})), Some(38), "three replicas on one broker");
    assert_eq!(code(json!({"topic": unique("x"), "config": {"no.such.config": "1"}})), Some(40), "an unknown config");
    assert_eq!(code(json!({"topic": unique("x"), "config": {"retention.ms": "soon"}})), Some(40), "not a number");
    let gone = client.attempt("delete_topic", json!({"topic": unique("never-made")})).expect_err("a refusal");
    assert_eq!(gone.code, Some(3), "{gone:?}");
}

per_client!(refused_topics: confluent kafka_python aiokafka);

/// Topic configs: as given at creation, as altered, and set back.
fn topic_configs(client: &Client) {
    let topic = client.topic("configs", 1, &json!({"retention.ms": "7200000"}));
    let value = |name: &str| client.run("describe_configs", json!({"topic": topic}))[name]["value"].clone();
    assert_eq!(value("retention.ms"), "7200000");
    assert_eq!(value("max.message.bytes"), "1048588");
    client.run("alter_configs", json!({"topic": topic, "set": {"max.message.bytes": "2000000"}}));
    eventually("the altered value shows", || {
        let now = value("max.message.bytes");
        if now == "2000000" { Ok(()) } else { Err(now) }
    });
}

per_client!(topic_configs: confluent kafka_python aiokafka kafkajs java);

/// An altered limit acts at once, and a deleted one falls back to the default.
fn altered_config_acts(client: &Client) {
    let topic = client.topic("acts", 1, &json!({}));
    let large = json!({"topic": topic, "records": [{"partition": 0, "value": {"size": 3000, "seed": 1}}]});
    client.run("produce", large.clone());
    client.run("alter_configs", json!({"topic": topic, "set": {"max.message.bytes": "1500"}}));
    eventually("the limit acts", || client.attempt("produce", large.clone()).err().ok_or(json!("still taken")));
    client.run("alter_configs", json!({"topic": topic, "set": {"max.message.bytes": null}}));
    eventually("the limit is gone", || client.attempt("produce", large.clone()).map_err(|e| json!(e.text)));
    let refused = client.attempt("alter_configs", json!({"topic": topic, "set": {"retention.ms": "soon"}}));
    assert_eq!(refused.expect_err("not a number").code, Some(40));
}

per_client!(altered_config_acts: confluent java);

/// Sources and synonyms as Kafka shows them, and a broker-wide default that is altered while it runs.
pub(crate) fn config_sources(client: &Client) {
    let topic = client.topic("sources", 1, &json!({"segment.bytes": "2000000"}));
    let described = client.run("describe_configs", json!({"topic": topic}));
    assert_eq!(described["segment.bytes"]["source"], "DYNAMIC_TOPIC_CONFIG", "{}", described["segment.bytes"]);
    assert_eq!(described["retention.ms"]["source"], "DEFAULT_CONFIG");
    let synonyms = described["segment.bytes"]["synonyms"].as_array().unwrap();
    assert_eq!(synonyms[0], "segment.bytes=2000000 DYNAMIC_TOPIC_CONFIG");
    assert!(synonyms.iter().any(|s| s == "log.segment.bytes=1073741824 DEFAULT_CONFIG"), "{synonyms:?}");
    let seen = client.run("metadata", json!({"topic": topic}));
    let broker = seen["brokers"].as_array().and_then(|all| all.last()).expect("a broker")["id"].to_string();
    let settings = client.run("describe_configs", json!({"broker": broker}));
    assert_eq!(settings["log.segment.bytes"]["value"], "1073741824");
    assert_eq!(settings["broker.id"]["read_only"], true, "{}", settings["broker.id"]);
    client.run("alter_configs", json!({"broker": broker, "set": {"log.retention.ms": "86400000"}}));
    let inherited = eventually("the topic inherits the broker's value", || {
        let now = client.run("describe_configs", json!({"topic": topic}))["retention.ms"].clone();
        if now["value"] == "86400000" { Ok(now) } else { Err(now) }
    });
    assert_eq!(inherited["source"], "DYNAMIC_BROKER_CONFIG", "{inherited}");
    client.run("alter_configs", json!({"broker": broker, "set": {"log.retention.ms": null}}));
}

per_client!(config_sources: java);
