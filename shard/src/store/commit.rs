//! Commits: everything a turn appended to a log directory, made durable by one journal write and one flush.
//!
//! A commit is one frame of the core's journal ([`ringlog_engine::log::journal`]), plus direct writes of whole blocks for the
//! partitions that had much. When all its writes are done, what asked for no more is settled; then the journal is
//! flushed, which covers the direct writes too where their blocks had been written before (and files whose blocks had
//! not are flushed themselves); then the rest is settled and becomes visible. The next commit's writes may be on their
//! way meanwhile; its flush is issued only when its own writes and all before are done.
//!
//! One per core and log directory; only that core touches it.

use super::cover::{Cover, Destaged};
use super::hand::SegmentFile;
use super::tail::Tail;
use super::{PartIdx, Partition, Purpose, Store, Waiter};
use crate::io::memory::{BlockMut, Span};
use crate::io::{FileId, Io};
use crate::metrics::core::{FlushKind, WriteKind};
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::HEADER_LEN;
use ringlog_engine::log::journal::{BLOCK, FRAME_HEADER_LEN, FrameHeader, RECORD_HEADER_LEN, Record};
use ringlog_engine::log::partition::Place;
use ringlog_engine::log::recover::PartitionState;
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::types::{PartitionKey, TopicId};
use std::collections::VecDeque;

/// Commits on their way at once: one being flushed, one being written.
const IN_FLIGHT_MAX: usize = 2;
/// A frame is closed to more partitions from this many bytes on, and from a quarter of a journal file; what is left goes
/// into the next.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// One commit journals at most so many bytes of a partition, and at most an eighth of a journal file. What is left goes into
/// the next, and a batch larger than this goes to its segment only.
const INLINE_MAX: usize = 1 << 20;
/// Room of a commit's lists from the start: they grow only where more is gathered in one turn.
const ROOM: usize = 1024;

/// What has been gathered since the last commit was built.
#[derive(Debug, Default)]
pub struct Open {
    /// Partitions with appends or a moved log start.
    pub parts: Vec<PartIdx>,
    /// Partitions deleted since.
    pub dropped: Vec<(PartIdx, PartitionKey)>,
    /// A lap whose file may be used again once this commit is durable.
    pub(super) released: Option<u64>,
    on_written: Vec<Waiter>,
    on_durable: Vec<Waiter>,
}

/// How far a commit takes a partition.
#[derive(Clone, Copy, Debug)]
struct Reached {
    part: PartIdx,
    key: PartitionKey,
    next_offset: i64,
    end: Place,
    /// Blocks went straight to a segment, up to here.
    direct: Option<Place>,
    /// The log start moved to here.
    trimmed: Option<i64>,
}

#[derive(Debug, Default)]
struct Commit {
    sequence: u64,
    lap: u64,
    writes_left: u32,
    syncs_left: u32,
    written: bool,
    syncing: bool,
    done: bool,
    reached: Vec<Reached>,
    /// Segment files that need a flush of their own.
    own_sync: Vec<FileId>,
    /// Deleted partitions that this commit says so of.
    dropped: Vec<(PartIdx, PartitionKey)>,
    released: Option<u64>,
    on_written: Vec<Waiter>,
    on_durable: Vec<Waiter>,
    /// What its flush makes durable in segments besides.
    covered: Vec<Destaged>,
    /// For the instruments: when it was built and its flush issued, ns, and the bytes it writes.
    built: u64,
    flushed: u64,
    bytes: u64,
}

impl Commit {
    fn with_room() -> Commit {
        Commit {
            reached: Vec::with_capacity(ROOM),
            on_written: Vec::with_capacity(ROOM),
            on_durable: Vec::with_capacity(ROOM),
            covered: Vec::with_capacity(ROOM),
            ..Commit::default()
        }
    }
}

/// Where a lap stands whose partitions are being destaged so that its file can be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OtherLap {
    /// May be written over.
    Free,
    /// Holds bytes that are durable nowhere else yet.
    Needed(u64),
    /// Everything in it is in segments; the frame that says so is not durable yet.
    Releasing,
}

#[derive(Debug)]
pub struct Committer {
    core: u16,
    incarnation: u64,
    files: [FileId; 2],
    /// Bytes of each file.
    file_len: u64,
    pub lap: u64,
    position: u64,
    sequence: u64,
    durable_sequence: u64,
    pub(super) other: OtherLap,
    /// Partitions that still need the other file's lap.
    pub(super) lap_users: usize,
    /// The next frame starts a lap: it carries the state of every partition.
    lap_start: bool,
    pub open: Open,
    flying: VecDeque<Commit>,
    spare: Vec<Commit>,
    pub(super) cover: Cover,
    /// Commits built.
    pub commits: u64,
}

impl Committer {
    /// Two empty, pre-zeroed, durable files of `file_len` bytes each.
    pub fn new(core: u16, incarnation: u64, files: [FileId; 2], file_len: u64) -> Committer {
        Committer {
            core,
            incarnation,
            files,
            file_len,
            lap: 0,
            position: 0,
            sequence: 0,
            durable_sequence: 0,
            other: OtherLap::Free,
            lap_users: 0,
            lap_start: true,
            open: Open {
                on_written: Vec::with_capacity(ROOM),
                on_durable: Vec::with_capacity(ROOM),
                ..Open::default()
            },
            flying: VecDeque::new(),
            spare: (0..=IN_FLIGHT_MAX).map(|_| Commit::with_room()).collect(),
            cover: Cover::with_room(ROOM),
            commits: 0,
        }
    }

    /// Adds one who waits for the next commit: for its write, or for its flush.
    pub fn wait(&mut self, written_is_enough: bool, waiter: Waiter) {
        if written_is_enough { self.open.on_written.push(waiter) } else { self.open.on_durable.push(waiter) }
    }

    /// Adds one who waits for everything appended so far to his partition, which is `dirty` if some of it is in no commit.
    pub fn wait_for_all(&mut self, waiter: Waiter, dirty: bool, settled: &mut Vec<Waiter>) {
        if dirty {
            self.open.on_durable.push(waiter);
        } else if let Some(last) = self.flying.back_mut() {
            last.on_durable.push(waiter);
        } else {
            settled.push(waiter);
        }
    }

    /// Appends that wait for a commit.
    pub(crate) fn waiting(&self) -> usize {
        let flying: usize = self.flying.iter().map(|c| c.on_written.len() + c.on_durable.len()).sum();
        self.open.on_written.len() + self.open.on_durable.len() + flying
    }

    pub fn idle(&self) -> bool {
        self.flying.is_empty() && !self.has_work()
    }

    /// A commit whose flush is still to be issued is on its way, or follows as soon as one of those is done. One that waits for
    /// its lap does not count: the lap may wait for what is destaged.
    pub(super) fn will_flush(&self) -> bool {
        self.flying.iter().any(|c| !c.syncing) || (self.flying.len() == IN_FLIGHT_MAX && self.has_work())
    }

    /// The journal file in use.
    pub(super) fn file(&self) -> FileId {
        self.files[(self.lap % 2) as usize]
    }

    /// Puts the header before what a frame says, and zeros behind it. Returns its length.
    fn seal(&self, frame: FrameWriter<'_>, sequence: u64) -> usize {
        let FrameWriter { out, len, records } = frame;
        let header = FrameHeader {
            core: self.core,
            incarnation: self.incarnation,
            lap: self.lap,
            sequence,
            position: self.position,
            durable_sequence: self.durable_sequence,
            len: len as u32,
            record_count: records,
            records_crc: crc32c::crc32c(&out[FRAME_HEADER_LEN..len]),
        };
        out[..FRAME_HEADER_LEN].copy_from_slice(&header.encode());
        out[len..len.next_multiple_of(BLOCK)].fill(0);
        len
    }

    /// A frame of so many bytes fits into the lap, and after it one that says a lap is released: without room for that,
    /// the lap before could never be.
    fn has_room(&self, size: usize) -> bool {
        self.position + size.next_multiple_of(BLOCK) as u64 + BLOCK as u64 <= self.file_len
    }

    fn frame_max(&self) -> usize {
        FRAME_BYTES_MAX.min(self.file_len as usize / 4)
    }

    /// Bytes of a lap's states at most: with a frame's other contents they fit into the file, and leave room in it.
    fn states_max(&self) -> usize {
        self.file_len as usize / 3
    }

    fn inline_max(&self) -> usize {
        INLINE_MAX.min(self.file_len as usize / 8)
    }

    /// The first frame is durable.
    pub fn has_committed(&self) -> bool {
        self.durable_sequence > 0 || (planted(Bug::SettledTooEarly) && self.sequence > 0)
    }

    fn has_work(&self) -> bool {
        let open = &self.open;
        !(open.parts.is_empty()
            && open.dropped.is_empty()
            && open.on_durable.is_empty()
            && open.on_written.is_empty()
            && open.released.is_none()
            && !(self.lap_start && self.sequence == 0))
    }

    /// Everyone who waits is refused: the directory is latched.
    pub fn fail(&mut self, settled: &mut Vec<Waiter>) {
        let open = std::mem::take(&mut self.open);
        let waiting = self.flying.drain(..).flat_map(|c| c.on_written.into_iter().chain(c.on_durable));
        for mut waiter in waiting.chain(open.on_written).chain(open.on_durable) {
            waiter.outcome.error = ErrorCode::KafkaStorageError;
            settled.push(waiter);
        }
    }
}

/// The frame being built, in the block it will be written from.
struct FrameWriter<'a> {
    out: &'a mut [u8],
    len: usize,
    records: u32,
}

impl FrameWriter<'_> {
    fn record(&mut self, record: &Record<'_>, payload_len: usize) {
        self.bytes(&record.header(payload_len));
        self.records += 1;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// What goes straight to a segment.
struct Direct {
    file: FileId,
    offset: u64,
    /// End of what the file then holds.
    to: u32,
    spans: Vec<Span>,
    /// The blocks had not been written before: the file needs a flush of its own.
    own_sync: bool,
}

/// What one partition puts into a commit, decided before anything is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    part: PartIdx,
    /// The range of the active or an older segment that this commit covers.
    segment: i64,
    from: u32,
    to: u32,
    /// Bytes before `from` that must be journaled again because their block, already in the segment, will be rewritten.
    redo_from: u32,
    /// Whole blocks up to here go straight to the segment.
    direct_to: Option<u32>,
    /// How far the commit takes the partition.
    end: Place,
    next_offset: i64,
}

/// A partition in a commit, and how far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    part: PartIdx,
    end: Place,
    next_offset: i64,
}

/// What a frame is to say, besides states and a release.
struct Plan<'a> {
    parts: &'a [Part],
    closing: &'a [Closing],
    /// How many of the deleted partitions.
    dropped: usize,
}

impl Store {
    /// Builds and issues the commits that are due. Called once at the end of a turn.
    pub fn commit(&mut self, io: &mut impl Io) {
        for dir in 0..self.dirs.len() as u8 {
            let d = &self.dirs[dir as usize];
            if d.latched.is_none() && d.committer.flying.len() < IN_FLIGHT_MAX && d.committer.has_work() {
                self.build(io, dir);
            }
            self.flush_alone(io, dir);
        }
    }

    fn build(&mut self, io: &mut impl Io, dir: u8) {
        let mut parts = std::mem::take(&mut self.dirs[dir as usize].committer.open.parts);
        let mut plan = std::mem::take(&mut self.plan);
        let mut closing = std::mem::take(&mut self.closing);
        plan.clear();
        closing.clear();
        let committer = &self.dirs[dir as usize].committer;
        let (frame_max, inline_max) = (committer.frame_max(), committer.inline_max());
        let dropped = committer.open.dropped.len().min(frame_max / RECORD_HEADER_LEN);
        // Besides those: a release, and where the metadata log ends.
        let mut size = FRAME_HEADER_LEN + (dropped + 2) * RECORD_HEADER_LEN;
        parts.retain(|part| {
            let room = if size <= frame_max { inline_max } else { 0 };
            let Some((bytes, whole)) = self.plan_partition(*part, room, &mut plan, &mut closing) else { return true };
            size += bytes;
            !whole
        });
        let issued = self.write(io, dir, size, &Plan { parts: &plan, closing: &closing, dropped });
        let Committer { open, flying, .. } = &mut self.dirs[dir as usize].committer;
        if !issued {
            // Those of the plan that were whole are in no commit now.
            parts.extend(closing.iter().map(|c| c.part));
            parts.sort_unstable();
            parts.dedup();
        } else if !parts.is_empty() && !planted(Bug::WaitersLeftBehind) {
            // Some partitions did not fit, or wait for their files: whoever waits for them waits on.
            parts.sort_unstable();
            let last = flying.back_mut().expect("it was issued");
            let waits = |w: &mut Waiter| parts.binary_search(&w.part).is_ok();
            open.on_written.extend(last.on_written.extract_if(.., waits));
            open.on_durable.extend(last.on_durable.extract_if(.., waits));
        }
        open.parts = parts;
        (self.plan, self.closing) = (plan, closing);
        if !issued {
            self.release_alone(io, dir);
        }
    }

    /// What was planned does not fit into the lap, and the other file is free once it is said so: that always fits.
    fn release_alone(&mut self, io: &mut impl Io, dir: u8) {
        let committer = &mut self.dirs[dir as usize].committer;
        // A lap begins with states, so not with this.
        if committer.open.released.is_none() || committer.lap_start {
            return;
        }
        let Some(mut block) = self.pool.take(BLOCK) else { return };
        let open = &mut committer.open;
        let waiting = (std::mem::take(&mut open.on_written), std::mem::take(&mut open.on_durable));
        let mut commit = committer.spare.pop().unwrap_or_default();
        let nothing = Plan { parts: &[], closing: &[], dropped: 0 };
        let len = self.write_frame(io, dir, &mut block, &nothing, &[], &mut commit);
        self.issue(io, dir, block, len, commit);
        let open = &mut self.dirs[dir as usize].committer.open;
        (open.on_written, open.on_durable) = waiting;
    }

    fn write(&mut self, io: &mut impl Io, dir: u8, size: usize, plan: &Plan<'_>) -> bool {
        let mut states = std::mem::take(&mut self.states);
        states.clear();
        let issued = self.try_write(io, dir, size, plan, &mut states);
        self.states = states;
        issued
    }

    /// Writes the planned frame. False if it must wait: for the other journal file, or for memory.
    fn try_write(&mut self, io: &mut impl Io, dir: u8, mut size: usize, plan: &Plan<'_>, states: &mut Vec<u8>) -> bool {
        let committer = &self.dirs[dir as usize].committer;
        if !committer.lap_start && !committer.has_room(size) && !self.start_lap(dir) {
            return false;
        }
        if self.dirs[dir as usize].committer.lap_start {
            self.states(dir, states);
            size += states.len();
            if !self.dirs[dir as usize].committer.has_room(size) {
                self.latch(dir, "its journal is too small for its partitions: raise ringlog.journal.bytes".into());
                return false;
            }
        }
        let Some(mut block) = self.pool.take(size.next_multiple_of(BLOCK)) else { return false };
        let mut commit = self.dirs[dir as usize].committer.spare.pop().unwrap_or_default();
        let len = self.write_frame(io, dir, &mut block, plan, states, &mut commit);
        self.issue(io, dir, block, len, commit);
        true
    }

    /// Decides what of a partition goes where, up to the end of its log or as far as `inline_max` allows. Returns an upper
    /// bound of its bytes in the frame and whether that is all of it; `None` if it must wait for its segment's file.
    fn plan_partition(
        &mut self,
        part: PartIdx,
        inline_max: usize,
        plan: &mut Vec<Part>,
        closing: &mut Vec<Closing>,
    ) -> Option<(usize, bool)> {
        let direct_min = self.limits.direct_min;
        let Some(p) = self.partitions[part.0 as usize].as_mut() else { return Some((0, true)) };
        if inline_max == 0 {
            return None;
        }
        let (end, first) = (p.log.end(), plan.len());
        let (mut at, mut next_offset) = (p.committed, p.committed_offset);
        let mut size = RECORD_HEADER_LEN;
        while at != end && size <= inline_max {
            let segment = p.log.segment(at.segment).expect("a segment with appends not committed exists");
            let (to, next) = (segment.len, segment.next_offset);
            if at.position < to {
                let Some(bytes) = p.plan_range(part, at, to, (direct_min, inline_max), plan) else { break };
                size += bytes;
                let reached = plan.last().expect("it was planned").to;
                if reached < to {
                    at.position = reached;
                    next_offset = offset_at(&p.tail, at);
                    break;
                }
            }
            next_offset = next;
            at = if at.segment == end.segment { end } else { Place { segment: next, position: 0 } };
        }
        if at != end && !p.hand.queued {
            p.hand.queued = true;
            self.hands.push_back(part);
        }
        if plan.len() == first && at != end {
            return None;
        }
        for item in &mut plan[first..] {
            (item.end, item.next_offset) = (at, next_offset);
        }
        closing.push(Closing { part, end: at, next_offset });
        Some((size, at == end))
    }

    /// Moves to the other file, if what it held is durable elsewhere and that has been said.
    fn start_lap(&mut self, dir: u8) -> bool {
        let committer = &mut self.dirs[dir as usize].committer;
        if committer.other != OtherLap::Free {
            return false;
        }
        let finished = committer.lap;
        committer.lap += 1;
        committer.position = 0;
        committer.lap_start = true;
        committer.other = OtherLap::Needed(finished);
        self.press_lap(dir, finished);
        true
    }

    /// The state of every partition of the directory, as records. Where that is more than a journal carries, or than there is
    /// memory for, the longest idle producers are forgotten.
    fn states(&mut self, dir: u8, out: &mut Vec<u8>) {
        let most = self.dirs[dir as usize].committer.states_max().min(self.limits.memory_reserve / 2);
        let mut before = usize::MAX;
        loop {
            let (producers, bytes) = self.encode_states(dir, out);
            if out.len() <= most || producers == 0 {
                return;
            }
            let room = most.saturating_sub(out.len() - bytes);
            // None, if forgetting the idle ones did not get on: a clock that stepped back puts them out of order.
            let keep = if producers < before { (producers * room / bytes).min(producers - 1) } else { 0 };
            eprintln!(
                "warning: log directory {}: idempotent producers beyond {keep} are forgotten, the longest idle ones: more need \
                 more ringlog.journal.bytes, or ringlog.memory.bytes",
                self.dirs[dir as usize].path.display()
            );
            self.bound_producers(keep, Some(dir));
            before = producers;
        }
    }

    /// Returns how many producers the states tell of, and the bytes that takes.
    fn encode_states(&mut self, dir: u8, out: &mut Vec<u8>) -> (usize, usize) {
        out.clear();
        let state = &mut self.state;
        let (mut producers, mut bytes) = (0, 0);
        for p in self.partitions.iter().flatten().filter(|p| p.dir == dir && p.has_history() && p.erase.is_none()) {
            let (at, end) = (out.len(), p.committed);
            out.extend([0; RECORD_HEADER_LEN]);
            p.state(state);
            state.encode(out);
            producers += p.log.producers.len();
            bytes += state.producers.len();
            let record = Record::State { key: p.key, segment: end.segment, position: end.position, state: &[] };
            let header = record.header(out.len() - at - RECORD_HEADER_LEN);
            out[at..at + RECORD_HEADER_LEN].copy_from_slice(&header);
        }
        (producers, bytes)
    }

    fn write_frame(
        &mut self,
        io: &mut impl Io,
        dir: u8,
        block: &mut BlockMut,
        plan: &Plan<'_>,
        states: &[u8],
        commit: &mut Commit,
    ) -> usize {
        let mut frame = FrameWriter { out: block.unwritten(), len: FRAME_HEADER_LEN, records: 0 };
        if !states.is_empty() {
            frame.bytes(states);
            frame.records += count_records(states);
        }
        let d = &self.dirs[dir as usize];
        let (lap, sequence, covers) = (d.committer.lap, d.committer.sequence + 1, d.one_flush_covers);
        let mut writes = 0;
        for item in plan.parts {
            let spans = if item.direct_to.is_some() { self.take_spans() } else { Vec::new() };
            let p = self.partitions[item.part.0 as usize].as_mut().expect("a planned partition exists");
            let direct = p.write_range(&mut self.pool, item, lap, sequence, &mut frame, (covers, spans));
            commit.reached.push(Reached {
                part: item.part,
                key: p.key,
                next_offset: item.next_offset,
                end: item.end,
                direct: direct.as_ref().map(|d| Place { segment: item.segment, position: d.to }),
                trimmed: None,
            });
            if let Some(direct) = direct {
                let purpose = Purpose::CommitWrite { dir, sequence: sequence as u32 };
                let bytes = u64::from(direct.to) - direct.offset;
                self.meter.dirs[dir as usize].wrote(WriteKind::Direct, bytes);
                commit.bytes += bytes;
                io.write(purpose.token(), direct.file, direct.offset, direct.spans);
                writes += 1;
                if direct.own_sync && !commit.own_sync.contains(&direct.file) {
                    commit.own_sync.push(direct.file);
                }
            }
            if !p.hand.queued && p.wants_hand(self.limits.destage) {
                p.hand.queued = true;
                self.hands.push_back(item.part);
            }
        }
        self.close_partitions(plan.closing, &mut frame, commit);
        self.tell_metadata_end(dir, &mut frame);
        let committer = &mut self.dirs[dir as usize].committer;
        for (part, key) in committer.open.dropped.drain(..plan.dropped) {
            frame.record(&Record::Drop { key }, 0);
            commit.dropped.push((part, key));
        }
        commit.released = committer.open.released.take();
        if let Some(lap) = commit.released {
            frame.record(&Record::Released { lap }, 0);
        }
        commit.writes_left = writes + 1;
        committer.seal(frame, sequence)
    }

    /// Every frame says where the metadata log ends: if frames before it are lost to damage, it is known whether entries were.
    fn tell_metadata_end(&self, dir: u8, frame: &mut FrameWriter<'_>) {
        let key = PartitionKey { topic: TopicId::METADATA, partition: 0 };
        let Some(p) = self.find(key).and_then(|part| self.get(part)) else { return };
        if p.dir == dir && p.has_history() {
            let Place { segment, position } = p.committed;
            frame.record(&Record::Append { key, segment, position, bytes: &[] }, 0);
        }
    }

    /// Marks the planned partitions committed and says where log starts moved.
    fn close_partitions(&mut self, closing: &[Closing], frame: &mut FrameWriter<'_>, commit: &mut Commit) {
        for Closing { part, end, next_offset } in closing.iter().copied() {
            let Some(p) = self.partitions[part.0 as usize].as_mut() else { continue };
            p.dirty = end != p.log.end();
            (p.committed, p.committed_offset) = (end, next_offset);
            // Of a partition that never held a record there is nothing to say.
            if std::mem::take(&mut p.trimmed) && p.has_history() && !planted(Bug::TrimForgotten) {
                let (key, start) = (p.key, p.log.log_start());
                commit.reached.push(Reached { part, key, next_offset, end, direct: None, trimmed: Some(start) });
                frame.record(&Record::Trim { key, log_start_offset: start }, 0);
            }
        }
    }

    fn issue(&mut self, io: &mut impl Io, dir: u8, mut block: BlockMut, len: usize, mut commit: Commit) {
        let padded = len.next_multiple_of(BLOCK);
        block.publish(padded);
        let mut spans = self.take_spans();
        spans.push(block.span(0, padded));
        let committer = &mut self.dirs[dir as usize].committer;
        committer.sequence += 1;
        committer.lap_start = false;
        commit.sequence = committer.sequence;
        commit.lap = committer.lap;
        commit.on_written.append(&mut committer.open.on_written);
        commit.on_durable.append(&mut committer.open.on_durable);
        let purpose = Purpose::CommitWrite { dir, sequence: commit.sequence as u32 };
        io.write(purpose.token(), committer.files[(committer.lap % 2) as usize], committer.position, spans);
        committer.position += padded as u64;
        committer.commits += 1;
        self.meter.dirs[dir as usize].wrote(WriteKind::Journal, padded as u64);
        (commit.built, commit.bytes) = (io.nanos(), commit.bytes + padded as u64);
        committer.flying.push_back(commit);
    }

    /// One of a commit's writes ended.
    pub fn on_commit_write(&mut self, io: &mut impl Io, dir: u8, sequence: u32, result: i32) {
        if self.dirs[dir as usize].latched.is_some() {
            return;
        }
        if result < 0 {
            return self.latch(dir, format!("a write failed ({})", std::io::Error::from_raw_os_error(-result)));
        }
        let committer = &mut self.dirs[dir as usize].committer;
        let commit =
            committer.flying.iter_mut().find(|c| c.sequence as u32 == sequence).expect("its commit is in flight");
        commit.writes_left -= 1;
        if commit.writes_left == 0 {
            commit.written = true;
            self.meter.dirs[dir as usize].write_time.record(io.nanos() - commit.built);
            self.advance(io, dir);
        }
    }

    /// A flush of a commit ended.
    pub fn on_commit_sync(&mut self, io: &mut impl Io, dir: u8, sequence: u32, result: i32) {
        if self.dirs[dir as usize].latched.is_some() {
            return;
        }
        if result < 0 && !planted(Bug::FlushErrorIgnored) {
            return self.latch(dir, format!("a flush failed ({})", std::io::Error::from_raw_os_error(-result)));
        }
        let committer = &mut self.dirs[dir as usize].committer;
        let commit =
            committer.flying.iter_mut().find(|c| c.sequence as u32 == sequence).expect("its commit is in flight");
        commit.syncs_left -= 1;
        if commit.syncs_left == 0 {
            commit.done = true;
            let meter = &self.meter.dirs[dir as usize];
            meter.flush_time.record(io.nanos() - commit.flushed);
            meter.flush_bytes.record(commit.bytes);
            self.advance(io, dir);
        }
    }

    /// Takes commits as far as they can go, in order: written, flushing, durable.
    fn advance(&mut self, io: &mut impl Io, dir: u8) {
        let mut k = 0;
        while k < self.dirs[dir as usize].committer.flying.len() {
            let committer = &mut self.dirs[dir as usize].committer;
            let commit = &mut committer.flying[k];
            if !commit.written {
                return;
            }
            if !commit.syncing {
                (commit.syncing, commit.flushed) = (true, io.nanos());
                std::mem::swap(&mut commit.covered, &mut committer.cover.waiting);
                let purpose = Purpose::CommitSync { dir, sequence: commit.sequence as u32 };
                io.sync(purpose.token(), committer.files[(commit.lap % 2) as usize]);
                commit.syncs_left = 1;
                self.meter.dirs[dir as usize].flushes(FlushKind::Commit);
                for own in commit.own_sync.drain(..) {
                    self.meter.dirs[dir as usize].flushes(FlushKind::Segment);
                    io.sync(purpose.token(), own);
                    commit.syncs_left += 1;
                }
                let (reached, mut waiters) =
                    (std::mem::take(&mut commit.reached), std::mem::take(&mut commit.on_written));
                self.on_written(&reached, &mut waiters);
                let commit = &mut self.dirs[dir as usize].committer.flying[k];
                (commit.reached, commit.on_written) = (reached, waiters);
            }
            k += 1;
        }
        while self.dirs[dir as usize].committer.flying.front().is_some_and(|c| c.done) {
            let mut commit = self.dirs[dir as usize].committer.flying.pop_front().expect("it is there");
            self.on_durable(dir, &mut commit);
            commit.reached.clear();
            let spare = Commit {
                covered: commit.covered,
                reached: commit.reached,
                own_sync: commit.own_sync,
                dropped: commit.dropped,
                on_written: commit.on_written,
                on_durable: commit.on_durable,
                ..Commit::default()
            };
            self.dirs[dir as usize].committer.spare.push(spare);
        }
    }
}

impl Store {
    /// All writes of a commit are done: whoever asked for no more is settled, relaxed topics become visible.
    fn on_written(&mut self, reached: &[Reached], waiters: &mut Vec<Waiter>) {
        for r in reached {
            let Some(p) = self.partitions[r.part.0 as usize].as_mut().filter(|p| p.key == r.key) else { continue };
            if p.config.relaxed || planted(Bug::VisibleAtWritten) {
                p.make_visible(r.next_offset, r.end, &mut self.rung);
            }
        }
        self.settled.append(waiters);
    }

    /// A commit is durable: what it holds may be read, its waiters are settled, its direct blocks count.
    fn on_durable(&mut self, dir: u8, commit: &mut Commit) {
        self.dirs[dir as usize].committer.durable_sequence = commit.sequence;
        for r in &commit.reached {
            let Some(p) = self.partitions[r.part.0 as usize].as_mut().filter(|p| p.key == r.key) else { continue };
            p.durable = p.durable.max(r.end);
            p.make_visible(r.next_offset, r.end, &mut self.rung);
            let before = p.journal_lap();
            p.blocks_durable(r.direct, commit.sequence);
            let now = p.journal_lap();
            let awaited = self.is_awaited(dir, now);
            let p = self.partitions[r.part.0 as usize].as_mut().expect("it was there");
            p.hand.pressed &= awaited || r.direct.is_none();
            if let Some(start) = r.trimmed {
                p.durable_start = start;
                p.hand.bury = true;
            }
            if !p.hand.queued && (r.direct.is_some() || r.trimmed.is_some() || p.wants_hand(self.limits.destage)) {
                p.hand.queued = true;
                self.hands.push_back(r.part);
            }
            self.let_go(dir, before, now);
        }
        commit.covered.drain(..).for_each(|destaged| self.destaged(dir, &destaged));
        for (part, key) in commit.dropped.drain(..) {
            if let Some(p) = self.partitions[part.0 as usize].as_mut().filter(|p| p.key == key) {
                p.hand.erasable = true;
                if !p.hand.queued {
                    p.hand.queued = true;
                    self.hands.push_back(part);
                }
            }
        }
        self.settled.append(&mut commit.on_written);
        self.settled.append(&mut commit.on_durable);
        if commit.released.is_some() {
            self.dirs[dir as usize].committer.other = OtherLap::Free;
        }
    }
}

impl Partition {
    /// Has ever held a record: there is something to say of it in a lap's first frame.
    fn has_history(&self) -> bool {
        self.log.next_offset() > 0 || self.log.is_closed()
    }

    /// What a lap's first frame says of this partition, as of the last commit built. Called before this one's ranges.
    fn state(&self, into: &mut PartitionState) {
        let at = self.committed;
        let segment = self.log.segment(at.segment).expect("the committed segment exists");
        let index = segment.index.as_ref().expect("an unfinished segment has its index");
        (into.closed, into.lost_until) = (self.log.is_closed(), self.log.lost_until());
        into.destaged = self.file(at.segment).map_or(at.position, |f| f.durable);
        into.next_offset = self.committed_offset;
        into.log_start = if planted(Bug::TrimLostAtLap) { self.durable_start } else { self.log.log_start() };
        into.damaged_from = self.log.damaged_from();
        into.created = segment.created;
        into.first_timestamp = segment.first_timestamp;
        into.max_timestamp = index.max_timestamp;
        into.max_timestamp_offset = index.max_timestamp_offset;
        into.epochs.clear();
        into.epochs.extend_from_slice(self.log.epochs());
        let unfinished = self.files.iter().filter(|f| f.base < at.segment);
        into.unfinished.clear();
        into.unfinished.extend(unfinished.filter_map(|f| Some((f.base, self.log.segment(f.base)?.len))));
        into.producers.clear();
        self.log.producers.encode(&mut into.producers);
    }

    pub(super) fn file(&self, segment: i64) -> Option<&SegmentFile> {
        self.files.iter().find(|f| f.base == segment)
    }

    pub(super) fn file_mut(&mut self, segment: i64) -> Option<&mut SegmentFile> {
        self.files.iter_mut().find(|f| f.base == segment)
    }

    /// Decides what of [at, to) of a segment is journaled and what goes straight to the segment.
    fn plan_range(
        &mut self,
        part: PartIdx,
        at: Place,
        to: u32,
        (direct_min, inline_max): (u32, usize),
        plan: &mut Vec<Part>,
    ) -> Option<usize> {
        let block = BLOCK as u32;
        let len = to - at.position;
        if self.file(at.segment).is_none() {
            self.files.push_back(SegmentFile::new(at.segment, self.files.back()));
        }
        // What is large is cut: the headers of what goes straight to the segment are journaled, too.
        let large = len as usize > inline_max;
        let (headers_to, count) =
            headers_within(&self.tail, at, to, if len >= direct_min || large { inline_max } else { 0 });
        let sealed = self.log.active().base != at.segment && headers_to == to;
        let reach = if sealed { to.next_multiple_of(block) } else { headers_to - headers_to % block };
        let busy = self.hand.writes(at.segment);
        let zeroes_from = self.hand.zeroes_from(at.segment).unwrap_or(u32::MAX);
        let file = self.file_mut(at.segment).expect("it was just made");
        let ragged = !file.written.is_multiple_of(block) && file.written == at.position;
        let ready =
            file.file.is_some() && file.guard.is_none() && reach <= file.allocated && !busy && reach <= zeroes_from;
        let wanted = len >= direct_min || large;
        let direct = wanted && !ragged && ready && reach > at.position;
        file.direct |= wanted;
        let redo_from = if ragged { file.written - file.written % block } else { at.position };
        let (from, end, next_offset) = (at.position, at, 0);
        let mut item = Part { part, segment: at.segment, from, to, redo_from, direct_to: None, end, next_offset };
        if direct {
            (item.direct_to, item.to) = (Some(reach), headers_to);
            plan.push(item);
            return Some(3 * RECORD_HEADER_LEN + BLOCK + count * HEADER_LEN);
        }
        if large {
            item.to = batches_within(&self.tail, at, to, inline_max);
            if item.to == at.position && !ragged {
                return None;
            }
        }
        plan.push(item);
        Some(3 * RECORD_HEADER_LEN + (item.to - redo_from) as usize)
    }

    /// Writes the records of a planned range and returns what goes straight to the segment.
    fn write_range(
        &mut self,
        pool: &mut crate::io::memory::BlockPool,
        item: &Part,
        lap: u64,
        sequence: u64,
        frame: &mut FrameWriter<'_>,
        (one_flush_covers, mut spans): (bool, Vec<Span>),
    ) -> Option<Direct> {
        let (key, segment) = (self.key, item.segment);
        if item.redo_from < item.from {
            let record = Record::Redo { key, segment, position: item.redo_from, bytes: &[] };
            frame.record(&record, (item.from - item.redo_from) as usize);
            self.tail.pieces(segment, item.redo_from, item.from, |piece| frame.bytes(piece));
            let file = self.file_mut(segment).expect("its file is known");
            file.written = item.redo_from;
            file.guard = Some(sequence);
        }
        let Some(reach) = item.direct_to else {
            if item.from < item.to {
                let record = Record::Append { key, segment, position: item.from, bytes: &[] };
                frame.record(&record, (item.to - item.from) as usize);
                self.tail.pieces(segment, item.from, item.to, |piece| frame.bytes(piece));
            }
            self.file_mut(segment).expect("its file is known").laps.journaled(lap, item.redo_from);
            return None;
        };
        let count = batches(&self.tail, Place { segment, position: item.from }, item.to);
        frame.record(&Record::Extent { key, segment, position: item.from, headers: &[] }, count * HEADER_LEN);
        each_header(&self.tail, Place { segment, position: item.from }, item.to, |header| frame.bytes(header));
        if reach < item.to && !planted(Bug::RaggedEndForgotten) {
            let record = Record::Redo { key, segment, position: reach, bytes: &[] };
            frame.record(&record, (item.to - reach) as usize);
            self.tail.pieces(segment, reach, item.to, |piece| frame.bytes(piece));
            self.file_mut(segment).expect("its file is known").laps.journaled(lap, reach);
        }
        let file = self.files.iter_mut().find(|f| f.base == segment).expect("its file is known");
        let from = file.written;
        let whole = item.to.min(reach) / BLOCK as u32 * BLOCK as u32;
        self.tail.spans(segment, from, whole, &mut spans);
        if reach > item.to {
            spans.push(padded(pool, &self.tail, segment, whole, item.to));
        }
        file.written = reach.min(item.to);
        file.in_flight += 1;
        let own_sync = (reach > file.zeroed && !planted(Bug::UnzeroedCovered)) || !one_flush_covers;
        let id = file.file.expect("only an open file is written straight");
        Some(Direct { file: id, offset: u64::from(from), to: file.written, spans, own_sync })
    }

    /// A commit is durable: blocks it wrote straight are, and what it journaled again may now be rewritten in place.
    fn blocks_durable(&mut self, direct: Option<Place>, sequence: u64) {
        for file in &mut self.files {
            if file.guard.is_some_and(|guard| guard <= sequence) {
                file.guard = None;
            }
        }
        let Some(direct) = direct else { return };
        let Some(file) = self.file_mut(direct.segment) else { return };
        file.in_flight -= 1;
        self.file_holds(direct.segment, direct.position);
    }
}

/// Where the whole batches from `at` on end whose headers make at most `bytes`, and how many those are.
fn headers_within(tail: &Tail, at: Place, to: u32, bytes: usize) -> (u32, usize) {
    let (mut position, mut count) = (at.position, 0);
    while position < to && (count + 1) * HEADER_LEN <= bytes {
        let header = tail.header(Place { position, ..at });
        position += ringlog_engine::batch::BatchHeader::parse(&header).total_len() as u32;
        count += 1;
    }
    (position, count)
}

/// Where the whole batches from `at` on end that make at most `bytes`.
fn batches_within(tail: &Tail, at: Place, to: u32, bytes: usize) -> u32 {
    let mut position = at.position;
    while position < to {
        let header = tail.header(Place { position, ..at });
        let end = position + ringlog_engine::batch::BatchHeader::parse(&header).total_len() as u32;
        if (end - at.position) as usize > bytes {
            break;
        }
        position = end;
    }
    position
}

/// Base offset of the batch that begins at a place in memory.
fn offset_at(tail: &Tail, at: Place) -> i64 {
    ringlog_engine::batch::BatchHeader::parse(&tail.header(at)).base_offset
}

/// Calls `each` with the header of every batch in [at, to).
fn each_header(tail: &Tail, at: Place, to: u32, mut each: impl FnMut(&[u8; HEADER_LEN])) {
    let mut position = at.position;
    while position < to {
        let header = tail.header(Place { position, ..at });
        each(&header);
        position += ringlog_engine::batch::BatchHeader::parse(&header).total_len() as u32;
    }
    assert_eq!(position, to, "whole batches end where the range does");
}

fn batches(tail: &Tail, at: Place, to: u32) -> usize {
    let mut count = 0;
    each_header(tail, at, to, |_| count += 1);
    count
}

/// A copy of the last, partly filled block of a range, padded with zeros.
pub(super) fn padded(pool: &mut crate::io::memory::BlockPool, tail: &Tail, segment: i64, from: u32, to: u32) -> Span {
    let mut block = pool.take(BLOCK).expect("memory is kept for ragged blocks");
    tail.pieces(segment, from, to, |piece| block.append(piece));
    block.pad_to_multiple(BLOCK);
    block.span(0, BLOCK)
}

/// Number of records in an encoded run of state records.
fn count_records(mut states: &[u8]) -> u32 {
    let mut count = 0;
    while !states.is_empty() {
        let payload = u32::from_le_bytes(states[4..8].try_into().expect("four bytes")) as usize;
        states = &states[RECORD_HEADER_LEN + payload..];
        count += 1;
    }
    count
}
