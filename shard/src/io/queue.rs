//! Single-producer single-consumer queues between two cores, and the protocol by which the producer knows whether the
//! consumer sleeps.
//!
//! Bounded, without locks, and without allocation after [`channel`]. Not here: what travels (mail), and the wake-up itself
//! ([`super::Io::wake`]).

use super::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell, fence};
use std::mem::MaybeUninit;

/// Keeps two cores' words on different cache lines; 128 because the prefetcher fetches lines in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Padded<T>(T);

struct Ring<T> {
    /// Next position to be popped; written by the receiver. Positions count up and wrap with `usize`.
    head: Padded<AtomicUsize>,
    /// Next position to be pushed; written by the sender.
    tail: Padded<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is touched by the sender while it is outside [head, tail) and by the receiver while it is inside; the
// release stores and acquire loads of both positions order the two. So a `T` only ever moves between threads.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[position & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let (mut head, tail) = (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed));
        while head != tail {
            // SAFETY: both ends are gone, and positions from head to tail hold values.
            self.slot(head).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

/// The pushing end: one core.
pub struct Sender<T> {
    ring: Arc<Ring<T>>,
    tail: usize,
    /// The receiver's position when last looked at: looked at again only when the queue seems full.
    head_seen: usize,
}

/// The popping end: one core.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    head: usize,
    /// The sender's position when last looked at: looked at again only when the queue seems empty.
    tail_seen: usize,
}

/// A queue that holds `capacity` values, rounded up to a power of two.
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let capacity = capacity.max(1).next_power_of_two();
    let slots = (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let ring = Arc::new(Ring { head: Padded::default(), tail: Padded::default(), slots });
    (Sender { ring: ring.clone(), tail: 0, head_seen: 0 }, Receiver { ring, head: 0, tail_seen: 0 })
}

impl<T: Send> Sender<T> {
    /// Appends a value, or gives it back if the queue is full.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        // SAFETY: the position is outside [head, tail): the receiver has done with it, and this is the only sender.
        self.ring.slot(self.tail).with_mut(|slot| unsafe { (*slot).write(value) });
        self.tail = self.tail.wrapping_add(1);
        self.ring.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Whether a `push` would be refused now.
    pub fn is_full(&mut self) -> bool {
        let capacity = self.ring.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.head_seen = self.ring.head.0.load(Ordering::Acquire);
        }
        self.tail.wrapping_sub(self.head_seen) == capacity
    }
}

impl<T: Send> Receiver<T> {
    /// Takes the oldest value.
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the position is inside [head, tail): the sender has written it, and this is the only receiver.
        let value = self.ring.slot(self.head).with_mut(|slot| unsafe { (*slot).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        self.ring.head.0.store(self.head, Ordering::Release);
        Some(value)
    }

    /// Values that were there when last looked and are not taken yet.
    pub fn known(&self) -> usize {
        self.tail_seen.wrapping_sub(self.head)
    }

    /// Whether there is nothing to pop now.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.ring.tail.0.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

/// Whether a core sleeps: one per core, a clone with everyone who pushes to it. So that a wake-up, which costs a system
/// call, is sent only when somebody sleeps.
///
/// The sleeper: [`park`], look into every queue again, sleep only if all are empty, [`unpark`]. The pusher: push, then
/// wake the core if [`must_wake`]. Either the sleeper sees the value or the pusher sees it parked: both write, then
/// pass a sequentially consistent fence, then read what the other wrote.
///
/// [`park`]: Parked::park
/// [`unpark`]: Parked::unpark
/// [`must_wake`]: Parked::must_wake
#[derive(Clone, Debug, Default)]
pub struct Parked(Arc<Padded<AtomicBool>>);

impl Parked {
    /// The flag of a core that is awake.
    pub fn new() -> Parked {
        Parked::default()
    }

    /// Tells that this core is about to sleep. Its queues must be looked at once more after this.
    pub fn park(&self) {
        self.0.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Tells that this core is awake.
    pub fn unpark(&self) {
        self.0.0.store(false, Ordering::Relaxed);
    }

    /// After a push (or several): whether the caller must wake the core. Of several pushers that find it parked, one is told to.
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.0.load(Ordering::Relaxed) && self.0.0.swap(false, Ordering::Relaxed)
    }
}
