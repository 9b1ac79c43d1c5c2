//! Looks at the service while all seems well: silence is its typical failure.

use super::*;

const INTERVAL: Duration = Duration::from_mins(5);
const SILENCE: Reply = Err(NoAnswer::TimedOut);

/// One that is active with the subid A and is looked up every five minutes, on these dice.
fn probing(seed: u64) -> Play {
    let mut play = Play::new();
    play.machine = Subscription::new(terms(), None, at(play.now), Dice::seeded(seed)).probing(INTERVAL);
    play.ready();
    play.hears(&list("subscribed:A"));
    assert_eq!(play.hears(&done()), "renewal: renewed, = active");
    play
}

/// Lets the time to the next look pass.
fn look(play: &mut Play) -> Duration {
    let (pause, did) = play.due();
    assert_eq!(did, "list");
    pause
}

#[test]
fn an_active_one_is_looked_up_within_the_interval_and_stays_active_meanwhile() {
    for seed in 0..50 {
        let mut play = probing(seed);
        assert!(look(&mut play) <= INTERVAL);
        assert_eq!(play.state(), SubscriptionState::Active);
        assert_eq!(play.hears(&list("subscribed:A")), "probe: found");
        let pause = look(&mut play);
        assert!(pause >= INTERVAL / 2 && pause <= INTERVAL, "{pause:?}");
    }
}

#[test]
fn the_first_looks_of_a_fleet_that_came_up_at_once_spread_over_the_whole_interval() {
    let pauses: Vec<_> = (0..1000).map(|seed| look(&mut probing(seed))).collect();
    for tenth in 0..10 {
        let (from, to) = (INTERVAL * tenth / 10, INTERVAL * (tenth + 1) / 10);
        let there = pauses.iter().filter(|pause| (from..to).contains(*pause)).count();
        assert!((50..=150).contains(&there), "{there} in tenth {tenth}");
    }
}

#[test]
fn one_that_vanished_without_a_word_is_lost_and_asked_for_anew_within_five_seconds() {
    let mut play = probing(7);
    let seen = play.machine.seen();
    look(&mut play);
    assert_eq!(play.hears(&list("subscribed:F@a@b.test/other")), "probe: missing, = lost");
    assert_eq!(play.machine.seen(), seen, "it was seen last before");
    let (pause, _) = play.due();
    assert!(pause <= Duration::from_secs(5), "{pause:?}");
    assert_eq!(play.hears(&list("")), "subscribe, = subscribing");
}

#[test]
fn one_answer_may_be_lost_and_two_in_a_row_condemn_the_link() {
    let mut play = probing(7);
    look(&mut play);
    assert_eq!(play.hears(&SILENCE), "list", "again, at once");
    assert_eq!(play.hears(&list("subscribed:A")), "probe: found");
    look(&mut play);
    assert_eq!(play.hears(&SILENCE), "list");
    assert_eq!(play.hears(&SILENCE), "probe: unanswered");
    assert_eq!(play.state(), SubscriptionState::Active, "the service has it, as far as we know");
    assert!(look(&mut play) >= INTERVAL / 2, "and no storm of looks follows");
}

#[test]
fn a_service_that_answers_with_an_error_is_alive_and_asked_again_later() {
    let mut play = probing(7);
    look(&mut play);
    assert_eq!(play.hears(&error("internal-server-error", "")), "probe: failed");
    assert!(look(&mut play) >= INTERVAL / 2);
}

#[test]
fn the_list_after_a_renewal_counts_as_a_look() {
    let lease = Duration::from_mins(6);
    let mut play = Play::new();
    let terms = Terms { lease, ..terms() };
    play.machine = Subscription::new(terms, None, at(play.now), Dice::seeded(7)).probing(INTERVAL);
    play.ready();
    play.hears(&list("subscribed:A"));
    play.hears(&done());
    for _ in 0..20 {
        if play.due().1 == "list" {
            play.hears(&list("subscribed:A"));
            continue;
        }
        let renewed = play.now;
        assert_eq!(play.hears(&done()), "renewal: renewed, list, = active");
        assert_eq!(play.hears(&list("subscribed:A")), "");
        assert_eq!(play.machine.seen(), Some(at(renewed)));
        assert!(play.machine.deadline().unwrap() >= at(renewed + INTERVAL / 2), "no look right after it");
    }
}

/// Rule 14: however often it is looked up, it is renewed between half and 65 % of its lease.
#[test]
fn looks_do_not_move_the_renewal() {
    for seed in 0..50 {
        let mut play = probing(seed);
        let begun = play.now;
        while play.due().1 == "list" {
            play.hears(&list("subscribed:A"));
        }
        let pause = play.now.checked_sub(begun).unwrap();
        assert!(pause >= LEASE.mul_f64(0.5) && pause <= LEASE.mul_f64(0.65), "{pause:?}");
    }
}

#[test]
fn a_surplus_one_that_a_look_finds_is_removed() {
    let mut play = probing(7);
    look(&mut play);
    assert_eq!(play.hears(&list("subscribed:A subscribed:B")), "probe: found, unsubscribe B");
    assert_eq!(play.hears(&done()), "removed");
}

#[test]
fn without_a_session_nothing_is_looked_up() {
    let mut play = probing(7);
    play.suspended();
    assert_eq!(play.machine.deadline(), None);
    play.ready();
    assert_eq!(play.machine.seen(), None, "what an earlier session saw says nothing of this one");
}
