//! Produce: from a frame to appends, and from settled appends to the answer.
//!
//! Batches are checked on the connection's core, where their bytes are warm; the owner of the partition checks the producer's
//! sequence and appends. Two stages: appended in the order of arrival at once, answered when the commit is written or
//! flushed. acks=0 answers nothing and closes the connection on an error.

use super::conn::{FEW_PIECES, Work, slices};
use super::route::TopicIdx;
use super::{Shard, Stop};
use crate::io::Io;
use crate::io::memory::Span;
use crate::mail::{Append, AppendDetail, Appended, Mail, SlotAddr};
use crate::store::{AckTo, NotAppended};
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchHeader, Verdict, validate};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::PartitionKey;
use ringlog_net::frame::RequestHeader;
use ringlog_net::produce::{ProduceAnswer, ProducePartition, ProducePartitionAnswer, ProduceRequest};
use ringlog_net::wire::{TopicName, TopicRef, text};

/// Memory that a rewriting of one batch leaves in the scratch, at most.
const SCRATCH_KEEP: usize = 4 << 20;

/// What is known of a partition's append when its answer is written.
enum Begun {
    /// Appended here or sent to its owner: the answer waits.
    Waits(Appended),
    /// Done or refused.
    Now(Appended),
}

impl<I: Io> Shard<I> {
    pub(super) fn begin_produce(
        &mut self,
        k: u32,
        len: usize,
        header: &RequestHeader<'_>,
        body: Rope<'_>,
        pieces: &[Span],
    ) -> Result<(), Stop> {
        let request = ProduceRequest::parse(header.version, body)?;
        if request.partition_count().max(request.topic_count()) > self.config.limits.partitions as usize {
            return Err(Stop::Close("a produce to more partitions than a node may have"));
        }
        // Nothing of the request may fail for want of memory half-way: the owners' share is held back by them.
        if !self.store.can_ever_take(len) {
            return Err(Stop::Close("a produce request too large for ringlog.memory.bytes"));
        }
        if !self.store.has_room(len) {
            return Err(Stop::NoMemory);
        }
        let conn = self.conns[k as usize].as_ref().expect("it asked");
        let addr = conn.addr(k, conn.next_request());
        let mut slot = self.new_slot(len);
        slot.silent = request.acks == 0;
        let mut answer =
            ProduceAnswer::begin(&mut slot.out, header.version, header.correlation_id, request.topic_count());
        let whole = self.refuse_whole(&request);
        let (mut part, mut left, mut failed) = (0, 0, false);
        for topic in request.topics() {
            let mut name_space = [0; 256];
            let (route, name) = self.resolve(&topic.topic, &mut name_space);
            answer.topic(&mut slot.out, name, topic.partition_count());
            for partition in topic.partitions() {
                let begun = match whole {
                    Some(error) => Begun::Now(Appended::refused(error)),
                    None => self.begin_append(route, &request, &partition, addr, part, pieces),
                };
                let (outcome, waits) = match &begun {
                    Begun::Waits(outcome) => (outcome, true),
                    Begun::Now(outcome) => (outcome, false),
                };
                let patch = write_partition(&mut answer, &mut slot.out, partition.index, outcome);
                slot.patches.push(patch);
                left += u32::from(waits && request.acks != 0);
                failed |= outcome.error != ErrorCode::None;
                part += 1;
            }
        }
        answer.finish(&mut slot.out, 0);
        if request.acks == 0 && failed {
            return Err(Stop::Close("a produce with acks=0 failed"));
        }
        slot.work = if left > 0 { Work::Produce { left } } else { Work::Ready };
        self.push_slot(k, slot);
        if left == 0 {
            self.mark(k);
        }
        self.scratch.shrink(SCRATCH_KEEP);
        Ok(())
    }

    /// A code for every partition of the request, if it cannot be served at all.
    fn refuse_whole(&self, request: &ProduceRequest<'_>) -> Option<ErrorCode> {
        if !matches!(request.acks, -1..=1) {
            return Some(ErrorCode::InvalidRequiredAcks);
        }
        // No transactions yet: refused as by a cluster that gives nobody the right to them.
        request.transactional_id.map(|_| ErrorCode::TransactionalIdAuthorizationFailed)
    }

    /// The topic of a request and the name to answer with.
    pub(super) fn resolve<'b, 'a: 'b>(
        &self,
        topic: &TopicRef<'a>,
        space: &'b mut [u8],
    ) -> (Option<TopicIdx>, TopicName<'b>) {
        match topic {
            TopicRef::Id(id) => (self.routes.by_id(*id), TopicName::Id(*id)),
            TopicRef::Name(name) => match text(*name, space) {
                Some(name) => (self.routes.by_name(name), TopicName::Name(name)),
                None => (None, TopicName::Name("")),
            },
        }
    }

    fn begin_append(
        &mut self,
        topic: Option<TopicIdx>,
        request: &ProduceRequest<'_>,
        partition: &ProducePartition<'_>,
        addr: SlotAddr,
        part: u32,
        pieces: &[Span],
    ) -> Begun {
        let by_id = request.version >= 13;
        let Some(topic) = topic.map(|t| self.routes.topic(t)) else {
            let error = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            return Begun::Now(Appended::refused(error));
        };
        let Some((key, route)) = topic.partition(partition.index) else {
            return Begun::Now(Appended::refused(ErrorCode::UnknownTopicOrPartition));
        };
        if topic.internal {
            return Begun::Now(Appended::refused(ErrorCode::InvalidTopicException));
        }
        if request.acks == -1 && topic.config.min_insync_replicas > 1 {
            return Begun::Now(Appended::refused(ErrorCode::NotEnoughReplicas));
        }
        let (owner, local) = (route.owner, route.part);
        let batch = partition.records.unwrap_or(Rope::of(&[]));
        let limit = self.config.limits.batch_decompressed_bytes as usize;
        let rules = topic.rules(self.now.wall, request.version, limit);
        let validated = match validate(batch, &rules, &mut self.scratch) {
            Ok(validated) => validated,
            Err(refusal) => {
                let records = refusal.record_errors.iter().map(|e| (e.index, e.problem.to_string())).collect();
                let detail = AppendDetail { message: refusal.message.to_string(), records };
                return Begun::Now(Appended { detail: Some(Box::new(detail)), ..Appended::refused(refusal.code) });
            }
        };
        if validated.header.is_transactional() {
            return Begun::Now(Appended::refused(ErrorCode::InvalidTxnState));
        }
        let log_append_time = validated.log_append_time();
        let body = validated.body(batch, &self.scratch);
        if owner == self.setup.core {
            let Some(local) = local else {
                return Begun::Now(Appended::refused(ErrorCode::UnknownTopicOrPartition));
            };
            let to = AckTo::Slot { slot: addr, part };
            return match self.store.append(self.now, local, (&validated.header, body), request.acks, to) {
                Ok(outcome) => Begun::Waits(outcome),
                Err((NotAppended::Refused(error), _)) => Begun::Now(Appended::refused(error)),
                Err((NotAppended::Later, _)) => Begun::Now(Appended::refused(ErrorCode::RequestTimedOut)),
            };
        }
        let own_bytes = validated.verdict == Verdict::Rewritten;
        let mut sent = self.store.take_spans();
        if own_bytes {
            let Some(mut block) = self.store.pool.take(body.len()) else {
                return Begun::Now(Appended::refused(ErrorCode::RequestTimedOut));
            };
            body.slices().for_each(|piece| block.append(piece));
            sent.push(block.span(0, body.len()));
        } else {
            select(pieces, body, &mut sent);
        }
        let reply = self.reply_to(addr, part);
        let append = Append { reply, key, acks: request.acks, header: validated.header, pieces: sent };
        self.post.send(owner, Mail::Append(append));
        Begun::Waits(Appended { log_append_time, ..Appended::refused(ErrorCode::None) })
    }

    /// An append of one of our requests is settled.
    pub(super) fn on_appended(&mut self, addr: SlotAddr, part: u32, outcome: &Appended) {
        let Some(conn) = self.conn_of(addr) else { return };
        let Some(slot) = conn.slot(addr.request) else { return };
        let Work::Produce { left } = &mut slot.work else { panic!("{addr:?} waits for no append") };
        *left -= 1;
        let ready = *left == 0;
        let base_offset = if outcome.error == ErrorCode::None { outcome.base_offset } else { -1 };
        let patch = slot.patches[part as usize];
        patch.apply(&mut slot.out, outcome.error, base_offset, outcome.log_append_time, outcome.log_start_offset);
        if ready {
            slot.work = Work::Ready;
            self.mark(addr.conn);
        }
    }

    /// An append from another core.
    pub(super) fn on_remote_append(&mut self, append: Append) {
        if !self.stalled.is_empty() {
            return self.stalled.push_back(append);
        }
        if let Err(append) = self.try_remote_append(append) {
            self.stalled.push_back(append);
        }
    }

    /// `Err` gives it back: there is no memory for it now.
    #[expect(clippy::result_large_err, reason = "it goes back into the queue it came from")]
    pub(super) fn try_remote_append(&mut self, append: Append) -> Result<(), Append> {
        let Append { reply, key, acks, header, pieces } = append;
        let outcome = self.append_pieces(key, &header, &pieces, acks, reply);
        match outcome {
            Ok(()) => {
                // The frame's memory is not needed any more: the bytes were copied into the tail.
                self.store.give_spans(pieces);
                Ok(())
            }
            Err(NotAppended::Later) => Err(Append { reply, key, acks, header, pieces }),
            Err(NotAppended::Refused(error)) => {
                if acks != 0 {
                    self.post.send(reply.core, Mail::Appended { reply, outcome: Appended::refused(error), pieces });
                }
                Ok(())
            }
        }
    }

    fn append_pieces(
        &mut self,
        key: PartitionKey,
        header: &BatchHeader,
        pieces: &[Span],
        acks: i16,
        reply: crate::mail::ReplyTo,
    ) -> Result<(), NotAppended> {
        let part = self.store.find(key).ok_or(NotAppended::Refused(ErrorCode::UnknownTopicOrPartition))?;
        let (mut few, mut many) = ([&[][..]; FEW_PIECES], Vec::new());
        let rope = Rope::new(slices(pieces, &mut few, &mut many));
        let to = AckTo::Remote { reply, pieces: self.store.take_spans() };
        match self.store.append(self.now, part, (header, rope), acks, to) {
            Ok(_) => Ok(()),
            Err((refused, _)) => Err(refused),
        }
    }
}

/// The spans of a frame that hold a part of it, by where the part's bytes lie.
fn select(pieces: &[Span], part: Rope<'_>, out: &mut Vec<Span>) {
    let mut at = 0;
    for slice in part.slices() {
        let span = loop {
            let bytes = pieces[at].bytes().as_ptr_range();
            if bytes.contains(&slice.as_ptr()) {
                break &pieces[at];
            }
            at += 1;
        };
        let from = slice.as_ptr().addr() - span.bytes().as_ptr().addr();
        out.push(span.slice(from, slice.len()));
    }
}

fn write_partition(
    answer: &mut ProduceAnswer,
    out: &mut Vec<u8>,
    index: i32,
    outcome: &Appended,
) -> ringlog_net::produce::ProducePatch {
    let mut line = ProducePartitionAnswer::failed(index, outcome.error);
    if outcome.error == ErrorCode::None {
        line.base_offset = outcome.base_offset;
        line.log_append_time = outcome.log_append_time;
        line.log_start_offset = outcome.log_start_offset;
    }
    match &outcome.detail {
        None => answer.partition(out, &line),
        Some(detail) => {
            let records: Vec<(i32, Option<&str>)> =
                detail.records.iter().map(|(index, message)| (*index, Some(message.as_str()))).collect();
            line.record_errors = &records;
            line.error_message = Some(&detail.message);
            answer.partition(out, &line)
        }
    }
}
