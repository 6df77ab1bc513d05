//! Before and after the load: what the broker can do, topics, who leads them, who coordinates groups and transactions, producer ids,
//! offsets. Blocking, on the thread that runs the whole.

use super::plan::{Identity, Plan, producers};
use super::{Options, Target};
use crate::bench::Failure;
use crate::bench::workload::Workload;
use crate::peer::{Answer, Body, Peer, now_ms};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long the broker may take for anything here.
const PATIENCE: Duration = Duration::from_secs(60);
/// Topics made in one request.
const TOPICS_AT_ONCE: usize = 100;
/// What CreateTopics answers to a setting it does not take.
const INVALID_CONFIG: i16 = 40;

/// API, version, name: what the load asks, each in one version, that brokers old and new serve.
const ASKED: &[(i16, i16, &str)] = &[
    (0, 7, "Produce"),
    (1, 4, "Fetch"),
    (2, 1, "ListOffsets"),
    (3, 4, "Metadata"),
    (19, 2, "CreateTopics"),
    (20, 1, "DeleteTopics"),
];
const ASKED_OF_PRODUCERS: &[(i16, i16, &str)] = &[(22, 1, "InitProducerId")];
const ASKED_OF_GROUPS: &[(i16, i16, &str)] = &[
    (8, 2, "OffsetCommit"),
    (9, 1, "OffsetFetch"),
    (10, 1, "FindCoordinator"),
    (11, 3, "JoinGroup"),
    (12, 1, "Heartbeat"),
    (13, 1, "LeaveGroup"),
    (14, 1, "SyncGroup"),
];
const ASKED_OF_TRANSACTIONS: &[(i16, i16, &str)] =
    &[(10, 1, "FindCoordinator"), (24, 1, "AddPartitionsToTxn"), (26, 1, "EndTxn")];

/// A connection for questions, and what the whole run needs of the answers.
pub(super) struct Broker {
    peer: Peer,
    pub(super) caveats: Vec<String>,
}

fn connect(addr: SocketAddr) -> Result<Peer, Failure> {
    let peer = Peer::connect(addr).map_err(|e| Failure::because(addr, e))?;
    peer.set_patience(PATIENCE).map_err(|e| Failure::because(addr, e))?;
    Ok(peer)
}

fn nonsense(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |e| Failure::because(what, e)
}

impl Broker {
    /// Connects to the first address that answers, and sees whether it serves what this workload asks.
    pub(super) fn find(target: &Target, workload: &Workload) -> Result<Broker, Failure> {
        let mut last = Failure("no broker was named".to_string());
        for addr in &target.bootstrap {
            match connect(*addr) {
                Ok(peer) => {
                    let mut broker = Broker { peer, caveats: Vec::new() };
                    broker.check_versions(workload)?;
                    return Ok(broker);
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    fn check_versions(&mut self, workload: &Workload) -> Result<(), Failure> {
        let bytes = self.peer.call(18, 0, Body::default()).map_err(nonsense("ApiVersions"))?;
        let mut answer = Answer(&bytes);
        let mut served = HashMap::new();
        let mut read = || {
            answer.i16()?;
            for _ in 0..answer.i32()? {
                served.insert(answer.i16()?, (answer.i16()?, answer.i16()?));
            }
            Ok(())
        };
        read().map_err(nonsense("an answer to ApiVersions"))?;
        let producers = &workload.producers;
        let transactions = producers.transaction_records.is_some();
        let mut asked = ASKED.to_vec();
        asked.extend_from_slice(if producers.idempotent || transactions { ASKED_OF_PRODUCERS } else { &[] });
        asked.extend_from_slice(if transactions { ASKED_OF_TRANSACTIONS } else { &[] });
        asked.extend_from_slice(if workload.consumers.coordinated { ASKED_OF_GROUPS } else { &[] });
        for (api, version, name) in asked {
            match served.get(&api) {
                Some((least, most)) if (*least..=*most).contains(&version) => {}
                Some((least, most)) => {
                    let what =
                        format!("the broker serves {name} {least} to {most}, and the load speaks version {version}");
                    return Err(Failure(what));
                }
                None => return Err(Failure(format!("the broker does not serve {name}, which this workload needs"))),
            }
        }
        Ok(())
    }

    /// Makes the topics of a run, and all that can be known before it begins.
    pub(super) fn prepare(&mut self, workload: &Workload, options: &Options) -> Result<Plan, Failure> {
        let nonce = super::draw::mix(now_ms() as u64 ^ u64::from(std::process::id()) << 44);
        let count = workload.topics.count.max(1);
        let topics: Vec<String> = (0..count).map(|k| format!("bench-{:08x}-{k}", nonce as u32)).collect();
        let groups: Vec<String> =
            (0..workload.consumers.groups).map(|k| format!("bench-{:08x}-readers-{k}", nonce as u32)).collect();
        let mut plan = Plan {
            workload: workload.clone(),
            nonce,
            seed: options.seed,
            numbers: topics.iter().cloned().zip(0..).collect(),
            topics,
            nodes: Vec::new(),
            leaders: Vec::new(),
            identities: HashMap::new(),
            transactions: HashMap::new(),
            groups,
            coordinators: Vec::new(),
            cores: options.cpus.len(),
        };
        self.create_topics(&plan)?;
        let made = self.look_around(&mut plan);
        if made.is_err() {
            self.delete_topics(&plan);
        }
        made.map(|()| plan)
    }

    fn look_around(&mut self, plan: &mut Plan) -> Result<(), Failure> {
        let begun = Instant::now();
        while !self.find_leaders(plan)? {
            if begun.elapsed() > PATIENCE {
                return Err(Failure(format!("partitions without a leader after {PATIENCE:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // A leader may be named before it knows; until then it refuses what is written.
        while let Err(why) = self.offsets(plan, -1) {
            if begun.elapsed() > PATIENCE {
                return Err(why);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if plan.workload.consumers.coordinated {
            for group in plan.groups.clone() {
                let node = self.coordinator(plan, &group, 0)?;
                plan.coordinators.push(node);
            }
        }
        self.find_producers(plan)
    }

    fn create_topics(&mut self, plan: &Plan) -> Result<(), Failure> {
        let mut config: Vec<(String, String)> = plan.workload.topics.config.clone().into_iter().collect();
        for names in plan.topics.chunks(TOPICS_AT_ONCE) {
            match self.try_create(plan, names, &config, false) {
                Ok(()) => continue,
                Err((code, why)) if code != INVALID_CONFIG || config.is_empty() => {
                    return Err(Failure::because("creating topics", format!("error {code} {why}")));
                }
                Err(_) => {}
            }
            // Which settings is it? One at a time, only tried.
            let taken = |broker: &mut Broker, one: &(String, String)| {
                broker.try_create(plan, &names[..1], std::slice::from_ref(one), true)
            };
            let mut kept = Vec::new();
            for one in config {
                match taken(self, &one) {
                    Ok(()) => kept.push(one),
                    Err((code, why)) => self.caveats.push(format!(
                        "topics are made without {}={}, which the broker refused (error {code} {why})",
                        one.0, one.1
                    )),
                }
            }
            config = kept;
            let again = self.try_create(plan, names, &config, false);
            again.map_err(|(code, why)| Failure::because("creating topics", format!("error {code} {why}")))?;
        }
        Ok(())
    }

    fn try_create(
        &mut self,
        plan: &Plan,
        names: &[String],
        config: &[(String, String)],
        only_try: bool,
    ) -> Result<(), (i16, String)> {
        let topics = &plan.workload.topics;
        let mut body = Body::default().i32(names.len() as i32);
        for name in names {
            body =
                body.text(name).i32(topics.partitions as i32).i16(topics.replication).i32(0).i32(config.len() as i32);
            body = config.iter().fold(body, |body, (name, value)| body.text(name).text(value));
        }
        let broken = |e: io::Error| (-1, e.to_string());
        let bytes =
            self.peer.call(19, 2, body.i32(PATIENCE.as_millis() as i32).i8(i8::from(only_try))).map_err(broken)?;
        let mut answer = Answer(&bytes);
        answer.i32().map_err(broken)?;
        for _ in 0..answer.i32().map_err(broken)? {
            answer.text().map_err(broken)?;
            let code = answer.i16().map_err(broken)?;
            let why = answer.text().map_err(broken)?;
            if code != 0 {
                return Err((code, String::from_utf8_lossy(why).into_owned()));
            }
        }
        Ok(())
    }

    /// Asks who leads what. False: some partition has no leader yet.
    fn find_leaders(&mut self, plan: &mut Plan) -> Result<bool, Failure> {
        let body = plan.topics.iter().fold(Body::default().i32(plan.topics.len() as i32), |body, t| body.text(t));
        let bytes = self.peer.call(3, 4, body.i8(0)).map_err(nonsense("Metadata"))?;
        let found = read_metadata(&bytes, plan).map_err(nonsense("an answer to Metadata"))?;
        let Some((brokers, leaders)) = found else { return Ok(false) };
        let mut addresses = HashMap::new();
        for (id, host, port) in brokers {
            let addr = (host.as_str(), port).to_socket_addrs().map_err(|e| Failure::because(&host, e))?.next();
            addresses.insert(id, addr.ok_or_else(|| Failure(format!("{host} has no address")))?);
        }
        plan.leaders.clear();
        for leader in leaders {
            let addr =
                addresses.get(&leader).ok_or_else(|| Failure(format!("node {leader} leads and is not there")))?;
            let node = node(plan, *addr);
            plan.leaders.push(node);
        }
        Ok(true)
    }

    /// The node that coordinates a group (0) or transactions (1).
    fn coordinator(&mut self, plan: &mut Plan, key: &str, kind: i8) -> Result<usize, Failure> {
        let begun = Instant::now();
        loop {
            let body = Body::default().text(key).i8(kind);
            let bytes = self.peer.call(10, 1, body).map_err(nonsense("FindCoordinator"))?;
            let (code, host, port) = read_coordinator(&bytes).map_err(nonsense("an answer to FindCoordinator"))?;
            if code == 0 {
                let addr = (host.as_str(), port).to_socket_addrs().map_err(|e| Failure::because(&host, e))?.next();
                let addr = addr.ok_or_else(|| Failure(format!("{host} has no address")))?;
                return Ok(node(plan, addr));
            }
            // Not available yet: its topic is being made.
            if code != 15 || begun.elapsed() > PATIENCE {
                let what = if kind == 0 { "coordinating a group" } else { "transactions" };
                return Err(Failure::because(what, format!("the broker refused: {}", super::named(code))));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Producer ids, one for each connection that will write with one.
    fn find_producers(&mut self, plan: &mut Plan) -> Result<(), Failure> {
        let wanted = &plan.workload.producers;
        let transactions = wanted.transaction_records.is_some();
        if !wanted.idempotent && !transactions {
            return Ok(());
        }
        let mut peers: HashMap<usize, Peer> = HashMap::new();
        for producer in 0..producers(&plan.workload) {
            let mut nodes: Vec<usize> =
                plan.places_of_producer(producer).iter().map(|place| plan.leaders[*place as usize]).collect();
            nodes.sort_unstable();
            nodes.dedup();
            for node in nodes {
                let (mut asked, mut body) = (node, Body::default().i16(-1));
                if transactions {
                    let id = format!("bench-{:08x}-{producer}-{node}", plan.nonce as u32);
                    asked = self.coordinator(plan, &id, 1)?;
                    body = Body::default().text(&id);
                    plan.transactions.insert((producer, node), (id, asked));
                }
                let peer = match peers.entry(asked) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(connect(plan.nodes[asked])?),
                };
                let identity = init_producer(peer, &body.0, transactions)?;
                plan.identities.insert((producer, node), identity);
            }
        }
        Ok(())
    }

    /// Offsets of all places: first (-2) or next (-1).
    pub(super) fn offsets(&mut self, plan: &Plan, which: i64) -> Result<Vec<i64>, Failure> {
        let mut found = vec![0; plan.leaders.len()];
        for (number, addr) in plan.nodes.iter().enumerate() {
            let places: Vec<u32> = (0..plan.places()).filter(|place| plan.leaders[*place as usize] == number).collect();
            if places.is_empty() {
                continue;
            }
            let topics: Vec<&[u32]> = places.chunk_by(|a, b| a / plan.partitions() == b / plan.partitions()).collect();
            let mut body = Body::default().i32(-1).i32(topics.len() as i32);
            for places in topics {
                body = body.text(plan.topic(places[0]).0).i32(places.len() as i32);
                body = places.iter().fold(body, |body, place| body.i32(plan.topic(*place).1).i64(which));
            }
            let bytes = connect(*addr)?.call(2, 1, body).map_err(nonsense("ListOffsets"))?;
            read_offsets(&bytes, plan, &mut found).map_err(nonsense("an answer to ListOffsets"))?;
        }
        Ok(found)
    }

    /// Removes what the run made. What cannot be removed is told.
    pub(super) fn delete_topics(&mut self, plan: &Plan) {
        for names in plan.topics.chunks(TOPICS_AT_ONCE) {
            let body = names.iter().fold(Body::default().i32(names.len() as i32), |body, name| body.text(name));
            if let Err(e) = self.peer.call(20, 1, body.i32(PATIENCE.as_millis() as i32)) {
                self.caveats.push(format!("the topics of the run were not deleted: {e}"));
                return;
            }
        }
    }
}

/// A producer id for a transactional id, or none, as it is laid out.
fn init_producer(peer: &mut Peer, transactional: &[u8], transactions: bool) -> Result<Identity, Failure> {
    let begun = Instant::now();
    loop {
        let body = Body(transactional.to_vec()).i32(60_000);
        let bytes = peer.call(22, 1, body).map_err(nonsense("InitProducerId"))?;
        match read_identity(&bytes).map_err(nonsense("an answer to InitProducerId"))? {
            Ok(identity) => return Ok(identity),
            // Loading, not there yet, or another one of these is being written.
            Err(14 | 15 | 16 | 51) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            Err(code) => {
                let what = if transactions { "transactions" } else { "an idempotent producer" };
                return Err(Failure::because(what, format!("the broker refused: {}", super::named(code))));
            }
        }
    }
}

/// The number of a node in the plan, by its address.
fn node(plan: &mut Plan, addr: SocketAddr) -> usize {
    plan.nodes.iter().position(|known| *known == addr).unwrap_or_else(|| {
        plan.nodes.push(addr);
        plan.nodes.len() - 1
    })
}

type Nodes = Vec<(i32, String, u16)>;

/// Brokers and the leader of each place; None while some have none.
fn read_metadata(bytes: &[u8], plan: &Plan) -> io::Result<Option<(Nodes, Vec<i32>)>> {
    let mut answer = Answer(bytes);
    let mut nodes = Nodes::new();
    answer.i32()?;
    for _ in 0..answer.i32()? {
        let id = answer.i32()?;
        let host = String::from_utf8_lossy(answer.text()?).into_owned();
        let port = answer.i32()?;
        answer.text()?;
        nodes.push((id, host, u16::try_from(port).map_err(io::Error::other)?));
    }
    answer.text()?;
    answer.i32()?;
    let places = plan.topics.len() * plan.partitions() as usize;
    let mut leaders = vec![-1; places];
    for _ in 0..answer.i32()? {
        let topic_code = answer.i16()?;
        let topic = answer.text()?;
        answer.i8()?;
        for _ in 0..answer.i32()? {
            answer.i16()?;
            let (partition, leader) = (answer.i32()?, answer.i32()?);
            for _ in 0..2 {
                let nodes = usize::try_from(answer.i32()?).unwrap_or(0);
                answer.take(nodes.saturating_mul(4))?;
            }
            if let Some(place) = plan.place(topic, partition).filter(|_| topic_code == 0) {
                leaders[place as usize] = leader;
            }
        }
    }
    Ok((!leaders.contains(&-1)).then_some((nodes, leaders)))
}

fn read_coordinator(bytes: &[u8]) -> io::Result<(i16, String, u16)> {
    let mut answer = Answer(bytes);
    answer.i32()?;
    let code = answer.i16()?;
    answer.text()?;
    answer.i32()?;
    let host = String::from_utf8_lossy(answer.text()?).into_owned();
    Ok((code, host, u16::try_from(answer.i32()?).unwrap_or(0)))
}

fn read_identity(bytes: &[u8]) -> io::Result<Result<Identity, i16>> {
    let mut answer = Answer(bytes);
    answer.i32()?;
    let code = answer.i16()?;
    let identity = Identity { id: answer.i64()?, epoch: answer.i16()? };
    Ok(if code == 0 { Ok(identity) } else { Err(code) })
}

fn read_offsets(bytes: &[u8], plan: &Plan, found: &mut [i64]) -> io::Result<()> {
    let mut answer = Answer(bytes);
    for _ in 0..answer.i32()? {
        let topic = answer.text()?;
        for _ in 0..answer.i32()? {
            let partition = answer.i32()?;
            let code = answer.i16()?;
            answer.i64()?;
            let offset = answer.i64()?;
            if code != 0 {
                return Err(io::Error::other(format!("error {code}")));
            }
            if let Some(place) = plan.place(topic, partition) {
                found[place as usize] = offset;
            }
        }
    }
    Ok(())
}
