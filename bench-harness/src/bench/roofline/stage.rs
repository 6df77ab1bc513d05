//! Where payloads wait for their write: chunks of aligned memory, filled one after the other, written group by group into a file
//! that was written before. Runs on the server's core; the file is made, and read back, by the parent process.
//!
//! Each chunk begins with its own head (mark, bytes that follow, number of the chunk, 0), so that a test can read back what was
//! written. The rest is payload bytes in the order in which they came.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of a chunk: the most that one write carries.
pub const CHUNK: usize = 1 << 20;
/// What offsets, lengths and addresses of direct I/O are multiples of.
pub const ALIGN: usize = 4096;
const CHUNK_HEAD: usize = 16;
const MARK: u32 = 0x524f_4f46;
/// Chunks of one group at most.
const CHUNKS_MAX: usize = 1024;

/// Memory of [`CHUNK`] bytes that direct I/O takes.
pub trait Chunk {
    /// One more, zeroed or not.
    fn fresh() -> Self;
    fn bytes(&mut self) -> &mut [u8];
}

/// A chunk of plain memory.
pub struct Aligned {
    memory: Vec<u8>,
    begin: usize,
}

impl Chunk for Aligned {
    fn fresh() -> Aligned {
        let memory = vec![0; CHUNK + ALIGN];
        let begin = memory.as_ptr().align_offset(ALIGN);
        Aligned { memory, begin }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + CHUNK]
    }
}

impl Aligned {
    pub fn get(&self) -> &[u8] {
        &self.memory[self.begin..self.begin + CHUNK]
    }
}

/// A chunk, how many of its bytes are to be written (a multiple of [`ALIGN`]) and where.
pub struct Piece<C> {
    pub chunk: C,
    pub len: usize,
    pub offset: u64,
}

/// What is written together and then answered.
pub struct Group<C> {
    /// In the order of their offsets; a group that meets the end of the file goes on at its beginning.
    pub pieces: Vec<Piece<C>>,
    /// Bytes of payload in them.
    pub payload: u64,
    /// Frames that end in them: connection and checksum.
    pub frames: Vec<(usize, u32)>,
}

impl<C> Default for Group<C> {
    fn default() -> Group<C> {
        Group { pieces: Vec::new(), payload: 0, frames: Vec::new() }
    }
}

/// The group that is being filled, and the chunks for it. The server's core only.
pub struct Stage<C> {
    free: Vec<C>,
    /// Offsets are given when the group is taken; until then `len` is the bytes used.
    open: Group<C>,
    /// An emptied group, for its memory.
    spare: Group<C>,
    position: u64,
    file_bytes: u64,
    sequence: u32,
}

impl<C: Chunk> Stage<C> {
    pub fn new(free: Vec<C>, file_bytes: u64) -> Stage<C> {
        assert!(file_bytes >= CHUNK as u64, "a file of {file_bytes} bytes does not hold one chunk");
        let (open, spare) = (Group::default(), Group::default());
        Stage { free, open, spare, position: 0, file_bytes, sequence: 0 }
    }

    /// Copies bytes to the end of what is staged.
    pub fn put(&mut self, mut bytes: &[u8]) {
        self.open.payload += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.open.pieces.last().is_none_or(|last| last.len == CHUNK) {
                let staged = self.open.pieces.len();
                assert!(staged < CHUNKS_MAX, "{staged} chunks are staged and not written");
                let chunk = self.free.pop().unwrap_or_else(C::fresh);
                self.open.pieces.push(Piece { chunk, len: CHUNK_HEAD, offset: 0 });
            }
            let last = self.open.pieces.last_mut().expect("one was just pushed");
            let (now, rest) = bytes.split_at(bytes.len().min(CHUNK - last.len));
            last.chunk.bytes()[last.len..last.len + now.len()].copy_from_slice(now);
            last.len += now.len();
            bytes = rest;
        }
    }

    /// The frame whose bytes were put last is whole.
    pub fn end_frame(&mut self, conn: usize, crc: u32) {
        self.open.frames.push((conn, crc));
    }

    /// What is staged, with its places in the file, if a whole frame is among it.
    pub fn take(&mut self) -> Option<Group<C>> {
        if self.open.frames.is_empty() {
            return None;
        }
        let mut group = std::mem::replace(&mut self.open, std::mem::take(&mut self.spare));
        for piece in &mut group.pieces {
            let (used, bytes) = (piece.len, piece.chunk.bytes());
            let head = [MARK, (used - CHUNK_HEAD) as u32, self.sequence, 0];
            for (place, value) in bytes.chunks_exact_mut(4).zip(head) {
                place.copy_from_slice(&value.to_le_bytes());
            }
            self.sequence = self.sequence.wrapping_add(1);
            piece.len = used.next_multiple_of(ALIGN);
            if self.position + piece.len as u64 > self.file_bytes {
                self.position = 0;
            }
            piece.offset = self.position;
            self.position += piece.len as u64;
        }
        Some(group)
    }

    /// Takes back the memory of a group, with or without its pieces.
    pub fn give_back(&mut self, mut group: Group<C>) {
        self.free.extend(group.pieces.drain(..).map(|piece| piece.chunk));
        group.frames.clear();
        group.payload = 0;
        self.spare = group;
    }
}

/// Chunks that a closed loop with so many bytes in flight needs: those being written and those being filled.
pub fn chunks_for(in_flight: usize) -> usize {
    (2 * in_flight.div_ceil(CHUNK - CHUNK_HEAD) + 4).min(CHUNKS_MAX)
}

fn direct() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    options
}

/// Opens a file for direct I/O.
pub fn open(path: &Path) -> io::Result<File> {
    direct().open(path)
}

/// Makes a file of `bytes` zeros, all of them written and flushed: what is written into it later changes no metadata. Its name, `path`,
/// is taken away at once.
pub fn make(path: &Path, bytes: u64) -> io::Result<File> {
    let file = direct().create_new(true).open(path)?;
    std::fs::remove_file(path)?;
    let zeros = Aligned::fresh();
    for offset in (0..bytes).step_by(CHUNK) {
        file.write_all_at(zeros.get(), offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// The payload bytes of all chunks from the beginning of the file to the first place where the next chunk is not.
pub fn read_back(path: &Path) -> io::Result<Vec<u8>> {
    let file = std::fs::read(path)?;
    let (mut found, mut at, mut sequence) = (Vec::new(), 0, 0);
    while let Some(head) = file.get(at..at + CHUNK_HEAD) {
        let field = |k: usize| u32::from_le_bytes(head[4 * k..4 * k + 4].try_into().expect("four bytes"));
        if field(0) != MARK || field(2) != sequence {
            break;
        }
        let end = at + CHUNK_HEAD + field(1) as usize;
        found.extend(file.get(at + CHUNK_HEAD..end).ok_or(io::ErrorKind::InvalidData)?);
        at = end.next_multiple_of(ALIGN);
        sequence += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_staged_is_taken_whole_and_in_order() {
        let mut stage: Stage<Aligned> = Stage::new(Vec::new(), 3 * CHUNK as u64);
        assert!(stage.take().is_none());
        stage.put(&[1; 100]);
        assert!(stage.take().is_none(), "no frame is whole");
        stage.end_frame(4, 7);
        let group = stage.take().expect("a group");
        assert_eq!((group.pieces.len(), group.pieces[0].len, group.payload), (1, ALIGN, 100));
        assert_eq!(group.frames, [(4, 7)]);
        stage.give_back(group);
        stage.put(&vec![2; 2 * CHUNK]);
        stage.end_frame(0, 0);
        let group = stage.take().expect("a group");
        let places: Vec<_> = group.pieces.iter().map(|p| (p.offset, p.len)).collect();
        let (align, chunk) = (ALIGN as u64, CHUNK as u64);
        assert_eq!(places, [(align, CHUNK), (align + chunk, CHUNK), (align + 2 * chunk, ALIGN)]);
        stage.give_back(group);
        stage.put(&vec![3; CHUNK]);
        stage.end_frame(0, 0);
        let group = stage.take().expect("a group");
        assert_eq!(group.pieces[0].offset, 0, "the file goes on at its beginning");
        stage.give_back(group);
        assert_eq!(stage.free.len(), 3, "chunks are used again");
    }

    #[test]
    fn memory_is_aligned() {
        let chunk = Aligned::fresh();
        assert_eq!((chunk.get().as_ptr() as usize % ALIGN, chunk.get().len()), (0, CHUNK));
    }
}
