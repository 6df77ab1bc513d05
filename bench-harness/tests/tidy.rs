//! The rules of this repository that a program can check, each with a list of its exceptions and their reasons. An exception that
//! is not needed any more fails too. What only a reader can judge is not here.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/source.rs"]
mod source;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a file, and of a function.
const FILE_LINES: usize = 1000;
const FUNCTION_LINES: usize = 70;

/// Where something is and why it may be there.
type Exception = (&'static str, &'static str);

/// A function, as `file::function`, that may be longer.
const LONG_FUNCTIONS: &[Exception] = &[];

/// A file, or a folder ending with `/`, that may say `unsafe`.
const UNSAFE: &[Exception] = &[
    (
        "shard/src/io/",
        "where the kernel, mapped memory and queues between cores are dealt with; each use says why it is sound",
    ),
    (
        "bench-harness/src/bench/roofline/ring.rs",
        "a ring without the broker around it: what the kernel may touch is owned by the operation until it ends",
    ),
    ("bench-harness/fuzz/targets/memory.rs", "an allocator that counts: implementing GlobalAlloc is unsafe"),
    ("net/tests/fuzz.rs", "an allocator that counts: implementing GlobalAlloc is unsafe"),
    ("shard/tests/io_conformance.rs", "an allocator that counts: implementing GlobalAlloc is unsafe"),
];

/// A file, or a folder ending with `/`, that may name the `kafka_protocol` crate.
const KAFKA_PROTOCOL: &[Exception] =
    &[("net/src/cold/", "the cold codec, which others reach through `cold::messages`")];

/// A test program that `cargo test` leaves out.
const LEFT_OUT: &[Exception] = &[];

/// Folders that are not the repository's, where git cannot tell.
const NOT_OURS: [&str; 4] = [".git", "target", "ringlog-data", "__pycache__"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Paths of all files of the repository, from its root; where there is no git, of all files that are there.
fn files() -> Vec<String> {
    let git = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let mut files = match git {
        Ok(out) if out.status.success() && !out.stdout.is_empty() => {
            let listed = String::from_utf8(out.stdout).expect("names are UTF-8");
            listed.split_terminator('\0').map(str::to_string).collect()
        }
        _ => walk(&root(), ""),
    };
    files.retain(|path| root().join(path).is_file());
    assert!(files.len() > 100, "the repository's files were not found");
    files
}

fn walk(folder: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder is read").flatten() {
        let name = entry.file_name().into_string().expect("names are UTF-8");
        if NOT_OURS.contains(&name.as_str()) || name.starts_with("target-") {
            continue;
        }
        match entry.path().is_dir() {
            true => found.extend(walk(&entry.path(), &format!("{prefix}{name}/"))),
            false => found.push(format!("{prefix}{name}")),
        }
    }
    found
}

/// A file's text; what is no text in it reads as U+FFFD.
fn read(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every Rust file with its text and its code.
fn rust() -> impl Iterator<Item = (String, String, String)> {
    files().into_iter().filter(|path| path.ends_with(".rs")).map(|path| {
        let text = read(&path);
        let code = source::code_of(&text);
        (path, text, code)
    })
}

/// Fails with everything found that is no exception, and every exception that nothing needs. `found`: where, and what to say.
fn judge(rule: &str, found: &[(String, String)], exceptions: &[Exception]) {
    let covers = |of: &str, place: &str| of == place || (of.ends_with('/') && place.starts_with(of));
    let mut report = String::new();
    for (place, what) in found {
        if !exceptions.iter().any(|(of, _)| covers(of, place)) {
            let _ = writeln!(report, "  {what}");
        }
    }
    for (of, reason) in exceptions {
        assert!(!reason.is_empty(), "{rule}: the exception of {of} has no reason");
        if !found.iter().any(|(place, _)| covers(of, place)) {
            let _ = writeln!(report, "  the exception of {of} is not needed any more: remove it");
        }
    }
    assert!(report.is_empty(), "{rule}:\n{report}");
}

#[test]
fn every_rust_file_begins_by_saying_what_it_is() {
    let found: Vec<_> =
        rust().filter(|(_, text, _)| !text.starts_with("//! ")).map(|(path, ..)| (path.clone(), path)).collect();
    judge("no `//!` header in the first line", &found, &[]);
}

#[test]
fn files_are_short() {
    let counted =
        files().into_iter().filter(|path| path.ends_with(".rs") || path.starts_with("bench-harness/clients/"));
    let long = counted.map(|path| (read(&path).lines().count(), path)).filter(|(lines, _)| *lines > FILE_LINES);
    let found: Vec<_> = long.map(|(lines, path)| (path.clone(), format!("{path}: {lines} lines"))).collect();
    judge(&format!("files of more than {FILE_LINES} lines"), &found, &[]);
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for (path, _, code) in rust() {
        for f in source::functions(&code).into_iter().filter(|f| f.lines > FUNCTION_LINES) {
            found.push((format!("{path}::{}", f.name), format!("{path}:{}: {} has {} lines", f.line, f.name, f.lines)));
        }
    }
    judge(&format!("functions of more than {FUNCTION_LINES} lines"), &found, LONG_FUNCTIONS);
}

/// Where a word stands in the code of Rust files.
fn uses(name: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, _, code) in rust() {
        if let Some((line, _)) = source::words(&code).find(|(_, word)| *word == name) {
            found.push((path.clone(), format!("{path}:{line}")));
        }
    }
    found
}

#[test]
fn unsafe_stays_where_it_is_allowed() {
    judge("`unsafe` outside its places", &uses("unsafe"), UNSAFE);
    for root in ["engine/src/lib.rs", "net/src/lib.rs", "tuning/src/lib.rs"] {
        assert!(source::code_of(&read(root)).contains("#![forbid(unsafe_code)]"), "{root} does not forbid unsafe code");
    }
}

#[test]
fn unsafe_says_why_it_is_sound() {
    let mut found = Vec::new();
    // Implementing a trait whose methods are unsafe is not using them: what allocators of tests do is not asked.
    for (path, text, code) in rust().filter(|(path, ..)| !path.contains("/tests/")) {
        let lines: Vec<&str> = text.lines().collect();
        for (line, _) in source::words(&code).filter(|(_, word)| *word == "unsafe") {
            // Above the statement it is part of, or in the documentation of an unsafe function.
            let near = &lines[line.saturating_sub(12)..line];
            if !near.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety")) {
                found.push((path.clone(), format!("{path}:{line}")));
            }
        }
    }
    judge("`unsafe` without SAFETY in the lines above it", &found, &[]);
}

#[test]
fn kafka_protocol_is_named_by_the_cold_codec_alone() {
    judge("`kafka_protocol` named", &uses("kafka_protocol"), KAFKA_PROTOCOL);
}

/// Names of the packages in the dependency sections of a crate's Cargo.toml.
fn dependencies(folder: &str) -> Vec<String> {
    let (mut inside, mut found) = (false, Vec::new());
    for line in read(&format!("{folder}/Cargo.toml")).lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside && let Some((name, _)) = line.split_once(['.', '=', ' ']) {
            found.push(name.trim().to_string());
        }
    }
    found
}

#[test]
fn the_crates_are_a_line() {
    let line = ["engine", "net", "shard", "bench-harness"];
    let world = ["io-uring", "nix", "libc", "core_affinity", "tokio", "mio", "rand", "getrandom"];
    for (k, folder) in line.iter().enumerate() {
        let used = dependencies(folder);
        assert!(!used.is_empty(), "{folder} uses nothing?");
        for other in &line[k..] {
            assert!(!used.contains(&format!("ringlog-{other}")), "{folder} uses {other}, which comes after it");
        }
        if k < 2 {
            let found: Vec<_> = used.iter().filter(|name| world.contains(&name.as_str())).collect();
            assert!(found.is_empty(), "{folder} is pure and uses {found:?}");
        }
        let speaks = used.iter().any(|name| name == "kafka-protocol");
        assert_eq!(speaks, *folder == "net", "kafka-protocol in {folder}");
        // The broker's ring, and the bare one that it is measured against.
        let has_ring = used.iter().any(|name| name == "io-uring");
        assert_eq!(has_ring, ["shard", "bench-harness"].contains(folder), "io-uring in {folder}");
    }
}

/// It reads and changes the host; of the broker it knows the names of settings. Nobody knows it.
#[test]
fn tuning_stands_beside_the_line() {
    let ours = |folder: &str| -> Vec<String> {
        dependencies(folder).into_iter().filter(|name| name.starts_with("ringlog-")).collect()
    };
    assert_eq!(ours("tuning"), ["ringlog-engine"]);
    for folder in ["engine", "net", "shard", "bench-harness"] {
        assert!(!ours(folder).contains(&"ringlog-tuning".to_string()), "{folder} uses tuning");
    }
}

#[test]
fn nothing_is_left_to_do_and_nothing_is_skipped() {
    let mut found = Vec::new();
    for path in files().into_iter().filter(|path| !path.ends_with(".lock")) {
        let text = read(&path);
        // Put together, so that this file does not hold what it looks for.
        for mark in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            found.extend(text.contains(mark).then(|| (path.clone(), format!("{path}: {mark}"))));
        }
    }
    for (path, _, code) in rust() {
        for mark in [concat!("todo", "!"), concat!("unimplemented", "!"), concat!("#[ign", "ore")] {
            found.extend(code.contains(mark).then(|| (path.clone(), format!("{path}: {mark}"))));
        }
    }
    judge("marks of unfinished work", &found, &[]);
}

#[test]
fn cargo_test_runs_every_test_program() {
    let mut found = Vec::new();
    for folder in ["engine", "net", "shard", "bench-harness", "tuning"] {
        let text = read(&format!("{folder}/Cargo.toml"));
        for section in text.split("\n[").filter(|s| s.starts_with("[test]]") && s.contains("test = false")) {
            let path = section.lines().find_map(|l| l.strip_prefix("path = ")).unwrap_or("?").trim_matches('"');
            found.push((format!("{folder}/{path}"), format!("{folder}/{path}")));
        }
    }
    judge("test programs that `cargo test` leaves out", &found, LEFT_OUT);
}

#[test]
fn files_tell_nothing_of_the_machine_they_were_written_on() {
    let marks = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("npmjs", ".org"),
        concat!("proxy.go", "lang"),
        concat!("repo.ma", "ven"),
        concat!("deb.de", "bian"),
        concat!("arti", "factory"),
    ];
    let mut found = Vec::new();
    for path in files().into_iter().filter(|path| path != "Cargo.lock") {
        let text = read(&path);
        for mark in marks.iter().filter(|mark| text.contains(**mark)) {
            found.push((path.clone(), format!("{path}: {mark}")));
        }
    }
    judge("paths and hosts of somebody's machine", &found, &[]);
    let index = concat!("\"registry+https://github.com/rust-lang/crates", ".io-index\"");
    let lock = read("Cargo.lock");
    let strange: Vec<_> = lock.lines().filter(|l| l.starts_with("source = ") && !l.ends_with(index)).collect();
    assert!(strange.is_empty(), "packages from elsewhere than the public index: {strange:?}");
}

#[test]
fn an_exception_must_be_needed() {
    let found = [("a/b.rs".to_string(), "a/b.rs:1".to_string())];
    judge("a rule", &found, &[("a/", "a reason")]);
    for exceptions in [&[][..], &[("a/", "a reason"), ("c.rs", "a reason")][..], &[("a/b.rs", "")][..]] {
        let failed = std::panic::catch_unwind(|| judge("a rule", &found, exceptions));
        assert!(failed.is_err(), "{exceptions:?}");
    }
}
