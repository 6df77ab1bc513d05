//! What stands in for `shard/src/io/sync.rs`: the model checker's atomics, each use of which can be found by its place in the source
//! and weakened there.

pub(super) use loom::sync::Arc;
pub(super) use std::sync::atomic::Ordering;

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::Location;
use std::sync::{LazyLock, Mutex};

/// Names the place whose ordering is weakened: `file:line:column`.
pub(super) const WEAKEN: &str = "RINGLOG_WEAKEN";

static WEAKENED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(WEAKEN).ok());
static SITES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

pub(super) fn is_weakened() -> bool {
    WEAKENED.is_some()
}

/// Every place that was met with an ordering that can be weaker.
pub(super) fn sites() -> BTreeSet<String> {
    SITES.lock().expect("nobody panics with it").clone()
}

/// The ordering of the place that called, one step weaker if it is the one to be weakened.
fn at(place: &Location<'_>, ordering: Ordering) -> Ordering {
    if ordering == Ordering::Relaxed {
        return ordering;
    }
    let file = place.file().rsplit('/').next().unwrap_or_default();
    let site = format!("{file}:{}:{}", place.line(), place.column());
    let weakened = WEAKENED.as_ref() == Some(&site);
    if WEAKENED.is_none() {
        SITES.lock().expect("nobody panics with it").insert(site);
    }
    match ordering {
        Ordering::SeqCst if weakened => Ordering::AcqRel,
        _ if weakened => Ordering::Relaxed,
        _ => ordering,
    }
}

#[track_caller]
pub(super) fn fence(ordering: Ordering) {
    match at(Location::caller(), ordering) {
        Ordering::Relaxed => {}
        ordering => loom::sync::atomic::fence(ordering),
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty $(, $generic:ident)?) => {
        #[derive(Debug)]
        pub(super) struct $name$(<$generic>)?(loom::sync::atomic::$name$(<$generic>)?);

        impl$(<$generic>)? $name$(<$generic>)? {
            pub(super) fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }
            #[track_caller]
            pub(super) fn load(&self, ordering: Ordering) -> $value {
                self.0.load(at(Location::caller(), ordering))
            }
        }
    };
}

macro_rules! stored {
    ($name:ident, $value:ty $(, $generic:ident)?) => {
        atomic!($name, $value $(, $generic)?);

        impl$(<$generic>)? $name$(<$generic>)? {
            #[track_caller]
            pub(super) fn store(&self, value: $value, ordering: Ordering) {
                self.0.store(value, at(Location::caller(), ordering));
            }
        }
    };
}

atomic!(AtomicBool, bool);
stored!(AtomicUsize, usize);
stored!(AtomicU32, u32);
stored!(AtomicPtr, *mut T, T);

impl Default for AtomicBool {
    fn default() -> AtomicBool {
        AtomicBool::new(false)
    }
}

impl Default for AtomicUsize {
    fn default() -> AtomicUsize {
        AtomicUsize::new(0)
    }
}

impl AtomicBool {
    /// A swap to the checker. It keeps the changes of an atomic in a partial order, and so lets a core that saw a store still read its
    /// own earlier swap, as if that had come later; but a swap stands right behind the value it took. Where one side stores and all
    /// others swap, as here, the order of the changes is that in which they were made, which is how the checker orders swaps.
    #[track_caller]
    pub(super) fn store(&self, value: bool, ordering: Ordering) {
        self.swap(value, ordering);
    }
    #[track_caller]
    pub(super) fn swap(&self, value: bool, ordering: Ordering) -> bool {
        self.0.swap(value, at(Location::caller(), ordering))
    }
}

impl AtomicU32 {
    #[track_caller]
    pub(super) fn fetch_add(&self, more: u32, ordering: Ordering) -> u32 {
        self.0.fetch_add(more, at(Location::caller(), ordering))
    }
    #[track_caller]
    pub(super) fn fetch_sub(&self, less: u32, ordering: Ordering) -> u32 {
        self.0.fetch_sub(less, at(Location::caller(), ordering))
    }
}

impl<T> AtomicPtr<T> {
    #[track_caller]
    pub(super) fn swap(&self, value: *mut T, ordering: Ordering) -> *mut T {
        self.0.swap(value, at(Location::caller(), ordering))
    }
    #[track_caller]
    pub(super) fn compare_exchange_weak(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        self.0.compare_exchange_weak(current, new, at(Location::caller(), success), failure)
    }
}

/// A cell of which the checker sees every use.
pub(super) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(loom::cell::UnsafeCell::new(value))
    }
    pub(super) fn with_mut<R>(&self, work: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(work)
    }
}

/// Bytes of a block that the models look at, each with a cell that is used as the byte is.
const WATCHED: usize = 2;

pub(super) struct Watch([loom::cell::UnsafeCell<()>; WATCHED]);

impl Watch {
    pub(super) fn new() -> Watch {
        Watch(std::array::from_fn(|_| loom::cell::UnsafeCell::new(())))
    }
    pub(super) fn read(&self, bytes: Range<usize>) {
        self.watched(bytes).iter().for_each(|cell| cell.with(|_| ()));
    }
    pub(super) fn write(&self, bytes: Range<usize>) {
        self.watched(bytes).iter().for_each(|cell| cell.with_mut(|_| ()));
    }
    fn watched(&self, bytes: Range<usize>) -> &[loom::cell::UnsafeCell<()>] {
        &self.0[bytes.start.min(WATCHED)..bytes.end.min(WATCHED)]
    }
}

impl Drop for Watch {
    /// A header that goes is written to, all of it.
    fn drop(&mut self) {
        self.write(0..WATCHED);
    }
}
