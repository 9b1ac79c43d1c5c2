//! The gaps of one commit: what changed of the coverage, and which windows are over.

use std::collections::BTreeMap;

use super::Cover;
use crate::domain::name::AccountName;
use crate::domain::status::GapReason;
use crate::protocol::coverage::{Change, Gap, Record};
use crate::store::Coverage;

/// The coverage of the accounts of one commit.
pub(super) struct Gaps {
    known: BTreeMap<AccountName, Record>,
    changed: Vec<AccountName>,
}

impl Gaps {
    pub(super) fn recalled(coverage: Vec<Coverage>) -> Self {
        let known = coverage.into_iter().map(|row| (row.account.clone(), read(&row))).collect();
        Self { known, changed: Vec::new() }
    }

    /// Notes a change; returns the window that it ends.
    pub(super) fn note(&mut self, cover: &Cover) -> Option<Gap> {
        let Cover { account, change } = cover;
        let (record, ended) = Record::after(self.known.get(account).copied(), change);
        if let Some(record) = record {
            self.known.insert(account.clone(), record);
            self.changed.push(account.clone());
        }
        let Change::Covered { since, services } = change else { return None };
        let ended = ended?;
        Some(Gap {
            account: account.clone(),
            services: services.clone(),
            from: ended.since,
            to: *since,
            reason: ended.reason,
        })
    }

    /// What must be written.
    pub(super) fn changes(mut self) -> Vec<Coverage> {
        self.changed.sort();
        self.changed.dedup();
        let written = |account: AccountName, Record { until, ended }: Record| Coverage {
            account,
            open: ended.is_none(),
            until,
            reason: ended.map(|reason| reason.as_str().to_owned()),
        };
        let known = &mut self.known;
        self.changed
            .into_iter()
            .filter_map(|account| known.remove(&account).map(|record| written(account, record)))
            .collect()
    }
}

/// Reads what was written down.
pub(crate) fn read(row: &Coverage) -> Record {
    let ended = row.reason.as_deref().and_then(GapReason::named).unwrap_or(GapReason::Restart);
    Record { until: row.until, ended: (!row.open).then_some(ended) }
}
