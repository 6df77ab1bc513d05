//! Opening the listeners, and what clients of each are told to connect to. On core 0, before it runs.
//!
//! With `ringlog.advertise=cores` each core has a socket for each listener, on a port so many above the listener's. Core 0 accepts on all of
//! them, so that the limits on connections stay one count of the node; its door gives a connection to the core whose socket it came to.

use crate::api::brokers::Advertised;
use crate::io::uring::Uring;
use crate::io::{Io, ListenOptions};
use ringlog_engine::config::{BrokerConfig, Listener};
use ringlog_engine::metadata::CORES_ADVERTISED;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// Opens every listener; returns the bound addresses, core by core if cores are advertised, and what clients of each listener are told.
pub(crate) fn listen(
    io: &mut Uring,
    config: &BrokerConfig,
    cores: usize,
) -> Result<(Vec<SocketAddr>, Vec<Advertised>), Vec<String>> {
    let sockets = if config.advertise_cores { cores } else { 1 };
    if sockets > usize::from(CORES_ADVERTISED) {
        return Err(vec![format!(
            "ringlog.advertise=cores: {cores} shards; at most {CORES_ADVERTISED} can be advertised"
        )]);
    }
    let host = |listener: &Listener| listener.advertised_host.clone().unwrap_or_else(host_name);
    let told = |listener| Advertised { host: host(listener), ports: Vec::new() };
    let mut advertised: Vec<Advertised> = config.listeners.iter().map(told).collect();
    let mut bound = Vec::new();
    for core in 0..sockets as u16 {
        for (listener, told) in config.listeners.iter().zip(&mut advertised) {
            let at = open(io, config, listener, core, &bound)?;
            bound.push(at);
            told.ports.push(match listener.advertised_port {
                0 => at.port(),
                port => port_of(listener, "advertised.listeners", port, core)?,
            });
        }
    }
    Ok((bound, advertised))
}

/// Opens a core's socket of a listener.
fn open(
    io: &mut Uring,
    config: &BrokerConfig,
    listener: &Listener,
    core: u16,
    bound: &[SocketAddr],
) -> Result<SocketAddr, Vec<String>> {
    let options = ListenOptions {
        backlog: config.sockets.backlog,
        send_buffer: config.sockets.send_buffer_bytes,
        receive_buffer: config.sockets.receive_buffer_bytes,
    };
    let port = if listener.port == 0 { 0 } else { port_of(listener, "listeners", listener.port, core)? };
    let address = match listener.host.as_str() {
        "" => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
        host => (host, port)
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .ok_or_else(|| vec![format!("listeners: the host {host} of {} is not known", listener.name)])?,
    };
    let at = io.listen(address, &options).or_else(|error| match listener.host.as_str() {
        // A machine without IPv6.
        "" => io.listen(SocketAddr::from(([0, 0, 0, 0], port)), &options),
        _ => Err(error),
    });
    at.map_err(|error| {
        let whose = if core == 0 { String::new() } else { format!(" for core {core} (ringlog.advertise=cores)") };
        let advice = match bound.iter().any(|other| other.port() == port) {
            true => ". Another listener has it: leave as many ports between listeners as there are shards",
            false => advice(&error),
        };
        vec![format!("listeners: {} cannot listen on {address}{whose}: {error}{advice}", listener.name)]
    })
}

/// A core's port, of those from a listener's on.
fn port_of(listener: &Listener, setting: &str, port: u16, core: u16) -> Result<u16, Vec<String>> {
    port.checked_add(core).ok_or_else(|| {
        vec![format!(
            "{setting}: {}: core {core} would have a port above 65535 (ringlog.advertise=cores)",
            listener.name
        )]
    })
}

/// What to do about an address that cannot be had.
fn advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => ". Another process has it (`ss -ltnp` tells which): end that one, or set another port",
        ErrorKind::AddrNotAvailable => {
            ". No interface of this machine has this address: set one it has, or none for all"
        }
        ErrorKind::PermissionDenied => ". A port below 1024 needs root or CAP_NET_BIND_SERVICE: set a higher one",
        _ => "",
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".into())
}
