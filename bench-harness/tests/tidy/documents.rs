//! What the documents say that a program can check: paths that exist, functions that are where a walk says, tables that are
//! what the code's tables are.

use super::{read, root, source};
use ringlog_engine::config::render;
use ringlog_net::api;
use std::collections::BTreeSet;
use std::fmt::Write;

const DOCUMENTS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"];

/// What stands between single backticks, with the number of its line; fenced blocks are left out.
fn quoted(text: &str) -> Vec<(usize, String)> {
    let (mut fenced, mut found) = (false, Vec::new());
    for (k, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2).map(|quote| (k + 1, quote.to_string())));
        }
    }
    found
}

/// What links within the repository point to.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (k, line) in text.lines().enumerate() {
        for part in line.split("](").skip(1) {
            let target = part.split([')', '#']).next().expect("there is a first part");
            if !target.is_empty() && !target.contains("://") {
                found.push((k + 1, target.to_string()));
            }
        }
    }
    found
}

/// True for what is meant as a path of this repository.
fn is_path(text: &str) -> bool {
    let folders = ["engine/", "net/", "shard/", "bench-harness/", "perf-scripts/", "tuning/", "docs/", ".ci/"];
    let plain = !text.contains([' ', '<', '*', '$', '{']);
    plain && (folders.iter().any(|folder| text.starts_with(folder)) || text.ends_with(".rs") || text.ends_with(".md"))
}

#[test]
fn every_path_in_a_document_exists() {
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = read(document);
        let paths = quoted(&text).into_iter().filter(|(_, quote)| is_path(quote));
        for (line, path) in paths.chain(links(&text)) {
            if !root().join(&path).exists() {
                missing.push(format!("{document}:{line}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "paths that are not there:\n{}", missing.join("\n"));
}

/// Rows of a walk: | step | `file.rs` | `name`, `name` | ... |, as (line, file, names).
fn walked(text: &str) -> Vec<(usize, String, Vec<String>)> {
    let mut found = Vec::new();
    for (k, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let cells: Vec<Vec<String>> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| quoted(cell).into_iter().map(|(_, quote)| quote).collect())
            .collect();
        if let Some(at) = cells.iter().position(|quotes| quotes.len() == 1 && quotes[0].ends_with(".rs"))
            && let Some(names) = cells.get(at + 1)
        {
            found.push((k + 1, cells[at][0].clone(), names.clone()));
        }
    }
    found
}

#[test]
fn the_walks_name_what_is_there() {
    let rows = walked(&read("ARCHITECTURE.md"));
    assert!(rows.iter().map(|(_, _, names)| names.len()).sum::<usize>() > 40, "the walks were not found");
    let mut wrong = Vec::new();
    for (line, file, names) in rows {
        let code = source::code_of(&read(&file));
        for name in names {
            let last = name.rsplit("::").next().expect("there is a last part");
            if !source::defines(&code, last) {
                wrong.push(format!("ARCHITECTURE.md:{line}: {name} is not defined in {file}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares the part of the README between two marks with what the code says.
fn holds(mark: &str, expected: &str) {
    let text = read("README.md");
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->"));
    let (_, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("README.md has no {begin}"));
    let (table, _) = rest.split_once(&end).unwrap_or_else(|| panic!("README.md has no {end}"));
    assert!(
        table.trim() == expected.trim(),
        "README.md is not what the code says. Put this between the marks:\n{expected}"
    );
}

#[test]
fn the_readme_has_the_api_table() {
    let mut table = String::from("| API | key | versions |\n|---|---|---|\n");
    for api in api::advertised() {
        let note = if api.advertised_min == api.min { String::new() } else { format!(" (served from {})", api.min) };
        let _ = writeln!(table, "| {} | {} | {} to {}{note} |", api.name, api.key as i16, api.advertised_min, api.max);
    }
    holds("apis", &table);
}

#[test]
fn the_readme_has_the_table_of_our_settings() {
    let mut table = String::from("| setting | default | allowed | changed | meaning |\n|---|---|---|---|---|\n");
    for row in render::rows().iter().filter(|row| row.name.starts_with("ringlog.")) {
        let default = row.default.unwrap_or("unset");
        let _ = writeln!(table, "| `{}` | {default} | {} | {} | {} |", row.name, row.range, row.update, row.meaning);
    }
    holds("settings", &table);
}

#[test]
fn settings_in_documents_exist() {
    let known: BTreeSet<&str> = render::rows().iter().map(|row| row.name).collect();
    let files = ["ringlog.meta", "ringlog.lock", "ringlog.room", "ringlog.tuned"];
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        for (line, quote) in quoted(&read(document)) {
            let name = quote.split('=').next().expect("there is a first part");
            let ours = name.starts_with("ringlog.") && !name.ends_with('.') && !name.contains([' ', '*']);
            if ours && !known.contains(name) && !files.contains(&name) {
                wrong.push(format!("{document}:{line}: {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "settings that are none:\n{}", wrong.join("\n"));
}

#[test]
fn quotes_links_and_walks_are_found() {
    let text = "a `b/c.rs` and [d](e.md#f)\n```\n`no`\n```\n| 1 | `x.rs` | `f`, `S::g` | then |\n";
    let line = |found: Vec<(usize, String)>| found.into_iter().map(|(_, quote)| quote).collect::<Vec<_>>();
    assert_eq!(line(quoted(text)), ["b/c.rs", "x.rs", "f", "S::g"]);
    assert_eq!(line(links(text)), ["e.md"]);
    assert_eq!(walked(text), [(5, "x.rs".to_string(), vec!["f".to_string(), "S::g".to_string()])]);
    assert!(is_path("shard/src/io/") && is_path("README.md") && !is_path("a/b"));
}
