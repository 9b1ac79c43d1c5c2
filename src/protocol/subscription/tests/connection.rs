//! The connection goes away, in every phase, and comes back.

use super::*;

/// One of every phase.
fn phases() -> Vec<(&'static str, Play)> {
    let mut plays = vec![("active", Play::active()), ("pending", Play::pending())];
    let mut play = Play::new();
    play.ready();
    plays.push(("listing", play));
    let mut play = Play::new();
    play.ready();
    play.hears(&list(""));
    plays.push(("subscribing", play));
    let mut play = Play::active();
    play.due();
    plays.push(("renewing", play));
    let mut play = Play::active();
    play.told("none");
    plays.push(("confirming", play));
    let mut play = Play::active();
    play.told("none");
    play.hears(&list(""));
    plays.push(("pausing", play));
    let mut play = Play::new();
    play.ready();
    play.hears(&list("subscribed:A subscribed:B"));
    play.hears(&done());
    plays.push(("removing", play));
    let mut play = Play::pending();
    play.due();
    play.hears(&list("pending:A"));
    plays.push(("withdrawing", play));
    plays
}

#[test]
fn a_lost_connection_ends_every_phase_and_the_next_one_begins_with_a_list() {
    for (phase, mut play) in phases() {
        play.suspended();
        assert_eq!((play.state(), play.machine.deadline()), (SubscriptionState::Lost, None), "{phase}");
        assert_eq!(play.ready(), "list, = listing", "{phase}");
        assert!(play.hears(&list("subscribed:A")).starts_with("reused, renew A"), "{phase}");
    }
}

#[test]
fn an_answer_that_comes_when_none_is_awaited_changes_nothing() {
    for (phase, mut play) in phases() {
        if play.machine.phase.is_asking() {
            continue;
        }
        let due = play.machine.deadline();
        for reply in [done(), list(""), error("forbidden", ""), Err(NoAnswer::Disconnected)] {
            assert_eq!(play.hears(&reply), "", "{phase}");
        }
        assert_eq!(play.machine.deadline(), due, "{phase}");
        assert_ne!(play.state(), SubscriptionState::Listing, "{phase}");
    }
    let mut play = Play::active();
    play.suspended();
    assert_eq!(play.hears(&list("")), "", "offline");
    assert_eq!(play.told("none"), "", "offline");
}

#[test]
fn a_request_the_connection_took_with_it_is_lost_with_it() {
    for (phase, mut play) in phases() {
        if play.machine.phase.is_asking() {
            assert_eq!(play.hears(&Err(NoAnswer::Disconnected)), "= lost", "{phase}");
            assert_eq!(play.suspended(), "", "{phase}");
        }
    }
}

#[test]
fn a_refusal_is_waited_out_across_connections() {
    let mut play = Play::new();
    play.ready();
    play.hears(&list(""));
    play.hears(&error("policy-violation", "too-many-subscriptions"));
    play.suspended();
    play.after(Duration::from_secs(3));
    assert_eq!(play.ready(), "= denied");
    assert_eq!(play.due(), (Duration::from_secs(7), "list, = listing".into()), "and no longer than it must");
}

#[test]
fn approved_while_we_were_away_is_used() {
    let mut play = Play::pending();
    play.suspended();
    play.ready();
    assert_eq!(play.hears(&list("subscribed:A")), "reused, renew A, = renewing");
}

#[test]
fn what_another_resource_held_is_forgotten() {
    let mut play = Play::active();
    play.suspended();
    let other = FullJid::new("a@b.test/other").unwrap();
    play.machine.ready(other.clone(), at(play.now));
    assert_eq!(play.machine.memory().map(|memory| (memory.jid, memory.subid)), Some((other, None)));
}
