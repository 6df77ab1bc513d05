//! Stock clients (librdkafka) write and read without pause while their broker is killed and started again, stopped and continued,
//! and its clock is stepped; what they were told is kept as a history and judged by the referee.

use crate::broker::{Broker, Options, target_dir};
use crate::clients::{Driver, Runtime};
use crate::date::now_ms;
use crate::referee::history::{Event, What};
use crate::referee::{Finding, Verdict, jsonl};
use crate::sim::random::Random;
use crate::wall::Wall;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const TOPIC: &str = "history";
/// How long clients may take to go on after a fault.
const RECOVERY: Duration = Duration::from_secs(60);
/// Acknowledged records and read ones between two faults, at least.
const BETWEEN: u64 = 200;

/// What a run is.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Faults.
    pub rounds: u32,
    pub partitions: i32,
    /// Idempotent producers, beside one that is not.
    pub idempotent: u32,
    /// Where the random choices start.
    pub seed: u64,
    /// Broker settings, `key=value`.
    pub overrides: Vec<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { rounds: 3, partitions: 4, idempotent: 2, seed: 1, overrides: Vec::new() }
    }
}

/// What a run did, and what the referee says.
#[derive(Debug)]
pub struct Outcome {
    pub kills: u32,
    pub pauses: u32,
    pub steps: u32,
    pub verdict: Verdict,
    /// Where the history is; removed when it is valid.
    pub history: PathBuf,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Pause,
    Step,
}

struct Run {
    driver: &'static Driver,
    broker: Broker,
    wall: Wall,
    random: Random,
    ahead_s: i64,
}

/// Runs as `plan` says; `None` when there is no Python. An error: clients that do not go on, or fail by themselves.
pub fn run(plan: &Plan, mut report: impl FnMut(u32)) -> Option<Result<Outcome, String>> {
    let driver = Driver::of(Runtime::Python)?;
    let options = Options { overrides: plan.overrides.clone(), ..Options::default() };
    let mut broker = Broker::prepare("stock", options);
    let wall = Wall::of(&mut broker);
    broker.launch();
    let random = Random::stream(plan.seed, "faults");
    let mut run = Run { driver, broker, wall, random, ahead_s: 0 };
    Some(run.whole(plan, &mut report).inspect_err(|_| run.broker.keep()))
}

impl Run {
    fn whole(&mut self, plan: &Plan, report: &mut impl FnMut(u32)) -> Result<Outcome, String> {
        let name = format!("stock-{}-{}.jsonl", std::process::id(), plan.seed);
        let history = target_dir().join("tmp").join(name);
        self.ask(
            "begin",
            json!({
                "bootstrap": self.broker.bootstrap(),
                "path": history.display().to_string(),
                "partitions": plan.partitions,
                "idempotent": plan.idempotent,
            }),
        )?;
        let (mut kills, mut pauses, mut steps) = (0, 0, 0);
        for round in 0..plan.rounds {
            self.go_on()?;
            // The first three are one of each.
            let faults = [Fault::Kill, Fault::Pause, Fault::Step];
            let fault = faults.get(round as usize).copied().unwrap_or_else(|| *self.random.pick(&faults));
            match fault {
                Fault::Kill => kills += self.kill()?,
                Fault::Pause => {
                    self.pause()?;
                    pauses += 1;
                }
                Fault::Step => {
                    self.step()?;
                    steps += 1;
                }
            }
            report(round + 1);
        }
        self.go_on()?;
        self.no_errors(&self.ask("finish", json!({}))?)?;
        self.broker.assert_alive();
        let file = File::open(&history).map_err(|e| e.to_string())?;
        let verdict = jsonl::judge(BufReader::new(file)).map_err(|e| e.to_string())?;
        if verdict.finding() == Finding::Valid {
            std::fs::remove_file(&history).map_err(|e| e.to_string())?;
        } else {
            self.broker.keep();
        }
        Ok(Outcome { kills, pauses, steps, verdict, history })
    }

    fn ask(&self, op: &str, mut args: Value) -> Result<Value, String> {
        args["topic"] = json!(TOPIC);
        self.driver.call("history", op, &args).map_err(|e| format!("{op}: {} {}", e.kind, e.text))
    }

    fn tell(&self, what: What) -> Result<(), String> {
        let event = serde_json::to_value(Event { at: 0, what }).map_err(|e| e.to_string())?;
        self.ask("tell", json!({ "event": event })).map(drop)
    }

    fn fault(&self, what: String) -> Result<(), String> {
        self.tell(What::Fault { what })
    }

    fn no_errors(&self, told: &Value) -> Result<(), String> {
        match told["errors"].as_array() {
            Some(errors) if !errors.is_empty() => {
                Err(format!("clients failed: {}\n{}", told["errors"], self.broker.log_tail()))
            }
            _ => Ok(()),
        }
    }

    /// Waits until something was written and read since.
    fn go_on(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let count = |told: &Value| (told["acknowledged"].as_u64().unwrap_or(0), told["read"].as_u64().unwrap_or(0));
        let first = count(&self.ask("progress", json!({}))?);
        loop {
            let told = self.ask("progress", json!({}))?;
            self.no_errors(&told)?;
            let now = count(&told);
            if now.0 >= first.0 + BETWEEN && now.1 >= first.1 + BETWEEN {
                return Ok(());
            }
            if begun.elapsed() > RECOVERY {
                return Err(format!("clients do not go on: {told}, from {first:?}\n{}", self.broker.log_tail()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// At times again in the middle of the start. How often it was killed.
    fn kill(&mut self) -> Result<u32, String> {
        self.tell(What::Broker { what: "killed (SIGKILL)".to_string() })?;
        self.broker.kill9();
        let mut kills = 1;
        if self.random.one_in(4) {
            self.broker.spawn();
            // The pause is the trial: at which moment of its start it dies.
            std::thread::sleep(Duration::from_micros(self.random.below(40_000)));
            self.broker.kill9();
            kills += 1;
        }
        self.broker.launch();
        self.tell(What::Broker { what: "started".to_string() })?;
        Ok(kills)
    }

    fn pause(&mut self) -> Result<(), String> {
        let for_ms = self.random.between(50, 3000);
        self.fault(format!("stopped (SIGSTOP) for {for_ms} ms"))?;
        self.broker.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(for_ms));
        self.broker.signal(Signal::SIGCONT);
        self.fault("continued (SIGCONT)".to_string())
    }

    /// By up to half an hour from the machine's time, either way: times of records stay within what a topic takes.
    fn step(&mut self) -> Result<(), String> {
        self.ahead_s = i64::try_from(self.random.below(3600)).expect("small") - 1800;
        self.fault(format!("the broker's clock is {} s ahead", self.ahead_s))?;
        self.tell(What::Clock { wall: now_ms() + 1000 * self.ahead_s })?;
        self.wall.set(self.ahead_s);
        Ok(())
    }
}
