//! The one table of figures that are drawn from a run: what each is called, its unit, and which way is better. Comparisons, tables,
//! history and the gate name figures by their `id`, so that they mean the same.

use super::result::{Latency, LoadResult, RunResult, Usage};
use super::workload::Workload;
use serde::{Deserialize, Serialize};

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    Lower,
    Higher,
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A latency, nanoseconds.
    Nanos,
    RecordsPerSecond,
    BytesPerSecond,
    PerSecond,
    /// CPU time of the broker for one request or record, microseconds.
    Micros,
    NanosPerByte,
    /// Bytes for each byte.
    PerByte,
    Bytes,
    /// Of cores.
    Cores,
    Count,
}

/// Where a figure comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// A percentile of a histogram, or its largest value (None).
    Percentile(fn(&LoadResult) -> &Latency, Option<f64>),
    Value(fn(&RunResult) -> Option<f64>),
}

/// One row of the table.
#[derive(Debug)]
pub struct Figure {
    pub id: &'static str,
    /// In tables and sentences.
    pub name: &'static str,
    pub unit: Unit,
    pub better: Better,
    pub source: Source,
}

impl Figure {
    /// Its value in one run; None where the run cannot tell it, or has too few samples for it.
    pub fn of(&self, run: &RunResult) -> Option<f64> {
        match self.source {
            Source::Percentile(latency, percentile) => told(latency(&run.load), percentile),
            Source::Value(value) => value(run).filter(|v| v.is_finite()),
        }
    }

    /// A percentile of several runs' merged histograms; None for what does not merge, or too few samples.
    pub fn merged<'a>(&self, runs: impl IntoIterator<Item = &'a RunResult>) -> Option<f64> {
        let Source::Percentile(latency, percentile) = self.source else { return None };
        told(&merge(runs.into_iter().map(|run| latency(&run.load))), percentile)
    }
}

fn told(latency: &Latency, percentile: Option<f64>) -> Option<f64> {
    percentile.map_or_else(|| latency.max(), |p| latency.at(p)).map(|nanos| nanos as f64)
}

/// Several histograms as one.
pub fn merge<'a>(latencies: impl IntoIterator<Item = &'a Latency>) -> Latency {
    latencies.into_iter().fold(Latency::default(), |mut sum, one| {
        sum.merge(one);
        sum
    })
}

/// The figure of that id.
pub fn by_id(id: &str) -> Option<&'static Figure> {
    FIGURES.iter().find(|figure| figure.id == id)
}

/// The figures that answer a workload's question, most telling first.
pub fn key(workload: &Workload) -> Vec<&'static Figure> {
    let ids: &[&str] = if workload.ramp.is_some() {
        &["ramp_rate", "cpu_per_record", "publish_p50", "publish_p99"]
    } else if workload.backlog.is_some() {
        &["drain_rate", "drain_publish_p99", "publish_p99", "cpu_per_byte"]
    } else if workload.producers.count == 0 {
        &["read_bytes_rate", "fetch_p99", "cpu_per_byte", "fetch_p50"]
    } else if workload.producers.rate.is_none() {
        &["acked_bytes_rate", "cpu_per_request", "publish_p99", "end_to_end_p99"]
    } else {
        &["publish_p99", "publish_p999", "end_to_end_p99", "cpu_per_request"]
    };
    ids.iter().filter_map(|id| by_id(id)).collect()
}

macro_rules! figures {
    ($($id:literal $name:literal $unit:ident $better:ident $source:expr;)*) => {
        /// Every figure, in the order of tables.
        pub const FIGURES: &[Figure] = &[$(
            Figure { id: $id, name: $name, unit: Unit::$unit, better: Better::$better, source: $source },
        )*];
    };
}

use Source::{Percentile, Value};

figures! {
    "publish_p50" "publish p50" Nanos Lower Percentile(publish, Some(50.0));
    "publish_p90" "publish p90" Nanos Lower Percentile(publish, Some(90.0));
    "publish_p99" "publish p99" Nanos Lower Percentile(publish, Some(99.0));
    "publish_p999" "publish p99.9" Nanos Lower Percentile(publish, Some(99.9));
    "publish_p9999" "publish p99.99" Nanos Lower Percentile(publish, Some(99.99));
    "publish_max" "publish maximum" Nanos Lower Percentile(publish, None);
    "end_to_end_p50" "end-to-end p50" Nanos Lower Percentile(end_to_end, Some(50.0));
    "end_to_end_p90" "end-to-end p90" Nanos Lower Percentile(end_to_end, Some(90.0));
    "end_to_end_p99" "end-to-end p99" Nanos Lower Percentile(end_to_end, Some(99.0));
    "end_to_end_p999" "end-to-end p99.9" Nanos Lower Percentile(end_to_end, Some(99.9));
    "end_to_end_p9999" "end-to-end p99.99" Nanos Lower Percentile(end_to_end, Some(99.99));
    "end_to_end_max" "end-to-end maximum" Nanos Lower Percentile(end_to_end, None);
    "fetch_p50" "fetch p50" Nanos Lower Percentile(fetch, Some(50.0));
    "fetch_p99" "fetch p99" Nanos Lower Percentile(fetch, Some(99.0));
    "fetch_p999" "fetch p99.9" Nanos Lower Percentile(fetch, Some(99.9));
    "fetch_max" "fetch maximum" Nanos Lower Percentile(fetch, None);
    "ramp_rate" "highest rate that kept the goal" RecordsPerSecond Higher Value(ramp_rate);
    "drain_rate" "backlog drained" BytesPerSecond Higher Value(|r| r.load.drain.as_ref().map(|d| d.bytes_per_second));
    "drain_seconds" "time to drain the backlog" Nanos Lower Value(|r| r.load.drain.as_ref().map(|d| d.seconds * 1e9));
    "drain_publish_p99" "publish p99 while draining" Nanos Lower
        Value(|r| r.load.drain.as_ref().and_then(|d| told(&d.publish, Some(99.0))));
    "acked_rate" "records acknowledged" RecordsPerSecond Higher Value(|r| a_second(r, r.load.publish.records));
    "acked_bytes_rate" "bytes acknowledged" BytesPerSecond Higher Value(|r| a_second(r, r.load.publish.bytes));
    "read_rate" "records read" RecordsPerSecond Higher Value(|r| a_second(r, r.load.fetch.records));
    "read_bytes_rate" "bytes read" BytesPerSecond Higher Value(|r| a_second(r, r.load.fetch.bytes));
    "cpu_per_request" "broker CPU per request" Micros Lower
        Value(|r| share(cpu_us(r)?, r.load.publish.requests + r.load.fetch.requests));
    "cpu_per_record" "broker CPU per record" Micros Lower
        Value(|r| share(cpu_us(r)?, r.load.publish.records + r.load.fetch.records));
    "cpu_per_byte" "broker CPU per byte" NanosPerByte Lower
        Value(|r| share(cpu_us(r)? * 1e3, r.load.publish.bytes + r.load.fetch.bytes));
    "cpu_cores" "broker CPU" Cores Lower Value(|r| share(cpu_us(r)?, r.load.measured_us));
    "device_per_byte" "device writes per byte acknowledged" PerByte Lower
        Value(|r| share(usage(r)?.device_written_bytes? as f64, r.load.publish.bytes));
    "process_per_byte" "broker's writes per byte acknowledged" PerByte Lower
        Value(|r| share(usage(r)?.written_bytes as f64, r.load.publish.bytes));
    "device_flushes_rate" "flushes of the device" PerSecond Lower Value(|r| a_second(r, usage(r)?.device_flushes?));
    "switches_per_request" "context switches per request" Count Lower
        Value(|r| share(switches(usage(r)?), r.load.publish.requests + r.load.fetch.requests));
    "rss" "resident memory" Bytes Lower Value(|r| Some(usage(r)?.rss_bytes as f64));
    "peak_rss" "most resident memory" Bytes Lower Value(|r| Some(usage(r)?.peak_rss_bytes as f64));
}

fn publish(load: &LoadResult) -> &Latency {
    &load.publish.latency
}

fn end_to_end(load: &LoadResult) -> &Latency {
    &load.end_to_end.latency
}

fn fetch(load: &LoadResult) -> &Latency {
    &load.fetch.latency
}

fn usage(run: &RunResult) -> Option<&Usage> {
    run.broker_use.as_ref()
}

fn cpu_us(run: &RunResult) -> Option<f64> {
    usage(run).map(|u| u.cpu_us() as f64)
}

fn switches(usage: &Usage) -> f64 {
    (usage.voluntary_switches + usage.involuntary_switches) as f64
}

/// None of nothing: where no record was read there is no rate of reading.
fn a_second(run: &RunResult, count: u64) -> Option<f64> {
    share(count as f64 * 1e6, run.load.measured_us).filter(|rate| *rate > 0.0)
}

fn share(of: f64, by: u64) -> Option<f64> {
    (by > 0).then(|| of / by as f64)
}

fn ramp_rate(run: &RunResult) -> Option<f64> {
    let kept = run.load.ramp.iter().filter(|step| step.kept).map(|step| step.acked);
    kept.max_by(f64::total_cmp)
}
