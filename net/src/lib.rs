//! Bytes to requests and answers to bytes: Kafka's wire protocol. No sockets, no clock, no unsafe.
#![forbid(unsafe_code)]
