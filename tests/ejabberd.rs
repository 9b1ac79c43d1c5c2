//! The daemon against a real server: ejabberd, started by `tests/run`.
//!
//! This server has no `authorize-plain`, no subscription options and no cap; what it does have is nodes whose owner
//! decides, which is what the tests here are about.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod ejabberd {
    //! What is particular to this server.
    pub mod owner;
    pub mod server;
}
mod support;

use std::time::Duration;

use jiff::SignedDuration;
use minidom::Element;
use serde_json::Value;
use tokio::time::Instant;
use xmpp_parsers::jid::{BareJid, FullJid};

use ejabberd::owner::{Owner, PUBSUB, State};
use ejabberd::server::{PASSWORD, SERVICE, Server};
use support::condition::SOON;
use support::daemon::Daemon;
use support::program::run_with;
use support::stage::once;
use support::xmpp::{CLIENT, Client};

const RESOURCE: &str = "router";
const EVENTS: &str = "events.jsonl";
const EVENT: &str = "http://jabber.org/protocol/pubsub#event";

/// A refused request may be tried three times in fifteen seconds (interface section 6).
const REFUSAL_REST: Duration = Duration::from_millis(7500);
/// No log-in after a conflict for this long.
const CONFLICT_REST: SignedDuration = SignedDuration::from_secs(10);

/// A node, its owner, and the account the router under test uses.
struct Stage {
    server: Server,
    owner: Owner,
    account: BareJid,
    router: FullJid,
}

impl Stage {
    async fn new(name: &str) -> Self {
        let server = Server::of_this_run();
        let owner = Owner::with_node(&server, name).await;
        let account = server.register(name).await;
        let router = account.with_resource_str(RESOURCE).unwrap();
        Self { server, owner, account, router }
    }

    async fn start(&self) -> Daemon {
        let config = format!(
            r#"
            instance = "{RESOURCE}"
            [xmpp]
            host = "{}"
            port = {}
            tls = "off"
            [onsip]
            services_domain = "localhost"
            authorize = false
            [accounts.front-desk]
            jid = "{}"
            password = {{ env = "FRONT_DESK_PASSWORD" }}
            subscribe.active-calls = ["{}"]
            [store]
            url = "sqlite://state.db"
            [sinks.log]
            type = "file"
            path = "{EVENTS}"
            [http]
            listen = "127.0.0.1:0"
            "#,
            self.server.xmpp.ip(),
            self.server.xmpp.port(),
            self.account,
            self.owner.node(),
        );
        Daemon::start(&config, &[("FRONT_DESK_PASSWORD", PASSWORD)]).await
    }

    /// A daemon whose request was granted, and the id of its subscription.
    async fn start_approved(&mut self) -> (Daemon, String) {
        let daemon = self.start().await;
        let request = self.request(&daemon).await;
        self.owner.answer(&request, true).await;
        until_state(&daemon, "active").await;
        let subid = self.only_subid().await;
        (daemon, subid)
    }

    /// The next request for approval; it is the router's.
    async fn request(&mut self, daemon: &Daemon) -> Element {
        let Some(request) = self.owner.request(SOON).await else { daemon.fail("no request for approval") };
        assert_eq!(Owner::subscriber(&request), self.router.as_str());
        request
    }

    /// The id of the router's subscription, which is the only one of the node.
    async fn only_subid(&mut self) -> String {
        let entries = self.owner.subscriptions().await;
        let [entry] = &entries[..] else { panic!("not one subscription: {entries:?}") };
        assert_eq!((entry.jid.as_str(), entry.state.as_str()), (self.router.as_str(), "subscribed"));
        entry.subid.clone().expect("a subid")
    }
}

/// Waits until the one subscription is in `state`, and in no other.
async fn until_state(daemon: &Daemon, state: &str) {
    daemon
        .until_metric("subscriptions", &[("service", "active-calls"), ("state", state)], SOON, |count| count >= 1.0)
        .await;
}

async fn count(daemon: &Daemon, metric: &str, labels: &[(&str, &str)]) -> i64 {
    let value = daemon.metric(metric, labels).await;
    #[expect(clippy::cast_possible_truncation, reason = "counts are whole")]
    let whole = value as i64;
    whole
}

/// The call events in the file once there are `expected`, leaving gaps aside, and what was written again after a crash.
async fn call_events(daemon: &Daemon, expected: usize) -> Vec<Value> {
    let is_call = |event: &Value| event["type"].as_str().is_some_and(|name| name.starts_with("com.onsip.call."));
    daemon
        .until(&format!("{expected} call events in {EVENTS}"), SOON, async || {
            let calls: Vec<_> = once(daemon.events(EVENTS)).into_iter().filter(is_call).collect();
            (calls.len() >= expected).then_some(calls)
        })
        .await
}

fn texts<'a>(events: &'a [Value], key: &str) -> Vec<&'a str> {
    events.iter().map(|event| event[key].as_str().unwrap_or_else(|| panic!("no {key} in {event}"))).collect()
}

fn assert_one_call(events: &[Value]) {
    let same = |key: &str| assert!(texts(events, key).windows(2).all(|pair| pair[0] == pair[1]), "{key}: {events:#?}");
    same("subject");
    same("partitionkey");
    same("source");
    let sequence = texts(events, "sequence");
    assert!(sequence.windows(2).all(|pair| pair[0] < pair[1]), "{sequence:?} does not rise");
    let mut ids = texts(events, "id");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events.len(), "ids repeat: {events:#?}");
}

#[tokio::test]
async fn an_approved_subscription_brings_a_whole_call_to_the_file() {
    let mut stage = Stage::new("approved").await;
    let (daemon, subid) = stage.start_approved().await;

    stage.owner.publish("leg-1", State::Created, "call-1").await;
    stage.owner.publish("leg-1", State::Confirmed, "call-1").await;
    stage.owner.retract("leg-1").await;

    let events = call_events(&daemon, 3).await;
    assert_eq!(texts(&events, "type"), ["com.onsip.call.created", "com.onsip.call.confirmed", "com.onsip.call.ended"]);
    assert_one_call(&events);
    for event in &events {
        assert_eq!(event["source"], format!("xmpp:{SERVICE}?;node={}", stage.owner.node()));
        assert_eq!(event["data"]["account"], "front-desk");
        assert_eq!(event["data"]["service"], "active-calls");
        assert_eq!(event["data"]["node"], stage.owner.node());
        assert_eq!(event["data"]["item_id"], "leg-1");
        assert_eq!(event["data"]["call_id"], "call-1");
        assert_eq!(event["data"]["direction"], "outbound");
        assert_eq!(event["data"]["subids"], serde_json::json!([subid]), "no SubID header came: the subscription's own");
    }
    assert_eq!(events[2]["data"]["answered"], true);
    assert_eq!(events[2]["data"]["end_reason"], "retracted");
    assert_eq!(count(&daemon, "events_received_total", &[("service", "active-calls")]).await, 3);
    assert_eq!(count(&daemon, "subscriptions_created_total", &[("service", "active-calls")]).await, 1);
}

#[tokio::test]
async fn an_incoming_call_is_requested_and_then_ended_unanswered() {
    let mut stage = Stage::new("incoming").await;
    let (daemon, _) = stage.start_approved().await;

    stage.owner.publish("leg-1", State::Requested, "call-1").await;
    stage.owner.retract("leg-1").await;

    let events = call_events(&daemon, 2).await;
    assert_eq!(texts(&events, "type"), ["com.onsip.call.requested", "com.onsip.call.ended"]);
    assert_one_call(&events);
    assert_eq!(events[1]["data"]["direction"], "inbound");
    assert_eq!(events[1]["data"]["answered"], false);
}

#[tokio::test]
async fn a_subscription_outlives_a_clean_stop() {
    let mut stage = Stage::new("stopped").await;
    let (mut daemon, subid) = stage.start_approved().await;
    stage.owner.publish("leg-1", State::Created, "call-1").await;
    call_events(&daemon, 1).await;

    let status = daemon.terminate().await;
    assert!(status.success(), "the daemon ended with {status}");
    assert_eq!(stage.only_subid().await, subid, "a clean stop does not unsubscribe");

    daemon.start_again().await;
    assert_reused(&mut stage, &daemon, &subid).await;
}

#[tokio::test]
async fn a_subscription_outlives_a_crash() {
    let mut stage = Stage::new("crashed").await;
    let (mut daemon, subid) = stage.start_approved().await;
    stage.owner.publish("leg-1", State::Created, "call-1").await;
    call_events(&daemon, 1).await;

    daemon.kill9().await;
    daemon.start_again().await;
    assert_reused(&mut stage, &daemon, &subid).await;
}

/// After a restart the same subscription carries on, and so does the call that began before.
async fn assert_reused(stage: &mut Stage, daemon: &Daemon, subid: &str) {
    until_state(daemon, "active").await;
    assert_eq!(stage.only_subid().await, subid);
    let service = ("service", "active-calls");
    assert_eq!(count(daemon, "subscriptions_created_total", &[service]).await, 0);
    assert_eq!(count(daemon, "subscriptions_reused_total", &[service]).await, 1);
    daemon
        .until_metric("subscription_renewals_total", &[service, ("outcome", "unsupported")], SOON, |n| n >= 1.0)
        .await;
    until_state(daemon, "active").await;

    stage.owner.publish("leg-1", State::Confirmed, "call-1").await;
    stage.owner.retract("leg-1").await;
    let events = call_events(daemon, 3).await;
    assert_eq!(texts(&events, "type"), ["com.onsip.call.created", "com.onsip.call.confirmed", "com.onsip.call.ended"]);
    assert_one_call(&events);
    assert!(stage.owner.request(Duration::ZERO).await.is_none(), "the router asked for a second subscription");
}

#[tokio::test]
async fn a_request_still_pending_at_a_restart_is_waited_for() {
    let mut stage = Stage::new("pending").await;
    let mut daemon = stage.start().await;
    let request = stage.request(&daemon).await;
    until_state(&daemon, "pending").await;

    daemon.kill9().await;
    daemon.start_again().await;
    until_state(&daemon, "pending").await;
    stage.owner.answer(&request, true).await;
    until_state(&daemon, "active").await;
    stage.only_subid().await;
    assert!(stage.owner.request(Duration::ZERO).await.is_none(), "the router asked again while a request was pending");
}

#[tokio::test]
async fn an_approval_given_while_the_router_is_away_is_found_by_listing() {
    let mut stage = Stage::new("away").await;
    let mut daemon = stage.start().await;
    let request = stage.request(&daemon).await;
    daemon.kill9().await;
    stage.owner.answer(&request, true).await;
    stage.owner.until_subscribed(&stage.router).await;

    daemon.start_again().await;
    until_state(&daemon, "active").await;
    stage.owner.publish("leg-1", State::Requested, "call-1").await;
    call_events(&daemon, 1).await;
    assert!(stage.owner.request(Duration::ZERO).await.is_none(), "the router asked for a second subscription");
}

#[tokio::test]
async fn a_denied_subscription_is_left_alone_for_a_while() {
    let mut stage = Stage::new("denied").await;
    let daemon = stage.start().await;
    let request = stage.request(&daemon).await;
    let denied = Instant::now();
    stage.owner.answer(&request, false).await;
    until_state(&daemon, "denied").await;

    let request = stage.request(&daemon).await;
    assert!(denied.elapsed() >= REFUSAL_REST, "another try after {:?}", denied.elapsed());
    stage.owner.answer(&request, false).await;
    until_state(&daemon, "denied").await;
    assert_eq!(
        count(&daemon, "accounts", &[("state", "online")]).await,
        1,
        "a refused subscription is no refused account"
    );
    assert_eq!(stage.owner.subscriptions().await, []);
}

#[tokio::test]
async fn a_revoked_subscription_is_asked_for_again_soon_and_once() {
    let mut stage = Stage::new("revoked").await;
    let (daemon, _) = stage.start_approved().await;

    stage.owner.revoke(&stage.router).await;
    daemon.until_metric("subscriptions", &[("service", "active-calls"), ("state", "active")], SOON, |n| n < 1.0).await;
    let request = stage.request(&daemon).await;
    until_state(&daemon, "pending").await;

    stage.owner.answer(&request, true).await;
    until_state(&daemon, "active").await;
    stage.only_subid().await;
    stage.owner.publish("leg-1", State::Created, "call-1").await;
    call_events(&daemon, 1).await;
    let again = stage.owner.request(Duration::ZERO).await;
    assert!(again.is_none(), "the router asked again while a request was pending");
}

#[tokio::test]
async fn a_session_taken_by_another_client_is_left_alone_for_ten_seconds() {
    let mut stage = Stage::new("conflict").await;
    let (daemon, subid) = stage.start_approved().await;

    let rival = Client::login(stage.server.xmpp, &stage.account, PASSWORD, RESOURCE).await;
    daemon.until_metric("disconnects_total", &[("reason", "conflict")], SOON, |n| n >= 1.0).await;
    daemon.until_logged("account waits", SOON).await;
    let pauses = daemon.pauses_told("account waits");
    assert!(pauses.iter().all(|pause| *pause >= CONFLICT_REST), "{pauses:?}");
    drop(rival);

    daemon.until_metric("accounts", &[("state", "online")], Duration::from_mins(2), |n| n >= 1.0).await;
    until_state(&daemon, "active").await;
    assert_eq!(stage.only_subid().await, subid);
}

#[tokio::test]
async fn an_operator_looks_at_the_subscriptions_without_disturbing_the_router() {
    let mut stage = Stage::new("operator").await;
    let (daemon, subid) = stage.start_approved().await;
    for command in [&["check", "--connect"][..], &["subscriptions", "list"], &["subscriptions", "clean"]] {
        let arguments = [command, &["--config", "config.toml"]].concat();
        let said = run_with(daemon.folder(), &arguments, &[("FRONT_DESK_PASSWORD", PASSWORD)]).await;
        assert!(said.code == Some(0) && said.stdout.contains(stage.owner.node()), "{said:#?}");
        assert!(command[0] == "check" || said.stdout.contains(&subid), "{said:#?}");
    }
    assert_eq!(stage.only_subid().await, subid);
    assert_eq!(count(&daemon, "connects_total", &[]).await, 1);
    stage.owner.publish("leg-1", State::Created, "call-1").await;
    call_events(&daemon, 1).await;

    // What `clean` relies on: a resource may end what another resource of the account holds, by naming it.
    let mut visitor = Client::login(stage.server.xmpp, &stage.account, PASSWORD, "visitor").await;
    let (node, router) = (stage.owner.node().to_owned(), stage.router.clone());
    let unsubscribe =
        format!("<pubsub xmlns='{PUBSUB}'><unsubscribe node='{node}' jid='{router}' subid='{subid}'/></pubsub>");
    visitor.request("set", Some(SERVICE), &unsubscribe).await.unwrap();
    assert_eq!(stage.owner.subscriptions().await, []);
}

/// What the tests above rely on, shown with a client that stands in for the router.
#[tokio::test]
async fn the_server_lets_the_owner_decide_and_reports_it_as_the_router_expects() {
    let mut stage = Stage::new("stand-in").await;
    let mut client = Client::login(stage.server.xmpp, &stage.account, PASSWORD, RESOURCE).await;
    let (jid, node) = (stage.router.clone(), stage.owner.node().to_owned());
    assert_eq!(client.jid(), &jid);
    let subscribe = format!("<pubsub xmlns='{PUBSUB}'><subscribe node='{node}' jid='{jid}'/></pubsub>");
    let list = format!("<pubsub xmlns='{PUBSUB}'><subscriptions node='{node}'/></pubsub>");

    let reply = client.request("set", Some(SERVICE), &subscribe).await.unwrap();
    let reply = reply.get_child("pubsub", PUBSUB).unwrap().get_child("subscription", PUBSUB).unwrap();
    assert_eq!((reply.attr("subscription"), reply.attr("subid")), (Some("pending"), None));
    let pending = listed(&mut client, &list).await.expect("an entry");
    assert_eq!((pending.attr("subscription"), pending.attr("node")), (Some("pending"), None));
    assert_eq!(stage.owner.subscriptions().await, [], "the owner's list leaves out what is pending");
    let error = client.request("set", Some(SERVICE), &subscribe).await.unwrap_err();
    assert!(String::from(&error).contains("<pending-subscription "), "{error:?}");

    let request = stage.owner.request(SOON).await.expect("a request for approval");
    stage.owner.answer(&request, true).await;
    assert_eq!(state_message(&mut client).await.as_deref(), Some("subscribed"));
    let entry = listed(&mut client, &list).await.expect("an entry");
    assert_eq!((entry.attr("subscription"), entry.attr("node")), (Some("subscribed"), None));
    let subid = entry.attr("subid").expect("a subid").to_owned();
    assert_eq!(pending.attr("subid"), Some(&*subid), "the approval keeps the subid");
    assert_eq!(stage.only_subid().await, subid);

    let options = format!("<pubsub xmlns='{PUBSUB}'><options node='{node}' jid='{jid}' subid='{subid}'/></pubsub>");
    let error = client.request("set", Some(SERVICE), &options).await.unwrap_err();
    assert!(String::from(&error).contains("<feature-not-implemented "), "{error:?}");
    client.request("set", Some(SERVICE), &subscribe).await.unwrap();
    assert_eq!(stage.only_subid().await, subid, "to subscribe again changes nothing");

    // An absent subscriber keeps its subscription and misses what happens meanwhile.
    drop(client);
    stage.owner.publish("leg-1", State::Created, "call-1").await;
    let mut client = Client::login(stage.server.xmpp, &stage.account, PASSWORD, RESOURCE).await;
    assert_eq!(stage.only_subid().await, subid);
    stage.owner.publish("leg-1", State::Confirmed, "call-1").await;
    stage.owner.retract("leg-1").await;
    let first = client.expect("an event", SOON, |stanza| stanza.has_child("event", EVENT)).await;
    assert!(String::from(&first).contains("<dialog-state>confirmed<"), "{first:?}");
    let second = client.expect("an event", SOON, |stanza| stanza.has_child("event", EVENT)).await;
    assert!(String::from(&second).contains("<retract id='leg-1'"), "{second:?}");

    stage.owner.revoke(&jid).await;
    assert_eq!(state_message(&mut client).await.as_deref(), Some("none"));
    assert_eq!(listed(&mut client, &list).await, None);
    client.request("set", Some(SERVICE), &subscribe).await.unwrap();
    let request = stage.owner.request(SOON).await.expect("a request for approval");
    stage.owner.answer(&request, false).await;
    assert_eq!(state_message(&mut client).await.as_deref(), Some("none"));
    assert_eq!(listed(&mut client, &list).await, None);
}

async fn listed(client: &mut Client, list: &str) -> Option<Element> {
    let answer = client.request("get", Some(SERVICE), list).await.unwrap();
    answer.get_child("pubsub", PUBSUB).unwrap().get_child("subscriptions", PUBSUB).unwrap().children().next().cloned()
}

/// The state in the next message about a subscription.
async fn state_message(client: &mut Client) -> Option<String> {
    let message = client.expect("a message", SOON, |stanza| stanza.is("message", CLIENT)).await;
    let state = message.get_child("event", EVENT)?.get_child("subscription", EVENT)?.attr("subscription")?;
    Some(state.to_owned())
}
