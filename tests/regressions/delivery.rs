//! Deliveries that were lost or repeated, and sinks that looked well: A1 to A3, and what one sink may cost others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use onsip_router::domain::BareJid;
use onsip_router::simulator::Simulator;

use crate::support::condition::SOON;
use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, status};
use crate::support::stage::*;

/// Long enough for what takes several answers of a slow receiver.
const LATE: Duration = Duration::from_mins(3);

fn webhook(receiver: &Receiver, lines: &str) -> String {
    format!("type = \"webhook\"\nurl = \"http://{}/\"\n{lines}", receiver.address())
}

/// Takes everything, each after this time.
fn slow(time: Duration) -> Receiver {
    Receiver::start_at(([127, 0, 0, 1], 0).into(), move |_| async move {
        tokio::time::sleep(time).await; // that is how slow it is
        status(200)
    })
}

/// Answers with the status that is set.
fn set_to(first: u16) -> (Receiver, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(first));
    let said = Arc::clone(&answer);
    (Receiver::start(move |_| status(said.load(Ordering::SeqCst))), answer)
}

fn calls_come(onsip: &Simulator, jid: &BareJid, count: usize) {
    for _ in 0..count {
        let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
    }
}

async fn until_delivered(daemon: &Daemon, sink: &str, count: f64) {
    let labels = [("sink", sink), ("outcome", "delivered")];
    daemon.until_metric("sink_deliveries_total", &labels, LATE, |delivered| delivered >= count).await;
}

/// How often each event was posted.
fn posts(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut posts = BTreeMap::new();
    for post in receiver.received() {
        *posts.entry(post.header("webhook-id").to_owned()).or_default() += 1;
    }
    posts
}

#[tokio::test]
async fn a1_a_receiver_that_needs_three_seconds_gets_each_event_once() {
    let receiver = slow(Duration::from_secs(3));
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &webhook(&receiver, ""));
    let daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, 24);
    until_delivered(&daemon, "crm", 48.0).await;
    let posts = posts(&receiver);
    assert!(posts.len() >= 48 && posts.values().all(|times| *times == 1), "{posts:?}");
}

#[tokio::test]
async fn a1_one_post_at_a_time_gives_up_none_that_was_not_begun() {
    let receiver = slow(Duration::from_millis(400));
    let (onsip, anna) = service_with_anna().await;
    let lines = "concurrency = 1\ntimeout = \"2s\"";
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &webhook(&receiver, lines));
    let daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, 15);
    until_delivered(&daemon, "crm", 30.0).await;
    let posts = posts(&receiver);
    assert!(posts.len() >= 30 && posts.values().all(|times| *times == 1), "{posts:?}");
    assert_eq!(daemon.count("sink_deliveries_total", &[("sink", "crm"), ("outcome", "retried")]).await, 0);
}

#[tokio::test]
async fn a1_what_is_under_way_at_a_clean_stop_or_a_reload_is_not_posted_again() {
    let receiver = slow(Duration::from_secs(2));
    let (onsip, anna) = service_with_anna().await;
    let setup = |lines: &str| Setup::of(&onsip).account("front-desk", &anna).sink("crm", &webhook(&receiver, lines));
    let mut daemon = setup("").start_active(1).await;
    calls_come(&onsip, &anna, 20);
    let begun = async |count: usize| {
        daemon.until("posts under way", SOON, async || (receiver.received().len() >= count).then_some(())).await;
    };
    begun(4).await;
    daemon.rewrite_config(&setup("backlog_rate = 500").toml());
    daemon.reload().await;
    daemon.until_metric("config_reloads_total", &[("outcome", "applied")], SOON, |reloads| reloads > 0.5).await;
    begun(20).await;
    assert_eq!(daemon.terminate().await.code(), Some(0), "{}", daemon.log());
    daemon.start_again().await;
    daemon.until("all of it", LATE, async || (posts(&receiver).len() >= 40).then_some(())).await;
    daemon.until_metric("sink_queue_events", &[("sink", "crm")], LATE, |queued| queued < 0.5).await;
    let posts = posts(&receiver);
    assert!(posts.values().all(|times| *times == 1), "{posts:?}");
}

#[tokio::test]
async fn a2_what_waits_behind_a_sink_that_refuses_everything_is_delivered_once_it_takes_it() {
    for refusal in [404, 401] {
        let (receiver, answer) = set_to(503);
        let (onsip, anna) = service_with_anna().await;
        let setup = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &webhook(&receiver, ""));
        let daemon = setup.start_active(1).await;
        calls_come(&onsip, &anna, 50);
        daemon.until_metric("sink_queue_events", &[("sink", "crm")], SOON, |queued| queued > 99.5).await;
        daemon.until_metric("sink_up", &[("sink", "crm")], SOON, |up| up < 0.5).await;
        answer.store(refusal, Ordering::SeqCst);
        daemon.until_logged(&format!(" {refusal} "), SOON).await;
        answer.store(200, Ordering::SeqCst);
        daemon.until_metric("sink_queue_events", &[("sink", "crm")], LATE, |queued| queued < 0.5).await;
        assert_eq!(daemon.count("sink_dead_events", &[("sink", "crm")]).await, 0, "{refusal}");
        assert_eq!(daemon.count("sink_up", &[("sink", "crm")]).await, 1, "{refusal}");
    }
}

#[tokio::test]
async fn a3_a_sink_that_refuses_everything_is_down_and_says_why() {
    let (receiver, _) = set_to(401);
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("crm", &webhook(&receiver, ""));
    let daemon = setup.start_active(1).await;
    calls_come(&onsip, &anna, 10);
    daemon.until_metric("sink_up", &[("sink", "crm")], SOON, |up| up < 0.5).await;
    let sinks = daemon.json("/api/v1/sinks").await.to_string();
    assert!(sinks.contains("401 Unauthorized"), "{sinks}");
    assert!(daemon.get("/", &[]).await.body.contains("401 Unauthorized"));
    assert_eq!(daemon.count("sink_dead_events", &[("sink", "crm")]).await, 0);
}

/// A sink that is slow, one that hangs and one that refuses everything, all of them owed more than they take.
#[tokio::test]
async fn what_sinks_in_trouble_cost_a_healthy_one_is_no_second() {
    let (late, never, refusing) = (slow(Duration::from_secs(3)), slow(Duration::from_hours(1)), set_to(403).0);
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).account("front-desk", &anna).sink("late", &webhook(&late, ""));
    let setup = setup.sink("never", &webhook(&never, "timeout = \"1s\"")).sink("refusing", &webhook(&refusing, ""));
    let daemon = setup.start_active(1).await;
    for sink in ["never", "refusing"] {
        calls_come(&onsip, &anna, 100);
        daemon.until_metric("sink_up", &[("sink", sink)], SOON, |up| up < 0.5).await;
    }
    calls_come(&onsip, &anna, 100);
    until_delivered(&daemon, "log", 600.0).await;
    let metrics = daemon.metrics().await;
    let of_log = |name: &str, more: &[(&str, &str)]| metrics.value(name, &[&[("sink", "log")], more].concat()).unwrap();
    let all = of_log("event_delivery_seconds_count", &[]);
    let within = of_log("event_delivery_seconds_bucket", &[("le", "1")]);
    assert!(all > 599.5 && within > all - 0.5, "{within} of {all} within a second");
}
