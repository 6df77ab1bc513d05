//! The group coordinator: records of `__consumer_offsets`, and streams of requests, appends, time and crashes.

#[path = "../../../engine/tests/group_world/mod.rs"]
mod group_world;

use super::input::Input;
use group_world::{GROUPS, World, fresh};
use ringlog_engine::group::*;
use ringlog_engine::types::{MonoMs, Now, WallMs};

/// Records: a byte that tells what is null, the lengths of key and value, key, value.
pub(super) fn records(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (mut coordinator, mut offset) = (fresh(), 0);
    while !input.is_empty() {
        let tombstone = input.one_in(8);
        let (key_len, value_len) = (usize::from(input.u8()), usize::from(input.u8()));
        let (key, value) = (input.take(key_len), input.take(value_len));
        round_trip(key, value);
        let taken = coordinator.replay(key, (!tombstone).then_some(value), offset, WallMs(0));
        if tombstone {
            assert!(taken.is_ok() || decode_key(key).is_err(), "a tombstone of a good key is taken");
        }
        offset += 1;
    }
    let config = GroupConfig::default();
    coordinator.loaded(Now::default(), &config);
    let later = Now { mono: MonoMs(i32::MAX as u64 * 2), wall: WallMs(i64::from(i32::MAX)) };
    coordinator.on_time(later, &config);
    let groups = GROUPS.iter().map(|id| id.to_string()).collect();
    coordinator.on_request(later, &config, Ticket(1), Request::DescribeGroups(DescribeGroupsRequest { groups }));
    assert!(std::iter::from_fn(|| coordinator.poll()).any(|output| matches!(output, Output::Reply { .. })));
}

/// What is read is written so that it reads the same.
fn round_trip(key: &[u8], value: &[u8]) {
    match decode_key(key) {
        Ok(Key::Offset { group, topic, partition }) => {
            let again = decode_key(&encode_offset_key(&group, &topic, partition));
            assert_eq!(again, Ok(Key::Offset { group, topic, partition }));
        }
        Ok(Key::Group { group }) => assert_eq!(decode_key(&encode_group_key(&group)), Ok(Key::Group { group })),
        Err(_) => {}
    }
    if let Ok(group) = decode_group(value) {
        assert_eq!(decode_group(&encode_group(&group)), Ok(group));
    }
    if let Ok(offset) = decode_offset(value) {
        let again = decode_offset(&encode_offset(&offset)).expect("what was written is read");
        assert_eq!((again.offset, again.metadata), (offset.offset, offset.metadata));
    }
}

/// Choices out of bytes, one or two each; and how many are used. Then every choice is 0.
struct Random(Vec<u8>, usize);

impl Random {
    fn byte(&mut self) -> usize {
        self.1 += 1;
        self.0.get(self.1 - 1).copied().unwrap_or(0).into()
    }

    fn below(&mut self, limit: usize) -> usize {
        let high = if limit > 256 { self.byte() << 8 } else { 0 };
        (self.byte() | high) % limit
    }
}

/// The shape of the world, then its choices.
pub(super) fn commands(bytes: &[u8]) {
    let Some((shape, choices)) = bytes.split_first() else { return };
    let mut world = World::new(Random(choices.to_vec(), 0), usize::from(*shape));
    while world.random.1 < choices.len() {
        world.step();
    }
    world.check();
    world.end();
}
