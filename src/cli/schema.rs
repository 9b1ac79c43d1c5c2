//! `schema`: the JSON Schema of the configuration or of an event.

use std::process::ExitCode;

use super::print;
use crate::config::Config;
use crate::domain::event::Event;

/// Arguments of `schema`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  onsip-router schema event > event.schema.json")]
pub struct Args {
    /// Of what
    #[arg(value_enum)]
    pub subject: Subject,
}

/// What there is a schema of.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Subject {
    /// The configuration as a whole, after all files and the environment
    Config,
    /// One event as every sink gets it
    Event,
}

/// Prints the schema.
pub fn run(args: &Args) -> ExitCode {
    // Not by way of a Value: a Schema prints its keys in the order people read them.
    let text = match args.subject {
        Subject::Config => serde_json::to_string_pretty(&Config::schema()),
        Subject::Event => serde_json::to_string_pretty(&schemars::schema_for!(Event)),
    };
    match text {
        Ok(text) => print(text),
        Err(_) => ExitCode::FAILURE,
    }
}
