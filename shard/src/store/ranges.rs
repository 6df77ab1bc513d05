//! Ranges of sealed segments that leave for sockets straight from their files, through the page cache and past our memory.
//!
//! Nobody can look at what is sent so. Therefore only what was read and found good since the start is sent so: the first
//! reader of a segment checks it, those who come later get ranges. A range begins and ends where the segment's index says
//! that a batch begins, so that the next one can follow it without a look at the file.
//!
//! A file that was opened for this is never filled again as another segment: it stays as it is until it is removed. A range
//! keeps its file open, whatever becomes of the segment; the owner closes it once nobody has a range of it.
//!
//! Lives on the core that owns the partition; a range may be held on any.

use super::read::{Busy, ReadAt};
use super::{PartIdx, Partition, Purpose, Store, files};
use crate::io::{Access, FileId, FileOp, Io};
use ringlog_engine::log::partition::Place;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files of a partition kept open for ranges.
const FILES_MAX: usize = 4;

/// A file that ranges are sent from.
#[derive(Debug)]
pub(super) struct SharedFile {
    file: FileId,
    /// It could not be read: what was good may not be so any more.
    failed: AtomicBool,
}

/// Bytes of a segment's file: whole batches that were found good.
#[derive(Debug)]
pub struct FileRange {
    shared: Arc<SharedFile>,
    pub position: u32,
    pub len: u32,
}

impl FileRange {
    pub fn file(&self) -> FileId {
        self.shared.file
    }

    /// The file could not be read: its owner is to look at it again before more of it is sent.
    pub fn fail(&self) {
        self.shared.failed.store(true, Ordering::Relaxed);
    }
}

/// What is known of a segment.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Good batches, from one to another.
    from: u32,
    to: u32,
    /// Its file was opened for ranges.
    shared: bool,
}

/// What a partition knows of its segments, and the files it has open, to send ranges of them.
#[derive(Debug, Default)]
pub struct Ranges {
    known: BTreeMap<i64, Known>,
    open: VecDeque<(i64, Arc<SharedFile>)>,
    opening: Option<i64>,
}

/// A segment that goes.
#[derive(Debug, Default)]
pub struct Gone {
    open: Option<Arc<SharedFile>>,
    /// Ranges of its file were sent.
    pub shared: bool,
}

impl Ranges {
    /// Batches of a segment were read and found good.
    pub fn note_good(&mut self, base: i64, from: u32, to: u32) {
        let known = self.known.entry(base).or_default();
        if from <= known.to && known.from <= to {
            (known.from, known.to) = (known.from.min(from), known.to.max(to));
        } else if to - from > known.to - known.from {
            (known.from, known.to) = (from, to);
        }
    }

    /// Where the good batches end that begin at a position; the position itself if there are none.
    pub fn good_until(&self, base: i64, position: u32) -> u32 {
        match self.known.get(&base) {
            Some(known) if known.from <= position && position < known.to => known.to,
            _ => position,
        }
    }

    pub fn idle(&self) -> bool {
        self.opening.is_none()
    }

    /// Forgets a segment.
    pub fn forget(&mut self, base: i64) -> Result<Gone, Busy> {
        if self.opening == Some(base) {
            return Err(Busy);
        }
        let at = self.open.iter().position(|(b, _)| *b == base);
        let open = at.and_then(|at| self.open.remove(at)).map(|(_, shared)| shared);
        Ok(Gone { open, shared: self.known.remove(&base).is_some_and(|known| known.shared) })
    }
}

/// A range, or the opening of its file.
pub enum Ranged {
    Here(FileRange),
    Pending,
}

impl Partition {
    /// Where a range would end that begins with the batch at `place`; `None` if too little of what is asked for is good.
    fn range_end(&self, place: Place, max_bytes: u32, least: u32) -> Option<u32> {
        let base = place.segment;
        if max_bytes < least || base == self.log.active().base || self.file(base).is_some() {
            return None;
        }
        let segment = self.log.segment(base).filter(|_| base < self.log.visible_end().segment)?;
        let good = self.ranges.good_until(base, place.position);
        let to = good.min(place.position.saturating_add(max_bytes));
        let end = if to == segment.len { to } else { segment.index.as_ref()?.start_at_or_before(to) };
        (end.checked_sub(place.position)? >= least).then_some(end)
    }

    /// Where to end what is sent from memory, between `first` and `end`, if a range may follow it.
    pub fn end_before_range(&self, segment: i64, (first, end): (u32, u32), max_bytes: u32, least: u32) -> u32 {
        let start = self.log.segment(segment).and_then(|s| s.index.as_ref()).map_or(end, |i| i.start_at_or_before(end));
        let follows = start >= first && self.range_end(Place { segment, position: start }, max_bytes, least).is_some();
        if follows { start } else { end }
    }
}

impl Store {
    /// The range of a file that answers a question, if it is to be answered so; `place` is the index's.
    pub fn file_range(&mut self, io: &mut impl Io, part: PartIdx, place: Place, ask: ReadAt) -> Option<Ranged> {
        let least = self.limits.range_min;
        let p = self.partitions[part.0 as usize].as_mut().expect("it was there");
        let base = place.segment;
        if p.tail.holds(place) || p.cold.has(place) || p.log.offset_at(place) != Some(ask.offset) {
            return None;
        }
        let end = p.range_end(place, ask.max_bytes, least)?;
        if let Some(at) = p.ranges.open.iter().position(|(b, _)| *b == base) {
            let shared = &p.ranges.open[at].1;
            if !shared.failed.load(Ordering::Relaxed) {
                let (shared, position) = (shared.clone(), place.position);
                return Some(Ranged::Here(FileRange { shared, position, len: end - position }));
            }
            let (_, shared) = p.ranges.open.remove(at).expect("it is there");
            p.ranges.known.insert(base, Known { shared: true, ..Known::default() });
            self.part_with(io, shared);
            return None;
        }
        if p.ranges.opening.is_none() {
            p.ranges.opening = Some(base);
            p.ranges.known.get_mut(&base).expect("some of it is good").shared = true;
            let path = files::c_path(&files::segment(&self.dirs[p.dir as usize].path, &p.topic, p.key, base));
            let op = FileOp::Open { path, create: false, access: Access::Cached };
            io.file(Purpose::ShareFile { part }.token(), op);
        }
        Some(Ranged::Pending)
    }

    /// A file was opened for ranges.
    pub fn on_shared_file(&mut self, io: &mut impl Io, part: PartIdx, result: i32) {
        let p = self.partitions[part.0 as usize].as_mut().expect("a partition stays while it opens a file");
        let base = p.ranges.opening.take().expect("it was being opened");
        if result < 0 {
            let error = std::io::Error::from_raw_os_error(-result);
            eprintln!("error: {}: segment {base} cannot be opened to be sent from its file ({error})", p.key);
            p.ranges.known.insert(base, Known { shared: true, ..Known::default() });
        } else {
            p.ranges
                .open
                .push_back((base, Arc::new(SharedFile { file: FileId(result), failed: AtomicBool::new(false) })));
            if p.ranges.open.len() > FILES_MAX {
                let (_, oldest) = p.ranges.open.pop_front().expect("there are several");
                self.part_with(io, oldest);
            }
        }
        self.ring(part);
    }

    /// The files of a partition that goes.
    pub fn close_ranges(&mut self, io: &mut impl Io, part: PartIdx) {
        let p = self.partitions[part.0 as usize].as_mut().expect("it was there");
        for (_, shared) in std::mem::take(&mut p.ranges.open) {
            self.part_with(io, shared);
        }
    }

    /// The file of a segment that goes.
    pub fn close_gone(&mut self, io: &mut impl Io, gone: Gone) {
        if let Some(shared) = gone.open {
            self.part_with(io, shared);
        }
    }

    fn part_with(&mut self, io: &mut impl Io, shared: Arc<SharedFile>) {
        self.parting.push(shared);
        self.close_parted(io);
    }

    /// Closes the files given up that nobody has a range of any more.
    pub fn close_parted(&mut self, io: &mut impl Io) {
        self.parting.retain_mut(|shared| {
            let last = Arc::get_mut(shared).is_some();
            if last {
                io.file(Purpose::Forgotten.token(), FileOp::Close { file: shared.file });
            }
            !last
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_good_is_one_stretch_that_grows() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.good_until(7, 0), 0);
        ranges.note_good(7, 100, 200);
        ranges.note_good(7, 200, 300);
        ranges.note_good(7, 50, 120);
        assert_eq!([49, 50, 250, 299, 300].map(|at| ranges.good_until(7, at)), [49, 300, 300, 300, 300]);
        ranges.note_good(7, 1000, 1100);
        assert_eq!(ranges.good_until(7, 1000), 1000, "the longer stretch stays");
        ranges.note_good(7, 1000, 2000);
        assert_eq!([50, 1000].map(|at| ranges.good_until(7, at)), [50, 2000]);
        assert_eq!(ranges.good_until(8, 1000), 1000);
        assert!(ranges.forget(7).is_ok_and(|gone| !gone.shared));
        assert_eq!(ranges.good_until(7, 1000), 1000);
    }
}
