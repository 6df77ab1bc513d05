//! What the kernel says of this process, for the standard `process_` metrics.

use super::page::Page;
use super::table;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// Writes them; what cannot be read is left out.
pub fn write(page: &mut Page) {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096) as u64;
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) {
        page.single(&table::PROCESS_CPU, stat.cpu_ticks as f64 / ticks);
        page.single(&table::PROCESS_RSS, stat.rss_pages * page_bytes);
        page.single(&table::PROCESS_VSZ, stat.vsize);
        if let Some(boot) = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text)) {
            page.single(&table::PROCESS_START, boot as f64 + stat.start_ticks as f64 / ticks);
        }
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the list itself.
        page.single(&table::PROCESS_FDS, entries.count().saturating_sub(1));
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        page.single(&table::PROCESS_MAX_FDS, soft);
    }
}

/// Of `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    start_ticks: u64,
    vsize: u64,
    rss_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The name, in brackets, may hold spaces and brackets: fields are counted from behind it, the third first.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)? + field(15)?,
            start_ticks: field(22)?,
            vsize: field(23)?,
            rss_pages: field(24)?,
        })
    }
}

fn boot_time(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let text =
            "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 5 0 4242 123456 789 18446744073709551615 1\n";
        let expected = Stat { cpu_ticks: 42, start_ticks: 4242, vsize: 123456, rss_pages: 789 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
        assert!(Stat::parse(&fs::read_to_string("/proc/self/stat").unwrap()).is_some_and(|stat| stat.rss_pages > 0));
    }
}
