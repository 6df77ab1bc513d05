//! A real `ringlog` process for a test: built, started on a free loopback port with its own data directory, watched,
//! killed, started again. It is not a stand-in: nothing of the broker runs in the test's own process.
//!
//! A broker ends with its [`Broker`], and also when the test process ends in any other way: a small guard process
//! holds a pipe to it. After a failed test the data directory and the log stay under `target/tmp` until the next run, and the last lines of
//! the log are shown.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a start may take before it counts as failed. Generous: a build may share the machine.
const START: Duration = Duration::from_secs(30);
/// How long a clean end may take before it counts as hung. The product's own bar (one second) is a test, not this.
const STOP: Duration = Duration::from_secs(20);
/// Lines of the broker's log shown after a failure.
const SHOWN_LINES: usize = 60;

/// Where cargo puts what this run builds: the target directory and the profile's directory inside it, told from the
/// place of the running test or program.
fn build_dirs() -> (PathBuf, PathBuf) {
    let exe = std::env::current_exe().expect("a running program has a path");
    let dir = exe.parent().expect("a program lies in a directory");
    let profile = if dir.ends_with("deps") { dir.parent().expect("deps lies in a profile") } else { dir };
    (profile.parent().expect("a profile lies in target").to_path_buf(), profile.to_path_buf())
}

/// The target directory this program was built into.
pub fn target_dir() -> PathBuf {
    build_dirs().0
}

/// The `ringlog` binary of the same profile as this program, built on first use (cargo builds another package's
/// programs for nobody). `RINGLOG_BIN` names another one.
pub fn ringlog_binary() -> &'static Path {
    static BINARY: OnceLock<Result<PathBuf, ExitStatus>> = OnceLock::new();
    let built = BINARY.get_or_init(|| {
        if let Some(named) = std::env::var_os("RINGLOG_BIN") {
            return Ok(PathBuf::from(named));
        }
        let (target, profile_dir) = build_dirs();
        let profile = match profile_dir.file_name().and_then(|n| n.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in
            std::env::vars().filter(|(n, _)| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST"))
        {
            cargo.env_remove(name);
        }
        // The whole workspace, so that features resolve as they did for the tests and nothing is built twice.
        cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).args([
            "build",
            "--workspace",
            "--bin",
            "ringlog",
        ]);
        let status = cargo.args(["--profile", profile, "--target-dir"]).arg(&target).status().expect("cargo runs");
        if status.success() { Ok(profile_dir.join("ringlog")) } else { Err(status) }
    });
    built.as_ref().unwrap_or_else(|status| panic!("cargo build --bin ringlog: {status}"))
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free loopback port").port()
}

/// The first of so many loopback ports in a row that were free a moment ago.
pub fn free_ports(count: u16) -> u16 {
    let held = |first: u16| -> Option<Vec<TcpListener>> {
        (first..first.checked_add(count)?).map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect()
    };
    std::iter::repeat_with(free_port).find(|first| held(*first).is_some()).expect("an endless search")
}

/// Asks `addr` for its ApiVersions (version 0) and returns whether a Kafka answer came. A broker that answers serves.
pub fn answers(addr: SocketAddr) -> io::Result<bool> {
    let mut peer = TcpStream::connect_timeout(&addr, Duration::from_secs(2))?;
    peer.set_read_timeout(Some(Duration::from_secs(5)))?;
    // Size, api key 18, version 0, correlation id, a null client id.
    peer.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0x52, 0x4c, 0x4f, 0x47, 0xff, 0xff])?;
    let mut head = [0u8; 10];
    peer.read_exact(&mut head)?;
    Ok(head[4..8] == [0x52, 0x4c, 0x4f, 0x47] && head[8..10] == [0, 0])
}

/// What a process used so far, from `/proc`.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Most memory ever resident, bytes (`VmHWM`).
    pub peak_rss: u64,
    /// Memory resident now, bytes (`VmRSS`).
    pub rss: u64,
    /// User and system time together.
    pub cpu: Duration,
    /// Open descriptors.
    pub descriptors: usize,
}

/// Reads [`Usage`] of a live process.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold spaces: fields are counted behind it. 14 and 15 are utime and stime in ticks.
    let rest: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| rest.get(i).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    Ok(Usage {
        peak_rss: bytes("VmHWM:").unwrap_or(0),
        rss: bytes("VmRSS:").unwrap_or(0),
        // Linux reports these in hundredths of a second whatever the kernel's own tick.
        cpu: Duration::from_millis((ticks(11) + ticks(12)) * 10),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).unwrap_or(0),
    })
}

/// Removes what processes that have ended left in `home` under `name`: failures that were looked at, or not, and the directories
/// of brokers that ended with their test program.
fn forget_earlier_runs(home: &Path, name: &str) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let Some(rest) = file.to_str().and_then(|f| f.strip_prefix(name)?.strip_prefix('-')) else { continue };
        // NAME-PID-NUMBER; a longer name that begins alike has no number there.
        let Some(pid) = rest.split('-').next().and_then(|p| p.parse::<u32>().ok()) else { continue };
        if pid != std::process::id() && !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// How a broker is to be started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A file of settings.
    pub file: Option<PathBuf>,
    /// `key=value`, after the test's own `listeners`, `log.dirs` and `ringlog.admin.address`.
    pub overrides: Vec<String>,
    /// Ports in a row that the listener takes, beginning with its own; 0 and 1: its own alone.
    pub ports: u16,
    /// A program and arguments to run the broker under (`prlimit ... --`), empty for none.
    pub wrapper: Vec<String>,
    /// Environment of the broker beyond the test's own.
    pub env: Vec<(String, String)>,
    /// Where the broker's directory is made; `target/tmp` unless told.
    pub home: Option<PathBuf>,
    /// The program; [`ringlog_binary`] unless told.
    pub binary: Option<PathBuf>,
}

/// One broker process with its port and data directory. Lives on the test's thread; nothing is shared with the process.
#[derive(Debug)]
pub struct Broker {
    options: Options,
    dir: PathBuf,
    port: u16,
    running: Option<Running>,
    kept: bool,
}

#[derive(Debug)]
struct Running {
    child: Child,
    guard: Child,
}

impl Broker {
    /// Starts a broker with `overrides` (`key=value`) and waits until it answers. Panics with its log if it does not.
    pub fn start(name: &str, overrides: &[&str]) -> Self {
        let overrides = overrides.iter().map(|o| (*o).to_string()).collect();
        Self::start_with(name, Options { overrides, ..Options::default() })
    }

    /// As [`Broker::start`], with everything that can be chosen.
    pub fn start_with(name: &str, options: Options) -> Self {
        let mut broker = Self::prepare(name, options);
        broker.launch();
        broker
    }

    /// A broker with its port and an empty directory, not started: for tests that lay something into the directory.
    pub fn prepare(name: &str, options: Options) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = options.home.clone().unwrap_or_else(|| target_dir().join("tmp"));
        let dir = home.join(format!("{name}-{}-{number}", std::process::id()));
        forget_earlier_runs(&home, name);
        // A process id comes round again.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("the home directory is writable");
        let port = free_ports(options.ports.max(1));
        Self { options, dir, port, running: None, kept: false }
    }

    /// Starts a prepared or ended broker on its old port and directory, and waits until it answers.
    pub fn launch(&mut self) -> Duration {
        let begun = Instant::now();
        self.spawn();
        loop {
            if let Ok(true) = answers(self.addr()) {
                return begun.elapsed();
            }
            let running = self.running.as_mut().expect("spawned above");
            if let Some(status) = running.child.try_wait().expect("the child is ours") {
                panic!("ringlog ended while starting: {status}\n{}", self.log_tail());
            }
            assert!(begun.elapsed() < START, "ringlog did not answer within {START:?}\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the process without waiting: for tests of starts that are refused.
    pub fn spawn(&mut self) {
        assert!(self.running.is_none(), "this broker runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let mut words = self.options.wrapper.iter().map(String::as_str).collect::<Vec<_>>();
        let binary = self.options.binary.as_deref().unwrap_or_else(|| ringlog_binary());
        let binary = binary.to_str().expect("a UTF-8 path");
        words.extend([binary, "start"]);
        words.extend(self.options.file.as_deref().map(|file| file.to_str().expect("a UTF-8 path")));
        let own = [
            format!("listeners=PLAINTEXT://{}", self.addr()),
            format!("log.dirs={}", self.data_dir().display()),
            "ringlog.admin.address=127.0.0.1:0".to_string(),
        ];
        for pair in own.iter().chain(&self.options.overrides) {
            words.extend(["--override", pair]);
        }
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(&self.dir).envs(self.options.env.iter().cloned());
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("ringlog is executable");
        let guard = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\"", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        self.running = Some(Running { child, guard });
    }

    /// `127.0.0.1:port`, as clients take it.
    pub fn bootstrap(&self) -> String {
        self.addr().to_string()
    }

    /// The listener's address.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The broker's `log.dirs`.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where metrics are told, as its last start said.
    pub fn admin(&self) -> SocketAddr {
        let log = self.log();
        let mut lines =
            log.lines().filter_map(|line| line.trim().strip_prefix("metrics at http://")?.strip_suffix("/metrics"));
        lines.next_back().expect("the broker said where").parse().expect("an address")
    }

    /// Everything the process printed, over all its starts.
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("ringlog.log")
    }

    /// The whole log.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(self.log_path()) {
            let _ = file.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The log's last lines, under a heading.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(SHOWN_LINES);
        format!("--- {} ---\n{}\n---", self.log_path().display(), lines[from..].join("\n"))
    }

    /// Leaves the directory, data and log, behind when this ends: there is something to look at.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// The overrides, to change between two starts.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// The process id. Panics when it is not running.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the broker runs").child.id()
    }

    /// What the broker used so far.
    pub fn usage(&self) -> Usage {
        usage(self.pid()).expect("a live process has /proc entries")
    }

    /// Panics, with the log, when the process has ended by itself.
    pub fn assert_alive(&mut self) {
        let ended = self.running.as_mut().expect("the broker runs").child.try_wait().expect("the child is ours");
        if let Some(status) = ended {
            panic!("ringlog ended by itself: {status}\n{}", self.log_tail());
        }
    }

    /// SIGKILL, as a crash; what it was doing is lost.
    pub fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait(STOP);
    }

    /// SIGTERM; returns the exit status and how long the end took. Panics when it takes longer than twenty seconds.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal(Signal::SIGTERM);
        (self.wait(STOP), begun.elapsed())
    }

    /// Terminates cleanly (a failure to do so panics) and starts again; returns how long the start took.
    pub fn restart(&mut self) -> Duration {
        let (status, _) = self.terminate();
        assert!(status.success(), "a clean end has status 0, this was {status}\n{}", self.log_tail());
        self.launch()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("process ids fit");
        kill(Pid::from_raw(pid), signal).expect("the process is ours");
    }

    /// Waits until the process has ended. Panics after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            let running = self.running.as_mut().expect("the broker runs");
            if let Some(status) = running.child.try_wait().expect("the child is ours") {
                self.release();
                return status;
            }
            assert!(begun.elapsed() < limit, "ringlog did not end within {limit:?}\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Forgets an ended process: first its guard, so that the guard never signals a process id that came round again.
    fn release(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.guard.kill();
            let _ = running.guard.wait();
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.release();
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        } else if !self.kept {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_of_the_own_process() {
        let mine = usage(std::process::id()).unwrap();
        assert!(mine.peak_rss >= mine.rss && mine.rss > 64 * 1024, "{mine:?}");
        assert!(mine.descriptors >= 3, "{mine:?}");
    }

    #[test]
    fn only_the_dead_are_forgotten() {
        let home = target_dir().join("tmp").join(format!("forgetting-{}", std::process::id()));
        // No process has an id that large: the kernel's own limit is 2^22.
        let names = ["a-4194305-0", "a-b-4194305-0", "b-4194305-0", &format!("a-{}-0", std::process::id()), "a-1-0"];
        for name in names {
            fs::create_dir_all(home.join(name)).unwrap();
        }
        forget_earlier_runs(&home, "a");
        let left: Vec<bool> = names.iter().map(|name| home.join(name).exists()).collect();
        fs::remove_dir_all(&home).unwrap();
        assert_eq!(left, [false, true, true, true, true]);
    }

    #[test]
    fn an_answer_is_told_from_a_stranger() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            for reply in [&b"\0\0\0\x0aRLOG\0\0\0\0\0\0"[..], &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]] {
                let (mut peer, _) = listener.accept().unwrap();
                let mut request = [0u8; 14];
                peer.read_exact(&mut request).unwrap();
                peer.write_all(reply).unwrap();
            }
        });
        assert!(answers(addr).unwrap());
        assert!(!answers(addr).unwrap());
        serving.join().unwrap();
        assert!(answers(addr).is_err());
    }
}
