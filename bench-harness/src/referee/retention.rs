//! What retention, DeleteRecords and compaction took, against what they may take.

use super::judge::Judge;
use super::log::{Log, Slot, Start};
use super::rule::Rule;
use super::sends::{Fate, Map};
use super::verdict::Span;

/// How far the broker's clock may be off what the history tells of it, ms.
const SLACK_MS: i64 = 1000;

/// The broker's wall clock, as far as the history tells.
#[derive(Debug, Default)]
pub(super) struct Wall {
    /// When it was told, us, and what.
    told: Option<(u64, i64)>,
    latest: Option<i64>,
}

impl Wall {
    pub(super) fn set(&mut self, at: u64, wall: i64) {
        self.latest_at(at);
        self.told = Some((at, wall));
    }

    /// The latest time, ms since 1970, that it showed until now.
    pub(super) fn latest_at(&mut self, at: u64) -> Option<i64> {
        if let Some((since, wall)) = self.told {
            let now = wall.saturating_add((at.saturating_sub(since) / 1000).cast_signed());
            self.latest = Some(self.latest.map_or(now, |latest| latest.max(now)));
        }
        self.latest
    }
}

pub(super) fn judge(judge: &mut Judge) {
    for log in 0..judge.logs.len() {
        let of = &judge.logs[log];
        let topic = &judge.topics.all[of.topic];
        if !topic.known || topic.by_size || of.starts.is_empty() {
            continue;
        }
        let mut wrong = Vec::new();
        let mut before = 0;
        for start in &of.starts {
            wrong.extend(taken(judge, of, before, start));
            before = start.at;
        }
        for (spans, what) in wrong {
            judge.report.add(Rule::Retention, &spans, || what);
        }
    }
}

/// What is wrong with a log start that was at `before`.
fn taken(judge: &Judge, log: &Log, before: i64, start: &Start) -> Option<(Vec<Span>, String)> {
    let topic = &judge.topics.all[log.topic];
    let deletions = judge.deletions(log);
    let asked = deletions.iter().filter(|(of, _)| of.call < start.by.ret);
    let asked = asked.map(|(_, before)| if *before < 0 { i64::MAX } else { *before }).max().unwrap_or(0);
    if start.at <= asked {
        return None;
    }
    let name = log.name();
    let Some(ms) = topic.shortest_ms else {
        let what =
            format!("{name}: the log begins at {}; nobody deleted more than the records before {asked}", start.at);
        return Some((vec![start.by], what));
    };
    let now = start.wall?;
    let young = |offset: i64, slot: &Slot| {
        let told = slot.durable || slot.seen;
        (told && slot.timestamp > i64::MIN && now.saturating_sub(slot.timestamp).saturating_add(SLACK_MS) < ms)
            .then_some((offset, *slot))
    };
    let (offset, slot) = match start.at.saturating_sub(before.max(asked)) <= log.slots.len() as i64 {
        true => (before.max(asked)..start.at).find_map(|offset| young(offset, log.slots.get(&offset)?))?,
        false => {
            let taken = log.slots.iter().filter(|(offset, _)| (before.max(asked)..start.at).contains(*offset));
            taken.filter_map(|(offset, slot)| young(*offset, slot)).min_by_key(|(offset, _)| *offset)?
        }
    };
    let what = format!(
        "{name}: the log begins at {}; offset {offset} has time {}, {} ms before the latest time it can be, and records are \
         kept for {ms} ms",
        start.at,
        slot.timestamp,
        now.saturating_sub(slot.timestamp)
    );
    Some((vec![judge.sends.batch_of(slot.record).span, slot.by, start.by], what))
}

/// The highest offset that each key may have; `None`: of a record that may be anywhere.
pub(super) struct Keys(Map<u64, i64>);

impl Keys {
    pub(super) fn of(judge: &Judge, log: usize) -> Keys {
        let mut keys: Map<u64, i64> = Map::default();
        if judge.topics.all[judge.logs[log].topic].ever_compacted {
            for index in &judge.logs[log].batches {
                let batch = &judge.sends.batches[*index as usize];
                if batch.fate == Fate::Refused {
                    continue;
                }
                for place in 0..batch.count {
                    let record = &judge.sends.records[(batch.first + place) as usize];
                    let offset = batch.base().map_or(i64::MAX, |base| base.saturating_add(i64::from(place)));
                    let highest = keys.entry(record.key).or_insert(offset);
                    *highest = offset.max(*highest);
                }
            }
        }
        Keys(keys)
    }

    /// Compaction may have taken a record.
    pub(super) fn newer(&self, key: u64, offset: i64) -> bool {
        key != 0 && self.0.get(&key).is_some_and(|highest| *highest > offset)
    }
}
