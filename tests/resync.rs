//! Legs after a gap, end to end: what ended meanwhile is told to have ended, what is still there goes on, what began is
//! told, and what can never be known grows old.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use onsip_router::domain::BareJid;
use onsip_router::simulator::{Answering, Authorize, Call, Entry, Failure, Request, Simulator, UserAgent};
use serde_json::{Value, json};

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

const ENDED: &str = "com.onsip.call.ended";

/// What was told so far, each event once.
fn told(daemon: &Daemon) -> Vec<Value> {
    calls(once(daemon.events(EVENTS)))
}

fn ends(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["type"] == ENDED).collect()
}

/// The end of a leg: item and reason.
fn end(event: &Value) -> (&str, &str) {
    let data = &event["data"];
    (data["item_id"].as_str().unwrap(), data["end_reason"].as_str().unwrap())
}

async fn until_ends(daemon: &Daemon, count: usize) -> Vec<Value> {
    let enough = async || Some(told(daemon)).filter(|events| ends(events).len() >= count);
    let events = daemon.until(&format!("{count} ends"), SOON, enough).await;
    ends(&events).into_iter().cloned().collect()
}

/// Waits until the service was asked for items so often, and the router is through with the answer: it hears a call that
/// begins and ends after it.
async fn until_synced(onsip: &Simulator, anna: &BareJid, daemon: &Daemon, times: u64) {
    until_observed(onsip, daemon, "the items", SOON, |seen| seen.count(anna, Request::Items) >= times).await;
    let mut call = onsip.call_out(anna.as_str(), CALLER);
    onsip.hang_up(&mut call);
    let item = call.legs[0].item_id.clone();
    let over = async || ends(&told(daemon)).iter().any(|event| end(event).0 == item).then_some(());
    daemon.until("the end of a call after the answer", SOON, over).await;
}

fn of<'a>(events: &'a [Value], call: &Call) -> Vec<&'a Value> {
    events.iter().filter(|event| event["data"]["item_id"] == *call.legs[0].item_id).collect()
}

#[tokio::test]
async fn after_a_crash_every_call_is_what_it_became_meanwhile() {
    let (onsip, anna, mut daemon) = running().await;
    let mut over = onsip.call_in(anna.as_str(), CALLER, 1);
    let mut talking = onsip.call_in(anna.as_str(), CALLER, 1);
    let mut known = onsip.call_out(anna.as_str(), CALLER);
    onsip.answer(&mut talking, 0);
    onsip.hang_up(&mut known);
    daemon.until_calls(5).await;
    daemon.kill9().await;
    onsip.hang_up(&mut over);
    let mut begun = onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.start_again().await;
    daemon.until_active(1).await;
    until_synced(&onsip, &anna, &daemon, 2).await;

    let events = told(&daemon);
    let gone = &of(&events, &over)[1..];
    assert_eq!((gone.len(), end(gone[0])), (1, (over.legs[0].item_id.as_str(), "gap")), "{gone:#?}");
    let data = &gone[0]["data"];
    assert_eq!((&data["answered"], &data["answered_elsewhere"]), (&json!(false), &json!(false)), "{data:#}");
    assert_eq!((&data["ring_seconds"], &data["talk_seconds"]), (&json!(null), &json!(null)), "nobody saw it end");
    assert_eq!((&data["call_id"], &data["collection"]), (&json!(over.call_id()), &json!(node(&anna))));
    assert_eq!(of(&events, &talking).len(), 2, "it goes on");
    assert_eq!(of(&events, &known).len(), 2, "its end was told before");
    let new = of(&events, &begun);
    assert_eq!((new.len(), &new[0]["type"]), (1, &json!("com.onsip.call.requested")));
    assert_eq!(new[0]["data"]["replayed"], false, "it rings");
    daemon.until_exactly("legs_ended_total", &[("reason", "gap")], 1).await;
    assert_eq!(daemon.count("events_duplicate_total", &[SERVICE]).await, 0, "an answer is no second copy");

    for call in [&mut talking, &mut begun] {
        onsip.hang_up(call);
    }
    let last = until_ends(&daemon, 5).await;
    for (call, event) in [&talking, &begun].into_iter().zip(&last[3..]) {
        assert_eq!(end(event), (call.legs[0].item_id.as_str(), "retracted"));
    }
    assert!(last[3]["data"]["talk_seconds"].is_number(), "the length of what was seen whole is known");

    daemon.kill9().await;
    daemon.start_again().await;
    daemon.until_active(1).await;
    until_synced(&onsip, &anna, &daemon, 3).await;
    assert_eq!(ends(&told(&daemon)).len(), 6, "no end is told twice");
}

#[tokio::test]
async fn a_call_that_ended_while_the_connection_was_away_ends_when_it_is_back() {
    let (onsip, anna, daemon) = running().await;
    let mut over = onsip.call_in(anna.as_str(), CALLER, 2);
    let mut other = onsip.call_out(anna.as_str(), CALLER);
    daemon.until_calls(3).await;
    onsip.go_down();
    onsip.hang_up(&mut over);
    onsip.come_up();
    let told = until_ends(&daemon, 2).await;
    assert!(told.iter().all(|event| end(event).1 == "gap"), "{told:#?}");
    let (service, leaf) = ("active-calls", leaf(&anna));
    let late = over.legs.iter().map(|leg| Entry::Retract(leg.item_id.clone())).collect();
    onsip.publish_all(service, &leaf, late);
    daemon.until_count("events_duplicate_total", &[SERVICE], 2).await;
    onsip.hang_up(&mut other);
    assert_eq!(end(&until_ends(&daemon, 3).await[2]).1, "retracted");
}

#[tokio::test]
async fn a_lapsed_authorization_is_a_gap_for_legs_too() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_secs(4)));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    let mut over = onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_calls(1).await;
    onsip.behave(&anna, |b| b.authorize = Authorize::Wait);
    daemon.until_metric("account_online", &[("account", "front-desk")], SOON, |online| online < 0.5).await;
    onsip.end_authorization(&anna);
    onsip.hang_up(&mut over);
    onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_hours(1)));
    assert_eq!(end(&until_ends(&daemon, 1).await[0]).1, "gap");
}

#[tokio::test]
async fn a_service_that_shows_no_items_ends_nothing_and_old_legs_grow_stale() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.items = Answering::Fail(Failure::unsupported("retrieve-items")));
    let setup = Setup::of(&onsip).onsip("stale_ringing = \"6s\"\nstale_answered = \"1h\"");
    let mut daemon = setup.account("front-desk", &anna).start_active(1).await;
    let mut ringing = onsip.call_in(anna.as_str(), CALLER, 1);
    let mut talking = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.answer(&mut talking, 0);
    daemon.until_calls(3).await;
    daemon.kill9().await;
    onsip.hang_up(&mut ringing);
    daemon.start_again().await;
    daemon.until_active(1).await;
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 1, "the refusal costs no subscription");

    let told = until_ends(&daemon, 1).await;
    assert_eq!(end(&told[0]), (ringing.legs[0].item_id.as_str(), "stale"));
    let data = &told[0]["data"];
    assert_eq!((&data["account"], &data["call_id"]), (&json!("front-desk"), &json!(ringing.call_id())), "{data:#}");
    assert_eq!((&data["ring_seconds"], &data["answered"]), (&json!(null), &json!(false)));
    onsip.hang_up(&mut talking);
    assert_eq!(end(&until_ends(&daemon, 2).await[1]).1, "retracted", "who talks may take longer");
    daemon.until_exactly("legs_ended_total", &[("reason", "stale")], 1).await;
    daemon.until_metric("legs_live", &[], SOON, |live| live < 0.5).await;
    assert_eq!(asked(&onsip, &anna, Request::Items), 2, "asked once per gap, whatever it answers");
    daemon.until_exactly("subscription_resyncs_total", &[SERVICE, ("outcome", "refused")], 1).await; // in this life
}

#[tokio::test]
async fn a_service_that_never_answers_for_items_keeps_its_subscription_and_its_events() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.items = Answering::Silence);
    let setup = Setup::of(&onsip).xmpp("request_timeout = \"2s\"").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_calls(1).await;
    daemon.until_count("requests_timed_out_total", &[], 1).await;
    onsip.hang_up(&mut call);
    assert_eq!(end(&until_ends(&daemon, 1).await[0]).1, "retracted");
    daemon.until_active(1).await;
    assert_eq!(asked(&onsip, &anna, Request::Items), 1);
}

#[tokio::test]
async fn without_resync_nothing_is_asked() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).onsip("resync = false").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    let mut over = onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_calls(1).await;
    onsip.go_down();
    onsip.hang_up(&mut over);
    onsip.come_up();
    let enough = async || Some(gaps(daemon.events(EVENTS))).filter(|gaps| gaps.len() == 1);
    daemon.until("the gap", SOON, enough).await;
    let mut next = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut next);
    assert_eq!(end(&until_ends(&daemon, 1).await[0]).0, next.legs[0].item_id);
    assert_eq!(asked(&onsip, &anna, Request::Items), 0);
}

#[tokio::test]
async fn registrations_are_asked_for_too_and_kept_items_are_not() {
    let (onsip, anna) = service_with_anna().await;
    let phone = |name: &str| UserAgent { contact: format!("sip:{name}@192.0.2.1"), ..UserAgent::default() };
    onsip.register(anna.as_str(), &phone("desk"));
    let lines = format!(
        "password = \"{PASSWORD}\"\nsubscribe = {{ user-agents = [\"{0}\"], voicemail = [\"{0}\"] }}",
        node(&anna)
    );
    let daemon = Setup::of(&onsip).account_with("front-desk", &anna, &lines).start().await;
    let told = async |count: usize| {
        let of = |event: &Value| event["type"].as_str().unwrap().starts_with("com.onsip.registration.");
        let found = async || {
            let events: Vec<Value> = daemon.events(EVENTS).into_iter().filter(of).collect();
            Some(events).filter(|events| events.len() >= count)
        };
        daemon.until(&format!("{count} registrations"), SOON, found).await
    };
    let first = told(1).await;
    assert_eq!(
        (&first[0]["type"], &first[0]["data"]["contact"]),
        (&json!("com.onsip.registration.updated"), &json!("sip:desk@192.0.2.1"))
    );
    onsip.go_down();
    onsip.unregister(anna.as_str(), "sip:desk@192.0.2.1");
    onsip.register(anna.as_str(), &phone("mobile"));
    onsip.come_up();
    let events = told(3).await;
    let mut last: Vec<_> = events[1..].iter().map(|event| (&event["type"], &event["data"]["item_id"])).collect();
    last.sort_by_key(|(name, _)| name.as_str());
    assert_eq!(
        last,
        [
            (&json!("com.onsip.registration.removed"), &json!("sip:desk@192.0.2.1")),
            (&json!("com.onsip.registration.updated"), &json!("sip:mobile@192.0.2.1")),
        ]
    );
    until_observed(&onsip, &daemon, "the list of voicemail", SOON, |seen| seen.count(&anna, Request::List) >= 4).await;
    assert_eq!(asked(&onsip, &anna, Request::Items), 2, "once per session, of the registrations only");
}

#[tokio::test]
async fn set_up_legs_and_music_on_hold_can_be_left_out_by_a_rule() {
    let (onsip, anna) = service_with_anna().await;
    let rule = "type = \"file\"\npath = \"people.jsonl\"\nwhen = 'data.purpose == \"call\"'";
    let daemon = Setup::of(&onsip).sink("people", rule).account("front-desk", &anna).start_active(1).await;
    let number = || onsip.call_number();
    let mut setup = Call::incoming(number(), anna.as_str(), "sip:call-setup@onsip.test;id=7", 1);
    let mut call = Call::outgoing(number(), anna.as_str(), CALLER);
    let mut hold = Call::outgoing(number(), anna.as_str(), "sip:moh@acme.test");
    for made in [&mut setup, &mut call] {
        made.legs[0].call.call_setup_id = "a1b2c3d4".to_owned();
    }
    for made in [&mut setup, &mut call, &mut hold] {
        *made = onsip.place(made.clone());
        onsip.hang_up(made);
    }
    let all = daemon.until_calls(6).await;
    let purposes: Vec<_> = all.iter().map(|event| event["data"]["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["setup", "setup", "call", "call", "hold", "hold"]);
    let people = daemon.until_events("people.jsonl", 2, SOON).await;
    assert_eq!(texts(&people, "type"), ["com.onsip.call.created", ENDED]);
}
