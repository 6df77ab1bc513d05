//! Peers that are not Kafka clients, or bad ones: other protocols on the port, thousands that say nothing, one that never reads, one
//! byte at a time; and the broker as an ordinary user with small limits. In each case the others are served as before.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringlog_bench_harness::broker::{Broker, Options, answers, ringlog_binary};
use ringlog_bench_harness::peer::{Answer, Body, Peer, Producer, batch, frame_batch, now_ms, records};
use ringlog_bench_harness::wait::within;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// The Kafka request `answers` sends: ApiVersions, version 0.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

/// Writes a record and reads it back: the broker serves.
fn serves(broker: &mut Broker, topic: &str) {
    broker.assert_alive();
    let mut peer = Peer::connect(broker.addr()).expect("a connection");
    peer.create_topic(topic, 1).expect("a topic");
    let value = b"served".to_vec();
    let bytes = batch(Producer { id: -1, epoch: -1 }, -1, std::slice::from_ref(&value));
    let begun = Instant::now();
    let offset = loop {
        peer.send_batch(topic, 0, -1, &bytes).expect("a request");
        match peer.receive_batch().expect("an answer") {
            Ok(offset) => break offset,
            Err(code) => assert!(begun.elapsed() < Duration::from_secs(10), "error code {code}"),
        }
    };
    let fetched = peer.fetch(topic, 0, offset).expect("an answer");
    assert_eq!(fetched.records.first().map(|r| &r.value), Some(&value));
}

/// Reads until the broker closes the connection; panics when it does not, or when it says more than `most` bytes.
fn is_closed(mut peer: TcpStream, most: usize) {
    peer.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut heard = Vec::new();
    match peer.read_to_end(&mut heard) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset, "{e}"),
    }
    assert!(heard.len() <= most, "{heard:?}");
}

/// What one asks of epochs this log has not had, and batches of transactions: Kafka's codes, as a Kafka 4.2.0 broker gave them.
#[test]
fn epochs_and_transactions_that_are_not() {
    let broker = Broker::start("nowhere", &[]);
    let mut peer = Peer::connect(broker.addr()).expect("a connection");
    peer.create_topic("nowhere", 1).expect("a topic");
    let values = [b"x".to_vec()];
    let nobody = Producer { id: -1, epoch: -1 };
    let transactional = frame_batch((0x10, now_ms()), (Producer { id: 5, epoch: 0 }, 0), 1, &records(&values));
    for (bytes, expected) in [(transactional, Err(53)), (batch(nobody, -1, &values), Ok(0))] {
        peer.send_batch("nowhere", 0, -1, &bytes).expect("a request");
        assert_eq!(peer.receive_batch().expect("an answer"), expected);
    }
    for (asked, known) in [(-1, (-1, -1)), (0, (0, 1)), (5, (-1, -1))] {
        let body = Body::default().i32(-1).place("nowhere", 0).i32(-1).i32(asked);
        let answer = peer.call(23, 3, body).expect("an answer");
        let mut answer = Answer(&answer);
        answer.i32().expect("a throttle time");
        // Its error comes before its partition.
        let (topics, name, partitions) = (answer.i32(), answer.text().map(<[u8]>::to_vec), answer.i32());
        assert_eq!((topics.unwrap(), &name.unwrap()[..], partitions.unwrap()), (1, &b"nowhere"[..], 1));
        assert_eq!((answer.i16().unwrap(), answer.i32().unwrap()), (0, 0));
        assert_eq!((answer.i32().unwrap(), answer.i64().unwrap()), known, "epoch {asked}");
    }
    for (last_fetched, code) in [(0, 0), (5, 1)] {
        let head = Body::default().i32(-1).i32(0).i32(1).i32(1 << 20).i8(0).i32(0).i32(-1);
        let topic = head.compact(1).compact(7).raw(b"nowhere").compact(1);
        let partition = topic.i32(0).i32(-1).i64(1).i32(last_fetched).i64(-1).i32(1 << 20);
        // Tags, forgotten topics, rack, tags.
        let body = partition.raw(&[0, 0]).compact(0).compact(0).raw(&[0]);
        let answer = peer.call_flexible(1, 12, body).expect("an answer");
        let mut answer = Answer(&answer);
        assert_eq!((answer.i32().unwrap(), answer.i16().unwrap(), answer.i32().unwrap()), (0, 0, 0));
        assert_eq!((answer.compact().unwrap(), answer.compact().unwrap()), (1, 7));
        answer.take(7).expect("the topic");
        assert_eq!((answer.compact().unwrap(), answer.i32().unwrap()), (1, 0));
        assert_eq!(answer.i16().unwrap(), code, "last fetched epoch {last_fetched}");
    }
}

/// A TLS hello, an HTTP request, an SSH greeting, a size of 2 GiB, a negative size: each is a closed connection, and no memory.
#[test]
fn other_protocols() {
    let mut broker = Broker::start("hostile", &[]);
    let before = broker.usage().peak_rss;
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x5a; 500]].concat();
    let strangers: [&[u8]; 5] = [
        &hello,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 1],
        &[0xff, 0xff, 0xff, 0xff, 0, 3, 0, 1],
    ];
    for bytes in strangers {
        let mut peer = TcpStream::connect(broker.addr()).expect("a connection");
        peer.write_all(bytes).expect("written");
        is_closed(peer, 0);
    }
    serves(&mut broker, "after-strangers");
    let grown = broker.usage().peak_rss - before;
    assert!(grown < 64 * MIB, "{} MiB for strangers", grown / MIB);
}

/// Two thousand connections that say nothing, and as many that stop in the middle of a size.
#[test]
fn idle_connections() {
    // Both ends need descriptors: the test's own, and the broker's, which inherits the limit.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let wanted = soft.max(5000.min(hard));
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).expect("up to the hard limit");
    assert!(wanted >= 2500, "this machine allows {hard} open files");
    let mut broker = Broker::start("idle", &[]);
    serves(&mut broker, "before");
    let before = broker.usage().rss;
    let mut idle = Vec::new();
    for i in 0..2000 {
        let mut peer = TcpStream::connect(broker.addr()).expect("a connection");
        if i % 2 == 1 {
            peer.write_all(&[0, 0]).expect("written");
        }
        idle.push(peer);
    }
    serves(&mut broker, "among-idle");
    let grown = broker.usage().rss.saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB for 2,000 idle connections", grown / MIB);
    // They are alive still: each can ask.
    for peer in idle.iter_mut().step_by(100) {
        peer.write_all(&API_VERSIONS).expect("written");
        peer.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let mut head = [0; 8];
        peer.read_exact(&mut head).expect("an answer");
        assert_eq!(head[4..], [0, 0, 0, 1]);
    }
    drop(idle);
    serves(&mut broker, "after-idle");
}

/// A request that comes one byte at a time is answered like any other.
#[test]
fn one_byte_at_a_time() {
    let mut broker = Broker::start("bytewise", &[]);
    let mut peer = TcpStream::connect(broker.addr()).expect("a connection");
    peer.set_nodelay(true).expect("no delay");
    for byte in API_VERSIONS {
        peer.write_all(&[byte]).expect("written");
        // Another client's whole request between two bytes of this one.
        assert!(answers(broker.addr()).expect("an answer"));
    }
    peer.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut head = [0; 8];
    peer.read_exact(&mut head).expect("an answer");
    assert_eq!(head[4..], [0, 0, 0, 1]);
    serves(&mut broker, "after-bytewise");
}

/// Peers that announce a mebibyte and then send a byte now and then: each holds what it sent, and nobody else.
#[test]
fn drip_feed() {
    let mut broker = Broker::start("drip", &["ringlog.cores=0"]);
    serves(&mut broker, "before");
    let before = broker.usage().peak_rss;
    let head = [&(1u32 << 20).to_be_bytes()[..], &[0, 0, 0, 7, 0, 0, 0, 1, 0xff, 0xff]].concat();
    let mut peers: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut peer = TcpStream::connect(broker.addr()).expect("a connection");
            peer.set_nodelay(true).expect("no delay");
            peer.write_all(&head).expect("written");
            peer
        })
        .collect();
    for round in 0..20 {
        for peer in &mut peers {
            peer.write_all(&[0]).expect("written");
        }
        serves(&mut broker, &format!("beside-{round}"));
    }
    let grown = broker.usage().peak_rss - before;
    assert!(grown < 32 * MIB, "{} MiB for 200 peers that sent 35 bytes each", grown / MIB);
    drop(peers);
    serves(&mut broker, "after-the-drips");
}

/// A peer that asks and asks and never reads: it is slowed down, not stored. What it may cost is bounded, and others are served.
#[test]
fn never_reads() {
    let mut broker = Broker::start("deaf", &[]);
    serves(&mut broker, "filled");
    let before = broker.usage().peak_rss;
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut peer = TcpStream::connect(broker.addr()).expect("a connection");
        peer.set_nonblocking(true).expect("non-blocking");
        let asking: Vec<u8> = API_VERSIONS.repeat(4096);
        let mut asked = 0usize;
        // Until the broker reads no more of it: its answers have nowhere to go.
        let begun = Instant::now();
        let mut last = Instant::now();
        while asked < 64 << 20 && begun.elapsed() < Duration::from_secs(20) {
            match peer.write(&asking[asked % 14..]) {
                Ok(n) => {
                    asked += n;
                    last = Instant::now();
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if last.elapsed() > Duration::from_millis(300) {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(_) => break,
            }
        }
        deaf.push(peer);
    }
    serves(&mut broker, "beside-the-deaf");
    let grown = broker.usage().peak_rss - before;
    assert!(grown < 128 * MIB, "{} MiB for 20 peers that never read", grown / MIB);
}

/// Connections that are cut in the middle of a request, and in the middle of an answer.
#[test]
fn cut_half_way() {
    let mut broker = Broker::start("cut", &[]);
    for i in 0..200 {
        let mut peer = TcpStream::connect(broker.addr()).expect("a connection");
        let part = 1 + i % (API_VERSIONS.len() - 1);
        peer.write_all(&API_VERSIONS[..part]).expect("written");
        drop(peer);
        let mut peer = TcpStream::connect(broker.addr()).expect("a connection");
        peer.write_all(&API_VERSIONS.repeat(50)).expect("written");
        let mut some = [0; 5];
        peer.read_exact(&mut some).expect("the start of an answer");
        drop(peer);
    }
    serves(&mut broker, "after-cuts");
    within(Duration::from_secs(10), "at most 150 descriptors stay open", || broker.usage().descriptors <= 150);
}

/// Root hides limits: the broker as an ordinary user with 8 MiB of locked memory and 1,024 descriptors serves all the same. Where the
/// test does not run as root, it is an ordinary user already.
#[test]
fn ordinary_user() {
    let root = std::fs::metadata("/proc/self").expect("/proc").uid() == 0;
    let mut wrapper: Vec<String> =
        ["prlimit", "--memlock=8388608:8388608", "--nofile=1024:1024"].iter().map(|w| (*w).to_string()).collect();
    if root {
        let user =
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs"];
        wrapper.extend(user.iter().map(|w| (*w).to_string()));
    }
    // The repository may lie where only root can look: program and data are put where anybody can.
    let home = PathBuf::from(format!("/var/tmp/ringlog-ordinary-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("/var/tmp is writable");
    let binary = home.join("ringlog");
    std::fs::copy(ringlog_binary(), &binary).expect("a copy");
    let options = Options { wrapper, home: Some(home.clone()), binary: Some(binary), ..Options::default() };
    let mut broker = Broker::prepare("ordinary", options);
    std::fs::create_dir_all(broker.data_dir()).expect("a directory");
    if root {
        chown(broker.data_dir(), Some(65534), Some(65534)).expect("root may");
    }
    broker.launch();
    serves(&mut broker, "ordinary");
    let status = std::fs::read_to_string(format!("/proc/{}/limits", broker.pid())).expect("its limits");
    let limit = |name: &str| status.lines().find(|l| l.starts_with(name)).expect("a limit").to_string();
    assert!(limit("Max locked memory").contains("8388608"), "{status}");
    assert!(limit("Max open files").contains("1024"), "{status}");
    // Connections up to what the descriptors allow, and the broker lives.
    let mut many = Vec::new();
    for _ in 0..1200 {
        if let Ok(peer) = TcpStream::connect(broker.addr()) {
            many.push(peer);
        }
    }
    broker.assert_alive();
    drop(many);
    let begun = Instant::now();
    while !answers(broker.addr()).unwrap_or(false) {
        assert!(begun.elapsed() < Duration::from_secs(10), "no answer after the crowd left");
    }
    serves(&mut broker, "after-the-crowd");
    let (status, took) = broker.terminate();
    assert!(status.success() && took < Duration::from_secs(1), "{status}, after {took:?}");
    drop(broker);
    std::fs::remove_dir_all(home).expect("our own directory");
}
