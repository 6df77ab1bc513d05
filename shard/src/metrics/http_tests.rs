//! The endpoint's sockets against peers that do what they should not.

use super::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A server on a thread that answers every path with itself, or, under `/large`, with that many bytes.
struct Tried {
    at: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tried {
    fn with(bounds: Bounds) -> Tried {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut server = Server::new(listener, bounds).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut answer = |request: &Request| match request.path.strip_prefix("/large/") {
                Some(bytes) => Response::text(Status::Ok, "x".repeat(bytes.parse().unwrap())),
                None => Response::text(Status::Ok, format!("{} {}", request.path, request.accept)),
            };
            while !told.load(Ordering::Relaxed) {
                server.turn(&mut answer).unwrap();
                assert!(server.conns.len() <= bounds.connections);
            }
        });
        Tried { at, stop, thread: Some(thread) }
    }

    fn new() -> Tried {
        Tried::with(BOUNDS)
    }

    fn connect(&self) -> TcpStream {
        let peer = TcpStream::connect(self.at).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        peer
    }

    /// Sends bytes and returns all that comes.
    fn ask(&self, bytes: &[u8]) -> String {
        let mut peer = self.connect();
        peer.write_all(bytes).unwrap();
        all(&mut peer)
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes it.
        let _ = TcpStream::connect(self.at);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server's thread panicked");
    }
}

fn all(peer: &mut TcpStream) -> String {
    let mut text = Vec::new();
    peer.read_to_end(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[test]
fn a_request_is_answered_and_the_connection_ends() {
    let tried = Tried::new();
    let answer = tried.ask(b"GET /a/b?c=d HTTP/1.1\r\nHost: x\r\nACCEPT:  text/plain \r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "/a/b text/plain");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nContent-Length: 15"), "{head}");
    let head = tried.ask(b"HEAD /a HTTP/1.0\r\n\r\n");
    assert!(head.contains("\r\nContent-Length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn nonsense_is_refused() {
    let tried = Tried::new();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(REQUEST_MAX));
    let cases: [(&[u8], &str); 14] = [
        (b"\r\n\r\n", "400"),
        (b"GET /\r\n\r\n", "400"),
        (b"GET  / HTTP/1.1\r\n\r\n", "400"),
        (b"GET / HTTP/2.0\r\n\r\n", "505"),
        (b"GET / SPDY/1\r\n\r\n", "400"),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\n\r\n", "405"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\na b: c\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\na: \xff\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\na: b\r\n\r\n", "400"),
        (long.as_bytes(), "431"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(status(&tried.ask(bytes)), expected, "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    }
    // A Kafka client that took the wrong port.
    assert_eq!(status(&tried.ask(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff\r\n\r\n")), "400");
}

#[test]
fn a_header_without_end_is_cut_off() {
    let tried = Tried::new();
    let mut peer = tried.connect();
    // The peer may be cut off before it has written all.
    let mut line = b"GET / HTTP/1.1\r\n".to_vec();
    line.extend(std::iter::repeat_n(b'a', 1 << 20));
    let _ = peer.write_all(&line);
    let mut text = Vec::new();
    let _ = peer.read_to_end(&mut text);
    assert!(text.starts_with(b"HTTP/1.1 431 "), "{:?}", String::from_utf8_lossy(&text));
}

#[test]
fn byte_by_byte_is_fine_and_keeps_nobody_waiting() {
    let tried = Tried::new();
    let mut slow = tried.connect();
    for byte in b"GET /slow HTTP/1.1\r\n" {
        slow.write_all(&[*byte]).unwrap();
        assert_eq!(status(&tried.ask(b"GET / HTTP/1.1\r\n\r\n")), "200");
    }
    slow.write_all(b"\r\n").unwrap();
    assert!(all(&mut slow).ends_with("\r\n\r\n/slow "));
}

#[test]
fn silence_is_answered_and_ended() {
    let tried = Tried::with(Bounds { request: Duration::from_millis(50), ..BOUNDS });
    assert_eq!(status(&all(&mut tried.connect())), "408");
    let mut half = tried.connect();
    half.write_all(b"GET / HT").unwrap();
    assert_eq!(status(&all(&mut half)), "408");
}

#[test]
fn an_answer_that_is_not_taken_is_given_up() {
    let tried = Tried::with(Bounds { answer: Duration::from_millis(50), ..BOUNDS });
    let mut peer = tried.connect();
    // Far more than the kernel's buffers hold.
    peer.write_all(b"GET /large/67108864 HTTP/1.1\r\n\r\n").unwrap();
    // Others are answered meanwhile, and what the peer reads late is not all.
    let mut first = [0; 1];
    peer.read_exact(&mut first).unwrap();
    loop {
        assert_eq!(status(&tried.ask(b"GET / HTTP/1.1\r\n\r\n")), "200");
        if peer.write_all(b"x").is_err() {
            break;
        }
    }
    let mut rest = Vec::new();
    let _ = peer.read_to_end(&mut rest);
    assert!(rest.len() < 67_108_864, "all of it came");
}

#[test]
fn a_large_answer_is_whole() {
    let tried = Tried::new();
    let answer = tried.ask(b"GET /large/8388608 HTTP/1.1\r\n\r\n");
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 8 << 20);
}

#[test]
fn of_too_many_the_oldest_goes() {
    let tried = Tried::with(Bounds { connections: 4, ..BOUNDS });
    let mut peers: Vec<TcpStream> = (0..4).map(|_| tried.connect()).collect();
    peers.extend((0..4).map(|_| tried.connect()));
    // The server has taken all of them once the last is answered.
    peers[7].write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(status(&all(&mut peers[7])), "200");
    assert_eq!(peers[0].read(&mut [0; 1]).ok(), Some(0), "the first was let go");
    peers[6].write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(status(&all(&mut peers[6])), "200", "a later one stays");
}

#[test]
fn random_bytes_do_no_harm() {
    let tried = Tried::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200 {
        let bytes: Vec<u8> = (0..random % 300)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) as u8
            })
            .collect();
        random = random.wrapping_add(1);
        let mut peer = tried.connect();
        let _ = peer.write_all(&bytes);
        let _ = peer.write_all(b"\r\n\r\n");
        let mut text = Vec::new();
        let _ = peer.read_to_end(&mut text);
        assert!(text.starts_with(b"HTTP/1.1 4"), "{bytes:?}: {}", String::from_utf8_lossy(&text));
    }
    assert_eq!(status(&tried.ask(b"GET / HTTP/1.1\r\n\r\n")), "200");
}
