//! Stock clients: their installation under `target/clients`, through the ordinary package clients, and the driver processes that
//! run operations through them. Which versions: `clients/versions.json`. It knows no Kafka; the scripts under
//! `clients/` do, each through the client it is named after.
//!
//! A driver is one process per runtime for a whole test program (a Java start costs two seconds), and takes requests from
//! many tests at once, a JSON line each. It ends when its standard input ends, so with the test program.

use crate::broker::target_dir;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// How long one operation may take: longer than the clients' own limits (30 s), so that their errors are what is seen.
const PATIENCE: Duration = Duration::from_secs(100);

/// A language runtime that stock clients are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// confluent-kafka, kafka-python, aiokafka.
    Python,
    /// kafkajs.
    Node,
    /// kafka-clients and Kafka's own command-line tools.
    Java,
    /// kcat, as Debian packages it: a program, no driver.
    Kcat,
    /// Prometheus' promtool, as Debian packages it: no client, but installed like one.
    Promtool,
    /// A browser without a window, as Debian packages it: opens reports. A program, no driver.
    Chromium,
}

impl Runtime {
    /// The name of its section in `versions.json` and of its directory.
    pub fn name(self) -> &'static str {
        match self {
            Runtime::Python => "python",
            Runtime::Node => "node",
            Runtime::Java => "java",
            Runtime::Kcat => "kcat",
            Runtime::Promtool => "promtool",
            Runtime::Chromium => "chromium",
        }
    }

    /// Programs without which it cannot be tried, each with an argument that makes it end well.
    fn needs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Runtime::Python => &[("python3", "--version")],
            Runtime::Node => &[("node", "--version"), ("npm", "--version")],
            Runtime::Java => &[("javac", "-version"), ("mvn", "--version")],
            Runtime::Kcat | Runtime::Promtool | Runtime::Chromium => {
                &[("apt-get", "--version"), ("dpkg-deb", "--version")]
            }
        }
    }

    /// Where it is installed.
    pub fn dir(self) -> PathBuf {
        target_dir().join("clients").join(self.name())
    }
}

/// The folder with the drivers' sources and `versions.json`.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// The pinned packages of a runtime.
fn packages(runtime: Runtime) -> Vec<String> {
    let text = fs::read_to_string(sources().join("versions.json")).expect("clients/versions.json");
    let all: Value = serde_json::from_str(&text).expect("versions.json is JSON");
    let list = all[runtime.name()].as_array().expect("versions.json has a list for each runtime");
    list.iter().map(|p| p.as_str().expect("a package is text").to_string()).collect()
}

/// Whether a command runs and ends well; its output is not shown.
fn runs(program: &str, argument: &str) -> bool {
    let tried = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Runs an installation step; its output is shown when it fails.
fn step(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Installs a runtime's clients unless they are there in the pinned versions. False, said aloud, when the runtime itself is
/// missing; with `CI` set that is a panic.
pub fn install(runtime: Runtime) -> bool {
    let missing: Vec<_> = runtime.needs().iter().filter(|(p, a)| !runs(p, a)).map(|(p, _)| *p).collect();
    if !missing.is_empty() {
        let what = format!("not tried: {} (missing: {})", runtime.name(), missing.join(", "));
        assert!(std::env::var_os("CI").is_none(), "{what}");
        eprintln!("{what}");
        return false;
    }
    let dir = runtime.dir();
    fs::create_dir_all(target_dir().join("clients")).expect("target is writable");
    let lock = File::create(dir.with_extension("lock")).expect("target is writable");
    lock.lock().expect("a file lock");
    let stamp = packages(runtime).join("\n");
    let stamp_path = dir.join("installed");
    if fs::read_to_string(&stamp_path).is_ok_and(|found| found == stamp) {
        return true;
    }
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("target is writable");
    match runtime {
        Runtime::Python => install_python(&dir),
        Runtime::Node => install_node(&dir),
        Runtime::Java => install_java(&dir),
        Runtime::Kcat | Runtime::Chromium => install_debian(runtime, &dir, true),
        // It needs nothing else; what its package does is for the server in it.
        Runtime::Promtool => install_debian(runtime, &dir, false),
    }
    fs::write(stamp_path, stamp).expect("target is writable");
    true
}

fn install_python(dir: &Path) {
    step(Command::new("python3").args(["-m", "venv"]).arg(dir));
    let mut pip = Command::new(dir.join("bin/python"));
    step(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages(Runtime::Python)));
}

fn install_node(dir: &Path) {
    fs::write(dir.join("package.json"), r#"{"name": "clients", "version": "1.0.0", "private": true}"#)
        .expect("writable");
    let mut npm = Command::new("npm");
    step(npm.current_dir(dir).args(["install", "--no-audit", "--no-fund"]).args(packages(Runtime::Node)));
}

fn install_java(dir: &Path) {
    let dependencies: String = packages(Runtime::Java)
        .iter()
        .map(|p| {
            let part: Vec<&str> = p.split(':').collect();
            format!(
                "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>",
                part[0], part[1], part[2]
            )
        })
        .collect();
    let pom = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>clients</groupId>\
         <artifactId>clients</artifactId><version>1</version><dependencies>{dependencies}</dependencies></project>"
    );
    fs::write(dir.join("pom.xml"), pom).expect("writable");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(dir.join("pom.xml")).arg("dependency:copy-dependencies");
    step(maven.arg(format!("-DoutputDirectory={}", dir.join("libs").display())));
}

/// Unpacks Debian packages, with those they need that this machine lacks or without. Nothing is installed into the system, so no root is needed.
fn install_debian(runtime: Runtime, dir: &Path, with_needs: bool) {
    let lists = dir.join("lists");
    fs::create_dir_all(lists.join("partial")).expect("writable");
    let state = format!("Dir::State::Lists={}", lists.display());
    step(Command::new("apt-get").args(["-o", &state, "-qq", "update"]));
    let mut wanted = packages(runtime);
    if with_needs {
        let mut plan = Command::new("apt-get");
        plan.args(["-o", &state, "install", "--simulate", "--no-install-recommends"]).args(packages(runtime));
        let plan = plan.output().expect("apt-get runs").stdout;
        let plan = String::from_utf8_lossy(&plan).into_owned();
        let planned = plan.lines().filter_map(|l| l.strip_prefix("Inst ")).filter_map(|l| l.split_whitespace().next());
        // Also where this machine has the packages themselves: a program looks for its files beside itself.
        wanted.extend(planned.map(str::to_string));
        wanted.sort_unstable();
        wanted.dedup();
    }
    step(Command::new("apt-get").current_dir(dir).args(["-o", &state, "-qq", "download"]).args(wanted));
    for entry in fs::read_dir(dir).expect("readable").flatten() {
        if entry.path().extension().is_some_and(|e| e == "deb") {
            step(Command::new("dpkg-deb").arg("-x").arg(entry.path()).arg(dir.join("root")));
        }
    }
    fs::remove_dir_all(lists).expect("writable");
}

/// Compiles the Java driver when its sources changed, and returns its class path.
fn java_class_path() -> String {
    let dir = Runtime::Java.dir();
    let classes = dir.join("classes");
    let source_dir = sources().join("java");
    let mut files: Vec<PathBuf> = fs::read_dir(&source_dir)
        .expect("clients/java")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "java"))
        .collect();
    files.sort();
    let text: String = files.iter().map(|f| fs::read_to_string(f).expect("a source file")).collect();
    let path = format!("{}:{}/libs/*", classes.display(), dir.display());
    let lock = File::create(dir.join("classes.lock")).expect("target is writable");
    lock.lock().expect("a file lock");
    let compiled_from = classes.join("sources");
    if !fs::read_to_string(&compiled_from).is_ok_and(|t| t == text) {
        let _ = fs::remove_dir_all(&classes);
        fs::create_dir_all(&classes).expect("target is writable");
        step(Command::new("javac").args(["-cp", &path, "-d"]).arg(&classes).args(&files));
        fs::copy(source_dir.join("log4j2.properties"), classes.join("log4j2.properties")).expect("a copy");
        fs::write(compiled_from, text).expect("target is writable");
    }
    path
}

/// An error a client reported, as its driver passed it on.
#[derive(Debug, Clone)]
pub struct ClientError {
    /// The exception's class.
    pub kind: String,
    /// Its text.
    pub text: String,
    /// Kafka's error code where the exception carries one.
    pub code: Option<i64>,
}

type Waiting = Arc<Mutex<HashMap<u64, Sender<Value>>>>;

/// One driver process. Shared by all tests of a program.
#[derive(Debug)]
pub struct Driver {
    name: &'static str,
    input: Mutex<(u64, ChildStdin)>,
    waiting: Waiting,
    log: PathBuf,
}

impl Driver {
    /// The program's one driver of a runtime, installed and started on first use; `None` when the runtime is missing.
    pub fn of(runtime: Runtime) -> Option<&'static Driver> {
        static PYTHON: OnceLock<Option<Driver>> = OnceLock::new();
        static NODE: OnceLock<Option<Driver>> = OnceLock::new();
        static JAVA: OnceLock<Option<Driver>> = OnceLock::new();
        let cell = match runtime {
            Runtime::Python => &PYTHON,
            Runtime::Node => &NODE,
            Runtime::Java => &JAVA,
            Runtime::Kcat | Runtime::Promtool | Runtime::Chromium => return None,
        };
        cell.get_or_init(|| install(runtime).then(|| Self::start(runtime))).as_ref()
    }

    fn start(runtime: Runtime) -> Self {
        let dir = runtime.dir();
        let mut command = match runtime {
            Runtime::Python => Command::new(dir.join("bin/python")),
            Runtime::Node => Command::new("node"),
            Runtime::Java => Command::new("java"),
            Runtime::Kcat | Runtime::Promtool | Runtime::Chromium => {
                panic!("{} is a program, not a driver", runtime.name())
            }
        };
        match runtime {
            Runtime::Python => command.arg("-B").arg(sources().join("python/driver.py")),
            Runtime::Node => command.env("NODE_PATH", dir.join("node_modules")).arg(sources().join("node/driver.js")),
            _ => command
                .args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &java_class_path()])
                .arg("Driver"),
        };
        let log_dir = target_dir().join("tmp");
        fs::create_dir_all(&log_dir).expect("target is writable");
        let log = log_dir.join(format!("{}-driver-{}.log", runtime.name(), std::process::id()));
        let errors = File::create(&log).expect("target is writable");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let waiting = Waiting::default();
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let readers = Arc::clone(&waiting);
        std::thread::spawn(move || {
            hand_out(output, &readers);
            // Ends with an answer outstanding: dropping the senders tells those who wait.
            readers.lock().expect("no panic under this lock").clear();
            let _ = child.wait();
        });
        Self { name: runtime.name(), input: Mutex::new((0, input)), waiting, log }
    }

    /// Runs one operation of one client; arguments are a JSON object. Panics when the driver ended or hangs.
    pub fn call(&self, client: &str, op: &str, args: &Value) -> Result<Value, ClientError> {
        let (sender, receiver) = channel();
        let mut request = args.clone();
        {
            let mut input = self.input.lock().expect("no panic under this lock");
            input.0 += 1;
            let id = input.0;
            request["id"] = json!(id);
            request["client"] = json!(client);
            request["op"] = json!(op);
            self.waiting.lock().expect("no panic under this lock").insert(id, sender);
            let written = writeln!(input.1, "{request}").and_then(|()| input.1.flush());
            written.unwrap_or_else(|e| panic!("the {} driver is gone ({e}); see {}", self.name, self.log.display()));
        }
        let answer = receiver
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|e| panic!("{client} {op}: no answer ({e}); the driver's log is {}", self.log.display()));
        match answer.get("error") {
            None => Ok(answer["ok"].clone()),
            Some(error) => Err(ClientError {
                kind: error["type"].as_str().unwrap_or_default().to_string(),
                text: error["text"].as_str().unwrap_or_default().to_string(),
                code: error["code"].as_i64(),
            }),
        }
    }
}

/// Passes a driver's answers to those who wait for them, until its output ends.
fn hand_out(output: ChildStdout, waiting: &Waiting) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(id) = answer["id"].as_u64() else { continue };
        if let Some(sender) = waiting.lock().expect("no panic under this lock").remove(&id) {
            let _ = sender.send(answer);
        }
    }
}
