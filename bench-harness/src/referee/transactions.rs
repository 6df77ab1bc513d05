//! Transactions: what each attempt sent, how it ended, and who had been fenced.

use super::history::Transaction;
use super::log::Mark;
use super::rule::Rule;
use super::verdict::{Report, Span};
use std::collections::HashMap;

/// How an attempt ended, as far as anybody can say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Committed(Span),
    /// A commit was asked for and not answered.
    Possible,
    Never,
}

#[derive(Debug)]
struct Attempt {
    name: Transaction,
    client: u32,
    begun: u64,
    /// Batches sent in it; and those that a last stable offset had passed when the commit was asked for.
    batches: Vec<u32>,
    passed: Vec<(u32, Mark)>,
    committed: Option<Span>,
    /// The first time that a commit was asked for that was not refused; some may be open.
    asked: Option<u64>,
    open: u32,
    aborted: bool,
    /// The first time that a reader of committed records saw something of it, and what.
    seen: Option<(Span, u64)>,
}

#[derive(Debug)]
struct Init {
    client: u32,
    by: Span,
}

#[derive(Debug, Default)]
pub(super) struct Transactions {
    all: Vec<Attempt>,
    by_name: HashMap<Transaction, u32>,
    inits: HashMap<String, Vec<Init>>,
}

impl Transactions {
    /// The index of an attempt; it begins when it is first spoken of.
    pub(super) fn index(&mut self, name: &Transaction, client: u32, now: u64) -> u32 {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let index = u32::try_from(self.all.len()).expect("a history has fewer than four billion transactions");
        self.all.push(Attempt {
            name: name.clone(),
            client,
            begun: now,
            batches: Vec::new(),
            passed: Vec::new(),
            committed: None,
            asked: None,
            open: 0,
            aborted: false,
            seen: None,
        });
        self.by_name.insert(name.clone(), index);
        index
    }

    pub(super) fn initialized(&mut self, id: &str, client: u32, by: Span) {
        self.inits.entry(id.to_string()).or_default().push(Init { client, by });
    }

    /// A commit is asked for.
    pub(super) fn ending(&mut self, index: u32, now: u64) {
        let attempt = &mut self.all[index as usize];
        attempt.asked.get_or_insert(now);
        attempt.open += 1;
    }

    /// A commit was answered with yes or no.
    pub(super) fn ended(&mut self, index: u32, by: Span, done: bool, report: &mut Report) {
        let attempt = &mut self.all[index as usize];
        attempt.open -= 1;
        if !done {
            if attempt.open == 0 && attempt.committed.is_none() {
                attempt.asked = None;
            }
            return;
        }
        attempt.committed.get_or_insert(by);
        let attempt = &self.all[index as usize];
        let inits = self.inits.get(&attempt.name.id).map_or(&[][..], Vec::as_slice);
        let own = inits.iter().rev().find(|init| init.client == attempt.client && init.by.ret < attempt.begun);
        // Whoever asked after the attempt's own producer was there, and was told before the commit was asked for.
        let since = own.map_or(attempt.begun, |own| own.by.ret);
        let later = inits.iter().find(|init| init.by.call > since && init.by.ret < by.call);
        if let Some(later) = later {
            report.add(Rule::Zombie, &[own.map_or(Span::NONE, |own| own.by), later.by, by], || {
                format!(
                    "transactional id {}: client {} committed attempt {}, although client {} had fenced it",
                    attempt.name.id, attempt.client, attempt.name.attempt, later.client
                )
            });
        }
    }

    pub(super) fn sent(&mut self, index: u32, batch: u32) {
        self.all[index as usize].batches.push(batch);
    }

    pub(super) fn batches(&self, index: u32) -> &[u32] {
        &self.all[index as usize].batches
    }

    pub(super) fn passed(&mut self, index: u32, batch: u32, stable: Mark) {
        self.all[index as usize].passed.push((batch, stable));
    }

    pub(super) fn take_passed(&mut self, index: u32) -> Vec<(u32, Mark)> {
        std::mem::take(&mut self.all[index as usize].passed)
    }

    pub(super) fn aborted(&mut self, index: u32) {
        self.all[index as usize].aborted = true;
    }

    /// A reader of committed records saw a value of it.
    pub(super) fn seen(&mut self, index: u32, by: Span, value: u64) {
        self.all[index as usize].seen.get_or_insert((by, value));
    }

    pub(super) fn is_seen(&self, index: u32) -> bool {
        self.all[index as usize].seen.is_some()
    }

    pub(super) fn end_of(&self, index: u32) -> End {
        let attempt = &self.all[index as usize];
        match (attempt.committed, attempt.asked) {
            (Some(by), _) => End::Committed(by),
            (None, Some(_)) if !attempt.aborted => End::Possible,
            _ => End::Never,
        }
    }

    /// At the end: nothing was seen of what did not commit.
    pub(super) fn judge(&self, report: &mut Report) {
        for (at, attempt) in self.all.iter().enumerate() {
            let Some((by, value)) = attempt.seen else { continue };
            let name = format!("transaction {} attempt {}", attempt.name.id, attempt.name.attempt);
            let index = u32::try_from(at).expect("counted in 32 bits");
            if self.end_of(index) != End::Never {
                if attempt.asked.is_some_and(|asked| by.ret < asked) {
                    report.add(Rule::AbortedRead, &[by], || {
                        format!("value {value} of {name} was read as committed before its commit was asked for")
                    });
                }
                continue;
            }
            let later = Transaction { id: attempt.name.id.clone(), attempt: attempt.name.attempt + 1 };
            let through = self.by_name.get(&later).map(|index| self.end_of(*index));
            match through {
                Some(End::Committed(commit)) if commit.call < by.ret => {
                    report.add(Rule::TornTransaction, &[commit, by], || {
                        format!(
                            "value {value} of {name}, which did not commit, was read after the next attempt committed"
                        )
                    });
                }
                _ => report.add(Rule::AbortedRead, &[by], || {
                    format!("value {value} of {name}, which did not commit, was read as committed")
                }),
            }
        }
    }
}
