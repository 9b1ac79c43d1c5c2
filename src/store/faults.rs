//! What is wrong with the database: the file, the counters, rows that lack each other, and what is not as it was written.
//!
//! Only looks. Must not know what can be done about it.

use sqlx::SqlitePool;

use super::error::StoreError;
use super::queue::by_bit;
use super::settling::needless;
use super::{dead, journal};
use crate::domain::leg::Leg;

/// Rows that should not be, besides those that [`dead::FAULTS`] knows: one line each, a thousand at most.
pub(super) const ROWS: &str = concat!(
    "SELECT 'position ' || position || ': owed to a sink that is missing' FROM owed \
        WHERE sink NOT IN (SELECT number FROM sinks) \
    UNION ALL SELECT 'position ' || position || ': dead for a sink that is missing' FROM dead \
        WHERE sink NOT IN (SELECT number FROM sinks) \
    UNION ALL SELECT 'position ' || position || ': the event is owed to nobody' FROM events WHERE ",
    needless!(),
    " UNION ALL SELECT 'position ' || position || ': the event is no event' FROM events \
        WHERE checksum IS NULL AND iif(json_valid(body), (body ->> '$.id') IS NOT id, true) LIMIT 1000"
);
pub(super) const LEGS: &str = "SELECT rowid, body FROM legs WHERE rowid > ?1 ORDER BY rowid LIMIT 1000";

/// Everything that is wrong, one line each.
pub(super) async fn look(readers: &SqlitePool) -> Result<Vec<String>, StoreError> {
    let mut faults = dead::faults(readers).await?;
    faults.extend(sqlx::query_scalar::<_, String>(ROWS).fetch_all(readers).await?);
    let legs = unreadable_legs(readers).await?;
    faults.extend(legs.iter().map(|row| format!("leg {row}: is not what was written")));
    let rows = journal::damaged(readers).await?;
    faults.extend(rows.iter().map(|row| format!("journal {row}: is not what was written")));
    Ok(faults)
}

/// The rows of the legs that cannot be read any more.
pub(super) async fn unreadable_legs(readers: &SqlitePool) -> Result<Vec<i64>, StoreError> {
    let (mut unreadable, mut after) = (Vec::new(), i64::MIN);
    loop {
        let legs: Vec<(i64, Vec<u8>)> = sqlx::query_as(LEGS).bind(after).fetch_all(readers).await?;
        let Some((last, _)) = legs.last() else { return Ok(unreadable) };
        after = *last;
        let readable = |body: &[u8]| std::str::from_utf8(body).is_ok() && serde_json::from_slice::<Leg>(body).is_ok();
        unreadable.extend(legs.iter().filter(|(_, body)| !readable(body)).map(|(row, _)| *row));
    }
}
