//! Changes: which are due, made one by one after all of them are recorded, and taken back in the opposite order.

use crate::entry::{Applied, Change, Entry, State};
use crate::host::Host;
use crate::record::{Record, Recorded, now};
use std::fmt::Write;
use std::path::Path;

/// Which settings a command is about.
#[derive(Clone, Default, Debug)]
pub struct Chosen {
    /// Only these, and those among them that are done on request, too; empty: all that are not on request.
    pub only: Vec<String>,
    pub except: Vec<String>,
}

impl Chosen {
    /// A name that is none of the table's.
    pub fn unknown(&self) -> Option<&str> {
        let known = |name: &String| crate::settings::all().any(|entry| entry.name == name);
        self.only.iter().chain(&self.except).find(|name| !known(name)).map(String::as_str)
    }

    fn takes(&self, entry: &Entry) -> bool {
        let named = self.only.iter().any(|name| name == entry.name);
        let by_us = match entry.applied {
            Applied::Written => self.only.is_empty() || named,
            Applied::OnRequest(_) => named,
            Applied::ByHand { .. } | Applied::Told(_) => false,
        };
        by_us && !self.except.iter().any(|name| name == entry.name)
    }
}

/// A change that is due, with its row.
#[derive(Debug)]
pub struct Planned {
    pub entry: &'static Entry,
    pub change: Change,
}

/// What would be changed.
pub fn plan(host: &Host, chosen: &Chosen) -> Vec<Planned> {
    let mut planned = Vec::new();
    for entry in crate::settings::all().filter(|entry| chosen.takes(entry)) {
        let found = (entry.check)(host);
        if matches!(found.state, State::Off | State::Told) {
            planned.extend(found.changes.into_iter().map(|change| Planned { entry, change }));
        }
    }
    planned
}

/// One line a change: setting, path, what is there, what is to be.
pub fn shown(planned: &[Planned]) -> String {
    let mut text = String::new();
    for Planned { entry, change } in planned {
        let _ = writeln!(text, "  {:<22} {}: {} -> {}", entry.name, change.path, change.old, change.new);
    }
    text
}

/// Records what is there, durably, beside what an earlier `apply` of this boot recorded.
pub fn record(host: &Host, planned: &[Planned], state: &Path) -> Result<(), String> {
    let boot = host.read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let earlier = Record::load(state)?.filter(|record| record.boot == boot);
    let mut record = earlier.unwrap_or_else(|| Record { made: now(), boot, changes: Vec::new() });
    for Planned { entry, change } in planned {
        record.add(entry.name, change);
    }
    record.save(state)
}

/// Makes one change and looks whether it took. `Err` says why it did not.
pub fn make(host: &Host, change: &Change) -> Result<(), String> {
    host.write(&change.path, &change.new).map_err(|error| format!("{} cannot be written: {error}", change.path))?;
    match host.read(&change.path) {
        Ok(is) if change.form.value(&is) == change.form.value(&change.new) => Ok(()),
        Ok(is) => Err(format!("{} was set to {} and says {is}", change.path, change.new)),
        Err(trouble) => Err(format!("{} cannot be read again: {trouble:?}", change.path)),
    }
}

/// What became of a recorded change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Undone {
    Back,
    /// It says what was there before already.
    WasBack,
    /// Somebody else changed it since: what it says now.
    Others(String),
    Failed(String),
}

/// Puts one recorded change back, unless somebody changed it since; `force` does so even then.
pub fn undo_one(host: &Host, change: &Change, force: bool) -> Undone {
    let is = match host.read(&change.path) {
        Ok(is) => is,
        Err(crate::host::Trouble::Absent) => return Undone::Failed(format!("{} is not there any more", change.path)),
        Err(crate::host::Trouble::Unreadable(why)) => return Undone::Failed(why),
    };
    let same = |text: &str| change.form.value(&is) == change.form.value(text);
    if same(&change.old) {
        return Undone::WasBack;
    }
    if !same(&change.new) && !force {
        return Undone::Others(is);
    }
    let back = Change { new: change.old.clone(), old: is, ..change.clone() };
    make(host, &back).map_or_else(Undone::Failed, |()| Undone::Back)
}

/// Puts everything back, the last change first. Returns what became of each; what could not be put back stays recorded.
pub fn undo(host: &Host, state: &Path, force: bool) -> Result<Vec<(Recorded, Undone)>, String> {
    let Some(record) = Record::load(state)? else {
        return Err(format!("{} is not there: nothing was applied, or it was undone already", state.display()));
    };
    let mut done: Vec<(Recorded, Undone)> = Vec::new();
    for recorded in record.changes.iter().rev() {
        done.push((recorded.clone(), undo_one(host, &recorded.change, force)));
    }
    let left = done.iter().rev().filter(|(_, how)| matches!(how, Undone::Others(_) | Undone::Failed(_)));
    let left: Vec<Recorded> = left.map(|(recorded, _)| recorded.clone()).collect();
    if left.is_empty() {
        Record::remove(state)?;
    } else {
        Record { changes: left, ..record }.save(state)?;
    }
    Ok(done)
}
