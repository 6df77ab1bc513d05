//! A real Apache Kafka to stand beside: its jars through Maven, one KRaft node with the flags of Kafka's own start script, pinned like
//! any other broker that is measured. Settings are Kafka's defaults, but for what one node needs and three things off the measured
//! path, each told in [`properties`].

use super::process::{Process, fresh_dir};
use super::{Spec, Started, Wish, own_cpus};
use crate::bench::Failure;
use crate::broker::{answers, free_port, target_dir};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The version unless told.
pub const VERSION: &str = "4.2.0";
pub const HEAP: &str = "2g";
const LOG4J: &str = "2.24.3";
/// Any id: it only has to be one.
const CLUSTER_ID: &str = "oWAwQSZMRPmz2dFEOq3-ZQ";
/// Which programs are needed, an argument that makes each end well, and where it comes from.
const NEEDS: [(&str, &str, &str); 2] = [
    ("java", "-version", "a Java runtime of 17 or newer (Debian: openjdk-17-jre-headless)"),
    ("mvn", "--version", "Maven, to fetch Kafka's jars (Debian: maven)"),
];
/// `KAFKA_JVM_PERFORMANCE_OPTS` of Kafka's start script.
const JVM: [&str; 7] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
];
const LOGGING: &str = "Configuration:
  Appenders: {Console: {name: OUT, PatternLayout: {pattern: \"[%d] %p %m (%c)%n\"}}}
  Loggers: {Root: {level: WARN, AppenderRef: {ref: OUT}}}
";

/// The jars of one version.
#[derive(Debug, Clone)]
pub struct Jars {
    version: String,
    home: PathBuf,
}

/// Where jars and formatted directories are kept: in the build directory of a clone, else in the user's cache.
fn cache() -> PathBuf {
    let target = target_dir();
    if target.join("CACHEDIR.TAG").exists() {
        return target.join("kafka-peer");
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("ringlog-bench")
}

/// What is missing to run Kafka here; empty: nothing.
pub fn missing() -> Vec<&'static str> {
    let runs = |program: &str, argument: &str| {
        let tried = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    NEEDS.iter().filter(|(program, argument, _)| !runs(program, argument)).map(|(_, _, what)| *what).collect()
}

/// Fetches the jars unless they are there.
pub fn fetch(version: &str) -> Result<Jars, Failure> {
    if version.is_empty() || !version.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c)) {
        return Err(Failure(format!("{version}: not a version of Kafka")));
    }
    let jars = Jars { version: version.to_string(), home: cache().join(version) };
    let stamp = jars.home.join("fetched");
    let missing =
        if stamp.exists() { missing().into_iter().filter(|m| m.contains("Java")).collect() } else { missing() };
    if !missing.is_empty() {
        return Err(Failure(format!("a real Kafka needs {}", missing.join(", and "))));
    }
    if stamp.exists() {
        return Ok(jars);
    }
    eprintln!("fetching Apache Kafka {version} through Maven, once");
    let failed = |e: std::io::Error| Failure::because(jars.home.display(), e);
    fs::create_dir_all(&jars.home).map_err(failed)?;
    fs::write(jars.home.join("log4j2.yaml"), LOGGING).map_err(failed)?;
    let pom = jars.home.join("pom.xml");
    fs::write(&pom, pom_of(version)).map_err(failed)?;
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", jars.libs().display()));
    run(&mut maven, &format!("mvn could not fetch Kafka {version}"))?;
    fs::write(stamp, version).map_err(failed)?;
    Ok(jars)
}

fn pom_of(version: &str) -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    };
    let kafka = dependency("org.apache.kafka", "kafka_2.13", version);
    let logging: String =
        ["log4j-slf4j-impl", "log4j-core"].iter().map(|a| dependency("org.apache.logging.log4j", a, LOG4J)).collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>peer</groupId>\
         <artifactId>kafka</artifactId><version>1</version><dependencies>{kafka}{logging}</dependencies></project>"
    )
}

/// Runs a step; what it said is told when it fails.
fn run(command: &mut Command, what: &str) -> Result<(), Failure> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| Failure::because(what, e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().rev().take(15).collect();
    Err(Failure(format!("{what} ({}):\n{}", output.status, lines.into_iter().rev().collect::<Vec<_>>().join("\n"))))
}

impl Jars {
    fn libs(&self) -> PathBuf {
        self.home.join("libs")
    }

    fn java(&self) -> Command {
        let mut command = Command::new("java");
        command.arg(format!("-Dlog4j2.configurationFile={}", self.home.join("log4j2.yaml").display()));
        command
    }

    fn class_path(&self) -> String {
        format!("{}/*", self.libs().display())
    }

    /// The broker's command line.
    fn broker(&self, heap: &str, properties: &Path) -> Command {
        let mut command = self.java();
        command.args([format!("-Xms{heap}"), format!("-Xmx{heap}")]).args(JVM);
        command.args(["-cp", &self.class_path(), "kafka.Kafka"]).arg(properties);
        command
    }

    /// An empty log directory as `kafka-storage format` leaves it. That is a Java start; done once for a version and copied.
    fn format(&self, data: &Path) -> Result<(), Failure> {
        let failed = |e: std::io::Error| Failure::because("formatting Kafka's log directory", e);
        let template = self.home.join("formatted");
        if !template.join("meta.properties").exists() {
            let making = fresh_dir(&self.home, "formatting")?;
            let properties = making.join("server.properties");
            let data = making.join("data");
            fs::write(&properties, properties_of(9092, &data, &[])).map_err(failed)?;
            let mut tool = self.java();
            tool.args(["-cp", &self.class_path(), "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
            run(tool.arg(&properties), "kafka-storage format")?;
            let _ = fs::remove_dir_all(&template);
            fs::rename(&data, &template).map_err(failed)?;
            fs::remove_dir_all(&making).map_err(failed)?;
        }
        fs::create_dir_all(data).map_err(failed)?;
        for entry in fs::read_dir(&template).map_err(failed)?.flatten() {
            fs::copy(entry.path(), data.join(entry.file_name())).map_err(failed)?;
        }
        Ok(())
    }
}

/// Settings of the node. Off the measured path: groups do not wait for more members to come, as those of a run are all there; deleted
/// topics go at once, so that one run's data is gone before the next; and a node that was paused while another broker was measured
/// is not shut out by its own controller.
pub fn properties_of(port: u16, data: &Path, overrides: &[String]) -> String {
    let controller = port + 1;
    let mut text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.delete.delay.ms=0
broker.session.timeout.ms=3600000
",
        data.display()
    );
    for pair in overrides {
        text.push_str(pair);
        text.push('\n');
    }
    text
}

/// A port whose neighbour is free, too: the controller's.
fn free_ports() -> u16 {
    loop {
        let port = free_port();
        if port < u16::MAX && std::net::TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// Starts a fresh one and waits until it answers.
pub fn start(jars: &Jars, wish: &Wish) -> Result<Started, Failure> {
    let dir = fresh_dir(&wish.home, "kafka")?;
    let data = dir.join("data");
    let port = free_ports();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let properties = dir.join("server.properties");
    jars.format(&data)?;
    fs::write(&properties, properties_of(port, &data, &wish.overrides))
        .map_err(|e| Failure::because(properties.display(), e))?;
    let mut command = jars.broker(&wish.heap, &properties);
    let mut process = Process::start(&wish.label, command.current_dir(&dir), &dir, &wish.cpus)?;
    process.wait_until_it_answers(addr)?;
    Ok(Started { process, addr, software: format!("Apache Kafka {}{}", jars.version, java()), data, metrics: None })
}

/// The Java that runs it.
fn java() -> String {
    let output = Command::new("java").arg("-version").output().ok();
    let text = output.map(|o| String::from_utf8_lossy(&o.stderr).into_owned()).unwrap_or_default();
    let version = text.split('"').nth(1).map(|v| format!(", Java {v}"));
    version.unwrap_or_default()
}

/// A Kafka that was left running by `peer kafka start`.
#[derive(Debug, Serialize, Deserialize)]
struct Left {
    pid: u32,
    port: u16,
    dir: PathBuf,
}

fn state() -> PathBuf {
    cache().join("running.json")
}

fn left() -> Option<Left> {
    serde_json::from_str(&fs::read_to_string(state()).ok()?).ok()
}

/// Whether the process is still the one that was started: its command line names the directory.
fn is_ours(left: &Left) -> bool {
    let bytes = fs::read(format!("/proc/{}/cmdline", left.pid)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).contains(&*left.dir.to_string_lossy())
}

/// Starts one that stays when this program ends, and returns what to tell.
pub fn start_and_leave(jars: &Jars, wish: &Wish, port: Option<u16>) -> Result<String, Failure> {
    if let Some(left) = left().filter(is_ours) {
        return Err(Failure(format!("one runs already, at 127.0.0.1:{}, pid {}", left.port, left.pid)));
    }
    let dir = fresh_dir(&wish.home, "kafka")?;
    let port = port.unwrap_or_else(free_ports);
    let properties = dir.join("server.properties");
    let failed = |e: std::io::Error| Failure::because(dir.display(), e);
    jars.format(&dir.join("data"))?;
    fs::write(&properties, properties_of(port, &dir.join("data"), &wish.overrides)).map_err(failed)?;
    let output = fs::File::create(dir.join("output.log")).map_err(failed)?;
    let mut command = jars.broker(&wish.heap, &properties);
    command.current_dir(&dir).stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
    let mine = own_cpus();
    super::move_to(&wish.cpus)?;
    let spawned = command.process_group(0).spawn();
    super::move_to(&mine)?;
    let mut child = spawned.map_err(|e| Failure::because("java", e))?;
    let left = Left { pid: child.id(), port, dir: dir.clone() };
    let text = serde_json::to_string(&left).expect("plain data is JSON");
    fs::write(state(), text).map_err(failed)?;
    let begun = Instant::now();
    while !answers(SocketAddr::from(([127, 0, 0, 1], port))).unwrap_or(false) {
        let ended = child.try_wait().map_err(failed)?;
        if ended.is_some() || begun.elapsed() > Duration::from_secs(90) {
            let said = fs::read_to_string(dir.join("output.log")).unwrap_or_default();
            let _ = child.kill();
            let _ = child.wait();
            let _ = (fs::remove_file(state()), fs::remove_dir_all(&dir));
            return Err(Failure(format!("Kafka did not start. It said:\n{said}")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(format!("Apache Kafka {} at 127.0.0.1:{port}, pid {}; `peer kafka stop` ends it", jars.version, left.pid))
}

/// Ends the one that was left running and removes its data.
pub fn stop() -> Result<String, Failure> {
    let Some(left) = left() else { return Ok("none runs".to_string()) };
    let pid = Pid::from_raw(left.pid as i32);
    let mut told = "it had ended already";
    if is_ours(&left) {
        told = "ended";
        kill(pid, Signal::SIGTERM).map_err(|e| Failure::because(format!("pid {pid}"), e))?;
        let begun = Instant::now();
        while is_ours(&left) {
            if begun.elapsed() > Duration::from_secs(10) {
                let _ = kill(pid, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    fs::remove_dir_all(&left.dir).or_else(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(Failure::because(left.dir.display(), e)),
    })?;
    fs::remove_file(state()).map_err(|e| Failure::because(state().display(), e))?;
    Ok(format!("pid {}: {told}; its data is removed", left.pid))
}

/// A wish for one that is left running.
pub fn wish(cpus: Vec<usize>, heap: String, overrides: Vec<String>) -> Wish {
    Wish {
        spec: Spec::Kafka(VERSION.to_string()),
        label: "kafka".to_string(),
        overrides,
        cpus,
        home: cache(),
        who: None,
        metrics: None,
        heap,
    }
}
