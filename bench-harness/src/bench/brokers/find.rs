//! A broker on this machine that was not started here: which process it is, which CPUs it may use, where its log is.

use super::parse_cpus;
use crate::bench::environment::plain_word;
use crate::bench::sample::process::Who;
use crate::bench::sample::prometheus::Endpoint;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Where a Ringlog tells its metrics unless told otherwise.
const ADMIN: &str = "127.0.0.1:9099";

/// Whether an address is one of this machine's: only then a socket can be bound to it.
pub fn is_local(addr: SocketAddr) -> bool {
    TcpListener::bind((addr.ip(), 0)).is_ok()
}

/// The process that listens at an address.
pub fn listener(addr: SocketAddr) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let text: String = tables.iter().filter_map(|t| fs::read_to_string(t).ok()).collect();
    let sockets = listening(&text, addr);
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|link| {
            let inode = link.to_str().and_then(|l| l.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            inode.is_some_and(|inode: u64| sockets.contains(&inode))
        })
    })
}

/// Inodes of sockets that listen at an address or at all of them, from the text of `/proc/net/tcp` and `tcp6`.
pub fn listening(text: &str, addr: SocketAddr) -> Vec<u64> {
    let rows = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (ip, port) = words.get(1)?.rsplit_once(':')?;
        let listens = *words.get(3)? == "0A";
        let same_port = u16::from_str_radix(port, 16).ok()? == addr.port();
        let ip = address(ip)?;
        let same_ip = ip == addr.ip() || ip.is_unspecified();
        (listens && same_port && same_ip).then(|| words.get(9)?.parse().ok()).flatten()
    });
    rows.collect()
}

/// An address as the kernel writes it: words of 32 bits in the machine's order, in hexadecimal.
fn address(text: &str) -> Option<IpAddr> {
    let word = |k: usize| u32::from_str_radix(text.get(8 * k..8 * k + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            let ip = Ipv6Addr::from(bytes);
            Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
        }
        _ => None,
    }
}

/// CPUs that a broker may use: those it says that it runs on, or those of its first process.
pub fn cpus(who: &Who, said: Option<&String>) -> Vec<usize> {
    if let Some(said) = said.and_then(|s| parse_cpus(s).ok()) {
        return said;
    }
    let pid = who.pids().first().copied();
    let status = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok()).unwrap_or_default();
    let list = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:"));
    list.and_then(|l| parse_cpus(l.trim()).ok()).unwrap_or_default()
}

/// The first of a broker's log directories, from where the process is, if it is there.
pub fn log_dir(pid: u32, dirs: &[String]) -> Option<PathBuf> {
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    dirs.iter().map(|dir| cwd.join(Path::new(dir))).find(|dir| dir.is_dir())
}

/// A process's metrics, where it says that they are or where a Ringlog tells them by default, if it is the one that listens there.
pub fn metrics(pid: u32, said: Option<&String>) -> Option<Endpoint> {
    let endpoint = Endpoint::parse(&format!("http://{}/metrics", said.map_or(ADMIN, String::as_str))).ok()?;
    (listener(endpoint.addr) == Some(pid) && endpoint.scrape().is_ok()).then_some(endpoint)
}

/// A process's command line, without paths.
pub fn command(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|b| *b == 0).filter(|w| !w.is_empty());
    words.map(|w| plain_word(&String::from_utf8_lossy(w))).collect()
}

/// The version of the jar that a Kafka process has open.
pub fn kafka_version(pid: u32) -> Option<String> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    fds.filter_map(|fd| fs::read_link(fd.path()).ok()).find_map(|link| {
        let name = link.file_name()?.to_str()?;
        Some(name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?.to_string())
    })
}
