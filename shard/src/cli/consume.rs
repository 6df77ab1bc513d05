//! `ringlog consume`: records from topics to standard output, from a position or as a member of a group.
//! One thread fetches, prints, and sends the group's heartbeats in between.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use ringlog_engine::ErrorCode;
use ringlog_net::cold::messages::FetchRequest;
use ringlog_net::cold::messages::fetch_request::{FetchPartition, FetchTopic};

use super::Broker;
use super::client::{Client, Node, Trouble, topic_name};
use super::format::{self, Format};
use super::member::{Assignment, Member, Partition, committed};
use super::output::Failure;
use super::records;
use super::time;
use super::topic::{EARLIEST, LATEST, offsets_at};

/// How long a broker may hold back a fetch when there is nothing new. Also how late a signal may be noticed.
const MAX_WAIT_MS: i32 = 500;
const MAX_BYTES: i32 = 16 << 20;
const PARTITION_MAX_BYTES: i32 = 4 << 20;
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// After a first Ctrl-C: how long the last commit and the farewell to the group may take.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Print records from topics.
///
/// Without --group it starts at the end unless told otherwise, and commits nothing.
#[derive(Args, Debug)]
#[command(after_help = format!("Formats: {}.", format::HELP))]
pub(super) struct ConsumeArgs {
    /// One or more topics.
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Only these partitions; all of them if left out.
    #[arg(long, short, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Start at an offset; -N is N records before the end.
    #[arg(long, short, value_name = "earliest|latest|N|-N", allow_hyphen_values = true, value_parser = start_offset)]
    offset: Option<Start>,
    /// Start at the first record kept; with --group, only where the group has committed nothing.
    #[arg(long, conflicts_with_all = ["offset", "from_time"])]
    from_beginning: bool,
    /// Start at the first record at or after this time: 2026-05-01T12:00:00Z, milliseconds, or how long ago (2h).
    #[arg(long, value_name = "TIME", conflicts_with = "offset")]
    from_time: Option<String>,
    /// Read as a member of this group, and commit what was printed.
    #[arg(long, short, conflicts_with_all = ["partition", "offset", "from_time"])]
    group: Option<String>,
    /// Stop after so many records.
    #[arg(long, short = 'n', value_name = "N")]
    max_messages: Option<u64>,
    /// Stop at the end of the log as it is at the start.
    #[arg(long, short)]
    exit: bool,
    /// How to print a record; see below.
    #[arg(long, short, default_value = "%v\\n", value_parser = Format::parse)]
    format: Format,
    /// One JSON object a line; `ringlog produce --json` reads it.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Earliest,
    Latest,
    At(i64),
    BeforeEnd(i64),
    Time(i64),
}

fn start_offset(text: &str) -> Result<Start, String> {
    match text {
        "earliest" | "beginning" => return Ok(Start::Earliest),
        "latest" | "end" => return Ok(Start::Latest),
        _ => {}
    }
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Ok(Start::BeforeEnd(n.saturating_neg())),
        Ok(n) => Ok(Start::At(n)),
        Err(_) => Err("expected earliest, latest, an offset, or -N".to_string()),
    }
}

/// Where a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    next: i64,
    /// With --exit: read no further than this.
    end: Option<i64>,
}

impl Position {
    fn done(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

/// What one fetch brought for a partition.
struct Fetched {
    partition: Partition,
    outcome: Result<Bytes, ErrorCode>,
}

struct Consumer<'a> {
    arguments: &'a ConsumeArgs,
    client: Client,
    positions: BTreeMap<Partition, Position>,
    leaders: BTreeMap<Partition, Node>,
    printed: u64,
    /// Turns the order of partitions, so that none is always last in a full answer.
    round: usize,
    /// Rendered and not yet written.
    text: Vec<u8>,
}

pub(super) fn run(arguments: &ConsumeArgs) -> Result<(), Failure> {
    let mut consumer = Consumer {
        arguments,
        client: arguments.broker.connect()?,
        positions: BTreeMap::new(),
        leaders: BTreeMap::new(),
        printed: 0,
        round: 0,
        text: Vec::new(),
    };
    match &arguments.group {
        Some(group) => consumer.run_in_group(group),
        None => consumer.run_alone(),
    }
}

impl Consumer<'_> {
    fn run_alone(&mut self) -> Result<(), Failure> {
        let arguments = self.arguments;
        let start = match (&arguments.from_time, arguments.offset) {
            (Some(text), _) => Start::Time(time::parse(text, time::now_ms()).map_err(Failure::Usage)?),
            (None, Some(start)) => start,
            (None, None) if arguments.from_beginning => Start::Earliest,
            (None, None) => Start::Latest,
        };
        for topic in &arguments.topics {
            let all: Vec<i32> = self.client.topic(topic, false)?.partitions.iter().map(|p| p.partition_index).collect();
            if let Some(missing) = arguments.partition.iter().find(|p| !all.contains(p)) {
                return Err(Failure::Failed(format!("topic {topic} has no partition {missing}, only {all:?}")));
            }
            let chosen = if arguments.partition.is_empty() { &all } else { &arguments.partition };
            self.place(topic, chosen, start)?;
        }
        while !self.finished() {
            self.fetch_and_print()?;
        }
        Ok(())
    }

    /// Sets the positions of a topic's partitions.
    fn place(&mut self, topic: &str, partitions: &[i32], start: Start) -> Result<(), Trouble> {
        let earliest = offsets_at(&mut self.client, topic, partitions, EARLIEST)?;
        let latest = offsets_at(&mut self.client, topic, partitions, LATEST)?;
        let at_time = match start {
            Start::Time(ms) => offsets_at(&mut self.client, topic, partitions, ms)?,
            _ => BTreeMap::new(),
        };
        for partition in partitions {
            let (Some(first), Some(last)) = (earliest.get(partition), latest.get(partition)) else { continue };
            let next = match start {
                Start::Earliest => *first,
                Start::Latest => *last,
                Start::At(offset) => offset,
                Start::BeforeEnd(n) => last.saturating_sub(n).max(*first),
                // -1: no record is as late as that.
                Start::Time(_) => at_time.get(partition).copied().filter(|offset| *offset >= 0).unwrap_or(*last),
            };
            let end = self.arguments.exit.then_some(*last);
            self.positions.insert((topic.to_string(), *partition), Position { next, end });
        }
        Ok(())
    }

    fn run_in_group(&mut self, group: &str) -> Result<(), Failure> {
        let stop = stop_on_signal()?;
        let arguments = self.arguments;
        for topic in &arguments.topics {
            self.client.topic(topic, false)?;
        }
        let mut member = Member::new(&mut self.client, group, &arguments.topics)?;
        let outcome = self.poll(group, &mut member, &stop);
        member.leave(&mut self.client);
        outcome
    }

    /// Fetches and prints what is assigned, and keeps up the membership, until the end or a signal.
    fn poll(&mut self, group: &str, member: &mut Member, stop: &AtomicBool) -> Result<(), Failure> {
        let mut joined = false;
        let mut commit_due = Instant::now() + COMMIT_INTERVAL;
        while !stop.load(Ordering::Relaxed) {
            if !joined {
                let assignment = member.join(&mut self.client)?;
                self.take_over(group, &assignment)?;
                joined = true;
            }
            if self.finished() {
                break;
            }
            self.fetch_and_print()?;
            if self.positions.is_empty() {
                std::thread::sleep(Duration::from_millis(MAX_WAIT_MS as u64));
            }
            joined = member.heartbeat(&mut self.client)?;
            if !joined || Instant::now() >= commit_due {
                // If it comes too late, whoever has the partitions now prints these records once more.
                let offsets = self.offsets();
                member.commit(&mut self.client, &offsets)?;
                commit_due = Instant::now() + COMMIT_INTERVAL;
            }
        }
        if joined {
            let offsets = self.offsets();
            member.commit(&mut self.client, &offsets)?;
        }
        Ok(())
    }

    fn offsets(&self) -> BTreeMap<Partition, i64> {
        self.positions.iter().map(|(partition, position)| (partition.clone(), position.next)).collect()
    }

    /// Starts where the group left off in what was assigned.
    fn take_over(&mut self, group: &str, assignment: &Assignment) -> Result<(), Trouble> {
        self.positions.clear();
        let start = if self.arguments.from_beginning { Start::Earliest } else { Start::Latest };
        for (topic, partitions) in assignment {
            self.place(topic, partitions, start)?;
        }
        for (partition, offset) in committed(&mut self.client, group, Some(assignment))? {
            if let Some(position) = self.positions.get_mut(&partition) {
                position.next = offset;
            }
        }
        Ok(())
    }

    fn finished(&self) -> bool {
        self.arguments.max_messages.is_some_and(|most| self.printed >= most)
            || (self.arguments.exit && self.positions.values().all(Position::done))
    }

    fn fetch_and_print(&mut self) -> Result<(), Failure> {
        let positions = &self.positions;
        let leaders = &mut self.leaders;
        self.round = self.round.wrapping_add(1);
        let round = self.round;
        let fetched = self.client.retry(|client| {
            let outcome = fetch(client, positions, leaders, round);
            if outcome.is_err() {
                leaders.clear();
            }
            outcome
        })?;
        for Fetched { partition, outcome } in fetched {
            match outcome {
                Ok(bytes) => self.take(&partition, bytes)?,
                Err(ErrorCode::OffsetOutOfRange) => self.out_of_range(&partition)?,
                Err(code) => {
                    let subject = format!("partition {} of topic {}", partition.1, partition.0);
                    return Err(Trouble::refused(subject, code.code(), None).into());
                }
            }
        }
        let mut out = io::stdout().lock();
        out.write_all(&self.text)?;
        self.text.clear();
        out.flush()?;
        Ok(())
    }

    /// Renders the records of one partition, up to the limits that were asked for.
    fn take(&mut self, partition: &Partition, bytes: Bytes) -> Result<(), Failure> {
        let (topic, index) = (&partition.0, partition.1);
        let Some(position) = self.positions.get_mut(partition) else { return Ok(()) };
        let most = self.arguments.max_messages.unwrap_or(u64::MAX);
        let decoded = records::decode(&bytes).map_err(|why| {
            Failure::Failed(format!("partition {index} of topic {topic}, near offset {}: {why}", position.next))
        })?;
        let from = position.next;
        for record in decoded.records.iter().filter(|r| r.offset >= from) {
            if self.printed == most || position.end.is_some_and(|end| record.offset >= end) {
                return Ok(());
            }
            if self.arguments.json {
                self.text.extend(format::to_json(topic, index, record).to_string().as_bytes());
                self.text.push(b'\n');
            } else {
                self.arguments.format.write(topic, index, record, &mut self.text);
            }
            self.printed += 1;
            position.next = record.offset + 1;
        }
        // Behind the last record may lie offsets that compaction or a transaction's marker took.
        position.next = position.next.max(decoded.next_offset.unwrap_or(0));
        Ok(())
    }

    /// The position is outside the log: retention has passed it, or it was wrong to begin with.
    fn out_of_range(&mut self, partition: &Partition) -> Result<(), Failure> {
        let (topic, index) = partition;
        let Some(position) = self.positions.get(partition).copied() else { return Ok(()) };
        if self.arguments.group.is_some() {
            let start = if self.arguments.from_beginning { Start::Earliest } else { Start::Latest };
            eprintln!(
                "ringlog: partition {index} of topic {topic} no longer has offset {}; going on from the {start:?}",
                position.next
            );
            return Ok(self.place(topic, &[*index], start)?);
        }
        let first = offsets_at(&mut self.client, topic, &[*index], EARLIEST)?;
        let last = offsets_at(&mut self.client, topic, &[*index], LATEST)?;
        let bounds = first
            .get(index)
            .zip(last.get(index))
            .map_or(String::new(), |(first, last)| format!(": it has {first} up to {last}"));
        Err(Failure::Failed(format!(
            "partition {index} of topic {topic} has no offset {}{bounds}. --from-beginning starts at the first",
            position.next
        )))
    }
}

/// One fetch from each leader, for every partition that is not done.
fn fetch(
    client: &mut Client,
    positions: &BTreeMap<Partition, Position>,
    leaders: &mut BTreeMap<Partition, Node>,
    round: usize,
) -> Result<Vec<Fetched>, Trouble> {
    let mut by_leader: BTreeMap<Node, Vec<(&Partition, i64)>> = BTreeMap::new();
    for (partition, position) in positions.iter().filter(|(_, position)| !position.done()) {
        if !leaders.contains_key(partition) {
            for p in &client.topic_once(&partition.0, false)?.partitions {
                leaders.insert((partition.0.clone(), p.partition_index), Node::Id(*p.leader_id));
            }
        }
        let subject = || format!("partition {} of topic {}", partition.1, partition.0);
        let unknown = || Trouble::refused(subject(), ErrorCode::UnknownTopicOrPartition.code(), None);
        let leader = leaders.get(partition).ok_or_else(unknown)?;
        by_leader.entry(*leader).or_default().push((partition, position.next));
    }
    let wait = MAX_WAIT_MS / by_leader.len().max(1) as i32;
    let mut fetched = Vec::new();
    for (leader, mut wanted) in by_leader {
        let turn = round % wanted.len();
        wanted.rotate_left(turn);
        fetched.extend(fetch_from(client, leader, &wanted, wait)?);
    }
    Ok(fetched)
}

fn fetch_from(
    client: &mut Client,
    leader: Node,
    wanted: &[(&Partition, i64)],
    wait: i32,
) -> Result<Vec<Fetched>, Trouble> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (partition, offset) in wanted {
        let asked = FetchPartition::default()
            .with_partition(partition.1)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(PARTITION_MAX_BYTES);
        match topics.last_mut().filter(|topic| topic.topic.as_str() == partition.0) {
            Some(topic) => topic.partitions.push(asked),
            None => {
                topics.push(FetchTopic::default().with_topic(topic_name(&partition.0)).with_partitions(vec![asked]))
            }
        }
    }
    // No fetch session (KIP-227): id 0 and epoch -1 ask for everything, every time.
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(wait)
        .with_min_bytes(1)
        .with_max_bytes(MAX_BYTES)
        .with_session_epoch(-1)
        .with_topics(topics);
    let response = client.call_waiting(leader, 12, &request, Duration::from_millis(wait as u64))?;
    if response.error_code != 0 {
        return Err(Trouble::refused("fetch", response.error_code, None));
    }
    let mut fetched = Vec::new();
    for topic in response.responses {
        let name = topic.topic.to_string();
        for p in topic.partitions {
            let code = ErrorCode::from_code(p.error_code).unwrap_or(ErrorCode::UnknownServerError);
            if code.retriable() {
                let subject = format!("partition {} of topic {name}", p.partition_index);
                return Err(Trouble::refused(subject, p.error_code, None));
            }
            let outcome = if code.is_ok() { Ok(p.records.unwrap_or_default()) } else { Err(code) };
            fetched.push(Fetched { partition: (name.clone(), p.partition_index), outcome });
        }
    }
    Ok(fetched)
}

/// From here on Ctrl-C and SIGTERM end the loop, so that the group hears of it. A second one, or a farewell that
/// takes too long, ends the process.
fn stop_on_signal() -> Result<Arc<AtomicBool>, Failure> {
    let failed = |error| Failure::Failed(format!("cannot listen for signals: {error}"));
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    // Before the thread starts: it inherits the mask, and then only `wait` sees the signals.
    signals.thread_block().map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let listener = move || {
        let Ok(first) = signals.wait() else { return };
        flag.store(true, Ordering::Relaxed);
        std::thread::spawn(move || {
            let _ = signals.wait();
            std::process::exit(128 + first as i32);
        });
        std::thread::sleep(LAST_WORDS);
        std::process::exit(128 + first as i32);
    };
    std::thread::Builder::new()
        .name("signals".to_string())
        .spawn(listener)
        .map_err(|error| Failure::Failed(format!("cannot start a thread: {error}")))?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_may_be_a_word_a_number_or_a_distance_from_the_end() {
        assert_eq!(start_offset("earliest"), Ok(Start::Earliest));
        assert_eq!(start_offset("end"), Ok(Start::Latest));
        assert_eq!(start_offset("0"), Ok(Start::At(0)));
        assert_eq!(start_offset("-5"), Ok(Start::BeforeEnd(5)));
        assert!(start_offset("soon").is_err());
    }

    #[test]
    fn a_position_is_done_at_the_end_that_was_asked_for() {
        assert!(!Position { next: 5, end: None }.done());
        assert!(!Position { next: 5, end: Some(6) }.done());
        assert!(Position { next: 6, end: Some(6) }.done());
    }
}
