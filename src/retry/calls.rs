//! The calls that are held: each failed on its own and is tried again on its own, while all others go on.
//!
//! Pure. Bounded: a sink that fails for more calls than [`MOST`] fails as a whole. Must not know the queue.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{FIRST, Next, schedule};
use crate::domain::moment::Moment;

/// Calls held at once, at most.
pub const MOST: usize = 1024;
/// A call that was freed so often, and failed each time, is taken to fail on its own: nobody waits for it.
const PATIENCE: u32 = 3;
/// Doublings of the wait of a call that is freed again and again, at most.
const DOUBLINGS: u32 = 12;

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
    /// How many deliveries had succeeded when it failed last.
    passes: u64,
    /// Whether nothing had succeeded between its last two failures: then it may have failed with its sink.
    starved: bool,
    /// How often it was freed since anything of it passed.
    freed: u32,
}

impl Held {
    /// A call that begins anew, and is due at once.
    fn new(now: Moment) -> Self {
        Self { since: now, failures: 0, due: now, refused: None, passes: 0, starved: false, freed: 0 }
    }

    /// Brings the next try forward, at once for the first time; after that each time by less, so that what fails on its own
    /// does not keep its sink busy.
    fn free(&mut self, now: Moment) {
        let pause = match self.freed.checked_sub(1) {
            None => Duration::ZERO,
            Some(before) => FIRST * (1 << before.min(DOUBLINGS)),
        };
        self.due = self.due.min(now + pause);
        self.freed = self.freed.saturating_add(1);
    }
}

impl HeldCalls {
    /// A delivery of `call` failed when `passes` deliveries had succeeded, and the peer may have asked for a wait of `after`:
    /// it is held until its next try. False if there is no place left; then nothing changed.
    pub fn hold(&mut self, call: &Arc<str>, passes: u64, now: Moment, after: Option<Duration>, chance: f64) -> bool {
        if !self.calls.contains_key(call) && self.calls.len() >= MOST {
            return false;
        }
        let held = self.calls.entry(Arc::clone(call)).or_insert(Held::new(now));
        held.starved = held.failures > 0 && held.passes == passes;
        held.passes = passes;
        held.failures = held.failures.saturating_add(1);
        held.due = match schedule(held.failures, now.since(held.since), after, chance) {
            Next::Again(wait) => now + wait,
            // Its oldest event is dead by now; whatever comes after it gets a schedule of its own.
            Next::GiveUp => {
                *held = Held { freed: held.freed, ..Held::new(now) };
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
            let (refused, freed) = if passed { (None, 0) } else { (held.refused, held.freed) };
            *held = Held { refused, freed, ..Held::new(now) };
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

    /// The sink works again after it took nothing: frees all calls.
    pub fn free_all(&mut self, now: Moment) {
        self.calls.values_mut().for_each(|held| held.free(now));
    }

    /// Something passes for the first time since `passes` deliveries had succeeded: frees the calls that failed again and
    /// again meanwhile, and returns them.
    pub fn free_starved(&mut self, passes: u64, now: Moment) -> BTreeSet<Arc<str>> {
        let starved = self.calls.iter_mut().filter(|(_, held)| held.starved && held.passes == passes);
        let freed = starved.map(|(call, held)| {
            held.starved = false;
            held.free(now);
            Arc::clone(call)
        });
        freed.collect()
    }

    /// This one failed all alone while its sink took nothing: the others shall be tried before it, since it may be what the
    /// sink hangs at.
    pub fn suspect(&mut self, call: &Arc<str>, passes: u64, now: Moment, chance: f64) {
        match self.calls.get_mut(call) {
            Some(held) => held.due = held.due.max(now + FIRST),
            None => drop(self.hold(call, passes, now, None, chance)),
        }
    }

    /// The calls that were freed and are likely to pass now.
    #[must_use]
    pub fn hopeful(&self) -> BTreeSet<Arc<str>> {
        let hopeful = self.calls.iter().filter(|(_, held)| held.freed <= PATIENCE);
        hopeful.map(|(call, _)| Arc::clone(call)).collect()
    }

    /// An operator wants it so: all are due.
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
        assert!(held.hold(&one, 0, at(0), None, 0.0) && held.hold(&other, 0, at(500), None, 0.0));
        assert!(held.due(at(799), 9).is_empty());
        assert_eq!(held.due(at(800), 9), std::slice::from_ref(&one));
        held.hold(&one, 0, at(800), None, 0.0);
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
            assert!(held.hold(&n.to_string().into(), 0, at(0), None, 0.5));
        }
        assert!(!held.hold(&"one too many".into(), 0, at(0), None, 0.5));
        assert!(held.hold(&"7".into(), 0, at(1), None, 0.5), "one that has a place keeps it");
        assert_eq!(held.len(), MOST);
    }

    #[test]
    fn a_call_that_was_given_up_begins_anew() {
        let mut held = HeldCalls::default();
        let call: Arc<str> = "call".into();
        held.hold(&call, 0, at(0), None, 0.0);
        let late = at(0) + super::super::HORIZON;
        held.hold(&call, 0, late, None, 0.0);
        assert_eq!(held.due(late, 1), std::slice::from_ref(&call));
        held.hold(&call, 0, late, None, 0.0);
        assert_eq!(held.next(), Some(late + Duration::from_millis(800)));
    }
}
