//! The judge of a crash run: what producers were told against what a reader finds. Pure; it does no I/O and knows no clock.
//!
//! The rules: an acknowledged record is at its acknowledged offset. Offsets have no gaps. Nothing is there that was not sent.
//! Of one idempotent producer a partition holds every number once, in order; of another producer its numbers rise.

use std::collections::HashMap;

/// Identity of a written record: its producer and its number among that producer's records of the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Which producer, from 0.
    pub producer: u32,
    /// Its count in the partition, from 0.
    pub number: u64,
}

impl Mark {
    /// The value that carries it: readable, with a tail of varying length so that batches differ in size.
    pub fn value(self, partition: i32) -> Vec<u8> {
        let tail = (self.number * 37 + u64::from(self.producer) * 11) % 400;
        let mut value = format!("{} {partition} {} ", self.producer, self.number).into_bytes();
        value.resize(value.len() + usize::try_from(tail).expect("under 400"), b'.');
        value
    }

    /// Reads a value of `partition` back; `None` for one that no producer of this run writes.
    pub fn read(value: &[u8], partition: i32) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut words = text.split(' ');
        let producer = words.next()?.parse().ok()?;
        let of: i32 = words.next()?.parse().ok()?;
        let mark = Self { producer, number: words.next()?.parse().ok()? };
        (of == partition && mark.value(partition) == value).then_some(mark)
    }
}

/// One partition's history. Lives with the run, under its lock.
#[derive(Debug, Default)]
pub struct Partition {
    /// Records each producer has sent at least once.
    sent: HashMap<u32, u64>,
    /// What was acknowledged and not yet judged, by offset.
    acknowledged: HashMap<i64, Mark>,
    /// The number that a producer's next record must have, or must at least have.
    next: HashMap<u32, u64>,
    /// Everything judged so far, by offset.
    pub log: Vec<Mark>,
}

impl Partition {
    /// A producer is about to send `count` more records; returns the number of the first.
    pub fn sending(&mut self, producer: u32, count: u64) -> u64 {
        let sent = self.sent.entry(producer).or_default();
        *sent += count;
        *sent - count
    }

    /// A producer was told that records from `first` on are at `offset` and on.
    pub fn acknowledged(&mut self, offset: i64, first: Mark, count: u64) -> Result<(), String> {
        for i in 0..count {
            let mark = Mark { number: first.number + i, ..first };
            let at = offset + i64::try_from(i).expect("a small batch");
            let other = *self.acknowledged.entry(at).or_insert(mark);
            if other != mark {
                return Err(format!("offset {at} was acknowledged to {other:?} and to {mark:?}"));
            }
        }
        Ok(())
    }

    /// Where the log must at least end: behind everything judged and everything acknowledged.
    pub fn told_end(&self) -> i64 {
        let judged = i64::try_from(self.log.len()).expect("fits");
        self.acknowledged.keys().map(|offset| offset + 1).max().unwrap_or(0).max(judged)
    }

    /// Judges what was read from the end of `log` on, in order; `idempotent` tells which producers are. Every acknowledged record
    /// must be among it.
    pub fn judge(
        &mut self,
        partition: i32,
        read: &[(i64, Vec<u8>)],
        idempotent: impl Fn(u32) -> bool,
    ) -> Result<(), String> {
        for (offset, value) in read {
            let end = i64::try_from(self.log.len()).expect("fits");
            if *offset != end {
                return Err(format!("partition {partition}: offset {offset} follows {}", end - 1));
            }
            let shown = || String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned();
            let mark = Mark::read(value, partition)
                .ok_or_else(|| format!("partition {partition}: nobody wrote offset {offset}: {}", shown()))?;
            if mark.number >= self.sent.get(&mark.producer).copied().unwrap_or(0) {
                return Err(format!("partition {partition}: {mark:?} at {offset} was never sent"));
            }
            let next = self.next.entry(mark.producer).or_default();
            let in_order = if idempotent(mark.producer) { mark.number == *next } else { mark.number >= *next };
            if !in_order {
                return Err(format!("partition {partition}: {mark:?} at {offset}, after number {next} was due"));
            }
            *next = mark.number + 1;
            if let Some(told) = self.acknowledged.remove(offset).filter(|told| *told != mark) {
                return Err(format!("partition {partition}: {told:?} was acknowledged at {offset}, {mark:?} is there"));
            }
            self.log.push(mark);
        }
        match self.acknowledged.iter().min_by_key(|(offset, _)| **offset) {
            None => Ok(()),
            Some((offset, mark)) => Err(format!(
                "partition {partition}: lost {mark:?}, acknowledged at {offset}, one of {}; the log ends at {}",
                self.acknowledged.len(),
                self.log.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 0;
    const B: u32 = 1;

    fn stored(marks: &[(u32, u64)]) -> Vec<(i64, Vec<u8>)> {
        (0..).zip(marks).map(|(o, &(producer, number))| (o, Mark { producer, number }.value(3))).collect()
    }

    /// Producer A sent four records and was told of the first two; producer B sent two, told of none.
    fn history() -> Partition {
        let mut partition = Partition::default();
        assert_eq!(partition.sending(A, 4), 0);
        assert_eq!(partition.sending(B, 2), 0);
        partition.acknowledged(0, Mark { producer: A, number: 0 }, 2).unwrap();
        partition
    }

    fn verdict(marks: &[(u32, u64)]) -> Result<(), String> {
        history().judge(3, &stored(marks), |producer| producer == A)
    }

    #[test]
    fn what_may_be() {
        verdict(&[(A, 0), (A, 1)]).unwrap();
        verdict(&[(A, 0), (A, 1), (B, 0), (A, 2), (B, 1), (A, 3)]).unwrap();
        // Producer B does not send again: what it was not told of may be missing.
        verdict(&[(A, 0), (A, 1), (B, 1)]).unwrap();
    }

    #[test]
    fn what_may_not_be() {
        for (marks, why) in [
            (&[(A, 0)][..], "lost"),
            (&[(A, 0), (B, 0), (A, 1)], "was acknowledged at 1"),
            (&[(A, 0), (A, 1), (A, 1)], "was due"),
            (&[(A, 0), (A, 1), (A, 3)], "was due"),
            (&[(A, 0), (A, 1), (B, 1), (B, 0)], "was due"),
            (&[(A, 0), (A, 1), (B, 0), (B, 0)], "was due"),
            (&[(A, 0), (A, 1), (B, 2)], "never sent"),
            (&[(A, 0), (A, 1), (7, 0)], "never sent"),
        ] {
            let verdict = verdict(marks).expect_err(why);
            assert!(verdict.contains(why), "{verdict} has no {why:?}");
        }
        let mut gap = stored(&[(A, 0), (A, 1)]);
        gap[1].0 = 2;
        assert!(history().judge(3, &gap, |_| true).unwrap_err().contains("follows"));
        let foreign = [(0, Mark { producer: A, number: 0 }.value(2))];
        assert!(history().judge(3, &foreign, |_| true).unwrap_err().contains("nobody wrote"));
        let mut damaged = stored(&[(A, 1)]);
        damaged[0].1[0] = b'x';
        assert!(history().judge(3, &damaged, |_| true).unwrap_err().contains("nobody wrote"));
    }

    #[test]
    fn an_offset_belongs_to_one() {
        let mut partition = history();
        assert!(partition.acknowledged(1, Mark { producer: B, number: 0 }, 1).is_err());
        partition.acknowledged(1, Mark { producer: A, number: 1 }, 1).unwrap();
    }
}
