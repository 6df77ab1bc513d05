//! Every setting for people: what `ringlog config` prints, as rows for a machine and as text.

use std::fmt::Write;

use super::key::{Key, Standing};
use super::keys::{BROKER_TABLES, TOPIC_TABLE};
use crate::limits::{Bound, LIMITS};

/// One setting as it is listed.
#[derive(Clone, Debug)]
pub struct Row {
    /// `Topic`, or the subject of a broker setting.
    pub subject: &'static str,
    pub name: &'static str,
    /// Kafka's word for the type.
    pub kind: &'static str,
    /// None: unset.
    pub default: Option<&'static str>,
    /// Empty: every value of the type.
    pub range: String,
    /// `read-only`, `per-broker`, `cluster-wide`; `topic` for topic settings.
    pub update: &'static str,
    /// `acts`, `no meaning` or `refused`.
    pub standing: &'static str,
    /// Why it does not act, or up to what; empty if it does.
    pub why: &'static str,
    pub meaning: &'static str,
}

/// Every broker setting by subject, then every topic setting.
pub fn rows() -> Vec<Row> {
    let brokers = BROKER_TABLES.iter().flat_map(|(subject, keys)| keys.iter().map(|key| (*subject, key)));
    let mut all: Vec<_> = brokers.map(|(subject, key)| row(subject, key, key.scope.name())).collect();
    all.extend(TOPIC_TABLE.iter().map(|key| row("Topic", key, "topic")));
    all
}

fn row(subject: &'static str, key: &'static Key, update: &'static str) -> Row {
    let (standing, why) = match key.standing {
        Standing::Acts => ("acts", ""),
        Standing::NoMeaning(why) => ("no meaning", why),
        Standing::Refused(why) => ("refused", why),
        Standing::OneOnly(why) => ("only 1", why),
    };
    Row {
        subject,
        name: key.name,
        kind: key.kind.name(),
        default: key.default,
        range: key.range(),
        update,
        standing,
        why,
        meaning: key.doc,
    }
}

impl Row {
    /// False for a setting that does nothing here.
    pub fn acts(&self) -> bool {
        matches!(self.standing, "acts" | "only 1")
    }
}

/// The settings that `keep` picks, as text.
pub fn text(keep: impl Fn(&Row) -> bool) -> String {
    let mut out = String::new();
    let mut subject = "";
    for row in rows().iter().filter(|row| keep(row)) {
        if row.subject != subject {
            subject = row.subject;
            let _ = writeln!(out, "{}{subject}", if out.is_empty() { "" } else { "\n" });
        }
        let default = match row.default {
            None => "unset",
            Some("") => "empty",
            Some(default) => default,
        };
        let _ = write!(out, "  {} = {default}  ({}", row.name, row.kind);
        if !row.range.is_empty() {
            let _ = write!(out, ": {}", row.range);
        }
        let _ = write!(out, "; {})\n      {}\n", row.update, row.meaning);
        if !row.why.is_empty() {
            let _ = writeln!(out, "      {}: {}.", row.standing, row.why);
        }
    }
    out
}

/// The table of limits as text.
pub fn limits_text() -> String {
    let mut out = String::new();
    for limit in LIMITS {
        let _ = match limit.bound {
            Bound::Fixed(value) => writeln!(out, "  {}: {value} {}; {}", limit.name, limit.unit, limit.at_bound),
            Bound::Setting(key) => writeln!(out, "  {}: {key}, {}; {}", limit.name, limit.unit, limit.at_bound),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_listed() {
        let all = rows();
        let text = text(|_| true);
        for row in &all {
            assert!(text.contains(&format!("  {} = ", row.name)), "{}", row.name);
            assert_eq!(row.why.is_empty(), row.standing == "acts", "{}", row.name);
        }
        assert_eq!(all.iter().filter(|row| row.subject == "Topic").count(), TOPIC_TABLE.len());
        let partitions = "  num.partitions = 1  (int: at least 1; read-only)\n      Partitions of a topic whose";
        assert!(text.contains(partitions));
    }

    #[test]
    fn what_does_nothing_can_be_left_out() {
        let text = text(Row::acts);
        assert!(text.contains("  retention.ms = 604800000  (long: at least -1; topic)\n"));
        assert!(!text.contains("num.io.threads"));
        assert_eq!(limits_text().lines().count(), LIMITS.len());
    }
}
