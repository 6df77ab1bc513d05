//! What is counted of a process whose work is known, and of made-up files.

use ringlog_bench_harness::bench::brokers::{find, parse_cpus};
use ringlog_bench_harness::bench::environment::device_of;
use ringlog_bench_harness::bench::result::Second;
use ringlog_bench_harness::bench::sample::process::{Who, counts, parse_cpus as parse_stat};
use ringlog_bench_harness::bench::sample::{Sampler, Watched, device};
use ringlog_bench_harness::broker::target_dir;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

/// A shell that waits for a line, works, says so, and waits for the next: a child of it burns, `dd` writes 8 MiB and flushes.
const WORK: &str = "read -r _; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; \
                    dd if=/dev/zero of=\"$0\" bs=1048576 count=8 conv=fsync 2>/dev/null; \
                    (i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; read -r _); read -r _";

#[test]
fn a_process_with_known_work_is_counted() {
    let file = target_dir().join("tmp").join(format!("work-{}", std::process::id()));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut child =
        Command::new("sh").args(["-c", WORK]).arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let device = device_of(Path::new("/"), file.parent().unwrap());
    let who = Who::Pid(child.id());
    let mut sampler = Sampler::new(Watched { who: Some(who), device: device.clone(), metrics: None }, vec![0]);
    sampler.measure();
    let mut orders = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut orders, b"\n").unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    sampler.second(&Second { at: 0, ..Second::default() });
    sampler.finish();
    let mut seconds = vec![Second { at: 0, ..Second::default() }, Second { at: 1, ..Second::default() }];
    sampler.fill(&mut seconds);
    let seen = sampler.seen();
    drop(orders);
    child.wait().unwrap();
    std::fs::remove_file(file).unwrap();
    let usage = seen.usage.expect("the process was there");
    assert_eq!(said, "done\n");
    // 600,000 turns of a shell's loop take some hundred milliseconds, in the shell and in its child.
    assert!(usage.cpu_us() >= 20_000, "{usage:?}");
    assert!(usage.threads_us.values().sum::<u64>() >= 20_000, "{usage:?}");
    assert!(usage.voluntary_switches >= 1, "it waited: {usage:?}");
    assert!(usage.rss_bytes > 0 && usage.peak_rss_bytes > 0);
    assert!(seconds[0].broker_cpu_us.is_some_and(|us| us >= 20_000) && seconds[0].broker_rss.is_some());
    assert_eq!(seconds[1].broker_cpu_us, None);
    if device.is_some() {
        // What `dd` caused, or more: the device is everybody's.
        assert!(usage.device_written_bytes.is_some_and(|bytes| bytes >= 8 << 20), "{usage:?}");
        assert!(usage.device_flushes.is_none_or(|flushes| flushes >= 1), "{usage:?}");
    }
}

#[test]
fn a_process_that_is_gone_is_told_and_leaves_no_figures() {
    assert!(counts(&Who::Pid(4_194_305)).is_err(), "no process has an id that large");
    assert!(counts(&Who::Group("/sys/fs/cgroup/no such group".into())).is_err());
    let who = Some(Who::Pid(4_194_305));
    let mut sampler = Sampler::new(Watched { who, device: None, metrics: None }, Vec::new());
    sampler.measure();
    sampler.finish();
    let seen = sampler.seen();
    assert!(seen.usage.is_none() && seen.caveats.len() == 1, "{seen:?}");
}

#[test]
fn counters_of_a_device_are_the_seventh_and_the_sixteenth() {
    let counts = device::parse("1 2 3 4 5 6 700 8 9 10 11 12 13 14 15 160 17\n").unwrap();
    assert_eq!((counts.written_bytes, counts.flushes), (700 * 512, Some(160)));
    let old = device::parse("1 2 3 4 5 6 700 8 9 10 11").unwrap();
    assert_eq!((old.written_bytes, old.flushes), (700 * 512, None));
    assert_eq!(device::parse("1 2 x"), None);
    assert_eq!(device::parse(""), None);
    assert_eq!(counts.since(&old).flushes, None);
}

#[test]
fn stolen_and_foreign_time_is_seen() {
    let text = |user: u64, idle: u64, steal: u64| {
        format!(
            "cpu {} 0 0 {} 0 0 0 {} 0 0\ncpu0 {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu1 {user} 0 0 {idle} 0 0 0 {steal}\n",
            2 * user,
            2 * idle,
            2 * steal
        )
    };
    let before = parse_stat(&text(0, 0, 0), &[1], 100).unwrap();
    let after = parse_stat(&text(60, 30, 10), &[1], 105).unwrap();
    // The broker used 40 of 60 ticks, the kernel 5.
    let (stolen, others) = after.since(&before, Some(400_000));
    assert_eq!((stolen, others), (Some(0.1), Some(0.15)));
    assert_eq!(after.since(&after, Some(0)), (None, None));
    assert_eq!(parse_stat("nonsense", &[], 0), None);
    assert_eq!(parse_stat(&text(1, 1, 1), &[7], 0), None);
}

#[test]
fn a_listener_is_found_by_its_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    assert!(find::is_local(addr));
    assert_eq!(find::listener(addr), Some(std::process::id()));
    assert!(!find::command(std::process::id()).is_empty());
    assert!(!find::is_local("192.0.2.1:1".parse().unwrap()), "an address for documents only");
    drop(listener);
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
       0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
       1: 00000000:2385 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1\n\
       2: 0100007F:2384 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 333 1\n\
       3: 0000000000000000FFFF00000100007F:2386 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 444 1\n\
       4: x:2386 y 0A\n";
    let at = |port: u16| find::listening(table, SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!((at(9092), at(9093), at(9094), at(9095)), (vec![111], vec![222], vec![444], vec![]));
}

#[test]
fn cpus_are_told_as_ranges() {
    assert_eq!(parse_cpus("0,2-4, 2"), Ok(vec![0, 2, 3, 4]));
    for wrong in ["", "x", "4-2", "-1", "0,,x", "99999999"] {
        assert!(parse_cpus(wrong).is_err(), "{wrong}");
    }
}
