//! A Ringlog that is started to be measured: which program, and how.

use super::process::{Process, fresh_dir};
use super::{Started, Wish};
use crate::bench::Failure;
use crate::broker::free_port;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository that this program was built from, if it is still there and this program lies in its build directory.
fn clone_of(program: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let target = program.parent()?.parent()?;
    let built = target.join("CACHEDIR.TAG").exists() && source.join("Cargo.toml").exists();
    built.then(|| source.to_path_buf())
}

/// The `ringlog` to measure: `RINGLOG_BIN`, or the one beside this program; in a clone it is built first, so that what is measured is
/// what the source says.
pub fn program() -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os("RINGLOG_BIN") {
        return Ok(PathBuf::from(named));
    }
    let own = std::env::current_exe().map_err(|e| Failure::because("where this program is", e))?;
    let beside = own.with_file_name("ringlog");
    if let Some(source) = clone_of(&own) {
        build(&source, &own)?;
    }
    match beside.exists() {
        true => Ok(beside),
        false => Err(Failure(
            "no `ringlog` beside this program: --broker HOST:PORT, RINGLOG_BIN, or ringlog=PROGRAM".to_string(),
        )),
    }
}

fn build(source: &Path, own: &Path) -> Result<(), Failure> {
    let dir = own.parent().expect("a program lies in a directory");
    let profile = match dir.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST")) {
        cargo.env_remove(name);
    }
    // With this crate, so that features resolve as they did for it and nothing is built twice.
    cargo.args([
        "build",
        "-p",
        "ringlog-shard",
        "-p",
        "ringlog-bench-harness",
        "--bin",
        "ringlog",
        "--profile",
        profile,
    ]);
    cargo.current_dir(source).arg("--target-dir").arg(dir.parent().expect("a profile lies in target"));
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure(format!("cargo build --bin ringlog: {status}"))),
        // No cargo here: what lies beside this program is what there is.
        Err(_) => Ok(()),
    }
}

/// The commit of the clone that a program was built in, marked where files differ from it.
pub fn commit(program: &Path) -> Option<String> {
    let source = clone_of(program)?;
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).current_dir(&source).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_string())
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    Some(if changed { format!("{head}, changed") } else { head })
}

/// Starts one and waits until it has said that it is ready.
pub fn start(program: &Path, wish: &Wish) -> Result<Started, Failure> {
    let dir = fresh_dir(&wish.home, "ringlog")?;
    let data = dir.join("data");
    let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let cores: Vec<String> = wish.cpus.iter().map(usize::to_string).collect();
    let mut command = Command::new(program);
    command.arg("start").current_dir(&dir);
    let own = [
        format!("listeners=PLAINTEXT://{addr}"),
        format!("log.dirs={}", data.display()),
        format!("ringlog.cores={}", cores.join(",")),
    ];
    // Two at once cannot have one address for their metrics. An older program does not know the setting, and would not start with it.
    let admin = knows(program, "ringlog.admin.address").then(|| "ringlog.admin.address=127.0.0.1:0".to_string());
    for pair in own.iter().chain(&admin).chain(&wish.overrides) {
        command.args(["--override", pair]);
    }
    let mut process = Process::start(&wish.label, &mut command, &dir, &wish.cpus)?;
    process.wait_until("get ready", |p| {
        p.output().lines().any(|l| l.starts_with("Ringlog ") && l.contains(" is ready"))
    })?;
    process.wait_until_it_answers(addr)?;
    let output = process.output();
    let software =
        output.lines().find_map(|l| l.split_once(" is ready")).map_or("Ringlog", |(name, _)| name).to_string();
    Ok(Started { addr, software, data, metrics: metrics_of(&output), process })
}

/// Whether a program knows a setting.
fn knows(program: &Path, setting: &str) -> bool {
    let listed = Command::new(program).args(["config", setting]).output();
    listed.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(&format!("{setting} = ")))
}

/// Where a greeting says that metrics are.
fn metrics_of(output: &str) -> Option<String> {
    let line = output.lines().find(|l| l.contains("/metrics"))?;
    let word = line.split_whitespace().find(|w| w.starts_with("http://") && w.contains("/metrics"))?;
    Some(word.trim_end_matches([',', '.', ';']).to_string())
}
