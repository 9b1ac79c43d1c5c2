//! For how long each event has been failing, whatever the wall clock does.
//!
//! Within one process that is counted on the monotonic clock. What came before this process is known only by the wall
//! clock and by the number of tries; it counts for no more than the schedule lets so many tries last at least, so that a
//! clock that was wrong, or was put right, gives up nothing early.
//!
//! Pure. Bounded: of more than `MOST` events that fail, those that were tried longest ago are forgotten; they begin again
//! with what their tries prove.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{HORIZON, Next, schedule};
use crate::domain::moment::Moment;

/// Events remembered, at most.
const MOST: usize = 4096;

/// The failing events, by position.
#[derive(Clone, Debug, Default)]
pub struct Ages {
    events: BTreeMap<i64, Age>,
}

#[derive(Clone, Copy, Debug)]
struct Age {
    since: Moment,
    tried: Moment,
}

impl Ages {
    /// The event at `position` failed at `now`, after `tries` earlier ones; `by_wall` is how long ago the first of them
    /// failed, judged by the wall clock. Returns for how long it has been failing.
    pub fn failed(&mut self, position: i64, tries: u32, by_wall: Duration, now: Moment) -> Duration {
        if !self.events.contains_key(&position) && self.events.len() >= MOST {
            let oldest = self.events.iter().min_by_key(|(_, age)| age.tried).map(|(position, _)| *position);
            oldest.map(|oldest| self.events.remove(&oldest));
        }
        let earlier = || by_wall.min(shortest(tries));
        let age = self.events.entry(position).or_insert_with(|| Age { since: now - earlier(), tried: now });
        age.tried = now;
        now.since(age.since)
    }

    /// The event at `position` is off the queue.
    pub fn forget(&mut self, position: i64) {
        self.events.remove(&position);
    }
}

/// Returns how long `tries` tries and the one after them take at least by the schedule.
fn shortest(tries: u32) -> Duration {
    let mut age = Duration::ZERO;
    for failures in 1..=tries {
        match schedule(failures, age, None, 1.0) {
            Next::Again(wait) => age += wait,
            Next::GiveUp => return HORIZON,
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(seconds: u64, utc: &str) -> Moment {
        Moment::virtual_at(Duration::from_secs(seconds), utc.parse::<Timestamp>().unwrap())
    }

    #[test]
    fn a5_a_clock_that_jumps_both_ways_makes_nothing_older_or_younger() {
        let mut ages = Ages::default();
        let years = Duration::from_hours(24 * 800);
        assert_eq!(ages.failed(1, 0, Duration::ZERO, at(0, "2024-01-01T00:00:00Z")), Duration::ZERO);
        assert_eq!(ages.failed(1, 1, years, at(10, "2026-03-01T00:00:00Z")), Duration::from_secs(10));
        assert_eq!(ages.failed(1, 2, Duration::ZERO, at(20, "2020-03-01T00:00:00Z")), Duration::from_secs(20));
        assert_eq!(ages.failed(1, 3, Duration::ZERO, at(75 * 3600, "2020-03-01T00:00:00Z")), HORIZON);
    }

    #[test]
    fn a5_across_restarts_an_event_is_as_old_as_its_tries_prove_and_the_clock_says() {
        let years = Duration::from_hours(24 * 800);
        let now = at(0, "2026-03-01T00:00:00Z");
        for (tries, by_wall, least, most) in [
            (3, years, 4, 6),
            (10, years, 50, 80),
            (500, years, 75 * 3600, 75 * 3600),
            (500, Duration::from_secs(7), 7, 7),
            (0, years, 0, 0),
        ] {
            let age = Ages::default().failed(1, tries, by_wall, now).as_secs();
            assert!((least..=most).contains(&age), "{tries}: {age}");
        }
    }

    #[test]
    fn what_was_tried_longest_ago_is_forgotten_first() {
        let mut ages = Ages::default();
        for n in 0..=MOST {
            let now = at(u64::try_from(n).unwrap(), "2026-03-01T00:00:00Z");
            ages.failed(i64::try_from(n).unwrap(), 0, Duration::ZERO, now);
        }
        assert!(ages.events.len() == MOST && !ages.events.contains_key(&0));
    }
}
