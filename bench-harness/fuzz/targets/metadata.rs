//! The metadata: entries as bytes, and streams of what clients ask for.

use super::input::Input;
use ringlog_engine::config::{BrokerConfig, ServerProperties};
use ringlog_engine::metadata::*;
use ringlog_engine::types::TopicId;
use std::sync::LazyLock;

/// Entries, each behind two bytes that are its length, applied to an image in order.
pub(super) fn entries(bytes: &[u8]) {
    let (mut input, mut image) = (Input::new(bytes), Image::default());
    while !input.is_empty() {
        let len = usize::from(input.u16());
        let Ok(entry) = Entry::decode(input.take(len)) else { continue };
        let mut written = Vec::new();
        entry.encode(&mut written).expect("what was read is written");
        assert_eq!(Entry::decode(&written).as_ref(), Ok(&entry));
        let before = image.clone();
        if image.apply(&entry).is_err() {
            assert_eq!(image, before, "an entry that is refused changes nothing");
        }
    }
    consistent(&image);
}

/// What holds of every image.
fn consistent(image: &Image) {
    assert_eq!(image.topics().map(|topic| topic.partitions.len()).sum::<usize>(), image.partition_count());
    for topic in image.topics() {
        assert_eq!(image.topic(&topic.name), Some(topic));
        assert_eq!(image.topic_by_id(topic.id), Some(topic));
    }
}

const NAMES: [&str; 8] = ["a", "b", "a.b", "a_b", "__consumer_offsets", "", "?", "a-long-name"];
const SETTINGS: [(&str, Option<&str>); 8] = [
    ("retention.ms", Some("1000")),
    ("retention.ms", Some("never")),
    ("cleanup.policy", Some("compact,delete")),
    ("segment.bytes", Some("1048576")),
    ("no.such", Some("1")),
    ("max.message.bytes", None),
    ("compression.type", Some("zstd")),
    ("log.retention.ms", Some("5")),
];

static CONFIG: LazyLock<BrokerConfig> = LazyLock::new(|| {
    let mut properties = ServerProperties::without_file();
    for limit in ["ringlog.max.topics=5", "ringlog.max.partitions=50"] {
        properties.set_override(limit).expect("an override");
    }
    BrokerConfig::load(&properties).expect("good settings").0
});

struct Cluster {
    image: Image,
    topics_made: u16,
    given_out: i64,
}

/// Commands, each planned against the image and applied.
pub(super) fn commands(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut cluster = Cluster { image: Image::default(), topics_made: 0, given_out: 0 };
    cluster.apply(&[create_cluster([5; 16], 1)]);
    while !input.is_empty() {
        let planned = cluster.plan(&mut input);
        cluster.apply(&planned);
    }
    consistent(&cluster.image);
    assert!(cluster.image.topics().len() <= 5 && cluster.image.partition_count() <= 50);
    let snapshot: Vec<Entry> = cluster.image.snapshot().collect();
    assert_eq!(Image::from_snapshot(snapshot), Ok(cluster.image));
}

impl Cluster {
    /// What was planned always applies, by way of its bytes.
    fn apply(&mut self, entries: &[Entry]) {
        for entry in entries {
            let mut written = Vec::new();
            entry.encode(&mut written).expect("what was planned is written");
            let read = Entry::decode(&written).expect("what was written is read");
            assert_eq!(&read, entry);
            self.image.apply(&read).expect("what was planned applies");
        }
    }

    fn plan(&mut self, input: &mut Input<'_>) -> Vec<Entry> {
        let dirs = [Dir { id: DirId([1; 16]), partitions: 0 }, Dir { id: DirId([2; 16]), partitions: 3 }];
        let dirs = &dirs[..input.below(3)];
        let kind = input.below(8);
        let name = input.pick(&NAMES);
        let settings = [input.pick(&SETTINGS), input.pick(&SETTINGS)];
        let settings = &settings[..input.below(3)];
        let count = i32::from(input.u8() as i8);
        let planned = match kind {
            0 | 1 => {
                self.topics_made += 1;
                let mut id = [0; 16];
                id[..2].copy_from_slice(&self.topics_made.to_be_bytes());
                let partitions = input.pick(&[-1, 1, 3, count]);
                let replication_factor = input.pick(&[-1, 1, 1, 2]);
                let assigned: &[(i32, &[i32])] =
                    input.pick(&[&[], &[(0, &[1]), (1, &[1])], &[(0, &[1, 1])], &[(1, &[2])]]);
                let new = NewTopic { name, partitions, replication_factor, assignments: assigned, configs: settings };
                create_topic(&self.image, &CONFIG, dirs, &new, TopicId(id))
            }
            2 => delete_topic(&self.image, &CONFIG, TopicRef::Name(name)),
            3 => {
                let mut id = [0; 16];
                id[1] = input.u8() % 8;
                delete_topic(&self.image, &CONFIG, TopicRef::Id(TopicId(id)))
            }
            4 => {
                let assigned: Option<&[&[i32]]> = input.pick(&[None, Some(&[&[1]]), Some(&[])]);
                create_partitions(&self.image, &CONFIG, dirs, name, count, assigned)
            }
            5 => alter_topic_configs(&self.image, &CONFIG, name, ConfigChange::Replace(settings)),
            6 => {
                let broker = input.pick(&[BrokerResource::Default, BrokerResource::Node(1), BrokerResource::Node(2)]);
                return alter_broker_configs(&self.image, broker, ConfigChange::Replace(settings)).unwrap_or_default();
            }
            _ => return self.reserve(),
        };
        planned.map(|planned| planned.entries).unwrap_or_default()
    }

    fn reserve(&mut self) -> Vec<Entry> {
        let Ok((first, entry)) = reserve_producer_ids(&self.image) else { return Vec::new() };
        assert!(first >= self.given_out, "producer ids from {first} are given out twice");
        self.given_out = first + 1;
        vec![entry]
    }
}
