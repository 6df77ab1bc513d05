//! Every client reads what every client wrote, each writer with another codec.

use crate::common::{Client, an_hour_ago};
use serde_json::{Value, json};

#[test]
fn every_client_reads_what_every_client_wrote() {
    let clients = Client::all();
    let Some(first) = clients.first() else { return };
    let topic = first.topic("cross", 1, &json!({}));
    let (since, mut wanted) = (an_hour_ago(), Vec::new());
    for (writer, codec) in clients.iter().zip(["zstd", "none", "snappy", "lz4", "gzip"]) {
        let records: Vec<Value> = (0..10)
            .map(|i| {
                json!({"partition": 0, "key": writer.name, "value": format!("{} {codec} {i}", writer.name),
                       "headers": [["codec", codec]], "timestamp": since + i})
            })
            .collect();
        writer.produce(&topic, &json!(records), &json!({"compression": codec, "linger_ms": 20}));
        wanted.extend(records);
    }
    for reader in &clients {
        let read = reader.consume(&topic, &[0], wanted.len(), &json!({}));
        for (offset, (found, record)) in read.iter().zip(&wanted).enumerate() {
            assert_eq!(found["offset"].as_i64(), Some(offset as i64), "by {}", reader.name);
            for field in ["key", "value", "headers", "timestamp"] {
                assert_eq!(found[field], record[field], "{field} of {record} by {}", reader.name);
            }
        }
    }
}
