//! The command line of the `ringlog` binary: its arguments, its tools, and the way to `ringlog-NAME` beside it.
//! Not the broker: `start` is parsed here and handed on. The tools talk to a broker like any client, over TCP.

mod client;
mod config;
mod consume;
mod external;
mod format;
mod group;
mod inspect;
mod member;
mod output;
mod produce;
mod records;
mod repair;
mod time;
mod topic;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use self::client::Client;
use self::output::Failure;

/// What went wrong and could not be done: exit code 1.
const EXIT_FAILED: u8 = 1;
/// The command itself was wrong: exit code 2, as clap's own.
const EXIT_USAGE: u8 = 2;

const AFTER_HELP: &str = "\
`ringlog NAME ...` runs the program `ringlog-NAME` found beside ringlog, or else in PATH.

Exit codes: 0 done, 1 failed, 2 wrong usage.

To try it:
  ringlog start
  ringlog topic create greetings --partitions 3
  echo hello | ringlog produce greetings
  ringlog consume greetings --from-beginning --exit";

/// A Kafka-compatible event log: one process, one shard per core.
#[derive(Parser, Debug)]
#[command(name = "ringlog", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Start(StartArgs),
    /// Create, list, describe, alter or delete topics.
    Topic(topic::TopicArgs),
    Produce(produce::ProduceArgs),
    Consume(consume::ConsumeArgs),
    /// List, describe, delete or rewind consumer groups.
    Group(group::GroupArgs),
    Config(config::ConfigArgs),
    Inspect(inspect::InspectArgs),
    Repair(repair::RepairArgs),
    #[command(external_subcommand)]
    External(Vec<OsString>),
}

/// Start the broker.
///
/// Without FILE it listens on 127.0.0.1:9092 and keeps its data in ./ringlog-data.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct StartArgs {
    /// Settings, in the format and with the names of Kafka's server.properties.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Replaces one setting of FILE; may be repeated.
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = key_value)]
    pub overrides: Vec<(String, String)>,
}

/// Where the broker is and how long to try: shared by every tool that talks to one.
#[derive(Args, Debug, Clone)]
struct Broker {
    /// One or more brokers to begin with; the others are learned from them.
    #[arg(long, short = 'b', value_name = "HOST:PORT[,...]", default_value = "127.0.0.1:9092")]
    bootstrap_server: String,
    /// How long to go on trying before giving up.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl Broker {
    fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.bootstrap_server, Duration::from_secs(self.timeout))
    }
}

/// Splits `key=value` at the first `=`. The value may be empty, the key may not.
fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.to_string())),
        _ => Err("expected KEY=VALUE".to_string()),
    }
}

/// Runs the command in `arguments` (the first is the program's name). `start` is what starts the broker.
pub fn run(arguments: impl IntoIterator<Item = OsString>, start: fn(StartArgs) -> ExitCode) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(refusal) => {
            let code = refusal.exit_code();
            // Standard output may be closed already; there is nobody left to tell.
            let _ = refusal.print();
            return ExitCode::from(if code == 0 { 0 } else { EXIT_USAGE });
        }
    };
    let outcome = match cli.command {
        Command::Start(arguments) => return start(arguments),
        Command::Topic(arguments) => topic::run(&arguments),
        Command::Produce(arguments) => produce::run(&arguments),
        Command::Consume(arguments) => consume::run(&arguments),
        Command::Group(arguments) => group::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Repair(arguments) => repair::run(&arguments),
        Command::External(arguments) => external::run(&arguments, &command_names()),
    };
    match outcome {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => {
            eprintln!("ringlog: {text}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Failed(text)) => {
            eprintln!("ringlog: {text}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn command_names() -> Vec<String> {
    use clap::CommandFactory;
    Cli::command().get_subcommands().map(|c| c.get_name().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definitions_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn start_takes_a_file_and_overrides_as_kafka_does() {
        let cli = parse("ringlog start server.properties --override a.b=1 --override listeners=PLAINTEXT://:1=2");
        let Ok(Cli { command: Command::Start(start) }) = cli else { panic!("{cli:?}") };
        assert_eq!(start.file, Some(PathBuf::from("server.properties")));
        let expected = [("a.b", "1"), ("listeners", "PLAINTEXT://:1=2")];
        assert_eq!(start.overrides, expected.map(|(k, v)| (k.to_string(), v.to_string())));
        assert!(matches!(parse("ringlog start"), Ok(Cli { command: Command::Start(s) }) if s == StartArgs::default()));
        assert!(parse("ringlog start --override nonsense").is_err());
        assert!(parse("ringlog start --override =1").is_err());
        assert!(parse("ringlog start one two").is_err());
    }

    #[test]
    fn an_unknown_name_is_left_to_a_program_with_all_its_arguments() {
        let cli = parse("ringlog bench --rate 5 -x");
        let Ok(Cli { command: Command::External(words) }) = cli else { panic!("{cli:?}") };
        assert_eq!(words, ["bench", "--rate", "5", "-x"].map(OsString::from));
    }

    #[test]
    fn wrong_usage_is_exit_code_two_and_help_is_zero() {
        let never = |_: StartArgs| -> ExitCode { panic!("not a start") };
        let run = |line: &str| run(line.split_whitespace().map(OsString::from), never);
        assert_eq!(run("ringlog topic create"), ExitCode::from(2));
        assert_eq!(run("ringlog topic create t --partitions 0"), ExitCode::from(2));
        assert_eq!(run("ringlog"), ExitCode::from(2));
        assert_eq!(run("ringlog no-such-program-anywhere"), ExitCode::from(2));
        assert_eq!(run("ringlog --help"), ExitCode::SUCCESS);
    }
}
