//! `queue retry`: dead letters become owed again. A running daemon delivers them, another one once it starts.

use anyhow::{Result, bail};

use super::{Choice, Queue, plural};
use crate::cli::round::Report;

/// Arguments of `queue retry`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A dead letter is owed again under its old id, behind all that is in the queue; `sequence` tells the order within a call. A
running daemon logs and counts what is retried.
Exit codes: 0 done, 78 bad configuration, 1 a position is no dead letter, or anything else.

Examples:
  onsip-router queue retry --config /etc/onsip-router --sink crm --all
  onsip-router queue retry --config /etc/onsip-router --sink crm 4711 4712")]
pub(super) struct Args {
    /// The positions of dead letters, as `queue list --sink` shows them
    #[arg(value_name = "POSITION")]
    positions: Vec<i64>,
    #[command(flatten)]
    pub(super) choice: Choice,
    /// All dead letters
    #[arg(long, conflicts_with = "positions")]
    all: bool,
}

pub(super) async fn retry(queue: &Queue<'_>, args: &Args) -> Result<Report> {
    if !args.all && args.positions.is_empty() {
        bail!("say which dead letters to retry: their positions, or --all; --sink takes those of one sink only");
    }
    let mut report = Report { text: String::new(), failed: false };
    let mut counts = vec![0; queue.sinks.len()];
    if args.all {
        for (sink, count) in queue.sinks.iter().zip(&mut counts) {
            *count = queue.store.retry(sink, None).await?;
        }
    }
    for position in &args.positions {
        let mut retried = 0;
        for (sink, count) in queue.sinks.iter().zip(&mut counts) {
            let changed = queue.store.retry(sink, Some(vec![*position])).await?;
            *count += changed;
            retried += changed;
        }
        if retried == 0 {
            report.failed = true;
            eprintln!("onsip-router: {position}: is no dead letter");
        }
    }
    let mut lines = Vec::new();
    for (sink, count) in queue.sinks.iter().zip(counts).filter(|(_, count)| *count > 0) {
        lines.push(format!("{sink}: {} owed again", plural(count, "dead letter")));
        if !queue.is_configured(sink) {
            eprintln!("onsip-router: {sink}: is not configured, so nothing is delivered to it");
        }
    }
    report.text = if lines.is_empty() { "0 dead letters owed again".to_owned() } else { lines.join("\n") };
    Ok(report)
}
