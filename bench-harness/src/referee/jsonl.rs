//! Histories as files: one event a line.

use super::history::Event;
use super::judge::Judge;
use super::verdict::Verdict;
use std::io::{self, BufRead, Write};

/// Reads one event after the other.
pub fn read(input: impl BufRead) -> impl Iterator<Item = io::Result<Event>> {
    let mut input = input;
    let mut line = String::new();
    let mut number = 0u64;
    std::iter::from_fn(move || {
        loop {
            line.clear();
            number += 1;
            match input.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim().is_empty() => {}
                Ok(_) => {
                    let event = serde_json::from_str(&line);
                    return Some(
                        event.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {e}"))),
                    );
                }
                Err(e) => return Some(Err(e)),
            }
        }
    })
}

pub fn write(output: &mut impl Write, event: &Event) -> io::Result<()> {
    serde_json::to_writer(&mut *output, event)?;
    output.write_all(b"\n")
}

/// Judges without keeping what was read.
pub fn judge(input: impl BufRead) -> io::Result<Verdict> {
    let mut judge = Judge::new();
    for event in read(input) {
        judge.take(&event?);
    }
    Ok(judge.finish())
}
