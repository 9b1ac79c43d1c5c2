//! Blind accounts: nothing arrives and nobody says so. The router notices, says since when and why, and heals by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onsip_router::domain::BareJid;
use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{Answering, Authorize, Failure, Request, Simulator, Stall, Switchboard};
use serde_json::Value;

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

const FRONT: [(&str, &str); 1] = [("account", "front-desk")];

async fn until_blind(daemon: &Daemon, reason: &str) -> Value {
    let shown = async || {
        let account = daemon.json("/api/v1/accounts").await[0].clone();
        Some(account).filter(|account| account["blind"]["reason"] == reason)
    };
    let account = daemon.until(&format!("blindness by {reason}"), SOON, shown).await;
    daemon.until_metric("accounts_blind", &[], SOON, |n| n > 0.5).await;
    daemon.until_metric("account_covered", &FRONT, SOON, |covered| covered < 0.5).await;
    account
}

async fn until_seeing(daemon: &Daemon) {
    daemon.until_metric("accounts_blind", &[], SOON, |n| n < 0.5).await;
    daemon.until_metric("account_covered", &FRONT, SOON, |covered| covered > 0.5).await;
    assert_eq!(daemon.json("/api/v1/accounts").await[0]["blind"], Value::Null);
}

/// Waits for the `count`th gap, and returns it with its window.
async fn until_gap(daemon: &Daemon, count: usize, reason: &str) -> (Timestamp, Timestamp) {
    let enough = async || Some(gaps(daemon.events(EVENTS))).filter(|gaps| gaps.len() >= count);
    let told = daemon.until(&format!("{count} gaps"), SOON, enough).await;
    assert_eq!((told.len(), &told[count - 1]["data"]["reason"]), (count, &reason.into()), "{told:#?}");
    let end = |key: &str| told[count - 1]["data"][key].as_str().unwrap().parse().unwrap();
    (end("from"), end("to"))
}

async fn assert_delivers(onsip: &Simulator, daemon: &Daemon, jid: &BareJid) {
    let before = calls(daemon.events(EVENTS)).len();
    let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_calls(before + 2).await;
}

/// Rule 7: when the authorization lapses the account is blind, in status, metrics and events.
#[tokio::test]
async fn a_lapsed_authorization_is_a_gap_from_the_lapse_until_the_subscription_is_seen_again() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_secs(3)));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    until_seeing(&daemon).await;
    onsip.behave(&anna, |b| b.authorize = Authorize::Wait);
    let end = onsip.look(|board| board.authorized_until(&anna, Moment::now())).expect("it is granted still").utc();
    let account = until_blind(&daemon, "authorization").await;
    let since: Timestamp = account["blind"]["since"].as_str().unwrap().parse().unwrap();
    let early = end.duration_since(since);
    assert!(early.abs() <= SignedDuration::from_secs(2), "the service tells its end in whole seconds: {since} {end}");
    let lists = asked(&onsip, &anna, Request::List);

    onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_hours(1)));
    let (from, to) = until_gap(&daemon, 1, "authorization").await;
    assert!(from == since && from < to, "{from} {since} {to}");
    assert!(asked(&onsip, &anna, Request::List) > lists, "it was seen before it was believed");
    until_seeing(&daemon).await;
    assert_delivers(&onsip, &daemon, &anna).await;
    daemon.until_exactly("gaps_total", &[SERVICE, ("reason", "authorization")], 1).await;
    assert_eq!((asked(&onsip, &anna, Request::Subscribe), onsip.observed().connections_ever), (1, 1));
    assert_eq!(daemon.log().matches("account blind").count(), 1, "{}", daemon.log());
}

/// Rules 7 and 14: ends of grants and leases are told by the service's clock, whatever ours says.
#[tokio::test]
async fn a_service_whose_clock_is_hours_off_is_neither_asked_all_the_time_nor_thought_to_have_lapsed() {
    for hours in [2, -2] {
        let (onsip, anna) = service_with_anna().await;
        onsip.set_clock(SignedDuration::from_hours(hours));
        onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_secs(6)));
        let setup = Setup::of(&onsip).onsip("subscription_lease = \"6s\"").account("front-desk", &anna);
        let daemon = setup.start_active(1).await;
        assert_eq!(asked(&onsip, &anna, Request::Time), 1);
        daemon.until_metric("clock_offset_seconds", &[], SOON, |offset| (offset - 7200.0).abs() < 30.0).await;
        let ahead = daemon.json("/api/v1/accounts").await[0]["clock_ahead_seconds"].as_f64().unwrap();
        assert!(ahead.is_sign_positive() == (hours > 0), "{ahead}");
        let until = daemon.metric("account_authorized_until_timestamp_seconds", &FRONT).await;
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
        let now = Moment::now().utc().as_second() as f64;
        assert!((until - now).abs() < 10.0, "told by our clock: {until} at {now}");

        until_observed(&onsip, &daemon, "renewals", SOON, |saw| saw.count(&anna, Request::Options) >= 3).await;
        let delivers = |entries: Vec<onsip_router::simulator::Subscription>| entries[0].delivers(Moment::now());
        assert!(delivers(onsip.subscriptions(&anna, &node(&anna))), "no lease ends before its time");
        let (authorized, renewed) = (asked(&onsip, &anna, Request::Authorize), asked(&onsip, &anna, Request::Options));
        assert!(authorized <= 3 * renewed, "{authorized} authorizations in the time of {renewed} renewals");
        assert_delivers(&onsip, &daemon, &anna).await;
        assert_eq!(gaps(daemon.events(EVENTS)), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn a_service_that_tells_no_time_is_believed_by_our_own_clock() {
    let no_time = Failure::new("cancel", "service-unavailable");
    for time in [Answering::Fail(no_time), Answering::Silence] {
        let (onsip, anna) = service_with_anna().await;
        onsip.behave(&anna, |b| b.time = time.clone());
        let setup = Setup::of(&onsip).xmpp("request_timeout = \"1s\"").account("front-desk", &anna);
        let daemon = setup.start_active(1).await;
        if time == Answering::Silence {
            daemon.until_count("requests_timed_out_total", &[], 1).await;
        }
        assert_delivers(&onsip, &daemon, &anna).await;
        assert_eq!(asked(&onsip, &anna, Request::Time), 1);
        assert_eq!(daemon.json("/api/v1/accounts").await[0]["clock_ahead_seconds"], Value::Null);
        assert_eq!(onsip.observed().connections_ever, 1);
    }
}

/// Rule 6: a configured address that is missing from the granted ones is told.
#[tokio::test]
async fn an_address_that_is_not_among_the_granted_is_warned_of_once_and_shown() {
    let (onsip, anna) = service_with_anna().await;
    let others = Authorize::GrantOther(Duration::from_secs(3), "bert@acme.test".to_owned());
    onsip.behave(&anna, |b| b.authorize = others);
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    until_observed(&onsip, &daemon, "two grants", SOON, |saw| saw.count(&anna, Request::Authorize) >= 3).await;
    assert_eq!(daemon.json("/api/v1/accounts").await[0]["not_granted"], "anna@acme.test");
    assert_eq!(daemon.log().matches("not among the granted").count(), 1, "{}", daemon.log());
    onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_hours(1)));
    let granted = async || Some(daemon.json("/api/v1/accounts").await[0]["not_granted"].is_null()).filter(|yes| *yes);
    daemon.until("the address to be granted", SOON, granted).await;
}

/// Rule 13: `none` is looked up, then the account is authorized anew, then it subscribes again.
#[tokio::test]
async fn a_revocation_together_with_the_authorization_is_healed_within_seconds_and_not_at_the_next_hour() {
    let (onsip, anna, daemon) = running().await;
    // What was granted in the last two seconds is not asked for again.
    let granted = *onsip.observed().requests(&anna, Request::Authorize).times.back().unwrap();
    let stale = |_: &Switchboard| Moment::now().since(granted) > Duration::from_millis(2500);
    assert!(onsip.until(SOON, stale).await);
    let lists = asked(&onsip, &anna, Request::List);
    onsip.end_authorization(&anna);
    onsip.revoke(&anna, &node(&anna));
    until_gap(&daemon, 1, "revoked").await;
    daemon.until_active(1).await;
    let saw = onsip.observed();
    let last = |request| *saw.requests(&anna, request).times.back().unwrap();
    assert_eq!((saw.count(&anna, Request::Authorize), saw.count(&anna, Request::Subscribe)), (2, 2));
    assert!(saw.requests(&anna, Request::List).times[usize::try_from(lists).unwrap()] < last(Request::Authorize));
    assert!(last(Request::Authorize) < last(Request::Subscribe));
    assert_delivers(&onsip, &daemon, &anna).await;
}

/// Rule 32: silence is the typical failure, so what seems well is looked up.
#[tokio::test]
async fn a_subscription_that_vanished_without_a_word_is_found_missing_long_before_its_renewal() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).onsip("probe_interval = \"2s\"").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    daemon.until_count("subscription_probes_total", &[SERVICE, ("outcome", "found")], 2).await;
    assert_eq!(asked(&onsip, &anna, Request::Options), 0, "a look renews nothing");
    onsip.forget(&anna, &node(&anna));
    let forgotten = Moment::now().utc();
    daemon.until_count("subscription_probes_total", &[SERVICE, ("outcome", "missing")], 1).await;
    let (from, to) = until_gap(&daemon, 1, "revoked").await;
    assert!(from <= forgotten && to > forgotten, "from when it was seen last: {from} {forgotten} {to}");
    daemon.until_active(1).await;
    assert_eq!((subids(&onsip, &anna).len(), asked(&onsip, &anna, Request::Subscribe)), (1, 2));
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn a_link_that_answers_pings_and_nothing_else_is_replaced() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip)
        .xmpp("ping_interval = \"1s\"\nrequest_timeout = \"1s\"")
        .onsip("probe_interval = \"2s\"")
        .account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    let before = subids(&onsip, &anna);
    onsip.stall(&anna, Stall::OnlyPings);
    let deaf = Moment::now().utc() + SignedDuration::from_secs(1); // what is on its way may be heard yet
    let pings = asked(&onsip, &anna, Request::Ping);
    daemon.until_count("subscription_probes_total", &[SERVICE, ("outcome", "unanswered")], 1).await;
    assert!(asked(&onsip, &anna, Request::Ping) > pings, "the link looked alive");
    let (from, to) = until_gap(&daemon, 1, "disconnect").await;
    assert!(from <= deaf && to > deaf, "since the last look, not since the last pong: {from} {deaf} {to}");
    daemon.until_active(1).await;
    daemon.until_exactly("disconnects_total", &[("reason", "timeout")], 1).await;
    assert_eq!((subids(&onsip, &anna), asked(&onsip, &anna, Request::Subscribe)), (before, 1));
    assert_delivers(&onsip, &daemon, &anna).await;
}

#[tokio::test]
async fn looks_at_a_service_that_lists_nothing_for_anybody_end_no_session_twice() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip)
        .xmpp("request_timeout = \"1s\"")
        .onsip("probe_interval = \"1s\"")
        .account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    onsip.behave(&anna, |b| b.list = Answering::Silence);
    daemon.until_count("disconnects_total", &[("reason", "timeout")], 1).await;
    until_observed(&onsip, &daemon, "further tries", SOON, |saw| saw.count(&anna, Request::List) >= 6).await;
    assert_eq!(onsip.observed().connections_ever, 2, "the service is at fault, not the link");
    onsip.behave(&anna, |b| b.list = Answering::AsDocumented);
    daemon.until_active(1).await;
    assert_delivers(&onsip, &daemon, &anna).await;
}

/// Rule 32: connected, authorized until, state, subid and lease of the subscription, its renewal, the newest event.
#[tokio::test]
async fn everything_that_could_fail_in_silence_is_exposed() {
    let (onsip, anna, daemon) = running().await;
    assert_delivers(&onsip, &daemon, &anna).await;
    let account = daemon.json("/api/v1/accounts").await[0].clone();
    assert_eq!((&account["state"], &account["jid"]), (&"online".into(), &own(&anna).as_str().into()));
    let subscription = daemon.json("/api/v1/subscriptions").await[0].clone();
    assert_eq!(
        (&subscription["state"], &subscription["subid"]),
        (&"active".into(), &subids(&onsip, &anna)[0].clone().into())
    );
    for (shown, key) in [
        (&account, "authorized_until"),
        (&account, "last_event"),
        (&account, "clock_ahead_seconds"),
        (&subscription, "lease_until"),
        (&subscription, "renewed"),
    ] {
        assert!(!shown[key].is_null(), "{key}: {shown:#}");
    }
    for (name, labels) in [
        ("account_online", &FRONT),
        ("account_covered", &FRONT),
        ("account_authorized_until_timestamp_seconds", &FRONT),
        ("account_last_event_timestamp_seconds", &FRONT),
        ("subscription_oldest_renewal_timestamp_seconds", &[SERVICE]),
    ] {
        daemon.until_metric(name, labels, SOON, |value| value > 0.5).await;
    }
}
