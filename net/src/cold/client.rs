//! The other direction, for tools: requests to bytes, answers from bytes, and which version to speak. Not for peers' requests.
//!
//! Answers are those of the broker a person named, read up to a size the caller caps; they are not walked first.

use kafka_protocol::protocol::{Decodable, HeaderVersion, Message};
use ringlog_engine::rope::Rope;

use super::messages::ApiVersionsResponse;
use super::{Bytes, Call, Unencodable};
use crate::wire::{self, Put};

/// An answer that does not read as what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable {
    pub key: i16,
    pub version: i16,
}

impl std::fmt::Display for Undecodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the answer to API key {} version {} does not decode", self.key, self.version)
    }
}

impl std::error::Error for Undecodable {}

/// Appends a whole request: prefix, header, body. Answers the length of the frame; on an error `out` is as before.
pub fn encode_request<R: Call>(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    client_id: &str,
    request: &R,
) -> Result<usize, Unencodable> {
    let before = out.len();
    out.put_i32(0);
    out.put_i16(R::KEY);
    out.put_i16(version);
    out.put_i32(correlation_id);
    out.put_string(false, Some(client_id));
    out.put_no_tags(R::header_version(version) >= 2);
    if let Err(why) = request.encode(out, version) {
        out.truncate(before);
        return Err(Unencodable { api: api_name(R::KEY), version, why: why.to_string() });
    }
    let whole = out.len() - before;
    let len = i32::try_from(whole - 4).expect("a request below 2 GiB");
    out[before..before + 4].copy_from_slice(&len.to_be_bytes());
    Ok(whole)
}

/// Reads an answer's frame, without its prefix: the correlation id and the body.
pub fn decode_response<R: Call>(version: i16, frame: &[u8]) -> Result<(i32, R::Response), Undecodable> {
    let undecodable = Undecodable { key: R::KEY, version };
    let mut head = Rope::of(frame);
    let correlation_id = head.read_i32().map_err(|_| undecodable)?;
    if R::Response::header_version(version) >= 1 {
        wire::skip_tags(&mut head).map_err(|_| undecodable)?;
    }
    let mut body = Bytes::copy_from_slice(&frame[frame.len() - head.len()..]);
    let response = R::Response::decode(&mut body, version).map_err(|_| undecodable)?;
    Ok((correlation_id, response))
}

/// The highest version of a request that both sides speak, if there is one.
pub fn negotiate<R: Call>(theirs: &ApiVersionsResponse) -> Option<i16> {
    let row = theirs.api_keys.iter().find(|row| row.api_key == R::KEY)?;
    let ours = R::VERSIONS.intersect(&<R::Response as Message>::VERSIONS);
    let highest = ours.max.min(row.max_version);
    (highest >= ours.min.max(row.min_version)).then_some(highest)
}

fn api_name(key: i16) -> &'static str {
    crate::api::find(key).map_or("an API that is off", |api| api.name)
}
