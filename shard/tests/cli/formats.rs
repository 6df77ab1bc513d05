//! Formats on disk: what a release once wrote goes on opening, and what a newer one wrote is refused.

use super::broker::{Broker, RINGLOG, lines, ringlog};
use nix::sys::signal::Signal;
use std::path::Path;
use std::process::Command;

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
    let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    for journal in names.iter().filter(|path| path.extension().is_some_and(|e| e == "rlj")) {
        let mut bytes = std::fs::read(journal).unwrap();
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

/// `formats/v1.tar.gz` was made by `formats/make`, with the release that first had the format.
#[test]
fn a_directory_of_format_1_goes_on_opening() {
    let dir = std::env::temp_dir().join(format!("ringlog-cli-v1-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/v1.tar.gz");
    let unpacked = Command::new("tar").args(["-xzf", kept, "-C"]).arg(&dir).status().unwrap();
    assert!(unpacked.success());
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
