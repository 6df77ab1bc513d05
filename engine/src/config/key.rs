//! What a setting is: its name, type, default, range, when it can change, and whether anything here heeds it.
//!
//! Parsing and its error texts are Kafka's (`ConfigDef`). The rows are in `keys`, their effects elsewhere.

use std::fmt;

/// Kafka's types, with the numbers DescribeConfigs sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl Kind {
    /// The number on the wire (KIP-569).
    pub const fn code(self) -> i8 {
        self as i8
    }

    /// Kafka's word for it in the documentation of settings.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::String => "string",
            Kind::Int => "int",
            Kind::Short => "short",
            Kind::Long => "long",
            Kind::Double => "double",
            Kind::List => "list",
            Kind::Class => "class",
            Kind::Password => "password",
        }
    }
}

/// When a broker setting can change (KIP-226).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Only by a restart.
    ReadOnly,
    /// While running, for one broker.
    PerBroker,
    /// While running, for one broker or as the default of all.
    ClusterWide,
}

impl Scope {
    /// Kafka's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::ReadOnly => "read-only",
            Scope::PerBroker => "per-broker",
            Scope::ClusterWide => "cluster-wide",
        }
    }
}

/// Whether anything here heeds the setting. The text says why not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The feature behind it is here.
    Acts,
    /// Accepted with a notice: any value leaves what is promised to clients as it is.
    NoMeaning(&'static str),
    /// Promises what is not here. Only the default is accepted.
    Refused(&'static str),
    /// A number of copies: one is what a single node has, more is a promise that it cannot keep.
    OneOnly(&'static str),
}

/// Which values are allowed beyond the type.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Valid {
    Any,
    /// Both ends included.
    Between(i64, i64),
    /// From 0 to this, both included.
    Ratio(f64),
    /// One of these words; of a list, each element.
    OneOf(&'static [&'static str]),
    /// The same, upper or lower case.
    AnyCase(&'static [&'static str]),
    NonEmpty,
    /// 1 to 9, or -1 for the codec's default.
    GzipLevel,
    /// `*` or `partition:broker,...`.
    Throttled,
    /// CPU numbers and ranges, such as `0,2-3`.
    Cpus,
}

/// At least this.
pub(crate) const fn at_least(min: i64) -> Valid {
    Valid::Between(min, i64::MAX)
}

/// From `min` to `max`, both included.
pub(crate) const fn between(min: i64, max: i64) -> Valid {
    Valid::Between(min, max)
}

/// One setting. A `'static` row of a table; any core may read it.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// None: unset, which Kafka shows as null.
    pub default: Option<&'static str>,
    pub valid: Valid,
    pub scope: Scope,
    pub standing: Standing,
    pub doc: &'static str,
}

/// Declares a table: name, type, default, range, scope, standing, documentation.
macro_rules! keys {
    ($($name:literal, $kind:expr, $default:expr, $valid:expr, $scope:expr, $standing:expr, $doc:literal;)*) => {
        pub(crate) const KEYS: &[Key] = &[$(Key {
            name: $name,
            kind: $kind,
            default: $default,
            valid: $valid,
            scope: $scope,
            standing: $standing,
            doc: $doc,
        }),*];
    };
}
pub(crate) use keys;

/// Why a setting has no meaning here, or is refused. Each completes "NAME: ...".
pub(crate) mod why {
    pub(crate) const AT_ONCE: &str = "nothing waits at start: logs serve as soon as they are recovered";
    pub(crate) const CHECKPOINT: &str = "checkpoints are written with the journal, not by a clock";
    pub(crate) const CLASSIC: &str = "only the classic group protocol is offered yet";
    pub(crate) const COMMIT: &str =
        "a commit waits for no replica: it is answered when it is flushed, or when its log directory failed";
    pub(crate) const COMPACTION: &str = "nothing is compacted yet; compacted topics keep everything";
    pub(crate) const FLUSH: &str =
        "every acknowledged batch of a durable topic is flushed already; `ringlog.flush` decides per topic";
    pub(crate) const INDEX: &str = "indexes grow as needed";
    pub(crate) const INTERNAL: &str = "meant for Kafka's own tests";
    pub(crate) const LOAD: &str = "groups are loaded with the log's own reads";
    pub(crate) const METADATA: &str = "the metadata log keeps itself small: a snapshot, and what came after it";
    pub(crate) const METRICS: &str = "metrics are not reported through Kafka's reporter classes";
    pub(crate) const NEW_GROUPS: &str = "the broker-side consumer group protocol (KIP-848) is not offered yet";
    pub(crate) const ONE_COPY: &str = "one node keeps one copy: there are no replicas to copy, choose or move";
    pub(crate) const ONE_FLUSH: &str = "what a turn gathers is written and flushed at once";
    pub(crate) const PLAIN: &str = "the offsets topic is stored uncompressed";
    pub(crate) const PLUGIN: &str = "Java classes cannot be loaded, so what this one guards would go unguarded";
    pub(crate) const PROVIDERS: &str = "values are taken as they are written; nothing replaces `${...}` in them";
    pub(crate) const PURGATORY: &str = "waiting requests are dropped when they end; there is nothing to purge";
    pub(crate) const QUEUE: &str = "there is no request queue; the `ringlog.inflight.` settings bound what waits";
    pub(crate) const QUORUM: &str = "one node needs no quorum of controllers";
    pub(crate) const QUOTA: &str = "quotas are not there yet";
    pub(crate) const REPLICATED: &str = "replication is not there yet: one node keeps one copy, so only 1 can be kept";
    pub(crate) const REPLICATION: &str = "one node talks to no other broker";
    pub(crate) const SASL: &str = "SASL authentication is not there yet, so this would promise what nothing enforces";
    pub(crate) const SECURITY: &str =
        "authentication and authorization are not there yet, so this would promise what nothing enforces";
    pub(crate) const SHARE: &str = "share groups are not there yet";
    pub(crate) const SPACE: &str = "space is always prepared ahead of the writes";
    pub(crate) const STREAMS: &str = "streams groups are not there yet";
    pub(crate) const THREADS: &str = "there are no thread pools: one shard per core does all of it (`ringlog.cores`)";
    pub(crate) const TIERED: &str = "remote storage is not there yet";
    pub(crate) const TLS: &str = "TLS is not there yet, so this would promise what nothing enforces";
    pub(crate) const TRANSACTIONS: &str = "transactions are not there yet";
    pub(crate) const UNSTABLE: &str = "only finished versions are offered";
}

/// A parsed value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Bool(bool),
    /// Int, long and short.
    Int(i64),
    Double(f64),
    /// String, class and password.
    Text(String),
    List(Vec<String>),
}

/// A value that its setting does not allow. Shows as Kafka's `ConfigException` does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidValue {
    pub key: String,
    /// What was given; hidden for passwords.
    pub value: String,
    pub reason: String,
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invalid value {} for configuration {}: {}", self.value, self.key, self.reason)
    }
}

impl Key {
    pub fn sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// Reads a value as Kafka does: trimmed, typed, in range.
    pub fn parse(&self, text: &str) -> Result<Value, InvalidValue> {
        let trimmed = text.trim();
        let value = match self.kind {
            Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => Value::Bool(true),
            Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => Value::Bool(false),
            Kind::Boolean => return Err(self.invalid(text, "Expected value to be either true or false")),
            Kind::Int => Value::Int(self.integer::<i32>(trimmed, "INT")?),
            Kind::Short => Value::Int(self.integer::<i16>(trimmed, "SHORT")?),
            Kind::Long => Value::Int(self.integer::<i64>(trimmed, "LONG")?),
            Kind::Double => match trimmed.parse::<f64>() {
                Ok(number) if !number.is_nan() => Value::Double(number),
                _ => return Err(self.invalid(text, "Not a number of type DOUBLE")),
            },
            Kind::List => Value::List(split_list(trimmed)),
            Kind::String | Kind::Class | Kind::Password => Value::Text(trimmed.to_string()),
        };
        self.check(&value, trimmed)?;
        Ok(value)
    }

    /// Why this value may not be set here although Kafka allows it; None if it may. The value must parse.
    pub fn refusal(&self, text: &str) -> Option<&'static str> {
        match self.standing {
            Standing::Acts | Standing::NoMeaning(_) => None,
            Standing::Refused(why) => {
                let promises_nothing = text.trim().is_empty() && self.default.is_none();
                let same = self.default.is_some_and(|default| self.parse(text) == self.parse(default));
                (!same && !promises_nothing).then_some(why)
            }
            Standing::OneOnly(why) => match self.parse(text) {
                Ok(Value::Int(number)) if number <= 1 => None,
                _ => Some(why),
            },
        }
    }

    /// The range as a person reads it; empty if every value of the type will do.
    pub fn range(&self) -> String {
        match self.valid {
            Valid::Any => String::new(),
            Valid::Between(min, i64::MAX) => format!("at least {min}"),
            Valid::Between(min, max) => format!("{min} to {max}"),
            Valid::Ratio(max) => format!("0 to {max}"),
            Valid::OneOf(words) | Valid::AnyCase(words) => words.join(", "),
            Valid::NonEmpty => "not empty".to_string(),
            Valid::GzipLevel => "1 to 9, or -1".to_string(),
            Valid::Throttled => "* or partition:broker,...".to_string(),
            Valid::Cpus => "CPU numbers and ranges, such as 0,2-3".to_string(),
        }
    }

    fn integer<T: std::str::FromStr + Into<i64>>(&self, text: &str, kind: &str) -> Result<i64, InvalidValue> {
        match text.parse::<T>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Err(self.invalid(text, format!("Not a number of type {kind}"))),
        }
    }

    fn check(&self, value: &Value, text: &str) -> Result<(), InvalidValue> {
        let one_of = |words: &[&str]| format!("String must be one of: {}", words.join(", "));
        match (self.valid, value) {
            (Valid::Between(min, _), Value::Int(n)) if *n < min => {
                Err(self.invalid(text, format!("Value must be at least {min}")))
            }
            (Valid::Between(_, max), Value::Int(n)) if *n > max => {
                Err(self.invalid(text, format!("Value must be no more than {max}")))
            }
            (Valid::Between(min, _), Value::Double(n)) if *n < min as f64 => {
                Err(self.invalid(text, format!("Value must be at least {min}")))
            }
            (Valid::Ratio(_), Value::Double(n)) if *n < 0.0 => Err(self.invalid(text, "Value must be at least 0")),
            (Valid::Ratio(max), Value::Double(n)) if *n > max => {
                Err(self.invalid(text, format!("Value must be no more than {max}")))
            }
            (Valid::OneOf(words), Value::Text(word)) if !words.contains(&word.as_str()) => {
                Err(self.invalid(text, one_of(words)))
            }
            (Valid::OneOf(words), Value::List(list)) => match list.iter().find(|w| !words.contains(&w.as_str())) {
                Some(word) => Err(self.invalid(word, one_of(words))),
                None => Ok(()),
            },
            (Valid::AnyCase(words), Value::Text(word)) if !words.iter().any(|w| w.eq_ignore_ascii_case(word)) => {
                Err(self.invalid(text, format!("String must be one of (case insensitive): {}", words.join(", "))))
            }
            (Valid::NonEmpty, Value::Text(word)) if word.is_empty() => {
                Err(self.invalid(text, "String must be non-empty"))
            }
            (Valid::GzipLevel, Value::Int(n)) if *n != -1 && !(1..=9).contains(n) => {
                Err(self.invalid(text, "Value must be between 1 and 9 or equal to -1"))
            }
            (Valid::Throttled, Value::List(list)) if !is_throttled_list(list) => Err(self.invalid(
                &format!("[{}]", list.join(", ")),
                format!(
                    "{} must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                    self.name
                ),
            )),
            (Valid::Cpus, Value::List(list)) if parse_cpus(list).is_none() => {
                Err(self.invalid(text, "CPU numbers and ranges are expected, such as 0,2-3"))
            }
            _ => Ok(()),
        }
    }

    fn invalid(&self, value: &str, reason: impl Into<String>) -> InvalidValue {
        let value = if self.sensitive() { "[hidden]" } else { value };
        InvalidValue { key: self.name.to_string(), value: value.to_string(), reason: reason.into() }
    }
}

/// The elements of a list value, trimmed. An empty text is an empty list.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    text.split(',').map(|element| element.trim().to_string()).collect()
}

fn is_throttled_list(list: &[String]) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    list == ["*"] || list.iter().all(|pair| pair.split_once(':').is_some_and(|(p, b)| number(p) && number(b)))
}

/// The CPUs in a list like `0,2-3`, in order, repeats kept. None if it is not one, or names more than 1024.
pub(crate) fn parse_cpus(list: &[String]) -> Option<Vec<u16>> {
    const MOST: usize = 1024;
    let mut cpus = Vec::new();
    for element in list {
        let (first, last) = element.split_once('-').unwrap_or((element, element));
        let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
        if first > last || cpus.len() + usize::from(last - first) >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{broker_key, topic_key};

    fn error(name: &str, text: &str) -> String {
        topic_key(name).or_else(|| broker_key(name)).unwrap().parse(text).unwrap_err().to_string()
    }

    #[test]
    fn errors_read_as_kafka_4_2_writes_them() {
        let cases = [
            ("retention.ms", "abc", "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
            ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
            (
                "segment.bytes",
                "3000000000",
                "Invalid value 3000000000 for configuration segment.bytes: Not a number of type INT",
            ),
            ("segment.bytes", "1e6", "Invalid value 1e6 for configuration segment.bytes: Not a number of type INT"),
            (
                "preallocate",
                "yes",
                "Invalid value yes for configuration preallocate: Expected value to be either true or false",
            ),
            (
                "cleanup.policy",
                "delete,foo",
                "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            (
                "compression.gzip.level",
                "0",
                "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
            ),
            (
                "compression.lz4.level",
                "18",
                "Invalid value 18 for configuration compression.lz4.level: Value must be no more than 17",
            ),
            (
                "leader.replication.throttled.replicas",
                "foo",
                "Invalid value [foo] for configuration leader.replication.throttled.replicas: \
                 leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following \
                 format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
            ),
        ];
        for (name, text, expected) in cases {
            assert_eq!(error(name, text), expected);
        }
    }

    #[test]
    fn values_parse_as_kafka_parses_them() {
        let parse = |name: &str, text: &str| topic_key(name).unwrap().parse(text).unwrap();
        assert_eq!(parse("preallocate", " TRUE "), Value::Bool(true));
        assert_eq!(parse("cleanup.policy", ""), Value::List(vec![]));
        assert_eq!(parse("cleanup.policy", " compact , delete "), Value::List(vec!["compact".into(), "delete".into()]));
        assert_eq!(parse("min.cleanable.dirty.ratio", "1e-1"), Value::Double(0.1));
        assert_eq!(parse("retention.ms", " 10 "), Value::Int(10));
        assert_eq!(
            parse("leader.replication.throttled.replicas", "0:1,1:2"),
            Value::List(vec!["0:1".into(), "1:2".into()])
        );
        assert_eq!(parse("leader.replication.throttled.replicas", "*"), Value::List(vec!["*".into()]));
    }

    #[test]
    fn a_password_is_never_shown() {
        let key = Key {
            name: "secret",
            kind: Kind::Password,
            default: None,
            valid: Valid::NonEmpty,
            scope: Scope::ReadOnly,
            standing: Standing::Acts,
            doc: "",
        };
        assert!(!key.parse(" ").unwrap_err().to_string().contains("  "));
        assert_eq!(key.invalid("hunter2", "too short").value, "[hidden]");
    }

    #[test]
    fn refusal_depends_on_the_value() {
        let refusal = |name: &str, text: &str| broker_key(name).unwrap().refusal(text);
        assert_eq!(refusal("min.insync.replicas", "1"), None);
        assert_eq!(refusal("min.insync.replicas", "2"), Some(why::REPLICATED));
        assert_eq!(refusal("ssl.keystore.location", ""), None);
        assert_eq!(refusal("ssl.keystore.location", "/etc/keys.jks"), Some(why::TLS));
        assert_eq!(refusal("ssl.client.auth", "none"), None);
        assert_eq!(refusal("ssl.client.auth", "required"), Some(why::TLS));
        assert_eq!(refusal("authorizer.class.name", "org.example.Authorizer"), Some(why::SECURITY));
        assert_eq!(refusal("remote.log.storage.system.enable", "FALSE"), None);
        assert_eq!(refusal("remote.log.storage.system.enable", "true"), Some(why::TIERED));
        assert_eq!(refusal("num.io.threads", "80"), None);
    }

    #[test]
    fn cpu_lists() {
        let cpus = |text: &str| parse_cpus(&split_list(text));
        assert_eq!(cpus("0,2-4"), Some(vec![0, 2, 3, 4]));
        assert_eq!(cpus("1, 1"), Some(vec![1, 1]));
        for bad in ["a", "3-2", "-1", "1-", "0,,1", "0-60000", "70000"] {
            assert_eq!(cpus(bad), None, "{bad}");
        }
    }
}
