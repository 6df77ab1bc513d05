//! What to do with a partition's files so that they hold what its journals say, and the log that follows from it. Pure: from
//! a replayed journal and a folder's listing to a plan; the plan of a plan carried out, whole or in part, is the same again.

use ringlog_engine::batch::{BatchHeader, HEADER_LEN, checksum_matches};
use ringlog_engine::log::index::SegmentIndex;
use ringlog_engine::log::partition::{PartitionLog, Segment};
use ringlog_engine::log::recover::{Appended, Recovered, Redo};
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::producer::ProducerStates;
use ringlog_engine::rope::Rope;
use ringlog_engine::types::{PartitionKey, WallMs};
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// Bytes between two entries of an index made here; a topic's own setting is not known yet.
const INDEX_INTERVAL: u32 = 4096;

/// A segment's file as the folder's listing shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OnDisk {
    pub(super) base: i64,
    pub(super) len: u64,
    /// Last change, ms since 1970.
    pub(super) modified: i64,
    /// The offset after it, if its index says that the segment was complete with so many bytes. Looked up only where frames of
    /// journals are missing.
    pub(super) complete: Option<i64>,
}

/// A segment's file to be brought to its exact contents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finish<'a> {
    pub(super) base: i64,
    pub(super) len: u32,
    /// In this order; none reaches beyond `len`.
    pub(super) writes: Vec<Redo<'a>>,
}

#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) log: PartitionLog,
    pub(super) finish: Vec<Finish<'a>>,
    /// Segments below the start or beyond the end of the log: their files go.
    pub(super) remove: Vec<i64>,
    /// What is wrong with the partition; empty if nothing is.
    pub(super) damage: Vec<String>,
}

/// Where a torn tail was cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub(super) offset: i64,
    pub(super) segment: i64,
    pub(super) position: u32,
}

/// Checks the batches that were on their way to their segments when the broker ended, and cuts the log at the first that did
/// not arrive. `read` fills what it can from a segment's file and returns how much that was.
pub(super) fn verify(
    recovered: &mut Recovered<'_>,
    mut read: impl FnMut(i64, u32, &mut [u8]) -> io::Result<usize>,
) -> io::Result<Option<Cut>> {
    let mut bytes = Vec::new();
    for at in 0..recovered.appended.len() {
        let batch = recovered.appended[at];
        if !batch.unproven || batch.header.next_offset() <= recovered.log_start {
            continue;
        }
        if !arrived(&batch, &recovered.redo, &mut bytes, &mut read)? {
            let cut = Cut { offset: batch.header.base_offset, segment: batch.segment, position: batch.position };
            recovered.cut(at + usize::from(planted(Bug::TornBatchKept)));
            return Ok(Some(cut));
        }
    }
    Ok(None)
}

/// Is the batch whole, in its segment's file and what the journal has of it?
fn arrived(
    batch: &Appended,
    redo: &[Redo<'_>],
    bytes: &mut Vec<u8>,
    read: &mut impl FnMut(i64, u32, &mut [u8]) -> io::Result<usize>,
) -> io::Result<bool> {
    let (start, len) = (batch.position as usize, batch.header.total_len());
    bytes.clear();
    bytes.resize(len, 0);
    read(batch.segment, batch.position, bytes)?;
    for piece in redo.iter().filter(|piece| piece.segment == batch.segment) {
        let (from, to) = (piece.position as usize, piece.position as usize + piece.bytes.len());
        let (low, high) = (from.max(start), to.min(start + len));
        if low < high {
            bytes[low - start..high - start].copy_from_slice(&piece.bytes[low - from..high - from]);
        }
    }
    let header: &[u8; HEADER_LEN] = bytes.first_chunk().expect("a batch is longer than its header");
    Ok(BatchHeader::parse(header) == batch.header && checksum_matches(Rope::of(bytes)))
}

/// `on_disk` is in order of base offset. `Err` says why the partition cannot be recovered by this release.
pub(super) fn plan<'a>(
    key: PartitionKey,
    recovered: &Recovered<'a>,
    on_disk: &[OnDisk],
    now: WallMs,
    producers_limit: u32,
) -> Result<Plan<'a>, String> {
    let mut laid = lay_out(recovered, on_disk, now);
    let next_offset = recovered.next_offset;
    let log_start = recovered.log_start.min(next_offset);
    if let Some(first) = laid.segments.front().map(|s| s.base).or((log_start < next_offset).then_some(next_offset))
        && first > log_start
    {
        laid.damaged_from = laid.damaged_from.min(log_start);
        laid.damage.push(format!("offsets {log_start} to {} are missing: no segment holds them", first - 1));
    }
    let fresh = Segment {
        base: next_offset,
        next_offset,
        len: 0,
        first_timestamp: -1,
        created: now,
        index: Some(SegmentIndex::default()),
    };
    laid.segments.push_back(fresh);
    let producers = producers(recovered, now, producers_limit).ok_or_else(|| {
        format!("{key}: its producers have a format this release cannot read: start the newer release that wrote them")
    })?;
    laid.tell_of_missing_frames(recovered);
    let damaged_from = laid.damaged_from.min(recovered.state.damaged_from);
    let start = recovered.state.log_start.min(log_start);
    let mut log = PartitionLog::recovered(key, laid.segments, start, epochs(recovered), producers, damaged_from);
    let lost = recovered.is_uncertain() && damaged_from < i64::MAX;
    log.lost(if lost { next_offset } else { recovered.state.lost_until });
    log.set_log_start(log_start).expect("a log starts at or before its end");
    if recovered.doubt || recovered.state.closed {
        log.close();
    }
    Ok(Plan { log, finish: laid.finish, remove: laid.remove, damage: laid.damage })
}

/// The segments of a log but the new active one, and what becomes of the files.
struct LaidOut<'a> {
    segments: VecDeque<Segment>,
    finish: Vec<Finish<'a>>,
    remove: Vec<i64>,
    damage: Vec<String>,
    damaged_from: i64,
}

fn lay_out<'a>(recovered: &Recovered<'a>, on_disk: &[OnDisk], now: WallMs) -> LaidOut<'a> {
    let (end, closed) = (recovered.end_segment, recovered.doubt || recovered.state.closed);
    let mut out = LaidOut {
        segments: VecDeque::new(),
        finish: Vec::new(),
        remove: Vec::new(),
        damage: Vec::new(),
        damaged_from: i64::MAX,
    };
    // Base offset, and the length where the journal says it.
    let mut known: BTreeMap<i64, Option<u32>> = BTreeMap::new();
    for file in on_disk {
        let of_log = file.base <= recovered.state_segment || recovered.sealed.contains_key(&file.base);
        if file.base < end && (of_log || recovered.lost_from < i64::MAX) {
            known.insert(file.base, None);
        } else if closed && file.base >= end {
            // It may hold what is missing: a repair sets it aside.
        } else if file.base > end || recovered.end_position == 0 {
            out.remove.push(file.base);
        } else if file.base < end {
            out.damage.push(format!("segment {} belongs to no part of the log; it is left alone", file.base));
        }
    }
    known.extend(recovered.sealed.range(..end).filter(|(_, len)| **len > 0).map(|(base, len)| (*base, Some(*len))));
    if recovered.end_position > 0 {
        known.insert(end, Some(recovered.end_position));
    }
    let bases: Vec<i64> = known.keys().copied().chain([recovered.next_offset]).collect();
    for ((base, len), next_offset) in known.into_iter().zip(bases.into_iter().skip(1)) {
        let file = on_disk.iter().find(|file| file.base == base);
        if next_offset <= recovered.log_start + i64::from(planted(Bug::StartSegmentRemoved)) {
            out.remove.extend(file.map(|file| file.base));
            continue;
        }
        out.place(recovered, (base, next_offset, len), file, now);
    }
    out
}

impl<'a> LaidOut<'a> {
    fn place(
        &mut self,
        recovered: &Recovered<'a>,
        (base, next_offset, len): (i64, i64, Option<u32>),
        file: Option<&OnDisk>,
        now: WallMs,
    ) {
        let on_disk = file.map_or(0, |file| file.len);
        let len = match len {
            Some(len) => {
                let writes = writes(recovered, base, len);
                if let Some(at) = hole(&writes, on_disk, len) {
                    // It ends where missing frames began, or before that.
                    let lost = recovered.lost_at == (base, u32::try_from(at).unwrap_or(u32::MAX));
                    let from = if lost { recovered.lost_from.max(base) } else { base };
                    self.damage.push(format!("segment {base} should have {len} bytes and ends at {at}"));
                    self.damaged_from = self.damaged_from.min(from);
                } else if let Some(proven) = recovered.patchy
                    && unproven(recovered, base, len, file, next_offset)
                {
                    self.damage
                        .push(format!("segment {base}: not all of its {len} bytes are known to have been written"));
                    self.damaged_from = self.damaged_from.min(proven.max(base));
                }
                // What may have followed is not cut off.
                let active = recovered.doubt && base == recovered.end_segment;
                let more = if active || recovered.open_ended.contains(&base) { on_disk } else { 0 };
                let on_file = len.max(u32::try_from(more).unwrap_or(u32::MAX));
                self.finish.push(Finish { base, len: on_file, writes });
                if active { len } else { on_file }
            }
            None => match u32::try_from(on_disk) {
                Ok(len) if len > 0 => len,
                _ => {
                    self.damage.push(format!("segment {base} has {on_disk} bytes"));
                    self.damaged_from = self.damaged_from.min(base);
                    0
                }
            },
        };
        let index = index(recovered, base, len);
        let created = match file {
            _ if base == recovered.state_segment && recovered.state_position > 0 => recovered.state.created,
            Some(file) => WallMs(file.modified),
            None => now,
        };
        self.segments.push_back(Segment { base, next_offset, len, first_timestamp: -1, created, index });
    }
}

impl LaidOut<'_> {
    /// What of the log may have been in frames that are missing.
    fn tell_of_missing_frames(&mut self, recovered: &Recovered<'_>) {
        let end = recovered.next_offset;
        if recovered.lost_from < i64::MAX {
            self.damage.push(format!(
                "offsets from {} on are refused: some of what follows was in the damaged part of a journal",
                recovered.lost_from
            ));
            self.damaged_from = self.damaged_from.min(recovered.lost_from);
        }
        if recovered.doubt {
            self.damage.push(format!(
                "what followed offset {end} may have been in the damaged part of a journal: reads from there on and \
                 appends are refused"
            ));
            self.damaged_from = self.damaged_from.min(end);
        }
    }
}

/// Frames are missing that may have held bytes of this segment: is one of its bytes neither known to be in its file, nor in
/// the frames that are there?
fn unproven(recovered: &Recovered<'_>, base: i64, len: u32, file: Option<&OnDisk>, next_offset: i64) -> bool {
    if file.is_some_and(|file| file.len == u64::from(len) && file.complete == Some(next_offset)) {
        return false;
    }
    let destaged = if base == recovered.state_segment { recovered.state.destaged } else { 0 };
    let direct = recovered.direct.iter().filter(|(segment, ..)| *segment == base).map(|(_, from, to)| (*from, *to));
    let redo = recovered.redo.iter().filter(|piece| piece.segment == base);
    let mut ranges: Vec<(u32, u32)> =
        redo.map(|piece| (piece.position, piece.position + piece.bytes.len() as u32)).chain(direct).collect();
    ranges.sort_unstable();
    let covered = ranges.into_iter().fold(destaged, |to, (from, end)| if from <= to { to.max(end) } else { to });
    covered < len
}

/// The bytes the journal has of a segment, up to its length.
fn writes<'a>(recovered: &Recovered<'a>, base: i64, len: u32) -> Vec<Redo<'a>> {
    let pieces = recovered.redo.iter().filter(|piece| piece.segment == base && piece.position < len);
    let clipped = pieces.map(|piece| {
        let room = (len - piece.position) as usize;
        Redo { bytes: &piece.bytes[..piece.bytes.len().min(room)], ..*piece }
    });
    clipped.filter(|piece| !piece.bytes.is_empty()).collect()
}

/// The first byte that neither a file of this length nor the writes give, if it is before `len`.
fn hole(writes: &[Redo<'_>], on_disk: u64, len: u32) -> Option<u64> {
    let mut ranges: Vec<(u64, u64)> =
        writes.iter().map(|w| (u64::from(w.position), u64::from(w.position) + w.bytes.len() as u64)).collect();
    ranges.sort_unstable();
    let mut covered = on_disk;
    for (from, to) in ranges {
        if from > covered {
            break;
        }
        covered = covered.max(to);
    }
    (covered < u64::from(len)).then_some(covered)
}

/// The index of a segment all of whose batches the journal has; others are read from their files, or made again from them.
fn index(recovered: &Recovered<'_>, base: i64, len: u32) -> Option<SegmentIndex> {
    let mut index = SegmentIndex::default();
    let mut end = 0;
    for batch in recovered.appended.iter().filter(|batch| batch.segment == base) {
        if batch.position != end {
            return None;
        }
        let (bytes, offset) = (batch.header.total_len() as u32, batch.header.base_offset);
        let relative = u32::try_from(offset - base).ok()?;
        index.note(relative, end, bytes, batch.header.max_timestamp, offset, INDEX_INTERVAL);
        end += bytes;
    }
    (end == len).then_some(index)
}

/// Batches that the state does not tell of.
fn since_state<'r>(recovered: &'r Recovered<'_>) -> impl Iterator<Item = &'r BatchHeader> {
    let from = recovered.state.next_offset;
    recovered.appended.iter().map(|batch| &batch.header).filter(move |header| header.base_offset >= from)
}

/// The state was taken with batches appended that were in no commit yet: what it says of those is said again if they came to be.
fn epochs(recovered: &Recovered<'_>) -> Vec<(i32, i64)> {
    let end = recovered.state.next_offset.min(recovered.next_offset);
    let mut epochs: Vec<(i32, i64)> =
        recovered.state.epochs.iter().copied().filter(|(_, start)| *start < end).collect();
    for header in since_state(recovered) {
        if epochs.last().is_none_or(|(last, _)| *last < header.leader_epoch) {
            epochs.push((header.leader_epoch, header.base_offset));
        }
    }
    epochs
}

fn producers(recovered: &Recovered<'_>, now: WallMs, limit: u32) -> Option<ProducerStates> {
    let mut producers = match recovered.state.producers.as_slice() {
        [] => ProducerStates::new(limit),
        snapshot => ProducerStates::decode(snapshot, limit).ok()?,
    };
    let end = recovered.state.next_offset.min(recovered.next_offset);
    producers.forget_from(end - i64::from(planted(Bug::LastBatchNotRemembered)));
    since_state(recovered).for_each(|header| producers.apply(header, now));
    Some(producers)
}
