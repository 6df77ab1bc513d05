//! The table of host settings: every row, and the checks that several of them share. A check is a function of the files it
//! reads, and changes nothing.

pub mod memory;
pub mod network;
pub mod process;
pub mod processor;
pub mod storage;

use crate::entry::{Change, Entry, Finding, Form};
use crate::host::Host;

/// Every row, in the order of the subjects.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    [process::ENTRIES, storage::ENTRIES, processor::ENTRIES, memory::ENTRIES, network::ENTRIES].into_iter().flatten()
}

/// A file with one number that is good from `least` on, and is set to it if it is less.
fn at_least(host: &Host, path: &str, least: i64) -> Finding {
    match host.number(path) {
        Ok(is) if is >= least => Finding::good(is.to_string()),
        Ok(is) => Finding::off(is.to_string()).with(vec![plain(path, &is.to_string(), &least.to_string())]),
        Err(trouble) => Finding::of(trouble, "this kernel does not have it"),
    }
}

/// A file with one number that is good up to `most`, and is set to `to` if it is more.
fn at_most(host: &Host, path: &str, most: i64, to: i64) -> Finding {
    match host.number(path) {
        Ok(is) if is <= most => Finding::good(is.to_string()),
        Ok(is) => Finding::off(is.to_string()).with(vec![plain(path, &is.to_string(), &to.to_string())]),
        Err(trouble) => Finding::of(trouble, "this kernel does not have it"),
    }
}

fn plain(path: &str, old: &str, new: &str) -> Change {
    Change { path: path.into(), form: Form::Plain, old: old.into(), new: new.into() }
}

/// The CPUs that are there to be used.
fn cpus(host: &Host) -> Vec<usize> {
    host.read("/sys/devices/system/cpu/online").ok().and_then(|text| crate::host::cpu_list(&text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_says_everything_once() {
        let mut names = BTreeSet::new();
        for entry in all() {
            assert!(names.insert(entry.name), "{} is there twice", entry.name);
            for text in [entry.what, entry.why, entry.source, entry.good] {
                assert!(!text.is_empty() && !text.contains('\n'), "{}: {text:?}", entry.name);
            }
        }
        assert!(names.len() > 40, "{} settings", names.len());
    }

    /// On a machine that tells nothing, nothing is guessed: no check says good or off.
    #[test]
    fn nothing_is_guessed() {
        let nowhere = std::env::temp_dir().join(format!("ringlog-tune-nowhere-{}", std::process::id()));
        for data_dir in [None, Some(std::path::Path::new("/data"))] {
            let host = Host::new(&nowhere, data_dir);
            for entry in all() {
                let found = (entry.check)(&host);
                let known = matches!(found.state, crate::entry::State::Good | crate::entry::State::Off);
                assert!(!known && found.changes.is_empty(), "{}: {found:?}", entry.name);
            }
        }
    }
}
