//! Journal files of a directory: finding the old ones, making the new ones, taking the old ones away.

use super::disk::Disk;
use super::recover::drop_recycled;
use super::{BootError, refuse};
use crate::io::FileId;
use crate::store::files;
use ringlog_engine::log::journal::BLOCK;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Two files of a core's journal hold at least this much each, bytes: a commit and the states of its partitions fit.
pub(super) const FILE_BYTES_MIN: u64 = 16 << 20;

/// A journal file that an earlier start left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) incarnation: u64,
    pub(super) core: u16,
    pub(super) half: u8,
    pub(super) path: PathBuf,
}

/// New journals, per core.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) files: Vec<[FileId; 2]>,
    pub(super) file_bytes: u64,
}

/// The journal files in a directory, by incarnation, core and half.
pub(super) fn find(disk: Disk, dir: &Path) -> Result<Vec<Found>, BootError> {
    let listed = match disk.list(dir) {
        Ok(listed) => listed,
        Err(error) => return refuse(dir, format!("cannot be listed: {error}")),
    };
    let mut found: Vec<Found> = listed
        .iter()
        .filter(|entry| !entry.folder)
        .filter_map(|entry| {
            let (incarnation, core, half) = files::parse_journal(&entry.name)?;
            (half < 2).then(|| Found { incarnation, core, half, path: dir.join(&entry.name) })
        })
        .collect();
    found.sort_by_key(|f| (f.incarnation, f.core, f.half));
    Ok(found)
}

/// Makes the journals of a start: whole, zeroed and durable before any core writes to one. Where the disk has no room for
/// files of `file_bytes` they are made smaller.
///
/// `start`: number of the start, and cores. Recycled files are given up before that.
pub(super) fn make(
    disk: Disk,
    dir: &Path,
    (incarnation, cores): (u64, u16),
    file_bytes: u64,
    recycled: &mut Vec<(u16, u64, u32)>,
) -> Result<Made, BootError> {
    let mut bytes = file_bytes;
    loop {
        let error = match make_all(disk, dir, incarnation, cores, bytes) {
            Ok(files) => return Ok(Made { files, file_bytes: bytes }),
            Err(error) => error,
        };
        let short = error.kind() == ErrorKind::StorageFull;
        if short && !recycled.is_empty() {
            if let Err(error) = drop_recycled(disk, dir, recycled) {
                return refuse(dir, format!("a recycled segment cannot be removed: {error}"));
            }
        } else if short && bytes / 2 >= FILE_BYTES_MIN {
            bytes = (bytes / 2).next_multiple_of(BLOCK as u64);
        } else {
            for path in names(dir, incarnation, cores) {
                // What stays says nothing, and goes with the next start's.
                let _ = disk.remove(&path);
            }
            let needed = (bytes * 2 * u64::from(cores)) >> 20;
            return refuse(dir, format!("its journals ({needed} MiB) cannot be made: {error}"));
        }
    }
}

fn names(dir: &Path, incarnation: u64, cores: u16) -> impl Iterator<Item = PathBuf> {
    (0..cores).flat_map(move |core| [0, 1].map(|half| files::journal(dir, incarnation, core, half)))
}

fn make_all(disk: Disk, dir: &Path, incarnation: u64, cores: u16, bytes: u64) -> io::Result<Vec<[FileId; 2]>> {
    for path in names(dir, incarnation, cores) {
        disk.write_zeros(&path, bytes)?;
    }
    disk.sync_folder(dir)?;
    let open = |core, half| disk.open_direct(&files::journal(dir, incarnation, core, half));
    (0..cores).map(|core| Ok([open(core, 0)?, open(core, 1)?])).collect()
}

/// Moves damaged journals to where they are in nobody's way, durably. Any may be gone already.
pub(super) fn keep(disk: Disk, damaged: &[PathBuf], dir: &Path) -> io::Result<()> {
    if damaged.is_empty() {
        return Ok(());
    }
    let aside = dir.join(files::SET_ASIDE);
    disk.make_folders(&aside)?;
    for path in damaged {
        disk.rename(path, &aside.join(path.file_name().expect("a journal has a name")))?;
    }
    disk.sync_folder(&aside)?;
    disk.sync_folder(dir)
}

/// Removes the journals of earlier starts, durably. Any may be gone already.
pub(super) fn remove(disk: Disk, old: &[PathBuf], dir: &Path) -> io::Result<()> {
    for path in old {
        disk.remove(path)?;
    }
    if old.is_empty() { Ok(()) } else { disk.sync_folder(dir) }
}
