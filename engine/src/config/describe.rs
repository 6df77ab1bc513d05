//! What DescribeConfigs answers: every setting of a topic or broker with its value, source and synonyms (KIP-226).
//! Decides what is shown; the wire form is the codec's.

use super::key::{Key, Kind, Scope};
use super::keys::{TOPIC_TABLE, broker_key, broker_keys, synonyms};
use super::topic::find;
use super::{Layers, Source, Values};

/// One setting as it is in force.
#[derive(Clone, Debug)]
pub struct Described {
    pub name: &'static str,
    /// None: unset, or sensitive.
    pub value: Option<String>,
    pub read_only: bool,
    pub source: Source,
    pub sensitive: bool,
    /// Every place that gives a value, nearest first. Empty unless asked for.
    pub synonyms: Vec<Synonym>,
    pub kind: Kind,
    pub documentation: &'static str,
}

impl Described {
    pub fn is_default(&self) -> bool {
        self.source == Source::Default
    }
}

/// One place that gives a value, in that place's own name and unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synonym {
    pub name: &'static str,
    pub value: Option<String>,
    pub source: Source,
}

/// What a request asks for: these names only (None: all), with or without synonyms.
#[derive(Clone, Copy, Default, Debug)]
pub struct Asked<'a> {
    pub names: Option<&'a [&'a str]>,
    pub synonyms: bool,
}

impl Asked<'_> {
    fn wants(&self, name: &str) -> bool {
        self.names.is_none_or(|names| names.contains(&name))
    }
}

/// A topic's settings, its own over the broker's over the defaults.
pub fn describe_topic(overrides: &Values, layers: &Layers, asked: Asked<'_>) -> Vec<Described> {
    let wanted = TOPIC_TABLE.iter().filter(|key| asked.wants(key.name));
    wanted
        .map(|key| {
            let found = find(key, overrides, layers);
            let mut chain = chain_of(synonyms(key.name), layers);
            if found.source == Source::DynamicTopic {
                chain.insert(0, Synonym { name: key.name, value: found.text.clone(), source: found.source });
            }
            let source = chain.first().map_or(Source::Default, |nearest| nearest.source);
            chain.retain(|_| asked.synonyms);
            described(key, found.text, source, false, chain)
        })
        .collect()
}

/// This broker's settings, its own dynamic ones over the dynamic defaults over its file over the defaults.
pub fn describe_broker(layers: &Layers, asked: Asked<'_>) -> Vec<Described> {
    let wanted = broker_keys().filter(|key| asked.wants(key.name));
    wanted
        .map(|key| {
            let (value, source) = match layers.first(&[key.name]) {
                Some((_, text, source)) => (Some(text.to_string()), source),
                None => (key.default.map(str::to_string), Source::Default),
            };
            let chain = if asked.synonyms { chain_of(&broker_names(key.name), layers) } else { Vec::new() };
            described(key, value, source, key.scope == Scope::ReadOnly, chain)
        })
        .collect()
}

/// The dynamic defaults of all brokers: only what is set.
pub fn describe_broker_defaults(layers: &Layers, asked: Asked<'_>) -> Vec<Described> {
    const SOURCE: Source = Source::DynamicDefaultBroker;
    let set = layers.cluster.iter().filter(|(name, _)| asked.wants(name));
    set.filter_map(|(name, text)| {
        let key = broker_key(name)?;
        let value = Some(text.clone());
        let own = Synonym { name: key.name, value: value.clone(), source: SOURCE };
        let chain = if asked.synonyms { vec![own] } else { Vec::new() };
        Some(described(key, value, SOURCE, key.scope == Scope::ReadOnly, chain))
    })
    .collect()
}

fn described(
    key: &'static Key,
    value: Option<String>,
    source: Source,
    read_only: bool,
    mut chain: Vec<Synonym>,
) -> Described {
    let sensitive = key.sensitive();
    if sensitive {
        chain.iter_mut().for_each(|synonym| synonym.value = None);
    }
    Described {
        name: key.name,
        value: value.filter(|_| !sensitive),
        read_only,
        source,
        sensitive,
        synonyms: chain,
        kind: key.kind,
        documentation: key.doc,
    }
}

/// The broker settings that give the same thing, this one first: `log.retention.ms`, `.minutes`, `.hours`.
fn broker_names(name: &'static str) -> Vec<&'static str> {
    let groups = [
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"][..],
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
    ];
    let group = groups.iter().find_map(|group| group.iter().position(|member| *member == name).map(|at| &group[at..]));
    group.map_or_else(|| vec![name], <[_]>::to_vec)
}

/// Source by source, and within one name by name. As in Kafka, what comes before the first place that has the first name is
/// left out: `log.retention.hours` is seen behind a `log.retention.ms`, never alone.
fn chain_of(names: &[&'static str], layers: &Layers) -> Vec<Synonym> {
    let mut chain = Vec::new();
    for (source, values) in layers.each() {
        let given = names.iter().filter_map(|name| Some((*name, values.get(*name)?)));
        chain.extend(given.map(|(name, text)| Synonym { name, value: Some(text.clone()), source }));
    }
    let defaults = names.iter().filter_map(|name| Some((*name, broker_key(name)?.default?)));
    chain.extend(defaults.map(|(name, text)| Synonym { name, value: Some(text.to_string()), source: Source::Default }));
    let first = chain.iter().position(|place| Some(&place.name) == names.first());
    chain.split_off(first.unwrap_or(chain.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    /// One line a setting, as `kafka-configs --describe --all` puts it.
    fn show(described: &[Described]) -> Vec<String> {
        let line = |d: &Described| {
            let synonym =
                |s: &Synonym| format!("{}:{}={}", s.source.name(), s.name, s.value.as_deref().unwrap_or("null"));
            let chain: Vec<_> = d.synonyms.iter().map(synonym).collect();
            let value = d.value.as_deref().unwrap_or("null");
            format!("{}={value} {} ro={} {{{}}}", d.name, d.source.name(), d.read_only, chain.join(", "))
        };
        described.iter().map(line).collect()
    }

    fn layers() -> Layers {
        Layers {
            broker: values(&[("log.retention.ms", "2000"), ("message.max.bytes", "12345")]),
            cluster: values(&[("log.retention.ms", "1000")]),
            fixed: values(&[("num.io.threads", "8"), ("log.dirs", "/a,/b")]),
        }
    }

    /// The dialogue a Kafka 4.2.0 broker gave to the same changes.
    #[test]
    fn a_topic_is_described_as_kafka_does() {
        let asked = Asked { names: Some(&["retention.ms", "max.message.bytes", "cleanup.policy"]), synonyms: true };
        let own = values(&[("retention.ms", "1000"), ("cleanup.policy", "")]);
        assert_eq!(
            show(&describe_topic(&own, &layers(), asked)),
            [
                "cleanup.policy= DYNAMIC_TOPIC_CONFIG ro=false {DYNAMIC_TOPIC_CONFIG:cleanup.policy=, \
                 DEFAULT_CONFIG:log.cleanup.policy=delete}",
                "max.message.bytes=12345 DYNAMIC_BROKER_CONFIG ro=false {DYNAMIC_BROKER_CONFIG:message.max.bytes=12345, \
                 DEFAULT_CONFIG:message.max.bytes=1048588}",
                "retention.ms=1000 DYNAMIC_TOPIC_CONFIG ro=false {DYNAMIC_TOPIC_CONFIG:retention.ms=1000, \
                 DYNAMIC_BROKER_CONFIG:log.retention.ms=2000, DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=1000, \
                 DEFAULT_CONFIG:log.retention.hours=168}",
            ]
        );
    }

    /// Also seen at a Kafka 4.2.0 broker: hours in its file give the value, and are not told.
    #[test]
    fn a_value_from_a_setting_in_hours_counts_as_a_default() {
        let asked = Asked { names: Some(&["flush.ms", "retention.ms", "segment.ms"]), synonyms: true };
        let fixed =
            [("log.retention.hours", "24"), ("log.roll.hours", "5"), ("log.flush.scheduler.interval.ms", "60000")];
        let dynamic = [("log.roll.ms", "7000000")];
        let layers = Layers { broker: values(&dynamic), cluster: Values::new(), fixed: values(&fixed) };
        assert_eq!(
            show(&describe_topic(&Values::new(), &layers, asked)),
            [
                "flush.ms=60000 DEFAULT_CONFIG ro=false {}",
                "retention.ms=86400000 DEFAULT_CONFIG ro=false {}",
                "segment.ms=7000000 DYNAMIC_BROKER_CONFIG ro=false {DYNAMIC_BROKER_CONFIG:log.roll.ms=7000000, \
                 STATIC_BROKER_CONFIG:log.roll.hours=5, DEFAULT_CONFIG:log.roll.hours=168}",
            ]
        );
    }

    #[test]
    fn a_broker_is_described_as_kafka_does() {
        let names = ["log.retention.ms", "log.retention.hours", "log.dirs", "ssl.keystore.password", "log.roll.ms"];
        let asked = Asked { names: Some(&names), synonyms: true };
        assert_eq!(
            show(&describe_broker(&layers(), asked)),
            [
                "log.dirs=/a,/b STATIC_BROKER_CONFIG ro=true {STATIC_BROKER_CONFIG:log.dirs=/a,/b}",
                "log.retention.hours=168 DEFAULT_CONFIG ro=true {DEFAULT_CONFIG:log.retention.hours=168}",
                "log.retention.ms=2000 DYNAMIC_BROKER_CONFIG ro=false {DYNAMIC_BROKER_CONFIG:log.retention.ms=2000, \
                 DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=1000, DEFAULT_CONFIG:log.retention.hours=168}",
                "log.roll.ms=null DEFAULT_CONFIG ro=false {}",
                "ssl.keystore.password=null DEFAULT_CONFIG ro=false {}",
            ]
        );
        assert_eq!(
            show(&describe_broker_defaults(&layers(), Asked::default())),
            ["log.retention.ms=1000 DYNAMIC_DEFAULT_BROKER_CONFIG ro=false {}"]
        );
    }

    #[test]
    fn everything_is_described_when_no_names_are_asked() {
        assert_eq!(describe_topic(&Values::new(), &layers(), Asked::default()).len(), TOPIC_TABLE.len());
        assert_eq!(describe_broker(&layers(), Asked::default()).len(), broker_keys().count());
        let nothing = Asked { names: Some(&[]), synonyms: true };
        assert!(describe_broker(&layers(), nothing).is_empty());
    }
}
