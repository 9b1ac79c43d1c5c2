//! Everything at once: whatever happened, in the end every account has one subscription and every event was told once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;
#[path = "faults/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use onsip_router::domain::BareJid;
use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{Authorize, Faults, Request, Simulator, Stall, State, Traffic};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

/// How many things go wrong, one after the other.
const BLOWS: usize = 60;

async fn strike(dice: &mut StdRng, onsip: &Simulator, jid: &BareJid, daemon: &mut Daemon) -> &'static str {
    let stray = |to: &str| item(CALLS, to, jid, "stray", &ringing("stray"));
    let blow = dice.random_range(0..14);
    match blow {
        0 => onsip.cut(jid),
        1 => onsip.close(jid),
        2 => onsip.stall(jid, Stall::Dead),
        3 => onsip.stream_error(jid, "system-shutdown"),
        4 => onsip.inject(jid, "<message><body>&nbsp;</message>"),
        5 => onsip.revoke(jid, &node(jid)),
        6 => onsip.end_leases(jid),
        7 => onsip.end_authorization(jid),
        8 => onsip.announce("active-calls", &own(jid), &node(jid), "none"),
        9 => onsip.inject(jid, &stray("somebody@acme.test/else")),
        10 => onsip.inject(jid, &item(CALLS, own(jid).as_str(), jid, "large", &"x".repeat(400_000))),
        11 => onsip.restart(Duration::from_millis(100)).await,
        12 => daemon.reload().await,
        _ => {
            daemon.kill9().await;
            daemon.start_again().await;
        }
    }
    [
        "cut", "close", "stall", "error", "xml", "revoke", "leases", "grant", "none", "stray", "large", "restart",
        "reload", "kill",
    ][blow]
}

async fn ordeal(seed: u64) {
    let onsip = service().await;
    let jids: Vec<_> = (1..=6).map(|n| account(&onsip, &format!("user{n}@acme.test"))).collect();
    let setup = Setup::of(&onsip).xmpp("request_timeout = \"1s\"\nping_interval = \"1s\"");
    let setup = setup.onsip("subscription_lease = \"5s\"\napproval_timeout = \"2s\"");
    let setup = jids.iter().enumerate().fold(setup, |setup, (n, jid)| setup.account(&format!("user-{n}"), jid));
    for jid in &jids {
        let other = jid.with_resource_str("phone").unwrap();
        onsip.plant("active-calls", &other, &node(jid), State::Subscribed);
    }
    // What ended in silence is only healed by asking again.
    onsip.behave_all(|b| b.authorize = Authorize::Grant(Duration::from_secs(5)));
    let mut daemon = setup.start_active(6).await;
    let traffic = onsip.run_traffic(Traffic::new(jids.iter().map(ToString::to_string).collect(), 600.0));
    onsip.style(|style| {
        style.duplicated = 0.1;
        style.held_back = 0.1;
        style.held_back_for = Duration::from_millis(200);
        style.crowded = 0.05;
        style.unsubscribe_echoed = true;
        style.store_offline = true;
    });

    let mut dice = StdRng::seed_from_u64(seed);
    let mut story = Vec::new();
    for _ in 0..BLOWS {
        let victim = &jids[dice.random_range(0..jids.len())];
        story.push(format!("{} {victim}", strike(&mut dice, &onsip, victim, &mut daemon).await));
        let pause = Duration::from_millis(dice.random_range(0..150));
        let crowded =
            onsip.until(pause, |board| jids.iter().any(|jid| board.subscriptions(jid, Some(&node(jid))).len() > 3));
        if crowded.await {
            daemon.fail(&format!("seed {seed}: an account asks for more and more subscriptions after {story:?}"));
        }
    }
    traffic.end();
    onsip.style(|style| style.held_back = 0.0);
    daemon.until("/readyz to say 200", SOON, async || (daemon.readyz().await.0 == 200).then_some(())).await;
    daemon.until_active(6).await;
    for jid in &jids {
        let healed = onsip.until_subscribed(jid, &node(jid), SOON).await
            && onsip.until(SOON, |board| board.authorized_until(jid, Moment::now()).is_some()).await;
        assert!(healed, "seed {seed}: {jid} would get nothing after {story:?}");
        let kept: Vec<_> =
            onsip.subscriptions(jid, &node(jid)).into_iter().map(|entry| entry.jid.to_string()).collect();
        let revoked = story.contains(&format!("revoke {jid}")); // the service then removed those of all resources
        let phone = (!revoked).then(|| format!("{jid}/phone"));
        let expected: Vec<_> = phone.into_iter().chain([own(jid).to_string()]).collect();
        assert_eq!(kept, expected, "seed {seed} after {story:?}");
        assert_eq!(asked(&onsip, jid, Request::Message), 0, "a message is never answered");
    }
    assert_eq!(daemon.count("actor_restarts_total", &[]).await, 0, "an actor died");

    for jid in &jids {
        let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
        daemon
            .until(&format!("the call of {jid} (seed {seed}, {story:?})"), SOON, async || {
                let told =
                    daemon.events(EVENTS).iter().filter(|event| event["data"]["call_id"] == call.call_id()).count();
                (told >= 2).then_some(())
            })
            .await;
    }
    let told = assert_told_once(&daemon, &story);
    assert!(told > 50, "there was something to tell: {told}");
}

/// How many events were told, each once.
fn assert_told_once(daemon: &Daemon, story: &[String]) -> usize {
    let events = daemon.events(EVENTS);
    let mut by_id = BTreeMap::new();
    let mut by_content = BTreeMap::new();
    for event in &events {
        let data = &event["data"];
        let id = event["id"].as_str().unwrap();
        let content = what_happened(event);
        let same = by_id.insert(id, event).is_none_or(|earlier| earlier == event);
        assert!(same, "one id for two events: {event:#} after {story:?}");
        if !data["item_id"].as_str().is_some_and(|item| item.starts_with("unknown:")) {
            let one = by_content.insert(content, id).is_none_or(|earlier| earlier == id);
            assert!(one, "two ids for one event: {event:#} after {story:?}");
        }
        assert_ne!(data["item_id"], "stray", "{event:#}");
    }
    events.len()
}

/// Every incident of the example file, but far more often, and none of the shares that take long to heal.
fn relentless() -> Faults {
    let text = include_str!("../config/faults.example.toml");
    // What ends before it began, since its beginning was held back, has indeed two ends.
    let rules = ["approval_silence", "denied", "subscription_limit", "held_back"];
    let lines = text.lines().filter(|line| rules.iter().all(|rule| !line.starts_with(rule)));
    let lines = lines.map(|line| match line.split_once("_every = ") {
        Some((name, _)) => format!("{name}_every = \"2500ms\"\n"),
        None => format!("{line}\n"),
    });
    Faults::from_toml(&lines.collect::<String>().replace("\"2s\"", "\"100ms\"")).unwrap()
}

#[tokio::test]
async fn every_fault_of_the_example_file_at_once_is_survived() {
    let onsip = service().await;
    let jids: Vec<_> = (1..=4).map(|n| account(&onsip, &format!("user{n}@acme.test"))).collect();
    let setup = Setup::of(&onsip).xmpp("request_timeout = \"1s\"\nping_interval = \"1s\"");
    let setup = setup.onsip("subscription_lease = \"5s\"\napproval_timeout = \"2s\"");
    let setup = jids.iter().enumerate().fold(setup, |setup, (n, jid)| setup.account(&format!("user-{n}"), jid));
    onsip.behave_all(|b| b.authorize = Authorize::Grant(Duration::from_secs(5)));
    let daemon = setup.start_active(4).await;
    let trouble = onsip.run_faults(&relentless());
    let what = "plenty of incidents, the slowest to heal among them";
    until_observed(&onsip, &daemon, what, SOON, |saw| saw.conflicts >= 1 && saw.connections_ever >= 12).await;
    trouble.end();
    onsip.style(|style| (style.duplicated, style.held_back, style.crowded) = (0.0, 0.0, 0.0));
    daemon.until_ready().await;
    daemon.until_active(4).await;
    for jid in &jids {
        assert!(onsip.until_subscribed(jid, &node(jid), SOON).await, "{jid}");
        let alone = onsip.until(SOON, |board| board.subscriptions(jid, Some(&node(jid))).len() == 1);
        assert!(alone.await, "the surplus of {jid} is gone: {:?}", onsip.subscriptions(jid, &node(jid)));
    }
    assert_eq!(daemon.count("actor_restarts_total", &[]).await, 0, "an actor died");
    let before = calls(daemon.events(EVENTS)).len();
    for jid in &jids {
        let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
    }
    daemon.until_calls(before + 8).await;
    let told = assert_told_once(&daemon, &[]);
    assert!(told >= 8, "{told}");
}

#[tokio::test]
async fn an_ordeal_leaves_one_subscription_each_and_every_event_told_once() {
    ordeal(1).await;
}

#[tokio::test]
async fn another_ordeal_leaves_one_subscription_each_and_every_event_told_once() {
    ordeal(7).await;
}
