//! The page in a real browser: headless Chromium lays it out, and says what it found.

use crate::samples;
use ringlog_bench_harness::bench::report;
use ringlog_bench_harness::broker::target_dir;
use std::path::PathBuf;

/// A folder of this test program under `target/tmp`, empty.
fn folder(name: &str) -> PathBuf {
    let dir = target_dir().join("tmp/bench-report").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("target is writable");
    dir
}

#[test]
fn the_report_opens() {
    let dir = folder("page");
    report::write(&dir, &samples::report()).expect("a report is written");
}
