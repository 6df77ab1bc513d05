//! The receive buffers all connections of a core share: the kernel picks one when bytes arrive, and gets another for it while
//! the memory lasts. A buffer is free again when the last span of it was dropped.

use super::super::memory::{Block, BlockMut, BlockPool, Span};
use super::setup::SetupError;
use io_uring::{IoUring, types::BufRingEntry};
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

/// The buffer group of the only ring of buffers.
pub(super) const GROUP: u16 = 0;

/// The provided-buffer ring and the blocks in it. This core only.
pub(super) struct Buffers {
    pool: BlockPool,
    /// Bytes of each buffer.
    size: usize,
    ring: NonNull<BufRingEntry>,
    /// Slots of the ring, a power of two.
    count: u16,
    tail: u16,
    /// Blocks the kernel may fill, by buffer id.
    lent: Vec<Option<BlockMut>>,
    /// Buffer ids without a block.
    idle: Vec<u16>,
    /// A block without bytes, for the span that means the end.
    empty: Block,
}

impl Buffers {
    /// Makes `count` (rounded up to a power of two, at most 32768) buffers of `size` bytes (a power of two from 4 KiB to 1 MiB),
    /// and more for when those are held, `memory` bytes in all: what was never filled costs addresses, not memory.
    pub(super) fn new(ring: &IoUring, count: u16, size: usize, memory: usize) -> Result<Buffers, SetupError> {
        let count = count.clamp(1, 1 << 15).next_power_of_two();
        let failed = |what| move |e| SetupError::Other(what, e);
        // One more of the smallest class, for the empty block.
        let memory = memory.max(usize::from(count) * size);
        let mut pool = BlockPool::new(memory + 4096);
        let empty = pool.take(1).filter(|_| pool.reserve(size, memory / size));
        let none = || failed("no memory for receive buffers")(io::Error::from(io::ErrorKind::OutOfMemory));
        let empty = empty.ok_or_else(none)?.block();
        let memory = map_ring(count).map_err(failed("mapping the buffer ring"))?;
        // SAFETY: the mapping is page-aligned, holds `count` entries, and lives until the ring is gone (see `Drop`).
        unsafe { ring.submitter().register_buf_ring_with_flags(memory.as_ptr() as u64, count, GROUP, 0) }
            .map_err(failed("registering the buffer ring (kernel too old?)"))?;
        let lent = (0..count).map(|_| None).collect();
        let mut buffers = Buffers { pool, size, ring: memory, count, tail: 0, lent, idle: (0..count).collect(), empty };
        buffers.refill();
        Ok(buffers)
    }

    /// Bytes of buffers that were filled and whose spans are held, and the most there may be.
    pub(super) fn held(&mut self) -> (usize, usize) {
        let (usage, lent) = (self.pool.usage(), self.lent() * self.size);
        (usage.taken - lent - self.empty.capacity(), usage.budget - self.empty.capacity())
    }

    /// How many buffers the kernel has to fill.
    pub(super) fn lent(&self) -> usize {
        usize::from(self.count) - self.idle.len()
    }

    /// Gives the kernel a block for every buffer it filled, as far as the memory allows.
    pub(super) fn refill(&mut self) {
        let before = self.idle.len();
        while let Some(&id) = self.idle.last() {
            let Some(mut block) = self.pool.take(self.size) else { break };
            let memory = block.unwritten();
            // SAFETY: the slot is inside the ring, and the kernel does not look at it before the tail passes it.
            unsafe {
                let slot = &mut *self.ring.as_ptr().add(usize::from(self.tail & (self.count - 1)));
                slot.set_addr(memory.as_mut_ptr() as u64);
                slot.set_len(memory.len() as u32);
                slot.set_bid(id);
            }
            self.tail = self.tail.wrapping_add(1);
            self.lent[usize::from(id)] = Some(block);
            self.idle.pop();
        }
        if self.idle.len() < before {
            // SAFETY: the tail lies in the ring's first entry, aligned, and the kernel reads it as an atomic.
            let tail = unsafe { &*BufRingEntry::tail(self.ring.as_ptr()).cast::<AtomicU16>() };
            tail.store(self.tail, Ordering::Release);
        }
    }

    /// Takes back buffer `id` with `len` bytes in it.
    pub(super) fn filled(&mut self, id: u16, len: usize) -> Span {
        let block = self.lent[usize::from(id)].take();
        let mut block = block.unwrap_or_else(|| panic!("the kernel filled buffer {id}, which it does not have"));
        self.idle.push(id);
        block.publish(len);
        block.span(0, len)
    }

    /// Leaves the memory to the kernel for good.
    pub(super) fn forget(&mut self) {
        std::mem::forget(std::mem::take(&mut self.lent));
        self.count = 0;
    }

    pub(super) fn end(&self) -> Span {
        self.empty.span(0, 0)
    }
}

fn ring_bytes(count: u16) -> usize {
    (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(4096)
}

fn map_ring(count: u16) -> io::Result<NonNull<BufRingEntry>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice aliases nothing.
    let raw = unsafe { libc::mmap(ptr::null_mut(), ring_bytes(count), protection, flags, -1, 0) };
    if raw == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(raw.cast()).expect("a mapping is never at 0"))
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        // SAFETY: `Uring` drops its buffers after every operation has ended (or forgets them), so the kernel has no use for
        // the ring; it holds its own references to the pages until the io_uring itself is closed.
        unsafe { libc::munmap(self.ring.as_ptr().cast(), ring_bytes(self.count)) };
    }
}
