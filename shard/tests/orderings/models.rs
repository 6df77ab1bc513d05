//! The models. Each is as small as it can be and still has the situation it is about: the checker tries all that may happen in it.

use super::memory::{Block, BlockPool, Span};
use super::queue::{Parked, Receiver, Sender, channel};
use loom::sync::Notify;
use loom::thread;
use std::sync::Arc;

pub(super) const ALL: [fn(); 8] = [
    values_move_in_order,
    what_is_not_popped_is_dropped,
    no_wake_up_is_missed,
    one_of_two_pushers_wakes,
    readers_see_what_was_published,
    memory_is_used_again,
    handles_race_home,
    handles_outlive_their_pool,
];

/// Tries all that can happen in a model with at most so many switches between threads that were not asked for.
fn explore(switches: usize, model: fn()) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(model);
}

fn push<T: Send>(sender: &mut Sender<T>, mut value: T) {
    while let Err(back) = sender.push(value) {
        value = back;
        thread::yield_now();
    }
}

fn pop<T: Send>(receiver: &mut Receiver<T>) -> T {
    loop {
        match receiver.pop() {
            Some(value) => return value,
            None => thread::yield_now(),
        }
    }
}

/// Three values through two slots: both ends wait for the other, and a slot is used twice.
#[test]
fn values_move_in_order() {
    explore(3, || {
        let (mut tx, mut rx) = channel::<Box<u32>>(2);
        let sender = thread::spawn(move || (0..3).for_each(|i| push(&mut tx, Box::new(i))));
        (0..3).for_each(|i| assert_eq!(*pop(&mut rx), i));
        sender.join().unwrap();
        assert!(rx.is_empty());
    });
}

#[test]
fn what_is_not_popped_is_dropped() {
    explore(3, || {
        let counted = Arc::new(());
        let (mut tx, mut rx) = channel(2);
        let values = [counted.clone(), counted.clone()];
        let sender = thread::spawn(move || values.into_iter().for_each(|value| push(&mut tx, value)));
        drop(rx.pop());
        drop(rx);
        sender.join().unwrap();
        assert_eq!(Arc::strong_count(&counted), 1);
    });
}

/// Takes `count` values in the way a core does: looks, says that it sleeps, looks again, sleeps until `ring` rings. A missed
/// wake-up is a deadlock, which the checker tells.
fn consume(receivers: &mut [Receiver<u32>], parked: &Parked, ring: &Notify, count: u32) {
    let mut taken = 0;
    while taken < count {
        for receiver in &mut *receivers {
            while receiver.pop().is_some() {
                taken += 1;
            }
        }
        parked.park();
        if taken < count && receivers.iter_mut().all(Receiver::is_empty) {
            ring.wait();
        }
        parked.unpark();
    }
}

#[test]
fn no_wake_up_is_missed() {
    explore(3, || {
        let (mut tx, rx) = channel(2);
        let (parked, ring) = (Parked::new(), Arc::new(Notify::new()));
        let (flag, rung) = (parked.clone(), ring.clone());
        let sleeper = thread::spawn(move || consume(&mut [rx], &flag, &rung, 2));
        for i in 0..2 {
            push(&mut tx, i);
            if parked.must_wake() {
                ring.notify();
            }
        }
        sleeper.join().unwrap();
    });
}

#[test]
fn one_of_two_pushers_wakes() {
    explore(2, || {
        let ((mut a, from_a), (mut b, from_b)) = (channel(1), channel(1));
        let (parked, ring) = (Parked::new(), Arc::new(Notify::new()));
        let (flag, rung) = (parked.clone(), ring.clone());
        let sleeper = thread::spawn(move || consume(&mut [from_a, from_b], &flag, &rung, 2));
        let (other, also) = (parked.clone(), ring.clone());
        let pusher = thread::spawn(move || {
            push(&mut a, 1);
            if other.must_wake() {
                also.notify();
            }
        });
        push(&mut b, 1);
        if parked.must_wake() {
            ring.notify();
        }
        pusher.join().unwrap();
        sleeper.join().unwrap();
    });
}

/// The log's tail: a block that grows while another core reads what is there.
#[test]
fn readers_see_what_was_published() {
    explore(3, || {
        let mut pool = BlockPool::new(4096);
        let mut block = pool.take(4096).unwrap();
        let early: Block = block.block();
        let reader = thread::spawn(move || assert!(b"ab".starts_with(early.bytes())));
        block.append(b"a");
        block.append(b"b");
        reader.join().unwrap();
    });
}

/// The pool's only block is read elsewhere, comes home, and is written again.
#[test]
fn memory_is_used_again() {
    explore(3, || {
        let mut pool = BlockPool::new(4096);
        let (mut tx, mut rx) = channel::<Span>(1);
        let reader = thread::spawn(move || assert_eq!(pop(&mut rx).bytes(), b"a"));
        let mut block = pool.take(4096).unwrap();
        block.append(b"a");
        push(&mut tx, block.span(0, 1));
        drop(block);
        let mut again = loop {
            match pool.take(4096) {
                Some(block) => break block,
                None => thread::yield_now(),
            }
        };
        again.append(b"b");
        reader.join().unwrap();
    });
}

/// Two readers on two cores drop the last two handles of one block, and another block comes home beside it.
#[test]
fn handles_race_home() {
    explore(2, || {
        let mut pool = BlockPool::new(2 * 4096);
        let mut block = pool.take(4096).unwrap();
        block.append(b"a");
        let (one, two) = (block.span(0, 1), block.span(0, 1));
        let other = pool.take(4096).unwrap();
        drop(block);
        let reader = thread::spawn(move || {
            assert_eq!(one.bytes(), b"a");
            drop(one);
        });
        let third = thread::spawn(move || drop(other));
        assert_eq!(two.bytes(), b"a");
        drop(two);
        let mut again = loop {
            match pool.take(4096) {
                Some(block) => break block,
                None => thread::yield_now(),
            }
        };
        again.append(b"b");
        reader.join().unwrap();
        third.join().unwrap();
        drop(again);
        assert_eq!(pool.usage().taken, 0);
    });
}

/// The pool goes while a block is on its way home: nobody frees it twice, and somebody does (the checker tells what leaks).
#[test]
fn handles_outlive_their_pool() {
    explore(3, || {
        let mut pool = BlockPool::new(4096);
        let mut block = pool.take(4096).unwrap();
        block.append(b"a");
        let (one, two) = (block.span(0, 1), block.span(0, 1));
        drop(block);
        let reader = thread::spawn(move || assert_eq!(one.bytes(), b"a"));
        let third = thread::spawn(move || assert_eq!(two.bytes(), b"a"));
        drop(pool);
        reader.join().unwrap();
        third.join().unwrap();
    });
}
