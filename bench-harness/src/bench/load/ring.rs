//! The driver on the broker's own ring: one ring a client core, sends and receives of all connections in one system call a turn.

use super::clock;
use super::core::{Act, ClientCore, CoreEnd};
use ringlog_engine::types::CoreId;
use ringlog_shard::io::memory::BlockPool;
use ringlog_shard::io::uring::{Uring, UringConfig, Wakers};
use ringlog_shard::io::{Accepted, ConnId, Done, Io, Socket, Wait};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A planned send nearer than this is waited for awake, nanoseconds: a sleep may last longer.
const AWAKE: u64 = 50_000;
/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of outgoing blocks, all connections together.
const OUTGOING: usize = 1 << 30;
/// Completions told at once.
const DONE: usize = 512;

struct Driver {
    core: ClientCore,
    ring: Uring,
    pool: BlockPool,
    /// The ring's name of each of the core's connections, and back.
    names: Vec<Option<ConnId>>,
    numbers: HashMap<ConnId, usize>,
    /// Nanoseconds spent looking for what was not there.
    spun: u64,
}

/// Runs a core to its end, on this thread.
pub(super) fn run(mut core: ClientCore) -> CoreEnd {
    core.at(clock::now());
    match make_ring() {
        Ok(ring) => {
            let pool = BlockPool::new(OUTGOING);
            let mut driver = Driver { core, ring, pool, names: Vec::new(), numbers: HashMap::new(), spun: 0 };
            driver.turns();
            driver.core.finish()
        }
        Err(why) => {
            core.fail(format!("no ring for the clients: {why}"));
            core.finish()
        }
    }
}

fn make_ring() -> Result<Uring, String> {
    let wakers = Wakers::new(1).map_err(|e| e.to_string())?;
    Uring::new(UringConfig::new(CoreId(0), wakers, Instant::now())).map_err(|e| e.to_string())
}

impl Driver {
    fn turns(&mut self) {
        let mut done = Vec::with_capacity(DONE);
        loop {
            self.core.at(clock::now());
            self.core.turn();
            let spun = self.spun;
            self.core.note_usage(|| clock::thread_cpu().saturating_sub(spun));
            while let Some(act) = self.core.act() {
                self.act(act);
            }
            if self.core.has_ended() {
                return;
            }
            let (deadline, exact) = self.core.deadline();
            let began = clock::now();
            let left = deadline.saturating_sub(began);
            let awake = exact && left <= AWAKE;
            let wait =
                if awake { Wait::No } else { Wait::Micros(left.saturating_sub(if exact { AWAKE } else { 0 }) / 1000) };
            if let Err(e) = self.ring.poll(wait, &mut done) {
                return self.core.fail(format!("the clients' ring failed: {e}"));
            }
            let now = clock::now();
            if awake && done.is_empty() {
                self.spun += now - began;
            }
            self.core.at(now);
            done.drain(..).for_each(|done| self.on_done(done));
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Open(number, addr) => match open(addr) {
                Ok(accepted) => {
                    let name = self.ring.adopt(accepted);
                    self.ring.receive(name);
                    self.names.resize(self.names.len().max(number + 1), None);
                    self.names[number] = Some(name);
                    self.numbers.insert(name, number);
                    self.core.connected(number);
                }
                Err(e) => self.core.closed(number, &e.to_string()),
            },
            Act::Send(number) => {
                let Some(name) = self.names.get(number).copied().flatten() else { return };
                let (ring, pool) = (&mut self.ring, &mut self.pool);
                let mut full = false;
                self.core.hand(number, |out| {
                    match pool.take(out.len()) {
                        Some(mut block) => {
                            block.append(out);
                            ring.send(name, vec![block.span(0, out.len())]);
                        }
                        None => full = true,
                    }
                    false
                });
                if full {
                    self.core.fail(format!("more than {OUTGOING} bytes on their way to the broker"));
                }
            }
            Act::Close(number) => {
                if let Some(name) = self.names.get(number).copied().flatten() {
                    self.ring.close(name);
                }
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Received { conn, bytes } => {
                let Some(number) = self.numbers.get(&conn).copied() else { return };
                if bytes.is_empty() {
                    self.ring.close(conn);
                    self.core.closed(number, "it ended");
                } else {
                    self.core.received(number, bytes.bytes());
                }
            }
            Done::ReceiveFailed { conn, errno } => self.broken(conn, errno),
            Done::Sent { conn, result: 0, .. } => {
                if let Some(number) = self.numbers.get(&conn) {
                    self.core.sent(*number);
                }
            }
            Done::Sent { conn, result, .. } => self.broken(conn, -result),
            Done::Closed { conn } => {
                if let Some(number) = self.numbers.remove(&conn) {
                    self.names[number] = None;
                    self.core.closed(number, "closed here");
                }
            }
            _ => {}
        }
    }

    fn broken(&mut self, conn: ConnId, errno: i32) {
        if let Some(number) = self.numbers.get(&conn) {
            self.core.closed(*number, &std::io::Error::from_raw_os_error(errno).to_string());
            self.ring.close(conn);
        }
    }
}

fn open(addr: SocketAddr) -> std::io::Result<Accepted> {
    let stream = TcpStream::connect_timeout(&addr, CONNECT)?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    Ok(Accepted { socket: Socket::Kernel(stream.into()), peer, local, listener: 0 })
}
