//! Order, at the end: batches of an idempotent producer by epoch and sequence, and all batches by when they were sent.

use super::judge::Judge;
use super::rule::Rule;
use super::sends::Batch;
use super::verdict::Span;

/// Sequences begin again at 0 behind this.
const SEQUENCES: i64 = 1 << 31;

pub(super) fn judge(judge: &mut Judge) {
    for log in 0..judge.logs.len() {
        by_producer(judge, log);
        by_time(judge, log);
    }
}

/// A commit is asked for: the last stable offset must not be beyond its records yet.
pub(super) fn note_open(judge: &mut Judge, transaction: u32) {
    for index in judge.transactions.batches(transaction).to_vec() {
        let batch = judge.sends.batches[index as usize].clone();
        let stable = judge.marks(batch.log).stable;
        let open =
            batch.durable && !batch.stale && batch.acknowledged().is_some_and(|base| (0..stable.at).contains(&base));
        if open {
            judge.transactions.passed(transaction, index, stable);
        }
    }
}

/// It was committed, so it was open until then.
pub(super) fn judge_open(judge: &mut Judge, transaction: u32, commit: Span) {
    for (index, stable) in judge.transactions.take_passed(transaction) {
        let batch = &judge.sends.batches[index as usize];
        let (base, name) = (batch.base().unwrap_or(0), judge.logs[batch.log as usize].name());
        judge.report.add(Rule::OpenTransactionRead, &[batch.span, stable.by, commit], || {
            format!("{name}: the last stable offset was {} while the transaction of offset {base} was open", stable.at)
        });
    }
}

/// Where a batch is for good.
fn settled(judge: &Judge, log: usize, index: u32) -> Option<i64> {
    let batch = &judge.sends.batches[index as usize];
    if batch.log as usize != log || batch.stale {
        return None;
    }
    if batch.durable
        && let Some(base) = batch.acknowledged().filter(|base| *base >= 0)
    {
        return Some(base);
    }
    let base = batch.base()?;
    let there = (0..batch.count).any(|place| {
        let slot = judge.logs[log].slots.get(&(base.saturating_add(i64::from(place))));
        slot.is_some_and(|slot| slot.record == batch.first + place && (slot.durable || slot.in_final))
    });
    there.then_some(base)
}

/// What batches of one producer are compared by, and which they are.
type Placed = (i64, i16, i64, i64, u32);

fn by_producer(judge: &mut Judge, log: usize) {
    let mut placed: Vec<Placed> = Vec::new();
    let mut wraps = false;
    for index in &judge.logs[log].batches {
        let batch = &judge.sends.batches[*index as usize];
        if let (Some(by), Some(base)) = (batch.idempotent, settled(judge, log, *index)) {
            placed.push((by.producer_id, by.epoch, i64::from(by.sequence), base, *index));
            wraps |= i64::from(by.sequence) + i64::from(batch.count) >= SEQUENCES;
        }
    }
    if wraps {
        // The low ones came after the high ones.
        for entry in &mut placed {
            entry.2 += if entry.2 < SEQUENCES / 2 { SEQUENCES } else { 0 };
        }
    }
    placed.sort_unstable();
    for pair in placed.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let ((producer, epoch, sequence, base, index), (_, later, next, behind, other)) = (pair[0], pair[1]);
        let (a, b) = (&judge.sends.batches[index as usize], &judge.sends.batches[other as usize]);
        let (spans, name) = ([a.span, b.span], judge.logs[log].name());
        let due = sequence + i64::from(a.count);
        if epoch == later && next < due {
            judge.report.add(Rule::Sequence, &spans, || {
                format!("{name}: of producer {producer}, epoch {epoch}, sequence {next} is in the log at {base} and at {behind}")
            });
        } else if base >= behind {
            judge.report.add(Rule::ProducerOrder, &spans, || {
                format!(
                    "{name}: of producer {producer}, epoch {epoch} sequence {sequence} is at offset {base}, and \
                     epoch {later} sequence {next} at {behind}"
                )
            });
        } else if epoch == later && next > due && nothing_between(judge, log, (base, behind), (a, b)) {
            judge.report.add(Rule::Sequence, &spans, || {
                format!(
                    "{name}: of producer {producer}, epoch {epoch}, sequence {next} at offset {behind} follows {} at \
                     {base}; {due} was due",
                    due - 1
                )
            });
        }
    }
}

/// Everything between two batches was read back at the end, and is somebody else's.
fn nothing_between(judge: &Judge, log: usize, (base, behind): (i64, i64), (a, b): (&Batch, &Batch)) -> bool {
    let slots = &judge.logs[log].slots;
    let read_back = |offset: i64| slots.get(&offset).is_some_and(|slot| slot.in_final);
    a.count > 0
        && b.count > 0
        && !judge.topics.all[judge.logs[log].topic].ever_compacted
        && (base..=behind).all(read_back)
}

/// A batch of unknown outcome that is there is also behind what was acknowledged before it was sent.
fn by_time(judge: &mut Judge, log: usize) {
    for at in 0..judge.logs[log].batches.len() {
        let index = judge.logs[log].batches[at];
        let batch = &judge.sends.batches[index as usize];
        if batch.acknowledged().is_some() || batch.seen_base.is_none_or(|base| base >= batch.floor.0) {
            continue;
        }
        let Some(base) = settled(judge, log, index) else { continue };
        let floor = batch.floor;
        // What was not flushed may have gone since, and the floor with it.
        let firm = judge.logs[log].slots.get(&(floor.0 - 1)).is_some_and(|slot| {
            (slot.durable || slot.in_final) && judge.sends.batch_of(slot.record).span.before(batch.span)
        });
        if firm && base < floor.0 {
            let (spans, name) = ([floor.1, batch.span], judge.logs[log].name());
            judge.report.add(Rule::RealTimeOrder, &spans, || {
                format!(
                    "{name}: a batch is at offset {base}, although the log had reached {} before it was sent",
                    floor.0
                )
            });
        }
    }
}
