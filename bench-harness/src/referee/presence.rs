//! What must be in the log, at the end: every acknowledged record, and what readers saw, where it is not lawfully gone; and what
//! readers skipped.

use super::judge::Judge;
use super::log::{Hole, Mark, Slot, holds, merged};
use super::retention::Keys;
use super::rule::Rule;
use super::sends::Batch;
use super::transactions::End;
use super::verdict::Span;

/// A partition as it was read back.
struct Left<'a> {
    covered: Vec<(i64, i64)>,
    end: Option<Mark>,
    start: i64,
    /// Offsets in order, each with what is there.
    sorted: Vec<(i64, &'a Slot)>,
    /// At each of them, the earliest life by the end of which something there or behind it, which is still there, was written.
    written: Vec<u32>,
    holes: Vec<Hole>,
    keys: Keys,
}

/// What the end says of one offset.
enum Reading {
    There,
    /// And who shows it.
    Gone(Span),
    Lawful,
    Unread,
}

/// Why a record must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Must {
    No,
    Acknowledged,
    Seen,
    /// The high watermark went past it.
    Vouched(Span),
    /// Another record of its batch was seen.
    Whole,
}

pub(super) fn judge(judge: &mut Judge) {
    for log in 0..judge.logs.len() {
        let of = &judge.logs[log];
        let topic = &judge.topics.all[of.topic];
        if topic.deletion.is_some() || (of.slots.is_empty() && of.batches.is_empty() && of.holes.is_empty()) {
            continue;
        }
        if !topic.known {
            let what = format!("the creation of topic {}, with what it promises", topic.name);
            judge.report.miss(what);
            continue;
        }
        let found = judge_log(judge, log);
        for (rule, spans, what) in found.wrong {
            judge.report.add(rule, &spans, || what);
        }
        if let Some((from, to)) = found.unread {
            let name = judge.logs[log].name();
            judge.report.miss(format!("a final read of {name}, offsets {from} to {to}"));
        }
    }
}

#[derive(Default)]
struct Found {
    wrong: Vec<(Rule, Vec<Span>, String)>,
    /// Offsets that nobody read back and that something must be at: the lowest and the highest.
    unread: Option<(i64, i64)>,
}

impl Found {
    fn unread(&mut self, offset: i64) {
        let (from, to) = self.unread.unwrap_or((offset, offset));
        self.unread = Some((from.min(offset), to.max(offset)));
    }
}

fn judge_log(judge: &Judge, log: usize) -> Found {
    let left = left(judge, log);
    let mut found = Found::default();
    for index in &judge.logs[log].batches {
        let batch = &judge.sends.batches[*index as usize];
        if batch.log as usize == log && batch.count > 0 && is_for_all(judge, batch) {
            judge_batch(judge, log, &left, batch, &mut found);
        }
    }
    for hole in &left.holes {
        judge_hole(judge, log, &left, hole, &mut found);
    }
    if let (None, Some((last, _))) = (left.end, left.sorted.last())
        && found.unread.is_none()
        && !holds(&left.covered, *last)
    {
        found.unread(*last);
    }
    found
}

fn left(judge: &Judge, log: usize) -> Left<'_> {
    let of = &judge.logs[log];
    let mut sorted: Vec<(i64, &Slot)> = of.slots.iter().map(|(offset, slot)| (*offset, slot)).collect();
    sorted.sort_unstable_by_key(|(offset, _)| *offset);
    let mut written = vec![u32::MAX; sorted.len()];
    let mut earliest = u32::MAX;
    for (at, (_, slot)) in sorted.iter().enumerate().rev() {
        if slot.in_final {
            // By when it was answered for; without an answer it may have been written at any time.
            earliest = earliest.min(judge.sends.batch_of(slot.record).lives.last);
        }
        written[at] = earliest;
    }
    Left {
        covered: merged(of.covered.clone()),
        end: of.final_end,
        start: of.highest_start(),
        sorted,
        written,
        holes: of.holes.clone(),
        keys: Keys::of(judge, log),
    }
}

impl Left<'_> {
    /// The earliest life by the end of which something behind an offset, that is still there, was written.
    fn behind(&self, offset: i64) -> u32 {
        let at = self.sorted.partition_point(|(o, _)| *o <= offset);
        self.written.get(at).copied().unwrap_or(u32::MAX)
    }

    fn reading(&self, judge: &Judge, log: usize, record: u32, offset: i64) -> Reading {
        let slot = judge.logs[log].slots.get(&offset);
        if offset < self.start {
            return Reading::Lawful;
        }
        if let Some(slot) = slot.filter(|slot| slot.in_final) {
            return if slot.record == record { Reading::There } else { Reading::Gone(slot.by) };
        }
        if let Some(end) = self.end.filter(|end| offset >= end.at) {
            return Reading::Gone(end.by);
        }
        if holds(&self.covered, offset) { Reading::Gone(self.hole_at(offset)) } else { Reading::Unread }
    }

    /// A reader that went past an offset: the last one.
    fn hole_at(&self, offset: i64) -> Span {
        let at = self.holes.iter().rev().find(|hole| hole.from <= offset && offset < hole.to);
        at.map_or(Span::NONE, |hole| hole.by)
    }
}

/// Who reads committed records gets it, too.
fn is_for_all(judge: &Judge, batch: &Batch) -> bool {
    batch.transaction.is_none_or(|index| {
        judge.transactions.is_seen(index) || matches!(judge.transactions.end_of(index), End::Committed(_))
    })
}

/// Why a record of a batch must be at an offset.
fn must(judge: &Judge, log: usize, left: &Left<'_>, batch: &Batch, record: u32, offset: i64) -> Must {
    let of = &judge.logs[log];
    let topic = &judge.topics.all[of.topic];
    let here = of.slots.get(&offset).filter(|slot| slot.record == record);
    let acknowledged = batch.acknowledged().is_some_and(|base| base >= 0) && !batch.stale && batch.acks != 0;
    if acknowledged && (batch.durable || batch.lives.first == judge.life) {
        return Must::Acknowledged;
    }
    let lives = batch.lives;
    if acknowledged && lives.first == lives.last {
        let vouched = of.vouched_in(lives.first).filter(|mark| mark.at > offset);
        if let (Some(mark), true) = (vouched, topic.is_durable(batch.span.call)) {
            return Must::Vouched(mark.by);
        }
        // A crash takes the newest: something newer is left.
        if left.behind(offset) <= lives.first {
            return Must::Acknowledged;
        }
    }
    match here {
        Some(slot) if slot.seen && (slot.durable || slot.lives.first == judge.life) => Must::Seen,
        _ => Must::No,
    }
}

fn judge_batch(judge: &Judge, log: usize, left: &Left<'_>, batch: &Batch, found: &mut Found) {
    let Some(base) = batch.base() else {
        if batch.durable && batch.once() {
            unplaced(judge, log, left, batch, found);
        }
        return;
    };
    let records = || (0..batch.count).map(|place| (batch.first + place, base.saturating_add(i64::from(place))));
    let whole = records().any(|(record, offset)| {
        let slot = judge.logs[log].slots.get(&offset);
        slot.is_some_and(|slot| slot.record == record && slot.in_final)
    });
    for (record, offset) in records() {
        let why = match must(judge, log, left, batch, record, offset) {
            Must::No if whole => Must::Whole,
            Must::No => continue,
            why => why,
        };
        match left.reading(judge, log, record, offset) {
            Reading::There | Reading::Lawful => {}
            Reading::Unread if judge.final_reads.is_none() || why != Must::Whole => found.unread(offset),
            Reading::Unread => {}
            Reading::Gone(_) if left.keys.newer(judge.sends.records[record as usize].key, offset) => {}
            Reading::Gone(by) => {
                found.wrong.push(gone(judge, log, left, batch, (record, offset), why, by));
                return;
            }
        }
    }
}

/// An acknowledged batch, of which nobody was told where it is, is somewhere.
fn unplaced(judge: &Judge, log: usize, left: &Left<'_>, batch: &Batch, found: &mut Found) {
    let all = left
        .end
        .is_some_and(|end| end.at == 0 || left.covered.first().is_some_and(|all| all.0 == 0 && all.1 >= end.at));
    let value = judge.sends.records[batch.first as usize].value;
    let name = judge.logs[log].name();
    if all && left.start == 0 && !judge.topics.all[judge.logs[log].topic].ever_compacted {
        let what = format!("{name}: value {value} was acknowledged and is nowhere");
        found.wrong.push((Rule::Lost, vec![batch.span], what));
    } else if left.end.is_none() {
        found.unread(0);
    }
}

fn gone(
    judge: &Judge,
    log: usize,
    left: &Left<'_>,
    batch: &Batch,
    (record, offset): (u32, i64),
    why: Must,
    by: Span,
) -> (Rule, Vec<Span>, String) {
    let of = &judge.logs[log];
    let value = judge.sends.records[record as usize].value;
    let here = of.slots.get(&offset);
    let now = match (here.filter(|slot| slot.in_final), left.end) {
        (Some(slot), _) => format!("value {} is there", judge.sends.records[slot.record as usize].value),
        (None, Some(end)) if offset >= end.at => format!("the log ends at {}", end.at),
        _ => "nothing is there".to_string(),
    };
    let seen = here.filter(|slot| slot.record == record && slot.seen).map_or(Span::NONE, |slot| slot.by);
    let (rule, said, shown) = match why {
        Must::Vouched(mark) => (Rule::Vanished, "was acknowledged by acks=1, the high watermark went past it", mark),
        Must::Seen => (Rule::Vanished, "was read", seen),
        _ if batch.transaction.is_some_and(|index| judge.transactions.is_seen(index)) => {
            (Rule::HalfVisible, "is of a transaction that was read as committed, and belongs", seen)
        }
        _ if judge.topics.all[of.topic].ever_compacted
            && left.end.is_none_or(|end| offset < end.at)
            && here.is_none_or(|slot| slot.record == record) =>
        {
            (Rule::Compaction, "has the last record of its key, and was", seen)
        }
        Must::Whole => (Rule::HalfBatch, "belongs there, as the rest of its batch is there", Span::NONE),
        Must::Acknowledged | Must::No => (Rule::Lost, "was acknowledged", seen),
    };
    let what = format!("{}: value {value} {said} at offset {offset}; {now}", of.name());
    (rule, vec![batch.span, shown, by], what)
}

/// A reader that went past offsets: nothing may be there but what lawfully leaves no record.
fn judge_hole(judge: &Judge, log: usize, left: &Left<'_>, hole: &Hole, found: &mut Found) {
    let of = &judge.logs[log];
    let topic = &judge.topics.all[of.topic];
    let from = left.sorted.partition_point(|(offset, _)| *offset < hole.from);
    let mut known = left.sorted[from..].iter().take_while(|(offset, _)| *offset < hole.to);
    let skipped = known.find(|(offset, slot)| {
        let there = match slot.durable {
            true => hole.lives.first >= slot.lives.last || slot.by.before(hole.by),
            false => slot.lives.surely_with(hole.lives),
        };
        let key = judge.sends.records[slot.record as usize].key;
        there && is_for_all(judge, judge.sends.batch_of(slot.record)) && !left.keys.newer(key, *offset)
    });
    let name = of.name();
    if let Some((offset, slot)) = skipped {
        let value = judge.sends.records[slot.record as usize].value;
        let batch = judge.sends.batch_of(slot.record).span;
        let what =
            format!("{name}: a reader went from {} to {} past value {value} at offset {offset}", hole.from, hole.to);
        let rule = if topic.ever_compacted { Rule::Compaction } else { Rule::Lost };
        found.wrong.push((rule, vec![batch, slot.by, hole.by], what));
    } else if !topic.ever_compacted && !of.transactional {
        let what = format!("{name}: a reader went from offset {} to {}, and nothing is between", hole.from, hole.to);
        found.wrong.push((Rule::OffsetGap, vec![hole.by], what));
    }
}
