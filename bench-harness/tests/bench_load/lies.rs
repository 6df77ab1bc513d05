//! Runs against a broker that does one thing wrong: the figures show it, and the check that is about it makes the run void.

use super::fake::{Fake, Fault};
use super::{OF_THE_MACHINE, check, load, sound};
use ringlog_bench_harness::bench::load::Driver;
use ringlog_bench_harness::bench::workload::{Duration, Size, Workload};

const DRIVERS: [Driver; 2] = [Driver::Ring, Driver::Glommio];

/// Two producers at a steady rate into two partitions, and a reader.
fn steady(rate: f64) -> Workload {
    let mut workload: Workload =
        serde_json::from_str(r#"{"name": "steady", "question": "is the fault seen?"}"#).expect("a workload");
    workload.topics.partitions = 2;
    workload.producers.count = 2;
    workload.producers.rate = Some(rate);
    workload.records.size = Size::Fixed(64);
    workload.consumers.groups = 1;
    workload.run = Duration { warmup_seconds: 0.2, seconds: 1.0 };
    workload
}

#[test]
fn a_stall_is_seen_from_the_planned_send_on() {
    for driver in DRIVERS {
        let stall = std::time::Duration::from_millis(100);
        let mut workload = steady(5000.0);
        workload.run.seconds = 2.2;
        // Measuring begins 0.2 to 1.2 s after the first send, so that its 10,000th is in the measured part.
        let fake = Fake::new(1, 10_000, Fault::Stall(stall));
        let outcome = load(&workload, fake.addr(), driver).unwrap();
        sound(&outcome);
        let latency = &outcome.load.publish.latency;
        assert_eq!(latency.0.len(), 11_000, "every send planned in the measured part, answered late or not");
        assert!(latency.max() >= Some(100_000_000), "{latency:?}");
        assert!(latency.at(99.9) >= Some(90_000_000), "{:?}", latency.at(99.9));
        // Sends planned in the first half of the stall waited for at least the other half.
        let late = latency.0.len() - latency.0.count_between(0, 49_000_000);
        assert!(late >= 249, "{late} sends were delayed by half a stall of 500");
        assert!(outcome.load.end_to_end.latency.0.len() == 11_000);
    }
}

/// Runs against a fault, and answers which checks failed.
fn failed(fault: Fault, driver: Driver, change: impl FnOnce(&mut Workload)) -> Vec<String> {
    let mut workload = steady(1000.0);
    change(&mut workload);
    let fake = Fake::new(1, 500, fault);
    let outcome = load(&workload, fake.addr(), driver).unwrap_or_else(|why| panic!("{fault:?}: {why}"));
    let failed = outcome.checks.iter().filter(|c| !c.passed && !OF_THE_MACHINE.contains(&c.name.as_str()));
    failed.map(|c| c.name.clone()).collect()
}

#[test]
fn a_lie_makes_the_run_void() {
    let lies = [
        (Fault::None, vec![]),
        (Fault::Lose, vec!["lost records"]),
        (Fault::Double, vec!["doubled records"]),
        (Fault::Reorder, vec!["order"]),
        // Its own record is gone, and a stranger has come.
        (Fault::Corrupt { checksum: true }, vec!["lost records", "records as written"]),
        (Fault::Refuse(2), vec!["errors"]),
    ];
    for (k, (fault, expected)) in lies.into_iter().enumerate() {
        assert_eq!(failed(fault, DRIVERS[k % 2], |_| {}), expected, "{fault:?}");
        assert_eq!(failed(fault, DRIVERS[(k + 1) % 2], |w| w.producers.idempotent = true), expected, "{fault:?}");
    }
}

#[test]
fn a_damaged_batch_makes_the_run_void() {
    let failed = failed(Fault::Corrupt { checksum: false }, Driver::Ring, |_| {});
    assert!(failed.contains(&"records as written".to_string()), "{failed:?}");
}

#[test]
fn an_error_that_passes_is_mended_in_order() {
    for driver in DRIVERS {
        assert_eq!(failed(Fault::Refuse(19), driver, |w| w.producers.idempotent = true), [""; 0]);
        assert_eq!(failed(Fault::Refuse(19), driver, |_| {}), ["errors"], "without idempotence nothing is repeated");
    }
}

#[test]
fn what_is_never_answered_is_told() {
    let swallowed = |driver| {
        let fake = Fake::new(1, 500, Fault::Swallow);
        load(&steady(1000.0), fake.addr(), driver)
    };
    // The next answer on the connection is one too far.
    for driver in DRIVERS {
        let why = swallowed(driver).expect_err("answers out of order");
        assert!(why.contains("an answer to request"), "{why}");
    }
}

#[test]
fn a_broken_connection_ends_the_run() {
    for (driver, fault) in DRIVERS.into_iter().zip([Fault::Close, Fault::Close]) {
        let fake = Fake::new(1, 500, fault);
        let why = load(&steady(1000.0), fake.addr(), driver).expect_err("a connection was closed");
        assert!(why.contains("closed a connection"), "{why}");
    }
}

#[test]
fn nonsense_ends_the_run() {
    let huge: &[u8] = &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let long: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let hollow: &[u8] = &[0, 0, 0, 5, 0, 0, 0, 250, 9];
    for (driver, said) in DRIVERS.into_iter().flat_map(|d| [(d, huge), (d, long), (d, hollow)]) {
        let mut workload = steady(1000.0);
        workload.producers.count = 1;
        let fake = Fake::new(1, 250, Fault::Say(said));
        let why = load(&workload, fake.addr(), driver).expect_err("nonsense was said");
        assert!(why.contains("nonsense"), "{why}");
    }
}

#[test]
fn a_broker_that_is_not_there_is_told() {
    let fake = Fake::new(1, 0, Fault::None);
    let mut workload = steady(1000.0);
    workload.producers.transaction_records = Some(10);
    let why = load(&workload, fake.addr(), Driver::Ring).expect_err("no transactions there");
    assert!(why.contains("FindCoordinator"), "{why}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    assert!(load(&workload, nobody, Driver::Ring).is_err());
}

#[test]
fn every_partition_is_asked_where_it_is_led() {
    for driver in DRIVERS {
        let fake = Fake::new(3, u64::MAX, Fault::None);
        let mut workload = steady(1000.0);
        workload.topics.partitions = 7;
        workload.producers.idempotent = true;
        let outcome = load(&workload, fake.addr(), driver).unwrap();
        sound(&outcome);
        assert_eq!(fake.misdirected(), 0);
        assert!(check(&outcome, "lost records").passed);
        assert_eq!(outcome.load.clients[0].connections, 2 * 3 + 3, "each client has a connection to each node");
    }
}
