//! One client core: its connections, what is on them, and what it counts. Bytes in, bytes out, deadlines; a driver moves the bytes,
//! reads the clock and waits. Used by one thread alone.

use super::batch::{Maker, STAMP};
use super::clock::{self, SECOND};
use super::conduct::Report;
use super::draw::Sizes;
use super::member::Member;
use super::pace::{Producer, Schedule};
use super::plan::{Orders, Pace, Plan, Progress};
use super::reader::Reader;
use super::seen::{Runs, Tracker};
use super::tally::Tally;
use super::transact::Transaction;
use super::wire::Wire;
use super::writer::Writer;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

/// Requests planned and not handed to the kernel, of one core: beyond that the run is void.
pub(super) const MOST_WAITING: u64 = 200_000;
/// A core looks for new orders at least so often, nanoseconds.
const LOOK: u64 = 5_000_000;

/// Whom to call when a time has come; by connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Writer(usize),
    Reader(usize),
    Member(usize),
}

/// What all connections of a core use.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) progress: Arc<Progress>,
    pub(super) orders: Orders,
    pub(super) maker: Maker,
    pub(super) tally: Tally,
    /// Where batches are unpacked.
    pub(super) plain: Vec<u8>,
    pub(super) now: u64,
    /// Milliseconds since 1970, for batches.
    pub(super) wall: i64,
    /// Requests planned and not laid out.
    pub(super) waiting: u64,
    /// Records planned and not answered.
    pub(super) unanswered: u64,
    /// Bytes of a record in the log, about.
    pub(super) mean_record: f64,
    timers: BinaryHeap<Reverse<(u64, Timer)>>,
    number: usize,
}

impl Shared {
    pub(super) fn timer(&mut self, at: u64, who: Timer) {
        self.timers.push(Reverse((at, who)));
    }

    /// A reader may have something to ask.
    pub(super) fn wake_reader(&mut self, conn: usize) {
        self.timer(0, Timer::Reader(conn));
    }

    pub(super) fn filled(&self) -> u64 {
        self.progress.filled.load(Ordering::Relaxed)
    }

    /// Records were laid out for the first time.
    pub(super) fn sent(&mut self, records: u64, values: u64) {
        self.tally.second.sent_records += records;
        if matches!(self.orders.pace, Pace::Fill(_)) {
            self.progress.filled.fetch_add(values, Ordering::Relaxed);
        }
    }

    /// Records were answered.
    pub(super) fn settled(&mut self, records: u64) {
        self.unanswered -= records;
    }

    /// Records were acknowledged, from offset `base` on where it is known.
    pub(super) fn acknowledged(&mut self, place: u32, base: i64, records: u64) {
        self.settled(records);
        if base >= 0 {
            let end = base.saturating_add(records as i64);
            self.progress.acknowledged[place as usize].fetch_max(end, Ordering::Relaxed);
        }
    }

    pub(super) fn read_to(&self, group: u32, place: u32, offset: i64) {
        let at = group as usize * self.plan.leaders.len() + place as usize;
        self.progress.positions[at].fetch_max(offset, Ordering::Relaxed);
    }

    pub(super) fn member_is_in(&self, is_in: bool) {
        let count = &self.progress.members[self.number];
        if is_in {
            count.fetch_add(1, Ordering::Relaxed)
        } else {
            count.fetch_sub(1, Ordering::Relaxed)
        };
    }
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer(usize),
    /// The coordinator of a writer's transactions.
    Transaction(usize),
    Reader(usize),
    Member(usize),
    Idle,
    /// Opened, used once, closed.
    Churn,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Writer(_) => f.write_str("a producer"),
            Role::Transaction(_) => f.write_str("a producer to its coordinator"),
            Role::Reader(_) => f.write_str("a consumer"),
            Role::Member(_) => f.write_str("a consumer to its coordinator"),
            Role::Idle => f.write_str("an idle client"),
            Role::Churn => f.write_str("a client that comes and goes"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// The driver is to open it.
    Wanted,
    Opening,
    Up,
    Closing,
    Closed,
}

#[derive(Debug)]
struct Conn {
    role: Role,
    addr: SocketAddr,
    link: Link,
    wire: Wire,
    /// In the list of those with something to send.
    listed: bool,
    /// The driver has bytes of it that the kernel did not take.
    sending: bool,
    /// When it last could take bytes.
    free_at: u64,
}

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Open(usize, SocketAddr),
    Send(usize),
    Close(usize),
}

/// What a core leaves behind.
#[derive(Debug)]
pub(super) struct CoreEnd {
    pub(super) tally: Tally,
    pub(super) written: Vec<Written>,
    pub(super) read: Vec<Read>,
    pub(super) unanswered: u64,
    pub(super) connections: u32,
    /// Nanoseconds of the measured part in which it had something to do, and how long that was.
    pub(super) busy: (u64, u64),
}

/// What a producer wrote into a place.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) producer: u32,
    pub(super) place: u32,
    pub(super) sent: u64,
    pub(super) acknowledged: Runs,
}

/// What a consumer of a group saw of a producer in a place.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) group: u32,
    pub(super) place: u32,
    pub(super) producer: u32,
    pub(super) tracker: Tracker,
}

/// One client core.
#[derive(Debug)]
pub(super) struct ClientCore {
    shared: Shared,
    seen: u64,
    conns: Vec<Conn>,
    writers: Vec<Writer>,
    readers: Vec<Reader>,
    members: Vec<Member>,
    schedule: Schedule,
    acts: VecDeque<Act>,
    touched: Vec<usize>,
    reports: Sender<Report>,
    /// Connections that are not up yet.
    opening: usize,
    ready: bool,
    reading: bool,
    churning: bool,
    /// When the next connection is opened for its own sake, and how long until the one after.
    churn: Option<(u64, u64)>,
    usage: [Option<u64>; 2],
    overflowed: bool,
    ended: bool,
}

impl ClientCore {
    /// Core `number` of the plan: every so-many-th producer, consumer and idle connection is its.
    pub(super) fn new(
        plan: Arc<Plan>,
        progress: Arc<Progress>,
        number: usize,
        base: u64,
        reports: Sender<Report>,
    ) -> ClientCore {
        let workload = &plan.workload;
        let maker = Maker::new(plan.nonce, plan.seed, &workload.records, workload.producers.codec);
        let mean_record = Sizes::new(&workload.records.size, STAMP).mean() + 10.0;
        let shared = Shared {
            maker,
            tally: Tally::new(base),
            plain: Vec::new(),
            now: base,
            wall: clock::wall_ms(),
            waiting: 0,
            unanswered: 0,
            mean_record,
            timers: BinaryHeap::new(),
            number,
            orders: Orders::default(),
            plan: plan.clone(),
            progress,
        };
        let mut core = ClientCore {
            shared,
            seen: 0,
            conns: Vec::new(),
            writers: Vec::new(),
            readers: Vec::new(),
            members: Vec::new(),
            schedule: Schedule::new(&plan, Vec::new()),
            acts: VecDeque::new(),
            touched: Vec::new(),
            reports,
            opening: 0,
            ready: false,
            reading: false,
            churning: false,
            churn: None,
            usage: [None; 2],
            overflowed: false,
            ended: false,
        };
        let producers = own_of(&plan, number, plan.producers());
        let producers = producers.into_iter().map(|id| core.add_producer(id)).collect();
        core.schedule = Schedule::new(&core.shared.plan, producers);
        let consumers = core.shared.plan.workload.consumers.clone();
        let all = own_of(&core.shared.plan, number, consumers.groups * consumers.count);
        all.into_iter().for_each(|k| core.add_consumer(k / consumers.count, k % consumers.count));
        for idle in own_of(&core.shared.plan, number, core.shared.plan.workload.connections.idle) {
            let addr = core.shared.plan.nodes[idle as usize % core.shared.plan.nodes.len()];
            core.connect(Role::Idle, addr);
        }
        core
    }

    fn connect(&mut self, role: Role, addr: SocketAddr) -> usize {
        let conn = self.conns.len();
        let wire = Wire::new(matches!(role, Role::Reader(_)) && self.shared.plan.rereads());
        self.conns.push(Conn { role, addr, link: Link::Wanted, wire, listed: false, sending: false, free_at: 0 });
        self.acts.push_back(Act::Open(conn, addr));
        self.opening += 1;
        conn
    }

    /// Nodes that lead any of these places.
    fn nodes_of(&self, places: &[u32]) -> Vec<usize> {
        let mut nodes: Vec<usize> = places.iter().map(|place| self.shared.plan.leaders[*place as usize]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    fn add_producer(&mut self, id: u32) -> Producer {
        let plan = self.shared.plan.clone();
        let places = plan.places_of_producer(id);
        let first = self.writers.len();
        for node in self.nodes_of(&places) {
            let at = self.writers.len();
            let conn = self.connect(Role::Writer(at), plan.nodes[node]);
            let mut writer = Writer::new(&plan, id, node, conn);
            if let (Some(records), Some((name, coordinator))) =
                (plan.workload.producers.transaction_records, plan.transactions.get(&(id, node)))
                && let Some(who) = plan.identities.get(&(id, node))
            {
                let conn = self.connect(Role::Transaction(at), plan.nodes[*coordinator]);
                writer.transaction = Some(Transaction::new(name.clone(), (who.id, who.epoch), conn, records));
            }
            self.writers.push(writer);
        }
        let target = |place: &u32| {
            let mut writers = self.writers.iter().enumerate().skip(first);
            writers.find_map(|(at, w)| Some((at, w.parts.binary_search_by_key(place, |part| part.place).ok()?)))
        };
        Producer::new(&plan, id, places.iter().filter_map(target).collect())
    }

    fn add_consumer(&mut self, group: u32, consumer: u32) {
        let plan = self.shared.plan.clone();
        let coordinated = plan.workload.consumers.coordinated;
        let places = if coordinated { (0..plan.places()).collect() } else { plan.places_of_consumer(consumer) };
        // More consumers than partitions: the others have nothing to read.
        if !coordinated && consumer >= plan.places() {
            return;
        }
        let mut own = Vec::new();
        for node in self.nodes_of(&places) {
            own.push(self.readers.len());
            let conn = self.connect(Role::Reader(self.readers.len()), plan.nodes[node]);
            self.readers.push(Reader::new(&plan, group, &places, node, conn));
        }
        if coordinated {
            let addr = plan.nodes[plan.coordinators[group as usize]];
            let conn = self.connect(Role::Member(self.members.len()), addr);
            self.members.push(Member::new(group, consumer, conn, own));
        }
    }

    /// The time, for all that follows until it is told again.
    pub(super) fn at(&mut self, now: u64) {
        self.shared.now = now;
    }

    /// The next thing for the driver to do.
    pub(super) fn act(&mut self) -> Option<Act> {
        loop {
            let act = self.acts.pop_front()?;
            match act {
                Act::Open(conn, _) => self.conns[conn].link = Link::Opening,
                Act::Send(conn) => {
                    let conn = &mut self.conns[conn];
                    conn.listed = false;
                    if conn.link != Link::Up || conn.sending || conn.wire.out.is_empty() {
                        continue;
                    }
                }
                Act::Close(_) => {}
            }
            return Some(act);
        }
    }

    /// Hands a connection's outgoing bytes to the driver through `give`, which answers whether the kernel took them all already.
    pub(super) fn hand(&mut self, conn: usize, give: impl FnOnce(&mut Vec<u8>) -> bool) {
        let of = &mut self.conns[conn];
        let taken = give(&mut of.wire.out);
        of.wire.out.clear();
        let possible = of.free_at;
        of.sending = !taken;
        of.free_at = self.shared.now;
        if let Role::Writer(at) = of.role {
            self.writers[at].handed(&mut self.shared, possible);
            if taken {
                self.push(conn);
            }
        }
    }

    /// The kernel took everything that was handed over.
    pub(super) fn sent(&mut self, conn: usize) {
        self.conns[conn].sending = false;
        self.conns[conn].free_at = self.shared.now;
        self.push(conn);
    }

    /// A connection is up.
    pub(super) fn connected(&mut self, conn: usize) {
        self.conns[conn].link = Link::Up;
        self.conns[conn].free_at = self.shared.now;
        self.opening = self.opening.saturating_sub(1);
        match self.conns[conn].role {
            Role::Churn => self.conns[conn].wire.request(18, 0, |body| body),
            _ if !self.shared.orders.quit => self.push(conn),
            _ => {}
        }
        self.list(conn);
    }

    /// Bytes came.
    pub(super) fn received(&mut self, conn: usize, mut bytes: &[u8]) {
        let largest = self.shared.plan.largest_answer();
        let mut into = Vec::new();
        while self.conns[conn].link == Link::Up {
            let mut wire = std::mem::take(&mut self.conns[conn].wire);
            let taken = match wire.next(&mut bytes, largest, &mut into) {
                Ok(Some(reply)) => self.reply(conn, &mut wire, reply).map(|()| true),
                Ok(None) => Ok(false),
                Err(what) => Err(what),
            };
            wire.keep_room(&mut into);
            self.conns[conn].wire = wire;
            match taken {
                Ok(true) => {}
                Ok(false) => break,
                Err(what) => return self.fail(format!("{} sent nonsense: {what}", self.conns[conn].addr)),
            }
        }
        self.list(conn);
    }

    fn reply(&mut self, conn: usize, wire: &mut Wire, reply: &[u8]) -> Result<(), String> {
        match self.conns[conn].role {
            Role::Writer(at) => {
                self.writers[at].answer(&mut self.shared, wire, reply)?;
                self.transact(at);
                Ok(())
            }
            Role::Transaction(at) => {
                let of = &mut self.writers[at];
                let writes = of.conn;
                let transaction = of.transaction.as_mut().expect("a connection for transactions");
                transaction.answer(&mut self.shared, writes, reply)?;
                std::mem::swap(&mut self.conns[conn].wire, wire);
                self.push(writes);
                std::mem::swap(&mut self.conns[conn].wire, wire);
                Ok(())
            }
            Role::Reader(at) => self.readers[at].answer(&mut self.shared, wire, reply),
            Role::Member(at) => self.members[at].answer(&mut self.shared, wire, &mut self.readers, reply),
            Role::Idle => Err("an answer to no question".to_string()),
            Role::Churn => {
                self.shared.tally.churned += 1;
                self.conns[conn].link = Link::Closing;
                self.acts.push_back(Act::Close(conn));
                Ok(())
            }
        }
    }

    /// A connection ended: as it should where we closed it.
    pub(super) fn closed(&mut self, conn: usize, why: &str) {
        let of = &mut self.conns[conn];
        let expected = of.link == Link::Closing || self.shared.orders.quit;
        let opening = of.link == Link::Opening;
        of.link = Link::Closed;
        if !expected {
            let what = if opening { "could not be connected to" } else { "closed a connection" };
            self.fail(format!("{} {what} of {}: {why}", self.conns[conn].addr, self.conns[conn].role));
        }
    }

    /// The run cannot go on.
    pub(super) fn fail(&mut self, why: String) {
        let _ = self.reports.send(Report::Failed(why));
        self.ended = true;
    }

    /// Lets whoever a connection belongs to lay out what it can.
    fn push(&mut self, conn: usize) {
        let Conn { wire, role, .. } = &mut self.conns[conn];
        match *role {
            Role::Writer(at) => {
                self.writers[at].push(&mut self.shared, wire);
                self.transact(at);
            }
            Role::Reader(at) => self.readers[at].push(&mut self.shared, wire),
            Role::Member(at) => self.members[at].go_on(&mut self.shared, wire, &mut self.readers),
            Role::Transaction(at) => self.transact(at),
            Role::Idle | Role::Churn => {}
        }
        self.list(conn);
    }

    fn transact(&mut self, writer: usize) {
        let of = &mut self.writers[writer];
        let more = self.shared.orders.pace != Pace::Hold || of.has_queued();
        let idle = !of.is_waiting();
        let Writer { transaction: Some(transaction), parts, .. } = of else { return };
        let conn = transaction.conn;
        transaction.go_on(&mut self.shared, &mut self.conns[conn].wire, parts, more, idle);
        self.list(conn);
    }

    /// Has the driver send what is laid out.
    fn list(&mut self, conn: usize) {
        let of = &mut self.conns[conn];
        if !of.listed && !of.sending && of.link == Link::Up && !of.wire.out.is_empty() {
            of.listed = true;
            self.acts.push_back(Act::Send(conn));
        }
    }

    /// Does all that time asks for: orders, planned sends, timers, seconds.
    pub(super) fn turn(&mut self) {
        while let Some(part) = self.shared.tally.ended_second(self.shared.now) {
            self.shared.wall = clock::wall_ms();
            let _ = self.reports.send(Report::Second(Box::new(part)));
        }
        let mut touched = std::mem::take(&mut self.touched);
        self.schedule.run(&mut self.shared, &mut self.writers, &mut touched);
        for writer in touched.drain(..) {
            self.push(self.writers[writer].conn);
        }
        self.touched = touched;
        // New orders come after what was planned under the old ones, so that a late core leaves nothing out.
        if let Some(orders) = self.shared.progress.newer(&mut self.seen) {
            self.obey(orders);
        }
        while let Some(Reverse((_, timer))) = self.shared.timers.peek().copied().filter(|t| t.0.0 <= self.shared.now) {
            self.shared.timers.pop();
            match timer {
                Timer::Writer(conn) => {
                    if let Role::Writer(at) = self.conns[conn].role {
                        self.writers[at].on_time(&mut self.shared, &mut self.conns[conn].wire);
                        self.transact(at);
                    }
                    self.list(conn);
                }
                Timer::Reader(conn) | Timer::Member(conn) => self.push(conn),
            }
        }
        self.churn_connections();
        if !self.ready && self.opening == 0 {
            self.ready = true;
            let _ = self.reports.send(Report::Ready);
        }
        if self.shared.waiting > MOST_WAITING && !self.overflowed {
            self.overflowed = true;
            let _ = self.reports.send(Report::Overflow);
            self.schedule.set(&self.shared.plan, None);
        }
        let mut unanswered = self.shared.unanswered;
        if self.shared.plan.workload.producers.transaction_records.is_some() {
            let transactions = self.writers.iter().filter_map(|writer| writer.transaction.as_ref());
            unanswered += transactions.filter(|transaction| !transaction.is_settled()).count() as u64;
        }
        self.shared.progress.unanswered[self.shared.number].store(unanswered, Ordering::Relaxed);
    }

    fn obey(&mut self, orders: Orders) {
        let before = std::mem::replace(&mut self.shared.orders, orders);
        if let Some(part) = self.shared.tally.ordered(&orders) {
            let _ = self.reports.send(Report::Step(Box::new(part)));
        }
        if orders.pace != before.pace {
            let open = match orders.pace {
                Pace::Open { rate, from } => Some((rate, from)),
                _ => None,
            };
            self.schedule.set(&self.shared.plan, open);
            (0..self.writers.len()).for_each(|at| self.push(self.writers[at].conn));
        }
        if orders.read && !self.reading {
            self.reading = true;
            for at in 0..self.readers.len() {
                self.readers[at].begin(&self.shared);
                self.push(self.readers[at].conn);
            }
        }
        if orders.churn && !self.churning {
            self.begin_churn();
        }
        self.churning = orders.churn;
        self.ended |= orders.quit;
    }

    fn begin_churn(&mut self) {
        let now = self.shared.now;
        let (plan, consumers) = (self.shared.plan.clone(), &self.shared.plan.workload.consumers);
        if let Some(every) = consumers.churn_ms {
            let count = u64::from(consumers.count);
            self.members.iter_mut().for_each(|member| member.churn(now, count, every.max(1) * 1_000_000));
            (0..self.members.len()).for_each(|at| self.push(self.members[at].conn));
        }
        let rate = plan.workload.connections.churn_rate;
        if rate > 0.0 {
            let gap = (SECOND as f64 / rate) as u64;
            self.churn = Some((now + gap * (self.shared.number as u64 + 1), gap * plan.cores as u64));
        }
    }

    fn churn_connections(&mut self) {
        while self.churning
            && let Some((at, gap)) = self.churn
            && at <= self.shared.now
        {
            self.churn = Some((at + gap.max(1), gap));
            let addr = self.shared.plan.nodes[0];
            let free = self.conns.iter().position(|c| c.role == Role::Churn && c.link == Link::Closed);
            let Some(conn) = free else {
                self.connect(Role::Churn, addr);
                continue;
            };
            self.conns[conn].wire = Wire::default();
            (self.conns[conn].link, self.conns[conn].sending) = (Link::Wanted, false);
            self.acts.push_back(Act::Open(conn, addr));
            self.opening += 1;
        }
    }

    /// When `turn` has something to do again, and whether that is a planned send.
    pub(super) fn deadline(&self) -> (u64, bool) {
        let planned = self.schedule.next(u64::from(self.shared.plan.producers())).unwrap_or(u64::MAX);
        let timer = self.shared.timers.peek().map_or(u64::MAX, |t| t.0.0);
        let churn = if self.churning { self.churn.map_or(u64::MAX, |(at, _)| at) } else { u64::MAX };
        let other = timer.min(churn).min(self.shared.now + LOOK);
        (planned.min(other), planned <= other)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Told by the driver with each turn: CPU time of its thread without what it spun away, once measuring begins and ends.
    pub(super) fn note_usage(&mut self, busy: impl FnOnce() -> u64) {
        let (from, to) = self.shared.orders.window;
        let at = usize::from(self.usage[0].is_some());
        if self.shared.now >= [from, to][at] && self.usage[at].is_none() {
            self.usage[at] = Some(busy());
        }
    }

    /// The end of it.
    pub(super) fn finish(mut self) -> CoreEnd {
        let unanswered = self.writers.iter_mut().map(|writer| writer.abandon(&mut self.shared)).sum();
        let (from, to) = self.shared.orders.window;
        let busy = match self.usage {
            [Some(from), Some(to)] => to.saturating_sub(from),
            _ => 0,
        };
        let writers = self.writers.into_iter();
        let written = writers.flat_map(|writer| {
            writer.parts.into_iter().map(move |part| Written {
                producer: writer.producer,
                place: part.place,
                sent: part.written(),
                acknowledged: part.acknowledged,
            })
        });
        let readers = self.readers.into_iter();
        let read = readers.flat_map(|reader| {
            reader.parts.into_iter().flat_map(move |part| {
                let place = part.place;
                part.trackers.into_iter().map(move |(producer, tracker)| Read {
                    group: reader.group,
                    place,
                    producer,
                    tracker,
                })
            })
        });
        let connections = self.conns.iter().filter(|conn| conn.role != Role::Churn).count() as u32;
        CoreEnd {
            written: written.collect(),
            read: read.collect(),
            tally: self.shared.tally,
            unanswered,
            connections,
            busy: (busy, to.saturating_sub(from)),
        }
    }
}

/// Which of `count` things are this core's.
fn own_of(plan: &Plan, number: usize, count: u32) -> Vec<u32> {
    (0..count).filter(|k| *k as usize % plan.cores == number).collect()
}
