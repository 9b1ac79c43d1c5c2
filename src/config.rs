//! The configuration: settings as written, validated into [`Config`].
//!
//! Every problem is found at once and names its key. Each section's keys and reading stand beside its options.
//! Must not know actors or do any network.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::BareJid;
use crate::domain::name::{AccountName, NodeName, SinkName};
use crate::domain::secret::Secret;
use crate::domain::service::Service;
use crate::protocol::legs::Ages;
use crate::routing::rule::Rule;
use crate::settings::problem::Problem;
use crate::{http, metrics, otel, sinks, store, xmpp};

mod account;
mod address;
mod delivery;
mod destinations;
mod load;
mod log;
mod onsip;

/// A configuration without a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Default resource of every account; unique per router process.
    pub instance: String,
    /// Whether changed files are taken over without a SIGHUP.
    pub watch_config: bool,
    /// How to reach the server.
    pub xmpp: xmpp::options::Options,
    /// What is particular to the service.
    pub onsip: Onsip,
    /// Accounts by name.
    pub accounts: BTreeMap<AccountName, Account>,
    /// Where the state lives.
    pub store: store::options::Options,
    /// Sinks by name.
    pub sinks: BTreeMap<SinkName, Sink>,
    /// Where the daemon listens.
    pub http: http::options::Options,
    /// Which series are exported.
    pub metrics: metrics::options::Options,
    /// What is logged, and how.
    pub log: Log,
    /// Where traces go.
    pub otel: otel::options::Options,
    /// What an operator should put right, and yet keeps nothing from running.
    pub warnings: Vec<Problem>,
    /// Warnings: each may well be meant so and is worth a second look. `check` and `run` tell them.
    pub notes: Vec<Problem>,
}

/// The `[onsip]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onsip {
    /// Domain below which the services are found.
    pub services_domain: String,
    /// The JID of the authorization component, `commands.auth.<services_domain>`.
    pub auth: BareJid,
    /// Whether to run `authorize-plain`.
    pub authorize: bool,
    /// Lease asked for with a new or renewed subscription.
    pub subscription_lease: Duration,
    /// How long to wait for `subscribed` or `none` after `pending`.
    pub approval_timeout: Duration,
    /// Whether to ask what is there once events can arrive again.
    pub resync: bool,
    /// How long a leg may go without a sign of life.
    pub stale: Ages,
    /// How often an active subscription is looked up at the service, at the latest.
    pub probe_interval: Duration,
    /// Whether a clean stop, or the removal of an account, removes its subscriptions at the service.
    pub unsubscribe_on_stop: bool,
}

/// One `[accounts.NAME]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Bare JID to log in as; always has a local part.
    pub jid: BareJid,
    /// Password of the log-in and of `authorize-plain`.
    pub password: Secret,
    /// Resource to bind.
    pub resource: String,
    /// SIP address to authorize.
    pub sip_address: String,
    /// Whether to authorize all addresses of the same owner.
    pub auth_for_all: bool,
    /// Whether the account runs at all.
    pub enabled: bool,
    /// Nodes to subscribe to, by service; no service twice, no node twice.
    pub subscribe: Vec<(Service, Vec<NodeName>)>,
}

/// One `[sinks.NAME]` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// Kind and options.
    pub options: sinks::Options,
    /// How it is delivered to.
    pub delivery: Delivery,
    /// Which events it gets; absent: every event.
    pub when: Option<Rule>,
}

/// How a sink is delivered to: the part of a `[sinks.NAME]` section that all kinds have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How long one delivery may take.
    pub timeout: Duration,
    /// How many bytes of events may wait.
    pub max_queue: u64,
    /// How long an event may wait.
    pub max_age: Duration,
    /// What happens beyond `max_queue`.
    pub when_full: WhenFull,
    /// Events per second from a backlog; 0: without a limit.
    pub backlog_rate: u32,
    /// How often a canary is sent to it, if at all.
    pub canary: Option<Duration>,
}

/// What happens when a queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest events are dropped.
    DropOldest,
    /// Receiving stops until there is room.
    Block,
}

/// The `[log]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: tracing::Level,
    /// For how long what was said is not said again about the same thing; zero: every line is written.
    pub repeat_after: Duration,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
