//! What connections send, until it is begun: frames found, memory for them bounded, requests begun in order.
//!
//! A connection that cannot go on (its answers are not taken, a cold request runs, the log has no room) stops receiving. Bytes
//! held of all connections are bounded: beyond the bound only one connection at a time, the first in line, goes on
//! receiving, so that some frame always becomes whole; one that stalls there is closed. What a peer announces costs
//! nothing: memory follows the bytes that came.

use super::conn::{Conn, FEW_PIECES, Slot, Work, slices};
use super::heavy::Went;
use super::notices::Kind;
use super::{Shard, Stop};
use crate::io::memory::Span;
use crate::io::{ConnId, Io};
use ringlog_engine::limits::COLD_REQUEST_BYTES;
use ringlog_engine::types::MonoMs;
use ringlog_net::api::ApiKey;
use ringlog_net::frame::{RequestHeader, frame_length};
use ringlog_net::refusal::{Action, Refusal};
use std::collections::VecDeque;

/// Bytes of a connection that cannot go on that may wait here; more waits in its socket.
const BLOCKED_BACKLOG: usize = 16 << 10;
/// Room of a new slot's lists, for the answers of most requests: bytes, and partitions.
const OUT_ROOM: usize = 1 << 10;
pub(super) const PARTS_ROOM: usize = 16;
/// Bytes of an answer on its way above which the next request waits until the peer took it.
const UNTAKEN_MAX: usize = 64 << 10;
/// With more bytes held than this, frames that are not whole are copied out of receive buffers.
const CROWDED: usize = 8 << 20;
/// Answers to cold requests made in one turn, in bytes; further cold requests wait for the next.
const COLD_PER_TURN: usize = 1 << 20;
/// The first in line is closed after this long without a byte, in ms, and below this rate, in bytes per ms.
const STALLED_MS: u64 = 1000;
const SLOWEST: u64 = 64;
/// Bytes of its client id that a connection keeps.
const CLIENT_ID_KEPT: usize = 128;
/// A peer that leaves an answer untaken for this long is closed if memory is short.
const UNTAKEN_MS: u64 = 10_000;

/// What this core's connections hold that is not begun.
#[derive(Debug)]
pub(super) struct Intake {
    /// The largest frame of a hot request, in bytes: as settings say, and as memory carries.
    frame_max: usize,
    held: usize,
    held_max: usize,
    /// Connections that wait for memory to receive more, in order.
    line: VecDeque<u32>,
    first: Option<First>,
    /// Connections that go on in the next turn.
    pub(super) later: Vec<u32>,
    /// Bytes of answers to cold requests in this turn.
    pub(super) cold_bytes: usize,
    /// Since when memory has been short.
    short_since: Option<MonoMs>,
}

/// The connection that receives although too much is held.
#[derive(Clone, Copy, Debug)]
struct First {
    conn: u32,
    since: MonoMs,
    /// Its backlog then.
    from: usize,
}

impl Intake {
    /// `frame_max`, `held_max`: bytes.
    pub(super) fn new(frame_max: usize, held_max: usize) -> Intake {
        Intake {
            frame_max,
            held: 0,
            held_max,
            line: VecDeque::new(),
            first: None,
            later: Vec::new(),
            cold_bytes: 0,
            short_since: None,
        }
    }

    /// Bytes of requests that may wait in line for the checker.
    pub(super) fn heavy_max(&self) -> usize {
        self.held_max / 2
    }

    /// Counts what a connection holds now.
    fn count(&mut self, conn: &mut Conn) {
        let backlog = conn.backlog();
        self.held = self.held + backlog - conn.counted;
        conn.counted = backlog;
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, k: u32, conn: &Conn) {
        self.held -= conn.counted;
        if conn.in_line {
            self.line.retain(|waiting| *waiting != k);
        }
        self.first = self.first.filter(|first| first.conn != k);
    }

    fn is_first(&self, k: u32) -> bool {
        self.first.is_some_and(|first| first.conn == k)
    }

    /// Bytes held, and how many may be.
    pub(super) fn backlog(&self) -> (usize, usize) {
        (self.held, self.held_max)
    }

    /// Somebody must be looked at again soon.
    pub(super) fn waits(&self) -> bool {
        !self.line.is_empty() || self.first.is_some()
    }
}

/// What keeps a connection from beginning its next request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Its bytes are not all there.
    Incomplete,
    /// An earlier request or its answer.
    Blocked,
    /// The connection is closing, or waits for the log's memory or the checker.
    Stopped,
}

impl<I: Io> Shard<I> {
    /// The largest request this core takes, in bytes.
    pub fn frame_max(&self) -> usize {
        self.intake.frame_max
    }

    pub(super) fn on_received(&mut self, io: ConnId, bytes: Span) {
        let Some(k) = self.by_io.get(&io).copied() else { return };
        let conn = self.conns[k as usize].as_mut().expect("it is known");
        conn.last_active = self.now.mono;
        if conn.closing {
            return;
        }
        if bytes.is_empty() {
            conn.ended = true;
            return self.mark(k);
        }
        conn.receive(bytes, &mut self.store);
        self.proceed(k);
    }

    /// Begins whatever requests of a connection can begin, and decides whether it goes on receiving.
    pub(super) fn proceed(&mut self, k: u32) {
        let next = loop {
            match self.begin_next(k) {
                None => {}
                Some(next) => break next,
            }
        };
        let Some(conn) = self.conns[k as usize].as_mut().filter(|c| !c.closing) else { return };
        self.intake.count(conn);
        let crowded = self.intake.held > CROWDED;
        let short = conn.settle(&mut self.store, next == Next::Blocked, crowded).is_err();
        let backlog = conn.backlog();
        if (backlog == 0 || next != Next::Incomplete) && self.intake.is_first(k) {
            self.intake.first = None;
        }
        let over = next == Next::Incomplete && backlog > 0 && self.intake.held > self.intake.held_max;
        let waits = short || (over && !self.intake.is_first(k));
        if waits && !conn.in_line && !self.intake.is_first(k) {
            conn.in_line = true;
            self.intake.line.push_back(k);
        }
        let stop = waits || next == Next::Stopped || (next == Next::Blocked && backlog > BLOCKED_BACKLOG);
        if stop != conn.paused {
            conn.paused = stop;
            if stop { self.io.pause(conn.io) } else { self.io.receive(conn.io) }
        }
        if conn.ended {
            self.mark(k);
        }
    }

    /// Begins the next request of a connection; says what keeps it if it cannot.
    fn begin_next(&mut self, k: u32) -> Option<Next> {
        let Some(conn) = self.conns[k as usize].as_mut().filter(|c| !c.closing) else { return Some(Next::Stopped) };
        if conn.starving || conn.checking {
            return Some(Next::Stopped);
        }
        if let Some((len, pieces)) = conn.take_waiting() {
            return (!self.begin(k, len, pieces, true)).then_some(Next::Stopped);
        }
        let Some(head) = conn.peek::<6>() else { return Some(Next::Incomplete) };
        let api = i16::from_be_bytes([head[4], head[5]]);
        let (produce, fetch) = (api == ApiKey::Produce as i16, api == ApiKey::Fetch as i16);
        let cap = if produce { self.intake.frame_max } else { self.intake.frame_max.min(COLD_REQUEST_BYTES) };
        let len = match frame_length([head[0], head[1], head[2], head[3]], cap) {
            Ok(len) => len,
            Err(refusal) => {
                self.close_for(k, Kind::Refused, format_args!("{refusal}"));
                return Some(Next::Stopped);
            }
        };
        if conn.backlog() < ringlog_net::frame::PREFIX + len {
            return Some(Next::Incomplete);
        }
        let limits = &self.config.limits;
        let full = conn.slots.len() >= limits.inflight_requests as usize
            || (conn.in_flight > 0 && conn.in_flight + len > limits.inflight_connection_bytes as usize);
        // Fetches one after the other: each may pin megabytes until its answer is taken.
        let after = match conn.slots.back().map(|slot| &slot.work) {
            None => true,
            Some(Work::Cold(_)) => false,
            Some(_) if produce => true,
            Some(_) => fetch && conn.slots.iter().all(|slot| matches!(slot.work, Work::Produce { .. })),
        };
        if full || !after || conn.sending_bytes > UNTAKEN_MAX {
            return Some(Next::Blocked);
        }
        if !produce && !fetch && self.intake.cold_bytes > COLD_PER_TURN {
            self.intake.later.push(k);
            return Some(Next::Blocked);
        }
        let over = self.in_flight > 0 && self.in_flight + len > super::core_budget(&self.config, self.setup.cores);
        // As many bytes are in work as may be; or there is no memory for the answers there are.
        if over || (!produce && !self.unsent.is_empty()) {
            conn.starving = true;
            self.starved.push_back(k);
            return Some(Next::Stopped);
        }
        let mut pieces = self.store.take_spans();
        let whole = conn.take_frame(len, &mut pieces);
        assert!(whole, "a frame of {len} bytes was there");
        (!self.begin(k, len, pieces, false)).then_some(Next::Stopped)
    }

    /// Begins one request. False if the connection cannot go on now.
    fn begin(&mut self, k: u32, len: usize, pieces: Vec<Span>, again: bool) -> bool {
        let (mut few, mut many) = ([&[][..]; FEW_PIECES], Vec::new());
        let mut rope = ringlog_engine::rope::Rope::new(slices(&pieces, &mut few, &mut many));
        let header = match ringlog_net::frame::take_header(&mut rope) {
            Ok(header) => header,
            Err(refusal) => return self.refuse(k, refusal),
        };
        // One that was put back is begun again: it was counted then.
        if !again {
            self.count(k, len, &header);
        }
        let begun = match header.api.key {
            ApiKey::Produce => self.begin_produce(k, len, &header, rope, &pieces),
            ApiKey::Fetch => self.begin_fetch(k, len, &header, rope),
            _ => self.begin_cold(k, len, &header, rope),
        };
        match begun {
            Ok(()) => {
                self.store.give_spans(pieces);
                true
            }
            Err(Stop::Refused(refusal)) => self.refuse(k, refusal),
            Err(Stop::Close(why)) => {
                self.close_for(k, Kind::Refused, format_args!("{why}"));
                false
            }
            Err(Stop::Heavy(went)) => {
                let pieces = if went == Went::InLine { self.out_of_buffers(len, pieces) } else { pieces };
                self.conns[k as usize].as_mut().expect("it asked").put_back(len, pieces);
                false
            }
            Err(Stop::NoMemory) => {
                let conn = self.conns[k as usize].as_mut().expect("it asked");
                conn.put_back(len, pieces);
                conn.starving = true;
                self.starved.push_back(k);
                false
            }
        }
    }

    fn count(&mut self, k: u32, len: usize, header: &RequestHeader<'_>) {
        self.meter.request(header.api.key, len);
        let conn = self.conns[k as usize].as_mut().expect("it asked");
        conn.request_bytes += len as u64;
        if conn.client_id.is_none() && conn.next_request() == 0 {
            let mut id = Vec::new();
            header.client_id.iter().for_each(|rope| rope.append_to(&mut id));
            id.truncate(CLIENT_ID_KEPT);
            conn.client_id = Some(String::from_utf8_lossy(&id).into());
        }
    }

    fn refuse(&mut self, k: u32, refusal: Refusal) -> bool {
        if let (Action::AnswerApiVersionsV0(_), Refusal::UnsupportedApiVersions { correlation_id, .. }) =
            (refusal.action(), refusal)
        {
            let mut slot = self.new_slot(ApiKey::ApiVersions, 0);
            ringlog_net::cold::api_versions_fallback(&mut slot.out, correlation_id);
            self.push_slot(k, slot);
            self.mark(k);
            return true;
        }
        self.close_for(k, Kind::Refused, format_args!("{refusal}"));
        false
    }

    /// An empty slot at the end of a connection's line.
    pub(super) fn new_slot(&mut self, api: ApiKey, len: usize) -> Slot {
        Slot {
            work: Work::Ready,
            api,
            begun: self.clock.turn,
            silent: false,
            out: self.spare_out.pop().unwrap_or_else(|| Vec::with_capacity(OUT_ROOM)),
            inserts: self.spare_inserts.pop().unwrap_or_else(|| VecDeque::with_capacity(PARTS_ROOM)),
            sent: 0,
            patches: self.spare_patches.pop().unwrap_or_else(|| Vec::with_capacity(PARTS_ROOM)),
            bytes: len,
        }
    }

    pub(super) fn push_slot(&mut self, k: u32, slot: Slot) {
        let conn = self.conns[k as usize].as_mut().expect("it asked");
        conn.in_flight += slot.bytes;
        self.in_flight += slot.bytes;
        conn.slots.push_back(slot);
    }

    /// Tries again what waited: for memory, for the checker, or for this turn.
    pub(super) fn resume_waiting(&mut self) {
        while let Some(append) = self.stalled.pop_front() {
            if let Err(append) = self.try_remote_append(append) {
                self.stalled.push_front(append);
                break;
            }
        }
        for _ in 0..self.starved.len() {
            let Some(k) = self.starved.pop_front() else { break };
            let Some(conn) = self.conns[k as usize].as_mut() else { continue };
            conn.starving = false;
            self.proceed(k);
            if self.conns[k as usize].as_ref().is_some_and(|c| c.starving) {
                break;
            }
        }
        self.move_heavy();
        self.intake.cold_bytes = 0;
        let mut later = std::mem::take(&mut self.intake.later);
        for k in later.drain(..) {
            if self.conns[k as usize].is_some() {
                self.proceed(k);
            }
        }
        if self.intake.later.is_empty() {
            self.intake.later = later;
        }
        self.move_line();
    }

    /// Lets connections that wait for memory receive again: all there is room for, and the first in any case.
    fn move_line(&mut self) {
        if let Some(First { conn, .. }) = self.intake.first
            && self.conns[conn as usize].as_ref().is_some_and(|c| c.paused)
        {
            self.proceed(conn);
        }
        for _ in 0..self.intake.line.len() {
            let room = self.intake.held <= self.intake.held_max / 4 * 3;
            if !room && self.intake.first.is_some() {
                return;
            }
            let Some(k) = self.intake.line.pop_front() else { return };
            let Some(conn) = self.conns[k as usize].as_mut() else { continue };
            conn.in_line = false;
            if !room {
                self.intake.first = Some(First { conn: k, since: self.now.mono, from: conn.backlog() });
            }
            self.proceed(k);
        }
    }

    /// While memory is short: closes the first in line if it stalls, and peers that do not take their answers.
    pub(super) fn shed(&mut self) {
        let now = self.now.mono;
        if let Some(First { conn: k, since, from }) = self.intake.first {
            let conn = self.conns[k as usize].as_ref().expect("one that goes is forgotten");
            let (ms, came) = (now.0 - since.0, (conn.backlog() - from.min(conn.backlog())) as u64);
            let stalled = (came == 0 && ms >= STALLED_MS) || (ms >= 5 * STALLED_MS && came < ms * SLOWEST);
            if stalled && !conn.paused && !self.intake.line.is_empty() {
                self.close_for(k, Kind::Slow, format_args!("{came} bytes of a request came in {ms} ms"));
            }
        }
        if self.starved.is_empty() && self.stalled.is_empty() && self.unsent.is_empty() && self.intake.line.is_empty() {
            self.intake.short_since = None;
            return;
        }
        let since = *self.intake.short_since.get_or_insert(now);
        if now.0 - since.0 < STALLED_MS {
            return;
        }
        for k in 0..self.conns.len() as u32 {
            let untaken = self.conns[k as usize]
                .as_ref()
                .is_some_and(|c| !c.closing && c.sending && now.0 - c.sending_since.0 >= UNTAKEN_MS);
            if untaken {
                self.close_for(k, Kind::Slow, format_args!("an answer was not taken for {UNTAKEN_MS} ms"));
            }
        }
    }
}
