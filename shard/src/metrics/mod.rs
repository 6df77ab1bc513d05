//! The broker's instruments: what is counted, who tells it, and to whom.

pub mod core;
pub mod meter;
pub mod table;
