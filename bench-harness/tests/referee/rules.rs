//! What is sent and read: each rule broken, and nearly.

use crate::build::*;
use ringlog_bench_harness::referee::Rule;
use ringlog_bench_harness::referee::history::{
    Call, Found, Idempotent, Isolation, Outcome, Partition, Promise, Sent, Spec, What,
};

fn flushed() -> History {
    History::new(FLUSHED)
}

fn relaxed() -> History {
    History::new(Promise::default())
}

#[test]
fn acknowledged_and_not_there() {
    let mut h = flushed();
    h.send(-1, &[1, 2], at(0));
    h.send(-1, &[3], at(2));
    let mut lost = h.clone();
    lost.left(&[1, 2]);
    let text = lost.breaks(Rule::Lost).explain_of(&lost.events);
    assert!(text.contains("value 3 was acknowledged at offset 2; the log ends at 2"), "{text}");
    assert!(text.contains("\"op\":3") && !text.contains("\"op\":2"), "only what it is about is shown: {text}");
    h.clone().lacks("a final read of t-0, offsets 0 to 2");
    h.left(&[1, 2, 3]);
    h.holds();
}

#[test]
fn nobody_was_told_where_it_is() {
    let mut h = flushed();
    h.send_once(0, &[1], at(-1));
    let mut lost = h.clone();
    lost.left(&[]);
    lost.breaks(Rule::Lost);
    h.left(&[1]);
    h.holds();
}

#[test]
fn acks_0_promises_nothing_and_unknown_may_be() {
    let mut h = flushed();
    h.send(0, &[1], at(-1));
    h.send(-1, &[2], unknown());
    h.call(1, produce(-1, &[3]));
    h.send(-1, &[4], at(0));
    let mut all = h.clone();
    all.left(&[4, 3, 2, 1]);
    all.holds();
    h.left(&[4]);
    h.holds();
}

#[test]
fn a_crash_may_take_the_newest_of_acks_1() {
    for promise in [FLUSHED, Promise::default()] {
        let mut h = History::new(promise);
        for value in 1..=3 {
            h.send(1, &[value], at(i64::try_from(value).expect("small") - 1));
        }
        let mut uncrashed = h.clone();
        uncrashed.left(&[1, 2]);
        uncrashed.breaks(Rule::Lost);
        h.crash();
        h.send(1, &[4], at(1));
        let mut middle = h.clone();
        h.left(&[1, 4]);
        h.holds();
        // Not the middle.
        middle.tell(What::FinalReads);
        middle.read(0, &[1, 4, 3], 3);
        middle.breaks(Rule::Lost);
    }
}

#[test]
fn a_crash_may_take_what_is_relaxed_even_if_it_was_read() {
    let told = |mut h: History| {
        h.send(-1, &[1], at(0));
        h.read(0, &[1], 1);
        h.crash();
        h.send(-1, &[2], at(0));
        h.left(&[2]);
        h
    };
    told(relaxed()).holds();
    told(flushed()).breaks(Rule::OffsetDisagrees);
}

#[test]
fn what_a_reader_saw_of_a_flushed_topic_stays() {
    let mut h = flushed();
    h.send(-1, &[1], unknown());
    let mut unseen = h.clone();
    h.read(0, &[1], 1);
    h.crash();
    h.left(&[]);
    let verdict = h.breaks(Rule::Vanished);
    assert!(verdict.violations.iter().any(|violation| violation.rule == Rule::HighWatermarkBack));
    unseen.crash();
    unseen.send(-1, &[2], at(0));
    unseen.left(&[2]);
    unseen.holds();
}

#[test]
fn what_the_high_watermark_vouched_for_stays() {
    let mut h = flushed();
    h.send(1, &[1, 2], at(0));
    let mut behind = h.clone();
    h.read(2, &[], 2);
    h.crash();
    h.left(&[]);
    h.breaks(Rule::Vanished);
    behind.read(0, &[], 0);
    behind.crash();
    behind.left(&[]);
    behind.holds();
}

#[test]
fn a_promise_is_altered() {
    let alter = |flushed| Call::AlterTopic {
        topic: "t".to_string(),
        incarnation: 0,
        promise: Promise { flushed, ..Promise::default() },
    };
    let end = |mut h: History| {
        h.send(-1, &[1], at(0));
        h.crash();
        h.left(&[]);
        h
    };
    let mut h = relaxed();
    h.ask(alter(true), Outcome::Done);
    end(h).breaks(Rule::Lost);
    for outcome in [refused(), unknown()] {
        let mut h = relaxed();
        h.ask(alter(true), outcome);
        end(h).holds();
    }
    let mut h = flushed();
    h.ask(alter(false), refused());
    let verdict = end(h).verdict();
    assert!(verdict.violations.iter().any(|violation| violation.rule == Rule::Lost), "{verdict:?}");
}

#[test]
fn invented_damaged_misrouted() {
    let mut h = flushed();
    h.read(0, &[9], 1);
    h.send(-1, &[9], at(0));
    h.left(&[9]);
    h.breaks(Rule::Invented);

    let mut h = flushed();
    h.send(-1, &[1], at(0));
    let damaged = Found { value: None, ..found(0, 1) };
    h.ask(fetch(0, 0), fetched(&[damaged], 0, 1));
    h.breaks(Rule::Damaged);

    let mut h = flushed();
    h.send(-1, &[1], at(0));
    h.ask(fetch(1, 0), fetched(&[found(0, 1)], 0, 1));
    h.left(&[1]);
    h.breaks(Rule::Misrouted);
}

#[test]
fn refused_and_there() {
    let told = |outcome| {
        let mut h = flushed();
        h.send(-1, &[1], outcome);
        h.left(&[1]);
        h
    };
    told(refused()).breaks(Rule::RefusedRead);
    told(unknown()).holds();
}

#[test]
fn half_a_batch() {
    let mut h = flushed();
    h.send(-1, &[1, 2, 3], unknown());
    let mut half = h.clone();
    half.send(-1, &[4], at(2));
    half.left(&[1, 2, 4]);
    half.breaks(Rule::HalfBatch);
    h.send(-1, &[4], at(3));
    h.left(&[1, 2, 3, 4]);
    h.holds();
}

#[test]
fn doubled() {
    let mut h = flushed();
    h.send_once(0, &[1], unknown());
    h.left(&[1, 1]);
    h.breaks(Rule::Duplicate);
    // Its producer sends again what it did not hear of.
    let mut h = flushed();
    h.send(-1, &[1], unknown());
    h.left(&[1, 1]);
    h.holds();
    // It was lost before it was sent again.
    let mut h = relaxed();
    h.send_once(0, &[1], at(0));
    let op = h.call(0, idempotent(0, 1, &[2]));
    h.read(0, &[1, 2], 2);
    h.crash();
    h.end(op, at(0));
    h.left(&[2]);
    h.holds();
}

#[test]
fn an_offset_has_one_record() {
    let mut h = flushed();
    h.send(-1, &[1], at(0));
    h.send(-1, &[2], at(0));
    let verdict = h.breaks(Rule::OffsetTwice);
    assert!(verdict.violations.iter().any(|violation| violation.rule == Rule::RealTimeOrder));
    let mut h = flushed();
    h.send(-1, &[1], unknown());
    h.send(-1, &[2], unknown());
    h.read(0, &[1], 1);
    h.read(0, &[2], 1);
    h.breaks(Rule::OffsetDisagrees);
    let mut h = flushed();
    h.send_once(0, &[1], at(1));
    h.send(-1, &[2], unknown());
    h.left(&[1, 2]);
    h.breaks(Rule::OffsetDisagrees);
}

#[test]
fn order_of_a_producer() {
    let two = |first: i64, second: i64, values: &[u64]| {
        let mut h = flushed();
        let a = h.call(0, idempotent(0, 0, &[1]));
        let b = h.call(0, idempotent(0, 1, &[2]));
        h.end(b, at(second));
        h.end(a, at(first));
        h.left(values);
        h
    };
    two(0, 1, &[1, 2]).holds();
    two(1, 0, &[2, 1]).breaks(Rule::ProducerOrder);
    // Without idempotence nothing is promised to calls that overlap.
    let mut h = flushed();
    let a = h.call(0, produce(-1, &[1]));
    let b = h.call(0, produce(-1, &[2]));
    h.end(b, at(0));
    h.end(a, at(1));
    h.left(&[2, 1]);
    h.holds();
    // An old epoch behind a new one.
    let mut h = flushed();
    let a = h.call(0, idempotent(0, 0, &[1]));
    let b = h.call(0, idempotent(1, 0, &[2]));
    h.end(b, at(0));
    h.end(a, unknown());
    h.left(&[2, 1]);
    h.breaks(Rule::ProducerOrder);
}

#[test]
fn sequences_have_no_gap_and_no_double() {
    let mut h = flushed();
    h.send_once(0, &[1], at(0));
    h.send_once(1, &[2], unknown());
    h.send_once(2, &[3], at(1));
    h.left(&[1, 3]);
    h.breaks(Rule::Sequence);
    let mut h = flushed();
    h.send_once(0, &[1, 2], at(0));
    h.send_once(1, &[3], at(2));
    h.left(&[1, 2, 3]);
    h.breaks(Rule::Sequence);
    // Numbers begin again behind the last one.
    let mut h = flushed();
    h.send_once(i32::MAX - 1, &[1, 2], at(0));
    h.send_once(0, &[3], at(2));
    h.left(&[1, 2, 3]);
    h.holds();
}

#[test]
fn order_in_real_time() {
    let mut h = flushed();
    h.send(-1, &[1], unknown());
    h.send(-1, &[2], at(1));
    h.send(-1, &[3], unknown());
    h.left(&[3, 2]);
    h.breaks(Rule::RealTimeOrder);
    let mut h = flushed();
    h.send(-1, &[1], unknown());
    h.send(-1, &[2], at(1));
    h.left(&[1, 2]);
    h.holds();
    let mut h = flushed();
    h.send(1, &[1], at(5));
    h.send(1, &[2], at(4));
    h.breaks(Rule::RealTimeOrder);
}

#[test]
fn gaps_and_skips() {
    let skip = |h: &mut History, records: &[Found], next: i64| {
        let outcome =
            Outcome::Fetched { high_watermark: 3, log_start: 0, last_stable: 3, records: records.to_vec(), next };
        h.ask(fetch(0, 0), outcome);
    };
    let mut h = flushed();
    h.send(-1, &[1], at(0));
    h.send(-1, &[3], at(2));
    skip(&mut h, &[found(0, 1), found(2, 3)], 3);
    h.breaks(Rule::OffsetGap);
    let mut h = flushed();
    h.send(-1, &[1, 2, 3], at(0));
    skip(&mut h, &[found(0, 1), found(2, 3)], 3);
    h.left(&[1, 2, 3]);
    h.breaks(Rule::Lost);
    let mut h = flushed();
    h.send(-1, &[1, 2, 3], at(0));
    skip(&mut h, &[found(0, 1)], 2);
    h.left(&[1, 2, 3]);
    h.breaks(Rule::Lost);
    let mut h = flushed();
    h.send(-1, &[1, 2, 3], at(0));
    skip(&mut h, &[found(0, 1), found(1, 2)], 2);
    h.left(&[1, 2, 3]);
    h.holds();
}

#[test]
fn times_and_leader_epochs() {
    let with = |promise: Promise, other: Found| {
        let mut h = History::new(promise);
        h.send(-1, &[1, 2], at(0));
        h.tell(What::FinalReads);
        h.ask(fetch(0, 0), fetched(&[Found { leader_epoch: 4, ..found(0, 1) }, other], 0, 2));
        h
    };
    let good = Found { leader_epoch: 5, ..found(1, 2) };
    with(FLUSHED, good.clone()).holds();
    with(FLUSHED, Found { timestamp: 7, ..good.clone() }).breaks(Rule::Timestamp);
    with(Promise { log_append_time: true, ..FLUSHED }, Found { timestamp: 7, ..good.clone() }).holds();
    with(FLUSHED, Found { leader_epoch: 3, ..good }).breaks(Rule::LeaderEpoch);
}

#[test]
fn marks_go_forward() {
    let mut h = flushed();
    h.send(-1, &[1, 2], at(0));
    let mut behind = h.clone();
    behind.list(Spec::Latest, 1, -1);
    behind.left(&[1, 2]);
    behind.breaks(Rule::HighWatermarkBack);
    // Asked for before it was acknowledged.
    let mut h = flushed();
    let op = h.call(1, Call::ListOffsets { from: part(0), spec: Spec::Latest, isolation: Isolation::Uncommitted });
    h.send(-1, &[1, 2], at(0));
    h.end(op, Outcome::Offset { offset: 0, timestamp: -1 });
    h.left(&[1, 2]);
    h.holds();

    let crashed = |mut h: History| {
        h.list(Spec::Latest, 5, -1);
        h.crash();
        h.list(Spec::Latest, 2, -1);
        h.send(-1, &[1], at(2));
        h
    };
    crashed(flushed()).breaks(Rule::HighWatermarkBack);
    let verdict = crashed(relaxed()).verdict();
    assert!(verdict.violations.is_empty(), "{verdict:?}");
}

#[test]
fn nobody_reads_past_a_mark() {
    let told = |high| {
        let mut h = flushed();
        h.send(-1, &[1, 2], unknown());
        h.ask(
            fetch(0, 0),
            Outcome::Fetched {
                high_watermark: high,
                log_start: 0,
                last_stable: -1,
                records: vec![found(0, 1), found(1, 2)],
                next: 2,
            },
        );
        h.left(&[1, 2]);
        h
    };
    told(1).breaks(Rule::PastMark);
    told(2).holds();
    told(-1).holds();
}

/// What is left behind a log start.
fn from(h: &mut History, start: i64, values: &[u64]) {
    h.tell(What::FinalReads);
    let records: Vec<_> = (start..).zip(values).map(|(o, v)| found(o, *v)).collect();
    let high = start + i64::try_from(values.len()).expect("few");
    h.ask(
        fetch(0, start),
        Outcome::Fetched { high_watermark: high, log_start: start, last_stable: high, records, next: high },
    );
}

#[test]
fn deletion_takes_what_it_was_asked_for() {
    let delete = |before| Call::DeleteRecords { from: part(0), before };
    let mut h = flushed();
    h.send(-1, &[1, 2, 3], at(0));
    let mut never = h.clone();
    from(&mut never, 1, &[2, 3]);
    never.breaks(Rule::Retention);
    let mut refusal = h.clone();
    refusal.ask(delete(2), refused());
    from(&mut refusal, 2, &[3]);
    refusal.breaks(Rule::Retention);
    let mut perhaps = h.clone();
    perhaps.ask(delete(2), unknown());
    let mut kept = perhaps.clone();
    from(&mut perhaps, 2, &[3]);
    perhaps.holds();
    kept.left(&[1, 2, 3]);
    kept.holds();
    h.ask(delete(2), Outcome::LowWatermark { offset: 2 });
    let mut back = h.clone();
    back.left(&[1, 2, 3]);
    back.breaks(Rule::LogStartBack);
    let mut more = h.clone();
    from(&mut more, 3, &[]);
    more.breaks(Rule::Retention);
    from(&mut h, 2, &[3]);
    h.holds();
}

#[test]
fn retention_takes_what_is_old() {
    let day = 86_400_000;
    let told = |wall: Option<i64>, promise: Promise| {
        let mut h = History::new(promise);
        if let Some(wall) = wall {
            h.tell(What::Clock { wall });
        }
        let records = vec![Sent { value: 1, timestamp: 5 * day, key: None }];
        h.ask(Call::Produce { to: part(0), acks: -1, records, idempotent: None, transaction: None }, at(0));
        h.send(-1, &[2], at(1));
        from(&mut h, 1, &[2]);
        h
    };
    let by_time = Promise { retention_ms: Some(day), ..FLUSHED };
    told(Some(5 * day + 1000), by_time.clone()).breaks(Rule::Retention);
    told(Some(6 * day + 1000), by_time.clone()).holds();
    // Nobody knows the time.
    told(None, by_time).holds();
    told(None, Promise { retention_bytes: Some(1), ..FLUSHED }).holds();
    told(None, FLUSHED).breaks(Rule::Retention);
}

#[test]
fn compaction_keeps_the_last_of_a_key() {
    let keyed = |outcome: Outcome| {
        let mut h = History::new(Promise { compacted: true, ..FLUSHED });
        for (value, key) in [(1, "a"), (2, "b"), (3, "a")] {
            let records = vec![Sent { key: Some(key.to_string()), ..sent(value) }];
            let call = Call::Produce { to: part(0), acks: -1, records, idempotent: None, transaction: None };
            let offset = i64::try_from(value).expect("small") - 1;
            h.ask(call, if value == 3 { outcome.clone() } else { at(offset) });
        }
        h
    };
    let mut h = keyed(at(2));
    h.tell(What::FinalReads);
    let mut taken = h.clone();
    h.ask(fetch(0, 0), fetched(&[found(1, 2), found(2, 3)], 0, 3));
    h.holds();
    taken.ask(fetch(0, 0), fetched(&[found(0, 1), found(2, 3)], 0, 3));
    taken.breaks(Rule::Compaction);
    let mut h = keyed(refused());
    h.tell(What::FinalReads);
    h.ask(fetch(0, 0), fetched(&[found(1, 2)], 0, 2));
    h.breaks(Rule::Compaction);
}

#[test]
fn lookups_by_time() {
    let look = |spec, offset, timestamp| {
        let mut h = flushed();
        h.send(-1, &[10, 20, 15, 30], at(0));
        h.list(spec, offset, timestamp);
        h.left(&[10, 20, 15, 30]);
        h
    };
    look(Spec::At(12), 1, 20).holds();
    look(Spec::At(12), 2, 15).breaks(Rule::TimeLookup);
    look(Spec::At(12), 0, 10).breaks(Rule::TimeLookup);
    look(Spec::At(12), 1, 19).breaks(Rule::TimeLookup);
    look(Spec::At(31), -1, -1).holds();
    look(Spec::At(30), -1, -1).breaks(Rule::TimeLookup);
    look(Spec::MaxTimestamp, 3, 30).holds();
    look(Spec::MaxTimestamp, 1, 20).breaks(Rule::MaxTimestamp);
    look(Spec::MaxTimestamp, -1, -1).breaks(Rule::MaxTimestamp);
    // It need not see what was acknowledged while it was asked.
    let mut h = flushed();
    h.send(-1, &[10], at(0));
    let op = h.call(1, Call::ListOffsets { from: part(0), spec: Spec::At(12), isolation: Isolation::Uncommitted });
    h.send(-1, &[20], at(1));
    h.end(op, Outcome::Offset { offset: -1, timestamp: -1 });
    h.left(&[10, 20]);
    h.holds();
    // Nor what was deleted meanwhile.
    let mut h = flushed();
    h.send(-1, &[10, 20], at(0));
    h.ask(Call::DeleteRecords { from: part(0), before: 1 }, Outcome::LowWatermark { offset: 1 });
    h.list(Spec::At(5), 1, 20);
    from(&mut h, 1, &[20]);
    h.holds();
}

#[test]
fn a_topic_made_again_is_another() {
    let again = |outcome: Outcome, deleted_first: bool| {
        let mut h = flushed();
        let delete = Call::DeleteTopic { topic: "t".to_string(), incarnation: 0 };
        if !deleted_first {
            h.send(-1, &[1], outcome.clone());
        }
        h.ask(delete, Outcome::Done);
        if deleted_first {
            h.send(-1, &[1], outcome);
        }
        let create = Call::CreateTopic { topic: "t".to_string(), incarnation: 1, partitions: 1, promise: FLUSHED };
        h.ask(create, Outcome::Done);
        let from = Partition { incarnation: 1, ..part(0) };
        h.tell(What::FinalReads);
        let call = Call::Fetch { from, offset: 0, isolation: Isolation::Uncommitted };
        h.ask(call, fetched(&[found(0, 1)], 0, 1));
        h
    };
    again(at(0), false).breaks(Rule::Incarnation);
    // It came too late for the old one.
    again(unknown(), true).holds();
    again(at(0), true).holds();
}

#[test]
fn a_deleted_topic_owes_nothing() {
    let mut h = flushed();
    h.send(-1, &[1], at(0));
    h.ask(Call::DeleteTopic { topic: "t".to_string(), incarnation: 0 }, unknown());
    h.tell(What::FinalReads);
    h.holds();
    let mut h = flushed();
    h.send(-1, &[1], at(0));
    h.ask(Call::DeleteTopic { topic: "t".to_string(), incarnation: 0 }, refused());
    h.left(&[]);
    h.breaks(Rule::Lost);
}

#[test]
fn a_topic_that_nobody_made_promises_nothing() {
    let mut h = flushed();
    let to = Partition { topic: "other".to_string(), incarnation: 0, partition: 0 };
    let by = Idempotent { producer_id: 1, epoch: 0, sequence: 0 };
    h.ask(Call::Produce { to, acks: -1, records: vec![sent(1)], idempotent: Some(by), transaction: None }, at(0));
    h.lacks("the creation of topic other");
    History::default().lacks("anything to judge");
}
