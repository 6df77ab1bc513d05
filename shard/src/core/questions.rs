//! What the owner of partitions answers to other cores (and its own) about them: offsets by time, epochs, sizes, producers.
//! A question that needs the disk is put aside and looked at again when the partition rings.

use super::Shard;
use super::fetch::check_epoch;
use crate::api::{Answer, OffsetAsk, OffsetFound, Question};
use crate::io::Io;
use crate::io::memory::Span;
use crate::mail::{Appended, ReplyTo};
use crate::store::read::BatchAt;
use crate::store::{AckTo, PartIdx, Ring};
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{offset_of_max_timestamp, seek_timestamp};
use ringlog_engine::log::partition::{Located, Place};
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{OffsetAndTimestamp, PartitionKey};
use std::collections::BTreeMap;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;

/// Questions that wait for the disk or for a commit.
#[derive(Debug, Default)]
pub struct Waiting {
    next: u64,
    offsets: BTreeMap<u64, (ReplyTo, Vec<OffsetAsk>)>,
    deletes: BTreeMap<u64, Deletes>,
}

#[derive(Debug)]
struct Deletes {
    reply: ReplyTo,
    results: Vec<(ErrorCode, i64)>,
    left: usize,
}

/// A search by time that cannot be answered yet.
struct Later;

impl<I: Io> Shard<I> {
    pub(super) fn on_question(&mut self, reply: ReplyTo, question: Question) {
        match question {
            Question::Offsets(asks) => self.find_offsets(reply, asks),
            Question::EpochEnds(asks) => {
                let found = asks.iter().map(|(key, current, asked)| self.epoch_end(*key, *current, *asked)).collect();
                self.reply(reply, Answer::EpochEnds(found));
            }
            Question::DeleteRecords(asks) => self.delete_records(reply, &asks),
            Question::Producers(keys) => {
                let found = keys.iter().map(|key| {
                    let part = self.store.find(*key).and_then(|part| self.store.get(part));
                    part.map(|p| p.log.producers.iter().collect()).ok_or(ErrorCode::UnknownTopicOrPartition)
                });
                let found = found.collect();
                self.reply(reply, Answer::Producers(found));
            }
            Question::Sizes(keys) => {
                let sizes = match keys {
                    Some(keys) => keys
                        .iter()
                        .filter_map(|k| Some((*k, self.store.get(self.store.find(*k)?)?.log.bytes())))
                        .collect(),
                    None => self.store.iter().map(|(_, p)| (p.key, p.log.bytes())).collect(),
                };
                self.reply(reply, Answer::Sizes(sizes));
            }
            Question::Group { partition, request } => self.on_group_request(reply, partition, request),
            Question::AllGroups(request) => self.on_all_groups(reply, request),
            Question::Control(command) => self.on_command(reply, command),
        }
    }

    fn epoch_end(&self, key: PartitionKey, current: i32, asked: i32) -> (ErrorCode, i32, i64) {
        let Some(p) = self.store.find(key).and_then(|part| self.store.get(part)) else {
            return (ErrorCode::UnknownTopicOrPartition, -1, -1);
        };
        if let Some(error) = check_epoch(current, p.leader_epoch) {
            return (error, -1, -1);
        }
        let (epoch, end) = p.log.epoch_end(asked, p.leader_epoch).unwrap_or((-1, -1));
        (ErrorCode::None, epoch, end)
    }

    fn find_offsets(&mut self, reply: ReplyTo, asks: Vec<OffsetAsk>) {
        let id = self.waiting.next;
        let mut found = Vec::with_capacity(asks.len());
        for ask in &asks {
            match self.find_offset(ask, Ring::Question(id)) {
                Ok(offset) => found.push(offset),
                Err(Later) => {
                    self.waiting.next += 1;
                    self.waiting.offsets.insert(id, (reply, asks));
                    return;
                }
            }
        }
        self.reply(reply, Answer::Offsets(found));
    }

    /// A partition that a question waited for rang.
    pub(super) fn on_question_rung(&mut self, id: u64) {
        if let Some((reply, asks)) = self.waiting.offsets.remove(&id) {
            self.find_offsets(reply, asks);
        }
    }

    fn find_offset(&mut self, ask: &OffsetAsk, ring: Ring) -> Result<OffsetFound, Later> {
        let none = |error| OffsetFound { error, timestamp: -1, offset: -1, leader_epoch: -1 };
        let Some(part) = self.store.find(ask.key) else { return Ok(none(ErrorCode::UnknownTopicOrPartition)) };
        let p = self.store.get(part).expect("it was found");
        if self.store.dirs[p.dir as usize].latched.is_some() {
            return Ok(none(ErrorCode::KafkaStorageError));
        }
        if let Some(error) = check_epoch(ask.leader_epoch, p.leader_epoch) {
            return Ok(none(error));
        }
        let at = |offset: i64| OffsetFound { offset, leader_epoch: p.log.epoch_at(offset), ..none(ErrorCode::None) };
        let from = p.log.log_start();
        let found = match ask.timestamp {
            LATEST if planted(Bug::EndOffsetNotDurable) => return Ok(at(p.log.next_offset())),
            LATEST => return Ok(at(p.log.high_watermark())),
            EARLIEST | EARLIEST_LOCAL => return Ok(at(from)),
            MAX_TIMESTAMP => self.find_max_timestamp(part, ring)?,
            time if time >= 0 => self.find_time(part, time, from, ring)?,
            _ => Ok(None),
        };
        Ok(match found {
            Err(error) => none(error),
            Ok(None) => none(ErrorCode::None),
            Ok(Some(found)) => OffsetFound {
                error: ErrorCode::None,
                timestamp: found.timestamp,
                offset: found.offset,
                leader_epoch: found.leader_epoch,
            },
        })
    }

    #[allow(clippy::type_complexity)]
    fn find_time(
        &mut self,
        part: PartIdx,
        time: i64,
        from: i64,
        ring: Ring,
    ) -> Result<Result<Option<OffsetAndTimestamp>, ErrorCode>, Later> {
        let place = match self.store.get(part).expect("it was found").log.locate_time(time) {
            Located::End => return Ok(Ok(None)),
            Located::NeedIndex(base) => {
                self.store.ring_when_more(part, ring);
                self.store.load_index(&mut self.io, part, base);
                return Err(Later);
            }
            Located::At(place) => place,
        };
        self.walk(part, place, ring, |shard, header, batch| {
            if header.max_timestamp < time || header.last_offset() < from {
                return Ok(None);
            }
            let limit = shard.config.limits.batch_decompressed_bytes as usize;
            seek_timestamp(batch, time, from, &mut shard.scratch.decoder, limit).map_err(|_| ErrorCode::CorruptMessage)
        })
    }

    #[allow(clippy::type_complexity)]
    fn find_max_timestamp(
        &mut self,
        part: PartIdx,
        ring: Ring,
    ) -> Result<Result<Option<OffsetAndTimestamp>, ErrorCode>, Later> {
        let located = self.store.get(part).expect("it was found").log.locate_max_timestamp();
        let (time, place) = match located {
            Ok(None) => return Ok(Ok(None)),
            Ok(Some(found)) => found,
            Err(base) => {
                self.store.ring_when_more(part, ring);
                self.store.load_index(&mut self.io, part, base);
                return Err(Later);
            }
        };
        self.walk(part, place, ring, |shard, header, batch| {
            if header.max_timestamp < time {
                return Ok(None);
            }
            let limit = shard.config.limits.batch_decompressed_bytes as usize;
            offset_of_max_timestamp(batch, &mut shard.scratch.decoder, limit).map_err(|_| ErrorCode::CorruptMessage)
        })
    }

    /// Shows the batches of a segment from a place on until `each` has found something.
    #[allow(clippy::type_complexity)]
    fn walk(
        &mut self,
        part: PartIdx,
        mut place: Place,
        ring: Ring,
        mut each: impl FnMut(
            &mut Self,
            &ringlog_engine::batch::BatchHeader,
            Rope<'_>,
        ) -> Result<Option<OffsetAndTimestamp>, ErrorCode>,
    ) -> Result<Result<Option<OffsetAndTimestamp>, ErrorCode>, Later> {
        loop {
            match self.store.batch_at(&mut self.io, part, place) {
                BatchAt::End => return Ok(Ok(None)),
                BatchAt::Failed => return Ok(Err(ErrorCode::KafkaStorageError)),
                BatchAt::Pending => {
                    self.store.ring_when_more(part, ring);
                    return Err(Later);
                }
                BatchAt::Here { header, spans } => {
                    let slices: Vec<&[u8]> = spans.iter().map(Span::bytes).collect();
                    let found = each(self, &header, Rope::new(&slices));
                    if !matches!(found, Ok(None)) {
                        return Ok(found);
                    }
                    place.position += header.total_len() as u32;
                }
            }
        }
    }

    fn delete_records(&mut self, reply: ReplyTo, asks: &[(PartitionKey, i64)]) {
        let id = self.waiting.next;
        self.waiting.next += 1;
        let mut results = Vec::with_capacity(asks.len());
        let mut left = 0;
        for (index, (key, offset)) in asks.iter().enumerate() {
            let deleted = match self.store.find(*key) {
                Some(part) => self.store.delete_records(part, *offset, AckTo::Deleted { job: id, part: index as u32 }),
                None => Err(ErrorCode::UnknownTopicOrPartition),
            };
            left += usize::from(deleted.is_ok());
            results.push(deleted.map_or_else(|error| (error, -1), |low| (ErrorCode::None, low)));
        }
        if left == 0 {
            return self.reply(reply, Answer::DeleteRecords(results));
        }
        self.waiting.deletes.insert(id, Deletes { reply, results, left });
    }

    pub(super) fn on_records_deleted(&mut self, job: u64, part: u32, outcome: &Appended) {
        let Some(deletes) = self.waiting.deletes.get_mut(&job) else { return };
        if outcome.error != ErrorCode::None {
            deletes.results[part as usize] = (outcome.error, -1);
        }
        deletes.left -= 1;
        if deletes.left == 0 {
            let done = self.waiting.deletes.remove(&job).expect("it was just there");
            self.reply(done.reply, Answer::DeleteRecords(done.results));
        }
    }
}
