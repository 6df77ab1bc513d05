//! Frames and headers: the length prefix, the request header, the response header. Not the bodies.
//!
//! Source: the protocol page "Protocol Primitive Types" and "Request header", KIP-482 (header v2), KIP-511 (ApiVersions).

use ringlog_engine::rope::Rope;

use crate::api::{self, Api, ApiKey};
use crate::refusal::Refusal;
use crate::wire::{self, Put};

/// Bytes of the length prefix.
pub const PREFIX: usize = 4;
/// Fewest bytes after the prefix: API key, version, correlation id.
const SHORTEST: i32 = 8;

/// What precedes every request body. Borrows the frame; lives on the connection's core.
#[derive(Clone, Copy, Debug)]
pub struct RequestHeader<'a> {
    pub api: &'static Api,
    pub version: i16,
    pub correlation_id: i32,
    /// Any bytes: Kafka closes no connection over a client id that is not UTF-8. For logs and quotas; see [`wire::text`].
    pub client_id: Option<Rope<'a>>,
}

/// The length of the frame that follows this prefix, checked against `cap` bytes.
pub fn frame_length(prefix: [u8; PREFIX], cap: usize) -> Result<usize, Refusal> {
    let len = i32::from_be_bytes(prefix);
    if len < SHORTEST {
        return Err(Refusal::FrameTooShort { len });
    }
    if len as usize > cap {
        return Err(Refusal::FrameTooLarge { len, cap });
    }
    Ok(len as usize)
}

/// Takes the header off the front of a frame (without its prefix) and leaves the body.
pub fn take_header<'a>(frame: &mut Rope<'a>) -> Result<RequestHeader<'a>, Refusal> {
    let key = frame.read_i16()?;
    let version = frame.read_i16()?;
    let correlation_id = frame.read_i32()?;
    let api = api::find(key).ok_or(Refusal::UnknownApi { key })?;
    if !api.serves(version) {
        return Err(match api.key {
            ApiKey::ApiVersions => Refusal::UnsupportedApiVersions { version, correlation_id },
            _ => Refusal::UnsupportedVersion { key, version },
        });
    }
    let client_id = wire::nullable_string(frame, false)?;
    if api.is_flexible(version) {
        wire::skip_tags(frame)?;
    }
    Ok(RequestHeader { api, version, correlation_id, client_id })
}

/// An answer being written: where its frame began. Given back to [`end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Begun {
    at: usize,
}

/// Appends the prefix (to be patched) and the response header.
pub fn begin(out: &mut Vec<u8>, api: &Api, version: i16, correlation_id: i32) -> Begun {
    let at = out.len();
    out.put_i32(0);
    out.put_i32(correlation_id);
    out.put_no_tags(api.response_header_version(version) == 1);
    Begun { at }
}

/// Patches the length prefix; `elsewhere` counts bytes of the answer that are not in `out`.
/// Answers the length of the whole frame, prefix included.
pub fn end(out: &mut [u8], begun: Begun, elsewhere: usize) -> usize {
    let whole = out.len() - begun.at + elsewhere;
    let len = i32::try_from(whole - PREFIX).expect("an answer below 2 GiB");
    out[begun.at..begun.at + PREFIX].copy_from_slice(&len.to_be_bytes());
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(key: i16, version: i16, rest: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_i16(key);
        out.put_i16(version);
        out.put_i32(77);
        out.extend_from_slice(rest);
        out
    }

    #[test]
    fn lengths_are_capped() {
        assert_eq!(frame_length(100i32.to_be_bytes(), 100), Ok(100));
        assert_eq!(frame_length(101i32.to_be_bytes(), 100), Err(Refusal::FrameTooLarge { len: 101, cap: 100 }));
        assert_eq!(frame_length((-1i32).to_be_bytes(), 100), Err(Refusal::FrameTooShort { len: -1 }));
        assert_eq!(frame_length([0; 4], 100), Err(Refusal::FrameTooShort { len: 0 }));
        assert!(matches!(frame_length(*b"GET ", 100 << 20), Err(Refusal::FrameTooLarge { .. })), "HTTP");
        assert!(matches!(frame_length([0x16, 3, 1, 2], 100 << 20), Err(Refusal::FrameTooLarge { .. })), "TLS");
    }

    #[test]
    fn both_header_versions_leave_the_body() {
        let old = header(3, 8, b"\x00\x02idBODY");
        let new = header(3, 9, b"\x00\x02id\x01\x05\x03abcBODY");
        for bytes in [old, new] {
            for cut in 0..bytes.len() {
                let pieces = [&bytes[..cut], &bytes[cut..]];
                let mut frame = Rope::new(&pieces);
                let parsed = take_header(&mut frame).unwrap();
                assert_eq!((parsed.api.key, parsed.correlation_id), (ApiKey::Metadata, 77));
                let mut scratch = [0; 8];
                assert_eq!(wire::text(parsed.client_id.unwrap(), &mut scratch), Some("id"));
                let mut body = Vec::new();
                frame.append_to(&mut body);
                assert_eq!(body, b"BODY");
                let cut_short = take_header(&mut Rope::of(&bytes[..cut]));
                assert!(cut_short.is_ok() == (cut >= bytes.len() - 4));
            }
        }
    }

    #[test]
    fn refusals_of_headers() {
        let refused = |bytes: Vec<u8>| take_header(&mut Rope::of(&bytes)).unwrap_err();
        assert_eq!(refused(header(18, 5, &[])), Refusal::UnsupportedApiVersions { version: 5, correlation_id: 77 });
        assert_eq!(refused(header(0, 2, &[])), Refusal::UnsupportedVersion { key: 0, version: 2 });
        assert_eq!(refused(header(0, -1, &[])), Refusal::UnsupportedVersion { key: 0, version: -1 });
        assert_eq!(refused(header(7, 0, &[])), Refusal::UnknownApi { key: 7 });
        assert_eq!(refused(header(3, 9, &[0xff, 0xff, 33])), Refusal::TooManyTaggedFields { count: 33 });
        assert_eq!(refused(header(3, 0, &[0xff, 0xfe])), Refusal::NegativeLength { len: -2 });
    }

    #[test]
    fn response_headers() {
        let mut out = vec![9];
        let begun = begin(&mut out, ApiKey::Metadata.row(), 9, 5);
        out.push(1);
        assert_eq!(end(&mut out, begun, 10), 20);
        assert_eq!(out, [9, 0, 0, 0, 16, 0, 0, 0, 5, 0, 1]);
        out.clear();
        let begun = begin(&mut out, ApiKey::ApiVersions.row(), 3, 5);
        assert_eq!(end(&mut out, begun, 0), 8);
        assert_eq!(out, [0, 0, 0, 4, 0, 0, 0, 5]);
    }
}
