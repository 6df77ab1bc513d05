//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources: what is asked of whom, and the answers. Not the rules, which are the engine's.

use super::{Answer, Context, Step};
use ringlog_net::cold::Request;

/// What is kept of a request while others are asked.
#[derive(Debug)]
pub enum Kept {}

pub fn begin(
    _context: &Context<'_>,
    _request: Request,
    _version: i16,
    _correlation_id: i32,
    _out: &mut Vec<u8>,
) -> Step {
    Step::Close("not served yet")
}

pub fn finish(
    _context: &Context<'_>,
    kept: Kept,
    _answers: Vec<Answer>,
    _version: i16,
    _correlation_id: i32,
    _out: &mut Vec<u8>,
) {
    match kept {}
}
