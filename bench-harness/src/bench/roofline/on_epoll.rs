//! The loop on epoll: plain reads and writes of non-blocking sockets into one shared buffer. A loop must not wait for a disk, so a
//! thread of its own, on the same core, writes (one pwritev a group) and flushes (fdatasync), and is told and tells by a queue and
//! an eventfd. The server's core.

use super::frames::Service;
use super::server::{Announce, Counters, Job, local_listener};
use super::stage::{self, Aligned, Group, Stage};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Bytes read at a time: as much as one of the ring's buffers.
const BUFFER: usize = 64 << 10;
const LISTENER: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;

type Written = io::Result<(Group<Aligned>, Duration)>;

/// The thread that writes and flushes, as the loop sees it.
struct Disk {
    to: Sender<Group<Aligned>>,
    from: Receiver<Written>,
    bell: Arc<EventFd>,
    busy: bool,
}

struct Server<'a> {
    counters: &'a Counters,
    epoll: Epoll,
    listener: TcpListener,
    conns: Vec<TcpStream>,
    /// Connections that are watched for room for more answers.
    full: Vec<bool>,
    service: Service<Aligned>,
    disk: Option<Disk>,
    buffer: Vec<u8>,
}

/// Serves for as long as the process lives.
pub fn serve(job: &Job, file: Option<&File>, counters: &Counters, announce: Announce<'_>) -> io::Result<()> {
    let listener = local_listener()?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let port = listener.local_addr()?.port();
    let mut stage = None;
    let mut disk = None;
    if let Some(file) = file {
        let chunks = stage::chunks_for(job.frames().in_flight());
        stage = Some(Stage::new((0..chunks).map(|_| stage::Chunk::fresh()).collect(), job.file_bytes));
        let started = Disk::start(file.try_clone()?, job.shape.flushed)?;
        epoll.add(&*started.bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        disk = Some(started);
    }
    let (conns, full, buffer) = (Vec::new(), Vec::new(), vec![0; BUFFER]);
    let service = Service::new(stage);
    let mut server = Server { counters, epoll, listener, conns, full, service, disk, buffer };
    announce(port)?;
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = server.epoll.wait(&mut events, EpollTimeout::NONE).or_else(|e| match e {
            nix::Error::EINTR => Ok(0),
            e => Err(e),
        })?;
        for event in &events[..count] {
            server.on(*event)?;
        }
        server.commit();
        while let Some(conn) = server.service.next_ready() {
            server.answer(conn)?;
        }
    }
}

impl Disk {
    fn start(file: File, flushed: bool) -> io::Result<Disk> {
        let (to, groups) = channel::<Group<Aligned>>();
        let (done, from) = channel();
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let ring = bell.clone();
        let work = move || {
            for group in groups {
                let since = Instant::now();
                let written = write(&file, &group, flushed).map(|()| (group, since.elapsed()));
                if done.send(written).is_err() || ring.write(1).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("disk".into()).spawn(work)?;
        Ok(Disk { to, from, bell, busy: false })
    }
}

/// Writes a group and flushes it. Its pieces follow each other but where the file goes on at its beginning.
fn write(file: &File, group: &Group<Aligned>, flushed: bool) -> io::Result<()> {
    let mut rest = &group.pieces[..];
    while let Some(first) = rest.first() {
        let next = rest.iter().position(|piece| piece.offset < first.offset).unwrap_or(rest.len());
        // IOV_MAX is 1024, which is what a stage holds at most.
        let run: Vec<IoSlice<'_>> = rest[..next].iter().map(|p| IoSlice::new(&p.chunk.get()[..p.len])).collect();
        let written = nix::sys::uio::pwritev(file, &run, first.offset as i64)?;
        if written != run.iter().map(|slice| slice.len()).sum::<usize>() {
            return Err(io::Error::new(ErrorKind::WriteZero, format!("a write ended after {written} bytes")));
        }
        rest = &rest[next..];
    }
    if flushed { file.sync_data() } else { Ok(()) }
}

impl Server<'_> {
    fn on(&mut self, event: EpollEvent) -> io::Result<()> {
        match event.data() {
            LISTENER => self.accept(),
            BELL => self.written(),
            conn => {
                let conn = conn as usize;
                if event.events().contains(EpollFlags::EPOLLOUT) {
                    self.answer(conn)?;
                }
                if event.events().intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
                    self.receive(conn)?;
                }
                Ok(())
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    let conn = self.conns.len();
                    self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, conn as u64))?;
                    self.service.open(conn);
                    self.conns.push(stream);
                    self.full.push(false);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    fn receive(&mut self, conn: usize) -> io::Result<()> {
        match self.conns[conn].read(&mut self.buffer) {
            Ok(len @ 1..) => self.service.received(conn, &self.buffer[..len]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            // The peer is gone.
            Ok(0) | Err(_) => self.epoll.delete(&self.conns[conn])?,
        }
        Ok(())
    }

    /// The disk thread has told of a group.
    fn written(&mut self) -> io::Result<()> {
        let disk = self.disk.as_mut().expect("there is a bell where there is a disk");
        disk.bell.read()?;
        let (group, took) = disk.from.recv().expect("the disk's thread lives")?;
        disk.busy = false;
        self.counters.group(group.payload, took);
        self.service.settle(group);
        Ok(())
    }

    /// Gives the disk what is staged, if it has nothing to do.
    fn commit(&mut self) {
        if let Some(disk) = self.disk.as_mut().filter(|disk| !disk.busy)
            && let Some(group) = self.service.take_group()
        {
            disk.busy = true;
            disk.to.send(group).expect("the disk's thread lives");
        }
    }

    fn answer(&mut self, conn: usize) -> io::Result<()> {
        let due = self.service.answers(conn);
        let sent = match self.conns[conn].write(due) {
            Ok(sent) => sent,
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            // The peer is gone, and nobody waits for the rest.
            Err(_) => due.len(),
        };
        due.drain(..sent);
        let full = !due.is_empty();
        if full != self.full[conn] {
            let more = if full { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN | more, conn as u64);
            self.epoll.modify(&self.conns[conn], &mut event)?;
            self.full[conn] = full;
        }
        Ok(())
    }
}
