//! Connections: accepting, receiving, closing.
//!
//! A connection's slot counts the operations the kernel holds on it; a closing one is closed when that reaches zero, and only
//! then may the slot serve another, under another generation.

use super::super::memory::Span;
use super::super::{Accepted, ConnId, Done, ListenOptions, Socket};
use super::Uring;
use super::buffers::GROUP;
use super::ring::Kind;
use io_uring::{cqueue, opcode, types};
use nix::sys::socket::{Backlog, Shutdown, listen, setsockopt, shutdown, sockopt};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// A [`ConnId`] is a slot (low bits) and a generation (the rest).
const SLOT_BITS: u32 = 20;

#[derive(Default)]
struct Conn {
    fd: RawFd,
    generation: u32,
    live: bool,
    /// The loop wants to receive.
    wanted: bool,
    /// A multishot receive is in the kernel.
    armed: bool,
    /// A cancellation of it is.
    cancelling: bool,
    /// Waits for a receive buffer.
    starved: bool,
    sending: bool,
    closing: bool,
    /// Operations in flight: the receive, cancellations, and the send however many steps it takes.
    in_flight: u32,
}

/// An IPv4 peer of a socket that listens on both is told as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Gives a listener its backlog and the buffers its connections begin with. Listening again only changes the backlog.
pub(super) fn prepare(listener: &TcpListener, options: &ListenOptions) -> std::io::Result<()> {
    if let Some(bytes) = options.send_buffer {
        setsockopt(listener, sockopt::SndBuf, &(bytes as usize))?;
    }
    if let Some(bytes) = options.receive_buffer {
        setsockopt(listener, sockopt::RcvBuf, &(bytes as usize))?;
    }
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    Ok(listen(listener, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?)
}

/// All connections of a core.
#[derive(Default)]
pub(super) struct Conns {
    slots: Vec<Conn>,
    free: Vec<u32>,
    /// Slots that wait for receive buffers, oldest first; an entry may be stale.
    pub(super) starved: VecDeque<u32>,
}

impl Conns {
    fn find(&self, id: ConnId) -> Option<u32> {
        let slot = id.0 & ((1 << SLOT_BITS) - 1);
        let conn = self.slots.get(slot as usize)?;
        (conn.live && conn.generation == id.0 >> SLOT_BITS).then_some(slot)
    }

    fn id(&self, slot: u32) -> ConnId {
        ConnId(self.slots[slot as usize].generation << SLOT_BITS | slot)
    }

    fn add(&mut self, fd: RawFd) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            assert!(self.slots.len() < 1 << SLOT_BITS, "{} connections on one core", self.slots.len());
            self.slots.push(Conn::default());
            self.slots.len() as u32 - 1
        });
        let conn = &mut self.slots[slot as usize];
        *conn = Conn { fd, generation: conn.generation, live: true, ..Conn::default() };
        self.id(slot)
    }

    /// Books a send; `None` if the connection is closing or gone. Panics if it is already sending.
    pub(super) fn begin_send(&mut self, id: ConnId) -> Option<u32> {
        let slot = self.find(id)?;
        let conn = &mut self.slots[slot as usize];
        if conn.closing {
            return None;
        }
        assert!(!conn.sending, "a second send on {id:?} while one is in flight");
        conn.sending = true;
        conn.in_flight += 1;
        Some(slot)
    }

    pub(super) fn fd(&self, slot: u32) -> RawFd {
        self.slots[slot as usize].fd
    }

    pub(super) fn is_closing(&self, slot: u32) -> bool {
        self.slots[slot as usize].closing
    }

    /// The slot's descriptor is closed.
    pub(super) fn forget(&mut self, slot: u32) {
        self.slots[slot as usize].live = false;
    }

    /// Descriptors of all connections that were not closed.
    pub(super) fn open(&self) -> impl Iterator<Item = RawFd> {
        self.slots.iter().filter(|c| c.live).map(|c| c.fd)
    }
}

impl Uring {
    pub(super) fn arm_accept(&mut self, listener: u16) {
        let fd = types::Fd(self.listeners[usize::from(listener)].as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.ring.push(entry.user_data(Kind::Accept.data(u32::from(listener))));
    }

    pub(super) fn on_accept(&mut self, listener: u16, result: i32, more: bool) {
        if result >= 0 {
            // SAFETY: the kernel just made this descriptor for us.
            let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(result) });
            // A peer that is gone already has no address, and nothing to say.
            if let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) {
                let socket = Socket::Kernel(stream.into());
                let (peer, local) = (canonical(peer), canonical(local));
                self.ready.push_back(Done::Accepted(Accepted { socket, peer, local, listener }));
            }
        }
        if more {
            return;
        }
        match -result {
            // What went wrong concerned one connection that is gone, not the listener.
            libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO => self.arm_accept(listener),
            errno @ 1.. => self.ready.push_back(Done::AcceptFailed { listener, errno }),
            _ => self.arm_accept(listener),
        }
    }

    pub(super) fn take_over(&mut self, accepted: Accepted) -> ConnId {
        let Socket::Kernel(fd) = accepted.socket else {
            panic!("the ring was given {:?}", accepted.socket);
        };
        let stream = TcpStream::from(fd);
        // A socket that refuses an option is broken, which its first operation tells.
        let _ = stream.set_nonblocking(true);
        let _ = stream.set_nodelay(true);
        let _ = setsockopt(&stream, sockopt::KeepAlive, &true);
        let id = self.conns.add(stream.into_raw_fd());
        self.sends.provide(self.conns.slots.len());
        id
    }

    pub(super) fn want_receive(&mut self, id: ConnId) {
        let Some(slot) = self.conns.find(id) else { return };
        let conn = &mut self.conns.slots[slot as usize];
        if conn.closing {
            return;
        }
        conn.wanted = true;
        self.arm_receive(slot);
    }

    /// Arms the receive if it is wanted and not in the kernel, or puts it in line if the kernel has no buffer.
    fn arm_receive(&mut self, slot: u32) {
        let conn = &mut self.conns.slots[slot as usize];
        if !conn.wanted || conn.armed || conn.starved {
            return;
        }
        if self.buffers.lent() == 0 {
            conn.starved = true;
            self.conns.starved.push_back(slot);
            return;
        }
        conn.armed = true;
        conn.in_flight += 1;
        let entry = opcode::RecvMulti::new(types::Fd(conn.fd), GROUP).build();
        self.ring.push(entry.user_data(Kind::Receive.data(slot)));
    }

    /// Gives the kernel the buffers that came home, and arms as many receives that wait for one as it has buffers.
    pub(super) fn feed_receivers(&mut self) {
        self.buffers.refill();
        let mut buffers = self.buffers.lent();
        while buffers > 0 {
            let Some(slot) = self.conns.starved.pop_front() else { return };
            if std::mem::take(&mut self.conns.slots[slot as usize].starved) {
                self.arm_receive(slot);
                buffers -= 1;
            }
        }
    }

    pub(super) fn on_receive(&mut self, slot: u32, result: i32, flags: u32) {
        let span = cqueue::buffer_select(flags).map(|id| self.buffers.filled(id, result.max(0) as usize));
        let more = cqueue::more(flags);
        let id = self.conns.id(slot);
        let conn = &mut self.conns.slots[slot as usize];
        conn.armed = more;
        if !conn.closing {
            self.deliver(slot, id, result, span);
        }
        if !more {
            self.operation_ended(slot);
            self.arm_receive(slot);
        }
    }

    /// Tells the loop what a receive brought.
    fn deliver(&mut self, slot: u32, conn: ConnId, result: i32, span: Option<Span>) {
        let state = &mut self.conns.slots[slot as usize];
        match result {
            1.. => {
                let bytes = span.expect("received bytes are in a buffer");
                self.ready.push_back(Done::Received { conn, bytes });
            }
            0 => {
                state.wanted = false;
                self.ready.push_back(Done::Received { conn, bytes: self.buffers.end() });
            }
            _ if -result == libc::ENOBUFS => {
                state.starved = true;
                self.conns.starved.push_back(slot);
            }
            // A pause; if the loop wants to receive again by now, the receive is armed anew.
            _ if matches!(-result, libc::ECANCELED | libc::EINTR | libc::EAGAIN) => {}
            _ => {
                state.wanted = false;
                self.ready.push_back(Done::ReceiveFailed { conn, errno: -result });
            }
        }
    }

    pub(super) fn stop_receive(&mut self, id: ConnId) {
        let Some(slot) = self.conns.find(id) else { return };
        let conn = &mut self.conns.slots[slot as usize];
        (conn.wanted, conn.starved) = (false, false);
        self.cancel_receive(slot);
    }

    fn cancel_receive(&mut self, slot: u32) {
        let conn = &mut self.conns.slots[slot as usize];
        if conn.armed && !conn.cancelling && !conn.closing {
            conn.cancelling = true;
            conn.in_flight += 1;
            self.ring.cancel(Kind::Receive.data(slot), Kind::Cancel.data(slot));
        }
    }

    pub(super) fn on_cancelled(&mut self, slot: u32) {
        let conn = &mut self.conns.slots[slot as usize];
        conn.cancelling = false;
        let paused = !conn.wanted;
        self.operation_ended(slot);
        if paused {
            // Armed again between the cancellation and this answer to it.
            self.cancel_receive(slot);
        }
    }

    pub(super) fn start_close(&mut self, id: ConnId) {
        let Some(slot) = self.conns.find(id) else { return };
        let conn = &mut self.conns.slots[slot as usize];
        if conn.closing {
            return;
        }
        (conn.closing, conn.wanted, conn.starved) = (true, false, false);
        let fd = conn.fd;
        // Ends what cancelling cannot reach; on a socket that the peer has reset it fails, and is not needed.
        let _ = shutdown(fd, Shutdown::Both);
        // The cancellation is an operation too: it keeps the slot until the kernel has answered it.
        conn.in_flight += 1;
        let all = types::CancelBuilder::fd(types::Fd(fd)).all();
        self.ring.push(opcode::AsyncCancel2::new(all).build().user_data(Kind::Cancel.data(slot)));
        self.end_waiting_sends(slot);
    }

    /// A send of this connection has answered.
    pub(super) fn end_send(&mut self, slot: u32) {
        self.conns.slots[slot as usize].sending = false;
        self.operation_ended(slot);
    }

    /// One operation less; closes the descriptor after the last.
    fn operation_ended(&mut self, slot: u32) {
        let conn = &mut self.conns.slots[slot as usize];
        conn.in_flight -= 1;
        if conn.closing && conn.in_flight == 0 {
            self.ring.push(opcode::Close::new(types::Fd(conn.fd)).build().user_data(Kind::Close.data(slot)));
        }
    }

    pub(super) fn on_closed(&mut self, slot: u32) {
        let id = self.conns.id(slot);
        self.conns.forget(slot);
        let conn = &mut self.conns.slots[slot as usize];
        conn.generation = (conn.generation + 1) & (u32::MAX >> SLOT_BITS);
        self.conns.free.push(slot);
        self.ready.push_back(Done::Closed { conn: id });
    }
}
