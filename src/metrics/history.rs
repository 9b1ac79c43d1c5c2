//! The last hour in steps of ten seconds: what the counters gained in each.
//!
//! Pure and bounded. Must not know where totals come from, nor read a clock.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::spread::{Spread, real};
use super::totals::Totals;
use crate::domain::moment::Moment;

/// The length of a step.
pub const STEP: Duration = Duration::from_secs(10);
/// Steps that are kept: an hour.
pub const STEPS: usize = 360;
/// Steps of a minute.
const MINUTE: usize = 6;

/// The ring of steps; none where nobody counted, because the machine slept or was too busy.
#[derive(Debug, Default)]
pub struct History {
    steps: VecDeque<Option<Gain>>,
    last: Option<(Moment, Totals, Spread)>,
}

/// What one step, or several, added.
#[derive(Clone, Debug, Default)]
struct Gain {
    received: u64,
    delivered: u64,
    failed: u64,
    delivery: Spread,
}

/// The last hour, oldest step first; all lists have the same length. A step in which nobody counted is `null`, and so is
/// a latency of nothing.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Hour {
    /// The length of each step in seconds.
    pub step_seconds: u64,
    /// The end of the newest step.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// Events received in each step.
    pub received: Vec<Option<u64>>,
    /// Deliveries that a sink acknowledged.
    pub delivered: Vec<Option<u64>>,
    /// Deliveries that failed.
    pub failed: Vec<Option<u64>>,
    /// Median time from receipt to acknowledgement.
    pub delivery_p50_seconds: Vec<Option<f64>>,
    /// The time that 99 of 100 deliveries took at most.
    pub delivery_p99_seconds: Vec<Option<f64>>,
}

/// The last minute, or as much of it as there was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct LastMinute {
    /// Events received per second; `null` in the first ten seconds.
    pub received_per_second: Option<f64>,
    /// Deliveries acknowledged per second.
    pub delivered_per_second: Option<f64>,
    /// Median time from receipt to acknowledgement; `null` where nothing was delivered.
    pub delivery_p50_seconds: Option<f64>,
    /// The time that 99 of 100 deliveries took at most.
    pub delivery_p99_seconds: Option<f64>,
}

impl History {
    /// Takes what the counters say at `now`; to be called once per [`STEP`].
    pub fn sample(&mut self, now: Moment, totals: Totals, delivery: Spread) {
        if let Some((then, before, spread)) = &self.last {
            let passed = (now.since(*then).as_secs_f64() / STEP.as_secs_f64()).round();
            let missed = (1..STEPS).take_while(|n| f64::from(u32::try_from(*n).unwrap_or(0)) < passed).count();
            let gain = Gain {
                received: totals.received.saturating_sub(before.received),
                delivered: totals.delivered.saturating_sub(before.delivered),
                failed: totals.failed().saturating_sub(before.failed()),
                delivery: delivery.since(spread),
            };
            // What was gained over several steps would be a peak that never was.
            let newest = if missed == 0 { Some(gain) } else { None };
            self.steps.extend((0..missed).map(|_| None).chain([newest]));
            self.steps.drain(..self.steps.len().saturating_sub(STEPS));
        }
        self.last = Some((now, totals, delivery));
    }

    /// The last hour.
    pub fn hour(&self) -> Hour {
        let of = |value: fn(&Gain) -> u64| self.steps.iter().map(|step| step.as_ref().map(value)).collect();
        let latency = |q: f64| self.steps.iter().map(|step| step.as_ref()?.delivery.quantile(q)).collect();
        Hour {
            step_seconds: STEP.as_secs(),
            until: self.last.as_ref().map(|(at, ..)| at.utc()),
            received: of(|gain| gain.received),
            delivered: of(|gain| gain.delivered),
            failed: of(|gain| gain.failed),
            delivery_p50_seconds: latency(0.5),
            delivery_p99_seconds: latency(0.99),
        }
    }

    /// The last minute.
    pub fn last_minute(&self) -> LastMinute {
        let steps: Vec<&Gain> = self.steps.iter().rev().take(MINUTE).flatten().collect();
        if steps.is_empty() {
            return LastMinute::default();
        }
        let seconds: f64 = steps.iter().map(|_| STEP.as_secs_f64()).sum();
        let rate = |value: fn(&Gain) -> u64| {
            let sum: u64 = steps.iter().map(|gain| value(gain)).sum();
            Some(real(sum) / seconds)
        };
        let delivery = steps.iter().fold(Spread::default(), |sum, gain| sum.and(&gain.delivery));
        LastMinute {
            received_per_second: rate(|gain| gain.received),
            delivered_per_second: rate(|gain| gain.delivered),
            delivery_p50_seconds: delivery.quantile(0.5),
            delivery_p99_seconds: delivery.quantile(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::virtual_at(Duration::from_secs(seconds), "2026-01-01T00:00:00Z".parse().unwrap())
    }

    fn totals(received: u64) -> Totals {
        Totals { received, delivered: received / 2, ..Totals::default() }
    }

    fn history(samples: impl IntoIterator<Item = (u64, u64)>) -> History {
        let mut history = History::default();
        for (seconds, received) in samples {
            history.sample(at(seconds), totals(received), Spread::default());
        }
        history
    }

    #[test]
    fn a_step_holds_what_the_counters_gained_in_it() {
        let hour = history([(0, 100), (10, 104), (20, 104), (30, 110)]).hour();
        assert_eq!(hour.received, [Some(4), Some(0), Some(6)]);
        assert_eq!(hour.delivered, [Some(2), Some(0), Some(3)]);
        assert_eq!((hour.step_seconds, hour.until), (10, Some("2026-01-01T00:00:00Z".parse().unwrap())));
    }

    #[test]
    fn a_time_in_which_nobody_counted_is_left_out_and_makes_no_peak() {
        let hour = history([(0, 0), (10, 5), (40, 500), (50, 501)]).hour();
        assert_eq!(hour.received, [Some(5), None, None, None, Some(1)]);
        let asleep = history([(0, 0), (10, 5), (1_000_000, 9)]).hour();
        assert_eq!(asleep.received, vec![None; STEPS]);
    }

    #[test]
    fn an_hour_is_all_that_is_kept() {
        let hour = history((0..=1000).map(|n| (n * 10, n))).hour();
        assert_eq!(hour.received.len(), STEPS);
    }

    #[test]
    fn a_counter_that_was_taken_away_is_no_gain() {
        assert_eq!(history([(0, 100), (10, 3)]).hour().received, [Some(0)]);
    }

    #[test]
    fn the_last_minute_is_an_average_and_unknown_before_the_first_step() {
        assert_eq!(history([(0, 7)]).last_minute().received_per_second, None);
        let steady = history((0..=100).map(|n| (n * 10, n * 25)));
        assert_eq!(steady.last_minute().received_per_second, Some(2.5));
        assert_eq!(history([(0, 0), (10, 5)]).last_minute().received_per_second, Some(0.5));
    }
}
