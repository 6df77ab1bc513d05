//! Blocks: what readers see, when memory is used again, and races home between real threads.

use super::memory::*;
use std::sync::mpsc;

#[test]
fn readers_see_what_was_appended() {
    let mut pool = BlockPool::new(1 << 20);
    let mut block = pool.take(10).unwrap();
    assert_eq!((block.capacity(), block.len(), block.remaining()), (4096, 0, 4096));
    assert_eq!(block.unwritten().as_ptr() as usize % BLOCK_ALIGN, 0);
    block.append(b"hello");
    let early = block.block();
    let span = block.span(1, 3);
    assert_eq!(span.bytes(), b"ell");
    assert_eq!(span.slice(1, 2).bytes(), b"ll");
    assert_eq!(block.pad_to_multiple(4096), 4091);
    assert_eq!(block.pad_to_multiple(4096), 0);
    assert_eq!(early.bytes().len(), 4096);
    assert!(early.bytes()[5..].iter().all(|b| *b == 0));
}

#[test]
#[should_panic(expected = "append of 4097 bytes to a block with 4096 of 4096 left")]
fn append_beyond_the_capacity_panics_with_numbers() {
    BlockPool::new(1 << 20).take(1).unwrap().append(&[0; 4097]);
}

#[test]
#[should_panic(expected = "span 0+3 of a block with 2 bytes")]
fn a_span_of_unpublished_bytes_panics() {
    let mut block = BlockPool::new(1 << 20).take(1).unwrap();
    block.append(b"ab");
    block.span(0, 3);
}

#[test]
fn a_block_is_reused_only_after_its_last_handle() {
    let mut pool = BlockPool::new(4096);
    let mut block = pool.take(4096).unwrap();
    block.append(b"x");
    let span = block.span(0, 1);
    drop(block);
    assert!(pool.take(1).is_none());
    assert_eq!(pool.usage(), PoolUse { taken: 4096, free: 0, budget: 4096 });
    assert_eq!(span.bytes(), b"x");
    drop(span);
    assert_eq!(pool.usage(), PoolUse { taken: 0, free: 4096, budget: 4096 });
    assert_eq!(pool.take(1).unwrap().len(), 0);
}

#[test]
fn classes_round_up_and_large_blocks_are_exact() {
    let mut pool = BlockPool::new(64 << 20);
    let sizes = [(1, 4096), (4097, 8192), (65536, 65536), (1 << 20, 1 << 20), ((1 << 20) + 1, (1 << 20) + 4096)];
    for (asked, capacity) in sizes {
        assert_eq!(pool.take(asked).unwrap().capacity(), capacity, "asked {asked}");
    }
    assert!(pool.take(65 << 20).is_none());
    assert!(pool.take(usize::MAX).is_none());
    assert_eq!(pool.usage().taken, 0);
}

#[test]
fn free_blocks_of_other_classes_make_room() {
    let mut pool = BlockPool::new(1 << 20);
    assert!(pool.reserve(64 << 10, 16));
    assert!(!pool.reserve(64 << 10, 17));
    let kept = pool.take(64 << 10).unwrap();
    assert!(pool.take(1 << 20).is_none(), "a block in use cannot make room");
    assert!(pool.take(512 << 10).is_some());
    drop(kept);
    assert!(pool.take(1 << 20).is_some());
}

#[test]
fn blocks_outlive_their_pool() {
    let mut pool = BlockPool::new(8 << 20);
    let mut block = pool.take(4096).unwrap();
    let mut large = pool.take(3 << 20).unwrap();
    drop(pool.take(4096));
    drop(pool);
    block.append(b"still here");
    large.append(&[7; 3 << 20]);
    assert_eq!(block.bytes(), b"still here");
    assert_eq!(large.block().bytes()[(3 << 20) - 1], 7);
}

#[test]
fn blocks_come_home_from_another_core() {
    const ROUNDS: u32 = if cfg!(miri) { 100 } else { 20_000 };
    let mut pool = BlockPool::new(8 * 4096);
    let (to, from) = mpsc::sync_channel::<(u32, Vec<Span>)>(4);
    let reader = std::thread::spawn(move || {
        let mut read = 0;
        for (round, spans) in from {
            for span in spans {
                assert!(span.bytes().chunks(4).all(|c| c == round.to_le_bytes()));
                read += 1;
            }
        }
        read
    });
    let (mut sent, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let Some(mut block) = pool.take(4096) else {
            refused += 1;
            std::thread::yield_now();
            continue;
        };
        for _ in 0..16 {
            block.append(&round.to_le_bytes());
        }
        to.send((round, vec![block.span(0, 32), block.span(32, 32)])).unwrap();
        sent += 2;
    }
    drop(to);
    assert_eq!(reader.join().unwrap(), sent);
    assert!(sent > 0 && refused < ROUNDS);
    assert_eq!(pool.usage().taken, 0);
    assert!(pool.usage().free <= 8 * 4096);
}

/// The last handle may be dropped on either side, and right before, after or while the pool goes.
#[test]
fn handles_race_home() {
    const ROUNDS: u32 = if cfg!(miri) { 6 } else { 300 };
    for round in 0..ROUNDS {
        let mut pool = BlockPool::new(64 * 4096);
        let spans: Vec<Span> = (0..64)
            .map(|i| {
                let mut block = pool.take(4096).unwrap();
                block.append(&[i; 64]);
                block.span(0, 64)
            })
            .collect();
        let copies = spans.clone();
        let other = std::thread::spawn(move || {
            for (i, span) in copies.into_iter().enumerate() {
                assert_eq!(span.bytes(), [i as u8; 64]);
            }
        });
        drop(spans);
        if round % 2 == 0 {
            other.join().unwrap();
            assert_eq!(pool.usage(), PoolUse { taken: 0, free: 64 * 4096, budget: 64 * 4096 });
        } else {
            drop(pool);
            other.join().unwrap();
        }
    }
}
