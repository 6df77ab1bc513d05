//! A small Kafka client for trials: one connection, a few requests in their last non-flexible versions, bytes laid out here by
//! hand. It shares no code with the broker's codec, so that one mistake cannot hide in both. Not a client for use: no
//! metadata, no retries, no compression.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Largest answer taken, bytes: what a trial asks for is far below it.
const LARGEST: usize = 64 << 20;

/// An open connection. Requests may be sent ahead of answers, which come in the order of the requests.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    sent: i32,
    received: i32,
}

/// Writes Kafka's primitive types to the end of a vector.
#[derive(Debug, Default)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// One byte.
    pub fn i8(mut self, v: i8) -> Self {
        self.0.extend(v.to_be_bytes());
        self
    }

    /// Big-endian.
    pub fn i16(mut self, v: i16) -> Self {
        self.0.extend(v.to_be_bytes());
        self
    }

    /// Big-endian.
    pub fn i32(mut self, v: i32) -> Self {
        self.0.extend(v.to_be_bytes());
        self
    }

    /// Big-endian.
    pub fn i64(mut self, v: i64) -> Self {
        self.0.extend(v.to_be_bytes());
        self
    }

    /// A string with a two-byte length.
    pub fn text(self, v: &str) -> Self {
        let mut body = self.i16(i16::try_from(v.len()).expect("a short name"));
        body.0.extend(v.as_bytes());
        body
    }

    /// Bytes with a four-byte length.
    pub fn bytes(self, v: &[u8]) -> Self {
        let mut body = self.i32(i32::try_from(v.len()).expect("a batch under 2 GiB"));
        body.0.extend(v);
        body
    }

    /// The length of something compact (KIP-482): one more, as an unsigned varint.
    pub fn compact(mut self, len: usize) -> Self {
        let mut left = len + 1;
        while left >= 0x80 {
            self.0.push((left as u8 & 0x7f) | 0x80);
            left >>= 7;
        }
        self.0.push(left as u8);
        self
    }

    /// As they are.
    pub fn raw(mut self, v: &[u8]) -> Self {
        self.0.extend(v);
        self
    }

    /// One topic with one partition, as most requests have it.
    pub fn place(self, topic: &str, partition: i32) -> Self {
        self.i32(1).text(topic).i32(1).i32(partition)
    }
}

/// Reads Kafka's primitive types; past the end everything is an error.
#[derive(Debug)]
pub struct Answer<'a>(pub &'a [u8]);

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

impl<'a> Answer<'a> {
    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> io::Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(|| nonsense("an answer ends early"))?;
        self.0 = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    /// One byte.
    pub fn i8(&mut self) -> io::Result<i8> {
        self.array().map(i8::from_be_bytes)
    }

    /// Big-endian.
    pub fn i16(&mut self) -> io::Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    /// Big-endian.
    pub fn i32(&mut self) -> io::Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// Big-endian.
    pub fn i64(&mut self) -> io::Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A string with a two-byte length; null counts as empty.
    pub fn text(&mut self) -> io::Result<&'a [u8]> {
        let len = self.i16()?;
        self.take(usize::try_from(len).unwrap_or(0))
    }

    /// Bytes with a four-byte length; null counts as empty.
    pub fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let len = self.i32()?;
        self.take(usize::try_from(len).unwrap_or(0))
    }

    /// A zigzag varint of at most ten bytes.
    pub fn varint(&mut self) -> io::Result<i64> {
        self.unsigned().map(|value| (value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn unsigned(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(nonsense("a varint without an end"))
    }

    /// The length of something compact; null counts as empty.
    pub fn compact(&mut self) -> io::Result<usize> {
        Ok(usize::try_from(self.unsigned()?).unwrap_or(usize::MAX).saturating_sub(1))
    }

    /// Skips to the one partition of an answer that has one topic and one partition.
    pub fn place(&mut self) -> io::Result<i32> {
        let topics = self.i32()?;
        self.text()?;
        let partitions = self.i32()?;
        if (topics, partitions) != (1, 1) {
            return Err(nonsense("an answer about something else"));
        }
        self.i32()
    }
}

/// An error code other than none, as an error that names it.
fn checked(code: i16, what: &str) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::other(format!("{what}: error code {code}"))) }
}

/// Who writes a batch: what makes it idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Producer id, or -1 for none.
    pub id: i64,
    /// Producer epoch, or -1 for none.
    pub epoch: i16,
}

/// A record as it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its value; null counts as empty.
    pub value: Vec<u8>,
}

/// What a fetch brought.
#[derive(Debug)]
pub struct Fetched {
    /// First offset that is not yet to be read.
    pub high_watermark: i64,
    /// Records from the offset asked for on.
    pub records: Vec<Stored>,
}

fn put_varint(out: &mut Vec<u8>, v: i64) {
    let mut left = ((v << 1) ^ (v >> 63)) as u64;
    while left >= 0x80 {
        out.push((left as u8 & 0x7f) | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis();
    i64::try_from(now).expect("milliseconds fit")
}

/// A record batch, version 2, uncompressed, with the time of now. `sequence` is of its first record, -1 without idempotence.
pub fn batch(producer: Producer, sequence: i32, values: &[Vec<u8>]) -> Vec<u8> {
    batch_at(now_ms(), producer, sequence, values)
}

/// As [`batch`], with all records of one time.
pub fn batch_at(time: i64, producer: Producer, sequence: i32, values: &[Vec<u8>]) -> Vec<u8> {
    let records = records(values);
    frame_batch((0, time), (producer, sequence), values.len(), &records)
}

/// The records part of a batch: what a codec compresses.
pub fn records(values: &[Vec<u8>]) -> Vec<u8> {
    let mut records = Vec::new();
    for (delta, value) in (0i64..).zip(values) {
        let mut record = vec![0, 0];
        put_varint(&mut record, delta);
        put_varint(&mut record, -1);
        put_varint(&mut record, value.len() as i64);
        record.extend(value);
        record.push(0);
        put_varint(&mut records, record.len() as i64);
        records.extend(record);
    }
    records
}

/// A batch around `count` records as they are stored. The attributes' low three bits name the codec.
pub fn frame_batch(
    (attributes, time): (i16, i64),
    (producer, sequence): (Producer, i32),
    count: usize,
    records: &[u8],
) -> Vec<u8> {
    let count = i32::try_from(count).expect("a small batch");
    // From the attributes on, which is what the checksum covers: attributes, last delta, two times, producer, count.
    let covered = Body::default().i16(attributes).i32(count - 1).i64(time).i64(time);
    let mut covered = covered.i64(producer.id).i16(producer.epoch).i32(sequence).i32(count).0;
    covered.extend(records);
    let crc = crc32c::crc32c(&covered);
    let length = i32::try_from(covered.len() + 9).expect("a small batch");
    let mut out = Body::default().i64(0).i32(length).i32(-1).i8(2).0;
    out.extend(crc.to_be_bytes());
    out.extend(covered);
    out
}

/// Takes batches apart, checksums included. A batch cut at the end, as a fetch may bring it, ends the list.
fn records_of(mut rest: Answer, from: i64) -> io::Result<Vec<Stored>> {
    let mut found = Vec::new();
    while rest.0.len() >= 12 {
        let base = rest.i64()?;
        let length = usize::try_from(rest.i32()?).map_err(|_| nonsense("a batch of negative length"))?;
        let Ok(body) = rest.take(length) else { break };
        let mut body = Answer(body);
        let (_epoch, magic) = (body.i32()?, body.take(1)?[0]);
        let crc = u32::from_be_bytes(body.array()?);
        if magic != 2 || crc != crc32c::crc32c(body.0) {
            return Err(nonsense(&format!("the batch at offset {base} is damaged")));
        }
        let (attributes, _last) = (body.i16()?, body.i32()?);
        if attributes & 0x27 != 0 {
            return Err(nonsense("a batch that no trial wrote: compressed, or a control batch"));
        }
        body.take(8 + 8 + 8 + 2 + 4)?;
        for _ in 0..body.i32()? {
            let len = usize::try_from(body.varint()?).map_err(|_| nonsense("a record of negative length"))?;
            let mut record = Answer(body.take(len)?);
            record.take(1)?;
            record.varint()?;
            let offset = base + record.varint()?;
            let key = record.varint()?;
            record.take(usize::try_from(key).unwrap_or(0))?;
            let len = record.varint()?;
            let value = record.take(usize::try_from(len).unwrap_or(0))?.to_vec();
            if offset >= from {
                found.push(Stored { offset, value });
            }
        }
    }
    Ok(found)
}

impl Peer {
    /// Connects. Waits at most ten seconds for any answer later on.
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, sent: 0, received: 0 })
    }

    /// Sends a request of a version before the flexible ones (KIP-482).
    pub fn send(&mut self, api: i16, version: i16, body: Body) -> io::Result<()> {
        let header = Body::default().i16(api).i16(version).i32(self.sent + 1).text("trial");
        self.send_frame(header, body)
    }

    fn send_frame(&mut self, header: Body, body: Body) -> io::Result<()> {
        self.sent += 1;
        let header = header.0;
        let size = i32::try_from(header.len() + body.0.len()).expect("a request under 2 GiB");
        let frame = [&size.to_be_bytes()[..], &header, &body.0].concat();
        self.stream.write_all(&frame)
    }

    /// Waits for the answer to the oldest request: what follows the correlation id.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut told = [0; 4];
        self.read(&mut told)?;
        let size = usize::try_from(i32::from_be_bytes(told)).unwrap_or(usize::MAX);
        if !(4..=LARGEST).contains(&size) {
            let began = told.escape_ascii();
            return Err(nonsense(&format!("an answer that is not of Kafka's protocol, beginning with \"{began}\"")));
        }
        let mut answer = vec![0; size];
        self.read(&mut answer)?;
        self.received += 1;
        if answer[..4] != self.received.to_be_bytes() {
            return Err(nonsense("answers out of order"));
        }
        Ok(answer.split_off(4))
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(into).map_err(|e| match (e.kind(), self.stream.read_timeout()) {
            (io::ErrorKind::WouldBlock, Ok(Some(limit))) => {
                io::Error::new(io::ErrorKind::WouldBlock, format!("no answer within {limit:?}"))
            }
            (io::ErrorKind::UnexpectedEof, _) => {
                io::Error::new(e.kind(), "the connection was closed without an answer")
            }
            _ => e,
        })
    }

    /// Asks and waits.
    pub fn call(&mut self, api: i16, version: i16, body: Body) -> io::Result<Vec<u8>> {
        self.send(api, version, body)?;
        self.receive()
    }

    /// As [`Peer::call`], in a flexible version: the body lays out its own compact lengths and tags.
    pub fn call_flexible(&mut self, api: i16, version: i16, body: Body) -> io::Result<Vec<u8>> {
        self.send_flexible(api, version, body)?;
        // The header's tags, of which there are none.
        self.receive().map(|mut answer| answer.split_off(1))
    }

    /// As [`Peer::send`], in a flexible version. The answer begins with its header's tags.
    pub fn send_flexible(&mut self, api: i16, version: i16, body: Body) -> io::Result<()> {
        let header = Body::default().i16(api).i16(version).i32(self.sent + 1).text("trial").i8(0);
        self.send_frame(header, body)
    }

    /// How long to wait for answers from now on.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))
    }

    /// The socket, for trials of what happens below the protocol.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Creates a topic; one that exists is as good.
    pub fn create_topic(&mut self, topic: &str, partitions: i32) -> io::Result<()> {
        self.create_topic_with(topic, partitions, &[])
    }

    /// As [`Peer::create_topic`], with settings of its own.
    pub fn create_topic_with(&mut self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> io::Result<()> {
        let count = i32::try_from(settings.len()).expect("a few settings");
        let mut body = Body::default().i32(1).text(topic).i32(partitions).i16(1).i32(0).i32(count);
        for (name, value) in settings {
            body = body.text(name).text(value);
        }
        let answer = self.call(19, 2, body.i32(30_000).i8(0))?;
        let mut answer = Answer(&answer);
        answer.take(8)?;
        answer.text()?;
        let code = answer.i16()?;
        if code == 36 { Ok(()) } else { checked(code, "create topic") }
    }

    /// Deletes a topic.
    pub fn delete_topic(&mut self, topic: &str) -> io::Result<()> {
        let answer = self.call(20, 1, Body::default().i32(1).text(topic).i32(30_000))?;
        let mut answer = Answer(&answer);
        answer.take(8)?;
        answer.text()?;
        checked(answer.i16()?, "delete topic")
    }

    /// A producer id for an idempotent producer.
    pub fn init_producer(&mut self) -> io::Result<Producer> {
        let answer = self.call(22, 1, Body::default().i16(-1).i32(60_000))?;
        let mut answer = Answer(&answer);
        answer.i32()?;
        checked(answer.i16()?, "init producer id")?;
        Ok(Producer { id: answer.i64()?, epoch: answer.i16()? })
    }

    /// Sends one batch without waiting. `acks` is 1 or -1.
    pub fn send_batch(&mut self, topic: &str, partition: i32, acks: i16, batch: &[u8]) -> io::Result<()> {
        let body = Body::default().i16(-1).i16(acks).i32(30_000).place(topic, partition).bytes(batch);
        self.send(0, 7, body)
    }

    /// Waits for the answer to the oldest batch: the offset of its first record, or Kafka's error code.
    pub fn receive_batch(&mut self) -> io::Result<Result<i64, i16>> {
        let answer = self.receive()?;
        let mut answer = Answer(&answer);
        answer.place()?;
        let (code, offset) = (answer.i16()?, answer.i64()?);
        Ok(if code == 0 { Ok(offset) } else { Err(code) })
    }

    /// Reads from `offset` on, at most about a mebibyte, without waiting for more to come.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> io::Result<Fetched> {
        self.try_fetch(topic, partition, offset)?.map_err(|code| io::Error::other(format!("fetch: error code {code}")))
    }

    /// As [`Peer::fetch`]; Kafka's error code where it is refused.
    pub fn try_fetch(&mut self, topic: &str, partition: i32, offset: i64) -> io::Result<Result<Fetched, i16>> {
        let body = Body::default().i32(-1).i32(0).i32(1).i32(1 << 20).i8(0);
        let answer = self.call(1, 4, body.place(topic, partition).i64(offset).i32(1 << 20))?;
        let mut answer = Answer(&answer);
        answer.i32()?;
        answer.place()?;
        let code = answer.i16()?;
        if code != 0 {
            return Ok(Err(code));
        }
        let high_watermark = answer.i64()?;
        answer.i64()?;
        let aborted = answer.i32()?;
        answer.take(usize::try_from(aborted).unwrap_or(0) * 16)?;
        Ok(Ok(Fetched { high_watermark, records: records_of(Answer(answer.bytes()?), offset)? }))
    }

    /// Makes the broker ready to be asked about `group`.
    pub fn find_coordinator(&mut self, group: &str) -> io::Result<()> {
        let answer = self.call(10, 1, Body::default().text(group).i8(0))?;
        let mut answer = Answer(&answer);
        answer.i32()?;
        checked(answer.i16()?, "find coordinator")
    }

    /// Commits `offset` for a group without members.
    pub fn commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) -> io::Result<()> {
        let body = Body::default().text(group).i32(-1).text("").i64(-1).place(topic, partition).i64(offset).i16(-1);
        let answer = self.call(8, 2, body)?;
        let mut answer = Answer(&answer);
        answer.place()?;
        checked(answer.i16()?, "offset commit")
    }

    /// The offset a group committed, -1 for none.
    pub fn committed(&mut self, group: &str, topic: &str, partition: i32) -> io::Result<i64> {
        let answer = self.call(9, 1, Body::default().text(group).place(topic, partition))?;
        let mut answer = Answer(&answer);
        answer.place()?;
        let offset = answer.i64()?;
        answer.text()?;
        checked(answer.i16()?, "offset fetch")?;
        Ok(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_taken_apart_as_it_was_made() {
        let values: Vec<Vec<u8>> = [0usize, 1, 63, 64, 300, 20_000].iter().map(|n| vec![7; *n]).collect();
        let mut bytes = batch(Producer { id: 5, epoch: 0 }, 10, &values);
        bytes[..8].copy_from_slice(&100i64.to_be_bytes());
        let found = records_of(Answer(&bytes), 102).unwrap();
        let wanted: Vec<Stored> =
            (102..).zip(&values[2..]).map(|(offset, v)| Stored { offset, value: v.clone() }).collect();
        assert_eq!(found, wanted);
        let last = bytes.len() - 1;
        assert!(records_of(Answer(&bytes[..last]), 0).unwrap().is_empty(), "a batch cut short is not read");
        bytes[last] ^= 1;
        assert!(records_of(Answer(&bytes), 0).is_err(), "a damaged one is told");
    }

    #[test]
    fn varints_there_and_back() {
        for v in [0, -1, 1, 63, 64, -65, 1 << 20, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_varint(&mut out, v);
            assert_eq!(Answer(&out).varint().unwrap(), v);
        }
        assert!(Answer(&[0xff; 11]).varint().is_err());
    }
}
