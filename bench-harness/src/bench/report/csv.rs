//! All figures of all runs as one long table, a value a line: what a spreadsheet or a data frame turns as it likes.

use super::Report;
use super::format::date;
use crate::bench::figures::{FIGURES, Unit};
use std::collections::BTreeMap;
use std::fmt::Write;

pub const HEAD: &str = "workload,broker,run,started,void,figure,unit,value";

pub fn write(report: &Report) -> String {
    let mut out = format!("{HEAD}\n");
    let mut runs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for run in &report.runs {
        let (workload, broker) = (&run.workload.name, &run.broker.label);
        let number = runs.entry((workload, broker)).or_default();
        *number += 1;
        for figure in FIGURES {
            let Some(value) = figure.of(run) else { continue };
            let _ = writeln!(
                out,
                "{},{},{number},{},{},{},{},{value}",
                field(workload),
                field(broker),
                date(run.started_ms),
                run.is_void(),
                figure.id,
                unit(figure.unit)
            );
        }
    }
    out
}

/// Units as they are stored, unscaled.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanos => "ns",
        Unit::RecordsPerSecond => "records/s",
        Unit::BytesPerSecond => "bytes/s",
        Unit::PerSecond => "1/s",
        Unit::Micros => "us",
        Unit::NanosPerByte => "ns/byte",
        Unit::PerByte => "bytes/byte",
        Unit::Bytes => "bytes",
        Unit::Cores => "cores",
        Unit::Count => "1",
    }
}

/// Quoted where a comma, a quote or a line's end is in it (RFC 4180). A spreadsheet takes what begins with one of `=+-@` for a
/// formula; such a name gets a quote before it.
fn field(text: &str) -> String {
    let plain = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_string() };
    if plain.contains([',', '"', '\n', '\r']) { format!("\"{}\"", plain.replace('"', "\"\"")) } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field("kafka"), "kafka");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(field("=1+1"), "'=1+1");
    }
}
