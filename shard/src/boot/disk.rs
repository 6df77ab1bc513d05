//! Every file access of the start: blocking, small, and free of decisions, so that a simulator can stand in for it.
//!
//! Not for the running broker: that goes through [`crate::io::Io`]. Used by one thread, before any core runs.

use crate::io::FileId;
use crate::io::uring::probe_direct_io;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Zeros are written in pieces of this many bytes.
const PIECE: usize = 1 << 20;

/// One name in a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) folder: bool,
    /// Bytes; of files.
    pub(super) len: u64,
    /// Last change, ms since 1970.
    pub(super) modified: i64,
}

/// What the kind of file system means for the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FileSystem {
    /// Overwrites in place, past the page cache: one flush covers every file (ext4, XFS).
    InPlace,
    /// Nothing is known of it.
    Other,
    /// Every write goes to a new place: one flush covers one file only. Its name.
    CopyOnWrite(&'static str),
    /// Nothing outlives a restart of the machine.
    Memory,
}

/// A file system's own number (`statfs`), where `nix` has no name for it.
const ZFS_MAGIC: i64 = 0x2fc1_2fc1;
const BCACHEFS_MAGIC: i64 = 0xca45_1a4e;

/// The file system as the start sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Disk;

/// An open file.
#[derive(Debug)]
pub(super) struct DiskFile(File);

/// Held until dropped, or until the process ends.
#[derive(Debug)]
pub(super) struct DiskLock {
    /// The lock is the descriptor's.
    _file: File,
}

impl Disk {
    pub(super) fn make_folders(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    /// The names in a folder, in order. Names that are not UTF-8 are nobody's here and left out.
    pub(super) fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let about = match entry.metadata() {
                Ok(about) => about,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let modified = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let modified = modified.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0);
            listed.push(Listed { name, folder: about.is_dir(), len: about.len(), modified });
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    pub(super) fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    /// The whole file; `None` if there is none.
    pub(super) fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// For reading; `None` if there is none.
    pub(super) fn open(&self, path: &Path) -> io::Result<Option<DiskFile>> {
        match File::open(path) {
            Ok(file) => Ok(Some(DiskFile(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// For reading and writing, made if there is none.
    pub(super) fn edit(&self, path: &Path) -> io::Result<DiskFile> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map(DiskFile)
    }

    /// Puts a small file in place of another at once, durably.
    pub(super) fn replace(&self, folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (draft, path) = (folder.join(format!("{name}.tmp")), folder.join(name));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&draft)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        self.sync_folder(folder)
    }

    /// A new file of so many zeros, written and flushed. One that is there is written over.
    pub(super) fn write_zeros(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let zeros = vec![0u8; PIECE];
        let mut at = 0;
        while at < len {
            let piece = (len - at).min(PIECE as u64);
            file.write_all_at(&zeros[..piece as usize], at)?;
            at += piece;
        }
        file.sync_all()
    }

    /// For the cores: reads and writes past the page cache. Stays open until the process ends.
    pub(super) fn open_direct(&self, path: &Path) -> io::Result<FileId> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path)?;
        Ok(FileId(file.into_raw_fd()))
    }

    /// It is no error if there is none.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// It is no error if there is none.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match std::fs::rename(from, to) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    /// Makes everything in the folder's file system durable.
    pub(super) fn sync_file_system(&self, folder: &Path) -> io::Result<()> {
        nix::unistd::syncfs(File::open(folder)?).map_err(io::Error::from)
    }

    /// Takes a lock nobody else has, and writes `note` into its file for others to read. `None` if somebody has it.
    pub(super) fn lock(&self, path: &Path, note: &str) -> io::Result<Option<DiskLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        // The note is a help to people; where the disk is full the lock holds without it.
        let noted = file.set_len(0).and_then(|()| file.write_all_at(note.as_bytes(), 0));
        match noted {
            Err(error) if error.kind() != ErrorKind::StorageFull => Err(error),
            _ => Ok(Some(DiskLock { _file: file })),
        }
    }

    /// Bytes of the folder's file system that may be written.
    pub(super) fn free(&self, folder: &Path) -> io::Result<u64> {
        let found = nix::sys::statvfs::statvfs(folder).map_err(io::Error::from)?;
        Ok(found.blocks_available().saturating_mul(found.fragment_size()))
    }

    /// Has a file take up so many bytes, made if there is none.
    pub(super) fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        let len = i64::try_from(bytes).unwrap_or(i64::MAX);
        nix::fcntl::fallocate(file, nix::fcntl::FallocateFlags::empty(), 0, len).map_err(io::Error::from)
    }

    pub(super) fn file_system(&self, folder: &Path) -> io::Result<FileSystem> {
        use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs};
        let kind = statfs(folder).map_err(io::Error::from)?.filesystem_type();
        Ok(match kind {
            BTRFS_SUPER_MAGIC => FileSystem::CopyOnWrite("btrfs"),
            TMPFS_MAGIC => FileSystem::Memory,
            other if other.0 == ZFS_MAGIC => FileSystem::CopyOnWrite("zfs"),
            other if other.0 == BCACHEFS_MAGIC => FileSystem::CopyOnWrite("bcachefs"),
            // Where direct I/O is not what the file system does (ext4 with data=journal), it says no alignment.
            EXT4_SUPER_MAGIC | XFS_SUPER_MAGIC if probe_direct_io(folder).is_ok_and(|d| d.offset_alignment > 0) => {
                FileSystem::InPlace
            }
            _ => FileSystem::Other,
        })
    }

    /// Why direct I/O cannot be had there, if it cannot. A full disk is no reason.
    pub(super) fn refuses_direct_io(&self, folder: &Path) -> Option<String> {
        use crate::io::uring::DirectIoError;
        match probe_direct_io(folder) {
            Err(DirectIoError::Unusable(error)) if error.kind() == ErrorKind::StorageFull => None,
            Err(error) => Some(error.to_string()),
            Ok(_) => None,
        }
    }
}

impl DiskFile {
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    /// Reads until `into` is full or the file ends; the bytes read.
    pub(super) fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < into.len() {
            match self.0.read_at(&mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    /// Writes pieces one behind the other; how many bytes they are.
    pub(super) fn write_pieces_at(&self, mut pieces: Vec<IoSlice<'_>>, offset: u64) -> io::Result<u64> {
        let mut left = &mut pieces[..];
        let mut written = 0;
        while !left.is_empty() {
            let some = &left[..left.len().min(libc::UIO_MAXIOV as usize)];
            match nix::sys::uio::pwritev(&self.0, some, (offset + written) as i64) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    written += n as u64;
                    IoSlice::advance_slices(&mut left, n);
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(written)
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}
