//! What is printed: the table of checks and its exit code, JSON, rows in full, the report, the units.

use super::tree::{DATA, Tree};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn what_matters_comes_first_and_decides_the_exit_code() {
    let tree = Tree::good();
    let good = tree.tuned(&["check", "--data-dir", DATA]);
    assert!(!good.contains(" off "), "{good}");
    tree.put("/proc/sys/vm/swappiness", "60");
    tree.put("/proc/sys/net/ipv4/tcp_max_syn_backlog", "128");
    let off = tree.tuned(&["check", "--data-dir", DATA]);
    let at = |text: &str, name: &str| text.lines().position(|line| line.starts_with(name)).expect("it is a line");
    assert!(
        at(&off, "swappiness") < at(&off, "syn-backlog") && at(&off, "syn-backlog") < at(&off, "somaxconn"),
        "{off}"
    );
    tree.put("/proc/sys/kernel/io_uring_disabled", "2");
    tree.spoil("/proc/sys/vm/zone_reclaim_mode");
    let out = tree.tune(&["check", "--data-dir", DATA]);
    let text = String::from_utf8(out.stdout).expect("text");
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(at(&text, "io_uring"), 1, "{text}");
    assert!(text.contains("cannot be read: /proc/sys/vm/zone_reclaim_mode"), "{text}");
}

#[test]
fn json_says_the_same() {
    let tree = Tree::good();
    tree.put("/proc/sys/vm/swappiness", "60");
    let all: Value = serde_json::from_str(&tree.tuned(&["check", "--json"])).expect("JSON");
    assert_eq!(all["bad"], false);
    let rows = all["settings"].as_array().expect("rows");
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).expect("it is a row");
    assert_eq!(row("swappiness")["state"], "off");
    assert_eq!(row("swappiness")["changes"][0]["new"], "1");
    // Without a log directory its mount is not known.
    assert_eq!(row("file-system")["state"], "unknown");
    assert_eq!(row("io-scheduler")["state"], "good");
}

#[test]
fn every_row_is_explained() {
    let tree = Tree::good();
    let all = tree.tuned(&["explain"]);
    assert_eq!(all.matches("  undone:  ").count(), ringlog_tuning::settings::all().count());
    assert!(tree.tuned(&["explain", "mitigations"]).contains("never changed by this program"));
    assert!(!tree.tune(&["explain", "none"]).status.success());
}

#[test]
fn a_report_tells_everything_but_who_and_where() {
    let tree = Tree::good();
    tree.put("/data/log/ringlog.tuned", "version=1\nmeasured.fua=1\nend=yes");
    tree.put("/proc/sys/kernel/hostname", "a-secret-host");
    let mounts =
        tree.get("/proc/self/mountinfo").replace("errors=continue", "errors=continue,addr=10.9.8.7,username=somebody");
    tree.put("/proc/self/mountinfo", &mounts);
    let text = tree.tuned(&["report", "--data-dir", DATA]);
    for told in [
        "kernel: 6.12.3-test",
        "2 x A CPU",
        "16000000 kB",
        "ringlog: 9.9.9",
        "measured.fua=1",
        "isolcpus=1",
        "nic-rings",
    ] {
        assert!(text.contains(told), "{told} is missing: {text}");
    }
    for secret in ["a-secret-host", "10.9.8.7", "somebody", "10.1.2.3", "UUID", "/data"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn units_are_what_systemd_takes() {
    let tree = Tree::good();
    let folder = tree.root.join("units");
    std::fs::create_dir_all(&folder).expect("a folder");
    // A unit names programs that are there: any will do.
    let programs = tree.root.join("programs");
    std::fs::create_dir_all(&programs).expect("a folder");
    for name in ["ringlog", "ringlog-tune"] {
        std::fs::copy("/bin/true", programs.join(name)).expect("a program");
    }
    let text = |path: &Path| path.to_str().expect("text").to_string();
    tree.tuned(&["systemd", "--programs", &text(&programs), "--data-dir", "/srv/log", "--write", &text(&folder)]);
    let unit = std::fs::read_to_string(folder.join("ringlog.service")).expect("it is written");
    for line in ["LimitNOFILE=1048576", "ReadWritePaths=/srv/log", "ProtectSystem=strict", "User=ringlog"] {
        assert!(unit.contains(line), "{line}: {unit}");
    }
    assert!(
        unit.contains("SystemCallFilter=@system-service io_uring_setup io_uring_enter io_uring_register"),
        "{unit}"
    );
    let tune = std::fs::read_to_string(folder.join("ringlog-tune.service")).expect("it is written");
    assert!(tune.contains("apply --yes --data-dir /srv/log") && tune.contains("undo --yes"), "{tune}");
    for wrong in [["--user", "a b"], ["--settings", "relative"], ["--programs", "/with blank"]] {
        assert!(!tree.tune(&["systemd", wrong[0], wrong[1]]).status.success(), "{wrong:?}");
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "./ringlog.service", "./ringlog-tune.service"])
        .current_dir(&folder)
        .output();
    match verify {
        Ok(out) => assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr)),
        Err(_) => eprintln!("not tried: systemd-analyze is not here"),
    }
}
