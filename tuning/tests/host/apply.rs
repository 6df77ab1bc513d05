//! Changes made and taken back: against a tree of files, and where this process may, against the kernel.

use super::tree::{DATA, DISK, Tree};
use ringlog_tuning::apply::{self, Chosen};
use ringlog_tuning::host::Host;
use ringlog_tuning::record::Record;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SWAPPINESS: &str = "/proc/sys/vm/swappiness";
const DIRTY: &str = "/proc/sys/vm/dirty_ratio";
const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";

/// A tree in which some settings are off, and where changes are recorded.
fn off() -> (Tree, PathBuf) {
    let tree = Tree::good();
    tree.put(SWAPPINESS, "60");
    tree.put(DIRTY, "20");
    tree.put(SOMAXCONN, "128");
    tree.put(&format!("{DISK}/queue/scheduler"), "none [mq-deadline]");
    let state = tree.root.join("state/tune.json");
    (tree, state)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn values(tree: &Tree) -> Vec<String> {
    [SWAPPINESS, DIRTY, SOMAXCONN, &format!("{DISK}/queue/scheduler")].map(|path| tree.get(path)).to_vec()
}

#[test]
fn what_is_applied_is_undone() {
    let (tree, state) = off();
    let shown = tree.tuned(&["apply", "--dry-run", "--data-dir", DATA, "--state", text(&state)]);
    assert!(shown.contains(&format!("{SWAPPINESS}: 60 -> 1")) && shown.contains("4 change(s)"), "{shown}");
    assert!(!state.exists() && tree.get(SWAPPINESS) == "60");
    tree.tuned(&["apply", "--yes", "--data-dir", DATA, "--state", text(&state)]);
    assert_eq!(values(&tree), ["1", "10", "4096", "none"]);
    // Nothing is left to do, and what is recorded stays.
    let again = tree.tuned(&["apply", "--yes", "--data-dir", DATA, "--state", text(&state)]);
    assert_eq!(again, "nothing to change\n");
    let out = tree.tuned(&["undo", "--yes", "--state", text(&state)]);
    assert!(out.contains("60 again"), "{out}");
    assert_eq!(values(&tree), ["60", "20", "128", "mq-deadline"]);
    assert!(!state.exists());
    assert!(!tree.tune(&["undo", "--yes", "--state", text(&state)]).status.success(), "there is nothing to undo");
}

#[test]
fn nobody_is_asked_where_nobody_is() {
    let (tree, state) = off();
    let out = tree.tune(&["apply", "--state", text(&state)]);
    assert!(!out.status.success() && tree.get(SWAPPINESS) == "60" && !state.exists(), "{out:?}");
    let out = tree.tune(&["apply", "--only", "swapiness"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("swapiness is no setting"), "{out:?}");
}

#[test]
fn what_is_on_request_is_left_unless_named() {
    let (tree, state) = off();
    let idle = "/sys/devices/system/cpu/cpu0/cpuidle/state2/disable";
    tree.put(idle, "0");
    tree.tuned(&["apply", "--yes", "--except", "somaxconn", "--state", text(&state)]);
    assert_eq!((tree.get(idle), tree.get(SWAPPINESS), tree.get(SOMAXCONN)), ("0".into(), "1".into(), "128".into()));
    tree.tuned(&["apply", "--yes", "--only", "idle-states", "--state", text(&state)]);
    assert_eq!((tree.get(idle), tree.get(SOMAXCONN)), ("1".into(), "128".into()));
    tree.tuned(&["undo", "--yes", "--state", text(&state)]);
    assert_eq!((tree.get(idle), tree.get(SWAPPINESS)), ("0".into(), "60".into()));
}

/// Killed after any number of changes: all of them are recorded before the first.
#[test]
fn an_apply_that_was_cut_off_is_undone() {
    let planned = |tree: &Tree| {
        let host = Host::new(&tree.root, Some(Path::new(DATA)));
        let planned = apply::plan(&host, &Chosen::default());
        (host, planned)
    };
    let count = planned(&off().0).1.len();
    assert_eq!(count, 4);
    for made in 0..=count {
        let (tree, state) = off();
        let before = values(&tree);
        let (host, planned) = planned(&tree);
        apply::record(&host, &planned, &state).expect("it is recorded");
        for planned in &planned[..made] {
            apply::make(&host, &planned.change).expect("it is made");
        }
        tree.tuned(&["undo", "--yes", "--state", text(&state)]);
        // The tree does not put brackets around what is chosen.
        let plain =
            |all: Vec<String>| all.iter().map(|v| v.replace("none [mq-deadline]", "mq-deadline")).collect::<Vec<_>>();
        assert_eq!(plain(values(&tree)), plain(before), "after {made} changes");
        assert!(!state.exists());
    }
}

#[test]
fn what_somebody_else_changed_is_left_alone_unless_forced() {
    let (tree, state) = off();
    tree.tuned(&["apply", "--yes", "--state", text(&state)]);
    tree.put(SWAPPINESS, "30");
    let out = tree.tune(&["undo", "--yes", "--state", text(&state)]);
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(!out.status.success() && said.contains("somebody set it to 30 since"), "{out:?}");
    assert_eq!((tree.get(SWAPPINESS), tree.get(DIRTY)), ("30".into(), "20".into()));
    let left = Record::load(&state).expect("it is read").expect("it is there");
    assert_eq!(left.changes.len(), 1);
    tree.tuned(&["undo", "--yes", "--force", "--state", text(&state)]);
    assert_eq!(tree.get(SWAPPINESS), "60");
    assert!(!state.exists());
}

#[test]
fn what_was_there_first_is_kept_until_the_next_boot() {
    let (tree, state) = off();
    tree.tuned(&["apply", "--yes", "--only", "swappiness", "--state", text(&state)]);
    tree.put(SWAPPINESS, "40");
    tree.tuned(&["apply", "--yes", "--only", "swappiness", "--state", text(&state)]);
    let old = || Record::load(&state).expect("read").expect("there").changes[0].change.old.clone();
    assert_eq!(old(), "60", "the first value is what is put back");
    tree.put("/proc/sys/kernel/random/boot_id", "boot-2");
    tree.put(SWAPPINESS, "50");
    tree.tuned(&["apply", "--yes", "--only", "swappiness", "--state", text(&state)]);
    assert_eq!(old(), "50", "an earlier boot's values are nobody's");
}

#[test]
fn a_record_that_others_may_write_is_not_believed() {
    let (tree, state) = off();
    tree.tuned(&["apply", "--yes", "--state", text(&state)]);
    let mut open = std::fs::metadata(&state).expect("it is there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o666);
    std::fs::set_permissions(&state, open).expect("ours");
    let out = tree.tune(&["undo", "--yes", "--state", text(&state)]);
    assert!(!out.status.success() && String::from_utf8_lossy(&out.stderr).contains("not believed"), "{out:?}");
    assert_eq!(tree.get(SWAPPINESS), "1");
}

#[test]
fn what_cannot_be_written_is_told_and_the_rest_is_done() {
    let (tree, state) = off();
    let host = Host::new(&tree.root, None);
    let planned = apply::plan(&host, &Chosen { only: vec!["swappiness".into()], except: Vec::new() });
    tree.spoil(SWAPPINESS);
    let why = apply::make(&host, &planned[0].change).expect_err("it cannot be written");
    assert!(why.contains(SWAPPINESS), "{why}");
    let blocked = tree.root.join("state");
    std::fs::write(&blocked, "a file where a folder is to be").expect("a file");
    let out = tree.tune(&["apply", "--yes", "--state", text(&state)]);
    assert!(!out.status.success() && tree.get(SOMAXCONN) == "128", "nothing is changed that is not recorded: {out:?}");
}

/// A loop device of our own, where this process may make one.
struct Loop {
    device: String,
    file: PathBuf,
}

impl Loop {
    fn make() -> Option<Loop> {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("loop-{}", std::process::id()));
        std::fs::File::create(&file).and_then(|f| f.set_len(1 << 20)).expect("a file");
        let made = Command::new("losetup").args(["--show", "--find"]).arg(&file).stderr(Stdio::null()).output();
        let device = made
            .ok()
            .filter(|out| out.status.success())
            .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_string());
        if device.is_none() {
            let _ = std::fs::remove_file(&file);
        }
        Some(Loop { device: device?, file })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
        let _ = std::fs::remove_file(&self.file);
    }
}

/// The kernel's own files behave as the tree's: a read-ahead of a device of ours is changed and put back.
#[test]
fn the_kernel_takes_what_is_applied_and_undone() {
    let Some(device) = Loop::make() else { return eprintln!("not tried: no loop device can be made here") };
    let host = Host::new(Path::new("/"), None);
    let name = device.device.trim_start_matches("/dev/").to_string();
    let queue = |file: &str| format!("/sys/block/{name}/queue/{file}");
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("real-{}.json", std::process::id()));
    let entry = ringlog_tuning::settings::all().find(|e| e.name == "read-ahead").expect("it is in the table");
    let mut planned = Vec::new();
    let read = |path: &str| host.read(path).expect("the kernel has it");
    for (file, form, new) in [
        ("read_ahead_kb", ringlog_tuning::entry::Form::Plain, "64"),
        ("scheduler", ringlog_tuning::entry::Form::Choice, "mq-deadline"),
    ] {
        let (path, old) = (queue(file), form.value(&read(&queue(file))));
        if file == "scheduler" && !read(&path).contains("mq-deadline") {
            continue;
        }
        planned
            .push(apply::Planned { entry, change: ringlog_tuning::entry::Change { path, form, old, new: new.into() } });
    }
    let before: Vec<String> = planned.iter().map(|p| read(&p.change.path)).collect();
    apply::record(&host, &planned, &state).expect("it is recorded");
    for planned in &planned {
        apply::make(&host, &planned.change).expect("the kernel takes it");
        assert_eq!(planned.change.form.value(&read(&planned.change.path)), planned.change.new);
    }
    let undone = apply::undo(&host, &state, false).expect("it is undone");
    assert!(undone.iter().all(|(_, how)| *how == apply::Undone::Back), "{undone:?}");
    let after: Vec<String> = planned.iter().map(|p| read(&p.change.path)).collect();
    assert_eq!(after, before);
    assert!(!state.exists());
}
