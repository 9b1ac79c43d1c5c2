//! What is remembered between events: ids for de-duplication, legs and calls.
//!
//! Must not know the queue or what an event says.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use super::coverage;
use super::error::{StoreError, unreadable};
use super::queue::text;
use super::rows::{Statements, values};
use super::{Recall, Recalled};
use crate::domain::identity::Token;
use crate::domain::leg::{Call, Leg};

pub(super) const KNOWN: &str = "SELECT asked.value FROM json_each(?1) AS asked \
    CROSS JOIN seen ON seen.id = coalesce(unhex(asked.value), CAST(asked.value AS BLOB))";
pub(super) const LEGS: &str = "SELECT body FROM legs WHERE token IN (SELECT value FROM json_each(?1)) \
    UNION SELECT legs.body FROM json_each(?2) AS asked CROSS JOIN legs \
    ON legs.service = asked.value ->> 0 AND legs.node = asked.value ->> 1 AND legs.ended IS NULL";
pub(super) const CALLS: &str = "SELECT partition, sequence, answered_by FROM calls \
    WHERE partition IN (SELECT value FROM json_each(?1))";
pub(super) const STALE: &str = "SELECT body FROM legs WHERE ended IS NULL AND service = ?1 AND touched < max(?2, ?3) \
    AND touched < iif(body ->> '$.answered' IS NULL, ?2, ?3) ORDER BY touched LIMIT ?4";
pub(super) const LIVE: &str = "SELECT count(*) FROM legs WHERE ended IS NULL AND service = ?1";
/// Writes the newest state of `rows` legs.
pub(super) fn write_legs_of(rows: usize) -> String {
    format!(
        "INSERT INTO legs (token, service, node, partition, touched, ended, body) VALUES {} \
        ON CONFLICT (token) DO UPDATE SET service = excluded.service, node = excluded.node, \
        partition = excluded.partition, touched = excluded.touched, ended = excluded.ended, body = excluded.body",
        values(7, rows)
    )
}

/// Writes the newest state of `rows` calls.
pub(super) fn write_calls_of(rows: usize) -> String {
    format!(
        "INSERT INTO calls (partition, sequence, answered_by, touched) VALUES {} \
        ON CONFLICT (partition) DO UPDATE SET sequence = excluded.sequence, answered_by = excluded.answered_by, \
        touched = max(touched, excluded.touched)",
        values(4, rows)
    )
}

static WRITE_LEGS: Statements = Statements::new(write_legs_of);
static WRITE_CALLS: Statements = Statements::new(write_calls_of);

/// What of `recall` is known.
pub(super) async fn recall(readers: &SqlitePool, recall: &Recall) -> Result<Recalled, StoreError> {
    let mut connection = readers.acquire().await?;
    let mut recalled = Recalled::default();
    if !recall.events.is_empty() {
        let ids: Vec<String> =
            sqlx::query_scalar(KNOWN).bind(json!(recall.events).to_string()).fetch_all(&mut *connection).await?;
        recalled.events = ids.into_iter().map(Token::from).collect();
    }
    if !recall.legs.is_empty() || !recall.nodes.is_empty() {
        let bodies = sqlx::query_scalar(LEGS)
            .bind(json!(recall.legs).to_string())
            .bind(json!(recall.nodes).to_string())
            .fetch_all(&mut *connection)
            .await?;
        recalled.legs = legs(&bodies)?;
    }
    let calls: Vec<&Token> = recall.calls.iter().chain(recalled.legs.iter().map(|leg| &leg.partition)).collect();
    if !calls.is_empty() {
        let rows: Vec<(String, i64, Option<String>)> =
            sqlx::query_as(CALLS).bind(json!(calls).to_string()).fetch_all(&mut *connection).await?;
        recalled.calls = rows.into_iter().map(call).collect::<Result<_, _>>()?;
    }
    if !recall.coverage.is_empty() {
        recalled.coverage = coverage::read(&mut connection, &recall.coverage).await?;
    }
    Ok(recalled)
}

/// Live legs untouched since `ringing`, or since `answered` where they were answered, the oldest first.
pub(super) async fn stale(
    readers: &SqlitePool,
    service: &str,
    ringing: Timestamp,
    answered: Timestamp,
    limit: i64,
) -> Result<Vec<Leg>, StoreError> {
    let query = sqlx::query_scalar(STALE).bind(service).bind(ringing.as_microsecond()).bind(answered.as_microsecond());
    legs(&query.bind(limit).fetch_all(readers).await?)
}

/// How many legs are live.
pub(super) async fn live(readers: &SqlitePool, service: &str) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar(LIVE).bind(service).fetch_one(readers).await?;
    u64::try_from(count).map_err(|error| unreadable("count of legs", &error))
}

fn legs(bodies: &[String]) -> Result<Vec<Leg>, StoreError> {
    bodies.iter().map(|body| serde_json::from_str(body).map_err(|error| unreadable("leg", &error))).collect()
}

fn call((partition, sequence, answered_by): (String, i64, Option<String>)) -> Result<Call, StoreError> {
    Ok(Call {
        partition: partition.into(),
        sequence: u64::try_from(sequence).map_err(|error| unreadable("call", &error))?,
        answered_by: answered_by.map(Token::from),
    })
}

/// Writes the newest state of `legs`.
pub(super) async fn write_legs(connection: &mut SqliteConnection, legs: &[Leg]) -> Result<(), StoreError> {
    for (statement, piece) in WRITE_LEGS.pieces(legs) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for leg in piece {
            let (touched, ended) = (leg.touched.as_microsecond(), leg.ended.map(Timestamp::as_microsecond));
            query = query.bind(leg.token.as_str()).bind(&leg.service).bind(leg.node.as_str());
            query = query.bind(leg.partition.as_str()).bind(touched).bind(ended).bind(text(leg)?);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Writes `calls`, touched at `touched`.
pub(super) async fn write_calls(
    connection: &mut SqliteConnection,
    calls: &[Call],
    touched: Timestamp,
) -> Result<(), StoreError> {
    for (statement, piece) in WRITE_CALLS.pieces(calls) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for call in piece {
            let sequence =
                i64::try_from(call.sequence).map_err(|error| StoreError::Refused(error.to_string().into()))?;
            let answered_by = call.answered_by.as_ref().map(Token::as_str);
            query = query.bind(call.partition.as_str()).bind(sequence).bind(answered_by).bind(touched.as_microsecond());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
