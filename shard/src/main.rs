//! The `ringlog` command.

fn main() {}
