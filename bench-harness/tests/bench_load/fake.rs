//! A broker in this process that can lie: a small TCP server that keeps records in memory, and does one wrong thing at a known request.

use ringlog_bench_harness::peer::{Answer, Body};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What is done wrong with a produce request, counted over all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Nothing is answered to anybody for this long.
    Stall(Duration),
    /// Acknowledged, and not kept.
    Lose,
    /// Kept twice.
    Double,
    /// Kept behind the next of its partition.
    Reorder,
    /// A byte is kept otherwise than it came, with or without a checksum that fits.
    Corrupt {
        checksum: bool,
    },
    /// Refused with this error.
    Refuse(i16),
    /// Never answered, while others are.
    Swallow,
    Close,
    /// These bytes instead of an answer.
    Say(&'static [u8]),
}

struct Stored {
    base: i64,
    end: i64,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Log {
    batches: Vec<Stored>,
    next: i64,
    held: Option<Vec<u8>>,
    /// By producer id: the sequence that comes next.
    sequences: HashMap<i64, i32>,
}

#[derive(Default)]
struct State {
    logs: HashMap<(String, i32), Log>,
    produced: u64,
    /// Records that were refused because this node does not lead their partition.
    misdirected: u64,
    silent_until: Option<Instant>,
    producers: i64,
}

struct World {
    state: Mutex<State>,
    grown: Condvar,
    /// The produce request that meets the fault.
    at: u64,
    fault: Fault,
    nodes: Vec<SocketAddr>,
}

/// The server; its threads end with their connections.
pub(crate) struct Fake {
    world: Arc<World>,
}

impl Fake {
    /// One that does `fault` at its `at`th produce request, as a cluster of so many nodes: partitions are led by them in turn.
    pub(crate) fn new(nodes: usize, at: u64, fault: Fault) -> Fake {
        let listeners: Vec<TcpListener> =
            (0..nodes).map(|_| TcpListener::bind("127.0.0.1:0").expect("a loopback port")).collect();
        let nodes = listeners.iter().map(|l| l.local_addr().expect("it is bound")).collect();
        let world = Arc::new(World { state: Mutex::default(), grown: Condvar::new(), at, fault, nodes });
        for (node, listener) in listeners.into_iter().enumerate() {
            let world = world.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let world = world.clone();
                    std::thread::spawn(move || world.serve(node as i32, stream));
                }
            });
        }
        Fake { world }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.world.nodes[0]
    }

    pub(crate) fn misdirected(&self) -> u64 {
        self.world.state.lock().expect("no test panics with it").misdirected
    }
}

impl World {
    /// Serves one connection until it ends.
    fn serve(&self, node: i32, mut stream: TcpStream) {
        stream.set_nodelay(true).expect("a socket");
        let mut size = [0; 4];
        while stream.read_exact(&mut size).is_ok() {
            let mut frame = vec![0; u32::from_be_bytes(size) as usize];
            if stream.read_exact(&mut frame).is_err() {
                return;
            }
            let mut request = Answer(&frame);
            let (api, _version) = (request.i16().expect("an API"), request.i16().expect("a version"));
            let correlation = request.i32().expect("a correlation id");
            request.text().expect("a client's name");
            let Some(body) = self.answer(node, api, request, &mut stream) else { return };
            let silent = self.state.lock().expect("the state").silent_until;
            // The stall is what this server is for: answers wait until it is over.
            if let Some(left) = silent.and_then(|until| until.checked_duration_since(Instant::now())) {
                std::thread::sleep(left);
            }
            if body.is_empty() {
                continue;
            }
            let head = Body::default().i32(body.len() as i32 + 4).i32(correlation).0;
            if stream.write_all(&[head, body].concat()).is_err() {
                return;
            }
        }
    }

    /// The body of an answer, empty for none at all; None: the connection ends.
    fn answer(&self, node: i32, api: i16, request: Answer<'_>, stream: &mut TcpStream) -> Option<Vec<u8>> {
        let body = match api {
            18 => {
                let served = [(0i16, 7i16), (1, 4), (2, 1), (3, 4), (18, 0), (19, 2), (20, 1), (22, 1)];
                served.iter().fold(Body::default().i16(0).i32(served.len() as i32), |b, (api, most)| {
                    b.i16(*api).i16(0).i16(*most)
                })
            }
            19 => self.create(request),
            20 => Body::default().i32(0).i32(0),
            3 => self.metadata(request),
            22 => {
                let mut state = self.state.lock().expect("the state");
                state.producers += 1;
                Body::default().i32(0).i16(0).i64(state.producers).i16(0)
            }
            2 => self.offsets(request),
            1 => self.fetch(request),
            0 => return self.produce(node, request, stream),
            other => panic!("the load asked API {other}, which was not offered"),
        };
        Some(body.0)
    }

    fn create(&self, mut request: Answer<'_>) -> Body {
        let mut state = self.state.lock().expect("the state");
        let mut body = Body::default().i32(0);
        let count = request.i32().expect("topics");
        body = body.i32(count);
        for _ in 0..count {
            let name = String::from_utf8_lossy(request.text().expect("a name")).into_owned();
            let partitions = request.i32().expect("partitions");
            request.take(2 + 4).expect("replication, no assignments");
            for _ in 0..request.i32().expect("settings") {
                request.text().expect("a name");
                request.text().expect("a value");
            }
            (0..partitions).for_each(|k| drop(state.logs.insert((name.clone(), k), Log::default())));
            body = body.text(&name).i16(0).i16(-1);
        }
        body
    }

    fn leader(&self, partition: i32) -> i32 {
        partition % self.nodes.len() as i32
    }

    fn metadata(&self, mut request: Answer<'_>) -> Body {
        let state = self.state.lock().expect("the state");
        let mut body = Body::default().i32(0).i32(self.nodes.len() as i32);
        for (id, addr) in self.nodes.iter().enumerate() {
            body = body.i32(id as i32).text(&addr.ip().to_string()).i32(i32::from(addr.port())).i16(-1);
        }
        let count = request.i32().expect("topics");
        body = body.i16(-1).i32(0).i32(count);
        for _ in 0..count {
            let name = String::from_utf8_lossy(request.text().expect("a name")).into_owned();
            let partitions = state.logs.keys().filter(|(topic, _)| *topic == name).count() as i32;
            body = body.i16(0).text(&name).i8(0).i32(partitions);
            for k in 0..partitions {
                body = body.i16(0).i32(k).i32(self.leader(k)).i32(0).i32(0);
            }
        }
        body
    }

    fn offsets(&self, mut request: Answer<'_>) -> Body {
        let state = self.state.lock().expect("the state");
        request.i32().expect("a replica");
        let topics = request.i32().expect("topics");
        let mut body = Body::default().i32(topics);
        for _ in 0..topics {
            let name = String::from_utf8_lossy(request.text().expect("a name")).into_owned();
            let count = request.i32().expect("partitions");
            body = body.text(&name).i32(count);
            for _ in 0..count {
                let (partition, which) = (request.i32().expect("a partition"), request.i64().expect("a time"));
                let next = state.logs[&(name.clone(), partition)].next;
                body = body.i32(partition).i16(0).i64(-1).i64(if which == -2 { 0 } else { next });
            }
        }
        body
    }

    fn fetch(&self, mut request: Answer<'_>) -> Body {
        request.i32().expect("a replica");
        let wait = Duration::from_millis(request.i32().expect("a wait") as u64);
        request.take(4 + 4 + 1).expect("bytes and isolation");
        let mut asked = Vec::new();
        for _ in 0..request.i32().expect("topics") {
            let name = String::from_utf8_lossy(request.text().expect("a name")).into_owned();
            for _ in 0..request.i32().expect("partitions") {
                asked.push((name.clone(), request.i32().expect("one"), request.i64().expect("an offset")));
                request.i32().expect("bytes");
            }
        }
        let state = self.state.lock().expect("the state");
        let empty =
            |state: &mut State| asked.iter().all(|(topic, k, from)| state.logs[&(topic.clone(), *k)].next <= *from);
        let (state, _) = self.grown.wait_timeout_while(state, wait, empty).expect("the state");
        let mut body = Body::default().i32(0).i32(asked.len() as i32);
        for (topic, partition, from) in &asked {
            let log = &state.logs[&(topic.clone(), *partition)];
            let bytes: Vec<u8> =
                log.batches.iter().filter(|b| b.end > *from).take(100).flat_map(|b| b.bytes.clone()).collect();
            body = body.text(topic).i32(1).i32(*partition).i16(0).i64(log.next).i64(log.next).i32(0).bytes(&bytes);
        }
        body
    }

    fn produce(&self, node: i32, mut request: Answer<'_>, stream: &mut TcpStream) -> Option<Vec<u8>> {
        request.take(2 + 2 + 4).expect("no transaction, acks, a time-out");
        let mut state = self.state.lock().expect("the state");
        let fault = if state.produced == self.at { self.fault } else { Fault::None };
        state.produced += 1;
        let topics = request.i32().expect("topics");
        let mut body = Body::default().i32(topics);
        for _ in 0..topics {
            let name = String::from_utf8_lossy(request.text().expect("a name")).into_owned();
            let count = request.i32().expect("partitions");
            body = body.text(&name).i32(count);
            for _ in 0..count {
                let partition = request.i32().expect("a partition");
                let batch = request.bytes().expect("a batch").to_vec();
                let (code, base) = if self.leader(partition) == node {
                    keep(state.logs.get_mut(&(name.clone(), partition)).expect("a partition"), batch, fault)
                } else {
                    state.misdirected += 1;
                    (6, -1)
                };
                body = body.i32(partition).i16(code).i64(base).i64(-1).i64(0);
            }
        }
        if let Fault::Stall(time) = fault {
            state.silent_until = Some(Instant::now() + time);
        }
        drop(state);
        self.grown.notify_all();
        match fault {
            Fault::Close => return None,
            Fault::Swallow => return Some(Vec::new()),
            Fault::Say(bytes) => {
                let _ = stream.write_all(bytes);
                return Some(Vec::new());
            }
            _ => {}
        }
        Some(body.i32(0).0)
    }
}

/// Keeps a batch, or does what is wrong with it: the error code and base offset to answer.
fn keep(log: &mut Log, mut batch: Vec<u8>, fault: Fault) -> (i16, i64) {
    let count = i32::from_be_bytes(batch[57..61].try_into().expect("a count"));
    let producer = i64::from_be_bytes(batch[43..51].try_into().expect("a producer id"));
    let sequence = i32::from_be_bytes(batch[53..57].try_into().expect("a sequence"));
    if let Fault::Refuse(code) = fault {
        return (code, -1);
    }
    if producer >= 0 {
        let expected = log.sequences.entry(producer).or_default();
        if sequence != *expected {
            return (45, -1);
        }
        *expected += count;
    }
    let base = log.next;
    match fault {
        Fault::Lose => {
            log.next += i64::from(count);
            return (0, base);
        }
        Fault::Corrupt { checksum } => {
            // In the first value's planned time.
            batch[61 + 20] ^= 1;
            if checksum {
                let crc = crc32c::crc32c(&batch[21..]);
                batch[17..21].copy_from_slice(&crc.to_be_bytes());
            }
        }
        Fault::Reorder => {
            log.held = Some(batch);
            return (0, base);
        }
        _ => {}
    }
    let held = log.held.take();
    let twice = (fault == Fault::Double).then(|| batch.clone());
    for mut bytes in [Some(batch), twice, held].into_iter().flatten() {
        let count = i64::from(i32::from_be_bytes(bytes[57..61].try_into().expect("a count")));
        bytes[..8].copy_from_slice(&log.next.to_be_bytes());
        log.batches.push(Stored { base: log.next, end: log.next + count, bytes });
        log.next += count;
    }
    debug_assert!(log.batches.windows(2).all(|two| two[0].base < two[1].base));
    (0, base)
}
