//! The real binary as a broker of one test, and as its tools.

use nix::sys::signal::Signal;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) const RINGLOG: &str = env!("CARGO_BIN_EXE_ringlog");

/// A broker of its own for one test, ended and removed with it.
pub(crate) struct Broker {
    process: Child,
    address: String,
    /// Its log directory.
    pub(crate) folder: PathBuf,
}

impl Broker {
    pub(crate) fn start(test: &str) -> Broker {
        Broker::on(std::env::temp_dir().join(format!("ringlog-cli-{test}-{}", std::process::id())))
    }

    /// On a folder that may hold what an earlier broker left.
    pub(crate) fn on(folder: PathBuf) -> Broker {
        // Free a moment ago; whoever takes it in between makes the start fail, not the test lie.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let process = Command::new(RINGLOG)
            .arg("start")
            .args(["--override", &format!("listeners=PLAINTEXT://{address}")])
            .args(["--override", &format!("log.dirs={}", folder.display())])
            .args(["--override", "group.initial.rebalance.delay.ms=0"])
            .args(["--override", "ringlog.admin.address="])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut broker = Broker { process, address, folder };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !broker.run("topic list", "").status.success() {
            assert!(broker.process.try_wait().unwrap().is_none(), "the broker ended");
            assert!(Instant::now() < deadline, "the broker does not answer");
        }
        broker
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(RINGLOG);
        command.args(line.split_whitespace()).args(["--bootstrap-server", &self.address]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, line: &str, input: &str) -> Output {
        let mut child = self.command(line).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Standard output of a command that must succeed.
    pub(crate) fn ok(&self, line: &str, input: &str) -> String {
        let output = self.run(line, input);
        assert!(output.status.success(), "ringlog {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that must fail with exit code 1 says.
    pub(crate) fn fails(&self, line: &str, input: &str) -> String {
        let output = self.run(line, input);
        assert_eq!(output.status.code(), Some(1), "ringlog {line}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(line, "")).unwrap()
    }
}

impl Broker {
    /// Ends it, by SIGTERM or SIGKILL, and starts another on its folder after `between`.
    pub(crate) fn restart(mut self, signal: Signal, between: impl FnOnce(&Path)) -> Broker {
        let folder = self.end(signal);
        between(&folder);
        Broker::on(folder)
    }

    /// Ends it; its folder stays.
    pub(crate) fn end(&mut self, signal: Signal) -> PathBuf {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.process.id() as i32), signal).unwrap();
        self.process.wait().unwrap();
        std::mem::take(&mut self.folder)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if self.folder != Path::new("") {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// The binary without a broker: exit code, standard output, standard error.
pub(crate) fn ringlog(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(RINGLOG).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

pub(crate) fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}
