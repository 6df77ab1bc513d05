//! Bytes to requests and answers to bytes: Kafka's wire protocol. No sockets, no clock, no unsafe.
#![forbid(unsafe_code)]

pub mod api;
pub mod cold;
pub mod fetch;
pub mod frame;
pub mod guard;
pub mod produce;
pub mod refusal;
pub mod wire;
