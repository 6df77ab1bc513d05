//! The program itself.

use ringlog_bench_harness::broker::{Broker, Options, ringlog_binary, target_dir};
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder for results of one test.
fn out(name: &str) -> PathBuf {
    let dir = target_dir().join("tmp").join(format!("bench-out-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog-bench"));
    command.args(args).env("RINGLOG_BIN", ringlog_binary()).env("NO_COLOR", "1");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn workloads_are_listed_with_their_questions() {
    let listed = bench(&["workloads"]);
    let shown = text(&listed.stdout);
    assert!(listed.status.success() && shown.matches('?').count() >= 12, "{shown}");
    let one = bench(&["workloads", "steady"]);
    assert!(text(&one.stdout).starts_with("name = \"steady\""));
    assert_eq!(bench(&["workloads", "none"]).status.code(), Some(1));
}

#[test]
fn wrong_usage_is_two_and_what_cannot_be_done_is_one() {
    assert_eq!(bench(&["run"]).status.code(), Some(2));
    assert_eq!(bench(&["run", "--workload", "steady", "--broker", "somewhere"]).status.code(), Some(2));
    let nobody = bench(&["run", "--workload", "steady", "--broker", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no broker at 127.0.0.1:1"), "{}", text(&nobody.stderr));
    let wrong = bench(&["run", "--workload", "steady", "--set", "producers.rate=0"]);
    assert!(text(&wrong.stderr).contains("producers.rate"), "{}", text(&wrong.stderr));
}
