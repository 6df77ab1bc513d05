//! The files of a report: the page read strictly, and the tables, JSON and percentile files read back.

use crate::samples::{self, OURS};
use ringlog_bench_harness::bench::figures::by_id;
use ringlog_bench_harness::bench::report::text::{self, Style};
use ringlog_bench_harness::bench::report::{self, Loaded, Report, csv, html};
use ringlog_bench_harness::bench::{compare, history};
use std::path::Path;

/// Reads a page as XML, which is stricter than HTML, and holds it to what a page without a network may hold.
#[track_caller]
fn read_strictly(page: &str) {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let read =
        roxmltree::Document::parse_with_options(page, options).unwrap_or_else(|e| panic!("not well-formed: {e}"));
    let mut ids = std::collections::BTreeSet::new();
    for node in read.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(!["link", "img", "iframe", "object", "embed", "base"].contains(&name), "a page loads nothing: {name}");
        for attribute in node.attributes() {
            match attribute.name() {
                "href" => assert!(attribute.value().starts_with('#'), "{attribute:?}"),
                "src" | "srcset" | "action" => panic!("{name} loads {attribute:?}"),
                "id" => assert!(ids.insert(attribute.value()), "{attribute:?} is there twice"),
                other => assert!(!other.starts_with("on"), "{attribute:?}"),
            }
        }
        if name == "svg" && node.attribute("role").is_some() {
            let first: Vec<_> = node.children().take(2).map(|c| c.tag_name().name()).collect();
            assert_eq!(first, ["title", "desc"]);
            assert!(node.children().take(2).all(|c| c.text().is_some_and(|t| !t.is_empty())), "a chart says nothing");
        }
        if name == "table" {
            assert!(node.children().any(|c| c.has_tag_name("caption")));
        }
    }
    let scripts = read.descendants().filter(|n| n.has_tag_name("script")).count();
    assert_eq!(scripts, 1, "scripts that are not ours");
    for loads in ["http://", "https://", "url(", "@import", "NaN", "inf "] {
        assert!(!page.contains(loads), "{loads}");
    }
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    read_strictly(&html::page(&samples::report()));
    read_strictly(&html::page(&samples::crowded()));
    read_strictly(&html::page(&Report::default()));
    read_strictly(&history::page(&samples::kept(), None));
}

#[test]
fn no_name_is_markup() {
    let mut report = samples::report();
    report.title = "<script>alert(1)</script>".into();
    report.notes.push("a & b <b> ]]> \u{1b}[2J".into());
    for run in &mut report.runs {
        run.workload.name = "<script>alert(2)</script>".into();
        run.workload.question = "\"><img src=x onerror=alert(3)>".into();
        run.broker.label.push_str("'\"><script>");
        run.broker.command.push("</style></title></script>".into());
        run.caveats.push("<script>".into());
        run.checks[0].found = "<script>\u{0}".into();
        run.environment.facts.push(("<i>".into(), "</td>".into()));
    }
    report.comparisons = report::compared(&report.runs, None);
    assert_eq!(report.comparisons.len(), 1);
    read_strictly(&html::page(&report));
    let kept = history::kept(&report.runs, None, "<script>");
    read_strictly(&history::page(&kept, None));
    let terminal = text::render(&report, Style { width: 100, unicode: true });
    assert!(!terminal.contains(['\u{1b}', '\u{0}']));
}

#[test]
fn runs_without_figures_make_a_page_too() {
    let mut run = samples::run(&samples::workload("bare"), OURS, 1);
    run.load = Default::default();
    run.broker_use = None;
    run.metrics.clear();
    let mut void = run.clone();
    void.workload.name = "void".into();
    samples::void(&mut void);
    let report = Report { title: "bare".into(), runs: vec![run, void], ..Report::default() };
    read_strictly(&html::page(&report));
    let text = text::render(&report, Style::FILE);
    assert!(text.contains("VOID RUNS") && text.contains("no run passed its own checks"), "{text}");
}

#[test]
fn the_terminal_gets_its_width_and_letters() {
    for width in [60, 100] {
        let text = text::render(&samples::report(), Style { width, unicode: false });
        assert!(text.is_ascii());
        // A word that does not fit is cut; only the sparks' ends may stand over.
        let long: Vec<_> = text.lines().filter(|line| line.chars().count() > width + 8).collect();
        assert!(long.is_empty(), "{width}: {long:#?}");
    }
    let text = text::render(&samples::report(), Style { width: 100, unicode: true });
    for expected in ["VOID RUNS", "ringlog is better", "Not equally durable", "●", "█", "p99.99", "highest-rate"] {
        assert!(text.contains(expected), "{expected}");
    }
    let one = text::run(&samples::run(&samples::workload("w"), OURS, 1), Style { width: 80, unicode: true });
    assert!(one.contains("publish p99") && one.contains('█'), "{one}");
    let report = samples::report();
    let compared = text::comparison(&report.comparisons[0], Style { width: 120, unicode: true });
    assert!(compared.contains("VOID: run 4 of kafka") && compared.contains("ringlog better"), "{compared}");
}

#[test]
fn a_report_is_read_back_as_it_was() {
    let dir = samples::folder("back");
    let report = samples::report();
    let written = report::write(&dir, &report).expect("a report is written");
    assert_eq!(written[0], dir.join("report.html"));
    assert!(written.iter().all(|path| path.is_file()));
    for path in [dir.clone(), dir.join("report.json")] {
        let Loaded::Results(back) = report::load(&path).expect("a report is read") else { panic!("no report") };
        assert_eq!(back, report);
    }
    let mut newer = samples::run(&samples::workload("w"), OURS, 1);
    newer.format += 1;
    let path = dir.join("newer.json");
    std::fs::write(&path, serde_json::to_string(&newer).expect("JSON")).expect("target is writable");
    let refused = report::load(&path).expect_err("a newer form");
    assert!(refused.0.contains("newer"), "{refused}");
}

#[test]
fn the_csv_has_a_value_a_line() {
    let report = samples::report();
    let text = csv::write(&report);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(csv::HEAD));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert!(rows.iter().all(|row| row.len() == 8), "{:?}", rows.iter().find(|row| row.len() != 8));
    let void = rows.iter().filter(|row| row[4] == "true").map(|row| (row[0], row[1], row[2]));
    assert_eq!(
        void.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
        [("steady", "kafka", "4")]
    );
    let p99 = rows.iter().find(|row| row[..3] == ["steady", "ringlog", "2"] && row[5] == "publish_p99").expect("a row");
    let run = &report.runs[2];
    assert_eq!(p99[7].parse::<f64>().ok(), by_id("publish_p99").expect("a figure").of(run));
    assert_eq!((p99[3], p99[6]), ("2026-11-26 04:02", "ns"));
}

/// Rows of a percentile file: value in ms, share, count.
fn hgrm(path: &Path) -> Vec<(f64, f64, u64)> {
    let text = std::fs::read_to_string(path).expect("a percentile file");
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with("#["));
    rows.skip(1)
        .map(|line| {
            let fields: Vec<f64> = line.split_whitespace().map(|f| f.parse().expect("a number")).collect();
            (fields[0], fields[1], fields[2] as u64)
        })
        .collect()
}

#[test]
fn percentile_files_hold_the_merged_histograms_of_valid_runs() {
    let dir = samples::folder("hgrm");
    let asked = samples::workload("w");
    let mut runs = samples::runs(&asked, OURS, 3);
    samples::void(&mut runs[1]);
    let report = Report { title: "t".into(), runs, ..Report::default() };
    report::write(&dir, &report).expect("a report is written");
    let rows = hgrm(&dir.join("publish-ringlog.hgrm"));
    let valid = [&report.runs[0], &report.runs[2]];
    let count: u64 = valid.iter().map(|run| run.load.publish.latency.0.len()).sum();
    let last = rows.last().expect("rows");
    assert_eq!((last.1, last.2), (1.0, count));
    let merged = by_id("publish_p50").expect("a figure").merged(valid).expect("enough samples");
    let half = rows.iter().find(|row| row.1 == 0.5).expect("the half");
    assert!((half.0 * 1e6 / merged - 1.0).abs() < 0.005, "{} {merged}", half.0);
    assert!(dir.join("end-to-end-ringlog.hgrm").is_file() && dir.join("fetch-ringlog.hgrm").is_file());
}

#[test]
fn a_headline_answers_the_question_of_its_workload() {
    let page = html::page(&samples::report());
    for expected in [
        "Publish p99: 1.13 ms on ringlog, 7.70 ms on kafka",
        "Highest rate that kept the goal: ",
        "Backlog drained: ",
        "Too few pairs of runs for a verdict",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    let mut void = samples::report();
    void.runs.iter_mut().for_each(samples::void);
    let (a, b): (Vec<_>, Vec<_>) = void.runs.iter().cloned().partition(|run| run.broker.label == "ringlog");
    void.comparisons = vec![compare::compare(&a, &b)];
    assert!(html::page(&void).contains("VOID: no run passed its own checks"));
    void.comparisons.clear();
    for shown in [html::page(&void), text::render(&void, Style::FILE)] {
        assert!(!shown.contains("All figures"), "a table without a row: {shown}");
    }
}
