//! Canaries: events of the router's own that show whether a sink takes events, and disturb nobody else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;

use onsip_router::domain::event::Event;
use serde_json::Value;

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

const TRIED: (&str, &str) = ("sink", "tried");

/// A sink that wants no event but its canaries, one each second.
fn tried(path: &str) -> String {
    format!("type = \"file\"\npath = \"{path}\"\nwhen = \"false\"\ncanary = \"1s\"")
}

fn assert_canaries(events: &[Value]) {
    let schema = jsonschema::draft202012::new(&serde_json::to_value(schemars::schema_for!(Event)).unwrap()).unwrap();
    for event in events {
        assert!(schema.is_valid(event), "{event:#}");
        assert_eq!(event["type"], "com.onsip.canary");
        assert_eq!((&event["subject"], &event["data"]["sink"]), (&"tried".into(), &"tried".into()));
    }
    let ids: BTreeSet<_> = texts(events, "id").into_iter().collect();
    assert_eq!(ids.len(), events.len(), "an id of its own for each");
    assert!(texts(events, "sequence").is_sorted());
}

/// The sums that real events move.
async fn sums(daemon: &Daemon) -> Vec<u64> {
    let mut sums = Vec::new();
    for name in ["events_received_total", "event_commit_seconds_count", "event_delivery_seconds_count"] {
        sums.push(daemon.count(name, &[]).await);
    }
    sums.push(daemon.count("sink_deliveries_total", &[]).await);
    sums
}

#[tokio::test]
async fn a_sink_gets_its_canaries_whatever_its_rule_and_nobody_else_sees_any() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("tried", &tried("tried.jsonl"));
    let daemon = setup.start_active(1).await;
    let told = daemon.until_events("tried.jsonl", 3, SOON).await;
    assert_canaries(&told);
    daemon.until_count("sink_canary_seconds_count", &[TRIED], 3).await;
    let last = daemon.metric("sink_canary_last_success_timestamp_seconds", &[TRIED]).await;
    daemon.until_metric("sink_canary_last_success_timestamp_seconds", &[TRIED], SOON, |next| next > last).await;
    assert_eq!(daemon.count("sink_canary_interval_seconds", &[TRIED]).await, 1);
    assert_eq!(daemon.count("sink_canary_interval_seconds", &[("sink", "log")]).await, 0);
    assert_eq!(daemon.count("sink_canary_seconds_count", &[("sink", "log")]).await, 0);
    assert_eq!(sums(&daemon).await, [0, 0, 0, 0], "no metric of the events counts them");
    assert!(daemon.events(EVENTS).is_empty(), "no other sink gets them");
}

#[tokio::test]
async fn while_a_sink_takes_nothing_one_canary_waits_and_once_it_does_they_go_on() {
    let (onsip, anna) = service_with_anna().await;
    // Another sink with canaries of its own shows how the time passes.
    let setup = Setup::of(&onsip)
        .account("front-desk", &anna)
        .sink("tried", &tried("absent/tried.jsonl"))
        .sink("other", &tried("other.jsonl"));
    let mut daemon = setup.start_active(1).await;
    daemon.until_metric("sink_up", &[TRIED], SOON, |up| up < 0.5).await;
    daemon.kill9().await;
    daemon.start_again().await; // the canary is still owed, and a new life must know of it
    daemon.until_metric("sink_up", &[TRIED], SOON, |up| up < 0.5).await;
    let others = daemon.events("other.jsonl").len();
    let others = daemon.until_events("other.jsonl", others + 3, SOON).await;
    daemon.until_exactly("sink_queue_events", &[TRIED], 1).await;
    // It does not grow old: another one takes its place.
    let first = daemon.metric("sink_queue_oldest_timestamp_seconds", &[TRIED]).await;
    daemon.until_metric("sink_queue_oldest_timestamp_seconds", &[TRIED], SOON, |oldest| oldest > first + 1.5).await;
    assert_eq!(daemon.count("sink_canary_seconds_count", &[TRIED]).await, 0);
    fs::create_dir(daemon.folder().join("absent")).unwrap();
    let told = daemon.until_events("absent/tried.jsonl", 3, SOON).await;
    assert_canaries(&told);
    let (outage, made) = (texts(&others, "sequence"), texts(&told, "sequence"));
    assert!(made[1] >= outage[outage.len() - 1], "one from the outage: {made:?}, while others got {outage:?}");
    daemon.until_metric("sink_up", &[TRIED], SOON, |up| up > 0.5).await;
}

#[tokio::test]
async fn a_canary_that_nobody_wants_any_more_is_not_owed_for_ever() {
    let (onsip, anna) = service_with_anna().await;
    let wanted = tried("absent/tried.jsonl");
    let setup = |lines: &str| Setup::of(&onsip).account("front-desk", &anna).sink("tried", lines);
    let daemon = setup(&wanted).start_active(1).await;
    daemon.until_metric("sink_up", &[TRIED], SOON, |up| up < 0.5).await;
    daemon.until_exactly("sink_queue_events", &[TRIED], 1).await;
    setup(&wanted.replace("\ncanary = \"1s\"", "")).reload(&daemon).await;
    daemon.until_metric("sink_queue_events", &[TRIED], SOON, |owed| owed < 0.5).await;
}
