//! Texts: `server.properties`, `ringlog.tuned`, and settings changed by requests.

use super::input::Input;
use ringlog_engine::config::alter::{BrokerScope, Change, Op, alter_broker, alter_topic};
use ringlog_engine::config::tuned::Tuned;
use ringlog_engine::config::{BrokerConfig, ServerProperties, Values};
use std::sync::LazyLock;

static DEFAULTS: LazyLock<BrokerConfig> =
    LazyLock::new(|| BrokerConfig::load(&ServerProperties::without_file()).expect("the defaults are good").0);

/// What the text is, then the text.
pub(super) fn texts(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.u8() % 3;
    let text = String::from_utf8_lossy(input.rest());
    match kind {
        0 => properties(&text),
        1 => tuned(&text),
        _ => changes(&text),
    }
}

fn properties(text: &str) {
    let Ok(properties) = ServerProperties::parse(text) else { return };
    let written: String =
        properties.values().iter().map(|(key, value)| format!("{}={}\n", escaped(key), escaped(value))).collect();
    assert_eq!(ServerProperties::parse(&written).as_ref(), Ok(&properties), "{written:?}");
    if let Ok((config, _)) = BrokerConfig::load(&properties) {
        config.topic(&Values::new());
    }
}

/// By the rules of Java's format, everything in it that could mean something.
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

fn tuned(text: &str) {
    let Ok(tuned) = Tuned::parse(text) else { return };
    let mut again = format!("version=1\ndate={}\n", escaped(&tuned.date));
    tuned.settings.iter().for_each(|(name, value)| again += &format!("{name}={}\n", escaped(value)));
    assert_eq!(Tuned::parse(&(again + "end=yes")), Ok(tuned));
}

/// Lines of `name=value`, each a change of the settings that those before it left; the first character is the kind of change.
fn changes(text: &str) {
    let (mut topic, mut broker) = (Values::new(), Values::new());
    for line in text.lines() {
        let Some(code) = line.bytes().next().filter(u8::is_ascii_digit) else { continue };
        let (name, value) = line[1..].split_once('=').map_or((&line[1..], None), |(name, value)| (name, Some(value)));
        let Some(op) = Op::from_code((code - b'0') as i8 & 3) else { continue };
        let change = [Change { name, op, value }];
        if let Ok(next) = alter_topic(&topic, &change, &DEFAULTS.layers) {
            topic = next;
            DEFAULTS.topic(&topic);
        }
        let scope = if code & 4 == 0 { BrokerScope::This } else { BrokerScope::Default };
        if let Ok(next) = alter_broker(&broker, &change, scope) {
            broker = next;
            let changed = DEFAULTS.with_dynamic(&broker, &Values::new());
            changed.topic(&topic);
        }
    }
}
