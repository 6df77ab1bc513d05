//! Runs the dialogues in `tests/group/*.txt` against a group coordinator. Not the wire: requests are given in words.
//!
//! A line that starts with `> ` is an input, `< ` an output that must follow it, the rest is prose. With
//! `RINGLOG_REWRITE=1` the outputs found are written into the files instead of compared: read the difference before keeping it.
//!
//! Inputs are `TICKET verb GROUP key=value...`; a join with ticket 3 of client "c" is given the member id "c#3" (in truth
//! "c-" and a UUID made of threes). Appends are answered at once after `log auto`, by `appended N` after `log manual`.

use bytes::Bytes;
use ringlog_engine::ErrorCode;
use ringlog_engine::group::*;
use ringlog_engine::types::{MonoMs, Now, TopicId, WallMs};
use std::collections::BTreeMap;
use std::fmt::Write;

struct Stage {
    coordinator: Coordinator,
    config: GroupConfig,
    now: u64,
    auto: bool,
    /// Appends that came out and were not answered.
    waiting: BTreeMap<u64, Vec<KeyValue>>,
    log: Vec<KeyValue>,
}

type Arguments<'a> = BTreeMap<&'a str, &'a str>;

fn uuid(n: u8) -> String {
    let h = format!("{n:02x}");
    let (version, variant) = (format!("{:02x}", n & 0x0f | 0x40), format!("{:02x}", n & 0x3f | 0x80));
    format!("-{h}{h}{h}{h}-{h}{h}-{version}{h}-{variant}{h}-{h}{h}{h}{h}{h}{h}")
}

fn expand(member: &str) -> String {
    match member.split_once('#') {
        Some((client, n)) => format!("{client}{}", uuid(n.parse().expect("a ticket number"))),
        None => member.to_string(),
    }
}

fn shorten(mut text: String) -> String {
    for n in 0..100 {
        text = text.replace(&uuid(n), &format!("#{n}"));
    }
    text
}

/// "t+u/x" is a consumer's subscription to t and u with user data x; anything with "raw:" before it is itself.
fn metadata(text: &str) -> Bytes {
    if let Some(raw) = text.strip_prefix("raw:") {
        return Bytes::copy_from_slice(raw.as_bytes());
    }
    let (topics, data) = text.split_once('/').unwrap_or((text, ""));
    let mut out = vec![0, 1];
    out.extend((topics.split('+').count() as i32).to_be_bytes());
    for topic in topics.split('+') {
        out.extend((topic.len() as i16).to_be_bytes());
        out.extend(topic.as_bytes());
    }
    out.extend((data.len() as i32).to_be_bytes());
    out.extend(data.as_bytes());
    out.into()
}

fn show_metadata(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|b| if b.is_ascii_graphic() { *b as char } else { '.' }).collect();
    let words: Vec<&str> = text.split('.').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "-".into() } else { words.join("+") }
}

fn show_id(member: &str, instance: &Option<String>) -> String {
    instance.as_ref().map_or_else(|| member.to_string(), |instance| format!("{member}({instance})"))
}

fn show_record((key, value): &KeyValue) -> String {
    let key = decode_key(key).expect("our key");
    match (key, value) {
        (Key::Group { group }, None) => format!("no group {group}"),
        (Key::Offset { group, topic, partition }, None) => format!("no offset {group} {topic}-{partition}"),
        (Key::Offset { group, topic, partition }, Some(value)) => {
            let value = decode_offset(value).expect("our value");
            let end = value.expire_timestamp.map_or_else(String::new, |at| format!(" until {at}"));
            format!("offset {group} {topic}-{partition}={}{end}", value.offset)
        }
        (Key::Group { group }, Some(value)) => {
            let value = decode_group(value).expect("our value");
            let members = value
                .members
                .iter()
                .map(|m| format!("{}={}", show_id(&m.member_id, &m.group_instance_id), show_metadata(&m.assignment)));
            let members: Vec<String> = members.collect();
            let (protocol, leader) = (value.protocol.unwrap_or("-".into()), value.leader.unwrap_or("-".into()));
            format!("group {group} generation {} {protocol} led by {leader} [{}]", value.generation, members.join(" "))
        }
    }
}

fn show_join(join: &JoinResponse) -> String {
    if join.error != ErrorCode::None {
        assert_eq!((join.generation_id, join.members.len()), (-1, 0));
        return format!("join {} member={}", join.error.name(), join.member_id);
    }
    let members = join
        .members
        .iter()
        .map(|m| format!("{}:{}", show_id(&m.member_id, &m.group_instance_id), show_metadata(&m.metadata)));
    let members: Vec<String> = members.collect();
    let mut out = format!(
        "join NONE member={} generation={} {}/{} leader={}",
        join.member_id,
        join.generation_id,
        join.protocol_type.as_deref().unwrap_or("-"),
        join.protocol_name.as_deref().unwrap_or("-"),
        join.leader
    );
    if !members.is_empty() {
        write!(out, " members=[{}]", members.join(" ")).expect("a string");
    }
    if join.skip_assignment {
        out.push_str(" skip");
    }
    out
}

fn show_errors<'a>(rows: impl Iterator<Item = (&'a str, &'a [(i32, ErrorCode)])>) -> String {
    let all = rows.flat_map(|(topic, rows)| rows.iter().map(move |(p, e)| format!(" {topic}-{p}:{}", e.name())));
    all.collect()
}

fn show_described(group: &DescribedGroup) -> String {
    let members = group.members.iter().map(|m| {
        let id = show_id(&m.member_id, &m.group_instance_id);
        let (metadata, assignment) = (show_metadata(&m.metadata), show_metadata(&m.assignment));
        format!("{id} {}{} {metadata}={assignment}", m.client_id, m.client_host)
    });
    let members: Vec<String> = members.collect();
    if group.error != ErrorCode::None {
        return format!("{} {}", group.group_id, group.error.name());
    }
    let found = if group.found { "" } else { " (absent)" };
    format!(
        "{} {}{found} {}/{} [{}]",
        group.group_id,
        group.state,
        group.protocol_type,
        group.protocol,
        members.join(", ")
    )
}

fn show(response: &Response) -> String {
    match response {
        Response::Join(join) => show_join(join),
        Response::Sync(sync) if sync.error != ErrorCode::None => format!("sync {}", sync.error.name()),
        Response::Sync(sync) => {
            format!("sync NONE {} {}", sync.protocol_name.as_deref().unwrap_or("-"), show_metadata(&sync.assignment))
        }
        Response::Heartbeat(error) => format!("heartbeat {}", error.name()),
        Response::Leave(leave) => {
            let members = leave
                .members
                .iter()
                .map(|(m, error)| format!(" {}:{}", show_id(&m.member_id, &m.group_instance_id), error.name()));
            format!("leave {}{}", leave.error.name(), members.collect::<String>())
        }
        Response::OffsetCommit(commit) => {
            format!("commit{}", show_errors(commit.topics.iter().map(|t| (t.name.as_str(), t.partitions.as_slice()))))
        }
        Response::OffsetFetch(fetch) => {
            let all = fetch.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t, p)));
            let all = all
                .map(|(t, p)| format!(" {}-{}={}@{}'{}'", t.name, p.partition, p.offset, p.leader_epoch, p.metadata));
            format!("fetch {}{}", fetch.error.name(), all.collect::<String>())
        }
        Response::ListGroups(list) => {
            let all =
                list.groups.iter().map(|g| format!(" {}:{}:{}:{}", g.group_id, g.state, g.protocol_type, g.group_type));
            format!("list {}{}", list.error.name(), all.collect::<String>())
        }
        Response::DescribeGroups(groups) => {
            format!("describe {}", groups.iter().map(show_described).collect::<Vec<_>>().join("; "))
        }
        Response::DeleteGroups(results) => {
            format!("delete{}", results.iter().map(|(id, e)| format!(" {id}:{}", e.name())).collect::<String>())
        }
        Response::OffsetDelete(delete) => {
            let rows = show_errors(delete.topics.iter().map(|(name, rows)| (name.as_str(), rows.as_slice())));
            format!("offset-delete {}{rows}", delete.error.name())
        }
    }
}

fn owned(arguments: &Arguments<'_>, key: &str) -> Option<String> {
    arguments.get(key).map(|text| text.to_string())
}

fn number<T: std::str::FromStr>(arguments: &Arguments<'_>, key: &str, default: T) -> T {
    arguments.get(key).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{key}={text}: not a number")))
}

fn member(arguments: &Arguments<'_>) -> String {
    arguments.get("member").map_or_else(String::new, |id| expand(id))
}

fn join(group_id: String, ticket: u64, a: &Arguments<'_>) -> Request {
    let protocols = a.get("protocols").copied().unwrap_or("range:t").split(',').map(|text| {
        let (name, bytes) = text.split_once(':').expect("name:metadata");
        Protocol { name: name.into(), metadata: metadata(bytes) }
    });
    let version: i32 = number(a, "version", 9);
    Request::Join(JoinRequest {
        group_id,
        member_id: member(a),
        group_instance_id: owned(a, "instance"),
        client_id: owned(a, "client").unwrap_or("c".into()),
        client_host: "/h".into(),
        session_timeout_ms: number(a, "session", 10_000),
        rebalance_timeout_ms: number(a, "rebalance", 60_000),
        protocol_type: owned(a, "type").unwrap_or("consumer".into()),
        protocols: protocols.collect(),
        known_member_id_required: version >= 4,
        skip_assignment_supported: version >= 9,
        random: [ticket as u8; 16],
    })
}

/// "t-0,t-1": topics with their partitions, with what follows a "=".
fn partitions(text: &str) -> BTreeMap<&str, Vec<(i32, &str)>> {
    let mut topics: BTreeMap<&str, Vec<(i32, &str)>> = BTreeMap::new();
    for item in text.split(',') {
        let (name, rest) = item.split_once('-').expect("topic-partition");
        let (partition, value) = rest.split_once('=').unwrap_or((rest, ""));
        topics.entry(name).or_default().push((partition.parse().expect("a partition"), value));
    }
    topics
}

fn topic_id(arguments: &Arguments<'_>) -> TopicId {
    TopicId([number(arguments, "id", 0); 16])
}

/// Offsets are given as "t-0=42'metadata'@epoch", the last two optional.
fn commit(group_id: String, offsets: &str, a: &Arguments<'_>) -> Request {
    let topics = partitions(offsets).into_iter().map(|(name, rows)| {
        let rows = rows.into_iter().map(|(partition, text)| {
            let (text, epoch) = text.split_once('@').unwrap_or((text, "-1"));
            let (offset, note) = text.split_once('\'').unwrap_or((text, ""));
            CommitPartition {
                partition,
                offset: offset.parse().expect("an offset"),
                leader_epoch: epoch.parse().expect("an epoch"),
                metadata: Some(note.trim_end_matches('\'').to_string()),
            }
        });
        CommitTopic { name: name.into(), topic_id: topic_id(a), partitions: rows.collect() }
    });
    Request::OffsetCommit(OffsetCommitRequest {
        group_id,
        generation_id: number(a, "generation", -1),
        member_id: member(a),
        group_instance_id: owned(a, "instance"),
        retention_ms: a.contains_key("retention").then(|| number(a, "retention", 0)),
        group_id_not_found_known: number(a, "version", 8) >= 9,
        topics: topics.collect(),
    })
}

fn sync(group_id: String, a: &Arguments<'_>) -> Request {
    let given = a.get("assign").map(|text| text.split(',').collect::<Vec<_>>()).unwrap_or_default();
    let given = given.into_iter().map(|pair| {
        let (id, bytes) = pair.split_once(':').expect("member:assignment");
        (expand(id), Bytes::copy_from_slice(bytes.as_bytes()))
    });
    Request::Sync(SyncRequest {
        group_id,
        generation_id: number(a, "generation", 1),
        member_id: member(a),
        group_instance_id: owned(a, "instance"),
        protocol_type: owned(a, "type"),
        protocol_name: owned(a, "protocol"),
        assignments: given.collect(),
    })
}

fn leave(group_id: String, members: &str) -> Request {
    let members = members.split(',').map(|text| {
        let (id, instance) = text.split_once('/').map_or((text, None), |(id, instance)| (id, Some(instance)));
        MemberIdentity { member_id: expand(id), group_instance_id: instance.map(str::to_string) }
    });
    Request::Leave(LeaveRequest { group_id, members: members.collect() })
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|item| !item.is_empty()).map(str::to_string).collect()
}

fn request(ticket: u64, verb: &str, words: &[&str]) -> Request {
    let a: Arguments<'_> =
        words.iter().filter_map(|w| w.split_once('=')).filter(|(key, _)| !key.contains('-')).collect();
    let plain = |n: usize| words.get(n).copied().unwrap_or("");
    let group_id = if plain(0) == "\"\"" { String::new() } else { plain(0).to_string() };
    match verb {
        "join" => join(group_id, ticket, &a),
        "sync" => sync(group_id, &a),
        "heartbeat" => Request::Heartbeat(HeartbeatRequest {
            group_id,
            generation_id: number(&a, "generation", 1),
            member_id: member(&a),
            group_instance_id: owned(&a, "instance"),
        }),
        "leave" => leave(group_id, plain(1)),
        "commit" => commit(group_id, plain(1), &a),
        "fetch" => {
            let topics = (plain(1) != "all").then(|| {
                let topics = partitions(plain(1)).into_iter().map(|(name, rows)| FetchTopic {
                    name: name.into(),
                    topic_id: topic_id(&a),
                    partitions: rows.into_iter().map(|(partition, _)| partition).collect(),
                });
                topics.collect()
            });
            Request::OffsetFetch(OffsetFetchRequest { group_id, topics, require_stable: true })
        }
        "list" => Request::ListGroups(ListGroupsRequest {
            states: list(a.get("states").unwrap_or(&"")),
            types: list(a.get("types").unwrap_or(&"")),
        }),
        "describe" => Request::DescribeGroups(DescribeGroupsRequest { groups: list(plain(0)) }),
        "delete" => Request::DeleteGroups(DeleteGroupsRequest { groups: list(plain(0)) }),
        "offset-delete" => {
            let topics = partitions(plain(1)).into_iter();
            let topics = topics.map(|(name, rows)| (name.to_string(), rows.into_iter().map(|(p, _)| p).collect()));
            Request::OffsetDelete(OffsetDeleteRequest { group_id, topics: topics.collect() })
        }
        other => panic!("no verb {other}"),
    }
}

impl Stage {
    fn new() -> Stage {
        let mut coordinator = Coordinator::new(0);
        let config = GroupConfig::default();
        let now = Now { mono: MonoMs(0), wall: WallMs(0) };
        coordinator.loaded(now, &config);
        Stage { coordinator, config, now: 0, auto: true, waiting: BTreeMap::new(), log: Vec::new() }
    }

    fn now(&self) -> Now {
        Now { mono: MonoMs(self.now), wall: WallMs(self.now as i64) }
    }

    fn run(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut out = Vec::new();
        match (words[0], words[1..].to_vec().as_slice()) {
            ("config", pairs) => pairs.iter().for_each(|pair| self.configure(pair)),
            ("log", [mode]) => self.auto = *mode == "auto",
            ("wait", [millis]) => self.wait(millis.parse().expect("milliseconds"), &mut out),
            ("deadline", []) => out.push(format!("deadline {:?}", self.coordinator.next_deadline().map(|at| at.0))),
            ("appended", [id, rest @ ..]) => self.appended(id.parse().expect("an id"), rest.first().copied()),
            ("restart", []) => self.restart(true),
            ("load", []) => self.restart(false),
            ("loaded", []) => self.coordinator.loaded(self.now(), &self.config),
            ("snapshot", []) => assert!(self.coordinator.begin_snapshot(&self.config), "one is under way"),
            ("resign", []) => self.coordinator.resign(),
            ("topics-deleted", [name, rest @ ..]) => {
                let id = rest.first().map_or(0, |id| id.parse().expect("a number"));
                self.coordinator.on_topics_deleted(&self.config, &[(name.to_string(), TopicId([id; 16]))]);
            }
            (ticket, [verb, rest @ ..]) => {
                let ticket = ticket.parse().unwrap_or_else(|_| panic!("not understood: {line}"));
                let request = request(ticket, verb, rest);
                self.coordinator.on_request(self.now(), &self.config, Ticket(ticket), request);
            }
            _ => panic!("not understood: {line}"),
        }
        self.drain(&mut out);
        out
    }

    fn configure(&mut self, pair: &str) {
        let (name, value) = pair.split_once('=').expect("name=value");
        let number: u64 = value.parse().expect("a number");
        let config = &mut self.config;
        match name {
            "initial_rebalance_delay_ms" => config.initial_rebalance_delay_ms = number,
            "max_size" => config.max_size = number as usize,
            "max_groups" => config.max_groups = number as usize,
            "max_pending_members" => config.max_pending_members = number as usize,
            "max_protocols" => config.max_protocols = number as usize,
            "max_member_bytes" => config.max_member_bytes = number as usize,
            "max_assignment_bytes" => config.max_assignment_bytes = number as usize,
            "max_bytes" => config.max_bytes = number as usize,
            "append_max_bytes" => config.append_max_bytes = number as usize,
            "offset_metadata_max_size" => config.offset_metadata_max_size = number as usize,
            "offsets_retention_ms" => config.offsets_retention_ms = number as i64,
            "offsets_retention_check_interval_ms" => config.offsets_retention_check_interval_ms = number,
            other => panic!("no setting {other}"),
        }
    }

    /// Lets time pass, waking the coordinator exactly when it asks to be.
    fn wait(&mut self, millis: u64, out: &mut Vec<String>) {
        let until = self.now + millis;
        while let Some(at) = self.coordinator.next_deadline().filter(|at| at.0 <= until) {
            self.now = self.now.max(at.0);
            self.coordinator.on_time(self.now(), &self.config);
            let from = out.len();
            self.drain(out);
            for line in &mut out[from..] {
                *line = format!("[{}] {line}", self.now);
            }
        }
        self.now = until;
    }

    fn appended(&mut self, id: u64, error: Option<&str>) {
        let records = self.waiting.remove(&id);
        let records = records.unwrap_or_else(|| panic!("append {id} does not wait, but {:?}", self.waiting.keys()));
        let result = match error {
            None => Ok(()),
            Some(name) => Err((-1..200).filter_map(ErrorCode::from_code).find(|e| e.name() == name).expect("a code")),
        };
        if result.is_ok() {
            self.log.extend(records);
        }
        self.coordinator.on_appended(self.now(), &self.config, AppendId(id), result);
    }

    /// As after kill -9: what was in memory is gone, what was appended is replayed.
    fn restart(&mut self, loaded: bool) {
        self.coordinator = Coordinator::new(0);
        self.waiting.clear();
        for (offset, (key, value)) in self.log.iter().enumerate() {
            self.coordinator.replay(key, value.as_deref(), offset as i64, WallMs(0)).expect("our record");
        }
        if loaded {
            self.coordinator.loaded(self.now(), &self.config);
        }
    }

    fn drain(&mut self, out: &mut Vec<String>) {
        while let Some(output) = self.coordinator.poll() {
            match output {
                Output::Append { id, records } => {
                    let shown: Vec<String> = records.iter().map(show_record).collect();
                    out.push(shorten(format!("append {}: {}", id.0, shown.join("; "))));
                    self.waiting.insert(id.0, records);
                    if self.auto {
                        self.appended(id.0, None);
                    }
                }
                Output::Reply { ticket, response } => out.push(shorten(format!("{} {}", ticket.0, show(&response)))),
                Output::SnapshotDone { result } => out.push(format!("snapshot done {result:?}")),
            }
        }
    }
}

/// The script with the outputs that really come.
fn play(script: &str) -> String {
    let mut stage = Stage::new();
    let mut played = String::new();
    for line in script.lines().filter(|line| !line.starts_with("< ")) {
        played.push_str(line);
        played.push('\n');
        if let Some(input) = line.strip_prefix("> ") {
            for output in stage.run(input) {
                played.push_str(&format!("< {output}\n"));
            }
        }
    }
    played
}

#[test]
fn dialogues() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/group");
    let entries = std::fs::read_dir(&folder).expect("the folder of scripts");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() >= 8, "only {} scripts in {folder:?}", files.len());
    for path in files {
        let script = std::fs::read_to_string(&path).expect("a script");
        let played = play(&script);
        if std::env::var_os("RINGLOG_REWRITE").is_some() {
            std::fs::write(&path, &played).expect("writing the script");
            continue;
        }
        for (number, (expected, found)) in script.lines().zip(played.lines()).enumerate() {
            assert_eq!(expected, found, "{} line {}", path.display(), number + 1);
        }
        assert_eq!(script.lines().count(), played.lines().count(), "{}: lines", path.display());
    }
}

#[cfg(feature = "probes")]
#[path = "planted/groups.rs"]
mod planted;
