//! The one clock of the house.
//!
//! A [`Moment`] is one reading of both clocks: the monotonic one, by which everything is scheduled and compared, and
//! UTC, which is only written down or sent. Nothing else may ask the operating system for the time, so all decisions
//! can be tested on virtual time.

use std::cmp::Ordering;
use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// One reading of the monotonic clock and of UTC, both in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    monotonic: i64,
    utc: i64,
}

impl Moment {
    /// Reads both clocks.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads a clock")]
    pub fn now() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        let start = *START.get_or_init(Instant::now);
        Self { monotonic: micros(start.elapsed()), utc: Timestamp::now().as_microsecond() }
    }

    /// A moment on virtual time: the monotonic clock `since_start` after its beginning, and a UTC of the caller's choice.
    #[must_use]
    pub fn virtual_at(since_start: Duration, utc: Timestamp) -> Self {
        Self { monotonic: micros(since_start), utc: utc.as_microsecond() }
    }

    /// UTC of this reading.
    #[must_use]
    pub fn utc(self) -> Timestamp {
        Timestamp::from_microsecond(self.utc).unwrap_or(Timestamp::MAX)
    }

    /// The moment at which UTC will read (or read) `utc`, judged by this reading of both clocks.
    #[must_use]
    pub fn at_utc(self, utc: Timestamp) -> Self {
        let utc = utc.as_microsecond();
        Self { monotonic: self.monotonic.saturating_add(utc.saturating_sub(self.utc)), utc }
    }

    /// The same instant, with UTC as the clock of `reading` has it: what is told by one clock, put into another's words.
    #[must_use]
    pub fn by(self, reading: Self) -> Self {
        let apart = self.monotonic.saturating_sub(reading.monotonic);
        Self { monotonic: self.monotonic, utc: reading.utc.saturating_add(apart) }
    }

    /// The same instant, at which another clock reads `utc`.
    #[must_use]
    pub fn reading(self, utc: Timestamp) -> Self {
        Self { monotonic: self.monotonic, utc: utc.as_microsecond() }
    }

    /// How long from this moment until `later`; zero if `later` has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_micros(u64::try_from(later.monotonic.saturating_sub(self.monotonic)).unwrap_or(0))
    }

    /// How long from `earlier` until this moment; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        earlier.until(self)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self { monotonic: self.monotonic.saturating_add(micros(by)), utc: self.utc.saturating_add(micros(by)) }
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self { monotonic: self.monotonic.saturating_sub(micros(by)), utc: self.utc.saturating_sub(micros(by)) }
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.monotonic == other.monotonic
    }
}

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> Ordering {
        self.monotonic.cmp(&other.monotonic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_time_becomes_a_moment_by_its_distance_from_now() {
        let utc: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let now = Moment::virtual_at(Duration::from_secs(100), utc);
        let due = now.at_utc("2026-01-01T01:00:00Z".parse().unwrap());
        assert_eq!(now.until(due), Duration::from_hours(1));
        assert_eq!(due, now + Duration::from_hours(1));
    }

    #[test]
    fn an_instant_can_be_told_by_another_clock() {
        let now = Moment::virtual_at(Duration::from_secs(100), "2026-01-01T00:00:00Z".parse().unwrap());
        let elsewhere = now.reading("2026-01-01T02:00:00Z".parse().unwrap());
        let later = (now + Duration::from_mins(1)).by(elsewhere);
        assert_eq!(later, now + Duration::from_mins(1));
        assert_eq!(later.utc().to_string(), "2026-01-01T02:01:00Z");
        assert_eq!((now - Duration::from_mins(1)).by(elsewhere).utc().to_string(), "2026-01-01T01:59:00Z");
    }

    #[test]
    fn order_follows_the_monotonic_clock_even_when_utc_is_set_back() {
        let earlier = Moment::virtual_at(Duration::from_secs(1), "2026-01-02T00:00:00Z".parse().unwrap());
        let later = Moment::virtual_at(Duration::from_secs(2), "2026-01-01T00:00:00Z".parse().unwrap());
        assert!(earlier < later);
        assert_eq!(later.until(earlier), Duration::ZERO);
    }
}
