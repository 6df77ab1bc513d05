//! What a core keeps: its partitions, the memory their tails are in, the journals that make them durable, and the files they
//! end in. Carries out what the engine's logs decide; everything asynchronous goes through [`Io`] and comes back here.
//!
//! An append is placed and copied at once, gathered with all others of the turn into one commit ([`commit`]), and settled
//! when that commit is written (acks=1, relaxed topics) or flushed. Segments are filled behind ([`hand`]).

pub mod commit;
pub mod cover;
pub mod files;
pub mod hand;
pub mod laps;
pub mod ranges;
pub mod read;
pub mod space;
pub mod tail;

use crate::io::memory::{Block, BlockMut, BlockPool, Span};
use crate::io::{Io, Token};
use crate::mail::{Appended, ReplyTo, SlotAddr};
use crate::metrics::core::CoreMeter;
use commit::Committer;
use hand::{Hand, SegmentFile};
use ranges::Ranges;
use read::ColdReads;
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchHeader, HEADER_LEN, TimestampType, stamp};
use ringlog_engine::log::partition::{LogConfig, PartitionLog, Place};
use ringlog_engine::log::recover::PartitionState;
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::producer::Check;
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{MonoMs, Now, PartitionKey, WallMs};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;
use tail::Tail;

/// Index of a partition in this core's table. Stable while the partition lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct PartIdx(pub u32);

/// What a completion's token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A write of a commit: directory, low bits of the commit's sequence.
    CommitWrite {
        dir: u8,
        sequence: u32,
    },
    CommitSync {
        dir: u8,
        sequence: u32,
    },
    /// A step of a partition's background file work.
    Hand {
        part: PartIdx,
    },
    /// A read of a cold range.
    ColdRead {
        part: PartIdx,
    },
    /// The opening of a segment's file to send ranges of it.
    ShareFile {
        part: PartIdx,
    },
    /// File work that nobody waits for: the removal of a file, the closing of a descriptor.
    Forgotten,
    /// A flush of a journal that makes destaged bytes durable and no commit.
    Cover {
        dir: u8,
    },
}

impl Purpose {
    pub fn token(self) -> Token {
        Token(match self {
            Purpose::CommitWrite { dir, sequence } => 1 << 56 | u64::from(dir) << 32 | u64::from(sequence),
            Purpose::CommitSync { dir, sequence } => 2 << 56 | u64::from(dir) << 32 | u64::from(sequence),
            Purpose::Hand { part } => 3 << 56 | u64::from(part.0),
            Purpose::ColdRead { part } => 4 << 56 | u64::from(part.0),
            Purpose::Forgotten => 5 << 56,
            Purpose::Cover { dir } => 6 << 56 | u64::from(dir) << 32,
            Purpose::ShareFile { part } => 7 << 56 | u64::from(part.0),
        })
    }

    pub fn of(token: Token) -> Purpose {
        let (low, dir) = (token.0 as u32, (token.0 >> 32) as u8);
        match token.0 >> 56 {
            1 => Purpose::CommitWrite { dir, sequence: low },
            2 => Purpose::CommitSync { dir, sequence: low },
            3 => Purpose::Hand { part: PartIdx(low) },
            4 => Purpose::ColdRead { part: PartIdx(low) },
            5 => Purpose::Forgotten,
            6 => Purpose::Cover { dir },
            7 => Purpose::ShareFile { part: PartIdx(low) },
            kind => panic!("a completion of unknown kind {kind}"),
        }
    }
}

/// Who is told when an append is settled.
#[derive(Debug)]
pub enum AckTo {
    /// A request of this core: which of its partitions.
    Slot { slot: SlotAddr, part: u32 },
    /// A request of another core; the pieces of its frame go back with the answer.
    Remote { reply: ReplyTo, pieces: Vec<Span> },
    /// A group coordinator of this core.
    Group { partition: i32, append: u64 },
    /// A DeleteRecords that this core carries out: which, and which partition of it.
    Deleted { job: u64, part: u32 },
    /// The controller, on core 0.
    Control { append: u64 },
}

/// An append that waits for its commit.
#[derive(Debug)]
pub struct Waiter {
    pub part: PartIdx,
    pub to: AckTo,
    pub outcome: Appended,
}

/// A parked fetch to wake when a partition has more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ring {
    Local(SlotAddr),
    Remote(ReplyTo),
    /// A question about offsets by time that waits for the disk.
    Question(u64),
}

impl Ring {
    /// Both are of one connection, which has one fetch at a time, or of one question.
    fn is_of_same(&self, other: &Ring) -> bool {
        match (self, other) {
            (Ring::Local(a), Ring::Local(b)) => a.conn == b.conn,
            (Ring::Remote(a), Ring::Remote(b)) => (a.core, a.slot.conn) == (b.core, b.slot.conn),
            (Ring::Question(a), Ring::Question(b)) => a == b,
            _ => false,
        }
    }
}

/// What a topic's settings mean to its partitions' store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    pub log: LogConfig,
    /// Acknowledged and visible after the write, before the flush (`ringlog.flush=relaxed`).
    pub relaxed: bool,
    pub file_delete_delay_ms: u64,
}

#[derive(Debug)]
pub struct Partition {
    pub key: PartitionKey,
    pub topic: Arc<str>,
    pub dir: u8,
    pub leader_epoch: i32,
    pub config: StoreConfig,
    pub log: PartitionLog,
    pub tail: Tail,
    /// Segments whose file is being filled, oldest first; the last is the active one's.
    pub files: VecDeque<SegmentFile>,
    pub hand: Hand,
    pub cold: ColdReads,
    pub ranges: Ranges,
    /// Everything before this place is in a commit that was built.
    committed: Place,
    /// Offset at that place.
    committed_offset: i64,
    /// Everything before this place is durable, in the journal or in a segment.
    durable: Place,
    /// In the open commit's list.
    dirty: bool,
    /// The log start moved since the last commit.
    trimmed: bool,
    /// The log start that is durable.
    durable_start: i64,
    /// Fetches to wake.
    rings: Vec<Ring>,
    /// Bytes appended, and given to fetches, since the start.
    pub appended_bytes: u64,
    pub read_bytes: u64,
    /// The partition was deleted: what is still to be removed, files first.
    erase: Option<Vec<CString>>,
}

/// Sizes and limits the store works with; from the broker's configuration.
#[derive(Clone, Debug)]
pub struct StoreLimits {
    /// From this many bytes for a partition in a commit on, whole blocks go straight to the segment.
    pub direct_min: u32,
    /// Background writes to segments happen in pieces of at least this many bytes.
    pub destage: u32,
    /// Memory kept free for commits, cold reads and ragged blocks.
    pub memory_reserve: usize,
    /// Memory that may stay taken once everything in it is also in segment files.
    pub tail_cache: usize,
    /// At least so many good bytes of a segment are sent from its file, fewer from memory.
    pub range_min: u32,
}

/// One log directory as one core uses it.
#[derive(Debug)]
pub struct Dir {
    pub path: PathBuf,
    pub committer: Committer,
    /// Set for good by the first failed write or flush: what failed. Nothing is served from the directory any more.
    pub latched: Option<String>,
    /// There is no room to allocate: produce is refused until there is.
    pub full: bool,
    /// Less room than `ringlog.disk.reserve.bytes` is left: produce is refused until there is more.
    pub short: bool,
    pub recycled: hand::Recycled,
    /// The file system writes in place: a flush of one file makes completed writes to blocks of others durable, where those
    /// blocks had been written and flushed before.
    pub one_flush_covers: bool,
}

/// Why an append was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAppended {
    Refused(ErrorCode),
    /// Memory is short until segments have been written: try again later, in the same order.
    Later,
}

/// What an append that was taken answers, and whether the answer waits.
#[derive(Debug)]
pub struct Store {
    core: u16,
    partitions: Vec<Option<Partition>>,
    free: Vec<u32>,
    by_key: BTreeMap<PartitionKey, PartIdx>,
    pub dirs: Vec<Dir>,
    pub pool: BlockPool,
    pub limits: StoreLimits,
    /// What is counted here, with the rest of what this core counts.
    pub meter: Arc<CoreMeter>,
    /// Partitions whose background work may have something to do.
    hands: VecDeque<PartIdx>,
    /// Those that have something to write to a segment when others are done.
    writers: VecDeque<PartIdx>,
    /// Appends that were settled this turn.
    pub settled: Vec<Waiter>,
    /// Fetches to look at again.
    pub rung: Vec<Ring>,
    /// Empty vectors to use again.
    spare_spans: Vec<Vec<Span>>,
    /// Round-robin hand of the eviction clock.
    clock: usize,
    /// Scratch of the commit being built.
    plan: Vec<commit::Part>,
    closing: Vec<commit::Closing>,
    /// Scratch of a lap's first frame: the states it holds, and one of them.
    states: Vec<u8>,
    state: PartitionState,
    /// Background steps under way, and how many of them write.
    steps: usize,
    writes: usize,
    /// Partitions that wait for room on disk or for a delay, and until when.
    waiting: Vec<(PartIdx, MonoMs)>,
    zeros: Option<Block>,
    /// Files given up while ranges of them are still to be sent.
    parting: Vec<Arc<ranges::SharedFile>>,
    /// A cold read found no memory: evict at the end of the turn.
    memory_wanted: bool,
    /// Memory taken above which trimming is tried again.
    trim_at: usize,
}

impl Store {
    pub fn new(core: u16, dirs: Vec<Dir>, pool: BlockPool, limits: StoreLimits) -> Store {
        Store {
            core,
            partitions: Vec::new(),
            free: Vec::new(),
            by_key: BTreeMap::new(),
            meter: Arc::new(CoreMeter::new(dirs.len())),
            dirs,
            pool,
            limits,
            hands: VecDeque::new(),
            writers: VecDeque::new(),
            settled: Vec::with_capacity(SETTLED_ROOM),
            rung: Vec::with_capacity(SETTLED_ROOM),
            spare_spans: spare_spans(),
            clock: 0,
            plan: Vec::new(),
            closing: Vec::new(),
            states: Vec::new(),
            state: PartitionState::default(),
            steps: 0,
            writes: 0,
            waiting: Vec::new(),
            zeros: None,
            parting: Vec::new(),
            memory_wanted: false,
            trim_at: 0,
        }
    }

    pub fn find(&self, key: PartitionKey) -> Option<PartIdx> {
        self.by_key.get(&key).copied()
    }

    pub fn get(&self, part: PartIdx) -> Option<&Partition> {
        self.partitions.get(part.0 as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, part: PartIdx) -> Option<&mut Partition> {
        self.partitions.get_mut(part.0 as usize)?.as_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = (PartIdx, &Partition)> {
        self.partitions.iter().enumerate().filter_map(|(k, p)| Some((PartIdx(k as u32), p.as_ref()?)))
    }

    /// Partitions from a place in the table on, so many places of it, and where to go on.
    pub fn piece(&self, from: u32, places: usize) -> (impl Iterator<Item = &Partition>, Option<u32>) {
        let to = self.partitions.len().min(from as usize + places);
        let piece = self.partitions[(from as usize).min(to)..to].iter().flatten().filter(|p| p.erase.is_none());
        (piece, (to < self.partitions.len()).then_some(to as u32))
    }

    /// Takes in a partition, new or recovered.
    pub fn add(
        &mut self,
        topic: Arc<str>,
        dir: u8,
        leader_epoch: i32,
        config: StoreConfig,
        log: PartitionLog,
        has_folder: bool,
    ) -> PartIdx {
        let key = log.key;
        let (committed, committed_offset, durable_start) = (log.end(), log.next_offset(), log.log_start());
        let partition = Partition {
            key,
            topic,
            dir,
            leader_epoch,
            config,
            log,
            tail: Tail::default(),
            files: VecDeque::new(),
            hand: if has_folder { Hand::with_dir() } else { Hand::default() },
            cold: ColdReads::default(),
            ranges: Ranges::default(),
            committed,
            committed_offset,
            durable: committed,
            dirty: false,
            trimmed: false,
            durable_start,
            rings: Vec::new(),
            appended_bytes: 0,
            read_bytes: 0,
            erase: None,
        };
        let part = match self.free.pop() {
            Some(slot) => {
                self.partitions[slot as usize] = Some(partition);
                PartIdx(slot)
            }
            None => {
                self.partitions.push(Some(partition));
                PartIdx(self.partitions.len() as u32 - 1)
            }
        };
        assert!(self.by_key.insert(key, part).is_none(), "{key} was added twice");
        part
    }

    /// Drops a deleted partition: said in the next commit; its files go when nothing is under way on them.
    pub fn remove(&mut self, part: PartIdx) {
        let Some(p) = self.partitions[part.0 as usize].as_mut() else { return };
        let (key, dir) = (p.key, p.dir);
        self.by_key.remove(&key);
        self.rung.append(&mut p.rings);
        p.tail.clear();
        p.erase = Some(erase_list(&self.dirs[dir as usize].path, p));
        let held = p.journal_lap();
        p.files.iter_mut().for_each(|f| f.laps = Default::default());
        let committer = &mut self.dirs[dir as usize].committer;
        committer.open.parts.retain(|other| *other != part);
        committer.open.dropped.push((part, key));
        self.let_go(dir, held, None);
    }

    /// Closes the active segment, so that what is before can be dropped.
    pub fn roll(&mut self, part: PartIdx, now: Now) {
        if let Some(p) = self.get_mut(part) {
            p.log.roll(now.wall);
        }
    }

    /// Moves the log start of an internal partition; what is before goes.
    pub fn drop_before(&mut self, part: PartIdx, offset: i64) {
        let moved = self.get_mut(part).is_some_and(|p| p.log.set_log_start(offset).is_ok());
        if moved {
            self.note_trim(part);
        }
    }

    /// True if a batch of so many bytes can be taken now without touching the memory kept for commits.
    pub fn has_room(&mut self, bytes: usize) -> bool {
        let need = bytes.saturating_mul(2) + self.limits.memory_reserve;
        if self.available() >= need {
            return true;
        }
        self.evict(need);
        self.available() >= need
    }

    /// A block for what is not the log's: the log makes way for it, and the reserve is left alone.
    pub fn take_block(&mut self, bytes: usize) -> Option<BlockMut> {
        let need = bytes.next_power_of_two() + self.limits.memory_reserve;
        if self.available() < need {
            self.evict(need);
        }
        if self.available() < need { None } else { self.pool.take(bytes) }
    }

    /// Bytes of requests that may be gathered here at a time: a part of the memory.
    pub fn intake_max(&mut self) -> usize {
        self.pool.usage().budget / 4
    }

    /// The largest request there is memory for: as received, as appended, and as much again for what its appends round up to.
    pub fn frame_max(&mut self) -> usize {
        let budget = self.pool.usage().budget;
        (budget - budget / 4).saturating_sub(self.limits.memory_reserve) / 3
    }

    fn available(&mut self) -> usize {
        let usage = self.pool.usage();
        usage.budget - usage.taken
    }

    /// False if a batch of so many bytes finds no room even in memory that holds nothing else.
    pub fn can_ever_take(&mut self, bytes: usize) -> bool {
        bytes.saturating_mul(2) + self.limits.memory_reserve <= self.pool.usage().budget
    }

    /// Appends one checked batch. On `Ok` the waiter is told later, through [`Store::settled`], unless acks is 0.
    pub fn append(
        &mut self,
        now: Now,
        part: PartIdx,
        batch: (&BatchHeader, Rope<'_>),
        acks: i16,
        to: AckTo,
    ) -> Result<Appended, (NotAppended, AckTo)> {
        let Some(partition) = self.get(part).filter(|p| p.erase.is_none()) else {
            return Err((NotAppended::Refused(ErrorCode::UnknownTopicOrPartition), to));
        };
        let dir = &self.dirs[partition.dir as usize];
        // The node's own logs may use the reserve: without them nothing could be deleted.
        let client = matches!(to, AckTo::Slot { .. } | AckTo::Remote { .. });
        if dir.latched.is_some() || partition.log.is_closed() || (client && (dir.full || dir.short)) {
            return Err((NotAppended::Refused(ErrorCode::KafkaStorageError), to));
        }
        if !self.has_room(HEADER_LEN + batch.1.len()) {
            return Err((NotAppended::Later, to));
        }
        let partition = self.partitions[part.0 as usize].as_mut().expect("it was there");
        match partition.append(&mut self.pool, now, batch.0, batch.1) {
            Ok(Placed::New(outcome)) => {
                let bytes = (HEADER_LEN + batch.1.len()) as u64;
                partition.appended_bytes += bytes;
                self.meter.appended(bytes, batch.0.record_count);
                if !partition.dirty {
                    partition.dirty = true;
                    self.dirs[partition.dir as usize].committer.open.parts.push(part);
                }
                let relaxed = partition.config.relaxed || planted(Bug::AckBeforeFlush);
                let committer = &mut self.dirs[partition.dir as usize].committer;
                if acks != 0 {
                    committer.wait(acks == 1 || relaxed, Waiter { part, to, outcome: outcome.clone() });
                }
                Ok(outcome)
            }
            Ok(Placed::Duplicate(outcome)) => {
                let durable = outcome.base_offset < partition.log.high_watermark();
                let (dirty, waiter) = (partition.dirty, Waiter { part, to, outcome: outcome.clone() });
                let committer = &mut self.dirs[partition.dir as usize].committer;
                if acks != 0 {
                    if durable || planted(Bug::RetryAnsweredEarly) {
                        self.settled.push(waiter)
                    } else {
                        committer.wait_for_all(waiter, dirty, &mut self.settled)
                    }
                }
                Ok(outcome)
            }
            Err(code) => Err((NotAppended::Refused(code), to)),
        }
    }

    /// Moves the log start of a partition; the waiter is told when that is durable.
    pub fn delete_records(&mut self, part: PartIdx, offset: i64, to: AckTo) -> Result<i64, ErrorCode> {
        let latched = self.get(part).is_some_and(|p| self.dirs[p.dir as usize].latched.is_some());
        if latched {
            return Err(ErrorCode::KafkaStorageError);
        }
        let partition = self.get_mut(part).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let before = if offset == -1 { partition.log.high_watermark() } else { offset };
        if before < 0 {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        partition.log.set_log_start(before)?;
        let (start, dir) = (partition.log.log_start(), partition.dir);
        self.note_trim(part);
        let outcome = Appended { log_start_offset: start, ..Appended::refused(ErrorCode::None) };
        self.dirs[dir as usize].committer.wait(false, Waiter { part, to, outcome });
        Ok(start)
    }

    /// The log start moved: said in the next commit, before which no file goes.
    fn note_trim(&mut self, part: PartIdx) {
        // After a partition's end was journaled nothing may be said of it.
        let Some(partition) = self.get_mut(part).filter(|p| p.erase.is_none()) else { return };
        partition.trimmed = true;
        let (dir, dirty) = (partition.dir, std::mem::replace(&mut partition.dirty, true));
        if !dirty {
            self.dirs[dir as usize].committer.open.parts.push(part);
        }
    }

    /// Runs retention over every partition. Returns true if something was dropped.
    pub fn retain(&mut self, now: Now, io: &mut impl Io) -> bool {
        let mut any = false;
        for k in 0..self.partitions.len() {
            let part = PartIdx(k as u32);
            let Some(partition) = self.get_mut(part) else { continue };
            let config = partition.config.log;
            match partition.log.retain(now.wall, &config) {
                Ok(true) => {
                    any = true;
                    self.note_trim(part);
                }
                Ok(false) => {}
                Err(segment) => self.load_index(io, part, segment),
            }
        }
        any
    }

    /// Remembers to wake a fetch when the partition has more; once. An earlier fetch of the same connection is answered by now.
    pub fn ring_when_more(&mut self, part: PartIdx, ring: Ring) {
        let Some(partition) = self.get_mut(part) else { return };
        match partition.rings.iter_mut().find(|earlier| earlier.is_of_same(&ring)) {
            Some(earlier) => *earlier = ring,
            None => partition.rings.push(ring),
        }
    }

    pub fn forget_ring(&mut self, part: PartIdx, ring: Ring) {
        if let Some(partition) = self.get_mut(part) {
            partition.rings.retain(|r| *r != ring);
        }
    }

    /// Keeps the memory of tails to what is kept for readers close to the end, so that blocks are used again while they are
    /// warm. Called once a turn; looks only when enough was taken since it last found nothing more to give back.
    pub fn trim(&mut self) {
        if std::mem::take(&mut self.memory_wanted) {
            self.evict(COLD_READ_BYTES);
        }
        let taken = self.pool.usage().taken;
        if taken <= self.trim_at.max(self.limits.tail_cache) {
            return;
        }
        // Blocks read from disk are no reason to give up what is read most.
        let cold: usize = self.partitions.iter().flatten().map(|p| p.cold.held()).sum();
        let keep = self.limits.tail_cache + cold;
        let (mut idle, count) = (0, self.partitions.len());
        while idle < count && self.pool.usage().taken > keep {
            self.clock = (self.clock + 1) % count;
            let freed = self.partitions[self.clock].as_mut().map_or(0, |p| {
                let durable = p.durable_in_files();
                p.tail.evict(&mut self.pool, durable)
            });
            idle = if freed > 0 { 0 } else { idle + 1 };
        }
        self.trim_at = self.pool.usage().taken + self.limits.tail_cache / 8;
    }

    /// Gives memory back, oldest first and partition by partition, until `need` bytes are free or nothing can go.
    fn evict(&mut self, need: usize) {
        let (mut idle, count) = (0, self.partitions.len());
        while count > 0 && idle <= count && self.available() < need {
            self.clock = (self.clock + 1) % count;
            let Some(partition) = self.partitions[self.clock].as_mut() else {
                idle += 1;
                continue;
            };
            let durable = partition.durable_in_files();
            let freed = partition.tail.evict(&mut self.pool, durable) + partition.cold.evict();
            idle = if freed > 0 { 0 } else { idle + 1 };
            if freed == 0 && partition.tail.held() > 0 && idle > count / 2 {
                partition.hand.pressed = true;
                if !partition.hand.queued {
                    partition.hand.queued = true;
                    self.hands.push_back(PartIdx(self.clock as u32));
                }
            }
        }
    }

    /// A write or flush of the directory failed: nothing in it is served again, and everyone who waits is told.
    pub fn latch(&mut self, dir: u8, what: String) {
        let d = &mut self.dirs[dir as usize];
        if d.latched.is_some() {
            return;
        }
        eprintln!(
            "error: log directory {}: {what}. It is taken out of service: its partitions answer KAFKA_STORAGE_ERROR. \
             Check the device, then restart; what was acknowledged before is on disk.",
            d.path.display()
        );
        d.latched = Some(what);
        d.committer.fail(&mut self.settled);
        for partition in self.partitions.iter_mut().flatten().filter(|p| p.dir == dir) {
            self.rung.append(&mut partition.rings);
        }
    }

    /// Takes note of a directory's room: `Some` of the bytes left and the reserve when they are fewer.
    pub fn set_short(&mut self, dir: u8, short: Option<(i64, i64)>) {
        let blocked = self.partitions.iter().flatten().any(|p| p.dir == dir && p.hand.waits_for_room());
        let d = &mut self.dirs[dir as usize];
        // A partition that had found no room may be gone.
        d.full &= blocked;
        let before = std::mem::replace(&mut d.short, short.is_some());
        if self.core != 0 || before == d.short {
            return;
        }
        match short {
            Some((left, reserve)) => eprintln!(
                "error: log directory {}: {left} bytes are free, fewer than ringlog.disk.reserve.bytes={reserve}. Produce is \
                 refused there until there are more; reads and deletes go on.",
                d.path.display()
            ),
            None => eprintln!("log directory {}: there is room again; produce goes on", d.path.display()),
        }
    }

    /// Forgets the longest idle producers beyond so many, of all partitions of this core, or of those in one directory.
    pub fn bound_producers(&mut self, most: usize, dir: Option<u8>) {
        let counts = |p: &&Partition| dir.is_none_or(|dir| p.dir == dir);
        let all = self.partitions.iter().flatten().filter(counts);
        let count: usize = all.clone().map(|p| p.log.producers.len()).sum();
        if count <= most {
            return;
        }
        let mut times: Vec<WallMs> = all.flat_map(|p| p.log.producers.last_used()).collect();
        let (_, last_to_go, _) = times.select_nth_unstable(count - most - 1);
        let last_to_go = if most == 0 { WallMs(i64::MAX) } else { *last_to_go };
        for p in self.partitions.iter_mut().flatten().filter(|p| dir.is_none_or(|dir| p.dir == dir)) {
            p.log.producers.expire(last_to_go, 0);
        }
    }

    /// Forgets producers that were idle for too long.
    pub fn expire_producers(&mut self, now: Now, expiration_ms: i64) {
        for partition in self.partitions.iter_mut().flatten() {
            partition.log.producers.expire(now.wall, expiration_ms);
        }
    }

    /// When partitions that wait for room or a delay are to be looked at again.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        self.waiting.iter().map(|(_, at)| *at).min()
    }

    /// Every directory's first commit, which holds the state of all partitions, is durable, or the directory failed.
    pub fn is_settled_in(&self) -> bool {
        self.dirs.iter().all(|d| d.latched.is_some() || d.committer.has_committed())
    }

    pub fn all_latched(&self) -> bool {
        self.dirs.iter().all(|d| d.latched.is_some())
    }

    /// Background steps under way.
    pub fn steps(&self) -> usize {
        self.steps
    }

    pub fn take_spans(&mut self) -> Vec<Span> {
        self.spare_spans.pop().unwrap_or_else(|| Vec::with_capacity(SPANS_ROOM))
    }

    /// Keeps a list to be used again. One that was never used has no room and is not worth it.
    pub fn give_spans(&mut self, mut spans: Vec<Span>) {
        spans.clear();
        if spans.capacity() > 0 && self.spare_spans.len() < SPARE_SPANS_MAX {
            self.spare_spans.push(spans);
        }
    }
}

fn spare_spans() -> Vec<Vec<Span>> {
    let mut lists = Vec::with_capacity(SPARE_SPANS_MAX);
    lists.resize_with(SPARE_SPANS, || Vec::with_capacity(SPANS_ROOM));
    lists
}

/// Everything of a partition on disk, in the order it can be removed: its files, its folder, its topic's folder if empty.
fn erase_list(dir: &std::path::Path, p: &Partition) -> Vec<CString> {
    let mut list = vec![
        files::c_path(&files::topic_dir(dir, &p.topic)),
        files::c_path(&files::partition_dir(dir, &p.topic, p.key)),
    ];
    for base in p.log.segments().map(|s| s.base).chain(p.hand.dead_bases()) {
        list.push(files::c_path(&files::segment(dir, &p.topic, p.key, base)));
        list.push(files::c_path(&files::index(dir, &p.topic, p.key, base)));
    }
    list
}

/// Appends settled and fetches rung in one turn that there is always room for.
pub const SETTLED_ROOM: usize = 1024;
/// Lists of spans kept to be used again, and the room of a new one: most never need more.
const SPARE_SPANS_MAX: usize = 4096;
const SPANS_ROOM: usize = 32;
/// Lists there are from the start: one that is first wanted late would be an allocation on the path.
const SPARE_SPANS: usize = 1024;

/// Memory made free for a cold read that found none.
const COLD_READ_BYTES: usize = 4 << 20;

enum Placed {
    New(Appended),
    Duplicate(Appended),
}

impl Partition {
    fn append(
        &mut self,
        pool: &mut BlockPool,
        now: Now,
        header: &BatchHeader,
        body: Rope<'_>,
    ) -> Result<Placed, ErrorCode> {
        if header.has_producer() {
            match self.log.producers.check(header)? {
                Check::Duplicate { base_offset, .. } => {
                    return Ok(Placed::Duplicate(Appended {
                        error: ErrorCode::None,
                        base_offset,
                        log_append_time: -1,
                        log_start_offset: self.log.log_start(),
                        detail: None,
                    }));
                }
                Check::New => {}
            }
        }
        let placement = self.log.append(header, self.leader_epoch, now.wall, &self.config.log);
        let mut bytes = header.encode();
        stamp(&mut bytes, placement.base_offset, self.leader_epoch);
        self.tail
            .append(pool, placement.place, &bytes, body)
            .unwrap_or_else(|_| panic!("{}: no memory for {} bytes that there was room for", self.key, body.len()));
        if header.has_producer() {
            self.log.producers.record(header, placement.base_offset, now.wall);
        }
        Ok(Placed::New(Appended {
            error: ErrorCode::None,
            base_offset: placement.base_offset,
            log_append_time: if header.timestamp_type() == TimestampType::LogAppendTime {
                header.max_timestamp
            } else {
                -1
            },
            log_start_offset: self.log.log_start(),
            detail: None,
        }))
    }

    /// Where the bytes end that are durable in segment files, whatever the journal holds.
    fn durable_in_files(&self) -> Place {
        match self.files.front() {
            Some(file) => Place { segment: file.base, position: file.durable },
            None => self.committed,
        }
    }

    /// A commit that covers the log up to here is durable (or written, if the topic is relaxed).
    fn make_visible(&mut self, offset: i64, end: Place, rung: &mut Vec<Ring>) {
        if offset > self.log.high_watermark() {
            self.log.on_visible(offset, end);
            self.tail.mark(offset, end);
            rung.append(&mut self.rings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlog_engine::producer::ProducerStates;
    use ringlog_engine::types::{CoreId, TopicId};

    #[test]
    fn fetches_that_wait_in_vain_leave_one_ring_of_each_connection() {
        let limits =
            StoreLimits { direct_min: 16384, destage: 65536, memory_reserve: 0, tail_cache: 0, range_min: u32::MAX };
        let mut store = Store::new(0, Vec::new(), BlockPool::new(1 << 20), limits);
        let log = LogConfig {
            segment_bytes: 1 << 20,
            segment_ms: 1,
            segment_jitter_ms: 0,
            segment_index_bytes: 4096,
            index_interval_bytes: 4096,
            retention_ms: -1,
            retention_bytes: -1,
            delete: false,
        };
        let config = StoreConfig { log, relaxed: false, file_delete_delay_ms: 0 };
        let key = PartitionKey { topic: TopicId([1; 16]), partition: 0 };
        let log = PartitionLog::empty(key, WallMs(0), ProducerStates::new(1));
        let part = store.add("t".into(), 0, 0, config, log, false);
        for request in 0..100 {
            for conn in 0..3 {
                let slot = SlotAddr { conn, generation: request as u32 / 50, request };
                store.ring_when_more(part, Ring::Remote(ReplyTo { core: CoreId(1), slot, part: 0 }));
                store.ring_when_more(part, Ring::Local(slot));
            }
        }
        let last = |ring: &Ring| match ring {
            Ring::Local(slot) | Ring::Remote(ReplyTo { slot, .. }) => slot.request,
            Ring::Question(_) => 0,
        };
        let rings = &store.get(part).expect("it was added").rings;
        assert_eq!(rings.iter().map(last).collect::<Vec<_>>(), [99; 6]);
    }
}
