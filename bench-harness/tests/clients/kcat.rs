//! kcat, as Debian packages it: lists, writes and reads through its command line.

use crate::common::{Client, Shared, unique};
use ringlog_bench_harness::clients::{Runtime, install};
use serde_json::json;
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs kcat on the broker under test with `input`; panics when it fails. `None` when it cannot be had here.
fn kcat(args: &[&str], input: &str) -> Option<String> {
    if !install(Runtime::Kcat) {
        return None;
    }
    let broker = Shared::get();
    let root = Runtime::Kcat.dir().join("root/usr");
    let mut child = Command::new(root.join("bin/kcat"))
        .env("LD_LIBRARY_PATH", root.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH)))
        .args(["-b", &broker.bootstrap])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kcat runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("kcat reads its input");
    let output = child.wait_with_output().expect("kcat ends");
    assert!(output.status.success(), "kcat {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// Writes lines with keys and headers under each codec, and reads them formatted.
#[test]
fn writes_and_reads() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = unique(&format!("kcat-{codec}"));
        let args = ["-P", "-t", &topic, "-K:", "-H", "h=1", "-z", codec, "-X", "enable.idempotence=true"];
        if kcat(&args, "a:first\nb:second\n:third\n").is_none() {
            return;
        }
        let read = kcat(&["-C", "-t", &topic, "-o", "beginning", "-e", "-q", "-f", "%p %o %k %h %s\n"], "").unwrap();
        let mut lines: Vec<&str> = read.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["0 0 a h=1 first", "0 1 b h=1 second", "0 2  h=1 third"], "{codec}");
        let last = kcat(&["-C", "-t", &topic, "-o", "-1", "-e", "-q"], "").unwrap();
        assert_eq!(last, "third\n");
    }
}

/// Lists the topic, its partition and its leader.
#[test]
fn lists_and_queries() {
    let topic = unique("kcat-list");
    if kcat(&["-P", "-t", &topic], "one\ntwo\n").is_none() {
        return;
    }
    let listed = kcat(&["-L", "-J", "-t", &topic], "").unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed["topics"][0]["topic"], topic.as_str(), "{listed}");
    assert_eq!(listed["topics"][0]["partitions"][0]["leader"], listed["brokers"][0]["id"], "{listed}");
    let end = kcat(&["-Q", "-t", &format!("{topic}:0:-1")], "").unwrap();
    assert!(end.trim().ends_with("offset 2"), "{end}");
}

/// Reads as a group member what another client wrote.
#[test]
fn reads_in_a_group() {
    let Some(client) = Client::of("confluent") else { return };
    let topic = client.topic("kcat-group", 2, &json!({}));
    client.produce(&topic, &json!([{"partition": 0, "value": "zero"}, {"partition": 1, "value": "one"}]), &json!({}));
    let group = unique("kcat");
    let args = ["-G", &group, "-X", "auto.offset.reset=earliest", "-c", "2", "-q", &topic];
    let Some(read) = kcat(&args, "") else { return };
    let mut lines: Vec<&str> = read.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "zero"]);
}
