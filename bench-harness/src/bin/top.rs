//! `ringlog-top`: see `bench-harness/src/top/`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringlog_bench_harness::top::run()
}
