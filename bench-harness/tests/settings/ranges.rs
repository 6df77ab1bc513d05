//! Consumers behind memory: the first to read a segment has it checked, those after it are sent ranges of its file. Whatever the
//! way, the bytes are the same; and a reader that stops holds nothing that others need.

use super::client::{Client, NOBODY, TOPIC, broker, files};
use ringlog_bench_harness::broker::Broker;
use ringlog_bench_harness::peer::{Answer, Body, batch};
use ringlog_bench_harness::wait::until;
use std::path::PathBuf;

const MIB: i32 = 1 << 20;
/// Kafka's code for what is stored and cannot be read.
const STORAGE_ERROR: i16 = 56;

/// The segments that are open to send ranges of them: read past no cache.
fn sent_from(broker: &Broker) -> Vec<String> {
    let proc = PathBuf::from(format!("/proc/{}", broker.pid()));
    let open = std::fs::read_dir(proc.join("fd")).expect("it runs");
    let cached = |number: &str| {
        let told = std::fs::read_to_string(proc.join("fdinfo").join(number)).unwrap_or_default();
        let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.is_some_and(|flags| i32::from_str_radix(flags.trim(), 8).expect("octal") & libc::O_DIRECT == 0)
    };
    open.filter_map(|entry| {
        let entry = entry.ok()?;
        let path = std::fs::read_link(entry.path()).ok()?.to_str()?.to_string();
        let segment = path.ends_with(".log") || path.ends_with(".log (deleted)");
        (segment && path.contains(broker.data_dir().to_str()?) && cached(entry.file_name().to_str()?)).then_some(path)
    })
    .collect()
}

/// So many batches of one record each, told apart by their bytes.
fn fill(client: &mut Client, topic: &str, partition: i32, batches: usize, bytes: usize) {
    for k in 0..batches {
        let value = (0..bytes).map(|at| (at / 7 + k * 31) as u8).collect();
        client.produce(topic, partition, &batch(NOBODY, -1, &[value]));
    }
}

/// The whole batches at the beginning of what a fetch brought: their bytes, and the offset after them.
fn whole_batches(bytes: &[u8]) -> (&[u8], i64) {
    let (mut len, mut next) = (0, -1);
    while let Some(head) = bytes[len..].first_chunk::<12>() {
        let size = 12 + u32::from_be_bytes(head[8..].try_into().expect("four bytes")) as usize;
        if len + size > bytes.len() {
            break;
        }
        len += size;
        next = i64::from_be_bytes(head[..8].try_into().expect("eight bytes")) + 1;
    }
    (&bytes[..len], next)
}

/// Everything from an offset on, fetch by fetch.
fn read(client: &mut Client, topic: &str, partition: i32, from: i64, max_bytes: i32) -> Vec<u8> {
    let (mut at, mut all) = (from, Vec::new());
    loop {
        client.send_fetch(topic, partition, at, max_bytes, 5000);
        let got = client.receive_fetch();
        assert_eq!(got.code, 0, "{topic}-{partition} at {at}");
        let (bytes, next) = whole_batches(&got.bytes);
        assert!(next > at, "a whole batch at {at}, as there is one");
        all.extend_from_slice(bytes);
        at = next;
        if at == got.high_watermark {
            return all;
        }
    }
}

/// A broker on two shards with a topic of two partitions, each with a sealed segment, and nothing of it in memory.
fn filled(name: &str, overrides: &[&str]) -> Broker {
    let mut all = vec!["ringlog.cores=0,0", "log.retention.check.interval.ms=100", "socket.send.buffer.bytes=65536"];
    all.extend(overrides);
    let mut broker = broker(name, &all);
    let mut client = Client::of(&broker);
    let configs = [("segment.bytes", "16777216"), ("file.delete.delay.ms", "0"), ("index.interval.bytes", "65536")];
    client.create("t", 2, &configs);
    fill(&mut client, "t", 0, 24, 900_000);
    fill(&mut client, "t", 1, 300, 61_000);
    broker.terminate();
    broker.launch();
    broker
}

/// What was read and checked is sent from its file when it is asked for again, from the setting's size on, and is the same.
#[test]
pub(crate) fn ranges() {
    let many = filled("ranges", &[]);
    let none = filled("ranges-none", &["ringlog.fetch.range.min.bytes=2147483647"]);
    for (broker, sends) in [(&many, true), (&none, false)] {
        let mut client = Client::of(broker);
        for partition in [0, 1] {
            let before = sent_from(broker).len();
            let first = read(&mut client, "t", partition, 0, MIB);
            assert_eq!(sent_from(broker).len(), before, "nobody had read it");
            for max_bytes in [MIB, 5 * MIB, 100_000] {
                assert!(read(&mut client, "t", partition, 0, max_bytes) == first, "{max_bytes} at a time");
            }
            // In the middle of what an index entry covers.
            let part = read(&mut client, "t", partition, 5, MIB);
            assert!(first.ends_with(&part) && part.len() > first.len() / 2);
            assert_eq!(sent_from(broker).len() > before, sends);
        }
    }
}

/// One answer with ranges of two files, of partitions of two shards.
#[test]
fn two_in_one_answer() {
    let broker = filled("ranges-two", &[]);
    let mut client = Client::of(&broker);
    let whole = [0, 1].map(|partition| read(&mut client, "t", partition, 0, MIB));
    let body = Body::default().i32(-1).i32(5000).i32(1).i32(4 * MIB).i8(0).i32(1).text("t").i32(2);
    let body = body.i32(0).i64(0).i32(2 * MIB).i32(1).i64(0).i32(2 * MIB);
    let mut open = 0;
    // The first time it opens the files, and may answer with less.
    while open < 2 {
        client.0.call(1, 4, Body(body.0.clone())).expect("an answer");
        open = sent_from(&broker).len();
    }
    let answer = client.0.call(1, 4, body).expect("an answer");
    let mut answer = Answer(&answer);
    assert_eq!((answer.i32().unwrap(), answer.i32().unwrap()), (0, 1));
    assert_eq!((answer.text().unwrap(), answer.i32().unwrap()), (&b"t"[..], 2));
    for (partition, whole) in (0..).zip(&whole) {
        assert_eq!((answer.i32().unwrap(), answer.i16().unwrap()), (partition, 0));
        answer.take(20).unwrap();
        let records = answer.bytes().unwrap();
        assert!(records.len() > MIB as usize && whole.starts_with(records), "partition {partition}");
    }
    assert!(answer.0.is_empty());
}

/// Readers that stop in the middle of a range: its topic is deleted, its segment is taken by retention, and neither waits for
/// them. One reads on and gets what it was promised; the other goes away. Then nothing of it stays open.
#[test]
fn readers_that_stop() {
    let broker = filled("ranges-stop", &[]);
    let mut client = Client::of(&broker);
    let whole = [0, 1].map(|partition| read(&mut client, "t", partition, 0, MIB));
    let mut stopped = [0, 0, 1].map(|partition| {
        let mut stopped = Client::of(&broker);
        stopped.send_fetch("t", partition, 0, 14 * MIB, 5000);
        stopped
    });
    until("ranges of both are on their way", || sent_from(&broker).len() == 2);
    client.alter(TOPIC, "t", "retention.bytes", Some("1"));
    let sealed = |broker: &Broker| {
        let logs = files(&broker.data_dir().join("t"), ".log");
        logs.iter().filter(|(path, _)| path.ends_with("00000000000000000000.log")).count()
    };
    until("retention takes both segments", || sealed(&broker) == 0);
    assert!(files(&broker.data_dir(), ".seg").is_empty(), "what was sent from is not filled again");
    assert_eq!(client.delete("t"), 0);
    until("the topic's files are gone", || files(&broker.data_dir().join("t"), ".log").is_empty());
    assert_eq!(sent_from(&broker).len(), 2, "open for those who wait");
    client.create("u", 1, &[]);
    client.put("u", 0, 1000);
    for (reader, partition) in [(0, 0), (2, 1)] {
        let got = stopped[reader].receive_fetch();
        assert_eq!(got.code, 0);
        assert!(got.bytes.len() > 10 << 20 && whole[partition].starts_with(&got.bytes), "reader {reader}");
    }
    drop(stopped);
    until("no segment is open to be sent", || sent_from(&broker).is_empty());
    client.put("u", 0, 1000);
}

/// A file that turns out shorter than it was: the answer under way ends with its connection, and from then on the segment is
/// checked again before anything of it is sent. What is left is served, the rest refused.
#[test]
fn a_file_that_fails() {
    let broker = filled("ranges-fail", &[]);
    let mut client = Client::of(&broker);
    let whole = read(&mut client, "t", 0, 0, MIB);
    assert!(read(&mut client, "t", 0, 0, 8 * MIB) == whole);
    assert!(!sent_from(&broker).is_empty());
    let (path, _) = files(&broker.data_dir().join("t"), "00000000000000000000.log")
        .into_iter()
        .find(|(path, _)| path.to_str().expect("text").contains("/0."))
        .expect("the first segment");
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("a file");
    file.set_len(4 << 20).expect("it is cut");
    client.send_fetch("t", 0, 0, 14 * MIB, 5000);
    assert!(client.0.receive().is_err(), "an answer that cannot be finished ends the connection");
    let mut client = Client::of(&broker);
    client.send_fetch("t", 0, 0, 14 * MIB, 5000);
    let got = client.receive_fetch();
    assert!(got.code == 0 && !got.bytes.is_empty() && whole.starts_with(&got.bytes));
    client.send_fetch("t", 0, 10, MIB, 5000);
    assert_eq!(client.receive_fetch().code, STORAGE_ERROR);
    assert!(read(&mut client, "t", 1, 0, MIB).len() > 16 << 20);
}
