//! A wall clock that is set back by two hours under a running broker, and then ahead: what is to happen after a while still does, and
//! nothing happens before its time.

use crate::load::{TOPIC, Writer, connect};
use ringlog_bench_harness::broker::{Broker, Options};
use ringlog_bench_harness::peer::{Answer, Body, Peer, Producer, batch, batch_at, now_ms};
use ringlog_bench_harness::wait::until;
use ringlog_bench_harness::wall::Wall;

const HOUR_S: i64 = 3600;
const HOUR_MS: i64 = HOUR_S * 1000;
const NOBODY: Producer = Producer { id: -1, epoch: -1 };
const INVALID_TIMESTAMP: i16 = 32;
/// How far a time the broker gives may be off what it should be, ms: far less than a step.
const CLOSE_MS: i64 = 60_000;

/// Sends a batch: its offset and the time the broker gave it (-1: its own), or the error code.
fn produce(peer: &mut Peer, topic: &str, batch: &[u8]) -> Result<(i64, i64), i16> {
    peer.send_batch(topic, 0, -1, batch).expect("sent");
    let answer = peer.receive().expect("an answer");
    let mut answer = Answer(&answer);
    answer.place().expect("a partition");
    let (code, offset) = (answer.i16().expect("a code"), answer.i64().expect("an offset"));
    if code == 0 { Ok((offset, answer.i64().expect("a time"))) } else { Err(code) }
}

/// The first offset that is still there.
fn log_start(peer: &mut Peer, topic: &str) -> i64 {
    let answer = peer.call(2, 1, Body::default().i32(-1).place(topic, 0).i64(-2)).expect("an answer");
    let mut answer = Answer(&answer);
    answer.place().expect("a partition");
    assert_eq!(answer.i16().expect("a code"), 0);
    answer.i64().expect("a time");
    answer.i64().expect("an offset")
}

fn send_join(peer: &mut Peer, group: &str, session_ms: i32) {
    let body = Body::default().text(group).i32(session_ms).i32(600_000).text("").text("consumer");
    peer.send(11, 2, body.i32(1).text("range").bytes(b"")).expect("sent");
}

/// Generation and member id.
fn receive_join(peer: &mut Peer) -> (i32, String) {
    let answer = peer.receive().expect("an answer");
    let mut answer = Answer(&answer);
    answer.i32().expect("the time to wait");
    assert_eq!(answer.i16().expect("a code"), 0);
    let generation = answer.i32().expect("a number");
    answer.text().expect("a protocol");
    answer.text().expect("a leader");
    (generation, String::from_utf8(answer.text().expect("a member").to_vec()).expect("text"))
}

/// The error code of a heartbeat.
fn heartbeat(peer: &mut Peer, group: &str, (generation, member): &(i32, String)) -> i16 {
    let answer = peer.call(12, 0, Body::default().text(group).i32(*generation).text(member)).expect("an answer");
    Answer(&answer).i16().expect("a code")
}

fn broker() -> (Broker, Wall) {
    let settings = [
        "ringlog.cores=0,0",
        "ringlog.journal.bytes=16777216",
        "ringlog.memory.bytes=268435456",
        "log.retention.check.interval.ms=20",
        "log.segment.delete.delay.ms=0",
        "producer.id.expiration.check.interval.ms=20",
        "offsets.retention.check.interval.ms=20",
        "offsets.topic.num.partitions=1",
        "group.initial.rebalance.delay.ms=0",
        "group.min.session.timeout.ms=100",
    ];
    let overrides = settings.map(str::to_string).to_vec();
    let mut broker = Broker::prepare("clock", Options { overrides, ..Options::default() });
    let clock = Wall::of(&mut broker);
    broker.launch();
    (broker, clock)
}

fn create_topics(peer: &mut Peer) {
    peer.create_topic(TOPIC, 1).expect("a topic");
    peer.create_topic_with("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]).expect("a topic");
    let hour = HOUR_MS.to_string();
    let aged = [("retention.ms", hour.as_str()), ("segment.bytes", "1048576"), ("segment.ms", hour.as_str())];
    peer.create_topic_with("aged", 1, &aged).expect("a topic");
    let bounded = [("retention.bytes", "1048576"), ("segment.bytes", "1048576")];
    peer.create_topic_with("bounded", 1, &bounded).expect("a topic");
}

/// Fills a segment of a topic that keeps but one: retention has looked at every partition once the first is gone.
fn see_retention_run(peer: &mut Peer, time: i64) {
    let large = batch_at(time, NOBODY, -1, &[vec![b'x'; 900_000]]);
    let end = (0..4).map(|_| produce(peer, "bounded", &large).expect("taken").0).max().expect("four");
    until("retention by size", || log_start(peer, "bounded") >= end - 1);
}

#[test]
fn a_clock_that_steps_back_and_ahead_disturbs_nothing() {
    let (mut broker, clock) = broker();
    let mut peer = connect(broker.addr());
    create_topics(&mut peer);
    until("a coordinator", || peer.find_coordinator("g").is_ok());
    let mut writer = Writer::new(broker.addr(), 0, 100);
    writer.put_many(5);
    let large = |time| batch_at(time, NOBODY, -1, &[vec![b'x'; 600_000]]);
    for offset in 0..4 {
        assert_eq!(produce(&mut peer, "aged", &large(now_ms())), Ok((offset, -1)));
    }
    send_join(&mut peer, "steady", 30_000);
    let steady = receive_join(&mut peer);
    let mut quiet = connect(broker.addr());
    send_join(&mut quiet, "quiet", 1000);
    receive_join(&mut quiet);
    peer.commit("g", TOPIC, 0, 3).expect("committed");
    // Two that wait: for records, and for a member that is gone without a word.
    let mut polling = connect(broker.addr());
    let long_poll = Body::default().i32(-1).i32(500).i32(1).i32(1 << 20).i8(0);
    polling.send(1, 4, long_poll.place("stamped", 0).i64(0).i32(1 << 20)).expect("sent");
    let mut second = connect(broker.addr());
    send_join(&mut second, "quiet", 30_000);

    clock.set(-2 * HOUR_S);
    let then = || now_ms() - 2 * HOUR_MS;
    polling.receive().expect("a poll ends after its time");
    receive_join(&mut second);
    assert_eq!(heartbeat(&mut peer, "steady", &steady), 0, "its session goes on");
    let record = |time| batch_at(time, NOBODY, -1, &[b"v".to_vec()]);
    let (_, stamp) = produce(&mut peer, "stamped", &record(now_ms())).expect("its own time does not matter");
    assert!((stamp - then()).abs() < CLOSE_MS, "stamped {stamp}, it is {}", then());
    // An hour is allowed: to the broker a producer with the right time is from the future, as to Kafka.
    assert_eq!(produce(&mut peer, "aged", &record(now_ms())), Err(INVALID_TIMESTAMP));
    assert_eq!(produce(&mut peer, "aged", &record(then())), Ok((4, -1)));
    see_retention_run(&mut peer, then());
    writer.time = Some(then());
    writer.put_many(5);
    writer.assert_kept();
    assert_eq!(log_start(&mut peer, "aged"), 0, "nothing is old");
    assert_eq!(peer.committed("g", TOPIC, 0).expect("an answer"), 3);
    peer.commit("g", TOPIC, 0, 4).expect("committed");

    broker.kill9();
    broker.launch();
    let mut peer = connect(broker.addr());
    until("a coordinator", || peer.find_coordinator("g").is_ok());
    assert_eq!(peer.committed("g", TOPIC, 0).expect("an answer"), 4);
    assert_eq!(log_start(&mut peer, "aged"), 0);
    send_join(&mut peer, "steady", 30_000);
    let steady = receive_join(&mut peer);

    writer.reconnect(broker.addr());
    writer.assert_kept();
    writer.put_many(5);
    clock.set(2 * HOUR_S);
    writer.put_many(5);
    writer.assert_kept();
    assert_eq!(heartbeat(&mut peer, "steady", &steady), 0, "its session goes on");
    until("what is two hours old goes", || log_start(&mut peer, "aged") > 0);
    let (_, stamp) = produce(&mut peer, "stamped", &batch(NOBODY, -1, &[b"v".to_vec()])).expect("taken");
    assert!((stamp - now_ms() - 2 * HOUR_MS).abs() < CLOSE_MS, "stamped {stamp}");
    clock.set(0);
    assert_eq!(peer.committed("g", TOPIC, 0).expect("an answer"), 4);
    see_retention_run(&mut peer, now_ms());
    broker.assert_alive();
}
