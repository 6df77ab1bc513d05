//! `ringlog-tune`, which `ringlog tune` runs: its arguments, and what each command prints.

use clap::{Args, Parser, Subcommand};
use ringlog_engine::config::tuned;
use ringlog_tuning::apply::{self, Chosen, Undone};
use ringlog_tuning::disk::{self, Budget};
use ringlog_tuning::host::Host;
use ringlog_tuning::systemd::{BROKER_UNIT, TUNE_UNIT, Units};
use ringlog_tuning::{record, report, settings, show};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const STATE: &str = "/var/lib/ringlog/tune.json";

/// Host settings for a Ringlog broker: what they are, what they had better be, and what the disk does.
#[derive(Parser, Debug)]
#[command(name = "ringlog-tune", bin_name = "ringlog tune", version, arg_required_else_help = true)]
struct Cli {
    /// A tree of files that stands in for the machine's.
    #[arg(long, hide = true, global = true, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show every setting, what matters first. Exit code 1: something important is off.
    Check(CheckArgs),
    /// Say what settings there are: what, why, where that is written, how applied and undone.
    Explain {
        /// One of them.
        name: Option<String>,
    },
    /// Change what is off; what was there is recorded first.
    Apply(ApplyArgs),
    /// Put back what was there before `apply`.
    Undo(UndoArgs),
    /// Print units that apply the settings at boot and run the broker hardened.
    Systemd(SystemdArgs),
    /// Measure the device under a log directory, and write what follows for `ringlog start` into it.
    Disk(DiskArgs),
    /// Print one text for a bug report: checks, versions, figures; no names, no addresses.
    Report {
        /// A log directory; may be repeated.
        #[arg(long, value_name = "DIR")]
        data_dir: Vec<PathBuf>,
    },
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// The log directory: without it the disks of the machine are looked at, and no mount.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ApplyArgs {
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Only these settings, those that are done on request among them.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    except: Vec<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Show what would be changed, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where what was there is recorded.
    #[arg(long, value_name = "FILE", default_value = STATE)]
    state: PathBuf,
}

#[derive(Args, Debug)]
struct UndoArgs {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Put back also what somebody else changed since.
    #[arg(long)]
    force: bool,
    #[arg(long, value_name = "FILE", default_value = STATE)]
    state: PathBuf,
}

#[derive(Args, Debug)]
struct SystemdArgs {
    /// Write them into this folder (/etc/systemd/system) instead of printing them.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// The folder of ringlog and ringlog-tune.
    #[arg(long, value_name = "DIR", default_value = "/usr/local/bin")]
    programs: PathBuf,
    /// The broker's settings.
    #[arg(long, value_name = "FILE", default_value = "/etc/ringlog/server.properties")]
    settings: PathBuf,
    /// A log directory besides /var/lib/ringlog/data; may be repeated.
    #[arg(long, value_name = "DIR")]
    data_dir: Vec<PathBuf>,
    /// The broker's user and group.
    #[arg(long, default_value = "ringlog")]
    user: String,
}

#[derive(Args, Debug)]
struct DiskArgs {
    /// The log directory.
    dir: PathBuf,
    /// Ten seconds instead of sixty: fewer operations, fewer percentiles.
    #[arg(long)]
    quick: bool,
    /// Print only; write no file.
    #[arg(long)]
    dry_run: bool,
}

/// Exit codes: 0 done, 1 not (or something important is off), 2 wrong usage.
fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Check(arguments) => check(&cli.root, arguments),
        Command::Explain { name } => explain(name.as_deref()),
        Command::Apply(arguments) => apply(&cli.root, arguments),
        Command::Undo(arguments) => undo(&cli.root, arguments),
        Command::Systemd(arguments) => systemd(arguments),
        Command::Disk(arguments) => measure(arguments),
        Command::Report { data_dir } => print(&report::text(&cli.root, data_dir)),
    };
    done.unwrap_or_else(|why| {
        eprintln!("ringlog tune: {why}");
        ExitCode::FAILURE
    })
}

/// Whoever read our output may have gone (`ringlog tune check | head`): that is no failure.
fn print(text: &str) -> Result<ExitCode, String> {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn check(root: &Path, arguments: &CheckArgs) -> Result<ExitCode, String> {
    let checked = show::checked(&Host::new(root, arguments.data_dir.as_deref()));
    match arguments.json {
        true => print(&format!("{:#}\n", show::json(&checked)))?,
        false => print(&show::table(&checked))?,
    };
    Ok(if show::is_bad(&checked) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn explain(name: Option<&str>) -> Result<ExitCode, String> {
    let chosen: Vec<_> = settings::all().filter(|entry| name.is_none_or(|name| name == entry.name)).collect();
    if chosen.is_empty() {
        return Err(format!("{} is no setting; `ringlog tune explain` says all", name.unwrap_or_default()));
    }
    print(&chosen.into_iter().map(show::explained).collect::<Vec<_>>().join("\n"))
}

/// Asks, unless told not to. Without a terminal there is nobody to ask.
fn agreed(yes: bool, question: &str) -> Result<bool, String> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err("nobody is there to ask: --yes, or --dry-run to see only".into());
    }
    print!("{question} [y/N] ");
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| error.to_string())?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

fn apply(root: &Path, arguments: &ApplyArgs) -> Result<ExitCode, String> {
    let host = Host::new(root, arguments.data_dir.as_deref());
    let chosen = Chosen { only: arguments.only.clone(), except: arguments.except.clone() };
    if let Some(name) = chosen.unknown() {
        return Err(format!("{name} is no setting; `ringlog tune explain` says all"));
    }
    let planned = apply::plan(&host, &chosen);
    if planned.is_empty() {
        return print("nothing to change\n");
    }
    print(&format!("{} change(s):\n{}", planned.len(), apply::shown(&planned)))?;
    if arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if !agreed(arguments.yes, "make them?")? {
        return print("nothing changed\n");
    }
    apply::record(&host, &planned, &arguments.state)?;
    let mut failed = 0;
    for planned in &planned {
        if let Err(why) = apply::make(&host, &planned.change) {
            eprintln!("{}: {why}", planned.entry.name);
            failed += 1;
        }
    }
    print(&format!(
        "{} changed, {failed} not; what was there is in {}; `ringlog tune undo` puts it back\n",
        planned.len() - failed,
        arguments.state.display()
    ))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn undo(root: &Path, arguments: &UndoArgs) -> Result<ExitCode, String> {
    let host = Host::new(root, None);
    if !agreed(arguments.yes, &format!("put back what {} says?", arguments.state.display()))? {
        return print("nothing changed\n");
    }
    let (mut text, mut left) = (String::new(), 0);
    for (recorded, how) in apply::undo(&host, &arguments.state, arguments.force)? {
        let path = &recorded.change.path;
        let line = match how {
            Undone::Back => format!("{path}: {} again", recorded.change.old),
            Undone::WasBack => format!("{path}: was {} already", recorded.change.old),
            Undone::Others(is) => {
                left += 1;
                format!("{path}: left alone: somebody set it to {is} since; --force sets it to {}", recorded.change.old)
            }
            Undone::Failed(why) => {
                left += 1;
                format!("not put back: {why}")
            }
        };
        text.push_str(&format!("  {:<22} {line}\n", recorded.setting));
    }
    print(&text)?;
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn systemd(arguments: &SystemdArgs) -> Result<ExitCode, String> {
    let units = Units {
        programs: arguments.programs.clone(),
        settings: arguments.settings.clone(),
        data_dirs: arguments.data_dir.clone(),
        user: arguments.user.clone(),
    };
    if let Some(why) = units.refusal() {
        return Err(why);
    }
    let both = [(TUNE_UNIT, units.tune()), (BROKER_UNIT, units.broker())];
    let Some(folder) = &arguments.write else {
        return print(&both.map(|(name, text)| format!("# {name}\n{text}")).join("\n"));
    };
    for (name, text) in both {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        print(&format!("written: {}\n", path.display()))?;
    }
    print("next: systemctl daemon-reload && systemctl enable --now ringlog-tune ringlog\n")
}

fn measure(arguments: &DiskArgs) -> Result<ExitCode, String> {
    let budget = if arguments.quick { Budget::QUICK } else { Budget::FULL };
    if let Some(why) = disk::refusal(&arguments.dir, &budget) {
        return Err(why);
    }
    let (begun, terminal) = (Instant::now(), std::io::stderr().is_terminal());
    let mut progress = |what: &str| {
        let line = format!("[{:>2} of about {} s] {what}", begun.elapsed().as_secs(), budget.time.as_secs());
        if terminal { eprint!("\r{line:<78}") } else { eprintln!("{line}") }
    };
    let measured = disk::measure(&arguments.dir, &budget, &mut progress);
    if terminal {
        eprint!("\r{:<78}\r", "");
    }
    let measured = measured.map_err(|error| format!("{}: {error}", arguments.dir.display()))?;
    let advice = disk::advice::advice(&measured);
    print(&disk::plot::text(&measured, &advice))?;
    if arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let kernel =
        Host::new(Path::new("/"), None).read("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".into());
    let text = disk::tuned::text(&measured, &advice, &record::now(), &kernel);
    let path = arguments.dir.join(tuned::FILE);
    record::write_durably(&arguments.dir, &path, &text)
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    print(&disk::plot::written(&path))
}
