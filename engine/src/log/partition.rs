//! A partition's log as its core knows it: segments, offsets, watermarks, epochs, producers. Decides where a batch goes,
//! where an offset is found, when to roll and what retention takes. The bytes are `shard`'s.

use super::index::SegmentIndex;
use crate::ErrorCode;
use crate::batch::{BatchHeader, HEADER_LEN, MAGIC};
use crate::probe::{Bug, planted};
use crate::producer::ProducerStates;
use crate::types::{PartitionKey, WallMs};
use std::collections::VecDeque;

/// A place in a log: a segment, by its base offset, and a byte in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Place {
    pub segment: i64,
    pub position: u32,
}

/// The topic settings the log acts on; resolved by the caller, and changed at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogConfig {
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub segment_index_bytes: u32,
    pub index_interval_bytes: u32,
    /// -1: unlimited.
    pub retention_ms: i64,
    /// -1: unlimited.
    pub retention_bytes: i64,
    /// False where `cleanup.policy` does not contain `delete`.
    pub delete: bool,
}

/// Length in bytes of Kafka's offset index entry; `segment.index.bytes` counts in these.
const KAFKA_INDEX_ENTRY_BYTES: u32 = 8;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    pub base: i64,
    /// One past the last offset. Equals the next segment's base.
    pub next_offset: i64,
    pub len: u32,
    /// Largest timestamp of the first batch; -1 before one came. Rolling by time counts from it.
    pub first_timestamp: i64,
    pub created: WallMs,
    /// Absent for a sealed segment whose index file has not been read since the start.
    pub index: Option<SegmentIndex>,
}

impl Segment {
    fn new(base: i64, created: WallMs) -> Segment {
        Segment { base, next_offset: base, len: 0, first_timestamp: -1, created, index: Some(SegmentIndex::default()) }
    }

    /// The age that retention counts from: the largest timestamp, or the creation where records carry none.
    fn youngest(&self) -> Option<i64> {
        let index = self.index.as_ref()?;
        let by_creation = index.max_timestamp < 0 || planted(Bug::RetentionByCreation);
        Some(if by_creation { self.created.0 } else { index.max_timestamp })
    }
}

/// Where a batch was put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    pub base_offset: i64,
    pub place: Place,
    /// The segment that was active until now, if this batch opened a new one.
    pub sealed: Option<i64>,
}

/// Where to look for an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Located {
    /// The batch is at or after this place, before the end of the segment.
    At(Place),
    /// The offset is the end of what may be read: nothing yet.
    End,
    /// The sealed segment's index must be loaded first.
    NeedIndex(i64),
}

/// On the core that owns the partition; nobody else touches it.
#[derive(Debug)]
pub struct PartitionLog {
    pub key: PartitionKey,
    segments: VecDeque<Segment>,
    log_start: i64,
    /// Leader epochs and their first offsets, ascending (KIP-101).
    epochs: Vec<(i32, i64)>,
    pub producers: ProducerStates,
    /// What consumers may read: the high watermark and its place.
    visible: (i64, Place),
    /// Offsets from here on are lost to damage and refused; `i64::MAX` if none are.
    damaged_from: i64,
    /// What followed the end is not known: nothing may take its place.
    closed: bool,
    /// Of what is damaged, offsets before this one were lost with frames of a journal: bytes that are there in their place may be
    /// of other records, whatever their checksums say.
    lost_until: i64,
}

impl PartitionLog {
    /// A log that has never held a record.
    pub fn empty(key: PartitionKey, now: WallMs, producers: ProducerStates) -> PartitionLog {
        PartitionLog::recovered(key, VecDeque::from([Segment::new(0, now)]), 0, Vec::new(), producers, i64::MAX)
    }

    /// A log as recovery found it. There is at least one segment, the last is active, and all of it is durable.
    pub fn recovered(
        key: PartitionKey,
        segments: VecDeque<Segment>,
        log_start: i64,
        epochs: Vec<(i32, i64)>,
        producers: ProducerStates,
        damaged_from: i64,
    ) -> PartitionLog {
        let last = segments.back().expect("a log has an active segment");
        assert!(last.index.is_some(), "{key}: the active segment has its index");
        let visible = (last.next_offset, Place { segment: last.base, position: last.len });
        PartitionLog {
            key,
            segments,
            log_start,
            epochs,
            producers,
            visible,
            damaged_from,
            closed: false,
            lost_until: 0,
        }
    }

    /// First offset that may be read.
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// One past the last appended offset (log end offset).
    pub fn next_offset(&self) -> i64 {
        self.active().next_offset
    }

    /// One past the last offset consumers see. No transactions yet, so the last stable offset is the same.
    pub fn high_watermark(&self) -> i64 {
        self.visible.0
    }

    pub fn visible_end(&self) -> Place {
        self.visible.1
    }

    pub fn end(&self) -> Place {
        let active = self.active();
        Place { segment: active.base, position: active.len }
    }

    pub fn damaged_from(&self) -> i64 {
        self.damaged_from
    }

    /// Offsets from here on turned out lost to damage: they are refused, those before are not.
    pub fn on_damage(&mut self, offset: i64) {
        self.damaged_from = self.damaged_from.min(offset);
    }

    /// What followed the end is lost, and how much that was is not known: nothing is appended any more, as its offsets would
    /// be those of other records.
    pub fn close(&mut self) {
        self.closed = true;
        self.on_damage(self.next_offset());
    }

    /// What is damaged was lost with frames of a journal, up to this offset.
    pub fn lost(&mut self, until: i64) {
        self.lost_until = until;
    }

    pub fn lost_until(&self) -> i64 {
        self.lost_until
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The offset of the batch at a place that [`PartitionLog::locate`] named.
    pub fn offset_at(&self, place: Place) -> Option<i64> {
        let index = self.segment(place.segment)?.index.as_ref()?;
        let relative = if place.position == 0 { 0 } else { index.relative_offset_at(place.position)? };
        Some(place.segment + i64::from(relative))
    }

    /// Can this be the header of a batch of this log, with `left` bytes to the end of its segment, and at `offset`, if that is
    /// known? Checks what a batch's own checksum does not cover.
    pub fn may_hold(&self, header: &BatchHeader, offset: Option<i64>, left: u32) -> bool {
        let len = header.total_len();
        let epoch = self.epoch_at(header.base_offset);
        header.magic == MAGIC
            && (HEADER_LEN..=left as usize).contains(&len)
            && header.last_offset_delta >= 0
            && offset.is_none_or(|offset| offset == header.base_offset)
            && (epoch == -1 || epoch == header.leader_epoch)
    }

    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &Segment> + ExactSizeIterator {
        self.segments.iter()
    }

    pub fn segment(&self, base: i64) -> Option<&Segment> {
        let at = self.segments.binary_search_by_key(&base, |s| s.base).ok()?;
        Some(&self.segments[at])
    }

    pub fn active(&self) -> &Segment {
        self.segments.back().expect("a log has an active segment")
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| u64::from(s.len)).sum()
    }

    /// Would this batch open a new segment? (Kafka's rules: size, age by timestamps, index full, offset range.)
    fn must_roll(&self, header: &BatchHeader, len: u32, now: WallMs, config: &LogConfig) -> bool {
        let active = self.active();
        if active.len == 0 {
            return false;
        }
        let age = if active.first_timestamp >= 0 && header.max_timestamp >= 0 {
            header.max_timestamp.saturating_sub(active.first_timestamp)
        } else {
            now.0.saturating_sub(active.created.0)
        };
        let entries = active.index.as_ref().map_or(0, |i| i.len() as u32);
        let span = self.next_offset() + i64::from(header.last_offset_delta) - active.base;
        u64::from(active.len) + u64::from(len) > u64::from(config.segment_bytes)
            || age > config.segment_ms.saturating_sub(self.jitter(config))
            || entries >= (config.segment_index_bytes / KAFKA_INDEX_ENTRY_BYTES).max(1)
            || span > i64::from(i32::MAX)
    }

    /// What is taken off the roll time of the active segment: up to `segment.jitter.ms`, by chance, which a hash of what
    /// names the segment is as good as.
    fn jitter(&self, config: &LogConfig) -> i64 {
        let most = config.segment_jitter_ms.min(config.segment_ms).max(0);
        let [id @ .., _, _, _, _, _, _, _, _] = self.key.topic.0;
        let mut hash = u64::from_le_bytes(id) ^ (self.active().base as u64) << 32 ^ self.key.partition as u64;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((hash ^ (hash >> 31)) % (most as u64 + 1)) as i64
    }

    /// Puts a checked batch at the end of the log. The caller stores its bytes at the place told, stamped with the offset.
    pub fn append(&mut self, header: &BatchHeader, epoch: i32, now: WallMs, config: &LogConfig) -> Placement {
        let len = header.total_len() as u32;
        let base_offset = self.next_offset();
        let sealed = self.must_roll(header, len, now, config).then(|| self.open_segment(base_offset, now));
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.push((epoch, base_offset));
        }
        let active = self.segments.back_mut().expect("a log has an active segment");
        let place = Place { segment: active.base, position: active.len };
        if active.len == 0 {
            active.first_timestamp = header.max_timestamp;
            active.created = now;
        }
        let relative = u32::try_from(base_offset - active.base).expect("a segment spans at most 2^31 offsets");
        let index = active.index.as_mut().expect("the active segment has its index");
        index.note(relative, active.len, len, header.max_timestamp, base_offset, config.index_interval_bytes);
        active.len += len;
        active.next_offset = base_offset + i64::from(header.last_offset_delta) + 1;
        Placement { base_offset, place, sealed }
    }

    /// Everything before `offset` may be read by consumers; its place is the end of the last such batch.
    pub fn on_visible(&mut self, offset: i64, end: Place) {
        assert!(offset >= self.visible.0, "{}: high watermark {} would go back to {offset}", self.key, self.visible.0);
        assert!(
            offset <= self.next_offset(),
            "{}: high watermark {offset} past the end {}",
            self.key,
            self.next_offset()
        );
        self.visible = (offset, end);
    }

    /// Finds an offset for a reader who sees up to the high watermark.
    pub fn locate(&self, offset: i64) -> Result<Located, ErrorCode> {
        let unknown = self.closed && offset > self.next_offset();
        if offset < self.log_start || (offset > self.next_offset() && !unknown) {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if offset >= self.damaged_from {
            return Err(ErrorCode::KafkaStorageError);
        }
        if offset >= self.visible.0 {
            return Ok(Located::End);
        }
        let at = self.segments.partition_point(|s| s.base <= offset).saturating_sub(1);
        let segment = &self.segments[at];
        let Some(index) = &segment.index else { return Ok(Located::NeedIndex(segment.base)) };
        let relative = u32::try_from(offset - segment.base).unwrap_or(u32::MAX);
        Ok(Located::At(Place { segment: segment.base, position: index.position_of(relative) }))
    }

    /// Finds the first batch with a timestamp at or after the one asked, among what consumers see. `End`: there is none.
    pub fn locate_time(&self, timestamp: i64) -> Located {
        for segment in &self.segments {
            if segment.next_offset <= self.log_start {
                continue;
            }
            let Some(index) = &segment.index else { return Located::NeedIndex(segment.base) };
            if index.max_timestamp >= timestamp && segment.len > 0 {
                return Located::At(Place { segment: segment.base, position: index.position_of_time(timestamp) });
            }
        }
        Located::End
    }

    /// The segment that holds the largest timestamp, as (timestamp, offset of its batch, place to look from).
    pub fn locate_max_timestamp(&self) -> Result<Option<(i64, Place)>, i64> {
        let mut best: Option<(i64, Place)> = None;
        for segment in &self.segments {
            let index = segment.index.as_ref().ok_or(segment.base)?;
            if segment.len > 0 && index.max_timestamp >= 0 && best.is_none_or(|(t, _)| index.max_timestamp > t) {
                let position = index.position_of_time(index.max_timestamp);
                best = Some((index.max_timestamp, Place { segment: segment.base, position }));
            }
        }
        Ok(best)
    }

    /// Puts a loaded or rebuilt index in place.
    pub fn set_index(&mut self, base: i64, index: SegmentIndex) {
        if let Ok(at) = self.segments.binary_search_by_key(&base, |s| s.base) {
            self.segments[at].index = Some(index);
        }
    }

    /// The epoch in force at the end of the log.
    pub fn last_epoch(&self) -> Option<i32> {
        self.epochs.last().map(|(epoch, _)| *epoch)
    }

    pub fn epochs(&self) -> &[(i32, i64)] {
        &self.epochs
    }

    /// OffsetForLeaderEpoch: the largest epoch at or below the one asked, and the offset where it ended (KIP-101, KIP-279).
    /// -1 asks of no epoch, and nothing is known of it.
    pub fn epoch_end(&self, asked: i32, current: i32) -> Option<(i32, i64)> {
        if asked == current {
            return Some((asked, self.next_offset()));
        }
        if asked == -1 {
            return None;
        }
        let at = self.epochs.partition_point(|(epoch, _)| *epoch <= asked);
        match (at.checked_sub(1).map(|k| self.epochs[k]), self.epochs.get(at)) {
            (_, None) => None,
            (Some((epoch, _)), Some((_, end))) => Some((epoch, *end)),
            (None, Some((_, start))) => Some((asked, *start)),
        }
    }

    /// Moves the log start (DeleteRecords). It never goes back and never passes the high watermark.
    pub fn set_log_start(&mut self, offset: i64) -> Result<(), ErrorCode> {
        if offset > self.visible.0 {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if offset > self.log_start {
            self.log_start = offset;
            self.forget_before_start();
        }
        Ok(())
    }

    /// Moves the log start as far as retention by time and size allows; whole segments only, none above the high
    /// watermark. True if it moved. A segment whose index is not loaded stops the walk: `Err` names it.
    pub fn retain(&mut self, now: WallMs, config: &LogConfig) -> Result<bool, i64> {
        if !config.delete {
            return Ok(false);
        }
        let mut surplus =
            if config.retention_bytes >= 0 { self.bytes() as i64 - config.retention_bytes } else { i64::MIN };
        let mut start = self.log_start;
        for segment in &self.segments {
            if segment.len == 0 || segment.next_offset > self.visible.0 {
                break;
            }
            let too_big = surplus >= i64::from(segment.len) * i64::from(!planted(Bug::RetentionOneTooMany));
            let too_old = !too_big && config.retention_ms >= 0 && {
                let youngest = segment.youngest().ok_or(segment.base)?;
                now.0.saturating_sub(youngest) > config.retention_ms
            };
            if !(too_big || too_old) {
                break;
            }
            surplus = surplus.saturating_sub(i64::from(segment.len));
            start = segment.next_offset;
        }
        let moved = start > self.log_start;
        if moved {
            self.log_start = start;
            self.forget_before_start();
        }
        Ok(moved)
    }

    /// Segments wholly below the log start, taken out for deletion. If the active one is among them a fresh one is opened.
    pub fn take_dead(&mut self, now: WallMs) -> Vec<Segment> {
        let mut dead = Vec::new();
        while self.segments.front().is_some_and(|s| s.len > 0 && s.next_offset <= self.log_start) {
            if self.segments.len() == 1 {
                let next = self.next_offset();
                self.segments.push_back(Segment::new(next, now));
                self.visible.1 = Place { segment: next, position: 0 };
            }
            dead.extend(self.segments.pop_front());
        }
        dead
    }

    /// The log start moved: what is before it is nobody's any more, damaged or not.
    fn forget_before_start(&mut self) {
        if self.damaged_from < self.log_start {
            self.damaged_from = match () {
                () if self.log_start < self.lost_until => self.log_start,
                () if self.closed => self.next_offset(),
                () => i64::MAX,
            };
        }
        self.trim_epochs();
    }

    fn trim_epochs(&mut self) {
        let keep_from = self.epochs.partition_point(|(_, start)| *start <= self.log_start).saturating_sub(1);
        self.epochs.drain(..keep_from);
        if let Some(first) = self.epochs.first_mut() {
            first.1 = first.1.max(self.log_start);
        }
    }

    /// Opens the next segment and returns the base of the one that is sealed.
    fn open_segment(&mut self, base: i64, now: WallMs) -> i64 {
        let active = self.segments.back_mut().expect("a log has an active segment");
        if let Some(index) = &mut active.index {
            index.seal();
        }
        let sealed = active.base;
        self.segments.push_back(Segment::new(base, now));
        sealed
    }

    /// Closes the active segment at its end and opens the next; used where the old one may still be written to by others.
    pub fn roll(&mut self, now: WallMs) -> Option<i64> {
        if self.active().len == 0 {
            return None;
        }
        let next = self.next_offset();
        let sealed = self.open_segment(next, now);
        if self.visible.0 == next {
            self.visible.1 = Place { segment: next, position: 0 };
        }
        Some(sealed)
    }
}

impl PartitionLog {
    /// The leader epoch in force at an offset; -1 if none is known.
    pub fn epoch_at(&self, offset: i64) -> i32 {
        match self.epochs.partition_point(|(_, start)| *start <= offset) {
            0 => -1,
            n => self.epochs[n - 1].0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicId;

    fn log() -> PartitionLog {
        let key = PartitionKey { topic: TopicId([1; 16]), partition: 0 };
        let mut index = SegmentIndex::default();
        index.note(0, 0, 100, 1, 0, 100);
        index.note(10, 100, 100, 2, 10, 100);
        let sealed =
            Segment { base: 0, next_offset: 20, len: 200, first_timestamp: 1, created: WallMs(0), index: Some(index) };
        let segments = VecDeque::from([sealed, Segment::new(20, WallMs(0))]);
        PartitionLog::recovered(key, segments, 0, vec![(3, 0)], ProducerStates::new(1), i64::MAX)
    }

    #[test]
    fn damage_refuses_what_follows_until_the_log_starts_after_it() {
        let mut log = log();
        log.on_damage(10);
        log.on_damage(15);
        let at = |position| Ok(Located::At(Place { segment: 0, position }));
        assert_eq!(log.locate(9), at(0));
        assert_eq!(log.locate(10), Err(ErrorCode::KafkaStorageError));
        assert_eq!(log.locate(20), Err(ErrorCode::KafkaStorageError));
        log.set_log_start(10).unwrap();
        assert_eq!(log.locate(10), Err(ErrorCode::KafkaStorageError));
        log.set_log_start(11).unwrap();
        assert_eq!((log.locate(11), log.locate(20)), (at(100), Ok(Located::End)));
    }

    #[test]
    fn what_was_lost_stays_refused_up_to_its_end() {
        let mut log = log();
        log.on_damage(5);
        log.lost(15);
        log.set_log_start(10).unwrap();
        assert_eq!((log.damaged_from(), log.locate(10)), (10, Err(ErrorCode::KafkaStorageError)));
        log.set_log_start(15).unwrap();
        assert_eq!(log.damaged_from(), i64::MAX);
    }

    #[test]
    fn a_closed_log_refuses_its_end_and_whatever_may_have_been_beyond() {
        let mut log = log();
        log.close();
        assert_eq!(log.locate(19), Ok(Located::At(Place { segment: 0, position: 100 })));
        for offset in [20, 21, i64::MAX] {
            assert_eq!(log.locate(offset), Err(ErrorCode::KafkaStorageError));
        }
        log.on_damage(5);
        log.set_log_start(20).unwrap();
        assert_eq!((log.is_closed(), log.locate(20)), (true, Err(ErrorCode::KafkaStorageError)));
    }

    #[test]
    fn a_header_is_believed_only_where_it_can_be() {
        let log = log();
        assert_eq!(log.offset_at(Place { segment: 0, position: 100 }), Some(10));
        assert_eq!(log.offset_at(Place { segment: 0, position: 50 }), None);
        let good = BatchHeader {
            base_offset: 10,
            batch_length: 88,
            leader_epoch: 3,
            magic: MAGIC,
            last_offset_delta: 9,
            ..BatchHeader::default()
        };
        assert!(log.may_hold(&good, Some(10), 100) && log.may_hold(&good, None, 100));
        let bad = [
            BatchHeader { base_offset: 11, ..good },
            BatchHeader { batch_length: 89, ..good },
            BatchHeader { batch_length: -12, ..good },
            BatchHeader { batch_length: 48, ..good },
            BatchHeader { leader_epoch: 2, ..good },
            BatchHeader { magic: 1, ..good },
            BatchHeader { last_offset_delta: -1, ..good },
        ];
        for header in bad {
            assert!(!log.may_hold(&header, Some(10), 100), "{header:?}");
        }
    }
}
