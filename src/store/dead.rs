//! Dead letters, and what an operator may do about them and about the queue.
//!
//! Must not know who asks, or what an event says.

use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::checksum::{self, Kept, Whole};
use super::error::StoreError;
use super::{DeadLetter, queue, settling};
use crate::domain::name::SinkName;

pub(super) const LIST: &str = "SELECT dead.position, events.id, events.partition, events.received, dead.attempts, \
    dead.died, dead.reason, events.body, events.checksum FROM dead CROSS JOIN events ON events.position = dead.position \
    WHERE dead.sink = (SELECT number FROM sinks WHERE name = ?1) AND dead.position > ?2 \
    ORDER BY dead.position LIMIT ?3";
/// The same from the newest on.
pub(super) const LATEST: &str = "SELECT dead.position, events.id, events.partition, events.received, dead.attempts, \
    dead.died, dead.reason, events.body, events.checksum FROM dead CROSS JOIN events ON events.position = dead.position \
    WHERE dead.sink = (SELECT number FROM sinks WHERE name = ?1) ORDER BY dead.position DESC LIMIT ?2";
pub(super) const REVIVE: &str = "INSERT INTO owed (sink, position, bytes) \
    SELECT dead.sink, dead.position, octet_length(events.body) \
    FROM dead CROSS JOIN events ON events.position = dead.position \
    WHERE dead.sink = (SELECT number FROM sinks WHERE name = ?1) \
    AND dead.position IN (SELECT value FROM json_each(?2)) ON CONFLICT (sink, position) DO NOTHING RETURNING bytes";
pub(super) const REMOVE: &str = "DELETE FROM dead WHERE sink = (SELECT number FROM sinks WHERE name = ?1) \
    AND position IN (SELECT value FROM json_each(?2))";
/// One line for everything that should not be; reads the queue from end to end.
pub(super) const FAULTS: &str = "SELECT 'sink ' || name || ': counts ' || owed || ' owed, there are ' || found FROM \
        (SELECT name, owed, (SELECT count(*) FROM owing WHERE owing.sink = sinks.number) AS found FROM sinks) \
        WHERE owed <> found \
    UNION ALL SELECT 'sink ' || name || ': counts ' || dead || ' dead, there are ' || found FROM \
        (SELECT name, dead, (SELECT count(*) FROM dead WHERE dead.sink = sinks.number) AS found FROM sinks) \
        WHERE dead <> found \
    UNION ALL SELECT 'sink ' || name || ': counts ' || bytes || ' bytes owed, there are ' || found FROM \
        (SELECT name, bytes, (SELECT coalesce(sum(owing.bytes), 0) FROM owing WHERE owing.sink = sinks.number) AS found \
        FROM sinks) WHERE bytes <> found \
    UNION ALL SELECT 'position ' || position || ': owed, but the event is missing' FROM owed \
        WHERE position NOT IN (SELECT position FROM events) \
    UNION ALL SELECT 'position ' || position || ': dead, but the event is missing' FROM dead \
        WHERE position NOT IN (SELECT position FROM events)";

#[derive(FromRow)]
struct Row {
    #[sqlx(flatten)]
    event: Kept,
    attempts: i64,
    died: i64,
    reason: String,
}

impl TryFrom<Row> for DeadLetter {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let event = Whole::from(row.event);
        Ok(Self {
            position: event.position,
            id: event.id,
            partition: event.partition,
            received: event.received,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            died: super::timestamp(row.died)?,
            reason: row.reason,
            body: event.body,
            intact: event.intact,
        })
    }
}

/// The dead letters of `sink` beyond the position `after`, in queue order.
pub(super) async fn list(
    readers: &SqlitePool,
    sink: &SinkName,
    after: i64,
    limit: usize,
) -> Result<Vec<DeadLetter>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<Row> = sqlx::query_as(LIST).bind(sink.as_str()).bind(after).bind(limit).fetch_all(readers).await?;
    rows.into_iter().map(DeadLetter::try_from).collect()
}

/// The newest dead letters of `sink`, the newest first.
pub(super) async fn latest(readers: &SqlitePool, sink: &SinkName, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<Row> = sqlx::query_as(LATEST).bind(sink.as_str()).bind(limit).fetch_all(readers).await?;
    rows.into_iter().map(DeadLetter::try_from).collect()
}

/// Makes dead letters owed again, as if never tried.
pub(super) async fn revive(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    positions: &[i64],
) -> Result<u64, StoreError> {
    let asked = queue::text(&positions)?;
    let query = sqlx::query_scalar(REVIVE).bind(sink.as_str()).bind(&asked);
    let revived: Vec<i64> = query.fetch_all(&mut *connection).await?;
    let events = i64::try_from(revived.len()).unwrap_or(i64::MAX);
    queue::count(connection, sink, (events, revived.iter().sum()), 0).await?;
    remove(connection, sink, &asked).await?;
    Ok(events.unsigned_abs())
}

/// Takes the dead letters at these positions away, and says how many there were.
async fn remove(connection: &mut SqliteConnection, sink: &SinkName, positions: &str) -> Result<i64, StoreError> {
    let removed = sqlx::query(REMOVE).bind(sink.as_str()).bind(positions).execute(&mut *connection).await?;
    let removed = i64::try_from(removed.rows_affected()).unwrap_or(i64::MAX);
    queue::count(connection, sink, (0, 0), -removed).await?;
    Ok(removed)
}

/// Takes events from `sink`, owed or dead, for good.
pub(super) async fn discard(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    positions: &[i64],
) -> Result<u64, StoreError> {
    let removed = remove(connection, sink, &queue::text(&positions)?).await?;
    let released = settling::release(connection, sink, positions).await?;
    Ok((removed + released).unsigned_abs())
}

/// Returns the faults in one row of a check by SQLite, which puts many of them into one, below a heading.
pub(super) fn lines_of(found: &str) -> impl Iterator<Item = String> + '_ {
    let lines =
        found.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "ok" && !line.starts_with("***"));
    lines.map(str::to_owned)
}

/// What is wrong with the file or the queue, one line each.
pub(super) async fn faults(readers: &SqlitePool) -> Result<Vec<String>, StoreError> {
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(readers).await?;
    let mut faults: Vec<String> = found.iter().flat_map(|found| lines_of(found)).collect();
    faults.extend(sqlx::query_scalar::<_, String>(FAULTS).fetch_all(readers).await?);
    let damaged = checksum::damaged(readers).await?;
    faults.extend(damaged.iter().map(|position| format!("position {position}: the event is not what was written")));
    Ok(faults)
}
