//! The times by which things grow old in the store: UTC outside, and inside UTC without the steps it makes when the clock is
//! set. While nobody has set it the two are the same.
//!
//! So nothing is dropped, forgotten or ended because of a clock that jumps: neither while the router runs, nor between two
//! runs, where the time that counts is bounded. Must not know what the times are of.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{Commit, Depth, Found, Owed, Recalled, Standing};
use crate::domain::leg::Leg;
use crate::domain::moment::{Moment, SteadyTime};
use crate::state::DeadLetter;

/// What counts of the time between two runs at most: the clock may have been set meanwhile.
const BETWEEN_RUNS: Duration = Duration::from_hours(1);
/// How often the time is written down, in microseconds; always when the clock was set.
const WRITING: i64 = 10_000_000;
/// What was computed from UTC this long before the clock was set may still be under way.
const UNSETTLED: Duration = Duration::from_mins(1);

/// The time of the store.
#[derive(Debug)]
pub(super) struct Time {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    steady: SteadyTime,
    /// When it was noticed last that the clock was set.
    set: Option<Moment>,
    /// What is written down.
    written: (i64, i64),
    /// By how much tests have set the clock.
    #[cfg(test)]
    ahead: jiff::SignedDuration,
}

impl Time {
    /// Begins where the last run ended or, if the store is not ours, as its owner has it.
    pub(super) fn new(written: (i64, i64), ours: bool) -> Self {
        let now = Moment::now();
        let steady = match written {
            (0, 0) => SteadyTime::new(now),
            (behind, _) if !ours => SteadyTime::beside(now, behind),
            written => SteadyTime::resume(now, written, BETWEEN_RUNS),
        };
        Self {
            state: Mutex::new(State {
                steady,
                set: None,
                written,
                #[cfg(test)]
                ahead: jiff::SignedDuration::ZERO,
            }),
        }
    }

    /// As it is after a look at the clock.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Moment::now();
        #[cfg(test)]
        let now = now.reading(now.utc() + state.ahead);
        if state.steady.read(now) {
            state.set = Some(now);
            tracing::warn!("the system's clock was set; how long events have waited is counted without that");
        }
        state
    }

    /// Sets the clock, as long ago as it takes until nothing is under way any more that was computed before.
    #[cfg(test)]
    pub(super) fn set_clock(&self, ahead: jiff::SignedDuration) {
        self.state().ahead = ahead;
        self.state().set = None;
    }

    /// Returns the time of the store in microseconds.
    pub(super) fn now(&self) -> i64 {
        self.state().steady.now()
    }

    /// Returns how far it is behind UTC, and what it reads.
    pub(super) fn clock(&self) -> (i64, i64) {
        let state = self.state();
        (state.steady.behind(), state.steady.now())
    }

    /// Returns what is to be written down, if it is time for that: how far it is behind UTC, and what it reads.
    pub(super) fn due(&self) -> Option<(i64, i64)> {
        let state = self.state();
        let (behind, newest) = (state.steady.behind(), state.steady.now());
        (behind != state.written.0 || newest - state.written.1 >= WRITING).then_some((behind, newest))
    }

    /// It is written down.
    pub(super) fn written(&self, written: (i64, i64)) {
        self.state().written = written;
    }

    /// Returns whether the clock was set so lately that a limit computed before may be under way: nothing may go for its age.
    pub(super) fn is_unsettled(&self) -> bool {
        let state = self.state();
        state.set.is_some_and(|set| Moment::now().since(set) < UNSETTLED)
    }

    /// Returns a UTC in the time of the store.
    pub(super) fn inside(&self, utc: Timestamp) -> Timestamp {
        moved(utc, -self.state().steady.behind())
    }

    /// Puts a commit into the time of the store.
    pub(super) fn commit(&self, commit: &mut Commit) {
        let behind = self.state().steady.behind();
        if behind != 0 {
            commit.events.iter_mut().for_each(|event| event.received = moved(event.received, -behind));
            commit.legs.iter_mut().for_each(|leg| move_leg(Arc::make_mut(leg), -behind));
        }
    }

    /// Tells legs in UTC.
    pub(super) fn legs<'a>(&self, legs: impl IntoIterator<Item = &'a mut Leg>) {
        let behind = self.state().steady.behind();
        if behind != 0 {
            legs.into_iter().for_each(|leg| move_leg(leg, behind));
        }
    }

    /// Tells what was recalled in UTC.
    pub(super) fn recalled(&self, recalled: &mut Recalled) {
        let behind = self.state().steady.behind();
        if behind != 0 {
            recalled.legs.iter_mut().for_each(|leg| move_leg(Arc::make_mut(leg), behind));
            recalled.ended.iter_mut().for_each(|(_, leg)| leg.ended = moved(leg.ended, behind));
        }
    }

    /// Tells owed events in UTC.
    pub(super) fn owed(&self, owed: &mut [Owed]) {
        let behind = self.state().steady.behind();
        if behind != 0 {
            for owed in owed {
                owed.received = moved(owed.received, behind);
                owed.failing_since = owed.failing_since.map(|since| moved(since, behind));
            }
        }
    }

    /// Tells dead letters in UTC.
    pub(super) fn dead(&self, letters: &mut [DeadLetter]) {
        let behind = self.state().steady.behind();
        for letter in letters {
            (letter.received, letter.died) = (moved(letter.received, behind), moved(letter.died, behind));
        }
    }

    /// Tells a depth in UTC.
    pub(super) fn depth(&self, depth: Depth) -> Depth {
        let behind = self.state().steady.behind();
        Depth { oldest: depth.oldest.map(|oldest| moved(oldest, behind)), ..depth }
    }

    /// Tells an event that was found in UTC.
    pub(super) fn found(&self, found: &mut Found) {
        let behind = self.state().steady.behind();
        found.received = moved(found.received, behind);
        for (_, standing) in &mut found.standings {
            match standing {
                Standing::Owed { failing_since, .. } => *failing_since = failing_since.map(|at| moved(at, behind)),
                Standing::Dead { died, .. } => *died = moved(*died, behind),
            }
        }
    }
}

fn moved(time: Timestamp, micros: i64) -> Timestamp {
    if micros == 0 {
        return time;
    }
    let micros = time.as_microsecond().saturating_add(micros);
    let bounds = (Timestamp::MIN.as_microsecond(), Timestamp::MAX.as_microsecond());
    Timestamp::from_microsecond(micros.clamp(bounds.0, bounds.1)).unwrap_or(time)
}

/// By these two a leg grows old; when it began and was answered is told by the service.
fn move_leg(leg: &mut Leg, micros: i64) {
    leg.touched = moved(leg.touched, micros);
    leg.ended = leg.ended.map(|ended| moved(ended, micros));
}
