//! When a failed delivery is tried again.
//!
//! Pure: the caller brings the time that has passed and the dice. Must not know sinks, the queue or any clock.

use std::time::Duration;

pub mod ages;
pub mod backlog;
pub mod calls;
pub mod catching_up;
pub mod flow;
pub mod outage;

/// Wait before the first retry, at most; it doubles from there within [`BRISK`].
const FIRST: Duration = Duration::from_millis(800);
/// How long a delivery is retried briskly, counted from its first failure.
const BRISK: Duration = Duration::from_mins(1);
/// The longest wait while brisk.
const BRISK_WAIT: Duration = Duration::from_secs(10);
/// The longest wait ever.
pub const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// A delivery that fails for so long is given up.
pub const HORIZON: Duration = Duration::from_hours(75);
/// The part of a wait that chance may take away.
const JITTER: f64 = 0.25;

/// What to do about a delivery that failed and may work later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this wait.
    Again(Duration),
    /// It has failed for [`HORIZON`]: it is dead.
    GiveUp,
}

/// The schedule after a failure.
///
/// `failures`: how many there were, this one included. `failing_for`: time from the first of them to this one.
/// `asked_after`: what the peer asked for (`Retry-After`); it is honoured where it is longer than our own wait, up to
/// 10 s within the first minute and 1 h after it. `chance`: 0 to 1, shortens our own wait by up to a quarter, so that
/// the waits of many do not end together.
#[must_use]
pub fn schedule(failures: u32, failing_for: Duration, asked_after: Option<Duration>, chance: f64) -> Next {
    let Some(left) = HORIZON.checked_sub(failing_for).filter(|left| !left.is_zero()) else {
        return Next::GiveUp;
    };
    let (own, longest) = if failing_for < BRISK {
        let doublings = failures.saturating_sub(1).min(16);
        (FIRST * (1 << doublings), BRISK_WAIT)
    } else {
        // In step with its age: the first slow wait is as long as the last brisk one.
        (failing_for / 6, LONGEST_WAIT)
    };
    let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.0 };
    let own = own.min(longest).mul_f64(1.0 - JITTER * chance);
    let wait = asked_after.map_or(own, |asked| own.max(asked.min(longest)));
    Next::Again(wait.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const CHANCES: [f64; 5] = [0.0, 0.25, 0.5, 0.999, 1.0];

    /// Failure after failure, each try failing after `took`, until it is given up: the time of every failure.
    fn life(chance: f64, took: Duration, asked: Option<Duration>) -> Vec<Duration> {
        let mut failures = vec![Duration::ZERO];
        loop {
            let now = *failures.last().unwrap();
            match schedule(u32::try_from(failures.len()).unwrap(), now, asked, chance) {
                Next::Again(wait) => failures.push(now + wait + took),
                Next::GiveUp => return failures,
            }
        }
    }

    #[test]
    fn the_wait_follows_the_table() {
        let (s, m, h) = (Duration::from_secs_f64, Duration::from_mins, Duration::from_hours);
        let table = [
            // failures, failing for, asked, chance, wait
            (1, s(0.0), None, 0.0, s(0.8)),
            (1, s(0.0), None, 1.0, s(0.6)),
            (0, s(0.0), None, 0.0, s(0.8)),
            (2, s(0.8), None, 0.0, s(1.6)),
            (3, s(2.4), None, 0.0, s(3.2)),
            (4, s(5.6), None, 0.0, s(6.4)),
            (5, s(12.0), None, 0.0, s(10.0)),
            (9, s(59.9), None, 0.0, s(10.0)),
            (u32::MAX, s(1.0), None, 1.0, s(7.5)),
            (9, m(1), None, 0.0, s(10.0)),
            (10, m(6), None, 0.0, m(1)),
            (20, h(1), None, 0.0, m(10)),
            (1, h(1), None, 0.0, m(10)),
            (40, h(6), None, 0.0, h(1)),
            (50, h(50), None, 0.0, h(1)),
            (80, h(74) + m(50), None, 0.0, m(10)),
            // What the peer asks for counts where it is longer, within bounds.
            (1, s(0.0), Some(s(0.0)), 0.0, s(0.8)),
            (1, s(0.0), Some(s(5.0)), 1.0, s(5.0)),
            (1, s(0.0), Some(h(2)), 0.0, s(10.0)),
            (9, m(6), Some(s(5.0)), 0.0, m(1)),
            (9, m(6), Some(m(30)), 0.0, m(30)),
            (9, m(6), Some(h(2)), 0.0, h(1)),
            (9, m(6), Some(Duration::MAX), 0.0, h(1)),
            // Strange dice do no harm.
            (1, s(0.0), None, -3.0, s(0.8)),
            (1, s(0.0), None, 7.0, s(0.6)),
            (1, s(0.0), None, f64::NAN, s(0.8)),
        ];
        for (failures, failing_for, asked, chance, wait) in table {
            let next = schedule(failures, failing_for, asked, chance);
            assert_eq!(next, Next::Again(wait), "{failures} {failing_for:?} {asked:?} {chance}");
        }
        for failing_for in [h(75), h(76), Duration::MAX] {
            assert_eq!(schedule(99, failing_for, Some(s(1.0)), 0.5), Next::GiveUp);
        }
    }

    #[test]
    fn the_first_retry_comes_within_a_second_and_those_of_the_first_minute_within_ten() {
        for chance in CHANCES {
            for asked in [None, Some(SECOND / 2), Some(Duration::from_hours(3))] {
                let life = life(chance, Duration::ZERO, asked);
                assert!(asked > Some(SECOND) || life[1] < SECOND);
                let brisk = life.windows(2).filter(|pair| pair[0] < BRISK);
                assert!(brisk.clone().count() >= 6);
                for pair in brisk {
                    assert!(pair[1].checked_sub(pair[0]).unwrap() <= 10 * SECOND, "{pair:?}");
                }
            }
        }
    }

    #[test]
    fn the_waits_grow_to_an_hour_and_the_last_try_is_at_the_horizon() {
        for chance in CHANCES {
            let life = life(chance, Duration::from_millis(30), None);
            let waits: Vec<_> = life.windows(2).map(|pair| pair[1].checked_sub(pair[0]).unwrap()).collect();
            let (last, growing) = waits.split_last().unwrap();
            assert!(growing.windows(2).all(|pair| pair[0] <= pair[1] + Duration::from_millis(1)), "{waits:?}");
            assert!(*growing.last().unwrap() <= LONGEST_WAIT + SECOND && *last <= LONGEST_WAIT + SECOND);
            assert!(*growing.last().unwrap() >= LONGEST_WAIT.mul_f64(0.75));
            assert!((HORIZON..HORIZON + SECOND).contains(life.last().unwrap()));
        }
    }
}
