//! Valid histories with one lie in them: the referee must see it, and call it by its name.

use crate::model::history;
use ringlog_bench_harness::referee::history::{Call, Event, Found, Idempotent, Outcome, Spec, What};
use ringlog_bench_harness::referee::{Rule, judge};
use ringlog_bench_harness::sim::random::Random;
use std::collections::{HashMap, HashSet};

const SEEDS: u64 = 300;

/// What a record at another place may be taken for, by what else is known of it and of the place.
const ELSEWHERE: [Rule; 6] =
    [Rule::OffsetDisagrees, Rule::Duplicate, Rule::HalfBatch, Rule::OffsetGap, Rule::Timestamp, Rule::Lost];

/// Changes a history into a wrong one; false: it offers no place for this lie.
type Lie = fn(&mut [Event], &mut Random) -> bool;

/// An answer of the final reads, with records, of the topic without exceptions.
fn answers<'a>(history: &'a mut [Event], random: &mut Random) -> Option<&'a mut Vec<Found>> {
    let mut from_here = false;
    let mut ours = HashSet::new();
    let mut places = Vec::new();
    for (at, event) in history.iter().enumerate() {
        match &event.what {
            What::FinalReads => from_here = true,
            What::Call { op, call: Call::Fetch { from, .. }, .. } if from_here && from.topic == "flushed" => {
                ours.insert(*op);
            }
            What::Return { op, outcome: Outcome::Fetched { records, .. } }
                if records.len() > 2 && ours.contains(op) =>
            {
                places.push(at);
            }
            _ => {}
        }
    }
    if places.is_empty() {
        return None;
    }
    let at = *random.pick(&places);
    match &mut history[at].what {
        What::Return { outcome: Outcome::Fetched { records, .. }, .. } => Some(records),
        _ => None,
    }
}

fn change(history: &mut [Event], random: &mut Random, how: impl FnOnce(&mut Vec<Found>, usize)) -> bool {
    let mut other = random.clone();
    let Some(records) = answers(history, random) else { return false };
    let at = 1 + usize::try_from(other.below(records.len() as u64 - 2)).expect("few");
    how(records, at);
    true
}

fn drop_record(history: &mut [Event], random: &mut Random) -> bool {
    change(history, random, |records, at| {
        records.remove(at);
    })
}

/// Values whose place is known: acknowledged, of idempotent producers.
fn placed(history: &[Event]) -> HashSet<u64> {
    let batches = acknowledged(history, |call| matches!(call, Call::Produce { idempotent: Some(_), .. }));
    let records = batches.into_iter().filter_map(|(call, _)| match call {
        Call::Produce { records, .. } => Some(records),
        _ => None,
    });
    records.flatten().map(|sent| sent.value).collect()
}

/// Puts a record whose place is known where its neighbour is: in its stead, or in exchange.
fn to_neighbour(history: &mut [Event], random: &mut Random, exchange: bool) -> bool {
    let placed = placed(history);
    let Some(records) = answers(history, random) else { return false };
    let known = |found: &Found| found.value.is_some_and(|value| placed.contains(&value));
    let Some(at) = records.iter().take(records.len() - 1).position(known) else { return false };
    let other = records[at + 1].value;
    records[at + 1].value = records[at].value;
    if exchange {
        records[at].value = other;
    }
    true
}

fn swap(history: &mut [Event], random: &mut Random) -> bool {
    to_neighbour(history, random, true)
}

fn double(history: &mut [Event], random: &mut Random) -> bool {
    to_neighbour(history, random, false)
}

fn shift(history: &mut [Event], random: &mut Random) -> bool {
    change(history, random, |records, at| records[at..].iter_mut().for_each(|found| found.offset += 1))
}

fn damage(history: &mut [Event], random: &mut Random) -> bool {
    change(history, random, |records, at| records[at].value = None)
}

fn invent(history: &mut [Event], random: &mut Random) -> bool {
    change(history, random, |records, at| records[at].value = Some(u64::MAX))
}

fn age(history: &mut [Event], random: &mut Random) -> bool {
    change(history, random, |records, at| records[at].timestamp += 1)
}

fn demote(history: &mut [Event], random: &mut Random) -> bool {
    change(history, random, |records, at| records[at].leader_epoch = records[at - 1].leader_epoch + 1000)
}

/// Values that the final reads got.
fn seen(history: &[Event]) -> HashSet<u64> {
    let last = history.iter().skip_while(|event| event.what != What::FinalReads);
    let records = last.filter_map(|event| match &event.what {
        What::Return { outcome: Outcome::Fetched { records, .. }, .. } => Some(records),
        _ => None,
    });
    records.flatten().filter_map(|found| found.value).collect()
}

/// The answers to batches of the topic without exceptions that a predicate takes: their calls and places.
fn acknowledged(history: &[Event], take: impl Fn(&Call) -> bool) -> Vec<(Call, usize)> {
    let mut calls = HashMap::new();
    let mut found = Vec::new();
    for (at, event) in history.iter().enumerate() {
        match &event.what {
            What::Call { op, call: call @ Call::Produce { to, .. }, .. } if to.topic == "flushed" && take(call) => {
                calls.insert(*op, call.clone());
            }
            What::Return { op, outcome: Outcome::Produced { base_offset, .. } } if *base_offset >= 0 => {
                found.extend(calls.remove(op).map(|call| (call, at)));
            }
            _ => {}
        }
    }
    found
}

/// Batches whose first record readers got.
fn acknowledged_and_seen(history: &[Event]) -> Vec<(Call, usize)> {
    let seen = seen(history);
    acknowledged(history, |call| matches!(call, Call::Produce { records, .. } if seen.contains(&records[0].value)))
}

fn take_back(history: &mut [Event], random: &mut Random) -> bool {
    let places = acknowledged_and_seen(history);
    let Some((_, at)) = (!places.is_empty()).then(|| random.pick(&places)) else { return false };
    let What::Return { outcome, .. } = &mut history[*at].what else { return false };
    *outcome = crate::build::refused();
    true
}

fn misplace(history: &mut [Event], random: &mut Random) -> bool {
    let mut places = acknowledged_and_seen(history);
    // While a topic is deleted nobody knows which one of its name an acknowledgement is of.
    let deleted = |event: &Event| matches!(&event.what, What::Call { call: Call::DeleteTopic { .. }, .. });
    if history.iter().any(deleted) {
        return false;
    }
    places.retain(|(call, _)| matches!(call, Call::Produce { idempotent: Some(_), .. }));
    let Some((_, at)) = (!places.is_empty()).then(|| random.pick(&places)) else { return false };
    let What::Return { outcome: Outcome::Produced { base_offset, .. }, .. } = &mut history[*at].what else {
        return false;
    };
    *base_offset += 1;
    true
}

/// A batch claims to have been sent after the next one of its producer.
fn turn_sequences(history: &mut [Event], random: &mut Random) -> bool {
    let places = acknowledged_and_seen(history);
    let mut by_producer: HashMap<_, Vec<Idempotent>> = HashMap::new();
    for (call, _) in places {
        if let Call::Produce { to, idempotent: Some(by), .. } = call {
            by_producer.entry((to, by.producer_id, by.epoch)).or_default().push(by);
        }
    }
    let mut pairs: Vec<_> = by_producer.into_iter().filter(|(_, of)| of.len() > 1).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let Some(((to, ..), of)) = (!pairs.is_empty()).then(|| random.pick(&pairs)) else { return false };
    for event in history.iter_mut() {
        if let What::Call { call: Call::Produce { to: other, idempotent: Some(by), .. }, .. } = &mut event.what
            && other == to
            && *by == of[0]
        {
            by.sequence = of[1].sequence + 1000;
        }
    }
    true
}

fn answer_of(history: &mut [Event], wanted: impl Fn(&Call) -> bool, random: &mut Random) -> Option<usize> {
    let (mut ours, mut places, mut from_here) = (HashSet::new(), Vec::new(), false);
    for (at, event) in history.iter().enumerate() {
        match &event.what {
            What::FinalReads => from_here = true,
            What::Call { op, call, .. } if from_here && wanted(call) => drop(ours.insert(*op)),
            What::Return { op, .. } if ours.contains(op) => places.push(at),
            _ => {}
        }
    }
    (!places.is_empty()).then(|| *random.pick(&places))
}

/// Where a reader came to the end, the end is said to be before that.
fn lower_mark(history: &mut [Event], random: &mut Random) -> bool {
    let at_end = |call: &Call| matches!(call, Call::Fetch { offset, .. } if *offset > 0);
    let Some(at) = answer_of(history, at_end, random) else { return false };
    let What::Return { outcome: Outcome::Fetched { high_watermark, last_stable, records, .. }, .. } =
        &mut history[at].what
    else {
        return false;
    };
    (*high_watermark, *last_stable) = (*high_watermark - 1, -1);
    records.is_empty()
}

fn forget_commit(history: &mut [Event], random: &mut Random) -> bool {
    let Some(at) = answer_of(history, |call| matches!(call, Call::Committed { .. }), random) else { return false };
    let What::Return { outcome: Outcome::Offsets { offsets }, .. } = &mut history[at].what else { return false };
    let told = std::mem::replace(&mut offsets[0].1, 0);
    told > 0
}

fn skip_in_lookup(history: &mut [Event], random: &mut Random) -> bool {
    let wanted = |call: &Call| match call {
        Call::ListOffsets { from, spec: Spec::At(_), .. } => from.topic == "flushed",
        _ => false,
    };
    let Some(at) = answer_of(history, wanted, random) else { return false };
    let What::Return { outcome: Outcome::Offset { offset, timestamp }, .. } = &mut history[at].what else {
        return false;
    };
    let there = *offset >= 0;
    (*offset, *timestamp) = (-1, -1);
    there
}

fn forget_delete(history: &mut [Event], _random: &mut Random) -> bool {
    let mut starts = Vec::new();
    for event in history.iter() {
        if let What::Call { op, call: Call::DeleteRecords { .. }, .. } = &event.what {
            starts.push(*op);
        }
    }
    let took = history.iter().any(|event| {
        matches!(&event.what, What::Return { outcome: Outcome::Fetched { log_start, .. }, .. } if *log_start > 0)
    });
    for event in history.iter_mut() {
        match &mut event.what {
            What::Call { op, call, .. } if starts.contains(op) => {
                *call = Call::Committed { group: "g".to_string(), of: Vec::new() };
            }
            What::Return { op, outcome } if starts.contains(op) => *outcome = crate::build::unknown(),
            _ => {}
        }
    }
    took
}

fn is_caught(lie: Lie, by: &[Rule]) {
    let mut told = 0;
    for seed in 0..SEEDS {
        let mut random = Random::stream(seed, "lie");
        let mut history = history(seed, 400);
        if !lie(&mut history, &mut random) {
            continue;
        }
        told += 1;
        let verdict = judge(&history);
        let rules: Vec<Rule> = verdict.violations.iter().map(|violation| violation.rule).collect();
        assert!(
            rules.iter().any(|rule| by.contains(rule)),
            "seed {seed}: {rules:?}, not {by:?}\n{}",
            verdict.explain_of(&history)
        );
    }
    assert!(told >= SEEDS / 8, "only {told} histories offered a place for this lie");
}

#[test]
fn a_dropped_record() {
    is_caught(drop_record, &[Rule::Lost, Rule::Vanished, Rule::HalfBatch, Rule::OffsetGap]);
}

#[test]
fn swapped_records() {
    is_caught(swap, &ELSEWHERE);
}

#[test]
fn a_doubled_record() {
    is_caught(double, &ELSEWHERE);
}

#[test]
fn shifted_records() {
    is_caught(shift, &ELSEWHERE);
}

#[test]
fn a_damaged_record() {
    is_caught(damage, &[Rule::Damaged]);
}

#[test]
fn an_invented_record() {
    is_caught(invent, &[Rule::Invented]);
}

#[test]
fn another_time() {
    is_caught(age, &[Rule::Timestamp]);
}

#[test]
fn a_falling_leader_epoch() {
    is_caught(demote, &[Rule::LeaderEpoch]);
}

#[test]
fn an_acknowledgement_taken_back() {
    is_caught(take_back, &[Rule::RefusedRead]);
}

#[test]
fn an_acknowledgement_at_another_offset() {
    is_caught(misplace, &[Rule::OffsetDisagrees, Rule::OffsetTwice]);
}

#[test]
fn sequences_turned_round() {
    is_caught(turn_sequences, &[Rule::ProducerOrder, Rule::Sequence]);
}

#[test]
fn a_lowered_high_watermark() {
    is_caught(lower_mark, &[Rule::HighWatermarkBack, Rule::Retention]);
}

#[test]
fn a_forgotten_commit() {
    is_caught(forget_commit, &[Rule::CommittedOffset]);
}

#[test]
fn a_lookup_that_finds_nothing() {
    is_caught(skip_in_lookup, &[Rule::TimeLookup]);
}

#[test]
fn a_deletion_that_nobody_asked_for() {
    is_caught(forget_delete, &[Rule::Retention]);
}
