//! What is not for this router, or not from its service, or cannot be read, reaches no sink and is counted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use onsip_router::domain::BareJid;
use onsip_router::simulator::{Request, Simulator, State};

use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::*;

const REJECTED: &str = "events_rejected_total";

/// A whole call after everything else: when it is in the file, nothing that came before it is still under way.
async fn only_a_later_call_is_told(onsip: &Simulator, jid: &BareJid, daemon: &Daemon) {
    let mut call = onsip.call_in(jid.as_str(), CALLER, 1);
    onsip.hang_up(&mut call);
    let events = daemon.until_calls(2).await;
    let items: Vec<_> = daemon.events(EVENTS).iter().map(|event| event["data"]["item_id"].clone()).collect();
    assert_eq!(items, [call.legs[0].item_id.as_str(); 2], "{events:#?}");
    assert_eq!(asked(onsip, jid, Request::Message), 0, "a message is never answered");
}

async fn rejected(daemon: &Daemon, reason: &str) -> u64 {
    daemon.count(REJECTED, &[("reason", reason)]).await
}

#[tokio::test]
async fn a_message_to_anybody_but_our_full_jid_is_foreign() {
    let (onsip, anna, daemon) = running().await;
    let others =
        ["anna@acme.test/other", "anna@acme.test", "anna@acme.test/Onsip-Router", "bert@acme.test/onsip-router"];
    for (at, to) in others.into_iter().enumerate() {
        onsip.inject(&anna, &item(CALLS, to, &anna, &format!("foreign-{at}"), &ringing("c")));
    }
    daemon.until_count(REJECTED, &[("reason", "foreign_resource")], 4).await;
    only_a_later_call_is_told(&onsip, &anna, &daemon).await;
    assert_eq!(rejected(&daemon, "foreign_resource").await, 4);
    assert_eq!(rejected(&daemon, "unexpected_sender").await, 0);
}

#[tokio::test]
async fn what_the_service_falls_back_to_us_with_is_told_once_and_counted_as_foreign() {
    let (onsip, anna, daemon) = running().await;
    let absent = anna.with_resource_str("desk-app").unwrap();
    let planted = onsip.plant("active-calls", &absent, &node(&anna), State::Subscribed);

    only_a_later_call_is_told(&onsip, &anna, &daemon).await;
    daemon.until_count(REJECTED, &[("reason", "foreign_resource")], 2).await;
    assert_eq!(daemon.count("events_duplicate_total", &[]).await, 0, "a foreign copy is no duplicate");
    assert!(subids(&onsip, &anna).contains(&planted));
}

#[tokio::test]
async fn a_stranger_is_not_believed() {
    let (onsip, anna, daemon) = running().await;
    let to = own(&anna).to_string();
    let strangers = [
        "pubsub.active-calls.evil.test",
        "pubsub.user-agents.xmpp.onsip.test", // a service, but none of this account
        "active-calls.xmpp.onsip.test",
        "bert@acme.test/phone",
        "anna@acme.test",
        "xmpp.onsip.test",
    ];
    for (at, from) in strangers.into_iter().enumerate() {
        onsip.inject(&anna, &item(from, &to, &anna, &format!("strange-{at}"), &ringing("c")));
    }
    let nobody = item("x", &to, &anna, "from-nobody", &ringing("c")).replace(" from='x'", "");
    onsip.inject(&anna, &nobody);
    daemon.until_count(REJECTED, &[("reason", "unexpected_sender")], 7).await;
    only_a_later_call_is_told(&onsip, &anna, &daemon).await;
    assert_eq!(rejected(&daemon, "foreign_resource").await, 0);
}

#[tokio::test]
async fn a_stranger_cannot_end_a_subscription() {
    let (onsip, anna, daemon) = running().await;
    let none = |from: &str, to: &str| {
        format!(
            "<message xmlns='jabber:client' from='{from}' to='{to}'>\
             <event xmlns='http://jabber.org/protocol/pubsub#event'>\
             <subscription node='{}' jid='{to}' subscription='none'/></event></message>",
            node(&anna)
        )
    };
    // One list to begin with, and one after the approval.
    assert!(onsip.until(SOON, |board| board.observed().count(&anna, Request::List) == 2).await);
    onsip.inject(&anna, &none("pubsub.active-calls.evil.test", own(&anna).as_str()));
    onsip.inject(&anna, &none(CALLS, "anna@acme.test/other"));
    daemon.until_count(REJECTED, &[("reason", "foreign_resource")], 1).await;
    only_a_later_call_is_told(&onsip, &anna, &daemon).await;
    assert_eq!((asked(&onsip, &anna, Request::List), asked(&onsip, &anna, Request::Subscribe)), (2, 1));
}

#[tokio::test]
async fn what_cannot_be_read_costs_its_neighbours_nothing() {
    let (onsip, anna, daemon) = running().await;
    let to = own(&anna).to_string();
    let musing = ringing("odd").replace("requested", "musing");
    onsip.inject(&anna, &item(CALLS, &to, &anna, "musing", &musing));
    onsip.inject(&anna, &item(CALLS, &to, &anna, "empty", ""));
    onsip.inject(&anna, &item(CALLS, &to, &anna, "stateless", "<active-call xmlns='onsip:active-calls'/>"));
    daemon.until_count(REJECTED, &[("reason", "malformed")], 3).await;

    let good = item(CALLS, &to, &anna, "good", &ringing("good"));
    let bad = format!("<item id='bad'>{musing}</item>");
    onsip.inject(
        &anna,
        &good
            .replace("</items>", &format!("{bad}</items>"))
            .replace("<item id='good'", &format!("{bad}<item id='good'")),
    );
    let events = daemon.until_calls(1).await;
    assert_eq!((events.len(), events[0]["data"]["item_id"].as_str()), (1, Some("good")));
    daemon.until_count(REJECTED, &[("reason", "malformed")], 5).await;
    assert_eq!(onsip.observed().connections_ever, 1);
}

#[tokio::test]
async fn a_stanza_that_is_too_large_or_too_deep_costs_neither_the_account_nor_the_connection() {
    let (onsip, anna, daemon) = running().await;
    let to = own(&anna).to_string();
    let large = ringing(&"x".repeat(2 * 1024 * 1024));
    onsip.inject(&anna, &item(CALLS, &to, &anna, "large", &large));
    let deep = format!("{}{}", "<a>".repeat(20_000), "</a>".repeat(20_000));
    onsip.inject(&anna, &item(CALLS, &to, &anna, "deep", &deep));
    let wide = format!(
        "<active-call xmlns='onsip:active-calls' {}/>",
        (0..40_000).map(|n| format!("a{n}='x'")).collect::<Vec<_>>().join(" ")
    );
    onsip.inject(&anna, &item(CALLS, &to, &anna, "wide", &wide));

    daemon.until_count(REJECTED, &[("reason", "oversize")], 3).await;
    only_a_later_call_is_told(&onsip, &anna, &daemon).await;
    assert_eq!(onsip.observed().connections_ever, 1, "the account stays where it is");
    daemon.until_accounts("online", 1).await;
}

#[tokio::test]
async fn the_presences_and_requests_of_strangers_are_answered_as_the_rules_say_and_change_nothing() {
    let (onsip, anna, daemon) = running().await;
    let to = own(&anna).to_string();
    onsip.inject(&anna, &format!("<presence xmlns='jabber:client' from='bert@acme.test' to='{to}' type='subscribe'/>"));
    let iq = |id: &str, child: &str| {
        format!("<iq xmlns='jabber:client' type='get' id='{id}' from='acme.test' to='{to}'>{child}</iq>")
    };
    onsip.inject(&anna, &iq("p1", "<ping xmlns='urn:xmpp:ping'/>"));
    onsip.inject(&anna, &iq("q1", "<query xmlns='jabber:iq:private'/>"));
    onsip.inject(&anna, &iq("r1", "<query xmlns='jabber:iq:roster'/>").replace("'get'", "'result'"));
    let what = "two answers to two requests";
    until_observed(&onsip, &daemon, what, SOON, |saw| saw.count(&anna, Request::Answer) == 2).await;
    only_a_later_call_is_told(&onsip, &anna, &daemon).await;
    assert_eq!(asked(&onsip, &anna, Request::Answer), 2);
}
