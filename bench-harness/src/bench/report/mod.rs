//! `ringlog bench report`: what runs found, for people to look at, and for other programs to read.

pub mod charts;
pub mod csv;
pub mod format;
pub mod group;
pub mod hgrm;
pub mod html;
pub mod metrics;
pub mod svg;
pub mod tables;
pub mod text;

use super::Failure;
use super::compare::{Comparison, compare};
use super::result::{FORMAT, RunResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Make the report of runs that were kept.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Results: files of runs, reports, or folders with them.
    #[arg(required = true)]
    pub results: Vec<PathBuf>,
    /// Where the report is written. Default: into the folder that is the only argument, or `bench-report`.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// The report's title.
    #[arg(long)]
    pub title: Option<String>,
    /// The broker that is compared with each of the others. Default: the first in the results.
    #[arg(long)]
    pub broker: Option<String>,
    /// Whether the page is opened in a browser: `auto` where there is a desktop.
    #[arg(long, value_enum, default_value_t = Open::Auto)]
    pub open: Open,
}

/// Whether a page is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Open {
    Auto,
    Yes,
    No,
}

/// All that a report shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub title: String,
    /// In the order in which they were made; runs of one workload and broker belong together.
    pub runs: Vec<RunResult>,
    pub comparisons: Vec<Comparison>,
    /// What the bare loop does on this machine, to be drawn beside the brokers.
    pub roofline: Vec<Roof>,
    /// What the reader should know and no run says.
    pub notes: Vec<String>,
}

/// What is possible without a broker, for a shape like that of a workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Roof {
    /// The workload that it stands beside.
    pub workload: String,
    /// Such as `ring, network and disk, flushed, 64 KiB`.
    pub name: String,
    /// Values by the ids of the table of figures, such as `cpu_per_request`.
    pub figures: BTreeMap<String, f64>,
}

/// Writes `report.html`, `report.json`, `report.csv`, `report.txt` and one `.hgrm` per operation and broker into a folder, which is
/// made. Returns what was written, the page first.
pub fn write(dir: &Path, report: &Report) -> Result<Vec<PathBuf>, Failure> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::because(dir.display(), e))?;
    let mut written = Vec::new();
    let mut put = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|e| Failure::because(path.display(), e))?;
        written.push(path);
        Ok::<(), Failure>(())
    };
    put("report.html", &html::page(report))?;
    put("report.json", &serde_json::to_string(report).map_err(|e| Failure::because("report.json", e))?)?;
    put("report.csv", &csv::write(report))?;
    put("report.txt", &text::render(report, text::Style::FILE))?;
    let sections = group::sections(report);
    for section in &sections {
        for group in &section.groups {
            for kind in group::Kind::ALL.into_iter().filter(|kind| kind.of(group).max().is_some()) {
                let workload =
                    if sections.len() > 1 { format!("{}-", plain(&section.workload.name)) } else { String::new() };
                put(&format!("{workload}{}-{}.hgrm", kind.name(), plain(group.label)), &hgrm::write(kind.of(group)))?;
            }
        }
    }
    Ok(written)
}

/// A name as part of a file's name.
pub fn plain(name: &str) -> String {
    let kept: String = name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect();
    kept.trim_matches(['-', '.']).to_string()
}

/// What a path holds.
#[derive(Debug)]
pub enum Loaded {
    Results(Report),
    /// No result: the text of the file.
    Other(String),
}

/// Reads a run, a report, or all in a folder. Runs of a newer form are refused.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    if path.is_dir() {
        return folder(path).map(Loaded::Results);
    }
    let because = |e: &dyn std::fmt::Display| Failure::because(path.display(), e);
    let text = std::fs::read_to_string(path).map_err(|e| because(&e))?;
    let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else { return Ok(Loaded::Other(text)) };
    let report: Report = if value.get("runs").is_some() && value.get("comparisons").is_some() {
        serde_json::from_value(value).map_err(|e| because(&e))?
    } else if value.get("workload").is_some() && value.get("load").is_some() {
        let runs = vec![serde_json::from_value(value).map_err(|e| because(&e))?];
        Report { runs, ..Report::default() }
    } else {
        return Ok(Loaded::Other(text));
    };
    if let Some(newer) = report.runs.iter().find(|run| run.format > FORMAT) {
        return Err(because(&format!(
            "its form {} is newer than {FORMAT}, which is what this program reads",
            newer.format
        )));
    }
    Ok(Loaded::Results(report))
}

/// The report in a folder; where there is none, the runs in it and in the folders below, in the order in which they were made.
fn folder(dir: &Path) -> Result<Report, Failure> {
    let whole = dir.join("report.json");
    if whole.is_file() {
        let Loaded::Results(report) = load(&whole)? else { return Err(Failure::because(whole.display(), "no report")) };
        return Ok(report);
    }
    let mut all = Report::default();
    let entries = std::fs::read_dir(dir).map_err(|e| Failure::because(dir.display(), e))?;
    let mut paths = entries
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Failure::because(dir.display(), e))?;
    paths.retain(|path| path.is_dir() || path.extension().is_some_and(|end| end == "json"));
    paths.sort();
    for path in paths {
        if let Loaded::Results(found) = load(&path)? {
            join(&mut all, found);
        }
    }
    all.runs.sort_by_key(|run| run.started_ms);
    Ok(all)
}

fn join(all: &mut Report, one: Report) {
    if all.title.is_empty() {
        all.title = one.title;
    }
    all.runs.extend(one.runs);
    all.roofline.extend(one.roofline);
    all.notes.extend(one.notes);
}

/// Reads all of some paths as one report, without comparisons. What is no result is refused.
pub fn load_all(paths: &[PathBuf]) -> Result<Report, Failure> {
    let mut all = Report::default();
    for path in paths {
        match load(path)? {
            Loaded::Results(found) => join(&mut all, found),
            Loaded::Other(_) => return Err(Failure::because(path.display(), "not a result of a run")),
        }
    }
    if all.runs.is_empty() {
        return Err(Failure("there is no result of a run there".into()));
    }
    Ok(all)
}

/// The brokers of runs, in the order of their first ones.
pub fn labels(runs: &[RunResult]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for run in runs {
        if !found.contains(&run.broker.label) {
            found.push(run.broker.label.clone());
        }
    }
    found
}

/// Compares a broker (None: the first) with each other one, workload by workload.
pub fn compared(runs: &[RunResult], broker: Option<&str>) -> Vec<Comparison> {
    let labels = labels(runs);
    let Some(a) = broker.or(labels.first().map(String::as_str)) else { return Vec::new() };
    let mut workloads: Vec<&str> = Vec::new();
    for run in runs {
        if !workloads.contains(&run.workload.name.as_str()) {
            workloads.push(&run.workload.name);
        }
    }
    let of = |workload: &str, label: &str| -> Vec<RunResult> {
        runs.iter().filter(|run| run.workload.name == workload && run.broker.label == label).cloned().collect()
    };
    let mut found = Vec::new();
    for workload in workloads {
        for b in labels.iter().filter(|b| *b != a) {
            let (a, b) = (of(workload, a), of(workload, b));
            if !a.is_empty() && !b.is_empty() {
                found.push(compare(&a, &b));
            }
        }
    }
    found
}

/// Opens a page as the desktop does.
pub fn open(page: &Path, how: Open) -> Result<(), Failure> {
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if how == Open::No || (how == Open::Auto && !(desktop && std::io::stdout().is_terminal())) {
        return Ok(());
    }
    let quiet = std::process::Stdio::null;
    let started =
        std::process::Command::new("xdg-open").arg(page).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
    match started {
        Err(e) if how == Open::Yes => Err(Failure::because("xdg-open", e)),
        _ => Ok(()),
    }
}

/// `ringlog bench report`.
pub fn command(args: &Args) -> Result<ExitCode, Failure> {
    let mut report = load_all(&args.results)?;
    report.comparisons = compared(&report.runs, args.broker.as_deref());
    let labels = labels(&report.runs).join(" against ");
    report.title = args.title.clone().or(Some(report.title).filter(|t| !t.is_empty())).unwrap_or(labels);
    let only = args.results.first().filter(|path| args.results.len() == 1 && path.is_dir()).cloned();
    let out = args.out.clone().or(only).unwrap_or_else(|| PathBuf::from("bench-report"));
    let written = write(&out, &report)?;
    print!("{}", text::render(&report, text::Style::of_terminal()));
    println!();
    written.iter().for_each(|path| println!("{}", path.display()));
    open(&out.join("report.html"), args.open)?;
    Ok(ExitCode::SUCCESS)
}
