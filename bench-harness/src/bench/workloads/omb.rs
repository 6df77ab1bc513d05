//! Workloads and drivers of the OpenMessaging Benchmark, read as they are. What its Java client does by itself and this bench does
//! otherwise, and every field that has no meaning here, is told; a field that is missing has that benchmark's own default.

use super::{Asked, ranges};
use crate::bench::Failure;
use crate::bench::workload::{Acks, Backlog, Codec, Consumers, Duration, From, Keys, Producers, Records, Size};
use crate::bench::workload::{Topics, Workload};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// Rates from here on are that benchmark's way to say: as fast as possible.
const AS_FAST_AS_POSSIBLE: f64 = 10e6;
/// Keys that its distributors choose from.
const KEYS: u64 = 10_000;
/// What Kafka's producer does unless told.
const BATCH_BYTES: u32 = 16_384;
const LINGER_MS: f64 = 5.0;
/// Least length of a value here.
const SIZE_MIN: u32 = 24;

/// Fields of a workload of that benchmark or its forks that ask for nothing which this bench does.
const IDLE_FIELDS: &[(&str, &str)] = &[
    ("randomizedPayloadPoolSize", "contents are made here for each record"),
    ("logIntervalMillis", "progress is told once a second"),
    ("backlogDrainRatio", "a backlog is drained to its end"),
];

/// One file as fields, with what was already taken.
struct Fields<'a> {
    file: &'a str,
    text: &'a str,
    left: BTreeMap<String, Value>,
}

impl<'a> Fields<'a> {
    fn read(file: &'a str, text: &'a str) -> Result<Fields<'a>, Failure> {
        let left = serde_saphyr::from_str(text).map_err(|e| {
            let line = e.location().map_or(1, |at| at.line());
            let said = e.to_string();
            Failure(format!("{file}:{line}: {}", said.lines().next().unwrap_or("it is not YAML")))
        })?;
        Ok(Fields { file, text, left })
    }

    fn fault(&self, field: &str, why: impl Display) -> Failure {
        let stands =
            |line: &str| line.trim_start().strip_prefix(field).is_some_and(|r| r.trim_start().starts_with(':'));
        let line = self.text.lines().position(stands).map_or(1, |k| k + 1);
        Failure(format!("{}:{line}: {field}: {why}", self.file))
    }

    fn number(&mut self, field: &str, from: f64, to: f64) -> Result<Option<f64>, Failure> {
        let value = match self.left.remove(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(n)) => n.as_f64().unwrap_or(f64::NAN),
            Some(other) => return Err(self.fault(field, format!("{other} is not a number"))),
        };
        match (from..=to).contains(&value) {
            true => Ok(Some(value)),
            false => Err(self.fault(field, format!("{value} is not in {from} to {to}"))),
        }
    }

    fn count(&mut self, field: &str, from: u32, to: u32) -> Result<Option<u32>, Failure> {
        let found = self.number(field, f64::from(from), f64::from(to))?;
        match found {
            Some(value) if value.fract() != 0.0 => Err(self.fault(field, format!("{value} is not a whole number"))),
            found => Ok(found.map(|value| value as u32)),
        }
    }

    fn needed(&mut self, field: &str, from: u32, to: u32) -> Result<u32, Failure> {
        self.count(field, from, to)?.ok_or_else(|| self.fault(field, "it is missing"))
    }

    fn truth(&mut self, field: &str) -> Result<bool, Failure> {
        match self.left.remove(field) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(b)) => Ok(b),
            Some(other) => Err(self.fault(field, format!("{other} is neither true nor false"))),
        }
    }

    fn words(&mut self, field: &str) -> Result<Option<String>, Failure> {
        match self.left.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(other) => Err(self.fault(field, format!("{other} is not text"))),
        }
    }

    /// A block of properties, `name=value` a line.
    fn properties(&mut self, field: &str) -> Result<BTreeMap<String, String>, Failure> {
        let text = self.words(field)?.unwrap_or_default();
        let mut found = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', '!'])) {
            let (name, value) =
                line.split_once(['=', ':']).ok_or_else(|| self.fault(field, format!("`{line}` is not name=value")))?;
            found.insert(name.trim().to_string(), value.trim().to_string());
        }
        Ok(found)
    }
}

/// Reads a workload, and the driver that says what clients and topics are like. Both: name of the file and its text.
pub fn parse(workload: (&str, &str), driver: Option<(&str, &str)>) -> Result<Asked, Failure> {
    let mut told = Vec::new();
    let mut w = read_workload(&mut Fields::read(workload.0, workload.1)?, &mut told)?;
    match driver {
        Some((file, text)) => read_driver(&mut Fields::read(file, text)?, &mut w, &mut told)?,
        None => batch(&mut w, BATCH_BYTES, LINGER_MS),
    }
    match ranges::faults(&w).first() {
        Some(fault) => Err(Failure(format!("{}: {fault}", workload.0))),
        None => Ok(Asked { workload: w, told }),
    }
}

fn read_workload(f: &mut Fields<'_>, told: &mut Vec<String>) -> Result<Workload, Failure> {
    let title = f.words("name")?.unwrap_or_else(|| f.file.to_string());
    let topics = f.needed("topics", 1, 10_000)?;
    let partitions = f.needed("partitionsPerTopic", 1, 100_000)?;
    let size = f.needed("messageSize", 1, 100_000_000)?;
    if size < SIZE_MIN {
        told.push(format!(
            "messageSize: {size}: values are {SIZE_MIN} bytes, as each holds its sequence and planned time"
        ));
    }
    let rate = f.number("producerRate", 0.0, 1e12)?.unwrap_or(0.0);
    let as_fast = rate == 0.0 || rate >= AS_FAST_AS_POSSIBLE;
    if as_fast {
        let how = "as fast as answers come; latency is then from the send, not from a plan";
        told.push(format!("producerRate: {rate}: {how}"));
    }
    let producers = topics * f.needed("producersPerTopic", 0, 10_000)?;
    let consumers = Consumers {
        groups: f.count("subscriptionsPerTopic", 0, 10_000)?.unwrap_or(0),
        count: (topics * f.count("consumerPerSubscription", 0, 10_000)?.unwrap_or(0)).max(1),
        coordinated: true,
        from: From::Start,
        ..Consumers::default()
    };
    let gib = f.number("consumerBacklogSizeGB", 0.0, 100_000.0)?.unwrap_or(0.0);
    let minutes = f.number("testDurationMinutes", 0.001, 10_080.0)?;
    let warmup = f.number("warmupDurationMinutes", 0.0, 1440.0)?.unwrap_or(1.0);
    let w = Workload {
        name: plain(&title),
        question: format!("What {title} of the OpenMessaging Benchmark asks."),
        topics: Topics { count: topics, partitions, ..Topics::default() },
        producers: Producers { count: producers, rate: (!as_fast).then_some(rate), ..Producers::default() },
        records: Records { size: Size::Fixed(size.max(SIZE_MIN)), ..read_contents(f, told)? },
        consumers,
        ramp: None,
        backlog: (gib > 0.0).then_some(Backlog { bytes: (gib * f64::from(1 << 30)) as u64, cold: false }),
        connections: Default::default(),
        run: Duration {
            warmup_seconds: warmup * 60.0,
            seconds: minutes.ok_or_else(|| f.fault("testDurationMinutes", "it is missing"))? * 60.0,
        },
    };
    for (field, why) in IDLE_FIELDS {
        if f.left.remove(*field).is_some() {
            told.push(format!("{field}: {why}"));
        }
    }
    told.extend(f.left.keys().map(|field| format!("{field}: this bench does not know it")));
    Ok(w)
}

/// What records hold and which keys they have.
fn read_contents(f: &mut Fields<'_>, told: &mut Vec<String>) -> Result<Records, Failure> {
    let mut records = Records::default();
    let random = f.truth("useRandomizedPayloads")?;
    let ratio = f.number("randomBytesRatio", 0.0, 1.0)?;
    match (random, ratio) {
        (true, ratio) => records.compressible = 1.0 - ratio.unwrap_or(0.0),
        (false, Some(_)) => told.push("randomBytesRatio: without useRandomizedPayloads it means nothing".to_string()),
        (false, None) => {}
    }
    if let Some(name) = f.words("payloadFile")?
        && !random
    {
        told.push(format!(
            "payloadFile: {name}: contents are made here, half of them compressible; lengths are messageSize"
        ));
    }
    let distributor = f.words("keyDistributor")?.unwrap_or_else(|| "NO_KEY".to_string());
    records.keys = match distributor.as_str() {
        "NO_KEY" => Keys::None,
        "RANDOM_NANO" => Keys::Uniform { count: KEYS },
        "KEY_ROUND_ROBIN" => {
            told.push(format!("keyDistributor: KEY_ROUND_ROBIN: {KEYS} keys by chance, not in turn"));
            Keys::Uniform { count: KEYS }
        }
        other => {
            return Err(f.fault("keyDistributor", format!("{other} is none of NO_KEY, KEY_ROUND_ROBIN, RANDOM_NANO")));
        }
    };
    Ok(records)
}

/// Records of one batch by the bytes that a batch may have, and how long it waits for them.
fn batch(w: &mut Workload, bytes: u32, linger_ms: f64) {
    w.producers.linger_us = (linger_ms * 1000.0) as u64;
    // A producer that does not wait sends what it has: one record, unless it is behind.
    let fit = bytes / ranges::longest(&w.records.size);
    w.producers.batch_records = if linger_ms > 0.0 { fit.max(1) } else { 1 };
}

fn read_driver(f: &mut Fields<'_>, w: &mut Workload, told: &mut Vec<String>) -> Result<(), Failure> {
    if let Some(class) = f.words("driverClass")?
        && !class.ends_with(".KafkaBenchmarkDriver")
    {
        return Err(f.fault("driverClass", format!("{class} is not the driver of Kafka's protocol")));
    }
    f.words("name")?;
    w.topics.replication = f.count("replicationFactor", 1, 100)?.map_or(1, |n| n as i16);
    if f.left.remove("reset").is_some() {
        told.push("reset: each run makes topics of its own and deletes them".to_string());
    }
    w.topics.config = f.properties("topicConfig")?;
    for (name, value) in f.properties("commonConfig")? {
        told.push(match name.as_str() {
            "bootstrap.servers" => format!("commonConfig: {name}={value}: the broker is the one on the command line"),
            _ => format!("commonConfig: {name}={value}: this bench's clients do not have it"),
        });
    }
    read_producer(f, w, told)?;
    read_consumer(f, w, told)?;
    told.extend(f.left.keys().map(|field| format!("{field}: this bench does not know it")));
    Ok(())
}

fn read_producer(f: &mut Fields<'_>, w: &mut Workload, told: &mut Vec<String>) -> Result<(), Failure> {
    let field = "producerConfig";
    let (mut bytes, mut linger_ms) = (BATCH_BYTES, LINGER_MS);
    let config = f.properties(field)?;
    let p = &mut w.producers;
    // Kafka's own default, and its producer's as soon as nothing speaks against it.
    p.acks = Acks::All;
    for (name, value) in &config {
        match name.as_str() {
            "acks" => {
                p.acks = match value.as_str() {
                    "0" => Acks::None,
                    "1" => Acks::Leader,
                    "all" | "-1" => Acks::All,
                    _ => return Err(f.fault(field, format!("acks={value}: 0, 1 or all"))),
                }
            }
            "linger.ms" => linger_ms = number(f, field, name, value)?,
            "batch.size" => bytes = number(f, field, name, value)?,
            "compression.type" => p.codec = codec(f, field, value)?,
            "enable.idempotence" => p.idempotent = number(f, field, name, value)?,
            "max.in.flight.requests.per.connection" => p.in_flight = number(f, field, name, value)?,
            "retries" | "delivery.timeout.ms" => {
                told.push(format!("{field}: {name}={value}: nothing is sent twice here"))
            }
            "buffer.memory" | "max.block.ms" => {
                told.push(format!("{field}: {name}={value}: senders keep to their plan"))
            }
            _ => told.push(format!("{field}: {name}={value}: this bench's producers do not have it")),
        }
    }
    if p.idempotent && p.in_flight > 5 {
        return Err(f.fault(field, "max.in.flight.requests.per.connection: at most 5 with enable.idempotence"));
    }
    batch(w, bytes, linger_ms);
    if w.producers.rate.is_none() && w.producers.batch_records > 1 {
        told.push(format!("{field}: as fast as possible, each batch is full: {} records", w.producers.batch_records));
    }
    Ok(())
}

fn read_consumer(f: &mut Fields<'_>, w: &mut Workload, told: &mut Vec<String>) -> Result<(), Failure> {
    let field = "consumerConfig";
    let c = &mut w.consumers;
    for (name, value) in f.properties(field)? {
        match name.as_str() {
            "auto.offset.reset" => {
                c.from = match value.as_str() {
                    "earliest" => From::Start,
                    "latest" => From::End,
                    _ => return Err(f.fault(field, format!("{name}={value}: earliest or latest"))),
                }
            }
            "max.partition.fetch.bytes" => c.partition_bytes = number(f, field, &name, &value)?,
            "fetch.max.bytes" => c.max_bytes = number(f, field, &name, &value)?,
            "fetch.min.bytes" => c.min_bytes = number(f, field, &name, &value)?,
            "fetch.max.wait.ms" => c.max_wait_ms = number(f, field, &name, &value)?,
            "auto.commit.interval.ms" => c.commit_ms = number(f, field, &name, &value)?,
            "enable.auto.commit" => {
                told.push(format!(
                    "{field}: {name}={value}: members commit each {} ms, as that benchmark does",
                    c.commit_ms
                ));
            }
            _ => told.push(format!("{field}: {name}={value}: this bench's consumers do not have it")),
        }
    }
    Ok(())
}

fn number<T: FromStr>(f: &Fields<'_>, field: &str, name: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|_| f.fault(field, format!("{name}={value} is not a value of it")))
}

fn codec(f: &Fields<'_>, field: &str, value: &str) -> Result<Codec, Failure> {
    Ok(match value {
        "none" => Codec::None,
        "gzip" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        _ => return Err(f.fault(field, format!("compression.type={value}: none, gzip, snappy, lz4 or zstd"))),
    })
}

/// A title as a name: lower case, everything but letters, digits and dots as one dash.
fn plain(title: &str) -> String {
    let mut name = String::new();
    for c in title.chars() {
        match c.is_ascii_alphanumeric() || c == '.' {
            true => name.push(c.to_ascii_lowercase()),
            false if !name.ends_with('-') && !name.is_empty() => name.push('-'),
            false => {}
        }
    }
    name.truncate(80);
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "omb".to_string() } else { name.to_string() }
}
