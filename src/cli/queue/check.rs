//! `queue check`: looks through the whole store, and repairs it if asked to.

use anyhow::Result;

use super::plural;
use crate::cli::ConfigArgs;
use crate::cli::round::Report;
use crate::cli::table::harmless;
use crate::config::Config;
use crate::store::Store;

/// Arguments of `queue check`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Looks only, also beside a running daemon, and takes as long as the database is large. With --repair, which needs the
daemon stopped: indexes are made anew, lines of the database that are not what was written removed, damaged dead letters moved
to a file beside it, whose name ends in .damaged.jsonl, and what is damaged of the event log and of the remembered ids to the
folder `damaged` beside these; all of it is told. A sink that may be owed an event that cannot be read gets a dead letter.
Exit codes: 0 nothing is wrong (any more), 78 bad configuration, 1 faults are left, or anything else.

Examples:
  onsip-router queue check --config /etc/onsip-router
  onsip-router queue check --config /etc/onsip-router --repair")]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Repair what can be repaired; needs the daemon stopped
    #[arg(long)]
    repair: bool,
}

pub(super) async fn check(config: &Config, args: &Args) -> Result<Report> {
    if args.repair { repair(config).await } else { look(config).await }
}

async fn look(config: &Config) -> Result<Report> {
    let faults = Store::check(&config.store).await?;
    if faults.is_empty() {
        return Ok(Report { text: "ok: no fault was found".to_owned(), failed: false });
    }
    let next = "stop the daemon, keep a copy of the database, and say --repair";
    let text = format!("{}\n{}: {next}", lines(&faults), plural(faults.len() as u64, "fault"));
    Ok(Report { text, failed: true })
}

async fn repair(config: &Config) -> Result<Report> {
    let repaired = Store::repair(&config.store).await?;
    let mut text: Vec<String> = repaired.done.iter().map(|done| format!("repaired: {}", harmless(done))).collect();
    text.extend(repaired.left.iter().map(|left| format!("left: {}", harmless(left))));
    text.push(match (repaired.done.len(), repaired.left.len()) {
        (0, 0) => "ok: no fault was found".to_owned(),
        (_, 0) => "ok: no fault is left".to_owned(),
        (_, left) => {
            let next = "restore a backup, or move the database away to begin anew";
            format!("{} left that cannot be repaired: {next}", plural(left as u64, "fault"))
        }
    });
    Ok(Report { text: text.join("\n"), failed: !repaired.left.is_empty() })
}

fn lines(faults: &[String]) -> String {
    faults.iter().map(|fault| harmless(fault)).collect::<Vec<_>>().join("\n")
}
