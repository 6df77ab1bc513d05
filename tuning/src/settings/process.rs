//! What the process needs of the kernel: version, io_uring, limits, its control group, containers.

use super::at_most;
use crate::entry::{Applied, Entry, Finding, Weight};
use crate::host::Host;

/// The oldest kernel the broker starts on.
const KERNEL_LEAST: (u32, u32) = (6, 1);
/// Since when a file is cut through the ring, and no core waits for it.
const KERNEL_GOOD: (u32, u32) = (6, 9);
/// A connection, a segment or a journal is an open file each.
const FILES_LEAST: u64 = 65_536;
/// A ring and its buffers, where the kernel still counts them as locked memory.
const LOCKED_LEAST: u64 = 8 << 20;

pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "kernel",
        what: "version of the kernel",
        why: "the broker needs 6.1 for its ring; from 6.9 on a file is cut through the ring, too, and no core waits for it",
        source: "io_uring_setup(2), io_uring_prep_ftruncate(3)",
        good: "6.9 or newer; 6.1 at least",
        weight: Weight::Important,
        applied: Applied::ByHand { how: "install a newer kernel", back: "start the older one" },
        check: kernel,
    },
    Entry {
        name: "io_uring",
        what: "kernel.io_uring_disabled: who may make a ring",
        why: "without a ring there is no broker; 1 allows it to members of kernel.io_uring_group only",
        source: "kernel.org: admin-guide/sysctl/kernel, io_uring_disabled",
        good: "0",
        weight: Weight::Important,
        applied: Applied::Written,
        check: |host| at_most(host, "/proc/sys/kernel/io_uring_disabled", 0, 0),
    },
    Entry {
        name: "nofile",
        what: "open files this shell may have, soft and hard limit",
        why: "connections, segments and journals are open files; the broker raises the soft limit to the hard one",
        source: "getrlimit(2); systemd.exec(5), LimitNOFILE=",
        good: "hard limit 65536 or more",
        weight: Weight::Worth,
        applied: Applied::ByHand {
            how: "LimitNOFILE=1048576 in the unit (`ringlog tune systemd`), or nofile in /etc/security/limits.conf",
            back: "remove the line",
        },
        check: |host| limit(host, "Max open files", FILES_LEAST),
    },
    Entry {
        name: "memlock",
        what: "memory this shell may lock, soft and hard limit, bytes",
        why: "the broker locks none; kernels before 5.12 counted rings, and other tools do",
        source: "getrlimit(2); io_uring_setup(2), ENOMEM",
        good: "8 MiB or more",
        weight: Weight::Minor,
        applied: Applied::ByHand { how: "LimitMEMLOCK=infinity in the unit", back: "remove the line" },
        check: |host| limit(host, "Max locked memory", LOCKED_LEAST),
    },
    Entry {
        name: "cgroup-memory",
        what: "memory limit of the control group this shell is in",
        why: "the broker takes an eighth of the machine's memory unless told; it does not look at the group's limit",
        source: "kernel.org: admin-guide/cgroup-v2, memory.max, memory.high",
        good: "no limit, or ringlog.memory.bytes set to fit it twice",
        weight: Weight::Worth,
        applied: Applied::ByHand { how: "set ringlog.memory.bytes, or raise MemoryMax=", back: "set it as it was" },
        check: cgroup_memory,
    },
    Entry {
        name: "cgroup-cpu",
        what: "CPU quota of the control group this shell is in",
        why: "a group that used up its share stands still for the rest of the period, usually 100 ms: that is the tail",
        source: "kernel.org: admin-guide/cgroup-v2, cpu.max; scheduler/sched-bwc",
        good: "no quota: give whole CPUs (ringlog.cores, cpuset) instead",
        weight: Weight::Worth,
        applied: Applied::ByHand { how: "CPUQuota= empty; AllowedCPUs= instead", back: "set the quota again" },
        check: cgroup_cpu,
    },
    Entry {
        name: "container",
        what: "whether this is a container, and which kind",
        why: "settings of the host hold for all of it and are not changed from inside; seccomp profiles often forbid io_uring",
        source: "systemd.io: CONTAINER_INTERFACE; podman and docker mark theirs by a file",
        good: "told only",
        weight: Weight::Minor,
        applied: Applied::Told("it is how the broker is run"),
        check: container,
    },
];

fn kernel(host: &Host) -> Finding {
    let text = match host.read("/proc/sys/kernel/osrelease") {
        Ok(text) => text,
        Err(trouble) => return Finding::of(trouble, "this is no Linux, or /proc is not mounted"),
    };
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= KERNEL_GOOD => Finding::good(text),
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= KERNEL_LEAST => Finding::off(text).at(Weight::Minor),
        (Some(Ok(_)), Some(Ok(_))) => Finding::off(text),
        _ => Finding::unreadable(format!("the version {text:?} is not understood")),
    }
}

/// A line of `/proc/self/limits`.
fn limit(host: &Host, name: &str, least: u64) -> Finding {
    let text = match host.read("/proc/self/limits") {
        Ok(text) => text,
        Err(trouble) => return Finding::of(trouble, "/proc is not mounted"),
    };
    let words: Vec<&str> = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(|rest| rest.split_whitespace().take(2).collect())
        .unwrap_or_default();
    let [soft, hard] = words[..] else {
        return Finding::unreadable(format!("/proc/self/limits has no {name:?}"));
    };
    let is = if soft == hard { soft.to_string() } else { format!("{soft}, hard {hard}") };
    match hard.parse::<u64>() {
        _ if hard == "unlimited" => Finding::good(is),
        Ok(number) => Finding::judged(number >= least, is),
        Err(_) => Finding::unreadable(format!("/proc/self/limits says {hard:?} for {name:?}")),
    }
}

/// The folders of this process's control group that `controller`'s files are in, from its own to the outermost; whether it is
/// version 2; or what is to be said instead.
fn groups(host: &Host, controller: &str) -> Result<(Vec<String>, bool), Finding> {
    let text =
        host.read("/proc/self/cgroup").map_err(|trouble| Finding::of(trouble, "this kernel has no control groups"))?;
    // hierarchy:controllers:path; version 2 is hierarchy 0.
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.splitn(3, ':').collect()).collect();
    let first = lines.iter().find(|l| l.len() == 3 && l[1].split(',').any(|name| name == controller));
    let second = lines.iter().find(|l| l.len() == 3 && l[0] == "0");
    let (base, path, version2) = match (first, second) {
        (Some(line), _) => (format!("/sys/fs/cgroup/{controller}"), line[2], false),
        (None, Some(line)) => ("/sys/fs/cgroup".to_string(), line[2], true),
        (None, None) => return Err(Finding::unreadable(format!("/proc/self/cgroup says {text:?}"))),
    };
    let mut folders = Vec::new();
    let mut path = path.trim_end_matches('/');
    loop {
        folders.push(format!("{base}{path}"));
        match path.rsplit_once('/') {
            Some((parent, _)) => path = parent,
            None => break,
        }
    }
    // In a container the path may be that of the host; what is mounted is its own group.
    folders.retain(|folder| host.exists(folder));
    if folders.is_empty() {
        return Err(Finding::unreadable(format!("{base} has nothing of this process's group")));
    }
    Ok((folders, version2))
}

fn cgroup_memory(host: &Host) -> Finding {
    let (folders, version2) = match groups(host, "memory") {
        Ok(found) => found,
        Err(finding) => return finding,
    };
    let files: &[&str] = if version2 { &["memory.max", "memory.high"] } else { &["memory.limit_in_bytes"] };
    let (mut least, mut read) = (None, false);
    for file in folders.iter().flat_map(|folder| files.iter().map(move |file| format!("{folder}/{file}"))) {
        let Ok(text) = host.read(&file) else { continue };
        read = true;
        // Version 1 says "no limit" by a number near the largest.
        let bytes = text.parse::<u64>().ok().filter(|bytes| *bytes < 1 << 60);
        least = match (least, bytes) {
            (Some(a), Some(b)) if a < b => Some(a),
            (a, b) => b.or(a),
        };
    }
    match least {
        Some(bytes) => Finding::told(format!("{} MiB", bytes >> 20)),
        // The root group has no such file, and no limit.
        None if read || version2 => Finding::good("no limit"),
        None => Finding::unreadable(format!("{}/{}: there is none", folders[0], files[0])),
    }
}

fn cgroup_cpu(host: &Host) -> Finding {
    let (folders, version2) = match groups(host, "cpu") {
        Ok(found) => found,
        Err(finding) => return finding,
    };
    let mut quota: Option<f64> = None;
    let mut read = false;
    for folder in &folders {
        let both = if version2 {
            host.read(&format!("{folder}/cpu.max")).ok()
        } else {
            let part = |file| host.read(&format!("{folder}/{file}")).ok();
            part("cpu.cfs_quota_us").zip(part("cpu.cfs_period_us")).map(|(quota, period)| format!("{quota} {period}"))
        };
        let Some(both) = both else { continue };
        read = true;
        let mut numbers = both.split_whitespace().map(str::parse::<f64>);
        if let (Some(Ok(share)), Some(Ok(period))) = (numbers.next(), numbers.next())
            && share > 0.0
            && period > 0.0
        {
            quota = Some(quota.map_or(share / period, |least| least.min(share / period)));
        }
    }
    match quota {
        Some(cpus) => Finding::off(format!("{cpus:.2} CPUs")),
        None if read || version2 => Finding::good("no quota"),
        None => Finding::unreadable(format!("{}: no quota can be read", folders[0])),
    }
}

fn container(host: &Host) -> Finding {
    for (mark, kind) in [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")] {
        if host.exists(mark) {
            return Finding::told(format!("{kind}: host settings are changed on the host"));
        }
    }
    match host.read("/run/systemd/container") {
        Ok(kind) => return Finding::told(format!("{kind}: host settings are changed on the host")),
        Err(crate::host::Trouble::Unreadable(why)) => return Finding::unreadable(why),
        Err(crate::host::Trouble::Absent) => {}
    }
    if host.exists("/var/run/secrets/kubernetes.io") {
        return Finding::told("kubernetes: host settings are changed on the node");
    }
    Finding::told("no sign of one")
}
