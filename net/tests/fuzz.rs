//! Hostile bytes against everything that reads a request: no panic, no abort, and no more memory than a small multiple of the
//! input. A sweep of lying counts over every API and version, crowds of the smallest elements, then random mutation.
//!
//! The suite runs a fixed seed for a few seconds. The long run is a command:
//! `RINGLOG_FUZZ_ITERATIONS=100000000 RINGLOG_FUZZ_SEED=7 cargo test --release -p ringlog-net --test fuzz -- --nocapture`

mod samples;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;

use ringlog_engine::ErrorCode;
use ringlog_engine::rope::Rope;
use ringlog_net::api::{self, APIS, ApiKey, Path};
use ringlog_net::cold;
use ringlog_net::fetch::{FetchAnswer, FetchHead, FetchPartitionAnswer, FetchRequest};
use ringlog_net::frame;
use ringlog_net::produce::{ProduceAnswer, ProducePartitionAnswer, ProduceRequest};
use ringlog_net::refusal::Refusal;
use ringlog_net::wire::TopicName;

/// Counts this thread's live and peak bytes.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn account(bytes: isize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: every call goes to the system allocator unchanged; the counters are plain thread-local cells.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        account(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        account(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that were live at once in `work`, above what was live before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before) as usize)
}

/// splitmix64: a sequence of numbers from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

#[derive(Clone)]
struct Seed {
    key: ApiKey,
    version: i16,
    body: Vec<u8>,
}

fn seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for sample in samples::all() {
        let decoded = cold::decode(sample.key.row(), sample.version, Rope::of(&sample.body));
        assert_eq!(decoded.as_ref(), Ok(&sample.request));
        seeds.push(Seed { key: sample.key, version: sample.version, body: sample.body });
    }
    for version in 3..=13 {
        let body = samples::body_of(&samples::hot::produce(version), version);
        seeds.push(Seed { key: ApiKey::Produce, version, body });
    }
    for version in 4..=18 {
        let body = samples::body_of(&samples::hot::fetch(version), version);
        seeds.push(Seed { key: ApiKey::Fetch, version, body });
    }
    let versions: usize = APIS.iter().map(|api| (api.min..=api.max).count()).sum();
    assert_eq!(seeds.len(), versions, "every API in every served version");
    seeds
}

/// Reads a body as the broker does. Hot requests are iterated to the last partition.
fn read(key: ApiKey, version: i16, body: Rope<'_>) -> Result<usize, Refusal> {
    match key {
        ApiKey::Produce => {
            let request = ProduceRequest::parse(version, body)?;
            let partitions = request.topics().flat_map(|topic| topic.partitions());
            let seen = partitions.inspect(|p| assert!(p.records.is_none_or(|r| r.len() < body.len()))).count();
            assert_eq!(seen, request.partition_count());
            Ok(seen)
        }
        ApiKey::Fetch => {
            let request = FetchRequest::parse(version, body)?;
            let seen = request.topics().flat_map(|topic| topic.partitions()).count();
            assert_eq!(seen, request.partition_count());
            Ok(seen + request.forgotten_topics().map(|topic| topic.partitions().count()).sum::<usize>())
        }
        key => cold::decode(key.row(), version, body).map(|_| 1),
    }
}

/// What the tries came to.
#[derive(Default, Debug)]
struct Tally {
    tried: u64,
    accepted: u64,
    worst_ratio: usize,
}

/// Reads hostile bytes and holds the reader to its promises.
fn attempt(tally: &mut Tally, key: ApiKey, version: i16, body: Rope<'_>) {
    let (result, peak) = peak_of(|| read(key, version, body));
    let len = body.len();
    let allowed = if key.row().path == Path::Hot { 0 } else { 64 * len + 64 * 1024 };
    assert!(peak <= allowed, "{key:?} {version}: {peak} bytes for {len}: {:x?}", bytes_of(body));
    let walked = !matches!(result, Err(Refusal::Undecodable { .. }));
    assert!(walked, "{key:?} {version}: let through by the walk, refused by the decoder: {:x?}", bytes_of(body));
    tally.tried += 1;
    tally.accepted += u64::from(result.is_ok());
    if len >= 1024 {
        tally.worst_ratio = tally.worst_ratio.max(peak / len);
    }
}

fn bytes_of(body: Rope<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    body.append_to(&mut out);
    out
}

/// Counts and lengths that lie, in each encoding.
const LIES: &[&[u8]] = &[
    &[0xff],
    &[0x7f],
    &[0x80],
    &[0x00],
    &[0x7f, 0xff],
    &[0x80, 0x00],
    &[0xff, 0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x00, 0x7f, 0xff, 0xff],
    &[0x00, 0x00, 0x40, 0x00],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xfe],
    &[0x80, 0x00, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x80, 0x80, 0x04],
];

#[test]
fn lies_at_every_place_of_every_request() {
    let mut tally = Tally::default();
    for seed in seeds() {
        for at in 0..=seed.body.len() {
            attempt(&mut tally, seed.key, seed.version, Rope::of(&seed.body[..at]));
            for lie in LIES {
                let instead = [&seed.body[..at], lie, seed.body.get(at + lie.len()..).unwrap_or(&[])].concat();
                attempt(&mut tally, seed.key, seed.version, Rope::of(&instead));
                let between = [&seed.body[..at], lie, &seed.body[at..]].concat();
                attempt(&mut tally, seed.key, seed.version, Rope::of(&between));
            }
        }
    }
    assert!(tally.tried > 200_000 && tally.accepted > 1_000, "{tally:?}");
}

/// The smallest elements there are, in the two encodings: empty strings and arrays, nulls, zeros, no tags.
const SMALL_FLEXIBLE: &[&[u8]] = &[
    &[1],
    &[1, 0],
    &[1, 1, 0],
    &[1, 0, 0],
    &[1, 1, 1, 0],
    &[0, 1, 1, 0],
    &[1, 0, 0, 0],
    &[1, 0, 0, 0, 0, 1, 0],
    &[1, 0, 0, 0, 0, 0, 0, 1, 1, 0],
];
const SMALL_PLAIN: &[&[u8]] = &[&[0; 2], &[0; 4], &[0; 5], &[0; 6], &[0; 7], &[0; 8], &[0; 10], &[0; 16]];

/// A crowd of the smallest elements in place of every range of every request: the most memory a byte can buy.
#[test]
fn crowds_of_the_smallest_elements() {
    const CROWD: usize = 1200;
    let mut tally = Tally::default();
    let mut crowded = BTreeSet::new();
    for seed in seeds() {
        let api = seed.key.row();
        let shapes = [api.min, api.flexible_from.saturating_sub(1), api.flexible_from, api.max];
        if !shapes.contains(&seed.version) {
            continue;
        }
        let flexible = api.is_flexible(seed.version);
        for element in if flexible { SMALL_FLEXIBLE } else { SMALL_PLAIN } {
            let count = CROWD / element.len();
            let coded = count as u32 + 1;
            let varint = [coded as u8 | 0x80, (coded >> 7) as u8];
            let announced = if flexible { varint.to_vec() } else { (count as u32).to_be_bytes().to_vec() };
            let crowd = [announced, element.repeat(count)].concat();
            for at in 0..seed.body.len() {
                for end in at + 1..=seed.body.len() {
                    let pieces = [&seed.body[..at], &crowd, &seed.body[end..]];
                    let accepted = tally.accepted;
                    attempt(&mut tally, seed.key, seed.version, Rope::new(&pieces));
                    // Bytes after the last field are ignored: a crowd that may lose its end is no crowd.
                    let cut = [&seed.body[..at], &crowd[..crowd.len() - 1]];
                    let taken = || read(seed.key, seed.version, Rope::new(&cut)).is_err();
                    if tally.accepted > accepted && !crowded.contains(&seed.key) && taken() {
                        crowded.insert(seed.key);
                    }
                }
            }
        }
    }
    println!("worst: {} bytes of memory per byte of request; {tally:?}", tally.worst_ratio);
    let missed: Vec<ApiKey> = APIS.iter().map(|api| api.key).filter(|key| !crowded.contains(key)).collect();
    assert_eq!(missed, [ApiKey::ApiVersions, ApiKey::DescribeCluster], "no array or string to crowd: {tally:?}");
    assert!(tally.worst_ratio > 16, "no crowd costs anything: {tally:?}");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn mutate(random: &mut Random, body: &mut Vec<u8>, others: &[Seed]) {
    let at = random.below(body.len() + 1);
    match random.below(8) {
        0 => body.truncate(at),
        1 if at < body.len() => body[at] ^= 1 << random.below(8),
        2 if at < body.len() => body[at] = random.next() as u8,
        3 => {
            let lie = random.one_of(LIES);
            let end = (at + lie.len()).min(body.len());
            body.splice(at..end, lie.iter().copied());
        }
        4 => {
            let lie = random.one_of(LIES);
            body.splice(at..at, lie.iter().copied());
        }
        5 => {
            let end = at + random.below(body.len() + 1 - at);
            body.drain(at..end);
        }
        6 => {
            let end = at + random.below(body.len() + 1 - at);
            let piece = body[at..end].to_vec();
            for _ in 0..=random.below(20) {
                body.splice(at..at, piece.iter().copied());
            }
        }
        _ => {
            let other = &others[random.below(others.len())].body;
            let from = random.below(other.len() + 1);
            body.truncate(at);
            body.extend_from_slice(&other[from..]);
        }
    }
    body.truncate(1 << 16);
}

/// A whole frame as the connection reads it: header, then body, in random pieces.
fn attempt_frame(tally: &mut Tally, random: &mut Random, bytes: &[u8]) {
    let cuts = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
    let (first, second) = (cuts.0.min(cuts.1), cuts.0.max(cuts.1));
    let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
    let mut rest = Rope::new(&pieces);
    let (header, peak) = peak_of(|| frame::take_header(&mut rest));
    assert_eq!(peak, 0, "headers are read without allocating");
    if let Ok(header) = header {
        assert!(api::find(header.api.key as i16).is_some() && header.api.serves(header.version));
        attempt(tally, header.api.key, header.version, rest);
    }
}

#[test]
fn random_mutation_of_frames_and_bodies() {
    let iterations = setting("RINGLOG_FUZZ_ITERATIONS", 150_000);
    let mut random = Random(setting("RINGLOG_FUZZ_SEED", 2026));
    let seeds = seeds();
    let mut tally = Tally::default();
    for _ in 0..iterations {
        let seed = &seeds[random.below(seeds.len())];
        let mut body = seed.body.clone();
        for _ in 0..=random.below(4) {
            mutate(&mut random, &mut body, &seeds);
        }
        attempt(&mut tally, seed.key, seed.version, Rope::of(&body));
        let version = random.one_of(&[seed.version, seed.version + 1, seed.version - 1]);
        let mut whole =
            [&(seed.key as i16).to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 7, 0, 1, b'c']].concat();
        if seed.key.row().is_flexible(version) {
            whole.push(0);
        }
        whole.extend_from_slice(&body);
        if random.below(4) == 0 {
            mutate(&mut random, &mut whole, &seeds);
        }
        attempt_frame(&mut tally, &mut random, &whole);
    }
    println!("{tally:?}");
    assert!(tally.accepted > iterations / 100, "mutation that never gets through tries nothing: {tally:?}");
    assert!(tally.tried >= iterations);
}

/// Answers go into a vector that is used again and again: once it is large enough, writing allocates nothing.
#[test]
fn hot_answers_do_not_allocate_once_the_vector_is_warm() {
    let failed = ProducePartitionAnswer::failed(0, ErrorCode::InvalidRecord);
    let produced =
        ProducePartitionAnswer { record_errors: &[(1, Some("why"))], error_message: Some("bad batch"), ..failed };
    let fetched = FetchPartitionAnswer {
        aborted: Some(&[(1, 2)]),
        diverging: Some((1, 2)),
        records_len: 1 << 20,
        ..FetchPartitionAnswer::failed(0, ErrorCode::None)
    };
    let mut out = Vec::new();
    let write = |out: &mut Vec<u8>| {
        out.clear();
        let mut answer = ProduceAnswer::begin(out, 12, 1, 1);
        answer.topic(out, TopicName::Name("topic"), 100);
        for _ in 0..100 {
            let patch = answer.partition(out, &produced);
            patch.apply(out, ErrorCode::None, 7, -1, 0);
        }
        answer.finish(out, 0);
        let head = FetchHead {
            version: 12,
            correlation_id: 1,
            throttle_ms: 0,
            error: ErrorCode::None,
            session_id: 0,
            topic_count: 1,
        };
        let mut answer = FetchAnswer::begin(out, &head);
        answer.topic(out, TopicName::Name("topic"), 100);
        let places: usize = (0..100).map(|_| answer.partition(out, &fetched)).sum();
        places + answer.finish(out)
    };
    let (first, cold) = peak_of(|| write(&mut out));
    let (second, warm) = peak_of(|| write(&mut out));
    assert_eq!(first, second);
    assert!(cold > 0 && warm == 0, "{cold} bytes cold, {warm} warm");
}

/// Random bytes, no structure at all.
#[test]
fn noise() {
    let mut random = Random(setting("RINGLOG_FUZZ_SEED", 2026));
    let mut tally = Tally::default();
    for api in &APIS {
        for version in api.min..=api.max {
            for len in 0..200 {
                let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
                attempt(&mut tally, api.key, version, Rope::of(&bytes));
                attempt_frame(&mut tally, &mut random, &bytes);
            }
        }
    }
    assert!(tally.tried > 30_000, "{tally:?}");
}
