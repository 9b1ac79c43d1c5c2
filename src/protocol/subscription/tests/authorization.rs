//! The authorization is renewed, in every phase.

use super::*;

/// Rule 15.
#[test]
fn an_active_subscription_is_renewed_right_after_the_authorization() {
    assert_eq!(Play::active().reauthorized(), "renew A, = renewing");
}

#[test]
fn a_renewed_authorization_during_a_request_is_followed_after_it() {
    let mut play = Play::active();
    play.told("none");
    assert_eq!(play.reauthorized(), "");
    assert_eq!(play.hears(&list("subscribed:A")), "renew A, = renewing");
    assert_eq!(play.hears(&done()), "renewal: renewed, = active");
}

#[test]
fn a_denied_subscription_is_tried_again_but_not_within_ten_seconds_of_the_refusal() {
    let mut play = Play::new();
    play.ready();
    for _ in 0..6 {
        play.hears(&list(""));
        play.hears(&error("item-not-found", ""));
        play.due();
    }
    play.hears(&list(""));
    play.hears(&error("item-not-found", ""));
    play.after(Duration::from_secs(4));
    assert_eq!(play.reauthorized(), "");
    assert_eq!(play.due(), (Duration::from_secs(6), "list, = listing".into()));

    play.hears(&list(""));
    play.hears(&error("item-not-found", ""));
    play.after(Duration::from_mins(1));
    assert_eq!(play.reauthorized(), "list, = listing");
}

#[test]
fn in_every_other_phase_it_changes_nothing() {
    let mut listing = Play::new();
    listing.ready();
    let mut renewing = Play::active();
    renewing.due();
    let mut lost = Play::active();
    lost.suspended();
    let mut pausing = Play::active();
    pausing.told("none");
    pausing.hears(&list(""));
    for mut play in [Play::new(), Play::pending(), listing, renewing, lost, pausing] {
        let due = play.machine.deadline();
        let said = play.reauthorized();
        assert!(said.is_empty() || said == "= lost", "{said}");
        assert_eq!(play.machine.deadline(), due);
    }
}
