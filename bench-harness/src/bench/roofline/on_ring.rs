//! The loop on our own ring: multishot accept and receive, one group of writes at a time, one flush after it. The server's core.

use super::frames::Service;
use super::ring::{Event, Registered, Ring};
use super::server::{Announce, Counters, Job, local_listener};
use super::shape::Variant;
use super::stage::{self, Group, Stage};
use std::fs::File;
use std::io;
use std::time::Instant;

/// A group on its way to the disk.
struct Flying {
    group: Group<Registered>,
    /// Writes that have not ended.
    left: usize,
    syncing: bool,
    since: Instant,
}

struct Server<'a> {
    job: &'a Job,
    counters: &'a Counters,
    service: Service<Registered>,
    flying: Option<Flying>,
    /// Chunks of the group in flight that were written.
    written: Vec<Registered>,
    /// Per connection: the memory for the next answers, while none are being sent.
    idle: Vec<Option<Vec<u8>>>,
    /// Connections whose send ended while more answers had come.
    again: Vec<usize>,
}

/// Serves for as long as the process lives.
pub fn serve(job: &Job, file: Option<&File>, counters: &Counters, announce: Announce<'_>) -> io::Result<()> {
    let (mut ring, chunks) = Ring::new(file, stage::chunks_for(job.frames().in_flight()))?;
    if job.shape.variant == Variant::Disk {
        announce(0)?;
        return write_groups(job, &mut ring, chunks, counters);
    }
    let listener = local_listener()?;
    ring.accept(&listener)?;
    announce(listener.local_addr()?.port())?;
    let stage = file.map(|_| Stage::new(chunks, job.file_bytes));
    let service = Service::new(stage);
    let (written, idle, again) = (Vec::new(), Vec::new(), Vec::new());
    let mut server = Server { job, counters, service, flying: None, written, idle, again };
    loop {
        ring.turn(|event| server.on(event))?;
        server.commit(&mut ring)?;
        server.answer(&mut ring)?;
    }
}

impl Server<'_> {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Accepted(conn) => {
                self.service.open(conn);
                self.idle.resize_with(self.idle.len().max(conn + 1), || Some(Vec::new()));
            }
            Event::Received(conn, bytes) => self.service.received(conn, bytes),
            Event::Sent(conn, mut answers) => {
                answers.clear();
                self.idle[conn] = Some(answers);
                if !self.service.answers(conn).is_empty() {
                    self.again.push(conn);
                }
            }
            Event::Written(chunk) => {
                self.written.push(chunk);
                self.flying.as_mut().expect("a write belongs to a group").left -= 1;
            }
            Event::Synced => self.settle(),
        }
    }

    /// The group in flight is where it should be.
    fn settle(&mut self) {
        let Flying { group, since, .. } = self.flying.take().expect("a flush belongs to a group");
        self.counters.group(group.payload, since.elapsed());
        self.service.settle(group);
    }

    /// Takes the group in flight further, and starts the next when there is none.
    fn commit(&mut self, ring: &mut Ring) -> io::Result<()> {
        if let Some(flying) = self.flying.as_mut().filter(|f| f.left == 0 && !f.syncing) {
            flying.group.pieces.extend(self.written.drain(..).map(|chunk| stage::Piece { chunk, len: 0, offset: 0 }));
            if self.job.shape.flushed {
                flying.syncing = true;
                ring.sync()?;
            } else {
                self.settle();
            }
        }
        if self.flying.is_none()
            && let Some(mut group) = self.service.take_group()
        {
            let left = group.pieces.len();
            group.pieces.drain(..).try_for_each(|piece| ring.write(piece))?;
            self.flying = Some(Flying { group, left, syncing: false, since: Instant::now() });
        }
        Ok(())
    }

    /// Sends the answers that are due where none are being sent.
    fn answer(&mut self, ring: &mut Ring) -> io::Result<()> {
        while let Some(conn) = self.again.pop().or_else(|| self.service.next_ready()) {
            if let Some(memory) = self.idle[conn].take() {
                let answers = std::mem::replace(self.service.answers(conn), memory);
                ring.send(conn, answers)?;
            }
        }
        Ok(())
    }
}

/// The disk alone: groups of the same bytes, one at a time.
fn write_groups(job: &Job, ring: &mut Ring, chunks: Vec<Registered>, counters: &Counters) -> io::Result<()> {
    let mut stage = Stage::new(chunks, job.file_bytes);
    let contents = vec![0x5a; job.frames().payload];
    let mut bytes = job.group_bytes;
    while bytes > 0 {
        let now = bytes.min(contents.len());
        stage.put(&contents[..now]);
        bytes -= now;
    }
    stage.end_frame(0, 0);
    let mut group = stage.take().expect("a frame was ended");
    let mut position = 0;
    loop {
        let since = Instant::now();
        let mut left = group.pieces.len();
        let lens: Vec<usize> = group.pieces.iter().map(|piece| piece.len).collect();
        for mut piece in group.pieces.drain(..) {
            if position + piece.len as u64 > job.file_bytes {
                position = 0;
            }
            piece.offset = position;
            position += piece.len as u64;
            ring.write(piece)?;
        }
        let mut written = Vec::new();
        while left > 0 {
            ring.turn(|event| {
                if let Event::Written(chunk) = event {
                    written.push(chunk);
                    left -= 1;
                }
            })?;
        }
        let mut synced = !job.shape.flushed;
        if !synced {
            ring.sync()?;
        }
        while !synced {
            ring.turn(|event| synced |= matches!(event, Event::Synced))?;
        }
        let pieces = written.into_iter().zip(lens).map(|(chunk, len)| stage::Piece { chunk, len, offset: 0 });
        group.pieces.extend(pieces);
        counters.group(job.group_bytes as u64, since.elapsed());
    }
}
