//! The planted bugs of the store and of recovery: what a crash shows is found by a few lives of a store, the rest by what it takes.

use super::*;
use ringlog_engine::probe::{Bug, plant};
use ringlog_engine::producer::Check;
use ringlog_shard::io::memory::Span;
use ringlog_shard::store::PartIdx;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bugs that a few lives with their crashes and reads show.
const SHOWN_BY_CRASHES: [Bug; 17] = [
    Bug::AckBeforeFlush,
    Bug::RaggedEndForgotten,
    Bug::UnzeroedCovered,
    Bug::WaitersLeftBehind,
    Bug::SettledTooEarly,
    Bug::LapGivenUpEarly,
    Bug::TornBatchKept,
    Bug::UnflushedProven,
    Bug::TornFrameAHole,
    Bug::StartSegmentRemoved,
    Bug::DestageUnflushed,
    Bug::LengthNotFlushed,
    Bug::TrimForgotten,
    Bug::TrimLostAtLap,
    Bug::BuriedTooEarly,
    Bug::IndexOffByOne,
    Bug::StaleReadAhead,
];
/// Seeds tried for each.
const SEEDS: u64 = 60;

/// Does `see` with the bug planted.
fn with<T>(bug: Option<Bug>, see: impl FnOnce() -> T) -> T {
    plant(bug);
    let seen = see();
    plant(None);
    seen
}

/// What is seen, as it should be and with the bug.
fn shows<T: PartialEq + std::fmt::Debug>(bug: Bug, see: impl Fn() -> T, right: T, wrong: T) {
    assert_eq!(see(), right);
    assert_eq!(with(Some(bug), see), wrong, "{bug:?}");
}

#[test]
fn crashes_show_what_loses_records() {
    for bug in SHOWN_BY_CRASHES {
        let ends_well = |seed: u64| {
            let lives = || Run::new(seed, None, "planted").lives(4, 1500);
            with(Some(bug), || catch_unwind(AssertUnwindSafe(lives))).is_ok()
        };
        assert!(!(1..SEEDS).all(ends_well), "{bug:?} was not seen");
    }
}

/// A run with one partition and no random load.
fn quiet(sizes: impl FnOnce(&mut Sizes)) -> (Run, PartitionKey) {
    let mut of_run = Sizes {
        half: 256 << 10,
        direct_min: 16 << 10,
        destage: 8 << 10,
        segment: 1 << 20,
        memory: 16 << 20,
        delete_delay_ms: 0,
        batch_max: 40 << 10,
        partitions: 0,
        one_flush_covers: true,
    };
    sizes(&mut of_run);
    let mut run = Run::new(1, Some(of_run), "quiet");
    let key = run.create();
    let part = run.store.find(key).unwrap();
    run.store.get_mut(part).unwrap().config.relaxed = false;
    run.models.get_mut(&key).unwrap().relaxed = false;
    (run, key)
}

impl Run {
    /// Appends a batch with acks=all, as of a producer; says the producer's next sequence.
    fn append_of(&mut self, part: PartIdx, header: &BatchHeader, body: &[u8]) {
        let to = self.waiter(Wait::Start { key: self.store.get(part).unwrap().key, offset: 0 });
        let now = self.disk.now();
        self.store.append(now, part, (header, Rope::of(body)), -1, to).expect("there is room");
    }

    /// Ends what is in flight but flushes.
    fn write(&mut self) {
        self.turn();
        while let Some(done) = self.disk.complete_but_no_flush() {
            self.done(done);
        }
    }

    /// Reads until it is there.
    fn read_whole(&mut self, part: PartIdx, offset: i64) -> ringlog_shard::mail::ReadAnswer {
        loop {
            let ask = ReadAt { offset, max_bytes: 256 << 10, at_least_one: true };
            let answer = self.store.read(&mut self.disk, part, ask);
            if !answer.pending {
                return answer;
            }
            while let Some(done) = self.disk.complete(&mut self.random) {
                self.done(done);
            }
        }
    }
}

fn idempotent(random: &mut Random) -> (BatchHeader, Vec<u8>) {
    let (mut header, body) = batch(random, 500);
    (header.producer_id, header.producer_epoch, header.base_sequence) = (7, 0, 0);
    header.crc = checksum(&header.encode(), Rope::of(&body));
    (header, body)
}

#[test]
fn before_the_flush() {
    let high_watermark = || {
        let (mut run, key) = quiet(|_| ());
        let part = run.store.find(key).unwrap();
        run.append(key, 500);
        run.write();
        run.store.get(part).unwrap().log.high_watermark() > 0
    };
    shows(Bug::VisibleAtWritten, high_watermark, false, true);
    let read_above = || {
        let (mut run, key) = quiet(|_| ());
        let part = run.store.find(key).unwrap();
        run.append(key, 500);
        run.quiesce();
        let durable: usize = run.models[&key].batches.iter().map(|b| b.bytes.len()).sum();
        run.append(key, 500);
        let answer = run.read_whole(part, 0);
        answer.spans.iter().map(Span::len).sum::<usize>() > durable
    };
    shows(Bug::ReadPastVisible, read_above, false, true);
    let retry_answered = || {
        let (mut run, key) = quiet(|_| ());
        let part = run.store.find(key).unwrap();
        let (header, body) = idempotent(&mut run.random);
        run.append_of(part, &header, &body);
        run.append_of(part, &header, &body);
        run.store.settled.len()
    };
    shows(Bug::RetryAnsweredEarly, retry_answered, 0, 1);
}

/// A flush fails, whichever comes next: is there a run in which the directory is not given up?
#[test]
fn failed_flushes() {
    let goes_on = || {
        (1..40).any(|seed| {
            let mut run = Run::new(seed, None, "flush");
            (0..600).for_each(|_| run.step(8));
            run.tolerant = true;
            run.disk.fail = Some(Fail::Sync(libc::EIO));
            let failed = (0..600).any(|_| {
                run.step(8);
                run.disk.fail.is_none()
            });
            failed && run.store.dirs[0].latched.is_none()
        })
    };
    shows(Bug::FlushErrorIgnored, goes_on, false, true);
    shows(Bug::CoverErrorIgnored, goes_on, false, true);
}

#[test]
fn a_full_disk() {
    let ends_well = || {
        let run = || with_failure(3, Fail::Allocate(libc::ENOSPC), "full");
        catch_unwind(AssertUnwindSafe(run)).is_ok()
    };
    shows(Bug::FullDiskIgnored, ends_well, true, false);
}

/// The producer's batch is in a state by the second restart, and in no frame of its own.
#[test]
fn producers_after_restarts() {
    let retry = || {
        let (mut run, key) = quiet(|_| ());
        let (header, body) = idempotent(&mut run.random);
        let part = run.store.find(key).unwrap();
        run.append_of(part, &header, &body);
        let (base, next) = (0, i64::from(header.last_offset_delta) + 1);
        let mut bytes = header.encode().to_vec();
        bytes.extend(&body);
        bytes[12..16].copy_from_slice(&0i32.to_be_bytes());
        run.models.get_mut(&key).unwrap().batches.push(Batch { base, next, bytes, acked: true });
        for _ in 0..2 {
            run.quiesce();
            run.crash(true);
        }
        let part = run.store.find(key).unwrap();
        run.store.get(part).unwrap().log.producers.check(&header) == Ok(Check::New)
    };
    shows(Bug::LastBatchNotRemembered, retry, false, true);
}

/// A segment that is sealed, in its file alone, and was read from there before.
fn read_from_file(run: &mut Run, key: PartitionKey) -> PartIdx {
    let part = run.store.find(key).unwrap();
    while run.store.get(part).unwrap().log.segments().count() < 4 {
        run.append(key, 30 << 10);
        run.quiesce();
    }
    run.read_whole(part, 0);
    part
}

#[test]
fn a_range_of_a_file() {
    let recycled = || {
        let (mut run, key) = quiet(|sizes| sizes.segment = 2 << 20);
        run.store.limits.range_min = 64 << 10;
        let part = read_from_file(&mut run, key);
        while run.store.get_mut(part).unwrap().cold.evict() > 0 {}
        let range = run.read_whole(part, 0).range;
        assert!(range.is_some(), "it was read from its file before");
        let second = run.store.get(part).unwrap().log.segments().nth(1).unwrap().base;
        let to = run.waiter(Wait::Start { key, offset: second });
        run.store.delete_records(part, second, to).unwrap();
        run.quiesce();
        for _ in 0..3 {
            run.turn();
            run.quiesce();
        }
        assert_eq!(run.store.get(part).unwrap().log.log_start(), second);
        run.store.dirs[0].recycled.files.len()
    };
    shows(Bug::RecycledUnderRange, recycled, 0, 1);
}

#[test]
fn rot() {
    let rotten = || {
        let (mut run, key) = quiet(|_| ());
        read_from_file(&mut run, key);
        run.quiesce();
        let (from, to) = (run.dir(), run.root.0.join("1"));
        run.disk.crash(&mut run.random, &from, &to);
        let path = files::segment(&to, &topic(key), key, 0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let booted = start(&to, &run.sizes, &mut run.random).unwrap();
        let held = booted.dirs[0].partitions.iter().map(|p| (p.key, (0, p.log.next_offset()))).collect();
        run.adopt(&to, booted, &held);
        let part = run.store.find(key).unwrap();
        run.read_whole(part, 0).error
    };
    shows(Bug::RotServed, rotten, ErrorCode::KafkaStorageError, ErrorCode::None);
}
