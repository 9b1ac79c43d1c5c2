//! A sink that takes nothing: when it is probed again, and with what.
//!
//! Pure. Must not know the queue.

use std::sync::Arc;
use std::time::Duration;

use super::flow::{Part, PartKind, Take};
use super::{BRISK, LONGEST_WAIT, Next, schedule};
use crate::domain::moment::Moment;

/// Events of a probe.
pub const PROBE: usize = 8;
/// Between a probe that found nothing to try and the next.
const NOTHING: Duration = Duration::from_secs(1);
/// Calls remembered as having failed alone.
const SUSPECTS: usize = 64;
/// An event nobody has tried yet waits for a probe at most this long, unless the peer asked for more.
const NEWCOMER: Duration = Duration::from_secs(10);
/// How long a sink rests that asked us to stop.
pub const REST: Duration = Duration::from_hours(1);

/// How long it has lasted, and what the probes have shown.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    pub(super) since: Moment,
    pub(super) failures: u32,
    /// The next probe.
    pub(super) until: Moment,
    /// The next probe if there are events nobody has tried yet.
    pub(super) soonest: Moment,
    pub(super) news: bool,
    pub(super) resting: bool,
    /// How far the probes have come through the queue.
    pub(super) probed: i64,
    /// Calls that failed all alone, lately: if another one succeeds, it was not for the sink.
    pub(super) suspects: Vec<Arc<str>>,
}

impl Outage {
    pub(super) fn new(now: Moment) -> Self {
        let (until, soonest) = (now, now);
        Self { since: now, failures: 0, until, soonest, news: false, resting: false, probed: 0, suspects: Vec::new() }
    }

    /// A probe found no event to try: there are none, or none but of suspects. Another kind of probe follows.
    pub(super) fn find_nothing(&mut self, now: Moment) {
        self.suspects.clear();
        self.failures = self.failures.saturating_add(1);
        (self.until, self.soonest) = (now + NOTHING, now + NOTHING);
    }

    pub(super) fn suspect(&mut self, call: &Arc<str>) {
        self.suspects.retain(|known| known != call);
        self.suspects.push(Arc::clone(call));
        if self.suspects.len() > SUSPECTS {
            self.suspects.remove(0);
        }
    }

    pub(super) fn next(&self) -> Moment {
        if self.news && !self.resting { self.until.min(self.soonest) } else { self.until }
    }

    pub(super) fn fail(&mut self, after: Option<Duration>, now: Moment, chance: f64) {
        if std::mem::take(&mut self.resting) {
            (self.since, self.failures) = (now, 0);
        }
        self.failures = self.failures.saturating_add(1);
        let wait = match schedule(self.failures, now.since(self.since), after, chance) {
            Next::Again(wait) => wait,
            Next::GiveUp => LONGEST_WAIT, // events die one by one, a sink does not
        };
        self.until = now + wait;
        let asked = after.map_or(Duration::ZERO, |after| after.min(wait));
        self.soonest = self.until.min(now + NEWCOMER.max(asked));
    }

    /// A few events of as many calls: others each time, and the oldest; none of them is always the first. Later on also
    /// single events, since one that makes the sink hang would hide how the others fare. What has come since the last
    /// probe, beyond the position `seen`, goes before others: however much is wrong with those, it may pass.
    pub(super) fn probe(&mut self, batch: usize, seen: i64, now: Moment) -> Take {
        let news = std::mem::take(&mut self.news);
        let tries = usize::try_from(self.failures).unwrap_or_default();
        let from = if news { seen } else { self.probed };
        let others = |limit| Part::new(PartKind::Others, from, i64::MAX, Some(i64::MAX), limit);
        let oldest = |limit| Part::new(PartKind::Oldest, 0, i64::MAX, Some(i64::MAX), limit);
        let most = PROBE.min(batch);
        let brisk = now.since(self.since) < BRISK;
        let several = brisk || tries.is_multiple_of(6);
        // Scattered, or some call would always come after the same other ones.
        let turned = (tries.wrapping_mul(0x9E37_79B9) >> 8) | 1;
        let (parts, most) = if several && most > 1 {
            (vec![others(1 + turned % most.div_ceil(2)), oldest(most)], most)
        } else if news {
            (vec![others(1), oldest(1)], 1)
        } else {
            (vec![oldest(1)], 1)
        };
        // Those that failed alone have had their chance when it is for others.
        let without = if !brisk && parts.len() == 1 && tries % 6 != 2 { self.suspects.clone() } else { Vec::new() };
        Take { without, parts, most, turned, ..Take::default() }
    }
}
