//! Reads what the store knows of accounts when their connections start: once for all that start together.
//!
//! Must not know what the lines mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::domain::name::AccountName;
use crate::store::{Coverage, LedgerEntry, Store, StoreError};

/// Holds what the store knows of one account.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Its lines of the subscription ledger.
    pub(super) lines: Vec<LedgerEntry>,
    /// Until when its events could arrive, if they ever could.
    pub(super) coverage: Option<Coverage>,
}

type Accounts = BTreeMap<AccountName, Known>;

/// The ledger, read when the first asks.
#[derive(Clone)]
pub(super) struct Ledger(Shared<BoxFuture<'static, Result<Arc<Accounts>, StoreError>>>);

impl Ledger {
    /// The ledger as it will be at the first question.
    pub(super) fn of(store: &Store) -> Self {
        let store = store.clone();
        Self(async move { read(&store).await.map(Arc::new) }.boxed().shared())
    }

    /// Returns what the store knows of one account.
    pub(super) async fn known(self, account: &AccountName) -> Result<Known, StoreError> {
        Ok(self.0.await?.get(account).cloned().unwrap_or_default())
    }
}

async fn read(store: &Store) -> Result<Accounts, StoreError> {
    let mut accounts = Accounts::new();
    for line in store.ledger().await? {
        accounts.entry(line.account.clone()).or_default().lines.push(line);
    }
    for row in store.coverage().await? {
        let account = row.account.clone();
        accounts.entry(account).or_default().coverage = Some(row);
    }
    Ok(accounts)
}
