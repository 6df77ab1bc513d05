//! Settings of groups and of their offsets.

use super::client::{Client, TOPIC, broker, disk, files};
use ringlog_bench_harness::broker::{Broker, target_dir};
use ringlog_bench_harness::peer::{Body, Peer};
use ringlog_bench_harness::wait::until;
use std::process::Command;
use std::time::{Duration, Instant};

const SMALL: &str = "offsets.topic.num.partitions=1";
const AT_ONCE: &str = "group.initial.rebalance.delay.ms=0";

fn of(broker: &Broker) -> Client {
    let mut client = Client::of(broker);
    client.coordinated("g");
    client
}

/// Session timeouts outside the bounds are refused; a first join waits for the delay; sizes are bounded.
#[test]
pub(crate) fn members() {
    let limits = [
        "group.min.session.timeout.ms=2000",
        "group.max.session.timeout.ms=9000",
        "group.max.size=2",
        "ringlog.max.member.bytes=1024",
    ];
    let narrow = broker("members", &[limits[0], limits[1], limits[2], limits[3], AT_ONCE, SMALL]);
    let mut client = of(&narrow);
    assert_eq!(client.join("g", 1999, b"x").0, 26);
    assert_eq!(client.join("g", 9001, b"x").0, 26);
    assert_eq!(client.join("g", 9000, &[0; 2000]).0, 42);
    assert_eq!(client.join("g", 9000, b"x").0, 0);
    let (mut second, mut third) = (of(&narrow), of(&narrow));
    // Its join ends when the first joins again, which it never does: it has its place meanwhile.
    second.send_join("g", "", 9000, b"x");
    until("the third is one too many", || third.join("g", 9000, b"x").0 == 81);
    let own = broker("members-own", &["ringlog.max.group.members=1", AT_ONCE, SMALL]);
    assert_eq!(of(&own).join("g", 9000, b"x").0, 0);
    assert_eq!(of(&own).join("g", 9000, b"x").0, 81);
    let slow = broker("members-slow", &["group.initial.rebalance.delay.ms=700", SMALL]);
    let mut client = of(&slow);
    let begun = Instant::now();
    assert_eq!(client.join("g", 9000, b"x").0, 0);
    assert!(begun.elapsed() >= Duration::from_millis(690), "{:?}", begun.elapsed());
}

/// Groups beyond the bound are refused, and those that are there go on.
#[test]
pub(crate) fn number_of_groups() {
    let broker = broker("groups", &["ringlog.max.groups=2", SMALL, AT_ONCE]);
    let mut client = of(&broker);
    client.create("t", 1, &[]);
    assert_eq!(client.commit("a", "t", 1, "", -1), 0);
    assert_eq!(client.commit("b", "t", 1, "", -1), 0);
    assert_ne!(client.commit("c", "t", 1, "", -1), 0);
    assert_eq!(client.commit("a", "t", 2, "", -1), 0);
}

/// The offsets topic is made with the settings it has; a commit's text is bounded.
#[test]
pub(crate) fn offsets_topic() {
    let sizes =
        ["offsets.topic.num.partitions=7", "offsets.topic.segment.bytes=2097152", "offset.metadata.max.bytes=10"];
    let broker = broker("offsets", &sizes);
    let mut client = of(&broker);
    client.create("t", 1, &[]);
    assert_eq!(client.metadata(&["__consumer_offsets"], false).topics[0].2, 7);
    assert_eq!(client.shown(TOPIC, "__consumer_offsets", "segment.bytes").value, "2097152");
    assert_eq!(client.commit("g", "t", 5, "0123456789", -1), 0);
    assert_eq!(client.commit("g", "t", 6, "0123456789a", -1), 12);
    assert_eq!(client.committed("g", "t"), 5);
}

/// A library that makes a process's wall clock run ahead by RINGLOG_AHEAD seconds.
fn ahead() -> String {
    let dir = target_dir().join("tmp");
    std::fs::create_dir_all(&dir).expect("target is writable");
    let (source, library) = (dir.join("ahead.c"), dir.join("ahead.so"));
    let text = "#include <stdlib.h>\n#include <sys/syscall.h>\n#include <time.h>\n#include <unistd.h>\n\
        int clock_gettime(clockid_t id, struct timespec *at) {\n\
        long result = syscall(SYS_clock_gettime, id, at);\n\
        const char *ahead = getenv(\"RINGLOG_AHEAD\");\n\
        if (id == CLOCK_REALTIME && ahead) at->tv_sec += atol(ahead);\n\
        return result; }\n";
    std::fs::write(&source, text).expect("target is writable");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("a C compiler").success());
    library.display().to_string()
}

/// Offsets of groups without members go after their time: the broker's, or that of the commit.
#[test]
pub(crate) fn offsets_retention() {
    let mut broker =
        broker("expiry", &["offsets.retention.minutes=2", "offsets.retention.check.interval.ms=50", SMALL]);
    let mut client = of(&broker);
    client.create("t", 1, &[]);
    assert_eq!(client.commit("short", "t", 1, "", 1), 0);
    assert_eq!(client.commit("long", "t", 2, "", -1), 0);
    until("a commit with a time of its own goes", || client.committed("short", "t") == -1);
    assert_eq!(client.committed("long", "t"), 2);
    // The same, a minute later, and three.
    let library = ahead();
    let mut restart = |seconds: &str| {
        broker.options_mut().env =
            vec![("LD_PRELOAD".into(), library.clone()), ("RINGLOG_AHEAD".into(), seconds.into())];
        broker.restart();
        of(&broker)
    };
    let mut client = restart("60");
    assert_eq!(client.commit("short", "t", 1, "", 1), 0);
    until("a look at what is expired", || client.committed("short", "t") == -1);
    assert_eq!(client.committed("long", "t"), 2);
    let mut client = restart("180");
    until("the other goes in its time", || client.committed("long", "t") == -1);
}

/// Many commits neither fill the disk nor slow the start: what lives is written again, the rest goes.
#[test]
pub(crate) fn many_commits() {
    const COMMITS: i64 = 600;
    const PARTITIONS: i32 = 500;
    let mut broker = broker("commits", &[SMALL, "log.segment.delete.delay.ms=0"]);
    let mut client = of(&broker);
    client.create("t", PARTITIONS, &[]);
    let commit = |peer: &mut Peer, offset: i64| {
        let mut body = Body::default().text("g").i32(-1).text("").i64(-1).i32(1).text("t").i32(PARTITIONS);
        for partition in 0..PARTITIONS {
            body = body.i32(partition).i64(offset).i16(-1);
        }
        peer.call(8, 2, body).expect("an answer")
    };
    for offset in 0..COMMITS {
        let answer = commit(&mut client.0, offset);
        assert!(answer[11..].chunks_exact(6).all(|row| row[4..] == [0, 0]), "{answer:?}");
    }
    let written = COMMITS * i64::from(PARTITIONS) * 50;
    let folder = broker.data_dir().join("__consumer_offsets");
    until("old segments go", || disk(&folder) < 4 << 20 && files(&folder, ".log").len() < 5);
    assert!(written > 14 << 20, "more was written than may be left");
    assert!(client.log_start("__consumer_offsets", 0) > 0);
    // What is left is what counts.
    broker.kill9();
    broker.launch();
    let mut client = of(&broker);
    assert_eq!(client.committed("g", "t"), COMMITS - 1);
    assert_eq!(client.0.committed("g", "t", PARTITIONS - 1).unwrap(), COMMITS - 1);
}
