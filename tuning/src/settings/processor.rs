//! CPUs: their frequency, their sleep, who shares them, what clock they read.

use super::{cpus, plain};
use crate::entry::{Applied, Entry, Finding, Weight, gathered};
use crate::host::{Host, Trouble};

const CPU: &str = "/sys/devices/system/cpu";
/// A sleep from which a CPU takes longer to wake, us, is seen in the latency of a lone request.
const WAKE_MAX: i64 = 50;
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0";
/// Clocks that are read without leaving user space.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];

pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "governor",
        what: "frequency governor of each CPU",
        why: "a core that waits for the disk looks idle and is slowed down, so that the next request finds it slow",
        source: "kernel.org: admin-guide/pm/cpufreq",
        good: "performance",
        weight: Weight::Worth,
        applied: Applied::Written,
        check: governor,
    },
    Entry {
        name: "idle-states",
        what: "sleep states of the CPUs that take long to wake from",
        why: "a lone request wakes its core, and waits for it; deep states take 50 us and more",
        source: "kernel.org: admin-guide/pm/cpuidle",
        good: "states over 50 us off, where latency matters more than power",
        weight: Weight::Minor,
        applied: Applied::OnRequest("it costs power and heat, and may take from turbo"),
        check: idle_states,
    },
    Entry {
        name: "turbo",
        what: "whether CPUs may go over their nominal frequency",
        why: "it is up to a third more speed; runs that are compared are steadier without",
        source: "kernel.org: admin-guide/pm/intel_pstate, no_turbo; admin-guide/pm/cpufreq, boost",
        good: "on; off while runs are compared",
        weight: Weight::Minor,
        applied: Applied::OnRequest("somebody may have turned it off to keep figures steady"),
        check: turbo,
    },
    Entry {
        name: "smt",
        what: "whether two CPUs are one core (hyper-threading)",
        why: "two shards on one core take from each other; interrupts and clients may well have the sibling",
        source: "kernel.org: admin-guide/hw-vuln/core-scheduling; cputopology",
        good: "off, or ringlog.cores naming one CPU of each core",
        weight: Weight::Minor,
        applied: Applied::ByHand {
            how: "set ringlog.cores as shown, or `echo off > /sys/devices/system/cpu/smt/control`",
            back: "`echo on` to the same file",
        },
        check: smt,
    },
    Entry {
        name: "mitigations",
        what: "the kernel's guards against flaws of this CPU",
        why: "each system call and interrupt pays for them; figures of two machines differ by them",
        source: "kernel.org: admin-guide/hw-vuln",
        good: "told only: how safe a machine must be is not for a tuner to say",
        weight: Weight::Minor,
        applied: Applied::Told("never changed by this program"),
        check: mitigations,
    },
    Entry {
        name: "clock-source",
        what: "the clock the kernel reads time from",
        why: "each turn of a core reads it; one that is not the CPU's own costs a system call and a microsecond",
        source: "kernel.org: timers/timekeeping; vdso(7)",
        good: "tsc, or the hypervisor's own",
        weight: Weight::Worth,
        applied: Applied::OnRequest(
            "the kernel may have left the CPU's clock because it found it unsteady (see its log)",
        ),
        check: clock_source,
    },
    Entry {
        name: "isolation",
        what: "CPUs kept from the scheduler (isolcpus), its tick (nohz_full) and RCU callbacks (rcu_nocbs)",
        why: "a core of the broker that has its CPU to itself is interrupted by nothing: the last microseconds of p99.9",
        source: "kernel.org: admin-guide/kernel-parameters; timers/no_hz",
        good: "with CPUs to spare: isolcpus, nohz_full and rcu_nocbs for those of ringlog.cores",
        weight: Weight::Minor,
        applied: Applied::ByHand {
            how: "on the kernel's command line, with CPU 0 left out: isolcpus=managed_irq,domain,1-3 nohz_full=1-3 rcu_nocbs=1-3",
            back: "remove the words, and restart",
        },
        check: isolation,
    },
    Entry {
        name: "virtual",
        what: "whether this is a virtual machine",
        why: "its CPUs are taken away at times, and its disk is somebody's file: what is measured is those, too",
        source: "cpuid, as /proc/cpuinfo shows it: the flag `hypervisor`",
        good: "told only",
        weight: Weight::Minor,
        applied: Applied::Told("it is where the broker is run"),
        check: virtual_machine,
    },
];

fn governor(host: &Host) -> Finding {
    let (mut values, mut changes, mut cannot) = (Vec::new(), Vec::new(), false);
    for cpu in cpus(host) {
        let path = format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor");
        let is = match host.read(&path) {
            Ok(is) => is,
            Err(Trouble::Absent) => continue,
            Err(Trouble::Unreadable(why)) => return Finding::unreadable(why),
        };
        if is != "performance" {
            let offered = host.read(&format!("{CPU}/cpu{cpu}/cpufreq/scaling_available_governors"));
            match offered.is_ok_and(|all| all.split_whitespace().any(|word| word == "performance")) {
                true => changes.push(plain(&path, &is, "performance")),
                false => cannot = true,
            }
        }
        values.push((format!("cpu{cpu}"), is));
    }
    match values.is_empty() {
        true => Finding::absent("the kernel does not set the frequency here: firmware or a hypervisor does"),
        false if changes.is_empty() && !cannot => Finding::good(gathered(&values)),
        false if cannot => Finding::off(format!("{}; performance is not offered", gathered(&values))).with(changes),
        false => Finding::off(gathered(&values)).with(changes),
    }
}

fn idle_states(host: &Host) -> Finding {
    let (mut deep, mut changes, mut seen) = (Vec::new(), Vec::new(), false);
    for cpu in cpus(host) {
        let folder = format!("{CPU}/cpu{cpu}/cpuidle");
        for state in host.list(&folder).unwrap_or_default().iter().filter(|name| name.starts_with("state")) {
            let file = |name: &str| format!("{folder}/{state}/{name}");
            let (latency, disabled) = match (host.number(&file("latency")), host.number(&file("disable"))) {
                (Ok(latency), Ok(disabled)) => (latency, disabled),
                (Err(trouble), _) | (_, Err(trouble)) => return Finding::of(trouble, "its state says no latency"),
            };
            seen = true;
            if latency > WAKE_MAX && disabled == 0 {
                let name = host.read(&file("name")).unwrap_or_else(|_| state.clone());
                deep.push((format!("cpu{cpu}"), format!("{name}, {latency} us")));
                changes.push(plain(&file("disable"), "0", "1"));
            }
        }
    }
    match (seen, deep.is_empty()) {
        (false, _) => Finding::absent("the kernel does not choose sleep states here"),
        (true, true) => Finding::good(format!("none over {WAKE_MAX} us is in use")),
        (true, false) => Finding::off(gathered(&deep)).with(changes),
    }
}

fn turbo(host: &Host) -> Finding {
    for (path, off, on) in
        [("/sys/devices/system/cpu/intel_pstate/no_turbo", 1, "0"), ("/sys/devices/system/cpu/cpufreq/boost", 0, "1")]
    {
        match host.number(path) {
            Ok(is) if is == off => return Finding::off("off").with(vec![plain(path, &is.to_string(), on)]),
            Ok(_) => return Finding::good("on"),
            Err(Trouble::Unreadable(why)) => return Finding::unreadable(why),
            Err(Trouble::Absent) => {}
        }
    }
    Finding::absent("the kernel does not control it here")
}

fn smt(host: &Host) -> Finding {
    match host.read(&format!("{CPU}/smt/active")) {
        Ok(active) if active == "0" => Finding::good("off"),
        Ok(_) => {
            let mut firsts: Vec<usize> = Vec::new();
            for cpu in cpus(host) {
                let siblings = host.read(&format!("{CPU}/cpu{cpu}/topology/thread_siblings_list"));
                let siblings = siblings.ok().and_then(|text| crate::host::cpu_list(&text)).unwrap_or_default();
                if siblings.first() == Some(&cpu) {
                    firsts.push(cpu);
                }
            }
            let names: Vec<String> = firsts.iter().map(usize::to_string).collect();
            Finding::told(format!("on; one CPU of each core: ringlog.cores={}", names.join(",")))
        }
        Err(trouble) => Finding::of(trouble, "the kernel does not say"),
    }
}

fn mitigations(host: &Host) -> Finding {
    let folder = format!("{CPU}/vulnerabilities");
    let names = match host.list(&folder) {
        Ok(names) => names,
        Err(trouble) => return Finding::of(trouble, "the kernel does not say"),
    };
    let (mut guarded, mut open) = (Vec::new(), Vec::new());
    for name in names {
        match host.read(&format!("{folder}/{name}")) {
            Ok(text) if text.starts_with("Mitigation") => guarded.push(name),
            Ok(text) if text.starts_with("Vulnerable") => open.push(name),
            Ok(_) => {}
            Err(_) => return Finding::unreadable(format!("{folder}/{name}")),
        }
    }
    let all = |names: &[String]| if names.is_empty() { "none".to_string() } else { names.join(", ") };
    Finding::told(format!("guarded: {}; vulnerable: {}", all(&guarded), all(&open)))
}

fn clock_source(host: &Host) -> Finding {
    let path = format!("{CLOCK}/current_clocksource");
    let is = match host.read(&path) {
        Ok(is) => is,
        Err(trouble) => return Finding::of(trouble, "the kernel does not say"),
    };
    if FAST_CLOCKS.contains(&is.as_str()) {
        return Finding::good(is);
    }
    let offered = host.read(&format!("{CLOCK}/available_clocksource")).unwrap_or_default();
    let better = FAST_CLOCKS.iter().find(|clock| offered.split_whitespace().any(|word| word == **clock));
    let changes = better.map(|clock| plain(&path, &is, clock)).into_iter().collect();
    Finding::off(is).with(changes)
}

fn isolation(host: &Host) -> Finding {
    let line = match host.read("/proc/cmdline") {
        Ok(line) => line,
        Err(trouble) => return Finding::of(trouble, "/proc is not mounted"),
    };
    let named: Vec<&str> = line
        .split_whitespace()
        .filter(|word| ["isolcpus=", "nohz_full=", "rcu_nocbs="].iter().any(|name| word.starts_with(name)))
        .collect();
    Finding::told(if named.is_empty() { "none".to_string() } else { named.join(" ") })
}

fn virtual_machine(host: &Host) -> Finding {
    match host.read("/proc/cpuinfo") {
        Ok(text) => {
            let flags = text.lines().find(|line| line.starts_with("flags"));
            let guest = flags.map(|line| line.split_whitespace().any(|flag| flag == "hypervisor"));
            match guest {
                Some(true) => Finding::told("yes"),
                Some(false) => Finding::told("no"),
                None => Finding::unreadable("/proc/cpuinfo shows no flags"),
            }
        }
        Err(trouble) => Finding::of(trouble, "/proc is not mounted"),
    }
}
