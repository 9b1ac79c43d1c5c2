//! The gaps of one commit: what changed of the coverage, and which windows are over.

use std::collections::BTreeMap;

use super::Cover;
use crate::domain::name::AccountName;
use crate::domain::status::GapReason;
use crate::protocol::coverage::{Blind, Change, Gap};
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
            // Of an account that never was covered nothing is missed: no window of it is written down.
            Change::Uncovered { .. } if !self.known.contains_key(account) => return None,
            Change::Uncovered { since, reason } => {
                let reason = Some(reason.as_str().to_owned());
                (Coverage { account: account.clone(), open: false, until: *since, reason }, None)
            }
            Change::Continued { since } => {
                (Coverage { account: account.clone(), open: true, until: *since, reason: None }, None)
            }
            Change::Covered { since, services } => {
                let gap = self.known.get(account).map(window).map(|before| Gap {
                    account: account.clone(),
                    services: services.clone(),
                    from: before.since,
                    to: *since,
                    reason: before.reason,
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

/// Returns the window that is open after what was written down. What nobody ended belongs to a router, or an actor, that
/// is no more.
pub(crate) fn window(written: &Coverage) -> Blind {
    let reason = written.reason.as_deref().filter(|_| !written.open).and_then(GapReason::named);
    Blind { since: written.until, reason: reason.unwrap_or(GapReason::Restart) }
}
