//! Reads what a metrics endpoint tells, in Prometheus' text format 0.0.4. Strict: a line that is none of the format's is an error
//! with its number, as figures that were half read would be believed.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Longest page taken, bytes: 20,000 partitions make some 20 MB.
const LONGEST: u64 = 64 << 20;

/// One line: a series and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Sample {
    /// A label's value; empty if it has none, which is the same to Prometheus.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }
}

/// All samples of a page, in its order.
pub fn parse(text: &str) -> Result<Vec<Sample>, String> {
    let mut samples = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        samples.push(sample(line).ok_or_else(|| format!("line {}: not a sample: {line:.100}", number + 1))?);
    }
    Ok(samples)
}

/// `name{label="value",...} value [time]`.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, mut rest) = line.split_at(end);
    let sound = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
            && !name.as_bytes()[0].is_ascii_digit()
    };
    if !sound(name) {
        return None;
    }
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once('=')?;
            let (value, after) = quoted(after.trim_start())?;
            labels.push((sound(label.trim()).then(|| label.trim().to_string())?, value));
            rest = after.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        rest = &rest[1..];
    }
    let mut words = rest.split_whitespace();
    let value = match words.next()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => number.parse().ok()?,
    };
    let timed = words.next().is_none_or(|time| time.parse::<i64>().is_ok());
    (timed && words.next().is_none()).then(|| Sample { name: name.to_string(), labels, value })
}

/// A quoted value with its escapes undone, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut inside = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = inside.next() {
        match c {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => value.push(match inside.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

/// The page at `http://HOST:PORT/PATH` (or `HOST:PORT/PATH`), within `patience`.
pub fn get(url: &str, patience: Duration) -> io::Result<String> {
    let begun = Instant::now();
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let bare = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = bare.find('/').map_or((bare, "/"), |at| bare.split_at(at));
    let address = host.to_socket_addrs()?.next().ok_or_else(|| wrong(format!("{host} has no address")))?;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_write_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: text/plain\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; 64 << 10];
    loop {
        let left = patience.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
        stream.set_read_timeout(Some(left.ok_or(io::ErrorKind::TimedOut)?))?;
        match stream.read(&mut piece)? {
            0 => break,
            n if (answer.len() + n) as u64 > LONGEST => return Err(wrong(format!("more than {LONGEST} bytes"))),
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    let answer = String::from_utf8(answer).map_err(|e| wrong(e.to_string()))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| wrong("no HTTP answer".to_string()))?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        return Err(wrong(format!("HTTP status {status}: {}", body.lines().next().unwrap_or_default())));
    }
    if head.lines().any(|line| line.to_ascii_lowercase().starts_with("transfer-encoding:")) {
        return Err(wrong("an answer in chunks, which is not read here".to_string()));
    }
    Ok(body.to_string())
}

/// The samples of the page at `url`.
pub fn scrape(url: &str, patience: Duration) -> io::Result<Vec<Sample>> {
    parse(&get(url, patience)?).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_labels_and_escapes() {
        let page = "# HELP a_total What.\n# TYPE a_total counter\na_total 3\n\nb{x=\"1\",y=\"a\\\"b\\\\c\\nd\",} 2.5e3 1700000000000\nc{} +Inf\n";
        let samples = parse(page).expect("the page is sound");
        assert_eq!(samples.len(), 3);
        assert_eq!((samples[0].name.as_str(), samples[0].value), ("a_total", 3.0));
        assert_eq!((samples[1].label("x"), samples[1].label("y"), samples[1].value), ("1", "a\"b\\c\nd", 2500.0));
        assert_eq!(samples[1].label("none"), "");
        assert_eq!(samples[2].value, f64::INFINITY);
    }

    #[test]
    fn nonsense_is_an_error_with_its_line() {
        for nonsense in [
            "a",
            "a{",
            "a{x=1} 2",
            "a{x=\"1} 2",
            "a{x=\"\\q\"} 1",
            "1a 2",
            "a two",
            "a 1 x",
            "a 1 2 3",
            "{} 1",
            "a{é=\"1\"} 1",
        ] {
            let error = parse(&format!("# fine\n{nonsense}\n")).expect_err(nonsense);
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }
}
