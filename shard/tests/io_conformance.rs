//! What the loop may rely on in an `Io`. The bodies take any [`World`], so that a simulator can be held to them as well as the
//! kernel's ring; what is about threads and memory of the real one is at the end.

use ringlog_engine::types::CoreId;
use ringlog_shard::io::memory::{BlockPool, Span};
use ringlog_shard::io::queue::{Parked, Receiver, Sender, channel};
use ringlog_shard::io::uring::{Uring, UringConfig, Wakers, probe_direct_io};
use ringlog_shard::io::{Accepted, Access, ConnId, Done, FileId, FileOp, Io, ListenOptions, Token, Wait};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::CString;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// What a peer saw when it looked.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Bytes(usize),
    Nothing,
    End,
    Broken,
}

/// The other end of a connection: never blocks, so that one thread (or a simulator) can drive both.
trait Peer {
    /// Sends what fits; answers how much that was.
    fn send(&mut self, bytes: &[u8]) -> usize;
    /// Appends up to `most` received bytes.
    fn receive(&mut self, into: &mut Vec<u8>, most: usize) -> Seen;
    /// Will send no more.
    fn finish(&mut self);
    /// Goes away without goodbye.
    fn reset(self: Box<Self>);
}

/// An `Io` and what is around it.
trait World {
    type Io: Io;
    fn io(&mut self) -> &mut Self::Io;
    fn connect(&mut self, to: SocketAddr) -> Box<dyn Peer>;
    /// An empty folder on a file system with direct I/O.
    fn folder(&self) -> PathBuf;
    /// How many receive buffers the `Io` has.
    fn receive_buffers(&self) -> usize;
}

/// More turns than any body needs; each waits a millisecond at most.
const PATIENCE: usize = 30_000;

struct Driver<'w, W: World> {
    world: &'w mut W,
    pool: BlockPool,
    done: Vec<Done>,
    address: SocketAddr,
    accepted: VecDeque<Accepted>,
    events: VecDeque<Done>,
}

impl<'w, W: World> Driver<'w, W> {
    fn new(world: &'w mut W) -> Self {
        let address = world.io().listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
        world.io().accept(0);
        let (done, accepted, events) = (Vec::with_capacity(64), VecDeque::new(), VecDeque::new());
        Driver { world, pool: BlockPool::new(256 << 20), done, address, accepted, events }
    }

    fn io(&mut self) -> &mut W::Io {
        self.world.io()
    }

    fn turn(&mut self) {
        self.world.io().poll(Wait::Micros(1000), &mut self.done).unwrap();
        for done in self.done.drain(..) {
            match done {
                Done::Accepted(accepted) => self.accepted.push_back(accepted),
                other => self.events.push_back(other),
            }
        }
    }

    /// Turns until an event is there.
    fn next(&mut self) -> Done {
        for _ in 0..PATIENCE {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.turn();
        }
        panic!("nothing happened in {PATIENCE} turns");
    }

    /// A connection: the peer and what the `Io` calls it.
    fn pair(&mut self) -> (Box<dyn Peer>, ConnId) {
        let peer = self.world.connect(self.address);
        for _ in 0..PATIENCE {
            if let Some(accepted) = self.accepted.pop_front() {
                assert_eq!((accepted.listener, accepted.local), (0, self.address));
                return (peer, self.io().adopt(accepted));
            }
            self.turn();
        }
        panic!("not accepted in {PATIENCE} turns");
    }

    /// Spans of at most `piece` bytes that hold the bytes.
    fn spans(&mut self, bytes: &[u8], piece: usize) -> Vec<Span> {
        let mut block = self.pool.take(bytes.len()).expect("the test's budget");
        block.append(bytes);
        (0..bytes.len()).step_by(piece).map(|at| block.span(at, piece.min(bytes.len() - at))).collect()
    }

    /// Turns while the peer sends all of it; answers what arrived meanwhile and after.
    fn deliver(&mut self, peer: &mut dyn Peer, mut bytes: &[u8]) -> Vec<u8> {
        let (mut arrived, whole) = (Vec::new(), bytes.len());
        for _ in 0..PATIENCE {
            bytes = &bytes[peer.send(bytes)..];
            self.turn();
            self.gather(&mut arrived);
            if arrived.len() >= whole {
                return arrived;
            }
        }
        panic!("{} of {whole} bytes arrived", arrived.len());
    }

    fn gather(&mut self, arrived: &mut Vec<u8>) {
        for event in self.events.drain(..) {
            match event {
                Done::Received { bytes, .. } => arrived.extend_from_slice(bytes.bytes()),
                other => panic!("{other:?} while receiving"),
            }
        }
    }

    /// Turns until the peer has `bytes` bytes, which it reads at most `most` at a time.
    fn drain(&mut self, peer: &mut dyn Peer, bytes: usize, most: usize) -> Vec<u8> {
        let mut got = Vec::new();
        for _ in 0..PATIENCE {
            match peer.receive(&mut got, most) {
                Seen::Nothing => self.turn(),
                Seen::Bytes(_) => {}
                seen => panic!("the peer saw {seen:?} after {} of {bytes} bytes", got.len()),
            }
            if got.len() >= bytes {
                return got;
            }
        }
        panic!("the peer got {} of {bytes} bytes", got.len());
    }

    fn expect_sent(&mut self, of: ConnId) -> (Vec<Span>, i32) {
        match self.next() {
            Done::Sent { conn, pieces, result } if conn == of => (pieces, result),
            other => panic!("{other:?} instead of Sent"),
        }
    }

    fn close(&mut self, of: ConnId) {
        self.io().close(of);
        match self.next() {
            Done::Closed { conn } if conn == of => {}
            other => panic!("{other:?} instead of Closed"),
        }
    }

    fn file(&mut self, op: FileOp) -> i32 {
        self.io().file(Token(77), op);
        match self.next() {
            Done::File { token: Token(77), result } => result,
            other => panic!("{other:?} instead of File"),
        }
    }

    fn open(&mut self, path: &Path, create: bool, access: Access) -> FileId {
        let fd = self.file(FileOp::Open { path: c_path(path), create, access });
        assert!(fd >= 0, "opening {path:?}: {fd}");
        FileId(fd)
    }

    fn write(&mut self, file: FileId, offset: u64, spans: Vec<Span>) -> (usize, i32) {
        self.io().write(Token(5), file, offset, spans);
        match self.next() {
            Done::Written { token: Token(5), spans, result } => (spans.len(), result),
            other => panic!("{other:?} instead of Written"),
        }
    }

    fn sync(&mut self, file: FileId) -> i32 {
        self.io().sync(Token(6), file);
        match self.next() {
            Done::Synced { token: Token(6), result } => result,
            other => panic!("{other:?} instead of Synced"),
        }
    }

    fn read(&mut self, file: FileId, offset: u64, len: usize) -> (Vec<u8>, i32) {
        let block = self.pool.take(len).unwrap();
        self.io().read(Token(7), file, offset, block, len as u32);
        match self.next() {
            Done::Read { token: Token(7), block, result } => (block.bytes().to_vec(), result),
            other => panic!("{other:?} instead of Read"),
        }
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Bytes in which no two places look alike.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn echo_of_every_size(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let (mut peer, conn) = driver.pair();
    driver.io().receive(conn);
    for size in [1, 2, 63, 4095, 4096, 65_535, 65_536, 65_537, 300_000, 3 << 20] {
        let bytes = pattern(size);
        let (mut to_send, mut waiting, mut sending, mut back) = (&bytes[..], Vec::new(), false, Vec::new());
        for _ in 0..PATIENCE {
            to_send = &to_send[peer.send(to_send)..];
            driver.turn();
            for event in std::mem::take(&mut driver.events) {
                match event {
                    Done::Received { bytes, .. } => waiting.push(bytes),
                    Done::Sent { result, .. } => {
                        assert_eq!(result, 0);
                        sending = false;
                    }
                    other => panic!("{other:?}"),
                }
            }
            if !sending && !waiting.is_empty() {
                sending = true;
                driver.io().send(conn, std::mem::take(&mut waiting));
            }
            peer.receive(&mut back, usize::MAX);
            if back.len() >= size && !sending {
                break;
            }
        }
        assert!(back == bytes, "{} of {size} bytes came back, or others", back.len());
    }
    driver.close(conn);
}

fn split_frames(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let (mut peer, conn) = driver.pair();
    driver.io().receive(conn);
    let bytes = pattern(200);
    for at in 0..bytes.len() {
        assert_eq!(driver.deliver(&mut *peer, &bytes[at..=at]), [bytes[at]]);
    }
}

fn slow_reader_of_many_pieces(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let (mut peer, conn) = driver.pair();
    let bytes = pattern(8 << 20);
    let pieces = driver.spans(&bytes, 3001);
    let count = pieces.len();
    assert!(count > 2048, "more than the kernel takes at once");
    driver.io().send(conn, pieces);
    let got = driver.drain(&mut *peer, bytes.len(), 4096);
    assert!(got == bytes);
    let (pieces, result) = driver.expect_sent(conn);
    assert_eq!((pieces.len(), result), (count, 0));
    driver.io().send(conn, Vec::new());
    assert_eq!(driver.expect_sent(conn).1, 0, "nothing to send is sent");
}

fn half_close(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let (mut peer, conn) = driver.pair();
    driver.io().receive(conn);
    assert_eq!(driver.deliver(&mut *peer, b"last words"), b"last words");
    peer.finish();
    match driver.next() {
        Done::Received { conn: of, bytes } => assert!(of == conn && bytes.is_empty()),
        other => panic!("{other:?} instead of the end"),
    }
    let answer = driver.spans(b"answer", 6);
    driver.io().send(conn, answer);
    assert_eq!(driver.expect_sent(conn).1, 0);
    assert_eq!(driver.drain(&mut *peer, 6, 99), b"answer");
    driver.close(conn);
    let mut rest = Vec::new();
    let seen = (0..PATIENCE).map(|_| peer.receive(&mut rest, 1)).find(|seen| *seen != Seen::Nothing);
    assert_eq!(seen, Some(Seen::End));
}

fn peer_resets_while_sent_to(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let (peer, conn) = driver.pair();
    driver.io().receive(conn);
    let megabyte = driver.spans(&pattern(1 << 20), 1 << 20);
    driver.io().send(conn, vec![megabyte[0].clone(); 64]);
    for _ in 0..20 {
        driver.turn();
    }
    assert!(driver.events.is_empty(), "64 MiB cannot leave unread: {:?}", driver.events);
    peer.reset();
    let (mut sent, mut failed) = (false, false);
    while !(sent && failed) {
        match driver.next() {
            Done::Sent { pieces, result, .. } => {
                assert!(result < 0 && pieces.len() == 64, "{result}, {} pieces", pieces.len());
                sent = true;
            }
            Done::ReceiveFailed { errno, .. } => {
                assert!(errno > 0);
                failed = true;
            }
            Done::Received { bytes, .. } if bytes.is_empty() => failed = true,
            other => panic!("{other:?}"),
        }
    }
    driver.close(conn);
    driver.io().send(conn, megabyte);
    assert!(driver.expect_sent(conn).1 < 0, "a closed connection sends nothing");
}

fn close_while_sending(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let (_peer, conn) = driver.pair();
    driver.io().receive(conn);
    let megabyte = driver.spans(&pattern(1 << 20), 1 << 20);
    driver.io().send(conn, vec![megabyte[0].clone(); 64]);
    driver.turn();
    driver.io().close(conn);
    driver.io().close(conn);
    let (pieces, result) = driver.expect_sent(conn);
    assert!(pieces.len() == 64 && result < 0, "{result}");
    assert!(matches!(driver.next(), Done::Closed { conn: of } if of == conn));
    drop((pieces, megabyte));
    assert_eq!(driver.pool.usage().taken, 0, "the operation let go of its memory");
    let (_other, next) = driver.pair();
    assert_ne!(next, conn, "an id is not reused at once");
}

fn more_connections_than_buffers(world: &mut impl World) {
    let buffers = world.receive_buffers();
    let mut driver = Driver::new(world);
    let mut pairs: Vec<_> = (0..4 * buffers).map(|_| driver.pair()).collect();
    for (number, (peer, conn)) in pairs.iter_mut().enumerate() {
        driver.io().receive(*conn);
        let bytes = (number as u32).to_le_bytes();
        assert_eq!(peer.send(&bytes), 4);
    }
    let (mut held, mut seen) = (Vec::new(), vec![false; pairs.len()]);
    for _ in 0..PATIENCE {
        driver.turn();
        for event in driver.events.drain(..) {
            let Done::Received { conn, bytes } = event else { panic!("{event:?}") };
            let number = u32::from_le_bytes(bytes.bytes().try_into().unwrap()) as usize;
            assert_eq!(pairs[number].1, conn);
            assert!(!std::mem::replace(&mut seen[number], true), "{number} came twice");
            held.push(bytes);
        }
        assert!(held.len() <= buffers, "{} spans of {buffers} buffers", held.len());
        if held.len() == buffers {
            // Another core lets go of them: no completion tells.
            let spans = std::mem::take(&mut held);
            thread::spawn(move || drop(spans)).join().unwrap();
        }
        if seen.iter().all(|s| *s) {
            break;
        }
    }
    assert!(seen.iter().all(|s| *s), "{:?} never came", seen.iter().position(|s| !s));
}

fn pause_and_receive(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let (mut peer, conn) = driver.pair();
    driver.io().receive(conn);
    assert_eq!(driver.deliver(&mut *peer, b"one"), b"one");
    driver.io().pause(conn);
    for _ in 0..20 {
        driver.turn();
    }
    assert_eq!(peer.send(b"two"), 3);
    for _ in 0..20 {
        driver.turn();
    }
    assert!(driver.events.is_empty(), "paused, but {:?}", driver.events);
    driver.io().receive(conn);
    let mut arrived = Vec::new();
    while arrived.len() < 3 {
        driver.turn();
        driver.gather(&mut arrived);
    }
    assert_eq!(arrived, b"two");
}

fn pausing_at_any_moment_loses_nothing(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let (mut peer, conn) = driver.pair();
    let bytes = pattern(2 << 20);
    let (mut to_send, mut arrived) = (&bytes[..], Vec::new());
    for turn in 0..PATIENCE {
        to_send = &to_send[peer.send(&to_send[..to_send.len().min(5000)])..];
        match turn % 7 {
            0 | 3 | 5 => driver.io().receive(conn),
            1 | 4 => driver.io().pause(conn),
            _ => {
                driver.io().pause(conn);
                driver.io().receive(conn);
                driver.io().pause(conn);
            }
        }
        driver.turn();
        driver.gather(&mut arrived);
        if arrived.len() == bytes.len() {
            break;
        }
    }
    assert!(arrived == bytes, "{} of {} bytes, or others", arrived.len(), bytes.len());
    driver.io().pause(conn);
    driver.close(conn);
}

fn file_round_trip(world: &mut impl World) {
    let path = world.folder().join("round-trip");
    let mut driver = Driver::new(world);
    let file = driver.open(&path, true, Access::Direct);
    assert_eq!(driver.file(FileOp::Allocate { file, offset: 0, len: 1 << 20 }), 0);
    let bytes = pattern(96 << 10);
    let spans = driver.spans(&bytes, 32 << 10);
    assert_eq!(driver.write(file, 8192, spans), (3, 0));
    assert_eq!(driver.sync(file), 0);
    let (read, result) = driver.read(file, 8192, 96 << 10);
    assert!(result == 96 << 10 && read == bytes);
    let (around, _) = driver.read(file, 4096, 8192);
    assert!(around[..4096].iter().all(|b| *b == 0) && around[4096..] == bytes[..4096]);

    // Thousands of pieces go in several steps.
    let spans = driver.spans(&bytes[..4096], 4096).remove(0);
    let spans = vec![spans; 1500];
    assert_eq!(driver.write(file, 1 << 20, spans), (1500, 0));
    let (tail, result) = driver.read(file, (1 << 20) + 1499 * 4096, 8192);
    assert_eq!(result, 4096, "the file ends there");
    assert!(tail == bytes[..4096]);
    assert_eq!(driver.read(file, 1 << 30, 4096), (Vec::new(), 0));

    // A read continues a block.
    let mut block = driver.pool.take(8192).unwrap();
    block.append(&bytes[..4096]);
    driver.io().read(Token(9), file, 8192, block, 4096);
    let Done::Read { block, result: 4096, .. } = driver.next() else { panic!("not read") };
    assert!(block.bytes()[4096..] == bytes[..4096]);

    assert_eq!(driver.write(file, 0, Vec::new()), (0, 0));
    assert_eq!(driver.file(FileOp::Close { file }), 0);
    let nowhere = FileId(i32::MAX);
    let spans = driver.spans(&bytes[..4096], 4096);
    assert_eq!(driver.write(nowhere, 0, spans), (1, -libc::EBADF));
    assert_eq!(driver.sync(nowhere), -libc::EBADF);
    assert_eq!(driver.read(nowhere, 0, 4096), (Vec::new(), -libc::EBADF));
}

/// More operations than any queue of the `Io` holds.
fn thousands_at_once(world: &mut impl World) {
    let path = world.folder().join("thousands");
    let mut driver = Driver::new(world);
    let file = driver.open(&path, true, Access::Direct);
    let bytes = pattern(256 << 10);
    let spans = driver.spans(&bytes, 256 << 10);
    assert_eq!(driver.write(file, 0, spans).1, 0);
    const COUNT: usize = 4000;
    let page = |number: usize| number % 64 * 4096;
    for number in 0..COUNT {
        let block = driver.pool.take(4096).unwrap();
        driver.io().read(Token(number as u64), file, page(number) as u64, block, 4096);
    }
    let mut seen = vec![false; COUNT];
    for _ in 0..COUNT {
        let Done::Read { token, block, result: 4096 } = driver.next() else { panic!("not read") };
        let number = token.0 as usize;
        assert!(!std::mem::replace(&mut seen[number], true), "{number} came twice");
        assert!(block.bytes() == &bytes[page(number)..page(number) + 4096]);
    }
    driver.turn();
    assert!(driver.events.is_empty() && driver.done.is_empty());
}

/// Connections come and go; ids of those that went mean nothing.
fn ids_are_not_confused(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let mut gone: Vec<ConnId> = Vec::new();
    for round in 0..100u32 {
        let (mut peer, conn) = driver.pair();
        assert!(!gone.contains(&conn), "{conn:?} again in round {round}");
        driver.io().receive(conn);
        for &old in &gone {
            driver.io().pause(old);
            driver.io().close(old);
        }
        assert_eq!(driver.deliver(&mut *peer, &round.to_le_bytes()), round.to_le_bytes());
        driver.close(conn);
        gone.push(conn);
    }
}

fn file_operations(world: &mut impl World) {
    let folder = world.folder().join("ops");
    let mut driver = Driver::new(world);
    let (one, two) = (folder.join("one"), folder.join("two"));
    let open = |path: &Path, create| FileOp::Open { path: c_path(path), create, access: Access::Direct };
    assert_eq!(driver.file(open(&one, true)), -libc::ENOENT);
    assert_eq!(driver.file(FileOp::MakeDir { path: c_path(&folder) }), 0);
    assert_eq!(driver.file(FileOp::MakeDir { path: c_path(&folder) }), 0, "it may exist");
    assert_eq!(driver.file(open(&one, false)), -libc::ENOENT);
    let file = driver.open(&one, true, Access::Direct);
    assert_eq!(driver.file(FileOp::Truncate { file, len: 8192 }), 0);
    assert_eq!(driver.read(file, 0, 65536), (vec![0; 8192], 8192));
    assert_eq!(driver.file(FileOp::Truncate { file, len: 4096 }), 0);
    assert_eq!(driver.read(file, 0, 65536).1, 4096);
    assert_eq!(driver.file(FileOp::Close { file }), 0);
    assert_eq!(driver.file(FileOp::Rename { from: c_path(&one), to: c_path(&two) }), 0);
    assert_eq!(driver.file(open(&one, false)), -libc::ENOENT);
    assert_eq!(driver.file(FileOp::SyncDir { path: c_path(&folder) }), 0);
    assert_eq!(driver.file(FileOp::SyncDir { path: c_path(&one) }), -libc::ENOENT);
    assert_eq!(driver.file(FileOp::Remove { path: c_path(&folder) }), -libc::ENOTEMPTY);
    assert_eq!(driver.file(FileOp::Remove { path: c_path(&two) }), 0);
    assert_eq!(driver.file(FileOp::Remove { path: c_path(&folder) }), 0, "an empty folder");
    assert_eq!(driver.file(FileOp::Remove { path: c_path(&folder) }), -libc::ENOENT);
}

/// A file of that many pattern bytes (a multiple of 4096), open for sending.
fn file_to_send<W: World>(driver: &mut Driver<'_, W>, name: &str, bytes: &[u8]) -> FileId {
    let path = driver.world.folder().join(name);
    let file = driver.open(&path, true, Access::Direct);
    let spans = driver.spans(bytes, 1 << 20);
    assert_eq!(driver.write(file, 0, spans).1, 0);
    assert_eq!(driver.file(FileOp::Close { file }), 0);
    driver.open(&path, false, Access::Cached)
}

fn send_file_of_every_length(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let bytes = pattern(4 << 20);
    let file = file_to_send(&mut driver, "to-send", &bytes);
    let (mut peer, conn) = driver.pair();
    for (offset, len) in [(0, 0), (1, 1), (4095, 2), (777, 4097), (0, 65_536), (12_345, 3 << 20), ((4 << 20) - 1, 1)] {
        for head in [&b""[..], b"header"] {
            let pieces = if head.is_empty() { Vec::new() } else { driver.spans(head, 4) };
            driver.io().send_file(conn, pieces, file, offset, len as u32);
            let got = driver.drain(&mut *peer, head.len() + len, 100_000);
            let expected = [head, &bytes[offset as usize..offset as usize + len]].concat();
            assert!(got == expected, "{len} bytes at {offset}");
            let (pieces, result) = driver.expect_sent(conn);
            assert_eq!((pieces.len(), result), (head.len().div_ceil(4), 0));
        }
    }
    assert_eq!(driver.file(FileOp::Close { file }), 0);
}

fn send_file_that_ends_early(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let bytes = pattern(8192);
    let file = file_to_send(&mut driver, "short", &bytes);
    for _ in 0..40 {
        let (_peer, conn) = driver.pair();
        driver.io().send_file(conn, Vec::new(), file, 4000, 8192);
        assert_eq!(driver.expect_sent(conn).1, -libc::EIO);
        driver.close(conn);
    }
    let (mut peer, conn) = driver.pair();
    driver.io().send_file(conn, Vec::new(), file, 4000, 4192);
    assert!(driver.drain(&mut *peer, 4192, 9999) == bytes[4000..]);
}

/// Readers that do not read hold up nobody, and get their bytes when they do.
fn many_slow_readers_of_files(world: &mut impl World) {
    let mut driver = Driver::new(world);
    let bytes = pattern(12 << 20);
    let file = file_to_send(&mut driver, "slow", &bytes);
    let len = bytes.len() - 5;
    let mut pairs: Vec<_> = (0..6).map(|_| driver.pair()).collect();
    for (_, conn) in &pairs {
        driver.io().send_file(*conn, Vec::new(), file, 5, len as u32);
    }
    for _ in 0..50 {
        driver.turn();
    }
    assert!(driver.events.is_empty(), "nobody reads, but {:?}", driver.events);
    let (mut quick, last) = driver.pair();
    driver.io().send_file(last, Vec::new(), file, 1, 10_000);
    assert!(driver.drain(&mut *quick, 10_000, 10_000) == bytes[1..10_001]);
    assert_eq!(driver.expect_sent(last).1, 0);

    let (_stuck, dropped) = pairs.pop().unwrap();
    driver.io().close(dropped);
    assert!(driver.expect_sent(dropped).1 < 0);
    assert!(matches!(driver.next(), Done::Closed { conn } if conn == dropped));
    for (mut peer, conn) in pairs.into_iter().rev() {
        let got = driver.drain(&mut *peer, len, 1 << 20);
        assert!(got == bytes[5..]);
        assert_eq!(driver.expect_sent(conn).1, 0);
        driver.close(conn);
    }
}

/// The kernel's ring on this thread, with few buffers and pipes.
struct Real {
    io: Uring,
    folder: PathBuf,
}

const BUFFERS: u16 = 8;

fn config(core: u16, wakers: &Arc<Wakers>) -> UringConfig {
    let usual = UringConfig::new(CoreId(core), wakers.clone(), Instant::now());
    UringConfig { entries: 64, receive_buffers: BUFFERS, receive_memory: 0, pipes: 2, ..usual }
}

impl Real {
    fn new(name: &str) -> Real {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("io-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Real { io: Uring::new(config(0, &Wakers::new(1).unwrap())).unwrap(), folder }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

impl World for Real {
    type Io = Uring;

    fn io(&mut self) -> &mut Uring {
        &mut self.io
    }

    fn connect(&mut self, to: SocketAddr) -> Box<dyn Peer> {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        Box::new(stream)
    }

    fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    fn receive_buffers(&self) -> usize {
        usize::from(BUFFERS)
    }
}

impl Peer for TcpStream {
    fn send(&mut self, bytes: &[u8]) -> usize {
        match self.write(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("the peer cannot send: {error}"),
        }
    }

    fn receive(&mut self, into: &mut Vec<u8>, most: usize) -> Seen {
        let mut chunk = [0; 65536];
        let most = most.min(chunk.len());
        match self.read(&mut chunk[..most]) {
            Ok(0) => Seen::End,
            Ok(got) => {
                into.extend_from_slice(&chunk[..got]);
                Seen::Bytes(got)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Seen::Nothing,
            Err(_) => Seen::Broken,
        }
    }

    fn finish(&mut self) {
        self.shutdown(Shutdown::Write).unwrap();
    }

    fn reset(self: Box<Self>) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&*self, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    }
}

macro_rules! on_the_ring {
    ($($body:ident),* $(,)?) => { mod ring { $(
        #[test]
        fn $body() {
            super::$body(&mut super::Real::new(stringify!($body)));
        }
    )* } };
}

on_the_ring!(
    echo_of_every_size,
    split_frames,
    slow_reader_of_many_pieces,
    half_close,
    peer_resets_while_sent_to,
    close_while_sending,
    more_connections_than_buffers,
    pause_and_receive,
    pausing_at_any_moment_loses_nothing,
    file_round_trip,
    thousands_at_once,
    ids_are_not_confused,
    file_operations,
    send_file_of_every_length,
    send_file_that_ends_early,
    many_slow_readers_of_files,
);

#[test]
fn the_test_folder_takes_direct_io() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let found = probe_direct_io(folder).unwrap();
    assert!(found.offset_alignment <= 4096 && found.memory_alignment <= 4096, "{found:?}");
    let left = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".ringlog")));
}

/// One of two cores that bounce a number; sleeps for good unless it is woken. Answers the last number it saw.
fn bounce(
    core: u16,
    wakers: &Arc<Wakers>,
    flags: &[Parked; 2],
    mut inbox: Receiver<u32>,
    mut outbox: Sender<u32>,
) -> u32 {
    const ROUNDS: u32 = 5_000;
    // One of them looks around before it sleeps.
    let mut io = Uring::new(UringConfig { spin_micros: u64::from(core) * 30, ..config(core, wakers) }).unwrap();
    let (mine, other) = (&flags[usize::from(core)], 1 - core);
    let (mut done, mut last) = (Vec::with_capacity(8), 0);
    while last < ROUNDS {
        while let Some(number) = inbox.pop() {
            last = number;
            outbox.push(number + 1).unwrap();
            if flags[usize::from(other)].must_wake() {
                io.wake(CoreId(other));
            }
        }
        mine.park();
        let wait = if inbox.is_empty() && last < ROUNDS { Wait::Forever } else { Wait::No };
        io.poll(wait, &mut done).unwrap();
        mine.unpark();
        assert!(done.drain(..).all(|d| matches!(d, Done::Woken)));
    }
    last
}

#[test]
fn cores_wake_each_other() {
    let wakers = Wakers::new(2).unwrap();
    let (mut to_one, from_zero) = channel::<u32>(4);
    let (to_zero, from_one) = channel::<u32>(4);
    let flags = [Parked::new(), Parked::new()];
    to_one.push(1).unwrap();
    thread::scope(|scope| {
        let one = scope.spawn(|| bounce(1, &wakers, &flags, from_zero, to_zero));
        let zero = scope.spawn(|| bounce(0, &wakers, &flags, from_one, to_one));
        assert_eq!((zero.join().unwrap(), one.join().unwrap()), (5_000, 5_001));
    });
}

#[test]
fn a_bell_rung_before_the_ring_exists_is_heard() {
    let wakers = Wakers::new(2).unwrap();
    let mut early = Uring::new(config(0, &wakers)).unwrap();
    let mut done = Vec::with_capacity(4);
    early.wake(CoreId(1));
    early.wake(CoreId(0));
    early.poll(Wait::Forever, &mut done).unwrap();
    assert!(matches!(done[..], [Done::Woken]), "its own: {done:?}");
    for _ in 0..3 {
        let mut late = Uring::new(config(1, &wakers)).unwrap();
        let mut done = Vec::with_capacity(4);
        while done.is_empty() {
            late.poll(Wait::Forever, &mut done).unwrap();
        }
        assert!(matches!(done[..], [Done::Woken]), "{done:?}");
        drop(late);
        wakers.ring_bell(1);
    }
}

#[test]
fn a_connection_moves_to_another_core() {
    let wakers = Wakers::new(2).unwrap();
    let mut zero = Uring::new(config(0, &wakers)).unwrap();
    let address = zero.listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    zero.accept(0);
    let mut peer = TcpStream::connect(address).unwrap();
    let mut done = Vec::with_capacity(4);
    while done.is_empty() {
        zero.poll(Wait::Forever, &mut done).unwrap();
    }
    let Some(Done::Accepted(accepted)) = done.pop() else { panic!("not accepted") };
    assert_eq!(accepted.peer, peer.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let mut one = Uring::new(config(1, &wakers)).unwrap();
        let conn = one.adopt(accepted);
        one.receive(conn);
        let mut done = Vec::with_capacity(4);
        loop {
            one.poll(Wait::Forever, &mut done).unwrap();
            for event in done.drain(..) {
                match event {
                    Done::Received { bytes, .. } if bytes.is_empty() => one.close(conn),
                    Done::Received { bytes, .. } => one.send(conn, vec![bytes]),
                    Done::Sent { result: 0, .. } => {}
                    Done::Closed { .. } => return,
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    peer.write_all(b"over there").unwrap();
    let mut back = [0; 10];
    peer.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"over there");
    peer.shutdown(Shutdown::Write).unwrap();
    serving.join().unwrap();
}

#[test]
fn dropping_a_busy_ring_ends_everything() {
    let mut world = Real::new("drop");
    let mut driver = Driver::new(&mut world);
    let file = file_to_send(&mut driver, "drop", &pattern(8 << 20));
    let mut pairs: Vec<_> = (0..4).map(|_| driver.pair()).collect();
    let bytes = driver.spans(&pattern(8 << 20), 8 << 20);
    for (number, (_, conn)) in pairs.iter().enumerate() {
        driver.io().receive(*conn);
        match number % 2 {
            0 => driver.io().send(*conn, bytes.clone()),
            _ => driver.io().send_file(*conn, Vec::new(), file, 0, 8 << 20),
        }
    }
    let spans = driver.spans(&pattern(4096), 4096);
    driver.io().write(Token(1), file, 0, spans);
    for _ in 0..10 {
        driver.turn();
    }
    let mut pool = std::mem::replace(&mut driver.pool, BlockPool::new(0));
    drop((driver, bytes));
    drop(world);
    assert_eq!(pool.usage().taken, 0, "no operation keeps memory");
    for (peer, _) in &mut pairs {
        let mut got = Vec::new();
        let end = std::iter::repeat_with(|| peer.receive(&mut got, 65536)).find(|s| !matches!(s, Seen::Bytes(_)));
        assert!(matches!(end, Some(Seen::End | Seen::Broken)), "{end:?} after {} bytes", got.len());
    }
}

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; the counter needs no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Echoes one message and appends it to a file, `rounds` times, with storage that comes back. Answers the allocations.
fn steady_rounds(
    io: &mut Uring,
    peer: &mut TcpStream,
    conn: ConnId,
    file: FileId,
    pool: &mut BlockPool,
    rounds: usize,
) -> u64 {
    let (message, mut back) = (pattern(1000), [0; 1000]);
    let (mut done, mut to_send, mut to_write) = (Vec::with_capacity(16), Vec::with_capacity(4), Vec::with_capacity(4));
    let before = ALLOCATIONS.get();
    for _ in 0..rounds {
        peer.write_all(&message).unwrap();
        let mut block = pool.take(4096).unwrap();
        let (mut received, mut synced, mut sent) = (0, false, false);
        while !(synced && sent) {
            io.poll(Wait::Forever, &mut done).unwrap();
            for event in done.drain(..) {
                match event {
                    Done::Received { bytes, .. } => {
                        received += bytes.len();
                        block.append(bytes.bytes());
                        if received == message.len() {
                            block.pad_to_multiple(4096);
                            to_write.push(block.span(0, 4096));
                            io.write(Token(1), file, 0, std::mem::take(&mut to_write));
                        }
                    }
                    Done::Written { spans, result: 0, .. } => {
                        to_write = spans;
                        to_write.clear();
                        io.sync(Token(2), file);
                    }
                    Done::Synced { result: 0, .. } => {
                        synced = true;
                        to_send.push(block.span(0, 500));
                        to_send.push(block.span(500, 500));
                        io.send(conn, std::mem::take(&mut to_send));
                    }
                    Done::Sent { pieces, result: 0, .. } => {
                        to_send = pieces;
                        to_send.clear();
                        sent = true;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        peer.read_exact(&mut back).unwrap();
        assert!(back == message[..]);
    }
    ALLOCATIONS.get() - before
}

#[test]
fn a_steady_loop_does_not_allocate() {
    let mut world = Real::new("steady");
    let path = world.folder().join("log");
    let mut driver = Driver::new(&mut world);
    let file = driver.open(&path, true, Access::Direct);
    let mut peer = TcpStream::connect(driver.address).unwrap();
    while driver.accepted.is_empty() {
        driver.turn();
    }
    let accepted = driver.accepted.pop_front().unwrap();
    let conn = driver.io().adopt(accepted);
    driver.io().receive(conn);
    let mut pool = BlockPool::new(1 << 20);
    let warm = steady_rounds(driver.io(), &mut peer, conn, file, &mut pool, 50);
    assert!(warm > 0, "the counter counts");
    assert_eq!(steady_rounds(driver.io(), &mut peer, conn, file, &mut pool, 500), 0);
}
