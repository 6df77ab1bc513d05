//! Idempotent producers, one for a partition, each with a note of what was acknowledged: what is left after a failure is
//! judged by it. Every value is written once, and values of a partition count up, so that a loss and a double are seen.

use ringlog_bench_harness::peer::{Answer, Body, Peer, Producer, Stored, batch, batch_at, now_ms};
use ringlog_bench_harness::wait::{PATIENCE, until};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// KAFKA_STORAGE_ERROR.
pub(crate) const STORAGE_ERROR: i16 = 56;
/// No answer came, and none will.
const GONE: i16 = -1;
pub(crate) const TOPIC: &str = "t";

/// A connection that has `PATIENCE`.
pub(crate) fn connect(addr: SocketAddr) -> Peer {
    let peer = Peer::connect(addr).expect("it listens");
    peer.set_patience(PATIENCE).expect("a socket");
    peer
}

/// Which partitions of the topic lie in each log directory, and the directory's error code, as DescribeLogDirs says.
pub(crate) fn places(peer: &mut Peer) -> BTreeMap<String, (i16, Vec<i32>)> {
    let answer = peer.call(35, 1, Body::default().i32(-1)).expect("an answer");
    let mut answer = Answer(&answer);
    let mut found = BTreeMap::new();
    answer.i32().expect("the time to wait");
    for _ in 0..answer.i32().expect("a count") {
        let code = answer.i16().expect("a code");
        let path = String::from_utf8(answer.text().expect("a path").to_vec()).expect("text");
        let mut partitions = Vec::new();
        for _ in 0..answer.i32().expect("a count") {
            let topic = answer.text().expect("a name").to_vec();
            for _ in 0..answer.i32().expect("a count") {
                let partition = answer.i32().expect("a number");
                answer.take(8 + 8 + 1).expect("size, lag, and whether it is a future one");
                if topic == TOPIC.as_bytes() {
                    partitions.push(partition);
                }
            }
        }
        found.insert(path, (code, partitions));
    }
    found
}

/// The partitions of the topic in one directory.
pub(crate) fn placed(peer: &mut Peer, dir: &Path) -> Vec<i32> {
    let (_, partitions) = places(peer).remove(&dir.display().to_string()).expect("the directory is known");
    assert!(!partitions.is_empty(), "partitions are spread over the directories");
    partitions
}

/// One producer of one partition.
pub(crate) struct Writer {
    peer: Peer,
    producer: Producer,
    pub(crate) partition: i32,
    /// Bytes of each value.
    size: usize,
    /// What the next value carries beside its number.
    pub(crate) mark: &'static [u8],
    /// Of its records; now, unless told.
    pub(crate) time: Option<i64>,
    /// Offset of each value that was acknowledged; the next one's number is their count.
    pub(crate) acked: Vec<i64>,
    /// Also read by others while this is being written.
    pub(crate) count: Arc<AtomicUsize>,
}

impl Writer {
    pub(crate) fn new(addr: SocketAddr, partition: i32, size: usize) -> Writer {
        let mut peer = connect(addr);
        let producer = peer.init_producer().expect("a producer id");
        Writer { peer, producer, partition, size, mark: b"", time: None, acked: Vec::new(), count: Arc::default() }
    }

    /// The broker was started again.
    pub(crate) fn reconnect(&mut self, addr: SocketAddr) {
        self.peer = connect(addr);
    }

    fn value(&self, number: usize) -> Vec<u8> {
        let mut value = format!("{number:08}").into_bytes();
        value.extend(self.mark);
        value.resize(self.size, b'.');
        value
    }

    /// Writes the next value; one that was not acknowledged is written again, as a retry.
    pub(crate) fn put(&mut self) -> Result<(), i16> {
        let number = self.acked.len();
        let time = self.time.unwrap_or_else(now_ms);
        let batch = batch_at(time, self.producer, number as i32, &[self.value(number)]);
        let sent = self.peer.send_batch(TOPIC, self.partition, -1, &batch);
        let offset = sent.and_then(|()| self.peer.receive_batch()).map_err(|_| GONE)??;
        self.acked.push(offset);
        self.count.store(self.acked.len(), Ordering::Release);
        Ok(())
    }

    pub(crate) fn put_many(&mut self, count: usize) {
        for _ in 0..count {
            self.put().unwrap_or_else(|code| panic!("partition {}: {code}", self.partition));
        }
    }

    /// Writes until told to stop, or refused: `true`.
    pub(crate) fn write_until(&mut self, stop: &AtomicBool) -> bool {
        while !stop.load(Ordering::Acquire) {
            match self.put() {
                Ok(()) => {}
                Err(STORAGE_ERROR) => return true,
                Err(code) => panic!("partition {}: error code {code}", self.partition),
            }
        }
        false
    }

    /// As [`Writer::write_until`] refused; the broker may also end.
    pub(crate) fn write_until_gone(&mut self) -> bool {
        loop {
            match self.put() {
                Ok(()) => {}
                Err(code) => return matches!(code, STORAGE_ERROR | GONE),
            }
        }
    }

    /// Nothing is taken any more, whatever acks asks for, and nothing is read.
    pub(crate) fn assert_out_of_service(&mut self) {
        assert_eq!(self.put(), Err(STORAGE_ERROR), "partition {}", self.partition);
        let batch = batch(Producer { id: -1, epoch: -1 }, -1, &[vec![b'x'; self.size]]);
        self.peer.send_batch(TOPIC, self.partition, 1, &batch).expect("sent");
        assert_eq!(self.peer.receive_batch().expect("an answer"), Err(STORAGE_ERROR));
        let read = self.peer.try_fetch(TOPIC, self.partition, 0).expect("an answer");
        assert_eq!(read.err(), Some(STORAGE_ERROR), "partition {}", self.partition);
    }

    /// Everything acknowledged is there, where it was said to be; everything there is there once and in order.
    pub(crate) fn assert_kept(&mut self) {
        let found = read_all(&mut self.peer, self.partition);
        let numbers: Vec<usize> = found.iter().map(|record| number_of(&record.value)).collect();
        let partition = self.partition;
        assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "partition {partition}: a loss or a double");
        assert!(numbers.len() >= self.acked.len(), "partition {partition}: {} of {}", numbers.len(), self.acked.len());
        for (record, offset) in found.iter().zip(&self.acked) {
            assert_eq!(record.offset, *offset, "partition {partition}");
            assert_eq!(record.value.len(), self.size);
        }
    }
}

fn number_of(value: &[u8]) -> usize {
    std::str::from_utf8(&value[..8]).expect("text").parse().expect("a number")
}

/// Some records from an offset on, none at the end. What must come from disk is not there at once.
pub(crate) fn read(peer: &mut Peer, partition: i32, from: i64) -> Result<Vec<Stored>, i16> {
    let mut read = Ok(Vec::new());
    until("records, the end, or an error", || {
        let got = peer.try_fetch(TOPIC, partition, from).expect("an answer");
        let done = got.as_ref().map_or(true, |got| !got.records.is_empty() || got.high_watermark == from);
        read = got.map(|got| got.records);
        done
    });
    read
}

/// Everything of a partition that consumers may see.
pub(crate) fn read_all(peer: &mut Peer, partition: i32) -> Vec<Stored> {
    let mut found: Vec<Stored> = Vec::new();
    loop {
        let from = found.last().map_or(0, |last| last.offset + 1);
        let more = read(peer, partition, from).unwrap_or_else(|code| panic!("{TOPIC}-{partition} at {from}: {code}"));
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}
