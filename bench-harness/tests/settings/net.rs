//! Settings of connections, listeners and requests, and the bounds on what is held for them.

use super::client::{BROKER, Client, NOBODY, broker, options, values};
use nix::sys::signal::Signal;
use ringlog_bench_harness::broker::{Broker, free_port, free_ports};
use ringlog_bench_harness::peer::{Body, Peer, batch};
use ringlog_bench_harness::wait::until;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// A fetch that wants more bytes than there are is answered when there are as many, whichever core they are on and however
/// little comes at a time, and with all of them.
#[test]
fn a_fetch_wakes_when_it_has_the_bytes_it_wants() {
    let broker = broker("min-bytes", &[]);
    let mut writer = Peer::connect(broker.addr()).expect("a connection");
    let mut reader = Peer::connect(broker.addr()).expect("a connection");
    let bytes = batch(NOBODY, -1, &values(1, 100));
    let mut write = |topic: &str| {
        writer.send_batch(topic, 0, -1, &bytes).expect("a request");
        writer.receive_batch().expect("an answer").expect("it is appended");
    };
    // By chance on this core or that.
    for name in ["a", "b", "c", "d", "e", "f"] {
        reader.create_topic(name, 1).expect("a topic");
        write(name);
        // Longer than a peer's patience.
        let wants = i32::try_from(3 * bytes.len()).expect("few");
        let body = Body::default().i32(-1).i32(600_000).i32(wants).i32(1 << 20).i8(0);
        reader.send(1, 4, body.place(name, 0).i64(0).i32(1 << 20)).expect("a request");
        write(name);
        write(name);
        let answer = reader.receive().expect("an answer within a peer's patience");
        assert!(answer.len() > 3 * bytes.len(), "{} bytes of {wants}", answer.len());
    }
}

/// A fetch that wants more than is left of its segment is answered with that, as in Kafka: the rest is in the next one.
#[test]
fn a_fetch_does_not_wait_at_the_end_of_a_segment() {
    let broker = broker("segment-end", &[]);
    let mut peer = Peer::connect(broker.addr()).expect("a connection");
    peer.create_topic_with("segments", 1, &[("segment.bytes", "1048576")]).expect("a topic");
    let bytes = batch(NOBODY, -1, &values(1, 400_000));
    for _ in 0..5 {
        peer.send_batch("segments", 0, -1, &bytes).expect("a request");
        peer.receive_batch().expect("an answer").expect("it is appended");
    }
    let body = Body::default().i32(-1).i32(600_000).i32(2_000_000).i32(4 << 20).i8(0);
    let answer =
        peer.call(1, 4, body.place("segments", 0).i64(1).i32(4 << 20)).expect("an answer within a peer's patience");
    assert!(answer.len() > bytes.len(), "{} bytes", answer.len());
}

/// A fetch that waits for nothing waits for the disk: what is behind memory comes with the first answer.
#[test]
fn a_fetch_without_patience_reads_from_disk() {
    let mut broker = broker("impatient", &[]);
    let mut client = Client::of(&broker);
    client.create("t", 1, &[]);
    client.put("t", 0, 100_000);
    broker.kill9();
    broker.launch();
    let mut client = Client::of(&broker);
    assert!(client.fetch("t", 0, 0, 1 << 20).bytes.len() > 100_000);
}

/// Asks for ApiVersions without waiting.
fn hail(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("a connection");
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]).expect("written");
    stream
}

/// Whether the answer to [`hail`] came, or the end.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Heard {
    Answer,
    End,
    Nothing,
}

fn heard(stream: &mut TcpStream) -> Heard {
    stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a socket");
    match stream.read(&mut [0; 4096]) {
        Ok(0) => Heard::End,
        Ok(_) => Heard::Answer,
        Err(e) if e.kind() == ErrorKind::ConnectionReset => Heard::End,
        Err(_) => Heard::Nothing,
    }
}

/// All but so many are answered, and those wait for others to leave.
#[test]
pub(crate) fn connections() {
    let broker = broker("connections", &["max.connections=3", "ringlog.cores=0,0"]);
    // The one that saw the start may still be leaving.
    let mut crowd: Vec<(TcpStream, bool)> = Vec::new();
    until("three are answered", || {
        if crowd.len() < 5 {
            crowd.push((hail(broker.addr()), false));
        }
        for (stream, answered) in &mut crowd {
            *answered |= heard(stream) == Heard::Answer;
        }
        crowd.iter().filter(|(_, answered)| *answered).count() == 3 && crowd.len() == 5
    });
    for (stream, answered) in &mut crowd {
        assert!(*answered || heard(stream) == Heard::Nothing, "the others wait");
    }
    let at = crowd.iter().position(|(_, answered)| *answered).expect("three were");
    crowd.remove(at);
    until("one more is answered", || {
        for (stream, answered) in &mut crowd {
            *answered |= heard(stream) == Heard::Answer;
        }
        crowd.iter().filter(|(_, answered)| *answered).count() == 3
    });
    crowd.retain(|(_, answered)| *answered);
    let mut client = Client(Peer::connect(broker.addr()).unwrap());
    crowd.pop();
    client.alter(BROKER, "", "max.connections", Some("10"));
    let mut more: Vec<TcpStream> = (0..5).map(|_| hail(broker.addr())).collect();
    for stream in &mut more {
        until("a raised bound acts at once", || heard(stream) == Heard::Answer);
    }
}

/// Connections of one address beyond its bound are closed; another address has its own.
#[test]
pub(crate) fn connections_of_one_address() {
    let wide = ["max.connections.per.ip=2", "max.connections.per.ip.overrides=127.0.0.1:4", "ringlog.cores=0,0"];
    let broker = broker("per-ip", &wide);
    let from = |source: [u8; 4]| {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
        use std::os::fd::AsRawFd;
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).expect("a socket");
        let [a, b, c, d] = source;
        bind(fd.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0)).expect("all of 127 is ours");
        connect(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, broker.addr().port())).expect("a connection");
        let mut stream = TcpStream::from(fd);
        // It may be closed before this arrives.
        let _ = stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
        stream
    };
    // Room is made as soon as the broker has seen one leave.
    let fits = |source: [u8; 4], held: &mut Vec<TcpStream>| {
        let mut stream = from(source);
        let mut last = Heard::Nothing;
        until("an answer or an end", || {
            last = heard(&mut stream);
            last != Heard::Nothing
        });
        if last == Heard::Answer {
            held.push(stream);
        }
        last == Heard::Answer
    };
    let (mut other, mut own) = (Vec::new(), Vec::new());
    assert!(fits([127, 0, 0, 2], &mut other) && fits([127, 0, 0, 2], &mut other));
    assert!(!fits([127, 0, 0, 2], &mut other), "the third");
    until("four of the other address", || {
        fits([127, 0, 0, 1], &mut own);
        own.len() == 4
    });
    assert!(!fits([127, 0, 0, 1], &mut own), "the fifth");
    drop(other);
    until("room again", || fits([127, 0, 0, 2], &mut Vec::new()));
}

/// New connections come in at the rate set, later ones wait.
#[test]
pub(crate) fn creation_rate() {
    let broker = broker("rate", &["max.connection.creation.rate=10"]);
    let begun = Instant::now();
    let mut crowd: Vec<TcpStream> = (0..25).map(|_| hail(broker.addr())).collect();
    for stream in &mut crowd {
        until("an answer", || heard(stream) == Heard::Answer);
    }
    // Ten at once, then one every tenth of a second: never sooner, however fast the machine.
    assert!(begun.elapsed() >= Duration::from_millis(1400), "{:?}", begun.elapsed());
}

/// A connection without traffic is closed.
#[test]
pub(crate) fn idle_connections() {
    let broker = broker("idle", &["connections.max.idle.ms=300"]);
    let mut idle = Client::of(&broker);
    let mut stream = hail(broker.addr());
    until("an answer", || heard(&mut stream) == Heard::Answer);
    until("the end", || heard(&mut stream) == Heard::End);
    assert!(idle.is_closed());
}

/// A request beyond the bound closes its connection, one within it does not.
#[test]
pub(crate) fn request_size() {
    let broker = broker("request", &["socket.request.max.bytes=200000"]);
    let mut client = Client::of(&broker);
    client.create("t", 1, &[]);
    client.put("t", 0, 190_000);
    client.0.send_batch("t", 0, -1, &batch(NOBODY, -1, &values(1, 210_000))).ok();
    assert!(client.is_closed());
}

/// Bytes a stopped broker's kernel takes from one connection before the client must wait.
fn taken_by_kernel(broker: &Broker) -> usize {
    let mut stream = hail(broker.addr());
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::SndBuf, &4096).expect("a socket");
    until("an answer", || heard(&mut stream) == Heard::Answer);
    broker.signal(Signal::SIGSTOP);
    stream.set_nonblocking(true).expect("a socket");
    let (mut taken, mut calm) = (0, 0);
    // A few looks in a row without room: what is in flight has arrived.
    while calm < 20 {
        match stream.write(&[0; 4096]) {
            Ok(n) => (taken, calm) = (taken + n, 0),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                calm += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) => panic!("{e}"),
        }
    }
    broker.signal(Signal::SIGCONT);
    taken
}

/// Bytes in the send queue of the broker's end of a connection, as the kernel tells.
fn queued(broker: &Broker, client: SocketAddr) -> u64 {
    let hex = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from(ip).swap_bytes(), addr.port()),
        IpAddr::V6(ip) => panic!("{ip}"),
    };
    let (local, remote) = (hex(broker.addr()), hex(client));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let line = table.lines().find(|line| line.contains(&format!("{local} {remote}"))).expect("the connection");
    let queue = line.split_whitespace().nth(4).and_then(|q| q.split(':').next()).expect("its queues");
    u64::from_str_radix(queue, 16).expect("a number")
}

/// Small socket buffers hold little, large ones much.
#[test]
pub(crate) fn socket_buffers() {
    let of = |bytes: usize| {
        let both = [format!("socket.receive.buffer.bytes={bytes}"), format!("socket.send.buffer.bytes={bytes}")];
        broker("buffers", &[&both[0], &both[1]])
    };
    let (small, large) = (of(8 << 10), of(MIB));
    let (few, many) = (taken_by_kernel(&small), taken_by_kernel(&large));
    assert!(few < 200 << 10 && many > 2 * few, "{few} and {many} bytes received");
    let sent = |broker: &Broker| {
        let mut client = Client::of(broker);
        client.create("t", 1, &[]);
        for _ in 0..8 {
            client.put("t", 0, MIB - 1000);
        }
        nix::sys::socket::setsockopt(client.0.stream(), nix::sys::socket::sockopt::RcvBuf, &4096).expect("a socket");
        client.send_fetch("t", 0, 0, 16 << 20, 0);
        let local = client.0.stream().local_addr().expect("a socket");
        let mut most = 0;
        for _ in 0..50 {
            most = most.max(queued(broker, local));
            std::thread::sleep(Duration::from_millis(5));
        }
        most
    };
    let (few, many) = (sent(&small), sent(&large));
    assert!(few < 200 << 10 && many > 2 * few, "{few} and {many} bytes sent");
}

/// A stopped broker's kernel completes no more connections than the backlog.
#[test]
pub(crate) fn backlog() {
    let waiting = |setting: &str| {
        let broker = broker("backlog", &[setting]);
        broker.signal(Signal::SIGSTOP);
        let mut held = Vec::new();
        while held.len() < 100
            && let Ok(stream) = TcpStream::connect_timeout(&broker.addr(), Duration::from_millis(300))
        {
            held.push(stream);
        }
        broker.signal(Signal::SIGCONT);
        held.len()
    };
    let few = waiting("socket.listen.backlog.size=4");
    assert!(few <= 8, "{few}");
    assert_eq!(waiting("socket.listen.backlog.size=120"), 100);
}

/// Whether a batch that comes while a fetch waits for it gets through: from the same connection, and from others.
fn wakes(name: &str, overrides: &[&str], bytes: usize, same: bool) -> bool {
    let broker = broker(name, overrides);
    let mut first = Client::of(&broker);
    first.create("t", 1, &[("max.message.bytes", "2000000")]);
    let batch = batch(NOBODY, -1, &values(1, bytes));
    let mut others: Vec<Client> = if same { Vec::new() } else { (0..3).map(|_| Client::of(&broker)).collect() };
    for other in &mut others {
        other.metadata(&["t"], false);
    }
    let mut all = true;
    for k in 0..others.len().max(1) {
        let end = first.offset("t", 0, -1);
        // Long enough that a batch that is let through comes well before.
        first.send_fetch("t", 0, end, 100, 1500);
        let sender = if same { &mut first } else { &mut others[k] };
        sender.0.send_batch("t", 0, -1, &batch).expect("sent");
        if same {
            all &= !first.receive_fetch().bytes.is_empty();
            assert!(first.0.receive_batch().expect("an answer").is_ok());
        } else {
            assert!(sender.0.receive_batch().expect("an answer").is_ok());
            all &= !first.receive_fetch().bytes.is_empty();
        }
    }
    all
}

/// What is held of requests is bounded: beyond it the next waits in its socket until an earlier one is answered.
#[test]
pub(crate) fn requests_held() {
    assert!(wakes("held", &[], 100, true));
    assert!(!wakes("held-requests", &["ringlog.inflight.connection.requests=1"], 100, true));
    let mib = "socket.request.max.bytes=1048576";
    // With the bytes around it a request of nearly a mebibyte, to which those of a waiting fetch are too many.
    let large = MIB - 140;
    let connection = ["ringlog.inflight.connection.bytes=1048576", mib];
    assert!(wakes("held-small", &connection, 100, true));
    assert!(!wakes("held-connection", &connection, large, true));
    assert!(wakes("held-others", &connection, large, false));
    let core = [connection[0], mib, "ringlog.inflight.core.bytes=1048576"];
    assert!(!wakes("held-core", &[core[0], core[1], core[2], "ringlog.cores=0"], large, false));
    let all = [connection[0], mib, "ringlog.inflight.core.bytes=2097152", "ringlog.cores=0,0"];
    assert!(wakes("held-shares", &[all[0], all[1], all[2], all[3]], large, false));
    let process = "ringlog.inflight.bytes=2097152";
    assert!(!wakes("held-process", &[all[0], all[1], all[2], all[3], process], large, false));
}

/// A fetch brings no more than the bound, but for the first batch; sessions are given out up to their number.
#[test]
pub(crate) fn fetches() {
    let slots = "max.incremental.fetch.session.cache.slots";
    let few = broker("fetches", &["fetch.max.bytes=10000", &format!("{slots}=2"), "ringlog.cores=0"]);
    let mut client = Client::of(&few);
    client.create("t", 1, &[]);
    for _ in 0..20 {
        client.put("t", 0, 2000);
    }
    let got = client.fetch("t", 0, 0, 1 << 20).bytes.len();
    assert!((2000..=10_000).contains(&got), "{got}");
    client.put("t", 0, 50_000);
    assert!(client.fetch("t", 0, 20, 1 << 20).bytes.len() > 50_000, "the first batch comes whole");
    let ids: Vec<i32> = (0..3).map(|_| client.session("t")).collect();
    assert!(ids[0] > 0 && ids[1] > 0 && ids[2] == 0, "{ids:?}");
    let none = broker("no-sessions", &[&format!("{slots}=0")]);
    let mut client = Client::of(&none);
    client.create("t", 1, &[]);
    assert_eq!(client.session("t"), 0);
}

/// DescribeTopicPartitions answers no more partitions than the bound, and where to go on.
#[test]
pub(crate) fn described_partitions() {
    let broker = broker("described", &["max.request.partition.size.limit=3"]);
    let mut client = Client::of(&broker);
    client.create("t", 5, &[]);
    // One topic, a compact name, no tags; two thousand asked for; no cursor; no tags.
    let body = Body(vec![2, 2, b't', 0]).i32(2000).i8(-1).i8(0);
    let answer = client.0.call_flexible(75, 0, body).expect("an answer");
    // Throttle, topics + 1, code, name, id, internal, partitions + 1.
    let count = answer[4 + 1 + 2 + 2 + 16 + 1];
    assert_eq!(count, 3 + 1, "{answer:?}");
}

/// Each listener tells its own address, and an advertised one instead; IPv6 and every address are listened on.
#[test]
pub(crate) fn listeners() {
    let (out, in6, any) = (free_port(), free_port(), free_port());
    let mut settings = options(&[
        &format!("listeners=OUT://127.0.0.1:{out},IN6://[::1]:{in6},ANY://:{any}"),
        &format!("advertised.listeners=OUT://broker.example:1234,IN6://[::1]:{in6},ANY://any.example:77"),
        "listener.security.protocol.map=OUT:PLAINTEXT,IN6:PLAINTEXT,ANY:PLAINTEXT,UNUSED:SSL",
        "inter.broker.listener.name=IN6",
        "ringlog.cores=0,0",
        "broker.rack=r7",
        "node.id=5",
    ]);
    settings.overrides.sort();
    let mut broker = Broker::prepare("listeners", settings);
    // Its own port is not listened on.
    broker.spawn();
    let v4 = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = |port| format!("[::1]:{port}").parse::<SocketAddr>().expect("an address");
    until("it answers", || Peer::connect(v4(out)).is_ok());
    let told = |at: SocketAddr| Client::at(at).metadata(&[], false).brokers;
    let row = |host: &str, port: u16| vec![(5, host.to_string(), i32::from(port), "r7".to_string())];
    assert_eq!(told(v4(out)), row("broker.example", 1234));
    assert_eq!(told(v6(in6)), row("::1", in6));
    for at in [v4(any), v6(any)] {
        assert_eq!(told(at), row("any.example", 77));
    }
    // Coordinators are found at the listener that was asked.
    let mut client = Client::at(v6(in6));
    client.coordinated("g");
    broker.assert_alive();
    let (status, _) = broker.terminate();
    assert!(status.success());
    // Unadvertised: a wildcard is told as the machine's name, never as itself.
    let text = [format!("listeners=PLAINTEXT://0.0.0.0:{any}"), "broker.id=9".to_string(), "node.id=9".to_string()];
    let mut broker = Broker::prepare("wildcard", options(&[&text[0], &text[1], &text[2]]));
    broker.spawn();
    until("it answers", || Peer::connect(v4(any)).is_ok());
    let brokers = told(v4(any));
    assert_eq!((brokers[0].0, brokers[0].2), (9, i32::from(any)));
    assert!(!brokers[0].1.is_empty() && brokers[0].1 != "0.0.0.0", "{brokers:?}");
}

/// Each core a broker: on a port of its own, told at the advertised port with its number, holding partitions nobody else tells of. A
/// port that is taken stops the start and is named.
#[test]
pub(crate) fn cores_as_brokers() {
    let port = free_ports(3);
    let settings = options(&[
        &format!("listeners=OUT://127.0.0.1:{port}"),
        "advertised.listeners=OUT://broker.example:1234",
        "listener.security.protocol.map=OUT:PLAINTEXT",
        "ringlog.advertise=cores",
        "ringlog.cores=0,0,0",
        "node.id=5",
    ]);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 2)).expect("it was free a moment ago");
    let mut broker = Broker::prepare("cores", settings);
    broker.spawn();
    assert!(!broker.wait(Duration::from_secs(20)).success());
    let said = format!("OUT cannot listen on 127.0.0.1:{} for core 2", port + 2);
    assert!(broker.log().contains(&said), "{}", broker.log());
    drop(taken);
    broker.spawn();
    let at = |core: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port + core));
    until("it answers", || Peer::connect(at(0)).is_ok());
    let row = |core: i32| (5 + core * 1_048_576, "broker.example".to_string(), 1234 + core, String::new());
    Client::at(at(0)).create("t", 6, &[]);
    let mut held = Vec::new();
    for core in 0..3 {
        let mut client = Client::at(at(core));
        assert_eq!(client.metadata(&[], false).brokers, [row(0), row(1), row(2)]);
        // Every core serves every partition.
        (0..6).for_each(|partition| assert_eq!(client.put("t", partition, 100), i64::from(core)));
        held.push(client.log_dirs()[0].2.iter().filter(|(name, _)| name.starts_with("t-")).count());
    }
    assert_eq!(held, [2, 2, 2], "each core tells of its own partitions");
    broker.assert_alive();
    let (status, _) = broker.terminate();
    assert!(status.success());
}
