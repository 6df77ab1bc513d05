//! Operations on a scratch file, again and again, for a while, by one or more threads; what they took.

use super::files::{Buffer, Scratch};
use hdrhistogram::Histogram;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Operations beyond a percentile without which it is an accident.
const BEYOND: u64 = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Read,
    Write,
    /// A write, and fdatasync.
    WriteFlush,
}

/// What a run of operations took.
#[derive(Clone, Debug)]
pub struct Took {
    /// Nanoseconds of each.
    histogram: Histogram<u64>,
    bytes: u64,
    seconds: f64,
}

impl Took {
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Microseconds; `None` if there were too few operations for it.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let beyond = self.count() as f64 * (1.0 - percent / 100.0);
        (beyond + 1e-6 >= BEYOND as f64).then(|| self.histogram.value_at_percentile(percent) as f64 / 1e3)
    }

    pub fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-9) / 1e6
    }

    /// Microseconds of the whole for each operation, however many were under way.
    pub fn each(&self) -> f64 {
        self.seconds * 1e6 / self.count().max(1) as f64
    }

    /// Takes in another run of the same.
    pub fn add(&mut self, other: &Took) {
        self.histogram.add(&other.histogram).expect("the bounds are the same");
        self.bytes += other.bytes;
        self.seconds += other.seconds;
    }

    #[cfg(test)]
    pub(super) fn of(micros: &[u64], bytes: u64, seconds: f64) -> Took {
        let mut histogram = empty();
        micros.iter().for_each(|us| histogram.saturating_record(us * 1000));
        Took { histogram, bytes, seconds }
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("the bounds are bounds")
}

/// `depth` threads, one operation each under way, through the first `region` bytes of the file in turns.
pub fn run(file: &Scratch, op: Op, size: usize, depth: usize, region: u64, time: Duration) -> io::Result<Took> {
    let begun = Instant::now();
    let until = begun + time;
    let parts: Vec<io::Result<Histogram<u64>>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..depth).map(|k| scope.spawn(move || one(file, op, size, (k, depth), region, until))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a measuring thread ends")).collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let mut histogram = empty();
    for part in parts {
        histogram.add(part?).expect("the bounds are the same");
    }
    let bytes = histogram.len() * size as u64;
    Ok(Took { histogram, bytes, seconds })
}

fn one(
    file: &Scratch,
    op: Op,
    size: usize,
    (k, depth): (usize, usize),
    region: u64,
    until: Instant,
) -> io::Result<Histogram<u64>> {
    let (mut histogram, mut buffer) = (empty(), Buffer::new());
    let bytes = buffer.of(size);
    let places = (region / size as u64).max(1);
    let mut place = k as u64;
    let mut begun = Instant::now();
    loop {
        let at = place % places * size as u64;
        match op {
            Op::Read => file.read(bytes, at)?,
            Op::Write => file.write(bytes, at)?,
            Op::WriteFlush => {
                file.write(bytes, at)?;
                file.flush()?;
            }
        }
        let now = Instant::now();
        histogram.saturating_record((now - begun).as_nanos() as u64);
        if now >= until {
            return Ok(histogram);
        }
        (begun, place) = (now, place + depth as u64);
    }
}

/// The CPUs this process may use.
pub fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect()
}

fn pin(cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu).expect("it is one of the set"));
    // Where it is not allowed the figures are a little less steady.
    let _ = sched_setaffinity(Pid::from_raw(0), &set);
}

/// Runs `work` on the first CPU while all others are busy.
pub fn beside_busy_cpus<T>(work: impl FnOnce() -> T) -> T {
    let all = cpus();
    let over = AtomicBool::new(false);
    let out = std::thread::scope(|scope| {
        for cpu in all.iter().skip(1) {
            let over = &over;
            scope.spawn(move || {
                pin(&[*cpu]);
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        pin(&all[..1.min(all.len())]);
        let out = work();
        over.store(true, Ordering::Relaxed);
        out
    });
    pin(&all);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_that_the_count_does_not_carry_is_not_told() {
        let few: Vec<u64> = (1..=99).collect();
        let many: Vec<u64> = (1..=1000).collect();
        let (few, many) = (Took::of(&few, 99, 1.0), Took::of(&many, 1000, 1.0));
        assert!(few.percentile(50.0).is_some() && few.percentile(99.0).is_none());
        assert!((many.percentile(99.0).unwrap() - 990.0).abs() < 5.0 && many.percentile(99.9).is_none());
    }
}
