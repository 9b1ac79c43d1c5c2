//! Stream management (XEP-0198): only what is on the disk is acknowledged, and a session that is lost is resumed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use onsip_router::domain::BareJid;
use onsip_router::domain::secret::Secret;
use onsip_router::protocol::acknowledgement::Resumption;
use onsip_router::protocol::link::Loss;
use onsip_router::protocol::logins::Urgency;
use onsip_router::protocol::sasl::Mechanisms;
use onsip_router::simulator::{Request, Simulator, Stall};
use onsip_router::xmpp::connector::Connector;
use onsip_router::xmpp::login::Credential;
use onsip_router::xmpp::options::{Options, Tls};
use onsip_router::xmpp::session::{self, Bounds, Event, Plan, Received, Session};
use serde_json::Value;

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

/// How long the service keeps a lost session.
const KEPT: Duration = Duration::from_mins(2);

/// What a session that begins anew asks for, and one that goes on does not.
const BEGINNING: [Request; 6] =
    [Request::Bind, Request::Presence, Request::Authorize, Request::List, Request::Subscribe, Request::Options];

async fn resumable(patience: Duration, xmpp: &str) -> (Simulator, BareJid, Daemon) {
    let onsip = service().await;
    onsip.behave_all(|b| b.resumable_for = Some(patience));
    let anna = account(&onsip, "anna@acme.test");
    let daemon = Setup::of(&onsip).xmpp(xmpp).account("front-desk", &anna).start_active(1).await;
    until_settled(&onsip, &daemon, &anna).await;
    (onsip, anna, daemon)
}

/// Waits until all that a beginning asks for has been asked, and everything is acknowledged.
async fn until_settled(onsip: &Simulator, daemon: &Daemon, jid: &BareJid) {
    until_observed(onsip, daemon, "a list after the approval", SOON, |saw| saw.count(jid, Request::List) >= 2).await;
    assert!(onsip.until(SOON, |board| board.unacknowledged(jid) == 0).await, "{}", daemon.log());
}

fn beginnings(onsip: &Simulator, jid: &BareJid) -> [u64; 6] {
    BEGINNING.map(|request| asked(onsip, jid, request))
}

async fn until_resumed(onsip: &Simulator, daemon: &Daemon, times: u64) {
    until_observed(onsip, daemon, &format!("resumption {times}"), SOON, |saw| saw.resumed >= times).await;
    daemon.until_accounts("online", 1).await;
}

fn ring(onsip: &Simulator, jid: &BareJid) {
    let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
}

/// So many call events, each told once, and no gap.
async fn assert_whole(daemon: &Daemon, events: usize) {
    daemon.until_calls(events).await;
    let told = daemon.events(EVENTS);
    let happened: BTreeSet<_> = told.iter().map(what_happened).collect();
    assert_eq!((told.len(), happened.len()), (events, events), "{told:#?}");
    assert_eq!(gaps(told), Vec::<Value>::new());
}

#[tokio::test]
async fn a_connection_that_is_cut_under_traffic_costs_no_event_no_gap_and_no_new_beginning() {
    let (onsip, anna, daemon) = resumable(KEPT, "").await;
    let (before, subscribed) = (beginnings(&onsip, &anna), subids(&onsip, &anna));
    for cut in 1..=3 {
        (0..10).for_each(|_| ring(&onsip, &anna));
        onsip.cut(&anna);
        daemon.until_accounts("online", 0).await;
        (0..10).for_each(|_| ring(&onsip, &anna)); // nobody is there: the service keeps them
        until_resumed(&onsip, &daemon, cut).await;
    }
    assert_whole(&daemon, 120).await;
    assert_eq!((beginnings(&onsip, &anna), subids(&onsip, &anna)), (before, subscribed));
    assert_eq!(asked(&onsip, &anna, Request::Resume), 3);
    daemon.until_exactly("resumptions_total", &[("outcome", "resumed")], 3).await;
    daemon.until_exactly("disconnects_total", &[("reason", "network")], 3).await;
    daemon.until_exactly("connects_total", &[("outcome", "online")], 4).await;
    assert!(onsip.until(SOON, |board| board.unacknowledged(&anna) == 0).await);
    assert!(daemon.log().contains("session resumed"), "{}", daemon.log());
}

#[tokio::test]
async fn a_link_that_is_dead_is_noticed_without_a_ping_and_resumed() {
    let (onsip, anna, daemon) = resumable(KEPT, "ping_interval = \"1s\"\nrequest_timeout = \"1s\"").await;
    onsip.stall(&anna, Stall::Dead);
    ring(&onsip, &anna); // swallowed by the link
    daemon.until_count("disconnects_total", &[("reason", "timeout")], 1).await;
    until_resumed(&onsip, &daemon, 1).await;
    assert_whole(&daemon, 2).await;
    assert_eq!(asked(&onsip, &anna, Request::Ping), 0, "a question for the count is enough");
}

#[tokio::test]
async fn a_service_that_forgot_the_session_is_a_new_beginning_with_a_gap_and_the_old_subscription() {
    let (onsip, anna, daemon) = resumable(KEPT, "").await;
    let subscribed = subids(&onsip, &anna);
    onsip.restart(Duration::ZERO).await;
    until_observed(&onsip, &daemon, "a second binding", SOON, |saw| saw.count(&anna, Request::Bind) == 2).await;
    daemon.until_count("resumptions_total", &[("outcome", "failed")], 1).await;
    let told = daemon.until_events(EVENTS, 1, SOON).await;
    assert_eq!((told.len(), &told[0]["data"]["reason"]), (1, &"disconnect".into()), "{told:#?}");
    daemon.until_active(1).await;
    assert_eq!((asked(&onsip, &anna, Request::Resume), asked(&onsip, &anna, Request::Subscribe)), (1, 1));
    assert_eq!(subids(&onsip, &anna), subscribed);
    ring(&onsip, &anna);
    daemon.until_calls(2).await;
}

#[tokio::test]
async fn a_session_the_service_keeps_too_shortly_is_given_up_in_time_and_not_asked_for() {
    let (onsip, anna, daemon) = resumable(Duration::from_secs(1), "").await;
    onsip.cut(&anna);
    until_observed(&onsip, &daemon, "a second binding", SOON, |saw| saw.count(&anna, Request::Bind) == 2).await;
    daemon.until_active(1).await;
    assert_eq!(gaps(daemon.until_events(EVENTS, 1, SOON).await).len(), 1);
    assert_eq!((asked(&onsip, &anna, Request::Resume), asked(&onsip, &anna, Request::Subscribe)), (0, 1));
}

#[tokio::test]
async fn a_router_that_dies_before_it_resumes_tells_the_gap_from_the_loss_on() {
    let (onsip, anna, mut daemon) = resumable(KEPT, "").await;
    onsip.go_down();
    daemon.until_accounts("online", 0).await;
    let lost = onsip_router::domain::moment::Moment::now().utc();
    daemon.until_count("connects_total", &[("outcome", "network")], 2).await; // time passes in which nothing arrives
    daemon.kill9().await;
    onsip.come_up();
    daemon.start_again().await;
    let told = gaps(daemon.until_events(EVENTS, 1, SOON).await);
    let from: jiff::Timestamp = told[0]["data"]["from"].as_str().unwrap().parse().unwrap();
    assert!(told.len() == 1 && from <= lost, "{told:#?} {lost}");
    assert_eq!(told[0]["data"]["reason"], "disconnect", "it was lost before the router died");
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 1);
}

#[tokio::test]
async fn what_somebody_meant_is_not_resumed() {
    let (onsip, anna, daemon) = resumable(KEPT, "").await;
    for (times, lose) in (2..).zip([Simulator::close, |onsip: &Simulator, jid: &BareJid| {
        onsip.stream_error(jid, "system-shutdown");
    }]) {
        lose(&onsip, &anna);
        until_observed(&onsip, &daemon, "a binding", SOON, |saw| saw.count(&anna, Request::Bind) == times).await;
        daemon.until_active(1).await;
    }
    assert_eq!(asked(&onsip, &anna, Request::Resume), 0);
}

#[tokio::test]
async fn an_answer_on_its_way_when_the_connection_broke_arrives_after_the_resumption() {
    let onsip = service().await;
    onsip.behave_all(|b| {
        b.resumable_for = Some(KEPT);
        b.reply_delay = Duration::from_millis(300);
    });
    let anna = account(&onsip, "anna@acme.test");
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    until_observed(&onsip, &daemon, "a request", SOON, |saw| saw.count(&anna, Request::Subscribe) == 1).await;
    onsip.cut(&anna);
    until_resumed(&onsip, &daemon, 1).await;
    daemon.until_active(1).await;
    assert_eq!((asked(&onsip, &anna, Request::Bind), asked(&onsip, &anna, Request::Subscribe)), (1, 1));
    assert_eq!(daemon.count("requests_timed_out_total", &[]).await, 0);
}

/// A disk that finishes no sync as long as this lives: strace keeps the thread that commits in its system call.
struct StalledDisk(Child);

impl StalledDisk {
    async fn of(daemon: &Daemon) -> Self {
        let threads =
            fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().map(|thread| thread.unwrap().path());
        let commits =
            |thread: &PathBuf| fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "store");
        let thread = threads.into_iter().find(commits).unwrap();
        let strace = Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "-e", "inject=fdatasync:delay_enter=600s", "-p"])
            .arg(thread.file_name().unwrap())
            .spawn()
            .unwrap();
        let stalled = Self(strace);
        let traced = format!("TracerPid:\t{}\n", stalled.0.id());
        let is_traced = async || fs::read_to_string(thread.join("status")).ok()?.contains(&traced).then_some(());
        daemon.until("strace to hold the thread", SOON, is_traced).await;
        stalled
    }
}

impl Drop for StalledDisk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn what_is_not_on_the_disk_is_not_acknowledged_and_survives_the_end_of_the_router_at_the_service() {
    let (onsip, anna, mut daemon) = resumable(KEPT, "").await;
    onsip.style(|style| style.store_offline = true);
    let stalled = StalledDisk::of(&daemon).await;
    let heard = onsip.observed().acknowledgements;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    until_observed(&onsip, &daemon, "an answer", SOON, |saw| saw.acknowledgements > heard).await;
    assert_eq!(onsip.look(|board| board.unacknowledged(&anna)), 1, "it is not committed");
    drop(stalled);
    assert!(onsip.until(SOON, |board| board.unacknowledged(&anna) == 0).await, "it is: {}", daemon.log());
    daemon.until_calls(1).await;

    let stalled = StalledDisk::of(&daemon).await;
    let heard = onsip.observed().acknowledgements;
    onsip.hang_up(&mut call);
    until_observed(&onsip, &daemon, "an answer", SOON, |saw| saw.acknowledgements > heard).await;
    daemon.signal("KILL").await;
    drop(stalled); // who traces a thread has to let go of it before it can end
    daemon.exit(SOON).await;
    assert_eq!(onsip.look(|board| board.unacknowledged(&anna)), 1);
    daemon.start_again().await;
    let told = daemon.until_calls(2).await;
    assert_eq!(texts(&told, "type"), ["com.onsip.call.requested", "com.onsip.call.ended"]);
    assert_eq!(onsip.look(|board| board.observed().conflicts), 0);
}

/// The session loop alone, in the place of its actor.
struct Loop {
    onsip: Simulator,
    anna: BareJid,
}

impl Loop {
    async fn new() -> Self {
        let (onsip, anna) = service_with_anna().await;
        onsip.behave_all(|b| b.resumable_for = Some(KEPT));
        Self { onsip, anna }
    }

    fn start(&self, plan: Plan) -> Session {
        let options = Options {
            host: Some("127.0.0.1".to_owned()),
            port: self.onsip.addr().port(),
            tls: Tls::Off,
            ca_file: None,
            tls_name: None,
            concurrent_logins: 1,
            request_timeout: SOON,
            ping_interval: SOON,
        };
        let jid = self.anna.clone();
        let credential = Credential {
            jid,
            password: Secret::from(PASSWORD.to_owned()),
            resource: RESOURCE.to_owned(),
            refused_mechanisms: Mechanisms::default(),
        };
        let (connector, bounds) = (Connector::new(options).unwrap(), Bounds::new(1, None));
        session::start(connector, credential, Arc::from([]), None, bounds, plan, Urgency::New)
    }

    async fn send(&self, session: &Session, stanza: &str) {
        session.outbox.send(Box::new(stanza.parse().unwrap())).await.unwrap();
    }
}

async fn next(session: &mut Session) -> Event {
    *tokio::time::timeout(SOON, session.events.recv()).await.expect("in time").expect("an event")
}

/// The ids of what arrives next, `message` for each of those, and what to say once it is dealt with.
async fn received(session: &mut Session) -> (Vec<String>, u32) {
    match next(session).await {
        Event::Received(received, _, _, upto) => {
            let id = |one: &Received| match one {
                Received::Element(element) => element.attr("id").unwrap_or_default().to_owned(),
                Received::Note(_) => "message".to_owned(),
            };
            (received.iter().map(id).collect(), upto)
        }
        other => panic!("{other:?}"),
    }
}

async fn lost(mut session: Session) -> Box<Resumption> {
    match next(&mut session).await {
        Event::Down(Loss::Network(_), _, Some(lost)) => lost,
        other => panic!("{other:?}"),
    }
}

const PRESENCE: &str = "<presence xmlns='jabber:client'><priority>1</priority></presence>";

fn ping(id: &str) -> String {
    format!("<iq xmlns='jabber:client' type='get' id='{id}'><ping xmlns='urn:xmpp:ping'/></iq>")
}

#[tokio::test]
async fn what_was_sent_into_a_dead_link_is_sent_again_once_and_in_order() {
    let stage = Loop::new().await;
    let mut session = stage.start(Plan::Managed);
    assert!(matches!(next(&mut session).await, Event::Up(_)));
    stage.send(&session, PRESENCE).await;
    assert!(stage.onsip.until_online(&stage.anna, SOON).await);
    stage.send(&session, &ping("before")).await;
    assert_eq!(received(&mut session).await, (vec!["before".to_owned()], 1));
    stage.onsip.stall(&stage.anna, Stall::Dead);
    for id in ["one", "two", "three"] {
        stage.send(&session, &ping(id)).await;
    }
    stage.onsip.cut(&stage.anna);
    let mut lost = lost(session).await;
    lost.handle(1);
    let mut session = stage.start(Plan::Resume(lost));
    assert!(matches!(next(&mut session).await, Event::Resumed(own) if own.resource().as_str() == RESOURCE));
    let mut answers = Vec::new();
    while answers.len() < 3 {
        answers.extend(received(&mut session).await.0);
    }
    assert_eq!(answers, ["one", "two", "three"]);
    let observed = stage.onsip.observed();
    assert_eq!((observed.count(&stage.anna, Request::Ping), observed.count(&stage.anna, Request::Presence)), (4, 1));
}

#[tokio::test]
async fn the_session_acknowledges_only_what_it_is_told_was_dealt_with_also_what_was_thrown_away() {
    let stage = Loop::new().await;
    let mut session = stage.start(Plan::Managed);
    assert!(matches!(next(&mut session).await, Event::Up(_)));
    stage.send(&session, PRESENCE).await;
    assert!(stage.onsip.until_online(&stage.anna, SOON).await);
    let (onsip, anna) = (&stage.onsip, &stage.anna);
    let left = |n| onsip.until(SOON, move |board| board.unacknowledged(anna) == n);
    let to = own(&stage.anna);
    stage.onsip.inject(&stage.anna, &format!("<message xmlns='jabber:client' id='m' to='{to}'/>"));
    let (ids, first) = received(&mut session).await;
    assert_eq!((ids, first), (vec!["message".to_owned()], 1));
    stage
        .onsip
        .inject(&stage.anna, &format!("<message xmlns='jabber:client' to='{to}'>{}</message>", "x".repeat(400_000)));
    assert!(matches!(next(&mut session).await, Event::Oversize(1)));
    let (ids, second) = received(&mut session).await;
    assert_eq!((ids, second), (Vec::new(), 2));
    let asked = stage.onsip.until(SOON, |board| board.observed().acknowledgements > 0).await;
    assert!(asked && left(2).await, "it was asked, and has dealt with none");
    session.handled.send_replace(Some(second));
    assert!(left(0).await);
    drop(session.outbox);
    let end = tokio::time::timeout(SOON, session.events.recv()).await.unwrap();
    assert!(matches!(end.as_deref(), Some(Event::Down(Loss::Stopped, _, None))), "{end:?}");
}
