//! A connection: bytes in, frames out of them, answers back in the order of the requests. On one core for its whole life.
//!
//! Produce and Fetch are pipelined: the next request starts while earlier ones wait for the disk. Any other request starts
//! when everything before it is answered, and nothing starts while it runs, as if requests were served one by one.

use super::heavy::Heavy;
use crate::io::ConnId;
use crate::io::memory::{BlockMut, Span};
use crate::mail::SlotAddr;
use crate::store::Store;
use crate::store::ranges::FileRange;
use ringlog_engine::types::MonoMs;
use ringlog_net::api::ApiKey;
use ringlog_net::frame::PREFIX;
use ringlog_net::produce::ProducePatch;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// Bytes that a held receive buffer is worth: below it on average, they are copied, so that no peer holds buffers for a few bytes.
const HOLD_MIN: usize = 16 << 10;
/// Frames above this many bytes are gathered in blocks of their own instead of holding receive buffers.
pub(super) const HOLD_FRAME_MAX: usize = 256 << 10;
/// Sizes of those blocks: as much again as is there, so that what a peer announces costs nothing.
const GATHER_LEAST: usize = 4 << 10;
const GATHER_MOST: usize = 1 << 20;

/// Pieces of a frame whose slices need no memory of their own.
pub const FEW_PIECES: usize = 64;

/// The bytes of a frame's pieces, as a rope reads them: in `few` if they fit, else in `many`.
pub fn slices<'b, 'a>(
    pieces: &'a [Span],
    few: &'b mut [&'a [u8]; FEW_PIECES],
    many: &'b mut Vec<&'a [u8]>,
) -> &'b [&'a [u8]] {
    if pieces.len() > few.len() {
        many.extend(pieces.iter().map(Span::bytes));
        return many;
    }
    for (slot, span) in few.iter_mut().zip(pieces) {
        *slot = span.bytes();
    }
    &few[..pieces.len()]
}

/// Records on their way to a consumer: in memory, or in a segment's file.
#[derive(Debug)]
pub enum Records {
    Memory(Vec<Span>),
    File(FileRange),
}

/// What a request waits for.
#[derive(Debug)]
pub enum Work {
    /// Nothing: the answer is in `out`.
    Ready,
    /// So many partitions whose appends are not settled.
    Produce {
        left: u32,
    },
    Fetch(Box<super::fetch::FetchSlot>),
    Cold(Box<super::cold::ColdSlot>),
}

/// A request that was begun and not yet answered.
#[derive(Debug)]
pub struct Slot {
    pub work: Work,
    pub api: ApiKey,
    /// When the turn began that took the request, ns.
    pub begun: u64,
    /// acks=0: nothing is sent.
    pub silent: bool,
    /// The answer's bytes, and the records to send in between, at their positions.
    pub out: Vec<u8>,
    pub inserts: VecDeque<(usize, Records)>,
    /// Bytes of `out` that were sent, with the records before them.
    pub sent: usize,
    /// Where the parts of a produce answer are that are known later.
    pub patches: Vec<ProducePatch>,
    /// Bytes of the request, counted against the connection's limit until it is answered.
    pub bytes: usize,
}

#[derive(Debug)]
pub struct Conn {
    pub io: ConnId,
    pub generation: u32,
    pub peer: SocketAddr,
    pub listener: u16,
    /// Received and not yet taken as frames, in order.
    received: VecDeque<Span>,
    received_len: usize,
    /// The block that what was received is copied to.
    gather: Option<BlockMut>,
    /// A frame that waits to be begun, or begun further: for memory or for the checker.
    waiting: Option<(usize, Vec<Span>)>,
    pub slots: VecDeque<Slot>,
    /// Number of the request at the front of `slots`.
    pub first_request: u64,
    pub sending: bool,
    /// The range of a file that the send under way ends with.
    pub sending_range: Option<FileRange>,
    /// Bytes of the send under way, and when it began.
    pub sending_bytes: usize,
    pub sending_since: MonoMs,
    pub closing: bool,
    /// Does not receive.
    pub paused: bool,
    /// Its next request waits for the log's memory.
    pub starving: bool,
    /// Its request stopped at a batch that is with the checker, or waits in line for it.
    pub heavy: Option<Box<Heavy>>,
    pub checking: bool,
    /// In the line of those that wait for memory to receive.
    pub in_line: bool,
    /// In the list of those whose answers wait for memory to be sent.
    pub unsent: bool,
    /// Bytes of the backlog as the core last counted them.
    pub counted: usize,
    /// The peer has sent its end: close when everything is answered.
    pub ended: bool,
    /// When the loop next looks at its parked fetch: of several times the one that counts.
    pub fetch_due: Option<MonoMs>,
    /// In the loop's list of connections with something to send or to go on with.
    pub dirty: bool,
    pub last_active: MonoMs,
    /// Bytes of requests in `slots`.
    pub in_flight: usize,
    /// Of its first request, if that said one.
    pub client_id: Option<Arc<str>>,
    pub opened: MonoMs,
    /// Bytes of requests begun, and of answers handed to the socket.
    pub request_bytes: u64,
    pub response_bytes: u64,
}

/// No block to gather a frame in: receiving must stop until memory is free. What came is kept.
#[derive(Debug)]
pub struct NoMemory;

impl Conn {
    pub fn new(io: ConnId, generation: u32, peer: SocketAddr, listener: u16, now: MonoMs) -> Conn {
        Conn {
            io,
            generation,
            peer,
            listener,
            received: VecDeque::new(),
            received_len: 0,
            gather: None,
            waiting: None,
            slots: VecDeque::new(),
            first_request: 0,
            sending: false,
            sending_range: None,
            sending_bytes: 0,
            sending_since: now,
            closing: false,
            paused: false,
            starving: false,
            heavy: None,
            checking: false,
            in_line: false,
            unsent: false,
            counted: 0,
            ended: false,
            fetch_due: None,
            dirty: false,
            last_active: now,
            in_flight: 0,
            client_id: None,
            opened: now,
            request_bytes: 0,
            response_bytes: 0,
        }
    }

    /// Bytes received and not begun.
    pub fn backlog(&self) -> usize {
        self.received_len + self.waiting.as_ref().map_or(0, |(len, _)| *len)
    }

    pub fn receive(&mut self, span: Span, store: &mut Store) {
        self.received_len += span.len();
        if self.gather.is_none() {
            return self.received.push_back(span);
        }
        // Without memory the receive buffer itself is kept: `settle` tells.
        let _ = self.gather(span, store);
    }

    /// Copies into the block being filled, and into more if need be. Without memory it keeps what is left as it is.
    fn gather(&mut self, span: Span, store: &mut Store) -> Result<(), NoMemory> {
        let mut done = 0;
        while done < span.len() {
            if self.gather.as_ref().is_none_or(|b| b.remaining() == 0) {
                self.gather = store.take_block(self.received_len.clamp(GATHER_LEAST, GATHER_MOST));
            }
            let Some(block) = self.gather.as_mut() else {
                self.received.push_back(span.slice(done, span.len() - done));
                return Err(NoMemory);
            };
            let (at, take) = (block.len(), block.remaining().min(span.len() - done));
            block.append(&span.bytes()[done..done + take]);
            done += take;
            let piece = block.span(at, take);
            match self.received.back_mut() {
                Some(last) if last.block.same(&piece.block) && (last.start + last.len) as usize == at => {
                    last.len += take as u32
                }
                _ => self.received.push_back(piece),
            }
        }
        Ok(())
    }

    /// The first `N` bytes received, if they are there.
    pub fn peek<const N: usize>(&self) -> Option<[u8; N]> {
        if self.received_len < N {
            return None;
        }
        let (mut out, mut filled) = ([0; N], 0);
        for span in &self.received {
            let take = span.len().min(N - filled);
            out[filled..filled + take].copy_from_slice(&span.bytes()[..take]);
            filled += take;
            if filled == N {
                break;
            }
        }
        Some(out)
    }

    /// Takes a whole frame, without its prefix, if it is there; `len` as the prefix says.
    pub fn take_frame(&mut self, len: usize, pieces: &mut Vec<Span>) -> bool {
        if self.received_len < PREFIX + len {
            return false;
        }
        self.received_len -= PREFIX + len;
        let (mut skip, mut left) = (PREFIX, len);
        while skip + left > 0 {
            let first = self.received.front_mut().expect("the length counts what is there");
            let drop = skip.min(first.len());
            let take = left.min(first.len() - drop);
            if take > 0 {
                pieces.push(first.slice(drop, take));
            }
            (skip, left) = (skip - drop, left - take);
            if drop + take == first.len() {
                self.received.pop_front();
            } else {
                first.start += (drop + take) as u32;
                first.len -= (drop + take) as u32;
            }
        }
        if self.received.is_empty() {
            self.gather = None;
        }
        true
    }

    /// Puts a frame back that could not be begun: it will be taken again.
    pub fn put_back(&mut self, len: usize, pieces: Vec<Span>) {
        self.waiting = Some((len, pieces));
    }

    /// A frame that was put back.
    pub fn take_waiting(&mut self) -> Option<(usize, Vec<Span>)> {
        self.waiting.take()
    }

    /// Lets go of receive buffers that would be held for long or for little: those of large frames, those with few bytes, and
    /// all if the core is `crowded`. `blocked`: what is here stays here for a while, whole or not.
    pub fn settle(&mut self, store: &mut Store, blocked: bool, crowded: bool) -> Result<(), NoMemory> {
        if self.received_len == 0 || self.gather.is_some() {
            return Ok(());
        }
        let frame = self.peek::<PREFIX>().map_or(PREFIX, |p| PREFIX + u32::from_be_bytes(p) as usize);
        let sparse = self.received_len < self.received.len() * HOLD_MIN;
        if !(sparse || crowded || frame > HOLD_FRAME_MAX) || (self.received_len >= frame && !blocked) {
            return Ok(());
        }
        let mut short = Ok(());
        for _ in 0..self.received.len() {
            let span = self.received.pop_front().expect("it was counted");
            if short.is_ok() {
                short = self.gather(span, store);
            } else {
                self.received.push_back(span);
            }
        }
        short
    }

    pub fn slot(&mut self, request: u64) -> Option<&mut Slot> {
        let at = request.checked_sub(self.first_request)?;
        self.slots.get_mut(usize::try_from(at).ok()?)
    }

    pub fn addr(&self, conn: u32, request: u64) -> SlotAddr {
        SlotAddr { conn, generation: self.generation, request }
    }

    pub fn next_request(&self) -> u64 {
        self.first_request + self.slots.len() as u64
    }
}
