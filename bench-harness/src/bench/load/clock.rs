//! Clocks of a client core: the machine's monotonic one, which planned times are in, and the thread's own CPU time.

use nix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds in a second.
pub(super) const SECOND: u64 = 1_000_000_000;

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has this clock");
    time.tv_sec() as u64 * SECOND + time.tv_nsec() as u64
}

/// CLOCK_MONOTONIC in nanoseconds: the same on every core, and in every process, of this machine.
pub(super) fn now() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread, nanoseconds.
pub(super) fn thread_cpu() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// Milliseconds since 1970.
pub(super) fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// Seconds as nanoseconds; nothing negative.
pub(super) fn nanos(seconds: f64) -> u64 {
    (seconds.max(0.0) * SECOND as f64) as u64
}
