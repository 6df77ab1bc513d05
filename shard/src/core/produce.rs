//! Produce: from a frame to appends, and from settled appends to the answer.
//!
//! Batches are checked on the connection's core, where their bytes are warm; the owner of the partition checks the producer's
//! sequence and appends. Two stages: appended in the order of arrival at once, answered when the commit is written or
//! flushed. acks=0 answers nothing and closes the connection on an error.

use super::conn::{FEW_PIECES, Slot, Work, slices};
use super::heavy::{Heavy, Went};
use super::route::{PartitionRoute, TopicIdx, TopicRoute};
use super::{SCRATCH_KEEP, Shard, Stop};
use crate::io::Io;
use crate::io::memory::Span;
use crate::mail::{Append, AppendDetail, Appended, CheckOutcome, Mail, SlotAddr};
use crate::store::{AckTo, NotAppended};
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchHeader, BatchRefusal, Rules, Validated, Verdict, validate_within};
use ringlog_engine::limits::UNPACKED_ON_SHARD_BYTES;
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::PartitionKey;
use ringlog_net::api::ApiKey;
use ringlog_net::frame::RequestHeader;
use ringlog_net::produce::{ProduceAnswer, ProducePartition, ProducePartitionAnswer, ProduceRequest};
use ringlog_net::wire::{TopicName, TopicRef, text};

/// What is known of a partition's append when its answer is written.
enum Begun {
    /// Appended here or sent to its owner: the answer waits.
    Waits(Appended),
    /// Done or refused.
    Now(Appended),
    /// Its batch is for the checker: the request stops here.
    Heavy(PartitionKey, Went),
}

/// A produce request as far as it is begun.
struct Course {
    slot: Slot,
    answer: ProduceAnswer,
    /// Appends that are not settled.
    left: u32,
    failed: bool,
    /// The partition it goes on with, if it stopped at a heavy batch, and what the checker found if it did look.
    from: Option<(u32, PartitionKey, Option<CheckOutcome>)>,
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
        let mut course = self.take_course(k, header, &request);
        course.slot.silent = request.acks == 0;
        course.slot.bytes = len;
        let stopped = self.begin_partitions(k, &request, &mut course, pieces);
        let Course { mut slot, answer, left, failed, .. } = course;
        if let Err((part, key, went)) = stopped {
            self.hold(k, slot, left, Heavy { part, key, answer, failed, outcome: None });
            return Err(Stop::Heavy(went));
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

    /// A new request's, or that of the one that stopped.
    fn take_course(&mut self, k: u32, header: &RequestHeader<'_>, request: &ProduceRequest<'_>) -> Course {
        let conn = self.conns[k as usize].as_mut().expect("it asked");
        if let Some(heavy) = conn.heavy.take() {
            let slot = conn.slots.pop_back().expect("it was held");
            let Heavy { part, key, answer, failed, outcome } = *heavy;
            let Work::Produce { left } = slot.work else { panic!("{:?} was held", slot.work) };
            return Course { slot, answer, left: left - 1, failed, from: Some((part, key, outcome)) };
        }
        let mut slot = self.new_slot(ApiKey::Produce, 0);
        let (version, id) = (header.version, header.correlation_id);
        let answer = ProduceAnswer::begin(&mut slot.out, version, id, request.topic_count());
        Course { slot, answer, left: 0, failed: false, from: None }
    }

    /// Begins the appends that are not begun, and writes what is known of them. `Err`: it stops at a heavy batch.
    fn begin_partitions(
        &mut self,
        k: u32,
        request: &ProduceRequest<'_>,
        course: &mut Course,
        pieces: &[Span],
    ) -> Result<(), (u32, PartitionKey, Went)> {
        let conn = self.conns[k as usize].as_ref().expect("it asked");
        let addr = conn.addr(k, conn.next_request());
        let whole = self.refuse_whole(request);
        let Course { slot, answer, left, failed, from } = course;
        let (mut part, resumed) = (0, from.is_some());
        let (first, mut checked) = from.take().map_or((0, None), |(part, key, outcome)| (part, Some((key, outcome))));
        for topic in request.topics() {
            let mut name_space = [0; 256];
            let (route, name) = self.resolve(&topic.topic, &mut name_space);
            // The topic it stopped in is in the answer already.
            if part > first || !resumed {
                answer.topic(&mut slot.out, name, topic.partition_count());
            }
            for partition in topic.partitions() {
                if part < first {
                    part += 1;
                    continue;
                }
                let begun = match whole {
                    Some(error) => Begun::Now(Appended::refused(error)),
                    None => {
                        let place = Place { topic: route, addr, part, len: slot.bytes, pieces };
                        self.begin_append(place, request, &partition, checked.take())
                    }
                };
                let (outcome, waits) = match &begun {
                    Begun::Waits(outcome) => (outcome, true),
                    Begun::Now(outcome) => (outcome, false),
                    Begun::Heavy(key, went) => return Err((part, *key, *went)),
                };
                let patch = write_partition(answer, &mut slot.out, partition.index, outcome);
                slot.patches.push(patch);
                *left += u32::from(waits && request.acks != 0);
                *failed |= outcome.error != ErrorCode::None;
                self.meter.error(ApiKey::Produce, outcome.error.code());
                part += 1;
            }
        }
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

    /// The partition to append to, or why not.
    fn partition(
        &self,
        topic: Option<TopicIdx>,
        request: &ProduceRequest<'_>,
        index: i32,
    ) -> Result<(&TopicRoute, PartitionKey, &PartitionRoute), ErrorCode> {
        let by_id = request.version >= 13;
        let unknown = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
        let topic = topic.map(|t| self.routes.topic(t)).ok_or(unknown)?;
        let (key, route) = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if topic.internal {
            return Err(ErrorCode::InvalidTopicException);
        }
        if request.acks == -1 && topic.config.min_insync_replicas > 1 {
            return Err(ErrorCode::NotEnoughReplicas);
        }
        Ok((topic, key, route))
    }

    /// Checks a batch, unless the checker did. `checked`: the request stopped at it, and what was found if it was looked at.
    #[inline]
    fn check(
        &mut self,
        place: &Place<'_>,
        key: PartitionKey,
        batch: Rope<'_>,
        rules: Rules,
        checked: Option<Option<CheckOutcome>>,
    ) -> Result<(Validated, Option<Vec<u8>>), Begun> {
        let refused = |refusal| Begun::Now(refused_for(refusal));
        let Place { addr, part, len, pieces, .. } = *place;
        match checked {
            Some(Some(outcome)) => (*outcome).map_err(refused),
            // Its turn in the line has come.
            Some(None) => {
                let batch = select(pieces, batch, self.store.take_spans());
                self.hand_over(addr, part, rules, batch);
                Err(Begun::Heavy(key, Went::ToChecker))
            }
            None => {
                let validated = validate_within(batch, &rules, &mut self.scratch, UNPACKED_ON_SHARD_BYTES);
                if let Some(validated) = validated.map_err(refused)? {
                    return Ok((validated, None));
                }
                let batch = select(pieces, batch, self.store.take_spans());
                Err(match self.on_heavy(addr, part, rules, len, batch) {
                    Went::Refused => Begun::Now(Appended::refused(ErrorCode::RequestTimedOut)),
                    went => Begun::Heavy(key, went),
                })
            }
        }
    }

    fn begin_append(
        &mut self,
        place: Place<'_>,
        request: &ProduceRequest<'_>,
        partition: &ProducePartition<'_>,
        checked: Option<(PartitionKey, Option<CheckOutcome>)>,
    ) -> Begun {
        let (addr, part) = (place.addr, place.part);
        let (topic, key, route) = match self.partition(place.topic, request, partition.index) {
            Ok(found) => found,
            Err(error) => return Begun::Now(Appended::refused(error)),
        };
        let (owner, local) = (route.owner, route.part);
        let batch = partition.records.unwrap_or(Rope::of(&[]));
        let limit = self.config.limits.batch_decompressed_bytes as usize;
        let rules = topic.rules(self.now.wall, request.version, limit);
        // Made anew under its old name: not where the batch was sent.
        if checked.as_ref().is_some_and(|(sent_to, _)| *sent_to != key) {
            return Begun::Now(Appended::refused(ErrorCode::UnknownTopicOrPartition));
        }
        let (validated, rewritten) = match self.check(&place, key, batch, rules, checked.map(|(_, outcome)| outcome)) {
            Ok(found) => found,
            Err(begun) => return begun,
        };
        // As where nobody has the right to its transactional id, which it came without.
        if validated.header.is_transactional() {
            return Begun::Now(Appended::refused(ErrorCode::TransactionalIdAuthorizationFailed));
        }
        let log_append_time = validated.log_append_time();
        let body = match &rewritten {
            Some(bytes) => Rope::of(bytes),
            None => validated.body(batch, &self.scratch),
        };
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
        let sent = if validated.verdict == Verdict::Rewritten {
            let Some(mut block) = self.store.pool.take(body.len()) else {
                return Begun::Now(Appended::refused(ErrorCode::RequestTimedOut));
            };
            body.slices().for_each(|piece| block.append(piece));
            let mut sent = self.store.take_spans();
            sent.push(block.span(0, body.len()));
            sent
        } else {
            select(place.pieces, body, self.store.take_spans())
        };
        let reply = self.reply_to(addr, part);
        let append = Append { reply, key, acks: request.acks, header: validated.header, pieces: sent };
        self.post.send(owner, Mail::Append(append));
        Begun::Waits(Appended { log_append_time, ..Appended::refused(ErrorCode::None) })
    }

    /// An append of one of our requests is settled.
    pub(super) fn on_appended(&mut self, addr: SlotAddr, part: u32, outcome: &Appended) {
        self.meter.error(ApiKey::Produce, outcome.error.code());
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
        if !self.stalled.is_empty() && !planted(Bug::StalledOvertaken) {
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
            // The frame's memory is not needed any more: the bytes were copied into the tail.
            Ok(()) if acks != 0 => self.store.give_spans(pieces),
            Err(NotAppended::Later) => return Err(Append { reply, key, acks, header, pieces }),
            Err(NotAppended::Refused(error)) if acks != 0 => {
                self.post.send(reply.core, Mail::Appended { reply, outcome: Appended::refused(error), pieces });
            }
            _ => self.post.send(reply.core, Mail::Return { spans: pieces }),
        }
        Ok(())
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
        // For the list that came with the append, which stays here: each core keeps as many as it had.
        let home = if acks != 0 { self.store.take_spans() } else { Vec::new() };
        let to = AckTo::Remote { reply, pieces: home };
        match self.store.append(self.now, part, (header, rope), acks, to) {
            Ok(_) => Ok(()),
            Err((refused, to)) => {
                if let AckTo::Remote { pieces, .. } = to {
                    self.store.give_spans(pieces);
                }
                Err(refused)
            }
        }
    }
}

/// Where a batch is to go, and where it lies.
struct Place<'a> {
    topic: Option<TopicIdx>,
    addr: SlotAddr,
    part: u32,
    /// The request's bytes, and where they are.
    len: usize,
    pieces: &'a [Span],
}

fn refused_for(refusal: BatchRefusal) -> Appended {
    let records = refusal.record_errors.iter().map(|e| (e.index, e.problem.to_string())).collect();
    let detail = AppendDetail { message: refusal.message.to_string(), records };
    Appended { detail: Some(Box::new(detail)), ..Appended::refused(refusal.code) }
}

/// The spans of a frame that hold a part of it, by where the part's bytes lie, in a vector used again.
fn select(pieces: &[Span], part: Rope<'_>, mut out: Vec<Span>) -> Vec<Span> {
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
    out
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
