//! The machine as it was during a run, for the reader of a report: what changes figures and can be read without asking anybody. Only
//! reads `/proc` and `/sys` (below a root that tests choose); what cannot be read is told as not known, never guessed. No host name
//! and no paths: only the last part of one.

use super::result::Environment;
use std::fs;
use std::path::{Path, PathBuf};

const NOT_KNOWN: &str = "not known";

/// Where to look, and what the run itself knows.
#[derive(Debug, Clone)]
pub struct Place {
    /// `/`, but for tests.
    pub root: PathBuf,
    /// The broker's log directory, where it is on this machine.
    pub log_dir: Option<PathBuf>,
    pub broker_cpus: Vec<usize>,
    pub client_cpus: Vec<usize>,
    /// The command line of this program.
    pub command: Vec<String>,
}

/// A block device under a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Such as `vda`.
    pub name: String,
    /// Its folder of `/sys`; a partition's own.
    pub own: PathBuf,
    /// The whole disk's: where the queue is.
    pub disk: PathBuf,
}

/// Everything worth writing down.
pub fn gather(place: &Place) -> Environment {
    let read = |path: &str| read(&place.root, path);
    let mut facts = vec![fact("kernel", read("proc/sys/kernel/osrelease"))];
    facts.extend(processor(place));
    facts.push(fact("memory", memory(&place.root)));
    facts.push(fact("hypervisor", hypervisor(&place.root)));
    facts.push(fact("clock source", read("sys/devices/system/clocksource/clocksource0/current_clocksource")));
    facts.push(fact("transparent huge pages", read("sys/kernel/mm/transparent_hugepage/enabled").map(chosen)));
    facts.push(fact("mitigations", mitigations(&place.root)));
    facts.extend(storage(place));
    facts.push(("bench".to_string(), version()));
    facts.push(("bench command".to_string(), plain_words(&place.command)));
    Environment { facts }
}

/// A command line without paths.
pub fn plain_words(words: &[String]) -> String {
    words.iter().map(|word| plain_word(word)).collect::<Vec<_>>().join(" ")
}

/// A word with every path in it cut to its last part. Addresses with a scheme are none.
pub fn plain_word(word: &str) -> String {
    if word.contains("://") {
        return word.to_string();
    }
    // Paths stand alone, behind `=`, or in a list.
    let parts = word.split_inclusive(['=', ':', ',']);
    parts.map(|part| part.rsplit('/').next().unwrap_or(part)).collect()
}

fn version() -> String {
    let built = if cfg!(debug_assertions) { ", built without optimisation" } else { "" };
    format!("ringlog bench {}{built}", env!("CARGO_PKG_VERSION"))
}

fn fact(name: &str, value: Option<String>) -> (String, String) {
    (name.to_string(), value.filter(|v| !v.is_empty()).unwrap_or_else(|| NOT_KNOWN.to_string()))
}

fn read(root: &Path, path: &str) -> Option<String> {
    fs::read(root.join(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).trim().to_string())
}

/// The one in brackets, as `/sys` shows a choice.
fn chosen(text: String) -> String {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(inside, _)| inside.to_string());
    inside.unwrap_or(text)
}

/// The value of a line `name : value`.
fn line_of(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_string())
    })
}

fn list(cpus: &[usize]) -> Option<String> {
    (!cpus.is_empty()).then(|| cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
}

fn processor(place: &Place) -> Vec<(String, String)> {
    let info = read(&place.root, "proc/cpuinfo").unwrap_or_default();
    let online = info.lines().filter(|l| l.starts_with("processor")).count();
    let model = line_of(&info, "model name").or_else(|| line_of(&info, "Hardware"));
    let model = model.map(|m| format!("{m}, {online} CPUs"));
    let cpu = |file: &str| read(&place.root, &format!("sys/devices/system/cpu/{file}"));
    // Of the broker's first CPU; governors are rarely set one by one.
    let first = place.broker_cpus.first().copied().unwrap_or(0);
    let there = place.root.join(format!("sys/devices/system/cpu/cpu{first}")).is_dir();
    let unscaled = there.then(|| "none: the kernel does not scale this machine's frequency".to_string());
    let governor = cpu(&format!("cpu{first}/cpufreq/scaling_governor")).or(unscaled);
    let turbo = match (cpu("intel_pstate/no_turbo").as_deref(), cpu("cpufreq/boost").as_deref()) {
        (Some("0"), _) | (None, Some("1")) => Some("on".to_string()),
        (Some("1"), _) | (None, Some("0")) => Some("off".to_string()),
        _ => None,
    };
    vec![
        fact("CPU", model),
        fact("broker CPUs", list(&place.broker_cpus)),
        fact("client CPUs", list(&place.client_cpus)),
        fact("governor", governor),
        fact("turbo", turbo),
        fact("SMT", cpu("smt/control")),
        fact("isolated CPUs", cpu("isolated").map(|v| if v.is_empty() { "none".to_string() } else { v })),
    ]
}

fn memory(root: &Path) -> Option<String> {
    let kib: u64 = line_of(&read(root, "proc/meminfo")?, "MemTotal")?.split_whitespace().next()?.parse().ok()?;
    Some(format!("{:.1} GiB", kib as f64 / f64::from(1 << 20)))
}

fn hypervisor(root: &Path) -> Option<String> {
    let info = read(root, "proc/cpuinfo")?;
    let virtual_machine =
        info.lines().any(|l| l.starts_with("flags") && l.split_whitespace().any(|w| w == "hypervisor"));
    let vendor = read(root, "sys/class/dmi/id/sys_vendor").filter(|v| !v.is_empty());
    Some(match (virtual_machine, vendor) {
        (true, Some(vendor)) => format!("yes ({vendor})"),
        (true, None) => "yes".to_string(),
        (false, _) => "none seen".to_string(),
    })
}

/// What the kernel does against flaws of the processor, those that cost something.
fn mitigations(root: &Path) -> Option<String> {
    let folder = root.join("sys/devices/system/cpu/vulnerabilities");
    let mut found: Vec<String> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            let done = text.trim().strip_prefix("Mitigation: ")?;
            Some(format!("{}: {done}", entry.file_name().to_string_lossy()))
        })
        .collect();
    found.sort();
    let off = read(root, "proc/cmdline").is_some_and(|line| line.split_whitespace().any(|w| w == "mitigations=off"));
    match (off, found.is_empty()) {
        (true, _) => Some("off".to_string()),
        (false, true) => Some("none needed".to_string()),
        (false, false) => Some(found.join("; ")),
    }
}

/// The file system and device under the log.
fn storage(place: &Place) -> Vec<(String, String)> {
    let mount = place.log_dir.as_deref().and_then(|dir| mount_of(&place.root, dir));
    let device = place.log_dir.as_deref().and_then(|dir| device_of(&place.root, dir));
    let queue = |file: &str| {
        let disk = &device.as_ref()?.disk;
        fs::read_to_string(disk.join("queue").join(file)).ok().map(|v| v.trim().to_string())
    };
    let name = device.as_ref().map(|d| {
        let model = fs::read_to_string(d.disk.join("device/model")).ok().map(|m| m.trim().to_string());
        let spins = if queue("rotational").as_deref() == Some("1") { ", said to rotate" } else { "" };
        format!("{}{}{spins}", d.name, model.map(|m| format!(" ({m})")).unwrap_or_default())
    });
    let fua = queue("fua").map(|v| if v == "1" { "yes".to_string() } else { "no".to_string() });
    vec![
        fact("file system of the log", mount.as_ref().map(|m| m.kind.clone())),
        fact("its mount options", mount.map(|m| m.options)),
        fact("device of the log", name),
        fact("its write cache", queue("write_cache")),
        fact("its FUA", fua),
        fact("its I/O scheduler", queue("scheduler").map(chosen)),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Mount {
    point: PathBuf,
    numbers: String,
    kind: String,
    source: String,
    options: String,
}

/// The mount that a directory lies in: the longest mount point that it begins with, the last of equals.
fn mount_of(root: &Path, dir: &Path) -> Option<Mount> {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
    let text = read(root, "proc/self/mountinfo")?;
    let mounts = text.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let front: Vec<&str> = front.split(' ').collect();
        let mut back = back.split(' ');
        let (kind, source, more) = (back.next()?, back.next()?, back.next().unwrap_or(""));
        let options = format!("{},{more}", front.get(5)?);
        let mut seen: Vec<&str> = Vec::new();
        for option in options.split(',').filter(|o| !o.is_empty()) {
            if !seen.contains(&option) {
                seen.push(option);
            }
        }
        Some(Mount {
            point: PathBuf::from(front.get(4)?.replace("\\040", " ")),
            numbers: (*front.get(2)?).to_string(),
            kind: kind.to_string(),
            source: source.to_string(),
            options: seen.iter().map(|o| plain_word(o)).collect::<Vec<_>>().join(","),
        })
    });
    mounts.filter(|m| dir.starts_with(&m.point)).max_by_key(|m| m.point.components().count())
}

/// The block device under a directory, where there is one that the kernel tells.
pub fn device_of(root: &Path, dir: &Path) -> Option<Device> {
    let mount = mount_of(root, dir)?;
    let by_numbers = root.join("sys/dev/block").join(&mount.numbers);
    // File systems of several devices have numbers of their own; their first device stands as the source.
    let found = fs::canonicalize(by_numbers).or_else(|_| {
        let name = Path::new(&mount.source).file_name().unwrap_or_default();
        fs::canonicalize(root.join("sys/class/block").join(name))
    });
    let own = found.ok()?;
    let disk = if own.join("partition").exists() { own.parent()?.to_path_buf() } else { own.clone() };
    Some(Device { name: own.file_name()?.to_string_lossy().into_owned(), own, disk })
}
