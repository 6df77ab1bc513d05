//! The tools of the `ringlog` binary against a broker that the same binary runs: what a person types, and what comes
//! out. Not the protocol: stock clients try that.

use super::broker::{Broker, RINGLOG, lines};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn a_topic_is_made_shown_changed_and_deleted() {
    let broker = Broker::start("topic");
    assert_eq!(
        broker.ok("topic create orders --partitions 3 -c retention.ms=3600000", ""),
        "Created topic orders with 3 partitions.\n"
    );
    assert!(broker.fails("topic create orders", "").contains("TOPIC_ALREADY_EXISTS"));
    broker.ok("topic create orders --if-not-exists", "");
    assert!(broker.fails("topic create odd -c no.such.setting=1", "").contains("INVALID_CONFIG"));
    assert_eq!(broker.ok("topic list", ""), "TOPIC   PARTITIONS  REPLICAS\norders           3         1\n");

    broker.ok("topic alter orders --partitions 5 -c retention.bytes=1000 --delete-config retention.ms", "");
    let topic = &broker.json("topic describe orders --json")[0];
    assert_eq!(topic["configs"], serde_json::json!({ "retention.bytes": "1000" }));
    assert_eq!(topic["partitions"].as_array().unwrap().len(), 5);
    assert!(broker.fails("topic alter orders --partitions 2", "").contains("INVALID_PARTITIONS"));

    assert_eq!(broker.ok("topic delete orders", ""), "Deleted topic orders.\n");
    assert!(broker.fails("topic describe orders", "").contains("`ringlog topic list`"));
    broker.ok("topic delete orders --if-exists", "");
}

#[test]
fn records_come_back_as_they_were_sent_in_every_codec() {
    let broker = Broker::start("records");
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("plain-{codec}");
        broker.ok(&format!("produce {topic} -z {codec}"), &lines(0..20_000));
        assert_eq!(broker.ok(&format!("consume {topic} --from-beginning --exit"), ""), lines(0..20_000), "{codec}");
    }
    broker.ok("produce keyed -K : -H h=1 --null-marker NULL --partition 0", "a:1\nb:NULL\n:\n");
    let shown = broker.ok("consume keyed --from-beginning --exit -f %t/%p/%o/%k=%v(%K,%S)%h\\n", "");
    assert_eq!(shown, "keyed/0/0/a=1(1,1)h=1\nkeyed/0/1/b=(1,-1)h=1\nkeyed/0/2/=(0,0)h=1\n");

    let as_json = broker.ok("consume keyed --from-beginning --exit --json", "");
    broker.ok("produce copy --json --partition 0", &as_json);
    let copied = broker.ok("consume copy --from-beginning --exit --json", "");
    assert_eq!(copied.replace("\"copy\"", "\"keyed\""), as_json);
}

#[test]
fn reading_starts_where_it_is_told_and_says_where_it_cannot() {
    let broker = Broker::start("offsets");
    broker.ok("produce t --partition 0", &lines(0..10));
    assert_eq!(broker.ok("consume t -o 7 --exit", ""), lines(7..10));
    assert_eq!(broker.ok("consume t -o -2 --exit", ""), lines(8..10));
    assert_eq!(broker.ok("consume t -o latest --exit", ""), "");
    assert_eq!(broker.ok("consume t --from-beginning -n 3", ""), lines(0..3));
    assert_eq!(broker.ok("consume t --from-time 1h --exit", ""), lines(0..10));
    assert_eq!(broker.ok("consume t --from-time 9999-01-01 --exit", ""), "");
    assert!(broker.fails("consume t -o 99", "").contains("it has 0 up to 10"));
    assert!(broker.fails("consume t -p 7 --exit", "").contains("no partition 7"));
    assert!(broker.fails("consume missing --exit", "").contains("UNKNOWN_TOPIC_OR_PARTITION"));
    assert!(broker.fails("produce t -K :", "a:1\nno separator\n").contains("line 2"));
}

#[test]
fn a_group_goes_on_where_it_was_and_can_be_moved() {
    let broker = Broker::start("group");
    broker.ok("topic create t --partitions 4", "");
    broker.ok("produce t -K :", &(0..1000).map(|n| format!("{n}:{n}\n")).collect::<String>());
    let read = |line: &str| {
        let mut numbers: Vec<u32> = broker.ok(line, "").lines().map(|n| n.parse().unwrap()).collect();
        numbers.sort();
        numbers
    };
    let all: Vec<u32> = (0..1000).collect();
    assert_eq!(read("consume t --group g --from-beginning --exit"), all);
    assert_eq!(read("consume t --group g --from-beginning --exit"), Vec::<u32>::new());
    broker.ok("produce t --partition 1", "1000\n1001\n");
    let described = broker.json("group describe g --json");
    assert_eq!(described["state"], "Empty");
    let lags: Vec<i64> =
        described["partitions"].as_array().unwrap().iter().map(|p| p["lag"].as_i64().unwrap()).collect();
    assert_eq!(lags, [0, 2, 0, 0]);

    let before = broker.json("group reset g --topic t:1 --shift-by -1 --json");
    assert_eq!(before["executed"], false);
    assert_eq!(read("consume t --group g --exit"), [1000, 1001]);
    broker.ok("group reset g --all-topics --to-earliest --execute", "");
    assert_eq!(read("consume t --group g --exit").len(), 1002);
    assert!(broker.ok("group list", "").contains("\ng "));
    assert_eq!(broker.ok("group delete g", ""), "Deleted group g.\n");
    assert!(broker.fails("group describe g", "").contains("GROUP_ID_NOT_FOUND"));
}

#[test]
fn a_group_with_members_shares_the_partitions_and_refuses_to_be_moved() {
    let broker = Broker::start("members");
    broker.ok("topic create t --partitions 4", "");
    let member = || broker.command("consume t --group g --from-beginning").spawn().unwrap();
    let members = [member(), member()];
    let deadline = Instant::now() + Duration::from_secs(60);
    let readers = loop {
        assert!(Instant::now() < deadline, "two members never shared the partitions");
        let output = broker.run("group describe g --json", "");
        let Ok(group) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else { continue };
        if group["state"] == "Stable" && group["members"].as_array().is_some_and(|members| members.len() == 2) {
            break group["partitions"].as_array().unwrap().clone();
        }
    };
    assert_eq!(readers.len(), 4);
    assert!(readers.iter().all(|p| p["client_id"] == "ringlog-cli"));
    assert!(broker.fails("group reset g --topic t --to-latest --execute", "").contains("stop its consumers first"));
    assert!(broker.fails("group delete g", "").contains("NON_EMPTY_GROUP"));

    broker.ok("produce t -K :", &(0..100).map(|n| format!("{n}:{n}\n")).collect::<String>());
    let all_read = || {
        let group = broker.json("group describe g --json");
        group["partitions"].as_array().unwrap().iter().all(|p| p["lag"] == 0)
    };
    while !all_read() {
        assert!(Instant::now() < deadline, "the members do not catch up");
    }
    let mut read = Vec::new();
    for member in members {
        let pid = nix::unistd::Pid::from_raw(member.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let output = member.wait_with_output().unwrap();
        assert!(output.status.success());
        read.extend(String::from_utf8(output.stdout).unwrap().lines().map(|n| n.parse::<u32>().unwrap()));
    }
    read.sort();
    assert_eq!(read, (0..100).collect::<Vec<u32>>());
    assert_eq!(broker.json("group describe g --json")["members"].as_array().unwrap().len(), 0);
}

#[test]
fn nobody_there_is_said_with_what_to_do() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = Command::new(RINGLOG).args(["topic", "list", "-b", &closed.to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`ringlog start` starts a broker"));
}

#[test]
fn an_unknown_name_runs_the_program_beside_the_binary() {
    let folder = std::env::temp_dir().join(format!("ringlog-cli-beside-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(RINGLOG, folder.join("ringlog")).unwrap();
    let program = folder.join("ringlog-hello");
    std::fs::write(&program, "#!/bin/sh\necho \"hello $*\"\nexit 7\n").unwrap();
    let mut permissions = std::fs::metadata(&program).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&program, permissions).unwrap();
    let output = Command::new(folder.join("ringlog")).args(["hello", "--rate", "5"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(7), &b"hello --rate 5\n"[..]));
    let output = Command::new(folder.join("ringlog")).arg("goodbye").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    std::fs::remove_dir_all(&folder).unwrap();
}
