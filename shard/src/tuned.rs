//! What `ringlog tune disk` left in the log directories ([`ringlog_engine::config::tuned`]), laid under the operator's settings. Read
//! once, by the thread that starts the broker.

use ringlog_engine::config::tuned::{FILE, Tuned};
use ringlog_engine::config::{ServerProperties, Values};
use std::io::ErrorKind;
use std::path::Path;

/// Adds defaults from the files of these directories, the first directory's first; returns a line for each file. What cannot be read
/// or is not understood is refused: the start would differ from the last one, and nobody would know why.
pub(crate) fn lay_under(properties: &mut ServerProperties, dirs: &[String]) -> Result<Vec<String>, Vec<String>> {
    let given = properties.values().clone();
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    for dir in dirs {
        match read(Path::new(dir)) {
            Ok(None) => {}
            Ok(Some(tuned)) => {
                let taken = tuned.settings.iter().map(|(name, value)| take(properties, &given, name, value));
                let taken: Vec<String> = taken.collect();
                let all = if taken.is_empty() { "the defaults fit".to_string() } else { taken.join(", ") };
                lines.push(format!("settings from {FILE} of {} in {dir}: {all}", tuned.date));
            }
            Err(why) => {
                errors.push(format!("log directory {dir}: {FILE}: {why} (`ringlog tune disk` makes a new one)"))
            }
        }
    }
    if errors.is_empty() { Ok(lines) } else { Err(errors) }
}

/// Takes one setting, unless there is one; says which.
fn take(properties: &mut ServerProperties, given: &Values, name: &str, value: &str) -> String {
    properties.set_default(name, value);
    match (given.get(name), &properties.values()[name]) {
        (Some(yours), _) => format!("{name}={value} (not taken: yours is {yours})"),
        (None, taken) if taken != value => format!("{name}={value} (not taken: an earlier directory says {taken})"),
        (None, _) => format!("{name}={value}"),
    }
}

fn read(dir: &Path) -> Result<Option<Tuned>, String> {
    match std::fs::read(dir.join(FILE)) {
        // A topic may have this name, and its folder with it.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => Ok(None),
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(bytes) => Tuned::parse(&String::from_utf8(bytes).map_err(|_| "it is not text")?).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_comes_first_and_then_the_first_directory() {
        let base = std::env::temp_dir().join(format!("ringlog-tuned-{}", std::process::id()));
        let dirs: Vec<String> =
            ["a", "b", "none", "topic"].iter().map(|d| base.join(d).display().to_string()).collect();
        std::fs::create_dir_all(base.join("topic").join(FILE)).unwrap();
        for (dir, bytes) in [(&dirs[0], 131_072), (&dirs[1], 262_144)] {
            std::fs::create_dir_all(dir).unwrap();
            let settings = format!("ringlog.destage.bytes={bytes}\nringlog.journal.bytes=33554432\n");
            std::fs::write(Path::new(dir).join(FILE), format!("version=1\ndate=D\n{settings}end=yes\n")).unwrap();
        }
        let mut properties = ServerProperties::parse("ringlog.journal.bytes=16777216\n").unwrap();
        let lines = lay_under(&mut properties, &dirs).unwrap();
        assert_eq!(properties.values()["ringlog.destage.bytes"], "131072");
        assert_eq!(properties.values()["ringlog.journal.bytes"], "16777216");
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("of D in") && lines[0].contains("(not taken: yours is 16777216)"), "{lines:?}");
        assert!(
            lines[1].contains("ringlog.destage.bytes=262144 (not taken: an earlier directory says 131072)"),
            "{lines:?}"
        );
        std::fs::write(Path::new(&dirs[1]).join(FILE), "version=1\n").unwrap();
        let errors = lay_under(&mut properties, &dirs).unwrap_err();
        assert!(errors[0].contains(&dirs[1]) && errors[0].contains("cut short"), "{errors:?}");
        std::fs::remove_dir_all(base).unwrap();
    }
}
