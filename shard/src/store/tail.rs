//! The end of a log in memory: the blocks that hold what is not yet in its segment, and, as long as there is room, what was
//! written lately. Consumers at the tail are answered from here. Lives on the core that owns the partition.
//!
//! A block starts at a multiple of 4096 in its segment, so whole blocks of it go to disk from where they lie.

use crate::io::memory::{Block, BlockMut, BlockPool, Span};
use ringlog_engine::batch::HEADER_LEN;
use ringlog_engine::log::journal::BLOCK;
use ringlog_engine::log::partition::Place;
use ringlog_engine::rope::Rope;
use std::collections::VecDeque;

/// Smallest and largest block of a tail, in bytes. A partition that fills its blocks gets larger ones.
const BLOCK_MIN: usize = BLOCK;
const BLOCK_MAX: usize = 256 * 1024;
/// Offsets remembered with their places.
const MARKS: usize = 8;

#[derive(Debug)]
enum Memory {
    Filling(BlockMut),
    Full(Block),
}

#[derive(Debug)]
struct TailBlock {
    segment: i64,
    start: u32,
    memory: Memory,
    /// The first batch that begins in this block: its base offset and position.
    first_batch: Option<(i64, u32)>,
    /// Where the last batch ends that has bytes in this block. It is in memory as a whole or not at all.
    batch_end: u32,
}

impl TailBlock {
    fn len(&self) -> u32 {
        match &self.memory {
            Memory::Filling(b) => b.len() as u32,
            Memory::Full(b) => b.bytes().len() as u32,
        }
    }

    fn end(&self) -> u32 {
        self.start + self.len()
    }

    fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Filling(b) => b.capacity(),
            Memory::Full(b) => b.capacity(),
        }
    }

    fn span(&self, from: u32, to: u32) -> Span {
        let (start, len) = ((from - self.start) as usize, (to - from) as usize);
        match &self.memory {
            Memory::Filling(b) => b.span(start, len),
            Memory::Full(b) => b.span(start, len),
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Filling(b) => b.bytes(),
            Memory::Full(b) => b.bytes(),
        }
    }

    fn seal(&mut self) {
        if let Memory::Filling(b) = &self.memory {
            self.memory = Memory::Full(b.block());
        }
    }
}

#[derive(Debug, Default)]
pub struct Tail {
    blocks: VecDeque<TailBlock>,
    /// Size of the next block; doubles while blocks fill, back to the smallest when the tail empties.
    grow: usize,
    /// Capacity of all blocks.
    held: usize,
    /// Where the log became visible up to, lately: consumers at the tail ask from one of these offsets on.
    marks: [(i64, Place); MARKS],
    next_mark: usize,
}

/// The pool had no block; nothing was changed. The caller has checked for room before, so this is a bug there.
#[derive(Debug)]
pub struct NoMemory;

impl Tail {
    /// Bytes of memory held.
    pub fn held(&self) -> usize {
        self.held
    }

    /// First place in memory; everything from here to the end of the log is.
    pub fn start(&self) -> Option<Place> {
        self.blocks.front().map(|b| Place { segment: b.segment, position: b.start })
    }

    /// Appends a stamped header and what follows it at `place`, the end of the log.
    pub fn append(
        &mut self,
        pool: &mut BlockPool,
        place: Place,
        header: &[u8; HEADER_LEN],
        rest: Rope<'_>,
    ) -> Result<(), NoMemory> {
        let base_offset = i64::from_be_bytes(header[..8].try_into().expect("eight bytes"));
        self.room(pool, place, HEADER_LEN + rest.len())?;
        let block = self.blocks.back_mut().expect("there is room");
        block.first_batch.get_or_insert((base_offset, place.position));
        self.put(pool, place, header, HEADER_LEN + rest.len())?;
        let mut at = Place { position: place.position + HEADER_LEN as u32, ..place };
        let mut left = rest.len();
        for piece in rest.slices() {
            self.put(pool, at, piece, left)?;
            at.position += piece.len() as u32;
            left -= piece.len();
        }
        let touched = |b: &&mut TailBlock| b.segment == place.segment && b.end() > place.position;
        self.blocks.iter_mut().rev().take_while(touched).for_each(|b| b.batch_end = at.position);
        Ok(())
    }

    fn put(&mut self, pool: &mut BlockPool, place: Place, mut bytes: &[u8], expected: usize) -> Result<(), NoMemory> {
        let mut at = place;
        while !bytes.is_empty() {
            let room = self.room(pool, at, expected)?;
            let take = room.remaining().min(bytes.len());
            room.append(&bytes[..take]);
            bytes = &bytes[take..];
            at.position += take as u32;
        }
        Ok(())
    }

    /// The block that takes the byte at `place`, opened if need be.
    fn room(&mut self, pool: &mut BlockPool, place: Place, expected: usize) -> Result<&mut BlockMut, NoMemory> {
        let fits = self.blocks.back().is_some_and(|last| {
            last.segment == place.segment
                && matches!(&last.memory, Memory::Filling(b) if b.remaining() > 0 && last.end() == place.position)
        });
        if !fits {
            if let Some(last) = self.blocks.back_mut() {
                last.seal();
            }
            assert_eq!(place.position as usize % BLOCK, 0, "a tail block starts at {place:?}, not on a block");
            let wanted = self.grow.max(expected.next_power_of_two()).clamp(BLOCK_MIN, BLOCK_MAX);
            let memory = pool.take(wanted).ok_or(NoMemory)?;
            self.grow = (wanted * 2).min(BLOCK_MAX);
            self.held += memory.capacity();
            self.blocks.push_back(TailBlock {
                segment: place.segment,
                start: place.position,
                memory: Memory::Filling(memory),
                first_batch: None,
                batch_end: place.position,
            });
        }
        match &mut self.blocks.back_mut().expect("a block was opened").memory {
            Memory::Filling(block) => Ok(block),
            Memory::Full(_) => unreachable!("the last block is being filled"),
        }
    }

    /// Index of the block that holds a place, if it is in memory.
    fn find(&self, place: Place) -> Option<usize> {
        let at =
            self.blocks.partition_point(|b| (b.segment, b.start) <= (place.segment, place.position)).checked_sub(1)?;
        let block = &self.blocks[at];
        (block.segment == place.segment && place.position < block.end()).then_some(at)
    }

    pub fn holds(&self, place: Place) -> bool {
        self.find(place).is_some()
    }

    /// The batch at this offset begins, or will begin, at this place.
    pub fn mark(&mut self, offset: i64, place: Place) {
        self.marks[self.next_mark] = (offset, place);
        self.next_mark = (self.next_mark + 1) % MARKS;
    }

    /// A batch at or before the one that holds `offset`, if that one begins in memory.
    pub fn locate(&self, offset: i64) -> Option<Place> {
        if let Some((_, place)) = self.marks.iter().find(|(marked, place)| *marked == offset && self.holds(*place)) {
            return Some(*place);
        }
        let mut at = self.blocks.partition_point(|b| b.first_batch.is_none_or(|(first, _)| first <= offset));
        while at > 0 {
            at -= 1;
            if let Some((first, position)) = self.blocks[at].first_batch
                && first <= offset
            {
                return Some(Place { segment: self.blocks[at].segment, position });
            }
        }
        None
    }

    /// Adds the spans of [from, to) of a segment. All of it must be in memory.
    pub fn spans(&self, segment: i64, from: u32, to: u32, out: &mut Vec<Span>) {
        let mut at = from;
        let mut k =
            if from < to { self.find(Place { segment, position: from }).expect("the range is in memory") } else { 0 };
        while at < to {
            let block = &self.blocks[k];
            assert!(block.segment == segment && block.start <= at, "a hole in the tail of segment {segment} at {at}");
            let end = block.end().min(to);
            out.push(block.span(at, end));
            at = end;
            k += 1;
        }
    }

    /// Hands the bytes of [from, to) of a segment to `each`, piece by piece. All of it must be in memory.
    pub fn pieces(&self, segment: i64, from: u32, to: u32, mut each: impl FnMut(&[u8])) {
        let mut at = from;
        let mut k =
            if from < to { self.find(Place { segment, position: from }).expect("the range is in memory") } else { 0 };
        while at < to {
            let block = &self.blocks[k];
            assert!(block.segment == segment && block.start <= at, "a hole in the tail of segment {segment} at {at}");
            let end = block.end().min(to);
            each(&block.bytes()[(at - block.start) as usize..(end - block.start) as usize]);
            at = end;
            k += 1;
        }
    }

    /// The batch header at a place, which must be in memory.
    pub fn header(&self, place: Place) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let mut filled = 0;
        self.pieces(place.segment, place.position, place.position + HEADER_LEN as u32, |piece| {
            header[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        });
        header
    }

    /// Drops the first block if all batches with bytes in it end at or before `durable`. Returns the bytes given back. The block the
    /// log ends in stays if its end is ragged: what is appended next is written together with what precedes it.
    pub fn evict(&mut self, pool: &mut BlockPool, durable: Place) -> usize {
        let Some(first) = self.blocks.front() else { return 0 };
        if (first.segment, first.batch_end) > (durable.segment, durable.position) {
            return 0;
        }
        let ragged = first.end() as usize % BLOCK;
        if self.blocks.len() == 1 && first.segment == durable.segment && ragged != 0 {
            return self.shrink_last(pool, ragged);
        }
        self.drop_first()
    }

    /// Puts the last, partly filled 4096 bytes into a block of their own and drops the rest.
    fn shrink_last(&mut self, pool: &mut BlockPool, ragged: usize) -> usize {
        let last = self.blocks.back_mut().expect("there is one");
        let capacity = last.capacity();
        if capacity == BLOCK {
            return 0;
        }
        let Some(mut block) = pool.take(BLOCK) else { return 0 };
        let start = last.end() - ragged as u32;
        block.append(&last.bytes()[(start - last.start) as usize..]);
        (last.start, last.first_batch, last.memory) = (start, None, Memory::Filling(block));
        self.held -= capacity - BLOCK;
        self.grow = BLOCK_MIN;
        capacity - BLOCK
    }

    fn drop_first(&mut self) -> usize {
        let Some(block) = self.blocks.pop_front() else { return 0 };
        let bytes = block.capacity();
        self.held -= bytes;
        if self.blocks.is_empty() {
            self.grow = BLOCK_MIN;
        }
        bytes
    }

    /// Drops what lies in segments before `segment`.
    pub fn forget_before(&mut self, segment: i64) {
        while self.blocks.front().is_some_and(|b| b.segment < segment) {
            self.drop_first();
        }
    }

    /// Gives all memory back.
    pub fn clear(&mut self) {
        while !self.blocks.is_empty() {
            self.drop_first();
        }
    }
}
