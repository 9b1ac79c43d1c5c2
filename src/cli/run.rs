//! `run`: the daemon.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::{BAD_CONFIGURATION, ConfigArgs, log, open_files};
use crate::app::App;
use crate::config::Config;

/// A clean stop takes at most ten seconds; this is the last resort.
const LAST_RESORT: Duration = Duration::from_secs(9);

/// Arguments of `run`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
SIGTERM and SIGINT stop it cleanly, SIGHUP reads the configuration again.
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
    let config = match args.config.load() {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    log::start(&config.log);
    make_room(&config);
    match actix::System::new().block_on(serve(args, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!("{fault:#}");
            ExitCode::FAILURE
        }
    }
}

fn make_room(config: &Config) {
    open_files::make_room(config.accounts.values().filter(|account| account.enabled).count());
}

async fn serve(args: &Args, mut config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let app = App::start(config.clone()).await?;
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(&app, args, &mut config).await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping");
    if timeout(LAST_RESORT, app.stop()).await.is_err() {
        tracing::warn!("not everything stopped in time");
    }
    Ok(())
}

/// A configuration with problems changes nothing.
async fn reload(app: &App, args: &Args, config: &mut Config) {
    let new = match args.config.load() {
        Ok(new) => new,
        Err(problems) => {
            for problem in problems.to_string().lines() {
                tracing::error!(problem, "the new configuration is not taken over");
            }
            app.reloaded(false);
            return;
        }
    };
    make_room(&new);
    match app.reload(config, new.clone()).await {
        Ok(changes) => {
            tracing::info!(started = ?changes.started, stopped = ?changes.stopped, "configuration taken over");
            *config = new;
            app.reloaded(true);
        }
        Err(fault) => {
            tracing::error!(%fault, "the new configuration is not taken over");
            app.reloaded(false);
        }
    }
}
