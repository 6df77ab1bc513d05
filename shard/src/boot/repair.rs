//! Repair of a stopped broker's log directory: drops what is damaged, and only that, by setting it aside. What is left is a
//! whole log with gaps where something was dropped; offsets never go back.
//!
//! Everything that is dropped is copied or moved to `set-aside/<time>/` before anything is cut, and the journals are replaced
//! by one that says how things are. Ended half-way, it can be run again.

use super::disk::Disk;
use super::examine::{self, Examined, ExaminedPartition, ExaminedSegment, PRODUCERS};
use super::meta::{self, DirLock};
use super::recover::{self, Contents, Recovery, next_incarnation};
use super::{BootError, journals, refuse};
use crate::store::files;
use ringlog_engine::log::index::{IndexFile, SegmentIndex};
use ringlog_engine::log::journal::{BLOCK, FRAME_HEADER_LEN, FrameHeader, Record};
use ringlog_engine::log::recover::PartitionState;
use ringlog_engine::producer::ProducerStates;
use ringlog_engine::types::{PartitionKey, WallMs};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes between two entries of an index made here.
const INDEX_INTERVAL: u32 = 4096;
/// The journal of a repair holds its one frame, and has at least this many bytes.
const JOURNAL_BYTES: usize = 1 << 20;

/// A log directory that no broker runs on, and what would have to go for it to be whole.
#[derive(Debug)]
pub struct Repair {
    dir: PathBuf,
    pub examined: Examined,
    _lock: DirLock,
}

/// Something that a repair drops: one line each for people, and what it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    pub what: String,
    /// Offsets lost; none where it is not offsets, or not known which.
    pub offsets: Option<(i64, i64)>,
}

impl Repair {
    /// Takes the directory's lock and reads all of it. Changes nothing.
    pub fn examine(dir: &Path, now: WallMs) -> Result<Repair, BootError> {
        let disk = Disk;
        let Some(meta) = meta::read(disk, dir)? else {
            return refuse(dir, format!("is no log directory of Ringlog: it holds no {}", files::META));
        };
        let lock = DirLock::take(disk, dir)?;
        let contents = Contents::read(disk, dir, journals::find(disk, dir)?)?;
        let examined = examine::examine_contents(disk, dir, &meta, &contents, now)?;
        Ok(Repair { dir: dir.to_path_buf(), examined, _lock: lock })
    }

    /// What would be dropped; nothing if the directory is whole.
    pub fn losses(&self) -> Vec<Dropped> {
        let mut losses = Vec::new();
        let mut lose = |what: String, offsets: Option<(i64, i64)>| losses.push(Dropped { what, offsets });
        if let Some(why) = &self.examined.journal_damage {
            let what = "the journals: records that were not in their segments yet, and what only journals know (log starts \
                        moved lately, producers)";
            lose(format!("{what}: {why}"), None);
        }
        for path in &self.examined.orphans {
            lose(format!("{}: a folder that no journal speaks of", path.display()), None);
        }
        for partition in &self.examined.partitions {
            let name = format!("{}-{}", partition.topic, partition.key.partition);
            for segment in partition.segments.iter().filter(|s| s.is_damaged()) {
                let (from, to, bytes) = (segment.good_until, segment.next_offset, segment.len - segment.good_len);
                let offsets =
                    if from < to { format!("offsets {from} to {}", to - 1) } else { format!("from offset {from} on") };
                let (base, at) = (segment.base, segment.good_len);
                let what = format!("{name}: {offsets}: {bytes} bytes of segment {base} from byte {at} on");
                lose(what, Some((from, to)));
            }
            let first = partition.segments.first().map_or(partition.next_offset, |s| s.base);
            if first > partition.log_start {
                let what = format!("{name}: offsets {} to {}: no segment holds them", partition.log_start, first - 1);
                lose(what, Some((partition.log_start, first)));
            }
            if partition.closed {
                let next = partition.next_offset;
                lose(
                    format!("{name}: whatever followed offset {next}: a journal that may have held it was damaged"),
                    None,
                );
            } else if let (Some(from), false) =
                (partition.damaged_from, partition.segments.iter().any(|s| s.is_damaged()))
            {
                lose(format!("{name}: nothing more: it is refused from offset {from} on, and is whole again"), None);
            }
        }
        losses
    }

    /// Carries it out. Returns the folder with all that was dropped: `name` says when it was, and no other repair has it.
    pub fn carry_out(self, name: &str, now: WallMs, random: [u8; 16]) -> Result<PathBuf, BootError> {
        let aside = self.dir.join(files::SET_ASIDE).join(name);
        match self.apply(&aside, now, random) {
            Ok(()) => Ok(aside),
            Err(Failed::Io(error)) => refuse(&self.dir, format!("the repair failed: {error}; run it again")),
            Err(Failed::Boot(error)) => Err(error),
        }
    }

    fn apply(&self, aside: &Path, now: WallMs, random: [u8; 16]) -> Result<(), Failed> {
        let disk = Disk;
        disk.make_folders(aside)?;
        for orphan in &self.examined.orphans {
            move_into(orphan, aside, &self.dir)?;
        }
        let mut contents = Contents::read(disk, &self.dir, journals::find(disk, &self.dir)?)?;
        let (found, bytes) = (std::mem::take(&mut contents.found), std::mem::take(&mut contents.files));
        let (replayed, journal_damage) = examine::believed(&self.dir, &found, &bytes, &contents.folders)?;
        // What only journals hold goes to its segments, as at a start.
        let mut recovery = Recovery::new(disk, &self.dir, now, PRODUCERS);
        let mut states = BTreeMap::new();
        let topics: BTreeMap<PartitionKey, &ExaminedPartition> =
            self.examined.partitions.iter().map(|p| (p.key, p)).collect();
        for (key, recovered) in replayed {
            let folder = contents.folders.contains_key(&key);
            let Some(topic) = topics.get(&key).map(|p| p.topic.clone()) else { continue };
            let booted = recovery.partition(key, recovered, topic, folder, &mut contents)?;
            let log = booted.log;
            states.insert(key, (log.epochs().to_vec(), log.producers));
        }
        recovery.finish()?;
        let mut frame = JournalFrame::default();
        for partition in &self.examined.partitions {
            let state = self.partition(aside, partition, states.remove(&partition.key), now)?;
            frame.state(partition, &state);
        }
        disk.sync_file_system(&self.dir)?;
        let last = found.iter().map(|f| f.incarnation).max();
        frame.write(disk, &self.dir, next_incarnation(last, random))?;
        for old in found {
            if journal_damage.is_some() { move_into(&old.path, aside, &self.dir)? } else { disk.remove(&old.path)? }
        }
        disk.sync_file_system(&self.dir)?;
        Ok(())
    }

    /// Sets aside what is damaged of a partition, and segments that hold nothing good; returns the others.
    fn keep<'a>(&self, aside: &Path, partition: &'a ExaminedPartition) -> io::Result<Vec<&'a ExaminedSegment>> {
        let mut kept: Vec<&ExaminedSegment> = Vec::new();
        for segment in &partition.segments {
            if segment.is_damaged() && segment.path.is_file() {
                set_aside(segment, aside, &self.dir)?;
            }
            if segment.good_len > 0 {
                kept.push(segment);
            }
        }
        let folder = files::partition_dir(&self.dir, &partition.topic, partition.key);
        for file in
            recover::listing(Disk, &folder, false)?.iter().filter(|file| kept.iter().all(|s| s.base != file.base))
        {
            let path = files::segment(&self.dir, &partition.topic, partition.key, file.base);
            move_into(&path, aside, &self.dir)?;
            Disk.remove(&path.with_extension("index"))?;
        }
        Ok(kept)
    }

    /// Cuts a partition's segments to what is good, and says what the partition is then.
    fn partition(
        &self,
        aside: &Path,
        partition: &ExaminedPartition,
        known: Option<(Vec<(i32, i64)>, ProducerStates)>,
        now: WallMs,
    ) -> io::Result<PartitionState> {
        let kept = self.keep(aside, partition)?;
        let bases: Vec<i64> = kept.iter().skip(1).map(|s| s.base).chain([partition.next_offset]).collect();
        let rebuild = known.is_none();
        let (mut epochs, mut producers) = known.unwrap_or_else(|| (Vec::new(), ProducerStates::new(PRODUCERS)));
        for (segment, next_offset) in kept.iter().zip(bases) {
            if !rebuild && segment.good_until == next_offset {
                continue;
            }
            // The index says that the gap after the segment is meant.
            let mut index = SegmentIndex::default();
            examine::Source::file(&segment.path)?.each(segment.base, segment.good_len, |position, header, batch| {
                let (relative, offset) = ((header.base_offset - segment.base) as u32, header.base_offset);
                index.note(relative, position, batch.len() as u32, header.max_timestamp, offset, INDEX_INTERVAL);
                if rebuild {
                    producers.apply(header, now);
                    if epochs.last().is_none_or(|(last, _)| *last < header.leader_epoch) {
                        epochs.push((header.leader_epoch, offset));
                    }
                }
            })?;
            let file = IndexFile {
                base_offset: segment.base,
                next_offset,
                segment_len: segment.good_len,
                first_append: now,
                index,
            };
            let mut bytes = file.encode();
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            std::fs::write(segment.path.with_extension("index"), bytes)?;
            if rebuild {
                let segment_file = std::fs::OpenOptions::new().write(true).open(&segment.path)?;
                segment_file.set_len(u64::from(segment.good_len))?;
            }
        }
        let mut encoded = Vec::new();
        producers.encode(&mut encoded);
        let first = kept.first().map_or(partition.next_offset, |s| s.base);
        Ok(PartitionState {
            closed: false,
            lost_until: 0,
            destaged: 0,
            next_offset: partition.next_offset,
            log_start: partition.log_start.max(first),
            damaged_from: i64::MAX,
            created: now,
            first_timestamp: -1,
            max_timestamp: -1,
            max_timestamp_offset: -1,
            epochs,
            unfinished: Vec::new(),
            producers: encoded,
        })
    }
}

/// Keeps a copy of what follows a segment's good batches, then cuts it off.
fn set_aside(segment: &ExaminedSegment, aside: &Path, dir: &Path) -> io::Result<()> {
    let inside = segment.path.strip_prefix(dir).expect("a segment is in its directory");
    let kept = aside.join(inside);
    if segment.good_len == 0 {
        std::fs::create_dir_all(kept.parent().expect("it has a folder"))?;
        std::fs::rename(&segment.path, &kept)?;
    } else if segment.good_len < segment.len {
        std::fs::create_dir_all(kept.parent().expect("it has a folder"))?;
        let bytes = std::fs::read(&segment.path)?;
        let tail = bytes.get(segment.good_len as usize..).unwrap_or_default();
        let kept = kept.with_extension(format!("log.from-{}", segment.good_len));
        std::fs::write(&kept, tail)?;
        std::fs::File::open(&kept)?.sync_all()?;
        let file = std::fs::OpenOptions::new().write(true).open(&segment.path)?;
        file.set_len(u64::from(segment.good_len))?;
    }
    Disk.remove(&segment.path.with_extension("index"))
}

/// Moves a file or folder, keeping its place below the directory.
fn move_into(path: &Path, aside: &Path, dir: &Path) -> io::Result<()> {
    let to = aside.join(path.strip_prefix(dir).expect("it is in the directory"));
    std::fs::create_dir_all(to.parent().expect("it has a folder"))?;
    std::fs::rename(path, to)
}

/// The one frame of a repair's journal.
#[derive(Default)]
struct JournalFrame {
    records: Vec<u8>,
    count: u32,
}

impl JournalFrame {
    fn state(&mut self, partition: &ExaminedPartition, state: &PartitionState) {
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        let record = Record::State { key: partition.key, segment: partition.next_offset, position: 0, state: &[] };
        self.records.extend(record.header(bytes.len()));
        self.records.extend(bytes);
        self.count += 1;
    }

    fn write(&self, disk: Disk, dir: &Path, incarnation: u64) -> io::Result<()> {
        let header = FrameHeader {
            core: 0,
            incarnation,
            lap: 0,
            sequence: 1,
            position: 0,
            durable_sequence: 0,
            len: (FRAME_HEADER_LEN + self.records.len()) as u32,
            record_count: self.count,
            records_crc: crc32c::crc32c(&self.records),
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend(&self.records);
        bytes.resize(bytes.len().next_multiple_of(BLOCK).max(JOURNAL_BYTES), 0);
        disk.write_zeros(&files::journal(dir, incarnation, 0, 1), bytes.len() as u64)?;
        let name = files::journal(dir, incarnation, 0, 0);
        disk.replace(dir, name.file_name().and_then(|n| n.to_str()).expect("a journal's name is text"), &bytes)
    }
}

enum Failed {
    Io(io::Error),
    Boot(BootError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Io(error)
    }
}

impl From<BootError> for Failed {
    fn from(error: BootError) -> Failed {
        Failed::Boot(error)
    }
}
