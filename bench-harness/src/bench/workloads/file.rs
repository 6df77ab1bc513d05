//! Workloads as TOML. Every error names the file, the line, the field, and what may stand there.

use super::ranges;
use crate::bench::Failure;
use crate::bench::workload::Workload;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// Reads and checks a workload; `name` is what its text is called in errors.
pub fn parse(name: &str, text: &str) -> Result<Workload, Failure> {
    let tree =
        DeTable::parse(text).map_err(|e| Failure(format!("{name}:{}: {}", line(text, e.span()), one(e.message()))))?;
    let workload: Workload = toml::from_str(text).map_err(|e| {
        let field = e.span().filter(|span| !span.is_empty()).and_then(|span| field_at(tree.get_ref(), &span));
        Failure(format!("{name}:{}: {}", line(text, e.span()), explained(field.as_deref(), e.message())))
    })?;
    let place = |path: &str| {
        let span = key_span(tree.get_ref(), path);
        format!("{name}:{}", line(text, span))
    };
    let kept = table(&workload)?;
    if let Some(lost) = first_lost(tree.get_ref(), &kept, "") {
        return Err(Failure(format!("{}: {lost} has no meaning beside the other fields there", place(&lost))));
    }
    match ranges::faults(&workload).first() {
        Some(fault) => Err(Failure(format!("{}: {fault}", place(fault.field)))),
        None => Ok(workload),
    }
}

/// The same workload with fields set, each as `a.b=VALUE` with a TOML value; bare words are text.
pub fn with(workload: &Workload, set: &[String]) -> Result<Workload, Failure> {
    let mut whole = table(workload)?;
    for pair in set {
        let (path, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure(format!("--set {pair}: a field, =, and a value, such as producers.rate=5000")))?;
        let value = value_of(value.trim());
        let mut inside = &mut whole;
        let mut parts = path.trim().split('.').peekable();
        while let Some(part) = parts.next() {
            // The name of a topic setting has dots of its own.
            let rest: Vec<&str> = parts.clone().collect();
            if path.starts_with("topics.config.") && part == "config" {
                let name = rest.join(".");
                let inner = inside.entry(part).or_insert_with(|| Value::Table(Table::new()));
                inner.as_table_mut().expect("settings are a table").insert(name, Value::String(text_of(&value)));
                break;
            }
            if rest.is_empty() {
                inside.insert(part.to_string(), value.clone());
                break;
            }
            inside = inside
                .entry(part)
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
                .ok_or_else(|| Failure(format!("--set {pair}: {part} has no fields")))?;
        }
    }
    let text = toml::to_string(&whole).map_err(|e| Failure::because("--set", e))?;
    parse("--set", &text).map_err(|Failure(why)| {
        // Lines of a text that nobody has seen say nothing.
        let why = why.split_once(": ").map_or(why.as_str(), |(_, rest)| rest);
        Failure(format!("--set {}: {why}", set.join(" --set ")))
    })
}

fn table(workload: &Workload) -> Result<Table, Failure> {
    Table::try_from(workload).map_err(|e| Failure::because("a workload as TOML", e))
}

fn value_of(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("v = {text}")).ok().and_then(|mut t| t.remove("v"));
    parsed.unwrap_or_else(|| Value::String(text.to_string()))
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// A message on one line.
fn one(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// An error's message with its field; the messages of choices between forms say nothing by themselves.
fn explained(field: Option<&str>, message: &str) -> String {
    let Some(field) = field else { return one(message) };
    let forms = match field {
        "records.size" => "bytes (1024), or { from = 100, to = 2000 }, or [[100, 0.9], [4000, 0.1]] with weights",
        _ => return format!("{field}: {}", one(message)),
    };
    format!("{field}: one of these: {forms}")
}

/// The line, from 1, in which a span of the text begins.
fn line(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    let start = span.map_or(0, |s| s.start.min(text.len()));
    1 + text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count()
}

/// The deepest field whose key or value holds the span.
fn field_at(table: &DeTable<'_>, span: &std::ops::Range<usize>) -> Option<String> {
    for (key, value) in table {
        let holds = |s: std::ops::Range<usize>| s.start <= span.start && span.end <= s.end;
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(deeper) = field_at(inner, span)
        {
            return Some(format!("{}.{deeper}", key.get_ref()));
        }
        // The span of a table is its header; what is wrong with a whole table is told of it.
        if holds(key.span()) || (holds(value.span()) && !value.span().is_empty()) {
            return Some(key.get_ref().to_string());
        }
    }
    None
}

/// Where a field's key stands, or that of the nearest table around it.
fn key_span(table: &DeTable<'_>, path: &str) -> Option<std::ops::Range<usize>> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let (key, value): (&Spanned<_>, &Spanned<DeValue<'_>>) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    match value.get_ref() {
        DeValue::Table(inner) if !rest.is_empty() => key_span(inner, rest).or(Some(key.span())),
        _ => Some(key.span()),
    }
}

/// A field of the text that the workload does not have: in choices between forms a name that is too much is not an error by itself.
fn first_lost(written: &DeTable<'_>, kept: &Table, prefix: &str) -> Option<String> {
    written.iter().find_map(|(key, value)| {
        let name = key.get_ref().as_ref();
        let path = format!("{prefix}{name}");
        match (value.get_ref(), kept.get(name)) {
            (_, None) => Some(path),
            (DeValue::Table(inner), Some(Value::Table(kept))) => first_lost(inner, kept, &format!("{path}.")),
            _ => None,
        }
    })
}
