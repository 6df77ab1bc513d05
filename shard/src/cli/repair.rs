//! `ringlog repair`: shows what a stopped broker's directory would lose to be whole again, asks, and sets that aside.
//! The work is [`crate::boot::Repair`]'s.

use super::output::{Failure, counted, print, print_json};
use super::time;
use crate::boot::{BootError, Repair};
use clap::Args;
use ringlog_engine::types::WallMs;
use serde_json::json;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

/// Make a stopped broker's damaged log directory whole again, by setting aside what is damaged.
///
/// Shows what would be lost and asks before it changes anything. What it drops is moved to DIR/set-aside.
#[derive(Args, Debug)]
pub(super) struct RepairArgs {
    /// A log directory (one of log.dirs).
    dir: PathBuf,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
    /// Only shows what would be lost. Exit code 1 if there is anything.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &RepairArgs) -> Result<(), Failure> {
    let failed = |error: BootError| Failure::Failed(error.to_string());
    let now = WallMs(time::now_ms());
    let repair = Repair::examine(&arguments.dir, now).map_err(failed)?;
    let losses = repair.losses();
    let told: Vec<_> = losses.iter().map(|l| json!({ "what": l.what, "offsets": l.offsets })).collect();
    if losses.is_empty() {
        return match arguments.json {
            true => print_json(&json!({ "losses": told, "set_aside": null })),
            false => print(&format!("{} is whole: there is nothing to repair.\n", arguments.dir.display())),
        };
    }
    if !arguments.json {
        let lines: String = losses.iter().map(|l| format!("  {}\n", l.what)).collect();
        print(&format!("{} would lose:\n{lines}", arguments.dir.display()))?;
    }
    if arguments.dry_run {
        if arguments.json {
            print_json(&json!({ "losses": told, "set_aside": null }))?;
        }
        return Err(Failure::Failed(format!("{} to be dropped; nothing was changed", counted(losses.len(), "thing"))));
    }
    if !arguments.yes && !agreed()? {
        return Err(Failure::Failed("nothing was changed".into()));
    }
    let aside = repair.carry_out(&time::compact(now.0), now, crate::start::random()).map_err(failed)?;
    match arguments.json {
        true => print_json(&json!({ "losses": told, "set_aside": aside.display().to_string() })),
        false => print(&format!("Done. What was dropped is in {}.\n", aside.display())),
    }
}

fn agreed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Failed("nobody is there to ask; give --yes to go on. Nothing was changed".into()));
    }
    print("Set this aside and go on? [y/N] ")?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    Ok(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes"))
}
