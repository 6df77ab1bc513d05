//! A block device's counters: what was written to it and how often it was flushed, by whomever.

use crate::bench::environment::Device;
use std::fs;

/// Bytes of a sector in `/sys`, whatever the device's own are.
const SECTOR: u64 = 512;

/// Since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceCounts {
    pub written_bytes: u64,
    /// None: the kernel does not count them (before 5.5).
    pub flushes: Option<u64>,
}

impl DeviceCounts {
    pub fn since(&self, before: &DeviceCounts) -> DeviceCounts {
        DeviceCounts {
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            flushes: self.flushes.zip(before.flushes).map(|(now, then)| now.saturating_sub(then)),
        }
    }
}

/// Reads the counters: bytes of the partition or disk itself, flushes of the whole disk, which is where they are counted.
pub fn counts(device: &Device) -> Option<DeviceCounts> {
    let own = parse(&fs::read_to_string(device.own.join("stat")).ok()?)?;
    let disk = fs::read_to_string(device.disk.join("stat")).ok();
    let flushes = disk.and_then(|text| parse(&text)).and_then(|counts| counts.flushes);
    Some(DeviceCounts { flushes, ..own })
}

/// The seventh number is sectors written, the sixteenth flushes (`Documentation/block/stat.rst` of the kernel).
pub fn parse(text: &str) -> Option<DeviceCounts> {
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(DeviceCounts { written_bytes: numbers.get(6)? * SECTOR, flushes: numbers.get(15).copied() })
}
