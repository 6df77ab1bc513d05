//! `ringlog-instructions`: how many instructions the request path takes, counted by callgrind (valgrind). Each kind of request is run
//! twice in a process of its own, with some requests and with twice as many: what differs is the requests and nothing else. Counts repeat to
//! the instruction with one compiler on one kind of CPU, so a change of them is a change of the code.

use ringlog_bench_harness::instructions::{SHAPES, Shape, run};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::{Command, ExitCode, Stdio};

const HELP: &str = "ringlog-instructions [--requests N] [--save FILE | --check FILE [--tolerance PERCENT]]
ringlog-instructions --serve KIND N [READY]

Counts the instructions of one request of each kind: read, checked, placed, copied, answered; no sockets, no disk. Needs valgrind
(apt-get install valgrind) and a release build, which is the only one whose counts mean something.

  --requests N      requests counted of each kind, 1000
  --save FILE       writes the counts, with compiler and date
  --check FILE      exits with 1 if a kind takes more than FILE says, by over the tolerance; if FILE is of another compiler, it
                    says so and judges nothing
  --tolerance P     2 (percent)
  --serve KIND N [READY]  makes READY requests ready (N unless told), serves N of them and ends: for callgrind";

/// What is to be done.
#[derive(Debug, Default)]
struct Plan {
    requests: usize,
    save: Option<String>,
    check: Option<String>,
    tolerance: f64,
    /// Kind, requests made ready, requests served.
    serve: Option<(String, usize, usize)>,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut plan = Plan { requests: 1000, tolerance: 2.0, ..Plan::default() };
    while let Some(name) = args.next() {
        let value = args.next().ok_or(HELP)?;
        let wrong = || format!("{name} {value}: not a number");
        match name.as_str() {
            "--requests" => plan.requests = value.parse().map_err(|_| wrong())?,
            "--tolerance" => plan.tolerance = value.parse().map_err(|_| wrong())?,
            "--save" => plan.save = Some(value),
            "--check" => plan.check = Some(value),
            "--serve" => {
                let count = args.next().and_then(|n| n.parse().ok()).ok_or(HELP)?;
                let ready = args.next().map_or(Some(count), |n| n.parse().ok()).ok_or(HELP)?;
                plan.serve = Some((value, ready, count));
            }
            _ => return Err(HELP.to_string()),
        }
    }
    Ok(plan)
}

/// Instructions of a process of ours that serves so many requests.
fn count(shape: Shape, ready: usize, served: usize) -> Result<u64, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let numbers = [served.to_string(), ready.to_string()];
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(exe).args(["--serve", shape.name]);
    let told = valgrind.args(numbers).stdin(Stdio::null()).output();
    let told = told.map_err(|e| format!("valgrind: {e}; it comes with: apt-get install valgrind"))?;
    let text = String::from_utf8_lossy(&told.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.filter(|_| told.status.success()).ok_or_else(|| format!("{valgrind:?}: {}\n{text}", told.status))
}

/// Instructions of one request, by kind.
fn measure(requests: usize) -> Result<BTreeMap<String, u64>, String> {
    let mut counts = BTreeMap::new();
    for shape in SHAPES {
        let (few, many) = (count(shape, 2 * requests, requests)?, count(shape, 2 * requests, 2 * requests)?);
        counts.insert(shape.name.to_string(), (many - few) / requests as u64);
    }
    Ok(counts)
}

/// What the counts hold for: the compiler, the C library, the processor's kind.
fn stands_on() -> String {
    let first = |program: &str, argument: &str| {
        let told = Command::new(program).arg(argument).stderr(Stdio::null()).output().ok();
        let text = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").to_string()
    };
    format!("{}; {}; {}", first("rustc", "--version"), first("ldd", "--version"), std::env::consts::ARCH)
}

/// A file of counts: lines `# stands on: ...` and `KIND COUNT`.
fn read(path: &str) -> Result<(String, BTreeMap<String, u64>), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let stands = text.lines().find_map(|line| line.strip_prefix("# stands on: ")).unwrap_or("unknown").to_string();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let counts = rows.filter_map(|line| {
        let (name, count) = line.split_once(char::is_whitespace)?;
        Some((name.to_string(), count.trim().parse().ok()?))
    });
    Ok((stands, counts.collect()))
}

/// The counts beside those of a file; what grew too much is an error.
fn judge(counts: &BTreeMap<String, u64>, path: &str, tolerance: f64) -> Result<String, String> {
    let (stands, before) = read(path)?;
    if stands != stands_on() {
        return Ok(format!("not judged: {path} is of {stands}, this is {}\n", stands_on()));
    }
    let (mut told, mut grown) = (String::new(), false);
    for (name, count) in counts {
        let Some(was) = before.get(name) else { continue };
        let percent = (*count as f64 / *was as f64 - 1.0) * 100.0;
        grown |= percent > tolerance;
        let _ = writeln!(told, "{name:<26} {count:>8} was {was:>8} ({percent:+.2} %)");
    }
    if grown { Err(format!("{told}more than {tolerance} % more instructions than {path} says")) } else { Ok(told) }
}

fn act(plan: &Plan) -> Result<(), String> {
    if let Some((name, ready, served)) = &plan.serve {
        let shape = SHAPES.iter().find(|shape| shape.name == name.as_str());
        let shape = shape.ok_or_else(|| format!("{name}: one of {}", SHAPES.map(|s| s.name).join(", ")))?;
        println!("{} bytes answered", run(*shape, *ready, *served));
        return Ok(());
    }
    let counts = measure(plan.requests)?;
    let rows: String = counts.iter().fold(String::new(), |text, (name, count)| text + &format!("{name:<26} {count}\n"));
    print!("{rows}");
    if let Some(path) = &plan.save {
        let what = "# Instructions of one request, by callgrind: read, checked, placed, copied, answered; no sockets, no disk.";
        let how = "# Made by: perf-scripts/request-instructions --save FILE";
        let text = format!("{what}\n{how}\n# stands on: {}\n{rows}", stands_on());
        std::fs::write(path, text).map_err(|e| format!("{path}: {e}"))?;
    }
    if let Some(path) = &plan.check {
        print!("{}", judge(&counts, path, plan.tolerance)?);
    }
    Ok(())
}

fn main() -> ExitCode {
    let done = parse(std::env::args().skip(1)).and_then(|plan| act(&plan));
    if let Err(why) = &done {
        eprintln!("{why}");
    }
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
