//! A disk for tests of the store: an `Io` in memory that keeps every operation in flight until told to end it, in any order,
//! and that shows what a crash would leave: names and sectors that were flushed, and any part of those that were not.
//!
//! It is as mean as ext4 or XFS may be over a drive with a cache: a flush of one file covers other files only where their
//! blocks had been written and flushed before; names are durable only after their folder was flushed. It sends nothing.

use ringlog_engine::types::{CoreId, WallMs};
use ringlog_shard::io::memory::{BlockMut, Span};
use ringlog_shard::io::{Accepted, ConnId, Done, Figures, FileId, FileOp, Io, ListenOptions, Token, Wait};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// Repeatable randomness: xorshift.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A write that no flush has covered yet.
struct Unflushed {
    id: u64,
    offset: usize,
    bytes: Vec<u8>,
    completed: bool,
}

#[derive(Default)]
struct Inode {
    /// What a read sees.
    data: Vec<u8>,
    /// What a crash leaves for certain, up to `durable_size`.
    durable: Vec<u8>,
    durable_size: usize,
    /// Changes of the size so far, and how many of them are durable.
    resized: u64,
    durable_resized: u64,
    /// Blocks that were written and flushed: a flush of any file covers writes to them.
    mapped: Vec<bool>,
    unflushed: Vec<Unflushed>,
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if to.len() < offset + bytes.len() {
        to.resize(offset + bytes.len(), 0);
    }
    to[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Inode {
    fn whole(bytes: Vec<u8>) -> Inode {
        let mapped = vec![true; bytes.len().div_ceil(BLOCK)];
        Inode { durable: bytes.clone(), durable_size: bytes.len(), data: bytes, mapped, ..Inode::default() }
    }

    fn is_mapped(&self, offset: usize, len: usize) -> bool {
        (offset / BLOCK..(offset + len).div_ceil(BLOCK)).all(|b| self.mapped.get(b).copied().unwrap_or(false))
    }

    fn flush(&mut self, covered: &[u64], own: bool) {
        let (done, left) = std::mem::take(&mut self.unflushed).into_iter().partition(|w| covered.contains(&w.id));
        self.unflushed = left;
        let done: Vec<Unflushed> = done;
        for write in done {
            put(&mut self.durable, write.offset, &write.bytes);
            if own {
                let end = (write.offset + write.bytes.len()).div_ceil(BLOCK);
                if self.mapped.len() < end {
                    self.mapped.resize(end, false);
                }
                self.mapped[write.offset / BLOCK..end].fill(true);
            }
        }
    }

    /// The bytes after a crash: what was flushed, and each sector of what was not with a chance of `keep` in 4.
    fn after_crash(&self, random: &mut Random, keep: usize) -> Vec<u8> {
        let size = if random.below(4) < keep { self.data.len() } else { self.durable_size };
        let mut bytes = self.durable.clone();
        let mut sectors = Vec::new();
        for (k, write) in self.unflushed.iter().enumerate() {
            sectors.extend((0..write.bytes.len()).step_by(SECTOR).map(|at| (k, at)));
        }
        for k in (1..sectors.len()).rev() {
            sectors.swap(k, random.below(k + 1));
        }
        for (k, at) in sectors {
            if random.below(4) < keep {
                let write = &self.unflushed[k];
                let to = (at + SECTOR).min(write.bytes.len());
                put(&mut bytes, write.offset + at, &write.bytes[at..to]);
            }
        }
        bytes.resize(size, 0);
        bytes
    }
}

#[derive(Clone, Debug)]
enum NameOp {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, op: &NameOp) -> bool {
    match op {
        NameOp::Link(path, inode) => names.insert(path.clone(), *inode).is_none(),
        NameOp::Rename(from, to) => names.remove(from).map(|inode| names.insert(to.clone(), inode)).is_some(),
        NameOp::Remove(path) => names.remove(path).is_some(),
    }
}

enum Op {
    Write {
        token: Token,
        file: usize,
        id: u64,
        spans: Vec<Span>,
    },
    /// Covers these writes, by file, and the file's size as it was.
    Sync {
        token: Token,
        file: usize,
        size: (usize, u64),
        covered: Vec<(usize, Vec<u64>)>,
    },
    Read {
        token: Token,
        file: usize,
        offset: usize,
        block: BlockMut,
        len: usize,
    },
    File {
        token: Token,
        op: FileOp,
        names: usize,
    },
}

/// What to fail next, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fail {
    Write(i32),
    Sync(i32),
    Allocate(i32),
    /// A folder cannot be opened, so not flushed.
    SyncDir(i32),
    /// After so many folders that are made, one is not.
    MakeDir(u32, i32),
}

pub(crate) struct SimDisk {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names that are not durable yet, in order.
    changes: Vec<NameOp>,
    /// Changes made before those.
    flushed_changes: usize,
    ops: Vec<Op>,
    next_id: u64,
    pub(crate) fail: Option<Fail>,
    pub(crate) mono: u64,
}

impl SimDisk {
    /// With the files of a folder, as they are, all durable.
    pub(crate) fn load(folder: &Path) -> SimDisk {
        let mut disk = SimDisk {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            flushed_changes: 0,
            ops: Vec::new(),
            next_id: 0,
            fail: None,
            mono: 1,
        };
        disk.load_folder(folder);
        disk.durable_names = disk.names.clone();
        disk
    }

    fn load_folder(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                self.load_folder(&path);
            } else {
                self.names.insert(path.clone(), self.inodes.len());
                self.inodes.push(Inode::whole(std::fs::read(&path).unwrap()));
            }
        }
    }

    /// The file of a name that exists.
    pub(crate) fn file(&self, path: &Path) -> FileId {
        FileId(self.names[path] as i32)
    }

    /// Takes a name away, as a start does with old journals: not durable.
    pub(crate) fn unlink(&mut self, path: &Path) {
        self.change(NameOp::Remove(path.to_path_buf()));
    }

    pub(crate) fn idle(&self) -> bool {
        self.ops.is_empty()
    }

    fn change(&mut self, op: NameOp) -> bool {
        let done = apply(&mut self.names, &op);
        if done {
            self.changes.push(op);
        }
        done
    }

    /// Writes what a crash now would leave of `root` to the folder `to`.
    pub(crate) fn crash(&self, random: &mut Random, root: &Path, to: &Path) {
        let keep = random.below(5);
        let mut names = self.durable_names.clone();
        let kept = random.below(self.changes.len() + 1);
        for op in &self.changes[..kept] {
            apply(&mut names, op);
        }
        for (path, inode) in names {
            let path = to.join(path.strip_prefix(root).unwrap());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, self.inodes[inode].after_crash(random, keep)).unwrap();
        }
    }

    /// Ends one of the operations in flight.
    pub(crate) fn complete(&mut self, random: &mut Random) -> Option<Done> {
        if self.ops.is_empty() {
            return None;
        }
        let k = random.below(self.ops.len());
        Some(self.end(k))
    }

    /// Ends one of the operations in flight that is no flush of a file.
    pub(crate) fn complete_but_no_flush(&mut self) -> Option<Done> {
        let k = self.ops.iter().position(|op| !matches!(op, Op::Sync { .. }))?;
        Some(self.end(k))
    }

    fn end(&mut self, k: usize) -> Done {
        match self.ops.swap_remove(k) {
            Op::Write { token, file, id, spans } => {
                if let Some(Fail::Write(errno)) = self.fail {
                    self.fail = None;
                    // For want of room nothing of it came to be; of one that failed otherwise any part may have.
                    if errno == libc::ENOSPC {
                        self.inodes[file].unflushed.retain(|w| w.id != id);
                    }
                    return Done::Written { token, spans, result: -errno };
                }
                let inode = &mut self.inodes[file];
                if let Some(at) = inode.unflushed.iter().position(|w| w.id == id) {
                    let mut write = inode.unflushed.remove(at);
                    write.completed = true;
                    put(&mut inode.data, write.offset, &write.bytes);
                    inode.unflushed.push(write);
                }
                Done::Written { token, spans, result: 0 }
            }
            Op::Sync { token, file, size: (size, resized), covered } => {
                if let Some(Fail::Sync(errno)) = self.fail {
                    self.fail = None;
                    return Done::Synced { token, result: -errno };
                }
                for (other, ids) in covered {
                    self.inodes[other].flush(&ids, other == file);
                }
                let inode = &mut self.inodes[file];
                if resized >= inode.durable_resized {
                    (inode.durable_size, inode.durable_resized) = (size, resized);
                }
                Done::Synced { token, result: 0 }
            }
            Op::Read { token, file, offset, mut block, len } => {
                let data = &self.inodes[file].data;
                let from = offset.min(data.len());
                let bytes = &data[from..(offset + len).min(data.len()).max(from)];
                block.append(bytes);
                Done::Read { token, result: bytes.len() as i32, block }
            }
            Op::File { token, op, names } => Done::File { token, result: self.file_op(op, names) },
        }
    }

    fn make_dir(&mut self) -> i32 {
        let Some(Fail::MakeDir(after, errno)) = self.fail else { return 0 };
        self.fail = after.checked_sub(1).map(|after| Fail::MakeDir(after, errno));
        if after == 0 { -errno } else { 0 }
    }

    fn file_op(&mut self, op: FileOp, names: usize) -> i32 {
        use std::os::unix::ffi::OsStrExt;
        let path = |c: &std::ffi::CString| PathBuf::from(std::ffi::OsStr::from_bytes(c.as_bytes()));
        match op {
            FileOp::Open { path: name, create, .. } => match self.names.get(&path(&name)) {
                Some(inode) => *inode as i32,
                None if create => {
                    self.inodes.push(Inode::default());
                    let inode = self.inodes.len() - 1;
                    self.change(NameOp::Link(path(&name), inode));
                    inode as i32
                }
                None => -libc::ENOENT,
            },
            FileOp::MakeDir { .. } => self.make_dir(),
            FileOp::Close { .. } => 0,
            FileOp::SyncDir { path: folder } => {
                if let Some(Fail::SyncDir(errno)) = self.fail {
                    self.fail = None;
                    return -errno;
                }
                let (folder, fresh) = (path(&folder), names.saturating_sub(self.flushed_changes));
                let inside = |p: &Path| p.parent() == Some(&folder);
                let touches = |op: &NameOp| match op {
                    NameOp::Link(at, _) | NameOp::Remove(at) => inside(at),
                    NameOp::Rename(from, to) => inside(from) || inside(to),
                };
                let last = self.changes[..fresh].iter().rposition(touches).map_or(0, |at| at + 1);
                for op in self.changes.drain(..last) {
                    apply(&mut self.durable_names, &op);
                }
                self.flushed_changes += last;
                0
            }
            FileOp::Allocate { file, offset, len } => {
                if let Some(Fail::Allocate(errno)) = self.fail {
                    self.fail = None;
                    return -errno;
                }
                let inode = &mut self.inodes[file.0 as usize];
                inode.data.resize(inode.data.len().max((offset + len) as usize), 0);
                inode.resized += 1;
                0
            }
            FileOp::Truncate { file, len } => {
                let inode = &mut self.inodes[file.0 as usize];
                inode.data.resize(len as usize, 0);
                inode.resized += 1;
                inode.mapped.truncate((len as usize).div_ceil(BLOCK));
                0
            }
            FileOp::Rename { from, to } => {
                if self.change(NameOp::Rename(path(&from), path(&to))) {
                    0
                } else {
                    -libc::ENOENT
                }
            }
            FileOp::Remove { path: name } => {
                if self.change(NameOp::Remove(path(&name))) {
                    0
                } else {
                    -libc::ENOENT
                }
            }
        }
    }
}

impl Io for SimDisk {
    fn wall(&self) -> WallMs {
        WallMs(1_700_000_000_000 + self.mono as i64)
    }

    fn nanos(&self) -> u64 {
        self.mono * 1_000_000
    }

    fn figures(&mut self) -> Figures {
        Figures::default()
    }

    fn poll(&mut self, _wait: Wait, _done: &mut Vec<Done>) -> std::io::Result<()> {
        Ok(())
    }

    fn write(&mut self, token: Token, file: FileId, offset: u64, spans: Vec<Span>) {
        let mut bytes = Vec::new();
        for span in &spans {
            assert_eq!(span.len() % BLOCK, 0, "a span of {} bytes", span.len());
            bytes.extend_from_slice(span.bytes());
        }
        assert!((offset as usize).is_multiple_of(BLOCK) && !bytes.is_empty(), "a write of {} at {offset}", bytes.len());
        let file = file.0 as usize;
        let end = offset as usize + bytes.len();
        let size = self.inodes[file].data.len();
        // Index files are small, new and not counted on; everything else lies inside its file.
        let index = self.names.iter().any(|(path, inode)| *inode == file && path.extension() == Some("index".as_ref()));
        assert!(index || end <= size, "a write up to {end} in a file of {size}");
        for other in self.inodes[file].unflushed.iter().filter(|w| !w.completed) {
            let clear = other.offset >= end || other.offset + other.bytes.len() <= offset as usize;
            assert!(clear, "two writes at once at {offset}..{end} and {}+{}", other.offset, other.bytes.len());
        }
        self.next_id += 1;
        let id = self.next_id;
        self.inodes[file].unflushed.push(Unflushed { id, offset: offset as usize, bytes, completed: false });
        self.ops.push(Op::Write { token, file, id, spans });
    }

    fn sync(&mut self, token: Token, file: FileId) {
        let file = file.0 as usize;
        let covered = self.inodes.iter().enumerate().filter_map(|(k, inode)| {
            let covers = |w: &&Unflushed| w.completed && (k == file || inode.is_mapped(w.offset, w.bytes.len()));
            let ids: Vec<u64> = inode.unflushed.iter().filter(covers).map(|w| w.id).collect();
            (!ids.is_empty()).then_some((k, ids))
        });
        let covered = covered.collect();
        let size = (self.inodes[file].data.len(), self.inodes[file].resized);
        self.ops.push(Op::Sync { token, file, size, covered });
    }

    fn read(&mut self, token: Token, file: FileId, offset: u64, block: BlockMut, len: u32) {
        let (offset, len) = (offset as usize, len as usize);
        self.ops.push(Op::Read { token, file: file.0 as usize, offset, block, len });
    }

    fn file(&mut self, token: Token, op: FileOp) {
        let names = self.flushed_changes + self.changes.len();
        self.ops.push(Op::File { token, op, names });
    }

    fn wake(&mut self, _core: CoreId) {}

    fn listen(&mut self, _address: SocketAddr, _options: &ListenOptions) -> std::io::Result<SocketAddr> {
        unreachable!("a disk has no network")
    }

    fn accept(&mut self, _listener: u16) {
        unreachable!("a disk has no network")
    }

    fn adopt(&mut self, _accepted: Accepted) -> ConnId {
        unreachable!("a disk has no network")
    }

    fn receive(&mut self, _conn: ConnId) {
        unreachable!("a disk has no network")
    }

    fn pause(&mut self, _conn: ConnId) {
        unreachable!("a disk has no network")
    }

    fn send(&mut self, _conn: ConnId, _pieces: Vec<Span>) {
        unreachable!("a disk has no network")
    }

    fn send_file(&mut self, _conn: ConnId, _head: Vec<Span>, _file: FileId, _offset: u64, _len: u32) {
        unreachable!("a disk has no network")
    }

    fn close(&mut self, _conn: ConnId) {
        unreachable!("a disk has no network")
    }
}
