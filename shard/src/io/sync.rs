//! What [`super::queue`] and [`super::memory`] share memory by, in one place: the standard library's. A model checker compiles the two
//! files with a `sync` of its own in this one's stead (`shard/tests/orderings/`), so whatever it has to see goes through here.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};

use std::ops::Range;

/// A cell whose every use is a call.
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Lends the place for reading and writing; whether nobody else uses it meanwhile is the caller's to know.
    pub(super) fn with_mut<R>(&self, work: impl FnOnce(*mut T) -> R) -> R {
        work(self.0.get())
    }
}

/// Bytes that lie behind a plain pointer: told of each use of them. Nothing here.
pub(super) struct Watch;

impl Watch {
    pub(super) fn new() -> Watch {
        Watch
    }

    /// The bytes are read now.
    pub(super) fn read(&self, _bytes: Range<usize>) {}

    /// The bytes may be written now.
    pub(super) fn write(&self, _bytes: Range<usize>) {}
}
