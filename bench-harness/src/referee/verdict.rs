//! What the referee says of a history, and how it shows it to people: a violation in words, and the few events it is about.

use super::history::Event;
use super::rule::Rule;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Violations of one rule that are kept; further ones are counted.
const KEPT_PER_RULE: u64 = 20;
/// Bytes of an event that are shown.
const SHOWN: usize = 600;

/// When a call began and ended, as positions in the history. [`Span::NEVER`]: it did not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) call: u64,
    pub(super) ret: u64,
}

impl Span {
    pub(super) const NEVER: u64 = u64::MAX;
    pub(super) const NONE: Span = Span { call: Self::NEVER, ret: Self::NEVER };

    /// This call was answered before that one was made.
    pub(super) fn before(self, other: Span) -> bool {
        self.ret < other.call
    }
}

/// A broken rule.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Violation {
    pub rule: Rule,
    /// What happened, in words.
    pub what: String,
    /// Positions, from 0, of the events that show it.
    pub events: Vec<u64>,
}

/// What a history held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    pub events: u64,
    pub calls: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls whose outcome nobody knows.
    pub unknown: u64,
    /// Records sent, and those of them that were acknowledged.
    pub sent: u64,
    pub acknowledged: u64,
    /// Records that readers got, each as often as one did.
    pub read: u64,
    /// Times that the broker ended or came back.
    pub broker: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    Valid,
    Invalid,
    Inconclusive,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// Violations that are not listed, by rule.
    pub further: BTreeMap<Rule, u64>,
    /// What the history lacks, so that nobody can say it is valid.
    pub missing: Vec<String>,
    pub counts: Counts,
}

impl Verdict {
    pub fn finding(&self) -> Finding {
        match (self.violations.is_empty(), self.missing.is_empty()) {
            (false, _) => Finding::Invalid,
            (true, false) => Finding::Inconclusive,
            (true, true) => Finding::Valid,
        }
    }

    /// Positions of all events that violations are shown with.
    pub fn shown(&self) -> Vec<u64> {
        let mut positions: Vec<u64> = self.violations.iter().flat_map(|v| v.events.iter().copied()).collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    /// For people: every violation with its slice of the history, of which `event` gives the lines.
    pub fn explain(&self, event: impl Fn(u64) -> Option<String>) -> String {
        let mut text = String::new();
        for violation in &self.violations {
            let _ = writeln!(text, "{}: {}", violation.rule, violation.what);
            let _ = writeln!(text, "  the promise: {}", violation.rule.promise());
            for position in &violation.events {
                let mut line = event(*position).unwrap_or_else(|| "(not at hand)".to_string());
                if line.len() > SHOWN {
                    let cut = (0..=SHOWN).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
                    line.truncate(cut);
                    line.push_str(" ...");
                }
                let _ = writeln!(text, "  #{position} {line}");
            }
        }
        for (rule, count) in &self.further {
            let _ = writeln!(text, "{rule}: {count} more");
        }
        for what in &self.missing {
            let _ = writeln!(text, "missing: {what}");
        }
        let c = &self.counts;
        let _ = writeln!(
            text,
            "{}: {} calls ({} refused, {} unknown), {} records sent, {} acknowledged, {} read",
            match self.finding() {
                Finding::Valid => "valid",
                Finding::Invalid => "INVALID",
                Finding::Inconclusive => "inconclusive",
            },
            c.calls,
            c.refused,
            c.unknown,
            c.sent,
            c.acknowledged,
            c.read
        );
        text
    }

    /// [`Verdict::explain`] of a history in memory.
    pub fn explain_of(&self, history: &[Event]) -> String {
        self.explain(|position| {
            let event = history.get(usize::try_from(position).ok()?)?;
            serde_json::to_string(event).ok()
        })
    }
}

/// Gathers a verdict.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) verdict: Verdict,
    by_rule: BTreeMap<Rule, u64>,
}

impl Report {
    pub(super) fn add(&mut self, rule: Rule, spans: &[Span], what: impl FnOnce() -> String) {
        let count = self.by_rule.entry(rule).or_default();
        *count += 1;
        if *count > KEPT_PER_RULE {
            *self.verdict.further.entry(rule).or_default() += 1;
            return;
        }
        let mut events: Vec<u64> = spans.iter().flat_map(|s| [s.call, s.ret]).filter(|at| *at != Span::NEVER).collect();
        events.sort_unstable();
        events.dedup();
        self.verdict.violations.push(Violation { rule, what: what(), events });
    }

    /// The same thing is said once.
    pub(super) fn miss(&mut self, what: String) {
        if !self.verdict.missing.contains(&what) {
            self.verdict.missing.push(what);
        }
    }
}
