//! `ringlog config`: every setting there is, with its default, range and meaning. Asks no broker: what one has in
//! force is `ringlog topic describe --all`, or Kafka's own tools.

use clap::Args;
use ringlog_engine::config::keys::{nearest_broker_key, nearest_topic_key};
use ringlog_engine::config::render::{Row, limits_text, rows, text};
use serde_json::json;

use super::output::{Failure, print, print_json};

/// List the settings of the broker and of topics, with defaults, ranges and meanings.
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    /// Only settings with this in their names.
    #[arg(value_name = "TEXT", conflicts_with = "limits")]
    name: Option<String>,
    /// Leave out Kafka's settings that have no meaning here, or whose feature is not here.
    #[arg(long, short, conflicts_with = "limits")]
    acting: bool,
    /// The limits instead: what is bounded, by which setting, and what happens there.
    #[arg(long, conflicts_with = "json")]
    limits: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ConfigArgs) -> Result<(), Failure> {
    if arguments.limits {
        return print(&limits_text());
    }
    let part = arguments.name.as_deref().unwrap_or("");
    let keep = |row: &Row| row.name.contains(part) && (row.acts() || !arguments.acting);
    if arguments.json {
        let kept: Vec<Row> = rows().into_iter().filter(keep).collect();
        return print_json(&kept.iter().map(to_json).collect());
    }
    let text = text(keep);
    if text.is_empty() {
        let nearest = nearest_broker_key(part).or_else(|| nearest_topic_key(part));
        let hint = nearest.map_or(String::new(), |name| format!("; did you mean {name}?"));
        return Err(Failure::Failed(format!("no setting has `{part}` in its name{hint}")));
    }
    print(&text)
}

fn to_json(row: &Row) -> serde_json::Value {
    json!({
        "subject": row.subject,
        "name": row.name,
        "type": row.kind,
        "default": row.default,
        "range": row.range,
        "update": row.update,
        "standing": row.standing,
        "why": row.why,
        "meaning": row.meaning,
    })
}
