//! Lines about peers, a few a second of each kind; the rest is counted. A peer must not fill the log, nor make the loop wait for it.

use ringlog_engine::types::MonoMs;

/// Lines of one kind in a second.
const LINES_A_SECOND: u32 = 3;

/// What lines are counted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A connection was closed for what its peer sent.
    Refused,
    /// A connection was closed for what its peer does not do: send the rest, or take its answers.
    Slow,
    /// A connection was not taken in, or waits to be.
    Crowd,
    /// A connection's socket failed, and not because its peer is gone.
    Broken,
}

const KINDS: [(Kind, &str); 4] = [
    (Kind::Refused, "closed for what their peers sent"),
    (Kind::Slow, "closed for being slow while memory is short"),
    (Kind::Crowd, "closed or kept waiting for the limits on connections"),
    (Kind::Broken, "closed because their sockets failed"),
];

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    second: u64,
    lines: u32,
    left_out: u64,
}

/// On one core.
#[derive(Debug, Default)]
pub struct Notices {
    counts: [Count; KINDS.len()],
}

impl Notices {
    /// Prints a line, or counts it if there were enough of its kind in this second.
    pub fn tell(&mut self, now: MonoMs, kind: Kind, line: std::fmt::Arguments<'_>) {
        if self.passes(now, kind) {
            eprintln!("warning: {line}");
        }
    }

    fn passes(&mut self, now: MonoMs, kind: Kind) -> bool {
        let count = &mut self.counts[kind as usize];
        let second = now.0 / 1000;
        if count.second != second {
            (count.second, count.lines) = (second, 0);
        }
        let passes = count.lines < LINES_A_SECOND;
        count.lines += u32::from(passes);
        count.left_out += u64::from(!passes);
        passes
    }

    /// Prints what was left out since the last call.
    pub fn sum_up(&mut self) {
        for (kind, what) in KINDS {
            let left_out = std::mem::take(&mut self.counts[kind as usize].left_out);
            if left_out > 0 {
                eprintln!("warning: {left_out} more connections {what}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_a_second_pass_and_the_rest_is_counted() {
        let mut notices = Notices::default();
        let passed = (0..10).filter(|_| notices.passes(MonoMs(1500), Kind::Refused)).count();
        assert_eq!(passed, LINES_A_SECOND as usize);
        assert!(notices.passes(MonoMs(1500), Kind::Slow), "kinds are counted apart");
        assert!(notices.passes(MonoMs(2000), Kind::Refused), "another second");
        assert_eq!(notices.counts[Kind::Refused as usize].left_out, 7);
        notices.sum_up();
        assert_eq!(notices.counts[Kind::Refused as usize].left_out, 0);
    }
}
