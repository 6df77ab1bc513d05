//! From a configuration to logs that can be served: opens the log directories, recovers what is in them, and makes the
//! journals the cores will write. Blocking, on one thread, before any core runs; not the cores' own work.
//!
//! Why a crash at any point of a start is safe:
//! - First everything in the file system is flushed: what is read and believed afterwards cannot vanish.
//! - Bytes that only journals hold are put into their segments, which are cut to their ends and flushed, while the old
//!   journals stay as they are. Doing this again gives the same ([`recover`]).
//! - New journals are made whole and flushed before a core writes to any; without a frame they say nothing.
//! - A new journal's first frame holds the state of all partitions with history of its core, and the old journals' bytes
//!   are in segments by then: for those partitions it stands in for all that is older, and for the others the old
//!   journals still speak. When every core's first frame is durable the old journals say nothing any more, whether all,
//!   some or none of their files have been removed ([`retire`]).

mod disk;
mod examine;
mod journals;
mod meta;
mod plan;
mod recover;
mod repair;
mod room;

pub use examine::{Examined, ExaminedPartition, ExaminedSegment, Source, examine, read_index};
pub use meta::DirLock;
pub use repair::{Dropped, Repair};
pub use room::Room;

use crate::io::FileId;
use crate::store::files;
use disk::{Disk, DiskFile, FileSystem};
use meta::Meta;
use recover::{Contents, Names, Recovery, next_incarnation};
use ringlog_engine::batch::{BatchHeader, HEADER_LEN, checksum_matches};
use ringlog_engine::config::BrokerConfig;
use ringlog_engine::log::partition::PartitionLog;
use ringlog_engine::log::recover::Recovered;
use ringlog_engine::metadata::DirId;
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{Now, PartitionKey, TopicId};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why the broker cannot start on its directories: one line for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootError(String);

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BootError {}

/// The error of a log directory.
fn refuse<T>(dir: &Path, why: impl fmt::Display) -> Result<T, BootError> {
    Err(BootError(format!("log directory {}: {why}", dir.display())))
}

/// Everything a broker starts from. Made on one thread, then handed out to the cores.
#[derive(Debug)]
pub struct Booted {
    pub cluster_id: String,
    pub node_id: i32,
    /// As in `log.dirs`; then that of `metadata.log.dir`, if it is not among them.
    pub dirs: Vec<BootedDir>,
    /// What an operator should know: one line each.
    pub notices: Vec<String>,
}

#[derive(Debug)]
pub struct BootedDir {
    pub path: PathBuf,
    pub id: DirId,
    pub lock: DirLock,
    /// Number of this start; in every frame of its journals.
    pub incarnation: u64,
    /// Per core: two files of zeros.
    pub journals: Vec<[FileId; 2]>,
    pub journal_file_bytes: u64,
    pub partitions: Vec<BootedPartition>,
    /// Files whose blocks may be used again: core in the name, number, bytes.
    pub recycled: Vec<(u16, u64, u32)>,
    pub room: Room,
    /// Not needed any more once every core's first commit is durable: see [`retire`].
    pub old_journals: OldJournals,
    /// See [`crate::store::Dir::one_flush_covers`].
    pub one_flush_covers: bool,
    /// Frames of a journal are missing. A partition that no journal speaks of may have held records: it must not be taken for
    /// one that never did.
    pub doubtful: bool,
}

/// The journals of earlier starts.
#[derive(Clone, Debug, Default)]
pub struct OldJournals {
    pub whole: Vec<PathBuf>,
    /// Kept, where a person can look for what was lost.
    pub damaged: Vec<PathBuf>,
}

#[derive(Debug)]
pub struct BootedPartition {
    /// Name of the topic; its id in text if neither a folder nor the metadata log knows it, as after its deletion.
    pub topic: String,
    pub key: PartitionKey,
    pub log: PartitionLog,
    /// The partition's folder exists and is durable.
    pub has_folder: bool,
}

/// A directory that is ours, before its logs are looked at.
struct Held {
    path: PathBuf,
    lock: DirLock,
    meta: Option<Meta>,
    one_flush_covers: bool,
}

/// Opens and recovers the log directories. `random` gives new ids; `producers_limit` is the most producers remembered of a
/// partition.
pub fn open(
    config: &BrokerConfig,
    cores: u16,
    now: Now,
    random: &mut dyn FnMut() -> [u8; 16],
    producers_limit: u32,
) -> Result<Booted, BootError> {
    let disk = Disk;
    let mut notices = Vec::new();
    let mut paths: Vec<PathBuf> = config.log_dirs.iter().map(PathBuf::from).collect();
    let metadata = PathBuf::from(&config.metadata_log_dir);
    if !paths.contains(&metadata) {
        paths.push(metadata.clone());
    }
    let held = paths.into_iter().map(|path| hold(disk, path, &mut notices)).collect::<Result<Vec<_>, _>>()?;
    let (cluster_id, held) = agree(disk, held, config.node_id, random)?;
    let mut contents = Vec::new();
    let mut names = Names::default();
    for Agreed { path, .. } in &held {
        let read = Contents::read(disk, path, journals::find(disk, path)?)?;
        read.folders.iter().for_each(|(key, topic)| names.learn(key.topic, topic));
        contents.push(read);
    }
    let half = config.journal_bytes / 2;
    let rooms = held.iter().zip(&contents).map(|(held, contents)| {
        // Before anything is written: what the old journals hold goes into segments first.
        Room::make(disk, &held.path, (cores, half), &contents.found)
    });
    let rooms = rooms.collect::<Result<Vec<_>, _>>()?;
    let metadata_at = held.iter().position(|a| a.path == metadata).expect("it is among the directories");
    names.learn(TopicId::METADATA, METADATA_TOPIC);
    // The metadata log first: it knows the names of topics that have no folder yet.
    let mut order: Vec<usize> = (0..held.len()).collect();
    order.swap(0, metadata_at);
    let mut recovered: BTreeMap<usize, Vec<BootedPartition>> = BTreeMap::new();
    for at in order {
        let dir = Dir { disk, path: &held[at].path, now, producers_limit, metadata: at == metadata_at };
        recovered.insert(at, dir.recover(&mut contents[at], &mut names, &mut notices)?);
    }
    let mut dirs = Vec::new();
    for (((held, mut contents), (_, partitions)), room) in held.into_iter().zip(contents).zip(recovered).zip(rooms) {
        let Agreed { path, lock, id, one_flush_covers } = held;
        let last = contents.found.iter().map(|j| j.incarnation).max();
        let incarnation = next_incarnation(last, random());
        let made = journals::make(disk, &path, (incarnation, cores), half, &mut contents.recycled)?;
        if made.file_bytes < half {
            let bytes = made.file_bytes * 2;
            notices.push(format!("log directory {}: short of space: journals of {bytes} bytes each", path.display()));
        }
        dirs.push(BootedDir {
            path,
            id,
            lock,
            incarnation,
            journals: made.files,
            journal_file_bytes: made.file_bytes,
            partitions,
            recycled: contents.recycled,
            room,
            one_flush_covers,
            doubtful: !contents.damaged.is_empty(),
            old_journals: OldJournals {
                whole: contents.found.into_iter().map(|j| j.path).filter(|p| !contents.damaged.contains(p)).collect(),
                damaged: contents.damaged,
            },
        });
    }
    Ok(Booted { cluster_id, node_id: config.node_id, dirs, notices })
}

/// Folder and name of the metadata log's topic, as Kafka's.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// A batch of metadata is not compressed; a larger one than this, uncompressed, is none.
const METADATA_BATCH_BYTES: usize = 64 << 20;
const METADATA_KEY: PartitionKey = PartitionKey { topic: TopicId::METADATA, partition: 0 };

/// One directory being recovered.
struct Dir<'d> {
    disk: Disk,
    path: &'d Path,
    now: Now,
    producers_limit: u32,
    /// It holds the metadata log.
    metadata: bool,
}

impl Dir<'_> {
    fn recover(
        &self,
        contents: &mut Contents,
        names: &mut Names,
        notices: &mut Vec<String>,
    ) -> Result<Vec<BootedPartition>, BootError> {
        let (found, files) = (std::mem::take(&mut contents.found), std::mem::take(&mut contents.files));
        if found.is_empty() && !contents.folders.is_empty() {
            return refuse(
                self.path,
                "holds partitions and no journal, without which nothing of them is certain: restore the journal files \
                 (journal-*.rlj), or see `ringlog repair`",
            );
        }
        let recover::Replayed { partitions: mut replayed, damage, damaged } =
            recover::replay(self.path, &found, &files)?;
        let mut recovery = Recovery::new(self.disk, self.path, self.now.wall, self.producers_limit);
        if !damage.is_empty() {
            for (key, topic) in &contents.folders {
                if let Entry::Vacant(place) = replayed.entry(*key) {
                    place.insert(recovery.unknown(topic, *key)?);
                }
            }
            self.tell(&damage, &replayed, notices)?;
        }
        contents.damaged = damaged;
        let mut partitions = Vec::new();
        let metadata = replayed.remove_entry(&METADATA_KEY).filter(|_| self.metadata);
        for (key, recovered) in metadata.into_iter().chain(replayed) {
            let folder = contents.folders.contains_key(&key);
            let topic = contents.folders.get(&key).cloned().unwrap_or_else(|| names.of(key.topic));
            let partition = recovery.partition(key, recovered, topic, folder, contents)?;
            if key == METADATA_KEY {
                self.learn(&partition, names)?;
            }
            partitions.push(partition);
        }
        notices.extend(recover::orphans(self.path, &contents.folders, &partitions));
        notices.extend(recovery.finish()?);
        contents.found = found;
        Ok(partitions)
    }

    /// Says what a damaged journal means. Without the metadata log nothing can be served.
    fn tell(
        &self,
        damage: &[String],
        replayed: &BTreeMap<PartitionKey, Recovered<'_>>,
        notices: &mut Vec<String>,
    ) -> Result<(), BootError> {
        let damage = damage.join("; ");
        let metadata = replayed.get(&METADATA_KEY).filter(|_| self.metadata);
        if self.metadata && metadata.is_none_or(Recovered::is_uncertain) {
            return refuse(
                self.path,
                format!(
                    "its journal is damaged: {damage}. The newest entries of the metadata log may be among what is lost, and \
                     without it no topic is certain. Nothing was changed. Restore the files, or see `ringlog repair`"
                ),
            );
        }
        let lost = replayed.values().filter(|p| p.is_uncertain()).count();
        notices.push(format!(
            "log directory {}: its journal is damaged: {damage}. {lost} partitions may have lost records: what is proven of \
             them is served, the rest refused, as told below; the other {} are whole. The damaged files are kept in \
             {}; see `ringlog repair`",
            self.path.display(),
            replayed.len() - lost,
            files::SET_ASIDE
        ));
        Ok(())
    }

    /// Learns the names of all topics that the metadata log ever knew.
    fn learn(&self, metadata: &BootedPartition, names: &mut Names) -> Result<(), BootError> {
        read_all(self.path, &metadata.topic, &metadata.log, |_, batch| names.learn_batch(batch))
    }
}

/// Takes one directory: makes it if need be, keeps others out, reads whose it is.
fn hold(disk: Disk, path: PathBuf, notices: &mut Vec<String>) -> Result<Held, BootError> {
    if !disk.is_folder(&path)
        && let Err(error) = disk.make_folders(&path)
    {
        let advice = "make it for this user, or name another in log.dirs";
        return refuse(&path, format!("cannot be made: {error}; {advice}"));
    }
    // A directory of somebody else's is refused before anything is made in it.
    meta::read(disk, &path)?;
    let lock = DirLock::take(disk, &path)?;
    if let Some(why) = disk.refuses_direct_io(&path) {
        return refuse(&path, why);
    }
    let file_system = disk.file_system(&path);
    let told = match file_system {
        Ok(FileSystem::InPlace) => None,
        Ok(FileSystem::Other) => {
            Some("its file system may need a flush for every file; ext4 or XFS serve better".into())
        }
        Ok(FileSystem::CopyOnWrite(name)) => {
            Some(format!("{name} copies on write, which makes flushes slower; ext4 or XFS serve better"))
        }
        Ok(FileSystem::Memory) => Some("is in memory; a restart of the machine loses everything".into()),
        Err(error) => return refuse(&path, format!("its file system cannot be told: {error}")),
    };
    notices.extend(told.map(|told| format!("log directory {}: {told}", path.display())));
    let one_flush_covers = matches!(file_system, Ok(FileSystem::InPlace | FileSystem::Memory));
    let meta = meta::read(disk, &path)?;
    if meta.is_none() && !journals::find(disk, &path)?.is_empty() {
        return refuse(&path, format!("holds journals and no {}: restore that file", files::META));
    }
    Ok(Held { path, lock, meta, one_flush_covers })
}

/// A directory known to be this node's.
struct Agreed {
    path: PathBuf,
    lock: DirLock,
    id: DirId,
    one_flush_covers: bool,
}

/// All directories belong to one cluster and this node; the new ones are marked so.
fn agree(
    disk: Disk,
    held: Vec<Held>,
    node_id: i32,
    random: &mut dyn FnMut() -> [u8; 16],
) -> Result<(String, Vec<Agreed>), BootError> {
    let known = held.iter().find_map(|h| h.meta.as_ref().map(|meta| (meta.cluster_id.clone(), h.path.clone())));
    let (cluster_id, from) = known.unwrap_or_else(|| (meta::fresh_id(random).to_string(), PathBuf::new()));
    let mut agreed: Vec<Agreed> = Vec::new();
    for Held { path, lock, meta, one_flush_covers } in held {
        let meta = match meta {
            Some(meta) => meta,
            None => {
                let dir_id = DirId(meta::fresh_id(random).0);
                let meta = Meta { cluster_id: cluster_id.clone(), node_id, dir_id };
                if let Err(error) = disk.replace(&path, files::META, meta.text().as_bytes()) {
                    return refuse(&path, format!("{} cannot be written: {error}", files::META));
                }
                meta
            }
        };
        if meta.node_id != node_id {
            return refuse(&path, format!("belongs to node {}, and this is node {node_id} (node.id)", meta.node_id));
        }
        if meta.cluster_id != cluster_id {
            let other = from.display();
            return refuse(
                &path,
                format!("belongs to cluster {}, and {other} to cluster {cluster_id}", meta.cluster_id),
            );
        }
        if let Some(Agreed { path: twin, .. }) = agreed.iter().find(|a| a.id == meta.dir_id) {
            return refuse(
                &path,
                format!("has the same directory.id as {}: one is a copy of the other", twin.display()),
            );
        }
        agreed.push(Agreed { path, lock, id: meta.dir_id, one_flush_covers });
    }
    Ok((cluster_id, agreed))
}

/// Hands over every batch of a log, from its start to its end, whole and checked. Blocks; for the start only.
pub fn read_all(
    dir: &Path,
    topic: &str,
    log: &PartitionLog,
    mut each: impl FnMut(&BatchHeader, &[u8]),
) -> Result<(), BootError> {
    let mut batch = Vec::new();
    for segment in log.segments().filter(|s| s.len > 0 && s.next_offset > log.log_start()) {
        let path = files::segment(dir, topic, log.key, segment.base);
        let damaged = |position: u32, why: &str| {
            refuse(dir, format!("{}: at byte {position}: {why}; `ringlog repair` may help", path.display()))
        };
        let file = match Disk.open(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return damaged(0, "the file is missing"),
            Err(error) => return damaged(0, &error.to_string()),
        };
        let (mut position, mut offset) = (0u32, segment.base);
        while position < segment.len {
            match read_batch(&file, position, segment.len, &mut batch) {
                Err(error) => return damaged(position, &error.to_string()),
                Ok(Some(header)) if header.base_offset >= offset && header.last_offset() < log.damaged_from() => {
                    if header.next_offset() > log.log_start() {
                        each(&header, &batch);
                    }
                    position += batch.len() as u32;
                    offset = header.next_offset();
                }
                Ok(_) => return damaged(position, "the batch is damaged"),
            }
        }
    }
    Ok(())
}

/// Reads the batch at a place into `batch`, all of it; `None` if no good one ends before `end`.
fn read_batch(file: &DiskFile, position: u32, end: u32, batch: &mut Vec<u8>) -> std::io::Result<Option<BatchHeader>> {
    batch.resize(HEADER_LEN, 0);
    if file.read_at(batch, u64::from(position))? < HEADER_LEN {
        return Ok(None);
    }
    let header = BatchHeader::parse(batch.first_chunk().expect("a header was read"));
    let len = header.total_len();
    if len < HEADER_LEN || len > (end - position) as usize || header.last_offset_delta < 0 {
        return Ok(None);
    }
    batch.resize(len, 0);
    let rest = file.read_at(&mut batch[HEADER_LEN..], u64::from(position) + HEADER_LEN as u64)?;
    Ok((rest == len - HEADER_LEN && checksum_matches(Rope::of(batch))).then_some(header))
}

/// Removes the journals of earlier starts, and keeps damaged ones elsewhere; to be called when every core's first commit in the directory is durable.
pub fn retire(old: &OldJournals, dir: &Path) -> std::io::Result<()> {
    journals::keep(Disk, &old.damaged, dir)?;
    journals::remove(Disk, &old.whole, dir)
}
