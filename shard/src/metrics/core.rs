//! What one core counts. The core alone writes it, wherever it does the thing that is counted; the admin thread reads it.

use super::meter::{Counter, Counts, Gauge, Sizes, Times};
use ringlog_engine::ErrorCode;
use ringlog_net::api::ApiKey;

/// Names of values of labels, in the order of the arrays below.
pub const PARTS: [&str; 6] = ["wait", "completions", "mail", "decide", "commit", "answer"];
pub const API_CLASSES: [&str; 3] = ["Produce", "Fetch", "other"];
pub const READ_PATHS: [&str; 3] = ["memory", "direct", "splice"];
pub const COLD_RESULTS: [&str; 2] = ["hit", "miss"];
pub const USES: [&str; 4] = ["log", "receive", "requests", "backlog"];
pub const WRITE_KINDS: [&str; 4] = ["journal", "direct", "destaged", "zeroed"];
pub const FLUSH_KINDS: [&str; 3] = ["commit", "cover", "segment"];
/// In the order of `core::notices::Kind`.
pub const DROP_REASONS: [&str; 4] = ["refused", "slow", "crowd", "broken"];
pub const QUEUES: [&str; 10] = [
    "parked_fetches",
    "waiting_appends",
    "stalled_appends",
    "starved_connections",
    "unsent_answers",
    "mail",
    "mail_overflow",
    "checker",
    "checker_line",
    "background_steps",
];

/// Places in arrays by API number: one more than the highest.
const APIS: usize = ApiKey::DescribeTopicPartitions as usize + 1;
/// Places by error code: -1 to the highest Kafka has.
const CODES: usize = 1 + ErrorCode::ShareSessionLimitReached as usize + 1;

/// Where a log's bytes for a fetch came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadPath {
    Memory,
    Direct,
    Splice,
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteKind {
    Journal,
    Direct,
    Destaged,
    Zeroed,
}

/// What was flushed, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushKind {
    Commit,
    Cover,
    Segment,
}

/// One log directory, as one core uses it.
#[derive(Debug, Default)]
pub struct DirMeter {
    pub written: [Counter; WRITE_KINDS.len()],
    pub flushes: [Counter; FLUSH_KINDS.len()],
    pub flush_time: Times,
    pub flush_bytes: Sizes,
    pub write_time: Times,
}

impl DirMeter {
    pub fn wrote(&self, kind: WriteKind, bytes: u64) {
        self.written[kind as usize].add(bytes);
    }

    pub fn flushes(&self, kind: FlushKind) {
        self.flushes[kind as usize].add(1);
    }
}

/// One core. Apart from others' memory: what one core counts is on no other's cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub struct CoreMeter {
    pub turns: Counter,
    pub parts: [Counter; PARTS.len()],
    pub turn: Times,
    /// When the last turn began, in nanoseconds since the process started; 0 before the first.
    pub turn_began: Gauge,
    pub completions: Counts,
    pub submissions: Counter,
    pub mail: Counter,
    pub queues: [Gauge; QUEUES.len()],
    requests: [Counter; APIS],
    request_bytes: [Counter; APIS],
    response_bytes: [Counter; APIS],
    pub request_time: [Times; API_CLASSES.len()],
    errors: [[Counter; CODES]; API_CLASSES.len()],
    pub appended_bytes: Counter,
    pub appended_batches: Counter,
    pub appended_records: Counter,
    pub reads: [Counter; READ_PATHS.len()],
    pub read_bytes: [Counter; READ_PATHS.len()],
    /// By [`COLD_RESULTS`].
    pub cold_reads: [Counter; COLD_RESULTS.len()],
    pub disk_read_bytes: Counter,
    pub memory: [Gauge; USES.len()],
    pub memory_limit: [Gauge; USES.len()],
    pub connections: Gauge,
    pub opened: Counter,
    pub dropped: [Counter; DROP_REASONS.len()],
    pub fetch_sessions: Gauge,
    /// By log directory.
    pub dirs: Box<[DirMeter]>,
}

fn counters<const N: usize>() -> [Counter; N] {
    std::array::from_fn(|_| Counter::default())
}

/// Which of [`API_CLASSES`] an API is in.
fn class(api: ApiKey) -> usize {
    match api {
        ApiKey::Produce => 0,
        ApiKey::Fetch => 1,
        _ => 2,
    }
}

impl CoreMeter {
    pub fn new(dirs: usize) -> CoreMeter {
        CoreMeter {
            turns: Counter::default(),
            parts: counters(),
            turn: Times::default(),
            turn_began: Gauge::default(),
            completions: Counts::default(),
            submissions: Counter::default(),
            mail: Counter::default(),
            queues: Default::default(),
            requests: counters(),
            request_bytes: counters(),
            response_bytes: counters(),
            request_time: Default::default(),
            errors: std::array::from_fn(|_| counters()),
            appended_bytes: Counter::default(),
            appended_batches: Counter::default(),
            appended_records: Counter::default(),
            reads: counters(),
            read_bytes: counters(),
            cold_reads: counters(),
            disk_read_bytes: Counter::default(),
            memory: Default::default(),
            memory_limit: Default::default(),
            connections: Gauge::default(),
            opened: Counter::default(),
            dropped: counters(),
            fetch_sessions: Gauge::default(),
            dirs: (0..dirs).map(|_| DirMeter::default()).collect(),
        }
    }

    /// A request is begun.
    #[inline]
    pub fn request(&self, api: ApiKey, bytes: usize) {
        self.requests[api as usize].add(1);
        self.request_bytes[api as usize].add(bytes as u64);
    }

    /// Bytes of an answer were handed to the socket.
    #[inline]
    pub fn response(&self, api: ApiKey, bytes: usize) {
        self.response_bytes[api as usize].add(bytes as u64);
    }

    /// An answer is handed to the socket whole, so many nanoseconds after its request was taken.
    #[inline]
    pub fn answered(&self, api: ApiKey, nanos: u64) {
        self.request_time[class(api)].record(nanos);
    }

    /// An error code is answered; no error counts as none.
    #[inline]
    pub fn error(&self, api: ApiKey, code: i16) {
        if code != 0
            && let Some(counter) = self.errors[class(api)].get((code + 1) as usize)
        {
            counter.add(1);
        }
    }

    /// A batch was appended to a log.
    #[inline]
    pub fn appended(&self, bytes: u64, records: i32) {
        self.appended_batches.add(1);
        self.appended_bytes.add(bytes);
        self.appended_records.add(records.max(0) as u64);
    }

    /// A log gave bytes to a fetch.
    #[inline]
    pub fn read(&self, path: ReadPath, bytes: u32) {
        self.reads[path as usize].add(1);
        self.read_bytes[path as usize].add(u64::from(bytes));
    }

    /// Requests, their bytes and those of their answers.
    pub fn of_api(&self, api: ApiKey) -> [u64; 3] {
        [&self.requests, &self.request_bytes, &self.response_bytes].map(|counters| counters[api as usize].get())
    }

    /// Codes answered so far, with their counts: by class of APIs.
    pub fn errors(&self, class: usize) -> impl Iterator<Item = (ErrorCode, u64)> {
        let counts = self.errors[class].iter().enumerate().filter(|(_, counter)| counter.get() > 0);
        counts.filter_map(|(at, counter)| Some((ErrorCode::from_code(at as i16 - 1)?, counter.get())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_at_both_ends_are_counted_and_none_is_not() {
        let meter = CoreMeter::new(1);
        let last = ErrorCode::ShareSessionLimitReached;
        for code in [0, -1, 3, 3, last.code(), last.code() + 1] {
            meter.error(ApiKey::Fetch, code);
        }
        let counted: Vec<_> = meter.errors(1).collect();
        let expected = [(ErrorCode::UnknownServerError, 1), (ErrorCode::UnknownTopicOrPartition, 2), (last, 1)];
        assert_eq!(counted, expected);
        assert_eq!(meter.errors(0).count() + meter.errors(2).count(), 0);
    }
}
