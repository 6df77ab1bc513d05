//! Why a peer's bytes are not served, and what is done about it. Plain data; no logging, no counting.

use ringlog_engine::{ErrorCode, rope::Truncated};

/// A frame, header or body that is not served. Copied freely, holds none of the peer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The length prefix was negative, or too short to hold a header.
    FrameTooShort { len: i32 },
    /// The length prefix was beyond the cap (`socket.request.max.bytes`, or the cap before authentication).
    FrameTooLarge { len: i32, cap: usize },
    /// No such API here, or one that is switched off.
    UnknownApi { key: i16 },
    /// An API that is served, in a version that is not.
    UnsupportedVersion { key: i16, version: i16 },
    /// ApiVersions in a version that is not served: the one case with an answer (KIP-511).
    UnsupportedApiVersions { version: i16, correlation_id: i32 },
    /// ApiVersions 3+ whose client software name or version is not of the permitted form (KIP-511).
    BadClientSoftware,
    /// The body ended before a value did.
    Truncated,
    /// A length or count below zero where that means nothing.
    NegativeLength { len: i32 },
    /// A null where the protocol allows none.
    NullNotAllowed,
    /// More elements announced than the rest of the body can hold.
    CountBeyondBody { count: usize, remaining: usize },
    /// More tagged fields in one structure than [`crate::wire::MAX_TAGGED_FIELDS`].
    TooManyTaggedFields { count: u32 },
    /// Tags must rise (KIP-482); these did not.
    TagsOutOfOrder { tag: u32 },
    /// A tagged field whose content is not exactly as long as it says.
    BadTaggedField { tag: u32 },
    /// A string that is not UTF-8.
    NotUtf8,
    /// The body passed every check here, and `kafka-protocol` still refused it.
    Undecodable { key: i16, version: i16 },
}

/// What the connection does with a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Close the connection: Kafka has no generic error envelope, so clients expect this.
    Close,
    /// Answer with this code in an answer of that API, in the version asked for; the connection lives on.
    Answer(ErrorCode),
    /// Answer ApiVersions in version 0 with this code and only its own row: [`crate::cold::api_versions_fallback`].
    AnswerApiVersionsV0(ErrorCode),
}

impl Refusal {
    /// Kafka's behaviour: everything malformed or unknown closes, except what ApiVersions promises (KIP-511).
    pub const fn action(self) -> Action {
        match self {
            Refusal::UnsupportedApiVersions { .. } => Action::AnswerApiVersionsV0(ErrorCode::UnsupportedVersion),
            Refusal::BadClientSoftware => Action::Answer(ErrorCode::InvalidRequest),
            _ => Action::Close,
        }
    }

    /// The nearest Kafka error code, for logs and metrics.
    pub const fn code(self) -> ErrorCode {
        match self {
            Refusal::UnknownApi { .. }
            | Refusal::UnsupportedVersion { .. }
            | Refusal::UnsupportedApiVersions { .. } => ErrorCode::UnsupportedVersion,
            _ => ErrorCode::InvalidRequest,
        }
    }
}

impl From<Truncated> for Refusal {
    fn from(_: Truncated) -> Refusal {
        Refusal::Truncated
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Refusal::FrameTooShort { len } => write!(f, "a frame of {len} bytes cannot hold a request header"),
            Refusal::FrameTooLarge { len, cap } => write!(f, "a frame of {len} bytes, the limit is {cap}"),
            Refusal::UnknownApi { key } => write!(f, "API key {key} is not served"),
            Refusal::UnsupportedVersion { key, version } => {
                write!(f, "API key {key} is not served in version {version}")
            }
            Refusal::UnsupportedApiVersions { version, .. } => {
                write!(f, "ApiVersions is not served in version {version}")
            }
            Refusal::BadClientSoftware => write!(f, "client software name or version is not of the permitted form"),
            Refusal::Truncated => write!(f, "the request ends in the middle of a value"),
            Refusal::NegativeLength { len } => write!(f, "a length of {len}"),
            Refusal::NullNotAllowed => write!(f, "null where the protocol allows none"),
            Refusal::CountBeyondBody { count, remaining } => {
                write!(f, "{count} elements announced, {remaining} bytes left")
            }
            Refusal::TooManyTaggedFields { count } => write!(f, "{count} tagged fields in one structure"),
            Refusal::TagsOutOfOrder { tag } => write!(f, "tag {tag} out of order"),
            Refusal::BadTaggedField { tag } => write!(f, "tagged field {tag} is not as long as it says"),
            Refusal::NotUtf8 => write!(f, "a string that is not UTF-8"),
            Refusal::Undecodable { key, version } => write!(f, "API key {key} version {version} does not decode"),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_api_versions_is_answered() {
        assert_eq!(Refusal::Truncated.action(), Action::Close);
        assert_eq!(Refusal::UnsupportedVersion { key: 0, version: 2 }.action(), Action::Close);
        assert_eq!(
            Refusal::UnsupportedApiVersions { version: 9, correlation_id: 1 }.action(),
            Action::AnswerApiVersionsV0(ErrorCode::UnsupportedVersion)
        );
        assert_eq!(Refusal::BadClientSoftware.action(), Action::Answer(ErrorCode::InvalidRequest));
        assert_eq!(Refusal::UnknownApi { key: 99 }.code(), ErrorCode::UnsupportedVersion);
    }
}
