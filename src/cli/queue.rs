//! `queue`: what the delivery queue holds, its dead letters, and the state of the database, beside a daemon or without.

use std::process::ExitCode;

use anyhow::{Result, anyhow};

use super::round::{self, Report};
use super::{BAD_CONFIGURATION, ConfigArgs};
use crate::config::Config;
use crate::domain::name::SinkName;
use crate::settings::check::unknown;
use crate::store::Store;

mod check;
mod list;
mod purge;
mod retry;
mod show;

/// Arguments of `queue`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Works beside a running daemon, and without one.

Examples:
  onsip-router queue list --config /etc/onsip-router --sink crm
  onsip-router queue retry --config /etc/onsip-router --sink crm --all")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Show what each sink is owed and how many dead letters it has; with --sink also these
    List(list::Args),
    /// Show one event that is owed or dead, and how the sinks stand to it
    Show(show::Args),
    /// Make dead letters owed again, as if never tried
    Retry(retry::Args),
    /// Remove dead letters, or everything a sink is owed
    Purge(purge::Args),
    /// Look through the database for damage, and repair it
    Check(check::Args),
}

/// Which sink of which configuration.
#[derive(Clone, Debug, clap::Args)]
struct Choice {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this sink, configured or not; without it, all
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
}

/// Carries the action out.
pub fn run(args: &Args) -> ExitCode {
    let config = match args.config().load() {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    round::make(args.go(&config))
}

impl Args {
    fn config(&self) -> &ConfigArgs {
        match &self.action {
            Action::List(args) => &args.choice.config,
            Action::Show(args) => &args.choice.config,
            Action::Retry(args) => &args.choice.config,
            Action::Purge(args) => &args.choice.config,
            Action::Check(args) => &args.config,
        }
    }

    async fn go(&self, config: &Config) -> Result<Report> {
        match &self.action {
            Action::List(args) => list::list(&Queue::to_read(config, &args.choice).await?, args).await,
            Action::Show(args) => show::show(&Queue::to_read(config, &args.choice).await?, args).await,
            Action::Retry(args) => {
                let queue = Queue::open(config, &args.choice).await?;
                let report = retry::retry(&queue, args).await;
                queue.close().await?;
                report
            }
            Action::Purge(args) => {
                let queue = Queue::open(config, &args.choice).await?;
                let report = purge::purge(&queue, args).await;
                queue.close().await?;
                report
            }
            Action::Check(args) => check::check(config, args).await,
        }
    }
}

/// The queue of a configuration, and the sinks that are meant.
struct Queue<'a> {
    store: Store,
    config: &'a Config,
    /// By name: the chosen one, or those that are configured or hold anything.
    sinks: Vec<SinkName>,
    /// Whether one was chosen.
    one: bool,
}

impl<'a> Queue<'a> {
    /// Opens it as it is now, to look at it.
    async fn to_read(config: &'a Config, choice: &Choice) -> Result<Self> {
        Self::of(Store::beside(&config.store).await?, config, choice).await
    }

    /// Opens it to change it: beside the router that owns it, or as its owner.
    async fn open(config: &'a Config, choice: &Choice) -> Result<Self> {
        Self::of(Store::for_operator(&config.store).await?, config, choice).await
    }

    /// Writes down what was changed, if it is ours.
    async fn close(&self) -> Result<()> {
        Ok(self.store.close().await?)
    }

    async fn of(store: Store, config: &'a Config, choice: &Choice) -> Result<Self> {
        let mut sinks: Vec<_> = config.sinks.keys().cloned().chain(store.holding().await?).collect();
        sinks.sort();
        sinks.dedup();
        if let Some(only) = &choice.sink {
            let known = || sinks.iter().map(SinkName::as_str);
            let missing = || anyhow!("--sink {only}: {}", unknown("sink", only, known()));
            let found = sinks.iter().find(|sink| sink.as_str() == only).ok_or_else(missing)?;
            sinks = vec![found.clone()];
        }
        Ok(Self { store, config, sinks, one: choice.sink.is_some() })
    }

    fn is_configured(&self, sink: &SinkName) -> bool {
        self.config.sinks.contains_key(sink)
    }
}

/// `1 event`, `2 events`.
fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
