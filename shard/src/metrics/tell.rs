//! What only a core can tell: the admin thread asks for it by mail, a bounded piece at a time. The lists travel with the question
//! and come back filled, so that the core allocates nothing.

use ringlog_engine::group::{GroupCursor, GroupLine};
use std::net::SocketAddr;
use std::sync::Arc;

/// Lines of one piece: a few tens of microseconds of the core's time.
pub const PIECE: usize = 256;

/// A question, and the same with its answer.
#[derive(Debug)]
pub struct Tell {
    /// Which question this answers: an old one is not waited for any more.
    pub id: u64,
    pub what: What,
}

/// Each with where to go on, `None` when all is told, and room for [`PIECE`] lines.
#[derive(Debug)]
pub enum What {
    Partitions { from: Option<u32>, lines: Vec<PartitionLine> },
    Groups { from: Option<GroupsFrom>, lines: Vec<GroupLine> },
    Clients { from: Option<u32>, lines: Vec<ClientLine> },
}

/// A coordinator, by partition of `__consumer_offsets`, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsFrom {
    pub partition: i32,
    pub after: Option<GroupCursor>,
}

#[derive(Clone, Debug)]
pub struct PartitionLine {
    pub topic: Arc<str>,
    pub partition: i32,
    pub dir: u8,
    pub high_watermark: i64,
    pub log_start: i64,
    pub bytes: u64,
    pub segments: usize,
    pub producers: usize,
    pub appended_bytes: u64,
    pub read_bytes: u64,
}

#[derive(Clone, Debug)]
pub struct ClientLine {
    pub peer: SocketAddr,
    pub client_id: Option<Arc<str>>,
    pub connected_ms: u64,
    pub requests: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

impl What {
    pub fn partitions() -> What {
        What::Partitions { from: Some(0), lines: Vec::with_capacity(PIECE) }
    }

    pub fn groups() -> What {
        What::Groups { from: Some(GroupsFrom { partition: 0, after: None }), lines: Vec::with_capacity(PIECE) }
    }

    pub fn clients() -> What {
        What::Clients { from: Some(0), lines: Vec::with_capacity(PIECE) }
    }

    /// Empties what was read; false if there is no more to ask for.
    pub fn go_on(&mut self) -> bool {
        match self {
            What::Partitions { from, lines } => {
                lines.clear();
                from.is_some()
            }
            What::Groups { from, lines } => {
                lines.clear();
                from.is_some()
            }
            What::Clients { from, lines } => {
                lines.clear();
                from.is_some()
            }
        }
    }
}
