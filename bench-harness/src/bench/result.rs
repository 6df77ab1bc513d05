//! All that is known of one run. Written as JSON next to each report and read back by `report`, `compare` and `history`; the one
//! thing those know. Histograms are whole, so that runs merge; a percentile is asked for only through [`Latency::at`], which
//! refuses what the count cannot carry.

use super::workload::Workload;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HdrReader, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the JSON form. A newer one is refused.
pub const FORMAT: u32 = 1;
/// Samples that must lie beyond a percentile before it is told.
pub const SAMPLES_BEYOND: f64 = 10.0;

/// One run of one workload against one broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    pub format: u32,
    pub workload: Workload,
    pub broker: BrokerInfo,
    pub environment: Environment,
    /// When measuring began, milliseconds since 1970.
    pub started_ms: i64,
    /// Every check of the run itself. One that failed makes the run void.
    pub checks: Vec<Check>,
    pub load: LoadResult,
    /// None: the broker's process is not on this machine, or was not told.
    pub broker_use: Option<Usage>,
    /// The broker's metrics: what counters grew by while measuring, gauges at the end. Empty: there is no endpoint.
    pub metrics: BTreeMap<String, f64>,
    /// What could not be done as asked, and what the reader should know.
    pub caveats: Vec<String>,
}

impl RunResult {
    /// Whether its figures may be used.
    pub fn is_void(&self) -> bool {
        self.checks.iter().any(|c| !c.passed)
    }
}

/// Who was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrokerInfo {
    /// The name in reports: `ringlog`, `kafka`, or what the user says.
    pub label: String,
    pub address: String,
    /// Name and version, as far as they can be told.
    pub software: String,
    /// When a record is acknowledged, in words: "flushed to the device", "in the page cache, not flushed", "not known".
    pub durability: String,
    pub pid: Option<u32>,
    /// CPUs that the broker may use.
    pub cpus: Vec<usize>,
    pub command: Vec<String>,
    pub settings: BTreeMap<String, String>,
    /// The commit it was built from, where known.
    pub commit: Option<String>,
}

/// The machine and what was on it, as pairs in the order in which a reader wants them: kernel, CPU, governor, mitigations,
/// memory, file system and mount options of the log, device, write cache, FUA, I/O scheduler, client CPUs, harness version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub facts: Vec<(String, String)>,
}

/// One check of the run itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Such as `client saturation`, `schedule lag`, `lost records`, `doubled records`, `order`.
    pub name: String,
    pub passed: bool,
    /// What was found, with numbers, and what is allowed.
    pub found: String,
}

/// What the clients saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadResult {
    pub driver: String,
    /// Length of the measured part, microseconds.
    pub measured_us: u64,
    /// From the planned send (open loop) or the send (closed loop) of the batch's last record to its acknowledgement.
    pub publish: Operation,
    /// From the planned send of a record to its arrival at a consumer; records written in the measured part.
    pub end_to_end: Operation,
    /// From a fetch request to its answer, of those that brought records.
    pub fetch: Operation,
    /// One entry a second of the whole run, warm-up included.
    pub seconds: Vec<Second>,
    pub clients: Vec<ClientCore>,
    /// Steps of a ramp, in the order tried; empty without one.
    pub ramp: Vec<RampStep>,
    /// Draining a backlog; None without one.
    pub drain: Option<Drain>,
    /// From a group member's JoinGroup to the answer to its SyncGroup, the first joins included.
    #[serde(default)]
    pub rebalances: Latency,
    /// Records that a group was served twice because partitions moved between its members: allowed, and counted.
    #[serde(default)]
    pub read_again: u64,
    /// Connections opened, used once and closed.
    #[serde(default)]
    pub churned_connections: u64,
}

/// One kind of operation. Counts are of what was answered within the measured part, whenever it was planned; latencies are of what
/// was planned within it, whenever it was answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    pub requests: u64,
    pub records: u64,
    /// Of batches on the wire.
    pub bytes: u64,
    /// Kafka error codes answered, and how often.
    pub errors: BTreeMap<i16, u64>,
    pub latency: Latency,
}

/// One second of a run, by the clients' clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the run began.
    pub at: u32,
    pub warmup: bool,
    pub sent_records: u64,
    pub acked_records: u64,
    pub acked_bytes: u64,
    pub read_records: u64,
    pub read_bytes: u64,
    pub errors: u64,
    /// Microseconds: p50, p99 and the largest of this second; 0 where nothing was recorded.
    pub publish_p50: u64,
    pub publish_p99: u64,
    pub publish_max: u64,
    pub end_to_end_p50: u64,
    pub end_to_end_p99: u64,
    pub end_to_end_max: u64,
    /// The broker's CPU time in this second, microseconds; None where it is not known.
    pub broker_cpu_us: Option<u64>,
    pub broker_rss: Option<u64>,
}

/// One core that clients ran on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientCore {
    pub cpu: usize,
    pub connections: u32,
    /// Share of the measured time in which it had something to do, 0 to 1.
    pub busy: f64,
    /// How late planned sends were handed to the kernel.
    pub lag: Latency,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RampStep {
    /// Records a second.
    pub planned: f64,
    pub acked: f64,
    pub publish: Latency,
    pub kept: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    pub backlog_bytes: u64,
    pub seconds: f64,
    pub bytes_per_second: f64,
    /// Publish latency while it drained.
    pub publish: Latency,
}

/// What the broker's process (with its children) used while measuring.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_user_us: u64,
    pub cpu_system_us: u64,
    /// By thread name: microseconds of run time.
    pub threads_us: BTreeMap<String, u64>,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    /// `/proc/PID/io`: bytes that it caused to be written to and read from storage.
    pub written_bytes: u64,
    pub read_bytes: u64,
    /// The device under the log, all processes: bytes written and flushes.
    pub device_written_bytes: Option<u64>,
    pub device_flushes: Option<u64>,
    pub rss_bytes: u64,
    pub peak_rss_bytes: u64,
}

impl Usage {
    /// User and system time.
    pub fn cpu_us(&self) -> u64 {
        self.cpu_user_us + self.cpu_system_us
    }
}

/// Latencies in nanoseconds, 1 us to 1 hour, three digits.
#[derive(Clone, PartialEq)]
pub struct Latency(pub Histogram<u64>);

impl std::fmt::Debug for Latency {
    /// Not the thousands of buckets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} samples up to {} ns", self.0.len(), self.0.max())
    }
}

impl Default for Latency {
    fn default() -> Latency {
        Latency(Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3).expect("bounds of a histogram"))
    }
}

impl Latency {
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos.max(1));
    }

    /// Adds another one's samples. Percentiles are taken of merged histograms, never averaged.
    pub fn merge(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("histograms of the same bounds");
    }

    /// The percentile in nanoseconds, such as 99.9; None if fewer than [`SAMPLES_BEYOND`] samples can lie beyond it.
    pub fn at(&self, percentile: f64) -> Option<u64> {
        let beyond = self.0.len() as f64 * (1.0 - percentile / 100.0);
        (beyond + 1e-6 >= SAMPLES_BEYOND).then(|| self.0.value_at_percentile(percentile))
    }

    /// The largest sample, nanoseconds; None without samples.
    pub fn max(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.max())
    }
}

impl Serialize for Latency {
    /// As HdrHistogram's own compressed form, in hexadecimal.
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .map_err(|e| serde::ser::Error::custom(format!("{e:?}")))?;
        to.collect_str(&Hex(&bytes))
    }
}

/// Bytes in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Latency, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(from)?;
        let bytes: Option<Vec<u8>> = (text.len() % 2 == 0 && text.is_ascii())
            .then(|| (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect())
            .flatten();
        let bytes = bytes.ok_or_else(|| D::Error::custom("a histogram is not hexadecimal"))?;
        let read: Histogram<u64> =
            HdrReader::new().deserialize(&mut bytes.as_slice()).map_err(|e| D::Error::custom(format!("{e:?}")))?;
        let mut latency = Latency::default();
        latency.0.add(&read).map_err(|e| D::Error::custom(format!("a histogram of other bounds: {e:?}")))?;
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        values.into_iter().for_each(|v| latency.record(v));
        latency
    }

    #[test]
    fn a_percentile_that_the_count_cannot_carry_is_not_told() {
        let thousand = of((1..=1000).map(|k| k * 1000));
        assert!(thousand.at(99.0).is_some());
        assert_eq!(thousand.at(99.9), None);
        assert_eq!(of([]).at(50.0), None);
        assert_eq!(of([]).max(), None);
    }

    #[test]
    fn histograms_go_through_json_and_merge() {
        let (a, b) = (of([5_000, 7_000, 70_000_000]), of([6_000]));
        let text = serde_json::to_string(&a).expect("a histogram is written");
        let mut back: Latency = serde_json::from_str(&text).expect("and read");
        assert_eq!(back, a);
        back.merge(&b);
        assert_eq!(back, of([5_000, 6_000, 7_000, 70_000_000]));
        for broken in ["\"\"", "\"zz\"", "\"1\"", "\"00112233\"", "7"] {
            assert!(serde_json::from_str::<Latency>(broken).is_err(), "{broken}");
        }
    }
}
