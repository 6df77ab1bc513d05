//! The seam between the loop and the world: the verbs of [`Io`], what comes back ([`Done`]), and the memory they move.
//!
//! One implementor drives the kernel ([`uring`]); a simulator can be the other. An operation takes its memory by value
//! and gives it back with its completion, so nobody can touch what the kernel owns. All of it lives on one core;
//! only [`memory::Block`] and what is sent through [`queue`] ever cross.

pub mod memory;
pub mod queue;
mod sync;
pub mod thread;
pub mod uring;

#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod queue_tests;

use memory::Span;
use ringlog_engine::types::{MonoMs, Now, WallMs};
use std::ffi::CString;
use std::net::SocketAddr;

/// A completion's address in the loop's tables: what kind of thing waits for it, and which one. Opaque to the `Io`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A connected socket as this core's `Io` knows it. Never reused while an operation on it is in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u32);

/// An open file, usable from every core of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct FileId(pub i32);

/// What carries a connection's bytes: closed when dropped.
#[derive(Debug)]
pub enum Socket {
    Kernel(std::os::fd::OwnedFd),
    /// An end of a connection of a simulated network, by the simulator's number.
    Simulated(u64),
}

/// A connection on its way from the core that accepted it to the core that will serve it.
#[derive(Debug)]
pub struct Accepted {
    pub socket: Socket,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Index of the listener in the order given to [`Io::listen`].
    pub listener: u16,
}

/// What a listener asks of the kernel; connections take the buffers over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenOptions {
    /// Connections not accepted yet; the kernel may have a lower limit of its own.
    pub backlog: u32,
    /// Bytes. None: the kernel's own tuning.
    pub send_buffer: Option<u32>,
    pub receive_buffer: Option<u32>,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions { backlog: 128, send_buffer: None, receive_buffer: None }
    }
}

/// How an opened file is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reads and writes past the page cache (O_RDWR | O_DIRECT): for [`Io::read`], [`Io::write`] and [`Io::sync`].
    Direct,
    /// Reads through the page cache (O_RDONLY): for [`Io::send_file`], at any offset.
    Cached,
}

/// What the loop asks of the file system outside the hot path; each runs asynchronously and answers [`Done::File`].
#[derive(Debug)]
pub enum FileOp {
    /// Opens a file, creating it (and it alone, not its folders) if asked. Answers the id.
    Open {
        path: CString,
        create: bool,
        access: Access,
    },
    /// Creates one folder; it is no error if it exists.
    MakeDir {
        path: CString,
    },
    /// Makes folder entries durable.
    SyncDir {
        path: CString,
    },
    /// Reserves space: [offset, offset + len) of the file, and `i_size` covers it.
    Allocate {
        file: FileId,
        offset: u64,
        len: u64,
    },
    /// Sets `i_size`. The only way to make a file shorter.
    Truncate {
        file: FileId,
        len: u64,
    },
    Rename {
        from: CString,
        to: CString,
    },
    /// Removes a file or an empty folder.
    Remove {
        path: CString,
    },
    Close {
        file: FileId,
    },
}

/// What happened. The memory that was moved in comes back here.
#[derive(Debug)]
pub enum Done {
    Accepted(Accepted),
    /// The listener failed to accept (out of descriptors, say); it is armed again by the next [`Io::accept`].
    AcceptFailed {
        listener: u16,
        errno: i32,
    },
    /// Bytes from the peer. An empty span is its orderly end.
    Received {
        conn: ConnId,
        bytes: Span,
    },
    /// No more will be received: the error is final for this connection.
    ReceiveFailed {
        conn: ConnId,
        errno: i32,
    },
    /// Everything handed to one `send` or `send_file` has left (`result` 0), or the connection is broken (-errno): it must be
    /// closed, as part of the answer may be on the wire.
    Sent {
        conn: ConnId,
        pieces: Vec<Span>,
        result: i32,
    },
    /// All operations on the connection have ended and the descriptor is closed.
    Closed {
        conn: ConnId,
    },
    /// A write of all its spans ended; `result` is 0 or -errno. A short write is retried by the `Io` until whole or failed.
    Written {
        token: Token,
        spans: Vec<Span>,
        result: i32,
    },
    Synced {
        token: Token,
        result: i32,
    },
    /// A read ended: `result` is the bytes read (less than asked only at the end of the file) or -errno.
    Read {
        token: Token,
        block: memory::BlockMut,
        result: i32,
    },
    /// `result` is >= 0 (the file id for `Open`) or -errno.
    File {
        token: Token,
        result: i32,
    },
    /// Another core has mail for this one.
    Woken,
}

/// How long [`Io::poll`] may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Reap what is there.
    No,
    /// Until something happens, or until this many microseconds have passed.
    Micros(u64),
    /// Until something happens.
    Forever,
}

/// What an `Io` counts, for the instruments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Operations queued so far.
    pub submissions: u64,
    /// Bytes of receive buffers that received bytes hold, and the most they may.
    pub receive_held: usize,
    pub receive_max: usize,
}

/// Both clocks, of a monotonic time in nanoseconds.
pub fn now_at(nanos: u64, wall: WallMs) -> Now {
    Now { mono: MonoMs(nanos / 1_000_000), wall }
}

/// The world as one core sees it. Verbs queue an operation; `poll` submits what was queued and reaps what is done.
pub trait Io {
    /// The time of day.
    fn wall(&self) -> WallMs;
    /// Monotonic nanoseconds.
    fn nanos(&self) -> u64;
    /// Both clocks.
    fn now(&self) -> Now {
        now_at(self.nanos(), self.wall())
    }
    /// What it counts.
    fn figures(&mut self) -> Figures;
    /// Submits, waits as told, and appends what is done to `done` (at most `done`'s spare capacity, which must not be 0; the rest
    /// stays). May return early, and with nothing.
    fn poll(&mut self, wait: Wait, done: &mut Vec<Done>) -> std::io::Result<()>;

    /// Binds and listens; returns the address bound (port 0 picks one). Call before the first `poll`.
    fn listen(&mut self, address: SocketAddr, options: &ListenOptions) -> std::io::Result<SocketAddr>;
    /// Keeps accepting on a listener until `AcceptFailed`.
    fn accept(&mut self, listener: u16);
    /// Takes over a connection (accepted here or on another core). Sends without delay (TCP_NODELAY), keeps alive.
    fn adopt(&mut self, accepted: Accepted) -> ConnId;
    /// Keeps receiving into shared buffers until an end, a failure, or `pause`. A buffer is free again only when every span
    /// of it was dropped, on whatever core, and while too many are held nobody on this core receives: so copy a few bytes
    /// rather than keep a buffer for them, and never wait for the rest of a large frame on its spans alone.
    fn receive(&mut self, conn: ConnId);
    /// Stops receiving: what is in flight may still arrive. `receive` starts it again.
    fn pause(&mut self, conn: ConnId);
    /// Sends the pieces in order, all of them. One send per connection at a time.
    fn send(&mut self, conn: ConnId, pieces: Vec<Span>);
    /// Sends a range of a file after `head`, through the page cache, without copying it to user memory.
    /// The file is open with [`Access::Cached`]; one that ends before the range does is an error (-EIO).
    fn send_file(&mut self, conn: ConnId, head: Vec<Span>, file: FileId, offset: u64, len: u32);
    /// Cancels what is in flight (a send answers `Sent` with an error), closes, and answers `Closed`. Nothing is received after it.
    /// A connection already closing is left alone.
    fn close(&mut self, conn: ConnId);

    /// Writes whole blocks at a block-aligned offset: starts and lengths of all spans are multiples of 4096.
    fn write(&mut self, token: Token, file: FileId, offset: u64, spans: Vec<Span>);
    /// fdatasync of one file. What was written (and reaped) before it is issued is covered.
    fn sync(&mut self, token: Token, file: FileId);
    /// Reads up to the block's free capacity from a block-aligned offset into its (4096-aligned) free space.
    fn read(&mut self, token: Token, file: FileId, offset: u64, block: memory::BlockMut, len: u32);
    /// An asynchronous file-system operation.
    fn file(&mut self, token: Token, op: FileOp);

    /// Makes another core's `poll` return. Cheap, and callable any number of times.
    fn wake(&mut self, core: ringlog_engine::types::CoreId);
}
