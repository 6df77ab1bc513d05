//! Incremental fetch sessions (KIP-227) of one core's connections: what a consumer fetches, remembered, so that its requests
//! and our answers carry only what changed. A bounded cache; what is pushed out costs the consumer one full fetch.

use ringlog_engine::types::{MonoMs, PartitionKey, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A session not used for this long may be pushed out by a new one (Kafka: `MinIncrementalFetchSessionEvictionMs`).
const EVICTABLE_AFTER_MS: u64 = 120_000;

/// A partition of a session: what is asked, and what was answered last.
#[derive(Clone, Debug)]
pub struct SessionPart {
    pub name: Arc<str>,
    pub topic: TopicId,
    pub index: i32,
    pub leader_epoch: i32,
    pub last_fetched_epoch: i32,
    pub offset: i64,
    pub max_bytes: i32,
    pub high_watermark: i64,
    pub log_start: i64,
}

impl SessionPart {
    pub fn key(&self) -> PartitionKey {
        PartitionKey { topic: self.topic, partition: self.index }
    }
}

#[derive(Debug)]
pub struct Session {
    /// Expected epoch of the next request.
    pub epoch: i32,
    /// In the order they were added; moved to the end when they gave data, so that all get their turn.
    pub parts: Vec<SessionPart>,
    pub used: MonoMs,
    /// Topics are named by id (Fetch 13+): a session keeps to one way.
    pub by_id: bool,
}

#[derive(Debug, Default)]
pub struct Sessions {
    sessions: BTreeMap<i32, Session>,
    next: i32,
}

impl Sessions {
    /// Room for one more, at the cost of the one unused for longest if that is long enough.
    pub fn create(
        &mut self,
        parts: Vec<SessionPart>,
        by_id: bool,
        now: MonoMs,
        limit: usize,
        core: u16,
        cores: u16,
    ) -> i32 {
        if self.sessions.len() >= limit {
            let oldest = self.sessions.iter().min_by_key(|(_, s)| s.used).map(|(id, s)| (*id, s.used));
            match oldest {
                Some((id, used)) if now.0.saturating_sub(used.0) >= EVICTABLE_AFTER_MS => {
                    self.sessions.remove(&id);
                }
                _ => return 0,
            }
        }
        // Ids of different cores never meet: a session asked for on the wrong core is not found there.
        let id = loop {
            self.next = self.next.wrapping_add(1) & 0x00ff_ffff;
            let id = self.next.wrapping_mul(i32::from(cores)).wrapping_add(i32::from(core)) & i32::MAX;
            if id != 0 && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        self.sessions.insert(id, Session { epoch: 1, parts, used: now, by_id });
        id
    }

    pub fn get_mut(&mut self, id: i32) -> Option<&mut Session> {
        self.sessions.get_mut(&id)
    }

    pub fn remove(&mut self, id: i32) {
        self.sessions.remove(&id);
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

/// The epoch after this one: 0 and below are never expected.
pub fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}
