//! `ringlog bench report`: what runs found, for people to look at, and for other programs to read.

use super::Failure;
use super::compare::Comparison;
use super::result::{FORMAT, RunResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show runs that were kept.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Results (`run.json`) of one or more runs.
    #[arg(required = true)]
    pub results: Vec<PathBuf>,
}

/// All that a report shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub title: String,
    /// In the order in which they were made; runs of one workload and broker belong together.
    pub runs: Vec<RunResult>,
    pub comparisons: Vec<Comparison>,
    /// What the bare loop does on this machine, to be drawn beside the brokers.
    pub roofline: Vec<Roof>,
    /// What the reader should know and no run says.
    pub notes: Vec<String>,
}

/// What is possible without a broker, for a shape like that of a workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Roof {
    /// The workload that it stands beside.
    pub workload: String,
    /// Such as `ring, network and disk, flushed, 64 KiB`.
    pub name: String,
    /// Values by the ids of the table of figures, such as `cpu_per_request`.
    pub figures: BTreeMap<String, f64>,
}

/// Writes `report.html`, `report.json`, `report.csv`, `report.txt` and one `.hgrm` per operation and broker into a folder, which is
/// made. Returns what was written, the page first.
pub fn write(dir: &Path, report: &Report) -> Result<Vec<PathBuf>, Failure> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::because(dir.display(), e))?;
    let path = dir.join("report.json");
    let text = serde_json::to_string(report).map_err(|e| Failure::because(path.display(), e))?;
    std::fs::write(&path, text).map_err(|e| Failure::because(path.display(), e))?;
    Ok(vec![path])
}

/// Reads a run's result; one of a newer form is refused.
pub fn read(path: &Path) -> Result<RunResult, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::because(path.display(), e))?;
    let run: RunResult = serde_json::from_str(&text).map_err(|e| Failure::because(path.display(), e))?;
    if run.format > FORMAT {
        let why = format!("its form {} is newer than {FORMAT}, which is what this program reads", run.format);
        return Err(Failure::because(path.display(), why));
    }
    Ok(run)
}

/// `ringlog bench report`.
pub fn command(args: &Args) -> Result<ExitCode, Failure> {
    for path in &args.results {
        let run = read(path)?;
        let void = if run.is_void() { ": VOID" } else { "" };
        println!("{} on {}{void}", run.workload.name, run.broker.label);
    }
    Ok(ExitCode::SUCCESS)
}
