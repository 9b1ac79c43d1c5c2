//! Asked in time, again soon after a fault, and late after a refusal.

use super::*;
use crate::protocol::stanza::Refusal;

fn at(seconds: u64) -> Moment {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Moment::virtual_at(Duration::from_secs(seconds), start + Duration::from_secs(seconds))
}

#[expect(clippy::unnecessary_wraps, reason = "a reply is a result")]
fn grant(expires: &str) -> Reply {
    Ok(format!(
        "<iq xmlns='jabber:client'><command xmlns='http://jabber.org/protocol/commands' status='completed'>\
         <x xmlns='jabber:x:data'><field var='expires'><value>{expires}</value></field></x></command></iq>"
    )
    .parse()
    .unwrap())
}

fn refusal(condition: &str, wait: bool) -> Reply {
    Err(NoAnswer::Refused(Refusal { condition: condition.into(), specific: None, wait, target: None }))
}

/// Rule 7: long before its end, with jitter.
#[test]
fn a_grant_is_renewed_before_three_quarters_of_its_time_also_where_that_is_seconds() {
    for seed in 0..100 {
        for life in [4, 60, 3600] {
            let mut authorization = Authorization::new(Dice::seeded(seed));
            assert!(authorization.connected(at(0)));
            authorization.answered(&grant(&at(life).utc().to_string()), at(0));
            assert_eq!(authorization.standing(at(0)), Standing::Granted);
            let due = at(0).until(authorization.deadline().unwrap()).as_secs_f64();
            let life = f64::from(u32::try_from(life).unwrap());
            assert!((life * 0.6..=life * 0.7).contains(&due), "{due} of {life}");
        }
    }
}

/// The same moment where the server's clock is two hours ahead, or behind.
fn by_server(moment: Moment, ahead: i64) -> Moment {
    moment.reading(moment.utc() + jiff::SignedDuration::from_hours(ahead))
}

/// Rule 7: the end of a grant is the server's, and so is the clock it is judged by.
#[test]
fn renewal_and_lapse_follow_the_servers_clock_however_far_ours_is_off() {
    for ahead in [2, -2] {
        for seed in 0..20 {
            let mut authorization = Authorization::new(Dice::seeded(seed));
            authorization.connected(by_server(at(0), ahead));
            let expires = by_server(at(3600), ahead).utc().to_string();
            authorization.answered(&grant(&expires), by_server(at(1), ahead));
            assert_eq!(authorization.until(), Some(at(3600)));
            let due = authorization.deadline().unwrap();
            assert!(due >= at(2100) && due <= at(2700), "{due:?}");
            assert!(!authorization.tick(by_server(at(2099), ahead)));
            assert!(authorization.tick(by_server(at(2701), ahead)));
            authorization.answered(&Err(NoAnswer::TimedOut), by_server(at(2720), ahead));
            assert_eq!(authorization.lapsed(), None);
            authorization.tick(by_server(at(3600), ahead));
            assert_eq!(authorization.lapsed(), Some(at(3600)));
        }
    }
}

#[test]
fn a_clock_that_is_known_only_after_the_grant_corrects_its_end() {
    let mut authorization = Authorization::new(Dice::seeded(1));
    authorization.connected(at(0));
    authorization.answered(&grant(&at(7200 + 60).utc().to_string()), at(1));
    assert_eq!(authorization.until(), Some(at(7260)), "two hours and a minute, for all we know");
    authorization.corrected(by_server(at(2), 2));
    assert_eq!(authorization.until(), Some(at(60)), "a minute, by the server's clock");
    let due = authorization.deadline().unwrap();
    assert!(due >= at(36) && due <= at(42), "{due:?}");
    assert!(authorization.tick(by_server(due, 2)));
    authorization.corrected(at(43));
    assert_eq!(authorization.standing(at(43)), Standing::Granted, "the question under way is not asked again");
    assert!(!authorization.tick(at(44)));
}

/// Without the server's time the local one must do, and must not lead to a storm or a lapse at once.
#[test]
fn where_the_server_tells_no_time_a_clock_that_is_off_costs_no_more_than_the_usual_hour() {
    for ahead in [2, -2] {
        let mut authorization = Authorization::new(Dice::seeded(1));
        authorization.connected(at(0));
        authorization.answered(&grant(&by_server(at(3600), ahead).utc().to_string()), at(10));
        assert_eq!(authorization.standing(at(10)), Standing::Granted);
        let due = authorization.deadline().unwrap();
        assert!(due >= at(2100) && due <= at(2700), "{due:?}");
        assert!(authorization.until().unwrap() >= at(3600));
    }
}

/// Rule 13: a subscription that ended may have lost its authorization.
#[test]
fn one_in_doubt_is_asked_for_again_at_once_unless_it_is_fresh_or_asked_for_or_waited_out() {
    let mut authorization = Authorization::new(Dice::seeded(1));
    authorization.connected(at(0));
    assert!(!authorization.doubted(at(1)), "it is asked for");
    authorization.answered(&grant("2026-01-01T01:00:00Z"), at(1));
    assert!(!authorization.doubted(at(1)), "it is fresh");
    assert!(authorization.doubted(at(60)));
    assert!(!authorization.doubted(at(61)), "once");
    assert_eq!(authorization.standing(at(61)), Standing::Granted);
    authorization.answered(&refusal("bad-request", false), at(62));
    assert!(!authorization.doubted(at(70)), "a refusal is waited out");
}

#[test]
fn a_lapse_is_over_with_the_next_grant_and_of_no_interest_without_a_session() {
    let mut authorization = Authorization::new(Dice::seeded(1));
    authorization.connected(at(0));
    authorization.answered(&grant("2026-01-01T00:01:00Z"), at(0));
    authorization.tick(at(60));
    assert_eq!(authorization.lapsed(), Some(at(60)));
    authorization.answered(&grant("2026-01-01T00:03:00Z"), at(70));
    assert_eq!(authorization.lapsed(), None);
    authorization.tick(at(180));
    assert!(authorization.lapsed().is_some());
    authorization.disconnected();
    assert_eq!(authorization.lapsed(), None);
}

#[test]
fn a_lapse_is_seen_when_the_time_is_over() {
    let mut authorization = Authorization::new(Dice::seeded(1));
    authorization.connected(at(0));
    authorization.answered(&grant("2026-01-01T00:01:00Z"), at(0));
    assert!(authorization.tick(at(50)), "asks again");
    assert_eq!(authorization.standing(at(55)), Standing::Granted, "and is granted meanwhile");
    authorization.tick(at(60));
    assert_eq!(authorization.standing(at(60)), Standing::Asking);
    authorization.answered(&Err(NoAnswer::TimedOut), at(61));
    assert!(matches!(authorization.standing(at(61)), Standing::Waiting(_)));
    assert_eq!(authorization.until(), None);
}

/// Rule 8.
#[test]
fn rejected_credentials_are_waited_out_across_sessions_and_a_passing_fault_is_not() {
    let mut authorization = Authorization::new(Dice::seeded(1));
    authorization.connected(at(0));
    authorization.answered(&refusal("bad-request", false), at(0));
    assert!(matches!(authorization.standing(at(1)), Standing::Refused(_)));
    authorization.disconnected();
    assert!(!authorization.connected(at(2)));
    assert!(authorization.deadline().unwrap() >= at(900));

    let mut authorization = Authorization::new(Dice::seeded(1));
    authorization.connected(at(0));
    authorization.answered(&refusal("internal-server-error", true), at(0));
    assert!(matches!(authorization.standing(at(0)), Standing::Waiting(_)));
    assert!(authorization.deadline().unwrap() <= at(4));
}

/// Rule 7: quickly while time is left.
#[test]
fn a_failing_renewal_is_tried_again_while_even_a_short_grant_lasts() {
    let mut authorization = Authorization::new(Dice::seeded(1));
    authorization.connected(at(0));
    authorization.answered(&grant("2026-01-01T00:00:08Z"), at(0));
    let mut tries = 0;
    while let due = authorization.deadline().unwrap()
        && due < at(8)
    {
        assert!(authorization.tick(due));
        assert_eq!(authorization.standing(due), Standing::Granted);
        authorization.answered(&refusal("internal-server-error", true), due);
        tries += 1;
    }
    assert!((2..=8).contains(&tries), "{tries}");
}

#[test]
fn a_passing_fault_is_tried_three_times_in_the_first_quarter_of_a_minute_at_most() {
    for seed in 0..100 {
        let mut authorization = Authorization::new(Dice::seeded(seed));
        authorization.connected(at(0));
        let mut now = at(0);
        let mut tries = 0;
        while now < at(15) {
            tries += 1;
            authorization.answered(&refusal("internal-server-error", true), now);
            now = authorization.deadline().unwrap();
            assert!(authorization.tick(now));
        }
        assert!(tries <= 3, "{tries} with seed {seed}");
    }
}

#[test]
fn what_an_earlier_session_was_granted_is_asked_for_again_before_it_counts() {
    let mut authorization = Authorization::new(Dice::seeded(1));
    authorization.connected(at(0));
    authorization.answered(&grant("2026-01-01T01:00:00Z"), at(0));
    authorization.disconnected();
    assert!(authorization.connected(at(60)));
    assert_eq!(authorization.standing(at(60)), Standing::Asking);
    authorization.answered(&Err(NoAnswer::TimedOut), at(80));
    assert!(matches!(authorization.standing(at(80)), Standing::Waiting(_)));
}

#[test]
fn an_unreadable_or_past_end_counts_as_the_usual_hour() {
    for expires in ["soon", "2025-12-31T23:00:00Z"] {
        let mut authorization = Authorization::new(Dice::seeded(1));
        authorization.connected(at(0));
        authorization.answered(&grant(expires), at(0));
        assert_eq!(authorization.until(), Some(at(3600)));
    }
}
