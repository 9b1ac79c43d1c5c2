//! `check --connect` as an operator uses it: does every account work, and if not, why?
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs;

use onsip_router::domain::{BareJid, FullJid};
use onsip_router::simulator::{Account, Answering, Authorize, Request, State};

use support::condition::SOON;
use support::daemon::Daemon;
use support::port;
use support::program::{PASSWORD, Said, configuration, folder, run, service};

const ANNA: &str = "anna@acme.test";
const BERT: &str = "bert@acme.test";
const CLEO: &str = "cleo@acme.test";
const NODE: &str = "/me/anna@acme.test";

async fn check(configuration: &str) -> Said {
    let folder = folder(configuration);
    let said = run(folder.path(), &["check", "--config", "config.toml", "--connect"]).await;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
    assert!(!said.shows(PASSWORD), "{said:#?}");
    said
}

fn bare(jid: &str) -> BareJid {
    BareJid::new(jid).unwrap()
}

#[tokio::test]
async fn a_working_account_is_shown_with_its_authorization_and_its_subscriptions() {
    let onsip = service(&[]).await;
    onsip.add(Account::new(ANNA, PASSWORD).unwrap().owning("sales@acme.test"));
    for resource in ["onsip-router", "phone", "onsip-router", "desk"] {
        let jid = FullJid::new(&format!("{ANNA}/{resource}")).unwrap();
        onsip.plant("active-calls", &jid, NODE, State::Subscribed);
    }
    let text = configuration(onsip.addr().port(), &[ANNA])
        + "auth_for_all = true\nsubscribe = { active-calls = ['/me/anna@acme.test'], voicemail = ['/me/anna@acme.test'] }\n";
    let said = check(&text).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:#?}");
    assert!(said.stdout.starts_with("ok: 1 account (1 enabled), 1 sink\n"), "{said:#?}");
    let rows: Vec<_> = said.stdout.lines().filter(|line| line.starts_with("anna ")).collect();
    let [calls, voicemail] = rows[..] else { panic!("{said:#?}") };
    assert!(calls.contains("Z for anna@acme.test, sales@acme.test  active-calls  "), "{said:#?}");
    assert!(calls.contains(&format!("{NODE}  2    2        ok")), "{said:#?}");
    assert!(voicemail.contains(&format!("{NODE}  0    0        ok")), "{said:#?}");
    assert!(said.stdout.ends_with("\n1 ok, 0 failed\n"), "{said:#?}");
    for request in [Request::Subscribe, Request::Unsubscribe, Request::Options, Request::Presence] {
        assert_eq!(onsip.observed().total(request), 0, "{request:?}");
    }
    assert_eq!((onsip.observed().logins, onsip.connections()), (1, 0));
}

#[tokio::test]
async fn each_account_that_fails_says_why_and_the_others_are_done() {
    let jids = [ANNA, BERT, CLEO, "dora@acme.test"];
    let onsip = service(&jids).await;
    onsip.set_password(&bare(BERT), "another");
    onsip.behave(&bare(CLEO), |behaviour| behaviour.authorize = Authorize::Refuse);
    onsip.behave(&bare(jids[3]), |behaviour| behaviour.list = Answering::Silence);
    let said = check(&configuration(onsip.addr().port(), &jids)).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert_eq!(said.row(&["anna", "ok"]).last().unwrap(), "ok");
    assert_eq!(said.row(&["bert"])[1], "the server rejected the credentials: not-authorized");
    // The service repeats the whole request in its refusal, password included.
    assert!(said.row(&["cleo", "ok"])[2].starts_with("no: bad-request (bad-action); "), "{said:#?}");
    assert_eq!(said.row(&["dora", "ok"]).last().unwrap(), "failed: no answer in time");
    assert!(said.stdout.ends_with("\n1 ok, 3 failed\n"), "{said:#?}");
}

#[tokio::test]
async fn a_host_that_nobody_answers_at_fails_within_the_time_out() {
    let (_held, closed) = port::closed();
    let said = check(&configuration(closed.port(), &[ANNA, BERT])).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.row(&["bert"])[1].starts_with("cannot connect to 127.0.0.1:"), "{said:#?}");

    let onsip = service(&[ANNA, BERT]).await;
    onsip.mute(true);
    let text = configuration(onsip.addr().port(), &[ANNA, BERT]);
    let (said, together) = tokio::join!(check(&text), onsip.until(SOON, |board| board.connections() == 2));
    assert!(together, "one account waited for the other: {said:#?}");
    assert_eq!((said.code, said.row(&["anna"])[1].as_str()), (Some(1), "the server did not answer in time"));
}

#[tokio::test]
async fn a_long_round_says_on_standard_error_how_far_it_is() {
    let onsip = service(&[ANNA]).await;
    onsip.mute(true);
    let text = configuration(onsip.addr().port(), &[ANNA]).replace("'2s'", "'6s'");
    let said = check(&text).await;
    let mut lines = said.stderr.lines();
    assert_eq!(lines.next(), Some("onsip-router: 0 of 1 accounts done"));
    assert!(lines.all(|line| line == "onsip-router: 0 of 1 accounts done"), "{said:#?}");
}

#[tokio::test]
async fn without_authorize_nothing_is_asked_for_and_a_disabled_account_is_left_alone() {
    let onsip = service(&[ANNA]).await;
    let text = configuration(onsip.addr().port(), &[ANNA, BERT]).replace("[http]", "authorize = false\n[http]")
        + "enabled = false\n";
    let said = check(&text).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(said.row(&["anna", "ok"])[2], "not asked for");
    assert!(said.stdout.ends_with("\n1 ok, 0 failed\n"), "{said:#?}");
    assert_eq!(onsip.observed().total(Request::Authorize), 0);
}

#[tokio::test]
async fn a_bad_configuration_is_not_tried() {
    let onsip = service(&[ANNA]).await;
    let said = check(&(configuration(onsip.addr().port(), &[ANNA]) + "resorce = 'x'\n")).await;
    assert_eq!((said.code, onsip.observed().connections_ever), (Some(78), 0), "{said:#?}");
}

#[tokio::test]
async fn a_node_with_ten_subscriptions_is_reported() {
    let onsip = service(&[ANNA]).await;
    for n in 0..10 {
        let jid = FullJid::new(&format!("{ANNA}/{n}")).unwrap();
        onsip.plant("active-calls", &jid, NODE, State::Subscribed);
    }
    let said = check(&configuration(onsip.addr().port(), &[ANNA])).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(said.stderr, format!("anna: active-calls {NODE}: 10 subscriptions; the service allows 10 per JID\n"));
}

#[tokio::test]
async fn a_running_daemon_is_not_disturbed() {
    let onsip = service(&[ANNA]).await;
    let mut daemon = Daemon::start(&configuration(onsip.addr().port(), &[ANNA]), &[]).await;
    daemon.until_metric("subscriptions", &[("state", "active")], SOON, |count| count >= 1.0).await;
    let said = run(daemon.folder(), &["check", "--config", "config.toml", "--connect"]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    let connects = daemon.metric("connects_total", &[]).await;
    assert!((connects - 1.0).abs() < f64::EPSILON, "{connects}");
    assert_eq!((onsip.observed().conflicts, onsip.connections()), (0, 1));
    let mut call = onsip.call_in(ANNA, "sip:+12125550111@carrier.test", 1);
    onsip.hang_up(&mut call);
    daemon.until_events("events.jsonl", 2, SOON).await;
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn many_accounts_are_checked_side_by_side() {
    let names: Vec<_> = (1..=50).map(|n| format!("user{n}@acme.test")).collect();
    let jids: Vec<_> = names.iter().map(String::as_str).collect();
    let onsip = service(&jids).await;
    let said = check(&configuration(onsip.addr().port(), &jids)).await;
    assert!(said.code == Some(0) && said.stdout.ends_with("\n50 ok, 0 failed\n"), "{said:#?}");
    assert!(onsip.observed().most_handshakes > 1, "one after the other");
}
