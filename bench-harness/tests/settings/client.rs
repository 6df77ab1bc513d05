//! What the trials of settings ask of a broker: the small client of the harness, with the requests that make settings visible.
//! Panics where an answer makes no sense, as a trial has nothing to go on with then.

use ringlog_bench_harness::broker::{Broker, Options};
use ringlog_bench_harness::peer::{Answer, Body, Peer, Producer, batch};
use ringlog_bench_harness::wait::{PATIENCE, until};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// No idempotent producer.
pub(crate) const NOBODY: Producer = Producer { id: -1, epoch: -1 };
/// Kinds of resources.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;

/// A broker with the smallest journals, and these settings.
pub(crate) fn broker(name: &str, overrides: &[&str]) -> Broker {
    Broker::start_with(name, options(overrides))
}

pub(crate) fn options(overrides: &[&str]) -> Options {
    let small = ["ringlog.journal.bytes=16777216", "ringlog.memory.bytes=268435456"];
    let given = |name: &str| overrides.iter().any(|o| o.split('=').next() == name.split('=').next());
    let all = small.iter().filter(|o| !given(o)).chain(overrides);
    Options { overrides: all.map(|o| (*o).to_string()).collect(), ..Options::default() }
}

/// Records of these values, as many as told, each of so many bytes.
pub(crate) fn values(count: usize, bytes: usize) -> Vec<Vec<u8>> {
    (0..count).map(|k| vec![k as u8; bytes]).collect()
}

/// One setting as DescribeConfigs shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) value: String,
    pub(crate) source: i8,
    pub(crate) read_only: bool,
    /// Name, value, source; in force first.
    pub(crate) synonyms: Vec<(String, String, i8)>,
}

/// What Metadata says of the cluster.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Id, host, port, rack.
    pub(crate) brokers: Vec<(i32, String, i32, String)>,
    /// Error code, name, partitions.
    pub(crate) topics: Vec<(i16, String, usize)>,
}

/// A directory of DescribeLogDirs: error code, path, and name and size of each partition in it.
pub(crate) type LogDir = (i16, String, Vec<(String, i64)>);

/// What one partition of a fetch brought.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) code: i16,
    pub(crate) high_watermark: i64,
    pub(crate) bytes: Vec<u8>,
}

/// One connection. Every request waits for its answer unless it says otherwise.
pub(crate) struct Client(pub(crate) Peer);

fn word(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

impl Client {
    pub(crate) fn of(broker: &Broker) -> Client {
        Client::at(broker.addr())
    }

    pub(crate) fn at(addr: SocketAddr) -> Client {
        let peer = Peer::connect(addr).unwrap_or_else(|e| panic!("connecting to {addr}: {e}"));
        peer.set_patience(PATIENCE).expect("a socket");
        Client(peer)
    }

    fn ask(&mut self, api: i16, version: i16, body: Body) -> Vec<u8> {
        self.0.call(api, version, body).unwrap_or_else(|e| panic!("request {api} version {version}: {e}"))
    }

    /// Creates a topic with settings of its own; the error code.
    pub(crate) fn try_create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> i16 {
        let mut body = Body::default().i32(1).text(topic).i32(partitions).i16(-1).i32(0);
        body = body.i32(configs.len() as i32);
        for (name, value) in configs {
            body = body.text(name).text(value);
        }
        let answer = self.ask(19, 4, body.i32(30_000).i8(0));
        let mut answer = Answer(&answer);
        answer.take(8).unwrap();
        answer.text().unwrap();
        answer.i16().unwrap()
    }

    pub(crate) fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        assert_eq!(self.try_create(topic, partitions, configs), 0, "creating {topic}");
    }

    /// Deletes a topic; the error code.
    pub(crate) fn delete(&mut self, topic: &str) -> i16 {
        let answer = self.ask(20, 3, Body::default().i32(1).text(topic).i32(30_000));
        let mut answer = Answer(&answer);
        answer.take(8).unwrap();
        answer.text().unwrap();
        answer.i16().unwrap()
    }

    /// Sets one setting (`Some`) or goes back to its default; the error code and its text.
    pub(crate) fn try_alter(&mut self, kind: i8, resource: &str, name: &str, value: Option<&str>) -> (i16, String) {
        let body = Body::default().i32(1).i8(kind).text(resource).i32(1).text(name);
        let body = match value {
            Some(value) => body.i8(0).text(value),
            None => body.i8(1).i16(-1),
        };
        let answer = self.ask(44, 0, body.i8(0));
        let mut answer = Answer(&answer);
        answer.take(8).unwrap();
        (answer.i16().unwrap(), word(answer.text().unwrap()))
    }

    pub(crate) fn alter(&mut self, kind: i8, resource: &str, name: &str, value: Option<&str>) {
        assert_eq!(self.try_alter(kind, resource, name, value), (0, String::new()), "{resource}: {name}={value:?}");
    }

    /// One setting with its synonyms; a panic if there is none of the name.
    pub(crate) fn shown(&mut self, kind: i8, resource: &str, name: &str) -> Shown {
        let body = Body::default().i32(1).i8(kind).text(resource).i32(1).text(name).i8(1);
        let answer = self.ask(32, 1, body);
        let mut answer = Answer(&answer);
        answer.take(8).unwrap();
        assert_eq!(answer.i16().unwrap(), 0, "describing {resource}");
        answer.text().unwrap();
        answer.i8().unwrap();
        answer.text().unwrap();
        assert_eq!(answer.i32().unwrap(), 1, "{resource} has a setting {name}");
        answer.text().unwrap();
        let value = word(answer.text().unwrap());
        let read_only = answer.i8().unwrap() == 1;
        let source = answer.i8().unwrap();
        answer.i8().unwrap();
        let synonyms = (0..answer.i32().unwrap()).map(|_| {
            let (name, value) = (word(answer.text().unwrap()), word(answer.text().unwrap()));
            (name, value, answer.i8().unwrap())
        });
        Shown { value, source, read_only, synonyms: synonyms.collect() }
    }

    /// Metadata of these topics; with `create`, they may be made on this first use.
    pub(crate) fn metadata(&mut self, topics: &[&str], create: bool) -> Seen {
        let mut body = Body::default().i32(topics.len() as i32);
        for topic in topics {
            body = body.text(topic);
        }
        let answer = self.ask(3, 4, body.i8(i8::from(create)));
        let mut answer = Answer(&answer);
        answer.i32().unwrap();
        let brokers = (0..answer.i32().unwrap()).map(|_| {
            let (id, host) = (answer.i32().unwrap(), word(answer.text().unwrap()));
            (id, host, answer.i32().unwrap(), word(answer.text().unwrap()))
        });
        let brokers = brokers.collect();
        answer.text().unwrap();
        answer.i32().unwrap();
        let topics = (0..answer.i32().unwrap()).map(|_| {
            let (code, name) = (answer.i16().unwrap(), word(answer.text().unwrap()));
            answer.i8().unwrap();
            let partitions = answer.i32().unwrap();
            for _ in 0..partitions {
                answer.take(10).unwrap();
                for _ in 0..2 {
                    let count = answer.i32().unwrap();
                    answer.take(count as usize * 4).unwrap();
                }
            }
            (code, name, partitions as usize)
        });
        Seen { brokers, topics: topics.collect() }
    }

    /// Sends a batch: its first offset, or the error code.
    pub(crate) fn try_produce(&mut self, topic: &str, partition: i32, batch: &[u8]) -> Result<i64, i16> {
        self.0.send_batch(topic, partition, -1, batch).expect("sent");
        self.0.receive_batch().expect("an answer")
    }

    pub(crate) fn produce(&mut self, topic: &str, partition: i32, batch: &[u8]) -> i64 {
        self.try_produce(topic, partition, batch).unwrap_or_else(|code| panic!("producing to {topic}: {code}"))
    }

    /// One batch with one record of so many bytes, of now.
    pub(crate) fn put(&mut self, topic: &str, partition: i32, bytes: usize) -> i64 {
        self.produce(topic, partition, &batch(NOBODY, -1, &values(1, bytes)))
    }

    /// The offset ListOffsets answers for a time: -1 the end, -2 the start.
    pub(crate) fn offset(&mut self, topic: &str, partition: i32, time: i64) -> i64 {
        let answer = self.ask(2, 1, Body::default().i32(-1).place(topic, partition).i64(time));
        let mut answer = Answer(&answer);
        answer.place().unwrap();
        assert_eq!(answer.i16().unwrap(), 0, "offsets of {topic}-{partition}");
        answer.i64().unwrap();
        answer.i64().unwrap()
    }

    pub(crate) fn log_start(&mut self, topic: &str, partition: i32) -> i64 {
        self.offset(topic, partition, -2)
    }

    fn fetch_body(topic: &str, partition: i32, offset: i64, max_bytes: i32, wait_ms: i32) -> Body {
        let body = Body::default().i32(-1).i32(wait_ms).i32(1).i32(max_bytes).i8(0);
        body.place(topic, partition).i64(offset).i32(max_bytes)
    }

    /// Asks for records, waiting on the broker for one byte at least, and does not wait here.
    pub(crate) fn send_fetch(&mut self, topic: &str, partition: i32, offset: i64, max_bytes: i32, wait_ms: i32) {
        self.0.send(1, 4, Self::fetch_body(topic, partition, offset, max_bytes, wait_ms)).expect("sent");
    }

    pub(crate) fn receive_fetch(&mut self) -> Got {
        let answer = self.0.receive().expect("an answer");
        let mut answer = Answer(&answer);
        answer.i32().unwrap();
        answer.place().unwrap();
        let code = answer.i16().unwrap();
        let high_watermark = answer.i64().unwrap();
        answer.i64().unwrap();
        answer.i32().unwrap();
        Got { code, high_watermark, bytes: answer.bytes().unwrap().to_vec() }
    }

    pub(crate) fn fetch(&mut self, topic: &str, partition: i32, offset: i64, max_bytes: i32) -> Got {
        self.send_fetch(topic, partition, offset, max_bytes, 0);
        self.receive_fetch()
    }

    /// A full fetch that asks for a session (KIP-227): the session's id, 0 for none.
    pub(crate) fn session(&mut self, topic: &str) -> i32 {
        let body = Body::default().i32(-1).i32(0).i32(0).i32(1000).i8(0).i32(0).i32(0);
        let answer = self.ask(1, 7, body.place(topic, 0).i64(0).i64(-1).i32(1000).i32(0));
        let mut answer = Answer(&answer);
        answer.i32().unwrap();
        assert_eq!(answer.i16().unwrap(), 0);
        answer.i32().unwrap()
    }

    /// Joins a group without waiting for the answer.
    pub(crate) fn send_join(&mut self, group: &str, member: &str, session_ms: i32, subscription: &[u8]) {
        let body = Body::default().text(group).i32(session_ms).i32(60_000).text(member).text("consumer");
        self.0.send(11, 2, body.i32(1).text("range").bytes(subscription)).expect("sent");
    }

    /// Error code and member id.
    pub(crate) fn receive_join(&mut self) -> (i16, String) {
        let answer = self.0.receive().expect("an answer");
        let mut answer = Answer(&answer);
        answer.i32().unwrap();
        let code = answer.i16().unwrap();
        answer.i32().unwrap();
        answer.text().unwrap();
        answer.text().unwrap();
        (code, word(answer.text().unwrap()))
    }

    pub(crate) fn join(&mut self, group: &str, session_ms: i32, subscription: &[u8]) -> (i16, String) {
        self.send_join(group, "", session_ms, subscription);
        self.receive_join()
    }

    /// Commits for a group without members, kept for so long (-1: as the settings say): the error code.
    pub(crate) fn commit(&mut self, group: &str, topic: &str, offset: i64, note: &str, keep_ms: i64) -> i16 {
        let body = Body::default().text(group).i32(-1).text("").i64(keep_ms);
        let answer = self.ask(8, 2, body.place(topic, 0).i64(offset).text(note));
        let mut answer = Answer(&answer);
        answer.place().unwrap();
        answer.i16().unwrap()
    }

    /// The committed offset, -1 for none.
    pub(crate) fn committed(&mut self, group: &str, topic: &str) -> i64 {
        self.0.committed(group, topic, 0).expect("an answer")
    }

    /// Finds the coordinator, which makes `__consumer_offsets`, and waits until it answers.
    pub(crate) fn coordinated(&mut self, group: &str) {
        until("a coordinator", || self.0.find_coordinator(group).is_ok());
    }

    /// DescribeLogDirs, of all directories.
    pub(crate) fn log_dirs(&mut self) -> Vec<LogDir> {
        let answer = self.ask(35, 1, Body::default().i32(-1));
        let mut answer = Answer(&answer);
        answer.i32().unwrap();
        let mut dirs = Vec::new();
        for _ in 0..answer.i32().unwrap() {
            let (code, path) = (answer.i16().unwrap(), word(answer.text().unwrap()));
            let mut parts = Vec::new();
            for _ in 0..answer.i32().unwrap() {
                let topic = word(answer.text().unwrap());
                for _ in 0..answer.i32().unwrap() {
                    let partition = answer.i32().unwrap();
                    parts.push((format!("{topic}-{partition}"), answer.i64().unwrap()));
                    answer.take(9).unwrap();
                }
            }
            dirs.push((code, path, parts));
        }
        dirs
    }

    /// Total and usable bytes of the first log directory, as DescribeLogDirs says (KIP-827).
    pub(crate) fn room(&mut self) -> (i64, i64) {
        let answer = self.0.call_flexible(35, 4, Body(vec![0, 0])).expect("an answer");
        let mut answer = Answer(&answer);
        // The length of a compact string or list, which is sent as one more.
        let short = |answer: &mut Answer<'_>| {
            let (mut value, mut shift) = (0usize, 0);
            loop {
                let byte = answer.i8().unwrap() as u8;
                value |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value - 1;
                }
            }
        };
        answer.take(4 + 2).unwrap();
        assert_eq!(short(&mut answer), 1, "one directory");
        assert_eq!(answer.i16().unwrap(), 0);
        let len = short(&mut answer);
        answer.take(len).unwrap();
        for _ in 0..short(&mut answer) {
            let len = short(&mut answer);
            answer.take(len).unwrap();
            for _ in 0..short(&mut answer) {
                answer.take(4 + 8 + 8 + 1 + 1).unwrap();
            }
            answer.take(1).unwrap();
        }
        (answer.i64().unwrap(), answer.i64().unwrap())
    }

    /// The connection was closed: nothing comes any more.
    pub(crate) fn is_closed(&mut self) -> bool {
        use std::io::Read;
        match self.0.stream().read(&mut [0]) {
            Ok(read) => read == 0,
            Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// Files of a directory and below with this ending, with their sizes.
pub(crate) fn files(dir: &Path, ending: &str) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    // What vanishes meanwhile is not there.
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending)
            && let Ok(meta) = entry.metadata()
        {
            found.push((path, meta.len()));
        }
    }
    found.sort();
    found
}

/// Bytes on disk below a directory.
pub(crate) fn disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    files(dir, "").iter().filter_map(|(path, _)| std::fs::metadata(path).ok()).map(|m| m.blocks() * 512).sum()
}
