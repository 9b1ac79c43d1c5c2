//! The test harness itself: what a test relies on without looking.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]

mod support;

use std::time::Duration;

use support::condition;
use support::metrics::Metrics;

const SCRAPE: &str = r#"# HELP onsip_router_subscriptions Subscriptions by state.
# TYPE onsip_router_subscriptions gauge
onsip_router_subscriptions{service="active-calls",state="active"} 3
onsip_router_subscriptions{service="user-agents",state="active"} 4
onsip_router_odd{text="a \"quoted\" , {brace} and \\ slash"} 1.5e3
process_open_fds 12
"#;

#[test]
fn a_metric_is_found_by_its_short_name_and_a_part_of_its_labels() {
    let metrics = Metrics::parse(SCRAPE);
    assert_eq!(metrics.value("subscriptions", &[("service", "active-calls")]), Some(3.0));
    assert_eq!(metrics.value("onsip_router_subscriptions", &[("state", "active")]), Some(7.0));
    assert_eq!(metrics.value("process_open_fds", &[]), Some(12.0));
}

#[test]
fn a_metric_that_is_not_exported_is_not_zero() {
    let metrics = Metrics::parse(SCRAPE);
    assert_eq!(metrics.value("subscriptions", &[("state", "denied")]), None);
    assert_eq!(metrics.value("gaps_total", &[]), None);
}

#[test]
fn a_label_may_hold_what_the_text_format_escapes() {
    let metrics = Metrics::parse(SCRAPE);
    assert_eq!(metrics.value("odd", &[("text", r#"a "quoted" , {brace} and \ slash"#)]), Some(1500.0));
}

#[tokio::test]
async fn waiting_ends_at_its_bound_and_says_what_was_missing() {
    let error = condition::until("the moon", Duration::from_millis(60), async || None::<()>).await.unwrap_err();
    assert!(error.contains("the moon"), "{error}");
}

#[tokio::test]
async fn waiting_ends_even_if_the_probe_hangs() {
    let error =
        condition::until("an answer", Duration::from_millis(60), async || std::future::pending::<Option<()>>().await);
    assert!(error.await.is_err());
}
