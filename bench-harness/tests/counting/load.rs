//! What the counted broker is asked: 64 connections that produce and 64 that fetch, in six threads.
//!
//! Produce: pipelined; acks=1 and all; every other connection idempotent; every codec, small batches and some that go straight to
//! their segment; one or several partitions. Fetch: without a session and in incremental ones (partitions changed,
//! forgotten and added), of one to all partitions, at the tail, where most wait until something is appended. Half of the connections
//! name topics (versions 7 and 11), half use their ids (13 and 17).

use ringlog_bench_harness::peer::{Answer, Body, Peer, Producer, frame_batch, now_ms, records};
use ringlog_engine::codec::{Codec, Encoder};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const CONNECTIONS: usize = 128;
const PARTITIONS: usize = 16;
const TOPIC: &str = "counted";
/// Requests of a producing connection sent before the first answer is read: as a rule, and in a burst.
const DEPTH: usize = 2;
const BURST_DEPTH: usize = 8;
/// How long a fetch waits for bytes, ms: some of them in vain.
const MAX_WAIT_MS: i32 = 100;
/// Connections in a thread.
const PRODUCERS_PER_THREAD: usize = 32;
const CONSUMERS_PER_THREAD: usize = 16;

/// Requests answered so far.
#[derive(Default)]
struct Answered {
    produced: AtomicU64,
    fetched: AtomicU64,
}

impl Answered {
    fn reached(&self, target: u64) -> bool {
        self.produced.load(Ordering::Relaxed) >= target && self.fetched.load(Ordering::Relaxed) >= target
    }
}

pub(crate) struct Load {
    producers: Vec<Producing>,
    consumers: Vec<Fetching>,
    stored: Vec<Stored>,
}

impl Load {
    /// Connects everything and makes the topic.
    pub(crate) fn new(addr: SocketAddr) -> Load {
        let connect = || Peer::connect(addr).expect("a connection");
        let id = create_topic(&mut connect()).expect("a topic");
        let way = |number: usize| Way { id: (number % 8 < 4).then_some(id) };
        let producers = (0..CONNECTIONS / 2).map(|k| Producing::new(connect(), way(k), k)).collect();
        let consumers = (0..CONNECTIONS / 2).map(|k| Fetching::new(connect(), way(k), k)).collect();
        Load { producers, consumers, stored: stored() }
    }

    /// Goes on until so many more requests of both kinds are answered; says how many were.
    pub(crate) fn run(&mut self, target: u64) -> (u64, u64) {
        let answered = Answered::default();
        let (answered_by, stored) = (&answered, &self.stored);
        std::thread::scope(|scope| {
            for group in self.producers.chunks_mut(PRODUCERS_PER_THREAD) {
                scope.spawn(move || {
                    while !answered_by.reached(target) {
                        group.iter_mut().for_each(|p| (0..DEPTH).for_each(|_| p.send(stored)));
                        group.iter_mut().for_each(|p| (0..DEPTH).for_each(|_| p.receive().expect("an answer")));
                        answered_by.produced.fetch_add((DEPTH * group.len()) as u64, Ordering::Relaxed);
                    }
                });
            }
            for group in self.consumers.chunks_mut(CONSUMERS_PER_THREAD) {
                scope.spawn(move || {
                    while !answered_by.reached(target) {
                        group.iter_mut().for_each(Fetching::send);
                        group.iter_mut().for_each(|f| f.receive().expect("an answer"));
                        answered_by.fetched.fetch_add(group.len() as u64, Ordering::Relaxed);
                    }
                });
            }
        });
        (answered.produced.into_inner(), answered.fetched.into_inner())
    }

    /// Everything at once: what all connections have to say lies in their sockets before the broker, which `stopped` stops and
    /// lets go on again, looks at any of it. Fetches are from the start of the log, which is on disk. Then large batches alone.
    pub(crate) fn burst(&mut self, stopped: impl Fn(bool)) {
        stopped(true);
        self.producers.iter_mut().for_each(|p| (0..BURST_DEPTH).for_each(|_| p.send(&self.stored)));
        self.consumers.iter_mut().for_each(|f| {
            f.offsets = [(0, false); PARTITIONS];
            f.send();
        });
        stopped(false);
        self.producers.iter_mut().for_each(|p| (0..BURST_DEPTH).for_each(|_| p.receive().expect("an answer")));
        self.consumers.iter_mut().for_each(|f| f.receive().expect("an answer"));
        let large = &self.stored[self.stored.len() - Codec::ALL.len()..];
        self.producers.iter_mut().for_each(|p| (0..BURST_DEPTH).for_each(|_| p.send(large)));
        self.producers.iter_mut().for_each(|p| (0..BURST_DEPTH).for_each(|_| p.receive().expect("an answer")));
    }

    /// Nobody produces: all fetches wait until their time is over.
    pub(crate) fn silence(&mut self) {
        self.consumers.iter_mut().for_each(Fetching::send);
        self.consumers.iter_mut().for_each(|f| f.receive().expect("an answer"));
    }
}

/// Makes the topic and tells its id.
fn create_topic(peer: &mut Peer) -> io::Result<[u8; 16]> {
    let body = Body::default().compact(1).compact(TOPIC.len()).raw(TOPIC.as_bytes()).i32(PARTITIONS as i32).i16(1);
    let body = body.compact(0).compact(0).i8(0).i32(30_000).i8(0).i8(0);
    let answer = peer.call_flexible(19, 7, body)?;
    let mut answer = Answer(&answer);
    answer.i32()?;
    assert_eq!(answer.compact()?, 1);
    let name = answer.compact()?;
    answer.take(name)?;
    let id = answer.array()?;
    assert_eq!(answer.i16()?, 0, "create topic");
    Ok(id)
}

/// How a connection names the topic: by id in flexible versions, else by name.
#[derive(Clone, Copy)]
struct Way {
    id: Option<[u8; 16]>,
}

impl Way {
    fn count(self, body: Body, count: usize) -> Body {
        if self.id.is_some() { body.compact(count) } else { body.i32(count as i32) }
    }

    fn topic(self, body: Body) -> Body {
        match self.id {
            Some(id) => body.raw(&id),
            None => body.text(TOPIC),
        }
    }

    fn text(self, body: Body, text: &str) -> Body {
        if self.id.is_some() { body.compact(text.len()).raw(text.as_bytes()) } else { body.text(text) }
    }

    /// No tags, where there could be some.
    fn tags(self, body: Body) -> Body {
        if self.id.is_some() { body.i8(0) } else { body }
    }

    fn send(self, peer: &mut Peer, api: i16, (by_name, by_id): (i16, i16), body: Body) {
        let sent = match self.id {
            Some(_) => peer.send_flexible(api, by_id, self.tags(body)),
            None => peer.send(api, by_name, body),
        };
        sent.expect("it is sent");
    }

    fn read_count(self, answer: &mut Answer<'_>) -> io::Result<usize> {
        if self.id.is_some() { answer.compact() } else { Ok(usize::try_from(answer.i32()?).unwrap_or(0)) }
    }

    fn read_topic(self, answer: &mut Answer<'_>) -> io::Result<()> {
        let topic = if self.id.is_some() { answer.take(16)? } else { answer.text()? };
        assert_eq!(topic, self.id.as_ref().map_or(TOPIC.as_bytes(), |id| id));
        Ok(())
    }

    fn read_tags(self, answer: &mut Answer<'_>) -> io::Result<()> {
        assert!(self.id.is_none() || answer.i8()? == 0, "tags where none were expected");
        Ok(())
    }
}

/// The records of a batch as they are stored.
struct Stored {
    codec: Codec,
    count: usize,
    bytes: Vec<u8>,
}

/// Records of every codec, in three sizes. A fourth of the values' bytes are random, so that codecs have something to do.
fn stored() -> Vec<Stored> {
    let mut encoder = Encoder::default();
    let mut state = 88_172_645_463_325_252u64;
    let mut byte = |k: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if k.is_multiple_of(4) { state as u8 } else { k as u8 }
    };
    let mut made = Vec::new();
    for (count, len) in [(1, 100), (5, 200), (30, 1000)] {
        for codec in Codec::ALL {
            let values: Vec<Vec<u8>> = (0..count).map(|_| (0..len).map(&mut byte).collect()).collect();
            let mut bytes = Vec::new();
            encoder.compress(codec, codec.default_level(), &records(&values), &mut bytes);
            made.push(Stored { codec, count, bytes });
        }
    }
    made
}

/// A connection that produces.
struct Producing {
    peer: Peer,
    way: Way,
    acks: i16,
    producer: Producer,
    /// The next sequence of each partition; -1 without idempotence.
    sequences: [i32; PARTITIONS],
    number: usize,
    sent: usize,
}

impl Producing {
    fn new(mut peer: Peer, way: Way, number: usize) -> Producing {
        let idempotent = number.is_multiple_of(2);
        let producer = if idempotent { peer.init_producer().expect("an id") } else { Producer { id: -1, epoch: -1 } };
        let acks = if idempotent || number % 4 == 1 { -1 } else { 1 };
        let sequences = [if idempotent { 0 } else { -1 }; PARTITIONS];
        Producing { peer, way, acks, producer, sequences, number, sent: 0 }
    }

    fn send(&mut self, stored: &[Stored]) {
        let (way, first) = (self.way, self.number + self.sent * 7);
        let partitions = if self.sent.is_multiple_of(8) { 3 } else { 1 };
        let body = if way.id.is_some() { Body::default().i8(0) } else { Body::default().i16(-1) };
        let body = way.topic(way.count(body.i16(self.acks).i32(30_000), 1));
        let mut body = way.count(body, partitions);
        for number in first..first + partitions {
            // Of fifty batches one is large and ten are of the middle size.
            let size = match number % 50 {
                0 => 2,
                1..11 => 1,
                _ => 0,
            };
            let what = &stored[(size * Codec::ALL.len() + number % Codec::ALL.len()) % stored.len()];
            let partition = number % PARTITIONS;
            let sequence = self.sequences[partition];
            if sequence >= 0 {
                self.sequences[partition] += what.count as i32;
            }
            let batch = frame_batch((what.codec.id(), now_ms()), (self.producer, sequence), what.count, &what.bytes);
            body = way.tags(way.count(body.i32(partition as i32), batch.len()).raw(&batch));
        }
        way.send(&mut self.peer, 0, (7, 13), way.tags(body));
        self.sent += 1;
    }

    fn receive(&mut self) -> io::Result<()> {
        let (answer, way) = (self.peer.receive()?, self.way);
        let mut answer = Answer(&answer);
        way.read_tags(&mut answer)?;
        assert_eq!(way.read_count(&mut answer)?, 1);
        way.read_topic(&mut answer)?;
        for _ in 0..way.read_count(&mut answer)? {
            answer.i32()?;
            assert_eq!(answer.i16()?, 0, "connection {}", self.number);
            // Offset, time, log start; and by id no record errors, no message.
            answer.take(8 + 8 + 8)?;
            if way.id.is_some() {
                assert_eq!(answer.take(2)?, [1, 0]);
            }
            way.read_tags(&mut answer)?;
        }
        Ok(())
    }
}

/// A connection that fetches.
struct Fetching {
    peer: Peer,
    way: Way,
    /// Id and next epoch; `None` where no session is asked for.
    session: Option<(i32, i32)>,
    /// By partition: where to go on, and whether the session knows.
    offsets: [(i64, bool); PARTITIONS],
    first: usize,
    count: usize,
    rounds: usize,
}

impl Fetching {
    fn new(peer: Peer, way: Way, number: usize) -> Fetching {
        let session = (number.is_multiple_of(2)).then_some((0, 0));
        let count = [16, 1, 4, 8][number / 8 % 4];
        Fetching { peer, way, session, offsets: [(0, false); PARTITIONS], first: number % PARTITIONS, count, rounds: 0 }
    }

    fn send(&mut self) {
        self.rounds += 1;
        // Now and then a partition leaves its session and comes back with the next request.
        let leaves =
            (self.session.is_some_and(|(id, _)| id != 0) && self.rounds.is_multiple_of(32)).then_some(self.first);
        let mine = (self.first..self.first + self.count).map(|p| p % PARTITIONS);
        let asked: Vec<usize> = mine.filter(|p| !self.offsets[*p].1 && Some(*p) != leaves).collect();
        let (way, (id, epoch)) = (self.way, self.session.unwrap_or((0, -1)));
        let min_bytes = if self.rounds.is_multiple_of(16) { 3000 } else { 1 };
        let body = if way.id.is_some() { Body::default() } else { Body::default().i32(-1) };
        let body = body.i32(MAX_WAIT_MS).i32(min_bytes).i32(1 << 20).i8(0).i32(id).i32(epoch);
        let mut body = way.count(body, usize::from(!asked.is_empty()));
        if !asked.is_empty() {
            body = way.count(way.topic(body), asked.len());
            for partition in asked {
                let (offset, known) = &mut self.offsets[partition];
                *known = self.session.is_some();
                body = body.i32(partition as i32).i32(-1).i64(*offset);
                body = if way.id.is_some() { body.i32(-1) } else { body };
                body = way.tags(body.i64(-1).i32(64 << 10));
            }
            body = way.tags(body);
        }
        body = way.count(body, usize::from(leaves.is_some()));
        if let Some(partition) = leaves {
            self.offsets[partition].1 = false;
            body = way.tags(way.count(way.topic(body), 1).i32(partition as i32));
        }
        way.send(&mut self.peer, 1, (11, 17), way.text(body, ""));
    }

    fn receive(&mut self) -> io::Result<()> {
        let (answer, way) = (self.peer.receive()?, self.way);
        let mut answer = Answer(&answer);
        way.read_tags(&mut answer)?;
        answer.i32()?;
        assert_eq!(answer.i16()?, 0);
        let id = answer.i32()?;
        if let Some((known, epoch)) = &mut self.session {
            assert!(id != 0 && (*known == 0 || *known == id), "session {known} became {id}");
            (*known, *epoch) = (id, *epoch + 1);
        }
        for _ in 0..way.read_count(&mut answer)? {
            way.read_topic(&mut answer)?;
            for _ in 0..way.read_count(&mut answer)? {
                let (partition, code, high_watermark) = (answer.i32()?, answer.i16()?, answer.i64()?);
                assert_eq!(code, 0, "partition {partition}");
                // Stable offset, log start; aborted transactions, of which there are none; a preferred replica.
                answer.take(8 + 8)?;
                assert_eq!(way.read_count(&mut answer)?, 0);
                answer.i32()?;
                let len = way.read_count(&mut answer)?;
                if !answer.take(len)?.is_empty() {
                    // What was not brought is passed over: this follows the tail.
                    self.offsets[partition as usize] = (high_watermark, false);
                }
                way.read_tags(&mut answer)?;
            }
            way.read_tags(&mut answer)?;
        }
        Ok(())
    }
}
