//! The `ringlog` binary as a person uses it: its tools, and log directories that are damaged, repaired or of other releases.

mod broker;
mod damage;
mod formats;
mod tools;
