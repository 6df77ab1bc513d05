//! The server's process as the bench sees it: started, asked for samples, its CPU time read, ended.

use super::super::Failure;
use super::server::{Job, Port, Sample};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

pub struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    clock: ClockId,
    /// Where it takes connections, on the loopback interface; 0 if it takes none.
    pub port: u16,
}

impl Server {
    /// `exe` is this program.
    pub fn start(exe: &Path, job: &Job) -> Result<Server, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::because("starting a frame server", e);
        let job = serde_json::to_string(job).map_err(|e| failed(&e))?;
        let mut command = Command::new(exe);
        command.args(["serve-frames", &job]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| failed(&e))?;
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let clock = clock_getcpuclockid(Pid::from_raw(child.id() as i32)).map_err(|e| failed(&e))?;
        let mut server = Server { child, out, clock, port: 0 };
        let first: Port = server.line()?;
        server.port = first.port;
        Ok(server)
    }

    fn line<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let mut line = String::new();
        let read = self.out.read_line(&mut line).map_err(|e| Failure::because("a frame server", e))?;
        if read == 0 {
            return Err(Failure("a frame server ended before it was asked to".into()));
        }
        serde_json::from_str(&line).map_err(|e| Failure::because("a frame server", e))
    }

    /// What it has written. The thread that answers shares the server's CPU: not to be asked while latency is measured.
    pub fn sample(&mut self) -> Result<Sample, Failure> {
        let ask = self.child.stdin.as_mut().expect("it is piped").write_all(b"\n");
        ask.map_err(|e| Failure::because("a frame server", e))?;
        self.line()
    }

    /// CPU time of all its threads, nanoseconds: the kernel's workers for its rings, and threads that have ended, included.
    pub fn cpu(&self) -> u64 {
        let time = clock_gettime(self.clock).expect("the process is there until it is dropped");
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    }

    /// The part of it that the kernel's workers for its rings took, of those that live.
    pub fn workers_cpu(&self) -> u64 {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.child.id())) else { return 0 };
        let of = |task: fs::DirEntry| {
            let read = |name| fs::read_to_string(task.path().join(name)).ok();
            let worker = read("comm").is_some_and(|name| name.starts_with("iou-"));
            read("schedstat").filter(|_| worker).and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        };
        tasks.flatten().filter_map(of).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
