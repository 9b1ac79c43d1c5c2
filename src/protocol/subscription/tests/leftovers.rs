//! Subscriptions made under resources the server had assigned (row B9).

use super::*;

fn jid(resource: &str) -> FullJid {
    format!("a@b.test/{resource}").parse().unwrap()
}

/// One that asks for the resource `router`, with this in its ledger.
fn play(recorded: &[(&str, &str)]) -> Play {
    let recorded = recorded.iter().map(|(resource, subid)| Leftover { jid: jid(resource), subid: (*subid).into() });
    let mut play = Play::new();
    play.machine = play.machine.asking_for(jid("router"), recorded.collect());
    play
}

fn bound(play: &mut Play, resource: &str) -> String {
    let now = at(play.now);
    shown(play.machine.ready(jid(resource), now))
}

fn lost(play: &mut Play) {
    play.machine.suspended(at(play.now));
}

#[test]
fn b9_what_the_ledger_shows_goes_once_the_new_one_delivers_and_nothing_else_does() {
    let mut play = play(&[("one", "A"), ("two", "B"), ("three", "C")]);
    assert_eq!(bound(&mut play, "four"), "list, = listing");
    let listed =
        "subscribed:A@a@b.test/one subscribed:X@a@b.test/two subscribed:B@a@b.test/psi subscribed:D@a@b.test/five";
    assert_eq!(play.hears(&list(listed)), "forget two, forget three, subscribe, = subscribing");
    let done_with_id = result("<subscription subscription='subscribed' subid='E' jid='a@b.test/four'/>");
    assert_eq!(play.hears(&done_with_id), "created, unsubscribe A of one, = active");
    assert!(play.machine.holds_assigned());
    assert_eq!(play.hears(&done()), "removed, forget one");
    lost(&mut play);
    bound(&mut play, "five");
    let listed = "subscribed:E@a@b.test/four subscribed:D@a@b.test/five subscribed:B@a@b.test/psi";
    assert_eq!(play.hears(&list(listed)), "reused, renew D, = renewing");
    assert!(!play.machine.holds_assigned(), "it was found, and the ledger does not show who made it");
    assert_eq!(play.hears(&done()), "renewal: renewed, unsubscribe E of four, = active");
    assert_eq!(play.hears(&error("not-acceptable", "invalid-subid")), "forget four", "it is gone");
}

#[test]
fn b9_where_there_is_no_room_one_of_ours_goes_first() {
    let ten = "subscribed:X@a@b.test/psi ".repeat(9) + "subscribed:A@a@b.test/one";
    let mut crowded = play(&[("one", "A")]);
    bound(&mut crowded, "two");
    assert_eq!(crowded.hears(&list(&ten)), "unsubscribe A of one, = subscribing");
    assert_eq!(crowded.hears(&done()), "removed, forget one, subscribe");

    let mut refused = play(&[("one", "A")]);
    bound(&mut refused, "two");
    assert_eq!(refused.hears(&list("subscribed:A@a@b.test/one")), "subscribe, = subscribing");
    assert_eq!(refused.hears(&error("policy-violation", "too-many-subscriptions")), "unsubscribe A of one");
    assert_eq!(refused.hears(&done()), "removed, forget one, subscribe");
    assert_eq!(refused.hears(&error("policy-violation", "too-many-subscriptions")), "= denied");
}

#[test]
fn b9_a_subscription_under_the_resource_that_was_asked_for_is_no_leftover() {
    let mut play = play(&[]);
    bound(&mut play, "router");
    play.hears(&list(""));
    play.hears(&result("<subscription subscription='subscribed' subid='A' jid='a@b.test/router'/>"));
    assert!(!play.machine.holds_assigned());
    lost(&mut play);
    bound(&mut play, "other");
    assert_eq!(play.hears(&list("subscribed:A")), "subscribe, = subscribing");
    let made = result("<subscription subscription='subscribed' subid='B' jid='a@b.test/other'/>");
    assert_eq!(play.hears(&made), "created, = active");
    assert!(play.machine.holds_assigned());
    lost(&mut play);
    bound(&mut play, "router");
    assert_eq!(play.hears(&list("subscribed:A subscribed:B@a@b.test/other")), "reused, renew A, = renewing");
    assert_eq!(play.hears(&done()), "renewal: renewed, unsubscribe B of other, = active");
}
