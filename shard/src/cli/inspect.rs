//! `ringlog inspect`: what a log directory or one of its files holds, checksums verified. Only reads; a broker may run on it.
//! The reading is [`crate::boot`]'s and the engine's; here it is put into words.

mod file;

use super::output::{Failure, Table, counted, print, print_json};
use super::time;
use crate::boot::{BootError, Examined, ExaminedPartition, examine};
use clap::Args;
use ringlog_engine::types::WallMs;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Show what a log directory, or files in it, hold, and verify every checksum. Only reads.
///
/// A DIR gives an overview: whose it is, its journals, its partitions and their segments. A FILE is a segment (.log), an
/// index (.index), a journal (.rlj) or ringlog.meta. Exit code 1 if anything is damaged. On a running broker's directory
/// what is said of the newest records may be off.
#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    /// A log directory, or files in one.
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// Prints the records of segments too.
    #[arg(long)]
    records: bool,
    /// Prints the records of the metadata log or of __consumer_offsets in words; implies --records.
    #[arg(long)]
    decode: bool,
    #[arg(long)]
    json: bool,
}

/// What is said of a path: as text, as JSON, and what is damaged.
struct Told {
    text: String,
    json: Value,
    damage: Vec<String>,
}

pub(super) fn run(arguments: &InspectArgs) -> Result<(), Failure> {
    let mut damage = Vec::new();
    let mut documents = Vec::new();
    for path in &arguments.paths {
        let told = if path.is_dir() {
            directory(path)?
        } else {
            file::inspect(path, arguments.records || arguments.decode, arguments.decode)?
        };
        damage.extend(told.damage);
        if arguments.json {
            documents.push(told.json);
        } else {
            print(&told.text)?;
        }
    }
    if arguments.json {
        print_json(&if documents.len() == 1 { documents.remove(0) } else { Value::Array(documents) })?;
    }
    match damage.as_slice() {
        [] => Ok(()),
        [one] => Err(Failure::Failed(format!("damaged: {one}"))),
        [one, rest @ ..] => Err(Failure::Failed(format!("damaged: {one}, and {} more", rest.len()))),
    }
}

fn directory(dir: &Path) -> Result<Told, Failure> {
    let failed = |error: BootError| Failure::Failed(error.to_string());
    let seen = examine(dir, WallMs(time::now_ms())).map_err(failed)?;
    let mut damage: Vec<String> = seen.journal_damage.iter().cloned().collect();
    for partition in &seen.partitions {
        damage.extend(partition_damage(partition));
    }
    Ok(Told { text: overview(dir, &seen, &damage), json: as_json(&seen, &damage), damage })
}

fn partition_damage(p: &ExaminedPartition) -> Vec<String> {
    let name = format!("{}-{}", p.topic, p.key.partition);
    let mut damage: Vec<String> = p.damage.iter().map(|what| format!("{name}: {what}")).collect();
    for s in p.segments.iter().filter(|s| s.is_damaged()) {
        damage.push(format!(
            "{name}: segment {} from byte {} on: offsets {} to {}",
            s.base,
            s.good_len,
            s.good_until,
            s.next_offset - 1
        ));
    }
    if let (Some(from), true) = (p.damaged_from, damage.is_empty()) {
        damage.push(format!("{name}: refused from offset {from} on"));
    }
    damage
}

fn overview(dir: &Path, seen: &Examined, damage: &[String]) -> String {
    let mut text = format!(
        "{}: cluster {}, node {}, directory {}\n{}, {}, {} recycled ({} bytes)\n\n",
        dir.display(),
        seen.cluster_id,
        seen.node_id,
        seen.directory_id,
        counted(seen.journals.len(), "journal file"),
        counted(seen.partitions.len(), "partition"),
        seen.recycled.0,
        seen.recycled.1
    );
    let mut table =
        Table::new(&["TOPIC", "PARTITION", "START", "END", "SEGMENTS", "BYTES", "BATCHES", "PRODUCERS", "STATE"]);
    for p in &seen.partitions {
        let bytes: u64 = p.segments.iter().map(|s| u64::from(s.len)).sum();
        let batches: u64 = p.segments.iter().map(|s| s.batches).sum();
        table.row([
            p.topic.clone(),
            p.key.partition.to_string(),
            p.log_start.to_string(),
            p.next_offset.to_string(),
            p.segments.len().to_string(),
            bytes.to_string(),
            batches.to_string(),
            p.producers.len().to_string(),
            if p.is_damaged() { "damaged".into() } else { "good".into() },
        ]);
    }
    text.push_str(&table.render());
    for orphan in &seen.orphans {
        text.push_str(&format!("\n{}: no journal speaks of this folder\n", orphan.display()));
    }
    for what in damage {
        text.push_str(&format!("\ndamaged: {what}\n"));
    }
    text
}

fn as_json(seen: &Examined, damage: &[String]) -> Value {
    let partitions: Vec<Value> = seen.partitions.iter().map(partition_json).collect();
    json!({
        "cluster_id": seen.cluster_id,
        "node_id": seen.node_id,
        "directory_id": seen.directory_id.to_string(),
        "journals": seen.journals.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "recycled_files": seen.recycled.0,
        "recycled_bytes": seen.recycled.1,
        "orphans": seen.orphans.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "partitions": partitions,
        "damage": damage,
    })
}

fn partition_json(p: &ExaminedPartition) -> Value {
    let segments: Vec<Value> = p
        .segments
        .iter()
        .map(|s| {
            json!({ "base_offset": s.base, "next_offset": s.next_offset, "bytes": s.len, "good_bytes": s.good_len,
                    "good_until": s.good_until, "batches": s.batches, "records": s.records, "damaged": s.is_damaged() })
        })
        .collect();
    let producers: Vec<Value> = p
        .producers
        .iter()
        .map(|p| {
            json!({ "producer_id": p.producer_id, "producer_epoch": p.producer_epoch,
                    "last_sequence": p.last_sequence, "last_timestamp": p.last_timestamp })
        })
        .collect();
    json!({
        "topic": p.topic,
        "topic_id": p.key.topic.to_string(),
        "partition": p.key.partition,
        "log_start_offset": p.log_start,
        "log_end_offset": p.next_offset,
        "damaged": p.is_damaged(),
        "segments": segments,
        "producers": producers,
    })
}
