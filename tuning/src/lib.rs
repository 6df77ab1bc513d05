//! `ringlog tune`: what a host's settings are, what they had better be for a broker, and what the disk under a log does.
//!
//! - `settings`: the table of settings, each with its reason, its check, and what changes it; `entry`: what a row is
//! - `host`: the files of `/sys` and `/proc` it is read from, so that a tree of files can stand in for a machine
//! - `apply`, `record`: changes, made after what was there is on disk, and taken back
//! - `show`, `report`, `systemd`: what is printed
//! - `disk`: measures the device under a log directory, and writes what it found where `ringlog start` reads it
//!
//! Runs beside the broker, as a program of its own; shares nothing with it but names of settings.

#![forbid(unsafe_code)]

pub mod apply;
pub mod disk;
pub mod entry;
pub mod host;
pub mod record;
pub mod report;
pub mod settings;
pub mod show;
pub mod systemd;
