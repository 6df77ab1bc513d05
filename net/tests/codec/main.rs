//! The codec against `kafka-protocol` and golden bytes, one module per path.

mod cold;
mod hot;
#[path = "../samples/mod.rs"]
mod samples;
