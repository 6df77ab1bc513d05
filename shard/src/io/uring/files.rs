//! Files: direct reads and writes until whole, fdatasync, and the asynchronous file-system operations.

use super::super::memory::{BlockMut, Span};
use super::super::{Access, Done, FileId, FileOp, Token};
use super::Uring;
use super::pieces::Pieces;
use super::ring::{Kind, Ring};
use io_uring::{opcode, squeue, types};
use std::ffi::CString;

/// Operations at a time that there are slots for from the start, and pieces of a write that each has room to describe. More is made
/// when it is needed, and kept.
const SLOTS: usize = 256;
const ROOM: usize = 32;

/// Unit of offsets and lengths in direct I/O.
const UNIT: usize = 4096;

/// What a slot is doing.
enum Work {
    Nothing,
    /// The pieces are in the slot; the offset is where the rest of them goes.
    Write {
        file: FileId,
        offset: u64,
    },
    Sync,
    /// `got` bytes have arrived in the block's unwritten part, of `len`.
    Read {
        file: FileId,
        offset: u64,
        block: BlockMut,
        len: usize,
        got: usize,
    },
    /// One operation; the result is the kernel's. Holds the paths the kernel reads.
    File(FileOp),
    /// A folder being opened, synced, closed.
    SyncFolder {
        path: CString,
        step: FolderStep,
    },
}

#[derive(Clone, Copy)]
enum FolderStep {
    Open,
    Sync { fd: i32 },
    Close { result: i32 },
}

struct Disk {
    token: Token,
    work: Work,
    pieces: Pieces,
}

/// All file operations of a core.
pub(super) struct Disks {
    slots: Vec<Disk>,
    free: Vec<u32>,
}

impl Default for Disks {
    fn default() -> Disks {
        let mut disks = Disks { slots: Vec::with_capacity(SLOTS), free: Vec::with_capacity(SLOTS) };
        disks.free.extend(0..SLOTS as u32);
        disks.slots.resize_with(SLOTS, Disk::empty);
        disks
    }
}

impl Disks {
    fn start(&mut self, token: Token, work: Work) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Disk::empty());
            self.slots.len() as u32 - 1
        });
        let disk = &mut self.slots[index as usize];
        (disk.token, disk.work) = (token, work);
        index
    }
}

impl Disk {
    fn empty() -> Disk {
        Disk { token: Token(0), work: Work::Nothing, pieces: Pieces::with_room(ROOM) }
    }

    fn push_write(&mut self, ring: &mut Ring, data: u64) {
        let Work::Write { file, offset } = self.work else { panic!("a write's slot holds a write") };
        let fd = types::Fd(file.0);
        let entry = match self.pieces.describe() {
            [one] => opcode::Write::new(fd, one.iov_base.cast(), one.iov_len as u32).offset(offset).build(),
            several => opcode::Writev::new(fd, several.as_ptr(), several.len() as u32).offset(offset).build(),
        };
        ring.push(entry.user_data(data));
    }

    fn push_read(&mut self, ring: &mut Ring, data: u64) {
        let Work::Read { file, offset, block, len, got } = &mut self.work else { panic!("a read's slot holds a read") };
        let memory = &mut block.unwritten()[*got..*len];
        let entry = opcode::Read::new(types::Fd(file.0), memory.as_mut_ptr(), memory.len() as u32);
        ring.push(entry.offset(*offset + *got as u64).build().user_data(data));
    }

    /// What to do next for a folder, `None` when it is done.
    fn folder_entry(&self) -> Option<squeue::Entry> {
        let Work::SyncFolder { path, step } = &self.work else { panic!("a folder's slot holds a folder") };
        Some(match *step {
            FolderStep::Open => {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
                opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).flags(flags).build()
            }
            FolderStep::Sync { fd } if fd >= 0 => opcode::Fsync::new(types::Fd(fd)).build(),
            FolderStep::Sync { .. } | FolderStep::Close { .. } => return None,
        })
    }
}

/// The kernel's operation for one of ours. `None` if there is none: the loop does it itself.
fn entry_for(op: &FileOp, async_truncate: bool) -> Option<squeue::Entry> {
    let here = types::Fd(libc::AT_FDCWD);
    Some(match op {
        FileOp::Open { path, create, access } => {
            let mode = match access {
                Access::Direct => libc::O_RDWR | libc::O_DIRECT,
                Access::Cached => libc::O_RDONLY,
            };
            let flags = mode | libc::O_CLOEXEC | if *create { libc::O_CREAT } else { 0 };
            opcode::OpenAt::new(here, path.as_ptr()).flags(flags).mode(0o644).build()
        }
        FileOp::MakeDir { path } => opcode::MkDirAt::new(here, path.as_ptr()).mode(0o755).build(),
        FileOp::Allocate { file, offset, len } => {
            opcode::Fallocate::new(types::Fd(file.0), *len).offset(*offset).build()
        }
        FileOp::Truncate { file, len } if async_truncate => opcode::Ftruncate::new(types::Fd(file.0), *len).build(),
        FileOp::Rename { from, to } => opcode::RenameAt::new(here, from.as_ptr(), here, to.as_ptr()).build(),
        FileOp::Remove { path } => opcode::UnlinkAt::new(here, path.as_ptr()).build(),
        FileOp::Close { file } => opcode::Close::new(types::Fd(file.0)).build(),
        FileOp::Truncate { .. } | FileOp::SyncDir { .. } => return None,
    })
}

impl Uring {
    pub(super) fn start_write(&mut self, token: Token, file: FileId, offset: u64, spans: Vec<Span>) {
        let odd = spans.iter().find(|s| !(s.start as usize | s.len()).is_multiple_of(UNIT));
        assert!(
            odd.is_none() && offset.is_multiple_of(UNIT as u64),
            "a write at {offset} is not of whole blocks: {odd:?}"
        );
        let index = self.disks.start(token, Work::Write { file, offset });
        let disk = &mut self.disks.slots[index as usize];
        disk.pieces.start(spans);
        if disk.pieces.is_done() {
            return self.finish_disk(index, 0);
        }
        disk.push_write(&mut self.ring, Kind::Disk.data(index));
    }

    pub(super) fn start_sync(&mut self, token: Token, file: FileId) {
        let index = self.disks.start(token, Work::Sync);
        let entry = opcode::Fsync::new(types::Fd(file.0)).flags(types::FsyncFlags::DATASYNC).build();
        self.ring.push(entry.user_data(Kind::Disk.data(index)));
    }

    pub(super) fn start_read(&mut self, token: Token, file: FileId, offset: u64, block: BlockMut, len: u32) {
        let (at, room, len) = (block.len(), block.remaining(), len as usize);
        assert!(len <= room, "a read of {len} bytes into a block with {room} left");
        assert!(
            at.is_multiple_of(UNIT) && len.is_multiple_of(UNIT) && offset.is_multiple_of(UNIT as u64),
            "a read of {len} bytes at {offset} to byte {at} of a block is not of whole blocks"
        );
        let index = self.disks.start(token, Work::Read { file, offset, block, len, got: 0 });
        if len == 0 {
            return self.finish_disk(index, 0);
        }
        self.disks.slots[index as usize].push_read(&mut self.ring, Kind::Disk.data(index));
    }

    pub(super) fn start_file(&mut self, token: Token, op: FileOp) {
        if let FileOp::SyncDir { path } = op {
            let index = self.disks.start(token, Work::SyncFolder { path, step: FolderStep::Open });
            return self.step_folder(index);
        }
        let index = self.disks.start(token, Work::File(op));
        let Work::File(op) = &self.disks.slots[index as usize].work else { panic!("just stored") };
        match entry_for(op, self.capabilities.async_truncate) {
            Some(entry) => self.ring.push(entry.user_data(Kind::Disk.data(index))),
            None => {
                let result = truncate(op);
                self.finish_disk(index, result);
            }
        }
    }

    fn step_folder(&mut self, index: u32) {
        let disk = &mut self.disks.slots[index as usize];
        match disk.folder_entry() {
            Some(entry) => self.ring.push(entry.user_data(Kind::Disk.data(index))),
            None => {
                let Work::SyncFolder { step, .. } = &disk.work else { panic!("a folder's slot holds a folder") };
                let result = match *step {
                    FolderStep::Sync { fd } => fd,
                    FolderStep::Close { result } => result,
                    FolderStep::Open => panic!("a folder that is not open is not done"),
                };
                self.finish_disk(index, result);
            }
        }
    }

    pub(super) fn on_disk(&mut self, index: u32, result: i32) {
        let data = Kind::Disk.data(index);
        let again = result == -libc::EINTR || result == -libc::EAGAIN;
        let disk = &mut self.disks.slots[index as usize];
        match &mut disk.work {
            Work::Nothing => panic!("a completion ({result}) for file slot {index}, which is free"),
            Work::Write { .. } if again => disk.push_write(&mut self.ring, data),
            Work::Write { offset, .. } => {
                // Direct I/O goes on only at a block: what was written of the last one is written again.
                let whole = result.max(0) as usize / UNIT * UNIT;
                *offset += whole as u64;
                disk.pieces.advance(whole);
                match result {
                    ..0 => self.finish_disk(index, result),
                    _ if disk.pieces.is_done() => self.finish_disk(index, 0),
                    _ if whole == 0 => self.finish_disk(index, -libc::EIO),
                    _ => disk.push_write(&mut self.ring, data),
                }
            }
            Work::Read { .. } if again => disk.push_read(&mut self.ring, data),
            Work::Read { len, got, .. } => {
                *got += result.max(0) as usize;
                let at_end = result == 0 || !got.is_multiple_of(UNIT) || got == len;
                match result {
                    ..0 => self.finish_disk(index, result),
                    _ if at_end => {
                        let got = *got as i32;
                        self.finish_disk(index, got);
                    }
                    _ => disk.push_read(&mut self.ring, data),
                }
            }
            Work::Sync => self.finish_disk(index, result),
            Work::File(op) => match (op, -result) {
                (FileOp::MakeDir { .. }, libc::EEXIST) => self.finish_disk(index, 0),
                (FileOp::Remove { path }, libc::EISDIR) => {
                    let entry = opcode::UnlinkAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr());
                    self.ring.push(entry.flags(libc::AT_REMOVEDIR).build().user_data(data));
                }
                _ => self.finish_disk(index, result),
            },
            Work::SyncFolder { step, .. } => {
                match *step {
                    FolderStep::Open => *step = FolderStep::Sync { fd: result },
                    FolderStep::Sync { fd } => {
                        // Only read access was had: closing has no result to wait for.
                        self.ring.push(opcode::Close::new(types::Fd(fd)).build().user_data(Kind::Farewell.data(0)));
                        *step = FolderStep::Close { result };
                    }
                    FolderStep::Close { .. } => panic!("a folder is closed without waiting"),
                }
                self.step_folder(index);
            }
        }
    }

    /// Answers for a slot and frees it.
    fn finish_disk(&mut self, index: u32, result: i32) {
        let disk = &mut self.disks.slots[index as usize];
        let token = disk.token;
        let done = match std::mem::replace(&mut disk.work, Work::Nothing) {
            Work::Nothing => panic!("file slot {index} ends twice"),
            Work::Write { .. } => Done::Written { token, spans: disk.pieces.finish(), result },
            Work::Sync => Done::Synced { token, result },
            Work::Read { mut block, .. } => {
                block.publish(result.max(0) as usize);
                Done::Read { token, block, result }
            }
            Work::File(_) | Work::SyncFolder { .. } => Done::File { token, result },
        };
        self.disks.free.push(index);
        self.ready.push_back(done);
    }
}

/// What the loop does itself where the kernel cannot do it for it (before 6.9).
fn truncate(op: &FileOp) -> i32 {
    let FileOp::Truncate { file, len } = op else { panic!("{op:?} has an operation of the ring") };
    // SAFETY: a plain system call on a descriptor the caller keeps open.
    match unsafe { libc::ftruncate(file.0, *len as i64) } {
        0 => 0,
        _ => -std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
    }
}
