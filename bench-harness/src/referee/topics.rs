//! Topics as a history makes, alters and deletes them: which promises may be in force, and whether a call can still be of the
//! incarnation it names.

use super::history::Promise;
use super::verdict::Span;
use std::collections::HashMap;

/// One incarnation of a name.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    /// False: its creation is not in the history, and nothing is promised.
    pub(super) known: bool,
    /// Those of which one is in force.
    promises: Vec<Promise>,
    /// Since when acknowledged means flushed, with certainty.
    pub(super) flushed_since: Option<u64>,
    /// A crash may have taken something at some time.
    pub(super) ever_relaxed: bool,
    /// The shortest retention that may ever have been in force.
    pub(super) shortest_ms: Option<i64>,
    pub(super) by_size: bool,
    pub(super) ever_compacted: bool,
    /// Records may have times other than their producers'.
    pub(super) ever_append_time: bool,
    /// Its deletion: when it was called, and when it was done.
    pub(super) deletion: Option<Span>,
}

impl Topic {
    fn allow(&mut self, promise: &Promise) {
        self.ever_relaxed |= !promise.flushed;
        if let Some(ms) = promise.retention_ms {
            self.shortest_ms = Some(self.shortest_ms.map_or(ms, |shortest| shortest.min(ms)));
        }
        self.by_size |= promise.retention_bytes.is_some();
        self.ever_compacted |= promise.compacted;
        self.ever_append_time |= promise.log_append_time;
        self.promises.push(promise.clone());
    }

    fn settle(&mut self, now: u64) {
        let flushed = !self.promises.is_empty() && self.promises.iter().all(|promise| promise.flushed);
        self.flushed_since = flushed.then(|| self.flushed_since.unwrap_or(now));
    }

    /// What was written by a call of this time and acknowledged by acks=all, or seen, stays for ever.
    pub(super) fn is_durable(&self, written: u64) -> bool {
        self.flushed_since.is_some_and(|since| since <= written)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Topics {
    pub(super) all: Vec<Topic>,
    named: HashMap<String, Vec<(u32, usize)>>,
}

impl Topics {
    /// The index of an incarnation; one that nobody made is not known.
    pub(super) fn index(&mut self, name: &str, incarnation: u32) -> usize {
        let of_name = self.named.get(name).map_or(&[][..], Vec::as_slice);
        if let Some((_, index)) = of_name.iter().find(|(i, _)| *i == incarnation) {
            return *index;
        }
        let index = self.all.len();
        self.all.push(Topic {
            name: name.to_string(),
            known: false,
            promises: Vec::new(),
            flushed_since: None,
            ever_relaxed: false,
            shortest_ms: None,
            by_size: false,
            ever_compacted: false,
            ever_append_time: false,
            deletion: None,
        });
        self.named.entry(name.to_string()).or_default().push((incarnation, index));
        index
    }

    pub(super) fn creating(&mut self, index: usize, promise: &Promise, now: u64) {
        let topic = &mut self.all[index];
        topic.known = true;
        topic.allow(promise);
        topic.settle(now);
    }

    /// The old promise or the new one is in force.
    pub(super) fn altering(&mut self, index: usize, promise: &Promise, now: u64) {
        self.all[index].allow(promise);
        self.all[index].settle(now);
    }

    /// It is known which: `done` the new one, otherwise not.
    pub(super) fn altered(&mut self, index: usize, promise: &Promise, done: bool, now: u64) {
        let topic = &mut self.all[index];
        if done {
            topic.promises = vec![promise.clone()];
        } else if topic.promises.len() > 1
            && let Some(at) = topic.promises.iter().rposition(|p| p == promise)
        {
            topic.promises.remove(at);
        }
        topic.settle(now);
    }
}
