//! Names of everything in a log directory. One place, for the broker, its recovery and its tools.
//!
//! ```text
//! <log dir>/ringlog.meta                                   format version, cluster and node id
//! <log dir>/ringlog.lock                                   held while a broker runs
//! <log dir>/ringlog.room                                   holds room for the next start; nothing is in it
//! <log dir>/ringlog.tuned                                  what `ringlog tune disk` measured; the start reads it, and nobody else
//! <log dir>/journal-<incarnation>-<core>-<0|1>.rlj         journals
//! <log dir>/recycled-<core>-<number>.seg                   blocks to be used again
//! <log dir>/<topic>/<partition>.<topic id>/<base offset>.log     segments: Kafka batches and nothing else
//! <log dir>/<topic>/<partition>.<topic id>/<base offset>.index   their indexes, once sealed
//! <log dir>/set-aside/                                     what was dropped or found damaged; nobody's but people's
//! ```

use ringlog_engine::types::{PartitionKey, TopicId};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub const META: &str = "ringlog.meta";
pub const LOCK: &str = "ringlog.lock";
pub const ROOM: &str = "ringlog.room";
/// Folder of everything that repairs dropped, and of journals that were found damaged.
pub const SET_ASIDE: &str = "set-aside";

pub fn room(dir: &Path) -> PathBuf {
    dir.join(ROOM)
}

pub fn topic_dir(dir: &Path, topic: &str) -> PathBuf {
    dir.join(topic)
}

pub fn partition_dir(dir: &Path, topic: &str, key: PartitionKey) -> PathBuf {
    dir.join(topic).join(format!("{}.{}", key.partition, key.topic))
}

pub fn segment(dir: &Path, topic: &str, key: PartitionKey, base: i64) -> PathBuf {
    partition_dir(dir, topic, key).join(format!("{base:020}.log"))
}

pub fn index(dir: &Path, topic: &str, key: PartitionKey, base: i64) -> PathBuf {
    partition_dir(dir, topic, key).join(format!("{base:020}.index"))
}

pub fn journal(dir: &Path, incarnation: u64, core: u16, half: u8) -> PathBuf {
    dir.join(format!("journal-{incarnation:010}-{core:03}-{half}.rlj"))
}

pub fn recycled(dir: &Path, core: u16, number: u64) -> PathBuf {
    dir.join(format!("recycled-{core:03}-{number:010}.seg"))
}

/// A name that is a recycled segment's.
pub fn is_recycled(name: &str) -> bool {
    name.starts_with("recycled-") && name.ends_with(".seg")
}

/// (incarnation, core, half) of a journal's name.
pub fn parse_journal(name: &str) -> Option<(u64, u16, u8)> {
    let mut parts = name.strip_prefix("journal-")?.strip_suffix(".rlj")?.split('-');
    let parsed = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(parsed)
}

/// The partition a folder's name says, given its topic's folder.
pub fn parse_partition(name: &str) -> Option<PartitionKey> {
    let (partition, topic) = name.split_once('.')?;
    let key = PartitionKey { topic: topic.parse::<TopicId>().ok()?, partition: partition.parse().ok()? };
    (key.partition >= 0 && name == format!("{}.{}", key.partition, key.topic)).then_some(key)
}

/// The base offset a segment's or index's name says.
pub fn parse_base(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten().filter(|base| *base >= 0)
}

pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        let key = PartitionKey { topic: TopicId::METADATA, partition: 12 };
        let dir = partition_dir(Path::new("/d"), "a.b", key);
        assert_eq!(parse_partition(dir.file_name().unwrap().to_str().unwrap()), Some(key));
        assert_eq!(parse_partition("012.AAAAAAAAAAAAAAAAAAAAAQ"), None);
        assert_eq!(parse_partition("-1.AAAAAAAAAAAAAAAAAAAAAQ"), None);
        let file = segment(Path::new("/d"), "a.b", key, 77);
        assert_eq!(parse_base(file.file_name().unwrap().to_str().unwrap(), ".log"), Some(77));
        assert_eq!(parse_base("77.log", ".log"), None);
        let journal = journal(Path::new("/d"), 3, 1, 0);
        assert_eq!(parse_journal(journal.file_name().unwrap().to_str().unwrap()), Some((3, 1, 0)));
        assert_eq!(parse_journal("journal-3-1-0-9.rlj"), None);
    }
}
