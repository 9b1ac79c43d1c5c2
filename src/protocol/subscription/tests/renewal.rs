//! The lease, and what keeps it.

use super::*;

/// Rule 14.
#[test]
fn renewal_comes_between_half_and_65_per_cent_of_the_lease_and_is_looked_up() {
    let mut play = Play::active();
    for _ in 0..50 {
        let (pause, did) = play.due();
        assert!(pause >= LEASE.mul_f64(0.5) && pause <= LEASE.mul_f64(0.65), "{pause:?}");
        assert_eq!(did, "renew A, = renewing");
        assert_eq!(play.hears(&done()), "renewal: renewed, list, = active");
        assert_eq!(play.hears(&list("subscribed:A")), "");
    }
}

#[test]
fn the_lease_counts_from_when_it_was_asked_for_however_long_the_approval_took() {
    let mut play = Play::with(Terms { lease: Duration::from_secs(40), ..terms() }, None);
    play.ready();
    play.hears(&list(""));
    let asked = play.now;
    play.hears(&result("<subscription subscription='pending'/>"));
    play.after(Duration::from_secs(19));
    play.told("subscribed");
    play.hears(&list("subscribed:A"));
    play.due();
    assert!(play.now <= asked + Duration::from_secs(30), "75 % at the latest");
    assert_eq!(play.state(), SubscriptionState::Renewing);
}

/// Rule 14: a success reply proves nothing.
#[test]
fn a_renewal_of_what_is_not_there_succeeds_and_is_found_out() {
    let mut play = Play::active();
    play.due();
    play.hears(&done());
    assert_eq!(play.hears(&list("")), "probe: missing, = lost");
}

#[test]
fn what_the_service_does_not_know_is_looked_up_at_once_and_asked_for_anew_within_five_seconds() {
    for (condition, specific) in [
        ("not-acceptable", "invalid-subid"),
        ("unexpected-request", "not-subscribed"),
        ("not-acceptable", "not-subscribed"),
        ("item-not-found", ""),
        ("gone", ""),
    ] {
        let mut play = Play::active();
        play.due();
        let seen = play.machine.seen();
        let heard = play.hears(&error(condition, specific));
        assert_eq!(heard, "renewal: failed, probe: missing, list, = listing", "{specific}");
        assert_eq!(play.machine.seen(), seen, "it may have been gone since it was seen last");
        assert_eq!(play.hears(&list("")), "= lost");
        let (pause, did) = play.due();
        assert!(pause <= Duration::from_secs(5), "{pause:?}");
        assert_eq!(did, "list, = listing");
        assert_eq!(play.hears(&list("")), "subscribe, = subscribing");
    }
}

#[test]
fn a_subid_that_is_asked_for_is_learned_from_the_list() {
    for condition in ["bad-request", "not-acceptable"] {
        let mut play = Play::pending();
        play.told("subscribed");
        assert_eq!(play.hears(&Err(NoAnswer::TimedOut)), "", "it delivers, though its id is not known");
        assert_eq!(play.due().1, "renew, = renewing");
        assert_eq!(play.hears(&error(condition, "subid-required")), "renewal: failed, list, = listing");
        assert_eq!(play.hears(&list("subscribed:A subscribed:B")), "reused, renew B, = renewing");
        assert_eq!(play.hears(&done()), "renewal: renewed, unsubscribe A, = active");
    }
}

#[test]
fn what_is_listed_and_cannot_be_renewed_is_removed_and_asked_for_anew() {
    let mut play = Play::new();
    play.ready();
    play.hears(&list("subscribed:A"));
    assert_eq!(play.hears(&error("not-acceptable", "invalid-subid")), "renewal: failed, unsubscribe A, = subscribing");
    assert_eq!(play.hears(&done()), "removed, = lost");
    play.due();
    assert_eq!(play.hears(&list("")), "subscribe, = subscribing");
}

#[test]
fn a_refusal_that_says_nothing_about_the_subscription_is_borne_while_the_lease_lasts() {
    for (condition, specific) in [
        ("internal-server-error", ""),
        ("service-unavailable", ""),
        ("resource-constraint", ""),
        ("forbidden", ""),
        ("bad-request", "invalid-options"),
        ("bad-request", "jid-required"),
    ] {
        let mut play = Play::active();
        play.due();
        assert_eq!(play.hears(&error(condition, specific)), "renewal: failed, = active", "{condition}");
        let (pause, did) = play.due();
        assert!(pause < Duration::from_secs(5), "{pause:?}");
        assert_eq!(did, "renew A, = renewing");
    }
}

#[test]
fn without_subscription_options_it_stays_active_and_goes_on_being_renewed() {
    let mut play = Play::active();
    for _ in 0..5 {
        let (pause, did) = play.due();
        assert!(pause <= LEASE.mul_f64(0.65));
        assert_eq!(did, "renew A, = renewing");
        assert_eq!(
            play.hears(&error("feature-not-implemented", "unsupported")),
            "renewal: unsupported, list, = active"
        );
        assert_eq!(play.hears(&list("subscribed:A")), "");
    }
}

#[test]
fn a_lease_that_ran_out_unrenewed_is_not_active_and_the_entry_is_renewed_when_that_works_again() {
    let mut play = Play::active();
    assert_eq!(play.let_the_lease_run_out(), "list, = listing");
    assert_eq!(play.hears(&list("subscribed:A")), "reused, renew A, = lost");
    assert_eq!(play.hears(&done()), "renewal: renewed, = active");
}

#[test]
fn a_lease_that_runs_out_while_a_renewal_is_under_way_is_told() {
    let mut play = Play::with(Terms { lease: Duration::from_secs(10), ..terms() }, None);
    play.ready();
    play.hears(&list("subscribed:A"));
    play.hears(&done());
    assert_eq!(play.due().1, "renew A, = renewing");
    assert_eq!(play.due().1, "= lost");
    assert_eq!(play.machine.deadline(), None);
    assert_eq!(play.hears(&done()), "renewal: renewed, list, = active", "the new lease began when it was asked for");
}

#[test]
fn a_refused_renewal_of_a_lapsed_lease_is_a_denial() {
    let mut play = Play::active();
    play.let_the_lease_run_out();
    play.hears(&list("subscribed:A"));
    assert_eq!(play.hears(&error("forbidden", "")), "renewal: failed, = denied");
}

#[test]
fn a_failing_renewal_is_tried_several_times_before_a_short_lease_ends() {
    let mut play = Play::with(Terms { lease: Duration::from_secs(8), ..terms() }, None);
    play.ready();
    play.hears(&list("subscribed:A"));
    play.hears(&done());
    let mut tries = 0;
    while play.due().1 == "renew A, = renewing" {
        play.hears(&error("internal-server-error", ""));
        tries += 1;
    }
    assert!((3..=8).contains(&tries), "{tries}");
    play.hears(&list("subscribed:A"));
    assert_eq!(play.hears(&error("internal-server-error", "")), "renewal: failed, = lost");
    let (pause, _) = play.due();
    assert!(pause < Duration::from_secs(5), "the tries before do not count once it is lost: {pause:?}");
}
