//! Windows in which events may have been missed, end to end: each is told once, when events can arrive again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use jiff::Timestamp;
use onsip_router::domain::moment::Moment;
use onsip_router::simulator::Request;
use serde_json::Value;

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

async fn until_gaps(daemon: &Daemon, count: usize) -> Vec<Value> {
    let enough = async || Some(gaps(once(daemon.events(EVENTS)))).filter(|gaps| gaps.len() >= count);
    daemon.until(&format!("{count} gaps"), SOON, enough).await
}

fn window(gap: &Value) -> (Timestamp, Timestamp) {
    let end = |key: &str| gap["data"][key].as_str().unwrap().parse().unwrap();
    (end("from"), end("to"))
}

fn assert_gap(gap: &Value, reason: &str) {
    let data = &gap["data"];
    assert_eq!(data["reason"], reason, "{gap:#}");
    assert_eq!((&data["account"], &data["services"]), (&"front-desk".into(), &serde_json::json!(["active-calls"])));
    assert_eq!((&gap["subject"], &gap["partitionkey"]), (&"front-desk".into(), &"gap:front-desk".into()));
    assert_eq!(gap["time"], data["to"]);
    let (from, to) = window(gap);
    assert!(from < to, "{gap:#}");
}

#[tokio::test]
async fn a_first_start_misses_nothing_and_a_lost_connection_is_one_gap() {
    let (onsip, anna, daemon) = running().await;
    let before = Moment::now().utc();
    onsip.cut(&anna);
    let told = until_gaps(&daemon, 1).await;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_gap(&told[0], "disconnect");
    assert!(window(&told[0]).0 <= Moment::now().utc() && window(&told[0]).1 >= before, "{:#}", told[0]);
    let labels = [("service", "active-calls"), ("reason", "disconnect")];
    daemon.until_exactly("gaps_total", &labels, 1).await;

    onsip.cut(&anna);
    let told = until_gaps(&daemon, 2).await;
    assert!(told[0]["sequence"].as_str() < told[1]["sequence"].as_str(), "they are in order");
    assert!(window(&told[0]).1 <= window(&told[1]).0, "and do not overlap");
}

#[tokio::test]
async fn a_restart_is_a_gap_from_the_last_that_was_heard_of_the_old_router() {
    let (onsip, anna, mut daemon) = running().await;
    until_observed(&onsip, &daemon, "a list after the approval", SOON, |saw| saw.count(&anna, Request::List) >= 2)
        .await;
    let stopping = Moment::now().utc();
    daemon.terminate().await;
    daemon.start_again().await;
    let told = until_gaps(&daemon, 1).await;
    assert_gap(&told[0], "restart");
    let (from, to) = window(&told[0]);
    assert!(from >= stopping && to > from, "a clean stop is known to the moment: {from} {stopping}");

    daemon.until_settled().await;
    daemon.kill9().await;
    daemon.start_again().await;
    let told = until_gaps(&daemon, 2).await;
    assert_gap(&told[1], "restart");
    assert!(window(&told[1]).0 >= to, "what the first gap told is not told again");
}

#[tokio::test]
async fn a_conflict_and_a_revocation_have_their_reasons() {
    let (onsip, anna, daemon) = running().await;
    onsip.revoke(&anna, &node(&anna));
    assert_gap(&until_gaps(&daemon, 1).await[0], "revoked");
    onsip.stream_error(&anna, "conflict");
    assert_gap(&until_gaps(&daemon, 2).await[1], "conflict");
}

#[tokio::test]
async fn an_echo_of_none_that_changes_nothing_is_no_gap() {
    let (onsip, anna, daemon) = running().await;
    assert!(onsip.until(SOON, |board| board.observed().count(&anna, Request::List) == 2).await);
    onsip.announce("active-calls", &own(&anna), &node(&anna), "none");
    assert!(onsip.until(SOON, |board| board.observed().count(&anna, Request::List) == 3).await);
    let mut call = onsip.call_in(anna.as_str(), "sip:+12125550111@carrier.test", 1);
    onsip.hang_up(&mut call);
    daemon.until_calls(2).await;
    assert_eq!(gaps(daemon.events(EVENTS)), Vec::<Value>::new());
}
