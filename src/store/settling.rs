//! What becomes of owed events: delivered, to be tried again, or given up.
//!
//! What was taken in its turn is settled by moving the sink's number on; anything else has its bit cleared, and a row
//! where it stays owed. Must not know why a delivery ended as it did.

use sqlx::{FromRow, SqliteConnection};

use super::Settlement;
use super::error::StoreError;
use super::queue::{by_bit, text};
use crate::domain::limits::REASON_BYTES;
use crate::domain::name::SinkName;

/// Of a row of `events`: nobody is owed it, and nobody was given up for. The few sinks are asked one by one.
macro_rules! needless {
    () => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM sinks WHERE ",
            by_bit!("events"),
            ") AND NOT EXISTS (SELECT 1 FROM sinks CROSS JOIN owed \
            ON owed.sink = sinks.number AND owed.position = events.position) \
        AND NOT EXISTS (SELECT 1 FROM sinks CROSS JOIN dead \
            ON dead.sink = sinks.number AND dead.position = events.position)"
        )
    };
}
pub(super) use needless;

pub(super) const SINK: &str = "SELECT number, done, newest, iif(number < 63, 1 << number, 0) AS bit, \
    EXISTS (SELECT 1 FROM owed WHERE sink = number) AS has_rows FROM sinks WHERE name = ?1";

/// What is owed by a bit up to the position `?2`, and how many bytes.
pub(super) const RUN: &str = "SELECT coalesce(group_concat(position, ','), ''), coalesce(sum(octet_length(body)), 0) \
    FROM events WHERE position > ?1 AND position <= ?2 AND debtors & ?3";
pub(super) const DROP_RUN: &str =
    concat!("DELETE FROM events WHERE position > ?1 AND position <= ?2 AND ", needless!());

/// What is owed of the positions `?5`: how many, and how many bytes.
pub(super) const OWES: &str = "SELECT count(*), coalesce(sum(bytes), 0) FROM \
    (SELECT bytes FROM owed WHERE sink = ?1 AND position IN (SELECT value FROM json_each(?5)) \
    UNION ALL SELECT octet_length(body) FROM events WHERE position IN (SELECT value FROM json_each(?5)) \
    AND position > ?2 AND position <= ?3 AND debtors & ?4)";
/// The oldest event owed by a bit that is not among the positions `?5`.
pub(super) const LEFT: &str = "SELECT position FROM events WHERE position > ?2 AND position <= ?3 \
    AND debtors & ?4 AND position NOT IN (SELECT value FROM json_each(?5)) ORDER BY position LIMIT 1";
pub(super) const CLEAR: &str = "UPDATE events SET debtors = debtors & ~?4 \
    WHERE position IN (SELECT value FROM json_each(?5)) AND position > ?2 AND position <= ?3 AND debtors & ?4";
pub(super) const REMOVE: &str = "DELETE FROM owed WHERE sink = ?1 AND position IN (SELECT value FROM json_each(?2))";
pub(super) const SETTLE: &str =
    "UPDATE sinks SET done = ?2, owed = owed - ?3, bytes = bytes - ?4, dead = dead + ?5 WHERE number = ?1";

/// For those that have a row already.
pub(super) const AGAIN: &str = "UPDATE owed SET attempts = attempts + 1, failing_since = coalesce(failing_since, ?3) \
    WHERE sink = ?1 AND position IN (SELECT value FROM json_each(?2))";
/// For those that were owed by a bit, which is cleared after that.
pub(super) const FIRST: &str = "INSERT INTO owed (sink, position, attempts, failing_since, bytes) \
    SELECT ?1, position, 1, ?6, octet_length(body) FROM events \
    WHERE position IN (SELECT value FROM json_each(?5)) AND position > ?2 AND position <= ?3 AND debtors & ?4";
pub(super) const DEAD: &str = "INSERT INTO dead (sink, position, attempts, died, reason) \
    SELECT ?1, events.position, coalesce(owed.attempts, 0) + 1, ?6, given_up.value ->> 1 \
    FROM json_each(?5) AS given_up CROSS JOIN events ON events.position = given_up.value ->> 0 \
    LEFT JOIN owed ON owed.sink = ?1 AND owed.position = events.position \
    WHERE owed.position IS NOT NULL OR (events.position > ?2 AND events.position <= ?3 AND events.debtors & ?4) \
    ON CONFLICT (sink, position) DO NOTHING";
/// An event that nobody needs any more goes at once.
pub(super) const DROP: &str =
    concat!("DELETE FROM events WHERE position IN (SELECT value FROM json_each(?1)) AND ", needless!());

/// A sink: it is owed the events with its `bit` after `done` and up to `newest`.
#[derive(Clone, Copy, FromRow)]
struct Debtor {
    number: i64,
    done: i64,
    newest: i64,
    bit: i64,
    /// Whether it is owed anything by a row.
    has_rows: bool,
}

impl Debtor {
    async fn of(connection: &mut SqliteConnection, sink: &SinkName) -> Result<Option<Self>, StoreError> {
        Ok(sqlx::query_as(SINK).bind(sink.as_str()).fetch_optional(connection).await?)
    }
}

/// Binds sink, `done`, `newest`, bit and positions, as most statements here want them.
macro_rules! of {
    ($query:expr, $sink:expr, $positions:expr) => {
        $query.bind($sink.number).bind($sink.done).bind($sink.newest).bind($sink.bit).bind($positions)
    };
}

/// Remembers how deliveries to `sink` ended, at `now` in the time of the store.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    settlements: &[(i64, Settlement)],
    now: i64,
) -> Result<(), StoreError> {
    let Some(sink) = Debtor::of(connection, sink).await? else { return Ok(()) };
    let (mut done, mut retried, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    for (position, settlement) in settlements {
        match settlement {
            Settlement::Delivered => done.push(*position),
            Settlement::Retried => retried.push(*position),
            Settlement::Dead { reason } => {
                dead.push((*position, &reason[..reason.floor_char_boundary(REASON_BYTES)]));
                done.push(*position);
            }
        }
    }
    if !retried.is_empty() {
        let positions = text(&retried)?;
        let again = sqlx::query(AGAIN).bind(sink.number).bind(&positions).bind(now);
        again.execute(&mut *connection).await?;
        of!(sqlx::query(FIRST), sink, &positions).bind(now).execute(&mut *connection).await?;
        of!(sqlx::query(CLEAR), sink, &positions).execute(&mut *connection).await?;
    }
    let mut buried = 0;
    if !dead.is_empty() {
        let dead = of!(sqlx::query(DEAD), sink, text(&dead)?).bind(now).execute(&mut *connection).await?;
        buried = i64::try_from(dead.rows_affected()).unwrap_or(i64::MAX);
    }
    take(connection, sink, &done, buried).await.map(drop)
}

/// Takes `positions` from what is owed to `sink`, and drops the events nobody needs any more. Says how many were owed.
pub(super) async fn release(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    positions: &[i64],
) -> Result<i64, StoreError> {
    match Debtor::of(connection, sink).await? {
        Some(sink) => take(connection, sink, positions, 0).await,
        None => Ok(0),
    }
}

async fn take(
    connection: &mut SqliteConnection,
    sink: Debtor,
    positions: &[i64],
    buried: i64,
) -> Result<i64, StoreError> {
    let mut positions = positions.to_vec();
    positions.sort_unstable();
    positions.dedup();
    let Some(last) = positions.last().copied() else { return Ok(0) };
    if let Some(bytes) = run(connection, sink, &positions, last).await? {
        let events = i64::try_from(positions.len()).unwrap_or(i64::MAX);
        let settle = sqlx::query(SETTLE).bind(sink.number).bind(last).bind(events).bind(bytes).bind(buried);
        settle.execute(&mut *connection).await?;
        sqlx::query(DROP_RUN).bind(sink.done).bind(last).execute(connection).await?;
        return Ok(events);
    }
    let positions = text(&positions)?;
    let (events, bytes): (i64, i64) = of!(sqlx::query_as(OWES), sink, &positions).fetch_one(&mut *connection).await?;
    let mut done = sink.done;
    if last > sink.done && sink.done < sink.newest {
        let left: Option<i64> =
            of!(sqlx::query_scalar(LEFT), sink, &positions).fetch_optional(&mut *connection).await?;
        done = left.map_or(sink.newest, |left| left - 1);
        if last > done {
            let beyond = Debtor { done, ..sink };
            of!(sqlx::query(CLEAR), beyond, &positions).execute(&mut *connection).await?;
        }
    }
    sqlx::query(REMOVE).bind(sink.number).bind(&positions).execute(&mut *connection).await?;
    let settle = sqlx::query(SETTLE).bind(sink.number).bind(done).bind(events).bind(bytes).bind(buried);
    settle.execute(&mut *connection).await?;
    sqlx::query(DROP).bind(&positions).execute(&mut *connection).await?;
    Ok(events)
}

/// The usual case: `positions` are exactly what comes next. Says how many bytes they are.
async fn run(
    connection: &mut SqliteConnection,
    sink: Debtor,
    positions: &[i64],
    last: i64,
) -> Result<Option<i64>, StoreError> {
    if sink.has_rows || last > sink.newest || positions.first().is_none_or(|first| *first <= sink.done) {
        return Ok(None);
    }
    let query = sqlx::query_as(RUN).bind(sink.done).bind(last).bind(sink.bit);
    let (next, bytes): (String, i64) = query.fetch_one(connection).await?;
    let same = next.split(',').map(str::parse).eq(positions.iter().map(|position| Ok(*position)));
    Ok(same.then_some(bytes))
}
