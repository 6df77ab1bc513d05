//! A metrics endpoint, read over HTTP, and the text that Prometheus and OpenMetrics write. Small and strict: a line that is none of
//! their forms is an error that names it, and an endpoint cannot make this program take more than a bounded answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Bytes of an answer.
const ANSWER_MAX: u64 = 16 << 20;
/// Series of a scrape.
const SERIES_MAX: usize = 50_000;
const PATIENCE: Duration = Duration::from_secs(2);

/// What `# TYPE` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows only: counters, and the parts of histograms and summaries.
    Counter,
    Gauge,
}

/// One reading of an endpoint: series, as they are written, with their kind and value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape(pub BTreeMap<String, (Kind, f64)>);

impl Scrape {
    /// What counters grew by since an earlier reading, and gauges as they are. A counter that was not there began at nought.
    pub fn since(&self, before: &Scrape) -> BTreeMap<String, f64> {
        let grown = self.0.iter().map(|(name, (kind, value))| {
            let then = before.0.get(name).map_or(0.0, |(_, then)| *then);
            let value = match kind {
                Kind::Counter => (value - then).max(0.0),
                Kind::Gauge => *value,
            };
            (name.clone(), value)
        });
        // JSON has no other numbers.
        grown.filter(|(_, value)| value.is_finite()).collect()
    }
}

/// Where metrics are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    pub addr: SocketAddr,
    path: String,
}

impl Endpoint {
    /// Reads `http://HOST:PORT/PATH`.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url}: only http:// is read"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
        let with_port = if host.contains(':') { host.to_string() } else { format!("{host}:80") };
        let mut found = with_port.to_socket_addrs().map_err(|e| format!("{url}: {e}"))?;
        let addr = found.next().ok_or_else(|| format!("{url}: no address"))?;
        let sound = |part: &str| part.bytes().all(|b| b.is_ascii_graphic());
        if !sound(host) || !sound(path) {
            return Err(format!("{url}: not an address"));
        }
        Ok(Endpoint { host: host.to_string(), addr, path: format!("/{path}") })
    }

    /// Asks once.
    pub fn scrape(&self) -> Result<Scrape, String> {
        let text = self.get().map_err(|e| format!("http://{}{}: {e}", self.host, self.path))?;
        parse(&text)
    }

    fn get(&self) -> Result<String, String> {
        let mut stream = TcpStream::connect_timeout(&self.addr, PATIENCE).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
        // HTTP 1.0: the answer ends with the connection and comes in one piece.
        let request = format!("GET {} HTTP/1.0\r\nHost: {}\r\nAccept: text/plain\r\n\r\n", self.path, self.host);
        stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX + 1).read_to_end(&mut answer).map_err(|e| e.to_string())?;
        if answer.len() as u64 > ANSWER_MAX {
            return Err(format!("more than {ANSWER_MAX} bytes"));
        }
        let answer = String::from_utf8(answer).map_err(|_| "an answer that is no text".to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer that is no HTTP")?;
        let status = head.lines().next().unwrap_or_default();
        match status.split_whitespace().nth(1) {
            Some("200") => Ok(body.to_string()),
            _ => Err(format!("it answers `{status}`")),
        }
    }
}

/// Reads an exposition in Prometheus' text form, or OpenMetrics'.
pub fn parse(text: &str) -> Result<Scrape, String> {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut scrape = Scrape::default();
    for (k, line) in text.lines().enumerate() {
        let wrong = |why: &str| format!("line {}: {why}: `{}`", k + 1, line.chars().take(80).collect::<String>());
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_whitespace();
            if words.next() == Some("TYPE") {
                let (name, kind) =
                    words.next().zip(words.next()).ok_or_else(|| wrong("TYPE without a name or kind"))?;
                kinds.insert(name, kind);
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let (series, rest) = split_series(line).ok_or_else(|| wrong("not a series"))?;
        let mut words = rest.split_whitespace();
        let value = words.next().and_then(number).ok_or_else(|| wrong("no number"))?;
        // A time, which OpenMetrics writes with a fraction, and exemplars behind `#`, are of no use here.
        if words.next().is_some_and(|time| time != "#" && number(time).is_none()) {
            return Err(wrong("something behind the value"));
        }
        let name = series.split('{').next().unwrap_or(series);
        if scrape.0.insert(series.to_string(), (kind_of(name, &kinds), value)).is_some() {
            return Err(wrong("a series that was there before"));
        }
        if scrape.0.len() > SERIES_MAX {
            return Err(format!("more than {SERIES_MAX} series"));
        }
    }
    Ok(scrape)
}

fn number(word: &str) -> Option<f64> {
    match word {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // Rust reads words such as `infinity`, too.
        _ => word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)).then(|| word.parse().ok()).flatten(),
    }
}

/// The kind of a series by its own type, or by that of the histogram or summary it is part of.
fn kind_of(name: &str, kinds: &BTreeMap<&str, &str>) -> Kind {
    let family = |end: &str| name.strip_suffix(end).and_then(|base| kinds.get(base)).copied();
    match kinds.get(name).copied() {
        Some("counter") => Kind::Counter,
        Some(_) => Kind::Gauge,
        None => {
            let counter = family("_total") == Some("counter");
            let part =
                ["_bucket", "_count", "_sum"].iter().any(|end| matches!(family(end), Some("histogram" | "summary")));
            // OpenMetrics' `_created` is a time; a name without any type counts by its ending.
            let by_name = name.ends_with("_total");
            if counter || part || by_name { Kind::Counter } else { Kind::Gauge }
        }
    }
}

/// A series with its labels, and what follows.
fn split_series(line: &str) -> Option<(&str, &str)> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(line.len());
    if end == 0 || line.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let rest = &line[end..];
    match rest.strip_prefix('{') {
        None => rest.starts_with(char::is_whitespace).then_some((&line[..end], rest)),
        Some(labels) => {
            let length = labels_end(labels)?;
            let at = end + 1 + length;
            Some((&line[..at], &line[at..]))
        }
    }
}

/// Length of labels with their closing brace: `name="value",...}` with \\, \" and \n in values.
fn labels_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        if bytes.get(at) == Some(&b'}') {
            return Some(at + 1);
        }
        let name = bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        if name == 0 || bytes.get(at + name) != Some(&b'=') || bytes.get(at + name + 1) != Some(&b'"') {
            return None;
        }
        at += name + 2;
        loop {
            match bytes.get(at)? {
                b'\\' if matches!(bytes.get(at + 1)?, b'\\' | b'"' | b'n') => at += 2,
                b'\\' => return None,
                b'"' => break,
                _ => at += 1,
            }
        }
        at += 1;
        match bytes.get(at)? {
            b',' => at += 1,
            b'}' => {}
            _ => return None,
        }
    }
}
