//! Which charts a workload's section has, drawn from its runs. Each comes with a legend, a sentence that says how to read it, and the
//! table of its data.

use super::format;
use super::group::{Group, Kind, Section, curve, place};
use super::metrics;
use super::svg::{self, Axis, Bar, Bars, Dot, Plot, Scale, Size};
use super::tables::{self, Table, capital};
use crate::bench::figures;
use crate::bench::result::{RunResult, Second};

/// A chart with what stands around it.
#[derive(Debug)]
pub struct Chart {
    /// The heading it stands under.
    pub part: &'static str,
    pub title: String,
    pub about: String,
    /// A class of strokes or fills, and what it is.
    pub legend: Vec<(String, String)>,
    /// Wide and narrow.
    pub svgs: Vec<String>,
    pub tables: Vec<Table>,
}

/// Histograms of the broker's own metrics that are shown, by name and in words.
pub const INSTRUMENTS: [(&str, &str); 3] = [
    ("ringlog_flush_seconds", "flush of a commit"),
    ("ringlog_commit_write_seconds", "write of a commit"),
    ("ringlog_turn_seconds", "turn of the loop"),
];

/// Strokes of the k-th broker.
fn series(k: usize) -> String {
    format!("s{0} d{0}", k % 6)
}

/// All charts of a section. `id` makes their names unique in the page.
pub fn all(section: &Section<'_>, id: &str) -> Vec<Chart> {
    let mut charts = Vec::new();
    let mut add = |chart: Option<Chart>| charts.extend(chart);
    let by_percentile = |kind: Kind| percentiles(section, kind, &format!("{id}-p-{}", kind.name()));
    add(by_percentile(Kind::Publish));
    add(by_percentile(Kind::EndToEnd));
    let groups: Vec<_> = section.groups.iter().enumerate().filter_map(|(k, g)| Some((k, g, g.typical()?))).collect();
    let most = latency_scale(groups.iter().map(|(.., run)| *run));
    for (k, group, run) in &groups {
        add(latency_over_time(*k, group, run, most, &format!("{id}-t{k}")));
    }
    add(by_percentile(Kind::Fetch));
    add(throughput_over_time(section, &format!("{id}-rate")));
    add(throughput_against_latency(section, &format!("{id}-tl")));
    add(cost(section, &format!("{id}-cpu")));
    add(resources(section, &format!("{id}-res")));
    for (k, (name, words)) in INSTRUMENTS.iter().enumerate() {
        add(instrument(section, name, words, &format!("{id}-m{k}")));
    }
    add(roofline(section, &format!("{id}-roof")));
    charts
}

fn legend_of(section: &Section<'_>) -> Vec<(String, String)> {
    let groups = section.groups.iter().enumerate().filter(|(_, g)| !g.valid.is_empty());
    groups.map(|(k, g)| (format!("line {}", series(k)), g.label.to_string())).collect()
}

fn nanos_axis(scale: Scale, size: Size) -> Axis {
    let about = if size == Size::Wide { 6 } else { 5 };
    Axis::round(scale, "latency, logarithmic", about, format::nanos)
}

fn percentiles(section: &Section<'_>, kind: Kind, id: &str) -> Option<Chart> {
    let curves: Vec<_> = section.groups.iter().map(|g| curve(kind.of(g))).collect();
    let end = curves.iter().flatten().map(|p| p.0).fold(0.0, f64::max);
    if curves.iter().all(Vec::is_empty) {
        return None;
    }
    // Beyond the curves there is room for the maxima.
    let reach = end.max(1.0) * 1.09;
    let maxima: Vec<Option<f64>> = section.groups.iter().map(|g| kind.of(g).max().map(|v| v as f64)).collect();
    let values = curves.iter().flatten().map(|p| p.1).chain(maxima.iter().flatten().copied());
    let scale = Scale::log(values);
    let title = format!("{} latency by percentile", capital(kind.name()));
    let description: Vec<String> = section.groups.iter().map(|g| tables::describe(g.label, kind.of(g))).collect();
    let draw = |size: Size| {
        let mut ticks: Vec<(f64, String)> = [50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999]
            .into_iter()
            .filter(|p| place(*p) <= end + 0.01)
            .map(|p| (place(p), format!("{} %", format::percentile(p))))
            .collect();
        ticks.push((reach, "max".to_string()));
        let x = Axis { scale: Scale::Linear { from: 0.0, to: reach }, name: "percentile".into(), ticks };
        let mut plot = Plot::new(id, &title, &description.join(" "), size, x, nanos_axis(scale, size));
        for (k, group) in section.groups.iter().enumerate() {
            if group.valid.len() > 1 {
                let runs = group.valid.iter().map(|run| curve(kind.of_run(run)));
                runs.for_each(|points| plot.line(points, &format!("line thin s{}", k % 6)));
            }
        }
        for (k, points) in curves.iter().enumerate() {
            plot.line(points.iter().copied(), &format!("line {}", series(k)));
            if let Some(max) = maxima[k] {
                plot.peak((reach, max), &format!("s{}", k % 6));
            }
        }
        let steps = (end * 10.0).ceil() as usize;
        for step in 0..=steps {
            let x = (step as f64 / 10.0).min(end);
            plot.tell(x, hit(section, kind, 100.0 * (1.0 - 10f64.powf(-x))));
        }
        plot.finish()
    };
    let mut legend = legend_of(section);
    if section.groups.iter().any(|g| g.valid.len() > 1) {
        legend.push(("line thin".into(), "single runs".into()));
    }
    Some(Chart {
        part: "Latency",
        about: format!("{} All runs merged. The triangle is the maximum.", kind.about()),
        svgs: Size::BOTH.map(draw).to_vec(),
        tables: vec![tables::percentiles(section, kind)],
        legend,
        title,
    })
}

fn hit(section: &Section<'_>, kind: Kind, percentile: f64) -> String {
    let values = section.groups.iter().filter_map(|g| Some((g.label, kind.of(g).at(percentile)?)));
    let parts: Vec<String> = values.map(|(label, v)| format!("{label} {}", format::nanos(v as f64))).collect();
    let shown = (percentile * 1e4).floor() / 1e4;
    format!("{} %: {}", format::percentile(shown), parts.join(", "))
}

/// Latencies of a second: those of publishing, or of end-to-end where nobody writes.
type Of = (fn(&Second) -> u64, &'static str, &'static str);

const PUBLISH: [Of; 3] = [
    (|s| s.publish_p50, "p50", "line dash"),
    (|s| s.publish_p99, "p99", "line"),
    (|s| s.publish_max, "maximum", "line dots"),
];
const END_TO_END: [Of; 3] = [
    (|s| s.end_to_end_p50, "p50", "line dash"),
    (|s| s.end_to_end_p99, "p99", "line"),
    (|s| s.end_to_end_max, "maximum", "line dots"),
];

fn lines_of(run: &RunResult) -> (&'static [Of; 3], &'static str) {
    if run.load.seconds.iter().any(|s| s.publish_max > 0) { (&PUBLISH, "Publish") } else { (&END_TO_END, "End-to-end") }
}

/// One scale for all brokers, so that their charts compare.
fn latency_scale<'a>(runs: impl Iterator<Item = &'a RunResult>) -> Scale {
    let values = runs.flat_map(|run| {
        let lines = lines_of(run).0;
        run.load.seconds.iter().flat_map(move |s| lines.iter().map(move |(of, ..)| of(s) as f64 * 1e3))
    });
    Scale::log(values)
}

fn latency_over_time(k: usize, group: &Group<'_>, run: &RunResult, scale: Scale, id: &str) -> Option<Chart> {
    let (lines, name) = lines_of(run);
    let seconds = &run.load.seconds;
    if seconds.len() < 2 || seconds.iter().all(|s| lines[2].0(s) == 0) {
        return None;
    }
    let title = format!("{}: {} latency over time", group.label, name.to_lowercase());
    let worst = seconds.iter().filter(|s| !s.warmup).max_by_key(|s| lines[2].0(s));
    let description = worst.map_or(String::new(), |s| {
        format!("The slowest answer, {}, came in second {}.", format::nanos(lines[2].0(s) as f64 * 1e3), s.at)
    });
    let draw = |size: Size| {
        let mut plot = Plot::new(id, &title, &description, size, time_axis(seconds), nanos_axis(scale, size));
        shade_warmup(&mut plot, seconds);
        for (of, _, class) in lines {
            let value = |s: &Second| if of(s) == 0 { f64::NAN } else { of(s) as f64 * 1e3 };
            plot.line(seconds.iter().map(|s| (f64::from(s.at), value(s))), &format!("{class} s{}", k % 6));
        }
        for s in seconds {
            let told: Vec<String> =
                lines.iter().map(|(of, name, _)| format!("{name} {}", format::nanos(of(s) as f64 * 1e3))).collect();
            plot.tell(f64::from(s.at), format!("second {}: {}", s.at, told.join(", ")));
        }
        plot.finish()
    };
    let which = if group.valid.len() > 1 { "The run in the middle by its p99. " } else { "" };
    let warm = if seconds.iter().any(|s| s.warmup) { " Warm-up is shaded and counts nowhere else." } else { "" };
    Some(Chart {
        part: "Latency",
        about: format!("{which}Each second by itself.{warm}"),
        legend: lines.iter().map(|(_, name, class)| (format!("{class} s{}", k % 6), (*name).to_string())).collect(),
        svgs: Size::BOTH.map(draw).to_vec(),
        tables: vec![tables::seconds(group.label, run)],
        title,
    })
}

fn time_axis(seconds: &[Second]) -> Axis {
    let last = seconds.iter().map(|s| s.at).max().unwrap_or(1).max(1);
    let scale = Scale::Linear { from: 0.0, to: f64::from(last) };
    Axis::round(scale, "seconds since the run began", 8, format::number)
}

fn shade_warmup(plot: &mut Plot, seconds: &[Second]) {
    if let Some(end) = seconds.iter().filter(|s| s.warmup).map(|s| s.at).max() {
        plot.shade(0.0, f64::from(end) + 0.5, "warmup");
        plot.word(0.0, "warm-up");
    }
}

fn throughput_over_time(section: &Section<'_>, id: &str) -> Option<Chart> {
    let writes = section.any(|run| run.load.seconds.iter().any(|s| s.acked_records > 0));
    let of = |s: &Second| if writes { s.acked_records as f64 } else { s.read_records as f64 };
    let typical: Vec<_> = section.groups.iter().enumerate().filter_map(|(k, g)| Some((k, g, g.typical()?))).collect();
    let longest = typical.iter().map(|(.., run)| &run.load.seconds).max_by_key(|s| s.len())?;
    if longest.len() < 2 || typical.iter().all(|(.., run)| run.load.seconds.iter().all(|s| of(s) == 0.0)) {
        return None;
    }
    let scale = Scale::from_zero(section.groups.iter().flat_map(|g| &g.valid).flat_map(|r| &r.load.seconds).map(of));
    let what = if writes { "acknowledged" } else { "read" };
    let title = format!("Records {what} over time");
    let description: Vec<String> = typical
        .iter()
        .map(|(_, g, run)| {
            let counted: Vec<f64> = run.load.seconds.iter().filter(|s| !s.warmup).map(of).collect();
            let mean = counted.iter().sum::<f64>() / counted.len().max(1) as f64;
            format!("{}: {} a second in the mean.", g.label, format::count(mean))
        })
        .collect();
    let draw = |size: Size| {
        let y = Axis::round(scale, "records a second", 5, format::count);
        let mut plot = Plot::new(id, &title, &description.join(" "), size, time_axis(longest), y);
        shade_warmup(&mut plot, longest);
        for (k, group, run) in &typical {
            for other in group.valid.iter().filter(|other| !std::ptr::eq(**other, *run)) {
                let points = other.load.seconds.iter().map(|s| (f64::from(s.at), of(s)));
                plot.line(points, &format!("line thin s{}", k % 6));
            }
            let points = run.load.seconds.iter().map(|s| (f64::from(s.at), of(s)));
            plot.line(points, &format!("line {}", series(*k)));
        }
        for (n, second) in longest.iter().enumerate() {
            let told = typical.iter().filter_map(|(_, g, run)| Some((g.label, of(run.load.seconds.get(n)?))));
            let told: Vec<String> = told.map(|(label, v)| format!("{label} {}", format::count(v))).collect();
            plot.tell(f64::from(second.at), format!("second {}: {}", second.at, told.join(", ")));
        }
        plot.finish()
    };
    let legend = legend_of(section);
    Some(Chart {
        part: "Throughput",
        about: "The run in the middle of each broker; the others thin.".into(),
        svgs: Size::BOTH.map(draw).to_vec(),
        tables: Vec::new(),
        legend,
        title,
    })
}

/// Steps of a ramp; or the runs themselves, where they went as fast as they could.
fn throughput_against_latency(section: &Section<'_>, id: &str) -> Option<Chart> {
    let ramp = section.workload.ramp.as_ref();
    let percentile = ramp.map_or(99.0, |r| r.percentile);
    let closed = section.workload.producers.count > 0 && section.workload.producers.rate.is_none();
    if ramp.is_none() && !closed {
        return None;
    }
    // Rate, latency, whether the goal was kept.
    let points = |run: &RunResult| -> Vec<(f64, f64, bool)> {
        if ramp.is_some() {
            let told = run.load.ramp.iter().filter_map(|s| Some((s.acked, s.publish.at(percentile)? as f64, s.kept)));
            let mut told: Vec<_> = told.collect();
            told.sort_by(|a, b| a.0.total_cmp(&b.0));
            return told;
        }
        let rate = figures::by_id("acked_rate").and_then(|figure| figure.of(run));
        rate.zip(run.load.publish.latency.at(percentile)).map(|(rate, v)| (rate, v as f64, true)).into_iter().collect()
    };
    let all: Vec<_> = section.groups.iter().flat_map(|g| &g.valid).flat_map(|run| points(run)).collect();
    if all.is_empty() {
        return None;
    }
    let goal = ramp.map(|r| r.latency_ms * 1e6);
    let name = format!("p{}", format::percentile(percentile));
    let title = format!("Throughput against publish {name}");
    let description = tables::headline(section).main;
    let y = Scale::log(all.iter().map(|p| p.1).chain(goal));
    let x = Scale::from_zero(all.iter().map(|p| p.0));
    let draw = |size: Size| {
        let about = if size == Size::Wide { 7 } else { 4 };
        let axis = Axis::round(x, "records acknowledged a second", about, format::count);
        let mut plot = Plot::new(id, &title, &description, size, axis, nanos_axis(y, size));
        if let Some(goal) = goal {
            plot.rule(goal, "goal");
        }
        for (k, group) in section.groups.iter().enumerate() {
            for run in &group.valid {
                let found = points(run);
                plot.line(found.iter().map(|p| (p.0, p.1)), &format!("line thin s{}", k % 6));
                for (rate, latency, kept) in found {
                    plot.dot((rate, latency), &format!("s{}", k % 6), if kept { Dot::Full } else { Dot::Hollow });
                }
            }
        }
        plot.finish()
    };
    let mut legend = legend_of(section);
    if goal.is_some() {
        legend.push(("goal".into(), format!("the goal: {name} of {}", format::nanos(goal.unwrap_or(0.0)))));
    }
    let about = if ramp.is_some() {
        "Each step of the ramp. Full dots kept the goal, hollow ones missed it."
    } else {
        "Each run."
    };
    let tables = if ramp.is_some() { vec![tables::ramp(section)] } else { Vec::new() };
    Some(Chart { part: "Throughput", about: about.into(), svgs: Size::BOTH.map(draw).to_vec(), tables, legend, title })
}

/// Bars of some figures; None where no run tells any.
fn bars(section: &Section<'_>, id: &str, title: &str, ids: &[&str]) -> Option<Chart> {
    let mut groups = Vec::new();
    for figure in ids.iter().filter_map(|id| figures::by_id(id)) {
        let bars: Vec<Bar> = section
            .groups
            .iter()
            .enumerate()
            .filter_map(|(k, group)| {
                let [least, value, greatest] = group.spread(figure)?;
                let text = format::value(figure.unit, value);
                Some(Bar { label: group.label.to_string(), class: format!("s{}", k % 6), value, least, greatest, text })
            })
            .collect();
        if !bars.is_empty() {
            groups.push(Bars { name: capital(figure.name), bars });
        }
    }
    chart_of_bars("Cost", id, title, MEDIAN, &groups)
}

fn chart_of_bars(part: &'static str, id: &str, title: &str, about: &str, groups: &[Bars]) -> Option<Chart> {
    if groups.is_empty() {
        return None;
    }
    let told = groups.iter().map(|g| {
        let bars: Vec<String> = g.bars.iter().map(|b| format!("{} {}", b.label, b.text)).collect();
        format!("{}: {}.", g.name, bars.join(", "))
    });
    let description = told.collect::<Vec<_>>().join(" ");
    Some(Chart {
        part,
        title: title.to_string(),
        about: about.to_string(),
        legend: Vec::new(),
        svgs: Size::BOTH.map(|size| svg::bars(id, title, &description, size, groups)).to_vec(),
        tables: Vec::new(),
    })
}

const MEDIAN: &str = "Median of the runs; the line spans least to greatest. Each figure has its own scale, from zero.";

fn cost(section: &Section<'_>, id: &str) -> Option<Chart> {
    let ids = ["cpu_per_request", "cpu_per_record", "cpu_per_byte", "cpu_cores"];
    bars(section, id, "CPU time of the broker", &ids)
}

fn resources(section: &Section<'_>, id: &str) -> Option<Chart> {
    let ids = ["device_per_byte", "process_per_byte", "device_flushes_rate", "switches_per_request", "peak_rss"];
    bars(section, id, "Device, context switches, memory", &ids)
}

fn roofline(section: &Section<'_>, id: &str) -> Option<Chart> {
    let mut groups: Vec<Bars> = Vec::new();
    for roof in &section.roofs {
        for (figure, bound) in roof.figures.iter().filter_map(|(id, value)| Some((figures::by_id(id)?, *value))) {
            let flat = |label: &str, class: String, [least, value, greatest]: [f64; 3]| {
                let text = format::value(figure.unit, value);
                Bar { label: label.to_string(), class, value, least, greatest, text }
            };
            let mut bars = vec![flat("bare loop", "roof".into(), [bound; 3])];
            let brokers = section.groups.iter().enumerate();
            bars.extend(brokers.filter_map(|(k, g)| Some(flat(g.label, format!("s{}", k % 6), g.spread(figure)?))));
            groups.push(Bars { name: format!("{}: {}", capital(figure.name), roof.name), bars });
        }
    }
    let about = "The bare loop receives, checks, writes and answers the same bytes and does nothing else: what this machine could do.";
    let mut chart = chart_of_bars("Against the bare loop", id, "Brokers against the bare loop", about, &groups)?;
    chart.tables.push(tables::roofline(section));
    Some(chart)
}

/// One of the broker's own histograms: shares of samples by bucket.
fn instrument(section: &Section<'_>, name: &str, words: &str, id: &str) -> Option<Chart> {
    let found: Vec<_> =
        section.groups.iter().enumerate().filter_map(|(k, g)| Some((k, g, metrics::histogram(g, name)?))).collect();
    if found.is_empty() {
        return None;
    }
    let finite = |v: &f64| v.is_finite() && *v > 0.0;
    let used = found.iter().flat_map(|(.., b)| b.counts.iter().filter(|(_, count)| *count > 0.0).map(|(end, _)| *end));
    let ends: Vec<f64> = used.filter(finite).map(|end| end * 1e9).collect();
    let shares = found.iter().flat_map(|(.., b)| b.counts.iter().map(|(_, count)| count / b.count * 100.0));
    let y = Scale::from_zero(shares);
    let x = Scale::log(ends.iter().flat_map(|end| [*end, end / 2.0]));
    let title = format!("{}, by the broker's own metrics", capital(words));
    let description: Vec<String> = found
        .iter()
        .map(|(_, g, b)| {
            format!(
                "{}: {} in the mean of {}.",
                g.label,
                format::nanos(b.mean().unwrap_or(0.0) * 1e9),
                format::count(b.count)
            )
        })
        .collect();
    let only = found.len() == 1;
    let draw = |size: Size| {
        let about = if size == Size::Wide { 7 } else { 4 };
        let xaxis = Axis::round(x, "time, logarithmic", about, format::nanos);
        let yaxis = Axis::round(y, "share of all", 5, |v| format!("{} %", format::number(v)));
        let mut plot = Plot::new(id, &title, &description.join(" "), size, xaxis, yaxis);
        for (k, _, buckets) in &found {
            let mut from = None;
            let mut outline = Vec::new();
            for (end, count) in buckets.counts.iter().filter(|(end, _)| finite(end)) {
                let (end, share) = (end * 1e9, count / buckets.count * 100.0);
                let start = from.unwrap_or(end / 2.0);
                if only && *count > 0.0 {
                    plot.column(start, end, share, &format!("bar s{}", k % 6));
                }
                outline.extend([(start, share), (end, share)]);
                from = Some(end);
            }
            if !only {
                let Scale::Log { from, to } = x else { continue };
                let inside = outline.into_iter().filter(|(v, _)| *v >= from * 0.99 && *v <= to * 1.01);
                plot.line(inside, &format!("line {}", series(*k)));
            }
        }
        plot.finish()
    };
    let legend = found.iter().map(|(k, g, _)| (format!("line {}", series(*k)), g.label.to_string())).collect();
    let tables = vec![tables::instruments(section, &[(name, words)])];
    Some(Chart {
        part: "Inside the broker",
        about: "All cores and runs together; a column is a bucket.".into(),
        svgs: Size::BOTH.map(draw).to_vec(),
        tables,
        legend,
        title,
    })
}
