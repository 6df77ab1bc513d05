//! A history: what clients asked of a broker and what they were told, in the order it happened. One form for the simulator and
//! for real runs, kept as JSON, one event a line.
//!
//! Plain data without the broker's types: whoever writes it and whoever judges it agree on this page and on nothing else.
//! A call without a return, or with [`Outcome::Unknown`], may have happened or not. Times are of one monotonic clock for all
//! clients of a history; positions in the file settle what times leave open.

use serde::{Deserialize, Serialize};

/// One event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since the history began.
    pub at: u64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A client begins a call. `op` is unique in the history.
    Call { op: u64, client: u32, call: Call },
    /// It ended. At most one for each `op`.
    Return { op: u64, outcome: Outcome },
    /// The broker was ended, by force or by a loss of power, or came back: nothing is judged by it, it explains.
    Broker { what: String },
    /// A fault began or ended.
    Fault { what: String },
    /// What the broker's wall clock shows, ms since 1970: at the beginning, and at each step of it (told before a step ahead, not
    /// after it). Without it nobody can say whether a record was old enough for retention to take it.
    Clock { wall: i64 },
    /// The clients have stopped, faults are over, and what follows reads everything back: only from here on is "not there" evidence.
    FinalReads,
}

/// A partition, by its topic's name and incarnation: a topic made again under its name is another one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Partition {
    pub topic: String,
    /// Counts creations of the name, from 0.
    #[serde(default)]
    pub incarnation: u32,
    pub partition: i32,
}

/// A record as its producer knows it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Unique in the history: it is in the record's value, with a checksum, so that a reader can tell it.
    pub value: u64,
    /// CreateTime, ms since 1970.
    pub timestamp: i64,
    /// None: no key. For compaction.
    #[serde(default)]
    pub key: Option<String>,
}

/// The producer's identity in an idempotent or transactional batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Idempotent {
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// A record as a reader found it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Found {
    pub offset: i64,
    /// None: bytes that no producer of this history writes, or a wrong checksum.
    pub value: Option<u64>,
    pub timestamp: i64,
    pub leader_epoch: i32,
}

/// What a topic promises, as it was created with or as it was altered to.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Promise {
    /// Acknowledged by acks=all only when flushed. False: a crash may take the newest records.
    pub flushed: bool,
    /// None: never by time.
    pub retention_ms: Option<i64>,
    /// None: never by size.
    pub retention_bytes: Option<i64>,
    pub compacted: bool,
    pub log_append_time: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    Uncommitted,
    Committed,
}

/// Where ListOffsets looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spec {
    Earliest,
    /// The high watermark, or the LSO if read committed.
    Latest,
    MaxTimestamp,
    /// The first record whose timestamp is at least this, ms.
    At(i64),
}

/// An attempt of a transaction: id and count of attempts, from 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Transaction {
    pub id: String,
    pub attempt: u64,
}

/// A member of a group as it commits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    pub member: String,
    /// Of a classic group, or the member epoch (KIP-848). -1: a client without membership.
    pub generation: i32,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub enum Call {
    CreateTopic {
        topic: String,
        incarnation: u32,
        partitions: i32,
        promise: Promise,
    },
    AlterTopic {
        topic: String,
        incarnation: u32,
        promise: Promise,
    },
    DeleteTopic {
        topic: String,
        incarnation: u32,
    },
    /// One batch. A client's retry of the same batch belongs to the same call; one that gave up and sends the values again
    /// makes another call with other values.
    Produce {
        to: Partition,
        acks: i16,
        records: Vec<Sent>,
        idempotent: Option<Idempotent>,
        #[serde(default)]
        transaction: Option<Transaction>,
    },
    Fetch {
        from: Partition,
        offset: i64,
        isolation: Isolation,
    },
    ListOffsets {
        from: Partition,
        spec: Spec,
        isolation: Isolation,
    },
    DeleteRecords {
        from: Partition,
        /// -1: all that is there.
        before: i64,
    },
    InitProducer {
        transactional_id: Option<String>,
    },
    EndTransaction {
        transaction: Transaction,
        commit: bool,
    },
    Commit {
        group: String,
        by: Member,
        offsets: Vec<(Partition, i64)>,
        #[serde(default)]
        transaction: Option<Transaction>,
    },
    Committed {
        group: String,
        of: Vec<Partition>,
    },
    /// The group is deleted, with its offsets.
    DeleteGroup {
        group: String,
    },
    /// A member holds these partitions from its return on, until its [`Call::Release`] is called or its session is over.
    Assign {
        group: String,
        by: Member,
    },
    Release {
        group: String,
        by: Member,
    },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Done, and nothing more to say.
    Done,
    /// -1: acknowledged, and not told where.
    Produced {
        base_offset: i64,
        log_append_time: Option<i64>,
    },
    /// The first three -1: the client was not told.
    Fetched {
        high_watermark: i64,
        log_start: i64,
        last_stable: i64,
        records: Vec<Found>,
        /// Where it goes on.
        next: i64,
    },
    /// -1: there is none.
    Offset {
        offset: i64,
        timestamp: i64,
    },
    LowWatermark {
        offset: i64,
    },
    Producer {
        producer_id: i64,
        epoch: i16,
    },
    /// -1: nothing committed.
    Offsets {
        offsets: Vec<(Partition, i64)>,
    },
    Assigned {
        partitions: Vec<Partition>,
    },
    /// Refused, and certainly not done. Kafka's name of the error.
    Refused {
        error: String,
    },
    /// Not known whether it was done: the connection was lost, or the error says so (REQUEST_TIMED_OUT, say).
    Unknown {
        why: String,
    },
}
