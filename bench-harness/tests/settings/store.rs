//! Settings of directories, journals, memory and cores, and the node's own limits.

use super::client::{BROKER, Client, NOBODY, TOPIC, broker, disk, files, options, values};
use super::start::refused_by;
use ringlog_bench_harness::broker::{Broker, target_dir};
use ringlog_bench_harness::peer::batch;
use ringlog_bench_harness::wait::until;
use std::path::PathBuf;
use std::process::Command;

const MIB: u64 = 1 << 20;

/// Partitions are spread over the directories, and served after a restart; `log.dir` is used where `log.dirs` is not given.
#[test]
pub(crate) fn directories() {
    let home = target_dir().join("tmp").join(format!("dirs-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&home);
    let [a, b, m] = ["a", "b", "m"].map(|name| home.join(name));
    let dirs = [format!("log.dirs={},{}", a.display(), b.display()), format!("metadata.log.dir={}", m.display())];
    let mut broker = broker("dirs", &[&dirs[0], &dirs[1], "ringlog.cores=0,0", "ringlog.destage.bytes=4096"]);
    let mut client = Client::of(&broker);
    client.create("t", 4, &[]);
    for partition in 0..4 {
        client.put("t", partition, 30_000);
    }
    let held = |client: &mut Client| -> Vec<(String, usize)> {
        let dirs = client.log_dirs();
        assert!(dirs.iter().all(|(code, ..)| *code == 0), "{dirs:?}");
        dirs.into_iter()
            .map(|(_, path, parts)| (path, parts.iter().filter(|(p, _)| p.starts_with("t-")).count()))
            .collect()
    };
    let told = held(&mut client);
    for dir in [&a, &b] {
        assert!(told.contains(&(dir.display().to_string(), 2)), "{told:?}");
        until("records reach the directory", || files(&dir.join("t"), ".log").len() == 2);
    }
    until("metadata has its own", || files(&m, ".rlj").len() == 4);
    assert!(files(&m.join("t"), ".log").is_empty());
    broker.kill9();
    broker.launch();
    let mut client = Client::of(&broker);
    assert_eq!(held(&mut client), told);
    for partition in 0..4 {
        assert_eq!(client.offset("t", partition, -1), 1);
    }
    // Of a directory that is left out, what was in it is told.
    broker.terminate();
    broker.options_mut().overrides.retain(|o| !o.starts_with("log.dirs"));
    broker.options_mut().overrides.push(format!("log.dirs={}", a.display()));
    broker.launch();
    until("what is missing is told", || broker.log().contains("partitions not served: 2,"));
    // One with the metadata is not started without.
    broker.terminate();
    drop(broker);
    let listener = format!("listeners=PLAINTEXT://127.0.0.1:{}", ringlog_bench_harness::broker::free_port());
    let program = [ringlog_bench_harness::broker::ringlog_binary().to_str().expect("text")];
    let alone = format!("log.dir={}", a.display());
    let said = refused_by(&program, &home, &["--override", &listener, "--override", &alone]);
    assert!(said.contains("is metadata.log.dir or log.dirs missing a directory?"), "{said}");
    std::fs::remove_dir_all(home).expect("ours");
}

/// Another number of cores takes over what is there, and two shards on one CPU are two shards.
#[test]
pub(crate) fn cores() {
    let mut broker = broker("cores", &["ringlog.cores=0"]);
    assert_eq!(files(&broker.data_dir(), ".rlj").len(), 2);
    let mut client = Client::of(&broker);
    client.create("t", 8, &[]);
    let mut expected = 0;
    for cores in ["0", "0,0", "0,0,0", "0"] {
        broker.options_mut().overrides.retain(|o| !o.starts_with("ringlog.cores"));
        broker.options_mut().overrides.push(format!("ringlog.cores={cores}"));
        broker.kill9();
        broker.launch();
        let shards = cores.split(',').count();
        until("journals of the shards alone", || files(&broker.data_dir(), ".rlj").len() == 2 * shards);
        let mut client = Client::of(&broker);
        for partition in 0..8 {
            assert_eq!(client.offset("t", partition, -1), expected);
            client.put("t", partition, 1000);
        }
        expected += 1;
        client.alter(TOPIC, "t", "retention.bytes", Some(&(expected * 1_000_000).to_string()));
        assert_eq!(client.shown(TOPIC, "t", "retention.bytes").value, (expected * 1_000_000).to_string());
    }
}

/// The first bytes of a partition's only segment file, if it has one.
fn beginning(broker: &Broker, topic: &str) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = vec![0; 64];
    let found = files(&broker.data_dir().join(topic), ".log");
    let read = found.first().and_then(|(path, _)| std::fs::File::open(path).ok()?.read(&mut bytes).ok());
    bytes.truncate(read.unwrap_or(0));
    bytes
}

/// Journals have their size; what is small waits in them for the piece it is written in, what is large goes straight on.
#[test]
pub(crate) fn journals() {
    let sizes = ["ringlog.journal.bytes=33554432", "ringlog.destage.bytes=16777216", "ringlog.cores=0,0"];
    let late = broker("journals-late", &[sizes[0], sizes[1], sizes[2], "ringlog.journal.direct.min.bytes=16777216"]);
    let journals: u64 = files(&late.data_dir(), ".rlj").iter().map(|(_, len)| len).sum();
    assert_eq!(journals, 2 * 33_554_432, "for each shard");
    let early = broker("journals-early", &["ringlog.destage.bytes=4096"]);
    let direct = broker("journals-direct", &[sizes[1], "ringlog.journal.direct.min.bytes=4096"]);
    let in_file = |broker: &Broker| beginning(broker, "t").iter().any(|byte| *byte != 0);
    for broker in [&late, &early, &direct] {
        let mut client = Client::of(broker);
        client.create("t", 1, &[]);
        for _ in 0..20 {
            client.put("t", 0, 15_000);
        }
    }
    until("small pieces are written", || in_file(&early));
    until("large appends are written", || {
        Client::of(&direct).put("t", 0, 15_000);
        in_file(&direct)
    });
    assert!(!in_file(&late), "everything is in the journal");
    let got = Client::of(&late).fetch("t", 0, 0, 1 << 20);
    assert_eq!((got.code, got.high_watermark), (0, 20));
}

/// Memory is bounded: more than it holds passes through, and a request it can never hold is refused.
#[test]
pub(crate) fn memory() {
    let mut broker = broker("memory", &["ringlog.memory.bytes=67108864", "ringlog.cores=0"]);
    let mut client = Client::of(&broker);
    client.create("t", 1, &[("max.message.bytes", "50000000"), ("segment.bytes", "16777216")]);
    let before = broker.usage().peak_rss;
    for _ in 0..200 {
        client.put("t", 0, MIB as usize);
    }
    let grown = broker.usage().peak_rss - before;
    assert!(grown < 160 * MIB, "{} MiB for 200 MiB written", grown / MIB);
    let got = client.fetch("t", 0, 0, 1 << 20);
    assert!(got.code == 0 && got.high_watermark == 200);
    client.0.send_batch("t", 0, -1, &batch(NOBODY, -1, &values(1, 40 << 20))).ok();
    assert!(client.is_closed());
    broker.assert_alive();
    Client::of(&broker).put("t", 0, 10);
}

/// Topics and partitions beyond the bounds are refused, and make room when deleted.
#[test]
pub(crate) fn topics_and_partitions() {
    let broker = broker("bounds", &["ringlog.max.topics=3", "ringlog.max.partitions=10"]);
    let mut client = Client::of(&broker);
    client.create("a", 4, &[]);
    assert_ne!(client.try_create("large", 7, &[]), 0);
    client.create("b", 4, &[]);
    client.create("c", 2, &[]);
    assert_ne!(client.try_create("d", 1, &[]), 0);
    assert_eq!(client.delete("a"), 0);
    client.create("d", 1, &[]);
}

/// The metadata log stays small however much is changed, and says the same after a crash.
#[test]
pub(crate) fn metadata_log() {
    let bounds = ["metadata.log.max.record.bytes.between.snapshots=4096", "log.segment.delete.delay.ms=0"];
    let mut broker = broker("metadata", &[bounds[0], bounds[1], "ringlog.destage.bytes=4096", "ringlog.cores=0,0"]);
    let mut client = Client::of(&broker);
    client.create("t", 2, &[]);
    let folder = broker.data_dir().join("__cluster_metadata");
    for k in 1..400 {
        client.alter(TOPIC, "t", "retention.bytes", Some(&(k * 1000).to_string()));
    }
    broker.kill9();
    broker.launch();
    assert_eq!(Client::of(&broker).shown(TOPIC, "t", "retention.bytes").value, "399000");
    // A start brings everything into segments: two snapshots and what came between; the first changes are not among it.
    let left = files(&folder, ".log");
    assert!(!left.is_empty() && left.iter().all(|(path, _)| !path.ends_with("00000000000000000000.log")), "{left:?}");
    assert!(disk(&folder) <= 64 << 10, "400 changes would be more: {left:?}");
}

/// A small file system of its own; unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(name: &str, size: &str) -> Mount {
        let at = target_dir().join("tmp").join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&at).expect("target is writable");
        let image = at.with_extension("img");
        let run = |words: &[&str]| {
            let done = Command::new(words[0]).args(&words[1..]).output().expect("a program");
            assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        };
        let (image, dir) = (image.to_str().expect("text"), at.to_str().expect("text"));
        let _ = std::fs::remove_file(image);
        run(&["truncate", "-s", size, image]);
        run(&["mkfs.ext4", "-q", "-m", "0", image]);
        run(&["mount", "-o", "loop", image, dir]);
        Mount(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).status();
        let _ = std::fs::remove_file(self.0.with_extension("img"));
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// With less room than the reserve writes are refused, reads and deletes go on; with room again writes do.
#[test]
pub(crate) fn disk_reserve() {
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("/proc")) == 0;
    // Only root may mount; another user fills the reserve by its size instead.
    let mount = root.then(|| Mount::new("reserve", "256M"));
    let Some(mount) = mount else { return reserve_of_everything() };
    let data = mount.0.join("data");
    let mut settings = options(&["ringlog.disk.reserve.bytes=67108864", "ringlog.cores=0,0"]);
    settings.overrides.push(format!("log.dirs={}", data.display()));
    let broker = Broker::start_with("reserve", settings);
    let mut client = Client::of(&broker);
    client.create("t", 2, &[]);
    client.create("gone", 2, &[]);
    let filler = mount.0.join("filler");
    let put = |client: &mut Client| -> Vec<i16> {
        let bytes = batch(NOBODY, -1, &values(1, 1000));
        (0..2).map(|partition| client.try_produce("t", partition, &bytes).err().unwrap_or(0)).collect()
    };
    assert_eq!(put(&mut client), [0, 0]);
    let free = |dir: &PathBuf| {
        let found = nix::sys::statvfs::statvfs(dir).expect("a mount");
        found.blocks_available() * found.fragment_size()
    };
    let size = free(&mount.0) - 32 * MIB;
    assert!(Command::new("fallocate").args(["-l", &size.to_string()]).arg(&filler).status().unwrap().success());
    until("both are refused", || put(&mut client) == [56, 56]);
    until("it is told how little is left", || client.room().1 < 33 << 20);
    assert!(client.fetch("t", 0, 0, 1000).high_watermark > 0, "reads go on");
    assert_eq!(client.delete("gone"), 0, "deletes go on");
    client.coordinated("g");
    assert_eq!(client.commit("g", "t", 1, "", -1), 0, "a reader keeps its place");
    client.alter(BROKER, "", "log.retention.ms", Some("1000000"));
    std::fs::remove_file(&filler).expect("ours");
    until("both are taken", || put(&mut client) == [0, 0]);
    until("it is told that there is room", || client.room().1 > 65 << 20);
    assert!(client.room().0 < 257 << 20);
    drop(broker);
    std::fs::remove_dir_all(data).expect("ours");
}

/// A reserve larger than any disk: nothing is written from the start, and what is not a write is served.
fn reserve_of_everything() {
    let broker = broker("reserve-all", &["ringlog.disk.reserve.bytes=9223372036854775807"]);
    let mut client = Client::of(&broker);
    client.create("t", 1, &[]);
    let bytes = batch(NOBODY, -1, &values(1, 10));
    assert_eq!(client.try_produce("t", 0, &bytes), Err(56));
    assert_eq!(client.fetch("t", 0, 0, 1000).code, 0);
    assert_eq!(client.delete("t"), 0);
}
