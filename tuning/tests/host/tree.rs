//! A tree of files that stands in for a machine on which every setting is good: two CPUs, a card with two queues, a partition of an SSD.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const DISK: &str = "/sys/devices/pci0/nvme0n1";
pub(crate) const DATA: &str = "/data/log";

const FILES: &[(&str, &str)] = &[
    ("/proc/sys/kernel/osrelease", "6.12.3-test"),
    ("/proc/sys/kernel/random/boot_id", "boot-1"),
    ("/proc/sys/kernel/io_uring_disabled", "0"),
    ("/proc/sys/kernel/numa_balancing", "0"),
    (
        "/proc/self/limits",
        "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 1048576              files\nMax locked memory         8388608              8388608              bytes",
    ),
    ("/proc/self/cgroup", "0::/a/b"),
    ("/sys/fs/cgroup/a/b/memory.max", "max"),
    ("/sys/fs/cgroup/a/b/cpu.max", "max 100000"),
    ("/run/systemd/container", "lxc"),
    ("/proc/cmdline", "root=UUID=secret ip=10.1.2.3 isolcpus=1 mitigations=auto"),
    ("/proc/cpuinfo", "processor : 0\nmodel name : A CPU\nflags : fpu hypervisor\nprocessor : 1\n"),
    ("/proc/meminfo", "MemTotal:       16000000 kB\n"),
    ("/proc/swaps", "Filename Type Size Used Priority\n/swap file 1 0 -2"),
    (
        "/proc/self/mountinfo",
        "22 1 0:1 / / rw,relatime - overlay overlay rw,lowerdir=/x\n30 22 259:1 / /data rw,noatime shared:1 - ext4 /dev/nvme0n1p1 rw,errors=continue",
    ),
    ("/proc/1/comm", "init"),
    ("/proc/irq/40/smp_affinity_list", "0"),
    ("/proc/irq/40/effective_affinity_list", "0"),
    ("/proc/irq/41/smp_affinity_list", "1"),
    ("/proc/irq/41/effective_affinity_list", "1"),
    ("/proc/sys/vm/swappiness", "1"),
    ("/proc/sys/vm/nr_hugepages", "0"),
    ("/proc/sys/vm/zone_reclaim_mode", "0"),
    ("/proc/sys/vm/max_map_count", "65530"),
    ("/proc/sys/vm/dirty_background_ratio", "5"),
    ("/proc/sys/vm/dirty_ratio", "10"),
    ("/proc/sys/vm/dirty_background_bytes", "0"),
    ("/proc/sys/vm/dirty_bytes", "0"),
    ("/proc/sys/net/core/somaxconn", "4096"),
    ("/proc/sys/net/core/rmem_max", "4194304"),
    ("/proc/sys/net/core/wmem_max", "4194304"),
    ("/proc/sys/net/core/netdev_max_backlog", "1000"),
    ("/proc/sys/net/core/busy_poll", "0"),
    ("/proc/sys/net/core/busy_read", "0"),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "4096"),
    ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "0"),
    ("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456"),
    ("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    ("/sys/devices/system/cpu/online", "0-1"),
    ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
    ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_available_governors", "performance powersave"),
    ("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance"),
    ("/sys/devices/system/cpu/cpu1/cpufreq/scaling_available_governors", "performance powersave"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state2/name", "C6"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state2/latency", "133"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "1"),
    ("/sys/devices/system/cpu/intel_pstate/no_turbo", "0"),
    ("/sys/devices/system/cpu/smt/active", "0"),
    ("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0-1"),
    ("/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "0-1"),
    ("/sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected"),
    ("/sys/devices/system/cpu/vulnerabilities/spectre_v1", "Mitigation: usercopy"),
    ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
    ("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm"),
    ("/sys/devices/system/node/node0/cpulist", "0-1"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
    ("/sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never"),
    ("/sys/class/net/lo/mtu", "65536"),
    ("/sys/class/net/eth0/device/msi_irqs/40", "msix"),
    ("/sys/class/net/eth0/device/msi_irqs/41", "msix"),
    ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000"),
    ("/sys/class/net/eth0/queues/rx-1/rps_cpus", "00000000"),
    ("/sys/class/net/eth0/queues/tx-0/xps_cpus", "00000001"),
    ("/sys/class/net/eth0/queues/tx-1/xps_cpus", "00000002"),
    (
        "/commands/ethtool -g eth0",
        "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nTX:\t\t4096\nCurrent hardware settings:\nRX:\t\t1024\nTX:\t\t1024\n",
    ),
    ("/commands/ringlog --version", "ringlog 9.9.9"),
    ("/sys/devices/pci0/nvme0n1/queue/scheduler", "[none] mq-deadline"),
    ("/sys/devices/pci0/nvme0n1/queue/rotational", "0"),
    ("/sys/devices/pci0/nvme0n1/queue/rq_affinity", "2"),
    ("/sys/devices/pci0/nvme0n1/queue/nomerges", "2"),
    ("/sys/devices/pci0/nvme0n1/queue/read_ahead_kb", "128"),
    ("/sys/devices/pci0/nvme0n1/queue/write_cache", "write back"),
    ("/sys/devices/pci0/nvme0n1/queue/fua", "1"),
    ("/sys/devices/pci0/nvme0n1/queue/physical_block_size", "4096"),
    ("/sys/devices/pci0/nvme0n1/device/model", "A DISK"),
    ("/sys/devices/pci0/nvme0n1/nvme0n1p1/partition", "1"),
    ("/sys/devices/pci0/nvme0n1/nvme0n1p1/start", "2048"),
];

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
}

impl Tree {
    pub(crate) fn good() -> Tree {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tree-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let tree = Tree { root };
        FILES.iter().for_each(|(path, text)| tree.put(path, text));
        for (at, to) in [("/sys/dev/block/259:1", "nvme0n1/nvme0n1p1"), ("/sys/dev/block/259:0", "nvme0n1")] {
            fs::create_dir_all(tree.at("/sys/dev/block")).expect("a folder");
            symlink(Path::new("../../devices/pci0").join(to), tree.at(at)).expect("a link");
        }
        fs::create_dir_all(tree.at("/sys/block")).expect("a folder");
        symlink("../devices/pci0/nvme0n1", tree.at("/sys/block/nvme0n1")).expect("a link");
        tree
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
        fs::write(path, format!("{text}\n")).expect("a file");
    }

    pub(crate) fn get(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_string()
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.at(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("it is there");
    }

    /// What is there and cannot be read: root may read any file, but nobody reads a folder as one.
    pub(crate) fn spoil(&self, path: &str) {
        self.remove(path);
        fs::create_dir_all(self.at(path)).expect("a folder");
    }

    pub(crate) fn tune(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog-tune"));
        command.arg("--root").arg(&self.root).args(words).stdin(std::process::Stdio::null());
        command.output().expect("ringlog-tune runs")
    }

    /// Runs it, and it succeeds; what it printed.
    pub(crate) fn tuned(&self, words: &[&str]) -> String {
        let out = self.tune(words);
        assert!(out.status.success(), "{words:?}: {out:?}");
        String::from_utf8(out.stdout).expect("text")
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}
