//! AlterConfigs and IncrementalAlterConfigs (KIP-339) on maps of settings: the new map, or why not, in Kafka's codes
//! and words. Whether the topic or broker exists, and storing the result, is the caller's.

use super::broker::ip_overrides;
use super::key::{Key, Kind, Scope, Standing};
use super::keys::{broker_key, nearest_broker_key, topic_key};
use super::topic::{is_list, validate};
use super::{Layers, Values};
use crate::ErrorCode;
use crate::limits::CONFIG_BYTES;

/// Why a change is refused.
pub type Refusal = (ErrorCode, String);

/// What to do with one setting, with the numbers of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Op {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

impl Op {
    /// The operation with this number, if there is one.
    pub const fn from_code(code: i8) -> Option<Op> {
        match code {
            0 => Some(Op::Set),
            1 => Some(Op::Delete),
            2 => Some(Op::Append),
            3 => Some(Op::Subtract),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Op::Set => "SET",
            Op::Delete => "DELETE",
            Op::Append => "APPEND",
            Op::Subtract => "SUBTRACT",
        }
    }
}

/// One change asked for.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub name: &'a str,
    pub op: Op,
    pub value: Option<&'a str>,
}

/// Which broker settings are changed: the defaults of all brokers, or this broker's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrokerScope {
    Default,
    This,
}

/// IncrementalAlterConfigs of a topic: its settings as they will be.
pub fn alter_topic(current: &Values, changes: &[Change<'_>], layers: &Layers) -> Result<Values, Refusal> {
    refuse_duplicates(changes)?;
    let default = |name: &str| topic_key(name).and_then(|key| key.default).unwrap_or("");
    let mut next = current.clone();
    for change in changes {
        apply(&mut next, change, is_list(change.name), default(change.name))?;
    }
    check_topic(&next, layers)?;
    Ok(next)
}

/// AlterConfigs of a topic: these settings and no others.
pub fn replace_topic(settings: &[(&str, Option<&str>)], layers: &Layers) -> Result<Values, Refusal> {
    let next = collect(settings)?;
    check_topic(&next, layers)?;
    Ok(next)
}

/// IncrementalAlterConfigs of a broker: its dynamic settings as they will be.
pub fn alter_broker(current: &Values, changes: &[Change<'_>], scope: BrokerScope) -> Result<Values, Refusal> {
    refuse_duplicates(changes)?;
    let mut next = current.clone();
    for change in changes {
        let key = broker_key(change.name);
        let list = key.is_some_and(|key| key.kind == Kind::List);
        if matches!(change.op, Op::Append | Op::Subtract) && !list {
            let operation = change.op.name().to_ascii_lowercase();
            let text = format!("Config value {operation} is not allowed for config key: {}", change.name);
            return Err((ErrorCode::InvalidConfig, text));
        }
        apply(&mut next, change, list, key.and_then(|key| key.default).unwrap_or(""))?;
        if let Some(text) = next.get(change.name).filter(|_| change.op != Op::Delete) {
            check_broker(change.name, text, scope)?;
        }
    }
    check_size(&next)?;
    Ok(next)
}

/// AlterConfigs of a broker: these dynamic settings and no others.
pub fn replace_broker(settings: &[(&str, Option<&str>)], scope: BrokerScope) -> Result<Values, Refusal> {
    let next = collect(settings)?;
    for (name, text) in &next {
        check_broker(name, text, scope)?;
    }
    check_size(&next)?;
    Ok(next)
}

fn refuse_duplicates(changes: &[Change<'_>]) -> Result<(), Refusal> {
    let mut names: Vec<_> = changes.iter().map(|change| change.name).collect();
    names.sort_unstable();
    match names.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err((ErrorCode::InvalidRequest, "Error due to duplicate config keys".to_string())),
        false => Ok(()),
    }
}

fn collect(settings: &[(&str, Option<&str>)]) -> Result<Values, Refusal> {
    let mut next = Values::new();
    for (name, value) in settings {
        let value = value.ok_or_else(|| null_value(name))?;
        if next.insert(name.to_string(), value.to_string()).is_some() {
            return Err((ErrorCode::InvalidRequest, "Error due to duplicate config keys".to_string()));
        }
    }
    Ok(next)
}

fn null_value(name: &str) -> Refusal {
    (ErrorCode::InvalidRequest, format!("Null value not supported for : {name}"))
}

fn apply(values: &mut Values, change: &Change<'_>, list: bool, default: &str) -> Result<(), Refusal> {
    if change.op == Op::Delete {
        values.remove(change.name);
        return Ok(());
    }
    let given = change.value.ok_or_else(|| null_value(change.name))?;
    if change.op == Op::Set {
        values.insert(change.name.to_string(), given.to_string());
        return Ok(());
    }
    if !list {
        let (operation, name) = (change.op.name(), change.name);
        let text = format!("Can't {operation} to key {name} because its type is not LIST.");
        return Err((ErrorCode::InvalidConfig, text));
    }
    let mut elements = super::key::split_list(values.get(change.name).map_or(default, String::as_str));
    let given = super::key::split_list(given);
    match change.op {
        Op::Append => {
            for element in given {
                if !elements.contains(&element) {
                    elements.push(element);
                }
            }
        }
        _ => elements.retain(|element| !given.contains(element)),
    }
    values.insert(change.name.to_string(), elements.join(","));
    Ok(())
}

fn check_topic(values: &Values, layers: &Layers) -> Result<(), Refusal> {
    validate(values, layers).map_err(|text| (ErrorCode::InvalidConfig, text))?;
    check_size(values)
}

pub(crate) fn check_size(values: &Values) -> Result<(), Refusal> {
    let bytes: usize = values.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    if bytes > CONFIG_BYTES {
        let text = format!("The settings take {bytes} bytes; at most {CONFIG_BYTES} are kept.");
        return Err((ErrorCode::PolicyViolation, text));
    }
    Ok(())
}

fn check_broker(name: &str, text: &str, scope: BrokerScope) -> Result<(), Refusal> {
    let refuse = |text: String| Err((ErrorCode::InvalidRequest, text));
    let Some(key) = broker_key(name) else {
        let near = nearest_broker_key(name).map_or(String::new(), |near| format!("; did you mean {near}?"));
        return refuse(format!("Unknown broker config name: {name}{near}"));
    };
    match (key.scope, scope) {
        (Scope::ReadOnly, _) => return refuse(format!("Cannot update these configs dynamically: Set({name})")),
        (Scope::PerBroker, BrokerScope::Default) => {
            return refuse(format!(
                "Cannot update these configs at default cluster level, broker id must be specified: Set({name})"
            ));
        }
        _ => {}
    }
    if let Err(invalid) = key.parse(text) {
        return refuse(invalid.to_string());
    }
    check_promises(key, text)
}

/// What stops a start is not let in while running either.
fn check_promises(key: &'static Key, text: &str) -> Result<(), Refusal> {
    if let Some(why) = key.refusal(text) {
        return Err((ErrorCode::InvalidRequest, format!("{} cannot be set: {why}", key.name)));
    }
    if key.name == "max.connections.per.ip.overrides" {
        return ip_overrides(text).map(drop).map_err(|text| (ErrorCode::InvalidRequest, text));
    }
    let least = match key.name {
        "log.retention.ms" if text.trim() == "-1" => return Ok(()),
        "log.retention.ms" | "log.roll.ms" => 1,
        "log.roll.jitter.ms" => 0,
        _ => return Ok(()),
    };
    match (key.standing, text.trim().parse::<i64>()) {
        (Standing::Acts, Ok(number)) if number < least => {
            let text = format!("Invalid value {number} for configuration {}: Value must be at least {least}", key.name);
            Err((ErrorCode::InvalidRequest, text))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    /// `SET name=value; DELETE name`, and the outcome as `name=value ...` or `CODE text`.
    fn script(current: &str, changes: &str, run: impl Fn(&Values, &[Change<'_>]) -> Result<Values, Refusal>) -> String {
        let current: Vec<_> = current.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        let changes: Vec<_> = changes
            .split(';')
            .map(|change| {
                let (op, rest) = change.trim().split_once(' ').unwrap();
                let op = (0..4).filter_map(Op::from_code).find(|known| known.name() == op).unwrap();
                let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
                Change { name, op, value }
            })
            .collect();
        match run(&values(&current), &changes) {
            Ok(next) => next.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "),
            Err((code, text)) => format!("{} {text}", code.name()),
        }
    }

    /// Each line is what a Kafka 4.2.0 broker answered.
    #[test]
    fn a_dialogue_on_a_topic() {
        let topic = |current: &str, changes: &str| {
            script(current, changes, |current, changes| alter_topic(current, changes, &Layers::default()))
        };
        for (current, changes, expected) in [
            ("", "SET retention.ms=1000", "retention.ms=1000"),
            (
                "",
                "SET retention.ms=x",
                "INVALID_CONFIG Invalid value x for configuration retention.ms: Not a number of type LONG",
            ),
            ("", "SET foo=x", "INVALID_CONFIG Unknown topic config name: foo"),
            ("", "DELETE foo", ""),
            (
                "",
                "APPEND retention.ms=1",
                "INVALID_CONFIG Can't APPEND to key retention.ms because its type is not LIST.",
            ),
            (
                "",
                "SUBTRACT retention.ms=1",
                "INVALID_CONFIG Can't SUBTRACT to key retention.ms because its type is not LIST.",
            ),
            ("", "SET retention.ms=1; SET retention.ms=2", "INVALID_REQUEST Error due to duplicate config keys"),
            ("", "SET retention.ms", "INVALID_REQUEST Null value not supported for : retention.ms"),
            ("", "APPEND cleanup.policy=compact", "cleanup.policy=delete,compact"),
            ("cleanup.policy=delete,compact", "APPEND cleanup.policy=delete", "cleanup.policy=delete,compact"),
            ("cleanup.policy=delete,compact", "SUBTRACT cleanup.policy=delete", "cleanup.policy=compact"),
            ("cleanup.policy=compact", "SUBTRACT cleanup.policy=compact", "cleanup.policy="),
            ("cleanup.policy=compact", "SUBTRACT cleanup.policy=zip", "cleanup.policy=compact"),
            (
                "",
                "APPEND cleanup.policy=zip",
                "INVALID_CONFIG Invalid value zip for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            ("retention.ms=5 segment.ms=6", "DELETE retention.ms; SET segment.ms=7", "segment.ms=7"),
        ] {
            assert_eq!(topic(current, changes), expected, "{current} | {changes}");
        }
    }

    #[test]
    fn a_dialogue_on_a_broker() {
        let broker =
            |scope, changes: &str| script("", changes, |current, changes| alter_broker(current, changes, scope));
        use BrokerScope::{Default, This};
        for (scope, changes, expected) in [
            (This, "SET num.io.threads=4", "num.io.threads=4"),
            (
                This,
                "SET num.io.threads=abc",
                "INVALID_REQUEST Invalid value abc for configuration num.io.threads: Not a number of type INT",
            ),
            (Default, "SET log.dirs=/x", "INVALID_REQUEST Cannot update these configs dynamically: Set(log.dirs)"),
            (
                This,
                "SET num.partitions=4",
                "INVALID_REQUEST Cannot update these configs dynamically: Set(num.partitions)",
            ),
            (
                Default,
                "SET log.segment.bytes=100",
                "INVALID_REQUEST Invalid value 100 for configuration log.segment.bytes: Value must be at least 1048576",
            ),
            (Default, "APPEND log.cleanup.policy=compact", "log.cleanup.policy=delete,compact"),
            (
                This,
                "APPEND background.threads=1",
                "INVALID_CONFIG Config value append is not allowed for config key: background.threads",
            ),
            (
                Default,
                "SET sasl.enabled.mechanisms=PLAIN",
                "INVALID_REQUEST Cannot update these configs at default cluster level, broker id must be specified: \
                 Set(sasl.enabled.mechanisms)",
            ),
            (Default, "DELETE num.partitions", ""),
            // Stricter than Kafka from here on: it stores what no plug-in will ever read, and what it cannot keep.
            (
                This,
                "SET log.retension.ms=4",
                "INVALID_REQUEST Unknown broker config name: log.retension.ms; did you mean log.retention.ms?",
            ),
            (
                Default,
                "SET min.insync.replicas=2",
                "INVALID_REQUEST min.insync.replicas cannot be set: replication is not there yet: one node keeps one \
                 copy, so only 1 can be kept",
            ),
            (
                This,
                "SET log.retention.ms=0",
                "INVALID_REQUEST Invalid value 0 for configuration log.retention.ms: Value must be at least 1",
            ),
            (This, "SET log.retention.ms=-1", "log.retention.ms=-1"),
            (
                Default,
                "SET max.connections.per.ip.overrides=host:5",
                "INVALID_REQUEST host:5 is not an IP address and a count, such as 10.0.0.1:100",
            ),
        ] {
            assert_eq!(broker(scope, changes), expected, "{changes}");
        }
    }

    #[test]
    fn replacing_drops_what_is_not_named() {
        let next = replace_topic(&[("retention.ms", Some("1"))], &Layers::default());
        assert_eq!(next, Ok(values(&[("retention.ms", "1")])));
        let error = replace_topic(&[("retention.ms", None)], &Layers::default()).unwrap_err();
        assert_eq!(error.0, ErrorCode::InvalidRequest);
        assert_eq!(
            replace_broker(&[("log.dirs", Some("x"))], BrokerScope::This).unwrap_err().0,
            ErrorCode::InvalidRequest
        );
        assert_eq!(
            replace_broker(&[("log.roll.ms", Some("5"))], BrokerScope::This),
            Ok(values(&[("log.roll.ms", "5")]))
        );
    }

    #[test]
    fn settings_are_bounded_in_size() {
        let long = "x:1,".repeat(CONFIG_BYTES / 4);
        let change = Change { name: "log.cleanup.policy", op: Op::Set, value: Some("delete") };
        let current = values(&[("follower.replication.throttled.replicas", &long)]);
        assert_eq!(alter_broker(&current, &[change], BrokerScope::Default).unwrap_err().0, ErrorCode::PolicyViolation);
    }
}
