//! What a sink is owed no more because its queue is too long or too old: the oldest first, one small step at a time.
//!
//! Must not know who set the bounds.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::error::StoreError;
use super::picking::stretch;
use super::{Bounds, Shed, settling};
use crate::domain::name::SinkName;

/// Events in one step.
const STEP: i64 = 512;

pub(super) const BYTES: &str = "SELECT bytes FROM sinks WHERE name = ?1";
pub(super) const OLDEST: &str = stretch!("owed.bytes, events.received", "octet_length(body), received", "");

/// Takes the oldest events from `sink` until it is within `bounds`, or a step is done.
pub(super) async fn step(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    bounds: Bounds,
) -> Result<Shed, StoreError> {
    let bytes: Option<i64> = sqlx::query_scalar(BYTES).bind(sink.as_str()).fetch_optional(&mut *connection).await?;
    let mut left = bytes.unwrap_or_default();
    let most = bounds.bytes.map_or(i64::MAX, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let oldest: Vec<(i64, i64, i64)> = sqlx::query_as(OLDEST)
        .bind(sink.as_str())
        .bind(0)
        .bind(i64::MAX)
        .bind(STEP)
        .fetch_all(&mut *connection)
        .await?;
    let before = bounds.received.as_microsecond();
    let (mut shed, mut positions) = (Shed::default(), Vec::new());
    for (position, bytes, received) in oldest {
        if left > most {
            shed.full += 1;
        } else if received < before {
            shed.age += 1;
        } else {
            break;
        }
        left -= bytes;
        positions.push(position);
    }
    shed.more = i64::try_from(positions.len()).unwrap_or(STEP) >= STEP;
    settling::release(connection, sink, &positions).await?;
    Ok(shed)
}

impl Bounds {
    /// Whether a queue of this depth is beyond them.
    #[must_use]
    pub fn exceeded(&self, bytes: u64, oldest: Option<Timestamp>) -> bool {
        self.bytes.is_some_and(|most| bytes > most) || oldest.is_some_and(|oldest| oldest < self.received)
    }
}
