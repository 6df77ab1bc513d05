//! What a reader of figures must know of the machine that they are from. Nothing here names it.

use super::super::result::Environment;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Kernel, CPUs, and the file system and device under `dir`.
pub fn environment(dir: &Path) -> Environment {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_string()).ok();
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        facts.push((name.to_string(), value.unwrap_or_else(|| "not known".into())));
    };
    fact("kernel", read("/proc/sys/kernel/osrelease"));
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let field = |name| cpuinfo.lines().find(|l| l.starts_with(name)).and_then(|l| l.split_once(": ")).map(|(_, v)| v);
    let count = cpuinfo.lines().filter(|l| l.starts_with("processor")).count();
    let guest = field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let kind = if guest { ", a virtual machine" } else { "" };
    fact("CPUs", Some(format!("{count} x {}{kind}", field("model name").unwrap_or("not known"))));
    let mounts = read("/proc/self/mounts").unwrap_or_default();
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let covering = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        dir.starts_with(at).then_some((at.len(), kind, options))
    });
    let found = covering.max_by_key(|(len, ..)| *len).map(|(_, kind, options)| format!("{kind} ({options})"));
    fact("file system", found);
    let device = fs::metadata(&dir).ok().map(|m| {
        let (major, minor) = (nix::sys::stat::major(m.dev()), nix::sys::stat::minor(m.dev()));
        let of = |name: &str| {
            let at = format!("/sys/dev/block/{major}:{minor}");
            read(&format!("{at}/queue/{name}")).or_else(|| read(&format!("{at}/../queue/{name}")))
        };
        let told = |name: &str| of(name).unwrap_or_else(|| "not known".into());
        format!("write cache {}, FUA {}", told("write_cache"), told("fua"))
    });
    fact("device", device);
    Environment { facts }
}
