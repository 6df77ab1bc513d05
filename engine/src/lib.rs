//! What one core of Ringlog knows, and what should happen next. Pure: no I/O, no clock, no randomness, no unsafe.
//!
//! Every type here is plain data or a state machine: commands and facts go in (`on_*`), outputs come out (`poll`).
//! Time, chance and order are arguments, so a run replays from its inputs.
#![forbid(unsafe_code)]

pub mod batch;
pub mod codec;
pub mod config;
pub mod error;
pub mod group;
pub mod limits;
pub mod log;
pub mod metadata;
pub mod probe;
pub mod producer;
pub mod rope;
pub mod types;

pub use error::ErrorCode;
