//! What is forgotten, and when: one small step at a time, so that nobody waits long.
//!
//! Bodies are not pruned here: an event's body goes with its last settlement.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::error::StoreError;

/// How long an event id is known, for de-duplication.
const IDS: Duration = Duration::from_hours(7 * 24);
/// How long an ended leg is known.
const LEGS: Duration = Duration::from_hours(24);
/// How long a call is known that nothing happens to.
const CALLS: Duration = Duration::from_hours(7 * 24);
/// Rows of each kind in one step.
const STEP: i64 = 500;

/// The oldest are looked at and no more, so that a step stays small also where none of them is old enough.
pub(super) const PRUNE_KNOWN: &str = "DELETE FROM known WHERE id IN \
    (SELECT id FROM (SELECT id, at FROM seen ORDER BY number LIMIT ?2) WHERE at < ?1)";
/// The same, after their ids are known no more.
pub(super) const PRUNE_IDS: &str =
    "DELETE FROM seen WHERE number IN (SELECT number FROM seen ORDER BY number LIMIT ?2) AND at < ?1";
pub(super) const PRUNE_LEGS: &str = "DELETE FROM legs WHERE rowid IN \
    (SELECT rowid FROM legs WHERE ended IS NOT NULL AND ended < ?1 ORDER BY ended LIMIT ?2)";
/// A call with a live leg keeps its sequence. An ended one touched it when it ended, and is forgotten before it.
pub(super) const PRUNE_CALLS: &str = "DELETE FROM calls WHERE partition IN \
    (SELECT partition FROM calls WHERE touched < ?1 \
    AND NOT EXISTS (SELECT 1 FROM legs WHERE legs.partition = calls.partition AND legs.ended IS NULL) ORDER BY touched LIMIT ?2)";

pub(super) const FREE: &str = "PRAGMA freelist_count";
/// Pages that stay in the file for what comes next.
const SPARE: i64 = 64;
/// Pages given back in one step.
pub(super) const SHRINK: &str = "PRAGMA incremental_vacuum(128)";

/// Gives a little of the room that is free inside the file back to the disk. Says whether there is more.
pub(super) async fn shrink(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    if free(connection).await? <= SPARE {
        return Ok(false);
    }
    sqlx::query(SHRINK).execute(&mut *connection).await?;
    Ok(free(connection).await? > SPARE)
}

async fn free(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(FREE).fetch_one(connection).await?)
}

/// Forgets a little of what is too old at `now`. Says whether there may be more.
pub(super) async fn step(connection: &mut SqliteConnection, now: Timestamp) -> Result<bool, StoreError> {
    let mut more = false;
    for (statement, kept) in [(PRUNE_KNOWN, IDS), (PRUNE_IDS, IDS), (PRUNE_LEGS, LEGS), (PRUNE_CALLS, CALLS)] {
        let before = now.checked_sub(kept).unwrap_or(Timestamp::MIN).as_microsecond();
        let pruned = sqlx::query(statement).bind(before).bind(STEP).execute(&mut *connection).await?;
        more |= pruned.rows_affected() >= STEP.unsigned_abs();
    }
    Ok(more)
}
