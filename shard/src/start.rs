//! Starting the broker. Not its parts: they are made and joined here.

use std::process::ExitCode;

use crate::cli::StartArgs;

/// Runs the broker until it is told to stop; the exit code says how it ended.
pub fn start(_arguments: StartArgs) -> ExitCode {
    eprintln!("ringlog: the broker is not built yet; the tools work with any Kafka-compatible broker");
    ExitCode::FAILURE
}
