//! What was measured, for people: tables, and a small plot of latency against size.

use super::advice::Advice;
use super::measure::Took;
use super::{DEPTHS, Measured, SIZES};
use std::fmt::Write;
use std::path::Path;

/// Characters across the plot, and its ends: 10 us to 1 s, by decades.
const WIDTH: usize = 50;
const DECADES: (f64, f64) = (1.0, 6.0);

/// Everything, in the order in which it is of interest.
pub fn text(measured: &Measured, advice: &[Advice]) -> String {
    let mut text = String::new();
    for (name, value) in &measured.device {
        let _ = writeln!(text, "{}: {value}", name.trim_start_matches("measured."));
    }
    text.push_str("\na write of 4 KiB made durable, us          p50       p99     p99.9     count\n");
    for flush in &measured.flushes {
        let beside = match flush.beside {
            "idle" => "other CPUs idle",
            "busy" => "other CPUs busy",
            _ => "beside large writes",
        };
        let _ = writeln!(text, "  {:<10} {:<22}{}", flush.method, beside, percentiles(&flush.took));
    }
    text.push_str(
        "\na write past the page cache, one at a time: o p50, | p99; each mark a decade, from 10 us to 1 s\n",
    );
    for size in SIZES {
        let took = measured.write(size, 1);
        let _ = writeln!(text, "  {:>5} KiB {} {}", size >> 10, bar(&took), shown(took.percentile(50.0)));
    }
    text.push_str("\nwrites, MB/s, by how many are under way\n            ");
    DEPTHS.iter().for_each(|depth| {
        let _ = write!(text, "{depth:>9}");
    });
    for size in SIZES {
        let _ = write!(text, "\n  {:>5} KiB ", size >> 10);
        for depth in DEPTHS {
            let _ = write!(text, "{:>9.0}", measured.write(size, depth).mb_per_second());
        }
    }
    text.push_str("\n\nreads, us                p50       p99     p99.9     count      MB/s\n");
    for cell in &measured.reads {
        let (size, took) = (cell.size >> 10, &cell.took);
        let _ =
            writeln!(text, "  {size:>5} KiB x {:<4} {} {:>9.0}", cell.depth, percentiles(took), took.mb_per_second());
    }
    text.push_str("\nzeros, MB/s\n");
    for zeroed in &measured.zeroing {
        let speed = match &zeroed.speed {
            Ok(speed) => format!("{speed:.0}"),
            Err(why) => format!("cannot be had: {why}"),
        };
        let _ = writeln!(text, "  {:<14} {speed}", zeroed.method);
    }
    text.push_str(&meaning(measured, advice));
    text
}

/// What the broker does with it.
fn meaning(measured: &Measured, advice: &[Advice]) -> String {
    let mut text = String::from("\nwhat that means for Ringlog\n");
    if let Some(flush) = measured.flush("fdatasync", "idle") {
        let _ = writeln!(
            text,
            "  A turn of a core is one write to its journal and one fdatasync: with acks=all a lone request waits about {} us \
             for the disk, and a core commits some {:.0} times a second.",
            shown(flush.percentile(50.0)).trim(),
            1e6 / flush.each()
        );
    }
    if let (Some(two), Some(one)) = (measured.flush("fdatasync", "busy"), measured.flush("dsync", "busy")) {
        let ratio = one.each() / two.each();
        let _ = writeln!(
            text,
            "  A durable write (dsync) takes {ratio:.2} of a write and a flush. The broker flushes: its flush covers what was \
             destaged, too."
        );
    }
    if let Some(Ok(speed)) = measured.zeroing.first().map(|z| &z.speed) {
        let mib = 2.0 * 128.0 * measured.cpus as f64;
        let _ = writeln!(
            text,
            "  Journals are zeroed at each start by plain writes: about {:.1} s for {} shards at the default size.",
            mib * 1.048_576 / speed,
            measured.cpus
        );
    }
    match advice.is_empty() {
        true => text.push_str("  The defaults fit: nothing clearly better was seen.\n"),
        false => advice.iter().for_each(|a| {
            let _ = writeln!(text, "  {}={}: {}", a.setting, a.value, a.why);
        }),
    }
    text
}

/// What is printed once the file is there.
pub fn written(path: &Path) -> String {
    format!("written to {}; `ringlog start` reads it, its settings act where yours say nothing\n", path.display())
}

fn shown(us: Option<f64>) -> String {
    us.map_or_else(|| format!("{:>9}", "-"), |us| format!("{us:>9.0}"))
}

fn percentiles(took: &Took) -> String {
    let [a, b, c] = [50.0, 99.0, 99.9].map(|p| shown(took.percentile(p)));
    format!("{a} {b} {c} {:>9}", took.count())
}

/// From p50 to p99 on an axis of decades.
fn bar(took: &Took) -> String {
    let mut cells: Vec<char> = vec![' '; WIDTH + 1];
    let column = |us: f64| {
        let part = (us.max(1.0).log10() - DECADES.0) / (DECADES.1 - DECADES.0);
        (part.clamp(0.0, 1.0) * WIDTH as f64) as usize
    };
    for decade in 0..=(DECADES.1 - DECADES.0) as usize {
        cells[decade * WIDTH / (DECADES.1 - DECADES.0) as usize] = '.';
    }
    if let Some(p50) = took.percentile(50.0).map(column) {
        let p99 = took.percentile(99.0).map(column);
        (p50..p99.unwrap_or(p50)).for_each(|at| cells[at] = '-');
        p99.into_iter().for_each(|at| cells[at] = '|');
        cells[p50] = 'o';
    }
    cells.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_goes_from_the_median_to_the_ninety_ninth() {
        let mut micros = vec![100; 980];
        micros.extend([10_000; 20]);
        let bar = bar(&Took::of(&micros, 1, 1.0));
        // 100 us is the second mark, 10 ms the fourth; a histogram rounds.
        assert!(bar[8..12].contains('o') && bar[28..32].contains('|'), "{bar}");
        assert_eq!(bar.chars().count(), WIDTH + 1);
    }
}
