//! What the referee holds a broker to: each rule with its name and its promise, in one table. Lives off the broker's cores.

use serde::Serialize;
use std::fmt;

/// A rule that a history broke.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    Lost,
    Vanished,
    HalfBatch,
    Invented,
    Damaged,
    Misrouted,
    Incarnation,
    RefusedRead,
    Duplicate,
    ProducerOrder,
    Sequence,
    RealTimeOrder,
    OffsetTwice,
    OffsetDisagrees,
    OffsetGap,
    Timestamp,
    LeaderEpoch,
    HighWatermarkBack,
    LogStartBack,
    LastStableBack,
    PastMark,
    TimeLookup,
    MaxTimestamp,
    Retention,
    Compaction,
    TwoOwners,
    FencedCommit,
    CommittedOffset,
    AbortedRead,
    HalfVisible,
    TornTransaction,
    Zombie,
    OpenTransactionRead,
}

/// Every rule: its name, and what it promises.
pub const RULES: &[(Rule, &str, &str)] = &[
    (
        Rule::Lost,
        "lost",
        "an acknowledged record is where it was acknowledged, until retention or deletion may take it",
    ),
    (
        Rule::Vanished,
        "vanished",
        "what a reader saw, or a high watermark vouched for, of a flushed topic stays through any crash",
    ),
    (Rule::HalfBatch, "half-batch", "a batch is in the log as a whole or not at all"),
    (Rule::Invented, "invented", "every record that is read was sent before"),
    (Rule::Damaged, "damaged", "every record that is read has the bytes that were sent"),
    (Rule::Misrouted, "misrouted", "a record is in the partition that it was sent to, and in no other"),
    (Rule::Incarnation, "incarnation", "nothing of a deleted topic is in one made again under its name"),
    (Rule::RefusedRead, "refused-read", "a refused record is nowhere"),
    (Rule::Duplicate, "duplicate", "a record of an idempotent producer is in the log once"),
    (
        Rule::ProducerOrder,
        "producer-order",
        "the batches of an idempotent producer lie in the order of epochs and sequences",
    ),
    (Rule::Sequence, "sequence", "an idempotent producer's sequences are in the log without gap, each once"),
    (
        Rule::RealTimeOrder,
        "real-time-order",
        "what was sent after an acknowledgement has a higher offset than what was acknowledged",
    ),
    (Rule::OffsetTwice, "offset-twice", "an offset is given to one record"),
    (
        Rule::OffsetDisagrees,
        "offset-disagrees",
        "all who speak of an offset, writers and readers, speak of the same record",
    ),
    (Rule::OffsetGap, "offset-gap", "a log without compaction and transactions has no gaps"),
    (Rule::Timestamp, "timestamp", "a record's time is its producer's, or the one that the broker told"),
    (Rule::LeaderEpoch, "leader-epoch", "leader epochs do not fall as offsets rise"),
    (
        Rule::HighWatermarkBack,
        "high-watermark-back",
        "the high watermark does not go back, nor behind what acks=all acknowledged",
    ),
    (Rule::LogStartBack, "log-start-back", "the log start does not go back, and nothing below it is read"),
    (
        Rule::LastStableBack,
        "last-stable-back",
        "the last stable offset does not go back, nor beyond the high watermark",
    ),
    (Rule::PastMark, "past-mark", "no reader gets what is at or behind the mark that it reads up to"),
    (Rule::TimeLookup, "time-lookup", "a lookup by time finds the first record that is not older"),
    (Rule::MaxTimestamp, "max-timestamp", "a lookup of the latest time finds a record with it"),
    (Rule::Retention, "retention", "retention and deletion take nothing that they must not"),
    (Rule::Compaction, "compaction", "compaction keeps the last record of every key"),
    (Rule::TwoOwners, "two-owners", "a partition has one owner in a generation of a group"),
    (Rule::FencedCommit, "fenced-commit", "a commit of a generation that is over is refused"),
    (Rule::CommittedOffset, "committed-offset", "a group's offset is the last that was committed"),
    (
        Rule::AbortedRead,
        "aborted-read",
        "nothing of a transaction that did not commit is read by who reads committed records",
    ),
    (Rule::HalfVisible, "half-visible", "of a committed transaction everything is seen"),
    (
        Rule::TornTransaction,
        "torn-transaction",
        "a transaction's records are not seen through the commit of a later one",
    ),
    (Rule::Zombie, "zombie", "a producer that was fenced commits nothing"),
    (Rule::OpenTransactionRead, "open-transaction-read", "the last stable offset waits for open transactions"),
];

impl Rule {
    fn row(self) -> &'static (Rule, &'static str, &'static str) {
        RULES.iter().find(|(rule, ..)| *rule == self).expect("every rule is in the table")
    }

    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What is promised.
    pub fn promise(self) -> &'static str {
        self.row().2
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
