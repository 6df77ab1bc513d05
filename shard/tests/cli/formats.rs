//! Formats on disk: what a release once wrote goes on opening, and what a newer one wrote is refused.

use super::broker::{Broker, RINGLOG, lines, ringlog};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a start on a directory says when it refuses.
fn refusal(dir: &Path) -> String {
    let log_dirs = format!("log.dirs={}", dir.display());
    let start = ["start", "--override", &log_dirs, "--override", "listeners=PLAINTEXT://127.0.0.1:0"];
    let output = Command::new(RINGLOG).args(start).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_newer_format_is_refused_and_left_as_it_is() {
    let mut broker = Broker::start("newer");
    broker.ok("produce t --partition 0", &lines(0..10));
    let dir = broker.end(Signal::SIGTERM);

    let meta = dir.join("ringlog.meta");
    let text = std::fs::read_to_string(&meta).unwrap();
    std::fs::write(&meta, text.replace("version=1", "version=2")).unwrap();
    assert!(refusal(&dir).contains("start a newer release"));
    assert!(ringlog(&["repair", dir.to_str().unwrap(), "--yes"]).2.contains("newer release"));
    std::fs::write(&meta, text).unwrap();

    // A good first frame of format 2 in every journal.
    for journal in journals(&dir) {
        let mut bytes = std::fs::read(&journal).unwrap();
        if &bytes[..4] != b"RLJF" {
            continue;
        }
        bytes[4] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(journal, bytes).unwrap();
    }
    assert!(refusal(&dir).contains("has format 2"));
    assert!(ringlog(&["repair", dir.to_str().unwrap(), "--yes"]).2.contains("has format 2"));
    std::fs::remove_dir_all(dir).unwrap();
}

/// The segment of a topic's only partition that holds records, with its bytes.
fn segment(dir: &Path, topic: &str) -> (PathBuf, Vec<u8>) {
    let folders = std::fs::read_dir(dir.join(topic)).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let segments = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
    let mut found =
        segments.map(|path| (path.clone(), std::fs::read(path).unwrap())).filter(|(_, bytes)| bytes[16] == 2);
    found.next().expect("a segment with a batch")
}

/// Changes bytes of the first batch, whose checksum holds again afterwards.
fn change_first_batch(bytes: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let len = 12 + u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
    change(&mut bytes[61..len]);
    let crc = crc32c::crc32c(&bytes[21..len]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// A varint of a record: its value, and how many bytes it takes.
fn varint(bytes: &[u8]) -> (i64, usize) {
    let len = 1 + bytes.iter().take_while(|byte| **byte >= 0x80).count();
    let value = bytes[..len].iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    ((value >> 1) as i64 ^ -((value & 1) as i64), len)
}

/// Where the key and the value of the first of a batch's records begin.
fn key_and_value(records: &[u8]) -> (usize, usize) {
    let mut at = varint(records).1 + 1;
    for _ in 0..2 {
        at += varint(&records[at..]).1;
    }
    let (key_len, taken) = varint(&records[at..]);
    let key = at + taken;
    let after = key + usize::try_from(key_len).unwrap_or(0);
    (key, after + varint(&records[after..]).1)
}

/// A directory with a topic and a group, of a broker that was killed after a start had put everything into segments.
fn in_segments(test: &str) -> PathBuf {
    let mut broker = Broker::start(test);
    broker.ok("produce t --partition 0", &lines(0..10));
    broker.ok("consume t --group g --from-beginning --exit", "");
    let dir = broker.end(Signal::SIGKILL);
    let old = journals(&dir);
    let mut broker = Broker::on(dir);
    let deadline = Instant::now() + Duration::from_secs(30);
    while journals(&broker.folder).iter().any(|journal| old.contains(journal)) {
        assert!(Instant::now() < deadline, "journals of the start before stay");
    }
    broker.end(Signal::SIGKILL)
}

fn journals(dir: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|e| e == "rlj")).collect()
}

#[test]
fn a_newer_metadata_entry_is_refused_and_left_as_it_is() {
    let dir = in_segments("newer-entry");
    let (path, mut bytes) = segment(&dir, "__cluster_metadata");
    change_first_batch(&mut bytes, |records| {
        let value = key_and_value(records).1;
        assert_eq!(records[value], 1);
        records[value] = 2;
    });
    std::fs::write(&path, &bytes).unwrap();
    let refused = refusal(&dir);
    assert!(refused.contains("metadata format 2") && refused.contains("start the newer release"), "{refused}");
    assert!(std::fs::read(&path).unwrap() == bytes);
    std::fs::remove_dir_all(dir).unwrap();
}

/// What a newer release wrote of groups is neither taken for nothing nor written over: those groups have no coordinator.
#[test]
fn newer_group_records_are_refused_and_left_as_they_are() {
    for of_key in [true, false] {
        let dir = in_segments(&format!("newer-group-{of_key}"));
        let (path, mut bytes) = segment(&dir, "__consumer_offsets");
        change_first_batch(&mut bytes, |records| {
            let (key, value) = key_and_value(records);
            let at = if of_key { key } else { value };
            records[at..at + 2].copy_from_slice(&99i16.to_be_bytes());
        });
        std::fs::write(&path, &bytes).unwrap();
        let broker = Broker::on(dir);
        let refused = broker.run("group describe g --timeout 1", "");
        assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
        // Others are served, and so is everything else.
        broker.ok("consume t --group other --from-beginning --exit", "");
        assert!(std::fs::read(&path).unwrap() == bytes);
    }
}

/// A kept directory, unpacked.
fn unpacked(kept: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("ringlog-cli-{kept}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let archive = format!("{}/tests/formats/{kept}.tar.gz", env!("CARGO_MANIFEST_DIR"));
    let done = Command::new("tar").args(["-xzf", &archive, "-C"]).arg(&dir).status().unwrap();
    assert!(done.success());
    dir
}

/// `formats/v1.tar.gz` was made by `formats/make`, with the release that first had the format.
#[test]
fn a_directory_of_format_1_goes_on_opening() {
    let dir = unpacked("v1");
    let (code, out, error) = ringlog(&["inspect", dir.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{error}");
    let broker = Broker::on(dir);
    let mut sealed: Vec<String> =
        broker.ok("consume sealed --from-beginning --exit", "").lines().map(|l| l.trim().to_string()).collect();
    sealed.sort_by_key(|line| line.parse::<u32>().unwrap());
    assert_eq!(sealed, (0..2000).map(|n| n.to_string()).collect::<Vec<_>>());
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        assert_eq!(broker.ok(&format!("consume c-{codec} --from-beginning --exit"), ""), lines(0..50), "{codec}");
    }
    let group = broker.json("group describe g --json");
    assert_eq!(group["partitions"][0]["committed"], 50, "{group}");
    assert_eq!(broker.json("topic describe sealed --json")[0]["configs"]["segment.bytes"], "1048576");
    broker.ok("produce c-none --partition 0", &lines(50..60));
    assert_eq!(broker.ok("consume c-none -o 45 --exit", ""), lines(45..60));
}

/// `formats/v1-more.tar.gz`, of `formats/make-more`: what else such a directory can hold.
#[test]
fn everything_else_of_format_1_goes_on_opening() {
    let dir = unpacked("v1-more");
    let journals: String = journals(&dir).iter().map(|path| ringlog(&["inspect", path.to_str().unwrap()]).1).collect();
    for record in ["state ", " 1 producers", "trim ", "drop ", "append ", "extent "] {
        assert!(journals.contains(record), "{record}: {journals}");
    }
    let (code, out, error) = ringlog(&["inspect", "--json", dir.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{error}");
    let mut broker = Broker::on(dir);
    for _ in 0..2 {
        let numbers = |topic: &str| -> Vec<u32> {
            let read = broker.ok(&format!("consume {topic} --from-beginning --exit"), "");
            read.lines().map(|line| line.trim().parse().unwrap()).collect()
        };
        assert_eq!(numbers("relaxed"), (0..50).collect::<Vec<_>>());
        assert_eq!(numbers("idempotent"), (0..100).collect::<Vec<_>>());
        assert_eq!(numbers("trimmed"), (3000..5000).collect::<Vec<_>>());
        // A repair dropped what a damaged journal had left uncertain.
        let holed = numbers("holed");
        let kept = holed.len() as u32 - 10;
        assert!((1..300).contains(&kept), "{kept}");
        assert_eq!(holed, (0..kept).chain(300..310).collect::<Vec<_>>());
        assert_eq!(broker.json("group describe g --json")["partitions"][0]["committed"], 50);
        let described = broker.json("topic describe relaxed --json");
        assert_eq!(described[0]["configs"]["retention.ms"], "6000000000");
        assert_eq!(described[0]["configs"]["ringlog.flush"], "relaxed");
        assert!(broker.fails("topic describe gone", "").contains("UNKNOWN_TOPIC_OR_PARTITION"));
        broker = broker.restart(Signal::SIGKILL, |_| ());
    }
    broker.ok("produce holed --partition 0", &lines(310..311));
}

#[test]
fn records_of_our_own_topics_are_shown_in_words() {
    let mut broker = Broker::start("words");
    broker.ok("produce t --partition 0 -z zstd", &lines(0..10));
    broker.ok("consume t --group g --from-beginning --exit", "");
    // A start puts what the journals hold into the segments.
    let mut broker = {
        let dir = broker.end(Signal::SIGKILL);
        Broker::on(dir)
    };
    let dir = broker.end(Signal::SIGTERM);
    let shown = |topic: &str, option: &str| {
        let mut all = String::new();
        for partition in std::fs::read_dir(dir.join(topic)).unwrap() {
            for file in std::fs::read_dir(partition.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_some_and(|kind| kind == "log") {
                    let (code, out, error) = ringlog(&["inspect", option, path.to_str().unwrap()]);
                    assert_eq!(code, 0, "{error}");
                    all += &out;
                }
            }
        }
        all
    };
    let records = shown("t", "--records");
    assert!(records.contains("zstd") && records.contains(r#""value":"9""#), "{records}");
    let metadata = shown("__cluster_metadata", "--decode");
    assert!(metadata.contains("ClusterCreated") && metadata.contains("TopicCreated { name: \\\"t\\\""), "{metadata}");
    let offsets = shown("__consumer_offsets", "--decode");
    assert!(offsets.contains("Offset { group: \\\"g\\\", topic: \\\"t\\\""), "{offsets}");
    std::fs::remove_dir_all(&dir).unwrap();
}
