//! Room a log directory keeps for its next start, so that there is one on a full disk, too: new journals are made before the old ones
//! may go, and what those hold is put into segments. The room is a file of no meaning, `ringlog.room`.
//!
//! Blocking; used by the thread that starts the broker, and once by the core that takes the old journals away.

use super::disk::Disk;
use super::journals::{FILE_BYTES_MIN, Found};
use super::{BootError, refuse};
use crate::store::files;
use std::io;
use std::path::Path;

/// The room of one directory for the start after this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Bytes of new journals, as small as they may be, and of everything in those of this start.
    wanted: u64,
    /// This start needed the room there was.
    given_up: bool,
}

impl Room {
    /// Gives up the room of a directory if this start may need it for its journals of `file_bytes` and what the old ones hold.
    pub(super) fn make(
        disk: Disk,
        dir: &Path,
        (cores, file_bytes): (u16, u64),
        old: &[Found],
    ) -> Result<Room, BootError> {
        let files = 2 * u64::from(cores);
        let wanted = files * (FILE_BYTES_MIN + file_bytes);
        let make = || -> io::Result<bool> {
            let mut needed = files * file_bytes;
            for journal in old {
                needed += disk.open(&journal.path)?.map_or(Ok(0), |file| file.len())?;
            }
            let path = files::room(dir);
            let given_up = disk.free(dir)? < needed && disk.open(&path)?.is_some();
            if given_up {
                disk.remove(&path)?;
                disk.sync_folder(dir)?;
            }
            Ok(given_up)
        };
        match make() {
            Ok(given_up) => Ok(Room { wanted, given_up }),
            Err(error) => refuse(dir, format!("{} cannot be given up: {error}", files::ROOM)),
        }
    }

    /// Takes room for the next start once the old journals are gone: as much as is wanted, of what is free beyond twice `reserve`. What
    /// was given up is taken again from whatever is free.
    pub fn keep(&self, dir: &Path, reserve: u64) -> io::Result<()> {
        let path = files::room(dir);
        let free = Disk.free(dir)?;
        let spare = if self.given_up { free } else { free.saturating_sub(reserve.saturating_mul(2)) };
        let there = Disk.open(&path)?.map_or(Ok(0), |file| file.len())?;
        let bytes = self.wanted.min(there + spare);
        if bytes > there { Disk.reserve(&path, bytes) } else { Ok(()) }
    }
}
