//! Blocks: 4096-aligned memory that is filled once by one writer and read by any core, the kernel included.
//!
//! What a connection received, what the log holds in memory, what is written and what is sent are [`Span`]s of blocks:
//! handing bytes on counts a reference, no bytes move. A [`BlockPool`] belongs to one core; its blocks may be dropped
//! on any core and find their way home by themselves, without locks, scans or allocation.
//! Not here: what the bytes mean, and who is waiting for them.
//!
//! # Why it is sound
//!
//! - A block has at most one writer: [`BlockMut`] is made only by [`BlockPool::take`], from a block nobody else refers to,
//!   and cannot be cloned.
//! - The writer writes only at and beyond the published length, and then raises it (release). Readers look only at
//!   bytes below the length they loaded (acquire). So no byte is read and written at the same time, and bytes below
//!   the published length never change while any handle lives.
//! - A block is reused only after its last handle, writer or reader, was dropped: that drop (acquire and release on the
//!   count) happens before the block enters the home's stack of returned blocks, and leaving the stack (acquire)
//!   happens before the next writer writes.
//! - The memory is mapped zeroed and stays initialised, so its free part may be lent as `&mut [u8]`.

use super::sync::{Arc, AtomicPtr, AtomicU32, Ordering, Watch};
use std::fmt;
use std::ops::Range;
use std::ptr::{self, NonNull};

/// Alignment of every block, and the unit of its capacity, in bytes: what O_DIRECT asks for at most.
pub const BLOCK_ALIGN: usize = 4096;
/// Smallest size class in bytes.
pub const SMALLEST_BLOCK: usize = 4096;
/// Largest size class in bytes; larger blocks are mapped on request and unmapped when they come back.
pub const LARGEST_CLASS: usize = 1 << 20;

/// Blocks are carved from chunks of this many bytes, aligned alike, so that the kernel can back them with huge pages.
const CHUNK: usize = 2 << 20;
const CLASSES: usize = (LARGEST_CLASS / SMALLEST_BLOCK).ilog2() as usize + 1;

/// One mapping; unmapped when the last block carved from it is freed.
struct Chunk {
    base: NonNull<u8>,
    len: usize,
    align: usize,
}

// SAFETY: a chunk only names a mapping; the bytes in it are governed by the blocks, and unmapping works from any thread.
unsafe impl Send for Chunk {}
// SAFETY: as above; a shared chunk is never written through.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// Maps `len` zeroed bytes (a multiple of 4096) at a multiple of `align`. `None` if the system has no memory to map.
    fn map(len: usize, align: usize) -> Option<Arc<Chunk>> {
        map(len, align).map(|base| Arc::new(Chunk { base, len, align }))
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: every block of this chunk is gone (each held a count), so nothing refers to the range.
        unsafe { unmap(self.base, self.len, self.align) };
    }
}

#[cfg(not(miri))]
fn map(len: usize, align: usize) -> Option<NonNull<u8>> {
    let whole = len + align - BLOCK_ALIGN;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice aliases nothing.
    let raw = unsafe { libc::mmap(ptr::null_mut(), whole, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if raw == libc::MAP_FAILED {
        return None;
    }
    let raw: *mut u8 = raw.cast();
    let skip = raw.align_offset(align);
    let tail = whole - skip - len;
    // SAFETY: the ranges before and after the aligned part lie in the mapping just made, and nothing refers to them.
    let base = unsafe {
        if skip > 0 {
            libc::munmap(raw.cast(), skip);
        }
        if tail > 0 {
            libc::munmap(raw.add(skip + len).cast(), tail);
        }
        raw.add(skip)
    };
    if align >= CHUNK {
        // Advice: without huge pages everything works, the kernel just pins more pages per operation.
        // SAFETY: the range is ours.
        unsafe { libc::madvise(base.cast(), len, libc::MADV_HUGEPAGE) };
    }
    Some(NonNull::new(base).expect("a mapping is never at 0"))
}

/// # Safety
///
/// The range is one that [`map`] answered, and nothing refers to it.
#[cfg(not(miri))]
unsafe fn unmap(base: NonNull<u8>, len: usize, _align: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(base.as_ptr().cast(), len) };
}

/// Gives pages back to the system; they read as zeros from then on.
///
/// # Safety
///
/// The range is mapped, and nothing refers to it.
#[cfg(not(miri))]
unsafe fn give_back(base: NonNull<u8>, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_DONTNEED) };
}

/// The interpreter, which has no part of a mapping unmapped and takes no advice, checks the rest on memory of an allocator.
#[cfg(miri)]
mod under_miri {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    pub(super) fn map(len: usize, align: usize) -> Option<NonNull<u8>> {
        // SAFETY: no mapping is empty.
        NonNull::new(unsafe { alloc_zeroed(Layout::from_size_align(len, align).expect("a layout")) })
    }

    pub(super) unsafe fn unmap(base: NonNull<u8>, len: usize, align: usize) {
        // SAFETY: the caller's promise: it was made above.
        unsafe { dealloc(base.as_ptr(), Layout::from_size_align(len, align).expect("a layout")) };
    }

    pub(super) unsafe fn give_back(base: NonNull<u8>, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { base.as_ptr().write_bytes(0, len) };
    }
}
#[cfg(miri)]
use under_miri::{give_back, map, unmap};

/// What one core's pool shares with the holders of its blocks: where they come back to.
struct Home {
    /// Blocks whose last handle was dropped, linked by [`Header::next`]; or [`closed`] once the pool is gone.
    returned: AtomicPtr<Header>,
}

/// The mark that a pool is gone: blocks that come back free themselves.
fn closed() -> *mut Header {
    ptr::without_provenance_mut(usize::MAX)
}

/// What stands behind every handle of a block. Lives as long as the block exists, in use or free.
struct Header {
    base: NonNull<u8>,
    capacity: u32,
    class: u8,
    /// Handles alive: the writer and the readers.
    handles: AtomicU32,
    /// Bytes that readers may see.
    published: AtomicU32,
    watch: Watch,
    next: AtomicPtr<Header>,
    home: Arc<Home>,
    chunk: Arc<Chunk>,
}

/// A counted reference to a header; the last one dropped sends the block home.
struct Handle(NonNull<Header>);

// SAFETY: a header's mutable state is atomic, and the bytes behind it follow the rules in this module's header.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    fn header(&self) -> &Header {
        // SAFETY: a header lives at least as long as any handle to it.
        unsafe { self.0.as_ref() }
    }

    fn published(&self) -> &[u8] {
        let header = self.header();
        let len = header.published.load(Ordering::Acquire) as usize;
        header.watch.read(0..len);
        // SAFETY: `len` bytes were written before they were published, and do not change while a handle lives.
        unsafe { std::slice::from_raw_parts(header.base.as_ptr(), len) }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        let before = self.header().handles.fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "a block has {before} handles");
        Handle(self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.header().handles.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // Not a fence, which would do as well: ThreadSanitizer does not know of fences.
        self.header().handles.load(Ordering::Acquire);
        let raw = self.0.as_ptr();
        let home = &self.header().home;
        let mut top = home.returned.load(Ordering::Relaxed);
        loop {
            if top == closed() {
                // SAFETY: this was the last handle and the pool is gone: nobody else knows the header.
                drop(unsafe { Box::from_raw(raw) });
                return;
            }
            self.header().next.store(top, Ordering::Relaxed);
            // Only this stack's owner takes, and it takes everything at once: no header is seen twice (no ABA).
            match home.returned.compare_exchange_weak(top, raw, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }
}

/// A readable block: a counted reference to bytes that never change below the published length. Any core.
#[derive(Clone)]
pub struct Block(Handle);

impl Block {
    /// The bytes published so far.
    pub fn bytes(&self) -> &[u8] {
        self.0.published()
    }

    /// Bytes the block can hold.
    pub fn capacity(&self) -> usize {
        self.0.header().capacity as usize
    }

    /// Whether both are handles of the same block.
    pub fn same(&self, other: &Block) -> bool {
        self.0.0 == other.0.0
    }

    /// A range of it. Panics if the range is not published.
    pub fn span(&self, start: usize, len: usize) -> Span {
        let published = self.bytes().len();
        assert!(start + len <= published, "span {start}+{len} of a block with {published} bytes");
        Span { block: self.clone(), start: start as u32, len: len as u32 }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} of {})", self.bytes().len(), self.capacity())
    }
}

/// The one writer of a block: appends, never changes what it published. One core at a time; moves with its operation.
/// Dropping it gives up writing; the block returns to its pool when the last reader is gone too.
pub struct BlockMut(Handle);

impl BlockMut {
    /// Bytes the block can hold: a multiple of 4096.
    pub fn capacity(&self) -> usize {
        self.0.header().capacity as usize
    }

    /// Bytes published.
    pub fn len(&self) -> usize {
        self.0.header().published.load(Ordering::Relaxed) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that still fit.
    pub fn remaining(&self) -> usize {
        self.capacity() - self.len()
    }

    /// The bytes published so far.
    pub fn bytes(&self) -> &[u8] {
        self.0.published()
    }

    /// Appends and publishes. Panics if the bytes do not fit.
    pub fn append(&mut self, bytes: &[u8]) {
        let (len, remaining) = (bytes.len(), self.remaining());
        assert!(len <= remaining, "append of {len} bytes to a block with {remaining} of {} left", self.capacity());
        self.unwritten()[..len].copy_from_slice(bytes);
        self.publish(len);
    }

    /// Appends zeros up to the next multiple of `unit`, a power of two up to 4096. Answers how many.
    pub fn pad_to_multiple(&mut self, unit: usize) -> usize {
        assert!(unit.is_power_of_two() && unit <= BLOCK_ALIGN, "padding to a multiple of {unit}");
        let zeros = self.len().next_multiple_of(unit) - self.len();
        self.unwritten()[..zeros].fill(0);
        self.publish(zeros);
        zeros
    }

    /// The part no reader sees yet, with whatever an earlier use left there; to be filled and then [`publish`]ed.
    ///
    /// [`publish`]: BlockMut::publish
    pub fn unwritten(&mut self) -> &mut [u8] {
        let (start, remaining) = (self.len(), self.remaining());
        self.0.header().watch.write(start..start + remaining);
        // SAFETY: the range is inside the block, initialised, beyond what readers look at, and this is the only writer.
        unsafe { std::slice::from_raw_parts_mut(self.0.header().base.as_ptr().add(start), remaining) }
    }

    /// Makes the next `len` bytes visible, as they are now and for good. Panics beyond the capacity.
    pub fn publish(&mut self, len: usize) {
        let (at, capacity) = (self.len(), self.capacity());
        assert!(len <= capacity - at, "publishing {len} bytes after {at} in a block of {capacity}");
        self.0.header().published.store((at + len) as u32, Ordering::Release);
    }

    /// A reader's handle.
    pub fn block(&self) -> Block {
        Block(self.0.clone())
    }

    /// A range of what is published. Panics if it is not.
    pub fn span(&self, start: usize, len: usize) -> Span {
        let published = self.len();
        assert!(start + len <= published, "span {start}+{len} of a block with {published} bytes");
        Span { block: self.block(), start: start as u32, len: len as u32 }
    }
}

impl fmt::Debug for BlockMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockMut({} of {})", self.len(), self.capacity())
    }
}

/// A range of a block: what requests, log tails, writes and answers are made of. Cloning counts a reference, no bytes move.
#[derive(Clone, Debug)]
pub struct Span {
    pub block: Block,
    /// First byte, from the start of the block.
    pub start: u32,
    /// Bytes; `start + len` is at most the block's published length.
    pub len: u32,
}

impl Span {
    pub fn bytes(&self) -> &[u8] {
        &self.block.bytes()[self.range()]
    }

    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it lies in its block.
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    /// `len` bytes from its `from`th. Panics if they are not all inside.
    pub fn slice(&self, from: usize, len: usize) -> Span {
        assert!(from + len <= self.len(), "slice {from}+{len} of a span of {} bytes", self.len);
        Span { block: self.block.clone(), start: self.start + from as u32, len: len as u32 }
    }
}

/// What a pool has made, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolUse {
    /// In blocks that somebody holds.
    pub taken: usize,
    /// In blocks that wait to be taken again.
    pub free: usize,
    /// The most that `taken` and `free` may make together.
    pub budget: usize,
}

/// One core's blocks, in size classes of powers of two from 4 KiB to 1 MiB, and larger ones on request, within a budget
/// of bytes. Blocks are taken on this core, and come back from wherever their last handle is dropped.
///
/// Taking a block of a class that was [`reserve`]d, or had as many out before, neither allocates nor locks.
///
/// [`reserve`]: BlockPool::reserve
pub struct BlockPool {
    home: Arc<Home>,
    /// Free blocks of each class; room for all that exist, so that returning never allocates.
    free: [Vec<NonNull<Header>>; CLASSES],
    /// Blocks that exist in each class, free or taken.
    made: [usize; CLASSES],
    usage: PoolUse,
    /// The chunk being carved and how much of it is used.
    chunk: Option<(Arc<Chunk>, usize)>,
}

// SAFETY: the free headers belong to the pool alone; everything else in it is Send.
unsafe impl Send for BlockPool {}

/// The class for `capacity` bytes; `None` above the largest.
fn class_of(capacity: usize) -> Option<usize> {
    (capacity <= LARGEST_CLASS)
        .then(|| (capacity.max(SMALLEST_BLOCK).next_power_of_two() / SMALLEST_BLOCK).ilog2() as usize)
}

fn class_bytes(class: usize) -> usize {
    SMALLEST_BLOCK << class
}

/// Marks a block that has no class and is unmapped when it comes back.
const OVERSIZE: u8 = u8::MAX;

impl BlockPool {
    /// A pool that makes at most `budget` bytes of blocks. Maps nothing yet.
    pub fn new(budget: usize) -> BlockPool {
        BlockPool {
            home: Arc::new(Home { returned: AtomicPtr::new(ptr::null_mut()) }),
            free: Default::default(),
            made: [0; CLASSES],
            usage: PoolUse { budget, ..PoolUse::default() },
            chunk: None,
        }
    }

    /// An empty block of at least `min_capacity` bytes; `None` if the budget (or the system) has no room for it.
    pub fn take(&mut self, min_capacity: usize) -> Option<BlockMut> {
        self.collect();
        let Some(class) = class_of(min_capacity) else {
            return self.take_oversize(min_capacity);
        };
        if self.free[class].is_empty() && !self.make(class) {
            return None;
        }
        let header = self.free[class].pop()?;
        self.usage.free -= class_bytes(class);
        self.usage.taken += class_bytes(class);
        // SAFETY: a free header is known to the pool alone, so this is its first handle.
        unsafe {
            header.as_ref().published.store(0, Ordering::Relaxed);
            header.as_ref().handles.store(1, Ordering::Relaxed);
        }
        Some(BlockMut(Handle(header)))
    }

    /// Makes blocks of the class of `capacity` bytes (at most 1 MiB) until `count` exist. Answers whether the
    /// budget had room for them, as it is: no free block makes way.
    pub fn reserve(&mut self, capacity: usize, count: usize) -> bool {
        let class = class_of(capacity);
        let class =
            class.unwrap_or_else(|| panic!("no class of {capacity} bytes to reserve; {LARGEST_CLASS} is the most"));
        while self.made[class] < count {
            let total = self.usage.taken + self.usage.free + class_bytes(class);
            if total > self.usage.budget || !self.make(class) {
                return false;
            }
        }
        true
    }

    /// Bytes taken, free and allowed, as of now.
    pub fn usage(&mut self) -> PoolUse {
        self.collect();
        self.usage
    }

    /// Takes in the blocks whose last handle was dropped since the last call.
    fn collect(&mut self) {
        if self.home.returned.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut next = self.home.returned.swap(ptr::null_mut(), Ordering::Acquire);
        while let Some(header) = NonNull::new(next) {
            // SAFETY: a returned header has no handles; having taken it off the stack, the pool alone knows it.
            let (class, bytes) = unsafe {
                next = header.as_ref().next.load(Ordering::Relaxed);
                (header.as_ref().class, header.as_ref().capacity as usize)
            };
            self.usage.taken -= bytes;
            if class == OVERSIZE {
                // SAFETY: as above; it was made by `Box`.
                drop(unsafe { Box::from_raw(header.as_ptr()) });
            } else {
                self.usage.free += bytes;
                self.free[class as usize].push(header);
            }
        }
    }

    /// Makes one more free block of a class, at the cost of free blocks of other classes if the budget asks for it.
    fn make(&mut self, class: usize) -> bool {
        let bytes = class_bytes(class);
        if !self.make_room(bytes) {
            return false;
        }
        let Some((chunk, at)) = self.carve(bytes) else {
            return false;
        };
        // SAFETY: `carve` answered a range inside the chunk.
        let base = unsafe { chunk.base.add(at) };
        let header = self.header(base, bytes, class as u8, chunk);
        self.made[class] += 1;
        let (list, made) = (&mut self.free[class], self.made[class]);
        list.reserve(made - list.len());
        list.push(header);
        self.usage.free += bytes;
        true
    }

    fn header(&self, base: NonNull<u8>, capacity: usize, class: u8, chunk: Arc<Chunk>) -> NonNull<Header> {
        NonNull::from(Box::leak(Box::new(Header {
            base,
            capacity: u32::try_from(capacity).expect("a block is under 4 GiB"),
            class,
            handles: AtomicU32::new(0),
            published: AtomicU32::new(0),
            watch: Watch::new(),
            next: AtomicPtr::new(ptr::null_mut()),
            home: self.home.clone(),
            chunk,
        })))
    }

    fn take_oversize(&mut self, min_capacity: usize) -> Option<BlockMut> {
        let bytes = min_capacity.checked_next_multiple_of(BLOCK_ALIGN).filter(|b| *b <= u32::MAX as usize)?;
        if !self.make_room(bytes) {
            return None;
        }
        let chunk = Chunk::map(bytes, BLOCK_ALIGN)?;
        let header = self.header(chunk.base, bytes, OVERSIZE, chunk);
        self.usage.taken += bytes;
        // SAFETY: the header is new: this is its first handle.
        unsafe { header.as_ref().handles.store(1, Ordering::Relaxed) };
        Some(BlockMut(Handle(header)))
    }

    /// Frees free blocks, the largest classes first, until `bytes` more fit in the budget. Answers whether they do.
    fn make_room(&mut self, bytes: usize) -> bool {
        if self.usage.taken.saturating_add(bytes) > self.usage.budget {
            return false;
        }
        for class in (0..CLASSES).rev() {
            while self.usage.taken + self.usage.free + bytes > self.usage.budget {
                let Some(header) = self.free[class].pop() else { break };
                self.discard(header);
                self.made[class] -= 1;
                self.usage.free -= class_bytes(class);
            }
        }
        true
    }

    /// Gives a free block's pages back to the system; its addresses follow with the rest of its chunk.
    fn discard(&self, header: NonNull<Header>) {
        // SAFETY: a free header is known to the pool alone, and its bytes to nobody; it was made by `Box`.
        unsafe {
            let header = Box::from_raw(header.as_ptr());
            if Arc::strong_count(&header.chunk) > 1 {
                give_back(header.base, header.capacity as usize);
            }
        }
    }

    /// The next `bytes` (a class's size) of the chunk being carved, or of a new one. The rest of an old one is left unused
    /// and untouched: it costs addresses, not memory.
    fn carve(&mut self, bytes: usize) -> Option<(Arc<Chunk>, usize)> {
        if self.chunk.as_ref().is_none_or(|(_, used)| CHUNK - used < bytes) {
            self.chunk = Some((Chunk::map(CHUNK, CHUNK)?, 0));
        }
        let (chunk, used) = self.chunk.as_mut().expect("just made");
        let at = *used;
        *used += bytes;
        Some((chunk.clone(), at))
    }
}

impl Drop for BlockPool {
    fn drop(&mut self) {
        let mut next = self.home.returned.swap(closed(), Ordering::Acquire);
        while let Some(header) = NonNull::new(next) {
            // SAFETY: returned headers have no handles and are known to the pool alone; they were made by `Box`.
            next = unsafe { Box::from_raw(header.as_ptr()) }.next.load(Ordering::Relaxed);
        }
        for header in self.free.iter_mut().flat_map(std::mem::take) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(header.as_ptr()) });
        }
    }
}

impl fmt::Debug for BlockPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockPool").field("made", &self.made).field("usage", &self.usage).finish_non_exhaustive()
    }
}
