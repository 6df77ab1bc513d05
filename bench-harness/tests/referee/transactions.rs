//! Transactions: each rule broken, and nearly.

use crate::build::*;
use ringlog_bench_harness::referee::Rule;
use ringlog_bench_harness::referee::history::{Call, Found, Idempotent, Isolation, Outcome, Transaction, What};

fn attempt(attempt: u64) -> Transaction {
    Transaction { id: "x".to_string(), attempt }
}

fn produce_in(n: u64, sequence: i32, values: &[u64]) -> Call {
    let records = values.iter().map(|value| sent(*value)).collect();
    let by = Idempotent { producer_id: 7, epoch: 0, sequence };
    Call::Produce { to: part(0), acks: -1, records, idempotent: Some(by), transaction: Some(attempt(n)) }
}

fn end(n: u64, commit: bool) -> Call {
    Call::EndTransaction { transaction: attempt(n), commit }
}

/// Committed records from offset 0 to `next`.
fn committed(h: &mut History, records: &[Found], next: i64) {
    let call = Call::Fetch { from: part(0), offset: 0, isolation: Isolation::Committed };
    let records = records.to_vec();
    h.ask(call, Outcome::Fetched { high_watermark: next, log_start: 0, last_stable: next, records, next });
}

fn init(h: &mut History, client: u32) {
    let op = h.call(client, Call::InitProducer { transactional_id: Some("x".to_string()) });
    h.end(op, Outcome::Producer { producer_id: 7, epoch: 0 });
}

fn ended(how: &[(u64, bool, Outcome)]) -> History {
    let mut h = History::new(FLUSHED);
    h.ask(produce_in(0, 0, &[1, 2]), at(0));
    for (n, commit, outcome) in how {
        h.ask(end(*n, *commit), outcome.clone());
    }
    h.tell(What::FinalReads);
    h
}

#[test]
fn aborted_records_are_not_committed_ones() {
    let both = [found(0, 1), found(1, 2)];
    for (how, seen) in [
        (vec![(0, false, Outcome::Done)], false),
        (vec![(0, true, refused())], false),
        (vec![], false),
        (vec![(0, true, unknown())], true),
        (vec![(0, true, Outcome::Done)], true),
        (vec![(0, true, unknown()), (0, true, Outcome::Done)], true),
    ] {
        let mut h = ended(&how);
        let mut without = h.clone();
        committed(&mut h, &both, 3);
        committed(&mut without, &[], 3);
        if seen {
            h.holds();
        } else {
            h.breaks(Rule::AbortedRead);
            without.holds();
        }
        if how.iter().any(|(_, commit, outcome)| *commit && *outcome == Outcome::Done) {
            without.breaks(Rule::Lost);
        } else if seen {
            without.holds();
        }
    }
}

#[test]
fn read_before_the_commit_was_asked_for() {
    let mut h = History::new(FLUSHED);
    h.ask(produce_in(0, 0, &[1]), at(0));
    committed(&mut h, &[found(0, 1)], 1);
    h.ask(end(0, true), Outcome::Done);
    h.breaks(Rule::AbortedRead);
}

#[test]
fn all_or_nothing() {
    let mut h = ended(&[(0, true, unknown())]);
    committed(&mut h, &[found(0, 1)], 3);
    h.breaks(Rule::HalfVisible);
}

#[test]
fn through_the_commit_of_the_next() {
    let mut h = ended(&[(0, false, unknown())]);
    h.ask(produce_in(1, 2, &[3]), at(3));
    h.ask(end(1, true), Outcome::Done);
    let mut good = h.clone();
    good.tell(What::FinalReads);
    committed(&mut h, &[found(0, 1), found(1, 2), found(3, 3)], 5);
    h.breaks(Rule::TornTransaction);
    committed(&mut good, &[found(3, 3)], 5);
    good.holds();
}

#[test]
fn a_fenced_producer_commits_nothing() {
    let told = |fence: bool, outcome: Outcome| {
        let mut h = History::new(FLUSHED);
        init(&mut h, 0);
        h.ask(produce_in(0, 0, &[1]), at(0));
        if fence {
            init(&mut h, 1);
        }
        h.ask(end(0, true), outcome);
        h
    };
    told(true, Outcome::Done).breaks(Rule::Zombie);
    let mut h = told(false, Outcome::Done);
    h.tell(What::FinalReads);
    committed(&mut h, &[found(0, 1)], 2);
    h.holds();
    let mut h = told(true, refused());
    h.tell(What::FinalReads);
    committed(&mut h, &[], 2);
    h.holds();
}

#[test]
fn the_last_stable_offset_waits() {
    let told = |stable| {
        let mut h = History::new(FLUSHED);
        h.ask(produce_in(0, 0, &[1]), at(0));
        let call = Call::Fetch { from: part(0), offset: 0, isolation: Isolation::Committed };
        let next = 0;
        h.ask(call, Outcome::Fetched { high_watermark: 1, log_start: 0, last_stable: stable, records: vec![], next });
        h.ask(end(0, true), Outcome::Done);
        h.tell(What::FinalReads);
        committed(&mut h, &[found(0, 1)], 2);
        h
    };
    told(1).breaks(Rule::OpenTransactionRead);
    told(0).holds();
    told(2).breaks(Rule::LastStableBack);
}

#[test]
fn offsets_are_committed_with_their_transaction() {
    for (commit, outcome, told, good) in [
        (true, Outcome::Done, 5, true),
        (true, Outcome::Done, -1, false),
        (false, Outcome::Done, 5, false),
        (false, Outcome::Done, -1, true),
        (true, unknown(), 5, true),
        (true, unknown(), -1, true),
    ] {
        let mut h = History::new(FLUSHED);
        h.send(-1, &[1], at(0));
        let (group, by, transaction) = ("g".to_string(), member("", -1), Some(attempt(0)));
        let offsets = vec![(part(0), 5)];
        h.ask(Call::Commit { group: group.clone(), by, offsets, transaction }, Outcome::Done);
        h.ask(end(0, commit), outcome);
        h.ask(Call::Committed { group, of: vec![part(0)] }, Outcome::Offsets { offsets: vec![(part(0), told)] });
        h.left(&[1]);
        if good {
            h.holds();
        } else {
            h.breaks(Rule::CommittedOffset);
        }
    }
}
