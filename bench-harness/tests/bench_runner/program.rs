//! The program itself, from its command line to its files and its exit code, against a real Ringlog at tiny scale. A busy machine may
//! make any run late and so void; what is held here is that the exit code, the shown reason and the file say the same.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringlog_bench_harness::bench::report::load_all;
use ringlog_bench_harness::bench::result::RunResult;
use ringlog_bench_harness::broker::{ringlog_binary, target_dir};
use ringlog_bench_harness::wait;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A run of a second with next to nothing to do.
const TINY: [&str; 8] = [
    "--set",
    "run.seconds=1",
    "--set",
    "run.warmup_seconds=0.5",
    "--set",
    "producers.count=2",
    "--set",
    "producers.rate=200",
];

/// A folder for results of one test.
fn out(name: &str) -> PathBuf {
    let dir = target_dir().join("tmp").join(format!("bench-out-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    dir
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog-bench"));
    command.args(args).env("RINGLOG_BIN", ringlog_binary()).env("NO_COLOR", "1");
    command
}

fn bench(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// Runs with its results in `out`.
fn bench_into(out: &Path, args: &[&str]) -> Output {
    let out = out.to_str().unwrap();
    bench(&[args, &["--out", out]].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one folder of results in `out`, and the names of the files there.
fn folder(out: &Path, output: &Output) -> (PathBuf, Vec<String>) {
    let entries = |dir: &Path| fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    assert!(out.exists(), "{}", text(&output.stderr));
    let dirs: Vec<PathBuf> = entries(out).into_iter().filter(|dir| !dir.ends_with("brokers")).collect();
    assert_eq!(dirs.len(), 1, "{dirs:?}: {}", text(&output.stderr));
    assert_eq!(entries(&out.join("brokers")), Vec::<PathBuf>::new(), "brokers leave nothing");
    let names = entries(&dirs[0]).iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_string()).collect();
    (dirs[0].clone(), names)
}

fn run_in(dir: &Path, name: &str, output: &Output) -> RunResult {
    let mut runs = load_all(&[dir.join(name)]).unwrap_or_else(|e| panic!("{e}\n{}", text(&output.stderr))).runs;
    assert_eq!(runs.len(), 1, "{name}");
    runs.remove(0)
}

/// Exit code, words and file agree.
fn agree(output: &Output, runs: &[RunResult]) {
    let void = runs.iter().any(RunResult::is_void);
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(i32::from(void)), "{shown}");
    assert_eq!(text(&output.stderr).contains("VOID: "), void, "{shown}");
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
    let driver = bench(&["run", "--workload", "steady", "--broker", "127.0.0.1:1", "--omb-driver", "kafka.yaml"]);
    assert!(text(&driver.stderr).contains("--omb-driver kafka.yaml: only for"), "{}", text(&driver.stderr));
    let nowhere = bench(&["history", "--dir", "nowhere", "show"]);
    assert!(text(&nowhere.stderr).contains("nothing is kept there yet"), "{}", text(&nowhere.stderr));
    let wrong = bench(&["run", "--workload", "steady", "--set", "producers.rate=0"]);
    assert!(text(&wrong.stderr).contains("producers.rate"), "{}", text(&wrong.stderr));
}

#[test]
fn a_port_of_something_else_is_told_as_that() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 1000]).and_then(|_| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    let output = bench(&["run", "--workload", "steady", "--broker", &addr]);
    let told = "an answer that is not of Kafka's protocol, beginning with \"HTTP\"";
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains(told), "{}", text(&output.stderr));
}

#[test]
fn a_program_that_cannot_be_started_leaves_nothing() {
    let out = out("nothing");
    let output = bench_into(&out, &["run", "--workload", "steady", "--broker", "ringlog=/nowhere/ringlog"]);
    assert!(text(&output.stderr).contains("starting /nowhere/ringlog: "), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(out.join("brokers")).unwrap().count(), 0);
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_run_from_its_command_line_to_its_report() {
    let out = out("run");
    let output = bench_into(&out, &[&["run", "--workload", "steady"][..], &TINY].concat());
    let (dir, names) = folder(&out, &output);
    let run = run_in(&dir, "run.json", &output);
    agree(&output, std::slice::from_ref(&run));
    for name in ["report.html", "report.csv"] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
    assert!(dir.file_name().unwrap().to_str().unwrap().ends_with("-steady-ringlog"), "{dir:?}");
    let load = &run.load;
    assert!(load.publish.records > 0 && load.publish.latency.max().is_some(), "{load:?}");
    assert_eq!(load.publish.errors.len(), 0);
    assert!(load.end_to_end.records > 0);
    assert!(run.broker_use.is_some_and(|usage| usage.cpu_us() > 0));
    assert!(run.broker.software.starts_with("Ringlog "));
    let lines = text(&output.stderr);
    assert!(lines.lines().any(|l| l.starts_with("steady on ringlog: ") && l.contains(" 1 s ")), "no progress: {lines}");
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_void_run_is_loud_and_ends_with_one() {
    let out = out("void");
    let args = ["run", "--workload", "steady", "--broker-cpus", "0", "--client-cpus", "0", "--runs", "2"];
    let output = bench_into(&out, &[&args[..], &TINY].concat());
    let (dir, _) = folder(&out, &output);
    let runs = [run_in(&dir, "run-1.json", &output), run_in(&dir, "run-2.json", &output)];
    assert!(runs.iter().all(RunResult::is_void));
    agree(&output, &runs);
    let told = "VOID: steady on ringlog: broker on other CPUs than the clients: broker on 0, clients on 0";
    assert!(text(&output.stderr).contains(told), "{}", text(&output.stderr));
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn two_brokers_are_run_in_turn() {
    let out = out("compare");
    let args = ["compare", "ringlog", "ringlog", "--workload", "steady", "--runs", "1"];
    let sides = ["--b-override", "ringlog.log.flush=relaxed", "--a-label", "durable", "--b-label", "relaxed"];
    let output = bench_into(&out, &[&args[..], &sides, &TINY].concat());
    let (dir, names) = folder(&out, &output);
    let runs = [run_in(&dir, "steady-a-1.json", &output), run_in(&dir, "steady-b-1.json", &output)];
    agree(&output, &runs);
    let labels = runs.each_ref().map(|r| r.broker.label.as_str());
    let durability = runs.each_ref().map(|r| r.broker.durability.as_str());
    assert_eq!(labels, ["durable", "relaxed"]);
    assert_eq!(durability, ["flushed to the device", "written, not flushed"]);
    assert!(runs[0].started_ms < runs[1].started_ms);
    assert!(names.iter().any(|n| n == "report.html"), "{names:?}");
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn an_interrupt_ends_the_broker_and_removes_its_data() {
    let out = out("interrupt");
    let mut bench =
        command(&["run", "--workload", "steady", "--set", "run.seconds=600", "--out", out.to_str().unwrap()])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
    let mut lines = BufReader::new(bench.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(" 1 s ")), "no second was told");
    let data = fs::read_dir(out.join("brokers")).unwrap().next().unwrap().unwrap().path().canonicalize().unwrap();
    let broker = broker_in(&data).expect("a broker runs there");
    kill(Pid::from_raw(bench.id() as i32), Signal::SIGINT).unwrap();
    assert!(!bench.wait().unwrap().success());
    wait::until("the broker ends", || !is_running(broker));
    wait::until("the data goes", || !data.exists());
    fs::remove_dir_all(out).unwrap();
}

/// The process that has its log in a directory.
fn broker_in(dir: &Path) -> Option<u32> {
    let mut pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let wanted = format!("log.dirs={}", dir.join("data").display());
    pids.find(|pid| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(&wanted)
    })
}

/// Whether a process runs; one that ended and is not reaped by whom it was left to does not.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
