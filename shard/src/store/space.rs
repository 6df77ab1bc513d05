//! How much room the log directories have, and which of them failed. A thread of its own asks the file systems once a
//! second, as their answer can take long; every core looks at what was found, and tells here when a directory fails it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// How often the file systems are asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// One log directory. Shared by all cores; plain figures, none of which has to fit another.
#[derive(Debug)]
struct DirSpace {
    path: PathBuf,
    total_bytes: AtomicI64,
    usable_bytes: AtomicI64,
    failed: AtomicBool,
}

/// All log directories, in the order of the store's.
#[derive(Debug)]
pub struct Space {
    dirs: Vec<DirSpace>,
}

impl Space {
    /// Asks once now and, on a thread that ends with the process, every second.
    pub fn watch(paths: impl Iterator<Item = PathBuf>) -> std::io::Result<Arc<Space>> {
        let dirs = paths.map(|path| DirSpace {
            path,
            total_bytes: AtomicI64::new(-1),
            usable_bytes: AtomicI64::new(-1),
            failed: AtomicBool::new(false),
        });
        let space = Arc::new(Space { dirs: dirs.collect() });
        space.look();
        let watched = space.clone();
        std::thread::Builder::new().name("disks".into()).spawn(move || {
            loop {
                std::thread::sleep(INTERVAL);
                watched.look();
            }
        })?;
        Ok(space)
    }

    fn look(&self) {
        for dir in &self.dirs {
            let Ok(found) = nix::sys::statvfs::statvfs(&dir.path) else { continue };
            let unit = found.fragment_size() as i64;
            dir.total_bytes.store(found.blocks() as i64 * unit, Ordering::Relaxed);
            dir.usable_bytes.store(found.blocks_available() as i64 * unit, Ordering::Relaxed);
        }
    }

    /// Bytes of a directory's file system: all, and those this process may still take; -1 where unknown.
    pub fn of(&self, dir: u8) -> (i64, i64) {
        let dir = &self.dirs[usize::from(dir)];
        (dir.total_bytes.load(Ordering::Relaxed), dir.usable_bytes.load(Ordering::Relaxed))
    }

    /// A core was failed by a directory: no other goes on with it.
    pub fn fail(&self, dir: u8) {
        self.dirs[usize::from(dir)].failed.store(true, Ordering::Relaxed);
    }

    pub fn has_failed(&self, dir: u8) -> bool {
        self.dirs[usize::from(dir)].failed.load(Ordering::Relaxed)
    }
}
