//! Metrics as text: Prometheus' format 0.0.4, or OpenMetrics 1.0. Families and samples come from the table, so what is not in it
//! cannot be told.

use super::meter::Histogram;
use super::table::{Kind, Metric, Unit};
use std::fmt::{Display, Write};

/// How a page is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page being written: family by family, each once.
pub struct Page {
    format: Format,
    out: String,
}

/// One family of a page being written.
pub struct Family<'a> {
    page: &'a mut Page,
    metric: &'static Metric,
}

impl Page {
    pub fn new(format: Format) -> Page {
        Page { format, out: String::with_capacity(64 << 10) }
    }

    pub fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let Metric { name, kind, unit, help, .. } = metric;
        let (kind, open) = (*kind, self.format == Format::OpenMetrics);
        // OpenMetrics names a family without the end that its samples have.
        let name = if open { name.trim_end_matches("_total") } else { name };
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = write!(self.out, "# HELP {name} ");
        escape(&mut self.out, help, open);
        let _ = writeln!(self.out, "\n# TYPE {name} {word}");
        if open && *unit != Unit::None {
            let _ = writeln!(self.out, "# UNIT {name} {}", if *unit == Unit::Seconds { "seconds" } else { "bytes" });
        }
        Family { page: self, metric }
    }

    /// One sample of a family without labels.
    pub fn single(&mut self, metric: &'static Metric, value: impl Display) {
        self.family(metric).sample(&[], value);
    }

    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

impl Family<'_> {
    /// One sample; the labels' values in the order of the table.
    pub fn sample(&mut self, labels: &[&dyn Display], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// One sample of a counter or gauge of seconds that is kept in nanoseconds.
    pub fn nanos(&mut self, labels: &[&dyn Display], nanos: u64) {
        self.sample(labels, nanos as f64 / 1e9);
    }

    pub fn histogram<const FROM: u32, const BUCKETS: usize>(
        &mut self,
        labels: &[&dyn Display],
        histogram: &Histogram<FROM, BUCKETS>,
    ) {
        let (buckets, sum) = histogram.read();
        let scale = if self.metric.unit == Unit::Seconds { 1e-9 } else { 1.0 };
        let mut count = 0;
        for (k, bucket) in buckets.iter().enumerate() {
            count += bucket;
            let le = match Histogram::<FROM, BUCKETS>::bound(k).map(|bound| rounded(bound as f64 * scale)) {
                None => "+Inf".to_string(),
                Some(bound) if self.page.format == Format::OpenMetrics => format!("{bound:?}"),
                Some(bound) => bound.to_string(),
            };
            self.line("_bucket", labels, Some(&le), count);
        }
        self.line("_sum", labels, None, sum as f64 * scale);
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, end: &str, labels: &[&dyn Display], le: Option<&str>, value: impl Display) {
        let Metric { name, labels: names, .. } = self.metric;
        assert_eq!(names.len(), labels.len(), "labels of {name}");
        let out = &mut self.page.out;
        let _ = write!(out, "{name}{end}");
        let mut before = '{';
        for (label, value) in names.iter().zip(labels) {
            let _ = write!(out, "{before}{label}=\"");
            escape(out, &value.to_string(), true);
            out.push('"');
            before = ',';
        }
        if let Some(le) = le {
            let _ = write!(out, "{before}le=\"{le}\"");
            before = ',';
        }
        let close = if before == ',' { "}" } else { "" };
        let _ = writeln!(out, "{close} {value}");
    }
}

/// A bound in seconds without the noise of the multiplication.
fn rounded(bound: f64) -> f64 {
    (bound * 1e9).round() / 1e9
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::meter::Times;
    use crate::metrics::table;

    #[test]
    fn both_formats_are_written_as_they_are_specified() {
        let write = |format| {
            let mut page = Page::new(format);
            page.family(&table::TURNS).sample(&[&0], 7);
            page.family(&table::BUILD_INFO).sample(&[&"a\"b\\c\nd"], 1);
            page.single(&table::UPTIME, 1.5);
            page.finish()
        };
        let expected = "# HELP ringlog_turns_total Turns of the loop.\n# TYPE ringlog_turns_total counter\n\
             ringlog_turns_total{core=\"0\"} 7\n\
             # HELP ringlog_build_info 1; the label says which release runs.\n# TYPE ringlog_build_info gauge\n\
             ringlog_build_info{version=\"a\\\"b\\\\c\\nd\"} 1\n\
             # HELP ringlog_uptime_seconds Time since the broker was started.\n# TYPE ringlog_uptime_seconds gauge\n\
             ringlog_uptime_seconds 1.5\n";
        assert_eq!(write(Format::Prometheus), expected);
        let open = write(Format::OpenMetrics);
        assert!(open.starts_with(
            "# HELP ringlog_turns Turns of the loop.\n# TYPE ringlog_turns counter\nringlog_turns_total{"
        ));
        assert!(open.contains("# UNIT ringlog_uptime_seconds seconds\n") && open.ends_with("\n# EOF\n"), "{open}");
    }

    #[test]
    fn a_histogram_counts_up_to_its_count() {
        let times = Times::default();
        [1, 1500, u64::MAX / 4].iter().for_each(|nanos| times.record(*nanos));
        let mut page = Page::new(Format::Prometheus);
        page.family(&table::TURN).histogram(&[&3], &times);
        let text = page.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "ringlog_turn_seconds_bucket{core=\"3\",le=\"0.000001024\"} 1");
        assert_eq!(lines[1], "ringlog_turn_seconds_bucket{core=\"3\",le=\"0.000001536\"} 2");
        assert_eq!(lines[49], "ringlog_turn_seconds_bucket{core=\"3\",le=\"+Inf\"} 3");
        assert_eq!(lines[51], "ringlog_turn_seconds_count{core=\"3\"} 3");
        assert_eq!(lines.len(), 52);
    }
}
