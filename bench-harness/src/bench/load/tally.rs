//! What one client core counts: operations of the measured part, the second that runs, the step of a ramp.

use super::clock::SECOND;
use super::plan::Orders;
use crate::bench::result::{Latency, Operation};

/// One second on one core, to be merged with the others'.
#[derive(Debug, Default)]
pub(super) struct SecondPart {
    pub(super) at: u32,
    pub(super) sent_records: u64,
    pub(super) acked_records: u64,
    pub(super) acked_bytes: u64,
    pub(super) read_records: u64,
    pub(super) read_bytes: u64,
    pub(super) errors: u64,
    pub(super) publish: Latency,
    pub(super) end_to_end: Latency,
}

/// A step of a ramp on one core.
#[derive(Debug, Default)]
pub(super) struct StepPart {
    pub(super) number: u32,
    pub(super) acked: u64,
    pub(super) publish: Latency,
}

/// All that one core counts.
#[derive(Debug)]
pub(super) struct Tally {
    /// When the run began.
    base: u64,
    window: (u64, u64),
    step: Option<(u64, u64)>,
    pub(super) publish: Operation,
    pub(super) end_to_end: Operation,
    pub(super) fetch: Operation,
    pub(super) lag: Latency,
    pub(super) rebalances: Latency,
    pub(super) churned: u64,
    pub(super) second: SecondPart,
    pub(super) step_part: StepPart,
    /// Errors that no repetition mended.
    pub(super) refused: u64,
    /// Records sent again after an error that passes.
    pub(super) retried: u64,
    /// Records that carry no stamp of this run, or one of another partition.
    pub(super) strangers: u64,
    /// Batches that a reader could not take apart.
    pub(super) damaged: u64,
    pub(super) damage: Option<String>,
}

fn within(window: (u64, u64), time: u64) -> bool {
    window.0 <= time && time < window.1
}

impl Tally {
    pub(super) fn new(base: u64) -> Tally {
        Tally {
            base,
            window: (u64::MAX, u64::MAX),
            step: None,
            publish: Operation::default(),
            end_to_end: Operation::default(),
            fetch: Operation::default(),
            lag: Latency::default(),
            rebalances: Latency::default(),
            churned: 0,
            second: SecondPart::default(),
            step_part: StepPart::default(),
            refused: 0,
            retried: 0,
            strangers: 0,
            damaged: 0,
            damage: None,
        }
    }

    /// Takes new orders; answers the step that they end.
    pub(super) fn ordered(&mut self, orders: &Orders) -> Option<StepPart> {
        self.window = orders.window;
        let step = orders.step.map(|(_, from, to)| (from, to));
        if step == self.step {
            return None;
        }
        let ended = self.step.is_some();
        self.step = step;
        let number = orders.step.map_or(0, |(number, ..)| number);
        let part = std::mem::replace(&mut self.step_part, StepPart { number, ..StepPart::default() });
        ended.then_some(part)
    }

    /// The seconds that ended before `now`, one at a time.
    pub(super) fn ended_second(&mut self, now: u64) -> Option<SecondPart> {
        if now < self.base + (u64::from(self.second.at) + 1) * SECOND {
            return None;
        }
        let next = SecondPart { at: self.second.at + 1, ..SecondPart::default() };
        Some(std::mem::replace(&mut self.second, next))
    }

    pub(super) fn measuring(&self, time: u64) -> bool {
        within(self.window, time)
    }

    /// A planned send was handed to the kernel; it could not be before `possible`.
    pub(super) fn handed(&mut self, planned: u64, possible: u64, now: u64) {
        if self.measuring(planned) {
            self.lag.record(now.saturating_sub(planned.max(possible)));
        }
    }

    /// A produce request was answered.
    pub(super) fn answered(&mut self, now: u64) {
        self.publish.requests += u64::from(self.measuring(now));
    }

    /// A batch was acknowledged: planned (its last record), of so many records and bytes.
    pub(super) fn acknowledged(&mut self, planned: u64, now: u64, records: u64, bytes: u64) {
        let latency = now.saturating_sub(planned);
        self.second.acked_records += records;
        self.second.acked_bytes += bytes;
        self.second.publish.record(latency);
        if self.measuring(now) {
            self.publish.records += records;
            self.publish.bytes += bytes;
        }
        if self.measuring(planned) {
            self.publish.latency.record(latency);
        }
        if self.step.is_some_and(|step| within(step, planned)) {
            self.step_part.acked += records;
            self.step_part.publish.record(latency);
        }
    }

    /// A batch that was planned and never answered counts with the age it reached.
    pub(super) fn abandoned(&mut self, planned: u64, now: u64) {
        if self.measuring(planned) {
            self.publish.latency.record(now.saturating_sub(planned));
        }
        if self.step.is_some_and(|step| within(step, planned)) {
            self.step_part.publish.record(now.saturating_sub(planned));
        }
    }

    pub(super) fn produce_error(&mut self, code: i16, now: u64) {
        self.second.errors += 1;
        if self.measuring(now) {
            *self.publish.errors.entry(code).or_default() += 1;
        }
    }

    /// A record arrived at a consumer.
    pub(super) fn arrived(&mut self, planned: u64, now: u64) {
        let latency = now.saturating_sub(planned);
        self.second.end_to_end.record(latency);
        if self.measuring(planned) {
            self.end_to_end.latency.record(latency);
        }
    }

    /// A fetch that brought something was answered.
    pub(super) fn fetched(&mut self, asked: u64, now: u64, records: u64, bytes: u64) {
        self.second.read_records += records;
        self.second.read_bytes += bytes;
        if self.measuring(now) {
            for of in [&mut self.fetch, &mut self.end_to_end] {
                of.requests += 1;
                of.records += records;
                of.bytes += bytes;
            }
        }
        if self.measuring(asked) {
            self.fetch.latency.record(now.saturating_sub(asked));
        }
    }

    pub(super) fn fetch_error(&mut self, code: i16, now: u64) {
        self.second.errors += 1;
        if self.measuring(now) {
            *self.fetch.errors.entry(code).or_default() += 1;
        }
    }
}
