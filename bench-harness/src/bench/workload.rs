//! What a run asks of a broker: the model that workload files are read into. Pure data; every field has a default, so that a
//! file says only what is special about it, and a result keeps the whole.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One workload: which topics, who writes, who reads, for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    pub name: String,
    /// The question that this workload answers, one sentence.
    pub question: String,
    #[serde(default)]
    pub topics: Topics,
    #[serde(default)]
    pub producers: Producers,
    #[serde(default)]
    pub records: Records,
    #[serde(default)]
    pub consumers: Consumers,
    /// Looks for the highest rate that keeps a goal, instead of one rate for the whole run.
    #[serde(default)]
    pub ramp: Option<Ramp>,
    /// Writes before anybody reads; the readers then catch up while the writers go on.
    #[serde(default)]
    pub backlog: Option<Backlog>,
    #[serde(default)]
    pub connections: Connections,
    #[serde(default)]
    pub run: Duration,
}

/// Topics made for a run, and deleted after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    pub count: u32,
    /// Of each topic.
    pub partitions: u32,
    pub replication: i16,
    /// Topic settings, as CreateTopics takes them. One that the broker refuses is left out and told in the result.
    pub config: BTreeMap<String, String>,
}

impl Default for Topics {
    fn default() -> Topics {
        Topics { count: 1, partitions: 16, replication: 1, config: BTreeMap::new() }
    }
}

/// Whose answer a producer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acks {
    None,
    Leader,
    All,
}

/// How a batch is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Who writes. One producer is one connection; partitions are dealt out among them unless records have keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Producers {
    /// 0: nobody writes.
    pub count: u32,
    /// Records a second over all producers (open loop: sent when planned, whatever the answers do). None: as fast as answers
    /// allow, with `in_flight` requests on each connection (closed loop).
    pub rate: Option<f64>,
    pub in_flight: u32,
    pub acks: Acks,
    pub idempotent: bool,
    /// Records of one batch.
    pub batch_records: u32,
    /// Open loop: how long a batch may wait for more records, microseconds. 0: each planned send is a full batch.
    pub linger_us: u64,
    /// Partitions written in one request.
    pub partitions_per_request: u32,
    pub codec: Codec,
    /// Records of one transaction; None: no transactions. A broker without them refuses the run.
    pub transaction_records: Option<u32>,
}

impl Default for Producers {
    fn default() -> Producers {
        Producers {
            count: 4,
            rate: None,
            in_flight: 5,
            acks: Acks::All,
            idempotent: false,
            batch_records: 1,
            linger_us: 0,
            partitions_per_request: 1,
            codec: Codec::None,
            transaction_records: None,
        }
    }
}

/// Lengths of record values, bytes. At least 24 of them are used: each value begins with its producer, sequence and planned time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    Fixed(u32),
    /// Any length from the first to the second, equally likely.
    Uniform {
        from: u32,
        to: u32,
    },
    /// Lengths with their weights.
    Weighted(Vec<(u32, f64)>),
}

/// Which key a record has, and so which partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Keys {
    /// No key; partitions in turn.
    None,
    /// One of `count` keys, equally likely.
    Uniform { count: u64 },
    /// One of `count` keys, by Zipf's law with this exponent: a few are hot.
    Zipf { count: u64, exponent: f64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Records {
    pub size: Size,
    pub keys: Keys,
    /// Share of a value that a codec can take away, 0 (random bytes) to 1 (all the same).
    pub compressible: f64,
}

impl Default for Records {
    fn default() -> Records {
        Records { size: Size::Fixed(1024), keys: Keys::None, compressible: 0.5 }
    }
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    Start,
    End,
    /// Again and again the last `max_bytes`: what a fetch from memory costs.
    Tail,
}

/// Who reads. One consumer is one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consumers {
    /// Independent groups, each of which reads everything. 0: nobody reads.
    pub groups: u32,
    /// Consumers in each group.
    pub count: u32,
    /// Real group membership (JoinGroup, commits) instead of partitions dealt out here.
    pub coordinated: bool,
    pub from: From,
    pub max_bytes: u32,
    /// Bytes of one partition in one fetch.
    pub partition_bytes: u32,
    pub min_bytes: u32,
    pub max_wait_ms: u32,
    /// Milliseconds between offset commits of coordinated consumers.
    pub commit_ms: u64,
    /// Most records a second that one consumer takes: a slow consumer. None: as fast as they come.
    pub rate: Option<f64>,
    /// A member leaves and comes back each so many milliseconds. None: nobody does.
    pub churn_ms: Option<u64>,
}

impl Default for Consumers {
    fn default() -> Consumers {
        Consumers {
            groups: 0,
            count: 1,
            coordinated: false,
            from: From::End,
            max_bytes: 50 << 20,
            partition_bytes: 1 << 20,
            min_bytes: 1,
            max_wait_ms: 500,
            commit_ms: 5000,
            rate: None,
            churn_ms: None,
        }
    }
}

/// Steps of rising rate, each as long as `step_seconds`; the answer is the highest that kept the goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// Records a second of the first step.
    pub from: f64,
    /// Records a second at which to stop in any case.
    pub to: f64,
    /// Each step's rate is the one before times this, until the goal is missed; then the gap is halved `halvings` times.
    pub factor: f64,
    pub halvings: u32,
    pub step_seconds: f64,
    /// The latency goal: this percentile of publish latency from the planned send, at most `latency_ms`.
    pub percentile: f64,
    pub latency_ms: f64,
}

/// A log that is written before anybody reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backlog {
    /// Bytes of values written, as fast as possible, before readers begin.
    pub bytes: u64,
    /// The broker's page cache is dropped before readers begin (needs root on the broker's machine; told if it could not be).
    #[serde(default)]
    pub cold: bool,
}

/// Connections that do nothing but exist.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connections {
    pub idle: u32,
    /// Connections opened and closed a second, each with one ApiVersions between.
    pub churn_rate: f64,
}

/// How long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Duration {
    pub warmup_seconds: f64,
    pub seconds: f64,
}

impl Default for Duration {
    fn default() -> Duration {
        Duration { warmup_seconds: 5.0, seconds: 20.0 }
    }
}
