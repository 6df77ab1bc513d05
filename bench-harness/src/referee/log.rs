//! One partition as the history tells of it: what is at which offset, who said so, and the marks that only go forward.

use super::history::{Partition, Spec};
use super::sends::{Lives, Map};
use super::verdict::Span;

/// A mark and the call that told it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) at: i64,
    pub(super) by: Span,
}

impl Mark {
    const ZERO: Mark = Mark { at: 0, by: Span::NONE };

    pub(super) fn raise(&mut self, at: i64, by: Span) {
        if at > self.at {
            *self = Mark { at, by };
        }
    }
}

/// Where a partition's marks are at least, as answers told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    life: u32,
    pub(super) high: Mark,
    pub(super) start: Mark,
    pub(super) stable: Mark,
    /// The log's end: also of what is acknowledged and not yet flushed.
    pub(super) end: Mark,
}

impl Marks {
    const ZERO: Marks = Marks { life: 0, high: Mark::ZERO, start: Mark::ZERO, stable: Mark::ZERO, end: Mark::ZERO };

    /// In this life of the broker: a crash takes what is not flushed; `relaxed`: it may take anything.
    pub(super) fn in_life(&mut self, life: u32, relaxed: bool) -> &mut Marks {
        if self.life != life {
            if relaxed {
                *self = Marks::ZERO;
            }
            self.end = self.high;
            self.life = life;
        }
        self
    }
}

/// What is at an offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) record: u32,
    pub(super) timestamp: i64,
    pub(super) leader_epoch: i32,
    /// A reader saw it, not only its writer was told.
    pub(super) seen: bool,
    /// It stays there for ever.
    pub(super) durable: bool,
    /// Read back at the end.
    pub(super) in_final: bool,
    /// When it was there, by its latest sign.
    pub(super) lives: Lives,
    /// The first sign of it.
    pub(super) by: Span,
}

/// A log start and the calls that told it: the first, and the latest to begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) at: i64,
    pub(super) by: Span,
    pub(super) last_call: u64,
    /// The latest time that the broker's clock may have shown by then.
    pub(super) wall: Option<i64>,
}

/// A reader went from one offset to another past nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) by: Span,
    pub(super) lives: Lives,
}

/// A lookup by time, judged at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    pub(super) spec: Spec,
    pub(super) committed: bool,
    /// -1: none.
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) by: Span,
    /// Everything below was visible when it was called.
    pub(super) high: i64,
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) partition: Partition,
    /// The index of its topic's incarnation.
    pub(super) topic: usize,
    pub(super) slots: Map<i64, Slot>,
    pub(super) marks: Marks,
    pub(super) starts: Vec<Start>,
    /// Deletions that were asked for: when, up to which offset, and whether they were answered.
    pub(super) deletions: Vec<(Span, i64)>,
    pub(super) holes: Vec<Hole>,
    pub(super) lookups: Vec<Lookup>,
    /// Ranges read back at the end.
    pub(super) covered: Vec<(i64, i64)>,
    /// Where it ended when it was read back.
    pub(super) final_end: Option<Mark>,
    /// The high watermark in a life of the broker.
    pub(super) vouched: Vec<(u32, Mark)>,
    /// Batches sent to it.
    pub(super) batches: Vec<u32>,
    pub(super) transactional: bool,
}

impl Log {
    pub(super) fn new(partition: Partition, topic: usize) -> Log {
        Log {
            partition,
            topic,
            slots: Map::default(),
            marks: Marks::ZERO,
            starts: Vec::new(),
            deletions: Vec::new(),
            holes: Vec::new(),
            lookups: Vec::new(),
            covered: Vec::new(),
            final_end: None,
            vouched: Vec::new(),
            batches: Vec::new(),
            transactional: false,
        }
    }

    /// Its name for people.
    pub(super) fn name(&self) -> String {
        let p = &self.partition;
        match p.incarnation {
            0 => format!("{}-{}", p.topic, p.partition),
            n => format!("{}-{} (incarnation {n})", p.topic, p.partition),
        }
    }

    /// A log start was told.
    pub(super) fn started_at(&mut self, at: i64, by: Span, wall: Option<i64>) {
        match self.starts.last_mut() {
            Some(last) if last.at == at => last.last_call = last.last_call.max(by.call),
            Some(last) if last.at > at => {}
            _ => self.starts.push(Start { at, by, last_call: by.call, wall }),
        }
    }

    /// A high watermark was told, and everything is known to have happened in one life.
    pub(super) fn vouch(&mut self, life: u32, high: i64, by: Span) {
        match self.vouched.last_mut() {
            Some((last, mark)) if *last == life => mark.raise(high, by),
            _ => self.vouched.push((life, Mark { at: high, by })),
        }
    }

    /// The high watermark that was told in a life.
    pub(super) fn vouched_in(&self, life: u32) -> Option<Mark> {
        let at = self.vouched.partition_point(|(l, _)| *l < life);
        self.vouched.get(at).filter(|(l, _)| *l == life).map(|(_, mark)| *mark)
    }

    /// A part was read back at the end.
    pub(super) fn read_back(&mut self, from: i64, to: i64) {
        match self.covered.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ if from < to => self.covered.push((from, to)),
            _ => {}
        }
    }

    /// The highest log start that was told.
    pub(super) fn highest_start(&self) -> i64 {
        self.starts.last().map_or(0, |start| start.at)
    }
}

/// Sorted ranges without overlap.
pub(super) fn merged(mut ranges: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    ranges.sort_unstable();
    let mut out: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match out.last_mut() {
            Some(last) if last.1 >= from => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

/// Whether merged ranges hold an offset.
pub(super) fn holds(ranges: &[(i64, i64)], offset: i64) -> bool {
    let behind = ranges.partition_point(|(from, _)| *from <= offset);
    behind > 0 && offset < ranges[behind - 1].1
}
