//! `ringlog bench workloads`: what ships, each with the question it answers.

use crate::bench::Failure;
use crate::bench::workloads::{SHIPPED, file, shape};
use std::process::ExitCode;

/// List the workloads that ship, or show one.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Shows this one as its file, to begin another with.
    pub name: Option<String>,
}

/// Does it.
pub fn command(args: &Args) -> Result<ExitCode, Failure> {
    if let Some(name) = &args.name {
        let found = SHIPPED.iter().find(|(shipped, _)| shipped == name);
        let (_, text) = found.ok_or_else(|| Failure(format!("no workload {name} ships")))?;
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    for (name, text) in SHIPPED {
        let workload = file::parse(name, text)?;
        println!("{name}\n    {}\n    {}", workload.question, shape(&workload));
    }
    Ok(ExitCode::SUCCESS)
}
