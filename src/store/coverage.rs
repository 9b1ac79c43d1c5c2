//! Until when each account's events could reach us, so that a restart knows what it missed.
//!
//! Must not know why an account is covered or not.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{SqliteConnection, SqlitePool};

use super::Coverage;
use super::error::{StoreError, unreadable};
use super::queue::text;
use crate::domain::name::AccountName;

pub(super) const OF: &str =
    "SELECT account, open, until, reason FROM coverage WHERE account IN (SELECT value FROM json_each(?1))";
pub(super) const WRITE: &str = "INSERT INTO coverage (account, open, until, reason) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1) WHERE true \
    ON CONFLICT (account) DO UPDATE SET open = excluded.open, until = excluded.until, reason = excluded.reason";
pub(super) const ALL: &str = "SELECT account, open, until, reason FROM coverage";
pub(super) const CLOSE: &str = "UPDATE coverage SET open = 0, reason = 'restart' WHERE open = 1";
pub(super) const EXTEND: &str = "UPDATE coverage SET until = value ->> 1 FROM json_each(?1) \
    WHERE account = value ->> 0 AND open = 1 AND (until < value ->> 1 OR until > ?2)";

type Row = (String, bool, i64, Option<String>);

/// Returns what is known of `accounts`.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    accounts: &[AccountName],
) -> Result<Vec<Coverage>, StoreError> {
    read_rows(sqlx::query_as(OF).bind(text(&accounts)?).fetch_all(connection).await?)
}

/// Returns what is known of every account that ever was covered.
pub(super) async fn all(readers: &SqlitePool) -> Result<Vec<Coverage>, StoreError> {
    read_rows(sqlx::query_as(ALL).fetch_all(readers).await?)
}

fn read_rows(rows: Vec<Row>) -> Result<Vec<Coverage>, StoreError> {
    rows.into_iter()
        .map(|(account, open, until, reason)| {
            Ok(Coverage {
                account: account.parse().map_err(|error| unreadable("coverage account", &error))?,
                open,
                until: super::timestamp(until)?,
                reason,
            })
        })
        .collect()
}

/// Writes the newest state of some accounts.
pub(super) async fn write(connection: &mut SqliteConnection, coverage: &[Coverage]) -> Result<(), StoreError> {
    if coverage.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = coverage
        .iter()
        .map(|row| json!([row.account, i64::from(row.open), row.until.as_microsecond(), row.reason]))
        .collect();
    sqlx::query(WRITE).bind(json!(rows).to_string()).execute(connection).await?;
    Ok(())
}

/// Ends all that the router before this one left open: nothing of it is covered by this one, until it says so.
pub(super) async fn close(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(CLOSE).execute(connection).await?;
    Ok(())
}

/// Moves on the end of what is open. One that lies after `now` is of before the clock was set back.
pub(super) async fn extend(
    connection: &mut SqliteConnection,
    delivered: &[(AccountName, Timestamp)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<_> = delivered.iter().map(|(account, until)| json!([account, until.as_microsecond()])).collect();
    sqlx::query(EXTEND).bind(json!(rows).to_string()).bind(now.as_microsecond()).execute(connection).await?;
    Ok(())
}
