//! Bytes that rotted on disk: nothing damaged is served, everything else is, and a repair takes away no more than that.

use super::broker::{Broker, lines, ringlog};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};

/// The one partition's folder of a topic.
fn partition(dir: &Path, topic: &str) -> PathBuf {
    std::fs::read_dir(dir.join(topic)).unwrap().next().unwrap().unwrap().path()
}

fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect();
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x20;
    std::fs::write(path, bytes).unwrap();
}

fn inspect(path: &Path) -> serde_json::Value {
    let (_, out, error) = ringlog(&["inspect", "--json", path.to_str().unwrap()]);
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{error}"))
}

/// Lines of 1,000 bytes that begin with their number.
fn long_lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n:<1000}\n")).collect()
}

fn consume(broker: &Broker, line: &str) -> (bool, Vec<u32>, String) {
    // A storage error is tried again, as by any client; once is enough here.
    let output = broker.run(&format!("{line} --timeout 1"), "");
    let numbers = String::from_utf8(output.stdout).unwrap();
    let numbers = numbers.lines().map(|line| line.trim().parse().unwrap()).collect();
    (output.status.success(), numbers, String::from_utf8(output.stderr).unwrap())
}

/// A broker with a topic of several segments and one of few records, stopped.
fn filled(test: &str) -> (Broker, Vec<PathBuf>) {
    let broker = Broker::start(test);
    broker.ok("topic create t --partitions 1 -c segment.bytes=1048576", "");
    for from in (0..4000).step_by(100) {
        broker.ok("produce t", &long_lines(from..from + 100));
    }
    broker.ok("produce other --partition 0", &lines(0..100));
    let broker = broker.restart(Signal::SIGTERM, |_| ());
    let segments = files(&partition(&broker.folder, "t"), ".log");
    assert!(segments.len() >= 3, "{segments:?}");
    (broker, segments)
}

#[test]
fn what_is_before_damage_is_served_and_the_rest_refused_until_it_is_repaired() {
    let (broker, segments) = filled("damage");
    let dir = broker.folder.clone();
    let damaged = inspect(&segments[1]);
    assert_eq!(damaged["damage"], serde_json::json!([]));
    let batch = &damaged["batches"][2];
    let (from, position) = (batch["base_offset"].as_u64().unwrap() as u32, batch["position"].as_u64().unwrap());
    let next = damaged["next_offset"].as_u64().unwrap() as u32;
    let mut broker = broker.restart(Signal::SIGTERM, |_| flip(&segments[1], position as usize + 700));
    for _ in 0..2 {
        let (done, read, error) = consume(&broker, "consume t --from-beginning --exit");
        assert!(!done && error.contains("KAFKA_STORAGE_ERROR"), "{error}");
        assert_eq!(read, (0..from).collect::<Vec<_>>());
        for offset in [from, from + 1, next, 3999] {
            let (done, read, error) = consume(&broker, &format!("consume t -o {offset} --exit"));
            assert!(!done && read.is_empty() && error.contains("KAFKA_STORAGE_ERROR"), "{offset}: {error}");
        }
        assert_eq!(broker.ok("consume other --from-beginning --exit", ""), lines(0..100));
        let path = dir.to_str().unwrap();
        assert!(ringlog(&["repair", path, "--yes"]).2.contains("in use by another broker"));
        broker = broker.restart(Signal::SIGKILL, |_| ());
    }

    let broker = broker.restart(Signal::SIGTERM, |dir| repair(dir, from, next));
    let (done, read, error) = consume(&broker, "consume t --from-beginning --exit");
    assert!(done, "{error}");
    assert_eq!(read, (0..from).chain(next..4000).collect::<Vec<_>>());
    assert_eq!(broker.ok("consume other --from-beginning --exit", ""), lines(0..100));
    broker.ok("produce t", &long_lines(4000..4010));
    let broker = broker.restart(Signal::SIGKILL, |_| ());
    assert_eq!(consume(&broker, &format!("consume t -o {from} --exit")).1, (next..4010).collect::<Vec<_>>());
}

fn repair(dir: &Path, from: u32, next: u32) {
    let path = dir.to_str().unwrap();
    let lost = format!("t-0: offsets {from} to {}", next - 1);
    let (code, _, error) = ringlog(&["inspect", path]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("t-0"), "{error}");
    let (code, out, _) = ringlog(&["repair", path, "--dry-run"]);
    assert!(code == 1 && out.contains(&lost), "{out}");
    assert_eq!(ringlog(&["repair", path]).0, 1, "nobody was asked");
    let (code, out, error) = ringlog(&["repair", path, "--yes"]);
    assert!(code == 0 && out.contains(&lost), "{out}{error}");
    let aside = dir.join("set-aside");
    let (code, out, error) = ringlog(&["inspect", path]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(ringlog(&["repair", path, "--yes"]).1.contains("nothing to repair"));
    let time = std::fs::read_dir(aside).unwrap().next().unwrap().unwrap().path();
    let kept = files(&partition(&time, "t"), "");
    assert_eq!(kept.len(), 1);
    assert!(kept[0].to_str().unwrap().contains(".log.from-"), "{kept:?}");
}

#[test]
fn headers_lengths_and_missing_files_are_seen_too() {
    // What a batch's own checksum does not cover: base offset, length, leader epoch.
    let (broker, segments) = filled("headers");
    let dir = broker.folder.clone();
    let told = inspect(&segments[1]);
    let batch = &told["batches"][1];
    let (from, position) = (batch["base_offset"].as_u64().unwrap(), batch["position"].as_u64().unwrap() as usize);
    let mut broker = broker;
    for at in [6, 10, 14] {
        broker = broker.restart(Signal::SIGTERM, |_| flip(&segments[1], position + at));
        let (done, read, error) = consume(&broker, "consume t --from-beginning --exit");
        assert!(!done && error.contains("KAFKA_STORAGE_ERROR"), "byte {at}: {error}");
        assert_eq!(read.len() as u64, from, "byte {at}");
        broker = broker.restart(Signal::SIGTERM, |_| flip(&segments[1], position + at));
        assert_eq!(consume(&broker, "consume t --from-beginning --exit").1.len(), 4000, "mended");
    }
    // A segment that is gone: the index of the one before says where it ended.
    let first = inspect(&segments[0])["next_offset"].as_u64().unwrap();
    let broker = broker.restart(Signal::SIGTERM, |_| std::fs::rename(&segments[1], dir.join("elsewhere")).unwrap());
    let (done, read, error) = consume(&broker, "consume t --from-beginning --exit");
    assert!(!done && error.contains("KAFKA_STORAGE_ERROR"), "{error}");
    assert_eq!(read.len() as u64, first);
}

#[test]
fn a_damaged_index_is_made_again() {
    let (broker, _) = filled("index");
    let broker = broker.restart(Signal::SIGTERM, |dir| {
        let indexes = files(&partition(dir, "t"), ".index");
        assert!(!indexes.is_empty());
        let (code, _, error) = {
            flip(&indexes[0], 70);
            ringlog(&["inspect", indexes[0].to_str().unwrap()])
        };
        assert!(code == 1 && error.contains("checksum"), "{error}");
    });
    assert_eq!(consume(&broker, "consume t --from-beginning --exit").1, (0..4000).collect::<Vec<_>>());
}

#[test]
fn an_index_of_a_newer_format_is_refused_and_left_as_it_is() {
    let (broker, segments) = filled("newer-index");
    let mut newer = Vec::new();
    let broker = broker.restart(Signal::SIGTERM, |dir| {
        let indexes = files(&partition(dir, "t"), ".index");
        newer = std::fs::read(&indexes[1]).unwrap();
        newer[4] = 2;
        let crc = crc32c::crc32c(&newer[..60]);
        newer[60..64].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(&indexes[1], &newer).unwrap();
    });
    let base: u32 = segments[1].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let (done, read, error) = consume(&broker, "consume t --from-beginning --exit");
    assert!(!done && error.contains("KAFKA_STORAGE_ERROR"), "{error}");
    assert_eq!(read, (0..base).collect::<Vec<_>>());
    broker.ok("produce other --partition 0", &lines(100..101));
    let index = files(&partition(&broker.folder, "t"), ".index").remove(1);
    assert!(std::fs::read(index).unwrap() == newer);
}

#[test]
fn a_damaged_journal_costs_what_may_have_been_in_it_until_a_repair() {
    let mut broker = Broker::start("journal");
    for from in (0..300).step_by(10) {
        broker.ok("produce t --partition 0", &lines(from..from + 10));
    }
    let dir = broker.end(Signal::SIGKILL);
    let journal = files(&dir, ".rlj").into_iter().find(|path| inspect(path)["frames"].as_array().unwrap().len() > 20);
    let journal = journal.expect("one core has the records");
    let frames = inspect(&journal)["frames"].clone();
    flip(&journal, frames[10]["position"].as_u64().unwrap() as usize + 80);
    let (code, _, error) = ringlog(&["inspect", journal.to_str().unwrap()]);
    assert!(code == 1 && error.contains("was flushed"), "{error}");

    let mut broker = Broker::on(dir);
    broker.ok("topic create later --partitions 4", "");
    broker.ok("produce later", &lines(0..10));
    // What is before the damage, and no more.
    let (done, kept, error) = consume(&broker, "consume t --from-beginning --exit");
    assert!(!done && !kept.is_empty() && kept.len() < 300, "{} read: {error}", kept.len());
    assert_eq!(kept, (0..kept.len() as u32).collect::<Vec<_>>());
    let dir = broker.end(Signal::SIGTERM);
    assert!(dir.join("set-aside").join(journal.file_name().unwrap()).is_file(), "the damaged journal is kept");

    let (code, out, error) = ringlog(&["repair", dir.to_str().unwrap(), "--yes"]);
    assert!(code == 0 && out.contains("t-0"), "{out}{error}");
    let broker = Broker::on(dir);
    // The log ends with a gap, which is no damage, and goes on after it.
    broker.ok("produce t --partition 0", &lines(1000..1001));
    let (done, read, error) = consume(&broker, "consume t --from-beginning --exit");
    assert!(done, "{error}");
    assert_eq!(read, [&kept[..], &[1000]].concat());
}
