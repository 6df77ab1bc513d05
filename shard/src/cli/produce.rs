//! `ringlog produce`: lines of standard input to records of a topic. Batches are as large as the input is fast:
//! a batch goes out when it is full or when the input pauses. Not a load generator.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;

use bytes::Bytes;
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringlog_engine::ErrorCode;
use ringlog_net::cold::messages::ProduceRequest;
use ringlog_net::cold::messages::produce_request::{PartitionProduceData, TopicProduceData};

use super::client::{Client, Node, Trouble, topic_name};
use super::output::Failure;
use super::records::{self, Compression, Record};
use super::{Broker, format, key_value, time};

/// A batch is sent when it holds so many bytes, or so many records.
const BATCH_BYTES: usize = 512 << 10;
const BATCH_RECORDS: usize = 10_000;
/// An input that pauses for longer than this has its batch sent.
const LINGER_MS: u16 = 5;

/// Send lines of standard input as records.
#[derive(Args, Debug)]
pub(super) struct ProduceArgs {
    topic: String,
    /// What comes before this in a line is the key; \t and the like are understood. Lines without it are refused.
    // `std::vec::Vec` in full: clap takes a plain `Vec` for an option that is repeated.
    #[arg(long, short = 'K', value_name = "TEXT", value_parser = format::separator)]
    key_separator: Option<std::vec::Vec<u8>>,
    /// The key of every record.
    #[arg(long, short, conflicts_with = "key_separator")]
    key: Option<String>,
    /// A header of every record; may be repeated.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = key_value)]
    header: Vec<(String, String)>,
    /// A key or value that is exactly this text is sent as null.
    #[arg(long, value_name = "TEXT")]
    null_marker: Option<String>,
    /// Lines are JSON objects as `ringlog consume --json` prints them: value, and if given key, headers, timestamp.
    #[arg(long, conflicts_with_all = ["key_separator", "key", "null_marker"])]
    json: bool,
    /// Send to this partition; otherwise the key decides, as in Kafka's own clients.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Compress batches.
    #[arg(long, short = 'z', value_enum, default_value_t = Compression::None)]
    compression: Compression,
    /// When a record counts as sent: all (safe on every replica), 1 (on the leader), 0 (not asked).
    #[arg(long, value_name = "all|1|0", default_value = "all", value_parser = acks)]
    acks: i16,
    #[command(flatten)]
    broker: Broker,
}

fn acks(text: &str) -> Result<i16, String> {
    match text {
        "all" | "-1" => Ok(-1),
        "1" => Ok(1),
        "0" => Ok(0),
        _ => Err("expected all, 1 or 0".to_string()),
    }
}

struct Producer<'a> {
    arguments: &'a ProduceArgs,
    client: Client,
    partitions: Vec<i32>,
    leaders: BTreeMap<i32, Node>,
    /// By partition: chunks in the order to send them, at most one of them growing.
    pending: BTreeMap<i32, VecDeque<Vec<Record>>>,
    pending_bytes: usize,
    pending_records: usize,
    /// Where records without a key go until the next batch.
    sticky: usize,
}

pub(super) fn run(arguments: &ProduceArgs) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let topic = client.topic(&arguments.topic, true)?;
    let partitions: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
    if let Some(p) = arguments.partition.filter(|p| !partitions.contains(p)) {
        let name = &arguments.topic;
        return Err(Failure::Failed(format!("topic {name} has no partition {p}, only {partitions:?}")));
    }
    let mut producer = Producer {
        arguments,
        client,
        sticky: time::now_ms() as usize % partitions.len().max(1),
        partitions,
        leaders: BTreeMap::new(),
        pending: BTreeMap::new(),
        pending_bytes: 0,
        pending_records: 0,
    };
    producer.read_and_send()
}

impl Producer<'_> {
    fn read_and_send(&mut self) -> Result<(), Failure> {
        let unreadable = |error: io::Error| Failure::Failed(format!("cannot read standard input: {error}"));
        // Through our own buffer: that of `io::stdin` cannot be looked into.
        let mut input = BufReader::new(File::from(io::stdin().as_fd().try_clone_to_owned().map_err(unreadable)?));
        let mut line = Vec::new();
        let mut number = 0u64;
        loop {
            let full = self.pending_bytes >= BATCH_BYTES || self.pending_records >= BATCH_RECORDS;
            if full || (self.pending_records > 0 && !line_ready(&input)) {
                self.send()?;
            }
            line.clear();
            if input.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
                return self.send();
            }
            number += 1;
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let record = record(text, self.arguments).map_err(|why| Failure::Failed(format!("line {number}: {why}")));
            match record {
                Ok(record) => self.add(record),
                Err(failure) => {
                    self.send()?;
                    return Err(failure);
                }
            }
        }
    }

    fn add(&mut self, record: Record) {
        let partition = match (self.arguments.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => self.partitions[(murmur2(key) & 0x7fff_ffff) as usize % self.partitions.len()],
            (None, None) => self.partitions[self.sticky],
        };
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        self.pending_bytes += length(&record.key) + length(&record.value) + 16;
        self.pending_records += 1;
        let chunks = self.pending.entry(partition).or_default();
        match chunks.back_mut() {
            Some(chunk) => chunk.push(record),
            None => chunks.push_back(vec![record]),
        }
    }

    /// Sends all that is pending and returns when it is acknowledged.
    fn send(&mut self) -> Result<(), Failure> {
        while !self.pending.is_empty() {
            let Producer { arguments, client, leaders, pending, .. } = self;
            client.retry(|client| {
                let outcome = send_round(client, arguments, leaders, pending);
                if outcome.is_err() {
                    leaders.clear();
                }
                outcome
            })?;
        }
        (self.pending_bytes, self.pending_records) = (0, 0);
        self.sticky = (self.sticky + 1) % self.partitions.len();
        Ok(())
    }
}

/// One request to each leader, with the first chunk of each of its partitions. What is acknowledged leaves `pending`.
fn send_round(
    client: &mut Client,
    arguments: &ProduceArgs,
    leaders: &mut BTreeMap<i32, Node>,
    pending: &mut BTreeMap<i32, VecDeque<Vec<Record>>>,
) -> Result<(), Trouble> {
    if leaders.is_empty() {
        let topic = client.topic_once(&arguments.topic, true)?;
        *leaders = topic.partitions.iter().map(|p| (p.partition_index, Node::Id(*p.leader_id))).collect();
    }
    let mut by_leader: BTreeMap<Node, Vec<PartitionProduceData>> = BTreeMap::new();
    for (partition, chunks) in pending.iter() {
        let unknown = || {
            let subject = format!("partition {partition} of topic {}", arguments.topic);
            Trouble::refused(subject, ErrorCode::UnknownTopicOrPartition.code(), None)
        };
        let leader = leaders.get(partition).ok_or_else(unknown)?;
        let batch = records::encode(&chunks[0], arguments.compression);
        let data = PartitionProduceData::default().with_index(*partition).with_records(Some(batch));
        by_leader.entry(*leader).or_default().push(data);
    }
    let mut trouble = None;
    for (leader, data) in by_leader {
        let sent: Vec<i32> = data.iter().map(|d| d.index).collect();
        let topic = TopicProduceData::default().with_name(topic_name(&arguments.topic)).with_partition_data(data);
        let request = ProduceRequest::default()
            .with_acks(arguments.acks)
            .with_timeout_ms(client.timeout_ms())
            .with_topic_data(vec![topic]);
        if arguments.acks == 0 {
            client.send(leader, 12, &request)?;
            sent.iter().for_each(|partition| drop_first(pending, *partition));
            continue;
        }
        let response = client.call(leader, 12, &request)?;
        for p in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
            match ErrorCode::from_code(p.error_code) {
                Some(ErrorCode::None) => drop_first(pending, p.index),
                Some(ErrorCode::MessageTooLarge) if split_first(pending, p.index) => {}
                _ => {
                    let message = p.record_errors.iter().find_map(|e| e.batch_index_error_message.as_ref());
                    let subject = format!("partition {} of topic {}", p.index, arguments.topic);
                    let message = p.error_message.as_ref().or(message);
                    trouble = Some(Trouble::refused(subject, p.error_code, message));
                }
            }
        }
    }
    trouble.map_or(Ok(()), Err)
}

fn drop_first(pending: &mut BTreeMap<i32, VecDeque<Vec<Record>>>, partition: i32) {
    if let Some(chunks) = pending.get_mut(&partition) {
        chunks.pop_front();
        if chunks.is_empty() {
            pending.remove(&partition);
        }
    }
}

/// Halves a chunk that is too large for the topic. False: a single record is.
fn split_first(pending: &mut BTreeMap<i32, VecDeque<Vec<Record>>>, partition: i32) -> bool {
    let Some(chunks) = pending.get_mut(&partition) else { return false };
    match chunks.pop_front() {
        Some(mut first) if first.len() > 1 => {
            chunks.push_front(first.split_off(first.len() / 2));
            chunks.push_front(first);
            true
        }
        Some(single) => {
            chunks.push_front(single);
            false
        }
        None => false,
    }
}

/// Whether there is more to read without a pause. The start of a line in the buffer does not count, only its end does.
fn line_ready(input: &BufReader<File>) -> bool {
    if input.buffer().contains(&b'\n') {
        return true;
    }
    let mut fds = [PollFd::new(input.get_ref().as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(LINGER_MS)).is_ok_and(|n| n > 0)
}

/// One line as a record.
fn record(line: &[u8], arguments: &ProduceArgs) -> Result<Record, String> {
    let headers = arguments.header.iter().map(|(name, value)| (name.clone(), Some(Bytes::from(value.clone()))));
    if arguments.json {
        let mut record = format::from_json(line)?;
        record.headers.extend(headers);
        if record.timestamp < 0 {
            record.timestamp = time::now_ms();
        }
        return Ok(record);
    }
    let (key, value) = match &arguments.key_separator {
        Some(separator) => {
            let at = line.windows(separator.len()).position(|window| window == separator.as_slice());
            let at = at.ok_or_else(|| {
                format!("there is no `{}` between key and value", String::from_utf8_lossy(separator).escape_debug())
            })?;
            (Some(&line[..at]), &line[at + separator.len()..])
        }
        None => (arguments.key.as_ref().map(String::as_bytes), line),
    };
    let marker = arguments.null_marker.as_ref().map(String::as_bytes);
    let bytes = |text: &[u8]| (Some(text) != marker).then(|| Bytes::copy_from_slice(text));
    Ok(Record {
        offset: 0,
        timestamp: time::now_ms(),
        key: key.and_then(bytes),
        value: bytes(value),
        headers: headers.collect(),
    })
}

/// The hash of Kafka's default partitioner (`Utils.murmur2` of its clients).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ProduceArgs,
    }

    fn made(options: &str, line: &str) -> Result<Record, String> {
        let words = format!("produce t {options}");
        record(line.as_bytes(), &Line::parse_from(words.split_whitespace()).arguments)
    }

    #[test]
    fn keys_headers_and_nulls_come_from_the_line_and_the_options() {
        let plain = made("", "a:b").unwrap();
        assert_eq!((plain.key, plain.value.as_deref()), (None, Some(&b"a:b"[..])));
        let keyed = made("-K : -H h=1 -H i=", "a:b:c").unwrap();
        assert_eq!((keyed.key.as_deref(), keyed.value.as_deref()), (Some(&b"a"[..]), Some(&b"b:c"[..])));
        assert_eq!(keyed.headers, [("h".to_string(), Some("1".into())), ("i".to_string(), Some(Bytes::new()))]);
        let tab = made("-K \\t --null-marker NULL", "a\tNULL").unwrap();
        assert_eq!((tab.key.as_deref(), tab.value), (Some(&b"a"[..]), None));
        assert!(made("-K :", "no separator").unwrap_err().contains("`:`"));
        assert_eq!(made("-k fixed", "v").unwrap().key.as_deref(), Some(&b"fixed"[..]));
        assert_eq!(made("--json", r#"{"key":"k","value":null,"timestamp":5}"#).unwrap().timestamp, 5);
    }

    /// Values from the tests of Kafka's clients (`UtilsTest.testMurmur2`).
    #[test]
    fn keys_go_where_kafkas_clients_put_them() {
        let known: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key) as i32, hash, "{key:?}");
        }
    }

    #[test]
    fn a_chunk_that_is_too_large_is_halved_in_order() {
        let record = |n: i64| Record { offset: n, timestamp: 0, key: None, value: None, headers: vec![] };
        let mut pending = BTreeMap::from([(0, VecDeque::from([vec![record(0), record(1), record(2)]]))]);
        assert!(split_first(&mut pending, 0));
        let order: Vec<Vec<i64>> = pending[&0].iter().map(|c| c.iter().map(|r| r.offset).collect()).collect();
        assert_eq!(order, [vec![0], vec![1, 2]]);
        assert!(!split_first(&mut pending, 0));
        drop_first(&mut pending, 0);
        drop_first(&mut pending, 0);
        assert!(pending.is_empty());
    }
}
