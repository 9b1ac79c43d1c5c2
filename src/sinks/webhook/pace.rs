//! How many events are taken at once: what a peer of this speed answers in a little while.
//!
//! A slow peer must not be handed more than it can answer before the caller stops waiting: all of it would be posted
//! again and again. Must not know the peer.

use std::time::Duration;

/// How long a delivery should take.
const TARGET: Duration = Duration::from_secs(2);
/// Taken at once before anything is known of the peer.
const FIRST: usize = 32;
/// Never taken at once: more than this.
const MOST: usize = 256;

/// The number of events for the next delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    size: usize,
}

impl Pace {
    pub(super) const NEW: Self = Self { size: FIRST };

    /// How many events to take.
    pub(super) fn size(self) -> usize {
        self.size
    }

    /// The pace if the caller stops waiting for the delivery that begins now.
    pub(super) fn abandoned(self) -> Self {
        Self { size: (self.size / 4).max(1) }
    }

    /// The pace after a delivery in which `taken` events were acknowledged within `took`.
    pub(super) fn after(self, taken: usize, took: Duration) -> Self {
        if taken == 0 {
            return self; // it says nothing about its speed
        }
        let fitting = TARGET.as_micros().saturating_mul(taken as u128) / took.as_micros().max(1);
        Self { size: usize::try_from(fitting).unwrap_or(MOST).clamp(1, MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_peer_gets_many_and_a_slow_one_few() {
        let pace = Pace::NEW;
        assert_eq!(pace.after(32, Duration::from_millis(10)).size(), MOST);
        assert_eq!(pace.after(32, Duration::ZERO).size(), MOST);
        assert_eq!(pace.after(256, Duration::from_secs(32)).size(), 16);
        assert_eq!(pace.after(1, Duration::from_secs(20)).size(), 1);
        assert_eq!(pace.after(0, Duration::from_secs(20)), pace);
    }

    #[test]
    fn who_is_left_waiting_asks_for_less_each_time_but_never_for_nothing() {
        let mut pace = Pace { size: MOST };
        let sizes = std::iter::repeat_with(|| {
            pace = pace.abandoned();
            pace.size()
        });
        assert_eq!(sizes.take(6).collect::<Vec<_>>(), [64, 16, 4, 1, 1, 1]);
    }
}
