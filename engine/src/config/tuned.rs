//! `ringlog.tuned`: what `ringlog tune disk` found of the device under a log directory, and the settings that follow from it. They
//! act as defaults, under the operator's own. Made and read here, purely; who writes and reads the file are others.
//!
//! It is text in the format of properties, and ends with a line that says it is whole:
//!
//! | key | value |
//! |---|---|
//! | `version` | 1; a larger one is refused |
//! | `date` | when it was measured, UTC |
//! | `ringlog.*` | a setting of [`TUNABLE`]; another is refused |
//! | `end` | `yes`, in the last line; without it the file is cut short, and refused |
//!
//! Everything else (`measured.*`, `kernel`, `device`) is for people.

use super::keys::broker_key;
use super::{ServerProperties, Values};

/// The file's name in a log directory.
pub const FILE: &str = "ringlog.tuned";
pub const FORMAT: u32 = 1;
/// Its last line.
pub const END: &str = "end=yes";
/// Settings that the device decides.
pub const TUNABLE: [&str; 3] = ["ringlog.journal.bytes", "ringlog.journal.direct.min.bytes", "ringlog.destage.bytes"];

/// What such a file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tuned {
    pub date: String,
    pub settings: Values,
}

impl Tuned {
    /// Reads the file's text; `Err` says what is wrong with it.
    pub fn parse(text: &str) -> Result<Tuned, String> {
        let properties = ServerProperties::parse(text).map_err(|errors| errors[0].to_string())?;
        let values = properties.values();
        let version: u32 = match values.get("version") {
            None => return Err("version is missing".into()),
            Some(text) => text.parse().map_err(|_| "version is no number".to_string())?,
        };
        if version > FORMAT {
            return Err(format!(
                "format version {version}, this release reads up to {FORMAT}; measure again with its own"
            ));
        }
        if version == 0 {
            return Err("format version 0 never was".into());
        }
        if text.lines().last() != Some(END) {
            return Err(format!("it is cut short: its last line is not {END}"));
        }
        let date = values.get("date").cloned().unwrap_or_else(|| "an unknown day".into());
        let mut settings = Values::new();
        for (name, value) in values.iter().filter(|(name, _)| name.starts_with("ringlog.")) {
            if !TUNABLE.contains(&name.as_str()) {
                return Err(format!("{name} is not a setting that belongs there"));
            }
            let key = broker_key(name).expect("what is tunable is in the tables");
            key.parse(value).map_err(|invalid| invalid.to_string())?;
            settings.insert(name.clone(), value.clone());
        }
        Ok(Tuned { date, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# measured\nversion=1\ndate=2026-11-26 10:00:00\nmeasured.fua=0\nringlog.destage.bytes=131072\nend=yes\n";

    #[test]
    fn what_is_measured_is_left_and_what_is_set_is_read() {
        let tuned = Tuned::parse(TEXT).unwrap();
        assert_eq!(tuned.date, "2026-11-26 10:00:00");
        assert_eq!(tuned.settings, Values::from([("ringlog.destage.bytes".to_string(), "131072".to_string())]));
        for name in TUNABLE {
            assert!(broker_key(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_newer_strange_or_broken_is_refused() {
        for (from, to, said) in [
            ("version=1", "version=2", "measure again"),
            ("version=1", "version=0", "never was"),
            ("version=1", "version=x", "no number"),
            ("version=1\n", "", "version is missing"),
            ("ringlog.destage.bytes", "ringlog.cores", "ringlog.cores is not a setting that belongs there"),
            ("131072", "12", "ringlog.destage.bytes"),
            ("131072", "many", "ringlog.destage.bytes"),
            ("measured", "\\u12", "line 4"),
        ] {
            let text = TEXT.replace(from, to);
            let why = Tuned::parse(&text).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
        for cut in 0..TEXT.len() - 1 {
            assert!(Tuned::parse(&TEXT[..cut]).is_err(), "cut at {cut}");
        }
    }
}
