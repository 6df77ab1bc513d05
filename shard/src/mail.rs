//! What cores tell each other: a closed list of plain data. A reply's address is data too: core, slot, generation.
//!
//! Mail between two cores arrives in the order it was sent, which is what keeps a connection's produces to one partition
//! in order. What crosses is moved: receive buffers, frozen blocks, small values.

use crate::io::Accepted;
use crate::io::memory::Span;
use crate::store::ranges::FileRange;
use ringlog_engine::ErrorCode;
use ringlog_engine::batch::{BatchHeader, BatchRefusal, Rules, Validated};
use ringlog_engine::metadata::Image;
use ringlog_engine::types::{CoreId, PartitionKey};
use std::sync::Arc;

/// A request's place on its home core: which connection, which of its requests. Stale addresses are recognised and ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct SlotAddr {
    pub conn: u32,
    pub generation: u32,
    /// Number of the request on its connection.
    pub request: u64,
}

/// A slot and the core it is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyTo {
    pub core: CoreId,
    pub slot: SlotAddr,
    /// Which partition of the request, in the order of the request; or which of its questions.
    pub part: u32,
}

/// A checked batch for a partition of another core. The pieces are what follows its header, in the receive buffers.
#[derive(Debug)]
pub struct Append {
    pub reply: ReplyTo,
    pub key: PartitionKey,
    pub acks: i16,
    pub header: BatchHeader,
    pub pieces: Vec<Span>,
}

/// How an append ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub error: ErrorCode,
    pub base_offset: i64,
    /// -1 unless the topic stamps the time of the append.
    pub log_append_time: i64,
    pub log_start_offset: i64,
    /// Only with an error.
    pub detail: Option<Box<AppendDetail>>,
}

/// What produce answers from version 8 on say of a refused batch (KIP-467).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AppendDetail {
    pub message: String,
    pub records: Vec<(i32, String)>,
}

impl Appended {
    pub fn refused(error: ErrorCode) -> Appended {
        Appended { error, base_offset: -1, log_append_time: -1, log_start_offset: -1, detail: None }
    }
}

/// A batch that is too much work for its core: the checker checks it. The pieces are all of the batch.
#[derive(Debug)]
pub struct Check {
    pub reply: ReplyTo,
    pub rules: Rules,
    pub pieces: Vec<Span>,
}

/// What the checker found.
#[derive(Debug)]
pub struct Checked {
    pub reply: ReplyTo,
    pub outcome: CheckOutcome,
    /// Those of the question, to be used again.
    pub pieces: Vec<Span>,
}

/// Whether a batch may be appended, and its body if that was rewritten. Boxed: it is rare, and is passed on where batches are many.
pub type CheckOutcome = Box<Result<(Validated, Option<Vec<u8>>), BatchRefusal>>;

/// A fetch's question to the owner of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    pub reply: ReplyTo,
    pub key: PartitionKey,
    pub offset: i64,
    pub max_bytes: u32,
    /// Return one whole batch even if it is larger than `max_bytes` (KIP-74).
    pub at_least_one: bool,
    pub leader_epoch: i32,
    pub last_fetched_epoch: i32,
    /// Ring once when there is more, if there are fewer bytes now.
    pub wanted: u32,
}

/// What a partition gives a fetch.
#[derive(Debug)]
pub struct ReadAnswer {
    pub error: ErrorCode,
    pub high_watermark: i64,
    pub log_start: i64,
    /// Epoch and end offset where the fetcher's log diverged (KIP-595), if it did.
    pub diverging: Option<(i32, i64)>,
    pub spans: Vec<Span>,
    /// Instead of spans: whole batches to be sent from a segment's file.
    pub range: Option<FileRange>,
    pub bytes: u32,
    /// Consumers may see what follows these bytes: it is in another segment, on disk, or too much.
    pub more: bool,
    /// A disk read is under way: the owner rings when it is done.
    pub pending: bool,
}

impl ReadAnswer {
    pub fn refused(error: ErrorCode) -> ReadAnswer {
        ReadAnswer {
            error,
            high_watermark: -1,
            log_start: -1,
            diverging: None,
            spans: Vec::new(),
            range: None,
            bytes: 0,
            more: false,
            pending: false,
        }
    }
}

#[derive(Debug)]
pub enum Mail {
    /// A connection to serve from now on.
    Connection(Accepted),
    Append(Append),
    Appended {
        reply: ReplyTo,
        outcome: Appended,
        pieces: Vec<Span>,
    },
    Check(Box<Check>),
    Checked(Box<Checked>),
    Read {
        read: Read,
        /// An empty list, for the one that the answer brings: each core keeps as many as it had.
        spans: Vec<Span>,
    },
    ReadAnswer {
        reply: ReplyTo,
        answer: ReadAnswer,
    },
    /// A partition a parked fetch asked about has more.
    Ring {
        reply: ReplyTo,
    },
    /// The list that an append with acks=0 came in goes home.
    Return {
        spans: Vec<Span>,
    },
    Ask {
        reply: ReplyTo,
        question: Box<crate::api::Question>,
    },
    Answer {
        reply: ReplyTo,
        answer: Box<crate::api::Answer>,
    },
    /// The cluster metadata changed. Acknowledged so that the controller answers only when every core knows.
    Image {
        image: Arc<Image>,
        from: CoreId,
    },
    ImageApplied {
        revision: u64,
    },
    /// A connection of that core is gone; told to the core that places new ones.
    ConnectionClosed {
        core: CoreId,
        ip: std::net::IpAddr,
    },
    /// A question of the admin thread, and its answer back.
    Tell(Box<crate::metrics::tell::Tell>),
    /// End cleanly: commit what was accepted, then leave the loop.
    Stop,
}
