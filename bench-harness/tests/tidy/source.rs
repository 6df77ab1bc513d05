//! Just enough of Rust's lexical rules to tell code from comments and texts, and to find where functions begin and end.
//! Not a parser: it trusts that what it reads compiles.

/// The source with comments, texts and character literals blanked out; every line keeps its place and length in characters.
pub(super) fn code_of(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment, text or character that begins at `at` ends; `at` itself if none does.
fn skip(chars: &[char], at: usize) -> usize {
    let next = |k: usize| chars.get(at + k).copied().unwrap_or('\0');
    match chars[at] {
        '/' if next(1) == '/' => at + chars[at..].iter().take_while(|c| **c != '\n').count(),
        '/' if next(1) == '*' => block_comment(chars, at),
        '"' => text(chars, at + 1),
        'r' if !in_word(chars, at) && matches!(next(1), '"' | '#') => raw_text(chars, at),
        // A lifetime has no second quote right after its first character; '\'' and '\\' begin with a backslash.
        '\'' if next(1) == '\\' => at + 3 + chars[at + 3..].iter().take_while(|c| **c != '\'').count() + 1,
        '\'' if next(2) == '\'' => at + 3,
        _ => at,
    }
}

/// `r` is part of a longer word, or follows the `b` of a byte text.
fn in_word(chars: &[char], at: usize) -> bool {
    let before = |k: usize| at.checked_sub(k).and_then(|k| chars.get(k)).copied().unwrap_or(' ');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let byte_text = before(1) == 'b' && !word(before(2));
    word(before(1)) && !byte_text
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut k) = (0, at);
    while k < chars.len() {
        match (chars[k], chars.get(k + 1)) {
            ('/', Some('*')) => (depth, k) = (depth + 1, k + 2),
            ('*', Some('/')) => (depth, k) = (depth - 1, k + 2),
            _ => k += 1,
        }
        if depth == 0 {
            break;
        }
    }
    k
}

fn text(chars: &[char], from: usize) -> usize {
    let mut k = from;
    while k < chars.len() && chars[k] != '"' {
        k += if chars[k] == '\\' { 2 } else { 1 };
    }
    (k + 1).min(chars.len())
}

fn raw_text(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let closes = |k: usize| chars[k] == '"' && chars[k + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    (open + 1..chars.len()).find(|k| closes(*k)).map_or(chars.len(), |k| k + 1 + hashes)
}

/// The words of some code: (line, word), lines from 1.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(k, line)| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).map(move |word| (k + 1, word))
    })
}

/// A function: its name, its first line, and its length from there to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) lines: usize,
}

/// Every function with a body. Attributes and documentation are not counted.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') {
            continue;
        }
        let rest = code[at + 3..].trim_start();
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(end) = end_of_body(bytes, at).filter(|_| !name.is_empty()) else { continue };
        let line = code[..at].matches('\n').count() + 1;
        found.push(Function { name, line, lines: code[at..end].matches('\n').count() + 1 });
    }
    found
}

/// Past the closing brace of the function that begins at `at`; `None` if it has no body.
fn end_of_body(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for (k, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => others += 1,
            b')' | b']' => others -= 1,
            b';' if braces == 0 && others == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(k + 1);
                }
            }
            _ => {}
        }
        if others < 0 || braces < 0 {
            return None;
        }
    }
    None
}

/// Names that a file defines: functions, types, traits, constants.
pub(super) fn defines(code: &str, name: &str) -> bool {
    let mut before = "";
    words(code).any(|(_, word)| {
        let defined = word == name
            && matches!(before, "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "mod" | "union");
        before = word;
        defined
    })
}

#[test]
fn only_code_is_left_of_a_source() {
    let source = "fn a<'b>() { // unsafe\n \"un\\\"safe {\" /* { /* } */ */ 'x' '{' '\\'' r#\"}\"\"#; br\"{\" }";
    let code = code_of(source);
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["fn", "a<'b>()", "{", ";", "b", "}"]);
    assert_eq!(code.len(), source.len());
    assert_eq!(words(&code).last(), Some((2, "b")));
}

#[test]
fn functions_are_measured() {
    let code = "trait T { fn none(&self) -> [u8; 2]; }\nfn one() {}\nimpl X {\n    pub fn three(\n        a: u8,\n    ) { if a { b } }\n}\n";
    let found: Vec<_> = functions(code).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(found, [("one".to_string(), 2, 1), ("three".to_string(), 4, 3)]);
    assert!(defines(code, "three") && defines(code, "T") && !defines(code, "X"));
}
