//! As much of HTTP/1.1 as a scraper needs: GET and HEAD, one request a connection, everything bounded. Plain sockets without
//! blocking, on the admin thread: a peer that is slow, silent or many keeps nobody waiting but itself.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Bytes of a request, its head.
const REQUEST_MAX: usize = 8 << 10;

/// How long nothing is done after a connection could not be accepted.
const REST: Duration = Duration::from_millis(100);

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at a time. One more, and the one that has been here longest goes.
    pub connections: usize,
    /// From the connection to the end of its request.
    pub request: Duration,
    /// From its request to the answer being taken, and again for the peer's end after it.
    pub answer: Duration,
}

pub const BOUNDS: Bounds = Bounds { connections: 32, request: Duration::from_secs(5), answer: Duration::from_secs(10) };

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub path: String,
    /// Of the header; empty without one.
    pub accept: String,
    head_only: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    pub status: Status,
    pub content_type: &'static str,
    pub body: String,
}

impl Response {
    pub fn text(status: Status, body: impl Into<String>) -> Response {
        Response { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    HeadersTooLarge,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::HeadersTooLarge => "431 Request Header Fields Too Large",
            Status::Unavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// What a connection is at.
enum State {
    Asking(Vec<u8>),
    Answering {
        bytes: Vec<u8>,
        sent: usize,
    },
    /// Answered: what the peer still sends is read, as closing on it would take the answer back.
    Ending,
}

struct Conn {
    stream: TcpStream,
    state: State,
    deadline: Instant,
}

/// The endpoint's sockets. On the admin thread.
pub struct Server {
    listener: TcpListener,
    bounds: Bounds,
    conns: Vec<Conn>,
}

impl Server {
    pub fn new(listener: TcpListener, bounds: Bounds) -> std::io::Result<Server> {
        listener.set_nonblocking(true)?;
        Ok(Server { listener, bounds, conns: Vec::new() })
    }

    /// Waits for something to happen, and answers what was asked.
    pub fn turn(&mut self, answer: &mut impl FnMut(&Request) -> Response) -> std::io::Result<()> {
        let ready = self.wait()?;
        let now = Instant::now();
        let (listening, conns) = ready.split_last().expect("the listener is the last");
        // Those that are done go only afterwards: places are those of the wait.
        let open: Vec<bool> = self
            .conns
            .iter_mut()
            .zip(conns)
            .map(|(conn, ready)| conn.step(*ready, now, &self.bounds, answer))
            .collect();
        let mut open = open.iter();
        self.conns.retain(|_| *open.next().expect("one for each"));
        if *listening {
            self.accept(now);
        }
        Ok(())
    }

    /// Which connections, and at the end whether the listener, have something to do.
    fn wait(&self) -> std::io::Result<Vec<bool>> {
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(self.conns.len() + 1);
        fds.extend(self.conns.iter().map(|conn| {
            let sending = matches!(conn.state, State::Answering { .. });
            PollFd::new(conn.stream.as_fd(), if sending { PollFlags::POLLOUT } else { PollFlags::POLLIN })
        }));
        fds.push(PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
        let deadline = self.conns.iter().map(|conn| conn.deadline).min();
        let timeout = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
            None => PollTimeout::NONE,
            // Rounded up: else it would look again and again in the last millisecond.
            Some(left) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(fds.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect())
    }

    fn accept(&mut self, now: Instant) {
        // One at a time: if there are more, the next wait ends at once.
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            // Out of descriptors, say: they are not there sooner for being asked for again at once.
            Err(_) => return std::thread::sleep(REST),
        };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.conns.len() >= self.bounds.connections {
            self.conns.remove(0);
        }
        self.conns.push(Conn { stream, state: State::Asking(Vec::new()), deadline: now + self.bounds.request });
    }
}

impl Conn {
    /// Goes as far as it can. False when it is over.
    fn step(
        &mut self,
        ready: bool,
        now: Instant,
        bounds: &Bounds,
        answer: &mut impl FnMut(&Request) -> Response,
    ) -> bool {
        if now >= self.deadline {
            if !matches!(self.state, State::Asking(_)) {
                return false;
            }
            let late = Response::text(Status::RequestTimeout, "the request did not come\n");
            self.respond(&late, false, now, bounds);
            return self.send();
        }
        if !ready {
            return true;
        }
        if matches!(self.state, State::Asking(_)) && !self.receive(now, bounds, answer) {
            return false;
        }
        match self.state {
            State::Asking(_) => true,
            State::Answering { .. } => self.send(),
            State::Ending => self.end(),
        }
    }

    /// Reads on. False if the peer went without a request.
    fn receive(&mut self, now: Instant, bounds: &Bounds, answer: &mut impl FnMut(&Request) -> Response) -> bool {
        let State::Asking(input) = &mut self.state else { return true };
        let mut piece = [0; 2048];
        match self.stream.read(&mut piece) {
            Ok(0) => return false,
            Ok(count) => input.extend_from_slice(&piece[..count]),
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
        let end = input.windows(4).position(|four| four == b"\r\n\r\n");
        let (response, head_only) = match end {
            None if input.len() < REQUEST_MAX => return true,
            Some(end) if end + 4 <= REQUEST_MAX => match parse(&input[..end]) {
                Ok(request) => (answer(&request), request.head_only),
                Err((status, why)) => (Response::text(status, format!("{why}\n")), false),
            },
            _ => (Response::text(Status::HeadersTooLarge, format!("more than {REQUEST_MAX} bytes\n")), false),
        };
        self.respond(&response, head_only, now, bounds);
        true
    }

    fn respond(&mut self, response: &Response, head_only: bool, now: Instant, bounds: &Bounds) {
        let Response { status, content_type, body } = response;
        let allow = if *status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}Cache-Control: no-store\r\n\
             Connection: close\r\n\r\n",
            status.line(),
            body.len()
        );
        let mut bytes = head.into_bytes();
        if !head_only {
            bytes.extend_from_slice(body.as_bytes());
        }
        self.state = State::Answering { bytes, sent: 0 };
        // Asking the cores may have taken its time: `now` would be of before.
        self.deadline = now.max(Instant::now()) + bounds.answer;
    }

    /// Sends on. False when the connection is broken.
    fn send(&mut self) -> bool {
        let State::Answering { bytes, sent } = &mut self.state else { return true };
        while *sent < bytes.len() {
            match self.stream.write(&bytes[*sent..]) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.state = State::Ending;
        self.stream.shutdown(Shutdown::Write).is_ok()
    }

    /// Reads what comes after the answer. False at the peer's end.
    fn end(&mut self) -> bool {
        match self.stream.read(&mut [0; 2048]) {
            Ok(count) => count > 0,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

type Refused = (Status, &'static str);

/// Reads the head of a request, without the empty line at its end.
fn parse(head: &[u8]) -> Result<Request, Refused> {
    let bad = |why| (Status::BadRequest, why);
    let printable = |b: &u8| matches!(b, b'\t' | b' '..=b'~');
    let text = std::str::from_utf8(head).map_err(|_| bad("not text"))?;
    let mut lines = text.split("\r\n");
    if !text.split("\r\n").all(|line| line.bytes().all(|b| printable(&b))) {
        return Err(bad("control characters, or other than ASCII"));
    }
    let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let &[method, target, version] = first.as_slice() else { return Err(bad("not METHOD PATH VERSION")) };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        let other = version.starts_with("HTTP/");
        return Err(if other { (Status::VersionNotSupported, "HTTP/1.1 is spoken") } else { bad("not HTTP") });
    }
    let mut accept = String::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(bad("a header without a colon"))?;
        if name.is_empty() || name.contains([' ', '\t']) {
            return Err(bad("a header with a space in its name"));
        }
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        match name.as_str() {
            "content-length" if value != "0" => return Err(bad("a request with a body")),
            "transfer-encoding" => return Err(bad("a request with a body")),
            "accept" => accept.push_str(value),
            _ => {}
        }
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err((Status::MethodNotAllowed, "GET and HEAD are served"));
    }
    if !target.starts_with('/') {
        return Err(bad("not a path"));
    }
    let path = target.split(['?', '#']).next().unwrap_or_default().to_string();
    Ok(Request { path, accept, head_only: method == "HEAD" })
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
