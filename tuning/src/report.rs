//! One text for a bug report: versions, the machine, every check, what was measured. No names of hosts, no addresses, no folders.

use crate::host::Host;
use crate::show;
use std::fmt::Write;
use std::path::Path;

/// Words of the kernel's command line that matter here; the rest may name hosts and disks.
const WORDS: [&str; 9] = [
    "isolcpus",
    "nohz_full",
    "rcu_nocbs",
    "mitigations",
    "idle",
    "intel_idle.max_cstate",
    "processor.max_cstate",
    "intel_pstate",
    "transparent_hugepage",
];

/// Everything there is to tell; `dirs` are log directories.
pub fn text(root: &Path, dirs: &[std::path::PathBuf]) -> String {
    let host = Host::new(root, dirs.first().map(AsRef::as_ref));
    let mut text = String::from("Ringlog host report\n");
    let _ = writeln!(text, "made: {} UTC", crate::record::now());
    let _ = writeln!(text, "ringlog-tune: {}", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(text, "ringlog: {}", broker_version(&host));
    let read = |path: &str| host.read(path).unwrap_or_else(|_| "cannot be read".into());
    let _ = writeln!(text, "kernel: {}, {}", read("/proc/sys/kernel/osrelease"), std::env::consts::ARCH);
    let _ = writeln!(text, "cpu: {}", cpu(&host));
    let memory = read("/proc/meminfo");
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).map_or("cannot be read", str::trim);
    let _ = writeln!(text, "memory: {total}");
    let line = read("/proc/cmdline");
    let words = line.split_whitespace().filter(|word| WORDS.contains(&word.split('=').next().unwrap_or(word)));
    let _ = writeln!(text, "command line, what matters here of it: {}", words.collect::<Vec<_>>().join(" "));
    for (k, dir) in dirs.iter().enumerate() {
        let host = Host::new(root, Some(dir));
        let _ = writeln!(text, "\nlog directory {}:", k + 1);
        for entry in crate::settings::storage::ENTRIES {
            let c = show::Checked { entry, found: (entry.check)(&host) };
            let _ = writeln!(text, "  {}: {}", entry.name, c.found.is);
        }
        match host.read(&dir.join("ringlog.tuned").display().to_string()) {
            Ok(tuned) => {
                let _ = writeln!(text, "  ringlog.tuned:");
                tuned.lines().for_each(|line| {
                    let _ = writeln!(text, "    {line}");
                });
            }
            Err(_) => text.push_str("  no ringlog.tuned\n"),
        }
    }
    let _ = write!(text, "\nchecks:\n{}", show::table(&show::checked(&host)));
    // A message of the system may name the folder.
    for (k, dir) in dirs.iter().enumerate() {
        text = text.replace(&dir.display().to_string(), &format!("LOG-DIRECTORY-{}", k + 1));
    }
    text
}

fn cpu(host: &Host) -> String {
    let Ok(text) = host.read("/proc/cpuinfo") else { return "cannot be read".into() };
    let model = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{count} x {}", model.map_or("a model without a name", |(_, name)| name.trim()))
}

/// Of the `ringlog` beside this program, or else in PATH.
fn broker_version(host: &Host) -> String {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("ringlog")));
    let beside = beside.filter(|path| host.is_real() && path.is_file()).map(|path| path.display().to_string());
    match host.output(beside.as_deref().unwrap_or("ringlog"), &["--version"]) {
        Ok(text) => text.trim().trim_start_matches("ringlog ").to_string(),
        Err(_) => "not found".into(),
    }
}
