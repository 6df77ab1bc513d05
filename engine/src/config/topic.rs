//! What is in force for one topic: its own settings, then the broker's under the names Kafka falls back to, then the
//! defaults. Resolves and checks; what the log does with it is the log's.

use super::key::{Key, Kind, Value};
use super::keys::{TOPIC_TABLE, synonyms, topic_key};
use super::{Layers, Notice, Source, Values};

/// Whose time a record carries (`message.timestamp.type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// The codec batches are stored with (`compression.type`), with its level where it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// As the producer sent them.
    Producer,
    Uncompressed,
    /// 1 to 9, or -1: the codec's default.
    Gzip(i32),
    Snappy,
    /// 1 to 17.
    Lz4(i32),
    /// -131072 to 22.
    Zstd(i32),
}

/// When a batch is acknowledged and visible (`ringlog.flush`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// Once it is flushed.
    Durable,
    /// Once it is written; the flush comes later.
    Relaxed,
}

/// The settings of one topic that act, typed. Plain data: each core holds one for every topic it has partitions of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicConfig {
    /// Bytes; 1 MiB or more.
    pub segment_bytes: u32,
    pub segment_ms: u64,
    /// Most milliseconds taken off `segment_ms`.
    pub segment_jitter_ms: u64,
    /// None: no bound.
    pub retention_ms: Option<u64>,
    /// None: no bound. Zero keeps only the active segment.
    pub retention_bytes: Option<u64>,
    /// Largest batch as compressed, bytes, its 61-byte header included.
    pub max_message_bytes: u32,
    pub timestamp_type: TimestampType,
    /// How far behind the clock a timestamp may lie, ms; `i64::MAX`: any.
    pub timestamp_before_max_ms: i64,
    /// How far ahead of the clock a timestamp may lie, ms.
    pub timestamp_after_max_ms: i64,
    pub compression: Compression,
    /// `cleanup.policy` has `delete`.
    pub delete: bool,
    /// `cleanup.policy` has `compact`: records need keys. Nothing is compacted yet.
    pub compact: bool,
    /// More than the one copy there is: every acks=all batch is refused with NOT_ENOUGH_REPLICAS.
    pub min_insync_replicas: i32,
    pub file_delete_delay_ms: u64,
    /// Bytes of log between two index entries; 0: an entry a batch.
    pub index_interval_bytes: u32,
    pub flush: Flush,
}

/// A value in force, and where it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// In the unit of the topic setting. None: unset.
    pub(crate) text: Option<String>,
    pub(crate) source: Source,
}

/// The value of a topic setting in force.
pub(crate) fn find(key: &'static Key, overrides: &Values, layers: &Layers) -> Found {
    if let Some(text) = overrides.get(key.name).filter(|text| key.parse(text).is_ok()) {
        return Found { text: Some(text.trim().to_string()), source: Source::DynamicTopic };
    }
    match layers.first(synonyms(key.name)) {
        Some((name, text, source)) => Found { text: Some(convert(name, text)), source },
        None => Found { text: key.default.map(str::to_string), source: Source::Default },
    }
}

/// A broker value in the unit of the topic setting: hours and minutes become milliseconds, any negative time "none".
fn convert(broker_key: &str, text: &str) -> String {
    let scale = match broker_key {
        name if name.ends_with(".hours") => 3_600_000,
        name if name.ends_with(".minutes") => 60_000,
        "log.retention.ms" => 1,
        _ => return text.to_string(),
    };
    match text.parse::<i64>() {
        Ok(number) if number < 0 => "-1".to_string(),
        Ok(number) => number.saturating_mul(scale).to_string(),
        Err(_) => text.to_string(),
    }
}

impl TopicConfig {
    /// What is in force for a topic with these settings of its own.
    pub fn resolve(overrides: &Values, layers: &Layers) -> TopicConfig {
        let value = |name: &str| {
            let key = topic_key(name).unwrap_or_else(|| panic!("{name} is not in the table of topic settings"));
            let parsed = find(key, overrides, layers).text.and_then(|text| key.parse(&text).ok());
            let default = || key.default.and_then(|text| key.parse(text).ok());
            parsed.or_else(default).unwrap_or_else(|| panic!("{name} has no usable default"))
        };
        let int = |name: &str| match value(name) {
            Value::Int(number) => number,
            other => panic!("{name} is a number in its table, not {other:?}"),
        };
        let word = |name: &str| match value(name) {
            Value::Text(word) => word,
            other => panic!("{name} is a word in its table, not {other:?}"),
        };
        let unsigned = |name: &str| u64::try_from(int(name)).unwrap_or(0);
        let small = |name: &str| u32::try_from(int(name)).unwrap_or(0);
        let policy = match value("cleanup.policy") {
            Value::List(words) => words,
            other => panic!("cleanup.policy is a list in its table, not {other:?}"),
        };
        TopicConfig {
            segment_bytes: small("segment.bytes"),
            segment_ms: unsigned("segment.ms"),
            segment_jitter_ms: unsigned("segment.jitter.ms"),
            retention_ms: u64::try_from(int("retention.ms")).ok(),
            retention_bytes: u64::try_from(int("retention.bytes")).ok(),
            max_message_bytes: small("max.message.bytes"),
            timestamp_type: match word("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: int("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: int("message.timestamp.after.max.ms"),
            compression: compression(&word("compression.type"), |name| int(name) as i32),
            delete: policy.iter().any(|word| word == "delete"),
            compact: policy.iter().any(|word| word == "compact"),
            min_insync_replicas: int("min.insync.replicas") as i32,
            file_delete_delay_ms: unsigned("file.delete.delay.ms"),
            index_interval_bytes: small("index.interval.bytes"),
            flush: if word("ringlog.flush") == "relaxed" { Flush::Relaxed } else { Flush::Durable },
        }
    }
}

fn compression(codec: &str, level: impl Fn(&str) -> i32) -> Compression {
    match codec {
        "uncompressed" => Compression::Uncompressed,
        "gzip" => Compression::Gzip(level("compression.gzip.level")),
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4(level("compression.lz4.level")),
        "zstd" => Compression::Zstd(level("compression.zstd.level")),
        _ => Compression::Producer,
    }
}

/// Whether these may be a topic's own settings. The error text is Kafka's; its code is INVALID_CONFIG.
pub fn validate(overrides: &Values, layers: &Layers) -> Result<(), String> {
    for (name, text) in overrides {
        let key = topic_key(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
        key.parse(text).map_err(|invalid| invalid.to_string())?;
        if key.name == "remote.storage.enable" && key.refusal(text).is_some() {
            return Err("Tiered Storage functionality is disabled in the broker. \
                        Topic cannot be configured with remote log storage."
                .to_string());
        }
    }
    let lag = |name: &str| match topic_key(name).map(|key| (key, find(key, overrides, layers))) {
        Some((key, Found { text: Some(text), .. })) => match key.parse(&text) {
            Ok(Value::Int(number)) => number,
            _ => 0,
        },
        _ => 0,
    };
    let (min, max) = (lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"));
    if min > max {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        ));
    }
    Ok(())
}

/// What a person who set these should know: settings that do nothing here, and why.
pub fn notices(overrides: &Values) -> Vec<Notice> {
    let mut notices = Vec::new();
    for (name, text) in overrides {
        match topic_key(name).map(|key| (key, key.standing)) {
            Some((_, super::key::Standing::NoMeaning(why))) => notices.push(Notice::new(name, why)),
            Some((key, _)) if key.name == "cleanup.policy" && text.contains("compact") => {
                notices.push(Notice::new(name, super::key::why::COMPACTION));
            }
            _ => {}
        }
    }
    notices
}

/// The topic settings that are lists, for APPEND and SUBTRACT.
pub(crate) fn is_list(name: &str) -> bool {
    TOPIC_TABLE.iter().any(|key| key.name == name && key.kind == Kind::List)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn defaults_are_kafkas() {
        let config = TopicConfig::resolve(&Values::new(), &Layers::default());
        assert_eq!(
            config,
            TopicConfig {
                segment_bytes: 1 << 30,
                segment_ms: 604_800_000,
                segment_jitter_ms: 0,
                retention_ms: Some(604_800_000),
                retention_bytes: None,
                max_message_bytes: 1_048_588,
                timestamp_type: TimestampType::CreateTime,
                timestamp_before_max_ms: i64::MAX,
                timestamp_after_max_ms: 3_600_000,
                compression: Compression::Producer,
                delete: true,
                compact: false,
                min_insync_replicas: 1,
                file_delete_delay_ms: 60_000,
                index_interval_bytes: 4096,
                flush: Flush::Durable,
            }
        );
    }

    #[test]
    fn the_nearest_layer_wins_and_finer_units_win_within_it() {
        let mut layers = Layers::default();
        let retention = |layers: &Layers, own: &[(&str, &str)]| TopicConfig::resolve(&values(own), layers).retention_ms;
        layers.fixed = values(&[("log.retention.hours", "2")]);
        assert_eq!(retention(&layers, &[]), Some(7_200_000));
        layers.fixed = values(&[("log.retention.hours", "2"), ("log.retention.minutes", "3")]);
        assert_eq!(retention(&layers, &[]), Some(180_000));
        layers.fixed.insert("log.retention.ms".into(), "7".into());
        assert_eq!(retention(&layers, &[]), Some(7));
        layers.cluster = values(&[("log.retention.ms", "8")]);
        assert_eq!(retention(&layers, &[]), Some(8));
        layers.broker = values(&[("log.retention.ms", "-1")]);
        assert_eq!(retention(&layers, &[]), None);
        assert_eq!(retention(&layers, &[("retention.ms", "9")]), Some(9));
    }

    #[test]
    fn a_stored_value_that_is_no_longer_valid_is_passed_over() {
        let layers = Layers { cluster: values(&[("log.segment.bytes", "9")]), ..Layers::default() };
        assert_eq!(TopicConfig::resolve(&values(&[("segment.bytes", "x")]), &layers).segment_bytes, 1 << 30);
    }

    #[test]
    fn codecs_and_their_levels() {
        let codec = |pairs: &[(&str, &str)]| TopicConfig::resolve(&values(pairs), &Layers::default()).compression;
        assert_eq!(codec(&[("compression.type", "gzip")]), Compression::Gzip(-1));
        assert_eq!(codec(&[("compression.type", "zstd"), ("compression.zstd.level", "-5")]), Compression::Zstd(-5));
        assert_eq!(codec(&[("compression.type", "lz4")]), Compression::Lz4(9));
        assert_eq!(codec(&[("compression.type", "snappy")]), Compression::Snappy);
        assert_eq!(codec(&[("compression.type", "uncompressed")]), Compression::Uncompressed);
    }

    #[test]
    fn what_kafka_refuses_is_refused_in_its_words() {
        let error = |pairs: &[(&str, &str)]| validate(&values(pairs), &Layers::default()).unwrap_err();
        assert_eq!(error(&[("foo", "1")]), "Unknown topic config name: foo");
        assert_eq!(error(&[("log.retention.ms", "1")]), "Unknown topic config name: log.retention.ms");
        assert_eq!(
            error(&[("min.compaction.lag.ms", "20"), ("max.compaction.lag.ms", "10")]),
            "conflict topic config setting min.compaction.lag.ms (20) > max.compaction.lag.ms (10)"
        );
        assert!(error(&[("remote.storage.enable", "true")]).starts_with("Tiered Storage functionality is disabled"));
        let fine = values(&[("remote.storage.enable", "false"), ("min.insync.replicas", "2"), ("cleanup.policy", "")]);
        assert_eq!(validate(&fine, &Layers::default()), Ok(()));
    }

    #[test]
    fn what_does_nothing_is_told() {
        let told = notices(&values(&[("cleanup.policy", "compact"), ("flush.ms", "1"), ("retention.ms", "1")]));
        assert_eq!(told.iter().map(|n| n.key.as_str()).collect::<Vec<_>>(), ["cleanup.policy", "flush.ms"]);
    }
}
