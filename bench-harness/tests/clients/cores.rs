//! Each core advertised as a broker (`ringlog.advertise=cores`): clients find two, send each partition's data to its own, and look after
//! groups and settings by asking both. The trials are those of the other files.

use crate::common::Client;
use crate::{admin, groups, records, tools};

/// What every client can do.
const ALL: &[fn(&Client)] = &[
    admin::topic_life,
    records::codec_zstd,
    records::order_of_many,
    records::delete_records,
    groups::classic,
    groups::committed_offsets,
];

fn trials(name: &'static str, more: &[fn(&Client)]) {
    let Some(client) = Client::of_cores(name) else { return };
    ALL.iter().chain(more).for_each(|trial| trial(&client));
}

#[test]
fn confluent() {
    trials("confluent", &[groups::shown_and_deleted]);
}

#[test]
fn kafka_python() {
    trials("kafka-python", &[records::made_on_first_use, groups::shown_and_deleted]);
}

#[test]
fn aiokafka() {
    trials("aiokafka", &[records::made_on_first_use]);
}

#[test]
fn kafkajs() {
    trials("kafkajs", &[records::made_on_first_use, groups::shown_and_deleted]);
}

#[test]
fn java() {
    let tools = [tools::topics, tools::configs, tools::consumer_groups, tools::log_dirs, admin::config_sources];
    trials("java", &[&[records::made_on_first_use, groups::shown_and_deleted], &tools[..]].concat());
}
