//! `onsip-router`: gets the call events of many OnSIP accounts out of XMPP PubSub and into sinks, once each, durably.
//!
//! A pure core decides, thin actors carry out, one durable queue stands in the middle, sinks are at the edge.
//!
//! # The way of one event
//!
//! `xmpp/stream` finds the elements in the bytes as they lie in the read buffer, and shows the tags of a message to
//! [`protocol::notification`], which reads it without a tree → [`xmpp::session`] hands over what arrived at once →
//! [`actors::connection`] → mailbox → [`actors::router`] has [`protocol::admission`] check sender and resource, [`protocol::legs`] make events
//! with stable ids, and [`routing`] say which sinks get them, and writes all that in one commit of [`store`] → wake →
//! [`actors::sink`] takes what is due, hands it to its sink in [`sinks`], and settles what was acknowledged; [`retry`]
//! says when to try again. The only thing that travels back is back-pressure: an account is not read on before its
//! batch is on the disk.
//!
//! # The way of one subscription
//!
//! A timer, an answer or a message → [`actors::subscription`] → [`protocol::subscription`] decides → the connection
//! sends the request that [`protocol::stanza`] writes → [`protocol::requests`] finds whom the answer belongs to → back.
//! What must survive a restart goes to the ledger in [`store`]. A rebuilt actor starts from configuration and ledger.
//!
//! # Where to change what
//!
//! | to change | look in |
//! |---|---|
//! | what is said to the service, and how its answers are read | [`protocol::stanza`] |
//! | when to connect again, after which failure | [`protocol::link`] |
//! | whose turn it is to log in | [`protocol::logins`] |
//! | the limits on what comes from outside | [`domain::limits`] |
//! | what is acknowledged, and what a lost session is resumed with | [`protocol::acknowledgement`] |
//! | the hourly authorization | [`protocol::authorization`]; by whose clock it ends: [`protocol::clock`] |
//! | listing, reuse, approval, renewal of subscriptions | [`protocol::subscription`]; its error table in `subscription/verdict.rs` |
//! | which of our own subscriptions is one too many | [`protocol::surplus`] |
//! | which messages are believed | [`protocol::admission`] |
//! | what counts as a gap or as blind, and the gap's event | [`protocol::coverage`] |
//! | which legs a gap or old age has ended | [`protocol::resync`], `protocol/legs/rest.rs` and `ageing.rs` |
//! | whose word counts about a leg | `protocol/legs/foreign.rs` |
//! | ids, order and content of events | [`protocol::legs`], [`domain::event`] |
//! | a setting | the `KEYS` table beside the options it belongs to, e.g. [`xmpp::options`] |
//! | in which file and line a problem is said to be | [`settings::places`] |
//! | when a changed file is noticed, and when it counts | [`settings::watch`], [`settings::sources`] |
//! | TCP, TLS, log-in | [`xmpp`] |
//! | XML, what of it is refused, and how much of it is kept | `xmpp/stream/` |
//! | which message says what | [`protocol::notification`] |
//! | tables, pruning | [`store`] and `migrations/` |
//! | what is kept beside the event log: ledger, coverage, checkpoint, dead letters, commands | [`state`] and `migrations/state/` |
//! | how the state is opened, and why it is refused | `state/opening.rs`, `state/refusal.rs` |
//! | what a crash leaves of the state | `state/journal.rs`, `state/stamp.rs` |
//! | how much of anything may come from outside | [`domain::limits`] |
//! | what goes into one commit of all that waits | `actors/router/rounds.rs`; what a refused or failed one does: `router.rs` |
//! | by which time things grow old in the store | `store/time.rs`, [`domain::moment::SteadyTime`] |
//! | what one commit writes, and what it decides from memory | `store/transaction.rs`; `window.rs`, `memory.rs` |
//! | how legs and ids get from the journal into their tables | `store/journal.rs`, `posting.rs` |
//! | how it is known without a look that something is new | `store/sieve.rs`; `recall.rs` fills it |
//! | what is measured, and beside whom | `benches/` |
//! | what an operator sees and does of the queue | `cli/queue.rs`; `store/inspection.rs`, `faults.rs` and `repair.rs` |
//! | how it is noticed that the database was removed or moved away | `store/presence.rs` |
//! | which paths would destroy what the router needs, or can hold no file | `config/destinations.rs`, [`settings::target`] |
//! | where events go | a file in [`sinks`] and two lines in `sinks.rs` |
//! | what a topic, subject or key of a sink is made of | `sinks/template.rs` |
//! | what of a peer's words is shown, and what is kept out of them | `sinks/excerpt.rs`, `sinks/censor.rs`; how escapes are undone: `sinks/censor/view.rs` |
//! | when held calls are tried again, and what is told once a sink has caught up | [`retry::flow`], [`retry::catching_up`] |
//! | what is told of sinks no longer configured, and of what operators do to the queue | `actors/oversight.rs` |
//! | how a sink keeps its connection, and when it gives it up | `sinks/link.rs` |
//! | how much and how fast a sink's peer may send | `sinks/throttle.rs`; how that gets below a library that connects by itself: `sinks/relay.rs` |
//! | when a webhook's answer says 2xx, whatever else is in it | `sinks/webhook/wire.rs` |
//! | the router's own events that try a sink out | [`domain::canary`], `actors/sink/canary.rs` |
//! | trusted certificates, and the names in them | [`tls`] |
//! | which addresses of a name are tried, and which a server may send us to | [`dial`] |
//! | rules | [`routing::rule`]; what is refused of them: `routing/rule/meaning.rs` |
//! | which names, types and constants a rule or a template may speak of | [`domain::event`]; how they are read off it: [`routing::schema`] |
//! | a metric | the table in [`metrics::table`] |
//! | a board, an alert, the runbook | `tests/dashboards/` (boards), `dashboards/` (the rest) |
//! | what is logged and counted of a transition | `actors/chronicle.rs` |
//! | how a log line looks, which repeats are held back, and which libraries are not heard | `cli/log.rs` |
//! | what is told of one event on its way | `actors/trail.rs`; how it becomes a trace: [`otel`] |
//! | health, who may ask for what | [`http::health`], [`http::access`] |
//! | the API and its description | [`http::api`], `http/api/openapi.json` |
//! | the live feed | [`feed`]; as server-sent events: [`http::events`] |
//! | the status page | [`http::page`]; its markup, style and script in `http/page/` |
//! | what starts and stops, and in which order | [`app`], [`actors::fleet`] |
//! | a command | a file in [`cli`]; how one reaches a running daemon: `cli/daemon.rs` |
//! | the simulated service | [`simulator`] |
//!
//! # Who may know whom
//!
//! Imports run one way, and `tests/imports.rs` holds the code to it: `main` → `cli` → `app` → `actors` → `config` →
//! {`xmpp`, `store`, `sinks`, `http`} → {`metrics`, `otel`} → {`board`, `feed`} → {`log`, `state`} → {`protocol`, `routing`, `retry`, `tls`,
//! `dial`, `disk`} → `settings` → `domain`.
//! `simulator` knows only `domain` and is known only to `cli` and the tests. Only [`domain::moment`] reads a clock.

pub mod actors;
pub mod app;
pub mod board;
pub mod cli;
pub mod config;
pub mod dial;
pub mod disk;
pub mod domain;
pub mod feed;
pub mod http;
pub mod log;
pub mod metrics;
pub mod otel;
pub mod protocol;
pub mod retry;
pub mod routing;
#[cfg(test)]
#[path = "../tests/support/seed.rs"]
mod seed;
pub mod settings;
pub mod simulator;
pub mod sinks;
pub mod state;
pub mod store;
pub mod tls;
pub mod xmpp;
