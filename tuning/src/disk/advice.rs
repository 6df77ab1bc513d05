//! What was measured, as settings: few, and only where the figures are clear of what noise does. The defaults were measured, too, with
//! the whole broker.

use super::{Measured, SIZES};

/// A setting and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advice {
    pub setting: &'static str,
    pub value: u64,
    pub why: String,
}

const DIRECT_DEFAULT: usize = 16 << 10;
const DESTAGE_DEFAULT: usize = 64 << 10;
const JOURNAL_DEFAULT: u64 = 128 << 20;
const JOURNAL_LEAST: u64 = 16 << 20;
/// A measurement that says otherwise than the default has to say so by this factor.
const CLEAR: f64 = 1.25;
/// Part of the free space that all journals take at most, unless they cannot be smaller.
const JOURNALS_PART: u64 = 20;

pub fn advice(measured: &Measured) -> Vec<Advice> {
    let mut all = Vec::new();
    all.extend(direct_min(measured));
    all.extend(destage(measured));
    all.extend(journal(measured));
    all
}

/// Cost of a write of its own for so many bytes, over that of the journal, which writes them twice among much else.
fn direct_over_journal(measured: &Measured, size: usize) -> f64 {
    let best = SIZES.iter().map(|size| measured.write(*size, 4).mb_per_second()).fold(1.0, f64::max);
    measured.write(size, 16).each() / (2.0 * size as f64 / best)
}

/// From which size on a partition's bytes of a turn are better written by themselves.
fn direct_min(measured: &Measured) -> Option<Advice> {
    let ratio = |size| direct_over_journal(measured, size);
    let larger = [64 << 10, 256 << 10];
    let value = if ratio(4 << 10) * CLEAR < 1.0 {
        4 << 10
    } else if ratio(DIRECT_DEFAULT) > CLEAR {
        larger.into_iter().find(|size| ratio(*size) <= 1.0).unwrap_or(larger[1])
    } else {
        DIRECT_DEFAULT
    };
    (value != DIRECT_DEFAULT).then(|| Advice {
        setting: "ringlog.journal.direct.min.bytes",
        value: value as u64,
        why: format!(
            "a write of its own costs {:.1} of what the journal costs for 4 KiB, {:.1} for 16 KiB, {:.1} for 64 KiB",
            ratio(4 << 10),
            ratio(16 << 10),
            ratio(64 << 10)
        ),
    })
}

/// Larger pieces where small ones are far from what the device can do; each takes memory for every partition that is written.
fn destage(measured: &Measured) -> Option<Advice> {
    let speed = |size| measured.write(size, 4).mb_per_second();
    let larger = 256 << 10;
    (speed(DESTAGE_DEFAULT) * CLEAR * CLEAR < speed(larger)).then(|| Advice {
        setting: "ringlog.destage.bytes",
        value: larger as u64,
        why: format!(
            "{:.0} MB/s in pieces of 64 KiB, {:.0} in those of 256 KiB, four at once",
            speed(DESTAGE_DEFAULT),
            speed(larger)
        ),
    })
}

/// Smaller journals where they would take much of what is free.
fn journal(measured: &Measured) -> Option<Advice> {
    let each = measured.free / JOURNALS_PART / measured.cpus.max(1) as u64;
    let value = if each >= JOURNAL_DEFAULT { JOURNAL_DEFAULT } else { prev_power_of_two(each).max(JOURNAL_LEAST) };
    (value < JOURNAL_DEFAULT).then(|| Advice {
        setting: "ringlog.journal.bytes",
        value,
        why: format!("{} MiB are free for the journals of {} shards and the log", measured.free >> 20, measured.cpus),
    })
}

fn prev_power_of_two(n: u64) -> u64 {
    if n == 0 { 0 } else { 1 << n.ilog2() }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Took;
    use super::super::{Cell, DEPTHS};
    use super::*;

    /// A device that takes `start` us for an operation and then so many bytes a microsecond, whatever the depth.
    fn measured(start: f64, bytes_per_us: f64, free: u64) -> Measured {
        let mut writes = Vec::new();
        for size in SIZES {
            for depth in DEPTHS {
                let each = start + size as f64 / bytes_per_us;
                let took = Took::of(&vec![each as u64; 1000], size as u64 * 1000, each / 1e3);
                writes.push(Cell { size, depth, took });
            }
        }
        Measured {
            device: Vec::new(),
            writes,
            reads: Vec::new(),
            flushes: Vec::new(),
            zeroing: Vec::new(),
            free,
            cpus: 2,
        }
    }

    fn settings(measured: &Measured) -> Vec<(&'static str, u64)> {
        advice(measured).into_iter().map(|a| (a.setting, a.value)).collect()
    }

    #[test]
    fn a_device_as_the_defaults_were_measured_on_changes_nothing() {
        assert_eq!(settings(&measured(4.0, 2000.0, 1 << 40)), []);
    }

    #[test]
    fn a_device_without_a_price_for_each_operation_takes_small_ones() {
        assert_eq!(settings(&measured(0.2, 2000.0, 1 << 40)), [("ringlog.journal.direct.min.bytes", 4096)]);
    }

    #[test]
    fn a_disk_that_turns_takes_large_ones() {
        let found = settings(&measured(5000.0, 150.0, 1 << 40));
        assert_eq!(found, [("ringlog.journal.direct.min.bytes", 256 << 10), ("ringlog.destage.bytes", 256 << 10)]);
    }

    #[test]
    fn journals_leave_room_for_the_log() {
        assert_eq!(settings(&measured(4.0, 2000.0, 3 << 30)), [("ringlog.journal.bytes", 64 << 20)]);
        assert_eq!(settings(&measured(4.0, 2000.0, 100 << 20)), [("ringlog.journal.bytes", 16 << 20)]);
    }
}
