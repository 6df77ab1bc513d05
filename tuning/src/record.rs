//! What was there before `apply` changed it: a JSON file that is on disk, durably, before the first change, and from which `undo`
//! puts everything back.
//!
//! | key | value |
//! |---|---|
//! | `version` | 1; a larger one is refused |
//! | `made` | when, UTC |
//! | `boot` | the kernel's id of this boot: settings do not outlive one |
//! | `changes` | in the order they were made: `setting`, `path`, `form`, `old`, `new` |

use crate::entry::{Change, Form};
use nix::unistd::Uid;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

const VERSION: u64 = 1;
/// Where settings are. A record that names another place is not ours.
const PLACES: [&str; 3] = ["/sys/", "/proc/sys/", "/proc/irq/"];

/// A change, and the setting it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    pub setting: String,
    pub change: Change,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    pub made: String,
    pub boot: String,
    pub changes: Vec<Recorded>,
}

impl Record {
    /// Takes a change in. What was there before the first change of a file stays what is put back.
    pub fn add(&mut self, setting: &str, change: &Change) {
        match self.changes.iter_mut().find(|r| r.change.path == change.path) {
            Some(recorded) => recorded.change.new.clone_from(&change.new),
            None => self.changes.push(Recorded { setting: setting.into(), change: change.clone() }),
        }
    }

    pub fn text(&self) -> String {
        let changes = self.changes.iter().map(|Recorded { setting, change }| {
            json!({"setting": setting, "path": change.path, "form": change.form.name(), "old": change.old, "new": change.new})
        });
        let all =
            json!({"version": VERSION, "made": self.made, "boot": self.boot, "changes": changes.collect::<Vec<_>>()});
        format!("{all:#}\n")
    }

    pub fn parse(text: &str) -> Result<Record, String> {
        let all: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        match all["version"].as_u64() {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => return Err(format!("version {newer}: a newer ringlog-tune wrote it")),
            _ => return Err("version is missing".into()),
        }
        let text =
            |of: &Value, name: &str| of[name].as_str().map(str::to_string).ok_or_else(|| format!("{name} is missing"));
        let mut changes = Vec::new();
        for change in all["changes"].as_array().ok_or("changes are missing")? {
            let path = text(change, "path")?;
            if !PLACES.iter().any(|place| path.starts_with(place)) || path.split('/').any(|part| part == "..") {
                return Err(format!("{path} is no setting"));
            }
            let form = Form::of(&text(change, "form")?).ok_or("form is none there is")?;
            let change = Change { path, form, old: text(change, "old")?, new: text(change, "new")? };
            changes.push(Recorded { setting: text(&all["changes"][changes.len()], "setting")?, change });
        }
        Ok(Record { made: text(&all, "made")?, boot: text(&all, "boot")?, changes })
    }

    /// Reads the file; `None` if there is none. One that others may write is not believed: what it says is written by root.
    pub fn load(path: &Path) -> Result<Option<Record>, String> {
        let cannot = |why: String| format!("{}: {why}", path.display());
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(format!("cannot be read: {error}"))),
        };
        let about = file.metadata().map_err(|error| cannot(error.to_string()))?;
        if about.uid() != Uid::effective().as_raw() || about.mode() & 0o022 != 0 {
            return Err(cannot("is not this user's alone to write, so it is not believed".into()));
        }
        let mut text = String::new();
        std::io::Read::read_to_string(&mut file, &mut text)
            .map_err(|error| cannot(format!("cannot be read: {error}")))?;
        Record::parse(&text).map(Some).map_err(cannot)
    }

    /// Puts it in place of what was there, durably.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let cannot = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(cannot)?;
        write_durably(folder, path, &self.text()).map_err(cannot)
    }

    /// Nothing is left to put back.
    pub fn remove(path: &Path) -> Result<(), String> {
        std::fs::remove_file(path).map_err(|error| format!("{} cannot be removed: {error}", path.display()))
    }
}

/// Puts a small file in place of another at once, durably.
pub fn write_durably(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}

/// Now, as `2026-11-26 14:05:09` in UTC.
pub fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs())
}

/// A time in seconds since 1970 (days from the civil calendar of 400-year eras that begin in March).
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, old: &str, new: &str) -> Change {
        Change { path: path.into(), form: Form::Plain, old: old.into(), new: new.into() }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut record = Record { made: "then".into(), boot: "b".into(), changes: Vec::new() };
        record.add("swappiness", &change("/proc/sys/vm/swappiness", "60", "1"));
        record.add("swappiness", &change("/proc/sys/vm/swappiness", "1", "5"));
        assert_eq!(record.changes[0].change, change("/proc/sys/vm/swappiness", "60", "5"), "the first old value stays");
        assert_eq!(Record::parse(&record.text()), Ok(record.clone()));
        let text = record.text();
        for cut in 0..text.trim_end().len() {
            assert!(Record::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Record::parse(&text.replace("\"version\": 1", "\"version\": 2")).unwrap_err().contains("newer"));
        for elsewhere in ["/etc/passwd", "/sys/../etc/passwd", "/proc/self/mem"] {
            assert!(
                Record::parse(&text.replace("/proc/sys/vm/swappiness", elsewhere)).unwrap_err().contains("no setting")
            );
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(date(4_107_542_399), "2100-02-28 23:59:59");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00");
        assert_eq!(date(1_795_687_509), "2026-11-26 10:05:09");
    }
}
