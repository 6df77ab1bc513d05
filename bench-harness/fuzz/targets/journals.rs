//! What a start finds in a log directory: journals, the states of partitions in them, indexes.

use super::input::Input;
use ringlog_engine::log::index::IndexFile;
use ringlog_engine::log::journal::{BLOCK, FRAME_HEADER_LEN, read_journal};
use ringlog_engine::log::recover::{PartitionState, Replay};
use ringlog_engine::producer::ProducerStates;

/// Options, where the first file ends, files: their frames get right checksums unless told otherwise.
pub(super) fn replay(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (options, from) = (input.u8(), usize::from(input.u16()));
    let mut files = input.rest().to_vec();
    if options & 1 == 0 {
        // To be short, seeds have blocks of 256 bytes.
        files = spread(&files);
    }
    let at = (from * BLOCK).min(files.len());
    let (first, second) = files.split_at_mut(at);
    if options & 2 == 0 {
        [&mut *first, &mut *second].into_iter().for_each(repair);
    }
    let Ok(journal) = read_journal(0, 1, [first, second]) else { return };
    let sequences: Vec<u64> = journal.frames.iter().map(|frame| frame.header.sequence).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "frames in order: {sequences:?}");
    assert!(journal.holes.is_sorted_by_key(|hole| hole.before));
    let mut replay = Replay::default();
    if replay.journal(0, 1, &journal).is_err() {
        return;
    }
    for (_, mut partition) in replay.finish() {
        assert!(partition.next_offset >= 0 || partition.appended.is_empty());
        let kept = usize::from(options >> 2) % (partition.appended.len() + 1);
        let first_cut = partition.appended.get(kept).map(|batch| batch.header.base_offset);
        partition.cut(kept);
        assert!(partition.appended.len() <= kept);
        if let Some(offset) = first_cut {
            assert_eq!(partition.next_offset, offset);
        }
        partition.is_uncertain();
    }
}

const SHORT: usize = 256;

fn spread(short: &[u8]) -> Vec<u8> {
    let mut files = Vec::with_capacity(short.len().div_ceil(SHORT).min(16) * BLOCK);
    for block in short.chunks(SHORT).take(16) {
        files.extend_from_slice(block);
        files.resize(files.len().next_multiple_of(BLOCK), 0);
    }
    files
}

/// Gives every frame that begins a block the checksums of its bytes.
fn repair(file: &mut [u8]) {
    for at in (0..file.len()).step_by(BLOCK) {
        let rest = &mut file[at..];
        if rest.len() < FRAME_HEADER_LEN || !rest.starts_with(b"RLJF") {
            continue;
        }
        // The places of length and checksum are the format's: see the table in the journal's module.
        let len = u32::from_le_bytes(rest[48..52].try_into().expect("four bytes")) as usize;
        let body = rest.get(FRAME_HEADER_LEN..len).map(crc32c::crc32c).unwrap_or_default();
        rest[56..60].copy_from_slice(&body.to_le_bytes());
        let crc = crc32c::crc32c(&rest[..60]);
        rest[60..64].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Which of the three, then its bytes.
pub(super) fn states(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % 3 {
        0 => {
            let Ok(state) = PartitionState::decode(input.rest()) else { return };
            let mut written = Vec::new();
            state.encode(&mut written);
            assert_eq!(PartitionState::decode(&written), Ok(state));
        }
        1 => {
            let Ok(states) = ProducerStates::decode(input.rest(), 100) else { return };
            let mut written = Vec::new();
            states.encode(&mut written);
            assert!(written.len() <= states.encoded_len_max());
            let again = ProducerStates::decode(&written, 100).expect("what was written is read");
            assert_eq!(states.iter().collect::<Vec<_>>(), again.iter().collect::<Vec<_>>());
        }
        _ => index(input.rest()),
    }
}

fn index(bytes: &[u8]) {
    let mut file = bytes.to_vec();
    if let Some((head, body)) = file.split_first_chunk_mut::<64>() {
        let count = u32::from_le_bytes(head[28..32].try_into().expect("four bytes")) as usize;
        let entries = count.checked_mul(16).and_then(|len| body.get(..len)).map(crc32c::crc32c).unwrap_or_default();
        head[56..60].copy_from_slice(&entries.to_le_bytes());
        let crc = crc32c::crc32c(&head[..60]);
        head[60..64].copy_from_slice(&crc.to_le_bytes());
    }
    let Ok(mut found) = IndexFile::decode(&file) else { return };
    assert_eq!(IndexFile::decode(&found.encode()).as_ref(), Ok(&found));
    for entry in found.index.entries().to_vec() {
        found.index.position_of(entry.relative_offset);
        found.index.position_of_time(entry.max_timestamp);
        found.index.start_at_or_before(entry.position);
        found.index.relative_offset_at(entry.position);
    }
    found.index.truncate(found.segment_len / 2);
    assert!(found.index.entries().len() <= bytes.len() / 16);
}
