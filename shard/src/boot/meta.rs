//! Whose a log directory is: the lock that keeps a second broker out, and the small file that says which cluster and node
//! it belongs to. Its text is made and read here, purely; when it is written, [`super`] decides.
//!
//! `ringlog.meta` is UTF-8 text in lines of `key=value`; empty lines, lines that begin with `#` and other keys are skipped:
//!
//! | key | value |
//! |---|---|
//! | `version` | format of everything in the directory, 1; a larger one is refused |
//! | `cluster.id` | the cluster's id: 16 bytes in base64url, as Kafka's; the same in every directory of a node |
//! | `node.id` | the node's number; one that the settings do not say is refused |
//! | `directory.id` | this directory's id, 16 bytes in base64url; the metadata log places partitions by it |
//!
//! `ringlog.lock` is locked as a whole while a broker runs, and holds its process id and a newline for whoever comes second.

use super::disk::{Disk, DiskLock};
use super::{BootError, refuse};
use crate::store::files;
use ringlog_engine::metadata::DirId;
use ringlog_engine::types::TopicId;
use std::path::Path;
use std::time::Duration;

/// The format of everything in a log directory. A directory of a newer one is refused.
pub(super) const FORMAT: u32 = 1;
/// What Kafka calls its own file.
const KAFKA_META: &str = "meta.properties";

/// A broker that was told to stop may hold the lock a moment longer: so often, and so long, it is waited for.
const LOCK_TRIES: u32 = 6;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Keeps every other broker out of a log directory until it is dropped. Lives as long as the broker.
#[derive(Debug)]
pub struct DirLock {
    _held: DiskLock,
}

impl DirLock {
    pub(super) fn take(disk: Disk, dir: &Path) -> Result<DirLock, BootError> {
        let path = dir.join(files::LOCK);
        let note = format!("{}\n", std::process::id());
        for attempt in 0..LOCK_TRIES {
            if attempt > 0 {
                std::thread::sleep(LOCK_PAUSE);
            }
            match disk.lock(&path, &note) {
                Ok(Some(held)) => return Ok(DirLock { _held: held }),
                Ok(None) => {}
                Err(error) => return refuse(dir, format!("cannot be locked: {error}")),
            }
        }
        let holder =
            disk.read(&path).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let holder = match holder.trim() {
            "" => String::new(),
            pid => format!(" (process {pid})"),
        };
        refuse(dir, format!("is in use by another broker{holder}: stop it, or give this one a directory of its own"))
    }
}

/// What `ringlog.meta` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Meta {
    pub(super) cluster_id: String,
    pub(super) node_id: i32,
    pub(super) dir_id: DirId,
}

impl Meta {
    /// The file's text, in the form of Kafka's `meta.properties`.
    pub(super) fn text(&self) -> String {
        format!(
            "# Ringlog log directory. Written once; not to be edited.\nversion={FORMAT}\ncluster.id={}\nnode.id={}\n\
             directory.id={}\n",
            self.cluster_id,
            self.node_id,
            TopicId(self.dir_id.0)
        )
    }

    /// Reads the file's text; `Err` says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Meta, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('=')).collect();
        let value = |name: &str| {
            let found = pairs.iter().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
            found.ok_or_else(|| format!("{name} is missing"))
        };
        let version: u32 = value("version")?.parse().map_err(|_| "version is no number".to_string())?;
        if version > FORMAT {
            return Err(format!("format version {version}, this release reads up to {FORMAT}; start a newer release"));
        }
        if version == 0 {
            return Err("format version 0 never was".into());
        }
        let cluster_id = value("cluster.id")?.to_string();
        if cluster_id.is_empty() {
            return Err("cluster.id is empty".into());
        }
        let node_id = value("node.id")?.parse().map_err(|_| "node.id is no number".to_string())?;
        let id: TopicId = value("directory.id")?.parse().map_err(|()| "directory.id is no id".to_string())?;
        Ok(Meta { cluster_id, node_id, dir_id: DirId(id.0) })
    }
}

/// Reads a directory's file. `None`: the directory is new. One with Kafka's file and not ours is left alone.
pub(super) fn read(disk: Disk, dir: &Path) -> Result<Option<Meta>, BootError> {
    let readable = |result: std::io::Result<Option<Vec<u8>>>, name: &str| match result {
        Ok(bytes) => Ok(bytes),
        Err(error) => refuse(dir, format!("{name} cannot be read: {error}")),
    };
    if let Some(bytes) = readable(disk.read(&dir.join(files::META)), files::META)? {
        let text = String::from_utf8(bytes).map_err(|_| "it is not text".to_string());
        return match text.and_then(|text| Meta::parse(&text)) {
            Ok(meta) => Ok(Some(meta)),
            Err(why) => refuse(dir, format!("{}: {why}", files::META)),
        };
    }
    if readable(disk.read(&dir.join(KAFKA_META)), KAFKA_META)?.is_some() {
        return refuse(
            dir,
            "holds the logs of a Kafka broker, which are left untouched: set log.dirs to an empty directory and bring the \
             topics over with a mirroring tool",
        );
    }
    Ok(None)
}

/// A random id that is printed without a dash in front, which command lines would take for an option.
pub(super) fn fresh_id(random: &mut dyn FnMut() -> [u8; 16]) -> TopicId {
    loop {
        let id = TopicId::from_random(random());
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Meta {
        Meta { cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(), node_id: 7, dir_id: DirId([9; 16]) }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_newer() {
        let text = sample().text();
        assert_eq!(Meta::parse(&text), Ok(sample()));
        assert!(Meta::parse(&text.replace("version=1", "version=2")).unwrap_err().contains("newer release"));
        for line in ["version", "cluster.id", "node.id", "directory.id"] {
            let without: String = text.lines().filter(|l| !l.starts_with(line)).map(|l| format!("{l}\n")).collect();
            assert!(Meta::parse(&without).unwrap_err().contains(line), "{line}");
        }
        for cut in 0..text.len() - 2 {
            assert!(Meta::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn fresh_ids_have_no_dash_in_front() {
        let mut first = 0xf8u8;
        let mut random = || {
            first = first.wrapping_add(1);
            [first; 16]
        };
        for _ in 0..300 {
            assert!(!fresh_id(&mut random).to_string().starts_with('-'));
        }
    }
}
