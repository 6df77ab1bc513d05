//! Stock clients against the real broker: what they write they read back, and each other's; topics, configs, groups and offsets
//! through their own calls; Kafka's own tools. One broker for all of them, one test for each thing a client can do.
//!
//! `RINGLOG_TEST_BOOTSTRAP=HOST:PORT` tries a broker that runs already instead, whichever it is: the suite itself was tried that
//! way on Apache Kafka.

mod admin;
mod common;
mod cores;
mod cross;
mod groups;
mod kcat;
mod records;
mod tools;
