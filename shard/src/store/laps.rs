//! Which laps of the journal hold bytes that are durable nowhere else, and how the older one is let go of: every partition
//! that needs it is pressed to destage; the last one to let go has the next commit say that its file may be used again.
//!
//! On the core that owns the partitions, per log directory.

use super::commit::OtherLap;
use super::{PartIdx, Partition, Store};
use ringlog_engine::log::journal::BLOCK;
use ringlog_engine::probe::{Bug, planted};

/// The laps that hold bytes of one segment which are not durable in its file, oldest first, each with the first position in the
/// segment that was journaled in it. A lap begins only when nobody needs the last but one: there are two at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeldLaps([Option<(u64, u32)>; 2]);

impl HeldLaps {
    /// The oldest.
    pub fn oldest(&self) -> Option<u64> {
        self.0[0].map(|(lap, _)| lap)
    }

    /// What lies from `from` on was journaled in `lap`, for the first time or again.
    pub(super) fn journaled(&mut self, lap: u64, from: u32) {
        let [old, new] = &mut self.0;
        match (old, new) {
            (old @ None, _) => *old = Some((lap, from)),
            (Some((held, at)), None) if *held == lap => *at = (*at).min(from),
            (Some(_), new @ None) => *new = Some((lap, from)),
            (Some(_), Some((held, at))) => {
                assert_eq!(*held, lap, "a third lap is needed");
                *at = (*at).min(from);
            }
        }
    }

    /// The file durably holds everything up to `durable`, of a segment that is committed up to `committed`.
    fn in_file(&mut self, durable: u32, committed: u32) {
        if durable >= committed {
            *self = HeldLaps::default();
        } else if self.0[1].is_some_and(|(_, from)| from <= durable) {
            self.0 = [self.0[1], None];
        }
    }
}

impl Partition {
    /// A segment's file durably holds everything up to `to`.
    pub(super) fn file_holds(&mut self, segment: i64, to: u32) {
        let committed = match self.log.segment(segment) {
            Some(_) if self.committed.segment == segment => self.committed.position,
            Some(s) if self.committed.segment > segment => s.len,
            _ => 0,
        };
        let Some(file) = self.file_mut(segment) else { return };
        file.durable = file.durable.max(to);
        // After a write that found no room `written` lies before it, if what it made durable had been written before that one.
        file.written = file.written.max(to - to % BLOCK as u32);
        file.laps.in_file(file.durable, committed);
    }

    /// The oldest lap that holds bytes of this partition that are durable nowhere else.
    pub(super) fn journal_lap(&self) -> Option<u64> {
        self.files.iter().filter_map(|f| f.laps.oldest()).min()
    }
}

impl Store {
    /// Has every partition with bytes only in this lap destaged; counts them.
    pub(super) fn press_lap(&mut self, dir: u8, lap: u64) {
        let mut users = 0;
        for (k, p) in self.partitions.iter_mut().enumerate() {
            let Some(p) = p.as_mut().filter(|p| p.dir == dir && p.journal_lap().is_some_and(|l| l <= lap)) else {
                continue;
            };
            users += 1;
            p.hand.pressed = true;
            if !p.hand.queued {
                p.hand.queued = true;
                self.hands.push_back(PartIdx(k as u32));
            }
        }
        self.dirs[dir as usize].committer.lap_users = users;
        self.release_lap(dir);
    }

    /// A partition that needed a lap up to `before` needs `now` or none: the last one to let go of a lap releases it.
    pub(super) fn let_go(&mut self, dir: u8, before: Option<u64>, now: Option<u64>) {
        let committer = &mut self.dirs[dir as usize].committer;
        let OtherLap::Needed(lap) = committer.other else { return };
        if before.is_some_and(|l| l <= lap) && now.is_none_or(|l| l > lap) {
            committer.lap_users -= 1;
            self.release_lap(dir);
        }
    }

    fn release_lap(&mut self, dir: u8) {
        let committer = &mut self.dirs[dir as usize].committer;
        if let OtherLap::Needed(lap) = committer.other
            && committer.lap_users <= usize::from(planted(Bug::LapGivenUpEarly))
        {
            committer.open.released = Some(lap);
            committer.other = OtherLap::Releasing;
        }
    }

    /// Some partition holds back the file of a lap up to `held`.
    pub(super) fn is_awaited(&self, dir: u8, held: Option<u64>) -> bool {
        matches!(self.dirs[dir as usize].committer.other, OtherLap::Needed(lap) if held.is_some_and(|held| held <= lap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lap_is_let_go_of_when_the_file_holds_what_only_it_held() {
        let mut laps = HeldLaps::default();
        assert_eq!(laps.oldest(), None);
        laps.journaled(7, 4096);
        laps.journaled(7, 9000);
        laps.in_file(8192, 10_000);
        assert_eq!(laps.oldest(), Some(7));
        laps.journaled(8, 10_000);
        laps.journaled(8, 12_000);
        laps.in_file(9999, 13_000);
        assert_eq!(laps.oldest(), Some(7), "bytes before the next lap's first are in no file yet");
        laps.in_file(10_000, 13_000);
        assert_eq!(laps.oldest(), Some(8));
        laps.in_file(13_000, 13_000);
        assert_eq!(laps.oldest(), None);
    }

    /// A block that lies in the file and is about to be rewritten was journaled again, from its beginning on.
    #[test]
    fn what_is_journaled_again_moves_the_lap_that_holds_the_rest() {
        let mut laps = HeldLaps::default();
        laps.journaled(1, 0);
        laps.journaled(2, 4096);
        laps.in_file(5000, 9000);
        assert_eq!(laps.oldest(), Some(2));
        laps.journaled(3, 4096);
        laps.in_file(5000, 9000);
        assert_eq!(laps.oldest(), Some(3));
    }
}
