//! The `ringlog` command: what happens on a panic, and who runs what was asked for. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed").to_string();
        eprintln!("ringlog: this is a bug; thread {name}: {panic}");
        eprintln!("{}", std::backtrace::Backtrace::capture());
        // A thread that is gone would leave its partitions neither served nor failed: end all of it at once.
        std::process::abort();
    }));
    ringlog_shard::cli::run(std::env::args_os(), ringlog_shard::start)
}
