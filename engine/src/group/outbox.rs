//! What leaves a coordinator: answers, appends and what waits for them, and the timers. Shared by all of its groups.
//! Not the decisions: `join`, `sync`, `offsets` and `admin` make those and put them here.

use super::api::{AppendId, JoinResponse, KeyValue, OffsetCommitResponse, Output, Response, SyncResponse, Ticket};
use super::config::GroupConfig;
use super::records::{OffsetValue, encode_group_key, encode_offset, encode_offset_key};
use super::state::Protocol;
use crate::error::ErrorCode;
use crate::types::{MonoMs, Now};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The arguments of a turn, handed down to the group that acts.
pub(super) struct Context<'a> {
    pub(super) now: Now,
    pub(super) config: &'a GroupConfig,
    pub(super) out: &'a mut Outbox,
}

/// Which partition an offset belongs to, within a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TopicPartition {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

/// One durable change: what a record says. The same on the way out (applied once appended) and at replay.
#[derive(Debug)]
pub(super) enum Effect {
    PutOffset {
        group: Arc<str>,
        at: TopicPartition,
        value: OffsetValue,
    },
    RemoveOffset {
        group: Arc<str>,
        at: TopicPartition,
    },
    /// The encoded value: kept as it is for the next snapshot.
    PutGroup {
        group: Arc<str>,
        value: Vec<u8>,
    },
    RemoveGroup {
        group: Arc<str>,
    },
}

impl Effect {
    pub(super) fn group(&self) -> &Arc<str> {
        match self {
            Effect::PutOffset { group, .. }
            | Effect::RemoveOffset { group, .. }
            | Effect::PutGroup { group, .. }
            | Effect::RemoveGroup { group } => group,
        }
    }

    pub(super) fn key(&self) -> RecordKey {
        match self {
            Effect::PutOffset { group, at, .. } | Effect::RemoveOffset { group, at } => {
                RecordKey { group: group.clone(), at: Some(at.clone()) }
            }
            Effect::PutGroup { group, .. } | Effect::RemoveGroup { group } => {
                RecordKey { group: group.clone(), at: None }
            }
        }
    }

    fn record(&self) -> KeyValue {
        match self {
            Effect::PutOffset { group, at, value } => {
                (encode_offset_key(group, &at.topic, at.partition), Some(encode_offset(value)))
            }
            Effect::RemoveOffset { group, at } => (encode_offset_key(group, &at.topic, at.partition), None),
            Effect::PutGroup { group, value } => (encode_group_key(group), Some(value.clone())),
            Effect::RemoveGroup { group } => (encode_group_key(group), None),
        }
    }
}

/// A record's key, ordered by group: first the group's own record, then its offsets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct RecordKey {
    pub(super) group: Arc<str>,
    pub(super) at: Option<TopicPartition>,
}

/// A static member's state before its id was replaced, to go back to where the append fails.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) group: Arc<str>,
    pub(super) generation: i32,
    pub(super) instance: Arc<str>,
    pub(super) old_id: Arc<str>,
    pub(super) new_id: Arc<str>,
    pub(super) protocols: Vec<Protocol>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
}

/// What happens once every part of an operation is durable, or one has failed.
#[derive(Debug)]
pub(super) enum Then {
    /// Nobody waits: an emptied group, an expiry.
    Nothing,
    Commit {
        ticket: Ticket,
        response: OffsetCommitResponse,
    },
    Assign {
        group: Arc<str>,
        generation: i32,
        assignments: BTreeMap<Arc<str>, Bytes>,
    },
    Replace {
        ticket: Ticket,
        response: Response,
        replaced: Box<Replaced>,
    },
    DeleteGroups {
        ticket: Ticket,
        results: Vec<(String, ErrorCode)>,
        deleted: BTreeSet<Arc<str>>,
    },
    DeleteOffsets {
        ticket: Ticket,
        response: Response,
    },
    /// The sweep removes these groups.
    Forget {
        groups: Vec<Arc<str>>,
    },
    SnapshotChunk,
}

struct Operation {
    parts: usize,
    error: Option<ErrorCode>,
    then: Then,
}

struct InFlight {
    operation: u64,
    effects: Vec<Effect>,
}

/// What a timer wakes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum TimerKind {
    Rebalance,
    PendingSync,
    PendingMember(Arc<str>),
    Session(Arc<str>),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Timer {
    pub(super) at: MonoMs,
    pub(super) group: Arc<str>,
    pub(super) kind: TimerKind,
}

/// A finished append: its effects to apply, and, with the last part of an operation, what follows.
pub(super) struct Finished {
    pub(super) effects: Vec<Effect>,
    pub(super) then: Option<(Then, Result<(), ErrorCode>)>,
}

#[derive(Default)]
pub(super) struct Outbox {
    timers: BTreeSet<Timer>,
    outputs: VecDeque<Output>,
    in_flight: BTreeMap<AppendId, InFlight>,
    operations: BTreeMap<u64, Operation>,
    /// How many effects of each group are under way.
    busy: BTreeMap<Arc<str>, usize>,
    next_append: u64,
    /// Memory held by members, group records and offsets; bytes.
    pub(super) bytes: usize,
}

impl Outbox {
    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn reply(&mut self, ticket: Ticket, response: Response) {
        self.outputs.push_back(Output::Reply { ticket, response });
    }

    pub(super) fn refuse_join(&mut self, ticket: Ticket, error: ErrorCode, member_id: &str) {
        self.reply(ticket, JoinResponse::refused(error, member_id));
    }

    pub(super) fn refuse_sync(&mut self, ticket: Ticket, error: ErrorCode) {
        self.reply(ticket, SyncResponse::refused(error));
    }

    /// (Re)arms the timer whose time `slot` holds.
    pub(super) fn arm(&mut self, slot: &mut Option<MonoMs>, at: MonoMs, group: &Arc<str>, kind: TimerKind) {
        self.disarm(slot, group, kind.clone());
        *slot = Some(at);
        self.timers.insert(Timer { at, group: group.clone(), kind });
    }

    pub(super) fn disarm(&mut self, slot: &mut Option<MonoMs>, group: &Arc<str>, kind: TimerKind) {
        if let Some(at) = slot.take() {
            let timer = Timer { at, group: group.clone(), kind };
            assert!(self.timers.remove(&timer), "no timer {timer:?} among {}", self.timers.len());
        }
    }

    pub(super) fn first_timer(&self) -> Option<MonoMs> {
        self.timers.first().map(|timer| timer.at)
    }

    pub(super) fn pop_due(&mut self, now: MonoMs) -> Option<Timer> {
        if self.first_timer()? > now { None } else { self.timers.pop_first() }
    }

    pub(super) fn next_append(&self) -> AppendId {
        AppendId(self.next_append)
    }

    pub(super) fn idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(super) fn is_busy(&self, group: &str) -> bool {
        self.busy.contains_key(group)
    }

    pub(super) fn effects_in_flight(&self) -> impl Iterator<Item = &Effect> {
        self.in_flight.values().flat_map(|part| part.effects.iter())
    }

    /// Queues the records of `effects` in batches of at most `limit` bytes; `then` follows the last. Never with none.
    pub(super) fn append(&mut self, effects: Vec<Effect>, limit: usize, then: Then) {
        assert!(!effects.is_empty(), "an append of no records, then {then:?}");
        let operation = self.next_append;
        let (mut parts, mut size, mut records, mut part) = (0, 0, Vec::new(), Vec::new());
        for effect in effects {
            let record = effect.record();
            let length = record.0.len() + record.1.as_ref().map_or(0, Vec::len);
            if !records.is_empty() && size + length > limit {
                self.emit(operation, std::mem::take(&mut records), std::mem::take(&mut part));
                (parts, size) = (parts + 1, 0);
            }
            size += length;
            *self.busy.entry(effect.group().clone()).or_default() += 1;
            records.push(record);
            part.push(effect);
        }
        self.emit(operation, records, part);
        self.operations.insert(operation, Operation { parts: parts + 1, error: None, then });
    }

    /// Queues records that change nothing here: a chunk of a snapshot.
    pub(super) fn append_copies(&mut self, records: Vec<KeyValue>) {
        let operation = self.next_append;
        self.emit(operation, records, Vec::new());
        self.operations.insert(operation, Operation { parts: 1, error: None, then: Then::SnapshotChunk });
    }

    fn emit(&mut self, operation: u64, records: Vec<KeyValue>, effects: Vec<Effect>) {
        let id = AppendId(self.next_append);
        self.next_append += 1;
        self.in_flight.insert(id, InFlight { operation, effects });
        self.outputs.push_back(Output::Append { id, records });
    }

    pub(super) fn finish(&mut self, id: AppendId, result: Result<(), ErrorCode>) -> Finished {
        let part = self.in_flight.remove(&id);
        let part =
            part.unwrap_or_else(|| panic!("append {} was never made or is done: next is {}", id.0, self.next_append));
        for effect in &part.effects {
            let count = self.busy.get_mut(effect.group()).map_or(0, |count| {
                *count -= 1;
                *count
            });
            if count == 0 {
                self.busy.remove(effect.group());
            }
        }
        let Some(operation) = self.operations.get_mut(&part.operation) else {
            panic!("append {} belongs to operation {}, which is done", id.0, part.operation);
        };
        operation.parts -= 1;
        operation.error = operation.error.or(result.err());
        let then = if operation.parts == 0 { self.operations.remove(&part.operation) } else { None };
        Finished {
            effects: part.effects,
            then: then.map(|operation| (operation.then, operation.error.map_or(Ok(()), Err))),
        }
    }

    /// What is still waiting for appends, in order; nothing is in flight afterwards.
    pub(super) fn abandon(&mut self) -> Vec<Then> {
        self.in_flight.clear();
        self.busy.clear();
        self.timers.clear();
        self.outputs.retain(|output| !matches!(output, Output::Append { .. }));
        std::mem::take(&mut self.operations).into_values().map(|operation| operation.then).collect()
    }
}
