//! `onsip-router simulate`: only the simulated OnSIP, for people who develop sinks and rules.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::{log, open_files};
use crate::config::Log;
use crate::domain::limits::CONFIGURATION_FILE;
use crate::settings::files;
use crate::simulator::{Account, Faults, Options, Simulator, Traffic, configuration};

const EXAMPLE: &str = "\
Example:
  onsip-router simulate --accounts 5 > demo.toml &
  onsip-router run --config demo.toml";
/// Every fault, with what it is.
const FAULTS: &str = include_str!("../../config/faults.example.toml");

/// Run only the simulated OnSIP, with accounts and calls, and print a configuration for it
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE, after_long_help = format!("{EXAMPLE}\n\nA faults FILE with every key:\n\n{FAULTS}"))]
pub struct Args {
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5222")]
    pub listen: SocketAddr,
    /// How many accounts there are: user1@example.onsip.test and so on
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub accounts: u32,
    /// How many calls begin in a minute, over all accounts
    #[arg(long, value_name = "R", default_value_t = 30.0, value_parser = rate)]
    pub calls_per_minute: f64,
    /// What goes wrong, as TOML, for example `cut_every = "20s"`; --help shows every key
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
}

/// Runs until SIGINT or SIGTERM.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let _logging = log::start(&Log::warnings());
    if let Err(fault) = open_files::enough() {
        eprintln!("onsip-router: {fault:#}");
        return ExitCode::FAILURE;
    }
    open_files::make_room(usize::try_from(args.accounts).unwrap_or(usize::MAX), 0);
    match actix::System::new().block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("onsip-router: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let faults = args.faults.as_deref().map(read_faults).transpose()?;
    let accounts: Vec<Account> = (1..=args.accounts).map(Account::numbered).collect::<Result<_, _>>()?;
    let addresses = accounts.iter().flat_map(|account| account.addresses.clone()).collect();
    let options = Options { listen: args.listen, accounts: accounts.clone(), ..Options::default() };
    let most_connections = options.most_connections.max(accounts.len() * 4);
    let onsip = Simulator::start(Options { most_connections, ..options })
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    print(&configuration(onsip.addr(), onsip.services_domain(), &accounts))?;
    onsip.run_traffic(Traffic::new(addresses, args.calls_per_minute));
    if let Some(faults) = faults {
        onsip.run_faults(&faults);
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    onsip.stop();
    Ok(())
}

fn read_faults(path: &std::path::Path) -> anyhow::Result<Faults> {
    let text = files::read_text(path, CONFIGURATION_FILE).with_context(|| path.display().to_string())?;
    Faults::from_toml(&text).with_context(|| format!("{} cannot be used", path.display()))
}

fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        Ok(_) | Err(_) => Err("a rate is a number, 0 or more".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Simulate {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn without_arguments_it_listens_where_xmpp_does() {
        let args = Simulate::try_parse_from(["simulate"]).unwrap().args;
        assert_eq!((args.listen.to_string().as_str(), args.accounts), ("127.0.0.1:5222", 3));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for bad in [["--accounts", "0"], ["--calls-per-minute", "-1"], ["--calls-per-minute", "NaN"], ["--listen", "x"]]
        {
            let line = [format!("{}={}", bad[0], bad[1])];
            let line = std::iter::once("simulate".to_owned()).chain(line);
            assert!(Simulate::try_parse_from(line).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn its_help_has_an_example() {
        let help = Simulate::command().render_help().to_string();
        assert!(help.contains("onsip-router simulate --accounts 5"), "{help}");
    }

    #[test]
    fn the_example_of_faults_is_one_and_shows_every_key() {
        Faults::from_toml(FAULTS).unwrap();
        let refused = Faults::from_toml("no_such_key = 1").unwrap_err().to_string();
        let (_, known) = refused.split_once("expected one of").unwrap();
        let keys: Vec<_> = known.split('`').skip(1).step_by(2).collect();
        assert!(keys.len() > 30 && keys.contains(&"cut_every"), "{refused}");
        for key in keys {
            let shown = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} = "));
            assert!(FAULTS.lines().any(shown), "{key} is not shown");
        }
        assert!(Simulate::command().render_long_help().to_string().contains("see_other_host_every"));
    }

    #[test]
    fn a_faults_file_that_cannot_be_used_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "cut_evry = '1s'").unwrap();
        let message = format!("{:#}", read_faults(file.path()).unwrap_err());
        assert!(message.contains("cut_evry") && message.contains(&file.path().display().to_string()), "{message}");
    }
}
