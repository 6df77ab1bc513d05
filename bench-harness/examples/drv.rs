//! Temporary.
use ringlog_bench_harness::bench::load::*;
use ringlog_bench_harness::bench::workload::*;
fn cpu(pid: i32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .flatten()
        .filter_map(|t| {
            std::fs::read_to_string(t.path().join("schedstat")).ok()?.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let get =
        |k: &str, d: f64| a.iter().find_map(|x| x.strip_prefix(&format!("{k}="))).map_or(d, |v| v.parse().unwrap());
    let text = |k: &str, d: &str| a.iter().find_map(|x| x.strip_prefix(&format!("{k}="))).unwrap_or(d).to_string();
    let mut w: Workload = serde_json::from_str(r#"{"name":"x","question":"y"}"#).unwrap();
    w.topics.partitions = get("parts", 1.0) as u32;
    w.topics.config.insert("segment.bytes".into(), "67108864".into());
    w.topics.config.insert("retention.bytes".into(), "134217728".into());
    w.topics.config.insert("file.delete.delay.ms".into(), "100".into());
    w.producers.count = get("c", 8.0) as u32;
    w.producers.in_flight = get("d", 5.0) as u32;
    w.producers.batch_records = get("n", 1.0) as u32;
    let rate = get("rate", 0.0);
    w.producers.rate = (rate > 0.0).then_some(rate);
    w.records.size = Size::Fixed(get("size", 1024.0) as u32);
    w.consumers.groups = get("groups", 0.0) as u32;
    w.consumers.count = get("readers", 1.0) as u32;
    if text("from", "") == "tail" {
        w.consumers.from = From::Tail;
        w.consumers.max_bytes = get("max", 65536.0) as u32;
    }
    if text("from", "") == "start" {
        w.consumers.from = From::Start;
    }
    let backlog = get("backlog", 0.0);
    if backlog > 0.0 {
        w.backlog = Some(Backlog { bytes: backlog as u64, cold: false });
    }
    w.run = Duration { warmup_seconds: get("warm", 3.0), seconds: get("secs", 5.0) };
    if let Some(f) = a.iter().find_map(|x| x.strip_prefix("json=")) {
        w = serde_json::from_str(f).unwrap();
    }
    let driver = if text("driver", "ring") == "ring" { Driver::Ring } else { Driver::Glommio };
    let pid = get("pid", 0.0) as i32;
    let port = get("port", 29491.0) as u16;
    let (mut b0, mut b1, mut m0, mut m1) = (0, 0, 0, 0);
    let out = run(
        &w,
        &Target { bootstrap: vec![([127, 0, 0, 1], port).into()] },
        &Options { driver, cpus: vec![1], seed: 1 },
        &mut |e| {
            if let Event::Phase(p, _) = e {
                match p {
                    Phase::Measure => {
                        b0 = cpu(pid);
                        m0 = cpu(std::process::id() as i32)
                    }
                    Phase::Finish if b1 == 0 => {
                        b1 = cpu(pid);
                        m1 = cpu(std::process::id() as i32)
                    }
                    _ => {}
                }
            }
        },
    )
    .unwrap_or_else(|e| {
        println!("FAILURE {e}");
        std::process::exit(1)
    });
    let us = |l: &ringlog_bench_harness::bench::result::Latency, p: f64| l.0.value_at_percentile(p) as f64 / 1e3;
    let s = out.load.measured_us as f64 / 1e6;
    let op = if w.producers.count > 0 && text("from", "").is_empty() { &out.load.publish } else { &out.load.fetch };
    print!(
        "{:8} req/s {:8.0} MB/s {:7.1} us p50 {:.0} p99 {:.0} p99.9 {:.0} max {:.0}",
        out.load.driver,
        op.requests as f64 / s,
        op.bytes as f64 / s / 1e6,
        us(&op.latency, 50.),
        us(&op.latency, 99.),
        us(&op.latency, 99.9),
        us(&op.latency, 100.)
    );
    if w.consumers.groups > 0 {
        let l = &out.load.end_to_end.latency;
        print!("  e2e p50 {:.0} p99 {:.0} p99.9 {:.0}", us(l, 50.), us(l, 99.), us(l, 99.9));
    }
    let c = &out.load.clients[0];
    println!(
        "  lag p50 {:.1} p99 {:.1} busy {:.0} % client us/req {:.2} (busy {:.2})  broker us/req {:.2} ({:.0} %)",
        us(&c.lag, 50.),
        us(&c.lag, 99.),
        c.busy * 100.,
        (m1 - m0) as f64 / 1e3 / op.requests as f64,
        c.busy * s * 1e6 / op.requests as f64,
        (b1 - b0) as f64 / 1e3 / op.requests as f64,
        (b1 - b0) as f64 / 1e7 / s
    );
    println!(
        "   rebalances {:?} again {} churned {} caveats {:?} errors {:?} {:?}",
        out.load.rebalances,
        out.load.read_again,
        out.load.churned_connections,
        out.caveats,
        out.load.publish.errors,
        out.load.fetch.errors
    );
    for c in out.checks.iter().filter(|c| !c.passed) {
        println!("   VOID {}: {}", c.name, c.found);
    }
}
