//! Events handed to a sink together, and the place where the sink says of each what became of it, as soon as it knows.
//!
//! So whoever stops waiting for a sink still knows what its peer has answered until then: nothing that was acknowledged is
//! ever sent again. The batch also keeps three promises for every sink:
//!
//! * After a failure nothing of the same partition is begun, so that nothing overtakes what is tried again.
//! * [`LASTING`] after the first delivery was begun no other one is begun: a slow sink is handed only what it can answer
//!   in a little while, and what is left over was not tried.
//! * A delivery without an answer for the sink's `timeout` is out of time; then no other one is begun either.
//!
//! Must not know what a sink does with an event, nor what becomes of it afterwards.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::censor::Censor;
use super::{Failure, Parcel};
use crate::domain::moment::Moment;

/// How long deliveries of one batch are begun, from the first of them on.
pub const LASTING: Duration = Duration::from_secs(2);

/// Some events on their way to one sink.
#[derive(Debug)]
pub struct Batch {
    parcels: Vec<Parcel>,
    timeout: Duration,
    lasting: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    begun: Vec<Option<Moment>>,
    answers: Vec<Option<(Result<(), Failure>, Moment)>>,
    /// The places of those with an answer, in the order in which the answers came.
    order: Vec<usize>,
    /// Partitions of which something has failed.
    failed: HashSet<Arc<str>>,
    /// From this moment on no delivery is begun.
    closes: Option<Moment>,
    /// When the sink last began or answered anything.
    latest: Moment,
    /// Keeps secrets out of the answers.
    censor: Censor,
}

/// What became of one event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its place in the batch.
    pub place: usize,
    /// What the sink answered.
    pub answer: Result<(), Failure>,
    /// When it was begun, and when it was answered.
    pub times: (Moment, Moment),
}

/// How a batch stands while its sink is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something may still be answered in time; look again at this moment.
    Waiting(Moment),
    /// Whatever has no answer by now is out of time.
    Over,
}

impl Batch {
    /// A batch of which each delivery may take `timeout`.
    #[must_use]
    pub fn new(parcels: Vec<Parcel>, timeout: Duration) -> Self {
        let state = State {
            begun: vec![None; parcels.len()],
            answers: vec![None; parcels.len()],
            order: Vec::with_capacity(parcels.len()),
            failed: HashSet::new(),
            closes: None,
            latest: Moment::now(),
            censor: Censor::default(),
        };
        Self { parcels, timeout, lasting: LASTING, state: Mutex::new(state) }
    }

    /// The same batch, but deliveries are begun for as long as it takes to try all of them.
    #[must_use]
    pub fn without_haste(self) -> Self {
        Self { lasting: Duration::MAX, ..self }
    }

    /// Has every answer from now on told without what `censor` knows.
    pub(super) fn censor(&self, censor: &Censor) {
        self.state().censor = censor.clone();
    }

    /// Returns the events, in the order of the queue.
    #[must_use]
    pub fn parcels(&self) -> &[Parcel] {
        &self.parcels
    }

    /// Returns how long one delivery may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Notes that the delivery of the parcel at `place` begins now. Returns false if it must not: an earlier event of its
    /// partition has failed, or the time for this batch is over. Then it is left alone, without an answer.
    #[must_use]
    pub fn begin(&self, place: usize) -> bool {
        let now = Moment::now();
        self.state().begin(&self.parcels, place, now, self.lasting)
    }

    /// The same for several parcels that leave as one, or once more in smaller parts. Returns the places of those that may.
    #[must_use]
    pub fn begin_together(&self, places: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let now = Moment::now();
        let mut state = self.state();
        places.into_iter().filter(|place| state.begin(&self.parcels, *place, now, self.lasting)).collect()
    }

    /// Returns the parcels one by one, each begun when it is asked for, for a sink that sends one after the other.
    pub fn one_by_one(&self) -> impl Iterator<Item = (usize, &Parcel)> {
        self.parcels.iter().enumerate().filter(|(place, _)| self.begin(*place))
    }

    /// Says what became of the parcel at `place`. Only the first answer counts.
    pub fn answer(&self, place: usize, answer: Result<(), Failure>) {
        self.state().answer(&self.parcels, place, answer, Moment::now());
    }

    /// Answers for all of the parcels at `places` alike.
    pub fn answer_together(&self, places: impl IntoIterator<Item = usize>, answer: &Result<(), Failure>) {
        let now = Moment::now();
        let mut state = self.state();
        places.into_iter().for_each(|place| state.answer(&self.parcels, place, answer.clone(), now));
    }

    /// Says that the sink as a whole has failed: this becomes the answer for everything that has none.
    pub fn fail(&self, failure: Failure) {
        self.answer_together(0..self.parcels.len(), &Err(failure));
    }

    /// Lets no further delivery begin from `from` on, if that is earlier than it would end anyway.
    pub fn close(&self, from: Moment) {
        let mut state = self.state();
        state.closes = Some(state.closes.map_or(from, |closes| closes.min(from)));
    }

    /// Returns how the batch stands at `now`, and closes it if a delivery is out of time.
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        let mut state = self.state();
        let under_way: Vec<_> = state.under_way().map(|(_, begun)| begun + self.timeout).collect();
        if under_way.is_empty() {
            let idle_until = state.latest + self.timeout;
            return if idle_until <= now { Standing::Over } else { Standing::Waiting(idle_until) };
        }
        if under_way.iter().any(|ends| *ends <= now) {
            state.closes = Some(state.closes.map_or(now, |closes| closes.min(now)));
        }
        let next = under_way.into_iter().filter(|ends| *ends > now).min();
        next.map_or(Standing::Over, Standing::Waiting)
    }

    /// Whether nothing is under way and nothing may be begun at `now`.
    #[must_use]
    pub fn is_at_rest(&self, now: Moment) -> bool {
        let state = self.state();
        state.closes.is_some_and(|closes| closes <= now) && state.under_way().next().is_none()
    }

    /// Answers for what is out of time, after the sink was given up at `now`: what was begun `timeout` ago, or
    /// everything, if it has not begun anything for so long. Returns whether there was anything.
    pub fn lapse(&self, now: Moment) -> bool {
        let reason = format!("no answer within {:?}", self.timeout);
        let late = Err(Failure::Retry { reason, after: None });
        let mut state = self.state();
        let overdue: Vec<_> = if state.begun.iter().all(Option::is_none) && state.latest + self.timeout <= now {
            (0..self.parcels.len()).collect()
        } else {
            state.under_way().filter(|(_, begun)| *begun + self.timeout <= now).map(|(place, _)| place).collect()
        };
        for place in &overdue {
            state.answer(&self.parcels, *place, late.clone(), now);
        }
        !overdue.is_empty()
    }

    /// Answers for what a sink that has ended by itself gave no answer for: all that it had begun, and, so that it is not
    /// asked again and again at once, all the others too where it has answered for nothing.
    pub fn complete(&self) {
        let now = Moment::now();
        let mut state = self.state();
        let is_free = |place: &usize| !state.failed.contains(&self.parcels[*place].partition);
        let mut silent: Vec<_> = state.under_way().map(|(place, _)| place).filter(is_free).collect();
        if silent.is_empty() && state.order.is_empty() && state.may_begin(now) {
            silent = (0..self.parcels.len()).collect();
        }
        let silence = Err(Failure::Retry { reason: "the sink gave no answer".to_owned(), after: None });
        for place in silent {
            state.answer(&self.parcels, place, silence.clone(), now);
        }
    }

    /// Returns what was answered, in the order in which the answers came, and the places of what was not tried.
    #[must_use]
    pub fn outcomes(self) -> (Vec<Outcome>, Vec<usize>) {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let outcomes = std::mem::take(&mut state.order).into_iter().filter_map(|place| {
            let (answer, answered) = state.answers[place].take()?;
            let begun = state.begun[place].take().unwrap_or(answered);
            Some(Outcome { place, answer, times: (begun, answered) })
        });
        let outcomes: Vec<_> = outcomes.collect();
        let mut left = vec![true; self.parcels.len()];
        for outcome in &outcomes {
            left[outcome.place] = false;
        }
        (outcomes, left.into_iter().enumerate().filter_map(|(place, left)| left.then_some(place)).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_begin(&self, now: Moment) -> bool {
        self.closes.is_none_or(|closes| now < closes)
    }

    fn begin(&mut self, parcels: &[Parcel], place: usize, now: Moment, lasting: Duration) -> bool {
        if self.answers[place].is_some() || self.failed.contains(&parcels[place].partition) {
            return false;
        }
        if self.begun[place].is_none() && !self.may_begin(now) {
            return false;
        }
        self.begun[place].get_or_insert(now);
        self.closes.get_or_insert(now + lasting);
        self.latest = now;
        true
    }

    fn answer(&mut self, parcels: &[Parcel], place: usize, answer: Result<(), Failure>, now: Moment) {
        if self.answers[place].is_some() {
            return;
        }
        if answer.is_err() && !self.failed.contains(&parcels[place].partition) {
            self.failed.insert(Arc::clone(&parcels[place].partition));
        }
        self.answers[place] = Some((answer.map_err(|failure| self.censor.tell(failure)), now));
        self.order.push(place);
        self.latest = now;
    }

    /// What was begun and has no answer, and when it was begun.
    fn under_way(&self) -> impl Iterator<Item = (usize, Moment)> {
        let places = self.begun.iter().zip(&self.answers).enumerate();
        places.filter_map(|(place, (begun, answer))| begun.filter(|_| answer.is_none()).map(|begun| (place, begun)))
    }
}
