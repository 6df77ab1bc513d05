//! The disk under the log: queue, cache, file system, mount.

use super::plain;
use crate::entry::{Applied, Change, Entry, Finding, Form, Weight, gathered};
use crate::host::{Host, Trouble};

pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "file-system",
        what: "the file system the log directory is on",
        why: "on ext4 and XFS, which write in place, one flush makes a turn's writes to all files durable; elsewhere each file needs its own",
        source: "ARCHITECTURE.md of Ringlog, Dir::one_flush_covers; ext4(5), xfs(5)",
        good: "ext4 or xfs",
        weight: Weight::Worth,
        applied: Applied::ByHand {
            how: "make one for the log: mkfs.xfs or mkfs.ext4",
            back: "mount the old one again",
        },
        check: file_system,
    },
    Entry {
        name: "mount-options",
        what: "how the file system of the log directory is mounted",
        why: "without barriers an acknowledged record does not outlive a power cut; data=journal refuses O_DIRECT; discard trims in each commit of the file system, while flushes wait",
        source: "ext4(5); xfs(5); mount(8)",
        good: "relatime or noatime; no nobarrier, data=journal, sync, discard",
        weight: Weight::Minor,
        applied: Applied::ByHand {
            how: "edit /etc/fstab, and mount -o remount; instead of discard enable fstrim.timer",
            back: "the line as it was, and remount",
        },
        check: mount_options,
    },
    Entry {
        name: "alignment",
        what: "where the partition begins, and the blocks of the device",
        why: "a partition that does not begin at a physical block makes the device read before it writes, for each write",
        source: "kernel.org: ABI/stable/sysfs-block, alignment_offset, physical_block_size",
        good: "begins at a multiple of 4096 bytes and of the physical block",
        weight: Weight::Worth,
        applied: Applied::ByHand { how: "partition again, from 1 MiB on: all data is lost", back: "none" },
        check: alignment,
    },
    Entry {
        name: "write-cache",
        what: "whether the device has a cache that a flush must empty, and whether it can write through it (FUA)",
        why: "it decides what a flush costs; `ringlog tune disk` measures it",
        source: "kernel.org: block/writeback_cache_control; ABI/stable/sysfs-block, write_cache, fua",
        good: "told only: a device that loses power safely says write through",
        weight: Weight::Minor,
        applied: Applied::Told("a device that is wrongly called write through loses data"),
        check: write_cache,
    },
    Entry {
        name: "io-scheduler",
        what: "the scheduler of the device's queue",
        why: "the broker's writes are large, few and in order; a scheduler only holds them back, but where a disk turns",
        source: "kernel.org: block/switching-sched, block/blk-mq",
        good: "none; mq-deadline on a disk that turns",
        weight: Weight::Worth,
        applied: Applied::Written,
        check: scheduler,
    },
    Entry {
        name: "rq-affinity",
        what: "which CPU a request is completed on",
        why: "2: on the CPU that asked, where its ring is; 1: on one of its group; 0: anywhere",
        source: "kernel.org: block/queue-sysfs, rq_affinity",
        good: "2",
        weight: Weight::Minor,
        applied: Applied::Written,
        check: |host| each_disk(host, "rq_affinity", |is, _| (is < 2).then_some(2)),
    },
    Entry {
        name: "nomerges",
        what: "whether the kernel looks for requests that could be one",
        why: "the broker's are whole already, and looking costs CPU; a disk that turns gains by it",
        source: "kernel.org: block/queue-sysfs, nomerges",
        good: "0, or 2 where CPU is short and the disk is an SSD",
        weight: Weight::Minor,
        applied: Applied::OnRequest(
            "other programs on the disk may gain by merges; measure with `ringlog tune disk` before and after",
        ),
        check: |host| each_disk(host, "nomerges", |is, rotates| (is < 2 && !rotates).then_some(2)),
    },
    Entry {
        name: "read-ahead",
        what: "how far the kernel reads ahead of a file that is read through the page cache",
        why: "consumers that several of them read an old segment are sent it from the page cache; without it each page is a request",
        source: "kernel.org: ABI/stable/sysfs-block, read_ahead_kb",
        good: "128 KiB or more",
        weight: Weight::Minor,
        applied: Applied::Written,
        check: |host| each_disk(host, "read_ahead_kb", |is, _| (is < 128).then_some(128)),
    },
];

const ALL_DISKS: &str = "no disk with a queue of its own is seen";

/// A mount: what holds the log directory.
struct Mount {
    device: String,
    kind: String,
    source: String,
    options: Vec<String>,
}

/// The mount of the log directory, or what is to be said instead.
fn mount(host: &Host) -> Result<Mount, Finding> {
    let Some(dir) = host.data_dir() else {
        return Err(Finding::unreadable("which directory? --data-dir DIR"));
    };
    let text = host.read("/proc/self/mountinfo").map_err(|trouble| match trouble {
        Trouble::Absent => Finding::unreadable("/proc/self/mountinfo is not there"),
        Trouble::Unreadable(why) => Finding::unreadable(why),
    })?;
    let mut best: Option<(usize, Mount)> = None;
    for line in text.lines() {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (before, after): (Vec<&str>, Vec<&str>) = (before.split(' ').collect(), after.split(' ').collect());
        let ([_, _, device, _, point, options, ..], [kind, source, more]) = (&before[..], &after[..]) else { continue };
        let point = point.replace("\\040", " ");
        let depth = std::path::Path::new(&point).components().count();
        // Of two mounts at one place the later one is seen.
        if dir.starts_with(&point) && best.as_ref().is_none_or(|(least, _)| depth >= *least) {
            let options = options.split(',').chain(more.split(',')).filter(|o| is_ours_to_show(o));
            let mut options: Vec<String> = options.map(str::to_string).collect();
            options.sort();
            options.dedup();
            let (device, kind, source) = (device.to_string(), kind.to_string(), source.to_string());
            best = Some((depth, Mount { device, kind, source, options }));
        }
    }
    best.map(|(_, mount)| mount).ok_or_else(|| Finding::unreadable("/proc/self/mountinfo names no mount that holds it"))
}

/// Options may name hosts, users and folders: of those with a value, only these are anybody's business.
fn is_ours_to_show(option: &str) -> bool {
    let named = ["data", "barrier", "commit", "errors", "stripe", "sunit", "swidth", "logbufs", "logbsize", "compress"];
    option.split_once('=').is_none_or(|(name, _)| named.contains(&name))
}

/// A block device: its folder in `/sys`, and that of the disk whose part it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    pub name: String,
    /// The folder with `queue` in it.
    pub folder: String,
    /// The folder of the partition, if it is one.
    pub part: Option<String>,
}

/// The block device under the log directory.
pub fn device(host: &Host) -> Result<Block, Finding> {
    let mount = mount(host)?;
    let named = || {
        let name = mount.source.strip_prefix("/dev/")?;
        host.resolve(&format!("/sys/class/block/{name}"))
    };
    // A file system over several devices has a number that is none's; its source is one of them.
    let folder = host.resolve(&format!("/sys/dev/block/{}", mount.device)).or_else(named);
    let Some(folder) = folder else {
        return Err(Finding::unreadable(format!("{} has no block device in /sys", mount.kind)));
    };
    Ok(block(host, folder))
}

fn block(host: &Host, folder: String) -> Block {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
    match folder.rsplit_once('/') {
        Some((disk, _)) if host.exists(&format!("{folder}/partition")) => {
            Block { name: last(disk), folder: disk.to_string(), part: Some(folder) }
        }
        _ => Block { name: last(&folder), folder, part: None },
    }
}

/// The disks whose queues matter: that under the log directory with those it is made of, or without one all real ones.
fn disks(host: &Host) -> Result<Vec<Block>, Finding> {
    let mut found: Vec<Block> = Vec::new();
    if host.data_dir().is_some() {
        let mut open = vec![device(host)?];
        while let Some(disk) = open.pop() {
            for slave in host.list(&format!("{}/slaves", disk.folder)).unwrap_or_default() {
                open.extend(host.resolve(&format!("{}/slaves/{slave}", disk.folder)).map(|folder| block(host, folder)));
            }
            if !found.contains(&disk) {
                found.push(disk);
            }
        }
    } else {
        let names = host.list("/sys/block").map_err(|trouble| Finding::of(trouble, ALL_DISKS))?;
        let folders = names.into_iter().map(|name| format!("/sys/block/{name}"));
        found.extend(folders.filter(|f| host.exists(&format!("{f}/device"))).map(|folder| block(host, folder)));
    }
    if found.is_empty() { Err(Finding::absent(ALL_DISKS)) } else { Ok(found) }
}

/// A number in each disk's queue; `to` says what it is to become, if it is not good, given whether the disk turns.
fn each_disk(host: &Host, file: &str, to: fn(i64, bool) -> Option<i64>) -> Finding {
    let disks = match disks(host) {
        Ok(disks) => disks,
        Err(finding) => return finding,
    };
    let (mut shown, mut changes) = (Vec::new(), Vec::new());
    for disk in disks {
        let path = format!("{}/queue/{file}", disk.folder);
        let is = match host.number(&path) {
            Ok(is) => is,
            // What is made of other disks, or of memory, may have no such queue.
            Err(Trouble::Absent) => continue,
            Err(Trouble::Unreadable(why)) => return Finding::unreadable(why),
        };
        let rotates = host.number(&format!("{}/queue/rotational", disk.folder)) == Ok(1);
        changes.extend(to(is, rotates).map(|to| plain(&path, &is.to_string(), &to.to_string())));
        shown.push((disk.name, is.to_string()));
    }
    if shown.is_empty() {
        return Finding::absent(ALL_DISKS);
    }
    Finding::judged(changes.is_empty(), gathered(&shown)).with(changes)
}

fn scheduler(host: &Host) -> Finding {
    let disks = match disks(host) {
        Ok(disks) => disks,
        Err(finding) => return finding,
    };
    let (mut shown, mut changes) = (Vec::new(), Vec::new());
    for disk in disks {
        let path = format!("{}/queue/scheduler", disk.folder);
        let text = match host.read(&path) {
            Ok(text) => text,
            Err(Trouble::Absent) => continue,
            Err(Trouble::Unreadable(why)) => return Finding::unreadable(why),
        };
        let is = Form::Choice.value(&text);
        let want = match host.number(&format!("{}/queue/rotational", disk.folder)) {
            Ok(1) => "mq-deadline",
            Ok(_) => "none",
            Err(trouble) => return Finding::of(trouble, "the disk does not say whether it turns"),
        };
        let offered = text.split_whitespace().any(|word| word.trim_matches(['[', ']']) == want);
        if is != want && offered {
            changes.push(Change { path, form: Form::Choice, old: is.clone(), new: want.into() });
        }
        shown.push((disk.name, is));
    }
    if shown.is_empty() {
        return Finding::absent(ALL_DISKS);
    }
    Finding::judged(changes.is_empty(), gathered(&shown)).with(changes)
}

fn write_cache(host: &Host) -> Finding {
    let disks = match disks(host) {
        Ok(disks) => disks,
        Err(finding) => return finding,
    };
    let mut shown = Vec::new();
    for disk in disks {
        let read = |file: &str| host.read(&format!("{}/queue/{file}", disk.folder));
        match (read("write_cache"), read("fua")) {
            (Ok(cache), Ok(fua)) => {
                let fua = if fua == "0" { "no FUA" } else { "FUA" };
                shown.push((disk.name.clone(), format!("{cache}, {fua}")));
            }
            (Err(Trouble::Unreadable(why)), _) | (_, Err(Trouble::Unreadable(why))) => return Finding::unreadable(why),
            _ => {}
        }
    }
    if shown.is_empty() { Finding::absent(ALL_DISKS) } else { Finding::told(gathered(&shown)) }
}

fn file_system(host: &Host) -> Finding {
    let kind = match mount(host) {
        Ok(mount) => mount.kind,
        Err(finding) => return finding,
    };
    match kind.as_str() {
        "ext4" | "xfs" => Finding::good(kind),
        "tmpfs" | "ramfs" => Finding::off(format!("{kind}: nothing outlives a restart")).at(Weight::Important),
        "overlay" | "nfs" | "nfs4" | "cifs" | "9p" | "virtiofs" | "fuse" => {
            Finding::off(format!("{kind}: what a flush does there is not known")).at(Weight::Important)
        }
        _ => Finding::off(format!("{kind}: each file is flushed by itself")),
    }
}

fn mount_options(host: &Host) -> Finding {
    let mount = match mount(host) {
        Ok(mount) => mount,
        Err(finding) => return finding,
    };
    let has = |names: &[&str]| -> Vec<String> {
        mount.options.iter().filter(|option| names.contains(&option.as_str())).cloned().collect()
    };
    let unsafe_ones = has(&["nobarrier", "barrier=0", "data=journal", "norecovery"]);
    let slow = has(&["sync", "dirsync", "strictatime", "discard"]);
    let is = format!("{}: {}", mount.kind, mount.options.join(","));
    match (unsafe_ones.is_empty(), slow.is_empty()) {
        (false, _) => Finding::off(format!("{} ({is})", unsafe_ones.join(", "))).at(Weight::Important),
        (true, false) => Finding::off(format!("{} ({is})", slow.join(", "))),
        (true, true) => Finding::good(is),
    }
}

fn alignment(host: &Host) -> Finding {
    let disk = match device(host) {
        Ok(disk) => disk,
        Err(finding) => return finding,
    };
    let physical = match host.number(&format!("{}/queue/physical_block_size", disk.folder)) {
        Ok(bytes) => bytes,
        Err(trouble) => return Finding::of(trouble, "the device does not say its blocks"),
    };
    // In sectors of 512 bytes, whatever the device's.
    let start = match &disk.part {
        None => 0,
        Some(part) => match host.number(&format!("{part}/start")) {
            Ok(sectors) => sectors * 512,
            Err(trouble) => return Finding::of(trouble, "the partition does not say where it begins"),
        },
    };
    let whole = start % 4096 == 0 && start % physical.max(512) == 0;
    Finding::judged(whole, format!("begins at {start}, blocks of {physical} bytes"))
}
