//! A process with its threads and children, or a control group, counted from `/proc` and `/sys/fs/cgroup`. Kernel workers of an
//! io_uring are threads of the process, so that their time is in it.

use super::device::DeviceCounts;
use crate::bench::result::Usage;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Microseconds of a tick in which `/proc` counts, whatever the kernel's own is.
const TICK_US: u64 = 10_000;

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A process and those it started.
    Pid(u32),
    /// A folder of `/sys/fs/cgroup`: processor time and memory as it tells them, the rest of the processes in it.
    Group(PathBuf),
}

/// One thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Thread {
    name: String,
    run_us: u64,
    voluntary: u64,
    involuntary: u64,
}

/// Counted since the processes started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    user_us: u64,
    system_us: u64,
    threads: BTreeMap<u32, Thread>,
    written_bytes: u64,
    read_bytes: u64,
    pub rss_bytes: u64,
    peak_rss_bytes: u64,
}

/// A process and what it started, children's children included.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut k = 0;
    while k < all.len() {
        for task in numbers_in(Path::new(&format!("/proc/{}/task", all[k]))) {
            let text = fs::read_to_string(format!("/proc/{}/task/{task}/children", all[k])).unwrap_or_default();
            all.extend(text.split_whitespace().filter_map(|p| p.parse::<u32>().ok()));
        }
        k += 1;
    }
    all
}

/// Processes of a control group and those below it.
fn members(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut all: Vec<u32> = text.lines().filter_map(|p| p.parse().ok()).collect();
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            all.extend(members(&entry.path()));
        }
    }
    all
}

impl Who {
    /// The processes now.
    pub fn pids(&self) -> Vec<u32> {
        match self {
            Who::Pid(pid) => family(*pid),
            Who::Group(group) => members(group),
        }
    }
}

fn numbers_in(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// The number on the line `name` of a text of lines `name value`.
fn named(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.trim_start_matches([':', ' ', '\t']).split_whitespace().next()?.parse().ok()
}

/// Counts of everything that `who` is now. An error: there is no such process or group.
pub fn counts(who: &Who) -> io::Result<Counts> {
    let mut sum = Counts::default();
    match who {
        Who::Pid(pid) => {
            add_process(*pid, &mut sum)?;
            // A child may end while it is looked at.
            family(*pid).into_iter().skip(1).for_each(|child| drop(add_process(child, &mut sum)));
        }
        Who::Group(group) => {
            let cpu = fs::read_to_string(group.join("cpu.stat"))?;
            members(group).into_iter().for_each(|pid| drop(add_process(pid, &mut sum)));
            sum.user_us = named(&cpu, "user_usec").unwrap_or(sum.user_us);
            sum.system_us = named(&cpu, "system_usec").unwrap_or(sum.system_us);
            let peak = fs::read_to_string(group.join("memory.peak")).ok().and_then(|t| t.trim().parse().ok());
            sum.peak_rss_bytes = peak.unwrap_or(sum.peak_rss_bytes);
        }
    }
    Ok(sum)
}

fn add_process(pid: u32, sum: &mut Counts) -> io::Result<()> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (user, system) = ticks(&stat).ok_or_else(|| io::Error::other("/proc/PID/stat has another form"))?;
    sum.user_us += user * TICK_US;
    sum.system_us += system * TICK_US;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    sum.rss_bytes += named(&status, "VmRSS").unwrap_or(0) * 1024;
    sum.peak_rss_bytes += named(&status, "VmHWM").unwrap_or(0) * 1024;
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    sum.written_bytes += named(&io, "write_bytes").unwrap_or(0);
    sum.read_bytes += named(&io, "read_bytes").unwrap_or(0);
    for id in numbers_in(Path::new(&format!("/proc/{pid}/task"))) {
        if let Some(thread) = thread(pid, id) {
            sum.threads.insert(id, thread);
        }
    }
    Ok(())
}

/// User and system ticks of a `stat` line. The name in brackets may hold spaces: fields are counted behind it.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let rest: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((rest.get(11)?.parse().ok()?, rest.get(12)?.parse().ok()?))
}

fn thread(pid: u32, id: u32) -> Option<Thread> {
    let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/task/{id}/{name}")).ok();
    let status = file("status")?;
    // Nanoseconds on a processor come first; a kernel may be built without them.
    let nanos = file("schedstat").and_then(|t| t.split_whitespace().next()?.parse::<u64>().ok());
    let run_us = match nanos {
        Some(nanos) => nanos / 1000,
        None => file("stat").and_then(|t| ticks(&t)).map_or(0, |(user, system)| (user + system) * TICK_US),
    };
    Some(Thread {
        name: file("comm")?.trim().to_string(),
        run_us,
        voluntary: named(&status, "voluntary_ctxt_switches").unwrap_or(0),
        involuntary: named(&status, "nonvoluntary_ctxt_switches").unwrap_or(0),
    })
}

impl Counts {
    /// Run time of all threads since an earlier look; of one that began since, all of it.
    pub fn run_us_since(&self, before: &Counts) -> u64 {
        self.grown(before).map(|(_, thread)| thread.run_us).sum()
    }

    fn grown<'a>(&'a self, before: &'a Counts) -> impl Iterator<Item = (&'a str, Thread)> {
        self.threads.iter().map(|(id, now)| {
            let none = Thread::default();
            let then = before.threads.get(id).unwrap_or(&none);
            let grown = Thread {
                name: String::new(),
                run_us: now.run_us.saturating_sub(then.run_us),
                voluntary: now.voluntary.saturating_sub(then.voluntary),
                involuntary: now.involuntary.saturating_sub(then.involuntary),
            };
            (now.name.as_str(), grown)
        })
    }

    /// What was used since an earlier look. Threads that ended in between are in the processor time, not among the threads.
    pub fn since(&self, before: &Counts, device: Option<DeviceCounts>) -> Usage {
        let mut usage = Usage {
            cpu_user_us: self.user_us.saturating_sub(before.user_us),
            cpu_system_us: self.system_us.saturating_sub(before.system_us),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            read_bytes: self.read_bytes.saturating_sub(before.read_bytes),
            device_written_bytes: device.map(|d| d.written_bytes),
            device_flushes: device.and_then(|d| d.flushes),
            rss_bytes: self.rss_bytes,
            peak_rss_bytes: self.peak_rss_bytes,
            ..Usage::default()
        };
        for (name, thread) in self.grown(before) {
            usage.voluntary_switches += thread.voluntary;
            usage.involuntary_switches += thread.involuntary;
            if thread.run_us > 0 {
                *usage.threads_us.entry(family_name(name)).or_default() += thread.run_us;
            }
        }
        usage
    }
}

/// A thread's name without its number: pools and kernel workers (`iou-wrk-4711`) count as one.
fn family_name(name: &str) -> String {
    let trimmed = name.trim_end_matches(|c: char| c.is_ascii_digit());
    match trimmed.strip_suffix(['-', '#', ':', ' ']) {
        Some(short) if trimmed.len() < name.len() && name.starts_with("iou-") => short.to_string(),
        Some(short) if name.len() - trimmed.len() >= 3 => short.to_string(),
        _ => name.to_string(),
    }
}

/// Time of the machine's CPUs, ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus {
    /// All CPUs: everything, and what the hypervisor kept.
    total: u64,
    stolen: u64,
    /// The broker's CPUs: everything, and what programs and the kernel's own threads had; interrupts are nobody's.
    of_broker: u64,
    busy: u64,
    /// The kernel's threads, wherever they ran: they work for the broker, too, and are nobody else's.
    kernel: u64,
}

impl Cpus {
    /// Share stolen of the machine since then, and share of the broker's CPUs that other programs than it (which used `used_us`)
    /// had at least.
    pub fn since(&self, before: &Cpus, used_us: Option<u64>) -> (Option<f64>, Option<f64>) {
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let grown = |of: fn(&Cpus) -> u64| of(self).saturating_sub(of(before));
        let known = |used: u64| used / TICK_US + grown(|c| c.kernel);
        let others =
            used_us.and_then(|used| share(grown(|c| c.busy).saturating_sub(known(used)), grown(|c| c.of_broker)));
        (share(grown(|c| c.stolen), grown(|c| c.total)), others)
    }
}

/// Reads `/proc`.
pub fn cpus(of_broker: &[usize]) -> Option<Cpus> {
    parse_cpus(&fs::read_to_string("/proc/stat").ok()?, of_broker, kernel_ticks())
}

/// Time of the kernel's threads: the children of process 2.
fn kernel_ticks() -> u64 {
    let stats = numbers_in(Path::new("/proc")).into_iter().filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        let (user, system) = ticks(&stat)?;
        (parent == 2).then_some(user + system)
    });
    stats.sum()
}

/// The lines `cpu` and `cpuN`: user, nice, system, idle, iowait, irq, softirq, steal.
pub fn parse_cpus(text: &str, of_broker: &[usize], kernel: u64) -> Option<Cpus> {
    let numbers = |name: &str| -> Option<Vec<u64>> {
        let line = text.lines().find(|l| l.split_whitespace().next() == Some(name))?;
        line.split_whitespace().skip(1).take(8).map(|n| n.parse().ok()).collect()
    };
    let all = numbers("cpu")?;
    let mut cpus = Cpus { total: all.iter().sum(), stolen: *all.get(7)?, of_broker: 0, busy: 0, kernel };
    for cpu in of_broker {
        let one = numbers(&format!("cpu{cpu}"))?;
        cpus.of_broker += one.iter().sum::<u64>();
        cpus.busy += one.iter().take(3).sum::<u64>();
    }
    Some(cpus)
}
