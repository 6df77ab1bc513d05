//! Incremental fetch sessions (KIP-227) of one core's connections: what a consumer fetches, remembered, so that its requests
//! and our answers carry only what changed. A bounded cache; what is pushed out costs the consumer one full fetch.

use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::types::{MonoMs, PartitionKey, TopicId};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
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

    /// Takes over what is asked; what was told stays.
    fn ask(&mut self, part: &SessionPart) {
        let least = if planted(Bug::SeekBackIgnored) { self.offset } else { i64::MIN };
        (self.offset, self.max_bytes) = (part.offset.max(least), part.max_bytes);
        (self.leader_epoch, self.last_fetched_epoch) = (part.leader_epoch, part.last_fetched_epoch);
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

/// A partition an incremental request drops: by topic id, or by name where there is none; and its index.
pub type Forgotten = (Option<TopicId>, Arc<str>, i32);

/// Up to this many comparisons a session is searched as it stands; beyond it, an index is made.
const SEARCH_MAX: usize = 4096;

impl Session {
    /// Adds, changes and forgets what an incremental request says. The work grows with the request and the session, not with their
    /// product.
    pub fn update(&mut self, changed: impl ExactSizeIterator<Item = SessionPart>, forgotten: &[Forgotten]) {
        if forgotten.len() * self.parts.len() <= SEARCH_MAX {
            self.parts.retain(|part| {
                !forgotten.iter().any(|(id, name, index)| {
                    *index == part.index && id.map_or(*name == part.name, |id| id == part.topic)
                })
            });
        } else {
            let by_id: BTreeSet<(TopicId, i32)> =
                forgotten.iter().filter_map(|(id, _, i)| Some(((*id)?, *i))).collect();
            let by_name: BTreeSet<(&str, i32)> =
                forgotten.iter().filter(|(id, ..)| id.is_none()).map(|(_, name, i)| (&**name, *i)).collect();
            self.parts.retain(|part| {
                !by_id.contains(&(part.topic, part.index)) && !by_name.contains(&(&*part.name, part.index))
            });
        }
        if changed.len() * self.parts.len() <= SEARCH_MAX && changed.len() <= SEARCH_MAX / 64 {
            for part in changed {
                match self.parts.iter_mut().find(|p| p.key() == part.key() && p.name == part.name) {
                    Some(known) => known.ask(&part),
                    None => self.parts.push(part),
                }
            }
            return;
        }
        let mut places: BTreeMap<(TopicId, i32, Arc<str>), usize> =
            self.parts.iter().enumerate().map(|(at, p)| ((p.topic, p.index, p.name.clone()), at)).collect();
        for part in changed {
            match places.entry((part.topic, part.index, part.name.clone())) {
                Entry::Occupied(place) => self.parts[*place.get()].ask(&part),
                Entry::Vacant(place) => {
                    place.insert(self.parts.len());
                    self.parts.push(part);
                }
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn part(topic: u8, index: i32, offset: i64) -> SessionPart {
        SessionPart {
            name: format!("t{topic}").into(),
            topic: TopicId([topic; 16]),
            index,
            leader_epoch: 0,
            last_fetched_epoch: -1,
            offset,
            max_bytes: 1,
            high_watermark: 7,
            log_start: 0,
        }
    }

    /// Both ways of finding partitions say the same, and keep the order.
    #[test]
    fn large_and_small_sessions_are_updated_alike() {
        for size in [10, 3000] {
            let parts = (0..size).map(|i| part(1, i, 0)).collect();
            let mut session = Session { epoch: 1, parts, used: MonoMs(0), by_id: true };
            let mut forgotten: Vec<Forgotten> =
                (0..size / 2).map(|i| (Some(TopicId([1; 16])), "".into(), i * 2)).collect();
            forgotten.push((None, "t1".into(), 1));
            let changed: Vec<SessionPart> =
                (3..size).step_by(2).map(|i| part(1, i, 5)).chain([part(2, 0, 9)]).collect();
            session.update(changed.clone().into_iter(), &forgotten);
            let left: Vec<i32> = session.parts.iter().map(|p| p.index).collect();
            let expected: Vec<i32> = (3..size).step_by(2).chain([0]).collect();
            assert_eq!(left, expected);
            assert!(session.parts.iter().all(|p| p.offset == if p.topic == TopicId([1; 16]) { 5 } else { 9 }));
            assert!(session.parts.iter().all(|p| p.high_watermark == 7), "what was told stays");
        }
    }
}
