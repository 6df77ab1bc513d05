//! Every setting against a tree of files: as it is good, as it is off, and where it cannot be read.

use super::tree::{DATA, DISK, Tree};
use ringlog_tuning::entry::{Finding, State, Weight};
use ringlog_tuning::host::Host;
use ringlog_tuning::settings;
use std::path::Path;

/// A setting; whether it is told only; a file that puts it off, with its text and what is then said; a file without which it is not known.
struct Case {
    name: &'static str,
    told: bool,
    off: Option<(&'static str, &'static str, &'static str)>,
    read: &'static str,
}

const fn judged(
    name: &'static str,
    path: &'static str,
    text: &'static str,
    says: &'static str,
    read: &'static str,
) -> Case {
    Case { name, told: false, off: Some((path, text, says)), read }
}

/// Told; with this text in this file something else is.
const fn told(name: &'static str, path: &'static str, text: &'static str, says: &'static str) -> Case {
    Case { name, told: true, off: Some((path, text, says)), read: path }
}

/// A number that is off, in a file of its own.
const fn number(name: &'static str, path: &'static str, text: &'static str) -> Case {
    judged(name, path, text, text, path)
}

const LIMITS: &str = "/proc/self/limits";
const THP: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const DEFRAG: &str = "/sys/kernel/mm/transparent_hugepage/defrag";
const GOVERNOR: &str = "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor";
const IDLE: &str = "/sys/devices/system/cpu/cpu0/cpuidle/state2/disable";
const TURBO: &str = "/sys/devices/system/cpu/intel_pstate/no_turbo";
const SMT: &str = "/sys/devices/system/cpu/smt/active";
const VULNERABLE: &str = "/sys/devices/system/cpu/vulnerabilities/spectre_v1";
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
const SCHEDULER: &str = "/sys/devices/pci0/nvme0n1/queue/scheduler";
const MOUNTS: &str = "/proc/self/mountinfo";
const RINGS: &str = "/commands/ethtool -g eth0";
const SMALL_RINGS: &str = "Ring parameters:\nRX:\t4096\nTX:\t4096\nCurrent:\nRX:\t256\nTX:\t1024";
const RPS: &str = "/sys/class/net/eth0/queues/rx-0/rps_cpus";

const CASES: &[Case] = &[
    judged("kernel", "/proc/sys/kernel/osrelease", "5.15.0", "5.15.0", "/proc/sys/kernel/osrelease"),
    number("io_uring", "/proc/sys/kernel/io_uring_disabled", "2"),
    judged("nofile", LIMITS, "Max open files 1024 4096 files", "1024, hard 4096", LIMITS),
    judged("memlock", LIMITS, "Max locked memory 65536 65536 bytes", "65536", LIMITS),
    Case { name: "cgroup-memory", told: false, off: None, read: "/proc/self/cgroup" },
    judged("cgroup-cpu", "/sys/fs/cgroup/a/cpu.max", "150000 100000", "1.50 CPUs", "/proc/self/cgroup"),
    told("container", "/run/systemd/container", "podman", "podman"),
    judged("file-system", MOUNTS, "30 22 259:1 / / rw - btrfs /dev/a rw", "btrfs", MOUNTS),
    judged("mount-options", MOUNTS, "30 22 259:1 / /data rw - ext4 /dev/a rw,nobarrier", "nobarrier", MOUNTS),
    judged(
        "alignment",
        "/sys/devices/pci0/nvme0n1/nvme0n1p1/start",
        "63",
        "begins at 32256",
        "/sys/devices/pci0/nvme0n1/nvme0n1p1/start",
    ),
    told("write-cache", "/sys/devices/pci0/nvme0n1/queue/fua", "0", "write back, no FUA"),
    judged("io-scheduler", SCHEDULER, "none [mq-deadline]", "mq-deadline", SCHEDULER),
    number("rq-affinity", "/sys/devices/pci0/nvme0n1/queue/rq_affinity", "0"),
    number("nomerges", "/sys/devices/pci0/nvme0n1/queue/nomerges", "0"),
    number("read-ahead", "/sys/devices/pci0/nvme0n1/queue/read_ahead_kb", "16"),
    judged("governor", GOVERNOR, "powersave", "performance (cpu0), powersave (cpu1)", GOVERNOR),
    judged("idle-states", IDLE, "0", "C6, 133 us", IDLE),
    judged("turbo", TURBO, "1", "off", TURBO),
    Case { name: "smt", told: false, off: None, read: SMT },
    told("mitigations", VULNERABLE, "Vulnerable", "vulnerable: spectre_v1"),
    judged("clock-source", CLOCK, "hpet", "hpet", CLOCK),
    told("isolation", "/proc/cmdline", "quiet nohz_full=1", "nohz_full=1"),
    told("virtual", "/proc/cpuinfo", "flags : fpu", "no"),
    number("swappiness", "/proc/sys/vm/swappiness", "60"),
    judged("huge-pages", THP, "always madvise [never]", "never", THP),
    judged("huge-pages-defrag", DEFRAG, "[always] defer madvise never", "always", DEFRAG),
    told("reserved-huge-pages", "/proc/sys/vm/nr_hugepages", "512", "512"),
    Case { name: "numa", told: true, off: None, read: "" },
    number("numa-balancing", "/proc/sys/kernel/numa_balancing", "1"),
    number("zone-reclaim", "/proc/sys/vm/zone_reclaim_mode", "1"),
    judged("dirty-pages", "/proc/sys/vm/dirty_ratio", "40", "5 %, 40 %", "/proc/sys/vm/dirty_bytes"),
    number("max-map-count", "/proc/sys/vm/max_map_count", "1000"),
    number("somaxconn", "/proc/sys/net/core/somaxconn", "128"),
    number("syn-backlog", "/proc/sys/net/ipv4/tcp_max_syn_backlog", "128"),
    number("slow-start-after-idle", "/proc/sys/net/ipv4/tcp_slow_start_after_idle", "1"),
    judged(
        "tcp-buffers",
        "/proc/sys/net/ipv4/tcp_wmem",
        "4096\t16384\t65536",
        "tcp_wmem up to 64 KiB",
        "/proc/sys/net/ipv4/tcp_rmem",
    ),
    judged("socket-buffers", "/proc/sys/net/core/wmem_max", "212992", "212992", "/proc/sys/net/core/rmem_max"),
    number("backlog", "/proc/sys/net/core/netdev_max_backlog", "100"),
    judged("busy-poll", "/proc/sys/net/core/busy_read", "50", "0, 50", "/proc/sys/net/core/busy_poll"),
    judged(
        "irq-affinity",
        "/proc/irq/41/effective_affinity_list",
        "0",
        "2 interrupts on CPU 0",
        "/sys/class/net/eth0/device/msi_irqs/40",
    ),
    told("irqbalance", "/proc/77/comm", "irqbalance", "runs"),
    Case { name: "nic-queues", told: true, off: None, read: "" },
    judged("nic-rings", RINGS, SMALL_RINGS, "rx 256 of 4096", RINGS),
    told("rps", RPS, "00000003", "on for 1 of 2 queues"),
    told("xps", "/sys/class/net/eth0/queues/tx-0/xps_cpus", "0", "on for 1 of 2 queues"),
];

fn check(tree: &Tree, name: &str) -> Finding {
    let entry = settings::all().find(|entry| entry.name == name).unwrap_or_else(|| panic!("no setting {name}"));
    (entry.check)(&Host::new(&tree.root, Some(Path::new(DATA))))
}

#[test]
fn every_setting_has_its_case() {
    let tried: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    for entry in settings::all() {
        assert!(tried.contains(&entry.name), "{} is not tried", entry.name);
    }
    assert_eq!(tried.len(), settings::all().count());
}

#[test]
fn what_is_good_is_good() {
    let tree = Tree::good();
    for case in CASES {
        let found = check(&tree, case.name);
        let expected = if case.told { State::Told } else { State::Good };
        assert_eq!(found.state, expected, "{}: {found:?}", case.name);
        assert!(found.changes.is_empty(), "{}: {found:?}", case.name);
    }
}

#[test]
fn what_is_off_is_told_with_what_it_is() {
    for case in CASES {
        let Some((path, text, says)) = case.off else { continue };
        let tree = Tree::good();
        tree.put(path, text);
        let found = check(&tree, case.name);
        let expected = if case.told { State::Told } else { State::Off };
        assert_eq!(found.state, expected, "{}: {found:?}", case.name);
        assert!(found.is.contains(says), "{}: {found:?}", case.name);
        for change in &found.changes {
            let is = change.form.value(&tree.get(&change.path));
            assert_eq!(change.form.value(&change.old), is, "{}: {change:?}", case.name);
            assert_ne!(change.new, change.old, "{}", case.name);
        }
    }
}

#[test]
fn what_cannot_be_read_is_told_as_such() {
    // Those of which each part may be missing say what is left.
    let partial = ["irq-affinity", "irqbalance", "xps"];
    for case in CASES.iter().filter(|case| !case.read.is_empty() && !partial.contains(&case.name)) {
        let tree = Tree::good();
        tree.spoil(case.read);
        let found = check(&tree, case.name);
        assert!(matches!(found.state, State::Unreadable(_)), "{}: {found:?}", case.name);
    }
}

#[test]
fn parts_that_are_missing_are_told() {
    let tree = Tree::good();
    tree.remove("/sys/class/net/eth0/device/msi_irqs");
    assert!(matches!(check(&tree, "irq-affinity").state, State::Unreadable(_)));
    tree.remove("/proc/1");
    assert!(matches!(check(&tree, "irqbalance").state, State::Unreadable(_)));
    tree.remove("/sys/class/net/eth0/queues");
    for name in ["nic-queues", "rps", "xps"] {
        assert!(matches!(check(&tree, name).state, State::Unreadable(_)), "{name}");
    }
    tree.remove("/sys/devices/system/node/node0");
    assert!(matches!(check(&tree, "numa").state, State::Unreadable(_)));
    tree.remove(RINGS);
    assert!(matches!(check(&tree, "nic-rings").state, State::Unreadable(_)));
    tree.put("/proc/sys/vm/swappiness", "high");
    assert!(matches!(check(&tree, "swappiness").state, State::Unreadable(_)));
}

#[test]
fn some_things_matter_more_than_their_row() {
    let tree = Tree::good();
    let mounted = |kind: &str, options: &str| {
        tree.put(MOUNTS, &format!("30 22 259:1 / /data rw - {kind} /dev/nvme0n1p1 {options}"));
    };
    mounted("tmpfs", "rw");
    assert_eq!(check(&tree, "file-system").weight, Some(Weight::Important));
    mounted("ext4", "rw,data=journal");
    assert_eq!(check(&tree, "mount-options").weight, Some(Weight::Important));
    mounted("ext4", "rw,discard");
    assert_eq!(check(&tree, "mount-options").weight, None);
    tree.put("/proc/sys/kernel/osrelease", "6.6.1");
    assert_eq!(check(&tree, "kernel").weight, Some(Weight::Minor));
}

#[test]
fn limits_of_the_innermost_and_the_outer_groups_count() {
    let tree = Tree::good();
    tree.put("/sys/fs/cgroup/a/memory.max", "8589934592");
    tree.put("/sys/fs/cgroup/a/b/memory.high", "4294967296");
    assert_eq!(check(&tree, "cgroup-memory"), Finding::told("4096 MiB"));
    // The first version, with a folder for each controller.
    tree.put("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x");
    tree.put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1073741824");
    tree.put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "50000");
    tree.put("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000");
    assert_eq!(check(&tree, "cgroup-memory"), Finding::told("1024 MiB"));
    assert_eq!(check(&tree, "cgroup-cpu"), Finding::off("0.50 CPUs"));
    tree.put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712");
    assert_eq!(check(&tree, "cgroup-memory").state, State::Good);
}

#[test]
fn a_disk_made_of_others_is_looked_at_whole() {
    let tree = Tree::good();
    tree.put("/sys/devices/virtual/dm-0/queue/write_cache", "write back");
    tree.put("/sys/devices/virtual/dm-0/queue/fua", "1");
    std::fs::create_dir_all(tree.at("/sys/devices/virtual/dm-0/slaves")).expect("a folder");
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, tree.at(at)).expect("a link");
    link("../../../pci0/nvme0n1/nvme0n1p1", "/sys/devices/virtual/dm-0/slaves/nvme0n1p1");
    link("../../devices/virtual/dm-0", "/sys/dev/block/253:0");
    tree.put(MOUNTS, "30 22 253:0 / /data rw - xfs /dev/mapper/a rw");
    tree.put(SCHEDULER, "none [mq-deadline]");
    let found = check(&tree, "io-scheduler");
    assert_eq!(found.changes.iter().map(|c| c.path.as_str()).collect::<Vec<_>>(), [format!("{DISK}/queue/scheduler")]);
}

#[test]
fn two_cpus_of_a_core_are_told_by_what_to_set() {
    let tree = Tree::good();
    tree.put(SMT, "1");
    assert!(check(&tree, "smt").is.contains("ringlog.cores=0"), "{:?}", check(&tree, "smt"));
    let without = Tree::good();
    without.put("/proc/swaps", "Filename Type Size Used Priority");
    without.put("/proc/sys/vm/swappiness", "60");
    assert_eq!(check(&without, "swappiness"), Finding::good("60, and no swap"));
}
