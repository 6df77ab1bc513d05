//! The server's process: one job, told as JSON on the command line. Tells the port on standard output, answers each line on
//! standard input with a sample of its counters, and ends when standard input does.

use super::super::Failure;
use super::super::result::Latency;
use super::shape::{Frames, Runtime, Shape, Variant};
use super::{on_epoll, on_glommio, on_ring, stage};
use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What one server does in its life.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub runtime: Runtime,
    pub shape: Shape,
    /// The file to write, all of it written before, and its bytes.
    pub file: PathBuf,
    pub file_bytes: u64,
    pub cpu: usize,
    /// Bytes of a group, where there is no network to make groups.
    pub group_bytes: usize,
}

impl Job {
    pub fn frames(&self) -> Frames {
        self.shape.frames
    }
}

/// Tells the parent the port; called once, when connections are taken.
pub type Announce<'a> = &'a dyn Fn(u16) -> io::Result<()>;

/// What the first line says.
#[derive(Serialize, Deserialize)]
pub struct Port {
    pub port: u16,
}

/// Groups written since the start.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sample {
    pub groups: u64,
    pub payload: u64,
    /// From the first write of a group to the end of its flush, or of its writes.
    pub took: Latency,
}

/// The counters, which the core counts up once a group and the thread that samples them reads.
#[derive(Default)]
pub struct Counters(Mutex<Sample>);

impl Counters {
    pub fn group(&self, payload: u64, took: Duration) {
        let mut sample = self.0.lock().expect("nobody panics with the counters");
        sample.groups += 1;
        sample.payload += payload;
        sample.took.record(took.as_nanos() as u64);
    }

    /// What was counted; times of groups begin anew.
    fn sample(&self) -> Sample {
        let mut sample = self.0.lock().expect("nobody panics with the counters");
        let took = std::mem::take(&mut sample.took);
        Sample { took, ..*sample }
    }
}

/// A frame server. The bench starts it for itself.
#[derive(clap::Args, Debug)]
pub struct Args {
    job: String,
}

/// Takes connections on the loopback interface. They inherit that nothing waits for an acknowledgement (Nagle's algorithm).
pub fn local_listener() -> io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
    Ok(listener)
}

/// Pins the calling thread, and those it makes, to one CPU.
pub fn pin(cpu: usize) -> Result<(), Failure> {
    match core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        true => Ok(()),
        false => Err(Failure(format!("CPU {cpu} cannot be used: see `nproc` and `taskset -p`"))),
    }
}

/// `ringlog bench serve-frames`, which is not for people.
pub fn command(args: &Args) -> Result<ExitCode, Failure> {
    let job: Job = serde_json::from_str(&args.job).map_err(|e| Failure::because("a job", e))?;
    pin(job.cpu)?;
    let counters = Arc::new(Counters::default());
    let seen = counters.clone();
    std::thread::Builder::new()
        .name("samples".into())
        .spawn(move || answer_samples(&seen))
        .map_err(|e| Failure::because("a thread", e))?;
    let done = serve(&job, &counters);
    done.map(|()| ExitCode::SUCCESS).map_err(|e| Failure::because(format!("{} on {}", job.shape, job.runtime), e))
}

fn serve(job: &Job, counters: &Counters) -> io::Result<()> {
    let announce = |port| tell(&Port { port });
    let path = (job.shape.variant != Variant::Network).then_some(job.file.as_path());
    if job.runtime == Runtime::Glommio {
        return on_glommio::serve(job, path, counters, &announce);
    }
    let file = path.map(stage::open).transpose()?;
    match job.runtime {
        Runtime::Epoll => on_epoll::serve(job, file.as_ref(), counters, &announce),
        _ => on_ring::serve(job, file.as_ref(), counters, &announce),
    }
}

/// One line of JSON on standard output.
fn tell(what: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, what)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Ends the process when nobody asks any more.
fn answer_samples(counters: &Counters) {
    for _ in io::stdin().lock().lines() {
        if tell(&counters.sample()).is_err() {
            break;
        }
    }
    std::process::exit(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn answers_do_not_wait_for_acknowledgements() {
        let listener = local_listener().expect("a listener");
        let _peer = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (accepted, _) = listener.accept().expect("it comes");
        assert!(accepted.nodelay().expect("an option"));
    }
}
