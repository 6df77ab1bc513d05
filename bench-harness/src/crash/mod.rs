//! kill -9 under load: producers and a committing group write without pause, the broker is killed at random moments and started
//! again, and after each start everything is read back and judged ([`judge`]). What was in flight when the broker died
//! is sent again by idempotent producers, and by nobody else.
//!
//! A process's death is tried here, not a machine's: the page cache survives.

pub mod judge;

use crate::broker::Broker;
use crate::peer::{Peer, Producer, batch};
use judge::{Mark, Partition};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TOPIC: &str = "crash";
const GROUP: &str = "crash-group";
/// Batches a producer has on the way at once: Kafka's own limit for idempotent producers, over all partitions.
const IN_FLIGHT: usize = 5;
/// How long producers may take to get through what was in flight, and readers to see it, after a start.
const RECOVERY: Duration = Duration::from_secs(60);
/// Refusals of one batch in a row before that is a fault: a starting broker may refuse a few times.
const PATIENCE: u32 = 200;

/// What a run is.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often the broker is killed.
    pub cycles: u32,
    /// Partitions of the topic written to.
    pub partitions: i32,
    /// Idempotent producers, acks=all.
    pub idempotent: u32,
    /// Producers without idempotence, acks=1.
    pub plain: u32,
    /// Where the random choices start: the same seed kills after the same pauses.
    pub seed: u64,
    /// Broker settings, `key=value`.
    pub overrides: Vec<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { cycles: 3, partitions: 4, idempotent: 3, plain: 2, seed: 1, overrides: Vec::new() }
    }
}

/// What a run found when nothing was wrong.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Kills, including those that hit a broker while it recovered.
    pub kills: u32,
    /// Records judged.
    pub records: usize,
    /// Offsets committed.
    pub commits: i64,
    /// Slowest start after a kill.
    pub slowest_start: Duration,
}

/// Random numbers for pauses and sizes (xorshift64*).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// What the workers are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Send without pause, through any crash.
    Load,
    /// Finish what is in flight, then stand still.
    Settle,
    /// End.
    End,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Workers that stand still.
    settled: u32,
    partitions: Vec<Partition>,
    /// The last offset that was committed and acknowledged, and the last that was sent.
    committed: (i64, i64),
    /// The first broken rule a worker saw.
    fault: Option<String>,
}

/// Shared by the run's threads; one lock, as nothing here is measured.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    addr: SocketAddr,
}

impl Shared {
    fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        action(&mut self.state.lock().expect("no panic under this lock"))
    }

    fn phase(&self) -> Phase {
        self.with(|s| s.phase)
    }

    fn fault(&self, what: String) {
        self.with(|s| s.fault.get_or_insert(what).len());
    }

    /// Stands still until there is load again; false at the end of the run.
    fn settle(&self) -> bool {
        let mut state = self.state.lock().expect("no panic under this lock");
        state.settled += 1;
        self.changed.notify_all();
        while state.phase == Phase::Settle {
            state = self.changed.wait(state).expect("no panic under this lock");
        }
        state.settled -= 1;
        state.phase != Phase::End
    }

    /// Connects, over and over while the broker is away; `None` at the end of the run.
    fn connect(&self) -> Option<Peer> {
        while self.phase() != Phase::End {
            if let Ok(peer) = Peer::connect(self.addr) {
                return Some(peer);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }
}

/// A batch on its way.
#[derive(Debug)]
struct Sent {
    partition: i32,
    first: Mark,
    count: u64,
    bytes: Vec<u8>,
}

/// One producer's thread.
struct Writer {
    shared: Arc<Shared>,
    number: u32,
    idempotent: bool,
    identity: Option<Producer>,
    random: Random,
    in_flight: VecDeque<Sent>,
    refusals: u32,
}

impl Writer {
    fn run(mut self) {
        while let Some(mut peer) = self.shared.connect() {
            match self.session(&mut peer) {
                Ok(()) => return,
                Err(_) if self.refusals > PATIENCE => {
                    self.shared.fault(format!("producer {} is refused for ever", self.number));
                    return;
                }
                // The broker is gone, or refused: a new connection, and what was in flight again.
                Err(_) if self.idempotent => {}
                Err(_) => self.in_flight.clear(),
            }
        }
    }

    /// Sends and receives until the connection fails, or the run ends (`Ok`).
    fn session(&mut self, peer: &mut Peer) -> io::Result<()> {
        if self.idempotent && self.identity.is_none() {
            self.identity = Some(peer.init_producer()?);
        }
        let acks = if self.idempotent { -1 } else { 1 };
        // One by one: behind a refused batch, a later one could find its partition without memory of this producer.
        while let Some(sent) = self.in_flight.front() {
            peer.send_batch(TOPIC, sent.partition, acks, &sent.bytes)?;
            self.receive(peer)?;
        }
        loop {
            match self.shared.phase() {
                Phase::Load => {
                    while self.in_flight.len() < IN_FLIGHT {
                        let Some(next) = self.next_batch() else { break };
                        // It counts as sent before a byte of it leaves.
                        self.in_flight.push_back(next);
                        let sent = self.in_flight.back().expect("pushed");
                        peer.send_batch(TOPIC, sent.partition, acks, &sent.bytes)?;
                    }
                }
                Phase::Settle if self.in_flight.is_empty() => {
                    if !self.shared.settle() {
                        return Ok(());
                    }
                    continue;
                }
                Phase::Settle => {}
                Phase::End => return Ok(()),
            }
            self.receive(peer)?;
        }
    }

    /// A batch for a partition of chance; none while that partition's very first is on its way, for the reason above.
    fn next_batch(&mut self) -> Option<Sent> {
        let shared = Arc::clone(&self.shared);
        let partitions = shared.with(|s| s.partitions.len());
        let partition = usize::try_from(self.random.below(partitions as u64)).expect("small");
        if self.in_flight.iter().any(|s| usize::try_from(s.partition) == Ok(partition) && s.first.number == 0) {
            return None;
        }
        let count = 1 + self.random.below(8);
        let first = shared.with(|s| s.partitions[partition].sending(self.number, count));
        let partition = i32::try_from(partition).expect("small");
        let mark = |i| Mark { producer: self.number, number: first + i };
        let values: Vec<Vec<u8>> = (0..count).map(|i| mark(i).value(partition)).collect();
        let (identity, sequence) = match self.identity {
            Some(identity) => (identity, i32::try_from(first).expect("under 2^31 records a producer")),
            None => (Producer { id: -1, epoch: -1 }, -1),
        };
        Some(Sent { partition, first: mark(0), count, bytes: batch(identity, sequence, &values) })
    }

    fn receive(&mut self, peer: &mut Peer) -> io::Result<()> {
        match peer.receive_batch()? {
            Ok(offset) => {
                self.refusals = 0;
                let sent = self.in_flight.pop_front().expect("an answer to a batch");
                let partition = usize::try_from(sent.partition).expect("from 0");
                let told = self.shared.with(|s| s.partitions[partition].acknowledged(offset, sent.first, sent.count));
                told.map_err(|fault| {
                    self.shared.fault(fault.clone());
                    io::Error::other(fault)
                })
            }
            Err(code) => {
                self.refusals += 1;
                // A starting broker: not leader yet, unknown yet, not available yet. Not load on it: a short rest.
                std::thread::sleep(Duration::from_millis(5));
                Err(io::Error::other(format!("error code {code}")))
            }
        }
    }
}

/// The thread that commits ever higher offsets for a group.
fn committer(shared: &Shared) {
    while let Some(mut peer) = shared.connect() {
        let mut session = || -> io::Result<()> {
            peer.find_coordinator(GROUP)?;
            loop {
                match shared.phase() {
                    Phase::Load => {}
                    Phase::Settle if shared.settle() => continue,
                    _ => return Ok(()),
                }
                let offset = shared.with(|s| {
                    s.committed.1 += 1;
                    s.committed.1
                });
                peer.commit(GROUP, TOPIC, 0, offset)?;
                shared.with(|s| s.committed.0 = offset);
            }
        };
        if session().is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A run in progress: the broker, its tormentors, and the judge.
struct Run {
    plan: Plan,
    broker: Broker,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    random: Random,
    outcome: Outcome,
}

/// Kills a broker as `plan` says; the first broken rule ends the run, and leaves the data where it is. Panics when the broker does not start.
pub fn run(plan: Plan, mut report: impl FnMut(u32, &Outcome)) -> Result<Outcome, String> {
    let overrides: Vec<&str> = plan.overrides.iter().map(String::as_str).collect();
    let broker = Broker::start("crash", &overrides);
    prepare(broker.addr(), plan.partitions)?;
    let state = State {
        phase: Phase::Load,
        settled: 0,
        partitions: (0..plan.partitions).map(|_| Partition::default()).collect(),
        committed: (-1, -1),
        fault: None,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), addr: broker.addr() });
    let mut run = Run {
        random: Random::new(plan.seed),
        outcome: Outcome { kills: 0, records: 0, commits: 0, slowest_start: Duration::ZERO },
        plan,
        broker,
        shared,
        workers: Vec::new(),
    };
    run.start_workers();
    let mut verdict = Ok(());
    for cycle in 1..=run.plan.cycles {
        verdict = run.cycle();
        if verdict.is_err() {
            break;
        }
        report(cycle, &run.outcome);
    }
    run.end_workers();
    match verdict.and_then(|()| run.read_everything_again()) {
        Ok(()) => Ok(run.outcome),
        Err(fault) => {
            run.broker.keep();
            Err(format!("{fault}\n{}", run.broker.log_tail()))
        }
    }
}

/// Makes the topic and wakes the group's coordinator; a broker that has just started may need a moment.
fn prepare(addr: SocketAddr, partitions: i32) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let tried = Peer::connect(addr).and_then(|mut peer| {
            peer.create_topic(TOPIC, partitions)?;
            peer.find_coordinator(GROUP)?;
            peer.committed(GROUP, TOPIC, 0)
        });
        match tried {
            Ok(_) => return Ok(()),
            Err(e) if begun.elapsed() > RECOVERY => return Err(format!("a fresh broker: {e}")),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

impl Run {
    fn start_workers(&mut self) {
        let plan = &self.plan;
        for number in 0..plan.idempotent + plan.plain {
            let writer = Writer {
                shared: Arc::clone(&self.shared),
                number,
                idempotent: number < plan.idempotent,
                identity: None,
                random: Random::new(plan.seed.wrapping_add(1 + u64::from(number))),
                in_flight: VecDeque::new(),
                refusals: 0,
            };
            self.workers.push(std::thread::spawn(move || writer.run()));
        }
        let shared = Arc::clone(&self.shared);
        self.workers.push(std::thread::spawn(move || committer(&shared)));
    }

    fn set_phase(&self, phase: Phase) {
        self.shared.with(|s| s.phase = phase);
        self.shared.changed.notify_all();
    }

    fn end_workers(&mut self) {
        self.set_phase(Phase::End);
        for worker in self.workers.drain(..) {
            worker.join().expect("a worker does not panic");
        }
    }

    /// Load, a kill, a start (at times with a kill in the middle of it), quiet, judgement.
    fn cycle(&mut self) -> Result<(), String> {
        self.set_phase(Phase::Load);
        // The pauses are the trial: at which moment the broker dies.
        std::thread::sleep(Duration::from_micros(5_000 + self.random.below(300_000)));
        self.broker.kill9();
        self.outcome.kills += 1;
        if self.random.below(4) == 0 {
            self.broker.spawn();
            std::thread::sleep(Duration::from_micros(self.random.below(40_000)));
            self.broker.kill9();
            self.outcome.kills += 1;
        }
        self.outcome.slowest_start = self.outcome.slowest_start.max(self.broker.launch());
        self.set_phase(Phase::Settle);
        self.wait_until_settled()?;
        self.judge()
    }

    fn wait_until_settled(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let workers = u32::try_from(self.workers.len()).expect("few");
        let mut state = self.shared.state.lock().expect("no panic under this lock");
        while state.settled < workers {
            if let Some(fault) = state.fault.take() {
                return Err(fault);
            }
            if begun.elapsed() > RECOVERY {
                return Err(format!("{} of {workers} clients go on after {RECOVERY:?}", state.settled));
            }
            let waited = self.shared.changed.wait_timeout(state, Duration::from_millis(100));
            state = waited.expect("no panic under this lock").0;
        }
        match state.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Reads what came since the last judgement, and the group's offset.
    fn judge(&mut self) -> Result<(), String> {
        let idempotent = self.plan.idempotent;
        let mut peer = Peer::connect(self.shared.addr).map_err(|e| e.to_string())?;
        for partition in 0..self.plan.partitions {
            let index = usize::try_from(partition).expect("from 0");
            let (from, told) = self.shared.with(|s| (s.partitions[index].log.len(), s.partitions[index].told_end()));
            let read = read_from(&mut peer, partition, i64::try_from(from).expect("fits"), told)?;
            self.outcome.records += read.len();
            self.shared.with(|s| s.partitions[index].judge(partition, &read, |producer| producer < idempotent))?;
        }
        let found = in_time("the group's offset", || peer.committed(GROUP, TOPIC, 0))?;
        let (told, sent) = self.shared.with(|s| s.committed);
        self.outcome.commits = told;
        if !(told..=sent).contains(&found) {
            return Err(format!("the group is at {found}; {told} was acknowledged and {sent} sent"));
        }
        Ok(())
    }

    /// At the end: the whole log once more, against what was judged piece by piece.
    fn read_everything_again(&mut self) -> Result<(), String> {
        let mut peer = Peer::connect(self.shared.addr).map_err(|e| e.to_string())?;
        for partition in 0..self.plan.partitions {
            let index = usize::try_from(partition).expect("from 0");
            let judged = self.shared.with(|s| std::mem::take(&mut s.partitions[index].log));
            let read = read_from(&mut peer, partition, 0, i64::try_from(judged.len()).expect("fits"))?;
            if read.len() < judged.len() {
                return Err(format!(
                    "partition {partition}: {} records, {} were read before",
                    read.len(),
                    judged.len()
                ));
            }
            for (mark, (offset, value)) in judged.iter().zip(&read) {
                if Mark::read(value, partition) != Some(*mark) {
                    return Err(format!("partition {partition}: offset {offset} changed since it was read"));
                }
            }
        }
        Ok(())
    }
}

/// Asks until there is an answer: just after a start, a partition or a coordinator may not be there yet.
fn in_time<T>(what: &str, mut ask: impl FnMut() -> io::Result<T>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(found) => return Ok(found),
            // What was damaged stays so.
            Err(e) if e.kind() == io::ErrorKind::InvalidData || begun.elapsed() > RECOVERY => {
                return Err(format!("{what}: {e}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Everything of a partition from `from` to its end, which is at `told` or beyond: readers may see it a moment later than its writer
/// was told, as they see only what is flushed.
fn read_from(peer: &mut Peer, partition: i32, from: i64, told: i64) -> Result<Vec<(i64, Vec<u8>)>, String> {
    let (begun, mut next, mut read) = (Instant::now(), from, Vec::new());
    loop {
        let fetched = in_time(&format!("partition {partition} at {next}"), || peer.fetch(TOPIC, partition, next))?;
        read.extend(fetched.records.into_iter().map(|r| (r.offset, r.value)));
        let end = read.last().map_or(from, |(offset, _)| offset + 1);
        if end == next {
            if end >= fetched.high_watermark && end >= told {
                return Ok(read);
            }
            if begun.elapsed() > RECOVERY {
                let high = fetched.high_watermark;
                return Err(format!(
                    "partition {partition}: read to {end}, high watermark {high}, acknowledged to {told}"
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        next = end;
    }
}
