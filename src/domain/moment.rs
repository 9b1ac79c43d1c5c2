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

/// UTC that runs ahead of the monotonic clock, or behind it, by more than this between two readings was set. In microseconds.
const STEP: i64 = 2_000_000;

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

    /// Returns the same instant in UTC as `reading` has it, if the clock was set between the two. That it is kept right by
    /// and by changes nothing.
    #[must_use]
    pub fn retold(self, reading: Self) -> Self {
        let told = self.by(reading);
        if (told.utc - self.utc).abs() > STEP { told } else { self }
    }

    /// Returns the same instant in UTC as `reading` has it, if the clock was set back between the two. Set forward, it may have
    /// been while the machine slept: then more time has passed than this clock knows.
    #[must_use]
    pub fn set_back(self, reading: Self) -> Self {
        let told = self.retold(reading);
        if told.utc < self.utc { told } else { self }
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

/// UTC without the steps it makes: by it is told how long something lies in the store, also across restarts.
///
/// It is UTC as long as nobody sets the clock. A step of the clock changes not it but [`Self::behind`], how far it is behind
/// UTC from then on. So what was written down by it a moment ago is a moment old, whatever the clock reads now.
#[derive(Clone, Copy, Debug)]
pub struct SteadyTime {
    behind: i64,
    newest: Moment,
}

impl SteadyTime {
    /// Begins at `now`.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self { behind: 0, newest: now }
    }

    /// Goes along with another process, which is `behind` UTC by so many microseconds.
    #[must_use]
    pub fn beside(now: Moment, behind: i64) -> Self {
        Self { behind, newest: now }
    }

    /// Goes on where another process was, which was `behind` UTC by so many microseconds and read `newest` last. The time in
    /// between counts as at most `longest`, and never as less than nothing, whatever was done to the clock.
    #[must_use]
    pub fn resume(now: Moment, (behind, newest): (i64, i64), longest: Duration) -> Self {
        let passed = now.utc.saturating_sub(behind).saturating_sub(newest);
        let counted = passed.clamp(0, micros(longest));
        Self { behind: behind.saturating_add(passed - counted), newest: now }
    }

    /// Takes notice of another reading. Returns whether the clock was set since the one before.
    pub fn read(&mut self, now: Moment) -> bool {
        let lead = |moment: Moment| moment.utc.saturating_sub(moment.monotonic);
        let step = lead(now).saturating_sub(lead(self.newest));
        self.newest = now;
        let set = step.abs() > STEP;
        if set {
            self.behind = self.behind.saturating_add(step);
        }
        set
    }

    /// Returns how far it is behind UTC, in microseconds.
    #[must_use]
    pub fn behind(&self) -> i64 {
        self.behind
    }

    /// Returns what it read at the newest reading, in microseconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.newest.utc.saturating_sub(self.behind)
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

    fn at(seconds: u64, utc: &str) -> Moment {
        Moment::virtual_at(Duration::from_secs(seconds), utc.parse().unwrap())
    }

    #[test]
    fn a5_steady_time_goes_on_by_itself_whatever_the_clock_is_set_to() {
        let mut steady = SteadyTime::new(at(0, "2024-01-01T00:00:00Z"));
        let begun = steady.now();
        assert!(!steady.read(at(100, "2024-01-01T00:01:41Z")), "it was only kept right");
        let mut slewed = steady.now() - begun;
        assert_eq!((slewed, steady.behind()), (101_000_000, 0));
        for (seconds, utc) in
            [(200, "2026-06-01T00:00:00Z"), (300, "2026-05-20T00:00:00Z"), (400, "2024-01-01T00:06:41Z")]
        {
            assert!(steady.read(at(seconds, utc)));
            slewed += 100_000_000;
            assert_eq!(steady.now() - begun, slewed, "{utc}");
        }
        assert_eq!(steady.behind(), 0, "it was set back to where it was");
    }

    #[test]
    fn a5_steady_time_goes_on_after_a_restart_by_what_can_have_passed() {
        let mut steady = SteadyTime::new(at(0, "2026-01-01T00:00:00Z"));
        steady.read(at(50, "2026-01-11T00:00:50Z"));
        let left = (steady.behind(), steady.now());
        for (utc, passed) in [
            ("2026-01-11T00:01:00Z", 10),
            ("2026-01-20T00:00:00Z", 3600),
            ("2028-01-01T00:00:00Z", 3600),
            ("2026-01-05T00:00:00Z", 0),
            ("2019-01-01T00:00:00Z", 0),
        ] {
            let mut resumed = SteadyTime::resume(at(0, utc), left, Duration::from_hours(1));
            assert_eq!(resumed.now() - left.1, passed * 1_000_000, "{utc}");
            resumed.read(at(5, "2027-01-01T00:00:00Z"));
            assert_eq!(resumed.now() - left.1, (passed + 5) * 1_000_000, "{utc}");
        }
    }

    #[test]
    fn a5_an_instant_before_the_clock_was_set_is_told_as_it_reads_now() {
        let then = at(10, "2024-01-01T00:00:00Z");
        assert_eq!(then.retold(at(20, "2024-01-01T00:00:11Z")).utc(), then.utc());
        assert_eq!(then.retold(at(20, "2026-01-01T00:00:20Z")).utc().to_string(), "2026-01-01T00:00:10Z");
    }
}
