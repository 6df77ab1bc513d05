//! One core of Ringlog: the ring, the loop, the mail. Everything that touches the world is here, and only here.

pub mod cli;
pub mod io;
mod start;

pub use start::start;
