//! The admin endpoint: a plain thread that tells metrics and health over HTTP. It listens before the log directories are opened,
//! so that a long recovery can be told from a process that hangs, and ends with the process.

use super::http::{BOUNDS, Request, Response, Server, Status};
use super::page::{Format, Page};
use super::scrape::{View, process_page};
use crate::io::thread::stand_back;
use ringlog_engine::config::AdminAddress;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// A core turns once a second at least; one that has not for so long hangs.
const HANGS: Duration = Duration::from_secs(10);

const PAGES: &str = "/metrics     figures of the broker, for Prometheus\n\
                     /partitions  a few of each partition\n\
                     /clients     a few of each connection\n\
                     /healthz     200 while every core turns, else 503\n\
                     /readyz      200 while it serves and no log directory failed, else 503\n";

/// The endpoint, started: where it listens, and how it is told of the cores once they run.
pub struct Admin {
    pub address: SocketAddr,
    cores: Sender<View>,
}

impl Admin {
    /// Opens the endpoint and starts its thread. `Ok(None)` if it is off, or the default address cannot be had, which is told;
    /// an address that was chosen must be had.
    pub fn start(setting: Option<&AdminAddress>, began: Instant) -> Result<Option<Admin>, String> {
        let Some(setting) = setting else { return Ok(None) };
        let listener = match listen(setting) {
            Ok(listener) => listener,
            Err(why) if setting.chosen => return Err(format!("ringlog.admin.address: {why}")),
            Err(why) => {
                println!("notice: ringlog.admin.address: {why}. It is not set, so the start goes on without metrics");
                return Ok(None);
            }
        };
        let address = listener.local_addr().map_err(|e| format!("ringlog.admin.address: {e}"))?;
        let mut server = Server::new(listener, BOUNDS).map_err(|e| format!("ringlog.admin.address: {e}"))?;
        let (cores, told) = channel();
        let thread = std::thread::Builder::new().name("admin".into()).spawn(move || {
            stand_back();
            let mut endpoint = Endpoint { began, told, view: None };
            while let Ok(()) = server.turn(&mut |request| endpoint.answer(request)) {}
        });
        thread.map_err(|e| format!("starting a thread: {e}"))?;
        Ok(Some(Admin { address, cores }))
    }

    /// Every core runs.
    pub fn serve(self, view: View) {
        // Nobody listens if polling failed, which it does only out of memory.
        let _ = self.cores.send(view);
    }
}

fn listen(setting: &AdminAddress) -> Result<TcpListener, String> {
    let AdminAddress { host, port, .. } = setting;
    let address = match host.as_str() {
        "" => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port),
        host => (host, *port)
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .ok_or_else(|| format!("the host {host} is not known"))?,
    };
    let listener = TcpListener::bind(address).or_else(|error| match host.as_str() {
        // A machine without IPv6.
        "" => TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], *port))),
        _ => Err(error),
    });
    listener.map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::AddrInUse => ". Another process has it (`ss -ltnp` tells which): set another port, or none",
            _ => "",
        };
        format!("cannot listen on {address}: {error}{advice}")
    })
}

/// What the thread knows.
struct Endpoint {
    began: Instant,
    told: Receiver<View>,
    /// Not before the cores run.
    view: Option<View>,
}

impl Endpoint {
    fn answer(&mut self, request: &Request) -> Response {
        if self.view.is_none() {
            self.view = self.told.try_recv().ok();
        }
        match request.path.as_str() {
            "/" => Response::text(Status::Ok, PAGES),
            "/healthz" => told("alive", self.unhealthy()),
            "/readyz" => told("ready", self.unready()),
            "/metrics" => self.page(request, |view, page| view.metrics(page)),
            "/partitions" => self.page(request, |view, page| view.partitions(page)),
            "/clients" => self.page(request, |view, page| view.clients(page)),
            _ => Response::text(Status::NotFound, format!("no such page; there are:\n{PAGES}")),
        }
    }

    fn page(&mut self, request: &Request, write: impl FnOnce(&mut View, &mut Page)) -> Response {
        let open = request.accept.contains("application/openmetrics-text");
        let format = if open { Format::OpenMetrics } else { Format::Prometheus };
        let mut page = Page::new(format);
        match &mut self.view {
            Some(view) => write(view, &mut page),
            None => process_page(&mut page, self.began),
        }
        Response { status: Status::Ok, content_type: format.content_type(), body: page.finish() }
    }

    /// Why the process should be restarted, line by line.
    fn unhealthy(&self) -> String {
        let Some(view) = &self.view else { return String::new() };
        let ages = view.meters.iter().map(|meter| Duration::from_nanos(view.turn_age(meter)));
        let hanging = ages.enumerate().filter(|(_, age)| *age > HANGS);
        hanging.map(|(core, age)| format!("core {core} has not turned for {} s\n", age.as_secs())).collect()
    }

    /// Why clients should not be sent here, line by line.
    fn unready(&self) -> String {
        let Some(view) = &self.view else { return "starting\n".into() };
        let failed = (0..).zip(&view.dirs).filter(|(d, _)| view.space.has_failed(*d));
        let failed: String =
            failed.map(|(_, dir)| format!("log directory {dir} failed and is out of service\n")).collect();
        failed + &self.unhealthy()
    }
}

fn told(good: &str, trouble: String) -> Response {
    match trouble.is_empty() {
        true => Response::text(Status::Ok, format!("{good}\n")),
        false => Response::text(Status::Unavailable, trouble),
    }
}
