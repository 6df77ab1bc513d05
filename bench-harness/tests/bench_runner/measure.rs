//! A run put together from a stand-in load and a real Ringlog: who is measured, what is checked, what is told.

use ringlog_bench_harness::bench::Failure;
use ringlog_bench_harness::bench::brokers::identity::{Durability, FLUSHED, NOT_FLUSHED};
use ringlog_bench_harness::bench::brokers::{Broker, Spec, Wish, own_cpus};
use ringlog_bench_harness::bench::commands::compare::conditioning;
use ringlog_bench_harness::bench::load::{Driver, Event, Options, Outcome, Phase, Target};
use ringlog_bench_harness::bench::measure::{self, Plan, limited_by};
use ringlog_bench_harness::bench::result::{ClientCore, RunResult, Second};
use ringlog_bench_harness::bench::workload::{Acks, Workload};
use ringlog_bench_harness::bench::workloads::{Chosen, find};
use ringlog_bench_harness::broker::{answers, ringlog_binary, target_dir};
use std::path::PathBuf;

fn wish(name: &str, overrides: &[&str]) -> Wish {
    Wish {
        spec: Spec::Ringlog(Some(ringlog_binary().to_path_buf())),
        label: name.to_string(),
        overrides: overrides.iter().map(|o| o.to_string()).collect(),
        cpus: vec![own_cpus()[0]],
        home: target_dir().join("tmp").join(format!("bench-{name}-{}", std::process::id())),
        who: None,
        metrics: None,
        heap: String::new(),
    }
}

fn workload(name: &str) -> Workload {
    find(name, &Chosen::default()).unwrap().workload
}

fn plan(name: &str, durability: Durability, cpu: usize) -> Plan {
    Plan {
        workload: workload(name),
        told: vec!["a field without meaning".to_string()],
        durability,
        options: Options { driver: Driver::Ring, cpus: vec![cpu], seed: 1 },
        command: vec!["ringlog-bench".to_string()],
    }
}

/// A load that asks nothing, with a client core that was idle.
fn idle(asked: &Workload, _: &Target, _: &Options, watch: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, Failure> {
    let second = Second { at: 0, ..Second::default() };
    watch(Event::Phase(Phase::Measure, "measuring"));
    watch(Event::Second(&second));
    watch(Event::Phase(Phase::Finish, "done"));
    let mut outcome = Outcome { caveats: vec![format!("{:?}", asked.topics.config)], ..Outcome::default() };
    outcome.load.clients.push(ClientCore { busy: 0.5, ..ClientCore::default() });
    outcome.load.seconds.push(second);
    Ok(outcome)
}

/// Whether a run has made a check and passed it.
fn passed(run: &RunResult, name: &str) -> bool {
    run.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{:?}", run.checks)).passed
}

#[test]
fn a_run_tells_who_was_measured_and_how() {
    let wish = wish("whole", &["ringlog.log.flush=relaxed"]);
    let home = wish.home.clone();
    let mut broker = Broker::bring(&wish).unwrap();
    let (addr, pid) = (broker.addr, broker.pid.unwrap());
    let other = wish.cpus[0] + 1;
    let mut events = 0;
    let set =
        measure::run(&mut broker, &plan("batches", Durability::AsSet, other), idle, &mut |_| events += 1).unwrap();
    assert_eq!(events, 3);
    assert!(
        passed(&set, "broker on other CPUs than the clients")
            && passed(&set, "closed loop: the broker's CPUs were busy")
    );
    assert_eq!((set.broker.durability.as_str(), set.broker.pid), (NOT_FLUSHED, Some(pid)));
    assert!(set.broker.software.starts_with("Ringlog 0."), "{}", set.broker.software);
    assert_eq!(set.broker.settings["ringlog.log.flush"], "relaxed");
    assert!(set.broker.command.iter().all(|word| !word.contains("tmp/")), "{:?}", set.broker.command);
    assert!(set.broker_use.as_ref().is_some_and(|usage| usage.rss_bytes > 0));
    assert!(set.load.seconds[0].broker_cpu_us.is_some());
    assert!(set.caveats.contains(&"a field without meaning".to_string()), "{:?}", set.caveats);
    assert!(!set.environment.facts.is_empty());
    assert!(serde_json::to_string(&set).is_ok());

    let durable = measure::run(&mut broker, &plan("batches", Durability::Flushed, other), idle, &mut |_| {}).unwrap();
    assert_eq!(durable.broker.durability, FLUSHED);
    assert_eq!(durable.broker.settings["topic: ringlog.flush"], "durable");
    assert_eq!(durable.workload, set.workload, "what is asked is the same, whatever the durability");
    assert!(durable.caveats.iter().any(|c| c.contains("\"ringlog.flush\": \"durable\"")), "the load was told");

    let shared =
        measure::run(&mut broker, &plan("batches", Durability::AsSet, wish.cpus[0]), idle, &mut |_| {}).unwrap();
    assert!(shared.is_void() && !passed(&shared, "broker on other CPUs than the clients"));

    broker.pause().unwrap();
    broker.resume().unwrap();
    assert!(answers(addr).unwrap());
    drop(broker);
    assert!(answers(addr).is_err(), "it ended");
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0, "its data is gone");
    std::fs::remove_dir(home).unwrap();
}

#[test]
fn one_that_runs_is_found_by_its_port() {
    let started = Broker::bring(&wish("found", &[])).unwrap();
    let at = Wish { spec: Spec::At(started.addr.to_string()), ..wish("found", &[]) };
    let found = Broker::bring(&at).unwrap();
    assert_eq!((found.pid, &found.cpus, &found.device), (started.pid, &started.cpus, &started.device));
    assert_eq!(found.log_dir, started.log_dir);
    assert!(!found.is_ours() && found.identity.is_ringlog() && !found.identity.is_kafka());
    let mut acks = workload("steady");
    let of = |w: &Workload| found.identity.durability(w, &Default::default());
    assert_eq!(of(&acks), FLUSHED);
    acks.producers.acks = Acks::Leader;
    assert_eq!(of(&acks), NOT_FLUSHED);
    acks.producers.acks = Acks::None;
    assert_eq!(of(&acks), "nothing is acknowledged");
    assert_eq!(of(&workload("relaxed")), NOT_FLUSHED);
    let home = at.home;
    drop(started);
    std::fs::remove_dir(home).unwrap();
}

#[test]
fn one_that_does_not_start_says_why() {
    let wish = wish("refused", &["process.roles=controller"]);
    let error = Broker::bring(&wish).err().expect("a start that is refused").to_string();
    assert!(error.contains("ended by itself") && error.contains("process.roles"), "{error}");
    assert_eq!(std::fs::read_dir(&wish.home).unwrap().count(), 0, "its data is gone");
    std::fs::remove_dir(&wish.home).unwrap();
}

#[test]
fn clients_at_their_end_void_a_closed_loop() {
    for (broker, client, passed) in [(0.95, 0.99, true), (0.5, 0.5, true), (0.5, 0.95, false), (0.84, 0.9, false)] {
        assert_eq!(limited_by(broker, client).passed, passed, "{broker} {client}");
    }
}

#[test]
fn the_run_that_is_thrown_away_is_short() {
    let short = conditioning(&workload("ramp"), true);
    assert_eq!((short.ramp, short.producers.rate, short.run.seconds), (None, Some(1000.0), 3.0));
    assert_eq!(conditioning(&workload("catch-up"), false).backlog, None);
    assert!(conditioning(&workload("tail-fetch"), false).backlog.is_some(), "it reads that again and again");
}

#[test]
fn brokers_are_named_in_three_ways() {
    let parse = |text: &str| text.parse::<Spec>();
    assert_eq!(parse("127.0.0.1:9092"), Ok(Spec::At("127.0.0.1:9092".to_string())));
    assert_eq!(parse("ringlog"), Ok(Spec::Ringlog(None)));
    assert_eq!(parse("ringlog=/a/old"), Ok(Spec::Ringlog(Some(PathBuf::from("/a/old")))));
    assert_eq!(parse("kafka=3.9.1"), Ok(Spec::Kafka("3.9.1".to_string())));
    assert_eq!(parse("ringlog=/a/old").unwrap().label(), "old");
    for wrong in ["", "redpanda", "host", ":9092", "host:x", "host:70000"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
