//! SIGHUP: what changed is taken over, what did not is left alone, and what is wrong changes nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use onsip_router::domain::BareJid;
use onsip_router::simulator::{Request, Simulator, Stall};

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

/// A service with three accounts, and a daemon that runs the first two.
async fn stage() -> (Simulator, [BareJid; 3], Setup, Daemon) {
    let onsip = service().await;
    let jids = ["anna", "bert", "cleo"].map(|name| account(&onsip, &format!("{name}@acme.test")));
    let setup = Setup::of(&onsip).account("anna", &jids[0]).account("bert", &jids[1]);
    let daemon = setup.start_active(2).await;
    (onsip, jids, setup, daemon)
}

async fn until_reloaded(daemon: &Daemon, outcome: &str, times: u64) {
    daemon.until_count("config_reloads_total", &[("outcome", outcome)], times).await;
}

fn logins(onsip: &Simulator, jids: &[BareJid]) -> Vec<u64> {
    jids.iter().map(|jid| asked(onsip, jid, Request::Login)).collect()
}

async fn assert_call_is_told(onsip: &Simulator, daemon: &Daemon, jid: &BareJid) {
    let before = daemon.events(EVENTS).len();
    let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_events(EVENTS, before + 2, SOON).await;
}

#[tokio::test]
async fn an_account_is_added_without_touching_the_others() {
    let (onsip, jids, setup, daemon) = stage().await;
    setup.account("cleo", &jids[2]).reload(&daemon).await;
    until_reloaded(&daemon, "applied", 1).await;
    daemon.until_active(3).await;
    daemon.until_ready().await;
    assert_eq!((logins(&onsip, &jids), onsip.observed().connections_ever), (vec![1, 1, 1], 3));
    assert_eq!(daemon.count("account_online", &[("account", "cleo")]).await, 1);
    for jid in &jids {
        assert_call_is_told(&onsip, &daemon, jid).await;
    }
}

#[tokio::test]
async fn accounts_lose_their_series_and_nothing_else_when_the_configuration_says_so() {
    let (onsip, jids, setup, daemon) = stage().await;
    setup.section("[metrics]\nmax_accounts = 1").reload(&daemon).await;
    daemon.until_count("accounts_without_series", &[], 1).await;
    let metrics = daemon.metrics().await;
    let online = ["anna", "bert"].map(|name| metrics.value("account_online", &[("account", name)]));
    assert_eq!(online, [Some(1.0), None]);
    assert_eq!((logins(&onsip, &jids), daemon.count("accounts", &[("state", "online")]).await), (vec![1, 1, 0], 2));
}

#[tokio::test]
async fn an_account_that_is_removed_is_gone_and_forgotten_by_readyz() {
    let (onsip, jids, setup, daemon) = stage().await;
    setup.without("bert").reload(&daemon).await;
    until_reloaded(&daemon, "applied", 1).await;
    assert!(onsip.until(SOON, |board| board.connections() == 1).await, "{}", daemon.log());
    daemon.until_count("disconnects_total", &[("reason", "stopped")], 1).await;
    daemon.until_active(1).await;
    let accounts = daemon.json("/api/v1/accounts").await;
    assert_eq!((accounts.as_array().unwrap().len(), &accounts[0]["name"]), (1, &"anna".into()), "{accounts:#}");
    let subscriptions = daemon.json("/api/v1/subscriptions").await;
    assert_eq!(subscriptions.as_array().unwrap().len(), 1, "{subscriptions:#}");
    assert_eq!(daemon.readyz().await, (200, "ok\n".to_owned()));
    assert_eq!(logins(&onsip, &jids), [1, 1, 0]);
    assert_eq!(subids(&onsip, &jids[1]).len(), 1, "nothing is unsubscribed");
    assert_call_is_told(&onsip, &daemon, &jids[0]).await;
}

#[tokio::test]
async fn an_account_that_is_removed_or_disabled_is_unsubscribed_where_that_is_wanted_and_a_changed_one_is_not() {
    let (onsip, jids, setup, daemon) = stage().await;
    let setup = setup.account("cleo", &jids[2]);
    setup.reload(&daemon).await;
    daemon.until_active(3).await;
    let kept = subids(&onsip, &jids[2]);
    let wanted = setup.onsip("unsubscribe_on_stop = true");
    wanted.reload(&daemon).await;
    until_reloaded(&daemon, "applied", 2).await;
    assert_eq!(logins(&onsip, &jids), [1, 1, 1], "the option alone touches nobody");
    let off = format!("password = \"{PASSWORD}\"\nenabled = false");
    let changed = format!("password = \"{PASSWORD}\"\nauth_for_all = true");
    let wanted = wanted.without("anna").without("bert").without("cleo");
    wanted.account_with("bert", &jids[1], &off).account_with("cleo", &jids[2], &changed).reload(&daemon).await;
    until_reloaded(&daemon, "applied", 3).await;
    let gone =
        onsip.until(SOON, |board| jids[..2].iter().all(|jid| board.subscriptions(jid, Some(&node(jid))).is_empty()));
    assert!(gone.await, "{}", daemon.log());
    daemon.until_ready().await;
    daemon.until_active(1).await;
    assert_eq!((logins(&onsip, &jids), subids(&onsip, &jids[2])), (vec![1, 1, 2], kept));
}

#[tokio::test]
async fn an_account_that_changed_starts_anew_without_a_conflict_and_without_a_second_subscription() {
    let (onsip, jids, setup, daemon) = stage().await;
    onsip.set_password(&jids[1], "changed");
    setup.without("bert").account_with("bert", &jids[1], "password = \"changed\"").reload(&daemon).await;
    until_reloaded(&daemon, "applied", 1).await;
    let what = "the changed account to log in again";
    until_observed(&onsip, &daemon, what, SOON, |saw| saw.count(&jids[1], Request::Options) >= 1).await;
    daemon.until_active(2).await;
    daemon.until_ready().await;
    assert_eq!((logins(&onsip, &jids), onsip.observed().conflicts), (vec![1, 2, 0], 0));
    assert_eq!((asked(&onsip, &jids[1], Request::Subscribe), subids(&onsip, &jids[1]).len()), (1, 1));
    assert_eq!(onsip.connections(), 2);
    for jid in &jids[..2] {
        assert_call_is_told(&onsip, &daemon, jid).await;
    }
}

#[tokio::test]
async fn an_account_can_be_switched_off_and_on() {
    let (onsip, jids, setup, daemon) = stage().await;
    let off = setup.clone().without("bert").account_with(
        "bert",
        &jids[1],
        &format!("password = \"{PASSWORD}\"\nenabled = false"),
    );
    off.reload(&daemon).await;
    daemon.until_count("disconnects_total", &[("reason", "stopped")], 1).await;
    daemon.until_accounts("disabled", 1).await;
    daemon.until_ready().await;
    setup.reload(&daemon).await;
    until_reloaded(&daemon, "applied", 2).await;
    daemon.until_active(2).await;
    daemon.until_accounts("online", 2).await;
    assert_eq!((logins(&onsip, &jids), onsip.observed().conflicts), (vec![1, 2, 0], 0));
}

#[tokio::test]
async fn a_new_configuration_with_a_problem_changes_nothing_and_counts_as_failed() {
    let (onsip, jids, setup, daemon) = stage().await;
    let bad = setup.clone().without("bert").account_with("cleo", &jids[2], "pasword = \"typo\"");
    bad.reload(&daemon).await;
    until_reloaded(&daemon, "failed", 1).await;
    daemon.until_logged("accounts.cleo.pasword", SOON).await;
    daemon.rewrite_config("this is no TOML [");
    daemon.reload().await;
    until_reloaded(&daemon, "failed", 2).await;
    setup.clone().store_and_http("sqlite://other.db", "127.0.0.1:0").reload(&daemon).await;
    until_reloaded(&daemon, "failed", 3).await;
    assert_eq!((logins(&onsip, &jids), onsip.observed().connections_ever), (vec![1, 1, 0], 2));
    daemon.until_active(2).await;
    assert!(!daemon.folder().join("other.db").exists());
    for jid in &jids[..2] {
        assert_call_is_told(&onsip, &daemon, jid).await;
    }
    setup.reload(&daemon).await;
    until_reloaded(&daemon, "applied", 1).await;
    assert_eq!(onsip.observed().connections_ever, 2, "an unchanged configuration touches nobody");
}

#[tokio::test]
async fn a_certificate_file_that_cannot_be_read_changes_nothing_either() {
    let (onsip, jids, setup, daemon) = stage().await;
    setup.clone().xmpp("tls = \"starttls\"\nca_file = \"/no/such/file.pem\"").reload(&daemon).await;
    until_reloaded(&daemon, "failed", 1).await;
    for jid in &jids[..2] {
        assert_call_is_told(&onsip, &daemon, jid).await;
    }
    setup.clone().account("cleo", &jids[2]).reload(&daemon).await;
    until_reloaded(&daemon, "applied", 1).await;
    daemon.until_active(3).await;
    assert_eq!((logins(&onsip, &jids), onsip.observed().connections_ever), (vec![1, 1, 1], 3));
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_written_anew() {
    let (onsip, jids, _, daemon) = stage().await;
    assert_call_is_told(&onsip, &daemon, &jids[0]).await;
    let (file, moved) = (daemon.folder().join(EVENTS), daemon.folder().join("events.1.jsonl"));
    std::fs::rename(&file, &moved).unwrap();
    let rotated = std::fs::read_to_string(&moved).unwrap();
    daemon.reload().await;
    until_reloaded(&daemon, "applied", 1).await;
    assert_call_is_told(&onsip, &daemon, &jids[1]).await;
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), rotated, "the old file is left alone");
    assert_eq!(daemon.events(EVENTS).len(), 2);
    assert_eq!(onsip.observed().connections_ever, 2);
}

#[tokio::test]
async fn sinks_come_and_go_and_rules_change_without_touching_an_account() {
    let (onsip, jids, setup, daemon) = stage().await;
    let only =
        |kind: &str| format!("type = \"file\"\npath = \"rings.jsonl\"\nwhen = 'type == \"com.onsip.call.{kind}\"'");
    setup.clone().sink("rings", &only("requested")).reload(&daemon).await;
    until_reloaded(&daemon, "applied", 1).await;
    assert_call_is_told(&onsip, &daemon, &jids[0]).await;
    daemon.until_events("rings.jsonl", 1, SOON).await;
    setup.clone().sink("rings", &only("ended")).reload(&daemon).await;
    until_reloaded(&daemon, "applied", 2).await;
    assert_call_is_told(&onsip, &daemon, &jids[0]).await;
    let kinds = daemon.until_events("rings.jsonl", 2, SOON).await;
    assert_eq!(texts(&kinds, "type"), ["com.onsip.call.requested", "com.onsip.call.ended"]);
    setup.reload(&daemon).await;
    until_reloaded(&daemon, "applied", 3).await;
    assert_call_is_told(&onsip, &daemon, &jids[1]).await;
    assert_eq!(daemon.events("rings.jsonl").len(), 2);
    assert_eq!(daemon.json("/api/v1/sinks").await.as_array().unwrap().len(), 1);
    assert_eq!(onsip.observed().connections_ever, 2);
}

#[tokio::test]
async fn events_go_on_while_the_configuration_is_read_again_and_again() {
    let (onsip, jids, setup, daemon) = stage().await;
    for round in 0..5 {
        let mut call = onsip.call_in(jids[0].as_str(), CALLER, 1);
        let setup = if round % 2 == 0 { setup.clone().account("cleo", &jids[2]) } else { setup.clone() };
        setup.reload(&daemon).await;
        onsip.hang_up(&mut call);
        until_reloaded(&daemon, "applied", round + 1).await;
    }
    daemon.until_calls(10).await;
    daemon.until_active(3).await;
    daemon.until_ready().await;
    assert_eq!(onsip.observed().conflicts, 0);
}

#[tokio::test]
async fn a_corrected_password_is_tried_at_once() {
    let (onsip, jids, setup, daemon) = stage().await;
    let with = |password: &str| setup.clone().account_with("cleo", &jids[2], &format!("password = \"{password}\""));
    with("wrong").reload(&daemon).await;
    daemon.until_accounts("refused", 1).await;
    with(PASSWORD).reload(&daemon).await;
    daemon.until_active(3).await;
    daemon.until_accounts("refused", 0).await;
    assert_eq!(logins(&onsip, &jids), [1, 1, 2]);
}

#[tokio::test]
async fn an_account_that_is_removed_while_its_server_is_silent_is_gone_all_the_same() {
    let (onsip, jids, setup, daemon) = stage().await;
    onsip.stall(&jids[1], Stall::Dead);
    setup.clone().without("bert").reload(&daemon).await;
    until_reloaded(&daemon, "applied", 1).await;
    assert!(onsip.until(SOON, |board| board.connections() == 1).await, "{}", daemon.log());
    daemon.until_count("disconnects_total", &[("reason", "stopped")], 1).await;
    assert_eq!(daemon.readyz().await, (200, "ok\n".to_owned()));
    assert_eq!(daemon.json("/api/v1/subscriptions").await.as_array().unwrap().len(), 1);
    setup.reload(&daemon).await;
    daemon.until_active(2).await;
    assert_eq!((onsip.observed().conflicts, subids(&onsip, &jids[1]).len()), (0, 1));
}

#[tokio::test]
async fn the_last_of_two_changes_in_a_row_is_what_runs() {
    let (onsip, jids, setup, daemon) = stage().await;
    let without = setup.clone().without("bert");
    let renamed = |resource: &str| {
        let lines = format!("password = \"{PASSWORD}\"\nresource = \"{resource}\"");
        without.clone().account_with("bert", &jids[1], &lines)
    };
    for (times, resource) in (1..).zip(["one", "two", "three"]) {
        renamed(resource).reload(&daemon).await;
        until_reloaded(&daemon, "applied", times).await;
    }
    daemon
        .until("only the last resource at the service", SOON, async || {
            let bound = onsip.look(|board| board.resources(&jids[1]));
            (bound == ["three"] && daemon.readyz().await.0 == 200).then_some(())
        })
        .await;
    daemon.until_active(2).await;
    assert_eq!(logins(&onsip, &jids)[0], 1);
}

/// How long a thousand accounts may take to log in, on a busy machine without optimisation.
const MANY_ONLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn one_change_among_a_thousand_accounts_is_taken_over_also_while_a_sink_hangs_and_another_fails() {
    let onsip = service().await;
    let jids: Vec<_> = (0..1000).map(|n| account(&onsip, &format!("user{n}@acme.test"))).collect();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let setup = Setup::of(&onsip)
        .xmpp("request_timeout = \"1m\"\nping_interval = \"5m\"")
        .sink("hanging", &format!("type = \"file\"\npath = \"{}\"", pipe.display()))
        .sink("failing", "type = \"file\"\npath = \"no/such/folder/events.jsonl\"");
    let setup = jids.iter().enumerate().fold(setup, |setup, (n, jid)| setup.account(&format!("user-{n}"), jid));
    let daemon = setup.start().await;
    let active = [SERVICE, ("state", "active")];
    daemon.until_metric("subscriptions", &active, MANY_ONLINE, |count| count > 999.5).await;
    let mut call = onsip.call_in(jids[0].as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_metric("sink_up", &[("sink", "failing")], SOON, |up| up < 0.5).await;
    daemon.until_metric("sink_queue_events", &[("sink", "hanging")], SOON, |owed| owed > 1.5).await;

    let renamed = format!("password = \"{PASSWORD}\"\nresource = \"other\"");
    daemon.rewrite_config(&setup.without("user-500").account_with("user-500", &jids[500], &renamed).toml());
    daemon.reload().await;
    // How long it takes is measured elsewhere (`cargo bench --bench fleet -- reload`).
    until_reloaded(&daemon, "applied", 1).await;
    let other = onsip.until(SOON, |board| board.resources(&jids[500]) == ["other"]);
    assert!(other.await, "{}", daemon.log());
    daemon.until_metric("subscriptions", &active, SOON, |count| count > 999.5).await;
    let logins = logins(&onsip, &jids);
    let changed: Vec<_> = logins.iter().enumerate().filter(|(_, count)| **count != 1).collect();
    assert_eq!(changed, [(500, &2)], "the other 999 kept their connections");
    assert_eq!(onsip.observed().connections_ever, 1001);
    assert_call_is_told(&onsip, &daemon, &jids[999]).await;
}
