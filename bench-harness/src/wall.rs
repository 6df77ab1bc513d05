//! A broker's wall clock, to be stepped while it runs: a library laid before the C library adds seconds to it.

use crate::broker::Broker;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

/// The machine's clock and so many seconds.
#[derive(Debug)]
pub struct Wall(File);

impl Wall {
    /// Of a broker that is not started yet. Panics where there is no C compiler.
    pub fn of(broker: &mut Broker) -> Wall {
        let dir = broker.log_path().parent().expect("the log lies in a folder").to_path_buf();
        let (library, path) = (dir.join("clock.so"), dir.join("clock"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/clock.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(built.expect("a C compiler").success());
        let file = File::options().write(true).create_new(true).open(&path).expect("a file");
        let wall = Wall(file);
        wall.set(0);
        let env = [("LD_PRELOAD", library), ("RINGLOG_CLOCK", path)];
        broker.options_mut().env.extend(env.map(|(name, path)| (name.to_string(), path.display().to_string())));
        wall
    }

    /// From now on it is so many seconds ahead of the machine's.
    pub fn set(&self, ahead_s: i64) {
        self.0.write_all_at(&ahead_s.to_le_bytes(), 0).expect("room for a number");
    }
}
