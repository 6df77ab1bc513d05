//! Blocks: 4096-aligned memory that is filled once by one writer and read by any core, the kernel included.
//!
//! (interface; the implementation follows)

use std::sync::Arc;

/// Where a block's bytes live. Shared by its readers and at most one writer.
#[derive(Debug)]
struct Inner {}

/// A readable block: a counted reference to bytes that never change below the published length. Any core.
#[derive(Clone, Debug)]
pub struct Block(#[allow(dead_code)] Arc<Inner>);

/// The one writer of a block: appends, never changes what it published. One core at a time; moves with its operation.
#[derive(Debug)]
pub struct BlockMut(#[allow(dead_code)] Arc<Inner>);

/// A range of a block: what requests, log tails, writes and answers are made of. Cloning counts a reference, no bytes move.
#[derive(Clone, Debug)]
pub struct Span {
    pub block: Block,
    pub start: u32,
    pub len: u32,
}
