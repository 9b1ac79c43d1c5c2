//! `queue purge`: takes dead letters, or everything, from sinks for good, also from those no longer configured.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Result, bail};

use super::{Choice, Queue, plural};
use crate::cli::round::Report;
use crate::store::Part;

/// Arguments of `queue purge`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
What is purged is gone; other sinks keep what they are owed, and what is left of a call stays in order. Asks before it does
so. A running daemon logs and counts what is purged.
Exit codes: 0 done, 78 bad configuration, 1 not confirmed, or anything else.

Examples:
  onsip-router queue purge --config /etc/onsip-router --sink crm --dead
  onsip-router queue purge --config /etc/onsip-router --sink no-longer-there --all --yes")]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) choice: Choice,
    /// The dead letters
    #[arg(long, conflicts_with = "all")]
    dead: bool,
    /// The dead letters, and all that is owed
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn purge(queue: &Queue<'_>, args: &Args) -> Result<Report> {
    if !args.dead && !args.all {
        bail!("say what to purge: --dead or --all; --sink takes that of one sink only");
    }
    let mut planned = Vec::new();
    for sink in &queue.sinks {
        let depth = queue.store.depth(sink).await?;
        let owed = if args.all { depth.events } else { 0 };
        if owed + depth.dead > 0 {
            planned.push(format!("{sink}: {}", amount(owed, depth.dead, args.all)));
        }
    }
    if !args.yes && !planned.is_empty() && !confirmed(&planned)? {
        bail!("nothing was purged");
    }
    let mut lines = Vec::new();
    for sink in &queue.sinks {
        let dead = queue.store.purge(sink, Part::Dead).await?;
        let owed = if args.all { queue.store.purge(sink, Part::Owed).await? } else { 0 };
        if owed + dead > 0 {
            lines.push(format!("{sink}: {} purged", amount(owed, dead, args.all)));
        }
    }
    let text = if lines.is_empty() { "0 events purged".to_owned() } else { lines.join("\n") };
    Ok(Report { text, failed: false })
}

fn amount(owed: u64, dead: u64, all: bool) -> String {
    let dead = plural(dead, "dead letter");
    if all { format!("{} and {dead}", plural(owed, "owed event")) } else { dead }
}

/// Asks whoever sits at the terminal.
fn confirmed(planned: &[String]) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("would purge {}; say --yes to do so without being asked", planned.join(", "));
    }
    let mut out = io::stderr().lock();
    write!(out, "{}\npurge? [y/N] ", planned.join("\n"))?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
