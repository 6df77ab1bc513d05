//! The bench's bare loops at a tiny scale: on every runtime every frame is answered with its checksum, and the file holds what was
//! sent.

use ringlog_bench_harness::bench::roofline::frames::{HEAD, Tape};
use ringlog_bench_harness::bench::roofline::measure::{self, LogFile, Setup, Want};
use ringlog_bench_harness::bench::roofline::shape::{Frames, Runtime, Shape, Variant};
use ringlog_bench_harness::bench::roofline::{frames, stage};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

const RUNTIMES: [Runtime; 3] = [Runtime::Ring, Runtime::Glommio, Runtime::Epoll];

/// Loads spin and the file is named by process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn setup() -> Setup {
    let cpus = core_affinity::get_core_ids().expect("the CPUs of this machine");
    Setup {
        exe: PathBuf::from(env!("CARGO_BIN_EXE_ringlog-bench")),
        cpu: cpus[0].id,
        load_cpu: cpus[cpus.len() - 1].id,
        dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        // More than is written meanwhile, so that nothing is written over: large frames follow a plan.
        file_bytes: 64 << 20,
        warm: Duration::from_millis(10),
        measure: Duration::from_millis(60),
    }
}

fn shape(variant: Variant, frames: &str, flushed: bool) -> Shape {
    Shape { variant, frames: frames.parse().expect("a shape"), flushed }
}

/// Runs one shape; the frames sent on each connection, and the payload that the file holds.
fn run(runtime: Runtime, shape: Shape, rate: Option<f64>) -> (Vec<u64>, Vec<u8>) {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let setup = setup();
    let file = LogFile::make(&setup).expect("a file");
    let name = format!("ringlog-roofline-{}", std::process::id());
    assert!(!setup.dir.join(name).exists(), "the file has no name that somebody would have to remove");
    let done = measure::once(&setup, &file, Want { runtime, shape, rate }, 10_000).expect("a run");
    assert!(done.run.ops_per_s > 0.0 && !done.latency.0.is_empty(), "{shape} on {runtime}");
    assert!(rate.is_none() || !done.lag.0.is_empty(), "{shape} on {runtime}");
    (done.frames, stage::read_back(file.path()).expect("what was written"))
}

/// What one connection sends: `count` frames' payloads, one after the other.
fn sent(frames: Frames, count: u64) -> impl Iterator<Item = u8> {
    let tape = Tape::new(frames.payload);
    let frame = tape.frame;
    (0..count as usize * frame).filter(move |k| k % frame >= HEAD).map(move |k| tape.bytes[k % tape.bytes.len()])
}

#[test]
fn every_frame_is_answered_without_a_disk() {
    for runtime in RUNTIMES {
        for frames in ["200:3x5", "5000:2x2", "300K:2x2"] {
            let (frames, written) = run(runtime, shape(Variant::Network, frames, false), None);
            assert!(frames.iter().all(|count| *count > 0) && written.is_empty());
        }
    }
}

#[test]
fn one_connections_frames_are_in_the_file_as_they_were_sent() {
    for runtime in RUNTIMES {
        for (frames, flushed, rate) in
            [("200:1x5", true, None), ("5000:1x1", false, None), ("300K:1x1", true, Some(500.0))]
        {
            let shape = shape(Variant::Both, frames, flushed);
            let (count, written) = run(runtime, shape, rate);
            let expected: Vec<u8> = sent(shape.frames, count[0]).collect();
            assert_eq!(written.len(), expected.len(), "{shape} on {runtime}");
            assert_eq!(frames::checksum(&written), frames::checksum(&expected), "{shape} on {runtime}");
        }
    }
}

#[test]
fn many_connections_frames_are_all_in_the_file() {
    // Pieces of connections alternate in the file, so bytes are counted.
    let count_into = |counts: &mut [u64; 256], bytes: &mut dyn Iterator<Item = u8>| {
        bytes.for_each(|byte| counts[usize::from(byte)] += 1);
    };
    for runtime in RUNTIMES {
        for (frames, rate) in [("200:8x5", None), ("70000:4x1", Some(3000.0))] {
            let shape = shape(Variant::Both, frames, true);
            let (frames, written) = run(runtime, shape, rate);
            let (mut expected, mut found) = ([0; 256], [0; 256]);
            frames.iter().for_each(|count| count_into(&mut expected, &mut sent(shape.frames, *count)));
            count_into(&mut found, &mut written.iter().copied());
            assert_eq!(found, expected, "{shape} on {runtime}");
        }
    }
}

#[test]
fn planned_frames_are_sent_and_answered() {
    for runtime in RUNTIMES {
        let shape = shape(Variant::Both, "1000:2x1", true);
        let (count, written) = run(runtime, shape, Some(5000.0));
        // 70 ms of them, from the first at 0 on.
        assert_eq!(count, [175, 175], "{runtime}");
        assert_eq!(written.len(), 350 * 1000, "{runtime}");
    }
}

#[test]
fn the_disk_alone_writes_groups() {
    for flushed in [false, true] {
        let (frames, written) = run(Runtime::Ring, shape(Variant::Disk, "200:4x5", flushed), None);
        assert!(frames.is_empty());
        assert_eq!(written.len(), 10_000, "each group has the same number, so one can be read back");
    }
}
