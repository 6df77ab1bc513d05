//! The page: one file that needs no network and no script. Well-formed as XML too, so that a test can read it strictly. All text
//! goes through [`escape`].

use super::Report;
use super::charts::{self, Chart};
use super::format::{self, escape};
use super::group::{self, Section};
use super::tables::{self, Mark, Table};
use crate::bench::compare::Row;
use crate::bench::workload::Workload;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole report.
pub fn page(report: &Report) -> String {
    let sections = group::sections(report);
    let mut body = String::new();
    let when = report.runs.iter().map(|run| run.started_ms).min().map(format::date).unwrap_or_default();
    let runs = report.runs.len();
    let plural = if runs == 1 { "" } else { "s" };
    let _ = write!(
        body,
        "<header><p class=\"kicker\">ringlog bench</p><h1>{}</h1><p class=\"soft\">{runs} run{plural}, begun {when} UTC</p></header><main>",
        escape(&report.title)
    );
    alarm(&mut body, &tables::void_runs(&sections));
    summary(&mut body, &sections, &report.notes);
    for (k, section) in sections.iter().enumerate() {
        one_section(&mut body, section, &format!("w{k}"));
    }
    body.push_str("</main><footer>Made by ringlog bench. Latencies are from planned send times, merged over clients and runs, never averaged.</footer>");
    document(&report.title, &body)
}

/// A page around a body.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <title>{}</title><style>\n{STYLE}</style></head>\n<body>{body}<script>\n{SCRIPT}</script></body></html>\n",
        escape(title)
    )
}

fn alarm(out: &mut String, void: &[String]) {
    if void.is_empty() {
        return;
    }
    out.push_str("<section class=\"alarm\"><h2>VOID runs</h2><p>These failed their own checks. Nothing below is drawn from them.</p>");
    list(out, "", void);
    out.push_str("</section>");
}

fn list(out: &mut String, class: &str, lines: &[String]) {
    let _ = write!(out, "<ul class=\"{class}\">");
    for line in lines {
        let _ = write!(out, "<li>{}</li>", escape(line));
    }
    out.push_str("</ul>");
}

fn summary(out: &mut String, sections: &[Section<'_>], notes: &[String]) {
    out.push_str("<section><h2>Summary</h2><ul class=\"answers\">");
    for (k, section) in sections.iter().enumerate() {
        let found = tables::headline(section);
        let class = match found.mark {
            Mark::None => "",
            Mark::Good => "good",
            Mark::Bad => "bad",
        };
        let _ = write!(
            out,
            "<li class=\"{class}\"><p class=\"question\">{} <a href=\"#w{k}\">{}</a></p><p class=\"answer\">{}</p>",
            escape(&section.workload.question),
            escape(&section.workload.name),
            escape(&found.main)
        );
        for line in &found.more {
            let _ = write!(out, "<p>{}</p>", escape(line));
        }
        out.push_str("</li>");
    }
    out.push_str("</ul>");
    if !notes.is_empty() {
        list(out, "caveats", notes);
    }
    out.push_str("</section>");
}

fn one_section(out: &mut String, section: &Section<'_>, id: &str) {
    let workload = section.workload;
    let _ = write!(out, "<section id=\"{id}\"><h2>{}</h2>", escape(&workload.name));
    let _ = write!(out, "<p class=\"soft\">{}</p>", escape(&workload.question));
    out.push_str("<h3>Verdict</h3>");
    for comparison in &section.comparisons {
        let first = |row: &Row| tables::comes_first(comparison, row);
        out.push_str(&table(&tables::verdicts(comparison, first), "stack verdicts"));
        details(out, "All other figures", &table(&tables::verdicts(comparison, |row| !first(row)), "stack verdicts"));
    }
    let figures = tables::all_figures(section);
    if section.comparisons.is_empty() && !figures.rows.is_empty() {
        out.push_str(&table(&figures, "stack"));
    }
    let mut part = "";
    for drawn in charts::all(section, id) {
        if drawn.part != part {
            if !part.is_empty() {
                out.push_str("</div>");
            }
            part = drawn.part;
            let _ = write!(out, "<h3>{part}</h3><div class=\"charts\">");
        }
        chart(out, &drawn);
    }
    if !part.is_empty() {
        out.push_str("</div>");
    }
    out.push_str("<h3>Checks of the runs</h3>");
    let _ = write!(out, "<p>{}</p>", escape(&tables::checks_line(section)));
    let failed = tables::checks(section, true);
    if !failed.rows.is_empty() {
        out.push_str(&table(&failed, "stack"));
    }
    details(out, "All checks", &table(&tables::checks(section, false), "stack"));
    details(out, "The cores that clients ran on", &table(&tables::clients(section), ""));
    out.push_str("<h3>Environment</h3>");
    out.push_str(&table(&tables::environment(section), "facts stack"));
    details(out, "The workload", &format!("<pre>{}</pre>", escape(&asked(workload))));
    let caveats = tables::caveats(section);
    if !caveats.is_empty() {
        out.push_str("<h3>What this does not show</h3>");
        list(out, "caveats", &caveats);
    }
    out.push_str("</section>");
}

/// The workload as its file would say it, every field.
fn asked(workload: &Workload) -> String {
    toml::to_string(workload).unwrap_or_else(|e| format!("{workload:#?}\n({e})"))
}

fn details(out: &mut String, summary: &str, inside: &str) {
    let _ = write!(out, "<details><summary>{}</summary>{inside}</details>", escape(summary));
}

/// A chart as a card.
pub fn chart(out: &mut String, chart: &Chart) {
    let _ = write!(out, "<div class=\"card\"><h4>{}</h4>", escape(&chart.title));
    if !chart.about.is_empty() {
        let _ = write!(out, "<p>{}</p>", escape(&chart.about));
    }
    if !chart.legend.is_empty() {
        out.push_str("<ul class=\"legend\">");
        for (class, words) in &chart.legend {
            let key = format!(
                "<svg viewBox=\"0 0 30 12\" aria-hidden=\"true\"><path class=\"{class}\" d=\"M1 6H29\"/></svg>"
            );
            let _ = write!(out, "<li>{key}{}</li>", escape(words));
        }
        out.push_str("</ul>");
    }
    chart.svgs.iter().for_each(|svg| out.push_str(svg));
    for data in &chart.tables {
        details(out, "The figures", &table(data, ""));
    }
    out.push_str("</div>");
}

/// A table as markup; with the class `stack` a narrow screen shows each row as a list.
pub fn table(table: &Table, class: &str) -> String {
    let mut out = format!(
        "<div class=\"scroll\"><table class=\"{class}\"><caption>{} {}</caption><thead><tr>",
        escape(&table.caption),
        escape(&table.drawn)
    );
    for head in &table.head {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(head));
    }
    out.push_str("</tr></thead><tbody>");
    for (mark, cells) in &table.rows {
        let class = match mark {
            Mark::None => "",
            Mark::Good => " class=\"good\"",
            Mark::Bad => " class=\"bad\"",
        };
        let _ = write!(out, "<tr{class}>");
        for (k, cell) in cells.iter().enumerate() {
            let (open, close) = if k == 0 { ("<th scope=\"row\"", "</th>") } else { ("<td", "</td>") };
            let name = table.head.get(k).map_or("", String::as_str);
            let _ = write!(out, "{open} data-label=\"{}\">", escape(name));
            let more =
                if cell.more.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(&cell.more)) };
            let words = format!("{}{more}", escape(&cell.main));
            if cell.picture.is_empty() {
                out.push_str(&words);
            } else {
                let _ = write!(out, "<div class=\"pictured\"><span>{words}</span>{}</div>", cell.picture);
            }
            out.push_str(close);
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}
