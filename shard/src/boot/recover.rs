//! Recovery of a log directory: reads its journals, carries out what [`super::plan`] says of each partition, and makes all of
//! it durable. Running it again, after any part of it, gives the same.

use super::disk::{Disk, DiskFile};
use super::journals::Found;
use super::plan::{self, Cut, OnDisk, Plan};
use super::{BootError, BootedPartition, METADATA_BATCH_BYTES, refuse};
use crate::store::files;
use ringlog_engine::batch::Records;
use ringlog_engine::codec::Decoder;
use ringlog_engine::log::index::IndexFile;
use ringlog_engine::log::journal::{BLOCK, Hole, Journal, Newer, read_journal};
use ringlog_engine::log::partition::PartitionLog;
use ringlog_engine::log::recover::{Recovered, Replay, Unreadable};
use ringlog_engine::metadata::Entry;
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{PartitionKey, TopicId, WallMs};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The number of a start: how many were before it in these bits and above, and random bits below, so that no peer can send
/// bytes that look like a frame of it.
pub(super) const STARTS_SHIFT: u32 = 40;
/// What long work says of itself, and how often.
const PROGRESS: Duration = Duration::from_secs(5);

/// The number of the start after `last`.
pub(super) fn next_incarnation(last: Option<u64>, random: [u8; 16]) -> u64 {
    let starts = last.map_or(0, |last| (last >> STARTS_SHIFT) + 1);
    let low = u64::from_le_bytes(random[..8].try_into().expect("eight bytes")) & ((1 << STARTS_SHIFT) - 1);
    starts << STARTS_SHIFT | low.max(1)
}

/// A directory's journals and folders, as they were read.
pub(super) struct Contents {
    pub(super) found: Vec<Found>,
    /// The journals' bytes, in the same order.
    pub(super) files: Vec<Vec<u8>>,
    /// Folders of partitions: which, and the topic's name.
    pub(super) folders: BTreeMap<PartitionKey, String>,
    pub(super) recycled: Vec<(u16, u64, u32)>,
    /// Journals in which frames are missing, once they were replayed.
    pub(super) damaged: Vec<PathBuf>,
}

impl Contents {
    /// Flushes what the process before left, then reads.
    pub(super) fn read(disk: Disk, dir: &Path, found: Vec<Found>) -> Result<Contents, BootError> {
        if let Err(error) = disk.sync_file_system(dir) {
            return refuse(dir, format!("flushing it failed: {error}"));
        }
        Contents::list(disk, dir, found)
    }

    /// Reads what is there, durable or not.
    pub(super) fn list(disk: Disk, dir: &Path, found: Vec<Found>) -> Result<Contents, BootError> {
        let mut files = Vec::new();
        for journal in &found {
            match disk.read(&journal.path) {
                Ok(bytes) => files.push(bytes.unwrap_or_default()),
                Err(error) => return refuse(dir, format!("{} cannot be read: {error}", journal.path.display())),
            }
        }
        let listed = folders(disk, dir).and_then(|folders| Ok((folders, recycled(disk, dir)?)));
        match listed {
            Ok((folders, recycled)) => Ok(Contents { found, files, folders, recycled, damaged: Vec::new() }),
            Err(error) => refuse(dir, format!("cannot be listed: {error}")),
        }
    }
}

/// What the journals say of every partition.
pub(super) struct Replayed<'a> {
    pub(super) partitions: BTreeMap<PartitionKey, Recovered<'a>>,
    /// Where frames are missing that had been flushed. Then anything may have been in them, also of partitions that no
    /// journal speaks of.
    pub(super) damage: Vec<String>,
    /// The journals with the damage.
    pub(super) damaged: Vec<PathBuf>,
}

pub(super) fn replay<'a>(dir: &Path, found: &[Found], files: &'a [Vec<u8>]) -> Result<Replayed<'a>, BootError> {
    let mut replay = Replay::default();
    let (mut damage, mut damaged) = (Vec::new(), Vec::new());
    for (incarnation, core, journal) in needed(dir, found, files)? {
        if let Err(unreadable) = replay.journal(core, incarnation, &journal) {
            return refuse(dir, told(core, unreadable));
        }
        if let Some(hole) = journal.holes.first() {
            let [zero, one] = [0, 1].map(|half| files::journal(dir, incarnation, core, half));
            damage.push(format!(
                "frame {} of core {core} was durable and is not in {} or {}",
                hole.sequence,
                zero.display(),
                one.display()
            ));
            damaged.extend([zero, one].into_iter().filter(|path| found.iter().any(|found| found.path == *path)));
        }
    }
    Ok(Replayed { partitions: replay.finish(), damage, damaged })
}

/// The two files of a core's journal, as far as they are there.
type Halves<'a> = [Option<&'a [u8]>; 2];

/// The journals that speak: from the newest start all of whose cores have a frame, which stands for all before it.
fn needed<'a>(dir: &Path, found: &[Found], files: &'a [Vec<u8>]) -> Result<Vec<(u64, u16, Journal<'a>)>, BootError> {
    let mut starts: BTreeMap<u64, BTreeMap<u16, Halves<'a>>> = BTreeMap::new();
    for (found, bytes) in found.iter().zip(files) {
        starts.entry(found.incarnation).or_default().entry(found.core).or_default()[usize::from(found.half)] =
            Some(bytes);
    }
    let mut needed: Vec<Vec<(u64, u16, Journal<'a>)>> = Vec::new();
    let mut silent = None;
    for (incarnation, cores) in starts.into_iter().rev() {
        let mut journals = Vec::new();
        silent = None;
        for (core, halves) in cores {
            let journal = read_core(dir, core, incarnation, halves)?;
            // Of one that lost its beginning the ones before it, if they are there, know more.
            let speaks = !journal.frames.is_empty() || planted(Bug::SilentCoreIgnored);
            if !speaks || journal.holes.first().is_some_and(|hole| hole.before == 0) {
                silent = Some(incarnation);
            }
            journals.push((incarnation, core, journal));
        }
        needed.push(journals);
        if silent.is_none() {
            break;
        }
    }
    // Only the very first start has nothing before it to stand for a core that wrote nothing yet.
    // Of later ones something was durable before the journals of the start before it went.
    if silent.is_some_and(|incarnation| incarnation >> STARTS_SHIFT > 0) {
        for (_, _, journal) in needed.last_mut().into_iter().flatten().filter(|(_, _, j)| j.frames.is_empty()) {
            journal.holes = vec![Hole { before: 0, sequence: 1 }];
        }
    }
    Ok(needed.into_iter().rev().flatten().collect())
}

fn read_core<'a>(dir: &Path, core: u16, incarnation: u64, halves: Halves<'a>) -> Result<Journal<'a>, BootError> {
    let name = |half| files::journal(dir, incarnation, core, half);
    match read_journal(core, incarnation, halves.map(Option::unwrap_or_default)) {
        // Which frames a missing file held nobody can tell, but that it was there.
        Ok(mut journal) => {
            if halves.iter().any(Option::is_none) && !journal.frames.is_empty() && journal.holes.is_empty() {
                let sequence = journal.frames.last().map_or(1, |frame| frame.header.sequence + 1);
                journal.holes.push(Hole { before: journal.frames.len(), sequence });
            }
            Ok(journal)
        }
        Err(Newer(version)) => {
            refuse(dir, format!("{} has format {version}: start the newer release that wrote it", name(0).display()))
        }
    }
}

fn damaged(what: &str) -> String {
    format!("its journal is damaged: {what}. Nothing was changed. Restore the files, or see `ringlog repair`")
}

/// What a release is told that finds what a newer one wrote.
pub(super) fn newer_state(key: PartitionKey, version: u16) -> String {
    format!("the state of partition {key} in its journal has format {version}: start the newer release that wrote it")
}

fn told(core: u16, unreadable: Unreadable) -> String {
    damaged(&match unreadable {
        Unreadable::Newer { key, version } => return newer_state(key, version),
        Unreadable::BadRecord { core, sequence } => {
            format!("frame {sequence} of core {core} says what this release cannot read")
        }
        Unreadable::Gap { key, segment, position, expected_segment, expected_position } => format!(
            "core {core}: {key} goes on at byte {position} of segment {segment}, not at byte {expected_position} of \
             segment {expected_segment}"
        ),
    })
}

/// Every partition's folder in a directory, and its topic's name.
fn folders(disk: Disk, dir: &Path) -> io::Result<BTreeMap<PartitionKey, String>> {
    let mut found = BTreeMap::new();
    for topic in disk.list(dir)?.into_iter().filter(|entry| entry.folder) {
        let inside = match disk.list(&dir.join(&topic.name)) {
            Ok(inside) => inside,
            // `lost+found` of a file system's root is nobody's but root's.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => continue,
            Err(error) => return Err(error),
        };
        for partition in inside.into_iter().filter(|entry| entry.folder) {
            if let Some(key) = files::parse_partition(&partition.name) {
                found.insert(key, topic.name.clone());
            }
        }
    }
    Ok(found)
}

fn recycled(disk: Disk, dir: &Path) -> io::Result<Vec<(u16, u64, u32)>> {
    let names = disk.list(dir)?.into_iter().filter(|entry| !entry.folder && files::is_recycled(&entry.name));
    let parsed = names.filter_map(|entry| {
        let (core, number) = entry.name.strip_prefix("recycled-")?.strip_suffix(".seg")?.split_once('-')?;
        let recycled = (core.parse().ok()?, number.parse().ok()?, u32::try_from(entry.len).ok()?);
        (files::recycled(dir, recycled.0, recycled.1) == dir.join(&entry.name)).then_some(recycled)
    });
    Ok(parsed.collect())
}

/// Gives recycled files back to the file system, whose space is needed.
pub(super) fn drop_recycled(disk: Disk, dir: &Path, recycled: &mut Vec<(u16, u64, u32)>) -> io::Result<()> {
    for (core, number, _) in recycled.drain(..) {
        disk.remove(&files::recycled(dir, core, number))?;
    }
    disk.sync_folder(dir)
}

/// Carries out the recovery of one directory's partitions, and counts what it did.
pub(super) struct Recovery<'d> {
    disk: Disk,
    dir: &'d Path,
    now: WallMs,
    producers_limit: u32,
    begun: Instant,
    told: Instant,
    partitions: usize,
    bytes: u64,
    pub(super) notices: Vec<String>,
}

impl<'d> Recovery<'d> {
    pub(super) fn new(disk: Disk, dir: &'d Path, now: WallMs, producers_limit: u32) -> Recovery<'d> {
        let begun = Instant::now();
        let notices = Vec::new();
        Recovery { disk, dir, now, producers_limit, begun, told: begun, partitions: 0, bytes: 0, notices }
    }

    /// Brings a partition's files to what its journal says. Not durable before [`Recovery::finish`].
    pub(super) fn partition(
        &mut self,
        key: PartitionKey,
        mut recovered: Recovered<'_>,
        topic: String,
        folder: bool,
        contents: &mut Contents,
    ) -> Result<BootedPartition, BootError> {
        let dir = self.dir;
        let failed = |error: io::Error| BootError(format!("log directory {}: {topic}-{key}: {error}", dir.display()));
        let path = files::partition_dir(dir, &topic, key);
        let on_disk =
            if folder { listing(self.disk, &path, recovered.is_uncertain()).map_err(failed)? } else { Vec::new() };
        let cut = self.verify(&topic, key, &mut recovered).map_err(failed)?;
        let plan = match plan::plan(key, &recovered, &on_disk, self.now, self.producers_limit) {
            Ok(plan) => plan,
            Err(why) => return refuse(dir, why),
        };
        self.tell(&topic, key, cut, &plan);
        match self.apply(&topic, key, &plan, &on_disk) {
            Err(error) if error.kind() == ErrorKind::StorageFull && !contents.recycled.is_empty() => {
                drop_recycled(self.disk, dir, &mut contents.recycled).map_err(failed)?;
                self.apply(&topic, key, &plan, &on_disk).map_err(failed)?;
            }
            done => done.map_err(failed)?,
        }
        self.partitions += 1;
        let has_folder = folder || !plan.finish.is_empty();
        Ok(BootedPartition { topic, key, log: plan.log, has_folder })
    }

    fn tell(&mut self, topic: &str, key: PartitionKey, cut: Option<Cut>, plan: &Plan<'_>) {
        let name = format!("log directory {}: {topic}-{}", self.dir.display(), key.partition);
        if let Some(Cut { offset, segment, position }) = cut {
            self.notices.push(format!(
                "{name}: cut at offset {offset} (byte {position} of segment {segment}): what followed was not flushed when \
                 the broker ended, and never acknowledged as such"
            ));
        }
        for what in &plan.damage {
            self.notices.push(format!("{name}: damaged: {what}; see `ringlog repair`"));
        }
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            let mib = self.bytes >> 20;
            eprintln!("log directory {}: {} partitions recovered, {mib} MiB", self.dir.display(), self.partitions);
        }
    }

    /// A partition that no journal speaks of, and of which frames may be missing: what its finished segments prove.
    pub(super) fn unknown(&self, topic: &str, key: PartitionKey) -> Result<Recovered<'static>, BootError> {
        let listed = listing(self.disk, &files::partition_dir(self.dir, topic, key), true);
        let on_disk = match listed {
            Ok(on_disk) => on_disk,
            Err(error) => return refuse(self.dir, format!("{topic}-{}: {error}", key.partition)),
        };
        let first = on_disk.first().map_or(0, |file| file.base);
        let mut proven = first;
        for file in &on_disk {
            match file.complete {
                Some(next) if file.base == proven => proven = next,
                _ => break,
            }
        }
        Ok(Recovered::unknown(first, proven, on_disk.last().map_or(0, |file| file.base).max(proven)))
    }

    fn verify(&self, topic: &str, key: PartitionKey, recovered: &mut Recovered<'_>) -> io::Result<Option<Cut>> {
        let mut opened: Option<(i64, Option<DiskFile>)> = None;
        plan::verify(recovered, |segment, position, into| {
            if opened.as_ref().is_none_or(|(base, _)| *base != segment) {
                opened = Some((segment, self.disk.open(&files::segment(self.dir, topic, key, segment))?));
            }
            match &opened {
                Some((_, Some(file))) => file.read_at(into, u64::from(position)),
                _ => Ok(0),
            }
        })
    }

    fn apply(&mut self, topic: &str, key: PartitionKey, plan: &Plan<'_>, on_disk: &[OnDisk]) -> io::Result<()> {
        let (disk, dir) = (self.disk, self.dir);
        for base in &plan.remove {
            disk.remove(&files::segment(dir, topic, key, *base))?;
            disk.remove(&files::index(dir, topic, key, *base))?;
        }
        if !plan.finish.is_empty() {
            disk.make_folders(&files::partition_dir(dir, topic, key))?;
        }
        for finish in &plan.finish {
            let len = on_disk.iter().find(|file| file.base == finish.base).map(|file| file.len);
            if len == Some(u64::from(finish.len)) && finish.writes.is_empty() {
                continue;
            }
            disk.remove(&files::index(dir, topic, key, finish.base))?;
            let file = disk.edit(&files::segment(dir, topic, key, finish.base))?;
            // Batches one behind the other are one write: a page that is written in part is read before.
            for run in finish.writes.chunk_by(|a, b| a.position as usize + a.bytes.len() == b.position as usize) {
                let pieces = run.iter().map(|write| IoSlice::new(write.bytes));
                self.bytes += file.write_pieces_at(pieces.collect(), u64::from(run[0].position))?;
            }
            if file.len()? > u64::from(finish.len) {
                file.set_len(u64::from(finish.len))?;
            }
            if let Some(bytes) = index_file(&plan.log, finish.base) {
                disk.edit(&files::index(dir, topic, key, finish.base))?.write_at(&bytes, 0)?;
            }
        }
        Ok(())
    }

    /// Makes all of it durable, and says what was done.
    pub(super) fn finish(mut self) -> Result<Vec<String>, BootError> {
        if let Err(error) = self.disk.sync_file_system(self.dir) {
            return refuse(self.dir, format!("flushing what was recovered failed: {error}"));
        }
        if self.partitions > 0 {
            self.notices.push(format!(
                "log directory {}: {} partitions recovered, {} bytes put from journals into segments, in {} ms",
                self.dir.display(),
                self.partitions,
                self.bytes,
                self.begun.elapsed().as_millis()
            ));
        }
        Ok(self.notices)
    }
}

/// The segments' files in a partition's folder, in order of base offset. `complete`: look up which their indexes say are whole.
pub(super) fn listing(disk: Disk, folder: &Path, complete: bool) -> io::Result<Vec<OnDisk>> {
    if !disk.is_folder(folder) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in disk.list(folder)?.into_iter().filter(|entry| !entry.folder) {
        let Some(base) = files::parse_base(&entry.name, ".log") else { continue };
        let mut file = OnDisk { base, len: entry.len, modified: entry.modified, complete: None };
        if complete
            && let Some(bytes) = disk.read(&folder.join(&entry.name).with_extension("index"))?
            && let Ok(index) = IndexFile::decode(&bytes)
            && (index.base_offset, u64::from(index.segment_len)) == (base, entry.len)
        {
            file.complete = Some(index.next_offset);
        }
        found.push(file);
    }
    Ok(found)
}

/// The index of a segment, where it is known, as its file holds it.
fn index_file(log: &PartitionLog, base: i64) -> Option<Vec<u8>> {
    let segment = log.segment(base)?;
    let file = IndexFile {
        base_offset: base,
        next_offset: segment.next_offset,
        segment_len: segment.len,
        first_append: segment.created,
        index: segment.index.clone()?,
    };
    let mut bytes = file.encode();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    Some(bytes)
}

/// Topics' names by id: from folders, and from the metadata log.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<TopicId, String>);

impl Names {
    pub(super) fn learn(&mut self, id: TopicId, name: &str) {
        self.0.entry(id).or_insert_with(|| name.to_string());
    }

    /// Learns the names that a batch of the metadata log gives.
    pub(super) fn learn_batch(&mut self, batch: &[u8]) {
        let (mut decoder, mut buffer) = (Decoder::default(), Vec::new());
        let records = Records::read(Rope::of(batch), &mut decoder, &mut buffer, METADATA_BATCH_BYTES);
        for record in records.into_iter().flatten().flatten() {
            if let Some(Ok(Entry::TopicCreated { name, id, .. })) = record.value.map(Entry::decode) {
                self.learn(TopicId(id), &name);
            }
        }
    }

    /// The topic's name; its id where nobody knows it any more.
    pub(super) fn of(&self, id: TopicId) -> String {
        self.0.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

/// Folders that no journal speaks of; told once.
pub(super) fn orphans(
    dir: &Path,
    folders: &BTreeMap<PartitionKey, String>,
    known: &[BootedPartition],
) -> Option<String> {
    let known: BTreeSet<PartitionKey> = known.iter().map(|p| p.key).collect();
    let mut unknown = folders.iter().filter(|(key, _)| !known.contains(key));
    let (key, topic) = unknown.next()?;
    let first: PathBuf = files::partition_dir(dir, topic, *key);
    let more = match unknown.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "log directory {}: {}{more}: no journal speaks of it, as where a first record was never acknowledged; left alone",
        dir.display(),
        first.display()
    ))
}
