//! Groups: who owns which partition in which generation, and what was committed. A group's offset of a partition is a register:
//! an answer must be a value that was written and that no later write had surely replaced before it was asked for.

use super::history::{Member, Partition};
use super::rule::Rule;
use super::sends::{Lives, Map};
use super::topics::{Topic, Topics};
use super::transactions::{End, Transactions};
use super::verdict::{Report, Span};
use std::collections::HashMap;

/// A partition in a member's hands.
#[derive(Debug)]
struct Hold {
    member: String,
    generation: i32,
    life: u32,
    by: Span,
    /// When it was let go.
    until: u64,
}

/// A commit, or a deletion (-1).
#[derive(Clone, Copy, Debug)]
struct Write {
    offset: i64,
    by: Span,
    /// When it was surely done; never, if nobody can say that it was.
    done: u64,
    /// When it is surely over: it may come late, or again, if it was never answered.
    over: u64,
    transaction: Option<u32>,
}

#[derive(Debug, Default)]
struct Register {
    writes: Vec<Write>,
    reads: Vec<(i64, Span)>,
    /// The highest generation that it was assigned in: life, generation.
    newest: Option<(u32, i32, Span)>,
    holds: Vec<Hold>,
}

#[derive(Debug, Default)]
struct Group {
    partitions: HashMap<Partition, Register>,
    /// By member: the life of the broker, and the newest generation in it.
    members: HashMap<String, (u32, i32, Span)>,
    newest: Option<(u32, i32, Span)>,
    deletions: Vec<(Span, bool)>,
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    all: HashMap<String, Group>,
}

impl Groups {
    fn register(&mut self, group: &str, partition: &Partition) -> &mut Register {
        if !self.all.contains_key(group) {
            self.all.insert(group.to_string(), Group::default());
        }
        let of = self.all.get_mut(group).expect("inserted");
        if !of.partitions.contains_key(partition) {
            of.partitions.insert(partition.clone(), Register::default());
        }
        of.partitions.get_mut(partition).expect("inserted")
    }

    /// The answer that says that a commit must be refused when it is called now.
    pub(super) fn fenced(&self, group: &str, by: &Member, offsets: &[(Partition, i64)], life: u32) -> Option<Span> {
        if by.generation < 0 {
            return None;
        }
        let group = self.all.get(group)?;
        let newer = |newest: &(u32, i32, Span)| (newest.0 == life && newest.1 > by.generation).then_some(newest.2);
        let own = group.members.get(&by.member).and_then(newer);
        own.or_else(|| offsets.iter().find_map(|(p, _)| group.partitions.get(p)?.newest.as_ref().and_then(newer)))
    }

    /// `done`: it was acknowledged; otherwise it may have happened.
    pub(super) fn committed(
        &mut self,
        group: &str,
        offsets: &[(Partition, i64)],
        by: Span,
        done: bool,
        transaction: Option<u32>,
    ) {
        let end = if done { by.ret } else { Span::NEVER };
        for (partition, offset) in offsets {
            let write = Write { offset: *offset, by, done: end, over: end, transaction };
            self.register(group, partition).writes.push(write);
        }
    }

    pub(super) fn told(&mut self, group: &str, offsets: &[(Partition, i64)], by: Span) {
        for (partition, offset) in offsets {
            self.register(group, partition).reads.push((*offset, by));
        }
    }

    pub(super) fn deleted(&mut self, group: &str, by: Span, done: bool) {
        let group = self.all.entry(group.to_string()).or_default();
        group.deletions.push((by, done));
        group.members.clear();
        group.newest = None;
        for register in group.partitions.values_mut() {
            register.newest = None;
        }
    }

    /// A member lets go of everything.
    pub(super) fn released(&mut self, group: &str, by: &Member, now: u64) {
        let Some(group) = self.all.get_mut(group) else { return };
        for register in group.partitions.values_mut() {
            for hold in register.holds.iter_mut().filter(|hold| hold.member == by.member && hold.until == Span::NEVER) {
                hold.until = now;
            }
        }
    }

    /// A member was given partitions, in place of those it had.
    pub(super) fn assigned(
        &mut self,
        group: &str,
        by: &Member,
        partitions: &[Partition],
        (span, lives): (Span, Lives),
        report: &mut Report,
    ) {
        self.released(group, by, span.call);
        if lives.first != lives.last {
            // Nobody knows whether the broker still thinks so.
            return;
        }
        let life = lives.last;
        self.reformed(group, by.generation, span);
        for partition in partitions {
            let register = self.register(group, partition);
            let other = register.holds.iter().find(|hold| {
                hold.generation == by.generation
                    && hold.life == life
                    && hold.member != by.member
                    && hold.until > span.ret
            });
            if let Some(other) = other {
                report.add(Rule::TwoOwners, &[other.by, span], || {
                    format!(
                        "group {group}: in generation {} both {} and {} own {}-{}",
                        by.generation, other.member, by.member, partition.topic, partition.partition
                    )
                });
            }
            register.holds.retain(|hold| hold.until == Span::NEVER && hold.life == life);
            let hold =
                Hold { member: by.member.clone(), generation: by.generation, life, by: span, until: Span::NEVER };
            register.holds.push(hold);
            raise(&mut register.newest, life, by.generation, span);
        }
        let of = self.all.entry(group.to_string()).or_default();
        raise(&mut of.newest, life, by.generation, span);
        let members = &mut of.members;
        let mut newest = members.remove(&by.member);
        raise(&mut newest, life, by.generation, span);
        members.insert(by.member.clone(), newest.expect("raised"));
    }

    /// A generation lower than one that was told before: the group ended, and began anew.
    fn reformed(&mut self, group: &str, generation: i32, by: Span) {
        let Some(group) = self.all.get_mut(group) else { return };
        if group.newest.is_some_and(|(_, newest, told)| generation < newest && told.before(by)) {
            group.newest = None;
            group.members.clear();
            for register in group.partitions.values_mut() {
                register.newest = None;
                register.holds.clear();
            }
        }
    }

    /// At the end.
    pub(super) fn judge(&mut self, topics: &mut Topics, transactions: &Transactions, report: &mut Report) {
        let mut names: Vec<&String> = self.all.keys().collect();
        names.sort();
        let names: Vec<String> = names.into_iter().cloned().collect();
        for name in names {
            let group = &self.all[&name];
            let mut partitions: Vec<&Partition> = group.partitions.keys().collect();
            partitions.sort();
            for partition in partitions {
                let of = &group.partitions[partition];
                let topic = topics.index(&partition.topic, partition.incarnation);
                let deletion = topics.all[topic].deletion;
                let mut writes = of.writes.clone();
                writes.extend(late(group, partition, topics));
                writes.retain_mut(|write| settle(write, transactions));
                writes.extend(group.deletions.iter().map(|(by, done)| {
                    let end = if *done { by.ret } else { Span::NEVER };
                    Write { offset: -1, by: *by, done: end, over: end, transaction: None }
                }));
                // The offsets go with the topic, and who asks then may be told of another with its name.
                let reads: Vec<_> =
                    of.reads.iter().filter(|(_, by)| deletion.is_none_or(|d| by.ret < d.call)).copied().collect();
                let place = format!("group {name}, {}-{}", partition.topic, partition.partition);
                judge_register(&place, writes, &reads, report);
            }
        }
    }
}

/// Commits for earlier incarnations that were on their way when those were deleted: they may have come to this one.
fn late(group: &Group, partition: &Partition, topics: &mut Topics) -> Vec<Write> {
    let mut found = Vec::new();
    for incarnation in 0..partition.incarnation {
        let earlier = Partition { incarnation, ..partition.clone() };
        let topic: &Topic = {
            let index = topics.index(&earlier.topic, incarnation);
            &topics.all[index]
        };
        let Some(deletion) = topic.deletion else { continue };
        let of = group.partitions.get(&earlier).map_or(&[][..], |of| &of.writes);
        let late = of.iter().filter(|write| write.over > deletion.call);
        found.extend(late.map(|write| Write { done: Span::NEVER, over: Span::NEVER, ..*write }));
    }
    found
}

fn raise(newest: &mut Option<(u32, i32, Span)>, life: u32, generation: i32, by: Span) {
    if newest.is_none_or(|(then, highest, _)| then != life || generation > highest) {
        *newest = Some((life, generation, by));
    }
}

/// A commit within a transaction is done with it; false: it never is.
fn settle(write: &mut Write, transactions: &Transactions) -> bool {
    let Some(index) = write.transaction else { return true };
    match transactions.end_of(index) {
        End::Committed(by) => {
            let was_done = write.done != Span::NEVER;
            (write.done, write.over) = if was_done { (by.ret, by.ret) } else { (Span::NEVER, Span::NEVER) };
        }
        End::Possible => (write.done, write.over) = (Span::NEVER, Span::NEVER),
        End::Never => return false,
    }
    true
}

fn judge_register(place: &str, mut writes: Vec<Write>, reads: &[(i64, Span)], report: &mut Report) {
    writes.sort_by_key(|write| write.by.call);
    let mut by_value: Map<i64, Vec<usize>> = Map::default();
    for (at, write) in writes.iter().enumerate() {
        by_value.entry(write.offset).or_default().push(at);
    }
    // What was read was done by then, if only one can have written it.
    for (offset, by) in reads {
        if let Some([only]) = by_value.get(offset).map(Vec::as_slice)
            && *offset >= 0
        {
            writes[*only].done = writes[*only].done.min(by.ret);
        }
    }
    // Of all that was surely done by some time, the one that began last.
    let mut done: Vec<usize> = (0..writes.len()).filter(|at| writes[*at].done != Span::NEVER).collect();
    done.sort_by_key(|at| writes[*at].done);
    let mut last: Vec<usize> = Vec::with_capacity(done.len());
    for at in &done {
        let best = last.last().filter(|best| writes[**best].by.call > writes[*at].by.call);
        last.push(best.copied().unwrap_or(*at));
    }
    // Of those with one value, in the order of their calls, when the last is over.
    let over: Map<i64, Vec<u64>> = by_value
        .iter()
        .map(|(offset, at)| {
            let mut highest = 0;
            (
                *offset,
                at.iter()
                    .map(|at| {
                        highest = highest.max(writes[*at].over);
                        highest
                    })
                    .collect(),
            )
        })
        .collect();
    for (offset, by) in reads {
        let replaced = done.partition_point(|at| writes[*at].done < by.call);
        let replaced = replaced.checked_sub(1).map(|at| &writes[last[at]]);
        let begun = by_value.get(offset).map_or(0, |at| at.partition_point(|at| writes[*at].by.call < by.ret));
        let until = begun.checked_sub(1).map(|at| over[offset][at]);
        let until = if *offset < 0 { Some(until.unwrap_or(0)) } else { until };
        match (until, replaced) {
            (Some(until), Some(newer)) if until < newer.by.call => {
                report.add(Rule::CommittedOffset, &[newer.by, *by], || {
                    format!("{place}: the committed offset is said to be {offset}; {} was committed later, before it was asked for", newer.offset)
                });
            }
            (None, newer) => report.add(Rule::CommittedOffset, &[newer.map_or(Span::NONE, |w| w.by), *by], || {
                format!("{place}: the committed offset is said to be {offset}, which nobody had committed")
            }),
            _ => {}
        }
    }
}
