//! `demo`: a whole working system on one machine, with no set-up.
//!
//! The simulated service and the router run in this process and talk over real TCP on loopback.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{line, log, open_files};
use crate::app::App;
use crate::config::{Config, Log};
use crate::domain::status::AccountState;
use crate::feed::Told;
use crate::simulator::{self, Faults, Simulator, Traffic};

/// Arguments of `demo`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  onsip-router demo --accounts 50 --calls-per-minute 120 --duration 60 --faults")]
pub struct Args {
    /// Simulated accounts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub accounts: u32,
    /// Calls per minute, over all accounts
    #[arg(long, value_name = "R", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub calls_per_minute: u32,
    /// Seconds until it stops; without it, Ctrl-C does
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub duration: Option<u64>,
    /// Let the simulated service misbehave: lost connections, denials, expired leases
    #[arg(long)]
    pub faults: bool,
}

/// Runs the demonstration.
pub fn run(args: &Args) -> ExitCode {
    let _logging = log::start(&Log::warnings());
    // Both ends of every connection are here.
    open_files::make_room(usize::try_from(args.accounts).unwrap_or(usize::MAX).saturating_mul(2));
    match actix::System::new().block_on(play(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("onsip-router: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let accounts: Vec<_> = (1..=args.accounts).map(simulator::Account::numbered).collect::<Result<_, _>>()?;
    let addresses = accounts.iter().flat_map(|account| account.addresses.clone()).collect();
    let options = simulator::Options { accounts: accounts.clone(), ..simulator::Options::default() };
    let onsip = Simulator::start(options).await.context("cannot start the simulated service")?;
    let config = configure(folder.path(), onsip.addr(), onsip.services_domain(), &accounts)?;
    let app = App::start(config).await?;
    let feed = app.feed();
    say(&format!("status page: http://{0}/\nmetrics: http://{0}/metrics", app.http_addr()))?;
    onsip.run_traffic(Traffic::new(addresses, f64::from(args.calls_per_minute)));
    if args.faults {
        onsip.run_faults(&Faults::preset());
    }
    let seen = watch(feed, args.duration.map(Duration::from_secs)).await?;
    let online = app.board().view().accounts.values().filter(|status| status.state == AccountState::Online).count();
    app.stop().await;
    onsip.stop();
    say(&summary(&seen, online, args.accounts))
}

/// The router's configuration for the simulated service, with everything it writes in `folder`.
fn configure(
    folder: &Path,
    onsip: SocketAddr,
    services_domain: &str,
    accounts: &[simulator::Account],
) -> anyhow::Result<Config> {
    let file = folder.join("demo.toml");
    std::fs::write(&file, simulator::configuration(onsip, services_domain, accounts))?;
    let variable = |key: &str, value: String| (format!("ONSIP_ROUTER__{key}"), value);
    let folder = folder.display();
    let environment = [
        variable("HTTP__LISTEN", "127.0.0.1:0".to_owned()),
        variable("STORE__URL", format!("sqlite://{folder}/demo.db")),
        variable("SINKS__CONSOLE__TYPE", "file".to_owned()),
        variable("SINKS__CONSOLE__PATH", format!("{folder}/events.jsonl")),
    ];
    Config::load(&[file], environment.into_iter()).map_err(|problems| anyhow::anyhow!("{problems}"))
}

/// Prints events as they come, until the time is over or somebody stops it.
async fn watch(mut feed: Receiver<Arc<Told>>, duration: Option<Duration>) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let mut seen = BTreeMap::new();
    loop {
        tokio::select! {
            event = feed.recv() => match event {
                Ok(event) => {
                    let event: serde_json::Value = serde_json::from_str(&event.body)?;
                    *seen.entry(event["type"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
                    say(&line::readable(&event))?;
                }
                Err(RecvError::Lagged(n)) => say(&format!("({n} events not shown)"))?,
                Err(RecvError::Closed) => return Ok(seen),
            },
            () = &mut over => return Ok(seen),
            _ = interrupt.recv() => return Ok(seen),
            _ = terminate.recv() => return Ok(seen),
        }
    }
}

fn summary(seen: &BTreeMap<String, u64>, online: usize, accounts: u32) -> String {
    use std::fmt::Write as _;
    let mut text = format!("\n{online} of {accounts} accounts online, {} events:", seen.values().sum::<u64>());
    for (kind, count) in seen {
        let _ = write!(text, "\n{count:>8}  {kind}");
    }
    text
}

/// Prints a line. A reader that has seen enough (`| head`) is no fault of ours, but there is nothing left to show it.
fn say(text: &str) -> anyhow::Result<()> {
    writeln!(anstream::stdout().lock(), "{text}").context("cannot write to standard output")
}
