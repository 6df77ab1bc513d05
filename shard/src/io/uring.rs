//! `Io` on the kernel: one io_uring per core, made, used and dropped on that core's thread.
//!
//! Memory an operation uses lives in its slot (here) until the operation's last completion; dropping the ring first ends
//! everything in flight, and forgets the memory of what does not end. Not here: what connections and files mean.

mod buffers;
mod conns;
mod files;
mod pieces;
mod pipe;
mod ring;
mod sends;
mod setup;
mod wakers;

pub use setup::{Capabilities, DirectIo, DirectIoError, SetupError, probe_direct_io};
pub use wakers::Wakers;

use super::memory::{BlockMut, Span};
use super::{Accepted, ConnId, Done, Figures, FileId, FileOp, Io, ListenOptions, Token, Wait};
use buffers::Buffers;
use conns::Conns;
use files::Disks;
use io_uring::{cqueue, opcode, types};
use pipe::Pipes;
use ring::{Kind, Ring};
use ringlog_engine::types::{CoreId, WallMs};
use sends::Sends;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How a core's ring is made.
#[derive(Clone, Debug)]
pub struct UringConfig {
    /// Which core this is; its index in `wakers`.
    pub core: CoreId,
    /// Shared by all cores of the process.
    pub wakers: Arc<Wakers>,
    /// When the process started: the zero of the monotonic clock.
    pub start: Instant,
    /// Submission slots, a power of two from 8 to 4096; eight times as many completions.
    pub entries: u32,
    /// Receive buffers shared by all connections: a power of two up to 32768.
    pub receive_buffers: u16,
    /// Bytes of each: a power of two from 4096 to 1 MiB.
    pub receive_buffer_bytes: usize,
    /// Bytes of all receive buffers, those whose spans are still held included; at least one full set. While that much is
    /// held, no connection of this core receives.
    pub receive_memory: usize,
    /// The most pipes for sending from files, two descriptors each.
    pub pipes: usize,
    /// How long to look for completions before sleeping, in microseconds, while that pays; 0 never. A loop that watches its
    /// queues too spins itself, over `poll(Wait::No)`, which enters the kernel only if there is a reason.
    pub spin_micros: u64,
}

impl UringConfig {
    /// The usual sizes: 1024 entries, 128 receive buffers of 64 KiB in 64 MiB, 32 pipes, no spinning.
    pub fn new(core: CoreId, wakers: Arc<Wakers>, start: Instant) -> UringConfig {
        UringConfig {
            core,
            wakers,
            start,
            entries: 1024,
            receive_buffers: 128,
            receive_buffer_bytes: 64 << 10,
            receive_memory: 64 << 20,
            pipes: 32,
            spin_micros: 0,
        }
    }
}

/// While receives wait for buffers that other cores hold, nobody tells when one is dropped: look again after this long.
const STARVED_MICROS: u64 = 1000;
/// Completions handled by one `poll`.
const BATCH: usize = 512;
/// How long dropping a ring waits for what is in flight.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a completion says: user data, result, flags.
type Completion = (u64, i32, u32);

/// One core's ring. Not `Send`: the kernel ties it to the thread that made it.
pub struct Uring {
    config: UringConfig,
    capabilities: Capabilities,
    ring: Ring,
    listeners: Vec<TcpListener>,
    conns: Conns,
    buffers: Buffers,
    sends: Sends,
    disks: Disks,
    /// What is done and not yet told.
    ready: VecDeque<Done>,
    batch: Vec<Completion>,
    /// The count the kernel reads off this core's bell; boxed, as the kernel writes it.
    bell: Box<u64>,
    woken: bool,
    /// The last sleep was short enough that spinning would have saved it.
    spin_pays: bool,
}

impl Uring {
    /// Makes the ring of the calling thread's core.
    pub fn new(config: UringConfig) -> Result<Uring, SetupError> {
        let ring = setup::build(config.entries)?;
        let async_truncate = setup::check_opcodes(&ring)?;
        let buffers = Buffers::new(&ring, config.receive_buffers, config.receive_buffer_bytes, config.receive_memory)?;
        let pipes = Pipes::new(config.pipes).map_err(|e| SetupError::Other("making a pipe", e.into()))?;
        let capabilities = Capabilities { kernel: setup::kernel_release(), async_truncate, pipe_bytes: pipes.bytes() };
        let mut uring = Uring {
            capabilities,
            ring: Ring::new(ring),
            listeners: Vec::new(),
            conns: Conns::default(),
            buffers,
            sends: Sends::new(pipes),
            disks: Disks::default(),
            ready: VecDeque::with_capacity(2 * BATCH),
            batch: Vec::with_capacity(BATCH),
            bell: Box::new(0),
            woken: false,
            spin_pays: true,
            config,
        };
        uring.arm_bell();
        let fd = uring.ring.inner.as_raw_fd();
        uring.config.wakers.set_ring(usize::from(uring.config.core.0), fd);
        Ok(uring)
    }

    /// What the kernel offers, for the start banner.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn arm_bell(&mut self) {
        let fd = types::Fd(self.config.wakers.bell(usize::from(self.config.core.0)));
        let memory: *mut u64 = &mut *self.bell;
        self.ring.push(opcode::Read::new(fd, memory.cast(), 8).build().user_data(Kind::Bell.data(0)));
    }

    /// Waits for a completion: spins first if that has paid lately, then sleeps.
    fn sleep(&mut self, wait: Wait) {
        let mut micros = match wait {
            Wait::No => Some(0),
            Wait::Micros(micros) => Some(micros),
            Wait::Forever => None,
        };
        if !self.conns.starved.is_empty() {
            micros = Some(micros.map_or(STARVED_MICROS, |m| m.min(STARVED_MICROS)));
        }
        let spin = Duration::from_micros(self.config.spin_micros.min(micros.unwrap_or(u64::MAX)));
        let began = Instant::now();
        if self.spin_pays && !spin.is_zero() {
            self.ring.submit();
            while began.elapsed() < spin {
                if self.ring.has_deferred() {
                    self.ring.submit();
                }
                if self.ring.has_completions() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        self.ring.wait(micros);
        self.spin_pays = began.elapsed() < spin * 2;
    }

    /// Handles the completions that are there, up to a batch.
    fn reap(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        let queue = self.ring.inner.completion();
        batch.extend(queue.take(BATCH).map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        for completion in batch.drain(..) {
            self.complete(completion);
        }
        self.batch = batch;
        if std::mem::take(&mut self.woken) {
            self.ready.push_back(Done::Woken);
        }
    }

    fn complete(&mut self, (data, result, flags): Completion) {
        let (kind, index) = Kind::of(data);
        let more = cqueue::more(flags);
        if !more && !matches!(kind, Kind::Woken | Kind::Message) {
            self.ring.in_flight -= 1;
        }
        match kind {
            Kind::Accept => self.on_accept(index as u16, result, more),
            Kind::Receive => self.on_receive(index, result, flags),
            Kind::Cancel => self.on_cancelled(index),
            Kind::Close => self.on_closed(index),
            Kind::Send => self.on_send(index, result),
            Kind::Disk => self.on_disk(index, result),
            Kind::Woken => self.woken = true,
            // That core has no ring any more, or not yet, or the kernel is out of memory: its bell always works.
            Kind::Message => self.config.wakers.ring_bell(index as usize),
            Kind::Bell => {
                self.woken = true;
                self.arm_bell();
            }
            Kind::Farewell => {}
        }
    }

    /// Moves what is ready to the loop, as much as it has room for.
    fn tell(&mut self, done: &mut Vec<Done>) {
        let room = done.capacity() - done.len();
        let ready = self.ready.len().min(room);
        done.extend(self.ready.drain(..ready));
    }
}

impl Io for Uring {
    fn wall(&self) -> WallMs {
        WallMs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64))
    }

    fn nanos(&self) -> u64 {
        self.config.start.elapsed().as_nanos() as u64
    }

    fn figures(&mut self) -> Figures {
        let (receive_held, receive_max) = self.buffers.held();
        Figures { submissions: self.ring.submissions, receive_held, receive_max }
    }

    fn poll(&mut self, wait: Wait, done: &mut Vec<Done>) -> io::Result<()> {
        assert!(done.len() < done.capacity(), "poll into a full list of {}", done.len());
        self.feed_receivers();
        let idle = self.ready.is_empty() && !self.ring.has_completions();
        if idle && wait != Wait::No {
            self.sleep(wait);
        } else {
            self.ring.submit();
        }
        if self.ready.len() < BATCH {
            self.reap();
        }
        self.tell(done);
        Ok(())
    }

    fn listen(&mut self, address: SocketAddr, options: &ListenOptions) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address)?;
        conns::prepare(&listener, options)?;
        let bound = listener.local_addr()?;
        self.listeners.push(listener);
        Ok(bound)
    }

    fn accept(&mut self, listener: u16) {
        self.arm_accept(listener);
    }

    fn adopt(&mut self, accepted: Accepted) -> ConnId {
        self.take_over(accepted)
    }

    fn receive(&mut self, conn: ConnId) {
        self.want_receive(conn);
    }

    fn pause(&mut self, conn: ConnId) {
        self.stop_receive(conn);
    }

    fn send(&mut self, conn: ConnId, pieces: Vec<Span>) {
        self.start_send(conn, pieces, FileId(-1), 0, 0);
    }

    fn send_file(&mut self, conn: ConnId, head: Vec<Span>, file: FileId, offset: u64, len: u32) {
        self.start_send(conn, head, file, offset, len);
    }

    fn close(&mut self, conn: ConnId) {
        self.start_close(conn);
    }

    fn write(&mut self, token: Token, file: FileId, offset: u64, spans: Vec<Span>) {
        self.start_write(token, file, offset, spans);
    }

    fn sync(&mut self, token: Token, file: FileId) {
        self.start_sync(token, file);
    }

    fn read(&mut self, token: Token, file: FileId, offset: u64, block: BlockMut, len: u32) {
        self.start_read(token, file, offset, block, len);
    }

    fn file(&mut self, token: Token, op: FileOp) {
        self.start_file(token, op);
    }

    fn wake(&mut self, core: CoreId) {
        if core == self.config.core {
            self.ready.push_back(Done::Woken);
            return;
        }
        match self.config.wakers.ring(usize::from(core.0)) {
            Some(fd) => self.ring.message(fd, core.0),
            None => self.config.wakers.ring_bell(usize::from(core.0)),
        }
    }
}

impl Uring {
    /// Cancels everything and reaps until the kernel holds nothing, or time is up. Answers whether it holds nothing.
    fn end_everything(&mut self) -> bool {
        for fd in self.conns.open() {
            let _ = nix::sys::socket::shutdown(fd, nix::sys::socket::Shutdown::Both);
        }
        self.ring.submit();
        let all = types::CancelBuilder::any().all();
        self.ring.push(opcode::AsyncCancel2::new(all).build().user_data(Kind::Farewell.data(0)));
        let began = Instant::now();
        while self.ring.in_flight > 0 && began.elapsed() < FAREWELL {
            self.ring.wait(Some(10_000));
            let queue = self.ring.inner.completion();
            self.batch.extend(queue.map(|entry| (entry.user_data(), entry.result(), entry.flags())));
            for (data, result, flags) in self.batch.drain(..) {
                let (kind, index) = Kind::of(data);
                if !cqueue::more(flags) && !matches!(kind, Kind::Woken | Kind::Message) {
                    self.ring.in_flight -= 1;
                }
                match kind {
                    // SAFETY: the kernel just made this descriptor for us.
                    Kind::Accept if result >= 0 => drop(unsafe { OwnedFd::from_raw_fd(result) }),
                    Kind::Message => self.config.wakers.ring_bell(index as usize),
                    Kind::Close if result != -libc::ECANCELED => self.conns.forget(index),
                    _ => {}
                }
            }
        }
        self.ring.in_flight == 0
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.config.wakers.set_ring(usize::from(self.config.core.0), -1);
        if !self.end_everything() {
            // The kernel may still write there: this memory is given up. Only a hung device gets here.
            std::mem::forget(std::mem::take(&mut self.disks));
            std::mem::forget(std::mem::replace(&mut self.bell, Box::new(0)));
            self.buffers.forget();
            self.sends.forget();
        }
        for fd in self.conns.open() {
            // SAFETY: a connection's descriptor belongs to its slot until it is closed, and the slots are going.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}
