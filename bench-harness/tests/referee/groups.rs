//! Groups: each rule broken, and nearly.

use crate::build::*;
use ringlog_bench_harness::referee::Rule;
use ringlog_bench_harness::referee::history::{Call, Outcome, Partition};

/// With a record, so that there is something to judge.
fn history() -> History {
    let mut h = History::new(FLUSHED);
    h.send(-1, &[1], at(0));
    h
}

fn done(mut h: History) -> History {
    h.left(&[1]);
    h
}

fn commit(by: &str, generation: i32, offset: i64) -> Call {
    Call::Commit {
        group: "g".to_string(),
        by: member(by, generation),
        offsets: vec![(part(0), offset)],
        transaction: None,
    }
}

fn committed(h: &mut History, offset: i64) {
    let ask = Call::Committed { group: "g".to_string(), of: vec![part(0)] };
    h.ask(ask, Outcome::Offsets { offsets: vec![(part(0), offset)] });
}

fn assign(h: &mut History, by: &str, generation: i32, partitions: &[i32]) {
    let partitions = partitions.iter().map(|p| part(*p)).collect();
    h.ask(Call::Assign { group: "g".to_string(), by: member(by, generation) }, Outcome::Assigned { partitions });
}

#[test]
fn the_last_commit_counts() {
    let told = |offset| {
        let mut h = history();
        h.ask(commit("", -1, 5), Outcome::Done);
        h.ask(commit("", -1, 3), Outcome::Done);
        committed(&mut h, offset);
        done(h)
    };
    told(3).holds();
    told(5).breaks(Rule::CommittedOffset);
    told(-1).breaks(Rule::CommittedOffset);
    told(4).breaks(Rule::CommittedOffset);
}

#[test]
fn commits_that_overlap_may_come_in_any_order() {
    for offset in [3, 5] {
        let mut h = history();
        let a = h.call(0, commit("", -1, 5));
        let b = h.call(1, commit("", -1, 3));
        h.end(a, Outcome::Done);
        h.end(b, Outcome::Done);
        committed(&mut h, offset);
        done(h).holds();
    }
}

#[test]
fn an_unknown_commit_may_be_until_a_read_shows_it() {
    let mut h = history();
    h.ask(commit("", -1, 5), Outcome::Done);
    h.ask(commit("", -1, 7), unknown());
    let mut no = h.clone();
    committed(&mut no, 5);
    committed(&mut no, 7);
    done(no).holds();
    committed(&mut h, 7);
    committed(&mut h, 5);
    done(h).breaks(Rule::CommittedOffset);
}

#[test]
fn a_refused_commit_is_none() {
    let mut h = history();
    h.ask(commit("", -1, 5), refused());
    committed(&mut h, 5);
    done(h).breaks(Rule::CommittedOffset);
}

#[test]
fn a_deleted_group_has_no_offsets() {
    let mut h = history();
    h.ask(commit("", -1, 5), Outcome::Done);
    h.ask(Call::DeleteGroup { group: "g".to_string() }, Outcome::Done);
    let mut still = h.clone();
    committed(&mut h, -1);
    done(h).holds();
    committed(&mut still, 5);
    done(still).breaks(Rule::CommittedOffset);
}

#[test]
fn offsets_go_with_their_topic() {
    let mut h = history();
    h.ask(commit("", -1, 5), Outcome::Done);
    h.ask(Call::DeleteTopic { topic: "t".to_string(), incarnation: 0 }, Outcome::Done);
    committed(&mut h, -1);
    let create = Call::CreateTopic { topic: "t".to_string(), incarnation: 1, partitions: 1, promise: FLUSHED };
    h.ask(create, Outcome::Done);
    let of = Partition { incarnation: 1, ..part(0) };
    let told = |h: &History, offset| {
        let mut h = h.clone();
        let ask = Call::Committed { group: "g".to_string(), of: vec![of.clone()] };
        h.ask(ask, Outcome::Offsets { offsets: vec![(of.clone(), offset)] });
        h
    };
    told(&h, -1).holds();
    told(&h, 5).breaks(Rule::CommittedOffset);
}

#[test]
fn a_generation_has_one_owner() {
    let told = |second: i32, release: bool| {
        let mut h = history();
        assign(&mut h, "a", 1, &[0, 1]);
        if release {
            h.ask(Call::Release { group: "g".to_string(), by: member("a", 1) }, Outcome::Done);
        }
        assign(&mut h, "b", second, &[0]);
        done(h)
    };
    told(1, false).breaks(Rule::TwoOwners);
    told(1, true).holds();
    // The first one has not heard yet that its generation is over.
    told(2, false).holds();
}

#[test]
fn a_fenced_commit_is_refused() {
    let told = |outcome: Outcome, partitions: &[i32]| {
        let mut h = history();
        assign(&mut h, "a", 1, &[0, 1]);
        assign(&mut h, "b", 2, partitions);
        h.ask(commit("a", 1, 4), outcome);
        done(h)
    };
    told(Outcome::Done, &[0]).breaks(Rule::FencedCommit);
    told(refused(), &[0]).holds();
    // Of what it has still, by the newer protocol.
    told(Outcome::Done, &[1]).holds();
    let mut h = history();
    assign(&mut h, "a", 1, &[0]);
    let op = h.call(0, commit("a", 1, 4));
    assign(&mut h, "b", 2, &[0]);
    h.end(op, Outcome::Done);
    done(h).holds();
    // The group ended and began anew.
    let mut h = history();
    assign(&mut h, "a", 5, &[0]);
    assign(&mut h, "b", 1, &[0]);
    h.ask(commit("b", 1, 4), Outcome::Done);
    done(h).holds();
}
