//! Dialogues with the metadata commands; the texts are what a Kafka 4.2.0 broker answered, unless said otherwise.

use super::*;
use crate::config::ServerProperties;
use crate::config::alter::Op;

fn config(overrides: &[&str]) -> BrokerConfig {
    let mut properties = ServerProperties::without_file();
    for pair in overrides {
        properties.set_override(pair).unwrap();
    }
    BrokerConfig::load(&properties).unwrap().0
}

fn dir(number: u8, partitions: usize) -> Dir {
    Dir { id: DirId([number; 16]), partitions }
}

fn new_topic(name: &str) -> NewTopic<'_> {
    NewTopic { name, partitions: -1, replication_factor: -1, assignments: &[], configs: &[] }
}

/// A broker's metadata and what it is asked: plans are applied as the log would.
struct Cluster {
    image: Image,
    config: BrokerConfig,
    next_id: u8,
}

impl Cluster {
    fn new(overrides: &[&str]) -> Cluster {
        let mut image = Image::default();
        image.apply(&create_cluster([5; 16], 1)).unwrap();
        Cluster { image, config: config(overrides), next_id: 1 }
    }

    fn apply(&mut self, result: Result<Planned, Refusal>) -> String {
        match result {
            Ok(planned) => {
                for entry in &planned.entries {
                    self.image.apply(entry).unwrap();
                }
                "OK".to_string()
            }
            Err((code, text)) => format!("{} {text}", code.name()),
        }
    }

    fn create(&mut self, new: NewTopic<'_>) -> String {
        self.next_id += 1;
        let id = TopicId([self.next_id; 16]);
        let planned = create_topic(&self.image, &self.config, &[dir(1, 0)], &new, id);
        self.apply(planned)
    }

    fn grow(&mut self, name: &str, count: i32, assignments: Option<&[&[i32]]>) -> String {
        let planned = create_partitions(&self.image, &self.config, &[dir(1, 0)], name, count, assignments);
        self.apply(planned)
    }

    fn delete(&mut self, topic: TopicRef<'_>) -> String {
        let planned = delete_topic(&self.image, &self.config, topic);
        self.apply(planned)
    }
}

#[test]
fn topic_names() {
    let mut cluster = Cluster::new(&[]);
    let long = "x".repeat(250);
    for (name, expected) in [
        ("t1", "OK"),
        ("t1", "TOPIC_ALREADY_EXISTS Topic 't1' already exists."),
        ("a.b", "OK"),
        ("a_b", "INVALID_TOPIC_EXCEPTION Topic 'a_b' collides with existing topic: a.b"),
        ("", "INVALID_TOPIC_EXCEPTION Topic name is invalid: the empty string is not allowed"),
        (".", "INVALID_TOPIC_EXCEPTION Topic name is invalid: '.' is not allowed"),
        ("..", "INVALID_TOPIC_EXCEPTION Topic name is invalid: '..' is not allowed"),
        (
            "a b",
            "INVALID_TOPIC_EXCEPTION Topic name is invalid: 'a b' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'",
        ),
    ] {
        assert_eq!(cluster.create(new_topic(name)), expected);
    }
    assert!(cluster.create(new_topic(&long)).ends_with("is longer than the max allowed length 249"));
    assert_eq!(cluster.create(new_topic(&long[..249])), "OK");
}

#[test]
fn partitions_and_replicas_of_a_new_topic() {
    let mut cluster = Cluster::new(&["num.partitions=3"]);
    let sized = |partitions, replication_factor| NewTopic { partitions, replication_factor, ..new_topic("t") };
    for (new, expected) in [
        (sized(0, 1), "INVALID_PARTITIONS Number of partitions was set to an invalid non-positive value."),
        (sized(-2, 1), "INVALID_PARTITIONS Number of partitions was set to an invalid non-positive value."),
        (
            sized(1, 0),
            "INVALID_REPLICATION_FACTOR Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            sized(1, 2),
            "INVALID_REPLICATION_FACTOR Unable to replicate the partition 2 time(s): The target replication factor of \
             2 cannot be reached because only 1 broker(s) are registered.",
        ),
        (sized(100_000, 1), "POLICY_VIOLATION Excessively large number of partitions per request."),
        (sized(i32::MAX, 1), "POLICY_VIOLATION Excessively large number of partitions per request."),
    ] {
        assert_eq!(cluster.create(new), expected);
    }
    assert_eq!(cluster.create(sized(-1, -1)), "OK");
    assert_eq!(cluster.image.topic("t").unwrap().partitions.len(), 3);
}

#[test]
fn manual_assignments_can_name_this_node_only() {
    let mut cluster = Cluster::new(&[]);
    const OTHER: &str = "INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes broker 2, but no such \
                         broker is registered.";
    const GAP: &str = "INVALID_REPLICA_ASSIGNMENT partitions should be a consecutive 0-based integer sequence";
    type Case<'a> = (&'a [(i32, &'a [i32])], &'a str);
    let cases: &[Case<'_>] = &[
        (&[(0, &[2])], OTHER),
        (&[(0, &[1, 2])], OTHER),
        (
            &[(0, &[1, 1])],
            "INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes the broker 1 more than once.",
        ),
        (&[(0, &[])], "INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes an empty replica list."),
        (&[(0, &[1]), (2, &[1])], GAP),
        (&[(-1, &[1])], GAP),
        (
            &[(0, &[1]), (0, &[1])],
            "INVALID_REPLICA_ASSIGNMENT Found multiple manual partition assignments for partition 0",
        ),
        (&[(1, &[1]), (0, &[1])], "OK"),
    ];
    for (assignments, expected) in cases {
        assert_eq!(cluster.create(NewTopic { assignments, ..new_topic("as") }), *expected);
    }
    assert_eq!(cluster.image.topic("as").unwrap().partitions.len(), 2);
    let both = NewTopic { assignments: &[(0, &[1])], partitions: 1, ..new_topic("b") };
    assert!(cluster.create(both).starts_with("INVALID_REQUEST A manual partition assignment was specified, but num"));
}

#[test]
fn settings_of_a_new_topic() {
    let mut cluster = Cluster::new(&[]);
    let mut with =
        |name: &str, value: Option<&str>| cluster.create(NewTopic { configs: &[(name, value)], ..new_topic("c") });
    assert_eq!(with("foo", Some("1")), "INVALID_CONFIG Unknown topic config name: foo");
    assert_eq!(with("retention.ms", None), "INVALID_CONFIG Null value not supported for topic configs: retention.ms");
    assert_eq!(
        with("retention.ms", Some("abc")),
        "INVALID_CONFIG Invalid value abc for configuration retention.ms: Not a number of type LONG"
    );
    assert_eq!(with("retention.ms", Some("5")), "OK");
    assert_eq!(cluster.image.topic("c").unwrap().configs["retention.ms"], "5");
}

#[test]
fn the_limits_hold() {
    let mut cluster = Cluster::new(&["ringlog.max.topics=2", "ringlog.max.partitions=5"]);
    let sized = |name, partitions| NewTopic { partitions, ..new_topic(name) };
    assert!(cluster.create(sized("a", 6)).starts_with("POLICY_VIOLATION This node has 0 partitions; 6 more"));
    assert_eq!(cluster.create(sized("a", 4)), "OK");
    assert!(cluster.grow("a", 6, None).starts_with("POLICY_VIOLATION"));
    assert_eq!(cluster.create(sized("b", 1)), "OK");
    assert!(cluster.create(sized("c", 1)).starts_with("POLICY_VIOLATION This node already has 2 topics"));
}

#[test]
fn growing_a_topic() {
    let mut cluster = Cluster::new(&[]);
    cluster.create(NewTopic { partitions: 2, ..new_topic("t1") });
    for (name, count, assignments, expected) in [
        ("t1", 2, None, "INVALID_PARTITIONS Topic already has 2 partition(s)."),
        ("t1", 1, None, "INVALID_PARTITIONS The topic t1 currently has 2 partition(s); 1 would not be an increase."),
        ("t1", -1, None, "INVALID_PARTITIONS The topic t1 currently has 2 partition(s); -1 would not be an increase."),
        ("nope", 3, None, "UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition."),
        (
            "t1",
            4,
            Some(&[&[1][..]][..]),
            "INVALID_REPLICA_ASSIGNMENT Attempted to add 2 additional partition(s), but only 1 assignment(s) were \
             specified.",
        ),
        (
            "t1",
            3,
            Some(&[&[7][..]]),
            "INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes broker 7, but no such broker is \
             registered.",
        ),
        ("t1", 3, Some(&[&[1][..]]), "OK"),
        ("t1", 5, None, "OK"),
    ] {
        assert_eq!(cluster.grow(name, count, assignments), expected);
    }
    assert_eq!(cluster.image.topic("t1").unwrap().partitions.len(), 5);
}

#[test]
fn deleting_topics() {
    let mut cluster = Cluster::new(&[]);
    cluster.create(new_topic("t1"));
    let id = cluster.image.topic("t1").unwrap().id;
    let nope = "UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.";
    assert_eq!(cluster.delete(TopicRef::Name("nope")), nope);
    let unknown = "UNKNOWN_TOPIC_ID This server does not host this topic ID.";
    assert_eq!(cluster.delete(TopicRef::Id(TopicId([9; 16]))), unknown);
    assert_eq!(cluster.delete(TopicRef::Id(id)), "OK");
    assert_eq!(cluster.delete(TopicRef::Id(id)), unknown);
    assert_eq!(cluster.create(new_topic("t1")), "OK");
    assert_ne!(cluster.image.topic("t1").unwrap().id, id);
    // Kafka deletes it; what groups committed would be lost with it.
    let planned = create_offsets_topic(&cluster.image, &cluster.config, &[dir(1, 0)], TopicId([8; 16]));
    assert_eq!(cluster.apply(planned), "OK");
    assert!(cluster.delete(TopicRef::Name(OFFSETS_TOPIC)).starts_with("INVALID_REQUEST Topic '__consumer_offsets'"));
    let mut closed = Cluster::new(&["delete.topic.enable=false"]);
    closed.create(new_topic("t1"));
    assert_eq!(closed.delete(TopicRef::Name("t1")), "TOPIC_DELETION_DISABLED Topic deletion is disabled.");
}

#[test]
fn the_offsets_topic_keeps_what_it_is_for() {
    let mut cluster = Cluster::new(&["ringlog.log.flush=relaxed", "offsets.topic.segment.bytes=1000"]);
    let make =
        |cluster: &Cluster| create_offsets_topic(&cluster.image, &cluster.config, &[dir(1, 0)], TopicId([8; 16]));
    let planned = make(&cluster);
    assert_eq!(cluster.apply(planned), "OK");
    let topic = cluster.image.topic(OFFSETS_TOPIC).unwrap();
    assert_eq!((topic.partitions.len(), topic.internal), (50, true));
    let in_force = cluster.config.topic(&topic.configs);
    assert!(in_force.compact && !in_force.delete && in_force.segment_bytes == 1024 * 1024);
    assert_eq!(in_force.flush, crate::config::topic::Flush::Durable);
    assert_eq!(make(&cluster).unwrap().entries, []);
    assert!(cluster.grow(OFFSETS_TOPIC, 60, None).starts_with("INVALID_REQUEST"));
}

#[test]
fn partitions_go_to_the_emptiest_directory() {
    let (image, config) = (Cluster::new(&[]).image, config(&[]));
    let new = NewTopic { partitions: 6, ..new_topic("t") };
    let planned = create_topic(&image, &config, &[dir(1, 3), dir(2, 0), dir(3, 1)], &new, TopicId([1; 16])).unwrap();
    let Entry::TopicCreated { partitions, .. } = &planned.entries[0] else { panic!("{planned:?}") };
    assert_eq!(partitions.iter().map(|row| row.dir[0]).collect::<Vec<_>>(), [2, 2, 3, 2, 3, 1]);
    let nowhere = create_topic(&image, &config, &[], &new, TopicId([1; 16])).unwrap_err();
    assert_eq!(nowhere.0, ErrorCode::KafkaStorageError);
}

#[test]
fn settings_change_and_act() {
    let mut cluster = Cluster::new(&[]);
    cluster.create(new_topic("t"));
    let set = [Change { name: "retention.ms", op: Op::Set, value: Some("7") }];
    let alter = |cluster: &Cluster, name: &str| {
        alter_topic_configs(&cluster.image, &cluster.config, name, ConfigChange::Alter(&set))
    };
    assert_eq!(alter(&cluster, "nope").unwrap_err().1, "The topic 'nope' does not exist.");
    assert_eq!(alter(&cluster, "").unwrap_err().0, ErrorCode::InvalidRequest);
    let planned = alter(&cluster, "t");
    assert_eq!(cluster.apply(planned), "OK");
    assert_eq!(cluster.config.topic(&cluster.image.topic("t").unwrap().configs).retention_ms, Some(7));
    assert_eq!(alter(&cluster, "t").unwrap().entries, [], "nothing changes, nothing is written");

    let set = [Change { name: "log.retention.ms", op: Op::Set, value: Some("9") }];
    for (resource, value) in [("", "9"), ("1", "8")] {
        let set = [Change { value: Some(value), ..set[0] }];
        let resource = BrokerResource::parse(resource).unwrap();
        let entries = alter_broker_configs(&cluster.image, resource, ConfigChange::Alter(&set)).unwrap();
        entries.iter().for_each(|entry| cluster.image.apply(entry).unwrap());
        let none = Values::new();
        let own = cluster.image.broker_configs(1).unwrap_or(&none);
        let config = cluster.config.with_dynamic(cluster.image.broker_defaults(), own);
        assert_eq!(config.topic(&none).retention_ms, value.parse().ok());
    }
    assert!(BrokerResource::parse("x").is_err());
    let other = alter_broker_configs(&cluster.image, BrokerResource::Node(2), ConfigChange::Alter(&set));
    assert_eq!(other.unwrap_err().0, ErrorCode::InvalidRequest);
    let entries = alter_broker_configs(&cluster.image, BrokerResource::Node(1), ConfigChange::Replace(&[])).unwrap();
    assert_eq!(entries, [Entry::BrokerConfigChanged { broker: Some(1), configs: vec![] }]);
}

#[test]
fn producer_ids_are_given_out_once() {
    let mut image = Cluster::new(&[]).image;
    for expected in [0, 1000, 2000] {
        let (first, entry) = reserve_producer_ids(&image).unwrap();
        assert_eq!(first, expected);
        image.apply(&entry).unwrap();
    }
    image.apply(&Entry::ProducerIdsReserved { next: i64::MAX }).unwrap();
    assert_eq!(reserve_producer_ids(&image).unwrap_err().0, ErrorCode::UnknownServerError);
}

/// Whatever is asked in whatever order: an accepted plan always applies, its bytes read back as it, a second copy that
/// replays the log is the same, and so is one built from a snapshot.
#[test]
fn any_order_of_commands_keeps_every_copy_equal() {
    const NAMES: [&str; 6] = ["a.b", "a_b", "c", "__consumer_offsets", "bad name", "d-e"];
    let mut cluster = Cluster::new(&["ringlog.max.partitions=60", "ringlog.max.topics=4"]);
    let mut replica = cluster.image.clone();
    let mut state = 3u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let (mut accepted, mut refused) = (0, 0);
    for step in 0..3000u32 {
        let (image, config) = (&cluster.image, &cluster.config);
        let name = NAMES[draw(6) as usize];
        let dirs = [dir(1, draw(9) as usize), dir(2, draw(9) as usize)];
        let value = draw(4).to_string();
        let change = [Change { name: "retention.ms", op: Op::from_code(draw(2) as i8).unwrap(), value: Some(&value) }];
        let result = match draw(5) {
            0 => {
                let mut id = [1; 16];
                id[..4].copy_from_slice(&step.to_be_bytes());
                let new = NewTopic { partitions: draw(12) as i32 - 1, ..new_topic(name) };
                create_topic(image, config, &dirs, &new, TopicId(id)).map(|planned| planned.entries)
            }
            1 => delete_topic(image, config, TopicRef::Name(name)).map(|planned| planned.entries),
            2 => create_partitions(image, config, &dirs, name, draw(40) as i32, None).map(|planned| planned.entries),
            3 => alter_topic_configs(image, config, name, ConfigChange::Alter(&change)).map(|planned| planned.entries),
            _ => reserve_producer_ids(image).map(|(_, entry)| vec![entry]),
        };
        let Ok(entries) = result else {
            refused += 1;
            continue;
        };
        accepted += 1;
        for entry in entries {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes).unwrap();
            cluster.image.apply(&entry).unwrap();
            replica.apply(&Entry::decode(&bytes).unwrap()).unwrap();
        }
        assert_eq!(replica, cluster.image, "step {step}");
        let counted: usize = cluster.image.topics().map(|topic| topic.partitions.len()).sum();
        assert_eq!(counted, cluster.image.partition_count(), "step {step}");
        assert!(counted <= 60 && cluster.image.topics().len() <= 4, "step {step}");
        if step % 50 == 0 {
            assert_eq!(Image::from_snapshot(cluster.image.snapshot()), Ok(replica.clone()), "step {step}");
        }
    }
    assert!(accepted > 300 && refused > 300, "{accepted} accepted, {refused} refused");
}
