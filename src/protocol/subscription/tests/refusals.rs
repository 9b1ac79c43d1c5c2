//! The service says no, or nothing of use.

use super::*;

const SLOWLY: Duration = Duration::from_secs(10);

#[test]
fn a_denial_is_looked_up_and_then_waited_out() {
    let mut play = Play::pending();
    assert_eq!(play.told("none"), "list, = listing");
    assert_eq!(play.hears(&list("")), "= denied");
    let (pause, did) = play.due();
    assert!(pause >= SLOWLY, "{pause:?}");
    assert_eq!(did, "list, = listing");
    assert_eq!(play.hears(&list("")), "subscribe, = subscribing");
}

#[test]
fn a_denial_that_the_list_does_not_know_of_changes_nothing() {
    let mut play = Play::pending();
    play.told("none");
    assert_eq!(play.hears(&list("pending:A")), "= pending");
    play.told("none");
    assert_eq!(play.hears(&list("subscribed:A")), "= active");
}

#[test]
fn the_limit_of_ten_is_denied_and_tried_slowly() {
    let mut play = Play::new();
    play.ready();
    let mut pauses = Vec::new();
    for _ in 0..5 {
        play.hears(&list(""));
        assert_eq!(play.hears(&error("policy-violation", "too-many-subscriptions")), "= denied");
        pauses.push(play.due().0);
    }
    assert!(pauses[0] >= SLOWLY && pauses.windows(2).all(|pair| pair[1] > pair[0]), "{pauses:?}");
}

#[test]
fn an_approval_after_a_denial_is_looked_up_and_asks_for_nothing_new() {
    let mut play = Play::pending();
    play.told("none");
    play.hears(&list(""));
    assert_eq!(play.told("subscribed"), "list, = listing");
    assert_eq!(play.hears(&list("")), "= denied", "not ours: the pause goes on");
    play.told("subscribed");
    assert_eq!(play.hears(&list("subscribed:A")), "reused, renew A, = renewing");
}

#[test]
fn a_list_that_is_refused_makes_no_subscription() {
    for condition in ["item-not-found", "feature-not-implemented", "forbidden"] {
        let mut play = Play::new();
        play.ready();
        assert_eq!(play.hears(&error(condition, "")), "= denied", "{condition}");
        assert!(play.due().0 >= SLOWLY);
    }
}

#[test]
fn passing_trouble_is_tried_again_soon_but_at_most_three_times_in_a_quarter_of_a_minute() {
    let mut play = Play::new();
    play.ready();
    let mut tries = Vec::new();
    for _ in 0..8 {
        play.hears(&list(""));
        tries.push(play.now);
        assert_eq!(play.hears(&error("internal-server-error", "")), "= lost");
        play.due();
    }
    assert!(tries[1] <= tries[0] + Duration::from_secs(5));
    assert!(tries.iter().filter(|at| **at < tries[0] + Duration::from_secs(15)).count() <= 3, "{tries:?}");
}

#[test]
fn an_answer_of_none_is_a_denial_and_creates_nothing() {
    let mut play = Play::new();
    play.ready();
    play.hears(&list(""));
    assert_eq!(play.hears(&result("<subscription subscription='none'/>")), "= denied");
}

#[test]
fn a_request_that_vanished_without_a_word_is_a_denial() {
    let mut play = Play::pending();
    play.due();
    assert_eq!(play.hears(&list("")), "= denied");
}

#[test]
fn messages_about_others_are_not_for_us() {
    let mut play = Play::pending();
    let other = [
        Change { jid: Some("a@b.test/other".into()), ..told("none") },
        Change { jid: Some("a@b.test".into()), ..told("none") },
        Change { node: Some("/me/else".into()), ..told("none") },
        told("pending"),
    ];
    for change in other {
        assert_eq!(play.machine.changed(&change, at(play.now)), [], "{change:?}");
    }
    let bare = Change { node: None, jid: None, ..told("subscribed") };
    assert_eq!(shown(play.machine.changed(&bare, at(play.now))), "list, = active", "left out: ours");
}
