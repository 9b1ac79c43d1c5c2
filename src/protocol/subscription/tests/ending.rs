//! It was there and is not any more.

use super::*;

/// Rule 13.
#[test]
fn none_while_active_is_looked_up_and_a_new_one_asked_for_within_five_seconds() {
    let mut play = Play::active();
    assert_eq!(play.told("none"), "list");
    assert_eq!(play.hears(&list("")), "= lost");
    let (pause, _) = play.due();
    assert!(pause <= Duration::from_secs(5), "{pause:?}");
    assert_eq!(play.hears(&list("")), "subscribe, = subscribing");
}

/// Rule 13: `none` may echo our own removal.
#[test]
fn the_echo_of_our_own_removal_of_a_surplus_one_changes_nothing() {
    let mut play = Play::new();
    play.ready();
    play.hears(&list("subscribed:A subscribed:B"));
    assert_eq!(play.hears(&done()), "renewal: renewed, unsubscribe A, = active");
    assert_eq!(play.told("none"), "");
    assert_eq!(play.hears(&done()), "removed, list");
    assert_eq!(play.hears(&list("subscribed:B")), "");
    assert_eq!(play.state(), SubscriptionState::Active);
}

#[test]
fn another_one_of_ours_takes_the_place_of_the_one_that_ended() {
    let mut play = Play::active();
    play.told("none");
    assert_eq!(play.hears(&list("subscribed:B")), "renew B, = renewing");
    play.told("none");
    play.hears(&done());
    assert_eq!(play.hears(&list("pending:C")), "= pending");
}

/// Rule 13: with back-off.
#[test]
fn losses_in_a_row_are_each_met_within_five_seconds_and_three_times_in_a_quarter_of_a_minute_at_most() {
    for seed in 0..200 {
        let mut play = Play::active();
        play.machine.dice = Dice::seeded(seed);
        play.told("none");
        play.hears(&list(""));
        let lost = play.now;
        let mut tries = 0;
        loop {
            let (pause, _) = play.due();
            assert!(pause < Duration::from_secs(5));
            if play.now >= lost + Duration::from_secs(15) {
                break;
            }
            tries += 1;
            play.hears(&list(""));
            play.hears(&result("<subscription subscription='subscribed' subid='A'/>"));
            play.told("none");
            play.hears(&list(""));
        }
        assert!(tries <= 3, "{tries} with seed {seed}");
    }
}

#[test]
fn an_approval_of_an_active_one_changes_nothing() {
    let mut play = Play::active();
    assert_eq!(play.told("subscribed"), "");
    assert_eq!(play.state(), SubscriptionState::Active);
}

#[test]
fn approved_but_not_listed_is_lost_and_approved_but_still_listed_as_pending_is_pending() {
    let mut play = Play::pending();
    play.told("subscribed");
    assert_eq!(play.hears(&list("pending:A")), "= pending");
    play.told("subscribed");
    assert_eq!(play.hears(&list("")), "= lost");
}
