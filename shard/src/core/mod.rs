//! One core: its connections, its partitions, its mail, and the loop that turns them. Nothing here blocks.
//!
//! One turn: wait; read the clock once; completions; mail; time; what was settled; commit; answer. What a turn gathered is
//! committed together, which is the group commit. The same code runs on every core; core 0 also keeps the metadata.

pub mod cold;
pub mod conn;
pub mod control;
pub mod door;
pub mod fetch;
pub mod groups;
pub mod heavy;
pub mod intake;
pub mod measure;
pub mod notices;
pub mod produce;
pub mod questions;
pub mod route;
pub mod sessions;
pub mod tell;

use crate::io::memory::{BlockMut, Span};
use crate::io::queue::{Parked, Receiver, Sender};
use crate::io::{Accepted, Done, Io, Wait, now_at};
use crate::mail::{Mail, ReplyTo, SlotAddr};
use crate::metrics::core::CoreMeter;
use crate::store::ranges::FileRange;
use crate::store::space::Space;
use crate::store::{AckTo, Purpose, Ring, SETTLED_ROOM, Store, Waiter};
use conn::{Conn, Records, Slot, Work};
use control::Control;
use door::Door;
use groups::Coordinators;
use measure::Part;
use ringlog_engine::batch::Scratch;
use ringlog_engine::config::BrokerConfig;
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::types::{CoreId, MonoMs, Now};
use route::Routes;
use sessions::Sessions;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of answers gathered into one send, and the block they are gathered in.
const SEND_BYTES: usize = 4 << 20;
const OUT_BLOCK: usize = 64 << 10;
/// Parts of a request whose lists are kept to be used again.
const SPARE_PARTS: usize = 4096;
/// Memory that the rewriting of one batch leaves in a scratch, at most.
pub(crate) const SCRATCH_KEEP: usize = 4 << 20;
/// Room of a new list of what is sent, in pieces: most answers never need more.
const SEND_ROOM: usize = 128;
/// Things due besides one for each connection: for these there is always room.
const DUE_BESIDE: usize = 64;
/// Mail taken from one core in one turn.
const MAIL_PER_TURN: usize = 1024;
/// Completions taken in one turn.
const DONE_MAX: usize = 4096;
/// How often connections are looked at for idleness, and memory and disks for their levels, ms.
const HOUSEKEEPING_MS: u64 = 1000;

/// How the cores of a node reach each other, the checker, which is one more after the last core, and the admin thread, which comes
/// after that.
pub struct Post {
    /// By core; the own entry is unused.
    pub to: Vec<Sender<Mail>>,
    pub from: Vec<Receiver<Mail>>,
    /// Which of them sleep.
    pub parked: Arc<[Parked]>,
    /// What did not fit in a queue, by core.
    pub overflow: Vec<VecDeque<Mail>>,
    /// Cores to wake at the end of the turn.
    wake: Vec<bool>,
}

impl Post {
    pub fn new(to: Vec<Sender<Mail>>, from: Vec<Receiver<Mail>>, parked: Arc<[Parked]>) -> Post {
        let cores = to.len();
        Post { to, from, parked, overflow: (0..cores).map(|_| VecDeque::new()).collect(), wake: vec![false; cores] }
    }

    pub fn send(&mut self, core: CoreId, mail: Mail) {
        let k = core.0 as usize;
        self.wake[k] = true;
        if !self.overflow[k].is_empty() && !planted(Bug::MailOvertakes) {
            return self.overflow[k].push_back(mail);
        }
        if let Err(mail) = self.to[k].push(mail) {
            self.overflow[k].push_back(mail);
        }
    }

    /// Moves what did not fit, and wakes the cores that sleep on new mail.
    pub(crate) fn flush(&mut self, mut wake: impl FnMut(CoreId)) {
        for k in 0..self.to.len() {
            while let Some(mail) = self.overflow[k].pop_front() {
                if let Err(mail) = self.to[k].push(mail) {
                    self.overflow[k].push_front(mail);
                    self.wake[k] = true;
                    break;
                }
            }
            if std::mem::take(&mut self.wake[k]) && self.parked[k].must_wake() {
                wake(CoreId(k as u16));
            }
        }
    }

    pub(crate) fn waiting(&mut self) -> bool {
        self.from.iter_mut().any(|r| !r.is_empty()) || self.overflow.iter().any(|o| !o.is_empty())
    }
}

/// What a core is started with.
pub struct Setup {
    pub core: CoreId,
    pub cores: u16,
    pub config: Arc<BrokerConfig>,
    /// By listener: what its clients are told to connect to.
    pub advertised: Vec<crate::api::brokers::Advertised>,
    pub dirs: Vec<crate::api::DirInfo>,
    pub seed: u64,
    /// Room and failures of the directories.
    pub space: Arc<Space>,
    /// Most connections of the node that open files allow.
    pub connections_max: u32,
    /// Set by a signal: end cleanly.
    pub stop: Arc<AtomicBool>,
    /// Called once, when every directory's first commit is durable.
    pub ready: Option<Box<dyn FnOnce() + Send>>,
}

/// When something is due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    /// A connection's parked fetch answers with what there is.
    Fetch {
        conn: u32,
        generation: u32,
    },
    Retention,
    Producers,
    Housekeeping,
    Accept(u16),
}

pub struct Shard<I: Io> {
    pub io: I,
    pub setup: Setup,
    /// With the dynamic settings of the image.
    pub config: Arc<BrokerConfig>,
    pub now: Now,
    pub store: Store,
    pub routes: Routes,
    pub post: Post,
    conns: Vec<Option<Conn>>,
    free_conns: Vec<u32>,
    generation: u32,
    /// `Io`'s connection to ours.
    by_io: std::collections::BTreeMap<crate::io::ConnId, u32>,
    dirty: Vec<u32>,
    /// Those and the settled and rung ones of the store that are being gone through: empty between times.
    answering: Vec<u32>,
    settling: Vec<Waiter>,
    ringing: Vec<Ring>,
    /// Connections whose next request waits for memory, in order.
    starved: VecDeque<u32>,
    /// Connections whose answers wait for memory to be sent from.
    unsent: Vec<u32>,
    intake: intake::Intake,
    notices: notices::Notices,
    heavy: heavy::Line,
    /// Appends from other cores that wait for memory, in order.
    stalled: VecDeque<crate::mail::Append>,
    due: BinaryHeap<Reverse<(MonoMs, Due)>>,
    sessions: Sessions,
    waiting: questions::Waiting,
    pub groups: Coordinators,
    pub control: Option<Control>,
    scratch: Scratch,
    out: Option<BlockMut>,
    done: Vec<Done>,
    /// To be used again: lists of what is sent, and the parts of slots.
    spare_sends: Vec<Vec<Span>>,
    spare_out: Vec<Vec<u8>>,
    spare_inserts: Vec<VecDeque<(usize, Records)>>,
    spare_patches: Vec<Vec<ringlog_net::produce::ProducePatch>>,
    #[expect(clippy::vec_box, reason = "the boxes move into slots and back")]
    spare_fetch: Vec<Box<fetch::FetchSlot>>,
    /// Empty, for moving partitions of a session, and for what a request says of one.
    spare_parts: Vec<sessions::SessionPart>,
    spare_changed: Vec<fetch::FetchPart>,
    spare_forgotten: Vec<sessions::Forgotten>,
    /// The name of a topic that is known by its id alone.
    no_name: Arc<str>,
    door: Door,
    /// Bytes of requests begun and not answered.
    in_flight: usize,
    parked_fetches: usize,
    random: u64,
    stopping: bool,
    meter: Arc<CoreMeter>,
    clock: measure::Clock,
}

impl<I: Io> Shard<I> {
    pub fn new(
        io: I,
        setup: Setup,
        mut store: Store,
        routes: Routes,
        post: Post,
        groups: Coordinators,
        control: Option<Control>,
    ) -> Self {
        let config = Arc::new(setup.config.with_dynamic(
            routes.image.broker_defaults(),
            routes.image.broker_configs(setup.config.node_id).unwrap_or(&Default::default()),
        ));
        let cores_listen = setup.config.advertise_cores.then_some(setup.advertised.len() as u16);
        let now = io.now();
        let frame_max = store.frame_max().min(config.limits.request_bytes as usize);
        let intake = intake::Intake::new(frame_max, store.intake_max().min(core_budget(&config, setup.cores)));
        let mut shard = Shard {
            clock: measure::Clock::at(io.nanos()),
            meter: store.meter.clone(),
            io,
            config,
            now,
            store,
            routes,
            post,
            conns: Vec::new(),
            free_conns: Vec::new(),
            generation: 0,
            by_io: Default::default(),
            dirty: Vec::new(),
            answering: Vec::new(),
            settling: Vec::with_capacity(SETTLED_ROOM),
            ringing: Vec::with_capacity(SETTLED_ROOM),
            starved: VecDeque::new(),
            unsent: Vec::new(),
            intake,
            notices: notices::Notices::default(),
            heavy: heavy::Line::default(),
            stalled: VecDeque::new(),
            due: BinaryHeap::new(),
            sessions: Sessions::default(),
            waiting: Default::default(),
            groups,
            control,
            scratch: Scratch::default(),
            out: None,
            done: Vec::with_capacity(DONE_MAX),
            spare_sends: Vec::new(),
            spare_out: Vec::new(),
            spare_inserts: Vec::new(),
            spare_patches: Vec::new(),
            spare_fetch: Vec::new(),
            spare_parts: Vec::new(),
            spare_changed: Vec::new(),
            spare_forgotten: Vec::new(),
            no_name: "".into(),
            door: Door::new(setup.cores, setup.connections_max, cores_listen),
            in_flight: 0,
            parked_fetches: 0,
            random: setup.seed | 1,
            stopping: false,
            setup,
        };
        shard.due.push(Reverse((now.mono.after(shard.config.retention_check_ms), Due::Retention)));
        shard.due.push(Reverse((now.mono.after(shard.config.producer_ids.expiration_check_ms), Due::Producers)));
        shard.due.push(Reverse((now.mono.after(HOUSEKEEPING_MS), Due::Housekeeping)));
        shard.look_at_disks();
        shard
    }

    /// Turns until told to stop.
    pub fn run(&mut self) -> std::io::Result<()> {
        self.clock = measure::Clock::at(self.io.nanos());
        while !self.turn()? {}
        Ok(())
    }

    /// One turn. True when the core has stopped.
    pub fn turn(&mut self) -> std::io::Result<bool> {
        let wait = self.wait();
        let me = self.setup.core.0 as usize;
        self.post.parked[me].park();
        let wait = if self.post.waiting() { Wait::No } else { wait };
        let mut done = std::mem::take(&mut self.done);
        self.io.poll(wait, &mut done)?;
        self.post.parked[me].unpark();
        self.begin_turn(done.len());
        for d in done.drain(..) {
            self.on_done(d);
        }
        self.done = done;
        self.end_part(Part::Completions);
        self.on_mail();
        self.end_part(Part::Mail);
        self.on_time();
        self.open_door();
        self.settle();
        self.resume_waiting();
        self.store.retry_waiting(self.now);
        self.store.work(&mut self.io, self.now);
        self.end_part(Part::Decide);
        self.store.commit(&mut self.io);
        self.store.trim();
        self.settle();
        self.end_part(Part::Commit);
        self.answer();
        // Requests that began when earlier answers left are committed with this turn.
        self.store.commit(&mut self.io);
        self.post.flush(|core| self.io.wake(core));
        self.end_turn();
        self.stopping |= self.setup.stop.load(Ordering::Acquire);
        if self.setup.ready.is_some()
            && self.store.is_settled_in()
            && let Some(ready) = self.setup.ready.take()
        {
            // Where one failed before that is told first.
            self.look_at_disks();
            ready();
        }
        if self.store.all_latched() {
            eprintln!("error: every log directory failed; the broker ends");
            std::process::exit(1);
        }
        Ok(self.stopping && self.store.dirs.iter().all(|d| d.latched.is_some() || d.committer.idle()))
    }

    fn wait(&mut self) -> Wait {
        let told = self.store.settled.is_empty() && self.store.rung.is_empty();
        if !self.intake.later.is_empty() || !self.dirty.is_empty() || !told {
            return Wait::No;
        }
        let short =
            !self.starved.is_empty() || !self.stalled.is_empty() || !self.unsent.is_empty() || self.heavy.stuck();
        if self.stopping || short || self.intake.waits() {
            return Wait::Micros(1000);
        }
        let due = self.due.peek().map(|Reverse((at, _))| *at);
        let door = self.door.next_deadline(&self.config.limits);
        let next = [due, door, self.store.next_deadline(), self.groups.next_deadline()].into_iter().flatten().min();
        match next {
            None => Wait::Forever,
            Some(at) => {
                Wait::Micros(at.0.saturating_sub(now_at(self.clock.last, self.now.wall).mono.0).saturating_mul(1000))
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Accepted(accepted) => {
                if let Err(accepted) = self.door.arrive(accepted, &self.config.limits) {
                    self.turn_away(accepted, "max.connections.per.ip");
                }
            }
            Done::AcceptFailed { listener, errno } => {
                let error = std::io::Error::from_raw_os_error(errno);
                self.tell(
                    notices::Kind::Crowd,
                    format_args!("accepting a connection failed ({error}); trying again in 100 ms"),
                );
                self.due.push(Reverse((self.now.mono.after(100), Due::Accept(listener))));
            }
            Done::Received { conn, bytes } => self.on_received(conn, bytes),
            Done::ReceiveFailed { conn, errno } => {
                if let Some(k) = self.by_io.get(&conn).copied() {
                    self.close_broken(k, "receiving", errno);
                }
            }
            Done::Sent { conn, mut pieces, result } => {
                pieces.clear();
                self.spare_sends.push(pieces);
                self.on_sent(conn, result);
            }
            Done::Closed { conn } => self.on_closed(conn),
            Done::Written { token, spans, result } => {
                self.store.give_spans(spans);
                match Purpose::of(token) {
                    Purpose::CommitWrite { dir, sequence } => {
                        self.store.on_commit_write(&mut self.io, dir, sequence, result);
                    }
                    Purpose::Hand { part } => self.store.on_hand(&mut self.io, part, result, self.now),
                    purpose => panic!("a write for {purpose:?}"),
                }
            }
            Done::Synced { token, result } => match Purpose::of(token) {
                Purpose::CommitSync { dir, sequence } => self.store.on_commit_sync(&mut self.io, dir, sequence, result),
                Purpose::Hand { part } => self.store.on_hand(&mut self.io, part, result, self.now),
                Purpose::Cover { dir } => self.store.on_cover(dir, result),
                purpose => panic!("a flush for {purpose:?}"),
            },
            Done::Read { token, block, result } => match Purpose::of(token) {
                Purpose::ColdRead { part } => self.store.on_cold_read(&mut self.io, part, block, result),
                purpose => panic!("a read for {purpose:?}"),
            },
            Done::File { token, result } => match Purpose::of(token) {
                Purpose::Hand { part } => self.store.on_hand(&mut self.io, part, result, self.now),
                Purpose::ColdRead { part } => self.store.on_cold_file(&mut self.io, part, result),
                Purpose::ShareFile { part } => self.store.on_shared_file(&mut self.io, part, result),
                Purpose::Forgotten => {}
                purpose => panic!("a file operation for {purpose:?}"),
            },
            Done::Woken => {}
        }
    }

    fn on_mail(&mut self) {
        for k in 0..self.post.from.len() {
            for _ in 0..MAIL_PER_TURN {
                let Some(mail) = self.post.from[k].pop() else { break };
                self.meter.mail.add(1);
                self.on_letter(mail);
            }
        }
    }

    fn on_letter(&mut self, mail: Mail) {
        match mail {
            Mail::Connection(accepted) => self.serve(accepted),
            Mail::Append(append) => self.on_remote_append(append),
            Mail::Appended { reply, outcome, pieces } => {
                self.store.give_spans(pieces);
                self.on_appended(reply.slot, reply.part, &outcome);
            }
            Mail::Check(check) => panic!("a core was asked to check a batch of {:?}", check.reply),
            Mail::Checked(checked) => self.on_checked(*checked),
            Mail::Read { read, spans } => self.on_remote_read(&read, spans),
            Mail::ReadAnswer { reply, answer } => self.on_read_answer(reply.slot, reply.part, answer),
            Mail::Ring { reply } => self.on_ring(reply.slot),
            Mail::Return { spans } => self.store.give_spans(spans),
            Mail::Ask { reply, question } => self.on_question(reply, *question),
            Mail::Answer { reply, answer } => self.on_answer(reply.slot, reply.part, *answer),
            Mail::Image { image, from } => {
                let revision = image.revision();
                self.apply_image(image);
                self.post.send(from, Mail::ImageApplied { revision });
            }
            Mail::ConnectionClosed { core, ip } => self.door.left(core, ip),
            Mail::ImageApplied { revision } => self.on_image_applied(revision),
            Mail::Tell(tell) => self.on_tell(tell),
            Mail::Stop => self.stopping = true,
        }
    }

    fn on_time(&mut self) {
        while let Some(Reverse((at, due))) = self.due.peek().copied() {
            if at > self.now.mono {
                break;
            }
            self.due.pop();
            match due {
                Due::Fetch { conn, generation } => self.on_fetch_deadline(conn, generation, at),
                Due::Retention => {
                    self.store.retain(self.now, &mut self.io);
                    let next = self.now.mono.after(self.config.retention_check_ms.max(10));
                    self.due.push(Reverse((next, Due::Retention)));
                }
                Due::Producers => {
                    let ids = &self.config.producer_ids;
                    self.store.expire_producers(self.now, ids.expiration_ms as i64);
                    let next = self.now.mono.after(ids.expiration_check_ms.max(10));
                    self.due.push(Reverse((next, Due::Producers)));
                }
                Due::Housekeeping => {
                    self.reap_idle();
                    self.shed();
                    self.notices.sum_up();
                    self.look_at_disks();
                    self.store.close_parted(&mut self.io);
                    self.store.bound_producers(self.config.limits.producers_per_core as usize, None);
                    self.due.push(Reverse((self.now.mono.after(HOUSEKEEPING_MS), Due::Housekeeping)));
                }
                Due::Accept(listener) => self.io.accept(listener),
            }
        }
        self.groups_on_time();
    }

    /// Tells everyone whose append was settled and wakes fetches, until nothing follows from it any more.
    fn settle(&mut self) {
        while !self.store.settled.is_empty() || !self.store.rung.is_empty() {
            let mut settled = std::mem::take(&mut self.settling);
            std::mem::swap(&mut settled, &mut self.store.settled);
            for Waiter { to, outcome, .. } in settled.drain(..) {
                match to {
                    AckTo::Slot { slot, part } => self.on_appended(slot, part, &outcome),
                    AckTo::Remote { reply, pieces } => {
                        self.post.send(reply.core, Mail::Appended { reply, outcome, pieces });
                    }
                    AckTo::Group { partition, append } => self.on_group_appended(partition, append, outcome.error),
                    AckTo::Control { append } => self.on_control_appended(append, outcome.error),
                    AckTo::Deleted { job, part } => self.on_records_deleted(job, part, &outcome),
                }
            }
            self.settling = settled;
            let mut rung = std::mem::take(&mut self.ringing);
            std::mem::swap(&mut rung, &mut self.store.rung);
            for ring in rung.drain(..) {
                match ring {
                    Ring::Local(slot) => self.on_ring(slot),
                    Ring::Remote(reply) => self.post.send(reply.core, Mail::Ring { reply }),
                    Ring::Question(id) => self.on_question_rung(id),
                }
            }
            self.ringing = rung;
        }
    }

    /// Takes in the connections that may come in now.
    fn open_door(&mut self) {
        while let Some((core, accepted)) = self.door.admit(self.now.mono, &self.config.limits) {
            if core == self.setup.core {
                self.serve(accepted);
            } else {
                self.post.send(core, Mail::Connection(accepted));
            }
        }
        while let Some(accepted) = self.door.turn_away(self.config.sockets.backlog) {
            self.turn_away(accepted, "socket.listen.backlog.size, beside those that are served,");
        }
    }

    fn turn_away(&mut self, accepted: Accepted, limit: &str) {
        let why = format_args!("{}: closed: more connections than {limit} allows", accepted.peer);
        self.tell(notices::Kind::Crowd, why);
    }

    /// Takes over what is known of the directories' room and failures, and tells of failures here.
    fn look_at_disks(&mut self) {
        let reserve = i64::try_from(self.config.disk_reserve_bytes).unwrap_or(i64::MAX);
        let space = self.setup.space.clone();
        for (dir, info) in (0..).zip(self.setup.dirs.iter_mut()) {
            (info.total_bytes, info.usable_bytes) = space.of(dir);
            let short = info.usable_bytes >= 0 && info.usable_bytes < reserve;
            self.store.set_short(dir, short.then_some((info.usable_bytes, reserve)));
            if self.store.dirs[usize::from(dir)].latched.is_some() {
                space.fail(dir);
            } else if space.has_failed(dir) {
                self.store.latch(dir, "a write or flush of another core failed".to_string());
            }
            info.usable = self.store.dirs[usize::from(dir)].latched.is_none();
        }
    }

    fn serve(&mut self, accepted: Accepted) {
        // Sockets are numbered core by core, each core's in the order of the listeners.
        let (peer, listener) = (accepted.peer, accepted.listener % self.setup.advertised.len() as u16);
        let io = self.io.adopt(accepted);
        self.generation = self.generation.wrapping_add(1);
        let conn = Conn::new(io, self.generation, peer, listener, self.now.mono);
        let k = match self.free_conns.pop() {
            Some(k) => {
                self.conns[k as usize] = Some(conn);
                k
            }
            None => {
                // Each may be sending at any time.
                self.spare_sends.push(Vec::with_capacity(SEND_ROOM));
                self.conns.push(Some(conn));
                self.conns.len() as u32 - 1
            }
        };
        self.by_io.insert(io, k);
        self.meter.opened.add(1);
        self.due.reserve((self.conns.len() + DUE_BESIDE).saturating_sub(self.due.len()));
        self.io.receive(io);
    }

    /// Closes a connection and says why.
    fn close_for(&mut self, k: u32, kind: notices::Kind, why: std::fmt::Arguments<'_>) {
        if let Some(conn) = &self.conns[k as usize] {
            let peer = conn.peer;
            self.tell(kind, format_args!("{peer}: closed: {why}"));
        }
        self.close(k);
    }

    fn tell(&mut self, kind: notices::Kind, line: std::fmt::Arguments<'_>) {
        self.meter.dropped[kind as usize].add(1);
        self.notices.tell(self.now.mono, kind, line);
    }

    /// Closes a connection that failed. A peer that is gone is no news; anything else is.
    fn close_broken(&mut self, k: u32, doing: &str, errno: i32) {
        match errno {
            libc::ECONNRESET | libc::EPIPE | libc::ETIMEDOUT | libc::ECANCELED => self.close(k),
            _ => {
                let error = std::io::Error::from_raw_os_error(errno);
                self.close_for(k, notices::Kind::Broken, format_args!("{doing} failed ({error})"));
            }
        }
    }

    fn conn_of(&mut self, slot: SlotAddr) -> Option<&mut Conn> {
        self.conns.get_mut(slot.conn as usize)?.as_mut().filter(|c| c.generation == slot.generation)
    }

    fn mark(&mut self, k: u32) {
        if let Some(conn) = self.conns[k as usize].as_mut()
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(k);
        }
    }

    /// Sends what is ready, connection by connection, in the order of the requests.
    fn answer(&mut self) {
        let mut unsent = std::mem::take(&mut self.unsent);
        for k in unsent.drain(..) {
            if let Some(conn) = self.conns[k as usize].as_mut() {
                conn.unsent = false;
                self.mark(k);
            }
        }
        self.unsent = unsent;
        let mut dirty = std::mem::take(&mut self.answering);
        std::mem::swap(&mut dirty, &mut self.dirty);
        for k in dirty.drain(..) {
            if let Some(conn) = self.conns[k as usize].as_mut() {
                conn.dirty = false;
                self.send_ready(k);
            }
        }
        self.answering = dirty;
    }

    fn send_ready(&mut self, k: u32) {
        let conn = self.conns[k as usize].as_mut().expect("it is dirty");
        if conn.sending || conn.closing {
            return;
        }
        let mut pieces = self.spare_sends.pop().unwrap_or_default();
        let mut bytes = 0;
        let mut finished = 0;
        let mut range = None;
        while let Some(slot) = conn.slots.front_mut()
            && matches!(slot.work, Work::Ready)
            && bytes < SEND_BYTES
            && range.is_none()
        {
            if !slot.silent && !reserve_answer(&mut self.out, &mut self.store, slot.out.len() - slot.sent) {
                conn.unsent = true;
                self.unsent.push(k);
                break;
            }
            if !slot.silent {
                let (put, from_file) = put_answer(&mut self.out, &mut self.store, slot, &mut pieces);
                bytes += put;
                range = from_file;
                conn.response_bytes += put as u64;
                self.meter.response(slot.api, put);
                if slot.sent < slot.out.len() {
                    break;
                }
            }
            let mut slot = conn.slots.pop_front().expect("it is there");
            conn.first_request += 1;
            conn.in_flight -= slot.bytes;
            self.in_flight -= slot.bytes;
            finished += 1;
            if !slot.silent {
                self.meter.answered(slot.api, self.clock.last - slot.begun);
            }
            slot.out.clear();
            slot.inserts.clear();
            slot.patches.clear();
            // What a huge answer needed is given back.
            if slot.out.capacity() <= OUT_BLOCK {
                self.spare_out.push(slot.out);
            }
            if slot.inserts.capacity() <= SPARE_PARTS {
                self.spare_inserts.push(slot.inserts);
            }
            if slot.patches.capacity() <= SPARE_PARTS {
                self.spare_patches.push(slot.patches);
            }
        }
        if pieces.is_empty() && range.is_none() {
            self.spare_sends.push(pieces);
            if conn.ended && conn.slots.is_empty() && !conn.starving {
                return self.close(k);
            }
        } else {
            (conn.sending, conn.sending_bytes, conn.sending_since) = (true, bytes, self.now.mono);
            match &range {
                Some(range) => {
                    self.io.send_file(conn.io, pieces, range.file(), u64::from(range.position), range.len);
                }
                None => self.io.send(conn.io, pieces),
            }
            conn.sending_range = range;
        }
        if finished > 0 {
            self.go_on(k);
        }
    }

    /// An answer left, or was taken: requests that waited for it begin.
    fn go_on(&mut self, k: u32) {
        if self.conns[k as usize].as_ref().is_some_and(|c| c.paused || c.backlog() > 0) {
            self.proceed(k);
        }
    }

    fn on_sent(&mut self, io: crate::io::ConnId, result: i32) {
        let Some(k) = self.by_io.get(&io).copied() else { return };
        let conn = self.conns[k as usize].as_mut().expect("it is known");
        (conn.sending, conn.sending_bytes) = (false, 0);
        let range = conn.sending_range.take();
        if let Some(range) = range.filter(|_| result == -libc::EIO) {
            range.fail();
        }
        if result < 0 {
            return self.close_broken(k, "sending", -result);
        }
        conn.last_active = self.now.mono;
        self.mark(k);
        self.go_on(k);
    }

    fn close(&mut self, k: u32) {
        let Some(conn) = self.conns[k as usize].as_mut().filter(|c| !c.closing) else { return };
        conn.closing = true;
        let io = conn.io;
        self.forget_rings(k);
        self.io.close(io);
    }

    fn on_closed(&mut self, io: crate::io::ConnId) {
        let Some(k) = self.by_io.remove(&io) else { return };
        let conn = self.conns[k as usize].take().expect("it is known");
        self.in_flight -= conn.in_flight;
        self.parked_fetches -= conn.slots.iter().filter(|slot| matches!(slot.work, Work::Fetch(_))).count();
        self.intake.forget(k, &conn);
        self.heavy.forget(k, &conn);
        self.free_conns.push(k);
        let (core, ip) = (self.setup.core, conn.peer.ip());
        if core.0 == 0 {
            self.door.left(core, ip);
        } else {
            self.post.send(CoreId(0), Mail::ConnectionClosed { core, ip });
        }
    }

    fn reap_idle(&mut self) {
        let Some(limit) = self.config.sockets.max_idle_ms else { return };
        for k in 0..self.conns.len() as u32 {
            let idle = self.conns[k as usize].as_ref().is_some_and(|c| {
                !c.closing && (c.slots.is_empty() || c.sending) && self.now.mono.0 - c.last_active.0 > limit
            });
            if idle {
                self.close(k);
            }
        }
    }

    /// Sixteen bytes of pseudo-randomness: ids, not secrets.
    fn random(&mut self) -> [u8; 16] {
        let mut out = [0; 16];
        for half in out.chunks_mut(8) {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.random;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            half.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        }
        out
    }

    fn reply_to(&self, slot: SlotAddr, part: u32) -> ReplyTo {
        ReplyTo { core: self.setup.core, slot, part }
    }
}

/// Bytes of requests one core holds: its own bound, or its share of the process's where that is less.
fn core_budget(config: &BrokerConfig, cores: u16) -> usize {
    let limits = &config.limits;
    let share = (limits.inflight_bytes / u64::from(cores)).max(limits.inflight_connection_bytes);
    limits.inflight_core_bytes.min(share) as usize
}

/// Why a request could not be begun.
enum Stop {
    Refused(ringlog_net::refusal::Refusal),
    Close(&'static str),
    NoMemory,
    /// A batch of it is for the checker, and what is begun of it is kept.
    Heavy(heavy::Went),
}

impl From<ringlog_net::refusal::Refusal> for Stop {
    fn from(refusal: ringlog_net::refusal::Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

/// Adds an answer's bytes and memory to what is sent, in order, up to the first range of a file, which is sent after them.
/// Returns the bytes added, the range's included.
fn put_answer(
    out: &mut Option<BlockMut>,
    store: &mut Store,
    slot: &mut Slot,
    pieces: &mut Vec<Span>,
) -> (usize, Option<FileRange>) {
    let mut total = 0;
    while let Some((position, records)) = slot.inserts.pop_front() {
        put_bytes(out, &slot.out[slot.sent..position], pieces);
        total += position - slot.sent;
        slot.sent = position;
        match records {
            Records::Memory(mut spans) => {
                total += spans.iter().map(Span::len).sum::<usize>();
                pieces.append(&mut spans);
                store.give_spans(spans);
            }
            Records::File(range) => return (total + range.len as usize, Some(range)),
        }
    }
    put_bytes(out, &slot.out[slot.sent..], pieces);
    total += slot.out.len() - slot.sent;
    slot.sent = slot.out.len();
    (total, None)
}

/// Makes sure that an answer's bytes fit the block answers are written to. False if there is no memory for another.
fn reserve_answer(out: &mut Option<BlockMut>, store: &mut Store, bytes: usize) -> bool {
    if bytes > 0 && out.as_ref().is_none_or(|b| b.remaining() < bytes) {
        *out = store.pool.take(OUT_BLOCK.max(bytes));
    }
    bytes == 0 || out.is_some()
}

/// Adds bytes that [`reserve_answer`] made room for.
fn put_bytes(out: &mut Option<BlockMut>, bytes: &[u8], pieces: &mut Vec<Span>) {
    if bytes.is_empty() {
        return;
    }
    let block = out.as_mut().expect("room was made");
    let at = block.len();
    block.append(bytes);
    match pieces.last_mut() {
        Some(last) if last.block.same(&block.block()) && (last.start + last.len) as usize == at => {
            last.len += bytes.len() as u32;
        }
        _ => pieces.push(block.span(at, bytes.len())),
    }
}
