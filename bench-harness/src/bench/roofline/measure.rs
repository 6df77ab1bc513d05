//! Runs: one server, one load, its figures; and series of them, interleaved, so that what changes on the machine meanwhile meets
//! every row alike.

use super::super::Failure;
use super::super::result::Latency;
use super::child::Server;
use super::frames::Tape;
use super::load::{self, Ask};
use super::server::{self, Job};
use super::shape::{Frames, Runtime, Shape, Variant};
use super::stage;
use super::stats::{Gathered, Row, Run};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where and for how long everything is measured.
#[derive(Debug, Clone)]
pub struct Setup {
    /// This program, which the servers are started from.
    pub exe: PathBuf,
    pub cpu: usize,
    pub load_cpu: usize,
    /// Where the file is made that is written, and its bytes.
    pub dir: PathBuf,
    pub file_bytes: u64,
    pub warm: Duration,
    pub measure: Duration,
}

/// What one run found.
pub struct Measured {
    pub run: Run,
    pub latency: Latency,
    /// How late the load sent what was planned.
    pub lag: Latency,
    /// Frames sent on each connection in the whole run, every one answered; none without a network.
    pub frames: Vec<u64>,
}

/// The file that is written. It has no name, so that it goes with the last process that has it open, however that ends.
pub struct LogFile {
    path: PathBuf,
    _open: File,
}

impl LogFile {
    pub fn make(setup: &Setup) -> Result<LogFile, Failure> {
        let path = setup.dir.join(format!("ringlog-roofline-{}", std::process::id()));
        let open = stage::make(&path, setup.file_bytes).map_err(|e| Failure::because(path.display(), e))?;
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd()));
        Ok(LogFile { path, _open: open })
    }

    /// Where a server opens it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What a row of a series asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Want {
    pub runtime: Runtime,
    pub shape: Shape,
    pub rate: Option<f64>,
}

/// One run. `group_bytes`: of a group, where there is no network to make groups.
pub fn once(setup: &Setup, file: &LogFile, want: Want, group_bytes: usize) -> Result<Measured, Failure> {
    let Want { runtime, shape, rate } = want;
    let (path, file_bytes) = (file.path().to_path_buf(), setup.file_bytes);
    let job = Job { runtime, shape, file: path, file_bytes, cpu: setup.cpu, group_bytes };
    let mut server = Server::start(&setup.exe, &job)?;
    match shape.variant {
        Variant::Disk => disk(setup, &mut server, shape.frames, group_bytes),
        _ => network(setup, &mut server, shape, rate),
    }
}

fn network(setup: &Setup, server: &mut Server, shape: Shape, rate: Option<f64>) -> Result<Measured, Failure> {
    let tape = Tape::new(shape.frames.payload);
    let (warm, measure) = (setup.warm, setup.measure);
    let ask = Ask { frames: shape.frames, rate, warm, measure, yields: setup.cpu == setup.load_cpu };
    let mut cpu = Vec::with_capacity(2);
    // On a thread of its own, which can be pinned and then goes.
    let done = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            server::pin(setup.load_cpu)?;
            load::run(server.port, &tape, ask, || cpu.push(server.cpu()))
        });
        load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    if done.measured == 0 {
        return Err(Failure(format!("{shape}: nothing was answered while measuring")));
    }
    let share = server.workers_cpu() as f64 / server.cpu().max(1) as f64;
    let ops = done.measured as f64;
    let cpu_us_per_op = (cpu[1] - cpu[0]) as f64 / 1000.0 / ops;
    let sample = server.sample()?;
    let run = Run {
        cpu_us_per_op,
        workers_us_per_op: cpu_us_per_op * share,
        ops_per_s: ops / done.elapsed.as_secs_f64(),
        group_bytes: sample.payload as f64 / sample.groups.max(1) as f64,
        load_busy: done.busy,
        p50_us: micros(&done.latency, 50.0),
        p99_us: micros(&done.latency, 99.0),
        lag_p50_us: micros(&done.lag, 50.0),
        lag_p99_us: micros(&done.lag, 99.0),
    };
    Ok(Measured { run, latency: done.latency, lag: done.lag, frames: done.frames })
}

fn micros(latency: &Latency, percentile: f64) -> Option<f64> {
    latency.at(percentile).map(|nanos| nanos as f64 / 1000.0)
}

fn disk(setup: &Setup, server: &mut Server, frames: Frames, group_bytes: usize) -> Result<Measured, Failure> {
    std::thread::sleep(setup.warm);
    let (first, cpu, begin) = (server.sample()?, server.cpu(), Instant::now());
    std::thread::sleep(setup.measure);
    let (last, cpu, elapsed) = (server.sample()?, server.cpu() - cpu, begin.elapsed());
    // A group holds a fraction of a frame where the frame is the larger.
    let ops = (last.payload - first.payload) as f64 / frames.payload as f64;
    if ops == 0.0 {
        return Err(Failure(format!("no group of {group_bytes} bytes was written while measuring")));
    }
    let cpu_us_per_op = cpu as f64 / 1000.0 / ops;
    let run = Run {
        cpu_us_per_op,
        workers_us_per_op: cpu_us_per_op * server.workers_cpu() as f64 / server.cpu().max(1) as f64,
        ops_per_s: ops / elapsed.as_secs_f64(),
        group_bytes: group_bytes as f64,
        load_busy: 0.0,
        p50_us: micros(&last.took, 50.0),
        p99_us: micros(&last.took, 99.0),
        lag_p50_us: None,
        lag_p99_us: None,
    };
    Ok(Measured { run, latency: last.took, lag: Latency::default(), frames: Vec::new() })
}

/// All rows, `runs` times over, one after the other. `told` hears of each run: which, of how many, what and what it found.
pub fn series(
    setup: &Setup,
    wants: &[Want],
    runs: usize,
    mut told: impl FnMut(usize, usize, Want, &Measured),
) -> Result<Vec<Row>, Failure> {
    let file = LogFile::make(setup)?;
    let begin = |want: &Want| Gathered {
        runtime: want.runtime,
        shape: want.shape,
        rate: want.rate,
        runs: Vec::new(),
        latency: Latency::default(),
    };
    let mut gathered: Vec<Gathered> = wants.iter().map(begin).collect();
    for run in 0..runs {
        for (k, want) in wants.iter().enumerate() {
            let measured = once(setup, &file, *want, group_of(&gathered, *want))?;
            told(run * wants.len() + k + 1, runs * wants.len(), *want, &measured);
            gathered[k].runs.push(measured.run);
            gathered[k].latency.merge(&measured.latency);
        }
    }
    Ok(gathered.into_iter().map(Gathered::row).collect())
}

/// The size of a group for the disk alone: that of the last run of the whole path with the same frames; where that is not
/// measured, all that a closed loop has in flight.
fn group_of(gathered: &[Gathered], want: Want) -> usize {
    let whole = Shape { variant: Variant::Both, ..want.shape };
    let same = gathered.iter().filter(|row| row.shape == whole && row.runtime == want.runtime);
    let last = same.filter_map(|row| row.runs.last()).next_back();
    last.map_or(want.shape.frames.in_flight(), |run| (run.group_bytes as usize).max(1))
}
