//! The calls that are held: each failed on its own and is tried again on its own, while all others go on.
//!
//! Pure. Bounded: a sink that fails for more calls than [`MOST`] fails as a whole. Must not know the queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Next, schedule};
use crate::domain::moment::Moment;

/// Calls held at once, at most.
pub const MOST: usize = 1024;

/// The held calls, by partition key.
#[derive(Clone, Debug, Default)]
pub struct HeldCalls {
    calls: HashMap<Arc<str>, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    since: Moment,
    failures: u32,
    due: Moment,
    /// Where its oldest event was refused: how many deliveries had succeeded by then.
    refused: Option<u64>,
}

impl HeldCalls {
    /// A delivery of `call` failed, and the peer may have asked for a wait of `after`: it is held until its next try.
    /// False if there is no place left; then nothing changed.
    pub fn hold(&mut self, call: &Arc<str>, now: Moment, after: Option<Duration>, chance: f64) -> bool {
        if !self.calls.contains_key(call) && self.calls.len() >= MOST {
            return false;
        }
        let held =
            self.calls.entry(Arc::clone(call)).or_insert(Held { since: now, failures: 0, due: now, refused: None });
        held.failures = held.failures.saturating_add(1);
        held.due = match schedule(held.failures, now.since(held.since), after, chance) {
            Next::Again(wait) => now + wait,
            // Its oldest event is dead by now; whatever comes after it gets a schedule of its own.
            Next::GiveUp => {
                *held = Held { since: now, failures: 0, due: now, refused: None };
                now
            }
        };
        true
    }

    /// The call is held no longer. Says whether it was.
    pub fn release(&mut self, call: &str) -> bool {
        self.calls.remove(call).is_some()
    }

    /// Something of the call came off the queue, but there may be more of it: it stays held, and is due at once. Where the
    /// sink `passed` it, a refusal before it says nothing of what comes next.
    pub fn proceed(&mut self, call: &str, passed: bool, now: Moment) {
        if let Some(held) = self.calls.get_mut(call) {
            *held = Held { since: now, failures: 0, due: now, refused: held.refused.filter(|_| !passed) };
        }
    }

    /// The oldest event of a held call was refused, when `passes` deliveries had succeeded. Only the first time counts.
    pub fn refuse(&mut self, call: &str, passes: u64) {
        if let Some(held) = self.calls.get_mut(call) {
            held.refused.get_or_insert(passes);
        }
    }

    /// Whether the call was refused before, and something else has succeeded since; `passes` have by now.
    #[must_use]
    pub fn is_refused_alone(&self, call: &str, passes: u64) -> bool {
        self.calls.get(call).and_then(|held| held.refused).is_some_and(|then| then < passes)
    }

    /// Others have passed: what was refused before that is tried once more, at once.
    pub fn try_refused_again(&mut self, passes: u64, now: Moment) {
        for held in self.calls.values_mut().filter(|held| held.refused.is_some_and(|then| then < passes)) {
            held.due = held.due.min(now);
        }
    }

    /// The sink refuses everything: no refusal so far was for an event.
    pub fn forgive(&mut self) {
        self.calls.values_mut().for_each(|held| held.refused = None);
    }

    /// The sink works again: what failed while it did not is worth another try.
    pub fn all_due(&mut self, now: Moment) {
        for held in self.calls.values_mut() {
            held.due = held.due.min(now);
        }
    }

    /// The calls whose time has come, those that waited longest first, at most `limit`.
    #[must_use]
    pub fn due(&self, now: Moment, limit: usize) -> Vec<Arc<str>> {
        let mut due: Vec<_> = self.calls.iter().filter(|(_, held)| held.due <= now).collect();
        due.sort_by(|(one, a), (other, b)| (a.due, one).cmp(&(b.due, other)));
        due.into_iter().take(limit).map(|(call, _)| Arc::clone(call)).collect()
    }

    /// When the next of them is due.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        self.calls.values().map(|held| held.due).min()
    }

    /// All of them.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        self.calls.keys().cloned().collect()
    }

    /// Whether this one is held.
    #[must_use]
    pub fn contains(&self, call: &str) -> bool {
        self.calls.contains_key(call)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
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
    fn each_call_has_a_schedule_of_its_own() {
        let mut held = HeldCalls::default();
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        assert!(held.hold(&one, at(0), None, 0.0) && held.hold(&other, at(500), None, 0.0));
        assert!(held.due(at(799), 9).is_empty());
        assert_eq!(held.due(at(800), 9), std::slice::from_ref(&one));
        held.hold(&one, at(800), None, 0.0);
        assert_eq!(held.next(), Some(at(1300)));
        assert_eq!(held.due(at(2400), 9), [other.clone(), one.clone()], "the longest waiting first");
        assert_eq!(held.due(at(2400), 1), [other]);
        held.release("other");
        assert_eq!(held.next(), Some(at(2400)));
    }

    #[test]
    fn there_is_a_place_for_so_many_and_no_more() {
        let mut held = HeldCalls::default();
        for n in 0..MOST {
            assert!(held.hold(&n.to_string().into(), at(0), None, 0.5));
        }
        assert!(!held.hold(&"one too many".into(), at(0), None, 0.5));
        assert!(held.hold(&"7".into(), at(1), None, 0.5), "one that has a place keeps it");
        assert_eq!(held.len(), MOST);
    }

    #[test]
    fn a_call_that_was_given_up_begins_anew() {
        let mut held = HeldCalls::default();
        let call: Arc<str> = "call".into();
        held.hold(&call, at(0), None, 0.0);
        let late = at(0) + super::super::HORIZON;
        held.hold(&call, late, None, 0.0);
        assert_eq!(held.due(late, 1), std::slice::from_ref(&call));
        held.hold(&call, late, None, 0.0);
        assert_eq!(held.next(), Some(late + Duration::from_millis(800)));
    }
}
