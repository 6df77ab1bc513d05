//! Who a broker is, as it says itself: Metadata for its id, DescribeConfigs for its settings. From those, what its acknowledgement
//! is worth. What it does not say is not known, and never guessed.

use crate::bench::Failure;
use crate::bench::environment::plain_word;
use crate::bench::workload::{Acks, Workload};
use crate::peer::{Answer, Body, Peer};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

/// Classes of durability, as results tell them: the same words for the same class, whoever keeps it.
pub const FLUSHED: &str = "flushed to the device";
pub const NOT_FLUSHED: &str = "written, not flushed";
pub const NOTHING: &str = "nothing is acknowledged";
pub const NOT_KNOWN: &str = "not known";

/// The source of a setting that nobody set (`DEFAULT_CONFIG`).
const DEFAULT: i8 = 5;

/// What a broker says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    pub software: String,
    /// Every setting with its value; empty: it does not tell.
    pub all: BTreeMap<String, String>,
    /// Settings that differ from their defaults, without addresses and paths.
    pub settings: BTreeMap<String, String>,
    pub log_dirs: Vec<String>,
}

/// Which class of durability is asked of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// As each broker is set.
    AsSet,
    /// An acknowledgement follows a flush.
    Flushed,
    /// An acknowledgement follows a write.
    NotFlushed,
}

impl Identity {
    pub fn is_ringlog(&self) -> bool {
        self.all.contains_key("ringlog.log.flush")
    }

    /// Its settings have Kafka's inner parts by name. A Ringlog knows those names, too.
    pub fn is_kafka(&self) -> bool {
        let has = |name: &str| self.all.contains_key(name);
        !self.is_ringlog() && has("log.flush.interval.messages") && has("num.io.threads") && has("log.cleaner.threads")
    }

    /// Topic settings that make a topic of the class asked for. Err: nobody knows how, with this broker.
    pub fn topic_settings(&self, durability: Durability) -> Result<BTreeMap<String, String>, Failure> {
        let pair = match (durability, self.is_ringlog(), self.is_kafka()) {
            (Durability::AsSet, ..) => return Ok(BTreeMap::new()),
            (Durability::Flushed, true, _) => ("ringlog.flush", "durable"),
            (Durability::NotFlushed, true, _) => ("ringlog.flush", "relaxed"),
            (Durability::Flushed, _, true) => ("flush.messages", "1"),
            (Durability::NotFlushed, _, true) => ("flush.messages", "9223372036854775807"),
            _ => return Err(Failure(format!("{}: how its flushes are set is not known", self.software))),
        };
        Ok(BTreeMap::from([(pair.0.to_string(), pair.1.to_string())]))
    }

    /// When a record is acknowledged in topics with these settings, for producers of this workload.
    pub fn durability(&self, workload: &Workload, topic: &BTreeMap<String, String>) -> String {
        let acks = workload.producers.acks;
        let of = |topic_name: &str, name: &str| {
            topic.get(topic_name).or_else(|| workload.topics.config.get(topic_name)).or_else(|| self.all.get(name))
        };
        let class = if self.is_ringlog() {
            match (of("ringlog.flush", "ringlog.log.flush").map(String::as_str), acks) {
                (Some("durable"), Acks::All) => FLUSHED,
                // acks=1: the flush follows at once, nobody waits for it.
                (Some("durable" | "relaxed"), _) => NOT_FLUSHED,
                _ => NOT_KNOWN,
            }
        } else if self.is_kafka() {
            match of("flush.messages", "log.flush.interval.messages").map(|v| v.parse::<u64>()) {
                Some(Ok(1)) => FLUSHED,
                Some(Ok(_)) => NOT_FLUSHED,
                _ => NOT_KNOWN,
            }
        } else {
            NOT_KNOWN
        };
        if acks == Acks::None { NOTHING.to_string() } else { class.to_string() }
    }
}

/// Asks the broker at an address.
pub fn ask(addr: SocketAddr) -> Result<Identity, Failure> {
    let mut peer = Peer::connect(addr).map_err(|e| Failure::because(format!("no broker at {addr}"), e))?;
    let node = node_id(&mut peer).map_err(|e| Failure::because(format!("{addr}: Metadata"), e))?;
    // A broker without DescribeConfigs closes the connection or refuses.
    let rows = describe(&mut peer, node).unwrap_or_default();
    let mut identity =
        Identity { software: "a broker that does not say what it is".to_string(), ..Identity::default() };
    for (name, value, source) in rows {
        let place = ["listener", "host", "log.dir", "address", "voters", "bootstrap.servers"];
        let told = !place.iter().any(|word| name.contains(word));
        if source != DEFAULT && told {
            identity.settings.insert(name.clone(), plain_word(&value));
        }
        identity.all.insert(name, value);
    }
    let dirs = ["log.dirs", "log.dir"].iter().find_map(|name| identity.all.get(*name).filter(|v| !v.is_empty()));
    identity.log_dirs = dirs.map(|d| d.split(',').map(|d| d.trim().to_string()).collect()).unwrap_or_default();
    if identity.is_ringlog() {
        identity.software = "Ringlog, version not known".to_string();
    } else if identity.is_kafka() {
        identity.software = "Apache Kafka or one like it, version not known".to_string();
    }
    Ok(identity)
}

/// The first broker's id, by Metadata v1 about no topics.
fn node_id(peer: &mut Peer) -> io::Result<i32> {
    let answer = peer.call(3, 1, Body::default().i32(0))?;
    let mut answer = Answer(&answer);
    match answer.i32()? {
        n if n > 0 => answer.i32(),
        _ => Err(io::Error::other("it names no broker")),
    }
}

/// All settings of a broker: name, value, source. DescribeConfigs v1.
fn describe(peer: &mut Peer, node: i32) -> io::Result<Vec<(String, String, i8)>> {
    let (broker, all_names) = (4, -1);
    let body = Body::default().i32(1).i8(broker).text(&node.to_string()).i32(all_names).i8(0);
    let answer = peer.call(32, 1, body)?;
    let mut answer = Answer(&answer);
    answer.take(4)?;
    if answer.i32()? != 1 || answer.i16()? != 0 {
        return Err(io::Error::other("DescribeConfigs is refused"));
    }
    answer.text()?;
    answer.i8()?;
    answer.text()?;
    let mut rows = Vec::new();
    for _ in 0..answer.i32()? {
        let name = String::from_utf8_lossy(answer.text()?).into_owned();
        let value = String::from_utf8_lossy(answer.text()?).into_owned();
        answer.i8()?;
        let source = answer.i8()?;
        let sensitive = answer.i8()? != 0;
        for _ in 0..answer.i32()? {
            answer.text()?;
            answer.text()?;
            answer.i8()?;
        }
        if !sensitive {
            rows.push((name, value, source));
        }
    }
    Ok(rows)
}
