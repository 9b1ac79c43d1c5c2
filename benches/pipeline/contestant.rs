//! Who takes part, and how one is started, spoken to and ended.

use std::process::Stdio;
use std::time::Duration;

use onsip_router::domain::moment::Moment;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::buckets::Buckets;
use super::peer;
use super::router::Router;
use super::script::{self, Missing};
use super::stage::Service;

/// Nothing a contestant is asked for takes longer, or it has failed.
const BOUND: Duration = Duration::from_mins(5);
/// A contestant that has not read everything after this time has lost it.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Everybody who can take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contestant {
    Bytes,
    Client,
    Stream,
    Router,
    Unmatched,
    XmppJs,
    Slixmpp,
}

impl Contestant {
    pub const ALL: [Self; 7] =
        [Self::Bytes, Self::Client, Self::Stream, Self::Router, Self::Unmatched, Self::XmppJs, Self::Slixmpp];

    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Client => "client",
            Self::Stream => "stream",
            Self::Router => "router",
            Self::Unmatched => "unmatched",
            Self::XmppJs => "xmpp.js",
            Self::Slixmpp => "slixmpp",
        }
    }

    /// As the tables call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Bytes => "bytes only (the ceiling)",
            Self::Client => "`tokio_xmpp::Client`",
            Self::Stream => "`XmppStream` loop",
            Self::Router => "**router**, file sink, durable",
            Self::Unmatched => "router, a sink whose rule never matches",
            Self::XmppJs => "xmpp.js",
            Self::Slixmpp => "slixmpp",
        }
    }

    /// So often it is run at most.
    pub fn most_runs(self) -> u32 {
        match self {
            // It takes a minute to begin, and is not what anything is measured against.
            Self::Slixmpp => 1,
            Self::Bytes | Self::Client | Self::Stream | Self::Router | Self::Unmatched | Self::XmppJs => u32::MAX,
        }
    }

    /// With more accounts it is left out.
    pub fn most_accounts(self) -> u32 {
        match self {
            // Each of its clients takes a megabyte, and 50 ms of processor to begin.
            Self::Slixmpp => 1_000,
            Self::Bytes | Self::Client | Self::Stream | Self::Router | Self::Unmatched | Self::XmppJs => u32::MAX,
        }
    }

    /// Whether it can take part here.
    pub async fn prepare(self) -> Result<(), Missing> {
        match self {
            Self::XmppJs => script::prepare_node().await,
            Self::Slixmpp => script::prepare_python().await,
            Self::Bytes | Self::Client | Self::Stream | Self::Router | Self::Unmatched => Ok(()),
        }
    }

    /// Starts it against a service.
    pub async fn start(self, service: &Service) -> Running {
        let command = match self {
            Self::Router => return Running::Router(Box::new(Router::start(service, true).await)),
            Self::Unmatched => return Running::Router(Box::new(Router::start(service, false).await)),
            Self::Bytes | Self::Client | Self::Stream => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args([peer::HIDDEN, self.name()]);
                command
            }
            Self::XmppJs => script::node(),
            Self::Slixmpp => script::python(),
        };
        Running::Peer(Box::new(Peer::start(command, service)))
    }
}

/// What a contestant says of a number of events.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Account {
    pub events: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    /// When each event was there, UTC in microseconds; 0 for what never came, and nothing if nobody asked.
    pub at: Vec<f64>,
}

/// What is about to come.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub first: u64,
    pub legs: u64,
    pub bytes: u64,
    pub timed: bool,
}

/// A contestant's process. Dropping it kills it.
pub enum Running {
    Peer(Box<Peer>),
    Router(Box<Router>),
}

impl Running {
    pub fn pid(&self) -> u32 {
        match self {
            Self::Peer(peer) => peer.child.id().unwrap(),
            Self::Router(router) => router.pid(),
        }
    }

    /// Waits until it says that every account gets its events.
    pub async fn until_subscribed(&mut self) {
        match self {
            Self::Peer(peer) => assert_eq!(peer.line(BOUND).await.as_deref(), Some("subscribed")),
            Self::Router(router) => router.until_subscribed().await,
        }
    }

    /// Tells it what comes.
    pub async fn expect(&mut self, expected: Expected) {
        match self {
            Self::Peer(peer) => peer.expect(expected).await,
            Self::Router(router) => router.expect(expected).await,
        }
    }

    /// Waits until everything has come; when that was, and what it counted.
    pub async fn until_finished(&mut self) -> (Moment, Account) {
        match self {
            Self::Peer(peer) => peer.until_finished().await,
            Self::Router(router) => router.until_finished().await,
        }
    }

    /// What the router says itself of how long events took.
    pub async fn deliveries(&self) -> Option<Buckets> {
        match self {
            Self::Peer(_) => None,
            Self::Router(router) => Some(router.deliveries().await),
        }
    }

    pub async fn end(self) {
        match self {
            Self::Peer(peer) => {
                let Peer { mut child, input, .. } = *peer;
                drop(input);
                let _ = tokio::time::timeout(Duration::from_secs(2), child.wait()).await;
                let _ = child.kill().await;
            }
            Self::Router(router) => router.end().await,
        }
    }
}

/// A contestant that is spoken to by lines.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(mut command: Command, service: &Service) -> Self {
        command
            .args([&service.address().to_string(), service.services_domain(), &service.accounts.len().to_string()])
            .arg(if service.certificate.is_some() { "starttls" } else { "off" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(certificate) = &service.certificate {
            command.env("SSL_CERT_FILE", certificate).env("NODE_EXTRA_CA_CERTS", certificate);
        }
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines() }
    }

    async fn line(&mut self, bound: Duration) -> Option<String> {
        tokio::time::timeout(bound, self.output.next_line()).await.ok()?.ok()?
    }

    async fn say(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).await.unwrap();
        self.input.flush().await.unwrap();
    }

    async fn expect(&mut self, Expected { first, legs, bytes, timed }: Expected) {
        self.say(&format!("expect {first} {legs} {bytes} {}\n", u8::from(timed))).await;
        assert_eq!(self.line(BOUND).await.as_deref(), Some("expecting"));
    }

    async fn until_finished(&mut self) -> (Moment, Account) {
        let mut line = self.line(PATIENCE).await;
        let end = Moment::now();
        if line.is_none() {
            self.say("report\n").await;
            line = self.line(BOUND).await;
        }
        (end, serde_json::from_str(&line.unwrap()).unwrap())
    }
}
