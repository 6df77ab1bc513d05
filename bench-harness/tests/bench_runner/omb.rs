//! Files in the shapes of the OpenMessaging Benchmark's repository, written here.

use ringlog_bench_harness::bench::workload::{Acks, Codec, From, Keys, Size};
use ringlog_bench_harness::bench::workloads::omb::parse;

const WORKLOAD: &str = "\
# A comment.
name: 4 producers / 1 topic, 1 KB

topics: 2
partitionsPerTopic: 10
keyDistributor: \"KEY_ROUND_ROBIN\"
messageSize: 1024
useRandomizedPayloads: true
randomBytesRatio: 0.25
randomizedPayloadPoolSize: 1000

subscriptionsPerTopic: 3
consumerPerSubscription: 4
producersPerTopic: 2
producerRate: 50000
consumerBacklogSizeGB: 2
backlogDrainRatio: 0.9
testDurationMinutes: 5
warmupDurationMinutes: 2
logIntervalMillis: 1000
producerStartRate: 7
";

const DRIVER: &str = "\
name: Kafka
driverClass: io.openmessaging.benchmark.driver.kafka.KafkaBenchmarkDriver
replicationFactor: 3
reset: true
topicConfig: |
  min.insync.replicas=2
  flush.messages=1
commonConfig: |
  bootstrap.servers=localhost:9092
  security.protocol=SSL
producerConfig: |
  acks=all
  linger.ms=1
  batch.size=131072
  compression.type=lz4
  enable.idempotence=true
  max.in.flight.requests.per.connection=1
  retries=2147483647
consumerConfig: |
  auto.offset.reset=latest
  enable.auto.commit=false
  max.partition.fetch.bytes=10485760
  client.rack=r1
";

fn told(told: &[String], about: &str) -> bool {
    told.iter().any(|line| line.contains(about))
}

#[test]
fn a_workload_and_a_driver_are_read_as_they_are() {
    let asked = parse(("w.yaml", WORKLOAD), Some(("d.yaml", DRIVER))).unwrap();
    let w = &asked.workload;
    assert_eq!(w.name, "4-producers-1-topic-1-kb");
    assert_eq!((w.topics.count, w.topics.partitions, w.topics.replication), (2, 10, 3));
    assert_eq!(w.topics.config["min.insync.replicas"], "2");
    assert_eq!((w.producers.count, w.producers.rate), (4, Some(50_000.0)));
    assert_eq!((w.producers.acks, w.producers.codec, w.producers.in_flight), (Acks::All, Codec::Lz4, 1));
    assert!(w.producers.idempotent);
    assert_eq!((w.producers.linger_us, w.producers.batch_records), (1000, 128));
    assert_eq!((&w.records.size, &w.records.keys), (&Size::Fixed(1024), &Keys::Uniform { count: 10_000 }));
    assert_eq!(w.records.compressible, 0.75);
    assert_eq!((w.consumers.groups, w.consumers.count, w.consumers.coordinated), (3, 8, true));
    assert_eq!((w.consumers.from, w.consumers.partition_bytes), (From::End, 10_485_760));
    assert_eq!(w.backlog.as_ref().map(|b| b.bytes), Some(2 << 30));
    assert_eq!((w.run.warmup_seconds, w.run.seconds), (120.0, 300.0));
    for what in [
        "randomizedPayloadPoolSize",
        "backlogDrainRatio",
        "logIntervalMillis",
        "producerStartRate: this bench does not know it",
        "KEY_ROUND_ROBIN",
        "reset",
        "bootstrap.servers",
        "security.protocol",
        "retries",
        "enable.auto.commit",
        "client.rack",
    ] {
        assert!(told(&asked.told, what), "{what} was dropped silently: {:#?}", asked.told);
    }
}

const LEAST: &str =
    "topics: 1\npartitionsPerTopic: 1\nmessageSize: 100\nproducersPerTopic: 1\ntestDurationMinutes: 1\n";

#[test]
fn what_is_missing_has_that_benchmarks_defaults() {
    let asked = parse(("least.yaml", LEAST), None).unwrap();
    let w = &asked.workload;
    assert_eq!((w.name.as_str(), w.producers.rate, w.consumers.groups), ("least.yaml", None, 0));
    assert_eq!((w.producers.linger_us, w.producers.batch_records), (5000, 163));
    assert_eq!((w.run.warmup_seconds, w.run.seconds), (60.0, 60.0));
    assert!(told(&asked.told, "producerRate: 0"), "{:?}", asked.told);
    let fast = parse(("w.yaml", &format!("{LEAST}producerRate: 10000000\n")), None).unwrap();
    assert_eq!(fast.workload.producers.rate, None);
    let small = parse(("w.yaml", &LEAST.replace("100", "10")), None).unwrap();
    assert_eq!(small.workload.records.size, Size::Fixed(24));
    assert!(told(&small.told, "messageSize: 10"), "{:?}", small.told);
    let single = parse(("w.yaml", LEAST), Some(("d.yaml", "producerConfig: |\n  linger.ms=0\n"))).unwrap();
    assert_eq!(single.workload.producers.batch_records, 1);
    let file = parse(("w.yaml", &format!("{LEAST}payloadFile: \"payload/payload-100b.data\"\n")), None).unwrap();
    assert!(told(&file.told, "payloadFile"), "{:?}", file.told);
}

#[test]
fn errors_name_the_file_the_line_and_the_field() {
    let with = |line: &str| format!("{LEAST}{line}\n");
    for (workload, driver, said) in [
        ("topics: [1\n".to_string(), "", "w.yaml:"),
        ("- a\n".to_string(), "", "w.yaml:1: "),
        (LEAST.replace("topics: 1\n", ""), "", "w.yaml:1: topics: it is missing"),
        (
            LEAST.replace("partitionsPerTopic: 1", "partitionsPerTopic: 0"),
            "",
            "w.yaml:2: partitionsPerTopic: 0 is not in 1",
        ),
        (
            LEAST.replace("partitionsPerTopic: 1", "partitionsPerTopic: x"),
            "",
            "w.yaml:2: partitionsPerTopic: \"x\" is not a number",
        ),
        (
            LEAST.replace("partitionsPerTopic: 1", "partitionsPerTopic: 1.5"),
            "",
            "w.yaml:2: partitionsPerTopic: 1.5 is not a whole",
        ),
        (with("useRandomizedPayloads: maybe"), "", "w.yaml:6: useRandomizedPayloads: \"maybe\" is neither"),
        (with("randomBytesRatio: 2"), "", "w.yaml:6: randomBytesRatio: 2 is not in 0 to 1"),
        (with("keyDistributor: HOT"), "", "w.yaml:6: keyDistributor: HOT is none of"),
        (with("topics: 2"), "", "w.yaml:6: "),
        (
            LEAST.to_string(),
            "driverClass: io.x.PulsarBenchmarkDriver\n",
            "d.yaml:1: driverClass: io.x.PulsarBenchmarkDriver is not",
        ),
        (LEAST.to_string(), "producerConfig: |\n  acks=2\n", "d.yaml:1: producerConfig: acks=2: 0, 1 or all"),
        (LEAST.to_string(), "producerConfig: |\n  acks\n", "d.yaml:1: producerConfig: `acks` is not name=value"),
        (
            LEAST.to_string(),
            "name: k\nproducerConfig: |\n  batch.size=big\n",
            "d.yaml:2: producerConfig: batch.size=big",
        ),
        (
            LEAST.to_string(),
            "consumerConfig: |\n  auto.offset.reset=none\n",
            "d.yaml:1: consumerConfig: auto.offset.reset=none",
        ),
        (
            LEAST.to_string(),
            "producerConfig: |\n  enable.idempotence=true\n  max.in.flight.requests.per.connection=6\n",
            "at most 5 with enable.idempotence",
        ),
    ] {
        let driver = (!driver.is_empty()).then_some(("d.yaml", driver));
        let error = parse(("w.yaml", &workload), driver).expect_err(said).to_string();
        assert!(error.contains(said), "{error}\nnot: {said}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
