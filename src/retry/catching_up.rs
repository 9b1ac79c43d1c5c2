//! Follows what had piled up while a sink took nothing: how much of it was delivered since, and whether that is all.
//!
//! It begins with the first success after an outage and ends once everything that was owed then is delivered, or has failed
//! again on its own. An outage in between does not end it: all of that is told as one, once.
//!
//! Pure. Must not know the queue.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Sums up what was delivered late, once nothing more of it is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaughtUp {
    /// Events that had piled up and were delivered.
    pub events: u64,
    /// How late the latest of them was.
    pub oldest: Duration,
}

/// `caught up: 334 events, oldest 3 min late`.
impl fmt::Display for CaughtUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, oldest } = self;
        let s = if *events == 1 { "" } else { "s" };
        write!(f, "caught up: {events} event{s}, oldest ")?;
        let seconds = oldest.as_secs();
        match seconds {
            0..60 => write!(f, "{seconds} s late"),
            60..3600 => write!(f, "{} min late", seconds / 60),
            3600.. => write!(f, "{} h {} min late", seconds / 3600, seconds / 60 % 60),
        }
    }
}

/// A sink on its way back.
#[derive(Clone, Debug)]
pub(super) struct CatchingUp {
    /// The newest position that was owed when it began to work again; unlimited until that is known.
    mark: i64,
    /// The calls that had piled up; absent: all.
    of: Option<BTreeSet<Arc<str>>>,
    /// Calls that were freed, and of which something is still to be tried.
    waiting: BTreeSet<Arc<str>>,
    /// Whether nothing of what had piled up is left, but for calls that are held.
    clear: bool,
    so_far: CaughtUp,
}

impl CatchingUp {
    /// The sink works again. What was not over yet goes on.
    pub(super) fn begin(earlier: Option<Self>, of: Option<BTreeSet<Arc<str>>>, waiting: BTreeSet<Arc<str>>) -> Self {
        let none = CaughtUp { events: 0, oldest: Duration::ZERO };
        let (of, so_far) = match earlier {
            None => (of, none),
            Some(earlier) => {
                let both = earlier.of.zip(of).map(|(one, other)| &one | &other);
                (both, earlier.so_far)
            }
        };
        Self { mark: i64::MAX, of, waiting, clear: false, so_far }
    }

    /// What is owed up to the position `mark` had piled up.
    pub(super) fn up_to(&mut self, mark: i64) {
        self.mark = mark;
    }

    /// An event was delivered, `late` after its receipt.
    pub(super) fn passed(&mut self, position: i64, call: &Arc<str>, late: Duration) {
        if position <= self.mark && self.of.as_ref().is_none_or(|of| of.contains(call)) {
            self.so_far.events += 1;
            self.so_far.oldest = self.so_far.oldest.max(late);
        }
    }

    /// An event of this call failed: what is left of the call is held as any other.
    pub(super) fn failed(&mut self, call: &str) {
        self.waiting.remove(call);
    }

    /// The queue was read from its beginning, held calls left out; `first` is what comes first.
    pub(super) fn read(&mut self, first: Option<i64>) {
        self.clear |= first.is_none_or(|first| first > self.mark);
    }

    /// Whether calls that were freed are still to be tried.
    pub(super) fn waits(&mut self, held: impl Fn(&str) -> bool) -> bool {
        self.waiting.retain(|call| held(call));
        !self.waiting.is_empty()
    }

    /// Returns the sum, once it is over.
    pub(super) fn ended(&mut self, held: impl Fn(&str) -> bool) -> Option<CaughtUp> {
        (self.clear && !self.waits(held)).then_some(self.so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f3_the_line_says_how_many_and_how_late() {
        for (events, seconds, text) in [
            (334, 187, "caught up: 334 events, oldest 3 min late"),
            (1, 12, "caught up: 1 event, oldest 12 s late"),
            (2, 7512, "caught up: 2 events, oldest 2 h 5 min late"),
        ] {
            assert_eq!(CaughtUp { events, oldest: Duration::from_secs(seconds) }.to_string(), text);
        }
    }
}
