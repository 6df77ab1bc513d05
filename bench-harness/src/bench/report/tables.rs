//! The tables of a report, and the sentences at its top; the page and the terminal show the same ones.

use super::format;
use super::group::{Group, Kind, PERCENTILES, Section};
use super::{metrics, svg};
use crate::bench::compare::{Comparison, Row, Spread, Verdict};
use crate::bench::figures::{self, Unit};
use crate::bench::result::{Latency, RunResult};

/// One field of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    pub main: String,
    /// Said in smaller letters after it.
    pub more: String,
    /// A picture of it, as markup; the terminal does without.
    pub picture: String,
}

impl From<String> for Cell {
    fn from(main: String) -> Cell {
        Cell { main, ..Cell::default() }
    }
}

impl From<&str> for Cell {
    fn from(main: &str) -> Cell {
        Cell::from(main.to_string())
    }
}

/// How a row is to be marked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mark {
    #[default]
    None,
    Good,
    Bad,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub caption: String,
    /// How to read the pictures in it.
    pub drawn: String,
    pub head: Vec<String>,
    pub rows: Vec<(Mark, Vec<Cell>)>,
}

impl Table {
    pub fn new<T: Into<String>>(caption: impl Into<String>, head: impl IntoIterator<Item = T>) -> Table {
        Table {
            caption: caption.into(),
            drawn: String::new(),
            head: head.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row<T: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push((Mark::None, cells.into_iter().map(Into::into).collect()));
    }
}

const NOTHING: &str = "\u{2013}";

fn told(unit: Unit, value: Option<f64>) -> String {
    value.map_or_else(|| NOTHING.to_string(), |v| format::value(unit, v))
}

/// A figure of one side: merged over its runs where it can be, and what the runs reached.
fn spread(unit: Unit, spread: &Option<Spread>) -> Cell {
    let Some(spread) = spread else { return NOTHING.into() };
    let main = format::value(unit, spread.merged.unwrap_or(spread.median));
    let more = match spread.runs {
        0 => "merged; each run has too few samples".to_string(),
        1 => "1 run".to_string(),
        n => format!("{} in {n} runs", format::range(unit, spread.least, spread.greatest)),
    };
    Cell { main, more, ..Cell::default() }
}

/// Who is better by how much, in a sentence.
fn sentence(comparison: &Comparison, row: &Row) -> String {
    let of = |spread: &Option<Spread>| told(row.unit, spread.map(|s| s.merged.unwrap_or(s.median)));
    let (a, b) = (&comparison.a.label, &comparison.b.label);
    let values = format!("{}: {} on {a}, {} on {b}", capital(&row.name), of(&row.a), of(&row.b));
    let Some(interval) = &row.interval else { return format!("{values}. {}.", capital(&row.verdict.to_string())) };
    let verdict = match row.verdict {
        Verdict::Better => format!("{a} is better"),
        Verdict::Worse => format!("{a} is worse"),
        other => other.to_string(),
    };
    format!(
        "{values}: {} times ({} with 95 % confidence); {verdict}.",
        format::ratio(interval.ratio),
        format::interval(interval)
    )
}

pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// What a section found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headline {
    pub mark: Mark,
    /// The answer to the workload's question, one sentence.
    pub main: String,
    /// What belongs to it.
    pub more: Vec<String>,
}

/// The answer to a workload's question.
pub fn headline(section: &Section<'_>) -> Headline {
    if section.groups.iter().all(|g| g.valid.is_empty()) {
        let main = "VOID: no run passed its own checks, so there are no figures.".to_string();
        return Headline { mark: Mark::Bad, main, more: Vec::new() };
    }
    section.comparisons.first().and_then(|c| compared(c)).unwrap_or_else(|| {
        let mut parts = section.groups.iter().filter_map(|g| alone(section, g));
        Headline { mark: Mark::None, main: parts.next().unwrap_or_default(), more: parts.collect() }
    })
}

/// None if the sides tell no key figure in common.
fn compared(comparison: &Comparison) -> Option<Headline> {
    let rows = comparison.key.iter().filter_map(|id| comparison.row(id));
    let rows: Vec<&Row> = rows.filter(|row| row.a.is_some() && row.b.is_some()).take(3).collect();
    let (first, others) = rows.split_first()?;
    let mut more: Vec<String> = others.iter().map(|row| sentence(comparison, row)).collect();
    let pairs = comparison.pairs;
    let mut known = format!("{pairs} valid {} of runs.", if pairs == 1 { "pair" } else { "pairs" });
    if !comparison.same_durability() {
        let (a, b) = (&comparison.a, &comparison.b);
        let words = format!(
            " Not equally durable: {} acknowledges when {}; {} when {}.",
            a.label, a.durability, b.label, b.durability
        );
        known.push_str(&words);
    }
    more.push(known);
    Some(Headline { mark: mark_of(first.verdict), main: sentence(comparison, first), more })
}

fn mark_of(verdict: Verdict) -> Mark {
    match verdict {
        Verdict::Better => Mark::Good,
        Verdict::Worse => Mark::Bad,
        _ => Mark::None,
    }
}

/// The key figures of one broker.
fn alone(section: &Section<'_>, group: &Group<'_>) -> Option<String> {
    if group.valid.is_empty() {
        return Some(format!("{}: every run is void.", group.label));
    }
    let told: Vec<String> = figures::key(section.workload)
        .into_iter()
        .filter_map(|figure| {
            let [least, median, greatest] = group.spread(figure)?;
            let value = figure.merged(group.valid.iter().copied()).unwrap_or(median);
            let of = |v| format::value(figure.unit, v);
            let more =
                if group.valid.len() > 1 { format!(" ({} to {})", of(least), of(greatest)) } else { String::new() };
            Some(format!("{} {}{more}", figure.name, of(value)))
        })
        .take(3)
        .collect();
    (!told.is_empty()).then(|| format!("{}: {}.", group.label, told.join(", ")))
}

/// Figures that a reader wants first; the others are a click away.
const FIRST: [&str; 12] = [
    "publish_p50",
    "publish_p99",
    "publish_p999",
    "publish_p9999",
    "end_to_end_p50",
    "end_to_end_p99",
    "end_to_end_p999",
    "acked_bytes_rate",
    "cpu_per_request",
    "cpu_per_byte",
    "device_per_byte",
    "peak_rss",
];

/// Whether a figure is one of those.
pub fn comes_first(comparison: &Comparison, row: &Row) -> bool {
    FIRST.contains(&row.id.as_str()) || comparison.key.contains(&row.id)
}

/// Figures of a comparison with their ratios and verdicts.
pub fn verdicts(comparison: &Comparison, wanted: impl Fn(&Row) -> bool) -> Table {
    let (a, b) = (&comparison.a.label, &comparison.b.label);
    let intervals = comparison.rows.iter().filter(|row| wanted(row)).filter_map(|row| row.interval);
    let reach = intervals.flat_map(|i| [i.low, i.high]).fold(2.0_f64, |m, v| m.max(v).max(1.0 / v)).min(30.0);
    let caption = format!(
        "{a} against {b}: ratios of {} neighbouring pairs of runs, with 95 % intervals. A latency is of all runs merged; beside it \
         what single runs reached.",
        comparison.pairs
    );
    let ratio = format!("{a} / {b}");
    let mut table = Table::new(caption, ["Figure", a, b, &ratio, "Verdict"]);
    let (least, most) = (format::ratio(1.0 / reach), format::ratio(reach));
    table.drawn = format!("The line beside each ratio goes from {least} to {most}, logarithmic, with 1 in its middle.");
    for row in comparison.rows.iter().filter(|row| wanted(row)) {
        let mark = mark_of(row.verdict);
        let class = match mark {
            Mark::Good => "good",
            Mark::Bad => "bad",
            Mark::None => "unclear",
        };
        let ratio = row.interval.as_ref().map_or_else(
            || Cell::from(NOTHING),
            |i| Cell {
                main: format::ratio(i.ratio),
                more: format::interval(i),
                picture: svg::whisker(i, reach, class),
            },
        );
        let verdict = match row.verdict {
            Verdict::Better => format!("{a} better"),
            Verdict::Worse => format!("{a} worse"),
            other => other.to_string(),
        };
        let cells =
            vec![row.name.as_str().into(), spread(row.unit, &row.a), spread(row.unit, &row.b), ratio, verdict.into()];
        table.rows.push((mark, cells));
    }
    table
}

/// Every figure of brokers that were not compared.
pub fn all_figures(section: &Section<'_>) -> Table {
    let head = std::iter::once("Figure").chain(section.groups.iter().map(|g| g.label));
    let mut table =
        Table::new("All figures: a latency is of all runs merged; beside it what single runs reached.", head);
    for figure in figures::FIGURES {
        let cells: Vec<Option<Cell>> = section
            .groups
            .iter()
            .map(|group| {
                let merged = figure.merged(group.valid.iter().copied());
                let values = group.spread(figure).or(merged.map(|m| [m; 3]))?;
                let runs = group.valid.iter().filter(|run| figure.of(run).is_some()).count();
                let [least, median, greatest] = values;
                Some(spread(figure.unit, &Some(Spread { runs, least, median, greatest, merged })))
            })
            .collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| NOTHING.into()));
            table.row(std::iter::once(Cell::from(figure.name)).chain(cells));
        }
    }
    table
}

/// Percentiles of each broker's merged histogram, as far as its count carries them.
pub fn percentiles(section: &Section<'_>, kind: Kind) -> Table {
    let head = std::iter::once("Percentile".to_string()).chain(section.groups.iter().map(|g| g.label.to_string()));
    let mut table = Table::new(format!("{} latency, all runs merged", kind.name()), head);
    let nanos = |v: Option<u64>| Cell::from(told(Unit::Nanos, v.map(|v| v as f64)));
    let groups = || section.groups.iter().map(|g| kind.of(g));
    for percentile in PERCENTILES {
        if groups().any(|latency| latency.at(percentile).is_some()) {
            let name = Cell::from(format!("p{}", format::percentile(percentile)));
            table.row(std::iter::once(name).chain(groups().map(|l| nanos(l.at(percentile)))));
        }
    }
    table.row(std::iter::once(Cell::from("maximum")).chain(groups().map(|l| nanos(l.max()))));
    let counts = groups().map(|l| Cell::from(format::number(l.0.len() as f64)));
    table.row(std::iter::once(Cell::from("samples")).chain(counts));
    table
}

/// The typical run of each broker second by second.
pub fn seconds(label: &str, run: &RunResult) -> Table {
    let head = ["Second", "Sent", "Acknowledged", "Read", "Publish p50", "p99", "Maximum", "End-to-end p99", "Errors"];
    let mut table = Table::new(format!("{label}, records a second, and latencies of each second"), head);
    for s in &run.load.seconds {
        let us = |v: u64| if v == 0 { NOTHING.to_string() } else { format::nanos(v as f64 * 1e3) };
        table.row([
            format!("{}{}", s.at, if s.warmup { " (warm-up)" } else { "" }),
            format::number(s.sent_records as f64),
            format::number(s.acked_records as f64),
            format::number(s.read_records as f64),
            us(s.publish_p50),
            us(s.publish_p99),
            us(s.publish_max),
            us(s.end_to_end_p99),
            s.errors.to_string(),
        ]);
    }
    table
}

/// Steps of ramps.
pub fn ramp(section: &Section<'_>) -> Table {
    let percentile = section.workload.ramp.as_ref().map_or(99.0, |ramp| ramp.percentile);
    let latency = format!("publish p{}", format::percentile(percentile));
    let mut table = Table::new("Steps of the ramp", ["Broker", "Run", "Planned", "Acknowledged", &latency, "Goal"]);
    for group in &section.groups {
        for (k, run) in group.valid.iter().enumerate() {
            for step in &run.load.ramp {
                table.row([
                    group.label.to_string(),
                    (k + 1).to_string(),
                    format!("{}/s", format::count(step.planned)),
                    format!("{}/s", format::count(step.acked)),
                    told(Unit::Nanos, step.publish.at(percentile).map(|v| v as f64)),
                    if step.kept { "kept" } else { "missed" }.to_string(),
                ]);
            }
        }
    }
    table
}

/// What each run's own checks found; void runs first. `failed`: only the checks that failed.
pub fn checks(section: &Section<'_>, failed: bool) -> Table {
    let head = ["Broker", "Run", "Check", "Found", "Result"];
    let mut table = Table::new(if failed { "Checks that failed" } else { "All checks" }, head);
    for group in &section.groups {
        for (k, run) in group.all.iter().enumerate() {
            for check in run.checks.iter().filter(|check| !failed || !check.passed) {
                let result = if check.passed { "passed" } else { "FAILED: the run is void" };
                let mark = if check.passed { Mark::None } else { Mark::Bad };
                let number = (k + 1).to_string();
                let cells = [group.label, &number, &check.name, &check.found, result].map(Cell::from);
                table.rows.push((mark, cells.to_vec()));
            }
        }
    }
    table.rows.sort_by_key(|(mark, _)| *mark != Mark::Bad);
    table
}

/// How many checks there were, and how many failed, in a sentence.
pub fn checks_line(section: &Section<'_>) -> String {
    let runs = section.groups.iter().flat_map(|g| &g.all);
    let (mut count, mut checks, mut failed) = (0, 0, 0);
    for run in runs {
        (count, checks) = (count + 1, checks + run.checks.len());
        failed += run.checks.iter().filter(|check| !check.passed).count();
    }
    match (checks, failed) {
        (0, _) => format!("{count} runs, which did not check themselves."),
        (_, 0) => format!("All {checks} checks of {count} runs passed."),
        _ => format!("{failed} of {checks} checks of {count} runs failed. One that fails makes its run void."),
    }
}

/// The cores that clients ran on.
pub fn clients(section: &Section<'_>) -> Table {
    let head = ["Broker", "Run", "CPU", "Connections", "Busy", "Lag of sends, p99", "Most lag"];
    let mut table = Table::new("Client cores", head);
    for group in &section.groups {
        for (k, run) in group.all.iter().enumerate() {
            for core in &run.load.clients {
                let lag = |v: Option<u64>| told(Unit::Nanos, v.map(|v| v as f64));
                table.row([
                    group.label.to_string(),
                    (k + 1).to_string(),
                    core.cpu.to_string(),
                    core.connections.to_string(),
                    format!("{} %", format::number(core.busy * 100.0)),
                    lag(core.lag.at(99.0)),
                    lag(core.lag.max()),
                ]);
            }
        }
    }
    table
}

/// What is known of the machine and of each broker. Where runs of one side differ, all values are told.
pub fn environment(section: &Section<'_>) -> Table {
    let head = std::iter::once("").chain(section.groups.iter().map(|g| g.label));
    let mut table = Table::new("Environment of each side", head);
    let mut add = |name: &str, of: &dyn Fn(&RunResult) -> Option<String>| {
        let cells: Vec<String> = section
            .groups
            .iter()
            .map(|group| {
                let mut values: Vec<String> =
                    group.all.iter().filter_map(|run| of(run)).filter(|v| !v.is_empty()).collect();
                let mut seen = std::collections::BTreeSet::new();
                values.retain(|v| seen.insert(v.clone()));
                if values.is_empty() { NOTHING.to_string() } else { values.join(" | ") }
            })
            .collect();
        if cells.iter().any(|c| c != NOTHING) {
            table.row(std::iter::once(name.to_string()).chain(cells));
        }
    };
    add("acknowledged when", &|r| Some(r.broker.durability.clone()));
    add("software", &|r| Some(r.broker.software.clone()));
    add("commit", &|r| r.broker.commit.clone());
    add("address", &|r| Some(r.broker.address.clone()));
    add("broker CPUs", &|r| Some(list(&r.broker.cpus)));
    add("client driver", &|r| Some(r.load.driver.clone()));
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in section.groups.iter().flat_map(|g| &g.all).flat_map(|run| &run.environment.facts) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    for name in names {
        add(name, &|r| r.environment.facts.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()));
    }
    add("settings", &|r| {
        Some(r.broker.settings.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("\n"))
    });
    add("command line", &|r| Some(r.broker.command.join(" ")));
    table
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The broker's own times, from its metrics.
pub fn instruments(section: &Section<'_>, names: &[(&str, &str)]) -> Table {
    let head = ["Broker", "Time", "Count", "Mean", "p50 at most", "p99 at most", "p99.9 at most"];
    let mut table =
        Table::new("From the broker's own metrics, in buckets: a percentile is told as the end of its bucket", head);
    for group in &section.groups {
        for (name, words) in names {
            let Some(found) = metrics::histogram(group, name) else { continue };
            let seconds =
                |v: Option<f64>| v.filter(|v| v.is_finite()).map_or(NOTHING.to_string(), |v| format::nanos(v * 1e9));
            table.row([
                group.label.to_string(),
                (*words).to_string(),
                format::number(found.count),
                seconds(found.mean()),
                seconds(found.at_most(50.0)),
                seconds(found.at_most(99.0)),
                seconds(found.at_most(99.9)),
            ]);
        }
    }
    table
}

/// Brokers beside what is possible without one.
pub fn roofline(section: &Section<'_>) -> Table {
    let groups = section.groups.iter();
    let head =
        ["Bound", "Figure", "Bare loop"].map(String::from).into_iter().chain(groups.map(|g| g.label.to_string()));
    let mut table = Table::new("Brokers against the bare loop; beside each value its ratio to the loop's", head);
    for roof in &section.roofs {
        for (figure, bound) in roof.figures.iter().filter_map(|(id, value)| Some((figures::by_id(id)?, *value))) {
            let mut cells =
                vec![roof.name.as_str().into(), figure.name.into(), Cell::from(format::value(figure.unit, bound))];
            cells.extend(section.groups.iter().map(|group| {
                let Some([_, value, _]) = group.spread(figure) else { return NOTHING.into() };
                let more = if bound > 0.0 { format!("{} times", format::number(value / bound)) } else { String::new() };
                Cell { main: format::value(figure.unit, value), more, ..Cell::default() }
            }));
            table.row(cells);
        }
    }
    table
}

/// What the reader must know of a section: warnings, caveats of its runs, and what its figures do not show.
pub fn caveats(section: &Section<'_>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |text: String| {
        if !found.contains(&text) {
            found.push(text);
        }
    };
    section.comparisons.iter().flat_map(|c| &c.warnings).for_each(|w| add(w.clone()));
    for group in &section.groups {
        group.all.iter().flat_map(|run| &run.caveats).for_each(|c| add(format!("{}: {c}", group.label)));
    }
    if section.any(|run| run.broker.pid.is_some()) {
        add("Clients and broker shared one machine: no network between them is in these figures, and the memory bus is shared.".into());
    }
    for group in section.groups.iter().filter(|g| (1..3).contains(&g.valid.len())) {
        add(format!("{}: {} valid run(s) say nothing of how much runs differ.", group.label, group.valid.len()));
    }
    for comparison in &section.comparisons {
        let judged = comparison.rows.iter().filter(|row| row.interval.is_some()).count();
        if judged > 0 {
            let (a, b) = (&comparison.a.label, &comparison.b.label);
            add(format!(
                "Each interval ({a} against {b}) stands for itself: of {judged} figures of two equal brokers, about {} would look \
                 different by chance.",
                format::number((judged as f64 * 0.05).max(0.5).round())
            ));
        }
    }
    if section.any(|run| run.load.publish.latency.max().is_some() || run.load.fetch.latency.max().is_some()) {
        add("A maximum is one sample; a longer run has a larger one.".into());
    }
    let short = Kind::ALL
        .iter()
        .any(|kind| section.groups.iter().any(|g| kind.of(g).max().is_some() && kind.of(g).at(99.99).is_none()));
    if short {
        add("A percentile is told only where at least ten samples lie beyond it; curves end there.".into());
    }
    found
}

/// The void runs of a report, one line each.
pub fn void_runs(sections: &[Section<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for section in sections {
        for group in section.groups.iter().filter(|g| g.void() > 0) {
            for (k, run) in group.all.iter().enumerate().filter(|(_, run)| run.is_void()) {
                let failed = run.checks.iter().filter(|c| !c.passed).map(|c| format!("{}: {}", c.name, c.found));
                let why = failed.collect::<Vec<_>>().join("; ");
                found.push(format!("{}, run {} of {}: {why}", section.workload.name, k + 1, group.label));
            }
        }
    }
    found
}

/// Samples, and the largest, of a histogram in words.
pub fn describe(label: &str, latency: &Latency) -> String {
    let told = PERCENTILES.iter().filter_map(|p| Some((p, latency.at(*p)?)));
    let parts: Vec<String> =
        told.map(|(p, v)| format!("p{} {}", format::percentile(*p), format::nanos(v as f64))).collect();
    let max = latency.max().map_or(String::new(), |m| format!(", maximum {}", format::nanos(m as f64)));
    format!(
        "{label}: {}{max}.",
        if parts.is_empty() { "too few samples for a percentile".into() } else { parts.join(", ") }
    )
}
