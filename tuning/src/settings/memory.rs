//! Memory: swapping, dirty pages, huge pages, nodes.

use super::{at_least, at_most, plain};
use crate::entry::{Applied, Change, Entry, Finding, Form, Weight};
use crate::host::Host;

const HUGE: &str = "/sys/kernel/mm/transparent_hugepage";

pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "swappiness",
        what: "vm.swappiness: how readily memory of programs is swapped out for the page cache",
        why: "a broker's memory that is swapped out is read back by a core, which meanwhile serves nobody",
        source: "kernel.org: admin-guide/sysctl/vm, swappiness",
        good: "10 or less, or no swap",
        weight: Weight::Worth,
        applied: Applied::Written,
        check: swappiness,
    },
    Entry {
        name: "huge-pages",
        what: "transparent huge pages: who gets them",
        why: "the broker asks for them for its log memory (madvise): with `never` it has small pages and more TLB misses",
        source: "kernel.org: admin-guide/mm/transhuge",
        good: "madvise or always",
        weight: Weight::Worth,
        applied: Applied::Written,
        check: |host| choice(host, "enabled", &["madvise", "always"], "madvise"),
    },
    Entry {
        name: "huge-pages-defrag",
        what: "transparent huge pages: whether a page fault waits until memory is put in order",
        why: "with `always` any page fault of any program may wait for compaction; whoever asked is served by the others, too",
        source: "kernel.org: admin-guide/mm/transhuge, defrag",
        good: "madvise, defer+madvise or defer",
        weight: Weight::Minor,
        applied: Applied::Written,
        check: |host| choice(host, "defrag", &["madvise", "defer+madvise", "defer", "never"], "madvise"),
    },
    Entry {
        name: "reserved-huge-pages",
        what: "vm.nr_hugepages: memory set aside for those who ask for it by name",
        why: "the broker does not: what is set aside is missing for its log memory and the page cache",
        source: "kernel.org: admin-guide/mm/hugetlbpage",
        good: "0, unless another program needs them",
        weight: Weight::Minor,
        applied: Applied::Told("another program may need them"),
        check: |host| match host.number("/proc/sys/vm/nr_hugepages") {
            Ok(pages) => Finding::told(pages.to_string()),
            Err(trouble) => Finding::of(trouble, "this kernel does not have them"),
        },
    },
    Entry {
        name: "numa",
        what: "memory nodes of this machine",
        why: "memory of the other node is slower; each core of the broker takes its memory where it runs",
        source: "kernel.org: admin-guide/mm/numaperf",
        good: "told only; with more than one, ringlog.cores on the node that has the network card and the disk",
        weight: Weight::Minor,
        applied: Applied::Told("it is the machine"),
        check: numa,
    },
    Entry {
        name: "numa-balancing",
        what: "kernel.numa_balancing: moves pages to the node that uses them",
        why: "cores are pinned, so there is nothing to move; to find that out it takes pages away and waits for faults",
        source: "kernel.org: admin-guide/sysctl/kernel, numa_balancing",
        good: "0",
        weight: Weight::Minor,
        applied: Applied::Written,
        check: |host| at_most(host, "/proc/sys/kernel/numa_balancing", 0, 0),
    },
    Entry {
        name: "zone-reclaim",
        what: "vm.zone_reclaim_mode: whether page cache is given up before memory of another node is used",
        why: "a page fault then waits for reclaim although there is memory",
        source: "kernel.org: admin-guide/sysctl/vm, zone_reclaim_mode",
        good: "0",
        weight: Weight::Worth,
        applied: Applied::Written,
        check: |host| at_most(host, "/proc/sys/vm/zone_reclaim_mode", 0, 0),
    },
    Entry {
        name: "dirty-pages",
        what: "vm.dirty_background_ratio, vm.dirty_ratio: how much may wait in the page cache before it is written",
        why: "the broker writes past the page cache; what others leave there goes to the disk at once, before its flushes",
        source: "kernel.org: admin-guide/sysctl/vm, dirty_background_ratio",
        good: "5 and 10 or less, or bounds in bytes",
        weight: Weight::Minor,
        applied: Applied::Written,
        check: dirty_pages,
    },
    Entry {
        name: "max-map-count",
        what: "vm.max_map_count: ranges of memory a process may have",
        why: "the broker maps its log memory in few ranges and no files; the kernel's default is enough",
        source: "kernel.org: admin-guide/sysctl/vm, max_map_count",
        good: "65530 or more",
        weight: Weight::Minor,
        applied: Applied::Written,
        check: |host| at_least(host, "/proc/sys/vm/max_map_count", 65_530),
    },
];

fn swappiness(host: &Host) -> Finding {
    let found = at_most(host, "/proc/sys/vm/swappiness", 10, 1);
    // The first line of the list of swaps is its heading.
    match host.read("/proc/swaps") {
        Ok(text) if text.lines().count() == 1 && !found.changes.is_empty() => {
            Finding::good(format!("{}, and no swap", found.is))
        }
        _ => found,
    }
}

fn choice(host: &Host, file: &str, good: &[&str], to: &str) -> Finding {
    let path = format!("{HUGE}/{file}");
    match host.read(&path) {
        Ok(text) => {
            let is = Form::Choice.value(&text);
            let fine = good.contains(&is.as_str());
            let change = Change { path, form: Form::Choice, old: is.clone(), new: to.into() };
            Finding::judged(fine, is).with(if fine { Vec::new() } else { vec![change] })
        }
        Err(trouble) => Finding::of(trouble, "this kernel does not have them"),
    }
}

fn numa(host: &Host) -> Finding {
    let names = match host.list("/sys/devices/system/node") {
        Ok(names) => names,
        Err(trouble) => return Finding::of(trouble, "this kernel knows no nodes"),
    };
    let mut shown = Vec::new();
    for name in names.iter().filter(|name| name.strip_prefix("node").is_some_and(|n| n.parse::<u32>().is_ok())) {
        let cpus = host.read(&format!("/sys/devices/system/node/{name}/cpulist")).unwrap_or_else(|_| "?".into());
        shown.push(format!("{name}: CPU {cpus}"));
    }
    match shown.is_empty() {
        true => Finding::unreadable("/sys/devices/system/node names no node"),
        false => Finding::told(shown.join("; ")),
    }
}

fn dirty_pages(host: &Host) -> Finding {
    let file = |name: &str| format!("/proc/sys/vm/{name}");
    let mut read = [0i64; 4];
    let names = ["dirty_background_ratio", "dirty_ratio", "dirty_background_bytes", "dirty_bytes"];
    for (slot, name) in read.iter_mut().zip(names) {
        match host.number(&file(name)) {
            Ok(is) => *slot = is,
            Err(trouble) => return Finding::of(trouble, "this kernel does not have it"),
        }
    }
    let [background, all, background_bytes, bytes] = read;
    // A bound in bytes is in force where it is not 0; writing the ratio would end it, and could not be undone by writing a ratio.
    let mut changes = Vec::new();
    if background_bytes == 0 && background > 5 {
        changes.push(plain(&file("dirty_background_ratio"), &background.to_string(), "5"));
    }
    if bytes == 0 && all > 10 {
        changes.push(plain(&file("dirty_ratio"), &all.to_string(), "10"));
    }
    let shown = |ratio: i64, bytes: i64| if bytes == 0 { format!("{ratio} %") } else { format!("{bytes} bytes") };
    let is = format!("{}, {}", shown(background, background_bytes), shown(all, bytes));
    Finding::judged(changes.is_empty(), is).with(changes)
}
