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
        let outcome = ran(&broker, &workload, driver);
        assert!(outcome.load.fetch.bytes > 20_000_000, "{:?}", outcome.load.fetch);
        assert_eq!(outcome.load.drain.is_some(), from == From::Start);
    }
}

#[test]
fn coordinated_groups_lose_nothing_while_members_come_and_go() {
    let broker = broker("bench-load-groups");
    for driver in DRIVERS {
        let mut workload = tiny("groups");
        workload.topics.count = 2;
        workload.producers.rate = Some(1000.0);
        workload.consumers.groups = 2;
        workload.consumers.count = 3;
        workload.consumers.coordinated = true;
        workload.consumers.commit_ms = 200;
        let outcome = ran(&broker, &workload, driver);
        assert!(outcome.load.rebalances.0.len() >= 6, "{:?}", outcome.load.rebalances);
        workload.consumers.churn_ms = Some(300);
        let joined = ran(&broker, &workload, driver).load.rebalances.0.len();
        assert!(joined > outcome.load.rebalances.0.len() + 4, "members that came and went: {joined} joins");
    }
}

#[test]
fn a_ramp_finds_a_rate_that_keeps_its_goal() {
    let broker = broker("bench-load-ramp");
    let mut workload = tiny("ramp");
    // A goal of a minute is kept at every rate; one of nothing at none.
    for (latency_ms, steps, kept) in [(60_000.0, 3, true), (0.0, 1, false)] {
        workload.ramp = Some(
            serde_json::from_str(&format!(
                r#"{{"from": 500, "to": 2000, "factor": 2, "halvings": 2, "step_seconds": 0.5, "percentile": 90, "latency_ms": {latency_ms}}}"#
            ))
            .expect("a ramp"),
        );
        let outcome = ran(&broker, &workload, Driver::Ring);
        let found: Vec<(f64, bool)> = outcome.load.ramp.iter().map(|step| (step.planned, step.kept)).collect();
        let wanted: Vec<(f64, bool)> =
            [500.0, 1000.0, 2000.0].into_iter().map(|rate| (rate, kept)).take(steps).collect();
        assert_eq!(found, wanted);
        let planned = if kept { 2000 } else { 500 };
        assert_eq!(outcome.load.publish.latency.0.len(), planned, "the measured part has the rate that was found");
        assert_eq!(outcome.caveats.iter().any(|c| c.contains("not even the first step")), !kept);
    }
}

#[test]
fn connections_are_idle_or_come_and_go() {
    let broker = broker("bench-load-connections");
    for driver in DRIVERS {
        let mut workload = tiny("connections");
        workload.producers.rate = Some(100.0);
        workload.connections.idle = 50;
        workload.connections.churn_rate = 100.0;
        let outcome = ran(&broker, &workload, driver);
        assert_eq!(outcome.load.clients[0].connections, 2 + 50);
        assert!(outcome.load.churned_connections >= 100, "{}", outcome.load.churned_connections);
    }
}

#[test]
fn a_slow_consumer_lags_and_the_run_says_so() {
    let broker = broker("bench-load-slow");
    let mut workload = tiny("slow");
    workload.producers.rate = Some(5000.0);
    workload.consumers.groups = 1;
    workload.consumers.rate = Some(500.0);
    workload.consumers.partition_bytes = 4096;
    let outcome = ran(&broker, &workload, Driver::Ring);
    assert!(outcome.load.fetch.records < outcome.load.publish.records / 2, "{:?}", outcome.load.fetch);
    assert!(outcome.caveats.iter().any(|c| c.contains("had not read everything")), "{:?}", outcome.caveats);
}

#[test]
fn producers_that_want_no_answer_are_counted_when_they_are_handed_over() {
    let broker = broker("bench-load-silent");
    for (rate, driver) in [(Some(1000.0), Driver::Ring), (None, Driver::Ring), (Some(1000.0), Driver::Glommio)] {
        let mut workload = tiny("silent");
        workload.producers.acks = Acks::None;
        workload.producers.rate = rate;
        workload.consumers.groups = 1;
        let outcome = ran(&broker, &workload, driver);
        assert!(outcome.load.publish.records >= 900 && outcome.load.fetch.records >= 900, "{:?}", outcome.load.publish);
    }
}

#[test]
fn settings_that_the_broker_refuses_are_left_out_and_told() {
    let broker = broker("bench-load-settings");
    let mut workload = tiny("settings");
    workload.topics.config.insert("retention.ms".to_string(), "3600000".to_string());
    workload.topics.config.insert("no.such.setting".to_string(), "1".to_string());
    let outcome = ran(&broker, &workload, Driver::Ring);
    let told: Vec<&String> = outcome.caveats.iter().filter(|c| c.contains("refused")).collect();
    assert!(told.len() == 1 && told[0].contains("no.such.setting"), "{:?}", outcome.caveats);
}

#[test]
fn the_load_is_spread_over_client_cores() {
    let broker = broker("bench-load-cores");
    for driver in DRIVERS {
        let mut workload = tiny("cores");
        workload.producers.count = 5;
        workload.producers.rate = Some(3000.0);
        workload.consumers.groups = 1;
        workload.consumers.count = 2;
        let outcome = super::load_on(&workload, broker.addr(), driver, vec![0, 1, 1]).unwrap();
        sound(&outcome);
        assert_eq!(outcome.load.clients.len(), 3);
        assert_eq!(outcome.load.clients.iter().map(|c| c.connections).sum::<u32>(), 5 + 2);
        assert_eq!(outcome.load.publish.latency.0.len(), 3000);
    }
}
