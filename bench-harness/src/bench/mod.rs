//! `ringlog bench`: measures any broker that speaks Kafka's protocol, and says what the figures can carry.
//!
//! A [`workload::Workload`] says what is asked; [`load`] asks it and records what came back; a [`result::RunResult`] is all that is
//! known of one run, and the only thing that reports and comparisons read. Nothing here knows a broker from the inside: only its
//! wire, its `/proc`, and its metrics endpoint.

pub mod brokers;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod environment;
pub mod figures;
pub mod gate;
pub mod history;
pub mod load;
pub mod measure;
pub mod report;
pub mod result;
pub mod sample;
pub mod workload;
pub mod workloads;

use std::fmt;

/// Why a command could not do what it was asked, in words for the person who asked.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// What was attempted, and why it failed.
    pub fn because(what: impl fmt::Display, why: impl fmt::Display) -> Failure {
        Failure(format!("{what}: {why}"))
    }
}
