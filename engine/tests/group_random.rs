//! Random histories of a group coordinator, by seed: what is replayed from its log is what it had, nobody is answered twice
//! or forgotten, nothing leaks, and no peer's nonsense panics. Not the rules of the protocol: `group_scripts` has those.

mod group_world;

use group_world::{GROUPS, World, fresh};
use ringlog_engine::group::*;
use ringlog_engine::types::{MonoMs, Now, WallMs};
use std::collections::BTreeMap;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn world(seed: u64) -> World {
    World::new(Random(seed), seed as usize)
}

#[test]
fn what_is_replayed_is_what_was_there() {
    let mut answered: BTreeMap<&str, usize> = BTreeMap::new();
    let mut snapshots = 0;
    for seed in 0..150 {
        let mut world = self::world(seed);
        for step in 0..1_500 {
            world.step();
            if step % 150 == 0 {
                world.check();
            }
        }
        world.check();
        world.end();
        snapshots += world.snapshots;
        for (name, count) in world.answered {
            *answered.entry(name).or_default() += count;
        }
    }
    // The histories are worth something only if they get anywhere.
    for name in ["joined", "synced", "committed"] {
        assert!(answered.get(name).is_some_and(|count| *count > 1_000), "{answered:?}");
    }
    assert!(snapshots > 500, "{snapshots} snapshots");
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let run = || {
        let mut world = self::world(4711);
        (0..2_000).for_each(|_| world.step());
        (world.log, world.answered)
    };
    assert_eq!(run(), run());
}

#[test]
fn changed_records_are_refused_or_taken_and_served_from() {
    let mut world = self::world(99);
    (0..3_000).for_each(|_| world.step());
    world.check();
    let good: Vec<KeyValue> = world.coordinator.records().collect();
    assert!(good.len() > 3, "{} records", good.len());
    let mut random = Random(5);
    let mut refused = 0;
    for round in 0..3_000 {
        let mut coordinator = fresh();
        for (offset, (key, value)) in good.iter().enumerate() {
            let (mut key, mut value) = (key.clone(), value.clone().expect("a live record"));
            for bytes in [&mut key, &mut value] {
                match random.below(4) {
                    0 => bytes.truncate(random.below(bytes.len() + 1)),
                    1 if !bytes.is_empty() => {
                        let at = random.below(bytes.len());
                        bytes[at] = random.next() as u8;
                    }
                    _ => {}
                }
            }
            refused += usize::from(coordinator.replay(&key, Some(&value), offset as i64, WallMs(0)).is_err());
        }
        let config = GroupConfig::default();
        coordinator.loaded(Now::default(), &config);
        let later = Now { mono: MonoMs(i32::MAX as u64 * 2), wall: WallMs(round) };
        coordinator.on_time(later, &config);
        let groups = GROUPS.iter().map(|id| id.to_string()).collect();
        coordinator.on_request(later, &config, Ticket(1), Request::DescribeGroups(DescribeGroupsRequest { groups }));
        let replied = std::iter::from_fn(|| coordinator.poll()).any(|output| matches!(output, Output::Reply { .. }));
        assert!(replied, "round {round}");
    }
    assert!(refused > 1_000, "only {refused} of the changed records were refused");
}
