//! A partition's log under a stream of appends, watermarks, retention and deletion, beside a model that is a list of its batches.

use super::input::Input;
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchHeader, HEADER_LEN, LOG_OVERHEAD, MAGIC};
use ringlog_engine::log::partition::{Located, LogConfig, PartitionLog, Place};
use ringlog_engine::producer::ProducerStates;
use ringlog_engine::types::{PartitionKey, TopicId, WallMs};

#[derive(Clone, Copy)]
struct Batch {
    offset: i64,
    next_offset: i64,
    place: Place,
    len: u32,
    timestamp: i64,
    epoch: i32,
}

struct World {
    log: PartitionLog,
    config: LogConfig,
    /// All that are in segments which were not taken out.
    batches: Vec<Batch>,
    log_start: i64,
    visible: i64,
    now: i64,
    epoch: i32,
}

pub(super) fn commands(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let config = LogConfig {
        segment_bytes: input.pick(&[200, 1_000, 1 << 20]),
        segment_ms: input.pick(&[50, i64::MAX]),
        segment_jitter_ms: input.pick(&[0, 10]),
        segment_index_bytes: input.pick(&[8, 80, 1 << 20]),
        index_interval_bytes: input.pick(&[0, 150, 4096]),
        retention_ms: input.pick(&[-1, 0, 100]),
        retention_bytes: input.pick(&[-1, 0, 500]),
        delete: !input.one_in(8),
    };
    let key = PartitionKey { topic: TopicId([3; 16]), partition: 1 };
    let log = PartitionLog::empty(key, WallMs(0), ProducerStates::new(1));
    let mut world = World { log, config, batches: Vec::new(), log_start: 0, visible: 0, now: 0, epoch: 0 };
    while !input.is_empty() {
        match input.below(12) {
            0..=3 => world.append(&mut input),
            4 | 5 => world.see(&mut input),
            6 => world.look(&mut input),
            7 => world.look_by_time(&mut input),
            8 => world.delete_records(&mut input),
            9 => world.retain(),
            10 => world.take_dead(),
            _ => world.pass(&mut input),
        }
        world.check();
    }
}

impl World {
    fn next_offset(&self) -> i64 {
        self.batches.last().map_or(self.log.active().base, |batch| batch.next_offset)
    }

    fn append(&mut self, input: &mut Input<'_>) {
        let len = HEADER_LEN as u32 + input.below(200) as u32;
        let delta = if input.one_in(16) { i32::MAX - 1 } else { input.below(5) as i32 };
        let timestamp = self.now - 20 + input.below(40) as i64;
        let header = BatchHeader {
            batch_length: (len as usize - LOG_OVERHEAD) as i32,
            magic: MAGIC,
            last_offset_delta: delta,
            record_count: delta + 1,
            max_timestamp: timestamp,
            ..BatchHeader::default()
        };
        let (expected, end) = (self.next_offset(), self.log.end());
        let placed = self.log.append(&header, self.epoch, WallMs(self.now), &self.config);
        assert_eq!(placed.base_offset, expected);
        match placed.sealed {
            None => assert_eq!(placed.place, end),
            Some(sealed) => {
                assert_eq!((sealed, placed.place), (end.segment, Place { segment: expected, position: 0 }));
                assert!(end.position > 0, "an empty segment is not rolled");
            }
        }
        let next_offset = expected + i64::from(delta) + 1;
        let (place, epoch) = (placed.place, self.epoch);
        self.batches.push(Batch { offset: expected, next_offset, place, len, timestamp, epoch });
    }

    /// More of it is durable: up to the end of some batch.
    fn see(&mut self, input: &mut Input<'_>) {
        let hidden: Vec<Batch> =
            self.batches.iter().filter(|batch| batch.next_offset > self.visible).copied().collect();
        if hidden.is_empty() {
            return;
        }
        let last = hidden[input.below(hidden.len())];
        let end = Place { segment: last.place.segment, position: last.place.position + last.len };
        self.log.on_visible(last.next_offset, end);
        self.visible = last.next_offset;
    }

    fn some_offset(&self, input: &mut Input<'_>) -> i64 {
        let near = input.below(5) as i64 - 2;
        match input.below(4) {
            0 => self.log_start + near,
            1 => self.visible + near,
            2 => self.next_offset() + near,
            _ => {
                let at = input.below(self.batches.len().max(1));
                self.batches.get(at).map_or(near, |batch| batch.offset.saturating_add(near))
            }
        }
    }

    fn look(&mut self, input: &mut Input<'_>) {
        let offset = self.some_offset(input);
        let found = self.log.locate(offset);
        if offset < self.log_start || offset > self.next_offset() {
            assert_eq!(found, Err(ErrorCode::OffsetOutOfRange), "offset {offset}");
        } else if offset >= self.visible {
            assert_eq!(found, Ok(Located::End), "offset {offset}");
        } else {
            let holds = |batch: &&Batch| (batch.offset..batch.next_offset).contains(&offset);
            let batch = self.batches.iter().find(holds).expect("what may be read is there");
            let Ok(Located::At(place)) = found else { panic!("offset {offset}: {found:?}") };
            assert!(place.segment == batch.place.segment && place.position <= batch.place.position, "offset {offset}");
            assert_eq!(self.log.epoch_at(offset), batch.epoch, "offset {offset}");
            let begun =
                self.batches.iter().find(|batch| batch.place == place).expect("a place is where a batch begins");
            if let Some(told) = self.log.offset_at(place) {
                assert_eq!(told, begun.offset);
            }
        }
    }

    fn look_by_time(&mut self, input: &mut Input<'_>) {
        let timestamp = self.now - 60 + input.below(80) as i64;
        let visible = |batch: &&Batch| batch.offset >= self.log_start && batch.next_offset <= self.visible;
        let Some(first) = self.batches.iter().filter(visible).find(|batch| batch.timestamp >= timestamp) else {
            return;
        };
        let found = self.log.locate_time(timestamp);
        let Located::At(place) = found else {
            panic!("time {timestamp}: {found:?}, but batch {} has it", first.offset)
        };
        assert!(place <= first.place, "time {timestamp}: {place:?} is behind batch {}", first.offset);
    }

    fn delete_records(&mut self, input: &mut Input<'_>) {
        let offset = self.some_offset(input);
        let result = self.log.set_log_start(offset);
        assert_eq!(result.is_err(), offset > self.visible);
        if result.is_ok() {
            self.log_start = self.log_start.max(offset);
        }
    }

    fn retain(&mut self) {
        let moved = self.log.retain(WallMs(self.now), &self.config).expect("every index is loaded");
        let start = self.log.log_start();
        assert_eq!(moved, start > self.log_start);
        assert!(!moved || (self.config.delete && self.batches.iter().any(|batch| batch.next_offset == start)));
        if moved && self.config.retention_bytes < 0 {
            let taken = self.batches.iter().filter(|batch| batch.next_offset <= start);
            let youngest = taken.map(|batch| batch.timestamp).max().expect("something was taken");
            assert!(
                youngest < 0 || self.now - youngest > self.config.retention_ms,
                "too young: {youngest} at {}",
                self.now
            );
        }
        self.log_start = start;
    }

    fn take_dead(&mut self) {
        for segment in self.log.take_dead(WallMs(self.now)) {
            assert!(segment.next_offset <= self.log_start);
            self.batches.retain(|batch| batch.place.segment != segment.base);
        }
    }

    fn pass(&mut self, input: &mut Input<'_>) {
        match input.below(4) {
            0 => self.epoch += 1,
            1 => {
                self.log.roll(WallMs(self.now));
            }
            _ => self.now += input.below(100) as i64,
        }
    }

    fn check(&self) {
        let log = &self.log;
        assert_eq!((log.log_start(), log.high_watermark()), (self.log_start, self.visible));
        assert_eq!(log.next_offset(), self.next_offset());
        assert_eq!(log.bytes(), self.batches.iter().map(|batch| u64::from(batch.len)).sum::<u64>());
        let mut ends = None;
        for segment in log.segments() {
            assert!(ends.is_none_or(|end| end == segment.base), "a gap before segment {}", segment.base);
            ends = Some(segment.next_offset);
        }
        assert!(log.epochs().is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{:?}", log.epochs());
    }
}
