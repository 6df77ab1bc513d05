//! The machine as the checks see it: files under a root, and the output of a few programs. With another root a tree of files
//! stands in for a machine, and the output of `NAME ARGUMENTS` is the file `commands/NAME ARGUMENTS` in it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why something is not known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// There is no such file: this kernel or machine does not have it.
    Absent,
    /// It may be there, and cannot be read.
    Unreadable(String),
}

#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    /// The log directory the storage settings are about.
    data_dir: Option<PathBuf>,
}

impl Host {
    pub fn new(root: &Path, data_dir: Option<&Path>) -> Host {
        let real = root == Path::new("/");
        let data_dir = data_dir.map(|dir| if real { canonical(dir) } else { dir.to_path_buf() });
        Host { root: root.to_path_buf(), data_dir }
    }

    pub fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// Where a path of the machine is found.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text without the white space around it.
    pub fn read(&self, path: &str) -> Result<String, Trouble> {
        match std::fs::read(self.at(path)) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().to_string()),
            Err(error) => Err(trouble(path, &error)),
        }
    }

    /// A file that holds one number.
    pub fn number(&self, path: &str) -> Result<i64, Trouble> {
        let text = self.read(path)?;
        text.parse().map_err(|_| Trouble::Unreadable(format!("{path} says {text:?}, which is no number")))
    }

    /// The names in a folder, in order.
    pub fn list(&self, path: &str) -> Result<Vec<String>, Trouble> {
        let entries = std::fs::read_dir(self.at(path)).map_err(|error| trouble(path, &error))?;
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_by_key(|name| (trailing_number(name), name.clone()));
        Ok(names)
    }

    pub fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The path behind symbolic links, as one of the machine.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let found = std::fs::canonicalize(self.at(path)).ok()?;
        let root = std::fs::canonicalize(&self.root).ok()?;
        Some(format!("/{}", found.strip_prefix(root).ok()?.display()))
    }

    /// Writes a setting as the kernel wants it: in one piece, with a newline.
    pub fn write(&self, path: &str, text: &str) -> io::Result<()> {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().write(true).truncate(!self.is_real()).open(self.at(path))?;
        file.write_all(format!("{text}\n").as_bytes())
    }

    /// What a program prints.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String, Trouble> {
        let line = format!("{program} {}", arguments.join(" "));
        if !self.is_real() {
            return self.read(&format!("/commands/{line}"));
        }
        match Command::new(program).args(arguments).output() {
            Ok(done) if done.status.success() => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
            Ok(done) => Err(Trouble::Unreadable(format!("`{line}`: {}", String::from_utf8_lossy(&done.stderr).trim()))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Trouble::Unreadable(format!("{program} is not installed")))
            }
            Err(error) => Err(Trouble::Unreadable(format!("`{line}`: {error}"))),
        }
    }
}

fn trouble(path: &str, error: &io::Error) -> Trouble {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Trouble::Absent,
        _ => Trouble::Unreadable(format!("{path}: {error}")),
    }
}

/// `rx-10` comes after `rx-9`.
fn trailing_number(name: &str) -> u64 {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.parse().unwrap_or(0)
}

/// The path behind symbolic links, of a directory that may not be there yet.
fn canonical(dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    for ancestor in absolute.ancestors() {
        if let Ok(found) = std::fs::canonicalize(ancestor) {
            let rest = absolute.strip_prefix(ancestor).expect("an ancestor is a prefix");
            return if rest.as_os_str().is_empty() { found } else { found.join(rest) };
        }
    }
    absolute
}

/// Reads `0-3,8` as the kernel writes lists of CPUs.
pub fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > 1 << 16 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpu_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpu_list("\n"), Some(vec![]));
        for wrong in ["a", "3-1", "0-99999999"] {
            assert_eq!(cpu_list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_directory_to_be_is_found_on_the_mount_of_its_parent() {
        assert_eq!(canonical(Path::new("/proc/self/../none/at/all")), Path::new("/proc/none/at/all"));
        assert_eq!(canonical(Path::new("/")), Path::new("/"));
    }
}
