//! The referee: judges a history of what clients asked and were told. It knows Kafka's promises and nothing of any broker's
//! insides; its input is [`history`], from the simulator, from real runs, or from elsewhere.
//!
//! A violation is a contradiction: no order of events that fits what was told keeps the promise ([`rule::RULES`]). What may have
//! happened or not is taken to have, until a read shows it. The events themselves are not kept: what is kept grows with
//! records, some 190 bytes for each.
//!
//! Who writes a history owes it: the creation of every topic, with its promise; a final read of every partition up to its high
//! watermark, once that covers what acks=1 acknowledged; its members' releases; and, for retention by time, the broker's clock.
//! acks=0 promises nothing. A kill of the broker and its start each begin another life of it; what may have been lost, may
//! have been lost between two of them.

pub mod edn;
mod groups;
pub mod history;
pub mod jepsen;
pub mod jsonl;
mod judge;
mod log;
mod order;
mod presence;
mod reads;
mod retention;
pub mod rule;
mod sends;
mod times;
mod topics;
mod transactions;
mod verdict;

pub use judge::Judge;
pub use rule::Rule;
pub use verdict::{Counts, Finding, Verdict, Violation};

use history::Event;

/// Judges a history in memory.
pub fn judge(history: &[Event]) -> Verdict {
    let mut judge = Judge::new();
    for event in history {
        judge.take(event);
    }
    judge.finish()
}
