//! A member of a coordinated group: joins, is given partitions (it gives them out itself where it leads), keeps its place by
//! heartbeats, commits, and where the workload says so leaves and comes back. Speaks to the coordinator on a connection of its own; its
//! readers do the reading. No sockets here, and no clock.

use super::core::{Shared, Timer};
use super::draw::Rng;
use super::reader::Reader;
use super::wire::Wire;
use crate::peer::{Answer, Body};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;

const JOIN: (i16, i16) = (11, 3);
const SYNC: (i16, i16) = (14, 1);
const HEARTBEAT: (i16, i16) = (12, 1);
const LEAVE: (i16, i16) = (13, 1);
const COMMIT: (i16, i16) = (8, 2);
const COMMITTED: (i16, i16) = (9, 1);

const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 30_000;
/// Between heartbeats, nanoseconds.
const BEAT: u64 = 500_000_000;
/// How long to wait where the coordinator is not ready.
const AGAIN_AFTER: u64 = 100_000_000;

/// Errors that mean: join (again).
const UNKNOWN_MEMBER: i16 = 25;
const ILLEGAL_GENERATION: i16 = 22;
const REBALANCING: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

/// What was asked of the coordinator and not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Join,
    Sync,
    Committed,
    Beat,
    Commit,
    Leave,
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Out,
    Joining,
    In,
    /// Left, until this time.
    Away(u64),
    /// The coordinator is not ready; it is asked again at this time.
    Later(u64),
}

#[derive(Debug)]
pub(super) struct Member {
    group: u32,
    /// Which one of its group's consumers it is.
    number: u32,
    pub(super) conn: usize,
    /// Its readers, one for each node.
    pub(super) readers: Vec<usize>,
    id: String,
    generation: i32,
    asked: Option<Asked>,
    standing: Standing,
    /// When it began to join.
    joined: u64,
    rejoin: bool,
    given: Vec<u32>,
    beat_at: u64,
    commit_at: u64,
    /// None: it stays.
    leave: Option<Leave>,
}

/// When a member leaves: once in each of its slots, at a moment drawn. At fixed times all runs would have members leave at one
/// distance from the others' heartbeats, which decides how long the others take to hear of it.
#[derive(Debug)]
struct Leave {
    at: u64,
    slot: u64,
    /// Of a slot, and between the beginnings of two, nanoseconds.
    length: u64,
    period: u64,
    rng: Rng,
}

impl Leave {
    fn draw(&mut self, now: u64) {
        self.at = (self.slot + self.rng.below(self.length)).max(now);
        self.slot += self.period;
    }
}

fn nonsense(e: io::Error) -> String {
    format!("an answer of a group's coordinator: {e}")
}

impl Member {
    pub(super) fn new(group: u32, number: u32, conn: usize, readers: Vec<usize>) -> Member {
        Member {
            group,
            number,
            conn,
            readers,
            id: String::new(),
            generation: -1,
            asked: None,
            standing: Standing::Out,
            joined: 0,
            rejoin: false,
            given: Vec::new(),
            beat_at: 0,
            commit_at: 0,
            leave: None,
        }
    }

    /// One of the group's `count` members leaves in each `every` nanoseconds from now on.
    pub(super) fn churn(&mut self, now: u64, count: u64, every: u64) {
        let (slot, rng) = (now + every * u64::from(self.number), Rng::new(u64::from(self.number)));
        let mut leave = Leave { at: 0, slot, length: every, period: every * count, rng };
        leave.draw(now);
        self.leave = Some(leave);
    }

    /// Goes on as far as it can, and has itself called when there will be more to do.
    pub(super) fn go_on(&mut self, shared: &mut Shared, wire: &mut Wire, readers: &mut [Reader]) {
        if self.asked.is_some() {
            return;
        }
        match self.standing {
            Standing::Out => self.join(shared, wire),
            Standing::Away(until) if until <= shared.now || !shared.orders.churn => self.join(shared, wire),
            Standing::Later(until) if until <= shared.now => self.join(shared, wire),
            Standing::Later(until) => shared.timer(until, Timer::Member(self.conn)),
            Standing::Away(until) => shared.timer(until.min(shared.now + AGAIN_AFTER), Timer::Member(self.conn)),
            Standing::Joining => {}
            Standing::In => self.stay(shared, wire, readers),
        }
    }

    fn stay(&mut self, shared: &mut Shared, wire: &mut Wire, readers: &mut [Reader]) {
        let now = shared.now;
        let leaves = shared.orders.churn && self.leave.as_ref().is_some_and(|leave| leave.at <= now);
        if self.rejoin || leaves {
            if self.commit_at != u64::MAX {
                self.commit(shared, wire, readers);
                self.commit_at = u64::MAX;
                return;
            }
            self.give_up(shared, readers);
            if self.rejoin {
                return self.join(shared, wire);
            }
            let (group, id) = (&shared.plan.groups[self.group as usize], &self.id);
            wire.request(LEAVE.0, LEAVE.1, |body| body.text(group).text(id));
            self.asked = Some(Asked::Leave);
        } else if self.commit_at <= now {
            self.commit(shared, wire, readers);
            self.commit_at = now + shared.plan.workload.consumers.commit_ms.max(1) * 1_000_000;
        } else if self.beat_at <= now {
            let (group, id, generation) = (&shared.plan.groups[self.group as usize], &self.id, self.generation);
            wire.request(HEARTBEAT.0, HEARTBEAT.1, |body| body.text(group).i32(generation).text(id));
            self.asked = Some(Asked::Beat);
            self.beat_at = now + BEAT;
        } else {
            let leave = self.leave.as_ref().map_or(u64::MAX, |leave| leave.at);
            shared.timer(self.beat_at.min(self.commit_at).min(leave.max(now + 1_000_000)), Timer::Member(self.conn));
        }
    }

    /// Reads nothing any more.
    fn give_up(&mut self, shared: &mut Shared, readers: &mut [Reader]) {
        shared.member_is_in(false);
        self.standing = Standing::Out;
        self.given.clear();
        self.readers.iter().for_each(|at| readers[*at].assign(&HashMap::new()));
    }

    fn join(&mut self, shared: &mut Shared, wire: &mut Wire) {
        self.rejoin = false;
        if self.standing != Standing::Joining {
            self.joined = shared.now;
        }
        self.standing = Standing::Joining;
        let plan = &shared.plan;
        let topics = plan.topics.iter().fold(Body::default().i16(0).i32(plan.topics.len() as i32), |b, t| b.text(t));
        let subscription = topics.i32(-1).0;
        let (group, id) = (&plan.groups[self.group as usize], &self.id);
        wire.request(JOIN.0, JOIN.1, |body| {
            let body = body.text(group).i32(SESSION_MS).i32(REBALANCE_MS).text(id).text("consumer");
            body.i32(1).text("range").bytes(&subscription)
        });
        self.asked = Some(Asked::Join);
    }

    fn commit(&mut self, shared: &mut Shared, wire: &mut Wire, readers: &[Reader]) {
        let plan = &shared.plan;
        let mut positions: Vec<(u32, i64)> = self.readers.iter().flat_map(|at| readers[*at].positions()).collect();
        positions.sort_unstable();
        let topics: Vec<&[(u32, i64)]> =
            positions.chunk_by(|a, b| a.0 / plan.partitions() == b.0 / plan.partitions()).collect();
        let (group, id, generation) = (&plan.groups[self.group as usize], &self.id, self.generation);
        wire.request(COMMIT.0, COMMIT.1, |body| {
            let mut body = body.text(group).i32(generation).text(id).i64(-1).i32(topics.len() as i32);
            for places in topics {
                body = body.text(plan.topic(places[0].0).0).i32(places.len() as i32);
                for (place, offset) in places {
                    body = body.i32(plan.topic(*place).1).i64(*offset).text("");
                }
            }
            body
        });
        self.asked = Some(Asked::Commit);
    }

    /// The coordinator answered.
    pub(super) fn answer(
        &mut self,
        shared: &mut Shared,
        wire: &mut Wire,
        readers: &mut [Reader],
        reply: &[u8],
    ) -> Result<(), String> {
        let asked = self.asked.take().ok_or("an answer to no question about a group")?;
        let code = match asked {
            Asked::Join => self.on_join(shared, wire, reply).map_err(nonsense)?,
            Asked::Sync => self.on_sync(shared, wire, reply).map_err(nonsense)?,
            Asked::Committed => self.on_committed(shared, reply, readers).map_err(nonsense)?,
            Asked::Commit => first_error(reply).map_err(nonsense)?,
            Asked::Beat => Answer(reply.get(4..).unwrap_or(&[])).i16().map_err(nonsense)?,
            Asked::Leave => self.on_left(shared),
        };
        match code {
            0 => {}
            UNKNOWN_MEMBER | ILLEGAL_GENERATION | REBALANCING | MEMBER_ID_REQUIRED => {
                if code == UNKNOWN_MEMBER {
                    self.id.clear();
                }
                match self.standing {
                    Standing::In => self.rejoin = true,
                    _ => self.join(shared, wire),
                }
                // A commit that was refused is not tried again: what it covered is read again.
                if asked == Asked::Commit {
                    self.commit_at = u64::MAX;
                }
            }
            // The coordinator loads, or does not know yet that it is one.
            14..=16 if self.standing == Standing::Joining => {
                self.standing = Standing::Later(shared.now + AGAIN_AFTER);
            }
            code => return Err(format!("the coordinator of a group refused {asked:?}: {}", super::named(code))),
        }
        self.go_on(shared, wire, readers);
        for at in &self.readers {
            shared.wake_reader(readers[*at].conn);
        }
        Ok(())
    }

    fn on_join(&mut self, shared: &mut Shared, wire: &mut Wire, body: &[u8]) -> io::Result<i16> {
        let mut answer = Answer(body);
        answer.i32()?;
        let code = answer.i16()?;
        let generation = answer.i32()?;
        answer.text()?;
        let leader = answer.text()?;
        let id = answer.text()?;
        if code == 0 || code == MEMBER_ID_REQUIRED {
            self.id = String::from_utf8_lossy(id).into_owned();
        }
        if code != 0 {
            return Ok(code);
        }
        self.generation = generation;
        let mut members = Vec::new();
        for _ in 0..answer.i32()? {
            members.push(answer.text()?);
            answer.bytes()?;
        }
        let shares = if leader == id { shares(shared, &mut members) } else { Vec::new() };
        let (group, id) = (&shared.plan.groups[self.group as usize], &self.id);
        wire.request(SYNC.0, SYNC.1, |body| {
            let body = body.text(group).i32(generation).text(id).i32(shares.len() as i32);
            shares.iter().fold(body, |body, (member, share)| body.text(member).bytes(share))
        });
        self.asked = Some(Asked::Sync);
        Ok(0)
    }

    fn on_sync(&mut self, shared: &mut Shared, wire: &mut Wire, body: &[u8]) -> io::Result<i16> {
        let mut answer = Answer(body);
        answer.i32()?;
        let code = answer.i16()?;
        if code != 0 {
            return Ok(code);
        }
        self.given.clear();
        let mut given = Answer(answer.bytes()?);
        if !given.0.is_empty() {
            given.i16()?;
            for _ in 0..given.i32()? {
                let topic = given.text()?;
                for _ in 0..given.i32()? {
                    let place = shared.plan.place(topic, given.i32()?);
                    self.given.push(place.ok_or_else(|| io::Error::other("a partition that does not exist"))?);
                }
            }
        }
        self.given.sort_unstable();
        shared.tally.rebalances.record(shared.now - self.joined);
        let plan = &shared.plan;
        let topics: Vec<&[u32]> = self.given.chunk_by(|a, b| a / plan.partitions() == b / plan.partitions()).collect();
        wire.request(COMMITTED.0, COMMITTED.1, |body| {
            let mut body = body.text(&plan.groups[self.group as usize]).i32(topics.len() as i32);
            for places in topics {
                body = body.text(plan.topic(places[0]).0).i32(places.len() as i32);
                body = places.iter().fold(body, |body, place| body.i32(plan.topic(*place).1));
            }
            body
        });
        self.asked = Some(Asked::Committed);
        Ok(0)
    }

    fn on_committed(&mut self, shared: &mut Shared, body: &[u8], readers: &mut [Reader]) -> io::Result<i16> {
        let mut given = HashMap::new();
        let mut answer = Answer(body);
        for _ in 0..answer.i32()? {
            let topic = answer.text()?;
            for _ in 0..answer.i32()? {
                let place = shared.plan.place(topic, answer.i32()?);
                let offset = answer.i64()?;
                answer.text()?;
                let code = answer.i16()?;
                if code != 0 {
                    return Ok(code);
                }
                let place = place.ok_or_else(|| io::Error::other("a partition that does not exist"))?;
                let begin = shared.progress.begin[place as usize].load(Ordering::Relaxed);
                given.insert(place, if offset < 0 { begin } else { offset });
            }
        }
        given.retain(|place, _| self.given.binary_search(place).is_ok());
        if given.len() != self.given.len() {
            return Err(io::Error::other("offsets of some partitions are missing"));
        }
        self.readers.iter().for_each(|at| readers[*at].assign(&given));
        self.standing = Standing::In;
        shared.member_is_in(true);
        self.beat_at = shared.now + BEAT;
        self.commit_at = shared.now + shared.plan.workload.consumers.commit_ms.max(1) * 1_000_000;
        Ok(0)
    }

    fn on_left(&mut self, shared: &Shared) -> i16 {
        self.id.clear();
        let every = shared.plan.workload.consumers.churn_ms.unwrap_or(0) * 1_000_000;
        self.standing = Standing::Away(shared.now + every / 2);
        if let Some(leave) = &mut self.leave {
            leave.draw(shared.now);
        }
        0
    }
}

/// The range assignment: each member gets as many partitions of each topic as the others, and the first ones one more.
fn shares(shared: &Shared, members: &mut Vec<&[u8]>) -> Vec<(String, Vec<u8>)> {
    members.sort_unstable();
    let (plan, count) = (&shared.plan, members.len().max(1) as u32);
    let (each, more) = (plan.partitions() / count, plan.partitions() % count);
    let share = |(number, member): (u32, &&[u8])| {
        let first = number * each + number.min(more);
        let own = each + u32::from(number < more);
        let mut body = Body::default().i16(0).i32(if own == 0 { 0 } else { plan.topics.len() as i32 });
        for topic in plan.topics.iter().filter(|_| own > 0) {
            body = body.text(topic).i32(own as i32);
            body = (first..first + own).fold(body, |body, partition| body.i32(partition as i32));
        }
        (String::from_utf8_lossy(member).into_owned(), body.i32(-1).0)
    };
    (0..).zip(members.iter()).map(share).collect()
}

/// The first error of an answer to OffsetCommit.
fn first_error(body: &[u8]) -> io::Result<i16> {
    let mut answer = Answer(body);
    for _ in 0..answer.i32()? {
        answer.text()?;
        for _ in 0..answer.i32()? {
            answer.i32()?;
            let code = answer.i16()?;
            if code != 0 {
                return Ok(code);
            }
        }
    }
    Ok(0)
}
