//! Waiting in tests: for the thing itself, looked at again and again, never for a time that should be enough.

use std::time::{Duration, Instant};

/// How long a thing that must happen may take before it counts as not happening.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until it is so; panics after [`PATIENCE`].
pub fn until(what: &str, so: impl FnMut() -> bool) {
    within(PATIENCE, what, so);
}

/// Looks until it is so; panics after `patience`.
pub fn within(patience: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
