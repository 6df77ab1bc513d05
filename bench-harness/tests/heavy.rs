//! Batches that are much work: those that unpack to as much as is allowed, or more, and those that are to be compressed anew. They
//! hold neither the other connections of their core nor memory, and what is sent behind them stays behind them.

use ringlog_bench_harness::broker::Broker;
use ringlog_bench_harness::peer::{Answer, Body, Peer, Producer, batch, frame_batch, now_ms, records};
use ringlog_bench_harness::wait::within;
use ringlog_engine::codec::{Codec, Encoder};
use std::io::ErrorKind;
use std::time::Duration;

const MIB: usize = 1 << 20;
const NOBODY: Producer = Producer { id: -1, epoch: -1 };
/// What a batch may unpack to, as brokers here are told.
const UNPACKED_MAX: usize = 64 * MIB;
/// What makes a plain batch much work: gzip takes about 0.1 s for a mebibyte of what `lines` makes.
const GZIP_ANEW: [(&str, &str); 2] = [("compression.type", "gzip"), ("compression.gzip.level", "9")];

fn broker(name: &str, cores: &str) -> Broker {
    let unpacked = format!("ringlog.max.batch.decompressed.bytes={UNPACKED_MAX}");
    Broker::start(name, &[cores, "message.max.bytes=16777216", &unpacked])
}

fn connect(broker: &Broker) -> Peer {
    let peer = Peer::connect(broker.addr()).expect("a connection");
    // Much work on a busy machine takes its time.
    peer.set_patience(Duration::from_secs(60)).expect("a timeout");
    peer
}

/// A value of this many bytes that takes gzip long.
fn lines(bytes: usize) -> Vec<u8> {
    let (mut state, mut out) = (88_172_645_463_325_252u64, Vec::with_capacity(bytes + 64));
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let line = format!("{{\"user\":{},\"value\":{},\"tag\":\"a{}\"}}", state % 1000, state % 77, state % 13);
        out.extend(line.bytes());
    }
    out.truncate(bytes);
    out
}

/// A compressed batch of one record that unpacks to this many bytes.
fn bomb(codec: Codec, unpacked: usize) -> Vec<u8> {
    let around = records(&[vec![0; unpacked]]).len() - unpacked;
    let plain = records(&[vec![0; unpacked - around]]);
    assert_eq!(plain.len(), unpacked, "lengths in a record take as many bytes as they did");
    let mut packed = Vec::new();
    Encoder::default().compress(codec, codec.default_level(), &plain, &mut packed);
    frame_batch((codec.id(), now_ms()), (NOBODY, -1), 1, &packed)
}

/// Whether the broker has begun to answer.
fn answered(peer: &mut Peer) -> bool {
    let stream = peer.stream();
    stream.set_nonblocking(true).expect("a mode");
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("a mode");
    match peeked {
        Ok(bytes) => {
            assert!(bytes > 0, "the broker closed the connection");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            false
        }
    }
}

/// Writes a record and reads it back.
fn round_trip(peer: &mut Peer, topic: &str) {
    let value = b"small".to_vec();
    peer.send_batch(topic, 0, -1, &batch(NOBODY, -1, std::slice::from_ref(&value))).expect("a request");
    let offset = peer.receive_batch().expect("an answer").expect("it is taken");
    let fetched = peer.fetch(topic, 0, offset).expect("an answer");
    assert_eq!(fetched.records.first().map(|r| &r.value), Some(&value));
}

/// Bombs of every codec at once, just as large as is allowed and a byte larger, on the one core that serves somebody else too.
#[test]
fn bombs() {
    let mut broker = broker("bombs", "ringlog.cores=0");
    let mut small = connect(&broker);
    small.create_topic("small", 1).expect("a topic");
    small.create_topic("bombs", 1).expect("a topic");
    round_trip(&mut small, "small");
    let codecs = [Codec::Zstd, Codec::Gzip, Codec::Lz4, Codec::Snappy];
    let bombs: Vec<(Codec, usize, Vec<u8>)> = [UNPACKED_MAX, UNPACKED_MAX + 1]
        .into_iter()
        .flat_map(|size| codecs.map(|codec| (codec, size, bomb(codec, size))))
        .collect();
    let before = broker.usage().peak_rss;
    let mut peers: Vec<Peer> = bombs.iter().map(|_| connect(&broker)).collect();
    for ((_, _, bomb), peer) in bombs.iter().zip(&mut peers) {
        peer.send_batch("bombs", 0, -1, bomb).expect("a request");
    }
    while !peers.iter_mut().all(answered) {
        round_trip(&mut small, "small");
    }
    let mut taken = Vec::new();
    for ((codec, size, _), peer) in bombs.iter().zip(&mut peers) {
        match peer.receive_batch().expect("an answer") {
            Ok(offset) => {
                assert_eq!(*size, UNPACKED_MAX, "{codec}");
                taken.push(offset);
            }
            Err(code) => assert_eq!((*size, code), (UNPACKED_MAX + 1, 10), "{codec}"),
        }
    }
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2, 3]);
    let grown = (broker.usage().peak_rss - before) as usize;
    assert!(grown < 2 * UNPACKED_MAX, "{} MiB for eight bombs of 64 MiB", grown / MIB);
    broker.assert_alive();
}

/// A batch that takes the better part of a second: the same core answers others meanwhile, each time before that batch.
#[test]
fn others_go_on() {
    let broker = broker("heavy", "ringlog.cores=0");
    let mut small = connect(&broker);
    small.create_topic("small", 1).expect("a topic");
    small.create_topic_with("heavy", 1, &GZIP_ANEW).expect("a topic");
    round_trip(&mut small, "small");
    let heavy = batch(NOBODY, -1, &[lines(8 * MIB)]);
    let mut peers: Vec<Peer> = (0..3).map(|_| connect(&broker)).collect();
    for peer in &mut peers {
        peer.send_batch("heavy", 0, -1, &heavy).expect("a request");
    }
    for trip in 0..10 {
        round_trip(&mut small, "small");
        assert!(!peers.iter_mut().any(answered), "a heavy batch was answered before round trip {trip}");
    }
    for peer in &mut peers {
        peer.receive_batch().expect("an answer").expect("it is taken");
    }
}

/// What an idempotent producer sends behind a heavy batch stays behind it, on the batch's core and from another one.
#[test]
fn nothing_overtakes() {
    let broker = broker("behind", "ringlog.cores=0,0");
    let mut peer = connect(&broker);
    peer.create_topic_with("t", 4, &GZIP_ANEW).expect("a topic");
    let heavy = lines(MIB);
    for partition in 0..4 {
        let producer = peer.init_producer().expect("a producer id");
        for sequence in 0..12 {
            let value = if sequence % 4 == 1 { heavy.clone() } else { vec![b'x'; 10] };
            let bytes = batch(producer, sequence, &[value]);
            peer.send_batch("t", partition, -1, &bytes).expect("a request");
        }
        for offset in 0..12 {
            assert_eq!(peer.receive_batch().expect("an answer"), Ok(offset), "partition {partition}");
        }
    }
}

/// The body of a Produce of version 8, which has a message for each refusal.
fn produce_8(topic: &str, batches: &[(i32, &[u8])]) -> Body {
    let count = i32::try_from(batches.len()).expect("a few partitions");
    let body = Body::default().i16(-1).i16(-1).i32(30_000).i32(1).text(topic).i32(count);
    batches.iter().fold(body, |body, (partition, batch)| body.i32(*partition).bytes(batch))
}

/// Partition, error code, offset and message of each partition of one topic.
fn produced_8(answer: &[u8]) -> Vec<(i32, i16, i64, String)> {
    let mut answer = Answer(answer);
    assert_eq!(answer.i32().expect("topics"), 1);
    answer.text().expect("a topic");
    let lines = (0..answer.i32().expect("partitions")).map(|_| {
        let (partition, code, offset) =
            (answer.i32().expect("partition"), answer.i16().expect("code"), answer.i64().expect("offset"));
        answer.take(16).expect("append time and log start");
        for _ in 0..answer.i32().expect("record errors") {
            answer.i32().expect("index");
            answer.text().expect("message");
        }
        let message = String::from_utf8_lossy(answer.text().expect("message")).into_owned();
        (partition, code, offset, message)
    });
    let lines = lines.collect();
    assert_eq!(answer.0.len(), 4, "only the throttle time follows");
    lines
}

/// One request for several partitions, some of whose batches are heavy, and one of those is refused: each answer in its place.
#[test]
fn among_others_in_a_request() {
    let broker = broker("among", "ringlog.cores=0,0");
    let mut peer = connect(&broker);
    peer.create_topic_with("t", 6, &GZIP_ANEW).expect("a topic");
    let small = batch(NOBODY, -1, &[b"small".to_vec()]);
    let heavy = batch(NOBODY, -1, &[lines(MIB)]);
    let over = bomb(Codec::Zstd, UNPACKED_MAX + 1);
    let batches = [(0, &small[..]), (1, &heavy), (2, &over), (3, &small), (4, &heavy), (5, &small)];
    for round in 0..3 {
        peer.send(0, 8, produce_8("t", &batches)).expect("a request");
        peer.send(0, 8, produce_8("t", &batches[..1])).expect("a request");
        let message = "Decompressed records are larger than the limit";
        // Partition 0 is in both requests.
        let wanted: Vec<(i32, i16, i64, String)> = (0..6)
            .map(|partition| match partition {
                0 => (partition, 0, 2 * round, String::new()),
                2 => (partition, 10, -1, message.to_string()),
                _ => (partition, 0, round, String::new()),
            })
            .collect();
        assert_eq!(produced_8(&peer.receive().expect("an answer")), wanted);
        let next = (0, 0, 2 * round + 1, String::new());
        assert_eq!(produced_8(&peer.receive().expect("an answer")), [next]);
    }
}

/// Peers that leave while their batch is checked or waits for it, a topic that is deleted meanwhile, and a broker that is stopped.
#[test]
fn gone_meanwhile() {
    let mut broker = broker("gone", "ringlog.cores=0");
    let mut small = connect(&broker);
    small.create_topic("small", 1).expect("a topic");
    for topic in ["heavy", "deleted"] {
        small.create_topic_with(topic, 1, &GZIP_ANEW).expect("a topic");
    }
    round_trip(&mut small, "small");
    let descriptors = broker.usage().descriptors;
    let heavy = batch(NOBODY, -1, &[lines(4 * MIB)]);
    let send = |topic: &str| {
        let mut peer = connect(&broker);
        peer.send_batch(topic, 0, -1, &heavy).expect("a request");
        peer
    };
    for _ in 0..4 {
        drop(send("heavy"));
    }
    let mut last = send("deleted");
    small.delete_topic("deleted").expect("deleted");
    round_trip(&mut small, "small");
    assert_eq!(last.receive_batch().expect("an answer"), Err(3), "the partition is not there any more");
    drop(last);
    within(Duration::from_secs(30), "connections that are gone are closed", || {
        broker.usage().descriptors <= descriptors + 2
    });
    let staying: Vec<Peer> = (0..4).map(|_| send("heavy")).collect();
    round_trip(&mut small, "small");
    let (status, took) = broker.terminate();
    assert!(status.success() && took < Duration::from_secs(1), "{status}, after {took:?}");
    drop(staying);
}
