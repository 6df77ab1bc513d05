//! The one table of APIs: numbers, names, version ranges. Not the codecs, which are in `produce`, `fetch` and `cold`.
//!
//! Ranges are Kafka 4.2's with lower floors where old clients need them. Kafka's own floors: ListOffsets 1,
//! OffsetForLeaderEpoch 2, CreateTopics 2, DeleteTopics 1, DescribeConfigs 1, DescribeLogDirs 1, OffsetCommit 2, OffsetFetch 1.

/// The APIs of this broker; the discriminant is the API key on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum ApiKey {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    DescribeLogDirs = 35,
    CreatePartitions = 37,
    DeleteGroups = 42,
    IncrementalAlterConfigs = 44,
    OffsetDelete = 47,
    DescribeCluster = 60,
    DescribeProducers = 61,
    ListConfigResources = 74,
    DescribeTopicPartitions = 75,
}

/// Which codec an API goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Borrowed views and writers that do not allocate.
    Hot,
    /// The schema walk, then `kafka-protocol`.
    Cold,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    pub key: ApiKey,
    pub name: &'static str,
    /// Lowest version told to clients.
    pub advertised_min: i16,
    /// Lowest version served. Differs from the former for Produce alone (KAFKA-18659: librdkafka up to 2.11.0 takes
    /// a missing Produce 0 for a broker without compression).
    pub min: i16,
    /// Highest version, served and told.
    pub max: i16,
    /// First version with compact types and tagged fields (KIP-482); `i16::MAX` for never.
    pub flexible_from: i16,
    pub path: Path,
    /// A row that is off is neither told to clients nor served.
    pub on: bool,
}

/// Flexible from no version on.
const NEVER: i16 = i16::MAX;

const fn cold(key: ApiKey, name: &'static str, min: i16, max: i16, flexible_from: i16) -> Api {
    Api { key, name, advertised_min: min, min, max, flexible_from, path: Path::Cold, on: true }
}

const fn hot(key: ApiKey, name: &'static str, advertised_min: i16, min: i16, max: i16, flexible_from: i16) -> Api {
    Api { key, name, advertised_min, min, max, flexible_from, path: Path::Hot, on: true }
}

/// Every API, by key. A row is switched off by `Api { on: false, ..cold(...) }`.
pub static APIS: [Api; 30] = [
    hot(ApiKey::Produce, "Produce", 0, 3, 13, 9),
    hot(ApiKey::Fetch, "Fetch", 4, 4, 18, 12),
    cold(ApiKey::ListOffsets, "ListOffsets", 0, 11, 6),
    cold(ApiKey::Metadata, "Metadata", 0, 13, 9),
    cold(ApiKey::OffsetCommit, "OffsetCommit", 1, 10, 8),
    cold(ApiKey::OffsetFetch, "OffsetFetch", 0, 10, 6),
    cold(ApiKey::FindCoordinator, "FindCoordinator", 0, 6, 3),
    cold(ApiKey::JoinGroup, "JoinGroup", 0, 9, 6),
    cold(ApiKey::Heartbeat, "Heartbeat", 0, 4, 4),
    cold(ApiKey::LeaveGroup, "LeaveGroup", 0, 5, 4),
    cold(ApiKey::SyncGroup, "SyncGroup", 0, 5, 4),
    cold(ApiKey::DescribeGroups, "DescribeGroups", 0, 6, 5),
    cold(ApiKey::ListGroups, "ListGroups", 0, 5, 3),
    cold(ApiKey::ApiVersions, "ApiVersions", 0, 4, 3),
    cold(ApiKey::CreateTopics, "CreateTopics", 0, 7, 5),
    cold(ApiKey::DeleteTopics, "DeleteTopics", 0, 6, 4),
    cold(ApiKey::DeleteRecords, "DeleteRecords", 0, 2, 2),
    cold(ApiKey::InitProducerId, "InitProducerId", 0, 5, 2),
    cold(ApiKey::OffsetForLeaderEpoch, "OffsetForLeaderEpoch", 0, 4, 4),
    cold(ApiKey::DescribeConfigs, "DescribeConfigs", 0, 4, 4),
    cold(ApiKey::AlterConfigs, "AlterConfigs", 0, 2, 2),
    cold(ApiKey::DescribeLogDirs, "DescribeLogDirs", 0, 4, 2),
    cold(ApiKey::CreatePartitions, "CreatePartitions", 0, 3, 2),
    cold(ApiKey::DeleteGroups, "DeleteGroups", 0, 2, 2),
    cold(ApiKey::IncrementalAlterConfigs, "IncrementalAlterConfigs", 0, 1, 1),
    cold(ApiKey::OffsetDelete, "OffsetDelete", 0, 0, NEVER),
    cold(ApiKey::DescribeCluster, "DescribeCluster", 0, 2, 0),
    cold(ApiKey::DescribeProducers, "DescribeProducers", 0, 0, 0),
    cold(ApiKey::ListConfigResources, "ListConfigResources", 0, 1, 0),
    cold(ApiKey::DescribeTopicPartitions, "DescribeTopicPartitions", 0, 0, 0),
];

/// The row of a key from the wire, if that API is on.
pub fn find(key: i16) -> Option<&'static Api> {
    let at = APIS.binary_search_by_key(&key, |api| api.key as i16).ok()?;
    APIS[at].on.then_some(&APIS[at])
}

/// What ApiVersions tells clients.
pub fn advertised() -> impl Iterator<Item = &'static Api> {
    APIS.iter().filter(|api| api.on)
}

impl ApiKey {
    /// The row of this API, on or off.
    pub fn row(self) -> &'static Api {
        let at = APIS.binary_search_by_key(&self, |api| api.key).expect("every key has a row");
        &APIS[at]
    }
}

impl Api {
    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// Whether this version uses compact types and tagged fields.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// The version of the response header: 1 for flexible versions, but always 0 for ApiVersions (KIP-511), which a
    /// client must read before it knows what the broker speaks.
    pub fn response_header_version(&self, version: i16) -> i16 {
        i16::from(self.is_flexible(version) && self.key != ApiKey::ApiVersions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_consistent() {
        assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
        for api in &APIS {
            assert!(api.advertised_min <= api.min && api.min <= api.max, "{}", api.name);
            assert_eq!(format!("{:?}", api.key), api.name);
            assert_eq!(api.key.row().key, api.key);
            assert_eq!(find(api.key as i16).is_some(), api.on);
            assert_eq!(api.advertised_min != api.min, api.key == ApiKey::Produce, "{}", api.name);
        }
        assert!(find(4).is_none() && find(-1).is_none());
    }

    #[test]
    fn response_headers_follow_flexibility_but_for_api_versions() {
        assert_eq!(ApiKey::ApiVersions.row().response_header_version(4), 0);
        assert_eq!(ApiKey::Metadata.row().response_header_version(8), 0);
        assert_eq!(ApiKey::Metadata.row().response_header_version(9), 1);
    }
}
