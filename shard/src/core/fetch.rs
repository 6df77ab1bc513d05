//! Fetch: questions to the owners of partitions, waiting for enough, and the answer around their memory.
//!
//! The connection's core keeps the deadline and the minimum size. Each partition is asked once; one that has less than is
//! wanted rings when it has more, and is asked again. Records are never copied: the answer is a few bytes and spans of the owners' memory.

use super::conn::{Records, Work};
use super::intake::PARTS_ROOM;
use super::sessions::{SessionPart, next_epoch};
use super::{Due, Shard, Stop};
use crate::io::Io;
use crate::io::memory::Span;
use crate::mail::{Mail, Read, ReadAnswer, ReplyTo, SlotAddr};
use crate::store::read::ReadAt;
use crate::store::{PartIdx, Ring};
use ringlog_engine::ErrorCode;
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{CoreId, MonoMs, PartitionKey, TopicId};
use ringlog_net::api::ApiKey;
use ringlog_net::fetch::{FetchAnswer, FetchHead, FetchPartitionAnswer, FetchRequest};
use ringlog_net::frame::RequestHeader;
use ringlog_net::wire::TopicName;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

/// A fetch for which a disk is read waits for that so long after its deadline, in ms, if it has nothing yet: an empty answer would
/// only bring the same question again.
const DISK_WAIT_MS: u64 = 5_000;

/// One partition of a fetch.
#[derive(Debug)]
pub struct FetchPart {
    name: Arc<str>,
    key: PartitionKey,
    owner: Option<CoreId>,
    local: Option<PartIdx>,
    offset: i64,
    max_bytes: u32,
    leader_epoch: i32,
    last_fetched_epoch: i32,
    /// Refused before anyone was asked.
    refused: Option<ErrorCode>,
    answer: Option<ReadAnswer>,
    /// The owner was asked and has not answered.
    asked: bool,
    /// The owner rings when there is more, if it had fewer bytes than this.
    wanted: u32,
    rings: bool,
    /// What the session told last; `None` outside sessions or for what it has not told yet.
    told: Option<(i64, i64)>,
}

/// A fetch that is being answered.
#[derive(Debug, Default)]
pub struct FetchSlot {
    version: i16,
    correlation_id: i32,
    session_id: i32,
    /// Only what changed is told.
    incremental: bool,
    min_bytes: u64,
    max_bytes: u64,
    deadline: MonoMs,
    /// Owners asked that have not answered.
    pending: u32,
    /// Rung while owners were being asked: look again.
    rung: bool,
    parts: Vec<FetchPart>,
}

impl<I: Io> Shard<I> {
    pub(super) fn begin_fetch(
        &mut self,
        k: u32,
        len: usize,
        header: &RequestHeader<'_>,
        body: Rope<'_>,
    ) -> Result<(), Stop> {
        let request = FetchRequest::parse(header.version, body)?;
        if request.replica_id >= 0 {
            return Err(Stop::Close("a fetch that says it is a replica's, on a listener for clients"));
        }
        if request.partition_count().max(request.topic_count()) > self.config.limits.partitions as usize {
            return Err(Stop::Close("a fetch of more partitions than a node may have"));
        }
        let mut fetch = self
            .spare_fetch
            .pop()
            .unwrap_or_else(|| Box::new(FetchSlot { parts: Vec::with_capacity(PARTS_ROOM), ..FetchSlot::default() }));
        fetch.version = header.version;
        fetch.correlation_id = header.correlation_id;
        fetch.min_bytes = request.min_bytes.max(0) as u64;
        fetch.max_bytes = u64::from(self.config.fetch_max_bytes).min(request.max_bytes.max(0) as u64);
        fetch.deadline = self.now.mono.after(request.max_wait_ms.max(0) as u64);
        (fetch.pending, fetch.rung, fetch.session_id, fetch.incremental) = (0, false, 0, false);
        fetch.parts.clear();
        let slot = self.new_slot(ApiKey::Fetch, len);
        if let Err(error) = self.fetch_parts(&request, &mut fetch) {
            self.meter.error(ApiKey::Fetch, error.code());
            let mut slot = slot;
            let head = FetchHead {
                version: header.version,
                correlation_id: header.correlation_id,
                throttle_ms: 0,
                error,
                session_id: 0,
                topic_count: 0,
            };
            FetchAnswer::begin(&mut slot.out, &head).finish(&mut slot.out);
            self.spare_fetch.push(fetch);
            self.push_slot(k, slot);
            self.mark(k);
            return Ok(());
        }
        let conn = self.conns[k as usize].as_ref().expect("it asked");
        let addr = conn.addr(k, conn.next_request());
        self.push_slot(k, slot);
        self.ask_parts(addr, &mut fetch);
        self.conclude(addr, fetch);
        Ok(())
    }

    /// What is to be fetched: as the request says, or as its session remembers.
    fn fetch_parts(&mut self, request: &FetchRequest<'_>, fetch: &mut FetchSlot) -> Result<(), ErrorCode> {
        let by_id = request.version >= 13;
        let full = request.session_epoch == 0 || request.session_epoch == -1;
        if full {
            if request.session_id != 0 {
                self.sessions.remove(request.session_id);
            }
            self.read_parts(request, |part| fetch.parts.push(part));
            if request.session_epoch == 0 && request.version >= 7 && !fetch.parts.is_empty() {
                let parts = fetch.parts.iter().map(FetchPart::remembered).collect();
                let (core, cores) = (self.setup.core.0, self.setup.cores);
                // The node's slots, shared out to the last one.
                let slots = self.config.limits.fetch_sessions;
                let limit = (slots / u32::from(cores) + u32::from(u32::from(core) < slots % u32::from(cores))) as usize;
                fetch.session_id = self.sessions.create(parts, by_id, self.now.mono, limit, core, cores);
            }
            return Ok(());
        }
        let now = self.now.mono;
        let session = self.sessions.get_mut(request.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.epoch = next_epoch(session.epoch);
        session.used = now;
        if request.topic_count() > 0 || request.forgotten_topics().next().is_some() {
            let mut changed = std::mem::take(&mut self.spare_changed);
            self.read_parts(request, |part| changed.push(part));
            self.update_session(request, &changed);
            changed.clear();
            self.spare_changed = changed;
        }
        let session = self.sessions.get_mut(request.session_id).expect("it was just there");
        fetch.session_id = request.session_id;
        fetch.incremental = true;
        for part in &session.parts {
            let topic = self.routes.by_id(part.topic).map(|t| self.routes.topic(t));
            let route = topic.and_then(|t| t.partition(part.index)).map(|(_, route)| *route);
            fetch.parts.push(FetchPart {
                name: part.name.clone(),
                key: part.key(),
                owner: route.map(|r| r.owner),
                local: route.and_then(|r| r.part),
                offset: part.offset,
                max_bytes: part.max_bytes.max(0) as u32,
                leader_epoch: part.leader_epoch,
                last_fetched_epoch: part.last_fetched_epoch,
                refused: route.is_none().then_some(unknown(by_id)),
                answer: None,
                asked: false,
                wanted: 0,
                rings: false,
                told: Some((part.high_watermark, part.log_start)),
            });
        }
        Ok(())
    }

    fn read_parts(&self, request: &FetchRequest<'_>, mut each: impl FnMut(FetchPart)) {
        let by_id = request.version >= 13;
        for topic in request.topics() {
            let mut space = [0; 256];
            let (found, name) = self.resolve(&topic.topic, &mut space);
            let route = found.map(|t| self.routes.topic(t));
            let (name, id) = match (route, name) {
                (Some(route), _) => (route.name.clone(), route.id),
                (None, TopicName::Name(name)) => (name.into(), TopicId::ZERO),
                (None, TopicName::Id(id)) => (self.no_name.clone(), id),
            };
            for p in topic.partitions() {
                let found = route.and_then(|r| r.partition(p.index)).map(|(_, route)| *route);
                let refused = match (route, &found) {
                    (None, _) => Some(unknown(by_id)),
                    (Some(_), None) => Some(ErrorCode::UnknownTopicOrPartition),
                    _ => None,
                };
                each(FetchPart {
                    name: name.clone(),
                    key: PartitionKey { topic: id, partition: p.index },
                    owner: found.map(|r| r.owner),
                    local: found.and_then(|r| r.part),
                    offset: p.fetch_offset,
                    max_bytes: p.max_bytes.max(0) as u32,
                    leader_epoch: p.current_leader_epoch,
                    last_fetched_epoch: p.last_fetched_epoch,
                    refused,
                    answer: None,
                    asked: false,
                    wanted: 0,
                    rings: false,
                    told: None,
                });
            }
        }
    }

    /// Adds, changes and forgets what an incremental request says.
    fn update_session(&mut self, request: &FetchRequest<'_>, changed: &[FetchPart]) {
        let mut forgotten = std::mem::take(&mut self.spare_forgotten);
        for topic in request.forgotten_topics() {
            let mut space = [0; 256];
            let (id, name) = match self.resolve(&topic.topic, &mut space) {
                (_, TopicName::Id(id)) => (Some(id), self.no_name.clone()),
                (Some(known), _) => (None, self.routes.topic(known).name.clone()),
                (None, TopicName::Name(name)) => (None, name.into()),
            };
            forgotten.extend(topic.partitions().map(|p| (id, name.clone(), p)));
        }
        let session = self.sessions.get_mut(request.session_id).expect("it was looked up");
        session.update(changed.iter().map(FetchPart::remembered), &forgotten);
        forgotten.clear();
        self.spare_forgotten = forgotten;
    }

    /// Asks every partition that has no answer yet, or one that leaves something to be wanted, in the order of the request.
    fn ask_parts(&mut self, addr: SlotAddr, fetch: &mut FetchSlot) {
        let mut bytes = fetch.parts.iter().filter_map(|p| p.answer.as_ref()).map(|a| u64::from(a.bytes)).sum::<u64>();
        for k in 0..fetch.parts.len() {
            let part = &mut fetch.parts[k];
            if part.asked
                || part.refused.is_some()
                || part.answer.as_ref().is_some_and(|a| !part.rings || !a.is_quiet())
            {
                continue;
            }
            // What it gave before comes again with what is new.
            bytes -= part.answer.as_ref().map_or(0, |a| u64::from(a.bytes));
            let left = fetch.max_bytes.saturating_sub(bytes);
            let lacking = fetch.min_bytes.saturating_sub(bytes);
            part.wanted = lacking.clamp(1, u64::from(part.max_bytes).min(left).max(1)) as u32;
            let read = Read {
                reply: ReplyTo { core: self.setup.core, slot: addr, part: k as u32 },
                key: part.key,
                offset: part.offset,
                max_bytes: u64::from(part.max_bytes).min(left) as u32,
                at_least_one: bytes == 0,
                leader_epoch: part.leader_epoch,
                last_fetched_epoch: part.last_fetched_epoch,
                wanted: part.wanted,
            };
            let owner = part.owner.expect("a partition that is not refused has an owner");
            if owner == self.setup.core {
                let answer = self.read_local(part.local, &read, Ring::Local(addr));
                bytes += u64::from(answer.bytes);
                self.store_answer(&mut fetch.parts[k], answer);
            } else {
                part.asked = true;
                part.rings = false;
                fetch.pending += 1;
                self.post.send(owner, Mail::Read { read, spans: self.store.take_spans() });
            }
        }
    }

    /// Reads a partition of this core; registers for more where there is less than is wanted.
    fn read_local(&mut self, part: Option<PartIdx>, read: &Read, ring: Ring) -> ReadAnswer {
        let Some(part) = part.or_else(|| self.store.find(read.key)) else {
            return ReadAnswer::refused(ErrorCode::UnknownTopicOrPartition);
        };
        let Some(p) = self.store.get(part) else { return ReadAnswer::refused(ErrorCode::UnknownTopicOrPartition) };
        if let Some(error) = check_epoch(read.leader_epoch, p.leader_epoch) {
            return ReadAnswer::refused(error);
        }
        if let Some(diverging) = p.diverges(read.last_fetched_epoch, read.offset) {
            // An epoch after ours: nothing is known of where it ended, so there is nowhere to go back to.
            let Some(diverging) = diverging else { return ReadAnswer::refused(ErrorCode::OffsetOutOfRange) };
            let (high_watermark, log_start) = (p.log.high_watermark(), p.log.log_start());
            return ReadAnswer {
                diverging: Some(diverging),
                high_watermark,
                log_start,
                ..ReadAnswer::refused(ErrorCode::None)
            };
        }
        let ask = ReadAt { offset: read.offset, max_bytes: read.max_bytes, at_least_one: read.at_least_one };
        let answer = self.store.read(&mut self.io, part, ask);
        if answer.leaves(read.wanted) && answer.error == ErrorCode::None {
            self.store.ring_when_more(part, ring);
        }
        answer
    }

    /// A question of another core.
    pub(super) fn on_remote_read(&mut self, read: &Read, spans: Vec<Span>) {
        self.store.give_spans(spans);
        let mut answer = self.read_local(None, read, Ring::Remote(read.reply));
        if answer.spans.capacity() == 0 {
            answer.spans = self.store.take_spans();
        }
        self.post.send(read.reply.core, Mail::ReadAnswer { reply: read.reply, answer });
    }

    pub(super) fn on_read_answer(&mut self, addr: SlotAddr, part: u32, answer: ReadAnswer) {
        let Some(mut fetch) = self.take_fetch(addr) else {
            return self.store.give_spans(answer.spans);
        };
        self.store_answer(&mut fetch.parts[part as usize], answer);
        fetch.pending -= 1;
        self.conclude(addr, fetch);
    }

    /// Puts an answer in place of an earlier one.
    fn store_answer(&mut self, part: &mut FetchPart, answer: ReadAnswer) {
        (part.asked, part.rings) = (false, answer.leaves(part.wanted));
        if let Some(earlier) = part.answer.replace(answer) {
            self.store.give_spans(earlier.spans);
        }
    }

    /// A partition of a parked fetch has more, or its disk read is done.
    pub(super) fn on_ring(&mut self, addr: SlotAddr) {
        let Some(mut fetch) = self.take_fetch(addr) else { return };
        if fetch.pending > 0 {
            fetch.rung = true;
        } else {
            self.ask_parts(addr, &mut fetch);
        }
        self.conclude(addr, fetch);
    }

    /// It is time to look at a connection's parked fetch, of which there is at most one.
    pub(super) fn on_fetch_deadline(&mut self, k: u32, generation: u32, at: MonoMs) {
        let Some(conn) = self.conns[k as usize].as_mut().filter(|c| c.generation == generation) else { return };
        if conn.fetch_due != Some(at) {
            return;
        }
        conn.fetch_due = None;
        let parked = conn.slots.iter().position(|slot| matches!(slot.work, Work::Fetch(_)));
        let Some(addr) = parked.map(|at| conn.addr(k, conn.first_request + at as u64)) else { return };
        // Perhaps a later one than the one for which this time was set: it is parked again.
        if let Some(fetch) = self.take_fetch(addr) {
            self.conclude(addr, fetch);
        }
    }

    /// Takes a fetch out of its slot for a while; [`Shard::conclude`] puts it back.
    fn take_fetch(&mut self, addr: SlotAddr) -> Option<Box<FetchSlot>> {
        let slot = self.conn_of(addr)?.slot(addr.request)?;
        match std::mem::replace(&mut slot.work, Work::Ready) {
            Work::Fetch(fetch) => {
                self.parked_fetches -= 1;
                Some(fetch)
            }
            other => {
                slot.work = other;
                None
            }
        }
    }

    /// Answers a fetch if it can be answered now, else parks it.
    fn conclude(&mut self, addr: SlotAddr, mut fetch: Box<FetchSlot>) {
        if fetch.pending == 0 && std::mem::take(&mut fetch.rung) {
            self.ask_parts(addr, &mut fetch);
        }
        let due = self.now.mono >= fetch.deadline;
        let late = self.now.mono >= fetch.deadline.after(DISK_WAIT_MS);
        let ready = fetch.pending == 0 && {
            let bytes: u64 = fetch.parts.iter().filter_map(|p| p.answer.as_ref()).map(|a| u64::from(a.bytes)).sum();
            let loud =
                fetch.parts.iter().any(|p| p.refused.is_some() || p.answer.as_ref().is_some_and(|a| !a.is_quiet()));
            let reading = fetch.parts.iter().any(|p| p.answer.as_ref().is_some_and(|a| a.pending));
            // What this read ended before is not waited for: the next fetch begins with it, as in Kafka.
            let more = fetch.parts.iter().any(|p| p.answer.as_ref().is_some_and(|a| a.more));
            let enough = due || bytes >= fetch.min_bytes;
            fetch.parts.is_empty() || loud || more || late || (enough && !(reading && bytes == 0))
        };
        if ready {
            return self.answer_fetch(addr, fetch);
        }
        self.look_at(addr, if due { fetch.deadline.after(DISK_WAIT_MS) } else { fetch.deadline });
        let Some(slot) = self.conn_of(addr).and_then(|c| c.slot(addr.request)) else { return };
        slot.work = Work::Fetch(fetch);
        self.parked_fetches += 1;
    }

    /// Has a connection's parked fetch looked at when its deadline comes. Fetches that were answered before theirs leave no more behind
    /// than one time of their connection.
    fn look_at(&mut self, addr: SlotAddr, deadline: MonoMs) {
        let now = self.now.mono;
        let Some(conn) = self.conn_of(addr) else { return };
        // After its deadline it waits for the owners it asked, and is answered when they have.
        if deadline > now && conn.fetch_due.is_none_or(|due| due > deadline) {
            conn.fetch_due = Some(deadline);
            self.due.push(Reverse((deadline, Due::Fetch { conn: addr.conn, generation: addr.generation })));
        }
    }

    fn answer_fetch(&mut self, addr: SlotAddr, mut fetch: Box<FetchSlot>) {
        for part in fetch.parts.iter().filter(|p| p.rings) {
            if let (Some(owner), Some(local)) = (part.owner, part.local)
                && owner == self.setup.core
            {
                self.store.forget_ring(local, Ring::Local(addr));
            }
        }
        let Some(slot) = self.conn_of(addr).and_then(|c| c.slot(addr.request)) else { return };
        let (mut out, mut inserts) = (std::mem::take(&mut slot.out), std::mem::take(&mut slot.inserts));
        write_answer(&mut fetch, &mut out, &mut inserts);
        let slot = self.conn_of(addr).and_then(|c| c.slot(addr.request)).expect("it was just there");
        (slot.out, slot.inserts, slot.work) = (out, inserts, Work::Ready);
        if fetch.session_id != 0
            && let Some(session) = self.sessions.get_mut(fetch.session_id)
        {
            remember(session, &mut self.spare_parts, &fetch);
        }
        for part in fetch.parts.drain(..) {
            self.meter.error(ApiKey::Fetch, part.error().code());
            if let Some(answer) = part.answer {
                self.store.give_spans(answer.spans);
            }
        }
        self.spare_fetch.push(fetch);
        self.mark(addr.conn);
    }

    /// A connection goes: nobody is to ring its fetches.
    pub(super) fn forget_rings(&mut self, k: u32) {
        let Some(conn) = self.conns[k as usize].as_ref() else { return };
        for (at, slot) in conn.slots.iter().enumerate() {
            let Work::Fetch(fetch) = &slot.work else { continue };
            let addr = conn.addr(k, conn.first_request + at as u64);
            for part in &fetch.parts {
                if let Some(local) = part.local {
                    self.store.forget_ring(local, Ring::Local(addr));
                }
            }
        }
    }
}

fn unknown(by_id: bool) -> ErrorCode {
    if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition }
}

/// KIP-320: a client that knows an older epoch is fenced, one that knows a newer is ahead of us.
pub(super) fn check_epoch(theirs: i32, ours: i32) -> Option<ErrorCode> {
    match theirs {
        -1 => None,
        epoch if epoch < ours => Some(ErrorCode::FencedLeaderEpoch),
        epoch if epoch > ours => Some(ErrorCode::UnknownLeaderEpoch),
        _ => None,
    }
}

impl FetchPart {
    fn remembered(&self) -> SessionPart {
        SessionPart {
            name: self.name.clone(),
            topic: self.key.topic,
            index: self.key.partition,
            leader_epoch: self.leader_epoch,
            last_fetched_epoch: self.last_fetched_epoch,
            offset: self.offset,
            max_bytes: self.max_bytes as i32,
            high_watermark: -1,
            log_start: -1,
        }
    }

    /// What was answered of it.
    fn error(&self) -> ErrorCode {
        self.refused.or(self.answer.as_ref().map(|a| a.error)).unwrap_or(ErrorCode::None)
    }

    /// Is there anything an incremental answer has to tell of it?
    fn tells(&self) -> bool {
        let Some(answer) = &self.answer else { return true };
        answer.bytes > 0
            || !answer.is_quiet()
            || self.refused.is_some()
            || self.told.is_none_or(|told| told != (answer.high_watermark, answer.log_start))
    }
}

impl ReadAnswer {
    /// There is less than is wanted, and no more.
    fn leaves(&self, wanted: u32) -> bool {
        !self.more && self.bytes < wanted
    }

    /// Nothing that has to be told at once.
    fn is_quiet(&self) -> bool {
        self.error == ErrorCode::None && self.diverging.is_none()
    }
}

fn write_answer(fetch: &mut FetchSlot, out: &mut Vec<u8>, inserts: &mut VecDeque<(usize, Records)>) {
    let incremental = fetch.incremental;
    let shown = |p: &FetchPart| !incremental || p.tells();
    let same = |a: &FetchPart, b: &FetchPart| a.key.topic == b.key.topic && a.name == b.name;
    let topics = {
        let mut last: Option<&FetchPart> = None;
        let mut count = 0;
        for part in fetch.parts.iter().filter(|p| shown(p)) {
            count += usize::from(last.is_none_or(|l| !same(l, part)));
            last = Some(part);
        }
        count
    };
    let head = FetchHead {
        version: fetch.version,
        correlation_id: fetch.correlation_id,
        throttle_ms: 0,
        error: ErrorCode::None,
        session_id: fetch.session_id,
        topic_count: topics,
    };
    let mut writer = FetchAnswer::begin(out, &head);
    let mut at = 0;
    while at < fetch.parts.len() {
        if !shown(&fetch.parts[at]) {
            at += 1;
            continue;
        }
        let first = at;
        let in_topic = |p: &FetchPart| shown(p) && same(p, &fetch.parts[first]);
        let count = fetch.parts[first..].iter().take_while(|p| !shown(p) || in_topic(p)).filter(|p| shown(p)).count();
        let name = fetch.parts[first].name.clone();
        let topic =
            if fetch.version >= 13 { TopicName::Id(fetch.parts[first].key.topic) } else { TopicName::Name(&name) };
        writer.topic(out, topic, count);
        let mut written = 0;
        while written < count {
            if !incremental || fetch.parts[at].tells() {
                write_part(&mut writer, out, inserts, &mut fetch.parts[at]);
                written += 1;
            }
            at += 1;
        }
    }
    writer.finish(out);
}

fn write_part(
    writer: &mut FetchAnswer,
    out: &mut Vec<u8>,
    inserts: &mut VecDeque<(usize, Records)>,
    part: &mut FetchPart,
) {
    let index = part.key.partition;
    let Some(answer) = part.answer.as_mut().filter(|_| part.refused.is_none()) else {
        let error = part.refused.unwrap_or(ErrorCode::None);
        writer.partition(out, &FetchPartitionAnswer::failed(index, error));
        return;
    };
    let mut line = FetchPartitionAnswer::failed(index, answer.error);
    line.high_watermark = answer.high_watermark;
    line.last_stable_offset = answer.high_watermark;
    line.log_start_offset = answer.log_start;
    line.diverging = answer.diverging;
    line.records_len = answer.bytes as usize;
    let at = writer.partition(out, &line);
    if answer.bytes > 0 {
        let records = match answer.range.take() {
            Some(range) => Records::File(range),
            None => Records::Memory(std::mem::take(&mut answer.spans)),
        };
        inserts.push_back((at, records));
    }
}

/// What a session has told now; partitions that gave data go to the end of the line.
/// One pass: the parts of a fetch stand as its session's did, unless another request changed the session meanwhile.
fn remember(session: &mut super::sessions::Session, moved: &mut Vec<SessionPart>, fetch: &FetchSlot) {
    let mut asked = fetch.parts.iter();
    let gave = |known: &mut SessionPart| {
        let same = |p: &&FetchPart| p.key == known.key() && p.name == known.name;
        let Some(part) = asked.clone().next().filter(same) else { return false };
        asked.next();
        let Some(answer) = &part.answer else { return false };
        let told = if answer.error == ErrorCode::None { (answer.high_watermark, answer.log_start) } else { (-1, -1) };
        (known.high_watermark, known.log_start) = told;
        answer.bytes > 0
    };
    moved.extend(session.parts.extract_if(.., gave));
    session.parts.append(moved);
}

impl crate::store::Partition {
    /// Where the fetcher's log parted from this one (KIP-595), if it did; `Some(None)` if its last epoch is none of ours.
    pub fn diverges(&self, last_fetched_epoch: i32, offset: i64) -> Option<Option<(i32, i64)>> {
        if last_fetched_epoch < 0 {
            return None;
        }
        let known = self.log.epoch_end(last_fetched_epoch, self.leader_epoch);
        known.is_none_or(|(epoch, end)| epoch < last_fetched_epoch || end < offset).then_some(known)
    }
}
