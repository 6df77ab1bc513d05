//! Stock clients, fuzzers, crash runs and load against the real broker.

pub mod bench;
pub mod broker;
pub mod clients;
pub mod crash;
pub mod day;
pub mod instructions;
pub mod peer;
pub mod wait;
