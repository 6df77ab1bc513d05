//! Which sequences of a producer were written or seen: runs of numbers, so that a run without faults costs one entry, and one with
//! many a bounded number.

use std::collections::BTreeMap;

/// Runs one set holds; beyond, it only remembers that there were too many.
const MOST_RUNS: usize = 4096;

/// A set of numbers, as runs that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// First number of each run, and the first after it.
    runs: BTreeMap<u64, u64>,
    /// The run that grows: kept apart, as nearly every number extends it.
    last: Option<(u64, u64)>,
    /// Numbers that could not be kept.
    pub(super) overflowed: u64,
}

impl Runs {
    /// Adds a number. False: it was there.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        match &mut self.last {
            Some((_, end)) if *end == number => {
                *end += 1;
                true
            }
            _ => self.insert_apart(number),
        }
    }

    fn insert_apart(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        if self.runs.len() >= MOST_RUNS {
            self.overflowed += 1;
            return true;
        }
        self.settle();
        let before = self.runs.range(..=number).next_back().filter(|(_, end)| **end == number).map(|(start, _)| *start);
        let mut run = (before.unwrap_or(number), number + 1);
        self.runs.remove(&run.0);
        if let Some(end) = self.runs.remove(&run.1) {
            run.1 = end;
        }
        // The highest run is the one that grows.
        match self.runs.last_key_value() {
            Some((start, _)) if *start > run.0 => drop(self.runs.insert(run.0, run.1)),
            _ => self.last = Some(run),
        }
        true
    }

    fn settle(&mut self) {
        if let Some((start, end)) = self.last.take() {
            self.runs.insert(start, end);
        }
    }

    /// Adds `from` up to and without `to`.
    pub(super) fn insert_run(&mut self, from: u64, to: u64) {
        match &mut self.last {
            Some((_, end)) if *end == from => *end = to.max(from),
            _ => {
                for number in from..to {
                    self.insert(number);
                }
            }
        }
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.iter_from(number).next().is_some_and(|(start, end)| (start..end).contains(&number))
    }

    /// Runs that end after `number`, in order.
    fn iter_from(&self, number: u64) -> impl Iterator<Item = (u64, u64)> {
        let first = self.runs.range(..=number).next_back().filter(|(_, end)| **end > number);
        let apart = self.last.filter(|(_, end)| *end > number);
        let after = self.runs.range(number.saturating_add(1)..);
        let mut all: Vec<(u64, u64)> = first.into_iter().chain(after).map(|(start, end)| (*start, *end)).collect();
        all.extend(apart);
        all.sort_unstable();
        all.into_iter()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.iter_from(0)
    }

    /// How many numbers.
    pub(super) fn len(&self) -> u64 {
        self.iter().map(|(start, end)| end - start).sum()
    }

    /// One more than the largest.
    pub(super) fn end(&self) -> u64 {
        self.iter().map(|(_, end)| end).max().unwrap_or(0)
    }

    /// The numbers of both.
    pub(super) fn merged(&self, other: &Runs) -> Runs {
        let mut all: Vec<(u64, u64)> = self.iter().chain(other.iter()).collect();
        all.sort_unstable();
        let mut out = Runs { overflowed: self.overflowed + other.overflowed, ..Runs::default() };
        for (start, end) in all {
            match &mut out.last {
                Some((_, reached)) if *reached >= start => *reached = end.max(*reached),
                _ => {
                    out.settle();
                    out.last = Some((start, end));
                }
            }
        }
        out
    }

    /// How many of these numbers, below `limit`, are not in `other`, and the first of them.
    pub(super) fn missing_in(&self, other: &Runs, limit: u64) -> (u64, Option<u64>) {
        let (mut count, mut first) = (0, None);
        let others: Vec<(u64, u64)> = other.iter().collect();
        for (start, end) in self.iter() {
            let (mut at, end) = (start, end.min(limit));
            let from = others.partition_point(|(_, until)| *until <= at);
            for (there, until) in &others[from..] {
                if at >= end || *there >= end {
                    break;
                }
                if *there > at {
                    count += there - at;
                    first = first.or(Some(at));
                }
                at = *until;
            }
            if at < end {
                count += end - at;
                first = first.or(Some(at));
            }
        }
        (count, first)
    }
}

/// What a reader saw of one producer in one partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracker {
    pub(super) seen: Runs,
    /// One more than the highest since the partition was taken over.
    reached: u64,
    pub(super) doubled: u64,
    /// Came after one that was written later.
    pub(super) reordered: u64,
}

impl Tracker {
    pub(super) fn saw(&mut self, sequence: u64) {
        if !self.seen.insert(sequence) {
            self.doubled += 1;
        } else if sequence < self.reached {
            self.reordered += 1;
        }
        self.reached = self.reached.max(sequence + 1);
    }

    /// The partition is read again from an earlier place: what comes now is not out of order.
    pub(super) fn rewind(&mut self) {
        self.reached = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::Rng;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn runs_are_the_set_they_stand_for() {
        let mut rng = Rng::new(3);
        for _ in 0..50 {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for _ in 0..300 {
                let number = rng.below(200);
                assert_eq!(runs.insert(number), set.insert(number));
            }
            assert_eq!(runs.len(), set.len() as u64);
            assert!((0..200).all(|number| runs.contains(number) == set.contains(&number)));
            assert_eq!(runs.end(), set.last().map_or(0, |last| last + 1));
            let mut other = Runs::default();
            for _ in 0..60 {
                other.insert(rng.below(200));
            }
            let missing: Vec<u64> = set.iter().filter(|n| !other.contains(**n) && **n < 150).copied().collect();
            assert_eq!(runs.missing_in(&other, 150), (missing.len() as u64, missing.first().copied()));
            let both = runs.merged(&other);
            assert!((0..200).all(|number| both.contains(number) == (set.contains(&number) || other.contains(number))));
        }
    }

    #[test]
    fn faults_are_told_apart() {
        let mut tracker = Tracker::default();
        [0, 1, 2, 2, 5, 4].into_iter().for_each(|s| tracker.saw(s));
        assert_eq!((tracker.doubled, tracker.reordered), (1, 1));
        let mut written = Runs::default();
        written.insert_run(0, 7);
        assert_eq!(written.missing_in(&tracker.seen, 7), (2, Some(3)));
        tracker.rewind();
        (2..8).for_each(|s| tracker.saw(s));
        assert_eq!((tracker.doubled, tracker.reordered), (4, 1), "3 closes a gap, and nothing is out of order");
        assert_eq!(written.missing_in(&tracker.seen, 7), (0, None));
    }

    #[test]
    fn what_is_scattered_is_bounded() {
        let mut runs = Runs::default();
        for k in 0..10_000u64 {
            runs.insert(k * 2);
        }
        assert!(runs.runs.len() <= MOST_RUNS && runs.overflowed > 5000, "{}", runs.overflowed);
    }
}
