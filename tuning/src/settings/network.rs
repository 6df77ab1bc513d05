//! The network: interrupts of the cards, their queues and rings, and the kernel's bounds on connections and buffers.

use super::{at_least, at_most, cpus, plain};
use crate::entry::{Applied, Change, Entry, Finding, Form, Weight, gathered};
use crate::host::{Host, Trouble};

const NET: &str = "/sys/class/net";
/// A ring of a card with fewer places loses packets in a burst.
const RING_LEAST: u64 = 1024;

pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "somaxconn",
        what: "net.core.somaxconn: connections that may wait to be accepted",
        why: "when many clients come back at once, those beyond it are turned away and try again a second later",
        source: "kernel.org: networking/ip-sysctl, somaxconn; listen(2)",
        good: "4096 or more",
        weight: Weight::Worth,
        applied: Applied::Written,
        check: |host| at_least(host, "/proc/sys/net/core/somaxconn", 4096),
    },
    Entry {
        name: "syn-backlog",
        what: "net.ipv4.tcp_max_syn_backlog: connections that are half made",
        why: "the same, one step earlier",
        source: "kernel.org: networking/ip-sysctl, tcp_max_syn_backlog",
        good: "4096 or more",
        weight: Weight::Minor,
        applied: Applied::Written,
        check: |host| at_least(host, "/proc/sys/net/ipv4/tcp_max_syn_backlog", 4096),
    },
    Entry {
        name: "slow-start-after-idle",
        what: "net.ipv4.tcp_slow_start_after_idle: whether a connection that was idle begins slowly again",
        why: "a producer that sends now and then, or a reader that caught up, gets small windows each time",
        source: "kernel.org: networking/ip-sysctl, tcp_slow_start_after_idle",
        good: "0",
        weight: Weight::Worth,
        applied: Applied::Written,
        check: |host| at_most(host, "/proc/sys/net/ipv4/tcp_slow_start_after_idle", 0, 0),
    },
    Entry {
        name: "tcp-buffers",
        what: "net.ipv4.tcp_rmem, tcp_wmem: how far the kernel may grow a connection's buffers",
        why: "throughput of one connection is its buffer over the round trip: 4 MiB carry 1 Gbit/s over 30 ms",
        source: "kernel.org: networking/ip-sysctl, tcp_rmem, tcp_wmem",
        good: "4 MiB or more",
        weight: Weight::Minor,
        applied: Applied::Written,
        check: tcp_buffers,
    },
    Entry {
        name: "socket-buffers",
        what: "net.core.rmem_max, wmem_max: the largest buffer a program may ask for",
        why: "socket.send.buffer.bytes and socket.receive.buffer.bytes are cut to it; without those settings it does not matter",
        source: "kernel.org: admin-guide/sysctl/net, rmem_max; socket(7)",
        good: "4 MiB or more, if those settings are used",
        weight: Weight::Minor,
        applied: Applied::OnRequest("only brokers that set the sizes of their buffers need it"),
        check: socket_buffers,
    },
    Entry {
        name: "backlog",
        what: "net.core.netdev_max_backlog: packets that wait on a CPU for the network stack",
        why: "where packets are steered to other CPUs, or the card's driver has no polling of its own, a burst beyond it is lost",
        source: "kernel.org: admin-guide/sysctl/net, netdev_max_backlog",
        good: "1000 or more",
        weight: Weight::Minor,
        applied: Applied::Written,
        check: |host| at_least(host, "/proc/sys/net/core/netdev_max_backlog", 1000),
    },
    Entry {
        name: "busy-poll",
        what: "net.core.busy_poll, busy_read: how long a system call spins for packets, us",
        why: "a core waits in its ring, which does not spin for these; for other programs it burns CPU",
        source: "kernel.org: networking/napi, busy polling; admin-guide/sysctl/net",
        good: "0",
        weight: Weight::Minor,
        applied: Applied::OnRequest("another program may have been given it"),
        check: busy_poll,
    },
    Entry {
        name: "irq-affinity",
        what: "CPUs that take the interrupts of each network card",
        why: "with all queues on one CPU that one is busy with everybody's packets, and the shard on it is late",
        source: "kernel.org: core-api/irq/irq-affinity; networking/scaling",
        good: "the queues spread over the CPUs",
        weight: Weight::Worth,
        applied: Applied::OnRequest(
            "irqbalance undoes it, unless it is stopped; and the CPUs may be wanted for something else",
        ),
        check: irq_affinity,
    },
    Entry {
        name: "irqbalance",
        what: "whether irqbalance runs",
        why: "it moves interrupts about, also to the CPUs of shards, and makes figures jump; where nothing is pinned it helps",
        source: "irqbalance(1); kernel.org: networking/scaling",
        good: "not running where interrupts were pinned",
        weight: Weight::Minor,
        applied: Applied::ByHand {
            how: "systemctl disable --now irqbalance",
            back: "systemctl enable --now irqbalance",
        },
        check: irqbalance,
    },
    Entry {
        name: "nic-queues",
        what: "receive and send queues of each network card",
        why: "one queue is one CPU's work; with one for each CPU, packets are handled where their connection is served",
        source: "kernel.org: networking/scaling, RSS; ethtool(8), -L",
        good: "as many as CPUs, as far as the card has them",
        weight: Weight::Minor,
        applied: Applied::ByHand { how: "ethtool -L DEVICE combined N", back: "the same with the number it had" },
        check: nic_queues,
    },
    Entry {
        name: "nic-rings",
        what: "places in the receive and send ring of each network card",
        why: "a burst of small requests that finds the ring full is lost, and comes again after 200 ms",
        source: "ethtool(8), -g and -G",
        good: "1024 or more, as far as the card has them",
        weight: Weight::Worth,
        applied: Applied::ByHand {
            how: "ethtool -G DEVICE rx 1024 tx 1024 (the link may go down for a moment)",
            back: "the same with the numbers it had",
        },
        check: nic_rings,
    },
    Entry {
        name: "rps",
        what: "receive packet steering: CPUs that packets of a queue are handed on to",
        why: "a card with one queue keeps one CPU busy; handing on spreads the work, and costs an interrupt between CPUs",
        source: "kernel.org: networking/scaling, RPS",
        good: "off where there are queues enough; all CPUs where a card has one queue and is busy",
        weight: Weight::Minor,
        applied: Applied::OnRequest("it is worth it only where one CPU cannot carry the packets"),
        check: rps,
    },
    Entry {
        name: "xps",
        what: "transmit packet steering: the send queue of each CPU",
        why: "a CPU that has a queue of its own shares no lock with others on the way out",
        source: "kernel.org: networking/scaling, XPS",
        good: "told only: drivers with several queues set it up themselves",
        weight: Weight::Minor,
        applied: Applied::Told("drivers know their queues better"),
        check: xps,
    },
];

/// The network cards: what has a device behind it.
fn nics(host: &Host) -> Result<Vec<String>, Finding> {
    let names = host.list(NET).map_err(|trouble| Finding::of(trouble, "this kernel has no network"))?;
    let cards: Vec<String> = names.into_iter().filter(|name| host.exists(&format!("{NET}/{name}/device"))).collect();
    if cards.is_empty() { Err(Finding::absent("there is no network card here")) } else { Ok(cards) }
}

fn queues(host: &Host, nic: &str, kind: &str) -> Result<Vec<String>, Finding> {
    let path = format!("{NET}/{nic}/queues");
    let names = host.list(&path).map_err(|trouble| match trouble {
        Trouble::Absent => Finding::unreadable(format!("{path} is not there")),
        Trouble::Unreadable(why) => Finding::unreadable(why),
    })?;
    Ok(names.into_iter().filter(|name| name.starts_with(kind)).map(|name| format!("{path}/{name}")).collect())
}

/// The value, or what is to be said instead.
fn either(result: Result<Finding, Finding>) -> Finding {
    result.unwrap_or_else(|finding| finding)
}

fn tcp_buffers(host: &Host) -> Finding {
    const LEAST: u64 = 4 << 20;
    let (mut shown, mut changes) = (Vec::new(), Vec::new());
    for name in ["tcp_rmem", "tcp_wmem"] {
        let path = format!("/proc/sys/net/ipv4/{name}");
        let text = match host.read(&path) {
            Ok(text) => Form::Plain.value(&text),
            Err(trouble) => return Finding::of(trouble, "this kernel does not have it"),
        };
        let numbers: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [least, default, most] = numbers[..] else {
            return Finding::unreadable(format!("{path} says {text:?}, not three numbers"));
        };
        if most < LEAST {
            changes.push(plain(&path, &text, &format!("{least} {default} {LEAST}")));
        }
        shown.push(format!("{name} up to {} KiB", most >> 10));
    }
    Finding::judged(changes.is_empty(), shown.join(", ")).with(changes)
}

fn socket_buffers(host: &Host) -> Finding {
    both(host, ["rmem_max", "wmem_max"], |host, path| at_least(host, path, 4 << 20))
}

fn busy_poll(host: &Host) -> Finding {
    both(host, ["busy_poll", "busy_read"], |host, path| at_most(host, path, 0, 0))
}

/// Two settings of `net.core` that are one row.
fn both(host: &Host, names: [&str; 2], check: fn(&Host, &str) -> Finding) -> Finding {
    let [a, b] = names.map(|name| check(host, &format!("/proc/sys/net/core/{name}")));
    let readable =
        |found: &Finding| !matches!(found.state, crate::entry::State::Unreadable(_) | crate::entry::State::Absent(_));
    for found in [&a, &b] {
        if !readable(found) {
            return found.clone();
        }
    }
    let changes: Vec<Change> = a.changes.into_iter().chain(b.changes).collect();
    Finding::judged(changes.is_empty(), format!("{}, {}", a.is, b.is)).with(changes)
}

/// The interrupts of a card. A virtio card's are those of the PCI device it sits on.
fn interrupts(host: &Host, nic: &str) -> Vec<String> {
    let device = host.resolve(&format!("{NET}/{nic}/device")).unwrap_or_else(|| format!("{NET}/{nic}/device"));
    let parent = device.rsplit_once('/').map_or("", |(parent, _)| parent);
    let found = [device.as_str(), parent].into_iter().find_map(|at| host.list(&format!("{at}/msi_irqs")).ok());
    found.unwrap_or_default().into_iter().filter(|irq| host.exists(&format!("/proc/irq/{irq}"))).collect()
}

fn irq_affinity(host: &Host) -> Finding {
    either((|| {
        let (cpus, mut shown, mut changes, mut off) = (cpus(host), Vec::new(), Vec::new(), false);
        for nic in nics(host)? {
            let irqs = interrupts(host, &nic);
            if irqs.is_empty() {
                return Err(Finding::unreadable(format!("{nic} does not say which interrupts it has")));
            }
            let mut taken = Vec::new();
            for irq in &irqs {
                let read = |file: &str| host.read(&format!("/proc/irq/{irq}/{file}"));
                let on = read("effective_affinity_list").ok().filter(|on| !on.is_empty());
                let on = on.map_or_else(|| read("smp_affinity_list"), Ok);
                taken.push(on.map_err(|trouble| Finding::of(trouble, "interrupts have no affinity here"))?);
            }
            let one = taken.iter().all(|on| *on == taken[0] && !on.contains(['-', ',']));
            if irqs.len() > 1 && cpus.len() > 1 && one {
                off = true;
                for (k, irq) in irqs.iter().enumerate() {
                    let path = format!("/proc/irq/{irq}/smp_affinity_list");
                    let old = host.read(&path).map_err(|trouble| Finding::of(trouble, "no affinity"))?;
                    let new = cpus[k % cpus.len()].to_string();
                    changes.extend((old != new).then(|| plain(&path, &old, &new)));
                }
            }
            let mut distinct = taken.clone();
            distinct.dedup();
            shown.push((nic, format!("{} interrupts on CPU {}", irqs.len(), distinct.join(" "))));
        }
        Ok(Finding::judged(!off, gathered(&shown)).with(changes))
    })())
}

fn irqbalance(host: &Host) -> Finding {
    let names = match host.list("/proc") {
        Ok(names) => names,
        Err(trouble) => return Finding::of(trouble, "/proc is not mounted"),
    };
    let processes: Vec<String> = names.into_iter().filter(|name| name.parse::<u32>().is_ok()).collect();
    if processes.is_empty() {
        return Finding::unreadable("/proc shows no processes");
    }
    let runs = processes.iter().any(|id| host.read(&format!("/proc/{id}/comm")).is_ok_and(|name| name == "irqbalance"));
    Finding::told(if runs { "runs" } else { "does not run" })
}

fn nic_queues(host: &Host) -> Finding {
    either((|| {
        let mut shown = Vec::new();
        for nic in nics(host)? {
            let (receive, send) = (queues(host, &nic, "rx-")?.len(), queues(host, &nic, "tx-")?.len());
            shown.push((nic, format!("{receive} to receive, {send} to send")));
        }
        Ok(Finding::told(format!("{}; {} CPUs", gathered(&shown), cpus(host).len())))
    })())
}

fn nic_rings(host: &Host) -> Finding {
    either((|| {
        let (mut shown, mut small) = (Vec::new(), false);
        for nic in nics(host)? {
            let text = host.output("ethtool", &["-g", &nic]).map_err(|trouble| match trouble {
                Trouble::Absent => Finding::unreadable(format!("{nic}: ethtool says nothing")),
                Trouble::Unreadable(why) => Finding::unreadable(format!("{nic}: {why}")),
            })?;
            let numbers = |name: &str| -> Vec<u64> {
                text.lines().filter_map(|l| l.strip_prefix(name)?.trim().parse().ok()).collect()
            };
            // What may be, and what is.
            let (receive, send) = (numbers("RX:"), numbers("TX:"));
            let ([receive_max, receive], [send_max, send]) = (&receive[..], &send[..]) else {
                return Err(Finding::unreadable(format!("{nic}: `ethtool -g` is not understood")));
            };
            small |= *receive < RING_LEAST.min(*receive_max) || *send < RING_LEAST.min(*send_max);
            shown.push((nic, format!("rx {receive} of {receive_max}, tx {send} of {send_max}")));
        }
        Ok(Finding::judged(!small, gathered(&shown)))
    })())
}

fn rps(host: &Host) -> Finding {
    either((|| {
        let (cpus, mut shown, mut changes) = (cpus(host), Vec::new(), Vec::new());
        for nic in nics(host)? {
            let queues = queues(host, &nic, "rx-")?;
            let mut on = 0;
            for queue in &queues {
                let path = format!("{queue}/rps_cpus");
                let text =
                    host.read(&path).map_err(|trouble| Finding::of(trouble, "this kernel does not steer packets"))?;
                let off = Form::Mask.value(&text) == "0";
                on += usize::from(!off);
                if off && queues.len() == 1 && cpus.len() > 1 {
                    changes.push(Change { path, form: Form::Mask, old: text, new: mask(&cpus) });
                }
            }
            shown.push((nic, format!("on for {on} of {} queues", queues.len())));
        }
        Ok(Finding::told(gathered(&shown)).with(changes))
    })())
}

fn xps(host: &Host) -> Finding {
    either((|| {
        let mut shown = Vec::new();
        for nic in nics(host)? {
            let queues = queues(host, &nic, "tx-")?;
            // A card with one queue has nothing to choose from, and the file cannot be read.
            let masks = queues.iter().filter_map(|queue| host.read(&format!("{queue}/xps_cpus")).ok());
            let on = masks.filter(|text| Form::Mask.value(text) != "0").count();
            shown.push((nic, format!("on for {on} of {} queues", queues.len())));
        }
        Ok(Finding::told(gathered(&shown)))
    })())
}

/// CPUs as the kernel's masks: words of 32 bits, the highest first.
fn mask(cpus: &[usize]) -> String {
    let mut words = vec![0u32; cpus.iter().max().map_or(0, |most| most / 32) + 1];
    for cpu in cpus {
        words[cpu / 32] |= 1 << (cpu % 32);
    }
    words.iter().rev().map(|word| format!("{word:08x}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_words_from_the_highest() {
        assert_eq!(mask(&[0, 1]), "00000003");
        assert_eq!(mask(&[0, 33]), "00000002,00000001");
    }
}
