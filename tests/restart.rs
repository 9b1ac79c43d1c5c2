//! A restart, clean or not: the same subscription carries on, and what was committed is delivered.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;

use onsip_router::domain::BareJid;
use onsip_router::simulator::{Approval, Request, Simulator, Traffic};
use serde_json::Value;

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

/// Three accounts with lively traffic.
struct Busy {
    onsip: Simulator,
    jids: Vec<BareJid>,
    daemon: Daemon,
}

impl Busy {
    async fn start() -> Self {
        let onsip = service().await;
        let jids: Vec<_> = (1..=3).map(|n| account(&onsip, &format!("user{n}@acme.test"))).collect();
        let setup = Setup::of(&onsip);
        let setup = jids.iter().enumerate().fold(setup, |setup, (n, jid)| setup.account(&format!("user-{n}"), jid));
        let daemon = setup.start_active(3).await;
        onsip.run_traffic(Traffic::new(jids.iter().map(ToString::to_string).collect(), 1200.0));
        Self { onsip, jids, daemon }
    }

    fn all_subids(&self) -> Vec<Vec<String>> {
        self.jids.iter().map(|jid| subids(&self.onsip, jid)).collect()
    }

    fn total(&self, request: Request) -> u64 {
        self.onsip.observed().total(request)
    }

    /// Events in the file, each told once; a line that came twice must be the same line.
    fn told(&self) -> Told {
        let text = std::fs::read_to_string(self.daemon.folder().join(EVENTS)).unwrap_or_default();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let mut told = Told::default();
        for line in whole.lines() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line:?}"));
            let id = event["id"].as_str().unwrap().to_owned();
            match told.lines.insert(id, line.to_owned()) {
                Some(earlier) => {
                    assert_eq!(earlier, line, "one id for two events");
                    told.repeated += 1;
                }
                None => told.events.push(event),
            }
        }
        told
    }

    /// How many events were committed by now, as far as the daemon says.
    async fn committed(&self) -> u64 {
        let metrics = self.daemon.metrics().await;
        let sum = |name| metrics.value(name, &[SERVICE]).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole")]
        let committed = (sum("events_received_total") - sum("events_duplicate_total")) as u64;
        committed
    }

    async fn until_told(&self, least: usize) {
        self.daemon
            .until(&format!("{least} events"), SOON, async || (self.told().events.len() >= least).then_some(()))
            .await;
    }
}

#[derive(Default)]
struct Told {
    lines: BTreeMap<String, String>,
    events: Vec<Value>,
    repeated: usize,
}

impl Told {
    /// What happened was told as one event and not as two, and every call in its order.
    fn assert_consistent(&self) {
        let happened: BTreeSet<_> = self.events.iter().map(what_happened).collect();
        assert_eq!(happened.len(), self.events.len(), "something has two ids");
        let mut calls: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for event in &self.events {
            calls.entry(event["partitionkey"].as_str().unwrap()).or_default().push(event["sequence"].as_str().unwrap());
        }
        for (call, sequence) in calls {
            assert!(sequence.windows(2).all(|pair| pair[0] < pair[1]), "call {call}: {sequence:?}");
        }
    }
}

#[tokio::test]
async fn a_clean_stop_under_traffic_loses_nothing_repeats_nothing_and_keeps_the_subscriptions() {
    let mut busy = Busy::start().await;
    let (before, mut told, mut sum) = (busy.all_subids(), 0, 0);
    for round in 1..=3 {
        busy.until_told(told + 25).await;
        sum += busy.committed().await;
        let renewed = busy.total(Request::Options);
        let status = busy.daemon.terminate().await;
        assert!(status.success(), "the daemon ended with {status}: {}", busy.daemon.log());
        told = busy.told().events.len();
        assert!(told as u64 >= sum, "round {round}: {sum} were committed before the stop, {told} are in the file");
        assert_eq!(busy.all_subids(), before, "a clean stop does not unsubscribe");
        busy.daemon.start_again().await;
        busy.daemon.until_active(3).await;
        assert_eq!((busy.total(Request::Subscribe), busy.all_subids()), (3, before.clone()));
        assert!(busy.total(Request::Options) >= renewed + 3, "every subscription is renewed after a restart");
        assert_eq!(busy.daemon.count("subscriptions_reused_total", &[SERVICE]).await, 3);
        assert_eq!(busy.daemon.count("subscriptions_created_total", &[SERVICE]).await, 0);
    }
    busy.until_told(told + 25).await;
    let told = busy.told();
    told.assert_consistent();
    assert_eq!(told.repeated, 0, "a clean stop settles what it delivered");
}

#[tokio::test]
async fn a_kill_under_traffic_loses_nothing_that_was_committed_and_keeps_the_subscriptions() {
    let mut busy = Busy::start().await;
    let (before, mut told, mut sum) = (busy.all_subids(), 0, 0);
    for round in 1..=4 {
        busy.until_told(told + 20).await;
        sum += busy.committed().await;
        busy.daemon.kill9().await;
        busy.daemon.start_again().await;
        busy.daemon.until_active(3).await;
        busy.daemon.until_metric("sink_queue_events", &[("sink", "log")], SOON, |queued| queued < 1.0).await;
        told = busy.told().events.len();
        assert!(told as u64 >= sum, "round {round}: {sum} were committed before the kill, {told} are in the file");
        assert_eq!((busy.total(Request::Subscribe), busy.all_subids()), (3, before.clone()));
    }
    busy.told().assert_consistent();
}

#[tokio::test]
async fn a_call_goes_on_where_it_was_and_an_event_seen_before_stays_seen() {
    let (onsip, anna, mut daemon) = running().await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 2);
    let before = daemon.until_calls(2).await;
    daemon.until_settled().await;
    daemon.kill9().await;
    daemon.start_again().await;
    daemon.until_active(1).await;

    // A late copy of what was told before the crash.
    let payload = call.legs[0].call.xml(before[0]["data"]["published_at"].as_str());
    onsip.publish("active-calls", &leaf(&anna), &call.legs[0].item_id, &payload);
    daemon.until_count("events_duplicate_total", &[SERVICE], 1).await;
    onsip.answer(&mut call, 0);
    daemon.until_calls(4).await;
    let status = daemon.terminate().await;
    assert!(status.success(), "{status}");
    daemon.start_again().await;
    daemon.until_active(1).await;
    onsip.hang_up(&mut call);

    let events = daemon.until_calls(5).await;
    let sequence = texts(&events, "sequence");
    assert!(sequence.windows(2).all(|pair| pair[0] < pair[1]), "{sequence:?}");
    let keys: BTreeSet<_> = texts(&events, "partitionkey").into_iter().collect();
    assert_eq!((keys.len(), texts(&events, "subject")[4]), (1, texts(&before, "subject")[0]));
    let ended = &events[4]["data"];
    assert_eq!((&ended["answered"], &ended["call_id"]), (&true.into(), &call.call_id().into()), "{ended:#}");
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 1);
}

#[tokio::test]
async fn a_line_that_a_crash_left_half_written_spoils_no_other() {
    let (onsip, anna, mut daemon) = running().await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_calls(1).await;
    daemon.until_settled().await;
    daemon.kill9().await;
    let file = daemon.folder().join(EVENTS);
    let before = std::fs::read_to_string(&file).unwrap();
    let half = &before[..before.len() / 2];
    OpenOptions::new().append(true).open(&file).unwrap().write_all(half.as_bytes()).unwrap();

    daemon.start_again().await;
    daemon.until_active(1).await;
    onsip.hang_up(&mut call);
    let after = daemon
        .until("the end of the call", SOON, async || {
            Some(std::fs::read_to_string(&file).unwrap()).filter(|text| text.contains("call.ended"))
        })
        .await;
    let rest = after.strip_prefix(&format!("{before}{half}\n")).expect("nothing is cut off, and a fresh line begins");
    let rest: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(texts(&calls(rest), "type"), ["com.onsip.call.ended"]);
}

#[tokio::test]
async fn what_a_sink_could_not_take_is_delivered_after_a_restart() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).no_sinks().sink("away", "type = \"file\"\npath = \"away/events.jsonl\"");
    let mut daemon = setup.account("front-desk", &anna).start_active(1).await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_metric("sink_queue_events", &[("sink", "away")], SOON, |queued| queued >= 2.0).await;
    daemon.kill9().await;
    std::fs::create_dir(daemon.folder().join("away")).unwrap();
    daemon.start_again().await;
    let events = daemon.until_events("away/events.jsonl", 2, SOON).await;
    assert_eq!(texts(&calls(events), "type"), ["com.onsip.call.requested", "com.onsip.call.ended"]);
}

#[tokio::test]
async fn a_request_still_undecided_at_a_crash_is_waited_for_and_not_repeated() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.approval = Approval::Silence);
    let mut daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    daemon.until_subscriptions("pending", 1).await;
    let before = subids(&onsip, &anna);
    daemon.kill9().await;
    daemon.start_again().await;
    daemon.until_subscriptions("pending", 1).await;
    onsip.approve_now(&anna, &node(&anna));
    daemon.until_active(1).await;
    assert_eq!((asked(&onsip, &anna, Request::Subscribe), subids(&onsip, &anna)), (1, before));
}

#[tokio::test]
async fn what_changed_at_the_service_during_the_absence_is_found_by_listing() {
    let (onsip, anna, mut daemon) = running().await;
    let before = subids(&onsip, &anna);
    daemon.kill9().await;
    onsip.end_leases(&anna);
    daemon.start_again().await;
    daemon.until_active(1).await;
    assert!(onsip.until_subscribed(&anna, &node(&anna), SOON).await, "{}", daemon.log());
    assert_eq!((asked(&onsip, &anna, Request::Subscribe), subids(&onsip, &anna)), (1, before));

    daemon.kill9().await;
    onsip.forget(&anna, &node(&anna));
    daemon.start_again().await;
    daemon.until_active(1).await;
    assert_eq!((asked(&onsip, &anna, Request::Subscribe), subids(&onsip, &anna).len()), (2, 1));
}

#[tokio::test]
async fn a_lost_database_costs_no_second_subscription() {
    let (onsip, anna, mut daemon) = running().await;
    let before = subids(&onsip, &anna);
    daemon.kill9().await;
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(daemon.folder().join(name));
    }
    daemon.start_again().await;
    daemon.until_active(1).await;
    assert_eq!((asked(&onsip, &anna, Request::Subscribe), subids(&onsip, &anna)), (1, before));
}
