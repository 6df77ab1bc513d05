//! The one table of metrics: names, kinds, units, labels and what they mean. A test holds every scrape, the shipped dashboard and
//! the alert rules to it. Not here: how figures are counted (beside this) and written.
//!
//! Names follow Prometheus: prefix `ringlog_` (the standard `process_` for what any process has), base units, `_total` for
//! counters. A label with a closed set of values has the set in its help.

/// What kind of series a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What a metric counts, as the end of its name says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    None,
    Seconds,
    Bytes,
}

/// Which address of the admin endpoint tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// `/metrics`: what a scraper takes.
    Metrics,
    /// `/partitions`: a few series for each partition; asked for by whoever looks at them.
    Partitions,
    /// `/clients`: a few series for each connection.
    Clients,
}

/// One row of the table.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub page: Page,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident $name:literal $kind:ident $unit:ident $page:ident [$($label:literal),*] $help:expr;)*) => {
        $(pub const $id: Metric = Metric {
            name: $name, kind: Kind::$kind, unit: Unit::$unit, page: Page::$page, labels: &[$($label),*], help: $help,
        };)*
        /// Every metric, in the order of the pages.
        pub const METRICS: &[Metric] = &[$($id),*];
    };
}

metrics! {
    // The process.
    BUILD_INFO "ringlog_build_info" Gauge None Metrics ["version"] "1; the label says which release runs.";
    UPTIME "ringlog_uptime_seconds" Gauge Seconds Metrics [] "Time since the broker was started.";
    PROCESS_CPU "process_cpu_seconds_total" Counter Seconds Metrics [] "User and system time of the process.";
    PROCESS_RSS "process_resident_memory_bytes" Gauge Bytes Metrics [] "Resident memory of the process.";
    PROCESS_VSZ "process_virtual_memory_bytes" Gauge Bytes Metrics [] "Virtual memory of the process.";
    PROCESS_FDS "process_open_fds" Gauge None Metrics [] "Open file descriptors.";
    PROCESS_MAX_FDS "process_max_fds" Gauge None Metrics [] "Limit on open file descriptors.";
    PROCESS_START "process_start_time_seconds" Gauge Seconds Metrics [] "When the process was started, since the epoch.";
    CORE_INFO "ringlog_core_info" Gauge None Metrics ["core", "cpu"] "1; which CPU a core (shard) is pinned to.";
    SCRAPE_SILENT "ringlog_scrape_silent_cores" Gauge None Metrics []
        "Cores that did not answer this scrape in time: what only they can tell is missing from it.";

    // The loop of each core.
    TURNS "ringlog_turns_total" Counter None Metrics ["core"] "Turns of the loop.";
    TURN "ringlog_turn_seconds" Histogram Seconds Metrics ["core"]
        "Time a turn takes from the end of its wait to its end.";
    TURN_PART "ringlog_turn_part_seconds_total" Counter Seconds Metrics ["core", "part"]
        "Time by part of the turn: wait (asleep, and in the kernel for what was submitted), completions, mail, decide, commit, answer.";
    TURN_AGE "ringlog_turn_age_seconds" Gauge Seconds Metrics ["core"]
        "Time since the last turn began. A core turns at least once a second; more means that it hangs.";
    TURN_COMPLETIONS "ringlog_turn_completions" Histogram None Metrics ["core"] "Completions taken in one turn.";
    SUBMISSIONS "ringlog_submissions_total" Counter None Metrics ["core"]
        "Operations put into the ring; divided by turns: operations a turn.";
    MAIL "ringlog_mail_total" Counter None Metrics ["core"] "Mail taken from other cores.";
    QUEUE "ringlog_queue_depth" Gauge None Metrics ["core", "queue"]
        "What waits at the end of the last turn: parked_fetches, waiting_appends (for their commit), stalled_appends (of other cores, for memory), starved_connections (next request waits for memory), unsent_answers (wait for memory to be sent from), mail (in the queues to this core), mail_overflow (from this core, beyond the queues), checker (batches handed to the checker), checker_line (connections that wait to hand theirs over), background_steps (of segment files).";

    // Requests.
    REQUESTS "ringlog_requests_total" Counter None Metrics ["core", "api"] "Requests begun, by Kafka's name of the API.";
    REQUEST_BYTES "ringlog_request_bytes_total" Counter Bytes Metrics ["core", "api"] "Bytes of requests begun.";
    RESPONSE_BYTES "ringlog_response_bytes_total" Counter Bytes Metrics ["core", "api"] "Bytes of answers handed to the socket.";
    REQUEST_TIME "ringlog_request_seconds" Histogram Seconds Metrics ["core", "api"]
        "Time from the begin of the turn that took a request to its answer being handed to the socket: Produce, Fetch (its wait for records included) or other. Produces that are not answered (acks=0) do not count.";
    ERRORS "ringlog_request_errors_total" Counter None Metrics ["core", "api", "code"]
        "Kafka error codes answered, partition by partition for Produce and Fetch, once a response for other; codes that occurred.";

    // The log.
    APPENDED_BYTES "ringlog_appended_bytes_total" Counter Bytes Metrics ["core"] "Bytes of batches appended to logs.";
    APPENDED_BATCHES "ringlog_appended_batches_total" Counter None Metrics ["core"] "Batches appended to logs.";
    APPENDED_RECORDS "ringlog_appended_records_total" Counter None Metrics ["core"] "Records appended to logs.";
    READ_BYTES "ringlog_read_bytes_total" Counter Bytes Metrics ["core", "path"]
        "Bytes that logs gave to fetches (one that waits for more is given the same again): memory (of the tail), direct (read past the page cache by O_DIRECT), splice (from a segment's file through the page cache).";
    READS "ringlog_reads_total" Counter None Metrics ["core", "path"]
        "Reads of a log that gave bytes, by where the first of them was: memory, direct, splice.";
    COLD_READS "ringlog_cold_reads_total" Counter None Metrics ["core", "result"]
        "Reads of what is not in the tail's memory, but for those by splice: hit (in a block read before), miss (they wait for the disk and are made again).";
    DISK_READ_BYTES "ringlog_disk_read_bytes_total" Counter Bytes Metrics ["core"] "Bytes read from segments by O_DIRECT.";

    // The disk.
    WRITTEN_BYTES "ringlog_written_bytes_total" Counter Bytes Metrics ["core", "dir", "kind"]
        "Bytes written: journal, direct (appends straight to their segment), destaged (from memory to segments), zeroed (ahead of writes).";
    FLUSHES "ringlog_flushes_total" Counter None Metrics ["core", "dir", "kind"]
        "Flushes issued: commit (of the journal, for a commit), cover (of the journal, for destaged bytes alone), segment (of a segment's own file).";
    FLUSH_TIME "ringlog_flush_seconds" Histogram Seconds Metrics ["core", "dir"] "Time a commit's flush takes.";
    FLUSH_BYTES "ringlog_flush_bytes" Histogram Bytes Metrics ["core", "dir"]
        "Bytes a commit's flush makes durable: its frame in the journal and what went straight to segments.";
    WRITE_TIME "ringlog_commit_write_seconds" Histogram Seconds Metrics ["core", "dir"]
        "Time from a commit being built to its last write being done.";
    DIR_FREE "ringlog_log_dir_free_bytes" Gauge Bytes Metrics ["dir"]
        "Bytes of the directory's file system that the broker may still take.";
    DIR_SIZE "ringlog_log_dir_size_bytes" Gauge Bytes Metrics ["dir"] "Size of the directory's file system.";
    DIR_RESERVE "ringlog_log_dir_reserve_bytes" Gauge Bytes Metrics ["dir"]
        "Free bytes under which writes are refused (`ringlog.disk.reserve.bytes`).";
    DIR_LOG "ringlog_log_dir_log_bytes" Gauge Bytes Metrics ["dir"] "Bytes of all partitions' logs in the directory.";
    DIR_LATCHED "ringlog_log_dir_latched" Gauge None Metrics ["dir"]
        "1 once a write or flush failed: the directory is out of service until a restart.";

    // Memory against its limits.
    MEMORY "ringlog_memory_bytes" Gauge Bytes Metrics ["core", "use"]
        "Memory by use: log (blocks of tails, cold reads and answers), receive (buffers held by bytes received), requests (begun and not answered), backlog (received and not begun).";
    MEMORY_LIMIT "ringlog_memory_limit_bytes" Gauge Bytes Metrics ["core", "use"] "The limit of each use of memory.";

    // How much there is of everything.
    CONNECTIONS "ringlog_connections" Gauge None Metrics ["core"] "Connections open.";
    CONNECTIONS_LIMIT "ringlog_connections_limit" Gauge None Metrics []
        "Connections of the node that `max.connections` and the limit on open files allow.";
    CONNECTIONS_OPENED "ringlog_connections_opened_total" Counter None Metrics ["core"] "Connections taken in.";
    CONNECTIONS_DROPPED "ringlog_connections_dropped_total" Counter None Metrics ["core", "reason"]
        "Connections closed by the broker: refused (for what the peer sent), slow (while memory was short), broken (the socket failed); crowd: not taken in, or kept waiting.";
    TOPICS "ringlog_topics" Gauge None Metrics [] "Topics of the node, internal ones included.";
    PARTITIONS "ringlog_partitions" Gauge None Metrics ["core"] "Partitions that a core owns, internal ones included.";
    PRODUCERS "ringlog_producers" Gauge None Metrics ["core"] "Idempotent producers remembered.";
    FETCH_SESSIONS "ringlog_fetch_sessions" Gauge None Metrics ["core"] "Incremental fetch sessions.";
    GROUPS "ringlog_groups" Gauge None Metrics ["core"] "Consumer groups whose coordinator is on the core.";
    GROUP_MEMBERS "ringlog_group_members" Gauge None Metrics ["core"] "Members of those groups.";

    // Consumer groups.
    GROUP_INFO "ringlog_consumer_group_members" Gauge None Metrics ["group", "state"]
        "Members of a group; the label says its state, in Kafka's words.";
    GROUP_OFFSET "ringlog_consumer_group_offset" Gauge None Metrics ["group", "topic", "partition"]
        "Offset a group has committed.";
    GROUP_LAG "ringlog_consumer_group_lag" Gauge None Metrics ["group", "topic", "partition"]
        "Records between a group's committed offset and the high watermark.";
    GROUP_OMITTED "ringlog_consumer_group_omitted" Gauge None Metrics ["what"]
        "Left out above for the bound on their number: groups, offsets (of a group, topic and partition). Kept are the first by name.";

    // `/partitions`.
    PARTITION_END "ringlog_partition_high_watermark" Gauge None Partitions ["topic", "partition", "core"]
        "Offset up to which consumers see.";
    PARTITION_START "ringlog_partition_log_start" Gauge None Partitions ["topic", "partition", "core"]
        "First offset of the log.";
    PARTITION_BYTES "ringlog_partition_log_bytes" Gauge Bytes Partitions ["topic", "partition", "core"] "Bytes of the log.";
    PARTITION_SEGMENTS "ringlog_partition_segments" Gauge None Partitions ["topic", "partition", "core"]
        "Segments of the log.";
    PARTITION_APPENDED "ringlog_partition_appended_bytes_total" Counter Bytes Partitions ["topic", "partition", "core"]
        "Bytes appended since the start.";
    PARTITION_READ "ringlog_partition_read_bytes_total" Counter Bytes Partitions ["topic", "partition", "core"]
        "Bytes given to fetches since the start.";

    // `/clients`.
    CLIENT_AGE "ringlog_client_connected_seconds" Gauge Seconds Clients ["core", "peer", "client_id"]
        "Time since a connection was taken in; its peer's address, and the client id of its first request.";
    CLIENT_REQUESTS "ringlog_client_requests_total" Counter None Clients ["core", "peer", "client_id"]
        "Requests of a connection.";
    CLIENT_IN "ringlog_client_request_bytes_total" Counter Bytes Clients ["core", "peer", "client_id"]
        "Bytes of a connection's requests.";
    CLIENT_OUT "ringlog_client_response_bytes_total" Counter Bytes Clients ["core", "peer", "client_id"]
        "Bytes of answers handed to a connection's socket.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = BTreeSet::new();
        for metric in METRICS {
            let Metric { name, kind, unit, labels, help, .. } = metric;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("ringlog_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let base = name.trim_end_matches("_total");
            assert_eq!(*unit == Unit::Seconds, base.ends_with("_seconds"), "{name}");
            assert_eq!(*unit == Unit::Bytes, base.ends_with("_bytes"), "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
            assert!(labels.iter().all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')), "{name}");
        }
    }
}
