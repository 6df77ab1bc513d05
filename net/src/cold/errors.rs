//! Where each answer has error codes: for counting what is refused.

use super::messages::*;

/// An answer with its error codes.
pub trait Errors {
    /// The first code that is one; 0 if there is none.
    fn first_error(&self) -> i16;
}

/// Walks a path of lists to a code, and returns out of the function that it is in with the first that is one.
macro_rules! find {
    ($from:expr, $code:ident) => {
        if $from.$code != 0 {
            return $from.$code;
        }
    };
    ($from:expr, $list:ident $($rest:ident)+) => {
        for item in &$from.$list {
            find!(item, $($rest)+);
        }
    };
}

macro_rules! errors {
    ($($response:ident: $([$($path:ident)+])*;)*) => {
        $(impl Errors for $response {
            fn first_error(&self) -> i16 {
                $(find!(self, $($path)+);)*
                0
            }
        })*
    };
}

errors! {
    ListOffsetsResponse: [topics partitions error_code];
    MetadataResponse: [error_code] [topics error_code] [topics partitions error_code];
    OffsetCommitResponse: [topics partitions error_code];
    OffsetFetchResponse: [error_code] [topics partitions error_code] [groups error_code]
        [groups topics partitions error_code];
    FindCoordinatorResponse: [error_code] [coordinators error_code];
    JoinGroupResponse: [error_code];
    HeartbeatResponse: [error_code];
    LeaveGroupResponse: [error_code] [members error_code];
    SyncGroupResponse: [error_code];
    DescribeGroupsResponse: [groups error_code];
    ListGroupsResponse: [error_code];
    ApiVersionsResponse: [error_code];
    CreateTopicsResponse: [topics error_code];
    DeleteTopicsResponse: [responses error_code];
    DeleteRecordsResponse: [topics partitions error_code];
    InitProducerIdResponse: [error_code];
    OffsetForLeaderEpochResponse: [topics partitions error_code];
    DescribeConfigsResponse: [results error_code];
    AlterConfigsResponse: [responses error_code];
    DescribeLogDirsResponse: [error_code] [results error_code];
    CreatePartitionsResponse: [results error_code];
    DeleteGroupsResponse: [results error_code];
    IncrementalAlterConfigsResponse: [responses error_code];
    OffsetDeleteResponse: [error_code] [topics partitions error_code];
    DescribeClusterResponse: [error_code];
    DescribeProducersResponse: [topics partitions error_code];
    ListConfigResourcesResponse: [error_code];
    DescribeTopicPartitionsResponse: [topics error_code] [topics partitions error_code];
}
