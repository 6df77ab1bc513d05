//! The log of a partition as decisions: segments, indexes, the journal's format, recovery, retention. No bytes move here.

pub mod index;
pub mod journal;
pub mod partition;
pub mod recover;
