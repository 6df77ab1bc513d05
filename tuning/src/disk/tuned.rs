//! The text of `ringlog.tuned`: the figures for people, and the settings for the broker. Its format is the engine's.

use super::advice::Advice;
use super::measure::Took;
use super::{DEPTHS, Measured, SIZES};
use ringlog_engine::config::tuned::{END, FORMAT, Tuned};
use std::fmt::Write;

pub fn text(measured: &Measured, advice: &[Advice], date: &str, kernel: &str) -> String {
    let mut text =
        String::from("# Written by `ringlog tune disk`, read by `ringlog start`. To be without it, remove it.\n");
    let _ = write!(text, "version={FORMAT}\ndate={date}\nkernel={kernel}\n");
    for (name, value) in &measured.device {
        let _ = writeln!(text, "{name}={value}");
    }
    for size in SIZES {
        for depth in DEPTHS {
            figures(&mut text, &format!("measured.write.{size}.depth.{depth}"), &measured.write(size, depth));
        }
    }
    for cell in &measured.reads {
        figures(&mut text, &format!("measured.read.{}.depth.{}", cell.size, cell.depth), &cell.took);
    }
    for flush in &measured.flushes {
        figures(&mut text, &format!("measured.flush.{}.{}", flush.method, flush.beside), &flush.took);
    }
    for zeroed in &measured.zeroing {
        let _ = match &zeroed.speed {
            Ok(speed) => writeln!(text, "measured.zero.{}.mb.per.s={speed:.0}", zeroed.method),
            Err(why) => writeln!(text, "measured.zero.{}=cannot be had: {why}", zeroed.method),
        };
    }
    for a in advice {
        let _ = write!(text, "# {}\n{}={}\n", a.why, a.setting, a.value);
    }
    let _ = writeln!(text, "{END}");
    Tuned::parse(&text).unwrap_or_else(|why| panic!("what was written is not read: {why}\n{text}"));
    text
}

fn figures(text: &mut String, name: &str, took: &Took) {
    let _ = writeln!(text, "{name}.count={}", took.count());
    for (part, percent) in [("p50", 50.0), ("p99", 99.0), ("p999", 99.9)] {
        if let Some(us) = took.percentile(percent) {
            let _ = writeln!(text, "{name}.{part}.us={us:.1}");
        }
    }
    let _ = writeln!(text, "{name}.mb.per.s={:.1}", took.mb_per_second());
}
