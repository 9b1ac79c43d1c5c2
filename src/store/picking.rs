//! Which of the owed events a step takes: part of the queue, some calls left out, or those of certain calls only.
//!
//! Every statement walks the queue of one sink in order and looks the rest up by key. Must not know why a call is left
//! out, or when its time comes.

use std::sync::Arc;

use sqlx::SqlitePool;

use super::error::StoreError;
use super::queue::{Row, text};
use super::{Owed, Pick};
use crate::domain::name::SinkName;

macro_rules! owed {
    ($rest:literal) => {
        concat!(
            "SELECT owed.position, events.id, events.partition, events.received, owed.attempts, owed.failing_since, \
             events.body, events.checksum ",
            $rest
        )
    };
}

pub(super) const STRETCH: &str = owed!(
    "FROM owed CROSS JOIN events ON events.position = owed.position \
    WHERE owed.sink = (SELECT number FROM sinks WHERE name = ?1) AND owed.position > ?2 AND owed.position <= ?3 \
    AND events.partition NOT IN (SELECT value FROM json_each(?4)) ORDER BY owed.position LIMIT ?5"
);
/// The same, but only what has no owed event of its call before it and below the position `?6`.
pub(super) const FIRST: &str = owed!(
    "FROM owed CROSS JOIN events ON events.position = owed.position \
    WHERE owed.sink = (SELECT number FROM sinks WHERE name = ?1) AND owed.position > ?2 AND owed.position <= ?3 \
    AND events.partition NOT IN (SELECT value FROM json_each(?4)) \
    AND NOT EXISTS (SELECT 1 FROM events AS earlier \
        CROSS JOIN owed AS waiting ON waiting.sink = owed.sink AND waiting.position = earlier.position \
        WHERE earlier.partition = events.partition AND earlier.position < min(owed.position, ?6)) \
    ORDER BY owed.position LIMIT ?5"
);
pub(super) const OF_CALLS: &str = owed!(
    "FROM json_each(?2) AS asked CROSS JOIN events ON events.partition = asked.value \
    CROSS JOIN owed ON owed.position = events.position AND owed.sink = (SELECT number FROM sinks WHERE name = ?1) \
    ORDER BY owed.position LIMIT ?3"
);
pub(super) const NEWEST: &str =
    "SELECT max(position) FROM owed WHERE sink = (SELECT number FROM sinks WHERE name = ?1)";

/// What `pick` asks for, in queue order.
pub(super) async fn pick(readers: &SqlitePool, sink: &SinkName, pick: &Pick) -> Result<Vec<Owed>, StoreError> {
    let limit = i64::try_from(pick.limit).unwrap_or(i64::MAX);
    let query = sqlx::query_as(if pick.first_below.is_some() { FIRST } else { STRETCH })
        .bind(sink.as_str())
        .bind(pick.after)
        .bind(pick.until)
        .bind(text(&pick.without)?)
        .bind(limit);
    let query = match pick.first_below {
        Some(bound) => query.bind(bound),
        None => query,
    };
    let rows: Vec<Row> = query.fetch_all(readers).await?;
    Ok(rows.into_iter().map(Owed::from).collect())
}

/// What is owed of `calls`, in queue order.
pub(super) async fn of_calls(
    readers: &SqlitePool,
    sink: &SinkName,
    calls: &[Arc<str>],
    limit: usize,
) -> Result<Vec<Owed>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query_as(OF_CALLS).bind(sink.as_str()).bind(text(&calls)?).bind(limit);
    let rows: Vec<Row> = query.fetch_all(readers).await?;
    Ok(rows.into_iter().map(Owed::from).collect())
}

/// The newest position owed to `sink`.
pub(super) async fn newest(readers: &SqlitePool, sink: &SinkName) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar(NEWEST).bind(sink.as_str()).fetch_one(readers).await?)
}
