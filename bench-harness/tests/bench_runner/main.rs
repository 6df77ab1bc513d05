//! What stands around the load of `ringlog bench`: files and their errors, what is read of machines and processes, and the program
//! itself, against a real Ringlog.

mod environment;
mod files;
mod kafka;
mod measure;
mod omb;
mod program;
mod prometheus;
mod sample;
