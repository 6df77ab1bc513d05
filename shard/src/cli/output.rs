//! How the tools end and what they print: failures, aligned tables, JSON lines. Not what they say.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// Why a tool stops before its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be done. The text says what to do about it.
    Failed(String),
    /// It was asked for wrongly.
    Usage(String),
    /// Whoever read our output has gone (`ringlog consume t | head`): not an error.
    OutputClosed,
}

impl From<io::Error> for Failure {
    /// For standard output only: network errors are worded where they happen.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Failed(format!("cannot write to standard output: {error}")),
        }
    }
}

pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let text = if out.is_terminal() { format!("{value:#}") } else { value.to_string() };
    writeln!(out, "{text}")?;
    Ok(())
}

pub(super) fn print(text: &str) -> Result<(), Failure> {
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// Columns as wide as their widest cell, two spaces apart. Columns of numbers are aligned to the right.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Table {
        Table { rows: vec![header.iter().map(|cell| cell.to_string()).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<String> = cells.into_iter().collect();
        assert_eq!(row.len(), self.rows[0].len(), "a row has one cell for each column");
        self.rows.push(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    pub(super) fn render(&self) -> String {
        let columns = self.rows[0].len();
        let width = |c: usize| self.rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
        let is_number = |cell: &String| cell == "-" || cell.parse::<i64>().is_ok();
        let layout: Vec<(usize, bool)> =
            (0..columns).map(|c| (width(c), self.rows[1..].iter().all(|row| is_number(&row[c])))).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, (width, right)) in row.iter().zip(&layout) {
                let pad = " ".repeat(width - cell.chars().count());
                let (before, after) = if *right { (pad.as_str(), "") } else { ("", pad.as_str()) };
                line.push_str(&format!("{before}{cell}{after}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// "1 topic", "2 topics".
pub(super) fn counted(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_align_right_and_words_left() {
        let mut table = Table::new(&["NAME", "LAG"]);
        table.row(["orders".to_string(), "7".to_string()]);
        table.row(["x".to_string(), "12345".to_string()]);
        assert_eq!(table.render(), "NAME      LAG\norders      7\nx       12345\n");
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        assert!(matches!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)), Failure::OutputClosed));
        assert!(matches!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)), Failure::Failed(_)));
    }
}
