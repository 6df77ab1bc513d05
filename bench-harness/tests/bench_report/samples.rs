//! Runs that were never made: results with figures that are known, as a report would get them.

use ringlog_bench_harness::bench::report::{Report, Roof};
use ringlog_bench_harness::bench::result::{
    BrokerInfo, Check, ClientCore, Drain, Environment, FORMAT, Latency, LoadResult, Operation, RampStep, RunResult,
    Second, Usage,
};
use ringlog_bench_harness::bench::workload::{Backlog, Ramp, Workload};
use ringlog_bench_harness::bench::{compare, history};
use ringlog_bench_harness::broker::target_dir;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Numbers that look random and are the same each time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to 1.
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How a broker that does not exist behaves.
#[derive(Clone, Copy)]
pub(crate) struct Like {
    pub(crate) label: &'static str,
    /// Median of publish latency, microseconds.
    pub(crate) median_us: f64,
    /// Exponent of the tail: larger is longer.
    pub(crate) tail: f64,
    pub(crate) rate: f64,
    pub(crate) cpu_per_request_us: f64,
}

pub(crate) const OURS: Like =
    Like { label: "ringlog", median_us: 300.0, tail: 0.25, rate: 10_000.0, cpu_per_request_us: 9.0 };
pub(crate) const KAFKA: Like =
    Like { label: "kafka", median_us: 900.0, tail: 0.42, rate: 10_000.0, cpu_per_request_us: 31.0 };

pub(crate) const SECONDS: u32 = 40;
pub(crate) const WARMUP: u32 = 5;

pub(crate) fn workload(name: &str) -> Workload {
    let text = serde_json::json!({
        "name": name,
        "question": "How long does an acknowledged write of 1 KiB take at 10,000 a second?",
        "producers": {"rate": 10_000.0},
    });
    serde_json::from_value(text).expect("a workload")
}

/// A run of `workload`; `k` is its number, which changes it a little.
pub(crate) fn run(workload: &Workload, like: Like, k: u64) -> RunResult {
    let mut dice = Dice::new(k * 31 + like.label.len() as u64);
    let mood = 0.95 + 0.1 * dice.roll();
    let (mut publish, mut end_to_end, mut seconds) = (Latency::default(), Latency::default(), Vec::new());
    for at in 0..SECONDS + WARMUP {
        let warmup = at < WARMUP;
        let slow = if warmup { 3.0 } else { 1.0 };
        let (mut here, mut there) = (Latency::default(), Latency::default());
        for _ in 0..2_500 {
            let x = dice.roll();
            let us = like.median_us * mood * slow * (0.8 + 0.4 * x) * (1.0 - x).max(1e-7).powf(-like.tail);
            here.record((us * 1e3) as u64);
            there.record(((us + 150.0 + 200.0 * dice.roll()) * 1e3) as u64);
        }
        let us = |l: &Latency, p: f64| l.at(p).unwrap_or(0) / 1000;
        let acked = (like.rate * (0.98 + 0.04 * dice.roll())) as u64;
        seconds.push(Second {
            at,
            warmup,
            sent_records: like.rate as u64,
            acked_records: acked,
            acked_bytes: acked * 1024,
            read_records: acked,
            read_bytes: acked * 1024,
            errors: 0,
            publish_p50: us(&here, 50.0),
            publish_p99: us(&here, 99.0),
            publish_max: here.max().unwrap_or(0) / 1000,
            end_to_end_p50: us(&there, 50.0),
            end_to_end_p99: us(&there, 99.0),
            end_to_end_max: there.max().unwrap_or(0) / 1000,
            broker_cpu_us: Some(90_000),
            broker_rss: Some(150 << 20),
        });
        if !warmup {
            publish.merge(&here);
            end_to_end.merge(&there);
        }
    }
    let records = (like.rate * f64::from(SECONDS)) as u64;
    let operation =
        |latency| Operation { requests: records, records, bytes: records * 1100, errors: BTreeMap::new(), latency };
    let load = LoadResult {
        driver: "ring".into(),
        measured_us: u64::from(SECONDS) * 1_000_000,
        publish: operation(publish),
        end_to_end: operation(end_to_end.clone()),
        fetch: operation(end_to_end),
        seconds,
        clients: vec![client(&mut dice)],
        ramp: Vec::new(),
        drain: None,
    };
    RunResult {
        format: FORMAT,
        workload: workload.clone(),
        broker: broker(like),
        environment: environment(),
        started_ms: 1_795_665_600_000 + k as i64 * 60_000,
        checks: checks(),
        load,
        broker_use: Some(usage(like, records, mood)),
        metrics: if like.label == "ringlog" { metrics(&mut dice) } else { BTreeMap::new() },
        caveats: Vec::new(),
    }
}

fn client(dice: &mut Dice) -> ClientCore {
    let mut lag = Latency::default();
    (0..20_000).for_each(|_| lag.record((2_000.0 + 9_000.0 * dice.roll()) as u64));
    ClientCore { cpu: 1, connections: 8, busy: 0.41, lag }
}

fn broker(like: Like) -> BrokerInfo {
    let ours = like.label == "ringlog";
    let durability = if ours { "flushed to the device" } else { "in the page cache, not flushed" };
    let software = if ours { "Ringlog 0.1.0" } else { "Apache Kafka 4.2.0" };
    let settings = BTreeMap::from([("log.segment.bytes".to_string(), "1073741824".to_string())]);
    BrokerInfo {
        label: like.label.into(),
        address: "127.0.0.1:19092".into(),
        software: software.into(),
        durability: durability.into(),
        pid: Some(4711),
        cpus: vec![0],
        command: vec![like.label.into(), "start".into(), "--config".into(), "server.properties".into()],
        settings,
        commit: ours.then(|| "8850691c0ffee".into()),
    }
}

fn environment() -> Environment {
    let facts = [
        ("kernel", "Linux 6.18.0 x86_64"),
        ("CPU", "AMD EPYC 9R14, 2 online"),
        ("governor", "cannot be read here (a virtual machine)"),
        ("file system", "ext4, rw,relatime"),
        ("device", "vda (virtio-blk), write cache write back, no FUA"),
        ("client CPUs", "1"),
    ];
    Environment { facts: facts.map(|(name, value)| (name.to_string(), value.to_string())).to_vec() }
}

fn checks() -> Vec<Check> {
    let all = [
        ("client saturation", "the busiest client core 41 % of the time, at most 90 % is allowed"),
        ("schedule lag", "p99 of 11 µs, at most 1 ms is allowed"),
        ("lost records", "0 of 400,000"),
        ("doubled records", "0"),
        ("order", "kept in 16 of 16 partitions"),
    ];
    all.map(|(name, found)| Check { name: name.into(), passed: true, found: found.into() }).to_vec()
}

fn usage(like: Like, records: u64, mood: f64) -> Usage {
    let cpu = (records as f64 * 2.0 * like.cpu_per_request_us * mood) as u64;
    Usage {
        cpu_user_us: cpu / 3,
        cpu_system_us: cpu - cpu / 3,
        threads_us: BTreeMap::new(),
        voluntary_switches: (records as f64 * mood) as u64,
        involuntary_switches: 1200,
        written_bytes: (records as f64 * 2400.0 * mood) as u64,
        read_bytes: 0,
        device_written_bytes: Some((records as f64 * 2500.0 * mood) as u64),
        device_flushes: Some(80_000),
        rss_bytes: (like.median_us * 400_000.0) as u64,
        peak_rss_bytes: (like.median_us * 500_000.0) as u64,
    }
}

fn metrics(dice: &mut Dice) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for (name, first, shares) in [
        ("ringlog_flush_seconds", 64e-6, [2.0, 35.0, 140.0, 60.0, 14.0, 3.0, 1.0, 0.0]),
        ("ringlog_turn_seconds", 2e-6, [10.0, 90.0, 300.0, 220.0, 60.0, 9.0, 2.0, 0.0]),
    ] {
        let (mut upto, mut sum) = (0.0, 0.0);
        for (k, share) in shares.iter().enumerate() {
            let end = first * 2f64.powi(k as i32);
            let count = (share * 300.0 * (0.9 + 0.2 * dice.roll())).round();
            (upto, sum) = (upto + count, sum + count * end * 0.75);
            let le = if k == shares.len() - 1 { "+Inf".to_string() } else { end.to_string() };
            all.insert(format!("{name}_bucket{{core=\"0\",le=\"{le}\"}}"), upto);
        }
        all.insert(format!("{name}_sum{{core=\"0\"}}"), sum);
        all.insert(format!("{name}_count{{core=\"0\"}}"), upto);
    }
    all
}

pub(crate) fn runs(workload: &Workload, like: Like, count: u64) -> Vec<RunResult> {
    (1..=count).map(|k| run(workload, like, k)).collect()
}

/// Makes a run void.
pub(crate) fn void(run: &mut RunResult) {
    run.checks[2] = Check { name: "lost records".into(), passed: false, found: "3 of 400,000 never arrived".into() };
}

/// A workload that looks for the highest rate.
pub(crate) fn ramp_runs(like: Like, count: u64) -> Vec<RunResult> {
    let mut asked = workload("highest-rate");
    asked.question = "Which rate does the broker hold with a p99 of at most 10 ms?".into();
    asked.ramp = Some(Ramp {
        from: 20_000.0,
        to: 1_000_000.0,
        factor: 1.6,
        halvings: 2,
        step_seconds: 5.0,
        percentile: 99.0,
        latency_ms: 10.0,
    });
    let mut runs = runs(&asked, like, count);
    for (k, run) in runs.iter_mut().enumerate() {
        let limit = 4.0e6 / like.cpu_per_request_us * (0.97 + 0.03 * k as f64);
        let mut planned = 20_000.0;
        while planned < limit * 1.5 {
            let used = (planned / limit).min(0.995);
            let mut publish = Latency::default();
            let mut dice = Dice::new(k as u64 + planned as u64);
            let at_rest = like.median_us * 1e3;
            (0..3_000).for_each(|_| publish.record((at_rest * (1.0 + 2.0 * dice.roll()) / (1.0 - used)) as u64));
            let kept = publish.at(99.0).expect("enough samples") < 10_000_000;
            run.load.ramp.push(RampStep { planned, acked: planned.min(limit), publish, kept });
            planned *= 1.6;
        }
    }
    runs
}

/// A workload that drains a backlog.
pub(crate) fn drain_runs(like: Like, count: u64) -> Vec<RunResult> {
    let mut asked = workload("catch-up");
    asked.question = "How fast are 5 GB read that nobody has read yet, and what do the writers feel of it?".into();
    asked.backlog = Some(Backlog { bytes: 5_000_000_000, cold: true });
    let mut runs = runs(&asked, like, count);
    for (k, run) in runs.iter_mut().enumerate() {
        let bytes_per_second = 1.1e12 / like.median_us / 3.0 * (1.0 + 0.02 * k as f64);
        let publish = run.load.publish.latency.clone();
        run.load.drain =
            Some(Drain { backlog_bytes: 5_000_000_000, seconds: 5e9 / bytes_per_second, bytes_per_second, publish });
        run.caveats.push("The page cache could not be dropped: not root.".into());
    }
    runs
}

/// Everything a report can show: three workloads, two brokers, a void run, a roofline.
pub(crate) fn report() -> Report {
    let asked = workload("steady");
    let (ours, mut kafka) = (runs(&asked, OURS, 5), runs(&asked, KAFKA, 5));
    void(&mut kafka[3]);
    let mut report = Report { title: "ringlog against kafka".into(), ..Report::default() };
    for (a, b) in
        [(ours, kafka), (ramp_runs(OURS, 3), ramp_runs(KAFKA, 3)), (drain_runs(OURS, 2), drain_runs(KAFKA, 2))]
    {
        report.comparisons.push(compare::compare(&a, &b));
        report.runs.extend(a.into_iter().zip(b).flat_map(|(a, b)| [a, b]));
    }
    report.roofline.push(Roof {
        workload: "steady".into(),
        name: "ring, network and disk, flushed, 1 KiB".into(),
        figures: BTreeMap::from([("publish_p50".into(), 240_000.0), ("cpu_per_request".into(), 7.1)]),
    });
    report.notes.push(
        "Two cores of a shared virtual machine: single times differ by a third between hours, ratios less.".into(),
    );
    report
}

/// Brokers with long names, and many of them; figures from nanoseconds to minutes.
pub(crate) fn crowded() -> Report {
    let labels = [
        "ringlog-0.1.0-with-relaxed-flushes-on-eight-shards",
        "kafka-4.2.0-flushing-each-message-G1-2-GiB",
        "a",
        "redpanda somewhere else",
        "five",
        "six",
    ];
    let asked = workload("a-workload-with-a-name-that-does-not-want-to-end-and-has-no-space-in-it");
    let mut report = Report { title: "Many brokers, and names that do not want to end".into(), ..Report::default() };
    for (k, label) in labels.into_iter().enumerate() {
        let like =
            Like { label, median_us: 3.0 * 9f64.powi(k as i32), tail: 0.3, rate: 8.0e6, cpu_per_request_us: 0.02 };
        report.runs.extend(runs(&asked, like, 3));
    }
    report.comparisons = ringlog_bench_harness::bench::report::compared(&report.runs, None);
    report
}

/// Kept runs of three commits.
pub(crate) fn kept() -> Vec<history::Kept> {
    let asked = workload("steady");
    let mut all = Vec::new();
    for (n, median_us) in [420.0, 300.0, 310.0].into_iter().enumerate() {
        let mut session = runs(&asked, Like { median_us, ..OURS }, 4);
        session.extend(runs(&asked, KAFKA, 4));
        for run in &mut session {
            run.started_ms += n as i64 * 86_400_000;
            run.broker.commit = run.broker.commit.take().map(|_| format!("{n}0ffee{n}decaf"));
        }
        all.extend(history::kept(&session, None, "unknown"));
    }
    all
}

/// A folder of this test program under `target/tmp`, empty.
pub(crate) fn folder(name: &str) -> PathBuf {
    let dir = target_dir().join("tmp/bench-report").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("target is writable");
    dir
}
