//! Delivery while sinks fail: what is promised to those that work, and to what waits for those that do not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use onsip_router::domain::BareJid;
use onsip_router::simulator::Simulator;

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

/// A sink whose folder does not exist yet, with these further lines.
fn broken(lines: &str) -> String {
    format!("type = \"file\"\npath = \"absent/events.jsonl\"\n{lines}")
}

fn mend(daemon: &Daemon) {
    fs::create_dir(daemon.folder().join("absent")).unwrap();
}

/// Calls that come and end; each is two events.
fn calls_come(onsip: &Simulator, jid: &BareJid, count: usize) {
    for _ in 0..count {
        let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
    }
}

#[tokio::test]
async fn a_dead_sink_delays_no_other_and_gets_everything_in_order_once_it_is_back() {
    let (onsip, anna) = service_with_anna().await;
    let daemon = Setup::of(&onsip).account("front-desk", &anna).sink("broken", &broken("")).start_active(1).await;
    calls_come(&onsip, &anna, 20);
    daemon.until_calls(40).await;
    daemon.until_metric("sink_up", &[("sink", "broken")], SOON, |up| up < 0.5).await;
    daemon.until_metric("sink_queue_events", &[("sink", "broken")], SOON, |queued| queued >= 40.0).await;
    assert!(daemon.metric("sink_queue_bytes", &[("sink", "broken")]).await > 10_000.0);
    assert_eq!(daemon.count("sink_up", &[("sink", "log")]).await, 1);
    mend(&daemon);
    let told = daemon.until_events("absent/events.jsonl", 40, SOON).await;
    daemon.until_metric("sink_queue_bytes", &[("sink", "broken")], SOON, |bytes| bytes < 0.5).await;
    daemon.until_metric("sink_up", &[("sink", "broken")], SOON, |up| up > 0.5).await;
    let types: Vec<_> = told.iter().map(|event| (event["partitionkey"].as_str(), event["type"].as_str())).collect();
    for (call, kind) in &types {
        if kind.unwrap().ends_with("ended") {
            let first = types.iter().find(|(other, _)| other == call).unwrap();
            assert!(first.1.unwrap().ends_with("requested"), "{types:?}");
        }
    }
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_for_its_sink_alone_and_counts_them() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("broken", &broken("max_queue = \"8KiB\""));
    let daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, 30);
    daemon.until_calls(60).await;
    let full = [("sink", "broken"), ("reason", "full")];
    daemon.until_count("sink_dropped_total", &full, 40).await;
    daemon.until_metric("sink_queue_bytes", &[("sink", "broken")], SOON, |bytes| bytes <= 8192.0).await;
    daemon.until_logged("dropped", SOON).await;
    daemon.until_ready().await;
    mend(&daemon);
    let waited = daemon
        .until("what was left to arrive", SOON, async || {
            let told = daemon.events("absent/events.jsonl").len();
            let dropped = daemon.count("sink_dropped_total", &full).await;
            (u64::try_from(told).unwrap() + dropped == 60).then_some(told)
        })
        .await;
    // In order within each call; across calls the oldest of several come first after an outage.
    let all = calls(daemon.events(EVENTS));
    let newest: BTreeSet<_> = texts(&all, "id").split_off(60 - waited).into_iter().collect();
    let told = daemon.events("absent/events.jsonl");
    assert_eq!(texts(&told, "id").into_iter().collect::<BTreeSet<_>>(), newest, "the newest are left");
}

#[tokio::test]
async fn a_full_queue_that_blocks_stops_receiving_until_there_is_room() {
    let (onsip, anna) = service_with_anna().await;
    let lines = broken("max_queue = \"4KiB\"\nwhen_full = \"block\"");
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("broken", &lines);
    let daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, 10);
    daemon.until_metric("sink_blocking", &[("sink", "broken")], SOON, |blocks| blocks > 0.5).await;
    let (status, reasons) = daemon.readyz().await;
    assert!(status == 503 && reasons.contains("queue of sink broken is full"), "{status} {reasons}");
    calls_come(&onsip, &anna, 10);
    daemon.until_metric("messages_in_hand", &[], SOON, |held| held > 0.5).await;
    // What was committed before gets out; then the sink that fails is tried again and again, and the other gets nothing.
    daemon.until_settled_for("log").await;
    let before = daemon.events(EVENTS).len();
    let retried = [("sink", "broken"), ("outcome", "retried")];
    let tries = daemon.count("sink_deliveries_total", &retried).await;
    daemon.until_count("sink_deliveries_total", &retried, tries + 2).await;
    assert!(daemon.metric("messages_in_hand", &[]).await > 0.5);
    assert_eq!(daemon.events(EVENTS).len(), before, "receiving stops for all");
    mend(&daemon);
    daemon.until_calls(40).await;
    daemon.until_events("absent/events.jsonl", 40, SOON).await;
    daemon.until_ready().await;
    assert_eq!(daemon.count("sink_dropped_total", &[("sink", "broken"), ("reason", "full")]).await, 0);
    daemon.until_metric("sink_blocking", &[("sink", "broken")], SOON, |blocks| blocks < 0.5).await;
}

#[tokio::test]
async fn after_an_outage_fresh_events_come_promptly_while_the_backlog_drains_at_its_rate() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("broken", &broken("backlog_rate = 4"));
    let daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, 60);
    daemon.until_calls(120).await;
    daemon.until_metric("sink_up", &[("sink", "broken")], SOON, |up| up < 0.5).await;
    mend(&daemon);
    // From now on what comes is fresh: the backlog is what waited when the sink came back.
    daemon.until_metric("sink_up", &[("sink", "broken")], SOON, |up| up > 0.5).await;
    let call = onsip.call_in(anna.as_str(), CALLER, 1);
    let told = daemon
        .until("the fresh event", SOON, async || {
            let told = daemon.events("absent/events.jsonl");
            told.iter().any(|event| event["data"]["call_id"] == call.call_id()).then_some(told.len())
        })
        .await;
    assert!(told < 100, "it did not wait for the backlog: {told}");
    daemon.until_events("absent/events.jsonl", 121, Duration::from_mins(2)).await;
}

#[tokio::test]
async fn a_sink_that_hangs_is_down_after_its_time_and_the_daemon_stops_in_time() {
    let (onsip, anna) = service_with_anna().await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let hanging = format!("type = \"file\"\npath = \"{}\"\ntimeout = \"300ms\"", pipe.display());
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("hanging", &hanging);
    let mut daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, 1);
    daemon.until_calls(2).await;
    daemon.until_metric("sink_up", &[("sink", "hanging")], SOON, |up| up < 0.5).await;
    daemon.until_logged("no answer within 300ms", SOON).await;
    daemon.until_count("sink_deliveries_total", &[("sink", "hanging"), ("outcome", "retried")], 2).await;
    assert_eq!(daemon.terminate().await.code(), Some(0), "{}", daemon.log());
}
