//! How a transaction begins: with a stamp on the first page of the database.
//!
//! The stamp is the number that SQLite calls `user_version`. A new database has any, and each transaction adds one, before
//! it does anything else. So the first page is the first in the journal of every transaction, however large that grows, and
//! `journal.rs` knows by it whose journal it is. Must not know what follows.

use sqlx::{AssertSqlSafe, SqliteConnection};

pub(super) const BEGIN: &str = "BEGIN IMMEDIATE; PRAGMA user_version";

/// Begins a transaction. If it fails, one may have been begun.
pub(super) async fn begin(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let stamp: i32 = sqlx::query_scalar(BEGIN).fetch_one(&mut *connection).await?;
    set(connection, stamp.wrapping_add(1)).await
}

/// Gives a new database its first stamp.
pub(super) async fn begin_anywhere(connection: &mut SqliteConnection, stamp: i32) -> Result<(), sqlx::Error> {
    set(connection, stamp).await
}

/// The statement takes no values from elsewhere.
async fn set(connection: &mut SqliteConnection, stamp: i32) -> Result<(), sqlx::Error> {
    let statement = AssertSqlSafe(format!("PRAGMA user_version = {stamp}"));
    sqlx::raw_sql(statement).execute(connection).await.map(drop)
}
