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

    /// Returns how much is owed, after what is beyond the bounds was dropped, and tells of that.
    pub(super) async fn survey(&self) -> Result<Depth, StoreError> {
        let (mut full, mut age) = (0, 0);
        let depth = self.shed(&mut full, &mut age).await;
        self.tell_dropped(DropReason::Full, full);
        self.tell_dropped(DropReason::Age, age);
        depth
    }

    async fn shed(&self, full: &mut u64, age: &mut u64) -> Result<Depth, StoreError> {
        let (store, name) = (&self.house.store, &self.name);
        let bounds = self.bounds(Moment::now().utc());
        loop {
            let depth = store.depth(name).await?;
            if !bounds.exceeded(depth.bytes, depth.oldest) {
                return Ok(depth);
            }
            let shed = store.shed(name, bounds).await?;
            if shed.full + shed.age == 0 {
                return Ok(depth);
            }
            (*full, *age) = (*full + shed.full, *age + shed.age);
        }
    }

    /// Tells the log and the metrics that events were dropped, and why.
    fn tell_dropped(&self, reason: DropReason, events: u64) {
        if events == 0 {
            return;
        }
        self.house.metrics.dropped(self.name.as_str(), reason, events);
        let sink = &self.name;
        match reason {
            DropReason::Full => {
                tracing::error!(%sink, events, %reason, "dropped: its queue was larger than its max_queue");
            }
            DropReason::Age => {
                tracing::error!(%sink, events, %reason, "dropped: they had waited longer than its max_age");
            }
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
