//! The subscription ledger: what this router holds at the services, as far as it knows.
//!
//! Must not know the queue or the legs.

use jiff::Timestamp;
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::LedgerEntry;
use super::error::{StoreError, unreadable};
use crate::domain::name::{AccountName, Subid};

pub(super) const ALL: &str = "SELECT account, service, node, jid, subid, state, lease_until, renewed, \
    assigned FROM ledger ORDER BY account, service, node, jid";
pub(super) const OF_ACCOUNT: &str = "SELECT account, service, node, jid, subid, state, lease_until, renewed, \
    assigned FROM ledger WHERE account = ?1 ORDER BY service, node, jid";
pub(super) const WRITE: &str = "INSERT INTO ledger \
    (account, service, node, jid, subid, state, lease_until, renewed, assigned) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
    ON CONFLICT (account, service, node, jid) DO UPDATE \
    SET subid = excluded.subid, state = excluded.state, lease_until = excluded.lease_until, renewed = excluded.renewed, \
    assigned = excluded.assigned";
pub(super) const FORGET: &str = "DELETE FROM ledger WHERE account = ?1 AND service = ?2 AND node = ?3 AND jid = ?4";

/// What names a line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LedgerKey {
    pub(super) account: AccountName,
    pub(super) service: String,
    pub(super) node: String,
    pub(super) jid: String,
}

#[derive(FromRow)]
struct Row {
    account: String,
    service: String,
    node: String,
    jid: String,
    subid: Option<String>,
    state: String,
    lease_until: Option<i64>,
    renewed: Option<i64>,
    assigned: bool,
}

impl TryFrom<Row> for LedgerEntry {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            account: row.account.parse().map_err(|error| unreadable("ledger account", &error))?,
            service: row.service,
            node: row.node.into(),
            jid: row.jid,
            subid: row.subid.map(Into::into),
            state: row.state,
            lease_until: row.lease_until.map(super::timestamp).transpose()?,
            renewed: row.renewed.map(super::timestamp).transpose()?,
            assigned: row.assigned,
        })
    }
}

pub(super) async fn read(readers: &SqlitePool, account: Option<&AccountName>) -> Result<Vec<LedgerEntry>, StoreError> {
    let rows: Vec<Row> = match account {
        Some(account) => sqlx::query_as(OF_ACCOUNT).bind(account.as_str()).fetch_all(readers).await?,
        None => sqlx::query_as(ALL).fetch_all(readers).await?,
    };
    rows.into_iter().map(LedgerEntry::try_from).collect()
}

pub(super) async fn write(connection: &mut SqliteConnection, entry: &LedgerEntry) -> Result<(), StoreError> {
    sqlx::query(WRITE)
        .bind(entry.account.as_str())
        .bind(&entry.service)
        .bind(entry.node.as_str())
        .bind(&entry.jid)
        .bind(entry.subid.as_ref().map(Subid::as_str))
        .bind(&entry.state)
        .bind(entry.lease_until.map(Timestamp::as_microsecond))
        .bind(entry.renewed.map(Timestamp::as_microsecond))
        .bind(entry.assigned)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn forget(connection: &mut SqliteConnection, key: &LedgerKey) -> Result<(), StoreError> {
    sqlx::query(FORGET)
        .bind(key.account.as_str())
        .bind(&key.service)
        .bind(&key.node)
        .bind(&key.jid)
        .execute(connection)
        .await?;
    Ok(())
}
