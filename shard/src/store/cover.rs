//! What was destaged and waits for a flush.
//!
//! On a file system that writes in place, a flush of the journal also makes completed writes to segments durable, if their
//! blocks had been written and flushed before. So destaged bytes cost no flush: they wait for that of the next commit,
//! and only where none is to come the journal is flushed for them. They stay in memory and in the journal until then.
//!
//! One per core and log directory; only that core touches it.

use super::{PartIdx, Purpose, Store};
use crate::io::Io;
use crate::metrics::core::FlushKind;
use ringlog_engine::probe::{Bug, planted};
use ringlog_engine::types::PartitionKey;

/// Bytes of a segment that were written to its file and are durable once the next flush is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destaged {
    pub(super) part: PartIdx,
    pub(super) key: PartitionKey,
    pub(super) base: i64,
    /// Where they end.
    pub(super) to: u32,
}

#[derive(Debug)]
pub(super) struct Cover {
    /// Written before the next flush is issued.
    pub(super) waiting: Vec<Destaged>,
    /// What the flush under way covers that is no commit's.
    flushing: Vec<Destaged>,
    busy: bool,
}

impl Cover {
    pub(super) fn with_room(room: usize) -> Cover {
        Cover { waiting: Vec::with_capacity(room), flushing: Vec::with_capacity(room), busy: false }
    }
}

impl super::commit::Committer {
    pub(super) fn cover(&mut self, destaged: Destaged) {
        self.cover.waiting.push(destaged);
    }
}

impl Store {
    /// Flushes the journal for what was destaged, if no commit is going to.
    pub(super) fn flush_alone(&mut self, io: &mut impl Io, dir: u8) {
        let d = &mut self.dirs[dir as usize];
        let cover = &d.committer.cover;
        if cover.waiting.is_empty() || cover.busy || d.latched.is_some() || d.committer.will_flush() {
            return;
        }
        let file = d.committer.file();
        let cover = &mut d.committer.cover;
        std::mem::swap(&mut cover.waiting, &mut cover.flushing);
        cover.busy = true;
        self.meter.dirs[dir as usize].flushes(FlushKind::Cover);
        io.sync(Purpose::Cover { dir }.token(), file);
    }

    /// That flush ended.
    pub fn on_cover(&mut self, dir: u8, result: i32) {
        if self.dirs[dir as usize].latched.is_some() {
            return;
        }
        if result < 0 && !planted(Bug::CoverErrorIgnored) {
            return self.latch(dir, format!("a flush failed ({})", std::io::Error::from_raw_os_error(-result)));
        }
        let cover = &mut self.dirs[dir as usize].committer.cover;
        cover.busy = false;
        let mut flushed = std::mem::take(&mut cover.flushing);
        flushed.drain(..).for_each(|destaged| self.destaged(dir, &destaged));
        self.dirs[dir as usize].committer.cover.flushing = flushed;
    }

    /// Bytes of a segment are durable in its file.
    pub(super) fn destaged(&mut self, dir: u8, d: &Destaged) {
        let Some(p) = self.partitions[d.part.0 as usize].as_mut().filter(|p| p.key == d.key && p.erase.is_none())
        else {
            return;
        };
        let before = p.journal_lap();
        p.file_holds(d.base, d.to);
        let now = p.journal_lap();
        let awaited = self.is_awaited(dir, now);
        let p = self.partitions[d.part.0 as usize].as_mut().expect("it was there");
        // Pressed for memory: there is some now.
        p.hand.pressed &= awaited;
        if !p.hand.queued && p.wants_hand(self.limits.destage) {
            p.hand.queued = true;
            self.hands.push_back(d.part);
        }
        self.let_go(dir, before, now);
    }
}
