//! The subscription ledger as connections read it when they start: once for all that start together.
//!
//! Must not know what the lines mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::domain::name::AccountName;
use crate::store::{LedgerEntry, Store, StoreError};

type Lines = BTreeMap<AccountName, Vec<LedgerEntry>>;

/// The ledger, read when the first asks.
#[derive(Clone)]
pub(super) struct Ledger(Shared<BoxFuture<'static, Result<Arc<Lines>, StoreError>>>);

impl Ledger {
    /// The ledger as it will be at the first question.
    pub(super) fn of(store: &Store) -> Self {
        let store = store.clone();
        Self(async move { Ok(Arc::new(by_account(store.ledger().await?))) }.boxed().shared())
    }

    /// The lines of one account.
    pub(super) async fn lines(self, account: &AccountName) -> Result<Vec<LedgerEntry>, StoreError> {
        Ok(self.0.await?.get(account).cloned().unwrap_or_default())
    }
}

fn by_account(entries: Vec<LedgerEntry>) -> Lines {
    let mut lines = Lines::new();
    for entry in entries {
        lines.entry(entry.account.clone()).or_default().push(entry);
    }
    lines
}
