//! Reading a partition: from the tail in memory, or from its segment files with read-ahead. Nothing here blocks: what must
//! come from disk is started, the asker is rung when it is there and asks again.
//!
//! What comes from disk is checked before it is handed out: checksum, offset and leader epoch of every batch, once per block
//! read. The offset from which a log turned out damaged is remembered in the log, which refuses it from there on.
//!
//! One disk operation at a time per partition. Lives on the core that owns the partition.

use super::ranges::Ranged;
use super::{PartIdx, Partition, Purpose, Store, files};
use crate::io::memory::{Block, BlockMut, Span};
use crate::io::{Access, FileId, FileOp, Io};
use crate::mail::ReadAnswer;
use crate::metrics::core::ReadPath;
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchHeader, HEADER_LEN, checksum_matches};
use ringlog_engine::log::index::{BadIndex, IndexFile, SegmentIndex};
use ringlog_engine::log::journal::BLOCK;
use ringlog_engine::log::partition::{Located, Place};
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::rope::Rope;
use std::collections::VecDeque;

/// Bytes read ahead of a reader that comes from the disk.
const READ_AHEAD: usize = 1 << 20;
/// While others write to the directory it is read in pieces of so many bytes: what they write waits for one at most.
const PIECE: usize = 128 << 10;
/// So many reads of a partition without a commit of its directory, and its next are whole.
const QUIET_READS: u32 = 8;
/// Blocks of cold data kept per partition, and files of sealed segments kept open.
const BLOCKS_MAX: usize = 4;
const FILES_MAX: usize = 4;

#[derive(Debug)]
struct ColdBlock {
    segment: i64,
    start: u32,
    /// Where the bytes end that were durable in the file when they were read.
    end: u32,
    block: Block,
    checked: Checked,
}

impl ColdBlock {
    fn is(&self, block: &Block) -> bool {
        std::ptr::eq(self.block.bytes(), block.bytes())
    }
}

/// What of a block was checked and found good: from one batch to another, and the offset at which the other must begin.
#[derive(Clone, Copy, Debug, Default)]
struct Checked {
    from: u32,
    to: u32,
    next_offset: i64,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Idle,
    Open {
        base: i64,
    },
    Read {
        base: i64,
        start: u32,
        /// Where the bytes end that are durable.
        end: u32,
        /// Bytes asked of the disk at a time.
        piece: usize,
    },
    OpenIndex {
        base: i64,
    },
    ReadIndex {
        base: i64,
        file: FileId,
    },
    /// The index is missing or damaged: it is made again from the segment, piece by piece.
    Rebuild {
        base: i64,
        position: u32,
        /// Offset at which the next batch must begin.
        offset: i64,
        index: SegmentIndex,
    },
}

/// What a partition has of its older segments: open files, lately read blocks, and the disk operation under way.
#[derive(Debug, Default)]
pub struct ColdReads {
    files: VecDeque<(i64, FileId)>,
    blocks: VecDeque<ColdBlock>,
    step: Step,
    /// Commits of the directory when a block was read last, and the blocks read since there was one.
    commits: u64,
    quiet: u32,
    /// What could not be read, told once to whoever asks: segment and block.
    failed: Option<(i64, u32)>,
    /// Indexes to make again once the segment's file is open.
    rebuild: Vec<i64>,
}

impl ColdReads {
    /// The block that holds `need` bytes from a place on.
    fn find(&self, place: Place, need: usize) -> Option<&ColdBlock> {
        self.blocks.iter().find(|b| {
            b.segment == place.segment && b.start <= place.position && place.position as usize + need <= b.end as usize
        })
    }

    /// What was checked in a block from a position on: the position where it ends, and the offset there.
    fn checked_from(&self, block: &Block, position: u32) -> Option<(u32, i64)> {
        let checked = self.blocks.iter().find(|b| b.is(block))?.checked;
        (checked.from <= position && position < checked.to).then_some((checked.to, checked.next_offset))
    }

    /// The batch at a position of a block is good.
    fn note_checked(&mut self, block: &Block, position: u32, header: &BatchHeader) {
        let Some(block) = self.blocks.iter_mut().find(|b| b.is(block)) else { return };
        let from = if block.checked.to == position { block.checked.from } else { position };
        let to = position + header.total_len() as u32;
        block.checked = Checked { from, to, next_offset: header.next_offset() };
    }

    fn file(&self, base: i64) -> Option<FileId> {
        self.files.iter().find(|(b, _)| *b == base).map(|(_, f)| *f)
    }

    /// Takes over the file of a segment that was just completed.
    pub fn adopt(&mut self, base: i64, file: FileId) -> Option<FileId> {
        self.files.push_back((base, file));
        (self.files.len() > FILES_MAX).then(|| self.files.pop_front()).flatten().map(|(_, f)| f)
    }

    /// Forgets a segment; its open file is the caller's to close. `None` while it is being read.
    pub fn forget(&mut self, base: i64) -> Result<Option<FileId>, Busy> {
        let busy = match &self.step {
            Step::Idle => false,
            Step::Open { base: b } | Step::Read { base: b, .. } | Step::Rebuild { base: b, .. } => *b == base,
            Step::OpenIndex { base: b } | Step::ReadIndex { base: b, .. } => *b == base,
        };
        if busy {
            return Err(Busy);
        }
        self.blocks.retain(|b| b.segment != base);
        self.rebuild.retain(|b| *b != base);
        let at = self.files.iter().position(|(b, _)| *b == base);
        Ok(at.and_then(|at| self.files.remove(at)).map(|(_, f)| f))
    }

    pub fn files(&mut self) -> impl Iterator<Item = FileId> + '_ {
        self.files.drain(..).map(|(_, f)| f)
    }

    /// Bytes to read at a time, given the number of commits the directory has seen.
    fn piece(&mut self, commits: u64) -> usize {
        self.quiet = if self.commits == commits { self.quiet.saturating_add(1) } else { 0 };
        self.commits = commits;
        if self.quiet > QUIET_READS { usize::MAX } else { PIECE }
    }

    /// Is the beginning of a batch in a block?
    pub fn has(&self, place: Place) -> bool {
        self.find(place, HEADER_LEN).is_some()
    }

    pub fn idle(&self) -> bool {
        matches!(self.step, Step::Idle)
    }

    /// Bytes of memory held.
    pub fn held(&self) -> usize {
        self.blocks.iter().map(|b| b.block.capacity()).sum()
    }

    /// Gives the oldest block back.
    pub fn evict(&mut self) -> usize {
        self.blocks.pop_front().map_or(0, |b| b.block.capacity())
    }
}

/// The segment is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// What can be said of a place right now.
enum Look {
    /// Here are the bytes, from the place on, to the end of what is there.
    Memory,
    /// A block, and the position of its first byte.
    Cold(Block, u32),
    /// Under way, or just started.
    Pending,
    Failed,
}

/// What is at a place of a log.
#[derive(Debug)]
pub enum BatchAt {
    Here {
        header: BatchHeader,
        spans: Vec<Span>,
    },
    /// On its way from the disk: ask again when the partition rings.
    Pending,
    Failed,
    /// The end of the segment, or of what may be seen.
    End,
}

/// A question to a partition's log.
#[derive(Clone, Copy, Debug)]
pub struct ReadAt {
    pub offset: i64,
    pub max_bytes: u32,
    pub at_least_one: bool,
}

impl Store {
    /// Reads what consumers may see from an offset on. Never waits: `pending` says that the disk was asked.
    pub fn read(&mut self, io: &mut impl Io, part: PartIdx, ask: ReadAt) -> ReadAnswer {
        let Some(p) = self.get(part) else { return ReadAnswer::refused(ErrorCode::UnknownTopicOrPartition) };
        if self.dirs[p.dir as usize].latched.is_some() {
            return ReadAnswer::refused(ErrorCode::KafkaStorageError);
        }
        let mut answer = ReadAnswer {
            error: ErrorCode::None,
            high_watermark: p.log.high_watermark(),
            log_start: p.log.log_start(),
            diverging: None,
            spans: Vec::new(),
            range: None,
            bytes: 0,
            more: false,
            pending: false,
        };
        match p.log.locate(ask.offset) {
            Err(error) => answer.error = error,
            Ok(Located::End) => {}
            Ok(Located::NeedIndex(base)) => {
                self.load_index(io, part, base);
                answer.pending = true;
            }
            Ok(Located::At(place)) => match self.file_range(io, part, place, ask) {
                // Of a sealed segment: another one follows.
                Some(Ranged::Here(range)) => {
                    self.count_read(part, ReadPath::Splice, range.len);
                    (answer.bytes, answer.range, answer.more) = (range.len, Some(range), true);
                }
                Some(Ranged::Pending) => answer.pending = true,
                None => {
                    let place = self.get(part).and_then(|p| p.tail.locate(ask.offset)).unwrap_or(place);
                    self.read_from(io, part, place, ask, &mut answer);
                }
            },
        }
        answer
    }

    fn read_from(&mut self, io: &mut impl Io, part: PartIdx, place: Place, ask: ReadAt, answer: &mut ReadAnswer) {
        let (mut at, mut need) = (place, HEADER_LEN);
        // Offset of the batch at `at`, where it is known.
        let mut offset = self.get(part).and_then(|p| p.log.offset_at(place));
        loop {
            let Some(p) = self.get(part) else { return answer.error = ErrorCode::UnknownTopicOrPartition };
            let segment = p.log.segment(at.segment).expect("it was located");
            if at.position == segment.len && segment.next_offset >= p.log.high_watermark() {
                // The gap that its index tells of is the end of the log: there is nothing yet.
                return;
            }
            if at.position == segment.len {
                // The log has a gap here, as its index says: what is asked for begins with the next segment.
                at = Place { segment: segment.next_offset, position: 0 };
                if !p.tail.holds(at) && p.log.segment(at.segment).is_some_and(|s| s.index.is_none()) {
                    self.load_index(io, part, at.segment);
                    return answer.pending = true;
                }
                offset = Some(at.segment);
                continue;
            }
            let segment_len = segment.len;
            if segment_len - at.position < HEADER_LEN as u32 {
                self.damaged(part, at, offset.unwrap_or(ask.offset));
                return answer.error = ErrorCode::KafkaStorageError;
            }
            let look = self.look(io, part, at, need);
            let p = self.get(part).expect("it was there");
            let header = match &look {
                Look::Memory => p.tail.header(at),
                Look::Cold(block, start) => header_in(block, at.position - start),
                Look::Pending => {
                    self.meter.cold_reads[1].add(1);
                    return answer.pending = true;
                }
                Look::Failed => return answer.error = ErrorCode::KafkaStorageError,
            };
            let header = BatchHeader::parse(&header);
            let len = header.total_len() as u32;
            if !p.log.may_hold(&header, offset, segment_len - at.position) {
                self.damaged(part, at, offset.unwrap_or(ask.offset));
                return answer.error = ErrorCode::KafkaStorageError;
            }
            if let Look::Cold(block, start) = &look
                && p.cold.checked_from(block, at.position).is_none()
            {
                if need < len as usize {
                    need = len as usize;
                    continue;
                }
                if !whole(block, at.position - start, len as usize) && !planted(Bug::RotServed) {
                    self.damaged(part, at, header.base_offset);
                    return answer.error = ErrorCode::KafkaStorageError;
                }
                self.get_mut(part).expect("it was there").cold.note_checked(block, at.position, &header);
            }
            if header.last_offset() >= ask.offset {
                return self.gather(io, part, (at, &header), look, ask, answer);
            }
            at.position += len;
            (offset, need) = (Some(header.next_offset()), HEADER_LEN);
        }
    }

    /// Where a batch should be there is none, or a damaged one: from its offset on the log is refused.
    fn damaged(&mut self, part: PartIdx, at: Place, offset: i64) {
        let p = self.get_mut(part).expect("it was there");
        eprintln!(
            "error: {}-{}: segment {} is damaged at byte {}, offset {offset}. Reads from this offset on are refused, those \
             before it go on. Restore the segment, or see `ringlog repair`.",
            p.topic, p.key.partition, at.segment, at.position
        );
        p.log.on_damage(offset);
        self.ring(part);
    }

    /// End of the last good batch in a cold block that begins before `to`; the `first`, at its place, was found good.
    fn good_until(&mut self, part: PartIdx, first: (Place, &BatchHeader), to: u32, block: &Block, start: u32) -> u32 {
        let (at, header) = first;
        let p = self.get_mut(part).expect("it was there");
        let segment_len = p.log.segment(at.segment).map_or(0, |s| s.len);
        let (mut end, mut offset) = (at.position + header.total_len() as u32, header.next_offset());
        while end < to {
            let here = Place { position: end, ..at };
            if let Some(checked) = p.cold.checked_from(block, end) {
                (end, offset) = checked;
                continue;
            }
            if end >= segment_len || p.cold.find(here, HEADER_LEN).is_none_or(|b| !b.is(block)) {
                break;
            }
            let header = BatchHeader::parse(&header_in(block, end - start));
            let len = header.total_len();
            let there = p.cold.find(here, len).is_some_and(|b| b.is(block));
            // What is damaged is told when it is asked for.
            if !there || !p.log.may_hold(&header, Some(offset), segment_len - end) || !whole(block, end - start, len) {
                break;
            }
            p.cold.note_checked(block, end, &header);
            end += len as u32;
            offset = header.next_offset();
        }
        end
    }

    /// Collects bytes from the batch at `at` on.
    fn gather(
        &mut self,
        io: &mut impl Io,
        part: PartIdx,
        (at, header): (Place, &BatchHeader),
        look: Look,
        ask: ReadAt,
        answer: &mut ReadAnswer,
    ) {
        let first = header.total_len() as u32;
        if first > ask.max_bytes && !ask.at_least_one {
            return;
        }
        let mut spans = self.take_spans();
        let p = self.get(part).expect("it was there");
        let visible = p.log.visible_end();
        let segment = p.log.segment(at.segment).expect("it was located");
        let whole = visible.segment != at.segment || planted(Bug::ReadPastVisible);
        let end = if whole { segment.len } else { visible.position };
        let to = end.min(at.position.saturating_add(ask.max_bytes.max(first)));
        let path = if matches!(look, Look::Memory) { ReadPath::Memory } else { ReadPath::Direct };
        match look {
            Look::Memory => p.tail.spans(at.segment, at.position, to, &mut spans),
            Look::Cold(block, start) => {
                self.meter.cold_reads[0].add(1);
                let good = self.good_until(part, (at, header), to, &block, start);
                let ahead = good - start >= READ_AHEAD as u32 / 2;
                let edge = if ahead { self.good_until(part, (at, header), u32::MAX, &block, start) } else { good };
                let least = self.limits.range_min;
                let p = self.get_mut(part).expect("it was there");
                // A range may follow this block: what comes after it was read before.
                let known = ask.max_bytes >= least && p.ranges.good_until(at.segment, at.position) > edge;
                p.ranges.note_good(at.segment, at.position, edge);
                let sent = (at.position + first, good.min(to));
                let end = if known { p.end_before_range(at.segment, sent, ask.max_bytes, least) } else { sent.1 };
                spans.push(block.span((at.position - start) as usize, (end - at.position) as usize));
                if ahead && !known {
                    self.read_ahead(io, part, Place { position: edge, ..at });
                }
            }
            Look::Pending | Look::Failed => unreachable!("there are bytes to gather"),
        }
        answer.bytes = spans.iter().map(|s| s.len).sum();
        answer.more = visible.segment != at.segment || at.position + answer.bytes < visible.position;
        answer.spans = spans;
        self.count_read(part, path, answer.bytes);
    }

    fn count_read(&mut self, part: PartIdx, path: ReadPath, bytes: u32) {
        self.meter.read(path, bytes);
        self.get_mut(part).expect("it was read").read_bytes += u64::from(bytes);
    }

    /// Where the bytes at a place are; starts a read if they are on disk only. `need` of them must lie together.
    fn look(&mut self, io: &mut impl Io, part: PartIdx, at: Place, need: usize) -> Look {
        let p = self.get_mut(part).expect("it was there");
        if p.tail.holds(at) {
            return Look::Memory;
        }
        if let Some(cold) = p.cold.find(at, need) {
            return Look::Cold(cold.block.clone(), cold.start);
        }
        let block = at.position - at.position % BLOCK as u32;
        let failed = |f: &mut (i64, u32)| *f == (at.segment, block);
        if p.cold.failed.take_if(failed).is_some() {
            return Look::Failed;
        }
        self.fetch_cold(io, part, at.segment, block, need + BLOCK);
        Look::Pending
    }

    /// The whole batch at a place, among what consumers may see.
    pub fn batch_at(&mut self, io: &mut impl Io, part: PartIdx, at: Place) -> BatchAt {
        let Some(p) = self.get(part) else { return BatchAt::End };
        let visible = p.log.visible_end();
        let segment_len = p.log.segment(at.segment).map_or(0, |s| s.len);
        let end = if visible.segment == at.segment { visible.position } else { segment_len };
        if at.position >= end || visible.segment < at.segment {
            return BatchAt::End;
        }
        if end - at.position < HEADER_LEN as u32 {
            return BatchAt::Failed;
        }
        let mut need = HEADER_LEN;
        loop {
            let look = self.look(io, part, at, need);
            let p = self.get(part).expect("it was there");
            let (header, cold) = match look {
                Look::Memory => (p.tail.header(at), None),
                Look::Cold(block, start) => {
                    let from = at.position - start;
                    (header_in(&block, from), Some((block, from as usize)))
                }
                Look::Pending => return BatchAt::Pending,
                Look::Failed => return BatchAt::Failed,
            };
            let header = BatchHeader::parse(&header);
            let len = header.total_len();
            if !p.log.may_hold(&header, p.log.offset_at(at), end - at.position)
                || header.last_offset() >= p.log.damaged_from()
            {
                return BatchAt::Failed;
            }
            match cold {
                Some((block, from)) if need >= len || p.cold.checked_from(&block, at.position).is_some() => {
                    if p.cold.checked_from(&block, at.position).is_none() && !whole(&block, from as u32, len) {
                        self.damaged(part, at, header.base_offset);
                        return BatchAt::Failed;
                    }
                    return BatchAt::Here { header, spans: vec![block.span(from, len)] };
                }
                Some(_) => need = len,
                None => {
                    let mut spans = Vec::new();
                    p.tail.spans(at.segment, at.position, at.position + len as u32, &mut spans);
                    return BatchAt::Here { header, spans };
                }
            }
        }
    }

    /// Starts the read of a range, or the opening of its file.
    fn fetch_cold(&mut self, io: &mut impl Io, part: PartIdx, base: i64, start: u32, need: usize) {
        let p = self.partitions[part.0 as usize].as_mut().expect("it was there");
        if !p.cold.idle() {
            return;
        }
        let Some(file) = p.file(base).and_then(|f| f.file).or_else(|| p.cold.file(base)) else {
            let path = files::segment(&self.dirs[p.dir as usize].path, &p.topic, p.key, base);
            p.cold.step = Step::Open { base };
            return io.file(
                Purpose::ColdRead { part }.token(),
                FileOp::Open { path: files::c_path(&path), create: false, access: Access::Direct },
            );
        };
        let len = need.max(READ_AHEAD).next_multiple_of(BLOCK);
        let in_file =
            p.file(base).map_or(u32::MAX, |f| if planted(Bug::StaleReadAhead) { f.allocated } else { f.durable });
        let end = p.log.segment(base).map_or(0, |s| s.len).min(in_file);
        let len = len.min(end.next_multiple_of(BLOCK as u32).saturating_sub(start) as usize);
        if len == 0 {
            return;
        }
        while p.cold.blocks.len() >= BLOCKS_MAX {
            p.cold.blocks.pop_front();
        }
        let Some(block) = self.pool.take(len) else {
            self.memory_wanted = true;
            return;
        };
        let p = self.partitions[part.0 as usize].as_mut().expect("it was there");
        let commits = self.dirs[p.dir as usize].committer.commits;
        let piece = len.min(p.cold.piece(commits));
        p.cold.step = Step::Read { base, start, end: end.min(start + len as u32), piece };
        io.read(Purpose::ColdRead { part }.token(), file, u64::from(start), block, piece as u32);
    }

    /// A reader has come past the middle of the last block read: what begins at `next`, the first batch that is not whole in
    /// it, is read while the reader is busy with this.
    fn read_ahead(&mut self, io: &mut impl Io, part: PartIdx, next: Place) {
        let p = self.get(part).expect("it was there");
        let more = p.log.segment(next.segment).is_some_and(|s| next.position < s.len);
        let ahead = p
            .cold
            .blocks
            .iter()
            .any(|b| b.segment == next.segment && b.start == next.position - next.position % BLOCK as u32);
        if more && !ahead && p.cold.idle() && !p.tail.holds(next) {
            self.fetch_cold(io, part, next.segment, next.position - next.position % BLOCK as u32, BLOCK);
        }
    }

    /// Loads the index of a sealed segment from its file, or makes it again.
    pub fn load_index(&mut self, io: &mut impl Io, part: PartIdx, base: i64) {
        let p = self.partitions[part.0 as usize].as_mut().expect("it was there");
        if !p.cold.idle() {
            return;
        }
        if p.cold.rebuild.contains(&base) {
            if p.cold.file(base).is_some() {
                return self.rebuild(io, part, (base, 0, base), SegmentIndex::default());
            }
            return self.fetch_cold(io, part, base, 0, BLOCK);
        }
        let path = files::index(&self.dirs[p.dir as usize].path, &p.topic, p.key, base);
        p.cold.step = Step::OpenIndex { base };
        io.file(
            Purpose::ColdRead { part }.token(),
            FileOp::Open { path: files::c_path(&path), create: false, access: Access::Direct },
        );
    }

    /// `at`: base offset of the segment, and position and offset of its next batch.
    fn rebuild(&mut self, io: &mut impl Io, part: PartIdx, at: (i64, u32, i64), index: SegmentIndex) {
        let (base, position, offset) = at;
        let start = position - position % BLOCK as u32;
        let Some(block) = self.pool.take(READ_AHEAD) else {
            self.memory_wanted = true;
            return;
        };
        let p = self.get_mut(part).expect("it was there");
        let file = p.cold.file(base).expect("the segment's file is open");
        p.cold.step = Step::Rebuild { base, position, offset, index };
        io.read(Purpose::ColdRead { part }.token(), file, u64::from(start), block, READ_AHEAD as u32);
    }

    /// A file operation of a cold read ended.
    pub fn on_cold_file(&mut self, io: &mut impl Io, part: PartIdx, result: i32) {
        let Some(p) = self.partitions[part.0 as usize].as_mut() else { return };
        match std::mem::take(&mut p.cold.step) {
            Step::Open { base } if result >= 0 => {
                if let Some(old) = p.cold.adopt(base, FileId(result)) {
                    io.file(Purpose::Forgotten.token(), FileOp::Close { file: old });
                }
            }
            Step::Open { base } => {
                let error = std::io::Error::from_raw_os_error(-result);
                eprintln!("error: {}: segment {base} cannot be opened ({error}); reads of it are refused", p.key);
                p.cold.failed = Some((base, 0));
            }
            Step::OpenIndex { base } if result >= 0 => {
                let file = FileId(result);
                match self.pool.take(READ_AHEAD * 8) {
                    Some(block) => {
                        let len = block.capacity() as u32;
                        let p = self.get_mut(part).expect("it was there");
                        p.cold.step = Step::ReadIndex { base, file };
                        io.read(Purpose::ColdRead { part }.token(), file, 0, block, len);
                        return;
                    }
                    None => io.file(Purpose::Forgotten.token(), FileOp::Close { file }),
                }
            }
            Step::OpenIndex { base } => p.cold.rebuild.push(base),
            step => panic!("{}: a file operation ended during {step:?}", p.key),
        }
        self.ring(part);
    }

    /// A cold read ended.
    pub fn on_cold_read(&mut self, io: &mut impl Io, part: PartIdx, block: BlockMut, result: i32) {
        self.meter.disk_read_bytes.add(result.max(0) as u64);
        let Some(p) = self.partitions[part.0 as usize].as_mut() else { return };
        match std::mem::take(&mut p.cold.step) {
            Step::Read { base, start, end, piece } if result >= 0 => {
                let there = start + block.len() as u32;
                let more = there < end && result as usize == piece;
                let file = p.file(base).and_then(|f| f.file).or_else(|| p.cold.file(base));
                if let Some(file) = file.filter(|_| more) {
                    let piece = piece.min((end - there).next_multiple_of(BLOCK as u32) as usize);
                    p.cold.step = Step::Read { base, start, end, piece };
                    return io.read(Purpose::ColdRead { part }.token(), file, u64::from(there), block, piece as u32);
                }
                // If the file was closed meanwhile, this much of it was read.
                if there < end && !more {
                    eprintln!("error: {}: the file of segment {base} ends at byte {there}; the rest is refused", p.key);
                    p.cold.failed = Some((base, start));
                }
                let (block, end) = (block.block(), end.min(there));
                p.cold.blocks.push_back(ColdBlock { segment: base, start, end, block, checked: Checked::default() });
            }
            Step::Read { base, start, .. } => {
                let error = std::io::Error::from_raw_os_error(-result);
                eprintln!(
                    "error: {}: segment {base} cannot be read at byte {start} ({error}); this range is refused",
                    p.key
                );
                p.cold.failed = Some((base, start));
            }
            Step::ReadIndex { base, file } => {
                io.file(Purpose::Forgotten.token(), FileOp::Close { file });
                let segment_len = p.log.segment(base).map(|s| s.len);
                match IndexFile::decode(block.bytes()) {
                    Ok(file) if file.base_offset == base && Some(file.segment_len) == segment_len => {
                        p.ends_at(base, file.next_offset);
                        p.log.set_index(base, file.index);
                    }
                    Err(BadIndex::Newer(version)) => p.refuse_newer(base, version),
                    _ => p.cold.rebuild.push(base),
                }
            }
            Step::Rebuild { base, position, offset, index } => {
                if let Some((position, offset, index)) = p.index_piece(base, position, offset, index, block.bytes()) {
                    return self.rebuild(io, part, (base, position, offset), index);
                }
            }
            step => panic!("{}: a read ended during {step:?}", p.key),
        }
        self.ring(part);
    }

    /// Wakes the fetches that wait for a partition.
    pub fn ring(&mut self, part: PartIdx) {
        if let Some(p) = self.partitions[part.0 as usize].as_mut() {
            self.rung.append(&mut p.rings);
        }
    }
}

impl Partition {
    /// A sealed segment's last batch ends before this offset, which is the next segment's first unless some are missing.
    fn ends_at(&mut self, base: i64, offset: i64) {
        let Some(next) = self.log.segment(base).map(|s| s.next_offset) else { return };
        if offset < next && offset < self.log.damaged_from() {
            eprintln!(
                "error: {}-{}: offsets {offset} to {} are missing, segment {base} ends before them. Reads from {offset} on are \
                 refused. Restore the segment, or see `ringlog repair`.",
                self.topic,
                self.key.partition,
                next - 1
            );
            self.log.on_damage(offset);
        }
    }

    /// A segment whose index a newer release wrote may hold what this one cannot read.
    fn refuse_newer(&mut self, base: i64, version: u16) {
        eprintln!(
            "error: {}-{}: the index of segment {base} has format {version}. Reads from offset {base} on are refused: start the \
             newer release that wrote it, and see `ringlog repair`.",
            self.topic, self.key.partition
        );
        self.log.on_damage(base);
        self.log.set_index(base, SegmentIndex::default());
    }

    /// Indexes the batches of one piece of a segment. Returns where to go on; `None` when the index is complete and in place.
    fn index_piece(
        &mut self,
        base: i64,
        position: u32,
        mut offset: i64,
        mut index: SegmentIndex,
        bytes: &[u8],
    ) -> Option<(u32, i64, SegmentIndex)> {
        let len = self.log.segment(base)?.len;
        let start = position - position % BLOCK as u32;
        let mut at = position;
        while at < len {
            let Some(header) = bytes.get((at - start) as usize..).and_then(|b| b.first_chunk::<HEADER_LEN>()) else {
                break;
            };
            let header = BatchHeader::parse(header);
            if !self.log.may_hold(&header, Some(offset), len - at) {
                eprintln!("error: {}: segment {base} is damaged at byte {at}: its index ends there", self.key);
                break;
            }
            let relative = u32::try_from(offset - base).unwrap_or(u32::MAX);
            let size = header.total_len() as u32;
            index.note(relative, at, size, header.max_timestamp, offset, self.config.log.index_interval_bytes);
            at += size;
            offset = header.next_offset();
        }
        if at < len && at > position {
            return Some((at, offset, index));
        }
        self.ends_at(base, offset);
        self.log.set_index(base, index);
        self.cold.rebuild.retain(|b| *b != base);
        None
    }
}

fn header_in(block: &Block, from: u32) -> [u8; HEADER_LEN] {
    let from = from as usize;
    block.bytes()[from..from + HEADER_LEN].try_into().expect("a header's length")
}

/// Does a block hold the `len` bytes of a batch from `from` on, with their checksum?
fn whole(block: &Block, from: u32, len: usize) -> bool {
    let batch = block.bytes().get(from as usize..).and_then(|rest| rest.get(..len));
    batch.is_some_and(|batch| len >= HEADER_LEN && checksum_matches(Rope::of(batch)))
}
