//! Produce and fetch neither allocate nor lock once warm, counted on the real binary: allocations, releases, mappings of memory, and
//! futex calls of every shard's thread (`shim.c`), during 100,000 requests each way (`load.rs`).
//!
//! What the measured part leaves out, as it happens once and not for each request: connections and topics being made, fetch sessions
//! and idempotent producers being new, segments being rolled (`segment.bytes` is large).

mod load;
mod watch;

use load::{CONNECTIONS, Load};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use ringlog_bench_harness::broker::{Broker, Options};
use watch::{Counts, KINDS, Phase, Watch};

/// Requests of each kind before and while it is measured.
const WARM_UP: u64 = 50_000;
const MEASURED: u64 = 100_000;
/// Times in the warm-up that everything is asked at once, and after it nothing appended: more of everything than comes later.
const BURSTS: usize = 10;

/// Two CPUs this process may use, or one twice: connections and partitions of one shard meet those of the other.
fn two_cores() -> String {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("our own CPUs");
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    format!("{},{}", cpus[0], cpus[1 % cpus.len()])
}

#[test]
fn produce_and_fetch_neither_allocate_nor_lock() {
    let overrides = vec![
        format!("ringlog.cores={}", two_cores()),
        "ringlog.memory.bytes=134217728".to_string(),
        // The measured part writes several laps of it.
        "ringlog.journal.bytes=16777216".to_string(),
    ];
    let mut broker = Broker::prepare("counting", Options { overrides, ..Options::default() });
    let watch = Watch::load(&mut broker);
    broker.launch();
    let pid = broker.pid();
    let mut load = Load::new(broker.addr());
    watch.enter(Phase::Watch);
    load.run(WARM_UP / 2);
    for _ in 0..BURSTS {
        load.burst(|stopped| broker.signal(if stopped { Signal::SIGSTOP } else { Signal::SIGCONT }));
        load.silence();
    }
    load.run(WARM_UP / 2);
    let shards = watch.shards(pid);
    assert_eq!(shards.len(), 2, "shards' threads: {shards:?}");
    let threads: Vec<usize> = shards.iter().map(|(thread, _)| *thread).collect();
    let before: Vec<Counts> = threads.iter().map(|thread| watch.counts(*thread)).collect();
    for ((_, caught), counts) in shards.iter().zip(&before) {
        assert_eq!(*caught, 1, "futex calls cannot be caught here: errno {}", -caught);
        // The shim sees what there is to see: a warm-up allocates, and each thread made one futex call to show it.
        assert!(counts[0] > 100 && counts[2] > 10 && counts[3] > 0 && counts[4] > 0, "{counts:?}");
    }
    watch.enter(Phase::Measure);
    let (produced, fetched) = load.run(MEASURED);
    assert!(produced >= MEASURED && fetched >= MEASURED, "{produced} produced, {fetched} fetched");
    broker.assert_alive();
    let mut told = String::new();
    for (thread, before) in threads.iter().zip(&before) {
        let after = watch.counts(*thread);
        for (k, kind) in KINDS.iter().enumerate().filter(|(k, _)| after[*k] != before[*k]) {
            told += &format!("thread {thread}: {} {kind}\n", after[k] - before[k]);
        }
    }
    assert!(
        told.is_empty(),
        "{CONNECTIONS} connections, {produced} produce requests, {fetched} fetches:\n{told}{}",
        watch.report(pid, &threads)
    );
}
