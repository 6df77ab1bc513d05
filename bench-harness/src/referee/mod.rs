//! The referee: judges a history of what clients asked and were told. It knows Kafka's promises and nothing of any broker's
//! insides; its input is [`history`], from the simulator, from real runs, or from elsewhere.
//!
//! A violation is a contradiction: no order of events that fits what was told keeps the promise ([`rule::RULES`]). What may have
//! happened or not is taken to have, until a read shows it. The events themselves are not kept.

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
