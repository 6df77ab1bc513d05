//! `ringlog tune disk`: the device under a log directory, used as the broker uses it, and what follows for its settings.
//!
//! - `files`: scratch files without a name; `measure`: operations in a loop
//! - `advice`: what the figures mean for the broker; `plot`: the figures for people; `tuned`: the file `ringlog start` reads

pub mod advice;
pub mod files;
pub mod measure;
pub mod plot;
pub mod tuned;

use crate::host::Host;
use files::{Buffer, LARGEST, Scratch, Zeroing};
use measure::{Op, Took, beside_busy_cpus, run};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

pub const SIZES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
pub const DEPTHS: [usize; 5] = [1, 2, 4, 8, 16];
const READ_SIZES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];
const READ_DEPTHS: [usize; 2] = [1, 8];
/// How often all writes are measured: what one round says and another does not is noise.
const ROUNDS: u32 = 3;
/// Free space that is left alone, besides twice what is written.
const SPARE: u64 = 256 << 20;
/// Less than this is measured within the device's cache at most.
const REGION_LEAST: u64 = 16 << 20;

/// How long, and over how much of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    pub time: Duration,
    pub bytes: u64,
}

impl Budget {
    pub const FULL: Budget = Budget { time: Duration::from_secs(60), bytes: 256 << 20 };
    pub const QUICK: Budget = Budget { time: Duration::from_secs(10), bytes: 64 << 20 };

    fn share(&self, percent: u32) -> Duration {
        self.time * percent / 100
    }
}

/// A size, how many at once, and what that took.
#[derive(Clone, Debug)]
pub struct Cell {
    pub size: usize,
    pub depth: usize,
    pub took: Took,
}

/// A way to make a small write durable, and what it took.
#[derive(Clone, Debug)]
pub struct Flushed {
    /// `fdatasync` or `dsync`.
    pub method: &'static str,
    /// `idle`, `busy` (the other CPUs) or `loaded` (the disk).
    pub beside: &'static str,
    pub took: Took,
}

/// A way to have zeros, MB/s, or why it cannot be had.
#[derive(Clone, PartialEq, Debug)]
pub struct Zeroed {
    pub method: &'static str,
    pub speed: Result<f64, String>,
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What the system says of the device.
    pub device: Vec<(&'static str, String)>,
    /// Of each round.
    pub writes: Vec<Vec<Cell>>,
    pub reads: Vec<Cell>,
    pub flushes: Vec<Flushed>,
    pub zeroing: Vec<Zeroed>,
    pub free: u64,
    pub cpus: usize,
}

/// Why nothing was measured.
pub fn refusal(dir: &Path, budget: &Budget) -> Option<String> {
    if !dir.is_dir() {
        return Some(format!("{} is no directory; make it, or name the log directory", dir.display()));
    }
    let needed = 2 * budget.bytes * 2 + SPARE;
    match files::free(dir) {
        Ok(free) if free < needed => Some(format!(
            "{}: {} MiB are free, {} are needed so that nothing else finds the disk full",
            dir.display(),
            free >> 20,
            needed >> 20
        )),
        Ok(_) => None,
        Err(error) => Some(format!("{}: {error}", dir.display())),
    }
}

/// Measures; `progress` is told what is under way.
pub fn measure(dir: &Path, budget: &Budget, progress: &mut dyn FnMut(&str)) -> io::Result<Measured> {
    let host = Host::new(Path::new("/"), Some(dir));
    let file = Scratch::new(dir)?;
    progress("writing the file that is measured");
    let (region, plain) = fill(&file, budget.bytes, budget.share(10))?;
    let mut writes = Vec::new();
    for _ in 0..ROUNDS {
        writes.push(matrix(&file, Op::Write, region, (&SIZES, &DEPTHS), budget.share(35) / ROUNDS, progress)?);
    }
    let reads = matrix(&file, Op::Read, region, (&READ_SIZES, &READ_DEPTHS), budget.share(10), progress)?;
    let mut flushes = flushes(&file, region, budget.share(25), progress)?;
    flushes.extend(loaded(&file, region, budget.share(10), progress)?);
    let mut zeroing = vec![Zeroed { method: "plain", speed: Ok(plain) }];
    zeroing.extend(zeroed(dir, budget.bytes / 4, progress)?);
    Ok(Measured {
        device: device(&host),
        writes,
        reads,
        flushes,
        zeroing,
        free: files::free(dir)?,
        cpus: measure::cpus().len(),
    })
}

/// Writes the file from its beginning until it is large enough or the time is over; its size, and MB/s.
fn fill(file: &Scratch, bytes: u64, time: Duration) -> io::Result<(u64, f64)> {
    let (begun, mut buffer, mut at) = (Instant::now(), Buffer::new(), 0);
    while at < bytes && (at < REGION_LEAST || begun.elapsed() < time) {
        file.write(buffer.of(LARGEST), at)?;
        at += LARGEST as u64;
    }
    file.flush_all()?;
    Ok((at, at as f64 / begun.elapsed().as_secs_f64() / 1e6))
}

fn matrix(
    file: &Scratch,
    op: Op,
    region: u64,
    (sizes, depths): (&[usize], &[usize]),
    time: Duration,
    progress: &mut dyn FnMut(&str),
) -> io::Result<Vec<Cell>> {
    let each = time / (sizes.len() * depths.len()) as u32;
    let mut cells = Vec::new();
    for size in sizes {
        for depth in depths {
            let what = if op == Op::Read { "reads" } else { "writes" };
            progress(&format!("{what} of {} KiB, {depth} at once", size >> 10));
            cells.push(Cell { size: *size, depth: *depth, took: run(file, op, *size, *depth, region, each)? });
        }
        file.flush()?;
    }
    Ok(cells)
}

/// Small writes made durable in two ways, the other CPUs idle and busy.
fn flushes(file: &Scratch, region: u64, time: Duration, progress: &mut dyn FnMut(&str)) -> io::Result<Vec<Flushed>> {
    let durable = file.durable()?;
    let mut flushes = Vec::new();
    let besides: &[&'static str] = if measure::cpus().len() > 1 { &["idle", "busy"] } else { &["idle"] };
    let each = time / (2 * besides.len()) as u32;
    for beside in besides {
        for (method, file, op) in [("fdatasync", file, Op::WriteFlush), ("dsync", &durable, Op::Write)] {
            progress(&format!("4 KiB made durable by {method}, other CPUs {beside}"));
            let work = || run(file, op, SIZES[0], 1, region, each);
            let took = if *beside == "busy" { beside_busy_cpus(work)? } else { work()? };
            flushes.push(Flushed { method, beside, took });
        }
    }
    Ok(flushes)
}

/// The same while large writes are under way, as destaging makes them.
fn loaded(file: &Scratch, region: u64, time: Duration, progress: &mut dyn FnMut(&str)) -> io::Result<Vec<Flushed>> {
    let durable = file.durable()?;
    let mut flushes = Vec::new();
    for (method, small, op) in [("fdatasync", file, Op::WriteFlush), ("dsync", &durable, Op::Write)] {
        progress(&format!("4 KiB made durable by {method}, beside writes of 1 MiB"));
        // Each in its own half, so that they do not wait for each other's blocks.
        let (half, each) = (region / 2, time / 2);
        let took = std::thread::scope(|scope| {
            let large = scope.spawn(|| beyond(file, half, each));
            let took = run(small, op, SIZES[0], 1, half, each);
            large.join().expect("the large writes end")?;
            took
        })?;
        flushes.push(Flushed { method, beside: "loaded", took });
    }
    Ok(flushes)
}

/// Writes of 1 MiB, one after the other, into what begins at `from` and is as long.
fn beyond(file: &Scratch, from: u64, time: Duration) -> io::Result<()> {
    let (begun, mut buffer, mut at) = (Instant::now(), Buffer::new(), 0);
    while begun.elapsed() < time {
        file.write(buffer.of(LARGEST), from - from % LARGEST as u64 + at)?;
        at = (at + LARGEST as u64) % (from - from % LARGEST as u64).max(LARGEST as u64);
    }
    Ok(())
}

/// Ways to have zeros without writing them.
fn zeroed(dir: &Path, bytes: u64, progress: &mut dyn FnMut(&str)) -> io::Result<Vec<Zeroed>> {
    let mut all = Vec::new();
    for (method, how) in [("write-zeroes", Zeroing::WriteZeroes), ("zero-range", Zeroing::ZeroRange)] {
        progress(&format!("zeros by {method}"));
        let file = Scratch::new(dir)?;
        let begun = Instant::now();
        let done = file.zero(how, bytes).and_then(|()| file.flush_all());
        let speed =
            done.map(|()| bytes as f64 / begun.elapsed().as_secs_f64() / 1e6).map_err(|error| error.to_string());
        all.push(Zeroed { method, speed });
    }
    Ok(all)
}

/// What the system says of the device, as far as it says anything.
fn device(host: &Host) -> Vec<(&'static str, String)> {
    let unknown = || "unknown".to_string();
    let Ok(disk) = crate::settings::storage::device(host) else { return vec![("device", unknown())] };
    let read = |file: &str| host.read(&format!("{}/queue/{file}", disk.folder)).unwrap_or_else(|_| unknown());
    vec![
        ("device", disk.name.clone()),
        ("measured.write.cache", read("write_cache")),
        ("measured.fua", read("fua")),
        ("measured.rotational", read("rotational")),
        ("measured.scheduler", crate::entry::Form::Choice.value(&read("scheduler"))),
    ]
}

impl Measured {
    /// Writes of a size and depth, all rounds together.
    pub fn write(&self, size: usize, depth: usize) -> Took {
        let mut rounds = self.writes.iter().map(|round| write(round, size, depth));
        let mut all = rounds.next().expect("there is a round").clone();
        rounds.for_each(|took| all.add(took));
        all
    }

    pub fn flush(&self, method: &str, beside: &str) -> Option<&Took> {
        self.flushes.iter().find(|f| f.method == method && f.beside == beside).map(|f| &f.took)
    }
}

/// Writes of a size and depth in one round.
pub fn write(round: &[Cell], size: usize, depth: usize) -> &Took {
    let found = round.iter().find(|cell| cell.size == size && cell.depth == depth);
    &found.expect("every size and depth was measured").took
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_room_is_short_nothing_is_measured() {
        let dir = std::env::temp_dir();
        let huge = Budget { bytes: 1 << 50, ..Budget::QUICK };
        let why = refusal(&dir, &huge).expect("no disk has that much");
        assert!(why.contains("are free") && why.contains("are needed"), "{why}");
        assert_eq!(refusal(&dir, &Budget { bytes: 0, ..huge }), None);
    }
}
