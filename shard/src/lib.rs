//! One core of Ringlog: the ring, the loop, the mail. Everything that touches the world is here, and only here.

pub mod api;
pub mod boot;
pub mod checker;
pub mod cli;
pub mod core;
pub mod io;
pub mod mail;
pub mod metrics;
mod start;
pub mod store;

pub use start::start;
