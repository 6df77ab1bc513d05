//! What is seen while a run goes on: one line that changes on a terminal, a line each second elsewhere. On standard error, so that
//! standard output holds results only.

use crate::bench::load::Event;
use crate::bench::result::Second;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

/// Shows one run.
pub struct Live {
    /// What is run, before each line.
    title: String,
    terminal: bool,
    phase: String,
    /// A line that the next one takes the place of.
    pending: bool,
}

fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Text in red where that can be seen.
pub fn red(text: &str) -> String {
    if colours() { format!("\x1b[1;31m{text}\x1b[0m") } else { text.to_string() }
}

impl Live {
    pub fn new(title: String) -> Live {
        Live { title, terminal: std::io::stderr().is_terminal(), phase: String::new(), pending: false }
    }

    /// Takes what the load tells.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Phase(_, what) => {
                self.phase = (*what).to_string();
                self.show(format!("{}: {what}", self.title));
            }
            Event::Second(second) => {
                let text = format!("{}: {}", self.title, line(&self.phase, second));
                self.show(text);
            }
        }
    }

    fn show(&mut self, text: String) {
        let mut out = std::io::stderr().lock();
        // Nobody may be looking any more.
        let _ = match self.terminal {
            true => write!(out, "\r\x1b[2K{text}").and_then(|()| out.flush()),
            false => writeln!(out, "{text}"),
        };
        self.pending = self.terminal;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.pending {
            eprintln!();
        }
    }
}

/// One second in words.
pub fn line(phase: &str, s: &Second) -> String {
    let mut text = format!("{:>4} s {phase}", s.at + 1);
    let mut rate = |what: &str, records: u64, bytes: u64| {
        if records > 0 {
            let _ = write!(text, "  {what} {}/s {:.1} MB/s", grouped(records), bytes as f64 / 1e6);
        }
    };
    rate("acked", s.acked_records, s.acked_bytes);
    rate("read", s.read_records, s.read_bytes);
    let mut times = |what: &str, p50: u64, p99: u64, max: u64| {
        if max > 0 {
            let _ = write!(text, "  {what} p50 {} p99 {} max {} ms", ms(p50), ms(p99), ms(max));
        }
    };
    times("publish", s.publish_p50, s.publish_p99, s.publish_max);
    times("end to end", s.end_to_end_p50, s.end_to_end_p99, s.end_to_end_max);
    if s.errors > 0 {
        let _ = write!(text, "  {} ERRORS", s.errors);
    }
    text
}

/// Microseconds as milliseconds, three digits.
fn ms(us: u64) -> String {
    let ms = us as f64 / 1000.0;
    match ms {
        _ if ms < 10.0 => format!("{ms:.2}"),
        _ if ms < 100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// A number with its thousands apart.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
