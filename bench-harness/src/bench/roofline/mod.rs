//! `ringlog bench roofline` and `ringlog bench runtimes`: what this machine can do at most on a produce's path, without a broker,
//! and on which runtime. Frames with a payload are received, checksummed, staged, written by O_DIRECT into a file that was
//! written before, flushed once a turn, and answered.
//!
//! A server is a process of its own on one CPU ([`server`], seen by its parent as [`child`]), and drives the same
//! [`frames::Service`] by [`on_ring`], [`on_glommio`] or [`on_epoll`]. The load ([`load`]) is one thread on another CPU and the
//! same for all. [`measure`] runs them in turns, [`stats`] is what comes of it.

pub mod child;
pub mod frames;
pub mod load;
pub mod machine;
pub mod measure;
pub mod on_epoll;
pub mod on_glommio;
pub mod on_ring;
pub mod ring;
pub mod server;
pub mod shape;
pub mod stage;
pub mod stats;
pub mod text;

use super::Failure;
use measure::{Setup, Want};
use shape::{Frames, Runtime, Shape, Variant};
use stats::{FORMAT, Series};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Where and how long, for both commands.
#[derive(clap::Args, Debug)]
pub struct Common {
    /// CPU of the server
    #[arg(long, default_value_t = 0, value_name = "N")]
    cpu: usize,
    /// CPU of the load
    #[arg(long, default_value_t = 1, value_name = "M")]
    load_cpu: usize,
    /// Where the file is made that is written; it has no name and is gone in the end
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// MiB of that file; it is written again and again
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=65536))]
    file_mib: u64,
    /// Seconds of each run; as much as a third of it, before it, does not count
    #[arg(long, default_value_t = 1.5, value_parser = seconds)]
    secs: f64,
    /// Runs of each row
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Frames a second: an open loop, latency from the planned send (without: as many as are answered)
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Frames: PAYLOAD:CONNSxDEPTH, such as 200:128x5,64K:16x5
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<Frames>,
    /// Writes the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measure what this machine can do at most: the bare ring loop, without a broker.
#[derive(clap::Args, Debug)]
pub struct RooflineArgs {
    #[command(flatten)]
    common: Common,
    /// Parts of the path
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Variant::Network, Variant::Both, Variant::Disk])]
    variants: Vec<Variant>,
}

/// Measure the same loop on our ring, on glommio and on epoll.
#[derive(clap::Args, Debug)]
pub struct RuntimesArgs {
    #[command(flatten)]
    common: Common,
    /// Which of them
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Runtime::Ring, Runtime::Glommio, Runtime::Epoll])]
    runtimes: Vec<Runtime>,
}

const ROOFLINE: [&str; 10] = [
    "200:1x1",
    "200:16x5",
    "200:128x5",
    "1K:16x5",
    "1K:128x5",
    "4K:16x5",
    "16K:16x5",
    "64K:16x5",
    "256K:16x5",
    "1M:16x1",
];
const RUNTIMES: [&str; 6] = ["200:1x1", "200:16x5", "200:128x5", "4K:16x5", "64K:16x5", "1M:16x1"];

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (0.05..=3600.0).contains(n));
    number.ok_or_else(|| "a number of seconds from 0.05 to 3600".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (1.0..=1e8).contains(n));
    number.ok_or_else(|| "a number of frames a second from 1 to 100000000".into())
}

impl Common {
    fn frames(&self, usual: &[&str]) -> Vec<Frames> {
        let parsed = usual.iter().map(|text| text.parse().expect("a shape of the table"));
        if self.shapes.is_empty() { parsed.collect() } else { self.shapes.clone() }
    }

    fn setup(&self) -> Result<Setup, Failure> {
        let exe = std::env::current_exe().map_err(|e| Failure::because("this program's file", e))?;
        let measure = Duration::from_secs_f64(self.secs);
        let warm = (measure / 3).min(Duration::from_secs(1));
        let (dir, file_bytes) = (self.dir.clone(), self.file_mib << 20);
        if self.cpu == self.load_cpu {
            eprintln!("server and load share CPU {}: figures are of both", self.cpu);
        }
        Ok(Setup { exe, cpu: self.cpu, load_cpu: self.load_cpu, dir, file_bytes, warm, measure })
    }

    /// Measures, tells how far it is, and keeps the result.
    fn run(&self, kind: &str, wants: &[Want]) -> Result<Series, Failure> {
        let setup = self.setup()?;
        let told = |done, of, want, measured: &_| eprintln!("{}", text::progress(done, of, want, measured));
        let rows = measure::series(&setup, wants, self.runs.into(), told)?;
        let command = std::env::args().skip(1).fold("ringlog bench".to_string(), |line, arg| line + " " + &arg);
        let (date, environment) = (crate::date::today(), machine::environment(&self.dir));
        let series = Series { format: FORMAT, kind: kind.into(), command, date, environment, seconds: self.secs, rows };
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&series).map_err(|e| Failure::because(path.display(), e))?;
            std::fs::write(path, text).map_err(|e| Failure::because(path.display(), e))?;
        }
        Ok(series)
    }
}

/// `ringlog bench roofline`.
pub fn roofline(args: &RooflineArgs) -> Result<ExitCode, Failure> {
    let rate = args.common.rate;
    let mut wants = Vec::new();
    for frames in args.common.frames(&ROOFLINE) {
        // The whole path before the disk alone, which takes the size of its groups from there.
        for variant in [Variant::Network, Variant::Both, Variant::Disk] {
            let flushes: &[bool] = if variant == Variant::Network { &[false] } else { &[false, true] };
            for flushed in flushes.iter().filter(|_| args.variants.contains(&variant)) {
                let shape = Shape { variant, frames, flushed: *flushed };
                let rate = rate.filter(|_| variant != Variant::Disk);
                wants.push(Want { runtime: Runtime::Ring, shape, rate });
            }
        }
    }
    print!("{}", text::table(&args.common.run("roofline", &wants)?));
    Ok(ExitCode::SUCCESS)
}

/// `ringlog bench runtimes`.
pub fn runtimes(args: &RuntimesArgs) -> Result<ExitCode, Failure> {
    let mut wants = Vec::new();
    for frames in args.common.frames(&RUNTIMES) {
        for (variant, flushed) in [(Variant::Network, false), (Variant::Both, true)] {
            let shape = Shape { variant, frames, flushed };
            wants.extend(args.runtimes.iter().map(|runtime| Want { runtime: *runtime, shape, rate: args.common.rate }));
        }
    }
    let series = args.common.run("runtimes", &wants)?;
    print!("{}{}", text::table(&series), text::ratios(&series));
    Ok(ExitCode::SUCCESS)
}
