//! Bytes of peers: frames, headers, and the requests of every API and version. What is read must not depend on where the bytes are cut.

use super::input::{Input, pieces};
use super::memory::peak_of;
use ringlog_engine::rope::Rope;
use ringlog_net::api::{APIS, Api, ApiKey, Path};
use ringlog_net::cold;
use ringlog_net::fetch::FetchRequest;
use ringlog_net::frame;
use ringlog_net::produce::ProduceRequest;
use ringlog_net::refusal::Refusal;

/// A cap on frames as a connection has one.
const CAP: usize = 64 * 1024;

/// A stream of a connection: frames one after the other, each in pieces, until one is refused or not whole.
pub(super) fn frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cuts = (usize::from(input.u8()), usize::from(input.u16()));
    let mut stream = input.rest();
    while let Some((prefix, rest)) = stream.split_first_chunk::<{ frame::PREFIX }>() {
        let Ok(len) = frame::frame_length(*prefix, CAP) else { break };
        let Some((whole, behind)) = rest.split_at_checked(len) else { break };
        stream = behind;
        let at = (cuts.0.min(cuts.1).min(len), cuts.0.max(cuts.1).min(len));
        let pieces = pieces(whole, at);
        let (mut cut, mut plain) = (Rope::new(&pieces), Rope::of(whole));
        let (one, peak) = peak_of(|| frame::take_header(&mut cut));
        assert_eq!(peak, 0, "headers are read without allocating");
        match (one, frame::take_header(&mut plain)) {
            (Ok(one), Ok(two)) => {
                assert_eq!(
                    (one.api.key, one.version, one.correlation_id),
                    (two.api.key, two.version, two.correlation_id)
                );
                assert!(one.api.serves(one.version));
                body(one.api, one.version, cut, plain);
            }
            (one, two) => assert_eq!(one.err(), two.err()),
        }
    }
}

/// The body of a request, cut and whole.
fn body(api: &Api, version: i16, cut: Rope<'_>, plain: Rope<'_>) {
    match api.key {
        ApiKey::Produce => {
            let ((), peak) = peak_of(|| same(told_of_produce(version, cut), told_of_produce(version, plain)));
            assert_eq!(peak, 0, "Produce is read without allocating");
        }
        ApiKey::Fetch => {
            let ((), peak) = peak_of(|| same(told_of_fetch(version, cut), told_of_fetch(version, plain)));
            assert_eq!(peak, 0, "Fetch is read without allocating");
        }
        _ => {
            let one = cold::decode(api, version, cut);
            let undecodable = matches!(one, Err(Refusal::Undecodable { .. }));
            assert!(!undecodable, "{} {version}: let through by the walk, refused by the decoder", api.name);
            assert_eq!(one, cold::decode(api, version, plain));
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(one: T, two: T) {
    assert_eq!(one, two, "cut and whole");
}

/// Everything a produce request says, as a number of each kind.
fn told_of_produce(version: i16, body: Rope<'_>) -> Result<(usize, u64), Refusal> {
    let request = ProduceRequest::parse(version, body)?;
    let (mut partitions, mut sum) = (0, 0u64);
    for topic in request.topics() {
        for partition in topic.partitions() {
            let records = partition.records.map_or(1, |records| {
                assert!(records.len() < body.len());
                records.slices().flatten().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
            });
            partitions += 1;
            sum = sum.wrapping_mul(31).wrapping_add(records ^ partition.index as u64);
        }
    }
    assert_eq!(partitions, request.partition_count());
    Ok((partitions, sum))
}

fn told_of_fetch(version: i16, body: Rope<'_>) -> Result<(usize, u64), Refusal> {
    let request = FetchRequest::parse(version, body)?;
    let (mut partitions, mut sum) = (0, 0u64);
    for partition in request.topics().flat_map(|topic| topic.partitions()) {
        partitions += 1;
        sum = sum.wrapping_mul(31).wrapping_add(partition.index as u64 ^ partition.fetch_offset as u64);
    }
    assert_eq!(partitions, request.partition_count());
    for index in request.forgotten_topics().flat_map(|topic| topic.partitions()) {
        sum = sum.wrapping_mul(31).wrapping_add(index as u64);
    }
    Ok((partitions, sum))
}

fn hot(key: ApiKey, bytes: &[u8]) {
    let (api, mut input) = (key.row(), Input::new(bytes));
    let version = api.min + input.below((api.max - api.min + 1) as usize) as i16;
    let cuts = input.cuts();
    let cut = pieces(input.rest(), cuts);
    body(api, version, Rope::new(&cut), Rope::of(input.rest()));
}

/// Version, cuts, body.
pub(super) fn produce(bytes: &[u8]) {
    hot(ApiKey::Produce, bytes);
}

/// Version, cuts, body.
pub(super) fn fetch(bytes: &[u8]) {
    hot(ApiKey::Fetch, bytes);
}

/// API, version, cuts, body.
pub(super) fn cold(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let key = input.u8();
    let Some(api) = APIS.iter().find(|api| api.path == Path::Cold && api.key as i16 == i16::from(key)) else { return };
    let version = api.min + input.below((api.max - api.min + 1) as usize) as i16;
    let cuts = input.cuts();
    let cut = pieces(input.rest(), cuts);
    body(api, version, Rope::new(&cut), Rope::of(input.rest()));
}
