//! `ringlog-crash`: kills a broker under load, many times, and judges what is left each time. Exits with 1 at the first broken rule,
//! with the broker's data kept under `target/tmp`.

use ringlog_bench_harness::crash::{Plan, run};
use ringlog_bench_harness::date::today;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const HELP: &str = "ringlog-crash [--cycles N] [--partitions N] [--idempotent N] [--plain N] [--seed N] [--result FILE] [--override KEY=VALUE]...

Starts a broker, writes to it without pause, kills it (SIGKILL) at random moments and starts it again, N times, and after each
start judges everything that can be read against everything that was acknowledged.

  --cycles N        kills, 1000 unless told
  --partitions N    partitions written to, 4
  --idempotent N    producers with idempotence and acks=all, 3
  --plain N         producers without it, acks=1, 2
  --seed N          where the random choices start; the clock unless told, and printed
  --result FILE     appends one dated line with the result
  --override K=V    a setting for the broker";

/// The command line: a plan and where the result goes.
fn parse(mut args: impl Iterator<Item = String>) -> Result<(Plan, Option<String>), String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?;
    let mut plan = Plan { cycles: 1000, seed: since.as_secs(), ..Plan::default() };
    let mut result = None;
    while let Some(name) = args.next() {
        let value = args.next().ok_or(HELP)?;
        let number = || value.parse::<u32>().map_err(|_| format!("{name} {value}: not a number"));
        match name.as_str() {
            "--cycles" => plan.cycles = number()?,
            "--partitions" => plan.partitions = i32::try_from(number()?.max(1)).map_err(|e| e.to_string())?,
            "--idempotent" => plan.idempotent = number()?,
            "--plain" => plan.plain = number()?,
            "--seed" => plan.seed = value.parse().map_err(|_| format!("{name} {value}: not a number"))?,
            "--result" => result = Some(value),
            "--override" => plan.overrides.push(value),
            _ => return Err(HELP.to_string()),
        }
    }
    Ok((plan, result))
}

fn main() -> ExitCode {
    let (plan, result) = match parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(told) => {
            eprintln!("{told}");
            return ExitCode::from(2);
        }
    };
    let about = format!(
        "{} ringlog-crash --cycles {} --partitions {} --idempotent {} --plain {} --seed {}{}",
        today(),
        plan.cycles,
        plan.partitions,
        plan.idempotent,
        plan.plain,
        plan.seed,
        plan.overrides.iter().map(|o| format!(" --override {o}")).collect::<String>()
    );
    println!("{about}");
    let begun = Instant::now();
    let verdict = run(plan, |cycle, so_far| {
        if cycle.is_multiple_of(10) {
            println!("{cycle}: {so_far:?}");
        }
    });
    let (line, code) = match &verdict {
        Ok(found) => (format!("{about}: nothing lost; {found:?}; {} s", begun.elapsed().as_secs()), ExitCode::SUCCESS),
        Err(fault) => (format!("{about}: {}", fault.lines().next().unwrap_or_default()), ExitCode::FAILURE),
    };
    if let Err(fault) = &verdict {
        eprintln!("{fault}");
    }
    println!("{line}");
    if let Some(path) = result {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        if let Err(e) = file.and_then(|mut file| writeln!(file, "{line}")) {
            eprintln!("{path}: {e}");
            return ExitCode::from(2);
        }
    }
    code
}
