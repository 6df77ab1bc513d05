//! Java's `.properties` format, as `java.util.Properties.load` reads it. What the keys mean is not known here.

use super::{ConfigError, Values};

/// The settings a broker was started with: those of its file, then those given on the command line.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct ServerProperties {
    values: Values,
}

impl ServerProperties {
    /// What `ringlog start` without a file uses: this machine only, data beside the caller.
    pub fn without_file() -> ServerProperties {
        // The directory is that of `log.dir` by default, which an override of either name replaces.
        let (key, value) = ("listeners", "PLAINTEXT://127.0.0.1:9092");
        ServerProperties { values: Values::from([(key.to_string(), value.to_string())]) }
    }

    /// Reads a whole file. Of a key given twice, the last counts.
    pub fn parse(text: &str) -> Result<ServerProperties, Vec<ConfigError>> {
        let mut values = Values::new();
        let mut errors = Vec::new();
        let mut lines = text.split(['\n', '\r']).map(trim_start).enumerate();
        while let Some((number, line)) = lines.next() {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let mut logical = line.to_string();
            while ends_in_continuation(&logical) {
                logical.pop();
                match lines.next() {
                    Some((_, more)) => logical.push_str(more),
                    None => break,
                }
            }
            match split(&logical) {
                Ok((key, value)) => {
                    values.insert(key, value);
                }
                Err(reason) => errors.push(ConfigError::new(&format!("line {}", number + 1), reason)),
            }
        }
        if errors.is_empty() { Ok(ServerProperties { values }) } else { Err(errors) }
    }

    /// Applies one `--override key=value`; it wins over the file.
    pub fn set_override(&mut self, argument: &str) -> Result<(), ConfigError> {
        match argument.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                self.values.insert(key.trim().to_string(), value.trim().to_string());
                Ok(())
            }
            _ => Err(ConfigError::new(argument, "an override is written key=value")),
        }
    }

    /// Sets what neither the file nor an override says.
    pub fn set_default(&mut self, key: &str, value: &str) {
        self.values.entry(key.to_string()).or_insert_with(|| value.to_string());
    }

    pub fn values(&self) -> &Values {
        &self.values
    }
}

/// Java's white space in this format: space, tab, form feed.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

fn trim_start(line: &str) -> &str {
    line.trim_start_matches(is_blank)
}

/// An odd number of backslashes at the end: the last one is not itself escaped.
fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Key and value of a logical line: the key ends at the first unescaped `=`, `:` or blank.
fn split(line: &str) -> Result<(String, String), &'static str> {
    let mut escaped = false;
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        if !escaped && (matches!(c, '=' | ':') || is_blank(c)) {
            end = at;
            break;
        }
        escaped = !escaped && c == '\\';
    }
    let rest = trim_start(&line[end..]);
    let value = rest.strip_prefix(['=', ':']).map_or(rest, trim_start);
    Ok((unescape(&line[..end])?, unescape(value)?))
}

/// Replaces `\n`, `\t`, `\uXXXX` and the like; before any other character the backslash is dropped.
fn unescape(text: &str) -> Result<String, &'static str> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let mut pair = [0; 2];
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    units.push(hex(&mut chars)?);
                    continue;
                }
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => continue,
            },
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut pair));
    }
    String::from_utf16(&units).map_err(|_| "half of a surrogate pair stands alone")
}

fn hex(chars: &mut std::str::Chars<'_>) -> Result<u16, &'static str> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit =
            chars.next().and_then(|c| c.to_digit(16)).ok_or("\\u is not followed by four hexadecimal digits")?;
        unit = unit << 4 | digit as u16;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        ServerProperties::parse(text).unwrap().values.into_iter().collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn separators_comments_and_blanks() {
        let text = "# note\n! note\n\n  a=1\nb : 2\r\nc 3\n d\t=\t4 \ne\nf==5\n\\#g=6\na:b=7\n";
        let expected = [("#g", "6"), ("a", "b=7"), ("b", "2"), ("c", "3"), ("d", "4 "), ("e", ""), ("f", "=5")];
        assert_eq!(parsed(text), pairs(&expected));
    }

    #[test]
    fn continuation_lines_and_escapes() {
        let text = "a=x,\\\n    y,\\\n\tz\nb=1\\\\\nc\\ d\\=\\:=\\t\\u0041\\q\nlast=1\\";
        assert_eq!(parsed(text), pairs(&[("a", "x,y,z"), ("b", "1\\"), ("c d=:", "\tAq"), ("last", "1")]));
        assert_eq!(parsed("a=\\uD83D\\uDE00"), pairs(&[("a", "\u{1F600}")]));
    }

    #[test]
    fn a_comment_line_does_not_continue() {
        assert_eq!(parsed("# a \\\nb=1\n"), pairs(&[("b", "1")]));
    }

    #[test]
    fn broken_escapes_name_their_lines() {
        let errors = ServerProperties::parse("a=1\nb=\\u12\nc=\\uD800\n").unwrap_err();
        assert_eq!(errors.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["line 2", "line 3"]);
    }

    #[test]
    fn overrides_win() {
        let mut properties = ServerProperties::parse("num.partitions=1\n").unwrap();
        properties.set_override("num.partitions = 4").unwrap();
        properties.set_override("listeners=").unwrap();
        assert_eq!(properties.values()["num.partitions"], "4");
        assert_eq!(properties.values()["listeners"], "");
        properties.set_default("num.partitions", "9");
        properties.set_default("node.id", "9");
        assert_eq!(
            (properties.values()["num.partitions"].as_str(), properties.values()["node.id"].as_str()),
            ("4", "9")
        );
        assert!(properties.set_override("num.partitions").is_err());
        assert!(properties.set_override("=4").is_err());
    }

    /// What is written by Java's rules reads back, whatever the characters.
    #[test]
    fn written_pairs_read_back() {
        let alphabet = ['a', '=', ':', ' ', '\\', '#', '!', '\t', '\n', '\r', '\x0c', 'é', '😀', '1', '.', ','];
        let mut state = 7u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        for _ in 0..2000 {
            let mut word = |least: usize| {
                let length = least + draw(8);
                (0..length).map(|_| alphabet[draw(alphabet.len())]).collect::<String>()
            };
            let (key, value) = (word(1), word(0));
            let text = format!("{}={}\n", escaped(&key), escaped(&value));
            assert_eq!(parsed(&text), pairs(&[(&key, &value)]), "{text:?}");
        }
    }

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x0c' => out.push_str("\\f"),
                '=' | ':' | ' ' | '\\' | '#' | '!' => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
        out
    }

    #[test]
    fn any_text_is_read_or_refused() {
        let mut state = 11u64;
        for _ in 0..2000 {
            let text: String = (0..60)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    ['\\', 'u', '=', '\n', '\r', ' ', 'f', '0', '#', ':', 'é'][(state >> 33) as usize % 11]
                })
                .collect();
            if let Ok(properties) = ServerProperties::parse(&text) {
                assert!(properties.values.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() <= text.len());
            }
        }
    }
}
