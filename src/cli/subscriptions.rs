//! `subscriptions`: what the services hold against what the ledger holds, and what of it is too much.

use std::process::ExitCode;

use anyhow::Result;

use super::{BAD_CONFIGURATION, ConfigArgs, round};
use crate::config::Config;
use ledger::Ledger;

mod clean;
mod ledger;
mod list;

/// The beginning of the resource of every visit.
const VISITOR: &str = "onsip-router-subscriptions";

/// Arguments of `subscriptions`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Logs in under a resource of its own, so a running daemon is not disturbed.

Examples:
  onsip-router subscriptions list --config /etc/onsip-router
  onsip-router subscriptions clean --config /etc/onsip-router --account front-desk --dry-run")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Show what the services hold and what the ledger knows of it; changes nothing
    #[command(after_help = "\
`own` are subscriptions of exactly the full JID of the router, `surplus` those that `clean` would remove, `other` those
of other resources. What only the ledger knows has no state at the service.
Exit codes: 0 all accounts were listed, 78 bad configuration, 1 an account failed, or anything else.

Example:
  onsip-router subscriptions list --config /etc/onsip-router --account front-desk")]
    List(Choice),
    /// Remove this router's own surplus subscriptions, and nothing else
    #[command(after_help = "\
Of each node's subscriptions of exactly the router's full JID one is kept: the one in the ledger if it is subscribed,
else the newest. The others are removed by subid, one at a time. No other resource's entry is ever touched.
Exit codes: 0 done, 78 bad configuration, 1 an account failed, or anything else.

Example:
  onsip-router subscriptions clean --config /etc/onsip-router --dry-run")]
    Clean {
        #[command(flatten)]
        choice: Choice,
        /// Only show what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which accounts of which configuration.
#[derive(Clone, Debug, clap::Args)]
struct Choice {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this account; without it, all enabled ones
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
}

/// Lists or cleans.
pub fn run(args: &Args) -> ExitCode {
    let (Action::List(choice) | Action::Clean { choice, .. }) = &args.action;
    let config = match choice.config.load() {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let only = choice.account.as_deref();
    match args.action {
        Action::List(_) => round::make(list::list(&config, only)),
        Action::Clean { dry_run, .. } => round::make(clean::clean(&config, only, dry_run)),
    }
}

/// Opens the ledger, and says so where there is none yet: the path may be a mistake.
async fn ledger(config: &Config) -> Result<Ledger> {
    let ledger = Ledger::open(&config.store).await?;
    if let Ledger::Absent(why) = &ledger {
        eprintln!("onsip-router: the ledger counts as empty: {why}");
    }
    Ok(ledger)
}
