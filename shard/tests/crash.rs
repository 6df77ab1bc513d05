//! Power failures at any moment: a store on a simulated disk under a random load, and the broker's own recovery on what a crash
//! leaves. Every acknowledged batch is there, at its offset, byte for byte, and nothing else is.
//!
//! A seed gives a run: several lives of a store, each ended by a crash, with more crashes looked at on the way.
//! `RINGLOG_CRASH_SEEDS=from..to` tries others than the usual few.

mod sim_disk;

use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchHeader, HEADER_LEN, MAGIC, checksum};
use ringlog_engine::config::{BrokerConfig, ServerProperties};
use ringlog_engine::log::journal::read_journal;
use ringlog_engine::log::partition::{LogConfig, PartitionLog};
use ringlog_engine::producer::ProducerStates;
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{PartitionKey, TopicId};
use ringlog_shard::boot::{self, Booted};
use ringlog_shard::io::memory::BlockPool;
use ringlog_shard::io::{Done, Io};
use ringlog_shard::store::commit::Committer;
use ringlog_shard::store::hand::Recycled;
use ringlog_shard::store::read::ReadAt;
use ringlog_shard::store::{AckTo, Dir, NotAppended, Purpose, Store, StoreConfig, StoreLimits, Waiter, files};
use sim_disk::{Fail, Random, SimDisk};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder of a test's own, in memory where there is room for it, removed when it is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
        let path = base.join(format!("ringlog-crash-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Sizes of one run.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Of one journal file.
    half: u64,
    direct_min: u32,
    destage: u32,
    segment: u32,
    memory: usize,
    delete_delay_ms: u64,
    /// The largest batch, about.
    batch_max: usize,
    partitions: usize,
    one_flush_covers: bool,
}

impl Sizes {
    fn random(random: &mut Random) -> Sizes {
        Sizes {
            half: [64 << 10, 128 << 10, 256 << 10][random.below(3)],
            direct_min: [8 << 10, 16 << 10][random.below(2)],
            destage: [8 << 10, 64 << 10][random.below(2)],
            segment: [48 << 10, 256 << 10, 1 << 20][random.below(3)],
            memory: [16 << 20, 64 << 20][random.below(2)],
            delete_delay_ms: [0, 3, 50][random.below(3)],
            batch_max: [3 << 10, 40 << 10, 150 << 10][random.below(3)],
            partitions: 1 + random.below(6),
            one_flush_covers: !random.one_in(4),
        }
    }
}

struct Batch {
    base: i64,
    next: i64,
    bytes: Vec<u8>,
    /// Somebody was told that it is durable.
    acked: bool,
}

/// What a partition must hold.
#[derive(Default)]
struct Model {
    batches: Vec<Batch>,
    /// Somebody was told that the log starts here.
    start_acked: i64,
    /// Asked for.
    start_max: i64,
    relaxed: bool,
    deleted: bool,
}

/// Who waits for what.
#[derive(Clone, Copy)]
enum Wait {
    Batch { key: PartitionKey, base: i64, durable: bool },
    Start { key: PartitionKey, offset: i64 },
}

struct Run {
    seed: u64,
    random: Random,
    sizes: Sizes,
    root: Folder,
    generation: u32,
    models: BTreeMap<PartitionKey, Model>,
    waits: BTreeMap<u64, Wait>,
    next_wait: u64,
    next_key: i32,
    disk: SimDisk,
    store: Store,
    crashes: u32,
    old_journals: Vec<PathBuf>,
    tolerant: bool,
    /// Every batch is of an idempotent producer of its own.
    idempotent: bool,
}

const PRODUCERS: u32 = 5000;

fn config(dir: &Path, half: u64) -> BrokerConfig {
    let text = format!("node.id=1\nlisteners=PLAINTEXT://127.0.0.1:9092\nlog.dirs={}\n", dir.display());
    let (config, _) = BrokerConfig::load(&ServerProperties::parse(&text).unwrap()).unwrap();
    BrokerConfig { journal_bytes: 2 * half, ..config }
}

fn start(dir: &Path, sizes: &Sizes, random: &mut Random) -> Result<Booted, String> {
    let now = ringlog_engine::types::Now::default();
    let mut bytes = || std::array::from_fn(|_| random.next() as u8);
    let booted = boot::open(&config(dir, sizes.half), 1, now, &mut bytes, PRODUCERS).map_err(|e| e.to_string())?;
    for dir in &booted.dirs {
        for file in dir.journals.iter().flatten() {
            nix::unistd::close(file.0).unwrap();
        }
    }
    Ok(booted)
}

fn store_config(sizes: &Sizes, relaxed: bool) -> StoreConfig {
    let log = LogConfig {
        segment_bytes: sizes.segment,
        segment_ms: i64::MAX,
        segment_jitter_ms: 0,
        segment_index_bytes: 10 << 20,
        index_interval_bytes: 4096,
        retention_ms: -1,
        retention_bytes: i64::from(sizes.segment) * 3,
        delete: true,
    };
    StoreConfig { log, relaxed, file_delete_delay_ms: sizes.delete_delay_ms }
}

/// A recovered partition: key, topic, log, and whether its folder exists.
type FoundPartition = (PartitionKey, String, PartitionLog, bool);

/// Takes a started directory over to the simulated disk.
fn open(dir: &Path, booted: Booted, sizes: &Sizes) -> (SimDisk, Store, Vec<FoundPartition>, Vec<PathBuf>) {
    let disk = SimDisk::load(dir);
    let booted_dir = booted.dirs.into_iter().next().unwrap();
    let journal = |half| disk.file(&files::journal(dir, booted_dir.incarnation, 0, half));
    let committer = Committer::new(0, booted_dir.incarnation, [journal(0), journal(1)], booted_dir.journal_file_bytes);
    let recycled: Vec<(u64, u32)> = booted_dir.recycled.iter().map(|(_, number, bytes)| (*number, *bytes)).collect();
    let recycled = Recycled { next: recycled.iter().map(|(n, _)| *n).max().unwrap_or(0), files: recycled };
    let (latched, path) = (None, dir.to_path_buf());
    let dir =
        Dir { path, committer, latched, full: false, short: false, recycled, one_flush_covers: sizes.one_flush_covers };
    let limits = StoreLimits {
        direct_min: sizes.direct_min,
        destage: sizes.destage,
        memory_reserve: sizes.memory / 4,
        tail_cache: sizes.memory / 16,
        range_min: u32::MAX,
    };
    let store = Store::new(0, vec![dir], BlockPool::new(sizes.memory), limits);
    let logs = booted_dir.partitions.into_iter().map(|p| (p.key, p.topic, p.log, p.has_folder)).collect();
    (disk, store, logs, booted_dir.old_journals.whole)
}

fn batch(random: &mut Random, size: usize) -> (BatchHeader, Vec<u8>) {
    let body: Vec<u8> = (0..size.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
    let records = 1 + random.below(5) as i32;
    let mut header = BatchHeader {
        batch_length: (HEADER_LEN - 12 + body.len()) as i32,
        magic: MAGIC,
        last_offset_delta: records - 1,
        base_timestamp: 1,
        max_timestamp: 1 + random.below(1000) as i64,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: records,
        ..BatchHeader::default()
    };
    header.crc = checksum(&header.encode(), Rope::of(&body));
    (header, body)
}

fn topic(key: PartitionKey) -> String {
    format!("t{}", key.partition % 2)
}

impl Run {
    fn new(seed: u64, sizes: Option<Sizes>, name: &str) -> Run {
        let mut random = Random::new(seed);
        let sizes = sizes.unwrap_or_else(|| Sizes::random(&mut random));
        let root = Folder::new(&format!("{name}-{seed}"));
        let dir = root.0.join("0");
        let booted = start(&dir, &sizes, &mut random).unwrap();
        let (disk, store, _, old_journals) = open(&dir, booted, &sizes);
        let mut run = Run {
            seed,
            random,
            sizes,
            root,
            generation: 0,
            models: BTreeMap::new(),
            waits: BTreeMap::new(),
            next_wait: 0,
            next_key: 0,
            disk,
            store,
            crashes: 0,
            old_journals,
            tolerant: false,
            idempotent: false,
        };
        for _ in 0..sizes.partitions {
            run.create();
        }
        run
    }

    fn dir(&self) -> PathBuf {
        self.root.0.join(self.generation.to_string())
    }

    fn create(&mut self) -> PartitionKey {
        self.next_key += 1;
        self.create_as(PartitionKey { topic: TopicId([self.next_key as u8; 16]), partition: self.next_key })
    }

    fn create_as(&mut self, key: PartitionKey) -> PartitionKey {
        let relaxed = self.random.one_in(6);
        let log = PartitionLog::empty(key, self.disk.now().wall, ProducerStates::new(PRODUCERS));
        self.store.add(topic(key).as_str().into(), 0, 0, store_config(&self.sizes, relaxed), log, false);
        self.models.insert(key, Model { relaxed, ..Model::default() });
        key
    }

    fn any_key(&mut self) -> Option<PartitionKey> {
        let live: Vec<PartitionKey> =
            self.models.iter().filter(|(k, m)| !m.deleted && k.topic != TopicId::METADATA).map(|(k, _)| *k).collect();
        (!live.is_empty()).then(|| live[self.random.below(live.len())])
    }

    fn waiter(&mut self, wait: Wait) -> AckTo {
        self.next_wait += 1;
        self.waits.insert(self.next_wait, wait);
        AckTo::Control { append: self.next_wait }
    }

    fn append(&mut self, key: PartitionKey, size: usize) {
        let (mut header, body) = batch(&mut self.random, size);
        if self.idempotent {
            (header.producer_id, header.producer_epoch, header.base_sequence) = (self.next_wait as i64, 0, 0);
            header.crc = checksum(&header.encode(), Rope::of(&body));
        }
        let part = self.store.find(key).unwrap();
        let acks = if self.random.one_in(5) { 1 } else { -1 };
        let model = &self.models[&key];
        let base = model.batches.last().map_or(0, |b| b.next).max(self.store.get(part).unwrap().log.next_offset());
        let to = self.waiter(Wait::Batch { key, base, durable: acks == -1 && !model.relaxed });
        let now = self.disk.now();
        match self.store.append(now, part, (&header, Rope::of(&body)), acks, to) {
            Ok(done) => {
                assert_eq!(done.base_offset, base);
                let next = base + i64::from(header.last_offset_delta) + 1;
                let mut bytes = header.encode().to_vec();
                bytes[..8].copy_from_slice(&base.to_be_bytes());
                bytes[12..16].copy_from_slice(&0i32.to_be_bytes());
                bytes.extend(body);
                self.models.get_mut(&key).unwrap().batches.push(Batch { base, next, bytes, acked: false });
            }
            Err((why, AckTo::Control { append })) => {
                self.waits.remove(&append);
                let refused = NotAppended::Refused(ErrorCode::KafkaStorageError);
                assert!(why == NotAppended::Later || (self.tolerant && why == refused), "{why:?}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    fn delete_records(&mut self, key: PartitionKey) {
        let part = self.store.find(key).unwrap();
        let to = self.waiter(Wait::Start { key, offset: 0 });
        let high = self.store.get(part).unwrap().log.high_watermark();
        let offset = if self.random.one_in(3) { -1 } else { self.random.below(high as usize + 1) as i64 };
        let start = match self.store.delete_records(part, offset, to) {
            Ok(start) => start,
            Err(why) => {
                assert!(self.tolerant && why == ErrorCode::KafkaStorageError, "{why:?}");
                self.waits.remove(&self.next_wait);
                return;
            }
        };
        self.waits.insert(self.next_wait, Wait::Start { key, offset: start });
        let model = self.models.get_mut(&key).unwrap();
        model.start_max = model.start_max.max(start);
    }

    fn note_starts(&mut self) {
        for (_, p) in self.store.iter() {
            let model = self.models.get_mut(&p.key).unwrap();
            model.start_max = model.start_max.max(p.log.log_start());
        }
    }

    fn read(&mut self, key: PartitionKey) {
        let part = self.store.find(key).unwrap();
        let log = &self.store.get(part).unwrap().log;
        let (start, high) = (log.log_start(), log.high_watermark());
        let offset = start + self.random.below((high - start + 1) as usize) as i64;
        let max_bytes = [1, 10_000, 1 << 20][self.random.below(3)];
        let answer = self.store.read(&mut self.disk, part, ReadAt { offset, max_bytes, at_least_one: true });
        if self.store.dirs[0].latched.is_some() {
            return;
        }
        assert_eq!(answer.error, ErrorCode::None, "seed {}: {key} at {offset} of {start}..{high}", self.seed);
        let bytes: Vec<u8> = answer.spans.iter().flat_map(|s| s.bytes().to_vec()).collect();
        let mut at = 0;
        let model = &self.models[&key];
        let mut k = model.batches.partition_point(|b| b.next <= offset);
        while at < bytes.len() {
            let len = model.batches[k].bytes.len().min(bytes.len() - at);
            let same = bytes[at..at + len] == model.batches[k].bytes[..len];
            assert!(
                same,
                "seed {}: {key}: what was read at offset {} is not what was appended",
                self.seed, model.batches[k].base
            );
            at += len;
            k += 1;
        }
    }

    fn settle(&mut self) {
        for Waiter { to, outcome, .. } in std::mem::take(&mut self.store.settled) {
            let AckTo::Control { append } = to else { panic!("{to:?}") };
            let wait = self.waits.remove(&append).expect("settled once");
            if outcome.error != ErrorCode::None {
                assert!(self.tolerant, "{:?}", outcome.error);
                continue;
            }
            match wait {
                Wait::Batch { key, base, durable } => {
                    assert_eq!(outcome.base_offset, base);
                    let batches = &mut self.models.get_mut(&key).unwrap().batches;
                    let at = batches.binary_search_by_key(&base, |b| b.base).unwrap();
                    batches[at].acked |= durable;
                }
                Wait::Start { key, offset } => {
                    let model = self.models.get_mut(&key).unwrap();
                    model.start_acked = model.start_acked.max(offset);
                }
            }
        }
        self.store.rung.clear();
    }

    fn done(&mut self, done: Done) {
        let now = self.disk.now();
        let (store, disk) = (&mut self.store, &mut self.disk);
        match done {
            Done::Written { token, spans, result } => {
                store.give_spans(spans);
                match Purpose::of(token) {
                    Purpose::CommitWrite { dir, sequence } => store.on_commit_write(disk, dir, sequence, result),
                    Purpose::Hand { part } => store.on_hand(disk, part, result, now),
                    purpose => panic!("a write for {purpose:?}"),
                }
            }
            Done::Synced { token, result } => match Purpose::of(token) {
                Purpose::CommitSync { dir, sequence } => store.on_commit_sync(disk, dir, sequence, result),
                Purpose::Cover { dir } => store.on_cover(dir, result),
                Purpose::Hand { part } => store.on_hand(disk, part, result, now),
                purpose => panic!("a flush for {purpose:?}"),
            },
            Done::Read { token, block, result } => match Purpose::of(token) {
                Purpose::ColdRead { part } => store.on_cold_read(disk, part, block, result),
                purpose => panic!("a read for {purpose:?}"),
            },
            Done::File { token, result } => match Purpose::of(token) {
                Purpose::Hand { part } => store.on_hand(disk, part, result, now),
                Purpose::ColdRead { part } => store.on_cold_file(disk, part, result),
                Purpose::ShareFile { part } => store.on_shared_file(disk, part, result),
                Purpose::Forgotten => {}
                purpose => panic!("a file operation for {purpose:?}"),
            },
            other => panic!("{other:?}"),
        }
        self.settle();
    }

    fn turn(&mut self) {
        self.disk.mono += 1;
        let now = self.disk.now();
        self.store.retry_waiting(now);
        self.store.work(&mut self.disk, now);
        self.store.commit(&mut self.disk);
        self.store.trim();
        self.settle();
        if self.store.is_settled_in() {
            for path in std::mem::take(&mut self.old_journals) {
                self.disk.unlink(&path);
            }
        }
    }

    fn size(&mut self) -> usize {
        match self.random.below(20) {
            0 => self.random.below(self.sizes.batch_max),
            1..4 => self.random.below(self.sizes.batch_max.min(12 << 10)),
            _ => self.random.below(1500),
        }
    }

    fn step(&mut self, eager: usize) {
        match self.random.below(100) {
            0..30 => {
                for _ in 0..=self.random.below(4) {
                    let size = self.size();
                    if let Some(key) = self.any_key() {
                        self.append(key, size);
                    }
                }
            }
            30..60 => self.turn(),
            60..95 => {
                for _ in 0..self.random.below(eager) {
                    if let Some(done) = self.disk.complete(&mut self.random) {
                        self.done(done);
                    }
                }
            }
            95..98 => {
                if let Some(key) = self.any_key() {
                    self.read(key);
                }
            }
            _ => self.rare(),
        }
    }

    fn rare(&mut self) {
        let Some(key) = self.any_key() else {
            self.create();
            return;
        };
        let now = self.disk.now();
        match self.random.below(12) {
            0..4 => self.delete_records(key),
            4..8 => {
                self.store.retain(now, &mut self.disk);
                self.note_starts();
            }
            8..10 => {
                let part = self.store.find(key).unwrap();
                self.store.roll(part, now);
            }
            10 => {
                self.create();
            }
            _ => {
                let part = self.store.find(key).unwrap();
                self.store.remove(part);
                self.models.get_mut(&key).unwrap().deleted = true;
                self.create();
            }
        }
    }

    /// Everything in flight ends; then nobody waits any more.
    fn quiesce(&mut self) {
        for _ in 0..5000 {
            while let Some(done) = self.disk.complete(&mut self.random) {
                self.done(done);
            }
            self.turn();
            if self.disk.idle() && self.store.dirs[0].committer.idle() {
                break;
            }
        }
        let idle = self.disk.idle() && self.store.dirs[0].committer.idle();
        let stuck = || {
            let open = &self.store.dirs[0].committer.open.parts;
            let p = open.first().and_then(|part| self.store.get(*part));
            p.map(|p| {
                format!(
                    "{:?} {:?} ends at {:?}; files {:?}, {:?}",
                    p.key,
                    p.log.segments().map(|s| (s.base, s.len)).collect::<Vec<_>>(),
                    p.log.end(),
                    p.files,
                    p.hand
                )
            })
        };
        assert!(idle, "seed {}: the store is stuck: {:?} {:?}", self.seed, self.sizes, stuck());
        assert!(self.waits.is_empty(), "seed {}: {} are never answered", self.seed, self.waits.len());
    }

    /// What a crash now would leave is started on and looked at. Kept as the next generation if asked.
    fn crash(&mut self, keep: bool) {
        let name = if keep { (self.generation + 1).to_string() } else { "look".to_string() };
        let (from, to) = (self.dir(), self.root.0.join(name));
        let _ = std::fs::remove_dir_all(&to);
        self.disk.crash(&mut self.random, &from, &to);
        self.crashes += 1;
        let booted = start(&to, &self.sizes, &mut self.random);
        let booted = booted.unwrap_or_else(|why| panic!("seed {}, crash {}: {why}", self.seed, self.crashes));
        let mut held = BTreeMap::new();
        for p in &booted.dirs[0].partitions {
            let key = p.key;
            let Some(model) = self.models.get(&key) else { panic!("seed {}: {key} was never there", self.seed) };
            if !model.deleted {
                held.insert(key, self.check(&to, &p.topic, &p.log, model));
            }
        }
        for (key, model) in self.models.iter().filter(|(k, m)| !m.deleted && !held.contains_key(k)) {
            let lost = model.batches.iter().any(|b| b.acked);
            assert!(!lost, "seed {}, crash {}: {key} is lost", self.seed, self.crashes);
        }
        if keep {
            self.adopt(&to, booted, &held);
        }
    }

    /// Compares what was recovered of a partition; returns (log start, end).
    fn check(&self, dir: &Path, topic: &str, log: &PartitionLog, model: &Model) -> (i64, i64) {
        let told = format!("seed {}, crash {}, {:?}: {}", self.seed, self.crashes, self.sizes, log.key);
        let (start, end) = (log.log_start(), log.next_offset());
        assert_eq!(log.damaged_from(), i64::MAX, "{told} is damaged");
        let acked_end = model.batches.iter().rev().find(|b| b.acked).map_or(0, |b| b.next);
        assert!(end >= acked_end, "{told} ends at {end}, and {acked_end} was acknowledged");
        let starts = model.start_acked..=model.start_max;
        assert!(starts.contains(&start), "{told} starts at {start}, which should be in {starts:?}");
        let mut at = model.batches.partition_point(|b| b.next <= start);
        boot::read_all(dir, topic, log, |header, bytes| {
            let expected = model.batches.get(at).unwrap_or_else(|| panic!("{told}: invented {}", header.base_offset));
            assert!(expected.bytes == bytes, "{told}: the batch at {} is another", expected.base);
            at += 1;
        })
        .unwrap_or_else(|why| panic!("{told}: {why}"));
        let reached = at.checked_sub(1).map_or(0, |k| model.batches[k].next);
        assert!(reached >= end, "{told} holds batches up to {reached} and claims {end}");
        (start, end)
    }

    fn adopt(&mut self, to: &Path, booted: Booted, held: &BTreeMap<PartitionKey, (i64, i64)>) {
        let _ = std::fs::remove_dir_all(self.dir());
        self.generation += 1;
        let (disk, store, logs, old_journals) = open(to, booted, &self.sizes);
        (self.disk, self.store, self.old_journals) = (disk, store, old_journals);
        self.waits.clear();
        self.tolerant = false;
        for (key, topic, log, has_folder) in logs {
            let relaxed = self.models[&key].relaxed;
            let part = self.store.add(topic.as_str().into(), 0, 0, store_config(&self.sizes, relaxed), log, has_folder);
            if self.models[&key].deleted {
                self.store.remove(part);
            }
        }
        for (key, model) in self.models.iter_mut().filter(|(_, m)| !m.deleted) {
            let (start, end) = held.get(key).copied().unwrap_or((0, 0));
            model.batches.retain(|b| b.next <= end);
            // It was found durable, so it has to stay.
            model.batches.iter_mut().for_each(|b| b.acked = true);
            (model.start_acked, model.start_max) = (start, start);
            if !held.contains_key(key) {
                let log = PartitionLog::empty(*key, self.disk.now().wall, ProducerStates::new(PRODUCERS));
                self.store.add(topic(*key).as_str().into(), 0, 0, store_config(&self.sizes, model.relaxed), log, false);
            }
        }
    }

    /// A few lives, each ended by a crash.
    fn lives(&mut self, lives: usize, steps: usize) {
        for _ in 0..lives {
            let eager = [3, 8, 30][self.random.below(3)];
            for _ in 0..steps {
                self.step(eager);
                if self.random.one_in(steps / 3) {
                    self.crash(false);
                }
            }
            if self.random.one_in(2) {
                self.quiesce();
            }
            self.crash(true);
        }
    }
}

/// Those asked for, or the usual ones.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let asked = std::env::var("RINGLOG_CRASH_SEEDS").ok();
    let asked = asked.as_deref().and_then(|s| s.split_once(".."));
    asked.map_or(usual, |(from, to)| from.parse().expect("a number")..to.parse().expect("a number"))
}

#[test]
fn nothing_acknowledged_is_lost_in_any_crash() {
    let mut crashes = 0;
    for seed in seeds(1..13) {
        let mut run = Run::new(seed, None, "any");
        run.lives(4, 1500);
        crashes += run.crashes;
    }
    assert!(crashes > 0, "no seed was tried");
}

/// A run in which something fails once, and the crash after it.
fn with_failure(seed: u64, what: Fail, name: &str) -> Run {
    let mut run = Run::new(seed, None, name);
    for _ in 0..600 {
        run.step(8);
    }
    run.tolerant = true;
    run.disk.fail = Some(what);
    for _ in 0..600 {
        run.step(8);
    }
    if run.store.dirs[0].latched.is_some() {
        while let Some(done) = run.disk.complete(&mut run.random) {
            run.done(done);
        }
        assert!(run.waits.is_empty(), "seed {seed}: {} are never answered", run.waits.len());
    } else {
        run.disk.mono += 1000;
        run.quiesce();
    }
    run.crash(false);
    run
}

/// Whatever fails: everybody who waits is told, nothing is taken any more if a write or flush failed, and what was acknowledged
/// before is there after the crash.
#[test]
fn after_a_failed_write_or_flush_nothing_is_acknowledged_and_nothing_lost() {
    let (mut latched, mut went_on) = (0, 0);
    for seed in 1..25 {
        let what = [
            Fail::Write(libc::EIO),
            Fail::Sync(libc::EIO),
            Fail::Sync(libc::ENOSPC),
            Fail::Allocate(libc::ENOSPC),
            Fail::SyncDir(libc::EMFILE),
        ];
        let what = what[seed as usize % what.len()];
        if with_failure(seed, what, "fail").store.dirs[0].latched.is_some() {
            assert!(!matches!(what, Fail::SyncDir(_) | Fail::Allocate(_)), "seed {seed}: latched by {what:?}");
            latched += 1;
        } else {
            went_on += 1;
        }
    }
    assert!(latched > 5 && went_on > 3, "{latched} latched, {went_on} went on");
}

/// A write to a segment that found no room is made again, from where the file durably ends by then. In the last run an earlier write
/// became durable in between, and memory let go of it.
#[test]
fn a_segment_write_that_found_no_room_is_made_again() {
    let went_on = |seed: &u64| with_failure(*seed, Fail::Write(libc::ENOSPC), "room").store.dirs[0].latched.is_none();
    assert!((1..25).chain([3809]).filter(went_on).count() > 3);
}

/// A log is read up to where it is damaged, and everything there is what was appended.
fn check_damaged(dir: &Path, topic: &str, log: &PartitionLog, model: &Model, told: &str) {
    let (start, end) = (log.log_start(), log.next_offset().min(log.damaged_from()));
    let mut at = model.batches.partition_point(|b| b.next <= start);
    let mut reached = start;
    // It ends with an error where the damage begins.
    let _ = boot::read_all(dir, topic, log, |header, bytes| {
        let expected = model.batches.get(at).unwrap_or_else(|| panic!("{told}: invented {}", header.base_offset));
        assert!(expected.bytes == bytes, "{told}: the batch at {} is another", expected.base);
        (at, reached) = (at + 1, expected.next);
    });
    assert!(reached >= end, "{told}: ends at {reached}, before the damage at {end}");
    let acked_end = model.batches.iter().rev().find(|b| b.acked).map_or(0, |b| b.next);
    assert!(log.is_closed() || log.next_offset() >= acked_end, "{told}: {acked_end} would be given to other records");
    assert!(
        log.damaged_from() < i64::MAX || reached >= acked_end,
        "{told}: {acked_end} was acknowledged, nothing is told"
    );
}

/// Frames of a journal's one core that are known to have been flushed: file and position.
fn flushed_frames(booted_from: &Path) -> Vec<(PathBuf, u64)> {
    let names: Vec<PathBuf> = std::fs::read_dir(booted_from).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut starts: BTreeMap<u64, [Option<PathBuf>; 2]> = BTreeMap::new();
    for path in names {
        if let Some((incarnation, _, half)) = files::parse_journal(path.file_name().unwrap().to_str().unwrap()) {
            starts.entry(incarnation).or_default()[usize::from(half)] = Some(path);
        }
    }
    let mut found = Vec::new();
    for (incarnation, halves) in starts {
        let bytes = halves.clone().map(|path| path.map_or_else(Vec::new, |path| std::fs::read(path).unwrap()));
        let journal = read_journal(0, incarnation, [&bytes[0], &bytes[1]]).unwrap();
        assert!(journal.holes.is_empty());
        let flushed = journal.frames.iter().map(|f| f.header).filter(|h| h.sequence <= journal.durable);
        found.extend(flushed.map(|h| (halves[(h.lap % 2) as usize].clone().unwrap(), h.position)));
    }
    found
}

impl Run {
    /// A crash, and then some frames of the journal have rotted. Returns how many partitions were damaged and whole, or nothing
    /// where the metadata log was among the damaged.
    fn rot(&mut self) -> Option<(usize, usize)> {
        let (from, to) = (self.dir(), self.root.0.join("rot"));
        let _ = std::fs::remove_dir_all(&to);
        self.disk.crash(&mut self.random, &from, &to);
        self.crashes += 1;
        let frames = flushed_frames(&to);
        for _ in 0..1 + self.random.below(2) {
            if frames.is_empty() {
                return None;
            }
            let (path, position) = &frames[self.random.below(frames.len())];
            let mut bytes = std::fs::read(path).unwrap();
            bytes[*position as usize + self.random.below(64)] ^= 1 << self.random.below(8);
            std::fs::write(path, bytes).unwrap();
        }
        let told = format!("seed {}, crash {}, {:?}", self.seed, self.crashes, self.sizes);
        let booted = match start(&to, &self.sizes, &mut self.random) {
            Ok(booted) => booted,
            Err(why) if why.contains("metadata log") => return None,
            Err(why) => panic!("{told}: {why}"),
        };
        let booted = &booted.dirs[0];
        let (mut damaged, mut whole) = (0, 0);
        for p in &booted.partitions {
            let Some(model) = self.models.get(&p.key) else { panic!("{told}: {} was never there", p.key) };
            if !model.deleted {
                check_damaged(&to, &p.topic, &p.log, model, &format!("{told}: {}", p.key));
                *(if p.log.damaged_from() < i64::MAX { &mut damaged } else { &mut whole }) += 1;
            }
        }
        for (key, _) in self.models.iter().filter(|(_, m)| !m.deleted && m.batches.iter().any(|b| b.acked)) {
            let held = booted.partitions.iter().any(|p| p.key == *key);
            assert!(held || booted.doubtful, "{told}: {key} would be taken for one that never held a record");
        }
        Some((damaged, whole))
    }
}

/// Whatever frames of the journal rot: what is served is what was appended, what is lost is told, and no offset that was
/// acknowledged is given to another record.
#[test]
fn rotten_frames_cost_what_may_have_been_in_them_and_lie_about_nothing() {
    let (mut damaged, mut whole, mut refused) = (0, 0, 0);
    for seed in seeds(1..25) {
        let mut run = Run::new(seed, None, "rot");
        let metadata = run.create_as(PartitionKey { topic: TopicId::METADATA, partition: 0 });
        for _ in 0..3 {
            for k in 0..500 {
                if k % 100 == 0 {
                    run.append(metadata, 100);
                }
                run.step(8);
            }
            match run.rot() {
                Some((some, others)) => (damaged, whole) = (damaged + some, whole + others),
                None => refused += 1,
            }
            run.crash(true);
        }
    }
    assert!(damaged > 20 && whole > 20, "{damaged} damaged, {whole} whole, {refused} refused");
}

/// What a lap says of its producers at its start never outgrows the journal, however many there are.
#[test]
fn producers_are_forgotten_before_a_journal_is_too_small_for_them() {
    for seed in 1..4 {
        let mut random = Random::new(seed);
        let sizes = Sizes {
            half: 128 << 10,
            batch_max: 3 << 10,
            partitions: 4,
            memory: 64 << 20,
            ..Sizes::random(&mut random)
        };
        let mut run = Run::new(seed, Some(sizes), "producers");
        run.idempotent = true;
        for _ in 0..3 {
            for _ in 0..4000 {
                run.step(30);
            }
            let latched = &run.store.dirs[0].latched;
            assert!(latched.is_none() && run.store.dirs[0].committer.lap > 2, "seed {seed}: {latched:?}");
            run.crash(true);
        }
    }
}

/// What an acknowledgement waits for: acks=1, and a relaxed topic whatever acks says, for the write; all others for the flush,
/// before which nobody reads them, either.
#[test]
fn only_relaxed_topics_and_acks_1_are_answered_before_the_flush() {
    let mut run = Run::new(1, Some(Sizes { partitions: 0, ..Sizes::random(&mut Random::new(1)) }), "relaxed");
    let mut parts = Vec::new();
    for (relaxed, acks) in [(false, -1), (false, 1), (true, -1), (true, 1)] {
        let key = run.create();
        let part = run.store.find(key).unwrap();
        run.store.get_mut(part).unwrap().config.relaxed = relaxed;
        run.models.get_mut(&key).unwrap().relaxed = relaxed;
        let (header, body) = batch(&mut run.random, 500);
        let to = run.waiter(Wait::Batch { key, base: 0, durable: false });
        run.models.get_mut(&key).unwrap().batches.push(Batch { base: 0, next: 0, bytes: Vec::new(), acked: false });
        let now = run.disk.now();
        run.store.append(now, part, (&header, Rope::of(&body)), acks, to).unwrap();
        parts.push((part, run.next_wait, i64::from(header.last_offset_delta) + 1));
    }
    run.turn();
    let told = |run: &Run| -> Vec<(bool, bool)> {
        let answered = |wait: &u64| !run.waits.contains_key(wait);
        parts
            .iter()
            .map(|(p, wait, end)| (answered(wait), run.store.get(*p).unwrap().log.high_watermark() == *end))
            .collect()
    };
    assert_eq!(told(&run), [(false, false); 4], "nothing is written yet");
    while let Some(done) = run.disk.complete_but_no_flush() {
        run.done(done);
    }
    assert_eq!(told(&run), [(false, false), (true, false), (true, true), (true, true)], "written, not flushed");
    run.quiesce();
    assert_eq!(told(&run), [(true, true); 4]);
}

/// An earlier topic of the same name takes the topic's folder with it when its last partition is erased, perhaps just before the
/// folder of a partition is made in it. That is nobody's full disk: both are made again.
#[test]
fn a_topics_folder_that_went_with_an_earlier_topic_is_made_again() {
    let sizes = Sizes { partitions: 0, direct_min: 0, ..Sizes::random(&mut Random::new(1)) };
    let mut run = Run::new(1, Some(sizes), "folder");
    let key = run.create();
    run.disk.fail = Some(Fail::MakeDir(1, libc::ENOENT));
    run.append(key, 500);
    run.quiesce();
    assert_eq!(run.disk.fail, None, "no folder was made");
    assert!(!run.store.dirs[0].full, "produce is refused in the whole directory");
}

#[cfg(feature = "probes")]
#[path = "crash/planted.rs"]
mod planted;
