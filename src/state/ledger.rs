//! The subscription ledger: what this router holds at the services, as far as it knows.
//!
//! Must not know what is done about it.

use jiff::Timestamp;
use sqlx::{FromRow, SqliteConnection};

use super::error::StateError;
use super::sqlite::Sqlite;
use super::timestamp;
use crate::domain::name::{AccountName, NodeName, Subid};

pub(super) const ALL: &str = "SELECT account, service, node, jid, subid, state, lease_until, renewed, assigned \
    FROM ledger ORDER BY account, service, node, jid";
pub(super) const OF_ACCOUNT: &str = "SELECT account, service, node, jid, subid, state, lease_until, renewed, assigned \
    FROM ledger WHERE account = ?1 ORDER BY service, node, jid";
pub(super) const WRITE: &str = "INSERT INTO ledger \
    (account, service, node, jid, subid, state, lease_until, renewed, assigned) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (account, service, node, jid) DO UPDATE \
    SET subid = excluded.subid, state = excluded.state, lease_until = excluded.lease_until, renewed = excluded.renewed, \
    assigned = excluded.assigned";
pub(super) const FORGET: &str = "DELETE FROM ledger WHERE account = ?1 AND service = ?2 AND node = ?3 AND jid = ?4";

/// One line of the subscription ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The account.
    pub account: AccountName,
    /// The short name of the service.
    pub service: String,
    /// The node subscribed to.
    pub node: NodeName,
    /// The full JID that holds the subscription.
    pub jid: String,
    /// Its subid, once known.
    pub subid: Option<Subid>,
    /// Its state as the machine names it (label values of `subscriptions`).
    pub state: String,
    /// When the lease ends.
    pub lease_until: Option<Timestamp>,
    /// When it was last renewed or made.
    pub renewed: Option<Timestamp>,
    /// Whether this router made it, under a resource that the server had assigned in place of the one asked for.
    pub assigned: bool,
}

/// A line as it lies there.
#[derive(FromRow)]
pub(super) struct Row {
    pub(super) account: String,
    service: String,
    pub(super) node: String,
    jid: String,
    subid: Option<String>,
    state: String,
    lease_until: Option<i64>,
    renewed: Option<i64>,
    assigned: bool,
}

impl TryFrom<Row> for LedgerEntry {
    type Error = StateError;

    fn try_from(row: Row) -> Result<Self, StateError> {
        Ok(Self {
            account: row.account.parse().map_err(|error| StateError::unreadable("a line of the ledger", &error))?,
            service: row.service,
            node: row.node.into(),
            jid: row.jid,
            subid: row.subid.map(Into::into),
            state: row.state,
            lease_until: row.lease_until.map(timestamp).transpose()?,
            renewed: row.renewed.map(timestamp).transpose()?,
            assigned: row.assigned,
        })
    }
}

impl Sqlite {
    pub(super) async fn ledger(&self, account: Option<&AccountName>) -> Result<Vec<LedgerEntry>, StateError> {
        let readers = self.readers()?;
        let rows: Vec<Row> = match account {
            Some(account) => sqlx::query_as(OF_ACCOUNT).bind(account.as_str()).fetch_all(readers).await?,
            None => sqlx::query_as(ALL).fetch_all(readers).await?,
        };
        rows.into_iter().map(LedgerEntry::try_from).collect()
    }

    pub(super) async fn write_ledger(&self, entry: LedgerEntry) -> Result<(), StateError> {
        self.write(async move |connection: &mut SqliteConnection| write(connection, &entry).await).await
    }

    pub(super) async fn forget_ledger(
        &self,
        account: AccountName,
        service: String,
        node: NodeName,
        jid: String,
    ) -> Result<(), StateError> {
        let work = async move |connection: &mut SqliteConnection| {
            let query = sqlx::query(FORGET).bind(account.as_str()).bind(&service).bind(node.as_str()).bind(&jid);
            query.execute(connection).await?;
            Ok(())
        };
        self.write(work).await
    }
}

async fn write(connection: &mut SqliteConnection, entry: &LedgerEntry) -> Result<(), StateError> {
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
