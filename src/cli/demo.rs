//! `demo`: a whole working system on one machine, with no set-up.
//!
//! The simulated service and the router run in this process and talk over real TCP on loopback.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::{log, open_files};
use crate::app::App;
use crate::config::{Config, Log};
use crate::domain::BareJid;
use crate::domain::moment::Moment;
use crate::simulator::{self, Faults, Simulator, Traffic};
use summary::Fleet;

mod summary;
mod watch;

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
    // What the faults do is told in words of the demonstration.
    let level = if args.faults { tracing::Level::ERROR } else { tracing::Level::WARN };
    let _logging = log::start(&Log { level, ..Log::warnings() });
    if let Err(fault) = open_files::enough() {
        eprintln!("onsip-router: {fault:#}");
        return ExitCode::FAILURE;
    }
    // Both ends of every connection are here.
    open_files::make_room(usize::try_from(args.accounts).unwrap_or(usize::MAX).saturating_mul(2), 1);
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
    let metrics = app.metrics();
    let mut feed = app.feed();
    say(&format!("status page: http://{0}/\nmetrics: http://{0}/metrics", app.http_addr()))?;
    onsip.run_traffic(Traffic::new(addresses, f64::from(args.calls_per_minute)));
    if args.faults {
        onsip.run_faults(&Faults::preset());
    }
    // Left to chance, the first account may turn blind only after a while.
    let first_fault = args.faults.then_some(|jid: &BareJid| onsip.cut(jid));
    let mut seen = watch::watch(&app, &mut feed, args.duration.map(Duration::from_secs), first_fault).await?;
    let fleet = Fleet::of(&app.board().view(), Moment::now().utc());
    let _ = app.stop().await; // its database goes with it
    onsip.stop();
    seen.catch_up(&mut feed)?;
    say(&format!("\n{}", summary::text(&seen, &fleet, metrics.totals(), &metrics.deliveries())))
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

/// Prints a line. A reader that has seen enough (`| head`) is no fault of ours, but there is nothing left to show it.
fn say(text: &str) -> anyhow::Result<()> {
    writeln!(anstream::stdout().lock(), "{text}").context("cannot write to standard output")
}
