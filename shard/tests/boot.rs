//! Starts on directories as brokers leave them: journals and segments written here in the store's format, ended anywhere.

use ringlog_engine::batch::{BatchBuilder, BatchHeader};
use ringlog_engine::codec::{Codec, Encoder};
use ringlog_engine::config::{BrokerConfig, ServerProperties};
use ringlog_engine::log::index::{IndexFile, SegmentIndex};
use ringlog_engine::log::journal::{BLOCK, FRAME_HEADER_LEN, FrameHeader, Record};
use ringlog_engine::log::partition::PartitionLog;
use ringlog_engine::log::recover::PartitionState;
use ringlog_engine::metadata::Entry;
use ringlog_engine::types::{MonoMs, Now, PartitionKey, TopicId, WallMs};
use ringlog_shard::boot::{self, Booted, BootedPartition};
use ringlog_shard::store::files;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const NOW: Now = Now { mono: MonoMs(1), wall: WallMs(1_700_000_000_000) };
/// Of one journal file.
const HALF: u64 = 64 << 10;

/// A folder of a test's own, removed when it is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("boot-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Another folder with the same contents.
    fn copy(&self, name: &str) -> Folder {
        let folder = Folder::new(name);
        copy(&self.0, &folder.0);
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file and its bytes.
fn snapshot(dir: &Path, out: &mut Vec<(PathBuf, Vec<u8>)>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            snapshot(&path, out);
        } else if path.file_name().unwrap() != files::LOCK {
            out.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
}

fn config(dirs: &[&Path]) -> BrokerConfig {
    let dirs: Vec<String> = dirs.iter().map(|d| d.display().to_string()).collect();
    let text = format!("node.id=1\nlisteners=PLAINTEXT://127.0.0.1:9092\nlog.dirs={}\n", dirs.join(","));
    let (config, _) = BrokerConfig::load(&ServerProperties::parse(&text).unwrap()).unwrap();
    BrokerConfig { journal_bytes: 2 * HALF, ..config }
}

fn start_with(config: &BrokerConfig, cores: u16) -> Result<Booted, String> {
    let mut seed = 0x1234_5678_9abc_def0u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..].copy_from_slice(&seed.rotate_left(31).to_be_bytes());
        bytes
    };
    boot::open(config, cores, NOW, &mut random, 100).map_err(|error| error.to_string())
}

fn start(dir: &Path, cores: u16) -> Result<Booted, String> {
    start_with(&config(&[dir]), cores)
}

/// A core that commits, as `store::commit` does.
struct Core {
    dir: PathBuf,
    next: FrameHeader,
}

impl Core {
    fn new(booted: &Booted, core: u16) -> Core {
        let dir = &booted.dirs[0];
        let next = FrameHeader {
            core,
            incarnation: dir.incarnation,
            lap: 0,
            sequence: 1,
            position: 0,
            durable_sequence: 0,
            len: 0,
            record_count: 0,
            records_crc: 0,
        };
        Core { dir: dir.path.clone(), next }
    }

    fn next_lap(&mut self) {
        self.next.lap += 1;
        self.next.position = 0;
    }

    /// Commits; the commits before it are durable.
    fn commit(&mut self, records: &[Record<'_>]) {
        let mut body = Vec::new();
        for record in records {
            let payload: &[u8] = match record {
                Record::Append { bytes, .. } | Record::Redo { bytes, .. } => bytes,
                Record::Extent { headers, .. } => headers,
                Record::State { state, .. } => state,
                _ => &[],
            };
            body.extend(record.header(payload.len()));
            body.extend(payload);
        }
        self.next.len = (FRAME_HEADER_LEN + body.len()) as u32;
        self.next.record_count = records.len() as u32;
        self.next.records_crc = crc32c::crc32c(&body);
        let mut frame = self.next.encode().to_vec();
        frame.extend(body);
        frame.resize(frame.len().next_multiple_of(BLOCK), 0);
        let path = files::journal(&self.dir, self.next.incarnation, self.next.core, (self.next.lap % 2) as u8);
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&frame, self.next.position).unwrap();
        assert!(self.next.position + frame.len() as u64 <= HALF);
        self.next.position += frame.len() as u64;
        self.next.durable_sequence = self.next.sequence;
        self.next.sequence += 1;
    }
}

/// One record of so many bytes, by producer 5.
fn batch(offset: i64, bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.append(1_000 + offset, None, Some(&vec![offset as u8; bytes]), &[]);
    builder.producer(5, 0, offset as i32);
    let mut out = Vec::new();
    builder.finish(offset, 3, Codec::None, 0, &mut Encoder::default(), &mut out);
    out
}

fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic: TopicId([7; 16]), partition }
}

fn find(booted: &Booted, key: PartitionKey) -> &BootedPartition {
    booted.dirs[0].partitions.iter().find(|p| p.key == key).expect("the partition was recovered")
}

/// The offsets of all batches of a log, each of which must be as [`batch`] makes it.
fn offsets(booted: &Booted, partition: &BootedPartition) -> Vec<i64> {
    let mut seen = Vec::new();
    boot::read_all(&booted.dirs[0].path, &partition.topic, &partition.log, |header: &BatchHeader, bytes| {
        let start = bytes.len() - 1 - usize::from(bytes.len() > 61);
        assert_eq!(bytes[start], header.base_offset as u8, "the record's last byte");
        assert_eq!(header.leader_epoch, 3);
        seen.push(header.base_offset);
    })
    .unwrap();
    seen
}

/// What a core says of a partition when it starts a lap.
fn state(log: &PartitionLog) -> Vec<u8> {
    let mut producers = Vec::new();
    log.producers.encode(&mut producers);
    let state = PartitionState {
        closed: log.is_closed(),
        lost_until: log.lost_until(),
        destaged: log.end().position,
        next_offset: log.next_offset(),
        log_start: log.log_start(),
        damaged_from: log.damaged_from(),
        created: NOW.wall,
        first_timestamp: -1,
        max_timestamp: -1,
        max_timestamp_offset: -1,
        epochs: log.epochs().to_vec(),
        unfinished: Vec::new(),
        producers,
    };
    let mut out = Vec::new();
    state.encode(&mut out);
    out
}

fn state_of<'a>(partition: &BootedPartition, state: &'a [u8]) -> Record<'a> {
    let end = partition.log.end();
    Record::State { key: partition.key, segment: end.segment, position: end.position, state }
}

#[test]
fn a_new_directory_is_marked_and_kept_from_others() {
    let folder = Folder::new("new");
    let dir = folder.at("a/b");
    let booted = start(&dir, 2).unwrap();
    assert_eq!((booted.node_id, booted.cluster_id.len(), booted.dirs.len()), (1, 22, 1));
    let made = &booted.dirs[0];
    assert_eq!((made.journals.len(), made.journal_file_bytes, made.partitions.len()), (2, HALF, 0));
    assert!(made.old_journals.whole.is_empty());
    let refused = start(&dir, 2).unwrap_err();
    assert!(refused.contains("in use") && refused.contains(&std::process::id().to_string()), "{refused}");
    let (cluster, id, incarnation) = (booted.cluster_id.clone(), made.id, made.incarnation);
    drop(booted);
    let again = start(&dir, 1).unwrap();
    assert_eq!((again.cluster_id.clone(), again.dirs[0].id), (cluster, id));
    assert!(again.dirs[0].incarnation > incarnation);
    assert_eq!(again.dirs[0].old_journals.whole.len(), 4);
    boot::retire(&again.dirs[0].old_journals, &dir).unwrap();
    boot::retire(&again.dirs[0].old_journals, &dir).unwrap();
    assert!(again.dirs[0].old_journals.whole.iter().all(|path| !path.exists()));
    drop(again);
    let other = start_with(&BrokerConfig { node_id: 2, ..config(&[&dir]) }, 1).unwrap_err();
    assert!(other.contains("belongs to node 1"), "{other}");
}

#[test]
fn directories_of_others_are_refused_and_left_alone() {
    let folder = Folder::new("others");
    let kafka = folder.at("kafka");
    fs::create_dir_all(kafka.join("t-0")).unwrap();
    fs::write(kafka.join("meta.properties"), "version=1\n").unwrap();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    snapshot(&kafka, &mut before);
    let refused = start(&kafka, 1).unwrap_err();
    assert!(refused.contains("Kafka") && refused.contains("log.dirs"), "{refused}");
    snapshot(&kafka, &mut after);
    assert_eq!(before, after);
    let (a, b) = (folder.at("a"), folder.at("b"));
    drop((start(&a, 1).unwrap(), start_with(&BrokerConfig { node_id: 1, ..config(&[&b]) }, 1).unwrap()));
    let meta = fs::read_to_string(b.join(files::META)).unwrap();
    let id = meta.lines().find_map(|l| l.strip_prefix("cluster.id=")).unwrap();
    fs::write(b.join(files::META), meta.replace(id, "AnotherClusterAltogeth")).unwrap();
    let refused = start_with(&config(&[&a, &b]), 1).unwrap_err();
    assert!(refused.contains("belongs to cluster AnotherClusterAltogeth"), "{refused}");
    fs::copy(a.join(files::META), b.join(files::META)).unwrap();
    let refused = start_with(&config(&[&a, &b]), 1).unwrap_err();
    assert!(refused.contains("copy"), "{refused}");
    fs::write(b.join(files::META), meta.replace("version=1", "version=2")).unwrap();
    assert!(start(&b, 1).unwrap_err().contains("newer release"));
    fs::write(folder.at("file"), "").unwrap();
    assert!(start(&folder.at("file/dir"), 1).unwrap_err().contains("cannot be made"));
}

/// Room for the next start is kept where there is some to spare, and a start that can do without it leaves it.
#[test]
fn room_is_kept_for_the_next_start() {
    let folder = Folder::new("room");
    let room = |booted: &Booted, reserve| {
        booted.dirs[0].room.keep(&folder.0, reserve).unwrap();
        fs::metadata(folder.at("ringlog.room")).map_or(0, |file| file.len())
    };
    let booted = start(&folder.0, 2).unwrap();
    assert_eq!(room(&booted, u64::MAX), 0, "nothing is to spare");
    let kept = room(&booted, 0);
    assert_eq!(kept, 4 * ((16 << 20) + HALF));
    drop(booted);
    let booted = start(&folder.0, 1).unwrap();
    assert_eq!(room(&booted, 0), kept, "what is there stays");
}

/// A partition's state, and its producers in that, are of a newer format: that is no damage, and nobody may repair it.
#[test]
fn newer_states_and_producers_are_refused_and_left_as_they_are() {
    for (what, told) in [(0, "has format 2: start the newer release"), (1, "its producers have a format")] {
        let folder = Folder::new(&format!("newer-{what}"));
        let booted = start(&folder.0, 1).unwrap();
        let first = batch(0, 10);
        let mut core = Core::new(&booted, 0);
        core.commit(&[Record::Append { key: key(0), segment: 0, position: 0, bytes: &first }]);
        drop(booted);
        let booted = start(&folder.0, 1).unwrap();
        let partition = find(&booted, key(0));
        let mut newer = state(&partition.log);
        let read = PartitionState::decode(&newer).unwrap();
        assert!(read.producers.len() > 2, "there is one");
        match what {
            0 => newer[0] = 2,
            _ => {
                let producers = newer.windows(read.producers.len()).position(|w| w == read.producers).unwrap();
                newer[producers] = 2;
            }
        }
        Core::new(&booted, 0).commit(&[state_of(partition, &newer)]);
        boot::retire(&booted.dirs[0].old_journals, &folder.0).unwrap();
        drop(booted);
        let mut before = Vec::new();
        snapshot(&folder.0, &mut before);
        let refused = start(&folder.0, 1).unwrap_err();
        assert!(refused.contains(told) && refused.contains("start the newer release"), "{refused}");
        let refused = boot::Repair::examine(&folder.0, NOW.wall).unwrap_err().to_string();
        assert!(refused.contains("start the newer release"), "{refused}");
        let mut after = Vec::new();
        snapshot(&folder.0, &mut after);
        assert!(before == after, "nothing was changed");
    }
}

#[test]
fn a_directory_without_its_journals_or_its_mark_is_refused() {
    let folder = Folder::new("without");
    let booted = start(&folder.0, 1).unwrap();
    Core::new(&booted, 0).commit(&[Record::Append { key: key(0), segment: 0, position: 0, bytes: &batch(0, 10) }]);
    drop(booted);
    drop(start(&folder.0, 1).unwrap());
    let unmarked = folder.copy("unmarked");
    fs::remove_file(unmarked.at(files::META)).unwrap();
    let refused = start(&unmarked.0, 1).unwrap_err();
    assert!(refused.contains("ringlog.meta"), "{refused}");
    for entry in fs::read_dir(&folder.0).unwrap().map(Result::unwrap) {
        if files::parse_journal(entry.file_name().to_str().unwrap()).is_some() {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let refused = start(&folder.0, 1).unwrap_err();
    assert!(refused.contains("no journal") && refused.contains("ringlog repair"), "{refused}");
}

/// Two partitions, one of them with a segment rolled, in one lap of six frames.
fn six_frames(dir: &Path) -> (PathBuf, Vec<u64>) {
    let booted = start(dir, 1).unwrap();
    let mut core = Core::new(&booted, 0);
    let mut ends = vec![0];
    let (mut position, mut segment) = (0, 0);
    for k in 0..6i64 {
        let (a, b) = (batch(k, 3000), batch(k, 40));
        if k == 3 {
            (segment, position) = (3, 0);
        }
        core.commit(&[
            Record::Append { key: key(0), segment, position, bytes: &a },
            Record::Append { key: key(1), segment: 0, position: k as u32 * b.len() as u32, bytes: &b },
        ]);
        position += a.len() as u32;
        ends.push(core.next.position);
    }
    (files::journal(dir, booted.dirs[0].incarnation, 0, 0), ends)
}

#[test]
fn a_journal_cut_anywhere_gives_what_was_whole() {
    let folder = Folder::new("cut");
    let (journal, ends) = six_frames(&folder.0);
    let name = journal.file_name().unwrap();
    let last = *ends.last().unwrap();
    let blocks = (0..=last).step_by(BLOCK);
    let bytes = (0..last).step_by(997).chain(ends.iter().flat_map(|end| [end.saturating_sub(900), end + 1, end + 70]));
    for cut in blocks.chain(bytes) {
        let torn = folder.copy("cut-case");
        let mut bytes = fs::read(&journal).unwrap();
        bytes[cut as usize..].fill(0);
        fs::write(torn.at(name.to_str().unwrap()), &bytes).unwrap();
        // A frame is whole if only its padding is cut.
        let whole = (1..ends.len())
            .take_while(|k| bytes[..ends[*k] as usize] == fs::read(&journal).unwrap()[..ends[*k] as usize]);
        let expected: Vec<i64> = (0..whole.count() as i64).collect();
        for attempt in 0..2 {
            let booted = start(&torn.0, 1).unwrap();
            if expected.is_empty() {
                assert!(booted.dirs[0].partitions.is_empty(), "cut at {cut}");
                continue;
            }
            for partition in [0, 1] {
                let p = find(&booted, key(partition));
                assert_eq!(offsets(&booted, p), expected, "cut at {cut}, partition {partition}, start {attempt}");
                assert_eq!((p.log.next_offset(), p.log.end().position), (expected.len() as i64, 0));
                assert_eq!((p.log.high_watermark(), p.has_folder), (expected.len() as i64, true));
                assert_eq!(
                    p.log.active().base,
                    expected.len() as i64,
                    "a segment that was active is never gone on with"
                );
                assert_eq!((p.log.epochs(), p.log.producers.len()), (&[(3, 0)][..], 1));
            }
        }
    }
}

#[test]
fn a_recovery_that_was_cut_short_is_done_again() {
    let folder = Folder::new("again");
    six_frames(&folder.0);
    let done = folder.copy("again-done");
    let booted = start(&done.0, 1).unwrap();
    let p = find(&booted, key(0));
    let (topic, bases): (String, Vec<i64>) = (p.topic.clone(), p.log.segments().map(|s| s.base).collect());
    assert_eq!(bases, [0, 3, 6]);
    assert_eq!(topic, key(0).topic.to_string(), "nobody knows its name");
    drop(booted);
    let first = files::segment(&done.0, &topic, key(0), 0);
    let whole = fs::read(&first).unwrap();
    for kept in [0, 1, 61, 3000, whole.len() - 1, whole.len()] {
        fs::write(&first, &whole[..kept]).unwrap();
        fs::write(files::segment(&done.0, &topic, key(0), 6), b"of a commit that never was").unwrap();
        let _ = fs::remove_file(files::segment(&done.0, &topic, key(0), 3));
        let booted = start(&done.0, 1).unwrap();
        assert_eq!(offsets(&booted, find(&booted, key(0))), [0, 1, 2, 3, 4, 5], "{kept} bytes kept");
        assert_eq!(fs::read(&first).unwrap(), whole);
        assert!(!files::segment(&done.0, &topic, key(0), 6).exists());
    }
}

#[test]
fn damage_below_the_durable_mark_stops_the_start_and_changes_nothing() {
    let folder = Folder::new("damage");
    let (journal, ends) = six_frames(&folder.0);
    for frame in 0..5 {
        let mut bytes = fs::read(&journal).unwrap();
        let kept = bytes.clone();
        bytes[ends[frame] as usize + 200] ^= 4;
        fs::write(&journal, &bytes).unwrap();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        snapshot(&folder.0, &mut before);
        let refused = start(&folder.0, 1).unwrap_err();
        assert!(refused.contains("damaged") && refused.contains("ringlog repair"), "{refused}");
        snapshot(&folder.0, &mut after);
        assert!(before == after, "frame {frame}: files changed");
        fs::write(&journal, &kept).unwrap();
    }
    assert!(start(&folder.0, 1).is_ok());
}

const METADATA: PartitionKey = PartitionKey { topic: TopicId::METADATA, partition: 0 };

/// What every frame says of the metadata log: where it ends.
fn metadata_end(bytes: &[u8]) -> Record<'static> {
    Record::Append { key: METADATA, segment: 0, position: bytes.len() as u32, bytes: &[] }
}

fn rot(journal: &Path, at: u64) {
    let mut bytes = fs::read(journal).unwrap();
    bytes[at as usize + 200] ^= 4;
    fs::write(journal, bytes).unwrap();
}

/// Both cores say in their first frames how things are; then the old journals go, and the damaged one is kept.
fn first_frames(booted: &Booted) {
    for (number, partitions) in [(0, vec![METADATA, key(3)]), (1, vec![key(0), key(1), key(2), key(4)])] {
        let states: Vec<Vec<u8>> = partitions.iter().map(|key| state(&find(booted, *key).log)).collect();
        let records: Vec<Record<'_>> =
            partitions.iter().zip(&states).map(|(key, state)| state_of(find(booted, *key), state)).collect();
        Core::new(booted, number).commit(&records);
    }
}

/// Two cores. Core 0 has the metadata log and partition 3; one frame of core 1 is lost to damage.
#[test]
fn damage_of_a_journal_costs_what_may_have_been_in_it_and_nothing_else() {
    let folder = Folder::new("holes");
    let booted = start(&folder.0, 2).unwrap();
    let metadata = batch(0, 30);
    Core::new(&booted, 0).commit(&[
        Record::Append { key: METADATA, segment: 0, position: 0, bytes: &metadata },
        Record::Append { key: key(3), segment: 0, position: 0, bytes: &batch(0, 100) },
    ]);
    let parts: Vec<Vec<u8>> = (0..5).map(|k| batch(k, 300)).collect();
    let len = parts[0].len() as u32;
    let append = |partition: i32, k: u32| Record::Append {
        key: key(partition),
        segment: 0,
        position: k * len,
        bytes: &parts[k as usize],
    };
    let mut core = Core::new(&booted, 1);
    core.commit(&[append(0, 0), append(1, 0), append(2, 0)]);
    let hole = core.next.position;
    core.commit(&[append(0, 1), append(1, 1)]);
    core.commit(&[append(0, 2), append(2, 1)]);
    core.commit(&[append(0, 3)]);
    rot(&files::journal(&folder.0, booted.dirs[0].incarnation, 1, 0), hole);
    drop(booted);
    // One that no journal speaks of: a finished segment, and one that was not.
    let stranger = files::partition_dir(&folder.0, "t", key(4));
    fs::create_dir_all(&stranger).unwrap();
    let finished = IndexFile {
        base_offset: 0,
        next_offset: 2,
        segment_len: 2 * len,
        first_append: NOW.wall,
        index: SegmentIndex::default(),
    };
    fs::write(stranger.join("00000000000000000000.log"), parts[..2].concat()).unwrap();
    fs::write(stranger.join("00000000000000000000.index"), finished.encode()).unwrap();
    fs::write(stranger.join("00000000000000000002.log"), vec![9; 5000]).unwrap();

    for round in 0..2 {
        let booted = start(&folder.0, 2).unwrap();
        let told = |partition: i32| {
            let log = &find(&booted, key(partition)).log;
            (log.next_offset(), log.damaged_from(), log.is_closed())
        };
        assert_eq!(told(0), (4, 1, false), "it went on: offset 1 is lost");
        assert_eq!(told(1), (1, 1, true), "whatever followed offset 0 is lost");
        assert_eq!(told(2), (2, i64::MAX, false), "it went on where it had ended");
        assert_eq!(told(3), (1, i64::MAX, false), "another core's");
        assert_eq!(told(4), (2, 2, true));
        assert_eq!(offsets(&booted, find(&booted, key(2))), [0, 1]);
        assert_eq!(offsets(&booted, find(&booted, key(3))), [0]);
        let first = fs::read(files::segment(&folder.0, &find(&booted, key(0)).topic, key(0), 0)).unwrap();
        assert!(first.starts_with(&parts[0]) && first[2 * len as usize..] == parts[2..4].concat());
        assert_eq!(fs::read(stranger.join("00000000000000000002.log")).unwrap(), vec![9; 5000]);
        if round > 0 {
            assert!(!booted.dirs[0].doubtful);
            continue;
        }
        assert!(
            booted.dirs[0].doubtful && booted.notices.iter().any(|n| n.contains("damaged")),
            "{:?}",
            booted.notices
        );
        first_frames(&booted);
        let old = &booted.dirs[0].old_journals;
        assert_eq!((old.whole.len(), old.damaged.len()), (2, 2));
        boot::retire(old, &folder.0).unwrap();
        assert_eq!(fs::read_dir(folder.at(files::SET_ASIDE)).unwrap().count(), 2);
    }
}

#[test]
fn the_metadata_log_is_proven_by_every_later_frame_or_the_start_refused() {
    let folder = Folder::new("proof");
    let booted = start(&folder.0, 1).unwrap();
    let (metadata, one) = (batch(0, 30), batch(0, 100));
    let mut core = Core::new(&booted, 0);
    core.commit(&[Record::Append { key: METADATA, segment: 0, position: 0, bytes: &metadata }]);
    let hole = core.next.position;
    core.commit(&[Record::Append { key: key(5), segment: 0, position: 0, bytes: &one }, metadata_end(&metadata)]);
    let journal = files::journal(&folder.0, booted.dirs[0].incarnation, 0, 0);
    drop(booted);
    let without = folder.copy("proof-without");
    core.commit(&[metadata_end(&metadata)]);
    rot(&journal, hole);
    let booted = start(&folder.0, 1).unwrap();
    assert_eq!(offsets(&booted, find(&booted, METADATA)), [0]);
    assert!(booted.dirs[0].doubtful, "partition 5 must not be taken for one that never held a record");
    let journal = without.at(journal.file_name().unwrap().to_str().unwrap());
    let mut core = Core { dir: without.0.clone(), next: core.next };
    (core.next.sequence, core.next.position, core.next.durable_sequence) = (3, 2 * BLOCK as u64, 2);
    core.commit(&[]);
    rot(&journal, hole);
    let refused = start(&without.0, 1).unwrap_err();
    assert!(refused.contains("metadata log") && refused.contains("ringlog repair"), "{refused}");
}

#[test]
fn the_metadata_log_names_topics_without_folders() {
    let folder = Folder::new("names");
    let booted = start(&folder.0, 1).unwrap();
    let mut value = Vec::new();
    let (name, configs) = ("events".to_string(), Vec::new());
    Entry::TopicCreated { name, id: [7; 16], internal: false, partitions: Vec::new(), configs }
        .encode(&mut value)
        .unwrap();
    let mut builder = BatchBuilder::new();
    builder.append(1, None, Some(&value), &[]);
    let mut bytes = Vec::new();
    builder.finish(0, 0, Codec::None, 0, &mut Encoder::default(), &mut bytes);
    Core::new(&booted, 0).commit(&[
        Record::Append { key: key(4), segment: 0, position: 0, bytes: &batch(0, 10) },
        Record::Append { key: METADATA, segment: 0, position: 0, bytes: &bytes },
    ]);
    drop(booted);
    let booted = start(&folder.0, 3).unwrap();
    assert_eq!(find(&booted, METADATA).topic, "__cluster_metadata");
    assert_eq!(find(&booted, key(4)).topic, "events");
    assert_eq!(offsets(&booted, find(&booted, key(4))), [0]);
    assert!(files::segment(&folder.0, "events", key(4), 0).exists());
}

#[test]
fn a_start_that_ended_before_its_journals_spoke_for_all_is_told_from_both() {
    let folder = Folder::new("between");
    let booted = start(&folder.0, 1).unwrap();
    let mut core = Core::new(&booted, 0);
    core.commit(&[
        Record::Append { key: key(0), segment: 0, position: 0, bytes: &batch(0, 100) },
        Record::Append { key: key(1), segment: 0, position: 0, bytes: &batch(0, 100) },
    ]);
    drop(booted);
    // The second start has two cores; only the first of them comes to commit.
    let booted = start(&folder.0, 2).unwrap();
    let first_state = state(&find(&booted, key(0)).log);
    let mut core = Core::new(&booted, 0);
    core.commit(&[
        state_of(find(&booted, key(0)), &first_state),
        Record::Append { key: key(0), segment: 1, position: 0, bytes: &batch(1, 100) },
    ]);
    let other_state = state(&find(&booted, key(1)).log);
    let other = state_of(find(&booted, key(1)), &other_state);
    let mut second = Core::new(&booted, 1);
    let old = booted.dirs[0].old_journals.whole.clone();
    assert_eq!(old.len(), 2);
    let dir = folder.copy("between-one");
    let third = start(&dir.0, 1).unwrap();
    assert_eq!(offsets(&third, find(&third, key(0))), [0, 1]);
    assert_eq!(offsets(&third, find(&third, key(1))), [0]);
    assert_eq!(third.dirs[0].old_journals.whole.len(), 6);
    // Without the old journals the second core's silence would be a loss.
    let lost = folder.copy("between-lost");
    for path in &old {
        fs::remove_file(lost.at(path.file_name().unwrap().to_str().unwrap())).unwrap();
    }
    assert!(start(&lost.0, 1).unwrap_err().contains("frame 1 of core 1"));
    // Both have committed: the old journals may go, in any part.
    second.commit(&[other, Record::Append { key: key(1), segment: 1, position: 0, bytes: &batch(1, 100) }]);
    drop(booted);
    for gone in [&old[..0], &old[..1], &old[1..], &old[..]] {
        let dir = folder.copy("between-both");
        for path in gone {
            fs::remove_file(dir.at(path.file_name().unwrap().to_str().unwrap())).unwrap();
        }
        let third = start(&dir.0, 1).unwrap();
        for partition in [0, 1] {
            assert_eq!(offsets(&third, find(&third, key(partition))), [0, 1], "{} gone", gone.len());
        }
    }
}

/// A batch that went straight to its segment but for its last, ragged bytes, in a commit that nothing proves flushed.
#[test]
fn batches_on_their_way_to_segments_are_believed_if_they_arrived() {
    let folder = Folder::new("extent");
    let booted = start(&folder.0, 1).unwrap();
    let (first, second) = (batch(0, 9000), batch(1, 9000));
    let both: Vec<u8> = first.iter().chain(&second).copied().collect();
    let headers: Vec<u8> = first[..61].iter().chain(&second[..61]).copied().collect();
    let reach = both.len() / BLOCK * BLOCK;
    let mut core = Core::new(&booted, 0);
    core.commit(&[
        Record::Extent { key: key(0), segment: 0, position: 0, headers: &headers },
        Record::Redo { key: key(0), segment: 0, position: reach as u32, bytes: &both[reach..] },
        Record::Append { key: key(1), segment: 0, position: 0, bytes: &batch(0, 50) },
    ]);
    drop(booted);
    let segment = |folder: &Folder| files::segment(&folder.0, "t", key(0), 0);
    fs::create_dir_all(segment(&folder).parent().unwrap()).unwrap();
    // Whole, the second batch's first or last block lost, the first batch's lost, nothing there.
    let mut cases: Vec<(Vec<u8>, Vec<i64>)> = vec![(both[..reach].to_vec(), vec![0, 1]), (Vec::new(), vec![])];
    for (block, expected) in [(0, vec![]), (1, vec![]), (2, vec![]), (3, vec![0])] {
        let mut bytes = both[..reach].to_vec();
        bytes[block * BLOCK..(block + 1) * BLOCK].fill(0xaa);
        cases.push((bytes, expected));
    }
    // Space that was reserved, and once held something else.
    cases.push((both[..reach].iter().copied().chain([0xee; 20_000]).collect(), vec![0, 1]));
    for (bytes, expected) in cases {
        let case = folder.copy("extent-case");
        fs::write(segment(&case), &bytes).unwrap();
        for _ in 0..2 {
            let booted = start(&case.0, 1).unwrap();
            let p = find(&booted, key(0));
            assert_eq!((p.topic.as_str(), p.log.next_offset()), ("t", expected.len() as i64));
            assert_eq!(offsets(&booted, p), expected);
            assert_eq!(offsets(&booted, find(&booted, key(1))), [0], "others of the commit are not concerned");
            let kept = if expected.is_empty() {
                None
            } else {
                Some(if expected.len() == 1 { first.len() } else { both.len() })
            };
            assert_eq!(fs::metadata(segment(&case)).ok().map(|m| m.len() as usize), kept);
            let retried = BatchHeader::parse(second[..61].try_into().unwrap());
            let known = p.log.producers.check(&retried).unwrap();
            assert_eq!(
                known != ringlog_engine::producer::Check::New,
                expected.len() == 2,
                "a lost batch is no duplicate"
            );
        }
    }
}

#[test]
fn files_below_the_start_and_beyond_the_end_go_and_strangers_stay() {
    let folder = Folder::new("files");
    let booted = start(&folder.0, 1).unwrap();
    let (a, b) = (batch(0, 500), batch(1, 500));
    let at = |base| files::segment(&folder.0, "t", key(0), base);
    let mut core = Core::new(&booted, 0);
    core.commit(&[Record::Append { key: key(0), segment: 0, position: 0, bytes: &a }]);
    core.commit(&[
        Record::Append { key: key(0), segment: 1, position: 0, bytes: &b },
        Record::Trim { key: key(0), log_start_offset: 1 },
        Record::Trim { key: key(9), log_start_offset: 0 },
    ]);
    drop(booted);
    fs::create_dir_all(at(0).parent().unwrap()).unwrap();
    for base in [0, 1, 2, 70] {
        fs::write(at(base), vec![1; 40_000]).unwrap();
    }
    let stranger = files::partition_dir(&folder.0, "t", key(3));
    fs::create_dir_all(&stranger).unwrap();
    fs::write(stranger.join("00000000000000000000.log"), "stays").unwrap();
    fs::write(files::recycled(&folder.0, 1, 6), vec![0; 8192]).unwrap();
    let booted = start(&folder.0, 1).unwrap();
    let p = find(&booted, key(0));
    assert_eq!((offsets(&booted, p), p.log.log_start()), (vec![1], 1));
    assert!(!at(0).exists() && !at(2).exists() && !at(70).exists());
    assert_eq!(fs::read(at(1)).unwrap(), b);
    assert_eq!(fs::read(stranger.join("00000000000000000000.log")).unwrap(), b"stays");
    assert!(booted.notices.iter().any(|n| n.contains("no journal speaks of it")), "{:?}", booted.notices);
    assert_eq!(booted.dirs[0].recycled, [(1, 6, 8192)]);
    drop(booted);
    // The next start knows the segments by their files.
    let booted = start(&folder.0, 1).unwrap();
    let record_state = state(&find(&booted, key(0)).log);
    Core::new(&booted, 0).commit(&[state_of(find(&booted, key(0)), &record_state)]);
    boot::retire(&booted.dirs[0].old_journals, &folder.0).unwrap();
    drop(booted);
    let booted = start(&folder.0, 1).unwrap();
    let p = find(&booted, key(0));
    assert_eq!((offsets(&booted, p), p.log.log_start(), p.log.damaged_from()), (vec![1], 1, i64::MAX));
    drop(booted);
    fs::remove_file(at(1)).unwrap();
    let booted = start(&folder.0, 1).unwrap();
    assert_eq!(find(&booted, key(0)).log.damaged_from(), 1, "a missing segment is refused, not forgotten");
    assert!(booted.notices.iter().any(|n| n.contains("missing")), "{:?}", booted.notices);
}

#[test]
fn laps_take_turns_and_a_new_one_needs_the_old_only_for_bytes() {
    let folder = Folder::new("laps");
    let booted = start(&folder.0, 1).unwrap();
    let mut core = Core::new(&booted, 0);
    let parts: Vec<Vec<u8>> = (0..6).map(|k| batch(k, 300)).collect();
    let place = |k: usize| parts[..k].iter().map(Vec::len).sum::<usize>() as u32;
    let append = |k: usize| Record::Append { key: key(0), segment: 0, position: place(k), bytes: &parts[k] };
    let about = |k: usize, destaged: u32| {
        let mut out = Vec::new();
        let state = PartitionState {
            closed: false,
            lost_until: 0,
            destaged,
            next_offset: k as i64,
            log_start: 0,
            damaged_from: i64::MAX,
            created: NOW.wall,
            first_timestamp: 1000,
            max_timestamp: 1000,
            max_timestamp_offset: 0,
            // Taken with a batch appended that is in no commit yet.
            epochs: vec![(3, 0), (4, k as i64)],
            unfinished: Vec::new(),
            producers: Vec::new(),
        };
        state.encode(&mut out);
        out
    };
    core.commit(&[append(0)]);
    core.commit(&[append(1)]);
    core.next_lap();
    let second = about(2, 0);
    core.commit(&[Record::State { key: key(0), segment: 0, position: place(2), state: &second }, append(2)]);
    let check = |count: i64| {
        let case = folder.copy("laps-case");
        let booted = start(&case.0, 1).unwrap();
        assert_eq!(offsets(&booted, find(&booted, key(0))), (0..count).collect::<Vec<_>>());
        assert_eq!(find(&booted, key(0)).log.epochs(), [(3, 0)]);
    };
    check(3);
    // The first lap's bytes reach the segment; its file is written over, which a crash tears.
    let at = files::segment(&folder.0, "t", key(0), 0);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(&at, parts[..2].concat()).unwrap();
    core.commit(&[Record::Released { lap: 0 }, append(3)]);
    check(4);
    core.next_lap();
    let third = about(4, place(2));
    core.commit(&[Record::State { key: key(0), segment: 0, position: place(4), state: &third }, append(4)]);
    core.commit(&[append(5)]);
    check(6);
    let journal = files::journal(&folder.0, core.next.incarnation, 0, 0);
    let mut bytes = fs::read(&journal).unwrap();
    bytes[BLOCK + 100] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    check(5);
    bytes[BLOCK..2 * BLOCK].fill(0);
    bytes[100] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    check(4);
}
