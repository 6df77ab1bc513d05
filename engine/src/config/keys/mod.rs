//! The tables of settings, by subject, and how to find one. Rows only; parsing is in `key`, effects elsewhere.

mod cluster;
mod groups;
mod log;
mod net;
mod ours;
mod remote;
mod removed;
mod security;
mod topic;

use super::key::Key;
pub(crate) use removed::{REMOVED, Removed};
pub(crate) use topic::SYNONYMS;

/// Every broker setting, by subject.
pub const BROKER_TABLES: &[(&str, &[Key])] = &[
    ("Ringlog", ours::KEYS),
    ("Network", net::KEYS),
    ("Log", log::KEYS),
    ("Groups and transactions", groups::KEYS),
    ("Cluster", cluster::KEYS),
    ("Remote storage", remote::KEYS),
    ("Security", security::KEYS),
];

/// Every topic setting.
pub const TOPIC_TABLE: &[Key] = topic::KEYS;

/// All broker settings in table order.
pub fn broker_keys() -> impl Iterator<Item = &'static Key> {
    BROKER_TABLES.iter().flat_map(|(_, keys)| keys.iter())
}

/// The broker setting of this name.
pub fn broker_key(name: &str) -> Option<&'static Key> {
    broker_keys().find(|key| key.name == name)
}

/// The topic setting of this name.
pub fn topic_key(name: &str) -> Option<&'static Key> {
    TOPIC_TABLE.iter().find(|key| key.name == name)
}

/// The broker settings this topic setting falls back to, nearest first.
pub(crate) fn synonyms(topic_key: &str) -> &'static [&'static str] {
    SYNONYMS.iter().find(|(name, _)| *name == topic_key).map_or(&[], |(_, names)| names)
}

/// The known broker setting spelled most like this one, if any is near.
pub fn nearest_broker_key(name: &str) -> Option<&'static str> {
    nearest(name, broker_keys())
}

/// The known topic setting spelled most like this one, if any is near.
pub fn nearest_topic_key(name: &str) -> Option<&'static str> {
    nearest(name, TOPIC_TABLE.iter())
}

fn nearest(name: &str, keys: impl Iterator<Item = &'static Key>) -> Option<&'static str> {
    const LONGEST: usize = 128;
    let name = &name.as_bytes()[..name.len().min(LONGEST)];
    let (distance, key) = keys.map(|key| (edit_distance(name, key.name.as_bytes()), key)).min_by_key(|(d, _)| *d)?;
    (distance * 2 <= name.len()).then_some(key.name)
}

/// Levenshtein distance: insertions, deletions and replacements of one byte each.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key::{Standing, Value};
    use std::collections::BTreeSet;

    #[test]
    fn every_setting_of_kafka_4_2_is_known_once() {
        let names: BTreeSet<_> = broker_keys().map(|key| key.name).collect();
        assert_eq!(names.len(), broker_keys().count(), "a broker key is listed twice");
        assert_eq!(names.iter().filter(|n| !n.starts_with("ringlog.")).count(), 341);
        let topics: BTreeSet<_> = TOPIC_TABLE.iter().map(|key| key.name).collect();
        assert_eq!(topics.len(), TOPIC_TABLE.len(), "a topic key is listed twice");
        assert_eq!(topics.iter().filter(|n| !n.starts_with("ringlog.")).count(), 34);
        for (removed, _) in REMOVED {
            assert!(!names.contains(removed), "{removed} is both known and removed");
        }
    }

    #[test]
    fn every_default_is_a_valid_value_that_would_not_be_refused() {
        for key in broker_keys().chain(TOPIC_TABLE) {
            assert!(!key.doc.is_empty(), "{}", key.name);
            if let Some(default) = key.default {
                key.parse(default).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(key.refusal(default), None, "{}", key.name);
            }
            if let Standing::OneOnly(_) = key.standing {
                assert_eq!(key.parse(key.default.unwrap()), Ok(Value::Int(1)), "{}", key.name);
            }
        }
    }

    #[test]
    fn synonyms_name_settings_of_the_same_type() {
        for (topic, brokers) in SYNONYMS {
            let key = topic_key(topic).unwrap_or_else(|| panic!("{topic} is no topic setting"));
            for name in *brokers {
                let broker = broker_key(name).unwrap_or_else(|| panic!("{name} is no broker setting"));
                if !name.ends_with(".hours") && !name.ends_with(".minutes") {
                    assert_eq!(key.kind, broker.kind, "{topic} and {name}");
                }
            }
        }
    }

    #[test]
    fn the_nearest_key_is_found_by_edits() {
        assert_eq!(edit_distance(b"kitten", b"sitting"), 3);
        assert_eq!(edit_distance(b"", b"abc"), 3);
        assert_eq!(nearest_broker_key("log.retension.ms"), Some("log.retention.ms"));
        assert_eq!(nearest_broker_key("num.partition"), Some("num.partitions"));
        assert_eq!(nearest_topic_key("retention.m"), Some("retention.ms"));
        assert_eq!(nearest_broker_key("zzzzzzzz"), None);
        assert_eq!(nearest_broker_key(&"é".repeat(500)), None);
    }
}
