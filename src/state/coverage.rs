//! Until when each account's events could arrive, so that a restart knows what it missed.
//!
//! What changes with an event, that an account is covered or not, is part of the checkpoint. That it still is, is written
//! down by itself every few seconds: the heartbeat. Must not know why an account is covered or not.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::error::StateError;
use super::rows::{Statements, values};
use super::sqlite::Sqlite;
use super::timestamp;
use crate::domain::name::AccountName;

pub(super) const ALL: &str = "SELECT account, open, until, reason FROM coverage";
pub(super) const ALL_HEARD: &str = "SELECT account, until FROM heard";
/// An end that lies ahead is of before the clock was set back.
pub(super) const SET_BACK: &str = "UPDATE coverage SET until = ?1 WHERE open = 1 AND until > ?1";

pub(super) static WRITE: Statements = Statements::new(|rows| {
    format!(
        "INSERT INTO coverage (account, open, until, reason) VALUES {} \
        ON CONFLICT (account) DO UPDATE SET open = excluded.open, until = excluded.until, reason = excluded.reason \
        WHERE (open, until, reason) IS NOT (excluded.open, excluded.until, excluded.reason)",
        values(4, rows)
    )
});
/// The first value is the time now: what lies ahead of it is of before the clock was set back.
pub(super) static HEAR: Statements = Statements::new(|rows| {
    format!(
        "INSERT INTO heard (account, until) SELECT column1, column2 FROM (VALUES {}) WHERE true \
        ON CONFLICT (account) DO UPDATE SET until = excluded.until \
        WHERE until < excluded.until OR until > ?{}",
        values(2, rows),
        2 * rows + 1
    )
});
pub(super) static FORGET_HEARD: Statements =
    Statements::new(|rows| format!("DELETE FROM heard WHERE account IN ({})", vec!["?"; rows].join(", ")));

/// Until when an account's events could reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The account.
    pub account: AccountName,
    /// Whether they still can, as far as was written down.
    pub open: bool,
    /// Until when they could, at least.
    pub until: Timestamp,
    /// Why they cannot any more (label values of `gaps_total`).
    pub reason: Option<String>,
}

impl Coverage {
    /// Moves the end of an open line on to when the account was heard last, if that is later.
    pub fn hear(&mut self, heard: &BTreeMap<AccountName, Timestamp>) {
        if let Some(heard) = heard.get(&self.account).filter(|heard| self.open && **heard > self.until) {
            self.until = *heard;
        }
    }
}

/// A line of the coverage as it lies there.
pub(super) type Row = (String, bool, i64, Option<String>);

/// Reads a line. One that cannot be read is told by what is left of it.
pub(super) fn read((account, open, until, reason): Row) -> Result<Coverage, String> {
    let named = |what: &str| format!("coverage of account {account:?}: {what} is not what was written");
    Ok(Coverage {
        account: account.parse().map_err(|_| named("its name"))?,
        open,
        until: timestamp(until).map_err(|_| named("its time"))?,
        reason,
    })
}

/// Reads when an account was heard last.
pub(super) fn read_heard((account, until): (String, i64)) -> Result<(AccountName, Timestamp), String> {
    let damaged = || format!("heartbeat of account {account:?}: it is not what was written");
    Ok((account.parse().map_err(|_| damaged())?, timestamp(until).map_err(|_| damaged())?))
}

/// Writes the newest state of some accounts. Those that are not covered any more are not heard any more.
pub(super) async fn write(connection: &mut SqliteConnection, lines: &[&Coverage]) -> Result<(), StateError> {
    for (statement, piece) in WRITE.pieces(lines) {
        let mut query = sqlx::query(statement);
        for line in piece {
            query = query
                .bind(line.account.as_str())
                .bind(line.open)
                .bind(line.until.as_microsecond())
                .bind(line.reason.as_deref());
        }
        query.execute(&mut *connection).await?;
    }
    let closed: Vec<&str> = lines.iter().filter(|line| !line.open).map(|line| line.account.as_str()).collect();
    for (statement, piece) in FORGET_HEARD.pieces(&closed) {
        let query = piece.iter().fold(sqlx::query(statement), |query, account| query.bind(*account));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

impl Sqlite {
    pub(super) async fn hear(&self, heard: Vec<(AccountName, Timestamp)>, now: Timestamp) -> Result<(), StateError> {
        // In the order of the key, so that no page is written twice.
        let sorted: BTreeMap<AccountName, i64> =
            heard.into_iter().map(|(account, until)| (account, until.as_microsecond())).collect();
        let (sorted, now): (Vec<_>, i64) = (sorted.into_iter().collect(), now.as_microsecond());
        self.write(async move |connection: &mut SqliteConnection| hear(connection, &sorted, now).await).await
    }
}

async fn hear(
    connection: &mut SqliteConnection,
    heard: &[(AccountName, i64)],
    now: i64,
) -> Result<(), StateError> {
    for (statement, piece) in HEAR.pieces(heard) {
        let mut query = sqlx::query(statement);
        for (account, until) in piece {
            query = query.bind(account.as_str()).bind(*until);
        }
        query.bind(now).execute(&mut *connection).await?;
    }
    sqlx::query(SET_BACK).bind(now).execute(connection).await?;
    Ok(())
}
