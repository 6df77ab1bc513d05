//! Reading a partition: from the tail in memory, or from its segment files with read-ahead. Nothing here blocks: what must
//! come from disk is started, the asker is rung when it is there and asks again.
//!
//! One disk operation at a time per partition. Lives on the core that owns the partition.

use super::{PartIdx, Partition, Purpose, Store, files};
use crate::io::memory::{Block, BlockMut, Span};
use crate::io::{Access, FileId, FileOp, Io};
use crate::mail::ReadAnswer;
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchHeader, HEADER_LEN};
use ringlog_engine::log::index::{IndexFile, SegmentIndex};
use ringlog_engine::log::journal::BLOCK;
use ringlog_engine::log::partition::{Located, Place};
use std::collections::VecDeque;

/// Bytes read ahead of a reader that comes from the disk.
const READ_AHEAD: usize = 1 << 20;
/// Blocks of cold data kept per partition, and files of sealed segments kept open.
const BLOCKS_MAX: usize = 4;
const FILES_MAX: usize = 4;

#[derive(Debug)]
struct ColdBlock {
    segment: i64,
    start: u32,
    block: Block,
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
        index: SegmentIndex,
    },
}

/// What a partition has of its older segments: open files, lately read blocks, and the disk operation under way.
#[derive(Debug, Default)]
pub struct ColdReads {
    files: VecDeque<(i64, FileId)>,
    blocks: VecDeque<ColdBlock>,
    step: Step,
    /// What could not be read, told once to whoever asks: segment and block.
    failed: Option<(i64, u32)>,
    /// Indexes to make again once the segment's file is open.
    rebuild: Vec<i64>,
}

impl ColdReads {
    fn find(&self, place: Place) -> Option<&ColdBlock> {
        self.blocks.iter().find(|b| {
            b.segment == place.segment
                && b.start <= place.position
                && place.position - b.start < b.block.bytes().len() as u32
        })
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

    pub fn idle(&self) -> bool {
        matches!(self.step, Step::Idle)
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
            bytes: 0,
            pending: false,
        };
        match p.log.locate(ask.offset) {
            Err(error) => answer.error = error,
            Ok(Located::End) => {}
            Ok(Located::NeedIndex(base)) => {
                self.load_index(io, part, base);
                answer.pending = true;
            }
            Ok(Located::At(place)) => {
                let place = self.get(part).and_then(|p| p.tail.locate(ask.offset)).unwrap_or(place);
                self.read_from(io, part, place, ask, &mut answer);
            }
        }
        answer
    }

    fn read_from(&mut self, io: &mut impl Io, part: PartIdx, place: Place, ask: ReadAt, answer: &mut ReadAnswer) {
        let mut at = place;
        loop {
            let look = self.look(io, part, at, HEADER_LEN);
            let p = self.get(part).expect("it was there");
            let header = match &look {
                Look::Memory => p.tail.header(at),
                Look::Cold(block, start) => {
                    let from = (at.position - start) as usize;
                    block.bytes()[from..from + HEADER_LEN].try_into().expect("a header's length")
                }
                Look::Pending => return answer.pending = true,
                Look::Failed => return answer.error = ErrorCode::KafkaStorageError,
            };
            let header = BatchHeader::parse(&header);
            let len = header.total_len() as u32;
            let segment_len = p.log.segment(at.segment).map_or(0, |s| s.len);
            if header.magic != 2
                || header.batch_length < 0
                || header.base_offset > ask.offset
                || len > segment_len - at.position
            {
                eprintln!(
                    "error: {}: segment {} is damaged at byte {}: no batch before offset {} starts there. \
                     Reads of this range are refused; restore it, or see `ringlog repair`.",
                    p.key, at.segment, at.position, ask.offset
                );
                return answer.error = ErrorCode::KafkaStorageError;
            }
            if header.last_offset() >= ask.offset {
                return self.gather(io, part, at, len, look, ask, answer);
            }
            at.position += len;
        }
    }

    /// Collects bytes from the batch at `at` on.
    fn gather(
        &mut self,
        io: &mut impl Io,
        part: PartIdx,
        at: Place,
        first: u32,
        look: Look,
        ask: ReadAt,
        answer: &mut ReadAnswer,
    ) {
        if first > ask.max_bytes && !ask.at_least_one {
            return;
        }
        let mut spans = self.take_spans();
        let p = self.get(part).expect("it was there");
        let visible = p.log.visible_end();
        let segment = p.log.segment(at.segment).expect("it was located");
        let end = if visible.segment == at.segment { visible.position } else { segment.len };
        let to = end.min(at.position.saturating_add(ask.max_bytes.max(first)));
        match look {
            Look::Memory => p.tail.spans(at.segment, at.position, to, &mut spans),
            Look::Cold(block, start) => {
                let block_end = start + block.bytes().len() as u32;
                if at.position + first > block_end {
                    self.give_spans(spans);
                    if let Look::Failed = self.look(io, part, at, first as usize) {
                        return answer.error = ErrorCode::KafkaStorageError;
                    }
                    return answer.pending = true;
                }
                let to = to.min(block_end);
                spans.push(block.span((at.position - start) as usize, (to - at.position) as usize));
                self.read_ahead(io, part, at.segment, to, block_end);
            }
            Look::Pending | Look::Failed => unreachable!("there are bytes to gather"),
        }
        answer.bytes = spans.iter().map(|s| s.len).sum();
        answer.spans = spans;
    }

    /// Where the bytes at a place are; starts a read if they are on disk only. `need` of them must lie together.
    fn look(&mut self, io: &mut impl Io, part: PartIdx, at: Place, need: usize) -> Look {
        let p = self.get_mut(part).expect("it was there");
        if p.tail.holds(at) {
            return Look::Memory;
        }
        if let Some(cold) = p.cold.find(at)
            && (at.position - cold.start) as usize + need <= cold.block.bytes().len()
        {
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
        let mut need = HEADER_LEN;
        loop {
            let look = self.look(io, part, at, need);
            let p = self.get(part).expect("it was there");
            let (header, cold) = match look {
                Look::Memory => (p.tail.header(at), None),
                Look::Cold(block, start) => {
                    let from = (at.position - start) as usize;
                    (block.bytes()[from..from + HEADER_LEN].try_into().expect("a header's length"), Some((block, from)))
                }
                Look::Pending => return BatchAt::Pending,
                Look::Failed => return BatchAt::Failed,
            };
            let header = BatchHeader::parse(&header);
            let len = header.total_len();
            if header.magic != 2 || len < HEADER_LEN || len > (end - at.position) as usize {
                return BatchAt::Failed;
            }
            match cold {
                Some((block, from)) if from + len <= block.bytes().len() => {
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
        let in_file = p.file(base).map_or(u32::MAX, |f| f.durable.next_multiple_of(BLOCK as u32));
        let segment_len = p.log.segment(base).map_or(0, |s| s.len).next_multiple_of(BLOCK as u32).min(in_file);
        let len = len.min(segment_len.saturating_sub(start) as usize);
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
        let p = self.get_mut(part).expect("it was there");
        p.cold.step = Step::Read { base, start };
        io.read(Purpose::ColdRead { part }.token(), file, u64::from(start), block, len as u32);
    }

    /// A reader has come past the middle of the last block read: the next one is read while it is busy with this.
    fn read_ahead(&mut self, io: &mut impl Io, part: PartIdx, segment: i64, at: u32, block_end: u32) {
        let p = self.get(part).expect("it was there");
        let next = Place { segment, position: block_end };
        let more = p.log.segment(segment).is_some_and(|s| block_end < s.len);
        let close = block_end - at < READ_AHEAD as u32 / 2;
        if more && close && p.cold.idle() && !p.tail.holds(next) && p.cold.find(next).is_none() {
            self.fetch_cold(io, part, segment, block_end - block_end % BLOCK as u32, BLOCK);
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
                return self.rebuild(io, part, base, 0, SegmentIndex::default());
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

    fn rebuild(&mut self, io: &mut impl Io, part: PartIdx, base: i64, position: u32, index: SegmentIndex) {
        let start = position - position % BLOCK as u32;
        let Some(block) = self.pool.take(READ_AHEAD) else {
            self.memory_wanted = true;
            return;
        };
        let p = self.get_mut(part).expect("it was there");
        let file = p.cold.file(base).expect("the segment's file is open");
        p.cold.step = Step::Rebuild { base, position, index };
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
        let Some(p) = self.partitions[part.0 as usize].as_mut() else { return };
        match std::mem::take(&mut p.cold.step) {
            Step::Read { base, start } if result > 0 => {
                p.cold.blocks.push_back(ColdBlock { segment: base, start, block: block.block() });
            }
            Step::Read { base, start } => {
                let error = std::io::Error::from_raw_os_error(-result);
                eprintln!(
                    "error: {}: segment {base} cannot be read at byte {start} ({error}); this range is refused",
                    p.key
                );
                p.cold.failed = Some((base, start));
            }
            Step::ReadIndex { base, file } => {
                io.file(Purpose::Forgotten.token(), FileOp::Close { file });
                let good = IndexFile::decode(block.bytes())
                    .ok()
                    .filter(|f| p.log.segment(base).is_some_and(|s| f.base_offset == base && f.segment_len == s.len));
                match good {
                    Some(file) => p.log.set_index(base, file.index),
                    None => p.cold.rebuild.push(base),
                }
            }
            Step::Rebuild { base, position, index } => {
                if let Some((position, index)) = p.index_piece(base, position, index, block.bytes()) {
                    return self.rebuild(io, part, base, position, index);
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
    /// Indexes the batches of one piece of a segment. Returns where to go on; `None` when the index is complete and in place.
    fn index_piece(
        &mut self,
        base: i64,
        position: u32,
        mut index: SegmentIndex,
        bytes: &[u8],
    ) -> Option<(u32, SegmentIndex)> {
        let Some(len) = self.log.segment(base).map(|s| s.len) else { return None };
        let start = position - position % BLOCK as u32;
        let mut at = position;
        while at < len {
            let Some(header) = bytes.get((at - start) as usize..).and_then(|b| b.first_chunk::<HEADER_LEN>()) else {
                break;
            };
            let header = BatchHeader::parse(header);
            if header.magic != 2 || header.batch_length < 0 || header.base_offset < base {
                eprintln!("error: {}: segment {base} is damaged at byte {at}: its index ends there", self.key);
                at = len;
                break;
            }
            let relative = u32::try_from(header.base_offset - base).unwrap_or(u32::MAX);
            let size = header.total_len() as u32;
            index.note(
                relative,
                at,
                size,
                header.max_timestamp,
                header.base_offset,
                self.config.log.index_interval_bytes,
            );
            at = at.saturating_add(size);
        }
        if at < len && at > position {
            return Some((at, index));
        }
        self.log.set_index(base, index);
        self.cold.rebuild.retain(|b| *b != base);
        None
    }
}
