//! `ringlog bench report`: what runs found, for people to look at, and for other programs to read.

pub mod charts;
pub mod csv;
pub mod format;
pub mod group;
pub mod hgrm;
pub mod html;
pub mod metrics;
pub mod svg;
pub mod tables;

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
    let mut written = Vec::new();
    let mut put = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|e| Failure::because(path.display(), e))?;
        written.push(path);
        Ok::<(), Failure>(())
    };
    put("report.html", &html::page(report))?;
    put("report.json", &serde_json::to_string(report).map_err(|e| Failure::because("report.json", e))?)?;
    put("report.csv", &csv::write(report))?;
    let sections = group::sections(report);
    for section in &sections {
        for group in &section.groups {
            for kind in group::Kind::ALL.into_iter().filter(|kind| kind.of(group).max().is_some()) {
                let workload =
                    if sections.len() > 1 { format!("{}-", plain(&section.workload.name)) } else { String::new() };
                put(&format!("{workload}{}-{}.hgrm", kind.name(), plain(group.label)), &hgrm::write(kind.of(group)))?;
            }
        }
    }
    Ok(written)
}

/// A name as part of a file's name.
fn plain(name: &str) -> String {
    let kept: String = name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect();
    kept.trim_matches(['-', '.']).to_string()
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
