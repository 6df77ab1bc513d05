//! A broker process that was started to be measured: on CPUs of its own, in a directory of its own that goes with it.
//!
//! It ends with its [`Process`], and also when this program ends in any other way (Ctrl-C, a panic, SIGKILL): a small guard process
//! holds a pipe to this one, and when that closes it ends the broker, by its id, and removes the directory. Both are in process
//! groups of their own, so that a Ctrl-C reaches neither before this program has gone.

use super::{move_to, own_cpus};
use crate::bench::Failure;
use crate::broker::answers;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take: a Java process on a busy machine.
const START: Duration = Duration::from_secs(90);
/// How long a clean end may take before it is ended hard: the data goes anyway.
const STOP: Duration = Duration::from_secs(10);
/// Lines of its output shown when it fails.
const SHOWN_LINES: usize = 20;

/// One process with its directory.
pub struct Process {
    name: String,
    child: Child,
    guard: Child,
    dir: PathBuf,
    command: Vec<String>,
}

/// A fresh folder below `home`, named after this process.
pub fn fresh_dir(home: &Path, name: &str) -> Result<PathBuf, Failure> {
    for k in 0.. {
        let dir = home.join(format!("{name}-{}-{k}", std::process::id()));
        let made = fs::create_dir_all(home).and_then(|()| fs::create_dir(&dir));
        match made {
            Ok(()) => return fs::canonicalize(&dir).map_err(|e| Failure::because(dir.display(), e)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Failure::because(dir.display(), e)),
        }
    }
    unreachable!("the loop ends by a folder or a failure")
}

impl Process {
    /// Starts `command` on these CPUs. `dir` is removed with it; its output goes to a file there.
    pub fn start(name: &str, command: &mut Command, dir: &Path, cpus: &[usize]) -> Result<Process, Failure> {
        Process::spawn(name, command, dir, cpus).inspect_err(|_| {
            // There is no process that it would go with.
            let _ = fs::remove_dir_all(dir);
        })
    }

    fn spawn(name: &str, command: &mut Command, dir: &Path, cpus: &[usize]) -> Result<Process, Failure> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |e: std::io::Error| Failure::because(format!("starting {program}"), e);
        let log = fs::File::create(dir.join("output.log")).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words = words.map(|w| w.to_string_lossy().into_owned()).collect();
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        // A child begins where the thread that starts it is.
        let mine = own_cpus();
        move_to(cpus)?;
        let spawned = command.spawn();
        move_to(&mine)?;
        let mut child = spawned.map_err(failed)?;
        let script = "read -r _; kill -9 \"$0\"; n=0; \
                      while kill -0 \"$0\" && [ $n -lt 40 ]; do sleep 0.05; n=$((n+1)); done; rm -rf -- \"$1\"";
        let guard = Command::new("sh")
            .args(["-c", script, &child.id().to_string()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match guard {
            Ok(guard) => Ok(Process { name: name.to_string(), child, guard, dir: dir.to_path_buf(), command: words }),
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(failed(e))
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command line it was started with.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// What it printed.
    pub fn output(&self) -> String {
        let bytes = fs::read(self.dir.join("output.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn last_lines(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n  ")
    }

    /// Fails, with its last words, if it ended.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(Failure(format!("{} ended by itself ({status}). It said:\n  {}", self.name, self.last_lines())))
            }
            Err(e) => Err(Failure::because(&self.name, e)),
        }
    }

    pub fn wait_until_it_answers(&mut self, addr: SocketAddr) -> Result<(), Failure> {
        self.wait_until("answer", |_| answers(addr).unwrap_or(false))
    }

    /// Looks again and again until it is so, or the process ends, or it takes too long.
    pub fn wait_until(&mut self, what: &str, mut so: impl FnMut(&Process) -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            self.check_alive()?;
            if so(self) {
                return Ok(());
            }
            if begun.elapsed() > START {
                let said = self.last_lines();
                return Err(Failure(format!("{} did not {what} within {START:?}. It said:\n  {said}", self.name)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn pause(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn resume(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        kill(self.id(), signal).map_err(|e| Failure::because(format!("{signal} to {}", self.name), e))
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits until it has ended, and leaves its id taken until it is reaped.
    fn ended_within(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(self.id()), flags) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
                // Ended, or reaped when it was looked at before.
                Ok(_) | Err(_) => return true,
            }
            if begun.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Reaped already means that the id may be another's.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.signal(Signal::SIGTERM);
            let _ = self.signal(Signal::SIGCONT);
            if !self.ended_within(STOP) {
                let _ = self.signal(Signal::SIGKILL);
                self.ended_within(STOP);
            }
        }
        // First the guard, while the id of its ward is still taken.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
