//! `ringlog bench peer`: a real Kafka by itself, to be measured or looked at beside.

use super::Cpus;
use crate::bench::Failure;
use crate::bench::brokers::kafka;
use std::process::ExitCode;

/// Bring up a real Apache Kafka, or end it.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which broker.
    #[arg(value_enum)]
    pub kind: Kind,
    #[arg(value_enum, default_value = "start")]
    pub action: Action,
    #[arg(long, default_value = kafka::VERSION)]
    pub version: String,
    /// CPUs it runs on.
    #[arg(long, default_value = "0")]
    pub cpus: Cpus,
    /// Its port; the next one is its controller's. A free one unless told.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=65534))]
    pub port: Option<u16>,
    /// Flush after so many records: 1 makes it as durable as a Ringlog. Unless told, the system decides, as is Kafka's default.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub flush_messages: Option<u64>,
    /// Java heap.
    #[arg(long, default_value = kafka::HEAP)]
    pub heap: String,
    /// A broker property; may be given again.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Kafka,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fetch it if need be, and leave it running with empty data.
    Start,
    /// End it and remove its data.
    Stop,
    /// Only fetch it.
    Fetch,
}

/// Does it.
pub fn command(args: &Args) -> Result<ExitCode, Failure> {
    match args.action {
        Action::Fetch => {
            kafka::fetch(&args.version)?;
            println!("Apache Kafka {} is here", args.version);
        }
        Action::Start => {
            let jars = kafka::fetch(&args.version)?;
            let mut overrides = args.overrides.clone();
            overrides.extend(args.flush_messages.map(|n| format!("log.flush.interval.messages={n}")));
            let wish = kafka::wish(args.cpus.0.clone(), args.heap.clone(), overrides);
            println!("{}", kafka::start_and_leave(&jars, &wish, args.port)?);
        }
        Action::Stop => println!("{}", kafka::stop()?),
    }
    Ok(ExitCode::SUCCESS)
}
