//! Checks the batches that would hold a core's loop for long: large compressed ones, and those that are to be compressed anew.
//! One for the process, on a thread of its own, so that the memory such a batch takes is there once, however many cores.
//!
//! Cores reach it by mail, as they reach each other: in the line of cores it comes after the last. A simulator turns it
//! where it likes. Not here: which batches are for it, and who waits for them (`core/heavy.rs`).

use crate::core::conn::{FEW_PIECES, slices};
use crate::core::{Post, SCRATCH_KEEP};
use crate::mail::{Check, CheckOutcome, Checked, Mail};
use ringlog_engine::batch::{Rules, Scratch, Verdict, validate};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::CoreId;

/// The checker. Pure but for its mail.
pub struct Checker {
    post: Post,
    scratch: Scratch,
}

impl Checker {
    pub fn new(post: Post) -> Checker {
        Checker { post, scratch: Scratch::default() }
    }

    /// Checks at most one batch of each core; `wake` is called for cores that sleep. False if there was nothing to check.
    pub fn turn(&mut self, mut wake: impl FnMut(CoreId)) -> bool {
        let mut found = false;
        for core in 0..self.post.from.len() {
            let Some(mail) = self.post.from[core].pop() else { continue };
            let Mail::Check(check) = mail else { panic!("core {core} sent the checker {mail:?}") };
            let Check { reply, rules, pieces } = *check;
            let outcome = self.check(&rules, &pieces);
            self.post.send(reply.core, Mail::Checked(Box::new(Checked { reply, outcome, pieces })));
            self.post.flush(&mut wake);
            found = true;
        }
        found
    }

    /// Turns for ever. `sleep` returns after somebody woke this checker, and may return for no reason.
    pub fn run(mut self, mut wake: impl FnMut(CoreId), mut sleep: impl FnMut()) -> ! {
        let me = self.post.parked.len() - 1;
        loop {
            while self.turn(&mut wake) {}
            self.post.parked[me].park();
            if !self.post.waiting() {
                sleep();
            }
            self.post.parked[me].unpark();
        }
    }

    fn check(&mut self, rules: &Rules, pieces: &[crate::io::memory::Span]) -> CheckOutcome {
        let (mut few, mut many) = ([&[][..]; FEW_PIECES], Vec::new());
        let batch = Rope::new(slices(pieces, &mut few, &mut many));
        let outcome = validate(batch, rules, &mut self.scratch).map(|validated| {
            let body = (validated.verdict == Verdict::Rewritten).then(|| self.scratch.take_body());
            (validated, body)
        });
        self.scratch.shrink(SCRATCH_KEEP);
        outcome
    }
}
