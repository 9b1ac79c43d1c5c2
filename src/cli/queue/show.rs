//! `queue show`: one event, and how the sinks stand to it.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{Choice, Queue};
use crate::cli::printable_json;
use crate::cli::round::Report;
use crate::cli::table::{harmless, time};
use crate::store::{Found, Standing, Wanted};

/// Arguments of `queue show`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
An event stays in the queue until every sink has it; dead letters stay until they are purged.
Exit codes: 0 shown, 78 bad configuration, 1 it is not there, or anything else.

Examples:
  onsip-router queue show 4711 --config /etc/onsip-router
  onsip-router queue show 9f86d081884c7d659a2feaa0c55ad015 --config /etc/onsip-router --json")]
pub(super) struct Args {
    /// Its id, or its position in the queue
    #[arg(value_name = "ID|POSITION")]
    event: String,
    #[command(flatten)]
    pub(super) choice: Choice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn show(queue: &Queue<'_>, args: &Args) -> Result<Report> {
    let event = &args.event;
    let wanted = event.parse().map_or_else(|_| Wanted::Id(event.clone()), Wanted::Position);
    let Some(mut found) = queue.store.find(&wanted).await? else {
        bail!("{event}: no such event is owed or dead; it was never there, or every sink has it");
    };
    if queue.one {
        found.standings.retain(|(sink, _)| queue.sinks.contains(sink));
        if found.standings.is_empty() {
            bail!("{event}: is neither owed to this sink nor one of its dead letters");
        }
    }
    Ok(Report {
        text: if args.json { printable_json(&as_json(&found)).into_owned() } else { as_text(&found) },
        failed: false,
    })
}

fn as_text(found: &Found) -> String {
    let mut text = format!("position  {}\nid        {}\n", found.position, harmless(found.id.as_str()));
    let _ = writeln!(text, "received  {}", time(found.received));
    for (sink, standing) in &found.standings {
        let _ = writeln!(text, "{sink}: {}", harmless(&tell(standing)));
    }
    if !found.intact {
        let _ = writeln!(text, "damaged: this is not what was once written; it is delivered to no sink");
    }
    let event: Option<Value> = serde_json::from_str(&found.body).ok();
    let body = event.and_then(|event| serde_json::to_string_pretty(&event).ok());
    for line in body.as_deref().unwrap_or(&found.body).lines() {
        let _ = write!(text, "\n{}", harmless(line));
    }
    text
}

fn tell(standing: &Standing) -> String {
    match standing {
        Standing::Owed { attempts: 0, .. } => "owed, not tried yet".to_owned(),
        Standing::Owed { attempts, failing_since } => {
            let since = failing_since.map(|since| format!(" since {}", time(since))).unwrap_or_default();
            format!("owed, failing{since}, tries: {attempts}")
        }
        Standing::Dead { attempts, died, reason } => format!("dead since {}, tries: {attempts}: {reason}", time(*died)),
    }
}

fn as_json(found: &Found) -> String {
    let standing = |standing: &Standing| match standing {
        Standing::Owed { attempts, failing_since } => {
            json!({ "state": "owed", "tries": attempts, "failing_since": failing_since })
        }
        Standing::Dead { attempts, died, reason } => {
            json!({ "state": "dead", "tries": attempts, "died": died, "reason": reason })
        }
    };
    let sinks: serde_json::Map<_, _> =
        found.standings.iter().map(|(sink, state)| (sink.to_string(), standing(state))).collect();
    let event: Value = serde_json::from_str(&found.body).unwrap_or_else(|_| found.body.to_string().into());
    json!({
        "position": found.position, "id": found.id, "received": found.received, "intact": found.intact,
        "sinks": sinks, "event": event,
    })
    .to_string()
}
