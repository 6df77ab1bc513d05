//! The driver on executors of the glommio crate: one a client core, a task for each connection and one for what time asks for.

use super::clock;
use super::core::{Act, ClientCore, CoreEnd};
use futures_lite::future::poll_fn;
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(10);
/// Bytes received at once.
const RECEIVED: usize = 256 << 10;

/// A connection's task as the others see it.
#[derive(Default)]
struct Slot {
    waker: Option<Waker>,
    send: bool,
    close: bool,
}

struct Hub {
    core: RefCell<ClientCore>,
    slots: RefCell<Vec<Slot>>,
    buffer: RefCell<Vec<u8>>,
    tasks: Cell<usize>,
}

/// Runs a core to its end, on this thread.
pub(super) fn run(mut core: ClientCore) -> CoreEnd {
    core.at(clock::now());
    let executor = match LocalExecutorBuilder::new(Placement::Unbound).make() {
        Ok(executor) => executor,
        Err(e) => {
            core.fail(format!("no executor for the clients: {e}"));
            return core.finish();
        }
    };
    let hub = Rc::new(Hub {
        core: RefCell::new(core),
        slots: RefCell::default(),
        buffer: RefCell::new(vec![0; RECEIVED]),
        tasks: Cell::new(0),
    });
    executor.run(conduct(hub.clone()));
    drop(executor);
    let hub = Rc::try_unwrap(hub).ok().expect("all tasks have ended");
    hub.core.into_inner().finish()
}

/// Does what time asks for, until the end; then ends the connections.
async fn conduct(hub: Rc<Hub>) {
    loop {
        let (deadline, _) = {
            let mut core = hub.core.borrow_mut();
            core.at(clock::now());
            core.turn();
            core.note_usage(clock::thread_cpu);
            core.deadline()
        };
        hub.dispatch();
        if hub.core.borrow().has_ended() {
            break;
        }
        // Also what is due already goes by way of a timer, so that the executor looks at its sockets in between.
        let left = deadline.saturating_sub(clock::now()).max(1);
        sleep(Duration::from_nanos(left)).await;
    }
    while hub.tasks.get() > 0 {
        for slot in hub.slots.borrow_mut().iter_mut() {
            slot.close = true;
            slot.waker.take().into_iter().for_each(Waker::wake);
        }
        sleep(Duration::from_millis(1)).await;
    }
}

impl Hub {
    /// Tells tasks what the core wants done.
    fn dispatch(self: &Rc<Self>) {
        loop {
            let act = self.core.borrow_mut().act();
            let Some(act) = act else { return };
            let mut slots = self.slots.borrow_mut();
            match act {
                Act::Open(number, addr) => {
                    if slots.len() <= number {
                        slots.resize_with(number + 1, Slot::default);
                    }
                    slots[number] = Slot::default();
                    self.tasks.set(self.tasks.get() + 1);
                    glommio::spawn_local(serve(self.clone(), number, addr)).detach();
                }
                Act::Send(number) => {
                    slots[number].send = true;
                    slots[number].waker.take().into_iter().for_each(Waker::wake);
                }
                Act::Close(number) => {
                    slots[number].close = true;
                    slots[number].waker.take().into_iter().for_each(Waker::wake);
                }
            }
        }
    }

    fn with_core(&self, what: impl FnOnce(&mut ClientCore)) {
        let mut core = self.core.borrow_mut();
        core.at(clock::now());
        what(&mut core);
    }
}

/// One connection, from its opening to its end.
async fn serve(hub: Rc<Hub>, number: usize, addr: SocketAddr) {
    let why = match TcpStream::connect_timeout(addr, CONNECT).await {
        Err(e) => e.to_string(),
        Ok(stream) => {
            let mut stream = stream;
            let _ = stream.set_nodelay(true);
            hub.with_core(|core| core.connected(number));
            hub.dispatch();
            let mut pending = Pending::default();
            poll_fn(|cx| move_bytes(&hub, number, &mut stream, &mut pending, cx)).await
        }
    };
    hub.with_core(|core| core.closed(number, &why));
    hub.dispatch();
    hub.tasks.set(hub.tasks.get() - 1);
}

/// Bytes on their way to the kernel.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    at: usize,
}

/// Moves bytes both ways as far as they go. Ready with the reason when the connection has ended.
fn move_bytes(
    hub: &Rc<Hub>,
    number: usize,
    stream: &mut TcpStream,
    pending: &mut Pending,
    cx: &mut Context<'_>,
) -> Poll<String> {
    loop {
        {
            let slot = &mut hub.slots.borrow_mut()[number];
            if slot.close {
                return Poll::Ready("closed here".to_string());
            }
            slot.waker = Some(cx.waker().clone());
        }
        let wrote = match write(hub, number, stream, pending, cx) {
            Ok(wrote) => wrote,
            Err(e) => return Poll::Ready(e.to_string()),
        };
        let mut buffer = hub.buffer.borrow_mut();
        let read = match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) => return Poll::Ready("it ended".to_string()),
            Poll::Ready(Ok(count)) => {
                hub.with_core(|core| core.received(number, &buffer[..count]));
                true
            }
            Poll::Ready(Err(e)) => return Poll::Ready(e.to_string()),
        };
        drop(buffer);
        hub.dispatch();
        if !wrote && !read {
            return Poll::Pending;
        }
    }
}

/// Writes what the core has for this connection. True: something went out whole, so that there may be more.
fn write(
    hub: &Rc<Hub>,
    number: usize,
    stream: &mut TcpStream,
    pending: &mut Pending,
    cx: &mut Context<'_>,
) -> std::io::Result<bool> {
    let asked = std::mem::take(&mut hub.slots.borrow_mut()[number].send);
    if asked && pending.bytes.is_empty() {
        hub.with_core(|core| {
            core.hand(number, |out| {
                std::mem::swap(out, &mut pending.bytes);
                false
            });
        });
    }
    if pending.bytes.is_empty() {
        return Ok(false);
    }
    while pending.at < pending.bytes.len() {
        match Pin::new(&mut *stream).poll_write(cx, &pending.bytes[pending.at..]) {
            Poll::Pending => return Ok(false),
            Poll::Ready(wrote) => pending.at += wrote?,
        }
    }
    pending.bytes.clear();
    pending.at = 0;
    hub.with_core(|core| core.sent(number));
    Ok(true)
}
