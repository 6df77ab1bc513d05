//! Metrics as Prometheus and OpenMetrics write them, and what is none of theirs.

use ringlog_bench_harness::bench::sample::prometheus::{Endpoint, Kind, parse};
use std::io::{Read, Write};
use std::net::TcpListener;

const TEXT: &str = "\
# HELP ringlog_requests_total Requests.
# TYPE ringlog_requests_total counter
ringlog_requests_total{api=\"Produce\",core=\"0\"} 1027 1395066363000
ringlog_requests_total{api=\"a \\\"b\\\\ } \\n\",} 3
# TYPE ringlog_memory_bytes gauge
ringlog_memory_bytes 1.5e+06
# TYPE ringlog_turn_seconds histogram
ringlog_turn_seconds_bucket{le=\"0.1\"} 5
ringlog_turn_seconds_bucket{le=\"+Inf\"} 7
ringlog_turn_seconds_sum 0.25
ringlog_turn_seconds_count 7
untyped_total 4
untyped -3
limit +Inf

# TYPE open counter
open_total 17.0 1520879607.789 # {trace=\"x\"} 1.0
# EOF
";

#[test]
fn series_have_their_kinds_and_values() {
    let scrape = parse(TEXT).unwrap();
    for (name, kind, value) in [
        ("ringlog_requests_total{api=\"Produce\",core=\"0\"}", Kind::Counter, 1027.0),
        ("ringlog_requests_total{api=\"a \\\"b\\\\ } \\n\",}", Kind::Counter, 3.0),
        ("ringlog_memory_bytes", Kind::Gauge, 1.5e6),
        ("ringlog_turn_seconds_bucket{le=\"+Inf\"}", Kind::Counter, 7.0),
        ("ringlog_turn_seconds_sum", Kind::Counter, 0.25),
        ("untyped_total", Kind::Counter, 4.0),
        ("untyped", Kind::Gauge, -3.0),
        ("open_total", Kind::Counter, 17.0),
    ] {
        assert_eq!(scrape.0.get(name), Some(&(kind, value)), "{name}");
    }
    let later = parse("# TYPE untyped_total counter\nuntyped_total 10\nuntyped 5\nnew_total 2\nlimit +Inf\n").unwrap();
    let grown = later.since(&scrape);
    assert_eq!((grown["untyped_total"], grown["untyped"], grown["new_total"]), (6.0, 5.0, 2.0));
    assert!(!grown.contains_key("limit"), "JSON has no infinity");
}

#[test]
fn nonsense_is_told_with_its_line() {
    for text in [
        "a b c\n",
        "1a 2\n",
        "a\n",
        "a{\n",
        "a{b} 1\n",
        "a{b=c} 1\n",
        "a{b=\"c} 1\n",
        "a{b=\"c\" d=\"e\"} 1\n",
        "a{b=\"\\x\"} 1\n",
        "a 1 2 x\na{} y\n",
        "a infinity\n",
        "a 1 later\n",
        "# TYPE a\n",
        "a 1\na 1\n",
        "<html>\n",
        "{} 1\n",
    ] {
        let said = parse(text).expect_err(text);
        assert!(said.starts_with("line "), "{text}: {said}");
    }
    for text in ["", "\n\n", "# a comment\n", "#\n"] {
        assert!(parse(text).unwrap().0.is_empty());
    }
    let many: String = (0..60_000).map(|k| format!("a{k} 1\n")).collect();
    assert!(parse(&many).unwrap_err().contains("series"));
}

#[test]
fn an_endpoint_is_read_and_its_refusals_are_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let answers = [
        &b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\na_total 1\n"[..],
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"\xff\xfe",
        b"SSH-2.0\r\n",
    ];
    let serving = std::thread::spawn(move || {
        for answer in answers {
            let (mut peer, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let n = peer.read(&mut request).unwrap();
            assert!(request[..n].starts_with(b"GET /metrics HTTP/1.0\r\n"));
            peer.write_all(answer).unwrap();
        }
    });
    let endpoint = Endpoint::parse(&format!("http://{addr}/metrics")).unwrap();
    assert_eq!(endpoint.scrape().unwrap().0["a_total"], (Kind::Counter, 1.0));
    for said in ["404", "no text", "no HTTP"] {
        let error = endpoint.scrape().unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    serving.join().unwrap();
    assert!(endpoint.scrape().is_err(), "nobody listens");
    for url in ["https://127.0.0.1/metrics", "127.0.0.1:1", "http://", "http://127.0.0.1:1/a b"] {
        assert!(Endpoint::parse(url).is_err(), "{url}");
    }
}
