//! What a series of runs found: the form that is written as JSON and that reports draw brokers against. Figures are medians of
//! the runs, with their spread; latencies are those of all runs in one histogram.

use super::super::result::{Environment, Latency};
use super::shape::{Runtime, Shape};
use serde::{Deserialize, Serialize};

/// Version of the JSON form.
pub const FORMAT: u32 = 1;

/// What a command measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub format: u32,
    /// `roofline` or `runtimes`.
    pub kind: String,
    pub command: String,
    /// Day, UTC.
    pub date: String,
    pub environment: Environment,
    /// Seconds that each run was measured for.
    pub seconds: f64,
    pub rows: Vec<Row>,
}

/// One shape on one runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub runtime: Runtime,
    pub shape: Shape,
    /// Frames a second that were planned; None: a closed loop.
    pub rate: Option<f64>,
    /// CPU time of all the server's threads for one frame, microseconds, the kernel's workers for its ring included.
    pub cpu_us_per_op: f64,
    /// The workers' part of it.
    pub workers_us_per_op: f64,
    pub ops_per_s: f64,
    /// Millions of payload bytes.
    pub mb_per_s: f64,
    /// Payload bytes of a group that was written; 0 without a disk.
    pub group_bytes: f64,
    pub spread: Spread,
    /// Of a frame, from its send (its plan in an open loop) to its answer; without a network, of a group.
    pub latency: Summary,
    pub histogram: Latency,
    pub runs: Vec<Run>,
}

/// Largest less smallest of the runs, as a share of the median.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub cpu: f64,
    pub ops: f64,
}

/// One run's figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub cpu_us_per_op: f64,
    pub workers_us_per_op: f64,
    pub ops_per_s: f64,
    pub group_bytes: f64,
    /// Share of the time in which the load had something to do. Near 1, the load is what was measured.
    pub load_busy: f64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    /// How late the load sent planned frames: half of them at most so much, and 99 of 100.
    pub lag_p50_us: Option<f64>,
    pub lag_p99_us: Option<f64>,
}

/// Latencies in microseconds. A percentile that the count cannot carry is None.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub samples: u64,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub p9999: Option<f64>,
    pub max: Option<f64>,
}

impl Summary {
    pub fn of(latency: &Latency) -> Summary {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let at = |percentile| latency.at(percentile).map(micros);
        let (p50, p99, p999, p9999) = (at(50.0), at(99.0), at(99.9), at(99.99));
        Summary { samples: latency.0.len(), p50, p99, p999, p9999, max: latency.max().map(micros) }
    }
}

/// Runs of one shape, as they are gathered.
pub struct Gathered {
    pub runtime: Runtime,
    pub shape: Shape,
    pub rate: Option<f64>,
    pub runs: Vec<Run>,
    pub latency: Latency,
}

impl Gathered {
    /// The row of at least one run.
    pub fn row(self) -> Row {
        let of = |figure: fn(&Run) -> f64| median(self.runs.iter().map(figure));
        let (cpu_us_per_op, ops_per_s) = (of(|run| run.cpu_us_per_op), of(|run| run.ops_per_s));
        Row {
            runtime: self.runtime,
            shape: self.shape,
            rate: self.rate,
            cpu_us_per_op,
            workers_us_per_op: of(|run| run.workers_us_per_op),
            ops_per_s,
            mb_per_s: ops_per_s * self.shape.frames.payload as f64 / 1e6,
            group_bytes: of(|run| run.group_bytes),
            spread: Spread {
                cpu: spread(self.runs.iter().map(|run| run.cpu_us_per_op)),
                ops: spread(self.runs.iter().map(|run| run.ops_per_s)),
            },
            latency: Summary::of(&self.latency),
            histogram: self.latency,
            runs: self.runs,
        }
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}

fn spread(figures: impl Iterator<Item = f64> + Clone) -> f64 {
    let (least, most) = figures.clone().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
    let median = median(figures);
    if median > 0.0 { (most - least) / median } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::shape::{Frames, Variant};
    use super::*;

    fn run(cpu: f64, ops: f64) -> Run {
        let (p50_us, p99_us, lag_p50_us, lag_p99_us) = (Some(3.0), None, Some(1.0), None);
        Run {
            cpu_us_per_op: cpu,
            workers_us_per_op: 0.125,
            ops_per_s: ops,
            group_bytes: 8.0,
            load_busy: 0.5,
            p50_us,
            p99_us,
            lag_p50_us,
            lag_p99_us,
        }
    }

    fn gathered() -> Gathered {
        let frames = Frames { payload: 1 << 20, conns: 2, depth: 1 };
        let mut latency = Latency::default();
        (1..=1000).for_each(|k| latency.record(k * 1000));
        let runs = vec![run(4.0, 64.0), run(2.0, 128.0), run(4.0, 128.0)];
        let shape = Shape { variant: Variant::Both, frames, flushed: true };
        Gathered { runtime: Runtime::Ring, shape, rate: None, runs, latency }
    }

    #[test]
    fn a_row_is_medians_with_their_spread() {
        let row = gathered().row();
        assert_eq!((row.cpu_us_per_op, row.ops_per_s, row.group_bytes), (4.0, 128.0, 8.0));
        assert_eq!(row.mb_per_s, 128.0 * f64::from(1 << 20) / 1e6);
        assert_eq!((row.spread.cpu, row.spread.ops), (0.5, 0.5));
        assert_eq!(median([1.0, 4.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(spread([0.0, 0.0].into_iter()), 0.0);
    }

    #[test]
    fn percentiles_need_ten_samples_beyond_them() {
        let of = |count: u64| {
            let mut latency = Latency::default();
            (0..count).for_each(|k| latency.record(1000 + k));
            let s = Summary::of(&latency);
            [s.p50, s.p99, s.p999, s.p9999].map(|p| p.is_some())
        };
        assert_eq!(of(0), [false; 4]);
        assert_eq!(of(19), [false; 4]);
        assert_eq!(of(20), [true, false, false, false]);
        assert_eq!(of(999), [true, false, false, false]);
        assert_eq!(of(1_000), [true, true, false, false]);
        assert_eq!(of(10_000), [true, true, true, false]);
        assert_eq!(of(100_000), [true; 4]);
    }

    #[test]
    fn a_series_goes_through_json() {
        let environment = Environment { facts: vec![("kernel".into(), "6.18".into())] };
        let (kind, command, date) = ("roofline".into(), "ringlog bench roofline".into(), "2026-11-26".into());
        let rows = vec![gathered().row()];
        let series = Series { format: FORMAT, kind, command, date, environment, seconds: 1.5, rows };
        let text = serde_json::to_string(&series).expect("a series is written");
        for field in ["\"variant\":\"both\"", "\"payload\":1048576", "\"conns\":2", "\"depth\":1", "\"flushed\":true"] {
            assert!(text.contains(field), "{field} in {text}");
        }
        assert!(serde_json::from_str::<Series>(&text).expect("and read") == series, "{text}");
    }
}
