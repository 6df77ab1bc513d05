//! The producers of a partition under a stream of batches, beside a model that remembers everything.

use super::input::Input;
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchHeader, sequence_after};
use ringlog_engine::producer::{Check, ProducerStates, REMEMBERED_BATCHES};
use ringlog_engine::types::WallMs;
use std::collections::{BTreeMap, VecDeque};

/// One batch that the model has seen: its first sequence, the number of records less one, its first offset.
type Seen = (i32, i32, i64);

#[derive(Default)]
struct Model {
    epoch: i16,
    batches: VecDeque<Seen>,
    used: u64,
}

const LIMIT: usize = 4;

struct World {
    states: ProducerStates,
    models: BTreeMap<i64, Model>,
    next_offset: i64,
    turn: u64,
}

pub(super) fn commands(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world =
        World { states: ProducerStates::new(LIMIT as u32), models: BTreeMap::new(), next_offset: 0, turn: 0 };
    while !input.is_empty() {
        world.turn += 1;
        match input.below(8) {
            0 => world.snapshot(),
            1 => world.forget(&mut input),
            2 if input.one_in(4) => world.expire(&mut input),
            _ => world.send(&mut input),
        }
        assert_eq!(world.states.len(), world.models.len());
    }
    world.snapshot();
}

impl World {
    fn send(&mut self, input: &mut Input<'_>) {
        let id = input.below(6) as i64;
        let delta = input.below(3) as i32;
        let model = self.models.get(&id);
        let (epoch, next) = model.map_or((0, 0), |model| {
            (model.epoch, model.batches.back().map_or(0, |(first, delta, _)| sequence_after(*first, delta + 1)))
        });
        // Mostly what comes next; else a retry, a gap, another epoch.
        let retry = model.and_then(|model| model.batches.get(input.below(REMEMBERED_BATCHES + 1)).copied());
        let (epoch, base_sequence, delta) = match (input.below(8), retry) {
            (0, Some((first, delta, _))) => (epoch, first, delta),
            (1, _) => (epoch, i32::MAX - input.below(4) as i32, delta),
            (2, _) => (epoch.wrapping_add(1), input.below(2) as i32, delta),
            (3, _) => (epoch.wrapping_sub(1), next, delta),
            _ => (epoch, next, delta),
        };
        let header = BatchHeader {
            producer_id: id,
            producer_epoch: epoch,
            base_sequence,
            last_offset_delta: delta,
            record_count: delta + 1,
            max_timestamp: self.turn as i64,
            ..BatchHeader::default()
        };
        let expected = self.expected(id, epoch, base_sequence, delta);
        let check = self.states.check(&header);
        let told = check.map(|check| match check {
            Check::New => None,
            Check::Duplicate { base_offset, .. } => Some(base_offset),
        });
        assert_eq!(told, expected, "producer {id}, epoch {epoch}, sequence {base_sequence}, {} records", delta + 1);
        if told == Ok(None) {
            self.states.record(&header, self.next_offset, WallMs(self.turn as i64));
            self.record(id, epoch, (base_sequence, delta, self.next_offset));
            self.next_offset += i64::from(delta) + 1;
        }
    }

    /// New (None), the offset of what it repeats, or a refusal.
    fn expected(&self, id: i64, epoch: i16, sequence: i32, delta: i32) -> Result<Option<i64>, ErrorCode> {
        if epoch < 0 {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        let Some(model) = self.models.get(&id) else { return Ok(None) };
        if epoch < model.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if epoch > model.epoch {
            return if sequence == 0 { Ok(None) } else { Err(ErrorCode::OutOfOrderSequenceNumber) };
        }
        let same = model.batches.iter().find(|(first, count, _)| (*first, *count) == (sequence, delta));
        if let Some((_, _, offset)) = same {
            return Ok(Some(*offset));
        }
        match model.batches.back() {
            Some((first, count, _)) if sequence != sequence_after(*first, count + 1) => {
                Err(ErrorCode::OutOfOrderSequenceNumber)
            }
            _ => Ok(None),
        }
    }

    fn record(&mut self, id: i64, epoch: i16, seen: Seen) {
        if !self.models.contains_key(&id) && self.models.len() == LIMIT {
            let oldest = *self.models.iter().min_by_key(|(_, model)| model.used).expect("there are some").0;
            self.models.remove(&oldest);
        }
        let model = self.models.entry(id).or_default();
        if model.epoch != epoch {
            (model.epoch, model.batches) = (epoch, VecDeque::new());
        }
        model.batches.push_back(seen);
        if model.batches.len() > REMEMBERED_BATCHES {
            model.batches.pop_front();
        }
        model.used = self.turn;
    }

    /// A crash: what is read is what was written.
    fn snapshot(&mut self) {
        let mut written = Vec::new();
        self.states.encode(&mut written);
        assert!(written.len() <= self.states.encoded_len_max());
        let states = ProducerStates::decode(&written, LIMIT as u32).expect("what was written is read");
        assert_eq!(states.iter().collect::<Vec<_>>(), self.states.iter().collect::<Vec<_>>());
        assert_eq!(states.last_used().collect::<Vec<_>>(), self.states.last_used().collect::<Vec<_>>());
        self.states = states;
    }

    /// The end of the log turns out not to be durable.
    fn forget(&mut self, input: &mut Input<'_>) {
        let from = (self.next_offset - input.below(8) as i64).max(0);
        self.states.forget_from(from);
        for model in self.models.values_mut() {
            model.batches.retain(|(_, delta, offset)| offset + i64::from(*delta) < from);
        }
    }

    fn expire(&mut self, input: &mut Input<'_>) {
        let age = 1 + input.below(32) as i64;
        self.states.expire(WallMs(self.turn as i64), age);
        let turn = self.turn;
        self.models.retain(|_, model| ((turn - model.used) as i64) < age);
    }
}
