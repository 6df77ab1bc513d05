//! Workload files: those that ship, and what is said of wrong ones.

use ringlog_bench_harness::bench::workload::{Duration, Keys, Size};
use ringlog_bench_harness::bench::workloads::{Chosen, SHIPPED, file, find, shape};
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_workload_that_ships_is_sound_and_has_a_question() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let there: BTreeSet<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let listed: BTreeSet<String> = SHIPPED.iter().map(|(name, _)| format!("{name}.toml")).collect();
    assert_eq!(there, listed);
    assert!((12..=16).contains(&SHIPPED.len()));
    for (name, text) in SHIPPED {
        let workload = file::parse(name, text).unwrap();
        assert_eq!(workload.name, *name);
        assert!(workload.question.ends_with('?') || workload.question.ends_with(')'), "{name}: {}", workload.question);
        assert!(workload.run.seconds <= 20.0, "{name} takes longer than it should by default");
        assert!(!shape(&workload).is_empty());
        let quick = find(name, &Chosen { quick: true, ..Chosen::default() }).unwrap().workload;
        assert!(quick.run.seconds <= 5.0, "{name}");
        // What asks for more than the usual warm-up needs all of it.
        let (asked, usual) = (workload.run.warmup_seconds, Duration::default().warmup_seconds);
        assert!(quick.run.warmup_seconds <= if asked > usual { asked } else { 2.0 }, "{name}");
    }
}

#[test]
fn a_file_says_only_what_is_special() {
    let text = "name = 'a'\nquestion = 'b?'\n[records]\nsize = { from = 100, to = 200 }\nkeys = { kind = 'zipf', count = 10, exponent = 1.1 }\n";
    let workload = file::parse("a.toml", text).unwrap();
    assert_eq!(workload.records.size, Size::Uniform { from: 100, to: 200 });
    assert_eq!(workload.records.keys, Keys::Zipf { count: 10, exponent: 1.1 });
    assert_eq!((workload.topics.partitions, workload.run.seconds), (16, 20.0));
}

/// What a file holds behind its name and question, and what is said of it.
const WRONG: &[(&str, &str)] = &[
    ("[topics\n", "w.toml:3: "),
    ("[topics]\npartitions = 0\n", "w.toml:4: topics.partitions: 0 is not in 1 to 100000"),
    ("[topics]\npartition = 1\n", "w.toml:4: topics.partition: unknown field `partition`"),
    ("[topics]\ncount = 10000\npartitions = 21\n", "w.toml:5: topics.partitions: more than 200000"),
    ("[topics]\npartitions = 'many'\n", "w.toml:4: topics.partitions: invalid type: string \"many\", expected u32"),
    ("[topics]\npartitions = -1\n", "w.toml:4: topics.partitions: invalid value: integer `-1`, expected u32"),
    ("\n\n[producers]\nrate = 0\n", "w.toml:6: producers.rate: 0 is not in 0.001 to 1000000000"),
    ("[producers]\nrate = nan\n", "w.toml:4: producers.rate: NaN is not in"),
    (
        "[producers]\ncodec = 'rar'\n",
        "w.toml:4: producers.codec: unknown variant `rar`, expected one of `none`, `gzip`",
    ),
    ("[producers]\nidempotent = true\nacks = 'leader'\n", "w.toml:5: producers.acks: idempotent producers need acks"),
    ("[producers]\nidempotent = true\nin_flight = 6\n", "w.toml:5: producers.in_flight: at most 5"),
    ("[producers]\ntransaction_records = 10\n", "producers.idempotent: transactions need idempotent producers"),
    ("[producers]\npartitions_per_request = 17\n", "w.toml:4: producers.partitions_per_request: more than there are"),
    ("[producers]\ncount = 0\n", "w.toml:4: producers.count: nobody writes, reads or connects"),
    ("[producers]\nbatch_records = 1000000\n", "w.toml:4: producers.batch_records: a batch may be larger"),
    ("[records]\nsize = 23\n", "w.toml:4: records.size: 23 is not in 24 to 100000000"),
    ("[records]\nsize = 'big'\n", "w.toml:4: records.size: one of these: bytes (1024), or { from = 100"),
    ("[records]\nsize = { from = 200, to = 100 }\n", "w.toml:4: records.size: from is above to"),
    ("[records]\nsize = { from = 100, to = 200, by = 7 }\n", "w.toml:4: records.size.by has no meaning"),
    ("[records]\nsize = []\n", "w.toml:4: records.size: no sizes"),
    ("[records]\nsize = [[100, 0]]\n", "w.toml:4: records.size: 0 is not in"),
    ("[records]\nkeys = { kind = 'uniform', count = 0 }\n", "w.toml:4: records.keys: 0 is not in 1 to 1000000000"),
    (
        "[records]\nkeys = { kind = 'uniform', count = 5, exponent = 1 }\n",
        "w.toml:4: records.keys.exponent has no meaning",
    ),
    ("[records]\nkeys = { kind = 'hot' }\n", "w.toml:4: records.keys.kind: unknown variant `hot`"),
    ("[records]\ncompressible = 1.5\n", "w.toml:4: records.compressible: 1.5 is not in 0 to 1"),
    ("[consumers]\ngroups = 1\nchurn_ms = 100\n", "w.toml:5: consumers.churn_ms: needs consumers.coordinated"),
    ("[ramp]\nfrom = 10\n", "w.toml:3: ramp: missing field `to`"),
    (
        "[ramp]\nfrom = 10\nto = 5\nfactor = 2\nhalvings = 1\nstep_seconds = 1\npercentile = 99\nlatency_ms = 5\n",
        "w.toml:5: ramp.to: 5 is not in 10 to",
    ),
    ("[backlog]\nbytes = 1000\n", "w.toml:3: backlog: needs consumers"),
    ("[consumers]\ngroups = 1\nfrom = 'tail'\n", "w.toml:5: consumers.from: to read the tail again and again"),
    ("[run]\nseconds = 0\n", "w.toml:4: run.seconds: 0 is not in 0.1 to"),
    ("[producer]\ncount = 1\n", "w.toml:3: producer: unknown field `producer`, expected one of"),
];

#[test]
fn errors_name_the_file_the_line_the_field_and_what_may_stand_there() {
    for (rest, said) in WRONG {
        let text = format!("name = 'w'\nquestion = 'What?'\n{rest}");
        let error = file::parse("w.toml", &text).expect_err(rest).to_string();
        assert!(error.contains(said), "{rest}\nsays: {error}\nnot:  {said}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    for (text, said) in [
        ("question = 'b?'\n", "w.toml:1: missing field `name`"),
        ("name = '../x'\nquestion = 'b?'\n", "w.toml:1: name: 1 to 80 letters"),
        ("name = 'x'\nquestion = ' '\n", "w.toml:2: question: it is empty"),
    ] {
        let error = file::parse("w.toml", text).expect_err(text).to_string();
        assert!(error.contains(said), "{error}\nnot:  {said}");
    }
}

#[test]
fn fields_are_set_from_the_command_line() {
    let set = |pairs: &[&str]| {
        let set = pairs.iter().map(|p| p.to_string()).collect();
        find("small-requests", &Chosen { set, ..Chosen::default() }).map(|asked| asked.workload)
    };
    let workload = set(&[
        "producers.rate=5000",
        "producers.codec=lz4",
        "records.size=[[100, 0.5], [200, 0.5]]",
        "topics.config.flush.messages=1",
        "connections.idle = 7",
    ])
    .unwrap();
    assert_eq!(workload.producers.rate, Some(5000.0));
    assert_eq!(workload.records.size, Size::Weighted(vec![(100, 0.5), (200, 0.5)]));
    assert_eq!(workload.topics.config["flush.messages"], "1");
    assert_eq!(workload.connections.idle, 7);
    for (pair, said) in [
        ("producers.rate", "a field, =, and a value"),
        ("producers.rate=fast", "--set producers.rate=fast: producers.rate: invalid type: string \"fast\""),
        ("producers.rates=1", "unknown field `rates`"),
        ("producers.rate=-1", "-1 is not in 0.001 to"),
        ("name.x=1", "name has no fields"),
    ] {
        let error = set(&[pair]).expect_err(pair).to_string();
        assert!(error.contains(said), "{error}\nnot: {said}");
    }
}

#[test]
fn a_name_that_is_none_is_told() {
    let error = find("small", &Chosen::default()).unwrap_err().to_string();
    assert!(error.contains("no workload small") && error.contains("ringlog bench workloads"), "{error}");
}
