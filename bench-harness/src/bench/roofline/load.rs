//! The load: one thread, epoll, the same frames to any runtime. Each answer is checked against the checksum of its frame, and a
//! load does not end before every frame it sent is answered. Closed loop: the next frame follows an answer, and the thread never
//! sleeps. Open loop: frames follow a plan, their latency counts from the plan, and the thread sleeps until the next is due: one
//! that spins holds up the kernel's own workers on its CPU.

use super::super::Failure;
use super::super::result::Latency;
use super::frames::{ANSWER, Tape};
use super::shape::Frames;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use nix::time::clock_gettime;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const TIMER: u64 = u64::MAX;
/// Nanoseconds without an answer after which a server is given up.
const STALL: u64 = 10_000_000_000;
/// Bytes in flight over which an open loop holds frames back (they count from their plan all the same).
const OPEN_IN_FLIGHT: usize = 256 << 20;

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub frames: Frames,
    /// Frames a second: an open loop.
    pub rate: Option<f64>,
    pub warm: Duration,
    pub measure: Duration,
    /// Sleeps where it could spin: the server runs on the same CPU.
    pub yields: bool,
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// Frames sent on each connection in the whole load, with warm-up and end, every one answered.
    pub frames: Vec<u64>,
    /// Frames answered while measuring, and how long that was.
    pub measured: u64,
    pub elapsed: Duration,
    pub latency: Latency,
    /// How late planned frames were sent.
    pub lag: Latency,
    /// Share of the measured time in which the load had something to do.
    pub busy: f64,
}

/// One connection.
struct Conn {
    stream: TcpStream,
    /// Where in the tape the next byte to send is, and how many are due.
    at: usize,
    due: usize,
    /// When the frames that were not answered were sent or planned, nanoseconds.
    since: VecDeque<u64>,
    /// Bytes of the next answer that have come, the first of them, and which frame of the tape it is for.
    have: usize,
    checksum: [u8; 4],
    next: usize,
    answered: u64,
    watched: bool,
}

struct Load<'a> {
    tape: &'a Tape,
    ask: Ask,
    epoll: Epoll,
    conns: Vec<Conn>,
    begin: Instant,
    /// Frames sent or due to be, and those of them that were answered.
    sent: u64,
    done: u64,
    answered: Answered,
    /// Answers count from the first of these times to the second, nanoseconds; frames are sent until the second.
    from: u64,
    until: u64,
    last_answer: u64,
}

/// Runs a load against a server on this machine. `edge` is called when measuring begins and when it ends.
pub fn run(port: u16, tape: &Tape, ask: Ask, mut edge: impl FnMut()) -> Result<Answered, Failure> {
    let failed = |e: io::Error| Failure::because(format!("the load of {}", ask.frames), e);
    let mut load = Load::connect(port, tape, ask).map_err(failed)?;
    load.go(&mut edge).map_err(failed)?;
    load.answered.frames = load.conns.iter().map(|conn| conn.answered).collect();
    Ok(load.answered)
}

impl Load<'_> {
    fn connect(port: u16, tape: &Tape, ask: Ask) -> io::Result<Load<'_>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut conns = Vec::new();
        for k in 0..ask.frames.conns {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, k as u64))?;
            let since = VecDeque::with_capacity(ask.frames.depth);
            conns.push(Conn {
                stream,
                at: 0,
                due: 0,
                since,
                have: 0,
                checksum: [0; 4],
                next: 0,
                answered: 0,
                watched: false,
            });
        }
        let from = ask.warm.as_nanos() as u64;
        let until = from + ask.measure.as_nanos() as u64;
        let (answered, begin) = (Answered::default(), Instant::now());
        Ok(Load { tape, ask, epoll, conns, begin, sent: 0, done: 0, answered, from, until, last_answer: 0 })
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    fn go(&mut self, edge: &mut impl FnMut()) -> io::Result<()> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        self.epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let spins = self.ask.rate.is_none() && !self.ask.yields;
        let (mut events, mut buffer) = (vec![EpollEvent::empty(); 256], vec![0; 64 << 10]);
        let (mut measuring, mut idle, mut began, mut cpu) = (false, 0, 0, 0);
        self.begin = Instant::now();
        let mut before = 0;
        if self.ask.rate.is_none() {
            for conn in 0..self.conns.len() {
                (0..self.ask.frames.depth).for_each(|_| self.plan(conn, 0));
                self.flush(conn)?;
            }
        }
        while self.done < self.sent || before < self.until {
            if !spins {
                self.arm(&timer, before)?;
            }
            let wait = if spins { EpollTimeout::ZERO } else { EpollTimeout::NONE };
            let count = match self.epoll.wait(&mut events, wait) {
                Err(nix::Error::EINTR) => 0,
                counted => counted?,
            };
            let now = self.now();
            if measuring && count == 0 {
                idle += now - before;
            }
            before = now;
            if !measuring && (self.from..self.until).contains(&now) {
                (measuring, idle, began, cpu) = (true, 0, now, thread_cpu());
                edge();
            } else if measuring && now >= self.until {
                edge();
                measuring = false;
                let took = now - began;
                let busy = if spins { took - idle.min(took) } else { thread_cpu() - cpu };
                self.answered.elapsed = Duration::from_nanos(took);
                self.answered.busy = busy as f64 / took as f64;
            }
            if now - self.last_answer.min(now) > STALL && self.done < self.sent {
                let missing = self.sent - self.done;
                return Err(io::Error::new(ErrorKind::TimedOut, format!("{missing} frames were not answered")));
            }
            self.send_planned(now)?;
            for event in &events[..count] {
                if event.data() != TIMER {
                    self.on(*event, measuring, &mut buffer)?;
                }
            }
        }
        Ok(())
    }

    /// Wakes the wait when the next frame is due, or the next thing that time brings.
    fn arm(&self, timer: &TimerFd, now: u64) -> io::Result<()> {
        let mut next = if now < self.from { self.from } else { self.until };
        if now >= self.until {
            next = now + STALL;
        } else if let Some(rate) = self.ask.rate {
            next = next.min((self.sent as f64 * 1e9 / rate) as u64);
        }
        // Zero would disarm it.
        let wait = Duration::from_nanos(next.saturating_sub(self.now()).max(1));
        Ok(timer.set(Expiration::OneShot(TimeSpec::from_duration(wait)), TimerSetTimeFlags::empty())?)
    }

    /// One more frame for a connection.
    fn plan(&mut self, conn: usize, since: u64) {
        self.conns[conn].since.push_back(since);
        self.conns[conn].due += self.tape.frame;
        self.sent += 1;
    }

    /// Open loop: sends what is due by now.
    fn send_planned(&mut self, now: u64) -> io::Result<()> {
        let Some(rate) = self.ask.rate else { return Ok(()) };
        let most = (OPEN_IN_FLIGHT / self.tape.frame).max(self.conns.len()) as u64;
        loop {
            let planned = (self.sent as f64 * 1e9 / rate) as u64;
            if planned > now || planned >= self.until || self.sent - self.done >= most {
                return Ok(());
            }
            if (self.from..self.until).contains(&planned) {
                self.answered.lag.record(now - planned);
            }
            let conn = (self.sent % self.conns.len() as u64) as usize;
            self.plan(conn, planned);
            self.flush(conn)?;
        }
    }

    fn on(&mut self, event: EpollEvent, measuring: bool, buffer: &mut [u8]) -> io::Result<()> {
        let conn = event.data() as usize;
        if event.events().intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            match self.conns[conn].stream.read(buffer) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed a connection")),
                Ok(len) => self.answers(conn, &buffer[..len], measuring)?,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        self.flush(conn)
    }

    /// Takes answers, or pieces of them.
    fn answers(&mut self, conn: usize, mut bytes: &[u8], measuring: bool) -> io::Result<()> {
        let now = self.now();
        self.last_answer = now;
        while !bytes.is_empty() {
            let it = &mut self.conns[conn];
            let (piece, rest) = bytes.split_at(bytes.len().min(ANSWER - it.have));
            bytes = rest;
            if it.have < 4 {
                let head = piece.len().min(4 - it.have);
                it.checksum[it.have..it.have + head].copy_from_slice(&piece[..head]);
            }
            it.have += piece.len();
            if it.have < ANSWER {
                return Ok(());
            }
            it.have = 0;
            let expected = self.tape.checksums[it.next];
            it.next = (it.next + 1) % self.tape.checksums.len();
            let since = it.since.pop_front();
            let (Some(since), true) = (since, u32::from_be_bytes(it.checksum) == expected) else {
                let said = u32::from_be_bytes(it.checksum);
                let why = format!("connection {conn} was answered {said:#x} where {expected:#x} was due");
                return Err(io::Error::new(ErrorKind::InvalidData, why));
            };
            it.answered += 1;
            self.done += 1;
            if measuring {
                self.answered.measured += 1;
                self.answered.latency.record(now - since);
            }
            if self.ask.rate.is_none() && now < self.until {
                self.plan(conn, now);
            }
        }
        Ok(())
    }

    /// Sends what is due on a connection, as far as there is room.
    fn flush(&mut self, conn: usize) -> io::Result<()> {
        let (it, tape) = (&mut self.conns[conn], &self.tape.bytes);
        while it.due > 0 {
            let first = it.due.min(tape.len() - it.at);
            let second = (it.due - first).min(it.at);
            let pieces = [IoSlice::new(&tape[it.at..it.at + first]), IoSlice::new(&tape[..second])];
            let sent = match it.stream.write_vectored(&pieces) {
                Ok(sent) => sent,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            };
            it.due -= sent;
            it.at = (it.at + sent) % tape.len();
        }
        if it.watched != (it.due > 0) {
            it.watched = it.due > 0;
            let more = if it.watched { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            self.epoll.modify(&it.stream, &mut EpollEvent::new(EpollFlags::EPOLLIN | more, conn as u64))?;
        }
        Ok(())
    }
}

fn thread_cpu() -> u64 {
    let time = clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock of this thread");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
