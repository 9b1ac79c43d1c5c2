//! `subscriptions list` and `clean` as an operator uses them: with and without a ledger, beside a running daemon, and
//! with accounts that fail.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use onsip_router::domain::{BareJid, FullJid};
use onsip_router::simulator::{Answering, Request, Simulator, State};
use onsip_router::store::Store;
use onsip_router::store::options::Options as StoreOptions;

use support::condition::SOON;
use support::daemon::Daemon;
use support::program::{PASSWORD, Said, configuration, folder, run, service, split};

const SERVICE: &str = "active-calls";
const ANNA: &str = "anna@acme.test";
const NODE: &str = "/me/anna@acme.test";

async fn subscriptions(folder: &Path, arguments: &[&str]) -> Said {
    let (action, rest) = arguments.split_first().unwrap();
    run(folder, &[&["subscriptions", action, "--config", "config.toml"], rest].concat()).await
}

fn bare(jid: &str) -> BareJid {
    BareJid::new(jid).unwrap()
}

fn full(jid: &str, resource: &str) -> FullJid {
    FullJid::new(&format!("{jid}/{resource}")).unwrap()
}

fn plant(onsip: &Simulator, resource: &str, state: State) -> String {
    onsip.plant(SERVICE, &full(ANNA, resource), NODE, state)
}

/// The subids the service holds for Anna, in its order.
fn held(onsip: &Simulator) -> Vec<String> {
    onsip.subscriptions(&bare(ANNA), NODE).into_iter().map(|entry| entry.subid).collect()
}

/// A daemon that is subscribed and has written down its subid.
async fn settled_daemon(onsip: &Simulator) -> (Daemon, String) {
    let daemon = Daemon::start(&configuration(onsip.addr().port(), &[ANNA]), &[]).await;
    daemon.until_metric("subscriptions", &[("state", "active")], SOON, |count| count >= 1.0).await;
    let url = format!("sqlite://{}", daemon.folder().join("onsip-router.db").display());
    let store = Store::beside(&StoreOptions::at(url)).await.unwrap();
    let subid = daemon
        .until("a subid in the ledger", SOON, async || {
            store.ledger().await.unwrap().into_iter().find_map(|line| line.subid)
        })
        .await;
    assert_eq!(held(onsip), [subid.as_str()]);
    (daemon, subid.to_string())
}

/// The row with `subid` from the JID on.
fn told(said: &Said, subid: &str) -> Vec<String> {
    let line = said.stdout.lines().find(|line| line.contains(subid)).unwrap_or_else(|| panic!("{subid}: {said:#?}"));
    split(line).split_off(3)
}

#[tokio::test]
async fn without_a_ledger_the_newest_own_one_is_kept_and_no_other_resource_is_touched() {
    let onsip = service(&[ANNA]).await;
    let folder = folder(&configuration(onsip.addr().port(), &[ANNA]));
    let first = plant(&onsip, "onsip-router", State::Subscribed);
    let phone = plant(&onsip, "phone", State::Subscribed);
    let second = plant(&onsip, "onsip-router", State::Subscribed);
    let twin = plant(&onsip, "onsip-router-2", State::Subscribed);
    let newest = plant(&onsip, "onsip-router", State::Subscribed);
    let waiting = plant(&onsip, "phone", State::Pending);
    let all = [&first, &phone, &second, &twin, &newest, &waiting].map(Clone::clone);

    let listed = subscriptions(folder.path(), &["list"]).await;
    assert_eq!(listed.code, Some(0), "{listed:#?}");
    let own = full(ANNA, "onsip-router");
    assert_eq!(told(&listed, &first), [own.as_str(), &first, "subscribed", "own, surplus", "-", "-", "-"]);
    assert_eq!(told(&listed, &newest)[3], "own");
    assert_eq!(told(&listed, &twin)[3], "other");
    assert_eq!(told(&listed, &waiting)[2..4], ["pending", "other"]);

    let rehearsed = subscriptions(folder.path(), &["clean", "--dry-run"]).await;
    assert_eq!(rehearsed.code, Some(0), "{rehearsed:#?}");
    assert!(rehearsed.stdout.ends_with("\n2 would be removed, 4 left\n"), "{rehearsed:#?}");
    assert_eq!(held(&onsip), all, "neither of them changed anything");
    for request in [Request::Subscribe, Request::Unsubscribe, Request::Options, Request::Authorize, Request::Presence] {
        assert_eq!(onsip.observed().total(request), 0, "{request:?}");
    }

    let cleaned = subscriptions(folder.path(), &["clean"]).await;
    assert_eq!((cleaned.code, cleaned.stderr.lines().count()), (Some(0), 1), "{cleaned:#?}");
    assert!(cleaned.stdout.ends_with("\n2 removed, 4 left\n"), "{cleaned:#?}");
    assert_eq!(told(&cleaned, &first)[3], "removed");
    assert_eq!(told(&cleaned, &newest)[3], "kept");
    assert_eq!(told(&cleaned, &phone)[3], "left: another resource");
    assert_eq!(held(&onsip), [phone, twin, newest, waiting]);

    let again = subscriptions(folder.path(), &["clean"]).await;
    assert!(again.code == Some(0) && again.stdout.ends_with("\n0 removed, 4 left\n"), "{again:#?}");
    assert_eq!(onsip.connections(), 0, "every stream is closed");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no database was made");
}

#[tokio::test]
async fn a_running_daemon_keeps_its_connection_its_subscription_and_its_events() {
    let onsip = service(&[ANNA]).await;
    let anna = bare(ANNA);
    onsip.style(|style| style.unsubscribe_echoed = true);
    let (mut daemon, renewed) = settled_daemon(&onsip).await;
    let newer = plant(&onsip, "onsip-router", State::Subscribed);

    let listed = subscriptions(daemon.folder(), &["list"]).await;
    assert_eq!((listed.code, listed.stderr.as_str()), (Some(0), ""), "{listed:#?}");
    let cells = told(&listed, &renewed);
    assert_eq!(cells[2..5], ["subscribed", "own", "active"], "{listed:#?}");
    assert!(cells[5].ends_with('Z') && cells[6].ends_with('Z'), "{cells:?}");
    assert_eq!(told(&listed, &newer)[3..], ["own, surplus", "-", "-", "-"]);

    let cleaned = subscriptions(daemon.folder(), &["clean", "--account", "anna"]).await;
    assert_eq!(cleaned.code, Some(0), "{cleaned:#?}");
    assert_eq!(
        held(&onsip),
        std::slice::from_ref(&renewed),
        "the one the daemon renews is kept, though it is the older one"
    );

    let connects = daemon.metric("connects_total", &[]).await;
    assert!((connects - 1.0).abs() < f64::EPSILON, "{connects}");
    assert_eq!((onsip.observed().conflicts, onsip.connections()), (0, 1));
    assert_eq!(onsip.look(|board| board.priorities(&anna)), [Some(1)]);
    let mut call = onsip.call_in(ANNA, "sip:+12125550111@carrier.test", 1);
    onsip.hang_up(&mut call);
    daemon.until_events("events.jsonl", 2, SOON).await;
    assert_eq!(held(&onsip), [renewed]);
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn the_ledger_of_a_stopped_daemon_says_what_only_it_knows() {
    let onsip = service(&[ANNA]).await;
    let (mut daemon, subid) = settled_daemon(&onsip).await;
    assert!(daemon.terminate().await.success());
    let newer = plant(&onsip, "onsip-router", State::Subscribed);

    let cleaned = subscriptions(daemon.folder(), &["clean"]).await;
    assert_eq!((cleaned.code, told(&cleaned, &newer)[3].as_str()), (Some(0), "removed"), "{cleaned:#?}");
    assert_eq!(held(&onsip), std::slice::from_ref(&subid));

    onsip.forget(&bare(ANNA), NODE);
    let listed = subscriptions(daemon.folder(), &["list"]).await;
    assert_eq!(listed.code, Some(0), "{listed:#?}");
    assert_eq!(told(&listed, &subid)[2..4], ["-", "only in the ledger"], "{listed:#?}");
    let cleaned = subscriptions(daemon.folder(), &["clean"]).await;
    assert!(cleaned.code == Some(0) && cleaned.stdout.ends_with("\n0 removed, 0 left\n"), "{cleaned:#?}");
}

#[tokio::test]
async fn one_wrong_password_fails_one_account_and_shows_no_password() {
    let jids = [ANNA, "bert@acme.test", "cleo@acme.test"];
    let onsip = service(&jids).await;
    onsip.set_password(&bare(jids[1]), "another");
    let folder = folder(&configuration(onsip.addr().port(), &jids));
    let surplus = plant(&onsip, "onsip-router", State::Subscribed);
    let newest = plant(&onsip, "onsip-router", State::Subscribed);
    for action in ["list", "clean"] {
        let said = subscriptions(folder.path(), &[action]).await;
        assert_eq!(said.code, Some(1), "{said:#?}");
        assert!(!said.shows(PASSWORD), "{said:#?}");
        let lines: Vec<_> = said.stderr.lines().filter(|line| line.starts_with("bert: ")).collect();
        assert_eq!(lines, ["bert: the server rejected the credentials: not-authorized"]);
        assert!(said.stdout.contains(&newest) && said.stdout.contains(&surplus), "{said:#?}");
        assert!(!said.stdout.contains("bert"), "{said:#?}");
    }
    assert_eq!(held(&onsip), [newest]);
}

#[tokio::test]
async fn a_service_that_refuses_or_is_silent_fails_its_account_only() {
    let jids = [ANNA, "bert@acme.test", "cleo@acme.test"];
    let onsip = service(&jids).await;
    let folder = folder(&configuration(onsip.addr().port(), &jids));
    plant(&onsip, "onsip-router", State::Subscribed);
    plant(&onsip, "onsip-router", State::Subscribed);
    let forbidden = onsip_router::simulator::Failure::new("auth", "forbidden").text("nobody reads this");
    onsip.behave(&bare(ANNA), |behaviour| behaviour.unsubscribe = Answering::Fail(forbidden));
    onsip.behave(&bare(jids[1]), |behaviour| behaviour.list = Answering::Silence);
    let said = subscriptions(folder.path(), &["clean"]).await;
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.stdout.contains("not removed: forbidden"), "{said:#?}");
    assert!(said.stdout.ends_with("\n0 removed, 1 left, 1 not removed\n"), "{said:#?}");
    assert!(said.stderr.contains("subscribed not removed: forbidden\n"), "{said:#?}");
    assert!(said.stderr.contains("bert: active-calls /me/bert@acme.test: no answer in time"), "{said:#?}");
    assert!(!said.shows("cleo:") && !said.shows("nobody reads"), "{said:#?}");
}

#[tokio::test]
async fn a_node_that_moved_is_listed_and_cleaned_where_it_is_now() {
    let onsip = service(&[ANNA]).await;
    let text = configuration(onsip.addr().port(), &[ANNA])
        .replace("[accounts.anna]", "[accounts.anna]\nsubscribe.active-calls = ['/']");
    let folder = folder(&text);
    plant(&onsip, "onsip-router", State::Subscribed);
    let newest = plant(&onsip, "onsip-router", State::Subscribed);
    let said = subscriptions(folder.path(), &["clean"]).await;
    assert!(said.code == Some(0) && said.stdout.ends_with("\n1 removed, 1 left\n"), "{said:#?}");
    assert_eq!(held(&onsip), [newest]);
}

#[tokio::test]
async fn an_account_that_is_unknown_or_disabled_is_named_before_anything_is_connected() {
    let onsip = service(&[ANNA]).await;
    let folder = folder(&(configuration(onsip.addr().port(), &[ANNA, "bert@acme.test"]) + "enabled = false\n"));
    let said = subscriptions(folder.path(), &["list", "--account", "ana"]).await;
    let expected = "onsip-router: --account ana: unknown account; the nearest known one is `anna`\n";
    assert_eq!((said.code, said.stderr.as_str(), said.stdout.as_str()), (Some(1), expected, ""));
    let said = subscriptions(folder.path(), &["clean", "--account", "bert"]).await;
    assert!(said.code == Some(1) && said.stderr.contains("--account bert: is not enabled"), "{said:#?}");
    fs::write(folder.path().join("config.toml"), "accounts.anna.jid = 'anna'").unwrap();
    let said = subscriptions(folder.path(), &["list"]).await;
    assert!(said.code == Some(78) && said.stderr.contains("accounts.anna.jid: "), "{said:#?}");
    assert_eq!(onsip.observed().connections_ever, 0);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_is_no_empty_one() {
    let onsip = service(&[ANNA]).await;
    let folder = folder(&configuration(onsip.addr().port(), &[ANNA]));
    plant(&onsip, "onsip-router", State::Subscribed);
    plant(&onsip, "onsip-router", State::Subscribed);
    fs::write(folder.path().join("onsip-router.db"), "not a database").unwrap();
    let said = subscriptions(folder.path(), &["clean"]).await;
    assert!(said.code == Some(1) && said.stderr.contains("is not a database"), "{said:#?}");
    assert_eq!(held(&onsip).len(), 2);
}

#[tokio::test]
async fn each_action_has_help_with_an_example() {
    let folder = folder("");
    for action in ["list", "clean"] {
        let said = run(folder.path(), &["subscriptions", action, "--help"]).await;
        let example = format!("  onsip-router subscriptions {action} ");
        assert!(said.code == Some(0) && said.stdout.contains(&example), "{said:#?}");
    }
}

#[tokio::test]
async fn two_accounts_of_one_jid_do_not_throw_each_other_out() {
    let onsip = service(&[ANNA]).await;
    let second = format!("[accounts.second]\njid = '{ANNA}'\npassword = '{PASSWORD}'\nresource = 'second'\n");
    let folder = folder(&(configuration(onsip.addr().port(), &[ANNA]) + &second));
    plant(&onsip, "second", State::Subscribed);
    let said = subscriptions(folder.path(), &["list"]).await;
    assert_eq!((said.code, onsip.observed().conflicts), (Some(0), 0), "{said:#?}");
    let whose = |name: &str| said.row(&[name, SERVICE, NODE])[6].clone();
    assert_eq!((whose("anna").as_str(), whose("second").as_str()), ("other", "own"));
}

#[tokio::test]
async fn fifty_accounts_are_done_a_few_at_a_time() {
    let names: Vec<_> = (1..=50).map(|n| format!("user{n}@acme.test")).collect();
    let jids: Vec<_> = names.iter().map(String::as_str).collect();
    let onsip = service(&jids).await;
    let text = configuration(onsip.addr().port(), &jids).replace("[onsip]", "concurrent_logins = 4\n[onsip]");
    let folder = folder(&text);
    let mut most = 0;
    let counted = onsip.until(Duration::MAX, |board| {
        most = most.max(board.connections());
        false
    });
    let said = tokio::select! {
        said = subscriptions(folder.path(), &["list"]) => said,
        _ = counted => unreachable!("it counts for ever"),
    };
    assert_eq!((said.code, said.stdout.lines().count()), (Some(0), 51), "{said:#?}");
    assert!((1..=4).contains(&most), "{most} at once");
    assert_eq!(onsip.observed().logins, 50);
}
