//! Settings: Kafka's names, types, defaults and rules, and ours under `ringlog.`. Decides what a setting means and
//! whether it may be set; reads no file and changes nothing by itself.
//!
//! - `keys`: the tables, one row a setting; `key`: what a row is, and how a value is read
//! - `properties`: the file format; `broker`: a start's settings, typed; `listeners`: their addresses
//! - `topic`: what is in force for one topic; `describe`, `alter`: the admin requests; `render`: for people
//!
//! Dynamic settings live in the metadata image. Every core builds its own [`BrokerConfig`] and [`TopicConfig`]s from
//! them when the image changes, so reading a setting is reading a field.

pub mod alter;
pub mod broker;
pub mod describe;
pub mod key;
pub mod keys;
pub mod listeners;
pub mod properties;
pub mod render;
pub mod topic;

pub use broker::{AdminAddress, BrokerConfig};
pub use listeners::Listener;
pub use properties::ServerProperties;
pub use topic::TopicConfig;

use std::collections::BTreeMap;
use std::fmt;

/// Names and values as they were given.
pub type Values = BTreeMap<String, String>;

/// A setting that stops the start: which one, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    pub key: String,
    pub message: String,
}

impl ConfigError {
    pub(crate) fn new(key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError { key: key.to_string(), message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// A setting that was accepted and does nothing, or not all that its name says: why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    pub key: String,
    pub message: String,
}

impl Notice {
    pub(crate) fn new(key: &str, message: impl Into<String>) -> Notice {
        Notice { key: key.to_string(), message: message.into() }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Where a value comes from, with the numbers DescribeConfigs sends (KIP-226).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(i8)]
pub enum Source {
    DynamicTopic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
}

impl Source {
    /// The number on the wire.
    pub const fn code(self) -> i8 {
        self as i8
    }

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Source::DynamicTopic => "DYNAMIC_TOPIC_CONFIG",
            Source::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
            Source::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            Source::StaticBroker => "STATIC_BROKER_CONFIG",
            Source::Default => "DEFAULT_CONFIG",
        }
    }
}

/// The explicit broker settings, nearest first: this broker's dynamic ones, the dynamic defaults, the file's.
#[derive(Clone, Default, Debug)]
pub struct Layers {
    pub broker: Values,
    pub cluster: Values,
    pub fixed: Values,
}

impl Layers {
    pub(crate) fn each(&self) -> [(Source, &Values); 3] {
        [
            (Source::DynamicBroker, &self.broker),
            (Source::DynamicDefaultBroker, &self.cluster),
            (Source::StaticBroker, &self.fixed),
        ]
    }

    /// The nearest explicit value under any of these names; within one layer the first name wins. A stored value that
    /// its setting no longer allows is passed over.
    pub(crate) fn first(&self, names: &[&'static str]) -> Option<(&'static str, &str, Source)> {
        for (source, values) in self.each() {
            for name in names {
                let valid = |text: &&String| keys::broker_key(name).is_some_and(|key| key.parse(text).is_ok());
                if let Some(text) = values.get(*name).filter(valid) {
                    return Some((name, text.trim(), source));
                }
            }
        }
        None
    }
}
