//! What `check` and `explain` print: a table with what matters first, the same as JSON, and rows in full.

use crate::entry::{Applied, Entry, Finding, State, Weight};
use crate::host::Host;
use serde_json::{Value, json};
use std::fmt::Write;

/// A row and what its check found.
#[derive(Debug)]
pub struct Checked {
    pub entry: &'static Entry,
    pub found: Finding,
}

impl Checked {
    pub fn weight(&self) -> Weight {
        self.found.weight.unwrap_or(self.entry.weight)
    }

    /// What is off comes first, then what is not known, what is to be known, what is good, what is not there.
    fn rank(&self) -> (u8, Weight) {
        let state = match self.found.state {
            State::Off => 0,
            State::Unreadable(_) => 1,
            State::Told => 2,
            State::Good => 3,
            State::Absent(_) => 4,
        };
        (state, self.weight())
    }

    fn state(&self) -> &'static str {
        match self.found.state {
            State::Off => "off",
            State::Unreadable(_) => "unknown",
            State::Told => "told",
            State::Good => "good",
            State::Absent(_) => "absent",
        }
    }

    fn is(&self) -> String {
        match &self.found.state {
            State::Unreadable(why) => format!("cannot be read: {why}"),
            State::Absent(why) => why.clone(),
            _ => self.found.is.clone(),
        }
    }
}

/// Runs every check; what matters first.
pub fn checked(host: &Host) -> Vec<Checked> {
    let mut all: Vec<Checked> =
        crate::settings::all().map(|entry| Checked { entry, found: (entry.check)(host) }).collect();
    all.sort_by_key(Checked::rank);
    all
}

/// Something important is off: the broker does not run, or data may be lost.
pub fn is_bad(checked: &[Checked]) -> bool {
    checked.iter().any(|c| c.found.state == State::Off && c.weight() == Weight::Important)
}

pub fn table(checked: &[Checked]) -> String {
    let mut text = format!("{:<22} {:<8} {:<10} {}\n", "SETTING", "STATE", "WEIGHT", "IS");
    for c in checked {
        let weight = if c.found.state == State::Off { c.weight().name() } else { "" };
        let _ = writeln!(text, "{:<22} {:<8} {:<10} {}", c.entry.name, c.state(), weight, c.is());
        if c.found.state == State::Off {
            let _ = writeln!(text, "{:<22}   good: {}", "", c.entry.good);
            let _ = writeln!(text, "{:<22}   why: {}", "", c.entry.why);
            let _ = writeln!(text, "{:<22}   {}", "", way(c));
        }
    }
    text
}

/// What is to be done about a setting that is off.
fn way(c: &Checked) -> String {
    match c.entry.applied {
        Applied::Written if c.found.changes.is_empty() => "not offered by this machine".into(),
        Applied::Written => "`ringlog tune apply` does it".into(),
        Applied::OnRequest(why) => format!("`ringlog tune apply --only {}` does it; {why}", c.entry.name),
        Applied::ByHand { how, .. } => how.into(),
        Applied::Told(why) => format!("not changed: {why}"),
    }
}

pub fn json(checked: &[Checked]) -> Value {
    let rows = checked.iter().map(|c| {
        let changes = c.found.changes.iter().map(|ch| json!({"path": ch.path, "old": ch.old, "new": ch.new}));
        json!({
            "name": c.entry.name,
            "state": c.state(),
            "weight": c.weight().name(),
            "is": c.is(),
            "good": c.entry.good,
            "changes": changes.collect::<Vec<_>>(),
        })
    });
    json!({"version": 1, "bad": is_bad(checked), "settings": rows.collect::<Vec<_>>()})
}

/// A row in full.
pub fn explained(entry: &Entry) -> String {
    let (how, back) = match entry.applied {
        Applied::Written => ("by `ringlog tune apply`".to_string(), "`ringlog tune undo`".to_string()),
        Applied::OnRequest(why) => {
            (format!("by `ringlog tune apply --only {}`: {why}", entry.name), "`ringlog tune undo`".to_string())
        }
        Applied::ByHand { how, back } => (how.to_string(), back.to_string()),
        Applied::Told(why) => (format!("not changed: {why}"), "-".to_string()),
    };
    format!(
        "{} ({})\n  what:    {}\n  why:     {}\n  source:  {}\n  good:    {}\n  applied: {how}\n  undone:  {back}\n",
        entry.name,
        entry.weight.name(),
        entry.what,
        entry.why,
        entry.source,
        entry.good
    )
}
