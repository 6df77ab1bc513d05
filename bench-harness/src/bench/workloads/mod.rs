//! Workload files: where a workload comes from. TOML of our own ([`file`]), the OpenMessaging Benchmark's YAML ([`omb`]), and those that
//! ship with this program; all of them end as a checked [`Workload`] ([`ranges`]).

pub mod file;
pub mod omb;
pub mod ranges;

use super::Failure;
use super::workload::{Duration, Size, Workload};
use std::path::Path;

/// Workloads that ship, in the order in which they are listed: their files' names and texts.
pub const SHIPPED: &[(&str, &str)] = &[
    ("small-requests", include_str!("../../../workloads/small-requests.toml")),
    ("batches", include_str!("../../../workloads/batches.toml")),
    ("steady", include_str!("../../../workloads/steady.toml")),
    ("ramp", include_str!("../../../workloads/ramp.toml")),
    ("many-partitions", include_str!("../../../workloads/many-partitions.toml")),
    ("many-connections", include_str!("../../../workloads/many-connections.toml")),
    ("fan-out", include_str!("../../../workloads/fan-out.toml")),
    ("catch-up", include_str!("../../../workloads/catch-up.toml")),
    ("tail-fetch", include_str!("../../../workloads/tail-fetch.toml")),
    ("slow-consumer", include_str!("../../../workloads/slow-consumer.toml")),
    ("group-churn", include_str!("../../../workloads/group-churn.toml")),
    ("compression", include_str!("../../../workloads/compression.toml")),
    ("mixed-keys", include_str!("../../../workloads/mixed-keys.toml")),
    ("relaxed", include_str!("../../../workloads/relaxed.toml")),
    ("idempotent", include_str!("../../../workloads/idempotent.toml")),
];

/// A workload, and what of its file has no meaning here.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub workload: Workload,
    pub told: Vec<String>,
}

/// What the command line says of a workload.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct Chosen {
    /// A driver file of the OpenMessaging Benchmark, for a workload of its form.
    #[arg(long, value_name = "FILE")]
    pub omb_driver: Option<std::path::PathBuf>,
    /// A field of the workload, such as `producers.rate=5000`; may be given again.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub set: Vec<String>,
    /// Shorter warm-up and run.
    #[arg(long)]
    pub quick: bool,
}

/// Reads the workload that `name` stands for: one that ships, or a file.
pub fn find(name: &str, chosen: &Chosen) -> Result<Asked, Failure> {
    if let Some(driver) = chosen.omb_driver.as_deref().filter(|_| !is_omb(Path::new(name))) {
        let why = "only for a workload of the OpenMessaging Benchmark, a YAML file";
        return Err(Failure::because(format!("--omb-driver {}", driver.display()), why));
    }
    let mut asked = match SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        Some((_, text)) => Asked { workload: file::parse(&format!("{name}.toml"), text)?, told: Vec::new() },
        None => read(Path::new(name), chosen)?,
    };
    if chosen.quick {
        shorten(&mut asked.workload);
    }
    if !chosen.set.is_empty() {
        asked.workload = file::with(&asked.workload, &chosen.set)?;
    }
    Ok(asked)
}

/// Files of the OpenMessaging Benchmark are YAML.
fn is_omb(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml" || e == "yml")
}

fn read(path: &Path, chosen: &Chosen) -> Result<Asked, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        let hint =
            if path.components().count() == 1 { "; `ringlog bench workloads` lists those that ship" } else { "" };
        Failure(format!("no workload {}: {e}{hint}", path.display()))
    })?;
    let shown = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    if !is_omb(path) {
        return Ok(Asked { workload: file::parse(&shown, &text)?, told: Vec::new() });
    }
    let driver = match &chosen.omb_driver {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| Failure::because(path.display(), e))?;
            Some((path.display().to_string(), text))
        }
        None => None,
    };
    omb::parse((&shown, &text), driver.as_ref().map(|(name, text)| (name.as_str(), text.as_str())))
}

/// What `--quick` does to a workload. One that asks for more than the usual warm-up needs it.
fn shorten(workload: &mut Workload) {
    if workload.run.warmup_seconds <= Duration::default().warmup_seconds {
        workload.run.warmup_seconds = workload.run.warmup_seconds.min(2.0);
    }
    workload.run.seconds = workload.run.seconds.min(5.0);
    if let Some(ramp) = &mut workload.ramp {
        ramp.step_seconds = ramp.step_seconds.min(2.0);
        ramp.halvings = ramp.halvings.min(2);
    }
    if let Some(backlog) = &mut workload.backlog {
        backlog.bytes = backlog.bytes.min(512 << 20);
    }
}

/// The shape of a workload in a few words, for the list.
pub fn shape(w: &Workload) -> String {
    let mut parts = vec![format!("{} x {} partitions", w.topics.count, w.topics.partitions)];
    if w.producers.count > 0 {
        let size = match &w.records.size {
            Size::Fixed(bytes) => format!("{bytes} B"),
            Size::Uniform { from, to } => format!("{from} to {to} B"),
            Size::Weighted(sizes) => format!("{} sizes", sizes.len()),
        };
        let rate = match (&w.ramp, w.producers.rate) {
            (Some(ramp), _) => format!("{} to {}/s", ramp.from, ramp.to),
            (None, Some(rate)) => format!("{rate}/s"),
            (None, None) => "as fast as possible".to_string(),
        };
        parts.push(format!(
            "{} producers, {size} in batches of {}, {rate}",
            w.producers.count, w.producers.batch_records
        ));
    }
    if w.consumers.groups > 0 {
        let what = if w.consumers.coordinated { "members" } else { "consumers" };
        parts.push(format!("{} x {} {what}", w.consumers.groups, w.consumers.count));
    }
    if w.connections.idle > 0 {
        parts.push(format!("{} idle connections", w.connections.idle));
    }
    parts.join("; ")
}
