//! How a consumed record is printed: kcat's `--format` language, or one JSON object a line. Not how it is fetched.

use serde_json::{Value, json};

use super::records::Record;

/// One piece of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Offset,
    Partition,
    Topic,
    Timestamp,
    Key,
    KeyLength,
    Value,
    ValueLength,
    Headers,
}

/// A parsed format; see `HELP` for the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format(Vec<Piece>);

pub(super) const HELP: &str = "\
%t topic, %p partition, %o offset, %T timestamp in ms, %k key, %v (or %s) value, %K and %S their lengths (-1: null), \
%h headers as name=value,...; %% a percent sign; \\n \\r \\t \\\\ \\0 \\xHH as in C";

impl Format {
    pub(super) fn parse(text: &str) -> Result<Format, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let piece = match c {
                '%' => match chars.next() {
                    Some('o') => Piece::Offset,
                    Some('p') => Piece::Partition,
                    Some('t') => Piece::Topic,
                    Some('T') => Piece::Timestamp,
                    Some('k') => Piece::Key,
                    Some('K') => Piece::KeyLength,
                    Some('v' | 's') => Piece::Value,
                    Some('S') => Piece::ValueLength,
                    Some('h') => Piece::Headers,
                    Some('%') => {
                        literal.push(b'%');
                        continue;
                    }
                    Some(other) => return Err(format!("%{other} is not known; there are {HELP}")),
                    None => return Err(format!("a lone % at the end; there are {HELP}")),
                },
                '\\' => {
                    literal.push(escape(&mut chars)?);
                    continue;
                }
                other => {
                    literal.extend(other.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Format(pieces))
    }

    pub(super) fn write(&self, topic: &str, partition: i32, record: &Record, out: &mut Vec<u8>) {
        let number = |n: i64, out: &mut Vec<u8>| out.extend(n.to_string().as_bytes());
        let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(-1, |b| b.len() as i64);
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend(bytes),
                Piece::Offset => number(record.offset, out),
                Piece::Partition => number(i64::from(partition), out),
                Piece::Topic => out.extend(topic.as_bytes()),
                Piece::Timestamp => number(record.timestamp, out),
                Piece::Key => out.extend(record.key.iter().flatten()),
                Piece::KeyLength => number(length(&record.key), out),
                Piece::Value => out.extend(record.value.iter().flatten()),
                Piece::ValueLength => number(length(&record.value), out),
                Piece::Headers => write_headers(record, out),
            }
        }
    }
}

/// Null header values are told from empty ones as kcat does: `name=NULL`.
fn write_headers(record: &Record, out: &mut Vec<u8>) {
    for (i, (name, value)) in record.headers.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend(name.as_bytes());
        out.push(b'=');
        out.extend(value.as_deref().unwrap_or(b"NULL"));
    }
}

/// What follows a backslash.
fn escape(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = chars.take(2).collect();
            let valid = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| valid);
            byte.ok_or_else(|| "\\x takes two hexadecimal digits".to_string())
        }
        Some(other) => Err(format!("\\{other} is not known; there are \\n \\r \\t \\\\ \\0 \\xHH")),
        None => Err("a lone backslash at the end; write \\\\".to_string()),
    }
}

/// A separator on the command line: text with the same escapes as a format.
pub(super) fn separator(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => bytes.push(escape(&mut chars)?),
            other => bytes.extend(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if bytes.is_empty() { Err("it must not be empty".to_string()) } else { Ok(bytes) }
}

/// One record as JSON. Bytes that are not UTF-8 become `{"base64": "..."}`, so that nothing is lost.
pub(super) fn to_json(topic: &str, partition: i32, record: &Record) -> Value {
    let headers: Vec<Value> =
        record.headers.iter().map(|(name, value)| json!([name, bytes_to_json(value.as_deref())])).collect();
    json!({
        "topic": topic,
        "partition": partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "headers": headers,
        "key": bytes_to_json(record.key.as_deref()),
        "value": bytes_to_json(record.value.as_deref()),
    })
}

fn bytes_to_json(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|b| (b, std::str::from_utf8(b))) {
        None => Value::Null,
        Some((_, Ok(text))) => json!(text),
        Some((bytes, Err(_))) => json!({ "base64": base64(bytes) }),
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0u8; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for k in 0..4 {
            let digit = BASE64[(bits >> (18 - 6 * k)) as usize & 63] as char;
            text.push(if k <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for byte in digits.bytes() {
        bits = (bits << 6) | BASE64.iter().position(|c| *c == byte)? as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0 && digits.len() % 4 != 1).then_some(bytes)
}

/// The reverse of `to_json`: what `ringlog produce --json` reads. Only `value` has to be there.
pub(super) fn from_json(line: &[u8]) -> Result<Record, String> {
    let value: Value = serde_json::from_slice(line).map_err(|e| format!("not JSON: {e}"))?;
    let object = value.as_object().ok_or("not a JSON object")?;
    let field = |name: &str| object.get(name).unwrap_or(&Value::Null);
    if !object.contains_key("value") {
        return Err("there is no \"value\"; write null for a tombstone".to_string());
    }
    let mut headers = Vec::new();
    for header in field("headers").as_array().into_iter().flatten() {
        let Some([Value::String(name), value]) = header.as_array().map(Vec::as_slice) else {
            return Err("a header is a pair: [\"name\", value]".to_string());
        };
        headers.push((name.clone(), bytes_from_json(value)?));
    }
    Ok(Record {
        offset: 0,
        timestamp: field("timestamp").as_i64().unwrap_or(-1),
        key: bytes_from_json(field("key"))?,
        value: bytes_from_json(field("value"))?,
        headers,
    })
}

fn bytes_from_json(value: &Value) -> Result<Option<bytes::Bytes>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone().into())),
        Value::Object(fields) => {
            let bytes = fields.get("base64").and_then(Value::as_str).and_then(from_base64);
            Ok(Some(bytes.ok_or("bytes are a string or {\"base64\": \"...\"}")?.into()))
        }
        other => Ok(Some(other.to_string().into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            offset: 42,
            timestamp: 1_700_000_000_123,
            key: Some("k".into()),
            value: None,
            headers: vec![("a".to_string(), Some("1".into())), ("b".to_string(), None)],
        }
    }

    fn rendered(format: &str) -> String {
        let mut out = Vec::new();
        Format::parse(format).unwrap().write("orders", 3, &record(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_token_prints_its_field() {
        assert_eq!(rendered("%t[%p]@%o %T\\n"), "orders[3]@42 1700000000123\n");
        assert_eq!(rendered("%k/%K %v/%S|%s"), "k/1 /-1|");
        assert_eq!(rendered("%h é 100%%\\t\\x41\\\\"), "a=1,b=NULL é 100%\tA\\");
        assert_eq!(rendered(""), "");
    }

    #[test]
    fn a_wrong_format_is_refused() {
        for format in ["%q", "100%", "\\q", "\\", "\\x4", "\\x+1"] {
            assert!(Format::parse(format).is_err(), "{format}");
        }
        assert_eq!(separator("\\t"), Ok(b"\t".to_vec()));
        assert!(separator("").is_err());
    }

    #[test]
    fn json_lines_carry_any_bytes_there_and_back() {
        for length in 0..9u8 {
            let mut sent = record();
            sent.value = Some((0..length).map(|i| 0xff - i).collect());
            let line = to_json("orders", 3, &sent).to_string();
            let mut back = from_json(line.as_bytes()).unwrap();
            back.offset = sent.offset;
            assert_eq!(back, sent);
        }
        assert_eq!(base64(b"\xffab"), "/2Fi");
        assert_eq!(base64(b"\xff"), "/w==");
        assert_eq!(from_base64("/w="), Some(vec![0xff]));
        assert_eq!(from_base64("/x=="), None);
        assert_eq!(from_base64("/"), None);
    }

    #[test]
    fn json_that_is_no_record_is_refused() {
        for line in ["", "[]", "{}", "{\"value\":{\"hex\":\"00\"}}", "{\"value\":1,\"headers\":[[\"a\"]]}"] {
            assert!(from_json(line.as_bytes()).is_err(), "{line}");
        }
        assert_eq!(from_json(b"{\"value\":7}").unwrap().value.as_deref(), Some(&b"7"[..]));
    }
}
