//! `tail`: the events of a running daemon as they come.
//!
//! A lost connection is made again, and what was lost with it is said. Must not know what an event says.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::Response;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::signal::unix::{SignalKind, signal};

use super::daemon::{Daemon, DaemonArgs, NoAnswer};
use super::round::block_on;
use super::{line, printable_json};
use stream::{Said, Stream};

mod stream;

/// Between two tries to connect again: at first, and at last.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Arguments of `tail`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
On a terminal each event is a line for people, else one of JSON. A lost connection is made again; what that loses, and
what comes faster than it can be shown, is said on standard error. A token is in --token-file, in
ONSIP_ROUTER_TOKEN, or in the configuration.
Exit codes: 0 once stopped, or once nobody reads any more; 1 if there is no daemon, or it refuses.

Examples:
  onsip-router tail --account front-desk --type call
  onsip-router tail --url https://router.example.com --token-file token | jq .data")]
pub struct Args {
    /// Which daemon.
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Only events of this account; may be repeated
    #[arg(long = "account", value_name = "A")]
    accounts: Vec<String>,
    /// Only events of this type, such as call.ended, or call for every type that begins so; may be repeated
    #[arg(long = "type", value_name = "T")]
    types: Vec<String>,
    /// JSON on a terminal, too
    #[arg(long)]
    json: bool,
}

/// Shows events until it is stopped.
pub fn run(args: &Args) -> ExitCode {
    match block_on(follow(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("onsip-router: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

async fn follow(args: &Args) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let daemon = args.daemon.daemon()?;
    let mut tail = Tail { daemon, args, readable: !args.json && io::stdout().is_terminal(), newest: None };
    tokio::select! {
        outcome = tail.run() => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

struct Tail<'a> {
    daemon: Daemon,
    args: &'a Args,
    readable: bool,
    /// The id of the newest event: a daemon that still knows what came after it goes on from there.
    newest: Option<String>,
}

impl Tail<'_> {
    async fn run(&mut self) -> Result<()> {
        let mut answer = self.connect().await?;
        loop {
            let why = match self.show(answer).await? {
                ControlFlow::Break(()) => return Ok(()),
                ControlFlow::Continue(why) => why,
            };
            eprintln!("onsip-router: {why}; trying again");
            answer = self.connect_again().await?;
            eprintln!("onsip-router: connected again; events in between may be missing here");
        }
    }

    async fn connect(&self) -> Result<Response, NoAnswer> {
        let (accounts, types) = (self.args.accounts.join(","), self.args.types.join(","));
        let query: Vec<_> = [("account", accounts.as_str()), ("type", types.as_str())]
            .into_iter()
            .filter(|(_, wish)| !wish.is_empty())
            .collect();
        let newest = self.newest.as_deref().and_then(|id| HeaderValue::from_str(id).ok());
        let newest = newest.map(|id| (HeaderName::from_static("last-event-id"), id));
        self.daemon.get("/api/v1/events", &query, newest).await
    }

    /// Tries until there is a connection, ever more seldom; a refusal is the end.
    async fn connect_again(&self) -> Result<Response, NoAnswer> {
        let (mut pause, longest) = PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            match self.connect().await {
                Err(NoAnswer::Away(why)) => {
                    pause = (pause * 2).min(longest);
                    eprintln!("onsip-router: {why}; trying again in {} s", pause.as_secs());
                }
                outcome => return outcome,
            }
        }
    }

    /// Shows what comes until the stream ends, which is said, or nobody reads any more.
    async fn show(&mut self, mut answer: Response) -> Result<ControlFlow<(), String>> {
        let mut stream = Stream::default();
        loop {
            let chunk = match answer.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(ControlFlow::Continue(format!("{} ended the stream", self.daemon.place()))),
                Err(fault) => return Ok(ControlFlow::Continue(self.daemon.away(&fault).to_string())),
            };
            for said in stream.read(&chunk) {
                match said {
                    Said::Event { id, data } => {
                        if let Err(fault) = self.write(&data) {
                            return match fault.kind() {
                                io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
                                _ => Err(fault).context("cannot write to standard output"),
                            };
                        }
                        self.newest = id.or(self.newest.take());
                    }
                    Said::Lost(n) => eprintln!("onsip-router: {n} events came too fast and are not shown"),
                }
            }
        }
    }

    fn write(&self, data: &str) -> io::Result<()> {
        if !self.readable {
            return writeln!(io::stdout().lock(), "{}", printable_json(data));
        }
        let event = serde_json::from_str(data).unwrap_or_default();
        writeln!(anstream::stdout().lock(), "{}", line::readable(&event))
    }
}
