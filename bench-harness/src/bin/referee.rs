//! `ringlog-referee`: judges a history that was kept as a file, or hands it to Jepsen. Exits with 0 if it is valid, 1 if it is not,
//! 2 if nobody can say, 3 if it cannot be read.

use ringlog_bench_harness::date::{now_ms, today};
use ringlog_bench_harness::referee::history::Event;
use ringlog_bench_harness::referee::{Finding, Verdict, jepsen, jsonl, judge};
use ringlog_bench_harness::stock::{self, Plan};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "ringlog-referee judge FILE.jsonl [--json]
ringlog-referee judge --jepsen FILE.edn [--json]
ringlog-referee export-jepsen FILE.jsonl
ringlog-referee rules
ringlog-referee trial [--rounds N] [--partitions N] [--seed N] [--result FILE]

Judges a history of what clients asked of a broker and were told, an event a line, and shows each broken rule with the events it
is about. With --jepsen the history is one of Jepsen's Kafka workload. export-jepsen prints it in that form. rules prints what is
judged. trial starts a broker with stock clients that write and read, kills it, stops it and steps its clock, N times (100 unless
told), and judges what the clients were told; --result appends one dated line.

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
        ["trial", options @ ..] => trial(options),
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

fn trial(options: &[&str]) -> Result<ExitCode, String> {
    let mut plan = Plan { rounds: 100, seed: now_ms().unsigned_abs() / 1000, ..Plan::default() };
    let mut result = None;
    for pair in options.chunks(2) {
        let [name, value] = pair else { return Err(HELP.to_string()) };
        let number = || value.parse::<u32>().map_err(|_| format!("{name} {value}: not a number"));
        match *name {
            "--rounds" => plan.rounds = number()?,
            "--partitions" => plan.partitions = i32::try_from(number()?.max(1)).map_err(|e| e.to_string())?,
            "--seed" => plan.seed = value.parse().map_err(|_| format!("{name} {value}: not a number"))?,
            "--result" => result = Some(*value),
            _ => return Err(HELP.to_string()),
        }
    }
    let (rounds, partitions, seed) = (plan.rounds, plan.partitions, plan.seed);
    let about = format!("{} ringlog-referee trial --rounds {rounds} --partitions {partitions} --seed {seed}", today());
    println!("{about}");
    let begun = Instant::now();
    let ran = stock::run(&plan, |round| {
        if round.is_multiple_of(10) {
            println!("{round} of {rounds}");
        }
    });
    let outcome = ran.ok_or("there is no Python")??;
    let (verdict, c) = (&outcome.verdict, &outcome.verdict.counts);
    let line = format!(
        "{about}: {:?}; {} kills, {} pauses, {} clock steps; {} calls, {} unknown; {} records acknowledged, {} read; {} s",
        verdict.finding(),
        outcome.kills,
        outcome.pauses,
        outcome.steps,
        c.calls,
        c.unknown,
        c.acknowledged,
        c.read,
        begun.elapsed().as_secs()
    );
    println!("{line}");
    if verdict.finding() != Finding::Valid {
        println!("the history is {}", outcome.history.display());
        judge_file(&outcome.history.display().to_string(), false)?;
    }
    if let Some(path) = result {
        let file = File::options().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}")).map_err(|e| format!("{path}: {e}"))?;
    }
    Ok(code(verdict))
}
