//! What the simulator sees and what it is tested with: named states that a run reached, and bugs that are planted on purpose.
//!
//! Both act only in builds with the feature `probes`, which a release build refuses; without it [`reached`] is nothing and
//! [`planted`] is `false` before the program is made, so that neither leaves an instruction. Counts and the choice belong to
//! the thread, as one thread runs one simulation.

#[cfg(all(feature = "probes", not(debug_assertions)))]
compile_error!(
    "the feature `probes` has bugs planted in it: build it with the profile `sim` or `dev`, never for release"
);

/// Makes an enum whose variants have a text each, and a list of them.
macro_rules! registry {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $text:literal])+ $variant:ident,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[doc = $text])+ $variant,)+ }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant,)+];

            /// What it is, in a sentence.
            pub fn text(self) -> &'static str {
                match self { $($name::$variant => concat!($($text),+).trim_ascii(),)+ }
            }
        }
    };
}

registry! {
    /// States that a campaign of the simulator must have been in. One line each, in the order of the modules they are in.
    State {
        /// recovery cut a torn frame at the end of a journal
        TornTailCut,
    }
}

registry! {
    /// Bugs of one line. Each stands where it is named by [`planted`]; its text says what a client sees of it.
    Bug {
        // Commits.
        /// a produce with acks=all is acknowledged once it is written: a crash before the flush loses it
        AckBeforeFlush,
        /// a flush that failed is taken for done: a crash loses records that were acknowledged after it
        FlushErrorIgnored,
        /// consumers see records once they are written: what they read is gone after a crash before the flush
        VisibleAtWritten,
        /// of a large produce the last bytes are neither journaled nor written when it is acknowledged: a crash loses it
        RaggedEndForgotten,
        /// a large produce that goes where its segment was never written is acknowledged by a flush that does not cover it: a
        /// crash loses it
        UnzeroedCovered,
        /// a produce that one commit cannot hold is acknowledged with the part that it can: a crash loses the rest
        WaitersLeftBehind,
        /// a retry of a batch that is still on its way is acknowledged at once: a crash loses it
        RetryAnsweredEarly,
        /// a crash in the first moments of a start loses everything that was acknowledged before it
        SettledTooEarly,
        /// a crash soon after the journal turned to its other file loses the records that one partition had only in the first
        LapGivenUpEarly,
        // Recovery.
        /// after a crash a log keeps a batch that never arrived whole, and what is acknowledged after it cannot be read
        TornBatchKept,
        /// after a crash a log keeps a large batch that was not flushed and did not arrive whole: reads from it on are refused
        UnflushedProven,
        /// after a crash that tore the older of two commits on their way, partitions are refused as damaged though nothing is lost
        TornFrameAHole,
        /// a crash during a start, after one core wrote its journal and before another did, loses the partitions of the other
        SilentCoreIgnored,
        /// after a restart a log that starts with the last record of a segment has lost that record
        StartSegmentRemoved,
        // Segments.
        /// a crash loses the end of a segment that had just become full
        DestageUnflushed,
        /// after a crash a full segment ends in bytes that are no records: reads that come there are refused
        LengthNotFlushed,
        /// a crash loses records that were moved from the journal to a segment before a flush that failed
        CoverErrorIgnored,
        /// what found no room on a full disk is taken for written: it is gone once memory and journal let go of it
        FullDiskIgnored,
        /// a slow consumer is sent bytes of another partition when the segment it reads is deleted and its file used again
        RecycledUnderRange,
        // Reads.
        /// a consumer that asks from below the high watermark is given records above it, which a crash may take back
        ReadPastVisible,
        /// bytes that rotted on the disk are handed to consumers
        RotServed,
        /// a log is refused as damaged where a reader had come close to its end before: old bytes of the file are kept for new ones
        StaleReadAhead,
        /// a consumer that asks for the last record before a place the index knows is given the records after it
        IndexOffByOne,
        /// a lookup of exactly a record's time finds a later record
        TimeIndexOffByOne,
        /// a lookup by time misses the records of a segment that are younger than its first batch
        TimeIndexFirst,
        /// ListOffsets tells an end that is not durable: after a crash the end is an earlier one
        EndOffsetNotDurable,
        // Log start and retention.
        /// records that were deleted are there again after a restart
        TrimForgotten,
        /// records that were deleted are there again after a crash just when the journal turned to its other file
        TrimLostAtLap,
        /// after a crash while records are deleted once more, a log is refused from its start: the files are gone before it moved
        BuriedTooEarly,
        /// retention by size takes a segment more than it may
        RetentionOneTooMany,
        /// retention by time counts from when a segment was begun, and takes records younger than retention.ms
        RetentionByCreation,
        // Producers.
        /// a retry of the oldest of five batches on their way is refused as out of order though it was appended
        FourBatches,
        /// a batch of an idempotent producer is appended before one of lower sequence that was refused and is sent again
        GapLetThrough,
        /// a retry is answered with the offset of the batch's last record, not of its first
        DuplicateOffset,
        /// a broker does not start again after an idempotent producer's sequence wrapped inside a batch
        WrapNotMasked,
        /// a producer is forgotten so long after its first batch, not after its last: a retry is appended twice
        ExpiresFromFirstUse,
        /// after a restart a producer's newest batch is not known any more: its retry is appended twice
        LastBatchNotRemembered,
        /// two producers are given one id: what one sends is taken for retries of the other, acknowledged and not appended
        ProducerIdTwice,
        // Produce and fetch.
        /// a batch whose header was changed has the checksum of the old one: consumers refuse it
        ChecksumKept,
        /// records compressed anew in a topic with LogAppendTime carry the producer's times
        AppendTimeUnmarked,
        /// a produce that is refused by the owner of its partition, or by its disk, is answered without an error
        RefusalNotTold,
        /// a consumer that goes back within its fetch session is given what follows the place it had come to
        SeekBackIgnored,
        // Between cores.
        /// while many messages wait for a core, later ones overtake: a producer's batches are appended out of order
        MailOvertakes,
        /// while memory is short, a produce from another core overtakes an earlier one that waits for memory
        StalledOvertaken,
        // Groups.
        /// a group that a member left keeps its generation: two members own a partition in one generation
        GenerationKept,
        /// a member commits with the generation before this one: a partition's committed offset goes back
        OldGenerationCommits,
        /// a committed offset is acknowledged once it is written: a crash before the flush sets it back
        GroupAnsweredAtWrite,
        /// committed offsets of a group that reads the topic expire
        LiveOffsetsExpire,
        /// an offset committed while its group's log is rewritten goes back to the one before at the next restart
        SnapshotOldValue,
        /// an offset whose commit met the deletion of its topic is that of the topic made again under its name
        OffsetsOutliveTopic,
        // Metadata.
        /// a topic is created, or deleted, and answered once that is written: a crash before the flush takes it back
        TopicAnsweredAtWrite,
        /// topics lose their settings at the first restart after the metadata log was rewritten
        SnapshotWithoutSettings,
    }
}

impl Bug {
    /// Those that would pass a review: they take a crash, an order of events, a size or a setting of their own to be seen.
    pub const SUBTLE: &[Bug] = &[
        Bug::UnzeroedCovered,
        Bug::WaitersLeftBehind,
        Bug::RetryAnsweredEarly,
        Bug::SettledTooEarly,
        Bug::LapGivenUpEarly,
        Bug::UnflushedProven,
        Bug::TornFrameAHole,
        Bug::SilentCoreIgnored,
        Bug::StartSegmentRemoved,
        Bug::DestageUnflushed,
        Bug::LengthNotFlushed,
        Bug::CoverErrorIgnored,
        Bug::RecycledUnderRange,
        Bug::StaleReadAhead,
        Bug::IndexOffByOne,
        Bug::TimeIndexOffByOne,
        Bug::TrimLostAtLap,
        Bug::BuriedTooEarly,
        Bug::RetentionByCreation,
        Bug::WrapNotMasked,
        Bug::ExpiresFromFirstUse,
        Bug::LastBatchNotRemembered,
        Bug::ProducerIdTwice,
        Bug::AppendTimeUnmarked,
        Bug::MailOvertakes,
        Bug::StalledOvertaken,
        Bug::SnapshotOldValue,
        Bug::OffsetsOutliveTopic,
    ];
}

#[cfg(feature = "probes")]
mod seen {
    use super::{Bug, State};
    use std::cell::Cell;

    thread_local! {
        static REACHED: [Cell<u64>; State::ALL.len()] = const { [const { Cell::new(0) }; State::ALL.len()] };
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub fn reached(state: State) {
        REACHED.with(|counts| counts[state as usize].set(counts[state as usize].get() + 1));
    }

    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Chooses the bug that this thread's broker has from now on, if any.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// How often this thread was in each state since it last asked, in the order of [`State::ALL`].
    pub fn take_reached() -> [u64; State::ALL.len()] {
        REACHED.with(|counts| std::array::from_fn(|k| counts[k].take()))
    }
}

#[cfg(feature = "probes")]
pub use seen::{plant, planted, reached, take_reached};

/// Notes that this state was reached.
#[cfg(not(feature = "probes"))]
#[inline(always)]
pub const fn reached(_state: State) {}

/// Whether this bug is chosen.
#[cfg(not(feature = "probes"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}
