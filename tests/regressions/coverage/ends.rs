//! Every way in which a router, an account or a link ends, and what is told of it after the next start: never too late a
//! beginning, and one gap.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onsip_router::domain::BareJid;
use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{Authorize, Login, Request, Simulator, Stall};

use super::{ACCOUNT, assert_is, blind_everywhere, sees, stage, window, with};
use crate::support::condition::SOON;
use crate::support::daemon::Daemon;
use crate::support::stage::*;

/// Reads an account's coverage from the store: whether it is covered, and until when it was.
async fn written(daemon: &Daemon, account: &str) -> Option<(bool, Timestamp)> {
    let store = daemon.store().await?;
    let coverage = store.coverage().await.ok()?;
    store.close().await.ok()?;
    let line = coverage.into_iter().find(|line| line.account.as_str() == account)?;
    Some((line.open, line.until))
}

async fn until_written(
    daemon: &Daemon,
    account: &str,
    what: &str,
    fits: impl Fn(bool, Timestamp) -> bool,
) -> Timestamp {
    let fitting = async || written(daemon, account).await.filter(|(open, until)| fits(*open, *until));
    daemon.until(what, SOON, fitting).await.1
}

async fn resumable(kept: Option<Duration>, xmpp: &str) -> (Simulator, BareJid, Daemon) {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |behaviour| behaviour.resumable_for = kept);
    let daemon = Setup::of(&onsip).xmpp(xmpp).account(ACCOUNT, &anna).start_active(1).await;
    (onsip, anna, daemon)
}

#[tokio::test]
async fn f1_a_kill_while_the_connection_is_lost_changes_neither_beginning_nor_reason() {
    for kept in [None, Some(Duration::from_hours(1))] {
        let (onsip, _, mut daemon) = resumable(kept, "").await;
        onsip.go_down();
        let lost = blind_everywhere(&daemon, "disconnect").await;
        until_written(&daemon, ACCOUNT, "the loss to be written", |open, until| !open && until == lost.0).await;
        daemon.kill9().await;
        daemon.start_again().await;
        assert_eq!(blind_everywhere(&daemon, "disconnect").await, lost);
        onsip.come_up();
        assert_is(&sees(&daemon, 1).await, 1, &lost);
    }
}

#[tokio::test]
async fn f1_a_kill_after_a_resumption_is_a_restart_from_then_on() {
    let (onsip, anna, mut daemon) = resumable(Some(Duration::from_hours(1)), "ping_interval = \"1s\"").await;
    let cut = Moment::now().utc();
    onsip.cut(&anna);
    until_observed(&onsip, &daemon, "a resumption", SOON, |saw| saw.resumed == 1).await;
    let resumed = until_written(&daemon, ACCOUNT, "coverage that goes on", |open, until| open && until > cut).await;
    let last = until_written(&daemon, ACCOUNT, "later coverage", |open, until| open && until > resumed).await;
    daemon.kill9().await;
    daemon.start_again().await;
    let told = sees(&daemon, 1).await;
    let (from, reason) = window(&told[0]["data"], "from").unwrap();
    assert!((told.len(), reason.as_str()) == (1, "restart") && from >= last, "{told:#?} {last}");
}

#[tokio::test]
async fn f1_an_account_that_is_disabled_after_a_kill_is_blind_from_the_kill_on() {
    let (onsip, anna, enabled, mut daemon) = stage().await;
    until_written(&daemon, ACCOUNT, "the coverage", |open, _| open).await;
    daemon.kill9().await;
    let killed = Moment::now().utc();
    let disabled = with(&onsip, &anna, &format!("password = \"{PASSWORD}\"\nenabled = false"));
    daemon.rewrite_config(&disabled.toml());
    daemon.start_again().await;
    daemon.until_accounts("disabled", 1).await;
    assert!(daemon.terminate().await.success());
    daemon.rewrite_config(&enabled.toml());
    daemon.start_again().await;
    let told = sees(&daemon, 1).await;
    let (from, reason) = window(&told[0]["data"], "from").unwrap();
    assert!((told.len(), reason.as_str()) == (1, "restart") && from <= killed, "{told:#?} {killed}");
}

#[tokio::test]
async fn f1_a_kill_is_told_from_the_last_coverage_that_was_written_down() {
    let (_onsip, _, mut daemon) = resumable(None, "ping_interval = \"1s\"").await;
    let begun = until_written(&daemon, ACCOUNT, "the first coverage", |open, _| open).await;
    let last = until_written(&daemon, ACCOUNT, "later coverage", |open, until| open && until > begun).await;
    daemon.kill9().await;
    let killed = Moment::now().utc();
    daemon.start_again().await;
    let told = sees(&daemon, 1).await;
    let (from, reason) = window(&told[0]["data"], "from").unwrap();
    assert!((told.len(), reason.as_str()) == (1, "restart"), "{told:#?}");
    assert!(last <= from && from <= killed, "{last} {from} {killed}");
}

#[tokio::test]
async fn f1_a_link_that_dies_unnoticed_is_told_from_when_it_was_heard_last() {
    for kept in [None, Some(Duration::from_hours(1))] {
        let (onsip, anna, daemon) = resumable(kept, "ping_interval = \"1s\"\nrequest_timeout = \"1s\"").await;
        onsip.behave(&anna, |behaviour| behaviour.login = Login::Fail("temporary-auth-failure"));
        onsip.stall(&anna, Stall::Dead);
        let blind = blind_everywhere(&daemon, "disconnect").await;
        // It was silent for a second before it was asked for a sign of life, and for another one after that.
        let line = daemon.until_logged("account blind", SOON).await;
        let noticed: Timestamp = line.split_whitespace().next().unwrap().parse().unwrap();
        assert!(noticed.duration_since(blind.0) > SignedDuration::from_secs(1), "{kept:?} {blind:?} {line}");
        onsip.behave(&anna, |behaviour| behaviour.login = Login::Check);
        let gaps = usize::from(kept.is_none());
        assert_eq!(sees(&daemon, gaps).await.len(), gaps, "what is resumed misses nothing");
    }
}

#[tokio::test]
async fn f1_a_gap_ends_when_events_can_arrive_and_not_with_the_connection() {
    let (onsip, anna, daemon) = resumable(None, "request_timeout = \"1s\"").await;
    onsip.behave(&anna, |behaviour| behaviour.authorize = Authorize::Wait);
    onsip.cut(&anna);
    until_observed(&onsip, &daemon, "a new session", SOON, |saw| saw.count(&anna, Request::Authorize) >= 2).await;
    let blind = blind_everywhere(&daemon, "disconnect").await;
    let released = Moment::now().utc();
    onsip.behave(&anna, |behaviour| behaviour.authorize = Authorize::Grant(Duration::from_hours(1)));
    let told = sees(&daemon, 1).await;
    assert_is(&told, 1, &blind);
    let (to, _) = window(&told[0]["data"], "to").unwrap();
    assert!(to >= released, "{told:#?} {released}");
}

#[tokio::test]
async fn f1_an_end_while_nobody_has_noticed_that_the_link_is_dead_is_told_from_when_it_was_heard_last() {
    const OTHER: &str = "back-office";
    for (end, reason) in [("kill", "restart"), ("stop", "restart"), ("reload", "reload")] {
        let (onsip, anna) = service_with_anna().await;
        let bert = account(&onsip, "bert@acme.test");
        let setup = Setup::of(&onsip).xmpp("ping_interval = \"5s\"");
        let mut daemon = setup.clone().account(ACCOUNT, &anna).account(OTHER, &bert).start_active(2).await;
        until_written(&daemon, ACCOUNT, "the coverage", |open, _| open).await;
        onsip.stall(&anna, Stall::Dead);
        // What is on its way may be heard yet.
        let dead = Moment::now().utc() + SignedDuration::from_secs(1);
        // The coverage of the other account, whose link answers pings, is written down again and again.
        let later = dead + SignedDuration::from_secs(2);
        until_written(&daemon, OTHER, "later coverage", |open, until| open && until > later).await;
        if end == "reload" {
            let other = format!("password = \"{PASSWORD}\"\nresource = \"other\"");
            setup.account_with(ACCOUNT, &anna, &other).account(OTHER, &bert).reload(&daemon).await;
        } else if end == "stop" {
            assert!(daemon.terminate().await.success());
            daemon.start_again().await;
        } else {
            daemon.kill9().await;
            daemon.start_again().await;
        }
        let told = async || {
            let told = gaps(once(daemon.events(EVENTS)));
            let told: Vec<_> = told.into_iter().filter(|gap| gap["data"]["account"] == ACCOUNT).collect();
            (!told.is_empty()).then_some(told)
        };
        let told = daemon.until("a gap", SOON, told).await;
        let (from, why) = window(&told[0]["data"], "from").unwrap();
        assert!((told.len(), why.as_str()) == (1, reason) && from <= dead, "{end}: {told:#?} {dead}");
    }
}
