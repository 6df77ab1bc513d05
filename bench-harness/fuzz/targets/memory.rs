//! An allocator that counts what a thread has in use, and the most it had.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub(super) struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn account(bytes: isize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: every call goes to the system allocator unchanged; the counters are plain thread-local cells.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the trait asks of its caller.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        account(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    // SAFETY: as the trait asks of its caller.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        account(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What `work` answers, and the most bytes that were in use at once in it, above what was before.
pub(super) fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before) as usize)
}
