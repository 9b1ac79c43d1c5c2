//! The gaps of one commit: what changed of the coverage, and which windows are over.

use std::collections::BTreeMap;

use super::Cover;
use crate::domain::name::AccountName;
use crate::domain::status::GapReason;
use crate::protocol::coverage::{Change, Gap};
use crate::store::Coverage;

/// The coverage of the accounts of one commit.
pub(super) struct Gaps {
    known: BTreeMap<AccountName, Coverage>,
    changed: Vec<AccountName>,
}

impl Gaps {
    pub(super) fn recalled(coverage: Vec<Coverage>) -> Self {
        Self { known: coverage.into_iter().map(|row| (row.account.clone(), row)).collect(), changed: Vec::new() }
    }

    /// Notes a change; returns the window that it ends. The first coverage ever ends none.
    pub(super) fn note(&mut self, cover: &Cover) -> Option<Gap> {
        let Cover { account, change } = cover;
        let (row, gap) = match change {
            Change::Uncovered { since, reason } => {
                let reason = Some(reason.as_str().to_owned());
                (Coverage { account: account.clone(), open: false, until: *since, reason }, None)
            }
            Change::Continued { since } => {
                (Coverage { account: account.clone(), open: true, until: *since, reason: None }, None)
            }
            Change::Covered { since, services } => {
                let gap = self.known.get(account).map(|before| Gap {
                    account: account.clone(),
                    services: services.clone(),
                    from: before.until,
                    to: *since,
                    reason: reason(before),
                });
                (Coverage { account: account.clone(), open: true, until: *since, reason: None }, gap)
            }
        };
        self.known.insert(account.clone(), row);
        self.changed.push(account.clone());
        gap
    }

    /// What must be written.
    pub(super) fn changes(mut self) -> Vec<Coverage> {
        self.changed.sort();
        self.changed.dedup();
        self.changed.iter().filter_map(|account| self.known.remove(account)).collect()
    }
}

/// What was written down as open and is now opened again belongs to a router that is no more.
fn reason(before: &Coverage) -> GapReason {
    let written = before.reason.as_deref().filter(|_| !before.open).and_then(GapReason::named);
    written.unwrap_or(GapReason::Restart)
}
