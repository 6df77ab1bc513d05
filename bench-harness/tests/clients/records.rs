//! Records: written by a client, read back by the same client, field by field. Pairwise, not every product: each codec meets
//! another mixture of acks and idempotence.

use crate::common::{Client, an_hour_ago, per_client};
use serde_json::{Value, json};

/// Room for the largest value tried, 10 MiB, and its batch.
const LARGE: u64 = 11_000_000;

/// Keys, values and headers of every kind, sizes from nothing to 200,000 bytes, over two partitions, with times that rise.
fn assortment(client: &Client, codec: &str) -> Vec<Value> {
    let mut records = vec![
        json!({"key": null, "value": format!("written with {codec}")}),
        json!({"key": "a key", "value": ""}),
        json!({"key": "gone", "value": null}),
        json!({"key": "", "value": {"hex": "00ff80c3"}}),
        json!({"key": {"hex": "fffe00"}, "value": "binary key"}),
        json!({"key": "headers", "value": "v", "headers": [["one", "1"], ["zwei", {"hex": "c328"}], ["empty", ""]]}),
        json!({"key": "k", "value": {"size": 1_100, "seed": 1}}),
        json!({"key": "k", "value": {"size": 66_000, "seed": 2}}),
        json!({"key": "k", "value": {"size": 200_000, "seed": 3}}),
    ];
    if ["confluent", "aiokafka", "java"].contains(&client.name) {
        records.push(json!({"key": "h", "value": "v", "headers": [["null", null]]}));
    }
    if client.name != "kafkajs" {
        // kafkajs hands headers over by name, so it cannot say that a name came twice.
        records.push(json!({"key": "h", "value": "v", "headers": [["twice", "1"], ["twice", "2"]]}));
    }
    let since = an_hour_ago();
    for (i, record) in records.iter_mut().enumerate() {
        record["partition"] = json!(i % 2);
        record["timestamp"] = json!(since + i as i64);
        if record.get("headers").is_none() {
            record["headers"] = json!([]);
        }
    }
    records
}

/// Writes an assortment, checks where it was said to go, and reads it back.
fn round_trip(client: &Client, codec: &str, acks: &str, idempotence: bool) {
    let topic = client.topic(&format!("round-trip-{codec}"), 2, &json!({}));
    let written = assortment(client, codec);
    let how = json!({"compression": codec, "acks": acks, "idempotence": idempotence});
    let places = client.produce(&topic, &json!(written), &how);
    let mut next = [0, 0];
    for (record, place) in written.iter().zip(&places) {
        let partition = record["partition"].as_u64().unwrap() as usize;
        assert_eq!(*place, (partition as i64, next[partition]), "{codec} of {}", client.name);
        next[partition] += 1;
    }
    let read = client.consume(&topic, &[0, 1], written.len(), &json!({}));
    for (record, (partition, offset)) in written.iter().zip(places) {
        let found = read.iter().find(|r| r["partition"] == partition && r["offset"] == offset).expect("read back");
        for field in ["key", "value", "headers", "timestamp"] {
            assert_eq!(found[field], record[field], "{field} of {record}, {codec} by {}", client.name);
        }
    }
}

fn codec_none(client: &Client) {
    round_trip(client, "none", "all", true);
}

fn codec_gzip(client: &Client) {
    round_trip(client, "gzip", "1", false);
}

fn codec_snappy(client: &Client) {
    round_trip(client, "snappy", "all", true);
}

fn codec_lz4(client: &Client) {
    round_trip(client, "lz4", "1", false);
}

pub(crate) fn codec_zstd(client: &Client) {
    round_trip(client, "zstd", "all", false);
}

per_client!(codec_none: confluent kafka_python aiokafka kafkajs java);
per_client!(codec_gzip: confluent kafka_python aiokafka kafkajs java);
per_client!(codec_snappy: confluent kafka_python aiokafka kafkajs java);
per_client!(codec_lz4: confluent kafka_python aiokafka kafkajs java);
per_client!(codec_zstd: confluent kafka_python aiokafka kafkajs java);

/// acks=0 gets no answer at all; what was sent arrives all the same, in order.
fn acks_none(client: &Client) {
    let topic = client.topic("acks-none", 1, &json!({}));
    let written: Vec<Value> = (0..50).map(|i| json!({"partition": 0, "value": format!("unanswered {i}")})).collect();
    client.produce(&topic, &json!(written), &json!({"acks": "0"}));
    let read = client.consume(&topic, &[0], written.len(), &json!({}));
    for (record, found) in written.iter().zip(&read) {
        assert_eq!(found["value"], record["value"]);
    }
}

per_client!(acks_none: confluent kafka_python aiokafka kafkajs java);

/// 10 MiB in one value, where the topic allows it; and it is refused with Kafka's code where the topic does not.
fn ten_mebibytes(client: &Client) {
    let topic = client.topic("large", 1, &json!({"max.message.bytes": LARGE.to_string()}));
    let value = json!({"size": 10 << 20, "seed": 200});
    let written = json!([{"partition": 0, "key": "large", "value": value}, {"partition": 0, "value": "behind it"}]);
    let places = client.produce(&topic, &written, &json!({"max_size": LARGE}));
    assert_eq!(places, [(0, 0), (0, 1)]);
    // A fetch limit of 64 KiB all the same hands over the first batch, however large.
    let read = client.consume(&topic, &[0], 2, &json!({"max_size": 65536}));
    assert_eq!(read[0]["value"], value);
    assert_eq!(read[1]["value"], "behind it");
}

fn too_large(client: &Client) {
    let topic = client.topic("too-large", 1, &json!({"max.message.bytes": "2000"}));
    let args = json!({"topic": topic, "records": [{"partition": 0, "value": {"size": 3000, "seed": 1}}]});
    let error = client.attempt("produce", args).expect_err("3000 bytes do not fit 2000");
    let told = error.code == Some(10) || error.kind.contains("TooLarge") || error.text.contains("larger than");
    assert!(told, "{error:?}");
    assert_eq!(client.offset(&topic, &json!("latest")), 0);
}

per_client!(ten_mebibytes: confluent kafka_python aiokafka kafkajs java);
per_client!(too_large: confluent aiokafka kafkajs java);

/// Thousands of small records from an idempotent producer, in many batches in flight: all there, once, in order.
pub(crate) fn order_of_many(client: &Client) {
    let topic = client.topic("many", 1, &json!({}));
    let written: Vec<Value> = (0..5000).map(|i| json!({"partition": 0, "value": i.to_string()})).collect();
    let places =
        client.produce(&topic, &json!(written), &json!({"idempotence": true, "linger_ms": 0, "compression": "lz4"}));
    assert!(places.iter().enumerate().all(|(i, p)| *p == (0, i as i64)), "{}", client.name);
    let read = client.consume(&topic, &[0], written.len(), &json!({}));
    for (i, record) in read.iter().enumerate() {
        assert_eq!((record["offset"].as_i64(), &record["value"]), (Some(i as i64), &json!(i.to_string())));
    }
}

per_client!(order_of_many: confluent kafka_python aiokafka kafkajs java);

/// Reading again: from the beginning, from an offset, from a time; and the offsets that clients ask for.
fn replay(client: &Client) {
    let topic = client.topic("replay", 1, &json!({}));
    let since = an_hour_ago();
    for second in 0..10 {
        let at = since + second * 1000;
        client.produce(&topic, &json!([{"partition": 0, "timestamp": at, "value": second.to_string()}]), &json!({}));
    }
    let first = |how: Value| client.consume(&topic, &[0], 1, &how)[0]["value"].clone();
    assert_eq!(first(json!({"from": "earliest"})), "0");
    assert_eq!(first(json!({"from": 7})), "7");
    assert_eq!(first(json!({"from": {"time": since + 4000}})), "4");
    assert_eq!(first(json!({"from": {"time": since + 4001}})), "5");
    let all = client.consume(&topic, &[0], 10, &json!({"from": 0}));
    assert_eq!(all.iter().map(|r| r["offset"].as_i64().unwrap()).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(client.offset(&topic, &json!("earliest")), 0);
    assert_eq!(client.offset(&topic, &json!("latest")), 10);
    assert_eq!(client.offset(&topic, &json!(since + 2500)), 3);
}

per_client!(replay: confluent kafka_python aiokafka kafkajs java);

/// The offset of the latest time is not the last offset when times go backwards.
fn latest_time(client: &Client) {
    let topic = client.topic("latest-time", 1, &json!({}));
    let since = an_hour_ago();
    for at in [since, since + 9000, since + 3000] {
        client.produce(&topic, &json!([{"partition": 0, "timestamp": at, "value": "v"}]), &json!({}));
    }
    let found = client.run("list_offsets", json!({"topic": topic, "at": "max_timestamp"}));
    assert_eq!((found["offset"].as_i64(), found["timestamp"].as_i64()), (Some(1), Some(since + 9000)));
}

per_client!(latest_time: confluent kafka_python java);

/// A running consumer goes elsewhere, forwards and back.
fn seek(client: &Client) {
    let topic = client.topic("seek", 1, &json!({}));
    let written: Vec<Value> = (0..100).map(|i| json!({"partition": 0, "value": i.to_string()})).collect();
    client.produce(&topic, &json!(written), &json!({"linger_ms": 50}));
    for to in [60, 3] {
        let read = client.run("seek", json!({"topic": topic, "to": to}));
        assert_eq!((read[0]["offset"].as_i64(), read[1]["offset"].as_i64()), (Some(0), Some(to)), "{read}");
    }
}

per_client!(seek: confluent kafka_python aiokafka java);

/// With `LogAppendTime` the broker's clock is what readers see, whatever the producer said.
fn append_time(client: &Client) {
    let topic = client.topic("append-time", 1, &json!({"message.timestamp.type": "LogAppendTime"}));
    client.produce(&topic, &json!([{"partition": 0, "timestamp": 1_000_000, "value": "v"}]), &json!({}));
    let read = client.consume(&topic, &[0], 1, &json!({}));
    assert!(read[0]["timestamp"].as_i64().unwrap() > an_hour_ago(), "{}", read[0]);
    if client.name != "kafkajs" {
        assert_eq!(read[0]["timestamp_type"], 2, "{}", read[0]);
    }
}

per_client!(append_time: confluent kafka_python aiokafka kafkajs java);

/// A topic nobody made is made by the first write to it.
pub(crate) fn made_on_first_use(client: &Client) {
    let topic = crate::common::unique(&format!("first-use-{}", client.name));
    let places = client.produce(&topic, &json!([{"partition": 0, "value": "first"}]), &json!({}));
    assert_eq!(places, [(0, 0)]);
    assert_eq!(client.consume(&topic, &[0], 1, &json!({}))[0]["value"], "first");
}

per_client!(made_on_first_use: kafka_python aiokafka kafkajs java);

/// Records written before a point that was deleted are gone for readers, and the start of the log says so.
pub(crate) fn delete_records(client: &Client) {
    let topic = client.topic("delete-records", 1, &json!({}));
    let written: Vec<Value> = (0..20).map(|i| json!({"partition": 0, "value": i.to_string()})).collect();
    client.produce(&topic, &json!(written), &json!({}));
    let low = client.run("delete_records", json!({"topic": topic, "before": 12}));
    assert_eq!(low, 12);
    assert_eq!(client.offset(&topic, &json!("earliest")), 12);
    assert_eq!(client.offset(&topic, &json!("latest")), 20);
    let read = client.consume(&topic, &[0], 8, &json!({"from": "earliest"}));
    assert_eq!((read[0]["offset"].as_i64(), &read[0]["value"]), (Some(12), &json!("12")));
    let error = client.attempt("delete_records", json!({"topic": topic, "before": 21})).expect_err("past the end");
    assert!(error.code == Some(1) || error.kind.contains("OffsetOutOfRange") || client.name == "kafkajs", "{error:?}");
}

per_client!(delete_records: confluent kafka_python aiokafka kafkajs java);
