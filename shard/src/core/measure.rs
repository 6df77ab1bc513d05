//! What a core measures of its own turns, and says at the end of each of what it holds. The figures are in its meter
//! ([`crate::metrics`]); everything else counts there itself, where it happens.

use super::{Shard, core_budget};
use crate::io::{Io, now_at};
use crate::metrics::core::QUEUES;

/// The parts of a turn, in the order of `metrics::core::PARTS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Wait,
    Completions,
    Mail,
    Decide,
    Commit,
    Answer,
}

/// Times of the `Io`'s clock, ns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// When the turn began, which is when its wait ended.
    pub(super) turn: u64,
    /// When the last part ended.
    pub(super) last: u64,
}

impl Clock {
    pub(super) fn at(nanos: u64) -> Clock {
        Clock { turn: nanos, last: nanos }
    }
}

impl<I: Io> Shard<I> {
    /// The wait is over, with so many completions. The one look at the clock by which everything in the turn goes.
    pub(super) fn begin_turn(&mut self, completions: usize) {
        self.end_part(Part::Wait);
        self.clock.turn = self.clock.last;
        self.now = now_at(self.clock.turn, self.io.wall());
        self.meter.turn_began.set(self.clock.turn);
        self.meter.turns.add(1);
        self.meter.completions.record(completions as u64);
    }

    pub(super) fn end_part(&mut self, part: Part) {
        let now = self.io.nanos();
        self.meter.parts[part as usize].add(now - self.clock.last);
        self.clock.last = now;
    }

    pub(super) fn end_turn(&mut self) {
        let figures = self.io.figures();
        let log = self.store.pool.usage();
        let meter = &*self.meter;
        meter.submissions.set(figures.submissions);
        let uses = [
            (log.taken, log.budget),
            (figures.receive_held, figures.receive_max),
            (self.in_flight, core_budget(&self.config, self.setup.cores)),
            self.intake.backlog(),
        ];
        for (k, (used, limit)) in uses.into_iter().enumerate() {
            meter.memory[k].set(used as u64);
            meter.memory_limit[k].set(limit as u64);
        }
        let (checker, line) = self.heavy.depth();
        let queues: [usize; QUEUES.len()] = [
            self.parked_fetches,
            self.store.dirs.iter().map(|d| d.committer.waiting()).sum(),
            self.stalled.len(),
            self.starved.len(),
            self.unsent.len(),
            self.post.from.iter().map(|receiver| receiver.known()).sum(),
            self.post.overflow.iter().map(|queue| queue.len()).sum(),
            checker,
            line,
            self.store.steps(),
        ];
        for (gauge, depth) in meter.queues.iter().zip(queues) {
            gauge.set(depth as u64);
        }
        meter.connections.set((self.conns.len() - self.free_conns.len()) as u64);
        meter.fetch_sessions.set(self.sessions.len() as u64);
        self.end_part(Part::Answer);
        self.meter.turn.record(self.clock.last - self.clock.turn);
    }
}
