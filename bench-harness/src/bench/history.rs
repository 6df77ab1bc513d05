//! `ringlog bench history`: keeps what runs found, one small file each, and shows the trend by commit. The trend is that of ratios
//! against the peer of the same session wherever there was one: times of other days are told, and are not compared.

use super::Failure;
use super::compare::median;
use super::figures::{self, FIGURES, Figure, Unit};
use super::report::charts::Chart;
use super::report::svg::{Axis, Dot, Plot, Scale, Size};
use super::report::tables::{Cell, Table, capital};
use super::report::{self, format, html, text};
use super::result::RunResult;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const FORMAT: u32 = 1;
/// Letters of a commit that are shown.
const SHORT: usize = 9;

/// Keep runs, and show the trend by commit.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where runs are kept.
    #[arg(long, global = true, default_value = "bench-history")]
    pub dir: PathBuf,
    #[command(subcommand)]
    pub what: What,
}

#[derive(clap::Subcommand, Debug)]
pub enum What {
    /// Keep runs that were made in one session.
    Add {
        /// Results (files or folders) of one session.
        #[arg(required = true)]
        results: Vec<PathBuf>,
        /// The broker that the others are compared with. Default: the second in the results.
        #[arg(long)]
        peer: Option<String>,
        /// The commit of the brokers whose results do not say it.
        #[arg(long)]
        commit: Option<String>,
    },
    /// Show the trend in the terminal.
    Show {
        /// Only this workload.
        #[arg(long)]
        workload: Option<String>,
    },
    /// Draw the trend as a page, `history.html` in the folder.
    Html {
        /// Only this workload.
        #[arg(long)]
        workload: Option<String>,
    },
}

/// One run that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub format: u32,
    pub started_ms: i64,
    pub commit: String,
    pub workload: String,
    pub broker: String,
    pub software: String,
    /// Ids of the figures that answer the workload's question.
    pub key: Vec<String>,
    pub figures: BTreeMap<String, f64>,
    /// The broker that was measured beside it.
    pub peer: Option<String>,
    /// Each figure by the peer's, in the runs that were neighbours.
    pub ratios: BTreeMap<String, f64>,
}

impl Kept {
    fn of(run: &RunResult, beside: Option<&RunResult>, commit: &str) -> Kept {
        let told = FIGURES.iter().filter_map(|figure| Some((figure, figure.of(run)?)));
        let figures: BTreeMap<String, f64> = told.map(|(figure, value)| (figure.id.to_string(), value)).collect();
        let ratios = beside.map(|peer| {
            let both = FIGURES.iter().filter_map(|figure| Some((figure, *figures.get(figure.id)?, figure.of(peer)?)));
            let sound = both.filter(|(_, a, b)| *a > 0.0 && *b > 0.0);
            sound.map(|(figure, a, b)| (figure.id.to_string(), a / b)).collect()
        });
        Kept {
            format: FORMAT,
            started_ms: run.started_ms,
            commit: run.broker.commit.clone().unwrap_or_else(|| commit.to_string()),
            workload: run.workload.name.clone(),
            broker: run.broker.label.clone(),
            software: run.broker.software.clone(),
            key: figures::key(&run.workload).iter().map(|figure| figure.id.to_string()).collect(),
            figures,
            peer: beside.map(|peer| peer.broker.label.clone()),
            ratios: ratios.unwrap_or_default(),
        }
    }
}

/// What is kept of a session's runs. Void ones are not; the n-th run of a broker is beside the n-th of its peer.
pub fn kept(runs: &[RunResult], peer: Option<&str>, commit: &str) -> Vec<Kept> {
    let labels = report::labels(runs);
    let peer = peer.map(str::to_string).or_else(|| labels.get(1).cloned());
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut found = Vec::new();
    for run in runs {
        let (workload, broker) = (run.workload.name.as_str(), run.broker.label.as_str());
        let n = counts.entry((workload, broker)).or_default();
        let of_peer =
            |other: &&RunResult| other.workload.name == workload && Some(&other.broker.label) == peer.as_ref();
        let beside =
            runs.iter().filter(of_peer).nth(*n).filter(|other| !other.is_void() && other.broker.label != broker);
        *n += 1;
        if !run.is_void() {
            found.push(Kept::of(run, beside, commit));
        }
    }
    found
}

/// Writes kept runs; one that is there already is written again.
pub fn add(dir: &Path, kept: &[Kept]) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::because(dir.display(), e))?;
    for one in kept {
        let name = format!("{}-{}-{}.json", one.started_ms, report::plain(&one.workload), report::plain(&one.broker));
        let path = dir.join(name);
        let text = serde_json::to_string_pretty(one).map_err(|e| Failure::because(path.display(), e))?;
        std::fs::write(&path, text + "\n").map_err(|e| Failure::because(path.display(), e))?;
    }
    Ok(())
}

fn not_there(dir: &Path, why: std::io::Error) -> Failure {
    match why.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::because(dir.display(), "nothing is kept there yet; `ringlog bench history add RESULTS` does")
        }
        _ => Failure::because(dir.display(), why),
    }
}

/// Reads all that is kept, oldest first.
pub fn read(dir: &Path) -> Result<Vec<Kept>, Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| not_there(dir, e))? {
        let path = entry.map_err(|e| Failure::because(dir.display(), e))?.path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| Failure::because(path.display(), e))?;
        let one: Kept = serde_json::from_str(&text).map_err(|e| Failure::because(path.display(), e))?;
        if one.format > FORMAT {
            return Err(Failure::because(path.display(), "made by a newer version of this program"));
        }
        found.push(one);
    }
    found.sort_by(|a, b| (a.started_ms, &a.workload, &a.broker).cmp(&(b.started_ms, &b.workload, &b.broker)));
    Ok(found)
}

/// One workload on one broker, commit by commit, oldest first.
#[derive(Debug)]
struct Trend<'a> {
    workload: &'a str,
    broker: &'a str,
    commits: Vec<(&'a str, Vec<&'a Kept>)>,
}

/// Brokers that others are compared with have no trend of their own: it is that of their day.
fn trends<'a>(all: &'a [Kept], workload: Option<&str>) -> Vec<Trend<'a>> {
    let is_peer = |one: &Kept| all.iter().any(|o| o.workload == one.workload && o.peer.as_ref() == Some(&one.broker));
    let mut found: Vec<Trend<'a>> = Vec::new();
    for one in all.iter().filter(|one| workload.is_none_or(|w| one.workload == w) && !is_peer(one)) {
        let at = found.iter().position(|t| t.workload == one.workload && t.broker == one.broker).unwrap_or_else(|| {
            found.push(Trend { workload: &one.workload, broker: &one.broker, commits: Vec::new() });
            found.len() - 1
        });
        let commits = &mut found[at].commits;
        match commits.iter_mut().find(|(commit, _)| *commit == one.commit) {
            Some((_, runs)) => runs.push(one),
            None => commits.push((&one.commit, vec![one])),
        }
    }
    found
}

impl Trend<'_> {
    fn runs(&self) -> impl Iterator<Item = &Kept> {
        self.commits.iter().flat_map(|(_, runs)| runs.iter().copied())
    }

    /// Figures worth a column: those that answer the question, where any run tells them.
    fn key(&self) -> Vec<&'static Figure> {
        let ids = self.runs().last().map(|one| one.key.as_slice()).unwrap_or_default();
        let told = |figure: &&Figure| self.runs().any(|one| one.figures.contains_key(figure.id));
        ids.iter().filter_map(|id| figures::by_id(id)).filter(told).collect()
    }

    /// The broker beside it, if it is the same in all runs that had one.
    fn peer(&self) -> Option<&str> {
        let mut peers = self.runs().filter_map(|one| one.peer.as_deref());
        let first = peers.next()?;
        peers.all(|peer| peer == first).then_some(first)
    }

    fn name(&self) -> String {
        format!("{} on {}", self.workload, self.broker)
    }
}

/// Least, median and greatest.
fn spread(values: impl Iterator<Item = f64>) -> Option<[f64; 3]> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    Some([*values.first()?, median(&values), *values.last()?])
}

fn ratios<'a>(runs: &'a [&Kept], figure: &'a Figure) -> impl Iterator<Item = f64> + 'a {
    runs.iter().filter_map(|one| one.ratios.get(figure.id).copied())
}

fn values<'a>(runs: &'a [&Kept], figure: &'a Figure) -> impl Iterator<Item = f64> + 'a {
    runs.iter().filter_map(|one| one.figures.get(figure.id).copied())
}

fn short(commit: &str) -> String {
    commit.chars().take(SHORT).collect()
}

fn trend_table(trend: &Trend<'_>) -> Table {
    let key = trend.key();
    let beside = trend
        .peer()
        .map_or(String::new(), |peer| format!("; after each the ratio to {peer}: median, least to greatest"));
    let caption = format!("{}: medians of the runs of each commit{beside}", trend.name());
    let head = ["Commit", "First run", "Runs"].into_iter().chain(key.iter().map(|figure| figure.name));
    let mut table = Table::new(caption, head);
    for (commit, runs) in &trend.commits {
        let first = runs.first().map_or(0, |one| one.started_ms);
        let mut cells: Vec<Cell> =
            vec![short(commit).into(), format::date(first).into(), runs.len().to_string().into()];
        for figure in &key {
            let main =
                spread(values(runs, figure)).map_or("–".to_string(), |[_, v, _]| format::value(figure.unit, v));
            let more = spread(ratios(runs, figure)).map_or(String::new(), |[least, middle, greatest]| {
                format!("{}; {} to {}", format::ratio(middle), format::ratio(least), format::ratio(greatest))
            });
            cells.push(Cell { main, more, ..Cell::default() });
        }
        table.row(cells);
    }
    table
}

/// The trend of one figure: a dot for each run, a line through the medians.
fn trend_chart(trend: &Trend<'_>, figure: &Figure, k: usize, id: &str) -> Option<Chart> {
    let peer = trend.peer().filter(|_| trend.runs().any(|one| one.ratios.contains_key(figure.id)));
    let of = |runs: &[&Kept]| -> Vec<f64> {
        if peer.is_some() { ratios(runs, figure).collect() } else { values(runs, figure).collect() }
    };
    let all: Vec<Vec<f64>> = trend.commits.iter().map(|(_, runs)| of(runs)).collect();
    if all.iter().all(Vec::is_empty) {
        return None;
    }
    let unit = if peer.is_some() { Unit::Count } else { figure.unit };
    let title = match peer {
        Some(peer) => format!("{}, ratio to {peer}", capital(figure.name)),
        None => capital(figure.name),
    };
    let medians: Vec<(f64, f64)> =
        all.iter().enumerate().filter_map(|(n, v)| Some((n as f64 + 0.5, spread(v.iter().copied())?[1]))).collect();
    let told =
        medians.iter().map(|(x, v)| format!("{} {}", short(trend.commits[*x as usize].0), format::value(unit, *v)));
    let description = format!("Medians by commit: {}.", told.collect::<Vec<_>>().join(", "));
    let draw = |size: Size| {
        let count = trend.commits.len();
        let ticks = trend.commits.iter().enumerate().map(|(n, (commit, _))| (n as f64 + 0.5, short(commit))).collect();
        let x =
            Axis { scale: Scale::Linear { from: 0.0, to: count as f64 }, name: "commit, oldest first".into(), ticks };
        // Where all is far below 1, the trend would be a flat line at the bottom.
        let most = all.iter().flatten().copied().fold(0.0, f64::max);
        let equal = peer.filter(|_| most > 0.5).map(|_| 1.0);
        let reach = [most].into_iter().chain(equal);
        let y = Axis::round(Scale::from_zero(reach), if peer.is_some() { "ratio" } else { "value" }, 5, |v| {
            format::value(unit, v)
        });
        let mut plot = Plot::new(id, &title, &description, size, x, y);
        if equal.is_some() {
            plot.rule(1.0, "one");
        }
        let series = format!("s{}", k % 6);
        plot.line(medians.iter().copied(), &format!("line {series}"));
        for (n, values) in all.iter().enumerate() {
            for (at, value) in values.iter().enumerate() {
                // Beside each other, so that runs of one commit do not hide each other.
                let aside = (at as f64 - (values.len() - 1) as f64 / 2.0) * (0.4 / values.len() as f64);
                plot.dot((n as f64 + 0.5 + aside, *value), &series, Dot::Hollow);
            }
            let told: Vec<String> = values.iter().map(|v| format::value(unit, *v)).collect();
            plot.tell(n as f64 + 0.5, format!("{}: {}", short(trend.commits[n].0), told.join(", ")));
        }
        plot.finish()
    };
    let about = match peer {
        Some(peer) => format!(
            "Each run by the run of {peer} beside it. A dot is a run; the line goes through medians; at 1 they are equal."
        ),
        None => "No peer was measured beside these: times of different days are not to be compared.".to_string(),
    };
    let svgs = Size::BOTH.map(draw).to_vec();
    Some(Chart { part: "Trend", title, about, legend: Vec::new(), svgs, tables: Vec::new() })
}

/// The trend in the terminal.
pub fn show(all: &[Kept], workload: Option<&str>, style: text::Style) -> String {
    let mut out = String::new();
    for trend in trends(all, workload) {
        out.push_str(&text::table(&trend_table(&trend), style));
        for figure in trend.key() {
            let medians: Vec<f64> =
                trend.commits.iter().filter_map(|(_, runs)| Some(spread(ratios(runs, figure))?[1])).collect();
            if let (Some(last), Some(peer), true) = (medians.last(), trend.peer(), medians.len() > 1) {
                let bars = text::sparkline(&medians, 40, style.unicode);
                out.push_str(&format!(" {} / {peer}: {bars} {}\n", figure.name, format::ratio(*last)));
            }
        }
        out.push('\n');
    }
    style.plain(&out)
}

/// The trend as a page.
pub fn page(all: &[Kept], workload: Option<&str>) -> String {
    let mut body = String::from("<header><p class=\"kicker\">ringlog bench</p><h1>History by commit</h1>");
    body.push_str(&format!("<p class=\"soft\">{} runs</p></header><main>", all.len()));
    for (k, trend) in trends(all, workload).iter().enumerate() {
        body.push_str(&format!("<section><h2>{}</h2><div class=\"charts\">", format::escape(&trend.name())));
        for (n, figure) in trend.key().into_iter().enumerate() {
            if let Some(drawn) = trend_chart(trend, figure, k, &format!("t{k}-{n}")) {
                html::chart(&mut body, &drawn);
            }
        }
        body.push_str("</div><h3>Medians</h3>");
        body.push_str(&html::table(&trend_table(trend), "stack"));
        body.push_str("</section>");
    }
    body.push_str("</main><footer>Made by ringlog bench history.</footer>");
    html::document("History by commit", &body)
}

/// `ringlog bench history`.
pub fn command(args: &Args) -> Result<ExitCode, Failure> {
    let dir = &args.dir;
    match &args.what {
        What::Add { results, peer, commit } => {
            let runs = report::load_all(results)?.runs;
            let void = runs.iter().filter(|run| run.is_void()).count();
            let found = kept(&runs, peer.as_deref(), commit.as_deref().unwrap_or("unknown"));
            if void > 0 {
                eprintln!("ringlog bench: {void} VOID runs are not kept");
            }
            if found.is_empty() {
                return Err(Failure("there is no valid run to keep".into()));
            }
            add(dir, &found)?;
            println!("{} runs kept in {}", found.len(), dir.display());
        }
        What::Show { workload } => {
            print!("{}", show(&read(dir)?, workload.as_deref(), text::Style::of_terminal()));
        }
        What::Html { workload } => {
            let path = dir.join("history.html");
            std::fs::write(&path, page(&read(dir)?, workload.as_deref()))
                .map_err(|e| Failure::because(path.display(), e))?;
            println!("{}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
