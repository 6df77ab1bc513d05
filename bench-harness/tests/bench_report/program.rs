//! `ringlog-bench report`, `history` and `gate`, as somebody would call them.

use crate::samples::{self, KAFKA, Like, OURS};
use ringlog_bench_harness::bench::result::RunResult;
use std::path::Path;
use std::process::{Command, Output};

fn bench(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog-bench"));
    command.current_dir(dir).args(arguments).env("LC_ALL", "C.UTF-8").output().expect("ringlog-bench runs")
}

#[track_caller]
fn done(output: &Output, code: i32) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn save(path: &Path, run: &RunResult) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("target is writable");
    std::fs::write(path, serde_json::to_string(run).expect("JSON")).expect("target is writable");
}

/// A session: three runs of each, in a folder.
fn session(dir: &Path, ours: Like) {
    let asked = samples::workload("steady");
    for (like, side) in [(ours, "a"), (KAFKA, "b")] {
        for (k, run) in samples::runs(&asked, like, 3).iter().enumerate() {
            save(&dir.join(format!("steady-{side}-{k}.json")), run);
        }
    }
}

#[test]
fn a_report_is_made_of_a_folder_or_of_files() {
    let dir = samples::folder("report-command");
    session(&dir.join("s"), OURS);
    let text = done(&bench(&dir, &["report", "s", "--open", "no"]), 0);
    assert!(text.contains("ringlog is better") && text.contains("report.html"), "{text}");
    for name in ["report.html", "report.json", "report.csv", "report.txt", "publish-ringlog.hgrm", "publish-kafka.hgrm"]
    {
        assert!(dir.join("s").join(name).is_file(), "{name}");
    }
    // Again, from the report that is there now; and from single files to another folder.
    done(&bench(&dir, &["report", "s", "--open", "no", "--title", "again"]), 0);
    let text =
        done(&bench(&dir, &["report", "s/steady-a-0.json", "s/steady-a-1.json", "--out", "o", "--open", "no"]), 0);
    assert!(text.contains("publish p99") && dir.join("o/report.html").is_file(), "{text}");
    std::fs::write(dir.join("other.json"), "{\"a\": 1}").expect("target is writable");
    assert!(done(&bench(&dir, &["report", "other.json"]), 1).contains("not a result"));
    done(&bench(&dir, &["report", "absent"]), 1);
    done(&bench(&dir, &["report"]), 2);
}

#[test]
fn history_keeps_sessions_and_shows_the_trend() {
    let dir = samples::folder("history-command");
    for (n, (commit, median_us)) in [("1111111aaaa", 300.0), ("2222222bbbb", 200.0)].into_iter().enumerate() {
        let asked = samples::workload("steady");
        for like in [Like { median_us, ..OURS }, KAFKA] {
            for (k, mut run) in samples::runs(&asked, like, 3).into_iter().enumerate() {
                run.started_ms += n as i64 * 86_400_000;
                run.broker.commit = run.broker.commit.map(|_| commit.to_string());
                if k == 2 && like.label == "kafka" {
                    samples::void(&mut run);
                }
                save(&dir.join(format!("s{n}/{}-{k}.json", like.label)), &run);
            }
        }
        let session = format!("s{n}");
        let text = done(&bench(&dir, &["history", "add", &session, "--peer", "kafka"]), 0);
        assert!(text.contains("5 runs kept") && text.contains("1 VOID runs are not kept"), "{text}");
        done(&bench(&dir, &["history", "add", &session, "--peer", "kafka"]), 0);
    }
    assert_eq!(std::fs::read_dir(dir.join("bench-history")).expect("kept").count(), 10);
    let text = done(&bench(&dir, &["history", "show"]), 0);
    let (first, second) = (text.find("1111111aa").expect("a commit"), text.find("2222222bb").expect("a commit"));
    assert!(first < second, "{text}");
    assert!(text.contains("steady on ringlog") && text.contains("publish p99 / kafka: █▆"), "{text}");
    assert!(!done(&bench(&dir, &["history", "show", "--workload", "other"]), 0).contains("steady"));
    done(&bench(&dir, &["history", "html"]), 0);
    let page = std::fs::read_to_string(dir.join("bench-history/history.html")).expect("a page");
    assert!(page.contains("Publish p99, ratio to kafka") && page.contains("2222222bb"));
    done(&bench(&dir, &["history", "show", "--dir", "absent"]), 1);
}

#[test]
fn the_gate_fails_on_what_is_worse_and_on_nothing_else() {
    let dir = samples::folder("gate-command");
    session(&dir.join("before"), OURS);
    std::fs::write(dir.join("counts.txt"), "# of the warm path\nproduce.instructions 41000\nproduce.allocations 0\n")
        .expect("writable");
    let gate = |results: &[&str]| {
        let mut arguments = vec!["gate", "--baseline", "gate.toml"];
        arguments.extend(results);
        bench(&dir, &arguments)
    };
    done(&gate(&["before", "counts.txt"]), 1);
    done(&gate(&["--write", "before", "counts.txt"]), 0);
    let baseline = std::fs::read_to_string(dir.join("gate.toml")).expect("a baseline");
    assert!(baseline.contains("steady/publish_p99/kafka") && baseline.contains("produce.instructions"), "{baseline}");
    assert!(done(&gate(&["before", "counts.txt"]), 0).contains("passed"));

    session(&dir.join("slower"), Like { median_us: 450.0, ..OURS });
    let text = done(&gate(&["slower", "counts.txt"]), 1);
    let worse: Vec<&str> = text.lines().filter(|line| line.contains("WORSE")).collect();
    assert!(
        worse.iter().any(|line| line.contains("publish_p99")) && !worse.iter().any(|line| line.contains("cpu_per")),
        "{text}"
    );

    // A tolerance that somebody wrote stays when the baseline is made again.
    std::fs::write(dir.join("gate.toml"), baseline.replace("tolerance = 0.15", "tolerance = 2.0")).expect("writable");
    assert!(done(&gate(&["slower", "counts.txt"]), 0).contains("passed"));
    done(&gate(&["--write", "slower", "counts.txt"]), 0);
    assert!(std::fs::read_to_string(dir.join("gate.toml")).expect("a baseline").contains("tolerance = 2.0"));

    std::fs::write(dir.join("more.json"), "{\"produce.instructions\": 43000, \"produce.allocations\": 1}")
        .expect("writable");
    let text = done(&gate(&["slower", "more.json"]), 1);
    assert_eq!(text.lines().filter(|line| line.contains("WORSE")).count(), 2, "{text}");
    assert!(done(&gate(&["slower"]), 1).contains("MISSING"));
    std::fs::write(dir.join("times.txt"), "produce_p99_us 300\n").expect("writable");
    assert!(done(&gate(&["slower", "times.txt"]), 1).contains("is a time"));
}
