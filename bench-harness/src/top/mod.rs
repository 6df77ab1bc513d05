//! `ringlog top`: a broker's cores, partitions, clients and groups, live in a terminal. It reads the broker's metrics endpoint and
//! nothing else, so it works wherever that can be reached.

mod screen;
mod sheets;
mod snapshot;

use clap::Parser;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use screen::Screen;
use sheets::{Sheet, View, summary};
use snapshot::{Change, Snapshot};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How often keys are looked for.
const KEYS: Duration = Duration::from_millis(100);

/// Cores, partitions, clients and groups of a broker, live.
#[derive(Parser, Debug)]
#[command(name = "ringlog top", bin_name = "ringlog top", version)]
struct Args {
    /// The broker's metrics endpoint (its setting `ringlog.admin.address`).
    #[arg(long, short, value_name = "HOST:PORT", default_value = "127.0.0.1:9099")]
    metrics: String,
    /// What is shown first.
    #[arg(long, value_enum, default_value = "cores")]
    view: View,
    /// Seconds between two looks at the broker.
    #[arg(long, short, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
    /// Only rows with this text.
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,
    /// Looks twice, an interval apart, prints the view as plain text and ends.
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("from 0.1 to 3600".to_string()) }
}

/// Runs the command that the process was given.
pub fn run() -> ExitCode {
    let args = Args::parse();
    let base = args.metrics.strip_prefix("http://").unwrap_or(&args.metrics).trim_end_matches('/').to_string();
    let every = Duration::from_secs_f64(args.interval);
    let mut screen = Screen::new(args.view);
    screen.filter = args.filter;
    let done = if args.once { once(&base, every, &mut screen) } else { live(&base, every, &mut screen) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!(
                "ringlog top: {base}: {e}. Is a broker running there, and is {base} its `ringlog.admin.address`?"
            );
            ExitCode::FAILURE
        }
    }
}

/// Two looks, and the view as text.
fn once(base: &str, every: Duration, screen: &mut Screen) -> io::Result<()> {
    let page = screen.view.page();
    let before = Snapshot::take(base, page)?;
    std::thread::sleep(every);
    let now = Snapshot::take(base, page)?;
    let change = Change { before: Some(&before), now: &now };
    let mut out = io::stdout().lock();
    let printed = summary(&change).iter().try_for_each(|line| writeln!(out, "{line}"));
    match printed.and_then(|()| print(&mut out, &screen.sheet(&change))) {
        // Whoever reads it has read enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// A table in columns.
fn print(out: &mut impl Write, sheet: &Sheet) -> io::Result<()> {
    let titles = sheet.columns.iter().map(|(title, _)| (*title).to_string()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(titles)
        .chain(sheet.rows.iter().map(|row| row.iter().map(|cell| cell.show()).collect()))
        .collect();
    let width = |k: usize| lines.iter().map(|line| line[k].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..sheet.columns.len()).map(width).collect();
    for line in &lines {
        let cells = line.iter().enumerate().map(|(k, text)| match sheet.columns[k].1 {
            true => format!("{text:>0$}", widths[k]),
            false => format!("{text:<0$}", widths[k]),
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    sheet.note.iter().try_for_each(|note| writeln!(out, "{note}"))
}

/// Looks at the broker each interval, on a thread of its own: a broker that does not answer must not hold up the keys.
fn watch(
    base: String,
    every: Duration,
    views: &Receiver<Option<&'static str>>,
    to: &Sender<(Option<&'static str>, io::Result<Snapshot>)>,
) {
    let mut page = None;
    loop {
        if to.send((page, Snapshot::take(&base, page))).is_err() {
            return;
        }
        match views.recv_timeout(every) {
            Ok(next) => page = views.try_iter().last().unwrap_or(next),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn live(base: &str, every: Duration, screen: &mut Screen) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return Err(io::Error::other("standard output is no terminal; `--once` prints without one"));
    }
    let (to_watch, views) = channel();
    let (sender, looks) = channel();
    let _ = to_watch.send(screen.view.page());
    let address = base.to_string();
    std::thread::spawn(move || watch(address, every, &views, &sender));
    let mut terminal = ratatui::try_init()?;
    let done = attend(&mut terminal, base, screen, &to_watch, &looks);
    ratatui::try_restore()?;
    done
}

/// Draws, and follows the keys, until told to leave.
fn attend(
    terminal: &mut ratatui::DefaultTerminal,
    base: &str,
    screen: &mut Screen,
    views: &Sender<Option<&'static str>>,
    looks: &Receiver<(Option<&'static str>, io::Result<Snapshot>)>,
) -> io::Result<()> {
    let (mut before, mut now, mut trouble) = (None::<Snapshot>, None::<Snapshot>, None::<String>);
    let mut page = screen.view.page();
    loop {
        for (of, look) in looks.try_iter() {
            // What is on its way for a view that was left tells nothing of this one.
            if screen.paused || of != page {
                continue;
            }
            trouble = look.as_ref().err().map(|e| format!("no answer from {base}: {e}"));
            if let Ok(look) = look {
                before = now.replace(look);
            }
        }
        let change = now.as_ref().map(|now| Change { before: before.as_ref(), now });
        terminal.draw(|frame| screen.draw(frame, base, change.as_ref(), trouble.as_deref()))?;
        if !event::poll(KEYS)? {
            continue;
        }
        if let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && !screen.key(key)
        {
            return Ok(());
        }
        if screen.view.page() != page {
            page = screen.view.page();
            before = None;
            let _ = views.send(page);
        }
    }
}
