//! Queues between two threads, and the parking protocol, on real threads: what a model of them cannot show is the machine.

use super::queue::*;
use std::sync::Arc;
use std::thread;

#[test]
fn keeps_order_and_refuses_when_full() {
    let (mut tx, mut rx) = channel::<u32>(3);
    for lap in 0..5 {
        for i in 0..4 {
            assert_eq!(tx.push(lap * 4 + i), Ok(()));
        }
        assert_eq!(tx.push(99), Err(99));
        for i in 0..4 {
            assert_eq!(rx.pop(), Some(lap * 4 + i));
        }
        assert_eq!(rx.pop(), None);
        assert!(rx.is_empty() && !tx.is_full());
    }
}

#[test]
fn drops_what_was_not_popped() {
    let counted = Arc::new(());
    let (mut tx, mut rx) = channel(8);
    for _ in 0..5 {
        tx.push(counted.clone()).unwrap();
    }
    drop(rx.pop());
    drop(tx);
    assert_eq!(Arc::strong_count(&counted), 5);
    drop(rx);
    assert_eq!(Arc::strong_count(&counted), 1);
}

#[test]
fn two_threads_move_every_value_in_order() {
    const COUNT: u64 = if cfg!(miri) { 200 } else { 500_000 };
    let (mut tx, mut rx) = channel::<Box<u64>>(64);
    let sender = thread::spawn(move || {
        for i in 0..COUNT {
            let mut value = Box::new(i);
            while let Err(back) = tx.push(value) {
                value = back;
                thread::yield_now();
            }
        }
    });
    for i in 0..COUNT {
        let value = loop {
            match rx.pop() {
                Some(value) => break value,
                None => thread::yield_now(),
            }
        };
        assert_eq!(*value, i);
    }
    sender.join().unwrap();
    assert_eq!(rx.pop(), None);
}

#[test]
fn only_one_pusher_is_told_to_wake() {
    let parked = Parked::new();
    assert!(!parked.must_wake());
    parked.park();
    let other = parked.clone();
    assert!(other.must_wake());
    assert!(!parked.must_wake());
    parked.park();
    parked.unpark();
    assert!(!other.must_wake());
}

/// The receiver really sleeps (thread parking stands in for the ring), so one missed wake-up hangs the test.
#[test]
fn no_wake_up_is_missed() {
    const COUNT: u32 = if cfg!(miri) { 100 } else { 50_000 };
    let (mut tx, mut rx) = channel::<u32>(4);
    let parked = Parked::new();
    let flag = parked.clone();
    let receiver = thread::spawn(move || {
        let mut expected = 0;
        while expected < COUNT {
            while let Some(value) = rx.pop() {
                assert_eq!(value, expected);
                expected += 1;
            }
            flag.park();
            if rx.is_empty() && expected < COUNT {
                thread::park();
            }
            flag.unpark();
        }
    });
    let mut wakes = 0;
    for i in 0..COUNT {
        while tx.push(i).is_err() {
            thread::yield_now();
        }
        if parked.must_wake() {
            wakes += 1;
            receiver.thread().unpark();
        }
    }
    receiver.join().unwrap();
    assert!(wakes <= COUNT);
}
