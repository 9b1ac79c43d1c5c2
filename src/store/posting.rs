//! From the journal into the tables: how legs and calls ended up, and which ids are known.
//!
//! `OR ROLLBACK`, here as elsewhere where many rows are written: else the database keeps a copy of every page it changes, so
//! that one statement could be undone alone. Must not know what waits to be posted, or when that is done.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::error::StoreError;
use super::key::Key;
use super::memory::{Numbered, Touched};
use super::queue::text;
use super::rows::{Statements, values};
use crate::domain::identity::Token;
use crate::domain::leg::Leg;

/// Writes the newest state of `rows` legs.
pub(super) fn write_legs_of(rows: usize) -> String {
    format!(
        "INSERT OR ROLLBACK INTO legs (token, service, node, partition, touched, ended, body) VALUES {} \
        ON CONFLICT (token) DO UPDATE SET service = excluded.service, node = excluded.node, \
        partition = excluded.partition, touched = excluded.touched, ended = excluded.ended, body = excluded.body",
        values(7, rows)
    )
}

/// Writes the newest state of `rows` calls.
pub(super) fn write_calls_of(rows: usize) -> String {
    format!(
        "INSERT OR ROLLBACK INTO calls (partition, sequence, answered_by, touched) VALUES {} \
        ON CONFLICT (partition) DO UPDATE SET sequence = excluded.sequence, answered_by = excluded.answered_by, \
        touched = max(touched, excluded.touched)",
        values(4, rows)
    )
}

static WRITE_LEGS: Statements = Statements::new(write_legs_of);
static WRITE_CALLS: Statements = Statements::new(write_calls_of);

/// Remembers `rows` ids.
pub(super) fn see(rows: usize) -> String {
    format!("INSERT OR ROLLBACK INTO seen (number, id, at) VALUES {}", values(3, rows))
}

static SEE: Statements = Statements::new(see);

/// In the order of the index: neighbours share its pages.
pub(super) const KNOW: &str = "INSERT OR ROLLBACK INTO known (id) SELECT id FROM seen WHERE number >= ?1 AND number <= ?2 \
    ORDER BY id ON CONFLICT (id) DO NOTHING";

/// Writes the newest state of `legs`.
pub(super) async fn legs(connection: &mut SqliteConnection, legs: &[Arc<Leg>]) -> Result<(), StoreError> {
    for (statement, piece) in WRITE_LEGS.pieces(legs) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for leg in piece {
            let (touched, ended) = (leg.touched.as_microsecond(), leg.ended.map(Timestamp::as_microsecond));
            query = query.bind(leg.token.as_str()).bind(&leg.service).bind(leg.node.as_str());
            query = query.bind(leg.partition.as_str()).bind(touched).bind(ended).bind(text(&**leg)?);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Writes the newest state of `calls`.
pub(super) async fn calls(connection: &mut SqliteConnection, calls: &[Touched]) -> Result<(), StoreError> {
    for (statement, piece) in WRITE_CALLS.pieces(calls) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for (call, touched) in piece {
            let sequence =
                i64::try_from(call.sequence).map_err(|error| StoreError::Refused(error.to_string().into()))?;
            let answered_by = call.answered_by.as_ref().map(Token::as_str);
            query = query.bind(call.partition.as_str()).bind(sequence).bind(answered_by).bind(touched);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Makes `ids` known; their numbers are in order.
pub(super) async fn ids(connection: &mut SqliteConnection, ids: &[Numbered]) -> Result<(), StoreError> {
    let (Some((first, ..)), Some((last, ..))) = (ids.first(), ids.last()) else { return Ok(()) };
    for (statement, piece) in SEE.pieces(ids) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for (number, id, at) in piece {
            query = query.bind(number).bind(Key::from(id).bytes().to_vec()).bind(at);
        }
        query.execute(&mut *connection).await?;
    }
    sqlx::query(KNOW).bind(first).bind(last).execute(connection).await?;
    Ok(())
}
