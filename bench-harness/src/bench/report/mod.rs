//! `ringlog bench report`: what runs found, for people to look at.

use super::Failure;
use super::result::{FORMAT, RunResult};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show runs that were kept.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Results (`run.json`) of one or more runs.
    #[arg(required = true)]
    pub results: Vec<PathBuf>,
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
