//! Keeping the log short without compaction: the live records written again, so that older segments can be dropped.
//!
//! Each chunk takes its place in the order of appends. A record that is on its way to the log when a chunk is made is left out,
//! as the chunk would come after it with the older value; it is owed until it is known to be in the log after the start
//! (its append, made since, succeeded) or nothing of it is on its way any more (then a later chunk has it).

use super::Coordinator;
use super::api::{AppendId, KeyValue, Output};
use super::config::GroupConfig;
use super::outbox::{Effect, RecordKey};
use super::records::{encode_group_key, encode_offset, encode_offset_key};
use super::state::Group;
use crate::error::ErrorCode;
use crate::probe::{Bug, planted};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

pub(super) struct Snapshot {
    /// Appends from here on are behind the point that older segments are cut at.
    first: AppendId,
    /// The last key written or owed; None before the first.
    cursor: Option<RecordKey>,
    walked: bool,
    owed: BTreeSet<RecordKey>,
    chunk_in_flight: bool,
}

impl Group {
    fn record(&self, key: &RecordKey) -> Option<KeyValue> {
        match &key.at {
            None => self.durable.as_ref().map(|value| (encode_group_key(&self.id), Some(value.clone()))),
            Some(at) => self
                .offsets
                .get(at)
                .map(|value| (encode_offset_key(&self.id, &at.topic, at.partition), Some(encode_offset(value)))),
        }
    }

    /// The keys of the group's durable records after `after`.
    fn keys_after(&self, after: Option<&RecordKey>) -> impl Iterator<Item = RecordKey> {
        let within = after.filter(|key| key.group == self.id);
        let own = (within.is_none() && self.durable.is_some()).then(|| RecordKey { group: self.id.clone(), at: None });
        let from = within.and_then(|key| key.at.as_ref()).map_or(Bound::Unbounded, Bound::Excluded);
        let offsets = self.offsets.range((from, Bound::Unbounded));
        own.into_iter().chain(offsets.map(|(at, _)| RecordKey { group: self.id.clone(), at: Some(at.clone()) }))
    }
}

impl Coordinator {
    /// Starts rewriting every live record, in chunks of `append_max_bytes`, one append at a time among the others.
    ///
    /// The caller notes the log's end offset before it calls this, after the appends it has polled so far were given their
    /// offsets; goes on polling and answering appends as ever; and at `SnapshotDone` with Ok may drop the segments that lie
    /// wholly below the noted offset. Replaying what is left gives the same state. A failed append ends the
    /// snapshot: nothing may be dropped. False where one is under way already.
    pub fn begin_snapshot(&mut self, config: &GroupConfig) -> bool {
        if self.snapshot.is_some() {
            return false;
        }
        self.snapshot = Some(Snapshot {
            first: self.out.next_append(),
            cursor: None,
            walked: false,
            // Not in the state yet, and in the log before the point that is cut at.
            owed: self.out.effects_in_flight().map(Effect::key).collect(),
            chunk_in_flight: false,
        });
        self.advance_snapshot(config);
        true
    }

    /// The number of live records and their bytes, encoded: what a snapshot would write. Walks everything.
    pub fn live_size(&self) -> (usize, usize) {
        self.records().fold((0, 0), |(count, bytes), (key, value)| {
            (count + 1, bytes + key.len() + value.as_ref().map_or(0, Vec::len))
        })
    }

    /// Every live durable record, by group. Appends under way are not in it.
    pub fn records(&self) -> impl Iterator<Item = KeyValue> {
        self.groups.values().flat_map(|group| group.keys_after(None).filter_map(|key| group.record(&key)))
    }

    /// An append of these keys is done.
    pub(super) fn settle_snapshot(&mut self, id: AppendId, effects: &[RecordKey], result: Result<(), ErrorCode>) {
        if let Some(snapshot) = &mut self.snapshot
            && id >= snapshot.first
            && result.is_ok()
        {
            for key in effects {
                snapshot.owed.remove(key);
            }
        }
    }

    pub(super) fn on_snapshot_chunk(&mut self, result: Result<(), ErrorCode>) {
        match (&mut self.snapshot, result) {
            (Some(snapshot), Ok(())) => snapshot.chunk_in_flight = false,
            _ => {
                self.snapshot = None;
                self.out.output(Output::SnapshotDone { result });
            }
        }
    }

    /// Writes the next chunk, or says that the snapshot is complete.
    pub(super) fn advance_snapshot(&mut self, config: &GroupConfig) {
        let Some(mut snapshot) = self.snapshot.take_if(|snapshot| !snapshot.chunk_in_flight) else { return };
        let moving: BTreeSet<RecordKey> = self.out.effects_in_flight().map(Effect::key).collect();
        let mut chunk = Chunk { records: Vec::new(), bytes: 0, limit: config.append_max_bytes };
        while !snapshot.walked && !chunk.is_full() {
            self.walk(&mut snapshot, &moving, &mut chunk);
        }
        let settled: Vec<RecordKey> = snapshot.owed.iter().filter(|key| !moving.contains(*key)).cloned().collect();
        for key in settled {
            if chunk.is_full() {
                break;
            }
            chunk.push(self.groups.get(&key.group).and_then(|group| group.record(&key)));
            snapshot.owed.remove(&key);
        }
        if !chunk.records.is_empty() {
            self.out.append_copies(chunk.records);
            snapshot.chunk_in_flight = true;
        } else if snapshot.walked && snapshot.owed.is_empty() {
            return self.out.output(Output::SnapshotDone { result: Ok(()) });
        }
        self.snapshot = Some(snapshot);
    }

    /// Takes the next group's records, as far as the chunk has room.
    fn walk(&self, snapshot: &mut Snapshot, moving: &BTreeSet<RecordKey>, chunk: &mut Chunk) {
        let from = snapshot.cursor.as_ref().map_or(Bound::Unbounded, |key| Bound::Included(key.group.clone()));
        for (_, group) in self.groups.range::<Arc<str>, _>((from, Bound::Unbounded)) {
            let after = snapshot.cursor.clone();
            for key in group.keys_after(after.as_ref()) {
                if chunk.is_full() {
                    return;
                }
                if moving.contains(&key) && !planted(Bug::SnapshotOldValue) {
                    snapshot.owed.insert(key.clone());
                } else {
                    chunk.push(group.record(&key));
                }
                snapshot.cursor = Some(key);
            }
        }
        snapshot.walked = true;
    }
}

struct Chunk {
    records: Vec<KeyValue>,
    bytes: usize,
    limit: usize,
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.bytes >= self.limit
    }

    fn push(&mut self, record: Option<KeyValue>) {
        if let Some((key, value)) = record {
            self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            self.records.push((key, value));
        }
    }
}
