//! From nothing, or from what is remembered, to active.

use super::*;

fn remembered() -> Memory {
    let utc = |text: &str| Some(text.parse().unwrap());
    Memory {
        jid: FullJid::new(OWN).unwrap(),
        subid: Some("A".into()),
        lease_until: utc("2026-01-01T01:00:00Z"),
        renewed: utc("2025-12-31T23:00:00Z"),
    }
}

#[test]
fn a_first_start_lists_subscribes_waits_for_approval_and_learns_the_subid() {
    let mut play = Play::new();
    assert_eq!(play.ready(), "list, = listing");
    assert_eq!(play.hears(&list("")), "subscribe, = subscribing");
    assert_eq!(play.hears(&result("<subscription subscription='pending'/>")), "created, = pending");
    assert_eq!(play.told("subscribed"), "list, = active");
    assert_eq!(play.hears(&list("subscribed:A")), "");
    assert_eq!(play.machine.memory().unwrap().subid, Some("A".into()));
}

#[test]
fn the_approval_may_come_before_the_answer_to_subscribe() {
    let mut play = Play::new();
    play.ready();
    play.hears(&list(""));
    assert_eq!(play.told("subscribed"), "");
    assert_eq!(play.hears(&result("<subscription subscription='pending'/>")), "created, list, = active");
}

#[test]
fn subscribed_at_once_needs_no_message() {
    for (reply, then) in [
        ("<subscription subscription='subscribed' subid='A'/>", "created, = active"),
        ("<subscription subscription='subscribed'/>", "created, list, = active"),
    ] {
        let mut play = Play::new();
        play.ready();
        play.hears(&list(""));
        assert_eq!(play.hears(&result(reply)), then);
    }
}

#[test]
fn an_unconfigured_subscription_is_configured_before_it_counts() {
    let mut play = Play::new();
    play.ready();
    play.hears(&list(""));
    assert_eq!(
        play.hears(&result("<subscription subscription='unconfigured' subid='A'/>")),
        "created, renew A, = renewing"
    );
    assert_eq!(play.hears(&done()), "renewal: renewed, = active");

    let mut play = Play::new();
    play.ready();
    assert_eq!(play.hears(&list("unconfigured:A")), "reused, renew A, = renewing");
}

#[test]
fn a_restart_renews_the_remembered_one_and_makes_none() {
    let mut play = Play::remembering(Some(remembered()));
    play.ready();
    assert_eq!(play.hears(&list("subscribed:A subscribed:B")), "reused, renew A, = renewing");
    assert_eq!(play.hears(&done()), "renewal: renewed, unsubscribe B, = active");
    assert_eq!(play.hears(&done()), "removed");
}

#[test]
fn other_resources_are_never_touched() {
    let mut play = Play::new();
    play.ready();
    let foreign = "subscribed:X@a@b.test/other pending:Y@a@b.test subscribed:Z@a@b.test/Router";
    assert_eq!(play.hears(&list(foreign)), "subscribe, = subscribing");
    play.hears(&result("<subscription subscription='pending'/>"));
    play.told("subscribed");
    assert_eq!(play.hears(&list(&format!("{foreign} subscribed:A"))), "");
}

#[test]
fn of_several_own_ones_the_newest_is_kept_and_the_others_removed_one_at_a_time() {
    let mut play = Play::new();
    play.ready();
    assert_eq!(play.hears(&list("subscribed:A pending:B subscribed:C none:D")), "reused, renew C, = renewing");
    assert_eq!(play.hears(&done()), "renewal: renewed, unsubscribe B, = active");
    assert_eq!(play.hears(&done()), "removed, unsubscribe A");
    assert_eq!(play.hears(&error("unexpected-request", "not-subscribed")), "", "gone already");
}

#[test]
fn an_entry_in_state_none_is_no_subscription() {
    let mut play = Play::new();
    play.ready();
    assert_eq!(play.hears(&list("none:A")), "subscribe, = subscribing");
}

#[test]
fn a_pending_one_found_at_start_is_waited_for_and_its_lease_asked_anew() {
    let mut play = Play::new();
    play.ready();
    assert_eq!(play.hears(&list("pending:A")), "= pending");
    assert_eq!(play.told("subscribed"), "list, = listing");
    assert_eq!(play.hears(&list("subscribed:A")), "renew A, = renewing", "who knows until when it was asked for");
    assert_eq!(play.hears(&done()), "renewal: renewed, = active");
}

#[test]
fn silence_is_looked_up_then_withdrawn_and_only_then_asked_anew() {
    let mut play = Play::pending();
    assert_eq!(play.due(), (Duration::from_secs(30), "list, = listing".into()));
    assert_eq!(play.hears(&list("pending:A")), "unsubscribe A, = subscribing");
    assert_eq!(play.hears(&done()), "removed, = lost");
    assert_eq!(play.told("none"), "", "the echo of our own removal");
    assert_eq!(play.due().1, "list, = listing");
    assert_eq!(play.hears(&list("pending:A")), "= pending", "the removal did not work: never another beside it");
    play.due();
    play.hears(&list("pending:A"));
    play.hears(&done());
    play.due();
    assert_eq!(play.hears(&list("")), "subscribe, = subscribing");
}

#[test]
fn a_lost_approval_message_costs_nothing_but_the_wait() {
    let mut play = Play::pending();
    play.due();
    assert_eq!(play.hears(&list("subscribed:A")), "= active");
}

#[test]
fn a_pending_subscription_in_our_way_is_waited_for() {
    let mut play = Play::new();
    play.ready();
    play.hears(&list(""));
    assert_eq!(play.hears(&error("not-authorized", "pending-subscription")), "= pending");
}
