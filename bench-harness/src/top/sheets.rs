//! The views as tables: what stands in each column, how it reads, and how it sorts. No terminal here.

use super::snapshot::Change;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum View {
    Cores,
    Partitions,
    Clients,
    Groups,
}

impl View {
    pub(super) const ALL: [View; 4] = [View::Cores, View::Partitions, View::Clients, View::Groups];

    pub(super) fn title(self) -> &'static str {
        match self {
            View::Cores => "cores",
            View::Partitions => "partitions",
            View::Clients => "clients",
            View::Groups => "groups",
        }
    }

    /// The page it needs beside `/metrics`.
    pub(super) fn page(self) -> Option<&'static str> {
        match self {
            View::Partitions => Some("partitions"),
            View::Clients => Some("clients"),
            View::Cores | View::Groups => None,
        }
    }

    /// The column that a view is sorted by at first, and whether downwards.
    pub(super) fn first_order(self) -> (usize, bool) {
        match self {
            View::Cores => (0, false),
            View::Partitions => (3, true),
            View::Clients => (4, true),
            View::Groups => (4, true),
        }
    }

    /// The table of this view.
    pub(super) fn sheet(self, change: &Change<'_>) -> Sheet {
        match self {
            View::Cores => cores(change),
            View::Partitions => partitions(change),
            View::Clients => clients(change),
            View::Groups => groups(change),
        }
    }
}

/// What stands in one place of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Count(f64),
    /// A second.
    Rate(f64),
    Bytes(f64),
    /// Bytes a second.
    Flow(f64),
    /// 0 to 1.
    Share(f64),
    Seconds(f64),
    /// Not told, or not known yet.
    Absent,
}

impl Cell {
    fn order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Text(a), Cell::Text(b)) => (internal(a), natural(a)).cmp(&(internal(b), natural(b))),
            _ => self.number().total_cmp(&other.number()),
        }
    }

    fn number(&self) -> f64 {
        match self {
            Cell::Count(v) | Cell::Rate(v) | Cell::Bytes(v) | Cell::Flow(v) | Cell::Share(v) | Cell::Seconds(v) => *v,
            Cell::Text(_) | Cell::Absent => -1.0,
        }
    }

    /// As it reads.
    pub(super) fn show(&self) -> String {
        match self {
            Cell::Text(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
            Cell::Count(v) if *v < 1e9 => format!("{v:.0}"),
            Cell::Count(v) => scaled(*v, ""),
            Cell::Rate(v) if *v != 0.0 && *v < 10.0 => format!("{v:.1}"),
            Cell::Rate(v) => scaled(*v, ""),
            Cell::Bytes(v) => scaled(*v, "B"),
            Cell::Flow(v) => scaled(*v, "B/s"),
            Cell::Share(v) => format!("{:.0}%", v * 100.0),
            Cell::Seconds(v) if v.is_infinite() => "over".to_string(),
            Cell::Seconds(v) if *v < 1e-3 => format!("{:.0}us", v * 1e6),
            Cell::Seconds(v) if *v < 1.0 => format!("{:.1}ms", v * 1e3),
            Cell::Seconds(v) if *v < 120.0 => format!("{v:.1}s"),
            Cell::Seconds(v) if *v < 7200.0 => format!("{:.0}min", v / 60.0),
            Cell::Seconds(v) => format!("{:.0}h", v / 3600.0),
            Cell::Absent => "-".to_string(),
        }
    }
}

/// Kafka's own topics, which stand behind all others.
fn internal(text: &str) -> bool {
    text.starts_with("__")
}

/// Text with its numbers as numbers, so that `events-9` comes before `events-10`.
fn natural(text: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0_u64)];
    for c in text.chars() {
        let last = parts.last_mut().expect("it begins with one");
        match c.to_digit(10) {
            Some(digit) => last.1 = last.1.saturating_mul(10).saturating_add(u64::from(digit)),
            None if last.1 == 0 => last.0.push(c),
            None => parts.push((c.to_string(), 0)),
        }
    }
    parts
}

/// Three digits and a decimal prefix.
fn scaled(value: f64, unit: &str) -> String {
    let (mut left, mut prefix) = (value, "");
    for next in ["k", "M", "G", "T"] {
        if left.abs() < 999.5 {
            break;
        }
        (left, prefix) = (left / 1000.0, next);
    }
    let digits = if prefix.is_empty() || left.abs() >= 99.95 { 0 } else { 1 };
    format!("{left:.digits$}{prefix}{unit}")
}

/// A column's title, and whether it stands to the right.
pub(super) type Column = (&'static str, bool);

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sheet {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// What the table does not show, and why.
    pub(super) note: Option<String>,
}

impl Sheet {
    fn new(columns: &[Column]) -> Sheet {
        Sheet { columns: columns.to_vec(), rows: Vec::new(), note: None }
    }

    /// Rows that hold `filter` in one of their texts, in the order of a column; equal ones in that of all columns.
    pub(super) fn arrange(&mut self, column: usize, downwards: bool, filter: &str) {
        if !filter.is_empty() {
            self.rows.retain(|row| row.iter().any(|cell| matches!(cell, Cell::Text(text) if text.contains(filter))));
        }
        let column = column.min(self.columns.len() - 1);
        self.rows.sort_by(|a, b| {
            let order = a[column].order(&b[column]);
            let order = if downwards { order.reverse() } else { order };
            let all = || a.iter().zip(b).map(|(a, b)| a.order(b)).find(|order| order.is_ne());
            order.then_with(|| all().unwrap_or(Ordering::Equal))
        });
    }
}

/// A value by its constructor, or nothing.
fn cell(value: Option<f64>, kind: fn(f64) -> Cell) -> Cell {
    value.map_or(Cell::Absent, kind)
}

fn cores(change: &Change<'_>) -> Sheet {
    let mut sheet = Sheet::new(&[
        ("core", false),
        ("cpu", true),
        ("busy", true),
        ("turns/s", true),
        ("turn p99", true),
        ("requests/s", true),
        ("in", true),
        ("out", true),
        ("flushes/s", true),
        ("flush p99", true),
        ("log memory", true),
        ("of", true),
        ("conns", true),
        ("partitions", true),
        ("last turn", true),
    ]);
    for key in change.now.by("ringlog_core_info", &["core", "cpu"]).into_keys() {
        let at = [("core", key[0].as_str())];
        let in_core = |name: &str, label: &str, value: &str| change.now.sum(name, &[at[0], (label, value)]);
        let rate = |name: &str| change.rate(name, &at);
        let worked = rate("ringlog_turn_part_seconds_total")
            .zip(change.rate("ringlog_turn_part_seconds_total", &[at[0], ("part", "wait")]))
            .map(|(all, waited)| (all - waited).clamp(0.0, 1.0));
        sheet.rows.push(vec![
            Cell::Text(key[0].clone()),
            Cell::Text(key[1].clone()),
            cell(worked, Cell::Share),
            cell(rate("ringlog_turns_total"), Cell::Rate),
            cell(change.quantile("ringlog_turn_seconds", &at, 0.99), Cell::Seconds),
            cell(rate("ringlog_requests_total"), Cell::Rate),
            cell(rate("ringlog_request_bytes_total"), Cell::Flow),
            cell(rate("ringlog_response_bytes_total"), Cell::Flow),
            cell(rate("ringlog_flushes_total"), Cell::Rate),
            cell(change.quantile("ringlog_flush_seconds", &at, 0.99), Cell::Seconds),
            cell(in_core("ringlog_memory_bytes", "use", "log"), Cell::Bytes),
            cell(in_core("ringlog_memory_limit_bytes", "use", "log"), Cell::Bytes),
            cell(change.now.sum("ringlog_connections", &at), Cell::Count),
            cell(change.now.sum("ringlog_partitions", &at), Cell::Count),
            cell(change.now.sum("ringlog_turn_age_seconds", &at), Cell::Seconds),
        ]);
    }
    sheet
}

fn partitions(change: &Change<'_>) -> Sheet {
    let mut sheet = Sheet::new(&[
        ("topic", false),
        ("partition", true),
        ("core", true),
        ("in", true),
        ("records/s", true),
        ("out", true),
        ("log start", true),
        ("high watermark", true),
        ("bytes", true),
        ("segments", true),
    ]);
    const KEY: [&str; 3] = ["topic", "partition", "core"];
    let appended = change.rates("ringlog_partition_appended_bytes_total", &KEY);
    let read = change.rates("ringlog_partition_read_bytes_total", &KEY);
    let records = change.rates("ringlog_partition_high_watermark", &KEY);
    let [start, bytes, segments] =
        ["log_start", "log_bytes", "segments"].map(|what| change.now.by(&format!("ringlog_partition_{what}"), &KEY));
    let of = |values: &BTreeMap<Vec<String>, f64>, key: &Vec<String>, kind| cell(values.get(key).copied(), kind);
    for (key, end) in change.now.by("ringlog_partition_high_watermark", &KEY) {
        sheet.rows.push(vec![
            Cell::Text(key[0].clone()),
            Cell::Text(key[1].clone()),
            Cell::Text(key[2].clone()),
            of(&appended, &key, Cell::Flow),
            of(&records, &key, Cell::Rate),
            of(&read, &key, Cell::Flow),
            of(&start, &key, Cell::Count),
            Cell::Count(end),
            of(&bytes, &key, Cell::Bytes),
            of(&segments, &key, Cell::Count),
        ]);
    }
    sheet
}

fn clients(change: &Change<'_>) -> Sheet {
    let mut sheet = Sheet::new(&[
        ("peer", false),
        ("client id", false),
        ("core", true),
        ("connected", true),
        ("requests/s", true),
        ("in", true),
        ("out", true),
    ]);
    const KEY: [&str; 3] = ["peer", "client_id", "core"];
    let [requests, bytes_in, bytes_out] = ["requests", "request_bytes", "response_bytes"]
        .map(|what| change.rates(&format!("ringlog_client_{what}_total"), &KEY));
    for (key, age) in change.now.by("ringlog_client_connected_seconds", &KEY) {
        let of = |values: &BTreeMap<Vec<String>, f64>, kind| cell(values.get(&key).copied(), kind);
        sheet.rows.push(vec![
            Cell::Text(key[0].clone()),
            Cell::Text(key[1].clone()),
            Cell::Text(key[2].clone()),
            Cell::Seconds(age),
            of(&requests, Cell::Rate),
            of(&bytes_in, Cell::Flow),
            of(&bytes_out, Cell::Flow),
        ]);
    }
    sheet
}

fn groups(change: &Change<'_>) -> Sheet {
    let mut sheet = Sheet::new(&[
        ("group", false),
        ("state", false),
        ("members", true),
        ("topic", false),
        ("lag", true),
        ("largest lag", true),
        ("partitions", true),
        ("committed/s", true),
    ]);
    let committed = change.rates("ringlog_consumer_group_offset", &["group", "topic"]);
    // By group and topic: partitions, lag of all, largest lag.
    let mut lags: BTreeMap<String, BTreeMap<String, (f64, f64, f64)>> = BTreeMap::new();
    for (key, lag) in change.now.by("ringlog_consumer_group_lag", &["group", "topic", "partition"]) {
        let sums = lags.entry(key[0].clone()).or_default().entry(key[1].clone()).or_default();
        *sums = (sums.0 + 1.0, sums.1 + lag, sums.2.max(lag));
    }
    for (key, members) in change.now.by("ringlog_consumer_group_members", &["group", "state"]) {
        let begin = [Cell::Text(key[0].clone()), Cell::Text(key[1].clone()), Cell::Count(members)];
        let topics = lags.remove(&key[0]).unwrap_or_default();
        if topics.is_empty() {
            let rest = std::iter::repeat_n(Cell::Absent, sheet.columns.len() - begin.len());
            sheet.rows.push(begin.iter().cloned().chain(rest).collect());
        }
        for (topic, (count, lag, largest)) in topics {
            let rate = committed.get(&vec![key[0].clone(), topic.clone()]).copied();
            let rest =
                [Cell::Text(topic), Cell::Count(lag), Cell::Count(largest), Cell::Count(count), cell(rate, Cell::Rate)];
            sheet.rows.push(begin.iter().cloned().chain(rest).collect());
        }
    }
    let omitted = change.now.sum("ringlog_consumer_group_omitted", &[]).filter(|n| *n > 0.0);
    sheet.note =
        omitted.map(|n| format!("{n:.0} groups or offsets are left out by the broker's bound on their number"));
    sheet
}

/// The lines above every view: the broker as a whole.
pub(super) fn summary(change: &Change<'_>) -> [String; 2] {
    let now = change.now;
    let show = |value: Option<f64>, kind: fn(f64) -> Cell| cell(value, kind).show();
    let (free, latched) = (now.sum("ringlog_log_dir_free_bytes", &[]), now.sum("ringlog_log_dir_latched", &[]));
    let silent = now.sum("ringlog_scrape_silent_cores", &[]).filter(|n| *n > 0.0);
    let mut trouble = String::new();
    if latched.is_some_and(|n| n > 0.0) {
        trouble.push_str("  A LOG DIRECTORY IS OUT OF SERVICE");
    }
    if let Some(silent) = silent {
        trouble.push_str(&format!("  {silent:.0} CORES DO NOT ANSWER"));
    }
    let api = |name: &str| show(change.rate("ringlog_requests_total", &[("api", name)]), Cell::Rate);
    [
        format!(
            "up {}  cpu {}  memory {}  disk free {}  topics {}  partitions {}  connections {}  groups {}{trouble}",
            show(now.sum("ringlog_uptime_seconds", &[]), Cell::Seconds),
            show(change.rate("process_cpu_seconds_total", &[]), Cell::Share),
            show(now.sum("process_resident_memory_bytes", &[]), Cell::Bytes),
            show(free, Cell::Bytes),
            show(now.sum("ringlog_topics", &[]), Cell::Count),
            show(now.sum("ringlog_partitions", &[]), Cell::Count),
            show(now.sum("ringlog_connections", &[]), Cell::Count),
            show(now.sum("ringlog_groups", &[]), Cell::Count),
        ),
        format!(
            "in {}  out {}  produce {}/s  fetch {}/s  records {}/s  flushes {}/s  errors {}/s",
            show(change.rate("ringlog_request_bytes_total", &[]), Cell::Flow),
            show(change.rate("ringlog_response_bytes_total", &[]), Cell::Flow),
            api("Produce"),
            api("Fetch"),
            show(change.rate("ringlog_appended_records_total", &[]), Cell::Rate),
            show(change.rate("ringlog_flushes_total", &[]), Cell::Rate),
            show(change.rate("ringlog_request_errors_total", &[]).or(Some(0.0)), Cell::Rate),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_well() {
        let shown = [
            (Cell::Bytes(0.0), "0B"),
            (Cell::Bytes(999.4), "999B"),
            (Cell::Bytes(1500.0), "1.5kB"),
            (Cell::Flow(123_456_789.0), "123MB/s"),
            (Cell::Rate(0.25), "0.2"),
            (Cell::Rate(99_960.0), "100k"),
            (Cell::Share(0.256), "26%"),
            (Cell::Seconds(0.000_02), "20us"),
            (Cell::Seconds(0.25), "250.0ms"),
            (Cell::Seconds(f64::INFINITY), "over"),
            (Cell::Seconds(10_000.0), "3h"),
            (Cell::Text("a\u{1b}[2Jb".to_string()), "a\u{fffd}[2Jb"),
            (Cell::Absent, "-"),
        ];
        for (cell, text) in shown {
            assert_eq!(cell.show(), text, "{cell:?}");
        }
    }

    #[test]
    fn rows_are_filtered_and_sorted_by_what_they_mean() {
        let row = |name: &str, n: Cell| vec![Cell::Text(name.to_string()), n];
        let rows = vec![
            row("t-10", Cell::Count(5.0)),
            row("__own", Cell::Count(5.0)),
            row("u-1", Cell::Absent),
            row("t-9", Cell::Count(70.0)),
            row("t-1", Cell::Count(5.0)),
        ];
        let mut sheet = Sheet { columns: vec![("topic", false), ("n", true)], rows, note: None };
        let names = |sheet: &Sheet| sheet.rows.iter().map(|row| row[0].show()).collect::<Vec<_>>().join(" ");
        sheet.arrange(0, false, "");
        assert_eq!(names(&sheet), "t-1 t-9 t-10 u-1 __own");
        sheet.arrange(1, true, "");
        assert_eq!(names(&sheet), "t-9 t-1 t-10 __own u-1");
        sheet.arrange(1, false, "t-");
        assert_eq!(names(&sheet), "t-1 t-10 t-9");
    }
}
