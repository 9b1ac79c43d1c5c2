//! The delivery queue: which event is owed to which sink, and what became of it.
//!
//! Must not know what an event says, or when the next try is due.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, FromRow, SqliteConnection, SqlitePool};

use super::checksum::{self, Kept, Parts, Whole};
use super::error::{StoreError, unreadable};
use super::{CommitEvent, Depth, Owed, Settlement};
use crate::domain::moment::Moment;
use crate::domain::name::SinkName;

/// Rows of one statement; what is left over goes in smaller ones. A few sizes only, so that each is prepared once.
const ROWS: [usize; 3] = [64, 8, 1];

/// Remembers `rows` ids; says which of them are new, with their numbers.
pub(super) fn see(rows: usize) -> String {
    let values = vec!["(?, ?)"; rows].join(", ");
    format!("INSERT INTO seen (id, at) VALUES {values} ON CONFLICT (id) DO NOTHING RETURNING number, id")
}

/// Keeps `rows` events.
pub(super) fn keep(rows: usize) -> String {
    let values = vec!["(?, ?, ?, ?, ?, ?)"; rows].join(", ");
    format!("INSERT INTO events (position, id, partition, received, body, checksum) VALUES {values}")
}

static SEE: LazyLock<[String; 3]> = LazyLock::new(|| ROWS.map(see));
static KEEP: LazyLock<[String; 3]> = LazyLock::new(|| ROWS.map(keep));

/// Cuts `all` into pieces of the sizes of [`ROWS`], and says which of them each is.
fn pieces<T>(mut all: &[T]) -> impl Iterator<Item = (usize, &[T])> {
    std::iter::from_fn(move || {
        let size = ROWS.iter().position(|rows| *rows <= all.len())?;
        let (piece, rest) = all.split_at(ROWS[size]);
        all = rest;
        Some((size, piece))
    })
}
pub(super) const NAME: &str =
    "INSERT INTO sinks (name) SELECT key FROM json_each(?1) WHERE true ON CONFLICT (name) DO NOTHING";
pub(super) const OWE: &str = "INSERT INTO owed (sink, position, bytes) \
    SELECT sinks.number, position.value, octet_length(events.body) \
    FROM json_each(?1) AS debtor CROSS JOIN sinks ON sinks.name = debtor.key \
    CROSS JOIN json_each(debtor.value) AS position CROSS JOIN events ON events.position = position.value";
pub(super) const OWE_MORE: &str = "UPDATE sinks SET owed = owed + (more.value ->> 0), bytes = bytes + (more.value ->> 1) \
    FROM json_each(?1) AS more WHERE sinks.name = more.key";

pub(super) const DUE: &str = "SELECT owed.position, events.id, events.partition, events.received, owed.attempts, \
    owed.failing_since, events.body, events.checksum FROM owed CROSS JOIN events ON events.position = owed.position \
    WHERE owed.sink = (SELECT number FROM sinks WHERE name = ?1) AND owed.position > ?2 \
    ORDER BY owed.position LIMIT ?3";
pub(super) const DEPTH: &str = "SELECT sinks.owed, sinks.bytes, sinks.dead, (SELECT events.received \
    FROM owed CROSS JOIN events ON events.position = owed.position \
    WHERE owed.sink = sinks.number ORDER BY owed.position LIMIT 1) FROM sinks WHERE name = ?1";
pub(super) const SINKS: &str = "SELECT name FROM sinks WHERE owed > 0 ORDER BY name";

pub(super) const RETRIED: &str = "UPDATE owed SET attempts = attempts + 1, failing_since = coalesce(failing_since, ?3) \
    WHERE sink = (SELECT number FROM sinks WHERE name = ?1) AND position IN (SELECT value FROM json_each(?2))";
pub(super) const DEAD: &str = "INSERT INTO dead (sink, position, attempts, died, reason) \
    SELECT owed.sink, owed.position, owed.attempts + 1, ?3, given_up.value ->> 1 \
    FROM json_each(?2) AS given_up CROSS JOIN owed ON owed.position = given_up.value ->> 0 \
    AND owed.sink = (SELECT number FROM sinks WHERE name = ?1) WHERE true ON CONFLICT (sink, position) DO NOTHING";
pub(super) const OWES: &str = "SELECT count(*), coalesce(sum(bytes), 0) FROM owed \
    WHERE sink = (SELECT number FROM sinks WHERE name = ?1) AND position IN (SELECT value FROM json_each(?2))";
pub(super) const DONE: &str = "DELETE FROM owed WHERE sink = (SELECT number FROM sinks WHERE name = ?1) \
    AND position IN (SELECT value FROM json_each(?2))";
pub(super) const COUNT: &str =
    "UPDATE sinks SET owed = owed + ?2, bytes = bytes + ?3, dead = dead + ?4 WHERE name = ?1";
/// An event nobody is owed any more goes at once; the few sinks are asked one by one.
pub(super) const DROP: &str = "DELETE FROM events WHERE position IN (SELECT value FROM json_each(?1)) \
    AND NOT EXISTS (SELECT 1 FROM sinks CROSS JOIN owed ON owed.sink = sinks.number AND owed.position = events.position) \
    AND NOT EXISTS (SELECT 1 FROM sinks CROSS JOIN dead ON dead.sink = sinks.number AND dead.position = events.position)";

/// Writes the events not seen before, and what is owed of them. Says which those are.
pub(super) async fn write(connection: &mut SqliteConnection, events: &[CommitEvent]) -> Result<Vec<bool>, StoreError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let mut fresh: HashMap<String, i64> = HashMap::with_capacity(events.len());
    for (size, piece) in pieces(events) {
        let mut query = sqlx::query_as::<_, (i64, String)>(AssertSqlSafe(SEE[size].as_str()));
        for event in piece {
            query = query.bind(event.id.as_str()).bind(event.received.as_microsecond());
        }
        let rows = query.fetch_all(&mut *connection).await?;
        fresh.extend(rows.into_iter().map(|(position, id)| (id, position)));
    }

    let mut written = Vec::with_capacity(events.len());
    let mut kept = Vec::new();
    let mut owed: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let mut more: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for event in events {
        let position = fresh.remove(event.id.as_str());
        written.push(position.is_some());
        if let Some(position) = position.filter(|_| !event.owed.is_empty()) {
            kept.push((position, event));
            for sink in &event.owed {
                let positions = owed.entry(sink.as_str()).or_default();
                if positions.last() != Some(&position) {
                    positions.push(position);
                    let (count, bytes) = more.entry(sink.as_str()).or_default();
                    (*count, *bytes) = (*count + 1, *bytes + event.body.len());
                }
            }
        }
    }
    if !kept.is_empty() {
        for (size, piece) in pieces(&kept) {
            let mut query = sqlx::query(AssertSqlSafe(KEEP[size].as_str()));
            for (position, event) in piece {
                let received = event.received.as_microsecond();
                query = query.bind(position).bind(event.id.as_str()).bind(event.partition.as_str());
                let checksum = checksum::of(&Parts {
                    position: *position,
                    id: event.id.as_str().as_bytes(),
                    partition: event.partition.as_bytes(),
                    received,
                    body: event.body.as_bytes(),
                });
                query = query.bind(received).bind(&*event.body).bind(checksum);
            }
            query.execute(&mut *connection).await?;
        }
        let more = text(&more)?;
        sqlx::query(NAME).bind(&more).execute(&mut *connection).await?;
        sqlx::query(OWE).bind(text(&owed)?).execute(&mut *connection).await?;
        sqlx::query(OWE_MORE).bind(&more).execute(&mut *connection).await?;
    }
    Ok(written)
}

/// Remembers how deliveries to `sink` ended.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    settlements: &[(i64, Settlement)],
) -> Result<(), StoreError> {
    let (mut done, mut retried, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    for (position, settlement) in settlements {
        match settlement {
            Settlement::Delivered => done.push(*position),
            Settlement::Retried => retried.push(*position),
            Settlement::Dead { reason } => {
                dead.push((*position, reason));
                done.push(*position);
            }
        }
    }
    let now = Moment::now().utc().as_microsecond();
    let name = sink.as_str();
    if !retried.is_empty() {
        sqlx::query(RETRIED).bind(name).bind(text(&retried)?).bind(now).execute(&mut *connection).await?;
    }
    if !dead.is_empty() {
        let dead = sqlx::query(DEAD).bind(name).bind(text(&dead)?).bind(now).execute(&mut *connection).await?;
        let dead = i64::try_from(dead.rows_affected()).unwrap_or(i64::MAX);
        count(connection, sink, (0, 0), dead).await?;
    }
    release(connection, sink, &done).await.map(drop)
}

/// Takes `positions` from what is owed to `sink`, and drops the events nobody needs any more. Says how many were owed.
pub(super) async fn release(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    positions: &[i64],
) -> Result<i64, StoreError> {
    if positions.is_empty() {
        return Ok(0);
    }
    let (name, positions) = (sink.as_str(), text(&positions)?);
    let (events, bytes): (i64, i64) =
        sqlx::query_as(OWES).bind(name).bind(&positions).fetch_one(&mut *connection).await?;
    sqlx::query(DONE).bind(name).bind(&positions).execute(&mut *connection).await?;
    count(connection, sink, (-events, -bytes), 0).await?;
    sqlx::query(DROP).bind(&positions).execute(&mut *connection).await?;
    Ok(events)
}

/// Keeps the counters of `sink`: so many events and bytes more are owed, so many more are dead.
pub(super) async fn count(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    (events, bytes): (i64, i64),
    dead: i64,
) -> Result<(), StoreError> {
    let change = sqlx::query(COUNT).bind(sink.as_str()).bind(events).bind(bytes).bind(dead);
    change.execute(&mut *connection).await?;
    Ok(())
}

/// One owed event as it is read.
#[derive(FromRow)]
pub(super) struct Row {
    #[sqlx(flatten)]
    event: Kept,
    attempts: i64,
    failing_since: Option<i64>,
}

impl From<Row> for Owed {
    fn from(row: Row) -> Self {
        let event = Whole::from(row.event);
        Self {
            position: event.position,
            id: event.id,
            partition: event.partition,
            received: event.received,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            failing_since: row.failing_since.and_then(|since| Timestamp::from_microsecond(since).ok()),
            body: event.body,
            intact: event.intact,
        }
    }
}

/// What is owed to `sink` beyond the position `after`, in queue order.
pub(super) async fn due(
    readers: &SqlitePool,
    sink: &SinkName,
    after: i64,
    limit: usize,
) -> Result<Vec<Owed>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<Row> = sqlx::query_as(DUE).bind(sink.as_str()).bind(after).bind(limit).fetch_all(readers).await?;
    Ok(rows.into_iter().map(Owed::from).collect())
}

/// How much is owed to `sink`: two look-ups, whatever the depth.
pub(super) async fn depth(readers: &SqlitePool, sink: &SinkName) -> Result<Depth, StoreError> {
    let row: Option<(i64, i64, i64, Option<i64>)> =
        sqlx::query_as(DEPTH).bind(sink.as_str()).fetch_optional(readers).await?;
    let Some((events, bytes, dead, oldest)) = row else { return Ok(Depth::default()) };
    let count = |number| u64::try_from(number).map_err(|error| unreadable("depth", &error));
    let oldest = oldest.map(super::timestamp).transpose()?;
    Ok(Depth { events: count(events)?, bytes: count(bytes)?, oldest, dead: count(dead)? })
}

/// The sinks that are owed anything.
pub(super) async fn sinks(readers: &SqlitePool) -> Result<Vec<SinkName>, StoreError> {
    let names: Vec<String> = sqlx::query_scalar(SINKS).fetch_all(readers).await?;
    names.iter().map(|name| name.parse().map_err(|error| unreadable("sink", &error))).collect()
}

/// A bound value for `json_each`.
pub(super) fn text(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Refused(error.to_string().into()))
}
