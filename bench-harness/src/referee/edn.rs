//! As much of EDN, Clojure's notation, as a Jepsen history is written in.

use std::fmt;

/// How deep values may lie within one another.
const DEPTH: u32 = 64;

#[derive(Clone, PartialEq, Debug)]
pub enum Edn {
    Nil,
    Int(i64),
    Text(String),
    Keyword(String),
    /// A symbol, and numbers that are no integers.
    Symbol(String),
    /// A vector, a list or a set.
    List(Vec<Edn>),
    Map(Vec<(Edn, Edn)>),
}

impl Edn {
    /// The value of a keyword in a map.
    pub fn get(&self, key: &str) -> Option<&Edn> {
        let Edn::Map(pairs) = self else { return None };
        pairs.iter().find(|(k, _)| matches!(k, Edn::Keyword(name) if name == key)).map(|(_, value)| value)
    }

    pub fn list(&self) -> &[Edn] {
        match self {
            Edn::List(items) => items,
            _ => &[],
        }
    }

    pub fn int(&self) -> Option<i64> {
        match self {
            Edn::Int(n) => Some(*n),
            _ => None,
        }
    }

    pub fn keyword(&self) -> Option<&str> {
        match self {
            Edn::Keyword(name) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Edn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Edn::Nil => f.write_str("nil"),
            Edn::Int(n) => write!(f, "{n}"),
            Edn::Text(text) => write!(f, "{text:?}"),
            Edn::Keyword(name) => write!(f, ":{name}"),
            Edn::Symbol(name) => f.write_str(name),
            Edn::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { " " })?;
                }
                f.write_str("]")
            }
            Edn::Map(pairs) => {
                f.write_str("{")?;
                for (at, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key} {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Every value of a text.
pub fn read(text: &str) -> Result<Vec<Edn>, String> {
    let mut reader = Reader { text: text.as_bytes(), at: 0 };
    let mut found = Vec::new();
    while reader.peek().is_some() {
        found.push(reader.value(0)?);
    }
    Ok(found)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn wrong<T>(&self, what: &str) -> Result<T, String> {
        let line = 1 + self.text[..self.at.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count();
        Err(format!("line {line}: {what}"))
    }

    /// The next byte that is no space, comma or comment.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at)? {
                byte if byte.is_ascii_whitespace() || *byte == b',' => self.at += 1,
                b';' => {
                    while self.text.get(self.at).is_some_and(|byte| *byte != b'\n') {
                        self.at += 1;
                    }
                }
                byte => return Some(*byte),
            }
        }
    }

    fn value(&mut self, depth: u32) -> Result<Edn, String> {
        if depth > DEPTH {
            return self.wrong("too deep");
        }
        match self.peek() {
            None => self.wrong("the text ends within a value"),
            Some(b'[') => self.list(b']', depth),
            Some(b'(') => self.list(b')', depth),
            Some(b'{') => {
                let Edn::List(items) = self.list(b'}', depth)? else { return self.wrong("no map") };
                if items.len() % 2 == 1 {
                    return self.wrong("a key without a value");
                }
                let mut items = items.into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Ok(Edn::Map(pairs))
            }
            Some(b'#') if self.text.get(self.at + 1) == Some(&b'{') => {
                self.at += 1;
                self.list(b'}', depth)
            }
            // A tag says how to see the value behind it; for a history that does not matter.
            Some(b'#') => {
                self.at += 1;
                self.word();
                self.value(depth + 1)
            }
            Some(b'"') => self.text(),
            Some(b']' | b')' | b'}') => self.wrong("a bracket that was not opened"),
            Some(_) => Ok(self.atom()),
        }
    }

    fn list(&mut self, end: u8, depth: u32) -> Result<Edn, String> {
        self.at += 1;
        let mut items = Vec::new();
        while self.peek() != Some(end) {
            items.push(self.value(depth + 1)?);
        }
        self.at += 1;
        Ok(Edn::List(items))
    }

    fn text(&mut self) -> Result<Edn, String> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            match self.text.get(self.at) {
                None => return self.wrong("a text without end"),
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    bytes.push(match self.text.get(self.at) {
                        Some(b'n') => b'\n',
                        Some(b't') => b'\t',
                        Some(other) => *other,
                        None => return self.wrong("a text without end"),
                    });
                }
                Some(byte) => bytes.push(*byte),
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(Edn::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn word(&mut self) -> String {
        let from = self.at;
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b",;[](){}\"".contains(byte);
        while self.text.get(self.at).is_some_and(|byte| !ends(byte)) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[from..self.at]).into_owned()
    }

    fn atom(&mut self) -> Edn {
        let word = self.word();
        if let Some(name) = word.strip_prefix(':') {
            return Edn::Keyword(name.to_string());
        }
        match (word.as_str(), word.trim_end_matches('N').parse()) {
            ("nil", _) => Edn::Nil,
            (_, Ok(n)) => Edn::Int(n),
            _ => Edn::Symbol(word),
        }
    }
}
