//! `queue list`: how much each sink is owed, and the dead letters of one.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Choice, Queue, plural};
use crate::cli::printable_json;
use crate::cli::round::Report;
use crate::cli::table::{Table, time};
use crate::domain::name::SinkName;
use crate::store::{DeadLetter, Depth};

const HEADINGS: [&str; 6] = ["SINK", "CONFIGURED", "OWED", "BYTES", "OLDEST", "DEAD"];
const LETTERS: [&str; 6] = ["POSITION", "ID", "TYPE", "DIED", "TRIES", "REASON"];

/// Arguments of `queue list`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 shown, 78 bad configuration, 1 anything else.

Examples:
  onsip-router queue list --config /etc/onsip-router
  onsip-router queue list --config /etc/onsip-router --sink crm --limit 10")]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) choice: Choice,
    /// Show so many dead letters at most, the newest; only with --sink
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(queue: &Queue<'_>, args: &Args) -> Result<Report> {
    let mut depths = Vec::new();
    for sink in &queue.sinks {
        depths.push((sink, queue.store.depth(sink).await?));
    }
    let mut letters = Vec::new();
    if let ([sink], true) = (queue.sinks.as_slice(), queue.one) {
        letters = queue.store.latest_dead(sink, args.limit).await?;
    }
    let text = if args.json {
        printable_json(&as_json(queue, &depths, &letters)).into_owned()
    } else {
        as_text(queue, &depths, &letters)
    };
    Ok(Report { text, failed: false })
}

fn as_text(queue: &Queue<'_>, depths: &[(&SinkName, Depth)], letters: &[DeadLetter]) -> String {
    let mut table = Table::new(HEADINGS);
    for (sink, depth) in depths {
        let configured = if queue.is_configured(sink) { "yes" } else { "no" };
        table.add([
            sink.to_string(),
            configured.to_owned(),
            depth.events.to_string(),
            depth.bytes.to_string(),
            depth.oldest.map(time).unwrap_or_default(),
            depth.dead.to_string(),
        ]);
    }
    let mut text = table.to_string();
    if letters.is_empty() {
        return text;
    }
    let mut table = Table::new(LETTERS);
    for letter in letters {
        table.add([
            letter.offset.to_string(),
            letter.id.to_string(),
            kind(letter).unwrap_or_default(),
            time(letter.died),
            letter.attempts.to_string(),
            letter.reason.clone(),
        ]);
    }
    let _ = write!(text, "\n\n{table}");
    let shown = letters.len() as u64;
    let all: u64 = depths.iter().map(|(_, depth)| depth.dead).sum();
    if all > shown {
        let _ = write!(text, "\nthe newest {shown} of {}; --limit shows more", plural(all, "dead letter"));
    }
    text
}

fn as_json(queue: &Queue<'_>, depths: &[(&SinkName, Depth)], letters: &[DeadLetter]) -> String {
    let sink = |(sink, depth): &(&SinkName, Depth)| {
        json!({
            "sink": sink.as_str(), "configured": queue.is_configured(sink), "owed": depth.events,
            "bytes": depth.bytes, "oldest": depth.oldest, "dead": depth.dead,
        })
    };
    let letter = |letter: &DeadLetter| {
        json!({
            "position": letter.offset, "id": letter.id, "type": kind(letter), "died": letter.died,
            "tries": letter.attempts, "reason": letter.reason,
        })
    };
    let sinks: Vec<Value> = depths.iter().map(sink).collect();
    let mut all = json!({ "sinks": sinks });
    if queue.one {
        all["dead_letters"] = letters.iter().map(letter).collect();
    }
    all.to_string()
}

/// The type of the event, where it can still be read.
fn kind(letter: &DeadLetter) -> Option<String> {
    let event: Value = serde_json::from_str(&letter.body).ok()?;
    Some(event.get("type")?.as_str()?.to_owned())
}
