//! Stock clients, fuzzers, crash runs and load against the real broker.

pub mod bench;
pub mod broker;
pub mod clients;
pub mod crash;
pub mod date;
pub mod instructions;
pub mod peer;
pub mod prometheus;
pub mod referee;
pub mod sim;
pub mod stock;
pub mod top;
pub mod wait;
pub mod wall;
