//! What is in a log directory, looked at without changing anything: every partition as its journals and files tell, and where
//! it is damaged. For tools and for [`super::repair`]; a start does not read segments that it need not.
//!
//! On the directory of a running broker the picture is of several moments: what it says of the newest records may be off.

use super::disk::{Disk, DiskFile};
use super::journals::{self, Found};
use super::meta::{self, Meta};
use super::plan;
use super::recover::{self, Contents, Names};
use super::{BootError, METADATA_KEY, METADATA_TOPIC, refuse};
use crate::store::files;
use ringlog_engine::batch::{BatchHeader, HEADER_LEN, checksum_matches};
use ringlog_engine::log::index::{BadIndex, IndexFile};
use ringlog_engine::log::journal::{Frame, FrameHeader, Journal, NoFrame, Record};
use ringlog_engine::log::recover::{BadState, PartitionState, Recovered, Redo, Replay};
use ringlog_engine::producer::ProducerView;
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{PartitionKey, TopicId, WallMs};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Producers that are shown, and kept by a repair, of a partition.
pub(super) const PRODUCERS: u32 = 1 << 20;

/// One log directory.
#[derive(Debug)]
pub struct Examined {
    pub cluster_id: String,
    pub node_id: i32,
    pub directory_id: TopicId,
    /// Journal files, by name.
    pub journals: Vec<PathBuf>,
    /// Why the journals cannot be believed; then partitions are as far as their segments tell.
    pub journal_damage: Option<String>,
    pub partitions: Vec<ExaminedPartition>,
    /// Folders that no journal speaks of.
    pub orphans: Vec<PathBuf>,
    /// Files and bytes kept to be used again.
    pub recycled: (usize, u64),
}

/// One partition and its segments, in order.
#[derive(Debug)]
pub struct ExaminedPartition {
    pub topic: String,
    pub key: PartitionKey,
    pub log_start: i64,
    pub next_offset: i64,
    /// Reads from here on were refused already; `None` if the log was thought whole.
    pub damaged_from: Option<i64>,
    /// What followed the next offset is not known.
    pub closed: bool,
    pub segments: Vec<ExaminedSegment>,
    pub producers: Vec<ProducerView>,
    /// What is wrong besides damaged batches.
    pub damage: Vec<String>,
}

/// One segment, read from its first byte to its last, or to where it is damaged.
#[derive(Clone, Debug)]
pub struct ExaminedSegment {
    pub base: i64,
    pub path: PathBuf,
    /// Bytes of batches there should be.
    pub len: u32,
    /// Of these, in good batches from the start on.
    pub good_len: u32,
    /// The offset after the good batches.
    pub good_until: i64,
    /// The next segment's base.
    pub next_offset: i64,
    pub batches: u64,
    pub records: u64,
    /// Ends early, and its index says that this is known.
    pub gap_known: bool,
}

impl ExaminedSegment {
    pub fn is_damaged(&self) -> bool {
        self.good_len < self.len || (self.good_until != self.next_offset && !self.gap_known)
    }
}

impl ExaminedPartition {
    pub fn is_damaged(&self) -> bool {
        self.damaged_from.is_some() || !self.damage.is_empty() || self.segments.iter().any(ExaminedSegment::is_damaged)
    }
}

impl Examined {
    pub fn is_damaged(&self) -> bool {
        self.journal_damage.is_some() || self.partitions.iter().any(ExaminedPartition::is_damaged)
    }
}

/// Looks at a directory, reading every segment. Nothing is locked, flushed or written.
pub fn examine(dir: &Path, now: WallMs) -> Result<Examined, BootError> {
    let disk = Disk;
    let Some(meta) = meta::read(disk, dir)? else {
        return refuse(dir, format!("is no log directory of Ringlog: it holds no {}", files::META));
    };
    let contents = Contents::list(disk, dir, journals::find(disk, dir)?)?;
    examine_contents(disk, dir, &meta, &contents, now)
}

pub(super) fn examine_contents(
    disk: Disk,
    dir: &Path,
    meta: &Meta,
    contents: &Contents,
    now: WallMs,
) -> Result<Examined, BootError> {
    let (replayed, journal_damage) = believed(dir, &contents.found, &contents.files, &contents.folders)?;
    let mut names = Names::default();
    contents.folders.iter().for_each(|(key, topic)| names.learn(key.topic, topic));
    names.learn(TopicId::METADATA, METADATA_TOPIC);
    let mut partitions = Vec::new();
    let mut orphans = Vec::new();
    for (key, topic) in contents.folders.iter().filter(|(key, _)| !replayed.contains_key(key)) {
        if journal_damage.is_none() {
            orphans.push(files::partition_dir(dir, topic, *key));
            continue;
        }
        match by_segments_alone(disk, dir, topic, *key) {
            Ok(partition) => partitions.push(partition),
            Err(error) => return refuse(dir, format!("{topic}-{}: {error}", key.partition)),
        }
    }
    // The metadata log first: it knows the names of topics that have no folder yet.
    let mut replayed = replayed;
    let metadata = replayed.remove_entry(&METADATA_KEY);
    for (key, mut recovered) in metadata.into_iter().chain(replayed) {
        let topic = names.of(key.topic);
        let mut see = |batch: &[u8]| {
            if key == METADATA_KEY {
                names.learn_batch(batch);
            }
        };
        match of_journal((disk, dir), (key, &topic), &mut recovered, now, &mut see) {
            Ok(Ok(partition)) => partitions.push(partition),
            Ok(Err(why)) => return refuse(dir, why),
            Err(error) => return refuse(dir, format!("{topic}-{}: {error}", key.partition)),
        }
    }
    partitions.sort_by(|a, b| (&a.topic, a.key.partition).cmp(&(&b.topic, b.key.partition)));
    Ok(Examined {
        cluster_id: meta.cluster_id.clone(),
        node_id: meta.node_id,
        directory_id: TopicId(meta.dir_id.0),
        journals: contents.found.iter().map(|found| found.path.clone()).collect(),
        journal_damage,
        partitions,
        orphans,
        recycled: (contents.recycled.len(), contents.recycled.iter().map(|(.., len)| u64::from(*len)).sum()),
    })
}

/// What the journals say. Where they cannot be believed as a whole: why, and what those frames say that are there.
#[allow(clippy::type_complexity)]
pub(super) fn believed<'a>(
    dir: &Path,
    found: &[Found],
    files: &'a [Vec<u8>],
    folders: &BTreeMap<PartitionKey, String>,
) -> Result<(BTreeMap<PartitionKey, Recovered<'a>>, Option<String>), BootError> {
    for (found, bytes) in found.iter().zip(files) {
        if let Err(NoFrame::Newer(version)) = Frame::parse(bytes, 0) {
            return refuse(dir, format!("{} has format {version}: use the newer release", found.path.display()));
        }
        // Nor is that damage, of which the rest would be saved.
        for record in frames(found, bytes).iter().flat_map(Frame::records) {
            if let Ok(Record::State { key, state, .. }) = record
                && let Err(BadState::Newer(version)) = PartitionState::decode(state)
            {
                return refuse(dir, recover::newer_state(key, version));
            }
        }
    }
    if found.is_empty() && !folders.is_empty() {
        return Ok((BTreeMap::new(), Some("there is no journal file".into())));
    }
    match recover::replay(dir, found, files) {
        Ok(replayed) => Ok((replayed.partitions, replayed.damage.into_iter().next())),
        Err(why) => Ok((salvage(found, files), Some(why.to_string()))),
    }
}

/// Replays, of the newest start that wrote anything, the frames of every lap up to the first that is not there.
fn salvage<'a>(found: &[Found], files: &'a [Vec<u8>]) -> BTreeMap<PartitionKey, Recovered<'a>> {
    let mut replay = Replay::default();
    let mut laps: Vec<Vec<Frame<'a>>> = found.iter().zip(files).map(|(found, bytes)| frames(found, bytes)).collect();
    let newest = laps.iter().filter_map(|lap| Some(lap.first()?.header.incarnation)).max();
    laps.retain(|lap| lap.first().is_some_and(|frame| Some(frame.header.incarnation) == newest));
    laps.sort_by_key(|lap| (lap[0].header.core, lap[0].header.lap));
    for frames in laps {
        let FrameHeader { core, incarnation, .. } = frames[0].header;
        let _ = replay.journal(core, incarnation, &Journal { frames, durable: 0, holes: Vec::new() });
    }
    replay.finish()
}

/// The frames of a journal file, from its start to the first place where the next is not.
fn frames<'a>(found: &Found, bytes: &'a [u8]) -> Vec<Frame<'a>> {
    let (mut frames, mut position): (Vec<Frame<'a>>, u64) = (Vec::new(), 0);
    while let Ok(frame) = Frame::parse(bytes, position) {
        let ours = (frame.header.core, frame.header.incarnation) == (found.core, found.incarnation);
        let next = frames.last().is_none_or(|last| last.header.sequence + 1 == frame.header.sequence);
        if !(ours && next) {
            break;
        }
        position += frame.header.padded_len();
        frames.push(frame);
    }
    frames
}

fn of_journal(
    (disk, dir): (Disk, &Path),
    (key, topic): (PartitionKey, &str),
    recovered: &mut Recovered<'_>,
    now: WallMs,
    see: &mut dyn FnMut(&[u8]),
) -> io::Result<Result<ExaminedPartition, String>> {
    let on_disk = recover::listing(disk, &files::partition_dir(dir, topic, key), recovered.is_uncertain())?;
    plan::verify(recovered, |base, position, into| match disk.open(&files::segment(dir, topic, key, base))? {
        Some(file) => file.read_at(into, u64::from(position)),
        None => Ok(0),
    })?;
    let plan = match plan::plan(key, recovered, &on_disk, now, PRODUCERS) {
        Ok(plan) => plan,
        Err(why) => return Ok(Err(why)),
    };
    let mut segments = Vec::new();
    for segment in plan.log.segments().filter(|s| s.next_offset > s.base) {
        let path = files::segment(dir, topic, key, segment.base);
        let writes = plan.finish.iter().find(|f| f.base == segment.base).map_or(&[][..], |f| &f.writes);
        let source = Source::open(disk, &path, segment.len, writes)?;
        segments.push(source.walk(path, (segment.base, segment.next_offset, segment.len), see)?);
    }
    Ok(Ok(ExaminedPartition {
        topic: topic.to_string(),
        key,
        log_start: plan.log.log_start(),
        next_offset: plan.log.next_offset(),
        closed: plan.log.is_closed(),
        damaged_from: (plan.log.damaged_from() < i64::MAX).then(|| plan.log.damaged_from()),
        segments,
        producers: plan.log.producers.iter().collect(),
        damage: plan.damage,
    }))
}

/// A partition as its segments tell, no journal being there to say where it ends: at the first batch that is not good.
fn by_segments_alone(disk: Disk, dir: &Path, topic: &str, key: PartitionKey) -> io::Result<ExaminedPartition> {
    let on_disk = recover::listing(disk, &files::partition_dir(dir, topic, key), false)?;
    let mut segments = Vec::new();
    for (at, file) in on_disk.iter().enumerate() {
        let path = files::segment(dir, topic, key, file.base);
        let next = on_disk.get(at + 1).map(|next| next.base);
        let len = u32::try_from(file.len).unwrap_or(u32::MAX);
        let source = Source::open(disk, &path, len, &[])?;
        let mut segment = source.walk(path, (file.base, next.unwrap_or(i64::MAX), len), &mut |_| ())?;
        if next.is_none() {
            segment.next_offset = segment.good_until;
            // The last one has space reserved behind its end.
            if !source.looks_like(segment.good_len, segment.good_until)? {
                segment.len = segment.good_len;
            }
        }
        segments.push(segment);
    }
    let log_start = segments.first().map_or(0, |s| s.base);
    Ok(ExaminedPartition {
        topic: topic.to_string(),
        key,
        log_start,
        next_offset: segments.last().map_or(0, |s| s.good_until),
        damaged_from: None,
        closed: false,
        segments,
        producers: Vec::new(),
        damage: Vec::new(),
    })
}

/// A segment's bytes: its file's, or those and the journal's together.
#[derive(Debug)]
pub struct Source(Bytes);

#[derive(Debug)]
enum Bytes {
    File(DiskFile),
    Memory(Vec<u8>),
}

impl Source {
    fn open(disk: Disk, path: &Path, len: u32, writes: &[Redo<'_>]) -> io::Result<Source> {
        let file = disk.open(path)?;
        if let (Some(file), []) = (file, writes) {
            return Ok(Source(Bytes::File(file)));
        }
        let mut bytes = vec![0; len as usize];
        if let Some(file) = disk.open(path)? {
            file.read_at(&mut bytes, 0)?;
        }
        for write in writes {
            let from = write.position as usize;
            bytes[from..from + write.bytes.len()].copy_from_slice(write.bytes);
        }
        Ok(Source(Bytes::Memory(bytes)))
    }

    /// A file as it is.
    pub fn file(path: &Path) -> io::Result<Source> {
        Disk.open(path)?.map(|file| Source(Bytes::File(file))).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Bytes in all.
    pub fn file_len(&self) -> io::Result<u64> {
        match &self.0 {
            Bytes::File(file) => file.len(),
            Bytes::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        match &self.0 {
            Bytes::File(file) => file.read_at(into, at),
            Bytes::Memory(bytes) => {
                let rest = bytes.get(at as usize..).unwrap_or_default();
                let len = rest.len().min(into.len());
                into[..len].copy_from_slice(&rest[..len]);
                Ok(len)
            }
        }
    }

    /// Reads the batch at a place into `batch`, all of it; `None` if no good one at `offset` ends before `end`.
    fn batch(&self, position: u32, offset: i64, end: u32, batch: &mut Vec<u8>) -> io::Result<Option<BatchHeader>> {
        batch.resize(HEADER_LEN, 0);
        if self.read_at(batch, u64::from(position))? < HEADER_LEN {
            return Ok(None);
        }
        let header = BatchHeader::parse(batch.first_chunk().expect("a header was read"));
        let len = header.total_len();
        let fits = (HEADER_LEN..=(end - position) as usize).contains(&len);
        if !fits || header.magic != 2 || header.last_offset_delta < 0 || header.base_offset != offset {
            return Ok(None);
        }
        batch.resize(len, 0);
        let rest = self.read_at(&mut batch[HEADER_LEN..], u64::from(position) + HEADER_LEN as u64)?;
        Ok((rest == len - HEADER_LEN && checksum_matches(Rope::of(batch))).then_some(header))
    }

    /// Shows every batch from the start to `end`, or to the first that is not good. Returns position and offset after the last.
    pub fn each(&self, base: i64, end: u32, mut each: impl FnMut(u32, &BatchHeader, &[u8])) -> io::Result<(u32, i64)> {
        let (mut position, mut offset, mut batch) = (0, base, Vec::new());
        while position < end {
            let Some(header) = self.batch(position, offset, end, &mut batch)? else { break };
            each(position, &header, &batch);
            position += batch.len() as u32;
            offset = header.next_offset();
        }
        Ok((position, offset))
    }

    /// True if the batch of this offset seems to begin there.
    pub fn looks_like(&self, position: u32, offset: i64) -> io::Result<bool> {
        let mut head = [0; HEADER_LEN];
        let whole = self.read_at(&mut head, u64::from(position))? == HEADER_LEN;
        let header = BatchHeader::parse(&head);
        Ok(whole && header.magic == 2 && header.base_offset == offset && header.batch_length > 0)
    }

    fn walk(
        &self,
        path: PathBuf,
        (base, next_offset, len): (i64, i64, u32),
        see: &mut dyn FnMut(&[u8]),
    ) -> io::Result<ExaminedSegment> {
        let (mut batches, mut records) = (0, 0);
        let (good_len, good_until) = self.each(base, len, |_, header, batch| {
            see(batch);
            batches += 1;
            records += header.record_count.max(0) as u64;
        })?;
        let index = read_index(&path.with_extension("index"))?;
        let gap_known = matches!(index, Some(Ok(i)) if i.next_offset == next_offset && i.segment_len == len);
        Ok(ExaminedSegment { base, path, len, good_len, good_until, next_offset, batches, records, gap_known })
    }
}

/// An index file, if there is one.
pub fn read_index(path: &Path) -> io::Result<Option<Result<IndexFile, BadIndex>>> {
    Ok(Disk.read(path)?.map(|bytes| IndexFile::decode(&bytes)))
}
