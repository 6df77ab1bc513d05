//! The loop on glommio: one task a connection reads, and answers where there is no disk; one task writes the groups, flushes them and
//! answers. Sockets are read into one buffer that all connections share, which glommio's streams fill only where they are ready:
//! a buffer for each would be hostile to the cache. The server's core.

use super::frames::Service;
use super::server::{Announce, Counters, Job};
use super::stage::{self, CHUNK, Chunk, Group, Piece, Stage};
use futures_io::{AsyncRead, AsyncWrite};
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::net::{TcpListener, TcpStream};
use glommio::{GlommioError, LocalExecutorBuilder, Placement, allocate_dma_buffer, spawn_local};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

/// Bytes read at a time: as much as one of the ring's buffers.
const BUFFER: usize = 64 << 10;

/// A chunk that glommio takes for one write, and frees after it.
struct Buffer(DmaBuffer);

impl Chunk for Buffer {
    fn fresh() -> Buffer {
        Buffer(allocate_dma_buffer(CHUNK))
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.0.as_bytes_mut()
    }
}

/// What the tasks of the server share. One core, one thread.
struct Server {
    service: RefCell<Service<Buffer>>,
    conns: RefCell<Vec<Rc<RefCell<TcpStream>>>>,
    buffer: RefCell<Vec<u8>>,
    /// The task that writes, where it waits for something to write.
    writer: Cell<Option<Waker>>,
    staged: bool,
}

/// Serves for as long as the process lives.
pub fn serve(job: &Job, path: Option<&Path>, counters: &Counters, announce: Announce<'_>) -> io::Result<()> {
    // Buddies are of a power of two, and a chunk needs a little more than one.
    let memory = 2 * CHUNK * stage::chunks_for(job.frames().in_flight());
    let builder = LocalExecutorBuilder::new(Placement::Fixed(job.cpu)).io_memory(memory).name("glommio");
    let executor = builder.make().map_err(plain)?;
    executor.run(async {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(plain)?;
        let server = Rc::new(Server {
            service: RefCell::new(Service::new(path.map(|_| Stage::new(Vec::new(), job.file_bytes)))),
            conns: RefCell::default(),
            buffer: RefCell::new(vec![0; BUFFER]),
            writer: Cell::new(None),
            staged: path.is_some(),
        });
        let port = listener.local_addr().map_err(plain)?.port();
        let accepting = spawn_local(accept(server.clone(), listener));
        match path {
            None => {
                announce(port)?;
                accepting.await
            }
            Some(path) => {
                accepting.detach();
                let file = OpenOptions::new().read(true).write(true).dma_open(path).await.map_err(plain)?;
                announce(port)?;
                write_groups(&server, Rc::new(file), job.shape.flushed, counters).await
            }
        }
    })
}

fn plain(error: GlommioError<()>) -> io::Error {
    io::Error::other(error.to_string())
}

async fn accept(server: Rc<Server>, listener: TcpListener) -> io::Result<()> {
    loop {
        let stream = listener.accept().await.map_err(plain)?;
        stream.set_nodelay(true).map_err(plain)?;
        let stream = Rc::new(RefCell::new(stream));
        let conn = server.conns.borrow().len();
        server.conns.borrow_mut().push(stream.clone());
        server.service.borrow_mut().open(conn);
        spawn_local(receive(server.clone(), conn, stream)).detach();
    }
}

/// One connection, until its peer is gone.
async fn receive(server: Rc<Server>, conn: usize, stream: Rc<RefCell<TcpStream>>) {
    loop {
        let received = poll_fn(|cx| {
            let mut buffer = server.buffer.borrow_mut();
            let got = Pin::new(&mut *stream.borrow_mut()).poll_read(cx, &mut buffer);
            if let Poll::Ready(Ok(len @ 1..)) = got {
                server.service.borrow_mut().received(conn, &buffer[..len]);
            }
            got
        });
        if !matches!(received.await, Ok(1..)) {
            return;
        }
        if server.staged {
            if let Some(waker) = server.writer.take() {
                waker.wake();
            }
        } else if answer_ready(&server).await.is_err() {
            return;
        }
    }
}

/// Sends the answers that are due.
async fn answer_ready(server: &Server) -> io::Result<()> {
    loop {
        let Some(conn) = server.service.borrow_mut().next_ready() else { return Ok(()) };
        let mut answers = std::mem::take(server.service.borrow_mut().answers(conn));
        let stream = server.conns.borrow()[conn].clone();
        let mut sent = 0;
        while sent < answers.len() {
            let step = poll_fn(|cx| Pin::new(&mut *stream.borrow_mut()).poll_write(cx, &answers[sent..]));
            sent += step.await?;
        }
        answers.clear();
        let mut service = server.service.borrow_mut();
        let due = service.answers(conn);
        if due.is_empty() {
            *due = answers;
        }
    }
}

/// Writes, flushes and answers one group after the other.
async fn write_groups(server: &Server, file: Rc<DmaFile>, flushed: bool, counters: &Counters) -> io::Result<()> {
    loop {
        let mut group = poll_fn(|cx| match server.service.borrow_mut().take_group() {
            Some(group) => Poll::Ready(group),
            None => {
                server.writer.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await;
        let since = Instant::now();
        write(&file, &mut group).await?;
        if flushed {
            file.fdatasync().await.map_err(plain)?;
        }
        counters.group(group.payload, since.elapsed());
        server.service.borrow_mut().settle(group);
        if answer_ready(server).await.is_err() {
            // The load is gone, and this process with it.
            return Ok(());
        }
    }
}

async fn write(file: &Rc<DmaFile>, group: &mut Group<Buffer>) -> io::Result<()> {
    let mut begun = Vec::with_capacity(group.pieces.len());
    for Piece { mut chunk, len, offset } in group.pieces.drain(..) {
        chunk.0.trim_to_size(len);
        let file = file.clone();
        begun.push((len, spawn_local(async move { file.write_at(chunk.0, offset).await })));
    }
    for (len, write) in begun {
        let written = write.await.map_err(plain)?;
        if written != len {
            return Err(io::Error::new(io::ErrorKind::WriteZero, format!("a write ended after {written} bytes")));
        }
    }
    Ok(())
}
