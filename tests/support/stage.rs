//! The simulated service and a configuration for it: what every scenario begins with.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use onsip_router::domain::{BareJid, FullJid};
use onsip_router::simulator::{Observed, Options, Request, Simulator};
use onsip_router::store::{self, Store};
use serde_json::Value;

use super::condition::SOON;
use super::daemon::Daemon;

/// The password of every account that is given no other.
pub const PASSWORD: &str = "open sesame";
/// The resource of every account.
pub const RESOURCE: &str = "onsip-router";
/// The file of the sink every configuration has.
pub const EVENTS: &str = "events.jsonl";
/// Somebody who calls.
pub const CALLER: &str = "sip:+12125550111@carrier.test";
/// The service of calls, as its messages name it.
pub const CALLS: &str = "pubsub.active-calls.xmpp.onsip.test";
/// Its short name, as a label.
pub const SERVICE: (&str, &str) = ("service", "active-calls");

/// A configuration under construction. Every section can get further lines.
#[derive(Clone, Debug)]
pub struct Setup {
    xmpp: String,
    onsip: String,
    accounts: Vec<(String, String)>,
    sinks: String,
    rest: String,
    watched: bool,
}

impl Setup {
    /// For the service at a port of this machine, without accounts; events go to [`EVENTS`].
    pub fn at(port: u16) -> Self {
        Self {
            xmpp: format!("host = \"127.0.0.1\"\nport = {port}\n"),
            onsip: "services_domain = \"xmpp.onsip.test\"\n".to_owned(),
            accounts: Vec::new(),
            sinks: format!("[sinks.log]\ntype = \"file\"\npath = \"{EVENTS}\"\n"),
            rest: "[store]\nurl = \"sqlite://state.db\"\nkeep_bytes = \"8MiB\"\n[http]\nlisten = \"127.0.0.1:0\"\n"
                .to_owned(),
            watched: false,
        }
    }

    /// For `onsip`.
    pub fn of(onsip: &Simulator) -> Self {
        Self::at(onsip.addr().port())
    }

    /// Further lines of `[xmpp]`; without `tls` among them there is none.
    #[must_use]
    pub fn xmpp(mut self, lines: &str) -> Self {
        let _ = writeln!(self.xmpp, "{lines}");
        self
    }

    /// Changes of the file are taken over; otherwise only [`Self::reload`] does that, so that reloads can be counted.
    #[must_use]
    pub fn watched(mut self) -> Self {
        self.watched = true;
        self
    }

    /// Further lines of `[onsip]`.
    #[must_use]
    pub fn onsip(mut self, lines: &str) -> Self {
        let _ = writeln!(self.onsip, "{lines}");
        self
    }

    /// An account with the usual password.
    #[must_use]
    pub fn account(self, name: &str, jid: &BareJid) -> Self {
        self.account_with(name, jid, &format!("password = \"{PASSWORD}\""))
    }

    /// An account with these lines besides its `jid`.
    #[must_use]
    pub fn account_with(mut self, name: &str, jid: &BareJid, lines: &str) -> Self {
        self.accounts.push((name.to_owned(), format!("jid = \"{jid}\"\n{lines}\n")));
        self
    }

    /// The same without one of its accounts.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.accounts.retain(|(known, _)| known != name);
        self
    }

    /// A further sink.
    #[must_use]
    pub fn sink(mut self, name: &str, lines: &str) -> Self {
        let _ = writeln!(self.sinks, "[sinks.{name}]\n{lines}");
        self
    }

    /// No sinks but those added from here on.
    #[must_use]
    pub fn no_sinks(mut self) -> Self {
        self.sinks.clear();
        self
    }

    /// Any other sections; `[store]` and `[http]` stand already.
    #[must_use]
    pub fn section(mut self, lines: &str) -> Self {
        let _ = writeln!(self.rest, "{lines}");
        self
    }

    /// The database and the listener, in place of the usual ones.
    #[must_use]
    pub fn store_and_http(mut self, store: &str, listen: &str) -> Self {
        self.rest = format!("[store]\nurl = \"{store}\"\nkeep_bytes = \"8MiB\"\n[http]\nlisten = \"{listen}\"\n");
        self
    }

    /// A log of small segments, for a small disk; after [`Setup::store_and_http`].
    #[must_use]
    pub fn small_segments(mut self) -> Self {
        self.rest = self.rest.replacen("8MiB", "4MiB", 1);
        self
    }

    /// The file.
    pub fn toml(&self) -> String {
        let tls = if self.xmpp.contains("tls =") { "" } else { "tls = \"off\"\n" };
        let mut text = format!("instance = \"{RESOURCE}\"\nwatch_config = {}\n", self.watched);
        // The first probe comes at some moment within the interval; a test that counts requests must not meet it by chance.
        let probe = if self.onsip.contains("probe_interval") { "" } else { "probe_interval = \"365d\"\n" };
        let _ = write!(text, "[xmpp]\n{}{tls}[onsip]\n{probe}{}", self.xmpp, self.onsip);
        for (name, lines) in &self.accounts {
            let _ = write!(text, "[accounts.{name}]\n{lines}");
        }
        text + &self.sinks + &self.rest
    }

    /// A daemon with it that has said where it listens.
    pub async fn start(&self) -> Daemon {
        Daemon::start(&self.toml(), &[]).await
    }

    /// A daemon with it whose subscriptions, `count` of them, are active.
    pub async fn start_active(&self, count: usize) -> Daemon {
        let daemon = self.start().await;
        daemon.until_active(count).await;
        daemon
    }

    /// Takes it as the configuration of a running daemon, and has it read.
    pub async fn reload(&self, daemon: &Daemon) {
        daemon.rewrite_config(&self.toml());
        daemon.reload().await;
    }
}

/// The service with its usual options.
pub async fn service() -> Simulator {
    Simulator::start(Options::default()).await.expect("the simulated service starts")
}

/// The service with one account, and the account.
pub async fn service_with_anna() -> (Simulator, BareJid) {
    let onsip = service().await;
    let anna = account(&onsip, "anna@acme.test");
    (onsip, anna)
}

/// Another account, with the usual password.
pub fn account(onsip: &Simulator, jid: &str) -> BareJid {
    onsip.account(jid, PASSWORD).expect("a bare JID")
}

/// The service with one account, and a daemon that has subscribed as it.
pub async fn running() -> (Simulator, BareJid, Daemon) {
    let (onsip, anna) = service_with_anna().await;
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    (onsip, anna, daemon)
}

/// The collection an account subscribes to unless told otherwise.
pub fn node(jid: &BareJid) -> String {
    format!("/me/{jid}")
}

/// The leaf of an address that equals a JID.
pub fn leaf(jid: &BareJid) -> String {
    format!("/{}/{}", jid.domain(), jid.node().expect("a local part"))
}

/// The full JID the router binds for an account.
pub fn own(jid: &BareJid) -> FullJid {
    jid.with_resource_str(RESOURCE).expect("a resource")
}

/// An event as the service would send it: an item with this payload on the leaf of `jid`.
pub fn item(from: &str, to: &str, jid: &BareJid, id: &str, payload: &str) -> String {
    format!(
        "<message xmlns='jabber:client' from='{from}' to='{to}'><event xmlns='http://jabber.org/protocol/pubsub#event'>\
         <items node='{}'><item id='{id}'>{payload}</item></items></event></message>",
        leaf(jid)
    )
}

/// The payload of a call that rings.
pub fn ringing(call_id: &str) -> String {
    format!(
        "<active-call xmlns='onsip:active-calls'><dialog-state>requested</dialog-state><call-id>{call_id}</call-id>\
         <from-uri>{CALLER}</from-uri><to-uri>sip:anna@acme.test</to-uri><from-tag>f</from-tag></active-call>"
    )
}

/// The ids the service knows for an account's subscriptions, of whatever resource and state.
pub fn subids(onsip: &Simulator, jid: &BareJid) -> Vec<String> {
    onsip.subscriptions(jid, &node(jid)).into_iter().map(|entry| entry.subid).collect()
}

/// Waits at the service; the failure text carries what it saw and the end of the daemon's log.
pub async fn until_observed(
    onsip: &Simulator,
    daemon: &Daemon,
    what: &str,
    within: Duration,
    wish: impl Fn(&Observed) -> bool,
) {
    if !onsip.until(within, |board| wish(board.observed())).await {
        daemon.fail(&format!("waited {within:?} in vain for {what}; the service saw {:?}", onsip.observed()));
    }
}

/// How often the service was asked for something by an account.
pub fn asked(onsip: &Simulator, jid: &BareJid, request: Request) -> u64 {
    onsip.observed().count(jid, request)
}

/// The texts under `key`, one per event.
pub fn texts<'a>(events: &'a [Value], key: &str) -> Vec<&'a str> {
    events.iter().map(|event| event[key].as_str().unwrap_or_else(|| panic!("no {key} in {event}"))).collect()
}

/// What an event tells of: the same for two only if one of them is told twice.
pub fn what_happened(event: &Value) -> [String; 4] {
    let data = &event["data"];
    if event["type"] == "com.onsip.gap" {
        return ["account", "from", "to", "reason"].map(|key| data[key].to_string());
    }
    ["node", "item_id", "dialog_state", "published_at"].map(|key| data[key].to_string())
}

/// Each event once: a sink may get again what it had taken just before a crash.
pub fn once(events: Vec<Value>) -> Vec<Value> {
    let mut known = BTreeSet::new();
    events.into_iter().filter(|event| known.insert(event["id"].to_string())).collect()
}

/// The gaps among `events`.
pub fn gaps(events: Vec<Value>) -> Vec<Value> {
    events.into_iter().filter(|event| event["type"] == "com.onsip.gap").collect()
}

/// The call events among `events`.
pub fn calls(events: Vec<Value>) -> Vec<Value> {
    let is_call = |event: &Value| event["type"].as_str().is_some_and(|name| name.starts_with("com.onsip.call."));
    events.into_iter().filter(is_call).collect()
}

impl Daemon {
    /// Waits until exactly `count` subscriptions are active, and no more are being made.
    pub async fn until_active(&self, count: usize) {
        self.until_subscriptions("active", count).await;
    }

    /// Waits until exactly `count` subscriptions are in `state`.
    pub async fn until_subscriptions(&self, state: &str, count: usize) {
        self.until_gauge("subscriptions", &[SERVICE, ("state", state)], count).await;
    }

    /// Waits until exactly `count` accounts are in `state`.
    pub async fn until_accounts(&self, state: &str, count: usize) {
        self.until_gauge("accounts", &[("state", state)], count).await;
    }

    async fn until_gauge(&self, name: &str, labels: &[(&str, &str)], count: usize) {
        let wanted = f64::from(u32::try_from(count).expect("a small number"));
        self.until_metric(name, labels, SOON, |value| (value - wanted).abs() < 0.5).await;
    }

    /// A counter, as the whole number it is.
    pub async fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let value = self.metric(name, labels).await;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole")]
        let whole = value as u64;
        whole
    }

    /// Waits until a counter has reached `least`.
    pub async fn until_count(&self, name: &str, labels: &[(&str, &str)], least: u64) {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let least = least as f64;
        self.until_metric(name, labels, SOON, |value| value >= least).await;
    }

    /// Waits until a counter has reached `count`, and checks that it has not gone further. What counts something may come
    /// a moment after what it is seen by.
    pub async fn until_exactly(&self, name: &str, labels: &[(&str, &str)], count: u64) {
        self.until_count(name, labels, count).await;
        assert_eq!(self.count(name, labels).await, count, "{name}{labels:?}");
    }

    /// Waits until what was delivered is known to be: a crash before that has it delivered again.
    pub async fn until_settled(&self) {
        self.until_nothing_owed(None).await;
        self.until_metric("sink_queue_events", &[], SOON, |queued| queued < 0.5).await;
    }

    /// The same for one sink.
    pub async fn until_settled_for(&self, sink: &str) {
        self.until_nothing_owed(Some(sink)).await;
        self.until_metric("sink_queue_events", &[("sink", sink)], SOON, |queued| queued < 0.5).await;
    }

    /// By the store, for the gauge may be a tenth of a second old. `sink`: one, or all.
    async fn until_nothing_owed(&self, sink: Option<&str>) {
        self.until("nothing owed", SOON, async || {
            let store = self.store().await?;
            let mut owed = 0;
            for holding in store.holding().await.ok()? {
                if sink.is_none_or(|sink| holding.as_str() == sink) {
                    owed += store.depth(&holding).await.ok()?.events;
                }
            }
            store.close().await.ok()?;
            (owed == 0).then_some(())
        })
        .await;
    }

    /// The daemon's store, opened beside it.
    pub async fn store(&self) -> Option<Store> {
        let url = format!("sqlite://{}", self.folder().join("state.db").display());
        Store::beside(&store::options::Options::at(url)).await.ok()
    }

    /// Waits until the file holds at least `count` call events, and returns those it holds.
    pub async fn until_calls(&self, count: usize) -> Vec<Value> {
        self.until(&format!("{count} call events in {EVENTS}"), SOON, async || {
            Some(calls(self.events(EVENTS))).filter(|events| events.len() >= count)
        })
        .await
    }
}
