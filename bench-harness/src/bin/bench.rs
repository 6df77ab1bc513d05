//! `ringlog-bench`: see `bench-harness/src/bench/`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringlog_bench_harness::bench::cli::run()
}
