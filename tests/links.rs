//! Links that break, servers that refuse, and servers that come back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use jiff::SignedDuration;
use onsip_router::domain::BareJid;
use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{
    Approval, Authorize, Bind, Failure, Login, Mechanism, Options, Request, Simulator, Stall,
};

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

/// In so long a refused log-in may be tried three times (interface section 6); so are the other two, of which the pure
/// core is held to all on virtual time.
const REFUSAL_WINDOW: SignedDuration = SignedDuration::from_secs(15);
const FIRST_TRY: SignedDuration = SignedDuration::from_secs(5);
const CONFLICT_REST: Duration = Duration::from_secs(10);
/// Every line is written, so that pauses can be counted.
const ALL_LINES: &str = "[log]\nrepeat_after = \"0s\"";

/// A way to lose the links of an account.
type Lose = fn(&Simulator, &BareJid);

/// Waits until the account has bound a resource `times` times.
async fn until_bound(onsip: &Simulator, daemon: &Daemon, jid: &BareJid, times: u64) {
    let what = format!("{jid} to be bound {times} times");
    until_observed(onsip, daemon, &what, SOON, |saw| saw.count(jid, Request::Bind) >= times).await;
}

/// The account is back, with the subscription it had, and receives.
async fn assert_back(onsip: &Simulator, daemon: &Daemon, jid: &BareJid, subids_before: &[String]) {
    daemon.until_active(1).await;
    daemon.until_accounts("online", 1).await;
    assert_eq!((asked(onsip, jid, Request::Subscribe), subids(onsip, jid)), (1, subids_before.to_vec()));
    let before = daemon.events(EVENTS).len();
    let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_events(EVENTS, before + 2, SOON).await;
}

#[tokio::test]
async fn after_every_kind_of_loss_the_account_tries_within_five_seconds_and_is_back_with_the_same_subscription() {
    let (onsip, anna) = service_with_anna().await;
    let daemon = Setup::of(&onsip).account("front-desk", &anna).section(ALL_LINES).start_active(1).await;
    let before = subids(&onsip, &anna);
    let shutdown = |onsip: &Simulator, jid: &BareJid| onsip.stream_error(jid, "system-shutdown");
    let bad_xml = |onsip: &Simulator, jid: &BareJid| onsip.inject(jid, "<message><body>&nbsp;</message>");
    let unbalanced = |onsip: &Simulator, jid: &BareJid| onsip.inject(jid, "</message>");
    let losses: [(&str, Lose); 5] = [
        ("network", Simulator::cut),
        ("network", Simulator::close),
        ("stream_error", shutdown),
        ("protocol", bad_xml),
        ("protocol", unbalanced),
    ];
    for (times, (reason, lose)) in (2..).zip(losses) {
        let counted = daemon.count("disconnects_total", &[("reason", reason)]).await;
        lose(&onsip, &anna);
        until_bound(&onsip, &daemon, &anna, times).await;
        assert_eq!(daemon.count("disconnects_total", &[("reason", reason)]).await, counted + 1, "{reason}");
        assert_back(&onsip, &daemon, &anna, &before).await;
    }
    assert_eq!(daemon.count("connects_total", &[("outcome", "online")]).await, 6);
    let pauses = daemon.pauses_told("account waits");
    assert!(pauses.len() == 5 && pauses.iter().all(|pause| *pause <= FIRST_TRY), "{pauses:?} in {}", daemon.log());
}

#[tokio::test]
async fn a_link_that_is_dead_is_noticed_by_a_ping() {
    let (onsip, anna) = service_with_anna().await;
    let setup = Setup::of(&onsip).xmpp("ping_interval = \"1s\"\nrequest_timeout = \"1s\"");
    let daemon = setup.account("front-desk", &anna).start_active(1).await;
    let before = subids(&onsip, &anna);
    until_observed(&onsip, &daemon, "a ping", SOON, |saw| saw.count(&anna, Request::Ping) > 0).await;
    assert_eq!(onsip.observed().connections_ever, 1, "a link that answers stays");

    onsip.stall(&anna, Stall::Dead);
    daemon.until_count("disconnects_total", &[("reason", "timeout")], 1).await;
    until_bound(&onsip, &daemon, &anna, 2).await;
    assert_back(&onsip, &daemon, &anna, &before).await;
}

/// Rule 27: a conflict is held off and loud.
#[tokio::test]
async fn after_a_conflict_there_is_no_log_in_for_ten_seconds() {
    let (onsip, anna, daemon) = running().await;
    let conflict = Moment::now();
    onsip.stream_error(&anna, "conflict");
    daemon.until_count("disconnects_total", &[("reason", "conflict")], 1).await;
    daemon.until_logged("is a second router running?", SOON).await;
    until_observed(&onsip, &daemon, "the next try", SOON, |saw| saw.connections_ever > 1).await;
    let rest = onsip.observed().connection_times[1].since(conflict);
    assert!(rest >= CONFLICT_REST, "it came back after {rest:?}: {}", daemon.log());
}

/// Rule 27: subscriptions are kept, and log-ins limited over all accounts.
#[tokio::test]
async fn fifty_accounts_come_back_after_a_restart_of_the_service_without_a_second_subscription() {
    let onsip = service().await;
    let jids: Vec<_> = (1..=50).map(|n| account(&onsip, &format!("user{n}@acme.test"))).collect();
    let mut setup = Setup::of(&onsip).xmpp("concurrent_logins = 10");
    for (n, jid) in jids.iter().enumerate() {
        setup = setup.account(&format!("user-{n}"), jid);
    }
    let daemon = setup.start_active(50).await;
    let before: Vec<_> = jids.iter().map(|jid| subids(&onsip, jid)).collect();

    onsip.restart(Duration::from_millis(1500)).await;
    daemon.until_metric("subscriptions", &[("state", "active")], SOON, |active| active < 1.0).await;
    assert_eq!(daemon.readyz().await.0, 503);
    daemon.until_active(50).await;
    daemon.until_ready().await;
    assert_eq!(onsip.observed().total(Request::Subscribe), 50);
    assert_eq!(jids.iter().map(|jid| subids(&onsip, jid)).collect::<Vec<_>>(), before);
    for jid in &jids {
        let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
    }
    daemon.until_calls(100).await;
}

/// Rule 8: permanent, rarely tried, and no harm to others.
#[tokio::test]
async fn a_wrong_password_is_refused_tried_rarely_and_nobody_elses_business() {
    let (onsip, anna) = service_with_anna().await;
    let bert = account(&onsip, "bert@acme.test");
    let setup = Setup::of(&onsip).account("anna", &anna).account_with("bert", &bert, "password = \"wrong\"");
    let daemon = setup.start_active(1).await;
    daemon.until_accounts("refused", 1).await;
    daemon.until_ready().await; // a refused account holds nothing up
    assert_eq!(daemon.count("connects_total", &[("outcome", "refused")]).await, 1);
    assert_eq!(daemon.count("account_online", &[("account", "bert")]).await, 0);
    assert_eq!(daemon.count("account_online", &[("account", "anna")]).await, 1);
    let accounts = daemon.json("/api/v1/accounts").await;
    assert_eq!((&accounts[1]["name"], &accounts[1]["state"]), (&"bert".into(), &"refused".into()), "{accounts:#}");
    assert!(accounts[1]["why"].to_string().contains("not-authorized"), "{accounts:#}");

    let pauses = daemon.pauses_told("account refused");
    assert!(pauses.len() == 1 && pauses[0] >= REFUSAL_WINDOW, "{pauses:?} in {}", daemon.log());
    assert_back(&onsip, &daemon, &anna, &subids(&onsip, &anna)).await;
    let tries = [&anna, &bert].map(|jid| asked(&onsip, jid, Request::Login));
    assert!(tries[0] == 1 && tries[1] <= 3, "{tries:?}");
}

#[tokio::test]
async fn a_refused_authorization_is_refused_and_tried_rarely() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.authorize = Authorize::Refuse);
    let setup = Setup::of(&onsip).xmpp("ping_interval = \"1s\"").account("front-desk", &anna);
    let daemon = setup.start().await;
    daemon.until_accounts("refused", 1).await;
    daemon.until_ready().await;
    assert_eq!(daemon.count("account_authorized_until_timestamp_seconds", &[]).await, 0);
    let pauses = daemon.pauses_told("account refused");
    assert!(pauses.len() == 1 && pauses[0] >= REFUSAL_WINDOW, "{pauses:?} in {}", daemon.log());
    // Also across sessions.
    onsip.cut(&anna);
    until_bound(&onsip, &daemon, &anna, 2).await;
    let pings = asked(&onsip, &anna, Request::Ping);
    until_observed(&onsip, &daemon, "a ping", SOON, |saw| saw.count(&anna, Request::Ping) > pings).await;
    daemon.until_accounts("refused", 1).await;
    assert_eq!(asked(&onsip, &anna, Request::Authorize), 1);
    assert_eq!(asked(&onsip, &anna, Request::Subscribe), 0, "nothing is subscribed without an authorization");
}

/// Rule 8: what may pass is told from what does not.
#[tokio::test]
async fn a_passing_failure_is_waited_out() {
    let (onsip, anna) = service_with_anna().await;
    let bert = account(&onsip, "bert@acme.test");
    onsip.behave(&anna, |b| b.login = Login::Fail("temporary-auth-failure"));
    onsip.behave(&bert, |b| b.authorize = Authorize::Wait);
    let daemon = Setup::of(&onsip).account("anna", &anna).account("bert", &bert).start().await;
    daemon.until_accounts("waiting", 2).await;
    let (status, reasons) = daemon.readyz().await;
    assert!(status == 503 && reasons.contains("anna") && reasons.contains("bert"), "{status} {reasons}");
    assert_eq!(daemon.count("connects_total", &[("outcome", "throttled")]).await, 1);
    onsip.behave(&anna, |b| b.login = Login::Check);
    onsip.behave(&bert, |b| b.authorize = Authorize::Grant(Duration::from_hours(1)));
    daemon.until_active(2).await;
    daemon.until_ready().await;
}

#[tokio::test]
async fn the_resource_the_server_chose_is_used_everywhere() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.bind = Bind::Other("server-choice".to_owned()));
    let mut daemon = Setup::of(&onsip).account("front-desk", &anna).start_active(1).await;
    let jids = |onsip: &Simulator| -> Vec<_> {
        onsip.subscriptions(&anna, &node(&anna)).into_iter().map(|entry| entry.jid.to_string()).collect()
    };
    assert_eq!(jids(&onsip), ["anna@acme.test/server-choice"]);
    let warning = daemon.until_logged("bound another resource", SOON).await;
    assert!(warning.contains("WARN") && warning.contains("server-choice"), "{warning}");
    assert_eq!(daemon.json("/api/v1/accounts").await[0]["jid"], "anna@acme.test/server-choice");
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_calls(1).await;
    onsip.inject(&anna, &item(CALLS, own(&anna).as_str(), &anna, "to-the-configured-one", &ringing("c")));
    daemon.until_count("events_rejected_total", &[("reason", "foreign_resource")], 1).await;

    daemon.kill9().await;
    daemon.start_again().await;
    daemon.until_active(1).await;
    assert_eq!((jids(&onsip).len(), asked(&onsip, &anna, Request::Subscribe)), (1, 1));
    onsip.hang_up(&mut call);
    daemon.until_calls(2).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_and_tried_again() {
    let (onsip, anna) = service_with_anna().await;
    onsip.mute(true);
    let setup = Setup::of(&onsip).xmpp("request_timeout = \"1s\"").account("front-desk", &anna);
    let daemon = setup.start().await;
    daemon.until_metric("connects_total", &[("outcome", "timeout")], SOON, |n| n >= 1.0).await;
    onsip.mute(false);
    daemon.until_active(1).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_network_fault_and_found_when_it_comes() {
    let (onsip, anna) = service_with_anna().await;
    onsip.go_down();
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    daemon.until_count("connects_total", &[("outcome", "network")], 1).await;
    onsip.come_up();
    daemon.until_active(1).await;
}

#[tokio::test]
async fn another_host_named_by_the_server_is_followed() {
    let (onsip, anna, daemon) = running().await;
    let elsewhere = service().await;
    account(&elsewhere, anna.as_str());
    onsip.see_other_host(&anna, &elsewhere.addr().to_string());
    until_bound(&elsewhere, &daemon, &anna, 1).await;
    daemon.until_count("disconnects_total", &[("reason", "redirected")], 1).await;
    daemon.until_active(1).await;
    let mut call = elsewhere.call_in(anna.as_str(), CALLER, 1);
    elsewhere.hang_up(&mut call);
    daemon.until_calls(2).await;
}

/// Rule 27: `see-other-host` is obeyed wherever in the stream it comes.
#[tokio::test]
async fn another_host_named_before_or_during_the_log_in_is_followed() {
    for during_sasl in [false, true] {
        let (onsip, anna) = service_with_anna().await;
        let elsewhere = service().await;
        account(&elsewhere, anna.as_str());
        let host = elsewhere.addr().to_string();
        if during_sasl {
            onsip.behave(&anna, |b| b.login = Login::End("see-other-host", host));
        } else {
            onsip.send_elsewhere(Some(&host));
        }
        let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
        until_bound(&elsewhere, &daemon, &anna, 1).await;
        daemon.until_active(1).await;
        assert_eq!(onsip.observed().connections_ever, 1);
    }
}

#[tokio::test]
async fn hosts_that_send_the_account_around_in_a_circle_are_not_followed_for_ever() {
    let (onsip, anna) = service_with_anna().await;
    onsip.send_elsewhere(Some(&onsip.addr().to_string()));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).section(ALL_LINES).start().await;
    until_observed(&onsip, &daemon, "three rounds", SOON, |saw| saw.connections_ever > 8).await;
    let tries = usize::try_from(onsip.observed().connections_ever).unwrap();
    // Each round is one connection and the three that it is sent on to; then there is a pause.
    daemon
        .until("a pause after each round", SOON, async || {
            (4 * (daemon.pauses_told("account waits").len() + 1) >= tries).then_some(())
        })
        .await;
    onsip.send_elsewhere(None);
    daemon.until_active(1).await;
}

#[tokio::test]
async fn a_server_that_asks_for_patience_during_the_log_in_is_given_it() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.login = Login::End("resource-constraint", String::new()));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
    daemon.until_count("connects_total", &[("outcome", "throttled")], 1).await;
    daemon.until_logged("account waits", SOON).await;
    until_observed(&onsip, &daemon, "the next try", SOON, |saw| saw.count(&anna, Request::Login) > 1).await;
    let times = onsip.observed().requests(&anna, Request::Login).times;
    assert!(times[1].since(times[0]) >= Duration::from_secs(5), "{times:?}");
}

#[tokio::test]
async fn a_server_that_binds_nothing_is_a_fault_of_the_protocol_and_not_hammered() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.bind = Bind::Fail(Failure::new("modify", "bad-request")));
    let daemon = Setup::of(&onsip).account("front-desk", &anna).section(ALL_LINES).start().await;
    until_bound(&onsip, &daemon, &anna, 4).await;
    let pauses = daemon.pauses_told("account waits");
    assert!(pauses.len() >= 3, "{pauses:?} between four tries: {}", daemon.log());
    daemon.until_count("connects_total", &[("outcome", "protocol")], 4).await;
}

#[tokio::test]
async fn a_log_in_with_scram_works_and_a_wrong_password_is_refused() {
    for mechanism in [Mechanism::ScramSha1, Mechanism::ScramSha256] {
        let options = Options { mechanisms: vec![mechanism], ..Options::default() };
        let onsip = Simulator::start(options).await.unwrap();
        let (anna, bert) = (account(&onsip, "anna@acme.test"), account(&onsip, "bert@acme.test"));
        let setup = Setup::of(&onsip).account("anna", &anna).account_with("bert", &bert, "password = \"wrong\"");
        let daemon = setup.start_active(1).await;
        daemon.until_accounts("refused", 1).await;
    }
}

#[tokio::test]
async fn a_connection_lost_between_a_request_and_its_answer_leads_to_no_second_subscription() {
    for approval in [Approval::After(Duration::from_millis(10)), Approval::Silence] {
        let (onsip, anna) = service_with_anna().await;
        onsip.behave(&anna, |b| {
            b.approval = approval;
            b.reply_delay = Duration::from_millis(300);
        });
        let daemon = Setup::of(&onsip).account("front-desk", &anna).start().await;
        until_observed(&onsip, &daemon, "a request", SOON, |saw| saw.count(&anna, Request::Subscribe) == 1).await;
        onsip.cut(&anna);
        until_bound(&onsip, &daemon, &anna, 2).await;
        if approval == Approval::Silence {
            daemon.until_subscriptions("pending", 1).await;
            onsip.approve_now(&anna, &node(&anna));
        }
        assert_back(&onsip, &daemon, &anna, &subids(&onsip, &anna)).await;
        assert_eq!(subids(&onsip, &anna).len(), 1);
    }
}

#[tokio::test]
async fn an_authorization_that_cannot_be_renewed_lapses_is_shown_and_comes_back() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_secs(3)));
    let setup = Setup::of(&onsip).xmpp("request_timeout = \"1s\"").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    let before = subids(&onsip, &anna);
    for trouble in [Authorize::Wait, Authorize::Silence] {
        onsip.behave(&anna, |b| b.authorize = trouble);
        daemon.until_accounts("online", 0).await;
        let until = daemon.until_metric("account_authorized_until_timestamp_seconds", &[], SOON, |until| until < 1.0);
        until.await;
        assert_eq!(daemon.readyz().await.0, 503);
        onsip.behave(&anna, |b| b.authorize = Authorize::Grant(Duration::from_secs(3)));
        assert_back(&onsip, &daemon, &anna, &before).await;
    }
    assert_eq!(onsip.observed().connections_ever, 1, "the connection has nothing to do with it");
}

#[tokio::test]
async fn where_no_authorization_is_wanted_none_is_asked_for() {
    let (onsip, anna) = service_with_anna().await;
    onsip.behave(&anna, |b| b.needs_authorization = false);
    let setup = Setup::of(&onsip).onsip("authorize = false").account("front-desk", &anna);
    let daemon = setup.start_active(1).await;
    assert_back(&onsip, &daemon, &anna, &subids(&onsip, &anna)).await;
    assert_eq!(asked(&onsip, &anna, Request::Authorize), 0);
}

#[tokio::test]
async fn a_service_that_lost_everything_while_it_was_away_is_subscribed_to_again() {
    let (onsip, anna, daemon) = running().await;
    onsip.go_down();
    daemon.until_metric("subscriptions", &[("state", "lost")], SOON, |lost| lost >= 1.0).await;
    onsip.forget(&anna, &node(&anna));
    onsip.end_authorization(&anna);
    onsip.come_up();
    daemon.until_active(1).await;
    let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    daemon.until_calls(2).await;
    assert_eq!((asked(&onsip, &anna, Request::Subscribe), subids(&onsip, &anna).len()), (2, 1));
}
