//! Runs against a real `ringlog`, each kind of workload for a second or so: every check of the records passes, and counts add up.

use super::{load, sound};
use ringlog_bench_harness::bench::load::{Driver, Outcome};
use ringlog_bench_harness::bench::workload::{Acks, Codec, Duration, From, Keys, Size, Workload};
use ringlog_bench_harness::broker::Broker;

const DRIVERS: [Driver; 2] = [Driver::Ring, Driver::Glommio];

fn tiny(name: &str) -> Workload {
    let mut workload: Workload =
        serde_json::from_str(&format!(r#"{{"name": "{name}", "question": "does it work?"}}"#)).expect("a workload");
    workload.topics.partitions = 4;
    workload.producers.count = 2;
    workload.records.size = Size::Fixed(100);
    workload.run = Duration { warmup_seconds: 0.2, seconds: 1.0 };
    workload
}

fn broker(name: &str) -> Broker {
    Broker::start(name, &["ringlog.cores=0", "group.initial.rebalance.delay.ms=0"])
}

fn ran(broker: &Broker, workload: &Workload, driver: Driver) -> Outcome {
    let outcome =
        load(workload, broker.addr(), driver).unwrap_or_else(|why| panic!("{}, {driver:?}: {why}", workload.name));
    sound(&outcome);
    outcome
}

#[test]
fn closed_loops_of_many_shapes() {
    let broker = broker("bench-load-closed");
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (k, codec) in codecs.into_iter().enumerate() {
        let mut workload = tiny("closed");
        workload.producers.codec = codec;
        workload.producers.batch_records = 10;
        workload.producers.partitions_per_request = 1 + k as u32 % 2;
        workload.producers.idempotent = k % 2 == 0;
        workload.producers.acks = if k % 2 == 0 { Acks::All } else { Acks::Leader };
        workload.consumers.groups = 1;
        workload.records.size = Size::Uniform { from: 24, to: 2000 };
        let outcome = ran(&broker, &workload, DRIVERS[k % 2]);
        let (publish, fetch) = (&outcome.load.publish, &outcome.load.fetch);
        assert!(publish.requests > 10 && publish.records > 100, "{publish:?}");
        assert_eq!(publish.records, publish.requests * 10 * u64::from(workload.producers.partitions_per_request));
        assert!(fetch.records > 100 && outcome.load.end_to_end.latency.0.len() > 100, "{fetch:?}");
        let written: u64 = outcome.load.seconds.iter().map(|s| s.acked_records).sum();
        assert!(written >= publish.records, "{written}");
    }
}

#[test]
fn open_loops_keep_their_rate() {
    let broker = broker("bench-load-open");
    for driver in DRIVERS {
        for (linger, keys) in [
            (0, Keys::None),
            (5000, Keys::None),
            (5000, Keys::Zipf { count: 1000, exponent: 1.0 }),
            (0, Keys::Uniform { count: 50 }),
        ] {
            let mut workload = tiny("open");
            workload.producers.rate = Some(2000.0);
            workload.producers.linger_us = linger;
            workload.producers.batch_records = if linger > 0 { 10 } else { 2 };
            workload.records.keys = keys;
            workload.consumers.groups = 2;
            let outcome = ran(&broker, &workload, driver);
            assert_eq!(
                outcome.load.end_to_end.latency.0.len(),
                2 * 2000,
                "every record planned in the second, in both groups"
            );
        }
    }
}

#[test]
fn a_backlog_is_written_and_drained_or_read_again_and_again() {
    let broker = broker("bench-load-backlog");
    for (driver, from) in DRIVERS.into_iter().flat_map(|d| [(d, From::Start), (d, From::Tail)]) {
        let mut workload = tiny("backlog");
        workload.backlog = Some(serde_json::from_str(r#"{"bytes": 20000000}"#).expect("a backlog"));
        workload.producers.count = 0;
        workload.consumers.groups = 1;
        workload.consumers.from = from;
        workload.consumers.max_bytes = 1 << 20;
        let outcome = load(&workload, broker.addr(), driver);
        let _ = outcome.map(|outcome| {
            sound(&outcome);
            assert!(outcome.load.fetch.bytes > 20_000_000, "{:?}", outcome.load.fetch);
        });
    }
}
