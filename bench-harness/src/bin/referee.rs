//! `ringlog-referee`: judges a history that was kept as a file, or hands it to Jepsen. Exits with 0 if it is valid, 1 if it is not,
//! 2 if nobody can say, 3 if it cannot be read.

use ringlog_bench_harness::referee::history::Event;
use ringlog_bench_harness::referee::{Finding, Verdict, jepsen, jsonl, judge};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::process::ExitCode;

const HELP: &str = "ringlog-referee judge FILE.jsonl [--json]
ringlog-referee judge --jepsen FILE.edn [--json]
ringlog-referee export-jepsen FILE.jsonl
ringlog-referee rules

Judges a history of what clients asked of a broker and were told, an event a line, and shows each broken rule with the events it
is about. With --jepsen the history is one of Jepsen's Kafka workload. export-jepsen prints it in that form. rules prints what is
judged.

Exits with 0: valid; 1: invalid; 2: inconclusive; 3: it cannot be read.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|word| *word != "--json").collect();
    let json = words.len() < args.len();
    let done = match words.as_slice() {
        ["judge", "--jepsen", file] | ["judge", file, "--jepsen"] => judge_jepsen(file, json),
        ["judge", file] => judge_file(file, json),
        ["export-jepsen", file] => export(file),
        ["rules"] => {
            for (_, name, promise) in ringlog_bench_harness::referee::rule::RULES {
                println!("{name}: {promise}");
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(HELP.to_string()),
    };
    done.unwrap_or_else(|told| {
        eprintln!("{told}");
        ExitCode::from(3)
    })
}

fn code(verdict: &Verdict) -> ExitCode {
    ExitCode::from(match verdict.finding() {
        Finding::Valid => 0,
        Finding::Invalid => 1,
        Finding::Inconclusive => 2,
    })
}

fn as_json(verdict: &Verdict) -> Result<String, String> {
    let mut value = serde_json::to_value(verdict).map_err(|e| e.to_string())?;
    value["finding"] = serde_json::to_value(verdict.finding()).map_err(|e| e.to_string())?;
    Ok(value.to_string())
}

fn judge_file(path: &str, json: bool) -> Result<ExitCode, String> {
    let open = || File::open(path).map(BufReader::new).map_err(|e| format!("{path}: {e}"));
    let verdict = jsonl::judge(open()?).map_err(|e| format!("{path}: {e}"))?;
    if json {
        println!("{}", as_json(&verdict)?);
        return Ok(code(&verdict));
    }
    // The events were not kept: those that are shown are read once more.
    let lines = lines_at(open()?, &verdict.shown()).map_err(|e| format!("{path}: {e}"))?;
    print!("{}", verdict.explain(|position| lines.get(&position).cloned()));
    Ok(code(&verdict))
}

/// The lines of these events, in order of their numbers.
fn lines_at(input: impl BufRead, positions: &[u64]) -> io::Result<HashMap<u64, String>> {
    let mut found = HashMap::new();
    let mut wanted = positions.iter().copied().peekable();
    let mut position = 0;
    for line in input.lines() {
        let line = line?;
        let Some(next) = wanted.peek() else { break };
        if line.trim().is_empty() {
            continue;
        }
        if *next == position {
            found.insert(position, line);
            wanted.next();
        }
        position += 1;
    }
    Ok(found)
}

fn judge_jepsen(path: &str, json: bool) -> Result<ExitCode, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let history = jepsen::import(&text).map_err(|e| format!("{path}: {e}"))?;
    let verdict = judge(&history);
    match json {
        true => println!("{}", as_json(&verdict)?),
        false => print!("{}", verdict.explain_of(&history)),
    }
    Ok(code(&verdict))
}

fn export(path: &str) -> Result<ExitCode, String> {
    let file = File::open(path).map_err(|e| format!("{path}: {e}"))?;
    let history: io::Result<Vec<Event>> = jsonl::read(BufReader::new(file)).collect();
    print!("{}", jepsen::export(&history.map_err(|e| format!("{path}: {e}"))?));
    Ok(ExitCode::SUCCESS)
}
