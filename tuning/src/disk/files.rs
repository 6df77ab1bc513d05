//! Files that are measured: past the page cache, and without a name, so that nothing is left of them however this program ends.

use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Direct writes are whole multiples of this, in memory and in the file.
pub const BLOCK: usize = 4096;
/// Largest write that is measured.
pub const LARGEST: usize = 1 << 20;
/// `FALLOC_FL_WRITE_ZEROES`, newer than the constants of the system library.
const WRITE_ZEROES: i32 = 0x80;

/// A way to have zeros on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zeroing {
    /// The device writes them itself (Linux 6.17).
    WriteZeroes,
    /// The file system notes that there are zeros; the first write to each place has to undo the note.
    ZeroRange,
}

/// A file without a name.
#[derive(Debug)]
pub struct Scratch {
    file: File,
}

impl Scratch {
    pub fn new(dir: &Path) -> io::Result<Scratch> {
        let flags = nix::libc::O_TMPFILE | nix::libc::O_DIRECT;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(dir)?;
        Ok(Scratch { file })
    }

    /// The same file, each write to which is durable when it returns (as RWF_DSYNC makes one).
    pub fn durable(&self) -> io::Result<Scratch> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = nix::libc::O_DSYNC | nix::libc::O_DIRECT;
        Ok(Scratch { file: OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)? })
    }

    pub fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    pub fn read(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(into, at)
    }

    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Size, reservations and what was written, durably.
    pub fn flush_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    pub fn zero(&self, how: Zeroing, len: u64) -> io::Result<()> {
        let flags = match how {
            Zeroing::WriteZeroes => FallocateFlags::from_bits_retain(WRITE_ZEROES),
            Zeroing::ZeroRange => FallocateFlags::FALLOC_FL_ZERO_RANGE,
        };
        fallocate(&self.file, flags, 0, len as i64).map_err(io::Error::from)
    }
}

/// Memory that direct writes take: it begins at a multiple of a block, and holds nothing that compresses.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    from: usize,
}

impl Buffer {
    pub fn new() -> Buffer {
        let mut bytes = vec![0u8; LARGEST + BLOCK];
        let from = bytes.as_ptr().align_offset(BLOCK);
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for word in bytes.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        Buffer { bytes, from }
    }

    pub fn of(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.from..self.from + len]
    }
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer::new()
    }
}

/// Bytes of the folder's file system that may be written.
pub fn free(dir: &Path) -> io::Result<u64> {
    let found = nix::sys::statvfs::statvfs(dir).map_err(io::Error::from)?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}
