//! What a sink gets: the lines of a call, once each, in order, whatever way they came.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{Entry, UserAgent, Voicemail, publish_time};
use serde_json::{Value, json};

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

const ATTRIBUTES: [&str; 11] = [
    "data",
    "datacontenttype",
    "dataschema",
    "id",
    "partitionkey",
    "sequence",
    "source",
    "specversion",
    "subject",
    "time",
    "type",
];
const CALL_DATA: [&str; 27] = [
    "account",
    "answered",
    "answered_elsewhere",
    "branch",
    "call_id",
    "call_setup_id",
    "collection",
    "dialog_state",
    "direction",
    "end_reason",
    "from_display",
    "from_tag",
    "from_uri",
    "item_id",
    "node",
    "published_at",
    "purpose",
    "received_at",
    "replayed",
    "ring_seconds",
    "service",
    "subids",
    "talk_seconds",
    "to_aor",
    "to_display",
    "to_tag",
    "to_uri",
];
const ON_ENDED: [&str; 5] = ["answered", "answered_elsewhere", "ring_seconds", "talk_seconds", "end_reason"];
const DELAY: &str = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>";

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn moment(text: &Value) -> Timestamp {
    text.as_str().unwrap().parse().unwrap()
}

fn all_same(values: &[&str]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

fn rises(values: &[&str]) -> bool {
    values.windows(2).all(|pair| pair[0] < pair[1])
}

fn assert_once_each(events: &[Value]) {
    let ids: BTreeSet<_> = texts(events, "id").into_iter().collect();
    assert_eq!(ids.len(), events.len(), "an event came twice: {events:#?}");
}

#[tokio::test]
async fn a_forked_call_answered_and_hung_up_is_told_line_by_line() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("console", "type = \"stdout\"");
    let daemon = setup.start_active(1).await;

    let mut call = onsip.call_in(anna.as_str(), CALLER, 2);
    daemon.until_calls(2).await;
    onsip.answer(&mut call, 0);
    daemon.until_calls(4).await;
    onsip.hang_up(&mut call);

    let events = daemon.until_calls(5).await;
    let [ring, other_ring, answered, elsewhere, ended] = &events[..] else { panic!("not five events: {events:#?}") };
    let kinds = ["requested", "requested", "confirmed", "ended", "ended"].map(|kind| format!("com.onsip.call.{kind}"));
    assert_eq!(texts(&events, "type"), kinds);
    assert!(rises(&texts(&events, "sequence")), "{:?}", texts(&events, "sequence"));
    assert!(all_same(&texts(&events, "partitionkey")), "one call, one key: {events:#?}");
    let legs = [[ring, answered, ended], [other_ring, elsewhere, elsewhere]];
    let subjects = legs.map(|leg| leg.map(|event| event["subject"].as_str().unwrap()));
    assert!(subjects.iter().all(|subject| all_same(subject)), "a leg keeps its subject: {subjects:?}");
    assert_ne!(subjects[0][0], subjects[1][0], "every leg has a subject of its own");
    assert_once_each(&events);

    let subid = &subids(&onsip, &anna)[0];
    for (event, leg) in events.iter().zip([0, 1, 0, 1, 0]) {
        let (data, leg) = (&event["data"], &call.legs[leg]);
        assert_eq!((keys(event), keys(data)), (ATTRIBUTES.to_vec(), CALL_DATA.to_vec()), "{event:#}");
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["source"], format!("xmpp:{CALLS}?;node=/acme.test/anna"));
        for (key, value) in [
            ("account", "front-desk"),
            ("service", "active-calls"),
            ("node", &leg.node),
            ("collection", &node(&anna)),
            ("item_id", &leg.item_id),
            ("call_id", call.call_id()),
            ("from_uri", CALLER),
            ("to_uri", "sip:anna@acme.test"),
            ("to_aor", "anna@acme.test"),
            ("from_tag", &leg.call.from_tag),
            ("branch", &leg.call.branch),
            ("direction", "inbound"),
        ] {
            assert_eq!(data[key], value, "{key} of {event:#}");
        }
        assert_eq!(data["call_setup_id"], Value::Null, "an empty element is absent");
        assert_eq!((&data["subids"], &data["replayed"]), (&json!([subid]), &json!(false)));
        let received = data["received_at"].as_str().unwrap();
        assert!(received.ends_with('Z') && received.split_once('.').unwrap().1.len() >= 7, "{received}");
    }
    for event in &events[..3] {
        assert!(ON_ENDED.iter().all(|key| event["data"][key].is_null()), "only known at the end: {event:#}");
        assert_eq!(moment(&event["data"]["published_at"]), moment(&event["time"]));
    }
    assert_eq!(
        (&ring["data"]["dialog_state"], &answered["data"]["dialog_state"]),
        (&json!("requested"), &json!("confirmed"))
    );
    assert_eq!((&ring["data"]["to_tag"], &ended["data"]["to_tag"]), (&Value::Null, &answered["data"]["to_tag"]));
    for event in [elsewhere, ended] {
        assert_eq!((&event["data"]["dialog_state"], &event["data"]["published_at"]), (&Value::Null, &Value::Null));
        assert_eq!(event["data"]["end_reason"], "retracted");
        assert_eq!(event["time"], event["data"]["received_at"]);
        assert!(event["data"]["ring_seconds"].is_number(), "{event:#}");
    }
    assert_eq!((&ended["data"]["answered"], &ended["data"]["answered_elsewhere"]), (&json!(true), &json!(false)));
    assert_eq!(
        (&elsewhere["data"]["answered"], &elsewhere["data"]["answered_elsewhere"]),
        (&json!(false), &json!(true))
    );
    assert!(ended["data"]["talk_seconds"].is_number(), "{ended:#}");

    let file = std::fs::read_to_string(daemon.folder().join(EVENTS)).unwrap();
    daemon.until("the same lines on standard output", SOON, async || (daemon.stdout() == file).then_some(())).await;
    for sink in ["log", "console"] {
        let seconds = daemon.metric("event_delivery_seconds_sum", &[("sink", sink)]).await;
        assert!(seconds / 5.0 < 1.0, "five events took {seconds} s to sink {sink}");
    }
}

#[tokio::test]
async fn an_event_that_two_accounts_see_is_delivered_once() {
    let (onsip, anna) = service_with_anna().await;
    let bert = account(&onsip, "bert@acme.test");
    let lines = format!("password = \"{PASSWORD}\"\nsip_address = \"{anna}\"");
    let setup = Setup::of(&onsip).account("anna", &anna).account_with("bert", &bert, &lines);
    let daemon = setup.start_active(2).await;

    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.answer(&mut call, 0);
    onsip.hang_up(&mut call);
    daemon.until_count("events_duplicate_total", &[SERVICE], 3).await;

    let events = daemon.until_calls(3).await;
    assert_eq!(events.len(), 3, "{events:#?}");
    assert_once_each(&events);
    daemon.until_exactly("events_received_total", &[SERVICE], 6).await;
    for name in ["anna", "bert"] {
        daemon.until_exactly("account_events_total", &[("account", name)], 3).await;
        daemon.until_count("account_last_event_timestamp_seconds", &[("account", name)], 1).await;
    }
}

#[tokio::test]
async fn copies_at_once_and_after_the_end_of_the_call_change_nothing() {
    let (onsip, anna, daemon) = running().await;
    onsip.style(|style| {
        style.duplicated = 1.0;
        style.held_back = 1.0;
        style.held_back_for = Duration::from_millis(400);
    });
    let mut call = onsip.call_out(anna.as_str(), "sip:bert@acme.test");
    onsip.confirm(&mut call, 0);
    onsip.hang_up(&mut call);
    daemon.until_count("events_duplicate_total", &[SERVICE], 3).await;

    let events = daemon.until_calls(3).await;
    assert_eq!(texts(&events, "type"), ["created", "confirmed", "ended"].map(|kind| format!("com.onsip.call.{kind}")));
    assert!(events.iter().all(|event| event["data"]["direction"] == "outbound"), "{events:#?}");
}

#[tokio::test]
async fn what_is_delayed_or_old_is_marked_as_replayed() {
    let (onsip, anna, daemon) = running().await;
    let to = own(&anna).to_string();
    let stamped =
        item(CALLS, &to, &anna, "stamped", &ringing("one")).replace("</message>", &format!("{DELAY}</message>"));
    onsip.inject(&anna, &stamped);
    let old = ringing("two").replacen('>', " publish-time='2020-02-03T04:05:06Z'>", 1);
    onsip.inject(&anna, &item(CALLS, &to, &anna, "old", &old));
    let fresh = ringing("three").replacen('>', &format!(" publish-time='{}'>", publish_time(Moment::now())), 1);
    onsip.inject(&anna, &item(CALLS, &to, &anna, "fresh", &fresh));
    let odd = ringing("four").replacen('>', " publish-time='2009-11-23T:328:22Z'>", 1);
    onsip.inject(&anna, &item(CALLS, &to, &anna, "odd", &odd));

    let events = daemon.until_calls(4).await;
    let of = |id: &str| events.iter().find(|event| event["data"]["item_id"] == id).unwrap();
    let replayed = ["stamped", "old", "fresh", "odd"].map(|id| of(id)["data"]["replayed"].as_bool().unwrap());
    assert_eq!(replayed, [true, true, false, false]);
    assert_eq!(moment(&of("old")["time"]), "2020-02-03T04:05:06Z".parse().unwrap());
    assert_eq!(of("odd")["data"]["published_at"], "2009-11-23T:328:22Z", "as it was written");
    assert_eq!(of("odd")["time"], of("odd")["data"]["received_at"], "what is no time is none");
}

#[tokio::test]
async fn an_end_without_a_beginning_and_a_purge_are_told_as_ends() {
    let (onsip, anna, daemon) = running().await;
    onsip.retract("active-calls", &leaf(&anna), "never-seen");
    daemon.until_calls(1).await;
    let _call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.purge("active-calls", &leaf(&anna));

    let events = daemon.until_calls(3).await;
    let (unseen, purged) = (&events[0]["data"], &events[2]["data"]);
    assert_eq!((&unseen["answered"], &unseen["direction"]), (&json!(false), &json!("unknown")));
    assert_eq!(unseen["end_reason"], "retracted");
    assert_eq!((&purged["end_reason"], &purged["direction"]), (&json!("purged"), &json!("inbound")));
    assert_ne!(events[0]["partitionkey"], events[1]["partitionkey"]);
}

#[tokio::test]
async fn a_rule_decides_what_a_sink_gets_and_one_that_fails_lets_nothing_through() {
    let (onsip, anna) = service_with_anna().await;
    let file = |name: &str, when: &str| format!("type = \"file\"\npath = \"{name}.jsonl\"\nwhen = '{when}'");
    let daemon = Setup::of(&onsip)
        .account("front-desk", &anna)
        .sink("rings", &file("rings", r#"type == "com.onsip.call.requested""#))
        .sink("talks", &file("talks", "data.talk_seconds != null && data.talk_seconds >= 0.0"))
        .sink("broken", &file("broken", r#"data.payload == "x""#))
        .start_active(1)
        .await;

    let mut call = onsip.call_in(anna.as_str(), CALLER, 2);
    onsip.answer(&mut call, 1);
    onsip.hang_up(&mut call);
    daemon.until_calls(5).await;
    let rings = daemon.until_events("rings.jsonl", 2, SOON).await;
    assert_eq!(texts(&rings, "type"), ["com.onsip.call.requested"; 2]);
    let talks = daemon.until_events("talks.jsonl", 1, SOON).await;
    assert_eq!(
        (texts(&talks, "type"), talks[0]["data"]["answered"].clone()),
        (vec!["com.onsip.call.ended"], json!(true))
    );
    assert!(!daemon.folder().join("broken.jsonl").exists(), "a rule that fails counts as false");
    daemon.until_settled().await;
}

#[tokio::test]
async fn every_line_of_every_service_follows_the_printed_schema() {
    let (onsip, anna) = service_with_anna().await;
    let services = ["active-calls", "user-agents", "voicemail"];
    let nodes = services.map(|service| format!("subscribe.{service} = [\"{}\"]", node(&anna))).join("\n");
    let lines = format!("password = \"{PASSWORD}\"\n{nodes}");
    let daemon = Setup::of(&onsip).account_with("front-desk", &anna, &lines).start().await;
    daemon.until_metric("subscriptions", &[("state", "active")], SOON, |active| active > 2.0).await;

    let mut call = onsip.call_between(anna.as_str(), anna.as_str(), 1);
    onsip.answer(&mut call, 0);
    onsip.hang_up(&mut call);
    let agent = UserAgent {
        contact: "sip:anna@192.0.2.7:5060".to_owned(),
        device: "desk \"phone\"".to_owned(),
        ..UserAgent::default()
    };
    onsip.register(anna.as_str(), &agent);
    onsip.unregister(anna.as_str(), &agent.contact);
    let voicemail = Voicemail { mailbox: 7, caller_id: "\"B\" <b>".to_owned(), ..Voicemail::default() };
    onsip.voicemail(anna.as_str(), "vm-1", &voicemail);
    onsip.retract("voicemail", &leaf(&anna), "vm-1");

    let events = daemon.until_events(EVENTS, 10, SOON).await;
    assert_follow_schema(&events);
    let seen: BTreeSet<_> =
        texts(&events, "type").into_iter().map(|kind| kind.trim_start_matches("com.onsip.")).collect();
    let all = ["call.confirmed", "call.created", "call.ended", "call.requested", "item.published", "item.retracted"];
    let all = all.into_iter().chain(["registration.removed", "registration.updated"]);
    assert_eq!(seen, all.collect());
    for service in services {
        assert!(events.iter().any(|event| event["data"]["service"] == service), "no event of {service}");
    }
}

fn assert_follow_schema(events: &[Value]) {
    let printed = Command::new(env!("CARGO_BIN_EXE_onsip-router")).args(["schema", "event"]).output().unwrap();
    let schema: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for event in events {
        let faults: Vec<_> = validator.iter_errors(event).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?} in {event:#}");
    }
}

#[tokio::test]
async fn a_sink_that_is_down_holds_up_no_other_and_gets_everything_later() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna);
    let daemon = setup.sink("away", "type = \"file\"\npath = \"away/events.jsonl\"").start_active(1).await;

    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    let events = daemon.until_calls(2).await;
    until_down(&daemon, "away", 0.0).await;
    daemon.until_metric("sink_queue_events", &[("sink", "away")], SOON, |queued| queued >= 2.0).await;
    std::fs::create_dir(daemon.folder().join("away")).unwrap();
    assert_eq!(daemon.until_events("away/events.jsonl", 2, SOON).await, events);
    until_down(&daemon, "away", 1.0).await;
}

async fn until_down(daemon: &Daemon, sink: &str, up: f64) {
    daemon.until_metric("sink_up", &[("sink", sink)], SOON, |value| (value - up).abs() < 0.5).await;
}

#[tokio::test]
async fn a_burst_is_delivered_whole_and_every_call_in_its_order() {
    let (onsip, anna, daemon) = running().await;
    let mut calls: Vec<_> = (0..150).map(|_| onsip.call_in(anna.as_str(), CALLER, 2)).collect();
    for call in &mut calls {
        onsip.answer(call, 0);
    }
    for call in &mut calls {
        onsip.hang_up(call);
    }
    let events = daemon.until_calls(750).await;
    assert_eq!((events.len(), onsip.observed().overflows), (750, 0));
    assert_once_each(&events);
    for call in &calls {
        let own: Vec<_> = events.iter().filter(|event| event["data"]["call_id"] == call.call_id()).cloned().collect();
        let kinds =
            ["requested", "requested", "confirmed", "ended", "ended"].map(|kind| format!("com.onsip.call.{kind}"));
        assert_eq!(texts(&own, "type"), kinds);
        assert!(rises(&texts(&own, "sequence")), "{own:#?}");
    }
}

#[tokio::test]
async fn several_items_and_ends_in_one_message_are_told_in_their_order() {
    let (onsip, anna, daemon) = running().await;
    onsip.style(|style| style.crowded = 1.0); // an end of something unknown besides
    let entry = |id: &str| Entry::Item(id.to_owned(), ringing(id));
    let gone = |id: &str| Entry::Retract(id.to_owned());
    onsip.publish_all("active-calls", &leaf(&anna), vec![entry("a"), entry("b"), gone("a"), entry("c"), gone("b")]);
    let events = daemon.until_calls(6).await;
    let items: Vec<_> = events.iter().map(|event| event["data"]["item_id"].as_str().unwrap()).collect();
    assert_eq!(items[1..], ["a", "b", "a", "c", "b"]);
    assert_eq!(events[0]["data"]["direction"], "unknown");
    assert_once_each(&events);
}
