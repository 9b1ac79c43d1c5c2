//! From the journal into the tables: how legs and calls ended up, and which ids are known.
//!
//! Must not know what waits to be posted, or when that is done.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::error::StoreError;
use super::memory::Touched;
use super::queue::text;
use super::rows::{Statements, values};
use crate::domain::identity::Token;
use crate::domain::leg::Leg;

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

/// In the order of the index: neighbours share its pages.
pub(super) const IDS: &str = "INSERT INTO known (id) SELECT id FROM seen \
    WHERE number > (SELECT number FROM known_upto) AND number <= ?1 ORDER BY id ON CONFLICT (id) DO NOTHING";
pub(super) const UPTO: &str = "UPDATE known_upto SET number = ?1";

/// Writes the newest state of `legs`.
pub(super) async fn legs(connection: &mut SqliteConnection, legs: &[Leg]) -> Result<(), StoreError> {
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

/// Makes the ids up to the number `upto` known.
pub(super) async fn ids(connection: &mut SqliteConnection, upto: i64) -> Result<(), StoreError> {
    sqlx::query(IDS).bind(upto).execute(&mut *connection).await?;
    sqlx::query(UPTO).bind(upto).execute(connection).await?;
    Ok(())
}
