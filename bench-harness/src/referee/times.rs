//! Lookups by time, judged at the end, when it is known what was visible as they were made.

use super::history::Spec;
use super::judge::Judge;
use super::log::Lookup;
use super::rule::Rule;
use super::verdict::Span;

/// The times of a partition's records in the order of offsets, for questions about ranges of them.
struct Times {
    offsets: Vec<i64>,
    /// A tree: the leaves from the middle on, each node the largest of its two.
    tree: Vec<i64>,
    /// When each was surely there, if it takes a call to say so.
    known: Vec<Option<Span>>,
}

impl Times {
    fn of(judge: &Judge, log: usize) -> Times {
        let slots = judge.logs[log].slots.iter().filter(|(_, slot)| slot.durable || slot.in_final);
        let mut sorted: Vec<_> = slots.collect();
        sorted.sort_unstable_by_key(|(offset, _)| **offset);
        let leaves = sorted.len().next_power_of_two();
        let mut tree = vec![i64::MIN; 2 * leaves];
        for (at, (_, slot)) in sorted.iter().enumerate() {
            tree[leaves + at] = slot.timestamp;
        }
        for node in (1..leaves).rev() {
            tree[node] = tree[2 * node].max(tree[2 * node + 1]);
        }
        Times {
            offsets: sorted.iter().map(|(offset, _)| **offset).collect(),
            tree,
            known: sorted.iter().map(|(_, slot)| (!slot.durable).then_some(slot.by)).collect(),
        }
    }

    /// The first record of a range of offsets that has this time or a later one.
    fn first(&self, from: i64, to: i64, time: i64) -> Option<usize> {
        let (mut low, high) = (self.place(from), self.place(to));
        while low < high {
            // The largest block that begins here and lies within the range.
            let mut size = if low == 0 { self.tree.len() / 2 } else { 1 << low.trailing_zeros() };
            while low + size > high {
                size /= 2;
            }
            let mut node = (self.tree.len() / 2 + low) / size;
            if self.tree[node] < time {
                low += size;
                continue;
            }
            while node < self.tree.len() / 2 {
                node *= 2;
                node += usize::from(self.tree[node] < time);
            }
            return Some(node - self.tree.len() / 2);
        }
        None
    }

    fn place(&self, offset: i64) -> usize {
        self.offsets.partition_point(|o| *o < offset)
    }

    fn time(&self, at: usize) -> i64 {
        self.tree[self.tree.len() / 2 + at]
    }
}

pub(super) fn judge(judge: &mut Judge) {
    for log in 0..judge.logs.len() {
        let of = &judge.logs[log];
        let topic = &judge.topics.all[of.topic];
        if of.lookups.is_empty() || !topic.known || topic.ever_compacted {
            continue;
        }
        let times = Times::of(judge, log);
        for lookup in std::mem::take(&mut judge.logs[log].lookups) {
            if !(lookup.committed && judge.logs[log].transactional) {
                judge_one(judge, log, &times, &lookup);
            }
        }
    }
}

/// The log began at most there as late as after this call.
fn start_after(judge: &Judge, log: usize, by: Span) -> i64 {
    let of = &judge.logs[log];
    let topic = &judge.topics.all[of.topic];
    if judge.deletions(of).is_empty() && topic.shortest_ms.is_none() && !topic.by_size {
        return 0;
    }
    of.starts.iter().find(|start| start.last_call > by.ret).map_or(i64::MAX, |start| start.at)
}

fn judge_one(judge: &mut Judge, log: usize, times: &Times, lookup: &Lookup) {
    let name = judge.logs[log].name();
    let (rule, wanted) = match lookup.spec {
        Spec::At(time) => (Rule::TimeLookup, time),
        _ => (Rule::MaxTimestamp, lookup.timestamp.saturating_add(1)),
    };
    let asked = match lookup.spec {
        Spec::At(time) => format!("the first record from time {time} on"),
        _ => "the record with the latest time".to_string(),
    };
    let found = format!("offset {} with time {}", lookup.offset, lookup.timestamp);
    if lookup.offset >= 0 {
        if matches!(lookup.spec, Spec::At(time) if lookup.timestamp < time && lookup.timestamp >= 0) {
            judge.report.add(rule, &[lookup.by], || format!("{name}: {asked} is said to be {found}"));
            return;
        }
        let at = times.place(lookup.offset);
        let known = times.offsets.get(at).is_some_and(|offset| *offset == lookup.offset) && times.known[at].is_none();
        if known && lookup.timestamp >= 0 && times.time(at) > i64::MIN && times.time(at) != lookup.timestamp {
            let slot = judge.logs[log].slots[&lookup.offset];
            judge.report.add(rule, &[slot.by, lookup.by], || {
                format!("{name}: {asked} is said to be {found}; that record's time is {}", times.time(at))
            });
            return;
        }
    }
    let bound = match (lookup.spec, lookup.offset) {
        (Spec::At(_), offset) if offset >= 0 => lookup.high.min(offset),
        _ => lookup.high,
    };
    let wanted = if lookup.offset < 0 && lookup.spec == Spec::MaxTimestamp { i64::MIN + 1 } else { wanted };
    let mut from = start_after(judge, log, lookup.by);
    while let Some(at) = times.first(from, bound, wanted) {
        if times.known[at].is_none_or(|by| by.before(lookup.by)) {
            let offset = times.offsets[at];
            let slot = judge.logs[log].slots[&offset];
            judge.report.add(rule, &[slot.by, lookup.by], || {
                let said = if lookup.offset < 0 { "none".to_string() } else { found };
                format!("{name}: {asked} is said to be {said}; offset {offset} has time {}", times.time(at))
            });
            return;
        }
        from = times.offsets[at] + 1;
    }
}
