//! The background work on segment files: opening them, reserving and zeroing space ahead, moving what only the journal holds
//! into them ("destaging"), finishing sealed ones, removing dead ones. One step at a time per partition, in the ring.
//!
//! Bytes are destaged into blocks that were zeroed or used before, so that no file needs a flush of its own for them: they
//! wait for the next flush of the journal ([`super::cover`]). A block that holds acknowledged bytes is written again only while those bytes are durable in the journal
//! ([`SegmentFile::guard`]). Lives on the core that owns the partition.

use super::commit::padded;
use super::cover::Destaged;
use super::laps::HeldLaps;
use super::read::Busy;
use super::{PartIdx, Partition, Purpose, Store, files};
use crate::io::memory::Span;
use crate::io::{Access, FileId, FileOp, Io};
use crate::metrics::core::{FlushKind, WriteKind};
use ringlog_engine::log::index::IndexFile;
use ringlog_engine::log::journal::BLOCK;
use ringlog_engine::log::partition::Place;
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::types::{MonoMs, Now};
use std::collections::VecDeque;

/// Steps under way at once on one core.
const STEPS_MAX: usize = 64;
/// Of those, writes: more would make the journal's writes and flushes wait behind them.
const WRITES_MAX: usize = 8;
/// Space is reserved in steps that double from the first to the last of these sizes, in bytes.
const STEP_MIN: u32 = 64 << 10;
const STEP_MAX: u32 = 16 << 20;
/// The step doubles if a whole one was written within the first of these times, and halves after the second, in ms.
const STEP_FAST_MS: u64 = 1000;
const STEP_SLOW_MS: u64 = 30_000;
/// Zeros go to disk in pieces of this many bytes.
const ZERO_PIECE: u32 = 1 << 20;

/// A segment's file while it is being filled.
#[derive(Debug)]
pub struct SegmentFile {
    pub base: i64,
    pub file: Option<FileId>,
    /// Bytes handed to writes so far. Not a multiple of 4096 only after a partly filled block was written.
    pub written: u32,
    /// Bytes known durable in the file.
    pub durable: u32,
    /// Space reserved: `i_size` covers it.
    pub allocated: u32,
    /// Blocks that were written before (zeroed or recycled), durably: a flush of another file covers writes to them.
    pub zeroed: u32,
    /// A block already in the file is about to be rewritten: not before this commit is durable, which holds its bytes.
    pub guard: Option<u64>,
    /// Direct writes of commits not durable yet.
    pub in_flight: u32,
    /// Commits write straight to it: zero ahead of them.
    pub direct: bool,
    /// The laps of the journal that hold bytes of this segment that are not durable in the file.
    pub laps: HeldLaps,
    /// Bytes reserved at a time: it follows the rate at which the segment grows, which is measured from a time and a length on.
    step: u32,
    measured_from: (MonoMs, u32),
}

impl SegmentFile {
    /// `before`: the file of the segment before it.
    pub fn new(base: i64, before: Option<&SegmentFile>) -> SegmentFile {
        SegmentFile {
            base,
            file: None,
            written: 0,
            durable: 0,
            allocated: 0,
            zeroed: 0,
            guard: None,
            in_flight: 0,
            direct: false,
            laps: HeldLaps::default(),
            step: before.map_or(STEP_MIN, |f| f.step),
            measured_from: (before.map_or(MonoMs(0), |f| f.measured_from.0), 0),
        }
    }

    fn reserved(&mut self, to: u32, now: MonoMs) {
        self.allocated = to;
        let (from, written) = self.measured_from;
        let (elapsed, grown) = (now.0 - from.0, self.written.saturating_sub(written));
        self.step = match elapsed {
            STEP_SLOW_MS.. => (self.step / 2).max(STEP_MIN),
            _ if grown < self.step => return,
            ..STEP_FAST_MS => (self.step * 2).min(STEP_MAX),
            _ => self.step,
        };
        self.measured_from = (now, self.written);
    }

    /// Direct writes will soon reach the end of what is reserved.
    fn runs_short(&self, segment_bytes: u32) -> bool {
        self.allocated.saturating_sub(self.written) < self.step && self.allocated < segment_bytes
    }

    /// Where zeroing goes on: `written` steps back to a block that is about to be rewritten, what is durable in it stays.
    fn zeroes_at(&self) -> u32 {
        self.zeroed.max(self.written.max(self.durable).next_multiple_of(BLOCK as u32))
    }
}

/// What is under way on a partition's files.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum Step {
    #[default]
    Idle,
    MakeTopicDir {
        base: i64,
    },
    MakeDir {
        base: i64,
    },
    Open {
        base: i64,
    },
    /// The file is open, but nobody writes to it before its name is durable.
    SyncDir {
        base: i64,
        file: FileId,
    },
    SyncTopicDir {
        base: i64,
        file: FileId,
    },
    SyncRoot {
        base: i64,
        file: FileId,
    },
    Allocate {
        base: i64,
        to: u32,
    },
    /// Zeroes [from, to), `at` is next: nothing else may be written there meanwhile.
    Zero {
        base: i64,
        to: u32,
        at: u32,
        from: u32,
    },
    ZeroSync {
        base: i64,
        to: u32,
        from: u32,
    },
    /// Destages up to `to`.
    Write {
        base: i64,
        to: u32,
    },
    WriteSync {
        base: i64,
        to: u32,
    },
    Truncate {
        base: i64,
    },
    FinalSync {
        base: i64,
    },
    OpenIndex {
        base: i64,
    },
    WriteIndex {
        base: i64,
        file: FileId,
    },
    /// A recycled file becomes a segment.
    Reuse {
        base: i64,
        number: u64,
        len: u32,
    },
    /// A dead segment's file goes: to the recycled ones, or for good.
    Discard {
        base: i64,
    },
    /// The next file of a deleted partition goes.
    Erase,
    /// The directory had no room; tried again after a while.
    Wait {
        until: MonoMs,
    },
}

impl Step {
    /// It moves bytes to the disk.
    fn writes(self) -> bool {
        matches!(self, Step::Write { .. } | Step::Zero { .. })
    }

    /// It tidies up behind a segment: where it fails, appends need not stop.
    fn finishes(self) -> bool {
        use Step::{Discard, Erase, OpenIndex, Truncate, WriteIndex};
        matches!(self, Truncate { .. } | OpenIndex { .. } | WriteIndex { .. } | Discard { .. } | Erase)
    }
}

#[derive(Debug, Default)]
pub struct Hand {
    step: Step,
    /// In the store's queue.
    pub queued: bool,
    /// Destage everything that is durable, ragged block included: the journal or the memory it holds is needed.
    pub pressed: bool,
    /// The partition's folder exists and is durable.
    dir_made: bool,
    /// The log start moved durably: segments below it may be taken out.
    pub bury: bool,
    /// The partition was deleted, and that is durable.
    pub erasable: bool,
    /// Segments taken out of the log whose files are to go.
    dead: VecDeque<Dead>,
}

#[derive(Debug)]
struct Dead {
    base: i64,
    /// Not before this.
    due: MonoMs,
    /// Whole blocks written in it, if it is worth using again.
    blocks: u32,
    file: Option<FileId>,
    /// Number of the recycled file it becomes.
    recycle: Option<u64>,
}

/// Files of one directory whose blocks may be used again; on one core.
#[derive(Debug, Default)]
pub struct Recycled {
    /// Number in the name, and bytes.
    pub files: Vec<(u64, u32)>,
    pub next: u64,
}

/// Recycled files kept per core and directory, and the least bytes worth it.
const RECYCLED_MAX: usize = 32;
const RECYCLED_BYTES_MIN: u32 = 1 << 20;

impl Hand {
    pub fn idle(&self) -> bool {
        self.step == Step::Idle
    }

    /// A destage write to this segment is under way.
    pub fn writes(&self, segment: i64) -> bool {
        matches!(self.step, Step::Write { base, .. } | Step::WriteSync { base, .. } if base == segment)
    }

    /// Where zeroing of a segment under way began: direct writes stay before it.
    pub fn zeroes_from(&self, segment: i64) -> Option<u32> {
        match self.step {
            Step::Zero { base, from, .. } | Step::ZeroSync { base, from, .. } if base == segment => Some(from),
            _ => None,
        }
    }

    /// Segments whose files are still to go.
    pub fn dead_bases(&self) -> impl Iterator<Item = i64> + '_ {
        self.dead.iter().map(|d| d.base)
    }

    /// There was no room for it on the disk.
    pub fn waits_for_room(&self) -> bool {
        matches!(self.step, Step::Wait { .. })
    }

    /// Recovery found the folder.
    pub fn with_dir() -> Hand {
        Hand { dir_made: true, ..Hand::default() }
    }
}

impl Partition {
    /// Is there something for the hand to do?
    pub fn wants_hand(&self, destage: u32) -> bool {
        self.hand.pressed
            || self.files.len() > 1
            || self.files.back().is_some_and(|f| {
                let end = self.committed;
                let unwritten = if end.segment == f.base { end.position.saturating_sub(f.written) } else { u32::MAX };
                unwritten >= destage || (f.direct && f.zeroed.saturating_sub(f.written) < f.step / 2)
            })
    }

    /// The next step, if one is due.
    fn next_step(&self, destage: u32, segment_bytes: u32, lap: u64, one_flush_covers: bool, now: Now) -> Option<Step> {
        let block = BLOCK as u32;
        if let Some(dead) = self.hand.dead.front().filter(|d| d.due <= now.mono) {
            return Some(Step::Discard { base: dead.base });
        }
        for f in &self.files {
            let base = f.base;
            let segment = self.log.segment(base)?;
            let sealed = base != self.log.active().base;
            // Only what is durable in the journal leaves for the segment.
            let reach = if self.durable.segment == base {
                self.durable.position
            } else if self.durable.segment > base {
                segment.len
            } else {
                0
            };
            // A block that a commit journaled again, to rewrite it, is whole until then; but that lap must be let go of.
            let held = f.laps.oldest().is_some_and(|l| l < lap);
            let have = if held { f.written } else { f.written.max(f.durable) };
            let waiting = reach.saturating_sub(have);
            // A partly filled block only if its next bytes will be appended: those journal it again before it is rewritten.
            let all = (self.hand.pressed && self.durable == self.committed) || (sealed && reach == segment.len);
            let to = if all { reach } else { reach - reach % block };
            let due = waiting > 0 && (all || sealed || self.hand.pressed || waiting >= destage) && to > have;
            if f.file.is_none() {
                if due || f.direct || waiting >= destage / 2 {
                    return Some(Step::MakeTopicDir { base });
                }
                continue;
            }
            if due && f.guard.is_none() && f.in_flight == 0 {
                let end = to.next_multiple_of(block);
                if end > f.allocated {
                    return Some(Step::Allocate { base, to: reserve(f, to, segment_bytes, sealed) });
                }
                let at = f.zeroes_at();
                if one_flush_covers && !sealed && end > f.zeroed && at < f.allocated {
                    return Some(Step::Zero { base, to: f.allocated, at, from: at });
                }
                return Some(Step::Write { base, to });
            }
            if sealed && f.durable >= segment.len && f.in_flight == 0 {
                return Some(Step::Truncate { base });
            }
            if f.direct && segment.len.next_multiple_of(block) > f.allocated {
                return Some(Step::Allocate { base, to: reserve(f, segment.len, segment_bytes, sealed) });
            }
            if !sealed && f.direct && f.zeroed.saturating_sub(f.written) < f.step {
                if f.runs_short(segment_bytes) {
                    return Some(Step::Allocate { base, to: reserve(f, f.written, segment_bytes, false) });
                }
                let at = f.zeroes_at();
                if at < f.allocated && f.in_flight == 0 {
                    return Some(Step::Zero { base, to: f.allocated, at, from: at });
                }
            }
        }
        None
    }
}

/// How far to reserve so that `to` is covered: a step ahead, not past the segment's full size unless a batch needs it.
fn reserve(f: &SegmentFile, to: u32, segment_bytes: u32, sealed: bool) -> u32 {
    let block = BLOCK as u32;
    let least = to.next_multiple_of(block);
    if sealed {
        return least;
    }
    let ahead = f.allocated.max(to).saturating_add(f.step).next_multiple_of(block);
    ahead.min(segment_bytes.next_multiple_of(block)).max(least)
}

impl Store {
    /// Starts background work that is due, a bounded number of steps at once.
    pub fn work(&mut self, io: &mut impl Io, now: Now) {
        for _ in 0..self.writers.len() {
            if self.writes >= WRITES_MAX {
                break;
            }
            let part = self.writers.pop_front().expect("it was counted");
            self.turn_to(io, part, now);
        }
        for _ in 0..self.hands.len() {
            if self.steps >= STEPS_MAX {
                return;
            }
            let Some(part) = self.hands.pop_front() else { return };
            self.turn_to(io, part, now);
        }
    }

    fn turn_to(&mut self, io: &mut impl Io, part: PartIdx, now: Now) {
        if let Some(p) = self.get_mut(part) {
            p.hand.queued = false;
            self.take_step(io, part, now);
        }
    }

    fn take_step(&mut self, io: &mut impl Io, part: PartIdx, now: Now) {
        let destage = self.limits.destage;
        let Some(p) = self.partitions[part.0 as usize].as_mut() else { return };
        if let Step::Wait { until } = p.hand.step
            && until <= now.mono
        {
            p.hand.step = Step::Idle;
        }
        if !p.hand.idle() || self.dirs[p.dir as usize].latched.is_some() {
            return;
        }
        if p.erase.is_some() {
            if p.hand.erasable {
                self.erase(io, part);
            }
            return;
        }
        let dir = &self.dirs[p.dir as usize];
        let (lap, covers) = (dir.committer.lap, dir.one_flush_covers);
        if p.hand.bury {
            self.bury(part, now);
        }
        let Some(p) = self.partitions[part.0 as usize].as_mut() else { return };
        match p.next_step(destage, p.config.log.segment_bytes, lap, covers, now) {
            Some(step) if step.writes() && self.writes >= WRITES_MAX => {
                if !std::mem::replace(&mut p.hand.queued, true) {
                    self.writers.push_back(part);
                }
            }
            Some(step) => self.start(io, part, step),
            None => self.rest(part, now),
        }
    }

    /// Nothing is left to do: what was asked for is done.
    fn rest(&mut self, part: PartIdx, now: Now) {
        let Some(p) = self.get_mut(part) else { return };
        if let Some(dead) = p.hand.dead.front() {
            let due = dead.due.max(now.mono.after(1));
            self.waiting.push((part, due));
        }
        let p = self.get_mut(part).expect("it was there");
        if p.all_in_files() && p.journal_lap().is_none() {
            p.hand.pressed = false;
        }
    }

    /// A folder that exists is not made again, and a recycled file is taken before a new one is made.
    fn shortcut(&mut self, part: PartIdx, step: Step) -> Step {
        let p = self.partitions[part.0 as usize].as_mut().expect("a partition takes its own step");
        let (base, dir_made) = match step {
            Step::MakeTopicDir { base } => (base, p.hand.dir_made),
            Step::MakeDir { .. } | Step::Reuse { .. } => return step,
            other => return other,
        };
        if !dir_made {
            return step;
        }
        match self.dirs[p.dir as usize].recycled.files.pop() {
            Some((number, len)) => Step::Reuse { base, number, len },
            None => Step::Open { base },
        }
    }

    fn start(&mut self, io: &mut impl Io, part: PartIdx, step: Step) {
        let step = self.shortcut(part, step);
        let p = self.partitions[part.0 as usize].as_mut().expect("a partition takes its own step");
        let root = &self.dirs[p.dir as usize].path;
        let token = Purpose::Hand { part }.token();
        let (topic, key) = (p.topic.clone(), p.key);
        p.hand.step = step;
        self.steps += 1;
        self.writes += usize::from(step.writes());
        match step {
            Step::Idle | Step::Wait { .. } => unreachable!("not a step to start"),
            Step::MakeTopicDir { .. } => {
                io.file(token, FileOp::MakeDir { path: files::c_path(&files::topic_dir(root, &topic)) });
            }
            Step::MakeDir { .. } => {
                io.file(token, FileOp::MakeDir { path: files::c_path(&files::partition_dir(root, &topic, key)) });
            }
            Step::Reuse { base, number, .. } => {
                let from = files::c_path(&files::recycled(root, self.core, number));
                let to = files::c_path(&files::segment(root, &topic, key, base));
                io.file(token, FileOp::Rename { from, to });
            }
            Step::Open { base } => {
                let path = files::c_path(&files::segment(root, &topic, key, base));
                io.file(token, FileOp::Open { path, create: true, access: Access::Direct });
            }
            Step::OpenIndex { base } => {
                let path = files::c_path(&files::index(root, &topic, key, base));
                io.file(token, FileOp::Open { path, create: true, access: Access::Direct });
            }
            Step::WriteIndex { base, file } => self.write_index(io, part, base, file),
            Step::Discard { base } => self.discard(io, part, base),
            Step::Erase => unreachable!("begun by `erase`"),
            Step::SyncDir { .. } => {
                io.file(token, FileOp::SyncDir { path: files::c_path(&files::partition_dir(root, &topic, key)) });
            }
            Step::SyncTopicDir { .. } => {
                io.file(token, FileOp::SyncDir { path: files::c_path(&files::topic_dir(root, &topic)) });
            }
            Step::SyncRoot { .. } => io.file(token, FileOp::SyncDir { path: files::c_path(root) }),
            Step::Allocate { base, to } => {
                let f = p.file(base).expect("its file is known");
                let (file, offset) = (f.file.expect("it is open"), u64::from(f.allocated));
                io.file(token, FileOp::Allocate { file, offset, len: u64::from(to) - offset });
            }
            Step::Zero { base, to, at, .. } => self.write_zeros(io, part, base, to, at),
            Step::ZeroSync { base, .. } | Step::WriteSync { base, .. } | Step::FinalSync { base } => {
                self.meter.dirs[usize::from(p.dir)].flushes(FlushKind::Segment);
                io.sync(token, p.file(base).and_then(|f| f.file).expect("it is open"));
            }
            Step::Write { base, to, .. } => self.write_ahead(io, part, base, to),
            Step::Truncate { base } => {
                let len = u64::from(p.log.segment(base).expect("its segment exists").len);
                let file = p.file(base).and_then(|f| f.file).expect("it is open");
                io.file(token, FileOp::Truncate { file, len });
            }
        }
    }

    /// Destages [written, to), padding the last block.
    fn write_ahead(&mut self, io: &mut impl Io, part: PartIdx, base: i64, to: u32) {
        let mut spans = self.take_spans();
        let p = self.partitions[part.0 as usize].as_mut().expect("it takes its own step");
        let f = p.files.iter_mut().find(|f| f.base == base).expect("its file is known");
        let from = f.written - f.written % BLOCK as u32;
        let whole = to - to % BLOCK as u32;
        p.tail.spans(base, from, whole, &mut spans);
        if whole < to {
            spans.push(padded(&mut self.pool, &p.tail, base, whole, to));
        }
        f.written = to;
        let bytes = to.next_multiple_of(BLOCK as u32) - from;
        self.meter.dirs[usize::from(p.dir)].wrote(WriteKind::Destaged, u64::from(bytes));
        io.write(Purpose::Hand { part }.token(), f.file.expect("it is open"), u64::from(from), spans);
    }

    fn write_zeros(&mut self, io: &mut impl Io, part: PartIdx, base: i64, to: u32, at: u32) {
        let len = (to - at).min(ZERO_PIECE);
        let mut spans = self.take_spans();
        spans.push(self.zeros(len as usize));
        let p = self.partitions[part.0 as usize].as_ref().expect("it takes its own step");
        let file = p.file(base).and_then(|f| f.file).expect("it is open");
        self.meter.dirs[usize::from(p.dir)].wrote(WriteKind::Zeroed, u64::from(len));
        io.write(Purpose::Hand { part }.token(), file, u64::from(at), spans);
    }

    /// A span of zeros out of one block that is kept.
    fn zeros(&mut self, len: usize) -> Span {
        let zeros = self.zeros.get_or_insert_with(|| {
            let mut block = self.pool.take(ZERO_PIECE as usize).expect("memory is kept for zeroing");
            block.unwritten().fill(0);
            let capacity = block.capacity();
            block.publish(capacity);
            block.block()
        });
        zeros.span(0, len)
    }

    /// A step ended.
    pub fn on_hand(&mut self, io: &mut impl Io, part: PartIdx, result: i32, now: Now) {
        self.steps -= 1;
        let Some(p) = self.partitions[part.0 as usize].as_mut() else { return };
        let step = std::mem::take(&mut p.hand.step);
        self.writes -= usize::from(step.writes());
        let dir = p.dir;
        if self.dirs[dir as usize].latched.is_some() {
            return;
        }
        if p.erase.is_some() {
            let opened = match step {
                Step::Open { .. } | Step::OpenIndex { .. } if result >= 0 => Some(FileId(result)),
                Step::SyncDir { file, .. } | Step::SyncTopicDir { file, .. } => Some(file),
                Step::SyncRoot { file, .. } | Step::WriteIndex { file, .. } => Some(file),
                _ => None,
            };
            if let Some(file) = opened {
                io.file(Purpose::Forgotten.token(), FileOp::Close { file });
            }
            return self.take_step(io, part, now);
        }
        let fills = matches!(step, Step::Allocate { .. } | Step::Write { .. });
        let ignored = planted(Bug::FullDiskIgnored) && result == -libc::ENOSPC && fills;
        if result < 0 && !ignored {
            return self.failed(io, part, step, -result, now);
        }
        if let Some(next) = self.finished(part, step, result, now) {
            return self.start(io, part, next);
        }
        if let Step::WriteIndex { base, file } = step {
            io.file(Purpose::Forgotten.token(), FileOp::Close { file });
            self.finish_segment(io, part, base);
        }
        self.take_step(io, part, now);
    }

    /// Takes note of a finished step; returns the one that belongs to it and follows.
    fn finished(&mut self, part: PartIdx, step: Step, result: i32, now: Now) -> Option<Step> {
        let p = self.partitions[part.0 as usize].as_mut().expect("it took the step");
        let dir = p.dir;
        match step {
            Step::Idle | Step::Wait { .. } => unreachable!("a step that was never started"),
            Step::MakeTopicDir { base } => return Some(Step::MakeDir { base }),
            Step::MakeDir { base } => return Some(Step::Open { base }),
            Step::Reuse { base, len, .. } => {
                let f = p.file_mut(base)?;
                (f.allocated, f.zeroed) = (len, len);
                return Some(Step::Open { base });
            }
            Step::OpenIndex { base } => return Some(Step::WriteIndex { base, file: FileId(result) }),
            Step::WriteIndex { .. } | Step::Erase => {}
            Step::Discard { .. } => {
                let dead = p.hand.dead.pop_front().expect("it was being discarded");
                self.dirs[dir as usize].recycled.files.extend(dead.recycle.map(|number| (number, dead.blocks)));
            }
            Step::Open { base } => {
                return Some(Step::SyncDir { base, file: FileId(result) });
            }
            Step::SyncDir { base, file } if !p.hand.dir_made => return Some(Step::SyncTopicDir { base, file }),
            Step::SyncTopicDir { base, file } => return Some(Step::SyncRoot { base, file }),
            Step::SyncDir { base, file } | Step::SyncRoot { base, file } => {
                p.hand.dir_made = true;
                p.file_mut(base)?.file = Some(file);
            }
            Step::Allocate { base, to } => {
                p.file_mut(base)?.reserved(to, now.mono);
                self.dirs[dir as usize].full = false;
            }
            Step::Zero { base, to, at, from } => {
                let at = at + (to - at).min(ZERO_PIECE);
                return Some(if at < to {
                    Step::Zero { base, to, at, from }
                } else {
                    Step::ZeroSync { base, to, from }
                });
            }
            Step::ZeroSync { base, to, .. } => p.file_mut(base)?.zeroed = to,
            Step::Write { base, to } => {
                let d = &mut self.dirs[dir as usize];
                let blocks = to.next_multiple_of(BLOCK as u32);
                if !d.one_flush_covers
                    || p.file(base).is_none_or(|f| blocks > f.zeroed && !planted(Bug::DestageUnflushed))
                {
                    return Some(Step::WriteSync { base, to });
                }
                d.committer.cover(Destaged { part, key: p.key, base, to });
            }
            Step::WriteSync { base, to } => {
                let destaged = Destaged { part, key: p.key, base, to };
                self.destaged(dir, &destaged);
            }
            Step::Truncate { base } if planted(Bug::LengthNotFlushed) => return Some(Step::OpenIndex { base }),
            Step::Truncate { base } => return Some(Step::FinalSync { base }),
            Step::FinalSync { base } => return Some(Step::OpenIndex { base }),
        }
        None
    }

    /// Writes the index of a complete segment. Not flushed: if it is lost it is made again.
    fn write_index(&mut self, io: &mut impl Io, part: PartIdx, base: i64, file: FileId) {
        let mut spans = self.take_spans();
        let p = self.partitions[part.0 as usize].as_ref().expect("it takes its own step");
        let segment = p.log.segment(base).expect("its segment exists");
        let index = IndexFile {
            base_offset: base,
            next_offset: segment.next_offset,
            segment_len: segment.len,
            first_append: segment.created,
            index: segment.index.clone().expect("a segment in use has its index"),
        };
        let mut bytes = index.encode();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        for piece in bytes.chunks(INDEX_PIECE) {
            let mut block = self.pool.take(piece.len()).expect("memory is kept for index files");
            block.append(piece);
            spans.push(block.span(0, piece.len()));
        }
        io.write(Purpose::Hand { part }.token(), file, 0, spans);
    }

    /// A sealed segment is complete on disk, with its index beside it: its file is no longer ours to fill.
    fn finish_segment(&mut self, io: &mut impl Io, part: PartIdx, base: i64) {
        let p = self.partitions[part.0 as usize].as_mut().expect("it took the step");
        let Some(at) = p.files.iter().position(|f| f.base == base) else { return };
        let f = p.files.remove(at).expect("it is there");
        if let Some(old) = p.cold.adopt(base, f.file.expect("it is open")) {
            io.file(Purpose::Forgotten.token(), FileOp::Close { file: old });
        }
    }

    fn failed(&mut self, io: &mut impl Io, part: PartIdx, step: Step, errno: i32, now: Now) {
        let p = self.partitions[part.0 as usize].as_mut().expect("it took the step");
        let (dir, key) = (p.dir, p.key);
        let error = std::io::Error::from_raw_os_error(errno);
        match step {
            Step::WriteSync { .. } | Step::ZeroSync { .. } | Step::FinalSync { .. } => {
                self.latch(dir, format!("flushing a segment of {key} failed ({error})"));
            }
            Step::Write { .. } | Step::Zero { .. } if errno != libc::ENOSPC => {
                self.latch(dir, format!("writing a segment of {key} failed ({error})"));
            }
            Step::SyncDir { .. } | Step::SyncTopicDir { .. } | Step::SyncRoot { .. }
                if !matches!(errno, libc::EMFILE | libc::ENFILE) =>
            {
                self.latch(dir, format!("flushing a folder of {key} failed ({error})"));
            }
            // The topic's folder went with the last partition of an earlier topic of this name. Making it tells if more is missing.
            Step::MakeDir { base } if errno == libc::ENOENT => self.start(io, part, Step::MakeTopicDir { base }),
            _ => {
                if let Step::Write { base, .. } = step
                    && let Some(f) = p.file_mut(base)
                {
                    // Not written after all.
                    f.written = f.durable - f.durable % BLOCK as u32;
                }
                // Of a folder that could not be opened nothing was flushed: all of it again, from the file's own opening on.
                if let Step::WriteIndex { file, .. }
                | Step::SyncDir { file, .. }
                | Step::SyncTopicDir { file, .. }
                | Step::SyncRoot { file, .. } = step
                {
                    io.file(Purpose::Forgotten.token(), FileOp::Close { file });
                }
                p.hand.step = Step::Wait { until: now.mono.after(FULL_RETRY_MS) };
                let d = &mut self.dirs[dir as usize];
                let place = d.path.display();
                if step.finishes() {
                    eprintln!(
                        "error: log directory {place}: {key}: {step:?}: {error}. It is tried again; nothing is lost."
                    );
                } else if !std::mem::replace(&mut d.full, true) {
                    eprintln!(
                        "error: log directory {place}: {key}: {step:?}: {error}. Produce is refused there until it succeeds; \
                         free space or raise the limit. Reads and deletes go on."
                    );
                }
                self.waiting.push((part, now.mono.after(FULL_RETRY_MS)));
            }
        }
    }

    /// Wakes partitions that waited for room.
    pub fn retry_waiting(&mut self, now: Now) {
        let mut k = 0;
        while k < self.waiting.len() {
            if self.waiting[k].1 > now.mono {
                k += 1;
                continue;
            }
            let (part, _) = self.waiting.swap_remove(k);
            if let Some(p) = self.get_mut(part)
                && !p.hand.queued
            {
                p.hand.queued = true;
                self.hands.push_back(part);
            }
        }
    }

    /// Takes dead segments out of the log, now that the commit that says so is durable, and lets their files go later.
    fn bury(&mut self, part: PartIdx, now: Now) {
        let Some(p) = self.partitions[part.0 as usize].as_mut() else { return };
        let start = p.log.log_start();
        if p.durable_start != start && !planted(Bug::BuriedTooEarly) {
            // It moved again: the commit that says so comes here, too.
            p.hand.bury = false;
            return;
        }
        let writing = |f: &SegmentFile| f.in_flight > 0 || f.guard.is_some();
        let dying = |p: &Partition, base| p.log.segment(base).is_none_or(|s| s.next_offset <= start);
        if p.files.iter().any(|f| writing(f) && dying(p, f.base)) {
            return;
        }
        let before = p.journal_lap();
        p.hand.bury = false;
        let due = now.mono.after(p.config.file_delete_delay_ms);
        for segment in p.log.take_dead(now.wall) {
            let filling = p.files.iter().position(|f| f.base == segment.base).and_then(|at| p.files.remove(at));
            let blocks =
                filling.as_ref().map_or(segment.len, |f| f.written.min(segment.len)) / BLOCK as u32 * BLOCK as u32;
            let opened = filling.as_ref().is_none_or(|f| f.file.is_some());
            if opened {
                let file = filling.and_then(|f| f.file);
                p.hand.dead.push_back(Dead { base: segment.base, due, blocks, file, recycle: None });
            }
        }
        let first = p.log.segments().next().expect("a log has a segment").base;
        let begin = Place { segment: first, position: 0 };
        (p.committed, p.durable) = (p.committed.max(begin), p.durable.max(begin));
        p.tail.forget_before(first);
        let (dir, after) = (p.dir, p.journal_lap());
        self.let_go(dir, before, after);
    }

    /// Removes what is left of a deleted partition, file by file; then its place is free.
    fn erase(&mut self, io: &mut impl Io, part: PartIdx) {
        let p = self.partitions[part.0 as usize].as_mut().expect("it takes its own step");
        if p.files.iter().any(|f| f.in_flight > 0) || !p.cold.idle() || !p.ranges.idle() {
            self.waiting.push((part, MonoMs(0)));
            return;
        }
        let open = p.files.drain(..).filter_map(|f| f.file).collect::<Vec<_>>();
        for file in open.into_iter().chain(p.cold.files()) {
            io.file(Purpose::Forgotten.token(), FileOp::Close { file });
        }
        self.close_ranges(io, part);
        let p = self.partitions[part.0 as usize].as_mut().expect("it takes its own step");
        match p.erase.as_mut().and_then(Vec::pop) {
            Some(path) => {
                p.hand.step = Step::Erase;
                self.steps += 1;
                io.file(Purpose::Hand { part }.token(), FileOp::Remove { path });
            }
            None => {
                self.partitions[part.0 as usize] = None;
                self.free.push(part.0);
            }
        }
    }

    /// Lets a dead segment's file go: its blocks are kept for a new segment, or it is removed.
    fn discard(&mut self, io: &mut impl Io, part: PartIdx, base: i64) {
        let core = self.core;
        let p = self.partitions[part.0 as usize].as_mut().expect("it takes its own step");
        let token = Purpose::Hand { part }.token();
        let dir = &mut self.dirs[p.dir as usize];
        let path = files::c_path(&files::segment(&dir.path, &p.topic, p.key, base));
        let forgotten = p.cold.forget(base).and_then(|cold| Ok((cold, p.ranges.forget(base)?)));
        let (cold, gone) = match forgotten {
            Ok(gone) => gone,
            Err(Busy) => {
                p.hand.dead.front_mut().expect("it is being discarded").due.0 += FULL_RETRY_MS;
                p.hand.step = Step::Idle;
                self.steps -= 1;
                return self.hands.push_back(part);
            }
        };
        let dead = p.hand.dead.front_mut().expect("it is being discarded");
        for file in dead.file.take().into_iter().chain(cold) {
            io.file(Purpose::Forgotten.token(), FileOp::Close { file });
        }
        let index = files::c_path(&files::index(&dir.path, &p.topic, p.key, base));
        io.file(Purpose::Forgotten.token(), FileOp::Remove { path: index });
        // What ranges were sent of stays as it is.
        let pinned = gone.shared && !planted(Bug::RecycledUnderRange);
        if !pinned && dead.blocks >= RECYCLED_BYTES_MIN && dir.recycled.files.len() < RECYCLED_MAX {
            dir.recycled.next += 1;
            let number = dir.recycled.next;
            dead.recycle = Some(number);
            let to = files::c_path(&files::recycled(&dir.path, core, number));
            io.file(token, FileOp::Rename { from: path, to });
        } else {
            io.file(token, FileOp::Remove { path });
        }
        self.close_gone(io, gone);
    }
}

/// Piece of an index file in one write.
const INDEX_PIECE: usize = 1 << 20;
/// How long a partition waits before it asks for room again.
const FULL_RETRY_MS: u64 = 500;

impl Partition {
    /// Everything committed is durable in segment files: no journal is needed.
    pub(super) fn all_in_files(&self) -> bool {
        self.files.iter().all(|f| match self.log.segment(f.base) {
            Some(_) if f.base == self.committed.segment => f.durable >= self.committed.position,
            Some(s) => f.durable >= s.len,
            None => true,
        })
    }

    /// The place up to which segment files hold everything.
    pub fn destaged(&self) -> Place {
        self.durable_in_files()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u32 = 1 << 30;

    /// Reserves as often as the hand would after each of so many writes of 64 KiB, and says how much is ahead of them.
    fn write(f: &mut SegmentFile, writes: u32, at: MonoMs) -> u32 {
        for _ in 0..writes {
            f.written += 64 << 10;
            while f.runs_short(SEGMENT) {
                let to = reserve(f, f.written, SEGMENT, false);
                f.reserved(to, at);
            }
        }
        f.allocated - f.written
    }

    #[test]
    fn space_ahead_follows_the_rate_of_writes() {
        let mut f = SegmentFile::new(0, None);
        assert!(write(&mut f, 1, MonoMs(100_000)) <= 2 * STEP_MIN, "one write is no rate");
        for second in 101..200 {
            assert!(write(&mut f, 1, MonoMs(second * 1000)) <= 4 * STEP_MIN, "64 KiB a second");
        }
        assert!(write(&mut f, 1000, MonoMs(200_100)) >= STEP_MAX, "62 MiB at once");
        for minute in 4..20 {
            write(&mut f, 256, MonoMs(minute * 60_000));
        }
        assert!(f.step <= STEP_MAX / 4, "16 MiB a minute: {}", f.step);
    }
}
