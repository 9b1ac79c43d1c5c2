//! `check`: everything that is wrong with a configuration, where an event would go, and whether the accounts work.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{BAD_CONFIGURATION, ConfigArgs, print, round};
use crate::config::{Config, Sink};
use crate::domain::limits::CONFIGURATION_FILE;
use crate::settings::files;
use crate::settings::problem::{self, Problems};
use crate::sinks;

mod connect;

/// Arguments of `check`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Prints one problem per line, beginning with the key it is about, with the file and line, or the environment variable, it is in.
What keeps nothing from running, and yet may not be meant so, is told too; the exit code stays 0.
With --connect, logs in under a resource of its own, so a running daemon is not disturbed, and changes no subscription.
It also looks at the tables of `postgres` sinks, and writes nothing there.
Exit codes: 0 nothing is wrong, 78 bad configuration, 1 an account or a sink failed, or anything else.

Examples:
  onsip-router check --config /etc/onsip-router
  onsip-router check --config /etc/onsip-router --connect
  tail -n 1 events.jsonl | onsip-router check --config local.toml --event -")]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Also log each enabled account in once, authorize it and list its subscriptions, and look at the tables of sinks
    #[arg(long)]
    pub connect: bool,
    /// Show which sinks the event in this JSON file (- is standard input) would reach, and why
    #[arg(long, value_name = "FILE")]
    pub event: Option<PathBuf>,
}

/// Prints what is wrong; the problems are the result, so they go to standard output.
pub fn run(args: &Args) -> ExitCode {
    let (config, sources) = args.config.load_with_sources();
    let config = match config {
        Ok(config) => config,
        Err(problems) => {
            print(problems);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    for remark in config.warnings.iter().chain(&config.notes) {
        print(remark);
    }
    for problems in [config.destinations(&sources), absent_folders(&config).located(sources.places()).sorted()] {
        if !problems.is_empty() {
            print(problems);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    }
    let shown = match &args.event {
        None => print(summary(&config)),
        Some(path) => match event(path) {
            Ok(event) => print(verdicts(&config, &event)),
            Err(fault) => {
                let place = if path == Path::new("-") { Path::new("standard input") } else { path };
                eprintln!("{}: {fault:#}", place.display());
                ExitCode::FAILURE
            }
        },
    };
    if args.connect && shown == ExitCode::SUCCESS { round::make(connect::connect(&config)) } else { shown }
}

/// Folders that files are to be made in and that are not there. The daemon starts all the same: one may be mounted later, and
/// the other sinks do not need it.
fn absent_folders(config: &Config) -> Problems {
    let mut problems = Problems::default();
    for (name, sink) in &config.sinks {
        if let sinks::Options::File(options) = &sink.options
            && let Some(folder) = options.absent_folder()
        {
            let path = problem::Path::default().join("sinks").join(name.as_str()).join("path");
            problems.add(path, format_args!("the folder {} does not exist", folder.display()));
        }
    }
    problems
}

fn summary(config: &Config) -> String {
    let (accounts, sinks) = (config.accounts.len(), config.sinks.len());
    let enabled = config.accounts.values().filter(|account| account.enabled).count();
    let plural = |n| if n == 1 { "" } else { "s" };
    format!("ok: {accounts} account{} ({enabled} enabled), {sinks} sink{}", plural(accounts), plural(sinks))
}

fn event(path: &Path) -> Result<Value> {
    let text = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().take(CONFIGURATION_FILE).read_to_end(&mut bytes).context("cannot be read")?;
        files::as_text(bytes)?
    } else {
        files::read_text(path, CONFIGURATION_FILE)?
    };
    let event: Value = serde_json::from_str(&text).context("is not one event in JSON")?;
    ensure!(event.get("type").is_some_and(Value::is_string), "is no event: it has no `type`");
    Ok(event)
}

/// One line per sink: whether it would get the event, and why.
fn verdicts(config: &Config, event: &Value) -> String {
    let mut lines = String::new();
    for (name, sink) in &config.sinks {
        let _ = writeln!(lines, "{name}: {}", verdict(sink, event));
    }
    lines.truncate(lines.trim_end().len());
    lines
}

fn verdict(sink: &Sink, event: &Value) -> String {
    match sink.when.as_ref().map(|rule| (rule.text(), rule.matches(event))) {
        None => "yes, it has no `when` and gets every event".to_owned(),
        Some((text, Ok(true))) => format!("yes, `{text}` is true"),
        Some((text, Ok(false))) => format!("no, `{text}` is false"),
        Some((text, Err(fault))) => format!("no, `{text}` has no answer, which counts as false: {fault}"),
    }
}
