//! What was in the queue when its sink came back: it is drained at a limited rate, beside what is fresh.
//!
//! Pure. Must not know the queue.

use std::time::Duration;

use crate::domain::moment::Moment;

/// The longest time whose unused rate is saved up.
const SAVED: Duration = Duration::from_secs(1);

/// A backlog that is being drained.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// Its newest position; what is beyond it is fresh.
    pub mark: i64,
    /// It is taken up to here.
    pub after: i64,
    /// Whether that is all of it, but for calls that are held.
    pub taken: bool,
    /// Events per second; absent: as fast as the sink takes them.
    rate: Option<u32>,
    /// Events that may go now, and as of when.
    budget: f64,
    counted: Moment,
}

impl Backlog {
    /// A backlog up to the position `mark`, drained at `rate` events per second (0: without a limit) from `now` on. One
    /// second's worth may go at once.
    #[must_use]
    pub fn new(mark: i64, rate: u32, now: Moment) -> Self {
        let rate = Some(rate).filter(|rate| *rate > 0);
        Self { mark, after: 0, taken: false, rate, budget: rate.map_or(0.0, f64::from), counted: now }
    }

    /// Whether it is drained as fast as the sink takes it.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.rate.is_none()
    }

    /// How many of `most` events may go now.
    pub fn allowance(&mut self, most: usize, now: Moment) -> usize {
        let Some(rate) = self.rate else { return most };
        let earned = now.since(self.counted).as_secs_f64() * f64::from(rate);
        self.budget = (self.budget + earned).min(f64::from(rate) * SAVED.as_secs_f64()).max(0.0);
        self.counted = now;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a u32")]
        let whole = self.budget as usize;
        whole.min(most)
    }

    /// So many of them were tried.
    pub fn spend(&mut self, events: usize) {
        if self.rate.is_some() {
            self.budget -= f64::from(u32::try_from(events).unwrap_or(u32::MAX));
        }
    }

    /// So many of them were not tried after all.
    pub fn refund(&mut self, events: usize) {
        if self.rate.is_some() {
            self.budget += f64::from(u32::try_from(events).unwrap_or(u32::MAX));
        }
    }

    /// How long until more may go; worth a step of its own.
    #[must_use]
    pub fn wait(&self, now: Moment) -> Duration {
        let Some(rate) = self.rate.map(f64::from) else { return Duration::ZERO };
        let wanted = (rate / 20.0).max(1.0);
        let missing = wanted - self.budget - now.since(self.counted).as_secs_f64() * rate;
        Duration::try_from_secs_f64(missing.max(0.0) / rate).unwrap_or(SAVED)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::virtual_at(Duration::from_millis(millis), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_second_s_worth_goes_at_once_and_the_rest_at_the_rate() {
        for rate in [1_u32, 7, 100, 5000] {
            let mut backlog = Backlog::new(9, rate, at(0));
            let (mut gone, mut now) = (0_usize, 0);
            while now <= 10_000 {
                let allowed = backlog.allowance(64, at(now));
                backlog.spend(allowed);
                gone += allowed;
                now += if allowed > 0 { 1 } else { u64::try_from(backlog.wait(at(now)).as_millis()).unwrap() + 1 };
            }
            let rate = usize::try_from(rate).unwrap();
            assert!(gone <= 11 * rate, "{gone} at {rate}/s");
            assert!(gone >= 9 * rate, "{gone} at {rate}/s");
        }
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut backlog = Backlog::new(9, 0, at(0));
        assert_eq!(backlog.allowance(256, at(0)), 256);
        backlog.spend(256);
        assert_eq!((backlog.allowance(256, at(0)), backlog.wait(at(0))), (256, Duration::ZERO));
    }
}
