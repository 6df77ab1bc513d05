//! The shim in a broker (`shim.c`), from outside: built, loaded, and its file read while the broker runs.

use ringlog_bench_harness::broker::{Broker, ringlog_binary};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is counted, in the order of the shim's kinds.
pub(crate) const KINDS: [&str; 5] = ["allocations", "reallocations", "releases", "mappings", "futex calls"];

// The layout of the shim's file, in words of eight bytes.
const THREADS: usize = 64;
const SITES: usize = 4096;
const DEPTH: usize = 28;
const THREAD_WORDS: usize = 2 + KINDS.len();
const SITE_WORDS: usize = 5 + DEPTH;
const FIRST_THREAD: usize = 2;
const FIRST_SITE: usize = FIRST_THREAD + THREADS * THREAD_WORDS;
const WORDS: usize = FIRST_SITE + SITES * SITE_WORDS;

/// Call sites shown of a failure, those with the most calls first, and functions shown of each.
const SITES_SHOWN: usize = 40;
const FUNCTIONS_SHOWN: usize = 6;

/// What the shim is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Count, futex calls too.
    Watch = 1,
    /// Note call sites as well.
    Measure = 2,
}

/// What one shard's thread did so far, by kind.
pub(crate) type Counts = [u64; KINDS.len()];

/// The shim's file of one broker.
pub(crate) struct Watch {
    file: File,
}

impl Watch {
    /// Has a broker that is not started yet be started with the shim in it.
    pub(crate) fn load(broker: &mut Broker) -> Watch {
        let dir = broker.log_path().parent().expect("the log lies in a folder").to_path_buf();
        let (shim, path) = (build(&dir), dir.join("counts"));
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
        file.set_len(WORDS as u64 * 8).expect("room");
        let text = |path: PathBuf| path.to_str().expect("a UTF-8 path").to_string();
        let env = [("LD_PRELOAD", text(shim)), ("RINGLOG_COUNTING", text(path))];
        broker.options_mut().env.extend(env.map(|(name, value)| (name.to_string(), value)));
        Watch { file }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.file.write_all_at(&(phase as u64).to_le_bytes(), 0).expect("written");
    }

    fn words(&self, from: usize, count: usize) -> Vec<u64> {
        let mut bytes = vec![0; count * 8];
        self.file.read_exact_at(&mut bytes, from as u64 * 8).expect("the file has its length");
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes"))).collect()
    }

    /// The shards' threads: their places in the file, and whether their futex calls are caught (1; 0 not yet; or an error).
    /// Core 0 is the main thread.
    pub(crate) fn shards(&self, pid: u32) -> Vec<(usize, i64)> {
        let threads = self.words(FIRST_THREAD, THREADS * THREAD_WORDS);
        let is_shard = |tid: u64| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).unwrap_or_default();
            tid == u64::from(pid) || name.starts_with("core ")
        };
        let threads = threads.chunks_exact(THREAD_WORDS).enumerate();
        threads.filter(|(_, t)| t[0] != 0 && is_shard(t[0])).map(|(at, t)| (at, t[1] as i64)).collect()
    }

    /// What a thread did so far.
    pub(crate) fn counts(&self, thread: usize) -> Counts {
        let words = self.words(FIRST_THREAD + thread * THREAD_WORDS + 2, KINDS.len());
        words.try_into().expect("as many as asked for")
    }

    /// Every call site of these threads noted while measuring, in words.
    pub(crate) fn report(&self, pid: u32, threads: &[usize]) -> String {
        let words = self.words(FIRST_SITE, SITES * SITE_WORDS);
        let mut sites: Vec<&[u64]> =
            words.chunks_exact(SITE_WORDS).filter(|s| s[1] > 0 && threads.contains(&(s[3] as usize))).collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site[1]));
        let names = Names::of(pid, sites.iter().take(SITES_SHOWN).flat_map(|site| &site[5..]).copied());
        let mut out = String::new();
        for site in sites.iter().take(SITES_SHOWN) {
            let (count, bytes, kind) = (site[1], site[2], KINDS[site[4] as usize]);
            let _ = writeln!(out, "{count} {kind}, {bytes} bytes, thread {}:", site[3]);
            let lines = site[5..].iter().filter_map(|frame| names.0.get(frame)).flatten();
            for line in lines.filter(|line| is_ours(line)).take(FUNCTIONS_SHOWN) {
                let _ = writeln!(out, "    {line}");
            }
        }
        let _ = writeln!(out, "{} call sites in all", sites.len());
        out
    }
}

/// Where the repository lies: its files are shown from there.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../");

/// A function of ours: what it calls in the standard library and in other crates says less.
fn is_ours(line: &str) -> bool {
    line.contains(" at shard/") || line.contains(" at engine/") || line.contains(" at net/")
}

/// Compiles the shim into `dir`.
fn build(dir: &Path) -> PathBuf {
    let shim = dir.join("shim.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/counting/shim.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&shim).arg(source);
    let status = cc.status().expect("a C compiler");
    assert!(status.success(), "{cc:?}: {status}");
    shim
}

/// Functions and lines by return address, innermost first, as `addr2line` tells them.
struct Names(BTreeMap<u64, Vec<String>>);

impl Names {
    fn of(pid: u32, frames: impl Iterator<Item = u64>) -> Names {
        let binary = ringlog_binary();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let ranges = maps.lines().filter(|line| line.ends_with(binary.to_str().expect("a UTF-8 path")));
        let ranges: Vec<(u64, u64)> = ranges
            .filter_map(|line| line.split(' ').next()?.split_once('-'))
            .filter_map(|(from, to)| Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?)))
            .collect();
        let Some((base, end)) = ranges.first().zip(ranges.last()).map(|(first, last)| (first.0, last.1)) else {
            return Names(BTreeMap::new());
        };
        let mut frames: Vec<u64> = frames.filter(|frame| (base..end).contains(frame)).collect();
        frames.sort_unstable();
        frames.dedup();
        // A return address is behind its call.
        let calls = frames.iter().map(|frame| format!("{:#x}", frame - base - 1));
        let told = Command::new("addr2line").args(["-Cfiape"]).arg(binary).args(calls).output();
        let Ok(told) = told else {
            return Names(frames.iter().map(|f| (*f, vec![format!("{:#x}", f - base)])).collect());
        };
        let root = std::fs::canonicalize(ROOT).expect("the repository is there");
        let told = String::from_utf8_lossy(&told.stdout).replace(&format!("{}/", root.display()), "");
        let mut names: Vec<Vec<String>> = Vec::new();
        for line in told.lines() {
            match line.strip_prefix(" (inlined by) ") {
                Some(outer) => names.last_mut().expect("a first line comes first").push(outer.to_string()),
                None => names.push(vec![line.split_once(": ").map_or(line, |(_, rest)| rest).to_string()]),
            }
        }
        Names(frames.into_iter().zip(names).collect())
    }
}
