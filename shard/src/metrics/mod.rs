//! The broker's instruments: what is counted, who tells it, and to whom.

pub mod table;
