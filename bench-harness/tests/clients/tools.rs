//! Kafka 4.2's own command-line tools, by their main classes, in the Java driver's process.

use crate::common::{Client, eventually, per_client, unique};
use serde_json::{Value, json};

/// What a tool printed and how it ended.
struct Ended {
    status: i64,
    out: String,
    err: String,
}

/// Runs a tool with `--bootstrap-server` before `args`.
fn attempt(client: &Client, class: &str, args: &[&str], stdin: &str) -> Ended {
    let mut all = vec!["--bootstrap-server", &client.broker.bootstrap];
    all.extend(args);
    raw(client, class, &all, stdin)
}

/// Runs a tool with exactly `args`.
fn raw(client: &Client, class: &str, args: &[&str], stdin: &str) -> Ended {
    let told = client.run("tool", json!({"class": class, "args": args, "stdin": stdin}));
    let text = |name: &str| told[name].as_str().expect("text").to_string();
    Ended { status: told["status"].as_i64().expect("a status"), out: text("out"), err: text("err") }
}

/// Runs a tool that must end well, and returns what it printed.
fn tool(client: &Client, class: &str, args: &[&str], stdin: &str) -> String {
    let ended = attempt(client, class, args, stdin);
    assert_eq!(ended.status, 0, "{class} {args:?}\n{}\n{}", ended.out, ended.err);
    ended.out
}

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const WRITER: &str = "org.apache.kafka.tools.ConsoleProducer";
const READER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";

pub(crate) fn topics(client: &Client) {
    let topic = unique("tool-topics");
    let made = tool(
        client,
        TOPICS,
        &["--create", "--topic", &topic, "--partitions", "3", "--config", "retention.ms=7200000"],
        "",
    );
    assert!(made.contains(&format!("Created topic {topic}.")), "{made}");
    client.wait_for_partitions(&topic, 3);
    assert!(tool(client, TOPICS, &["--list"], "").lines().any(|l| l == topic));
    let shown = tool(client, TOPICS, &["--describe", "--topic", &topic], "");
    assert!(shown.contains("PartitionCount: 3") && shown.contains("ReplicationFactor: 1"), "{shown}");
    assert!(shown.contains("retention.ms=7200000"), "{shown}");
    assert_eq!(shown.lines().filter(|l| l.contains("Leader: ") && l.contains("Isr: ")).count(), 3, "{shown}");
    tool(client, TOPICS, &["--alter", "--topic", &topic, "--partitions", "4"], "");
    client.wait_for_partitions(&topic, 4);
    let fewer = attempt(client, TOPICS, &["--alter", "--topic", &topic, "--partitions", "2"], "");
    assert_ne!(fewer.status, 0, "{}", fewer.out);
    let again = attempt(client, TOPICS, &["--create", "--topic", &topic], "");
    assert!(again.status != 0 && (again.out + &again.err).contains("already exists"));
    tool(client, TOPICS, &["--delete", "--topic", &topic], "");
    eventually("the topic is gone", || {
        let listed = tool(client, TOPICS, &["--list"], "");
        if listed.lines().any(|l| l == topic) { Err(json!(listed)) } else { Ok(()) }
    });
}

per_client!(topics: java);

pub(crate) fn configs(client: &Client) {
    let topic = client.topic("tool-configs", 1, &json!({}));
    let about = ["--entity-type", "topics", "--entity-name", &topic];
    let with = |more: &[&'static str]| [&about[..], more].concat();
    let altered =
        tool(client, CONFIGS, &with(&["--alter", "--add-config", "retention.ms=7200000,max.message.bytes=70000"]), "");
    assert!(altered.contains("Completed updating config"), "{altered}");
    let shown = tool(client, CONFIGS, &with(&["--describe"]), "");
    assert!(shown.contains("retention.ms=7200000") && shown.contains("DYNAMIC_TOPIC_CONFIG"), "{shown}");
    tool(client, CONFIGS, &with(&["--alter", "--delete-config", "retention.ms"]), "");
    let shown = tool(client, CONFIGS, &with(&["--describe"]), "");
    assert!(!shown.contains("retention.ms=7200000") && shown.contains("max.message.bytes=70000"), "{shown}");
    let all = tool(client, CONFIGS, &with(&["--describe", "--all"]), "");
    assert!(all.contains("cleanup.policy=delete") && all.contains("DEFAULT_CONFIG"), "{all}");
    for broker in client.run("metadata", json!({"topic": topic}))["brokers"].as_array().expect("a list") {
        let broker = broker["id"].to_string();
        let about = ["--entity-type", "brokers", "--entity-name", &broker, "--describe", "--all"];
        let all = tool(client, CONFIGS, &about, "");
        assert!(all.contains("log.dirs=") && all.contains("STATIC_BROKER_CONFIG"), "{all}");
    }
    let wrong = attempt(client, CONFIGS, &with(&["--alter", "--add-config", "no.such=1"]), "");
    assert_ne!(wrong.status, 0, "{}", wrong.out);
}

per_client!(configs: java);

#[test]
fn console_writer_and_reader() {
    let Some(client) = Client::of("java") else { return };
    let topic = client.topic("console", 1, &json!({}));
    let keyed = ["--topic", &topic, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:"];
    tool(&client, WRITER, &keyed, "a:first\nb:second\nc:third\n");
    tool(&client, WRITER, &["--topic", &topic, "--compression-codec", "lz4"], "fourth\n");
    let printed = ["--formatter-property", "print.key=true", "--formatter-property", "print.offset=true"];
    let args = [&["--topic", &topic, "--from-beginning", "--max-messages", "4"], &printed[..]].concat();
    let read = tool(&client, READER, &args, "");
    assert_eq!(read, "Offset:0\ta\tfirst\nOffset:1\tb\tsecond\nOffset:2\tc\tthird\nOffset:3\tnull\tfourth\n");
    let args = ["--topic", &topic, "--partition", "0", "--offset", "2", "--max-messages", "1"];
    assert_eq!(tool(&client, READER, &args, ""), "third\n");
}

pub(crate) fn consumer_groups(client: &Client) {
    let (topic, group) = (client.topic("tool-groups", 2, &json!({})), unique("tool-group"));
    let records: Vec<Value> = (0..20).map(|i| json!({"partition": i % 2, "value": i.to_string()})).collect();
    client.produce(&topic, &json!(records), &json!({}));
    let read = ["--topic", &topic, "--group", &group, "--from-beginning", "--max-messages", "20"];
    assert_eq!(tool(client, READER, &read, "").lines().count(), 20);
    assert_eq!(tool(client, GROUPS, &["--list"], "").lines().filter(|l| *l == group).count(), 1);
    let shown = |client: &Client| tool(client, GROUPS, &["--describe", "--group", &group], "");
    // Columns: group, topic, partition, current offset, log end offset, lag, ...
    let lags = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|l| l.split_whitespace().next() == Some(&group));
        let mut lags: Vec<String> =
            rows.map(|l| l.split_whitespace().skip(2).take(4).collect::<Vec<_>>().join(" ")).collect();
        lags.sort_unstable();
        lags
    };
    let text = shown(client);
    assert_eq!(lags(&text), ["0 10 10 0", "1 10 10 0"], "{text}");
    let reset = ["--reset-offsets", "--group", &group, "--topic", &topic, "--to-offset", "4", "--execute"];
    tool(client, GROUPS, &reset, "");
    let text = shown(client);
    assert_eq!(lags(&text), ["0 4 10 6", "1 4 10 6"], "{text}");
    let reset = ["--reset-offsets", "--group", &group, "--topic", &topic, "--to-earliest", "--execute"];
    tool(client, GROUPS, &reset, "");
    let text = shown(client);
    assert_eq!(lags(&text), ["0 0 10 10", "1 0 10 10"], "{text}");
    let state = tool(client, GROUPS, &["--describe", "--group", &group, "--state"], "");
    assert!(state.contains("Empty"), "{state}");
    tool(client, GROUPS, &["--delete-offsets", "--group", &group, "--topic", &format!("{topic}:1")], "");
    let text = shown(client);
    assert_eq!(lags(&text).len(), 1, "{text}");
    tool(client, GROUPS, &["--delete", "--group", &group], "");
    assert!(!tool(client, GROUPS, &["--list"], "").lines().any(|l| l == group));
}

per_client!(consumer_groups: java);

#[test]
fn get_offsets_and_delete_records() {
    let Some(client) = Client::of("java") else { return };
    let topic = client.topic("tool-offsets", 1, &json!({}));
    let records: Vec<Value> = (0..10).map(|i| json!({"partition": 0, "value": i.to_string()})).collect();
    client.produce(&topic, &json!(records), &json!({}));
    let offset = |time: &str| tool(&client, OFFSETS, &["--topic", &topic, "--time", time], "");
    assert_eq!(offset("latest"), format!("{topic}:0:10\n"));
    assert_eq!(offset("earliest"), format!("{topic}:0:0\n"));
    assert_eq!(offset("max-timestamp").lines().count(), 1);
    let wanted = json!({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 6}]});
    let file = std::env::temp_dir().join(unique("delete-records"));
    std::fs::write(&file, wanted.to_string()).expect("a temporary file");
    let args = ["--offset-json-file", file.to_str().expect("UTF-8")];
    let told = tool(&client, "org.apache.kafka.tools.DeleteRecordsCommand", &args, "");
    std::fs::remove_file(&file).expect("our own file");
    assert!(told.contains("low_watermark: 6"), "{told}");
    assert_eq!(offset("earliest"), format!("{topic}:0:6\n"));
}

pub(crate) fn log_dirs(client: &Client) {
    let topic = client.topic("tool-log-dirs", 2, &json!({}));
    client.produce(&topic, &json!([{"partition": 0, "value": {"size": 5000, "seed": 1}}]), &json!({}));
    let told = tool(client, "org.apache.kafka.tools.LogDirsCommand", &["--describe", "--topic-list", &topic], "");
    let line = told.lines().find(|l| l.starts_with('{')).unwrap_or_else(|| panic!("{told}"));
    let told: Value = serde_json::from_str(line).expect("JSON");
    let brokers = told["brokers"].as_array().expect("a list");
    assert_eq!(brokers.len(), client.broker.brokers, "{told}");
    let directories = brokers.iter().map(|broker| &broker["logDirs"][0]);
    let partitions: Vec<&Value> = directories.flat_map(|dir| dir["partitions"].as_array().expect("a list")).collect();
    assert_eq!(partitions.len(), 2, "{told}");
    assert!(brokers.iter().all(|broker| broker["logDirs"][0]["error"].is_null()), "{told}");
    let first = partitions.iter().find(|p| p["partition"] == format!("{topic}-0")).expect("partition 0");
    assert!(first["size"].as_i64().is_some_and(|s| s >= 5000), "{told}");
}

per_client!(log_dirs: java);

#[test]
fn performance_tests() {
    let Some(client) = Client::of("java") else { return };
    let topic = client.topic("perf", 2, &json!({}));
    let bootstrap = format!("bootstrap.servers={}", client.broker.bootstrap);
    let args = [
        "--topic",
        &topic,
        "--num-records",
        "20000",
        "--record-size",
        "200",
        "--throughput",
        "-1",
        "--producer-props",
        &bootstrap,
        "acks=all",
        "linger.ms=5",
    ];
    let told = raw(&client, "org.apache.kafka.tools.ProducerPerformance", &args, "");
    assert_eq!(told.status, 0, "{}\n{}", told.out, told.err);
    assert!(told.out.contains("20000 records sent"), "{}", told.out);
    let args = ["--topic", &topic, "--messages", "20000", "--timeout", "20000"];
    let told = tool(&client, "org.apache.kafka.tools.ConsumerPerformance", &args, "");
    let row = told.lines().rfind(|l| l.contains(", ")).expect("a row of figures");
    assert_eq!(row.split(", ").nth(4), Some("20000"), "{told}");
}

#[test]
fn verifiable_writer_and_reader() {
    let Some(client) = Client::of("java") else { return };
    let topic = client.topic("verifiable", 1, &json!({}));
    let args = ["--bootstrap-server", &client.broker.bootstrap, "--topic", &topic, "--max-messages", "500"];
    let class = "org.apache.kafka.tools.VerifiableProducer";
    let ended = client.run("tool", json!({"class": class, "args": args, "process": true}));
    let told = ended["out"].as_str().expect("text");
    assert_eq!(ended["status"], 0, "{told}");
    assert_eq!(told.lines().filter(|l| l.contains("producer_send_success")).count(), 500);
    assert!(told.contains("\"acked\":500"), "{told}");
    let args =
        ["--topic", &topic, "--group-id", &unique("verifiable"), "--max-messages", "500", "--reset-policy", "earliest"];
    let told = tool(&client, "org.apache.kafka.tools.VerifiableConsumer", &args, "");
    let read: i64 = told
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        .filter(|event| event["name"] == "records_consumed")
        .filter_map(|event| event["count"].as_i64())
        .sum();
    assert_eq!(read, 500, "{told}");
}

/// What the broker offers, as Kafka's own tool reads it: nothing that this client would refuse.
#[test]
fn api_versions() {
    let Some(client) = Client::of("java") else { return };
    let told = tool(&client, "org.apache.kafka.tools.BrokerApiVersionsCommand", &[], "");
    for api in [
        "Produce(0)",
        "Fetch(1)",
        "ListOffsets(2)",
        "Metadata(3)",
        "OffsetCommit(8)",
        "JoinGroup(11)",
        "InitProducerId(22)",
    ] {
        let line = told.lines().find(|l| l.contains(api)).unwrap_or_else(|| panic!("{api} in {told}"));
        assert!(line.contains("usable:"), "{line}");
    }
}
