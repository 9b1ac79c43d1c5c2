//! Asking what is there, whenever events can arrive again after they could not.

use super::*;

const SHOWN: &str = "resync: shown";

fn play() -> Play {
    Play::with(Terms { resync: true, ..terms() }, None)
}

/// One that was just told what is there.
fn synced() -> Play {
    let mut play = play();
    play.ready();
    play.hears(&list("subscribed:A"));
    assert_eq!(play.hears(&done()), "renewal: renewed, items, = active");
    assert_eq!(play.hears(&items()), SHOWN);
    play
}

fn items() -> Reply {
    result("<items node='/b.test/a'/>")
}

#[test]
fn once_it_delivers_it_is_asked_what_is_there_and_then_not_again() {
    let mut play = synced();
    for _ in 0..5 {
        assert_eq!(play.due().1, "renew A, = renewing");
        assert_eq!(play.hears(&done()), "renewal: renewed, list, = active");
        assert_eq!(play.hears(&list("subscribed:A")), "");
    }
}

#[test]
fn a_new_subscription_is_asked_after_its_approval() {
    let mut play = play();
    play.ready();
    play.hears(&list(""));
    play.hears(&result("<subscription subscription='pending'/>"));
    assert_eq!(play.told("subscribed"), "list, = active");
    assert_eq!(play.hears(&list("subscribed:A")), "items");
    assert_eq!(play.hears(&items()), SHOWN);
}

#[test]
fn every_new_session_asks_again() {
    let mut play = synced();
    for _ in 0..3 {
        play.suspended();
        play.ready();
        play.hears(&list("subscribed:A"));
        assert_eq!(play.hears(&done()), "renewal: renewed, items, = active");
        assert_eq!(play.hears(&items()), SHOWN);
    }
}

#[test]
fn a_connection_that_goes_away_meanwhile_leaves_the_question_open() {
    let mut play = synced();
    play.suspended();
    play.ready();
    play.hears(&list("subscribed:A"));
    play.hears(&done());
    play.suspended();
    assert_eq!(play.hears(&Err(NoAnswer::Disconnected)), "");
    play.ready();
    play.hears(&list("subscribed:A"));
    assert_eq!(play.hears(&done()), "renewal: renewed, items, = active");
}

#[test]
fn whatever_the_service_answers_it_stays_active_and_is_not_asked_again() {
    for (reply, outcome) in [
        (error("forbidden", ""), "resync: refused"),
        (error("item-not-found", ""), "resync: refused"),
        (error("bad-request", ""), "resync: refused"),
        (error("not-authorized", "not-subscribed"), "resync: refused"),
        (error("feature-not-implemented", "unsupported"), "resync: refused"),
        (error("internal-server-error", ""), "resync: refused"),
        (error("service-unavailable", ""), "resync: refused"),
        (moved("/me/elsewhere"), "resync: refused"),
        (done(), SHOWN),
        (Err(NoAnswer::TimedOut), "resync: timeout"),
    ] {
        let mut play = play();
        play.ready();
        play.hears(&list("subscribed:A"));
        play.hears(&done());
        assert_eq!(play.hears(&reply), outcome, "{reply:?}");
        assert_eq!(play.state(), SubscriptionState::Active);
        assert_eq!(play.due().1, "renew A, = renewing", "{reply:?}");
    }
}

#[test]
fn a_lapsed_lease_and_a_lost_subscription_ask_again_once_it_delivers() {
    let mut lapsed = synced();
    assert_eq!(lapsed.let_the_lease_run_out(), "list, = listing");
    lapsed.hears(&list("subscribed:A"));
    assert_eq!(lapsed.hears(&done()), "renewal: renewed, items, = active");

    let mut lost = synced();
    lost.told("none");
    assert_eq!(lost.hears(&list("")), "= lost");
    lost.due();
    lost.hears(&list(""));
    lost.hears(&result("<subscription subscription='subscribed' subid='B'/>"));
    assert_eq!(lost.state(), SubscriptionState::Active);
    assert_eq!(lost.hears(&items()), SHOWN);
}

#[test]
fn a_lease_that_ran_out_unnoticed_during_its_renewal_asks_too() {
    let mut play = Play::with(Terms { lease: Duration::from_secs(10), resync: true, ..terms() }, None);
    play.ready();
    play.hears(&list("subscribed:A"));
    play.hears(&done());
    play.hears(&items());
    play.due();
    assert_eq!(play.due().1, "= lost");
    play.hears(&done());
    assert_eq!(play.hears(&list("subscribed:A")), "items");
}

#[test]
fn an_end_told_meanwhile_is_looked_up_and_a_new_authorization_renews_after_the_answer() {
    let mut ended = play();
    ended.ready();
    ended.hears(&list("subscribed:A"));
    ended.hears(&done());
    assert_eq!(ended.told("none"), "");
    assert_eq!(ended.hears(&items()), "resync: shown, list");
    assert_eq!(ended.hears(&list("")), "= lost");

    let mut renewed = play();
    renewed.ready();
    renewed.hears(&list("subscribed:A"));
    renewed.hears(&done());
    assert_eq!(renewed.reauthorized(), "");
    assert_eq!(renewed.hears(&items()), "resync: shown, renew A, = renewing");
    assert_eq!(renewed.hears(&done()), "renewal: renewed, = active", "it was listed before");
}

#[test]
fn a_lapse_while_the_answer_is_awaited_asks_again_after_the_renewal() {
    let mut play = play();
    play.ready();
    play.hears(&list("subscribed:A"));
    play.hears(&done());
    let commands = play.machine.reauthorized(true, at(play.now));
    assert_eq!(shown(commands), "");
    assert_eq!(play.hears(&error("forbidden", "")), "resync: refused, renew A, = renewing");
    assert_eq!(play.hears(&done()), "renewal: renewed, items, = active");
    assert_eq!(play.hears(&items()), SHOWN);
}

#[test]
fn an_authorization_that_had_lapsed_asks_again_and_one_renewed_in_time_does_not() {
    let mut play = synced();
    for (lapsed, next) in [(false, ""), (true, "items")] {
        let commands = play.machine.reauthorized(lapsed, at(play.now));
        assert_eq!(shown(commands), "renew A, = renewing");
        play.hears(&done());
        assert_eq!(play.hears(&list("subscribed:A")), next);
    }
}
