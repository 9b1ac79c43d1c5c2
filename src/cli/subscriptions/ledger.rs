//! The ledger, read beside a daemon that may be running, or that may never have run.
//!
//! Must not write a line of it.

use crate::domain::FullJid;
use crate::domain::name::AccountName;
use crate::state;
use crate::store::options::Options;
use crate::store::{LedgerEntry, OpenError, Store, StoreError};

use super::super::visit::Holding;

/// The ledger of this configuration.
pub(super) enum Ledger {
    /// There is no database yet.
    Absent(OpenError),
    /// There is one.
    Open(Store),
}

impl Ledger {
    /// Opens it if it is there. A ledger that cannot be read is no empty one: what to keep would be a guess.
    pub(super) async fn open(options: &Options) -> Result<Self, OpenError> {
        match Store::beside(options).await {
            Ok(store) => Ok(Self::Open(store)),
            Err(OpenError::State(absent @ (state::OpenError::Absent { .. } | state::OpenError::Folder { .. }))) => {
                Ok(Self::Absent(absent.into()))
            }
            Err(fault) => Err(fault),
        }
    }

    /// What it says of an account at this moment.
    pub(super) async fn of(&self, account: &AccountName) -> Result<Vec<LedgerEntry>, StoreError> {
        match self {
            Self::Absent(_) => Ok(Vec::new()),
            Self::Open(store) => store.ledger_of(account).await,
        }
    }
}

/// The line of the router itself about a node, if there is one.
pub(super) fn own_line<'a>(ledger: &'a [LedgerEntry], router: &FullJid, held: &Holding) -> Option<&'a LedgerEntry> {
    let about = |line: &&LedgerEntry| line.service == held.service.name() && line.node == held.node;
    ledger.iter().filter(about).find(|line| FullJid::new(&line.jid).is_ok_and(|jid| jid == *router))
}
