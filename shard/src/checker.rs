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

    /// Turns for ever, at the place `me` in the line of cores. `sleep` returns after somebody woke this checker, and may return for
    /// no reason.
    pub fn run(mut self, me: usize, mut wake: impl FnMut(CoreId), mut sleep: impl FnMut()) -> ! {
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
        Box::new(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::BlockPool;
    use crate::io::queue::{Parked, channel};
    use crate::mail::{ReplyTo, SlotAddr};
    use ringlog_engine::ErrorCode;
    use ringlog_engine::batch::{BatchBuilder, TimestampType};
    use ringlog_engine::codec::{Codec, Encoder, TargetCodec};
    use ringlog_engine::types::WallMs;

    /// The posts of two cores and of the checker.
    fn posts() -> [Post; 3] {
        let parked: std::sync::Arc<[Parked]> = (0..3).map(|_| Parked::new()).collect();
        let mut from: [Vec<_>; 3] = Default::default();
        let to = [(); 3].map(|()| {
            let queues = from.each_mut().map(|receivers| {
                let (sender, receiver) = channel(2);
                receivers.push(receiver);
                sender
            });
            Vec::from(queues)
        });
        let mut from = from.into_iter();
        to.map(|to| Post::new(to, from.next().expect("as many"), parked.clone()))
    }

    fn check(core: u16, pool: &mut BlockPool, batch: &[u8], compression: TargetCodec) -> Mail {
        let mut block = pool.take(batch.len()).expect("memory");
        block.append(batch);
        let half = batch.len() / 2;
        let slot = SlotAddr { conn: 3, generation: 1, request: 9 };
        let rules = Rules {
            now: WallMs(1_700_000_000_000),
            max_message_bytes: 1 << 20,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            compacted: false,
            compression,
            decompressed_max_bytes: 64 << 20,
            produce_version: 9,
        };
        Mail::Check(Box::new(Check {
            reply: ReplyTo { core: CoreId(core), slot, part: 2 },
            rules,
            pieces: vec![block.span(0, half), block.span(half, batch.len() - half)],
        }))
    }

    /// As a simulator drives it: one batch of each core a turn, answers to who asked, and only sleepers are woken.
    #[test]
    fn answers_core_by_core() {
        let [mut first, mut second, checkers] = posts();
        let mut checker = Checker::new(checkers);
        let mut pool = BlockPool::new(1 << 20);
        let mut batch = Vec::new();
        let mut builder = BatchBuilder::new();
        builder.append(1_700_000_000_000, None, Some(&[7; 1000]), &[]);
        builder.finish(0, -1, Codec::Zstd, 3, &mut Encoder::default(), &mut batch);
        let (me, as_is, anew) = (CoreId(2), TargetCodec::Producer, TargetCodec::fixed(Codec::Gzip));
        assert!(!checker.turn(|core| panic!("nobody asked, {core:?} was woken")));
        first.send(me, check(0, &mut pool, &batch, as_is));
        first.send(me, check(0, &mut pool, &batch, anew));
        let mut damaged = batch.clone();
        damaged[70] ^= 1;
        second.send(me, check(1, &mut pool, &damaged, as_is));
        second.parked[1].park();
        let mut woken = Vec::new();
        while checker.turn(|core| woken.push(core)) {}
        assert_eq!(woken, [CoreId(1)]);
        let next = |post: &mut Post| match post.from[2].pop() {
            Some(Mail::Checked(checked)) => {
                assert_eq!((checked.reply.part, checked.pieces.len()), (2, 2));
                *checked.outcome
            }
            other => panic!("{other:?} is no answer"),
        };
        assert!(next(&mut first).is_ok_and(|(v, body)| v.verdict == Verdict::AsIs && body.is_none()));
        assert!(next(&mut first).is_ok_and(|(v, body)| v.verdict == Verdict::Rewritten && body.is_some()));
        assert_eq!(next(&mut second).map_err(|refusal| refusal.code), Err(ErrorCode::CorruptMessage));
        assert!(first.from[2].pop().is_none() && second.from[2].pop().is_none());
        assert_eq!(pool.usage().taken, 0, "every span came back");
    }
}
