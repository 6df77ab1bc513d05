//! Metrics of a real broker: every scrape is what the table says, the figures are those of what was done, and Prometheus' own
//! promtool finds nothing wrong with them, nor with the rules that are shipped.

use ringlog_bench_harness::broker::Broker;
use ringlog_bench_harness::clients::{Runtime, install};
use ringlog_bench_harness::peer::{Peer, Producer, batch};
use ringlog_bench_harness::wait::until;
use ringlog_shard::metrics::table::{Kind, METRICS, Metric, Page, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

const PRODUCED: usize = 300;
const COMMITTED: i64 = 120;
const VALUE: usize = 200;
const NOBODY: Producer = Producer { id: -1, epoch: -1 };

/// Asks for a page; head and body of the answer.
fn get(admin: SocketAddr, path: &str, accept: &str) -> (String, String) {
    let mut peer = TcpStream::connect(admin).expect("it listens");
    write!(peer, "GET {path} HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n").expect("it is sent");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).expect("an answer in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_string(), body.to_string())
}

/// One family of a page.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    /// Samples: end of the name (of histograms), labels, value.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads Prometheus text, strictly as this broker writes it. Families in OpenMetrics are named without `_total`.
fn parse(text: &str, open: bool) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and its help");
            current = name.to_string();
            let family = Family { help: help.to_string(), ..Family::default() };
            assert!(families.insert(current.clone(), family).is_none(), "{name} is there twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let kind = rest.strip_prefix(&format!("{current} ")).expect("the type of the family that began");
            families.get_mut(&current).expect("begun").kind = kind.to_string();
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            assert!(open && rest.starts_with(&format!("{current} ")), "{line}");
        } else if line == "# EOF" {
            assert!(open && text.ends_with("# EOF\n"), "an end before the end");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let end = name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} in the family {current}"));
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            let family = families.get_mut(&current).expect("begun");
            family.samples.push((end.to_string(), labels_of(labels.trim_end_matches('}')), value));
        }
    }
    families
}

/// Labels without quotes or commas in their values, which no test here makes.
fn labels_of(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    let read = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').expect("a label has a value");
        (name.to_string(), value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).expect("quoted").to_string())
    });
    read.collect()
}

/// Every family is in the table as it is told, and every row of the table is told.
fn holds_the_table(families: &BTreeMap<String, Family>, page: Page, open: bool) {
    let named = |metric: &Metric| match open {
        true => metric.name.trim_end_matches("_total"),
        false => metric.name,
    };
    let rows: BTreeMap<&str, &Metric> =
        METRICS.iter().filter(|metric| metric.page == page).map(|metric| (named(metric), metric)).collect();
    let told: BTreeSet<&str> = families.keys().map(String::as_str).collect();
    assert_eq!(told, rows.keys().copied().collect(), "families of {page:?}");
    for (name, family) in families {
        let metric = rows[name.as_str()];
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!((family.kind.as_str(), family.help.as_str()), (kind, metric.help), "{name}");
        let mut seen = BTreeSet::new();
        for (end, labels, value) in &family.samples {
            assert!(seen.insert((end, labels.clone())), "{name}{end}{labels:?} is there twice");
            let mut labels: Vec<&str> = labels.keys().map(String::as_str).filter(|label| *label != "le").collect();
            labels.sort_unstable();
            let mut expected = metric.labels.to_vec();
            expected.sort_unstable();
            assert_eq!(labels, expected, "{name}");
            assert!(value.is_finite(), "{name}: {value}");
        }
        if metric.kind == Kind::Histogram {
            holds_a_histogram(name, family);
        }
    }
}

/// Bounds and counts of a histogram's buckets, and its count.
type Buckets = (Vec<(f64, f64)>, Option<f64>);

/// Buckets grow up to the count, bounds to infinity.
fn holds_a_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<BTreeMap<String, String>, Buckets> = BTreeMap::new();
    for (end, labels, value) in &family.samples {
        let mut labels = labels.clone();
        let le = labels.remove("le");
        let (buckets, count) = series.entry(labels).or_default();
        match (end.as_str(), le) {
            ("_bucket", Some(le)) => buckets.push((le.replace("+Inf", "inf").parse().expect("a bound"), *value)),
            ("_count", None) => *count = Some(*value),
            ("_sum", None) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    for (labels, (buckets, count)) in series {
        assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{name}{labels:?}");
        let last = buckets.last().expect("buckets");
        assert_eq!((last.0, Some(last.1)), (f64::INFINITY, count), "{name}{labels:?}");
    }
}

/// The sum of a family's samples with these labels.
fn sum(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |found: &BTreeMap<String, String>| {
        labels.iter().all(|(label, value)| found.get(*label).map(String::as_str) == Some(*value))
    };
    let samples = families[name].samples.iter();
    samples.filter(|(end, found, _)| end != "_bucket" && end != "_sum" && has(found)).map(|(.., value)| value).sum()
}

/// A broker of two cores on which something of everything was done, and the client that did it.
fn used() -> (Broker, Peer) {
    let broker = Broker::start("metrics", &["ringlog.cores=0,0", "group.initial.rebalance.delay.ms=0"]);
    until("it says where", || broker.log().contains("metrics at"));
    let mut peer = Peer::connect(broker.addr()).expect("a connection");
    peer.create_topic("events", 2).expect("a topic");
    for sequence in 0..PRODUCED {
        let values = [vec![b'x'; VALUE]];
        let sent = batch(NOBODY, 0, &values);
        peer.send_batch("events", (sequence % 2) as i32, -1, &sent).expect("sent");
        assert_eq!(peer.receive_batch().expect("an answer"), Ok((sequence / 2) as i64));
    }
    assert_eq!(peer.try_fetch("events", 0, 1_000_000).expect("an answer").err(), Some(1), "OFFSET_OUT_OF_RANGE");
    assert!(peer.fetch("events", 0, 0).expect("an answer").high_watermark > 0);
    peer.find_coordinator("readers").expect("a coordinator");
    peer.commit("readers", "events", 1, COMMITTED).expect("committed");
    (broker, peer)
}

#[test]
fn a_scrape_is_what_the_table_says_and_what_was_done() {
    let (broker, _peer) = used();
    let (head, body) = get(broker.admin(), "/metrics", "text/plain");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    let all = parse(&body, false);
    holds_the_table(&all, Page::Metrics, false);
    let half = (PRODUCED / 2) as f64;
    for (name, labels, expected) in [
        ("ringlog_core_info", &[][..], 2.0),
        ("ringlog_scrape_silent_cores", &[], 0.0),
        ("ringlog_requests_total", &[("api", "Produce")], PRODUCED as f64),
        ("ringlog_requests_total", &[("api", "OffsetCommit")], 1.0),
        ("ringlog_request_seconds", &[("api", "Produce")], PRODUCED as f64),
        ("ringlog_request_errors_total", &[("api", "Fetch"), ("code", "OFFSET_OUT_OF_RANGE")], 1.0),
        ("ringlog_connections", &[], 1.0),
        ("ringlog_topics", &[], 2.0),
        ("ringlog_partitions", &[], 52.0),
        ("ringlog_groups", &[], 1.0),
        ("ringlog_consumer_group_members", &[("group", "readers"), ("state", "Empty")], 0.0),
        ("ringlog_consumer_group_offset", &[("group", "readers"), ("partition", "1")], COMMITTED as f64),
        ("ringlog_consumer_group_lag", &[("group", "readers"), ("partition", "1")], half - COMMITTED as f64),
        ("ringlog_log_dir_latched", &[], 0.0),
        ("ringlog_reads_total", &[("path", "memory")], 1.0),
    ] {
        assert_eq!(sum(&all, name, labels), expected, "{name} {labels:?}");
    }
    // Besides the records: the metadata log, and the group's.
    let records = sum(&all, "ringlog_appended_records_total", &[]);
    assert!(records > PRODUCED as f64 && records < PRODUCED as f64 + 60.0, "{records} records");
    for (name, labels, least) in [
        ("ringlog_request_bytes_total", &[("api", "Produce")][..], (PRODUCED * VALUE) as f64),
        ("ringlog_response_bytes_total", &[("api", "Fetch")], half * VALUE as f64),
        ("ringlog_written_bytes_total", &[("kind", "journal")], (PRODUCED * 4096) as f64),
        ("ringlog_flushes_total", &[("kind", "commit")], PRODUCED as f64),
        ("ringlog_flush_seconds", &[], PRODUCED as f64),
        ("ringlog_turn_seconds", &[], PRODUCED as f64),
        ("ringlog_submissions_total", &[], PRODUCED as f64),
        ("ringlog_memory_bytes", &[("use", "log")], 4096.0),
        ("ringlog_log_dir_log_bytes", &[], (PRODUCED * VALUE) as f64),
        ("process_resident_memory_bytes", &[], 1e6),
        ("process_open_fds", &[], 10.0),
    ] {
        let found = sum(&all, name, labels);
        assert!(found >= least, "{name} {labels:?}: {found}, at least {least} expected");
    }
}

#[test]
fn openmetrics_is_told_to_who_asks_for_it() {
    let (broker, _peer) = used();
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let (head, body) = get(broker.admin(), "/metrics", accept);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(&format!("\r\nContent-Type: {kind}\r\n")), "{head}");
    assert!(body.ends_with("\n# EOF\n"));
    holds_the_table(&parse(&body, true), Page::Metrics, true);
    let units = body.lines().filter(|line| line.starts_with("# UNIT ")).count();
    let metrics = METRICS.iter().filter(|m| m.page == Page::Metrics);
    assert_eq!(units, metrics.filter(|metric| metric.unit != Unit::None).count());
}

#[test]
fn partitions_and_clients_have_pages_of_their_own() {
    let (broker, _peer) = used();
    let partitions = parse(&get(broker.admin(), "/partitions", "").1, false);
    holds_the_table(&partitions, Page::Partitions, false);
    let events = [("topic", "events"), ("partition", "0")];
    let half = (PRODUCED / 2) as f64;
    assert_eq!(sum(&partitions, "ringlog_partition_high_watermark", &events), half);
    assert_eq!(sum(&partitions, "ringlog_partition_log_start", &events), 0.0);
    assert_eq!(sum(&partitions, "ringlog_partition_segments", &events), 1.0);
    let bytes = sum(&partitions, "ringlog_partition_log_bytes", &events);
    assert!(bytes > half * VALUE as f64, "{bytes}");
    assert_eq!(sum(&partitions, "ringlog_partition_appended_bytes_total", &events), bytes);
    assert_eq!(sum(&partitions, "ringlog_partition_read_bytes_total", &events), bytes);
    let mut peer = Peer::connect(broker.addr()).expect("a connection");
    peer.create_topic("more", 1).expect("a topic");
    let clients = parse(&get(broker.admin(), "/clients", "").1, false);
    holds_the_table(&clients, Page::Clients, false);
    let at = peer.stream().local_addr().expect("connected").to_string();
    assert_eq!(sum(&clients, "ringlog_client_requests_total", &[("peer", at.as_str())]), 1.0);
    assert!(sum(&clients, "ringlog_client_response_bytes_total", &[("peer", at.as_str())]) > 10.0);
}

/// More partitions than a core tells at once, of which none is told twice or not at all.
#[test]
fn many_partitions_are_told_in_pieces() {
    let broker = Broker::start("metrics-many", &["ringlog.cores=0,0"]);
    until("it says where", || broker.log().contains("metrics at"));
    Peer::connect(broker.addr()).expect("a connection").create_topic("many", 2000).expect("a topic");
    let partitions = parse(&get(broker.admin(), "/partitions", "").1, false);
    holds_the_table(&partitions, Page::Partitions, false);
    assert_eq!(partitions["ringlog_partition_log_start"].samples.len(), 2000);
    let all = parse(&get(broker.admin(), "/metrics", "").1, false);
    assert_eq!(sum(&all, "ringlog_partitions", &[]), 2000.0);
}

#[test]
fn health_is_told() {
    let (broker, _peer) = used();
    let status = |path| get(broker.admin(), path, "").0.lines().next().expect("a line").to_string();
    assert_eq!(status("/healthz"), "HTTP/1.1 200 OK");
    until("it is ready", || status("/readyz") == "HTTP/1.1 200 OK");
    assert_eq!(status("/"), "HTTP/1.1 200 OK");
    assert_eq!(status("/other"), "HTTP/1.1 404 Not Found");
}

/// Runs promtool, which must find nothing wrong.
fn promtool(words: &[&str], dir: &Path, input: &str) {
    let program = Runtime::Promtool.dir().join("root/usr/bin/promtool");
    let mut command = Command::new(program);
    let command = command.args(words).current_dir(dir);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("promtool runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "promtool {words:?}: {said}");
    // Of metrics it may find fault and end well.
    assert!(words != ["check", "metrics"] || said.is_empty(), "{said}");
}

#[test]
fn promtool_finds_nothing_wrong() {
    if !install(Runtime::Promtool) {
        return;
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shard/metrics");
    promtool(&["check", "rules", "ringlog-alerts.yml"], &shipped, "");
    promtool(&["test", "rules", "ringlog-alerts-test.yml"], &shipped, "");
    let (broker, _peer) = used();
    for path in ["/metrics", "/partitions", "/clients"] {
        promtool(&["check", "metrics"], &shipped, &get(broker.admin(), path, "").1);
    }
}
