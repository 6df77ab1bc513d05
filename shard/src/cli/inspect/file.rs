//! One file of a log directory, by its kind.

use super::Told;
use crate::boot::{Source, read_index};
use crate::cli::format::to_json;
use crate::cli::output::{Failure, Table};
use crate::cli::records;
use crate::store::files;
use ringlog_engine::batch::{BatchHeader, HEADER_LEN};
use ringlog_engine::group::{Key, decode_group, decode_key, decode_offset};
use ringlog_engine::log::index::BadIndex;
use ringlog_engine::log::journal::{BLOCK, Frame, NoFrame, Record};
use ringlog_engine::log::recover::{BadState, PartitionState};
use ringlog_engine::metadata::Entry;
use ringlog_engine::producer::ProducerStates;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

pub(super) fn inspect(path: &Path, show_records: bool, decode: bool) -> Result<Told, Failure> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let failed = |error: std::io::Error| Failure::Failed(format!("{}: {error}", path.display()));
    if let Some(base) = files::parse_base(name, ".log") {
        return segment(path, base, show_records, decode).map_err(failed);
    }
    if files::parse_base(name, ".index").is_some() {
        return index(path).map_err(failed);
    }
    if files::parse_journal(name).is_some() {
        return journal(path).map_err(failed);
    }
    if name == files::META {
        let text = std::fs::read_to_string(path).map_err(failed)?;
        return Ok(Told {
            json: json!({ "file": path.display().to_string(), "text": text }),
            text,
            damage: Vec::new(),
        });
    }
    Err(Failure::Usage(format!(
        "{} is neither a log directory, a segment (.log), an index (.index), a journal (.rlj) nor {}",
        path.display(),
        files::META
    )))
}

fn segment(path: &Path, base: i64, show_records: bool, decode: bool) -> std::io::Result<Told> {
    let source = Source::file(path)?;
    let len = u32::try_from(source.file_len()?).unwrap_or(u32::MAX);
    let header = ["OFFSETS", "POSITION", "BYTES", "RECORDS", "CODEC", "EPOCH", "PRODUCER", "SEQUENCE", "MAX TIMESTAMP"];
    let (mut table, mut lines, mut batches) = (Table::new(&header), String::new(), Vec::new());
    let (position, offset) = source.each(base, len, |position, header, batch| {
        table.row(row(position, header));
        let decoded = show_records.then(|| records::decode(batch).map(|d| d.records).unwrap_or_default());
        let shown: Vec<Value> = decoded.iter().flatten().map(|record| told(path, record, decode)).collect();
        shown.iter().for_each(|record| writeln!(lines, "{record}").expect("a string takes all"));
        batches.push(batch_json(position, header, shown));
    })?;
    let mut damage = Vec::new();
    let expected = match read_index(&path.with_extension("index"))? {
        Some(Ok(index)) => Some(index.segment_len),
        _ => None,
    };
    let mut rest = String::new();
    let name = path.display();
    if expected.is_some_and(|expected| expected != position) || source.looks_like(position, offset)? {
        damage.push(format!("{name}: no good batch at byte {position}, where offset {offset} should begin"));
        rest = format!("damaged from byte {position}, offset {offset}, on\n");
    } else if position < len {
        rest = format!(
            "{} bytes after the last batch: space kept for more, as far as this file tells (`ringlog inspect` of the log \
             directory knows)\n",
            len - position
        );
    }
    let text = format!("{name}: offsets {base} to {}, {position} bytes\n{}{lines}{rest}", offset - 1, table.render());
    let json = json!({ "file": name.to_string(), "base_offset": base, "next_offset": offset, "bytes": position,
                       "file_bytes": len, "batches": batches, "damage": damage });
    Ok(Told { text, json, damage })
}

fn codec(header: &BatchHeader) -> String {
    header.codec().map_or_else(|| "unknown".into(), |codec| format!("{codec:?}").to_lowercase())
}

fn row(position: u32, header: &BatchHeader) -> [String; 9] {
    let producer = match header.has_producer() {
        true => format!("{}/{}", header.producer_id, header.producer_epoch),
        false => "-".into(),
    };
    let sequence = if header.has_producer() { header.base_sequence.to_string() } else { "-".into() };
    [
        format!("{}-{}", header.base_offset, header.last_offset()),
        position.to_string(),
        header.total_len().to_string(),
        header.record_count.to_string(),
        codec(header),
        header.leader_epoch.to_string(),
        producer,
        sequence,
        header.max_timestamp.to_string(),
    ]
}

fn batch_json(position: u32, header: &BatchHeader, records: Vec<Value>) -> Value {
    let mut told = json!({
        "base_offset": header.base_offset, "last_offset": header.last_offset(), "position": position,
        "bytes": header.total_len(), "count": header.record_count, "codec": codec(header),
        "leader_epoch": header.leader_epoch, "producer_id": header.producer_id,
        "producer_epoch": header.producer_epoch, "base_sequence": header.base_sequence,
        "base_timestamp": header.base_timestamp, "max_timestamp": header.max_timestamp, "crc": header.crc,
    });
    if !records.is_empty() {
        told["records"] = Value::Array(records);
    }
    told
}

/// A record, in words if that is asked for and it is one of ours or of a group's.
fn told(path: &Path, record: &records::Record, decode: bool) -> Value {
    let folder = path.parent();
    let topic =
        folder.and_then(|f| f.parent()).and_then(|t| t.file_name()).and_then(|n| n.to_str()).unwrap_or_default();
    let partition = folder.and_then(|f| f.file_name()).and_then(|n| n.to_str()).and_then(files::parse_partition);
    let plain = to_json(topic, partition.map_or(-1, |key| key.partition), record);
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    if !decode {
        return plain;
    }
    let words = match topic {
        "__cluster_metadata" => value.map(|value| match Entry::decode(value) {
            Ok(entry) => format!("{entry:?}"),
            Err(error) => error.to_string(),
        }),
        "__consumer_offsets" => key.map(|key| group_record(key, value)),
        _ => None,
    };
    match words {
        Some(words) => json!({ "offset": record.offset, "timestamp": record.timestamp, "entry": words }),
        None => plain,
    }
}

fn group_record(key: &[u8], value: Option<&[u8]>) -> String {
    match (decode_key(key), value) {
        (Ok(key), None) => format!("{key:?}: deleted"),
        (Ok(key @ Key::Offset { .. }), Some(value)) => format!("{key:?}: {:?}", decode_offset(value)),
        (Ok(key @ Key::Group { .. }), Some(value)) => format!("{key:?}: {:?}", decode_group(value)),
        (Err(error), _) => format!("{error:?}"),
    }
}

fn index(path: &Path) -> std::io::Result<Told> {
    let name = path.display().to_string();
    let (text, json, damage) = match read_index(path)?.ok_or(std::io::ErrorKind::NotFound)? {
        Err(BadIndex::Damaged) => {
            let damage = vec![format!("{name}: its checksum is wrong; the broker makes it again when it is needed")];
            (format!("{name}: damaged\n"), json!({ "file": name, "damage": damage }), damage)
        }
        Err(BadIndex::Newer(version)) => {
            let damage = vec![format!("{name}: format {version}: a newer release wrote it")];
            (format!("{name}: format {version}\n"), json!({ "file": name, "damage": damage }), damage)
        }
        Ok(file) => {
            let mut table = Table::new(&["OFFSET", "POSITION", "MAX TIMESTAMP BEFORE"]);
            for entry in file.index.entries() {
                let offset = file.base_offset + i64::from(entry.relative_offset);
                table.row([offset.to_string(), entry.position.to_string(), entry.max_timestamp.to_string()]);
            }
            let text = format!(
                "{name}: offsets {} to {}, {} bytes, newest timestamp {} at offset {}, {} entries\n{}",
                file.base_offset,
                file.next_offset - 1,
                file.segment_len,
                file.index.max_timestamp,
                file.index.max_timestamp_offset,
                file.index.len(),
                table.render()
            );
            let json = json!({ "file": name, "base_offset": file.base_offset, "next_offset": file.next_offset,
                               "segment_bytes": file.segment_len, "max_timestamp": file.index.max_timestamp,
                               "entries": file.index.len(), "damage": [] });
            (text, json, Vec::new())
        }
    };
    Ok(Told { text, json, damage })
}

fn journal(path: &Path) -> std::io::Result<Told> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path)?;
    let (mut position, mut text, mut frames, mut damage) = (0u64, format!("{name}:\n"), Vec::new(), Vec::new());
    let mut last: Option<(u64, u64)> = None;
    while position < bytes.len() as u64 {
        match Frame::parse(&bytes, position) {
            Ok(frame) => {
                let h = frame.header;
                if last.is_some_and(|(lap, sequence)| (h.lap, h.sequence) != (lap, sequence + 1)) {
                    break;
                }
                last = Some((h.lap, h.sequence));
                let records: Vec<String> =
                    frame.records().map(|r| r.map_or("unreadable".into(), |r| words(&r))).collect();
                writeln!(
                    text,
                    "frame {} at byte {position}: core {}, start {}, lap {}, {} bytes, flushed up to {}\n  {}",
                    h.sequence,
                    h.core,
                    h.incarnation,
                    h.lap,
                    h.len,
                    h.durable_sequence,
                    records.join("\n  ")
                )
                .expect("a string takes all");
                frames.push(json!({ "sequence": h.sequence, "position": position, "core": h.core, "lap": h.lap,
                    "incarnation": h.incarnation, "bytes": h.len, "durable_sequence": h.durable_sequence,
                    "records": records }));
                position += h.padded_len();
            }
            Err(NoFrame::Newer(version)) if position == 0 => {
                damage.push(format!("{name}: format {version}: a newer release wrote it"));
                break;
            }
            Err(_) => break,
        }
    }
    // A frame of the same lap further on that knows more flushed than is there: one was lost.
    let (lap, sequence) = last.unwrap_or_default();
    let mut later = position;
    while later < bytes.len() as u64 {
        if let Ok(frame) = Frame::parse(&bytes, later)
            && (frame.header.lap, frame.header.durable_sequence > sequence) == (lap, true)
        {
            damage.push(format!("{name}: frame {} was flushed and is not at byte {position}", sequence + 1));
            break;
        }
        later += BLOCK as u64;
    }
    writeln!(text, "{} frames end at byte {position} of {}", frames.len(), bytes.len()).expect("a string takes all");
    let json = json!({ "file": name, "frames": frames, "end": position, "file_bytes": bytes.len(), "damage": damage });
    Ok(Told { text, json, damage })
}

fn words(record: &Record<'_>) -> String {
    match record {
        Record::Append { key, segment, position, bytes } => {
            format!("append {key} segment {segment} byte {position}: {} bytes here", bytes.len())
        }
        Record::Extent { key, segment, position, headers } => {
            format!("extent {key} segment {segment} byte {position}: {} batches there", headers.len() / HEADER_LEN)
        }
        Record::Redo { key, segment, position, bytes } => {
            format!("redo {key} segment {segment} byte {position}: {} bytes", bytes.len())
        }
        Record::Trim { key, log_start_offset } => format!("trim {key} log start {log_start_offset}"),
        Record::State { key, segment, position, state } => match PartitionState::decode(state) {
            Err(BadState::Invalid) => format!("state {key}: unreadable"),
            Err(BadState::Newer(version)) => format!("state {key}: format {version}: a newer release wrote it"),
            Ok(state) => {
                let producers = ProducerStates::decode(&state.producers, u32::MAX).map_or(0, |p| p.len());
                format!(
                    "state {key} segment {segment} byte {position}: offsets {} to {}, {} epochs, {producers} producers",
                    state.log_start,
                    state.next_offset - 1,
                    state.epochs.len()
                )
            }
        },
        Record::Drop { key } => format!("drop {key}"),
        Record::Released { lap } => format!("released lap {lap}"),
    }
}
