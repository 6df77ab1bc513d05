//! A real Kafka brought up by the bench, where Java and Maven are; with `CI` set they have to be.

use ringlog_bench_harness::bench::brokers::identity::{Durability, FLUSHED, NOT_FLUSHED};
use ringlog_bench_harness::bench::brokers::{Broker, Spec, Wish, kafka, own_cpus};
use ringlog_bench_harness::bench::workloads::{Chosen, find};
use ringlog_bench_harness::broker::{answers, target_dir};
use std::path::Path;

/// Whether it can be tried; said aloud if not.
fn possible() -> bool {
    let missing = kafka::missing();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "not tried: {missing:?}");
    if !missing.is_empty() {
        eprintln!("not tried: a real Kafka needs {}", missing.join(", and "));
    }
    missing.is_empty()
}

#[test]
fn a_real_kafka_comes_up_and_says_what_its_acknowledgement_is_worth() {
    if !possible() {
        return;
    }
    let wish = Wish {
        spec: Spec::Kafka(kafka::VERSION.to_string()),
        label: "kafka".to_string(),
        overrides: vec!["num.io.threads=3".to_string()],
        cpus: vec![own_cpus()[0]],
        home: target_dir().join("tmp").join(format!("bench-kafka-{}", std::process::id())),
        who: None,
        metrics: None,
        heap: "512m".to_string(),
    };
    let mut broker = Broker::bring(&wish).unwrap();
    let addr = broker.addr;
    assert!(broker.identity.is_kafka() && !broker.identity.is_ringlog());
    assert!(
        broker.identity.software.starts_with(&format!("Apache Kafka {}", kafka::VERSION)),
        "{}",
        broker.identity.software
    );
    assert_eq!(broker.identity.settings["num.io.threads"], "3");
    let workload = find("batches", &Chosen::default()).unwrap().workload;
    let class = |durability| {
        let topic = broker.identity.topic_settings(durability).unwrap();
        broker.identity.durability(&workload, &topic)
    };
    assert_eq!(class(Durability::AsSet), NOT_FLUSHED);
    assert_eq!(class(Durability::NotFlushed), NOT_FLUSHED);
    assert_eq!(class(Durability::Flushed), FLUSHED);
    broker.pause().unwrap();
    broker.resume().unwrap();
    // Told by its address, its process and version are found.
    let found = Broker::bring(&Wish { spec: Spec::At(addr.to_string()), ..wish.clone() }).unwrap();
    assert_eq!((found.pid, &found.log_dir), (broker.pid, &broker.log_dir));
    assert_eq!(found.identity.software, format!("Apache Kafka {}", kafka::VERSION));
    drop(broker);
    assert!(answers(addr).is_err(), "it ended");
    std::fs::remove_dir(&wish.home).unwrap();
}

#[test]
fn its_settings_are_defaults_but_for_what_is_told() {
    let text = kafka::properties_of(9092, Path::new("/data"), &["a=b".to_string()]);
    assert!(text.contains("listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n"));
    assert!(text.ends_with("a=b\n"));
    assert!(!text.contains("flush"), "Kafka's default leaves flushing to the system");
    assert!(kafka::fetch("../4").is_err());
}
