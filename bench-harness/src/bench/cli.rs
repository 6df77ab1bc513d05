//! The command line of `ringlog-bench`. Each command's arguments and work are in its own module.

use super::commands::{compare, peer, run, versus, workloads};
use super::{Failure, gate, history, report};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measures brokers that speak Kafka's protocol.
#[derive(Parser, Debug)]
#[command(name = "ringlog bench", bin_name = "ringlog bench", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(run::Args),
    Compare(compare::Args),
    VersusKafka(versus::Args),
    Peer(peer::Args),
    Workloads(workloads::Args),
    Report(report::Args),
    History(history::Args),
    Gate(gate::Args),
}

/// Runs the command that the process was given. Exit codes: 0 done, 1 failed (a void run, a missed gate), 2 wrong usage.
pub fn run() -> ExitCode {
    let done: Result<ExitCode, Failure> = match Cli::parse().command {
        Command::Run(args) => run::command(&args),
        Command::Compare(args) => compare::command(&args),
        Command::VersusKafka(args) => versus::command(&args),
        Command::Peer(args) => peer::command(&args),
        Command::Workloads(args) => workloads::command(&args),
        Command::Report(args) => report::command(&args),
        Command::History(args) => history::command(&args),
        Command::Gate(args) => gate::command(&args),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("ringlog bench: {failure}");
        ExitCode::FAILURE
    })
}
