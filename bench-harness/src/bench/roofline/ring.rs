//! One io_uring as the broker sets it up, as verbs that own what they lend to the kernel. All unsafe code of the bench is here.
//! The server's core only.
//!
//! # Why it is sound
//!
//! - Memory that the kernel reads or writes is moved in with its operation and comes out with its completion.
//! - What the kernel still has when a ring is dropped is leaked, not freed: a ring is dropped only where its process ends.
//! - Receive buffers are leaked from the start; a buffer is lent to the caller only between its completion and its return.

use super::stage::{Aligned, Chunk, Piece};
use io_uring::types::{BufRingEntry, Fd, Fixed, FsyncFlags};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

/// Receive buffers, a power of two, and their bytes: all connections share them.
const BUFFERS: u16 = 64;
const BUFFER: usize = 64 << 10;
const BUFFER_GROUP: u16 = 0;
/// Direct descriptors; the last is the file.
const DESCRIPTORS: u32 = 4096;
const FILE: Fixed = Fixed(DESCRIPTORS - 1);
const ENTRIES: u32 = 1024;

/// A chunk that the kernel may know already, so that it need not look up its pages for each write.
pub struct Registered {
    memory: Aligned,
    index: Option<u16>,
}

impl Chunk for Registered {
    fn fresh() -> Registered {
        Registered { memory: Aligned::fresh(), index: None }
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.memory.bytes()
    }
}

/// What happened.
pub enum Event<'a> {
    Accepted(usize),
    Received(usize, &'a [u8]),
    /// The answers were sent; their memory comes back.
    Sent(usize, Vec<u8>),
    Written(Registered),
    Synced,
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Accept,
    Receive,
    Send,
    Write,
    Sync,
}

const KINDS: [Kind; 5] = [Kind::Accept, Kind::Receive, Kind::Send, Kind::Write, Kind::Sync];

fn data(kind: Kind, index: usize) -> u64 {
    (kind as u64) << 56 | index as u64
}

/// The ring, and what the kernel has of ours. This core only.
pub struct Ring {
    inner: IoUring,
    buffers: Buffers,
    /// Connections whose receive has ended and is to be armed again.
    rearm: Vec<usize>,
    sends: ManuallyDrop<Vec<Option<Vec<u8>>>>,
    writes: ManuallyDrop<Vec<Option<Piece<Registered>>>>,
    free_writes: Vec<usize>,
}

impl Ring {
    /// A ring for connections, and for `file` if there is one; with it, `chunks` chunks that the kernel knows (if it takes them:
    /// without the right to lock memory it does not).
    pub fn new(file: Option<&File>, chunks: usize) -> io::Result<(Ring, Vec<Registered>)> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(ENTRIES * 8).setup_submit_all().setup_single_issuer();
        builder.setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
        let inner: IoUring = builder.build(ENTRIES)?;
        inner.submitter().register_files_sparse(DESCRIPTORS)?;
        let buffers = Buffers::new(&inner)?;
        let mut memory: Vec<Registered> = Vec::new();
        if let Some(file) = file {
            inner.submitter().register_files_update(FILE.0, &[file.as_raw_fd()])?;
            memory.resize_with(chunks, Registered::fresh);
            register(&inner, &mut memory);
        }
        let (sends, writes) = (ManuallyDrop::new(Vec::new()), ManuallyDrop::new(Vec::new()));
        let ring = Ring { inner, buffers, rearm: Vec::new(), sends, writes, free_writes: Vec::new() };
        Ok((ring, memory))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: this module's verbs keep what an entry points to in `sends`, `writes` or `buffers` until its completion, and
        // what is there is leaked if the ring goes first.
        while unsafe { self.inner.submission().push(entry) }.is_err() {
            tolerate(self.inner.submit())?;
        }
        Ok(())
    }

    /// Takes connections as they come, and receives on them.
    pub fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).allocate_file_index(true).build();
        self.push(&entry.user_data(data(Kind::Accept, 0)))
    }

    /// Sends answers. One send at a time on a connection.
    pub fn send(&mut self, conn: usize, answers: Vec<u8>) -> io::Result<()> {
        let entry = opcode::Send::new(Fixed(conn as u32), answers.as_ptr(), answers.len() as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        let before = self.sends[conn].replace(answers);
        assert!(before.is_none(), "two sends at a time on connection {conn}");
        self.push(&entry.user_data(data(Kind::Send, conn)))
    }

    pub fn write(&mut self, piece: Piece<Registered>) -> io::Result<()> {
        let (address, len, offset) = (piece.chunk.memory.get().as_ptr(), piece.len as u32, piece.offset);
        assert!(piece.len <= piece.chunk.memory.get().len(), "a write of {len} bytes is more than a chunk");
        let entry = match piece.chunk.index {
            Some(index) => opcode::WriteFixed::new(FILE, address, len, index).offset(offset).build(),
            None => opcode::Write::new(FILE, address, len).offset(offset).build(),
        };
        let slot = self.free_writes.pop().unwrap_or_else(|| {
            self.writes.push(None);
            self.writes.len() - 1
        });
        self.writes[slot] = Some(piece);
        self.push(&entry.user_data(data(Kind::Write, slot)))
    }

    pub fn sync(&mut self) -> io::Result<()> {
        let entry = opcode::Fsync::new(FILE).flags(FsyncFlags::DATASYNC).build();
        self.push(&entry.user_data(data(Kind::Sync, 0)))
    }

    /// Submits, waits until something happens, and tells all that did.
    pub fn turn(&mut self, mut tell: impl FnMut(Event<'_>)) -> io::Result<()> {
        tolerate(self.inner.submit_and_wait(1))?;
        let Ring { inner, buffers, rearm, sends, writes, free_writes } = self;
        for done in inner.completion() {
            let (result, index) = (done.result(), (done.user_data() & 0xffff_ffff) as usize);
            match KINDS[(done.user_data() >> 56) as usize] {
                Kind::Accept => {
                    let conn = checked(result, "accepting")? as usize;
                    let conns = sends.len().max(conn + 1);
                    sends.resize_with(conns, || None);
                    rearm.push(conn);
                    tell(Event::Accepted(conn));
                }
                Kind::Receive => {
                    if let (1.., Some(id)) = (result, cqueue::buffer_select(done.flags())) {
                        tell(Event::Received(index, buffers.filled(id, result as usize)));
                        buffers.give(id);
                    }
                    // A peer that is gone is not received from again; its descriptor stays, as the process serves one load.
                    let gone = result == 0 || result < 0 && result != -libc::ENOBUFS;
                    if !gone && !cqueue::more(done.flags()) {
                        rearm.push(index);
                    }
                }
                Kind::Send => {
                    let answers = sends[index].take().expect("a send ends once");
                    let sent = result.max(0) as usize == answers.len();
                    let gone = [-libc::EPIPE, -libc::ECONNRESET].contains(&result);
                    assert!(sent || gone, "a send of {} bytes ended with {result}", answers.len());
                    tell(Event::Sent(index, answers));
                }
                Kind::Write => {
                    let piece = writes[index].take().expect("a write ends once");
                    free_writes.push(index);
                    let written = checked(result, "writing")? as usize;
                    assert_eq!(written, piece.len, "a write at {} was cut short", piece.offset);
                    tell(Event::Written(piece.chunk));
                }
                Kind::Sync => {
                    checked(result, "flushing")?;
                    tell(Event::Synced);
                }
            }
        }
        buffers.publish();
        while let Some(conn) = self.rearm.pop() {
            let entry = opcode::RecvMulti::new(Fixed(conn as u32), BUFFER_GROUP).build();
            self.push(&entry.user_data(data(Kind::Receive, conn)))?;
        }
        Ok(())
    }
}

/// Makes chunks known to the kernel, all or none.
fn register(ring: &IoUring, chunks: &mut [Registered]) {
    let whole = |chunk: &mut Registered| {
        let bytes = chunk.bytes();
        libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
    };
    let list: Vec<_> = chunks.iter_mut().map(whole).collect();
    // SAFETY: the kernel takes references to the pages. It uses them only in writes, which `Ring::write` makes from the chunk
    // that owns them, and which own it until they end.
    match unsafe { ring.submitter().register_buffers(&list) } {
        Ok(()) => (0..).zip(chunks).for_each(|(k, chunk)| chunk.index = Some(k)),
        Err(e) => eprintln!("ringlog bench: memory for writes is not registered with the kernel: {e}"),
    }
}

fn checked(result: i32, what: &str) -> io::Result<i32> {
    if result < 0 {
        let error = io::Error::from_raw_os_error(-result);
        return Err(io::Error::new(error.kind(), format!("{what}: {error}")));
    }
    Ok(result)
}

/// A signal, a full completion queue or a passing shortage is no failure.
fn tolerate(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Err(e) if ![Some(libc::EINTR), Some(libc::EBUSY), Some(libc::EAGAIN)].contains(&e.raw_os_error()) => Err(e),
        _ => Ok(()),
    }
}

/// One page, so that the ring of buffers begins on one.
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// The shared receive buffers and the ring in which the kernel finds free ones.
struct Buffers {
    ring: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
}

impl Buffers {
    fn new(ring: &IoUring) -> io::Result<Buffers> {
        const { assert!(BUFFERS as usize * size_of::<BufRingEntry>() <= size_of::<Page>()) };
        let page = Box::leak(Box::new(Page([0; 4096]))).0.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the page is aligned, holds as many entries, and is never freed.
        unsafe { ring.submitter().register_buf_ring_with_flags(page as u64, BUFFERS, BUFFER_GROUP, 0)? };
        let memory = Box::leak(vec![0; usize::from(BUFFERS) * BUFFER].into_boxed_slice()).as_mut_ptr();
        let mut buffers = Buffers { ring: page, memory, tail: 0 };
        (0..BUFFERS).for_each(|id| buffers.give(id));
        buffers.publish();
        Ok(buffers)
    }

    /// What the kernel put into buffer `id`, which it has no more.
    fn filled(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < BUFFERS && len <= BUFFER, "the kernel filled {len} bytes of buffer {id}");
        // SAFETY: the range lies in the memory, which is never freed; the kernel gave the buffer up, and gets it again only by
        // `give`, which takes `self` for itself.
        unsafe { std::slice::from_raw_parts(self.memory.add(usize::from(id) * BUFFER), len) }
    }

    /// Lets the kernel have buffer `id`, once this is published.
    fn give(&mut self, id: u16) {
        // SAFETY: the buffer lies in the memory; the slot is inside the ring, and the kernel does not look at it before the tail
        // passes it.
        unsafe {
            let slot = &mut *self.ring.add(usize::from(self.tail & (BUFFERS - 1)));
            slot.set_addr(self.memory.add(usize::from(id) * BUFFER) as u64);
            slot.set_len(BUFFER as u32);
            slot.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail lies in the ring's first entry, aligned, and the kernel reads it as an atomic.
        let tail = unsafe { &*BufRingEntry::tail(self.ring).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}
