//! The settings and limits of a group coordinator. Not their parsing: `config` fills this in from Kafka's names.

/// Read at every call, so a change acts at once. Times in milliseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`; 0 completes a first join at once.
    pub initial_rebalance_delay_ms: u64,
    /// `group.max.size`: members of one group; beyond it GROUP_MAX_SIZE_REACHED.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`; beyond it OFFSET_METADATA_TOO_LARGE. No more than 32,767 can be kept.
    pub offset_metadata_max_size: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: u64,
    /// Groups in one coordinator; beyond it COORDINATOR_NOT_AVAILABLE, which clients retry.
    pub max_groups: usize,
    /// Member ids given out and not yet joined with, in one group; beyond it GROUP_MAX_SIZE_REACHED.
    pub max_pending_members: usize,
    /// Protocols in one join; beyond it INVALID_REQUEST.
    pub max_protocols: usize,
    /// A member's protocols and names together; beyond it INVALID_REQUEST.
    pub max_member_bytes: usize,
    /// A leader's assignments together; beyond it INVALID_REQUEST.
    pub max_assignment_bytes: usize,
    /// Memory of one coordinator's members, group records and offsets; beyond it COORDINATOR_NOT_AVAILABLE.
    pub max_bytes: usize,
    /// One `Append` holds no more than this unless a single record does.
    pub append_max_bytes: usize,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: 10_000,
            offset_metadata_max_size: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            offsets_retention_check_interval_ms: 600_000,
            max_groups: 10_000,
            max_pending_members: 1_000,
            max_protocols: 64,
            max_member_bytes: 1 << 20,
            max_assignment_bytes: 16 << 20,
            max_bytes: 64 << 20,
            append_max_bytes: 512 << 10,
        }
    }
}
