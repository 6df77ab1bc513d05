//! Clients of a group coordinator, its log, and the crashes of both, as a stream of choices: what is replayed from the log is what was had,
//! nobody is answered twice or forgotten, nothing leaks. Where the choices come from is the parent's `Random`: a seed, or a fuzzer's bytes.

use super::Random;
use bytes::Bytes;
use ringlog_engine::ErrorCode;
use ringlog_engine::group::*;
use ringlog_engine::types::{MonoMs, Now, TopicId, WallMs};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

impl Random {
    /// Never where every choice is 0.
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

pub(crate) const GROUPS: [&str; 4] = ["g0", "g1", "g2", "g3"];
const TOPICS: [&str; 3] = ["t", "u", "v"];

/// What a client remembers of its membership.
#[derive(Clone, Debug)]
struct Known {
    group: String,
    member_id: String,
    generation: i32,
    instance: Option<String>,
    everyone: Vec<String>,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) coordinator: Coordinator,
    config: GroupConfig,
    now: u64,
    /// In append order: the record, and whether it is known to be durable.
    pub(crate) log: VecDeque<(AppendId, KeyValue, bool)>,
    cut: usize,
    in_flight: VecDeque<AppendId>,
    next_ticket: u64,
    open: BTreeSet<u64>,
    joins: BTreeMap<u64, JoinRequest>,
    members: Vec<Known>,
    snapshot_from: Option<usize>,
    pub(crate) snapshots: usize,
    pub(crate) answered: BTreeMap<&'static str, usize>,
}

/// Stands for a key where the log of the trial has no record.
const EMPTY: &[u8] = b"";

fn subscription(topics: &[&str]) -> Bytes {
    let mut out = vec![0, 0];
    out.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        out.extend((topic.len() as i16).to_be_bytes());
        out.extend(topic.as_bytes());
    }
    out.extend((-1i32).to_be_bytes());
    out.into()
}

pub(crate) fn fresh() -> Coordinator {
    Coordinator::new(7)
}

impl World {
    /// `shape`: which of some configurations.
    pub(crate) fn new(random: Random, shape: usize) -> World {
        let config = GroupConfig {
            initial_rebalance_delay_ms: [0, 500][shape % 2],
            max_size: 4,
            max_pending_members: 3,
            offsets_retention_ms: 60_000,
            offsets_retention_check_interval_ms: 5_000,
            append_max_bytes: [60, 300, 100_000][shape % 3],
            ..GroupConfig::default()
        };
        let mut coordinator = fresh();
        coordinator.loaded(Now::default(), &config);
        World {
            random,
            coordinator,
            config,
            now: 0,
            log: VecDeque::new(),
            cut: 0,
            in_flight: VecDeque::new(),
            next_ticket: 0,
            open: BTreeSet::new(),
            joins: BTreeMap::new(),
            members: Vec::new(),
            snapshot_from: None,
            snapshots: 0,
            answered: BTreeMap::new(),
        }
    }

    fn now(&self) -> Now {
        Now { mono: MonoMs(self.now), wall: WallMs(self.now as i64) }
    }

    pub(crate) fn step(&mut self) {
        match self.random.below(20) {
            0..=11 => self.request(),
            12..=15 => self.finish_append(),
            16..=17 => self.pass_time(),
            18 if self.random.one_in(6) => self.crash(),
            18 => self.delete_topic(),
            _ => {
                let end = self.cut + self.log.len();
                if self.coordinator.begin_snapshot(&self.config) {
                    self.snapshot_from = Some(end);
                }
            }
        }
        self.drain();
    }

    fn request(&mut self) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.open.insert(ticket);
        let request = match self.random.below(12) {
            0..=3 => self.join(ticket),
            4..=5 => self.sync(),
            6 => self.heartbeat(),
            7..=8 => self.commit(),
            9 if self.random.one_in(3) => self.leave(),
            9 => self.fetch(),
            _ => self.admin(),
        };
        self.coordinator.on_request(self.now(), &self.config, Ticket(ticket), request);
    }

    fn known(&mut self) -> Known {
        let stranger = Known {
            group: self.random.pick(&GROUPS).to_string(),
            member_id: ["", "stranger"][self.random.below(2)].to_string(),
            generation: self.random.below(4) as i32 - 1,
            instance: None,
            everyone: Vec::new(),
        };
        if self.members.is_empty() || self.random.one_in(8) {
            return stranger;
        }
        // Mostly the latest: what is older has usually been overtaken.
        let last = self.members.len() - 1;
        let known = if self.random.one_in(2) { last } else { self.random.below(last + 1) };
        self.members[known].clone()
    }

    fn join(&mut self, ticket: u64) -> Request {
        let known = self.known();
        let again = self.random.one_in(2);
        let topics = &TOPICS[..1 + self.random.below(2)];
        let mut protocols = vec![Protocol { name: "range".into(), metadata: subscription(topics) }];
        if self.random.one_in(3) {
            protocols.insert(0, Protocol { name: "other".into(), metadata: Bytes::from_static(b"\xff?") });
        }
        let version = self.random.below(10);
        let instance = self.random.one_in(3).then(|| format!("i{}", self.random.below(3)));
        let mut random = [0; 16];
        random[..8].copy_from_slice(&ticket.to_be_bytes());
        let request = JoinRequest {
            group_id: known.group,
            member_id: if again { known.member_id } else { String::new() },
            group_instance_id: if again { known.instance } else { instance },
            client_id: "c".into(),
            client_host: "/h".into(),
            session_timeout_ms: 6_000 + self.random.below(6_000) as i32,
            rebalance_timeout_ms: self.random.below(10_000) as i32,
            protocol_type: if self.random.one_in(40) { "connect".into() } else { "consumer".into() },
            protocols,
            known_member_id_required: version >= 4,
            skip_assignment_supported: version >= 9,
            random,
        };
        self.joins.insert(ticket, request.clone());
        Request::Join(request)
    }

    fn sync(&mut self) -> Request {
        let known = self.known();
        let assignments = known.everyone.iter().map(|id| (id.clone(), Bytes::from(format!("a{}", self.now))));
        Request::Sync(SyncRequest {
            group_id: known.group,
            generation_id: known.generation,
            member_id: known.member_id,
            group_instance_id: known.instance,
            protocol_type: None,
            protocol_name: None,
            assignments: assignments.collect(),
        })
    }

    fn heartbeat(&mut self) -> Request {
        let known = self.known();
        Request::Heartbeat(HeartbeatRequest {
            group_id: known.group,
            generation_id: known.generation,
            member_id: known.member_id,
            group_instance_id: known.instance,
        })
    }

    fn commit(&mut self) -> Request {
        let mut known = self.known();
        if self.random.one_in(2) {
            known = Known { generation: -1, member_id: String::new(), instance: None, ..known };
        }
        let count = 1 + self.random.below(3);
        let topics = (0..count).map(|_| CommitTopic {
            name: self.random.pick(&TOPICS).to_string(),
            topic_id: TopicId([self.random.below(3) as u8; 16]),
            partitions: (0..1 + self.random.below(3))
                .map(|partition| CommitPartition {
                    partition: partition as i32,
                    offset: self.random.below(1000) as i64,
                    leader_epoch: -1,
                    metadata: self.random.one_in(2).then(|| "note".to_string()),
                })
                .collect(),
        });
        let topics = topics.collect();
        Request::OffsetCommit(OffsetCommitRequest {
            group_id: known.group,
            generation_id: known.generation,
            member_id: known.member_id,
            group_instance_id: known.instance,
            retention_ms: self.random.one_in(10).then_some(1_000),
            group_id_not_found_known: self.random.one_in(2),
            topics,
        })
    }

    fn leave(&mut self) -> Request {
        let known = self.known();
        let member = MemberIdentity { member_id: known.member_id, group_instance_id: known.instance };
        Request::Leave(LeaveRequest { group_id: known.group, members: vec![member] })
    }

    fn fetch(&mut self) -> Request {
        let group_id = self.random.pick(&GROUPS).to_string();
        Request::OffsetFetch(OffsetFetchRequest { group_id, topics: None, require_stable: false })
    }

    fn admin(&mut self) -> Request {
        let groups: Vec<String> =
            (0..1 + self.random.below(2)).map(|_| self.random.pick(&GROUPS).to_string()).collect();
        match self.random.below(4) {
            0 => Request::ListGroups(ListGroupsRequest::default()),
            1 => Request::DescribeGroups(DescribeGroupsRequest { groups }),
            2 => Request::DeleteGroups(DeleteGroupsRequest { groups }),
            _ => Request::OffsetDelete(OffsetDeleteRequest {
                group_id: groups[0].clone(),
                topics: vec![("t".into(), vec![0, 1]), ("v".into(), vec![0])],
            }),
        }
    }

    fn finish_append(&mut self) {
        let Some(id) = self.in_flight.pop_front() else { return };
        let fails = self.random.one_in(12);
        if fails {
            // What failed is not in the log: its place there stays empty.
            let places = self.log.iter_mut().filter(|(owner, _, _)| *owner == id);
            places.for_each(|(_, record, _)| record.0 = EMPTY.to_vec());
        }
        self.log.iter_mut().filter(|(owner, _, _)| *owner == id).for_each(|(_, _, durable)| *durable = true);
        let result = if fails { Err(ErrorCode::NotEnoughReplicas) } else { Ok(()) };
        self.coordinator.on_appended(self.now(), &self.config, id, result);
    }

    fn pass_time(&mut self) {
        self.now += [1, 300, 3_000, 20_000][self.random.below(4)];
        self.coordinator.on_time(self.now(), &self.config);
        let next = self.coordinator.next_deadline().expect("the sweep at least");
        assert!(next.0 >= self.now, "{next:?} is due at {}", self.now);
    }

    fn delete_topic(&mut self) {
        let topic = (self.random.pick(&TOPICS).to_string(), TopicId([self.random.below(3) as u8; 16]));
        self.coordinator.on_topics_deleted(&self.config, &[topic]);
    }

    /// kill -9: appends under way reached the log up to some point, or not.
    fn crash(&mut self) {
        let kept = self.random.below(self.in_flight.len() + 1);
        let lost: BTreeSet<AppendId> = self.in_flight.iter().skip(kept).copied().collect();
        while self.log.back().is_some_and(|(id, _, _)| lost.contains(id)) {
            self.log.pop_back();
        }
        let mut coordinator = self.replayed();
        coordinator.loaded(self.now(), &self.config);
        self.coordinator = coordinator;
        // Ids begin again.
        self.log.iter_mut().for_each(|(id, _, durable)| (*id, *durable) = (AppendId(u64::MAX), true));
        self.in_flight.clear();
        self.open.clear();
        self.snapshot_from = None;
    }

    fn replayed(&self) -> Coordinator {
        let mut coordinator = fresh();
        let written = self.log.iter().enumerate().filter(|(_, (_, (key, _), _))| key != EMPTY);
        for (offset, (_, (key, value), _)) in written {
            let result = coordinator.replay(key, value.as_deref(), (self.cut + offset) as i64, WallMs(0));
            assert_eq!(result, Ok(()), "our own record at {offset}");
        }
        coordinator
    }

    fn drain(&mut self) {
        while let Some(output) = self.coordinator.poll() {
            match output {
                Output::Append { id, records } => {
                    self.in_flight.push_back(id);
                    self.log.extend(records.into_iter().map(|record| (id, record, false)));
                }
                Output::Reply { ticket, response } => {
                    assert!(self.open.remove(&ticket.0), "ticket {} was not open: {response:?}", ticket.0);
                    self.learn(ticket.0, response);
                }
                Output::SnapshotDone { result } => {
                    let from = self.snapshot_from.take().expect("a snapshot was begun");
                    if result.is_ok() {
                        self.snapshots += 1;
                        self.log.drain(..from - self.cut);
                        self.cut = from;
                    }
                }
            }
        }
    }

    fn learn(&mut self, ticket: u64, response: Response) {
        let name = match &response {
            Response::Join(join) if join.error == ErrorCode::None => "joined",
            Response::Sync(sync) if sync.error == ErrorCode::None => "synced",
            Response::OffsetCommit(commit) if commit.topics.iter().all(|t| t.partitions[0].1.is_ok()) => "committed",
            _ => "other",
        };
        *self.answered.entry(name).or_default() += 1;
        let (Some(request), Response::Join(join)) = (self.joins.remove(&ticket), response) else { return };
        if join.member_id.is_empty() {
            return;
        }
        self.members.push(Known {
            group: request.group_id,
            member_id: join.member_id,
            generation: join.generation_id,
            instance: request.group_instance_id,
            everyone: join.members.into_iter().map(|member| member.member_id).collect(),
        });
        if self.members.len() > 8 {
            self.members.remove(0);
        }
    }

    /// With nothing under way, the log's replay has the records the coordinator has, and it can serve from there.
    pub(crate) fn check(&mut self) {
        while !self.in_flight.is_empty() {
            self.finish_append();
            self.drain();
        }
        assert!(self.coordinator.is_idle());
        let replayed = self.replayed();
        let (own, again): (Vec<_>, Vec<_>) = (self.coordinator.records().collect(), replayed.records().collect());
        assert_eq!(own, again);
        assert!(self.log.iter().all(|(_, _, durable)| *durable));
    }

    /// Everyone falls silent: sessions end, offsets expire, groups go, and nothing is left.
    pub(crate) fn end(&mut self) {
        for _ in 0..100 {
            self.now += 20_000;
            self.coordinator.on_time(self.now(), &self.config);
            self.drain();
            self.check();
        }
        assert_eq!(self.open, BTreeSet::new(), "tickets without an answer");
        assert_eq!((self.coordinator.group_count(), self.coordinator.bytes()), (0, 0));
        assert_eq!(self.coordinator.records().count(), 0);
    }
}
