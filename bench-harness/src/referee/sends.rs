//! What producers sent: every batch with its outcome, every record by its value.

use super::history::{Idempotent, Sent};
use super::verdict::Span;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A hash for numbers that the history's own writers chose.
#[derive(Debug, Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        let mixed = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    fn write_i64(&mut self, n: i64) {
        self.write_u64(n.cast_unsigned());
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// What became of a batch, as far as its producer knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Unknown,
    Refused,
    /// The base offset, -1 if not told.
    Acknowledged(i64),
}

/// The lives of the broker, counted by its ends and starts, in the first and last of which something may have happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lives {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Lives {
    /// Surely in one and the same.
    pub(super) fn surely_with(self, other: Lives) -> bool {
        self.first == self.last && self == other
    }
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) log: u32,
    pub(super) span: Span,
    pub(super) lives: Lives,
    pub(super) fate: Fate,
    pub(super) acks: i16,
    pub(super) idempotent: Option<Idempotent>,
    pub(super) transaction: Option<u32>,
    /// Its records, in the table of all.
    pub(super) first: u32,
    pub(super) count: u32,
    /// Where a reader found its first record, as told by any of its records; the latest find.
    pub(super) seen_base: Option<i64>,
    /// The log ended at least here when it was sent, and who said so.
    pub(super) floor: (i64, Span),
    /// Acknowledged for ever.
    pub(super) durable: bool,
    /// Its topic was being deleted: it may be in whatever has the name since.
    pub(super) stale: bool,
}

impl Batch {
    pub(super) fn acknowledged(&self) -> Option<i64> {
        match self.fate {
            Fate::Acknowledged(base) => Some(base),
            _ => None,
        }
    }

    /// Its base offset, as far as it is known.
    pub(super) fn base(&self) -> Option<i64> {
        self.acknowledged().filter(|base| *base >= 0 && !self.stale).or(self.seen_base)
    }

    /// An idempotent producer, or a transactional one, sends nothing twice.
    pub(super) fn once(&self) -> bool {
        self.idempotent.is_some()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) value: u64,
    pub(super) batch: u32,
    pub(super) timestamp: i64,
    /// A hash of its key; 0: none.
    pub(super) key: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sends {
    pub(super) batches: Vec<Batch>,
    pub(super) records: Vec<Record>,
    by_value: Map<u64, u32>,
}

impl Sends {
    /// Notes a batch; the value that was sent before, if there is one.
    pub(super) fn add(&mut self, mut batch: Batch, records: &[Sent]) -> Result<u32, u64> {
        let index = u32::try_from(self.batches.len()).expect("a history has fewer than four billion calls");
        batch.first = u32::try_from(self.records.len()).expect("a history has fewer than four billion records");
        batch.count = u32::try_from(records.len()).expect("a batch is small");
        let mut again = None;
        for sent in records {
            let record = u32::try_from(self.records.len()).expect("a history has fewer than four billion records");
            let key = sent.key.as_deref().map_or(0, |key| hash(key) | 1);
            self.records.push(Record { value: sent.value, batch: index, timestamp: sent.timestamp, key });
            if self.by_value.insert(sent.value, record).is_some() {
                again = Some(sent.value);
            }
        }
        self.batches.push(batch);
        again.map_or(Ok(index), Err)
    }

    pub(super) fn find(&self, value: u64) -> Option<u32> {
        self.by_value.get(&value).copied()
    }

    pub(super) fn batch_of(&self, record: u32) -> &Batch {
        &self.batches[self.records[record as usize].batch as usize]
    }

    /// A record's place in its batch.
    pub(super) fn place(&self, record: u32) -> i64 {
        i64::from(record - self.batch_of(record).first)
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = Quick::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}
