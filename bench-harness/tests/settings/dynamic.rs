//! Settings changed while the broker runs: they act at once on every core, outlive a crash, and are shown with Kafka's sources
//! and synonyms.

use super::client::{BROKER, Client, NOBODY, Shown, TOPIC, broker, values};
use ringlog_bench_harness::peer::batch;

// Kafka's numbers of where a value comes from.
const OF_TOPIC: i8 = 1;
const OF_BROKER: i8 = 2;
const OF_ALL: i8 = 3;
const OF_FILE: i8 = 4;
const OF_DEFAULT: i8 = 5;

fn from(shown: &Shown) -> (&str, i8) {
    (&shown.value, shown.source)
}

#[test]
pub(crate) fn layers() {
    let mut broker = broker("layers", &["message.max.bytes=5000", "ringlog.cores=0,0", "node.id=4"]);
    let mut client = Client::of(&broker);
    client.create("t", 4, &[]);
    let takes = |client: &mut Client, bytes: usize| -> bool {
        let batch = batch(NOBODY, -1, &values(1, bytes));
        let all: Vec<bool> = (0..4).map(|partition| client.try_produce("t", partition, &batch).is_ok()).collect();
        assert!(all.iter().all(|taken| *taken == all[0]), "every core alike: {all:?}");
        all[0]
    };
    let shown = |client: &mut Client| client.shown(TOPIC, "t", "max.message.bytes");
    assert_eq!(from(&shown(&mut client)), ("5000", OF_FILE));
    assert!(takes(&mut client, 4000) && !takes(&mut client, 6000));
    client.alter(BROKER, "", "message.max.bytes", Some("7000"));
    assert_eq!(from(&shown(&mut client)), ("7000", OF_ALL));
    assert!(takes(&mut client, 6000) && !takes(&mut client, 8000));
    client.alter(BROKER, "4", "message.max.bytes", Some("9000"));
    assert_eq!(from(&shown(&mut client)), ("9000", OF_BROKER));
    assert!(takes(&mut client, 8000) && !takes(&mut client, 10_000));
    client.alter(TOPIC, "t", "max.message.bytes", Some("11000"));
    assert!(takes(&mut client, 10_000) && !takes(&mut client, 12_000));
    let all = shown(&mut client);
    assert_eq!(from(&all), ("11000", OF_TOPIC));
    let row = |name: &str, value: &str, source| (name.to_string(), value.to_string(), source);
    let synonyms = [
        row("max.message.bytes", "11000", OF_TOPIC),
        row("message.max.bytes", "9000", OF_BROKER),
        row("message.max.bytes", "7000", OF_ALL),
        row("message.max.bytes", "5000", OF_FILE),
        row("message.max.bytes", "1048588", OF_DEFAULT),
    ];
    assert_eq!(all.synonyms, synonyms);
    broker.kill9();
    broker.launch();
    let mut client = Client::of(&broker);
    assert_eq!(shown(&mut client), all);
    assert!(takes(&mut client, 10_000) && !takes(&mut client, 12_000));
    client.alter(TOPIC, "t", "max.message.bytes", None);
    assert!(takes(&mut client, 8000) && !takes(&mut client, 10_000));
    client.alter(BROKER, "4", "message.max.bytes", None);
    client.alter(BROKER, "", "message.max.bytes", None);
    assert!(takes(&mut client, 4000) && !takes(&mut client, 6000));
    broker.kill9();
    broker.launch();
    assert_eq!(from(&shown(&mut Client::of(&broker))), ("5000", OF_FILE));
}

#[test]
pub(crate) fn what_cannot_change() {
    let broker = broker("fixed", &[]);
    let mut client = Client::of(&broker);
    client.create("t", 1, &[]);
    for (kind, resource, name, value) in [
        (BROKER, "", "num.partitions", "4"),
        (BROKER, "", "log.dirs", "/x"),
        (TOPIC, "t", "retention.m", "4"),
        (TOPIC, "t", "retention.ms", "soon"),
        (TOPIC, "t", "remote.storage.enable", "true"),
        (BROKER, "", "min.insync.replicas", "2"),
    ] {
        let (code, why) = client.try_alter(kind, resource, name, Some(value));
        assert!(code != 0 && !why.is_empty(), "{name}={value}: {code} {why}");
    }
    assert!(client.shown(BROKER, "1", "num.partitions").read_only);
    assert!(!client.shown(BROKER, "1", "log.retention.ms").read_only);
}
