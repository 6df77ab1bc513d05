//! `ringlog NAME ...` runs the program `ringlog-NAME`, as git does: first from the folder of this binary, then from PATH.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use super::output::Failure;

/// Becomes the program, with the words after its name as arguments; returns only if that fails.
pub(super) fn run(words: &[OsString], known: &[String]) -> Result<(), Failure> {
    let (name, arguments) = words.split_first().expect("an external command has a name");
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = beside.into_iter().chain(std::env::split_paths(&path)).collect();
    let Some(program) = find(name, &folders) else {
        return Err(Failure::Usage(unknown(&name.to_string_lossy(), known)));
    };
    let error = std::process::Command::new(&program).args(arguments).exec();
    Err(Failure::Failed(format!("cannot run {}: {error}", program.display())))
}

fn find(name: &OsStr, folders: &[PathBuf]) -> Option<PathBuf> {
    if name.is_empty() || name.as_bytes().contains(&b'/') {
        return None;
    }
    let mut file = OsString::from("ringlog-");
    file.push(name);
    folders.iter().map(|folder| folder.join(&file)).find(|candidate| {
        candidate.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

fn unknown(name: &str, known: &[String]) -> String {
    let nearest = known.iter().map(|k| (distance(name, k), k)).min().filter(|(d, _)| *d <= 2);
    let hint = nearest.map_or(String::new(), |(_, k)| format!(" Did you mean `ringlog {k}`?"));
    format!(
        "`{name}` is not a command, and there is no program ringlog-{name} beside ringlog or in PATH.{hint} See `ringlog --help`."
    )
}

/// How many letters to insert, remove or replace to turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_first_executable_of_that_name_is_found() {
        let base = std::env::temp_dir().join(format!("ringlog-external-{}", std::process::id()));
        let (one, two) = (base.join("one"), base.join("two"));
        for folder in [&one, &two] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("ringlog-x"), "#!/bin/sh\n").unwrap();
        }
        fs::set_permissions(two.join("ringlog-x"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(one.join("ringlog-x"), fs::Permissions::from_mode(0o644)).unwrap();
        let folders = [one.clone(), two.clone()];
        assert_eq!(find(OsStr::new("x"), &folders), Some(two.join("ringlog-x")));
        assert_eq!(find(OsStr::new("y"), &folders), None);
        assert_eq!(find(OsStr::new("../two/ringlog-x"), &folders), None);
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_typing_error_is_answered_with_the_nearest_command() {
        let known = ["topic", "produce", "consume"].map(str::to_string);
        assert!(unknown("topci", &known).contains("`ringlog topic`"));
        assert!(!unknown("zebra", &known).contains("Did you mean"));
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
