//! What is remembered between events: ids for de-duplication, legs and calls.
//!
//! The newest is in memory, the rest in the tables. Must not know the queue or what an event says.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use sqlx::{SqliteConnection, SqlitePool};

use super::coverage;
use super::error::{StoreError, unreadable};
use super::key::Key;
use super::memory::{Memory, Remembered};
use super::{Recall, Recalled};
use crate::domain::identity::Token;
use crate::domain::leg::{Call, Leg};
use crate::domain::limits::LIVE_LEGS;

pub(super) const KNOWN: &str = "SELECT asked.value FROM json_each(?1) AS asked \
    CROSS JOIN known ON known.id = coalesce(unhex(asked.value), CAST(asked.value AS BLOB))";
/// Of each node the oldest [`crate::domain::limits::LIVE_LEGS`].
pub(super) const LEGS: &str = "SELECT body FROM legs WHERE token IN (SELECT value FROM json_each(?1)) \
    UNION SELECT legs.body FROM json_each(?2) AS asked CROSS JOIN legs \
    ON legs.rowid IN (SELECT live.rowid FROM legs AS live WHERE live.service = asked.value ->> 0 \
        AND live.node = asked.value ->> 1 AND live.ended IS NULL ORDER BY live.rowid LIMIT ?3)";
pub(super) const CALLS: &str = "SELECT partition, sequence, answered_by FROM calls \
    WHERE partition IN (SELECT value FROM json_each(?1))";
/// How many keys there are and soon will be: an id goes with a leg and a call at most.
pub(super) const KEYS: &str = "SELECT 4 * coalesce((SELECT max(number) FROM seen) - (SELECT min(number) FROM seen), 0)";
/// Keys beyond `?1`, each list in the order of its index.
pub(super) const IDS_BEYOND: &str = "SELECT id FROM known WHERE id > ?1 ORDER BY id LIMIT 4096";
pub(super) const LEGS_BEYOND: &str = "SELECT token FROM legs WHERE token > ?1 ORDER BY token LIMIT 4096";
pub(super) const CALLS_BEYOND: &str = "SELECT partition FROM calls WHERE partition > ?1 ORDER BY partition LIMIT 4096";
pub(super) const STALE: &str = "SELECT body FROM legs WHERE ended IS NULL AND service = ?1 AND touched < max(?2, ?3) \
    AND touched < iif(body ->> '$.answered' IS NULL, ?2, ?3) ORDER BY touched LIMIT ?4";
pub(super) const LIVE: &str = "SELECT count(*) FROM legs WHERE ended IS NULL AND service = ?1";

/// What of `recall` is known.
pub(super) async fn recall(readers: &SqlitePool, memory: &Memory, recall: &Recall) -> Result<Recalled, StoreError> {
    let Remembered { mut recalled, events, legs: asked, outdated } = memory.recall(recall);
    if !events.is_empty() {
        let found = known(&mut *readers.acquire().await?, &events).await?;
        memory.note_absent(events.into_iter().filter(|id| !found.contains(id)).collect());
        recalled.events.extend(found);
    }
    if !asked.is_empty() || !recall.nodes.is_empty() {
        let query = sqlx::query_scalar(LEGS).bind(json!(asked).to_string()).bind(json!(recall.nodes).to_string());
        let bodies = query.bind(i64::try_from(LIVE_LEGS).unwrap_or(i64::MAX)).fetch_all(readers).await?;
        let found = legs(&bodies)?.into_iter().filter(|leg| !outdated.contains(&leg.token));
        recalled.legs.extend(found.map(Arc::new));
    }
    let partitions = recall.calls.iter().chain(recalled.legs.iter().map(|leg| &leg.partition)).cloned().collect();
    let (calls, others) = memory.calls(partitions);
    recalled.calls = calls;
    if !others.is_empty() {
        let rows: Vec<(String, i64, Option<String>)> =
            sqlx::query_as(CALLS).bind(json!(others).to_string()).fetch_all(readers).await?;
        for row in rows {
            recalled.calls.push(call(row)?);
        }
    }
    if !recall.coverage.is_empty() {
        recalled.coverage = coverage::read(&mut *readers.acquire().await?, &recall.coverage).await?;
    }
    Ok(recalled)
}

/// Those of `ids` that are in the table.
pub(super) async fn known(connection: &mut SqliteConnection, ids: &[Token]) -> Result<HashSet<Token>, StoreError> {
    let found: Vec<String> = sqlx::query_scalar(KNOWN).bind(json!(ids).to_string()).fetch_all(connection).await?;
    Ok(found.into_iter().map(Token::from).collect())
}

/// Tells the memory the keys of all that is in the tables.
pub(super) async fn learn(readers: &SqlitePool, memory: &Memory) -> Result<(), StoreError> {
    let keys: i64 = sqlx::query_scalar(KEYS).fetch_one(readers).await?;
    memory.learn(usize::try_from(keys).unwrap_or_default());
    let mut after: Vec<u8> = Vec::new();
    loop {
        let ids: Vec<Vec<u8>> = sqlx::query_scalar(IDS_BEYOND).bind(&after).fetch_all(readers).await?;
        let Some(last) = ids.last() else { break };
        after.clone_from(last);
        memory.are_there(ids.into_iter().map(Key::from));
    }
    for statement in [LEGS_BEYOND, CALLS_BEYOND] {
        let mut after = String::new();
        loop {
            let tokens: Vec<String> = sqlx::query_scalar(statement).bind(&after).fetch_all(readers).await?;
            let Some(last) = tokens.last() else { break };
            after.clone_from(last);
            memory.are_there(tokens.iter().map(|token| Key::of(token)));
        }
    }
    memory.learned();
    Ok(())
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
