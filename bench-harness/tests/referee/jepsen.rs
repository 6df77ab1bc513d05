//! Histories in Jepsen's form: by hand, and there and back.

use crate::model;
use ringlog_bench_harness::referee::history::{Outcome, What};
use ringlog_bench_harness::referee::{Finding, Rule, edn, jepsen, judge};

fn rules(text: &str) -> Vec<Rule> {
    let history = jepsen::import(text).expect("it is one of Jepsen's");
    judge(&history).violations.iter().map(|violation| violation.rule).collect()
}

/// As Jepsen writes it, with what a real run has beside.
const GOOD: &str = r#"
{:index 0, :time 3291485317, :type :invoke, :process 2, :f :assign, :value [3 4]}
{:index 1, :time 3291985317, :type :ok, :process 2, :f :assign, :value [3 4]}
#jepsen.history.Op{:index 2, :time 3292485317, :type :invoke, :process 0, :f :send, :value [[:send 3 1] [:send 4 1]]}
{:index 3, :time 3292585317, :type :invoke, :process :nemesis, :f :kill, :value nil} ; a fault
{:index 4, :time 3293485317, :type :ok, :process 0, :f :send, :value [[:send 3 [0 1]] [:send 4 [0 1]]]}
{:index 5, :time 3294485317, :type :invoke, :process 1, :f :send, :value [[:send 3 2]]}
{:index 6, :time 3295485317, :type :info, :process 1, :f :send, :value [[:send 3 2]], :error :timed-out}
{:index 7, :time 3296485317, :type :invoke, :process 2, :f :poll, :value [[:poll]], :poll-ms 1000}
{:index 8, :time 3297485317, :type :ok, :process 2, :f :poll, :value [[:poll {3 [[0 1] [2 2]], 4 [[0 1]]}]], :rebalance-log []}
{:index 9, :time 3298485317, :type :invoke, :process 3, :f :crash, :value nil}
{:index 10, :time 3298485318, :type :info, :process 3, :f :crash, :value nil}
"#;

#[test]
fn a_good_one_by_hand() {
    let history = jepsen::import(GOOD).expect("it is one of Jepsen's");
    let verdict = judge(&history);
    assert_eq!(verdict.finding(), Finding::Valid, "{}", verdict.explain_of(&history));
    assert_eq!((verdict.counts.sent, verdict.counts.acknowledged), (3, 2));
    let unseen = GOOD.replace("4 [[0 1]]}", "}");
    let verdict = judge(&jepsen::import(&unseen).expect("it is one of Jepsen's"));
    assert_eq!(verdict.finding(), Finding::Inconclusive);
}

/// The anomalies of Jepsen's own tests.
#[test]
fn bad_ones_by_hand() {
    let aborted = r"[{:type :fail, :f :send, :value [[:send :x 2] [:send :y 3]], :process 0}
                     {:type :ok, :f :poll, :value [[:poll {:x [[0 2] [1 3]]}]], :process 1}]";
    assert!(rules(aborted).contains(&Rule::RefusedRead));
    let lost = r"{:type :ok, :f :send, :value [[:send :x [0 :a]]], :process 0}
                 {:type :ok, :f :send, :value [[:send :x [1 :b]] [:send :x [3 :d]]], :process 1}
                 {:type :info, :f :send, :value [[:send :x :c]], :process 2}
                 {:type :ok, :f :poll, :value [[:poll {:x [[2 :c]]}]], :process 3}";
    assert_eq!(rules(lost), [Rule::Lost, Rule::Lost, Rule::Lost]);
    let twice = r"{:type :invoke, :f :send, :value [[:send 11 641]], :time 280153467070, :process 379}
                  {:type :ok, :f :send, :value [[:send 11 [537 641]]], :time 280169754615, :process 379}
                  {:type :invoke, :f :send, :value [[:send 11 645]], :time 283654729962, :process 363}
                  {:type :ok, :f :send, :value [[:send 11 [537 645]]], :time 287474569112, :process 363}";
    assert!(rules(twice).contains(&Rule::OffsetTwice));
    let doubled = r"{:type :info, :f :send, :value [[:send 0 1]], :process 0}
                    {:type :ok, :f :poll, :value [[:poll {0 [[0 1] [1 1]]}]], :process 1}";
    assert!(rules(doubled).contains(&Rule::Duplicate));
    let foreign = r"{:type :ok, :f :poll, :value [[:poll {0 [[0 1]]}]], :process 1}";
    assert!(rules(foreign).contains(&Rule::Invented));
    let early = r"{:type :invoke, :f :txn, :value [[:send 0 1]], :process 0}
                  {:type :ok, :f :txn, :value [[:poll {0 [[0 1]]}]], :process 1}
                  {:type :ok, :f :txn, :value [[:send 0 [0 1]]], :process 0}";
    assert!(rules(early).contains(&Rule::AbortedRead));
}

#[test]
fn what_is_no_history_is_refused() {
    for text in
        ["{:type", "]", "{:a}", "{:f :send, :value [[:send 1]], :type :ok}", "{:f :send, :value [[:send 1 2]]}", "\"a"]
    {
        assert!(jepsen::import(text).is_err(), "{text}");
    }
    assert!(edn::read(&"[".repeat(100_000)).is_err());
    let text = r#"{:a [1 -2 nil], "b" #{x}} ("q\"\n")"#;
    let read = edn::read(text).expect("it is EDN");
    let written: String = read.iter().map(|value| format!("{value} ")).collect();
    assert_eq!(edn::read(&written), Ok(read));
}

#[test]
fn there_and_back() {
    let mut caught = 0;
    for seed in 0..300 {
        let mut history = model::plain_history(seed, 300);
        let text = jepsen::export(&history);
        let back = jepsen::import(&text).expect("our own");
        let verdict = judge(&back);
        assert!(verdict.violations.is_empty(), "seed {seed}\n{}\n{text}", verdict.explain_of(&back));
        let sent = judge(&history).counts.sent;
        assert_eq!(verdict.counts.sent, sent, "everything came back");
        let read = history.iter_mut().rev().find_map(|event| match &mut event.what {
            What::Return { outcome: Outcome::Fetched { records, .. }, .. } if records.len() > 1 => Some(records),
            _ => None,
        });
        let Some(records) = read else { continue };
        records[1].value = records[0].value;
        let back = jepsen::import(&jepsen::export(&history)).expect("our own");
        assert_eq!(judge(&back).finding(), Finding::Invalid, "seed {seed}");
        caught += 1;
    }
    assert!(caught >= 100, "{caught}");
}
