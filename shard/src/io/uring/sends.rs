//! Sends: pieces of memory, and after them, if asked, a range of a file by way of a pipe. Each is a little state machine of
//! ring operations that answers once.
//!
//! Sockets are non-blocking, so that a splice to a peer that does not read waits for the socket (POLLOUT) instead of
//! holding a kernel worker; such a waiting send also gives up its pipe when all are in use and another send needs one:
//! the bytes in it are read again from the file.

use super::super::{ConnId, Done, FileId, memory::Span};
use super::pieces::Pieces;
use super::ring::{Kind, Ring};
use super::{Uring, pipe::Pipe, pipe::Pipes};
use io_uring::{opcode, types};
use std::collections::VecDeque;

/// Pieces of a send that there is room to describe from the start: most never need more.
const ROOM: usize = 128;

/// What a send waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The slot is free.
    Free,
    /// Pieces are being sent.
    Pieces,
    /// Waits in line for a pipe.
    Line,
    /// File bytes go into the pipe.
    Fill,
    /// The pipe's bytes go to the socket.
    Drain,
    /// The socket is full.
    Writable,
}

struct Send {
    conn: u32,
    id: ConnId,
    fd: i32,
    stage: Stage,
    pieces: Pieces,
    header: libc::msghdr,
    /// What is left of the file's range.
    file: FileId,
    offset: u64,
    left: u32,
    pipe: Option<Pipe>,
    /// File bytes in the pipe.
    in_pipe: u32,
}

/// All sends of a core.
pub(super) struct Sends {
    /// Boxed: the kernel reads `header` where it is.
    #[expect(clippy::vec_box, reason = "the kernel holds pointers into a slot while the vector may grow")]
    slots: Vec<Box<Send>>,
    free: Vec<u32>,
    pub(super) pipes: Pipes,
    /// Sends in `Stage::Line`, oldest first.
    line: VecDeque<u32>,
}

impl Sends {
    pub(super) fn new(pipes: Pipes) -> Sends {
        Sends { slots: Vec::new(), free: Vec::new(), pipes, line: VecDeque::new() }
    }

    /// Leaves the memory to the kernel for good.
    pub(super) fn forget(&mut self) {
        std::mem::forget(std::mem::take(&mut self.slots));
    }

    /// Makes slots until there are as many as connections, each of which has one send at a time.
    pub(super) fn provide(&mut self, connections: usize) {
        while self.slots.len() < connections {
            // SAFETY: all zeros is a valid `msghdr`.
            let header = unsafe { std::mem::zeroed() };
            self.free.push(self.slots.len() as u32);
            self.slots.push(Box::new(Send {
                conn: 0,
                id: ConnId(0),
                fd: -1,
                stage: Stage::Free,
                pieces: Pieces::with_room(ROOM),
                header,
                file: FileId(-1),
                offset: 0,
                left: 0,
                pipe: None,
                in_pipe: 0,
            }));
        }
    }
}

impl Send {
    /// Queues the sending of the pieces that are left.
    fn push_pieces(&mut self, ring: &mut Ring, data: u64) {
        self.stage = Stage::Pieces;
        let more = if self.left > 0 { libc::MSG_MORE } else { 0 };
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL | more;
        let fd = types::Fd(self.fd);
        let entry = match self.pieces.describe() {
            [one] => opcode::Send::new(fd, one.iov_base.cast(), one.iov_len as u32).flags(flags).build(),
            several => {
                self.header.msg_iov = several.as_mut_ptr();
                self.header.msg_iovlen = several.len();
                opcode::SendMsg::new(fd, &self.header).flags(flags as u32).build()
            }
        };
        ring.push(entry.user_data(data));
    }

    fn push_fill(&mut self, ring: &mut Ring, data: u64) {
        self.stage = Stage::Fill;
        let pipe = self.pipe.as_ref().expect("a send fills the pipe it has");
        let (from, to) = (types::Fd(self.file.0), types::Fd(pipe.write_end()));
        let len = self.left.min(pipe.bytes());
        let entry = opcode::Splice::new(from, self.offset as i64, to, -1, len).flags(libc::SPLICE_F_MOVE);
        ring.push(entry.build().user_data(data));
    }

    fn push_drain(&mut self, ring: &mut Ring, data: u64) {
        self.stage = Stage::Drain;
        let pipe = self.pipe.as_ref().expect("a send drains the pipe it has");
        let more = if self.left > 0 { libc::SPLICE_F_MORE } else { 0 };
        let (from, to) = (types::Fd(pipe.read_end()), types::Fd(self.fd));
        let entry = opcode::Splice::new(from, -1, to, -1, self.in_pipe).flags(libc::SPLICE_F_MOVE | more);
        ring.push(entry.build().user_data(data));
    }

    fn push_writable(&mut self, ring: &mut Ring, data: u64) {
        self.stage = Stage::Writable;
        let entry = opcode::PollAdd::new(types::Fd(self.fd), libc::POLLOUT as u32).build();
        ring.push(entry.user_data(data));
    }

    /// Takes the pipe away; what was in it will be read from the file again.
    fn give_up_pipe(&mut self) -> Option<Pipe> {
        let pipe = self.pipe.take()?;
        self.offset -= u64::from(self.in_pipe);
        self.left += self.in_pipe;
        self.in_pipe = 0;
        Some(pipe)
    }

    /// Books what an operation did. `Err` ends the send.
    fn book(&mut self, result: i32) -> Result<(), i32> {
        if matches!(result, n if n == -libc::EINTR || n == -libc::EAGAIN) {
            return Ok(());
        }
        if result < 0 {
            return Err(result);
        }
        match self.stage {
            // The socket took nothing, or the file ended before the range did.
            Stage::Pieces | Stage::Drain if result == 0 => return Err(-libc::EPIPE),
            Stage::Fill if result == 0 => return Err(-libc::EIO),
            Stage::Pieces => self.pieces.advance(result as usize),
            Stage::Drain => self.in_pipe -= result as u32,
            Stage::Fill => {
                self.in_pipe += result as u32;
                self.offset += result as u64;
                self.left -= result as u32;
            }
            Stage::Writable => {}
            Stage::Free | Stage::Line => panic!("a completion ({result}) for a send in stage {:?}", self.stage),
        }
        Ok(())
    }
}

impl Uring {
    /// Starts a send of pieces and, if `left` > 0, of a file's range after them.
    pub(super) fn start_send(&mut self, conn: ConnId, pieces: Vec<Span>, file: FileId, offset: u64, left: u32) {
        let Some(slot) = self.conns.begin_send(conn) else {
            self.ready.push_back(Done::Sent { conn, pieces, result: -libc::EPIPE });
            return;
        };
        let index = self.sends.free.pop().expect("there is a slot for each connection");
        let send = &mut self.sends.slots[index as usize];
        (send.conn, send.id, send.fd) = (slot, conn, self.conns.fd(slot));
        (send.file, send.offset, send.left, send.in_pipe) = (file, offset, left, 0);
        send.pieces.start(pieces);
        self.step_send(index);
    }

    /// Queues what a send needs next, or ends it.
    fn step_send(&mut self, index: u32) {
        let data = Kind::Send.data(index);
        let send = &mut self.sends.slots[index as usize];
        if !send.pieces.is_done() {
            return send.push_pieces(&mut self.ring, data);
        }
        if send.in_pipe > 0 {
            return send.push_drain(&mut self.ring, data);
        }
        if send.left == 0 {
            return self.finish_send(index, 0);
        }
        if send.pipe.is_none() {
            send.stage = Stage::Line;
            self.sends.line.push_back(index);
            return self.serve_line();
        }
        send.push_fill(&mut self.ring, data);
    }

    /// Gives pipes to the sends that wait for one.
    fn serve_line(&mut self) {
        while let Some(&index) = self.sends.line.front() {
            let pipe = match self.sends.pipes.take() {
                Ok(Some(pipe)) => pipe,
                Ok(None) if self.steal_pipe() => continue,
                Ok(None) => return,
                Err(errno) => {
                    self.sends.line.pop_front();
                    self.finish_send(index, -errno);
                    continue;
                }
            };
            self.sends.line.pop_front();
            let send = &mut self.sends.slots[index as usize];
            send.pipe = Some(pipe);
            send.push_fill(&mut self.ring, Kind::Send.data(index));
        }
    }

    /// Takes the pipe of a send whose socket is full. Answers whether there was one.
    fn steal_pipe(&mut self) -> bool {
        let mut waiting = self.sends.slots.iter_mut().filter(|s| s.stage == Stage::Writable);
        let Some(pipe) = waiting.find_map(|send| send.give_up_pipe()) else {
            return false;
        };
        self.sends.pipes.discard(pipe);
        true
    }

    pub(super) fn on_send(&mut self, index: u32, result: i32) {
        let send = &mut self.sends.slots[index as usize];
        let was = send.stage;
        match send.book(result) {
            Err(errno) => self.finish_send(index, errno),
            Ok(()) if self.conns.is_closing(send.conn) => self.finish_send(index, -libc::ECANCELED),
            Ok(()) if result == -libc::EAGAIN && matches!(was, Stage::Pieces | Stage::Drain) => {
                send.push_writable(&mut self.ring, Kind::Send.data(index));
                self.serve_line();
            }
            Ok(()) => self.step_send(index),
        }
    }

    /// Ends the sends of a closing connection that no operation will end: those in line for a pipe.
    pub(super) fn end_waiting_sends(&mut self, conn: u32) {
        let slots = &self.sends.slots;
        let at = self.sends.line.iter().position(|index| slots[*index as usize].conn == conn);
        if let Some(index) = at.and_then(|at| self.sends.line.remove(at)) {
            self.finish_send(index, -libc::ECANCELED);
        }
    }

    fn finish_send(&mut self, index: u32, result: i32) {
        let send = &mut self.sends.slots[index as usize];
        send.stage = Stage::Free;
        let (conn, slot, pieces) = (send.id, send.conn, send.pieces.finish());
        if let Some(pipe) = send.pipe.take() {
            // After an error nobody knows what is in it.
            if result == 0 { self.sends.pipes.give(pipe) } else { self.sends.pipes.discard(pipe) }
        }
        self.sends.free.push(index);
        self.ready.push_back(Done::Sent { conn, pieces, result });
        self.end_send(slot);
        self.serve_line();
    }
}
