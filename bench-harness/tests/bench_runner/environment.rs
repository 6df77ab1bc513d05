//! What is read of a machine: a made-up one, one with nothing, and this one.

use ringlog_bench_harness::bench::environment::{Device, Place, device_of, gather, plain_word, plain_words};
use ringlog_bench_harness::broker::target_dir;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of this test, with these files.
fn root(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = target_dir().join("tmp").join(format!("environment-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn place(root: &Path, log_dir: &str) -> Place {
    Place {
        root: root.to_path_buf(),
        log_dir: Some(PathBuf::from(log_dir)),
        broker_cpus: vec![2],
        client_cpus: vec![0, 1],
        command: vec!["/somewhere/bin/ringlog-bench".to_string(), "run".to_string()],
    }
}

const MACHINE: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.18.1\n"),
    ("proc/cpuinfo", "processor : 0\nmodel name\t: A Processor\nflags\t\t: fpu hypervisor\nprocessor : 1\n"),
    ("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n"),
    ("proc/cmdline", "quiet\n"),
    (
        "proc/self/mountinfo",
        "1 0 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n2 1 0:40 / /data\\040disk rw,noatime - xfs /dev/md0 rw\n3 1 0:5 / /dev rw - devtmpfs none rw\n",
    ),
    ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n"),
    ("sys/devices/system/cpu/isolated", "\n"),
    ("sys/devices/system/cpu/vulnerabilities/spectre_v2", "Mitigation: IBRS\n"),
    ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("sys/devices/pci/block/vda/vda1/partition", "1\n"),
    ("sys/devices/pci/block/vda/queue/write_cache", "write back\n"),
    ("sys/devices/pci/block/vda/queue/fua", "1\n"),
    ("sys/devices/pci/block/vda/queue/scheduler", "[none] mq-deadline\n"),
    ("sys/devices/virtual/block/md0/queue/fua", "0\n"),
];

fn machine(name: &str) -> PathBuf {
    let root = root(name, MACHINE);
    for (link, to) in [
        ("sys/dev/block/254:1", "sys/devices/pci/block/vda/vda1"),
        ("sys/class/block/md0", "sys/devices/virtual/block/md0"),
    ] {
        fs::create_dir_all(root.join(link).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(root.join(to), root.join(link)).unwrap();
    }
    root
}

#[test]
fn a_machine_is_written_down() {
    let root = machine("whole");
    let facts = gather(&place(&root, "/var/log")).facts;
    let value = |name: &str| facts.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
    for (name, expected) in [
        ("kernel", "6.18.1"),
        ("CPU", "A Processor, 2 CPUs"),
        ("broker CPUs", "2"),
        ("client CPUs", "0,1"),
        ("governor", "performance"),
        ("turbo", "off"),
        ("SMT", "not known"),
        ("isolated CPUs", "none"),
        ("memory", "16.0 GiB"),
        ("hypervisor", "yes"),
        ("transparent huge pages", "madvise"),
        ("mitigations", "spectre_v2: IBRS"),
        ("file system of the log", "ext4"),
        ("its mount options", "rw,relatime,errors=remount-ro"),
        ("device of the log", "vda1"),
        ("its write cache", "write back"),
        ("its FUA", "yes"),
        ("its I/O scheduler", "none"),
        ("bench command", "ringlog-bench run"),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    let disk = root.join("sys/devices/pci/block/vda");
    let device = Device { name: "vda1".to_string(), own: disk.join("vda1"), disk };
    assert_eq!(device_of(&root, Path::new("/var/log")), Some(device));
    // A file system with a number of its own: its source is looked up by name.
    assert_eq!(device_of(&root, Path::new("/data disk/x")).map(|d| d.name).as_deref(), Some("md0"));
    assert_eq!(device_of(&root, Path::new("/dev/shm")), None);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_is_not_there_is_not_known() {
    let root = root("nothing", &[]);
    let facts = gather(&place(&root, "/var/log")).facts;
    let known: Vec<&str> = facts.iter().filter(|(_, v)| v != "not known").map(|(n, _)| n.as_str()).collect();
    assert_eq!(known, ["broker CPUs", "client CPUs", "bench", "bench command"]);
    let names: Vec<&String> = facts.iter().map(|(n, _)| n).collect();
    let full = machine("full");
    let of_full = gather(&place(&full, "/var/log")).facts;
    assert_eq!(names, of_full.iter().map(|(n, _)| n).collect::<Vec<_>>(), "the same facts, known or not");
    fs::remove_dir_all(root).unwrap();
    fs::remove_dir_all(full).unwrap();
}

#[test]
fn this_machine_is_read() {
    let here = Place { root: PathBuf::from("/"), log_dir: Some(target_dir()), ..place(Path::new("/"), "/") };
    let facts = gather(&here).facts;
    for name in ["kernel", "CPU", "memory", "file system of the log"] {
        assert!(facts.iter().any(|(n, v)| n == name && v != "not known"), "{name}: {facts:?}");
    }
}

#[test]
fn paths_are_cut_to_their_last_part() {
    for (word, plain) in [
        ("/a/b/c", "c"),
        ("./a/b", "b"),
        ("log.dirs=/a/b", "log.dirs=b"),
        ("--broker=127.0.0.1:9092", "--broker=127.0.0.1:9092"),
        ("listeners=PLAINTEXT://127.0.0.1:9", "listeners=PLAINTEXT://127.0.0.1:9"),
        ("target/release/x", "x"),
        ("-cp", "-cp"),
        ("/a/b:/c/d", "b:d"),
        ("http://127.0.0.1:1/metrics", "http://127.0.0.1:1/metrics"),
    ] {
        assert_eq!(plain_word(word), plain);
    }
    assert_eq!(plain_words(&["/x/y".to_string(), "--out".to_string(), "/z".to_string()]), "y --out z");
}
