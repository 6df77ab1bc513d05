//! `ringlog tune disk` on the disk the tests run on: what it measures, what it leaves, and that it leaves nothing else.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringlog_engine::config::tuned::Tuned;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
}

fn disk(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog-tune"));
    command.args(["disk", "--quick"]).arg(folder);
    command
}

#[test]
fn a_quick_run_leaves_what_the_broker_reads() {
    let folder = folder("quick");
    let out = disk(&folder).output().expect("ringlog-tune runs");
    assert!(out.status.success(), "{out:?}");
    let said = String::from_utf8(out.stdout).expect("text");
    for part in ["made durable", "one at a time", "MB/s", "what that means for Ringlog"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(names(&folder), ["ringlog.tuned"]);
    let text = std::fs::read_to_string(folder.join("ringlog.tuned")).expect("it is written");
    Tuned::parse(&text).expect("the broker reads it");
    for size in [4096, 16384, 65536, 262_144, 1_048_576] {
        for depth in [1, 2, 4, 8, 16] {
            let key = format!("\nmeasured.write.{size}.depth.{depth}.mb.per.s=");
            assert!(text.contains(&key), "{key}: {text}");
        }
    }
    for key in
        ["flush.fdatasync.idle.count", "flush.dsync.loaded.count", "read.4096.depth.8.count", "zero.plain.mb.per.s"]
    {
        assert!(text.contains(&format!("\nmeasured.{key}=")), "{key}: {text}");
    }
    std::fs::remove_dir_all(folder).expect("ours");
}

/// Interrupted, or killed: its files have no names, so nothing stays.
#[test]
fn an_interrupted_run_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let folder = folder(signal.as_str());
        let mut child = disk(&folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        lines
            .find(|line| line.as_ref().is_ok_and(|line| line.contains("writes of")))
            .expect("it measures")
            .expect("text");
        kill(Pid::from_raw(child.id() as i32), signal).expect("it is our child");
        let status = child.wait().expect("our child");
        assert!(!status.success(), "{status}");
        assert_eq!(names(&folder), [""; 0]);
        std::fs::remove_dir_all(folder).expect("ours");
    }
}

#[test]
fn what_is_no_directory_is_refused() {
    let folder = folder("none");
    let out = disk(&folder.join("not-there")).output().expect("it runs");
    assert!(!out.status.success() && String::from_utf8_lossy(&out.stderr).contains("is no directory"), "{out:?}");
    std::fs::remove_dir_all(folder).expect("ours");
}
