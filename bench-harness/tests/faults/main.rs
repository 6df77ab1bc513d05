//! What surrounds the real broker fails: devices (writes, flushes and reads that end with EIO, flushes that do not end, disks that
//! are full), and the clock (`clock.rs`). Failing devices need root, /dev/fuse and loop devices; where they are missing it is said.

mod clock;
mod disk;
mod load;

use disk::Disk;
use load::{STORAGE_ERROR, TOPIC, Writer, connect, placed, places, read, read_all};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use ringlog_bench_harness::broker::{Broker, Options};
use ringlog_bench_harness::peer::{Peer, Producer, batch};
use ringlog_bench_harness::wait::until;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Partitions of the topic.
const PARTITIONS: i32 = 8;
/// Acknowledged in each partition before and after what is tried.
const SOME: usize = 20;
/// Bytes of a value that goes into a journal, and of one that goes straight to its segment.
const SMALL: usize = 200;
const LARGE: usize = 40_000;
/// What the device does not take, or give back.
const MARK: &[u8] = b"not on this device";
/// How long the broker may take to see that it has to end.
const END: Duration = Duration::from_secs(20);

/// Two shards, with these log directories; that of the metadata is the last.
fn prepare(name: &str, dirs: &[&Path]) -> Broker {
    let mut broker = Broker::prepare(name, Options::default());
    let own = broker.data_dir();
    let mut dirs = dirs.to_vec();
    dirs.push(&own);
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    with_dirs(&mut broker, &dirs);
    broker
}

fn with_dirs(broker: &mut Broker, dirs: &[String]) {
    let settings = [
        "ringlog.cores=0,0",
        "ringlog.journal.bytes=33554432",
        "ringlog.memory.bytes=268435456",
        "ringlog.destage.bytes=4096",
        "ringlog.disk.reserve.bytes=0",
    ];
    broker.options_mut().overrides = settings.map(str::to_string).to_vec();
    broker.options_mut().overrides.push(format!("log.dirs={}", dirs.join(",")));
    broker.options_mut().overrides.push(format!("metadata.log.dir={}", dirs.last().expect("one at least")));
}

/// A running broker whose only directory is on the disk.
fn on(disk: &Disk) -> Broker {
    let mut broker = Broker::prepare("only", Options::default());
    with_dirs(&mut broker, &[disk.dir().display().to_string()]);
    broker.launch();
    broker
}

/// A producer of each partition, each with `SOME` acknowledged.
fn everywhere(broker: &Broker, size: usize) -> Vec<Writer> {
    connect(broker.addr()).create_topic(TOPIC, PARTITIONS).expect("a topic");
    let mut writers: Vec<_> = (0..PARTITIONS).map(|partition| Writer::new(broker.addr(), partition, size)).collect();
    writers.iter_mut().for_each(|writer| writer.put_many(SOME));
    writers
}

/// A producer of each partition: those in `dir`, and the others.
fn writers(broker: &Broker, dir: &Path, size: usize) -> (Vec<Writer>, Vec<Writer>) {
    let mut peer = connect(broker.addr());
    peer.create_topic(TOPIC, PARTITIONS).expect("a topic");
    let there = placed(&mut peer, dir);
    let all = (0..PARTITIONS).map(|partition| Writer::new(broker.addr(), partition, size));
    let (inside, outside): (Vec<_>, Vec<_>) = all.partition(|writer| there.contains(&writer.partition));
    assert!(!outside.is_empty());
    (inside, outside)
}

fn counts(writers: &[Writer]) -> Vec<usize> {
    writers.iter().map(|writer| writer.acked.len()).collect()
}

/// Runs all producers at once. `fault` comes when all have written `SOME`; those `inside` must end refused, those `outside` go on
/// until they have written `SOME` more.
fn under_load(inside: &mut [Writer], outside: &mut [Writer], fault: impl FnOnce()) {
    for writer in inside.iter_mut().chain(outside.iter_mut()) {
        writer.put_many(SOME);
    }
    let (stop, begun) = (AtomicBool::new(false), counts(outside));
    std::thread::scope(|scope| {
        let stop = &stop;
        let failing: Vec<_> = inside.iter_mut().map(|w| scope.spawn(move || w.write_until(stop))).collect();
        let going: Vec<_> =
            outside.iter_mut().map(|w| (w.count.clone(), scope.spawn(move || w.write_until(stop)))).collect();
        fault();
        for writer in failing {
            assert!(writer.join().expect("no panic"), "it goes on");
        }
        for ((count, _), begun) in going.iter().zip(&begun) {
            let now = count.load(Ordering::Acquire).max(*begun);
            until("the other directory goes on", || count.load(Ordering::Acquire) >= now + SOME);
        }
        stop.store(true, Ordering::Release);
        for (_, writer) in going {
            assert!(!writer.join().expect("no panic"), "the other directory refuses");
        }
    });
}

/// One directory out of service, the other not: what clients see, and what is there after a restart.
fn one_out_of_service(mut broker: Broker, disk: &Disk, inside: &mut [Writer], outside: &mut [Writer]) {
    for _ in 0..3 {
        for writer in inside.iter_mut() {
            writer.assert_out_of_service();
        }
        for writer in outside.iter_mut() {
            writer.put_many(1);
            writer.assert_kept();
        }
    }
    let mut peer = connect(broker.addr());
    until("every core tells of it", || {
        let told = places(&mut peer);
        assert_eq!(told[&broker.data_dir().display().to_string()].0, 0);
        told[&disk.dir().display().to_string()].0 == STORAGE_ERROR
    });
    broker.assert_alive();
    let log = broker.log();
    assert!(log.contains(&format!("error: log directory {}: ", disk.dir().display())), "{log}");

    broker.kill9();
    disk.fail_writes(None);
    disk.remount();
    broker.launch();
    kept_and_going_on(&broker, inside.iter_mut().chain(outside));
}

/// After a restart everything acknowledged is there, and what was refused is tried again, as a client would.
fn kept_and_going_on<'a>(broker: &Broker, writers: impl IntoIterator<Item = &'a mut Writer>) {
    for writer in writers {
        writer.reconnect(broker.addr());
        writer.assert_kept();
        writer.put_many(SOME);
        writer.assert_kept();
    }
}

#[test]
fn a_failed_flush_takes_one_directory_out_of_service() {
    if !disk::possible() {
        return;
    }
    let disk = Disk::new("flush");
    let mut broker = prepare("flush", &[&disk.dir()]);
    broker.launch();
    let (mut inside, mut outside) = writers(&broker, &disk.dir(), SMALL);
    under_load(&mut inside, &mut outside, || disk.fail_flush());
    one_out_of_service(broker, &disk, &mut inside, &mut outside);
}

#[test]
fn a_failed_write_takes_one_directory_out_of_service() {
    if !disk::possible() {
        return;
    }
    for size in [SMALL, LARGE] {
        let disk = Disk::new("write");
        let mut broker = prepare("write", &[&disk.dir()]);
        broker.launch();
        let (mut inside, mut outside) = writers(&broker, &disk.dir(), size);
        disk.fail_writes(Some(MARK));
        for writer in inside.iter_mut().chain(&mut outside) {
            writer.put_many(SOME);
        }
        // All of this directory are refused, although one only asked for what fails.
        inside[0].mark = MARK;
        assert_eq!(inside[0].put(), Err(STORAGE_ERROR));
        inside[0].mark = b"";
        for writer in &mut inside {
            assert!(writer.write_until(&AtomicBool::new(false)), "refused as soon as its core has heard of it");
        }
        one_out_of_service(broker, &disk, &mut inside, &mut outside);
    }
}

/// A start whose first commit fails has not said yet how its partitions are: the journals of the start before stay.
#[test]
fn a_first_commit_that_fails_loses_nothing() {
    if !disk::possible() {
        return;
    }
    let disk = Disk::new("first");
    let mut broker = prepare("first", &[&disk.dir()]);
    broker.launch();
    let (mut inside, mut outside) = writers(&broker, &disk.dir(), SMALL);
    for writer in inside.iter_mut().chain(&mut outside) {
        writer.put_many(SOME);
    }
    broker.kill9();
    // Every frame of a journal begins so.
    disk.fail_writes(Some(b"RLJF"));
    broker.launch();
    disk.wait_refused();
    for writer in inside.iter_mut().chain(&mut outside) {
        writer.reconnect(broker.addr());
    }
    for writer in &mut inside {
        assert!(writer.write_until(&AtomicBool::new(false)), "refused as soon as its core has heard of it");
    }
    one_out_of_service(broker, &disk, &mut inside, &mut outside);
}

/// The same where it is the only directory: the broker ends, and the next start finds everything.
#[test]
fn a_start_that_fails_at_its_first_commit_loses_nothing() {
    if !disk::possible() {
        return;
    }
    let disk = Disk::new("only");
    let mut broker = on(&disk);
    let mut writers = everywhere(&broker, SMALL);
    broker.kill9();
    disk.fail_writes(Some(b"RLJF"));
    broker.spawn();
    assert_eq!(broker.wait(END).code(), Some(1));
    disk.fail_writes(None);
    disk.remount();
    broker.launch();
    kept_and_going_on(&broker, &mut writers);
}

#[test]
fn the_broker_ends_when_the_last_directory_fails() {
    if !disk::possible() {
        return;
    }
    let disks = [Disk::new("last-a"), Disk::new("last-b")];
    let [a, b] = [disks[0].dir(), disks[1].dir()];
    let mut broker = Broker::prepare("last", Options::default());
    with_dirs(&mut broker, &[&a, &b].map(|dir| dir.display().to_string()));
    broker.launch();
    let (mut inside, mut outside) = writers(&broker, &b, SMALL);
    // The metadata's own directory goes first: what is there already is served on.
    under_load(&mut inside, &mut outside, || disks[1].fail_flush());
    broker.assert_alive();
    disks[0].fail_flush();
    assert!(outside.iter_mut().all(Writer::write_until_gone));
    let status = broker.wait(END);
    assert_eq!(status.code(), Some(1));
    let log = broker.log();
    assert!(log.ends_with("error: every log directory failed; the broker ends\n"), "{log}");
    for disk in &disks {
        disk.remount();
    }
    broker.launch();
    kept_and_going_on(&broker, inside.iter_mut().chain(&mut outside));
}

#[test]
fn a_failed_read_refuses_that_range_and_no_other() {
    if !disk::possible() {
        return;
    }
    const MARKED: usize = 60;
    let disk = Disk::new("read");
    let mut broker = prepare("read", &[&disk.dir()]);
    broker.launch();
    let (mut inside, mut outside) = writers(&broker, &disk.dir(), LARGE);
    for writer in inside.iter_mut().chain(&mut outside) {
        writer.put_many(MARKED);
    }
    let rotten = inside[0].partition;
    inside[0].mark = MARK;
    inside[0].put_many(1);
    inside[0].mark = b"";
    inside[0].put_many(MARKED);
    // Nothing is in memory then, and everything is in segments.
    broker.kill9();
    broker.launch();
    disk.fail_reads(Some(MARK));
    let mut peer = connect(broker.addr());
    for round in 0..2 {
        // Everything before it, a piece at a time; then nothing, each time it is asked for.
        let mut next = 0;
        let refused = loop {
            match read(&mut peer, rotten, next) {
                Ok(records) => next = records.last().expect("it does not end here").offset + 1,
                Err(code) => break code,
            }
        };
        assert_eq!(refused, STORAGE_ERROR);
        // The read that failed brings up to a mebibyte.
        assert!(
            next <= MARKED as i64 && next + (1 << 20) / LARGE as i64 >= MARKED as i64,
            "round {round}: up to {next}"
        );
        let behind = MARKED as i64 + 30;
        let got = read(&mut peer, rotten, behind).expect("what is behind it is served");
        assert_eq!(got[0].offset, behind);
        for writer in inside[1..].iter_mut().chain(&mut outside) {
            if round == 0 {
                writer.reconnect(broker.addr());
            }
            writer.assert_kept();
            writer.put_many(1);
        }
    }
    inside[0].reconnect(broker.addr());
    inside[0].put_many(1);
    let log = broker.log();
    assert!(log.contains("this range is refused"), "{log}");
    // A device that mends is read again: nothing was cut.
    disk.fail_reads(None);
    inside[0].assert_kept();
    assert_eq!(read_all(&mut peer, rotten).len(), 2 * MARKED + 2);
}

/// The high watermark.
fn visible(peer: &mut Peer, topic: &str) -> i64 {
    peer.fetch(topic, 0, 0).expect("it is served").high_watermark
}

/// Nothing came on a connection. What was written was acknowledged, if it was, before a later request of another connection
/// was answered.
fn is_silent(peer: &mut Peer) -> bool {
    let stream = peer.stream();
    stream.set_nonblocking(true).expect("a socket");
    let found = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("a socket");
    matches!(found, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn only_relaxed_topics_are_acknowledged_and_seen_before_the_flush() {
    if !disk::possible() {
        return;
    }
    let disk = Disk::new("held");
    let broker = on(&disk);
    let (mut writing, mut reading) = (connect(broker.addr()), connect(broker.addr()));
    writing.create_topic_with("relaxed", 1, &[("ringlog.flush", "relaxed")]).expect("a topic");
    writing.create_topic("durable", 1).expect("a topic");
    let record = batch(Producer { id: -1, epoch: -1 }, -1, &[b"v".to_vec()]);
    for topic in ["relaxed", "durable"] {
        writing.send_batch(topic, 0, -1, &record).expect("sent");
        assert_eq!(writing.receive_batch().expect("an answer"), Ok(0));
        assert_eq!(visible(&mut reading, topic), 1);
    }

    for acks in [1, -1] {
        let before = visible(&mut reading, "relaxed");
        disk.hold_flushes();
        writing.send_batch("relaxed", 0, acks, &record).expect("sent");
        disk.wait_held();
        assert_eq!(writing.receive_batch().expect("an answer"), Ok(before), "acks={acks}");
        assert_eq!(visible(&mut reading, "relaxed"), before + 1, "acks={acks}");
        disk.let_flushes_go();
    }

    disk.hold_flushes();
    writing.send_batch("durable", 0, 1, &record).expect("sent");
    disk.wait_held();
    assert_eq!(writing.receive_batch().expect("an answer"), Ok(1), "acks=1 is written, no more");
    assert_eq!(visible(&mut reading, "durable"), 1, "and nobody sees it");
    disk.let_flushes_go();
    until("it is seen once flushed", || visible(&mut reading, "durable") == 2);

    disk.hold_flushes();
    writing.send_batch("durable", 0, -1, &record).expect("sent");
    disk.wait_held();
    assert_eq!(visible(&mut reading, "durable"), 2);
    assert!(is_silent(&mut writing), "acks=all waits for the flush");
    disk.let_flushes_go();
    assert_eq!(writing.receive_batch().expect("an answer"), Ok(2));
    assert_eq!(visible(&mut reading, "durable"), 3);
}

/// Takes everything that is free.
fn fill(dir: &Path) {
    let path = dir.join("filler");
    let file = File::options().append(true).create(true).open(path).expect("room for a name");
    let mut size = 1 << 30;
    while size >= 4096 {
        let at = file.metadata().expect("it is open").len() as i64;
        match fallocate(&file, FallocateFlags::empty(), at, size) {
            Ok(()) => {}
            Err(Errno::ENOSPC) => size /= 2,
            Err(error) => panic!("filling the disk: {error}"),
        }
    }
    file.sync_all().expect("a good disk");
}

#[test]
fn a_full_disk_refuses_writes_serves_the_rest_and_starts() {
    if !disk::possible() {
        return;
    }
    let disk = Disk::new("full");
    let mut broker = on(&disk);
    let mut writers = everywhere(&broker, LARGE);
    for start in 0..3 {
        connect(broker.addr()).create_topic(&format!("gone-{start}"), 1).expect("a topic");
    }
    let root = disk.dir().parent().expect("the mount").to_path_buf();
    fill(&root);
    for start in 0..3 {
        for writer in &mut writers {
            assert!(writer.write_until(&AtomicBool::new(false)), "there is no room");
            writer.assert_kept();
        }
        assert_eq!(connect(broker.addr()).delete_topic(&format!("gone-{start}")).map_err(|e| e.to_string()), Ok(()));
        broker.assert_alive();
        broker.kill9();
        // What the deletion left free is somebody else's now.
        fill(&root);
        broker.launch();
        for writer in &mut writers {
            writer.reconnect(broker.addr());
        }
    }
    std::fs::remove_file(root.join("filler")).expect("ours");
    for writer in &mut writers {
        // The file system frees what was removed in its own time.
        let enough = writer.acked.len() + SOME;
        until("it is taken again", || writer.put().is_ok() && writer.acked.len() >= enough);
        writer.assert_kept();
    }
}
