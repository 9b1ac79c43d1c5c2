//! `run`: the daemon.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::{BAD_CONFIGURATION, ConfigArgs, VERSION, log, open_files};
use crate::app::App;
use crate::config::Config;
use reload::Running;

mod reload;

/// A clean stop takes at most ten seconds; this is the last resort.
const LAST_RESORT: Duration = Duration::from_secs(9);

/// Arguments of `run`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
SIGTERM and SIGINT stop it cleanly, SIGHUP reads the configuration again. So does a change of the configuration files, or
of the files of secrets, certificates and keys that they name, unless the configuration says `watch_config = false`. A
configuration with a problem changes nothing.
Exit codes: 0 clean stop, 78 bad configuration, 1 anything else.

Example:
  onsip-router run --config /etc/onsip-router --config local.toml")]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs the daemon until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    let mut running = match Running::read(args) {
        Ok(running) => running,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let logging = log::start(&running.config.log);
    if let Err(fault) = open_files::enough() {
        tracing::error!("{fault:#}");
        return ExitCode::FAILURE;
    }
    make_room(&mut running.config);
    match actix::System::new().block_on(serve(running, &logging)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!("{fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// Has the limit of open files raised, and leaves out the accounts that do not fit under it.
fn make_room(config: &mut Config) {
    let enabled = config.accounts.values_mut().filter(|account| account.enabled);
    let room = open_files::make_room(enabled.count(), config.sinks.len());
    for account in config.accounts.values_mut().filter(|account| account.enabled).skip(room) {
        account.enabled = false;
    }
}

async fn serve(mut running: Running, logging: &log::Logging) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (accounts, sinks) = (running.config.accounts.len(), running.config.sinks.len());
    tracing::info!(version = VERSION, accounts, sinks, "starting");
    reload::warn_of(&running.config);
    let app = App::start(running.config.clone()).await?;
    logging.count_in(app.metrics());
    running.watch();
    running.follow(&app).await; // what changed before the watch began
    let fault = loop {
        tokio::select! {
            _ = hangup.recv() => running.reload(&app).await,
            () = running.stirred() => running.follow(&app).await,
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            fault = app.failed() => break Some(fault),
        }
    };
    tracing::info!("stopping");
    let at_the_end = timeout(LAST_RESORT, app.stop()).await.unwrap_or_else(|_| {
        tracing::warn!("not everything stopped in time");
        None
    });
    tracing::info!("stopped");
    match fault.or(at_the_end) {
        Some(fault) => Err(anyhow::Error::new(fault).context("the store has failed for good")),
        None => Ok(()),
    }
}
