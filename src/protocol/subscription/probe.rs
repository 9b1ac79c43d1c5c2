//! When a subscription that delivers, for all we know, is looked up.

use std::time::Duration;

use crate::domain::moment::Moment;
use crate::protocol::backoff::Dice;

/// When it was seen, and when to look again.
#[derive(Clone, Debug, Default)]
pub(super) struct Probe {
    /// At the latest this long after it was seen; none: never.
    pub(super) interval: Option<Duration>,
    /// When a list of this session showed it.
    pub(super) seen: Option<Moment>,
    /// When to look again.
    pub(super) due: Option<Moment>,
}

impl Probe {
    /// A session begins: nothing is seen yet.
    pub(super) fn forget(&mut self) {
        self.seen = None;
        self.due = None;
    }

    /// A list shows it. A fleet that came up at once looks spread over the whole interval, and stays spread by halves.
    pub(super) fn saw(&mut self, dice: &mut Dice, now: Moment) {
        let first = self.seen.replace(now).is_none();
        self.due = self.interval.map(|interval| {
            let least = if first { Duration::ZERO } else { interval / 2 };
            now + dice.between(least, interval)
        });
    }

    /// There was no seeing it this time.
    pub(super) fn put_off(&mut self, dice: &mut Dice, now: Moment) {
        self.due = self.interval.map(|interval| now + dice.between(interval / 2, interval));
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}
