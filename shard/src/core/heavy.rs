//! Batches that would hold the loop for long: who waits for the checker, in which order, and what it costs meanwhile.
//!
//! A produce request stops at such a batch and goes on there once it was checked. Until then its connection begins nothing
//! else, so that nothing overtakes; other connections go on. The checker gets a few batches at a time; the others wait
//! here, in order, with their requests counted as received and not begun, and copied out of the receive buffers.

use super::Shard;
use super::conn::{Conn, HOLD_FRAME_MAX, Slot, Work};
use crate::io::Io;
use crate::io::memory::Span;
use crate::mail::{Check, CheckOutcome, Checked, Mail, SlotAddr};
use ringlog_engine::batch::Rules;
use ringlog_engine::limits::BATCHES_WITH_CHECKER;
use ringlog_engine::types::{CoreId, PartitionKey};
use ringlog_net::produce::ProduceAnswer;
use std::collections::VecDeque;

/// A produce request that stopped at a heavy batch. Its slot is the last of its connection, its frame is put back.
#[derive(Debug)]
pub struct Heavy {
    /// Partitions begun before that of the batch.
    pub part: u32,
    pub key: PartitionKey,
    /// The answer so far.
    pub answer: ProduceAnswer,
    pub failed: bool,
    /// Once it was checked.
    pub outcome: Option<CheckOutcome>,
}

/// This core's batches that are with the checker, and the connections that wait to hand theirs over.
#[derive(Debug, Default)]
pub(super) struct Line {
    handed: usize,
    /// Connections and the bytes of their requests.
    waiting: VecDeque<(u32, usize)>,
    bytes: usize,
}

impl Line {
    fn is_free(&self) -> bool {
        self.handed < BATCHES_WITH_CHECKER && self.waiting.is_empty()
    }

    /// The checker has room, yet somebody waits: for memory.
    pub(super) fn stuck(&self) -> bool {
        self.handed < BATCHES_WITH_CHECKER && !self.waiting.is_empty()
    }

    /// Batches with the checker, and connections that wait to hand theirs over.
    pub(super) fn depth(&self) -> (usize, usize) {
        (self.handed, self.waiting.len())
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, k: u32, conn: &Conn) {
        if conn.checking {
            self.waiting.retain(|(waiting, _)| *waiting != k);
            self.bytes = self.waiting.iter().map(|(_, len)| len).sum();
        }
    }
}

/// Where a heavy batch went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Went {
    ToChecker,
    InLine,
    /// Nowhere: too much waits already.
    Refused,
}

impl<I: Io> Shard<I> {
    /// A request of `len` bytes comes to a heavy batch for the first time: it is handed over, or waits in line.
    pub(super) fn on_heavy(&mut self, addr: SlotAddr, part: u32, rules: Rules, len: usize, batch: Vec<Span>) -> Went {
        if self.heavy.is_free() {
            self.hand_over(addr, part, rules, batch);
            return Went::ToChecker;
        }
        self.store.give_spans(batch);
        if self.heavy.bytes > 0 && self.heavy.bytes + len > self.intake.heavy_max() {
            return Went::Refused;
        }
        self.heavy.waiting.push_back((addr.conn, len));
        self.heavy.bytes += len;
        Went::InLine
    }

    pub(super) fn hand_over(&mut self, addr: SlotAddr, part: u32, rules: Rules, batch: Vec<Span>) {
        self.heavy.handed += 1;
        let check = Check { reply: self.reply_to(addr, part), rules, pieces: batch };
        self.post.send(CoreId(self.setup.cores), Mail::Check(Box::new(check)));
    }

    /// Keeps what a request has become so far, in the connection.
    pub(super) fn hold(&mut self, k: u32, mut slot: Slot, left: u32, heavy: Heavy) {
        // One more than there are appends: the slot is not ready. Its bytes count as received until all of it is begun.
        (slot.work, slot.bytes) = (Work::Produce { left: left + 1 }, 0);
        self.push_slot(k, slot);
        let conn = self.conns[k as usize].as_mut().expect("it asked");
        conn.heavy = Some(Box::new(heavy));
        conn.checking = true;
    }

    /// Copies a small frame that will wait for long: the receive buffers it lies in are everybody's. Large ones lie elsewhere.
    pub(super) fn out_of_buffers(&mut self, len: usize, pieces: Vec<Span>) -> Vec<Span> {
        if len > HOLD_FRAME_MAX {
            return pieces;
        }
        let Some(mut block) = self.store.take_block(len) else { return pieces };
        pieces.iter().for_each(|piece| block.append(piece.bytes()));
        self.store.give_spans(pieces);
        let mut copy = self.store.take_spans();
        copy.push(block.span(0, len));
        copy
    }

    /// The checker has looked at a batch: its request goes on.
    pub(super) fn on_checked(&mut self, checked: Checked) {
        let Checked { reply, outcome, pieces } = checked;
        self.store.give_spans(pieces);
        self.heavy.handed -= 1;
        let Some(conn) = self.conn_of(reply.slot) else { return };
        let heavy = conn.heavy.as_mut().unwrap_or_else(|| panic!("{reply:?} waits for no checker"));
        assert_eq!(heavy.part, reply.part, "another batch of {reply:?} was checked");
        heavy.outcome = Some(outcome);
        conn.checking = false;
        self.proceed(reply.slot.conn);
    }

    /// Lets the first in line go on, which hands their batches over: as many as the checker takes, while the log has room for
    /// what comes back.
    pub(super) fn move_heavy(&mut self) {
        while self.heavy.handed < BATCHES_WITH_CHECKER
            && self.starved.is_empty()
            && let Some((k, len)) = self.heavy.waiting.front().copied()
            && self.store.has_room(len)
        {
            self.heavy.waiting.pop_front();
            self.heavy.bytes -= len;
            self.conns[k as usize].as_mut().expect("one that goes is forgotten").checking = false;
            self.proceed(k);
        }
    }
}
