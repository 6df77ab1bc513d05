//! `ringlog top` against a real broker, driven as a person would: in a terminal of 120 columns, by keys, looking at what is on the
//! screen.

use nix::pty::{Winsize, openpty};
use ringlog_bench_harness::broker::Broker;
use ringlog_bench_harness::peer::{Peer, Producer, batch};
use ringlog_bench_harness::wait::until;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// The terminal's size.
const ROWS: u16 = 30;
const COLUMNS: u16 = 160;
const TOP: &str = env!("CARGO_BIN_EXE_ringlog-top");

/// A program in a terminal, and what is on its screen.
struct Terminal {
    keys: File,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    program: Child,
}

impl Terminal {
    fn run(arguments: &[&str]) -> Terminal {
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a terminal is opened");
        let end = || Stdio::from(pty.slave.try_clone().expect("the terminal's end is shared"));
        let program = Command::new(TOP)
            .args(arguments)
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("ringlog-top runs");
        let keys = File::from(pty.master);
        let mut from = keys.try_clone().expect("the terminal is shared");
        let (to, output) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut piece) {
                if to.send(piece[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let cells = |n| NonZero::new(n).expect("a size");
        Terminal { keys, output, screen: vt100::Parser::new(cells(ROWS), cells(COLUMNS), 0), program }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("keys are taken");
    }

    /// Waits until the screen is as wanted, and returns it.
    fn shows(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        until(what, || {
            self.output.try_iter().for_each(|piece| self.screen.process(&piece));
            text = self.screen.screen().contents();
            wanted(&text)
        });
        text
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the screen ---\n{}\n---", self.screen.screen().contents());
        }
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A broker with two topics, records, and a group that has read a part of them; and the client that did it.
fn busy_broker(name: &str) -> (Broker, Peer) {
    let broker = Broker::start(name, &["ringlog.cores=0,0"]);
    let mut peer = Peer::connect(broker.addr()).expect("the broker is there");
    for topic in ["apples", "pears"] {
        peer.create_topic(topic, 3).expect("a topic is made");
        for partition in 0..3 {
            let values = vec![b"value".to_vec(); 10];
            let records = batch(Producer { id: -1, epoch: -1 }, 0, &values);
            peer.send_batch(topic, partition, -1, &records).expect("records are sent");
            assert_eq!(peer.receive_batch().expect("an answer"), Ok(0));
        }
    }
    peer.find_coordinator("eaters").expect("a coordinator");
    peer.commit("eaters", "apples", 1, 4).expect("an offset is committed");
    (broker, peer)
}

#[test]
fn a_person_finds_their_way() {
    let (broker, _peer) = busy_broker("top-keys");
    let admin = broker.admin().to_string();
    let mut top = Terminal::run(&["--metrics", &admin, "--interval", "0.2"]);
    let cores = top.shows("cores", |text| text.contains("flush p99") && text.contains("produce"));
    assert!(cores.contains(&format!("Ringlog {} at {admin}", env!("CARGO_PKG_VERSION"))), "{cores}");
    assert!(cores.contains("2 rows"), "{cores}");

    top.press("2");
    let partitions = top.shows("partitions", |text| text.contains("apples") && text.contains("high watermark"));
    assert!(partitions.contains("pears"), "{partitions}");
    top.press("/pear\r");
    top.shows("the filtered rows", |text| text.contains("3 rows, filter `pear`") && !text.contains("apples"));
    top.press("\u{1b}");
    top.shows("all rows", |text| text.contains("apples"));

    top.press("3");
    let clients = top.shows("clients", |text| text.contains("client id") && text.contains("127.0.0.1:"));
    assert!(clients.contains("connected"), "{clients}");

    top.press("4");
    let lag = |text: &str| {
        text.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first() == Some(&"eaters") && words.contains(&"apples") && words.contains(&"6")
        })
    };
    top.shows("the group's lag of 6", lag);
    top.press("?");
    top.shows("help", |text| text.contains("reverse the order"));
    top.press(" q");
    let status = top.program.wait().expect("it ends");
    assert!(status.success(), "{status}");
    top.shows("the screen given back", |text| !text.contains("eaters"));
}

#[test]
fn a_broker_that_goes_away_is_said_and_found_again() {
    let (mut broker, _peer) = busy_broker("top-gone");
    let admin = broker.admin().to_string();
    let mut top = Terminal::run(&["--metrics", &admin, "--interval", "0.1", "--view", "partitions"]);
    top.shows("partitions", |text| text.contains("apples"));
    broker.kill9();
    top.shows("that there is no answer", |text| text.contains(&format!("no answer from {admin}")));
    top.press("q");
    assert!(top.program.wait().expect("it ends").success());
}

#[test]
fn once_prints_and_a_wrong_address_says_what_to_do() {
    let (broker, _peer) = busy_broker("top-once");
    let admin = broker.admin().to_string();
    let run = |arguments: &[&str]| Command::new(TOP).args(arguments).output().expect("ringlog-top runs");
    let printed = run(&["--metrics", &admin, "--once", "--interval", "0.1", "--view", "groups"]);
    let text = String::from_utf8_lossy(&printed.stdout);
    assert!(printed.status.success() && text.contains("eaters") && text.contains("apples"), "{text}");
    let piped = run(&["--metrics", &admin]);
    assert!(String::from_utf8_lossy(&piped.stderr).contains("--once"), "{piped:?}");
    let gone = run(&["--metrics", "127.0.0.1:1", "--once"]);
    let said = String::from_utf8_lossy(&gone.stderr);
    assert!(!gone.status.success() && said.contains("ringlog.admin.address"), "{said}");
    // Not a metrics endpoint: a Kafka listener.
    let wrong = run(&["--metrics", &broker.addr().to_string(), "--once"]);
    assert!(!wrong.status.success(), "{wrong:?}");
}
