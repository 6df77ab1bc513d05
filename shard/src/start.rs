//! Starting the broker: from a file of settings to running cores, and back down. Its parts are made and joined here.
//!
//! The main thread is core 0. Besides the cores run one thread that waits for signals, one that asks for the disks' free space
//! (`store/space.rs`), the checker of heavy batches, and the one that tells metrics (`metrics/admin.rs`).

use crate::api::{DirInfo, owner};
use crate::boot::{self, Booted, BootedDir, OldJournals, Room};
use crate::checker::Checker;
use crate::cli::StartArgs;
use crate::core::control::{Control, METADATA_FOLDER, METADATA_KEY, dir_index, metadata_batch, store_config};
use crate::core::groups::{Coordinators, group_config};
use crate::core::route::Routes;
use crate::core::{Post, Setup, Shard};
use crate::io::queue::{Parked, channel};
use crate::io::thread::{stand_back, take_turns};
use crate::io::uring::{Uring, UringConfig, Wakers};
use crate::io::{FileId, Io, ListenOptions, memory::BlockPool};
use crate::mail::Mail;
use crate::metrics::admin::Admin;
use crate::metrics::core::CoreMeter;
use crate::metrics::gather::Gather;
use crate::metrics::scrape::View;
use crate::store::commit::Committer;
use crate::store::hand::Recycled;
use crate::store::space::Space;
use crate::store::{Dir, Store, StoreLimits};
use ringlog_engine::batch::Records;
use ringlog_engine::codec::Decoder;
use ringlog_engine::config::{BrokerConfig, ServerProperties};
use ringlog_engine::group::Coordinator;
use ringlog_engine::limits::BATCHES_WITH_CHECKER;
use ringlog_engine::log::partition::PartitionLog;
use ringlog_engine::metadata::{Entry, Image, OFFSETS_TOPIC};
use ringlog_engine::producer::ProducerStates;
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{CoreId, MonoMs, Now, PartitionKey, WallMs};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Mail between two cores that is not taken yet.
const MAIL_QUEUE: usize = 4096;
/// Signals to stop that come within this time after the first are the same wish.
const SAME_WISH: Duration = Duration::from_millis(500);
/// Memory for logs, if the settings do not say: this part of the machine's, within bounds.
const MEMORY_PART: u64 = 8;
const MEMORY_MIN: u64 = 256 << 20;
const MEMORY_MAX: u64 = 4 << 30;
/// The least a shard is started with.
const MEMORY_LEAST: u64 = 32 << 20;
/// Memory of a core that tails keep for readers close to the end: this part, and no more than fits a large cache.
const TAIL_PART: usize = 4;
const TAIL_MAX: usize = 128 << 20;
/// Part of a core's memory that appends leave for commits, cold reads and answers.
const RESERVE_PART: usize = 8;

/// Runs the broker until it is told to stop; the exit code says how it ended.
pub fn start(arguments: StartArgs) -> ExitCode {
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            for line in why {
                eprintln!("error: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &StartArgs) -> Result<(), Vec<String>> {
    let began = Instant::now();
    // Before any thread starts: one that did not block them would end the process at the first signal.
    stop_signals().thread_block().expect("signals can be blocked");
    let config = Arc::new(settings(arguments)?);
    let cpus = cpus(&config)?;
    let limits = raise_limits(&config);
    check_memory(&config, cpus.len())?;
    let admin = Admin::start(config.admin.as_ref(), began).map_err(|why| vec![why])?;
    let cores = cpus.len() as u16;
    let now = Now { mono: MonoMs(0), wall: WallMs(wall_ms()) };
    let mut booted = boot::open(&config, cores, now, &mut random, config.limits.producers_per_partition)
        .map_err(|e| vec![e.to_string()])?;
    let image = Arc::new(read_image(&config, &booted)?);
    booted.notices.extend(absent(&image, &booted));
    let node = Node::new(config, cpus, booted, image, began)?;
    node.run(limits, admin)
}

/// Partitions whose log directory was left out: nobody would know why they have no leader.
fn absent(image: &Image, booted: &Booted) -> Option<String> {
    let here = |dir| booted.dirs.iter().any(|d| d.id == dir);
    let count = image.topics().flat_map(|topic| &topic.partitions).filter(|p| !here(p.dir)).count();
    (count > 0)
        .then(|| format!("partitions not served: {count}, as the log directory they are in is not one of log.dirs"))
}

/// What asks the broker to end.
fn stop_signals() -> nix::sys::signal::SigSet {
    [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGTERM].into_iter().collect()
}

/// Reads the file and the overrides; prints what is worth a notice.
fn settings(arguments: &StartArgs) -> Result<BrokerConfig, Vec<String>> {
    let mut properties = match &arguments.file {
        None => ServerProperties::without_file(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| vec![format!("settings file {} cannot be read: {e}", path.display())])?;
            ServerProperties::parse(&text)
                .map_err(|errors| errors.iter().map(|e| format!("{}: {e}", path.display())).collect::<Vec<_>>())?
        }
    };
    for (key, value) in &arguments.overrides {
        properties.set_override(&format!("{key}={value}")).map_err(|e| vec![e.to_string()])?;
    }
    let (config, notices) =
        BrokerConfig::load(&properties).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    for notice in notices {
        println!("notice: {}: {}", notice.key, notice.message);
    }
    Ok(config)
}

/// The CPU of each shard.
fn cpus(config: &BrokerConfig) -> Result<Vec<usize>, Vec<String>> {
    let allowed: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|c| c.id).collect();
    let Some(wanted) = &config.cores else {
        return if allowed.is_empty() { Ok(vec![0]) } else { Ok(allowed) };
    };
    for cpu in wanted {
        if !allowed.contains(&usize::from(*cpu)) {
            return Err(vec![format!("ringlog.cores: CPU {cpu} is not one this process may use ({allowed:?})")]);
        }
    }
    Ok(wanted.iter().map(|cpu| usize::from(*cpu)).collect())
}

/// Raises what can be raised; returns a line for each limit worth telling.
fn raise_limits(config: &BrokerConfig) -> Vec<String> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let mut lines = Vec::new();
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        let now = if raised { hard } else { soft };
        let what =
            if raised { format!("open files: raised from {soft} to {hard}") } else { format!("open files: {now}") };
        let most = connections_max();
        lines.push(if most < config.limits.connections {
            format!("{what}: at most {most} connections, the rest is for segments; further ones wait")
        } else {
            what
        });
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_MEMLOCK) {
        let amount = if soft == u64::MAX { "unlimited".to_string() } else { format!("{} KiB", soft >> 10) };
        lines.push(format!("locked memory: {amount}; none is needed"));
    }
    lines
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// Sixteen bytes from the kernel.
pub(crate) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").expect("/dev/urandom opens"), &mut bytes)
        .expect("/dev/urandom gives bytes");
    bytes
}

/// The metadata as its log says; a new cluster's first entry goes into an empty log's memory and is appended by core 0.
fn read_image(config: &BrokerConfig, booted: &Booted) -> Result<Image, Vec<String>> {
    let found = booted.dirs.iter().find_map(|d| Some((d, d.partitions.iter().find(|p| p.key == METADATA_KEY)?)));
    let mut image = Image::default();
    if let Some((dir, partition)) = found {
        let mut failure = None;
        boot::read_all(&dir.path, METADATA_FOLDER, &partition.log, |header, batch| {
            if failure.is_none() {
                failure =
                    apply_batch(&mut image, batch).err().map(|why| format!("{why} at offset {}", header.base_offset));
            }
        })
        .map_err(|e| vec![e.to_string()])?;
        if let Some(why) = failure {
            return Err(vec![format!("the metadata log in {} cannot be read: {why}", dir.path.display())]);
        }
        return Ok(image);
    }
    if booted.dirs.iter().any(|d| !d.partitions.is_empty()) {
        return Err(vec![format!(
            "the log directories hold partitions and no metadata log ({METADATA_FOLDER}): is metadata.log.dir or log.dirs \
             missing a directory?"
        )]);
    }
    let entry = Entry::ClusterCreated { cluster_id: booted.cluster_id.clone(), node_id: config.node_id };
    image.apply(&entry).expect("the first entry applies to an empty image");
    Ok(image)
}

fn apply_batch(image: &mut Image, batch: &[u8]) -> Result<(), String> {
    let (mut decoder, mut scratch) = (Decoder::default(), Vec::new());
    let records =
        Records::read(Rope::of(batch), &mut decoder, &mut scratch, batch.len() * 2).map_err(|e| format!("{e:?}"))?;
    for record in records {
        let record = record.map_err(|e| format!("{e:?}"))?;
        let entry = Entry::decode(record.value.unwrap_or_default()).map_err(|e| e.to_string())?;
        if matches!(entry, Entry::SnapshotBegun { .. }) {
            *image = Image::default();
        }
        image.apply(&entry).map_err(|e| format!("{e:?}"))?;
    }
    Ok(())
}

/// Everything that is shared out to the cores.
struct Node {
    config: Arc<BrokerConfig>,
    cpus: Vec<usize>,
    booted: Booted,
    image: Arc<Image>,
    dirs: Vec<DirInfo>,
    wakers: Arc<Wakers>,
    space: Arc<Space>,
    began: Instant,
    stop: Arc<AtomicBool>,
    retire: Arc<Retire>,
    /// By core.
    meters: Vec<Arc<CoreMeter>>,
}

/// Removes the journals of earlier starts once every core's first commit is durable, in every directory that did not fail; then
/// there is room for the next start to be kept.
struct Retire {
    left: AtomicUsize,
    /// By directory.
    old: Vec<(PathBuf, OldJournals, Room)>,
    space: Arc<Space>,
    reserve_bytes: u64,
}

impl Retire {
    /// A core's first commits are durable, or it has told which directories failed.
    fn core_ready(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        for (index, (dir, journals, room)) in (0..).zip(&self.old) {
            // The journals of this start may say nothing there yet: the old ones are all that does.
            if self.space.has_failed(index) {
                continue;
            }
            if let Err(error) = boot::retire(journals, dir) {
                eprintln!(
                    "warning: log directory {}: old journals cannot be removed ({error}); they are harmless",
                    dir.display()
                );
            }
            if let Err(error) = room.keep(dir, self.reserve_bytes) {
                eprintln!(
                    "warning: log directory {}: no room can be kept for a start on a full disk ({error})",
                    dir.display()
                );
            }
        }
    }
}

/// What one core gets of one directory.
struct DirShare {
    path: PathBuf,
    incarnation: u64,
    journals: [FileId; 2],
    journal_bytes: u64,
    recycled: Vec<(u64, u32)>,
    one_flush_covers: bool,
}

/// What one core gets of the booted directories.
struct Share {
    dirs: Vec<DirShare>,
    partitions: Vec<(String, u8, PartitionLog, bool)>,
}

impl Node {
    fn new(
        config: Arc<BrokerConfig>,
        cpus: Vec<usize>,
        booted: Booted,
        image: Arc<Image>,
        began: Instant,
    ) -> Result<Node, Vec<String>> {
        let dirs = booted
            .dirs
            .iter()
            .map(|d| {
                let (total_bytes, usable_bytes) = (-1, -1);
                DirInfo { path: d.path.display().to_string(), id: d.id, total_bytes, usable_bytes, usable: true }
            })
            .collect();
        let wakers = Wakers::new(cpus.len() + 2).map_err(|e| vec![format!("making event descriptors: {e}")])?;
        let space = Space::watch(booted.dirs.iter().map(|d| d.path.clone()))
            .map_err(|e| vec![format!("starting a thread: {e}")])?;
        let old = booted.dirs.iter().map(|d| (d.path.clone(), d.old_journals.clone(), d.room)).collect();
        let (left, reserve_bytes) = (AtomicUsize::new(cpus.len()), config.disk_reserve_bytes);
        let retire = Arc::new(Retire { left, old, space: space.clone(), reserve_bytes });
        let meters = cpus.iter().map(|_| Arc::new(CoreMeter::new(booted.dirs.len()))).collect();
        Ok(Node { config, cpus, booted, image, dirs, wakers, space, began, stop: Arc::default(), retire, meters })
    }

    /// Starts the other cores, is core 0, and waits for all to end.
    fn run(mut self, mut limits: Vec<String>, admin: Option<Admin>) -> Result<(), Vec<String>> {
        let cores = self.cpus.len();
        let mut shares = self.share();
        let mut posts = posts(cores);
        self.watch_signals();
        let admins = posts.pop().expect("the admin thread's");
        self.start_checker(posts.pop().expect("the checker's"))?;
        pin(self.cpus[0]);
        let mut io = self.ring(0)?;
        let (listening, advertised) = listen(&mut io, &self.config)?;
        let mut threads = Vec::new();
        let (ready, readiness) = std::sync::mpsc::channel();
        for core in (1..cores).rev() {
            let (share, post) = (shares.remove(core), posts.remove(core));
            let seat = self.seat(core, advertised.clone());
            let (ready, cpus) = (ready.clone(), self.cpus.clone());
            let thread = std::thread::Builder::new().name(format!("core {core}")).spawn(move || {
                pin(seat.cpu);
                take_turns_if_shared(seat.cpu, &cpus);
                let ring = seat.ring();
                let failed = ring.as_ref().err().cloned();
                let shard = ring.and_then(|io| seat.shard(io, share, post));
                let _ = ready.send(failed.or_else(|| shard.as_ref().err().cloned()));
                if let Ok(mut shard) = shard
                    && let Err(error) = shard.run()
                {
                    eprintln!("error: core {core}: the ring failed: {error}");
                    std::process::exit(1);
                }
            });
            threads.push(thread.map_err(|e| vec![format!("starting a thread: {e}")])?);
        }
        // Threads made after this would be alike.
        take_turns_if_shared(self.cpus[0], &self.cpus);
        let seat = self.seat(0, advertised.clone());
        let capabilities = io.capabilities().to_string();
        let mut shard = seat.shard(io, shares.remove(0), posts.remove(0)).map_err(|e| vec![e])?;
        for _ in 1..cores {
            if let Ok(Some(why)) = readiness.recv() {
                return Err(vec![why]);
            }
        }
        for k in 0..listening.len() {
            shard.io.accept(k as u16);
        }
        let (wanted, most) = (self.config.limits.request_bytes as usize, shard.frame_max());
        if most < wanted {
            limits.push(format!("requests: at most {most} bytes, not {wanted}: more needs more ringlog.memory.bytes"));
        }
        self.greet(&listening, admin.as_ref(), &limits, &capabilities);
        if let Some(admin) = admin {
            admin.serve(self.view(admins));
        }
        shard.run().map_err(|e| vec![format!("core 0: the ring failed: {e}")])?;
        for thread in threads {
            let _ = thread.join();
        }
        println!("stopped");
        Ok(())
    }

    fn ring(&self, core: usize) -> Result<Uring, Vec<String>> {
        let config = UringConfig::new(CoreId(core as u16), self.wakers.clone(), self.began);
        Uring::new(config).map_err(|e| vec![e.to_string()])
    }

    /// Divides partitions, journals and recycled files among the cores.
    fn share(&mut self) -> Vec<Share> {
        let cores = self.cpus.len();
        let mut shares: Vec<Share> = (0..cores).map(|_| Share { dirs: Vec::new(), partitions: Vec::new() }).collect();
        for (d, dir) in self.booted.dirs.iter_mut().enumerate() {
            let BootedDir {
                path,
                incarnation,
                journals,
                journal_file_bytes,
                partitions,
                recycled,
                one_flush_covers,
                ..
            } = dir;
            for (core, share) in shares.iter_mut().enumerate() {
                let mine = |(owner, number, len): &(u16, u64, u32)| {
                    (usize::from(*owner) % cores == core).then_some((*number, *len))
                };
                let recycled = if cores == 1 { recycled.iter().filter_map(mine).collect() } else { Vec::new() };
                share.dirs.push(DirShare {
                    path: path.clone(),
                    incarnation: *incarnation,
                    journals: journals[core],
                    journal_bytes: *journal_file_bytes,
                    recycled,
                    one_flush_covers: *one_flush_covers,
                });
            }
            for partition in partitions.drain(..) {
                let core =
                    if partition.key == METADATA_KEY { 0 } else { owner(partition.key, cores as u16).0 as usize };
                shares[core].partitions.push((partition.topic, d as u8, partition.log, partition.has_folder));
            }
        }
        shares
    }

    fn seat(&self, core: usize, advertised: Vec<(String, u16)>) -> Seat {
        Seat {
            core,
            cpu: self.cpus[core],
            cores: self.cpus.len(),
            config: self.config.clone(),
            image: self.image.clone(),
            dirs: self.dirs.clone(),
            doubtful: self.booted.dirs.iter().map(|d| d.doubtful).collect(),
            advertised,
            wakers: self.wakers.clone(),
            space: self.space.clone(),
            began: self.began,
            stop: self.stop.clone(),
            retire: self.retire.clone(),
            meter: self.meters[core].clone(),
        }
    }

    /// What the admin endpoint looks at.
    fn view(&self, post: Post) -> View {
        View {
            meters: self.meters.clone(),
            cpus: self.cpus.clone(),
            dirs: self.dirs.iter().map(|d| d.path.clone()).collect(),
            space: self.space.clone(),
            began: self.began,
            connections_max: self.config.limits.connections.min(connections_max()),
            reserve_bytes: self.config.disk_reserve_bytes,
            gather: Gather::new(post, self.wakers.clone(), self.cpus.len()),
        }
    }

    /// A thread that waits for SIGINT and SIGTERM: the first stops cleanly, a later one at once.
    fn watch_signals(&self) {
        let set = stop_signals();
        let (stop, wakers, cores) = (self.stop.clone(), self.wakers.clone(), self.cpus.len());
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let mut told: Option<Instant> = None;
                while set.wait().is_ok() {
                    match told {
                        // One wish may come twice: `timeout` tells the process and its group, as do some supervisors.
                        Some(at) if at.elapsed() < SAME_WISH => continue,
                        Some(_) => std::process::exit(1),
                        None => told = Some(Instant::now()),
                    }
                    stop.store(true, Ordering::Release);
                    println!("stopping");
                    (0..cores).for_each(|core| wakers.ring_bell(core));
                }
            })
            .expect("a thread for signals starts");
    }

    /// The checker's thread, which ends with the process. Made before this thread is pinned to a CPU, as it is not to be.
    fn start_checker(&self, post: Post) -> Result<(), Vec<String>> {
        let (wakers, me) = (self.wakers.clone(), self.cpus.len());
        let thread = std::thread::Builder::new().name("checker".into()).spawn(move || {
            stand_back();
            Checker::new(post).run(me, |core| wakers.ring_bell(usize::from(core.0)), || wakers.wait(me));
        });
        thread.map(drop).map_err(|e| vec![format!("starting a thread: {e}")])
    }

    fn greet(&self, listening: &[SocketAddr], admin: Option<&Admin>, limits: &[String], capabilities: &str) {
        let config = &self.config;
        println!("Ringlog {} is ready after {} ms", env!("CARGO_PKG_VERSION"), self.began.elapsed().as_millis());
        println!("  node {} of cluster {}", config.node_id, self.image.cluster_id());
        for address in listening {
            println!("  listens on {address}");
        }
        if let Some(admin) = admin {
            println!("  metrics at http://{}/metrics", admin.address);
        }
        for dir in &self.dirs {
            println!("  data in {}", dir.path);
        }
        let cpus: Vec<String> = self.cpus.iter().map(ToString::to_string).collect();
        println!("  {} shard(s), on CPU {}", self.cpus.len(), cpus.join(", "));
        println!("  {capabilities}");
        println!(
            "  acknowledged (acks=all) means: written and flushed to the device; acks=1: written, the flush follows"
        );
        println!(
            "  consumers see what is flushed; a topic with ringlog.flush=relaxed is acknowledged and seen once written"
        );
        for line in limits {
            println!("  {line}");
        }
        for notice in &self.booted.notices {
            println!("  {notice}");
        }
        // To a wildcard nobody connects, though Linux would let them.
        let reached = |at: &SocketAddr| match at.ip().is_unspecified() {
            true => format!("localhost:{}", at.port()),
            false => at.to_string(),
        };
        let address = listening.first().map_or_else(String::new, reached);
        println!("try next:");
        println!("  ringlog topic create events --partitions 4 --bootstrap-server {address}");
        println!("  echo hello | ringlog produce events --bootstrap-server {address}");
        println!("  ringlog consume events --from-beginning --exit --bootstrap-server {address}");
    }
}

/// What a core needs to begin; moves to its thread.
struct Seat {
    core: usize,
    cpu: usize,
    cores: usize,
    config: Arc<BrokerConfig>,
    image: Arc<Image>,
    dirs: Vec<DirInfo>,
    /// Directories whose journals are damaged.
    doubtful: Vec<bool>,
    advertised: Vec<(String, u16)>,
    wakers: Arc<Wakers>,
    space: Arc<Space>,
    began: Instant,
    stop: Arc<AtomicBool>,
    retire: Arc<Retire>,
    meter: Arc<CoreMeter>,
}

impl Seat {
    fn ring(&self) -> Result<Uring, String> {
        let config = UringConfig::new(CoreId(self.core as u16), self.wakers.clone(), self.began);
        Uring::new(config).map_err(|e| e.to_string())
    }

    fn shard(self, io: Uring, share: Share, post: Post) -> Result<Shard<Uring>, String> {
        let cores = self.cores as u16;
        let memory = memory_bytes(&self.config) as usize / self.cores;
        let limits = StoreLimits {
            direct_min: self.config.journal_direct_min_bytes,
            destage: self.config.destage_bytes,
            memory_reserve: memory / RESERVE_PART,
            tail_cache: (memory / TAIL_PART).min(TAIL_MAX),
            range_min: self.config.fetch_range_min_bytes,
        };
        let dirs = share.dirs.into_iter().map(
            |DirShare { path, incarnation, journals, journal_bytes, recycled, one_flush_covers }| Dir {
                path,
                committer: Committer::new(self.core as u16, incarnation, journals, journal_bytes),
                latched: None,
                full: false,
                short: false,
                recycled: Recycled { next: recycled.iter().map(|(n, _)| *n).max().unwrap_or(0), files: recycled },
                one_flush_covers,
            },
        );
        let mut store = Store::new(self.core as u16, dirs.collect(), BlockPool::new(memory), limits);
        store.meter = self.meter.clone();
        let now = io.now();
        let mut metadata = None;
        let mut logs = Vec::new();
        for (topic, dir, log, has_folder) in share.partitions {
            let key = log.key;
            let known = self.image.topic_by_id(key.topic);
            let config = match known {
                Some(topic) => self.config.topic(&topic.configs),
                None => self.config.topic(&Default::default()),
            };
            let epoch = known.and_then(|t| t.partitions.get(key.partition as usize)).map_or(0, |p| p.leader_epoch);
            let part = store.add(topic.as_str().into(), dir, epoch, store_config(&config), log, has_folder);
            match known {
                _ if key == METADATA_KEY => metadata = Some(part),
                None => store.remove(part),
                Some(topic) if topic.name == OFFSETS_TOPIC => logs.push((key.partition, part)),
                Some(_) => {}
            }
        }
        self.add_new(&mut store, now);
        let routes = Routes::new(self.image.clone(), &self.config, cores, |key| store.find(key));
        let groups = self.coordinators(&mut store, now, logs);
        let control = (self.core == 0).then(|| self.control(&mut store, now, metadata));
        let seed = u64::from_le_bytes(random()[..8].try_into().expect("eight bytes"));
        let setup = Setup {
            core: CoreId(self.core as u16),
            cores,
            config: self.config,
            advertised: self.advertised,
            dirs: self.dirs,
            space: self.space,
            connections_max: connections_max(),
            seed,
            stop: self.stop,
            ready: Some(Box::new(move || self.retire.core_ready())),
        };
        Ok(Shard::new(io, setup, store, routes, post, groups, control))
    }

    /// Partitions of this core that have never held a record: no journal knows them. Where journals are damaged that proves
    /// nothing, and they are closed.
    fn add_new(&self, store: &mut Store, now: Now) {
        for topic in self.image.topics() {
            for (k, p) in topic.partitions.iter().enumerate() {
                let key = PartitionKey { topic: topic.id, partition: k as i32 };
                if owner(key, self.cores as u16).0 as usize != self.core || store.find(key).is_some() {
                    continue;
                }
                let producers = ProducerStates::new(self.config.limits.producers_per_partition);
                let mut log = PartitionLog::empty(key, now.wall, producers);
                let dir = dir_index(&self.dirs, p.dir);
                if self.doubtful[usize::from(dir)] {
                    log.close();
                }
                let config = store_config(&self.config.topic(&topic.configs));
                store.add(topic.name.as_str().into(), dir, p.leader_epoch, config, log, false);
            }
        }
    }

    /// The metadata partition, made for a new cluster with its first entry.
    fn control(&self, store: &mut Store, now: Now, metadata: Option<crate::store::PartIdx>) -> Control {
        let part = metadata.unwrap_or_else(|| {
            let log = PartitionLog::empty(METADATA_KEY, now.wall, ProducerStates::new(1));
            let dir = self.dirs.iter().position(|d| d.path == self.config.metadata_log_dir).unwrap_or(0) as u8;
            let config = store_config(&self.config.topic(&Default::default()));
            let part = store.add(METADATA_FOLDER.into(), dir, 0, config, log, false);
            let entry =
                Entry::ClusterCreated { cluster_id: self.image.cluster_id().to_string(), node_id: self.config.node_id };
            let (header, batch) = metadata_batch(&[entry], now.wall);
            let body = Rope::of(&batch[ringlog_engine::batch::HEADER_LEN..]);
            let to = crate::store::AckTo::Control { append: 0 };
            store.append(now, part, (&header, body), 0, to).unwrap_or_else(|e| panic!("the first entry: {e:?}"));
            part
        });
        let partition = store.get_mut(part).expect("it was added");
        // The metadata log is cut by snapshots alone.
        partition.config.log.delete = false;
        Control::new(self.image.clone(), part, partition.log.bytes())
    }

    fn coordinators(&self, store: &mut Store, now: Now, logs: Vec<(i32, crate::store::PartIdx)>) -> Coordinators {
        let config = group_config(&self.config);
        let mut all = Coordinators::default();
        for (partition, part) in logs {
            let p = store.get(part).expect("it was added");
            let loaded = load(&store.dirs[p.dir as usize].path, partition, &p.log);
            match loaded {
                Ok(mut coordinator) => {
                    coordinator.loaded(now, &config);
                    all.add(coordinator, part);
                }
                Err(why) => {
                    eprintln!(
                        "error: {why}. Groups of this partition have no coordinator (COORDINATOR_NOT_AVAILABLE), all others \
                         do; see `ringlog repair`"
                    );
                    all.refuse(partition);
                }
            }
        }
        let topic = self.image.topic(OFFSETS_TOPIC);
        for partition in 0..topic.map_or(0, |t| t.partitions.len() as i32) {
            let key = PartitionKey { topic: topic.expect("it has partitions").id, partition };
            let Some(part) = store.find(key).filter(|_| !all.has(partition)) else { continue };
            if store.get(part).is_some_and(|p| p.log.is_closed()) {
                all.refuse(partition);
                continue;
            }
            let mut coordinator = Coordinator::new(partition);
            coordinator.loaded(now, &config);
            all.add(coordinator, part);
        }
        all
    }
}

/// Replays the log of a partition of `__consumer_offsets`: whole, or not at all. Offsets that are too old would have groups
/// read again what they had finished with.
fn load(dir: &std::path::Path, partition: i32, log: &PartitionLog) -> Result<Coordinator, String> {
    if log.is_closed() {
        return Err(format!("{OFFSETS_TOPIC}-{partition}: its newest records may be lost"));
    }
    let mut coordinator = Coordinator::new(partition);
    let mut failure = None;
    let read = boot::read_all(dir, OFFSETS_TOPIC, log, |header, batch| {
        if let (None, Err(why)) = (&failure, replay(&mut coordinator, batch)) {
            failure = Some(format!("{OFFSETS_TOPIC}-{partition} at offset {}: {why}", header.base_offset));
        }
    });
    match (read, failure) {
        (Err(why), _) => Err(why.to_string()),
        (Ok(()), Some(why)) => Err(why),
        (Ok(()), None) => Ok(coordinator),
    }
}

fn replay(coordinator: &mut Coordinator, batch: &[u8]) -> Result<(), String> {
    let (mut decoder, mut scratch) = (Decoder::default(), Vec::new());
    let records = Records::read(Rope::of(batch), &mut decoder, &mut scratch, 64 << 20).map_err(|e| format!("{e:?}"))?;
    for record in records {
        let record = record.map_err(|e| format!("{e:?}"))?;
        let key = record.key.ok_or("a record without a key")?;
        coordinator.replay(key, record.value, record.offset, WallMs(record.timestamp)).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// With less, a shard could not even take the memory its commits and zeroing need.
fn check_memory(config: &BrokerConfig, cores: usize) -> Result<(), Vec<String>> {
    let (all, least) = (memory_bytes(config), MEMORY_LEAST * cores as u64);
    if all < least {
        return Err(vec![format!("ringlog.memory.bytes: {all} is too little for {cores} shard(s); at least {least}")]);
    }
    Ok(())
}

fn memory_bytes(config: &BrokerConfig) -> u64 {
    config.memory_bytes.unwrap_or_else(|| {
        let pages = nix::unistd::sysconf(nix::unistd::SysconfVar::_PHYS_PAGES).ok().flatten().unwrap_or(0) as u64;
        (pages * 4096 / MEMORY_PART).clamp(MEMORY_MIN, MEMORY_MAX)
    })
}

fn pin(cpu: usize) {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        eprintln!("warning: a core could not be pinned to CPU {cpu}");
    }
}

/// A core on one of `cpus`, those of all cores, may not be alone there.
fn take_turns_if_shared(cpu: usize, cpus: &[usize]) {
    if cpus.iter().filter(|other| **other == cpu).count() > 1 {
        take_turns();
    }
}

/// Every pair of cores gets a queue each way, and each core with the checker and the admin thread, whose posts are the last two.
fn posts(cores: usize) -> Vec<Post> {
    let all = cores + 2;
    let parked: Arc<[Parked]> = (0..all).map(|_| Parked::new()).collect();
    let mut to: Vec<Vec<_>> = (0..all).map(|_| Vec::new()).collect();
    let mut from: Vec<Vec<_>> = (0..all).map(|_| Vec::new()).collect();
    for (s, sender) in to.iter_mut().enumerate() {
        for (r, receiver) in from.iter_mut().enumerate() {
            let room = if s.max(r) >= cores { BATCHES_WITH_CHECKER } else { MAIL_QUEUE };
            let (tx, rx) = channel::<Mail>(room);
            sender.push(tx);
            receiver.push(rx);
        }
    }
    to.into_iter().zip(from).map(|(to, from)| Post::new(to, from, parked.clone())).collect()
}

/// Connections that the limit on open files leaves room for: segments and journals need descriptors too.
fn connections_max() -> u32 {
    use nix::sys::resource::{Resource, getrlimit};
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    u32::try_from(files - files / 4).unwrap_or(u32::MAX)
}

/// Host and port that clients of a listener are told to connect to.
type Advertised = (String, u16);

/// What to do about an address that cannot be had.
fn listen_advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => ". Another process has it (`ss -ltnp` tells which): end that one, or set another port",
        ErrorKind::AddrNotAvailable => {
            ". No interface of this machine has this address: set one it has, or none for all"
        }
        ErrorKind::PermissionDenied => ". A port below 1024 needs root or CAP_NET_BIND_SERVICE: set a higher one",
        _ => "",
    }
}

/// Opens every listener; returns the bound addresses and what clients of each are told.
fn listen(io: &mut Uring, config: &BrokerConfig) -> Result<(Vec<SocketAddr>, Vec<Advertised>), Vec<String>> {
    let (mut bound, mut advertised) = (Vec::new(), Vec::new());
    let options = ListenOptions {
        backlog: config.sockets.backlog,
        send_buffer: config.sockets.send_buffer_bytes,
        receive_buffer: config.sockets.receive_buffer_bytes,
    };
    for listener in &config.listeners {
        let address = match listener.host.as_str() {
            "" => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), listener.port),
            host => (host, listener.port)
                .to_socket_addrs()
                .ok()
                .and_then(|mut found| found.next())
                .ok_or_else(|| vec![format!("listeners: the host {host} of {} is not known", listener.name)])?,
        };
        let at = io.listen(address, &options).or_else(|error| match listener.host.as_str() {
            // A machine without IPv6.
            "" => io.listen(SocketAddr::from(([0, 0, 0, 0], listener.port)), &options),
            _ => Err(error),
        });
        let at = at.map_err(|e| {
            vec![format!("listeners: {} cannot listen on {address}: {e}{}", listener.name, listen_advice(&e))]
        })?;
        let host = listener.advertised_host.clone().unwrap_or_else(host_name);
        let port = if listener.advertised_port == 0 { at.port() } else { listener.advertised_port };
        bound.push(at);
        advertised.push((host, port));
    }
    Ok((bound, advertised))
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".into())
}
