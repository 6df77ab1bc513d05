//! What was measured, as settings: few, and only where the figures are clear of what noise does. The defaults were measured, too, with
//! the whole broker.

use super::{Cell, Measured, write};

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
/// MB/s at which pieces hold nobody back: a core journals less.
const ENOUGH: f64 = 1000.0;
/// Part of the free space that all journals take at most, unless they cannot be smaller.
const JOURNALS_PART: u64 = 20;

pub fn advice(measured: &Measured) -> Vec<Advice> {
    let mut all = Vec::new();
    all.extend(direct_min(measured));
    all.extend(destage(measured));
    all.extend(journal(measured));
    all
}

/// What a write of its own for so many bytes costs, over what the journal costs for them: there they are part of one large
/// write at a time, and are written once more to their segment, in pieces and several at a time.
fn direct_over_journal(round: &[Cell], size: usize) -> f64 {
    let journal = write(round, 256 << 10, 1).mb_per_second();
    let destage = write(round, DESTAGE_DEFAULT, 4).mb_per_second();
    write(round, size, 16).each() / (size as f64 / journal + size as f64 / destage)
}

/// What every round says, as the one nearest to the default says it; `None` if one of them says the default, or otherwise.
fn agreed(measured: &Measured, default: usize, says: impl Fn(&[Cell]) -> usize) -> Option<usize> {
    let said: Vec<usize> = measured.writes.iter().map(|round| says(round)).collect();
    let (least, most) = (*said.iter().min()?, *said.iter().max()?);
    if least > default { Some(least) } else { (most < default).then_some(most) }
}

/// From which size on a partition's bytes of a turn are better written by themselves.
fn direct_min(measured: &Measured) -> Option<Advice> {
    let (small, larger) = (4 << 10, [64 << 10, 256 << 10]);
    let value = agreed(measured, DIRECT_DEFAULT, |round| {
        let ratio = |size| direct_over_journal(round, size);
        if ratio(small) * CLEAR < 1.0 {
            small
        } else if ratio(DIRECT_DEFAULT) > CLEAR {
            larger.into_iter().find(|size| ratio(*size) <= 1.0).unwrap_or(larger[1])
        } else {
            DIRECT_DEFAULT
        }
    })?;
    let shown = |size: usize| {
        let all: Vec<f64> = measured.writes.iter().map(|round| direct_over_journal(round, size)).collect();
        let ends = (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(0.0, f64::max));
        format!("{:.1} to {:.1} for {} KiB", ends.0, ends.1, size >> 10)
    };
    Some(Advice {
        setting: "ringlog.journal.direct.min.bytes",
        value: value as u64,
        why: format!(
            "a write of its own costs, over what the journal costs, {}, {}, {}",
            shown(small),
            shown(DIRECT_DEFAULT),
            shown(larger[0])
        ),
    })
}

/// Larger pieces where small ones would hold a core back; each takes memory for every partition that is written.
fn destage(measured: &Measured) -> Option<Advice> {
    let larger = 256 << 10;
    let value = agreed(measured, DESTAGE_DEFAULT, |round| {
        let speed = |size| write(round, size, 4).mb_per_second();
        let slow = speed(DESTAGE_DEFAULT) < ENOUGH && speed(DESTAGE_DEFAULT) * CLEAR < speed(larger);
        if slow { larger } else { DESTAGE_DEFAULT }
    })?;
    let speed = |size| measured.write(size, 4).mb_per_second();
    Some(Advice {
        setting: "ringlog.destage.bytes",
        value: value as u64,
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
    use super::super::{DEPTHS, SIZES};
    use super::*;

    /// A device that takes `start` us for an operation and then so many bytes a microsecond, whatever the depth.
    fn round(start: f64, bytes_per_us: f64) -> Vec<Cell> {
        let mut cells = Vec::new();
        for size in SIZES {
            for depth in DEPTHS {
                let each = start + size as f64 / bytes_per_us;
                let took = Took::of(&vec![each as u64; 1000], size as u64 * 1000, each / 1e3);
                cells.push(Cell { size, depth, took });
            }
        }
        cells
    }

    fn settings(writes: Vec<Vec<Cell>>, free: u64) -> Vec<(&'static str, u64)> {
        let (device, reads, flushes, zeroing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let measured = Measured { device, writes, reads, flushes, zeroing, free, cpus: 2 };
        advice(&measured).into_iter().map(|a| (a.setting, a.value)).collect()
    }

    const ROOM: u64 = 1 << 40;

    #[test]
    fn a_device_as_the_defaults_were_measured_on_changes_nothing() {
        assert_eq!(settings(vec![round(4.0, 2000.0)], ROOM), []);
    }

    #[test]
    fn a_device_without_a_price_for_each_operation_takes_small_ones() {
        assert_eq!(settings(vec![round(0.2, 2000.0)], ROOM), [("ringlog.journal.direct.min.bytes", 4096)]);
    }

    #[test]
    fn a_disk_that_turns_takes_large_ones() {
        let found = settings(vec![round(5000.0, 150.0); 3], ROOM);
        assert_eq!(found, [("ringlog.journal.direct.min.bytes", 64 << 10), ("ringlog.destage.bytes", 256 << 10)]);
    }

    #[test]
    fn what_one_round_says_and_another_does_not_is_noise() {
        assert_eq!(settings(vec![round(5000.0, 150.0), round(4.0, 2000.0)], ROOM), []);
        assert_eq!(settings(vec![round(5000.0, 150.0), round(0.2, 2000.0)], ROOM), []);
    }

    #[test]
    fn journals_leave_room_for_the_log() {
        let device = || vec![round(4.0, 2000.0)];
        assert_eq!(settings(device(), 3 << 30), [("ringlog.journal.bytes", 64 << 20)]);
        assert_eq!(settings(device(), 100 << 20), [("ringlog.journal.bytes", 16 << 20)]);
    }
}
