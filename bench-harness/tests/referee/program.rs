//! The command, and histories as files.

use crate::build::*;
use crate::model;
use ringlog_bench_harness::broker::target_dir;
use ringlog_bench_harness::referee::history::Event;
use ringlog_bench_harness::referee::rule::RULES;
use ringlog_bench_harness::referee::{Rule, jepsen, jsonl};
use std::path::{Path, PathBuf};
use std::process::Command;

fn file(name: &str, history: &[Event]) -> PathBuf {
    let dir = target_dir().join("tmp");
    std::fs::create_dir_all(&dir).expect("target is writable");
    let path = dir.join(format!("referee-{}-{name}.jsonl", std::process::id()));
    let mut bytes = Vec::new();
    history.iter().for_each(|event| jsonl::write(&mut bytes, event).expect("memory"));
    std::fs::write(&path, bytes).expect("target is writable");
    path
}

fn run(args: &[&str], path: &Path) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_ringlog-referee")).args(args).arg(path).output().expect("it runs");
    (out.status.code(), String::from_utf8(out.stdout).expect("text"))
}

#[test]
fn exit_codes_and_explanations() {
    let mut h = History::new(FLUSHED);
    h.send(-1, &[1], at(0));
    let open = file("open", &h.events);
    let mut lost = h.clone();
    lost.left(&[]);
    let lost = file("lost", &lost.events);
    h.left(&[1]);
    let good = file("good", &h.events);
    assert_eq!(
        run(&["judge"], &good),
        (Some(0), "valid: 3 calls (0 refused, 0 unknown), 1 records sent, 1 acknowledged, 1 read\n".to_string())
    );
    let (code, text) = run(&["judge"], &open);
    assert!(code == Some(2) && text.contains("missing: a final read of t-0"), "{code:?} {text}");
    let (code, text) = run(&["judge"], &lost);
    assert_eq!(code, Some(1));
    assert!(text.contains("lost: t-0: value 1 was acknowledged at offset 0; the log ends at 0"), "{text}");
    assert!(text.contains("#3 {") && text.contains("\"produced\""), "{text}");
    let (code, text) = run(&["judge", "--json"], &lost);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, value["finding"].as_str()), (Some(1), Some("invalid")));
    assert!(value["violations"].as_array().expect("a list").iter().any(|violation| violation["rule"] == "lost"));
    let (code, text) = run(&["export-jepsen"], &good);
    assert_eq!(code, Some(0));
    let edn = good.with_extension("edn");
    std::fs::write(&edn, &text).expect("target is writable");
    assert!(jepsen::import(&text).is_ok());
    assert_eq!(run(&["judge", "--jepsen"], &edn).0, Some(0));
    assert_eq!(run(&["judge"], Path::new("not-there")).0, Some(3));
    assert_eq!(run(&["judge"], &edn).0, Some(3));
    for path in [open, lost, good, edn] {
        std::fs::remove_file(path).expect("ours");
    }
}

#[test]
fn a_file_holds_what_was_written() {
    let history = model::history(5, 400);
    let mut bytes = Vec::new();
    history.iter().for_each(|event| jsonl::write(&mut bytes, event).expect("memory"));
    let back: Vec<Event> = jsonl::read(bytes.as_slice()).map(|event| event.expect("our own")).collect();
    assert_eq!(history, back);
    assert!(jsonl::judge(&b"{}\n"[..]).is_err());
}

#[test]
fn every_rule_is_in_the_table_once() {
    let mut names: Vec<&str> = RULES.iter().map(|(rule, ..)| rule.name()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert_eq!(count, Rule::OpenTransactionRead as usize + 1, "the last one's number");
    for (rule, name, promise) in RULES {
        assert_eq!((rule.name(), rule.promise()), (*name, *promise));
        assert_eq!(serde_json::to_value(rule).expect("JSON"), *name);
    }
    assert_eq!(Rule::Lost.to_string(), "lost");
}
