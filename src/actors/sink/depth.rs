//! How much a sink is owed: told to the board, and kept within its bounds.
//!
//! Must not know what is delivered, or when.

use jiff::Timestamp;

use super::step::Desk;
use crate::board::SinkStatus;
use crate::config::WhenFull;
use crate::domain::moment::Moment;
use crate::domain::status::DropReason;
use crate::store::{Bounds, Depth, StoreError};

/// A queue that was full has room again once this part of it is free: receiving should not stop and go for each event.
const ROOM: u64 = 10;

impl Desk {
    fn bounds(&self, now: Timestamp) -> Bounds {
        let max_queue = self.delivery.max_queue;
        Bounds {
            bytes: match self.delivery.when_full {
                WhenFull::DropOldest => Some(max_queue),
                WhenFull::Block => None,
            },
            received: now.checked_sub(self.delivery.max_age).unwrap_or(Timestamp::MIN),
        }
    }

    /// How much is owed, after what is beyond the bounds was dropped. Says also how much that was.
    pub(super) async fn survey(&self) -> Result<(Depth, u64), StoreError> {
        let (store, name) = (&self.house.store, &self.name);
        let bounds = self.bounds(Moment::now().utc());
        let mut dropped = 0;
        loop {
            let depth = store.depth(name).await?;
            if !bounds.exceeded(depth.bytes, depth.oldest) {
                return Ok((depth, dropped));
            }
            let shed = store.shed(name, bounds).await?;
            for (reason, n) in [(DropReason::Full, shed.full), (DropReason::Age, shed.age)] {
                self.house.metrics.dropped(name.as_str(), reason, n);
            }
            if shed.full + shed.age == 0 {
                return Ok((depth, dropped));
            }
            dropped += shed.full + shed.age;
        }
    }

    /// Stops receiving while the queue is full, where that is wanted.
    pub(super) fn hold_up(&self, depth: Depth) -> bool {
        let (most, was) = (self.delivery.max_queue, self.house.is_full(&self.name));
        let full = match self.delivery.when_full {
            WhenFull::DropOldest => false,
            WhenFull::Block => depth.bytes >= if was { most - most / ROOM } else { most },
        };
        if full != was {
            self.house.set_full(&self.name, full);
            if full {
                tracing::error!(sink = %self.name, bytes = depth.bytes, "its queue is full: receiving stops until there is room");
            } else {
                tracing::info!(sink = %self.name, "its queue has room again: receiving goes on");
            }
        }
        full
    }
}

/// Writes down what is owed.
pub(super) fn owes(status: &mut SinkStatus, depth: Depth) {
    (status.queued, status.bytes, status.oldest, status.dead) = (depth.events, depth.bytes, depth.oldest, depth.dead);
}
