//! Settings of topics and logs, each set where a topic can get it from: at the topic, or as the default of all, at the start or
//! while running.

use super::client::{BROKER, Client, NOBODY, TOPIC, broker, files, values};
use ringlog_bench_harness::broker::Broker;
use ringlog_bench_harness::peer::{Producer, batch, batch_at, frame_batch, now_ms, records};
use ringlog_bench_harness::wait::until;
use ringlog_engine::codec::{Codec, Encoder};

const MIB: usize = 1 << 20;
const HOUR: i64 = 3_600_000;

/// So many batches of half a mebibyte.
fn fill(client: &mut Client, topic: &str, batches: usize) {
    for _ in 0..batches {
        client.put(topic, 0, MIB / 2);
    }
}

fn segments(broker: &Broker, topic: &str) -> usize {
    files(&broker.data_dir().join(topic), ".log").len()
}

/// What is too much goes: the log start moves, then the files, and their blocks serve again.
#[test]
pub(crate) fn retention_by_size() {
    let fast = ["log.retention.check.interval.ms=20", "ringlog.cores=0"];
    let broker = broker("retain-size", &fast);
    let mut client = Client::of(&broker);
    let sizes = [("segment.bytes", "2097152"), ("retention.bytes", "4194304"), ("file.delete.delay.ms", "0")];
    client.create("own", 1, &sizes);
    fill(&mut client, "own", 24);
    until("the log start moves", || client.log_start("own", 0) >= 12);
    assert!(client.log_start("own", 0) <= 16, "four mebibytes stay");
    until("files go", || segments(&broker, "own") <= 4);
    until("blocks are kept for later", || !files(&broker.data_dir(), ".seg").is_empty());
    let spare = files(&broker.data_dir(), ".seg").len();
    // The same as defaults of all topics, while running.
    client.alter(BROKER, "", "log.segment.bytes", Some("2097152"));
    client.alter(BROKER, "", "log.segment.delete.delay.ms", Some("0"));
    client.create("defaults", 1, &[]);
    fill(&mut client, "defaults", 12);
    until("blocks are used again", || files(&broker.data_dir(), ".seg").len() < spare);
    assert_eq!(client.log_start("defaults", 0), 0, "no bound yet");
    client.alter(BROKER, "", "log.retention.bytes", Some("1048576"));
    until("the log start moves", || client.log_start("defaults", 0) >= 6);
}

/// A dropped segment's file stays for the delay.
#[test]
pub(crate) fn delete_delay() {
    let broker = broker("delay", &["log.retention.check.interval.ms=20", "log.segment.delete.delay.ms=3600000"]);
    let mut client = Client::of(&broker);
    let sizes = [("segment.bytes", "1048576"), ("retention.bytes", "1048576")];
    client.create("late", 1, &sizes);
    client.create("soon", 1, &[sizes[0], sizes[1], ("file.delete.delay.ms", "0")]);
    fill(&mut client, "late", 12);
    fill(&mut client, "soon", 12);
    until("both log starts move", || client.log_start("late", 0) >= 8 && client.log_start("soon", 0) >= 8);
    until("the files of one go", || segments(&broker, "soon") <= 4);
    assert!(segments(&broker, "late") >= 5, "{:?}", files(&broker.data_dir(), ".log"));
}

/// Old records go, wherever their life is set; and one unlimited stays.
#[test]
pub(crate) fn retention_by_time() {
    let old = |client: &mut Client, topic: &str, age_ms: i64| {
        let at = now_ms() - age_ms;
        client.produce(topic, 0, &batch_at(at, NOBODY, -1, &values(1, 100)));
    };
    for (name, value, age) in [
        ("log.retention.hours", "1", 2 * HOUR),
        ("log.retention.minutes", "1", 120_000),
        ("log.retention.ms", "1000", 60_000),
    ] {
        let setting = format!("{name}={value}");
        let broker = broker("retain-time", &["log.retention.check.interval.ms=20", &setting]);
        let mut client = Client::of(&broker);
        client.create("t", 1, &[]);
        client.create("kept", 1, &[("retention.ms", "-1")]);
        old(&mut client, "t", age);
        old(&mut client, "kept", age);
        until("old records go", || client.log_start("t", 0) == 1);
        assert_eq!(client.log_start("kept", 0), 0, "{name}");
        client.alter(TOPIC, "kept", "retention.ms", Some("5000"));
        until("what was kept goes when it need not be", || client.log_start("kept", 0) == 1);
        client.alter(BROKER, "", "log.retention.ms", Some("-1"));
        old(&mut client, "t", age);
        old(&mut client, "kept", age);
        until("the default is not the topic's own", || client.log_start("kept", 0) == 2);
        assert_eq!(client.log_start("t", 0), 1, "unlimited now");
    }
}

/// A new segment begins by the records' times: at the roll time, or somewhat before it where there is jitter.
#[test]
pub(crate) fn roll_by_time() {
    // Sealed segments get their index file.
    let sealed = |broker: &Broker, topic: &str| files(&broker.data_dir().join(topic), ".index").len();
    let two = |client: &mut Client, topic: &str, partition: i32, apart: i64| {
        let at = now_ms() - 2 * apart;
        for at in [at, at + apart] {
            client.produce(topic, partition, &batch_at(at, NOBODY, -1, &values(1, 5000)));
        }
    };
    for setting in ["log.roll.hours=1", "log.roll.ms=3600000"] {
        let broker = broker("roll", &[setting]);
        let mut client = Client::of(&broker);
        client.create("default", 2, &[]);
        client.create("own", 1, &[("segment.ms", "1000")]);
        two(&mut client, "default", 0, HOUR + 1000);
        two(&mut client, "default", 1, HOUR - 1000);
        two(&mut client, "own", 0, 2000);
        until("one has rolled", || sealed(&broker, "default") == 1);
        until("the other too", || sealed(&broker, "own") == 1);
        client.alter(BROKER, "", "log.roll.ms", Some("60000"));
        two(&mut client, "default", 1, 61_000);
        until("a changed default acts", || sealed(&broker, "default") >= 2);
    }
    for (setting, own) in [
        ("log.roll.jitter.hours=1", None),
        ("log.roll.jitter.ms=3600000", None),
        ("log.roll.ms=3600000", Some(("segment.jitter.ms", "3600000"))),
    ] {
        let broker = broker("jitter", &["log.roll.hours=1", setting]);
        let mut client = Client::of(&broker);
        client.create("t", 32, own.as_slice());
        for partition in 0..32 {
            two(&mut client, "t", partition, HOUR / 2);
        }
        until("some have rolled", || sealed(&broker, "t") > 0);
        // Each of them by its own chance: all 32 alike would come once in 2^31 runs.
        client.alter(TOPIC, "t", "segment.jitter.ms", Some("0"));
        assert!(sealed(&broker, "t") < 32, "{setting}");
    }
}

/// Segments have the size set; an index entry comes after so many bytes.
#[test]
pub(crate) fn segment_sizes() {
    let broker = broker("segments", &["log.segment.bytes=2097152", "log.index.interval.bytes=1048576"]);
    let mut client = Client::of(&broker);
    client.create("default", 1, &[]);
    client.create("own", 1, &[("segment.bytes", "1048576")]);
    fill(&mut client, "default", 9);
    fill(&mut client, "own", 9);
    // Three batches and one in two mebibytes, as a batch is a little more than half of one.
    until("segments of two mebibytes", || segments(&broker, "default") == 3);
    until("segments of one", || segments(&broker, "own") == 9);
    client.create("coarse", 1, &[("segment.bytes", "1048576")]);
    client.create("fine", 1, &[("segment.bytes", "1048576"), ("index.interval.bytes", "0")]);
    let index = |topic: &str| files(&broker.data_dir().join(topic), ".index").first().map_or(0, |(_, len)| *len);
    for topic in ["coarse", "fine"] {
        for _ in 0..1100 {
            client.0.send_batch(topic, 0, -1, &batch(NOBODY, -1, &values(1, 1000))).unwrap();
        }
        for _ in 0..1100 {
            client.0.receive_batch().unwrap().unwrap();
        }
        until("an index", || index(topic) > 0);
    }
    assert!(index("fine") > 2 * index("coarse"), "{} and {}", index("fine"), index("coarse"));
}

/// Batches that are too large, too old or too far ahead are refused; changes act at once on partitions of every core.
#[test]
pub(crate) fn what_is_refused() {
    let broker = broker("refused", &["message.max.bytes=100000", "ringlog.cores=0,0"]);
    let mut client = Client::of(&broker);
    client.create("t", 4, &[]);
    let each = |client: &mut Client, batch: &[u8]| -> Vec<i16> {
        (0..4).map(|partition| client.try_produce("t", partition, batch).err().unwrap_or(0)).collect()
    };
    let of = |bytes| batch(NOBODY, -1, &values(1, bytes));
    assert_eq!(each(&mut client, &of(90_000)), [0; 4]);
    assert_eq!(each(&mut client, &of(110_000)), [10; 4]);
    client.alter(TOPIC, "t", "max.message.bytes", Some("50000"));
    assert_eq!(each(&mut client, &of(90_000)), [10; 4]);
    client.alter(TOPIC, "t", "max.message.bytes", None);
    assert_eq!(each(&mut client, &of(90_000)), [0; 4]);
    client.alter(BROKER, "", "message.max.bytes", Some("200000"));
    assert_eq!(each(&mut client, &of(110_000)), [0; 4]);
    // Times.
    let aged = |age: i64| batch_at(now_ms() - age, NOBODY, -1, &values(1, 10));
    assert_eq!(each(&mut client, &aged(HOUR)), [0; 4]);
    assert_eq!(each(&mut client, &aged(-2 * HOUR)), [32; 4]);
    client.alter(BROKER, "", "log.message.timestamp.before.max.ms", Some("60000"));
    assert_eq!(each(&mut client, &aged(HOUR)), [32; 4]);
    client.alter(TOPIC, "t", "message.timestamp.before.max.ms", Some("7200000"));
    assert_eq!(each(&mut client, &aged(HOUR)), [0; 4]);
    client.alter(BROKER, "", "log.message.timestamp.after.max.ms", Some("10800000"));
    assert_eq!(each(&mut client, &aged(-2 * HOUR)), [0; 4]);
    client.alter(TOPIC, "t", "message.timestamp.after.max.ms", Some("60000"));
    assert_eq!(each(&mut client, &aged(-2 * HOUR)), [32; 4]);
    // Copies.
    client.alter(TOPIC, "t", "min.insync.replicas", Some("2"));
    assert_eq!(each(&mut client, &of(10)), [19; 4]);
    client.0.send_batch("t", 0, 1, &of(10)).unwrap();
    assert!(client.0.receive_batch().unwrap().is_ok(), "acks=1 asks for no second copy");
}

/// Records carry the broker's time where that is asked for.
#[test]
pub(crate) fn log_append_time() {
    let broker = broker("append-time", &[]);
    let mut client = Client::of(&broker);
    client.create("t", 1, &[]);
    let old = now_ms() - HOUR;
    let stamp = |client: &mut Client| {
        let offset = client.produce("t", 0, &batch_at(old, NOBODY, -1, &values(1, 10)));
        let bytes = client.fetch("t", 0, offset, 1000).bytes;
        i64::from_be_bytes(bytes[35..43].try_into().unwrap())
    };
    assert_eq!(stamp(&mut client), old);
    client.alter(TOPIC, "t", "message.timestamp.type", Some("LogAppendTime"));
    assert!(stamp(&mut client) > old);
    client.alter(TOPIC, "t", "message.timestamp.type", None);
    assert_eq!(stamp(&mut client), old);
    client.alter(BROKER, "", "log.message.timestamp.type", Some("LogAppendTime"));
    assert!(stamp(&mut client) > old);
}

/// Batches are stored with the codec and at the level asked for, at the topic or for all.
#[test]
pub(crate) fn compression() {
    let broker = broker("codecs", &[]);
    let mut client = Client::of(&broker);
    client.create("t", 1, &[]);
    // Text that compresses, and better with more work.
    let mut seed = 1u32;
    let words: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("word{} ", (seed >> 16) % 997)
    })
    .take(20_000)
    .collect::<String>()
    .into_bytes();
    let bytes = batch(NOBODY, -1, &[words]);
    let stored = |client: &mut Client| {
        let offset = client.produce("t", 0, &bytes);
        let got = client.fetch("t", 0, offset, 1 << 20).bytes;
        (got[22] & 7, i32::from_be_bytes(got[8..12].try_into().unwrap()))
    };
    assert_eq!(stored(&mut client).0, 0);
    for (codec, number, level, low, high) in [
        ("gzip", 1, Some("compression.gzip.level"), "1", "9"),
        ("snappy", 2, None, "", ""),
        ("lz4", 3, Some("compression.lz4.level"), "1", "17"),
        ("zstd", 4, Some("compression.zstd.level"), "-100", "19"),
    ] {
        for (kind, resource) in [(TOPIC, "t"), (BROKER, "")] {
            client.alter(kind, resource, "compression.type", Some(codec));
            assert_eq!(stored(&mut client).0, number);
            if let Some(level) = level {
                client.alter(kind, resource, level, Some(low));
                let large = stored(&mut client).1;
                client.alter(kind, resource, level, Some(high));
                let small = stored(&mut client).1;
                assert!(small < large, "{level}: {large} bytes at {low}, {small} at {high}");
                client.alter(kind, resource, level, None);
            }
            client.alter(kind, resource, "compression.type", None);
        }
    }
}

/// A compacted topic keeps everything, wants keys, and says so.
#[test]
pub(crate) fn compaction_is_told() {
    let mut broker = broker("compact", &["log.cleanup.policy=compact", "log.retention.check.interval.ms=20"]);
    assert!(broker.log().contains("notice: log.cleanup.policy: nothing is compacted yet"), "{}", broker.log_tail());
    let mut client = Client::of(&broker);
    client.create("c", 1, &[("retention.ms", "1000")]);
    client.create("d", 1, &[("cleanup.policy", "delete"), ("retention.ms", "1000")]);
    let keyless = batch_at(now_ms() - HOUR, NOBODY, -1, &values(1, 10));
    assert_eq!(client.try_produce("c", 0, &keyless), Err(87), "a record without a key");
    client.produce("d", 0, &keyless);
    // One record with the key k.
    let keyed = frame_batch((0, now_ms() - HOUR), (NOBODY, -1), 1, &[16, 0, 0, 0, 2, b'k', 2, b'v', 0]);
    client.produce("c", 0, &keyed);
    until("the other topic's record goes", || client.log_start("d", 0) == 1);
    assert_eq!(client.log_start("c", 0), 0);
    broker.assert_alive();
}

/// A relaxed topic is written and read like any other, and the setting is seen; the start says what it means.
#[test]
pub(crate) fn relaxed_flushing() {
    let broker = broker("relaxed", &["ringlog.log.flush=relaxed"]);
    assert!(broker.log().contains("can be lost by a power failure"), "{}", broker.log_tail());
    let mut client = Client::of(&broker);
    client.create("default", 1, &[]);
    client.create("own", 1, &[("ringlog.flush", "durable")]);
    assert_eq!(client.shown(TOPIC, "default", "ringlog.flush").value, "relaxed");
    assert_eq!(client.shown(TOPIC, "own", "ringlog.flush").value, "durable");
    for topic in ["default", "own"] {
        for k in 0..50 {
            assert_eq!(client.put(topic, 0, 100), k);
            // Acknowledged is visible, flushed or not.
            let got = client.fetch(topic, 0, k, 1000);
            assert_eq!((got.code, got.high_watermark), (0, k + 1));
            assert!(!got.bytes.is_empty());
        }
    }
}

/// What is made on first use, with how many partitions; and whether topics can be deleted.
#[test]
pub(crate) fn first_use_and_deletion() {
    let on = broker("first-use", &["num.partitions=3", "delete.topic.enable=false"]);
    let mut client = Client::of(&on);
    until("a topic is made", || client.metadata(&["t"], true).topics == [(0, "t".to_string(), 3)]);
    assert_eq!(client.metadata(&["unasked"], false).topics[0].0, 3);
    client.create("u", -1, &[]);
    assert_eq!(client.metadata(&["u"], false).topics[0].2, 3);
    assert_eq!(client.delete("t"), 73);
    let off = broker("no-first-use", &["auto.create.topics.enable=false"]);
    let mut client = Client::of(&off);
    assert_eq!(client.metadata(&["t"], true).topics[0].0, 3);
    client.create("t", 1, &[]);
    assert_eq!(client.metadata(&["t"], true).topics, [(0, "t".to_string(), 1)]);
    assert_eq!(client.delete("t"), 0);
    assert_eq!(client.metadata(&["t"], true).topics[0].0, 3);
}

/// Producers are forgotten when they were idle for long, and when there are too many: what they send again is new then.
#[test]
pub(crate) fn producers_are_forgotten() {
    let check = "producer.id.expiration.check.interval.ms=20";
    let of = |producer: Producer| batch(producer, 0, &values(1, 10));
    let idle = broker("producers-idle", &["producer.id.expiration.ms=1", check]);
    let mut client = Client::of(&idle);
    client.create("t", 1, &[]);
    let producer = client.0.init_producer().unwrap();
    client.produce("t", 0, &of(producer));
    until("an idle producer is forgotten", || client.produce("t", 0, &of(producer)) > 0);
    client.alter(BROKER, "", "producer.id.expiration.ms", Some("86400000"));
    let producer = client.0.init_producer().unwrap();
    let first = client.produce("t", 0, &of(producer));
    for _ in 0..50 {
        assert_eq!(client.produce("t", 0, &of(producer)), first, "a duplicate");
    }
    // So many of a partition: the third pushes the first out.
    let few = broker("producers-few", &["ringlog.max.producers.per.partition=2"]);
    let mut client = Client::of(&few);
    client.create("t", 1, &[]);
    let producers: Vec<Producer> = (0..3).map(|_| client.0.init_producer().unwrap()).collect();
    for (k, producer) in (0..).zip(&producers) {
        assert_eq!(client.produce("t", 0, &of(*producer)), k);
    }
    assert_eq!(client.produce("t", 0, &of(producers[2])), 2, "the newest is remembered");
    assert_eq!(client.produce("t", 0, &of(producers[0])), 3, "the oldest is not");
    // So many of a core.
    let few = broker("producers-core", &["ringlog.max.producers.per.core=1", "ringlog.cores=0"]);
    let mut client = Client::of(&few);
    client.create("t", 2, &[]);
    client.produce("t", 0, &of(producers[0]));
    client.produce("t", 1, &of(producers[1]));
    until("the one longer idle is forgotten", || {
        // Whoever was sent again is the younger of the two.
        let first = client.produce("t", 0, &of(producers[0]));
        let second = client.produce("t", 1, &of(producers[1]));
        first > 0 || second > 0
    });
}

/// A small batch that unpacks to more than allowed is refused.
#[test]
pub(crate) fn unpacked_size() {
    let broker = broker("unpacked", &["ringlog.max.batch.decompressed.bytes=1048576"]);
    let mut client = Client::of(&broker);
    client.create("t", 1, &[]);
    let packed = |bytes: usize| {
        let mut out = Vec::new();
        Encoder::default().compress(Codec::Gzip, 6, &records(&[vec![7; bytes]]), &mut out);
        frame_batch((1, now_ms()), (NOBODY, -1), 1, &out)
    };
    client.produce("t", 0, &packed(MIB / 2));
    let large = packed(2 * MIB);
    assert!(large.len() < 10_000);
    assert!(client.try_produce("t", 0, &large).is_err());
    client.put("t", 0, 10);
}
