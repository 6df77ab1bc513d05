//! Starts: what is accepted unchanged, what is told, and what stops the start with its reason.

use super::client::Client;
use nix::sys::signal::Signal;
use ringlog_bench_harness::broker::{Broker, Options, free_port, ringlog_binary, target_dir};
use ringlog_bench_harness::wait::until;
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// An empty directory of this test.
fn home(name: &str) -> PathBuf {
    let dir = target_dir().join("tmp").join(format!("start-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("target is writable");
    dir
}

/// Starts with these words and waits for the end, which must be a refusal; what it said.
pub(crate) fn refused_by(program: &[&str], dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg("start").args(words).current_dir(dir);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ringlog");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("our child") {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(15) {
            child.kill().expect("our child");
            child.wait().expect("our child");
            panic!("it started with {words:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(!status.success(), "{words:?}: {said}");
    said
}

fn refused(dir: &Path, settings: &[&str]) -> String {
    let listener = format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port());
    let own = [listener.as_str(), "log.dirs=data"];
    let own = own.iter().filter(|o| !settings.iter().any(|s| s.split('=').next() == o.split('=').next()));
    let words: Vec<&str> = own.chain(settings).flat_map(|setting| ["--override", *setting]).collect();
    refused_by(&[ringlog_binary().to_str().expect("text")], dir, &words)
}

/// The file Apache Kafka 4.2 ships, without its comments.
const STOCK: &str = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
    listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
    advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
    controller.listener.names=CONTROLLER\n\
    listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
    num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\n\
    socket.request.max.bytes=104857600\nlog.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\n\
    num.recovery.threads.per.data.dir=1\noffsets.topic.replication.factor=1\nshare.coordinator.state.topic.replication.factor=1\n\
    share.coordinator.state.topic.min.isr=1\ntransaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
    log.retention.hours=168\nlog.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n";

/// It starts unchanged but for its addresses and directory, and says which of its lines mean nothing here.
#[test]
pub(crate) fn stock_file() {
    let dir = home("stock");
    let (port, unused) = (free_port(), free_port());
    let text = STOCK
        .replace(":9092", &format!(":{port}"))
        .replace(":9093", &format!(":{unused}"))
        .replace("/tmp/kraft-combined-logs", &dir.join("logs").display().to_string());
    let file = dir.join("server.properties");
    fs::write(&file, text).expect("target is writable");
    // The file's own listeners and directory, not the harness's.
    let overrides = vec![
        format!("listeners=PLAINTEXT://:{port},CONTROLLER://:{unused}"),
        format!("log.dirs={}", dir.join("logs").display()),
    ];
    let mut broker = Broker::prepare("stock", Options { file: Some(file), overrides, ..Options::default() });
    broker.spawn();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    until("it answers", || ringlog_bench_harness::broker::answers(at).unwrap_or(false));
    let brokers = Client::at(at).metadata(&[], false).brokers;
    assert_eq!(brokers, [(1, "localhost".to_string(), i32::from(port), String::new())]);
    let log = broker.log();
    assert!(log.contains("notice: num.network.threads: has no meaning here"), "{log}");
    assert!(log.contains("CONTROLLER is not opened"), "{log}");
    // It listens on a wildcard, to which nobody should have to connect.
    until("it tells what to try", || broker.log().contains(&format!("--exit --bootstrap-server localhost:{port}\n")));
    TcpListener::bind(("127.0.0.1", unused)).expect("nobody listens for controllers");
    broker.terminate();
    fs::remove_dir_all(dir).expect("our own");
}

/// What `timeout` and some supervisors do: the process is told, and then its group. It is one wish, and the end is clean.
#[test]
fn told_twice_to_stop() {
    let mut broker = Broker::start("twice", &[]);
    broker.signal(Signal::SIGTERM);
    broker.signal(Signal::SIGINT);
    let status = broker.wait(Duration::from_secs(20));
    assert!(status.success(), "{status}: {}", broker.log());
    assert!(broker.log().ends_with("stopped\n"), "{}", broker.log());
}

/// Unknown keys, promises of what is not there, and nonsense stop the start, each by name and with a reason.
#[test]
pub(crate) fn refusals() {
    let dir = home("refusals");
    for (settings, said) in [
        (&["log.retension.ms=5"][..], &["log.retension.ms", "log.retention.ms"][..]),
        (&["num.partition=5"], &["num.partition", "did you mean num.partitions"]),
        (&["zzzzzzzzzzzzzzz=5"], &["zzzzzzzzzzzzzzz", "ringlog config"]),
        (&["sasl.enabled.mechanisms=PLAIN"], &["sasl.enabled.mechanisms"]),
        (&["ssl.keystore.location=/x"], &["ssl.keystore.location", "TLS is not there yet"]),
        (&["authorizer.class.name=org.apache.kafka.Standard"], &["authorizer.class.name"]),
        (&["listeners=SSL://127.0.0.1:0"], &["listener.security.protocol.map", "SSL"]),
        (&["listeners=A://127.0.0.1:0", "listener.security.protocol.map=A:SASL_SSL"], &["SASL_SSL"]),
        (&["default.replication.factor=3"], &["default.replication.factor", "one copy"]),
        (&["min.insync.replicas=2"], &["min.insync.replicas"]),
        (&["process.roles=broker"], &["process.roles", "controller"]),
        (&["controller.quorum.voters=1@a:1,2@b:2"], &["controller.quorum.voters"]),
        (&["controller.quorum.voters=2@a:1"], &["controller.quorum.voters", "not this node"]),
        (&["controller.quorum.bootstrap.servers=a:1,b:2"], &["controller.quorum.bootstrap.servers"]),
        (&["controller.listener.names=PLAINTEXT"], &["listeners", "no listener for clients is left"]),
        (&["inter.broker.listener.name=OTHER"], &["inter.broker.listener.name", "OTHER"]),
        (&["advertised.listeners=PLAINTEXT://0.0.0.0:9092"], &["advertised.listeners"]),
        (&["broker.id=3", "node.id=4"], &["broker.id"]),
        (&["ringlog.memory.bytes=1000000"], &["ringlog.memory.bytes", "too little"]),
        (&["ringlog.cores=4000"], &["ringlog.cores"]),
        (&["num.partitions=none"], &["num.partitions"]),
        (&["ringlog.admin.address=here"], &["ringlog.admin.address", "host:port"]),
        (&["max.connections.per.ip.overrides=here:4"], &["max.connections.per.ip.overrides"]),
        (&["remote.log.storage.system.enable=true"], &["remote.log.storage.system.enable"]),
    ] {
        let text = refused(&dir, settings);
        for word in said {
            assert!(text.contains(word), "{settings:?} is refused with {text:?}, without {word:?}");
        }
        assert!(text.starts_with("error: ") || text.contains("\nerror: "), "{text}");
    }
    // All that is wrong is told at once, and nothing was made.
    let text = refused(&dir, &["num.partition=5", "num.partitions=-3"]);
    assert!(text.contains("num.partition:") && text.contains("num.partitions:"), "{text}");
    assert!(!dir.join("data").exists());
    fs::remove_dir_all(dir).expect("our own");
}

/// What `ringlog tune disk` left in a log directory acts where the operator says nothing, and is told; what is not understood stops
/// the start.
#[test]
pub(crate) fn tuned() {
    let overrides = ["ringlog.cores=0", "ringlog.destage.bytes=65536"].map(str::to_string).to_vec();
    let mut broker = Broker::prepare("tuned", Options { overrides, ..Options::default() });
    fs::create_dir_all(broker.data_dir()).expect("target is writable");
    let settings = "ringlog.journal.bytes=33554432\nringlog.destage.bytes=131072\n";
    let text = format!("version=1\ndate=2026-11-26 10:00:00\n{settings}end=yes\n");
    fs::write(broker.data_dir().join("ringlog.tuned"), text).expect("writable");
    broker.launch();
    let log = broker.log();
    assert!(log.contains("notice: settings from ringlog.tuned of 2026-11-26 10:00:00 in"), "{log}");
    assert!(log.contains("ringlog.destage.bytes=131072 (not taken: yours is 65536)"), "{log}");
    let journals: Vec<u64> = super::client::files(&broker.data_dir(), ".rlj").into_iter().map(|(_, len)| len).collect();
    assert_eq!(journals.iter().sum::<u64>(), 33_554_432, "{journals:?}");
    let dir = home("tuned");
    let data = dir.join("data");
    fs::create_dir_all(&data).expect("target is writable");
    broker.terminate();
    for (text, words) in [
        ("version=2\nend=yes\n", "version 2"),
        ("version=1\nringlog.destage.bytes=131072\n", "cut short"),
        ("version=1\nringlog.cores=0\nend=yes\n", "ringlog.cores is not a setting that belongs there"),
        ("version=1\nringlog.destage.bytes=1\nend=yes\n", "ringlog.destage.bytes"),
    ] {
        fs::write(data.join("ringlog.tuned"), text).expect("writable");
        let said = refused(&dir, &[]);
        assert!(said.contains("ringlog.tuned: ") && said.contains(words), "{text:?} is refused with {said:?}");
    }
    fs::remove_dir_all(dir).expect("our own");
}

/// Metrics are told where it says, or nowhere; an address that was set must be had.
#[test]
pub(crate) fn admin_address() {
    let port = free_port();
    let mut broker = Broker::start("admin", &[&format!("ringlog.admin.address=127.0.0.1:{port}")]);
    until("it says where", || broker.log().contains(&format!("  metrics at http://127.0.0.1:{port}/metrics\n")));
    assert_eq!(broker.admin().port(), port);
    drop(std::net::TcpStream::connect(broker.admin()).expect("it listens there"));
    let dir = home("admin");
    let text = refused(&dir, &[&format!("ringlog.admin.address=127.0.0.1:{port}")]);
    assert!(text.contains("error: ringlog.admin.address: cannot listen on 127.0.0.1:"), "{text}");
    assert!(!dir.join("data").exists(), "it is refused before anything is made");
    broker.assert_alive();
    let silent = Broker::start("admin-off", &["ringlog.admin.address="]);
    until("it is ready", || silent.log().contains("try next:"));
    assert!(!silent.log().contains("metrics at"), "{}", silent.log());
    fs::remove_dir_all(dir).expect("our own");
}

/// Kafka's data is left untouched.
#[test]
pub(crate) fn kafka_directory() {
    let dir = home("kafka");
    let data = dir.join("data");
    fs::create_dir_all(data.join("events-0")).expect("target is writable");
    fs::write(data.join("meta.properties"), "version=1\ncluster.id=abc\nnode.id=1\n").expect("writable");
    fs::write(data.join("events-0/00000000000000000000.log"), b"batches").expect("writable");
    let list = || {
        let mut found: Vec<_> = super::client::files(&data, "");
        found.sort();
        found
    };
    let before = list();
    let text = refused(&dir, &[]);
    assert!(text.contains("Kafka") && text.contains("data"), "{text}");
    assert_eq!(list(), before);
    fs::remove_dir_all(dir).expect("our own");
}

/// Two brokers on one directory, a port that is taken, a directory that cannot be written: each is told.
#[test]
pub(crate) fn taken_and_forbidden() {
    let mut first = super::client::broker("first", &[]);
    let dir = home("taken");
    let text = refused(&dir, &[&format!("log.dirs={}", first.data_dir().display())]);
    assert!(text.contains(&first.data_dir().display().to_string()) && text.contains("use"), "{text}");
    let text = refused(&dir, &[&format!("listeners=PLAINTEXT://{}", first.bootstrap())]);
    assert!(text.contains("cannot listen") && text.contains(&first.bootstrap()), "{text}");
    first.assert_alive();
    // Root may write anywhere: an ordinary user tries, with a copy where anybody can look.
    let open = PathBuf::from(format!("/var/tmp/ringlog-start-{}", std::process::id()));
    fs::create_dir_all(&open).expect("/var/tmp is writable");
    let binary = open.join("ringlog");
    fs::copy(ringlog_binary(), &binary).expect("a copy");
    let closed = open.join("closed");
    fs::create_dir_all(&closed).expect("writable");
    let mut read_only = fs::metadata(&closed).expect("it is there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut read_only, 0o555);
    fs::set_permissions(&closed, read_only).expect("ours");
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"];
    let root = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("/proc")) == 0;
    let mut program: Vec<&str> = if root { user.to_vec() } else { Vec::new() };
    program.push(binary.to_str().expect("text"));
    let listener = format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port());
    let data = format!("log.dirs={}", closed.display());
    let text = refused_by(&program, &open, &["--override", &listener, "--override", &data]);
    assert!(text.contains(&closed.display().to_string()), "{text}");
    assert_eq!(fs::read_dir(&closed).expect("readable").count(), 0);
    fs::remove_dir_all(open).expect("ours");
    fs::remove_dir_all(dir).expect("ours");
}
