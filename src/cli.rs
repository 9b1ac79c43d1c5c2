//! The command line: one file per command.
//!
//! A command reads its arguments, does its work and says how it ended. Must not decide anything a daemon would.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::domain::printable;
use crate::settings::problem::Problems;
use crate::settings::sources::Sources;

pub mod check;
mod daemon;
pub mod demo;
mod line;
mod log;
mod open_files;
pub mod queue;
mod round;
pub mod run;
pub mod schema;
pub mod simulate;
pub mod status;
pub mod subscriptions;
mod table;
pub mod tail;
mod visit;

/// The version, and the commit it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ONSIP_ROUTER_COMMIT"), ")");

/// The exit code of a configuration with problems (`EX_CONFIG` of sysexits.h).
pub const BAD_CONFIGURATION: u8 = 78;

/// Routes the call events of many `OnSIP` accounts from XMPP `PubSub` to sinks, durably.
#[derive(Debug, Parser)]
#[command(name = "onsip-router", version = VERSION, about = ABOUT, after_help = EXAMPLES, long_about = None)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

const ABOUT: &str = "Routes the call events of many OnSIP accounts from XMPP PubSub to sinks, durably";

const EXAMPLES: &str = "\
Examples:
  onsip-router demo                                  see it work, with nothing set up
  onsip-router check --config /etc/onsip-router      find what is wrong with a configuration
  onsip-router run --config /etc/onsip-router        run the daemon";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(run::Args),
    /// Validate the configuration and print all problems
    Check(check::Args),
    /// Show a whole working system on this machine, with nothing set up
    Demo(demo::Args),
    /// Run only the simulated OnSIP, and print a configuration for it
    Simulate(simulate::Args),
    /// Compare the subscriptions at the services with the ledger, and remove own surplus
    Subscriptions(subscriptions::Args),
    /// Show, retry and purge what sinks are owed and their dead letters, and check the database
    Queue(queue::Args),
    /// Show the events of a running daemon as they come
    Tail(tail::Args),
    /// Show how a running daemon is
    Status(status::Args),
    /// Print a JSON Schema
    Schema(schema::Args),
}

impl Cli {
    /// Carries the command out.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(args) => run::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Demo(args) => demo::run(&args),
            Command::Simulate(args) => simulate::run(args),
            Command::Subscriptions(args) => subscriptions::run(&args),
            Command::Queue(args) => queue::run(&args),
            Command::Tail(args) => tail::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Schema(args) => schema::run(&args),
        }
    }
}

/// Where the configuration is; of every command that reads it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file, or folder of *.toml; may be repeated, later ones win
    ///
    /// Without it ./config/local.toml is read, if it is there. Environment variables `ONSIP_ROUTER__SECTION__KEY` win over
    /// every file.
    #[arg(long = "config", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

impl ConfigArgs {
    /// Reads the configuration with the environment of this process.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Config, Problems> {
        self.load_with_sources().0
    }

    /// Reads the configuration to run it here: what it would destroy is wrong with it, too. Says besides which files it
    /// came from.
    fn load_to_run(&self) -> (Result<Config, Problems>, Sources) {
        let (config, sources) = self.load_with_sources();
        let config = config.and_then(|config| {
            let problems = config.destinations(&sources);
            if problems.is_empty() { Ok(config) } else { Err(problems) }
        });
        (config, sources)
    }

    /// The same, and the files it came from.
    fn load_with_sources(&self) -> (Result<Config, Problems>, Sources) {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Config::load_with_sources(&self.paths, std::env::vars_os().filter_map(text))
    }
}

/// JSON as it is printed: on a terminal nothing in it steers the terminal or deceives the eye, in a pipe nothing steers.
fn printable_json(json: &str) -> std::borrow::Cow<'_, str> {
    if io::stdout().is_terminal() { printable::on_terminal(json) } else { printable::in_pipe(json) }
}

/// Prints the result of a command, in colour only where that is wanted. A reader that has seen enough (`| head`) is no fault.
fn print(text: impl Display) -> ExitCode {
    match writeln!(anstream::stdout().lock(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) if fault.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("onsip-router: cannot write: {fault}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("onsip-router {}", command.get_name())), "{}", command.get_name());
        }
    }
}
