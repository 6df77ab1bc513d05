//! ApiVersions: what is told to clients, and its three peculiarities (KIP-511, KAFKA-17011). Not the table itself.

use ringlog_engine::ErrorCode;

use super::messages::ApiVersionsRequest;
use super::messages::ApiVersionsResponse;
use super::messages::api_versions_response::{ApiVersion, SupportedFeatureKey};
use super::{StrBytes, encode};
use crate::api::{self, Api, ApiKey};
use crate::refusal::Refusal;

/// Features this broker knows, with the lowest and highest level it supports. Level 0 is "without": transactions
/// and the consumer group protocol of KIP-848 are not served. Nothing is finalised, so clients fall back.
const FEATURES: [(&str, i16, i16); 2] = [("group.version", 0, 0), ("transaction.version", 0, 0)];

fn row(api: &Api) -> ApiVersion {
    ApiVersion::default().with_api_key(api.key as i16).with_min_version(api.advertised_min).with_max_version(api.max)
}

/// The answer to a request of this version. Features whose lowest level is 0 are told from version 4 on only: older
/// clients refuse them (KAFKA-17011).
pub fn api_versions(version: i16) -> ApiVersionsResponse {
    let told = FEATURES.iter().filter(|(_, min, _)| version >= 4 || *min > 0);
    let features = told.map(|(name, min, max)| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_static_str(name))
            .with_min_version(*min)
            .with_max_version(*max)
    });
    ApiVersionsResponse::default()
        .with_api_keys(api::advertised().map(row).collect())
        .with_supported_features(if version >= 3 { features.collect() } else { Vec::new() })
}

/// The answer to a request that is refused with a code, in the version asked for.
pub fn api_versions_error(code: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_error_code(code.code())
}

/// Appends the answer to a version that is not served: version 0, error 35 and the row of ApiVersions alone (KIP-511).
/// Answers the length of the frame.
pub fn api_versions_fallback(out: &mut Vec<u8>, correlation_id: i32) -> usize {
    let answer = api_versions_error(ErrorCode::UnsupportedVersion).with_api_keys(vec![row(ApiKey::ApiVersions.row())]);
    encode(out, 0, correlation_id, answer).expect("version 0 carries a code and a row")
}

/// KIP-511: both are of the form `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
pub(super) fn check_software(from: &ApiVersionsRequest) -> Result<(), Refusal> {
    let valid = |text: &[u8]| match text {
        [first, .., last] => {
            let inner = text.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'.');
            first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && inner
        }
        [only] => only.is_ascii_alphanumeric(),
        [] => false,
    };
    if valid(from.client_software_name.as_bytes()) && valid(from.client_software_version.as_bytes()) {
        Ok(())
    } else {
        Err(Refusal::BadClientSoftware)
    }
}
