use std::collections::BTreeSet;

use jiff::Timestamp;

use super::family::Kind;
use super::label::Label;
use super::table::TABLE;
use super::*;
use crate::board::{AccountStatus, SinkStatus, SubscriptionStatus};
use crate::domain::event::EventType;
use crate::domain::status::{AccountState, DeliveryOutcome, GapReason, RejectReason, SinkState, SubscriptionState};
use crate::protocol::coverage::Blind;

const NONE: [&str; 0] = [];

fn metrics() -> Metrics {
    Metrics::new("1.2.3", "abc", ["front"], ["active-calls", "user-agents"], ["log"]).unwrap()
}

fn account(state: AccountState) -> AccountStatus {
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    AccountStatus::new(state, since)
}

fn line(text: &str, series: &str) -> Option<String> {
    let of = |line: &str| line.strip_prefix(series).and_then(|rest| rest.strip_prefix(' ')).map(str::to_owned);
    text.lines().find_map(of)
}

#[test]
fn every_name_is_there_once() {
    let names: BTreeSet<_> = TABLE.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), TABLE.len());
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    for row in TABLE {
        assert_eq!(row.name.ends_with("_total"), row.kind == Kind::Counter, "{}", row.name);
        assert_eq!(row.edges.is_empty(), row.kind != Kind::Histogram, "{}", row.name);
        assert!(row.edges.windows(2).all(|edges| edges[0] < edges[1]), "{}", row.name);
        assert!(row.help.ends_with('.'), "{}", row.name);
        assert!(
            row.kind != Kind::Histogram || row.name.ends_with("_seconds") || row.name.ends_with("_events"),
            "{}",
            row.name
        );
    }
}

#[test]
fn whatever_is_known_in_advance_is_exported_as_0() {
    let text = metrics().render(&View::default());
    for row in TABLE.iter().filter(|row| row.name != "build_info" && row.name != "sink_up") {
        let suffix = if row.kind == Kind::Histogram { "_count" } else { "" };
        let names =
            Names { accounts: set(["front"]), services: set(["active-calls", "user-agents"]), sinks: set(["log"]) };
        let series = series::known(row, &names);
        assert!(!series.is_empty(), "{}", row.name);
        for values in series {
            let mut labels: Vec<_> =
                row.label_names().iter().zip(&values).map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            labels.sort();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let series = format!("{}{suffix}{labels}", row.full_name());
            assert_eq!(line(&text, &series).as_deref(), Some("0"), "{series}");
        }
    }
    assert_eq!(line(&text, r#"onsip_router_build_info{commit="abc",version="1.2.3"}"#).as_deref(), Some("1"));
    assert_eq!(line(&text, r#"onsip_router_sink_up{sink="log"}"#).as_deref(), Some("1"));
    assert!(line(&text, "process_start_time_seconds").is_some());
}

#[test]
fn a_service_has_series_for_the_events_it_can_yield() {
    let names = Names { services: set(["active-calls"]), ..Names::default() };
    let row = TABLE.iter().find(|row| row.labels.contains(&Label::EventType)).unwrap();
    let types: Vec<_> = series::known(row, &names).into_iter().map(|series| series[1].clone()).collect();
    assert_eq!(types, EventType::ALL[..4].iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
}

#[test]
fn what_is_counted_is_exported() {
    let metrics = metrics();
    metrics.event_received("active-calls", EventType::CallRequested);
    metrics.rejected(RejectReason::Oversize, 3);
    metrics.delivery("log", DeliveryOutcome::Delivered, 2);
    metrics.commit_time(std::time::Duration::from_millis(2));
    metrics.config_reload(false);
    let text = metrics.render(&View::default());
    let value = |series: &str| line(&text, &format!("onsip_router_{series}")).unwrap();
    assert_eq!(value(r#"events_received_total{service="active-calls",type="com.onsip.call.requested"}"#), "1");
    assert_eq!(value(r#"events_rejected_total{reason="oversize"}"#), "3");
    assert_eq!(value(r#"sink_deliveries_total{outcome="delivered",sink="log"}"#), "2");
    assert_eq!(value(r#"event_commit_seconds_bucket{le="0.0025"}"#), "1");
    assert_eq!(value(r#"config_reloads_total{outcome="failed"}"#), "1");
}

#[test]
fn state_gauges_are_read_off_the_board_anew_each_time() {
    let metrics = metrics();
    let mut view = View::default();
    let until = "2026-01-01T00:00:01.5Z".parse().unwrap();
    let online = AccountStatus { authorized_until: Some(until), ..account(AccountState::Online) };
    view.accounts.insert("front".parse().unwrap(), online);
    let since = Timestamp::from_second(100).unwrap();
    let blind = Some(Blind { since, reason: GapReason::Disconnect });
    let clock_ahead_seconds = Some(-7.5);
    let back = AccountStatus { blind, clock_ahead_seconds, events: 7, ..account(AccountState::Waiting) };
    view.accounts.insert("back".parse().unwrap(), back);
    view.accounts.insert("off".parse().unwrap(), account(AccountState::Disabled));
    let text = metrics.render(&view);
    let value = |text: &str, series: &str| line(text, &format!("onsip_router_{series}"));
    assert_eq!(value(&text, r#"accounts{state="online"}"#).unwrap(), "1");
    assert_eq!(value(&text, r#"accounts{state="waiting"}"#).unwrap(), "1");
    assert_eq!(value(&text, r#"account_online{account="front"}"#).unwrap(), "1");
    assert_eq!(value(&text, r#"account_online{account="back"}"#).unwrap(), "0");
    assert_eq!(value(&text, "accounts_blind").unwrap(), "1");
    assert_eq!(value(&text, "accounts_blind_oldest_timestamp_seconds").unwrap(), "100");
    assert_eq!(value(&text, r#"account_blind_since_timestamp_seconds{account="back"}"#).unwrap(), "100");
    assert_eq!(value(&text, r#"account_blind_since_timestamp_seconds{account="front"}"#).unwrap(), "0");
    assert_eq!(value(&text, r#"account_events_total{account="back"}"#).unwrap(), "7");
    for (name, covered) in [("front", "1"), ("back", "0"), ("off", "0")] {
        let series = format!(r#"account_covered{{account="{name}"}}"#);
        assert_eq!(value(&text, &series).unwrap(), covered, "{name}");
    }
    assert_eq!(value(&text, "clock_offset_seconds").unwrap(), "7.5", "the largest, either way");
    let until = r#"account_authorized_until_timestamp_seconds{account="front"}"#;
    assert_eq!(value(&text, until).unwrap(), "1767225601.5");
    view.accounts.remove("back");
    let text = metrics.render(&view);
    assert_eq!(value(&text, r#"accounts{state="waiting"}"#).unwrap(), "0");
    assert_eq!(value(&text, r#"account_online{account="back"}"#), None);
    assert_eq!(value(&text, "accounts_blind").unwrap(), "0");
    assert_eq!(value(&text, "accounts_blind_oldest_timestamp_seconds").unwrap(), "0");
    assert_eq!(value(&text, "clock_offset_seconds").unwrap(), "0");
}

#[test]
fn accounts_beyond_the_limit_have_no_series_and_are_counted() {
    let metrics = metrics();
    let mut view = View::default();
    for name in ["a", "b", "c"] {
        view.accounts.insert(name.parse().unwrap(), account(AccountState::Online));
    }
    let with_series = |text: &str| -> Vec<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix("onsip_router_account_online{account=\""));
        names.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let left_out = |text: &str| line(text, "onsip_router_accounts_without_series").unwrap();
    let text = metrics.render(&view);
    assert_eq!(with_series(&text), ["a", "b", "c", "front"]);
    assert_eq!(left_out(&text), "0");
    metrics.limit(Options { max_accounts: 2, ..Options::default() });
    let text = metrics.render(&view);
    assert_eq!(with_series(&text), ["a", "b"]);
    assert_eq!(left_out(&text), "2");
    metrics.limit(Options { per_account: false, ..Options::default() });
    let text = metrics.render(&view);
    assert!(!text.contains("account=") && !text.contains("account_online"), "{text}");
    assert_eq!(left_out(&text), "4");
    assert_eq!(line(&text, r#"onsip_router_accounts{state="online"}"#).unwrap(), "3", "all are counted");
}

#[test]
fn the_oldest_renewal_is_that_of_a_subscription_that_delivers() {
    let metrics = metrics();
    let mut view = View::default();
    let states = [SubscriptionState::Active, SubscriptionState::Renewing, SubscriptionState::Lost];
    for (state, second) in states.into_iter().zip([30, 20, 10]) {
        let renewed = Timestamp::from_second(second).ok();
        let lease_until = Timestamp::from_second(second + 7).ok();
        let since = Timestamp::UNIX_EPOCH;
        let subscription = SubscriptionStatus { state, since, why: None, subid: None, lease_until, renewed };
        let key = ("front".parse().unwrap(), "active-calls".to_owned(), state.as_str().into());
        view.subscriptions.insert(key, subscription);
    }
    let text = metrics.render(&view);
    let series = r#"onsip_router_subscription_oldest_renewal_timestamp_seconds{service="active-calls"}"#;
    assert_eq!(line(&text, series).unwrap(), "20");
    // Nor does one that delivers nothing have a renewal due, or a lease that counts.
    let series = r#"onsip_router_subscription_renewal_due_timestamp_seconds{service="active-calls"}"#;
    assert_eq!(line(&text, series).unwrap(), "25.25");
    let series = r#"onsip_router_account_lease_until_timestamp_seconds{account="front"}"#;
    assert_eq!(line(&text, series).unwrap(), "27");
    let series = r#"onsip_router_subscriptions{service="active-calls",state="lost"}"#;
    assert_eq!(line(&text, series).unwrap(), "1");
}

#[test]
fn a_sink_shows_its_queue() {
    let metrics = metrics();
    let mut view = View::default();
    let oldest = Timestamp::from_second(5).ok();
    let status = SinkStatus {
        state: SinkState::Down,
        queued: 7,
        bytes: 70,
        held: 3,
        blocking: true,
        oldest,
        dead: 2,
        ..SinkStatus::new("file")
    };
    view.sinks.insert("log".parse().unwrap(), status);
    let text = metrics.render(&view);
    for (series, value) in [
        ("sink_up", "0"),
        ("sink_queue_events", "7"),
        ("sink_queue_oldest_timestamp_seconds", "5"),
        ("sink_dead_events", "2"),
        ("sink_queue_bytes", "70"),
        ("sink_held_calls", "3"),
        ("sink_blocking", "1"),
    ] {
        assert_eq!(line(&text, &format!(r#"onsip_router_{series}{{sink="log"}}"#)).unwrap(), value, "{series}");
    }
}

#[test]
fn what_a_reload_takes_away_is_exported_no_longer_and_what_stays_keeps_its_count() {
    let metrics = metrics();
    metrics.delivery("log", DeliveryOutcome::Delivered, 2);
    metrics.declare(NONE, ["active-calls"], ["log", "crm"]);
    let text = metrics.render(&View::default());
    assert!(!text.contains("user-agents") && !text.contains("\"front\""), "{text}");
    assert!(text.contains(r#"onsip_router_event_delivery_seconds_count{sink="crm"} 0"#));
    assert!(text.contains(r#"onsip_router_sink_deliveries_total{outcome="delivered",sink="log"} 2"#));
    metrics.declare(NONE, NONE, NONE);
    let text = metrics.render(&View::default());
    assert!(!text.contains("sink=") && !text.contains("service="), "{text}");
    assert!(text.contains(r#"onsip_router_connects_total{outcome="tls"} 0"#));
}
